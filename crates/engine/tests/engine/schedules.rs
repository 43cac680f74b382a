//! Schedules: due once, in their zone, whatever happens to hosts and clocks.

use std::sync::Arc;
use std::time::Duration;

use matrix_core::{Clock, RunId};
use matrix_engine::queue::Placing;
use matrix_engine::runs::{self, RunPause, RunResume};
use matrix_engine::schedule::{
    self, CatchUp, Overlap, Schedule, ScheduleAdd, ScheduleError, ScheduleFire, ScheduleRead,
    ScheduleRemove, ScheduleView, Starter,
};
use matrix_store::tables::runs::RunRow;
use serde_json::{Value, json};

use super::host::{Body, Host, Picky, Place, body, may, until};

/// Every ten minutes.
fn tenth() -> Schedule {
    Schedule {
        cron: "*/10 * * * *".into(),
        timezone: "UTC".into(),
        catch_up: CatchUp::One,
        overlap: Overlap::Skip,
        jitter_s: 0,
        kind: "picky".into(),
        title: "a run".into(),
        request: json!("yes"),
    }
}

async fn try_add(host: &Host, name: &str, schedule: Schedule) -> Result<RunId, ScheduleError> {
    let starters: [Arc<dyn Starter>; 1] = [Arc::new(Picky)];
    let add = ScheduleAdd {
        name: name.into(),
        schedule,
        placing: Placing::default(),
    };
    schedule::add(&host.engine, &starters, &may(add), Box::new(|_, _| Ok(()))).await
}

async fn add(host: &Host, schedule: Schedule) -> RunId {
    let run = try_add(host, "tenth", schedule).await.unwrap();
    host.reaches(run, "waiting").await;
    run
}

fn shown(host: &Host) -> ScheduleView {
    let (database, blobs) = (host.engine.database(), host.engine.blobs());
    schedule::show(database, blobs, &may(ScheduleRead), "tenth").unwrap()
}

/// What was started, oldest first.
fn started(host: &Host) -> Vec<RunRow> {
    let mut rows = host.all();
    rows.retain(|row| row.kind == "picky");
    rows.sort_by_key(|row| (row.created_at, row.run));
    rows
}

/// Lets time go by, and waits until the schedule sleeps again.
async fn later(place: &Place, host: &Host, schedule: RunId, minutes: u64) {
    let before = host.row(schedule).lineage.base_seq;
    place.clock.advance(Duration::from_mins(minutes));
    host.look_again(schedule).await;
    until("the schedule went round", || {
        let row = host.row(schedule);
        row.lineage.base_seq > before && row.state == "waiting"
    })
    .await;
}

fn quick() -> Vec<(&'static str, Body)> {
    vec![("picky", body(|_, input| async move { Ok(input) }))]
}

/// Runs that end when they are told to.
fn slow() -> Vec<(&'static str, Body)> {
    vec![(
        "picky",
        body(|run, _| async move { run.signal::<Value>("go").await }),
    )]
}

#[tokio::test]
async fn a_schedule_starts_one_run_at_each_time_also_across_hosts_and_keeps_no_long_history() {
    let place = Place::new();
    let host = place.host_of("a", &quick());
    let run = add(&host, tenth()).await;
    let due = shown(&host).next.unwrap();
    assert!(due.since(place.clock.now()) <= Duration::from_mins(10));
    later(&place, &host, run, 10).await;
    assert_eq!(started(&host).len(), 1);
    assert_eq!(
        host.input(started(&host)[0].run),
        json!({ "for": "user:ada", "asked": "yes" })
    );
    assert_eq!(shown(&host).last, Some(started(&host)[0].run));
    host.die().await;
    let host = place.host_of("b", &quick());
    for count in 2..6 {
        later(&place, &host, run, 10).await;
        assert_eq!(started(&host).len(), count);
    }
    assert_eq!(shown(&host).started, 5);
    assert!(host.view(run).steps.len() < 8, "its history grows");
    host.verify(run);
    assert_eq!(host.replayed(run).await, "so_far");
    until("all have ended", || {
        started(&host).iter().all(|row| row.state == "succeeded")
    })
    .await;
}

#[tokio::test]
async fn times_that_passed_are_made_up_for_as_the_schedule_says() {
    for (catch_up, runs) in [(CatchUp::Skip, 0), (CatchUp::One, 1), (CatchUp::All, 6)] {
        let place = Place::new();
        let host = place.host_of("a", &quick());
        let schedule = Schedule {
            catch_up,
            overlap: Overlap::Allow,
            cron: "3-53/10 * * * *".into(),
            ..tenth()
        };
        let run = add(&host, schedule).await;
        host.die().await;
        let host = place.host_of("b", &quick());
        // The clock stands at 22:13:20, so 23:13 is 20 seconds over, and 23:17 minutes late.
        later(&place, &host, run, 64).await;
        assert_eq!(started(&host).len(), runs, "{catch_up:?}");
        assert!(shown(&host).next.unwrap() > place.clock.now());
    }
}

#[tokio::test]
async fn a_run_that_has_not_ended_is_left_waited_for_joined_or_replaced() {
    for (overlap, states) in [
        (Overlap::Skip, vec!["waiting"]),
        (Overlap::Allow, vec!["waiting", "waiting"]),
        (Overlap::Replace, vec!["cancelled", "waiting"]),
    ] {
        let place = Place::new();
        let host = place.host_of("a", &slow());
        let run = add(&host, Schedule { overlap, ..tenth() }).await;
        for _ in 0..2 {
            later(&place, &host, run, 10).await;
            until("what was started waits", || {
                started(&host)
                    .iter()
                    .all(|row| row.state != "ready" && row.state != "running")
            })
            .await;
        }
        let found: Vec<_> = started(&host).into_iter().map(|row| row.state).collect();
        assert_eq!(found, states, "{overlap:?}");
    }
    let place = Place::new();
    let host = place.host_of("a", &slow());
    let run = add(
        &host,
        Schedule {
            overlap: Overlap::Wait,
            ..tenth()
        },
    )
    .await;
    later(&place, &host, run, 10).await;
    place.clock.advance(Duration::from_mins(10));
    host.look_again(run).await;
    until("it waits for the first", || {
        host.view(run)
            .steps
            .iter()
            .any(|step| step.path.starts_with("ended"))
    })
    .await;
    assert_eq!(started(&host).len(), 1);
    host.signal(started(&host)[0].run, "go", json!({})).await;
    host.reaches(started(&host)[0].run, "succeeded").await;
    host.reaches(run, "waiting").await;
    later(&place, &host, run, 1).await;
    assert_eq!(started(&host).len(), 2);
}

/// What passes while others are dealt with is dealt with next, as everything that passed.
#[tokio::test]
async fn a_time_that_passes_while_another_is_dealt_with_is_not_passed_over() {
    let place = Place::new();
    let host = place.host_of("a", &slow());
    let all = Schedule {
        overlap: Overlap::Wait,
        catch_up: CatchUp::All,
        ..tenth()
    };
    let run = add(&host, all).await;
    later(&place, &host, run, 10).await;
    place.clock.advance(Duration::from_mins(10));
    host.look_again(run).await;
    until("it waits for the first", || {
        let steps = host.view(run).steps;
        steps.iter().any(|step| step.path.starts_with("ended"))
    })
    .await;
    // Two more, while the second waits for the first.
    place.clock.advance(Duration::from_mins(20));
    for count in 1..4 {
        let last = started(&host)[count - 1].run;
        host.signal(last, "go", json!({})).await;
        host.reaches(last, "succeeded").await;
        until("the next is started", || {
            place.clock.advance(Duration::from_secs(1));
            host.engine.wake(run);
            started(&host).len() > count
        })
        .await;
    }
    assert_eq!(started(&host).len(), 4);
}

#[tokio::test]
async fn a_schedule_is_paused_fired_removed_and_its_name_is_free_again() {
    let place = Place::new();
    let host = place.host_of("a", &quick());
    let run = add(&host, tenth()).await;
    let taken = try_add(&host, "tenth", tenth()).await;
    assert!(matches!(taken, Err(ScheduleError::Taken { run: of, .. }) if of == run));
    let (submitter, reason) = (String::from("user:ada"), String::from("holiday"));
    let pause = RunPause {
        run,
        submitter: submitter.clone(),
        reason,
    };
    runs::pause(&host.engine, &may(pause)).await.unwrap();
    host.reaches(run, "paused").await;
    assert_eq!(shown(&host).next, None);
    place.clock.advance(Duration::from_hours(24));
    host.look_again(run).await;
    assert!(
        started(&host).is_empty(),
        "a paused schedule started something"
    );
    let resume = RunResume {
        run,
        submitter: submitter.clone(),
        reason: String::new(),
    };
    runs::resume(&host.engine, &may(resume)).await.unwrap();
    until("one run makes up for the day", || started(&host).len() == 1).await;
    host.reaches(run, "waiting").await;
    let name = String::from("tenth");
    let fire = ScheduleFire {
        name: name.clone(),
        submitter: submitter.clone(),
    };
    schedule::fire(&host.engine, &may(fire)).await.unwrap();
    until("it was fired", || started(&host).len() == 2).await;
    host.reaches(run, "waiting").await;
    let remove = || ScheduleRemove {
        name: name.clone(),
        submitter: submitter.clone(),
    };
    schedule::remove(&host.engine, &may(remove()))
        .await
        .unwrap();
    host.reaches(run, "cancelled").await;
    let gone = schedule::remove(&host.engine, &may(remove())).await;
    assert!(matches!(gone, Err(ScheduleError::Missing(_))));
    add(&host, tenth()).await;
    assert_eq!(started(&host).len(), 2);
}

#[tokio::test]
async fn what_can_never_be_is_refused_and_what_cannot_be_once_is_told() {
    let place = Place::new();
    let host = place.host_of("a", &quick());
    let bad = [
        Schedule {
            cron: "nonsense".into(),
            ..tenth()
        },
        Schedule {
            cron: "0 0 30 2 *".into(),
            ..tenth()
        },
        Schedule {
            timezone: "Mars/Olympus".into(),
            ..tenth()
        },
        Schedule {
            kind: "unheard".into(),
            ..tenth()
        },
        Schedule {
            kind: "ping".into(),
            ..tenth()
        },
        Schedule {
            request: json!("no"),
            ..tenth()
        },
        Schedule {
            jitter_s: 1_000_000,
            ..tenth()
        },
        Schedule {
            title: String::new(),
            ..tenth()
        },
        Schedule {
            request: json!("x".repeat(2_000_000)),
            ..tenth()
        },
    ];
    for schedule in bad {
        let refused = try_add(&host, "tenth", schedule.clone()).await;
        assert!(refused.is_err(), "{schedule:?}");
    }
    for name in ["", "a b", "a/b", &"x".repeat(65)] {
        assert!(try_add(&host, name, tenth()).await.is_err(), "{name}");
    }
    assert!(host.all().is_empty());
}
