//! Files of the host, and what inside must not be changed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode};

use super::{Canaries, Finding, INSIDE, Probe};

fn file(name: &'static str, run: impl Fn(&Canaries) -> Finding + 'static) -> Probe {
    Probe::new("file", name, run)
}

fn opens(path: &Path) -> Finding {
    Finding::of(File::open(path), "it was opened")
}

fn lists(path: &str) -> Finding {
    match fs::read_dir(path) {
        Err(error) => Finding::held(error.to_string()),
        Ok(mut entries) => match entries.next() {
            None => Finding::held("empty"),
            Some(_) => Finding::open(format!("{path} was listed")),
        },
    }
}

fn creates(path: impl AsRef<Path>) -> Finding {
    let path = path.as_ref();
    let attempt = OpenOptions::new().write(true).create_new(true).open(path);
    if attempt.is_ok() {
        drop(fs::remove_file(path));
    }
    Finding::of(attempt, "a file was created")
}

fn opens_for_writing(path: &str) -> Finding {
    Finding::of(
        OpenOptions::new().append(true).open(path),
        "it was opened for writing",
    )
}

/// A place of the probe's own: the work tree inside, the temporary directory outside.
fn own(name: &str) -> PathBuf {
    let base = if Path::new(INSIDE).exists() {
        "/work"
    } else {
        "/tmp"
    };
    Path::new(base).join(format!("probe-{name}-{}", std::process::id()))
}

/// The canary's path without its first slash, to be joined to another way to the root.
fn relative(path: &Path) -> PathBuf {
    path.strip_prefix("/").unwrap_or(path).to_owned()
}

pub(super) fn probes() -> Vec<Probe> {
    let mut all = hidden();
    all.extend(roundabout());
    all.extend(read_only());
    all.extend(git());
    all.extend(special());
    all
}

fn hidden() -> Vec<Probe> {
    vec![
        file("read_canary", |canaries| opens(&canaries.file)).fast(),
        file("read_shadow", |_| opens(Path::new("/etc/shadow"))).fast(),
        file("list_root_home", |_| lists("/root")).fast(),
        file("list_homes", |_| other_homes()),
        file("list_var_lib", |_| lists("/var/lib")),
        file("list_var_log", |_| lists("/var/log")),
        file("list_run", |_| lists("/run")),
        file("list_sys", |_| lists("/sys")).fast(),
        file("list_canary_directory", |canaries| {
            let directory = canaries.file.parent().unwrap_or(Path::new("/"));
            Finding::of(fs::read_dir(directory), "the host's directory was listed")
        }),
        file("docker_socket", |_| {
            let found = [
                "/var/run/docker.sock",
                "/run/docker.sock",
                "/run/containerd/containerd.sock",
            ]
            .into_iter()
            .find(|path| Path::new(path).exists());
            found.map_or_else(|| Finding::held("none is there"), Finding::open)
        })
        .only_inside(),
    ]
}

fn other_homes() -> Finding {
    let Ok(entries) = fs::read_dir("/home") else {
        return Finding::held("no homes");
    };
    let other = entries
        .flatten()
        .find(|entry| entry.file_name() != "sandbox");
    match other {
        Some(entry) => Finding::open(format!("{} is there", entry.path().display())),
        None => Finding::held("only its own"),
    }
}

fn roundabout() -> Vec<Probe> {
    vec![
        file("canary_by_process_root", |canaries| {
            let inner = relative(&canaries.file);
            let ways = ["/proc/self/root", "/proc/1/root", "/proc/thread-self/root"];
            let found = ways
                .into_iter()
                .find(|way| File::open(Path::new(way).join(&inner)).is_ok());
            found.map_or_else(|| Finding::held("no way leads there"), Finding::open)
        })
        .fast(),
        file("canary_by_first_process", |canaries| {
            let inner = relative(&canaries.file);
            opens(&Path::new("/proc/1/cwd").join(inner))
        }),
        file("canary_by_parent_directories", |canaries| {
            opens(&Path::new("/work/../../../../../../..").join(relative(&canaries.file)))
        })
        .only_inside(),
        file("canary_by_link", |canaries| {
            let link = own("link");
            drop(symlink(&canaries.file, &link));
            let finding = opens(&link);
            drop(fs::remove_file(&link));
            finding
        })
        .fast(),
        file("canary_by_hard_link", |canaries| {
            let link = own("hard");
            let finding = Finding::of(fs::hard_link(&canaries.file, &link), "it was linked");
            drop(fs::remove_file(&link));
            finding
        })
        .only_inside(),
        file("leaked_descriptor", |_| leaked_descriptors()).fast(),
    ]
}

/// More than the three standard descriptors and the one that lists them is a leak; a directory
/// among them would be a way out.
fn leaked_descriptors() -> Finding {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else {
        return Finding::held("not readable");
    };
    let leaked = entries.flatten().find_map(|entry| {
        let number: i32 = entry.file_name().to_str()?.parse().ok()?;
        let to = fs::read_link(entry.path()).ok()?;
        let own = number <= 2 || to == Path::new("/proc/self/fd") || to.ends_with("fd");
        (!own).then(|| format!("{number} is {}", to.display()))
    });
    leaked.map_or_else(|| Finding::held("three descriptors"), Finding::open)
}

fn read_only() -> Vec<Probe> {
    vec![
        file("write_root", |_| creates("/probe")).fast(),
        file("write_usr", |_| creates("/usr/probe")).fast(),
        file("write_usr_bin", |_| creates("/usr/bin/probe")),
        file("write_etc", |_| creates("/etc/probe")),
        file("write_passwd", |_| opens_for_writing("/etc/passwd")),
        file("write_library_cache", |_| {
            opens_for_writing("/etc/ld.so.cache")
        }),
        file("write_toolchain", |_| opens_for_writing(INSIDE))
            .fast()
            .only_inside(),
        file("chmod_toolchain", |_| {
            let attempt = fs::set_permissions(INSIDE, fs::Permissions::from_mode(0o777));
            Finding::of(attempt, "its mode was changed")
        })
        .only_inside(),
        file("replace_toolchain", |_| {
            Finding::of(
                fs::rename(INSIDE, "/toolchains/probe/other"),
                "it was renamed",
            )
        })
        .only_inside(),
    ]
}

fn git() -> Vec<Probe> {
    let inside = |name, run: fn() -> Finding| file(name, move |_| run()).only_inside();
    vec![
        inside("git_plant_hook", || {
            creates("/work/.git/hooks/post-checkout")
        })
        .fast(),
        inside("git_change_config", || {
            opens_for_writing("/work/.git/config")
        })
        .fast(),
        inside("git_rename", || {
            Finding::of(
                fs::rename("/work/.git", "/work/.git-moved"),
                "it was moved away",
            )
        }),
        inside("git_remove", || {
            Finding::of(
                fs::remove_file("/work/.git/config"),
                "its configuration was removed",
            )
        }),
        inside("git_link_out", || {
            let link = own("git");
            let attempt = fs::hard_link("/work/.git/config", &link);
            drop(fs::remove_file(&link));
            Finding::of(attempt, "a second name was made")
        }),
        inside("git_plant_directory", || {
            let attempt = fs::DirBuilder::new()
                .mode(0o755)
                .create("/work/.git/modules");
            Finding::of(attempt, "a directory was made")
        }),
    ]
}

fn special() -> Vec<Probe> {
    vec![
        file("make_device", |_| {
            let path = own("device");
            let attempt = rustix::fs::mknodat(
                CWD,
                &path,
                FileType::CharacterDevice,
                Mode::from_raw_mode(0o600),
                rustix::fs::makedev(1, 1),
            );
            drop(fs::remove_file(&path));
            Finding::of(attempt, "a device was made")
        })
        .fast(),
        file("set_user_id_bit", |_| {
            let path = own("set-id");
            drop(File::create(&path));
            let attempt = fs::set_permissions(&path, fs::Permissions::from_mode(0o4755));
            drop(fs::remove_file(&path));
            Finding::of(attempt, "the bit was set")
        })
        .fast(),
        file("create_set_user_id", |_| {
            let path = own("set-id-new");
            let attempt = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o4755)
                .open(&path);
            drop(fs::remove_file(&path));
            Finding::of(attempt, "a set-user-id file was made")
        }),
        file("open_disk", |_| {
            devices(&["vda", "sda", "nvme0n1", "dm-0", "loop0"])
        }),
        file("open_memory", |_| devices(&["mem", "kmem", "port", "kmsg"])),
        file("open_fuse_or_kvm", |_| {
            devices(&["fuse", "kvm", "vhost-net", "net/tun"])
        }),
    ]
}

/// Held if none of these devices of `/dev` can be opened.
fn devices(names: &[&str]) -> Finding {
    let opened = names
        .iter()
        .map(|name| Path::new("/dev").join(name))
        .find(|path| !matches!(File::open(path), Err(error) if absent_or_refused(&error)));
    opened.map_or_else(
        || Finding::held("none is there"),
        |path| Finding::open(format!("{} can be opened", path.display())),
    )
}

fn absent_or_refused(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
    )
}
