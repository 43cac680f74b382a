//! `[models]` of the configuration file: what the operator says of all models.

use matrix_core::Problem;
use matrix_models::Guards;
use matrix_models::redact::{GuardSpec, HookSpec};
use matrix_models::sources::KeySources;
use serde::{Deserialize, Serialize};

use crate::config::BAD_CONFIG;

/// `[models]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ModelsFile {
    /// What is at least done with what must not go to a model.
    #[serde(skip_serializing_if = "GuardSpec::is_empty")]
    guard: GuardSpec,
    /// A service that redacts requests after us.
    #[serde(skip_serializing_if = "Option::is_none")]
    hook: Option<HookSpec>,
    /// Which secrets may be sent to providers.
    #[serde(skip_serializing_if = "Option::is_none")]
    keys_from: Option<KeySources>,
}

impl ModelsFile {
    /// Refuses what cannot be right.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        let wrong = |error: matrix_models::registry::InvalidSpec| {
            Problem::new(BAD_CONFIG, format!("[models]: {error}"))
                .help("see `matrix config show --origin`")
        };
        self.hook
            .as_ref()
            .map_or(Ok(()), HookSpec::check)
            .map_err(wrong)
    }

    /// Which secrets may be sent to providers.
    pub(super) fn keys(&self) -> KeySources {
        self.keys_from.clone().unwrap_or_default()
    }

    /// What must not go to models.
    pub(super) fn guards(&self) -> Guards {
        Guards {
            spec: self.guard.clone(),
            hook: self.hook.clone(),
        }
    }
}
