//! Those who are asked: the provider itself, our server before it, and two peers before it. Each
//! ends when it is dropped.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use crate::bench::node;
use crate::bench::serve::{free_port, resident_kb, until_alive};
use crate::process;
use crate::tools;
use crate::workspace::Workspace;

/// How long a server may take until it answers; one of them compiles a lot of Python first.
const PATIENCE: Duration = Duration::from_mins(3);

/// How often it is asked.
const INTERVAL: Duration = Duration::from_millis(50);

const REQUIREMENTS: &str = "xtask/peers/models/requirements.txt";

/// The peer wants a key that is hard to guess.
const KEY: &str = "sk-bench-8f3a61c0b7d24e95a1d3";

/// What the model costs, in US dollars for a token that is read and one that is written.
const PRICES: (f64, f64) = (0.15e-6, 0.6e-6);

/// Somebody who answers as `OpenAI`'s chat completions do.
pub(super) struct Gateway {
    /// What the tables call it.
    pub(super) name: &'static str,
    /// Whose processor time counts.
    server: Running,
    /// The bytes it held when it first answered, and before the first question.
    pub(super) held: (f64, f64),
    /// `ADDRESS:PORT`.
    address: String,
    token: String,
    headers: Vec<String>,
}

impl Gateway {
    fn new(name: &'static str, server: Running, port: u16, token: &str) -> Result<Self> {
        Ok(Self {
            name,
            held: (server.held, held(&server.child)?),
            server,
            address: format!("127.0.0.1:{port}"),
            token: token.to_owned(),
            headers: Vec::new(),
        })
    }

    /// Where others ask it: the part of its address that clients add their paths to.
    fn base(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The words that tell a client how to ask for a model.
    pub(super) fn words(&self, model: &str) -> Vec<String> {
        let mut words = vec![
            format!("{}/chat/completions", self.base()),
            self.token.clone(),
            model.to_owned(),
            "--pid".to_owned(),
            self.server.child.id().to_string(),
        ];
        for header in &self.headers {
            words.extend(["--header".to_owned(), header.clone()]);
        }
        words
    }
}

/// A process that ends with us.
struct Running {
    child: Child,
    /// The bytes it held when it first answered.
    held: f64,
}

fn held(child: &Child) -> Result<f64> {
    Ok(f64::from(u32::try_from(resident_kb(child.id())?)?) * 1024.0)
}

impl Running {
    fn start(command: &mut Command) -> Result<Self> {
        let quiet = command.stdin(Stdio::null()).stderr(Stdio::null());
        let started = quiet.spawn();
        let child =
            started.with_context(|| format!("cannot start `{}`", process::describe(command)))?;
        Ok(Self { child, held: 0.0 })
    }

    fn answering(command: &mut Command, at: (u16, &str)) -> Result<Self> {
        let mut running = Self::start(command.stdout(Stdio::null()))?;
        until_alive(&mut running.child, at, PATIENCE, INTERVAL)?;
        running.held = held(&running.child)?;
        Ok(running)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The provider, asked by nobody but us.
pub(super) fn provider(program: &Path) -> Result<Gateway> {
    let mut command = Command::new(program);
    command.args(["mock", "127.0.0.1:0"]).stdout(Stdio::piped());
    let mut running = Running::start(&mut command)?;
    let said = running
        .child
        .stdout
        .take()
        .context("the provider is mute")?;
    let mut address = String::new();
    BufReader::new(said).read_line(&mut address)?;
    let port = address.trim().rsplit(':').next().unwrap_or_default();
    let port = port.parse().context("the provider did not start")?;
    running.held = held(&running.child)?;
    Gateway::new("the provider itself", running, port, "none")
}

/// `matrix serve` with a price, a budget, a route that keeps answers, and a client's token.
pub(super) fn matrix(program: &Path, folder: &Path, provider: &Gateway) -> Result<Gateway> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    let port = free_port()?;
    let mut command = Command::new(program);
    command.args(["serve", "--listen", &format!("127.0.0.1:{port}")]);
    command.arg("--data-dir").arg(folder);
    let running = Running::answering(&mut command, (port, "/livez"))?;
    let say = |words: &str, more: &[&str]| {
        let mut command = Command::new(program);
        command.args(words.split(' ')).args(more);
        process::read(command.arg("--data-dir").arg(folder))
    };
    let prices = [PRICES.0, PRICES.1].map(|price| format!("{:.2}", price * 1e6));
    say(
        "model add bench --provider openai_compatible --private --model mock --context 128000 \
         --max-output 16000",
        &[
            "--base-url",
            &provider.base(),
            "--price-input",
            &prices[0],
            "--price-output",
            &prices[1],
        ],
    )?;
    say(
        "model budget set workspace --period month --money 1000000",
        &[],
    )?;
    say("model route kept --to bench --cache-seconds 3600", &[])?;
    let token = say("user add bench --role client", &[])?;
    Gateway::new("Matrix", running, port, token.trim())
}

/// Portkey's gateway, which has no accounts, budgets or prices of its own: with each question it is
/// told where to go.
pub(super) fn portkey(workspace: &Workspace, provider: &Gateway) -> Result<Gateway> {
    let start = "node_modules/@portkey-ai/gateway/build/start-server.js";
    let script = node::install(workspace, "models")?.join(start);
    let port = free_port()?;
    let mut command = Command::new(node::program()?);
    command.arg(script).arg(format!("--port={port}"));
    command.arg("--headless").env("NODE_ENV", "production");
    let running = Running::answering(&mut command, (port, "/"))?;
    let mut gateway = Gateway::new("Portkey", running, port, "none")?;
    gateway.headers = vec![
        "x-portkey-provider=openai".to_owned(),
        format!("x-portkey-custom-host={}", provider.base()),
    ];
    Ok(gateway)
}

/// `LiteLLM`'s proxy with one worker, one key and a price; it counts budgets only with a database, which
/// it does not get.
pub(super) fn litellm(workspace: &Workspace, folder: &Path, provider: &Gateway) -> Result<Gateway> {
    let programs = tools::environment(workspace, "peers-litellm", &[REQUIREMENTS])?.join("bin");
    let port = free_port()?;
    let mut command = Command::new(programs.join("litellm"));
    command.arg("--config").arg(settings(folder, provider)?);
    command.args(["--host", "127.0.0.1", "--port", &port.to_string()]);
    command.args(["--num_workers", "1", "--telemetry", "False"]);
    // It would fetch prices from its project's repository otherwise, and write a line for each call.
    command.env("LITELLM_LOCAL_MODEL_COST_MAP", "True");
    command.env("LITELLM_LOG", "ERROR");
    let running = Running::answering(&mut command, (port, "/health/liveliness"))?;
    Gateway::new("LiteLLM", running, port, KEY)
}

/// What `LiteLLM` reads. JSON is YAML.
fn settings(folder: &Path, provider: &Gateway) -> Result<PathBuf> {
    let settings = json!({
        "model_list": [{
            "model_name": "bench",
            "litellm_params": {
                "model": "openai/mock", "api_base": provider.base(), "api_key": "none",
                "input_cost_per_token": PRICES.0, "output_cost_per_token": PRICES.1,
            },
        }],
        "general_settings": { "master_key": KEY },
    });
    fs::create_dir_all(folder)?;
    let file = folder.join("litellm.yaml");
    fs::write(&file, settings.to_string())?;
    Ok(file)
}
