//! Events as callers read them, and subscriptions with a broker that does what it is told.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use matrix_core::{Authorised, Authorizer, Caller, Denied, RunId, Scope};
use matrix_engine::EntryKind;
use matrix_engine::events::{
    self, Event, EventError, EventFilter, EventRead, EventRemove, EventReset, EventSubscribe,
    Events, Forwarder, StartAt, SubscriptionState, TopicRule,
};
use matrix_store::bus::{Bus, BusError, Connect, Destination, Message};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::host::{Body, Host, Place, ada, body, may, until};

const RULES: &[TopicRule] = &[TopicRule {
    run_kind: "test",
    entry: EntryKind::StepCompleted,
    step: "ship",
    when: Some(("/how", "applied")),
    topic: "deployment.applied",
}];

/// What the screen of these tests takes for a secret.
const SECRET: &str = "hunter2";

fn events_of(host: &Host) -> Events {
    let screen = |text: &str| {
        let found = text.contains(SECRET).then(|| "password".to_owned());
        found.into_iter().collect::<Vec<_>>()
    };
    let (database, blobs) = (host.engine.database(), host.engine.blobs());
    Events::new(database.clone(), blobs.clone(), RULES, Arc::new(screen))
}

/// A step that gives what the run was given.
fn ships() -> Body {
    body(|run, input| async move {
        run.step(matrix_engine::Step::read("ship"), |_| {
            let input = input.clone();
            async move { Ok(input) }
        })
        .await
    })
}

fn read(events: &Events, action: EventRead, from: &StartAt) -> Vec<Event> {
    let page = events::page(events, &may(action), from, 1_000).unwrap();
    page.events.into_iter().map(|(event, _)| event).collect()
}

fn topics(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| event.topics.join(" ")).collect()
}

fn of(topics: &[&str]) -> EventFilter {
    EventFilter {
        topics: topics.iter().map(|text| text.parse().unwrap()).collect(),
        ..EventFilter::default()
    }
}

#[tokio::test]
async fn events_are_read_by_topic_run_and_kind_and_page_by_page() {
    let place = Place::new();
    let host = place.host("one", &ships());
    let events = events_of(&host);
    let run = host.create(json!({ "how": "applied" })).await;
    host.settled(run).await;
    let other = host.create(json!({ "how": "not" })).await;
    host.settled(other).await;
    let all = read(&events, EventRead::default(), &StartAt::Beginning);
    let one = [
        "run.started test.started",
        "step.completed deployment.applied",
        "run.completed test.completed",
    ];
    let expected: Vec<&str> = one
        .into_iter()
        .chain([one[0], "step.completed", one[2]])
        .collect();
    assert_eq!(topics(&all), expected);
    assert!(all.iter().all(|event| event.payload.is_none()));
    assert_eq!((all[1].id.as_str(), all[1].seq), ("0:2", 1));
    assert_eq!(all[1].links.run, format!("/api/v1/runs/{run}"));

    let found = |filter| {
        let action = EventRead {
            filter,
            payloads: false,
        };
        let found = read(&events, action, &StartAt::Beginning);
        found.into_iter().map(|event| event.id).collect::<Vec<_>>()
    };
    assert_eq!(found(of(&["deployment.*"])), ["0:2"]);
    assert_eq!(
        found(of(&["*.completed", "x.y"])),
        ["0:2", "0:3", "0:5", "0:6"]
    );
    let by_run = EventFilter {
        run: Some(other),
        ..of(&["run.*"])
    };
    assert_eq!(found(by_run), ["0:4", "0:6"]);
    let by_kind = EventFilter {
        kind: "ping".into(),
        ..EventFilter::default()
    };
    assert_eq!(found(by_kind), Vec::<String>::new());

    // One by one, each page begins behind the one before; afterwards nothing is left.
    let (mut from, mut ids) = (StartAt::Beginning, Vec::new());
    loop {
        let page = events::page(&events, &may(EventRead::default()), &from, 1).unwrap();
        ids.extend(page.events.iter().map(|(event, _)| event.id.clone()));
        from = StartAt::After(page.next);
        if !page.more {
            break;
        }
    }
    assert_eq!(ids.len(), 6, "{ids:?}");
    assert_eq!(read(&events, EventRead::default(), &StartAt::Now), []);
    host.stop().await;
}

#[tokio::test]
async fn payloads_are_told_to_who_asks_and_those_with_secrets_to_nobody() {
    let place = Place::new();
    let host = place.host("one", &ships());
    let events = events_of(&host);
    let run = host.create(json!({ "text": SECRET })).await;
    host.settled(run).await;
    let large = host.create(json!("x".repeat(300_000))).await;
    host.settled(large).await;
    let action = EventRead {
        filter: of(&["step.completed"]),
        payloads: true,
    };
    let told = read(&events, action, &StartAt::Beginning);
    let why: Vec<_> = told.iter().map(|event| event.withheld.clone()).collect();
    assert!(told.iter().all(|event| event.payload.is_none()));
    assert_eq!(why[0].as_deref(), Some("it holds a secret (password)"));
    assert!(why[1].as_deref().unwrap().contains("larger"), "{why:?}");
    let text = serde_json::to_string(&told).unwrap();
    assert!(!text.contains(SECRET));
    let plain = host.create(json!({ "how": "applied" })).await;
    host.settled(plain).await;
    let action = EventRead {
        filter: of(&["deployment.applied"]),
        payloads: true,
    };
    let told = read(&events, action, &StartAt::Beginning);
    assert_eq!(told[0].payload, Some(json!({ "how": "applied" })));
    host.stop().await;
}

#[tokio::test]
async fn another_tenants_events_are_passed_over() {
    let place = Place::new();
    let host = place.host("one", &ships());
    let events = events_of(&host);
    let run = host.create(json!(1)).await;
    host.settled(run).await;
    let theirs = Caller {
        scope: Scope {
            organisation: "globex".into(),
            workspace: "main".into(),
        },
        ..ada()
    };
    let request = Authorised::obtain(&Switch::default(), theirs, EventRead::default()).unwrap();
    let page = events::page(&events, &request, &StartAt::Beginning, 100).unwrap();
    assert_eq!(page.events, []);
    assert_eq!((page.next.to_string().as_str(), page.more), ("0:3", false));
    host.stop().await;
}

/// Allows everything until it is switched off.
#[derive(Default)]
struct Switch {
    off: AtomicBool,
}

impl Authorizer for Switch {
    fn decide(&self, _: &Caller, action: &'static str, _: &Value) -> Result<(), Denied> {
        if self.off.load(Ordering::SeqCst) {
            return Err(Denied {
                caller: "user:ada".into(),
                action,
                reason: "not any more".into(),
            });
        }
        Ok(())
    }
}

/// A broker in memory: it keeps what it was given, and may keep it without saying so.
#[derive(Default)]
struct Broker {
    kept: Mutex<Vec<(String, Event)>>,
    /// How many of the next batches it refuses.
    refusing: AtomicUsize,
    /// How many of the next batches it keeps without acknowledging them.
    silent: AtomicUsize,
}

struct Line(Arc<Broker>);

#[async_trait]
impl Bus for Line {
    async fn publish(&mut self, messages: &[Message]) -> Result<(), BusError> {
        let take = |left: &AtomicUsize| {
            let less = |left: usize| left.checked_sub(1);
            left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
                .is_ok()
        };
        if take(&self.0.refusing) {
            return Err(BusError::new("refused"));
        }
        for message in messages {
            let event = serde_json::from_slice(&message.body).unwrap();
            self.0
                .kept
                .lock()
                .unwrap()
                .push((message.id.clone(), event));
        }
        if take(&self.0.silent) {
            return Err(BusError::new("no answer"));
        }
        Ok(())
    }
}

struct Connector(Arc<Broker>);

#[async_trait]
impl Connect for Connector {
    async fn connect(&self, _: &Destination) -> Result<Box<dyn Bus>, BusError> {
        Ok(Box::new(Line(Arc::clone(&self.0))))
    }
}

impl Broker {
    fn kept(&self) -> Vec<(String, Event)> {
        self.kept.lock().unwrap().clone()
    }

    fn positions(&self) -> Vec<String> {
        self.kept().into_iter().map(|(_, event)| event.id).collect()
    }
}

struct Sending {
    closing: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Sending {
    fn start(host: &Host, events: &Events, broker: &Arc<Broker>, may: &Arc<Switch>) -> Self {
        let connect = Arc::new(Connector(Arc::clone(broker)));
        let authorizer: Arc<dyn Authorizer> = Arc::<Switch>::clone(may);
        let forwarder = Forwarder::new(host.engine.clone(), events.clone(), connect, authorizer);
        let closing = watch::Sender::new(false);
        let task = tokio::spawn(forwarder.keep_up(closing.subscribe()));
        Self { closing, task }
    }

    async fn stop(self) {
        self.closing.send_replace(true);
        self.task.await.unwrap();
    }
}

fn subscription(topics: &[&str]) -> EventSubscribe {
    EventSubscribe {
        name: "board".into(),
        topics: of(topics).topics,
        run: None,
        kind: String::new(),
        payloads: false,
        to: "nats://localhost/board".parse().unwrap(),
        from: StartAt::Beginning,
    }
}

async fn subscribe(host: &Host, events: &Events, action: EventSubscribe) {
    let made = events::subscribe(&host.engine, events, &may(action)).await;
    made.unwrap();
}

fn view(events: &Events) -> events::SubscriptionView {
    events::show(events, &may(EventRead::default()), "board").unwrap()
}

async fn ran(host: &Host) -> RunId {
    let run = host.create(json!(1)).await;
    host.settled(run).await;
    run
}

#[tokio::test]
async fn what_is_not_acknowledged_is_sent_again_with_the_same_id_and_nothing_is_lost() {
    let place = Place::new();
    let host = place.host("one", &ships());
    let (events, broker) = (events_of(&host), Arc::new(Broker::default()));
    broker.refusing.store(2, Ordering::SeqCst);
    broker.silent.store(1, Ordering::SeqCst);
    let sending = Sending::start(&host, &events, &broker, &Arc::default());
    subscribe(&host, &events, subscription(&["run.*"])).await;
    ran(&host).await;
    until("delivered", || view(&events).delivered == 2).await;
    ran(&host).await;
    until("delivered", || view(&events).delivered == 4).await;
    let kept = broker.kept();
    let mut first: Vec<(String, Event)> = Vec::new();
    for (id, event) in kept {
        match first.iter().find(|(known, _)| *known == id) {
            Some((_, same)) => assert_eq!(*same, event, "one id for two events"),
            None => first.push((id, event)),
        }
    }
    let positions: Vec<&str> = first.iter().map(|(_, event)| &*event.id).collect();
    assert_eq!(positions, ["0:1", "0:3", "0:4", "0:6"]);
    assert!(
        broker.kept().len() > 4,
        "the batch that got no answer came again"
    );
    let shown = view(&events);
    assert_eq!((shown.failures, shown.error), (0, None));
    sending.stop().await;
    assert_eq!(view(&events).state, SubscriptionState::Unowned);
    host.stop().await;
}

#[tokio::test]
async fn the_next_host_goes_on_where_the_last_one_stood() {
    let place = Place::new();
    let host = place.host("one", &ships());
    let (events, broker) = (events_of(&host), Arc::new(Broker::default()));
    let sending = Sending::start(&host, &events, &broker, &Arc::default());
    subscribe(&host, &events, subscription(&["*"])).await;
    ran(&host).await;
    until("delivered", || view(&events).delivered == 3).await;
    // Dies without a word.
    sending.task.abort();
    drop(sending.task.await);
    ran(&host).await;
    host.die().await;
    let host = place.host("two", &ships());
    let events = events_of(&host);
    assert_eq!(view(&events).lag, 3);
    let sending = Sending::start(&host, &events, &broker, &Arc::default());
    until("delivered", || view(&events).delivered == 6).await;
    assert_eq!(
        broker.positions(),
        ["0:1", "0:2", "0:3", "0:4", "0:5", "0:6"]
    );
    assert_eq!(view(&events).state, SubscriptionState::CaughtUp);
    sending.stop().await;
    host.stop().await;
}

#[tokio::test]
async fn a_reset_sends_again_under_other_ids_and_a_removal_ends() {
    let place = Place::new();
    let host = place.host("one", &ships());
    let (events, broker) = (events_of(&host), Arc::new(Broker::default()));
    let sending = Sending::start(&host, &events, &broker, &Arc::default());
    subscribe(&host, &events, subscription(&["run.started"])).await;
    ran(&host).await;
    until("delivered", || view(&events).delivered == 1).await;
    let again = events::subscribe(&host.engine, &events, &may(subscription(&["*"]))).await;
    assert!(matches!(again, Err(EventError::NameTaken(_))), "{again:?}");
    let reset = EventReset {
        name: "board".into(),
        to: StartAt::Beginning,
    };
    let set = events::reset(&host.engine, &events, &may(reset)).await;
    assert_eq!(set.unwrap().generation, 1);
    until("delivered again", || view(&events).delivered == 2).await;
    let kept = broker.kept();
    assert_eq!(kept[0].1, kept[1].1);
    assert_ne!(
        kept[0].0, kept[1].0,
        "a broker would take it for a duplicate"
    );
    let remove = || {
        let name = "board".to_owned();
        may(EventRemove { name })
    };
    events::remove(&host.engine, &events, &remove())
        .await
        .unwrap();
    let gone = events::remove(&host.engine, &events, &remove()).await;
    assert!(
        matches!(gone, Err(EventError::NoSubscription(_))),
        "{gone:?}"
    );
    ran(&host).await;
    sending.stop().await;
    assert_eq!(broker.kept().len(), 2, "it was sent after its removal");
    host.stop().await;
}

#[tokio::test]
async fn who_may_read_no_more_is_sent_no_more() {
    let place = Place::new();
    let host = place.host("one", &ships());
    let (events, broker) = (events_of(&host), Arc::new(Broker::default()));
    let switch = Arc::new(Switch::default());
    let sending = Sending::start(&host, &events, &broker, &switch);
    subscribe(&host, &events, subscription(&["*"])).await;
    ran(&host).await;
    until("delivered", || view(&events).delivered == 3).await;
    switch.off.store(true, Ordering::SeqCst);
    ran(&host).await;
    until("refused", || view(&events).failures > 0).await;
    let shown = view(&events);
    assert!(shown.error.unwrap().contains("not any more"));
    assert_eq!(
        (shown.state, shown.delivered),
        (SubscriptionState::Retrying, 3)
    );
    assert_eq!(broker.kept().len(), 3);
    switch.off.store(false, Ordering::SeqCst);
    until("delivered", || view(&events).delivered == 6).await;
    sending.stop().await;
    host.stop().await;
}

#[tokio::test]
async fn what_cannot_be_a_subscription_is_refused() {
    let place = Place::new();
    let host = place.host("one", &ships());
    let events = events_of(&host);
    let refused = async |action| {
        let made = events::subscribe(&host.engine, &events, &may(action)).await;
        made.unwrap_err().to_string()
    };
    for name in ["", "A", "a b", "../x", &"a".repeat(65)] {
        let action = EventSubscribe {
            name: name.into(),
            ..subscription(&["*"])
        };
        assert!(refused(action).await.contains("is no name"), "{name}");
    }
    assert!(refused(subscription(&[])).await.contains("1 to 32"));
    let kafka = EventSubscribe {
        to: "kafka://localhost/x".parse().unwrap(),
        ..subscription(&["*"])
    };
    if !matrix_store::bus::Brokers::has(kafka.to.broker) {
        assert!(refused(kafka).await.contains("no adapter for Kafka"));
    }
    host.stop().await;
}
