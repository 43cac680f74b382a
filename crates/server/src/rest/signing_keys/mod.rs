//! `/api/v1/signing-keys`: the keys that bundles are signed with.

pub(crate) mod list;
pub(crate) mod rotate;
