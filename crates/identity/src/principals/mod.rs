//! Principals of a data directory: the owner, the users it adds, and service accounts.
//!
//! The operating-system user who first uses a data directory owns it; commands of that user speak
//! for the owner without a token, because whoever can write the directory needs none. Everybody
//! else signs in with a [`token`]. A data directory with one active user is *single-user*: policy
//! lets that user approve their own changes, and adding a second user ends it.
//!
//! Every act is checked through [`Authorised`](matrix_core::Authorised) and leaves a row in the
//! audit table, written in the same transaction.

pub mod accounts;
pub mod problem;
pub mod service_token;
pub mod sign_in;
pub mod token;
pub mod user_add;
pub mod user_list;

pub use accounts::{Account, AccountState, Accounts};
pub use problem::{UserError, sign_in_required};
pub use token::Token;
pub use user_add::{NewUser, UserAdd};
pub use user_list::UserRead;
