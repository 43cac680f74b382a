//! The set of statements: exactly those the change names, about what the change is about.

use std::collections::{BTreeMap, BTreeSet};

use matrix_core::{Digest, canonical};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::predicate::change::StatementRef;
use crate::predicate::{self, Change, Provenance, TestResult, VerificationSummary};
use crate::statement::{Predicate as _, Resource, STATEMENT_TYPE, Statement};

use super::VerifyError;
use super::envelopes::Payload;

/// What is read of every statement. Predicates are read only where [`super::contents`] needs them;
/// a bill of materials may be large.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[serde(rename = "_type")]
    statement_type: String,
    subject: Vec<Resource>,
    predicate_type: String,
    #[serde(rename = "predicate")]
    _predicate: IgnoredAny,
}

/// One statement of the bundle.
#[derive(Debug)]
struct Read {
    line: usize,
    reference: StatementRef,
    subject: Vec<Resource>,
    bytes: Vec<u8>,
}

/// A bundle that holds together, with the predicates that are looked into.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) change: Change,
    pub(super) subjects: Vec<Resource>,
    /// The change's own first.
    pub(super) references: Vec<StatementRef>,
    pub(super) tests: Vec<TestResult>,
    pub(super) provenances: Vec<Provenance>,
    pub(super) summaries: Vec<VerificationSummary>,
}

pub(super) fn check(payloads: Vec<Payload>) -> Result<Checked, Vec<VerifyError>> {
    let (reads, mut errors) = read_all(payloads);
    let mut changes = reads
        .iter()
        .filter(|read| read.reference.predicate_type == Change::TYPE);
    let (Some(own), None) = (changes.next(), changes.next()) else {
        let found = reads
            .iter()
            .filter(|read| read.reference.predicate_type == Change::TYPE)
            .count();
        errors.push(VerifyError::Changes { found });
        return Err(errors);
    };
    let change = match parse_change(own) {
        Ok(change) => change,
        Err(error) => {
            errors.push(error);
            return Err(errors);
        }
    };
    compare_sets(&change, own, &reads, &mut errors);
    check_subjects(own, &reads, &mut errors);
    let tests = parse_all(&reads, &mut errors);
    let provenances = parse_all(&reads, &mut errors);
    let summaries = parse_all(&reads, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    let others = reads.iter().filter(|read| read.line != own.line);
    let references = std::iter::once(own)
        .chain(others)
        .map(|read| read.reference.clone())
        .collect();
    Ok(Checked {
        change,
        subjects: own.subject.clone(),
        references,
        tests,
        provenances,
        summaries,
    })
}

fn read_all(payloads: Vec<Payload>) -> (Vec<Read>, Vec<VerifyError>) {
    let mut reads: Vec<Read> = Vec::new();
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    for payload in payloads {
        match read(payload) {
            Ok(read) if !seen.insert(read.reference.digest) => {
                errors.push(VerifyError::Duplicate { line: read.line });
            }
            Ok(read) => reads.push(read),
            Err(error) => errors.push(error),
        }
    }
    (reads, errors)
}

fn read(payload: Payload) -> Result<Read, VerifyError> {
    let Payload { line, bytes } = payload;
    let head: Head = serde_json::from_slice(&bytes).map_err(|error| VerifyError::Statement {
        line,
        why: error.to_string(),
    })?;
    if head.statement_type != STATEMENT_TYPE {
        return Err(VerifyError::Statement {
            line,
            why: format!("its _type is `{}`", head.statement_type),
        });
    }
    if !predicate::KNOWN.contains(&head.predicate_type.as_str()) {
        return Err(VerifyError::UnknownPredicate {
            line,
            predicate_type: head.predicate_type,
        });
    }
    if head.subject.is_empty() || head.subject.iter().any(|s| s.digest.is_empty()) {
        return Err(VerifyError::NoSubject { line });
    }
    Ok(Read {
        line,
        reference: StatementRef {
            digest: Digest::of(&bytes),
            predicate_type: head.predicate_type,
        },
        subject: head.subject,
        bytes,
    })
}

fn parse<P: DeserializeOwned>(read: &Read) -> Result<P, VerifyError> {
    serde_json::from_slice::<Statement<P>>(&read.bytes)
        .map(|statement| statement.predicate)
        .map_err(|error| VerifyError::Statement {
            line: read.line,
            why: error.to_string(),
        })
}

/// The change statement has one form only, like the lines: what its maker writes for the same
/// value. Members left out, doubled or set to null would be read differently by other readers.
fn parse_change(read: &Read) -> Result<Change, VerifyError> {
    let failure = |why: String| VerifyError::Statement {
        line: read.line,
        why,
    };
    let statement: Statement<Change> =
        serde_json::from_slice(&read.bytes).map_err(|error| failure(error.to_string()))?;
    match canonical::to_vec(&statement) {
        Ok(bytes) if bytes == read.bytes => Ok(statement.predicate),
        Ok(_) => Err(failure("it is not in canonical form".into())),
        Err(error) => Err(failure(error.to_string())),
    }
}

fn parse_all<P: DeserializeOwned + crate::statement::Predicate>(
    reads: &[Read],
    errors: &mut Vec<VerifyError>,
) -> Vec<P> {
    let mut parsed = Vec::new();
    for read in reads {
        if read.reference.predicate_type == P::TYPE {
            match parse(read) {
                Ok(predicate) => parsed.push(predicate),
                Err(error) => errors.push(error),
            }
        }
    }
    parsed
}

fn compare_sets(change: &Change, own: &Read, reads: &[Read], errors: &mut Vec<VerifyError>) {
    let mut named: BTreeMap<&StatementRef, usize> = BTreeMap::new();
    for reference in &change.statements {
        *named.entry(reference).or_default() += 1;
    }
    if named.values().any(|count| *count > 1) {
        errors.push(VerifyError::Contradiction {
            what: "the change names a statement twice".into(),
        });
    }
    for read in reads.iter().filter(|read| read.line != own.line) {
        if named.remove(&read.reference).is_none() {
            errors.push(VerifyError::Extra {
                line: read.line,
                predicate_type: read.reference.predicate_type.clone(),
            });
        }
    }
    errors.extend(named.into_keys().map(|reference| VerifyError::Missing {
        digest: reference.digest,
        predicate_type: reference.predicate_type.clone(),
    }));
}

fn check_subjects(own: &Read, reads: &[Read], errors: &mut Vec<VerifyError>) {
    for read in reads.iter().filter(|read| read.line != own.line) {
        for subject in &read.subject {
            if !own.subject.iter().any(|known| known.same_as(subject)) {
                errors.push(VerifyError::Subject {
                    line: read.line,
                    subject: name_of(subject),
                });
            }
        }
    }
}

fn name_of(subject: &Resource) -> String {
    if subject.name.is_empty() {
        subject
            .digest
            .iter()
            .map(|(algorithm, value)| format!("{algorithm}:{value}"))
            .collect::<Vec<_>>()
            .join(" ")
    } else {
        subject.name.chars().take(200).collect()
    }
}
