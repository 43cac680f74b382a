//! What an event is about, in words to subscribe by.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::entry::EntryKind;

/// The most characters of a pattern.
const PATTERN_MAX: usize = 128;

/// What entries are about when their name begins so: `step_failed` is `step.failed`. All others are
/// about the run.
const NOUNS: [&str; 6] = ["run", "step", "timer", "approval", "signal", "child"];

/// A topic that a room gives to certain entries of its runs, beside the general ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicRule {
    /// The kind of run.
    pub run_kind: &'static str,
    /// What the entry says.
    pub entry: EntryKind,
    /// The step's name, without branch and occurrence; empty for entries that are about no step.
    pub step: &'static str,
    /// A place in the payload (RFC 6901) and the text that stands there.
    pub when: Option<(&'static str, &'static str)>,
    /// The topic: `deployment.applied`.
    pub topic: &'static str,
}

/// An entry as far as topics depend on it.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The kind of the run's function.
    pub run_kind: &'a str,
    /// What the entry says, by name.
    pub entry: &'a str,
    /// Its address.
    pub path: &'a str,
    /// Its payload, where it stands in the row.
    pub payload: Option<&'a [u8]>,
}

/// The topics of an entry. The first one is general (`run.started`, `step.failed`); of what happens
/// to a run as a whole there is one by the run's kind (`change.started`); then come those of the
/// rules.
pub fn topics(about: &About<'_>, rules: &[TopicRule]) -> Vec<String> {
    let (noun, verb) = about
        .entry
        .split_once('_')
        .filter(|(noun, _)| NOUNS.contains(noun))
        .unwrap_or(("run", about.entry));
    let mut topics = vec![format!("{noun}.{verb}")];
    if noun == "run" && !about.run_kind.is_empty() {
        topics.push(format!("{}.{verb}", about.run_kind));
    }
    let mut payload = None;
    for rule in rules {
        let fits = rule.run_kind == about.run_kind
            && rule.entry.as_str() == about.entry
            && rule.step == step(about.path)
            && rule.when.is_none_or(|(place, text)| {
                let payload = payload.get_or_insert_with(|| parsed(about.payload));
                payload.pointer(place).and_then(Value::as_str) == Some(text)
            });
        if fits && topics.iter().all(|known| known != rule.topic) {
            topics.push(rule.topic.to_owned());
        }
    }
    topics
}

/// The name in an address: `deploy` of `a/deploy#2`.
fn step(path: &str) -> &str {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    name.rsplit_once('#').map_or(name, |(name, _)| name)
}

fn parsed(payload: Option<&[u8]>) -> Value {
    payload
        .and_then(|bytes| serde_json::from_slice(bytes).ok())
        .unwrap_or_default()
}

/// Which topics: words between dots, of which each may be `*`; `*` alone is all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TopicPattern(String);

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no pattern of topics: words of a-z, 0-9, `_` and `-` between dots, each of which may \
     be `*`"
)]
pub struct InvalidPattern(String);

impl TopicPattern {
    /// Whether a topic is meant.
    pub fn matches(&self, topic: &str) -> bool {
        if self.0 == "*" {
            return true;
        }
        let (mut wanted, mut words) = (self.0.split('.'), topic.split('.'));
        loop {
            match (wanted.next(), words.next()) {
                (None, None) => return true,
                (Some(pattern), Some(word)) if pattern == "*" || pattern == word => {}
                _ => return false,
            }
        }
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for TopicPattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let is_word = |word: &str| {
            let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
            word == "*" || (!word.is_empty() && word.chars().all(letter))
        };
        if text.len() <= PATTERN_MAX && text.split('.').all(is_word) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidPattern(text.chars().take(80).collect()))
        }
    }
}

impl TryFrom<String> for TopicPattern {
    type Error = InvalidPattern;

    fn try_from(text: String) -> Result<Self, InvalidPattern> {
        text.parse()
    }
}

impl From<TopicPattern> for String {
    fn from(pattern: TopicPattern) -> Self {
        pattern.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &[TopicRule] = &[
        TopicRule {
            run_kind: "change",
            entry: EntryKind::StepCompleted,
            step: "deploy",
            when: Some(("/how", "applied")),
            topic: "deployment.applied",
        },
        TopicRule {
            run_kind: "change",
            entry: EntryKind::RunStarted,
            step: "",
            when: None,
            topic: "job.started",
        },
    ];

    fn of(run_kind: &str, entry: &str, path: &str, payload: &str) -> Vec<String> {
        let about = About {
            run_kind,
            entry,
            path,
            payload: Some(payload.as_bytes()),
        };
        topics(&about, RULES)
    }

    #[test]
    fn every_kind_of_entry_has_a_general_topic_of_its_own() {
        let mut known = std::collections::BTreeSet::new();
        for kind in EntryKind::ALL {
            let topics = of("change", kind.as_str(), "x#1", "{}");
            assert!(known.insert(topics[0].clone()), "{topics:?}");
            let pattern: Result<TopicPattern, _> = topics[0].parse();
            assert!(pattern.unwrap().matches(&topics[0]));
        }
        assert!(known.contains("run.cancel_requested") && known.contains("step.failed"));
    }

    #[test]
    fn rules_add_topics_where_everything_fits() {
        let applied = r#"{"how":"applied"}"#;
        let one = ["step.completed", "deployment.applied"];
        assert_eq!(of("change", "step_completed", "a/deploy#2", applied), one);
        for (kind, path, payload) in [
            ("agent", "deploy#1", applied),
            ("change", "redeploy#1", applied),
            ("change", "deploy#1", r#"{"how":"stale"}"#),
            ("change", "deploy#1", "not JSON"),
        ] {
            let topics = of(kind, "step_completed", path, payload);
            assert_eq!(topics, one[..1], "{kind} {path} {payload}");
        }
        assert_eq!(
            of("change", "run_started", "", "{}"),
            ["run.started", "change.started", "job.started"]
        );
        assert_eq!(
            of("agent", "paused", "", ""),
            ["run.paused", "agent.paused"]
        );
    }

    #[test]
    fn a_pattern_means_its_words() {
        let cases = [
            ("*", "run.started", true),
            ("run.*", "run.started", true),
            ("*.failed", "step.failed", true),
            ("run.started", "run.started", true),
            ("run", "run.started", false),
            ("run.*", "step.failed", false),
            ("run.*.x", "run.started", false),
            ("*.*", "run.started", true),
        ];
        for (pattern, topic, expected) in cases {
            let parsed: TopicPattern = pattern.parse().unwrap();
            assert_eq!(parsed.matches(topic), expected, "{pattern} {topic}");
        }
        for bad in [
            "",
            ".",
            "run.",
            "Run.*",
            "a b",
            "run.**",
            "ü",
            &"a".repeat(200),
        ] {
            assert!(bad.parse::<TopicPattern>().is_err(), "{bad}");
        }
    }
}
