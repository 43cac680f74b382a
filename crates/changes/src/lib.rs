//! (room: changes)
