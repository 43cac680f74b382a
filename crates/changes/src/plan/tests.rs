use super::*;

const GOOD: &str = r#"version: 1
title: Round half to even
goal: The report's totals agree with the ledger.
author: { name: Ledger team, email: ledger@example.org }   # commit attribution only
base: main
operations:
  - update: { path: src/round.rs, diff: "@@ @@\n-a\n+b\n" }
  - create: { path: tests/half.rs, content: "x", mode: "0644" }
  - delete: { path: old.txt }
  - move:   { from: a.rs, to: b.rs }
checks: [lint, sbom]
target: local
risk: { raise: high, because: "touches money" }
"#;

fn faults(text: &str) -> Vec<String> {
    let errors = Plan::parse(text.as_bytes(), "plan.yaml").expect_err("it should be refused");
    errors.faults.iter().map(ToString::to_string).collect()
}

/// The good plan with one piece of text in another's place.
fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "the good plan has no {from}");
    GOOD.replacen(from, to, 1)
}

#[track_caller]
fn one_fault(text: &str, expected: &str) {
    let found = faults(text);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].contains(expected),
        "expected {expected:?} in {found:?}"
    );
}

#[test]
fn the_documented_form_is_read() {
    let plan = Plan::parse(GOOD.as_bytes(), "plan.yaml").unwrap();
    assert_eq!(plan.title, "Round half to even");
    assert_eq!(plan.author.email, "ledger@example.org");
    assert_eq!(plan.operations.len(), 4);
    assert_eq!(plan.checks, BTreeSet::from([Kind::Lint, Kind::Sbom]));
    assert_eq!(plan.target.as_deref(), Some("local"));
    assert_eq!(plan.risk.unwrap().raise, Risk::High);
}

#[test]
fn what_a_tree_refuses_is_said_with_its_place_in_the_plan() {
    use matrix_worktree::Refusal;
    use matrix_worktree::patch::Fault;
    use matrix_worktree::unified::DiffFault;

    let block =
        "diff: |\n        @@ @@\n        -a\n        +b\n        @@ @@\n        -c\n        +d\n";
    let text = with(
        "{ path: src/round.rs, diff: \"@@ @@\\n-a\\n+b\\n\" }",
        &format!("\n      path: src/round.rs\n      {block}"),
    );
    Plan::parse(text.as_bytes(), "plan.yaml").unwrap();
    let unfit = |hunk| {
        let excerpt = "it expects".to_owned();
        Fault::Diff(DiffFault::DoesNotFit { hunk, excerpt })
    };
    let refusal = |operation, path: &str, fault| Refusal {
        operation,
        path: path.into(),
        fault,
    };
    let missing = || Fault::NoSuchFile { near: None };
    let refusals = [
        refusal(Some(0), "src/round.rs", unfit(2)),
        refusal(Some(2), "old.txt", missing()),
        refusal(Some(3), "b.rs", Fault::Exists),
        refusal(None, "", Fault::NoChange),
    ];
    let errors = PlanErrors::refused(text.as_bytes(), "plan.yaml", &refusals);
    let found: Vec<(usize, usize, &str)> = errors
        .faults
        .iter()
        .map(|fault| (fault.place.line, fault.place.column, &*fault.member))
        .collect();
    assert_eq!(
        found,
        [
            (7, 3, "operations"),
            (13, 9, "operations[0].update.diff"),
            (18, 21, "operations[2].delete.path"),
            (19, 31, "operations[3].move.to"),
        ],
        "{errors}"
    );
    assert!(
        errors
            .to_string()
            .contains("`src/round.rs`: hunk 2 does not fit")
    );
    let inline = PlanErrors::refused(GOOD.as_bytes(), "plan.yaml", &refusals);
    assert_eq!(inline.faults[1].place.line, 7, "{inline}");
}

#[test]
fn the_digest_is_of_the_meaning() {
    let plan = Plan::parse(GOOD.as_bytes(), "plan.yaml").unwrap();
    let digest = plan.digest().unwrap();
    let json = serde_json::to_vec_pretty(&plan).unwrap();
    for name in ["plan.json", "plan", "plan.yaml"] {
        let same = Plan::parse(&json, name).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(same.digest().unwrap(), digest, "{name}");
    }
    for same in [
        with("checks: [lint, sbom]", "checks:\n- sbom\n- lint"),
        with(", mode: \"0644\"", ""),
        with("\"0644\"", "0644"),
        with("   # commit attribution only", ""),
        format!("\u{feff}{GOOD}"),
        GOOD.replace('\n', "\r\n"),
    ] {
        let plan = Plan::parse(same.as_bytes(), "x.yml").unwrap();
        assert_eq!(plan.digest().unwrap(), digest, "{same}");
    }
    let other = Plan::parse(with("base: main", "base: next").as_bytes(), "").unwrap();
    assert_ne!(other.digest().unwrap(), digest);
    let stored: Plan = serde_json::from_slice(&json).unwrap();
    assert_eq!(stored, plan);
}

#[test]
fn every_fault_is_reported_at_its_place_with_what_was_meant() {
    let text = "version: 2\ntitel: x\ngoal: g\nauthor: {name: A, mail: a@b}\nbase: main\n\
                operations:\n  - modify: {path: a, content: b}\n  - delete: {path: ../x}\nchecks: [lnit]\n";
    assert_eq!(
        faults(text),
        [
            "1:1: `title` is missing",
            "1:10: version: the version of the form is the number 1, not `2`",
            "2:1: `titel` is not known here; it may have `version`, `title`, `goal`, `author`, \
             `base`, `operations`, `checks`, `target` and `risk`; did you mean `title`?",
            "4:9: author: `email` is missing",
            "4:19: author: `mail` is not known here; it may have `name` and `email`; did you mean `email`?",
            "7:5: operations[0]: `modify` is no operation; there are `update`, `create`, `delete` \
             and `move`; did you mean `update`?",
            "8:20: operations[1].delete.path: the path leaves the repository by `..`",
            "9:10: checks[0]: `lnit` is not one of `lint`, `test_results`, `build_log`, \
             `security_scan`, `dependency_audit` and `sbom`; did you mean `lint`?",
        ]
    );
}

#[test]
fn json_faults_have_places_too() {
    let json = "{\n  \"version\": 1,\n  \"operatons\": [],\n  \"title\": 3\n}";
    let errors = Plan::parse(json.as_bytes(), "plan.json").unwrap_err();
    let text = errors.to_string();
    assert!(
        text.contains("plan.json:3:3: `operatons` is not known"),
        "{text}"
    );
    assert!(text.contains("did you mean `operations`?"), "{text}");
    assert!(
        text.contains("plan.json:4:12: title: expected text, found a number"),
        "{text}"
    );
    for (json, place) in [
        ("{\"a\": 1,}", "1:9"),
        ("{\"a\": \"x\n\"}", "2:1"),
        ("{\"a\": tru}", "1:10"),
        ("{\"a\": 1} x", "1:10"),
        ("{\"a\": \"\\ud800\"}", "1:14"),
        ("{\"a\": 01}", "1:9"),
        ("{\"a\": 1, \"a\": 2}", "1:10"),
        ("{\"a\": [1", "1:9"),
    ] {
        let errors = Plan::parse(json.as_bytes(), "p.json").unwrap_err();
        assert_eq!(errors.faults[0].code, PLAN_SYNTAX, "{json}");
        assert!(errors.to_string().contains(place), "{json}: {errors}");
    }
}

#[test]
fn json_text_is_read_as_json_has_it() {
    let escaped = r#"{"version":1,"title":"\u0041\ud83d\ude00\/\\","goal":"a\tb","author":{"name":"N","email":"n@e.org"},
        "base":"main","operations":[{"delete":{"path":"a"}}]}"#;
    let plan = Plan::parse(escaped.as_bytes(), "p.json").unwrap();
    assert_eq!(plan.title, "A😀/\\");
    assert_eq!(plan.goal, "a\tb");
}

#[test]
fn what_makes_yaml_dangerous_is_refused() {
    one_fault("a: &x [1]\nb: *x\n", "anchors");
    one_fault("a: *x\n", "not YAML");
    one_fault("a: !!binary aGk=\n", "tags");
    one_fault("%YAML 1.2\n---\na: 1\n", "not YAML");
    one_fault("a: 1\n---\nb: 1\n", "second document");
    one_fault("a: 1\na: 2\n", "given twice; first in line 1");
    one_fault("? [a]\n: 1\n", "a key must be text");
    one_fault("a: [1\n", "not YAML");
    one_fault("", "empty");
    one_fault("# nothing\n", "a value is missing");
    let deep = format!("a: {}{}", "[".repeat(40), "]".repeat(40));
    one_fault(&deep, "");
    let deep = format!("{}{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    assert!(Plan::parse(deep.as_bytes(), "p.json").is_err());
    let many = format!("a: [{}]", "1,".repeat(30_000));
    one_fault(&many, "20000 values");
    let errors = Plan::parse(b"title: \xff", "p.yaml").unwrap_err();
    assert_eq!(errors.to_string(), "p.yaml:1:8: the plan is not UTF-8 here");
    let large = Plan::parse(&vec![b' '; PLAN_BYTES + 1], "p.yaml").unwrap_err();
    assert_eq!(large.faults[0].code, PLAN_TOO_LARGE);
}

#[test]
fn values_are_checked() {
    let long = format!("title: {}", "x".repeat(TITLE_CHARS + 1));
    for (from, to, expected) in [
        ("title: Round half to even", "title: ''", "it is empty"),
        (
            "title: Round half to even",
            "title: ~",
            "expected text, found nothing",
        ),
        (
            "title: Round half to even",
            "title: \"a\\nb\"",
            "it is one line",
        ),
        ("title: Round half to even", "title: \"a\\eb\"", "U+001B"),
        (
            "title: Round half to even",
            "title: \"a\\u202eb\"",
            "U+202E",
        ),
        (
            "title: Round half to even",
            long.as_str(),
            "200 are allowed",
        ),
        ("base: main", "base: --all", "begin with `-`"),
        ("base: main", "base: [main]", "expected text, found a list"),
        ("name: Ledger team", "name: \"A <b>\"", "`<` or `>`"),
        ("name: Ledger team", "name: \"--\"", "letter or digit"),
        ("ledger@example.org", "ledger", "name@domain"),
        ("ledger@example.org", "a@b@c", "name@domain"),
        ("ledger@example.org", "\"a b@c\"", "no spaces"),
        ("target: local", "target: ../x", "a target's name"),
        ("raise: high", "raise: hihg", "did you mean `high`?"),
        ("\"touches money\"", "''", "it is empty"),
        ("[lint, sbom]", "[lint, lint]", "listed twice"),
        ("[lint, sbom]", "lint", "expected a list"),
        ("version: 1", "version: \"1\"", "the number 1"),
        ("\"0644\"", "\"0777\"", "is not one of `0644` and `0755`"),
        ("content: \"x\"", "content: \"\\0\"", "NUL"),
        ("path: old.txt", "path: .GIT/config", "git's own directory"),
        ("\"@@ @@\\n-a\\n+b\\n\"", "\"hello\"", "`@@ @@`"),
        ("path: src/round.rs, ", "", "`path` is missing"),
        (
            "  - delete: { path: old.txt }",
            "  - { delete: {path: a}, create: {path: b, content: c} }",
            "this has 2 members",
        ),
        (
            "  - delete: { path: old.txt }",
            "  - old.txt",
            "expected a map with one of",
        ),
        (
            "content: \"x\", mode: \"0644\"",
            "mode: \"0644\"",
            "`content` is missing",
        ),
    ] {
        one_fault(&with(from, to), expected);
    }
}

#[test]
fn updates_take_exactly_one_form() {
    let both = "diff: \"@@ @@\\n-a\\n+b\\n\", content: x";
    one_fault(&with("diff: \"@@ @@\\n-a\\n+b\\n\"", both), "not both");
    one_fault(
        &with(", diff: \"@@ @@\\n-a\\n+b\\n\"", ""),
        "needs `diff` or `content`",
    );
}

#[test]
fn a_plan_of_the_largest_size_is_read_and_one_more_is_refused() {
    let head = GOOD.split("operations:").next().unwrap();
    let plan = |count: usize| {
        let items: Vec<String> = (0..count)
            .map(|number| format!("  - create: {{path: f{number}, content: x, mode: '0644'}}\n"))
            .collect();
        format!("{head}operations:\n{}", items.concat())
    };
    let read = Plan::parse(plan(PLAN_OPERATIONS).as_bytes(), "p.yaml").unwrap();
    assert_eq!(read.operations.len(), PLAN_OPERATIONS);
    one_fault(&plan(PLAN_OPERATIONS + 1), "1000 are allowed");
}

#[test]
fn a_wrong_plan_gives_a_problem_for_people_and_programs() {
    let errors = Plan::parse(with("title", "titel").as_bytes(), "plan.yaml").unwrap_err();
    let problem = matrix_core::Problem::from(errors);
    assert_eq!((problem.code.exit, problem.code.status), (2, 422));
    assert_eq!(problem.members["faults"].as_array().unwrap().len(), 2);
    assert_eq!(problem.members["faults"][1]["suggestion"], "title");
    assert!(problem.detail.starts_with("plan.yaml:1:1: "), "{problem}");
    let escape = Plan::parse(with("old.txt", "/etc/x").as_bytes(), "plan.yaml").unwrap_err();
    assert_eq!(matrix_core::Problem::from(escape).code.text, "PATCH-0001");
}

#[test]
fn the_examples_are_plans() {
    let top = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples");
    let mut count = 0;
    for language in std::fs::read_dir(top).unwrap() {
        let plans = language.unwrap().path().join("plans");
        for plan in std::fs::read_dir(plans).into_iter().flatten() {
            let path = plan.unwrap().path();
            let name = path.display().to_string();
            let outcome = Plan::parse(&std::fs::read(&path).unwrap(), &name);
            match outcome {
                Ok(plan) => {
                    fits(&plan, &path.with_file_name("../repository"));
                    count += 1;
                }
                Err(errors) if name.ends_with("escape.yaml") => {
                    assert_eq!(errors.faults[0].code.text, "PATCH-0001", "{errors}");
                }
                Err(errors) => panic!("{errors}"),
            }
        }
    }
    assert!(count >= 6, "only {count} example plans were found");
}

/// Every diff of an example fits the example's repository.
fn fits(plan: &Plan, repository: &std::path::Path) {
    for operation in &plan.operations {
        if let Operation::Update(matrix_worktree::Update::Diff { path, diff }) = operation {
            let content = std::fs::read(repository.join(path)).unwrap();
            let fitted = matrix_worktree::unified::apply(&content, diff.as_bytes());
            assert!(fitted.is_ok(), "{}: {path}: {fitted:?}", plan.title);
        }
    }
}

fn schema_file() -> &'static str {
    concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/reference/plan.schema.json"
    )
}

fn schema_text() -> String {
    format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap())
}

#[test]
fn the_published_schema_is_that_of_the_types() {
    let published = std::fs::read_to_string(schema_file()).unwrap();
    assert!(
        published == schema_text(),
        "docs/reference/plan.schema.json is old: run the ignored test write_the_schema"
    );
}

#[test]
#[ignore = "writes docs/reference/plan.schema.json"]
fn write_the_schema() {
    std::fs::write(schema_file(), schema_text()).unwrap();
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_text_panics(text in "([-{}\\[\\]:,&*!|>#%@'\" \n\t]|version|operations|create|path|1|é|\u{0}){0,40}") {
            for name in ["p.yaml", "p.json", "p"] {
                if let Err(errors) = Plan::parse(text.as_bytes(), name) {
                    prop_assert!(!errors.faults.is_empty());
                    prop_assert!(errors.faults.iter().all(|f| f.place.line >= 1 && f.place.column >= 1));
                }
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Plan::parse(&bytes, "p.yaml");
            let _ = Plan::parse(&bytes, "p.json");
        }

        #[test]
        fn a_cut_or_bent_plan_does_not_panic(at in 0..GOOD.len(), with in "[-:{}\"'&*\n ]{0,2}") {
            prop_assume!(GOOD.is_char_boundary(at));
            let bent = format!("{}{with}{}", &GOOD[..at], &GOOD[at + 1..]);
            let _ = Plan::parse(bent.as_bytes(), "p.yaml");
            let _ = Plan::parse(&GOOD.as_bytes()[..at], "p.yaml");
        }

        #[test]
        fn any_content_survives_both_forms(content in "\\PC{0,40}", path in "[a-z]{1,8}") {
            let mut plan = Plan::parse(GOOD.as_bytes(), "p.yaml").unwrap();
            plan.operations = vec![Operation::Create(matrix_worktree::operation::Create {
                path,
                content,
                mode: matrix_worktree::FileMode::Executable,
            })];
            let json = serde_json::to_vec(&plan).unwrap();
            prop_assert_eq!(&Plan::parse(&json, "p.json").unwrap(), &plan);
            let yaml = serde_saphyr::to_string(&plan).unwrap();
            prop_assert_eq!(&Plan::parse(yaml.as_bytes(), "p.yaml").unwrap(), &plan);
        }
    }
}
