//! The dependency audit: lock files against the operator's copy of a vulnerability database.
//!
//! The database is a directory of OSV records, one JSON file each, that the operator puts on the
//! machine; nothing is looked up over the network. Both sides are audited with the same copy, and
//! only what base did not have counts.

use std::path::{Path, PathBuf};

use matrix_core::Digest;
use matrix_evidence::osv::{Audit, Database, MAX_RECORD_BYTES, MAX_RECORDS, Rating, Vulnerability};
use matrix_evidence::sarif::{Finding, Level, Place};

use super::attempt::sarif;
use super::error::VerifyError;
use super::lockfiles;
use super::outputs::regular_files;
use super::project::CheckJob;
use super::result::{CheckResult, Checked, Produced, Report, Side, State, cut};
use super::run::Context;

/// How many records the database has, among a result's tools.
pub(crate) const RECORDS: &str = "database_records";
/// The digest of the database, among a result's tools.
pub(crate) const DIGEST: &str = "database_digest";

pub(crate) async fn check(
    job: &CheckJob,
    side: Side,
    attempt: u32,
    context: &Context,
) -> Result<Checked, VerifyError> {
    let skipped = |reason: &str| Checked {
        result: CheckResult::not_run(&job.id, job.kind, side, attempt, reason.to_owned()),
        produced: Vec::new(),
    };
    let Some(path) = context.vulnerabilities.clone() else {
        return Ok(skipped(
            "no vulnerability database is configured; give the path of a directory with OSV records",
        ));
    };
    let (base, tree) = (context.base.path.clone(), context.tree(side).path.clone());
    let read = tokio::task::spawn_blocking(move || {
        let inventory = lockfiles::inventory(&tree);
        if inventory.files.is_empty() && inventory.not_understood.is_empty() {
            return Ok(Err(lockfiles::none_found(&tree)));
        }
        let lost = lockfiles::lost(&lockfiles::inventory(&base), &inventory);
        let loaded = load(&path)?;
        let audit = loaded.database.audit(&inventory);
        let unpinned = lockfiles::unpinned(&tree);
        Ok(Ok((inventory, lost, loaded, audit, unpinned)))
    });
    let read = read.await.unwrap_or_else(|error| {
        Err(VerifyError::Database {
            path: PathBuf::new(),
            reason: error.to_string(),
        })
    })?;
    let (inventory, lost, loaded, audit, unpinned) = match read {
        Ok(read) => read,
        Err(reason) => return Ok(skipped(&reason)),
    };
    let name = format!("{}.{}.{attempt}", job.id.replace('/', "."), side.as_str());
    let findings: Vec<Finding> = audit.vulnerabilities.iter().flat_map(findings).collect();
    let mut produced: Vec<Produced> = sarif(&name, "matrix dependency audit", &findings)
        .into_iter()
        .collect();
    produced.extend(details(&name, &audit));
    let mut result = CheckResult::not_run(&job.id, job.kind, side, attempt, String::new());
    result.state = lost.map_or(State::Completed, |reason| State::Broken { reason });
    result.files = produced.iter().map(Produced::reference).collect();
    result.report = Report::Findings { findings };
    result.notes = lockfiles::notes(&inventory);
    result.notes.extend(unpinned);
    result.notes.extend(loaded.notes.iter().cloned());
    result.notes.push(match audit.checked {
        1 => String::from("1 component was looked up"),
        checked => format!("{checked} components were looked up"),
    });
    let undetermined = audit.undetermined.iter().take(50);
    result
        .notes
        .extend(undetermined.map(|what| format!("not determined: {what}")));
    result.tools.extend([
        (RECORDS.to_owned(), loaded.database.len().to_string()),
        (DIGEST.to_owned(), loaded.digest.to_string()),
    ]);
    Ok(Checked { result, produced })
}

fn details(name: &str, audit: &Audit) -> Option<Produced> {
    let bytes = matrix_core::canonical::to_vec(audit).ok()?;
    Some(Produced::new(
        format!("{name}.json"),
        "application/json",
        bytes,
    ))
}

/// One finding for each lock file that names the component. The version is left out of what the
/// finding is known by: another affected version is not a new vulnerability.
fn findings(vulnerability: &Vulnerability) -> Vec<Finding> {
    let level = match vulnerability
        .severity
        .as_ref()
        .and_then(|severity| severity.rating)
    {
        Some(Rating::None | Rating::Low) => Level::Warning,
        _ => Level::Error,
    };
    let fixed = match vulnerability.fixed.first() {
        Some(version) => format!("; fixed in {version}"),
        None => String::new(),
    };
    let message = format!(
        "{}: {}{fixed}",
        vulnerability.name,
        cut(&vulnerability.summary, 200)
    );
    vulnerability
        .files
        .iter()
        .map(|path| Finding {
            rule: vulnerability.id.clone(),
            level,
            message: message.clone(),
            place: Some(Place {
                path: path.clone(),
                line: None,
                column: None,
            }),
            snippet: Some(vulnerability.name.clone()),
        })
        .collect()
}

struct Loaded {
    database: Database,
    digest: Digest,
    notes: Vec<String>,
}

/// Reads every `*.json` below a directory. A record that is not understood is noted; a directory
/// without any is an error, because an audit against nothing would pass.
fn load(path: &Path) -> Result<Loaded, VerifyError> {
    let wrong = |reason: String| VerifyError::Database {
        path: path.to_owned(),
        reason,
    };
    if !path.is_dir() {
        return Err(wrong(String::from("it is not a directory")));
    }
    let mut loaded = Loaded {
        database: Database::default(),
        digest: Digest::of(""),
        notes: Vec::new(),
    };
    let mut parts: Vec<u8> = Vec::new();
    let mut count = 0_usize;
    for file in regular_files(path) {
        if file.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        count += 1;
        if count > MAX_RECORDS {
            return Err(wrong(format!("it has more than {MAX_RECORDS} records")));
        }
        let full = path.join(&file);
        let name = file.to_string_lossy().into_owned();
        let length = std::fs::metadata(&full).map_or(0, |metadata| metadata.len());
        let bytes = if length > MAX_RECORD_BYTES as u64 {
            Err(String::from("the record is too large"))
        } else {
            std::fs::read(&full).map_err(|error| error.to_string())
        };
        let added = bytes.and_then(|bytes| {
            parts.extend(Digest::of(&bytes).as_bytes());
            loaded
                .database
                .add(&name, &bytes)
                .map_err(|error| error.to_string())
        });
        if let Err(reason) = added
            && loaded.notes.len() < 50
        {
            loaded.notes.push(format!("{name}: {reason}"));
        }
    }
    if loaded.database.is_empty() {
        return Err(wrong(String::from("it holds no record that is understood")));
    }
    loaded.digest = Digest::of(parts);
    Ok(loaded)
}
