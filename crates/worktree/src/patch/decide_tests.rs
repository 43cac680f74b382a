use super::*;
use crate::operation::{Create, Delete, Move};

fn base() -> Listing {
    let mut listing = Listing::default();
    for (path, mode) in [
        ("README.md", EntryMode::Regular),
        ("src/round.rs", EntryMode::Regular),
        ("src/É.rs", EntryMode::Regular),
        ("run.sh", EntryMode::Executable),
        ("link", EntryMode::Symlink),
        ("vendor/lib", EntryMode::Submodule),
    ] {
        listing.insert(
            path.as_bytes().to_vec(),
            Entry {
                mode,
                id: "0".repeat(40),
            },
        );
    }
    listing
}

fn create(path: &str) -> Operation {
    Operation::Create(Create {
        path: path.into(),
        content: "x".into(),
        mode: FileMode::Regular,
    })
}

fn update(path: &str) -> Operation {
    Operation::Update(Update::Content {
        path: path.into(),
        content: "x".into(),
    })
}

fn delete(path: &str) -> Operation {
    Operation::Delete(Delete { path: path.into() })
}

fn rename(from: &str, to: &str) -> Operation {
    Operation::Move(Move {
        from: from.into(),
        to: to.into(),
    })
}

/// Decides and checks the outcome, with every diff taken as fitting.
fn outcome(operations: &[Operation]) -> Result<(), Vec<Refusal>> {
    let listing = base();
    let edits = decide(operations, &listing, &Limits::default())?;
    let changes: Vec<Change> = edits
        .into_iter()
        .map(|edit| Change {
            operation: edit.operation,
            path: edit.path,
            state: match edit.action {
                Action::Remove => State::Gone,
                Action::Write { mode, content } => State::New { mode, content },
                Action::Fit { base, .. } => State::New {
                    mode: base.mode,
                    content: Vec::new(),
                },
                Action::Place(entry) => State::Moved(entry),
            },
        })
        .collect();
    check_result(&listing, &changes)
}

fn only_fault(operations: &[Operation]) -> Fault {
    let refusals = outcome(operations).expect_err("it should be refused");
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    refusals[0].fault.clone()
}

#[test]
fn what_plans_usually_do_is_allowed() {
    outcome(&[
        update("src/round.rs"),
        create("tests/half.rs"),
        delete("README.md"),
        rename("run.sh", "bin/run.sh"),
    ])
    .unwrap();
    outcome(&[delete("link")]).unwrap();
    outcome(&[rename("README.md", "readme.md")]).unwrap();
    outcome(&[delete("run.sh"), create("run.sh/inner")]).unwrap();
}

#[test]
fn the_tree_decides_what_exists() {
    assert_eq!(only_fault(&[create("run.sh")]), Fault::Exists);
    assert_eq!(only_fault(&[rename("run.sh", "README.md")]), Fault::Exists);
    assert_eq!(only_fault(&[update("src")]), Fault::Directory);
    assert_eq!(only_fault(&[delete("src")]), Fault::Directory);
    assert_eq!(only_fault(&[create("src")]), Fault::Directory);
    assert_eq!(
        only_fault(&[update("src/Round.rs")]),
        Fault::NoSuchFile {
            near: Some("src/round.rs".into())
        }
    );
    assert_eq!(
        only_fault(&[create("run.sh/inner")]),
        Fault::BelowFile("run.sh".into())
    );
}

#[test]
fn links_and_submodules_lead_nowhere() {
    assert_eq!(
        only_fault(&[create("link/x")]),
        Fault::ThroughSymlink("link".into())
    );
    assert_eq!(only_fault(&[update("link")]), Fault::Symlink);
    for operation in [
        delete("vendor/lib"),
        create("vendor/lib/x"),
        update("vendor/lib"),
    ] {
        assert_eq!(
            only_fault(&[operation]),
            Fault::Submodule("vendor/lib".into())
        );
    }
}

#[test]
fn one_file_has_one_name() {
    assert_eq!(
        only_fault(&[create("readme.MD")]),
        Fault::Collision("README.md".into())
    );
    assert_eq!(
        only_fault(&[create("SRC/new.rs")]),
        Fault::Collision("src".into())
    );
    assert_eq!(
        only_fault(&[create("src/e\u{301}.rs")]),
        Fault::Collision("src/É.rs".into())
    );
    assert_eq!(only_fault(&[create("a"), create("A")]), Fault::Twice(0));
    assert_eq!(
        only_fault(&[update("run.sh"), rename("run.sh", "x")]),
        Fault::Twice(0)
    );
    assert_eq!(only_fault(&[rename("run.sh", "run.sh")]), Fault::Twice(0));
    let both = outcome(&[create("d/x"), create("D/y")]).unwrap_err();
    assert_eq!(both[0].fault, Fault::Collision("D".into()));
    assert_eq!(both[1].fault, Fault::Collision("d".into()));
}

#[test]
fn every_refusal_is_reported_with_its_number() {
    let refusals = outcome(&[create("../x"), update("src/round.rs"), delete("none")]).unwrap_err();
    let numbers: Vec<_> = refusals.iter().map(|refusal| refusal.operation).collect();
    assert_eq!(numbers, [Some(0), Some(2)]);
}

#[test]
fn limits_hold() {
    let limits = Limits {
        operations: 1,
        content_bytes: 3,
        total_bytes: 2,
        ..Limits::default()
    };
    let decided = |operations: &[Operation]| {
        decide(operations, &base(), &limits).unwrap_err()[0]
            .fault
            .clone()
    };
    assert_eq!(decided(&[]), Fault::NoOperation);
    assert_eq!(
        decided(&[create("a"), create("b")]),
        Fault::TooManyOperations(1)
    );
    let content = |content: &str| {
        Operation::Create(Create {
            path: "a".into(),
            content: content.into(),
            mode: FileMode::Regular,
        })
    };
    assert_eq!(decided(&[content("1234")]), Fault::ContentTooLarge(3));
    assert_eq!(decided(&[content("123")]), Fault::TotalTooLarge(2));
}
