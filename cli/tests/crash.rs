//! A change and an agent survive being killed anywhere: at every boundary of their journal the process
//! is ended as `kill -9` does, and `matrix run resume` brings it to the same end.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

struct Place {
    directory: tempfile::TempDir,
    plan: PathBuf,
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

fn git(repository: &Path, arguments: &[&str]) {
    let status = Command::new("git")
        .args(["-c", "user.name=A", "-c", "user.email=a@example.org"])
        .args(arguments)
        .current_dir(repository)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "git {arguments:?}");
}

impl Place {
    /// An example's repository, in a directory of its own.
    fn example(name: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let repository = directory.path().join("repository");
        let source = examples().join(name).join("repository");
        let copied = Command::new("cp")
            .arg("-R")
            .arg(&source)
            .arg(&repository)
            .status()
            .unwrap();
        assert!(copied.success());
        git(&repository, &["init", "--quiet", "--initial-branch=main"]);
        git(&repository, &["add", "--all"]);
        git(&repository, &["commit", "--quiet", "--message=base"]);
        let plan = examples().join(name).join("plans/fix.yaml");
        Self { directory, plan }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn matrix(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_matrix"));
        command
            .args(arguments)
            .arg("--json")
            .arg("--data-dir")
            .arg(self.data());
        command.stdin(Stdio::null());
        command
    }

    fn change(&self) -> Command {
        let mut command = self.matrix(&["change", "run"]);
        command
            .arg("--repo")
            .arg(self.directory.path().join("repository"));
        command.arg("--plan").arg(&self.plan);
        command
    }

    /// The last line of standard output as JSON.
    fn json(&self, arguments: &[&str]) -> Value {
        last_line(&self.matrix(arguments).output().unwrap())
    }

    fn newest_run(&self) -> String {
        self.json(&["run", "list"])["runs"][0]["run"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

fn last_line(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let line = text
        .lines()
        .last()
        .unwrap_or_else(|| panic!("no output: {errors}"));
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}: {errors}"))
}

/// What must be the same, killed or not.
fn essence(change: &Value) -> Value {
    let evidence: BTreeMap<&str, &Value> = change["evidence"]
        .as_array()
        .unwrap()
        .iter()
        .map(|evidence| (evidence["kind"].as_str().unwrap(), &evidence["status"]))
        .collect();
    serde_json::json!({
        "state": change["state"],
        "risk": change["risk"],
        "verdict": change["verdict"],
        "evidence": evidence,
    })
}

/// Exactly one deployment, one release, a whole journal and a bundle that verifies.
fn check(place: &Place, run: &str, change: &Value, at: &str) {
    let deployments = place.json(&["deployment", "list", "--limit", "500"]);
    let of_run: Vec<_> = deployments["deployments"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|deployment| deployment["run"] == run)
        .collect();
    assert_eq!(of_run.len(), 1, "deployments after {at}");
    assert_eq!(
        of_run[0]["deployment"], change["deployment"],
        "deployment after {at}"
    );
    let repositories: Vec<_> = std::fs::read_dir(place.data().join("targets"))
        .unwrap()
        .collect();
    assert_eq!(
        repositories.len(),
        1,
        "repositories with targets after {at}"
    );
    let releases = repositories[0]
        .as_ref()
        .unwrap()
        .path()
        .join("local/releases");
    let mut of_run = 0;
    for entry in std::fs::read_dir(releases).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            let record: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            of_run += usize::from(record["order"]["run"] == run);
        }
    }
    assert_eq!(of_run, 1, "release directories after {at}");
    let verified = place.matrix(&["journal", "verify", run]).output().unwrap();
    assert!(
        verified.status.success(),
        "the journal after {at}: {verified:?}"
    );
    let bundle = change["bundle"].as_str().unwrap();
    let verified = place.matrix(&["verify", bundle]).output().unwrap();
    assert!(
        verified.status.success(),
        "the bundle after {at}: {verified:?}"
    );
    let work = place.data().join("work").join(run);
    assert!(!work.exists(), "work trees are left after {at}");
}

fn killed_at_every(place: &Place, boundaries: &[&str]) {
    let reference = place.change().output().unwrap();
    let wanted = last_line(&reference);
    assert_eq!(wanted["state"], "succeeded", "{reference:?}");
    let run = wanted["run"].as_str().unwrap();
    check(place, run, &wanted, "no crash");
    let head = place.json(&["run", "show", run])["head_seq"]
        .as_i64()
        .unwrap();
    assert!(head > 20, "a change has more entries than {head}");
    for kind in boundaries {
        for seq in 0..=head {
            if *kind == "before" && seq == 0 {
                continue;
            }
            let at = format!("{kind}:{seq}");
            let killed = place.change().env("MATRIX_CRASH_AT", &at).output().unwrap();
            assert!(
                killed.status.code().is_none(),
                "{at} was not reached: {killed:?}"
            );
            let run = place.newest_run();
            let resumed = place.matrix(&["run", "resume", &run]).output().unwrap();
            let change = last_line(&resumed);
            assert_eq!(change["run"], *run);
            assert_eq!(
                essence(&change),
                essence(&wanted),
                "after {at}: {resumed:?}"
            );
            check(place, &run, &change, &at);
        }
    }
}

#[test]
fn killed_after_every_entry_of_the_demos_change() {
    killed_at_every(&Place::example("rust"), &["after"]);
}

#[test]
fn killed_before_and_after_every_entry_of_a_change() {
    killed_at_every(&Place::example("python"), &["before", "after"]);
}

#[test]
fn a_terminated_change_goes_on_when_it_is_resumed() {
    let place = Place::example("python");
    let wanted = last_line(&place.change().output().unwrap());
    let mut child = place
        .change()
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let verifying = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("VERIFY")));
    assert!(verifying.is_some(), "the change never came to its checks");
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    let told: Vec<String> = lines.map_while(Result::ok).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{told:?}");
    assert!(
        told.iter().any(|line| line.contains("matrix run resume")),
        "{told:?}"
    );
    let change = place.json(&["run", "resume"]);
    assert_eq!(essence(&change), essence(&wanted));
    let run = change["run"].as_str().unwrap().to_owned();
    check(&place, &run, &change, "SIGTERM");
}

/// An upstream that a model could be: it speaks the chat protocol, decides by the number of answers
/// in the conversation, and counts how often it was asked.
struct Upstream {
    port: u16,
    asked: Arc<AtomicUsize>,
}

impl Upstream {
    /// One that says that it is done after so many turns in which files are written and read.
    fn start(turns: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counted = Arc::clone(&counted);
                // A client that was killed does not read its answer.
                std::thread::spawn(move || drop(Self::answer(stream, &counted, turns)));
            }
        });
        Self { port, asked }
    }

    fn answer(stream: TcpStream, counted: &AtomicUsize, turns: usize) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let line = line.trim().to_ascii_lowercase();
            if let Some(said) = line.strip_prefix("content-length:") {
                length = said.trim().parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        counted.fetch_add(1, Ordering::SeqCst);
        let body: Value = serde_json::from_slice(&body)?;
        let messages = body["messages"].as_array().unwrap();
        let turn = messages
            .iter()
            .filter(|one| one["role"] == "assistant")
            .count();
        let text = says(turn, turns).to_string();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
        let mut stream = stream;
        write!(stream, "{head}content-length: {}\r\n\r\n{text}", text.len())
    }
}

/// What the model says in a turn: four calls side by side, two of which write; then that it is done.
fn says(turn: usize, turns: usize) -> Value {
    let call = |index: usize, name: &str, arguments: Value| {
        serde_json::json!({ "id": format!("call_{turn}_{index}"), "type": "function",
            "function": { "name": name, "arguments": arguments.to_string() } })
    };
    let (message, finish) = if turn == turns {
        let done = serde_json::json!({ "role": "assistant", "content": "All written" });
        (done, "stop")
    } else {
        let append = format!("echo {turn} >> log.txt; wc -l < log.txt");
        let calls = [
            call(
                0,
                "write_file",
                serde_json::json!({ "path": format!("new/{turn}.txt"), "content": "x\n" }),
            ),
            call(1, "shell", serde_json::json!({ "command": append })),
            call(
                2,
                "read_file",
                serde_json::json!({ "path": "pyproject.toml" }),
            ),
            call(3, "list_files", serde_json::json!({ "path": "tests" })),
        ];
        let called =
            serde_json::json!({ "role": "assistant", "content": null, "tool_calls": calls });
        (called, "tool_calls")
    };
    serde_json::json!({
        "id": format!("chatcmpl-{turn}"), "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{ "index": 0, "message": message, "finish_reason": finish }],
        "usage": { "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15 },
    })
}

/// How many answers of its model a run's journal has, and what its appending commands printed.
fn recorded(place: &Place, run: &str) -> (usize, Vec<String>) {
    let shown = place.json(&["run", "show", run, "--journal"]);
    let done = shown["journal"].as_array().unwrap().iter();
    let done: Vec<&Value> = done
        .filter(|entry| entry["kind"] == "step_completed")
        .collect();
    let path = |entry: &&Value| entry["path"].as_str().unwrap().to_owned();
    let answers = done
        .iter()
        .filter(|entry| path(entry).starts_with("model#"))
        .count();
    let printed = done.iter().filter(|entry| path(entry).contains("/shell#"));
    let printed = printed.map(|entry| entry["payload"]["output"].as_str().unwrap().to_owned());
    (answers, printed.collect())
}

#[test]
fn an_agent_killed_after_every_entry_writes_once_and_pays_once() {
    agent_killed_at_every(3, &["after"]);
}

#[test]
#[ignore = "it takes minutes"]
fn an_agent_of_thirty_steps_killed_before_and_after_every_entry_writes_once_and_pays_once() {
    agent_killed_at_every(6, &["before", "after"]);
}

fn agent_killed_at_every(turns: usize, boundaries: &[&str]) {
    let place = Place::example("python");
    let upstream = Upstream::start(turns);
    let address = format!("http://127.0.0.1:{}/v1", upstream.port);
    let mut add = place.matrix(&["model", "add", "counted", "--provider", "openai_compatible"]);
    add.args(["--base-url", &address, "--private", "--free"]);
    let added = add.output().unwrap();
    assert!(added.status.success(), "{added:?}");
    let begin = || {
        let mut command = place.matrix(&["agent", "run", "coder", "--model", "counted"]);
        command.args(["--goal", "Write.", "--repo"]);
        command.arg(place.directory.path().join("repository"));
        command
    };
    let reference = begin().output().unwrap();
    let wanted = last_line(&reference);
    assert_eq!(wanted["state"], "succeeded", "{reference:?}");
    let run = wanted["run"].as_str().unwrap();
    let (answers, printed) = recorded(&place, run);
    assert_eq!((answers, printed.len()), (turns + 1, turns));
    assert_eq!(upstream.asked.load(Ordering::SeqCst), turns + 1);
    let head = place.json(&["run", "show", run])["head_seq"]
        .as_i64()
        .unwrap();
    assert!(head > 8 * 3, "an agent's run has more entries than {head}");
    let all = (0..=head).flat_map(|seq| boundaries.iter().map(move |kind| (*kind, seq)));
    for (kind, seq) in all.filter(|place| *place != ("before", 0)) {
        let at = format!("{kind}:{seq}");
        let asked = upstream.asked.load(Ordering::SeqCst);
        let killed = begin().env("MATRIX_CRASH_AT", &at).output().unwrap();
        assert!(
            killed.status.code().is_none(),
            "{at} was not reached: {killed:?}"
        );
        let run = place.newest_run();
        let resumed = place.matrix(&["run", "resume", &run]).output().unwrap();
        let ended = last_line(&resumed);
        assert_eq!(ended["state"], "succeeded", "after {at}: {resumed:?}");
        assert_eq!(ended["result"], wanted["result"], "after {at}");
        let (answers, again) = recorded(&place, &run);
        assert_eq!((answers, &again), (turns + 1, &printed), "after {at}");
        // One more at most: the call that was under way.
        let paid = upstream.asked.load(Ordering::SeqCst) - asked;
        assert!(
            (turns + 1..=turns + 2).contains(&paid),
            "{paid} calls after {at}"
        );
        let verified = place.matrix(&["journal", "verify", &run]).output().unwrap();
        assert!(
            verified.status.success(),
            "the journal after {at}: {verified:?}"
        );
        let work = place.data().join("work").join(&run);
        assert!(!work.exists(), "its work tree is left after {at}");
    }
}
