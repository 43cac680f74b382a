//! How everything that goes wrong reaches a person: a stable code, one sentence on what happened
//! to which thing, and what to do next.
//!
//! A room declares its codes as constants (`pub const NOT_FOUND: Code = Code::new("RUN-0001", …)`)
//! and turns each of its errors into a [`Problem`]. `docs/errors/CODE.md` explains each code; the
//! workspace check fails when one of the two is missing.

use serde::Serialize;
use serde_json::Value;

/// A stable error code with its meaning at both faces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// `ROOM-NNNN`, never given to another meaning.
    pub text: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The exit code of the command line.
    pub exit: u8,
    /// A few words that never change with the case.
    pub title: &'static str,
}

impl Code {
    /// Declares a code.
    pub const fn new(text: &'static str, status: u16, exit: u8, title: &'static str) -> Self {
        Self {
            text,
            status,
            exit,
            title,
        }
    }
}

/// No policy allows it.
pub const DENIED: Code = Code::new("AUTH-0001", 403, 4, "not allowed");

/// One failure, ready for a person (RFC 9457 when sent as JSON).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The stable code.
    pub code: Code,
    /// What happened to which thing.
    pub detail: String,
    /// What to do next.
    pub help: Option<String>,
    /// More members, such as the run's id.
    pub members: Box<serde_json::Map<String, Value>>,
}

impl Problem {
    /// A problem with what happened.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            help: None,
            members: Box::default(),
        }
    }

    /// Says what to do next.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds a member.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.members.insert(key.to_owned(), value.into());
        self
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} [{}]", self.detail, self.code.text)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

impl Serialize for Problem {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serde_json::Map::clone(&self.members);
        map.insert(
            "type".into(),
            format!("urn:matrix:error:{}", self.code.text).into(),
        );
        map.insert("code".into(), self.code.text.into());
        map.insert("title".into(), self.code.title.into());
        map.insert("status".into(), self.code.status.into());
        map.insert("detail".into(), self.detail.clone().into());
        if let Some(help) = &self.help {
            map.insert("help".into(), help.clone().into());
        }
        map.serialize(serializer)
    }
}

impl From<crate::authorise::Denied> for Problem {
    fn from(denied: crate::authorise::Denied) -> Self {
        Problem::new(DENIED, denied.to_string())
            .help("`matrix policy explain` shows the rule that decided")
    }
}
