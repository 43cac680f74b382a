//! A change survives being killed anywhere: at every boundary of its journal the process is ended
//! as `kill -9` does, and `matrix run resume` brings it to the same end.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

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
