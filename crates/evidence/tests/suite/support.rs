//! A sample change with a bundle of every statement kind, and the means to tamper with it.

use std::collections::BTreeMap;

use matrix_core::{Digest, Principal, PrincipalKind, Timestamp};
use matrix_evidence::bom::BomSubject;
use matrix_evidence::bundle::Builder;
use matrix_evidence::dsse::{Envelope, PAYLOAD_TYPE};
use matrix_evidence::predicate::change::{
    Approval, Bindings, Deployment, EvidenceEntry, Gate, Risk, RiskLevel, Run, SelfTest, Source,
    evidence_root,
};
use matrix_evidence::predicate::provenance::{
    self, BUILD_TYPE, BuildDefinition, Metadata, RunDetails,
};
use matrix_evidence::predicate::summary::{Policy, Verdict, Verifier};
use matrix_evidence::predicate::test_result::Outcome;
use matrix_evidence::predicate::{
    AttributeReport, Change, CycloneDxBom, Provenance, SpdxDocument, TestResult,
    VerificationSummary,
};
use matrix_evidence::statement::{Resource, Time};
use matrix_evidence::{ArtifactRef, Evidence, Kind, SigningKey, Status};
use serde_json::{Map, Value, json};

pub(crate) const TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
pub(crate) const BASE: &str = "1111111111111111111111111111111111111111";
pub(crate) const COMMIT: &str = "2222222222222222222222222222222222222222";
pub(crate) const RUN: &str = "run_01k3v5wz0sf5n9wy5rj8n4q6xa";

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_entropy([seed; 32]).unwrap()
}

pub(crate) fn time(second: i64) -> Time {
    Timestamp::from_micros((1_790_000_000 + second) * 1_000_000).into()
}

pub(crate) fn user(name: &str) -> Principal {
    Principal {
        kind: PrincipalKind::User,
        name: name.into(),
    }
}

fn artifact(name: &str, media_type: &str) -> ArtifactRef {
    ArtifactRef {
        name: name.into(),
        media_type: media_type.into(),
        digest: Digest::of(name),
        size: name.len() as u64,
    }
}

pub(crate) fn evidence() -> Vec<Evidence> {
    let one = |kind, status, reason: Option<&str>, files: &[(&str, &str)]| Evidence {
        kind,
        status,
        reason: reason.map(Into::into),
        summary: format!("{kind} in one line"),
        details: BTreeMap::from([("count".into(), json!(3)), ("share".into(), json!(0.5))]),
        artifacts: files
            .iter()
            .map(|(name, kind)| artifact(name, kind))
            .collect(),
        duration_ms: 12,
    };
    let sarif = "application/sarif+json";
    vec![
        one(Kind::Lint, Status::Passed, None, &[("lint.sarif", sarif)]),
        one(
            Kind::TestResults,
            Status::Passed,
            None,
            &[("junit.xml", "application/xml")],
        ),
        one(
            Kind::BuildLog,
            Status::Passed,
            None,
            &[("build.log", "text/plain")],
        ),
        one(
            Kind::SecurityScan,
            Status::Passed,
            None,
            &[("scan.sarif", sarif)],
        ),
        one(
            Kind::DependencyAudit,
            Status::Skipped,
            Some("no OSV database was given"),
            &[],
        ),
        one(
            Kind::Sbom,
            Status::Passed,
            None,
            &[("bom.cdx.json", "application/json")],
        ),
    ]
}

pub(crate) fn bindings(evidence: &[EvidenceEntry]) -> Bindings {
    Bindings {
        plan: Digest::of("plan"),
        patch: Digest::of("patch"),
        tree: TREE.into(),
        evidence: evidence_root(evidence).unwrap(),
        policy: Digest::of("policy"),
        dry_run: Digest::of("dry run"),
    }
}

pub(crate) fn approval(name: &str, bound: Bindings) -> Approval {
    Approval {
        principal: user(name),
        at: time(5),
        bound,
        self_approval: false,
        reason: Some("looks right, ünïcode too".into()),
    }
}

pub(crate) fn subjects() -> Vec<Resource> {
    vec![
        Resource::sha256("source.tar", Digest::of("source.tar")),
        Resource::git_tree("source tree", TREE),
        Resource::git_commit("published commit", COMMIT),
    ]
}

/// A change that verifies: medium risk, one other person agreed.
pub(crate) fn change() -> Change {
    let evidence = EvidenceEntry::all(&evidence()).unwrap();
    let bindings = bindings(&evidence);
    Change {
        run: Run {
            id: RUN.into(),
            seq: 41,
            head: Digest::of("head"),
            signed_at: time(9),
        },
        title: "Round half to even – «½»".into(),
        submitter: user("ana"),
        on_behalf_of: Vec::new(),
        source: Source {
            base_commit: BASE.into(),
            tree: TREE.into(),
            commit: Some(COMMIT.into()),
        },
        approvals: vec![approval("bo", bindings.clone())],
        bindings,
        evidence,
        risk: Risk {
            level: RiskLevel::Medium,
            reasons: vec!["touches src/".into()],
        },
        gate: Gate {
            required: vec![Kind::TestResults, Kind::SecurityScan],
            approvals: 1,
            decided_at: time(6),
        },
        sandbox: SelfTest {
            digest: Digest::of("self-test"),
            summary: "namespaces, seccomp, Landlock".into(),
            held: 64,
            escaped: 0,
        },
        deployment: Some(Deployment {
            id: "dep_01k3v5wz0sf5n9wy5rj8n4q6xa".into(),
            target: "local".into(),
            environment: None,
        }),
        release: None,
        artifacts: vec![(&artifact("source.tar", "application/x-tar")).into()],
        statements: Vec::new(),
    }
}

pub(crate) fn provenance() -> Provenance {
    let mut parameters = Map::new();
    parameters.insert("plan".into(), json!({"sha256": Digest::of("plan")}));
    parameters.insert("target".into(), json!("local"));
    Provenance {
        build_definition: BuildDefinition {
            build_type: BUILD_TYPE.into(),
            external_parameters: parameters,
            internal_parameters: Map::new(),
            resolved_dependencies: vec![Resource::git_commit("base", BASE)],
        },
        run_details: RunDetails {
            builder: provenance::Builder {
                id: "urn:matrix:builder:local".into(),
                version: Map::from_iter([("matrix".into(), json!("0.1.0"))]),
            },
            metadata: Metadata {
                invocation_id: RUN.into(),
                started_on: time(0),
                finished_on: time(4),
            },
            byproducts: vec![Resource::sha256("build.log", Digest::of("build.log"))],
        },
    }
}

pub(crate) fn tests() -> TestResult {
    TestResult {
        result: Outcome::Passed,
        configuration: vec![Resource::sha256("junit.xml", Digest::of("junit.xml"))],
        passed_tests: vec!["half".into(), "whole".into()],
        warned_tests: Vec::new(),
        failed_tests: Vec::new(),
    }
}

pub(crate) fn summary() -> VerificationSummary {
    VerificationSummary {
        verifier: Verifier {
            id: "urn:matrix:gate".into(),
        },
        time_verified: time(6),
        resource_uri: format!("urn:matrix:change:{RUN}"),
        policy: Policy {
            uri: "urn:matrix:policy:default".into(),
            digest: BTreeMap::from([("sha256".into(), Digest::of("policy").to_string())]),
        },
        input_attestations: Vec::new(),
        verification_result: Verdict::Passed,
        verified_levels: vec!["SLSA_BUILD_LEVEL_1".into()],
        slsa_version: Some("1.2".into()),
    }
}

/// Ten statements would be usual: six kinds besides the change, some of them twice.
pub(crate) fn builder() -> Builder {
    let mut builder = Builder::new(subjects());
    builder.state(provenance()).unwrap();
    builder.state(tests()).unwrap();
    builder
        .state(CycloneDxBom(
            json!({"bomFormat": "CycloneDX", "specVersion": "1.6"}),
        ))
        .unwrap();
    builder
        .state(SpdxDocument(json!({"spdxVersion": "SPDX-2.3"})))
        .unwrap();
    for kind in [Kind::Lint, Kind::SecurityScan] {
        let report = AttributeReport::of(&evidence(), &[kind], BASE).unwrap();
        builder.state(report).unwrap();
    }
    builder.summarise(summary()).unwrap();
    builder
}

pub(crate) fn seal(change: Change) -> Vec<u8> {
    builder().seal(change, &[&key(1)]).unwrap()
}

pub(crate) fn lines(bundle: &[u8]) -> Vec<Vec<u8>> {
    let body = bundle.strip_suffix(b"\n").unwrap();
    body.split(|byte| *byte == b'\n').map(Into::into).collect()
}

pub(crate) fn join(lines: &[Vec<u8>]) -> Vec<u8> {
    lines
        .iter()
        .flat_map(|line| [line.as_slice(), b"\n"].concat())
        .collect()
}

/// Changes one line's statement and signs it again with the given key, as its maker could.
pub(crate) fn resign(line: &[u8], key: &SigningKey, edit: impl FnOnce(&mut Value)) -> Vec<u8> {
    let envelope = Envelope::from_json(line).unwrap();
    let mut value: Value = serde_json::from_slice(&envelope.payload).unwrap();
    edit(&mut value);
    let payload = matrix_core::canonical::to_vec(&value).unwrap();
    let envelope = Envelope::sign(PAYLOAD_TYPE, payload, &[key]).unwrap();
    envelope.to_json().unwrap().into_bytes()
}

pub(crate) fn bom_subject() -> BomSubject<'static> {
    BomSubject {
        name: "sample",
        version: TREE,
        time: Timestamp::from_micros(1_790_000_000_000_000),
        tool_version: "0.1.0",
    }
}
