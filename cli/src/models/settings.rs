//! `[models]` of the configuration file: what the operator says of all models.

use std::path::PathBuf;

use matrix_core::Problem;
use matrix_models::Guards;
use matrix_models::provider::{PictureRules, certificates};
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
    /// A file with certificates that are trusted beside the machine's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<PathBuf>,
    /// Whether pictures are fetched for providers that fetch none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pictures: Option<PictureRules>,
}

impl ModelsFile {
    /// Refuses what cannot be right.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        if let Some(hook) = &self.hook {
            hook.check().map_err(|error| refused(error.to_string()))?;
        }
        // A host in the background may stand elsewhere.
        match &self.ca {
            Some(path) if !path.is_absolute() => {
                let path = path.display();
                Err(refused(format!(
                    "`ca`, {path}, must be a path from the root"
                )))
            }
            _ => Ok(()),
        }
    }

    /// Whether pictures are fetched for providers that fetch none.
    pub(super) fn pictures(&self) -> PictureRules {
        self.pictures.unwrap_or_default()
    }

    /// Certificates that are trusted beside the machine's own.
    pub(super) fn roots(&self) -> Result<Vec<Vec<u8>>, Problem> {
        let Some(path) = &self.ca else {
            return Ok(Vec::new());
        };
        let wrong = |why: String| {
            let problem = refused(format!("`ca`, {}, {why}", path.display()));
            problem.help("name a file of certificates in PEM (BEGIN CERTIFICATE …)")
        };
        let text =
            std::fs::read(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        let found = certificates(&text).map_err(|why| wrong(why.to_string()))?;
        if found.is_empty() {
            return Err(wrong("holds no certificate".into()));
        }
        Ok(found)
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

fn refused(why: impl std::fmt::Display) -> Problem {
    Problem::new(BAD_CONFIG, format!("[models]: {why}")).help("see `matrix config show --origin`")
}
