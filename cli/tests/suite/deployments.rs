//! What is deployed, going back, and what can no longer be acted on.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::serving::Serving;
use crate::site::{CHECKS, Site, finish, plan, text};

/// A deployment that no directory has.
const NONE: &str = "dep_01m7ytny0fftdsep6vdqmsf35m";

/// Releases a file of this name, and gives the deployment.
fn release(site: &Site, name: &str) -> String {
    let create = format!("  - create: {{ path: {name}, content: \"x\\n\" }}\n");
    site.change(plan(&create)).expect(0).text("deployment")
}

fn list(site: &Site, arguments: &[&str]) -> Vec<Value> {
    let whole = [&["deployment", "list", "--json"], arguments].concat();
    let listed = site.matrix(&whole).expect(0).json();
    listed["deployments"].as_array().unwrap().clone()
}

/// States by deployment, the newest first.
fn states(site: &Site) -> Vec<String> {
    let rows = list(site, &[]);
    rows.iter().map(|row| text(row, "state")).collect()
}

/// Refused with what is there instead, and nothing changes.
fn is_refused(site: &Site, id: &str, current: Option<&str>) {
    let before = list(site, &[]);
    for verb in ["rollback", "stop"] {
        let refused = site.matrix(&["deployment", verb, id, "--json"]).expect(1);
        let error = &refused.json()["error"];
        assert_eq!(error["code"], "TARGET-0005", "{verb}: {error}");
        assert_eq!(error["current"].as_str(), current, "{verb}: {error}");
        assert!(text(error, "help").contains("deployment list"), "{error}");
    }
    assert_eq!(list(site, &[]), before, "a refusal changes nothing");
}

/// The status and body of a request to the data directory's socket, where its owner asks.
fn owner_posts(site: &Site, path: &str) -> (u16, Value) {
    let mut socket = UnixStream::connect(site.data().join("matrix.sock")).unwrap();
    let head = "Host: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n";
    write!(
        socket,
        "POST {path} HTTP/1.1\r\n{head}Connection: close\r\n\r\n{{}}"
    )
    .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

#[test]
fn only_what_is_there_now_is_taken_back_or_stopped() {
    let site = Site::small(CHECKS);
    let (first, second) = (release(&site, "one.txt"), release(&site, "two.txt"));
    let third = release(&site, "three.txt");
    assert_eq!(states(&site), ["active", "superseded", "superseded"]);
    is_refused(&site, &first, Some(&third));
    is_refused(&site, &second, Some(&third));
    site.matrix(&["deployment", "rollback", &third])
        .expect(0)
        .says(&format!("{second} is active again"));
    assert_eq!(states(&site), ["rolled_back", "active", "superseded"]);
    is_refused(&site, &third, Some(&second));
    site.matrix(&["deployment", "stop", &second])
        .expect(0)
        .says("is stopped");
    site.matrix(&["deployment", "stop", &second]).expect(0);
    assert_eq!(states(&site), ["rolled_back", "stopped", "superseded"]);
    let back = site.matrix(&["deployment", "rollback", &second, "--json"]);
    assert_eq!(back.expect(0).json()["active"], json!(first));
    site.matrix(&["deployment", "rollback", &first])
        .expect(0)
        .says("nothing was there before");
    assert_eq!(states(&site), ["rolled_back"; 3]);
    is_refused(&site, &first, None);
    site.matrix(&["deployment", "stop", NONE]).expect(6);
}

#[test]
fn a_release_that_was_removed_is_not_gone_back_to() {
    let checks = format!("{CHECKS}targets: {{ local: {{ kind: directory, keep: 2 }} }}\n");
    let site = Site::small(&checks);
    let released: Vec<String> = (0..4)
        .map(|number| release(&site, &format!("{number}.txt")))
        .collect();
    let serving = Serving::start(&site);
    for verb in ["rollback", "stop"] {
        let path = format!("/api/v1/deployments/{}/{verb}", released[0]);
        let (status, problem) = owner_posts(&site, &path);
        assert_eq!(status, 409, "{verb}: {problem}");
        assert_eq!(problem["code"], "TARGET-0005", "{verb}: {problem}");
        assert_eq!(problem["current"], json!(released[3]), "{verb}: {problem}");
    }
    is_refused(&site, &released[0], Some(&released[3]));
    site.matrix(&["deployment", "rollback", &released[3]])
        .expect(0);
    // The release that this one replaced was the third of two that are kept.
    let refused = site.matrix(&["deployment", "rollback", &released[2], "--json"]);
    assert_eq!(refused.expect(1).json()["error"]["code"], "TARGET-0004");
    assert_eq!(states(&site)[..2], ["rolled_back", "active"]);
    serving.end();
}

/// The target went back, and the host died before that was recorded.
#[test]
fn a_rollback_that_was_not_recorded_is_finished() {
    for (state, before) in [("active", "active"), ("stopped", "superseded")] {
        let site = Site::small(CHECKS);
        let (first, second) = (release(&site, "one.txt"), release(&site, "two.txt"));
        site.matrix(&["deployment", "rollback", &second]).expect(0);
        let applied = json!({ "deployment": second, "location": "there",
            "manifest": "00".repeat(32), "replaced": first });
        site.tamper(&format!(
            "UPDATE deployments SET state = '{state}', detail = '{applied}' \
             WHERE deployment = (SELECT max(deployment) FROM deployments)"
        ));
        site.tamper(&format!(
            "UPDATE deployments SET state = '{before}' \
             WHERE deployment = (SELECT min(deployment) FROM deployments)"
        ));
        assert_eq!(states(&site), [state, before]);
        let refused = site.matrix(&["deployment", "stop", &second, "--json"]);
        refused.expect(1).says("TARGET-0005");
        if before == "superseded" {
            let refused = site.matrix(&["deployment", "stop", &first]).expect(1);
            refused.says("but it is recorded as superseded");
        }
        site.matrix(&["deployment", "rollback", &second])
            .expect(0)
            .says(&format!("{first} is active again"));
        assert_eq!(states(&site), ["rolled_back", "active"]);
    }
}

/// Two repositories call their target alike and mean different places.
#[test]
fn targets_of_two_repositories_are_told_apart() {
    let site = Site::small(CHECKS);
    let mine = release(&site, "mine.txt");
    let other = site.path("other");
    let mut copy = std::process::Command::new("cp");
    copy.arg("-R").arg(site.repository()).arg(&other);
    assert!(copy.status().unwrap().success());
    let file = site.plan_file(plan("  - create: { path: theirs.txt, content: x }\n"));
    let mut command = site.command(&["change", "run", "--json", "--repo"]);
    command.arg(&other).arg("--plan").arg(file);
    let theirs = finish(command).expect(0).text("deployment");
    let path = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
    let (here, there) = (path(site.repository()), path(other));
    let rows = list(&site, &["--target", "local"]);
    let told: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                text(row, "deployment"),
                text(row, "repository"),
                text(row, "state"),
            )
        })
        .collect();
    let active = || "active".to_owned();
    let expected = [
        (theirs.clone(), there.clone(), active()),
        (mine.clone(), here.clone(), active()),
    ];
    assert_eq!(told, expected);
    site.matrix(&["deployment", "list"])
        .expect(0)
        .says("repository")
        .says(&there);
    let only = list(&site, &["--repo", &here, "--limit", "1"]);
    assert_eq!(only.len(), 1);
    assert_eq!(text(&only[0], "deployment"), mine);
    assert_eq!(list(&site, &["--target", "moon"]), [Value::Null; 0]);
    let serving = Serving::start(&site);
    let token = std::fs::read_to_string(site.data().join("token")).unwrap();
    let path = format!("/api/v1/deployments?target=local&repository={there}");
    let (status, page) = serving.ask("GET", &path, token.trim(), "");
    assert_eq!(
        (status, &page["items"][0]["repository"]),
        (200, &json!(there)),
        "{page}"
    );
    assert_eq!(page["items"].as_array().unwrap().len(), 1, "{page}");
    serving.end();
    site.matrix(&["deployment", "rollback", &theirs])
        .expect(0)
        .says("nothing was there before");
    assert_eq!(states(&site), ["rolled_back", "active"], "mine stays");
}
