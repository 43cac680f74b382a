//! What processes spend together: no more than there is, to the token what the provider says, and
//! nothing is held by the dead for ever.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;

use serde_json::{Value, json};

use crate::postgres;
use crate::postgresql::Server;
use crate::serving::Serving;
use crate::site::{Site, eventually};
use crate::upstream::{Total, Upstream};

const CHECKS: &str = "checks: {lint: [{name: shape, run: 'true'}]}\n";

/// What a token that is read and one that is written cost, in billionths of a dollar.
const READ: i64 = 1_000;
const WRITTEN: i64 = 2_000;

/// The most tokens that a call may write.
const MOST: i64 = 100;

/// The most that one call of these tests sets aside.
const ONE: i64 = 30 * READ + MOST * WRITTEN;

/// Callers at once.
const CALLERS: usize = 200;

/// How often somebody tries again who heard that the budget is spent.
const TRIES: usize = 6;

/// Adds the model `m`, which is asked at an upstream.
fn add_model(site: &Site, upstream: &Upstream) {
    let url = upstream.url();
    site.matrix(&[
        "model",
        "add",
        "m",
        "--provider",
        "openai_compatible",
        "--base-url",
        &url,
        "--private",
        "--price-input",
        "1",
        "--price-output",
        "2",
    ])
    .expect(0);
}

fn dollars(nanos: i64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

fn nanos(text: &Value) -> i64 {
    let text = text.as_str().unwrap();
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let part: i64 = format!("{part:0<9}").parse().unwrap();
    whole.parse::<i64>().unwrap() * 1_000_000_000 + part
}

fn limit(site: &Site, nanos: i64) {
    let money = dollars(nanos);
    let set = [
        "model",
        "budget",
        "set",
        "workspace",
        "--period",
        "total",
        "--money",
        &money,
    ];
    site.matrix(&set).expect(0);
}

/// Budgets that limit nothing, so that each call changes several.
fn limit_nothing(site: &Site) {
    for (subject, period) in [
        ("organisation", "total"),
        ("organisation", "month"),
        ("workspace", "day"),
        ("workspace", "month"),
    ] {
        let set = [
            "model", "budget", "set", subject, "--period", period, "--money", "1000",
        ];
        site.matrix(&set).expect(0);
    }
}

/// The budget of the workspace among all.
fn of_workspace(all: &Value) -> Value {
    let mut all = all["budgets"].as_array().unwrap().iter();
    let found = all.find(|one| one["subject"] == "workspace" && one["period"] == "total");
    found.unwrap().clone()
}

fn token(site: &Site) -> String {
    let token = std::fs::read_to_string(site.data().join("token")).unwrap();
    token.trim().to_owned()
}

/// How a call ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Answered,
    Spent,
    /// Nobody answered, or not to the end.
    Lost,
}

fn request(
    address: &str,
    token: &str,
    number: usize,
    streamed: bool,
) -> std::io::Result<TcpStream> {
    let words = format!("caller {}", 10 + number % 80);
    let body = json!({ "model": "m", "max_tokens": MOST, "stream": streamed,
        "messages": [{ "role": "user", "content": words }] })
    .to_string();
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    Ok(stream)
}

/// One call, as a whole or streamed.
fn call(address: &str, token: &str, number: usize) -> Ended {
    let streamed = number.is_multiple_of(2);
    let mut answer = Vec::new();
    let read = request(address, token, number, streamed)
        .and_then(|mut stream| stream.read_to_end(&mut answer));
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).unwrap_or_default();
    let whole = if streamed {
        answer.contains("[DONE]")
    } else {
        answer.contains("\"stop\"")
    };
    match status {
        "200" if whole => Ended::Answered,
        "402" => Ended::Spent,
        "200" | "" => Ended::Lost,
        _ => panic!("{read:?} {answer}"),
    }
}

/// The budget of the workspace as a process tells it: what was spent, and what is held.
fn stands(serving: &Serving, token: &str) -> (i64, i64) {
    let (status, body) = serving.ask("GET", "/api/v1/budgets", token, "");
    assert_eq!(status, 200, "{body}");
    let budget = of_workspace(&body);
    (nanos(&budget["money_spent"]), nanos(&budget["money_held"]))
}

/// Two hundred callers of these processes; gives how many were answered. At no moment is more spent
/// and held than the limit and one call.
fn crowd(serving: &[Serving], token: &str, limit: i64) -> usize {
    let (answered, spent) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut looks = 0;
            while !over.load(Ordering::SeqCst) {
                let (spent, held) = stands(&serving[looks % serving.len()], token);
                assert!(spent + held <= limit + ONE, "{spent} + {held} of {limit}");
                looks += 1;
            }
            looks
        });
        let callers: Vec<_> = (0..CALLERS)
            .map(|number| {
                let address = &serving[number % serving.len()].address;
                let (answered, spent) = (&answered, &spent);
                scope.spawn(move || {
                    for _ in 0..TRIES {
                        match call(address, token, number) {
                            Ended::Answered => {
                                answered.fetch_add(1, Ordering::SeqCst);
                                return;
                            }
                            Ended::Spent => spent.fetch_add(1, Ordering::SeqCst),
                            Ended::Lost => panic!("caller {number} was not answered"),
                        };
                    }
                })
            })
            .collect();
        let ended: Vec<_> = callers.into_iter().map(ScopedJoinHandle::join).collect();
        over.store(true, Ordering::SeqCst);
        assert!(watch.join().unwrap() > 0, "nobody watched");
        assert!(ended.iter().all(Result::is_ok), "a caller failed");
    });
    assert!(spent.into_inner() > 0, "nobody was refused");
    answered.into_inner()
}

fn cost(total: Total) -> i64 {
    total.input * READ + total.output * WRITTEN
}

/// What is told of all calls, after the processes have ended.
fn report(site: &Site) -> Value {
    let report = site.matrix(&["model", "usage", "--json"]).expect(0).json();
    report["lines"][0].clone()
}

fn budget(site: &Site) -> Value {
    let listed = site.matrix(&["model", "budget", "list", "--json"]);
    of_workspace(&listed.expect(0).json())
}

/// About half of what the callers' calls cost.
fn half() -> i64 {
    let each = (0..CALLERS).map(|number| {
        let written = i64::try_from(10 + number % 80).unwrap();
        19 * READ + written * WRITTEN
    });
    each.sum::<i64>() / 2
}

/// Callers of some processes spend all there is; then the budget, the report and the provider say the
/// same, and nothing is held.
fn exactly(site: &Site, count: usize) {
    let upstream = Upstream::start();
    add_model(site, &upstream);
    let limit = half();
    self::limit(site, limit);
    limit_nothing(site);
    let serving: Vec<Serving> = (0..count).map(|_| Serving::start(site)).collect();
    let token = token(site);
    let answered = crowd(&serving, &token, limit);
    // What is left is for whoever comes next, one after the other.
    let more = (0..CALLERS).take_while(|number| {
        let address = &serving[number % serving.len()].address;
        call(address, &token, *number) == Ended::Answered
    });
    let answered = answered + more.count();
    let total = upstream.total();
    assert_eq!(
        total.calls,
        i64::try_from(answered).unwrap(),
        "asked for once each"
    );
    serving.into_iter().for_each(Serving::end);
    let (budget, report) = (budget(site), report(site));
    assert_eq!(nanos(&budget["money_spent"]), cost(total), "{budget}");
    assert_eq!(nanos(&budget["money_held"]), 0, "{budget}");
    assert_eq!(
        budget["tokens_spent"],
        total.input + total.output,
        "{budget}"
    );
    assert_eq!(nanos(&report["cost"]), cost(total), "{report}");
    for (name, expected) in [
        ("calls", total.calls),
        ("input", total.input),
        ("output", total.output),
        ("failed", 0),
        ("estimated", 0),
        ("unknown", 0),
    ] {
        assert_eq!(report[name], expected, "{name}: {report}");
    }
    assert!(cost(total) <= limit, "more was spent than there was");
    let spent = cost(total) * 100 / limit;
    assert!(
        spent >= 90,
        "{spent} % were spent: others were refused for nothing"
    );
}

#[test]
fn three_processes_spend_together_what_there_is_and_no_more() {
    let server = Server::start();
    exactly(&postgres::site(&server, CHECKS), 3);
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = 'd0'";
    assert_eq!(
        server.admin("postgres", deadlocks),
        "0",
        "processes waited for each other"
    );
}

#[test]
fn one_process_spends_what_there_is_and_no_more() {
    exactly(&Site::small(CHECKS), 1);
}

#[test]
fn what_a_killed_process_held_counts_as_spent_and_blocks_nothing_for_ever() {
    let server = Server::start();
    let site = postgres::site(&server, CHECKS);
    let upstream = Upstream::start();
    add_model(&site, &upstream);
    let limit = 60 * ONE;
    self::limit(&site, limit);
    let mut serving: Vec<Serving> = (0..3).map(|_| Serving::start(&site)).collect();
    let token = token(&site);
    upstream.hold();
    let addresses: Vec<String> = serving.iter().map(|one| one.address.clone()).collect();
    let killed = serving.pop().unwrap();
    let ended = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..30)
            .map(|number| {
                let (address, token) = (&addresses[number % 3], &token);
                scope.spawn(move || call(address, token, number))
            })
            .collect();
        eventually("every call under way", || {
            (upstream.asked() == 30).then_some(())
        });
        killed.kill();
        upstream.open();
        let ended = callers.into_iter().map(|caller| caller.join().unwrap());
        ended.collect::<Vec<_>>()
    });
    let lost = ended.iter().filter(|ended| **ended == Ended::Lost).count();
    assert_eq!(lost, 10, "those of the dead: {ended:?}");
    assert!(!ended.contains(&Ended::Spent), "{ended:?}");
    // It is silent for as long as it takes, which nobody waits for here.
    let database = "d0";
    let hold = "SELECT count(*) FROM matrix.budget_holds";
    eventually("only the dead holds", || {
        (server.admin(database, hold) == "1").then_some(())
    });
    let held: i64 = server
        .admin(database, "SELECT money FROM matrix.budget_holds")
        .parse()
        .unwrap();
    assert!(
        held >= 10 * 100 * WRITTEN,
        "{held}: its calls were set aside for"
    );
    let (spent, _) = stands(&serving[0], &token);
    server.admin(database, "UPDATE matrix.budget_holds SET until = 1");
    // Whoever wants more hears of it.
    let mut more = 0;
    while call(&serving[more % 2].address, &token, more) == Ended::Answered {
        more += 1;
        assert!(more < 1_000, "nothing limits it");
    }
    let settled = eventually("nothing is held", || {
        let (spent, held) = stands(&serving[0], &token);
        (held == 0).then_some(spent)
    });
    assert!(
        settled >= spent + held,
        "{settled}: what the dead held is spent"
    );
    assert!(settled <= limit, "{settled} of {limit}");
    // The answers of the dead were paid for by what it held; what it had not lost is exact.
    let known = cost(upstream.total());
    assert!(settled >= known, "{settled} < {known}");
    // The budget is as good as any other.
    self::limit(&site, limit + 4 * ONE);
    eventually("a larger limit", || {
        (call(&serving[0].address, &token, 1) == Ended::Answered).then_some(())
    });
    serving.into_iter().for_each(Serving::end);
    assert_eq!(nanos(&budget(&site)["money_held"]), 0);
}

#[test]
fn clients_that_hang_up_pay_for_what_was_written_and_hold_nothing() {
    let site = Site::small(CHECKS);
    let upstream = Upstream::start();
    add_model(&site, &upstream);
    let limit = 40 * ONE;
    self::limit(&site, limit);
    let serving = Serving::start(&site);
    let token = token(&site);
    // Before there is a word, of both kinds.
    upstream.hold();
    let streams: Vec<_> = (0..10)
        .map(|number| request(&serving.address, &token, number, number % 2 == 0).unwrap())
        .collect();
    eventually("every call under way", || {
        (upstream.asked() == 10).then_some(())
    });
    drop(streams);
    upstream.open();
    let report = |serving: &Serving| {
        let (_, body) = serving.ask("GET", "/api/v1/model-usage", &token, "");
        body["lines"][0].clone()
    };
    let all = eventually("every call settled", || {
        let report = report(&serving);
        (report["calls"] == 10).then_some(report)
    });
    // A stream stops when nobody listens; an answer as a whole is finished and counted.
    assert_eq!(all["estimated"], 5, "{all}");
    assert_eq!(all["failed"], 0, "{all}");
    // In the middle of a stream.
    upstream.stammer();
    let mut streams: Vec<_> = (0..5)
        .map(|number| request(&serving.address, &token, 70 + number, true).unwrap())
        .collect();
    for stream in &mut streams {
        let (mut heard, mut some) = (String::new(), [0; 512]);
        while !heard.contains("word") {
            let count = stream.read(&mut some).unwrap();
            heard.push_str(&String::from_utf8_lossy(&some[..count]));
        }
    }
    drop(streams);
    let before = nanos(&all["cost"]);
    let all = eventually("every stream settled", || {
        let report = report(&serving);
        (report["calls"] == 15).then_some(report)
    });
    assert_eq!(all["estimated"], 10, "{all}");
    let each = (nanos(&all["cost"]) - before) / 5;
    assert!(each >= 9 * READ, "{each}: what was read is paid for");
    assert!(each < 80 * WRITTEN, "{each}: what was not written is not");
    upstream.open();
    eventually("the provider hears of it", || {
        (upstream.hung_up() >= 5).then_some(())
    });
    eventually("nothing is held", || {
        let (spent, held) = stands(&serving, &token);
        (held == 0 && spent == nanos(&all["cost"])).then_some(())
    });
    serving.end();
    assert_eq!(nanos(&budget(&site)["money_held"]), 0);
}
