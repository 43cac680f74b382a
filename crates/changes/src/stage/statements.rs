//! What the bundle of a change says, statement by statement.

use matrix_core::{Digest, Principal, PrincipalKind};
use matrix_engine::{Run, StepError, Verdict as Vote};
use matrix_evidence::bundle::Builder;
use matrix_evidence::keys::SigningKey;
use matrix_evidence::predicate::change::{
    Approval, Deployment, EvidenceEntry, Gate, Risk, SelfTest, Source,
};
use matrix_evidence::predicate::provenance::{
    BUILD_TYPE, BuildDefinition, Builder as Platform, Metadata, RunDetails,
};
use matrix_evidence::predicate::summary::{Policy, Verdict, Verifier};
use matrix_evidence::predicate::test_result::Outcome;
use matrix_evidence::predicate::{
    AttributeReport, Change, CycloneDxBom, Provenance, SpdxDocument, TestResult,
    VerificationSummary,
};
use matrix_evidence::statement::{Resource, Time};
use matrix_evidence::{Evidence, Kind, Status};
use serde_json::{Map, Value, json};

use super::gate::{Passed, predicate_level};
use super::publish::{Committed, Story, head};
use crate::error::later;
use crate::stage::patch::kept;
use crate::workshop::Workshop;

/// A URI for this platform; runs of one data directory cannot reach its key.
const BUILDER: &str = "urn:matrix:builder:v1";

/// The signed bundle of a change.
pub(super) fn bundle(
    run: &Run,
    workshop: &Workshop,
    story: &Story<'_>,
    committed: &Committed,
    signer: &SigningKey,
) -> Result<Vec<u8>, StepError> {
    let now = workshop.clock().now();
    let artifacts: Vec<Resource> = committed.artifacts.iter().map(Resource::from).collect();
    let mut subjects = vec![
        Resource::git_commit("commit", &committed.commit),
        Resource::git_tree("tree", &story.patch.tree),
    ];
    subjects.extend(artifacts.iter().cloned());
    let mut builder = Builder::new(subjects);
    builder
        .state(provenance(run, story, now.into()))
        .map_err(later)?;
    if let Some(tests) = test_result(&story.verified.evidence) {
        builder.state(tests).map_err(later)?;
    }
    let kinds = [
        Kind::Lint,
        Kind::BuildLog,
        Kind::SecurityScan,
        Kind::DependencyAudit,
    ];
    let report = AttributeReport::of(&story.verified.evidence, &kinds, &story.request.base);
    if let Some(report) = report {
        builder.state(report).map_err(later)?;
    }
    bills(workshop, story, &mut builder)?;
    builder
        .summarise(summary(story, now.into()))
        .map_err(later)?;
    let change = change(run, workshop, story, committed, artifacts, now.into())?;
    builder.seal(change, &[signer]).map_err(later)
}

fn provenance(run: &Run, story: &Story<'_>, finished: Time) -> Provenance {
    let request = story.request;
    let mut parameters = Map::new();
    parameters.insert("plan".into(), json!({ "sha256": request.plan_digest }));
    parameters.insert("base".into(), json!(request.plan.base));
    parameters.insert("target".into(), json!(request.target));
    let logs = story
        .verified
        .evidence
        .iter()
        .flat_map(|evidence| &evidence.artifacts);
    Provenance {
        build_definition: BuildDefinition {
            build_type: BUILD_TYPE.into(),
            external_parameters: parameters,
            internal_parameters: Map::new(),
            resolved_dependencies: vec![Resource::git_commit("base", &request.base)],
        },
        run_details: RunDetails {
            builder: Platform {
                id: BUILDER.into(),
                version: Map::from_iter([(
                    "matrix".to_owned(),
                    Value::from(env!("CARGO_PKG_VERSION")),
                )]),
            },
            metadata: Metadata {
                invocation_id: run.id().to_string(),
                started_on: run.started_at().into(),
                finished_on: finished,
            },
            byproducts: logs.map(Resource::from).collect(),
        },
    }
}

fn names(evidence: &Evidence, key: &str) -> Vec<String> {
    let list = evidence.details.get(key).and_then(Value::as_array);
    let texts = list.into_iter().flatten().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

fn test_result(evidence: &[Evidence]) -> Option<TestResult> {
    let tests = evidence
        .iter()
        .find(|evidence| evidence.kind == Kind::TestResults)?;
    if tests.status == Status::Skipped {
        return None;
    }
    let mut warned = names(tests, "flaky");
    warned.extend(names(tests, "red_on_both"));
    let result = match (tests.status, warned.is_empty()) {
        (Status::Passed, true) => Outcome::Passed,
        (Status::Passed, false) => Outcome::Warned,
        _ => Outcome::Failed,
    };
    Some(TestResult {
        result,
        configuration: tests.artifacts.iter().map(Resource::from).collect(),
        passed_tests: names(tests, "passed_tests"),
        warned_tests: warned,
        failed_tests: [names(tests, "broken"), names(tests, "new_failing")].concat(),
    })
}

fn bills(workshop: &Workshop, story: &Story<'_>, builder: &mut Builder) -> Result<(), StepError> {
    let tree = vec![Resource::git_tree("tree", &story.patch.tree)];
    let bills = story
        .verified
        .evidence
        .iter()
        .filter(|evidence| evidence.kind == Kind::Sbom);
    for artifact in bills.flat_map(|evidence| &evidence.artifacts) {
        let parse = || -> Result<Value, StepError> {
            serde_json::from_slice(&kept(workshop, &artifact.digest)?).map_err(later)
        };
        if artifact
            .media_type
            .starts_with("application/vnd.cyclonedx+json")
        {
            builder
                .state_about(tree.clone(), CycloneDxBom(parse()?))
                .map_err(later)?;
        } else if artifact.media_type.starts_with("application/spdx+json") {
            builder
                .state_about(tree.clone(), SpdxDocument(parse()?))
                .map_err(later)?;
        }
    }
    Ok(())
}

fn summary(story: &Story<'_>, now: Time) -> VerificationSummary {
    let digest = story.passed.bindings.policy.to_string();
    VerificationSummary {
        verifier: Verifier { id: BUILDER.into() },
        time_verified: now,
        resource_uri: format!("urn:matrix:release:{}", story.names.release),
        policy: Policy {
            uri: "urn:matrix:policy".into(),
            digest: [("sha256".to_owned(), digest)].into(),
        },
        input_attestations: Vec::new(),
        verification_result: Verdict::Passed,
        verified_levels: vec!["SLSA_BUILD_LEVEL_1".into()],
        slsa_version: Some("1.2".into()),
    }
}

fn change(
    run: &Run,
    workshop: &Workshop,
    story: &Story<'_>,
    committed: &Committed,
    artifacts: Vec<Resource>,
    now: Time,
) -> Result<Change, StepError> {
    let Story {
        request,
        patch,
        verified,
        sandbox,
        passed,
        applied,
        names,
    } = story;
    let (seq, head) = head(workshop, run.id())?;
    let environment = serde_json::to_value(request.target_config.environment).ok();
    Ok(Change {
        run: matrix_evidence::predicate::change::Run {
            id: run.id().to_string(),
            seq,
            head,
            signed_at: now,
        },
        title: request.plan.title.clone(),
        submitter: run.caller().principal.clone(),
        on_behalf_of: run.caller().on_behalf_of.clone(),
        source: Source {
            base_commit: request.base.clone(),
            tree: patch.tree.clone(),
            commit: Some(committed.commit.clone()),
        },
        bindings: passed.bindings.clone(),
        evidence: EvidenceEntry::all(&verified.evidence).map_err(later)?,
        risk: Risk {
            level: predicate_level(passed.decision.risk.level),
            reasons: passed
                .decision
                .risk
                .reasons
                .iter()
                .map(|(_, text)| text.clone())
                .collect(),
        },
        gate: gate(passed),
        approvals: approvals(story),
        sandbox: self_test(sandbox)?,
        deployment: Some(Deployment {
            id: applied.deployment.to_string(),
            target: request.target.clone(),
            environment: environment.and_then(|value| value.as_str().map(str::to_owned)),
        }),
        release: Some(names.release.to_string()),
        artifacts,
        statements: Vec::new(),
    })
}

fn gate(passed: &Passed) -> Gate {
    let asked = &passed.decision.required;
    let required = |kind: &Kind| asked.iter().any(|name| name == kind.as_str());
    Gate {
        required: Kind::ALL.into_iter().filter(required).collect(),
        approvals: passed.decision.approvals,
        decided_at: passed.decision.at.into(),
    }
}

fn self_test(sandbox: &matrix_sandbox::spec::SelfTest) -> Result<SelfTest, StepError> {
    let held = sandbox.probes.iter().filter(|probe| probe.held).count();
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let mechanisms = sandbox
        .mechanisms
        .iter()
        .map(|(name, what)| format!("{name}: {what}"));
    Ok(SelfTest {
        digest: sandbox_digest(sandbox)?,
        summary: mechanisms.collect::<Vec<_>>().join("; "),
        held: count(held),
        escaped: count(sandbox.probes.len() - held),
    })
}

/// The digest under which the report itself is an artifact.
fn sandbox_digest(sandbox: &matrix_sandbox::spec::SelfTest) -> Result<Digest, StepError> {
    serde_json::to_vec(sandbox).map(Digest::of).map_err(later)
}

fn approving<'a>(story: &'a Story<'_>) -> impl Iterator<Item = &'a matrix_engine::Decision> {
    let mut last = std::collections::BTreeMap::new();
    for decision in &story.passed.decisions {
        last.insert(decision.actor.as_str(), decision);
    }
    last.into_values()
        .filter(|decision| decision.verdict == Vote::Approve)
}

fn approvals(story: &Story<'_>) -> Vec<Approval> {
    approving(story)
        .map(|decision| Approval {
            principal: Principal {
                kind: PrincipalKind::User,
                name: decision.actor.trim_start_matches("user:").to_owned(),
            },
            at: decision.at.into(),
            bound: story.passed.bindings.clone(),
            self_approval: decision.self_approval,
            reason: (!decision.reason.is_empty()).then(|| decision.reason.clone()),
        })
        .collect()
}
