//! Files: seen, read, found and written.

use std::fmt::Write as _;

use async_trait::async_trait;
use matrix_engine::{EffectClass, StepError};
use matrix_sandbox::live::Search;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{Declaration, Output, Tool, excerpt, inside, read, schema, writable};
use crate::workspace::{Bench, later};

/// The most bytes of a file that is read.
pub(super) const READ_MAX: u64 = 8 << 20;

/// How many lines are read unless more are asked for.
const LINES: usize = 1_000;

/// How much is listed or found at once.
const FOUND_MAX: usize = 200;

/// The most bytes of a file that is written.
pub(super) const WRITE_MAX: usize = 1 << 20;

/// Gives a tool its declaration.
macro_rules! declared {
    ($tool:ident, $arguments:ty, $name:literal, $effect:expr, $description:literal) => {
        #[doc = concat!("The tool `", $name, "`.")]
        pub(super) struct $tool(Declaration);

        impl $tool {
            pub(super) fn new() -> Self {
                Self(Declaration {
                    name: $name,
                    description: $description,
                    parameters: schema::<$arguments>(),
                    effect: $effect,
                    version: 1,
                })
            }
        }
    };
}
pub(super) use declared;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct List {
    /// A directory, from the top of the repository; the top itself if it is left out.
    path: Option<String>,
    /// Only files whose path matches, such as `src/**/*.rs` or `*.toml`.
    glob: Option<String>,
}

declared!(
    ListFiles,
    List,
    "list_files",
    EffectClass::Read,
    "Lists the files of the repository, or of a directory of it, recursively. What .gitignore names \
     is left out."
);

#[async_trait]
impl Tool for ListFiles {
    fn declaration(&self) -> &Declaration {
        &self.0
    }

    async fn call(&self, bench: &Bench<'_>, arguments: &Value) -> Result<Output, StepError> {
        let wanted = read::<List>(arguments).and_then(|list| {
            let root = inside(list.path.as_deref().unwrap_or("."))?;
            Ok(Search {
                root,
                pattern: None,
                glob: list.glob,
                most: FOUND_MAX,
            })
        });
        match wanted {
            Ok(search) => find(bench, &search, "there are no files here").await,
            Err(bad) => Ok(bad),
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SearchArguments {
    /// A regular expression that a line matches.
    pattern: String,
    /// A directory or a file, from the top of the repository; all of it if it is left out.
    path: Option<String>,
    /// Only files whose path matches, such as `*.rs`.
    glob: Option<String>,
}

declared!(
    SearchFiles,
    SearchArguments,
    "search_files",
    EffectClass::Read,
    "Finds lines that match a regular expression, with their files and line numbers. What .gitignore \
     names is left out."
);

#[async_trait]
impl Tool for SearchFiles {
    fn declaration(&self) -> &Declaration {
        &self.0
    }

    async fn call(&self, bench: &Bench<'_>, arguments: &Value) -> Result<Output, StepError> {
        let wanted = read::<SearchArguments>(arguments).and_then(|asked| {
            let root = inside(asked.path.as_deref().unwrap_or("."))?;
            Ok(Search {
                root,
                pattern: Some(asked.pattern),
                glob: asked.glob,
                most: FOUND_MAX,
            })
        });
        match wanted {
            Ok(search) => find(bench, &search, "nothing matches").await,
            Err(bad) => Ok(bad),
        }
    }
}

async fn find(bench: &Bench<'_>, search: &Search, nothing: &str) -> Result<Output, StepError> {
    let found = bench.live()?.search(search).await.map_err(later)?;
    let (hits, more) = match found {
        Ok(found) => found,
        Err(fault) => return Ok(Output::bad(fault.to_string())),
    };
    let mut text = String::new();
    for hit in &hits {
        let _ = match (hit.line, &hit.text) {
            (Some(line), Some(said)) => writeln!(text, "{}:{line}: {said}", hit.path),
            _ => writeln!(text, "{}", hit.path),
        };
    }
    if hits.is_empty() {
        text.push_str(nothing);
    }
    if more {
        let _ = writeln!(
            text,
            "[there is more than these {FOUND_MAX}; look for less with `path`, `glob` or a narrower pattern]"
        );
    }
    Ok(Output::good(excerpt(&text)))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Read {
    /// The file, from the top of the repository.
    path: String,
    /// The first line that is wanted, from 1.
    first_line: Option<usize>,
    /// How many lines are wanted; 1000 if it is left out.
    lines: Option<usize>,
}

declared!(
    ReadFile,
    Read,
    "read_file",
    EffectClass::Read,
    "Reads a text file, or some lines of it, as it is."
);

#[async_trait]
impl Tool for ReadFile {
    fn declaration(&self) -> &Declaration {
        &self.0
    }

    async fn call(&self, bench: &Bench<'_>, arguments: &Value) -> Result<Output, StepError> {
        let asked = match read::<Read>(arguments) {
            Ok(asked) => asked,
            Err(bad) => return Ok(bad),
        };
        let path = match inside(&asked.path) {
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
        let first = asked.first_line.unwrap_or(1).max(1);
        let most = asked.lines.unwrap_or(LINES).max(1);
        let total = text.lines().count();
        let mut shown: String = text
            .split_inclusive('\n')
            .skip(first - 1)
            .take(most)
            .collect();
        let last = (first - 1 + most).min(total);
        if first > total && total > 0 {
            let what = format!("`{}` has {total} lines", asked.path);
            return Ok(Output::bad(what));
        }
        shown = excerpt(&shown);
        if first > 1 || last < total {
            let _ = write!(shown, "\n[lines {first} to {last} of {total}]");
        }
        Ok(Output::good(shown))
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Write {
    /// The file, from the top of the repository; directories above it are made.
    path: String,
    /// The whole new content.
    content: String,
}

declared!(
    WriteFile,
    Write,
    "write_file",
    EffectClass::Workspace,
    "Writes a whole file, new or in place of the old one. To change a part of a file, use edit_file."
);

#[async_trait]
impl Tool for WriteFile {
    fn declaration(&self) -> &Declaration {
        &self.0
    }

    async fn call(&self, bench: &Bench<'_>, arguments: &Value) -> Result<Output, StepError> {
        let asked = match read::<Write>(arguments) {
            Ok(asked) => asked,
            Err(bad) => return Ok(bad),
        };
        write(bench, &asked.path, &asked.content).await
    }
}

/// Writes a file of the work tree.
pub(super) async fn write(
    bench: &Bench<'_>,
    path: &str,
    content: &str,
) -> Result<Output, StepError> {
    if content.len() > WRITE_MAX {
        let what = format!("a file may have {} KiB at most", WRITE_MAX >> 10);
        return Ok(Output::bad(what));
    }
    let full = match writable(path) {
        Ok(full) => full,
        Err(bad) => return Ok(bad),
    };
    let written = bench.live()?.write(&full, content.as_bytes()).await;
    Ok(match written.map_err(later)? {
        Ok(()) => Output::good(format!(
            "written: `{path}`, {} lines",
            content.lines().count()
        )),
        Err(fault) => Output::bad(format!("`{path}`: {fault}")),
    })
}
