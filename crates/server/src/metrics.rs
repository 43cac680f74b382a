//! Counters of the edge, written in Prometheus' text format 0.0.4.
//!
//! Labels are closed sets (known methods, the routes as they are declared, status numbers), so
//! that no client can make the table grow.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use matrix_core::meter::Distribution;

/// Upper bounds of the histogram's buckets, in milliseconds.
const BUCKETS_MS: [u32; 11] = [1, 5, 10, 25, 50, 100, 250, 500, 1_000, 5_000, 30_000];

/// What is counted of one kind of request.
#[derive(Debug, Default, Clone)]
struct Histogram {
    buckets: [u64; BUCKETS_MS.len()],
    count: u64,
    sum: Duration,
}

#[derive(Debug, Default)]
struct Counters {
    requests: BTreeMap<(&'static str, String, u16), u64>,
    durations: BTreeMap<(&'static str, String), Histogram>,
}

/// The counters of one process.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    counters: Mutex<Counters>,
}

/// A method's label.
fn method_label(method: &str) -> &'static str {
    const KNOWN: [&str; 5] = ["GET", "HEAD", "POST", "DELETE", "OPTIONS"];
    let found = KNOWN.into_iter().find(|known| *known == method);
    found.unwrap_or("OTHER")
}

impl Metrics {
    /// Counts an answer; `route` is the declared path, not the one asked for.
    pub(crate) fn answered(&self, method: &str, route: &str, status: u16, took: Duration) {
        let method = method_label(method);
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (method, route.to_owned(), status);
        *counters.requests.entry(key).or_default() += 1;
        let histogram = counters
            .durations
            .entry((method, route.to_owned()))
            .or_default();
        for (bucket, bound) in histogram.buckets.iter_mut().zip(BUCKETS_MS) {
            if took <= Duration::from_millis(bound.into()) {
                *bucket += 1;
            }
        }
        histogram.count += 1;
        histogram.sum += took;
    }

    /// The request counters as text.
    pub(crate) fn write(&self, text: &mut String) {
        let counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        head(text, "http_requests_total", "counter", "Answered requests.");
        for ((method, route, status), count) in &counters.requests {
            let labels = format!(r#"method="{method}",route="{route}",status="{status}""#);
            line(text, "http_requests_total", &labels, count);
        }
        let name = "http_request_duration_seconds";
        head(text, name, "histogram", "Time until an answer began.");
        for ((method, route), histogram) in &counters.durations {
            let labels = format!(r#"method="{method}",route="{route}""#);
            for (count, bound) in histogram.buckets.iter().zip(BUCKETS_MS) {
                let labels = format!(r#"{labels},le="{}""#, f64::from(bound) / 1_000.0);
                line(text, &format!("{name}_bucket"), &labels, count);
            }
            let all = format!(r#"{labels},le="+Inf""#);
            line(text, &format!("{name}_bucket"), &all, &histogram.count);
            let sum = histogram.sum.as_secs_f64();
            line(text, &format!("{name}_sum"), &labels, &sum);
            line(text, &format!("{name}_count"), &labels, &histogram.count);
        }
    }
}

/// Writes a metric's help and type.
fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a text cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// Writes one sample; the labels stand without their braces.
fn line(text: &mut String, name: &str, labels: &str, value: &dyn std::fmt::Display) {
    let _ = if labels.is_empty() {
        writeln!(text, "{name} {value}")
    } else {
        writeln!(text, "{name}{{{labels}}} {value}")
    };
}

/// What a distribution's numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Themselves.
    One,
    /// Microseconds, to be written in seconds.
    Micros,
}

impl Scale {
    fn show(self, value: u64) -> String {
        match self {
            Self::One => value.to_string(),
            Self::Micros => Duration::from_micros(value).as_secs_f64().to_string(),
        }
    }
}

/// The samples of one metric.
pub(crate) struct Family<'a> {
    name: &'static str,
    text: &'a mut String,
}

impl<'a> Family<'a> {
    /// Begins a metric.
    pub(crate) fn new(name: &'static str, kind: &str, help: &str, text: &'a mut String) -> Self {
        head(text, name, kind, help);
        Self { name, text }
    }

    /// Writes a sample; the labels stand without their braces.
    pub(crate) fn line(&mut self, labels: &str, value: &dyn std::fmt::Display) {
        line(self.text, self.name, labels, value);
    }

    /// Writes a histogram.
    pub(crate) fn histogram(&mut self, labels: &str, found: &Distribution, scale: Scale) {
        let comma = if labels.is_empty() { "" } else { "," };
        let bucket = format!("{}_bucket", self.name);
        for (bound, count) in &found.buckets {
            let labels = format!(r#"{labels}{comma}le="{}""#, scale.show(*bound));
            line(self.text, &bucket, &labels, count);
        }
        let all = format!(r#"{labels}{comma}le="+Inf""#);
        line(self.text, &bucket, &all, &found.count);
        let sum = scale.show(found.sum);
        line(self.text, &format!("{}_sum", self.name), labels, &sum);
        line(
            self.text,
            &format!("{}_count", self.name),
            labels,
            &found.count,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_unknown_methods_share_a_label() {
        let metrics = Metrics::default();
        metrics.answered("GET", "/a", 200, Duration::from_millis(7));
        metrics.answered("GET", "/a", 200, Duration::from_secs(2));
        metrics.answered("BREW", "/a", 405, Duration::from_millis(1));
        let mut text = String::new();
        metrics.write(&mut text);
        let has = |wanted: &str| assert!(text.lines().any(|line| line == wanted), "{text}");
        has(r#"http_requests_total{method="GET",route="/a",status="200"} 2"#);
        has(r#"http_requests_total{method="OTHER",route="/a",status="405"} 1"#);
        has(r#"http_request_duration_seconds_bucket{method="GET",route="/a",le="0.005"} 0"#);
        has(r#"http_request_duration_seconds_bucket{method="GET",route="/a",le="0.01"} 1"#);
        has(r#"http_request_duration_seconds_bucket{method="GET",route="/a",le="+Inf"} 2"#);
        has(r#"http_request_duration_seconds_count{method="GET",route="/a"} 2"#);
        has(r#"http_request_duration_seconds_sum{method="GET",route="/a"} 2.007"#);
    }
}
