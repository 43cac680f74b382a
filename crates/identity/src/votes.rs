//! Whose votes count: distinct persons other than the submitter, about exactly this change.

use std::collections::BTreeMap;

use matrix_core::{Caller, Digest, Principal, PrincipalKind};
use serde::{Deserialize, Serialize};

/// What somebody said about a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// Yes.
    Approve,
    /// No.
    Reject,
}

/// One vote, bound to what the voter saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// Who voted, authenticated.
    pub by: Caller,
    /// What they said.
    pub choice: Choice,
    /// The digest of everything the vote is about: plan, diff, tree, evidence, policy, dry run.
    pub bound_to: Digest,
}

/// The votes that count, as the gate wants them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    /// Persons other than the submitter, and those it acts for, whose last word is yes.
    pub human_approvals: u32,
    /// Whether the submitter, or a person it acts for, said yes explicitly.
    pub self_approval: bool,
    /// Whether a person's last word is no.
    pub rejected: bool,
}

/// What is voted on.
#[derive(Debug, Clone, Copy)]
pub struct Ballot<'a> {
    /// Who submitted the change, with those it acts for.
    pub submitter: &'a Caller,
    /// What a vote must be bound to; votes bound to anything else are stale and count for nothing.
    pub bound_to: Digest,
    /// Whether the data directory has one active user. A program's submission is then that
    /// user's, so that the user's vote is a self-approval too.
    pub single_user: bool,
}

impl Ballot<'_> {
    /// Counts votes given in the order they were cast; each person's last fresh one counts.
    /// Votes by anybody but a person acting for themself count for nothing.
    pub fn tally(&self, votes: &[Vote]) -> Tally {
        let mut last: BTreeMap<&str, Choice> = BTreeMap::new();
        for vote in votes {
            let person = vote.by.principal.kind == PrincipalKind::User;
            let fresh = vote.bound_to == self.bound_to;
            let at_home = vote.by.scope == self.submitter.scope;
            if person && fresh && at_home && vote.by.on_behalf_of.is_empty() {
                last.insert(&vote.by.principal.name, vote.choice);
            }
        }
        let mut tally = Tally::default();
        for (name, choice) in last {
            match choice {
                Choice::Reject => tally.rejected = true,
                Choice::Approve if self.is_own(name) => tally.self_approval = true,
                Choice::Approve => {
                    tally.human_approvals = tally.human_approvals.saturating_add(1);
                    tally.self_approval |= self.single_user && !self.submitted_by_person();
                }
            }
        }
        tally
    }

    fn people(&self) -> impl Iterator<Item = &Principal> {
        std::iter::once(&self.submitter.principal)
            .chain(&self.submitter.on_behalf_of)
            .filter(|principal| principal.kind == PrincipalKind::User)
    }

    fn submitted_by_person(&self) -> bool {
        self.people().next().is_some()
    }

    fn is_own(&self, name: &str) -> bool {
        self.people().any(|principal| principal.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use matrix_core::Scope;
    use proptest::prelude::*;

    fn caller(kind: PrincipalKind, name: &str, chain: &[(PrincipalKind, &str)]) -> Caller {
        let principal = |kind, name: &str| Principal {
            kind,
            name: name.into(),
        };
        Caller {
            principal: principal(kind, name),
            scope: Scope::local(),
            on_behalf_of: chain
                .iter()
                .map(|(kind, name)| principal(*kind, name))
                .collect(),
        }
    }

    fn user(name: &str) -> Caller {
        caller(PrincipalKind::User, name, &[])
    }

    fn yes(by: Caller) -> Vote {
        Vote {
            by,
            choice: Choice::Approve,
            bound_to: Digest::of("now"),
        }
    }

    fn count(submitter: &Caller, votes: &[Vote]) -> Tally {
        let ballot = Ballot {
            submitter,
            bound_to: Digest::of("now"),
            single_user: false,
        };
        ballot.tally(votes)
    }

    #[test]
    fn one_person_counts_once_and_the_last_word_counts() {
        let no = Vote {
            choice: Choice::Reject,
            ..yes(user("ben"))
        };
        let votes = [yes(user("ben")), yes(user("ben")), yes(user("cleo"))];
        assert_eq!(count(&user("ada"), &votes).human_approvals, 2);
        let votes = [yes(user("ben")), no.clone()];
        let tally = count(&user("ada"), &votes);
        assert!(tally.rejected, "a changed mind must count");
        assert_eq!(tally.human_approvals, 0);
        let votes = [no, yes(user("ben"))];
        assert!(!count(&user("ada"), &votes).rejected);
    }

    #[test]
    fn the_submitter_and_those_it_acts_for_are_nobody_else() {
        let agent = caller(
            PrincipalKind::Agent,
            "coder",
            &[(PrincipalKind::User, "ada")],
        );
        let tally = count(&agent, &[yes(user("ada"))]);
        assert_eq!(tally.human_approvals, 0, "the delegator approved alone");
        assert!(tally.self_approval);
        assert_eq!(count(&user("ada"), &[yes(user("ada"))]).human_approvals, 0);
    }

    #[test]
    fn programs_and_delegates_do_not_vote() {
        let votes = [
            yes(caller(PrincipalKind::Agent, "ben", &[])),
            yes(caller(PrincipalKind::ServiceAccount, "cleo", &[])),
            yes(caller(PrincipalKind::Node, "dan", &[])),
            yes(caller(
                PrincipalKind::User,
                "eve",
                &[(PrincipalKind::User, "fay")],
            )),
        ];
        assert_eq!(count(&user("ada"), &votes), Tally::default());
    }

    #[test]
    fn stale_votes_count_for_nothing() {
        let stale = |choice| Vote {
            choice,
            bound_to: Digest::of("before"),
            ..yes(user("ben"))
        };
        let votes = [stale(Choice::Approve), stale(Choice::Reject)];
        assert_eq!(count(&user("ada"), &votes), Tally::default());
    }

    #[test]
    fn the_only_user_answers_for_the_programs() {
        let service = caller(PrincipalKind::ServiceAccount, "api", &[]);
        let mut ballot = Ballot {
            submitter: &service,
            bound_to: Digest::of("now"),
            single_user: true,
        };
        assert!(ballot.tally(&[yes(user("ada"))]).self_approval);
        ballot.single_user = false;
        assert!(!ballot.tally(&[yes(user("ada"))]).self_approval);
    }

    proptest! {
        #[test]
        fn there_are_never_more_approvals_than_other_people(
            names in proptest::collection::vec((0_u8..6, any::<bool>(), any::<bool>()), 0..30)
        ) {
            let votes: Vec<Vote> = names
                .iter()
                .map(|(name, approves, fresh)| Vote {
                    by: user(&name.to_string()),
                    choice: if *approves { Choice::Approve } else { Choice::Reject },
                    bound_to: Digest::of(if *fresh { "now" } else { "before" }),
                })
                .collect();
            let people: std::collections::BTreeSet<u8> = names
                .iter()
                .filter(|(name, approves, fresh)| *name != 0 && *approves && *fresh)
                .map(|(name, ..)| *name)
                .collect();
            let tally = count(&user("0"), &votes);
            prop_assert!(tally.human_approvals as usize <= people.len());
        }
    }
}
