//! Which runs: the words of a list are those of what is asked of many runs at once.

use matrix_core::Timestamp;
use matrix_engine::runs::Filter;
use matrix_engine::stopped::Cause;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::RunState;
use crate::problem::Failure;

/// Which runs; what is absent narrows nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunFilter {
    /// Only runs of this kind, such as `change`.
    #[serde(default)]
    pub kind: Option<String>,
    /// Only runs in this state.
    #[serde(default)]
    #[schema(inline)]
    pub state: Option<RunState>,
    /// Only runs whose title has this in it, in whatever case.
    #[serde(default)]
    pub title: Option<String>,
    /// Only runs created then or later, in microseconds since 1970.
    #[serde(default)]
    #[schema(value_type = Option<i64>)]
    pub since: Option<Timestamp>,
    /// Only runs created before then, in microseconds since 1970.
    #[serde(default)]
    #[schema(value_type = Option<i64>)]
    pub until: Option<Timestamp>,
    /// Only runs that queue in this lane.
    #[serde(default)]
    pub lane: Option<String>,
    /// Only runs with this concurrency key.
    #[serde(default)]
    pub key: Option<String>,
    /// Only runs that stopped by themselves and rest until a person looks at them.
    #[serde(default)]
    pub dead: bool,
    /// Only those of them that stopped for this cause, such as `crashes`, `retries` or `doubt`.
    #[serde(default)]
    pub cause: Option<String>,
}

impl RunFilter {
    /// The filter, unless it names a cause that there is not.
    pub(crate) fn checked(self) -> Result<Filter, Failure> {
        if let Some(cause) = &self.cause
            && Cause::parse(cause).is_none()
        {
            let known = Cause::ALL.map(Cause::as_str).join(", ");
            return Err(Failure::malformed(format!(
                "there is no cause `{cause}`; there are {known}"
            )));
        }
        Ok(Filter {
            before: None,
            since: self.since,
            until: self.until,
            kind: self.kind.unwrap_or_default(),
            state: self.state.map_or("", RunState::as_str).into(),
            title: self.title.unwrap_or_default(),
            lane: self.lane.unwrap_or_default(),
            key: self.key.unwrap_or_default(),
            stopped: self.cause.or_else(|| self.dead.then(String::new)),
        })
    }
}
