//! Workers outside: the examples in Python and Node do steps of runs, and die, hang, come late and
//! speak twice.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::serving::Serving;
use crate::site::{Site, eventually, text, top};

/// A worker of the examples. It does not outlive its test.
struct Worker {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
}

impl Worker {
    fn start(program: &str, serving: &Serving, token: &str, slots: u32) -> Self {
        let (interpreter, script) = match program {
            "python" => ("python3", "examples/workers/python/worker.py"),
            _ => ("node", "examples/workers/node/worker.mjs"),
        };
        let mut child = Command::new(interpreter)
            .arg(top().join(script))
            .args(["--url", &format!("http://{}", serving.address)])
            .args(["--slots", &slots.to_string()])
            .env("MATRIX_TOKEN", token)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                heard.lock().unwrap().push(line);
            }
        });
        Self { child, said }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until it says a line that ends so.
    fn says(&self, end: &str) {
        eventually(end, || {
            let said = self.said.lock().unwrap();
            said.iter().any(|line| line.ends_with(end)).then_some(())
        });
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A server with the token of a worker and of somebody who submits.
struct Desk {
    site: Site,
    serving: Option<Serving>,
    worker: String,
    submitter: String,
}

impl Desk {
    fn open() -> Self {
        let site = Site::bare();
        let serving = Serving::start(&site);
        let added = site.matrix(&["user", "add", "hand", "--role", "worker"]);
        let worker = added.expect(0).out.trim().to_owned();
        let submitter = fs::read_to_string(site.data().join("token")).unwrap();
        Self {
            site,
            serving: Some(serving),
            worker,
            submitter: submitter.trim().to_owned(),
        }
    }

    fn serving(&self) -> &Serving {
        self.serving.as_ref().unwrap()
    }

    fn close(mut self) {
        self.site.journal_holds();
        self.serving.take().unwrap().end();
    }

    fn start(&self, program: &str) -> Worker {
        Worker::start(program, self.serving(), &self.worker, 2)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.site.path(name)
    }

    /// Begins a run of these steps.
    fn submit(&self, steps: &Value) -> String {
        let body = json!({ "steps": steps }).to_string();
        let (status, answer) = self
            .serving()
            .ask("POST", "/api/v1/tasks", &self.submitter, &body);
        assert_eq!(status, 202, "{answer}");
        text(&answer, "run")
    }

    /// A step that is not done before its file is there; whoever begins it adds a line.
    fn slow(&self, effect: &str, more: &Value) -> Value {
        let mut step = json!({ "name": "wait_for_file", "effect": effect, "lease_s": 3, "input":
            { "path": self.path("go"), "started": self.path("started") } });
        let members = more.as_object().unwrap().clone();
        step.as_object_mut().unwrap().extend(members);
        step
    }

    fn go(&self) {
        fs::write(self.path("part"), "gone").unwrap();
        fs::rename(self.path("part"), self.path("go")).unwrap();
    }

    fn starts(&self) -> usize {
        let lines = fs::read_to_string(self.path("started"));
        lines.map_or(0, |lines| lines.lines().count())
    }

    fn started(&self, times: usize) {
        eventually("the step begins", || (self.starts() == times).then_some(()));
    }

    fn show(&self, run: &str) -> Value {
        let shown = self
            .site
            .matrix(&["run", "show", run, "--journal", "--json"]);
        shown.expect(0).json()
    }

    fn ends(&self, run: &str, state: &str) -> Value {
        eventually(&format!("{run} is {state}"), || {
            let view = self.show(run);
            (view["state"] == state).then_some(view)
        })
    }

    fn tasks(&self, run: &str) -> Vec<Value> {
        let listed = self.site.matrix(&["task", "list", run, "--json"]);
        listed.expect(0).json()["tasks"].as_array().unwrap().clone()
    }

    /// What the protocol answers to a worker that is none of the examples.
    fn speak(&self, verb: &str, body: &Value) -> (u16, Value) {
        self.speak_as(&self.worker, &[("Matrix-Worker-Protocol", "1")], verb, body)
    }

    fn speak_as(
        &self,
        token: &str,
        headers: &[(&str, &str)],
        verb: &str,
        body: &Value,
    ) -> (u16, Value) {
        let path = format!("/api/v1/worker/{verb}");
        let answer = self
            .serving()
            .send("POST", &path, token, headers, &body.to_string());
        answer.unwrap()
    }

    fn lease_one(&self) -> Value {
        let asked = json!({ "worker": "raw", "wait_ms": 30_000 });
        let (status, answer) = self.speak("lease", &asked);
        assert_eq!(status, 200, "{answer}");
        answer["tasks"][0].clone()
    }

    fn reports(&self, task: &Value, result: &str) -> Value {
        let report = json!({ "task": task["task"], "lease": task["lease"], "result": result });
        let (status, answer) = self.speak("report", &json!({ "reports": [report] }));
        assert_eq!(status, 200, "{answer}");
        answer["reports"][0].clone()
    }
}

fn count(view: &Value, kind: &str) -> usize {
    let entries = view["journal"].as_array().unwrap().iter();
    entries.filter(|entry| entry["kind"] == kind).count()
}

#[test]
fn steps_are_done_in_python_and_node_and_recorded() {
    let desk = Desk::open();
    for program in ["python", "node"] {
        let worker = desk.start(program);
        let (out, lines) = (desk.path(program), desk.path("lines"));
        let run = desk.submit(&json!([
            { "name": "count_words", "effect": "read", "input": { "text": "x y x" } },
            { "name": "write_file", "effect": "idempotent", "input":
                { "path": out, "text": { "$result": "count_words", "at": "/x" } } },
            { "name": "hash_file", "id": "hash", "effect": "read", "input": { "path": out } },
            { "name": "append_line", "effect": "external", "input":
                { "path": lines, "line": program } },
        ]));
        let view = desk.ends(&run, "succeeded");
        let sha = "d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35";
        assert_eq!(
            view["result"],
            json!({ "count_words": { "x": 2, "y": 1 }, "write_file": { "bytes": 1 },
                "hash": { "sha256": sha, "bytes": 1 }, "append_line": {} })
        );
        assert_eq!(count(&view, "step_completed"), 4);
        let by = view["journal"][2]["actor"].as_str().unwrap();
        assert!(by.starts_with("service:hand/"), "{by}");
        desk.site.matrix(&["run", "replay", &run]).expect(0);
        let logs = desk.site.matrix(&["task", "logs", &run]).expect(0);
        let logs = logs.says("hash#1 1 bytes read from");
        assert_eq!(logs.out.lines().count(), 1);
        assert_eq!(desk.tasks(&run), [] as [Value; 0]);
        drop(worker);
    }
    let lines = fs::read_to_string(desk.path("lines")).unwrap();
    assert_eq!(lines, "python\nnode\n");
    desk.close();
}

#[test]
fn an_error_says_whether_another_attempt_helps() {
    let desk = Desk::open();
    let _worker = desk.start("node");
    let run = desk.submit(&json!([
        { "name": "hash_file", "effect": "read", "input": { "path": desk.path("none") } },
    ]));
    let view = desk.ends(&run, "failed");
    assert_eq!(count(&view, "step_failed"), 1);
    let run = desk.submit(&json!([
        { "name": "count_words", "effect": "read", "attempts": 2, "input": { "text": 1 } },
    ]));
    let view = desk.ends(&run, "paused");
    assert_eq!(count(&view, "step_failed"), 2);
    desk.close();
}

#[test]
fn a_read_of_a_killed_worker_is_done_by_another() {
    let desk = Desk::open();
    let first = desk.start("node");
    let run = desk.submit(&json!([desk.slow("read", &json!({}))]));
    desk.started(1);
    drop(first);
    let _second = desk.start("python");
    desk.started(2);
    desk.go();
    let view = desk.ends(&run, "succeeded");
    assert_eq!(view["result"]["wait_for_file"], "gone");
    assert_eq!(
        count(&view, "step_begun"),
        1,
        "it was offered again, not begun again"
    );
    desk.close();
}

#[test]
fn an_external_step_of_a_killed_worker_is_in_doubt() {
    let desk = Desk::open();
    let first = desk.start("python");
    let run = desk.submit(&json!([desk.slow("external", &json!({}))]));
    desk.started(1);
    drop(first);
    let _second = desk.start("node");
    let view = desk.ends(&run, "paused");
    let why = view["waiting"]["because"].as_str().unwrap();
    assert!(why.contains("nobody but you can tell"), "{why}");
    assert_eq!(desk.starts(), 1, "nobody did it again");
    desk.go();
    let steer = format!("/api/v1/runs/{run}/retry");
    let (status, answer) = desk.serving().ask("POST", &steer, &desk.submitter, "{}");
    assert_eq!(status, 403, "a program does not decide: {answer}");
    desk.site.matrix(&["run", "retry", &run]).expect(0);
    let view = desk.ends(&run, "succeeded");
    assert_eq!((count(&view, "step_begun"), desk.starts()), (2, 2));
    desk.close();
}

#[test]
fn a_worker_that_hangs_is_passed_over_and_told_so() {
    let desk = Desk::open();
    let first = desk.start("python");
    let run = desk.submit(&json!([desk.slow("idempotent", &json!({}))]));
    desk.started(1);
    first.signal(Signal::STOP);
    let _second = desk.start("node");
    desk.started(2);
    first.signal(Signal::CONT);
    // Its heartbeat is not heard; it stops, and its report is not taken.
    first.says(" lost");
    desk.go();
    let view = desk.ends(&run, "succeeded");
    assert_eq!(count(&view, "step_completed"), 1);
    assert_eq!(count(&view, "step_failed"), 0);
    desk.close();
}

#[test]
fn a_worker_that_takes_too_long_is_an_attempt_that_failed() {
    let desk = Desk::open();
    let _worker = desk.start("node");
    let more = json!({ "timeout_s": 1, "attempts": 1 });
    let run = desk.submit(&json!([desk.slow("read", &more)]));
    let view = desk.ends(&run, "paused");
    let why = view["waiting"]["because"].as_str().unwrap();
    assert!(why.contains("took longer than it may"), "{why}");
    desk.close();
}

#[test]
fn a_report_is_taken_once_and_under_the_lease_that_stands() {
    let mut desk = Desk::open();
    let run = desk.submit(&json!([
        { "name": "a", "effect": "read", "lease_s": 3 }, { "name": "b", "effect": "read" },
    ]));
    let lost = desk.lease_one();
    assert_eq!(lost["name"], "a");
    eventually("the lease is lost", || {
        (desk.tasks(&run)[0]["losses"] == 1).then_some(())
    });
    // Nobody else has it, and still the lease is over.
    let refused = json!({ "task": lost["task"], "state": "lost", "code": "TASK-0001" });
    assert_eq!(desk.reports(&lost, "late"), refused);
    let held = desk.lease_one();
    assert_eq!((&held["task"], &held["key"]), (&lost["task"], &lost["key"]));
    assert_eq!(desk.reports(&lost, "late"), refused);
    assert_eq!(desk.reports(&held, "first")["state"], "accepted");
    assert_eq!(desk.reports(&held, "second")["state"], "already");
    assert_eq!(desk.reports(&lost, "late"), refused);
    let beat = json!({ "tasks": [{ "task": held["task"], "lease": held["lease"] }] });
    assert_eq!(
        desk.speak("heartbeat", &beat).1["tasks"][0]["state"],
        "lost"
    );
    // The next server knows it too.
    desk.serving.take().unwrap().kill();
    desk.serving = Some(Serving::start(&desk.site));
    assert_eq!(desk.reports(&held, "third")["state"], "already");
    assert_eq!(desk.reports(&lost, "late"), refused);
    let next = desk.lease_one();
    assert_eq!(desk.reports(&next, "end")["state"], "accepted");
    let view = desk.ends(&run, "succeeded");
    assert_eq!(view["result"], json!({ "a": "first", "b": "end" }));
    desk.close();
}

#[test]
fn a_report_comes_with_the_next_lease_in_one_request() {
    let desk = Desk::open();
    let steps = json!([{ "name": "a", "effect": "read" }, { "name": "b", "effect": "read" }]);
    let run = desk.submit(&steps);
    let first = desk.lease_one();
    let report = json!({ "task": first["task"], "lease": first["lease"], "result": null });
    let asked = json!({ "worker": "raw", "wait_ms": 30_000, "max": 9, "reports": [report] });
    let (_, answer) = desk.speak("lease", &asked);
    assert_eq!(answer["reports"][0]["state"], "accepted");
    assert_eq!(answer["tasks"][0]["name"], "b");
    assert_eq!(desk.reports(&answer["tasks"][0], "x")["state"], "accepted");
    let view = desk.ends(&run, "succeeded");
    assert_eq!(view["result"], json!({ "a": null, "b": "x" }));
    desk.close();
}

#[test]
fn cancelling_takes_back_a_read_at_once_and_asks_the_worker_of_an_external_step_to_stop() {
    let desk = Desk::open();
    for (program, effect, heard) in [
        ("python", "read", " lost"),
        ("node", "external", " cancelled"),
    ] {
        drop(fs::remove_file(desk.path("started")));
        let worker = desk.start(program);
        let run = desk.submit(&json!([desk.slow(effect, &json!({}))]));
        desk.started(1);
        let cancelled = ["run", "cancel", &run, "--reason", "enough"];
        desk.site.matrix(&cancelled).expect(0);
        worker.says(heard);
        let view = desk.ends(&run, "cancelled");
        assert_eq!(count(&view, "step_completed"), 0);
        assert_eq!(desk.tasks(&run), [] as [Value; 0]);
        drop(worker);
    }
    desk.close();
}

#[test]
fn a_server_that_is_killed_finds_its_workers_again() {
    let mut desk = Desk::open();
    let worker = desk.start("python");
    let run = desk.submit(&json!([desk.slow("external", &json!({ "lease_s": 60 }))]));
    desk.started(1);
    let address = desk.serving().address.clone();
    desk.serving.take().unwrap().kill();
    desk.go();
    let again = desk.site.command(&["serve", "--listen", &address]);
    desk.serving = Some(Serving::by(again));
    let view = desk.ends(&run, "succeeded");
    assert_eq!((count(&view, "step_begun"), desk.starts()), (1, 1));
    drop(worker);
    desk.close();
}

#[test]
fn without_a_worker_a_run_waits_and_says_for_what() {
    let desk = Desk::open();
    let step = json!({ "name": "count_words", "effect": "read", "input": { "text": "a" } });
    let run = desk.submit(&json!([step]));
    desk.ends(&run, "waiting");
    let why = desk.site.matrix(&["run", "why", &run]).expect(0);
    let why = why.says("waiting for task count_words#1");
    let why = why.says("a worker of the queue `default` does it");
    let _why = why.says("count_words#1 offered to the queue `default` since");
    assert_eq!(desk.tasks(&run)[0]["state"], "offered");
    let other = json!({ "worker": "raw", "queues": ["other"] });
    assert_eq!(desk.speak("lease", &other).1["tasks"], json!([]));
    let unable = json!({ "worker": "raw", "names": ["other"] });
    assert_eq!(desk.speak("lease", &unable).1["tasks"], json!([]));
    let _worker = desk.start("node");
    let view = desk.ends(&run, "succeeded");
    assert_eq!(view["result"]["count_words"], json!({ "a": 1 }));
    desk.close();
}

#[test]
fn nonsense_is_refused_and_changes_nothing() {
    let desk = Desk::open();
    let run = desk.submit(&json!([{ "name": "a", "effect": "read" }]));
    let held = desk.lease_one();
    let told = |more: Value| {
        let mut report = json!({ "task": held["task"], "lease": held["lease"] });
        let members = more.as_object().unwrap().clone();
        report.as_object_mut().unwrap().extend(members);
        json!({ "reports": [report] })
    };
    let beat = |progress: Value| json!({ "tasks": [{ "task": held["task"], "lease": held["lease"], "progress": progress }] });
    let lines =
        |line: String| json!({ "task": held["task"], "lease": held["lease"], "lines": [line] });
    let refused = [
        ("lease", json!({ "worker": "a/b" }), 422),
        ("lease", json!({ "worker": "a", "queues": [] }), 422),
        ("lease", json!({ "worker": "a", "queues": ["x,y"] }), 422),
        ("lease", json!({ "worker": "a", "max": 0 }), 422),
        ("lease", json!({ "worker": "a", "max": 257 }), 422),
        ("lease", json!({ "worker": "a", "wait_ms": 30_001 }), 422),
        ("lease", json!({ "worker": "a", "more": 1 }), 400),
        ("lease", json!([]), 400),
        ("report", told(json!({})), 400),
        (
            "report",
            told(json!({ "result": 1, "error": { "message": "x" } })),
            400,
        ),
        (
            "report",
            told(json!({ "result": "x".repeat(1 << 20) })),
            422,
        ),
        (
            "report",
            told(json!({ "error": { "message": "x".repeat(9_000) } })),
            422,
        ),
        (
            "report",
            told(json!({ "result": "x".repeat(3 << 20) })),
            413,
        ),
        (
            "report",
            json!({ "reports": [{ "task": "tsk_1", "lease": "", "result": 1 }] }),
            400,
        ),
        ("heartbeat", beat(json!("x".repeat(2_000))), 422),
        ("log", lines("x".repeat(20_000)), 422),
    ];
    for (verb, body, expected) in refused {
        let (status, answer) = desk.speak(verb, &body);
        let shown: String = body.to_string().chars().take(100).collect();
        assert_eq!(status, expected, "{verb} {shown}: {answer}");
    }
    assert_eq!(desk.speak("log", &lines("a".into())).1["state"], "kept");
    let unknown = json!({ "task": held["task"], "lease": format!("{run}.0"), "result": 1 });
    let (_, answer) = desk.speak("report", &json!({ "reports": [unknown] }));
    assert_eq!(answer["reports"][0]["code"], "TASK-0001");
    assert_eq!(desk.reports(&held, "after all")["state"], "accepted");
    assert_eq!(desk.speak("log", &lines("b".into())).1["state"], "lost");
    desk.ends(&run, "succeeded");
    desk.close();
}

#[test]
fn other_versions_and_steps_that_cannot_be_done_are_refused() {
    let desk = Desk::open();
    let idle = json!({ "worker": "a" });
    for headers in [&[][..], &[("Matrix-Worker-Protocol", "2")]] {
        let (status, answer) = desk.speak_as(&desk.worker, headers, "lease", &idle);
        assert_eq!((status, &*text(&answer, "code")), (400, "TASK-0002"));
    }
    let steps = |steps: Value| json!({ "steps": steps }).to_string();
    let large = json!([{ "name": "a", "effect": "read", "input": "x".repeat(300_000) }]);
    for body in [
        steps(json!([])),
        steps(json!([{ "name": "a/b", "effect": "read" }])),
    ] {
        let (status, answer) = desk
            .serving()
            .ask("POST", "/api/v1/tasks", &desk.submitter, &body);
        assert_eq!((status, &*text(&answer, "code")), (422, "TASK-0003"));
    }
    let too_large = desk.submit(&large);
    desk.ends(&too_large, "failed");
    desk.close();
}

#[test]
fn a_workers_token_is_good_for_its_work_and_nothing_else() {
    let desk = Desk::open();
    let asked = json!({ "worker": "a" });
    let version = [("Matrix-Worker-Protocol", "1")];
    assert_eq!(desk.speak("lease", &asked).0, 200);
    assert_eq!(
        desk.speak_as(&desk.submitter, &version, "lease", &asked).0,
        403
    );
    for verb in ["report", "heartbeat"] {
        let body = json!({ if verb == "report" { "reports" } else { "tasks" }: [] });
        assert_eq!(desk.speak(verb, &body).0, 200);
        assert_eq!(desk.speak_as(&desk.submitter, &version, verb, &body).0, 403);
    }
    let (body, worker) = (
        json!({ "steps": [{ "name": "a", "effect": "read" }] }),
        &desk.worker,
    );
    let ask = |verb: &str, path: &str, body: &str| desk.serving().ask(verb, path, worker, body).0;
    assert_eq!(ask("POST", "/api/v1/tasks", &body.to_string()), 403);
    assert_eq!(ask("GET", "/api/v1/runs", ""), 403);
    assert_eq!(ask("GET", "/api/v1/users", ""), 403);
    let both = ["user", "add", "x", "--role", "worker", "--role", "approver"];
    desk.site.matrix(&both).expect(2).says("USER-0004");
    desk.close();
}
