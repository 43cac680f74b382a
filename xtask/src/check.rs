//! `check`: the rules of this repository that no compiler knows.
//!
//! Each rule is a file here and a function from what was read to a list of [`Finding`]s, so that it
//! is tested without a repository. A finding says where and what; a warning does not fail.

mod arrows;
pub(crate) mod codes;
mod dependencies;
mod links;
mod sizes;
mod words;

use std::fmt;
use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::generate;
use crate::machine;
use crate::say;
use crate::workspace::Workspace;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Whether the check fails for it.
    pub(crate) severity: Severity,
    /// A file, with a line where that helps, or the name of a package.
    pub(crate) place: String,
    /// What is wrong and what would be right.
    pub(crate) message: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// Worth a look.
    Warning,
    /// Must be put right.
    Error,
}

impl Finding {
    /// Something that must be put right.
    pub(crate) fn error(place: impl fmt::Display, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            place: place.to_string(),
            message: message.into(),
        }
    }

    /// Something worth a look.
    pub(crate) fn warning(place: impl fmt::Display, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(place, message)
        }
    }
}

/// A text file of the repository.
#[derive(Debug, Clone)]
pub(crate) struct SourceFile {
    /// Relative to the root.
    pub(crate) path: PathBuf,
    /// What is in it.
    pub(crate) text: String,
}

impl SourceFile {
    /// Whether this is code of ours that the product is built from.
    pub(crate) fn is_product_code(&self) -> bool {
        let tested = ["tests", "benches", "examples"];
        self.path.extension().is_some_and(|end| end == "rs")
            && (self.path.starts_with("crates") || self.path.starts_with("cli"))
            && !self
                .path
                .components()
                .any(|part| tested.iter().any(|name| part.as_os_str() == *name))
    }
}

impl SourceFile {
    /// The lines outside of test modules. A test module begins with `#[cfg(test)]` and a `mod` with
    /// a body, and ends with the next line that is a single brace; the formatter sees to that.
    pub(crate) fn lines_without_tests(&self) -> Vec<&str> {
        let mut kept = Vec::new();
        let mut lines = self.text.lines().peekable();
        while let Some(line) = lines.next() {
            let opens = |next: &&str| next.starts_with("mod ") && next.ends_with('{');
            if line == "#[cfg(test)]" && lines.peek().is_some_and(opens) {
                lines.by_ref().find(|line| *line == "}");
            } else {
                kept.push(line);
            }
        }
        kept
    }
}

/// Every text file of the repository.
pub(crate) fn sources(workspace: &Workspace) -> Result<Vec<SourceFile>> {
    let mut sources = Vec::new();
    for path in workspace.files()? {
        if let Some(text) = workspace.text(&path)? {
            sources.push(SourceFile { path, text });
        }
    }
    Ok(sources)
}

/// Runs every rule.
pub(crate) fn run() -> Result<()> {
    all(&Workspace::read()?)
}

/// Runs every rule on this workspace; fails when one of them found an error.
pub(crate) fn all(workspace: &Workspace) -> Result<()> {
    let sources = sources(workspace)?;
    let rules: [(&str, Vec<Finding>); 7] = [
        ("arrows between crates", arrows::check(workspace)),
        ("sizes of files", sizes::check(&sources)),
        ("error codes", codes::check(&sources)),
        ("words", {
            words::check(&sources, &workspace.root, machine::home().as_deref())
        }),
        ("dependencies", dependencies::check(workspace, &sources)),
        ("links", links::check(&sources, &workspace.root)),
        ("generated files", generate::check(&sources)),
    ];
    let mut errors = 0;
    for (rule, findings) in rules {
        for finding in &findings {
            let text = format!("{}: {}", finding.place, finding.message);
            match finding.severity {
                Severity::Warning => say::warning(&text),
                Severity::Error => {
                    errors += 1;
                    say::error(&text);
                }
            }
        }
        let worst = findings.iter().any(|f| f.severity == Severity::Error);
        say::progress(&format!("{rule}: {}", if worst { "wrong" } else { "ok" }));
    }
    if errors > 0 {
        bail!("{errors} findings of `cargo xtask check` must be put right");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_modules_are_left_out() {
        let lines = |text: &str| {
            let file = SourceFile {
                path: "a.rs".into(),
                text: text.into(),
            };
            file.lines_without_tests().len()
        };
        let text = "fn a() {\n}\n\n#[cfg(test)]\nmod tests {\n    fn t() {\n    }\n}\nfn b() {}\n";
        assert_eq!(lines(text), 4);
        assert_eq!(lines("#[cfg(test)]\nmod tests;\n"), 2);
    }
}
