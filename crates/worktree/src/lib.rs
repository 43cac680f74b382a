//! (room: worktree)
