//! Any journal, however odd, gives one history, from every prefix of it.

use matrix_core::id::ApprovalId;
use matrix_core::{Digest, RunId, Timestamp};
use matrix_engine::history::{History, reset_position};
use matrix_engine::{Entry, EntryKind};
use proptest::prelude::*;
use serde_json::{Value, json};

fn payload(kind: EntryKind, number: i64, path: &str) -> Value {
    let some = [u8::try_from(number % 3).unwrap_or(0); 16];
    let (approval, other) = (ApprovalId::from_bytes(some), RunId::from_bytes(some));
    let fork = json!({ "fork_of": { "run": other, "seq": number, "hash": Digest::of("h") } });
    let started = json!({
        "kind": "test", "version": "1", "title": "t", "input": number, "trace": "0",
        "caller": { "principal": { "kind": "user", "name": "ada" },
            "scope": { "organisation": "local", "workspace": "default" },
            "on_behalf_of": [] },
        "origin": if number % 2 == 0 { json!("asked") } else { fork },
    });
    match kind {
        EntryKind::RunStarted => started,
        EntryKind::StepBegun => json!({
            "class": if number % 2 == 0 { "workspace" } else { "external" },
        }),
        EntryKind::ChildSpawned => json!({ "run": other, "kind": "test", "detached": false }),
        EntryKind::ChildEnded => json!({ "run": other, "completed": number }),
        EntryKind::Continued => json!({
            "started": started, "started_at": number, "signals": { "go": [number] },
            "generation": 100 + number,
        }),
        EntryKind::StepFailed => json!({
            "error": { "code": "c", "message": path, "retry": "never" },
            "final": number % 2 == 0, "retry_at": number,
        }),
        EntryKind::TimerSet => json!({ "due": number }),
        EntryKind::ApprovalRequested => json!({ "approval": approval, "name": path }),
        EntryKind::ApprovalDecided => json!({
            "approval": approval, "reason": path, "self_approval": number % 2 == 1,
            "verdict": if number % 2 == 0 { "approve" } else { "reject" },
        }),
        EntryKind::Reset => json!({ "from_seq": number }),
        EntryKind::RunFailed => json!({ "code": "c", "message": "m", "retry": "never" }),
        _ => json!({ "reason": path, "value": number }),
    }
}

prop_compose! {
    fn draft()(
        kind in proptest::sample::select(EntryKind::ALL),
        path in proptest::sample::select(vec!["a#1", "a#2", "b/c#1", "go", ""]),
        number in 0..40_i64,
        shape in 0..10_u8,
    ) -> (EntryKind, &'static str, Option<Value>) {
        let payload = match shape {
            0 => None,
            1 => Some(json!(["something", "else"])),
            2 => Some(Value::Null),
            _ => Some(payload(kind, number, path)),
        };
        (kind, path, payload)
    }
}

fn entries(drafts: Vec<(EntryKind, &'static str, Option<Value>)>) -> Vec<Entry> {
    let number = |(seq, (kind, path, payload)): (usize, (EntryKind, &str, Option<Value>))| Entry {
        lsn: 0,
        run: RunId::from_bytes([1; 16]),
        seq: i64::try_from(seq).unwrap(),
        kind,
        path: path.into(),
        fingerprint: path.into(),
        actor: "user:ada".into(),
        epoch: 1,
        at: Timestamp::from_micros(1),
        payload_digest: Digest::of(""),
        hash: Digest::of(""),
        payload,
    };
    drafts.into_iter().enumerate().map(number).collect()
}

/// Whether what came before counts no more, or only as a fork's.
fn begins_a_generation(entry: &Entry) -> bool {
    matches!(entry.kind, EntryKind::RunStarted | EntryKind::Continued)
}

proptest! {
    #[test]
    fn a_fork_has_what_ended_and_nothing_that_belongs_to_the_other_run(
        drafts in proptest::collection::vec(draft(), 0..40),
    ) {
        let mut entries = entries(drafts);
        let before = History::replay(&entries);
        let start = (EntryKind::RunStarted, "", Some(payload(EntryKind::RunStarted, 1, "")));
        let mut start = self::entries(vec![start]);
        start[0].seq = i64::try_from(entries.len()).unwrap();
        entries.append(&mut start);
        let fork = History::replay(&entries);
        prop_assert!(fork.ended.is_none() && fork.paused.is_none() && fork.cancel.is_none());
        prop_assert!(fork.live_children().is_empty());
        for (path, step) in fork.steps() {
            prop_assert!(step.is_shared(), "{} is shared", path);
            prop_assert_eq!(&step.outcome, &before.step(path).unwrap().outcome);
        }
        for (path, step) in before.steps() {
            let shared = step.is_shared();
            prop_assert_eq!(fork.step(path).is_some(), shared, "{}", path);
        }
        for path in ["a#1", "a#2", "b/c#1", "go", ""] {
            prop_assert!(fork.requested(path).is_none());
            prop_assert!(fork.timer(path).is_none_or(|(_, fired)| fired));
            prop_assert_eq!(fork.signals(path), before.signals(path));
        }
    }

    #[test]
    fn a_prefix_replayed_and_the_rest_applied_is_the_whole_replayed(
        drafts in proptest::collection::vec(draft(), 0..40),
        cut in 0..40_usize,
    ) {
        let entries = entries(drafts);
        let cut = cut.min(entries.len());
        let mut history = History::replay(&entries[..cut]);
        for (index, entry) in entries.iter().enumerate().skip(cut) {
            if entry.kind == EntryKind::Reset {
                history = History::replay(&entries[..=index]);
            } else {
                history.apply(entry);
            }
            prop_assert_eq!(&history, &History::replay(&entries[..=index]), "at {}", index);
        }
        prop_assert_eq!(history, History::replay(&entries));
    }

    #[test]
    fn a_reset_takes_back_what_came_after_its_position_and_raises_the_generation(
        drafts in proptest::collection::vec(draft(), 1..40),
    ) {
        let entries = entries(drafts);
        let mut resets = 0;
        for (index, entry) in entries.iter().enumerate() {
            let history = History::replay(&entries[..=index]);
            prop_assert_eq!(history.seq, entry.seq);
            if begins_a_generation(entry) {
                resets = history.generation;
            }
            if entry.kind == EntryKind::Reset {
                resets += 1;
                let from = reset_position(entry);
                let late: Vec<_> = history.steps().into_iter()
                    .filter(|(_, step)| step.first_seq >= from).collect();
                prop_assert!(late.is_empty(), "{:?} survived a reset to {}", late, from);
                prop_assert_eq!((&history.paused, &history.ended), (&None, &None));
            }
            prop_assert_eq!(history.generation, resets);
        }
    }

    #[test]
    fn an_erased_outcome_is_never_taken_for_a_result(
        drafts in proptest::collection::vec(draft(), 0..40),
        erased in 0..40_usize,
    ) {
        let mut entries = entries(drafts);
        if let Some(entry) = entries.get_mut(erased) {
            entry.payload = None;
        }
        let history = History::replay(&entries);
        for (path, step) in history.steps() {
            let last = entries.iter().rev().find(|entry| {
                entry.path == path
                    && matches!(entry.kind, EntryKind::StepCompleted | EntryKind::StepFailed)
            });
            let resets = entries
                .iter()
                .any(|entry| entry.kind == EntryKind::Reset || begins_a_generation(entry));
            if let Some(last) = last && !resets && last.payload.is_none() {
                prop_assert!(step.erased, "{} looks whole", path);
            }
        }
    }
}

#[test]
fn what_is_heard_of_late_does_not_move_the_end_back() {
    let all = entries(vec![
        (EntryKind::RunStarted, "", None),
        (EntryKind::StepCompleted, "a#1", Some(json!(1))),
        (EntryKind::SignalReceived, "go", Some(json!(2))),
    ]);
    let mut history = History::replay(&all[..1]);
    history.apply(&all[2]);
    history.apply(&all[1]);
    assert_eq!(history, History::replay(&all));
    assert_eq!(history.seq, 2);
}
