//! The protocols of model providers, for clients that know nothing of us: `/v1/…`.
//!
//! A client is pointed here by its base URL, with one of our tokens for its key. What it sends is
//! read by the wire of its protocol, asked through the gateway, and answered in the same protocol,
//! errors included: problems of the edge itself are put into the protocol's words by the frame.
//! What only we know travels in headers, `x-matrix-…`.

mod answer;
mod ask;
pub(crate) mod batches;
pub(crate) mod chat;
pub(crate) mod embeddings;
mod failure;
pub(crate) mod files;
pub(crate) mod messages;
pub(crate) mod models;
pub(crate) mod rerank;
pub(crate) mod responses;

use axum::extract::DefaultBodyLimit;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use self::failure::{is_ours, problem};
use crate::server::Server;

/// Where these protocols begin.
pub(crate) const PREFIX: &str = "/v1/";

/// Their endpoints.
pub(crate) fn endpoints() -> OpenApiRouter<Server> {
    OpenApiRouter::new()
        .routes(routes!(chat::chat))
        .routes(routes!(messages::messages))
        .routes(routes!(messages::count))
        .routes(routes!(responses::responses))
        .routes(routes!(embeddings::embeddings))
        .routes(routes!(rerank::rerank))
        .merge(batches())
        .routes(routes!(models::list))
        .routes(routes!(models::show))
}

/// Those of batches. Files are as large as conversations may be.
fn batches() -> OpenApiRouter<Server> {
    OpenApiRouter::new()
        .routes(routes!(files::create, files::list))
        .layer(DefaultBodyLimit::disable())
        .routes(routes!(files::show, files::delete))
        .routes(routes!(files::content_of))
        .routes(routes!(batches::create, batches::list))
        .routes(routes!(batches::show))
        .routes(routes!(batches::cancel))
}
