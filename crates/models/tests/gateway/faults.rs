//! Providers that refuse, fail, are slow or talk nonsense, before the first words of an answer.

use std::time::Duration;

use matrix_models::ModelError;
use matrix_models::chat::ChatRequest;
use matrix_models::provider::{Reason, Refusal};
use matrix_models::registry::ProviderKind;
use matrix_models::route::State;
use tokio::io::AsyncWriteExt;

use crate::site::{QUESTION, Site, asking, caller, question, spec};
use crate::transcripts::{Has, streamed, whole};
use crate::upstream::{self, Reply, Step, Upstream, piece, status};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Whole,
    Streamed,
}

const BOTH: [How; 2] = [How::Whole, How::Streamed];

/// Asks, and gives the words of the answer.
async fn ask(site: &Site, model: &str, how: How) -> Result<String, ModelError> {
    if how == How::Whole {
        let answered = site.chat(model).await?;
        return Ok(answered.answer.choices[0].text());
    }
    let stream = site.stream(model).await?;
    let (answer, _) = stream.collect().await?;
    Ok(answer.choices[0].text())
}

fn good(how: How) -> Reply {
    match how {
        How::Whole => upstream::whole(&whole("openai", Has::Words)),
        How::Streamed => upstream::stream(&streamed("openai", Has::Words)),
    }
}

fn reason(error: &ModelError) -> Reason {
    match error {
        ModelError::Provider { source, .. } => source.reason,
        other => panic!("{other}"),
    }
}

/// A site with one model that is asked at an upstream.
async fn one(upstream: &Upstream) -> Site {
    let site = Site::new().await;
    let mut spec = spec(ProviderKind::Openai, &upstream.url());
    spec.timeout_ms = Some(2_000);
    site.add("m", &spec).await;
    site
}

/// What comes of one reply that is given for ever: why it failed, how often it was asked, and what
/// was charged.
async fn fails(reply: Reply, how: How) -> (Reason, usize, (i64, i64, i64)) {
    let upstream = Upstream::always(reply).await;
    let site = one(&upstream).await;
    let error = ask(&site, "m", how).await.unwrap_err();
    (reason(&error), upstream.count(), site.charged().await)
}

const ERROR: &str = r#"{"error":{"message":"No.","type":"some_error","param":null,"code":null}}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_asks_for_a_short_wait_is_asked_again() {
    for how in BOTH {
        for header in ["retry-after: 0.05\r\n", "retry-after-ms: 50\r\n", ""] {
            let busy = status(429, header, ERROR);
            let upstream = Upstream::playing([busy, good(how)]).await;
            let site = one(&upstream).await;
            let words = ask(&site, "m", how).await.unwrap();
            assert_eq!(words, "Hello! How can I assist you today?");
            assert_eq!(upstream.count(), 2, "{how:?} {header}");
            assert_eq!(site.charged().await, (19, 10, 0), "{how:?} {header}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_asks_for_a_long_wait_is_not_waited_for() {
    for how in BOTH {
        let upstream = Upstream::always(status(429, "retry-after: 120\r\n", ERROR)).await;
        let site = one(&upstream).await;
        let error = ask(&site, "m", how).await.unwrap_err();
        assert_eq!(error.retry_after(), Some(Duration::from_mins(2)));
        assert_eq!(error.complaint().status, 429);
        assert_eq!(upstream.count(), 1, "{how:?}");
        assert_eq!(site.charged().await, (0, 0, 1), "{how:?}");
    }
}

/// What is charged for a call that was sent and of which nobody knows what came of it: as a whole it may
/// have written all that it may, and a stream that had no word yet has written none.
const fn unknown(how: How) -> (i64, i64, i64) {
    match how {
        How::Whole => (QUESTION, 1_000, 1),
        How::Streamed => (QUESTION, 0, 1),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_provider_refuses_costs_nothing() {
    let busy = Reason::Busy { retry_after: None };
    let location = "location: http://127.0.0.1:1/\r\n";
    for (code, headers, expected, asked) in [
        (429, "", busy, 2),
        (500, "", Reason::Failed, 2),
        (503, "", Reason::Failed, 2),
        (307, location, Reason::Failed, 2),
        (400, "", Reason::Invalid, 1),
        (401, "", Reason::Refused(Refusal::Everything), 1),
        (402, "", Reason::Refused(Refusal::Everything), 1),
        (403, "", Reason::Refused(Refusal::Model), 1),
        (404, "", Reason::NoModel, 1),
        (504, "", Reason::Slow, 1),
    ] {
        for how in BOTH {
            let (reason, count, charged) = fails(status(code, headers, ERROR), how).await;
            assert_eq!((reason, count), (expected, asked), "{code} {how:?}");
            // Who fell silent behind a proxy may have done what it was sent.
            let owed = if code == 504 { unknown(how) } else { (0, 0, 1) };
            assert_eq!(charged, owed, "{code} {how:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed() {
    for how in BOTH {
        let elsewhere = Upstream::always(good(how)).await;
        let to = format!("location: {}/chat/completions\r\n", elsewhere.url());
        let (reason, _, charged) = fails(status(307, &to, ""), how).await;
        assert_eq!((reason, charged), (Reason::Failed, (0, 0, 1)));
        assert_eq!(elsewhere.count(), 0, "{how:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_answer_is_charged_at_the_most_that_it_can_have_cost() {
    let begun = r#"data: {"id":"a","choices":[{"index":0,"delta":{"con"#;
    let text = whole("openai", Has::Words);
    let half = &text[..text.len() / 2];
    let mut short = status(200, "", &text);
    let Some(Step::Send(bytes)) = short.first_mut() else {
        panic!("an answer is sent");
    };
    bytes.truncate(bytes.len() - 20);
    let events = || upstream::begin("text/event-stream");
    let page = "content-type: text/html\r\n";
    let strange = piece(b"data: {\"id\":\"\xff\xfe\"}\n\n");
    let mut nonsense = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n".to_vec();
    nonsense.extend_from_slice(b"{\"a\":\"\xff\"}");
    for (name, how, reply) in [
        ("half of its JSON", How::Whole, upstream::whole(half)),
        ("less than it said", How::Whole, short),
        ("no UTF-8", How::Whole, vec![Step::Send(nonsense)]),
        ("an empty object", How::Whole, upstream::whole("{}")),
        ("a page", How::Whole, status(200, page, "<p>Sorry</p>")),
        ("a page", How::Streamed, status(200, page, "<p>Sorry</p>")),
        ("a whole", How::Streamed, upstream::whole(&text)),
        ("nothing", How::Streamed, vec![events(), upstream::end()]),
        ("a cut", How::Streamed, vec![events()]),
        (
            "a cut in an event",
            How::Streamed,
            vec![events(), piece(begun.as_bytes())],
        ),
        ("no UTF-8", How::Streamed, vec![events(), strange]),
        (
            "no JSON",
            How::Streamed,
            vec![events(), piece(b"data: hello\n\n")],
        ),
        (
            "a chunk that is none",
            How::Streamed,
            vec![events(), Step::Send(b"zzz\r\n".to_vec())],
        ),
    ] {
        let (reason, count, charged) = fails(reply, how).await;
        assert_eq!((reason, count), (Reason::Broken, 1), "{name} {how:?}");
        assert_eq!(charged, unknown(how), "{name} {how:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_too_large_is_not_kept() {
    let mega = vec![b'x'; 1024 * 1024];
    let mut event = vec![upstream::begin("text/event-stream"), piece(b"data: ")];
    event.extend((0..9).map(|_| piece(&mega)));
    event.push(Step::Silence);
    let mut body = vec![upstream::begin("application/json"), piece(b"\"")];
    body.extend((0..65).map(|_| piece(&mega)));
    body.push(Step::Silence);
    for (how, reply) in [(How::Streamed, event), (How::Whole, body)] {
        let upstream = Upstream::always(reply).await;
        let site = one(&upstream).await;
        let error = ask(&site, "m", how).await.unwrap_err();
        assert_eq!(reason(&error), Reason::Broken, "{how:?}");
        assert!(error.to_string().contains("larger"), "{error}");
        assert_eq!(site.charged().await, unknown(how), "{how:?}");
        upstream.hung_up(1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_slow_is_given_up() {
    let slowly = |text: &str| Step::Drip(text.as_bytes().to_vec(), Duration::from_millis(60));
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let begun = |kind| vec![upstream::begin(kind), Step::Silence];
    for (name, how, reply) in [
        ("silence", How::Whole, vec![Step::Silence]),
        ("silence", How::Streamed, vec![Step::Silence]),
        ("a slow head", How::Whole, vec![slowly(head)]),
        ("a slow head", How::Streamed, vec![slowly(head)]),
        ("a head alone", How::Whole, begun("application/json")),
        ("a head alone", How::Streamed, begun("text/event-stream")),
    ] {
        let upstream = Upstream::always(reply).await;
        let site = Site::new().await;
        let mut spec = spec(ProviderKind::Openai, &upstream.url());
        spec.timeout_ms = Some(300);
        site.add("m", &spec).await;
        let error = ask(&site, "m", how).await.unwrap_err();
        assert_eq!(reason(&error), Reason::Slow, "{name} {how:?}");
        assert_eq!(error.complaint().status, 504);
        assert_eq!(site.charged().await, unknown(how), "{name} {how:?}");
        let used = site.used().await.remove(0);
        assert_eq!((used.failed, used.unknown, used.estimated), (1, 1, 0));
        upstream.hung_up(1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_cannot_be_reached_costs_nothing() {
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let untrue = format!("https://{}", plain.local_addr().unwrap());
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            // Whoever speaks TLS may have gone.
            drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await);
        }
    });
    for url in [nobody, untrue] {
        for how in BOTH {
            let site = Site::new().await;
            site.model("m", ProviderKind::Openai, &url).await;
            let error = ask(&site, "m", how).await.unwrap_err();
            assert_eq!(reason(&error), Reason::Unreachable, "{url}: {error}");
            assert_eq!(error.complaint().status, 502);
            assert_eq!(site.charged().await, (0, 0, 1), "{url} {how:?}");
        }
    }
    server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_of_this_machine_is_not_reached_unless_it_may_be() {
    let upstream = Upstream::always(good(How::Whole)).await;
    let site = Site::new().await;
    // A name may lead anywhere, so it is looked at when it is resolved.
    let url = format!("https://localhost.:{}", upstream.port());
    let mut spec = spec(ProviderKind::Openai, &url);
    spec.provider.private = false;
    site.add("m", &spec).await;
    let error = site.chat("m").await.unwrap_err();
    assert_eq!(reason(&error), Reason::Unreachable, "{error}");
    assert_eq!(upstream.count(), 0);
    assert_eq!(site.charged().await, (0, 0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_model_of_a_route_answers_where_the_first_one_fails() {
    for how in BOTH {
        for (code, asked) in [(500, 2), (401, 1), (404, 1), (529, 2)] {
            let ill = Upstream::always(status(code, "", ERROR)).await;
            let well = Upstream::always(good(how)).await;
            let site = Site::new().await;
            site.model("ill", ProviderKind::Openai, &ill.url()).await;
            site.model("well", ProviderKind::Openai, &well.url()).await;
            site.route("r", &["ill", "well"]).await;
            if how == How::Whole {
                let answered = site.chat("r").await.unwrap();
                assert_eq!(answered.receipt.model, "well@1");
                assert!(answered.receipt.passed[0].starts_with("ill: "));
            } else {
                let stream = site.stream("r").await.unwrap();
                assert_eq!(stream.model(), "well@1");
                assert!(stream.passed()[0].starts_with("ill: "));
                assert!(stream.collect().await.is_ok());
            }
            assert_eq!((ill.count(), well.count()), (asked, 1), "{code} {how:?}");
            assert_eq!(site.charged().await, (19, 10, 1), "{code} {how:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_wrong_is_not_sent_elsewhere() {
    for how in BOTH {
        let first = Upstream::always(status(400, "", ERROR)).await;
        let second = Upstream::always(good(how)).await;
        let site = Site::new().await;
        site.model("a", ProviderKind::Openai, &first.url()).await;
        site.model("b", ProviderKind::Openai, &second.url()).await;
        site.route("r", &["a", "b"]).await;
        let error = ask(&site, "r", how).await.unwrap_err();
        assert_eq!(error.complaint().message, "No.");
        assert_eq!(second.count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_fails_five_times_is_left_alone_and_then_asked_once() {
    for how in BOTH {
        let upstream = Upstream::always(status(500, "", ERROR)).await;
        let site = one(&upstream).await;
        for _ in 0..5 {
            let error = ask(&site, "m", how).await.unwrap_err();
            assert_eq!(reason(&error), Reason::Failed);
        }
        let refused = ask(&site, "m", how).await.unwrap_err();
        assert!(matches!(refused, ModelError::NoneLeft { .. }), "{refused}");
        assert_eq!(refused.retry_after(), Some(Duration::from_secs(5)));
        assert_eq!(upstream.count(), 10, "nobody asked it");
        site.clock.advance(Duration::from_secs(5));
        let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
        let mut reply = good(how);
        reply.insert(0, Step::Gate(std::sync::Arc::clone(&gate)));
        upstream.keep_saying(reply);
        let probe = ask(&site, "m", how);
        let other = async {
            // The probe is under way once it has asked.
            while upstream.count() < 11 {
                tokio::task::yield_now().await;
            }
            let refused = ask(&site, "m", how).await.unwrap_err();
            assert!(matches!(refused, ModelError::NoneLeft { .. }), "{refused}");
            gate.add_permits(9);
        };
        let both = async { tokio::join!(probe, other) };
        let (probed, ()) = tokio::time::timeout(upstream::PATIENCE, both)
            .await
            .unwrap();
        probed.unwrap();
        assert!(ask(&site, "m", how).await.is_ok(), "it is well again");
        assert_eq!(upstream.count(), 12);
        assert_eq!(site.charged().await, (38, 20, 5), "{how:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_busy_is_not_ill() {
    let upstream = Upstream::always(status(429, "retry-after: 60\r\n", ERROR)).await;
    let site = one(&upstream).await;
    for _ in 0..7 {
        assert!(site.chat("m").await.is_err());
    }
    let scope = caller().scope;
    let models = site.gateway.registry().snapshot(&scope).await.unwrap();
    let board = site.gateway.board();
    assert_eq!(board.state(&scope, &models.models()[0]), State::Well);
    assert_eq!(upstream.count(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_that_come_slowly_are_waited_for() {
    let text = streamed("openai", Has::Words);
    let mut bytes = Vec::new();
    for event in upstream::events(&text) {
        let Step::Send(piece) = piece(event.as_bytes()) else {
            continue;
        };
        bytes.extend(piece);
    }
    let slowly = Step::Drip(bytes, Duration::from_micros(100));
    let reply = vec![
        upstream::begin("text/event-stream"),
        slowly,
        upstream::end(),
    ];
    let upstream = Upstream::always(reply).await;
    let site = one(&upstream).await;
    let words = ask(&site, "m", How::Streamed).await.unwrap();
    assert_eq!(words, "Hello! How can I assist you today?");
    assert_eq!(site.charged().await, (19, 10, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_not_made_use_up_nothing_of_a_keys_minute() {
    let upstream = Upstream::always(status(500, "", ERROR)).await;
    let site = Site::new().await;
    let mut spec = spec(ProviderKind::Openai, &upstream.url());
    spec.limits.requests_per_minute = Some(6);
    site.add("m", &spec).await;
    for _ in 0..5 {
        assert!(site.chat("m").await.is_err());
    }
    for _ in 0..9 {
        let refused = site.chat("m").await.unwrap_err();
        assert!(refused.to_string().contains("left alone"), "{refused}");
    }
    site.clock.advance(Duration::from_secs(5));
    upstream.keep_saying(good(How::Whole));
    site.chat("m").await.unwrap();
    let full = site.chat("m").await.unwrap_err();
    assert!(full.to_string().contains("this minute"), "{full}");
    site.clock.advance(Duration::from_mins(1));
    site.chat("m").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_after_the_request_was_sent_is_charged_at_the_most() {
    for how in BOTH {
        // It takes the request, and hangs up without a word.
        let (reason, count, charged) = fails(vec![Step::Send(Vec::new())], how).await;
        assert_eq!(
            (reason, count),
            (Reason::Broken, 1),
            "{how:?}: it is not sent again"
        );
        assert_eq!(charged, unknown(how), "{how:?}");
    }
}

/// How each model does, by its name.
async fn states(site: &Site) -> Vec<(String, State)> {
    let scope = caller().scope;
    let models = site.gateway.registry().snapshot(&scope).await.unwrap();
    let board = site.gateway.board();
    let state = |model: &std::sync::Arc<matrix_models::registry::Model>| {
        (model.name.clone(), board.state(&scope, model))
    };
    models.models().iter().map(state).collect()
}

/// Two models that are asked at one place with one key, which is refused with a status.
async fn refusing(code: u16) -> (Upstream, Site) {
    let upstream = Upstream::always(status(code, "", ERROR)).await;
    let site = Site::new().await;
    let mut spec = spec(ProviderKind::Openai, &upstream.url());
    spec.provider.key = Some(site.key("key", "sk-1"));
    site.add("m", &spec).await;
    site.add("other", &spec).await;
    (upstream, site)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_refused_is_not_tried_again_for_a_while_and_the_provider_is_not_ill() {
    for (code, beside) in [
        (401, State::KeyRefused),
        (402, State::KeyRefused),
        (403, State::Well),
    ] {
        let (upstream, site) = refusing(code).await;
        let error = site.chat("m").await.unwrap_err();
        assert_eq!(error.complaint().status, 502, "{code}");
        let known = [
            ("m".to_owned(), State::KeyRefused),
            ("other".to_owned(), beside),
        ];
        assert_eq!(states(&site).await, known, "{code}");
        for _ in 0..7 {
            let refused = site.chat("m").await.unwrap_err();
            assert!(matches!(refused, ModelError::NoneLeft { .. }), "{refused}");
            assert!(refused.to_string().contains("refused the key"), "{refused}");
        }
        assert_eq!(upstream.count(), 1, "{code}: it is not asked with again");
        assert!(site.chat("other").await.is_err());
        let others = usize::from(beside == State::Well);
        assert_eq!(upstream.count(), 1 + others, "{code}");
        site.clock.advance(Duration::from_mins(1));
        upstream.keep_saying(good(How::Whole));
        site.chat("m").await.unwrap();
        site.chat("other").await.unwrap();
        let charged = site.charged().await;
        assert_eq!(
            (charged.0, charged.1),
            (38, 20),
            "{code}: a refusal costs nothing"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_put_right_is_taken_at_once_when_somebody_tries_it() {
    let (upstream, site) = refusing(401).await;
    let probe = || async { site.gateway.probe(&asking("m")).await };
    assert!(probe().await.is_err());
    assert_eq!(states(&site).await[1].1, State::KeyRefused, "a trial tells");
    upstream.keep_saying(upstream::whole(r#"{"data":[{"id":"m"}]}"#));
    assert_eq!(probe().await.unwrap(), ["m"]);
    upstream.keep_saying(good(How::Whole));
    site.chat("other").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_there_makes_nobody_ill() {
    let upstream = Upstream::always(good(How::Whole)).await;
    let site = Site::new().await;
    let mut spec = spec(ProviderKind::Openai, &upstream.url());
    let key = site.key("key", "sk-1");
    spec.provider.key = Some(key);
    site.add("m", &spec).await;
    site.lose_key("key");
    for _ in 0..7 {
        let error = site.chat("m").await.unwrap_err();
        assert_eq!(reason(&error), Reason::Key, "{error}");
    }
    site.key("key", "sk-1");
    site.chat("m").await.unwrap();
    assert_eq!(upstream.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_a_protocol_has_no_words_for_is_not_sent_and_makes_nobody_ill() {
    let upstream = Upstream::always(good(How::Whole)).await;
    let site = Site::new().await;
    site.model("m", ProviderKind::Gemini, &upstream.url()).await;
    for _ in 0..7 {
        let nothing = ChatRequest {
            messages: Vec::new(),
            ..question()
        };
        let error = site.gateway.chat(&asking("m"), nothing).await.unwrap_err();
        assert_eq!(reason(&error), Reason::Unsupported, "{error}");
        assert_eq!(error.complaint().status, 400);
    }
    assert_eq!(upstream.count(), 0);
    assert_eq!(states(&site).await[0].1, State::Well);
    assert_eq!(
        site.charged().await,
        (0, 0, 7),
        "nothing was read by anybody"
    );
}
