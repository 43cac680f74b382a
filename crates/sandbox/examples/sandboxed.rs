//! Runs a command in the sandbox: `sandboxed LAUNCHER TREE [SOURCE=/TARGET …] COMMAND…`. For trying
//! it by hand. What is shown with `=` is read-only, and its `bin` is put into the path.

use std::io::Write;
use std::sync::Arc;

use matrix_core::system::SystemClock;
use matrix_sandbox::spec::{Access, Limits, Mount, Network, Profile, SandboxSpec, Stream};
use matrix_sandbox::{Options, Sandbox};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1).peekable();
    let (Some(launcher), Some(tree)) = (arguments.next(), arguments.next()) else {
        return Err("usage: sandboxed LAUNCHER TREE COMMAND…".into());
    };
    let mut mounts = Vec::new();
    while let Some((source, target)) = arguments
        .peek()
        .and_then(|word| word.to_str()?.split_once("=/"))
    {
        mounts.push(Mount {
            source: source.into(),
            target: format!("/{target}").into(),
            access: Access::ReadOnly,
        });
        arguments.next();
    }
    let scratch = std::env::temp_dir().join("matrix-sandbox-example");
    let sandbox = Sandbox::detect(Options::new(
        launcher,
        scratch,
        Arc::new(SystemClock::start()),
    ))?;
    let spec = SandboxSpec {
        profile: Profile::Check,
        command: arguments.collect(),
        cwd: "/work".into(),
        env: std::collections::BTreeMap::new(),
        work_tree: tree.into(),
        path: mounts
            .iter()
            .map(|mount: &Mount| mount.target.join("bin"))
            .collect(),
        mounts,
        network: Network::None,
        limits: Limits::default(),
    };
    let output = Box::new(|stream: Stream, bytes: &[u8]| {
        drop(match stream {
            Stream::Stdout => std::io::stdout().write_all(bytes),
            Stream::Stderr => std::io::stderr().write_all(bytes),
        });
    });
    let (_cancel, cancelled) = tokio::sync::watch::channel(false);
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(sandbox.run(spec, output, cancelled))?;
    writeln!(std::io::stderr(), "{}", serde_json::to_string(&outcome)?)?;
    Ok(())
}
