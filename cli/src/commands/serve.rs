//! `matrix serve`: stays, and answers HTTP on loopback.

use std::net::SocketAddr;
use std::time::Duration;

use matrix_changes::Workshop;
use matrix_core::Problem;
use matrix_sandbox::spec::Profile;
use matrix_server::health::HealthState;
use matrix_server::{AllowedNames, Exposure, HostMode, Server, bind, serve_tcp};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Context, Signals};
use crate::args::ServeArgs;
use crate::door::{Found, lock_or_client};
use crate::exit::Exit;
use crate::failure::{Failure, told};
use crate::host::{Duty, Host, closed};
use crate::place::{self, BUSY, try_lock};
use crate::{output, reader};

/// How long another host may take to let go.
const HANDOVER: Duration = Duration::from_mins(2);

/// How often the lock is tried meanwhile.
const INTERVAL: Duration = Duration::from_millis(50);

pub(super) async fn serve(context: &Context, arguments: ServeArgs) -> Result<Exit, Failure> {
    let mut signals = Signals::listen();
    let layout = reader::layout(&context.config);
    let address = arguments.listen.unwrap_or(context.config.listen.value);
    let exposure = if arguments.expose {
        Exposure::Network
    } else {
        Exposure::Loopback
    };
    // An address that cannot be used is no reason to take a data directory over.
    let listener = bind(address, exposure).await?;
    let address = listener.local_addr().unwrap_or(address);
    let names = names(context, &arguments, address);
    let lock = match context.config.database.value {
        Some(_) => place::share(&layout).await?,
        None => take_over(context).await?,
    };
    let as_host = (HostMode::Serve, Duty::Drive);
    let host = Box::pin(Host::start(
        &context.config,
        &context.environment,
        as_host,
        lock,
    ))
    .await?;
    let token = layout.root().join("token");
    let alone = place::begin_alone(&layout).await?;
    host.accounts
        .ensure_service_token(&host.owner, "api", &token)
        .await?;
    drop(alone);
    output::note(format_args!("listening on http://{address}"));
    output::note(format_args!("token in {}", token.display()));
    if !address.ip().is_loopback() {
        output::note("other machines can reach it, and what is sent is not encrypted");
    }
    let (closing, closes) = watch::channel(false);
    let serving = tokio::spawn({
        let server = host.server.clone();
        async move {
            serve_tcp(listener, names, server, closed(closes)).await;
        }
    });
    stand(context, host, &mut signals, (closing, serving)).await
}

/// Stays until somebody, or something, ends it; then stops answering, lets go of every run and says why.
pub(super) async fn stand(
    context: &Context,
    host: Host,
    signals: &mut Signals,
    (closing, serving): (watch::Sender<bool>, JoinHandle<()>),
) -> Result<Exit, Failure> {
    host.server
        .health()
        .report("sandbox", HealthState::Pending, "it tests itself");
    let tested = tokio::spawn(self_test(host.workshop.clone(), host.server.clone()));
    let place = host.place();
    let why = tokio::select! {
        signal = signals.any() => signal,
        () = host.engine.stopped() => "another process takes over",
        _ = place.lost() => "its data directory is gone",
    };
    let failure = host.engine.failure();
    // Workers that wait for something to do go away empty-handed.
    host.engine.drain();
    if place.stands() && failure.is_none() {
        output::note(format_args!("{why}: ending"));
    }
    closing.send_replace(true);
    drop(serving.await);
    tested.abort();
    // Storage may have failed because of it, so it is looked for however this came to its end.
    if !place.stands() {
        host.abandon();
        return Err(place.gone().into());
    }
    host.end().await;
    if context.json {
        let ended = if failure.is_some() {
            "the engine stopped"
        } else {
            why
        };
        output::json(&json!({ "ended": ended, "failure": failure }));
    }
    Ok(match failure {
        Some(failure) => {
            output::note(format_args!("the engine stopped: {failure}"));
            Exit::Failed
        }
        None => Exit::Done,
    })
}

/// Lets the sandbox test itself, and reports how that went.
async fn self_test(workshop: Workshop, server: Server) {
    let (state, detail) = match workshop.machine().self_test(Profile::Check).await {
        Ok(test) if test.held() => (HealthState::Ok, "it holds its own test".to_owned()),
        Ok(_) => {
            let detail = "it does not hold its own test; see `matrix doctor --sandbox`";
            (HealthState::Failed, detail.to_owned())
        }
        Err(error) => (HealthState::Failed, error.to_string()),
    };
    server.health().report("sandbox", state, detail);
}

/// The names the server answers to: its own, those of the configuration and those of the flags.
fn names(context: &Context, arguments: &ServeArgs, address: SocketAddr) -> AllowedNames {
    let hosts = &context.config.allowed_hosts.value;
    let origins = &context.config.allowed_origins.value;
    let own = AllowedNames::loopback(address);
    let named = hosts
        .iter()
        .chain(&arguments.allow_host)
        .fold(own, AllowedNames::host);
    origins
        .iter()
        .chain(&arguments.allow_origin)
        .fold(named, AllowedNames::origin)
}

/// Takes the lock; a host that has it is asked to let go at the next step boundary.
async fn take_over(context: &Context) -> Result<std::fs::File, Failure> {
    let layout = reader::layout(&context.config);
    let client = match lock_or_client(&context.config).await? {
        Found::Lock(lock) | Found::Others(lock) => return Ok(lock),
        Found::Host(client) => client,
    };
    let drained = client
        .post::<_, serde_json::Value>("/host/drain", &json!({}))
        .await;
    drained.map_err(|error| told(&error))?;
    let waited = async {
        loop {
            match try_lock(&layout) {
                Ok(None) => tokio::time::sleep(INTERVAL).await,
                taken => return taken,
            }
        }
    };
    let taken = tokio::time::timeout(HANDOVER, waited)
        .await
        .unwrap_or(Ok(None))?;
    taken.ok_or_else(|| {
        let text = format!("the host of {} does not let go", layout.root().display());
        Problem::new(BUSY, text)
            .help("wait for its step to end, or end the process")
            .into()
    })
}
