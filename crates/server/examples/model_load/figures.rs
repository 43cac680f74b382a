//! What was measured, as it is printed.

use std::time::Duration;

use serde_json::{Value, json};

/// How long one answer took.
pub(crate) struct Answered {
    /// Until its first bytes.
    pub(crate) first: Duration,
    /// Until its end.
    pub(crate) whole: Duration,
}

/// All of it: answers and events of streams in so many seconds, processor time in seconds, resident bytes, and times in
/// microseconds.
pub(crate) fn told(
    answers: &[Answered],
    events: usize,
    counted: Duration,
    (processor, resident): (Duration, u64),
) -> Value {
    let times = |time: fn(&Answered) -> Duration| {
        let mut times: Vec<_> = answers.iter().map(time).collect();
        times.sort();
        times
    };
    let (first, whole) = (times(|answer| answer.first), times(|answer| answer.whole));
    json!({
        "answers": answers.len(),
        "events": events,
        "seconds": counted.as_secs_f64(),
        "processor": processor.as_secs_f64(),
        "resident": resident,
        "p50": percentile(&whole, 50),
        "p99": percentile(&whole, 99),
        "longest": percentile(&whole, 100),
        "first_p50": percentile(&first, 50),
        "first_p99": percentile(&first, 99),
    })
}

/// The time that so many percent did not exceed (nearest rank).
fn percentile(sorted: &[Duration], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    Some(sorted.get(rank - 1)?.as_secs_f64() * 1e6)
}
