//! Outputs as the tools print them.

use std::fmt::Write as _;

use matrix_sandbox::spec::Ending;
use proptest::prelude::*;

use super::*;
use crate::verify::command::Reader as Exit;
use crate::verify::read::{Left, Reading};
use crate::verify::result::{Report, State};

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
    assert_eq!(bailed.bailed.as_deref(), Some("it bailed out: no database"));
    for output in [
        "ok\n",
        "all is ok\n1..2 is a range\n",
        "",
        "ok 1 - without a plan\n",
    ] {
        assert_eq!(read(output), None, "{output}");
    }
}

/// What the output of a command that ended by itself comes to.
fn reading(output: &str, code: i32) -> Reading {
    let left = Left {
        job: "test_results/make",
        directory: "",
        ending: &Ending::Exited { code },
        timeout_s: 60,
        log: output.as_bytes(),
        stdout: b"",
        reports: &[],
    };
    crate::verify::read::read(Exit::JunitOrExit, &left)
}

/// Two programs that print at the same time.
const INTERLEAVED: &str = "1..2\n1..2\nok 1 - adds\nok 1 - prints\nok 2 - rounds\nok 2 - wraps\n";

#[test]
fn documents_that_run_into_each_other_are_judged_by_the_exit_code() {
    let green = reading(INTERLEAVED, 0);
    assert_eq!(green.state, State::Completed);
    let Report::Tests { cases, .. } = &green.report else {
        panic!("no tests: {:?}", green.report);
    };
    let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names, ["adds", "prints", "rounds", "wraps"]);
    assert!(
        green.notes.iter().any(|note| note.contains("exit code")),
        "{:?}",
        green.notes
    );

    let red = INTERLEAVED.replace("ok 2 - wraps", "not ok 2 - wraps");
    for (output, code) in [
        (INTERLEAVED, 2),
        (red.as_str(), 0),
        (red.as_str(), 2),
        ("1..1\nok 1 - a\nBail out! no database\n", 0),
    ] {
        let State::Broken { reason } = reading(output, code).state else {
            panic!("exit {code} was believed: {output}");
        };
        assert!(reason.starts_with("the output is TAP, but"), "{reason}");
    }
}

#[test]
fn a_line_of_a_log_is_no_part_of_a_tests_name() {
    let points = "1..2\nok 1 - adds\nok 2 - rounds\n";
    for log in [
        "compiled in 0.195469973 s",
        "make[1]: Entering directory '/work/src'",
        "cc -o round round.c",
        "done ..",
        "*** building all of it ***",
        "== t/round.sh ==",
    ] {
        expect(
            &format!("{log}\n{points}"),
            &[("adds", Passed), ("rounds", Passed)],
        );
    }
    // The name of an earlier file does not stay for a later document either.
    expect(
        "t/a.t ..\n1..1\nok 1 - a\nlinked in 3 s\n1..1\nok 1 - b\n",
        &[("t/a.t::a", Passed), ("b", Passed)],
    );
}

#[test]
fn documents_without_a_name_are_told_apart_where_their_tests_are_called_the_same() {
    expect(
        "1..2\nok 1 - init\nok 2 - adds\n1..2\nnot ok 1 - init\nok 2 - wraps\n1..1\nok 1 - init\n",
        &[
            ("init", Passed),
            ("adds", Passed),
            ("document 2::init", Failed),
            ("wraps", Passed),
            ("document 3::init", Passed),
        ],
    );
    // Within one document that is the suite's own doing.
    expect(
        "1..2\nok 1 - same\nok 2 - same\n",
        &[("same", Passed), ("same", Passed)],
    );
}

#[test]
fn a_harness_that_shows_everything_adds_no_tests() {
    expect(
        "t/a.t ... \nok 1 - a\nnot ok 2 - i\n1..2\nDubious, test returned 1 (wstat 256, 0x100)\nFailed 1/2 subtests \nt/bb.t .. \n1..1\nok 1 - a\nok\n\nTest Summary Report\n",
        &[
            ("t/a.t::a", Passed),
            ("t/a.t::i", Failed),
            ("t/bb.t::a", Passed),
        ],
    );
}

#[test]
fn points_in_braces_belong_to_the_point_before_them() {
    let output = "TAP version 14\nok 1 - a.js # time=3ms {\n    ok 1 - adds\n    ok 2 - deep {\n        ok 1 - below\n        1..1\n    }\n    1..2\n}\n\nnot ok 2 - b.js # time=9ms\n  ---\n  message: 'one is red'\n  ...\n{\n    not ok 1 - rounds\n    1..1\n}\nok 3 - reads {\nok 4 - empty {\n}\n1..4\n";
    expect(
        output,
        &[
            ("a.js", Passed),
            ("a.js::adds", Passed),
            ("a.js::deep", Passed),
            ("a.js > deep::below", Passed),
            ("b.js", Failed),
            ("b.js::rounds", Failed),
            ("reads {", Passed),
            ("empty", Passed),
        ],
    );
    let read = read(output).unwrap();
    assert_eq!(read.cases[4].message.as_deref(), Some("one is red"));
    // A brace that is never closed ends with the next point.
    expect(
        "1..2\nok 1 - a.js {\n    ok 1 - adds\n    1..1\nok 2 - b.js\n",
        &[("a.js", Passed), ("a.js::adds", Passed), ("b.js", Passed)],
    );
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(ok |not ok |1\\.\\.|[0-9]|TAP version |Bail out!|\\{|\\}|t/a\\.t \\.\\.|---|\\.\\.\\.|#|    |\\n|.){0,60}") {
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
