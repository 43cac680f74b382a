//! `/api/v1/events`: what happened to runs, and who is told of it.

mod body;
mod feed;
pub(super) mod list;
pub(super) mod remove;
pub(super) mod reset;
pub(super) mod show;
pub(super) mod subscribe;
pub(super) mod subscriptions;

pub use body::{Event, EventLinks, EventPage, Subscription, SubscriptionState};
pub use remove::Removed;
pub use reset::Reset;
pub use subscribe::NewSubscription;
