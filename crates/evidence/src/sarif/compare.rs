//! Which findings a change brought.

use std::collections::BTreeMap;

use matrix_core::Digest;

use super::Finding;

/// The findings of a change beside those of its base.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FindingComparison {
    /// Not there before; these fail a check.
    pub new: Vec<Finding>,
    /// There before and now.
    pub old: Vec<Finding>,
    /// How many were there before and are gone.
    pub fixed: usize,
}

/// Compares by fingerprint. `moved` gives the new path of each file that the change moved, so that
/// what was in it before is not new. Where the base has the same finding twice and the change
/// three times, the last one is new.
pub fn compare(
    base: &[Finding],
    head: &[Finding],
    moved: &BTreeMap<String, String>,
) -> FindingComparison {
    let mut before: BTreeMap<Digest, usize> = BTreeMap::new();
    for finding in base {
        let path = finding.place.as_ref().map_or("", |place| &place.path);
        let path = moved.get(path).map_or(path, String::as_str);
        *before.entry(finding.fingerprint_at(path)).or_default() += 1;
    }
    let mut comparison = FindingComparison::default();
    for finding in head {
        match before.get_mut(&finding.fingerprint()) {
            Some(left) if *left > 0 => {
                *left -= 1;
                comparison.old.push(finding.clone());
            }
            _ => comparison.new.push(finding.clone()),
        }
    }
    comparison.fixed = before.values().sum();
    comparison
}
