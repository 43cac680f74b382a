//! One execution, end to end, through the real launcher.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::Duration;

use common::{Harness, is_root, locked, until};
use matrix_sandbox::SandboxError;
use matrix_sandbox::spec::{Access, Ending, Limit, Mount};
use tokio::sync::watch;

#[tokio::test]
async fn exit_codes_and_signals_are_told_apart() {
    let harness = Harness::new();
    for code in [0, 1, 42, 255] {
        let ran = harness
            .run(harness.spec(&format!("exit {code}")))
            .await
            .unwrap();
        assert_eq!(*ran.ending(), Ending::Exited { code });
    }
    let ran = harness.run(harness.spec("kill -TERM $$")).await.unwrap();
    assert_eq!(*ran.ending(), Ending::Signalled { signal: 15 });
}

#[tokio::test]
async fn both_streams_arrive_apart_and_in_order() {
    let harness = Harness::new();
    let ran = harness
        .run(harness.spec("echo a; echo x >&2; echo b; echo y >&2"))
        .await
        .unwrap();
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("a\nb\n", "x\ny\n"));
    assert_eq!(ran.outcome.output_bytes, 8);
}

#[tokio::test]
async fn output_arrives_while_the_program_runs() {
    let harness = Harness::new();
    let (says, hears) = std::sync::mpsc::channel();
    let (stop, cancel) = watch::channel(false);
    let sandbox = harness.sandbox.clone();
    let spec = harness.spec("echo early; sleep 1000");
    let task = tokio::spawn(async move {
        let sink = Box::new(move |_, bytes: &[u8]| says.send(bytes.to_vec()).unwrap());
        sandbox.run(spec, sink, cancel).await
    });
    let mut seen = None;
    until("the first line", || {
        seen = hears.try_recv().ok().or(seen.take());
        seen.is_some()
    })
    .await;
    assert_eq!(seen.unwrap(), b"early\n");
    stop.send(true).unwrap();
    assert_eq!(task.await.unwrap().unwrap().ending, Ending::Cancelled);
}

#[tokio::test]
async fn a_missing_program_is_an_error_of_its_own() {
    let harness = Harness::new();
    let mut spec = harness.spec("");
    spec.command = vec!["no-such-program".into()];
    let error = harness.run(spec).await.unwrap_err();
    assert!(
        matches!(&error, SandboxError::Program { program, .. } if program == "no-such-program"),
        "{error}"
    );
    std::fs::write(harness.tree().join("text"), "no program").unwrap();
    let mut spec = harness.spec("");
    spec.command = vec!["/work/text".into()];
    assert!(matches!(
        harness.run(spec).await,
        Err(SandboxError::Program { .. })
    ));
}

#[tokio::test]
async fn what_is_written_stays_and_belongs_to_the_host() {
    let harness = Harness::new();
    std::fs::write(harness.tree().join("given"), "1").unwrap();
    harness
        .succeed("echo 2 >> given; mkdir -p deep/er; echo x > deep/er/file; ln -s /etc/passwd link; chmod 700 deep")
        .await;
    let own = rustix::process::geteuid().as_raw();
    for path in ["given", "deep", "deep/er/file", "link", "."] {
        let status = std::fs::symlink_metadata(harness.tree().join(path)).unwrap();
        assert_eq!(status.uid(), own, "{path} belongs to another user");
    }
    assert_eq!(
        std::fs::read_to_string(harness.tree().join("given")).unwrap(),
        "12\n"
    );
    std::fs::remove_dir_all(harness.tree()).expect("the host removes everything");
    std::fs::create_dir(harness.tree()).unwrap();
}

#[tokio::test]
async fn the_program_is_an_ordinary_user_who_owns_its_places() {
    let harness = Harness::new();
    let out = harness
        .succeed("id -u; id -un; stat -c %U /work /tmp $HOME; pwd; touch /tmp/a $HOME/b /dev/shm/c && echo written")
        .await;
    assert_eq!(
        out,
        "1000\nsandbox\nsandbox\nsandbox\nsandbox\n/work\nwritten\n"
    );
}

#[tokio::test]
async fn the_environment_is_only_what_was_given() {
    let harness = Harness::new();
    let mut spec = harness.spec("env | grep -v '^\\(PWD\\|_\\|SHLVL\\|OLDPWD\\)=' | sort");
    spec.env.insert("GIVEN".into(), "a b=c".into());
    spec.path.push("/toolchains/x/bin".into());
    let ran = harness.run(spec).await.unwrap();
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines.len(), 5, "{lines:?}");
    assert_eq!(lines[0], "GIVEN=a b=c");
    assert_eq!(lines[1], "HOME=/home/sandbox");
    assert!(lines[3].starts_with("PATH=/toolchains/x/bin:/usr/local/bin:"));
}

#[tokio::test]
async fn git_metadata_is_read_only_and_everything_else_is_not() {
    let harness = Harness::new();
    std::fs::create_dir_all(harness.tree().join(".git/hooks")).unwrap();
    std::fs::write(harness.tree().join(".git/config"), "[core]\n").unwrap();
    let ran = harness
        .run(harness.spec(
            "cat .git/config; echo x > ok; \
             for try in 'touch .git/hooks/post-checkout' 'sh -c \"echo x >> .git/config\"' \
             'mv .git moved' 'rm -rf .git/config' 'ln .git/config alias'; do \
             eval $try 2>/dev/null && echo \"DONE $try\"; done; true",
        ))
        .await
        .unwrap();
    assert_eq!(ran.out, "[core]\n");
    assert_eq!(
        std::fs::read_to_string(harness.tree().join(".git/config")).unwrap(),
        "[core]\n"
    );
    assert!(harness.tree().join("ok").exists());
}

#[tokio::test]
async fn a_git_directory_that_is_a_link_is_refused() {
    let harness = Harness::new();
    symlink("/etc", harness.tree().join(".git")).unwrap();
    let error = harness.run(harness.spec("true")).await.unwrap_err();
    assert!(error.to_string().contains("symbolic link"), "{error}");
}

#[tokio::test]
async fn a_toolchain_in_a_private_home_is_shown_read_only() {
    let harness = Harness::new();
    let home = harness.root.path().join("home");
    let toolchain = home.join("tools/bin");
    std::fs::create_dir_all(&toolchain).unwrap();
    std::fs::write(toolchain.join("greet"), "#!/bin/sh\necho hello from $0\n").unwrap();
    std::fs::set_permissions(
        toolchain.join("greet"),
        std::fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o700)).unwrap();
    let mut spec =
        harness.spec("greet; touch /toolchains/greeter/bin/x || echo read-only; ls /toolchains");
    spec.mounts.push(Mount {
        source: home.join("tools"),
        target: "/toolchains/greeter".into(),
        access: Access::ReadOnly,
    });
    spec.path.push("/toolchains/greeter/bin".into());
    let ran = harness.run(spec).await.unwrap();
    assert_eq!(
        ran.out,
        "hello from /toolchains/greeter/bin/greet\nread-only\ngreeter\n"
    );
}

#[tokio::test]
async fn writable_mounts_are_written_and_given_back() {
    let harness = Harness::new();
    let cache = harness.root.path().join("cache");
    std::fs::create_dir(&cache).unwrap();
    let mut spec = harness.spec("echo kept > /caches/x/file");
    spec.mounts.push(Mount {
        source: cache.clone(),
        target: "/caches/x".into(),
        access: Access::ReadWrite,
    });
    assert!(harness.run(spec).await.unwrap().outcome.success());
    let status = std::fs::metadata(cache.join("file")).unwrap();
    assert_eq!(status.uid(), rustix::process::geteuid().as_raw());
}

#[tokio::test]
async fn a_link_in_the_tree_leads_no_mount_elsewhere() {
    let harness = Harness::new();
    symlink("/etc", harness.tree().join("link")).unwrap();
    let source = harness.root.path().join("source");
    std::fs::create_dir(&source).unwrap();
    let mut spec = harness.spec("true");
    spec.mounts.push(Mount {
        source,
        target: "/work/link/inner".into(),
        access: Access::ReadOnly,
    });
    let error = harness.run(spec).await.unwrap_err();
    assert!(matches!(error, SandboxError::Setup { .. }), "{error}");
}

#[tokio::test]
async fn no_file_of_the_host_is_seen() {
    let harness = Harness::new();
    std::fs::write(harness.root.path().join("outside"), "secret").unwrap();
    let outside = harness.root.path().join("outside");
    let script = format!(
        "ls /root /home /var /run /sys /etc/shadow {} 2>/dev/null; true",
        outside.display()
    );
    let out = harness.succeed(&script).await;
    assert_eq!(out.trim(), "/home:\nsandbox\n\n/run:\n\n/var:\ntmp");
}

#[tokio::test]
async fn forbidden_directories_are_refused_before_anything_runs() {
    let harness = Harness::new();
    std::fs::create_dir(harness.root.path().join("keys")).unwrap();
    let mut spec = harness.spec("true");
    spec.mounts.push(Mount {
        source: harness.root.path().into(),
        target: "/x".into(),
        access: Access::ReadOnly,
    });
    assert!(matches!(
        harness.run(spec).await,
        Err(SandboxError::Spec { .. })
    ));
}

#[tokio::test]
async fn cancelling_ends_the_whole_tree() {
    let harness = Harness::new();
    let (stop, cancel) = watch::channel(false);
    let lock = harness.tree().join("lock");
    let script =
        "(setsid flock /work/lock sh -c 'echo held > /work/held; sleep 1000' &) ; sleep 1000";
    let spec = harness.spec(script);
    let held = harness.tree().join("held");
    let waiting = async {
        until("the grandchild holds the lock", || held.exists()).await;
        assert!(locked(&lock), "the grandchild does not hold the lock");
        stop.send(true).unwrap();
    };
    let (ran, ()) = tokio::join!(harness.run_with(spec, cancel), waiting);
    assert_eq!(*ran.unwrap().ending(), Ending::Cancelled);
    assert!(!locked(&lock), "a grandchild outlived the cancel");
}

#[tokio::test]
async fn dropping_the_future_ends_the_whole_tree() {
    let harness = Harness::new();
    let spec = harness.spec("flock /work/lock sh -c 'echo held > /work/held; sleep 1000'");
    let held = harness.tree().join("held");
    tokio::select! {
        ran = harness.run(spec) => panic!("ended by itself: {ran:?}"),
        () = until("the lock is held", || held.exists()) => {}
    }
    let lock = harness.tree().join("lock");
    until("the lock is free", || !locked(&lock)).await;
}

#[tokio::test]
async fn a_daemon_does_not_outlive_its_program() {
    let harness = Harness::new();
    harness
        .succeed("setsid sh -c 'exec >/dev/null 2>&1; flock /work/lock sh -c \"echo > /work/held; sleep 1000\"' & \
                  while [ ! -e /work/held ]; do sleep 0.01; done")
        .await;
    assert!(
        !locked(&harness.tree().join("lock")),
        "a daemon outlived its program"
    );
}

#[tokio::test]
async fn many_sandboxes_run_at_once() {
    let harness = std::sync::Arc::new(Harness::new());
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..8 {
        let harness = std::sync::Arc::clone(&harness);
        tasks.spawn(async move {
            let tree = harness.root.path().join(format!("tree-{number}"));
            std::fs::create_dir(&tree).unwrap();
            let mut spec = harness.spec(&format!("echo {number} > file; sleep 0.05; cat file"));
            spec.work_tree = tree;
            let ran = harness.run(spec).await.unwrap();
            assert_eq!(ran.out, format!("{number}\n"));
        });
    }
    while let Some(result) = tasks.join_next().await {
        result.unwrap();
    }
}

#[tokio::test]
async fn a_path_that_is_no_text_is_refused_without_panic() {
    use std::os::unix::ffi::OsStrExt;
    let harness = Harness::new();
    let tree = harness
        .root
        .path()
        .join(std::ffi::OsStr::from_bytes(b"bad-\xff"));
    std::fs::create_dir(&tree).unwrap();
    let mut spec = harness.spec("true");
    spec.work_tree = tree;
    assert!(matches!(
        harness.run(spec).await,
        Err(SandboxError::Spec { .. })
    ));
}

#[tokio::test]
async fn arguments_that_are_no_text_arrive_as_they_are() {
    use std::os::unix::ffi::OsStringExt;
    let harness = Harness::new();
    let mut spec = harness.spec("");
    let odd = std::ffi::OsString::from_vec(b"\xff\xfe".to_vec());
    spec.command = vec![
        "sh".into(),
        "-c".into(),
        "printf %s \"$1\" | od -An -tx1".into(),
        "sh".into(),
        odd,
    ];
    assert_eq!(harness.run(spec).await.unwrap().out.trim(), "ff fe");
}

#[tokio::test]
async fn loopback_works_inside() {
    let harness = Harness::new();
    let script = "python3 -c 'import socket; s=socket.create_server((\"127.0.0.1\",0)); \
                  c=socket.create_connection(s.getsockname()); c.send(b\"x\"); print(s.accept()[0].recv(1))' 2>&1 \
                  || cat /proc/net/dev";
    let out = harness.succeed(script).await;
    assert!(out.contains("b'x'") || out.contains("lo:"), "{out}");
}

#[tokio::test]
async fn pseudo_terminals_work_inside() {
    let harness = Harness::new();
    let out = harness
        .succeed("script -qc 'test -t 0 && echo terminal' /dev/null </dev/null || true")
        .await;
    assert!(out.is_empty() || out.contains("terminal"), "{out}");
}

#[tokio::test]
async fn set_id_bits_do_not_come_back_to_the_host() {
    let harness = Harness::new();
    let ran = harness
        .run(harness.spec("touch a; chmod 4755 a; chmod 2755 a; true"))
        .await
        .unwrap();
    assert!(ran.err.contains("not permitted"), "{}", ran.err);
    let mode = std::fs::metadata(harness.tree().join("a")).unwrap().mode();
    assert_eq!(mode & 0o6000, 0);
    assert_eq!(*ran.ending(), Ending::Exited { code: 0 });
}

#[tokio::test]
async fn refused_system_calls_are_told_as_denials() {
    let harness = Harness::new();
    let ran = harness
        .run(
            harness
                .spec("unshare -U true 2>&1; chroot / true 2>&1; chroot / true 2>&1; echo went on"),
        )
        .await
        .unwrap();
    assert!(
        ran.out.contains("not permitted") && ran.out.ends_with("went on\n"),
        "{ran:?}"
    );
    let denials: Vec<_> = ran
        .outcome
        .denials
        .iter()
        .filter(|one| one.what == "syscall")
        .collect();
    assert_eq!(denials.len(), 1, "once for each call: {denials:?}");
    assert!(denials[0].reason.contains("`chroot`"), "{denials:?}");
}

#[tokio::test]
async fn wall_clock() {
    for harness in [Harness::new(), Harness::measured()] {
        let mut spec = harness.spec("trap '' TERM INT; sleep 1000");
        spec.limits.wall = Duration::from_millis(150);
        let ran = harness.run(spec).await.unwrap();
        assert_eq!(*ran.ending(), Ending::LimitExceeded { limit: Limit::Wall });
        assert!(ran.outcome.duration_ms >= 150);
    }
}

#[tokio::test]
async fn root_drops_its_user_and_an_ordinary_user_keeps_its_own() {
    let harness = Harness::new();
    let out = harness.succeed("cat /proc/self/uid_map").await;
    let outside: u32 = out.split_whitespace().nth(1).unwrap().parse().unwrap();
    if is_root() {
        assert!(outside >= 1000, "the host's user is {outside}");
    } else {
        assert_eq!(outside, rustix::process::geteuid().as_raw());
    }
}
