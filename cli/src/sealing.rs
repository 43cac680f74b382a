//! The host's care for the journal's heads: one soon after the journal has grown, one at the end.

use std::time::Duration;

use matrix_changes::signing::Keyring;
use matrix_core::{Entropy, Problem};
use matrix_engine::{Engine, seal};

/// How long entries gather before they are sealed together.
const GATHER: Duration = Duration::from_millis(500);

/// What a host seals with.
#[derive(Clone)]
pub(crate) struct Sealing {
    engine: Engine,
    keyring: Keyring,
    origin: String,
}

impl Sealing {
    /// Over an engine's journal, with the keys of its data directory. The key is made here if there
    /// is none, before anybody else can need it.
    ///
    /// `name` is the data directory's; several processes that seal one journal call it the same.
    pub(crate) fn new(engine: Engine, keyring: Keyring, name: Option<String>) -> Self {
        let name = name.unwrap_or_else(|| {
            let mut name = [0_u8; 16];
            engine.entropy().fill(&mut name);
            format!("{:032x}", u128::from_be_bytes(name))
        });
        if let Err(error) = keyring.signer(&**engine.entropy()) {
            tracing::warn!(%error, "the journal cannot be sealed");
        }
        Self {
            engine,
            keyring,
            origin: format!("matrix-journal/{name}"),
        }
    }

    /// Seals what is there, then whatever comes, for as long as it is polled.
    pub(crate) async fn keep_up(self) {
        let mut changes = self.engine.journal().subscribe();
        loop {
            self.seal().await;
            if changes.changed().await.is_err() {
                return;
            }
            tokio::time::sleep(GATHER).await;
        }
    }

    /// Seals everything that is committed now. What fails is told and tried again later: the
    /// journal does not need its heads.
    pub(crate) async fn seal(&self) {
        match self.try_seal().await {
            Ok(heads) => {
                for head in heads {
                    tracing::debug!(head.origin, head.size, "the journal is sealed");
                }
            }
            Err(problem) => tracing::warn!(%problem, "the journal was not sealed"),
        }
    }

    async fn try_seal(&self) -> Result<Vec<matrix_evidence::tlog::Checkpoint>, Problem> {
        let (engine, entropy): (_, &dyn Entropy) = (&self.engine, &**self.engine.entropy());
        let key = self.keyring.signer(entropy)?;
        let (database, clock) = (engine.database(), &**engine.clock());
        let public = key.public();
        Ok(seal::seal(database, clock, &self.origin, &key, &public).await?)
    }
}
