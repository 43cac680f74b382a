//! When hosts die, hang, are cut off or come back, and when it is over.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use matrix_core::Scope;
use matrix_store::StoreError;
use matrix_store::tables::runs::{self, RunRow};
use tokio::time::sleep;

use super::hosts::Hosts;
use super::site::{LEASE, Site};

/// Every run there is.
pub(super) fn rows(site: &Site) -> Vec<RunRow> {
    let list =
        |tx: &matrix_store::Tx<'_>| runs::list(tx, &Scope::local(), &runs::Filter::default(), 500);
    site.database.read_now::<_, StoreError, _>(list).unwrap()
}

pub(super) fn has_ended(row: &RunRow) -> bool {
    matches!(&*row.state, "succeeded" | "failed" | "cancelled")
}

/// A time in which something can go wrong at any moment.
pub(super) async fn storm(site: &Arc<Site>, hosts: &Arc<Hosts>) {
    let most = if site.alone { 1 } else { 2 + site.below(2) };
    let most = usize::try_from(most).unwrap();
    let over = Duration::from_secs(30 + site.below(120));
    hosts.start();
    while site.elapsed() < over {
        sleep(Duration::from_millis(50 + site.below(6_000))).await;
        let strike = site.below(10);
        if hosts.count() < most && strike < 5 {
            hosts.start();
            continue;
        }
        let Some(host) = hosts.any() else { continue };
        match strike {
            0..2 => {
                site.event(format_args!("{} is killed", host.link.name));
                host.link.die();
            }
            2..5 => host.link.dies_in(1 + site.below(30)),
            5..7 => {
                // Half of them longer than a lease: slow, but not dead.
                let longest = if site.chance(500) { LEASE } else { LEASE * 3 };
                let time =
                    Duration::from_millis(site.below(u64::try_from(longest.as_millis()).unwrap()));
                site.event(format_args!("{} hangs for {time:?}", host.link.name));
                host.link.hangs_for(time);
            }
            7..9 => {
                let time = Duration::from_millis(site.below(30_000));
                site.event(format_args!("{} is cut off for {time:?}", host.link.name));
                host.link.is_cut_for(time);
            }
            _ => {
                let by = i64::try_from(site.below(240_000_000)).unwrap() - 120_000_000;
                site.event(format_args!(
                    "{} has its clock set by {by} µs",
                    host.link.name
                ));
                host.clock.wrong_by.fetch_add(by, Ordering::SeqCst);
            }
        }
    }
}

/// Waits for the end of every run. Whoever lives goes on; a host is started only if none does.
pub(super) async fn until_all_ended(site: &Arc<Site>, hosts: &Arc<Hosts>) {
    loop {
        if hosts.count() == 0 {
            hosts.start();
        }
        if rows(site).iter().all(has_ended) {
            return;
        }
        sleep(Duration::from_secs(1)).await;
    }
}
