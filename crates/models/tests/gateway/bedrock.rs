//! Amazon Bedrock at its socket: addresses, signatures, bodies and errors.

use matrix_models::ModelError;
use matrix_models::chat::{
    ChatRequest, Format, Message, Opaque, Part, Reasoning, Role, Source, Tool, ToolChoice,
};
use matrix_models::embed::EmbedRequest;
use matrix_models::provider::Reason;
use matrix_models::registry::{ModelSpec, PriceRule, ProviderKind};
use matrix_models::rerank::RerankRequest;
use matrix_models::wire::ProviderWire;
use matrix_models::wire::bedrock::Converse;
use ring::digest::{SHA256, digest};
use ring::hmac::{self, HMAC_SHA256};
use serde_json::{Value, json};

use crate::site::{Site, asking, question, spec};
use crate::transcripts::{Has, file, streamed, whole};
use crate::upstream::{self, Asked, Upstream, status};

const CLAUDE: &str = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0";

fn named(model: &str, upstream: &Upstream) -> ModelSpec {
    let mut spec = spec(ProviderKind::Bedrock, &upstream.url());
    spec.model = model.into();
    spec
}

fn reason(error: &ModelError) -> Reason {
    match error {
        ModelError::Provider { source, .. } => source.reason,
        other => panic!("{other}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    let each: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    each.concat()
}

/// The signature that a request should have, worked out once more from what arrived.
fn signature(asked: &Asked, names: &str, secret: &str) -> String {
    let line = |name| format!("{name}:{}\n", asked.header(name).unwrap());
    let lines: Vec<String> = names.split(';').map(line).collect();
    let lines = lines.concat();
    let hash = |text: &str| hex(digest(&SHA256, text.as_bytes()).as_ref());
    let path = asked.path.replace('%', "%25");
    let body = hash(&asked.text);
    let request = format!("{}\n{path}\n\n{lines}\n{names}\n{body}", asked.method);
    let time = asked.header("x-amz-date").unwrap();
    let scope = format!("{}/eu-central-1/bedrock/aws4_request", &time[..8]);
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hash(&request));
    let mut key = format!("AWS4{secret}").into_bytes();
    for word in scope.split('/').chain([text.as_str()]) {
        let signed = hmac::sign(&hmac::Key::new(HMAC_SHA256, &key), word.as_bytes());
        key = signed.as_ref().to_vec();
    }
    hex(&key)
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_signed_and_go_where_the_documentation_says() {
    for (key, names, session) in [
        (
            "AKIDEXAMPLE:wJalr/K7+x",
            "content-type;host;x-amz-date",
            None,
        ),
        (
            "ASIAEXAMPLE:wJalr/K7+x:Fwo//wEXAMPLE==",
            "content-type;host;x-amz-date;x-amz-security-token",
            Some("Fwo//wEXAMPLE=="),
        ),
    ] {
        let upstream = Upstream::playing([
            upstream::whole(&whole("bedrock", Has::Words)),
            upstream::stream(&streamed("bedrock", Has::Words)),
        ])
        .await;
        let site = Site::new().await;
        let mut spec = named(CLAUDE, &upstream);
        spec.provider.key = Some(site.key("aws", key));
        site.add("m", &spec).await;
        site.chat("m").await.unwrap();
        site.stream("m").await.unwrap().collect().await.unwrap();
        let model = CLAUDE.replace(':', "%3A");
        let asked = upstream.asked();
        for (asked, verb) in asked.iter().zip(["converse", "converse-stream"]) {
            assert_eq!(asked.method, "POST");
            assert_eq!(asked.path, format!("/model/{model}/{verb}"));
            let time = asked.header("x-amz-date").unwrap();
            assert_eq!(time, "20260921T141322Z");
            assert_eq!(asked.header("x-amz-security-token"), session);
            let says = asked.header("authorization").unwrap();
            let id = key.split(':').next().unwrap();
            let scope = "20260921/eu-central-1/bedrock/aws4_request";
            let signature = signature(asked, names, "wJalr/K7+x");
            assert_eq!(
                says,
                format!(
                    "AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, \
                     Signature={signature}"
                )
            );
            assert!(!says.contains("wJalr"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_bedrocks_own_is_sent_as_it_is() {
    let upstream = Upstream::always(upstream::whole(&whole("bedrock", Has::Words))).await;
    let site = Site::new().await;
    let mut spec = named("amazon.nova-lite-v1:0", &upstream);
    spec.provider.key = Some(site.key("aws", "ABSKQmVkcm9jaw=="));
    site.add("m", &spec).await;
    site.chat("m").await.unwrap();
    let asked = upstream.asked().remove(0);
    assert_eq!(
        asked.header("authorization"),
        Some("Bearer ABSKQmVkcm9jaw==")
    );
    assert_eq!(asked.header("x-amz-date"), None);
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
    let body: Value = serde_json::from_str(&whole("bedrock", Has::Thoughts)).unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_their_reason() {
    let body = |message: &str| json!({ "message": message }).to_string();
    let busy = Reason::Busy { retry_after: None };
    for (code, expected) in [
        (400, Reason::Invalid),
        (403, Reason::Key),
        (404, Reason::NoModel),
        (408, Reason::Slow),
        (424, Reason::Failed),
        (429, busy),
        (500, Reason::Failed),
        (503, Reason::Failed),
    ] {
        let upstream = Upstream::always(status(code, "", &body("It is so."))).await;
        let site = Site::new().await;
        site.add("m", &named(CLAUDE, &upstream)).await;
        let error = site.chat("m").await.unwrap_err();
        assert_eq!(reason(&error), expected, "{code}");
        if expected == Reason::Invalid {
            assert_eq!(error.complaint().message, "It is so.");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exceptions_and_broken_frames_end_a_stream() {
    let start = streamed("bedrock", Has::Words);
    let start = upstream::events(&start)[0].to_owned();
    let mut changed = upstream::bytes(&start);
    changed[30] ^= 1;
    let invalid = r#"{":exception-type":"validationException","payload":{"message":"No."}}"#;
    let busy = Reason::Busy { retry_after: None };
    for (bytes, expected) in [
        (upstream::bytes(&file("bedrock", "error.frames")), busy),
        (upstream::bytes(invalid), Reason::Failed),
        (changed, Reason::Broken),
        (b"data: {}\n\n".to_vec(), Reason::Broken),
        (vec![0; 64], Reason::Broken),
    ] {
        let mut reply = vec![upstream::begin("application/vnd.amazon.eventstream")];
        reply.extend([
            upstream::said(&start),
            upstream::piece(&bytes),
            upstream::end(),
        ]);
        let upstream = Upstream::always(reply).await;
        let site = Site::new().await;
        site.add("m", &named(CLAUDE, &upstream)).await;
        let error = match site.stream("m").await {
            Ok(stream) => stream.collect().await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(reason(&error), expected, "{error}");
    }
}

fn vectors(texts: &[&str]) -> EmbedRequest {
    EmbedRequest {
        texts: texts.iter().map(|text| (*text).to_owned()).collect(),
        dimensions: Some(256),
        purpose: Some("query".into()),
        ..EmbedRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn titan_and_cohere_make_vectors() {
    let upstream = Upstream::start().await;
    let site = Site::new().await;
    site.add("titan", &named("amazon.titan-embed-text-v2:0", &upstream))
        .await;
    let one = json!({ "embedding": [0.5, 0.25], "inputTextTokenCount": 3 }).to_string();
    upstream.keep_saying(upstream::whole(&one));
    let asked = site
        .gateway
        .embed(&asking("titan"), vectors(&["a", "b"]))
        .await;
    let (answer, _) = asked.unwrap();
    assert_eq!(answer.vectors, [[0.5, 0.25], [0.5, 0.25]]);
    assert_eq!(answer.usage.unwrap().input, 6);
    let mut sent: Vec<String> = upstream.asked().iter().map(|it| it.text.clone()).collect();
    sent.sort_unstable();
    let body = |text: &str| json!({ "inputText": text, "dimensions": 256 }).to_string();
    assert_eq!(sent, [body("a"), body("b")]);
    let path = "/model/amazon.titan-embed-text-v2%3A0/invoke";
    assert!(upstream.asked().iter().all(|asked| asked.path == path));

    for answer in [
        json!({ "embeddings": { "float": [[1, 0], [0, 1]] } }),
        json!({ "embeddings": [[1, 0], [0, 1]] }),
    ] {
        let upstream = Upstream::always(upstream::whole(&answer.to_string())).await;
        let site = Site::new().await;
        site.add("m", &named("cohere.embed-v4:0", &upstream)).await;
        let asked = site.gateway.embed(&asking("m"), vectors(&["a", "b"])).await;
        assert_eq!(asked.unwrap().0.vectors, [[1.0, 0.0], [0.0, 1.0]]);
        assert_eq!(
            upstream.asked()[0].body,
            json!({
                "texts": ["a", "b"],
                "input_type": "search_query",
                "embedding_types": ["float"],
                "output_dimension": 256,
            })
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_are_put_in_order() {
    let body = json!({ "results": [
        { "index": 1, "relevance_score": 0.9 }, { "index": 0, "relevance_score": 0.1 },
    ] });
    let upstream = Upstream::always(upstream::whole(&body.to_string())).await;
    let site = Site::new().await;
    for (name, model) in [("c", "cohere.rerank-v3-5:0"), ("a", "amazon.rerank-v1:0")] {
        site.add(name, &named(model, &upstream)).await;
        let request = RerankRequest {
            query: "warm".into(),
            texts: vec!["snow".into(), "sun".into()],
            top: Some(2),
            ..RerankRequest::default()
        };
        let (answer, _) = site.gateway.rerank(&asking(name), request).await.unwrap();
        let order: Vec<usize> = answer.ranks.iter().map(|rank| rank.index).collect();
        assert_eq!(order, [1, 0]);
    }
    let asked = upstream.asked();
    assert_eq!(asked[0].path, "/model/cohere.rerank-v3-5%3A0/invoke");
    let mut body = json!({ "query": "warm", "documents": ["snow", "sun"], "top_n": 2 });
    assert_eq!(asked[1].body, body);
    body["api_version"] = 2.into();
    assert_eq!(asked[0].body, body);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_models_that_there_are_are_listed() {
    let body = json!({ "modelSummaries": [{ "modelId": "amazon.nova-lite-v1:0" }] });
    let upstream = Upstream::always(upstream::whole(&body.to_string())).await;
    let site = Site::new().await;
    site.add("m", &named(CLAUDE, &upstream)).await;
    let names = site.gateway.probe(&asking("m")).await.unwrap();
    assert_eq!(names, ["amazon.nova-lite-v1:0"]);
    let asked = upstream.asked().remove(0);
    assert_eq!(
        (asked.method.as_str(), asked.path.as_str()),
        ("GET", "/foundation-models")
    );
}

#[test]
fn a_region_is_needed_and_an_address_is_not() {
    let mut spec = spec(ProviderKind::Bedrock, "https://example.com");
    spec.provider.base_url = None;
    spec.price = PriceRule::Free;
    assert!(spec.check().is_ok());
    spec.provider.region = None;
    assert!(spec.check().is_err());
}
