//! The host's own routes, on the socket only: whoever reaches it is the user of this process, who
//! could as well end it, so no policy is asked.

mod drain;
mod show;

use axum::Router;
use axum::routing::{get, post};

pub use drain::Draining;
pub use show::HostView;

use crate::server::Server;

pub(super) fn router() -> Router<Server> {
    Router::new()
        .route("/host", get(show::show))
        .route("/host/drain", post(drain::drain))
}
