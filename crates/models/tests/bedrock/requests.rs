//! Requests in Bedrock's words.

use matrix_models::chat::{
    ChatRequest, Format, Message, Opaque, Part, Reasoning, Role, Source, Tool, ToolChoice,
};
use matrix_models::wire::ProviderWire;
use matrix_models::wire::bedrock::Converse;
use serde_json::{Value, json};

use crate::file;

const CLAUDE: &str = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0";

fn question() -> ChatRequest {
    ChatRequest {
        messages: vec![Message::text(Role::User, "Hi")],
        max_tokens: Some(1_000),
        ..ChatRequest::default()
    }
}

fn tool() -> Tool {
    Tool::Function {
        name: "get_weather".into(),
        description: Some("The weather.".into()),
        parameters: Some(json!({ "properties": { "location": { "type": "string" } } })),
        strict: Some(true),
        opaque: Opaque::default(),
    }
}

fn kept_tool() -> Tool {
    let mut tool = tool();
    if let Tool::Function { opaque, .. } = &mut tool {
        opaque.set("anthropic", "cache_control", json!({ "type": "ephemeral" }));
    }
    tool
}

fn said(role: Role, parts: Vec<Part>) -> Message {
    Message {
        role,
        parts,
        name: None,
    }
}

fn picture() -> Part {
    Part::Image {
        source: Source::Data {
            media_type: "image/jpg".into(),
            data: "/9j/4A==".into(),
        },
        detail: None,
        opaque: Opaque::default(),
    }
}

fn paper(name: &str) -> Part {
    Part::File {
        source: Source::Data {
            media_type: "application/pdf".into(),
            data: "JVBERg==".into(),
        },
        name: Some(name.into()),
        opaque: Opaque::default(),
    }
}

fn call(id: &str) -> Part {
    Part::ToolCall {
        id: id.into(),
        name: "get_weather".into(),
        arguments: r#"{"location":"Lyon"}"#.into(),
        opaque: Opaque::default(),
    }
}

fn result(id: &str, failed: bool) -> Part {
    Part::ToolResult {
        call: id.into(),
        parts: vec![Part::text("Mild.")],
        failed,
        opaque: Opaque::default(),
    }
}

/// A conversation with everything in it that has a word at Bedrock.
fn conversation() -> ChatRequest {
    let thoughts = Part::Reasoning {
        text: "Where?".into(),
        opaque: Opaque::default().with("anthropic", "signature", "EqQB".into()),
    };
    let kept = Part::Text {
        text: "Look.".into(),
        opaque: Opaque::default().with(
            "anthropic",
            "cache_control",
            json!({ "type": "ephemeral" }),
        ),
    };
    let mut request = ChatRequest {
        model: CLAUDE.into(),
        messages: vec![
            Message::text(Role::System, "Be brief."),
            said(
                Role::User,
                vec![kept, picture(), paper("a/b.pdf"), paper("a b.pdf")],
            ),
            said(Role::Assistant, vec![thoughts, call("one"), call("two:2")]),
            said(
                Role::Tool,
                vec![result("one", false), result("two:2", true)],
            ),
            Message::text(Role::User, "Go on."),
        ],
        tools: vec![kept_tool()],
        tool_choice: Some(ToolChoice::Named("get_weather".into())),
        max_tokens: Some(900),
        ..ChatRequest::default()
    };
    request.sampling.temperature = Some(0.5);
    request.sampling.top_k = Some(40);
    request.sampling.stop = vec!["END".into()];
    request
}

fn encoded(request: &ChatRequest) -> (Value, Vec<&'static str>) {
    let wire = Converse {
        model: request.model.clone(),
        max_tokens: 4_096,
        caches: true,
    };
    let encoded = wire.encode(request, false).unwrap();
    (encoded.body, encoded.dropped)
}

#[test]
fn a_conversation_is_written_as_documented() {
    let (body, dropped) = encoded(&conversation());
    assert_eq!(dropped, Vec::<&str>::new());
    let odd = body["messages"][1]["content"][2]["toolUse"]["toolUseId"].clone();
    let call = |id: &Value| {
        json!({ "toolUse": {
            "toolUseId": id, "name": "get_weather", "input": { "location": "Lyon" },
        } })
    };
    let paper = |name: &str| {
        json!({ "document": {
            "format": "pdf", "name": name, "source": { "bytes": "JVBERg==" },
        } })
    };
    let mild = json!([{ "text": "Mild." }]);
    let expected = json!({
        "system": [{ "text": "Be brief." }],
        "messages": [
            { "role": "user", "content": [
                { "text": "Look." },
                { "cachePoint": { "type": "default" } },
                { "image": { "format": "jpeg", "source": { "bytes": "/9j/4A==" } } },
                paper("a b pdf"),
                paper("a b pdf (2)"),
            ] },
            { "role": "assistant", "content": [
                { "reasoningContent": {
                    "reasoningText": { "text": "Where?", "signature": "EqQB" },
                } },
                call(&"one".into()),
                call(&odd),
            ] },
            { "role": "user", "content": [
                { "toolResult": { "toolUseId": "one", "content": mild } },
                { "toolResult": { "toolUseId": odd, "content": mild, "status": "error" } },
                { "text": "Go on." },
            ] },
        ],
        "inferenceConfig": { "maxTokens": 900, "temperature": 0.5, "stopSequences": ["END"] },
        "toolConfig": {
            "tools": [
                { "toolSpec": {
                    "name": "get_weather",
                    "description": "The weather.",
                    "inputSchema": { "json": {
                        "properties": { "location": { "type": "string" } },
                        "type": "object",
                    } },
                    "strict": true,
                } },
                { "cachePoint": { "type": "default" } },
            ],
            "toolChoice": { "tool": { "name": "get_weather" } },
        },
        "additionalModelRequestFields": { "top_k": 40 },
    });
    assert_eq!(body, expected);
    let id = odd.as_str().unwrap();
    assert!(id.starts_with("matrix_") && id.len() <= 64);
}

#[test]
fn a_model_that_keeps_nothing_is_not_told_to() {
    let request = conversation();
    let wire = Converse {
        model: request.model.clone(),
        max_tokens: 4_096,
        caches: false,
    };
    let encoded = wire.encode(&request, false).unwrap();
    assert!(!encoded.body.to_string().contains("cachePoint"));
}

#[test]
fn a_schema_travels_as_a_text() {
    let schema = json!({ "type": "object", "properties": {} });
    let mut request = question();
    request.format = Some(Format::Schema {
        name: "answer".into(),
        description: Some("It.".into()),
        schema: schema.clone(),
        strict: Some(true),
    });
    let (body, _) = encoded(&request);
    let mut schema = schema;
    schema["additionalProperties"] = false.into();
    let definition =
        json!({ "schema": schema.to_string(), "name": "answer", "description": "It." });
    let format = json!({ "type": "json_schema", "structure": { "jsonSchema": definition } });
    assert_eq!(body["outputConfig"], json!({ "textFormat": format }));
}

#[test]
fn thoughts_are_asked_for_in_the_words_of_the_models_maker() {
    let effort = |word: &str| {
        Some(Reasoning {
            effort: Some(word.into()),
            ..Reasoning::default()
        })
    };
    for (model, reasoning, more) in [
        (
            CLAUDE,
            effort("low"),
            json!({ "thinking": { "type": "enabled", "budget_tokens": 1_024 } }),
        ),
        (
            "us.anthropic.claude-opus-4-6-v1",
            effort("high"),
            json!({ "output_config": { "effort": "high" }, "thinking": { "type": "adaptive" } }),
        ),
        (
            "amazon.nova-2-lite-v1:0",
            effort("minimal"),
            json!({ "reasoningConfig": { "type": "enabled", "maxReasoningEffort": "low" } }),
        ),
        (
            "amazon.nova-2-lite-v1:0",
            effort("none"),
            json!({ "reasoningConfig": { "type": "disabled" } }),
        ),
        (
            "openai.gpt-oss-120b-1:0",
            effort("medium"),
            json!({ "reasoning_effort": "medium" }),
        ),
        (
            "meta.llama3-3-70b-instruct-v1:0",
            effort("low"),
            Value::Null,
        ),
        ("us.openai.gpt-5.5", effort("low"), Value::Null),
    ] {
        let mut request = question();
        request.model = model.into();
        request.max_tokens = Some(8_000);
        request.reasoning = reasoning;
        let (body, dropped) = encoded(&request);
        assert_eq!(body["additionalModelRequestFields"], more, "{model}");
        assert_eq!(dropped.contains(&"reasoning"), more.is_null(), "{model}");
    }
}

#[test]
fn nova_thinks_the_most_only_where_nothing_else_is_set() {
    let mut request = question();
    request.model = "amazon.nova-2-lite-v1:0".into();
    request.reasoning = Some(Reasoning {
        effort: Some("high".into()),
        ..Reasoning::default()
    });
    for (max_tokens, effort, lost) in [(None, "high", false), (Some(900), "medium", true)] {
        request.max_tokens = max_tokens;
        let (body, dropped) = encoded(&request);
        let config = &body["additionalModelRequestFields"]["reasoningConfig"];
        assert_eq!(config["maxReasoningEffort"], effort);
        assert_eq!(dropped.contains(&"reasoning"), lost);
    }
}

#[test]
fn what_has_no_word_is_named_or_refused() {
    let mut request = question();
    request.model = "amazon.nova-lite-v1:0".into();
    request.tools = vec![tool()];
    request.tool_choice = Some(ToolChoice::None);
    request.parallel_tools = Some(false);
    request.user = Some("somebody".into());
    request.sampling.seed = Some(7);
    request.sampling.top_k = Some(7);
    let (body, dropped) = encoded(&request);
    assert_eq!(dropped, ["parallel_tool_calls", "seed", "top_k", "user"]);
    assert_eq!(body.get("toolConfig"), None);
    // Where tools were called they must stay.
    request
        .messages
        .push(said(Role::Assistant, vec![call("one")]));
    request
        .messages
        .push(said(Role::Tool, vec![result("one", false)]));
    let (body, dropped) = encoded(&request);
    assert!(dropped.contains(&"tool_choice"));
    assert_eq!(body["toolConfig"]["toolChoice"], Value::Null);
    let wire = Converse {
        model: request.model.clone(),
        max_tokens: 1,
        caches: false,
    };
    let url = |url: &str| Part::Image {
        source: Source::Url(url.into()),
        detail: None,
        opaque: Opaque::default(),
    };
    request
        .messages
        .push(said(Role::User, vec![url("s3://b/a.png")]));
    let (body, _) = encoded(&request);
    let sent = &body["messages"][2]["content"][1]["image"];
    let place = json!({ "s3Location": { "uri": "s3://b/a.png" } });
    assert_eq!(sent, &json!({ "format": "png", "source": place }));
    request
        .messages
        .push(said(Role::User, vec![url("https://a/b.png")]));
    assert!(wire.encode(&request, false).is_err());
    request.messages.pop();
    request.format = Some(Format::Json);
    assert!(wire.encode(&request, false).is_err());
}

#[test]
fn a_signature_is_the_makers_wherever_it_is_asked() {
    let body: Value = serde_json::from_str(&file("thoughts.json")).unwrap();
    for (model, family) in [
        (CLAUDE, "anthropic"),
        ("amazon.nova-2-lite-v1:0", "bedrock"),
    ] {
        let wire = Converse {
            model: model.into(),
            max_tokens: 1_000,
            caches: false,
        };
        let answer = wire.decode(body.clone()).unwrap();
        let parts = answer.choices[0].parts.clone();
        let Part::Reasoning { opaque, .. } = &parts[0] else {
            panic!("{parts:?}");
        };
        assert!(opaque.text(family, "signature").is_some(), "{model}");
        // It goes back as it came.
        let mut request = question();
        request.model = model.into();
        request.messages.push(said(Role::Assistant, parts));
        request.messages.push(Message::text(Role::User, "And?"));
        let (sent, dropped) = encoded(&request);
        assert_eq!(
            sent["messages"][1]["content"],
            body["output"]["message"]["content"]
        );
        assert_eq!(dropped, Vec::<&str>::new());
    }
}
