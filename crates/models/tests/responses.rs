//! The responses protocol, against transcripts of its documentation.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that fails may say so in the functions it shares with others, too"
)]

use proptest::prelude::*;
use serde_json::{Value, json};

use matrix_models::chat::{
    ChatAnswer, ChatRequest, Choice, Finish, Format, Message, Opaque, Part, Protocol, Reasoning,
    Role, Source, Tool, ToolChoice,
};
use matrix_models::delta::{Assembler, Delta, deltas};
use matrix_models::usage::Usage;
use matrix_models::wire::responses::Responses;
use matrix_models::wire::sse::{Event, Parser};
use matrix_models::wire::{ClientWire, Complaint, Delivery, ProviderWire, WireError};

const BOTH: [&str; 6] = ["text", "tools", "refusal", "length", "search", "thoughts"];

fn file(name: &str) -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    std::fs::read_to_string(format!("{root}/tests/transcripts/responses/{name}")).unwrap()
}

fn whole(name: &str) -> Value {
    serde_json::from_str(&file(&format!("{name}.json"))).unwrap()
}

fn events(bytes: &[u8]) -> Vec<Event> {
    let (mut parser, mut out) = (Parser::default(), Vec::new());
    parser.push(bytes, &mut out).unwrap();
    parser.close(&mut out).unwrap();
    out
}

fn assembled(events: &[Event]) -> Result<ChatAnswer, WireError> {
    let (mut reader, mut out) = (Responses.reader(), Vec::new());
    for event in events {
        reader.read(event, &mut out)?;
    }
    reader.close(&mut out)?;
    let mut assembler = Assembler::default();
    for delta in &out {
        assembler.push(delta);
    }
    assert!(assembler.ended());
    Ok(assembler.finish())
}

fn written(answer: &ChatAnswer) -> Vec<Event> {
    let mut writer = Responses.writer(7, Delivery::Stream);
    let mut out = Vec::new();
    for delta in deltas(answer) {
        writer.write(&delta, &mut out);
    }
    events(&out)
}

fn asked(body: Value) -> ChatRequest {
    Responses.asked(body).unwrap().request
}

fn encoded(request: &ChatRequest) -> Value {
    Responses.encode(request, false).unwrap().body
}

fn refused(result: Result<impl std::fmt::Debug, WireError>) -> String {
    match result {
        Err(WireError::Unsupported(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stream_gives_what_the_whole_gives() {
    for name in BOTH {
        let streamed = assembled(&events(file(&format!("{name}.sse")).as_bytes())).unwrap();
        assert_eq!(streamed, Responses.decode(whole(name)).unwrap(), "{name}");
    }
}

#[test]
fn a_stream_that_is_cut_anywhere_is_an_error() {
    for name in BOTH {
        let events = events(file(&format!("{name}.sse")).as_bytes());
        for end in 0..events.len() {
            let cut = assembled(&events[..end]);
            assert!(matches!(cut, Err(WireError::Cut(_))), "{name} at {end}");
        }
    }
}

#[test]
fn what_clients_hear_as_a_stream_is_what_they_hear_as_a_whole() {
    for name in BOTH {
        let answer = Responses.decode(whole(name)).unwrap();
        let told = written(&answer);
        assert_eq!(assembled(&told).unwrap(), answer, "{name}");
        let last: Value = serde_json::from_str(&told.last().unwrap().data).unwrap();
        let body = Responses.answer(&answer, 7);
        assert_eq!(last["response"], body, "{name}");
        assert_eq!(Responses.decode(body).unwrap(), answer, "{name}");
        for (number, event) in told.iter().enumerate() {
            let data: Value = serde_json::from_str(&event.data).unwrap();
            assert_eq!(data["sequence_number"], number);
            assert_eq!(data["type"], event.name.as_deref().unwrap());
        }
    }
}

#[test]
fn endings_are_told_apart() {
    let finish = |name| {
        Responses.decode(whole(name)).unwrap().choices[0]
            .finish
            .clone()
    };
    assert_eq!(finish("text"), Finish::Stop);
    assert_eq!(finish("tools"), Finish::Tools);
    assert_eq!(finish("refusal"), Finish::Refusal);
    assert_eq!(finish("length"), Finish::Length);
    let mut other = whole("length");
    other["incomplete_details"]["reason"] = json!("tired");
    let answer = Responses.decode(other).unwrap();
    assert_eq!(answer.choices[0].finish, Finish::Other("tired".into()));
    let body = Responses.answer(&answer, 7);
    assert_eq!(body["incomplete_details"]["reason"], "tired");
}

#[test]
fn usage_is_counted_in_full() {
    let usage = Responses.decode(whole("tools")).unwrap().usage;
    let wanted = Usage {
        input: 291,
        output: 123,
        reasoning: 64,
        ..Usage::default()
    };
    assert_eq!(usage, Some(wanted));
}

#[test]
fn errors_are_told() {
    let failed = |result: Result<ChatAnswer, WireError>| match result {
        Err(WireError::Told { kind, .. }) => kind,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        failed(Responses.decode(whole("failed"))),
        "rate_limit_exceeded"
    );
    let stream = |name| assembled(&events(file(name).as_bytes()));
    assert_eq!(failed(stream("failed.sse")), "rate_limit_exceeded");
    assert_eq!(failed(stream("error.sse")), "server_error");
    let complaint = Complaint {
        status: 503,
        kind: "unavailable".into(),
        code: None,
        message: "later".into(),
    };
    let (mut writer, mut out) = (Responses.writer(7, Delivery::Stream), Vec::new());
    let begin = Delta::Begin {
        id: "a".into(),
        model: "m".into(),
    };
    writer.write(&begin, &mut out);
    writer.fail(&complaint, &mut out);
    assert_eq!(failed(assembled(&events(&out))), "unavailable");
    let body = json!({ "error": { "message": "no", "type": "invalid_request_error" } });
    assert_eq!(
        Responses.error(&body).unwrap().kind,
        "invalid_request_error"
    );
}

#[test]
fn a_request_of_the_same_protocol_goes_on_as_it_came() {
    let body = whole("request");
    let asked = Responses.asked(body.clone()).unwrap();
    assert_eq!(asked.delivery, Delivery::Stream);
    let roles: Vec<Role> = asked.request.messages.iter().map(|one| one.role).collect();
    let turn = [Role::Assistant, Role::Tool];
    assert_eq!(
        roles,
        [&[Role::System, Role::User][..], &turn, &turn].concat()
    );
    let sent = Responses.encode(&asked.request, true).unwrap();
    assert!(sent.dropped.is_empty());
    for (name, value) in body.as_object().unwrap() {
        if name != "input" {
            // One is written `1` and `1.0`.
            let same = sent.body[name] == *value || sent.body[name].as_f64() == value.as_f64();
            assert!(same, "{name}: {}", sent.body[name]);
        }
    }
    assert_eq!(sent.body["user"], Value::Null);
    let (before, after) = (body["input"].as_array().unwrap(), &sent.body["input"]);
    assert_eq!(after.as_array().unwrap().len(), before.len());
    for index in [0, 4, 6] {
        let mut item = before[index].clone();
        item["type"] = after[index]["type"].clone();
        assert_eq!(after[index], item);
    }
    assert_eq!(
        after[1]["encrypted_content"],
        before[1]["encrypted_content"]
    );
    assert_eq!(after[1]["id"], before[1]["id"]);
    assert_eq!(after[2]["id"], before[2]["id"]);
    assert_eq!(after[3]["call_id"], before[3]["call_id"]);
}

#[test]
fn a_request_of_another_protocol_is_said_in_full() {
    let request = ChatRequest {
        model: "o4-mini".into(),
        messages: vec![
            Message::text(Role::System, "Be brief."),
            Message {
                role: Role::User,
                parts: vec![
                    Part::text("What is it?"),
                    Part::Image {
                        source: Source::Url("https://example.org/a.png".into()),
                        detail: None,
                        opaque: Opaque::default(),
                    },
                ],
                name: None,
            },
        ],
        tools: vec![Tool::Function {
            name: "look".into(),
            description: None,
            parameters: None,
            strict: None,
            opaque: Opaque::default(),
        }],
        tool_choice: Some(ToolChoice::Named("look".into())),
        format: Some(Format::Json),
        reasoning: Some(Reasoning {
            tokens: Some(4_000),
            ..Reasoning::default()
        }),
        max_tokens: Some(9),
        extra: json!({ "store": true }).as_object().unwrap().clone(),
        protocol: Some(Protocol::Anthropic),
        ..ChatRequest::default()
    };
    let body = encoded(&request);
    let wanted = json!({
        "model": "o4-mini",
        "instructions": "Be brief.",
        "input": [{ "type": "message", "role": "user", "content": [
            { "type": "input_text", "text": "What is it?" },
            { "type": "input_image", "detail": "auto", "image_url": "https://example.org/a.png" },
        ] }],
        "tools": [{ "type": "function", "name": "look", "strict": false,
            "parameters": { "type": "object", "properties": {} } }],
        "tool_choice": { "type": "function", "name": "look" },
        "text": { "format": { "type": "json_object" } },
        "reasoning": { "effort": "medium" },
        "max_output_tokens": 9,
        "include": ["reasoning.encrypted_content"],
        "store": false,
    });
    assert_eq!(body, wanted);
    let silent = ChatRequest {
        model: "gpt-4o".into(),
        ..request
    };
    assert_eq!(encoded(&silent).get("include"), None);
}

#[test]
fn what_needs_a_memory_is_refused() {
    for (name, value) in [
        ("previous_response_id", json!("resp_1")),
        ("conversation", json!({ "id": "conv_1" })),
        ("prompt", json!({ "id": "pmpt_1" })),
        ("background", json!(true)),
    ] {
        let mut body = json!({ "model": "m", "input": "hi" });
        body[name] = value;
        assert!(refused(Responses.asked(body)).contains(name));
    }
    let none = json!({ "model": "m", "input": "hi", "previous_response_id": null });
    assert_eq!(asked(none).messages, [Message::text(Role::User, "hi")]);
}

#[test]
fn what_cannot_be_said_is_dropped_or_refused() {
    let mut request = asked(json!({ "model": "m", "input": "hi" }));
    request.sampling.seed = Some(1);
    request.sampling.stop = vec!["x".into()];
    let sent = Responses.encode(&request, false).unwrap();
    assert_eq!(sent.dropped, ["seed", "stop"]);
    request.sampling.count = Some(2);
    refused(Responses.encode(&request, false));
    request.sampling.count = None;
    request.messages[0].parts = vec![Part::Audio {
        format: "wav".into(),
        data: "AAAA".into(),
    }];
    refused(Responses.encode(&request, false));
}

/// An answer of a model whose thoughts and calls have proofs of another provider.
fn foreign() -> ChatAnswer {
    let proof = |name: &str, value: &str| Opaque::default().with("anthropic", name, value.into());
    let signature = Opaque::default().with("google", "thought_signature", "c2ln".into());
    ChatAnswer {
        id: "msg_01XYZ".into(),
        model: "claude".into(),
        choices: vec![Choice {
            parts: vec![
                Part::Reasoning {
                    text: "First\n\nthen.".into(),
                    opaque: proof("signature", "EqQB+/="),
                },
                Part::Reasoning {
                    text: String::new(),
                    opaque: proof("redacted", "EmwK"),
                },
                Part::text("Let us see."),
                Part::ToolCall {
                    id: "toolu_1".into(),
                    name: "look".into(),
                    arguments: "{\"a\":1}".into(),
                    opaque: signature,
                },
                Part::ToolCall {
                    id: "toolu_2".into(),
                    name: "look".into(),
                    arguments: "{\"a\":2}".into(),
                    opaque: Opaque::default(),
                },
            ],
            finish: Finish::Tools,
            logprobs: None,
        }],
        usage: Some(Usage {
            input: 5,
            output: 7,
            cache_read: 1,
            cache_write: 2,
            reasoning: 3,
            ..Usage::default()
        }),
        ..ChatAnswer::default()
    }
}

#[test]
fn proofs_of_other_providers_come_back_and_never_reach_this_one() {
    let answer = foreign();
    let body = Responses.answer(&answer, 7);
    let sealed = body["output"][0]["encrypted_content"].as_str().unwrap();
    assert!(sealed.starts_with("matrix1."));
    assert_eq!(body["output"][0]["summary"][0]["text"], "First\n\nthen.");
    assert!(body["output"][3]["extra_content"]["google"].is_object());

    let mut input = vec![json!({ "role": "user", "content": "Look!" })];
    input.extend(body["output"].as_array().unwrap().iter().cloned());
    input.push(json!({ "type": "function_call_output", "call_id": "toolu_1", "output": "1" }));
    let request = asked(json!({ "model": "m", "input": input }));
    assert_eq!(request.messages[1].parts, answer.choices[0].parts);

    let sent = encoded(&request);
    let text = sent.to_string();
    for secret in ["matrix1", "EqQB", "c2ln", "extra_content", "_mx"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    let kinds = sent["input"].as_array().unwrap().iter();
    let kinds: Vec<_> = kinds.map(|item| item["type"].as_str().unwrap()).collect();
    let call = "function_call";
    assert_eq!(
        kinds,
        ["message", "message", call, call, "function_call_output"]
    );

    let streamed = assembled(&written(&answer)).unwrap();
    assert_eq!(streamed.choices, answer.choices);
    assert_eq!(streamed.usage, answer.usage);
}

#[test]
fn a_proof_that_comes_after_its_thought_is_not_lost() {
    let begun = Part::Reasoning {
        text: String::new(),
        opaque: Opaque::default(),
    };
    let opaque = Opaque::default().with("anthropic", "signature", "S".into());
    let all = [
        Delta::Begin {
            id: "a".into(),
            model: "m".into(),
        },
        Delta::Part {
            choice: 0,
            part: 0,
            begun,
        },
        Delta::Text {
            choice: 0,
            part: 0,
            text: "Hm.".into(),
        },
        Delta::Part {
            choice: 0,
            part: 1,
            begun: Part::text(""),
        },
        Delta::Text {
            choice: 0,
            part: 1,
            text: "Yes".into(),
        },
        Delta::Opaque {
            choice: 0,
            part: 0,
            opaque: opaque.clone(),
        },
        Delta::Text {
            choice: 0,
            part: 1,
            text: ".".into(),
        },
        Delta::Finish {
            choice: 0,
            reason: Finish::Stop,
        },
        Delta::End,
    ];
    let (mut writer, mut out) = (Responses.writer(7, Delivery::Stream), Vec::new());
    for delta in &all {
        writer.write(delta, &mut out);
    }
    let answer = assembled(&events(&out)).unwrap();
    let thought = Part::Reasoning {
        text: "Hm.".into(),
        opaque,
    };
    assert_eq!(answer.choices[0].parts, [thought, Part::text("Yes.")]);
}

#[test]
fn calls_that_grow_side_by_side_stay_apart() {
    let call = |id: &str| Part::ToolCall {
        id: id.into(),
        name: "look".into(),
        arguments: String::new(),
        opaque: Opaque::default(),
    };
    let begin = |part, id| Delta::Part {
        choice: 0,
        part,
        begun: call(id),
    };
    let text = |part, text: &str| Delta::Text {
        choice: 0,
        part,
        text: text.into(),
    };
    let all = [
        begin(0, "call_a"),
        begin(1, "call_b"),
        text(0, "{\"a\""),
        text(1, "{\"b\""),
        text(0, ":1}"),
        text(1, ":2}"),
        Delta::Finish {
            choice: 0,
            reason: Finish::Tools,
        },
        Delta::End,
    ];
    let (mut writer, mut out) = (Responses.writer(7, Delivery::Stream), Vec::new());
    for delta in &all {
        writer.write(delta, &mut out);
    }
    let answer = assembled(&events(&out)).unwrap();
    let arguments = answer.choices[0].parts.iter().map(|part| match part {
        Part::ToolCall { id, arguments, .. } => (id.as_str(), arguments.as_str()),
        other => panic!("{other:?}"),
    });
    let wanted = [("call_a", "{\"a\":1}"), ("call_b", "{\"b\":2}")];
    assert_eq!(arguments.collect::<Vec<_>>(), wanted);
}

#[test]
fn pictures_of_a_model_are_items() {
    let answer = ChatAnswer {
        choices: vec![Choice {
            parts: vec![Part::Image {
                source: Source::Data {
                    media_type: "image/png".into(),
                    data: "iVBO".into(),
                },
                detail: None,
                opaque: Opaque::default(),
            }],
            finish: Finish::Stop,
            logprobs: None,
        }],
        ..ChatAnswer::default()
    };
    let item = &Responses.answer(&answer, 7)["output"][0];
    assert_eq!(item["type"], "image_generation_call");
    assert_eq!(
        (&item["result"], &item["output_format"]),
        (&json!("iVBO"), &json!("png"))
    );
}

#[test]
fn items_of_the_provider_alone_reach_nobody_else_unsaid() {
    let search = json!({ "type": "web_search_call", "id": "ws_1", "status": "completed" });
    let reference = json!({ "type": "item_reference", "id": "msg_1" });
    let input = json!([{ "role": "user", "content": "hi" }, search, reference]);
    let request = asked(json!({ "model": "m", "input": input }));
    assert_eq!(request.messages[1].role, Role::Assistant);
    // Other wires refuse what a user said and they do not understand.
    assert_eq!(request.messages[2].role, Role::User);
    let sent = encoded(&request);
    assert_eq!(sent["input"][1], search);
    assert_eq!(sent["input"][2], reference);
}

#[test]
fn calls_lose_their_ids_with_the_thoughts_that_led_to_them() {
    let mut output = whole("tools")["output"].as_array().unwrap().clone();
    let ids = |items: &[Value]| {
        let body = encoded(&asked(json!({ "model": "o4-mini", "input": items })));
        let items = body["input"].as_array().unwrap().clone();
        items.iter().filter(|item| item.get("id").is_some()).count()
    };
    assert_eq!(ids(&output), 4);
    output[0]
        .as_object_mut()
        .unwrap()
        .remove("encrypted_content");
    assert_eq!(ids(&output), 0);
}

fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("message"),
        Just("reasoning"),
        Just("function_call"),
        Just("output_text"),
        Just("input_text"),
        Just("refusal"),
        Just("assistant"),
        Just("matrix1.e30"),
        Just("ä"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.prop_map(Value::from),
    ];
    let name = prop_oneof![
        Just("type"),
        Just("role"),
        Just("content"),
        Just("id"),
        Just("item"),
        Just("delta"),
        Just("response"),
        Just("output"),
        Just("input"),
        Just("model"),
        Just("summary"),
        Just("text"),
        Just("output_index"),
        Just("content_index"),
        Just("part"),
        Just("encrypted_content"),
        Just("name"),
        Just("call_id"),
        Just("status"),
        Just("error"),
        Just("tools"),
        Just("tool_choice"),
        Just("logprobs"),
        Just("extra_content"),
    ];
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((name.clone(), inner), 0..7).prop_map(|fields| {
                fields
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect()
            }),
        ]
    })
}

fn any_part() -> impl Strategy<Value = Part> {
    let opaque = (0_usize..5).prop_map(|kind| match kind {
        0 => Opaque::default().with("openai", "id", "msg_0a".into()),
        1 => Opaque::default().with("openai", "id", "msg_0b".into()),
        2 => Opaque::default().with("google", "thought_signature", "c2ln".into()),
        _ => Opaque::default(),
    });
    (0_usize..4, "[a-zä\\n]{0,6}", opaque).prop_map(|(kind, text, opaque)| match kind {
        0 => Part::Refusal { text },
        1 => Part::Reasoning { text, opaque },
        2 => Part::ToolCall {
            id: "call_1".into(),
            name: "look".into(),
            arguments: text,
            opaque,
        },
        _ => Part::Text { text, opaque },
    })
}

proptest! {
    #[test]
    fn any_answer_is_the_same_both_ways(
        parts in proptest::collection::vec(any_part(), 0..8),
        finish in prop_oneof![
            Just(Finish::Stop), Just(Finish::Length), Just(Finish::Filter),
            Just(Finish::Other("odd".into())),
        ],
    ) {
        let choice = Choice { parts: parts.clone(), finish, logprobs: None };
        let answer = ChatAnswer {
            id: "a".into(),
            choices: vec![choice],
            ..ChatAnswer::default()
        };
        let told = written(&answer);
        let streamed = assembled(&told).unwrap();
        prop_assert_eq!(&streamed, &Responses.decode(Responses.answer(&answer, 7)).unwrap());
        let words = |parts: &[Part]| -> Vec<String> {
            let words = parts.iter().map(|part| match part {
                Part::Text { text, .. } | Part::Refusal { text } | Part::Reasoning { text, .. } => {
                    text.clone()
                }
                Part::ToolCall { arguments, .. } => arguments.clone(),
                other => panic!("{other:?}"),
            });
            words.collect()
        };
        prop_assert_eq!(words(&streamed.choices[0].parts), words(&parts));
        for end in 0..told.len() {
            prop_assert!(matches!(assembled(&told[..end]), Err(WireError::Cut(_))));
        }
    }

    #[test]
    fn nothing_panics(body in any_json(), events in proptest::collection::vec(
        (0_usize..14, any_json()), 0..12,
    )) {
        const KINDS: [&str; 14] = [
            "response.created", "response.output_item.added", "response.output_item.done",
            "response.content_part.added", "response.output_text.delta",
            "response.refusal.delta", "response.function_call_arguments.delta",
            "response.reasoning_summary_text.delta", "response.reasoning_text.delta",
            "response.completed", "response.incomplete", "response.failed", "error", "odd",
        ];
        if let Ok(answer) = Responses.decode(body.clone()) {
            Responses.answer(&answer, 7);
        }
        if let Ok(asked) = Responses.asked(body.clone()) {
            let _sent = Responses.encode(&asked.request, true);
        }
        Responses.error(&body);
        let (mut reader, mut out) = (Responses.reader(), Vec::new());
        for (kind, mut body) in events {
            if body.is_object() {
                body["type"] = KINDS[kind].into();
            }
            let event = Event { name: None, data: body.to_string() };
            let _read = reader.read(&event, &mut out);
        }
        let _closed = reader.close(&mut out);
        let (mut writer, mut bytes) = (Responses.writer(7, Delivery::Stream), Vec::new());
        for delta in &out {
            writer.write(delta, &mut bytes);
        }
    }

    #[test]
    fn any_body_is_read_or_refused(items in any_json()) {
        let body = json!({ "model": "m", "input": [items.clone()], "tools": [items] });
        if let Ok(asked) = Responses.asked(body) {
            let _sent = Responses.encode(&asked.request, false);
        }
    }
}
