//! Anthropic's messages, held against transcripts that follow its documentation.

#![expect(clippy::unwrap_used, reason = "what a test cannot read has failed it")]

mod noise;
mod requests;

use std::path::Path;

use matrix_models::chat::{
    ChatAnswer, ChatRequest, Choice, Finish, Message, Opaque, Part, Protocol, Role,
};
use matrix_models::delta::{Assembler, Delta, deltas};
use matrix_models::usage::Usage;
use matrix_models::wire::anthropic::Anthropic;
use matrix_models::wire::sse::{Event, Parser};
use matrix_models::wire::{ClientWire, Complaint, Delivery, ProviderWire, WireError};
use serde_json::{Value, json};

const WIRE: Anthropic = Anthropic {
    max_tokens: 4096,
    marks: false,
};
const ANSWERS: [&str; 6] = ["text", "tools", "thinking", "search", "stopped", "refused"];

fn file(name: &str) -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts/anthropic");
    std::fs::read_to_string(dir.join(name)).unwrap()
}

fn value(name: &str) -> Value {
    serde_json::from_str(&file(name)).unwrap()
}

fn events(bytes: &[u8]) -> Vec<Event> {
    let (mut parser, mut out) = (Parser::default(), Vec::new());
    parser.push(bytes, &mut out).unwrap();
    parser.close(&mut out).unwrap();
    out
}

fn read(events: &[Event]) -> Result<Vec<Delta>, WireError> {
    let (mut reader, mut out) = (WIRE.reader(), Vec::new());
    for event in events {
        reader.read(event, &mut out)?;
    }
    reader.close(&mut out)?;
    Ok(out)
}

fn assembled(deltas: &[Delta]) -> ChatAnswer {
    let mut assembler = Assembler::default();
    for delta in deltas {
        assembler.push(delta);
    }
    assert!(assembler.ended());
    assembler.finish()
}

fn streamed(answer: &[Delta]) -> Vec<u8> {
    let mut writer = WIRE.writer(0, Delivery::Stream);
    let mut out = Vec::new();
    for delta in answer {
        writer.write(delta, &mut out);
    }
    out
}

fn body(request: &ChatRequest) -> Value {
    WIRE.encode(request, false).unwrap().body
}

fn asking(parts: Vec<Part>) -> ChatRequest {
    ChatRequest {
        model: "claude-opus-4-7".into(),
        messages: vec![Message {
            role: Role::User,
            parts,
            name: None,
        }],
        ..ChatRequest::default()
    }
}

fn call(id: &str, arguments: &str) -> Part {
    Part::ToolCall {
        id: id.into(),
        name: "look".into(),
        arguments: arguments.into(),
        opaque: Opaque::default(),
    }
}

fn answer(parts: Vec<Part>) -> ChatAnswer {
    ChatAnswer {
        id: "chatcmpl-1".into(),
        model: "other".into(),
        choices: vec![Choice {
            parts,
            finish: Finish::Tools,
            logprobs: None,
        }],
        usage: Some(Usage {
            input: 100,
            output: 50,
            cache_read: 30,
            cache_write: 20,
            reasoning: 10,
            ..Usage::default()
        }),
        protocol: Some(Protocol::Anthropic),
        ..ChatAnswer::default()
    }
}

#[test]
fn a_stream_gives_the_same_answer_as_the_whole() {
    for name in ANSWERS {
        let whole = WIRE.decode(value(&format!("{name}.json"))).unwrap();
        let events = events(file(&format!("{name}.sse")).as_bytes());
        assert_eq!(assembled(&read(&events).unwrap()), whole, "{name}");
    }
}

#[test]
fn a_stream_that_is_cut_is_an_error() {
    for name in ANSWERS {
        let events = events(file(&format!("{name}.sse")).as_bytes());
        for end in 0..events.len() {
            let error = read(&events[..end]).unwrap_err();
            assert!(matches!(error, WireError::Cut(_)), "{name} at {end}");
        }
    }
}

#[test]
fn a_stream_that_stops_before_its_block_is_an_error() {
    let mut events = events(file("text.sse").as_bytes());
    events.retain(|event| event.name.as_deref() != Some("content_block_stop"));
    assert!(matches!(read(&events), Err(WireError::Cut(_))));
}

#[test]
fn an_error_in_a_stream_is_told() {
    let mut all = events(file("text.sse").as_bytes());
    all.truncate(4);
    all.extend(events(file("overloaded.sse").as_bytes()));
    let expected = WireError::Told {
        kind: "overloaded_error".into(),
        message: "Overloaded".into(),
    };
    assert_eq!(read(&all), Err(expected));
    let complaint = WIRE.error(&value("error.json")).unwrap();
    assert_eq!(complaint.kind, "not_found_error");
    assert!(complaint.message.contains("could not be found"));
    assert!(matches!(
        WIRE.decode(value("error.json")),
        Err(WireError::Told { .. })
    ));
}

#[test]
fn unknown_events_and_changes_are_passed_over() {
    let mut events = events(file("text.sse").as_bytes());
    let whole = assembled(&read(&events).unwrap());
    for data in [
        json!({ "type": "novelty", "x": 1 }),
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "new_delta" } }),
    ] {
        let name = None;
        let data = data.to_string();
        events.insert(3, Event { name, data });
    }
    assert_eq!(assembled(&read(&events).unwrap()), whole);
}

#[test]
fn answers_are_understood() {
    let answer = WIRE.decode(value("tools.json")).unwrap();
    let usage = answer.usage.unwrap();
    assert_eq!((usage.input, usage.output), (2572, 89));
    assert_eq!((usage.cache_read, usage.cache_write), (2000, 100));
    assert_eq!(answer.choices[0].finish, Finish::Tools);
    let arguments = answer.choices[0]
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::ToolCall { arguments, .. } => Some(arguments.as_str()),
            _ => None,
        });
    assert_eq!(
        arguments.collect::<Vec<_>>(),
        [
            r#"{"location":"San Francisco, CA","unit":"fahrenheit"}"#,
            "{}"
        ]
    );
    let finish = |name: &str| WIRE.decode(value(name)).unwrap().choices[0].finish.clone();
    assert_eq!(
        finish("stopped.json"),
        Finish::StopText(Some("three".into()))
    );
    assert_eq!(finish("refused.json"), Finish::Refusal);
    assert_eq!(finish("search.json"), Finish::Other("pause_turn".into()));
    let thinking = WIRE.decode(value("thinking.json")).unwrap();
    assert_eq!(thinking.usage.unwrap().reasoning, 96);
}

#[test]
fn a_client_gets_what_the_provider_said() {
    for name in ANSWERS {
        let said = value(&format!("{name}.json"));
        let whole = WIRE.decode(said.clone()).unwrap();
        let written = ClientWire::answer(&WIRE, &whole, 0);
        for field in [
            "id",
            "type",
            "role",
            "model",
            "stop_reason",
            "stop_sequence",
        ] {
            assert_eq!(written[field], said[field], "{name}");
        }
        assert_eq!(written["stop_details"], said["stop_details"], "{name}");
        for (field, count) in said["usage"].as_object().unwrap() {
            assert_eq!(&written["usage"][field], count, "{name}");
        }
        assert_eq!(WIRE.decode(written).unwrap(), whole, "{name}");
        for source in [
            deltas(&whole),
            read(&events(file(&format!("{name}.sse")).as_bytes())).unwrap(),
        ] {
            let events = events(&streamed(&source));
            assert_eq!(assembled(&read(&events).unwrap()), whole, "{name}");
        }
    }
}

#[test]
fn a_stream_begins_with_what_was_read() {
    let source = read(&events(file("tools.sse").as_bytes())).unwrap();
    let events = events(&streamed(&source));
    assert_eq!(events[0].name.as_deref(), Some("message_start"));
    let start: Value = serde_json::from_str(&events[0].data).unwrap();
    assert_eq!(start["type"], "message_start");
    assert_eq!(start["message"]["usage"]["input_tokens"], 472);
    assert_eq!(start["message"]["usage"]["cache_read_input_tokens"], 2000);
}

#[test]
fn parts_that_are_written_at_once_come_one_after_the_other() {
    let begin = |part, begun| Delta::Part {
        choice: 0,
        part,
        begun,
    };
    let more = |part, text: &str| Delta::Text {
        choice: 0,
        part,
        text: text.into(),
    };
    let source = [
        Delta::Begin {
            id: "1".into(),
            model: "m".into(),
        },
        begin(0, call("a", "")),
        more(0, "{\"x\""),
        begin(1, call("b", "")),
        begin(2, Part::text("")),
        more(2, "words"),
        more(1, "{}"),
        more(0, ":1}"),
        Delta::Finish {
            choice: 0,
            reason: Finish::Other("novel_reason".into()),
        },
        Delta::Usage(Usage::default()),
        Delta::End,
    ];
    let events = events(&streamed(&source));
    let mut open = None;
    for event in &events {
        let data: Value = serde_json::from_str(&event.data).unwrap();
        match event.name.as_deref() {
            Some("content_block_start") => assert_eq!(open.replace(data["index"].clone()), None),
            Some("content_block_delta") => assert_eq!(open.as_ref(), Some(&data["index"])),
            Some("content_block_stop") => assert_eq!(open.take(), Some(data["index"].clone())),
            _ => {}
        }
    }
    let read = assembled(&read(&events).unwrap());
    let expected = [
        call("a", r#"{"x":1}"#),
        call("b", "{}"),
        Part::text("words"),
    ];
    assert_eq!(read.choices[0].parts, expected);
    assert_eq!(read.choices[0].finish, Finish::Other("novel_reason".into()));
}

#[test]
fn complaints_are_named_by_their_status() {
    let said = |status, kind: &str| {
        let complaint = Complaint {
            status,
            kind: kind.into(),
            code: None,
            message: "No.".into(),
        };
        let value = ClientWire::complaint(&WIRE, &complaint);
        assert_eq!(value["type"], "error");
        assert_eq!(value["error"]["message"], "No.");
        value["error"]["type"].as_str().unwrap().to_owned()
    };
    for (status, word) in [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (422, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ] {
        assert_eq!(said(status, "whatever"), word);
    }
    assert_eq!(said(0, "overloaded_error"), "overloaded_error");
    assert_eq!(said(0, "server_error"), "api_error");
}
