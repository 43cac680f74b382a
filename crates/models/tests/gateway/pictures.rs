//! Pictures at addresses, for providers that fetch none: what is fetched, what is not, and what is said.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use matrix_models::chat::{ChatRequest, Message, Opaque, Part, Role, Source};
use matrix_models::provider::PictureRules;
use matrix_models::registry::ProviderKind;
use matrix_models::{Answered, Gateway, ModelError};
use serde_json::Value;

use crate::site::{Site, asking, question};
use crate::transcripts::{self, Has};
use crate::upstream::{Reply, Step, Upstream, status, whole};

/// The first bytes of a PNG.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\nand so on";

/// Pictures on this machine, as tests have them, may be fetched.
const HERE: PictureRules = PictureRules {
    fetch: true,
    http: true,
    private: true,
};

fn bytes(body: &[u8]) -> Reply {
    let length = body.len();
    // What a server says that it is does not count.
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n";
    let mut all = format!("{head}content-length: {length}\r\n\r\n").into_bytes();
    all.extend_from_slice(body);
    vec![Step::Send(all)]
}

fn redirect(to: &str) -> Reply {
    status(302, &format!("location: {to}\r\n"), "")
}

fn picture(url: &str) -> Part {
    Part::Image {
        source: Source::Url(url.to_owned()),
        detail: None,
        opaque: Opaque::default(),
    }
}

fn asks(parts: Vec<Part>) -> ChatRequest {
    let message = Message {
        role: Role::User,
        parts,
        name: None,
    };
    ChatRequest {
        messages: vec![message],
        ..question()
    }
}

fn place(kind: ProviderKind) -> &'static str {
    match kind {
        ProviderKind::Gemini | ProviderKind::Vertex => "gemini",
        ProviderKind::Ollama => "ollama",
        ProviderKind::Bedrock => "bedrock",
        _ => "openai",
    }
}

/// A model `m` of a kind, and a process that fetches pictures by these rules.
async fn site(kind: ProviderKind, rules: PictureRules) -> (Site, Gateway, Upstream) {
    let site = Site::new().await;
    let provider = Upstream::always(whole(&transcripts::whole(place(kind), Has::Words))).await;
    let mut spec = crate::site::spec(kind, &provider.url());
    if kind == ProviderKind::Vertex {
        spec.model = "gemini-2.5-flash".into();
    }
    if kind == ProviderKind::Bedrock {
        spec.provider.key = Some(site.key("bedrock", "an-api-key"));
    }
    site.add("m", &spec).await;
    let gateway = site.reaching(|options| options.pictures = rules);
    (site, gateway, provider)
}

async fn ask(gateway: &Gateway, url: &str) -> Result<Answered, ModelError> {
    let chat = asks(vec![Part::text("What is it?"), picture(url)]);
    gateway.chat(&asking("m"), chat).await
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_are_sent_as_bytes_to_providers_that_fetch_none() {
    for kind in [
        ProviderKind::Gemini,
        ProviderKind::Vertex,
        ProviderKind::Ollama,
        ProviderKind::Bedrock,
    ] {
        let (_site, gateway, provider) = site(kind, HERE).await;
        let there = Upstream::playing([redirect("/b"), bytes(PNG)]).await;
        let url = format!("{}/a.gif", there.url());
        // Twice the same is fetched once.
        let chat = asks(vec![Part::text("Which?"), picture(&url), picture(&url)]);
        gateway.chat(&asking("m"), chat).await.unwrap();
        let asked = there.asked();
        let paths: Vec<&str> = asked.iter().map(|asked| asked.path.as_str()).collect();
        assert_eq!(paths, ["/a.gif", "/b"], "{kind}");
        assert_eq!(asked[0].header("authorization"), None);
        let sent = &provider.asked()[0].text;
        assert_eq!(
            sent.matches(&STANDARD.encode(PNG)).count(),
            2,
            "{kind}: {sent}"
        );
        assert!(
            !sent.contains(&url) && !sent.contains("gif"),
            "{kind}: {sent}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_fetched_unless_the_operator_allows_it_or_the_provider_does_it() {
    let there = Upstream::always(bytes(PNG)).await;
    let url = format!("{}/a.png", there.url());
    let fetch = PictureRules {
        fetch: true,
        ..PictureRules::default()
    };
    let encrypted = PictureRules {
        http: false,
        ..HERE
    };
    let public = PictureRules {
        private: false,
        ..HERE
    };
    for rules in [PictureRules::default(), fetch, encrypted, public] {
        let (_site, gateway, provider) = site(ProviderKind::Gemini, rules).await;
        let error = ask(&gateway, &url).await.unwrap_err();
        assert_eq!(error.code().text, "MODEL-0004", "{rules:?}: {error}");
        assert!(error.to_string().contains("bytes"), "{error}");
        assert_eq!(provider.count(), 0);
    }
    let (_site, gateway, provider) = site(ProviderKind::Openai, HERE).await;
    ask(&gateway, &url).await.unwrap();
    assert!(provider.asked()[0].text.contains(&url));
    assert_eq!(there.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_picture_or_leads_elsewhere_is_refused() {
    let large = {
        let mut large = PNG.to_vec();
        large.resize(10 * 1024 * 1024 + 1, 0);
        large
    };
    let (_site, gateway, provider) = site(ProviderKind::Ollama, HERE).await;
    for (reply, why) in [
        (bytes(b"<html>"), "no PNG"),
        (bytes(b""), "no PNG"),
        (bytes(&large), "too large"),
        (status(404, "", "{}"), "not there"),
        (
            redirect("http://169.254.169.254/latest/meta-data"),
            "not asked",
        ),
        (redirect("http://93.184.216.34/a.png"), "not asked"),
        (redirect("file:///etc/passwd"), "not asked"),
        (redirect("/again"), "again and again"),
        (status(302, "", ""), "not there"),
        (Vec::new(), "cannot be reached"),
    ] {
        let there = Upstream::always(reply).await;
        let error = ask(&gateway, &format!("{}/a.png", there.url())).await;
        let text = error.unwrap_err().to_string();
        assert!(text.contains(why), "{why}: {text}");
        assert!(there.count() <= 4, "{why}: redirects have an end");
        assert!(!text.contains("127.0.0.1"), "{text}");
    }
    let error = ask(&gateway, "http://user:word@127.0.0.1:1/a.png").await;
    assert!(error.unwrap_err().to_string().contains("not asked"));
    let many = (0..17).map(|number| picture(&format!("http://127.0.0.1:1/{number}.png")));
    let error = gateway.chat(&asking("m"), asks(many.collect())).await;
    assert!(error.unwrap_err().to_string().contains("more than 16"));
    assert_eq!(provider.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_of_a_tool_is_fetched_and_a_route_goes_on_without() {
    let (site, gateway, provider) = site(ProviderKind::Bedrock, HERE).await;
    let there = Upstream::playing([bytes(PNG)]).await;
    let url = format!("{}/a.png", there.url());
    let call = Part::ToolCall {
        id: "c".into(),
        name: "look".into(),
        arguments: "{}".into(),
        opaque: Opaque::default(),
    };
    let result = Part::ToolResult {
        call: "c".into(),
        parts: vec![picture(&url)],
        failed: false,
        opaque: Opaque::default(),
    };
    let mut chat = asks(vec![Part::text("Look.")]);
    for (role, part) in [(Role::Assistant, call), (Role::Tool, result)] {
        chat.messages.push(Message {
            role,
            parts: vec![part],
            name: None,
        });
    }
    gateway.chat(&asking("m"), chat).await.unwrap();
    assert!(provider.asked()[0].text.contains(&STANDARD.encode(PNG)));

    // It is not there any more; another provider looks by itself.
    let other = Upstream::always(whole(&transcripts::whole("openai", Has::Words))).await;
    site.model("o", ProviderKind::Openai, &other.url()).await;
    site.route("both", &["m", "o"]).await;
    // Gateways beside one that changes something hear of it after a second.
    site.clock.advance(std::time::Duration::from_secs(2));
    let chat = asks(vec![picture(&url)]);
    let answered = gateway.chat(&asking("both"), chat).await.unwrap();
    assert_eq!(answered.receipt.model, "o@1");
    assert!(
        answered.receipt.passed[0].contains("not fetched"),
        "{:?}",
        answered.receipt.passed
    );
    let sent: Value = other.asked()[0].body.clone();
    assert!(sent.to_string().contains(&url));
}
