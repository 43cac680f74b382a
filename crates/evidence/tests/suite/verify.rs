//! What a bundle proves, and every way in which it must not.

use crate::support::{
    self, approval, builder, change, join, key, lines, resign, seal, subjects, user,
};
use matrix_core::{Digest, Problem};
use matrix_evidence::bundle::Builder;
use matrix_evidence::dsse::Envelope;
use matrix_evidence::predicate::change::RiskLevel;
use matrix_evidence::predicate::test_result::Outcome;
use matrix_evidence::predicate::{Change, CycloneDxBom, TestResult};
use matrix_evidence::statement::{Predicate as _, Resource};
use matrix_evidence::{Artifact, Kind, Status, VerifyError, cyclonedx, verify};
use proptest::prelude::*;
use serde_json::{Value, json};

fn errors(bundle: &[u8]) -> Vec<VerifyError> {
    verify(bundle, &[key(1).public()], &[]).expect_err("the bundle must not verify")
}

/// The bundle fails, and one of the failures is of this code.
fn refuses(bundle: &[u8], code: &str) {
    let errors = errors(bundle);
    assert!(
        errors.iter().any(|error| error.code().text == code),
        "expected {code} among {errors:#?}"
    );
}

/// A change edited before it is sealed: signed and complete, but wrong in itself.
fn refuses_change(code: &str, edit: impl FnOnce(&mut Change)) {
    let mut change = change();
    edit(&mut change);
    refuses(&seal(change), code);
}

/// Evidence edited, with root and approval made to fit, so that only the edit is wrong.
fn refuses_evidence(code: &str, edit: impl FnOnce(&mut Change)) {
    refuses_change(code, |change| {
        edit(change);
        let bindings = support::bindings(&change.evidence);
        change.approvals = vec![approval("bo", bindings.clone())];
        change.bindings = bindings;
    });
}

#[test]
fn a_whole_bundle_verifies_and_says_what_it_proves() {
    let source = Artifact {
        name: "downloads/source.tar".into(),
        digest: Digest::of("source.tar"),
    };
    let bundle = seal(change());
    let verified = verify(&bundle, &[key(9).public(), key(1).public()], &[source]).unwrap();
    assert_eq!(verified.keys, [key(1).public().key_id()]);
    assert_eq!(verified.statements.len(), 8);
    assert_eq!(verified.statements[0].predicate_type, Change::TYPE);
    assert_eq!(verified.passed.len(), 5);
    assert_eq!(verified.skipped.len(), 1);
    assert_eq!(verified.skipped[0].kind, Kind::DependencyAudit);
    assert_eq!(verified.skipped[0].reason, "no OSV database was given");
    assert_eq!(verified.approvals[0].principal, user("bo"));
    assert_eq!(verified.artifacts[0].subject, "source.tar");
    assert_eq!(verified.risk, RiskLevel::Medium);
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    assert_eq!(seal(change()), seal(change()));
}

#[test]
fn the_order_of_lines_does_not_matter() {
    let mut lines = lines(&seal(change()));
    lines.reverse();
    verify(&join(&lines), &[key(1).public()], &[]).unwrap();
}

#[test]
fn every_single_byte_counts() {
    let keys = [key(1).public()];
    let mut small = Builder::new(subjects());
    small.state(support::tests()).unwrap();
    let bundle = small.seal(change(), &[&key(1)]).unwrap();
    verify(&bundle, &keys, &[]).expect("the untouched bundle verifies");
    for at in 0..bundle.len() {
        let mut tampered = bundle.clone();
        tampered[at] ^= 1 << (at % 8);
        assert!(
            verify(&tampered, &keys, &[]).is_err(),
            "a changed bit at byte {at} of {} went unnoticed",
            bundle.len()
        );
    }
    for length in 0..bundle.len() {
        assert!(
            verify(&bundle[..length], &keys, &[]).is_err(),
            "a bundle cut to {length} bytes verified"
        );
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_verifier_panic_or_pass(bytes: Vec<u8>, text in "[\\{\\}\":,a-z0-9\n]{0,200}") {
        let keys = [key(1).public()];
        prop_assert!(verify(&bytes, &keys, &[]).is_err());
        prop_assert!(verify(text.as_bytes(), &keys, &[]).is_err());
    }

    #[test]
    fn bytes_put_in_or_taken_out_are_noticed(at: prop::sample::Index, byte: Option<u8>) {
        let bundle = seal(change());
        let at = at.index(bundle.len());
        let mut tampered = bundle.clone();
        match byte {
            Some(byte) => tampered.insert(at, byte),
            None => { tampered.remove(at); }
        }
        prop_assert!(verify(&tampered, &[key(1).public()], &[]).is_err());
    }
}

#[test]
fn nothing_verifies_without_a_key() {
    let failure = verify(&seal(change()), &[], &[]).unwrap_err();
    assert_eq!(failure, [VerifyError::NoKeys]);
    let problem = Problem::from(failure[0].clone());
    assert_eq!((problem.code.text, problem.code.exit), ("BUNDLE-0003", 1));
}

#[test]
fn an_unknown_key_is_refused_on_every_line() {
    let failure = verify(&seal(change()), &[key(2).public()], &[]).unwrap_err();
    assert_eq!(failure.len(), 8);
    assert!(
        failure
            .iter()
            .all(|error| error.code().text == "BUNDLE-0004")
    );
}

#[test]
fn empty_files_are_refused() {
    for empty in [&b""[..], b"\n", b"\n\n"] {
        assert!(verify(empty, &[key(1).public()], &[]).is_err());
    }
    refuses(b"", "BUNDLE-0001");
    refuses(b"\n", "BUNDLE-0001");
}

#[test]
fn a_line_of_another_form_is_refused() {
    let mut parts = lines(&seal(change()));
    let value: Value = serde_json::from_slice(&parts[1]).unwrap();
    parts[1] = serde_json::to_string(&value)
        .unwrap()
        .replace("\":", "\": ")
        .into();
    refuses(&join(&parts), "BUNDLE-0002");
    parts[1] = b"hello".to_vec();
    refuses(&join(&parts), "BUNDLE-0002");
}

#[test]
fn two_signers_verify_with_either_key_and_mixed_ones_do_not() {
    let both = builder().seal(change(), &[&key(1), &key(2)]).unwrap();
    verify(&both, &[key(1).public()], &[]).unwrap();
    let verified = verify(&both, &[key(1).public(), key(2).public()], &[]).unwrap();
    assert_eq!(verified.keys.len(), 2);
    let mut parts = lines(&seal(change()));
    parts[2] = resign(&parts[2], &key(2), |_| {});
    let keys = [key(1).public(), key(2).public()];
    let failure = verify(&join(&parts), &keys, &[]).unwrap_err();
    assert_eq!(failure, [VerifyError::MixedKeys]);
}

#[test]
fn a_signature_of_another_payload_type_is_no_statement() {
    let mut parts = lines(&seal(change()));
    let envelope = Envelope::from_json(&parts[1]).unwrap();
    let other = Envelope::sign("text/plain", envelope.payload, &[&key(1)]).unwrap();
    parts[1] = other.to_json().unwrap().into();
    refuses(&join(&parts), "BUNDLE-0005");
}

#[test]
fn missing_extra_and_doubled_statements_are_refused() {
    let whole = lines(&seal(change()));
    for at in 0..whole.len() {
        let mut parts = whole.clone();
        parts.remove(at);
        refuses(&join(&parts), "BUNDLE-0006");
        let mut parts = whole.clone();
        parts.push(whole[at].clone());
        refuses(&join(&parts), "BUNDLE-0006");
    }
    let mut parts = whole.clone();
    parts.push(resign(&whole[2], &key(1), |value| {
        value["predicate"]["passedTests"] = json!(["another"]);
    }));
    refuses(&join(&parts), "BUNDLE-0006");
}

#[test]
fn a_statement_of_another_change_is_refused_though_signed() {
    let mut other = Builder::new(subjects());
    let mut result = support::tests();
    result.passed_tests = vec!["of another run".into()];
    other.state(result).unwrap();
    let other = lines(&other.seal(change(), &[&key(1)]).unwrap());
    let mut parts = lines(&seal(change()));
    parts[2].clone_from(&other[1]);
    let codes: Vec<_> = errors(&join(&parts))
        .iter()
        .map(VerifyError::code)
        .collect();
    assert_eq!(codes.len(), 2, "one extra, one missing: {codes:?}");
    assert!(codes.iter().all(|code| code.text == "BUNDLE-0006"));
}

#[test]
fn unknown_predicates_and_versions_are_refused() {
    let whole = lines(&seal(change()));
    for (at, uri) in [
        (0, "urn:matrix:predicate:change:v2"),
        (1, "https://slsa.dev/provenance/v2"),
        (1, "https://example.org/anything"),
    ] {
        let mut parts = whole.clone();
        parts[at] = resign(&whole[at], &key(1), |value| {
            value["predicateType"] = json!(uri);
        });
        refuses(&join(&parts), "BUNDLE-0005");
    }
    let mut parts = whole.clone();
    parts[1] = resign(&whole[1], &key(1), |value| {
        value["_type"] = json!("https://in-toto.io/Statement/v0.1");
    });
    refuses(&join(&parts), "BUNDLE-0005");
    let mut parts = whole.clone();
    parts[0] = resign(&whole[0], &key(1), |value| {
        value["predicate"]["more"] = json!(1);
    });
    refuses(&join(&parts), "BUNDLE-0005");
}

#[test]
fn wrong_subjects_are_refused() {
    let mut builder = builder();
    let elsewhere = vec![Resource::sha256("other.tar", Digest::of("other"))];
    builder.state_about(elsewhere, support::tests()).unwrap();
    refuses(&builder.seal(change(), &[&key(1)]).unwrap(), "BUNDLE-0007");
    refuses_change("BUNDLE-0007", |change| change.source.tree = "0".repeat(40));
    refuses_change("BUNDLE-0007", |change| {
        change.source.commit = Some("0".repeat(40));
    });
    refuses_change("BUNDLE-0007", |change| {
        change
            .artifacts
            .push(Resource::sha256("secret.bin", Digest::of("secret")));
    });
    let nothing = Builder::new(Vec::new()).seal(change(), &[&key(1)]).unwrap();
    refuses(&nothing, "BUNDLE-0007");
}

#[test]
fn a_file_it_does_not_speak_about_is_refused() {
    let artifact = Artifact {
        name: "source.tar".into(),
        digest: Digest::of("replaced"),
    };
    let failure = verify(&seal(change()), &[key(1).public()], &[artifact]).unwrap_err();
    assert_eq!(failure[0].code().text, "BUNDLE-0008");
    assert!(failure[0].to_string().contains("source.tar"));
}

#[test]
fn failed_or_silent_evidence_is_refused() {
    refuses_evidence("BUNDLE-0009", |change| {
        change.evidence[0].status = Status::Failed;
    });
    refuses_evidence("BUNDLE-0010", |change| {
        change.evidence[0].status = Status::Skipped;
    });
    refuses_evidence("BUNDLE-0012", |change| {
        change.evidence.push(change.evidence[0].clone());
    });
}

#[test]
fn required_kinds_must_have_passed() {
    refuses_evidence("BUNDLE-0010", |change| {
        change.gate.required.push(Kind::DependencyAudit);
    });
    refuses_evidence("BUNDLE-0010", |change| {
        change
            .evidence
            .retain(|entry| entry.kind != Kind::SecurityScan);
    });
}

#[test]
fn evidence_that_the_gate_did_not_see_is_refused() {
    refuses_change("BUNDLE-0012", |change| {
        change.evidence[0].summary = "better".into();
    });
}

#[test]
fn a_failed_test_result_is_refused_whatever_the_change_says() {
    let mut failed = support::tests();
    failed.result = Outcome::Failed;
    failed.failed_tests = vec!["half".into()];
    let mut builder = Builder::new(subjects());
    builder.state::<TestResult>(failed).unwrap();
    refuses(&builder.seal(change(), &[&key(1)]).unwrap(), "BUNDLE-0009");
}

#[test]
fn stale_approvals_are_refused_whichever_digest_moved() {
    let edits: [fn(&mut Change); 5] = [
        |change| change.bindings.plan = Digest::of("x"),
        |change| change.bindings.patch = Digest::of("x"),
        |change| change.bindings.policy = Digest::of("x"),
        |change| change.bindings.dry_run = Digest::of("x"),
        |change| change.approvals[0].bound.evidence = Digest::of("x"),
    ];
    for edit in edits {
        refuses_change("BUNDLE-0011", edit);
    }
    let mut stale = change();
    stale.bindings.dry_run = Digest::of("x");
    let failure = errors(&seal(stale));
    let text = failure[0].to_string();
    assert_eq!(
        text,
        "the approval of user:bo is stale: it was given for another dry run"
    );
}

#[test]
fn approvals_are_counted_by_person() {
    refuses_change("BUNDLE-0011", |change| change.approvals.clear());
    refuses_change("BUNDLE-0011", |change| {
        change.gate.approvals = 2;
        change.approvals.push(change.approvals[0].clone());
    });
    let mut two = change();
    two.gate.approvals = 2;
    two.approvals.push(approval("cy", two.bindings.clone()));
    verify(&seal(two), &[key(1).public()], &[]).expect("two people are two approvals");
}

#[test]
fn submitters_agents_and_delegators_do_not_approve() {
    refuses_change("BUNDLE-0011", |change| {
        change.approvals[0].principal = user("ana");
    });
    refuses_change("BUNDLE-0011", |change| {
        change.approvals[0].principal.kind = matrix_core::PrincipalKind::Agent;
    });
    refuses_change("BUNDLE-0011", |change| {
        change.on_behalf_of = vec![user("bo")];
    });
    refuses_change("BUNDLE-0011", |change| {
        change.approvals[0].self_approval = true;
    });
}

#[test]
fn a_recorded_self_approval_counts_but_never_for_critical() {
    let mut own = change();
    own.approvals[0].principal = user("ana");
    own.approvals[0].self_approval = true;
    own.risk.level = RiskLevel::High;
    let verified = verify(&seal(own.clone()), &[key(1).public()], &[]).unwrap();
    assert!(verified.approvals[0].self_approval);
    own.risk.level = RiskLevel::Critical;
    refuses(&seal(own), "BUNDLE-0011");
    refuses_change("BUNDLE-0011", |change| {
        change.risk.level = RiskLevel::Critical;
        change.gate.approvals = 0;
        change.approvals.clear();
    });
}

#[test]
fn contradictions_are_refused() {
    refuses_change("BUNDLE-0012", |change| change.sandbox.escaped = 1);
    refuses_change("BUNDLE-0012", |change| change.run.id = "run_other".into());
    let mut summary = support::summary();
    summary.verification_result = matrix_evidence::predicate::summary::Verdict::Failed;
    let mut builder = Builder::new(subjects());
    builder.summarise(summary).unwrap();
    refuses(&builder.seal(change(), &[&key(1)]).unwrap(), "BUNDLE-0012");
}

#[test]
fn ten_statements_take_less_than_fifty_milliseconds() {
    let lock = &include_bytes!("../../../../Cargo.lock")[..];
    let inventory = matrix_evidence::lockfile::read([("Cargo.lock", lock)]);
    let mut builder = builder();
    let bom = cyclonedx::document(&inventory, support::bom_subject()).unwrap();
    builder.state(CycloneDxBom(bom)).unwrap();
    let mut result = support::tests();
    result.passed_tests = (0..1000).map(|n| format!("suite::case_{n}")).collect();
    builder.state(result).unwrap();
    let bundle = builder.seal(change(), &[&key(1)]).unwrap();
    assert_eq!(lines(&bundle).len(), 10);
    let best = (0..10)
        .map(|_| {
            #[expect(clippy::disallowed_methods, reason = "this test measures real time")]
            let start = std::time::Instant::now();
            verify(&bundle, &[key(1).public()], &[]).unwrap();
            start.elapsed()
        })
        .min()
        .unwrap();
    println!("ten statements, {} bytes: {best:?}", bundle.len());
    assert!(best.as_millis() < 50, "verifying took {best:?}");
}
