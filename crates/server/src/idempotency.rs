//! `Idempotency-Key`: a request that is made twice is carried out once, across restarts too.
//!
//! The key is written in the transaction that creates the run, so there is no moment at which one
//! of them stands without the other: whenever a process dies, the same request made again finds its
//! run or begins it. Of two such requests at once both may look at plan and repository; the
//! transaction lets one of them through, and the other is given its run.

use std::time::Duration;

use axum::http::HeaderMap;
use matrix_core::{Caller, Digest, Problem, RunId, Timestamp, canonical};
use matrix_engine::Beside;
use matrix_store::tables::idempotency::{self, KeyRow};
use matrix_store::{Database, StoreError};
use serde::Serialize;

use crate::problem::{Failure, KEY_REUSED};
use crate::server::Server;

/// The most characters of a key.
const KEY_MAX: usize = 255;

/// For how long a key is remembered.
const REMEMBERED: Duration = Duration::from_hours(24);

/// The most old keys forgotten at once.
const PRUNE_MAX: i64 = 64;

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

/// What a request says, so that the same one made again is recognised; whatever JSON it carries is the
/// client's, and may be such that it has no canonical form (RFC 8785).
pub(crate) fn digest_of<T: Serialize>(request: &T) -> Result<Digest, Failure> {
    canonical::digest(request)
        .map_err(|error| Failure::malformed(format!("the request has no canonical form: {error}")))
}

/// Where keys are kept, and by which process they are used now.
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
    /// request asks for; the work writes what it is given in the transaction of its run.
    pub(crate) async fn once<W>(
        self,
        caller: Caller,
        key: Option<Key>,
        request: Digest,
        work: impl FnOnce(Beside) -> W + Send + 'static,
    ) -> Result<RunId, Failure>
    where
        W: Future<Output = Result<RunId, Failure>> + Send + 'static,
    {
        // A task of its own: a client that hangs up must not interrupt it half-way.
        let task = tokio::spawn(async move {
            let Some(Key(key)) = key else {
                return work(Box::new(|_, _| Ok(()))).await;
            };
            if let Some(row) = self.used(&caller, &key).await? {
                return known(&row, &request);
            }
            let beside = self.beside(caller.clone(), key.clone(), request);
            match work(beside).await {
                Ok(run) => Ok(run),
                // The same request may have come through another connection meanwhile.
                Err(failure) => match self.used(&caller, &key).await? {
                    Some(row) => known(&row, &request),
                    None => Err(failure),
                },
            }
        });
        match task.await {
            Ok(done) => done,
            Err(error) => {
                tracing::error!(%error, "a request's task stopped");
                Err(Failure::internal())
            }
        }
    }

    /// Since when keys are remembered.
    fn forgotten(&self) -> Timestamp {
        let age = i64::try_from(REMEMBERED.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(self.at.as_micros().saturating_sub(age))
    }

    /// What the key was used for, if it is remembered.
    async fn used(&self, caller: &Caller, key: &str) -> Result<Option<KeyRow>, StoreError> {
        let (caller, key, forgotten) = (caller.clone(), key.to_owned(), self.forgotten());
        let row = self
            .database
            .read::<_, StoreError, _>(move |tx| idempotency::get(tx, &caller, &key))
            .await?;
        Ok(row.filter(|row| row.run.is_some() && row.created_at >= forgotten))
    }

    /// Takes the key for the run that is created in the same transaction.
    fn beside(&self, caller: Caller, key: String, request: Digest) -> Beside {
        let (worker, at, forgotten) = (self.worker.clone(), self.at, self.forgotten());
        Box::new(move |tx, run| {
            idempotency::prune(tx, &caller.scope, forgotten, PRUNE_MAX)?;
            let row = KeyRow {
                request,
                worker,
                run: Some(run),
                created_at: at,
            };
            if idempotency::record(tx, &caller, &key, &row, forgotten)? {
                return Ok(());
            }
            Err(StoreError::Conflict("the idempotency key is taken".into()))
        })
    }
}

fn known(row: &KeyRow, request: &Digest) -> Result<RunId, Failure> {
    match row.run {
        Some(run) if row.request == *request => Ok(run),
        _ => Err(Problem::new(
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
    use matrix_store::tables::runs::{self, Filter, RunRow};
    use tokio::sync::{Barrier, Notify};

    use super::*;

    struct Desk {
        _directory: tempfile::TempDir,
        ledger: Ledger,
        begun: Arc<AtomicU32>,
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
            placement: matrix_store::tables::queue::Placement::default(),
            lineage: matrix_store::tables::runs::Lineage::default(),
            removed_at: None,
            hold: String::new(),
        }
    }

    type Code = &'static str;

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
                begun: Arc::default(),
            }
        }

        fn later(&self, worker: &str, hours: u64) -> Ledger {
            Ledger {
                worker: worker.into(),
                at: Timestamp::default().plus(Duration::from_hours(hours)),
                ..self.ledger.clone()
            }
        }

        /// Work that makes a run of its own each time, after what it is told to wait for.
        fn work<F>(&self, first: F) -> impl FnOnce(Beside) -> Working + Send + use<F>
        where
            F: Future<Output = ()> + Send + 'static,
        {
            let (begun, database) = (Arc::clone(&self.begun), self.ledger.database.clone());
            move |beside| {
                Box::pin(async move {
                    let number = begun.fetch_add(1, Ordering::SeqCst);
                    first.await;
                    let run = RunId::from_bytes([u8::try_from(number).unwrap(); 16]);
                    database
                        .write::<_, StoreError, _>(move |tx| {
                            runs::insert(tx, &row(run))?;
                            beside(tx, run)
                        })
                        .await?;
                    Ok(run)
                })
            }
        }

        async fn ask(&self, ledger: Ledger, key: &str, request: &str) -> Result<RunId, Code> {
            let key = Some(Key(key.into()));
            let work = self.work(async {});
            let once = ledger.once(caller(), key, Digest::of(request), work);
            once.await.map_err(|failure| failure.problem().code.text)
        }

        fn runs(&self) -> usize {
            let listed = self.ledger.database.read_now::<_, StoreError, _>(|tx| {
                runs::list(tx, &Scope::local(), &Filter::default(), 100)
            });
            listed.unwrap().len()
        }
    }

    type Working = std::pin::Pin<Box<dyn Future<Output = Result<RunId, Failure>> + Send>>;

    #[tokio::test]
    async fn a_request_is_carried_out_once_across_processes_and_for_a_day() {
        let desk = Desk::open();
        let run = desk.ask(desk.ledger.clone(), "k", "a").await.unwrap();
        assert_eq!(desk.ask(desk.ledger.clone(), "k", "a").await, Ok(run));
        assert_eq!(desk.ask(desk.later("second", 23), "k", "a").await, Ok(run));
        assert_eq!(desk.runs(), 1, "it was done again");
        let other = desk.ask(desk.ledger.clone(), "k", "b").await;
        assert_eq!(other, Err(KEY_REUSED.text));
        let fresh = desk.ask(desk.later("second", 25), "k", "a").await.unwrap();
        assert_ne!(fresh, run, "a key is remembered for ever");
        let again = desk.ask(desk.later("third", 26), "k", "a").await;
        assert_eq!(
            again,
            Ok(fresh),
            "a key that was forgotten is not taken again"
        );
    }

    #[tokio::test]
    async fn a_refusal_and_a_crash_leave_the_key_free() {
        let desk = Desk::open();
        let key = || Some(Key("k".into()));
        let asked = Digest::of("a");
        let refused = |_| async { Err(Failure::malformed("no")) };
        let once = desk.ledger.clone().once(caller(), key(), asked, refused);
        assert!(once.await.is_err());
        let crash = desk.work(async { panic!("the process dies here") });
        let once = desk.ledger.clone().once(caller(), key(), asked, crash);
        assert!(once.await.is_err());
        let run = desk.ask(desk.later("second", 1), "k", "a").await.unwrap();
        assert_eq!(desk.ask(desk.later("third", 2), "k", "a").await, Ok(run));
        assert_eq!(desk.runs(), 1);
    }

    #[tokio::test]
    async fn the_same_request_twice_at_once_is_one_run() {
        let desk = Desk::open();
        let both = Arc::new(Barrier::new(2));
        let meet = || {
            let both = Arc::clone(&both);
            async move {
                both.wait().await;
            }
        };
        let once = |first| {
            let key = Some(Key("k".into()));
            desk.ledger
                .clone()
                .once(caller(), key, Digest::of("a"), first)
        };
        let (one, two) = tokio::join!(once(desk.work(meet())), once(desk.work(meet())));
        assert_eq!(desk.begun.load(Ordering::SeqCst), 2, "they did not meet");
        assert_eq!(one.unwrap(), two.unwrap());
        assert_eq!(desk.runs(), 1, "two runs stand for one request");
    }

    #[tokio::test]
    async fn a_client_that_hangs_up_interrupts_nothing() {
        let desk = Desk::open();
        let (reached, open) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let slow = {
            let (reached, open) = (Arc::clone(&reached), Arc::clone(&open));
            desk.work(async move {
                reached.notify_one();
                open.notified().await;
            })
        };
        let key = Some(Key("k".into()));
        let asked = Digest::of("a");
        let client = tokio::spawn(desk.ledger.clone().once(caller(), key, asked, slow));
        reached.notified().await;
        client.abort();
        assert!(client.await.unwrap_err().is_cancelled());
        open.notify_one();
        while desk.runs() == 0 {
            tokio::task::yield_now().await;
        }
        let run = desk.ask(desk.ledger.clone(), "k", "a").await;
        assert_eq!(run, Ok(RunId::from_bytes([0; 16])));
        assert_eq!(desk.runs(), 1);
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
