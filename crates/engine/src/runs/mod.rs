//! What callers may do with runs: one file for each verb. Each takes the proof that the caller may
//! ([`Authorised`](matrix_core::Authorised)), and writes its audit row with the act.

mod bulk;
mod cancel;
mod decide;
mod explain;
mod fork;
mod hold;
mod list;
mod message;
mod pause;
mod replay;
mod resume;
mod retry;
mod show;
mod signal;
mod why;

pub use bulk::{BulkAction, BulkPage, Fate, Handled, bulk, rehearse};
pub use cancel::{RunCancel, cancel};
pub use decide::{Answer, ApprovalApprove, ApprovalReject, Deciding, decide};
pub use explain::{Why, explain};
pub use fork::{RunFork, fork};
pub use hold::{RunHold, hold};
pub use list::{RunList, list};
pub use matrix_store::tables::runs::Filter;
pub use message::submitter_of;
pub(crate) use message::{Mail, send};
pub use pause::{RunPause, pause};
pub use replay::{Replay, Verdict as ReplayVerdict, replay};
pub use resume::{RunResume, resume};
pub use retry::{RunRetry, retry};
pub use show::{
    ChildView, ENTRIES_MAX, RunRead, RunView, StepView, entries, history, row, show,
    steps_under_way,
};
pub use signal::{RunSignal, signal};
pub use why::{Blocked, InQueue, why};
