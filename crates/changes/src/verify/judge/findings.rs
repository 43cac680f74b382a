//! Judging what linters, scans and audits found.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use matrix_evidence::Kind;
use matrix_evidence::sarif::{Finding, Level, compare};
use serde_json::json;

use super::{Opinion, Pair, plural};
use crate::verify::audit;
use crate::verify::result::{CheckResult, State};
use crate::verify::security;

/// What all checks of the kind say together.
#[derive(Default)]
struct Totals {
    new: Vec<Finding>,
    older: usize,
    fixed: usize,
    ran: usize,
    broken: Vec<String>,
    not_run: Vec<String>,
}

pub(super) fn judge(kind: Kind, pairs: &[Pair<'_>], moved: &BTreeMap<String, String>) -> Opinion {
    let mut totals = Totals::default();
    for pair in pairs {
        totals.add(pair, moved);
    }
    let mut opinion = totals.opinion(kind);
    opinion.detail("older", json!(totals.older));
    opinion.detail("fixed", json!(totals.fixed));
    let new = &totals.new;
    let lines: Vec<String> = new.iter().map(told).collect();
    opinion.names("new", &lines);
    match kind {
        Kind::SecurityScan => {
            let secret = |finding: &&Finding| security::is_secret(&finding.rule);
            let secrets = new.iter().filter(secret).count();
            opinion.facts.secrets_found = secrets as u64;
            opinion.facts.dangerous_constructs = (new.len() - secrets) as u64;
            let heads = pairs.iter().filter_map(|pair| pair.head.last());
            for weakening in heads.filter_map(|head| head.weakening.as_ref()) {
                opinion.facts.add(weakening.facts());
            }
        }
        Kind::DependencyAudit => {
            let names = new.iter().map(|finding| {
                let package = finding.snippet.as_deref().unwrap_or_default();
                format!("{} in {package}", finding.rule)
            });
            opinion.facts.new_vulnerabilities = names.collect();
            let head = pairs.iter().find_map(|pair| pair.head.last());
            if let Some(tools) = head.map(|head| &head.tools) {
                let records = tools
                    .get(audit::RECORDS)
                    .and_then(|n| n.parse::<u64>().ok());
                if let (Some(records), Some(digest)) = (records, tools.get(audit::DIGEST)) {
                    opinion.detail(audit::RECORDS, json!(records));
                    opinion.detail(audit::DIGEST, json!(digest));
                }
            }
        }
        _ => {}
    }
    opinion
}

impl Totals {
    fn add(&mut self, pair: &Pair<'_>, moved: &BTreeMap<String, String>) {
        let Some(head) = pair.head.last() else { return };
        match &head.state {
            State::NotRun { reason } => {
                self.not_run.push(reason.clone());
                return;
            }
            State::Broken { reason } => self.broken.push(format!("{}: {reason}", pair.job)),
            State::Completed => self.ran += 1,
        }
        let before = pair.base.map(CheckResult::findings).unwrap_or_default();
        let compared = compare(before, head.findings(), moved);
        self.older += compared.old.len();
        self.fixed += compared.fixed;
        self.new.extend(compared.new);
    }

    fn opinion(&self, kind: Kind) -> Opinion {
        let fails = |finding: &&Finding| finding.level >= Level::Warning;
        let failing = self.new.iter().filter(fails).count();
        let count = plural(failing, "new finding", "new findings");
        let mut summary = count.clone();
        for (count, word) in [
            (self.older, "older"),
            (self.fixed, "fixed"),
            (self.new.len() - failing, "new remarks"),
        ] {
            if count > 0 {
                let _ = write!(summary, ", {count} {word}");
            }
        }
        if !self.broken.is_empty() {
            Opinion::failed(self.broken.join("; "), summary)
        } else if let Some(first) = self.new.iter().find(fails) {
            Opinion::failed(format!("{count}; the first: {}", told(first)), summary)
        } else if let Some(reason) = self.not_run.first() {
            Opinion::skipped(reason.clone())
        } else if self.ran == 0 {
            Opinion::skipped(nothing(kind))
        } else {
            Opinion::passed(summary)
        }
    }
}

fn nothing(kind: Kind) -> &'static str {
    match kind {
        Kind::Lint => "no linter was found",
        Kind::SecurityScan => "no scan was made",
        _ => "no audit was made",
    }
}

fn told(finding: &Finding) -> String {
    match &finding.place {
        Some(place) => {
            let line = place
                .line
                .map(|line| format!(":{line}"))
                .unwrap_or_default();
            format!(
                "{}{line}: {}: {}",
                place.path, finding.rule, finding.message
            )
        }
        None => format!("{}: {}", finding.rule, finding.message),
    }
}
