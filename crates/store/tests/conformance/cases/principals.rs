//! Who may sign in.

use matrix_core::Digest;
use matrix_core::id::PrincipalId;
use matrix_store::tables::principals::{self, PrincipalRow};

use super::Row;
use crate::site::{Site, at, conflicts, ours, principal, refused, theirs};

pub(super) const CASES: &[Row] = &[
    ("principals::insert", inserts, |s| {
        refused(s.try_theirs(|tx| principals::insert(tx, &principal(1, &ours(), "Ada"))));
        assert_eq!(names(s), Vec::<String>::new());
    }),
    ("principals::by_name", finds_by_name, |s| {
        with_people(s);
        let found = s.spy(|tx| principals::by_name(tx, &theirs(), "user", "Ada"));
        assert_eq!(found, None);
        refused(s.try_theirs(|tx| principals::by_name(tx, &ours(), "user", "Ada")));
    }),
    ("principals::list", lists, |s| {
        with_people(s);
        assert_eq!(s.spy(|tx| principals::list(tx, &theirs(), None, 9)), []);
        refused(s.try_theirs(|tx| principals::list(tx, &ours(), None, 9)));
    }),
    ("principals::with_role", finds_by_role, |s| {
        with_people(s);
        assert_eq!(
            s.spy(|tx| principals::with_role(tx, &theirs(), "owner", 9)),
            []
        );
        refused(s.try_theirs(|tx| principals::with_role(tx, &ours(), "owner", 9)));
    }),
    ("principals::count_active", counts, |s| {
        with_people(s);
        assert_eq!(
            s.spy(|tx| principals::count_active(tx, &theirs(), "user", 9)),
            0
        );
        refused(s.try_theirs(|tx| principals::count_active(tx, &ours(), "user", 9)));
    }),
    ("principals::insert_token", adds_tokens, |s| {
        with_people(s);
        refused(s.try_theirs(|tx| give(tx, &ours())));
        refused(s.try_theirs(|tx| give(tx, &theirs())));
        assert_eq!(
            s.see(|tx| principals::tokens_like(tx, &ours(), &token())),
            []
        );
    }),
    ("principals::tokens_like", adds_tokens, |s| {
        with_people(s);
        s.ours(|tx| give(tx, &ours()));
        assert_eq!(
            s.spy(|tx| principals::tokens_like(tx, &theirs(), &token())),
            []
        );
        refused(s.try_theirs(|tx| principals::tokens_like(tx, &ours(), &token())));
    }),
    ("principals::revoke_tokens", revokes, |s| {
        with_people(s);
        s.ours(|tx| give(tx, &ours()));
        assert_eq!(
            s.theirs(|tx| principals::revoke_tokens(tx, &theirs(), id(1), at(9))),
            0
        );
        refused(s.try_theirs(|tx| principals::revoke_tokens(tx, &ours(), id(1), at(9))));
        assert_eq!(
            s.see(|tx| principals::tokens_like(tx, &ours(), &token()))
                .len(),
            1
        );
    }),
];

fn id(number: u8) -> PrincipalId {
    PrincipalId::from_bytes([number; 16])
}

fn token() -> Digest {
    Digest::of("token")
}

fn give(
    tx: &matrix_store::Tx<'_>,
    scope: &matrix_core::Scope,
) -> Result<(), matrix_store::StoreError> {
    principals::insert_token(tx, scope, id(1), &token(), at(7))
}

fn names(site: &Site) -> Vec<String> {
    let list = site.see(|tx| principals::list(tx, &ours(), None, 9));
    list.into_iter().map(|row| row.name).collect()
}

/// Ada, who is an owner, and Björn, who is not.
fn with_people(site: &Site) {
    site.ours(|tx| principals::insert(tx, &principal(1, &ours(), "Ada")));
    site.engine(|tx| {
        let row = PrincipalRow {
            roles: "member,co_owner".into(),
            ..principal(2, &ours(), "Björn")
        };
        principals::insert(tx, &row)
    });
}

fn inserts(site: &Site) {
    with_people(site);
    conflicts(site.try_ours(|tx| principals::insert(tx, &principal(3, &ours(), "ADA"))));
    site.ours(|tx| {
        let row = PrincipalRow {
            kind: "service".into(),
            ..principal(4, &ours(), "ada")
        };
        principals::insert(tx, &row)
    });
    site.theirs(|tx| principals::insert(tx, &principal(5, &theirs(), "Ada")));
    assert_eq!(names(site), ["Ada", "Björn", "ada"]);
}

fn finds_by_name(site: &Site) {
    with_people(site);
    let find = |name: &'static str| {
        let row = site.see(|tx| principals::by_name(tx, &ours(), "user", name));
        row.map(|row| row.principal)
    };
    assert_eq!(find("aDa"), Some(id(1)));
    assert_eq!(find("Björn"), Some(id(2)));
    assert_eq!(
        find("BJÖRN"),
        None,
        "only ASCII letters lose their case, on every database"
    );
    assert_eq!(find("nobody"), None);
    let whole = site.see(|tx| principals::by_name(tx, &ours(), "user", "Ada"));
    assert_eq!(whole, Some(principal(1, &ours(), "Ada")));
}

fn lists(site: &Site) {
    with_people(site);
    let ids = |after, limit| {
        let rows = site.look(|tx| principals::list(tx, &ours(), after, limit));
        rows.into_iter()
            .map(|row| row.principal)
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(None, 9), [id(1), id(2)]);
    assert_eq!(ids(None, 1), [id(1)]);
    assert_eq!(ids(Some(id(1)), 9), [id(2)]);
}

fn finds_by_role(site: &Site) {
    with_people(site);
    let find = |role: &'static str| {
        let rows = site.see(|tx| principals::with_role(tx, &ours(), role, 9));
        rows.into_iter()
            .map(|row| row.principal)
            .collect::<Vec<_>>()
    };
    assert_eq!(find("owner"), [id(1)]);
    assert_eq!(find("member"), [id(1), id(2)]);
    assert_eq!(find("Owner"), []);
    assert_eq!(find("owne_"), []);
    assert_eq!(find("%"), []);
}

fn counts(site: &Site) {
    with_people(site);
    let count = |kind: &'static str, limit| {
        site.see(|tx| principals::count_active(tx, &ours(), kind, limit))
    };
    assert_eq!(count("user", 9), 2);
    assert_eq!(count("user", 1), 1);
    assert_eq!(count("service", 9), 0);
}

fn adds_tokens(site: &Site) {
    with_people(site);
    site.ours(|tx| give(tx, &ours()));
    let found = site.see(|tx| principals::tokens_like(tx, &ours(), &token()));
    assert_eq!(found, [(principal(1, &ours(), "Ada"), token())]);
    let other = site.see(|tx| principals::tokens_like(tx, &ours(), &Digest::of("other")));
    assert_eq!(other, []);
    conflicts(site.try_ours(|tx| give(tx, &ours())));
    refused(
        site.try_ours(|tx| principals::insert_token(tx, &ours(), id(9), &Digest::of("x"), at(7))),
    );
}

fn revokes(site: &Site) {
    with_people(site);
    site.ours(|tx| give(tx, &ours()));
    let revoke = || site.ours(|tx| principals::revoke_tokens(tx, &ours(), id(1), at(9)));
    assert_eq!((revoke(), revoke()), (1, 0));
    assert_eq!(
        site.see(|tx| principals::tokens_like(tx, &ours(), &token())),
        []
    );
}
