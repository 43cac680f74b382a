//! A sandbox that stays, through the real launcher.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use common::{Harness, locked, until};
use matrix_sandbox::live::{Done, FileFault, Live, LiveCommand, LiveSpec, Search};
use matrix_sandbox::spec::{Limits, Stream};

async fn open(harness: &Harness) -> Live {
    let spec = LiveSpec {
        work_tree: harness.tree(),
        mounts: Vec::new(),
        path: Vec::new(),
        env: BTreeMap::from([("GREETING".into(), "hello".into())]),
        limits: Limits {
            wall: Duration::from_mins(5),
            memory_bytes: 512 << 20,
            ..Limits::default()
        },
    };
    harness.sandbox.open(spec).await.unwrap()
}

fn script(text: &str) -> LiveCommand {
    LiveCommand {
        command: vec!["sh".into(), "-c".into(), text.into()],
        cwd: "/work".into(),
        env: BTreeMap::new(),
        wall: Duration::from_secs(30),
        output_bytes: 1 << 20,
    }
}

async fn run(live: &Live, command: &LiveCommand) -> (Done, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut sink = |stream: Stream, bytes: &[u8]| match stream {
        Stream::Stdout => out.extend_from_slice(bytes),
        Stream::Stderr => err.extend_from_slice(bytes),
    };
    let done = live.execute(command, &mut sink).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (done, text(&out), text(&err))
}

#[tokio::test]
async fn one_command_after_another_runs_in_the_same_place() {
    let harness = Harness::new();
    let live = open(&harness).await;
    let (done, out, err) = run(
        &live,
        &script("echo $GREETING; echo x >&2; touch /tmp/left a; exit 3"),
    )
    .await;
    assert_eq!(
        (done.code, out.as_str(), err.as_str()),
        (Some(3), "hello\n", "x\n")
    );
    let (done, out, _) = run(&live, &script("ls /tmp/left a; kill -TERM $$")).await;
    assert_eq!(
        out, "/tmp/left\na\n",
        "what a command left is there for the next one"
    );
    assert_eq!((done.code, done.signal), (None, Some(15)));
    let mut missing = script("");
    missing.command = vec!["no-such-program".into()];
    let refused = live.execute(&missing, &mut |_, _| {}).await.unwrap_err();
    assert!(refused.to_string().contains("no-such-program"), "{refused}");
}

#[tokio::test]
async fn what_takes_too_long_or_stays_behind_is_killed_and_what_is_too_much_is_dropped() {
    let harness = Harness::new();
    let live = open(&harness).await;
    let mut slow =
        script("echo begun; (trap '' TERM; exec 9>lock; flock 9; sleep 1000) & sleep 1000");
    slow.wall = Duration::from_secs(1);
    let (done, out, _) = run(&live, &slow).await;
    assert!(
        done.late && done.code.is_none() && out == "begun\n",
        "{done:?} {out}"
    );
    let background = "(exec 8>other; flock 8; touch there; setsid sleep 1000) & while ! [ -e there ]; do :; done";
    let (done, _, _) = run(&live, &script(background)).await;
    assert!(done.success());
    for lock in ["lock", "other"] {
        let path = harness.tree().join(lock);
        until("what it left is gone", || !locked(&path)).await;
    }
    let mut loud = script("head -c 3000000 /dev/zero; echo end >&2");
    loud.output_bytes = 1000;
    let (done, out, _) = run(&live, &loud).await;
    assert!(
        done.success() && out.len() == 1000,
        "{done:?} {}",
        out.len()
    );
    assert!(done.output_bytes >= 3_000_000, "{done:?}");
}

#[tokio::test]
async fn files_are_read_written_and_found() {
    let harness = Harness::new();
    let live = open(&harness).await;
    let at = |name: &str| Path::new("/work").join(name);
    live.write(&at("src/deep/a.rs"), b"fn one() {}\nfn two() {}\n")
        .await
        .unwrap()
        .unwrap();
    live.write(&at("b.txt"), b"two\n").await.unwrap().unwrap();
    live.write(&at("ignored/c.rs"), b"fn two() {}\n")
        .await
        .unwrap()
        .unwrap();
    live.write(&at(".gitignore"), b"ignored/\n")
        .await
        .unwrap()
        .unwrap();
    run(&live, &script("chmod 755 b.txt")).await;
    live.write(&at("b.txt"), b"two again\n")
        .await
        .unwrap()
        .unwrap();
    let mode = std::fs::metadata(harness.tree().join("b.txt"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o755, "a file keeps its mode");
    assert_eq!(
        live.read(&at("b.txt"), 100).await.unwrap().unwrap(),
        b"two again\n"
    );
    assert_eq!(
        live.read(&at("b.txt"), 3).await.unwrap(),
        Err(FileFault::TooLong { bytes: 10, most: 3 })
    );
    assert_eq!(
        live.read(&at("none"), 3).await.unwrap(),
        Err(FileFault::Missing)
    );
    assert!(matches!(
        live.read(&at("src"), 3).await.unwrap(),
        Err(FileFault::NoFile { .. })
    ));
    let find = |pattern: Option<&str>, glob: Option<&str>| Search {
        root: "/work".into(),
        pattern: pattern.map(Into::into),
        glob: glob.map(Into::into),
        most: 10,
    };
    let (hits, more) = live
        .search(&find(Some("tw[o]"), None))
        .await
        .unwrap()
        .unwrap();
    let found: Vec<_> = hits
        .iter()
        .map(|hit| (hit.path.as_str(), hit.line))
        .collect();
    assert_eq!(found, [("b.txt", Some(1)), ("src/deep/a.rs", Some(2))]);
    assert!(!more);
    let (hits, _) = live
        .search(&find(None, Some("*.rs")))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(hits.len(), 1, "{hits:?}");
    assert!(matches!(
        live.search(&find(Some("("), None)).await.unwrap(),
        Err(FileFault::Expression { .. })
    ));
}

#[tokio::test]
async fn it_is_a_sandbox_still() {
    let harness = Harness::new();
    std::fs::create_dir(harness.tree().join(".git")).unwrap();
    std::fs::write(harness.tree().join(".git/config"), "x").unwrap();
    symlink("/etc/shadow", harness.tree().join("link")).unwrap();
    let live = open(&harness).await;
    let (done, _, _) = run(&live, &script("echo y > .git/config")).await;
    assert!(!done.success(), "the repository's own files can be written");
    assert!(
        live.write(Path::new("/work/.git/config"), b"y")
            .await
            .unwrap()
            .is_err()
    );
    assert!(
        live.read(Path::new("/work/link"), 1000)
            .await
            .unwrap()
            .is_err()
    );
    assert!(
        live.write(Path::new("/usr/bin/new"), b"y")
            .await
            .unwrap()
            .is_err()
    );
    let (_, out, _) = run(
        &live,
        &script("id -u; cat /proc/net/dev | tail -n +3 | cut -d: -f1"),
    )
    .await;
    let words: Vec<_> = out.split_whitespace().collect();
    assert!(
        words.len() == 2 && words[0] != "0" && words[1] == "lo",
        "{out}"
    );
}

#[tokio::test]
async fn it_ends_with_its_value_and_says_so_when_it_ended_before() {
    let harness = Harness::new();
    let live = open(&harness).await;
    let lock = harness.tree().join("lock");
    let held = script("exec 9>lock; flock 9; sleep 1000");
    let running = async { live.execute(&held, &mut |_, _| {}).await };
    tokio::select! {
        _ = running => panic!("it ended by itself"),
        () = until("it holds the lock", || lock.exists() && locked(&lock)) => {}
    }
    until("what nobody waits for is killed", || !locked(&lock)).await;
    let (_, out, _) = run(&live, &script("echo still here")).await;
    assert_eq!(out, "still here\n");
    drop(live);
    let live = open(&harness).await;
    let hog = script("exec 9>lock; flock 9; tail /dev/zero");
    let ended = live.execute(&hog, &mut |_, _| {}).await;
    match ended {
        // The kernel took the one that ate, or the whole sandbox was ended for it.
        Ok(done) => assert!(!done.success(), "{done:?}"),
        Err(lost) => assert!(lost.to_string().contains("ended"), "{lost}"),
    }
}
