//! `matrix verify`: offline, trusting only the keys given or those of the data directory.

use std::fs::File;
use std::path::Path;

use matrix_changes::signing::Keyring;
use matrix_core::{Digest, Problem};
use matrix_evidence::keys::PublicKey;
use matrix_evidence::verify::{self, Artifact};
use serde_json::json;

use super::Context;
use super::change::UNREADABLE;
use crate::args::VerifyArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::{output, reader};

pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    let code = matrix_core::Code {
        exit: 1,
        ..UNREADABLE
    };
    Problem::new(code, format!("{} cannot be read: {error}", path.display()))
}

/// A file's text.
pub(super) fn text(path: &Path) -> Result<String, Problem> {
    std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))
}

/// A file that could not be written.
pub(super) fn unwritable(path: &Path, error: &std::io::Error) -> Problem {
    let code = matrix_core::Code {
        exit: 1,
        ..UNREADABLE
    };
    Problem::new(
        code,
        format!("{} cannot be written: {error}", path.display()),
    )
}

pub(super) fn verify(context: &Context, arguments: &VerifyArgs) -> Result<Exit, Failure> {
    let path = &arguments.bundle;
    let bundle = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
    let keys = keys(context, &arguments.key)?;
    let artifacts = arguments
        .artifact
        .iter()
        .map(|path| {
            let digest = File::open(path).and_then(Digest::of_reader);
            let (digest, _) = digest.map_err(|error| unreadable(path, &error))?;
            Ok(Artifact {
                name: path.display().to_string(),
                digest,
            })
        })
        .collect::<Result<Vec<_>, Problem>>()?;
    match verify::verify(&bundle, &keys, &artifacts) {
        Ok(verified) => {
            if context.json {
                output::json(&json!({ "verified": true, "bundle": verified }));
                return Ok(Exit::Done);
            }
            for check in &verified.checks {
                output::line(format_args!("✓ {check}"));
            }
            for skipped in &verified.skipped {
                output::line(format_args!(
                    "– {} skipped: {}",
                    skipped.kind, skipped.reason
                ));
            }
            output::line(format_args!(
                "verified: {} ({})",
                verified.title, verified.run
            ));
            Ok(Exit::Done)
        }
        Err(failures) => {
            let problems: Vec<Problem> = failures.into_iter().map(Problem::from).collect();
            if context.json {
                output::json(&json!({ "verified": false, "failures": problems }));
            }
            for problem in &problems {
                output::note(format_args!("matrix: {problem}"));
            }
            output::note(format_args!("not verified: {}", path.display()));
            Ok(Exit::Failed)
        }
    }
}

/// The keys that are trusted: those named, or those of the data directory.
pub(super) fn keys(
    context: &Context,
    named: &[std::path::PathBuf],
) -> Result<Vec<PublicKey>, Problem> {
    if named.is_empty() {
        let keyring = Keyring::at(reader::layout(&context.config).keys());
        return Ok(keyring
            .public_keys()?
            .into_iter()
            .map(|file| file.key)
            .collect());
    }
    named
        .iter()
        .map(|path| {
            let pem = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
            Ok(PublicKey::from_pem(&pem)?)
        })
        .collect()
}
