//! What is told of calls: steps of runs, entries of a log, spans.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use matrix_core::RunId;
use matrix_engine::queue::Placing;
use matrix_engine::runs::{RunList, RunRead, entries, list, show};
use matrix_engine::spans::{Said, Span, SpanKind, SpanSink, step_id};
use matrix_engine::{DurableFunction, Engine, Entry, EntryKind, NewRun, Run, RunError};
use matrix_models::chat::ChatRequest;
use matrix_models::inference::{CallLog, ModelLog, Recorded, Trace, ask};
use matrix_models::registry::ProviderKind;
use matrix_models::{Gateway, ModelUse};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::site::{READ, Site, WRITTEN, allowed, asking, caller, question};
use crate::transcripts::{self, Has};
use crate::upstream::{PATIENCE, Upstream, status, whole};

/// Keeps what it is told.
#[derive(Debug, Default)]
pub(crate) struct Ears(Mutex<Vec<Span>>);

impl SpanSink for Ears {
    fn take(&self, span: Span) {
        self.0.lock().unwrap().push(span);
    }
}

impl Ears {
    /// The spans of calls.
    fn calls(&self) -> Vec<Span> {
        let all = self.0.lock().unwrap();
        let calls = all.iter().filter(|span| span.kind == SpanKind::Client);
        calls.cloned().collect()
    }
}

fn said<'a>(span: &'a Span, name: &str) -> Option<&'a Said> {
    let mut found = span.attributes.iter().filter(|(known, _)| *known == name);
    found.next().map(|(_, said)| said)
}

/// An engine at work, until it is dropped.
pub(crate) struct Working {
    pub(crate) engine: Engine,
    task: JoinHandle<()>,
}

impl Working {
    pub(crate) fn start(engine: Engine) -> Self {
        let working = engine.clone();
        let task = tokio::spawn(async move { working.work().await });
        Self { engine, task }
    }

    pub(crate) async fn settled(&self, run: RunId) -> String {
        let settled = tokio::time::timeout(PATIENCE, self.engine.settled(run));
        settled.await.unwrap().unwrap().state
    }

    pub(crate) fn journal(&self, run: RunId) -> Vec<Entry> {
        let read = allowed(RunRead { run });
        entries(
            self.engine.database(),
            self.engine.blobs(),
            &read,
            -1,
            1_000,
        )
        .unwrap()
    }

    pub(crate) fn runs(&self, kind: &str) -> Vec<RunId> {
        let list_all = allowed(RunList {
            filter: matrix_store::tables::runs::Filter {
                kind: kind.into(),
                ..Default::default()
            },
            limit: 100,
        });
        let rows = list(self.engine.database(), &list_all).unwrap();
        rows.into_iter().map(|row| row.run).collect()
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Asks as often as it is told.
struct Asking {
    gateway: Gateway,
}

#[async_trait]
impl DurableFunction for Asking {
    fn kind(&self) -> &'static str {
        "asking"
    }

    fn version(&self) -> &'static str {
        "1"
    }

    async fn execute(&self, run: Run, input: Value) -> Result<Value, RunError> {
        let asks = ModelUse {
            model: "m".into(),
            ..ModelUse::default()
        };
        let mut last = Value::Null;
        for _ in 0..input["times"].as_u64().unwrap() {
            let chat = ChatRequest {
                model: "m".into(),
                ..question()
            };
            let recorded = ask(&run, &self.gateway, ("turn", &asks), &chat).await?;
            last = serde_json::to_value(recorded).unwrap();
            if input["waits"] == true {
                let _: Value = run.signal("go").await?;
            }
        }
        Ok(last)
    }
}

async fn start(working: &Working, input: Value) -> RunId {
    let new = NewRun {
        kind: "asking".into(),
        title: "asks".into(),
        input,
        caller: caller(),
        placing: Placing::default(),
    };
    working.engine.create_run(new).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_in_a_run_is_a_step_that_is_paid_for_once() {
    let site = Site::new().await;
    let upstream = Upstream::always(whole(&transcripts::whole("openai", Has::Words))).await;
    site.model("m", ProviderKind::Openai, &upstream.url()).await;
    let (ears, log) = (Arc::new(Ears::default()), CallLog::default());
    let gateway = site.telling(ears.clone(), &log);
    let function = || -> Vec<Arc<dyn DurableFunction>> {
        let gateway = gateway.clone();
        vec![Arc::new(Asking { gateway })]
    };
    let run = {
        let working = Working::start(site.engine(function()));
        let run = start(&working, json!({ "times": 1, "waits": true })).await;
        assert_eq!(working.settled(run).await, "waiting");
        run
    };
    // Another process goes on with it.
    let working = Working::start(site.engine(function()));
    let go = allowed(matrix_engine::runs::RunSignal {
        run,
        submitter: String::new(),
        name: "go".into(),
        value: Value::Null,
    });
    matrix_engine::runs::signal(&working.engine, &go)
        .await
        .unwrap();
    assert_eq!(working.settled(run).await, "succeeded");
    assert_eq!(upstream.count(), 1);
    let read = allowed(RunRead { run });
    let view = show(working.engine.database(), working.engine.blobs(), &read).unwrap();
    let recorded: Recorded = serde_json::from_value(view.result.unwrap()).unwrap();
    let usage = recorded.usage;
    let (read, written) = (usage.input.cast_signed(), usage.output.cast_signed());
    assert_eq!(recorded.cost.as_nanos(), read * READ + written * WRITTEN);
    assert!(recorded.reserved > recorded.cost && !recorded.estimated);
    assert!(!recorded.answer.id.is_empty());
    let kinds: Vec<EntryKind> = working
        .journal(run)
        .iter()
        .map(|entry| entry.kind)
        .collect();
    assert_eq!(
        kinds[..3],
        [
            EntryKind::RunStarted,
            EntryKind::StepBegun,
            EntryKind::StepCompleted
        ]
    );
    // Its span is a part of the step's, and no log has it a second time.
    let spans = ears.calls();
    assert_eq!(spans.len(), 1);
    assert_eq!(spans[0].parent, Some(step_id(run, 1, "turn#1", 1)));
    assert_eq!(said(&spans[0], "matrix.run"), Some(&run.to_string().into()));
    log.flush(&working.engine, &caller()).await.unwrap();
    assert_eq!(working.runs("model_log"), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_may_spend_ends_it_and_a_provider_that_is_down_is_asked_again() {
    let site = Site::new().await;
    let good = whole(&transcripts::whole("openai", Has::Words));
    let upstream = Upstream::playing([status(500, "", "{}"), status(500, "", "{}"), good]).await;
    site.model("m", ProviderKind::Openai, &upstream.url()).await;
    let gateway = site.telling(Arc::new(Ears::default()), &CallLog::default());
    let asking = Asking {
        gateway: gateway.clone(),
    };
    let working = Working::start(site.engine(vec![Arc::new(asking)]));
    let run = start(&working, json!({ "times": 1 })).await;
    // The attempt after the first rests on the engine's clock, which stands still here.
    let state = async {
        loop {
            match working.settled(run).await.as_str() {
                "waiting" => {
                    site.clock.advance(Duration::from_mins(2));
                    working.engine.look();
                    tokio::task::yield_now().await;
                }
                state => return state.to_owned(),
            }
        }
    };
    let state = tokio::time::timeout(PATIENCE, state).await.unwrap();
    assert_eq!((state.as_str(), upstream.count()), ("succeeded", 3));

    gateway.close().await.unwrap();
    let limits = matrix_models::budget::Limits {
        money: None,
        tokens: Some(10),
    };
    site.limit("workspace", matrix_models::budget::Period::Total, limits)
        .await;
    let run = start(&working, json!({ "times": 1 })).await;
    let state = working.settled(run).await;
    let read = allowed(RunRead { run });
    let view = show(working.engine.database(), working.engine.blobs(), &read).unwrap();
    assert_eq!(state, "failed", "{view:?}");
    let read = allowed(RunRead { run });
    let view = show(working.engine.database(), working.engine.blobs(), &read).unwrap();
    let error = view.error.unwrap();
    assert!(error.contains("budget of workspace"), "{error}");
    assert_eq!(upstream.count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_clients_are_spans_of_the_trace_they_are_in() {
    let site = Site::new().await;
    let upstream = Upstream::always(whole(&transcripts::whole("openai", Has::Words))).await;
    site.model("m", ProviderKind::Openai, &upstream.url()).await;
    let (ears, log) = (Arc::new(Ears::default()), CallLog::default());
    let gateway = site.telling(ears.clone(), &log);
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let asked = ModelUse {
        trace: Some(Trace {
            trace: trace.into(),
            parent: [7; 8],
        }),
        ..asking("m").action().clone()
    };
    let answered = gateway.chat(&allowed(asked), question()).await.unwrap();
    gateway.chat(&asking("m"), question()).await.unwrap();

    let spans = ears.calls();
    assert_eq!(spans.len(), 2);
    assert_eq!(
        (spans[0].trace.as_str(), spans[0].parent),
        (trace, Some([7; 8]))
    );
    assert!(spans[1].trace != trace && spans[1].parent.is_none());
    assert_eq!(
        said(&spans[0], "gen_ai.operation.name"),
        Some(&"chat".into())
    );
    assert_eq!(
        said(&spans[0], "gen_ai.provider.name"),
        Some(&"openai".into())
    );
    let read = answered.receipt.usage.input.cast_signed();
    assert_eq!(
        said(&spans[0], "gen_ai.usage.input_tokens"),
        Some(&Said::Whole(read))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_clients_are_entries_of_a_log_without_a_word_of_what_was_said() {
    let site = Site::new().await;
    let upstream = Upstream::always(whole(&transcripts::whole("openai", Has::Words))).await;
    site.model("m", ProviderKind::Openai, &upstream.url()).await;
    let log = CallLog::default();
    let gateway = site.telling(Arc::new(Ears::default()), &log);
    let working = Working::start(site.engine(vec![Arc::new(ModelLog)]));
    let answered = gateway.chat(&asking("m"), question()).await.unwrap();
    gateway.chat(&asking("m"), question()).await.unwrap();
    log.flush(&working.engine, &caller()).await.unwrap();
    let runs = working.runs("model_log");
    assert_eq!(runs.len(), 1);
    assert_eq!(working.settled(runs[0]).await, "waiting");
    let journal = working.journal(runs[0]);
    let told = journal
        .iter()
        .find(|entry| entry.kind == EntryKind::SignalReceived)
        .unwrap();
    let calls = told.payload.as_ref().unwrap()["calls"].as_array().unwrap();
    assert_eq!(calls.len(), 2);
    let call = &calls[0];
    assert_eq!(call["model"], "m@1");
    assert_eq!(
        (&call["operation"], &call["outcome"]),
        (&json!("chat"), &json!("answered"))
    );
    assert_eq!(call["cost"], json!(answered.receipt.cost));
    assert_eq!(call["response"], json!(answered.answer.id));
    assert_eq!(call["usage"]["input"], answered.receipt.usage.input);
    let words = answered.answer.choices[0].text();
    let all = serde_json::to_string(&journal).unwrap();
    assert!(!words.is_empty() && !all.contains(&words), "{all}");

    // Many signals do not make its replay longer, and a day later another run takes over.
    for _ in 0..40 {
        gateway.chat(&asking("m"), question()).await.unwrap();
        log.flush(&working.engine, &caller()).await.unwrap();
        working.settled(runs[0]).await;
    }
    assert_eq!(working.runs("model_log"), runs);
    site.clock.advance(Duration::from_hours(25));
    for _ in 0..2 {
        gateway.chat(&asking("m"), question()).await.unwrap();
        log.flush(&working.engine, &caller()).await.unwrap();
        working.settled(runs[0]).await;
    }
    assert_eq!(working.settled(runs[0]).await, "succeeded");
    assert_eq!(working.runs("model_log").len(), 2);
    let read = allowed(RunRead { run: runs[0] });
    let view = show(working.engine.database(), working.engine.blobs(), &read).unwrap();
    assert_eq!(view.result, Some(json!({ "calls": 43 })));
    assert_eq!(log.lost(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_kept_is_told_of_as_well() {
    let site = Site::new().await;
    let upstream = Upstream::always(whole(&transcripts::whole("openai", Has::Words))).await;
    site.model("m", ProviderKind::Openai, &upstream.url()).await;
    crate::cache::add(&site, crate::cache::route()).await;
    let (ears, log) = (Arc::new(Ears::default()), CallLog::default());
    let gateway = site.telling(ears.clone(), &log);
    let working = Working::start(site.engine(vec![Arc::new(ModelLog)]));
    for _ in 0..2 {
        gateway.chat(&asking("kept"), question()).await.unwrap();
    }
    let cached: Said = "cached".into();
    let outcomes: Vec<_> = ears.calls();
    assert_eq!(outcomes.len(), 2);
    assert_eq!(said(&outcomes[1], "matrix.model.outcome"), Some(&cached));
    log.flush(&working.engine, &caller()).await.unwrap();
    let run = working.runs("model_log")[0];
    working.settled(run).await;
    let journal = working.journal(run);
    let mut told = journal
        .iter()
        .filter(|entry| entry.kind == EntryKind::SignalReceived);
    let calls = &told.next().unwrap().payload.as_ref().unwrap()["calls"];
    assert_eq!(
        (&calls[1]["outcome"], &calls[1]["model"]),
        (&json!("cached"), &json!("m@1"))
    );
}
