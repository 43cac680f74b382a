//! Opening, resolving and copying repositories of every kind.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use crate::support::{Place, commit, init, run, snapshot, try_run, write};
use matrix_core::Problem;
use matrix_worktree::{Dirty, Repository, RepositoryError, clone_at};

#[tokio::test]
async fn what_is_no_repository_is_refused_with_the_way_on() {
    let place = Place::with(&[("src/lib.rs", "//\n")]).await;
    let missing = Repository::open(&place.git, &place.path("none")).await;
    assert!(matches!(missing, Err(RepositoryError::Missing { .. })));

    let below = Repository::open(&place.git, &place.repo().join("src")).await;
    let problem = Problem::from(below.unwrap_err());
    assert_eq!(problem.code.text, "REPO-0002");
    let top = place.repo().canonicalize().unwrap();
    assert!(problem.help.unwrap().contains(top.to_str().unwrap()));

    let empty = place.path("empty");
    init(&empty);
    let error = Repository::open(&place.git, &empty).await.unwrap_err();
    assert!(matches!(error, RepositoryError::Empty { .. }), "{error}");

    write(&place.repo(), ".git/config", "[core\n");
    let error = Repository::open(&place.git, &place.repo())
        .await
        .unwrap_err();
    assert!(
        matches!(error, RepositoryError::Unreadable { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn revisions_of_every_form_are_found_and_near_ones_suggested() {
    let place = Place::with(&[("a", "1\n")]).await;
    let repo = place.repo();
    let first = run(&repo, &["rev-parse", "HEAD"]);
    write(&repo, "a", "2\n");
    let second = commit(&repo, "second");
    run(&repo, &["tag", "-a", "v1", "-m", "one", &first]);
    run(&repo, &["branch", "release/next"]);
    let repository = place.open().await;
    for (revision, expected) in [
        ("main", &second),
        ("HEAD", &second),
        ("main~1", &first),
        ("v1", &first),
        ("release/next", &second),
        (second.as_str(), &second),
        (&second[..10], &second),
    ] {
        let found = repository.resolve(revision).await.unwrap();
        assert_eq!(found.as_str(), expected, "{revision}");
    }
    for unknown in [
        "mian",
        "HEAD:a",
        "",
        "--all",
        "main..v1",
        "a\nb",
        "main^{/[}",
    ] {
        let error = repository.resolve(unknown).await.unwrap_err();
        assert!(
            matches!(error, RepositoryError::UnknownRevision { .. }),
            "{unknown:?}: {error}"
        );
    }
    let problem = Problem::from(repository.resolve("mian").await.unwrap_err());
    assert_eq!(problem.help.as_deref(), Some("did you mean `main`?"));
}

#[tokio::test]
async fn uncommitted_work_is_a_fact_and_looking_touches_nothing() {
    let place = Place::with(&[("a", "1\n"), ("b", "1\n"), (".gitignore", "ignored\n")]).await;
    let repo = place.repo();
    let scratch = place.path("scratch");
    assert_eq!(place.open().await.dirty(&scratch).await, Dirty::Clean);

    write(&repo, "a", "2\n");
    write(&repo, "b", "2\n");
    run(&repo, &["add", "b"]);
    write(&repo, "new", "");
    write(&repo, "ignored", "");
    // Times that differ from the index would make a careless `git status` rewrite it.
    run(&repo, &["status", "--short"]);
    std::fs::File::open(repo.join(".gitignore"))
        .unwrap()
        .set_times(std::fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH))
        .unwrap();
    let before = snapshot(&repo);
    let dirty = place.open().await.dirty(&scratch).await;
    assert_eq!(
        dirty,
        Dirty::Changed {
            modified: 2,
            untracked: 1
        }
    );
    assert_eq!(snapshot(&repo), before);
    assert!(snapshot(&scratch).is_empty(), "something was left behind");
}

#[tokio::test]
async fn bare_linked_and_shallow_repositories_can_be_copied() {
    let place = Place::with(&[("a", "1\n")]).await;
    let repo = place.repo();
    write(&repo, "a", "2\n");
    let head = commit(&repo, "second");
    let path = |name: &str| place.path(name).to_str().unwrap().to_owned();
    run(&repo, &["clone", "-q", "--bare", ".", &path("bare")]);
    run(
        &repo,
        &["worktree", "add", "-q", "--detach", &path("linked")],
    );
    let url = format!("file://{}", repo.display());
    run(&repo, &["clone", "-q", "--depth=1", &url, &path("shallow")]);
    run(&repo, &["pack-refs", "--all"]);
    for name in ["repo", "bare", "linked", "shallow", "repo/.git"] {
        let repository = Repository::open(&place.git, &place.path(name))
            .await
            .unwrap();
        assert_eq!(repository.is_bare(), name == "bare", "{name}");
        assert_eq!(repository.is_shallow(), name == "shallow", "{name}");
        let commit = repository.resolve("HEAD").await.unwrap();
        assert_eq!(commit.as_str(), head, "{name}");
        let target = place.path(&format!("copy-{}", name.replace('/', "-")));
        clone_at(&repository, &commit, &target).await.unwrap();
        assert_eq!(std::fs::read_to_string(target.join("a")).unwrap(), "2\n");
        run(&target, &["fsck", "--strict"]);
        assert_eq!(run(&target, &["status", "--porcelain"]), "", "{name}");
        assert_eq!(
            run(&target, &["rev-list", "--count", "HEAD"]),
            "1",
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_repository_that_borrows_objects_is_copied_whole() {
    let place = Place::with(&[("a", "1\n")]).await;
    let borrower = place.path("borrower");
    let target = borrower.to_str().unwrap();
    run(&place.repo(), &["clone", "-q", "--shared", ".", target]);
    let repository = Repository::open(&place.git, &borrower).await.unwrap();
    let head = repository.resolve("HEAD").await.unwrap();
    let copy = place.path("a \"quoted\": copy");
    clone_at(&repository, &head, &copy).await.unwrap();
    std::fs::remove_dir_all(place.repo()).unwrap();
    run(&copy, &["fsck", "--strict"]);
}

#[tokio::test]
async fn a_repository_of_another_owner_under_an_odd_name_can_be_read() {
    let place = Place::with(&[("a", "1\n")]).await;
    let odd = place.path("odd \"na\\me:\n");
    std::fs::rename(place.repo(), &odd).unwrap();
    // Only root can give files away; for others the owner is their own.
    let given = std::os::unix::fs::chown(odd.join(".git"), Some(65_534), Some(65_534)).is_ok();
    let repository = Repository::open(&place.git, &odd).await.unwrap();
    let head = repository.resolve("HEAD").await.unwrap();
    let dirty = repository.dirty(&place.path("scratch")).await;
    assert_eq!(dirty, Dirty::Clean, "given away: {given}");
    clone_at(&repository, &head, &place.path("copy"))
        .await
        .unwrap();
}

#[tokio::test]
async fn repositories_named_by_sha256_work() {
    let place = Place::new().await;
    let repo = place.repo();
    std::fs::create_dir(&repo).unwrap();
    run(
        &repo,
        &["init", "-q", "-b", "main", "--object-format=sha256"],
    );
    write(&repo, "a", "1\n");
    commit(&repo, "first");
    let tree = place.clone("copy").await;
    let applied = tree
        .apply(
            &[
                crate::support::delete("a"),
                crate::support::create("b", "2"),
            ],
            &matrix_worktree::Limits::default(),
        )
        .await
        .unwrap();
    assert_eq!(applied.tree.as_str().len(), 64);
}

#[tokio::test]
async fn odd_files_survive_the_copy_byte_for_byte() {
    let place = Place::with(&[("dir/a b", "x\n"), ("crlf.txt", "a\r\nb\r\n")]).await;
    let repo = place.repo();
    let odd = OsStr::from_bytes(b"caf\xe9\n.bin");
    std::fs::write(repo.join(odd), [0, 159, 146, 150]).unwrap();
    symlink("/nonexistent/target", repo.join("link")).unwrap();
    write(&repo, "run.sh", "#!/bin/sh\n");
    std::fs::set_permissions(repo.join("run.sh"), std::fs::Permissions::from_mode(0o755)).unwrap();
    write(&repo, "auto.txt", "$Id$\r\n");
    commit(&repo, "odd");
    write(&repo, ".gitattributes", "* text=auto eol=crlf ident\n");
    run(&repo, &["add", ".gitattributes"]);
    run(&repo, &["commit", "-q", "-m", "attributes"]);
    let copy = place.clone("copy").await;
    let read = |name: &OsStr| std::fs::read(copy.path().join(name)).unwrap();
    assert_eq!(read(odd), [0, 159, 146, 150]);
    assert_eq!(read(OsStr::new("crlf.txt")), b"a\r\nb\r\n");
    assert_eq!(read(OsStr::new("dir/a b")), b"x\n");
    assert_eq!(read(OsStr::new("auto.txt")), b"$Id$\r\n");
    assert_eq!(
        std::fs::read_link(copy.path().join("link"))
            .unwrap()
            .to_str(),
        Some("/nonexistent/target")
    );
    let mode = std::fs::metadata(copy.path().join("run.sh"))
        .unwrap()
        .mode();
    assert_eq!(mode & 0o100, 0o100, "the executable bit");
    assert_eq!(run(copy.path(), &["status", "--porcelain"]), "");
}

#[tokio::test]
async fn a_copy_of_a_hundred_megabytes_is_whole_and_shares_nothing() {
    let place = Place::with(&[("small", "x")]).await;
    let repo = place.repo();
    let mut state = 1_u64;
    let mut block = Vec::with_capacity(1 << 20);
    while block.len() < 1 << 20 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        block.extend(state.to_le_bytes());
    }
    let content = block.repeat(100);
    run(&repo, &["config", "core.compression", "0"]);
    std::fs::write(repo.join("large.bin"), &content).unwrap();
    commit(&repo, "large");
    let copy = place.clone("copy").await;
    assert!(std::fs::read(copy.path().join("large.bin")).unwrap() == content);
    std::fs::remove_dir_all(repo).unwrap();
    run(copy.path(), &["fsck"]);
}

#[tokio::test]
async fn a_missing_object_and_a_full_destination_are_said_plainly() {
    let place = Place::with(&[("a", "1\n")]).await;
    let repository = place.open().await;
    let head = repository.resolve("HEAD").await.unwrap();
    let full = place.path("full");
    write(&full, "something", "");
    let error = clone_at(&repository, &head, &full).await.unwrap_err();
    assert!(
        matches!(error, RepositoryError::Destination { .. }),
        "{error}"
    );

    let blob = run(&place.repo(), &["rev-parse", "HEAD:a"]);
    let object = place
        .repo()
        .join(".git/objects")
        .join(&blob[..2])
        .join(&blob[2..]);
    std::fs::remove_file(object).unwrap();
    let error = clone_at(&repository, &head, &place.path("copy"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, RepositoryError::ObjectsMissing { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn an_object_that_lies_about_its_name_is_not_believed() {
    let place = Place::with(&[("a", "honest\n"), ("b", "other\n")]).await;
    let repo = place.repo();
    let objects = repo.join(".git/objects");
    let file = |name: &str| {
        let id = run(&repo, &["rev-parse", &format!("HEAD:{name}")]);
        objects.join(&id[..2]).join(&id[2..])
    };
    std::fs::remove_file(file("a")).unwrap();
    std::fs::copy(file("b"), file("a")).unwrap();
    let repository = place.open().await;
    let head = repository.resolve("HEAD").await.unwrap();
    let error = clone_at(&repository, &head, &place.path("copy"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, RepositoryError::ObjectsMissing { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn files_are_read_at_a_revision_and_only_files() {
    let place = Place::with(&[("matrix.yaml", "checks: []\n"), ("dir/x", "")]).await;
    symlink("/etc/passwd", place.repo().join("link")).unwrap();
    commit(&place.repo(), "link");
    write(&place.repo(), "matrix.yaml", "not committed\n");
    let repository = place.open().await;
    let head = repository.resolve("HEAD").await.unwrap();
    let read = async |path: &str, limit| repository.file_at(&head, path, limit).await;
    let found = read("matrix.yaml", 100).await.unwrap();
    assert_eq!(found.as_deref(), Some(&b"checks: []\n"[..]));
    for nothing in ["link", "dir", "none", "../x", "matrix.*"] {
        assert!(
            matches!(read(nothing, 100).await, Ok(None) | Err(_)),
            "{nothing}"
        );
    }
    assert!(read("matrix.yaml", 5).await.is_err(), "the limit");
    assert!(
        !try_run(&place.repo(), &["diff", "--quiet"])
            .status
            .success()
    );
}
