//! A machine that is full, read-only, without tools, or late.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::site::{CHECKS, HARMLESS, Site, finish, is_root, plan, raised, top};

/// Where a program of this machine is.
fn which(name: &str) -> Option<PathBuf> {
    let (_, path) = std::env::vars_os().find(|(name, _)| name == "PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}

#[test]
fn without_git_nothing_begins() {
    let site = Site::small(CHECKS);
    let mut command = site.change_command(plan(HARMLESS));
    command.env("PATH", site.path("empty"));
    finish(command).expect(1).says("REPO-0007").says("git");
}

#[test]
fn without_the_toolchain_checks_are_skipped_and_the_change_is_denied() {
    let site = Site::example("rust");
    fs::create_dir(site.path("bin")).unwrap();
    symlink(which("git").unwrap(), site.path("bin/git")).unwrap();
    let plan = top().join("examples/rust/plans/fix.yaml");
    let mut command = site.change_of(&plan);
    command.env_clear();
    command.env("PATH", site.path("bin"));
    command.env("HOME", site.path("home"));
    let done = finish(command).expect(5);
    assert_eq!(done.text("ending"), "denied");
    for kind in ["test_results", "build_log", "lint"] {
        assert_eq!(done.status(kind), "skipped");
    }
    done.says("Rust was not found");
}

#[test]
fn without_a_home_the_directory_must_be_named() {
    let site = Site::small(CHECKS);
    let mut command = site.command_elsewhere(&["run", "list"]);
    command.env_clear();
    finish(command).expect(2).says("--data-dir");
}

#[test]
fn a_data_directory_that_is_a_file_is_refused() {
    let site = Site::small(CHECKS);
    fs::write(site.data(), "mine\n").unwrap();
    site.change(plan(HARMLESS)).expect(1).says("HOST-0002");
    assert_eq!(fs::read_to_string(site.data()).unwrap(), "mine\n");
    site.matrix(&["run", "list"]).expect(6);
}

#[test]
fn a_data_directory_that_is_read_only_is_refused() {
    let site = Site::small(CHECKS);
    fs::create_dir(site.data()).unwrap();
    fs::set_permissions(site.data(), fs::Permissions::from_mode(0o555)).unwrap();
    let inner = site.change_command(plan(HARMLESS));
    let refused = if is_root() {
        // Root may write everywhere, so somebody else tries.
        let Some(program) = reachable(&site) else {
            eprintln!("skipped: nobody else can reach the program");
            return;
        };
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.arg(program).args(inner.get_args());
        command.env("HOME", site.path("home"));
        command.env("XDG_CONFIG_HOME", site.path("config"));
        finish(command)
    } else {
        finish(inner)
    };
    refused.expect(1).says("HOST-0002").says("--data-dir");
    fs::set_permissions(site.data(), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn the_usual_configuration_of_another_user_is_named_as_that() {
    let site = Site::bare();
    if !is_root() {
        eprintln!("skipped: only root can be two users");
        return;
    }
    let Some(program) = reachable(&site) else {
        eprintln!("skipped: nobody else can reach the program");
        return;
    };
    let directory = site.path("config/matrix");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("config.toml"), "sandboxes = 1\n").unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.arg(program).args(["config", "show"]);
    command.env("XDG_CONFIG_HOME", site.path("config"));
    finish(command)
        .expect(2)
        .says("CONFIG-0001")
        .says("another user's");
}

/// A copy of the program that everybody may execute.
fn reachable(site: &Site) -> Option<PathBuf> {
    let copy = site.path("matrix");
    fs::copy(env!("CARGO_BIN_EXE_matrix"), &copy).ok()?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).ok()?;
    let mut probe = Command::new("setpriv");
    probe.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    let answered = probe.arg(&copy).arg("--version").output().ok()?;
    answered.status.success().then_some(copy)
}

/// A library that moves the clock of one process, made by the machine's C compiler.
fn late_clock(site: &Site) -> Option<PathBuf> {
    const SOURCE: &str = r"
#define _GNU_SOURCE
#include <time.h>
#include <sys/syscall.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *at) {
    long failed = syscall(SYS_clock_gettime, id, at);
    if (!failed && id == CLOCK_REALTIME) at->tv_sec -= 3 * 86400;
    return (int)failed;
}
";
    let source = site.path("late.c");
    fs::write(&source, SOURCE).unwrap();
    let library = site.path("late.so");
    let mut compile = Command::new(which("cc")?);
    compile
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(&source);
    compile.status().ok()?.success().then_some(library)
}

#[test]
fn a_clock_that_was_set_back_does_no_harm() {
    let site = Site::small(CHECKS);
    let Some(library) = late_clock(&site) else {
        eprintln!("skipped: there is no C compiler to move a clock with");
        return;
    };
    let late = |mut command: Command| {
        command.env("LD_PRELOAD", &library);
        finish(command)
    };
    let before = site.change(plan(HARMLESS)).expect(0);
    let waiting = site.change(raised("medium")).expect(8).text("run");
    let second = plan("  - create: { path: second.txt, content: \"2\\n\" }\n");
    let after = late(site.change_command(second)).expect(0);
    let created = |done: &crate::site::Done| done.json()["created_at"].as_i64().unwrap();
    assert!(created(&after) < created(&before), "the clock did not move");
    site.matrix(&["verify", &after.text("bundle")]).expect(0);
    late(site.command(&["change", "approve", &waiting, "--json"]));
    // The target changed after it was asked, so that it may be asked again.
    if site.show(&waiting)["state"] == "waiting" {
        late(site.command(&["change", "approve", &waiting])).expect(0);
    }
    assert_eq!(site.show(&waiting)["state"], "succeeded");
    assert_eq!(site.runs().len(), 3);
    site.journal_holds();
}

/// In a mount namespace of its own: a small file system as data directory, nearly full; the change
/// ends early; room is made; the run goes on.
const FULL: &str = r#"
set -u
mkdir -p "$DATA" && mount -t tmpfs -o size=48m none "$DATA" || exit 90
"$MATRIX" change run --json --repo "$REPO" --plan "$FIRST" --data-dir "$DATA" >&2 || exit 91
free=$(df --output=avail -k "$DATA" | tail -1)
head -c $(( (free - ROOM) * 1024 )) /dev/zero > "$DATA/ballast"
timeout 60 "$MATRIX" change run --json --repo "$REPO" --plan "$PLAN" --data-dir "$DATA" >&2
echo "full=$?"
rm "$DATA/ballast"
"$MATRIX" run resume --json --data-dir "$DATA" | tail -1
echo "resumed=$?"
"$MATRIX" journal verify --data-dir "$DATA" >&2
echo "journal=$?"
"#;

fn on_a_full_disk(site: &Site, first: &Path, plan: &Path, room_kib: u32) -> crate::site::Done {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation=private", "sh", "-c", FULL]);
    command
        .env("DATA", site.data())
        .env("REPO", site.repository());
    command.env("FIRST", first).env("PLAN", plan);
    command.env("MATRIX", env!("CARGO_BIN_EXE_matrix"));
    command.env("ROOM", room_kib.to_string());
    command.env("XDG_CONFIG_HOME", site.path("config"));
    finish(command)
}

#[test]
fn a_full_disk_stops_a_run_that_goes_on_when_there_is_room() {
    if !is_root() {
        eprintln!("skipped: only root can make a small file system");
        return;
    }
    let site = Site::small(CHECKS);
    // Does not become smaller when it is compressed.
    let mut seed = 1_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24).to_le_bytes()[0]
    })
    .take(1 << 20)
    .collect();
    site.write("noise.bin", noise);
    site.commit();
    let first = site.path("first.yaml");
    fs::write(&first, plan(HARMLESS)).unwrap();
    let second = site.plan_file(plan("  - create: { path: b.txt, content: \"b\\n\" }\n"));
    let done = on_a_full_disk(&site, &first, &second, 1_500).expect(0);
    let done = done.says("full=1").says("resumed=0").says("journal=0");
    assert!(done.err.contains("matrix run resume run_"), "{done:?}");
    assert!(done.out.contains("\"state\":\"succeeded\""), "{done:?}");
}
