//! `Idempotency-Key`: a request that is made twice is carried out once, across restarts too.
//!
//! The key is taken before the work begins and gets the run's id when the work is done; both are
//! durable. If the process dies between the two, nobody knows whether the run exists: the same
//! request is then refused with what is known rather than risk a second run. The work is done in a
//! task of its own, so that a client that hangs up does not leave its key in that state.

use std::time::Duration;

use axum::http::HeaderMap;
use matrix_core::{Caller, Digest, Problem, RunId, Timestamp};
use matrix_store::tables::idempotency::{self, KeyRow};
use matrix_store::{Database, StoreError};

use crate::problem::{Failure, KEY_BUSY, KEY_REUSED};
use crate::server::Server;

/// The most characters of a key.
const KEY_MAX: usize = 255;

/// For how long a key is remembered.
const REMEMBERED: Duration = Duration::from_hours(24);

/// The most old keys forgotten at once.
const PRUNE_MAX: i64 = 64;

/// When a client whose first request is under way may ask again, in seconds.
const RETRY_AFTER_S: u64 = 1;

/// A key that a client chose for one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key(String);

impl Key {
    /// The request's key, if it has one: 1 to 255 visible ASCII characters.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Self>, Failure> {
        let mut values = headers.get_all("idempotency-key").iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        let text = value.to_str().ok().filter(|text| {
            let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
            visible && !text.is_empty() && text.len() <= KEY_MAX
        });
        match (text, values.next()) {
            (Some(text), None) => Ok(Some(Self(text.to_owned()))),
            _ => Err(Failure::malformed(format!(
                "`Idempotency-Key` is one value of 1 to {KEY_MAX} visible ASCII characters"
            ))),
        }
    }
}

/// What a key stands for when a request comes with it.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// The request was carried out.
    Done(RunId),
    /// It is being carried out.
    UnderWay,
    /// It was, by a process that is gone.
    Unknown,
    /// The key belongs to another request.
    OtherRequest,
}

fn standing(row: &KeyRow, request: &Digest, worker: &str) -> Standing {
    match row.run {
        _ if row.request != *request => Standing::OtherRequest,
        Some(run) => Standing::Done(run),
        None if row.worker == worker => Standing::UnderWay,
        None => Standing::Unknown,
    }
}

/// Where keys are kept, and for which process they are taken now.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    database: Database,
    worker: String,
    at: Timestamp,
}

impl Ledger {
    /// The ledger of this process.
    pub(crate) fn of(server: &Server) -> Self {
        Self {
            database: server.database().clone(),
            worker: server.host().worker.clone(),
            at: server.clock().now(),
        }
    }

    /// Does the work once for a caller's key. `request` is the digest of everything that the
    /// request asks for.
    pub(crate) async fn once<W>(
        self,
        caller: Caller,
        key: Option<Key>,
        request: Digest,
        work: W,
    ) -> Result<RunId, Failure>
    where
        W: Future<Output = Result<RunId, Failure>> + Send + 'static,
    {
        // A task of its own: a client that hangs up must not interrupt it half-way.
        let task = tokio::spawn(async move {
            let Some(Key(key)) = key else {
                return work.await;
            };
            if let Some(row) = self.reserve(&caller, &key, request).await? {
                return known(&row, &request, &self.worker);
            }
            let done = work.await;
            let settled = self.settle(caller, key, done.as_ref().ok().copied()).await;
            if let Err(error) = settled {
                tracing::error!(%error, "the outcome of a request with a key was not recorded");
            }
            done
        });
        match task.await {
            Ok(done) => done,
            Err(error) => {
                tracing::error!(%error, "a request's task stopped");
                Err(Failure::internal())
            }
        }
    }

    /// Takes the key; gives what it was used for if it is taken.
    async fn reserve(
        &self,
        caller: &Caller,
        key: &str,
        request: Digest,
    ) -> Result<Option<KeyRow>, StoreError> {
        let (caller, key) = (caller.clone(), key.to_owned());
        let (worker, at) = (self.worker.clone(), self.at);
        let age = i64::try_from(REMEMBERED.as_micros()).unwrap_or(i64::MAX);
        let old = Timestamp::from_micros(at.as_micros().saturating_sub(age));
        self.database
            .write(move |tx| {
                idempotency::prune(tx, old, PRUNE_MAX)?;
                if idempotency::reserve(tx, &caller, &key, &request, &worker, at)? {
                    return Ok(None);
                }
                idempotency::get(tx, &caller, &key)
            })
            .await
    }

    /// Records the run, or gives the key of a refused request back.
    async fn settle(
        &self,
        caller: Caller,
        key: String,
        run: Option<RunId>,
    ) -> Result<(), StoreError> {
        self.database
            .write(move |tx| match run {
                Some(run) => idempotency::settle(tx, &caller, &key, run),
                None => idempotency::release(tx, &caller, &key),
            })
            .await
    }
}

fn known(row: &KeyRow, request: &Digest, worker: &str) -> Result<RunId, Failure> {
    match standing(row, request, worker) {
        Standing::Done(run) => Ok(run),
        Standing::UnderWay => Err(Problem::new(
            KEY_BUSY,
            "a request with this idempotency key is under way",
        )
        .help("ask again in a moment")
        .with("retry_after_s", RETRY_AFTER_S)
        .into()),
        Standing::Unknown => Err(Problem::new(
            KEY_BUSY,
            "the process that took the request with this idempotency key ended before it answered, \
             so the run may exist or not",
        )
        .help("look for the run in GET /api/v1/jobs; if it is not there, use a new key")
        .into()),
        Standing::OtherRequest => Err(Problem::new(
            KEY_REUSED,
            "this idempotency key was used for a request with another content",
        )
        .help("use a new key for each request")
        .into()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use matrix_core::{Principal, PrincipalKind, Scope};
    use matrix_store::OpenMode;
    use matrix_store::tables::runs::{self, RunRow};
    use tokio::sync::Notify;

    use super::*;

    struct Desk {
        _directory: tempfile::TempDir,
        ledger: Ledger,
        done: Arc<AtomicU32>,
    }

    fn caller() -> Caller {
        Caller {
            principal: Principal {
                kind: PrincipalKind::User,
                name: "ada".into(),
            },
            scope: Scope::local(),
            on_behalf_of: Vec::new(),
        }
    }

    fn row(run: RunId) -> RunRow {
        RunRow {
            run,
            scope: Scope::local(),
            kind: "test".into(),
            version: "1".into(),
            title: "a test".into(),
            trace: "0".repeat(32),
            state: "ready".into(),
            waiting: None,
            wake_at: None,
            owner: None,
            epoch: 0,
            crashes: 0,
            head_seq: 0,
            head_hash: Digest::of("head"),
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
        }
    }

    impl Desk {
        fn open() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("db");
            Self {
                ledger: Ledger {
                    database: Database::open(&path, OpenMode::Host).unwrap(),
                    worker: "first".into(),
                    at: Timestamp::from_micros(0),
                },
                _directory: directory,
                done: Arc::default(),
            }
        }

        fn later(&self, worker: &str, hours: u64) -> Ledger {
            Ledger {
                worker: worker.into(),
                at: Timestamp::default().plus(Duration::from_hours(hours)),
                ..self.ledger.clone()
            }
        }

        /// Work that makes a run of its own each time.
        fn work(&self) -> impl Future<Output = Result<RunId, Failure>> + Send + use<> {
            let (done, database) = (Arc::clone(&self.done), self.ledger.database.clone());
            async move {
                let number = done.fetch_add(1, Ordering::SeqCst);
                let run = RunId::from_bytes([u8::try_from(number).unwrap(); 16]);
                database
                    .write::<_, StoreError, _>(move |tx| runs::insert(tx, &row(run)))
                    .await?;
                Ok(run)
            }
        }

        async fn ask(&self, ledger: Ledger, key: &str, request: &str) -> Result<RunId, Code> {
            let key = Some(Key(key.into()));
            let once = ledger.once(caller(), key, Digest::of(request), self.work());
            once.await.map_err(|failure| failure.problem().code.text)
        }
    }

    type Code = &'static str;

    #[tokio::test]
    async fn a_request_is_carried_out_once_across_processes_and_for_a_day() {
        let desk = Desk::open();
        let run = desk.ask(desk.ledger.clone(), "k", "a").await.unwrap();
        assert_eq!(desk.ask(desk.ledger.clone(), "k", "a").await, Ok(run));
        assert_eq!(desk.ask(desk.later("second", 23), "k", "a").await, Ok(run));
        assert_eq!(desk.done.load(Ordering::SeqCst), 1, "it was done again");
        let other = desk.ask(desk.ledger.clone(), "k", "b").await;
        assert_eq!(other, Err(KEY_REUSED.text));
        let fresh = desk.ask(desk.later("second", 25), "k", "a").await.unwrap();
        assert_ne!(fresh, run, "a key is remembered for ever");
    }

    #[tokio::test]
    async fn a_refusal_gives_the_key_back_and_a_crash_does_not() {
        let desk = Desk::open();
        let key = || Some(Key("k".into()));
        let asked = Digest::of("a");
        let refused = async { Err(Failure::malformed("no")) };
        let once = desk.ledger.clone().once(caller(), key(), asked, refused);
        assert!(once.await.is_err());
        let crash = async { panic!("the process dies here") };
        let once = desk.ledger.clone().once(caller(), key(), asked, crash);
        assert!(once.await.is_err());
        let again = desk.ask(desk.ledger.clone(), "k", "a").await;
        assert_eq!(again, Err(KEY_BUSY.text));
        let restarted = desk.ask(desk.later("second", 1), "k", "a").await;
        assert_eq!(restarted, Err(KEY_BUSY.text));
        assert_eq!(
            desk.done.load(Ordering::SeqCst),
            0,
            "it may have been done twice"
        );
    }

    #[tokio::test]
    async fn a_client_that_hangs_up_interrupts_nothing() {
        let desk = Desk::open();
        let (reached, open) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let work = desk.work();
        let slow = {
            let (reached, open) = (Arc::clone(&reached), Arc::clone(&open));
            async move {
                reached.notify_one();
                open.notified().await;
                work.await
            }
        };
        let key = Some(Key("k".into()));
        let once = desk
            .ledger
            .clone()
            .once(caller(), key, Digest::of("a"), slow);
        let client = tokio::spawn(once);
        reached.notified().await;
        client.abort();
        assert!(client.await.unwrap_err().is_cancelled());
        let busy = desk.ask(desk.ledger.clone(), "k", "a").await;
        assert_eq!(busy, Err(KEY_BUSY.text));
        open.notify_one();
        let run = loop {
            match desk.ask(desk.ledger.clone(), "k", "a").await {
                Err(_) => tokio::task::yield_now().await,
                Ok(run) => break run,
            }
        };
        assert_eq!(run, RunId::from_bytes([0; 16]));
        assert_eq!(desk.done.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn keys_are_visible_and_short() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("idempotency-key", value.parse().unwrap());
            Key::of(&headers).map_err(|failure| failure.problem().code.text)
        };
        assert_eq!(of("a-1").unwrap(), Some(Key("a-1".into())));
        assert_eq!(Key::of(&HeaderMap::new()).unwrap(), None);
        for bad in ["", "a b", "x".repeat(256).as_str()] {
            assert_eq!(of(bad), Err("HTTP-0008"), "{bad}");
        }
    }
}
