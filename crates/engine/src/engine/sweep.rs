//! Heartbeats: our own, and those of owners that show none any more.

use std::collections::HashMap;
use std::time::Duration;

use matrix_store::StoreError;
use matrix_store::tables::{runs, workers};

use super::{Engine, Tenure, lock};
use crate::storage::Purpose;

/// The longest time between two looks at the others.
const OFTEN: Duration = Duration::from_millis(500);

impl Engine {
    /// Takes what a dead predecessor left. The host may come from a full disk, so this is tried
    /// until there is room, or for ever not.
    pub(super) async fn begin(&self) {
        while self.shared.tenure == Tenure::Sole
            && let Err(error) = self.adopt_orphans().await
        {
            self.storage_failed(&error);
            if self.is_draining() {
                return;
            }
            self.rest().await;
        }
    }

    /// Everything still marked as running belongs to a dead process, or to this one before. So
    /// does every heartbeat.
    async fn adopt_orphans(&self) -> Result<(), StoreError> {
        let at = self.shared.journal.clock.now();
        let taken = self
            .storage()
            .write::<_, StoreError, _>(Purpose::Adopt, move |tx| {
                let mut taken = 0;
                for owner in runs::owners(tx)? {
                    let count = runs::orphan(tx, &owner, at)?;
                    taken += count;
                    tracing::info!(
                        owner,
                        count,
                        "runs of an owner that is gone are ready again"
                    );
                }
                for (worker, _) in workers::list(tx)? {
                    workers::remove(tx, &worker)?;
                }
                Ok(taken)
            })
            .await?;
        self.meters().takeovers.add(taken);
        Ok(())
    }

    /// Counts this worker's heartbeat up while it owns runs, and takes the runs of owners whose
    /// counter stood still for a lease on *our* monotonic clock.
    pub(super) async fn sweep(&self, seen: &mut HashMap<String, (i64, Duration)>, owning: bool) {
        if self.shared.tenure == Tenure::Shared {
            // Another host may have taken mail for the runs that are driven here.
            for (_, mail) in lock(&self.shared.driving).values() {
                mail.notify_one();
            }
        }
        if let Err(error) = self.try_sweep(seen, owning).await {
            tracing::warn!(%error, "the sweep failed and is made again");
        }
    }

    async fn try_sweep(
        &self,
        seen: &mut HashMap<String, (i64, Duration)>,
        owning: bool,
    ) -> Result<(), StoreError> {
        if owning {
            let own = self.shared.options.worker.clone();
            let asked = self.shared.journal.clock.monotonic();
            self.storage()
                .write::<_, StoreError, _>(Purpose::Beat, move |tx| workers::beat(tx, &own))
                .await?;
            let answered = self.shared.journal.clock.monotonic();
            // Of no run in particular.
            self.shared.lease.confirm(asked, answered);
        }
        self.observe(seen).await
    }

    /// Watches the owners beside this one, often enough that a dead one's runs are ready again
    /// within a lease and a second. For as long as it is polled.
    pub async fn watch_others(&self) {
        let often = (self.shared.options.lease / 30).min(OFTEN);
        let mut seen = HashMap::new();
        loop {
            tokio::time::sleep(often).await;
            if let Err(error) = self.observe(&mut seen).await {
                tracing::warn!(%error, "other owners cannot be watched now");
            }
        }
    }

    /// Looks at the others' counters, and returns the runs of those that stood still.
    async fn observe(&self, seen: &mut HashMap<String, (i64, Duration)>) -> Result<(), StoreError> {
        let (own, lease) = (&self.shared.options.worker, self.shared.options.lease);
        // Taken before the look: a process that is stopped in between must not think that the
        // others stood still meanwhile.
        let now = self.shared.journal.clock.monotonic();
        let (owners, beats) = self
            .storage()
            .read_now::<_, StoreError, _>(|tx| Ok((runs::owners(tx)?, workers::list(tx)?)))?;
        let beats: HashMap<_, _> = beats.into_iter().collect();
        seen.retain(|owner, _| owners.contains(owner));
        for owner in owners.iter().filter(|owner| *owner != own) {
            let beat = beats.get(owner).copied().unwrap_or(0);
            let (last, since) = *seen.entry(owner.clone()).or_insert((beat, now));
            if last != beat {
                seen.insert(owner.clone(), (beat, now));
            } else if now.saturating_sub(since) >= lease {
                let (owner, at) = (owner.clone(), self.shared.journal.clock.now());
                tracing::warn!(
                    owner,
                    "an owner shows no heartbeat; its runs are ready again"
                );
                let taken = self
                    .storage()
                    .write::<_, StoreError, _>(Purpose::Sweep, move |tx| {
                        runs::orphan(tx, &owner, at)
                    })
                    .await?;
                self.meters().takeovers.add(taken);
                self.shared.work.notify_one();
            }
        }
        Ok(())
    }
}
