//! Help, configuration, JSON everywhere.

use std::fs;

use serde_json::Value;

use crate::site::{CHECKS, HARMLESS, Site, finish, plan};

/// Every command with the help that it gives, as it was when somebody last looked at it.
#[test]
fn help_is_what_it_was() {
    let site = Site::bare();
    let mut all = String::new();
    let mut waiting = vec![Vec::<String>::new()];
    while let Some(names) = waiting.pop() {
        let mut arguments: Vec<&str> = names.iter().map(String::as_str).collect();
        arguments.push("-h");
        let done = finish(site.command_elsewhere(&arguments)).expect(0);
        all += &["$ matrix ", &arguments.join(" "), "\n", &done.out, "\n"].concat();
        let commands = done
            .out
            .split_once("Commands:\n")
            .map_or("", |(_, rest)| rest);
        let inner: Vec<_> = commands
            .lines()
            .take_while(|line| !line.is_empty())
            .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
            .filter_map(|line| line.split_whitespace().next())
            .filter(|name| *name != "help")
            .map(|name| [names.clone(), vec![name.to_owned()]].concat())
            .collect();
        waiting.extend(inner.into_iter().rev());
    }
    insta::assert_snapshot!(all);
}

#[test]
fn every_command_answers_in_json() {
    let site = Site::small(CHECKS);
    let done = site.change(plan(HARMLESS)).expect(0);
    let change = done.json();
    for key in [
        "run",
        "state",
        "risk",
        "verdict",
        "evidence",
        "release",
        "deployment",
        "bundle",
        "key",
    ] {
        assert!(change.get(key).is_some(), "no `{key}`: {change}");
    }
    for evidence in change["evidence"].as_array().unwrap() {
        for key in ["kind", "status", "reason"] {
            assert!(evidence.get(key).is_some(), "no `{key}`: {evidence}");
        }
    }
    let key = fs::read_to_string(done.text("key")).unwrap();
    assert!(key.starts_with("-----BEGIN PUBLIC KEY-----"), "{key}");
    let (run, bundle) = (done.text("run"), done.text("bundle"));
    let copy = site.path("copy").to_string_lossy().into_owned();
    for arguments in [
        &["change", "show", &run][..],
        &["change", "list"],
        &["change", "logs", &run],
        &["run", "list"],
        &["run", "show", &run],
        &["run", "show", &run, "--journal"],
        &["run", "why", &run],
        &["run", "watch", &run],
        &["run", "resume", &run],
        &["run", "resume"],
        &["verify", &bundle],
        &["journal", "verify"],
        &["journal", "verify", &run],
        &["artifact", "list", &run],
        &["deployment", "list"],
        &["signing-key", "list"],
        &["signing-key", "rotate"],
        &["user", "add", "bob"],
        &["user", "list"],
        &["policy", "explain"],
        &["policy", "explain", &run],
        &["policy", "explain", "--built-in"],
        &["artifact", "get", &run, "patch.diff"],
        &["artifact", "get", &run, "patch.diff", "--output", &copy],
        &["config", "show"],
        &["doctor"],
    ] {
        let mut all = arguments.to_vec();
        all.push("--json");
        let done = site.matrix(&all);
        assert_eq!(done.code, 0, "{all:?}: {done:?}");
        let last = done.out.lines().last().unwrap_or_default();
        let value: Value = serde_json::from_str(last)
            .unwrap_or_else(|error| panic!("{all:?}: {error}: {}", done.out));
        assert!(value.is_object(), "{all:?}: {value}");
    }
}

#[test]
fn a_refusal_is_json_too() {
    let site = Site::small(CHECKS);
    let done = site.change("version: 2\n").expect(2);
    let refused = done.json();
    assert!(
        refused["error"]["code"]
            .as_str()
            .unwrap()
            .starts_with("PLAN-"),
        "{refused}"
    );
    let fault = &refused["error"]["faults"][0];
    assert_eq!(fault["line"], 1, "{refused}");
    let misused = site.matrix(&["run", "lost", "--json"]).expect(2).json();
    assert_eq!(misused["error"]["code"], "CLI-0005", "{misused}");
    let missing = site.matrix(&["run", "list", "--json"]).expect(6).json();
    assert_eq!(missing["error"]["code"], "HOST-0001", "{missing}");
}

#[test]
fn every_value_knows_where_it_came_from() {
    let site = Site::bare();
    let file = site.path("config.toml");
    fs::write(
        &file,
        "sandboxes = 3\nlog_format = 'json'\nlisten = '127.0.0.1:1'\n",
    )
    .unwrap();
    let arguments = [
        "config",
        "show",
        "--json",
        "--log-format",
        "human",
        "--config",
    ];
    let mut command = site.command(&arguments);
    command.arg(&file).env("MATRIX_LISTEN", "127.0.0.1:2");
    let config = finish(command).expect(0).json();
    assert_eq!(config["log_format"]["value"], "human");
    assert_eq!(config["log_format"]["origin"]["flag"], "--log-format");
    assert_eq!(config["listen"]["value"], "127.0.0.1:2");
    assert_eq!(config["listen"]["origin"]["environment"], "MATRIX_LISTEN");
    assert_eq!(config["sandboxes"]["value"], 3);
    assert_eq!(
        config["sandboxes"]["origin"]["file"],
        file.to_str().unwrap()
    );
    assert_eq!(config["log_level"]["origin"], "default");
    let mut command = site.command(&["config", "show", "--origin"]);
    command.env("MATRIX_LOG", "info");
    finish(command).expect(0).says("environment MATRIX_LOG");
}

#[test]
fn a_configuration_that_cannot_be_used_is_refused() {
    let site = Site::bare();
    let file = site.path("config.toml");
    for (text, words) in [
        ("listne = 'x'\n", "config.toml:1:1: unknown field `listne`"),
        ("sandboxes = 'many'\n", "config.toml:1:13"),
        ("sandboxes = 0\n", "sandboxes is 0"),
        ("log_level = 'a'\nlisten = [\n", "config.toml:2:"),
    ] {
        fs::write(&file, text).unwrap();
        let mut command = site.command(&["config", "show", "--config"]);
        command.arg(&file);
        finish(command).expect(2).says("CONFIG-0001").says(words);
    }
    let named = site.path("nowhere.toml");
    let mut command = site.command(&["config", "show", "--config"]);
    command.arg(&named);
    finish(command).expect(2);
    for (name, value) in [
        ("MATRIX_LISTEN", "x"),
        ("MATRIX_SANDBOXES", "many"),
        ("MATRIX_SANDBOXES", "0"),
        ("MATRIX_SANDBOXES", "99999999999999"),
        ("MATRIX_LOG_FORMAT", "x"),
    ] {
        let mut command = site.command(&["config", "show"]);
        command.env(name, value);
        finish(command).expect(2).says(name);
    }
}

#[test]
fn a_list_comes_a_part_at_a_time() {
    let site = Site::small(CHECKS);
    for _ in 0..3 {
        site.change(plan(HARMLESS)).expect(0);
    }
    let all = site.runs();
    assert_eq!(all.len(), 3);
    for noun in ["run", "change"] {
        let (mut seen, mut after) = (Vec::new(), None::<String>);
        loop {
            let mut arguments = vec![noun, "list", "--limit", "2", "--json"];
            arguments.extend(after.iter().flat_map(|id| ["--after", id]));
            let part = site.matrix(&arguments).expect(0).json();
            let runs = part["runs"].as_array().unwrap();
            seen.extend(
                runs.iter()
                    .map(|run| run["run"].as_str().unwrap().to_owned()),
            );
            after = part["next"].as_str().map(str::to_owned);
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, all, "{noun}");
    }
    let whole = site
        .matrix(&["run", "list", "--limit", "3", "--json"])
        .expect(0);
    assert!(whole.json()["next"].is_null(), "{whole:?}");
    let told = site.matrix(&["run", "list", "--limit", "1"]).expect(0);
    assert!(
        told.err.contains(&format!("--after {}", all[0])),
        "{told:?}"
    );
    for limit in ["0", "501", "-1", ""] {
        site.matrix(&["run", "list", "--limit", limit]).expect(2);
    }
    site.matrix(&["deployment", "list", "--limit", "1", "--json"])
        .expect(0);
}

#[test]
fn the_doctor_says_where_everything_is() {
    let site = Site::small(CHECKS);
    let file = site.path("config.toml");
    fs::write(&file, "sandboxes = 1\n").unwrap();
    let mut command = site.command(&["doctor", "--config"]);
    command.arg(&file);
    finish(command)
        .expect(0)
        .says(site.data().to_str().unwrap())
        .says("the flag --data-dir")
        .says(file.to_str().unwrap());
}

#[test]
fn the_demo_uses_the_directory_it_is_given() {
    let site = Site::bare();
    let done = site.matrix(&["demo", "--json"]).expect(0);
    // The change by a plan, the one by a goal, and its agent's run.
    let runs = site.runs();
    assert!(
        runs.len() == 3 && runs.contains(&done.text("run")),
        "{runs:?}"
    );
    let acts: Vec<serde_json::Value> = done
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(
        acts.iter().all(|act| act["state"] == "succeeded"),
        "{acts:?}"
    );
    assert_eq!(acts[1]["author"]["agent"], "coder");
    assert!(
        done.text("bundle")
            .starts_with(site.data().to_str().unwrap())
    );
}

#[test]
fn shells_complete() {
    let site = Site::bare();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let done = finish(site.command_elsewhere(&["completions", shell])).expect(0);
        assert!(
            done.out.contains("matrix") && done.out.contains("signing-key"),
            "{shell}"
        );
        assert!(!done.out.contains("__host"), "{shell} shows what is hidden");
    }
}

#[test]
fn the_version_is_told() {
    let site = Site::bare();
    let done = finish(site.command_elsewhere(&["--version"])).expect(0);
    assert_eq!(done.out, format!("matrix {}\n", env!("CARGO_PKG_VERSION")));
}
