//! Texts as vectors, by a sentence transformer or by a table of words.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokenizers::Tokenizer;
use tokio::sync::oneshot;

use super::bert::{Bert, Measures};
use super::{failed, unusable};
use crate::embed::normalise;
use crate::provider::{ProviderError, Reason};
use crate::usage::Usage;

/// What is beside the weights.
const TOKENIZER: &str = "tokenizer.json";
const CONFIG: &str = "config.json";
const POOLING: &str = "1_Pooling/config.json";
const LIMITS: &str = "sentence_bert_config.json";

/// A model that makes vectors.
#[derive(Debug)]
pub(super) struct Vectors {
    tokenizer: Tokenizer,
    network: Network,
    /// The most tokens of a text.
    most: usize,
}

#[derive(Debug)]
enum Network {
    /// A vector for each word that depends on the others.
    Bert(Bert),
    /// A vector for each word, always the same.
    Table(Tensor),
}

/// How vectors of words become one; only their mean is known here.
#[derive(Debug, Deserialize)]
struct Pooling {
    #[serde(default)]
    pooling_mode_mean_tokens: bool,
}

#[derive(Debug, Deserialize)]
struct Limits {
    max_seq_length: Option<usize>,
}

/// Vectors, and what was read for them.
pub(super) type Made = (Vec<Vec<f32>>, Usage);

/// The weights' file: it, or the one of this folder.
pub(super) fn weights(path: &Path) -> PathBuf {
    if path.is_dir() {
        path.join("model.safetensors")
    } else {
        path.to_owned()
    }
}

/// A file of JSON beside the weights; nothing where it is missing.
fn beside<T: DeserializeOwned>(folder: &Path, name: &str) -> Result<Option<T>, ProviderError> {
    match std::fs::read(folder.join(name)) {
        Ok(bytes) => {
            let read = serde_json::from_slice(&bytes);
            read.map(Some)
                .map_err(|error| unusable(format!("{name}: {error}")))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(format!("{name}: {error}"))),
    }
}

impl Vectors {
    /// Reads the weights, and what is beside them.
    pub(super) fn read(path: &Path) -> Result<Self, ProviderError> {
        let file = weights(path);
        let folder = file.parent().unwrap_or(&file);
        let mut tokenizer = Tokenizer::from_file(folder.join(TOKENIZER))
            .map_err(|error| unusable(format!("{TOKENIZER}: {error}")))?;
        // Texts are read one by one and whole: nothing is cut off and nothing added.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(unusable)?;
        let bytes = std::fs::read(&file).map_err(unusable)?;
        let all = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).map_err(unusable)?;
        drop(bytes);
        let Some(measures) = beside::<Measures>(folder, CONFIG)? else {
            return Ok(Self {
                tokenizer,
                network: Network::Table(table(all)?),
                most: usize::MAX,
            });
        };
        if measures.model_type != "bert" {
            let kind = &measures.model_type;
            let text = format!("its kind is `{kind}`; `bert` is the one that is known");
            return Err(unusable(text));
        }
        let pooling = beside::<Pooling>(folder, POOLING)?;
        if pooling.is_some_and(|pooling| !pooling.pooling_mode_mean_tokens) {
            let text = "it does not take the mean of its words, which is the one way that is known";
            return Err(unusable(text));
        }
        let said = beside::<Limits>(folder, LIMITS)?.and_then(|limits| limits.max_seq_length);
        let most = said.map_or(measures.max_position_embeddings, |said| {
            said.min(measures.max_position_embeddings)
        });
        let network = Network::Bert(Bert::new(&measures, all).map_err(unusable)?);
        Ok(Self {
            tokenizer,
            network,
            most,
        })
    }

    /// Makes a vector for each text, as long as somebody waits for them.
    pub(super) fn make(
        &self,
        texts: &[String],
        dimensions: Option<u32>,
        waiting: &oneshot::Sender<Result<Made, ProviderError>>,
    ) -> Result<Made, ProviderError> {
        let length = self.length();
        if dimensions.is_some_and(|asked| asked as usize != length) {
            let text = format!("this model's vectors have {length} numbers, no more and no fewer");
            return Err(ProviderError::new(Reason::Unsupported, text));
        }
        let (mut vectors, mut usage) = (Vec::with_capacity(texts.len()), Usage::default());
        for text in texts {
            if waiting.is_closed() {
                return Err(failed("nobody waits for the vectors"));
            }
            let tokens = self.tokens(text)?;
            usage.input += tokens.len() as u64;
            vectors.push(self.vector(&tokens).map_err(failed)?);
        }
        Ok((vectors, usage))
    }

    fn length(&self) -> usize {
        match &self.network {
            Network::Bert(bert) => bert.length(),
            Network::Table(table) => table.dims().last().copied().unwrap_or(0),
        }
    }

    fn tokens(&self, text: &str) -> Result<Vec<u32>, ProviderError> {
        let marks = matches!(self.network, Network::Bert(_));
        let encoded = self.tokenizer.encode_fast(text, marks);
        let encoded = encoded.map_err(|error| failed(error.to_string()))?;
        let tokens = encoded.get_ids();
        if tokens.len() > self.most {
            let text = format!(
                "a text has {} tokens, and the model reads {}; send it in pieces",
                tokens.len(),
                self.most
            );
            return Err(ProviderError::new(Reason::TooLong, text));
        }
        Ok(tokens.to_vec())
    }

    /// The mean of its words' vectors, of length 1; of no words, nothing but zeros.
    fn vector(&self, tokens: &[u32]) -> candle_core::Result<Vec<f32>> {
        if tokens.is_empty() {
            return Ok(vec![0.0; self.length()]);
        }
        let words = match &self.network {
            Network::Bert(bert) => bert.read(tokens)?,
            Network::Table(table) => {
                let ids = Tensor::new(tokens, &Device::Cpu)?;
                table.index_select(&ids, 0)?.to_dtype(DType::F32)?
            }
        };
        let mut vector: Vec<f32> = words.mean(0)?.to_vec1()?;
        normalise(&mut vector);
        Ok(vector)
    }
}

/// The one table of a file.
fn table(all: HashMap<String, Tensor>) -> Result<Tensor, ProviderError> {
    let mut all = all.into_values();
    match (all.next(), all.next()) {
        (Some(table), None) if table.rank() == 2 => Ok(table),
        _ => Err(unusable(format!(
            "it has no {CONFIG} beside it and holds more than one table of words"
        ))),
    }
}
