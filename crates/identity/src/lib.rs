//! (room: identity)
