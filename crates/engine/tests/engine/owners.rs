//! Who owns a run: leases on the observer's clock, deaths that are counted, owners that come late.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use matrix_core::{Clock, RunId};
use matrix_engine::journal::{AppendError, Fence};
use matrix_engine::runs::{self, RunResume, RunSignal};
use matrix_engine::{Draft, EngineOptions, EntryKind, Step};
use matrix_store::tables::{runs as table, workers};
use matrix_store::{Database, StoreError};
use serde_json::json;
use tokio::sync::Notify;

use super::host::{Place, World, body, may, two_steps, until, with};

/// The observer looks three times in this time; what it judges by is the clock in our hands.
const LEASE: Duration = Duration::from_millis(30);

async fn claim(database: &Database, run: RunId, owner: &'static str, place: &Place) {
    let at = place.clock.now();
    let claimed = database
        .write::<_, StoreError, _>(move |tx| {
            workers::beat(tx, owner)?;
            table::claim(tx, run, owner, at)
        })
        .await;
    assert!(claimed.unwrap(), "{owner} did not get the run");
}

#[tokio::test]
async fn an_owner_without_heartbeat_loses_its_runs_after_a_lease_and_a_live_one_keeps_them() {
    let place = Place::new();
    let observer = place.host_with(
        EngineOptions {
            concurrency: 0,
            lease: LEASE,
            ..Place::options("observer")
        },
        &body(|_, input| async move { Ok(input) }),
    );
    // The observer has taken over what it found before these two owners appear.
    let database = observer.engine.database().clone();
    until("the observer works", || database.commits() > 0).await;
    let (silent, alive) = (
        observer.create(json!(1)).await,
        observer.create(json!(2)).await,
    );
    claim(&database, silent, "silent", &place).await;
    claim(&database, alive, "alive", &place).await;
    // The wall clock is no witness, whichever way it is set.
    place.clock.set_back(Duration::from_hours(1));
    for round in 0..1_000 {
        database
            .write::<_, StoreError, _>(|tx| workers::beat(tx, "alive"))
            .await
            .unwrap();
        place.clock.advance(LEASE / 3);
        if round == 2 {
            place.clock.set_forward(Duration::from_hours(2));
            assert_eq!(observer.row(silent).state, "running", "no lease has passed");
        }
        if observer.row(silent).state == "ready" {
            break;
        }
        assert!(round < 999, "a silent owner keeps its run");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let row = observer.row(silent);
    assert_eq!((row.owner, row.epoch, row.crashes), (None, 2, 1));
    let row = observer.row(alive);
    assert_eq!((row.state.as_str(), row.epoch), ("running", 1));
    assert_eq!(row.owner.as_deref(), Some("alive"));

    let note = || vec![Draft::new(EntryKind::Resumed, json!({}))];
    let journal = observer.engine.journal();
    let fence = |run| Fence { run, epoch: 1 };
    let late = journal
        .append(fence(silent), "worker:silent", note(), None)
        .await;
    assert!(matches!(late, Err(AppendError::Refused)), "{late:?}");
    let heard = journal
        .append(fence(alive), "worker:alive", note(), None)
        .await;
    assert_eq!(heard.unwrap().len(), 1);
}

#[tokio::test]
async fn a_clock_that_stands_still_takes_nobodys_run() {
    let place = Place::new();
    let observer = place.host_with(
        EngineOptions {
            concurrency: 0,
            lease: LEASE,
            ..Place::options("observer")
        },
        &body(|_, input| async move { Ok(input) }),
    );
    let database = observer.engine.database().clone();
    until("the observer works", || database.commits() > 0).await;
    let (kept, witness) = (
        observer.create(json!(1)).await,
        observer.create(json!(2)).await,
    );
    claim(&database, kept, "kept", &place).await;
    place.clock.advance(LEASE / 2);
    claim(&database, witness, "witness", &place).await;
    // Several sweeps pass by the runtime's time; none of them is a lease by the observer's clock.
    tokio::time::sleep(LEASE * 3).await;
    for run in [kept, witness] {
        assert_eq!(observer.row(run).state, "running");
    }
}

#[tokio::test]
async fn a_live_host_keeps_its_runs_while_another_watches_it() {
    let place = Place::new();
    let open = Arc::new(Notify::new());
    let gate = Arc::clone(&open);
    let function = body(move |run, _| {
        let gate = Arc::clone(&gate);
        async move {
            let waits = run.step(Step::read("waits"), |_| async {
                gate.notified().await;
                Ok(())
            });
            waits.await?;
            Ok(json!("done"))
        }
    });
    let quick = |worker, concurrency| EngineOptions {
        lease: LEASE,
        concurrency,
        ..Place::options(worker)
    };
    let observer = place.host_with(quick("observer", 0), &function);
    until("the observer works", || {
        observer.engine.database().commits() > 0
    })
    .await;
    let owner = place.host_with(quick("owner", 4), &function);
    let run = owner.create(json!({})).await;
    owner.reaches(run, "running").await;
    let beat = || {
        let beats = owner
            .engine
            .database()
            .read_now::<_, StoreError, _>(workers::list);
        let beats = beats.unwrap();
        beats
            .iter()
            .find(|(name, _)| name == "owner")
            .map_or(0, |(_, beat)| *beat)
    };
    for _ in 0..6 {
        let last = beat();
        until("the owner's heart beats", || beat() > last).await;
        place.clock.advance(LEASE / 2);
    }
    let row = owner.row(run);
    assert_eq!(
        (row.state.as_str(), row.epoch, row.crashes),
        ("running", 1, 0)
    );
    open.notify_one();
    owner.reaches(run, "succeeded").await;
    owner.stop().await;
    let left = observer
        .engine
        .database()
        .read_now::<_, StoreError, _>(workers::list);
    assert!(
        left.unwrap().iter().all(|(name, _)| name != "owner"),
        "a host that ended well left its heartbeat"
    );
}

#[tokio::test]
async fn a_run_that_kills_its_hosts_is_left_to_a_person_after_five() {
    let place = Place::new();
    let (begun, open) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
    let (counted, gate) = (Arc::clone(&begun), Arc::clone(&open));
    let function = body(move |run, _| {
        let (counted, gate) = (Arc::clone(&counted), Arc::clone(&gate));
        async move {
            let deadly = run.step(Step::read("deadly"), |_| async {
                counted.fetch_add(1, Ordering::SeqCst);
                gate.notified().await;
                Ok(())
            });
            deadly.await?;
            Ok(json!("survived"))
        }
    });
    let mut host = place.host("host-0", &function);
    let run = host.create(json!({})).await;
    for death in 1..=5 {
        until("the step begins", || begun.load(Ordering::SeqCst) == death).await;
        host.die().await;
        host = place.host(&format!("host-{death}"), &function);
    }
    host.reaches(run, "paused").await;
    assert!(host.why(run).contains("died 5 times"), "{}", host.why(run));
    assert_eq!(begun.load(Ordering::SeqCst), 5);
    let resume = may(RunResume {
        run,
        submitter: String::new(),
        reason: String::new(),
    });
    runs::resume(&host.engine, &resume).await.unwrap();
    until("the step begins again", || {
        begun.load(Ordering::SeqCst) == 6
    })
    .await;
    open.notify_one();
    host.reaches(run, "succeeded").await;
}

#[tokio::test]
async fn nobody_writes_to_a_run_that_was_let_go_of() {
    let place = Place::new();
    let host = place.host(
        "a",
        &body(|run, _| async move { Ok(json!(run.signal::<u32>("go").await?)) }),
    );
    let run = host.create(json!({})).await;
    host.reaches(run, "waiting").await;
    let epoch = host.row(run).epoch;
    let append = || {
        let note = vec![Draft::new(EntryKind::Resumed, json!({}))];
        host.engine
            .journal()
            .append(Fence { run, epoch }, "worker:a", note, None)
    };
    let waiting = append().await;
    assert!(matches!(waiting, Err(AppendError::Refused)), "{waiting:?}");
    let (name, value) = ("go".into(), json!(1));
    runs::signal(
        &host.engine,
        &may(RunSignal {
            run,
            submitter: String::new(),
            name,
            value,
        }),
    )
    .await
    .unwrap();
    host.reaches(run, "succeeded").await;
    let epoch = host.row(run).epoch;
    let note = vec![Draft::new(EntryKind::Resumed, json!({}))];
    let ended = host
        .engine
        .journal()
        .append(Fence { run, epoch }, "worker:a", note, None)
        .await;
    assert!(matches!(ended, Err(AppendError::Refused)), "{ended:?}");
}

#[tokio::test]
async fn a_slow_owner_that_lost_its_run_cannot_write() {
    let place = Place::new();
    let world = Arc::new(World::default());
    let slow = place.host("slow", &with(&world, two_steps));
    let run = slow.create(json!({})).await;
    world.reached.notified().await;
    let quick_world = Arc::new(World::default());
    let quick = place.host("quick", &with(&quick_world, two_steps));
    quick_world.reached.notified().await;
    world.open.notify_one();
    quick_world.open.notify_one();
    assert_eq!(quick.settled(run).await.state, "succeeded");
    // The first step's recorded result is 1; the slow owner's second result was refused.
    assert_eq!(quick.result(run), json!([1, 1]));
    let entries = quick.engine.journal().read(run, -1).unwrap();
    assert_eq!(entries.len(), 4, "the slow owner wrote too");
}
