//! Ollama's protocol, by the examples of its documentation (`transcripts/ollama/SOURCES.md`).

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use matrix_models::chat::{
    ChatAnswer, ChatRequest, Finish, Format, Message, Opaque, Part, Protocol, Reasoning, Role,
    Sampling, Source, Tool, ToolChoice,
};
use matrix_models::delta::{Assembler, Delta};
use matrix_models::usage::Usage;
use matrix_models::wire::ollama::Ollama;
use matrix_models::wire::sse::Event;
use matrix_models::wire::{ProviderWire, WireError};
use proptest::prelude::*;
use serde_json::{Value, json};

fn file(name: &str) -> String {
    let place = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts/ollama/");
    std::fs::read_to_string(format!("{place}{name}")).unwrap()
}

fn whole(name: &str) -> ChatAnswer {
    let body = serde_json::from_str(&file(&format!("{name}.json"))).unwrap();
    Ollama.decode(body).unwrap()
}

fn lines(name: &str) -> Vec<Event> {
    let text = file(&format!("{name}.ndjson"));
    let lines = text.lines().map(|line| Event {
        name: None,
        data: line.to_owned(),
    });
    lines.collect()
}

fn deltas(events: &[Event]) -> (Vec<Delta>, Result<(), WireError>) {
    let (mut reader, mut out) = (Ollama.reader(), Vec::new());
    for event in events {
        if let Err(error) = reader.read(event, &mut out) {
            return (out, Err(error));
        }
    }
    let closed = reader.close(&mut out);
    (out, closed)
}

fn asked(messages: Vec<Message>) -> ChatRequest {
    ChatRequest {
        model: "qwen3".into(),
        messages,
        ..ChatRequest::default()
    }
}

fn hello() -> ChatRequest {
    asked(vec![Message::text(Role::User, "Hello")])
}

fn tool(parameters: Option<Value>) -> Tool {
    Tool::Function {
        name: "get_weather".into(),
        description: Some("The weather.".into()),
        parameters,
        strict: None,
        opaque: Opaque::default(),
    }
}

fn body(request: &ChatRequest) -> Value {
    Ollama.encode(request, false).unwrap().body
}

#[test]
fn a_stream_is_the_same_answer_as_the_whole() {
    for name in ["text", "thinking", "calls"] {
        let (deltas, closed) = deltas(&lines(name));
        closed.unwrap();
        let mut assembler = Assembler::default();
        for delta in &deltas {
            assembler.push(delta);
        }
        assert!(assembler.ended());
        assert_eq!(assembler.finish(), whole(name), "{name}");
    }
}

#[test]
fn a_stream_that_is_cut_anywhere_is_an_error() {
    for name in ["text", "thinking", "calls"] {
        let lines = lines(name);
        for end in 0..lines.len() {
            let (deltas, closed) = deltas(&lines[..end]);
            assert!(matches!(closed, Err(WireError::Cut(_))), "{name} {end}");
            assert!(!deltas.contains(&Delta::End), "{name} {end}");
        }
    }
    let unfinished = json!({ "model": "m", "message": { "content": "a" }, "done": false });
    assert!(matches!(Ollama.decode(unfinished), Err(WireError::Cut(_))));
}

#[test]
fn an_answer_says_what_it_used_and_why_it_ends() {
    let answer = whole("text");
    let usage = Usage {
        input: 26,
        output: 282,
        ..Usage::default()
    };
    assert_eq!(answer.usage, Some(usage));
    assert_eq!(answer.choices[0].finish, Finish::Stop);
    assert_eq!(answer.protocol, Some(Protocol::Ollama));
    assert_eq!(
        whole("load").choices[0].finish,
        Finish::Other("load".into())
    );
    let finish = |reason: Value| {
        let body = json!({ "message": { "content": "a" }, "done": true, "done_reason": reason });
        Ollama.decode(body).unwrap().choices[0].finish.clone()
    };
    assert_eq!(finish("length".into()), Finish::Length);
    assert_eq!(finish(Value::Null), Finish::Stop);
    assert_eq!(finish("new".into()), Finish::Other("new".into()));
}

#[test]
fn calls_stand_after_the_words_and_have_ids() {
    let choice = &whole("calls").choices[0];
    assert_eq!(choice.finish, Finish::Tools);
    let call = |id: &str, arguments: &str| Part::ToolCall {
        id: id.into(),
        name: "get_weather".into(),
        arguments: arguments.into(),
        opaque: Opaque::default(),
    };
    let expected = [
        Part::text("I look."),
        call("call_20250707T20221919314Z_0", r#"{"city":"Tokyo"}"#),
        call("call_ojxd1lqp", r#"{"city":"Paris","format":"celsius"}"#),
    ];
    assert_eq!(choice.parts, expected);
}

#[test]
fn errors_are_told() {
    let told = deltas(&lines("error")).1;
    assert_eq!(
        told,
        Err(WireError::Told {
            kind: "error".into(),
            message: "an error was encountered while running the model".into(),
        })
    );
    let body: Value = serde_json::from_str(&file("error.json")).unwrap();
    let complaint = Ollama.error(&body).unwrap();
    assert_eq!(complaint.message, "model 'llama9' not found");
    assert!(matches!(Ollama.decode(body), Err(WireError::Told { .. })));
    assert_eq!(Ollama.error(&json!({ "done": true })), None);
}

#[test]
fn a_conversation_with_tools_is_said() {
    let request = asked(vec![
        Message::text(Role::Developer, "Be short."),
        Message::text(Role::User, "?"),
        Message {
            role: Role::Assistant,
            parts: vec![
                Part::Reasoning {
                    text: "hm".into(),
                    opaque: Opaque::default(),
                },
                Part::ToolCall {
                    id: "c1".into(),
                    name: "get_weather".into(),
                    arguments: r#"{"city":"Toronto"}"#.into(),
                    opaque: Opaque::default(),
                },
                Part::ToolCall {
                    id: "c2".into(),
                    name: "get_time".into(),
                    arguments: String::new(),
                    opaque: Opaque::default(),
                },
            ],
            name: None,
        },
        Message {
            role: Role::Tool,
            parts: vec![
                Part::ToolResult {
                    call: "c1".into(),
                    parts: vec![Part::text("11 degrees")],
                    failed: false,
                    opaque: Opaque::default(),
                },
                Part::ToolResult {
                    call: "c2".into(),
                    parts: vec![Part::text("no clock")],
                    failed: true,
                    opaque: Opaque::default(),
                },
            ],
            name: None,
        },
    ]);
    assert_eq!(
        body(&request)["messages"],
        json!([
            { "role": "system", "content": "Be short." },
            { "role": "user", "content": "?" },
            { "role": "assistant", "content": "", "thinking": "hm", "tool_calls": [
                { "id": "c1", "type": "function", "function": {
                    "index": 0, "name": "get_weather", "arguments": { "city": "Toronto" },
                } },
                { "id": "c2", "type": "function", "function": {
                    "index": 1, "name": "get_time", "arguments": {},
                } },
            ] },
            { "role": "tool", "content": "11 degrees", "tool_name": "get_weather",
              "tool_call_id": "c1" },
            { "role": "tool", "content": "Error: no clock", "tool_name": "get_time",
              "tool_call_id": "c2" },
        ])
    );
}

#[test]
fn tools_schemas_and_settings_are_said() {
    let schema = json!({ "type": "object", "properties": { "age": { "type": "integer" } } });
    let request = ChatRequest {
        tools: vec![tool(Some(schema.clone())), tool(None)],
        tool_choice: Some(ToolChoice::Auto),
        parallel_tools: Some(false),
        format: Some(Format::Schema {
            name: "person".into(),
            description: None,
            schema: schema.clone(),
            strict: None,
        }),
        max_tokens: Some(50),
        sampling: Sampling {
            temperature: Some(0.0),
            top_p: Some(0.5),
            top_k: Some(20),
            seed: Some(101),
            frequency_penalty: Some(0.1),
            presence_penalty: Some(0.2),
            stop: vec!["END".into()],
            count: Some(1),
        },
        user: Some("u".into()),
        ..hello()
    };
    let encoded = Ollama.encode(&request, true).unwrap();
    let function = |parameters: Value| {
        json!({ "type": "function", "function": {
            "name": "get_weather", "description": "The weather.", "parameters": parameters,
        } })
    };
    assert_eq!(
        encoded.body,
        json!({
            "model": "qwen3",
            "messages": [{ "role": "user", "content": "Hello" }],
            "stream": true,
            "tools": [
                function(schema.clone()),
                function(json!({ "type": "object", "properties": {} })),
            ],
            "format": schema,
            "options": {
                "num_predict": 50,
                "temperature": 0.0,
                "top_p": 0.5,
                "top_k": 20,
                "seed": 101,
                "presence_penalty": 0.2,
                "frequency_penalty": 0.1,
                "stop": ["END"],
            },
        })
    );
    assert_eq!(encoded.dropped, ["parallel_tool_calls", "user"]);
}

#[test]
fn what_cannot_be_said_is_refused() {
    let refused = |request: &ChatRequest| {
        let encoded = Ollama.encode(request, false);
        assert!(
            matches!(encoded, Err(WireError::Unsupported(_))),
            "{encoded:?}"
        );
    };
    for choice in [
        ToolChoice::Required,
        ToolChoice::Named("get_weather".into()),
    ] {
        refused(&ChatRequest {
            tools: vec![tool(None)],
            tool_choice: Some(choice),
            ..hello()
        });
    }
    refused(&ChatRequest {
        sampling: Sampling {
            count: Some(2),
            ..Sampling::default()
        },
        ..hello()
    });
    let source = Source::Url("https://example.org/a.png".into());
    let (detail, name, opaque) = (None, None, Opaque::default());
    for part in [
        Part::Image {
            source: source.clone(),
            detail,
            opaque: opaque.clone(),
        },
        Part::File {
            source,
            name,
            opaque,
        },
        Part::Audio {
            format: "wav".into(),
            data: String::new(),
        },
        Part::Other {
            protocol: Protocol::Gemini,
            value: json!({}),
        },
    ] {
        let mut request = hello();
        request.messages[0].parts.push(part);
        refused(&request);
    }
}

#[test]
fn a_choice_of_no_tool_leaves_them_out() {
    let request = ChatRequest {
        tools: vec![tool(None)],
        tool_choice: Some(ToolChoice::None),
        format: Some(Format::Json),
        ..hello()
    };
    let body = body(&request);
    assert_eq!(body.get("tools"), None);
    assert_eq!(body["format"], "json");
    assert_eq!(body["stream"], false);
}

#[test]
fn pictures_are_bytes_alone() {
    let mut request = hello();
    request.messages[0].parts.push(Part::Image {
        source: Source::Data {
            media_type: "image/png".into(),
            data: "aGk=".into(),
        },
        detail: Some("low".into()),
        opaque: Opaque::default(),
    });
    let encoded = Ollama.encode(&request, false).unwrap();
    assert_eq!(
        encoded.body["messages"][0],
        json!({ "role": "user", "content": "Hello", "images": ["aGk="] })
    );
    assert_eq!(encoded.dropped, ["detail"]);
}

#[test]
fn thinking_is_asked_for_in_its_words() {
    let think = |effort: Option<&str>, tokens: Option<u64>| {
        let request = ChatRequest {
            reasoning: Some(Reasoning {
                effort: effort.map(str::to_owned),
                tokens,
                summary: None,
            }),
            ..hello()
        };
        body(&request)["think"].clone()
    };
    assert_eq!(think(Some("none"), None), json!(false));
    assert_eq!(think(None, Some(0)), json!(false));
    assert_eq!(think(None, Some(1_024)), json!(true));
    assert_eq!(think(Some("minimal"), None), json!("low"));
    assert_eq!(think(Some("high"), None), json!("high"));
    assert_eq!(think(Some("xhigh"), None), json!("max"));
    assert_eq!(think(None, None), Value::Null);
}

#[test]
fn what_the_model_said_goes_back() {
    let answer = whole("thinking");
    let request = asked(vec![Message {
        role: Role::Assistant,
        parts: answer.choices[0].parts.clone(),
        name: None,
    }]);
    let source: Value = serde_json::from_str(&file("thinking.json")).unwrap();
    assert_eq!(body(&request)["messages"][0], source["message"]);
}

fn any_json() -> impl Strategy<Value = Value> {
    let names = "(message|content|thinking|images|tool_calls|function|name|arguments|done|\
                 done_reason|error|eval_count|logprobs|model|created_at|x)";
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
        let (mut reader, mut out) = (Ollama.reader(), Vec::new());
        for value in values {
            let _answer = Ollama.decode(value.clone());
            let _complaint = Ollama.error(&value);
            let _answer = Ollama.decode(json!({ "message": value, "done": true }));
            let event = Event { name: None, data: value.to_string() };
            let _read = reader.read(&event, &mut out);
        }
        let _closed = reader.close(&mut out);
    }

    #[test]
    fn no_text_makes_it_fall_over(data in ".{0,40}") {
        let event = Event { name: None, data };
        let _read = Ollama.reader().read(&event, &mut Vec::new());
    }
}
