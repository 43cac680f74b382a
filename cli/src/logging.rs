//! Log lines: human or JSON, to standard error or a file, each with run and trace id.

use std::fs::File;
use std::path::Path;
use std::sync::Mutex;

use matrix_core::Problem;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::config::{Config, LogFormat};

/// The library that brings a database's tables up to date.
const MIGRATIONS: &str = "refinery_core";

/// Starts logging; `file` is for a process without a terminal.
pub(crate) fn start(config: &Config, file: Option<&Path>) -> Result<(), Problem> {
    let unusable = |what: String| Problem::new(crate::config::BAD_CONFIG, what);
    // The library that migrates says little but where it was built; whoever names it hears it.
    let level = &config.log_level.value;
    let filter = if level.contains(MIGRATIONS) {
        level.clone()
    } else {
        format!("{level},{MIGRATIONS}=warn")
    };
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| unusable(format!("log level `{level}`: {error}")))?;
    let writer = match file {
        Some(path) => {
            let file = File::options()
                .create(true)
                .append(true)
                .open(path)
                .map_err(|error| unusable(format!("log file {}: {error}", path.display())))?;
            BoxMakeWriter::new(Mutex::new(file))
        }
        None => BoxMakeWriter::new(std::io::stderr),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    let started = match config.log_format.value {
        LogFormat::Human => builder
            .with_ansi(file.is_none() && crate::output::on_terminal())
            .try_init(),
        LogFormat::Json => builder
            .json()
            .with_current_span(true)
            .with_span_list(false)
            .try_init(),
    };
    started.map_err(|error| unusable(format!("logging cannot be started: {error}")))
}
