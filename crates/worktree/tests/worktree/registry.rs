//! Publishing, and fetching what was published with the machine's own git.

use crate::support::{Place, commit, run, try_run, update, write};
use matrix_core::{Digest, Timestamp};
use matrix_worktree::object::ObjectFormat;
use matrix_worktree::registry::{Person, RegistryError};
use matrix_worktree::{Limits, Publication, Registry, Repository, WorkTree, clone_at};

fn person(name: &str) -> Person {
    Person {
        name: name.into(),
        email: "ledger@example.org".into(),
    }
}

async fn publication(tree: &WorkTree, content: &str) -> Publication {
    let applied = tree
        .apply(&[update("a", content)], &Limits::default())
        .await
        .unwrap();
    Publication {
        key: format!("run:{content}"),
        message: "Round half to even\n\nThe totals agree.\n".into(),
        tree: applied.tree,
        parent: tree.base().clone(),
        author: person("Ledger team"),
        committer: person("Matrix"),
        time: Timestamp::from_micros(1_700_000_000_999_999),
        branch: "main".into(),
        tag: "release/1".into(),
    }
}

async fn registry(place: &Place) -> Registry {
    Registry::open(&place.git, &place.path("registry"), ObjectFormat::Sha1)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_published_commit_can_be_fetched_and_outlives_its_source() {
    let place = Place::with(&[("a", "1\n")]).await;
    write(&place.repo(), "a", "2\n");
    commit(&place.repo(), "second");
    let tree = place.clone("copy").await;
    let registry = registry(&place).await;
    let wanted = publication(&tree, "3\n").await;
    let published = registry
        .publish(&wanted, &tree, &place.open().await)
        .await
        .unwrap();
    assert!(!published.repeated);

    let url = registry.path().to_str().unwrap();
    let repo = place.repo();
    run(&repo, &["fetch", "-q", url, "main:published", "--tags"]);
    assert_eq!(
        run(&repo, &["rev-parse", "published"]),
        published.commit.as_str()
    );
    assert_eq!(
        run(&repo, &["rev-parse", "release/1"]),
        published.commit.as_str()
    );
    assert_eq!(run(&repo, &["show", "published:a"]), "3");
    assert_eq!(
        run(&repo, &["rev-parse", "published~1"]),
        tree.base().as_str()
    );
    let line = run(
        &repo,
        &["log", "-1", "--format=%an <%ae> %cn %at %s", "published"],
    );
    assert_eq!(
        line,
        "Ledger team <ledger@example.org> Matrix 1700000000 Round half to even"
    );

    std::fs::remove_dir_all(repo).unwrap();
    std::fs::remove_dir_all(tree.path()).unwrap();
    run(registry.path(), &["fsck", "--strict"]);
    assert_eq!(run(registry.path(), &["rev-list", "--count", "main"]), "3");
}

#[tokio::test]
async fn the_same_key_gives_the_same_commit_and_another_content_is_refused() {
    let place = Place::with(&[("a", "1\n")]).await;
    let tree = place.clone("copy").await;
    let repository = place.open().await;
    let registry = registry(&place).await;
    let first = publication(&tree, "2\n").await;
    let published = registry.publish(&first, &tree, &repository).await.unwrap();
    let mut later = first.clone();
    later.time = Timestamp::from_micros(1_800_000_000_000_000);
    let again = registry.publish(&later, &tree, &repository).await.unwrap();
    assert_eq!(again.commit, published.commit);
    assert!(again.repeated);

    let mut other = publication(&tree, "3\n").await;
    other.key.clone_from(&first.key);
    let error = registry
        .publish(&other, &tree, &repository)
        .await
        .unwrap_err();
    assert!(matches!(error, RegistryError::KeyTaken { .. }), "{error}");
}

#[tokio::test]
async fn a_crash_between_the_steps_is_healed_by_repeating() {
    let place = Place::with(&[("a", "1\n")]).await;
    let tree = place.clone("copy").await;
    let repository = place.open().await;
    let opened = registry(&place).await;
    let wanted = publication(&tree, "2\n").await;
    let published = opened.publish(&wanted, &tree, &repository).await.unwrap();
    // As if the process had died after the key's ref, with git's lock left behind.
    run(opened.path(), &["update-ref", "-d", "refs/tags/release/1"]);
    run(opened.path(), &["update-ref", "-d", "refs/heads/main"]);
    write(opened.path(), "refs/heads/main.lock", "");
    let reopened = registry(&place).await;
    let again = reopened.publish(&wanted, &tree, &repository).await.unwrap();
    assert_eq!(again.commit, published.commit);
    for name in ["main", "release/1"] {
        assert_eq!(
            run(opened.path(), &["rev-parse", name]),
            published.commit.as_str()
        );
    }
    assert_eq!(
        reopened.tagged("release/1").await.unwrap(),
        Some(published.commit)
    );
}

#[tokio::test]
async fn tags_never_move_and_branches_lose_nothing() {
    let place = Place::with(&[("a", "1\n")]).await;
    let tree = place.clone("copy").await;
    let repository = place.open().await;
    let registry = registry(&place).await;
    let first = publication(&tree, "2\n").await;
    registry.publish(&first, &tree, &repository).await.unwrap();

    let mut beside = publication(&tree, "3\n").await;
    beside.tag = "release/2".into();
    let error = registry
        .publish(&beside, &tree, &repository)
        .await
        .unwrap_err();
    assert!(
        matches!(error, RegistryError::BranchMoved { .. }),
        "{error}"
    );
    beside.branch = "other".into();
    beside.tag = "release/1".into();
    let error = registry
        .publish(&beside, &tree, &repository)
        .await
        .unwrap_err();
    assert!(matches!(error, RegistryError::TagTaken { .. }), "{error}");
    let branches = run(
        registry.path(),
        &["for-each-ref", "refs/heads", "--format=%(refname)"],
    );
    assert_eq!(branches, "refs/heads/main", "a refusal left a branch");

    // Following what was published moves the branch forward.
    let url = registry.path().to_str().unwrap();
    run(&place.repo(), &["pull", "-q", url, "main"]);
    let next = place.clone("next").await;
    let mut second = publication(&next, "4\n").await;
    second.tag = "release/2".into();
    let published = registry
        .publish(&second, &next, &place.open().await)
        .await
        .unwrap();
    assert_eq!(
        run(registry.path(), &["rev-parse", "main"]),
        published.commit.as_str()
    );
}

#[tokio::test]
async fn names_and_texts_that_git_would_bend_are_refused() {
    let place = Place::with(&[("a", "1\n")]).await;
    let tree = place.clone("copy").await;
    let repository = place.open().await;
    let registry = registry(&place).await;
    let good = publication(&tree, "2\n").await;
    let change: [fn(&mut Publication); 8] = [
        |p| p.branch = "../x".into(),
        |p| p.branch = "-x".into(),
        |p| p.tag = "a b".into(),
        |p| p.tag = String::new(),
        |p| p.author.name = "A\nB".into(),
        |p| p.author.name = "...".into(),
        |p| p.committer.email = "a> <b".into(),
        |p| p.message = " \n".into(),
    ];
    for (number, change) in change.iter().enumerate() {
        let mut bad = good.clone();
        change(&mut bad);
        let error = registry
            .publish(&bad, &tree, &repository)
            .await
            .unwrap_err();
        assert!(
            matches!(
                error,
                RegistryError::InvalidName(_) | RegistryError::InvalidText { .. }
            ),
            "{number}: {error}"
        );
    }
}

#[tokio::test]
async fn archives_of_one_commit_are_the_same_bytes() {
    let place = Place::with(&[("a", "1\n"), (".gitattributes", "a export-ignore\n")]).await;
    let tree = place.clone("copy").await;
    let registry = registry(&place).await;
    let wanted = publication(&tree, "2\n").await;
    let published = registry
        .publish(&wanted, &tree, &place.open().await)
        .await
        .unwrap();
    let (one, two) = (place.path("one.tar"), place.path("two.tar"));
    let first = registry
        .archive(&published.commit, "ledger-1", &one)
        .await
        .unwrap();
    let second = registry
        .archive(&published.commit, "ledger-1", &two)
        .await
        .unwrap();
    assert_eq!(first, second);
    assert_eq!(Digest::of(std::fs::read(&one).unwrap()), first.0);
    let listing = std::process::Command::new("tar")
        .arg("tf")
        .arg(&one)
        .output()
        .unwrap();
    let names = String::from_utf8(listing.stdout).unwrap();
    assert!(
        names.contains("ledger-1/a\n"),
        "export-ignore was followed: {names}"
    );
    let error = registry.archive(&published.commit, "../x", &one).await;
    assert!(matches!(error, Err(RegistryError::Prefix(_))));
}

#[tokio::test]
async fn a_shallow_source_can_be_published_and_fetched() {
    let place = Place::with(&[("a", "1\n")]).await;
    write(&place.repo(), "a", "2\n");
    commit(&place.repo(), "second");
    let shallow = place.path("shallow");
    let url = format!("file://{}", place.repo().display());
    run(
        &place.repo(),
        &["clone", "-q", "--depth=1", &url, shallow.to_str().unwrap()],
    );
    let repository = Repository::open(&place.git, &shallow).await.unwrap();
    let head = repository.resolve("HEAD").await.unwrap();
    let tree = clone_at(&repository, &head, &place.path("copy"))
        .await
        .unwrap();
    let registry = registry(&place).await;
    let wanted = publication(&tree, "3\n").await;
    let published = registry.publish(&wanted, &tree, &repository).await.unwrap();
    run(registry.path(), &["fsck"]);
    let from = registry.path().to_str().unwrap();
    run(&shallow, &["fetch", "-q", from, "main:published"]);
    assert_eq!(
        run(&shallow, &["rev-parse", "published"]),
        published.commit.as_str()
    );
}

#[tokio::test]
async fn two_publishers_at_once_both_succeed() {
    let place = Place::with(&[("a", "1\n")]).await;
    let repository = place.open().await;
    let (one, two) = (place.clone("one").await, place.clone("two").await);
    let first = publication(&one, "2\n").await;
    let mut second = publication(&two, "3\n").await;
    second.branch = "second".into();
    second.tag = "release/2".into();
    let registry = registry(&place).await;
    let (a, b) = tokio::join!(
        registry.publish(&first, &one, &repository),
        registry.publish(&second, &two, &repository),
    );
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_ne!(a.commit, b.commit);
    assert!(
        try_run(registry.path(), &["fsck", "--strict"])
            .status
            .success()
    );
}
