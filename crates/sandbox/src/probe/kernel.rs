//! What the kernel shows and lets be set through files, and the rights of the process itself.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{Pid, Signal};

use super::{Finding, Probe};

fn kernel(name: &'static str, run: impl Fn() -> Finding + 'static) -> Probe {
    Probe::new("kernel", name, move |_| run())
}

pub(super) fn probes() -> Vec<Probe> {
    vec![
        kernel("core_pattern", || writes("/proc/sys/kernel/core_pattern")).fast(),
        kernel("overcommit", || writes("/proc/sys/vm/overcommit_memory")),
        kernel("host_name_setting", || writes("/proc/sys/kernel/hostname")),
        kernel("any_setting", || any_writable(Path::new("/proc/sys"))).fast(),
        kernel("sysrq", || writes("/proc/sysrq-trigger")),
        kernel("memory_image", || reads("/proc/kcore")).only_inside(),
        kernel("symbols", || reads("/proc/kallsyms")),
        kernel("key_list", || reads("/proc/keys")),
        kernel("timer_list", || reads("/proc/timer_list")),
        kernel("log_file", || opens_for_real("/proc/kmsg")),
        kernel("release_agent", release_agent),
        kernel("capabilities", capabilities).fast(),
        kernel("no_new_privileges", no_new_privileges).fast(),
        kernel("set_id_programs", set_id_mounts).fast(),
        kernel("root_user", root_user).fast(),
        kernel("user_namespace_limit", namespace_limit),
        kernel("process_list", process_list).fast(),
        kernel("first_process_memory", || opens_for_real("/proc/1/mem")).fast(),
        kernel("first_process_descriptors", || {
            Finding::of(fs::read_dir("/proc/1/fd"), "its descriptors were listed")
        }),
        kernel("kill_first_process", kill_first).only_inside(),
        kernel("landlock", landlock).fast().only_inside(),
        kernel("kill_everything", kill_host).only_inside(),
        kernel("real_time", real_time),
        kernel("negative_nice", || {
            Finding::of(
                rustix::process::setpriority_process(None, -10),
                "it got a higher priority",
            )
        }),
        kernel("raise_open_files", raise_open_files),
    ]
}

/// The null device in a masked file's place is as good as nothing.
fn is_null(path: &str) -> bool {
    fs::metadata(path).is_ok_and(|status| status.rdev() == rustix::fs::makedev(1, 3))
}

fn writes(path: &str) -> Finding {
    if is_null(path) {
        return Finding::held("masked");
    }
    Finding::of(
        OpenOptions::new().write(true).open(path),
        "it was opened for writing",
    )
}

fn opens_for_real(path: &str) -> Finding {
    if is_null(path) {
        return Finding::held("masked");
    }
    Finding::of(OpenOptions::new().read(true).open(path), "it was opened")
}

/// Held if nothing can be read from the file.
fn reads(path: &str) -> Finding {
    let mut buffer = [0; 64];
    match fs::File::open(path).and_then(|mut file| file.read(&mut buffer)) {
        Ok(0) => Finding::held("empty"),
        Ok(length) => Finding::open(format!("{length} bytes were read")),
        Err(error) => Finding::held(error.to_string()),
    }
}

/// Tries to open every setting for writing, without writing.
fn any_writable(directory: &Path) -> Finding {
    let mut left = vec![directory.to_owned()];
    let mut tried = 0_u32;
    while let Some(directory) = left.pop() {
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if kind.is_dir() {
                left.push(entry.path());
            } else if kind.is_file() {
                tried += 1;
                if OpenOptions::new().write(true).open(entry.path()).is_ok() {
                    return Finding::open(format!("{} is writable", entry.path().display()));
                }
            }
        }
    }
    Finding::held(format!("none of {tried}"))
}

fn release_agent() -> Finding {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let found = mounts.lines().find(|line| line.contains(" cgroup"));
    found.map_or_else(
        || Finding::held("no control group is mounted"),
        |line| Finding::open(line.to_owned()),
    )
}

fn status_field(name: &str) -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| {
        Some(
            line.strip_prefix(name)?
                .strip_prefix(':')?
                .trim()
                .to_owned(),
        )
    })
}

fn capabilities() -> Finding {
    for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        let value = status_field(name).unwrap_or_default();
        if value.is_empty() || value.bytes().any(|digit| digit != b'0') {
            return Finding::open(format!("{name} is {value}"));
        }
    }
    Finding::held("none in any set")
}

fn no_new_privileges() -> Finding {
    let (flag, filter) = (status_field("NoNewPrivs"), status_field("Seccomp"));
    if flag.as_deref() == Some("1") && filter.as_deref() == Some("2") {
        Finding::held("set, and a filter is active")
    } else {
        Finding::open(format!("NoNewPrivs {flag:?}, Seccomp {filter:?}"))
    }
}

/// A set-user-id program means nothing where every mount says so.
fn set_id_mounts() -> Finding {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let other = mounts.lines().find(|line| {
        let options = line.split(' ').nth(3).unwrap_or_default();
        !options.split(',').any(|option| option == "nosuid")
    });
    match other {
        None if !mounts.is_empty() => Finding::held("every mount is nosuid"),
        None => Finding::open("the mounts cannot be read"),
        Some(line) => Finding::open(line.to_owned()),
    }
}

/// User 0 of the host would be written as itself in the map of user ids.
fn root_user() -> Finding {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let mut fields = map.split_whitespace();
    let (inside, outside) = (fields.next(), fields.next());
    let unprivileged = !rustix::process::geteuid().is_root()
        && outside.is_some_and(|user| user != "0")
        && inside.is_some_and(|user| user != "0");
    if unprivileged {
        Finding::held(format!("user {}", outside.unwrap_or_default()))
    } else {
        Finding::open(format!("the map is {}", map.trim()))
    }
}

fn namespace_limit() -> Finding {
    match fs::read_to_string("/proc/sys/user/max_user_namespaces") {
        Ok(text) if text.trim() == "0" => Finding::held("none may be made"),
        Ok(text) => Finding::open(format!("{} may be made", text.trim())),
        Err(error) => Finding::held(error.to_string()),
    }
}

fn process_list() -> Finding {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Finding::held("not readable");
    };
    let count = entries
        .flatten()
        .filter(|entry| {
            entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.parse::<u32>().is_ok())
        })
        .count();
    if count <= 3 {
        Finding::held(format!("{count} processes"))
    } else {
        Finding::open(format!("{count} processes are seen"))
    }
}

/// If this worked, the kernel would end this process before it could say so.
fn kill_first() -> Finding {
    let Some(first) = Pid::from_raw(1) else {
        return Finding::open("no such id");
    };
    for signal in [Signal::KILL, Signal::STOP, Signal::TERM] {
        let _ = rustix::process::kill_process(first, signal);
    }
    Finding::held("it is still there")
}

/// The first process has our user, so only Landlock's border keeps a signal from it.
fn landlock() -> Finding {
    const ASK_VERSION: libc::c_long = 1;
    let version = crate::sys::raw(
        libc::SYS_landlock_create_ruleset,
        [0, 0, ASK_VERSION, 0, 0, 0],
    );
    let Some(first) = Pid::from_raw(1) else {
        return Finding::open("no such id");
    };
    match (version, rustix::process::test_kill_process(first)) {
        (_, Err(error)) => Finding::held(error.to_string()),
        (Ok(version), Ok(())) if version >= 6 => Finding::open("its border is not drawn"),
        (version, Ok(())) => Finding::held(format!("this kernel draws no border ({version:?})")),
    }
}

/// Signals a range of ids that exist on every host; nothing outside can be named.
fn kill_host() -> Finding {
    let own = rustix::process::getpid();
    let reached = (2..400)
        .filter_map(Pid::from_raw)
        .find(|pid| *pid != own && rustix::process::test_kill_process(*pid).is_ok());
    reached.map_or_else(
        || Finding::held("no other process can be named"),
        |pid| Finding::open(format!("process {} can be signalled", pid.as_raw_nonzero())),
    )
}

fn real_time() -> Finding {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Rtprio);
    if limit.maximum == Some(0)
        && status_field("CapEff").is_some_and(|set| set.bytes().all(|d| d == b'0'))
    {
        Finding::held("no priority is allowed")
    } else {
        Finding::open(format!("priorities up to {:?}", limit.maximum))
    }
}

fn raise_open_files() -> Finding {
    use rustix::process::{Resource, Rlimit};
    let now = rustix::process::getrlimit(Resource::Nofile);
    let more = Rlimit {
        current: now.current,
        maximum: now.maximum.map(|most| most + 1),
    };
    Finding::of(
        rustix::process::setrlimit(Resource::Nofile, more),
        "the limit was raised",
    )
}
