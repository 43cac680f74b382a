//! `/metrics`, in Prometheus' text format.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use matrix_changes::function::KIND;
use matrix_core::Caller;
use matrix_core::meter::Distribution;
use matrix_engine::events::{self, EventRead};
use matrix_store::StoreError;
use matrix_store::tables::runs;

use crate::edge::guard::SignedIn;
use crate::metrics::{Family, Scale};
use crate::problem::Failure;
use crate::server::{Server, blocking};

/// How many runs are counted in the queue; a longer one is shown as this long.
const QUEUE_MAX: i64 = 100_000;

/// Counters and gauges of this process, in Prometheus' text format. None of them costs more with the
/// number of runs there were.
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics", tag = "health",
    responses((status = 200, description = "Counters and gauges.", body = String,
               content_type = "text/plain; version=0.0.4")),
)]
pub(crate) async fn metrics(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
) -> Result<impl IntoResponse, Failure> {
    let (reader, database) = (server.clone(), server.database().clone());
    let (depths, mut text) = blocking(move || {
        let depths = database.read_now::<_, StoreError, _>(|tx| runs::ready(tx, QUEUE_MAX))?;
        Ok::<_, Failure>((depths, subscriptions(&reader, caller)?))
    })
    .await?;
    jobs(&server, &mut text);
    queue(&server, &depths, &mut text);
    commits(&server, &mut text);
    models(&server, &mut text);
    Family::new("uptime_seconds", "gauge", "Seconds since start.", &mut text)
        .line("", &server.uptime().as_secs_f64());
    server.metrics().write(&mut text);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text))
}

/// Runs as they began and ended in this process.
fn jobs(server: &Server, text: &mut String) {
    let meters = server.engine().meters();
    let (created, ended) = (meters.created(), meters.ended());
    let jobs = ended.iter().filter(|ended| ended.kind == KIND);
    let mut family = Family::new(
        "jobs_total",
        "counter",
        "Changes that were submitted here, and that ended here, by how.",
        text,
    );
    let submitted = created.get(KIND).copied().unwrap_or(0);
    family.line(r#"status="submitted""#, &submitted);
    for job in jobs.clone() {
        family.line(&format!(r#"status="{}""#, job.status), &job.took.count);
    }
    let mut family = Family::new(
        "job_duration_seconds",
        "histogram",
        "From a change's submission to its end.",
        text,
    );
    for job in jobs {
        let labels = format!(r#"status="{}""#, job.status);
        family.histogram(&labels, &job.took, Scale::Micros);
    }
    let help = "Runs that were created here, by kind.";
    let mut family = Family::new("runs_created_total", "counter", help, text);
    for (kind, count) in &created {
        family.line(&format!(r#"kind="{}""#, escape(kind)), count);
    }
    let help = "From a run's creation to its end, by kind and how.";
    let mut family = Family::new("run_duration_seconds", "histogram", help, text);
    for run in &ended {
        let labels = format!(r#"kind="{}",status="{}""#, escape(&run.kind), run.status);
        family.histogram(&labels, &run.took, Scale::Micros);
    }
}

/// What waits, what works, and what was taken from dead owners.
fn queue(server: &Server, depths: &[(i64, u64)], text: &mut String) {
    let help = "Runs that wait for a worker.";
    let mut family = Family::new("queue_depth", "gauge", help, text);
    for priority in 0..=9 {
        let found = depths.iter().find(|(known, _)| *known == priority);
        let depth = found.map_or(0, |(_, depth)| *depth);
        family.line(&format!(r#"priority="{priority}""#), &depth);
    }
    let (driven, most) = server.engine().load();
    let number = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    let part = number(driven) / number(most.max(1));
    let help = "The part of the runs this process may drive at once that it drives.";
    Family::new("worker_utilization", "gauge", help, text).line("", &part);
    let meters = server.engine().meters();
    let help = "Runs of dead owners that this process returned to the queue.";
    Family::new("lease_takeovers_total", "counter", help, text).line("", &meters.takeovers.get());
    let help = "Entries that were read when a run was taken up.";
    Family::new("replay_entries", "histogram", help, text).histogram(
        "",
        &meters.replayed.get(),
        Scale::One,
    );
}

/// What the writer did.
fn commits(server: &Server, text: &mut String) {
    let meter = server.database().meter();
    let help = "Transactions committed.";
    Family::new("commits_total", "counter", help, text).line("", &meter.stood.get());
    let help = "Transactions that did not stand.";
    Family::new("commit_failures_total", "counter", help, text).line("", &meter.failed.get());
    let mut histogram = |name, help, found: Distribution, scale| {
        Family::new(name, "histogram", help, text).histogram("", &found, scale);
    };
    histogram(
        "commit_batch_size",
        "Writes in one transaction.",
        meter.batch.get(),
        Scale::One,
    );
    histogram(
        "commit_seconds",
        "From a transaction's beginning to its last answer, its fsync included.",
        meter.took.get(),
        Scale::Micros,
    );
}

/// Calls of models.
fn models(server: &Server, text: &mut String) {
    let gateway = server.models();
    let meters = gateway.meters();
    let help = "Seconds that calls of models took, by how they ended.";
    let mut family = Family::new("model_call_seconds", "histogram", help, text);
    for ((model, provider, outcome), found) in meters.calls() {
        let outcome = outcome.as_str();
        let labels = format!(r#"model="{model}",provider="{provider}",outcome="{outcome}""#);
        family.histogram(&labels, &found, Scale::Micros);
    }
    let help = "Seconds until the first words of a stream.";
    Family::new("model_first_words_seconds", "histogram", help, text).histogram(
        "",
        &meters.first_words(),
        Scale::Micros,
    );
    let spent = meters.spent();
    let help = "Tokens that models read and wrote; parts are counted in their whole, too.";
    let mut family = Family::new("model_tokens_total", "counter", help, text);
    for ((model, provider), paid) in &spent {
        let usage = paid.usage;
        for (kind, count) in [
            ("input", usage.input),
            ("output", usage.output),
            ("cache_read", usage.cache_read),
            ("cache_write", usage.cache_write),
            ("reasoning", usage.reasoning),
        ] {
            let labels = format!(r#"model="{model}",provider="{provider}",kind="{kind}""#);
            family.line(&labels, &count);
        }
    }
    let help = "What calls of models cost, in US dollars.";
    let mut family = Family::new("model_cost_dollars_total", "counter", help, text);
    for ((model, provider), paid) in &spent {
        let labels = format!(r#"model="{model}",provider="{provider}""#);
        family.line(&labels, &paid.cost);
    }
    let help = "What was found in requests to models and in answers, and what was done with it.";
    let mut family = Family::new("model_redactions_total", "counter", help, text);
    for ((class, action), count) in meters.redactions() {
        family.line(&format!(r#"class="{class}",action="{action}""#), &count);
    }
    if let Some(log) = gateway.log() {
        let help = "Calls of models that could not be written into a journal for too long.";
        let mut family = Family::new("model_calls_unlogged_total", "counter", help, text);
        family.line("", &log.lost());
    }
}

/// Who is told of events, if the caller may know.
fn subscriptions(server: &Server, caller: Caller) -> Result<String, Failure> {
    let mut text = String::new();
    let Ok(request) = server.authorise(caller, EventRead::default()) else {
        return Ok(text);
    };
    let found = events::list(server.events(), &request)?;
    let mut gauge = |name, kind, help, value: &dyn Fn(&events::SubscriptionView) -> i64| {
        let mut family = Family::new(name, kind, help, &mut text);
        for view in &found {
            family.line(&format!(r#"name="{}""#, view.name), &value(view));
        }
    };
    gauge(
        "subscription_lag",
        "gauge",
        "Entries behind a subscription's cursor.",
        &|view| view.lag,
    );
    gauge(
        "subscription_delivered_total",
        "counter",
        "Events that a subscription's broker acknowledged.",
        &|view| view.delivered,
    );
    gauge(
        "subscription_failures",
        "gauge",
        "Attempts that failed since one succeeded.",
        &|view| view.failures,
    );
    Ok(text)
}

fn escape(label: &str) -> String {
    label
        .replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('\n', r"\n")
}
