//! What this machine offers to isolated work: one sandbox that tested itself, and its toolchains.

use std::sync::Arc;

use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use crate::detect::{Options, Sandbox};
use crate::error::{SandboxError, Unavailable};
use crate::spec::{ProbeSet, Profile, SelfTest};
use crate::toolchain::{Search, Toolchains};

/// This machine, as isolated work sees it. Tools are looked for when they are first needed, and the
/// sandbox tests itself before its first work of each profile. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Machine {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: Options,
    search: Search,
    sandbox: OnceCell<Sandbox>,
    tested: [OnceCell<SelfTest>; 3],
    toolchains: OnceCell<Toolchains>,
    places: Arc<Semaphore>,
}

impl Machine {
    /// A machine on which at most so many commands run at once.
    pub fn new(options: Options, search: Search, sandboxes: usize) -> Self {
        let shared = Shared {
            options,
            search,
            sandbox: OnceCell::new(),
            tested: Default::default(),
            toolchains: OnceCell::new(),
            places: Arc::new(Semaphore::new(sandboxes.max(1))),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The machine's sandbox, or why there is none and how to get it.
    pub async fn sandbox(&self) -> Result<&Sandbox, Unavailable> {
        let detect = || async { Sandbox::detect(self.shared.options.clone()) };
        self.shared.sandbox.get_or_try_init(detect).await
    }

    /// The sandbox's test of itself in this process; for each profile it is made once, before the
    /// first work.
    pub async fn self_test(&self, profile: Profile) -> Result<&SelfTest, SandboxError> {
        let sandbox = self.sandbox().await.map_err(|error| SandboxError::Setup {
            detail: format!("{error}; {}", error.fix),
        })?;
        let [check, prepare, service] = &self.shared.tested;
        let tested = match profile {
            Profile::Check => check,
            Profile::Prepare => prepare,
            Profile::Service => service,
        };
        tested
            .get_or_try_init(|| sandbox.self_test(profile, ProbeSet::Fast))
            .await
    }

    /// The sandbox, if it holds its own test for this profile; otherwise why not. Work has no other
    /// way to it.
    pub async fn trusted(&self, profile: Profile) -> Result<&Sandbox, String> {
        let tested = self
            .self_test(profile)
            .await
            .map_err(|error| error.to_string())?;
        if let Some(escaped) = tested.probes.iter().find(|probe| !probe.held) {
            return Err(format!(
                "the sandbox did not hold its own test: {}",
                escaped.name
            ));
        }
        if !tested.held() {
            return Err("the sandbox did not test itself".into());
        }
        self.sandbox().await.map_err(|error| error.to_string())
    }

    /// The machine's toolchains.
    pub async fn toolchains(&self) -> &Toolchains {
        let find = || Toolchains::find(&self.shared.search);
        self.shared.toolchains.get_or_init(find).await
    }

    /// A place for one command, waited for where all are taken; it is given back when dropped.
    pub async fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.shared.places).acquire_owned().await.ok()
    }
}
