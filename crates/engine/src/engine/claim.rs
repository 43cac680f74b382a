//! Claims: the [`Queue`] decides within the transaction that claims, and the store answers what it
//! asks. So the limits hold for all processes of a database together.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use matrix_core::Timestamp;
use matrix_store::tables::queue::{self as table, Slot};
use matrix_store::tables::runs::{self, RunRow};
use matrix_store::tables::{throttles, workers};
use matrix_store::{StoreError, Tx};

use super::{Engine, lock};
use crate::journal::Fence;
use crate::lease::Sure;
use crate::queue::{Fill, Next, Queue, Standing, Took};
use crate::storage::Purpose;

/// The most flows that are known at once.
const FLOWS_MAX: i64 = 4_096;

/// Looking for new flows takes at most one part in this many of the time.
const SCAN_SHARE: u32 = 8;

/// When to look at the flows that were too many for one look.
const FURTHER: Duration = Duration::from_millis(10);

/// What there is to claim, and what was claimed.
#[derive(Debug, Default)]
pub(super) struct Claimed {
    pub(super) rows: Vec<RunRow>,
    /// When there may be more.
    pub(super) next: Option<Timestamp>,
    /// Until when they are this worker's own for sure.
    pub(super) sure: Option<Sure>,
}

/// The queue of one process, and when it last looked for flows.
#[derive(Debug)]
pub(super) struct Desk {
    queue: Queue,
    /// When flows were looked for, and how long that took, on the monotonic clock.
    scanned: Option<(Duration, Duration)>,
    /// The last flow of a look that did not reach the end.
    after: String,
}

impl Desk {
    pub(super) fn new(queue: Queue) -> Self {
        Self {
            queue,
            scanned: None,
            after: String::new(),
        }
    }

    /// Forgets what nobody knows to be so.
    pub(super) fn forget(&mut self) {
        self.queue.forget();
        self.scanned = None;
    }
}

impl Engine {
    /// Claims at most this many runs; whatever it claims stands in `tried` first.
    pub(super) async fn try_claim(
        &self,
        limit: usize,
        now: Timestamp,
        tried: &Arc<Mutex<Vec<Fence>>>,
    ) -> Result<Claimed, StoreError> {
        let (nothing, next) = self.storage().read_now::<_, StoreError, _>(|tx| {
            let next = runs::next_wake(tx)?;
            let due = next.is_some_and(|due| due <= now);
            Ok((!due && table::flows(tx, "", 1)?.is_empty(), next))
        })?;
        if nothing {
            return Ok(Claimed {
                rows: Vec::new(),
                next,
                sure: None,
            });
        }
        let (worker, tried) = (self.shared.options.worker.clone(), Arc::clone(tried));
        let (desk, clock) = (
            Arc::clone(&self.shared.desk),
            Arc::clone(&self.shared.journal.clock),
        );
        let asked = clock.monotonic();
        let mut claimed = self
            .storage()
            .write::<_, StoreError, _>(Purpose::Claim, move |tx| {
                runs::wake_due(tx, now)?;
                let mut desk = lock(&desk);
                let begun = clock.monotonic();
                let is_due = desk.scanned.is_none_or(|(at, took)| {
                    begun.saturating_sub(at) >= took.saturating_mul(SCAN_SHARE)
                });
                let mut claimed = Claimed::default();
                let mut pass = Pass {
                    tx,
                    worker: &worker,
                    now,
                    limit,
                    tried: &tried,
                    gate: None,
                };
                let mut again = None;
                if !is_due {
                    desk.queue.begin(now, None);
                    again = pass.run(&mut desk.queue, &mut claimed.rows)?;
                }
                // What is new may be all there is.
                if claimed.rows.len() < limit {
                    let flows = table::flows(tx, &desk.after, FLOWS_MAX)?;
                    let is_cut = i64::try_from(flows.len()).is_ok_and(|count| count == FLOWS_MAX);
                    let last = flows.last().filter(|_| is_cut);
                    desk.after = last.map(table::Flow::name).unwrap_or_default();
                    let ended = clock.monotonic();
                    desk.scanned = Some((ended, ended.saturating_sub(begun)));
                    desk.queue.begin(now, Some(flows));
                    again = pass.run(&mut desk.queue, &mut claimed.rows)?;
                    if claimed.rows.len() < limit && is_cut {
                        again = Some(now.plus(FURTHER));
                    }
                }
                // Whoever owned nothing until now was not heard of for a while.
                if !claimed.rows.is_empty() {
                    workers::beat(tx, &worker)?;
                }
                claimed.next = runs::next_wake(tx)?.into_iter().chain(again).min();
                Ok(claimed)
            })
            .await
            .inspect_err(|_| lock(&self.shared.desk).forget())?;
        if !claimed.rows.is_empty() {
            let answered = self.shared.journal.clock.monotonic();
            claimed.sure = self.shared.lease.confirm(asked, answered);
        }
        Ok(claimed)
    }
}

/// One pass of the queue over a transaction.
struct Pass<'a> {
    tx: &'a Tx<'a>,
    worker: &'a str,
    now: Timestamp,
    limit: usize,
    tried: &'a Mutex<Vec<Fence>>,
    /// Whether this transaction may count, once it was asked.
    gate: Option<bool>,
}

impl Pass<'_> {
    /// Answers the queue until enough runs are claimed; gives when there may be more.
    fn run(
        &mut self,
        queue: &mut Queue,
        claimed: &mut Vec<RunRow>,
    ) -> Result<Option<Timestamp>, StoreError> {
        let mut again = None;
        while claimed.len() < self.limit {
            match queue.decide() {
                Next::Look(slot) => {
                    let standing = self.standing(&slot)?;
                    queue.saw(slot, standing);
                }
                Next::Fill(fill) => {
                    let found = find(self.tx, &fill)?;
                    queue.fill(&fill, found);
                }
                Next::Take(next) => match table::take(self.tx, next.run, self.worker, self.now)? {
                    Some(row) => {
                        let (run, epoch) = (row.run, row.epoch);
                        lock(self.tried).push(Fence { run, epoch });
                        claimed.push(row);
                        queue.took(Took::Yes);
                    }
                    None => queue.took(Took::Gone),
                },
                Next::Done(at) => {
                    again = at;
                    break;
                }
            }
        }
        for (slot, full_at) in queue.spent() {
            throttles::spend(self.tx, &slot, full_at)?;
        }
        Ok(again)
    }

    /// Who holds a slot, unless another process is counting at this moment.
    fn standing(&mut self, slot: &Slot) -> Result<Option<Standing>, StoreError> {
        let open = match self.gate {
            Some(open) => open,
            None => table::gate(self.tx)?,
        };
        self.gate = Some(open);
        if !open {
            return Ok(None);
        }
        standing(self.tx, slot).map(Some)
    }
}

/// Who holds a slot.
pub(crate) fn standing(tx: &Tx<'_>, slot: &Slot) -> Result<Standing, StoreError> {
    let running = u32::try_from(table::running(tx, slot)?).unwrap_or(u32::MAX);
    let throttle = throttles::get(tx, slot)?;
    let never = Timestamp::from_micros(0);
    Ok(Standing {
        running,
        full_at: throttle.as_ref().map_or(never, |known| known.full_at),
        paused_until: throttle.map_or(never, |known| known.paused_until),
    })
}

fn find(tx: &Tx<'_>, fill: &Fill) -> Result<Vec<table::Queued>, StoreError> {
    let count = |limit: usize| i64::try_from(limit).unwrap_or(i64::MAX);
    match fill {
        Fill::Head { flow, limit } => table::head(tx, flow, count(*limit)),
        Fill::Keys { flow, after, limit } => {
            let mut found = table::keyless(tx, flow, count(*limit))?;
            found.extend(table::heads_by_key(tx, flow, after, count(*limit))?);
            Ok(found)
        }
    }
}
