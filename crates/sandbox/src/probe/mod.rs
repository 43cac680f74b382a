//! Things that must not work, tried from inside the real sandbox.
//!
//! The probe program is this same executable, shown read-only inside and started with a hidden
//! argument. It tries each probe and says whether the sandbox held; it never judges from how it
//! was started, so the same program run outside of a sandbox reports what an open door looks like.
//! The crate's tests do that, to know that a probe can fail.
//!
//! The host plants canaries first ([`Canaries`]): a file, sockets, a process. They are reachable
//! outside; a probe that reaches one inside has found a hole. Limits are probed from outside
//! ([`crate::selftest`]), because what passes a limit is killed.

pub(crate) mod burn;
mod calls;
mod file;
mod kernel;
mod network;
mod secret;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use crate::spec::ProbeResult;

/// First argument of the probe program.
pub(crate) const PROBE: &str = "__probe";
/// Where the probe program is shown inside.
pub(crate) const INSIDE: &str = "/toolchains/probe/matrix";

/// What the host has put outside for the probes to look for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Canaries {
    /// A file of the host outside of every mount.
    pub(crate) file: PathBuf,
    /// What stands in it.
    pub(crate) secret: String,
    /// A socket of the host in the file system.
    pub(crate) socket: PathBuf,
    /// The name of an abstract socket of the host.
    pub(crate) abstract_socket: String,
    /// A port on which the host listens on its loopback interface.
    pub(crate) port: u16,
    /// The port of the egress proxy inside, where there is one.
    pub(crate) egress: Option<u16>,
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    held: bool,
    detail: String,
}

impl Finding {
    fn held(detail: impl Into<String>) -> Self {
        Self {
            held: true,
            detail: detail.into(),
        }
    }

    fn open(detail: impl Into<String>) -> Self {
        Self {
            held: false,
            detail: detail.into(),
        }
    }

    /// Held if the attempt failed.
    fn of<T, E: std::fmt::Display>(attempt: Result<T, E>, opened: &str) -> Self {
        match attempt {
            Ok(_) => Self::open(opened),
            Err(error) => Self::held(error.to_string()),
        }
    }
}

/// Whether a probe may also be tried where nothing protects the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outside {
    /// It does no harm.
    Harmless,
    /// It would do harm, or has no meaning there.
    Never,
}

/// One probe.
struct Probe {
    class: &'static str,
    name: &'static str,
    fast: bool,
    outside: Outside,
    run: Box<dyn Fn(&Canaries) -> Finding>,
}

impl Probe {
    fn new(
        class: &'static str,
        name: &'static str,
        run: impl Fn(&Canaries) -> Finding + 'static,
    ) -> Self {
        Self {
            class,
            name,
            fast: false,
            outside: Outside::Harmless,
            run: Box::new(run),
        }
    }

    /// Part of the fast set.
    fn fast(mut self) -> Self {
        self.fast = true;
        self
    }

    /// Not to be tried outside.
    fn only_inside(mut self) -> Self {
        self.outside = Outside::Never;
        self
    }
}

fn probes() -> Vec<Probe> {
    let mut all = file::probes();
    all.extend(kernel::probes());
    all.extend(calls::probes());
    all.extend(network::probes());
    all.extend(secret::probes());
    all
}

/// How the probe program is asked: `__probe fast|full|outside CANARIES` or `__probe burn WHAT`.
pub(crate) fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let words: Vec<String> = arguments
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["burn", what] => burn::main(what),
        [set @ ("fast" | "full" | "outside"), canaries] => match serde_json::from_str(canaries) {
            Ok(canaries) => report(set, &canaries),
            Err(_) => ExitCode::from(2),
        },
        _ => ExitCode::from(2),
    }
}

/// Runs the probes in order and writes a line for each; stops when nobody reads.
fn report(set: &str, canaries: &Canaries) -> ExitCode {
    let chosen = probes().into_iter().filter(|probe| match set {
        "fast" => probe.fast,
        "outside" => probe.outside == Outside::Harmless,
        _ => true,
    });
    let mut output = std::io::stdout().lock();
    for probe in chosen {
        let finding = (probe.run)(canaries);
        let result = ProbeResult {
            name: format!("{}.{}", probe.class, probe.name),
            class: probe.class.into(),
            held: finding.held,
            detail: finding.detail,
        };
        if crate::wire::send(&mut output, &result).is_err() || output.flush().is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// The names of the probes of a set, so that a probe that did not answer is seen to be missing.
pub(crate) fn names(fast_only: bool) -> Vec<(String, &'static str)> {
    probes()
        .iter()
        .filter(|probe| probe.fast || !fast_only)
        .map(|probe| (format!("{}.{}", probe.class, probe.name), probe.class))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_there_are_enough_of_each_class() {
        let all = names(false);
        let unique: std::collections::BTreeSet<_> = all.iter().map(|(name, _)| name).collect();
        assert_eq!(unique.len(), all.len(), "two probes share a name");
        for (class, least) in [("file", 15), ("kernel", 25), ("network", 8), ("secret", 6)] {
            let count = all.iter().filter(|(_, of)| *of == class).count();
            assert!(count >= least, "{class}: {count}");
        }
    }

    #[test]
    fn the_fast_set_has_every_class() {
        for class in ["file", "kernel", "network", "secret"] {
            assert!(
                names(true).iter().any(|(_, of)| *of == class),
                "no fast probe of {class}"
            );
        }
    }

    #[test]
    fn nonsense_arguments_are_refused() {
        for words in [
            vec![],
            vec!["fast"],
            vec!["fast", "{"],
            vec!["burn", "bridges"],
        ] {
            let words = words.into_iter().map(OsString::from);
            assert_eq!(main(words), ExitCode::from(2));
        }
    }
}
