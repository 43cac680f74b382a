//! Policies: who may do what, and what may be released, in Cedar.
//!
//! A policy directory holds `*.cedar`, and `managed/*.cedar` from whoever manages the machine.
//! [`source`] reads them, [`compile`] checks them strictly against the one schema, [`engine`]
//! asks them. Two kinds of question exist: [`access`] asks whether a caller may use a function,
//! [`gate`] whether a change may be released, on the typed [`facts`] of the change.
//!
//! What holds here, whatever the policies say:
//!
//! - Nothing is allowed unless a policy allows it, and a forbid of any file refuses.
//! - A mistake is a refusal. Policies with a parse error, a validation error or even a validation
//!   warning deny everything and say where the mistake is. An error while evaluating refuses the
//!   request, although Cedar itself would leave the failing policy out.
//! - Managed policies are asked first and their forbids are final. Their permits count like any
//!   other, so a directory can be stricter than its manager but never laxer.
//! - Counting approvals, matching paths and comparing results happen before, in Rust. Policies
//!   see facts, and closed sets of words: a misspelt risk is found when the file is read.
//! - Only users approve. The schema gives `change_approve` no other principal, so no policy can.

pub mod access;
pub mod compile;
mod depth;
pub mod engine;
pub mod facts;
pub mod gate;
pub mod problem;
pub mod source;

pub use access::{Access, AccessExplanation, AccessStep, Roster};
pub use compile::{PolicyEffect, PolicyInfo};
pub use engine::{Answer, PolicyEngine};
pub use facts::{EVIDENCE_KINDS, EvidenceStatus, GateFacts, Observation, Risk, Tests};
pub use gate::{GateExplanation, GateVerdict};
pub use problem::{Finding, PolicyError};
pub use source::{DEFAULT_POLICY, Layer, SCHEMA, Source};
