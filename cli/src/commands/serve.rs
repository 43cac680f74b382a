//! `matrix serve`: stays, and answers HTTP on loopback.

use std::net::SocketAddr;
use std::time::Duration;

use matrix_core::Problem;
use matrix_sandbox::spec::Profile;
use matrix_server::health::HealthState;
use matrix_server::{AllowedNames, Exposure, HostMode, bind, serve_tcp};
use serde_json::json;
use tokio::sync::watch;

use super::{Context, signalled};
use crate::exit::Exit;
use crate::failure::{Failure, told};
use crate::host::{BUSY, Host, closed, try_lock};
use crate::{door, output, reader};

/// How long another host may take to let go.
const HANDOVER: Duration = Duration::from_mins(2);

/// How often the lock is tried meanwhile.
const INTERVAL: Duration = Duration::from_millis(50);

pub(super) async fn serve(context: &Context, listen: Option<SocketAddr>) -> Result<Exit, Failure> {
    let layout = reader::layout(&context.config);
    let lock = take_over(context).await?;
    let host = Host::start(&context.config, &context.environment, HostMode::Serve, lock).await?;
    let token = layout.root().join("token");
    host.accounts
        .ensure_service_token(&host.owner, "api", &token)
        .await?;
    let address = listen.unwrap_or(context.config.listen.value);
    let listener = bind(address, Exposure::Loopback).await?;
    let address = listener.local_addr().unwrap_or(address);
    output::note(format_args!("listening on http://{address}"));
    output::note(format_args!("token in {}", token.display()));
    let (closing, closes) = watch::channel(false);
    let serving = tokio::spawn({
        let server = host.server.clone();
        async move {
            serve_tcp(
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
    let tested = tokio::spawn({
        let (workshop, server) = (host.workshop.clone(), host.server.clone());
        async move {
            match workshop.self_test(Profile::Check).await {
                Ok(test) if test.held() => {
                    server
                        .health()
                        .report("sandbox", HealthState::Ok, "it holds its own test");
                }
                Ok(_) => {
                    let detail = "it does not hold its own test; see `matrix doctor --sandbox`";
                    server
                        .health()
                        .report("sandbox", HealthState::Failed, detail);
                }
                Err(error) => {
                    server
                        .health()
                        .report("sandbox", HealthState::Failed, error.to_string());
                }
            }
        }
    });
    tokio::select! {
        signal = signalled() => output::note(format_args!("{signal}: ending")),
        () = host.engine.stopped() => output::note("another process takes over"),
    }
    closing.send_replace(true);
    drop(serving.await);
    tested.abort();
    host.end().await;
    Ok(Exit::Done)
}

/// Takes the lock; a host that has it is asked to let go at the next step boundary.
async fn take_over(context: &Context) -> Result<std::fs::File, Failure> {
    let layout = reader::layout(&context.config);
    if let Some(lock) = try_lock(&layout)? {
        return Ok(lock);
    }
    let client = door::connect(&context.config).await?;
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
