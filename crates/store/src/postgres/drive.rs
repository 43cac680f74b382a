//! Waiting for the server on a thread that is not asynchronous.
//!
//! A statement is a blocking call on every database, so whoever holds a connection waits. The
//! committer's connection runs on the committer's own thread and moves only while that one waits:
//! an answer costs no change of threads. Readers' connections share one thread of their own, for
//! their callers may be tasks of any runtime, which must not start another.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::error::StoreError;

/// How long one answer may take; the server gives a statement up before that.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Where a connection's task runs, and how its answers are waited for.
#[derive(Debug, Clone)]
pub(crate) enum Driver {
    /// On this thread, while it waits.
    Own(Arc<Runtime>),
    /// On the readers' thread.
    Shared(Handle),
}

impl Driver {
    /// A driver for the calling thread, which is not one of a runtime.
    pub(crate) fn own() -> Result<Self, StoreError> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self::Own(Arc::new(runtime)))
    }

    /// Starts a connection's task.
    pub(crate) fn start(&self, task: impl Future<Output = ()> + Send + 'static) {
        match self {
            Self::Own(runtime) => drop(runtime.spawn(task)),
            Self::Shared(handle) => drop(handle.spawn(task)),
        }
    }

    /// Waits, but not for ever: nothing when the time is over.
    pub(crate) fn wait<F: Future>(&self, future: F, limit: Duration) -> Option<F::Output> {
        match self {
            Self::Own(runtime) => {
                runtime.block_on(async { tokio::time::timeout(limit, future).await.ok() })
            }
            Self::Shared(handle) => {
                let _timers = handle.enter();
                park_until(tokio::time::timeout(limit, future)).ok()
            }
        }
    }
}

/// The readers' thread.
#[derive(Debug)]
pub(crate) struct Shared(Option<Runtime>);

impl Shared {
    pub(crate) fn start() -> Result<Self, StoreError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("postgres")
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    pub(crate) fn driver(&self) -> Result<Driver, StoreError> {
        let stopped = || StoreError::Unavailable("the readers' thread has stopped".into());
        let runtime = self.0.as_ref().ok_or_else(stopped)?;
        Ok(Driver::Shared(runtime.handle().clone()))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The last handle may be dropped by an asynchronous task, which must not wait.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits on this thread, whatever it is part of.
fn park_until<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
