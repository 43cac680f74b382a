//! Azure at its socket: both forms of its addresses, its header and its words.

use matrix_models::ModelError;
use matrix_models::chat::{
    ChatRequest, Finish, Format, Opaque, Part, Reasoning, Source, Tool, ToolChoice,
};
use matrix_models::embed::EmbedRequest;
use matrix_models::provider::Reason;
use matrix_models::registry::{Api, ModelSpec, ProviderKind};
use serde_json::json;

use crate::site::{Site, asking, question, spec};
use crate::transcripts::{Has, streamed, whole};
use crate::upstream::{self, Upstream, status};

fn deployed(site: &Site, upstream: &Upstream, version: Option<&str>) -> ModelSpec {
    let mut spec = spec(ProviderKind::Azure, &upstream.url());
    spec.model = "my deployment".into();
    spec.provider.key = Some(site.key("azure", "secret\n"));
    spec.provider.api_version = version.map(str::to_owned);
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_are_those_of_the_version_or_of_the_deployment() {
    let vectors = json!({ "data": [{ "index": 0, "embedding": [1, 0] }], "model": "m" });
    let models = json!({ "data": [{ "id": "gpt-4o" }] }).to_string();
    let old = "/openai/deployments/my%20deployment";
    let version = "api-version=2024-10-21";
    for (version, chat, embed) in [
        (
            None,
            "/openai/v1/chat/completions".to_owned(),
            "/openai/v1/embeddings".to_owned(),
        ),
        (
            Some("2024-10-21"),
            format!("{old}/chat/completions?{version}"),
            format!("{old}/embeddings?{version}"),
        ),
    ] {
        let upstream = Upstream::playing([
            upstream::whole(&whole("openai", Has::Words)),
            upstream::stream(&streamed("openai", Has::Words)),
            upstream::whole(&vectors.to_string()),
            upstream::whole(&models),
        ])
        .await;
        let site = Site::new().await;
        site.add("m", &deployed(&site, &upstream, version)).await;
        site.chat("m").await.unwrap();
        site.stream("m").await.unwrap().collect().await.unwrap();
        let request = EmbedRequest {
            texts: vec!["a".into()],
            ..EmbedRequest::default()
        };
        site.gateway.embed(&asking("m"), request).await.unwrap();
        let names = site.gateway.probe(&asking("m")).await.unwrap();
        assert_eq!(names, ["gpt-4o"]);
        let asked = upstream.asked();
        let paths: Vec<&str> = asked.iter().map(|asked| asked.path.as_str()).collect();
        assert_eq!(paths, [&chat, &chat, &embed, "/openai/v1/models"]);
        for asked in &asked {
            assert_eq!(asked.header("api-key"), Some("secret"));
            assert_eq!(asked.header("authorization"), None);
        }
        // The newer form knows the deployment from the body.
        assert_eq!(asked[0].body["model"], "my deployment");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_are_asked_for_at_the_newer_address() {
    for version in [None, Some("2024-10-21")] {
        let upstream = Upstream::always(upstream::whole(&whole("responses", Has::Words))).await;
        let site = Site::new().await;
        let mut spec = deployed(&site, &upstream, version);
        spec.provider.api = Api::Responses;
        site.add("m", &spec).await;
        site.chat("m").await.unwrap();
        assert_eq!(upstream.asked()[0].path, "/openai/v1/responses");
    }
}

fn asks_for_much() -> ChatRequest {
    let mut request = question();
    request.messages[0].parts.push(Part::Image {
        source: Source::Data {
            media_type: "image/png".into(),
            data: "iVBORw==".into(),
        },
        detail: Some("low".into()),
        opaque: Opaque::default(),
    });
    request.tools = vec![Tool::Function {
        name: "get_weather".into(),
        description: None,
        parameters: Some(json!({ "type": "object" })),
        strict: None,
        opaque: Opaque::default(),
    }];
    request.tool_choice = Some(ToolChoice::Required);
    request.parallel_tools = Some(true);
    request.format = Some(Format::Schema {
        name: "answer".into(),
        description: None,
        schema: json!({ "type": "object" }),
        strict: Some(true),
    });
    request.reasoning = Some(Reasoning {
        effort: Some("low".into()),
        ..Reasoning::default()
    });
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_tools_schemas_and_thoughts_are_said_in_openais_words() {
    let upstream = Upstream::always(upstream::whole(&whole("openai", Has::Calls))).await;
    let site = Site::new().await;
    site.add("m", &deployed(&site, &upstream, None)).await;
    let asked = site.gateway.chat(&asking("m"), asks_for_much()).await;
    let answered = asked.unwrap();
    assert_eq!(answered.answer.choices[0].finish, Finish::Tools);
    let picture = json!({ "url": "data:image/png;base64,iVBORw==", "detail": "low" });
    let schema = json!({ "name": "answer", "schema": { "type": "object" }, "strict": true });
    assert_eq!(
        upstream.asked()[0].body,
        json!({
            "model": "my deployment",
            "messages": [{ "role": "user", "content": [
                { "type": "text", "text": "Hi" },
                { "type": "image_url", "image_url": picture },
            ] }],
            "tools": [{ "type": "function", "function": {
                "name": "get_weather", "parameters": { "type": "object" },
            } }],
            "tool_choice": "required",
            "parallel_tool_calls": true,
            "response_format": { "type": "json_schema", "json_schema": schema },
            "max_completion_tokens": 1_000,
            "reasoning_effort": "low",
        })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_azure_thinks_of_the_question_comes_before_the_answer() {
    let first = r#"{"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0}]}"#;
    let text = streamed("openai", Has::Words);
    let (named, _) = {
        let upstream = Upstream::always(upstream::stream(&text)).await;
        let site = Site::new().await;
        site.add("m", &deployed(&site, &upstream, None)).await;
        site.stream("m").await.unwrap().collect().await.unwrap()
    };
    let upstream = Upstream::always(upstream::stream(&format!("data: {first}\n\n{text}"))).await;
    let site = Site::new().await;
    site.add("m", &deployed(&site, &upstream, None)).await;
    let (answer, _) = site.stream("m").await.unwrap().collect().await.unwrap();
    assert!(!answer.id.is_empty() && answer.id == named.id);
    assert_eq!(answer.model, named.model);
    assert_eq!(answer.choices, named.choices);
    assert_eq!(answer.extra["prompt_filter_results"][0]["prompt_index"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_says_which_code_it_has() {
    let body = json!({ "error": {
        "message": "The prompt was filtered.",
        "type": null,
        "param": "prompt",
        "code": "content_filter",
        "status": 400,
        "innererror": { "code": "ResponsibleAIPolicyViolation" },
    } });
    let upstream = Upstream::always(status(400, "", &body.to_string())).await;
    let site = Site::new().await;
    site.add("m", &deployed(&site, &upstream, None)).await;
    let error = site.chat("m").await.unwrap_err();
    let ModelError::Provider { source, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(source.reason, Reason::Invalid);
    let complaint = error.complaint();
    assert_eq!(complaint.code.as_deref(), Some("content_filter"));
    assert_eq!(complaint.message, "The prompt was filtered.");
    assert!(!error.to_string().contains("secret"));
}
