//! A worker takes tasks.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use matrix_core::{Authorised, Caller, Entropy, RunId, Scope, Timestamp, id::TaskId};
use matrix_store::tables::tasks::{self, TaskRow};
use matrix_store::{StoreError, Tx};
use serde::Serialize;
use serde_json::Value;

use super::lounge::{Chair, Guest};
use super::{BATCH_MAX, TaskError, TaskWork, is_name, lease_token};
use crate::engine::Engine;
use crate::storage::Purpose;

/// The most queues, and the most names of tasks, that a worker may name.
const NAMES_MAX: usize = 64;
/// The longest time that a worker may wait for tasks.
pub const WAIT_MAX: Duration = Duration::from_secs(30);
/// With as much input as this, an answer takes no further task.
const ANSWER_BYTES: usize = 1024 * 1024;
/// How long a task is left to another worker that waits and is to have it.
const GRACE: Duration = Duration::from_millis(50);
/// How often it is looked for what another process offers.
const ELSEWHERE: Duration = Duration::from_secs(1);

/// What a worker asks for.
#[derive(Debug, Clone)]
pub struct LeaseRequest {
    /// How the worker calls itself, beside its account.
    pub worker: String,
    /// The queues it works for.
    pub queues: Vec<String>,
    /// The tasks that it can do; all, if it names none.
    pub names: Vec<String>,
    /// How many it takes at once at most.
    pub max: usize,
    /// How long it waits for the first.
    pub wait: Duration,
}

/// A task that a worker has now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Leased {
    /// The task.
    pub task: TaskId,
    /// What the worker must name to be heard.
    pub lease: String,
    /// How long the worker may show no heartbeat.
    pub lease_ms: i64,
    /// When the worker must be done, in microseconds since 1970.
    pub due_at: Option<Timestamp>,
    /// The run.
    pub run: RunId,
    /// The queue it came from.
    pub queue: String,
    /// What the worker is told: `name`, `input`, `step`, `key`, `attempt`, `class`.
    #[serde(flatten)]
    pub offer: Value,
}

/// How an account's worker is called in rows and entries: `service:resizer/host-1`.
pub(super) fn worker_name(caller: &Caller, worker: &str) -> Result<String, TaskError> {
    if is_name(worker) {
        return Ok(format!("{}/{worker}", caller.principal));
    }
    let shown: String = worker.chars().take(80).collect();
    Err(TaskError::BadWork(format!(
        "`{shown}` cannot name a worker"
    )))
}

fn checked(request: &LeaseRequest) -> Result<(), TaskError> {
    let LeaseRequest {
        queues, names, max, ..
    } = request;
    if queues.is_empty() || queues.len() > NAMES_MAX || names.len() > NAMES_MAX {
        let text = format!("a worker names 1 to {NAMES_MAX} queues and up to {NAMES_MAX} tasks");
        return Err(TaskError::BadWork(text));
    }
    if let Some(bad) = queues.iter().chain(names).find(|name| !is_name(name)) {
        let shown: String = bad.chars().take(80).collect();
        return Err(TaskError::BadWork(format!(
            "`{shown}` cannot name a queue or a task"
        )));
    }
    if (1..=BATCH_MAX).contains(max) && request.wait <= WAIT_MAX {
        return Ok(());
    }
    let wait = WAIT_MAX.as_secs();
    let text = format!("a worker takes 1 to {BATCH_MAX} tasks at once and waits up to {wait} s");
    Err(TaskError::BadWork(text))
}

/// Gives a worker tasks of its queues, oldest first, as soon as there are any; nothing if there are
/// none in the time that it waits, or if this host is about to end. What another one that waits is to
/// have is left to it for a moment.
pub async fn lease(
    engine: &Engine,
    authorised: &Authorised<TaskWork>,
    request: &LeaseRequest,
) -> Result<Vec<Leased>, TaskError> {
    checked(request)?;
    let guest = Guest {
        scope: authorised.caller().scope.clone(),
        worker: worker_name(authorised.caller(), &request.worker)?,
        queues: request.queues.clone(),
        names: request.names.clone(),
        max: request.max,
    };
    let until = tokio::time::Instant::now() + request.wait;
    let exchange = engine.exchange();
    let (mut offers, mut chair) = (exchange.offers(), exchange.lounge().sit(&guest));
    let mut left: Option<tokio::time::Instant> = None;
    loop {
        offers.borrow_and_update();
        let now = tokio::time::Instant::now();
        let company = chair
            .company()
            .filter(|_| left.is_none_or(|left| now < left));
        match look(engine, &guest, company.map(|room| (room, &chair)))? {
            Found::Nothing => left = None,
            Found::Others => left = left.or(Some(now + GRACE)),
            Found::Own(own) => {
                let asks_others = chair.leave();
                let taken = take(engine, &guest, own).await?;
                if asks_others {
                    exchange.announce();
                }
                if !taken.is_empty() {
                    let runs = taken.iter().map(|leased| leased.run);
                    exchange.lounge().served(&guest.worker, runs);
                    return Ok(taken);
                }
                (chair, left) = (exchange.lounge().sit(&guest), None);
            }
        }
        tokio::select! {
            biased;
            () = engine.draining() => return Ok(Vec::new()),
            () = tokio::time::sleep_until(until) => return Ok(Vec::new()),
            _ = offers.changed() => {}
            () = tokio::time::sleep_until(left.unwrap_or(until)), if left.is_some() => {}
            () = tokio::time::sleep(ELSEWHERE), if engine.is_shared() => {}
        }
    }
}

/// What is offered to a worker.
enum Found {
    Nothing,
    /// Only what others that wait are to have.
    Others,
    /// These tasks; all that it can have, if none is named.
    Own(Option<BTreeSet<TaskId>>),
}

/// Looks what there is, and what of it is for others that wait and have so much room together. It costs
/// a reader's time only, and most that wait find nothing.
fn look(
    engine: &Engine,
    guest: &Guest,
    company: Option<(usize, &Chair)>,
) -> Result<Found, StoreError> {
    let storage = engine.storage();
    let Some((room, chair)) = company else {
        let any = Search::of(guest, 1);
        let found = storage.read_now::<_, StoreError, _>(|tx| any.find(tx))?;
        let own = (!found.is_empty()).then_some(Found::Own(None));
        return Ok(own.unwrap_or(Found::Nothing));
    };
    let search = Search::of(guest, room.min(BATCH_MAX));
    let (found, loads) = storage.read_now::<_, StoreError, _>(|tx| {
        let found = search.find(tx)?;
        let loads = if found.is_empty() {
            Vec::new()
        } else {
            tasks::loads(tx, &guest.scope)?
        };
        Ok((found, loads.into_iter().collect::<HashMap<_, _>>()))
    })?;
    if found.is_empty() {
        return Ok(Found::Nothing);
    }
    let share = chair.share(&found, &loads, |queue| engine.scheduling().choice(queue));
    let own = found.iter().zip(share).filter(|(_, own)| *own);
    let own: BTreeSet<_> = own.map(|(row, _)| row.task).collect();
    let own = (!own.is_empty()).then_some(Found::Own(Some(own)));
    Ok(own.unwrap_or(Found::Others))
}

async fn take(
    engine: &Engine,
    guest: &Guest,
    own: Option<BTreeSet<TaskId>>,
) -> Result<Vec<Leased>, StoreError> {
    let search = Search::of(guest, own.as_ref().map_or(guest.max, |_| BATCH_MAX));
    let (worker, max) = (guest.worker.clone(), guest.max);
    let (entropy, at) = (engine.entropy().clone(), engine.clock().now());
    engine
        .storage()
        .write::<_, StoreError, _>(Purpose::Task, move |tx| {
            let mut taken = Vec::new();
            for row in search.find(tx)? {
                let is_own = own.as_ref().is_none_or(|own| own.contains(&row.task));
                if taken.len() < max
                    && is_own
                    && let Some(leased) = give(tx, row, &worker, &*entropy, at)?
                {
                    taken.push(leased);
                }
            }
            Ok(taken)
        })
        .await
}

struct Search {
    scope: Scope,
    queues: Vec<String>,
    names: String,
    max: usize,
}

impl Search {
    fn of(guest: &Guest, max: usize) -> Self {
        Self {
            scope: guest.scope.clone(),
            queues: guest.queues.clone(),
            names: match &*guest.names {
                [] => String::new(),
                names => format!(",{},", names.join(",")),
            },
            max,
        }
    }

    /// What is offered, queue by queue in the worker's order, within the bounds of an answer.
    fn find(&self, tx: &Tx<'_>) -> Result<Vec<TaskRow>, StoreError> {
        let mut found: Vec<TaskRow> = Vec::new();
        let mut bytes = 0;
        for queue in &self.queues {
            let left = self.max - found.len();
            let limit = i64::try_from(left).unwrap_or(i64::MAX);
            for row in tasks::offered(tx, &self.scope, queue, &self.names, limit)? {
                bytes += row.offer.len();
                if bytes > ANSWER_BYTES && !found.is_empty() {
                    return Ok(found);
                }
                found.push(row);
            }
            if found.len() == self.max {
                break;
            }
        }
        Ok(found)
    }
}

fn give(
    tx: &Tx<'_>,
    row: TaskRow,
    worker: &str,
    entropy: &dyn Entropy,
    at: Timestamp,
) -> Result<Option<Leased>, StoreError> {
    let token = lease_token(row.run, entropy);
    let timeout = row.timeout_ms.and_then(|ms| u64::try_from(ms).ok());
    let due_at = timeout.map(|ms| at.plus(Duration::from_millis(ms)));
    let lease = tasks::Lease {
        worker,
        token: &token,
        due_at,
    };
    if !tasks::lease(tx, &row.scope, row.task, &lease, at)? {
        return Ok(None);
    }
    let offer = serde_json::from_str(&row.offer)
        .map_err(|_| StoreError::corrupt(format_args!("task {}", row.task)))?;
    Ok(Some(Leased {
        task: row.task,
        lease: token,
        lease_ms: row.lease_ms,
        due_at,
        run: row.run,
        queue: row.queue,
        offer,
    }))
}
