//! The process's environment, read once.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// The environment as it was when the process began.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    variables: BTreeMap<String, String>,
    path: OsString,
}

impl Environment {
    /// Reads the environment; variables that are not text are left out.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is where the environment is read once"
    )]
    pub(crate) fn read() -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self {
            variables,
            path: std::env::var_os("PATH").unwrap_or_default(),
        }
    }

    /// A variable that is set and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Every variable.
    pub(crate) fn all(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    /// Where programs are looked for.
    pub(crate) fn path(&self) -> &OsString {
        &self.path
    }

    /// A directory of the XDG base directory specification.
    pub(crate) fn xdg(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        let set = self
            .get(variable)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute());
        set.or_else(|| {
            self.get("HOME")
                .map(|home| PathBuf::from(home).join(below_home))
        })
    }
}
