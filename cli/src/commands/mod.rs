//! The commands, one file for each noun.

mod artifact;
pub(crate) mod background;
mod change;
mod config;
mod demo;
mod deployment;
mod doctor;
mod journal;
mod policy;
mod run;
mod serve;
mod signing_key;
mod user;
mod verify;

use std::sync::Arc;

use clap::CommandFactory;
use matrix_core::system::SystemClock;
use matrix_core::{Clock, Problem, RunId};
use matrix_engine::Engine;

use crate::args::{Args, Command};
use crate::config::Config;
use crate::door::Door;
use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::reader::Reader;
use crate::watch::{BEGINNING, Followed, Show, follow};
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
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Problem::new(crate::host::UNUSABLE, error.to_string()))?;
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
        Command::Demo { keep } => demo::demo(context, keep).await,
        Command::Change(command) => change::change(context, command).await,
        Command::Run(command) => run::run(context, command).await,
        Command::Verify(arguments) => verify::verify(context, &arguments),
        Command::Journal(command) => journal::journal(context, &command),
        Command::Artifact(command) => artifact::artifact(context, command).await,
        Command::Deployment(command) => deployment::deployment(context, command).await,
        Command::SigningKey(command) => signing_key::signing_key(context, &command).await,
        Command::User(command) => user::user(context, command).await,
        Command::Policy(command) => policy::policy(context, &command),
        Command::Serve { listen } => serve::serve(context, listen).await,
        Command::Doctor { sandbox } => doctor::doctor(context, sandbox).await,
        Command::Config(command) => config::config(context, &command),
        Command::Host => background::host(context).await,
        Command::Completions { .. } => Ok(Exit::Done),
    }
}

impl Context {
    /// Follows a run that this process or another drives, and shows how it ended. A signal ends
    /// the following, and the host if this process is it; the run goes on later. Hosts change
    /// meanwhile: another one ends with its own run, and then this process goes on with this one;
    /// `matrix serve` takes over, and then this process only looks on.
    pub(crate) async fn see_through(&self, mut door: Door, run: RunId) -> Result<Exit, Failure> {
        let reader = Reader::open(&self.config)?;
        let mut seen = BEGINNING;
        loop {
            let engine = door.host.as_ref().map(|host| host.engine.clone());
            let followed = tokio::select! {
                followed = follow(&reader, run, &mut seen, Show::Progress, &*self.clock) => {
                    Some(followed?)
                }
                () = stopped(engine.as_ref()) => None,
                signal = signalled() => {
                    output::live("");
                    output::note(format_args!("{signal}: {run} is left as it is; \
                         `matrix run resume {run}` goes on"));
                    if let Some(host) = door.host {
                        host.abandon();
                    }
                    return Ok(Exit::Interrupted);
                }
            };
            door.close().await;
            if let Some(Followed::Settled(row)) = &followed {
                change::show_end(self, &reader, row)?;
                return Ok(Exit::of_state(&row.state));
            }
            if let Some(why) = engine.as_ref().and_then(Engine::failure) {
                output::note(format_args!(
                    "matrix: run {run} stopped: {why}; `matrix run resume {run}` goes on"
                ));
                return Ok(Exit::Failed);
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
}

/// Ready when the engine of this process stopped; never when it has none.
async fn stopped(engine: Option<&Engine>) {
    match engine {
        Some(engine) => engine.stopped().await,
        None => std::future::pending().await,
    }
}

/// Ready when the process is asked to end.
pub(crate) async fn signalled() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    let wait = |kind: SignalKind| async move {
        match signal(kind) {
            Ok(mut signal) => drop(signal.recv().await),
            // Without a handler the signal ends the process by itself.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = wait(SignalKind::interrupt()) => "interrupted",
        () = wait(SignalKind::terminate()) => "terminated",
        () = wait(SignalKind::hangup()) => "hung up",
    }
}
