//! What files and batches are called: by their run, with a word for what they are.

use matrix_core::RunId;

use crate::error::ModelError;

/// How the ids of files begin.
const FILE: &str = "file-";

/// How the ids of batches begin.
const BATCH: &str = "batch_";

/// How the ids of a batch's own files end.
const OUTPUT: &str = "-output";
const ERRORS: &str = "-errors";

/// The most characters of a name that are repeated.
const REPEATED_MAX: usize = 80;

/// Which file a batch makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    Output,
    Errors,
}

impl Made {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Output => OUTPUT,
            Self::Errors => ERRORS,
        }
    }
}

/// The part of a run's id that its kind does not tell.
fn suffix(run: RunId) -> String {
    let text = run.to_string();
    text.strip_prefix("run_").unwrap_or(&text).to_owned()
}

/// The id of a file.
pub(super) fn file(run: RunId) -> String {
    format!("{FILE}{}", suffix(run))
}

/// The id of a file that a batch makes.
pub(super) fn made(run: RunId, made: Made) -> String {
    format!("{FILE}{}{}", suffix(run), made.word())
}

/// The id of a batch.
pub(super) fn batch(run: RunId) -> String {
    format!("{BATCH}{}", suffix(run))
}

/// The id of a request's answer.
pub(super) fn answer(run: RunId, index: usize) -> String {
    format!("batch_req_{}_{index}", suffix(run))
}

fn parse(prefix: &str, id: &str) -> Option<RunId> {
    format!("run_{}", id.strip_prefix(prefix)?).parse().ok()
}

/// The batch of an id.
pub(super) fn batch_of(id: &str) -> Result<RunId, ModelError> {
    parse(BATCH, id).ok_or_else(|| none(id))
}

/// The run of a file's id, and which of its files that is, if it is a batch.
pub(super) fn file_of(id: &str) -> Result<(RunId, Option<Made>), ModelError> {
    let (base, made) = if let Some(base) = id.strip_suffix(OUTPUT) {
        (base, Some(Made::Output))
    } else if let Some(base) = id.strip_suffix(ERRORS) {
        (base, Some(Made::Errors))
    } else {
        (id, None)
    };
    let run = parse(FILE, base).ok_or_else(|| none(id))?;
    Ok((run, made))
}

/// There is nothing of this name.
pub(super) fn none(named: &str) -> ModelError {
    ModelError::NoFile(named.chars().take(REPEATED_MAX).collect())
}
