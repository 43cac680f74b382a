//! Several processes on one database, and a server that goes away.

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use futures::executor::block_on;
use matrix_store::postgres::{Bell, News};
use matrix_store::tables::runs::{self, Head, HeadMove};
use matrix_store::tables::{audit, budgets, events, journal, queue, workers};
use matrix_store::{Database, Statement, StoreError, Tx};

use crate::cases::budgets::row as budget;
use crate::server::{LOGIN, Server};
use crate::site::{Site, at, caller, entry, ours, run_id, run_row};

fn append(database: &Database, run: u8, seq: i64) -> Result<(), StoreError> {
    block_on(database.write(move |tx| journal::insert(tx, &entry(run, seq))))
}

fn create(database: &Database, run: u8) {
    block_on(
        database.write::<_, StoreError, _>(move |tx| runs::insert(tx, &run_row(run, &ours()))),
    )
    .unwrap();
}

const TAKEN: Statement = Statement::new("test.shards", "SELECT shard FROM shards ORDER BY shard");

/// Every position in every shard, as a subscriber with a cursor per shard finds it.
fn positions(database: &Database, shard: i64, after: i64) -> Vec<i64> {
    let rows = database
        .read_now::<_, StoreError, _>(|tx| journal::since(tx, shard, after, 1_000))
        .unwrap();
    rows.into_iter().map(|row| row.lsn).collect()
}

/// The events that a subscriber of our tenant with a cursor for each shard has not seen, as shard
/// and position; the cursors move to where its view ends.
fn tenant_events(database: &Database, cursors: &mut [i64; 2]) -> Vec<(i64, i64)> {
    let mut seen = Vec::new();
    let read: Result<(), StoreError> = database.within(&ours()).read_now(|tx| {
        for ((shard, newest), cursor) in events::shards(tx)?.into_iter().zip(cursors) {
            let window = events::Window {
                shard,
                after: *cursor,
                until: newest,
                run: None,
                kind: String::new(),
            };
            let rows = events::list(tx, &ours(), &window, 1_000)?;
            seen.extend(rows.iter().map(|row| (row.shard, row.lsn)));
            *cursor = newest;
        }
        Ok(())
    });
    read.unwrap();
    seen
}

#[test]
fn a_reader_never_skips_an_entry_whose_transaction_is_slow_to_commit() {
    let server = Server::start();
    let name = server.database();
    let (one, two) = (server.connect(&name), server.connect(&name));
    create(&one, 1);
    create(&two, 2);
    let shards: Vec<i64> = one
        .read_now::<_, StoreError, _>(|tx| tx.query(&TAKEN, &[]))
        .unwrap()
        .iter()
        .map(|row| row.get(0).unwrap())
        .collect();
    assert_eq!(shards, [0, 1], "two committers share a shard");

    // The first stalls between its insert and its commit, with a lower position than others get.
    let (inserted, reached) = mpsc::channel();
    let (resume, stalled) = mpsc::channel::<()>();
    let slow = one.clone();
    let writer = thread::spawn(move || {
        block_on(slow.write::<_, StoreError, _>(move |tx| {
            journal::insert(tx, &entry(1, 0))?;
            workers::list(tx)?;
            inserted.send(()).unwrap();
            stalled.recv().unwrap();
            Ok(())
        }))
    });
    reached.recv().unwrap();
    append(&two, 2, 0).unwrap();
    let mut cursors = [0, 0];
    for (shard, cursor) in (0_i64..).zip(&mut cursors) {
        if let Some(last) = positions(&two, shard, *cursor).last() {
            *cursor = *last;
        }
    }
    assert_eq!(cursors, [0, 1], "the stalled entry is not to be seen yet");
    // One who writes to the stalled one's shard waits for it instead of passing it.
    server.admin(
        &name,
        "SET lock_timeout = 200; DO $$ BEGIN
           PERFORM lsn FROM matrix.shards WHERE shard = 0 FOR NO KEY UPDATE;
           RAISE 'the shard is free';
         EXCEPTION WHEN lock_not_available THEN NULL; END $$",
    );
    // A tenant's view of events ends where the view of the shards does.
    assert_eq!(tenant_events(&two, &mut [0, 0]), [(1, 1)]);
    let mut subscriber = [0, 1];
    assert_eq!(tenant_events(&two, &mut subscriber), []);
    resume.send(()).unwrap();
    writer.join().unwrap().unwrap();
    append(&one, 1, 1).unwrap();
    assert_eq!(tenant_events(&two, &mut subscriber), [(0, 1), (0, 2)]);
    assert_eq!(tenant_events(&two, &mut subscriber), []);
    assert_eq!(positions(&two, 0, cursors[0]), [1, 2]);
    assert_eq!(positions(&two, 1, cursors[1]), Vec::<i64>::new());
}

#[test]
fn two_processes_serialise_on_one_run_and_share_the_queue() {
    let server = Server::start();
    let name = server.database();
    let processes = [server.connect(&name), server.connect(&name)];
    for number in 1..=40 {
        create(&processes[0], number);
    }
    // Both claim four at a time; nobody gets one twice and none is left.
    let claims = thread::scope(|scope| {
        let claims = processes.each_ref().map(|database| {
            scope.spawn(move || {
                let mut claimed = Vec::new();
                loop {
                    let some = block_on(database.write::<_, StoreError, _>(|tx| {
                        let mut some = Vec::new();
                        for flow in queue::flows(tx, "", 9)? {
                            for next in queue::head(tx, &flow, 4)? {
                                some.extend(queue::take(tx, next.run, "w", at(2))?);
                            }
                        }
                        Ok(some.into_iter().map(|row| row.run).collect::<Vec<_>>())
                    }))
                    .unwrap();
                    let left = database
                        .read_now::<_, StoreError, _>(|tx| queue::flows(tx, "", 1))
                        .unwrap();
                    if some.is_empty() && left.is_empty() {
                        return claimed;
                    }
                    claimed.extend(some);
                }
            })
        });
        claims.map(|claim| claim.join().unwrap())
    });
    let all: Vec<_> = claims.concat();
    let different: BTreeSet<_> = all.iter().collect();
    assert_eq!((all.len(), different.len()), (40, 40));

    // Both append to run 1 under the same epoch: each entry has one position, none is lost.
    thread::scope(|scope| {
        for database in &processes {
            scope.spawn(move || {
                for _ in 0..50 {
                    let moved = block_on(database.write::<_, StoreError, _>(|tx| {
                        let head = runs::head(tx, run_id(1))?.unwrap();
                        let next = HeadMove {
                            from: head,
                            to: Head {
                                seq: head.seq + 1,
                                ..head
                            },
                        };
                        journal::insert(tx, &entry(1, next.to.seq))?;
                        runs::move_head(tx, run_id(1), &next, at(3))
                    }));
                    assert!(moved.unwrap(), "the head moved between looking and moving");
                }
            });
        }
    });
    let entries = processes[1]
        .read_now::<_, StoreError, _>(|tx| journal::list(tx, run_id(1), -1, 1_000))
        .unwrap();
    let seqs: Vec<i64> = entries.iter().map(|entry| entry.seq).collect();
    assert_eq!(seqs, (0..100).collect::<Vec<_>>());
}

#[test]
fn only_one_process_counts_at_a_time_and_nobody_waits_for_it() {
    let server = Server::start();
    let name = server.database();
    let (one, other) = (server.connect(&name), server.connect(&name));
    let gate = |database: &Database| block_on(database.write::<_, StoreError, _>(queue::gate));
    let (began, reached) = mpsc::channel();
    let (resume, stalled) = mpsc::channel::<()>();
    let counts = thread::scope(|scope| {
        let counts = scope.spawn(|| {
            block_on(one.write::<_, StoreError, _>(move |tx| {
                let open = queue::gate(tx)?;
                began.send(()).unwrap();
                stalled.recv().unwrap();
                Ok(open)
            }))
        });
        reached.recv().unwrap();
        assert!(!gate(&other).unwrap(), "two count at once");
        resume.send(()).unwrap();
        counts.join().unwrap()
    });
    assert!(counts.unwrap());
    assert!(gate(&other).unwrap(), "the gate stayed shut");
}

/// Changes a budget's row in a transaction of its own.
fn lock_alone(
    database: &Database,
    subject: &'static str,
) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
    let database = database.within(&ours());
    async move {
        let lock = move |tx: &Tx<'_>| {
            let row = budgets::lock(tx, &ours(), &budget(subject).key, at(3))?;
            row.map(drop)
                .ok_or_else(|| StoreError::Conflict("no budget".into()))
        };
        database.write_alone(lock).await
    }
}

/// Two processes change the same two rows, each in its own order, with closures that waited beside
/// each other: each row's lock is let go of before the next one is taken.
#[test]
fn what_is_written_alone_never_waits_in_a_circle() {
    let server = Server::start();
    let name = server.database();
    let processes = [server.connect(&name), server.connect(&name)];
    for subject in ["a", "b"] {
        let put = move |tx: &Tx<'_>| budgets::put(tx, &ours(), &budget(subject));
        block_on(processes[0].within(&ours()).write(put)).unwrap();
    }
    for _ in 0..20 {
        let gates = processes.each_ref().map(|database| {
            let (open, gate) = mpsc::channel::<()>();
            let database = database.clone();
            let stalled = thread::spawn(move || {
                let wait = move |_: &Tx<'_>| Ok::<_, StoreError>(gate.recv().is_err());
                block_on(database.write(wait))
            });
            (open, stalled)
        });
        let writes = [["a", "b"], ["b", "a"]];
        let mut writes = processes.iter().zip(writes).map(|(database, subjects)| {
            let [one, other] = subjects.map(|subject| lock_alone(database, subject));
            let mut both = Box::pin(async move { futures::join!(one, other) });
            // Both wait behind the closure that stalls.
            assert!(block_on(futures::future::poll_immediate(&mut both)).is_none());
            both
        });
        let writes = [writes.next().unwrap(), writes.next().unwrap()];
        for (open, stalled) in gates {
            drop(open);
            stalled.join().unwrap().unwrap();
        }
        thread::scope(|scope| {
            let writes = writes.map(|both| scope.spawn(|| block_on(both)));
            for (one, other) in writes.map(|write| write.join().unwrap()) {
                one.and(other).unwrap();
            }
        });
    }
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = 'd0'";
    drop(processes);
    assert_eq!(server.admin("postgres", deadlocks), "0");
}

#[test]
fn after_a_lost_connection_everything_in_flight_is_unavailable_and_the_next_write_works() {
    let server = Server::start();
    let site = Site::postgres(&server);
    site.with_runs(&[1]);
    let readers_before = site.look(|tx| runs::get(tx, run_id(1)));
    assert!(readers_before.is_some());
    append(&site.database, 1, 0).unwrap();

    // One write is under way, one waits behind it, when the server dies.
    let (began, reached) = mpsc::channel();
    let (resume, stalled) = mpsc::channel::<()>();
    let writers = [site.database.clone(), site.database.clone()];
    let answers = thread::scope(|scope| {
        let [first, second] = &writers;
        let under_way = scope.spawn(move || {
            block_on(first.write::<_, StoreError, _>(move |tx| {
                journal::insert(tx, &entry(1, 1))?;
                began.send(()).unwrap();
                stalled.recv().unwrap();
                workers::list(tx).map(drop)
            }))
        });
        reached.recv().unwrap();
        let behind = scope.spawn(|| append(second, 1, 2));
        server.cut();
        resume.send(()).unwrap();
        [under_way.join().unwrap(), behind.join().unwrap()]
    });
    for answer in answers {
        assert!(
            matches!(answer, Err(StoreError::Unavailable(_))),
            "{answer:?}"
        );
    }
    let down: Result<_, StoreError> = site.database.read_now(workers::list);
    assert!(matches!(down, Err(StoreError::Unavailable(_))), "{down:?}");
    let down = append(&site.database, 1, 1);
    assert!(matches!(down, Err(StoreError::Unavailable(_))), "{down:?}");

    server.begin();
    append(&site.database, 1, 1).unwrap();
    let entries = site.look(|tx| journal::list(tx, run_id(1), -1, 9));
    let kept: Vec<_> = entries.iter().map(|entry| (entry.lsn, entry.seq)).collect();
    assert_eq!(
        kept,
        [(1, 0), (2, 1)],
        "what was acknowledged, and nothing else"
    );
}

#[test]
fn entries_lie_in_the_month_of_their_run_and_those_of_no_month_are_not_lost() {
    let server = Server::start();
    let name = server.database();
    let old = matrix_core::RunId::from_bytes([1; 16]);
    let site = server.connect(&name);
    block_on(site.write::<_, StoreError, _>(move |tx| {
        let mut row = run_row(1, &ours());
        row.run = old;
        runs::insert(tx, &row)?;
        let mut first = entry(1, 0);
        first.run = old;
        journal::insert(tx, &first)?;
        audit::insert(tx, &caller(&ours()), at(1), "a", "b", "c")
    }))
    .unwrap();
    let months = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'matrix.journal'::regclass";
    assert_eq!(
        server.admin(&name, months),
        "5",
        "a month before, now, two ahead, and the rest"
    );
    assert_eq!(
        server.admin(&name, "SELECT count(*) FROM matrix.journal_rest"),
        "1"
    );
    // The month of that run is made later: what was kept in the rest moves there.
    let milliseconds = i64::from_be_bytes([0, 0, 1, 1, 1, 1, 1, 1]);
    let make = format!("SELECT matrix.journal_month({}, 0)", milliseconds * 1_000);
    assert_eq!(server.admin(&name, &make), "t");
    assert_eq!(server.admin(&name, &make), "f");
    assert_eq!(
        server.admin(&name, "SELECT count(*) FROM matrix.journal_rest"),
        "0"
    );
    let entries = site
        .read_now::<_, StoreError, _>(|tx| journal::list(tx, old, -1, 9))
        .unwrap();
    assert_eq!(entries.len(), 1);
    // A second process that opens the same database finds the months made.
    drop(server.connect(&name));
    assert_eq!(server.admin(&name, months), "6");
}

#[test]
fn a_closure_that_fails_is_undone_alone() {
    let server = Server::start();
    let site = Site::postgres(&server);
    // They wait for each other in one batch behind a stalled one.
    let (began, reached) = mpsc::channel();
    let (resume, stalled) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let database = &site.database;
        scope.spawn(move || {
            block_on(database.write::<_, StoreError, _>(move |_| {
                began.send(()).unwrap();
                stalled.recv().unwrap();
                Ok(())
            }))
            .unwrap();
        });
        reached.recv().unwrap();
        let ours_only = database.within(&ours());
        let mut writes = Vec::new();
        for number in 1..=30_u8 {
            let mut write = Box::pin(ours_only.write::<_, StoreError, _>(move |tx| {
                runs::insert(tx, &run_row(number, &ours()))?;
                match number % 3 {
                    0 => Ok(()),
                    1 => Err(StoreError::Corrupt("on purpose".into())),
                    // An error of the database that the closure itself makes nothing of.
                    _ => {
                        drop(runs::insert(tx, &run_row(number, &ours())));
                        Ok(())
                    }
                }
            }));
            let first = futures::FutureExt::now_or_never(&mut write);
            assert!(first.is_none(), "the writer is not stalled");
            writes.push(write);
        }
        let before = site.database.commits();
        resume.send(()).unwrap();
        for (number, write) in (1..).zip(writes) {
            let answer = block_on(write);
            match number % 3 {
                0 => assert!(answer.is_ok(), "{number}: {answer:?}"),
                1 => assert!(matches!(answer, Err(StoreError::Corrupt(_)))),
                _ => assert!(matches!(answer, Err(StoreError::Conflict(_))), "{answer:?}"),
            }
        }
        let took = site.database.commits() - before;
        assert!(
            took <= 2,
            "writes that waited together took {took} transactions"
        );
    });
    let listed = site.see(|tx| runs::list(tx, &ours(), &runs::Filter::default(), 99));
    assert_eq!(listed.len(), 10);
}

/// A process that tells and hears: what it was told so far, from a runtime of its own.
fn bell(
    server: &Server,
    name: &str,
    runtime: &tokio::runtime::Runtime,
) -> (
    tokio::sync::mpsc::UnboundedSender<News>,
    mpsc::Receiver<News>,
) {
    let (bell, sender) = Bell::new(server.address(LOGIN, name));
    let (heard, hears) = mpsc::channel();
    runtime.spawn(bell.keep(move |news| heard.send(news).unwrap_or_default()));
    // It says by itself that there may be something, once it hears.
    for news in [News::Runs, News::Entries] {
        assert_eq!(hears.recv_timeout(PATIENCE).unwrap(), news);
    }
    (sender, hears)
}

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn what_one_process_tells_the_others_hear_and_it_does_not_hear_itself() {
    let server = Server::start();
    let name = server.database();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let [(one, to_one), (two, to_two)] = [(); 2].map(|()| bell(&server, &name, &runtime));
    one.send(News::Run(run_id(1))).unwrap();
    assert_eq!(to_two.recv_timeout(PATIENCE).unwrap(), News::Run(run_id(1)));
    two.send(News::Entries).unwrap();
    assert_eq!(to_one.recv_timeout(PATIENCE).unwrap(), News::Entries);

    // A connection that is lost is made again, and then there may be something.
    let ours = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                WHERE query LIKE '%pg_%' AND usename = 'matrix_login'";
    server.admin(&name, ours);
    for to in [&to_one, &to_two] {
        assert_eq!(to.recv_timeout(PATIENCE).unwrap(), News::Runs);
        assert_eq!(to.recv_timeout(PATIENCE).unwrap(), News::Entries);
    }

    // Whoever ends has told what it was sent.
    one.send(News::Run(run_id(2))).unwrap();
    drop(one);
    assert_eq!(to_two.recv_timeout(PATIENCE).unwrap(), News::Run(run_id(2)));
}
