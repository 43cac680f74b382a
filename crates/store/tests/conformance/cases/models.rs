//! Models and routes, and the number that rises with them.

use matrix_core::Scope;
use matrix_store::tables::models::{self, ModelRow};
use matrix_store::{StoreError, Tx};

use super::Row;
use crate::site::{Site, at, ours, refused, theirs};

pub(super) const CASES: &[Row] = &[
    ("models::put", puts, |s| {
        refused(s.try_theirs(|tx| models::put(tx, &row(&ours(), "a", "1", 1))));
        assert_eq!(names(s), Vec::<String>::new());
        assert_eq!(revision(s), 0);
    }),
    ("models::list", lists, |s| {
        with_models(s);
        assert_eq!(s.spy(|tx| models::list(tx, &theirs(), 9)), []);
        refused(s.try_theirs(|tx| models::list(tx, &ours(), 9)));
    }),
    ("models::remove", removes, |s| {
        with_models(s);
        assert!(!s.theirs(|tx| models::remove(tx, &theirs(), "a", "1")));
        refused(s.try_theirs(|tx| models::remove(tx, &ours(), "a", "1")));
        assert_eq!(names(s), ["a 1", "a 2", "b 1"]);
    }),
    ("models::changed", counts, |s| {
        with_models(s);
        refused(s.try_theirs(|tx| models::changed(tx, &ours())));
        s.theirs(|tx| models::changed(tx, &theirs()));
        assert_eq!(revision(s), 3);
    }),
    ("models::revision", counts, |s| {
        with_models(s);
        assert_eq!(s.spy(|tx| models::revision(tx, &theirs())), 0);
        refused(s.try_theirs(|tx| models::revision(tx, &ours())));
    }),
];

pub(crate) fn row(scope: &Scope, name: &str, version: &str, micros: i64) -> ModelRow {
    ModelRow {
        scope: scope.clone(),
        name: name.into(),
        version: version.into(),
        kind: "model".into(),
        spec: "{}".into(),
        created_by: "user:ada".into(),
        created_at: at(micros),
    }
}

/// Two versions of one, the older one by its name added last, and another one.
fn with_models(site: &Site) {
    site.ours(|tx| {
        models::put(tx, &row(&ours(), "b", "1", 1))?;
        models::put(tx, &row(&ours(), "a", "2", 3))?;
        models::put(tx, &row(&ours(), "a", "1", 2))
    });
}

fn list(site: &Site) -> Vec<ModelRow> {
    site.see(|tx| models::list(tx, &ours(), 9))
}

fn names(site: &Site) -> Vec<String> {
    let name = |row: ModelRow| format!("{} {}", row.name, row.version);
    list(site).into_iter().map(name).collect()
}

fn revision(site: &Site) -> i64 {
    site.see(|tx| models::revision(tx, &ours()))
}

fn puts(site: &Site) {
    with_models(site);
    site.theirs(|tx| models::put(tx, &row(&theirs(), "a", "1", 9)));
    assert_eq!(list(site)[0], row(&ours(), "a", "1", 2));
    let other = ModelRow {
        kind: "route".into(),
        spec: "{\"targets\":[]}".into(),
        created_by: "user:eve".into(),
        ..row(&ours(), "a", "1", 4)
    };
    let again = other.clone();
    site.ours(move |tx| models::put(tx, &again));
    assert_eq!(names(site), ["a 2", "a 1", "b 1"], "it is the newest now");
    assert_eq!(list(site)[1], other);
}

fn lists(site: &Site) {
    assert_eq!(list(site), []);
    with_models(site);
    assert_eq!(names(site), ["a 1", "a 2", "b 1"], "the newest comes last");
    let first = site.see(|tx| models::list(tx, &ours(), 1));
    assert_eq!(first, [row(&ours(), "a", "1", 2)]);
}

fn removes(site: &Site) {
    with_models(site);
    let remove =
        |version: &'static str| site.ours(move |tx| models::remove(tx, &ours(), "a", version));
    assert!(remove("1"));
    assert!(!remove("1") && !remove("7"));
    assert_eq!(names(site), ["a 2", "b 1"]);
    assert_eq!(revision(site), 4, "what was not there is no change");
}

fn counts(site: &Site) {
    assert_eq!(revision(site), 0);
    let change = |tx: &Tx<'_>| -> Result<(), StoreError> { models::changed(tx, &ours()) };
    site.ours(change);
    assert_eq!(revision(site), 1);
    with_models(site);
    assert_eq!(revision(site), 4);
    site.ours(change);
    assert_eq!(revision(site), 5);
}
