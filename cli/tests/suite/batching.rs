//! A batch and what may happen meanwhile: processes that die and stop, and a provider that fails.

use std::collections::BTreeSet;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::serving::Serving;
use crate::site::{Site, eventually};
use crate::upstream::Upstream;

const CHECKS: &str = "checks: {lint: [{name: shape, run: 'true'}]}\n";

/// How many requests the batch has.
const LINES: usize = 200;

/// How many are asked at once.
const AT_ONCE: usize = 8;

struct Batch {
    site: Site,
    upstream: Upstream,
    token: String,
    id: String,
}

fn token(site: &Site) -> String {
    let token = std::fs::read_to_string(site.data().join("token")).unwrap();
    token.trim().to_owned()
}

impl Batch {
    /// A batch that has begun, and the process that does it.
    fn begin() -> (Self, Serving) {
        let (site, upstream) = (Site::small(CHECKS), Upstream::start());
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
        let serving = Serving::start(&site);
        let token = token(&site);
        let mut lines = String::new();
        for number in 0..LINES {
            let words = format!("line-{number} 3");
            let body = json!({ "model": "m", "max_tokens": 100,
                "messages": [{ "role": "user", "content": words }] });
            let line = json!({ "custom_id": format!("r{number}"), "method": "POST",
                "url": "/v1/chat/completions", "body": body });
            lines.push_str(&line.to_string());
            lines.push('\n');
        }
        let form = format!(
            "--X\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--X\r\n\
             Content-Disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\r\n{lines}\r\n\
             --X--\r\n"
        );
        let kind = [("Content-Type", "multipart/form-data; boundary=X")];
        let (status, file) = serving
            .send("POST", "/v1/files", &token, &kind, &form)
            .unwrap();
        assert_eq!(status, 200, "{file}");
        assert_eq!(file["bytes"], lines.len(), "{file}");
        let body = json!({ "input_file_id": file["id"], "endpoint": "/v1/chat/completions",
            "completion_window": "24h" });
        let (status, batch) = serving.ask("POST", "/v1/batches", &token, &body.to_string());
        assert_eq!(status, 200, "{batch}");
        let id = batch["id"].as_str().unwrap().to_owned();
        let batch = Self {
            site,
            upstream,
            token,
            id,
        };
        (batch, serving)
    }

    fn show(&self, serving: &Serving) -> Value {
        let path = format!("/v1/batches/{}", self.id);
        let (status, batch) = serving.ask("GET", &path, &self.token, "");
        assert_eq!(status, 200, "{batch}");
        batch
    }

    /// Waits until so many requests came to the provider.
    fn asked(&self, count: usize) {
        eventually("requests", || {
            (self.upstream.asked() >= count).then_some(())
        });
    }

    /// Waits for its end, at which every request was answered once.
    fn done(&self, serving: &Serving) {
        let batch = eventually("the batch's end", || {
            let batch = self.show(serving);
            assert_eq!(batch["errors"], Value::Null, "{batch}");
            (batch["status"] == "completed").then_some(batch)
        });
        let counts = &batch["request_counts"];
        assert_eq!(counts["completed"], LINES, "{batch}");
        assert_eq!(counts["failed"], 0, "{batch}");
        let output = batch["output_file_id"].as_str().unwrap();
        let (_, file) = serving.ask("GET", &format!("/v1/files/{output}"), &self.token, "");
        let text = self.content(serving, output);
        assert_eq!(file["bytes"], text.len(), "{file}");
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let names: BTreeSet<&str> = lines
            .iter()
            .map(|line| line["custom_id"].as_str().unwrap())
            .collect();
        assert_eq!(
            (lines.len(), names.len()),
            (LINES, LINES),
            "each is answered once"
        );
    }

    fn content(&self, serving: &Serving, file: &str) -> String {
        let path = format!("/v1/files/{file}/content");
        serving.text(&path, &self.token)
    }

    /// What the journal has as answered, of which nothing is asked for again.
    fn completed(&self, serving: &Serving) -> usize {
        let done = self.show(serving)["request_counts"]["completed"].as_u64();
        usize::try_from(done.unwrap()).unwrap()
    }
}

#[test]
fn a_batch_outlives_processes_that_are_killed_and_stopped_and_pays_for_no_answer_twice() {
    let (batch, mut serving) = Batch::begin();
    let mut lost = 0;
    for at in [17, 58, 103] {
        batch.asked(at + lost);
        serving.kill();
        let answered = usize::try_from(batch.upstream.total().calls).unwrap();
        serving = Serving::start(&batch.site);
        lost += AT_ONCE;
        let recorded = batch.completed(&serving);
        assert!(
            recorded + lost >= answered,
            "{recorded} of {answered} answers are kept"
        );
    }
    batch.asked(150 + lost);
    // What is under way when it stops in order is answered and kept.
    serving.stopped().expect(0);
    let asked = batch.upstream.asked();
    let serving = Serving::start(&batch.site);
    batch.done(&serving);
    let again: usize = batch.upstream.words().values().map(|count| count - 1).sum();
    assert!(again <= lost, "{again} answers were paid for again");
    assert!(batch.upstream.asked() <= LINES + lost, "{asked}");
    let (_, used) = serving.ask("GET", "/api/v1/model-usage", &batch.token, "");
    let calls = used["lines"][0]["calls"].as_u64().unwrap();
    assert!(calls <= (LINES + lost) as u64, "{used}");
    serving.end();
    batch.site.journal_holds();
}

#[test]
fn a_provider_that_fails_in_the_middle_of_a_batch_is_waited_for() {
    let (batch, serving) = Batch::begin();
    batch.asked(50);
    batch.upstream.fall_ill(true);
    let run = batch.id.replace("batch_", "run_");
    // It is left alone after a few failures; whoever waits for it has not begun.
    eventually("a wait for the provider", || {
        let why = batch.site.matrix(&["run", "why", &run]).expect(0);
        why.out.contains("left alone").then_some(())
    });
    batch.upstream.fall_ill(false);
    let ended = eventually("the batch's end", || {
        let shown = batch.show(&serving);
        (shown["status"] == "completed").then_some(shown)
    });
    let counts = &ended["request_counts"];
    let (done, failed) = (&counts["completed"], &counts["failed"]);
    assert_eq!(
        done.as_u64().unwrap() + failed.as_u64().unwrap(),
        LINES as u64,
        "{ended}"
    );
    assert!(
        failed.as_u64().unwrap() <= AT_ONCE as u64,
        "{ended}: others were lost with it"
    );
    serving.end();
}

#[test]
fn a_call_that_is_under_way_when_its_process_stops_is_answered() {
    let (batch, serving) = Batch::begin();
    batch.done(&serving);
    batch.upstream.hold();
    let before = batch.upstream.asked();
    let body = json!({ "model": "m", "messages": [{ "role": "user", "content": "last 2" }] });
    let answer = std::thread::scope(|scope| {
        let call = scope.spawn(|| {
            serving.ask(
                "POST",
                "/v1/chat/completions",
                &batch.token,
                &body.to_string(),
            )
        });
        batch.asked(before + 1);
        serving.signal(Signal::TERM);
        eventually("nobody new is let in", || {
            std::net::TcpStream::connect(&serving.address)
                .is_err()
                .then_some(())
        });
        batch.upstream.open();
        call.join().unwrap()
    });
    assert_eq!(answer.0, 200, "{}", answer.1);
    assert_eq!(answer.1["usage"]["completion_tokens"], 2);
    serving.ended().expect(0);
    let report = batch.site.matrix(&["model", "usage", "--json"]).expect(0);
    assert_eq!(
        report.json()["lines"][0]["calls"],
        LINES + 1,
        "it is counted"
    );
}
