//! Writes `docs/reference/openapi.json` from the handlers:
//! `cargo run -p matrix-server --example openapi`.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/openapi.json");
    let text = serde_json::to_string_pretty(&matrix_server::openapi())?;
    std::fs::write(file, text + "\n")
}
