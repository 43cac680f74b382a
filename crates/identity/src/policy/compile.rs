//! From text to policies that may count: parsing, naming, strict validation.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;

use cedar_policy::ffi::DetailedError;
use cedar_policy::{
    Effect, EntityTypeName, Policy, PolicyId, PolicySet, Schema, ValidationMode, Validator,
};
use serde::Serialize;

use super::depth;
use super::problem::{Finding, PolicyError, place_of};
use super::source::{Layer, SCHEMA, Source};

/// Whether a policy lets things happen or stops them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyEffect {
    /// It allows.
    Permit,
    /// It stops, whatever else allows.
    Forbid,
}

/// What people know of one policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyInfo {
    /// Its `@id`, or the file's name and the policy's place in it.
    pub id: String,
    /// Its `@reason`; the id when it has none.
    pub reason: String,
    /// The file it stands in.
    pub file: String,
    /// The line it begins at, counted from 1.
    pub line: Option<u32>,
    /// Which set it belongs to.
    pub layer: Layer,
    /// Whether it allows or stops.
    pub effect: PolicyEffect,
}

/// Policies that passed strict validation, by layer.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) schema: Schema,
    pub(crate) layers: BTreeMap<Layer, PolicySet>,
    pub(crate) infos: HashMap<PolicyId, PolicyInfo>,
    pub(crate) types: Types,
}

/// The schema's entity types by name, parsed once.
#[derive(Debug)]
pub(crate) struct Types(HashMap<String, EntityTypeName>);

impl Types {
    pub(crate) fn get(&self, name: &str) -> Option<&EntityTypeName> {
        self.0.get(name)
    }
}

/// Parses and validates; every mistake of every file is reported, not the first only.
pub(crate) fn compile(sources: &[Source]) -> Result<Compiled, PolicyError> {
    let schema = schema()?;
    let mut findings = Vec::new();
    let mut layers: BTreeMap<Layer, Vec<Policy>> = BTreeMap::new();
    let mut infos = HashMap::new();
    let mut offsets = HashMap::new();
    for (number, source) in sources.iter().enumerate() {
        for (policy, info, offset) in parse(source, &mut findings) {
            let id = PolicyId::new(format!("{number}/{}", policy.id()));
            let twin = infos
                .values()
                .find(|other: &&PolicyInfo| other.layer == info.layer && other.id == info.id);
            if let Some(twin) = twin {
                let message = format!("the id `{}` is also used in {}", info.id, twin.file);
                findings.push(Finding::at(&source.name, &source.text, offset, message));
            }
            layers
                .entry(source.layer)
                .or_default()
                .push(policy.new_id(id.clone()));
            offsets.insert(id.clone(), (source, offset));
            infos.insert(id, info);
        }
    }
    let mut sets = BTreeMap::new();
    for (layer, policies) in layers {
        let set = PolicySet::from_policies(policies).map_err(|error| whole(error.to_string()))?;
        sets.insert(layer, set);
    }
    let validator = Validator::new(schema.clone());
    for set in sets.values() {
        validate(&validator, set, &offsets, &mut findings);
    }
    if !findings.is_empty() {
        findings.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        return Err(PolicyError::Invalid(findings));
    }
    let actions = schema.actions().map(cedar_policy::EntityUid::type_name);
    let types = schema
        .entity_types()
        .chain(actions)
        .map(|name| (name.to_string(), name.clone()))
        .collect();
    Ok(Compiled {
        schema,
        layers: sets,
        infos,
        types: Types(types),
    })
}

/// A mistake that belongs to no file.
fn whole(message: String) -> PolicyError {
    PolicyError::Invalid(vec![Finding {
        file: "policy".into(),
        line: None,
        column: None,
        message,
    }])
}

fn schema() -> Result<Schema, PolicyError> {
    match Schema::from_cedarschema_str(SCHEMA) {
        Ok((schema, _)) => Ok(schema),
        Err(error) => {
            let error = DetailedError::from(&error);
            let offset = error.source_locations.first().map(|label| label.loc.start);
            let finding = Finding::at("schema.cedarschema", SCHEMA, offset, error.message);
            Err(PolicyError::Invalid(vec![finding]))
        }
    }
}

type Parsed = (Policy, PolicyInfo, Option<usize>);

fn parse(source: &Source, findings: &mut Vec<Finding>) -> Vec<Parsed> {
    if let Some((offset, message)) = depth::too_deep(&source.text) {
        findings.push(Finding::at(
            &source.name,
            &source.text,
            Some(offset),
            message,
        ));
        return Vec::new();
    }
    let set = match PolicySet::from_str(&source.text) {
        Ok(set) => set,
        Err(errors) => {
            for error in errors.iter() {
                let error = DetailedError::from(error);
                let offset = error.source_locations.first().map(|label| label.loc.start);
                let message = with_help(&error);
                findings.push(Finding::at(&source.name, &source.text, offset, message));
            }
            return Vec::new();
        }
    };
    // A template does nothing until it is linked, so a forbid written as one would stop nothing.
    for template in set.templates() {
        let offset = source.text.find(&template.to_cedar());
        let message = "templates (`?principal`, `?resource`) are not used here".to_owned();
        findings.push(Finding::at(&source.name, &source.text, offset, message));
    }
    set.policies()
        .map(|policy| {
            let offset = policy.to_cedar().and_then(|text| source.text.find(&text));
            (policy.clone(), describe(policy, source, offset), offset)
        })
        .collect()
}

fn describe(policy: &Policy, source: &Source, offset: Option<usize>) -> PolicyInfo {
    let annotation = |key: &str| {
        policy
            .annotation(key)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    let id = annotation("id").unwrap_or_else(|| format!("{}#{}", source.name, policy.id()));
    PolicyInfo {
        reason: annotation("reason").unwrap_or_else(|| id.clone()),
        id,
        file: source.name.clone(),
        line: offset.map(|offset| place_of(&source.text, offset).0),
        layer: source.layer,
        effect: match policy.effect() {
            Effect::Permit => PolicyEffect::Permit,
            Effect::Forbid => PolicyEffect::Forbid,
        },
    }
}

/// Adds every error, and every warning too: a policy that can never apply, or that shows other
/// characters than it holds, is no policy to rely on.
fn validate(
    validator: &Validator,
    set: &PolicySet,
    offsets: &HashMap<PolicyId, (&Source, Option<usize>)>,
    findings: &mut Vec<Finding>,
) {
    let result = validator.validate(set, ValidationMode::Strict);
    let errors = result
        .validation_errors()
        .map(|error| (error.policy_id(), DetailedError::from(error)));
    let warnings = result
        .validation_warnings()
        .map(|warning| (warning.policy_id(), DetailedError::from(warning)));
    for (id, error) in errors.chain(warnings) {
        let Some((source, policy_offset)) = offsets.get(id) else {
            continue;
        };
        let offset = error
            .source_locations
            .first()
            .map(|label| label.loc.start)
            .or(*policy_offset);
        let message = with_help(&error);
        findings.push(Finding::at(&source.name, &source.text, offset, message));
    }
    if !result.validation_passed_without_warnings() && findings.is_empty() {
        findings.push(Finding {
            file: "policy".into(),
            line: None,
            column: None,
            message: result.to_string(),
        });
    }
}

fn with_help(error: &DetailedError) -> String {
    // Ids of our making would mean nothing to the reader; the place says which policy it is.
    let message = match error.message.split_once("`, ") {
        Some((head, rest)) if head.starts_with("for policy `") => rest,
        _ => error.message.as_str(),
    };
    match &error.help {
        Some(help) => format!("{message} ({help})"),
        None => message.to_owned(),
    }
}
