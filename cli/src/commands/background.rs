//! The background host of `--detach`: it ends when nothing can go on without a person.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use matrix_core::Problem;
use matrix_server::HostMode;
use matrix_store::StoreError;
use matrix_store::tables::runs;

use super::{Context, Signals};
use crate::config::Config;
use crate::door::{Found, lock_or_client};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::host::{Duty, Host};
use crate::place::UNUSABLE;

/// How long a host with nothing to do waits for the command that started it.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked whether something is left to do.
const INTERVAL: Duration = Duration::from_millis(200);

/// Starts a host that outlives this process.
pub(crate) fn spawn(config: &Config) -> Result<(), Problem> {
    let failed = |error: std::io::Error| {
        Problem::new(
            UNUSABLE,
            format!("a background host could not be started: {error}"),
        )
    };
    let program = std::env::current_exe().map_err(failed)?;
    let mut command = Command::new(program);
    command
        .arg("__host")
        .arg("--data-dir")
        .arg(&config.data_dir.value)
        .args(&config.flags)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    command.spawn().map_err(failed)?;
    Ok(())
}

/// Hosts until nothing is runnable.
pub(super) async fn host(context: &Context) -> Result<Exit, Failure> {
    // The terminal that started it may close; a new session does not hear of it.
    if let Err(error) = rustix::process::setsid() {
        tracing::debug!(%error, "this process leads its session already");
    }
    let mut signals = Signals::listen();
    let Found::Lock(lock) = lock_or_client(&context.config).await? else {
        return Ok(Exit::Done);
    };
    let host = Box::pin(Host::start(
        &context.config,
        &context.environment,
        (HostMode::Background, Duty::Drive),
        lock,
    ))
    .await?;
    let began = context.clock.monotonic();
    let engine = host.engine.clone();
    let idle = async {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let unfinished = engine
                .database()
                .read_now::<_, StoreError, _>(|tx| runs::unfinished(tx, 100_000));
            let runnable = unfinished.is_ok_and(|rows| {
                rows.iter()
                    .any(|row| matches!(&*row.state, "ready" | "running") || row.wake_at.is_some())
            });
            let patient = context.clock.monotonic().saturating_sub(began) < PATIENCE;
            if !runnable && !patient {
                return;
            }
        }
    };
    let place = host.place();
    tokio::select! {
        () = idle => {}
        () = engine.stopped() => if let Some(failure) = engine.failure() {
            tracing::error!(failure, "the background host's engine stopped");
        },
        signal = signals.any() => tracing::info!(signal, "the background host ends"),
        gone = place.lost() => {
            tracing::error!(problem = %gone, "the background host ends");
            host.abandon();
            return Err(gone.into());
        }
    }
    host.end().await;
    Ok(Exit::Done)
}
