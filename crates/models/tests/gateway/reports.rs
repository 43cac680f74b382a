//! Reports of what was used, of more callers than a report has lines.

use matrix_core::{Money, Timestamp};
use matrix_models::ledger::{By, UsageRead, UsageReport, usage};
use matrix_store::StoreError;
use matrix_store::tables::model_usage::{self, UsageKey, Used};

use crate::site::{Site, allowed, caller};

/// One line more than a report has.
const CALLERS: i64 = 10_001;

async fn report(site: &Site, by: &[By]) -> UsageReport {
    let read = allowed(UsageRead {
        from: Timestamp::from_micros(0),
        until: Timestamp::from_micros(i64::MAX),
        by: by.to_vec(),
    });
    usage(site.gateway.ledger(), &read).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_exact_however_many_lines_there_are() {
    let site = Site::new().await;
    let scope = caller().scope;
    let database = site.database.within(&scope);
    let written = database.write::<_, StoreError, _>(move |tx| {
        for number in 1..=CALLERS {
            let key = UsageKey {
                model: format!("m{}", number % 2),
                principal: format!("service:{number}"),
                ..UsageKey::default()
            };
            let used = Used {
                calls: 1,
                cost: number,
                ..Used::default()
            };
            model_usage::add(tx, &scope, Timestamp::from_micros(0), &key, &used)?;
        }
        Ok(())
    });
    written.await.unwrap();
    let all = CALLERS * (CALLERS + 1) / 2;
    let each = report(&site, &[By::Principal]).await;
    assert_eq!((each.lines.len(), each.more), (10_000, true));
    assert_eq!(
        each.lines[0].principal, "service:10001",
        "the most expensive first"
    );
    assert_eq!(
        each.lines[9_999].principal, "service:2",
        "the cheapest is left out"
    );
    assert_eq!(each.total.cost, Money::from_nanos(all), "and counted");
    assert_eq!(each.total.calls, CALLERS);
    let models = report(&site, &[By::Model]).await;
    assert_eq!((models.lines.len(), models.more), (2, false));
    let sum: i64 = models.lines.iter().map(|line| line.cost.as_nanos()).sum();
    assert_eq!(sum, all, "every caller is in a line");
    let both: i64 = models.lines.iter().map(|line| line.calls).sum();
    assert_eq!(both, CALLERS);
}
