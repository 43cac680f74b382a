//! A host that is a process of its own is killed while it has much to do, as `kill -9` does: whatever
//! it acknowledged before is there, nothing is there twice, and the next one goes on at once.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use matrix_core::system::{SystemClock, SystemEntropy};
use matrix_core::{RunId, Scope};
use matrix_engine::queue::Placing;
use matrix_engine::runs::{self, RunSignal};
use matrix_engine::{
    DurableFunction, Engine, EngineOptions, Entry, EntryKind, Journal, NewRun, OnFullDisk, Run,
    RunError, Step, StepError, journal,
};
use matrix_store::tables::runs::{self as table, Filter, RunRow};
use matrix_store::{Blobs, Database, OpenMode, StoreError};
use serde_json::{Value, json};

use super::host::{Rng, ada, may};

/// Where the process works; without it, the test that is a process does nothing.
const PLACE: &str = "MATRIX_TEST_PLACE";

/// Whether the process is to bring everything to its end.
const FINISH: &str = "MATRIX_TEST_FINISH";

/// How many runs a process starts at most.
const RUNS: usize = 60;

/// How many processes are killed: one more, and a run could have seen enough deaths to be left to a person.
const KILLED: u64 = 4;

/// How long the next process may take to have what the last one had: nobody has to wait for a lease
/// where a process is alone.
const RESUME: Duration = Duration::from_secs(1);

/// What a machine that is used by others may add.
const NOISE: Duration = Duration::from_millis(1_500);

/// A function with something outside, and a wait for somebody.
struct Load(PathBuf);

impl Load {
    fn effects(&self) -> PathBuf {
        self.0.join("effects")
    }

    /// One line for each effect; the key says whose.
    fn act(&self, key: &str) -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.effects())?;
        file.write_all(format!("{key}\n").as_bytes())
    }

    fn acted(path: &Path, key: &str) -> bool {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().any(|line| line == key)
    }
}

#[async_trait]
impl DurableFunction for Load {
    fn kind(&self) -> &'static str {
        "load"
    }

    fn version(&self) -> &'static str {
        "1"
    }

    async fn execute(&self, run: Run, _: Value) -> Result<Value, RunError> {
        for number in 0..4_u32 {
            let step = Step::read("look").input(&number);
            run.step(step, |_| async { Ok(number) }).await?;
        }
        let effects = self.effects();
        let step = Step::external("act").probe(move |context| {
            let effects = effects.clone();
            Box::pin(async move {
                let acted = Self::acted(&effects, &context.key.to_string());
                Ok(acted.then_some(1_u32))
            })
        });
        let done: u32 = run
            .step(step, |context| async move {
                let acted = self.act(&context.key.to_string());
                acted.map_err(|error| StepError::permanent("file", error.to_string()))?;
                Ok(1)
            })
            .await?;
        let word: String = run.signal("go").await?;
        run.sleep("nap", Duration::from_millis(20)).await?;
        Ok(json!([done, word]))
    }
}

fn journal_at(place: &Path) -> Journal {
    let database = Database::open(&place.join("matrix.db"), OpenMode::Host).unwrap();
    let blobs = Blobs::open(place.join("blobs")).unwrap();
    Journal::new(
        database,
        blobs,
        Arc::new(SystemClock::start()),
        Arc::new(SystemEntropy),
    )
}

fn all(database: &Database) -> Vec<RunRow> {
    let list =
        |tx: &matrix_store::Tx<'_>| table::list(tx, &Scope::local(), &Filter::default(), 500);
    database.read_now::<_, StoreError, _>(list).unwrap()
}

fn has_ended(row: &RunRow) -> bool {
    matches!(&*row.state, "succeeded" | "failed" | "cancelled")
}

/// Tells the test that started this process.
fn tell(what: std::fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "@ {what}").unwrap();
    out.flush().unwrap();
}

async fn signal(engine: &Engine, run: RunId, word: String) -> bool {
    let request = may(RunSignal {
        run,
        submitter: String::new(),
        name: "go".into(),
        value: json!(word),
    });
    runs::signal(engine, &request).await.is_ok()
}

/// Starts a run, and has something to say to it.
async fn drive(engine: Engine) {
    let new = NewRun {
        kind: "load".into(),
        title: "a load".into(),
        input: json!({}),
        caller: ada(),
        placing: Placing::default(),
    };
    let run = engine.create_run(new).await.unwrap();
    tell(format_args!("created {run}"));
    let word = format!("word-{run}");
    if signal(&engine, run, word.clone()).await {
        tell(format_args!("accepted {run} {word}"));
    }
}

/// Waits until none of these is the last process's any more.
async fn taken(engine: &Engine, held: Vec<RunRow>) {
    let began = tokio::time::Instant::now();
    let mut changes = engine.journal().subscribe();
    for row in held {
        loop {
            let now = engine
                .database()
                .read_now::<_, StoreError, _>(|tx| table::get(tx, row.run))
                .unwrap()
                .unwrap();
            if now.owner != row.owner {
                break;
            }
            drop(tokio::time::timeout(NOISE, changes.changed()).await);
        }
    }
    tell(format_args!("taken {}", began.elapsed().as_millis()));
}

async fn work(place: PathBuf, finish: bool) {
    let journal = journal_at(&place);
    let options = EngineOptions {
        worker: format!("process-{}", std::process::id()),
        concurrency: 16,
        lease: Duration::from_secs(15),
        on_full_disk: OnFullDisk::Stop,
        scheduling: matrix_engine::Scheduling::default(),
    };
    let engine = Engine::new(journal, vec![Arc::new(Load(place))], options);
    let mut held = all(engine.database());
    held.retain(|row| row.owner.is_some());
    let working = engine.clone();
    let working = tokio::spawn(async move { working.work().await });
    taken(&engine, held).await;
    if !finish {
        let drivers = (0..RUNS).map(|_| tokio::spawn(drive(engine.clone())));
        futures::future::join_all(drivers).await;
        return working.await.unwrap();
    }
    let open = all(engine.database());
    for row in open.iter().filter(|row| !has_ended(row)) {
        signal(&engine, row.run, "the last".into()).await;
    }
    for row in open {
        while !has_ended(&engine.settled(row.run).await.unwrap()) {
            tokio::task::yield_now().await;
        }
    }
    engine.drain();
    working.await.unwrap();
}

#[expect(
    clippy::disallowed_methods,
    reason = "what a process is told by the one that started it"
)]
fn told(name: &str) -> Option<PathBuf> {
    std::env::var(name).ok().map(PathBuf::from)
}

#[test]
#[ignore = "a process of another test, and nothing by itself"]
fn a_host_that_is_a_process() {
    let Some(place) = told(PLACE) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(work(place, told(FINISH).is_some()));
}

/// Such a process, and what it tells.
fn start(place: &Path, finish: bool) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["processes::a_host_that_is_a_process", "--exact"]);
    command.args(["--ignored", "--nocapture"]).env(PLACE, place);
    command.envs(finish.then_some((FINISH, "1")));
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // What was written before a death is read after it, but for a line that is not whole.
    let told = lines.map_while(Result::ok);
    let told = told.filter_map(|line| line.split_once("@ ").map(|(_, told)| told.to_owned()));
    (child, told)
}

#[derive(Default)]
struct Acknowledged {
    created: BTreeSet<String>,
    accepted: BTreeMap<String, String>,
    taken: Vec<Duration>,
}

impl Acknowledged {
    fn hear(&mut self, told: &str) {
        let words: Vec<&str> = told.split(' ').collect();
        match *words {
            ["created", run] => drop(self.created.insert(run.into())),
            ["accepted", run, word] => drop(self.accepted.insert(run.into(), word.into())),
            ["taken", millis] => {
                self.taken
                    .push(Duration::from_millis(millis.parse().unwrap()));
            }
            _ => {}
        }
    }
}

#[test]
fn whatever_a_killed_process_has_acknowledged_is_there_once_and_goes_on_at_once() {
    let place = tempfile::tempdir().unwrap();
    let mut heard = Acknowledged::default();
    // Each time at another moment under load: after so many acknowledgements.
    let mut rng = Rng(u64::from(std::process::id()));
    for _ in 0..KILLED {
        let (mut child, mut told) = start(place.path(), false);
        let moment = 1 + rng.below(2 * u64::try_from(RUNS).unwrap());
        let before = told.by_ref().take(usize::try_from(moment).unwrap());
        before.for_each(|line| heard.hear(&line));
        child.kill().unwrap();
        told.for_each(|line| heard.hear(&line));
        child.wait().unwrap();
    }
    let (mut child, told) = start(place.path(), true);
    told.for_each(|line| heard.hear(&line));
    assert!(child.wait().unwrap().success());
    let slowest = heard.taken.iter().max().unwrap();
    assert!(*slowest < RESUME + NOISE, "{:?}", heard.taken);
    check(place.path(), &heard);
}

fn check(place: &Path, heard: &Acknowledged) {
    let database = Database::open(&place.join("matrix.db"), OpenMode::ReadOnly).unwrap();
    let blobs = Blobs::open(place.join("blobs")).unwrap();
    let rows = all(&database);
    let states: Vec<_> = rows.iter().map(|row| &*row.state).collect();
    assert!(
        states.iter().all(|state| *state == "succeeded"),
        "{states:?}"
    );
    let there: BTreeSet<String> = rows.iter().map(|row| row.run.to_string()).collect();
    assert!(there.is_superset(&heard.created), "a created run is lost");
    for row in &rows {
        journal::verify(&database, &blobs, row.run).unwrap();
        let entries = journal::read(&database, &blobs, row.run, -1).unwrap();
        recorded_once(&entries);
        if let Some(word) = heard.accepted.get(&row.run.to_string()) {
            let said = |entry: &&Entry| {
                entry.kind == EntryKind::SignalReceived && entry.payload == Some(json!(word))
            };
            let times = entries.iter().filter(said).count();
            assert_eq!(times, 1, "{word} was accepted: {entries:?}");
        }
    }
    let effects = std::fs::read_to_string(Load(place.to_owned()).effects()).unwrap();
    let keys: BTreeSet<&str> = effects.lines().collect();
    assert_eq!(effects.lines().count(), keys.len(), "an effect twice");
    assert_eq!(keys.len(), rows.len(), "an effect that is lost");
}

fn recorded_once(entries: &[Entry]) {
    let completed = entries
        .iter()
        .filter(|entry| entry.kind == EntryKind::StepCompleted);
    let paths: Vec<&String> = completed.map(|entry| &entry.path).collect();
    let different: BTreeSet<&&String> = paths.iter().collect();
    assert_eq!(different.len(), paths.len(), "a step twice: {paths:?}");
}
