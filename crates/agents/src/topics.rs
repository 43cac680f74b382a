//! What the entries of agents' runs are about, for whoever subscribes.

use matrix_engine::EntryKind;
use matrix_engine::events::TopicRule;

use crate::function::KIND;

/// Topics of agents.
pub const TOPICS: &[TopicRule] = &[
    of(EntryKind::RunStarted, "agent.started"),
    of(EntryKind::RunCompleted, "agent.stopped"),
    of(EntryKind::RunFailed, "agent.stopped"),
    of(EntryKind::RunCancelled, "agent.stopped"),
    of(EntryKind::Paused, "agent.paused"),
    of(EntryKind::Resumed, "agent.resumed"),
];

const fn of(entry: EntryKind, topic: &'static str) -> TopicRule {
    TopicRule {
        run_kind: KIND,
        entry,
        step: "",
        when: None,
        topic,
    }
}
