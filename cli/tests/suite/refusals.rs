//! What is refused before a run exists, and what ends one early.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use crate::site::{CHECKS, HARMLESS, Site, finish, plan};

/// A run and an approval that no directory has.
const NO_RUN: &str = "run_01m7ytny0fftdsep6vdqmsf35m";

#[test]
fn a_repository_that_cannot_be_used_is_refused() {
    let site = Site::bare();
    site.change(plan(HARMLESS)).expect(2).says("REPO-0001");
    fs::create_dir(site.repository()).unwrap();
    site.change(plan(HARMLESS)).expect(2).says("REPO-0002");
    site.git(&["init", "--quiet", "--initial-branch=main"]);
    site.change(plan(HARMLESS)).expect(2).says("REPO-0003");
    site.write("a.txt", "a\n");
    site.commit();
    let elsewhere = plan(HARMLESS).replace("base: main", "base: nowhere");
    site.change(elsewhere)
        .expect(2)
        .says("REPO-0004")
        .says("nowhere");
    let option = plan(HARMLESS).replace("base: main", "base: '--upload-pack=x'");
    site.change(option).expect(2).says("PLAN-0003");
    let strange = site.path("").join(OsStr::from_bytes(b"caf\xe9"));
    fs::rename(site.repository(), &strange).unwrap();
    let plan = site.plan_file(plan(HARMLESS));
    let mut command = site.command(&["change", "run", "--json", "--plan"]);
    command.arg(plan).arg("--repo").arg(strange);
    finish(command).expect(2).says("UTF-8");
    assert_eq!(site.runs(), [""; 0], "no run was made");
}

#[test]
fn uncommitted_work_is_neither_used_nor_touched() {
    let site = Site::small(CHECKS);
    site.write("state.txt", "bad\n");
    site.write("untracked.txt", "mine\n");
    site.change(plan(HARMLESS)).expect(0);
    let status = site.git(&["status", "--porcelain"]);
    assert_eq!(status, " M state.txt\n?? untracked.txt\n");
}

#[test]
fn a_plan_that_cannot_be_read_is_refused_with_its_place() {
    let site = Site::small(CHECKS);
    let misspelt = plan(HARMLESS).replace("goal:", "gaol:");
    site.change(misspelt)
        .expect(2)
        .says("plan.yaml:3:1")
        .says("`goal`");
    site.change("version: 1\n  title: [x\n")
        .expect(2)
        .says("plan.yaml:2:8");
    site.change("").expect(2).says("empty");
    site.change([0xff, 0xfe, b'\n']).expect(2).says("UTF-8");
    let json = site.path("plan.json");
    fs::write(&json, "{\"version\": 1,\n \"title\": }").unwrap();
    finish(site.change_of(&json))
        .expect(2)
        .says("plan.json:2:11");
    fs::write(&json, "{\"version\": 1,\n \"titel\": \"x\"}").unwrap();
    finish(site.change_of(&json))
        .expect(2)
        .says("plan.json:2:2")
        .says("`title`");
    for path in ["/", "/dev/zero", "/nowhere/plan.yaml"] {
        finish(site.change_of(path.as_ref())).expect(2).says("[");
    }
    let deep = format!("version: {}1{}\n", "[".repeat(5000), "]".repeat(5000));
    site.change(deep).expect(2);
    let aliases = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n";
    site.change(aliases).expect(2);
    assert!(
        !site.data().exists(),
        "a bad plan touches no data directory"
    );
}

#[test]
fn json_and_yaml_are_the_same_plan() {
    let site = Site::small(CHECKS);
    let json = site.path("plan.json");
    let text = r#"{"version": 1, "title": "A small thing", "goal": "It is there.",
        "author": {"name": "A", "email": "a@example.org"}, "base": "main",
        "operations": [{"create": {"path": "new.txt", "content": "hello\n"}}]}"#;
    fs::write(&json, text).unwrap();
    let digest = |path: &str| {
        let repository = site.repository();
        let repository = repository.to_str().unwrap();
        site.matrix(&[
            "change", "plan", "--json", "--repo", repository, "--plan", path,
        ])
        .expect(0)
        .text("digest")
    };
    let yaml = site.plan_file(plan(HARMLESS));
    assert_eq!(
        digest(json.to_str().unwrap()),
        digest(yaml.to_str().unwrap())
    );
}

#[test]
fn a_plan_that_does_not_apply_is_refused_before_a_run_and_says_where() {
    let site = Site::small(CHECKS);
    for (operation, code, words) in [
        (
            "update: { path: text.txt, diff: \"@@\\n-nine\\n+ten\\n\" }",
            "PATCH-0006",
            "plan.yaml:7:37: operations[0].update.diff: `text.txt`: hunk 1 does not fit the file",
        ),
        (
            "delete: { path: txt.text }",
            "PATCH-0003",
            "plan.yaml:7:21: operations[0].delete.path: `txt.text`: the base revision has no such",
        ),
        (
            "delete: { path: Text.txt }",
            "PATCH-0003",
            "did you mean `text.txt`?",
        ),
        (
            "create: { path: state.txt, content: x }",
            "PATCH-0003",
            "has it already",
        ),
        (
            "move: { from: nope.txt, to: a.txt }",
            "PATCH-0003",
            "plan.yaml:7:19: operations[0].move.from: `nope.txt`",
        ),
        (
            "update: { path: state.txt, content: \"good\\n\" }",
            "PATCH-0008",
            "the patch changes nothing",
        ),
        (
            "create: { path: ../out.txt, content: x }",
            "PATCH-0001",
            "..",
        ),
        (
            "create: { path: /tmp/out.txt, content: x }",
            "PATCH-0001",
            "absolute",
        ),
        (
            "create: { path: .GIT/config, content: x }",
            "PATCH-0001",
            "git",
        ),
        (
            "create: { path: a/../../b, content: x }",
            "PATCH-0001",
            "..",
        ),
    ] {
        let text = plan(&format!("  - {operation}\n"));
        let refused = site.change(&text).expect(2).says(words);
        let error = &refused.json()["error"];
        assert_eq!(error["code"], code, "{operation}: {error}");
        assert_eq!(error["faults"][0]["line"], 7, "{operation}: {error}");
        let file = site.plan_file(&text);
        let mut command = site.command(&["change", "plan", "--repo"]);
        command.arg(site.repository()).arg("--plan").arg(file);
        finish(command).expect(2).says(words);
    }
    let block = "  - update:\n      path: text.txt\n      diff: |\n        @@ @@\n        -one\n        \
                 +1\n        @@ @@\n        -drei\n        +3\n";
    site.change(plan(block))
        .expect(2)
        .says("plan.yaml:13:9: operations[0].update.diff: `text.txt`: hunk 2");
    assert_eq!(site.runs(), [""; 0], "no run was made");
}

#[test]
fn binary_files_links_and_strange_names_are_carried_along() {
    let site = Site::small(CHECKS);
    let bytes: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    site.write("picture.bin", &bytes);
    let strange = site.repository().join(OsStr::from_bytes(b"caf\xe9.txt"));
    fs::write(&strange, "strange\n").unwrap();
    symlink("/etc/passwd", site.repository().join("link")).unwrap();
    site.commit();
    let done = site.change(plan(HARMLESS)).expect(0);
    let tree = site.data().join("registry.git");
    let tree = tree.to_str().unwrap();
    let commit = done.text("commit");
    let names = site.git(&["--git-dir", tree, "ls-tree", "--name-only", &commit]);
    assert!(names.contains("\"caf\\351.txt\""), "{names}");
    assert!(
        names.contains("picture.bin") && names.contains("link"),
        "{names}"
    );

    let diff = "  - update: { path: picture.bin, diff: \"@@\\n-a\\n+b\\n\" }\n";
    site.change(plan(diff)).expect(2).says("binary");
    let through = "  - update: { path: link, content: \"x\\n\" }\n";
    site.change(plan(through)).expect(2).says("symbolic link");
    let whole = "  - move: { from: picture.bin, to: image.bin }\n";
    let done = site.change(plan(whole)).expect(8);
    assert_eq!(done.text("risk"), "medium", "nobody can read a binary file");
}

#[test]
fn a_large_file_is_carried_along() {
    let site = Site::small(CHECKS);
    site.write("large.dat", vec![b'x'; 100 << 20]);
    site.commit();
    site.change(plan(HARMLESS)).expect(0);
}

#[test]
fn a_bad_matrix_yaml_is_refused_with_its_place() {
    let site = Site::small("checks:\n  - { name: a, kind: style, run: x }\n");
    site.change(plan(HARMLESS))
        .expect(2)
        .says("matrix.yaml:2:")
        .says("CHANGE-0006");
    let site = Site::small(CHECKS);
    let mut command = site.change_command(plan(HARMLESS));
    command.args(["--target", "moon"]);
    finish(command).expect(2).says("`moon`").says("TARGET-0003");
}

#[test]
fn what_is_not_there_is_not_found() {
    let site = Site::small(CHECKS);
    // Without a data directory there is nothing to find.
    site.matrix(&["run", "list"]).expect(6).says("HOST-0001");
    site.matrix(&["run", "resume"]).expect(6);
    site.matrix(&["change", "approve", NO_RUN]).expect(6);
    site.change(plan(HARMLESS)).expect(0);
    for arguments in [
        &["change", "show", NO_RUN][..],
        &["change", "logs", NO_RUN],
        &["change", "approve", NO_RUN],
        &["change", "approve", "apr_01m7ytny0fftdsep6vdqmsf35m"],
        &["change", "reject", NO_RUN],
        &["run", "show", NO_RUN],
        &["run", "why", NO_RUN],
        &["run", "watch", NO_RUN],
        &["run", "cancel", NO_RUN],
        &["run", "pause", NO_RUN],
        &["run", "resume", NO_RUN],
        &["run", "retry", NO_RUN],
        &["run", "signal", NO_RUN, "hello"],
        &["artifact", "list", NO_RUN],
        &["artifact", "get", NO_RUN, "source.tar"],
        &["journal", "verify", NO_RUN],
        &["policy", "explain", NO_RUN],
        &["deployment", "rollback", "dep_01m7ytny0fftdsep6vdqmsf35m"],
        &["deployment", "stop", "dep_01m7ytny0fftdsep6vdqmsf35m"],
    ] {
        let done = site.matrix(arguments);
        assert_eq!(done.code, 6, "{arguments:?}: {done:?}");
    }
}

#[test]
fn what_is_not_understood_is_a_usage_error() {
    let site = Site::bare();
    for arguments in [
        &[][..],
        &["frobnicate"],
        &["change", "run", "--bogus"],
        &[
            "change", "run", "--repo", "x", "--plan", "y", "--watch", "--detach",
        ],
        &["change", "show", "banana"],
        &["change", "show", "dep_01m7ytny0fftdsep6vdqmsf35m"],
        &["run", "list", "--limit", "many"],
        &["serve", "--listen", "here"],
        &["user", "add", "bob", "--role", "king"],
        &["run", "list", "--after", "banana"],
        &["completions", "sh++"],
    ] {
        let done = finish(site.command_elsewhere(arguments));
        assert_eq!(done.code, 2, "{arguments:?}: {done:?}");
    }
    let role = ["user", "add", "bob", "--role", "king"];
    finish(site.command_elsewhere(&role))
        .says("roles are owner, approver, submitter, worker and client");
    let site = Site::small(CHECKS);
    let run = site.change(plan(HARMLESS)).expect(0).text("run");
    site.matrix(&["run", "signal", &run, "hello", "{"])
        .expect(2)
        .says("CLI-0003");
    site.matrix(&["change", "approve", "banana"]).expect(2);
}

#[test]
fn a_run_that_has_ended_stays_as_it_is() {
    let site = Site::small(CHECKS);
    let run = site.change(plan(HARMLESS)).expect(0).text("run");
    let before = site.show(&run);
    for arguments in [
        &["run", "cancel", &run][..],
        &["run", "pause", &run],
        &["run", "retry", &run],
        &["run", "signal", &run, "hello"],
        &["change", "approve", &run],
        &["change", "reject", &run],
    ] {
        site.matrix(arguments).expect(1);
    }
    site.matrix(&["run", "resume", &run, "--json"]).expect(0);
    site.matrix(&["run", "resume"])
        .expect(0)
        .says("nothing to resume");
    assert_eq!(site.show(&run), before);
}
