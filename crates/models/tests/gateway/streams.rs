//! Streams that break after they have begun, and askers that hang up.

use futures::StreamExt;
use matrix_models::delta::{Assembler, Delta};
use matrix_models::ledger::UsageLine;
use matrix_models::registry::ProviderKind;
use matrix_models::{ModelError, Streaming};

use crate::site::{QUESTION, READ, Site, WRITTEN};
use crate::transcripts::{ALL, Has, KINDS, file, streamed};
use crate::upstream::{self, PATIENCE, Step, Upstream, closed, cut, events, kind, said};

/// What came of a stream until it ended or broke.
async fn drain(stream: &mut Streaming) -> (Assembler, Option<ModelError>) {
    let mut assembler = Assembler::default();
    while let Some(next) = stream.next().await {
        match next {
            Ok(deltas) => deltas.iter().for_each(|delta| assembler.push(delta)),
            Err(error) => {
                assert!(stream.next().await.is_none(), "an error is the last word");
                return (assembler, Some(error));
            }
        }
    }
    (assembler, None)
}

fn line<'a>(lines: &'a [UsageLine], model: &str) -> &'a UsageLine {
    lines.iter().find(|line| line.model == model).unwrap()
}

/// What was charged for a call that broke: what the provider said until then, and no less than what
/// was seen of it.
fn check_broken(line: &UsageLine, seen: &Assembler, what: &str) {
    let said = seen.usage().unwrap_or_default();
    let whole = |number: u64| i64::try_from(number).unwrap();
    let read = if said.total() > 0 {
        whole(said.input)
    } else {
        QUESTION
    };
    let bytes = u64::try_from(seen.bytes()).unwrap();
    let written = whole(said.output.max(bytes.div_ceil(4)));
    assert_eq!((line.calls, line.failed), (1, 1), "{what}");
    assert_eq!((line.input, line.output), (read, written), "{what}");
    assert_eq!(
        line.cost.as_nanos(),
        read * READ + written * WRITTEN,
        "{what}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_cut_anywhere_is_an_error() {
    let upstream = Upstream::start().await;
    let site = Site::new().await;
    for (of, place) in KINDS {
        for has in ALL {
            let text = streamed(place, has);
            let all = events(&text);
            for count in 0..=all.len() {
                let what = format!("{of} {has:?} {count}");
                let ended = count == all.len() && place != "gemini";
                let name = format!("{of}-{has:?}-{count}");
                site.model(&name, of, &upstream.url()).await;
                let mut reply = cut(&all[..count]);
                if count == 0 {
                    reply = vec![upstream::begin(kind(&text))];
                }
                upstream.then(reply);
                let (seen, error) = match site.stream(&name).await {
                    Ok(mut stream) => drain(&mut stream).await,
                    Err(error) => (Assembler::default(), Some(error)),
                };
                assert_eq!(seen.ended(), ended, "{what}");
                assert_eq!(error.is_none(), ended, "{what}");
                if !ended {
                    check_broken(line(&site.used().await, &name), &seen, &what);
                }
            }
        }
    }
    site.charged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_just_ends_is_an_error_unless_all_was_said() {
    let upstream = Upstream::start().await;
    let site = Site::new().await;
    for (of, place) in KINDS {
        for has in ALL {
            let text = streamed(place, has);
            let all = events(&text);
            // Servers like OpenAI's may leave out their last words once every answer has ended.
            let spare = if place == "openai" { 2 } else { 0 };
            let whole = all.len() - spare;
            for count in 0..=all.len() {
                let what = format!("{of} {has:?} {count}");
                let name = format!("{of}-{has:?}-{count}");
                site.model(&name, of, &upstream.url()).await;
                upstream.then(closed(kind(&text), &all[..count]));
                let (seen, error) = match site.stream(&name).await {
                    Ok(mut stream) => drain(&mut stream).await,
                    Err(error) => (Assembler::default(), Some(error)),
                };
                assert_eq!(seen.ended(), count >= whole, "{what}");
                assert_eq!(error.is_none(), count >= whole, "{what}");
                let used = site.used().await;
                assert_eq!(
                    line(&used, &name).failed,
                    i64::from(count < whole),
                    "{what}"
                );
            }
        }
    }
    site.charged().await;
}

/// An event that says that something went wrong, of each kind.
fn complaint(of: ProviderKind) -> String {
    match of {
        ProviderKind::Anthropic => file("anthropic", "overloaded.sse"),
        ProviderKind::Gemini | ProviderKind::Vertex => {
            events(&file("gemini", "error.sse"))[1].to_owned()
        }
        ProviderKind::Ollama => events(&file("ollama", "error.ndjson"))[1].to_owned(),
        ProviderKind::Bedrock => file("bedrock", "error.frames"),
        _ => {
            let error = r#"{"error":{"message":"No.","type":"server_error","code":null}}"#;
            format!("data: {error}\n\n")
        }
    }
}

/// Events that begin an answer and say nothing of it.
fn beginning(of: ProviderKind) -> usize {
    match of {
        ProviderKind::Openai
        | ProviderKind::OpenaiCompatible
        | ProviderKind::Azure
        | ProviderKind::Anthropic
        | ProviderKind::Bedrock => 1,
        _ => 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_before_the_first_words_is_answered_by_the_next_model() {
    for (of, place) in KINDS {
        let text = streamed(place, Has::Words);
        let all = events(&text);
        for count in 0..=beginning(of) {
            let mut reply = vec![upstream::begin(kind(&text))];
            // Each comes in a packet of its own.
            reply.extend(all[..count].iter().map(|event| said(event)));
            reply.push(said(&complaint(of)));
            reply.push(upstream::end());
            let (ill, well) = (
                Upstream::always(reply).await,
                Upstream::always(upstream::stream(&text)).await,
            );
            let site = Site::new().await;
            site.model("ill", of, &ill.url()).await;
            site.model("well", of, &well.url()).await;
            site.route("r", &["ill", "well"]).await;
            let mut stream = site.stream("r").await.unwrap();
            assert_eq!(stream.model(), "well@1", "{of} {count}");
            let (seen, error) = drain(&mut stream).await;
            assert!(seen.ended() && error.is_none());
            assert_eq!(ill.count(), 2, "{of}: it may help to ask again");
            site.charged().await;
            let used = site.used().await;
            let ill = line(&used, "ill");
            assert_eq!((ill.failed, ill.cost.as_nanos()), (1, 0), "{of} {count}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_after_the_first_words_is_the_askers_to_see() {
    for (of, place) in KINDS {
        let text = streamed(place, Has::Words);
        let all = events(&text);
        // Up to the first words.
        let count = beginning(of) + if of == ProviderKind::Anthropic { 3 } else { 1 };
        let mut reply = vec![upstream::begin(kind(&text))];
        reply.extend(all[..count].iter().map(|event| said(event)));
        reply.push(said(&complaint(of)));
        reply.push(upstream::end());
        let ill = Upstream::always(reply).await;
        let well = Upstream::always(upstream::stream(&text)).await;
        let site = Site::new().await;
        site.model("ill", of, &ill.url()).await;
        site.model("well", of, &well.url()).await;
        site.route("r", &["ill", "well"]).await;
        let mut stream = site.stream("r").await.unwrap();
        let (seen, error) = drain(&mut stream).await;
        assert!(!seen.ended(), "{of}");
        assert!(error.is_some(), "{of}");
        assert_eq!((ill.count(), well.count()), (1, 0), "{of}");
        site.charged().await;
        check_broken(line(&site.used().await, "ill"), &seen, of.as_str());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_up_pays_for_what_was_written_and_the_provider_stops() {
    for (of, place) in KINDS {
        let text = streamed(place, Has::Words);
        let all = events(&text);
        let count = beginning(of) + if of == ProviderKind::Anthropic { 3 } else { 1 };
        let mut reply = cut(&all[..count]);
        reply.push(Step::Silence);
        let upstream = Upstream::always(reply).await;
        let site = Site::new().await;
        site.model("m", of, &upstream.url()).await;
        let mut stream = site.stream("m").await.unwrap();
        let mut seen = Assembler::default();
        while seen.bytes() == 0 {
            let next = tokio::time::timeout(PATIENCE, stream.next()).await.unwrap();
            for delta in next.unwrap().unwrap() {
                seen.push(&delta);
            }
        }
        site.gateway.flush().await.unwrap();
        let held = site.budgets().await.remove(0).held.as_nanos();
        assert!(held > 0, "what it may cost is held");
        drop(stream);
        upstream.hung_up(1).await;
        let (read, written, failed) = site.charged().await;
        let said = seen.usage().unwrap_or_default();
        let said_read = i64::try_from(said.input).unwrap();
        assert_eq!(failed, 0, "{of}: hanging up is no failure");
        assert_eq!(
            read,
            if said.total() > 0 {
                said_read
            } else {
                QUESTION
            }
        );
        let least = i64::try_from(seen.bytes().div_ceil(4)).unwrap();
        assert_eq!(
            written,
            least.max(i64::try_from(said.output).unwrap()),
            "{of}"
        );
        assert_eq!(site.used().await[0].estimated, 1, "{of}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_does_not_say_what_it_used_is_estimated() {
    let text = streamed("openai", Has::Words);
    let all = events(&text);
    // Without the event with the numbers.
    let (numbers, mut some) = (all.len() - 2, all.clone());
    some.remove(numbers);
    let upstream = Upstream::always(upstream::stream(&some.concat())).await;
    let site = Site::new().await;
    site.model("m", ProviderKind::Openai, &upstream.url()).await;
    let mut stream = site.stream("m").await.unwrap();
    let mut last = Vec::new();
    while let Some(deltas) = stream.next().await {
        last.extend(deltas.unwrap());
    }
    let usage = last.iter().find_map(|delta| match delta {
        Delta::Usage(usage) => Some(*usage),
        _ => None,
    });
    let written = "Hello! How can I assist you today?".len().div_ceil(4);
    assert_eq!(usage.unwrap().output, u64::try_from(written).unwrap());
    assert_eq!(last.last(), Some(&Delta::End));
    let written = i64::try_from(written).unwrap();
    assert_eq!(site.charged().await, (QUESTION, written, 0));
    assert_eq!(site.used().await[0].estimated, 1);
    let stream = site.stream("m").await.unwrap();
    let (answer, receipt) = stream.collect().await.unwrap();
    assert_eq!(answer.usage, usage);
    assert!(receipt.estimated, "the receipt says so, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_up_before_the_first_words_pays_as_the_ledger_says() {
    let upstream = Upstream::always(vec![Step::Silence]).await;
    let site = Site::new().await;
    site.model("m", ProviderKind::Openai, &upstream.url()).await;
    let asked = |count: usize| {
        let upstream = &upstream;
        async move {
            while upstream.count() < count {
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::select! {
        _ = site.stream("m") => panic!("nobody answers"),
        () = asked(1) => {}
    }
    upstream.hung_up(1).await;
    assert_eq!(site.charged().await, (QUESTION, 0, 0));
    // The provider may write an answer as a whole to its end.
    tokio::select! {
        _ = site.chat("m") => panic!("nobody answers"),
        () = asked(2) => {}
    }
    upstream.hung_up(2).await;
    assert_eq!(site.charged().await, (2 * QUESTION, 1_000, 0));
    assert_eq!(site.used().await[0].estimated, 2);
}
