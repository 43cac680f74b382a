//! Runs the self-test and prints its result as JSON: `self_test LAUNCHER [fast|full]`.

use std::io::Write;
use std::sync::Arc;

use matrix_core::system::SystemClock;
use matrix_sandbox::spec::{ProbeSet, Profile};
use matrix_sandbox::{Options, Sandbox};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let launcher = words
        .next()
        .ok_or("usage: self_test LAUNCHER [fast|full]")?;
    let set = match words.next().as_deref() {
        None | Some("full") => ProbeSet::Full,
        Some("fast") => ProbeSet::Fast,
        Some(_) => return Err("the set is fast or full".into()),
    };
    let room = tempfile::tempdir()?;
    let options = Options::new(launcher, room.path(), Arc::new(SystemClock::start()));
    let sandbox = Sandbox::detect(options)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let result = runtime.block_on(sandbox.self_test(Profile::Check, set))?;
    writeln!(
        std::io::stdout(),
        "{}",
        serde_json::to_string_pretty(&result)?
    )?;
    if result.held() {
        Ok(())
    } else {
        Err("a probe did not hold".into())
    }
}
