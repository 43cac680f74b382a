//! The API's description, made from the handlers.

use serde_json::{Value, json};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder};
use utoipa::{PartialSchema, ToSchema};

use crate::rest::{self, ProblemBody};

const TOKEN: &str = "token";

/// The `OpenAPI` 3.1 description of everything a TCP listener serves.
pub fn openapi() -> Value {
    let api = rest::endpoints().into_openapi();
    let mut value = serde_json::to_value(&api).unwrap_or_default();
    plain_templates(&mut value);
    add_failures(&mut value);
    value
}

/// A parameter that takes the rest of the path (`{*name}`) is an ordinary one in a description.
fn plain_templates(api: &mut Value) {
    if let Some(paths) = api.pointer_mut("/paths").and_then(Value::as_object_mut) {
        *paths = std::mem::take(paths)
            .into_iter()
            .map(|(path, item)| (path.replace("{*", "{"), item))
            .collect();
    }
}

/// What is not said at any one endpoint.
pub(crate) fn frame() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Matrix")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "A control plane for changes: plan, patch, verify, gate, deploy, publish.",
        ))
        .license(Some(
            LicenseBuilder::new()
                .name("Apache-2.0")
                .identifier(Some("Apache-2.0"))
                .build(),
        ))
        .build();
    let mut components = Components::new();
    components.add_security_scheme(
        TOKEN,
        SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)),
    );
    let mut schemas = Vec::new();
    ProblemBody::schemas(&mut schemas);
    components
        .schemas
        .insert(ProblemBody::name().into_owned(), ProblemBody::schema());
    components.schemas.extend(schemas);
    OpenApiBuilder::new()
        .info(info)
        .components(Some(components))
        .security(Some([SecurityRequirement::new::<_, [&str; 0], &str>(
            TOKEN,
            [],
        )]))
        .build()
}

/// Every operation can fail, always in the same form.
fn add_failures(api: &mut Value) {
    let failure = json!({
        "description": "A failure; its code has a page in `docs/errors/`.",
        "content": { "application/problem+json": {
            "schema": { "$ref": "#/components/schemas/ProblemBody" },
        } },
    });
    let paths = api.pointer_mut("/paths").and_then(Value::as_object_mut);
    for item in paths.into_iter().flat_map(|paths| paths.values_mut()) {
        let operations = item.as_object_mut().into_iter();
        for operation in operations.flat_map(|item| item.values_mut()) {
            if let Some(responses) = operation
                .get_mut("responses")
                .and_then(Value::as_object_mut)
            {
                responses.insert("default".into(), failure.clone());
            }
        }
    }
}
