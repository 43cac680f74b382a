//! Answers, token by token.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use candle_core::quantized::gguf_file::{Content, Value};
use tokio::sync::mpsc::UnboundedSender;

use super::ask::Ask;
use super::llama::Llama;
use super::sample::Sampler;
use super::stop::Stops;
use super::template::{Piece, Template, pieces};
use super::words::Words;
use super::{failed, unusable};
use crate::chat::{Finish, Part};
use crate::delta::Delta;
use crate::provider::{ProviderError, Reason};
use crate::usage::Usage;

/// How many tokens of a conversation are read at once. Between two such pieces it is seen whether
/// anybody still listens; larger ones take more memory and are hardly faster.
const PIECE: usize = 64;

/// Where an answer goes as it is written.
pub(super) type Line = UnboundedSender<Result<Vec<Delta>, ProviderError>>;

/// A model that answers.
#[derive(Debug)]
pub(super) struct Speaker {
    network: Llama,
    words: Words,
    template: Template,
}

/// Nobody listens any more.
struct HungUp;

/// Why an answer is not finished.
enum Broken {
    Failed(ProviderError),
    HungUp,
}

impl From<ProviderError> for Broken {
    fn from(error: ProviderError) -> Self {
        Self::Failed(error)
    }
}

impl From<HungUp> for Broken {
    fn from(_: HungUp) -> Self {
        Self::HungUp
    }
}

impl From<candle_core::Error> for Broken {
    fn from(error: candle_core::Error) -> Self {
        Self::Failed(failed(error))
    }
}

fn say(line: &Line, deltas: Vec<Delta>) -> Result<(), HungUp> {
    line.send(Ok(deltas)).map_err(|_| HungUp)
}

impl Speaker {
    /// Reads a GGUF file.
    pub(super) fn read(path: &Path) -> Result<Self, ProviderError> {
        let mut file = File::open(path).map_err(unusable)?;
        let mut content = Content::read(&mut BufReader::new(&mut file)).map_err(unusable)?;
        let text = |content: &Content, name: &str| {
            let value = content.metadata.get(name)?;
            value.to_string().ok().cloned()
        };
        let kind = text(&content, "general.architecture").unwrap_or_default();
        if kind != "llama" {
            let text = format!("its architecture is `{kind}`; `llama` is the one that is known");
            return Err(unusable(text));
        }
        let words = Words::read(&mut content).map_err(unusable)?;
        let Some(template) = text(&content, "tokenizer.chat_template") else {
            return Err(unusable("it has no template of conversations"));
        };
        let mark = |field: &str| {
            let token = content
                .metadata
                .get(field)
                .and_then(|token| Value::to_u32(token).ok());
            token
                .and_then(|token| words.name(token))
                .unwrap_or_default()
        };
        let begin = mark("tokenizer.ggml.bos_token_id");
        let end = mark("tokenizer.ggml.eos_token_id");
        Ok(Self {
            network: Llama::read(&content, file).map_err(unusable)?,
            template: Template::new(&template, begin, end).map_err(unusable)?,
            words,
        })
    }

    /// Answers, as long as somebody listens. An answer that does not end well ends with an error.
    pub(super) fn answer(&self, ask: &Ask, line: &Line) {
        match self.write(ask, line) {
            Ok(()) | Err(Broken::HungUp) => {}
            // Whoever hung up does not hear it.
            Err(Broken::Failed(error)) => drop(line.send(Err(error))),
        }
    }

    fn write(&self, ask: &Ask, line: &Line) -> Result<(), Broken> {
        let asked = self.tokens(ask)?;
        let context = self.context(ask);
        if asked.len() >= context {
            let text = format!(
                "the conversation has {} tokens, and the model reads {context} with its answer",
                asked.len()
            );
            return Err(ProviderError::new(Reason::TooLong, text).into());
        }
        let mut memory = self.network.memory();
        let mut last = None;
        for piece in asked.chunks(PIECE) {
            // It says that the work goes on, and finds out whether anybody listens.
            say(line, Vec::new())?;
            last = Some(self.network.read_on(piece, &mut memory)?);
        }
        let Some(mut last) = last else {
            let text = "its template makes nothing of this conversation";
            return Err(unusable(text).into());
        };
        let room = (context - asked.len()) as u64;
        let most = ask.most.min(room);
        let mut usage = Usage {
            input: asked.len() as u64,
            ..Usage::default()
        };
        say(line, begin(ask, usage))?;
        let mut sampler = Sampler::new(&ask.sampling, ask.chance);
        let mut stops = Stops::new(&ask.sampling.stop);
        let mut speaker = self.words.speaker().decode_stream(true);
        let mut finish = Finish::Length;
        while usage.output < most {
            let token = sampler.choose(&self.network.next(&last)?);
            usage.output += 1;
            if self.words.is_end(token) {
                finish = Finish::Stop;
                break;
            }
            let more = speaker
                .step(token)
                .map_err(|error| failed(error.to_string()))?;
            let (text, found) = stops.push(&more.unwrap_or_default());
            say(line, words(text))?;
            if let Some(found) = found {
                finish = Finish::StopText(Some(found.to_owned()));
                break;
            }
            if usage.output < most {
                last = self.network.read_on(&[token], &mut memory)?;
            }
        }
        let mut deltas = match finish {
            Finish::StopText(_) => Vec::new(),
            _ => words(stops.rest()),
        };
        deltas.extend([
            Delta::Finish {
                choice: 0,
                reason: finish,
            },
            Delta::Usage(usage),
            Delta::End,
        ]);
        Ok(say(line, deltas)?)
    }

    /// How many tokens a conversation may have with its answer.
    fn context(&self, ask: &Ask) -> usize {
        let asked = ask.context.map_or(usize::MAX, |context| {
            usize::try_from(context).unwrap_or(usize::MAX)
        });
        self.network.context.min(asked)
    }

    /// The conversation in tokens.
    fn tokens(&self, ask: &Ask) -> Result<Vec<u32>, ProviderError> {
        let refused = |why: String| ProviderError::new(Reason::Unsupported, why);
        let rendered = self.template.render(&ask.roles).map_err(refused)?;
        let mut tokens = Vec::new();
        for piece in pieces(&rendered) {
            let more = match piece {
                Piece::Marks(text) => self.words.marks(text),
                Piece::Message(number) => {
                    let text = ask.texts.get(number).map_or("", String::as_str);
                    self.words.plain(text)
                }
            };
            tokens.extend(more.map_err(failed)?);
        }
        if let Some(begin) = self.words.begin()
            && tokens.first() != Some(&begin)
        {
            tokens.insert(0, begin);
        }
        Ok(tokens)
    }
}

/// The first words, before there are any: whoever hangs up pays for what was read.
fn begin(ask: &Ask, usage: Usage) -> Vec<Delta> {
    vec![
        Delta::Begin {
            id: ask.id.clone(),
            model: ask.model.clone(),
        },
        Delta::Usage(usage),
        Delta::Part {
            choice: 0,
            part: 0,
            begun: Part::text(""),
        },
    ]
}

fn words(text: String) -> Vec<Delta> {
    let text = Some(text).filter(|text| !text.is_empty());
    let said = text.map(|text| Delta::Text {
        choice: 0,
        part: 0,
        text,
    });
    said.into_iter().collect()
}
