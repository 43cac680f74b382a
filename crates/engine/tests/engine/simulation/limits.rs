//! Lanes and keys of the simulated runs, and that nobody ever has more slots than there are.

use matrix_core::Scope;
use matrix_engine::queue::{Limit, Placing, Priority, Rules};
use matrix_store::tables::queue::{self, Slot};
use matrix_store::{StoreError, Tx};

use super::site::{Defect, Site};

/// How many runs of the narrow lane run at once.
const NARROW: u32 = 2;

const KEYS: [&str; 2] = ["k", "l"];

/// The rules of every host.
pub(super) fn rules(defect: Defect) -> Rules {
    let most = |most| Limit {
        concurrency: Some(most).filter(|_| defect != Defect::NoLimits),
        rate: None,
    };
    Rules {
        lanes: [("narrow".to_owned(), most(NARROW))].into(),
        key: most(1),
        ..Rules::default()
    }
}

/// Somewhere to queue.
pub(super) fn placing(site: &Site) -> Placing {
    // The other defects are looked for where nobody waits for a slot: there they show sooner.
    if !matches!(site.defect, Defect::None | Defect::NoLimits) {
        return Placing::default();
    }
    let level = u8::try_from(site.below(10)).unwrap();
    Placing {
        lane: site.chance(500).then(|| "narrow".to_owned()),
        priority: Priority::try_from(level).unwrap(),
        key: match site.below(4) {
            0 => Some(KEYS[0].into()),
            1 => Some(KEYS[1].into()),
            _ => None,
        },
        ..Placing::default()
    }
}

/// After a claim: nobody has more slots than there are.
pub(super) fn look(tx: &Tx<'_>, site: &Site) -> Result<(), StoreError> {
    let scope = Scope::local();
    let key = |key: &str| {
        let (organisation, workspace) = (scope.organisation.clone(), scope.workspace.clone());
        (Slot::Key(organisation, workspace, key.to_owned()), 1)
    };
    let narrow = (Slot::Lane("narrow".into()), i64::from(NARROW));
    for (slot, most) in KEYS.map(key).into_iter().chain([narrow]) {
        let running = queue::running(tx, &slot)?;
        if running > most {
            site.breaks(format!("{running} runs hold {slot:?}, more than {most}"));
        }
    }
    Ok(())
}

/// At the end nobody holds a slot.
pub(super) fn nothing_left(site: &Site) -> Result<(), String> {
    let running = site
        .database
        .read_now::<_, StoreError, _>(queue::running_by_flow)
        .map_err(|error| error.to_string())?;
    if running.is_empty() {
        return Ok(());
    }
    Err(format!("slots are held by nobody: {running:?}"))
}
