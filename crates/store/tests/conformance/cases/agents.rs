//! Agents and their versions.

use matrix_core::Scope;
use matrix_store::tables::agents::{self, AgentRow};

use super::Row;
use crate::site::{Site, at, ours, refused, theirs};

pub(super) const CASES: &[Row] = &[
    ("agents::insert", inserts, |s| {
        refused(s.try_theirs(|tx| agents::insert(tx, &row(&ours(), "a", 1))));
        assert_eq!(names(s), Vec::<String>::new());
    }),
    ("agents::list", lists, |s| {
        with_agents(s);
        assert_eq!(s.spy(|tx| agents::list(tx, &theirs(), 9)), []);
        refused(s.try_theirs(|tx| agents::list(tx, &ours(), 9)));
    }),
    ("agents::versions", lists, |s| {
        with_agents(s);
        assert_eq!(s.spy(|tx| agents::versions(tx, &theirs(), "a", 9)), []);
        refused(s.try_theirs(|tx| agents::versions(tx, &ours(), "a", 9)));
    }),
    ("agents::get", lists, |s| {
        with_agents(s);
        assert_eq!(s.spy(|tx| agents::get(tx, &theirs(), "a", 1)), None);
        refused(s.try_theirs(|tx| agents::get(tx, &ours(), "a", 1)));
    }),
    ("agents::set_state", states, |s| {
        with_agents(s);
        assert!(!s.theirs(|tx| agents::set_state(tx, &theirs(), "a", "stopped")));
        refused(s.try_theirs(|tx| agents::set_state(tx, &ours(), "a", "stopped")));
        assert_eq!(list(s)[0].state, "active");
    }),
    ("agents::remove", removes, |s| {
        with_agents(s);
        assert!(!s.theirs(|tx| agents::remove(tx, &theirs(), "a")));
        refused(s.try_theirs(|tx| agents::remove(tx, &ours(), "a")));
        assert_eq!(names(s), ["a 2", "b 1"]);
    }),
];

pub(crate) fn row(scope: &Scope, name: &str, version: i64) -> AgentRow {
    AgentRow {
        scope: scope.clone(),
        name: name.into(),
        version,
        state: "active".into(),
        spec: "{}".into(),
        created_by: "user:ada".into(),
        created_at: at(version),
    }
}

/// Two versions of one, and another one.
fn with_agents(site: &Site) {
    site.ours(|tx| {
        agents::insert(tx, &row(&ours(), "b", 1))?;
        agents::insert(tx, &row(&ours(), "a", 1))?;
        agents::insert(tx, &row(&ours(), "a", 2))
    });
}

fn list(site: &Site) -> Vec<AgentRow> {
    site.see(|tx| agents::list(tx, &ours(), 9))
}

fn names(site: &Site) -> Vec<String> {
    let name = |row: AgentRow| format!("{} {}", row.name, row.version);
    list(site).into_iter().map(name).collect()
}

fn inserts(site: &Site) {
    with_agents(site);
    site.theirs(|tx| agents::insert(tx, &row(&theirs(), "a", 7)));
    assert_eq!(list(site)[0], row(&ours(), "a", 2));
    let again = site.try_ours(|tx| agents::insert(tx, &row(&ours(), "a", 2)));
    assert!(again.is_err(), "a version was there and was written over");
}

fn lists(site: &Site) {
    assert_eq!(list(site), []);
    with_agents(site);
    assert_eq!(names(site), ["a 2", "b 1"], "the newest of each");
    assert_eq!(site.see(|tx| agents::list(tx, &ours(), 1)).len(), 1);
    let versions = site.see(|tx| agents::versions(tx, &ours(), "a", 9));
    assert_eq!(versions, [row(&ours(), "a", 2), row(&ours(), "a", 1)]);
    let get = |version| site.see(move |tx| agents::get(tx, &ours(), "a", version));
    assert_eq!(get(1), Some(row(&ours(), "a", 1)));
    assert_eq!(get(3), None);
}

fn states(site: &Site) {
    with_agents(site);
    let set =
        |name: &'static str| site.ours(move |tx| agents::set_state(tx, &ours(), name, "stopped"));
    assert!(set("a") && !set("none"));
    let states: Vec<_> = list(site).into_iter().map(|row| row.state).collect();
    assert_eq!(states, ["stopped", "active"]);
}

fn removes(site: &Site) {
    with_agents(site);
    let remove = |name: &'static str| site.ours(move |tx| agents::remove(tx, &ours(), name));
    assert!(remove("a") && !remove("a"));
    assert_eq!(names(site), ["b 1"]);
}
