//! The commands, one file for each noun.

mod agent;
mod artifact;
pub(crate) mod background;
mod bulk;
mod change;
mod config;
mod database;
mod demo;
mod deployment;
mod doctor;
mod event;
mod journal;
mod model;
mod plan;
mod policy;
mod portable;
mod prune;
mod queue;
mod replay;
mod run;
mod schedule;
mod serve;
mod signing_key;
mod task;
mod user;
mod verify;
mod worker;

use std::sync::Arc;

use clap::CommandFactory;
use matrix_core::system::SystemClock;
use matrix_core::{Clock, Problem, RunId};
use matrix_engine::Engine;
use matrix_store::tables::runs::RunRow;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::{Args, Command};
use crate::config::Config;
use crate::door::Door;
use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::place::Place;
use crate::reader::Reader;
use crate::watch::{Followed, Show, Through, follow};
use crate::{logging, output};

/// What every command is given.
pub(crate) struct Context {
    /// The configuration.
    pub(crate) config: Config,
    /// The environment.
    pub(crate) environment: Environment,
    /// Whether a program reads the result.
    pub(crate) json: bool,
    /// Time.
    pub(crate) clock: Arc<dyn Clock>,
}

/// Carries a command out.
pub(crate) fn run(args: Args, environment: Environment) -> Result<Exit, Failure> {
    if let Command::Completions { shell } = args.command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut shown(), "matrix", &mut script);
        output::bytes(&script);
        return Ok(Exit::Done);
    }
    let config = Config::load(&args.global, &environment)?;
    let log_file =
        matches!(args.command, Command::Host).then(|| config.data_dir.value.join("host.log"));
    logging::start(&config, log_file.as_deref())?;
    let json = args.global.json;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let context = Context {
        config,
        environment,
        json,
        clock,
    };
    // A look at a database or a store that others reach, too, may take its time, and blocks a
    // thread.
    let far = context.config.database.value.is_some() || context.config.blobs.value.is_some();
    let threads = if far { 8 } else { 2 };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(|error| Problem::new(crate::place::UNUSABLE, error.to_string()))?;
    let exit = runtime.block_on(dispatch(&context, args.command));
    runtime.shutdown_timeout(std::time::Duration::from_millis(500));
    exit
}

/// The command line without the commands that are not for people.
fn shown() -> clap::Command {
    let all = Args::command();
    let visible = all
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    clap::Command::new("matrix")
        .args(all.get_arguments().cloned())
        .subcommands(visible.cloned())
}

async fn dispatch(context: &Context, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Demo { keep } => Box::pin(demo::demo(context, keep)).await,
        Command::Change(command) => change::change(context, command).await,
        Command::Run(command) => run::run(context, command).await,
        Command::Task(command) => task::task(context, command).await,
        Command::Queue(command) => queue::queue(context, command).await,
        Command::Schedule(command) => schedule::schedule(context, command).await,
        Command::Agent(command) => agent::agent(context, command).await,
        Command::Model(command) => model::model(context, command).await,
        Command::Verify(arguments) => verify::verify(context, &arguments),
        Command::Journal(command) => journal::journal(context, &command),
        Command::Event(command) => event::event(context, command).await,
        Command::Artifact(command) => artifact::artifact(context, command).await,
        Command::Deployment(command) => deployment::deployment(context, command).await,
        Command::SigningKey(command) => signing_key::signing_key(context, &command).await,
        Command::User(command) => user::user(context, command).await,
        Command::Policy(command) => policy::policy(context, &command),
        Command::Serve(arguments) => serve::serve(context, arguments).await,
        Command::Worker(arguments) => worker::worker(context, &arguments).await,
        Command::Database(command) => database::database(context, command),
        Command::Doctor { sandbox } => doctor::doctor(context, sandbox).await,
        Command::Config(command) => config::config(context, &command),
        Command::Host => background::host(context).await,
        Command::Completions { .. } => Ok(Exit::Done),
    }
}

/// How accompanying a run ended.
pub(crate) enum Outcome {
    /// The run ended, waits or rests; the door is as it was left.
    Settled(Box<RunRow>, Box<Door>),
    /// The engine of this process stopped, because of this.
    Stopped(String),
    /// This process was told to end, by this.
    Interrupted(&'static str),
}

impl Context {
    /// Follows a run that this process or another drives, from the entry after `seen`. A signal
    /// ends the following, and the host if this process is it; the run goes on later. Hosts change
    /// meanwhile: another one ends with its own run, and then this process goes on with this one;
    /// `matrix serve` takes over, and then this process only looks on.
    pub(crate) async fn accompany(
        &self,
        reader: &Reader,
        mut door: Door,
        run: RunId,
        mut seen: i64,
    ) -> Result<Outcome, Failure> {
        let mut signals = Signals::listen();
        loop {
            let engine = door.host.as_ref().map(|host| host.engine.clone());
            let place = door.host.as_ref().map(|host| host.place());
            // Nobody but a server of another process has workers.
            let through = match engine {
                Some(_) => Through::NoWait,
                None => Through::Workers,
            };
            let followed = tokio::select! {
                followed = follow(reader, run, &mut seen, (Show::Progress, through), &*self.clock) => {
                    Some(followed?)
                }
                () = stopped(engine.as_ref()) => None,
                gone = lost(place.as_ref()) => {
                    output::live("");
                    if let Some(host) = door.host {
                        host.abandon();
                    }
                    return Err(gone.into());
                }
                signal = signals.any() => {
                    output::live("");
                    if let Some(host) = door.host {
                        host.abandon();
                    }
                    return Ok(Outcome::Interrupted(signal));
                }
            };
            if let Some(Followed::Settled(row)) = followed {
                return Ok(Outcome::Settled(Box::new(row), Box::new(door)));
            }
            door.close().await;
            if let Some(why) = engine.as_ref().and_then(Engine::failure) {
                return Ok(Outcome::Stopped(why));
            }
            door = if engine.is_some() {
                tracing::info!("another process takes over");
                Door::after(&self.config, &self.environment).await?
            } else {
                tracing::info!("the other process ended; this one goes on");
                Door::open(&self.config, &self.environment).await?
            };
        }
    }

    /// Accompanies a run from the entry after `seen` and shows how it ended.
    pub(crate) async fn see_through(
        &self,
        door: Door,
        run: RunId,
        seen: i64,
    ) -> Result<Exit, Failure> {
        let reader = Reader::open(&self.config)?;
        match self.accompany(&reader, door, run, seen).await? {
            Outcome::Settled(row, door) => {
                door.close().await;
                change::show_end(self, &reader, &row)?;
                Ok(Exit::of_state(&row.state))
            }
            Outcome::Stopped(why) => {
                output::note(format_args!(
                    "matrix: run {run} stopped: {why}; `matrix run resume {run}` goes on"
                ));
                change::show_left(self, &reader, run, "stopped", &why)?;
                Ok(Exit::Failed)
            }
            Outcome::Interrupted(signal) => {
                output::note(format_args!(
                    "{signal}: {run} is left as it is; `matrix run resume {run}` goes on"
                ));
                change::show_left(self, &reader, run, "interrupted", signal)?;
                Ok(Exit::Interrupted)
            }
        }
    }
}

/// Ready when the place of this process's host is gone; never when it is no host.
async fn lost(place: Option<&Place>) -> Problem {
    match place {
        Some(place) => place.lost().await,
        None => std::future::pending().await,
    }
}

/// A part of a list that is asked for a part at a time, and the id behind which it goes on.
pub(crate) fn part<T, I>(
    limit: u32,
    after: Option<I>,
    id: impl Fn(&T) -> I,
    fetch: impl Fn(Option<I>, u32) -> Result<Vec<T>, Failure>,
) -> Result<(Vec<T>, Option<I>), Failure>
where
    I: Copy,
{
    let rows = fetch(after, limit)?;
    let last = rows.last().map(id);
    let more = match last {
        Some(last) if rows.len() == usize::try_from(limit).unwrap_or(usize::MAX) => {
            !fetch(Some(last), 1)?.is_empty()
        }
        _ => false,
    };
    Ok((rows, last.filter(|_| more)))
}

/// Ready when the engine of this process stopped; never when it has none.
async fn stopped(engine: Option<&Engine>) {
    match engine {
        Some(engine) => engine.stopped().await,
        None => std::future::pending().await,
    }
}

/// The signals that ask a process to end. They are heard from the moment this is made.
pub(crate) struct Signals([(&'static str, Option<Signal>); 3]);

impl Signals {
    /// Begins to listen; a signal that cannot be listened to ends the process by itself.
    pub(crate) fn listen() -> Self {
        let heard = |kind| signal(kind).ok();
        Self([
            ("interrupted", heard(SignalKind::interrupt())),
            ("terminated", heard(SignalKind::terminate())),
            ("hung up", heard(SignalKind::hangup())),
        ])
    }

    /// Ready when the process is asked to end; says how.
    pub(crate) async fn any(&mut self) -> &'static str {
        let [one, two, three] = &mut self.0;
        tokio::select! {
            name = heard(one) => name,
            name = heard(two) => name,
            name = heard(three) => name,
        }
    }
}

async fn heard((name, signal): &mut (&'static str, Option<Signal>)) -> &'static str {
    match signal {
        Some(signal) => {
            signal.recv().await;
            name
        }
        None => std::future::pending().await,
    }
}
