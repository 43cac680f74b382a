//! People, who start runs and have something to say to them through whichever host listens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use matrix_core::RunId;
use matrix_engine::error::RequestError;
use matrix_engine::runs::{
    self, Answer, ApprovalApprove, ApprovalReject, RunCancel, RunFork, RunPause, RunResume,
    RunRetry, RunSignal,
};
use matrix_engine::{Engine, NewRun, schedule};
use matrix_store::StoreError;
use matrix_store::tables::approvals;
use matrix_store::tables::runs::RunRow;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::super::host::{ada, may};
use super::hosts::Hosts;
use super::limits;
use super::program;
use super::schedules;
use super::site::Site;
use super::weather::{has_ended, rows};

/// How long a person waits for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

struct Person {
    site: Arc<Site>,
    hosts: Arc<Hosts>,
    runs: Arc<AtomicU64>,
    words: Arc<AtomicU64>,
    /// How many runs may still be forked.
    forks: Arc<AtomicU64>,
    /// Whether there is a schedule, or nobody wants one.
    scheduled: Arc<AtomicBool>,
}

/// Everyone's life.
pub(super) async fn live(site: Arc<Site>, hosts: Arc<Hosts>) {
    let runs = Arc::new(AtomicU64::new(1 + site.below(4)));
    let words = Arc::new(AtomicU64::new(0));
    let forks = Arc::new(AtomicU64::new(site.below(3)));
    let scheduled = Arc::new(AtomicBool::new(site.chance(750)));
    let people = (0..3).map(|_| {
        let person = Person {
            site: Arc::clone(&site),
            hosts: Arc::clone(&hosts),
            runs: Arc::clone(&runs),
            words: Arc::clone(&words),
            forks: Arc::clone(&forks),
            scheduled: Arc::clone(&scheduled),
        };
        async move { person.live().await }
    });
    futures::future::join_all(people).await;
}

impl Person {
    async fn live(&self) {
        loop {
            sleep(Duration::from_millis(100 + self.site.below(3_000))).await;
            let Some(host) = self.hosts.any() else {
                continue;
            };
            let wanted = self.runs.load(Ordering::SeqCst);
            if wanted > 0 && self.site.chance(400) {
                self.runs.store(wanted - 1, Ordering::SeqCst);
                self.create(&host.engine).await;
                continue;
            }
            if self.site.mishap(200) && !self.scheduled.swap(true, Ordering::SeqCst) {
                schedules::add(&self.site, &host.engine).await;
                continue;
            }
            let mut open = rows(&self.site);
            if self.site.mishap(30) && self.forks.load(Ordering::SeqCst) > 0 {
                self.fork(&host.engine, &open).await;
                continue;
            }
            open.retain(|row| !has_ended(row));
            let chosen = self.site.below(u64::try_from(open.len()).unwrap());
            if let Some(row) = open.get(usize::try_from(chosen).unwrap()) {
                self.speak(&host.engine, row).await;
            }
        }
    }

    async fn create(&self, engine: &Engine) {
        let new = NewRun {
            kind: "test".into(),
            title: "a simulated run".into(),
            input: json!(program::write(&self.site)),
            caller: ada(),
            placing: limits::placing(&self.site),
        };
        self.site.event(format_args!("create {}", new.input));
        drop(timeout(PATIENCE, engine.create_run(new)).await);
    }

    async fn speak(&self, engine: &Engine, row: &RunRow) {
        let run = row.run;
        let why: Value = row
            .waiting
            .as_deref()
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default();
        let because = why["because"].as_str().unwrap_or_default();
        for never in ["differs from", "unexpectedly", "damaged", "needs version"] {
            if because.contains(never) {
                self.site.breaks(format!("run {run} rests: {because}"));
            }
        }
        if row.kind == schedule::KIND {
            return self.speak_to_schedule(engine, row).await;
        }
        match &*row.state {
            "paused" if because.contains("matrix run retry") && self.site.chance(800) => {
                self.retry(engine, run).await;
            }
            "paused" => self.resume(engine, run).await,
            "waiting" if why["for"] == "approval" => self.answer(engine, run).await,
            "waiting" if why["for"] == "signal" => self.signal(engine, run, "go").await,
            _ if self.site.mishap(40) => self.signal(engine, run, "go").await,
            _ if self.site.mishap(40) => self.pause(engine, run).await,
            _ if self.site.mishap(20) => self.retry(engine, run).await,
            _ if self.site.mishap(15) => self.cancel(engine, run).await,
            // A run that waits in several branches names only one of them.
            _ if self.site.chance(100) => self.answer(engine, run).await,
            _ if self.site.chance(50) => self.signal(engine, run, "go").await,
            _ => {}
        }
    }

    /// A schedule ends with the bad weather, or nobody ever would.
    async fn speak_to_schedule(&self, engine: &Engine, row: &RunRow) {
        match &*row.state {
            _ if self.site.calm.load(Ordering::SeqCst) => self.cancel(engine, row.run).await,
            "paused" => self.resume(engine, row.run).await,
            _ if self.site.chance(60) => self.pause(engine, row.run).await,
            _ if self.site.chance(60) => self.signal(engine, row.run, schedules::FIRE).await,
            _ => {}
        }
    }

    /// Starts a run that shares the beginning of another one.
    async fn fork(&self, engine: &Engine, rows: &[RunRow]) {
        let mut simulated = rows.iter().filter(|row| row.kind == "test");
        let chosen = self.site.below(u64::try_from(rows.len()).unwrap());
        let Some(row) = simulated.nth(usize::try_from(chosen).unwrap()) else {
            return;
        };
        self.forks.fetch_sub(1, Ordering::SeqCst);
        let steps = schedules::steps(&self.site, row.run);
        let at = self.site.below(1 + u64::try_from(steps.len()).unwrap());
        let request = may(RunFork {
            run: row.run,
            submitter: String::new(),
            step: steps.into_iter().nth(usize::try_from(at).unwrap()),
            input: None,
            version: None,
            title: None,
        });
        let forked = runs::fork(engine, &request, Box::new(|_, _| Ok(())));
        let forked = timeout(PATIENCE, forked).await;
        self.site
            .event(format_args!("fork {}: {forked:?}", row.run));
    }

    fn word(&self) -> String {
        format!("word-{}", self.words.fetch_add(1, Ordering::SeqCst))
    }

    /// What was accepted must not be lost; what was not answered may be either.
    async fn say<F>(&self, run: RunId, what: &str, word: String, request: F)
    where
        F: Future<Output = Result<(), RequestError>>,
    {
        let answer = timeout(PATIENCE, request).await;
        let accepted = matches!(answer, Ok(Ok(())));
        self.site
            .event(format_args!("{what} {run} {word}: accepted {accepted}"));
        if accepted && !word.is_empty() {
            self.site.accepted.lock().unwrap().push((run, word));
        }
    }

    async fn signal(&self, engine: &Engine, run: RunId, name: &str) {
        let word = self.word();
        let request = may(RunSignal {
            run,
            submitter: String::new(),
            name: name.into(),
            value: json!(word),
        });
        self.say(run, "signal", word, runs::signal(engine, &request))
            .await;
    }

    async fn answer(&self, engine: &Engine, run: RunId) {
        let open = |tx: &matrix_store::Tx<'_>| approvals::of_run(tx, run);
        let open = self.site.database.read_now::<_, StoreError, _>(open);
        let open = open.unwrap().into_iter().find(|row| row.state == "open");
        let Some(row) = open else { return };
        let word = self.word();
        let answer = Answer {
            approval: row.approval,
            reason: word.clone(),
            self_approval: false,
        };
        if self.site.chance(500) {
            let request = may(ApprovalApprove(answer));
            self.say(run, "approve", word, runs::decide(engine, &request))
                .await;
        } else {
            let request = may(ApprovalReject(answer));
            self.say(run, "reject", word, runs::decide(engine, &request))
                .await;
        }
    }

    async fn pause(&self, engine: &Engine, run: RunId) {
        let word = self.word();
        let request = may(RunPause {
            run,
            submitter: String::new(),
            reason: word.clone(),
        });
        self.say(run, "pause", word, runs::pause(engine, &request))
            .await;
    }

    async fn resume(&self, engine: &Engine, run: RunId) {
        let word = self.word();
        let request = may(RunResume {
            run,
            submitter: String::new(),
            reason: word.clone(),
        });
        self.say(run, "resume", word, runs::resume(engine, &request))
            .await;
    }

    async fn cancel(&self, engine: &Engine, run: RunId) {
        let word = self.word();
        let request = may(RunCancel {
            run,
            submitter: String::new(),
            reason: word.clone(),
        });
        self.say(run, "cancel", word, runs::cancel(engine, &request))
            .await;
    }

    async fn retry(&self, engine: &Engine, run: RunId) {
        let request = may(RunRetry {
            run,
            submitter: String::new(),
            step: None,
        });
        self.say(run, "retry", String::new(), runs::retry(engine, &request))
            .await;
    }
}
