//! What is configured of models.

use std::path::PathBuf;

use matrix_core::Problem;
use matrix_models::batch::Quota;
use matrix_server::Limits;
use serde::Serialize;

use super::absolute;
use super::sourced::{Pick, Sourced, by_default, parsed};
use crate::environment::Environment;

/// What is configured of models.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ModelConfig {
    /// A table of what models cost that goes before the bundled one.
    #[serde(rename = "model_prices")]
    pub(crate) prices: Sourced<Option<PathBuf>>,
    /// The most batches of a workspace that have not ended.
    #[serde(rename = "model_batches")]
    pub(crate) batches: Sourced<u32>,
    /// The most bytes of a workspace's files.
    #[serde(rename = "model_file_bytes")]
    pub(crate) file_bytes: Sourced<u64>,
}

/// What a file says of models.
#[derive(Debug, Default)]
pub(super) struct ModelFile {
    pub(super) prices: Option<PathBuf>,
    pub(super) batches: Option<u32>,
    pub(super) file_bytes: Option<u64>,
}

impl ModelConfig {
    /// The server's limits, with how much of files and batches a workspace may have.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            quota: Quota {
                batches: self.batches.value,
                file_bytes: self.file_bytes.value,
            },
            ..Limits::default()
        }
    }

    /// Brings environment, file and defaults together.
    pub(super) fn load(
        pick: &Pick<'_>,
        environment: &Environment,
        file: ModelFile,
    ) -> Result<Self, Problem> {
        let set = |name: &'static str| environment.get(name).map(|text| (name, text));
        let prices = parsed(set("MATRIX_MODEL_PRICES"));
        let batches = parsed(set("MATRIX_MODEL_BATCHES"));
        let file_bytes = parsed(set("MATRIX_MODEL_FILE_BYTES"));
        let usual = Quota::default();
        Ok(Self {
            prices: absolute(pick.optional(prices, file.prices)?)?,
            batches: pick
                .value(None, batches, file.batches)?
                .unwrap_or_else(|| by_default(usual.batches)),
            file_bytes: pick
                .value(None, file_bytes, file.file_bytes)?
                .unwrap_or_else(|| by_default(usual.file_bytes)),
        })
    }
}
