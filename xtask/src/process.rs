//! Other programs: run with their output shown, read, or both.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// How a command is shown to people.
pub(crate) fn describe(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program())
        .file_name()
        .unwrap_or_else(|| command.get_program());
    std::iter::once(program)
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Runs a command with its output shown; anything but success is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let what = describe(command);
    let status = command
        .status()
        .with_context(|| format!("cannot start `{what}`"))?;
    if !status.success() {
        bail!("`{what}` ended with {status}");
    }
    Ok(())
}

/// Runs a command and reads what it prints; anything but success is an error that shows the end
/// of what it complained about.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let what = describe(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{what}`"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = complaint.trim().lines().collect();
        let end = lines.get(lines.len().saturating_sub(20)..).unwrap_or(&[]);
        let text = format!("`{what}` ended with {}\n{}", output.status, end.join("\n"));
        bail!("{}", text.trim_end());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{what}` did not print UTF-8"))
}

/// Which of its two streams a command is followed on; the other one is shown as it comes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// Runs a command with its output shown, giving each line of one stream to `see` as well. Says
/// whether it succeeded.
pub(crate) fn follow(
    command: &mut Command,
    stream: Stream,
    mut see: impl FnMut(&str),
) -> Result<bool> {
    let what = describe(command);
    match stream {
        Stream::Output => command.stdout(Stdio::piped()),
        Stream::Error => command.stderr(Stdio::piped()),
    };
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start `{what}`"))?;
    let mut lines: Box<dyn BufRead> = match (child.stdout.take(), child.stderr.take()) {
        (Some(output), _) => Box::new(BufReader::new(output)),
        (None, Some(error)) => Box::new(BufReader::new(error)),
        (None, None) => bail!("`{what}` has no stream to follow"),
    };
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        match stream {
            Stream::Output => std::io::stdout().write_all(&line)?,
            Stream::Error => std::io::stderr().write_all(&line)?,
        }
        see(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
    Ok(child.wait()?.success())
}
