//! What a caller says about where a run queues.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

use matrix_core::{Code, Problem, Timestamp};
use matrix_store::tables::queue::Placement;
use serde::{Deserialize, Serialize};

use super::rules::Rules;

/// The lane of whoever names none.
pub const DEFAULT_LANE: &str = "default";

/// The most characters of a lane's or a capability's name.
const NAME_MAX: usize = 64;
/// The most bytes of a key.
const KEY_MAX: usize = 200;
/// The most capabilities that a run requires.
const CAPABILITIES_MAX: usize = 16;

/// A run cannot queue where it was to.
const BAD_PLACING: Code = Code::new("QUEUE-0001", 422, 2, "it cannot queue there");

/// How urgent a run is: from 0 to 9, which is the most urgent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Said", into = "u8")]
pub struct Priority(u8);

/// A priority as it is said: a number or a name.
#[derive(Deserialize)]
#[serde(untagged)]
enum Said {
    Number(u8),
    Name(String),
}

impl Priority {
    /// 8.
    pub const HIGH: Self = Self(8);
    /// 5.
    pub const NORMAL: Self = Self(5);
    /// 2.
    pub const LOW: Self = Self(2);

    /// The number.
    pub fn level(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::NORMAL
    }
}

impl TryFrom<u8> for Priority {
    type Error = BadPlacing;

    fn try_from(level: u8) -> Result<Self, BadPlacing> {
        if level <= 9 {
            Ok(Self(level))
        } else {
            Err(BadPlacing::Priority(level.to_string()))
        }
    }
}

impl TryFrom<Said> for Priority {
    type Error = BadPlacing;

    fn try_from(said: Said) -> Result<Self, BadPlacing> {
        match said {
            Said::Number(level) => level.try_into(),
            Said::Name(name) => name.parse(),
        }
    }
}

impl From<Priority> for u8 {
    fn from(priority: Priority) -> Self {
        priority.0
    }
}

impl FromStr for Priority {
    type Err = BadPlacing;

    fn from_str(text: &str) -> Result<Self, BadPlacing> {
        match text {
            "high" => Ok(Self::HIGH),
            "normal" => Ok(Self::NORMAL),
            "low" => Ok(Self::LOW),
            _ => text
                .parse()
                .ok()
                .and_then(|level: u8| Self::try_from(level).ok())
                .ok_or_else(|| BadPlacing::Priority(text.to_owned())),
        }
    }
}

/// Why a run cannot queue where it was to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPlacing {
    /// No such priority.
    #[error("`{0}` is no priority")]
    Priority(String),
    /// The operator has no lane of this name.
    #[error("there is no lane `{0}`; there are {1}")]
    Lane(String, String),
    /// A key that is empty, too long, or not printable.
    #[error("a key has 1 to {KEY_MAX} bytes and no control character")]
    Key,
    /// A name that is not one.
    #[error(
        "`{0}` is no name of a capability: 1 to {NAME_MAX} letters, digits and `_`, `-`, `.`, `:`"
    )]
    Capability(String),
    /// A name or a rule that cannot be.
    #[error(
        "a singleton has a name like a key, `again` is refuse, join or replace, and only replace \
         has a debounce"
    )]
    Singleton,
    /// More than are looked at.
    #[error("a run requires at most {CAPABILITIES_MAX} capabilities")]
    Capabilities,
}

impl From<BadPlacing> for Problem {
    fn from(error: BadPlacing) -> Self {
        let help = match &error {
            BadPlacing::Priority(_) => "give 0 to 9 (9 is the most urgent), high, normal or low",
            BadPlacing::Lane(..) => "lanes are named in the configuration file, as [lanes.NAME]",
            BadPlacing::Singleton => "see `matrix change run --help`",
            BadPlacing::Key | BadPlacing::Capability(_) | BadPlacing::Capabilities => {
                "give a shorter one"
            }
        };
        Self::new(BAD_PLACING, error.to_string()).help(help)
    }
}

/// Where a run queues.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placing {
    /// The lane; `default` if nobody names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<String>,
    /// How urgent it is.
    #[serde(default)]
    pub priority: Priority,
    /// The concurrency key: so many runs of a tenant with the same key run at once as the rules
    /// say, without one as many as like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What a worker must have to take it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub capabilities: BTreeSet<String>,
    /// The name that only one run of the tenant may have at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub singleton: Option<Singleton>,
}

/// A name that only one run of a tenant may have at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Singleton {
    /// The name.
    pub name: String,
    /// What becomes of a second one.
    #[serde(default)]
    pub again: Again,
    /// Only where one replaces another: for so many milliseconds a run waits for a newer one before
    /// it queues, so that of many in a short time the last alone is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debounce_ms: Option<u32>,
}

impl Singleton {
    /// How long a run waits for a newer one of its name.
    pub(crate) fn debounce(&self) -> Option<Duration> {
        self.debounce_ms
            .map(|time| Duration::from_millis(time.into()))
    }
}

/// What becomes of a run whose name another one has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Again {
    /// It is refused.
    #[default]
    Refuse,
    /// The one that is there is taken for it.
    Join,
    /// The one that is there ends if it has not begun, and is waited for if it has.
    Replace,
}

impl FromStr for Again {
    type Err = BadPlacing;

    fn from_str(text: &str) -> Result<Self, BadPlacing> {
        match text {
            "refuse" => Ok(Self::Refuse),
            "join" => Ok(Self::Join),
            "replace" => Ok(Self::Replace),
            _ => Err(BadPlacing::Singleton),
        }
    }
}

/// Whether a text can be the name of a lane or a capability.
pub fn is_name(text: &str) -> bool {
    (1..=NAME_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte))
}

/// Whether a text can be a key.
pub fn is_key(text: &str) -> bool {
    (1..=KEY_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

impl Placing {
    /// Looks at what was said, by the rules there are.
    pub fn check(&self, rules: &Rules) -> Result<(), BadPlacing> {
        if let Some(lane) = &self.lane
            && lane != DEFAULT_LANE
            && !rules.lanes.contains_key(lane)
        {
            let known = rules.lanes.keys().map(String::as_str);
            let known: BTreeSet<_> = known.chain([DEFAULT_LANE]).collect();
            let known: Vec<_> = known.into_iter().collect();
            return Err(BadPlacing::Lane(lane.clone(), known.join(", ")));
        }
        if self.key.as_deref().is_some_and(|key| !is_key(key)) {
            return Err(BadPlacing::Key);
        }
        if let Some(singleton) = &self.singleton
            && (!is_key(&singleton.name)
                || (singleton.debounce_ms.is_some() && singleton.again != Again::Replace))
        {
            return Err(BadPlacing::Singleton);
        }
        if self.capabilities.len() > CAPABILITIES_MAX {
            return Err(BadPlacing::Capabilities);
        }
        match self.capabilities.iter().find(|name| !is_name(name)) {
            Some(name) => Err(BadPlacing::Capability(name.clone())),
            None => Ok(()),
        }
    }

    /// As it stands in a run's row. Of two runs of one name, where one may replace another, the
    /// second waits for the first, so the name is a key as well.
    pub(crate) fn placement(&self, at: Timestamp) -> Placement {
        let capabilities: Vec<&str> = self.capabilities.iter().map(String::as_str).collect();
        Placement {
            lane: self.lane.clone().unwrap_or_else(|| DEFAULT_LANE.into()),
            priority: self.priority.level().into(),
            capabilities: capabilities.join(","),
            key: match (&self.key, &self.singleton) {
                (Some(key), _) => key.clone(),
                (
                    None,
                    Some(Singleton {
                        name,
                        again: Again::Replace,
                        ..
                    }),
                ) => name.clone(),
                (None, _) => String::new(),
            },
            queued_at: at,
        }
    }
}
