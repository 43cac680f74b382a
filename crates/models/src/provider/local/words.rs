//! Words as tokens, and back, by the tokenizer that a GGUF file holds.
//!
//! Tokens of two sorts are told apart: the marks of a conversation, such as where a message begins,
//! and words. Only the model's template makes marks. What is written in a message is words, whatever
//! it looks like, so nobody can end a message from within and speak as somebody else.

use std::collections::HashSet;

use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::quantized::tokenizer::TokenizerFromGguf;
use tokenizers::Tokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;

/// How a text is cut before it becomes tokens; the field says it by the name of a family.
const CUT: &str = "tokenizer.ggml.pre";

/// Marks that end an answer, in the families that are known.
const ENDS: &[&str] = &[
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "<|eom_id|>",
];

/// A tokenizer.
#[derive(Debug)]
pub(super) struct Words {
    /// Knows marks.
    marks: Tokenizer,
    /// Takes marks for words.
    plain: Tokenizer,
    ends: HashSet<u32>,
    /// The mark that a conversation begins with, where it does.
    begin: Option<u32>,
}

/// A number of the tokenizer's that is a token.
fn token(content: &Content, field: &str) -> Option<u32> {
    let value = content.metadata.get(&format!("tokenizer.ggml.{field}"))?;
    value.to_u32().ok()
}

impl Words {
    /// From a file's fields; says why it cannot.
    pub(super) fn read(content: &mut Content) -> Result<Self, String> {
        let cut = content
            .metadata
            .get(CUT)
            .and_then(|cut| cut.to_string().ok());
        let cut = cut.cloned().unwrap_or_default();
        let gpt = ByteLevel::new(false, true, true);
        let known = |content: &Content| {
            Tokenizer::from_gguf(content).map_err(|error| format!("its tokenizer: {error}"))
        };
        let marks = match cut.as_str() {
            "smollm" => {
                let mut marks = known(content)?;
                let both = Sequence::new(vec![Digits::new(true).into(), gpt.into()]);
                marks.with_pre_tokenizer(Some(both));
                marks
            }
            "gpt-2" => {
                let mut marks = known(content)?;
                marks.with_pre_tokenizer(Some(gpt));
                marks
            }
            "llama-bpe" => {
                let name = Value::String("llama3".into());
                content.metadata.insert(CUT.into(), name);
                known(content)?
            }
            other => {
                return Err(format!(
                    "its tokenizer `{other}` is none of smollm, gpt-2, llama-bpe"
                ));
            }
        };
        let mut plain = marks.clone();
        plain.set_encode_special_tokens(true);
        let named = ENDS.iter().filter_map(|mark| marks.token_to_id(mark));
        let fields = ["eos_token_id", "eot_token_id"];
        let said = fields.iter().filter_map(|field| token(content, field));
        let begins = content.metadata.get("tokenizer.ggml.add_bos_token");
        let begins = begins.and_then(|begins| begins.to_bool().ok());
        let begin = token(content, "bos_token_id").filter(|_| begins == Some(true));
        Ok(Self {
            ends: named.chain(said).collect(),
            begin,
            marks,
            plain,
        })
    }

    /// A piece of the template.
    pub(super) fn marks(&self, text: &str) -> Result<Vec<u32>, String> {
        encode(&self.marks, text)
    }

    /// What somebody wrote.
    pub(super) fn plain(&self, text: &str) -> Result<Vec<u32>, String> {
        encode(&self.plain, text)
    }

    /// The mark that a conversation begins with, where it does.
    pub(super) fn begin(&self) -> Option<u32> {
        self.begin
    }

    /// Whether a token ends an answer.
    pub(super) fn is_end(&self, token: u32) -> bool {
        self.ends.contains(&token)
    }

    /// The text of a token, as its template calls it.
    pub(super) fn name(&self, token: u32) -> Option<String> {
        self.marks.id_to_token(token)
    }

    /// The tokenizer that turns tokens into text.
    pub(super) fn speaker(&self) -> &Tokenizer {
        &self.marks
    }
}

fn encode(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, String> {
    let encoded = tokenizer.encode_fast(text, false);
    let encoded = encoded.map_err(|error| format!("its tokenizer: {error}"))?;
    Ok(encoded.get_ids().to_vec())
}
