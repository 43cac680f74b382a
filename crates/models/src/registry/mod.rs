//! Which models there are: what each is, where it is asked, what it can and what it costs.
//!
//! A name leads to a *model*, of which there may be several versions, or to a *route*, which
//! chooses among models for each call. Rows are kept as they were added; [`Registry`] keeps them
//! in memory and looks every second whether another process changed them.

mod check;
mod kind;
mod service;
mod spec;
mod state;

pub(crate) use check::check_url;
pub use kind::ProviderKind;
pub use service::{
    ModelAdd, ModelRead, ModelRemove, Named, add_model, add_route, list_models, remove_model,
};
pub use spec::{
    Api, InvalidSpec, KeyLimits, ModelSpec, PriceRule, ProviderSpec, RouteSpec, Similar, Strategy,
    Target, Task,
};
pub use state::{Entry, Model, Registry, Route, Snapshot};
