//! `matrix worker`: drives runs of a database beside other processes, and answers nobody but those
//! who ask how it does.

use matrix_core::Problem;
use matrix_server::health::HealthState;
use matrix_server::{AllowedNames, Exposure, HostMode, bind, serve_probes};
use serde_json::json;
use tokio::sync::watch;

use super::serve::self_test;
use super::{Context, Signals};
use crate::args::WorkerArgs;
use crate::config::BAD_CONFIG;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::host::{Duty, Host, closed};
use crate::{output, place, reader};

pub(super) async fn worker(context: &Context, arguments: &WorkerArgs) -> Result<Exit, Failure> {
    let mut signals = Signals::listen();
    if context.config.database.value.is_none() {
        let text = "a worker needs a database that other processes reach, too";
        return Err(Problem::new(BAD_CONFIG, text)
            .help("name it with --database; with a data directory alone, `matrix serve` does all")
            .into());
    }
    let layout = reader::layout(&context.config);
    let listener = bind(arguments.listen, Exposure::Loopback).await?;
    let address = listener.local_addr().unwrap_or(arguments.listen);
    let lock = place::share(&layout).await?;
    let as_host = (HostMode::Worker, Duty::Drive);
    let host = Host::start(&context.config, &context.environment, as_host, lock).await?;
    output::note(format_args!("health on http://{address}"));
    let (closing, closes) = watch::channel(false);
    let serving = tokio::spawn({
        let server = host.server.clone();
        async move {
            serve_probes(
                listener,
                AllowedNames::loopback(address),
                server,
                closed(closes),
            )
            .await;
        }
    });
    host.server
        .health()
        .report("sandbox", HealthState::Pending, "it tests itself");
    let tested = tokio::spawn(self_test(host.workshop.clone(), host.server.clone()));
    let place = host.place();
    let ended = tokio::select! {
        signal = signals.any() => Ok(signal),
        () = host.engine.stopped() => Ok("the engine stopped"),
        gone = place.lost() => Err(gone),
    };
    closing.send_replace(true);
    drop(serving.await);
    tested.abort();
    let why = match ended {
        Ok(why) => why,
        Err(gone) => {
            host.abandon();
            return Err(gone.into());
        }
    };
    output::note(format_args!("{why}: ending"));
    let failure = host.engine.failure();
    host.end().await;
    if context.json {
        output::json(&json!({ "ended": why, "failure": failure }));
    }
    Ok(match failure {
        Some(failure) => {
            output::note(format_args!("matrix: {failure}"));
            Exit::Failed
        }
        None => Exit::Done,
    })
}
