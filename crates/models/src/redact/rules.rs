//! What is done with what is found: by whom it is decided, and what holds where nobody does.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::class::{Class, Topic};

/// What is done with what is found, the mildest first.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It goes on as it is.
    #[default]
    Allow,
    /// A placeholder goes on in its place, and is turned back in the answer for the asker.
    Restore,
    /// A placeholder goes on in its place, and stays.
    Redact,
    /// The call is refused.
    Block,
}

impl Action {
    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Restore => "restore",
            Self::Redact => "redact",
            Self::Block => "block",
        }
    }
}

/// What somebody said of classes and groups. What is said of a class goes before what is said of its
/// group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rules(BTreeMap<Topic, Action>);

impl Rules {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn of(&self, class: Class) -> Option<Action> {
        let group = if class.is_secret() {
            Topic::Secrets
        } else {
            Topic::Personal
        };
        let found = self
            .0
            .get(&Topic::One(class))
            .or_else(|| self.0.get(&group));
        found.copied()
    }
}

impl FromIterator<(Topic, Action)> for Rules {
    fn from_iter<I: IntoIterator<Item = (Topic, Action)>>(rules: I) -> Self {
        Self(rules.into_iter().collect())
    }
}

/// Whether what was asked and answered is noted beside a call, the least first.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// No word of it.
    #[default]
    None,
    /// Without anything that one of the classes knows.
    Redacted,
    /// Without secrets.
    Full,
}

/// What one party says: the operator of a directory, or a route.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GuardSpec {
    /// What is done with what goes to a model.
    #[serde(skip_serializing_if = "Rules::is_empty")]
    pub redact: Rules,
    /// Whether answers are looked at, too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub answers: bool,
    /// Whether what was asked and answered is noted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<Record>,
}

impl GuardSpec {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What holds for one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    actions: [Action; Class::ALL.len()],
    /// Whether answers are looked at.
    pub answers: bool,
    /// Whether what was asked and answered is noted.
    pub record: Record,
}

impl Policy {
    /// What the operator and a route say together. The stricter word counts. Where nobody says
    /// anything secrets are kept from whoever is not on this machine, and turned back in answers:
    /// askers see no difference, and something that was taken for a secret harms nothing.
    pub fn of(directory: &GuardSpec, route: &GuardSpec, leaves: bool) -> Self {
        let actions = Class::ALL.map(|class| {
            let said = directory.redact.of(class).max(route.redact.of(class));
            said.unwrap_or(if leaves && class.is_secret() {
                Action::Restore
            } else {
                Action::Allow
            })
        });
        let record = match (directory.record, route.record) {
            (Some(most), Some(record)) => most.min(record),
            (said, None) | (None, said) => said.unwrap_or_default(),
        };
        Self {
            actions,
            answers: directory.answers || route.answers,
            record,
        }
    }

    /// The same action for every class that `which` takes.
    pub(crate) fn every(action: Action, which: fn(Class) -> bool) -> Self {
        Self {
            actions: Class::ALL.map(|class| if which(class) { action } else { Action::Allow }),
            answers: false,
            record: Record::None,
        }
    }

    /// The same for what comes back. What would be turned back for the asker is left as it is.
    pub(crate) fn of_answers(&self) -> Self {
        Self {
            actions: self.actions.map(|action| match action {
                Action::Restore => Action::Allow,
                other => other,
            }),
            ..*self
        }
    }

    /// What is done with a class.
    pub fn action(&self, class: Class) -> Action {
        let known = Class::ALL.iter().zip(self.actions);
        let mut found = known.filter(|(known, _)| **known == class);
        found.next().map_or(Action::Block, |(_, action)| action)
    }

    /// Whether nothing is looked for.
    pub fn is_idle(&self) -> bool {
        self.actions.iter().all(|action| *action == Action::Allow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(rules: &[(&str, Action)]) -> GuardSpec {
        let rules = rules.iter().map(|(topic, action)| {
            let topic = Topic::try_from((*topic).to_owned()).unwrap();
            (topic, *action)
        });
        GuardSpec {
            redact: rules.collect(),
            ..GuardSpec::default()
        }
    }

    #[test]
    fn the_stricter_word_counts_and_secrets_do_not_leave_the_machine() {
        let nothing = GuardSpec::default();
        let policy = Policy::of(&nothing, &nothing, true);
        assert_eq!(policy.action(Class::Token), Action::Restore);
        assert_eq!(policy.action(Class::Email), Action::Allow);
        assert!(Policy::of(&nothing, &nothing, false).is_idle());
        // A route may say less than what holds where nobody says anything, and nobody else may.
        let mild = said(&[("secrets", Action::Allow), ("email", Action::Redact)]);
        let policy = Policy::of(&nothing, &mild, true);
        assert_eq!(policy.action(Class::Token), Action::Allow);
        let strict = said(&[("secrets", Action::Block), ("personal", Action::Restore)]);
        let policy = Policy::of(&strict, &mild, false);
        assert_eq!(policy.action(Class::Token), Action::Block);
        assert_eq!(policy.action(Class::Email), Action::Redact);
        assert_eq!(policy.action(Class::Phone), Action::Restore);
    }

    #[test]
    fn a_class_goes_before_its_group() {
        let one = said(&[("secrets", Action::Block), ("credential", Action::Redact)]);
        let policy = Policy::of(&one, &GuardSpec::default(), true);
        assert_eq!(policy.action(Class::Credential), Action::Redact);
        assert_eq!(policy.action(Class::PrivateKey), Action::Block);
    }

    #[test]
    fn less_is_noted_than_the_operator_allows_never_more() {
        let say = |record| GuardSpec {
            record,
            ..GuardSpec::default()
        };
        for (directory, route, noted) in [
            (None, None, Record::None),
            (None, Some(Record::Full), Record::Full),
            (Some(Record::Redacted), None, Record::Redacted),
            (Some(Record::Redacted), Some(Record::Full), Record::Redacted),
            (Some(Record::Full), Some(Record::None), Record::None),
        ] {
            let policy = Policy::of(&say(directory), &say(route), true);
            assert_eq!(policy.record, noted, "{directory:?} {route:?}");
        }
    }
}
