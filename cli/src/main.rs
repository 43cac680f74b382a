//! `matrix`: the one binary. It composes the rooms, becomes host of a data directory when a command
//! needs one, and speaks to a person.
//!
//! * [`environment`], [`config`] — what the operator decides, each value with its origin.
//! * [`args`] — the command line.
//! * [`place`], [`host`], [`beside`] — hosting a data directory: its lock; socket and engine; the
//!   other hosts of a database that several share.
//! * [`blobs`] — where the blobs are.
//! * [`database`] — where the state is.
//! * [`door`] — how a command reaches the host, in this process or in another.
//! * [`reader`] — commands that only read never become host.
//! * [`watch`] — following a run through its journal.
//! * [`commands`] — one file for each noun.
//! * [`telling`] — events to brokers, spans to a collector.
//! * [`output`] — the only place that prints.

mod agents;
mod args;
mod authority;
mod beside;
mod blobs;
mod commands;
mod config;
mod database;
mod door;
mod environment;
mod exit;
mod failure;
mod host;
mod logging;
mod models;
mod output;
mod place;
mod placing;
mod reader;
mod scheduling;
mod sealing;
mod telling;
mod watch;

use std::process::ExitCode;

use clap::Parser;

/// Many threads of a server make and free small things; with the system's allocator that is a quarter of
/// what a call of a model costs, a good part of it waiting for each other.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A sandbox's launcher, its probes and a service's supervisor are this program too.
    if let Some(code) = matrix_sandbox::launcher::dispatch(std::env::args_os()) {
        return code;
    }
    let parsed = match args::Args::try_parse() {
        Ok(parsed) => parsed,
        Err(error) => return output::usage(&error),
    };
    let environment = environment::Environment::read();
    let json = parsed.global.json;
    match commands::run(parsed, environment) {
        Ok(code) => code.into(),
        Err(failure) => {
            if json {
                output::json(&serde_json::json!({ "error": failure.problem }));
            }
            output::failure(&failure)
        }
    }
}
