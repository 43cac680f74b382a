//! What a program must not learn: the host's environment, keys, and what ran before.

use std::fs;
use std::path::Path;

use super::{Canaries, Finding, Probe};

/// Variables that a sandbox has by itself or that the loader or shell may add.
const KNOWN: &[&str] = &["HOME", "LANG", "PATH", "TMPDIR", "PWD", "SHLVL", "_"];

fn secret(name: &'static str, run: impl Fn(&Canaries) -> Finding + 'static) -> Probe {
    Probe::new("secret", name, run)
}

pub(super) fn probes() -> Vec<Probe> {
    vec![
        secret("environment", |_| environment()).fast(),
        secret("environment_of_others", |_| environments()).fast(),
        secret("command_lines", |canaries| command_lines(&canaries.file)),
        secret("temporary_files", temporary).fast(),
        secret("shared_memory", |_| empty("/dev/shm")),
        secret("files_of_earlier_runs", |_| earlier())
            .fast()
            .only_inside(),
        secret("home_keys", |_| home_keys()).fast().only_inside(),
        secret("host_keys", |_| {
            absent(&["/etc/ssh", "/etc/ssl/private", "/etc/sudoers"])
        })
        .fast(),
        secret("machine_identity", |_| {
            absent(&["/etc/machine-id", "/var/lib/dbus/machine-id", "/etc/hostid"])
        }),
        secret("names_of_people", |_| people()),
        secret("core_dumps", |_| core_dumps()).fast(),
        secret("host_name", |_| host_name()),
        secret("memory_of_others", |_| memories()),
    ]
}

fn environment() -> Finding {
    let other = std::env::vars_os()
        .map(|(name, _)| name.to_string_lossy().into_owned())
        .find(|name| !KNOWN.contains(&name.as_str()));
    match other {
        Some(name) => Finding::open(format!("{name} is set")),
        None => Finding::held("only its own variables"),
    }
}

/// Directories of `/proc` that belong to other processes.
fn others() -> Vec<std::path::PathBuf> {
    let own = std::process::id().to_string();
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.bytes().all(|byte| byte.is_ascii_digit()) && *name != *own
        })
        .map(|entry| entry.path())
        .collect()
}

fn environments() -> Finding {
    let readable = others()
        .into_iter()
        .find(|process| fs::read(process.join("environ")).is_ok_and(|bytes| !bytes.is_empty()));
    match readable {
        Some(process) => Finding::open(format!("{} was read", process.join("environ").display())),
        None => Finding::held("of no other process"),
    }
}

fn memories() -> Finding {
    let opened = others()
        .into_iter()
        .find(|process| fs::File::open(process.join("mem")).is_ok());
    match opened {
        Some(process) => Finding::open(format!("{} was opened", process.join("mem").display())),
        None => Finding::held("of no other process"),
    }
}

/// The host's own command line would show paths of the host.
fn command_lines(canary: &Path) -> Finding {
    let directory = canary.parent().unwrap_or(Path::new("/nowhere"));
    let needle = directory.to_string_lossy().into_owned();
    let telling = others().into_iter().find(|process| {
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        process != Path::new("/proc/1") && String::from_utf8_lossy(&line).contains(&needle)
    });
    match telling {
        Some(process) => Finding::open(format!("{} names the host's paths", process.display())),
        None => Finding::held("none names the host's paths"),
    }
}

fn temporary(canaries: &Canaries) -> Finding {
    let listed = fs::read_dir("/tmp").map(|entries| entries.flatten().count());
    match listed {
        Ok(0) => Finding::held("empty"),
        Err(error) => Finding::held(error.to_string()),
        Ok(count) => Finding::open(format!(
            "{count} files, in search of {}",
            canaries.file.display()
        )),
    }
}

fn empty(path: &str) -> Finding {
    match fs::read_dir(path).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Finding::held("empty"),
        Ok(false) => Finding::open(format!("{path} holds files of others")),
        Err(error) => Finding::held(error.to_string()),
    }
}

/// Each self-test leaves a file in every private place; the next one must not find it.
fn earlier() -> Finding {
    let mark = "left-by-an-earlier-run";
    let found = ["/tmp", "/home/sandbox", "/dev/shm"]
        .into_iter()
        .map(|place| Path::new(place).join(mark))
        .find(|path| path.exists());
    if let Some(path) = found {
        return Finding::open(format!("{} is there", path.display()));
    }
    for place in ["/home/sandbox", "/dev/shm", "/tmp"] {
        if fs::write(Path::new(place).join(mark), mark).is_err() {
            return Finding::open(format!("{place} cannot be written, so nothing is known"));
        }
        if place != "/home/sandbox" {
            drop(fs::remove_file(Path::new(place).join(mark)));
        }
    }
    Finding::held("none")
}

fn home_keys() -> Finding {
    let home = Path::new("/home/sandbox");
    let found = [
        ".ssh",
        ".aws",
        ".netrc",
        ".git-credentials",
        ".npmrc",
        ".pypirc",
        ".docker",
        ".config",
    ]
    .into_iter()
    .find(|name| home.join(name).exists());
    found.map_or_else(|| Finding::held("none"), Finding::open)
}

fn absent(paths: &[&str]) -> Finding {
    let found = paths.iter().find(|path| Path::new(path).exists());
    found.map_or_else(
        || Finding::held("none is there"),
        |path| Finding::open(*path),
    )
}

fn people() -> Finding {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let count = users.lines().count();
    if count <= 3 {
        Finding::held(format!("{count} names, all made up"))
    } else {
        Finding::open(format!("{count} names"))
    }
}

fn core_dumps() -> Finding {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Core);
    if limit.maximum == Some(0) {
        Finding::held("none is written")
    } else {
        Finding::open(format!("up to {:?} bytes", limit.maximum))
    }
}

fn host_name() -> Finding {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy().into_owned();
    if name == "sandbox" {
        Finding::held(name)
    } else {
        Finding::open(name)
    }
}
