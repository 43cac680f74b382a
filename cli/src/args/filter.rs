//! Which runs: the flags of a list, and the same as words, for what is asked of many runs at once.

use std::str::FromStr;
use std::time::Duration;

use clap::Args as ClapArgs;
use matrix_core::time::InvalidTime;
use matrix_core::{RunId, Timestamp};
use matrix_engine::runs::Filter;
use matrix_engine::stopped::Cause;
use serde_json::{Value, json};

use super::ListArgs;

const STATES: [&str; 7] = [
    "ready",
    "running",
    "waiting",
    "paused",
    "succeeded",
    "failed",
    "cancelled",
];

/// Which runs, newest first.
#[derive(Debug, ClapArgs)]
pub(crate) struct RunListArgs {
    #[command(flatten)]
    pub(crate) part: ListArgs<RunId>,
    /// Only those in this state.
    #[arg(long, value_parser = STATES)]
    state: Option<String>,
    /// Only those with this in their title, in whatever case.
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// Only those created since: `30m`, `12h`, `7d` ago, a date, or a time of RFC 3339.
    #[arg(long, value_name = "TIME")]
    since: Option<Since>,
    /// Only those that stopped by themselves: why, since when, and what to do next.
    #[arg(long)]
    pub(crate) dead: bool,
    /// Only those for which these words hold: `state=S`, `kind=K`, `title=TEXT`, `since=TIME`,
    /// `until=TIME`, `lane=L`, `key=K`, `dead`, `dead=CAUSE`.
    #[arg(long = "where", value_name = "FILTER", num_args = 1..)]
    words: Vec<Word>,
}

impl RunListArgs {
    /// The filter at a time.
    pub(crate) fn filter(&self, now: Timestamp) -> Filter {
        let mut filter = filter(&self.words, now);
        if let Some(state) = &self.state {
            filter.state.clone_from(state);
        }
        if let Some(title) = &self.title {
            filter.title.clone_from(title);
        }
        if let Some(since) = self.since {
            filter.since = Some(since.at(now));
        }
        if self.dead {
            filter.stopped.get_or_insert_default();
        }
        filter
    }
}

/// One run, or all that a filter finds.
#[derive(Debug, ClapArgs)]
pub(crate) struct WhichArgs {
    /// The run.
    #[arg(required_unless_present = "words", conflicts_with = "words")]
    pub(crate) run: Option<RunId>,
    #[command(flatten)]
    pub(crate) many: ManyArgs,
}

/// All runs that a filter finds.
#[derive(Debug, ClapArgs)]
pub(crate) struct ManyArgs {
    /// Every run for which these words hold, as in `run list --where`: `state=S`, `kind=K`,
    /// `title=TEXT`, `since=TIME`, `until=TIME`, `lane=L`, `key=K`, `dead`, `dead=CAUSE`.
    #[arg(long = "where", value_name = "FILTER", num_args = 1..)]
    pub(crate) words: Vec<Word>,
    /// Only tell what would become of each.
    #[arg(long, requires = "words")]
    pub(crate) dry_run: bool,
    /// Do not ask before it is done.
    #[arg(long, requires = "words")]
    pub(crate) yes: bool,
}

/// The filter that words make at a time; of two words of one sort the last counts.
pub(crate) fn filter(words: &[Word], now: Timestamp) -> Filter {
    let mut filter = Filter::default();
    for word in words.iter().cloned() {
        match word {
            Word::State(state) => filter.state = state,
            Word::Kind(kind) => filter.kind = kind,
            Word::Title(title) => filter.title = title,
            Word::Since(since) => filter.since = Some(since.at(now)),
            Word::Until(until) => filter.until = Some(until.at(now)),
            Word::Lane(lane) => filter.lane = lane,
            Word::Key(key) => filter.key = key,
            Word::Dead(cause) => {
                filter.stopped =
                    Some(cause.map_or_else(String::new, |cause| cause.as_str().into()));
            }
        }
    }
    filter
}

/// The filter as the host takes it.
pub(crate) fn body(filter: &Filter) -> Value {
    let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    json!({
        "state": said(&filter.state), "kind": said(&filter.kind), "title": said(&filter.title),
        "since": filter.since, "until": filter.until, "lane": said(&filter.lane),
        "key": said(&filter.key), "dead": filter.stopped.is_some(),
        "cause": filter.stopped.as_deref().and_then(said),
    })
}

/// One word of a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Word {
    State(String),
    Kind(String),
    Title(String),
    Since(Since),
    Until(Since),
    Lane(String),
    Key(String),
    Dead(Option<Cause>),
}

impl FromStr for Word {
    /// What is wrong with it, in words.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "dead" {
            return Ok(Self::Dead(None));
        }
        let unknown = || {
            format!(
                "`{text}` is not one of `state=`, `kind=`, `title=`, `since=`, `until=`, `lane=`, \
                 `key=`, `dead`"
            )
        };
        let (name, value) = text.split_once('=').ok_or_else(unknown)?;
        if value.is_empty() {
            return Err(format!("`{text}` says nothing behind its `=`"));
        }
        let time = || value.parse().map_err(|bad: InvalidTime| bad.to_string());
        Ok(match name {
            "state" if STATES.contains(&value) => Self::State(value.into()),
            "state" => {
                let known = STATES.join(", ");
                return Err(format!("there is no state `{value}`; there are {known}"));
            }
            "kind" => Self::Kind(value.into()),
            "title" => Self::Title(value.into()),
            "since" => Self::Since(time()?),
            "until" => Self::Until(time()?),
            "lane" => Self::Lane(value.into()),
            "key" => Self::Key(value.into()),
            "dead" => {
                let known = || Cause::ALL.map(Cause::as_str).join(", ");
                let unknown = || format!("there is no cause `{value}`; there are {}", known());
                Self::Dead(Some(Cause::parse(value).ok_or_else(unknown)?))
            }
            _ => return Err(unknown()),
        })
    }
}

/// A moment before now, or a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    Ago(Duration),
    At(Timestamp),
}

impl Since {
    fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::Ago(ago) => now.before(ago),
        }
    }
}

impl FromStr for Since {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        let units = [("m", 60), ("h", 3_600), ("d", 86_400)];
        let ago = units.iter().find_map(|(unit, seconds)| {
            let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
            Some(Duration::from_secs(number.checked_mul(*seconds)?))
        });
        ago.map_or_else(|| text.parse().map(Self::At), |ago| Ok(Self::Ago(ago)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &[&str]) -> Result<Filter, String> {
        let words: Result<Vec<Word>, _> = text.iter().map(|word| word.parse()).collect();
        Ok(filter(&words?, Timestamp::from_micros(10_000_000_000)))
    }

    #[test]
    fn words_narrow_as_the_flags_of_a_list_do() {
        let found = words(&[
            "state=paused",
            "title=a = b",
            "since=1h",
            "lane=slow",
            "dead",
        ])
        .unwrap();
        assert_eq!(found.state, "paused");
        assert_eq!(found.title, "a = b");
        assert_eq!(found.since, Some(Timestamp::from_micros(6_400_000_000)));
        assert_eq!(found.lane, "slow");
        assert_eq!(found.stopped.as_deref(), Some(""));
        let found = words(&["dead=crashes", "until=1970-01-02", "key=k", "kind=task"]).unwrap();
        assert_eq!(found.stopped.as_deref(), Some("crashes"));
        assert_eq!(found.until, Some(Timestamp::from_micros(86_400_000_000)));
        assert_eq!(body(&found)["cause"], "crashes");
        assert_eq!(body(&words(&["dead"]).unwrap())["cause"], Value::Null);
    }

    #[test]
    fn what_is_no_word_is_refused_with_those_there_are() {
        for bad in [
            "",
            "dead=",
            "dead=tired",
            "state=gone",
            "colour=red",
            "since=soon",
            "paused",
        ] {
            assert!(words(&[bad]).is_err(), "{bad}");
        }
        let said = words(&["dead=tired"]).unwrap_err();
        assert!(said.contains("crashes"), "{said}");
    }
}
