//! What a gateway to models costs: a provider that costs almost nothing, and clients that measure.
//!
//! ```text
//! cargo run --release -p matrix-server --example model_load -- mock ADDRESS
//! cargo run --release -p matrix-server --example model_load -- load URL TOKEN MODEL \
//!     --connections N [--rate R] --warm S --seconds S [--stream CHUNKS] [--header NAME=VALUE]… --pid PID
//! ```
//!
//! `mock` answers every `POST` as `OpenAI`'s chat completions do: with one text, or, when a stream is
//! asked for, with as many chunks as `max_tokens` says, the first at once and the others apart. It
//! prints its address. `load` asks over so many connections that are kept, for `--warm` seconds
//! uncounted and then for `--seconds`, and prints one JSON object ([`figures`] says what is in it);
//! the processor time and the memory are those of the process PID and its children. Without `--rate`
//! each connection asks again as soon as it was answered. With it, questions are due at that rate
//! whatever becomes of earlier ones, and a time counts from when its question was due.
//!
//! Both use one thread, because they share the machine with what they measure.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program that measures time and prints it"
)]

mod clients;
mod figures;
mod mock;
mod process;

use std::error::Error;
use std::time::Duration;

/// What goes wrong here ends the program, which says what it was.
type Failure = Box<dyn Error + Send + Sync>;

/// What `load` is told.
struct Plan {
    /// Where questions go: `http://ADDRESS/PATH`.
    url: String,
    /// Whose they are.
    token: String,
    /// Who is asked.
    model: String,
    /// How many connections are kept.
    connections: usize,
    /// How many questions are due in a second; as many as can be without it.
    rate: Option<f64>,
    /// How long nothing counts.
    warm: Duration,
    /// How long it counts.
    counted: Duration,
    /// How many chunks an answer has, if it is a stream.
    chunks: Option<u32>,
    /// More headers.
    headers: Vec<(String, String)>,
    /// Whose processor time and memory are read.
    pid: u32,
}

impl Plan {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut next = |what: &str| words.next().ok_or(format!("{what} is missing"));
        let mut plan = Self {
            url: next("URL")?,
            token: next("TOKEN")?,
            model: next("MODEL")?,
            connections: 1,
            rate: None,
            warm: Duration::ZERO,
            counted: Duration::from_secs(1),
            chunks: None,
            headers: Vec::new(),
            pid: std::process::id(),
        };
        while let Some(option) = words.next() {
            let value = words.next().ok_or(format!("{option} wants a value"))?;
            match option.as_str() {
                "--connections" => plan.connections = value.parse()?,
                "--rate" => plan.rate = Some(value.parse()?),
                "--warm" => plan.warm = Duration::from_secs_f64(value.parse()?),
                "--seconds" => plan.counted = Duration::from_secs_f64(value.parse()?),
                "--stream" => plan.chunks = Some(value.parse()?),
                "--header" => {
                    let header = value.split_once('=').ok_or("a header is NAME=VALUE")?;
                    plan.headers.push((header.0.into(), header.1.into()));
                }
                "--pid" => plan.pid = value.parse()?,
                _ => return Err(format!("{option} is no option").into()),
            }
        }
        Ok(plan)
    }
}

fn main() -> Result<(), Failure> {
    let mut words = std::env::args().skip(1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match words.next().as_deref() {
        Some("mock") => {
            let address = words.next().ok_or("ADDRESS is missing")?;
            runtime.block_on(mock::stand(&address))
        }
        Some("load") => {
            let plan = Plan::read(words)?;
            let figures = runtime.block_on(clients::ask(plan))?;
            println!("{figures}");
            Ok(())
        }
        _ => Err("say `mock` or `load`".into()),
    }
}
