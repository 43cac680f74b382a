//! What clients ask, and what the provider is asked.

use matrix_models::chat::{
    ChatRequest, Format, Message, Opaque, Part, Protocol, Reasoning, Role, Source, Tool, ToolChoice,
};
use matrix_models::delta::deltas;
use matrix_models::wire::openai::{Dialect, OpenaiChat};
use matrix_models::wire::{ClientWire, Delivery, ProviderWire, WireError};
use serde_json::{Value, json};

use super::{WIRE, answer, asking, assembled, body, call, events, read, streamed, value};

#[test]
fn a_client_s_request_reaches_the_provider_as_it_was() {
    let request = value("request.json");
    let asked = WIRE.asked(request.clone()).unwrap();
    assert_eq!(asked.delivery, Delivery::Stream);
    let encoded = WIRE.encode(&asked.request, true).unwrap();
    assert_eq!(encoded.body, request);
    assert!(encoded.dropped.is_empty());
}

#[test]
fn a_client_s_request_is_understood() {
    let request = WIRE.asked(value("request.json")).unwrap().request;
    let roles: Vec<Role> = request
        .messages
        .iter()
        .map(|message| message.role)
        .collect();
    let expected = [
        Role::System,
        Role::User,
        Role::Assistant,
        Role::Tool,
        Role::User,
    ];
    assert_eq!(roles, expected);
    assert_eq!(request.parallel_tools, Some(false));
    assert_eq!(request.tool_choice, Some(ToolChoice::Auto));
    assert_eq!(
        request.user.as_deref(),
        Some("13803d75-b4b5-4c3e-b2a2-6f21399b021b")
    );
    assert!(matches!(request.format, Some(Format::Schema { .. })));
    let reasoning = request.reasoning.unwrap();
    assert_eq!(reasoning.effort.as_deref(), Some("high"));
    assert_eq!(reasoning.summary.as_deref(), Some("auto"));
    assert!(matches!(
        &request.tools[2],
        Tool::Provider { protocol: Protocol::Anthropic, value } if value["max_uses"] == 5
    ));
    let Part::File { source, .. } = &request.messages[1].parts[4] else {
        panic!("no document");
    };
    let media_type = "text/plain".into();
    let data = "UGxhaW4gd29yZHMu".into();
    assert_eq!(source, &Source::Data { media_type, data });
    assert!(matches!(
        &request.messages[3].parts[1],
        Part::ToolResult { failed: true, parts, .. } if parts.len() == 2
    ));
}

#[test]
fn all_ways_to_think_come_back() {
    for (thinking, tokens, effort) in [
        (
            json!({ "type": "enabled", "budget_tokens": 10_000 }),
            Some(10_000),
            None,
        ),
        (json!({ "type": "disabled" }), Some(0), None),
        (
            json!({ "type": "adaptive", "display": "omitted" }),
            None,
            None,
        ),
    ] {
        let asked = json!({
            "model": "claude-sonnet-4-5", "max_tokens": 16_000, "thinking": thinking,
            "messages": [{ "role": "user", "content": "Hi" }],
        });
        let mut request = WIRE.asked(asked.clone()).unwrap().request;
        let reasoning = request.reasoning.clone().unwrap();
        assert_eq!((reasoning.tokens, reasoning.effort), (tokens, effort));
        assert_eq!(body(&request)["thinking"], thinking);
        // Whoever changes it on the way is heard.
        request.reasoning = None;
        assert_eq!(body(&request).get("thinking"), None);
    }
}

#[test]
fn thinking_is_said_as_the_model_knows_it() {
    let mut request = asking(vec![Part::text("Hi")]);
    let mut said = |model: &str, effort: Option<&str>, tokens, most| {
        request.model = model.into();
        request.max_tokens = most;
        request.reasoning = Some(Reasoning {
            effort: effort.map(str::to_owned),
            tokens,
            summary: None,
        });
        let body = body(&request);
        let parts = ["thinking", "output_config", "max_tokens"];
        parts.map(|name| body.get(name).cloned().unwrap_or_default())
    };
    let enabled = |tokens: u64| json!({ "type": "enabled", "budget_tokens": tokens });
    assert_eq!(
        said("claude-opus-4-7", Some("high"), None, None),
        [
            json!({ "type": "adaptive" }),
            json!({ "effort": "high" }),
            json!(4096)
        ]
    );
    assert_eq!(
        said("claude-sonnet-4-5", Some("medium"), None, None),
        [enabled(4096), Value::Null, json!(8192)]
    );
    assert_eq!(
        said("claude-sonnet-4-5", None, Some(9000), Some(6000)),
        [enabled(3000), Value::Null, json!(6000)]
    );
    assert_eq!(
        said("claude-sonnet-4-5", Some("high"), None, Some(1000)),
        [Value::Null, Value::Null, json!(1000)]
    );
    assert_eq!(
        said("claude-opus-4-7", Some("none"), None, None)[0],
        json!({ "type": "disabled" })
    );
}

#[test]
fn a_model_does_not_begin_to_think_between_tools() {
    let mut request = asking(vec![Part::text("Hi")]);
    request.model = "claude-sonnet-4-5".into();
    request.reasoning = Some(Reasoning {
        tokens: Some(2048),
        ..Reasoning::default()
    });
    let mut talk = |said: Vec<Part>, results: bool| {
        request.messages.truncate(1);
        request.messages.push(Message {
            role: Role::Assistant,
            parts: said,
            name: None,
        });
        if results {
            request.messages.push(Message {
                role: Role::Tool,
                parts: vec![Part::ToolResult {
                    call: "a".into(),
                    parts: vec![Part::text("done")],
                    failed: false,
                    opaque: Opaque::default(),
                }],
                name: None,
            });
        }
        request.messages.push(Message::text(Role::User, "And?"));
        body(&request).get("thinking").is_some()
    };
    let thought = Part::Reasoning {
        text: "Hmm.".into(),
        opaque: Opaque::default().with("anthropic", "signature", json!("EqQB")),
    };
    assert!(talk(vec![Part::text("Hello")], false));
    assert!(talk(vec![thought, call("a", "{}")], true));
    assert!(!talk(vec![call("a", "{}")], true));
}

#[test]
fn roles_take_turns_and_results_come_first() {
    let text = Message::text;
    let result = |call: &str| Message {
        role: Role::Tool,
        parts: vec![Part::ToolResult {
            call: call.into(),
            parts: vec![Part::text("done")],
            failed: false,
            opaque: Opaque::default(),
        }],
        name: None,
    };
    let calls = Message {
        role: Role::Assistant,
        parts: vec![call("call_1", r#"{"a": 1}"#), call("look:0", "{broken")],
        name: None,
    };
    let request = ChatRequest {
        messages: vec![
            text(Role::System, "Be brief."),
            text(Role::User, "One"),
            text(Role::Developer, "Be kind."),
            text(Role::User, "Two"),
            calls,
            result("call_1"),
            text(Role::User, "Three"),
            result("look:0"),
        ],
        parallel_tools: Some(false),
        tools: vec![Tool::Function {
            name: "look".into(),
            description: None,
            parameters: None,
            strict: None,
            opaque: Opaque::default(),
        }],
        ..ChatRequest::default()
    };
    let body = body(&request);
    let words = |text: &str| json!({ "type": "text", "text": text });
    assert_eq!(
        body["system"],
        json!([words("Be brief."), words("Be kind.")])
    );
    assert_eq!(body["max_tokens"], 4096);
    assert_eq!(
        body["tool_choice"],
        json!({ "type": "auto", "disable_parallel_tool_use": true })
    );
    assert_eq!(
        body["tools"],
        json!([{ "name": "look", "input_schema": { "type": "object", "properties": {} } }])
    );
    let odd = "matrix_bG9vazow";
    let done = |id: &str| json!({ "type": "tool_result", "tool_use_id": id, "content": "done" });
    assert_eq!(
        body["messages"],
        json!([
            { "role": "user", "content": [words("One"), words("Two")] },
            { "role": "assistant", "content": [
                { "type": "tool_use", "id": "call_1", "name": "look", "input": { "a": 1 } },
                { "type": "tool_use", "id": odd, "name": "look",
                  "input": { "INVALID_JSON": "{broken" } },
            ] },
            { "role": "user", "content": [done("call_1"), done(odd), words("Three")] },
        ])
    );
}

#[test]
fn what_would_be_refused_is_left_out_and_said() {
    let mut request = asking(vec![Part::text("Hi")]);
    request.protocol = Some(Protocol::OpenaiChat);
    request.model = "claude-sonnet-4-6".into();
    request.sampling.temperature = Some(1.7);
    request.sampling.top_p = Some(0.5);
    request.sampling.seed = Some(7);
    request.sampling.count = Some(1);
    let encoded = WIRE.encode(&request, false).unwrap();
    assert_eq!(encoded.dropped, ["seed", "temperature", "top_p"]);
    assert_eq!(encoded.body["temperature"], 1.0);
    request.model = "claude-opus-4-7".into();
    assert_eq!(body(&request).get("temperature"), None);
    request.reasoning = Some(Reasoning {
        effort: Some("low".into()),
        ..Reasoning::default()
    });
    let encoded = WIRE.encode(&request, false).unwrap();
    assert_eq!(encoded.body.get("temperature"), None);
    request.tool_choice = Some(ToolChoice::Named("look".into()));
    let encoded = WIRE.encode(&request, false).unwrap();
    assert_eq!(encoded.body.get("thinking"), None);
    assert!(encoded.dropped.contains(&"reasoning"));
}

#[test]
fn what_cannot_be_said_is_refused() {
    let refused = |request: &ChatRequest| {
        let refused = WIRE.encode(request, false);
        assert!(
            matches!(refused, Err(WireError::Unsupported(_))),
            "{refused:?}"
        );
    };
    let (format, data) = ("wav".into(), "UklGRg==".into());
    refused(&asking(vec![Part::Audio { format, data }]));
    refused(&asking(Vec::new()));
    let mut request = asking(vec![Part::Image {
        source: Source::Id("file-1".into()),
        detail: None,
        opaque: Opaque::default(),
    }]);
    body(&request);
    request.protocol = Some(Protocol::OpenaiChat);
    refused(&request);
    let mut request = asking(vec![Part::text("Hi")]);
    request.format = Some(Format::Json);
    refused(&request);
    let mut request = asking(vec![Part::text("Hi")]);
    request.sampling.count = Some(2);
    refused(&request);
    let mut request = asking(vec![Part::text("Hi")]);
    request.tools = vec![Tool::Provider {
        protocol: Protocol::Gemini,
        value: json!({ "googleSearch": {} }),
    }];
    refused(&request);
}

#[test]
fn schemas_of_others_are_closed() {
    let mut request = asking(vec![Part::text("Hi")]);
    request.format = Some(Format::Schema {
        name: "list".into(),
        description: None,
        schema: json!({ "type": "object", "properties": {
            "items": { "type": "array", "items": { "type": "object", "properties": {} } },
        } }),
        strict: None,
    });
    let format = &body(&request)["output_config"]["format"];
    assert_eq!(format["type"], "json_schema");
    assert_eq!(format["schema"]["additionalProperties"], false);
    let inner = &format["schema"]["properties"]["items"]["items"];
    assert_eq!(inner["additionalProperties"], false);
}

#[test]
fn thoughts_come_back_through_a_client_of_another_protocol() {
    let chat = OpenaiChat {
        dialect: Dialect::Compatible,
    };
    let said = value("thinking.json");
    let whole = ProviderWire::decode(&WIRE, said.clone()).unwrap();
    let mut message = chat.answer(&whole, 0)["choices"][0]["message"].take();
    message["tool_calls"] = json!([
        { "id": "a", "type": "function", "function": { "name": "look", "arguments": "{}" } },
    ]);
    let asked = json!({ "model": "claude-sonnet-4-5", "messages": [
        { "role": "user", "content": "Hi" },
        message,
        { "role": "tool", "tool_call_id": "a", "content": "done" },
    ] });
    let request = chat.asked(asked).unwrap().request;
    let content = body(&request)["messages"][1]["content"].take();
    for part in 0..3 {
        assert_eq!(content[part], said["content"][part]);
    }
}

#[test]
fn what_other_providers_gave_to_keep_comes_back_and_never_reaches_anthropic() {
    let google = Opaque::default().with("google", "thought_signature", json!("Ck0BAQ=="));
    let parts = vec![
        Part::Reasoning {
            text: "Hmm.".into(),
            opaque: Opaque::default().with("openai", "encrypted_content", json!("gAAAA")),
        },
        Part::Reasoning {
            text: "No proof.".into(),
            opaque: Opaque::default(),
        },
        Part::Text {
            text: "Let me look.".into(),
            opaque: google.clone(),
        },
        Part::ToolCall {
            id: "call_1".into(),
            name: "look".into(),
            arguments: r#"{"a":1}"#.into(),
            opaque: google,
        },
    ];
    let whole = answer(parts.clone());
    let written = ClientWire::answer(&WIRE, &whole, 0);
    assert_eq!(written["usage"]["input_tokens"], 50);
    assert_eq!(WIRE.decode(written.clone()).unwrap(), whole);
    let events = events(&streamed(&deltas(&whole)));
    assert_eq!(assembled(&read(&events).unwrap()), whole);

    let asked = json!({
        "model": "m", "max_tokens": 100,
        "messages": [
            { "role": "user", "content": "Hi" },
            { "role": "assistant", "content": written["content"] },
        ],
    });
    let request = WIRE.asked(asked).unwrap().request;
    assert_eq!(request.messages[1].parts, parts);
    let encoded = WIRE.encode(&request, false).unwrap();
    assert_eq!(encoded.dropped, ["thoughts"]);
    let text = encoded.body.to_string();
    for secret in ["matrix1", "extra_content", "thought_signature", "thinking"] {
        assert!(!text.contains(secret), "{secret}");
    }
}
