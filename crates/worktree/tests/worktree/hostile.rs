//! Repositories that try to run something, reach outside or hide a change.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::{Place, commit, create, delete, run, snapshot, update, write};
use matrix_core::Timestamp;
use matrix_worktree::patch::Fault;
use matrix_worktree::registry::Person;
use matrix_worktree::{Limits, PatchError, Publication, Registry};

/// A script that leaves a mark, whatever it is run as.
fn trap(place: &Place) -> String {
    let script = place.path("trap.sh");
    let mark = place.path("SPRUNG");
    let text = format!("#!/bin/sh\necho \"$0 $*\" >> {}\ncat\n", mark.display());
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    script.to_str().unwrap().to_owned()
}

fn not_sprung(place: &Place) {
    let mark = place.path("SPRUNG");
    let text = std::fs::read_to_string(&mark).unwrap_or_default();
    assert!(!mark.exists(), "something of the repository ran: {text}");
}

/// Every way we know in which a repository names a program.
fn arm(place: &Place, repo: &Path) {
    let trap = trap(place);
    let hooks = repo.join(".git/hooks");
    std::fs::create_dir_all(&hooks).unwrap();
    for hook in [
        "post-checkout",
        "post-index-change",
        "pre-commit",
        "post-commit",
        "reference-transaction",
        "pre-receive",
        "update",
        "post-update",
        "pre-auto-gc",
        "fsmonitor-watchman",
    ] {
        std::fs::copy(&trap, hooks.join(hook)).unwrap();
    }
    for (key, value) in [
        ("core.fsmonitor", trap.as_str()),
        ("core.hooksPath", hooks.to_str().unwrap()),
        ("core.pager", &trap),
        ("core.editor", &trap),
        ("core.sshCommand", &trap),
        ("core.askPass", &trap),
        ("core.alternateRefsCommand", &trap),
        ("core.gitProxy", &trap),
        ("filter.bad.clean", &trap),
        ("filter.bad.smudge", &trap),
        ("filter.bad.process", &trap),
        ("filter.bad.required", "true"),
        ("diff.bad.command", &trap),
        ("diff.bad.textconv", &trap),
        ("diff.external", &trap),
        ("merge.bad.driver", &trap),
        ("interactive.diffFilter", &trap),
        ("uploadpack.packObjectsHook", &trap),
        ("credential.helper", &trap),
        ("gpg.program", &trap),
        ("commit.gpgSign", "true"),
        ("tag.gpgSign", "true"),
        ("tar.tar.command", &trap),
        ("trailer.x.command", &trap),
        ("remote.origin.url", "ext::sh -c trap"),
        ("remote.origin.promisor", "true"),
        ("remote.origin.uploadpack", &trap),
        ("extensions.partialClone", "origin"),
        ("protocol.ext.allow", "always"),
        ("alias.rev-parse", "!trap"),
    ] {
        run(repo, &["config", key, value]);
    }
}

#[tokio::test]
async fn nothing_of_a_repository_runs_from_opening_to_publishing() {
    let place = Place::with(&[
        ("a.txt", "one\n"),
        ("b.txt", "b\n"),
        ("src/x.rs", "fn x() {}\n"),
    ])
    .await;
    let repo = place.repo();
    write(
        &repo,
        ".gitattributes",
        "* filter=bad diff=bad merge=bad export-subst\n.gitattributes -filter\n",
    );
    write(&repo, "version.txt", "$Format:%H$\n");
    commit(&repo, "attributes");
    arm(&place, &repo);
    // A changed file makes `status` run the clean filter where it can.
    write(&repo, "a.txt", "dirty\n");
    let before = snapshot(&repo);

    let repository = place.open().await;
    repository.dirty(&place.path("scratch")).await;
    let _ = repository.resolve("no-such-branch").await;
    let missing = "1".repeat(40);
    let _ = repository.resolve(&missing).await;
    let tree = place.clone("copy").await;
    let operations = [
        update("a.txt", "two\n"),
        create("new.txt", "new\n"),
        delete("b.txt"),
        crate::support::rename("src/x.rs", "src/y.rs"),
    ];
    let applied = tree.apply(&operations, &Limits::default()).await.unwrap();
    let text = String::from_utf8(applied.diff.clone()).unwrap();
    assert!(text.contains("-one\n+two\n"), "{text}");

    let path = place.path("registry");
    let registry = Registry::open(&place.git, &path, repository.object_format())
        .await
        .unwrap();
    let person = Person {
        name: "Test".into(),
        email: "test@example.org".into(),
    };
    let published = registry
        .publish(
            &Publication {
                key: "k".into(),
                message: "m".into(),
                tree: applied.tree,
                parent: tree.base().clone(),
                author: person.clone(),
                committer: person,
                time: Timestamp::from_micros(1_700_000_000_000_000),
                branch: "main".into(),
                tag: "v1".into(),
            },
            &tree,
            &repository,
        )
        .await
        .unwrap();
    let archive = place.path("source.tar");
    registry
        .archive(&published.commit, "source", &archive)
        .await
        .unwrap();
    let bytes = std::fs::read(archive).unwrap();
    let kept = bytes.windows(11).any(|window| window == b"$Format:%H$");
    assert!(kept, "the archive expanded a keyword");
    not_sprung(&place);
    assert_eq!(snapshot(&repo), before, "the checkout was touched");
    // The trap itself works: a person's plain git springs it.
    crate::support::try_run(&repo, &["status"]);
    assert!(place.path("SPRUNG").exists(), "the trap is broken");
}

#[tokio::test]
async fn a_binary_attribute_hides_nothing_from_the_diff() {
    let place = Place::with(&[("a.rs", "one\n"), (".gitattributes", "*.rs binary -diff\n")]).await;
    let tree = place.clone("copy").await;
    let applied = tree
        .apply(&[update("a.rs", "two\n")], &Limits::default())
        .await
        .unwrap();
    assert!(String::from_utf8(applied.diff).unwrap().contains("+two"));
    assert_eq!(applied.facts.files[0].added_lines, 1);
    assert!(!applied.facts.files[0].binary);
}

#[tokio::test]
async fn links_and_submodules_cannot_be_used_to_leave() {
    let place = Place::with(&[("a", "1\n")]).await;
    let repo = place.repo();
    let outside = place.path("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("victim"), "safe").unwrap();
    std::os::unix::fs::symlink(&outside, repo.join("out")).unwrap();
    std::os::unix::fs::symlink(".git", repo.join("dotgit")).unwrap();
    let head = run(&repo, &["rev-parse", "HEAD"]);
    run(&repo, &["add", "-A"]);
    let info = format!("160000,{head},sub");
    run(&repo, &["update-index", "--add", "--cacheinfo", &info]);
    run(&repo, &["commit", "-q", "-m", "links"]);
    let tree = place.clone("copy").await;
    let before = snapshot(tree.path());
    for path in [
        "out/victim",
        "out/new",
        "dotgit/hooks/x",
        "sub/x",
        "sub",
        "out",
    ] {
        for operation in [create(path, "x"), update(path, "x")] {
            let error = tree
                .apply(&[operation], &Limits::default())
                .await
                .unwrap_err();
            assert!(matches!(error, PatchError::Refused(_)), "{path}: {error}");
        }
    }
    assert_eq!(
        std::fs::read_to_string(outside.join("victim")).unwrap(),
        "safe"
    );
    assert_eq!(snapshot(tree.path()), before, "a refusal changed something");
    // The link itself may go.
    tree.apply(&[delete("out")], &Limits::default())
        .await
        .unwrap();
    assert!(outside.join("victim").exists());
    assert!(!tree.path().join("out").exists());
}

#[tokio::test]
async fn a_tree_that_names_gits_directory_is_not_checked_out() {
    let place = Place::with(&[("a", "1\n")]).await;
    let repo = place.repo();
    let blob = run(&repo, &["rev-parse", "HEAD:a"]);
    let mut entry = b"100644 .GIT\0".to_vec();
    for pair in blob.as_bytes().chunks(2) {
        entry.push(u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
    }
    std::fs::write(place.path("tree"), entry).unwrap();
    let tree_file = place.path("tree");
    let tree = run(
        &repo,
        &[
            "hash-object",
            "-t",
            "tree",
            "-w",
            "--literally",
            tree_file.to_str().unwrap(),
        ],
    );
    let bad = run(&repo, &["commit-tree", &tree, "-m", "bad"]);
    run(&repo, &["branch", "bad", &bad]);
    let repository = place.open().await;
    let commit = repository.resolve("bad").await.unwrap();
    let copied = matrix_worktree::clone_at(&repository, &commit, &place.path("copy")).await;
    assert!(copied.is_err(), "git's own directory was checked out");
}

#[tokio::test]
async fn replaced_objects_are_not_believed() {
    let place = Place::with(&[("a", "honest\n")]).await;
    let repo = place.repo();
    let honest = run(&repo, &["rev-parse", "HEAD"]);
    write(&repo, "a", "replaced\n");
    let other = commit(&repo, "other");
    run(&repo, &["reset", "-q", "--hard", &honest]);
    run(&repo, &["replace", &honest, &other]);
    let copy = place.clone("copy").await;
    assert_eq!(copy.base().as_str(), honest);
    let content = std::fs::read_to_string(copy.path().join("a")).unwrap();
    assert_eq!(content, "honest\n");
}

#[tokio::test]
async fn a_binary_file_takes_whole_content_but_no_diff() {
    let place = Place::with(&[("image", "a\0b\n")]).await;
    let tree = place.clone("copy").await;
    let diff = crate::support::diff("image", "@@ @@\n-x\n+y\n");
    let error = tree.apply(&[diff], &Limits::default()).await.unwrap_err();
    let PatchError::Refused(refusals) = error else {
        panic!("{error}");
    };
    assert_eq!(refusals[0].fault, Fault::Binary);
    let applied = tree
        .apply(&[delete("image"), create("x", "")], &Limits::default())
        .await
        .unwrap();
    assert!(applied.facts.files[0].binary);
}
