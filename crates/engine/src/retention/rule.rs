//! Whether a run's journal may go: a pure decision over what is known of the run.

use matrix_core::Timestamp;
use serde::{Deserialize, Serialize};

/// What is known of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and any of them alone keeps a run"
)]
pub(super) struct Facts {
    /// Whether it has ended.
    pub(super) is_terminal: bool,
    /// When it did.
    pub(super) ended_at: Timestamp,
    /// Whether it is the record of a removal.
    pub(super) is_record: bool,
    /// Whether a person holds it.
    pub(super) is_held: bool,
    /// Whether a fork that stays shares its entries.
    pub(super) has_fork: bool,
    /// Whether a run that it started goes on.
    pub(super) has_child: bool,
    /// Whether a deployment of it is active or the one to go back to.
    pub(super) is_deployed: bool,
    /// Whether it has a release that is kept.
    pub(super) is_released: bool,
    /// Whether a signed head covers every entry.
    pub(super) is_sealed: bool,
}

/// Why a run stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It has not ended.
    Unfinished,
    /// It ended too late.
    Young,
    /// It is the record of a removal.
    Record,
    /// A person holds it.
    Held,
    /// A fork that stays shares its entries.
    Forked,
    /// A run that it started goes on.
    Parent,
    /// A deployment of it is active, or the one to go back to.
    Deployed,
    /// It has a release that is kept.
    Released,
    /// No signed head covers all its entries yet.
    Unsealed,
}

impl Reason {
    /// The same in a word for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unfinished => "unfinished",
            Self::Young => "young",
            Self::Record => "record",
            Self::Held => "held",
            Self::Forked => "forked",
            Self::Parent => "parent",
            Self::Deployed => "deployed",
            Self::Released => "released",
            Self::Unsealed => "unsealed",
        }
    }
}

/// Why a run stays, given that only runs which ended before a time may go; nothing if it may.
pub(super) fn judge(facts: Facts, ended_before: Timestamp) -> Option<Reason> {
    let reasons = [
        (!facts.is_terminal, Reason::Unfinished),
        (facts.ended_at >= ended_before, Reason::Young),
        (facts.is_record, Reason::Record),
        (facts.is_held, Reason::Held),
        (facts.has_fork, Reason::Forked),
        (facts.has_child, Reason::Parent),
        (facts.is_deployed, Reason::Deployed),
        (facts.is_released, Reason::Released),
        (!facts.is_sealed, Reason::Unsealed),
    ];
    let mut reasons = reasons.into_iter();
    reasons.find_map(|(applies, reason)| applies.then_some(reason))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A run that may go when those may that ended before 100.
    const GOES: Facts = Facts {
        is_terminal: true,
        ended_at: Timestamp::from_micros(99),
        is_record: false,
        is_held: false,
        has_fork: false,
        has_child: false,
        is_deployed: false,
        is_released: false,
        is_sealed: true,
    };

    #[test]
    fn each_need_alone_keeps_a_run() {
        let before = Timestamp::from_micros(100);
        assert_eq!(judge(GOES, before), None);
        let with = |need: fn(&mut Facts)| {
            let mut facts = GOES;
            need(&mut facts);
            facts
        };
        let all = [
            (with(|run| run.is_terminal = false), Reason::Unfinished),
            (
                with(|run| run.ended_at = Timestamp::from_micros(100)),
                Reason::Young,
            ),
            (with(|run| run.is_record = true), Reason::Record),
            (with(|run| run.is_held = true), Reason::Held),
            (with(|run| run.has_fork = true), Reason::Forked),
            (with(|run| run.has_child = true), Reason::Parent),
            (with(|run| run.is_deployed = true), Reason::Deployed),
            (with(|run| run.is_released = true), Reason::Released),
            (with(|run| run.is_sealed = false), Reason::Unsealed),
        ];
        for (facts, reason) in all {
            assert_eq!(judge(facts, before), Some(reason));
        }
    }

    fn any_facts() -> impl Strategy<Value = Facts> {
        (any::<[bool; 8]>(), 0..200_i64).prop_map(|(told, ended)| Facts {
            is_terminal: told[0],
            ended_at: Timestamp::from_micros(ended),
            is_record: told[1],
            is_held: told[2],
            has_fork: told[3],
            has_child: told[4],
            is_deployed: told[5],
            is_released: told[6],
            is_sealed: told[7],
        })
    }

    proptest! {
        /// Only a run without any need goes, and an earlier time never lets more go.
        #[test]
        fn what_goes_is_needed_by_nobody(facts in any_facts(), before in 0..200_i64) {
            let goes = |before| judge(facts, Timestamp::from_micros(before)).is_none();
            let unneeded = Facts { ended_at: facts.ended_at, ..GOES } == facts;
            prop_assert_eq!(goes(before), unneeded && facts.ended_at.as_micros() < before);
            prop_assert!(goes(before) || !goes(before - 1));
        }
    }
}
