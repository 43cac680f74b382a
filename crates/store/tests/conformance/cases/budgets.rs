//! Budgets, and what processes hold of them.

use matrix_core::{Scope, Timestamp};
use matrix_store::tables::budgets::{self, Amount, BudgetKey, BudgetRow, Slice};
use matrix_store::{StoreError, Tx};

use super::Row;
use crate::site::{Site, at, ours, refused, theirs};

pub(super) const CASES: &[Row] = &[
    ("budgets::put", puts, |s| {
        refused(s.try_theirs(|tx| budgets::put(tx, &ours(), &row("a"))));
        assert_eq!(list(s), []);
    }),
    ("budgets::remove", removes, |s| {
        with_budget(s);
        assert!(!s.theirs(|tx| budgets::remove(tx, &theirs(), &key("a"))));
        refused(s.try_theirs(|tx| budgets::remove(tx, &ours(), &key("a"))));
        assert_eq!(list(s), [row("a")]);
    }),
    ("budgets::list", lists, |s| {
        with_budget(s);
        assert_eq!(s.spy(|tx| budgets::list(tx, &theirs(), 9)), []);
        refused(s.try_theirs(|tx| budgets::list(tx, &ours(), 9)));
    }),
    ("budgets::home", shares, |s| {
        let whole = row(budgets::ORGANISATION);
        s.ours(move |tx| budgets::put(tx, &ours(), &whole));
        let of = |scope: &Scope| budgets::home(scope, &key(budgets::ORGANISATION));
        assert_ne!(of(&ours()), of(&theirs()));
        assert_eq!(s.spy(|tx| budgets::list(tx, &theirs(), 9)), []);
        let lock = |tx: &Tx<'_>| {
            let key = key(budgets::ORGANISATION);
            budgets::lock(tx, &theirs(), &key, at(3))
        };
        assert_eq!(s.theirs(lock), None);
        let organisation = key(budgets::ORGANISATION);
        assert!(!s.theirs(move |tx| budgets::remove(tx, &theirs(), &organisation)));
        assert_eq!(list(s), [row(budgets::ORGANISATION)]);
    }),
    ("budgets::lock", locks, |s| {
        with_budget(s);
        let other = s.theirs(|tx| budgets::lock(tx, &theirs(), &key("a"), at(9)));
        assert_eq!(other, None);
        refused(s.try_theirs(|tx| budgets::lock(tx, &ours(), &key("a"), at(9))));
        assert_eq!(list(s), [row("a")]);
    }),
    ("budgets::held", holds, |s| {
        with_budget(s);
        settle(s, "one", (1, 30));
        let other = s.spy(|tx| budgets::held(tx, &theirs(), &key("a"), "one"));
        assert_eq!(other, None);
        refused(s.try_theirs(|tx| budgets::held(tx, &ours(), &key("a"), "one")));
    }),
    ("budgets::settle", holds, |s| {
        with_budget(s);
        refused(s.try_theirs(|tx| tell(tx, &ours(), "one", at(5), (1, 30))));
        assert_eq!(stands(s), (amount(0), amount(0)));
        assert_eq!(held(s, "one"), None);
    }),
    ("budgets::expire", expires, |s| {
        with_budget(s);
        settle(s, "one", (1, 30));
        let none = s.theirs(|tx| budgets::expire(tx, &theirs(), &key("a"), at(99)));
        assert_eq!(none, amount(0));
        refused(s.try_theirs(|tx| budgets::expire(tx, &ours(), &key("a"), at(99))));
        assert_eq!(stands(s), (amount(1), amount(30)));
    }),
    ("budgets::alerted", alerts, |s| {
        with_budget(s);
        assert!(!s.theirs(|tx| budgets::alerted(tx, &theirs(), &key("a"), 50)));
        refused(s.try_theirs(|tx| budgets::alerted(tx, &ours(), &key("a"), 50)));
        assert_eq!(list(s)[0].alerted, 0);
    }),
];

pub(crate) fn key(subject: &str) -> BudgetKey {
    BudgetKey {
        subject: subject.into(),
        period: "hour".into(),
    }
}

/// A budget of a hundred whose window began at 3.
pub(crate) fn row(subject: &str) -> BudgetRow {
    BudgetRow {
        key: key(subject),
        money_limit: Some(100),
        token_limit: None,
        window_start: at(3),
        spent: amount(0),
        held: amount(0),
        alerted: 0,
    }
}

/// So much money, and twice as many tokens.
fn amount(money: i64) -> Amount {
    Amount {
        money,
        tokens: 2 * money,
    }
}

/// A holder spent something in the window of 3, and keeps something.
pub(crate) fn tell(
    tx: &Tx<'_>,
    scope: &Scope,
    holder: &str,
    until: Timestamp,
    (spent, keeps): (i64, i64),
) -> Result<(), StoreError> {
    let keeps = Slice {
        window: at(3),
        amount: amount(keeps),
    };
    budgets::settle(
        tx,
        scope,
        &key("a"),
        (holder, until),
        (amount(spent), keeps),
    )
}

fn with_budget(site: &Site) {
    site.ours(|tx| budgets::put(tx, &ours(), &row("a")));
}

fn settle(site: &Site, holder: &'static str, amounts: (i64, i64)) {
    site.ours(move |tx| tell(tx, &ours(), holder, at(5), amounts));
}

fn list(site: &Site) -> Vec<BudgetRow> {
    site.see(|tx| budgets::list(tx, &ours(), 9))
}

/// What was spent and what is held.
fn stands(site: &Site) -> (Amount, Amount) {
    let row = list(site).remove(0);
    (row.spent, row.held)
}

fn held(site: &Site, holder: &str) -> Option<Amount> {
    let slice = site.see(|tx| budgets::held(tx, &ours(), &key("a"), holder));
    slice.map(|slice| slice.amount)
}

fn puts(site: &Site) {
    with_budget(site);
    site.theirs(|tx| budgets::put(tx, &theirs(), &row("a")));
    settle(site, "one", (10, 30));
    assert!(site.ours(|tx| budgets::alerted(tx, &ours(), &key("a"), 50)));
    let limits = BudgetRow {
        money_limit: None,
        token_limit: Some(7),
        window_start: at(9),
        ..row("a")
    };
    site.ours(move |tx| budgets::put(tx, &ours(), &limits));
    let expected = BudgetRow {
        money_limit: None,
        token_limit: Some(7),
        spent: amount(10),
        held: amount(30),
        ..row("a")
    };
    assert_eq!(list(site), [expected], "what was spent stays");
    assert_eq!(site.spy(|tx| budgets::list(tx, &theirs(), 9)), [row("a")]);
}

fn removes(site: &Site) {
    with_budget(site);
    settle(site, "one", (10, 30));
    let remove = || site.ours(|tx| budgets::remove(tx, &ours(), &key("a")));
    assert_eq!((remove(), remove()), (true, false));
    assert_eq!(list(site), []);
    assert_eq!(held(site, "one"), None, "nobody holds of it");
    with_budget(site);
    assert_eq!(list(site), [row("a")], "a new one begins with nothing");
}

fn lists(site: &Site) {
    for subject in ["b", "a", "c"] {
        site.ours(move |tx| budgets::put(tx, &ours(), &row(subject)));
    }
    assert_eq!(list(site), [row("a"), row("b"), row("c")]);
    let two = site.see(|tx| budgets::list(tx, &ours(), 2));
    assert_eq!(two, [row("a"), row("b")]);
}

/// All workspaces of an organisation have one budget of it, and none sees the others' own.
fn shares(site: &Site) {
    let next = Scope {
        workspace: "next".into(),
        ..ours()
    };
    let whole = key(budgets::ORGANISATION);
    assert_eq!(budgets::home(&ours(), &whole), budgets::home(&next, &whole));
    assert_eq!(budgets::home(&next, &key("a")), next);
    with_budget(site);
    site.ours(|tx| budgets::put(tx, &ours(), &row(budgets::ORGANISATION)));
    let beside = site.database.within(&next);
    let spend = {
        let (next, whole) = (next.clone(), whole.clone());
        move |tx: &Tx<'_>| {
            let before = budgets::lock(tx, &next, &whole, at(3))?;
            let keeps = Slice {
                window: at(3),
                amount: amount(30),
            };
            let told = (amount(12), keeps);
            budgets::settle(tx, &next, &whole, ("two", at(9)), told)?;
            Ok::<_, StoreError>(before)
        }
    };
    let before = futures::executor::block_on(beside.write_alone(spend)).unwrap();
    assert_eq!(before, Some(row(budgets::ORGANISATION)));
    let seen = beside.read_now::<_, StoreError, _>(|tx| budgets::list(tx, &next, 9));
    let stands = BudgetRow {
        spent: amount(12),
        held: amount(30),
        ..row(budgets::ORGANISATION)
    };
    assert_eq!(seen.unwrap(), std::slice::from_ref(&stands));
    assert_eq!(list(site), [row("a"), stands]);
    let held = site.see(|tx| budgets::held(tx, &ours(), &whole, "two"));
    assert_eq!(held.map(|slice| slice.amount), Some(amount(30)));
}

fn locks(site: &Site) {
    let lock = |window: i64| site.ours(move |tx| budgets::lock(tx, &ours(), &key("a"), at(window)));
    assert_eq!(lock(3), None);
    with_budget(site);
    settle(site, "one", (10, 30));
    assert!(site.ours(|tx| budgets::alerted(tx, &ours(), &key("a"), 50)));
    let row = lock(3).unwrap();
    assert_eq!(
        (row.spent, row.held, row.alerted),
        (amount(10), amount(30), 50)
    );
    assert_eq!(row.room().money, 60);
    assert_eq!(lock(2).unwrap(), row, "a window does not come back");
    let next = BudgetRow {
        window_start: at(4),
        ..self::row("a")
    };
    assert_eq!(lock(4).unwrap(), next, "a new window begins with nothing");
    assert_eq!(list(site), [next]);
    assert_eq!(held(site, "one"), None);
}

fn holds(site: &Site) {
    with_budget(site);
    settle(site, "one", (0, 40));
    settle(site, "two", (0, 20));
    assert_eq!(stands(site), (amount(0), amount(60)));
    settle(site, "one", (15, 25));
    assert_eq!(stands(site), (amount(15), amount(45)));
    assert_eq!(held(site, "one"), Some(amount(25)));
    settle(site, "one", (25, 0));
    assert_eq!(stands(site), (amount(40), amount(20)));
    assert_eq!(
        (held(site, "one"), held(site, "two")),
        (None, Some(amount(20)))
    );
    // What is told of an earlier window is spent now, and nothing of it was held here.
    let later = |tx: &Tx<'_>| -> Result<(), StoreError> {
        budgets::lock(tx, &ours(), &key("a"), at(4))?;
        let keeps = Slice {
            window: at(4),
            amount: amount(5),
        };
        budgets::settle(tx, &ours(), &key("a"), ("two", at(9)), (amount(7), keeps))
    };
    site.ours(later);
    assert_eq!(stands(site), (amount(7), amount(5)));
}

fn expires(site: &Site) {
    with_budget(site);
    settle(site, "one", (1, 40));
    site.ours(|tx| tell(tx, &ours(), "two", at(8), (1, 20)));
    let expire = |now: i64| site.ours(move |tx| budgets::expire(tx, &ours(), &key("a"), at(now)));
    assert_eq!(expire(5), amount(0), "it may speak until then");
    assert_eq!(expire(6), amount(40));
    assert_eq!(stands(site), (amount(42), amount(20)));
    assert_eq!(
        (held(site, "one"), held(site, "two")),
        (None, Some(amount(20)))
    );
    assert_eq!(expire(6), amount(0));
}

fn alerts(site: &Site) {
    let alert =
        |percent: i64| site.ours(move |tx| budgets::alerted(tx, &ours(), &key("a"), percent));
    assert!(!alert(50), "there is no budget");
    with_budget(site);
    assert!(alert(50) && !alert(50), "it is said once");
    assert!(alert(90) && !alert(75), "a lower one is not said after it");
    assert_eq!(list(site)[0].alerted, 90);
}
