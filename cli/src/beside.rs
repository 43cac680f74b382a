//! What a host does because it is not alone on its database: it carries news between its engine
//! and the others', looks for work that nobody told of, and watches whether the others live.

use std::time::Duration;

use matrix_engine::Engine;
use matrix_store::postgres::{Address, Bell, News};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::host::Duty;

/// How often an engine looks for work that nobody told of.
const LOOK: Duration = Duration::from_secs(1);

/// How long the last news may take on their way out.
const FAREWELL: Duration = Duration::from_secs(2);

/// The tasks of a host beside others.
pub(crate) struct Beside {
    carrying: JoinHandle<()>,
    watching: Option<JoinHandle<()>>,
    ending: watch::Sender<bool>,
}

impl Beside {
    /// Begins; whatever the engine does from now on is told.
    pub(crate) fn start(engine: Engine, address: &Address, duty: Duty) -> Self {
        let (bell, sender) = Bell::new(address.clone());
        let (ending, ends) = watch::channel(false);
        let told = Told {
            runs: engine.news(),
            entries: engine.journal().subscribe_to_own(),
            ends,
        };
        let watching = (duty == Duty::Drive).then(|| {
            let engine = engine.clone();
            tokio::spawn(async move { engine.watch_others().await })
        });
        let carrying = tokio::spawn(async move {
            let heard = |news| match news {
                News::Run(run) => engine.hear(Some(run)),
                News::Runs => engine.hear(None),
                News::Entries => engine.journal().announce_others(),
            };
            tokio::join!(bell.keep(heard), told.tell(&engine, sender));
        });
        Self {
            carrying,
            watching,
            ending,
        }
    }

    /// Ends after everything was told, if that does not take too long.
    pub(crate) async fn end(self) {
        if let Some(watching) = self.watching {
            watching.abort();
        }
        self.ending.send_replace(true);
        let mut carrying = self.carrying;
        if tokio::time::timeout(FAREWELL, &mut carrying).await.is_err() {
            carrying.abort();
        }
    }

    /// Ends at once; the others find out by themselves.
    pub(crate) fn abandon(self) {
        self.carrying.abort();
        if let Some(watching) = self.watching {
            watching.abort();
        }
    }
}

/// What the engine of this process does that others may wait for.
struct Told {
    runs: Receiver<matrix_core::RunId>,
    entries: watch::Receiver<i64>,
    ends: watch::Receiver<bool>,
}

impl Told {
    /// Hands on what happens until the host ends; the bell ends with the sender.
    async fn tell(mut self, engine: &Engine, sender: mpsc::UnboundedSender<News>) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let news = tokio::select! {
                // Whoever ends tells first what it did.
                biased;
                woken = self.runs.recv() => match woken {
                    Ok(run) => News::Run(run),
                    Err(RecvError::Lagged(_)) => News::Runs,
                    Err(RecvError::Closed) => return,
                },
                Ok(()) = self.entries.changed() => News::Entries,
                _ = self.ends.changed() => return,
                _ = look.tick() => {
                    engine.look();
                    continue;
                }
            };
            // The bell lives as long as this is polled.
            sender.send(news).unwrap_or_default();
        }
    }
}
