//! Google's protocol, by the examples of its documentation (`transcripts/gemini/SOURCES.md`).

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use matrix_models::chat::{
    ChatAnswer, ChatRequest, Choice, Finish, Format, Message, Opaque, Part, Protocol, Reasoning,
    Role, Sampling, Source, Tool, ToolChoice,
};
use matrix_models::delta::{Assembler, Delta};
use matrix_models::usage::Usage;
use matrix_models::wire::gemini::Gemini;
use matrix_models::wire::ollama::Ollama;
use matrix_models::wire::openai::{Dialect, OpenaiChat};
use matrix_models::wire::sse::{Event, Parser};
use matrix_models::wire::{ClientWire, Encoded, ProviderWire, WireError};
use proptest::prelude::*;
use serde_json::{Value, json};

fn file(name: &str) -> String {
    let place = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts/gemini/");
    std::fs::read_to_string(format!("{place}{name}")).unwrap()
}

fn whole(name: &str) -> ChatAnswer {
    let body = serde_json::from_str(&file(&format!("{name}.json"))).unwrap();
    Gemini.decode(body).unwrap()
}

fn events(name: &str) -> Vec<Event> {
    let (mut parser, mut out) = (Parser::default(), Vec::new());
    let text = file(&format!("{name}.sse"));
    parser.push(text.as_bytes(), &mut out).unwrap();
    parser.close(&mut out).unwrap();
    out
}

fn deltas(events: &[Event]) -> (Vec<Delta>, Result<(), WireError>) {
    let (mut reader, mut out) = (Gemini.reader(), Vec::new());
    for event in events {
        if let Err(error) = reader.read(event, &mut out) {
            return (out, Err(error));
        }
    }
    let closed = reader.close(&mut out);
    (out, closed)
}

fn streamed(name: &str) -> ChatAnswer {
    let (deltas, closed) = deltas(&events(name));
    closed.unwrap();
    let mut assembler = Assembler::default();
    for delta in &deltas {
        assembler.push(delta);
    }
    assert!(assembler.ended());
    assembler.finish()
}

fn encoded(request: &ChatRequest) -> Encoded {
    Gemini.encode(request, true).unwrap()
}

fn body(request: &ChatRequest) -> Value {
    encoded(request).body
}

fn asked(model: &str, messages: Vec<Message>) -> ChatRequest {
    ChatRequest {
        model: model.to_owned(),
        messages,
        ..ChatRequest::default()
    }
}

fn message(role: Role, parts: Vec<Part>) -> Message {
    Message {
        role,
        parts,
        name: None,
    }
}

fn call(id: &str, name: &str, opaque: Opaque) -> Part {
    Part::ToolCall {
        id: id.into(),
        name: name.into(),
        arguments: r#"{"location":"Paris"}"#.into(),
        opaque,
    }
}

fn result(id: &str, text: &str, failed: bool) -> Part {
    Part::ToolResult {
        call: id.into(),
        parts: vec![Part::text(text)],
        failed,
        opaque: Opaque::default(),
    }
}

fn signed(signature: &str) -> Opaque {
    Opaque::default().with("google", "thought_signature", signature.into())
}

#[test]
fn a_stream_is_the_same_answer_as_the_whole() {
    for name in ["text", "thoughts", "calls", "signed_end", "code"] {
        assert_eq!(streamed(name), whole(name), "{name}");
    }
}

#[test]
fn a_stream_that_is_cut_anywhere_is_an_error() {
    for name in ["text", "thoughts", "calls", "signed_end", "code"] {
        let events = events(name);
        for end in 0..events.len() {
            let (deltas, closed) = deltas(&events[..end]);
            assert!(matches!(closed, Err(WireError::Cut(_))), "{name} {end}");
            assert!(!deltas.contains(&Delta::End), "{name} {end}");
        }
    }
}

#[test]
fn thoughts_are_part_of_the_output() {
    let answer = whole("thoughts");
    let usage = Usage {
        input: 12,
        output: 68,
        reasoning: 64,
        ..Usage::default()
    };
    assert_eq!(answer.usage, Some(usage));
    assert_eq!(answer.choices[0].text(), "There are three.");
    assert_eq!(answer.model, "gemini-2.5-flash");
    assert_eq!(answer.id, "mAitaLmkHPPlz7IPvtfUqQ4");
    // What Google's own tools brought was read by the model.
    assert_eq!(whole("code").usage.unwrap().input, 120);
}

#[test]
fn calls_made_at_once_have_ids_and_keep_the_signature() {
    let choice = &streamed("calls").choices[0];
    assert_eq!(choice.finish, Finish::Tools);
    let expected = [
        Part::ToolCall {
            id: "gemini_call_mAitaLmkHPPlz7IPvtfUqQ_0".into(),
            name: "get_current_temperature".into(),
            arguments: r#"{"location":"Paris"}"#.into(),
            opaque: signed("U2lnbmF0dXJlX0E="),
        },
        Part::ToolCall {
            id: "gemini_call_mAitaLmkHPPlz7IPvtfUqQ_1".into(),
            name: "get_current_temperature".into(),
            arguments: r#"{"location":"London"}"#.into(),
            opaque: Opaque::default(),
        },
    ];
    assert_eq!(choice.parts, expected);
}

#[test]
fn a_call_of_an_id_keeps_it() {
    let answer = Gemini
        .decode(
            json!({ "candidates": [{ "finishReason": "STOP", "content": { "parts": [
            { "functionCall": { "id": "fs8kd2", "name": "now" } },
        ] } }] }),
        )
        .unwrap();
    let Part::ToolCall { id, arguments, .. } = &answer.choices[0].parts[0] else {
        panic!("no call")
    };
    assert_eq!((id.as_str(), arguments.as_str()), ("fs8kd2", "{}"));
}

#[test]
fn what_the_model_said_goes_back_unchanged() {
    for name in ["calls", "signed_end", "code"] {
        let source: Value = serde_json::from_str(&file(&format!("{name}.json"))).unwrap();
        let parts = streamed(name).choices[0].parts.clone();
        let request = asked(
            "gemini-3-pro-preview",
            vec![
                Message::text(Role::User, "?"),
                message(Role::Assistant, parts),
            ],
        );
        let sent = &body(&request)["contents"][1];
        assert_eq!(sent["role"], "model");
        assert_eq!(
            sent["parts"], source["candidates"][0]["content"]["parts"],
            "{name}"
        );
    }
}

/// A client of another protocol carries what it does not understand.
#[test]
fn a_signature_comes_back_through_a_client_of_another_protocol() {
    let client = OpenaiChat {
        dialect: Dialect::Compatible,
    };
    let answer = client.answer(&streamed("calls"), 0);
    let mut messages = vec![
        json!({ "role": "user", "content": "?" }),
        answer["choices"][0]["message"].clone(),
    ];
    for call in answer["choices"][0]["message"]["tool_calls"]
        .as_array()
        .unwrap()
    {
        messages.push(json!({ "role": "tool", "tool_call_id": call["id"], "content": "22" }));
    }
    let request = json!({ "model": "gemini-3-pro-preview", "messages": messages });
    let contents = body(&client.asked(request).unwrap().request)["contents"].clone();
    let source: Value = serde_json::from_str(&file("calls.json")).unwrap();
    assert_eq!(
        contents[1]["parts"],
        source["candidates"][0]["content"]["parts"]
    );
    let results = contents[2]["parts"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    assert_eq!(
        results[1]["functionResponse"]["name"],
        "get_current_temperature"
    );
}

#[test]
fn a_thought_goes_back_only_if_it_is_signed() {
    let thought = |opaque| Part::Reasoning {
        text: "hm".into(),
        opaque,
    };
    let foreign = Opaque::default().with("anthropic", "signature", "x".into());
    let request = asked(
        "gemini-2.5-pro",
        vec![message(
            Role::Assistant,
            vec![
                thought(signed("c2ln")),
                thought(foreign),
                Part::text("yes"),
                Part::Other {
                    protocol: Protocol::Anthropic,
                    value: json!({ "type": "server_tool_use" }),
                },
            ],
        )],
    );
    assert_eq!(
        body(&request)["contents"][0]["parts"],
        json!([
            { "text": "hm", "thought": true, "thoughtSignature": "c2ln" },
            { "text": "yes" },
        ])
    );
}

#[test]
fn a_call_without_a_signature_is_sent_with_the_documented_stand_in() {
    let messages = vec![
        Message::text(Role::User, "?"),
        message(
            Role::Assistant,
            vec![
                call("toolu_1", "a", Opaque::default()),
                call("toolu_2", "b", Opaque::default()),
            ],
        ),
    ];
    let parts = |model: &str| body(&asked(model, messages.clone()))["contents"][1]["parts"].clone();
    let three = parts("gemini-3-flash-preview");
    assert_eq!(
        three[0]["thoughtSignature"],
        "skip_thought_signature_validator"
    );
    assert_eq!(three[1].get("thoughtSignature"), None);
    assert_eq!(
        parts("gemini-2.5-flash")[0].get("thoughtSignature"),
        None,
        "older models want none"
    );
}

#[test]
fn results_have_the_names_of_their_calls_and_come_at_once() {
    let request = asked(
        "gemini-2.5-flash",
        vec![
            Message::text(Role::User, "?"),
            message(
                Role::Assistant,
                vec![
                    call("x1", "weather", Opaque::default()),
                    call("gemini_call_r_1", "clock", Opaque::default()),
                ],
            ),
            message(Role::Tool, vec![result("x1", r#"{"c":22}"#, false)]),
            message(
                Role::Tool,
                vec![result("gemini_call_r_1", "no clock", true)],
            ),
            Message::text(Role::User, "well?"),
        ],
    );
    let contents = &body(&request)["contents"];
    assert_eq!(
        contents[2],
        json!({ "role": "user", "parts": [
            { "functionResponse": {
                "name": "weather", "response": { "output": "{\"c\":22}" }, "id": "x1",
            } },
            { "functionResponse": { "name": "clock", "response": { "error": "no clock" } } },
        ] })
    );
    assert_eq!(
        contents[3],
        json!({ "role": "user", "parts": [{ "text": "well?" }] })
    );
    let lost = asked(
        "gemini-2.5-flash",
        vec![message(Role::Tool, vec![result("nobody", "x", false)])],
    );
    let error = Gemini.encode(&lost, false).unwrap_err();
    assert!(error.to_string().contains("nobody"), "{error}");
}

#[test]
fn the_model_never_speaks_twice_in_a_row() {
    let request = asked(
        "gemini-2.5-flash",
        vec![
            Message::text(Role::User, "?"),
            Message::text(Role::Assistant, "I look."),
            message(Role::Assistant, vec![call("x", "a", Opaque::default())]),
        ],
    );
    let contents = body(&request)["contents"].clone();
    assert_eq!(contents.as_array().unwrap().len(), 2);
    assert_eq!(contents[1]["parts"].as_array().unwrap().len(), 2);
}

/// A request that says all there is.
fn everything(schema: &Value) -> ChatRequest {
    ChatRequest {
        tools: vec![
            Tool::Function {
                name: "weather".into(),
                description: Some("The weather.".into()),
                parameters: Some(schema.clone()),
                strict: Some(true),
                opaque: Opaque::default(),
            },
            Tool::Provider {
                protocol: Protocol::Gemini,
                value: json!({ "googleSearch": {} }),
            },
        ],
        tool_choice: Some(ToolChoice::Named("weather".into())),
        parallel_tools: Some(false),
        format: Some(Format::Schema {
            name: "place".into(),
            description: None,
            schema: schema.clone(),
            strict: Some(true),
        }),
        max_tokens: Some(100),
        sampling: Sampling {
            temperature: Some(0.5),
            top_p: Some(0.9),
            top_k: Some(40),
            seed: Some(7),
            frequency_penalty: Some(0.1),
            presence_penalty: Some(0.2),
            stop: vec!["END".into()],
            count: Some(2),
        },
        user: Some("u".into()),
        ..asked(
            "gemini-2.5-flash",
            vec![
                Message::text(Role::System, "Be short."),
                Message::text(Role::User, "Hello"),
                Message::text(Role::Developer, "Be kind."),
            ],
        )
    }
}

#[test]
fn instructions_tools_and_settings_are_said() {
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    let encoded = encoded(&everything(&schema));
    assert_eq!(
        encoded.body,
        json!({
            "systemInstruction": { "parts": [{ "text": "Be short." }, { "text": "Be kind." }] },
            "contents": [{ "role": "user", "parts": [{ "text": "Hello" }] }],
            "tools": [
                { "functionDeclarations": [{
                    "name": "weather",
                    "description": "The weather.",
                    "parametersJsonSchema": schema,
                }] },
                { "googleSearch": {} },
            ],
            "toolConfig": { "functionCallingConfig": {
                "mode": "ANY", "allowedFunctionNames": ["weather"],
            } },
            "generationConfig": {
                "maxOutputTokens": 100,
                "temperature": 0.5,
                "topP": 0.9,
                "topK": 40,
                "seed": 7,
                "presencePenalty": 0.2,
                "frequencyPenalty": 0.1,
                "stopSequences": ["END"],
                "candidateCount": 2,
                "responseMimeType": "application/json",
                "responseJsonSchema": schema,
            },
        })
    );
    assert_eq!(encoded.dropped, ["parallel_tool_calls", "strict", "user"]);
}

#[test]
fn choices_have_their_modes() {
    let request = |choice| ChatRequest {
        tools: vec![Tool::Function {
            name: "a".into(),
            description: None,
            parameters: None,
            strict: None,
            opaque: Opaque::default(),
        }],
        tool_choice: Some(choice),
        ..asked("gemini-2.5-flash", vec![Message::text(Role::User, "?")])
    };
    for (choice, mode) in [
        (ToolChoice::Auto, "AUTO"),
        (ToolChoice::None, "NONE"),
        (ToolChoice::Required, "ANY"),
    ] {
        let config = body(&request(choice))["toolConfig"]["functionCallingConfig"].clone();
        assert_eq!(config, json!({ "mode": mode }));
    }
}

#[test]
fn thinking_is_asked_for_as_the_model_understands_it() {
    let config = |model: &str, effort: Option<&str>, tokens: Option<u64>| {
        let request = ChatRequest {
            reasoning: Some(Reasoning {
                effort: effort.map(str::to_owned),
                tokens,
                summary: None,
            }),
            ..asked(model, vec![Message::text(Role::User, "?")])
        };
        body(&request)["generationConfig"]["thinkingConfig"].clone()
    };
    let budget = |tokens: u64| json!({ "thinkingBudget": tokens, "includeThoughts": true });
    let level = |word: &str| json!({ "thinkingLevel": word, "includeThoughts": true });
    let (two, three) = ("gemini-2.5-flash", "gemini-3-flash-preview");
    assert_eq!(config(two, Some("low"), None), budget(1_024));
    assert_eq!(config(two, Some("high"), None), budget(24_576));
    assert_eq!(config(two, None, Some(2_000)), budget(2_000));
    assert_eq!(
        config(two, Some("none"), None),
        json!({ "thinkingBudget": 0 })
    );
    assert_eq!(config(two, None, Some(0)), json!({ "thinkingBudget": 0 }));
    assert_eq!(config(three, Some("medium"), Some(9)), level("MEDIUM"));
    assert_eq!(config(three, Some("xhigh"), None), level("HIGH"));
    assert_eq!(config(three, None, Some(9)), budget(9));
    assert_eq!(
        config(three, Some("none"), None),
        json!({ "thinkingLevel": "MINIMAL" })
    );
    assert_eq!(
        config("gemini-3-pro-preview", Some("minimal"), None),
        level("LOW")
    );
    assert_eq!(config(three, None, None), Value::Null);
}

#[test]
fn pictures_and_files_are_sent_or_refused() {
    let sent = |part: Part| {
        let request = asked("gemini-2.5-flash", vec![message(Role::User, vec![part])]);
        let encoded = Gemini.encode(&request, false);
        encoded.map(|encoded| encoded.body["contents"][0]["parts"][0].clone())
    };
    let picture = |source| Part::Image {
        source,
        detail: None,
        opaque: Opaque::default(),
    };
    let document = |source| Part::File {
        source,
        name: None,
        opaque: Opaque::default(),
    };
    let data = Source::Data {
        media_type: "image/png".into(),
        data: "aGk=".into(),
    };
    assert_eq!(
        sent(picture(data)).unwrap(),
        json!({ "inlineData": { "mimeType": "image/png", "data": "aGk=" } })
    );
    assert_eq!(
        sent(Part::Audio {
            format: "wav".into(),
            data: "aGk=".into()
        })
        .unwrap(),
        json!({ "inlineData": { "mimeType": "audio/wav", "data": "aGk=" } })
    );
    assert_eq!(
        sent(picture(Source::Url("gs://bucket/a.JPG".into()))).unwrap(),
        json!({ "fileData": { "fileUri": "gs://bucket/a.JPG", "mimeType": "image/jpeg" } })
    );
    assert_eq!(
        sent(document(Source::Url(
            "https://example.org/a.pdf?x=1".into()
        )))
        .unwrap(),
        json!({ "fileData": {
            "fileUri": "https://example.org/a.pdf?x=1", "mimeType": "application/pdf",
        } })
    );
    assert_eq!(
        sent(document(Source::Id("files/abc".into()))).unwrap(),
        json!({ "fileData": {
            "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc",
        } })
    );
    for refused in [
        picture(Source::Url("https://example.org/a.png".into())),
        picture(Source::Id("file-abc".into())),
        document(Source::Url("gs://bucket/what".into())),
        document(Source::Url("http://example.org/a.pdf".into())),
    ] {
        assert!(matches!(sent(refused), Err(WireError::Unsupported(_))));
    }
}

#[test]
fn what_only_others_have_is_refused() {
    let other = Part::Other {
        protocol: Protocol::OpenaiChat,
        value: json!({}),
    };
    let request = asked("gemini-2.5-flash", vec![message(Role::User, vec![other])]);
    assert!(matches!(
        Gemini.encode(&request, false),
        Err(WireError::Unsupported(_))
    ));
    let request = ChatRequest {
        tools: vec![Tool::Provider {
            protocol: Protocol::Anthropic,
            value: json!({}),
        }],
        ..asked("gemini-2.5-flash", vec![Message::text(Role::User, "?")])
    };
    assert!(matches!(
        Gemini.encode(&request, false),
        Err(WireError::Unsupported(_))
    ));
}

#[test]
fn no_reason_but_one_is_a_clean_end() {
    let finish = |reason: Option<&str>| {
        let body = json!({ "candidates": [{
            "content": { "parts": [{ "text": "a" }] }, "finishReason": reason,
        }] });
        Gemini.decode(body).unwrap().choices[0].finish.clone()
    };
    assert_eq!(finish(Some("STOP")), Finish::Stop);
    assert_eq!(finish(Some("MAX_TOKENS")), Finish::Length);
    assert_eq!(finish(Some("SAFETY")), Finish::Filter);
    assert_eq!(finish(Some("RECITATION")), Finish::Filter);
    for word in ["UNEXPECTED_TOOL_CALL", "OTHER", "SOMETHING_NEW"] {
        assert_eq!(finish(Some(word)), Finish::Other(word.into()));
    }
    let none = Finish::Other("FINISH_REASON_UNSPECIFIED".into());
    assert_eq!(finish(None), none);
    let malformed = whole("malformed_call");
    assert_eq!(
        malformed.choices[0].finish,
        Finish::Other("MALFORMED_FUNCTION_CALL".into())
    );
    assert!(malformed.extra.contains_key("finishMessage"));
}

#[test]
fn a_prompt_that_was_refused_is_filtered_in_both_forms() {
    let answer = whole("blocked");
    assert_eq!(answer.choices[0].finish, Finish::Filter);
    assert_eq!(
        answer.extra["promptFeedback"]["blockReason"],
        "PROHIBITED_CONTENT"
    );
    let event = Event {
        name: None,
        data: file("blocked.json"),
    };
    let (deltas, closed) = deltas(&[event]);
    closed.unwrap();
    let mut assembler = Assembler::default();
    for delta in &deltas {
        assembler.push(delta);
    }
    assert_eq!(assembler.finish(), answer);
}

#[test]
fn errors_are_told() {
    let error: Value = serde_json::from_str(&file("error.json")).unwrap();
    for body in [error.clone(), json!([error])] {
        let complaint = Gemini.error(&body).unwrap();
        assert_eq!(complaint.status, 400);
        assert_eq!(complaint.kind, "INVALID_ARGUMENT");
        assert_eq!(complaint.code.as_deref(), Some("API_KEY_INVALID"));
        assert!(matches!(Gemini.decode(body), Err(WireError::Told { .. })));
    }
    let (_, closed) = deltas(&events("error"));
    assert_eq!(
        closed,
        Err(WireError::Told {
            kind: "UNAVAILABLE".into(),
            message: "The model is overloaded. Please try again later.".into(),
        })
    );
    assert_eq!(Gemini.error(&json!({ "candidates": [] })), None);
}

#[test]
fn a_stream_that_came_as_a_list_is_read() {
    let list: Vec<Value> = events("calls")
        .iter()
        .map(|event| serde_json::from_str(&event.data).unwrap())
        .collect();
    assert_eq!(Gemini.decode(Value::Array(list)).unwrap(), whole("calls"));
}

#[test]
fn answers_that_skip_a_number_are_no_answers() {
    let body = json!({ "candidates": [{ "index": 1, "finishReason": "STOP" }] });
    assert!(Gemini.decode(body.clone()).is_err());
    let event = Event {
        name: None,
        data: body.to_string(),
    };
    assert!(matches!(deltas(&[event]).1, Err(WireError::Cut(_))));
    let body = json!({ "candidates": [{ "index": 99_999, "finishReason": "STOP" }] });
    assert!(Gemini.decode(body).is_err());
    assert!(Gemini.decode(json!({ "candidates": [] })).is_err());
}

#[test]
fn several_answers_are_told_apart() {
    let one = |number: Option<u64>, text: &str| {
        json!({ "index": number, "finishReason": "STOP", "content": { "parts": [
            { "text": text }, { "functionCall": { "name": "a" } },
        ] } })
    };
    let plain = |text: &str| {
        let mut one = one(None, text);
        one.as_object_mut().unwrap().shift_remove("index");
        one
    };
    for candidates in [
        json!([one(Some(1), "b"), plain("a")]),
        json!([plain("a"), one(Some(1), "b")]),
        json!([plain("a"), plain("b")]),
    ] {
        let answer = Gemini
            .decode(json!({ "candidates": candidates, "responseId": "r" }))
            .unwrap();
        let texts: Vec<String> = answer.choices.iter().map(Choice::text).collect();
        assert_eq!(texts, ["a", "b"]);
        let ids = answer.choices.iter().map(|choice| match &choice.parts[1] {
            Part::ToolCall { id, .. } => id.clone(),
            _ => String::new(),
        });
        assert_eq!(
            ids.collect::<Vec<_>>(),
            ["gemini_call_r_0", "gemini_call_r_1_0"]
        );
    }
}

#[test]
fn a_picture_the_model_drew_is_a_picture() {
    let blob = json!({ "mimeType": "image/png", "data": "aGk=" });
    let body = json!({ "candidates": [{ "finishReason": "STOP", "content": { "parts": [
        { "inlineData": blob, "thoughtSignature": "c2ln" },
        { "inlineData": blob, "thought": true },
    ] } }] });
    let parts = Gemini.decode(body).unwrap().choices[0].parts.clone();
    let Part::Image { opaque, .. } = &parts[0] else {
        panic!("no picture")
    };
    assert_eq!(*opaque, signed("c2ln"));
    assert!(matches!(parts[1], Part::Other { .. }));
}

fn any_json() -> impl Strategy<Value = Value> {
    let names = "(candidates|content|parts|text|thought|functionCall|name|args|index|finishReason|\
                 error|usageMetadata|promptTokenCount|thoughtSignature|inlineData|promptFeedback|x)";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-zA-Z/:_]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((names, inner), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_that_comes_makes_it_fall_over(values in proptest::collection::vec(any_json(), 0..5)) {
        let (mut reader, mut out) = (Gemini.reader(), Vec::new());
        for value in values {
            let _answer = Gemini.decode(value.clone());
            let _complaint = Gemini.error(&value);
            let _answer = Gemini.decode(json!({ "candidates": [{ "content": { "parts": [value] } }] }));
            let event = Event { name: None, data: value.to_string() };
            let _read = reader.read(&event, &mut out);
        }
        let _closed = reader.close(&mut out);
    }

    #[test]
    fn nothing_that_is_asked_makes_it_fall_over(
        texts in proptest::collection::vec(".{0,12}", 4),
        kinds in proptest::collection::vec((0_usize..9, 0_usize..5), 0..12),
        value in any_json(),
    ) {
        let messages = kinds.into_iter().map(|(kind, role)| {
            let [id, name, arguments, text] = [0, 1, 2, 3].map(|place: usize| texts[place].clone());
            let opaque = Opaque::default().with("google", "thought_signature", value.clone());
            let part = match kind {
                0 => Part::text(text),
                1 => Part::Image { source: Source::Url(text), detail: Some(name), opaque },
                2 => Part::File { source: Source::Id(id), name: None, opaque },
                3 => Part::Audio { format: name, data: text },
                4 => Part::Reasoning { text, opaque },
                5 => Part::ToolCall { id, name, arguments, opaque },
                6 => Part::ToolResult { call: id, parts: vec![Part::text(text)], failed: true, opaque },
                7 => Part::Refusal { text },
                _ => Part::Other { protocol: Protocol::Gemini, value: value.clone() },
            };
            let roles = [Role::System, Role::Developer, Role::User, Role::Assistant, Role::Tool];
            message(roles[role], vec![part])
        });
        let request = asked(&format!("gemini-3{}", texts[0]), messages.collect());
        let _encoded = Gemini.encode(&request, true);
        let _encoded = Ollama.encode(&request, true);
    }

    #[test]
    fn no_text_makes_it_fall_over(data in ".{0,40}") {
        let event = Event { name: None, data };
        let _read = Gemini.reader().read(&event, &mut Vec::new());
    }
}
