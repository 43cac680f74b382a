//! The network of Llama and of those built like it, as a GGUF file holds it.
//!
//! Weights stay quantised in memory, the table of words too. Kinds of quantisation that would be
//! multiplied number by number are turned into `Q8_0` while they are read, once: slightly larger,
//! and several times faster.

use std::fs::File;
use std::io::BufReader;
use std::sync::Arc;

use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{Device, Error, Module, Result, Tensor, bail};
use candle_nn::kv_cache::KvCache;
use candle_nn::ops::{rms_norm, silu, softmax_last_dim};
use candle_nn::rotary_emb::rope_i;

/// By how many tokens what is remembered of a conversation grows.
const GROW: usize = 256;

/// The most layers of a network.
const LAYERS_MAX: usize = 1_024;

/// A network.
#[derive(Debug)]
pub(super) struct Llama {
    words: Arc<QTensor>,
    layers: Vec<Layer>,
    norm: Norm,
    output: QMatMul,
    /// How fast each pair of numbers turns with the position.
    turning: Tensor,
    heads: usize,
    /// Keys and values are shared by groups of heads.
    groups: usize,
    /// How many tokens it was made to read.
    pub(super) context: usize,
}

#[derive(Debug)]
struct Layer {
    before: Norm,
    query: QMatMul,
    key: QMatMul,
    value: QMatMul,
    attended: QMatMul,
    between: Norm,
    gate: QMatMul,
    up: QMatMul,
    down: QMatMul,
}

#[derive(Debug)]
struct Norm {
    weight: Tensor,
    epsilon: f32,
}

impl Norm {
    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        rms_norm(x, &self.weight, self.epsilon)
    }
}

/// What a network has read of one conversation.
#[derive(Debug)]
pub(super) struct Memory {
    layers: Vec<KvCache>,
    /// How many tokens that is.
    pub(super) length: usize,
}

/// A file that is being read.
struct Reading<'a> {
    content: &'a Content,
    file: BufReader<File>,
    epsilon: f32,
}

impl Reading<'_> {
    fn weights(&mut self, name: &str) -> Result<QTensor> {
        let found = self.content.tensor(&mut self.file, name, &Device::Cpu)?;
        match found.dtype() {
            GgmlDType::Q4_1 | GgmlDType::Q5_0 | GgmlDType::Q5_1 | GgmlDType::Q8_1 => {
                QTensor::quantize(&found.dequantize(&Device::Cpu)?, GgmlDType::Q8_0)
            }
            _ => Ok(found),
        }
    }

    fn product(&mut self, name: &str) -> Result<QMatMul> {
        QMatMul::from_qtensor(self.weights(name)?)
    }

    fn norm(&mut self, name: &str) -> Result<Norm> {
        let weight = self.weights(name)?.dequantize(&Device::Cpu)?;
        Ok(Norm {
            weight,
            epsilon: self.epsilon,
        })
    }

    fn layer(&mut self, number: usize) -> Result<Layer> {
        let name = |part: &str| format!("blk.{number}.{part}.weight");
        Ok(Layer {
            before: self.norm(&name("attn_norm"))?,
            query: self.product(&name("attn_q"))?,
            key: self.product(&name("attn_k"))?,
            value: self.product(&name("attn_v"))?,
            attended: self.product(&name("attn_output"))?,
            between: self.norm(&name("ffn_norm"))?,
            gate: self.product(&name("ffn_gate"))?,
            up: self.product(&name("ffn_up"))?,
            down: self.product(&name("ffn_down"))?,
        })
    }

    /// Some models turn slowly on purpose, so that they read further.
    fn turning(&mut self, base: f32, width: usize) -> Result<Tensor> {
        let pairs = (0..width).step_by(2);
        let speed = |pair: usize| base.powf(-(number(pair) / number(width)));
        let mut speeds: Vec<f32> = pairs.map(speed).collect();
        if self.content.tensor_infos.contains_key("rope_freqs.weight") {
            let slower = self.weights("rope_freqs.weight")?;
            let slower = slower.dequantize(&Device::Cpu)?.to_vec1::<f32>()?;
            for (speed, by) in speeds.iter_mut().zip(slower) {
                *speed /= by;
            }
        }
        let length = speeds.len();
        Tensor::from_vec(speeds, (1, length), &Device::Cpu)
    }
}

/// A position or a width, of which none is so large that digits are lost.
#[expect(
    clippy::cast_precision_loss,
    reason = "positions stay below 2^24, which is exact"
)]
fn number(of: usize) -> f32 {
    of as f32
}

fn field<'a>(content: &'a Content, name: &str) -> Result<&'a Value> {
    let name = format!("llama.{name}");
    let found = content.metadata.get(&name);
    found.ok_or_else(|| Error::msg(format!("the file does not say `{name}`")))
}

fn size(content: &Content, name: &str) -> Result<usize> {
    match field(content, name)?.to_u32()? {
        0 => bail!("`{name}` is 0"),
        size => Ok(size as usize),
    }
}

impl Llama {
    /// Reads the weights.
    pub(super) fn read(content: &Content, file: File) -> Result<Self> {
        let (width, heads) = (
            size(content, "embedding_length")?,
            size(content, "attention.head_count")?,
        );
        let groups = size(content, "attention.head_count_kv").unwrap_or(heads);
        let head = width / heads;
        let turned = size(content, "rope.dimension_count").unwrap_or(head);
        let layers = size(content, "block_count")?;
        let experts = field(content, "expert_count").and_then(Value::to_u32);
        if !width.is_multiple_of(heads)
            || !heads.is_multiple_of(groups)
            || head % 2 != 0
            || layers > LAYERS_MAX
        {
            bail!("its measures do not fit together");
        }
        if turned != head || experts.is_ok_and(|experts| experts > 0) {
            bail!("it mixes experts, or turns a part of each head only, which is not known here");
        }
        let epsilon = field(content, "attention.layer_norm_rms_epsilon")?.to_f32()?;
        let base = field(content, "rope.freq_base").and_then(Value::to_f32);
        let mut reading = Reading {
            content,
            file: BufReader::new(file),
            epsilon,
        };
        let words = Arc::new(reading.weights("token_embd.weight")?);
        let output = if content.tensor_infos.contains_key("output.weight") {
            reading.product("output.weight")?
        } else {
            QMatMul::from_arc(Arc::clone(&words))?
        };
        Ok(Self {
            layers: (0..layers)
                .map(|layer| reading.layer(layer))
                .collect::<Result<_>>()?,
            norm: reading.norm("output_norm.weight")?,
            turning: reading.turning(base.unwrap_or(10_000.0), head)?,
            words,
            output,
            heads,
            groups,
            context: size(content, "context_length")?,
        })
    }

    /// A conversation of which nothing was read yet.
    pub(super) fn memory(&self) -> Memory {
        let layer = |_: &Layer| KvCache::new(2, GROW);
        Memory {
            layers: self.layers.iter().map(layer).collect(),
            length: 0,
        }
    }

    /// Reads on; gives what it makes of the last of these tokens.
    pub(super) fn read_on(&self, tokens: &[u32], memory: &mut Memory) -> Result<Tensor> {
        let (start, count) = (memory.length, tokens.len());
        let ids = Tensor::new(tokens, &Device::Cpu)?;
        let places = (start..start + count).map(number);
        let places = Tensor::from_iter(places, &Device::Cpu)?.unsqueeze(1)?;
        let angles = places.matmul(&self.turning)?;
        let turn = (angles.cos()?, angles.sin()?);
        let mask = (count > 1).then(|| mask(start, count)).transpose()?;
        let mut x = self.words.embedding(&ids)?;
        for (layer, past) in self.layers.iter().zip(&mut memory.layers) {
            let seen = layer.before.apply(&x)?;
            x = (self.attend(layer, past, &seen, &turn, mask.as_ref())? + x)?;
            let seen = layer.between.apply(&x)?;
            let gate = silu(&layer.gate.forward(&seen)?)?;
            x = (layer.down.forward(&(gate * layer.up.forward(&seen)?)?)? + x)?;
        }
        memory.length += count;
        x.narrow(0, count - 1, 1)?.contiguous()
    }

    /// How likely each token comes next, as far as they can be compared.
    pub(super) fn next(&self, last: &Tensor) -> Result<Vec<f32>> {
        let last = self.norm.apply(last)?;
        self.output.forward(&last)?.flatten_all()?.to_vec1()
    }

    fn attend(
        &self,
        layer: &Layer,
        past: &mut KvCache,
        x: &Tensor,
        (cos, sin): &(Tensor, Tensor),
        mask: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (count, width) = x.dims2()?;
        let head = width / self.heads;
        let split = |x: Tensor, heads: usize| {
            let x = x.reshape((1, count, heads, head))?;
            x.transpose(1, 2)?.contiguous()
        };
        let query = split(layer.query.forward(x)?, self.heads)?;
        let key = split(layer.key.forward(x)?, self.groups)?;
        let value = split(layer.value.forward(x)?, self.groups)?;
        let (query, key) = (rope_i(&query, cos, sin)?, rope_i(&key, cos, sin)?);
        let (keys, values) = past.append(&key, &value)?;
        // Heads of one group stand one below the other, so that their keys are not repeated.
        let each = self.heads / self.groups;
        let query = query.reshape((1, self.groups, each * count, head))?;
        let scale = 1.0 / f64::from(number(head)).sqrt();
        let mut weights = (query.matmul(&keys.t()?)? * scale)?;
        if let Some(mask) = mask {
            let length = keys.dim(2)?;
            let seen = weights.reshape((self.groups, each, count, length))?;
            let seen = seen.broadcast_add(mask)?;
            weights = seen.reshape((1, self.groups, each * count, length))?;
        }
        let found = softmax_last_dim(&weights)?.matmul(&values)?;
        let found = found.reshape((self.heads, count, head))?.transpose(0, 1)?;
        layer.attended.forward(&found.reshape((count, width))?)
    }
}

/// No token sees those after it.
fn mask(start: usize, count: usize) -> Result<Tensor> {
    let length = start + count;
    let row = |row: usize| {
        let see = move |column: usize| {
            if column <= start + row {
                0.0
            } else {
                f32::NEG_INFINITY
            }
        };
        (0..length).map(see)
    };
    let all: Vec<f32> = (0..count).flat_map(row).collect();
    Tensor::from_vec(all, (count, length), &Device::Cpu)
}
