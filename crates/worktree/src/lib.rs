//! Git repositories, work trees and patches: how a plan's operations become a tree.
//!
//! A change is made on a *private* copy of somebody's repository and comes back as a tree, a diff
//! and, when it is released, a commit that the repository's owner can fetch. Three promises hold
//! here, and every module below exists for one of them:
//!
//! 1. **Nothing of the repository runs.** [`git`] is the only place that starts a process; it
//!    clears the environment and the configuration, forbids every transport, hook, pager and file
//!    monitor, and limits time and output. Objects come out of the source through its object
//!    directory alone ([`transfer`]), so its configuration is not read while they move, and they
//!    are indexed anew, so that an id is what the content says it is. Attributes that would
//!    convert or filter content are switched off in all our repositories ([`layout`]): a work tree
//!    holds exactly the bytes that its tree names.
//! 2. **The user's checkout is never touched.** [`repository`] reads; it refreshes no index and
//!    takes no lock. [`clone`] makes a self-contained copy that shares no file with the source.
//! 3. **All or nothing, and never outside.** [`patch`] decides on the base tree's listing before a
//!    byte is written: [`path`] says which paths are refused, [`unified`] fits diffs. The result
//!    is a tree in the private object store first and only then files, which git itself checks
//!    out.
//!
//! [`facts`] gives the canonical diff and its numbers, [`copy`] the throw-away copies that checks
//! run in, [`registry`] the bare repository that releases are published to. [`problem`] has the
//! codes of everything that can go wrong.
//!
//! The rooms above call it in this order: [`Repository::open`], [`Repository::resolve`],
//! [`clone_at`], [`WorkTree::apply`], [`copy::copy_tree`] for each check, [`Registry::publish`].

pub mod beneath;
pub mod clone;
pub mod copy;
pub mod facts;
pub mod git;
pub mod layout;
pub mod listing;
pub mod object;
pub mod operation;
pub mod patch;
pub mod path;
pub mod problem;
pub mod registry;
pub mod repository;
pub mod transfer;
pub mod unified;

pub use clone::{WorkTree, clone_at, look_at};
pub use facts::{DiffFacts, FileFacts, FileStatus};
pub use git::{Git, GitError};
pub use object::{BlobId, CommitId, TreeId};
pub use operation::{FileMode, Operation, Update};
pub use patch::{Applied, Limits, LooseHunk, PatchError, Refusal};
pub use registry::{Publication, Published, Registry};
pub use repository::{Dirty, Repository, RepositoryError};
