//! Commands of cargo, and where it finds its crates offline.

use std::path::PathBuf;

use super::{CRATES, Missing, Planned, Reader, Streams, quoted, words};
use crate::verify::detect::Recipe;
use matrix_sandbox::toolchain::{Tool, Toolchain};

impl Planned {
    /// Tells cargo where its crates are. It takes them from one directory, so those of several
    /// projects are linked into one: what has the same name and version is the same crate.
    pub(super) fn tell_cargo(&mut self) -> Result<(), Missing> {
        let crates = std::mem::take(&mut self.crates);
        let directory = match crates.as_slice() {
            [] => return Ok(()),
            [only] => only.directory.clone(),
            _ => PathBuf::from(CRATES),
        };
        let mut all = toml::Table::new();
        for one in &crates {
            let sources = std::fs::read_to_string(&one.config)
                .ok()
                .and_then(|text| text.parse::<toml::Table>().ok())
                .ok_or_else(|| Missing(String::from("the crates that were fetched are gone")))?;
            let sources = sources.get("source").and_then(toml::Value::as_table);
            for (name, source) in sources.into_iter().flatten() {
                let mut source = source.clone();
                if let Some(place) = source.get_mut("directory") {
                    *place = directory.to_string_lossy().into_owned().into();
                }
                all.insert(name.clone(), source);
            }
        }
        let config = toml::Table::from_iter([(String::from("source"), all.into())]).to_string();
        self.set_up("mkdir -p \"$CARGO_HOME\"");
        if crates.len() > 1 {
            self.set_up(&format!("mkdir -p {CRATES}"));
            for one in &crates {
                let from = quoted(&one.directory.to_string_lossy());
                self.set_up(&format!("ln -sfn {from}/* {CRATES}/"));
            }
        }
        let line = format!(
            "printf %s {} > \"$CARGO_HOME/config.toml\"",
            quoted(&config)
        );
        self.set_up(&line);
        Ok(())
    }

    pub(super) fn cargo(&mut self, recipe: &Recipe, toolchain: &Toolchain) {
        match recipe {
            Recipe::CargoLint => {
                let verb = if toolchain.tools.contains(&Tool::Clippy) {
                    "clippy"
                } else {
                    self.notes.push(String::from(
                        "clippy is not installed; `cargo check` ran instead",
                    ));
                    "check"
                };
                self.command = words(&[
                    "cargo",
                    verb,
                    "--offline",
                    "--workspace",
                    "--all-targets",
                    "--message-format=json",
                ]);
                self.reader = Reader::CargoJson;
                self.streams = Streams::Separate;
            }
            Recipe::CargoTest => {
                self.command = words(&[
                    "cargo",
                    "test",
                    "--offline",
                    "--workspace",
                    "--no-fail-fast",
                ]);
                self.reader = Reader::Libtest;
            }
            _ => {
                self.command = words(&["cargo", "build", "--offline", "--workspace", "--release"]);
            }
        }
    }
}
