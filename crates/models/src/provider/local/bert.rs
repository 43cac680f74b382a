//! The network of sentence transformers that are built like BERT.

use std::collections::HashMap;

use candle_core::{DType, Device, Error, Module, Result, Tensor};
use candle_nn::ops::softmax_last_dim;
use candle_nn::{LayerNorm, Linear};
use serde::Deserialize;

/// Its measures, as `config.json` says them.
#[derive(Debug, Deserialize)]
pub(super) struct Measures {
    pub(super) model_type: String,
    hidden_size: usize,
    num_attention_heads: usize,
    num_hidden_layers: usize,
    pub(super) max_position_embeddings: usize,
    #[serde(default = "epsilon")]
    layer_norm_eps: f64,
    #[serde(default = "gelu")]
    hidden_act: String,
}

fn epsilon() -> f64 {
    1e-12
}

fn gelu() -> String {
    "gelu".into()
}

/// A network.
#[derive(Debug)]
pub(super) struct Bert {
    words: Tensor,
    /// What is added for each position.
    places: Tensor,
    norm: LayerNorm,
    layers: Vec<Layer>,
    heads: usize,
}

#[derive(Debug)]
struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attended: (Linear, LayerNorm),
    wide: Linear,
    narrow: (Linear, LayerNorm),
}

/// Weights by their names, which some files begin with the network's.
struct Weights {
    all: HashMap<String, Tensor>,
    epsilon: f64,
}

impl Weights {
    fn take(&mut self, name: &str) -> Result<Tensor> {
        let found = self.all.remove(name);
        let found = found.or_else(|| self.all.remove(&format!("bert.{name}")));
        let found = found.ok_or_else(|| Error::msg(format!("the file has no `{name}`")))?;
        found.to_dtype(DType::F32)
    }

    fn linear(&mut self, name: &str) -> Result<Linear> {
        let weight = self.take(&format!("{name}.weight"))?;
        Ok(Linear::new(
            weight,
            Some(self.take(&format!("{name}.bias"))?),
        ))
    }

    fn norm(&mut self, name: &str) -> Result<LayerNorm> {
        let weight = self.take(&format!("{name}.weight"))?;
        let bias = self.take(&format!("{name}.bias"))?;
        Ok(LayerNorm::new(weight, bias, self.epsilon))
    }

    fn layer(&mut self, number: usize) -> Result<Layer> {
        let name = |part: &str| format!("encoder.layer.{number}.{part}");
        Ok(Layer {
            query: self.linear(&name("attention.self.query"))?,
            key: self.linear(&name("attention.self.key"))?,
            value: self.linear(&name("attention.self.value"))?,
            attended: (
                self.linear(&name("attention.output.dense"))?,
                self.norm(&name("attention.output.LayerNorm"))?,
            ),
            wide: self.linear(&name("intermediate.dense"))?,
            narrow: (
                self.linear(&name("output.dense"))?,
                self.norm(&name("output.LayerNorm"))?,
            ),
        })
    }
}

impl Bert {
    /// From its weights.
    pub(super) fn new(measures: &Measures, all: HashMap<String, Tensor>) -> Result<Self> {
        let heads = measures.num_attention_heads;
        if measures.hidden_act != "gelu"
            || heads == 0
            || !measures.hidden_size.is_multiple_of(heads)
        {
            return Err(Error::msg("it is not built like BERT"));
        }
        let epsilon = measures.layer_norm_eps;
        let mut weights = Weights { all, epsilon };
        let places = weights.take("embeddings.position_embeddings.weight")?;
        // All words are of the first of two texts.
        let kinds = weights.take("embeddings.token_type_embeddings.weight")?;
        let layers = (0..measures.num_hidden_layers).map(|layer| weights.layer(layer));
        Ok(Self {
            layers: layers.collect::<Result<_>>()?,
            places: places.broadcast_add(&kinds.narrow(0, 0, 1)?)?,
            words: weights.take("embeddings.word_embeddings.weight")?,
            norm: weights.norm("embeddings.LayerNorm")?,
            heads,
        })
    }

    /// How long its vectors are.
    pub(super) fn length(&self) -> usize {
        self.words.dims().last().copied().unwrap_or(0)
    }

    /// A vector for each token.
    pub(super) fn read(&self, tokens: &[u32]) -> Result<Tensor> {
        let ids = Tensor::new(tokens, &Device::Cpu)?;
        let words = self.words.index_select(&ids, 0)?;
        let mut x = (words + self.places.narrow(0, 0, tokens.len())?)?;
        x = self.norm.forward(&x)?;
        for layer in &self.layers {
            let (dense, norm) = &layer.attended;
            let seen = dense.forward(&self.attend(layer, &x)?)?;
            x = norm.forward(&(seen + &x)?)?;
            let (dense, norm) = &layer.narrow;
            let seen = layer.wide.forward(&x)?.gelu_erf()?;
            x = norm.forward(&(dense.forward(&seen)? + &x)?)?;
        }
        Ok(x)
    }

    fn attend(&self, layer: &Layer, x: &Tensor) -> Result<Tensor> {
        let (count, width) = x.dims2()?;
        let head = width / self.heads;
        let split = |part: &Linear| {
            let part = part.forward(x)?.reshape((count, self.heads, head))?;
            part.transpose(0, 1)?.contiguous()
        };
        let (query, key) = (split(&layer.query)?, split(&layer.key)?);
        #[expect(
            clippy::cast_precision_loss,
            reason = "a head has a few hundred numbers"
        )]
        let scale = 1.0 / (head as f64).sqrt();
        let weights = softmax_last_dim(&(query.matmul(&key.t()?)? * scale)?)?;
        let found = weights.matmul(&split(&layer.value)?)?;
        found.transpose(0, 1)?.reshape((count, width))
    }
}
