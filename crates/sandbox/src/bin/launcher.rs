//! The launcher alone, for this crate's tests; the product's binary dispatches in its own `main`.

use std::process::ExitCode;

fn main() -> ExitCode {
    matrix_sandbox::launcher::dispatch(std::env::args_os()).unwrap_or(ExitCode::from(2))
}
