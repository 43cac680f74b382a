//! The writer when things go wrong: nobody is left without an answer, and every answer is true.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::sync::mpsc;
use std::time::Duration;

use matrix_core::{Caller, Principal, PrincipalKind, Scope, Timestamp};
use matrix_store::tables::audit;
use matrix_store::{Database, OpenMode, Param, Statement, StoreError, Tx};

const PAGES: Statement = Statement::new("test.pages", "PRAGMA page_count");
const NO_ROOM: Statement = Statement::new("test.no_room", "PRAGMA max_page_count = 1");
const ROOM: Statement = Statement::new("test.room", "PRAGMA max_page_count = 1000000");
const END: Statement = Statement::new("test.end", "ROLLBACK");
const COUNT: Statement = Statement::new("test.count", "SELECT COUNT(*) FROM audit");
const BROKEN: Statement = Statement::new("test.broken", "SELECT * FROM nothing_of_this_name");

/// How long an answer may take before we say that there is none.
const PATIENCE: Duration = Duration::from_secs(20);

fn open(directory: &tempfile::TempDir) -> Database {
    Database::open(&directory.path().join("matrix.db"), OpenMode::Host).unwrap()
}

fn ada() -> Caller {
    Caller {
        principal: Principal {
            kind: PrincipalKind::User,
            name: "ada".into(),
        },
        scope: Scope::local(),
        on_behalf_of: Vec::new(),
    }
}

fn note(tx: &Tx<'_>, subject: &str, bytes: usize) -> Result<(), StoreError> {
    let at = Timestamp::from_micros(1);
    audit::insert(tx, &ada(), at, "test", subject, &"x".repeat(bytes))
}

fn noted(database: &Database) -> Vec<String> {
    let acts = database
        .read_now::<_, StoreError, _>(|tx| audit::list(tx, &ada(), 500))
        .unwrap();
    let mut subjects: Vec<_> = acts.into_iter().map(|act| act.subject).collect();
    subjects.sort();
    subjects
}

/// Lets no job run until what it returns is dropped, so that later ones share a transaction.
async fn held(database: &Database) -> mpsc::Sender<()> {
    let (open, wait) = mpsc::channel::<()>();
    let (reached, running) = tokio::sync::oneshot::channel();
    let database = database.clone();
    tokio::spawn(async move {
        database
            .write::<_, StoreError, _>(move |_| {
                reached.send(()).unwrap();
                wait.recv().unwrap_err();
                Ok(())
            })
            .await
    });
    running.await.unwrap();
    open
}

type Work = Box<dyn FnOnce(&Tx<'_>) -> Result<(), StoreError> + Send>;

/// Queues writes in this order and gives their answers.
async fn batch(database: &Database, works: Vec<Work>) -> Vec<Result<(), StoreError>> {
    let gate = held(database).await;
    let mut answers = Vec::new();
    for work in works {
        let mut answer = Box::pin(database.write(work));
        // The first poll puts it in the queue.
        assert!(futures::poll!(&mut answer).is_pending(), "the gate is open");
        answers.push(answer);
    }
    drop(gate);
    let all = futures::future::join_all(answers);
    tokio::time::timeout(PATIENCE, all).await.unwrap()
}

/// Queues a plain write, then one that promises to refuse before it writes, then a plain one again,
/// all in one transaction.
async fn around(
    database: &Database,
    whole: impl FnOnce(&Tx<'_>) -> Result<(), StoreError> + Send + 'static,
) -> [Result<(), StoreError>; 3] {
    let gate = held(database).await;
    let mut before = Box::pin(database.write::<_, StoreError, _>(|tx| note(tx, "before", 1)));
    let mut whole = Box::pin(database.write_whole::<_, StoreError, _>(whole));
    let mut after = Box::pin(database.write::<_, StoreError, _>(|tx| note(tx, "after", 1)));
    assert!(futures::poll!(&mut before).is_pending(), "the gate is open");
    assert!(futures::poll!(&mut whole).is_pending(), "the gate is open");
    assert!(futures::poll!(&mut after).is_pending(), "the gate is open");
    drop(gate);
    let all = async { [before.await, whole.await, after.await] };
    tokio::time::timeout(PATIENCE, all).await.unwrap()
}

#[tokio::test]
async fn a_write_without_a_savepoint_that_refuses_before_it_wrote_disturbs_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(&directory);
    let [before, whole, after] = around(&database, |tx| {
        tx.query(&COUNT, &[])?;
        Err(StoreError::Conflict("not now".into()))
    })
    .await;
    before.unwrap();
    after.unwrap();
    let refused = whole.unwrap_err();
    assert!(matches!(refused, StoreError::Conflict(_)), "{refused}");
    assert_eq!(noted(&database), ["after", "before"]);
}

#[tokio::test]
async fn a_write_without_a_savepoint_that_fails_after_it_wrote_takes_the_transaction_back() {
    type Broken = fn(&Tx<'_>) -> Result<(), StoreError>;
    let refuses: Broken = |tx| {
        note(tx, "half", 1)?;
        Err(StoreError::Conflict("too late".into()))
    };
    let panics: Broken = |tx| {
        note(tx, "half", 1)?;
        std::panic::panic_any("on purpose")
    };
    for broken in [refuses, panics] {
        let directory = tempfile::tempdir().unwrap();
        let database = open(&directory);
        for answer in around(&database, broken).await {
            answer.unwrap_err();
        }
        assert!(noted(&database).is_empty(), "half of a write was kept");
        // The next transaction knows nothing of it.
        let next = database.write::<_, StoreError, _>(|tx| note(tx, "next", 1));
        tokio::time::timeout(PATIENCE, next).await.unwrap().unwrap();
        assert_eq!(noted(&database), ["next"]);
    }
}

#[tokio::test]
async fn when_the_database_gives_a_batch_up_every_waiting_writer_hears_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(&directory);
    let full = |tx: &Tx<'_>| {
        tx.query(&NO_ROOM, &[])?;
        note(tx, "large", 100_000)
    };
    let answers = batch(
        &database,
        vec![
            Box::new(|tx| note(tx, "before", 1)),
            Box::new(full),
            Box::new(|tx| note(tx, "after", 1)),
        ],
    )
    .await;
    for answer in answers {
        let error = answer.unwrap_err();
        assert!(matches!(error, StoreError::Full(_)), "{error}");
        assert!(error.to_string().contains("full"), "{error}");
    }
    assert!(noted(&database).is_empty(), "half a batch was kept");
    database
        .write::<_, StoreError, _>(|tx| tx.query(&ROOM, &[]).map(drop))
        .await
        .unwrap();
    database
        .write::<_, StoreError, _>(|tx| note(tx, "with room", 100_000))
        .await
        .unwrap();
    assert_eq!(noted(&database), ["with room"]);
}

#[tokio::test]
async fn a_transaction_that_ends_under_its_writers_answers_those_that_never_ran() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(&directory);
    let answers = batch(
        &database,
        vec![
            Box::new(|tx| tx.execute(&END, &[]).map(drop)),
            Box::new(|tx| note(tx, "outside any transaction", 1)),
        ],
    )
    .await;
    for answer in answers {
        let error = answer.unwrap_err().to_string();
        assert!(error.contains("rolled back"), "{error}");
    }
    assert!(noted(&database).is_empty());
}

#[tokio::test]
async fn when_no_transaction_can_begin_the_answer_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(&directory);
    let other = open(&directory);
    let gate = held(&other).await;
    // Longer than the writer waits for a lock that no second writer should ever hold.
    let refused = tokio::time::timeout(
        PATIENCE,
        database.write::<_, StoreError, _>(|tx| note(tx, "late", 1)),
    )
    .await
    .unwrap()
    .unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused}");
    assert!(refused.to_string().contains("locked"), "{refused}");
    drop(gate);
    database
        .write::<_, StoreError, _>(|tx| note(tx, "again", 1))
        .await
        .unwrap();
    assert_eq!(noted(&database), ["again"]);
}

#[tokio::test]
async fn a_closure_that_panics_is_rolled_back_alone_and_the_writer_lives() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(&directory);
    let answers = batch(
        &database,
        vec![
            Box::new(|tx| note(tx, "before", 1)),
            Box::new(|tx| {
                note(tx, "panics", 1)?;
                panic!("told to");
            }),
            Box::new(|tx| note(tx, "after", 1)),
        ],
    )
    .await;
    let stands: Vec<_> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(stands, [true, false, true]);
    assert_eq!(noted(&database), ["after", "before"]);
}

#[tokio::test]
async fn the_last_handle_may_be_dropped_by_a_write_itself() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(&directory);
    let gate = held(&database).await;
    let inside = database.clone();
    let write = async move {
        database
            .write::<_, StoreError, _>(move |tx| {
                note(tx, "kept", 1)?;
                drop(inside);
                Ok(())
            })
            .await
    };
    let mut write = Box::pin(write);
    assert!(futures::poll!(&mut write).is_pending());
    drop(write);
    drop(gate);
    let reader = Database::open(&directory.path().join("matrix.db"), OpenMode::ReadOnly).unwrap();
    let seen = async {
        while noted(&reader).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.unwrap();
}

#[test]
fn a_failed_read_leaves_no_view_open_and_says_what_failed() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(&directory);
    for _ in 0..50 {
        let failed: Result<(), StoreError> =
            database.read_now(|tx| tx.query(&BROKEN, &[]).map(drop));
        assert!(
            failed
                .unwrap_err()
                .to_string()
                .contains("nothing_of_this_name")
        );
        let refused: Result<(), StoreError> =
            database.read_now(|_| Err(StoreError::Conflict("of the work".into())));
        assert!(matches!(refused, Err(StoreError::Conflict(_))));
        // The work ends the view itself, as some failures of a disk do.
        let ended: Result<(), StoreError> = database.read_now(|tx| {
            tx.execute(&END, &[])?;
            Err(StoreError::Conflict("of the work".into()))
        });
        assert!(matches!(ended, Err(StoreError::Conflict(_))), "{ended:?}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime
        .block_on(database.write::<_, StoreError, _>(|tx| note(tx, "new", 1)))
        .unwrap();
    // Every pooled connection sees the write: none still looks at the past.
    for _ in 0..20 {
        assert_eq!(noted(&database), ["new"]);
    }
}

#[tokio::test]
async fn the_log_does_not_grow_without_bound_under_constant_writes_and_reads() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(&directory);
    let log = directory.path().join("matrix.db-wal");
    let mut longest = 0;
    for number in 0..300_u32 {
        let write =
            database.write::<_, StoreError, _>(move |tx| note(tx, &number.to_string(), 400_000));
        let read = database.read::<_, StoreError, _>(|tx| tx.query(&PAGES, &[] as &[Param<'_>]));
        let (written, read) = tokio::join!(write, read);
        written.unwrap();
        read.unwrap();
        longest = longest.max(std::fs::metadata(&log).unwrap().len());
    }
    // 120 MB were written; the writer's limit is 8,192 frames of 4 KiB and what one write adds.
    assert!(
        longest < 48 * 1024 * 1024,
        "the log grew to {longest} bytes"
    );
}

/// How many write at once.
const WRITERS: usize = 200;

#[expect(
    clippy::disallowed_methods,
    reason = "how long the writers write is said from outside the test"
)]
fn writing_time() -> Duration {
    let seconds = std::env::var("MATRIX_WRITERS_SECONDS").ok();
    let seconds = seconds.and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(30))
}

/// Writes one after the other until the time is over; gives how many stand.
async fn write_until(database: Database, name: usize, end: tokio::time::Instant) -> u64 {
    let mut stands = 0;
    while tokio::time::Instant::now() < end {
        let subject = format!("{name}-{stands}");
        let written = database
            .write::<_, StoreError, _>(move |tx| note(tx, &subject, 100))
            .await;
        assert!(written.is_ok(), "writer {name}: {written:?}");
        stands += 1;
    }
    stands
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_writers_and_readers_of_another_process_never_meet_a_lock() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(&directory);
    let path = directory.path().join("matrix.db");
    let end = tokio::time::Instant::now() + writing_time();
    let writers: Vec<_> = (0..WRITERS)
        .map(|name| tokio::spawn(write_until(database.clone(), name, end)))
        .collect();
    // A reader with connections of its own, as a command has that looks while a host writes.
    let reader = tokio::task::spawn_blocking(move || {
        let mut seen = 0;
        while tokio::time::Instant::now() < end {
            let other = Database::open(&path, OpenMode::ReadOnly).unwrap();
            let count = other.read_now::<_, StoreError, _>(|tx| {
                let rows = tx.query(&COUNT, &[])?;
                rows.first().map_or(Ok(0), |row| row.get::<i64>(0))
            });
            let count = count.unwrap();
            assert!(count >= seen, "what stood is gone: {count} after {seen}");
            seen = count;
        }
    });
    let mut stands = 0;
    for writer in writers {
        let each = writer.await.unwrap();
        assert!(each > 0, "a writer was never served");
        stands += each;
    }
    reader.await.unwrap();
    let rows = database
        .read_now::<_, StoreError, _>(|tx| tx.query(&COUNT, &[]))
        .unwrap();
    let found: i64 = rows.first().unwrap().get(0).unwrap();
    assert_eq!(u64::try_from(found).unwrap(), stands);
}
