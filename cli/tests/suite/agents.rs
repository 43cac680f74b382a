//! Agents through the command line: the scripted model says what a model would say, and everything
//! else is real.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::site::{Done, Site, finish, top};

const CHECKS: &str = "checks: {lint: [{name: shape, run: 'true'}]}\n";

/// Adds a scripted model for code that says these turns.
fn scripted(site: &Site, turns: &Value) {
    let path = site.path("script.json");
    fs::write(&path, json!({ "turns": turns }).to_string()).unwrap();
    add_model(site, path.to_str().unwrap());
}

fn add_model(site: &Site, script: &str) {
    let mut command = site.command(&["model", "add", "scripted", "--provider", "scripted"]);
    command.args([
        "--script",
        script,
        "--price-input",
        "1",
        "--price-output",
        "2",
    ]);
    command.args(["--task", "code"]);
    finish(command).expect(0);
}

fn calls(each: &[(&str, Value)]) -> Value {
    let tools: Vec<Value> = each
        .iter()
        .map(|(name, arguments)| json!({ "name": name, "arguments": arguments }))
        .collect();
    json!({ "tools": tools })
}

fn run(site: &Site, agent: &str, goal: &str) -> Done {
    let mut command = site.command(&["agent", "run", agent, "--goal", goal, "--json", "--repo"]);
    command.arg(site.repository());
    finish(command)
}

/// The example with its scripted model.
fn example() -> Site {
    let site = Site::example("rust");
    let script = top().join("examples/rust/agent/fix.json");
    add_model(&site, script.to_str().unwrap());
    site
}

/// What each call of a tool gave, by the step's address.
fn outputs(site: &Site, run: &str) -> Vec<(String, Value)> {
    let shown = site.matrix(&["run", "show", run, "--journal", "--json"]);
    let shown = shown.expect(0).json();
    let entries = shown["journal"].as_array().unwrap().clone();
    let tools = entries.into_iter().filter(|entry| {
        entry["kind"] == "step_completed" && entry["path"].as_str().unwrap().starts_with("tools")
    });
    tools
        .map(|entry| {
            (
                entry["path"].as_str().unwrap().into(),
                entry["payload"].clone(),
            )
        })
        .collect()
}

#[test]
fn an_agent_mends_the_example_and_its_patch_is_what_it_wrote() {
    let site = example();
    let done = run(
        &site,
        "coder",
        "The total of a report agrees with the ledger.",
    );
    let done = done.expect(0).json();
    let result = &done["result"];
    assert!(
        result["text"]
            .as_str()
            .unwrap()
            .starts_with("Round half to even"),
        "{done}"
    );
    let files = result["patch"]["files"].as_array().unwrap();
    let files: Vec<_> = files
        .iter()
        .map(|file| file["path"].as_str().unwrap())
        .collect();
    assert_eq!(files, ["src/round.rs", "tests/half.rs"]);
    assert_eq!(result["spent"]["turns"], 6);
    let id = done["run"].as_str().unwrap();
    let seen: Vec<_> = outputs(&site, id)
        .into_iter()
        .map(|(_, payload)| payload)
        .collect();
    let tested = |payload: &&Value| payload["output"].as_str().unwrap().contains("test result:");
    let tests: Vec<_> = seen.iter().filter(tested).collect();
    assert!(tests.len() >= 2, "the tests really ran: {seen:?}");
    assert_eq!(
        tests[0]["wrote"],
        Value::Null,
        "running tests is no change: {tests:?}"
    );
    let failing = seen.iter().find(|payload| payload["failed"] == true);
    assert!(
        failing.is_some(),
        "the new test failed before the cause was mended"
    );
    // The diff, applied by git to the repository that was not touched, is the tree of the journal.
    assert_eq!(site.git(&["status", "--porcelain"]), "");
    let patch = site.matrix(&["agent", "patch", id]).expect(0).out;
    fs::write(site.path("patch"), &patch).unwrap();
    site.git(&["apply", "--index", site.path("patch").to_str().unwrap()]);
    let tree = site.git(&["write-tree"]);
    assert_eq!(tree.trim(), result["patch"]["tree"]);
    assert!(
        !site.data().join("work").join(id).exists(),
        "its work tree is left"
    );
    let used = site
        .matrix(&["model", "usage", "--by", "agent", "--json"])
        .expect(0)
        .json();
    assert_eq!(used["lines"][0]["agent"], "coder");
    assert_eq!(used["lines"][0]["calls"], 6);
    assert_eq!(used["cost"], result["spent"]["cost"]);
    site.journal_holds();
    let replayed = site.matrix(&["run", "replay", id]).expect(0);
    assert!(replayed.out.contains(id), "{}", replayed.out);
}

#[test]
fn a_goal_becomes_a_release() {
    let site = example();
    let mut command = site.command(&["change", "run", "--json", "--goal"]);
    command
        .arg("The total of a report agrees with the ledger.\n\nSee the documentation of divide.");
    command.arg("--repo").arg(site.repository());
    let change = finish(command).expect(0).json();
    assert_eq!(change["state"], "succeeded", "{change}");
    assert_eq!(change["title"], "Round half to even");
    assert_eq!(change["author"]["agent"], "coder");
    let bundle = change["bundle"].as_str().unwrap();
    site.matrix(&["verify", bundle]).expect(0);
    let commit = change["commit"].as_str().unwrap();
    let registry = site.data().join("registry.git");
    let mut log = Command::new("git");
    log.args(["log", "-1", "--format=%an|%ae|%s", commit])
        .current_dir(registry);
    let said = String::from_utf8(log.output().unwrap().stdout).unwrap();
    assert_eq!(
        said.trim(),
        "coder (agent)|coder@agents.matrix.invalid|Round half to even"
    );
    let author = change["author"]["run"].as_str().unwrap();
    let author = site
        .matrix(&["run", "show", author, "--json"])
        .expect(0)
        .json();
    assert_eq!(
        (&author["kind"], &author["state"]),
        (&json!("agent"), &json!("succeeded"))
    );
    site.journal_holds();
    // Nothing to release is no change.
    scripted(&site, &json!([{ "text": "There is nothing to do." }]));
    let mut command = site.command(&["change", "run", "--json", "--goal", "Nothing.", "--repo"]);
    command.arg(site.repository());
    let change = finish(command).expect(5).json();
    assert_eq!(change["ending"], "nothing_changed", "{change}");
}

/// Calls of tools that are not to do what they ask for, and some that are.
fn mischief(read: &str) -> Value {
    json!([
        calls(&[
            ("fly", json!({})),
            ("read_file", json!({ "path": "none.txt" })),
            ("read_file", json!({ "file": "text.txt" })),
            ("write_file", json!({ "path": "../outside.txt", "content": "x" })),
            ("write_file", json!({ "path": ".git/config", "content": "x" })),
            ("edit_file", json!({ "path": "text.txt", "old": "zzz", "new": "y" })),
            ("shell", json!({ "command": read })),
            ("shell", json!({ "command": "curl -sS -m 3 http://10.0.0.1/" })),
            ("shell", json!({ "command": "sleep 60", "timeout_seconds": 1 })),
        ]),
        calls(&[
            ("shell", json!({ "command": "ln -s /etc/passwd link; mkfifo pipe" })),
            ("shell", json!({ "command": "ls; rm -f link" })),
            ("shell", json!({ "command": "for i in $(seq 6000); do echo $i > many-$i; done" })),
            ("shell", json!({ "command": "ls | wc -l; rm text.txt; chmod +x state.txt" })),
        ]),
        { "when": "be executed", "tools": [
            { "name": "shell", "arguments": { "command": "chmod -x state.txt; echo more >> state.txt" } },
        ] },
        { "text": "Done." },
        { "text": "Done." },
        { "text": "Done indeed." },
    ])
}

#[test]
fn what_a_tool_will_not_do_is_told_to_the_model_and_nothing_leaves_the_work_tree() {
    let site = Site::small(CHECKS);
    let home = site.path("secret.txt");
    fs::write(&home, "TOP SECRET").unwrap();
    let read = format!("cat {}; cat /etc/shadow; ls /root", home.display());
    scripted(&site, &mischief(&read));
    let done = run(&site, "coder", "Try.").expect(0).json();
    let outputs = outputs(&site, done["run"].as_str().unwrap());
    assert_eq!(
        outputs.len(),
        13,
        "what does not exist is no step: {outputs:?}"
    );
    let of = |path: &str| {
        let found = outputs.iter().find(|(at, _)| at.starts_with(path));
        let (_, payload) = found.unwrap_or_else(|| panic!("{path}: {outputs:?}"));
        (
            payload["failed"] == true,
            payload["output"].as_str().unwrap().to_owned(),
        )
    };
    for (path, says) in [
        ("tools/1/", "no such file"),
        ("tools/2/", "schema"),
        ("tools/3/", "not in the work tree"),
        ("tools/4/", "ead-only"),
        ("tools/5/", "is not there"),
        ("tools/6/", "exit code"),
        ("tools/7/", "exit code"),
        ("tools/8/", "ended after 1 seconds"),
        ("tools#2/0/", "neither a file nor a directory"),
        ("tools#2/2/", "more than 5000 files"),
    ] {
        let (failed, output) = of(path);
        assert!(failed && output.contains(says), "{path}: {output}");
        assert!(
            !output.contains("TOP SECRET") && !output.contains("root:"),
            "{path}: {output}"
        );
    }
    let (_, listed) = of("tools#2/1/");
    assert!(
        !listed.contains("pipe") && !listed.contains("link"),
        "it was put back: {listed}"
    );
    assert!(
        of("tools#2/3/").1.starts_with('3'),
        "it was put back: {:?}",
        of("tools#2/3/")
    );
    let files = done["result"]["patch"]["files"].as_array().unwrap();
    let files: Vec<_> = files
        .iter()
        .map(|file| file["path"].as_str().unwrap())
        .collect();
    assert_eq!(files, ["state.txt", "text.txt"]);
    assert!(!site.path("outside.txt").exists());
}

#[test]
fn limits_end_a_run_and_say_which() {
    let site = Site::small(CHECKS);
    let turns: Vec<Value> = (0..9)
        .map(|n| calls(&[("shell", json!({ "command": format!("echo {n}") }))]))
        .collect();
    scripted(&site, &json!(turns));
    for (limits, word) in [
        ("turns: 2", "(turns)"),
        ("tool_calls: 2", "(tool_calls)"),
        ("tokens: 300", "(tokens)"),
        ("cost: '0.000001'", "(cost)"),
    ] {
        let text = format!(
            "name: short\nprompt: p\nmodel: scripted\ntools: [shell]\nlimits: {{{limits}}}\n"
        );
        fs::write(site.path("short.yaml"), text).unwrap();
        site.matrix(&["agent", "add", site.path("short.yaml").to_str().unwrap()])
            .expect(0);
        let ended = run(&site, "short", "Count.").expect(5).json();
        assert_eq!(ended["state"], "failed", "{ended}");
        assert!(
            ended["error"].as_str().unwrap().contains(word),
            "{word}: {ended}"
        );
    }
    let listed = site.matrix(&["agent", "list", "--json"]).expect(0).json();
    let short = &listed["items"][1];
    assert_eq!(
        (&short["name"], &short["version"]),
        (&json!("short"), &json!(4))
    );
    // The second version is what it was.
    let second = site
        .matrix(&["agent", "show", "short@2", "--json"])
        .expect(0)
        .json();
    assert_eq!(second["definition"]["limits"]["tool_calls"], 2);
}

#[test]
fn agents_are_added_stopped_and_removed_and_nonsense_is_refused() {
    let site = Site::small(CHECKS);
    scripted(&site, &json!([{ "text": "Hello." }]));
    let file = |text: &str| {
        fs::write(site.path("agent.yaml"), text).unwrap();
        site.matrix(&["agent", "add", site.path("agent.yaml").to_str().unwrap()])
    };
    let shown = site.matrix(&["agent", "show", "coder"]).expect(0).out;
    // What is shown can be changed and added: it takes the place of what is shipped.
    file(&shown.replace("model: task:code", "model: scripted")).expect(0);
    assert!(
        file(&shown.replace("model: task:code", "model: scripted"))
            .expect(0)
            .out
            .contains("already")
    );
    let listed = site.matrix(&["agent", "list", "--json"]).expect(0).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert_eq!(listed["items"][0]["version"], 1);
    for (text, says) in [
        ("name: a", "prompt"),
        ("name: a\nprompt: p\ntools: [fly]", "fly"),
        ("name: a\nprompt: p\nlimits: {turns: 0}", "limit of 0"),
        ("{{{", "definition"),
    ] {
        let refused = file(text).expect(2);
        assert!(refused.err.contains(says), "{text}: {}", refused.err);
    }
    site.matrix(&["agent", "stop", "coder"]).expect(0);
    let refused = run(&site, "coder", "x").expect(1);
    assert!(
        refused.err.contains("matrix agent start coder"),
        "{}",
        refused.err
    );
    site.matrix(&["agent", "start", "coder"]).expect(0);
    run(&site, "coder", "x").expect(0);
    run(&site, "nobody", "x").expect(6);
    run(&site, "coder@7", "x").expect(6);
    run(&site, "coder", " ").expect(2);
    let mut elsewhere = site.command(&["agent", "run", "coder", "--goal", "x", "--repo"]);
    elsewhere.arg(site.path("nowhere"));
    finish(elsewhere).expect(2);
    site.matrix(&["agent", "remove", "coder"]).expect(0);
    site.matrix(&["agent", "remove", "coder"]).expect(6);
    // What is shipped is there again.
    let shown = site
        .matrix(&["agent", "show", "coder", "--json"])
        .expect(0)
        .json();
    assert_eq!(shown["version"], 0);
}

#[test]
fn a_fork_goes_on_from_the_files_as_they_were_and_pays_only_for_what_is_new() {
    let site = example();
    let first = run(
        &site,
        "coder",
        "The total of a report agrees with the ledger.",
    );
    let first = first.expect(0).json();
    let id = first["run"].as_str().unwrap();
    // From the answer that follows the failing test on.
    let forked = site.matrix(&["run", "fork", id, "--step", "model#4", "--json"]);
    let forked = forked.expect(0).json();
    assert_eq!(
        forked["result"]["patch"], first["result"]["patch"],
        "{forked}"
    );
    assert_ne!(forked["run"], first["run"]);
    let used = site.matrix(&["model", "usage", "--json"]).expect(0).json();
    assert_eq!(used["lines"][0]["calls"], 6 + 3, "{used}");
    site.journal_holds();
}

#[test]
fn an_agent_reads_what_it_is_told_meanwhile() {
    let site = Site::small(CHECKS);
    scripted(
        &site,
        &json!([
            { "when": "two teams", "text": "As you say." },
            calls(&[("shell", json!({ "command": "while ! [ -e go ]; do sleep 0.05; done" }))]),
            { "text": "Nobody said anything." },
        ]),
    );
    let mut command = site.command(&["agent", "run", "coder", "--goal", "x", "--detach", "--repo"]);
    command.arg(site.repository());
    let id = finish(command).expect(0).out.trim().to_owned();
    let begun = |site: &Site| {
        let shown = site.matrix(&["run", "show", &id, "--journal"]).expect(0);
        shown.out.contains("shell#1")
    };
    while !begun(&site) {}
    site.matrix(&["agent", "tell", &id, "There are two teams."])
        .expect(0);
    let work = fs::read_dir(site.data().join("work").join(&id)).unwrap();
    for tree in work {
        fs::write(tree.unwrap().path().join("go"), "").unwrap();
    }
    let ended = site
        .matrix(&["run", "watch", &id, "--json"])
        .expect(0)
        .json();
    assert_eq!(ended["result"]["text"], "As you say.", "{ended}");
    site.matrix(&["run", "replay", &id]).expect(0);
    site.matrix(&["agent", "tell", &id, "Too late."]).expect(1);
    site.matrix(&["agent", "tell", &id, " "]).expect(2);
}
