//! What the stages of a change work with: the machine's tools, the data directory, its policy.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use matrix_core::{Clock, Entropy, Principal, Scope};
use matrix_identity::principals::Accounts;
use matrix_identity::{PolicyEngine, Role};
use matrix_sandbox::Machine;
use matrix_sandbox::egress::{Destination, Upstream};
use matrix_sandbox::spec::{Limits, Outcome, OutputSink, SandboxSpec};
use matrix_store::{Blobs, Database, StoreError};
use matrix_worktree::Git;
use tokio::sync::{Mutex, watch};

use crate::layout::Layout;
use crate::retention::Retention;
use crate::signing::Keyring;
use crate::stage::ChangeRequest;
use crate::target::service::Service;
use crate::target::{DirectoryTarget, Target};
use crate::verify::executor::{Executor, NotExecuted};
use matrix_sandbox::toolchain::Search;

/// What the operator decides.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where things lie.
    pub layout: Layout,
    /// The program to start as the sandbox's launcher.
    pub launcher: PathBuf,
    /// Where toolchains are looked for.
    pub search: Search,
    /// A directory of OSV records for the dependency audit.
    pub vulnerabilities: Option<PathBuf>,
    /// Sandboxes at once.
    pub sandboxes: usize,
    /// Further hosts that dependencies may be fetched from.
    pub fetch_hosts: Vec<Destination>,
    /// The proxy that this machine must use to get out.
    pub upstream: Option<Upstream>,
    /// Limits on one command of a check.
    pub limits: Limits,
    /// What is kept of changes, and how long.
    pub retention: Retention,
}

/// Everything the stages of changes share. Cheap to clone.
#[derive(Clone)]
pub struct Workshop {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) database: Database,
    pub(crate) blobs: Blobs,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) git: Git,
    machine: Machine,
    /// Held while work trees are made, so that checks side by side make them once.
    pub(crate) making: Mutex<()>,
}

impl std::fmt::Debug for Workshop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workshop")
            .field("settings", &self.shared.settings)
            .finish_non_exhaustive()
    }
}

impl Workshop {
    /// A workshop over a data directory. Tools are looked for when they are first needed.
    pub fn new(
        settings: Settings,
        database: Database,
        blobs: Blobs,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        git: Git,
    ) -> Self {
        let Settings {
            launcher, layout, ..
        } = &settings;
        let options = matrix_sandbox::Options::new(launcher, layout.sandbox(), Arc::clone(&clock))
            .forbid(layout.keys());
        let machine = Machine::new(options, settings.search.clone(), settings.sandboxes);
        let shared = Shared {
            settings,
            database,
            blobs,
            clock,
            entropy,
            git,
            machine,
            making: Mutex::new(()),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// What the operator wants kept.
    pub fn retention(&self) -> Retention {
        self.shared.settings.retention
    }

    /// Where things lie.
    pub fn layout(&self) -> &Layout {
        &self.shared.settings.layout
    }

    /// The database.
    pub fn database(&self) -> &Database {
        &self.shared.database
    }

    /// The content-addressed store.
    pub fn blobs(&self) -> &Blobs {
        &self.shared.blobs
    }

    /// Time.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.clock
    }

    /// Chance.
    pub fn entropy(&self) -> &Arc<dyn Entropy> {
        &self.shared.entropy
    }

    /// Git.
    pub fn git(&self) -> &Git {
        &self.shared.git
    }

    /// The signing keys.
    pub fn keyring(&self) -> Keyring {
        Keyring::at(self.layout().keys())
    }

    /// The policy as its files are now. Files that cannot be used deny everything.
    pub fn policy(&self) -> PolicyEngine {
        PolicyEngine::load_or_deny(&self.layout().policy())
    }

    /// The machine's sandbox and toolchains.
    pub fn machine(&self) -> &Machine {
        &self.shared.machine
    }

    /// A target of the operator's directory, configured by the repository at its base revision.
    pub fn target(&self, request: &ChangeRequest) -> Arc<dyn Target> {
        let (name, config) = (&request.target, &request.target_config);
        let root = self.layout().target(&request.repository, name);
        let service = Arc::new(Service::new(self.clone(), root.join("service")));
        Arc::new(DirectoryTarget::new(name, root, config.clone(), service))
    }

    /// What a principal is here, and whether the directory has a single active user.
    pub fn standing(&self, who: &Principal) -> Result<(BTreeSet<Role>, bool), StoreError> {
        let accounts = Accounts::new(
            self.shared.database.clone(),
            Arc::clone(&self.shared.clock),
            Arc::clone(&self.shared.entropy),
            Scope::local(),
        );
        let roles = accounts
            .find(who)?
            .map(|account| account.roles)
            .unwrap_or_default();
        Ok((roles, accounts.single_user()?))
    }
}

/// The real sandbox, in which at most so many commands run at once.
#[async_trait]
impl Executor for Workshop {
    async fn execute(
        &self,
        spec: SandboxSpec,
        output: OutputSink,
        cancel: watch::Receiver<bool>,
    ) -> Result<Outcome, NotExecuted> {
        let refused = |reason: String| NotExecuted { reason };
        let machine = self.machine();
        let sandbox = machine.trusted(spec.profile).await.map_err(refused)?;
        let place = machine.place().await;
        let outcome = sandbox.run(spec, output, cancel).await;
        drop(place);
        outcome.map_err(|error| refused(error.to_string()))
    }
}
