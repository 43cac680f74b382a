//! Reading SARIF 2.1.0 as tools write it: only what is needed, everything else is passed over.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    Finding, FindingReport, Level, MAX_FINDINGS, MAX_SARIF_BYTES, Place, Rule, SarifError,
};

#[derive(Deserialize)]
struct Log {
    version: String,
    #[serde(default)]
    runs: Vec<Run>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    tool: Tool,
    results: Option<Vec<SarifResult>>,
    #[serde(default)]
    invocations: Vec<Invocation>,
    #[serde(default)]
    original_uri_base_ids: BTreeMap<String, ArtifactLocation>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    execution_successful: Option<bool>,
    exit_code_description: Option<String>,
}

#[derive(Deserialize)]
struct Tool {
    driver: Component,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Component {
    name: String,
    version: Option<String>,
    semantic_version: Option<String>,
    #[serde(default)]
    rules: Vec<SarifRule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SarifRule {
    id: String,
    short_description: Option<Message>,
    full_description: Option<Message>,
    #[serde(default)]
    help_uri: String,
    default_configuration: Option<Configuration>,
    #[serde(default)]
    message_strings: BTreeMap<String, Message>,
}

#[derive(Deserialize)]
struct Configuration {
    level: Option<Level>,
}

#[derive(Deserialize, Default)]
struct Message {
    text: Option<String>,
    id: Option<String>,
    #[serde(default)]
    arguments: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SarifResult {
    rule_id: Option<String>,
    rule: Option<RuleReference>,
    rule_index: Option<i64>,
    kind: Option<String>,
    level: Option<Level>,
    #[serde(default)]
    message: Message,
    #[serde(default)]
    locations: Vec<Location>,
    suppressions: Option<Vec<Suppression>>,
    baseline_state: Option<String>,
}

#[derive(Deserialize)]
struct RuleReference {
    id: Option<String>,
    index: Option<i64>,
}

#[derive(Deserialize)]
struct Suppression {
    status: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    physical_location: Option<PhysicalLocation>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation {
    artifact_location: Option<ArtifactLocation>,
    region: Option<Region>,
    context_region: Option<Region>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactLocation {
    uri: Option<String>,
    uri_base_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: Option<u32>,
    start_column: Option<u32>,
    snippet: Option<Message>,
}

pub(super) fn read(bytes: &[u8], root: &str) -> Result<FindingReport, SarifError> {
    if bytes.len() > MAX_SARIF_BYTES {
        return Err(SarifError::TooLarge("more than 128 MiB"));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let log: Log = serde_json::from_slice(bytes).map_err(SarifError::Json)?;
    if log.version != "2.1.0" {
        return Err(SarifError::Version(log.version.chars().take(40).collect()));
    }
    let mut report = FindingReport::default();
    for run in log.runs {
        read_run(run, root, &mut report)?;
    }
    Ok(report)
}

fn read_run(run: Run, root: &str, report: &mut FindingReport) -> Result<(), SarifError> {
    let failed = run
        .invocations
        .iter()
        .find(|invocation| invocation.execution_successful == Some(false));
    if let Some(failed) = failed {
        let why = failed.exit_code_description.as_deref();
        let why = why.unwrap_or("executionSuccessful is false");
        return Err(SarifError::Unfinished(why.chars().take(500).collect()));
    }
    let driver = &run.tool.driver;
    if report.tool.is_empty() {
        report.tool.clone_from(&driver.name);
        report.version = driver.version.clone().or(driver.semantic_version.clone());
    }
    let results = run
        .results
        .as_ref()
        .ok_or_else(|| SarifError::Unfinished("the run has no results".into()))?;
    for result in results {
        if is_suppressed(result) {
            report.suppressed += 1;
            continue;
        }
        if report.findings.len() >= MAX_FINDINGS {
            return Err(SarifError::TooLarge("more than 200000 findings"));
        }
        report.findings.extend(read_result(result, &run, root));
    }
    report
        .rules
        .extend(run.tool.driver.rules.into_iter().map(|rule| {
            Rule {
                description: rule
                    .short_description
                    .or(rule.full_description)
                    .and_then(|message| message.text)
                    .unwrap_or_default(),
                id: rule.id,
                help_uri: rule.help_uri,
            }
        }));
    Ok(())
}

/// A suppression counts unless somebody still has to accept it or refused to.
fn is_suppressed(result: &SarifResult) -> bool {
    result.suppressions.as_ref().is_some_and(|suppressions| {
        !suppressions.is_empty()
            && suppressions.iter().all(|suppression| {
                suppression.status.as_deref().unwrap_or("accepted") == "accepted"
            })
    })
}

fn read_result(result: &SarifResult, run: &Run, root: &str) -> Option<Finding> {
    let kind = result.kind.as_deref().unwrap_or("fail");
    if kind != "fail" && kind != "open" && kind != "review" {
        return None;
    }
    if result.baseline_state.as_deref() == Some("absent") {
        return None;
    }
    let rule = find_rule(result, run);
    let id = result
        .rule_id
        .clone()
        .or_else(|| result.rule.as_ref()?.id.clone())
        .or_else(|| rule.map(|rule| rule.id.clone()))
        .unwrap_or_default();
    let default = rule.and_then(|rule| rule.default_configuration.as_ref()?.level);
    let physical = result
        .locations
        .iter()
        .find_map(|location| location.physical_location.as_ref());
    let snippet = physical.and_then(|physical| {
        let regions = [&physical.region, &physical.context_region];
        regions
            .into_iter()
            .flatten()
            .find_map(|region| region.snippet.as_ref()?.text.clone())
    });
    Some(Finding {
        rule: id,
        level: result.level.or(default).unwrap_or_default(),
        message: message_text(&result.message, rule),
        place: physical.and_then(|physical| place(physical, run, root)),
        snippet,
    })
}

fn find_rule<'r>(result: &SarifResult, run: &'r Run) -> Option<&'r SarifRule> {
    let rules = &run.tool.driver.rules;
    let reference = result.rule.as_ref();
    let index = result.rule_index.or(reference.and_then(|rule| rule.index));
    let by_index = index
        .and_then(|index| usize::try_from(index).ok())
        .and_then(|index| rules.get(index));
    by_index.or_else(|| {
        let id = result.rule_id.as_ref().or(reference?.id.as_ref())?;
        rules.iter().find(|rule| rule.id == *id)
    })
}

/// The text, or the rule's message string with its placeholders `{0}`, `{1}` … filled in.
fn message_text(message: &Message, rule: Option<&SarifRule>) -> String {
    if let Some(text) = &message.text {
        return text.clone();
    }
    let template = message
        .id
        .as_ref()
        .and_then(|id| rule?.message_strings.get(id)?.text.clone());
    let mut text = template.unwrap_or_default();
    for (index, argument) in message.arguments.iter().take(20).enumerate() {
        text = text.replace(&format!("{{{index}}}"), argument);
    }
    text
}

fn place(physical: &PhysicalLocation, run: &Run, root: &str) -> Option<Place> {
    let location = physical.artifact_location.as_ref()?;
    let mut uri = location.uri.clone()?;
    let base = location
        .uri_base_id
        .as_ref()
        .and_then(|id| run.original_uri_base_ids.get(id)?.uri.clone());
    if let Some(base) = base.filter(|_| !uri.contains("://") && !uri.starts_with('/')) {
        uri = format!("{}/{uri}", base.trim_end_matches('/'));
    }
    let region = physical.region.as_ref();
    Some(Place {
        path: relative(&uri, root),
        line: region.and_then(|region| region.start_line),
        column: region.and_then(|region| region.start_column),
    })
}

/// The path below `root`, whether the tool wrote a file URI, an absolute or a relative path.
fn relative(uri: &str, root: &str) -> String {
    let path = uri.strip_prefix("file://").unwrap_or(uri);
    let path = percent_decode(path).replace('\\', "/");
    let root = root.trim_end_matches('/');
    let below = path
        .strip_prefix(root)
        .filter(|rest| !root.is_empty() && rest.starts_with('/'))
        .unwrap_or(&path);
    let below = if below.len() < path.len() {
        below.trim_start_matches('/')
    } else {
        below
    };
    below.strip_prefix("./").unwrap_or(below).to_owned()
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let mut decoded = [0_u8];
        let escape = (*first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .filter(|digits| hex::decode_to_slice(digits, &mut decoded).is_ok());
        if escape.is_some() {
            bytes.push(decoded[0]);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
