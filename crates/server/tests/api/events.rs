//! A run's journal as a stream.

use std::time::Duration;

use futures::StreamExt;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use matrix_server::{Event, Limits};
use serde_json::{Value, json};

use crate::site::Site;

/// The text of a stream until it ends or this has appeared in it.
async fn until(body: &mut Incoming, wanted: &str) -> String {
    let mut text = String::new();
    let read = async {
        while !text.contains(wanted) {
            // A stream that is cut off instead of ended is a failure.
            let Some(frame) = body.frame().await.transpose().unwrap() else {
                break;
            };
            if let Some(data) = frame.data_ref() {
                text.push_str(&String::from_utf8_lossy(data));
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), read)
        .await
        .expect("the stream says nothing");
    text
}

fn ids(text: &str) -> Vec<i64> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("id: "));
    lines.map(|id| id.parse().unwrap()).collect()
}

#[tokio::test]
async fn a_stream_is_taken_up_where_it_broke_off_and_ends_with_its_run() {
    let site = Site::open().await;
    let run = site.settled(json!("signal")).await;
    let address = format!("/api/v1/runs/{run}/events");
    let mut first = site.get(&address).open().await;
    assert_eq!(first.headers()["content-type"], "text/event-stream");
    let text = until(first.body_mut(), "event: step_completed").await;
    assert_eq!(ids(&text), [0, 1], "{text}");
    drop(first);
    // What happens while nobody listens is not missed.
    let client = site.client().await;
    let signal = format!("/api/v1/runs/{run}/signal");
    let _: Value = client
        .post(&signal, &json!({ "name": "go" }))
        .await
        .unwrap();
    let mut second = site.get(&address).header("last-event-id", "1").open().await;
    let text = until(second.body_mut(), "nothing ever says this").await;
    let found = ids(&text);
    assert_eq!(found[0], 2, "{text}");
    assert!(
        found.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "a gap: {found:?}"
    );
    assert!(text.contains("event: run_completed"), "{text}");
    let last = found.last().unwrap();
    let after = site.get(&format!("{address}?after={last}")).send().await;
    assert_eq!(
        after.status, 204,
        "a finished stream would be asked for for ever"
    );
    site.close().await;
}

#[tokio::test]
async fn a_stream_shows_how_far_a_step_is_between_the_entries() {
    let site = Site::open().await;
    let run = site.run(json!("long")).await;
    let address = format!("/api/v1/runs/{run}/events");
    let mut stream = site.get(&address).open().await;
    let text = until(stream.body_mut(), "\"rows\"").await;
    let said = r#"data: {"long#1":{"done":40,"total":100,"message":"rows"}}"#;
    assert!(text.contains(said), "{text}");
    let shown = site
        .get(&format!("/api/v1/runs/{run}"))
        .send()
        .await
        .ok(200);
    let step = &shown["steps"][1];
    assert_eq!(
        (&step["path"], &step["progress"]["done"]),
        (&json!("long#1"), &json!(40))
    );
    let client = site.client().await;
    let cancel = format!("/api/v1/runs/{run}/cancel");
    let _: Value = client.post(&cancel, &json!({})).await.unwrap();
    let rest = until(stream.body_mut(), "nothing ever says this").await;
    let found = ids(&(text + &rest));
    assert_eq!(
        found,
        (0_i64..).take(found.len()).collect::<Vec<_>>(),
        "a gap"
    );
    site.close().await;
}

#[tokio::test]
async fn a_stream_shows_entries_as_they_are_written() {
    let site = Site::open().await;
    let run = site.settled(json!("signal")).await;
    let client = site.client().await;
    let stream = client.events(run, -1).await.unwrap();
    let mut stream = std::pin::pin!(stream);
    let mut seen: Vec<Event> = Vec::new();
    while seen.len() < 2 {
        seen.push(stream.next().await.unwrap().unwrap());
    }
    let signal = format!("/api/v1/runs/{run}/signal");
    let body = json!({ "name": "go", "value": "a\nb" });
    let _: Value = client.post(&signal, &body).await.unwrap();
    while let Some(event) = stream.next().await {
        seen.push(event.unwrap());
    }
    let names: Vec<_> = seen.iter().map(|event| &*event.name).collect();
    assert_eq!(names.first(), Some(&"run_started"));
    assert_eq!(names.last(), Some(&"run_completed"));
    let entry: Value = serde_json::from_str(&seen.last().unwrap().data).unwrap();
    assert_eq!(entry["payload"], "a\nb");
    let mut none = std::pin::pin!(
        client
            .events(run, entry["seq"].as_i64().unwrap())
            .await
            .unwrap()
    );
    assert!(none.next().await.is_none());
    site.close().await;
}

#[tokio::test]
async fn positions_that_cannot_be_are_refused() {
    let site = Site::open().await;
    let run = site.settled(json!("signal")).await;
    let address = format!("/api/v1/runs/{run}/events");
    for ask in [
        site.get(&format!("{address}?after=99")),
        site.get(&format!("{address}?after=x")),
        site.get(&address).header("last-event-id", "soon"),
        site.get(&address).header("last-event-id", "-2"),
    ] {
        ask.send().await.problem(400, "HTTP-0008");
    }
    let unknown = "/api/v1/runs/run_00000000000000000000000000/events";
    site.get(unknown).send().await.problem(404, "RUN-0001");
    site.close().await;
}

#[tokio::test]
async fn silence_is_filled_and_streams_are_counted_and_end_with_their_listener() {
    let limits = Limits {
        heartbeat: Duration::from_millis(50),
        streams: 1,
        ..Limits::default()
    };
    let site = Site::with(limits).await;
    let run = site.settled(json!("signal")).await;
    let address = format!("/api/v1/runs/{run}/events");
    let mut stream = site.get(&address).open().await;
    let text = until(stream.body_mut(), ": alive").await;
    assert!(text.contains("event: run_started"), "{text}");
    let refused = site.get(&address).send().await;
    refused.problem(429, "HTTP-0012");
    assert_eq!(refused.header("retry-after"), "5");
    site.begin_close();
    let text = until(stream.body_mut(), "nothing ever says this").await;
    assert!(!text.contains("event: problem"), "{text}");
    site.close().await;
}

#[tokio::test]
async fn everybodys_events_are_read_as_pages_and_taken_up_as_a_stream() {
    let site = Site::open().await;
    let first = site.settled(json!("done")).await;
    let page = site.get("/api/v1/events?topic=run.*").send().await.ok(200);
    let topics: Vec<_> = page["items"].as_array().unwrap().iter().collect();
    assert_eq!(topics.len(), 2, "{page}");
    assert_eq!(topics[0]["topics"], json!(["run.started", "test.started"]));
    assert_eq!(topics[0]["run"], first.to_string());
    assert!(topics.iter().all(|event| event.get("payload").is_none()));
    assert_eq!(
        (&page["next"], &page["more"]),
        (&json!("0:3"), &json!(false))
    );
    let link = topics[1]["links"]["entry"].as_str().unwrap();
    let entry = site.get(link).send().await.ok(200);
    assert_eq!(entry["items"][0]["kind"], "run_completed");
    let asked = site
        .get("/api/v1/events?payloads=true&limit=1")
        .send()
        .await;
    let asked = asked.ok(200);
    assert_eq!(asked["items"][0]["payload"]["title"], "a test");
    assert_eq!(
        (&asked["next"], &asked["more"]),
        (&json!("0:1"), &json!(true))
    );

    let ask = |address: &str| site.get(address).header("accept", "text/event-stream");
    let mut stream = ask("/api/v1/events?topic=run.*").open().await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let second = site.settled(json!("done")).await;
    let text = until(stream.body_mut(), "event: run.completed").await;
    assert!(text.contains(&second.to_string()) && !text.contains(&first.to_string()));
    let places: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("id: "))
        .collect();
    assert_eq!(places, ["0:4", "0:6"]);
    drop(stream);
    let third = site.settled(json!("done")).await;
    let mut again = ask("/api/v1/events?topic=run.*")
        .header("last-event-id", places[1])
        .open()
        .await;
    let text = until(again.body_mut(), "event: run.completed").await;
    assert!(text.contains(&third.to_string()) && !text.contains(&second.to_string()));
    drop(again);

    for bad in [
        "topic=Run",
        "after=yesterday",
        "after=0",
        "run=x",
        "colour=red",
    ] {
        let answer = site.get(&format!("/api/v1/events?{bad}")).send().await;
        assert!(
            matches!(answer.status, 400 | 422),
            "{bad}: {}",
            answer.text()
        );
    }
    site.get("/api/v1/events/subscriptions/none")
        .send()
        .await
        .problem(404, "EVENT-0001");
    site.close().await;
}
