//! Amazon Bedrock's words, held against transcripts that follow its documentation, and against noise.

#![expect(clippy::unwrap_used, reason = "what a test cannot read has failed it")]

mod requests;

use matrix_models::chat::{Finish, Part, Protocol};
use matrix_models::delta::{Assembler, Delta};
use matrix_models::usage::Usage;
use matrix_models::wire::bedrock::Converse;
use matrix_models::wire::frames::Frames;
use matrix_models::wire::sse::Event;
use matrix_models::wire::{ProviderWire, WireError};
use proptest::prelude::*;
use serde_json::{Value, json};

fn wire() -> Converse {
    Converse {
        model: "amazon.nova-2-lite-v1:0".into(),
        max_tokens: 1_000,
        caches: false,
    }
}

fn file(name: &str) -> String {
    let place = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts/bedrock/");
    std::fs::read_to_string(format!("{place}{name}")).unwrap()
}

fn event(name: &str, data: &Value) -> Event {
    Event {
        name: Some(name.to_owned()),
        data: data.to_string(),
    }
}

fn events(name: &str) -> Vec<Event> {
    let text = file(&format!("{name}.frames"));
    let lines = text.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        event(line[":event-type"].as_str().unwrap(), &line["payload"])
    });
    lines.collect()
}

fn read(events: &[Event]) -> (Vec<Delta>, Result<(), WireError>) {
    let (mut reader, mut out) = (wire().reader(), Vec::new());
    for event in events {
        if let Err(error) = reader.read(event, &mut out) {
            return (out, Err(error));
        }
    }
    let closed = reader.close(&mut out);
    (out, closed)
}

#[test]
fn a_stream_is_the_same_as_a_whole_answer() {
    for name in ["text", "tool", "calls", "thoughts"] {
        let body = serde_json::from_str(&file(&format!("{name}.json"))).unwrap();
        let whole = wire().decode(body).unwrap();
        let (deltas, closed) = read(&events(name));
        assert_eq!(closed, Ok(()), "{name}");
        let mut assembler = Assembler::default();
        for delta in &deltas {
            assembler.push(delta);
        }
        assert!(assembler.ended(), "{name}");
        assert_eq!(assembler.finish(), whole, "{name}");
        assert_eq!(whole.model, "amazon.nova-2-lite-v1:0");
    }
}

#[test]
fn what_a_cache_had_is_part_of_what_was_read() {
    let body = serde_json::from_str(&file("calls.json")).unwrap();
    let answer = wire().decode(body).unwrap();
    let used = Usage {
        input: 390,
        output: 70,
        cache_read: 300,
        cache_write: 50,
        reasoning: 0,
        ..Usage::default()
    };
    assert_eq!(answer.usage, Some(used));
    assert_eq!(answer.choices[0].finish, Finish::Tools);
}

#[test]
fn only_what_was_used_ends_a_stream() {
    let all = events("text");
    for count in 0..all.len() {
        let (deltas, closed) = read(&all[..count]);
        assert!(matches!(closed, Err(WireError::Cut(_))), "{count}");
        assert!(!deltas.contains(&Delta::End), "{count}");
    }
}

#[test]
fn blocks_that_are_not_said_to_end_end_with_the_message() {
    let start = json!({ "toolUse": { "toolUseId": "t", "name": "f" } });
    let (deltas, closed) = read(&[
        event("messageStart", &json!({ "role": "assistant" })),
        event("ping", &json!({})),
        event("contentBlockDelta", &json!({ "delta": { "text": "Hi" } })),
        event(
            "contentBlockStart",
            &json!({ "contentBlockIndex": 1, "start": start }),
        ),
        event("messageStop", &json!({ "stopReason": "tool_use" })),
        event("metadata", &json!({})),
        event("messageStart", &json!({})),
    ]);
    assert_eq!(closed, Ok(()));
    let mut assembler = Assembler::default();
    for delta in &deltas {
        assembler.push(delta);
    }
    let answer = assembler.finish();
    assert_eq!(answer.usage, None);
    let Part::ToolCall { arguments, .. } = &answer.choices[0].parts[1] else {
        unreachable!("{answer:?}");
    };
    assert_eq!(arguments, "{}");
}

#[test]
fn reasons_for_an_end_and_unknown_blocks_are_kept() {
    for (word, finish) in [
        ("end_turn", Finish::Stop),
        ("stop_sequence", Finish::StopText(None)),
        ("max_tokens", Finish::Length),
        ("guardrail_intervened", Finish::Filter),
        ("content_filtered", Finish::Filter),
        (
            "malformed_tool_use",
            Finish::Other("malformed_tool_use".into()),
        ),
    ] {
        let cited = json!({ "citationsContent": { "content": [{ "text": "It is." }] } });
        let odd = json!({ "video": { "format": "mp4" } });
        let message = json!({ "role": "assistant", "content": [{ "text": "" }, cited, odd] });
        let body = json!({ "output": { "message": message }, "stopReason": word });
        let answer = wire().decode(body).unwrap();
        assert_eq!(answer.choices[0].finish, finish);
        let odd = Part::Other {
            protocol: Protocol::Bedrock,
            value: odd,
        };
        assert_eq!(answer.choices[0].parts, [Part::text("It is."), odd]);
    }
}

#[test]
fn events_out_of_their_order_are_refused() {
    let start = event("messageStart", &json!({}));
    for events in [
        vec![event(
            "contentBlockDelta",
            &json!({ "delta": { "text": "a" } }),
        )],
        vec![start.clone(), start.clone()],
        vec![start.clone(), event("metadata", &json!({}))],
        vec![start.clone(), event("messageStop", &json!({}))],
        vec![
            start.clone(),
            event(
                "contentBlockDelta",
                &json!({ "delta": { "toolUse": { "input": "{" } } }),
            ),
        ],
        vec![start, event("contentBlockDelta", &json!({}))],
    ] {
        assert!(read(&events).1.is_err(), "{events:?}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z{}\"]{0,6}".prop_map(Value::from),
    ];
    let names = prop_oneof![
        "(delta|start|text|toolUse|toolUseId|name|input|reasoningContent|reasoningText|signature)",
        "(redactedContent|contentBlockIndex|stopReason|usage|inputTokens|output|message|content)",
        "[a-z]{1,3}",
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let fields = proptest::collection::vec((names.clone(), inner.clone()), 0..5);
        prop_oneof![
            proptest::collection::vec(inner, 0..4).prop_map(Value::from),
            fields.prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_that_comes_makes_it_fall_over(
        all in proptest::collection::vec(
            ("(messageStart|contentBlockStart|contentBlockDelta|contentBlockStop|messageStop|metadata|xException)", any_json()),
            0..12,
        )
    ) {
        let (mut reader, mut out) = (wire().reader(), Vec::new());
        for (name, value) in &all {
            let _read = reader.read(&event(name, value), &mut out);
            let _answer = wire().decode(value.clone());
            let _answer = wire().decode(json!({ "output": { "message": value }, "stopReason": "x" }));
            let _complaint = wire().error(value);
        }
        let _closed = reader.close(&mut out);
    }

    #[test]
    fn no_bytes_make_frames_fall_over(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut frames = Frames::default();
        let _read = frames.push(&bytes, &mut Vec::new());
        let _closed = frames.close();
    }
}
