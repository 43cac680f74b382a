//! Budgets that many calls and several processes spend at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use matrix_core::{Money, Scope};
use matrix_models::budget::{BudgetRemove, BudgetView, Limits, Period, Reservation, remove_budget};
use matrix_models::registry::ProviderKind;
use matrix_models::{Gateway, ModelError};
use matrix_store::tables::budgets::Amount;

use crate::site::{READ, Site, WRITTEN, allowed, asking, caller, question};
use crate::transcripts::{Has, whole};
use crate::upstream::{self, Upstream};

const PROJECT: &str = "project:p";

/// Numbers that look like chance, and are the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, below: i64) -> i64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        i64::try_from(self.0 >> 33).unwrap() % below
    }
}

fn money(nanos: i64) -> Limits {
    Limits {
        money: Some(Money::from_nanos(nanos)),
        tokens: None,
    }
}

fn amount(money: i64, tokens: i64) -> Amount {
    Amount { money, tokens }
}

async fn reserve(gateway: &Gateway, amount: Amount) -> Result<Reservation, ModelError> {
    let subjects = [PROJECT.to_owned()];
    let purses = gateway.purses();
    purses.reserve(&caller().scope, &subjects, amount).await
}

fn settle(reservation: Reservation, cost: Amount) {
    let tokens = u64::try_from(cost.tokens).unwrap();
    reservation.settle(Money::from_nanos(cost.money), tokens);
}

fn is_spent<T>(result: &Result<T, ModelError>) -> bool {
    matches!(result, Err(ModelError::Spent { .. }))
}

async fn project(site: &Site) -> BudgetView {
    let all = site.budgets().await;
    all.into_iter()
        .find(|budget| budget.subject == PROJECT)
        .unwrap()
}

/// What was spent and what is held, in money.
async fn stands(site: &Site) -> (i64, i64) {
    let budget = project(site).await;
    (budget.spent.as_nanos(), budget.held.as_nanos())
}

/// A site with a limit, and three processes that share it.
async fn three(period: Period, limits: Limits) -> (Site, Vec<Gateway>) {
    let site = Site::new().await;
    site.limit(PROJECT, period, limits).await;
    let all = vec![
        site.gateway.clone(),
        site.beside("two"),
        site.beside("three"),
    ];
    (site, all)
}

async fn close(all: &[Gateway]) {
    for gateway in all {
        gateway.close().await.unwrap();
    }
}

/// What callers spent together.
#[derive(Default)]
struct Sum {
    money: AtomicI64,
    tokens: AtomicI64,
}

/// Two hundred callers, each with a few calls; `cost` says what one costs that reserved so much.
async fn crowd(
    all: &[Gateway],
    seed: u64,
    limit: Option<Amount>,
    cost: fn(&mut Dice, i64) -> i64,
) -> Amount {
    let sum = Arc::new(Sum::default());
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..200_u64 {
        let gateway = all[usize::try_from(number).unwrap() % all.len()].clone();
        let sum = Arc::clone(&sum);
        callers.spawn(async move {
            let mut dice = Dice(seed ^ (number << 20));
            for _ in 0..4 {
                let most = amount(1 + dice.below(1_000), 1 + dice.below(100));
                let reserved = match reserve(&gateway, most).await {
                    Ok(reserved) => reserved,
                    Err(error) => {
                        assert!(matches!(error, ModelError::Spent { .. }), "{error}");
                        continue;
                    }
                };
                for _ in 0..dice.below(4) {
                    tokio::task::yield_now().await;
                }
                let real = amount(cost(&mut dice, most.money), cost(&mut dice, most.tokens));
                let money = sum.money.fetch_add(real.money, Ordering::SeqCst) + real.money;
                let tokens = sum.tokens.fetch_add(real.tokens, Ordering::SeqCst) + real.tokens;
                if let Some(limit) = limit {
                    assert!(money <= limit.money && tokens <= limit.tokens, "overdrawn");
                }
                settle(reserved, real);
                if dice.below(20) == 0 {
                    gateway.flush().await.unwrap();
                }
            }
        });
    }
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
    amount(
        sum.money.load(Ordering::SeqCst),
        sum.tokens.load(Ordering::SeqCst),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_together_never_spend_more_than_there_is_and_all_of_it_can_be_spent() {
    for seed in 1..=6 {
        let mut dice = Dice(seed);
        let limit = amount(5_000 + dice.below(150_000), 1_000 + dice.below(15_000));
        let limits = Limits {
            money: Some(Money::from_nanos(limit.money)),
            tokens: Some(limit.tokens.unsigned_abs()),
        };
        let (site, all) = three(Period::Total, limits).await;
        let spent = crowd(&all, seed, Some(limit), |dice, most| dice.below(most + 1)).await;
        close(&all).await;
        let budget = project(&site).await;
        assert_eq!(budget.spent.as_nanos(), spent.money, "{seed}");
        assert_eq!(budget.tokens_spent, spent.tokens.unsigned_abs(), "{seed}");
        assert_eq!(
            (budget.held, budget.tokens_held),
            (Money::ZERO, 0),
            "{seed}"
        );
        // Whatever is left can be had by one of them, to the last token, and not more.
        let left = limit - spent;
        let more = left + amount(0, 1);
        assert!(is_spent(&reserve(&all[0], more).await), "{seed}");
        let rest = reserve(&all[1], left).await.unwrap();
        settle(rest, left);
        close(&all).await;
        assert_eq!(project(&site).await.spent.as_nanos(), limit.money, "{seed}");
        assert!(is_spent(&reserve(&all[2], amount(1, 0)).await), "{seed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_cost_more_than_they_reserved_overdraw_by_no_more_than_themselves() {
    for seed in 1..=3 {
        let limit = 60_000;
        let (site, all) = three(Period::Total, money(limit)).await;
        let spent = crowd(&all, seed, None, |dice, most| dice.below(2 * most + 1)).await;
        close(&all).await;
        assert_eq!(stands(&site).await, (spent.money, 0), "{seed}");
        // Two hundred were under way at most, each with at most a thousand too much.
        assert!(spent.money <= limit + 200_000, "{seed}");
        if spent.money >= limit {
            assert!(is_spent(&reserve(&all[0], amount(1, 0)).await), "{seed}");
        }
    }
}

#[tokio::test]
async fn one_call_at_a_time_overdraws_by_one_call() {
    let (site, all) = three(Period::Total, money(1_000)).await;
    let (mut sum, mut refused) = (0, false);
    for number in 0..60 {
        match reserve(&all[number % 3], amount(20, 0)).await {
            Ok(reserved) => {
                assert!(!refused || sum + 20 <= 1_000);
                settle(reserved, amount(50, 0));
                sum += 50;
            }
            Err(_) => refused = true,
        }
        all[number % 3].close().await.unwrap();
        assert_eq!(stands(&site).await.0, sum);
    }
    assert!(refused && (981..=1_030).contains(&sum), "{sum}");
}

#[tokio::test]
async fn a_call_that_cost_too_much_is_counted_once() {
    let (site, all) = three(Period::Total, money(100)).await;
    let one = reserve(&all[0], amount(10, 0)).await.unwrap();
    settle(one, amount(60, 0));
    all[0].flush().await.unwrap();
    all[0].flush().await.unwrap();
    assert_eq!(stands(&site).await, (60, 0));
    // All that is left is there for the same process.
    let two = reserve(&all[0], amount(40, 0)).await.unwrap();
    settle(two, amount(40, 0));
    close(&all).await;
    assert_eq!(stands(&site).await, (100, 0));
}

#[tokio::test]
async fn what_a_dead_process_held_counts_as_spent_after_its_silence() {
    let (site, mut all) = three(Period::Total, money(1_600)).await;
    let dead = all.pop().unwrap();
    let under_way = reserve(&dead, amount(500, 0)).await.unwrap();
    let done = reserve(&dead, amount(10, 0)).await.unwrap();
    settle(done, amount(10, 0));
    dead.flush().await.unwrap();
    let (spent, held) = stands(&site).await;
    assert_eq!(spent, 10);
    assert!(held >= 500);
    // The process is gone, with all that it had in memory.
    std::mem::forget(under_way);
    drop(dead);
    let left = 1_600 - spent - held;
    assert!(is_spent(&reserve(&all[0], amount(left + 1, 0)).await));
    assert_eq!(stands(&site).await, (spent, held), "it may still live");
    site.clock.advance(Duration::from_mins(3));
    assert!(is_spent(&reserve(&all[0], amount(left + 1, 0)).await));
    assert_eq!(
        stands(&site).await,
        (spent + held, 0),
        "nobody knows better"
    );
    let rest = reserve(&all[1], amount(left, 0)).await.unwrap();
    settle(rest, amount(left, 0));
    close(&all).await;
    assert_eq!(stands(&site).await, (1_600, 0));
}

#[tokio::test]
async fn who_says_now_and_then_that_it_lives_keeps_its_slice() {
    let (site, all) = three(Period::Total, money(1_600)).await;
    let slow = reserve(&all[0], amount(500, 0)).await.unwrap();
    let (_, held) = stands(&site).await;
    for _ in 0..10 {
        site.clock.advance(Duration::from_secs(40));
        all[0].flush().await.unwrap();
        assert!(is_spent(&reserve(&all[1], amount(1_600, 0)).await));
    }
    assert!(held >= 500);
    assert_eq!(
        stands(&site).await,
        (0, 500),
        "what nobody used was given back"
    );
    settle(slow, amount(5, 0));
    close(&all).await;
    assert_eq!(stands(&site).await, (5, 0));
}

#[tokio::test]
async fn a_reservation_that_nobody_settles_counts_as_spent() {
    let (site, all) = three(Period::Total, money(1_000)).await;
    drop(reserve(&all[0], amount(300, 0)).await.unwrap());
    close(&all).await;
    assert_eq!(stands(&site).await, (300, 0));
}

#[tokio::test]
async fn a_new_window_begins_with_nothing_spent() {
    let (site, all) = three(Period::Hour, money(100)).await;
    let first = reserve(&all[0], amount(100, 0)).await.unwrap();
    settle(first, amount(70, 0));
    let late = reserve(&all[0], amount(30, 0)).await.unwrap();
    assert!(is_spent(&reserve(&all[1], amount(31, 0)).await));
    all[0].flush().await.unwrap();
    assert_eq!(stands(&site).await, (70, 30));
    site.clock.advance(Duration::from_hours(1));
    assert_eq!(stands(&site).await, (0, 0));
    // A call of the window before counts when it ends.
    settle(late, amount(20, 0));
    let next = reserve(&all[0], amount(80, 0)).await.unwrap();
    all[0].flush().await.unwrap();
    assert_eq!(stands(&site).await, (20, 80));
    assert!(is_spent(&reserve(&all[1], amount(1, 0)).await));
    settle(next, amount(80, 0));
    close(&all).await;
    assert_eq!(stands(&site).await, (100, 0));
    site.clock.advance(Duration::from_hours(1));
    let fresh = reserve(&all[2], amount(100, 0)).await.unwrap();
    settle(fresh, amount(100, 0));
    close(&all).await;
    assert_eq!(stands(&site).await, (100, 0));
}

#[tokio::test]
async fn an_asker_who_leaves_while_a_slice_is_taken_changes_nothing() {
    let (site, all) = three(Period::Total, money(1_000)).await;
    let one = reserve(&all[0], amount(100, 0)).await.unwrap();
    settle(one, amount(40, 0));
    // It is polled once: far enough to ask the database, and no further.
    assert!(reserve(&all[0], amount(900, 0)).now_or_never().is_none());
    for _ in 0..3 {
        all[0].flush().await.unwrap();
    }
    close(&all).await;
    assert_eq!(stands(&site).await, (40, 0), "told once");
    let rest = reserve(&all[1], amount(960, 0)).await.unwrap();
    settle(rest, amount(960, 0));
}

#[tokio::test]
async fn a_call_that_one_budget_refuses_takes_nothing_from_another() {
    let (site, all) = three(Period::Total, money(100)).await;
    let mut asked = asking("m").caller().clone();
    asked.on_behalf_of.clear();
    let subjects = ["workspace".to_owned(), PROJECT.to_owned()];
    let purses = all[0].purses();
    let refused = purses
        .reserve(&asked.scope, &subjects, amount(101, 7))
        .await;
    assert!(is_spent(&refused));
    close(&all).await;
    for budget in site.budgets().await {
        assert_eq!((budget.spent, budget.held), (Money::ZERO, Money::ZERO));
        assert_eq!(budget.tokens_spent, 0);
    }
}

#[tokio::test]
async fn a_limit_that_is_set_later_holds_for_what_was_taken_before() {
    let (site, all) = three(Period::Total, money(1_000_000)).await;
    let early = reserve(&all[0], amount(10, 50)).await.unwrap();
    let both = Limits {
        tokens: Some(100),
        ..money(1_000_000)
    };
    site.limit(PROJECT, Period::Total, both).await;
    all[0].flush().await.unwrap();
    settle(early, amount(10, 50));
    all[0].flush().await.unwrap();
    assert!(is_spent(&reserve(&all[0], amount(1, 51)).await));
    let rest = reserve(&all[0], amount(1, 50)).await.unwrap();
    settle(rest, amount(1, 50));
    close(&all).await;
    let budget = project(&site).await;
    assert_eq!((budget.tokens_spent, budget.tokens_held), (100, 0));
}

#[tokio::test]
async fn a_budget_that_is_removed_and_set_anew_begins_with_nothing() {
    let (site, all) = three(Period::Total, money(100)).await;
    let one = reserve(&all[1], amount(80, 0)).await.unwrap();
    settle(one, amount(80, 0));
    let remove = allowed(BudgetRemove {
        subject: PROJECT.into(),
        period: Period::Total,
    });
    remove_budget(site.gateway.purses(), &remove).await.unwrap();
    site.clock.advance(Duration::from_secs(2));
    all[1].flush().await.unwrap();
    assert!(
        reserve(&all[1], amount(1_000, 0)).await.is_ok(),
        "nothing limits it"
    );
    site.limit(PROJECT, Period::Total, money(100)).await;
    let two = reserve(&all[1], amount(100, 0)).await.unwrap();
    settle(two, amount(1, 0));
    close(&all).await;
    assert_eq!(stands(&site).await, (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_several_processes_are_refused_only_where_there_is_no_room() {
    let (cost, need) = (19 * READ + 10 * WRITTEN, 5 * READ + 1_000 * WRITTEN);
    let limit = 3 * need;
    let upstream = Upstream::always(upstream::whole(&whole("openai", Has::Words))).await;
    let (site, all) = three(Period::Total, money(limit)).await;
    site.model("m", ProviderKind::Openai, &upstream.url()).await;
    let mut labelled = asking("m").action().clone();
    labelled.labels.project = Some("p".into());
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..200 {
        let (gateway, action) = (all[number % 3].clone(), labelled.clone());
        calls.spawn(async move { gateway.chat(&allowed(action), question()).await });
    }
    let mut answered = 0;
    while let Some(done) = calls.join_next().await {
        match done.unwrap() {
            Ok(_) => answered += 1,
            Err(error) => assert!(matches!(error, ModelError::Spent { .. }), "{error}"),
        }
    }
    assert!(answered > 0);
    close(&all).await;
    assert_eq!(stands(&site).await, (answered * cost, 0));
    for gateway in all.iter().cycle().take(250) {
        let fits = limit - answered * cost >= need;
        let done = gateway.chat(&allowed(labelled.clone()), question()).await;
        assert_eq!(done.is_ok(), fits, "{answered}");
        answered += i64::from(done.is_ok());
        gateway.close().await.unwrap();
    }
    assert!(limit - answered * cost < need);
    assert_eq!(stands(&site).await, (answered * cost, 0));
}

/// Somebody in another workspace of the same organisation.
fn neighbour() -> Scope {
    Scope {
        workspace: "next".into(),
        ..caller().scope
    }
}

async fn reserve_as(
    gateway: &Gateway,
    scope: &Scope,
    subject: &str,
    amount: Amount,
) -> Result<Reservation, ModelError> {
    let subjects = [subject.to_owned()];
    gateway.purses().reserve(scope, &subjects, amount).await
}

#[tokio::test]
async fn a_budget_of_an_organisation_counts_the_calls_of_all_its_workspaces() {
    let site = Site::new().await;
    let all = [site.gateway.clone(), site.beside("two")];
    let (ours, next) = (caller().scope, neighbour());
    site.limit("organisation", Period::Total, money(1_000))
        .await;
    let whole = |scope: Scope, amount: Amount| {
        let all = &all;
        async move { reserve_as(&all[0], &scope, "organisation", amount).await }
    };
    settle(
        whole(ours.clone(), amount(600, 0)).await.unwrap(),
        amount(600, 0),
    );
    assert!(
        is_spent(&whole(next.clone(), amount(500, 0)).await),
        "the other workspace has what is left, and no more"
    );
    settle(
        whole(next.clone(), amount(300, 0)).await.unwrap(),
        amount(300, 0),
    );
    // In another process, and by the other workspace first.
    assert!(is_spent(
        &reserve_as(&all[1], &next, "organisation", amount(200, 0)).await
    ));
    close(&all).await;
    let last = reserve_as(&all[1], &next, "organisation", amount(100, 0)).await;
    settle(last.unwrap(), amount(100, 0));
    close(&all).await;
    let of = site.budgets().await;
    let of = of
        .iter()
        .find(|budget| budget.subject == "organisation")
        .unwrap();
    assert_eq!((of.spent.as_nanos(), of.held), (1_000, Money::ZERO));
    // A budget of a workspace is its own.
    let own = reserve_as(&all[0], &next, "workspace", amount(i64::MAX / 2, 0)).await;
    assert!(own.is_ok(), "another workspace's budget does not count");
    drop(own);
    // Another organisation has another budget, or none.
    let stranger = Scope {
        organisation: "globex".into(),
        ..ours
    };
    let free = reserve_as(&all[0], &stranger, "organisation", amount(9_999, 0)).await;
    assert!(free.is_ok());
}
