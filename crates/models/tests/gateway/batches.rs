//! Batches: many requests as steps of a run, and who sees them.

use std::sync::Arc;
use std::time::Duration;

use matrix_core::{Caller, Principal, PrincipalKind, RunId};
use matrix_engine::{DurableFunction, Engine, EntryKind};
use matrix_models::batch::{
    BatchFunction, BatchStatus, BatchView, Endpoint, FileFunction, NewBatch, NewFile, Quota,
    add_batch, add_file, cancel_batch, content, delete_file, list_batches, list_files, show_batch,
    show_file,
};
use matrix_models::registry::ProviderKind;
use matrix_models::{Gateway, ModelError};
use matrix_store::StoreError;
use matrix_store::tables::runs;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::site::{Site, asking, caller, spec};
use crate::told::Working;
use crate::upstream::{PATIENCE, Reply, Step, Upstream, status, whole};

/// Says the last words again; those that ask for trouble are refused.
fn echo(body: &Value) -> Reply {
    let messages = body["messages"].as_array().unwrap();
    let words = messages.last().unwrap()["content"].as_str().unwrap();
    if words.contains("trouble") {
        let refusal = r#"{"error":{"message":"no","type":"invalid_request_error"}}"#;
        return status(400, "", refusal);
    }
    let message = json!({ "role": "assistant", "content": words });
    let answer = json!({ "id": "a", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3 } });
    whole(&answer.to_string())
}

fn requests(words: &[&str]) -> String {
    let line = |(number, words): (usize, &&str)| {
        let body = json!({ "model": "m", "messages": [{ "role": "user", "content": words }] });
        let line = json!({ "custom_id": format!("r{number}"), "method": "POST",
            "url": "/v1/chat/completions", "body": body });
        format!("{line}\n")
    };
    words.iter().enumerate().map(line).collect()
}

struct Batches {
    site: Site,
    gateway: Gateway,
    working: Working,
    upstream: Upstream,
    quota: Quota,
}

impl Batches {
    async fn new() -> Self {
        let site = Site::new().await;
        let upstream = Upstream::always(vec![Step::Answer(echo)]).await;
        let url = upstream.url();
        site.model("m", ProviderKind::Openai, &url).await;
        let gateway = site.gateway.clone();
        let working = Working::start(Self::engine(&site, &gateway));
        Self {
            site,
            gateway,
            working,
            upstream,
            quota: Quota::default(),
        }
    }

    fn engine(site: &Site, gateway: &Gateway) -> Engine {
        let (database, blobs) = (site.database.clone(), site.blobs());
        let batch = BatchFunction::new(gateway.clone(), database, blobs);
        let functions: Vec<Arc<dyn DurableFunction>> =
            vec![Arc::new(batch), Arc::new(FileFunction)];
        site.engine(functions)
    }

    async fn file(&self, text: String) -> String {
        self.add(text).await.unwrap()
    }

    async fn add(&self, text: String) -> Result<String, ModelError> {
        let file = NewFile {
            filename: "ask.jsonl".into(),
            purpose: "batch".into(),
            content: text,
        };
        let allowed = asking("batch");
        let added = add_file(&self.working.engine, &allowed, file, self.quota);
        Ok(added.await?.id)
    }

    async fn begin(&self, file: &str) -> Result<BatchView, ModelError> {
        let new = NewBatch {
            file: file.into(),
            endpoint: Endpoint::Chat,
            metadata: Value::Null,
            project: None,
            agent: None,
        };
        let rooms = (&self.working.engine, &self.gateway);
        add_batch(rooms, &caller(), new, self.quota).await
    }

    fn show(&self, batch: &str) -> BatchView {
        show_batch(&self.working.engine, &caller(), batch).unwrap()
    }

    async fn ended(&self, batch: &str) -> BatchView {
        let run: RunId = batch.replace("batch_", "run_").parse().unwrap();
        self.working.settled(run).await;
        self.show(batch)
    }

    fn lines(&self, file: &str) -> Vec<Value> {
        let text = content(&self.working.engine, &caller(), file).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_has_its_answer_or_its_error_and_is_paid_for_once() {
    let batches = Batches::new().await;
    let file = batches.file(requests(&["a", "trouble", "c"])).await;
    let begun = batches.begin(&file).await.unwrap();
    assert_eq!((begun.total, begun.input.as_str()), (3, file.as_str()));
    let ended = batches.ended(&begun.id).await;
    assert_eq!(ended.status, BatchStatus::Completed);
    assert_eq!((ended.completed, ended.failed), (2, 1));
    let answers = batches.lines(ended.output.as_deref().unwrap());
    let names: Vec<&Value> = answers.iter().map(|line| &line["custom_id"]).collect();
    assert_eq!(names, ["r0", "r2"]);
    let said = &answers[1]["response"]["body"]["choices"][0]["message"]["content"];
    assert_eq!(said, "c");
    let failed = batches.lines(ended.errors.as_deref().unwrap());
    assert_eq!(failed[0]["custom_id"], "r1");
    assert_eq!(failed[0]["response"]["status_code"], 400);
    assert_eq!(batches.upstream.count(), 3);
    assert_eq!(batches.site.charged().await, (4, 2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_keeps_to_the_limits_of_a_key_and_loses_nothing_by_it() {
    let batches = Batches::new().await;
    let mut slow = spec(ProviderKind::Openai, &batches.upstream.url());
    slow.limits.concurrency = Some(1);
    batches.site.add("m", &slow).await;
    let pause = Duration::from_millis(150);
    batches
        .upstream
        .keep_saying(vec![Step::Pause(pause), Step::Answer(echo)]);
    let words = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let file = batches.file(requests(&words)).await;
    let begun = batches.begin(&file).await.unwrap();
    let ended = batches.ended(&begun.id).await;
    assert_eq!((ended.completed, ended.failed), (10, 0));
    assert_eq!(batches.upstream.count(), 10);
    assert_eq!(
        beginnings(&batches.working, &ended.id),
        10,
        "nobody began in vain"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_batch_keeps_what_was_answered_and_asks_no_more() {
    let batches = Batches::new().await;
    let gate = Arc::new(Semaphore::new(0));
    batches
        .upstream
        .keep_saying(vec![Step::Gate(Arc::clone(&gate)), Step::Answer(echo)]);
    let words: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let file = batches.file(requests(&words)).await;
    let begun = batches.begin(&file).await.unwrap();
    let some = async {
        while batches.upstream.count() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, some).await.unwrap();
    let engine = &batches.working.engine;
    cancel_batch(engine, &caller(), &begun.id).await.unwrap();
    let seen = batches.show(&begun.id).status;
    assert!(matches!(
        seen,
        BatchStatus::Cancelling | BatchStatus::Cancelled | BatchStatus::InProgress
    ));
    gate.add_permits(1_000);
    let ended = batches.ended(&begun.id).await;
    assert_eq!(ended.status, BatchStatus::Cancelled);
    let asked = batches.upstream.count() as u64;
    assert!(asked < 40, "it went on");
    assert_eq!(
        (ended.completed, ended.failed),
        (asked, 0),
        "what was asked for is kept"
    );
    assert!(cancel_batch(engine, &caller(), &begun.id).await.is_err());
    if let Some(output) = &ended.output {
        assert_eq!(batches.lines(output).len() as u64, ended.completed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_batches_are_their_makers_own() {
    let batches = Batches::new().await;
    let file = batches.file(requests(&["a"])).await;
    let batch = batches.begin(&file).await.unwrap().id;
    batches.ended(&batch).await;
    let engine = &batches.working.engine;
    let other = Caller {
        principal: Principal {
            kind: PrincipalKind::ServiceAccount,
            name: "other".into(),
        },
        ..caller()
    };
    let none = |error: ModelError| assert!(matches!(error, ModelError::NoFile(_)), "{error}");
    none(show_file(engine, &other, &file).unwrap_err());
    none(content(engine, &other, &file).unwrap_err());
    none(show_batch(engine, &other, &batch).unwrap_err());
    none(cancel_batch(engine, &other, &batch).await.unwrap_err());
    none(delete_file(engine, &other, &file).await.unwrap_err());
    let output = batches.show(&batch).output.unwrap();
    none(content(engine, &other, &output).unwrap_err());
    let page = (None, 10);
    assert_eq!(list_batches(engine, &other, page).unwrap().0, []);
    assert_eq!(list_files(engine, &other, page).unwrap().0, []);
    assert_eq!(list_batches(engine, &caller(), page).unwrap().0.len(), 1);
    // A batch is no file, and a file no batch, whatever their ids are made of.
    let crossed = batch.replace("batch_", "file-");
    none(show_file(engine, &caller(), &crossed).unwrap_err());
    none(show_batch(engine, &caller(), &file.replace("file-", "batch_")).unwrap_err());
    for nonsense in [
        "",
        "file-",
        "file-x",
        "run_01m3250yx0ehca1j3srw882jcr",
        "file--output",
    ] {
        none(show_file(engine, &caller(), nonsense).unwrap_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_models_that_are_not_there_does_not_begin() {
    let batches = Batches::new().await;
    let unknown = requests(&["a"]).replace(r#""model":"m""#, r#""model":"nobody""#);
    let file = batches.file(unknown).await;
    let refused = batches.begin(&file).await.unwrap_err();
    assert!(matches!(refused, ModelError::NoModel(_)), "{refused}");
    assert_eq!(batches.upstream.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_and_counts_are_those_of_what_can_be_read() {
    let batches = Batches::new().await;
    let text = requests(&["a", "trouble", "c", "ü"]);
    let file = batches.file(text.clone()).await;
    let engine = &batches.working.engine;
    let shown = |file: &str| show_file(engine, &caller(), file).unwrap();
    assert_eq!(shown(&file).bytes, text.len() as u64);
    let begun = batches.begin(&file).await.unwrap();
    let ended = batches.ended(&begun.id).await;
    assert_eq!((ended.total, ended.completed, ended.failed), (4, 3, 1));
    for made in [ended.output.unwrap(), ended.errors.unwrap()] {
        let text = content(engine, &caller(), &made).unwrap();
        assert_eq!(shown(&made).bytes, text.len() as u64, "{made}");
    }
    let page = list_batches(engine, &caller(), (None, 9)).unwrap().0;
    assert_eq!((page[0].completed, page[0].failed), (3, 1));
    delete_file(engine, &caller(), &file).await.unwrap();
    let gone = show_file(engine, &caller(), &file).unwrap_err();
    assert!(matches!(gone, ModelError::NoFile(_)), "{gone}");
    assert!(delete_file(engine, &caller(), &file).await.is_err());
    assert_eq!(list_files(engine, &caller(), (None, 9)).unwrap().0, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_has_so_many_bytes_of_files_and_batches_and_no_more() {
    let mut batches = Batches::new().await;
    let text = requests(&["a"]);
    batches.quota = Quota {
        batches: 1,
        file_bytes: 2 * text.len() as u64,
    };
    let full = |error: ModelError| {
        assert!(matches!(error, ModelError::Full { .. }), "{error}");
        assert_eq!(error.complaint().status, 403);
    };
    let file = batches.file(text.clone()).await;
    let other = batches.file(text.clone()).await;
    full(batches.add(text.clone()).await.unwrap_err());
    let engine = &batches.working.engine;
    assert_eq!(list_files(engine, &caller(), (None, 9)).unwrap().0.len(), 2);
    delete_file(engine, &caller(), &other).await.unwrap();
    batches.file(text).await;
    let gate = Arc::new(Semaphore::new(0));
    batches
        .upstream
        .keep_saying(vec![Step::Gate(Arc::clone(&gate)), Step::Answer(echo)]);
    let first = batches.begin(&file).await.unwrap();
    full(batches.begin(&file).await.unwrap_err());
    gate.add_permits(1_000);
    batches.ended(&first.id).await;
    batches.begin(&file).await.unwrap();
}

/// How often requests of a batch began.
fn beginnings(working: &Working, batch: &str) -> usize {
    let run = batch.replace("batch_", "run_").parse().unwrap();
    let journal = working.journal(run);
    let kinds = journal.iter().map(|entry| entry.kind);
    kinds.filter(|kind| *kind == EntryKind::StepBegun).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waits_for_its_turn_has_not_begun_and_restarts_cost_it_nothing() {
    let mut batches = Batches::new().await;
    let mut few = spec(ProviderKind::Openai, &batches.upstream.url());
    few.limits.requests_per_minute = Some(2);
    batches.site.add("m", &few).await;
    let file = batches.file(requests(&["a", "b", "c", "d"])).await;
    let batch = batches.begin(&file).await.unwrap().id;
    let waits = |batches: &Batches| {
        let run: RunId = batch.replace("batch_", "run_").parse().unwrap();
        let row = batches
            .site
            .database
            .read_now::<_, StoreError, _>(|tx| runs::get(tx, run));
        row.unwrap().unwrap().state == "waiting"
    };
    for minute in 0..2 {
        for _ in 0..4 {
            let parked = async {
                while batches.show(&batch).completed < 2 * (minute + 1) || !waits(&batches) {
                    if minute == 1 && batches.show(&batch).status == BatchStatus::Completed {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(PATIENCE, parked).await.unwrap();
            let engine = Batches::engine(&batches.site, &batches.gateway);
            batches.working = Working::start(engine);
        }
        batches.site.clock.advance(Duration::from_mins(1));
    }
    let ended = batches.ended(&batch).await;
    assert_eq!((ended.completed, ended.failed), (4, 0));
    assert_eq!(batches.upstream.count(), 4, "each is asked for once");
    let begun = beginnings(&batches.working, &batch);
    assert_eq!(begun, 4, "who waits has not begun");
}
