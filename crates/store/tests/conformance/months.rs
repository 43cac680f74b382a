//! A month of the journal on PostgreSQL: it is dropped when nobody needs it, what stays of it stays
//! as it was, and whoever needs it is heard, at whatever moment.

use std::sync::mpsc;
use std::thread;

use futures::executor::block_on;
use matrix_core::{Digest, RunId};
use matrix_store::tables::journal::{self, EntryRow};
use matrix_store::tables::removal::{self, Parted, Swapped};
use matrix_store::tables::retention::Terms;
use matrix_store::tables::runs::{self, RunRow};
use matrix_store::tables::{checkpoints, releases};
use matrix_store::{Database, StoreError, Tx};

use crate::server::Server;
use crate::site::{Site, at, deployment, entry, ours, release, run_row, theirs};

const TERMS: Terms = Terms {
    ended_before: at(1_000),
    releases: i64::MAX,
};

/// January 2024, by its first moment in microseconds.
const MONTH: i64 = 1_704_067_200_000_000;

/// A run of that month.
fn old(number: u8) -> RunId {
    let mut bytes = *RunId::first_at(at(MONTH + 86_400_000_000)).as_bytes();
    bytes[15] = number;
    RunId::from_bytes(bytes)
}

fn row(number: u8, state: &str) -> RunRow {
    let scope = if number == 4 { theirs() } else { ours() };
    RunRow {
        run: old(number),
        state: state.into(),
        head_seq: 2,
        ..run_row(number, &scope)
    }
}

fn line(number: u8, seq: i64) -> EntryRow {
    EntryRow {
        run: old(number),
        ..entry(number, seq)
    }
}

/// The runs 1 to 4 of the month have ended, with three entries each, side by side; 4 is another
/// tenant's. All entries are under a head, with their hashes kept.
struct Month {
    server: Server,
    name: String,
    site: Site,
}

impl Month {
    fn new() -> Self {
        let server = Server::start();
        let name = server.database();
        let site = Site::over(server.connect(&name));
        server.admin(&name, &format!("SELECT matrix.journal_month({MONTH}, 0)"));
        site.engine(|tx| {
            for number in 1..=4 {
                insert(tx, &row(number, "succeeded"))?;
            }
            for seq in 0..3 {
                for number in 1..=4 {
                    journal::insert(tx, &line(number, seq))?;
                }
            }
            let head = checkpoints::CheckpointRow {
                shard: 0,
                size: 12,
                origin: "o".into(),
                root: Digest::of("root"),
                note: "n".into(),
                at: at(1),
            };
            checkpoints::insert(tx, &head)?;
            let leaves = checkpoints::leaves(tx, 0, 0, 12)?;
            let hashes: Vec<Digest> = leaves.into_iter().map(|(_, hash)| hash).collect();
            checkpoints::keep_leaves(tx, 0, 1, &hashes)
        });
        Self { server, name, site }
    }

    fn admin(&self, sql: &str) -> String {
        self.server.admin(&self.name, sql)
    }

    fn mark(&self, numbers: &[u8]) {
        for number in numbers.iter().copied() {
            let marked = move |tx: &Tx<'_>| removal::mark(tx, old(number), old(99), at(500));
            assert!(self.site.engine(marked));
        }
    }

    fn part(&self) -> Parted {
        part(&self.site.database)
    }

    fn swap(&self) -> Swapped {
        swap(&self.site.database)
    }

    /// What the month's partition has.
    fn rows(&self) -> String {
        self.admin("SELECT count(*) FROM matrix.journal_2024_01")
    }

    fn copies(&self) -> String {
        self.admin("SELECT count(*) FROM pg_class WHERE relname LIKE 'journal%kept'")
    }
}

fn insert(tx: &Tx<'_>, row: &RunRow) -> Result<(), StoreError> {
    tx.within(&row.scope, |tx| runs::insert(tx, row))
}

/// Copies two runs at a time, until all were looked at.
fn part(database: &Database) -> Parted {
    loop {
        let part = |tx: &Tx<'_>| removal::part(tx, old(1), TERMS, 2);
        match block_on(database.write::<_, StoreError, _>(part)).unwrap() {
            Parted::More => {}
            other => return other,
        }
    }
}

fn swap(database: &Database) -> Swapped {
    let swap = |tx: &Tx<'_>| removal::swap(tx, old(1), TERMS);
    block_on(database.write::<_, StoreError, _>(swap)).unwrap()
}

fn stays(word: &str) -> Parted {
    Parted::Stays(word.into())
}

#[test]
fn a_month_is_dropped_and_what_stays_of_it_is_as_it_was() {
    let month = Month::new();
    let before = month.site.look(|tx| journal::list(tx, old(2), -1, 9));
    let leaves = month.site.look(|tx| checkpoints::leaves(tx, 0, 0, 99));
    assert_eq!(month.part(), stays("nothing"));
    month.mark(&[1, 3]);
    let months = month.site.look(|tx| removal::months(tx, 9));
    assert_eq!(months, [("2024_01".to_owned(), old(1))]);
    let whole = Parted::Whole {
        removed: 6,
        kept: 6,
    };
    assert_eq!(month.part(), whole);
    assert_eq!(month.rows(), "12", "nothing goes before it is asked for");
    let hashes = [2, 4].map(|number| (0..3).map(move |seq| line(number, seq).hash));
    let hashes: Vec<_> = hashes.into_iter().flatten().collect();
    let parts: Vec<&[u8]> = hashes.iter().map(|hash| &hash.as_bytes()[..]).collect();
    let kept = Digest::of_parts(&parts).to_string();
    assert_eq!(month.swap(), Swapped::Dropped { kept });

    assert_eq!(
        month.site.look(|tx| journal::list(tx, old(2), -1, 9)),
        before
    );
    assert_eq!(
        month.site.look(|tx| checkpoints::leaves(tx, 0, 0, 99)),
        leaves
    );
    assert_eq!((&*month.rows(), &*month.copies()), ("6", "0"));
    assert_eq!(month.site.look(|tx| removal::months(tx, 9)), []);
    assert_eq!(month.part(), stays("nothing"));
    // Neither role has a way around the journal's policies, and the other tenant sees its own.
    let forced = "SELECT relrowsecurity AND relforcerowsecurity AND relispartition FROM pg_class
                  WHERE oid = 'matrix.journal_2024_01'::regclass";
    assert_eq!(month.admin(forced), "t");
    let may = "SELECT bool_or(has_table_privilege(role, 'matrix.journal_2024_01', 'SELECT'))
               FROM unnest(ARRAY['matrix_app', 'matrix_engine']) role";
    assert_eq!(month.admin(may), "f");
    assert_eq!(month.site.spy(|tx| journal::list(tx, old(2), -1, 9)), []);
    assert_eq!(
        month.site.spy(|tx| journal::list(tx, old(4), -1, 9)).len(),
        3
    );
    // The place is that of the month: a run with an old id still finds it, with a run of its own.
    month.site.engine(|tx| {
        insert(tx, &row(5, "ready"))?;
        journal::insert(tx, &line(5, 0))
    });
    assert_eq!(month.rows(), "7");
    let orphan = |tx: &Tx<'_>| journal::insert(tx, &line(6, 0));
    crate::site::conflicts(month.site.try_engine(orphan));
}

/// What makes a month of which runs 1 and 2 are removed stay: in words, how it comes, how it goes, and
/// what is said of it.
fn needs() -> [(&'static str, String, String, &'static str); 8] {
    let child = RunRow {
        run: RunId::first_at(at(2 * MONTH)),
        lineage: runs::Lineage {
            parent: Some(old(1)),
            ..runs::Lineage::default()
        },
        ..row(7, "running")
    };
    let fork = RunRow {
        run: RunId::first_at(at(2 * MONTH + 1_000)),
        lineage: runs::Lineage {
            forked_from: Some(old(2)),
            ..runs::Lineage::default()
        },
        ..row(8, "failed")
    };
    let to = |table: &str, sets: &str, number: u8| {
        let run = hex(old(number).as_bytes());
        format!("UPDATE matrix.{table} SET {sets} WHERE run = '\\x{run}'")
    };
    let ended = to("runs", "state = 'succeeded', updated_at = 1", 3);
    [
        (
            "goes on",
            to("runs", "state = 'waiting'", 3),
            ended.clone(),
            "unfinished",
        ),
        (
            "is young",
            to("runs", "updated_at = 1000", 3),
            ended,
            "young",
        ),
        (
            "is held",
            to("runs", "hold = 'an audit'", 1),
            to("runs", "hold = ''", 1),
            "needed",
        ),
        (
            "has a child",
            insert_of(&child),
            delete_of(&child),
            "needed",
        ),
        ("has a fork", insert_of(&fork), delete_of(&fork), "needed"),
        (
            "has no leaves",
            "UPDATE matrix.leaves SET hashes = substr(hashes, 1, 64)".into(),
            "DELETE FROM matrix.leaves".into(),
            "uncovered",
        ),
        (
            "has other leaves",
            "INSERT INTO matrix.leaves SELECT 0, 1, string_agg(sha256('x'), '')
             FROM generate_series(1, 12)"
                .into(),
            "UPDATE matrix.leaves SET hashes = (SELECT string_agg(hash, '' ORDER BY lsn)
             FROM matrix.journal)"
                .into(),
            "uncovered",
        ),
        (
            "is beyond the head",
            "UPDATE matrix.checkpoints SET size = 8".into(),
            "UPDATE matrix.checkpoints SET size = 12".into(),
            "uncovered",
        ),
    ]
}

#[test]
fn a_month_that_is_needed_stays() {
    let month = Month::new();
    month.mark(&[1, 2]);
    for (why, need, no_more, word) in needs() {
        month.admin(&need);
        assert_eq!(month.part(), stays(word), "a run {why}");
        assert_eq!(month.copies(), "0", "a run {why}");
        assert!(matches!(month.swap(), Swapped::Stays(_)), "a run {why}");
        assert_eq!(month.rows(), "12", "a run {why}");
        month.admin(&no_more);
    }
}

#[test]
fn a_month_with_a_release_or_a_deployment_stays_and_a_late_need_counts() {
    let month = Month::new();
    month.mark(&[1, 2]);
    let hold = |reason: &str| {
        let run = hex(old(1).as_bytes());
        month.admin(&format!(
            "UPDATE matrix.runs SET hold = '{reason}' WHERE run = '\\x{run}'"
        ))
    };
    month.site.engine(|tx| {
        releases::put_deployment(
            tx,
            &releases::DeploymentRow {
                run: old(1),
                ..deployment(1, 1, &ours(), "active")
            },
        )
    });
    assert_eq!(month.part(), stays("needed"), "it is deployed");
    month.admin("UPDATE matrix.deployments SET state = 'failed'");
    month.site.engine(|tx| {
        releases::put_release(
            tx,
            &releases::ReleaseRow {
                run: old(2),
                ..release(1, 2, &ours())
            },
        )
    });
    assert_eq!(month.part(), stays("needed"), "it is released");
    month.admin("DELETE FROM matrix.releases");
    // A need that comes between copy and swap counts as well.
    assert!(matches!(month.part(), Parted::Whole { .. }));
    hold("an audit");
    assert_eq!(month.swap(), Swapped::Stays("needed".into()));
    assert_eq!((&*month.rows(), &*month.copies()), ("12", "0"));
    hold("");
    assert!(matches!(month.part(), Parted::Whole { .. }));
    assert!(matches!(month.swap(), Swapped::Dropped { .. }));
    assert_eq!(month.rows(), "6");
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn insert_of(row: &RunRow) -> String {
    let id = |run: Option<RunId>| {
        run.map_or("NULL".into(), |run| format!("'\\x{}'", hex(run.as_bytes())))
    };
    format!(
        "INSERT INTO matrix.runs (run, organisation, workspace, kind, version, title, trace, state,
            epoch, crashes, head_seq, head_hash, created_at, updated_at, parent, forked_from)
         VALUES ({}, 'acme', 'main', 't', '1', 't', 't', '{}', 0, 0, 0, '', 1, 1, {}, {})",
        id(Some(row.run)),
        row.state,
        id(row.lineage.parent),
        id(row.lineage.forked_from),
    )
}

fn delete_of(row: &RunRow) -> String {
    format!(
        "DELETE FROM matrix.runs WHERE run = '\\x{}'",
        hex(row.run.as_bytes())
    )
}

#[test]
fn what_changed_since_the_copy_is_copied_again_by_whoever_goes_on() {
    let month = Month::new();
    month.mark(&[1]);
    assert!(matches!(month.part(), Parted::Whole { .. }));
    // The process that copied is gone; another one finds its copy, which is not the truth any more.
    let next = month.server.connect(&month.name);
    assert!(month.site.engine(|tx| journal::erase(tx, old(2), 1)));
    assert_eq!(swap(&next), Swapped::Stays("stale".into()));
    assert_eq!((&*month.rows(), &*month.copies()), ("12", "0"));
    assert_eq!(
        swap(&next),
        Swapped::Stays("stale".into()),
        "without a copy"
    );
    assert!(matches!(part(&next), Parted::Whole { .. }));
    month.mark(&[3]);
    assert_eq!(
        swap(&next),
        Swapped::Stays("stale".into()),
        "another run goes"
    );
    let whole = Parted::Whole {
        removed: 6,
        kept: 6,
    };
    assert_eq!(part(&next), whole);
    assert!(matches!(swap(&next), Swapped::Dropped { .. }));
    let kept = month.site.look(|tx| journal::list(tx, old(2), -1, 9));
    assert_eq!(
        kept.iter()
            .map(|entry| entry.payload.is_some())
            .collect::<Vec<_>>(),
        [true, false, true]
    );
}

#[test]
fn of_two_processes_one_drops_a_month_while_a_third_appends() {
    let month = Month::new();
    month.mark(&[1, 3]);
    let now = RunRow {
        run: RunId::first_at(at(2 * MONTH)),
        ..row(9, "running")
    };
    let (run, server, name) = (now.run, &month.server, &month.name);
    month.site.engine(move |tx| insert(tx, &now));
    let outcomes = thread::scope(|scope| {
        let (stop, stopped) = mpsc::channel::<()>();
        let appender = scope.spawn(move || {
            let database = server.connect(name);
            let mut seq = 0;
            while matches!(stopped.try_recv(), Err(mpsc::TryRecvError::Empty)) || seq < 20 {
                let next = EntryRow {
                    run,
                    ..entry(9, seq)
                };
                let append = move |tx: &Tx<'_>| journal::insert(tx, &next);
                block_on(database.write::<_, StoreError, _>(append)).unwrap();
                seq += 1;
            }
            seq
        });
        let droppers = [(); 2].map(|()| {
            scope.spawn(move || {
                let database = server.connect(name);
                loop {
                    match part(&database) {
                        Parted::Stays(why) => return Swapped::Stays(why),
                        _ => match swap(&database) {
                            Swapped::Stays(why) if why == "busy" || why == "stale" => {}
                            other => return other,
                        },
                    }
                }
            })
        });
        let outcomes = droppers.map(thread::ScopedJoinHandle::join);
        stop.send(()).unwrap();
        let outcomes = outcomes.map(Result::unwrap);
        (outcomes, appender.join().unwrap())
    });
    let (outcomes, appended) = outcomes;
    let dropped = outcomes.iter();
    let dropped = dropped.filter(|outcome| matches!(outcome, Swapped::Dropped { .. }));
    assert_eq!(dropped.count(), 1, "{outcomes:?}");
    assert!(
        outcomes.contains(&Swapped::Stays("nothing".into())),
        "{outcomes:?}"
    );
    let entries = month.site.look(|tx| journal::list(tx, run, -1, 100_000));
    assert_eq!(i64::try_from(entries.len()).unwrap(), appended);
    assert_eq!((&*month.rows(), &*month.copies()), ("6", "0"));
}

/// A fork and a removal of the same run at the same moment: one waits for the other, and hears of it.
#[test]
fn a_run_that_is_being_forked_is_not_removed_and_a_removed_one_is_not_forked() {
    for fork_first in [true, false] {
        let month = Month::new();
        let (server, name) = (&month.server, &month.name);
        let fork = RunRow {
            run: RunId::first_at(at(2 * MONTH)),
            lineage: runs::Lineage {
                forked_from: Some(old(1)),
                fork_seq: 1,
                ..runs::Lineage::default()
            },
            ..row(8, "ready")
        };
        let forking = move |tx: &Tx<'_>| {
            let stands = runs::stands(tx, old(1))?;
            if stands {
                insert(tx, &fork)?;
            }
            Ok::<_, StoreError>(stands)
        };
        let removing = |tx: &Tx<'_>| {
            let facts = removal::facts(tx, old(1), TERMS)?;
            let free = facts.is_some_and(|facts| facts.forks.is_empty());
            if free {
                removal::mark(tx, old(1), old(99), at(500))?;
            }
            Ok::<_, StoreError>(free)
        };
        let (forked, removed) = thread::scope(|scope| {
            let (did, first_did) = mpsc::channel();
            let (go, goes) = mpsc::channel::<()>();
            let first = server.connect(name);
            let second = server.connect(name);
            // The first one stays in its transaction until the second one waits for it.
            let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted";
            let hold = move |done: Result<bool, StoreError>| {
                did.send(()).unwrap();
                goes.recv().unwrap();
                done
            };
            let watch = move || {
                first_did.recv().unwrap();
                while server.admin(name, waits) == "0" {
                    thread::yield_now();
                }
                go.send(()).unwrap();
            };
            scope.spawn(watch);
            if fork_first {
                let fork = scope.spawn(move || {
                    block_on(first.write::<_, StoreError, _>(move |tx| hold(forking(tx)))).unwrap()
                });
                while server.admin(name, "SELECT count(*) FROM pg_locks WHERE mode = 'RowShareLock' AND relation = 'matrix.runs'::regclass") == "0" {
                    thread::yield_now();
                }
                let removed = block_on(second.write::<_, StoreError, _>(removing)).unwrap();
                (fork.join().unwrap(), removed)
            } else {
                let remove = scope.spawn(move || {
                    block_on(first.write::<_, StoreError, _>(move |tx| hold(removing(tx)))).unwrap()
                });
                while server.admin(name, "SELECT count(*) FROM pg_locks WHERE mode = 'RowShareLock' AND relation = 'matrix.runs'::regclass") == "0" {
                    thread::yield_now();
                }
                let forked = block_on(second.write::<_, StoreError, _>(forking)).unwrap();
                (forked, remove.join().unwrap())
            }
        });
        assert_eq!((forked, removed), (fork_first, !fork_first));
    }
}
