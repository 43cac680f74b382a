//! The moments in which a run's function can do nothing by itself.
//!
//! A wait is a future over the run's history. While it is pending it says what it waits for; when
//! every future of the function waits and no step is in flight, the worker parks the run.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use matrix_core::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::history::History;
use crate::stopped::Stopped;

/// What a wait for a worker outside is for.
pub(crate) const TASK: &str = "task";

/// What a replay waits for at the end of what is recorded.
pub(crate) const UNRECORDED: &str = "unrecorded";

/// What a run waits for, for people and for the scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Waiting {
    /// `approval`, `signal`, `timer`, `retry`, `turn` or `person`.
    #[serde(rename = "for")]
    pub what: String,
    /// Which one.
    pub name: String,
    /// Why, in words.
    pub because: String,
    /// When a timer ends the wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// How it stopped by itself, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stopped>,
}

/// The part of a run's state that its waits and its worker share.
#[derive(Debug)]
pub(crate) struct Board {
    inner: Mutex<Inner>,
    /// Notified when a wait with an end in time begins.
    pub(crate) timed: Notify,
}

#[derive(Debug)]
struct Inner {
    history: History,
    in_flight: usize,
    next_wait: u64,
    waits: BTreeMap<u64, (Waiting, Waker)>,
}

/// A step in flight; dropping it says that it is not any more.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Board>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.lock().in_flight -= 1;
    }
}

impl Board {
    pub(crate) fn new(history: History) -> Arc<Self> {
        let inner = Inner {
            history,
            in_flight: 0,
            next_wait: 0,
            waits: BTreeMap::new(),
        };
        Arc::new(Self {
            inner: Mutex::new(inner),
            timed: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn in_flight(self: &Arc<Self>) -> InFlight {
        self.lock().in_flight += 1;
        InFlight(Arc::clone(self))
    }

    /// Looks at the history.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&History) -> T) -> T {
        look(&self.lock().history)
    }

    /// Changes the history and lets every wait look at it.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut History) -> T) -> T {
        let mut inner = self.lock();
        let result = change(&mut inner.history);
        let wakers: Vec<_> = inner
            .waits
            .values()
            .map(|(_, waker)| waker.clone())
            .collect();
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
        result
    }

    /// What the function waits for when nothing is in flight. Nothing, if it does not wait: it
    /// may prepare a step with work of its own, which leaves no trace and is simply done again.
    pub(crate) fn idle(&self) -> Option<Vec<Waiting>> {
        let inner = self.lock();
        (inner.in_flight == 0 && !inner.waits.is_empty()).then(|| {
            inner
                .waits
                .values()
                .map(|(waiting, _)| waiting.clone())
                .collect()
        })
    }

    /// Polls a function until it returns; an error is what it waits for once it can do nothing by
    /// itself.
    pub(crate) async fn advance<F: Future>(
        &self,
        nudge: &Arc<Nudge>,
        mut body: Pin<&mut F>,
    ) -> Result<F::Output, Vec<Waiting>> {
        let waker = Waker::from(Arc::clone(nudge));
        std::future::poll_fn(move |context| {
            nudge.begin(context.waker());
            match body.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(result) => Poll::Ready(Ok(result)),
                Poll::Pending if nudge.nudged() => Poll::Pending,
                Poll::Pending => match self.idle() {
                    Some(waits) => Poll::Ready(Err(waits)),
                    None => Poll::Pending,
                },
            }
        })
        .await
    }

    /// When the next wait ends by time, after a moment that every wait has heard of already.
    pub(crate) fn next_due(&self, after: Option<Timestamp>) -> Option<Timestamp> {
        let inner = self.lock();
        let ends = inner
            .waits
            .values()
            .filter_map(|(waiting, _)| waiting.until);
        ends.filter(|due| after.is_none_or(|after| *due > after))
            .min()
    }

    /// Waits until `ready` gives something for the history.
    pub(crate) fn wait<T, F>(self: &Arc<Self>, waiting: Waiting, ready: F) -> Wait<F>
    where
        F: FnMut(&History) -> Option<T> + Unpin,
    {
        Wait {
            board: Arc::clone(self),
            waiting,
            ready,
            number: None,
        }
    }
}

/// See [`Board::wait`].
pub(crate) struct Wait<F> {
    board: Arc<Board>,
    waiting: Waiting,
    ready: F,
    number: Option<u64>,
}

impl<T, F: FnMut(&History) -> Option<T> + Unpin> Future for Wait<F> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        let mut inner = this.board.lock();
        if let Some(found) = (this.ready)(&inner.history) {
            return Poll::Ready(found);
        }
        let number = this.number.unwrap_or_else(|| {
            inner.next_wait += 1;
            inner.next_wait
        });
        inner
            .waits
            .insert(number, (this.waiting.clone(), context.waker().clone()));
        drop(inner);
        if this.number.replace(number).is_none() && this.waiting.until.is_some() {
            this.board.timed.notify_one();
        }
        Poll::Pending
    }
}

impl<F> Drop for Wait<F> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.board.lock().waits.remove(&number);
        }
    }
}

/// Passes wakes on to the task, and remembers them: a function that asked to be polled again has
/// something left to do, whatever its waits say.
#[derive(Debug, Default)]
pub(crate) struct Nudge {
    nudged: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Nudge {
    /// Begins a poll of the function for this task.
    pub(crate) fn begin(&self, task: &Waker) {
        self.nudged.store(false, Ordering::SeqCst);
        let mut kept = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if !kept.as_ref().is_some_and(|kept| kept.will_wake(task)) {
            *kept = Some(task.clone());
        }
    }

    /// Whether somebody woke the function since its poll began.
    pub(crate) fn nudged(&self) -> bool {
        self.nudged.load(Ordering::SeqCst)
    }
}

impl Wake for Nudge {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.nudged.store(true, Ordering::SeqCst);
        let kept = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        let task = kept.clone();
        drop(kept);
        if let Some(task) = task {
            task.wake();
        }
    }
}
