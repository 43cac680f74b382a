//! Operations on real work trees, from the plan's words to files, tree and diff.

use std::os::unix::fs::MetadataExt;

use crate::support::{Place, create, delete, diff, rename, run, snapshot, update};
use matrix_core::{Digest, Problem};
use matrix_worktree::operation::{Create, FileMode};
use matrix_worktree::{FileStatus, Limits, Operation, PatchError, look_at};
use proptest::prelude::*;

const CODE: &str = "fn half(x: f64) -> f64 {\n    x.round()\n}\n";

#[tokio::test]
async fn all_operations_together_give_files_tree_and_facts() {
    let place = Place::with(&[
        ("src/round.rs", CODE),
        ("old.txt", "old\n"),
        ("a.rs", "a\n"),
        (".gitignore", "*.log\n"),
    ])
    .await;
    let tree = place.clone("copy").await;
    let script = Operation::Create(Create {
        path: "bin/run".into(),
        content: "#!/bin/sh\n".into(),
        mode: FileMode::Executable,
    });
    let operations = [
        diff(
            "src/round.rs",
            "@@ … @@\n fn half(x: f64) -> f64 {\n-    x.round()\n+    x.round_ties_even()\n }\n",
        ),
        create("tests/ignored.log", "kept although ignored\n"),
        script,
        delete("old.txt"),
        rename("a.rs", "b.rs"),
    ];
    let applied = tree.apply(&operations, &Limits::default()).await.unwrap();
    let read = |name: &str| std::fs::read_to_string(tree.path().join(name)).unwrap();
    assert_eq!(
        read("src/round.rs"),
        CODE.replace("round()", "round_ties_even()")
    );
    assert_eq!(read("tests/ignored.log"), "kept although ignored\n");
    assert_eq!(read("b.rs"), "a\n");
    assert!(!tree.path().join("old.txt").exists());
    assert!(!tree.path().join("a.rs").exists());
    let mode = std::fs::metadata(tree.path().join("bin/run"))
        .unwrap()
        .mode();
    assert_eq!(mode & 0o111, 0o111 & mode | 0o100, "executable");
    assert_eq!(run(tree.path(), &["write-tree"]), applied.tree.as_str());
    assert_eq!(
        run(tree.path(), &["status", "--porcelain", "-uall"])
            .lines()
            .count(),
        5
    );

    assert_eq!(applied.facts.digest, Digest::of(&applied.diff));
    let listed: Vec<(&str, FileStatus)> = applied
        .facts
        .files
        .iter()
        .map(|file| (file.path.as_str(), file.status))
        .collect();
    assert_eq!(
        listed,
        [
            ("a.rs", FileStatus::Deleted),
            ("b.rs", FileStatus::Added),
            ("bin/run", FileStatus::Added),
            ("old.txt", FileStatus::Deleted),
            ("src/round.rs", FileStatus::Modified),
            ("tests/ignored.log", FileStatus::Added),
        ]
    );
    assert_eq!(applied.facts.files[2].new_mode.as_deref(), Some("100755"));
    assert_eq!(
        (applied.facts.added_lines(), applied.facts.deleted_lines()),
        (4, 3)
    );
}

#[tokio::test]
async fn doing_it_again_gives_the_same_and_a_refusal_changes_nothing() {
    let place = Place::with(&[("a", "1\n"), ("b", "1\n")]).await;
    let tree = place.clone("copy").await;
    let before = snapshot(tree.path());
    let bad = [
        update("a", "2\n"),
        diff("b", "@@ @@\n-x\n+y\n"),
        create("a", ""),
    ];
    let error = tree.apply(&bad, &Limits::default()).await.unwrap_err();
    let problem = Problem::from(error);
    assert_eq!(problem.code.exit, 2);
    assert_eq!(
        problem.members["refusals"].as_array().unwrap().len(),
        1,
        "{problem}"
    );
    assert_eq!(snapshot(tree.path()), before);

    let good = [update("a", "2\n"), create("c", "3\n")];
    let once = tree.apply(&good, &Limits::default()).await.unwrap();
    std::fs::write(tree.path().join("a"), "somebody else").unwrap();
    let twice = tree.apply(&good, &Limits::default()).await.unwrap();
    assert_eq!(once, twice);
    assert_eq!(
        std::fs::read_to_string(tree.path().join("a")).unwrap(),
        "2\n"
    );

    let other = place.clone("other").await;
    assert_eq!(other.apply(&good, &Limits::default()).await.unwrap(), once);
}

#[tokio::test]
async fn a_patch_without_effect_is_refused() {
    let place = Place::with(&[("a", "1\n")]).await;
    let tree = place.clone("copy").await;
    let error = tree
        .apply(&[update("a", "1\n")], &Limits::default())
        .await
        .unwrap_err();
    assert_eq!(Problem::from(error).code.text, "PATCH-0008");
}

#[tokio::test]
async fn a_diff_that_does_not_fit_names_operation_path_hunk_and_lines() {
    let place = Place::with(&[("src/round.rs", CODE)]).await;
    let tree = place.clone("copy").await;
    let operation = diff(
        "src/round.rs",
        "@@ -1,2 +1,2 @@\n fn half(x: f64) -> f64 {\n-    x.floor()\n+    x\n",
    );
    let error = tree
        .apply(&[operation], &Limits::default())
        .await
        .unwrap_err();
    let problem = Problem::from(error);
    assert_eq!(problem.code.text, "PATCH-0006");
    for part in [
        "operations[0]",
        "`src/round.rs`",
        "hunk 1",
        "x.floor()",
        "2 |     x.round()",
    ] {
        assert!(problem.detail.contains(part), "{part}: {problem}");
    }
}

#[tokio::test]
async fn the_diff_limit_is_a_refusal() {
    let place = Place::with(&[("a", "1\n")]).await;
    let tree = place.clone("copy").await;
    let limits = Limits {
        diff_bytes: 100,
        ..Limits::default()
    };
    let error = tree
        .apply(&[create("b", &"x\n".repeat(500))], &limits)
        .await
        .unwrap_err();
    assert!(matches!(error, PatchError::DiffTooLarge(100)), "{error}");
}

fn path() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        4 => "[abAB]{1,2}",
        1 => Just("dir".to_owned()),
        1 => Just("link".to_owned()),
        1 => Just("..".to_owned()),
        1 => Just(".git".to_owned()),
        1 => Just(".GIT".to_owned()),
        1 => Just(String::new()),
        1 => "[.a~ é\\\\\u{200c}]{1,3}",
    ];
    proptest::collection::vec(name, 1..4).prop_map(|names| names.join("/"))
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        (path(), "[x\n\r]{0,6}").prop_map(|(path, content)| create(&path, &content)),
        (path(), "[x\n]{0,6}").prop_map(|(path, content)| update(&path, &content)),
        path().prop_map(|path| delete(&path)),
        (path(), path()).prop_map(|(from, to)| rename(&from, &to)),
        path().prop_map(|path| diff(&path, "@@ @@\n-x\n+y\n")),
    ]
}

#[tokio::test]
async fn a_look_finds_what_applying_would_and_leaves_no_file() {
    let place = Place::with(&[("src/round.rs", CODE), ("old.txt", "old\n")]).await;
    let before = snapshot(&place.repo());
    let repository = place.open().await;
    let head = repository.resolve("HEAD").await.unwrap();
    let look = look_at(&repository, &head, &place.path("look"))
        .await
        .unwrap();
    let operations = [
        diff(
            "src/round.rs",
            "@@ -9 +9 @@\n-    x.round()\n+    x.floor()\n",
        ),
        delete("old.txt"),
    ];
    let limits = Limits::default();
    let seen = look.try_apply(&operations, &limits).await.unwrap();
    assert!(!look.path().join("src").exists(), "a look lays nothing out");
    let loose: Vec<String> = seen.loose.iter().map(ToString::to_string).collect();
    assert_eq!(
        loose,
        ["src/round.rs: hunk 1 at line 2, 7 lines above where it says"]
    );
    let copy = place.clone("copy").await;
    assert_eq!(copy.apply(&operations, &limits).await.unwrap(), seen);
    let missing = look.try_apply(&[delete("nope.txt")], &limits).await;
    assert!(
        matches!(missing, Err(PatchError::Refused(_))),
        "{missing:?}"
    );
    look.lay_out(look.base_tree()).await.unwrap();
    assert!(look.path().join("old.txt").is_file());
    assert_eq!(snapshot(&place.repo()), before, "the source was only read");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Whatever a plan asks for: nothing outside the work tree and nothing of its `.git` but
    /// objects and the index changes, and the files are exactly the resulting tree.
    #[test]
    fn no_operation_reaches_outside(operations in proptest::collection::vec(operation(), 1..4)) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let place = Place::with(&[("a", "x\n"), ("b", "b\n"), ("dir/a", "x\n"), ("ab", "")]).await;
            let outside = place.path("outside");
            crate::support::write(&outside, "a", "x\n");
            std::os::unix::fs::symlink(&outside, place.repo().join("link")).unwrap();
            crate::support::commit(&place.repo(), "link");
            let tree = place.clone("copy").await;
            let guarded = || {
                let mut all = snapshot(&place.path(""));
                all.retain(|path, _| {
                    let inside = path.strip_prefix(tree.path());
                    inside.map_or(true, |inner| {
                        inner.starts_with(".git/hooks") || inner == std::path::Path::new(".git/config")
                    })
                });
                all
            };
            let before = guarded();
            let outcome = tree.apply(&operations, &Limits::default()).await;
            assert_eq!(guarded(), before, "something outside changed");
            let tree_id = match &outcome {
                Ok(applied) => applied.tree.to_string(),
                Err(PatchError::Refused(_)) => tree.base_tree().to_string(),
                Err(other) => panic!("{operations:?} gave {other}"),
            };
            run(tree.path(), &["add", "-A", "-f"]);
            assert_eq!(run(tree.path(), &["write-tree"]), tree_id, "{operations:?}");
        });
    }

    /// What git says is the difference between two texts turns the one into the other.
    #[test]
    fn a_diff_of_two_texts_makes_the_one_the_other(
        a in "([abc]{0,2}\r?\n){0,12}[ab]{0,2}",
        b in "([abc]{0,2}\r?\n){0,12}[ab]{0,2}",
        context in 0_u8..4,
    ) {
        prop_assume!(a != b);
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("a"), &a).unwrap();
        std::fs::write(place.path().join("b"), &b).unwrap();
        let unified = format!("-U{context}");
        let output = crate::support::try_run(place.path(), &["diff", "--no-index", "--text", &unified, "a", "b"]);
        let result = matrix_worktree::unified::apply(a.as_bytes(), &output.stdout);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        prop_assert_eq!(result.map_err(|e| format!("{e}\n{text}")), Ok(b.into_bytes()));
    }

    /// Nothing that is not a diff panics, and applying gives an answer.
    #[test]
    fn nonsense_gives_an_error_and_no_panic(content in "[ab \n\r]{0,30}", diff in "(@@|[-+ \\\\]|a|b|\n|1,2){0,30}") {
        let _ = matrix_worktree::unified::apply(content.as_bytes(), diff.as_bytes());
    }
}
