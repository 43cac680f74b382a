//! Kafka: librdkafka's cluster in memory, reached over the protocol.

use std::collections::BTreeMap;

use matrix_engine::events::Event;
use rskafka::client::ClientBuilder;
use rskafka::client::partition::{OffsetAt, UnknownTopicHandling};

use super::server::Server;
use super::{Site, compare};

/// How many partitions the cluster gives a topic.
const PARTITIONS: i32 = 4;

fn address(server: &Server) -> String {
    format!("127.0.0.1:{}", server.port)
}

fn destination(server: &Server) -> String {
    format!("kafka://{}/board", address(server))
}

/// Makes the topic, by asking for it.
async fn make_topic(server: &Server) {
    let client = ClientBuilder::new(vec![address(server)]).build().await;
    let asked = client
        .unwrap()
        .partition_client("board", 0, UnknownTopicHandling::Retry)
        .await;
    asked.unwrap();
}

/// What the topic has, by partition and in each in its order.
async fn kept(server: &Server) -> Vec<(String, Event)> {
    let client = ClientBuilder::new(vec![address(server)]).build().await;
    let client = client.unwrap();
    let mut kept = Vec::new();
    let mut places = BTreeMap::new();
    for number in 0..PARTITIONS {
        let partition = client
            .partition_client("board", number, UnknownTopicHandling::Error)
            .await
            .unwrap();
        let end = partition.get_offset(OffsetAt::Latest).await.unwrap();
        let mut next = 0;
        while next < end {
            let fetched = partition.fetch_records(next, 1..1_000_000, 1_000).await;
            for found in fetched.unwrap().0 {
                next = found.offset + 1;
                let record = found.record;
                let event: Event = serde_json::from_slice(&record.value.unwrap()).unwrap();
                let text = |name: &str| String::from_utf8(record.headers[name].clone()).unwrap();
                assert_eq!(record.key.unwrap(), event.run.to_string().into_bytes());
                assert_eq!(text("topic"), event.topic);
                let place = *places.entry(event.run).or_insert(number);
                assert_eq!(place, number, "a run in two partitions");
                kept.push((text("id"), event));
            }
        }
    }
    let used: Vec<i32> = places.into_values().collect();
    let many = used.len() > 20;
    assert!(!many || (0..PARTITIONS).all(|number| used.contains(&number)));
    kept
}

/// Kafka keeps the order of a run's events, not of all.
fn by_run(mut arrived: Vec<(String, Event)>, mut all: Vec<Event>) {
    arrived.sort_by_key(|(_, event)| event.run);
    all.sort_by_key(|event| event.run);
    compare(&arrived, &all);
}

#[tokio::test]
async fn kafka_is_given_every_event_however_often_its_server_is_killed() {
    let mut server = Server::kafka();
    let site = Site::open();
    site.run(2).await;
    site.subscribe(&destination(&server)).await;
    let absent = |why: &str| why.contains("there is no topic `board`");
    site.until(|view| view.error.as_deref().is_some_and(absent))
        .await;
    make_topic(&server).await;
    site.until(|view| view.lag == 0).await;
    let mut arrived = Vec::new();
    for _ in 0..3 {
        site.run(10).await;
        site.until(|view| view.lag == 0 && view.error.is_none())
            .await;
        // What it acknowledged dies with it.
        arrived.extend(kept(&server).await);
        server.kill();
        let before = site.view();
        site.run(10).await;
        let away = |why: &str| why.contains("takes us") && why.contains("refused");
        site.until(|view| view.error.as_deref().is_some_and(away))
            .await;
        server.begin();
        site.run(10).await;
        site.until(|view| view.error.as_deref().is_some_and(absent))
            .await;
        let after = site.view();
        assert_eq!(
            (after.cursor, after.delivered),
            (before.cursor, before.delivered),
            "it went on without an acknowledgement"
        );
        make_topic(&server).await;
        site.until(|view| view.lag == 0).await;
    }
    arrived.extend(kept(&server).await);
    let all = site.all();
    assert_eq!(all.len(), 2 * (2 + 3 * 30));
    by_run(arrived, all);
    site.close().await;
}

#[tokio::test]
async fn what_is_too_large_for_kafka_together_is_sent_apart_and_alone_is_told() {
    let mut server = Server::kafka();
    server.begin_with("refuse=3");
    make_topic(&server).await;
    let site = Site::open();
    site.run(40).await;
    site.subscribe(&destination(&server)).await;
    site.until(|view| view.lag == 0).await;
    let view = site.view();
    assert_eq!((view.failures, view.error), (0, None));
    by_run(kept(&server).await, site.all());

    server.begin_with("refuse=1000");
    make_topic(&server).await;
    site.run(1).await;
    site.until(|view| {
        let why = view.error.as_deref().unwrap_or_default();
        why.contains("the topic `board` takes no event of") && why.contains("max.message.bytes")
    })
    .await;
    site.close().await;
}

#[tokio::test]
async fn kafka_is_shown_a_password_in_the_way_it_knows() {
    use std::os::unix::fs::PermissionsExt;
    let mut server = Server::kafka();
    make_topic(&server).await;
    server.begin_with("user=ada:hunter2");
    let site = Site::open();
    let directory = site.place.path().join("credentials");
    std::fs::create_dir(&directory).unwrap();
    let file = directory.join("board");
    let write = |text: &str| {
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    write("hunter2\n");
    site.run(1).await;
    site.subscribe(&format!("{}?credentials=board", destination(&server)))
        .await;
    for (credentials, told) in [
        ("hunter2", "`user:password`"),
        ("ada:hunter3", "SaslAuthenticationFailed"),
        ("ada:hunter2", "there is no topic"),
    ] {
        write(credentials);
        site.until(|view| view.error.as_deref().unwrap_or_default().contains(told))
            .await;
        let shown = serde_json::to_string(&site.view()).unwrap();
        assert!(!shown.contains("hunter"), "{shown}");
    }
    site.close().await;
}
