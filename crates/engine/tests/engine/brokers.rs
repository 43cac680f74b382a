//! Subscriptions and the real servers: what is delivered is all there is, in order, while the broker
//! is killed and comes back.

mod kafka;
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::stream;
use futures::StreamExt;
use matrix_engine::events::{
    self, Event, EventRead, EventSubscribe, Events, Forwarder, StartAt, SubscriptionView,
};
use matrix_store::bus::Brokers;
use redis::streams::StreamRangeReply;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::server::Server;
use crate::host::{Anyone, Host, Place, body, may};

/// How long it may take until a broker that came back was given everything.
const PATIENCE: Duration = Duration::from_mins(1);

/// A host that sends to brokers.
struct Site {
    place: Place,
    host: Host,
    events: Events,
    closing: watch::Sender<bool>,
    sending: JoinHandle<()>,
}

impl Site {
    fn open() -> Self {
        let place = Place::new();
        let host = place.host("one", &body(|_, input| async move { Ok(input) }));
        let (database, blobs) = (host.engine.database(), host.engine.blobs());
        let screen = Arc::new(|_: &str| Vec::new());
        let events = Events::new(database.clone(), blobs.clone(), &[], screen);
        let brokers = Arc::new(Brokers::new(place.path().join("credentials")));
        let engine = host.engine.clone();
        let forwarder = Forwarder::new(engine, events.clone(), brokers, Arc::new(Anyone));
        let closing = watch::Sender::new(false);
        let sending = tokio::spawn(forwarder.keep_up(closing.subscribe()));
        Self {
            place,
            host,
            events,
            closing,
            sending,
        }
    }

    async fn subscribe(&self, to: &str) {
        let action = EventSubscribe {
            name: "board".into(),
            topics: vec!["*".parse().unwrap()],
            run: None,
            kind: String::new(),
            payloads: false,
            to: to.parse().unwrap(),
            from: StartAt::Beginning,
        };
        let made = events::subscribe(&self.host.engine, &self.events, &may(action)).await;
        made.unwrap();
    }

    /// Runs of two events each, one after the other.
    async fn run(&self, count: usize) {
        for _ in 0..count {
            let run = self.host.create(json!(1)).await;
            self.host.settled(run).await;
        }
    }

    fn view(&self) -> SubscriptionView {
        events::show(&self.events, &may(EventRead::default()), "board").unwrap()
    }

    /// Waits until the subscription is so.
    async fn until(&self, so: impl Fn(&SubscriptionView) -> bool) {
        let wait = async {
            while !so(&self.view()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        assert!(waited.is_ok(), "never: {:?}", self.view());
    }

    /// Every event there is.
    fn all(&self) -> Vec<Event> {
        let request = may(EventRead::default());
        let page = events::page(&self.events, &request, &StartAt::Beginning, 1_000).unwrap();
        assert!(!page.more);
        page.events.into_iter().map(|(event, _)| event).collect()
    }

    async fn close(self) {
        self.closing.send_replace(true);
        self.sending.await.unwrap();
        self.host.stop().await;
        drop(self.place);
    }
}

/// All events arrived in their order, each under one id; some may have come more than once.
fn compare(arrived: &[(String, Event)], all: &[Event]) {
    let mut known = BTreeMap::new();
    let mut order = Vec::new();
    for (id, event) in arrived {
        match known.insert(id, event) {
            Some(same) => assert_eq!(same, event, "one id for two events"),
            None => order.push(event),
        }
    }
    let positions = |events: &[&Event]| -> Vec<String> {
        events.iter().map(|event| event.id.clone()).collect()
    };
    let all: Vec<&Event> = all.iter().collect();
    assert_eq!(positions(&order), positions(&all));
    assert_eq!(order, all);
}

#[tokio::test]
async fn nats_keeps_every_event_once_however_often_its_server_is_killed() {
    let mut server = Server::nats();
    let site = Site::open();
    site.run(2).await;
    site.subscribe(&format!("nats://127.0.0.1:{}/board", server.port))
        .await;
    // There is no stream yet, and whoever looks is told.
    site.until(|view| view.error.is_some()).await;
    let why = site.view().error.unwrap();
    assert!(
        why.contains("no stream takes the subject `board.>`"),
        "{why}"
    );
    let address = format!("nats://127.0.0.1:{}", server.port);
    let client = async_nats::connect(&address).await.unwrap();
    let config = stream::Config {
        name: "board".into(),
        subjects: vec!["board.>".into()],
        ..stream::Config::default()
    };
    let context = async_nats::jetstream::new(client);
    context.create_stream(config).await.unwrap();
    site.until(|view| view.lag == 0).await;
    for _ in 0..3 {
        site.run(10).await;
        server.kill();
        site.run(10).await;
        server.begin();
        site.run(10).await;
        site.until(|view| view.lag == 0).await;
    }
    let all = site.all();
    assert_eq!(all.len(), 2 * (2 + 3 * 30));
    drop(context);
    let client = async_nats::connect(&address).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let kept = context.get_stream("board").await.unwrap();
    let consumer = kept
        .create_consumer(pull::Config {
            ack_policy: AckPolicy::None,
            ..pull::Config::default()
        })
        .await
        .unwrap();
    let mut messages = consumer
        .fetch()
        .max_messages(1_000)
        .messages()
        .await
        .unwrap();
    let mut arrived = Vec::new();
    while let Some(message) = messages.next().await {
        let message = message.unwrap();
        let id = message.headers.as_ref().unwrap().get("Nats-Msg-Id");
        let id = id.unwrap().as_str().to_owned();
        let event: Event = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(message.subject.as_str(), format!("board.{}", event.topic));
        arrived.push((id, event));
    }
    compare(&arrived, &all);
    let ids: BTreeSet<_> = arrived.iter().map(|(id, _)| id).collect();
    assert_eq!(ids.len(), arrived.len(), "the server took a duplicate");
    site.close().await;
}

#[tokio::test]
async fn redis_keeps_every_event_however_often_its_server_is_killed() {
    let mut server = Server::redis();
    let site = Site::open();
    site.subscribe(&format!("redis://127.0.0.1:{}/board", server.port))
        .await;
    for _ in 0..3 {
        site.run(10).await;
        server.kill();
        site.run(10).await;
        site.until(|view| view.error.is_some()).await;
        server.begin();
        site.run(10).await;
        site.until(|view| view.lag == 0).await;
    }
    let all = site.all();
    assert_eq!(all.len(), 2 * 3 * 30);
    let client = redis::Client::open(format!("redis://127.0.0.1:{}", server.port)).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let kept: StreamRangeReply = redis::cmd("XRANGE")
        .arg("board")
        .arg("-")
        .arg("+")
        .query_async(&mut connection)
        .await
        .unwrap();
    let arrived: Vec<(String, Event)> = kept
        .ids
        .iter()
        .map(|entry| {
            let event: String = entry.get("event").unwrap();
            let event: Event = serde_json::from_str(&event).unwrap();
            assert_eq!(entry.get::<String>("topic").unwrap(), event.topic);
            assert_eq!(entry.get::<String>("key").unwrap(), event.run.to_string());
            (entry.get("id").unwrap(), event)
        })
        .collect();
    compare(&arrived, &all);
    site.close().await;
}

#[tokio::test]
async fn credentials_are_read_from_a_private_file_and_never_shown() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::open();
    let server = Server::redis();
    let directory = site.place.path().join("credentials");
    std::fs::create_dir(&directory).unwrap();
    let file = directory.join("board");
    std::fs::write(&file, "hunter2\n").unwrap();
    let to = format!("redis://127.0.0.1:{}/board?credentials=board", server.port);
    site.subscribe(&to).await;
    site.run(1).await;
    site.until(|view| {
        let error = view.error.as_deref().unwrap_or_default();
        error.contains("others may read")
    })
    .await;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    // This server knows no password, and says so.
    site.until(|view| {
        let error = view.error.as_deref().unwrap_or_default();
        !error.is_empty() && !error.contains("others may read")
    })
    .await;
    let shown = serde_json::to_string(&site.view()).unwrap();
    assert!(!shown.contains("hunter2"), "{shown}");
    let client = redis::Client::open(format!("redis://127.0.0.1:{}", server.port)).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let set = redis::cmd("CONFIG")
        .arg("SET")
        .arg("requirepass")
        .arg("hunter2")
        .exec_async(&mut connection)
        .await;
    set.unwrap();
    site.until(|view| view.lag == 0 && view.delivered == 2)
        .await;
    site.close().await;
}
