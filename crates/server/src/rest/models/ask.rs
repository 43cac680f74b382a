//! `POST /api/v1/models/ask`.

use axum::Json;
use axum::extract::State;
use matrix_core::Money;
use matrix_models::ModelUse;
use matrix_models::chat::{ChatRequest, Choice, Message, Role};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::edge::guard::SignedIn;
use crate::edge::read::Body;
use crate::problem::Failure;
use crate::server::{Server, acting};

/// One question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelQuestion {
    /// A model's or a route's name, `auto`, or `task:code` and the like.
    pub name: String,
    /// What is asked.
    pub text: String,
    /// The most tokens of the answer.
    #[serde(default)]
    pub max_tokens: Option<u64>,
}

/// Its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelAnswer {
    /// What was said.
    pub text: String,
    /// Who said it, by name and version.
    pub model: String,
    /// Its provider.
    pub provider: String,
    /// Tokens that it read.
    pub input: u64,
    /// Tokens that it wrote.
    pub output: u64,
    /// What it cost, in US dollars.
    #[schema(value_type = String)]
    pub cost: Money,
    /// Why models that came before were passed over.
    pub passed: Vec<String>,
}

/// Asks one question, in words and nothing else; the model protocols at `/v1` do all of it.
#[utoipa::path(
    post, path = "/api/v1/models/ask", operation_id = "model_ask", tag = "models",
    request_body = ModelQuestion,
    responses((status = 200, description = "The answer.", body = ModelAnswer)),
)]
pub(crate) async fn ask(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Body(question): Body<ModelQuestion>,
) -> Result<Json<ModelAnswer>, Failure> {
    let action = ModelUse {
        model: question.name.clone(),
        ..ModelUse::default()
    };
    let request = server.authorise(caller, action)?;
    let chat = ChatRequest {
        model: question.name,
        messages: vec![Message::text(Role::User, question.text)],
        max_tokens: question.max_tokens,
        ..ChatRequest::default()
    };
    let gateway = server.models().clone();
    let answered = acting(async move { gateway.chat(&request, chat).await }).await?;
    let receipt = answered.receipt;
    let text = answered.answer.choices.first().map(Choice::text);
    Ok(Json(ModelAnswer {
        text: text.unwrap_or_default(),
        model: receipt.model,
        provider: receipt.provider.into(),
        input: receipt.usage.input,
        output: receipt.usage.output,
        cost: receipt.cost,
        passed: receipt.passed,
    }))
}
