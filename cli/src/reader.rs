//! Reading a data directory without being its host.

use std::sync::Arc;

use matrix_changes::{Git, Layout, Workshop};
use matrix_core::system::{SystemClock, SystemEntropy};
use matrix_core::{Action, Authorised, Caller, Clock, Code, Entropy, Problem, RunId, Scope};
use matrix_engine::Events;
use matrix_identity::principals::Accounts;
use matrix_store::tables::principals;
use matrix_store::{Blobs, Database, StoreError};

use crate::authority::Authority;
use crate::config::Config;
use crate::environment::Environment;
use crate::host::settings;
use crate::place::is_hosted;
use crate::{blobs, database};

/// There is no data directory yet.
pub(crate) const NO_DATA: Code = Code::new("HOST-0001", 404, 6, "no data directory");

/// Reads a data directory for the operating-system user.
pub(crate) struct Reader {
    /// Where things lie.
    pub(crate) layout: Layout,
    /// The database, for reading only.
    pub(crate) database: Database,
    /// The content-addressed store.
    pub(crate) blobs: Blobs,
    /// Who may read what.
    pub(crate) authority: Authority,
    /// The operating-system user.
    pub(crate) caller: Caller,
}

/// A run that nobody drives.
#[derive(Debug, Clone)]
pub(crate) struct Forsaken {
    /// Why, and what continues it.
    pub(crate) because: String,
}

impl Forsaken {
    /// What the run waits for.
    pub(crate) fn waiting(&self) -> serde_json::Value {
        serde_json::json!({ "for": "host", "name": "host", "because": self.because })
    }
}

/// The places of the configured data directory.
pub(crate) fn layout(config: &Config) -> Layout {
    Layout::new(config.data_dir.value.clone(), config.targets.value.clone())
}

/// The operating-system user's name.
pub(crate) fn user_name() -> String {
    let uid = nix::unistd::Uid::current();
    let user = nix::unistd::User::from_uid(uid).ok().flatten();
    // A container may run under a number that has no name.
    user.map_or_else(|| format!("uid-{uid}"), |user| user.name)
}

/// The accounts of a database.
pub(crate) fn accounts(database: &Database) -> Accounts {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    Accounts::new(database.clone(), clock, entropy, Scope::local())
}

/// The events of a database.
pub(crate) fn events(database: &Database, blobs: &Blobs) -> Events {
    let screen = Arc::new(matrix_changes::verify::secrets_in);
    let topics = [
        matrix_agents::topics::TOPICS,
        matrix_changes::TOPICS,
        matrix_models::inference::TOPICS,
    ]
    .concat();
    Events::new(database.clone(), blobs.clone(), &topics, screen)
}

impl Reader {
    /// Opens the configured data directory.
    pub(crate) fn open(config: &Config) -> Result<Self, Problem> {
        let layout = layout(config);
        let database = database::for_reading(config, &layout)?;
        let accounts = accounts(&database);
        // A host makes tables and owner right after the file; in between there is nothing to read.
        let users = database.read_now::<_, StoreError, _>(|tx| {
            principals::count_active(tx, &Scope::local(), "user", 1)
        });
        let users = match users {
            Err(StoreError::Unavailable(_)) if is_hosted(&layout) => 0,
            other => other?,
        };
        if users == 0 {
            let text = format!("{} is being made", layout.root().display());
            return Err(Problem::new(NO_DATA, text).help("try again"));
        }
        let means: (Arc<dyn Clock>, Arc<dyn Entropy>) =
            (Arc::new(SystemClock::start()), Arc::new(SystemEntropy));
        Ok(Self {
            blobs: blobs::for_reading(config, &layout, means)?,
            caller: accounts.owner_caller(&user_name()),
            authority: Authority::new(layout.policy(), accounts),
            database,
            layout,
        })
    }

    /// The tools that look at targets; they change nothing.
    pub(crate) async fn workshop(
        &self,
        config: &Config,
        environment: &Environment,
    ) -> Result<Workshop, Problem> {
        let git = Git::find(environment.path()).await?;
        Ok(Workshop::new(
            settings(config, environment, self.layout.clone()),
            self.database.clone(),
            self.blobs.clone(),
            Arc::new(SystemClock::start()),
            Arc::new(SystemEntropy),
            git,
        ))
    }

    /// Why nobody drives a run that should be driven, if so: its host has died, or it has none.
    pub(crate) fn forsaken(&self, run: RunId) -> Result<Option<Forsaken>, Problem> {
        if is_hosted(&self.layout) {
            return Ok(None);
        }
        // A host lets go of its runs before it lets go of its lock.
        let row = crate::watch::row(self, run)?;
        let because = match &*row.state {
            "running" => "its host has died",
            "ready" => "it has no host",
            _ => return Ok(None),
        };
        // Another host may have come in between, and then it is that one's.
        let because = format!("{because}; `matrix run resume {run}` continues it");
        Ok((!is_hosted(&self.layout)).then_some(Forsaken { because }))
    }

    /// Asks whether the user may.
    pub(crate) fn may<A: Action>(&self, action: A) -> Result<Authorised<A>, Problem> {
        Ok(Authorised::obtain(
            &self.authority,
            self.caller.clone(),
            action,
        )?)
    }
}
