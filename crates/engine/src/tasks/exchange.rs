//! Where owners of runs and workers of this process meet, without a detour through the database.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use matrix_core::id::TaskId;
use tokio::sync::{oneshot, watch};

use super::Report;
use super::lounge::Lounge;

/// What a worker reported, on its way to the owner of the run.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// What it says.
    pub(crate) report: Report,
    /// Who says it, as an entry names them.
    pub(crate) actor: String,
    /// Told once it is in the journal; dropped if it does not get there.
    pub(crate) kept: Option<oneshot::Sender<()>>,
}

/// The meeting place.
#[derive(Debug)]
pub(crate) struct Exchange {
    seats: Mutex<HashMap<TaskId, oneshot::Sender<Delivery>>>,
    offers: watch::Sender<u64>,
    lounge: Arc<Lounge>,
}

impl Default for Exchange {
    fn default() -> Self {
        Self {
            seats: Mutex::default(),
            offers: watch::Sender::new(0),
            lounge: Arc::default(),
        }
    }
}

impl Exchange {
    fn seats(&self) -> MutexGuard<'_, HashMap<TaskId, oneshot::Sender<Delivery>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The owner of a task's run begins to wait for what is reported.
    pub(crate) fn sit(self: &Arc<Self>, task: TaskId) -> Seat {
        let (sender, receiver) = oneshot::channel();
        self.seats().insert(task, sender);
        Seat {
            exchange: Arc::clone(self),
            task,
            receiver,
        }
    }

    /// Whether an owner waits here for this task.
    pub(crate) fn has(&self, task: TaskId) -> bool {
        self.seats().contains_key(&task)
    }

    /// Hands a report to the owner that waits for it; false if none does.
    pub(crate) fn hand(&self, task: TaskId, delivery: Delivery) -> bool {
        let seat = self.seats().remove(&task);
        seat.is_some_and(|seat| seat.send(delivery).is_ok())
    }

    /// Where workers wait.
    pub(super) fn lounge(&self) -> &Arc<Lounge> {
        &self.lounge
    }

    /// Something is offered.
    pub(crate) fn announce(&self) {
        self.offers.send_modify(|count| *count += 1);
    }

    /// Changes whenever something is offered.
    pub(crate) fn offers(&self) -> watch::Receiver<u64> {
        self.offers.subscribe()
    }
}

/// An owner that waits for a report; it leaves when this is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    exchange: Arc<Exchange>,
    task: TaskId,
    receiver: oneshot::Receiver<Delivery>,
}

impl Seat {
    /// What is reported; never, if the seat was given to another execution of the same run.
    pub(crate) async fn delivery(&mut self) -> Delivery {
        match (&mut self.receiver).await {
            Ok(delivery) => delivery,
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // Another execution of the run may sit here by now: only what is closed is ours.
        self.receiver.close();
        let mut seats = self.exchange.seats();
        if seats
            .get(&self.task)
            .is_some_and(oneshot::Sender::is_closed)
        {
            seats.remove(&self.task);
        }
    }
}
