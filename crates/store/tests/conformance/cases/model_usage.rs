//! What calls of models used.

use matrix_store::tables::model_usage::{self, Apart, UsageKey, Used};

use super::Row;
use crate::site::{Site, at, ours, refused, theirs};

pub(super) const CASES: &[Row] = &[
    ("model_usage::add", adds, |s| {
        refused(s.try_theirs(|tx| model_usage::add(tx, &ours(), at(0), &key("m"), &used(1))));
        assert_eq!(sum(s, 0, 9), []);
    }),
    ("model_usage::sum", sums, |s| {
        add(s, 0, "m", 1);
        let hours = (at(0), at(9));
        assert_eq!(
            s.spy(|tx| model_usage::sum(tx, &theirs(), hours, ALL, 9)),
            []
        );
        refused(s.try_theirs(move |tx| model_usage::sum(tx, &ours(), hours, ALL, 9)));
    }),
];

/// Every line by itself.
const ALL: Apart = Apart {
    model: true,
    provider: true,
    principal: true,
    project: true,
    agent: true,
};

pub(crate) fn key(model: &str) -> UsageKey {
    UsageKey {
        model: model.into(),
        provider: "openai".into(),
        principal: "user:ada".into(),
        project: String::new(),
        agent: String::new(),
    }
}

/// Numbers that are all different.
pub(crate) fn used(times: i64) -> Used {
    Used {
        calls: times,
        failed: 2 * times,
        cached: 3 * times,
        estimated: 4 * times,
        unknown: 11 * times,
        incomplete: 12 * times,
        input: 5 * times,
        output: 6 * times,
        cache_read: 7 * times,
        cache_write: 8 * times,
        reasoning: 9 * times,
        cost: 10_000_000_000 * times,
    }
}

fn add(site: &Site, hour: i64, model: &'static str, times: i64) {
    site.ours(move |tx| model_usage::add(tx, &ours(), at(hour), &key(model), &used(times)));
}

fn sum(site: &Site, from: i64, until: i64) -> Vec<(UsageKey, Used)> {
    site.see(|tx| model_usage::sum(tx, &ours(), (at(from), at(until)), ALL, 9))
}

fn adds(site: &Site) {
    add(site, 3, "m", 1);
    add(site, 3, "m", 4);
    site.theirs(|tx| model_usage::add(tx, &theirs(), at(3), &key("m"), &used(7)));
    assert_eq!(sum(site, 0, 9), [(key("m"), used(5))]);
}

fn sums(site: &Site) {
    for hour in 1..=4 {
        add(site, hour, "m", hour);
    }
    add(site, 2, "a", 1);
    let agent = UsageKey {
        agent: "coder".into(),
        project: "p".into(),
        ..key("m")
    };
    let other = agent.clone();
    site.ours(move |tx| model_usage::add(tx, &ours(), at(2), &other, &used(1)));
    let all = [
        (key("m"), used(2 + 3)),
        (key("a"), used(1)),
        (agent, used(1)),
    ];
    assert_eq!(sum(site, 2, 4), all, "from the first on, before the last");
    assert_eq!(sum(site, 4, 4), []);
    let part = |apart: Apart, limit: i64| {
        site.see(|tx| model_usage::sum(tx, &ours(), (at(2), at(4)), apart, limit))
    };
    assert_eq!(part(ALL, 1), all[..1]);
    let models = Apart {
        model: true,
        ..Apart::default()
    };
    let named = |model: &str| UsageKey {
        model: model.into(),
        ..UsageKey::default()
    };
    let lines = [(named("m"), used(2 + 3 + 1)), (named("a"), used(1))];
    assert_eq!(part(models, 9), lines, "what is not told apart is added up");
    let whole = [(UsageKey::default(), used(2 + 3 + 1 + 1))];
    assert_eq!(part(Apart::default(), 9), whole);
}
