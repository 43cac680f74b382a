//! Policy files: which count, and that a mistake in any of them closes every door.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use matrix_core::{Authorizer, Caller, Principal, PrincipalKind, Scope};
use matrix_identity::policy::{Access, PolicyError, Roster};
use matrix_identity::{PolicyEngine, Role};
use serde_json::json;
use tempfile::TempDir;

struct Everyone;

impl Roster for Everyone {
    fn roles_of(&self, _: &Principal) -> Option<BTreeSet<Role>> {
        Some(Role::ALL.into())
    }
}

fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    directory
}

fn may_read(engine: PolicyEngine) -> Result<(), String> {
    let caller = Caller {
        principal: Principal {
            kind: PrincipalKind::User,
            name: "ada".into(),
        },
        scope: Scope::local(),
        on_behalf_of: Vec::new(),
    };
    Access::new(Arc::new(engine), Arc::new(Everyone))
        .decide(&caller, "run_read", &json!({}))
        .map_err(|denied| denied.reason)
}

const ALL: &str = "permit (principal, action, resource);";

#[test]
fn a_directory_without_files_has_the_built_in_policy() {
    let empty = directory(&[("notes.txt", "not a policy"), ("old.cedar.bak", "}")]);
    let engine = PolicyEngine::load(empty.path()).unwrap();
    assert!(
        engine
            .policies()
            .iter()
            .any(|policy| policy.id == "low-passes")
    );
    let absent = PolicyEngine::load(&empty.path().join("absent")).unwrap();
    assert_eq!(absent.digest(), engine.digest());
    assert_eq!(may_read(engine), Ok(()));
}

#[test]
fn own_files_replace_the_built_in_policy_and_managed_ones_stand_beside_either() {
    let own = directory(&[("mine.cedar", ALL)]);
    let engine = PolicyEngine::load(own.path()).unwrap();
    assert_eq!(engine.policies().len(), 1);
    let managed = directory(&[("managed/site.cedar", ALL)]);
    let engine = PolicyEngine::load(managed.path()).unwrap();
    assert!(
        engine.policies().len() > 10,
        "the built-in policy must still count"
    );
    let forbid = r#"@reason("closed for the holidays") forbid (principal, action, resource);"#;
    let both = directory(&[("mine.cedar", ALL), ("managed/site.cedar", forbid)]);
    let refused = may_read(PolicyEngine::load(both.path()).unwrap());
    assert_eq!(refused, Err("closed for the holidays".into()));
}

#[test]
fn the_digest_names_layers_names_and_texts() {
    let digests: BTreeSet<_> = [
        directory(&[]),
        directory(&[("a.cedar", ALL)]),
        directory(&[("b.cedar", ALL)]),
        directory(&[("a.cedar", "permit (principal, action, resource) ;")]),
        directory(&[("managed/a.cedar", ALL)]),
        directory(&[("a.cedar", ALL), ("managed/a.cedar", ALL)]),
    ]
    .iter()
    .map(|directory| PolicyEngine::load(directory.path()).unwrap().digest())
    .collect();
    assert_eq!(digests.len(), 6, "two different policies have one digest");
    let twice = || {
        PolicyEngine::load(directory(&[("a.cedar", ALL)]).path())
            .unwrap()
            .digest()
    };
    assert_eq!(twice(), twice());
}

/// Mistakes that each must close every door, with the place that has to be named.
const BROKEN: &[(&str, &str, &str)] = &[
    (
        "does not parse",
        "permit (principal, action, resource)\nwhen {",
        "mine.cedar:2:",
    ),
    (
        "unknown attribute",
        "\n\nforbid (principal, action == Action::\"release\", resource)\nwhen { context.riks == Risk::\"low\" };",
        "mine.cedar:4:8: ",
    ),
    (
        "misspelt risk",
        "forbid (principal, action == Action::\"release\", resource)\nwhen { context.risk == Risk::\"hihg\" };",
        "mine.cedar:2:",
    ),
    (
        "wrong type",
        "forbid (principal, action == Action::\"release\", resource)\nwhen { context.human_approvals == \"none\" };",
        "mine.cedar:2:",
    ),
    (
        "optional fact without asking whether it is there",
        "forbid (principal, action == Action::\"run_read\", resource)\nwhen { context.run == \"x\" };",
        "mine.cedar:2:",
    ),
    (
        "unknown action",
        "forbid (principal, action == Action::\"relase\", resource);",
        "mine.cedar:1:",
    ),
    (
        "a forbid that can never apply",
        "\nforbid (principal is Node, action == Action::\"release\", resource);",
        "mine.cedar:2:",
    ),
    (
        "an agent that approves",
        "permit (principal is Agent, action == Action::\"change_approve\", resource);",
        "mine.cedar:1:",
    ),
    (
        "a template",
        "forbid (principal == ?principal, action, resource);",
        "mine.cedar:1:1: templates",
    ),
    (
        "two policies of one id",
        "@id(\"a\") permit (principal, action, resource);\n@id(\"a\") forbid (principal, action, resource);",
        "mine.cedar:2:1: the id `a`",
    ),
];

#[test]
fn a_mistake_anywhere_closes_every_door_and_is_named_with_its_place() {
    for (what, text, place) in BROKEN {
        for (name, fine) in [
            ("mine.cedar", "fine.cedar"),
            ("managed/mine.cedar", "fine.cedar"),
        ] {
            let directory = directory(&[(name, text), (fine, ALL)]);
            let error = PolicyEngine::load(directory.path()).expect_err(what);
            assert!(
                matches!(error, PolicyError::Invalid(_)),
                "{what}: {error:?}"
            );
            assert!(
                error.to_string().contains(place),
                "{what}: no `{place}` in: {error}"
            );
            let engine = PolicyEngine::load_or_deny(directory.path());
            assert_eq!(engine.error(), Some(&error), "{what}");
            let reason = may_read(engine).expect_err(what);
            assert!(
                reason.contains(place),
                "{what}: the refusal does not say why: {reason}"
            );
        }
    }
}

#[test]
fn files_that_cannot_be_read_close_every_door() {
    let binary = directory(&[("mine.cedar", "")]);
    fs::write(binary.path().join("mine.cedar"), [0xff, 0xfe]).unwrap();
    let folder = directory(&[("mine.cedar/x", "")]);
    let dangling = directory(&[]);
    std::os::unix::fs::symlink("nowhere", dangling.path().join("mine.cedar")).unwrap();
    let managed = directory(&[]);
    std::os::unix::fs::symlink("nowhere", managed.path().join("managed")).unwrap();
    let file = directory(&[("managed", "a file")]);
    for (what, directory) in [
        ("not text", binary),
        ("a directory", folder),
        ("a dangling link", dangling),
        ("a dangling managed directory", managed),
        ("a file for a directory", file),
    ] {
        let error = PolicyEngine::load(directory.path()).expect_err(what);
        assert!(
            matches!(error, PolicyError::Unreadable { .. }),
            "{what}: {error:?}"
        );
        may_read(PolicyEngine::load_or_deny(directory.path())).expect_err(what);
    }
}

#[test]
fn too_much_policy_is_refused() {
    let long = "// ".repeat(100_000);
    let large = directory(&[("mine.cedar", &long)]);
    let many = tempfile::tempdir().unwrap();
    for number in 0..65 {
        fs::write(many.path().join(format!("{number}.cedar")), "").unwrap();
    }
    for directory in [large, many] {
        let error = PolicyEngine::load(directory.path()).unwrap_err();
        assert!(matches!(error, PolicyError::OverLimit { .. }), "{error:?}");
    }
}

/// Conditions as deep as a file may hold. The thread of a test has the same small stack as those
/// that serve requests.
#[test]
fn deep_nesting_is_an_error_or_is_carried_and_never_crashes() {
    let repeated: [(&str, &str, &str); 8] = [
        ("(", "true", ")"),
        ("[", "1", "].isEmpty()"),
        ("if true then ", "true", " else true"),
        ("if ", "true", " then true else true"),
        ("!", "true", ""),
        ("", "true", " && true"),
        ("", "true", " || context.own"),
        ("", "context", ".own"),
    ];
    for (before, middle, after) in repeated {
        for times in [5, 20, 24, 60, 240, 600, 1900, 20_000] {
            let condition = format!("{}{middle}{}", before.repeat(times), after.repeat(times));
            let text = format!(
                "permit (principal, action == Action::\"run_read\", resource) when {{ {condition} }};"
            );
            let directory = directory(&[("mine.cedar", &text)]);
            let engine = PolicyEngine::load_or_deny(directory.path());
            if engine.error().is_some() {
                may_read(engine).expect_err("a policy that was not read allowed something");
            } else {
                drop(may_read(engine));
                assert!(
                    times <= 1000,
                    "{before}{middle}{after} {times} times was read"
                );
            }
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
        let source = matrix_identity::policy::Source {
            layer: matrix_identity::policy::Layer::Local,
            name: "any.cedar".into(),
            text,
        };
        let _ = PolicyEngine::from_sources(&[source]);
    }
}
