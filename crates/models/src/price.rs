//! What tokens cost.
//!
//! Prices are whole picodollars (10⁻¹² US dollars) per token, so a cost is exact; it is rounded up
//! once, to a billionth of a dollar. The bundled table names its source and date; a price in the
//! model's own specification goes before it. A model without a price is not called, unless its
//! specification says that it is free or unpriced.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use matrix_core::Money;
use serde::{Deserialize, Serialize};

use crate::usage::Usage;

/// What a model's tokens cost, in picodollars each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Price {
    /// Read.
    pub input: u64,
    /// Written.
    pub output: u64,
    /// Read from the provider's cache; without a word, as any other that is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<u64>,
    /// Put into the provider's cache; without a word, as any other that is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<u64>,
    /// One question to a model that ranks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<u64>,
    /// Other prices for calls that read more than so many tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub above: Option<Box<Above>>,
}

/// Prices of calls that read more than so many tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Above {
    /// So many.
    pub tokens: u64,
    /// What every token of such a call costs.
    #[serde(flatten)]
    pub price: Price,
}

impl Price {
    /// What a call costs.
    pub fn cost(&self, usage: &Usage) -> Money {
        if let Some(above) = self
            .above
            .as_deref()
            .filter(|above| usage.input > above.tokens)
        {
            let price = Self {
                above: None,
                cache_read: above.price.cache_read.or(self.cache_read),
                cache_write: above.price.cache_write.or(self.cache_write),
                ..above.price.clone()
            };
            return price.cost(usage);
        }
        let plain = usage
            .input
            .saturating_sub(usage.cache_read.saturating_add(usage.cache_write));
        let sum = product(plain, self.input)
            + product(usage.cache_read, self.cache_read.unwrap_or(self.input))
            + product(usage.cache_write, self.cache_write.unwrap_or(self.input))
            + product(usage.output, self.output);
        money(sum)
    }

    /// The most that a call of so many tokens can cost: as if none came from a cache, and all were
    /// put there.
    pub fn most(&self, input: u64, output: u64) -> Money {
        let price = match self.above.as_deref() {
            Some(above) if input > above.tokens => &above.price,
            _ => self,
        };
        let read = price.input.max(price.cache_write.unwrap_or(0));
        money(product(input, read) + product(output, price.output))
    }

    /// What so many questions to a model that ranks cost.
    pub fn queries(&self, count: u64) -> Money {
        money(product(count, self.query.unwrap_or(0)))
    }
}

fn product(tokens: u64, price: u64) -> u128 {
    u128::from(tokens) * u128::from(price)
}

/// Picodollars as billionths, rounded up.
fn money(pico: u128) -> Money {
    Money::from_nanos(i64::try_from(pico.div_ceil(1000)).unwrap_or(i64::MAX))
}

/// What is publicly known of a provider's model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Known {
    /// What it costs.
    #[serde(flatten)]
    pub price: Price,
    /// The most tokens it reads.
    pub context: Option<u64>,
    /// The most it writes.
    pub max_output: Option<u64>,
    /// What it can: `tools`, `vision`, `schema`, `reasoning`…
    #[serde(rename = "can")]
    pub capabilities: Vec<String>,
    /// What it is for: `chat`, `embedding`, `rerank`…
    pub mode: String,
}

/// Where a table of prices comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Origin {
    /// The catalogue.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its licence.
    pub licence: String,
    /// When it was taken.
    pub date: String,
}

/// What is publicly known of models, by `provider/model`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Catalogue {
    /// Where it comes from.
    #[serde(default)]
    pub source: Origin,
    models: BTreeMap<String, Known>,
}

impl Catalogue {
    /// The bundled one.
    pub fn bundled() -> &'static Self {
        static TABLE: OnceLock<Catalogue> = OnceLock::new();
        TABLE.get_or_init(|| {
            serde_json::from_str(include_str!("price/prices.json")).unwrap_or_default()
        })
    }

    /// Reads one from a file's text.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// What is known of a provider's model.
    pub fn get(&self, provider: &str, model: &str) -> Option<&Known> {
        self.models.get(&format!("{provider}/{model}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_table_is_read_and_says_where_it_comes_from() {
        let table = Catalogue::bundled();
        assert_eq!(table.source.licence, "MIT");
        let known = table.get("openai", "gpt-4o-mini").unwrap();
        let usage = Usage {
            input: 1_000,
            output: 100,
            cache_read: 400,
            ..Usage::default()
        };
        // 600 × 0.15 + 400 × 0.075 + 100 × 0.60 dollars for a million.
        assert_eq!(known.price.cost(&usage).to_string(), "0.00018");
        assert_eq!(known.context, Some(128_000));
        assert!(known.capabilities.iter().any(|can| can == "tools"));
    }

    #[test]
    fn a_long_call_costs_what_long_calls_cost_and_never_less_than_reserved() {
        let price = Price {
            input: 1_000,
            output: 5_000,
            cache_write: Some(1_250),
            above: Some(Box::new(Above {
                tokens: 10,
                price: Price {
                    input: 2_000,
                    output: 9_000,
                    ..Price::default()
                },
            })),
            ..Price::default()
        };
        let usage = |input| Usage {
            input,
            output: 3,
            ..Usage::default()
        };
        assert_eq!(price.cost(&usage(10)).as_nanos(), 25);
        assert_eq!(price.cost(&usage(11)).as_nanos(), 49);
        for input in 0..30 {
            assert!(price.most(input, 3) >= price.cost(&usage(input)), "{input}");
        }
    }
}
