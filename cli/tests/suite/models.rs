//! Models through the command line, and through clients that know nothing of us.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::serving::Serving;
use crate::site::Site;

const CHECKS: &str = "checks: {lint: [{name: shape, run: 'true'}]}\n";

fn site_with_a_script() -> Site {
    let site = Site::small(CHECKS);
    let script = json!({ "turns": [
        { "when": "weather", "text": "Let me look.", "tools": [
            { "name": "get_weather", "arguments": { "city": "Paris" } },
            { "name": "get_weather", "arguments": { "city": "Rome" } },
        ] },
        { "when": "sunny", "text": "It is sunny." },
        { "when": "think", "reasoning": "Let me think.", "text": "Thought." },
        { "when": "fail", "error": { "status": 500, "message": "broken on purpose" } },
        { "when": "refuse", "error": { "status": 401, "message": "who are you" } },
        { "when": "busy", "error": { "status": 429, "message": "too many" } },
        { "text": "Hello, I was written before." },
    ] });
    fs::write(site.path("script.json"), script.to_string()).unwrap();
    let script = site.path("script.json");
    site.matrix(&[
        "model",
        "add",
        "demo",
        "--provider",
        "scripted",
        "--script",
        script.to_str().unwrap(),
        "--price-input",
        "1",
        "--price-output",
        "2",
        "--task",
        "general",
    ])
    .expect(0);
    site
}

/// Where `cargo xtask test` put the clients: beside the other tools.
#[expect(
    clippy::disallowed_methods,
    reason = "only the test command knows where it put them"
)]
fn clients(name: &str) -> PathBuf {
    let tools = std::env::var_os("MATRIX_TEST_TOOLS")
        .unwrap_or_else(|| panic!("MATRIX_TEST_TOOLS is not set: run `cargo xtask test`"));
    PathBuf::from(tools).parent().unwrap().join(name)
}

fn source(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(name)
}

#[track_caller]
fn succeed(mut command: Command) {
    let done = command.stdin(Stdio::null()).output().unwrap();
    let (said, complained) = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    assert!(done.status.success(), "{said}\n{complained}");
}

#[test]
fn clients_of_model_providers_work_unchanged() {
    let site = site_with_a_script();
    let serving = Serving::start(&site);
    let base = format!("http://{}", serving.address);
    let token = fs::read_to_string(site.data().join("token")).unwrap();
    let token = token.trim();
    for script in [
        "openai_client.py",
        "anthropic_client.py",
        "langchain_client.py",
    ] {
        let mut command = Command::new(clients("test-clients").join("bin/python"));
        command.arg(source(script)).args([base.as_str(), token]);
        succeed(command);
    }
    // Modules are looked for beside the program.
    let packages = clients("test-clients-js");
    let program = site.path("clients.mjs");
    fs::copy(source("clients.mjs"), &program).unwrap();
    std::os::unix::fs::symlink(packages.join("node_modules"), site.path("node_modules")).unwrap();
    let mut command = Command::new("node");
    command.arg(program).args([base.as_str(), token]);
    succeed(command);
    serving.end();
}

#[test]
fn a_model_is_added_asked_counted_and_removed() {
    let site = site_with_a_script();
    site.matrix(&["model", "ask", "demo", "Hi"])
        .expect(0)
        .says("Hello, I was written before.");
    site.matrix(&["model", "ask", "auto", "Hi"]).expect(0);
    let listed = site.matrix(&["model", "list", "--json"]).expect(0).json();
    assert_eq!(listed["models"][0]["price"]["input"], 1_000_000);
    let used = site.matrix(&["model", "usage", "--by", "principal,model", "--json"]);
    let used = used.expect(0).json();
    assert_eq!(used["lines"][0]["calls"], 2);
    assert_eq!(used["lines"][0]["model"], "demo");
    site.matrix(&["model", "route", "any", "--to", "demo"])
        .expect(0);
    site.matrix(&["model", "ask", "any", "Hi"]).expect(0);
    site.matrix(&["model", "remove", "demo"]).expect(0);
    site.matrix(&["model", "ask", "demo", "Hi"])
        .expect(6)
        .says("MODEL-0001");
}

#[test]
fn a_budget_that_is_spent_stops_calls_and_says_whose_it_is() {
    let site = site_with_a_script();
    site.matrix(&["model", "budget", "set", "workspace", "--tokens", "20"])
        .expect(0);
    site.matrix(&["model", "ask", "demo", "Hi", "--max-tokens", "10"])
        .expect(0);
    site.matrix(&["model", "ask", "demo", "Hi", "--max-tokens", "10"])
        .expect(4)
        .says("MODEL-0006")
        .says("workspace");
    let listed = site.matrix(&["model", "budget", "list", "--json"]);
    let listed = listed.expect(0).json();
    let budget = &listed["budgets"][0];
    assert!(budget["tokens_spent"].as_u64().unwrap() <= 20, "{budget}");
    site.matrix(&["model", "budget", "remove", "workspace"])
        .expect(0);
    site.matrix(&["model", "ask", "demo", "Hi"]).expect(0);
}

#[test]
fn what_the_operator_says_of_models_holds_and_is_checked() {
    let site = site_with_a_script();
    let file = site.path("config.toml");
    let asking = |text: &str, name: &str| {
        fs::write(&file, text).unwrap();
        let config = file.to_str().unwrap();
        let question = "Write to ada@example.org";
        site.matrix(&["model", "ask", name, question, "--config", config])
    };
    let blocks = "[models.guard]\nredact = { email = \"block\" }\n";
    let refused = asking(blocks, "demo").expect(4).says("MODEL-0015");
    let refused = refused.says("message 0, part 0").says("`email`");
    assert!(!refused.err.contains("ada@"), "{}", refused.err);
    asking("", "demo").expect(0).says("written before");

    // A route may be stricter, and knows only words that there are.
    let route = |rule: &str| {
        let words = ["model", "route", "strict", "--to", "demo", "--redact", rule];
        site.matrix(&words)
    };
    route("mail=block")
        .expect(2)
        .says("is none of secrets, personal");
    route("email=forbid").expect(2).says("MODEL-0002");
    route("personal=block").expect(0);
    asking("", "strict").expect(4).says("MODEL-0015");

    for (text, why) in [
        ("[models]\nguards = {}\n", "unknown field `guards`"),
        (
            "[models.guard]\nredact = { mail = \"block\" }\n",
            "is none of secrets",
        ),
        ("[models]\nkeys_from = [\"OPENAI\"]\n", "`env:NAME`"),
        (
            "[models.hook]\nurl = \"http://dlp.example.org/\"\n",
            "is not encrypted",
        ),
        ("[models]\nca = \"ca.pem\"\n", "from the root"),
        ("[models]\nca = \"/no/such/file\"\n", "cannot be read"),
        ("[models]\nca = \"/dev/null\"\n", "holds no certificate"),
    ] {
        asking(text, "demo").expect(2).says("CONFIG-0001").says(why);
    }
    let key = ["--provider", "openai", "--key", "env:PGPASSWORD"];
    let words = ["model", "add", "x"].into_iter().chain(key);
    let words: Vec<&str> = words.collect();
    site.matrix(&words)
        .expect(2)
        .says("`keys_from` under [models]");
}

#[test]
fn what_is_wrong_with_a_model_is_said_and_keys_are_never_repeated() {
    let site = Site::small(CHECKS);
    let refused = |more: &[&str]| {
        let mut words = vec!["model", "add", "x"];
        words.extend(more);
        site.matrix(&words).expect(2)
    };
    let key = refused(&["--provider", "openai", "--key", "sk-secret-1234"]);
    let key = key.says("env:NAME");
    assert!(!key.err.contains("sk-secret-1234"), "{}", key.err);
    refused(&["--provider", "openai_compatible"]).says("base_url");
    refused(&["--provider", "scripted"]).says("script");
    let inside = "http://169.254.169.254/v1";
    refused(&[
        "--provider",
        "openai_compatible",
        "--private",
        "--base-url",
        inside,
    ])
    .says("MODEL-0002");
    refused(&["--provider", "nobody"]).says("openai_compatible");
    site.matrix(&["model", "route", "r", "--to", "nobody"])
        .expect(6)
        .says("MODEL-0001");
    site.matrix(&["model", "budget", "set", "everybody", "--money", "1"])
        .expect(2)
        .says("key:service:ci");
}

#[test]
fn ranking_and_refusals_are_told_in_the_words_of_the_protocol() {
    let site = site_with_a_script();
    let serving = Serving::start(&site);
    let token = fs::read_to_string(site.data().join("token")).unwrap();
    let token = token.trim();
    let ranked = json!({
        "model": "demo", "query": "the cat", "documents": ["a dog", { "text": "the cat sat" }],
        "top_n": 1, "return_documents": true,
    });
    let (status, body) = serving.ask("POST", "/v1/rerank", token, &ranked.to_string());
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["results"].as_array().unwrap().len(), 1);
    assert_eq!(body["results"][0]["index"], 1);
    assert_eq!(body["results"][0]["document"]["text"], "the cat sat");
    let asked = json!({ "model": "demo", "messages": [{ "role": "user", "content": "Hi" }] });
    let label = [("x-matrix-project", "my project")];
    let path = "/v1/chat/completions";
    let refused = serving.send("POST", path, token, &label, &asked.to_string());
    let (status, body) = refused.unwrap();
    assert_eq!(status, 400, "{body}");
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.contains("x-matrix-project"), "{message}");
    let (status, body) = serving.ask("POST", path, "nobody", &asked.to_string());
    assert_eq!(
        (status, &body["error"]["type"]),
        (401, &json!("authentication_error"))
    );
    let (status, body) = serving.ask("POST", "/v1/messages", "nobody", "{}");
    assert_eq!((status, &body["type"]), (401, &json!("error")));
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let (status, body) = serving.ask("POST", path, token, &deep);
    assert_eq!((status, &body["error"]["code"]), (400, &json!("HTTP-0008")));
    serving.end();
}

#[test]
fn a_key_that_is_refused_is_shown_until_it_is_tried_out_and_accepted() {
    let site = site_with_a_script();
    let health = || {
        let listed = site.matrix(&["model", "list", "--json"]).expect(0).json();
        listed["models"][0]["health"].clone()
    };
    assert_eq!(health(), json!(null), "nobody has seen it");
    let serving = Serving::start(&site);
    assert_eq!(health(), "ok");
    site.matrix(&["model", "ask", "demo", "Please refuse"])
        .expect(1)
        .says("MODEL-0011");
    assert_eq!(health(), "key_refused");
    site.matrix(&["model", "list"])
        .expect(0)
        .says("key_refused");
    site.matrix(&["model", "ask", "demo", "Hi"])
        .expect(1)
        .says("refused the key");
    site.matrix(&["model", "test", "demo"]).expect(0);
    assert_eq!(health(), "ok");
    site.matrix(&["model", "ask", "demo", "Hi"]).expect(0);
    serving.end();
}
