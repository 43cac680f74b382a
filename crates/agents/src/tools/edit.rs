//! Changing a part of a file.

use async_trait::async_trait;
use matrix_engine::{EffectClass, StepError};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::files::{READ_MAX, declared, write};
use super::{Declaration, Output, Tool, read, schema, writable};
use crate::workspace::{Bench, later};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Edit {
    /// The file, from the top of the repository.
    path: String,
    /// The text that is to be replaced, as it stands in the file, with enough lines around it to be
    /// found once.
    old: String,
    /// What comes in its place.
    new: String,
    /// Whether every place is meant, if there are several.
    #[serde(default)]
    all: bool,
}

declared!(
    EditFile,
    Edit,
    "edit_file",
    EffectClass::Workspace,
    "Replaces a text in a file by another one. The old text must be found exactly once, or `all` be \
     true; if it is not found as it is, lines that differ only in their indentation are taken."
);

#[async_trait]
impl Tool for EditFile {
    fn declaration(&self) -> &Declaration {
        &self.0
    }

    async fn call(&self, bench: &Bench<'_>, arguments: &Value) -> Result<Output, StepError> {
        let asked = match read::<Edit>(arguments) {
            Ok(asked) => asked,
            Err(bad) => return Ok(bad),
        };
        let path = match writable(&asked.path) {
            Ok(path) => path,
            Err(bad) => return Ok(bad),
        };
        let content = bench.live()?.read(&path, READ_MAX).await;
        let content = match content.map_err(later)? {
            Ok(content) => content,
            Err(fault) => return Ok(Output::bad(format!("`{}`: {fault}", asked.path))),
        };
        let Ok(text) = String::from_utf8(content) else {
            return Ok(Output::bad(format!("`{}` is not text", asked.path)));
        };
        match replaced(&text, &asked.old, &asked.new, asked.all) {
            Ok(changed) => {
                let mut output = write(bench, &asked.path, &changed.text).await?;
                if !output.failed {
                    output.text = format!("changed: `{}`, {}", asked.path, changed.how);
                }
                Ok(output)
            }
            Err(why) => Ok(Output::bad(format!("`{}`: {why}", asked.path))),
        }
    }
}

/// A changed text, and how it was done.
#[derive(Debug, PartialEq, Eq)]
struct Changed {
    text: String,
    how: String,
}

fn replaced(text: &str, old: &str, new: &str, all: bool) -> Result<Changed, String> {
    if old.is_empty() {
        return Err("`old` is empty; write_file makes a whole file".into());
    }
    if old == new {
        return Err("`old` and `new` are the same".into());
    }
    let count = text.matches(old).count();
    match count {
        0 => loosely(text, old, new),
        1 => Ok(Changed {
            text: text.replacen(old, new, 1),
            how: format!("in line {}", line_of(text, text.find(old).unwrap_or(0))),
        }),
        _ if all => Ok(Changed {
            text: text.replace(old, new),
            how: format!("in {count} places"),
        }),
        _ => {
            let lines: Vec<String> = text
                .match_indices(old)
                .take(5)
                .map(|(at, _)| line_of(text, at).to_string())
                .collect();
            Err(format!(
                "`old` stands there {count} times, in lines {}; give more lines around it, or set `all`",
                lines.join(", ")
            ))
        }
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.get(..at).unwrap_or_default().matches('\n').count() + 1
}

/// Looks for lines that differ in their indentation alone, and gives the new ones that of the file.
fn loosely(text: &str, old: &str, new: &str) -> Result<Changed, String> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let wanted: Vec<&str> = old.trim_matches('\n').lines().map(str::trim).collect();
    let fits = |start: &usize| {
        let here = lines.get(*start..*start + wanted.len()).unwrap_or_default();
        here.iter()
            .map(|line| line.trim())
            .eq(wanted.iter().copied())
    };
    let last = (lines.len() + 1).saturating_sub(wanted.len());
    let found: Vec<usize> = (0..last).filter(fits).collect();
    let meaningful = wanted.iter().any(|line| !line.is_empty());
    match found.as_slice() {
        [start] if meaningful => {
            let (before, rest) = lines.split_at(*start);
            let (here, after) = rest.split_at(wanted.len());
            let shift = Shift::between(old, here);
            let mut text = before.concat();
            for line in new.trim_matches('\n').lines() {
                text.push_str(&shift.apply(line));
                text.push('\n');
            }
            if here.last().is_some_and(|line| !line.ends_with('\n')) {
                text.pop();
            }
            text.push_str(&after.concat());
            Ok(Changed {
                text,
                how: format!("in line {}, where the indentation differs", start + 1),
            })
        }
        [] => Err("`old` is not there; read the file again, it may have changed".into()),
        several => Err(format!(
            "`old` is not there as it is, and {} places are like it but for their indentation; give \
             it exactly",
            several.len()
        )),
    }
}

/// What is to be put before each line, or taken away.
enum Shift {
    Add(String),
    Take(usize),
}

impl Shift {
    fn between(old: &str, here: &[&str]) -> Self {
        let indent = |line: &str| line.len() - line.trim_start().len();
        let said = old
            .trim_matches('\n')
            .lines()
            .find(|line| !line.trim().is_empty());
        let is = here.iter().find(|line| !line.trim().is_empty());
        let (said, is) = (said.unwrap_or_default(), is.copied().unwrap_or_default());
        let (from, to) = (indent(said), indent(is));
        if to >= from {
            Self::Add(is.get(..to - from).unwrap_or_default().to_owned())
        } else {
            Self::Take(from - to)
        }
    }

    fn apply(&self, line: &str) -> String {
        if line.trim().is_empty() {
            return String::new();
        }
        match self {
            Self::Add(more) => format!("{more}{line}"),
            Self::Take(less) => {
                let indent = line.len() - line.trim_start().len();
                line.get(indent.min(*less)..).unwrap_or(line).to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(text: &str, old: &str, new: &str, all: bool) -> String {
        replaced(text, old, new, all).unwrap().text
    }

    #[test]
    fn what_is_found_once_is_replaced_and_nothing_else() {
        assert_eq!(done("a\nb\nc\n", "b\n", "x\ny\n", false), "a\nx\ny\nc\n");
        assert_eq!(done("a b a", "a", "x", true), "x b x");
        let twice = replaced("a\nb\na\n", "a", "x", false).unwrap_err();
        assert!(twice.contains("lines 1, 3"), "{twice}");
        for (old, new) in [("", "x"), ("a", "a"), ("zzz", "x")] {
            assert!(replaced("a\n", old, new, false).is_err(), "{old}");
        }
    }

    #[test]
    fn indentation_may_differ_where_only_one_place_is_meant() {
        let text = "fn a() {\n    if x {\n        y();\n    }\n}\n";
        let changed = done(
            text,
            "if x {\n    y();\n}",
            "if z {\n    y();\n    w();\n}",
            false,
        );
        assert_eq!(
            changed,
            "fn a() {\n    if z {\n        y();\n        w();\n    }\n}\n"
        );
        let less = done("  a\n  b", "      a\n      b", "      c", false);
        assert_eq!(less, "  c");
        assert!(replaced("  a\n   a\n", "\ta\n", "b", false).is_err());
    }
}
