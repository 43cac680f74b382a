//! Outputs as the tools print them.

use std::fmt::Write as _;

use super::*;
use proptest::prelude::*;

fn ids(output: &str) -> Vec<(String, Outcome)> {
    let read = read(output).unwrap();
    assert_eq!(read.broken, None, "{output}");
    let all = read.cases.iter();
    all.map(|case| (case.id(), case.outcome)).collect()
}

fn expect(output: &str, expected: &[(&str, Outcome)]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|(id, outcome)| ((*id).to_owned(), *outcome))
        .collect();
    assert_eq!(ids(output), expected, "{output}");
}

use Outcome::{Failed, Passed, Skipped};

#[test]
fn several_documents_of_a_shell_suite() {
    let output = "*** t0000-basic.sh ***\nok 1 - init\nnot ok 2 - commit\n#\tgit commit failed\n# failed 1 among 2 test(s)\n1..2\n*** t0001-init.sh ***\nok 1 - init\nok 2 - bare # SKIP no bare\nnot ok 3 - later # TODO known breakage\n1..3\n";
    expect(
        output,
        &[
            ("t0000-basic.sh::init", Passed),
            ("t0000-basic.sh::commit", Failed),
            ("t0001-init.sh::init", Passed),
            ("t0001-init.sh::bare", Skipped),
            ("t0001-init.sh::later", Skipped),
        ],
    );
}

#[test]
fn leading_plans_versions_and_no_descriptions() {
    let output = "TAP version 13\n1..2\nok\nok 2\nTAP version 13\n1..1\nok 1 has # in it\n1..0 # SKIP nothing here\n";
    expect(
        output,
        &[
            ("test 1", Passed),
            ("test 2", Passed),
            ("has # in it", Passed),
        ],
    );
}

#[test]
fn points_below_points_are_cases_of_their_own() {
    let output = "TAP version 13\n# Subtest: money\n    # Subtest: rounds\n        # Subtest: half\n        not ok 1 - half\n          ---\n          error: '3 !== 2'\n          code: 'ERR'\n          ...\n        1..1\n    not ok 1 - rounds\n    ok 2 - adds\n    1..2\nnot ok 1 - money\nok 2 - other # time=3ms\n1..2\n# tests 2\n";
    expect(
        output,
        &[
            ("money > rounds::half", Failed),
            ("money::rounds", Failed),
            ("money::adds", Passed),
            ("money", Failed),
            ("other", Passed),
        ],
    );
    let read = read(output).unwrap();
    assert_eq!(read.cases[0].message.as_deref(), Some("3 !== 2"));
}

#[test]
fn what_broke_off_is_told_and_what_is_no_tap_is_not_read() {
    let short = read("1..3\nok 1 - a\nok 2 - b\n").unwrap();
    assert_eq!(
        short.broken.as_deref(),
        Some("2 of 3 test points were seen")
    );
    let bailed = read("1..3\nok 1 - a\nBail out! no database\n").unwrap();
    assert_eq!(bailed.broken.as_deref(), Some("it bailed out: no database"));
    for output in [
        "ok\n",
        "all is ok\n1..2 is a range\n",
        "",
        "ok 1 - without a plan\n",
    ] {
        assert_eq!(read(output), None, "{output}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(ok |not ok |1\\.\\.|[0-9]|TAP version |Bail out!|---|\\.\\.\\.|#|    |\\n|.){0,60}") {
        let _ = read(&text);
    }

    #[test]
    fn every_point_is_one_case(outcomes in proptest::collection::vec(any::<bool>(), 1..40)) {
        let mut output = format!("1..{}\n", outcomes.len());
        for (index, passed) in outcomes.iter().enumerate() {
            let word = if *passed { "ok" } else { "not ok" };
            let _ = writeln!(output, "{word} {} - case {index}", index + 1);
        }
        let read = read(&output).unwrap();
        prop_assert_eq!(read.broken, None);
        let passed: Vec<bool> = read.cases.iter().map(|case| case.outcome == Passed).collect();
        prop_assert_eq!(passed, outcomes);
    }
}
