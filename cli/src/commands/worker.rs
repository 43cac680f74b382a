//! `matrix worker`: drives runs of a database beside other processes, and answers nobody but those
//! who ask how it does.

use matrix_core::Problem;
use matrix_server::{AllowedNames, Exposure, HostMode, bind, serve_probes};
use tokio::sync::watch;

use super::serve::stand;
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
    let host = Box::pin(Host::start(
        &context.config,
        &context.environment,
        as_host,
        lock,
    ))
    .await?;
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
    stand(context, host, &mut signals, (closing, serving)).await
}
