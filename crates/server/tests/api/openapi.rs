//! The API's description and its reference page.

use std::collections::BTreeSet;
use std::path::Path;

use matrix_server::openapi;
use serde_json::Value;

fn document(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs/reference")
        .join(name);
    std::fs::read_to_string(file).unwrap()
}

#[test]
fn the_description_in_the_documentation_is_the_handlers_own() {
    let kept: Value = serde_json::from_str(&document("openapi.json")).unwrap();
    assert!(
        kept == openapi(),
        "docs/reference/openapi.json is old; run `cargo run -p matrix-server --example openapi`"
    );
}

#[test]
fn the_reference_page_names_every_endpoint() {
    let (api, page) = (openapi(), document("api.md"));
    for (path, item) in api["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let line = format!("`{} {path}`", method.to_uppercase());
            assert!(
                page.contains(&line),
                "{line} is missing in docs/reference/api.md"
            );
        }
    }
}

#[test]
fn the_description_is_whole() {
    let api = openapi();
    assert_eq!(api["openapi"], "3.1.0");
    let mut ids = BTreeSet::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} names two operations");
            assert!(
                operation["summary"].is_string(),
                "{method} {path} says nothing"
            );
            assert!(
                operation["responses"]["default"].is_object(),
                "{method} {path}"
            );
            let named = path.matches('{').count();
            let parameters = operation["parameters"].as_array();
            let described = parameters.map_or(0, |all| {
                all.iter()
                    .filter(|parameter| parameter["in"] == "path")
                    .count()
            });
            assert_eq!(named, described, "{method} {path}: {operation}");
        }
    }
    let mut missing = BTreeSet::new();
    references(&api, &mut |reference| {
        let pointer = reference.trim_start_matches('#');
        if api.pointer(pointer).is_none() {
            missing.insert(reference.to_owned());
        }
    });
    assert!(missing.is_empty(), "{missing:?}");
}

fn references(value: &Value, found: &mut impl FnMut(&str)) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                found(reference);
            }
            members.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}
