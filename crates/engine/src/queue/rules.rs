//! What the operator says about lanes, keys and tenants.

use std::collections::BTreeMap;
use std::time::Duration;

use matrix_core::Timestamp;
use matrix_store::tables::queue::Slot;
use serde::{Deserialize, Serialize};

/// How many runs begin in a time: a bucket that holds some tokens and gets new ones steadily.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// The time in which a token comes.
    pub interval: Duration,
    /// How many tokens the bucket holds, at least one.
    pub burst: u32,
}

impl Rate {
    /// When the next run may begin, if the bucket is full again at a time.
    pub fn next_at(self, full_at: Timestamp, now: Timestamp) -> Timestamp {
        let full_at = self.believed(full_at, now);
        full_at.before(self.interval.saturating_mul(self.burst.saturating_sub(1)))
    }

    /// When the bucket is full again, after one more run has begun.
    pub fn spend(self, full_at: Timestamp, now: Timestamp) -> Timestamp {
        self.believed(full_at, now).max(now).plus(self.interval)
    }

    /// An empty bucket is full after a known time. What says more comes from a clock that was set
    /// back since, or from a slower rate.
    fn believed(self, full_at: Timestamp, now: Timestamp) -> Timestamp {
        full_at.min(now.plus(self.interval.saturating_mul(self.burst)))
    }
}

/// How many runs there may be; as it is made, as many as like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// At once.
    pub concurrency: Option<u32>,
    /// One after the other.
    pub rate: Option<Rate>,
}

/// The rules by which runs are chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The lanes that can be named, beside `default`, which is there whether it stands here or not.
    pub lanes: BTreeMap<String, Limit>,
    /// Keys by name; they hold for every tenant's key of the name.
    pub keys: BTreeMap<String, Limit>,
    /// Every other key.
    pub key: Limit,
    /// Tenants by name (`organisation/workspace`), with their weights.
    pub tenants: BTreeMap<String, (Limit, u32)>,
    /// Every other tenant.
    pub tenant: Limit,
    /// How much longer a run waits that is one level less urgent than another.
    pub ageing: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        let one = Limit {
            concurrency: Some(1),
            rate: None,
        };
        Self {
            lanes: BTreeMap::new(),
            keys: BTreeMap::new(),
            key: one,
            tenants: BTreeMap::new(),
            tenant: Limit::default(),
            ageing: Duration::from_mins(10),
        }
    }
}

/// A tenant as rules name it.
pub(super) fn tenant_name(organisation: &str, workspace: &str) -> String {
    format!("{organisation}/{workspace}")
}

impl Rules {
    /// What holds for a slot.
    pub fn limit(&self, slot: &Slot) -> Limit {
        match slot {
            Slot::Lane(lane) => self.lanes.get(lane).copied().unwrap_or_default(),
            Slot::Key(_, _, key) => self.keys.get(key).copied().unwrap_or(self.key),
            Slot::Tenant(organisation, workspace) => {
                if self.tenants.is_empty() {
                    return self.tenant;
                }
                let known = self.tenants.get(&tenant_name(organisation, workspace));
                known.map_or(self.tenant, |(limit, _)| *limit)
            }
        }
    }

    /// How many turns a tenant has where another has one.
    pub(super) fn weight(&self, organisation: &str, workspace: &str) -> u32 {
        if self.tenants.is_empty() {
            return 1;
        }
        let known = self.tenants.get(&tenant_name(organisation, workspace));
        known.map_or(1, |(_, weight)| (*weight).max(1))
    }
}
