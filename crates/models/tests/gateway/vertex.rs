//! Vertex AI at its socket: which address is asked for which model, and with what.

use matrix_models::chat::{
    Finish, Format, Message, Opaque, Part, Reasoning, Role, Source, Tool, ToolChoice,
};
use matrix_models::embed::EmbedRequest;
use matrix_models::provider::Reason;
use matrix_models::registry::{ModelSpec, PriceRule, ProviderKind};
use matrix_models::{ModelError, usage::Usage};
use serde_json::{Value, json};

use crate::site::{Site, asking, question, spec};
use crate::transcripts::{Has, streamed, whole};
use crate::upstream::{self, Upstream, status};

fn named(model: &str, upstream: &Upstream) -> ModelSpec {
    let mut spec = spec(ProviderKind::Vertex, &format!("{}/v1", upstream.url()));
    spec.model = model.into();
    spec
}

fn reason(error: &ModelError) -> Reason {
    match error {
        ModelError::Provider { source, .. } => source.reason,
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_lead_to_the_addresses_that_are_documented() {
    let google = "/v1/projects/p-1/locations/europe-west1/publishers/google/models";
    let anthropic = "/v1/projects/p-1/locations/europe-west1/publishers/anthropic/models";
    let place = "/v1/projects/p-1/locations/europe-west1";
    for (name, speaks, path) in [
        (
            "gemini-2.5-flash",
            "gemini",
            format!("{google}/gemini-2.5-flash"),
        ),
        (
            "gemini-2.0-flash@001",
            "gemini",
            format!("{google}/gemini-2.0-flash@001"),
        ),
        (
            "publishers/google/models/gemini-3-pro",
            "gemini",
            format!("{google}/gemini-3-pro"),
        ),
        (
            "endpoints/4711",
            "gemini",
            format!("{place}/endpoints/4711"),
        ),
        (
            "projects/7/locations/us-central1/endpoints/8",
            "gemini",
            "/v1/projects/7/locations/us-central1/endpoints/8".to_owned(),
        ),
        (
            "claude-opus-4@20250514",
            "anthropic",
            format!("{anthropic}/claude-opus-4@20250514"),
        ),
        (
            "publishers/anthropic/models/claude-sonnet-4-5@20250929",
            "anthropic",
            format!("{anthropic}/claude-sonnet-4-5@20250929"),
        ),
    ] {
        let upstream = Upstream::playing([
            upstream::whole(&whole(speaks, Has::Words)),
            upstream::stream(&streamed(speaks, Has::Words)),
        ])
        .await;
        let site = Site::new().await;
        site.add("m", &named(name, &upstream)).await;
        site.chat("m").await.unwrap();
        site.stream("m").await.unwrap().collect().await.unwrap();
        let asked = upstream.asked();
        let verbs = match speaks {
            "gemini" => ["generateContent", "streamGenerateContent?alt=sse"],
            _ => ["rawPredict", "streamRawPredict"],
        };
        for (asked, verb) in asked.iter().zip(verbs) {
            assert_eq!(asked.method, "POST");
            assert_eq!(asked.path, format!("{path}:{verb}"));
            assert_eq!(asked.header("anthropic-version"), None, "{name}");
            assert_eq!(asked.header("content-type"), Some("application/json"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_anthropics_is_asked_in_its_words_but_for_the_name() {
    let upstream = Upstream::playing([
        upstream::whole(&whole("anthropic", Has::Call)),
        upstream::stream(&streamed("anthropic", Has::Call)),
    ])
    .await;
    let site = Site::new().await;
    site.add("m", &named("claude-opus-4@20250514", &upstream))
        .await;
    let mut request = question();
    request
        .messages
        .insert(0, Message::text(Role::System, "Be brief."));
    let schema = json!({ "type": "object", "properties": {} });
    request.tools = vec![Tool::Function {
        name: "get_weather".into(),
        description: None,
        parameters: Some(schema.clone()),
        strict: None,
        opaque: Opaque::default(),
    }];
    request.format = Some(Format::Schema {
        name: "answer".into(),
        description: None,
        schema: json!({ "type": "string" }),
        strict: None,
    });
    site.gateway
        .chat(&asking("m"), request.clone())
        .await
        .unwrap();
    let stream = site.gateway.stream(&asking("m"), request).await.unwrap();
    stream.collect().await.unwrap();
    let mut body = json!({
        "max_tokens": 1_000,
        "system": "Be brief.",
        "messages": [{ "role": "user", "content": "Hi" }],
        "tools": [{ "name": "get_weather", "input_schema": schema }],
        "output_config": { "format": { "type": "json_schema", "schema": { "type": "string" } } },
        "anthropic_version": "vertex-2023-10-16",
    });
    let asked = upstream.asked();
    assert_eq!(asked[0].body, body);
    body["stream"] = true.into();
    assert_eq!(asked[1].body, body);
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_tools_schemas_and_thoughts_are_said_in_googles_words() {
    let upstream = Upstream::always(upstream::whole(&whole("gemini", Has::Calls))).await;
    let site = Site::new().await;
    site.add("m", &named("gemini-2.5-flash@001", &upstream))
        .await;
    let mut request = question();
    request.messages[0].parts.push(Part::Image {
        source: Source::Url("gs://bucket/a.png".into()),
        detail: None,
        opaque: Opaque::default(),
    });
    let schema = json!({ "type": "object" });
    request.tools = vec![Tool::Function {
        name: "get_weather".into(),
        description: None,
        parameters: Some(schema.clone()),
        strict: None,
        opaque: Opaque::default(),
    }];
    request.tool_choice = Some(ToolChoice::Named("get_weather".into()));
    request.format = Some(Format::Schema {
        name: "answer".into(),
        description: None,
        schema: schema.clone(),
        strict: None,
    });
    request.reasoning = Some(Reasoning {
        effort: Some("low".into()),
        ..Reasoning::default()
    });
    let asked = site.gateway.chat(&asking("m"), request).await;
    assert_eq!(asked.unwrap().answer.choices[0].finish, Finish::Tools);
    let calling = json!({ "mode": "ANY", "allowedFunctionNames": ["get_weather"] });
    let function = json!({ "name": "get_weather", "parametersJsonSchema": schema });
    assert_eq!(
        upstream.asked()[0].body,
        json!({
            "contents": [{ "role": "user", "parts": [
                { "text": "Hi" },
                { "fileData": { "fileUri": "gs://bucket/a.png", "mimeType": "image/png" } },
            ] }],
            "tools": [{ "functionDeclarations": [function] }],
            "toolConfig": { "functionCallingConfig": calling },
            "generationConfig": {
                "maxOutputTokens": 1_000,
                "responseMimeType": "application/json",
                "responseJsonSchema": { "type": "object" },
                "thinkingConfig": { "thinkingBudget": 1_024, "includeThoughts": true },
            },
        })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_read_whoever_words_them() {
    let google = r#"{"error":{"code":400,"message":"Bad part.","status":"INVALID_ARGUMENT"}}"#;
    let listed = format!("[{google}]");
    let anthropic =
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"Bad block."}}"#;
    for (model, body, says) in [
        (
            "gemini-2.5-flash",
            google,
            ("INVALID_ARGUMENT", "Bad part."),
        ),
        (
            "claude-opus-4@20250514",
            google,
            ("INVALID_ARGUMENT", "Bad part."),
        ),
        (
            "claude-opus-4@20250514",
            &listed,
            ("INVALID_ARGUMENT", "Bad part."),
        ),
        (
            "claude-opus-4@20250514",
            anthropic,
            ("invalid_request_error", "Bad block."),
        ),
    ] {
        let upstream = Upstream::always(status(400, "", body)).await;
        let site = Site::new().await;
        site.add("m", &named(model, &upstream)).await;
        let complaint = site.chat("m").await.unwrap_err().complaint();
        assert_eq!((complaint.kind.as_str(), complaint.message.as_str()), says);
        assert_eq!(complaint.status, 400);
    }
}

fn vectors(texts: &[&str]) -> EmbedRequest {
    EmbedRequest {
        texts: texts.iter().map(|text| (*text).to_owned()).collect(),
        dimensions: Some(2),
        purpose: Some("query".into()),
        ..EmbedRequest::default()
    }
}

fn predictions(each: &[(f32, u64)]) -> String {
    let each = each.iter().map(|(number, tokens)| {
        let statistics = json!({ "token_count": tokens, "truncated": false });
        json!({ "embeddings": { "values": [number, 0.5], "statistics": statistics } })
    });
    json!({ "predictions": each.collect::<Vec<Value>>() }).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_become_vectors_by_prediction() {
    let upstream = Upstream::start().await;
    let site = Site::new().await;
    site.add("m", &named("text-embedding-005@001", &upstream))
        .await;
    upstream.then(upstream::whole(&predictions(&[(0.25, 3), (0.75, 4)])));
    let request = vectors(&["one", "two"]);
    let (answer, _) = site.gateway.embed(&asking("m"), request).await.unwrap();
    assert_eq!(answer.vectors, [[0.25, 0.5], [0.75, 0.5]]);
    let used = Usage {
        input: 7,
        ..Usage::default()
    };
    assert_eq!(answer.usage, Some(used));
    let asked = upstream.asked().remove(0);
    let place = "/v1/projects/p-1/locations/europe-west1/publishers/google/models";
    assert_eq!(
        asked.path,
        format!("{place}/text-embedding-005@001:predict")
    );
    let instance = |text| json!({ "content": text, "task_type": "RETRIEVAL_QUERY" });
    assert_eq!(
        asked.body,
        json!({
            "instances": [instance("one"), instance("two")],
            "parameters": { "outputDimensionality": 2 },
        })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_takes_one_text_is_asked_for_each() {
    let upstream = Upstream::always(upstream::whole(&predictions(&[(0.25, 3)]))).await;
    let site = Site::new().await;
    site.add("m", &named("gemini-embedding-001", &upstream))
        .await;
    let texts = ["a", "b", "c", "d", "e", "f"];
    let answered = site.gateway.embed(&asking("m"), vectors(&texts)).await;
    let (answer, _) = answered.unwrap();
    assert_eq!(answer.vectors.len(), 6);
    assert_eq!(answer.usage.unwrap().input, 18);
    let asked = upstream.asked();
    let mut sent: Vec<&str> = Vec::new();
    for asked in &asked {
        let instances = asked.body["instances"].as_array().unwrap();
        assert_eq!(instances.len(), 1);
        sent.push(instances[0]["content"].as_str().unwrap());
    }
    sent.sort_unstable();
    assert_eq!(sent, texts);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_model_is_not_asked_for_is_said() {
    let upstream = Upstream::start().await;
    let site = Site::new().await;
    site.add("claude", &named("claude-opus-4@20250514", &upstream))
        .await;
    site.add("llama", &named("publishers/meta/models/llama", &upstream))
        .await;
    let embedded = site.gateway.embed(&asking("claude"), vectors(&["a"])).await;
    assert_eq!(reason(&embedded.unwrap_err()), Reason::Unsupported);
    let asked = site.chat("llama").await;
    assert_eq!(reason(&asked.unwrap_err()), Reason::Unsupported);
    assert_eq!(upstream.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_says_that_it_is_there() {
    for (name, path) in [
        (
            "gemini-2.5-flash",
            "/v1/publishers/google/models/gemini-2.5-flash",
        ),
        (
            "claude-opus-4@20250514",
            "/v1/publishers/anthropic/models/claude-opus-4@20250514",
        ),
        (
            "endpoints/1",
            "/v1/projects/p-1/locations/europe-west1/endpoints/1",
        ),
    ] {
        let body = json!({ "name": path.trim_start_matches("/v1/") });
        let upstream = Upstream::always(upstream::whole(&body.to_string())).await;
        let site = Site::new().await;
        site.add("m", &named(name, &upstream)).await;
        let names = site.gateway.probe(&asking("m")).await.unwrap();
        assert_eq!(names, [path.trim_start_matches("/v1/")]);
        let asked = upstream.asked().remove(0);
        assert_eq!((asked.method.as_str(), asked.path.as_str()), ("GET", path));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prices_are_found_by_the_name_without_its_publisher() {
    let upstream = Upstream::always(upstream::whole(&whole("anthropic", Has::Words))).await;
    let site = Site::new().await;
    let mut costs = Vec::new();
    for (name, model) in [
        ("short", "claude-sonnet-4-5@20250929"),
        (
            "long",
            "publishers/anthropic/models/claude-sonnet-4-5@20250929",
        ),
    ] {
        let mut spec = named(model, &upstream);
        spec.price = PriceRule::Catalogue;
        site.add(name, &spec).await;
        costs.push(site.chat(name).await.unwrap().receipt.cost);
    }
    assert_eq!(costs[0], costs[1]);
    let mut unknown = named("endpoints/1", &upstream);
    unknown.price = PriceRule::Catalogue;
    site.add("unknown", &unknown).await;
    let refused = site.chat("unknown").await.unwrap_err();
    assert!(matches!(refused, ModelError::NoPrice(_)), "{refused}");
}

#[test]
fn projects_and_regions_are_plain_words() {
    for (project, region) in [
        ("a/b", "eu"),
        ("a", "eu.example.com/"),
        ("", "eu"),
        ("a", "e#"),
    ] {
        let mut spec = spec(ProviderKind::Vertex, "https://example.com/v1");
        spec.provider.project = Some(project.into());
        spec.provider.region = Some(region.into());
        assert!(spec.check().is_err(), "{project} {region}");
    }
}
