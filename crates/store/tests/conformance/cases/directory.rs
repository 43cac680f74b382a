//! The data directory that belongs to a database.

use matrix_store::tables::directory;

use super::Row;
use crate::site::Site;

pub(super) const CASES: &[Row] = &[
    ("directory::claim", claims, |s| {
        s.engine_only(|tx| directory::claim(tx, "a"));
        assert_eq!(s.look(directory::get), None);
    }),
    ("directory::get", claims, |s| {
        s.engine_only(directory::get);
    }),
];

fn claims(site: &Site) {
    assert_eq!(site.look(directory::get), None);
    for asked in ["first", "second", "first"] {
        let recorded = site.engine(move |tx| directory::claim(tx, asked));
        assert_eq!(recorded, "first");
    }
    assert_eq!(site.look(directory::get).as_deref(), Some("first"));
}
