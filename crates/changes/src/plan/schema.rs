//! The JSON Schema of plans, generated from the types that read them.

use matrix_evidence::Kind;
use matrix_identity::Risk;
use schemars::{Schema, SchemaGenerator, json_schema};

use super::{BECAUSE_CHARS, Plan, TARGET_CHARS};

/// The schema (draft 2020-12) that editors and programs can check a plan with before it is sent.
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(Plan);
    schema.insert("title".into(), "Matrix plan".into());
    schema.insert("$id".into(), "urn:matrix:plan:1".into());
    schema.into()
}

pub(super) fn version(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "const": 1 })
}

pub(super) fn checks(_: &mut SchemaGenerator) -> Schema {
    let kinds = Kind::ALL.map(Kind::as_str);
    json_schema!({
        "type": "array",
        "items": { "enum": kinds },
        "uniqueItems": true,
    })
}

pub(super) fn target(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": format!("^[A-Za-z0-9][A-Za-z0-9._-]{{0,{}}}$", TARGET_CHARS - 1),
    })
}

pub(super) fn risk(_: &mut SchemaGenerator) -> Schema {
    let levels = Risk::ALL.map(Risk::as_str);
    json_schema!({
        "type": "object",
        "properties": {
            "raise": { "description": "At least this.", "enum": levels },
            "because": {
                "description": "Why.",
                "type": "string",
                "minLength": 1,
                "maxLength": BECAUSE_CHARS,
            },
        },
        "required": ["raise", "because"],
        "additionalProperties": false,
    })
}
