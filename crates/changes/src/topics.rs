//! What the entries of a change are about, beside what those of any run are: words of this room for
//! whoever subscribes to events.

use matrix_engine::EntryKind;
use matrix_engine::events::TopicRule;

use crate::function::KIND;

/// Topics of changes. `job` is the API's name for a change.
pub const TOPICS: &[TopicRule] = &[
    of(EntryKind::RunStarted, "", "job.started"),
    of(EntryKind::RunCompleted, "", "job.completed"),
    of(EntryKind::RunFailed, "", "job.failed"),
    of(EntryKind::RunCancelled, "", "job.cancelled"),
    of(EntryKind::Paused, "", "job.paused"),
    of(EntryKind::Resumed, "", "job.resumed"),
    of(EntryKind::StepCompleted, "plan", "change.planned"),
    of(EntryKind::StepCompleted, "patch", "change.patched"),
    of(EntryKind::StepCompleted, "evidence", "change.verified"),
    of(EntryKind::StepCompleted, "gate", "change.judged"),
    of(EntryKind::StepCompleted, "publish", "change.published"),
    of(EntryKind::StepCompleted, "release", "change.released"),
    of(EntryKind::StepBegun, "deploy", "deployment.started"),
    of(EntryKind::StepFailed, "deploy", "deployment.failed"),
    TopicRule {
        when: Some(("/how", "applied")),
        ..of(EntryKind::StepCompleted, "deploy", "deployment.applied")
    },
    of(EntryKind::StepCompleted, "health", "deployment.checked"),
    of(
        EntryKind::StepCompleted,
        "rollback",
        "deployment.rolled_back",
    ),
];

const fn of(entry: EntryKind, step: &'static str, topic: &'static str) -> TopicRule {
    TopicRule {
        run_kind: KIND,
        entry,
        step,
        when: None,
        topic,
    }
}
