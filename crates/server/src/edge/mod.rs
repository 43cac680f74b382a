//! Between the socket and the handlers: what holds for every request, whoever answers it.
//!
//! A connection ([`listen`]) is bounded in number, in the time its request's head may take and in
//! how long it may idle. Each request then passes two layers:
//!
//! * [`frame`], the outer one: a request id, a time limit, a panic caught, every failure written as
//!   problem+json, security headers, a log line, the counters.
//! * [`guard`], the inner one: who asks. Over TCP the Host and Origin headers are checked against
//!   the listener's own names and a bearer token is required; over the socket the kernel has said
//!   that the peer is the process's own user, so the caller is the owner.
//!
//! [`read`] has the extractors, which turn whatever a client sends into a value or a failure.

pub(crate) mod frame;
pub(crate) mod guard;
pub(crate) mod listen;
pub(crate) mod read;
