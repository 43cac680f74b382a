//! What the faces call: agents by name, and their work.

mod add;
mod list;
mod run;
mod state;

use std::sync::Arc;

use matrix_core::{Clock, Scope};
use matrix_store::tables::agents::{self, AgentRow};
use matrix_store::{Database, StoreError};

pub use self::add::{Added, AgentAdd, add};
pub use self::list::{AgentRead, AgentView, list, show};
pub use self::run::{AgentRun, Asked, prepare, run};
pub use self::state::{AgentRemove, AgentState, remove, set_state};
use crate::definition::{Definition, shipped};
use crate::error::AgentError;
use crate::tools::Toolbox;

/// The most agents of a tenant.
const AGENTS_MAX: i64 = 1_000;

/// The agents there are. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Agents {
    database: Database,
    clock: Arc<dyn Clock>,
    toolbox: Toolbox,
}

/// An agent that may be asked for work.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Known {
    pub(crate) definition: Definition,
    /// 0 for one that is shipped.
    pub(crate) version: i64,
    pub(crate) row: Option<AgentRow>,
}

impl Agents {
    /// The agents of a database, with the tools that they may be given.
    pub fn new(database: Database, clock: Arc<dyn Clock>, toolbox: Toolbox) -> Self {
        Self {
            database,
            clock,
            toolbox,
        }
    }

    /// The tools that agents may be given.
    pub fn toolbox(&self) -> &Toolbox {
        &self.toolbox
    }

    /// The agent of a name, or of a name and version: `coder`, `coder@3`.
    pub(crate) fn find(&self, scope: &Scope, asked: &str) -> Result<Known, AgentError> {
        let missing = || AgentError::NoAgent(asked.to_owned());
        let (name, version) = match asked.split_once('@') {
            Some((name, version)) => {
                let version: i64 = version.parse().map_err(|_| missing())?;
                (name, Some(version))
            }
            None => (asked, None),
        };
        let found =
            self.database
                .within(scope)
                .read_now::<_, StoreError, _>(|tx| match version {
                    Some(version) => agents::get(tx, scope, name, version),
                    None => Ok(agents::versions(tx, scope, name, 1)?.into_iter().next()),
                })?;
        if let Some(row) = found {
            return Known::of(row).map_err(AgentError::from);
        }
        let built_in = shipped().into_iter().find(|one| one.name == name);
        let built_in = built_in.filter(|_| version.is_none_or(|version| version == 0));
        let definition = built_in.ok_or_else(missing)?;
        Ok(Known {
            definition,
            version: 0,
            row: None,
        })
    }
}

impl Known {
    fn of(row: AgentRow) -> Result<Self, StoreError> {
        Ok(Self {
            definition: serde_json::from_str(&row.spec).map_err(StoreError::corrupt)?,
            version: row.version,
            row: Some(row),
        })
    }
}
