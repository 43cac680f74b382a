//! Who is next, and how many at once: through the engine's door.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use matrix_core::{RunId, Scope, Timestamp};
use matrix_engine::error::RequestError;
use matrix_engine::queue::{
    self, Again, Limit, Placing, Priority, QueuePause, QueueRead, QueueView, Rate, Rules, Singleton,
};
use matrix_engine::runs::{self, InQueue, RunCancel, RunRead};
use matrix_engine::{EngineOptions, Scheduling, Step, StepError};
use matrix_store::StoreError;
use matrix_store::tables::runs as table;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::host::{Body, Host, Place, body, may, new_run, until};

const MINUTE: Duration = Duration::from_mins(1);

fn at_once(most: u32) -> Limit {
    Limit {
        concurrency: Some(most),
        rate: None,
    }
}

async fn pause_key(host: &Host, key: &str, until: Timestamp) {
    let pause = QueuePause {
        key: key.into(),
        until: Some(until),
        reason: "on purpose".into(),
    };
    queue::pause(&host.engine, &may(pause)).await.unwrap();
}

fn options(worker: &str, concurrency: usize, rules: Rules) -> EngineOptions {
    EngineOptions {
        concurrency,
        scheduling: Scheduling {
            rules,
            ..Scheduling::default()
        },
        ..Place::options(worker)
    }
}

fn in_lane(lane: &str) -> Placing {
    Placing {
        lane: Some(lane.into()),
        ..Placing::default()
    }
}

fn with_key(key: &str) -> Placing {
    Placing {
        key: Some(key.into()),
        ..Placing::default()
    }
}

/// Who is inside at this moment, who ever was, and a door that lets so many out.
#[derive(Default)]
struct Room {
    inside: AtomicUsize,
    most: AtomicUsize,
    came: Mutex<Vec<Value>>,
}

struct Guest(Arc<Room>);

impl Room {
    fn enter(self: &Arc<Self>, who: Value) -> Guest {
        self.came.lock().unwrap().push(who);
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(inside, Ordering::SeqCst);
        Guest(Arc::clone(self))
    }

    fn came(&self) -> Vec<Value> {
        self.came.lock().unwrap().clone()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Every run stays in the room until the door lets one out.
fn stays(room: &Arc<Room>, door: &Arc<Semaphore>) -> Body {
    let (room, door) = (Arc::clone(room), Arc::clone(door));
    body(move |run, input| {
        let (room, door) = (Arc::clone(&room), Arc::clone(&door));
        async move {
            let guest = room.enter(input);
            let out = |_| {
                let door = Arc::clone(&door);
                async move {
                    let out = door.acquire().await;
                    out.map_err(|error| StepError::permanent("door", error.to_string()))?
                        .forget();
                    Ok(json!("out"))
                }
            };
            let result = run.step(Step::read("stay"), out).await;
            drop(guest);
            result
        }
    })
}

fn why(host: &Host, run: RunId) -> InQueue {
    let (engine, now) = (&host.engine, host.engine.clock().now());
    let request = may(RunRead { run });
    let place = runs::why(engine.database(), engine.scheduling(), &request, now);
    place.unwrap().unwrap()
}

fn shown(host: &Host) -> QueueView {
    let (engine, now) = (&host.engine, host.engine.clock().now());
    let request = may(QueueRead);
    queue::show(engine.database(), engine.scheduling(), &request, now).unwrap()
}

fn narrow() -> Rules {
    Rules {
        lanes: [("narrow".into(), at_once(2))].into(),
        ..Rules::default()
    }
}

#[tokio::test]
async fn a_lane_lets_no_more_run_than_it_may_and_a_host_that_dies_takes_no_slot_with_it() {
    let place = Place::new();
    let (room, door) = (Arc::new(Room::default()), Arc::new(Semaphore::new(0)));
    let body = stays(&room, &door);
    let host = place.host_with(options("a", 16, narrow()), &body);
    let mut all = Vec::new();
    for number in 0..12 {
        all.push(host.create_placed(json!(number), in_lane("narrow")).await);
        // At one time, chance decides who came first.
        place.clock.advance(Duration::from_millis(1));
    }
    let free = host.create(json!("free")).await;
    host.reaches(free, "running").await;
    until("two are inside", || room.inside.load(Ordering::SeqCst) == 3).await;
    let waits = why(&host, all[5]);
    assert_eq!((waits.lane.as_str(), waits.ahead), ("narrow", 3));
    let [blocked] = &waits.blocked[..] else {
        panic!("{waits:?}");
    };
    assert_eq!((blocked.what, blocked.name.as_str()), ("lane", "narrow"));
    let mut holders = blocked.holders.clone();
    holders.sort();
    assert_eq!(holders, all[..2]);
    let lanes = shown(&host).lanes;
    let shown: Vec<_> = lanes
        .iter()
        .map(|lane| (lane.lane.as_str(), lane.running, lane.ready))
        .collect();
    assert_eq!(shown, [("default", 1, 0), ("narrow", 2, 10)]);
    door.add_permits(3);
    until("some went on", || room.came().len() >= 5).await;
    // What it held, the next one has to give.
    host.die().await;
    assert_eq!(room.inside.load(Ordering::SeqCst), 0);
    let host = place.host_with(options("d", 16, narrow()), &body);
    door.add_permits(1_000);
    for run in all {
        host.reaches(run, "succeeded").await;
    }
    host.reaches(free, "succeeded").await;
    assert_eq!(
        room.most.load(Ordering::SeqCst),
        3,
        "two, and one beside the lane"
    );
}

#[tokio::test]
async fn one_key_runs_one_at_a_time_and_lets_others_pass() {
    let place = Place::new();
    let (room, door) = (Arc::new(Room::default()), Arc::new(Semaphore::new(0)));
    let host = place.host_with(options("a", 16, Rules::default()), &stays(&room, &door));
    let first = host.create_placed(json!(1), with_key("deploy")).await;
    host.reaches(first, "running").await;
    let second = host.create_placed(json!(2), with_key("deploy")).await;
    let other = host.create_placed(json!(3), with_key("other")).await;
    let without = host.create(json!(4)).await;
    for run in [first, other, without] {
        host.reaches(run, "running").await;
    }
    let blocked = why(&host, second).blocked;
    assert_eq!(
        (blocked[0].what, &blocked[0].holders[..]),
        ("key", &[first][..])
    );
    door.add_permits(9);
    host.reaches(second, "succeeded").await;
    assert!(host.row(first).updated_at <= host.row(second).updated_at);
}

#[tokio::test]
async fn the_urgent_go_first_and_ten_minutes_make_up_for_a_level() {
    let place = Place::new();
    let (room, door) = (Arc::new(Room::default()), Arc::new(Semaphore::new(0)));
    let host = place.host_with(options("a", 1, Rules::default()), &stays(&room, &door));
    let holder = host.create(json!("holder")).await;
    host.reaches(holder, "running").await;
    let of = |priority: Priority| Placing {
        priority,
        ..Placing::default()
    };
    let mut last = holder;
    // What comes at one time comes in an order of chance.
    let moment = Duration::from_millis(1);
    for (name, priority) in [
        ("old and low", Priority::LOW),
        ("low", Priority::LOW),
        ("normal", Priority::NORMAL),
        ("high", Priority::HIGH),
    ] {
        last = host.create_placed(json!(name), of(priority)).await;
        place.clock.advance(moment);
        if name == "old and low" {
            place.clock.advance(31 * MINUTE);
        }
    }
    assert_eq!(why(&host, last).ahead, 0);
    door.add_permits(9);
    host.reaches(last, "succeeded").await;
    until("all came", || room.came().len() == 5).await;
    assert_eq!(
        room.came(),
        ["holder", "high", "old and low", "normal", "low"].map(Value::from)
    );
}

#[tokio::test]
async fn a_tenant_with_little_to_do_does_not_wait_for_one_with_much() {
    let place = Place::new();
    let (room, door) = (Arc::new(Room::default()), Arc::new(Semaphore::new(0)));
    let host = place.host_with(options("a", 1, Rules::default()), &stays(&room, &door));
    for number in 0..100 {
        host.create(json!(number)).await;
    }
    let mut quiet = new_run(json!("quiet"), Placing::default());
    quiet.caller.scope = Scope {
        organisation: "quiet".into(),
        workspace: "main".into(),
    };
    let quiet = host.engine.create_run(quiet).await.unwrap();
    until("the first is inside", || !room.came().is_empty()).await;
    door.add_permits(1_000);
    host.reaches(quiet, "succeeded").await;
    let came = room.came();
    let place = came.iter().position(|who| who == "quiet").unwrap();
    assert!(place <= 2, "it came as number {place}");
}

#[tokio::test]
async fn when_an_upstream_wants_to_be_left_alone_nobody_begins_under_its_key() {
    let place = Place::new();
    let body = body(|run, input| async move {
        let told = Arc::new(AtomicUsize::new(0));
        let call = |context: matrix_engine::StepContext| {
            let (first, told) = (input == "told" && context.attempt == 1, Arc::clone(&told));
            async move {
                told.fetch_add(1, Ordering::SeqCst);
                if first {
                    let text = "429 from api.example.org";
                    return Err(StepError::throttled(text, "api", MINUTE));
                }
                Ok(json!("done"))
            }
        };
        run.step(Step::idempotent("call"), call).await
    });
    let host = place.host("a", &body);
    let told = host.create(json!("told")).await;
    host.reaches(told, "waiting").await;
    let other = host.create_placed(json!("other"), with_key("api")).await;
    let free = host
        .create_placed(json!("free"), with_key("elsewhere"))
        .await;
    host.reaches(free, "succeeded").await;
    assert_eq!(host.row(other).state, "ready");
    let until = host.engine.clock().now().plus(MINUTE);
    let blocked = why(&host, other).blocked;
    assert_eq!((blocked[0].what, blocked[0].until), ("key", Some(until)));
    assert!(blocked[0].because.contains("429 from"), "{blocked:?}");
    assert_eq!(shown(&host).paused[0].key, "api");
    place.clock.advance(MINUTE);
    host.engine.wake(other);
    host.reaches(other, "succeeded").await;
    host.reaches(told, "succeeded").await;
    assert!(shown(&host).paused.is_empty());
    // A person's word does the same.
    let later = host.engine.clock().now().plus(MINUTE);
    pause_key(&host, "api", later).await;
    let last = host.create_placed(json!("last"), with_key("api")).await;
    host.look_again(last).await;
    assert_eq!(host.row(last).state, "ready");
}

#[tokio::test]
async fn a_rate_lets_begin_what_its_bucket_holds() {
    let place = Place::new();
    let rate = Limit {
        concurrency: None,
        rate: Some(Rate {
            interval: MINUTE,
            burst: 2,
        }),
    };
    let rules = Rules {
        lanes: [("slow".into(), rate)].into(),
        ..Rules::default()
    };
    let host = place.host_with(
        options("a", 16, rules),
        &body(|_, input| async move { Ok(input) }),
    );
    let mut all = Vec::new();
    for number in 0..4 {
        let run = host.create_placed(json!(number), in_lane("slow")).await;
        if number < 2 {
            host.reaches(run, "succeeded").await;
        }
        place.clock.advance(Duration::from_millis(1));
        all.push(run);
    }
    host.look_again(all[2]).await;
    assert_eq!(host.row(all[2]).state, "ready");
    assert_eq!(why(&host, all[2]).blocked[0].what, "rate");
    place.clock.advance(MINUTE);
    host.engine.wake(all[2]);
    host.reaches(all[2], "succeeded").await;
    host.look_again(all[3]).await;
    assert_eq!(host.row(all[3]).state, "ready");
}

#[tokio::test]
async fn what_no_host_has_is_waited_for() {
    let place = Place::new();
    let done = body(|_, input| async move { Ok(input) });
    let host = place.host("a", &done);
    let gpu = Placing {
        capabilities: ["gpu".to_owned()].into(),
        ..Placing::default()
    };
    let run = host.create_placed(json!(1), gpu).await;
    host.look_again(run).await;
    let blocked = why(&host, run).blocked;
    assert_eq!(
        (blocked[0].what, blocked[0].name.as_str()),
        ("capability", "gpu")
    );
    host.stop().await;
    let mut options = Place::options("b");
    options.scheduling.capabilities = ["gpu".to_owned()].into();
    let host = place.host_with(options, &done);
    host.reaches(run, "succeeded").await;
}

#[tokio::test]
async fn a_place_that_is_not_there_is_refused_before_there_is_a_run() {
    let place = Place::new();
    let host = place.host("a", &body(|_, input| async move { Ok(input) }));
    let new = new_run(json!(1), in_lane("nowhere"));
    let refused = host.engine.create_run(new).await.unwrap_err();
    assert!(matches!(refused, RequestError::Placing(_)), "{refused}");
}

fn named(again: Again, debounce_ms: Option<u32>) -> Placing {
    Placing {
        singleton: Some(Singleton {
            name: "nightly".into(),
            again,
            debounce_ms,
        }),
        ..Placing::default()
    }
}

#[tokio::test]
async fn only_one_run_has_a_name_and_a_second_is_refused_joins_or_takes_the_place_of_one_that_waits()
 {
    let place = Place::new();
    let (room, door) = (Arc::new(Room::default()), Arc::new(Semaphore::new(0)));
    let host = place.host("a", &stays(&room, &door));
    let first = host
        .create_placed(json!(1), named(Again::Refuse, None))
        .await;
    host.reaches(first, "running").await;
    let second = new_run(json!(2), named(Again::Refuse, None));
    let refused = host.engine.create_run(second).await.unwrap_err();
    assert!(
        matches!(refused, RequestError::NameTaken { run, .. } if run == first),
        "{refused}"
    );
    let joined = host.create_placed(json!(3), named(Again::Join, None)).await;
    assert_eq!(joined, first);
    door.add_permits(1);
    host.reaches(first, "succeeded").await;

    // Each takes the place of the one before it, but not of one that runs.
    let mut runs = Vec::new();
    for number in 4..7 {
        runs.push(
            host.create_placed(json!(number), named(Again::Replace, None))
                .await,
        );
        host.reaches(runs[0], "running").await;
    }
    assert_eq!(host.row(runs[1]).state, "cancelled");
    assert!(
        host.result(runs[1])["reason"]
            .as_str()
            .unwrap()
            .contains("took its place")
    );
    assert_eq!(host.row(runs[2]).state, "ready");
    door.add_permits(2);
    host.reaches(runs[2], "succeeded").await;
    assert_eq!(room.came(), [1, 4, 6].map(Value::from));
}

#[tokio::test]
async fn of_many_in_a_short_time_the_last_alone_is_done() {
    let place = Place::new();
    let done = body(|_, input| async move { Ok(input) });
    let host = place.host("a", &done);
    let mut runs = Vec::new();
    for number in 0..3 {
        runs.push(
            host.create_placed(json!(number), named(Again::Replace, Some(30_000)))
                .await,
        );
        place.clock.advance(Duration::from_secs(20));
    }
    let states = |host: &Host| {
        runs.iter()
            .map(|run| host.row(*run).state)
            .collect::<Vec<_>>()
    };
    host.look_again(runs[2]).await;
    assert_eq!(states(&host), ["cancelled", "cancelled", "waiting"]);
    assert_eq!(host.view(runs[2]).waiting.unwrap()["for"], "debounce");
    place.clock.advance(Duration::from_secs(20));
    host.engine.wake(runs[2]);
    host.reaches(runs[2], "succeeded").await;
}

#[tokio::test]
async fn many_that_cannot_begin_keep_nobody_who_can() {
    let place = Place::new();
    let host = place.host("a", &body(|_, input| async move { Ok(input) }));
    let later = host.engine.clock().now().plus(60 * MINUTE);
    pause_key(&host, "busy", later).await;
    let pattern = host.create_placed(json!(1), with_key("busy")).await;
    let pattern = host.row(pattern);
    let many = host.engine.database().write::<_, StoreError, _>(move |tx| {
        for number in 0..5_000_u32 {
            let mut id = [0xff; 16];
            id[12..].copy_from_slice(&number.to_be_bytes());
            let mut row = pattern.clone();
            row.run = RunId::from_bytes(id);
            row.placement.queued_at = row.created_at;
            table::insert(tx, &row)?;
        }
        Ok(())
    });
    many.await.unwrap();
    place.clock.advance(Duration::from_secs(1));
    for number in 0..20 {
        let run = host.create_placed(json!(number), with_key("free")).await;
        host.reaches(run, "succeeded").await;
    }
}

#[tokio::test]
async fn whoever_is_cancelled_before_it_began_waits_for_no_slot() {
    let place = Place::new();
    let (room, door) = (Arc::new(Room::default()), Arc::new(Semaphore::new(0)));
    let host = place.host("a", &stays(&room, &door));
    let first = host.create_placed(json!(1), with_key("k")).await;
    host.reaches(first, "running").await;
    let second = host.create_placed(json!(2), with_key("k")).await;
    // Whoever comes after it and runs has passed it: it is known to wait for the key.
    let third = host.create_placed(json!(3), with_key("other")).await;
    host.reaches(third, "running").await;
    let cancel = may(RunCancel {
        run: second,
        submitter: String::new(),
        reason: "enough".into(),
    });
    runs::cancel(&host.engine, &cancel).await.unwrap();
    host.reaches(second, "cancelled").await;
    assert_eq!(host.row(first).state, "running");
    door.add_permits(2);
    host.reaches(first, "succeeded").await;
    host.reaches(third, "succeeded").await;
}
