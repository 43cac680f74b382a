//! `generate`: files that are made from others, so that they cannot disagree with them.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::check::codes::{self, Declared};
use crate::check::{self, Finding, SourceFile};
use crate::say;
use crate::workspace::Workspace;

/// A file that is made: where it lies, and its text.
type Made = (&'static str, String);

/// Everything that is made from these sources.
fn made(sources: &[SourceFile]) -> Vec<Made> {
    vec![(
        "docs/reference/errors.md",
        errors(&codes::declared(sources)),
    )]
}

/// Writes every file that is not as it should be.
pub(crate) fn run() -> Result<()> {
    let workspace = Workspace::read()?;
    for (name, text) in made(&check::sources(&workspace)?) {
        let file = workspace.root.join(name);
        if fs::read_to_string(&file).is_ok_and(|found| found == text) {
            say::progress(&format!("{name} is up to date"));
            continue;
        }
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&file, text).with_context(|| format!("cannot write {name}"))?;
        say::progress(&format!("{name} was written"));
    }
    Ok(())
}

/// Finds every file that is not as `generate` would write it.
pub(crate) fn check(sources: &[SourceFile]) -> Vec<Finding> {
    made(sources)
        .into_iter()
        .filter(|(name, text)| {
            let found = sources.iter().find(|file| file.path == Path::new(name));
            found.is_none_or(|file| file.text != *text)
        })
        .map(|(name, _)| Finding::error(name, "is not up to date; run `cargo xtask generate`"))
        .collect()
}

/// The table of all error codes.
fn errors(codes: &[Declared]) -> String {
    let mut text = String::from(
        "# Error codes\n\n\
         Everything that goes wrong has a code that never changes its meaning. This page is made \
         from the code by\n`cargo xtask generate`.\n\n\
         | code | meaning | HTTP status | exit code |\n|---|---|---|---|\n",
    );
    for Declared {
        code,
        status,
        exit,
        title,
        ..
    } in codes
    {
        // Writing to a text cannot fail.
        let _ = writeln!(
            text,
            "| [{code}](../errors/{code}.md) | {title} | {status} | {exit} |"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_fresh_only_when_it_is_what_would_be_written() {
        let code = SourceFile {
            path: "crates/engine/src/run.rs".into(),
            text: r#"Code::new("RUN-0001", 404, 6, "run not found")"#.into(),
        };
        let (name, text) = made(std::slice::from_ref(&code)).remove(0);
        assert!(text.contains("| [RUN-0001](../errors/RUN-0001.md) | run not found | 404 | 6 |"));
        let page = |text: String| SourceFile {
            path: name.into(),
            text,
        };
        assert_eq!(check(&[code.clone(), page(text.clone())]), []);
        assert_eq!(check(&[code.clone(), page(text + "\n")]).len(), 1);
        assert_eq!(check(&[code]).len(), 1, "the page is missing");
    }
}
