//! Bills of materials of the change, in both formats, from its lock files.

use matrix_evidence::bom::BomSubject;
use matrix_evidence::{cyclonedx, spdx};

use super::lockfiles;
use super::project::CheckJob;
use super::result::{CheckResult, Checked, Produced, Report, Side, State};
use super::run::Context;

pub(crate) async fn check(job: &CheckJob, attempt: u32, context: &Context) -> Checked {
    let (job, context) = (job.clone(), context.clone());
    let id = job.id.clone();
    let kind = job.kind;
    let made = tokio::task::spawn_blocking(move || make(&job, attempt, &context)).await;
    made.unwrap_or_else(|error| {
        let reason = format!("the lock files could not be read: {error}");
        let mut result = CheckResult::not_run(&id, kind, Side::Head, attempt, String::new());
        result.state = State::Broken { reason };
        Checked {
            result,
            produced: Vec::new(),
        }
    })
}

fn make(job: &CheckJob, attempt: u32, context: &Context) -> Checked {
    let mut result = CheckResult::not_run(&job.id, job.kind, Side::Head, attempt, String::new());
    let mut produced = Vec::new();
    let base = lockfiles::inventory(&context.base.path);
    let head = lockfiles::inventory(&context.head.path);
    result.notes = lockfiles::notes(&head);
    result.notes.extend(lockfiles::unpinned(&context.head.path));
    if head.files.is_empty() && head.not_understood.is_empty() {
        result.state = State::NotRun {
            reason: lockfiles::none_found(&context.head.path),
        };
        return Checked { result, produced };
    }
    result.report = Report::Bill {
        components: head.components.len() as u64,
        added: lockfiles::beyond(&head, &base),
        removed: lockfiles::beyond(&base, &head),
        lock_files: head.files.iter().map(|file| file.path.clone()).collect(),
    };
    let subject = BomSubject {
        name: &context.subject,
        version: &context.head.id,
        time: context.clock.now(),
        tool_version: env!("CARGO_PKG_VERSION"),
    };
    let documents = cyclonedx::to_bytes(&head, subject)
        .and_then(|first| Ok((first, spdx::to_bytes(&head, subject)?)));
    result.state = match (documents, lockfiles::lost(&base, &head)) {
        (Err(error), _) => State::Broken {
            reason: error.to_string(),
        },
        (Ok(_), Some(reason)) => State::Broken { reason },
        (Ok((cyclone, packages)), None) => {
            produced.push(Produced::new(
                "sbom.cdx.json",
                cyclonedx::MEDIA_TYPE,
                cyclone,
            ));
            produced.push(Produced::new("sbom.spdx.json", spdx::MEDIA_TYPE, packages));
            State::Completed
        }
    };
    result.files = produced.iter().map(Produced::reference).collect();
    Checked { result, produced }
}
