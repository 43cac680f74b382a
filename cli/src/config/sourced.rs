//! Values that know where they came from, and who decides: the flag, else the variable, else the
//! file.

use std::path::PathBuf;

use matrix_core::Problem;
use serde::Serialize;

use super::refused;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Origin {
    /// A flag of the command line.
    Flag(&'static str),
    /// A variable of the environment.
    Environment(&'static str),
    /// The configuration file.
    File(PathBuf),
    /// Nobody said anything.
    Default,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "the flag {name}"),
            Self::Environment(name) => write!(f, "the variable {name}"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value with its origin.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sourced<T> {
    /// The value.
    pub(crate) value: T,
    /// Where it came from.
    pub(crate) origin: Origin,
}

/// What a variable says, with its name; none is not set.
pub(super) type FromEnvironment<T> = Option<Result<(T, &'static str), Problem>>;

/// A variable's text as a value.
pub(super) fn parsed<T: std::str::FromStr>(
    found: Option<(&'static str, &str)>,
) -> FromEnvironment<T>
where
    T::Err: std::fmt::Display,
{
    found.map(|(name, text)| {
        text.parse()
            .map(|value| (value, name))
            .map_err(|error| refused(format!("{name} is `{text}`: {error}")))
    })
}

/// Chooses between those that may decide.
pub(super) struct Pick<'a> {
    /// What a value of the file came from.
    pub(super) file: &'a dyn Fn() -> Origin,
}

impl Pick<'_> {
    /// The value of the first that says one.
    pub(super) fn value<T>(
        &self,
        flag: Option<(T, Origin)>,
        environment: FromEnvironment<T>,
        file: Option<T>,
    ) -> Result<Option<Sourced<T>>, Problem> {
        if let Some((value, origin)) = flag {
            return Ok(Some(Sourced { value, origin }));
        }
        if let Some(found) = environment {
            let (value, name) = found?;
            return Ok(Some(Sourced {
                value,
                origin: Origin::Environment(name),
            }));
        }
        Ok(file.map(|value| Sourced {
            value,
            origin: (self.file)(),
        }))
    }

    /// The same of a value that may be absent and has no flag.
    pub(super) fn optional<T>(
        &self,
        environment: FromEnvironment<T>,
        file: Option<T>,
    ) -> Result<Sourced<Option<T>>, Problem> {
        let found = self.value(None, environment, file)?;
        Ok(match found {
            Some(Sourced { value, origin }) => Sourced {
                value: Some(value),
                origin,
            },
            None => Sourced {
                value: None,
                origin: Origin::Default,
            },
        })
    }
}

/// A value that nobody decided.
pub(super) fn by_default<T>(value: T) -> Sourced<T> {
    Sourced {
        value,
        origin: Origin::Default,
    }
}

/// A table, which only the file has.
pub(super) fn from_table<T: Default>(file: &dyn Fn() -> Origin, table: Option<T>) -> Sourced<T> {
    table.map_or_else(
        || by_default(T::default()),
        |value| Sourced {
            value,
            origin: file(),
        },
    )
}

/// The parts of a text between commas.
pub(super) fn several<T: std::str::FromStr>(
    found: Option<(&'static str, &str)>,
) -> FromEnvironment<Vec<T>>
where
    T::Err: std::fmt::Display,
{
    let (name, text) = found?;
    let parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let parts: Result<Vec<T>, _> = parts
        .map(|part| {
            part.parse()
                .map_err(|error| refused(format!("{name}: {error}")))
        })
        .collect();
    Some(parts.map(|parts| (parts, name)))
}
