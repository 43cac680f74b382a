//! `/metrics`, in Prometheus' text format.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use matrix_store::StoreError;
use matrix_store::tables::runs;

use crate::edge::guard::SignedIn;
use crate::metrics::{head, line};
use crate::problem::Failure;
use crate::server::{Server, blocking};

/// The kind of run that the API calls a job.
const JOB_KIND: &str = "change";

/// Counters and gauges of this process and its data directory, in Prometheus' text format.
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics", tag = "health",
    responses((status = 200, description = "Counters and gauges.", body = String,
               content_type = "text/plain; version=0.0.4")),
)]
pub(crate) async fn metrics(
    State(server): State<Server>,
    SignedIn(_caller): SignedIn,
) -> Result<impl IntoResponse, Failure> {
    let database = server.database().clone();
    let counts = blocking(move || database.read_now::<_, StoreError, _>(runs::count)).await?;
    let mut text = String::new();
    head(&mut text, "jobs_total", "gauge", "Changes by state.");
    for (_, state, count) in counts.iter().filter(|(kind, ..)| kind == JOB_KIND) {
        line(
            &mut text,
            "jobs_total",
            &format!(r#"status="{state}""#),
            count,
        );
    }
    head(&mut text, "runs", "gauge", "Runs by kind and state.");
    for (kind, state, count) in &counts {
        let labels = format!(r#"kind="{}",state="{state}""#, escape(kind));
        line(&mut text, "runs", &labels, count);
    }
    let ready = counts.iter().filter(|(_, state, _)| state == "ready");
    let depth: u64 = ready.map(|(.., count)| count).sum();
    head(
        &mut text,
        "queue_depth",
        "gauge",
        "Runs that wait for a worker.",
    );
    line(&mut text, "queue_depth", "", &depth);
    head(
        &mut text,
        "commits_total",
        "counter",
        "Transactions committed since start.",
    );
    line(&mut text, "commits_total", "", &server.database().commits());
    head(&mut text, "uptime_seconds", "gauge", "Seconds since start.");
    line(
        &mut text,
        "uptime_seconds",
        "",
        &server.uptime().as_secs_f64(),
    );
    server.metrics().write(&mut text);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text))
}

fn escape(label: &str) -> String {
    label
        .replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('\n', r"\n")
}
