//! The verifier for those who distrust us must agree with ours, code for code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use matrix_core::Digest;
use matrix_evidence::bundle::Builder;
use matrix_evidence::dsse::Envelope;
use matrix_evidence::predicate::Change;
use matrix_evidence::predicate::change::RiskLevel;
use matrix_evidence::predicate::summary::Verdict;
use matrix_evidence::predicate::test_result::Outcome;
use matrix_evidence::statement::Resource;
use matrix_evidence::{Artifact, Kind, PublicKey, Status, verify};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::interop::tool;
use crate::support::{
    self, approval, bindings, builder, change, join, key, lines, resign, seal, subjects, user,
};

/// What each verifier is given: one folder for all cases, because starting Python takes longest.
struct Case {
    name: String,
    bundle: Vec<u8>,
    keys: Vec<PublicKey>,
    artifacts: Vec<(&'static str, &'static [u8])>,
}

fn case(name: &str, bundle: Vec<u8>) -> Case {
    Case {
        name: name.into(),
        bundle,
        keys: vec![key(1).public()],
        artifacts: Vec::new(),
    }
}

fn edited(name: &str, edit: impl FnOnce(&mut Change)) -> Case {
    let mut change = change();
    edit(&mut change);
    case(name, seal(change))
}

/// Evidence edited, with root and approval made to fit.
fn refitted(name: &str, edit: impl FnOnce(&mut Change)) -> Case {
    edited(name, |change| {
        edit(change);
        let bound = bindings(&change.evidence);
        change.approvals = vec![approval("bo", bound.clone())];
        change.bindings = bound;
    })
}

/// One line's statement edited and signed again.
fn resigned(name: &str, line: usize, edit: impl FnOnce(&mut Value)) -> Case {
    let mut parts = lines(&seal(change()));
    parts[line] = resign(&parts[line], &key(1), edit);
    case(name, join(&parts))
}

/// The same signature with the group's order added to its scalar: equal to lax verifiers.
fn unreduced(line: &[u8]) -> Vec<u8> {
    let order = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
    let mut envelope = Envelope::from_json(line).unwrap();
    let scalar = &mut envelope.signatures[0].bytes[32..];
    let mut carry = 0_u16;
    for (byte, add) in scalar.iter_mut().zip(hex::decode(order).unwrap()) {
        carry += u16::from(*byte) + u16::from(add);
        *byte = u8::try_from(carry & 0xff).unwrap();
        carry >>= 8;
    }
    assert_eq!(carry, 0, "the sum still fits");
    envelope.to_json().unwrap().into_bytes()
}

fn about_files() -> Vec<Case> {
    let whole = seal(change());
    let mut cut = whole.clone();
    cut.pop();
    let mut flipped = whole.clone();
    flipped[500] ^= 1;
    let mut spaced = lines(&whole);
    spaced[0] = String::from_utf8(spaced[0].clone())
        .unwrap()
        .replacen(':', ": ", 1)
        .into();
    let mut other_type = lines(&whole);
    let envelope = Envelope::from_json(&other_type[1]).unwrap();
    let signed = Envelope::sign("text/plain", envelope.payload, &[&key(1)]).unwrap();
    other_type[1] = signed.to_json().unwrap().into();
    let mut malleated = lines(&whole);
    malleated[3] = unreduced(&malleated[3]);
    let mut mixed = lines(&whole);
    mixed[2] = resign(&mixed[2], &key(2), |_| {});
    let both = builder().seal(change(), &[&key(1), &key(2)]).unwrap();
    vec![
        case("whole", whole.clone()),
        case("two signers", both),
        case("cut", cut),
        case("flipped", flipped),
        case("spaced", join(&spaced)),
        case("unreduced signature", join(&malleated)),
        case("other payload type", join(&other_type)),
        case("empty", Vec::new()),
        case("only a line end", b"\n".to_vec()),
        case("not utf-8", b"\xff\n".to_vec()),
        Case {
            keys: Vec::new(),
            ..case("no key", whole.clone())
        },
        Case {
            keys: vec![key(2).public()],
            ..case("unknown key", whole.clone())
        },
        Case {
            keys: vec![key(1).public(), key(2).public()],
            ..case("mixed keys", join(&mixed))
        },
        Case {
            artifacts: vec![("source.tar", b"source.tar")],
            ..case("artifact", whole.clone())
        },
        Case {
            artifacts: vec![("source.tar", b"other")],
            ..case("wrong artifact", whole)
        },
    ]
}

fn about_statements() -> Vec<Case> {
    let whole = lines(&seal(change()));
    let mut cases = Vec::new();
    for at in 0..whole.len() {
        let mut parts = whole.clone();
        parts.remove(at);
        cases.push(case(&format!("without line {at}"), join(&parts)));
    }
    let mut doubled = whole.clone();
    doubled.push(whole[3].clone());
    cases.push(case("doubled", join(&doubled)));
    let mut foreign = builder();
    foreign
        .state_about(
            vec![Resource::sha256("o", Digest::of("o"))],
            support::tests(),
        )
        .unwrap();
    cases.push(case(
        "foreign subject",
        foreign.seal(change(), &[&key(1)]).unwrap(),
    ));
    let nothing = Builder::new(Vec::new()).seal(change(), &[&key(1)]).unwrap();
    cases.push(case("no subject", nothing));
    cases.extend([
        resigned("next version", 0, |v| {
            v["predicateType"] = json!("urn:matrix:predicate:change:v2");
        }),
        resigned("unheard member", 0, |v| {
            v["predicate"]["run"]["more"] = json!(1);
        }),
        resigned("wrong type", 0, |v| {
            v["predicate"]["gate"]["approvals"] = json!("1");
        }),
        resigned("upper-case digest", 0, |v| {
            v["predicate"]["run"]["head"] = json!("A".repeat(64));
        }),
        resigned("other statement type", 2, |v| v["_type"] = json!("x")),
        resigned("edited statement", 2, |v| {
            v["predicate"]["passedTests"] = json!(["x"]);
        }),
        resigned("unreadable statement", 2, |v| {
            v["predicate"]["result"] = json!("MAYBE");
        }),
    ]);
    cases
}

fn about_contents() -> Vec<Case> {
    let mut failed = support::tests();
    failed.result = Outcome::Failed;
    let mut with_failed = Builder::new(subjects());
    with_failed.state(failed).unwrap();
    let mut verdict = support::summary();
    verdict.verification_result = Verdict::Failed;
    let mut with_verdict = Builder::new(subjects());
    with_verdict.summarise(verdict).unwrap();
    vec![
        case(
            "failed test result",
            with_failed.seal(change(), &[&key(1)]).unwrap(),
        ),
        case(
            "failed verdict",
            with_verdict.seal(change(), &[&key(1)]).unwrap(),
        ),
        edited("other tree", |c| c.source.tree = "0".repeat(40)),
        edited("other commit", |c| c.source.commit = Some("0".repeat(40))),
        edited("no commit", |c| c.source.commit = None),
        edited("more artifacts", |c| {
            c.artifacts.push(Resource::sha256("x", Digest::of("x")));
        }),
        edited("other evidence", |c| {
            c.evidence[0].summary = "better".into();
        }),
        edited("other run", |c| c.run.id = "run_other".into()),
        edited("escaped", |c| c.sandbox.escaped = 2),
        refitted("failed", |c| c.evidence[0].status = Status::Failed),
        refitted("skipped silently", |c| {
            c.evidence[0].status = Status::Skipped;
        }),
        refitted("listed twice", |c| c.evidence.push(c.evidence[0].clone())),
        refitted("required but skipped", |c| {
            c.gate.required.push(Kind::DependencyAudit);
        }),
        refitted("required but missing", |c| {
            c.evidence.retain(|entry| entry.kind != Kind::SecurityScan);
        }),
        refitted("no tests ran", |c| {
            c.evidence.retain(|entry| entry.kind != Kind::TestResults);
        }),
    ]
}

fn about_approvals() -> Vec<Case> {
    vec![
        edited("stale plan", |c| {
            c.approvals[0].bound.plan = Digest::of("x");
        }),
        edited("stale dry run", |c| c.bindings.dry_run = Digest::of("x")),
        edited("other policy", |c| c.bindings.policy = Digest::of("x")),
        edited("no approval", |c| c.approvals.clear()),
        edited("one of two", |c| c.gate.approvals = 2),
        edited("the same person twice", |c| {
            c.gate.approvals = 2;
            c.approvals.push(c.approvals[0].clone());
        }),
        edited("the submitter", |c| c.approvals[0].principal = user("ana")),
        edited("a delegator", |c| c.on_behalf_of = vec![user("bo")]),
        edited("an agent", |c| {
            c.approvals[0].principal.kind = matrix_core::PrincipalKind::Agent;
        }),
        edited("self-approval", |c| {
            c.approvals[0].principal = user("ana");
            c.approvals[0].self_approval = true;
        }),
        edited("not a self-approval", |c| {
            c.approvals[0].self_approval = true;
        }),
        edited("critical, agreed to", |c| {
            c.risk.level = RiskLevel::Critical;
        }),
        edited("critical, by itself", |c| {
            c.risk.level = RiskLevel::Critical;
            c.gate.approvals = 0;
            c.approvals.clear();
        }),
    ]
}

fn ours(case: &Case) -> BTreeSet<String> {
    let artifacts: Vec<Artifact> = case
        .artifacts
        .iter()
        .map(|(name, bytes)| Artifact {
            name: (*name).into(),
            digest: Digest::of(bytes),
        })
        .collect();
    match verify(&case.bundle, &case.keys, &artifacts) {
        Ok(_) => BTreeSet::new(),
        Err(errors) => errors
            .iter()
            .map(|error| error.code().text.to_owned())
            .collect(),
    }
}

fn theirs(case: &Case) -> BTreeSet<String> {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/verify/verify.py");
    // Isolated and without installed packages: the standard library is all it may use.
    let mut command = tool("python");
    command.args(["-I", "-S"]).arg(script).arg("--json");
    command.arg(write("bundle", &case.bundle));
    for (index, key) in case.keys.iter().enumerate() {
        let pem = key.to_pem().unwrap();
        command
            .arg("--key")
            .arg(write(&format!("{index}.pem"), pem.as_bytes()));
    }
    for (name, bytes) in &case.artifacts {
        command.arg("--artifact").arg(write(name, bytes));
    }
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let shown: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{}: {error}: {errors}", case.name));
    let codes: BTreeSet<String> = shown["failures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|failure| failure["code"].as_str().unwrap().to_owned())
        .collect();
    let exit = i32::from(!codes.is_empty());
    assert_eq!(output.status.code(), Some(exit), "{}: {errors}", case.name);
    codes
}

fn agree(cases: &[Case], whole: &[&str]) {
    for case in cases {
        let codes = ours(case);
        assert_eq!(
            theirs(case),
            codes,
            "the verifiers disagree on `{}`",
            case.name
        );
        let verifies = whole.contains(&case.name.as_str());
        assert_eq!(codes.is_empty(), verifies, "`{}`: {codes:?}", case.name);
    }
}

#[test]
fn both_verifiers_agree_on_files() {
    agree(&about_files(), &["whole", "two signers", "artifact"]);
}

#[test]
fn both_verifiers_agree_on_statements() {
    agree(&about_statements(), &[]);
}

#[test]
fn both_verifiers_agree_on_contents() {
    agree(&about_contents(), &["no commit"]);
}

#[test]
fn both_verifiers_agree_on_approvals() {
    agree(
        &about_approvals(),
        &["self-approval", "critical, agreed to"],
    );
}

/// Every place in a value, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let name = name.replace('~', "~0").replace('/', "~1");
                places(member, &format!("{at}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                places(item, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

/// The value with one place replaced, or taken out.
fn with(value: &Value, at: &str, put: Option<&Value>) -> Value {
    let mut value = value.clone();
    if let Some(put) = put {
        *value.pointer_mut(at).unwrap() = put.clone();
        return value;
    }
    let (parent, name) = at.rsplit_once('/').unwrap();
    match value.pointer_mut(parent).unwrap() {
        Value::Object(members) => drop(members.remove(name)),
        Value::Array(items) => drop(items.remove(name.parse().unwrap())),
        _ => {}
    }
    value
}

/// One small bundle with every member that a change can have.
fn fullest() -> Vec<Vec<u8>> {
    let mut builder = Builder::new(subjects());
    builder.state(support::tests()).unwrap();
    builder.state(support::provenance()).unwrap();
    builder.summarise(support::summary()).unwrap();
    let mut full = change();
    full.on_behalf_of = vec![user("desk")];
    full.release = Some("rel_1".into());
    if let Some(deployment) = &mut full.deployment {
        deployment.environment = Some("staging".into());
    }
    lines(&builder.seal(full, &[&key(1)]).unwrap())
}

/// Each place of the change statement taken out and replaced by each kind of value, signed anew.
#[test]
fn both_verifiers_read_the_same_form() {
    let parts = fullest();
    let envelope = Envelope::from_json(&parts[0]).unwrap();
    let statement: Value = serde_json::from_slice(&envelope.payload).unwrap();
    let mut found = Vec::new();
    places(&statement, "", &mut found);
    let puts = [
        None,
        Some(json!(null)),
        Some(json!(7)),
        Some(json!(1.5)),
        Some(json!(1_u64 << 40)),
        Some(json!(false)),
        Some(json!("")),
        Some(json!("user")),
        Some(json!([])),
        Some(json!({"x": "y"})),
    ];
    let folder = TempDir::new().unwrap();
    let bundles = folder.path().join("bundles");
    std::fs::create_dir(&bundles).unwrap();
    let mut expected = BTreeMap::new();
    for (index, at) in found.iter().enumerate().skip(1) {
        for (number, put) in puts.iter().enumerate() {
            let edited = with(&statement, at, put.as_ref());
            let mut parts = parts.clone();
            parts[0] = resign(&parts[0], &key(1), |value| *value = edited);
            let case = case(&format!("{index:04}-{number}"), join(&parts));
            std::fs::write(bundles.join(&case.name), &case.bundle).unwrap();
            expected.insert(case.name.clone(), (ours(&case), at, put));
        }
    }
    let key_file = folder.path().join("key.pem");
    std::fs::write(&key_file, key(1).public().to_pem().unwrap()).unwrap();
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = tool("python");
    command.args(["-I", "-S"]);
    command.arg(manifest.join("tests/interop/differential.py"));
    command.arg(manifest.join("../../examples/verify/verify.py"));
    let output = command.arg(key_file).arg(bundles).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let theirs: BTreeMap<String, BTreeSet<String>> =
        serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(theirs.len(), expected.len());
    let differ: Vec<String> = expected
        .iter()
        .filter(|(name, (codes, ..))| {
            // Which of several faults is met first may differ; the verdict may not.
            codes.is_empty() != theirs[*name].is_empty()
                || (!codes.is_empty() && codes.is_disjoint(&theirs[*name]))
        })
        .map(|(name, (codes, at, put))| format!("{at} = {put:?}: {codes:?} or {:?}", theirs[name]))
        .collect();
    assert!(
        differ.is_empty(),
        "{} of {}: {differ:#?}",
        differ.len(),
        expected.len()
    );
}
