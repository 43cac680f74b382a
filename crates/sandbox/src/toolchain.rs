//! Finding the host's toolchains and showing them inside a sandbox.
//!
//! A sandbox sees `/usr` and nothing of any home, so a toolchain that lies elsewhere is mounted
//! read-only at `/toolchains/NAME`. Version managers are looked through: their shims are asked,
//! outside and never in a repository's directory, where the real thing lies, and only that is
//! mounted. What is mounted must look like a toolchain; a directory that holds a person's home is
//! refused, whatever a shim claims.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use matrix_core::Digest;
use serde::{Deserialize, Serialize};

use crate::spec::{Access, Mount};

const ASK_TIME: Duration = Duration::from_secs(20);
const ASK_BYTES: usize = 64 * 1024;
/// What is shown to a tool that is asked; nothing else of the environment is.
const ASK_ENV: &[&str] = &[
    "HOME",
    "PATH",
    "LANG",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "CARGO_HOME",
    "PYENV_ROOT",
    "PYENV_VERSION",
    "NVM_DIR",
    "FNM_DIR",
    "ASDF_DIR",
    "ASDF_DATA_DIR",
    "MISE_DATA_DIR",
    "GOROOT",
    "VOLTA_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "NPM_CONFIG_USERCONFIG",
    "npm_config_userconfig",
    "npm_config_registry",
    "PIP_CONFIG_FILE",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_CERT",
    "GOPROXY",
];

/// A family of tools with its own manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ecosystem {
    /// Rust's Cargo.
    Cargo,
    /// Node with npm or pnpm.
    Node,
    /// Python.
    Python,
    /// Go modules.
    Go,
    /// A makefile.
    Make,
}

impl Ecosystem {
    /// The name used in the keys of checks.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cargo => "cargo",
            Self::Node => "node",
            Self::Python => "python",
            Self::Go => "go",
            Self::Make => "make",
        }
    }
}

/// Where to look; the binary fills it from its environment.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// The environment, of which only the variables that version managers need are used.
    pub env: BTreeMap<String, String>,
}

/// The toolchains of this host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Toolchains {
    found: BTreeMap<Ecosystem, Toolchain>,
}

/// One toolchain and how to show it inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Toolchain {
    /// What it says of itself: `rustc 1.95.0 (…)`.
    pub version: String,
    /// What is mounted; nothing when it lies in `/usr`.
    pub mounts: Vec<Mount>,
    /// Directories inside that come first in `PATH`.
    pub path: Vec<PathBuf>,
    /// What it needs in the environment.
    pub env: BTreeMap<String, String>,
    /// Optional tools that were found with it.
    pub tools: BTreeSet<Tool>,
    /// Where its main program lies on the host, for questions asked outside.
    pub program: PathBuf,
}

/// A tool that a toolchain may or may not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tool {
    /// `cargo clippy`.
    Clippy,
    /// `pip` as a module.
    Pip,
    /// `pytest` as a module.
    Pytest,
    /// `ruff` as a program or module.
    Ruff,
    /// `build` or `setuptools`, to make wheels without the network.
    PythonBuild,
    /// `npm`.
    Npm,
    /// `pnpm`.
    Pnpm,
}

impl Toolchains {
    /// Looks for every toolchain; one that is missing or does not answer is not there.
    pub async fn find(search: &Search) -> Self {
        let mut found = BTreeMap::new();
        for (ecosystem, toolchain) in every(search).await {
            if let Some(toolchain) = toolchain {
                found.insert(ecosystem, toolchain);
            }
        }
        Self { found }
    }

    /// The toolchain of an ecosystem.
    pub fn get(&self, ecosystem: Ecosystem) -> Option<&Toolchain> {
        self.found.get(&ecosystem)
    }

    /// Every toolchain, for a command that may want any of them.
    pub fn all(&self) -> impl Iterator<Item = (Ecosystem, &Toolchain)> {
        self.found
            .iter()
            .map(|(ecosystem, found)| (*ecosystem, found))
    }

    /// Why an ecosystem's checks cannot run here, and what to install.
    pub fn missing(ecosystem: Ecosystem) -> String {
        let install = match ecosystem {
            Ecosystem::Cargo => {
                "Rust was not found; install it so that `rustc` and `cargo` are in PATH"
            }
            Ecosystem::Node => {
                "Node was not found; install it so that `node` and `npm` are in PATH"
            }
            Ecosystem::Python => "Python was not found; install it so that `python3` is in PATH",
            Ecosystem::Go => "Go was not found; install it so that `go` is in PATH",
            Ecosystem::Make => "make was not found; install it with the system's package manager",
        };
        install.to_owned()
    }

    /// A digest of the versions: results of other tools are other results.
    pub fn digest(&self) -> Digest {
        let mut text = String::new();
        for (ecosystem, toolchain) in &self.found {
            text.push_str(ecosystem.as_str());
            text.push('\0');
            text.push_str(&toolchain.version);
            for tool in &toolchain.tools {
                let _ = write!(text, "\0{tool:?}");
            }
            text.push('\n');
        }
        Digest::of(text)
    }
}

/// Looks for all of them side by side.
async fn every(search: &Search) -> [(Ecosystem, Option<Toolchain>); 5] {
    let (rust, node, python, go, make) = tokio::join!(
        rust(search),
        node(search),
        python(search),
        go(search),
        make(search),
    );
    [
        (Ecosystem::Cargo, rust),
        (Ecosystem::Node, node),
        (Ecosystem::Python, python),
        (Ecosystem::Go, go),
        (Ecosystem::Make, make),
    ]
}

impl Search {
    /// The first executable of this name in `PATH`.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        let path = self.env.get("PATH")?;
        std::env::split_paths(path)
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join(name))
            .find(|candidate| is_executable(candidate))
    }

    fn home(&self) -> Option<&Path> {
        self.env.get("HOME").map(Path::new)
    }

    /// Asks a program outside, from the root directory, with a small environment.
    pub async fn ask(&self, program: &Path, arguments: &[&str]) -> Option<String> {
        let mut command = tokio::process::Command::new(program);
        command
            .args(arguments)
            .current_dir("/")
            .env_clear()
            .envs(
                self.env
                    .iter()
                    .filter(|(key, _)| ASK_ENV.contains(&key.as_str())),
            )
            .env("RUSTUP_AUTO_INSTALL", "0")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("GOTOOLCHAIN", "local")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(ASK_TIME, command.output())
            .await
            .ok()?
            .ok()?;
        if !output.status.success() || output.stdout.len() > ASK_BYTES {
            return None;
        }
        let text = String::from_utf8(output.stdout).ok()?;
        Some(text.trim().to_owned())
    }
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Whether a sandbox sees this path without a mount.
fn in_system(path: &Path) -> bool {
    ["/usr", "/bin", "/sbin", "/lib", "/lib64"]
        .iter()
        .any(|root| path.starts_with(root))
}

/// Where a toolchain's directory appears inside, and the mount that takes.
fn shown(
    search: &Search,
    root: &Path,
    name: &str,
    landmark: &str,
) -> Option<(PathBuf, Vec<Mount>)> {
    let root = std::fs::canonicalize(root).ok()?;
    if !root.join(landmark).exists() {
        return None;
    }
    if in_system(&root) {
        return Some((root, Vec::new()));
    }
    let home = search
        .home()
        .and_then(|home| std::fs::canonicalize(home).ok());
    let holds_home = home.is_some_and(|home| home.starts_with(&root));
    if holds_home || root.components().count() < 3 {
        return None;
    }
    let target = Path::new("/toolchains").join(name);
    let mount = Mount {
        source: root,
        target: target.clone(),
        access: Access::ReadOnly,
    };
    Some((target, vec![mount]))
}

async fn rust(search: &Search) -> Option<Toolchain> {
    let shim = search.program("rustc")?;
    let sysroot = PathBuf::from(search.ask(&shim, &["--print", "sysroot"]).await?);
    let (inside, mounts) = shown(search, &sysroot, "rust", "bin/cargo")?;
    let version = search
        .ask(&sysroot.join("bin/rustc"), &["--version"])
        .await?;
    let tools = ["bin/cargo-clippy", "bin/clippy-driver"]
        .iter()
        .all(|tool| is_executable(&sysroot.join(tool)));
    let env = [
        ("CARGO_HOME", "/tmp/cargo"),
        ("CARGO_NET_OFFLINE", "true"),
        ("CARGO_TERM_COLOR", "never"),
        ("CARGO_TERM_PROGRESS_WHEN", "never"),
        ("CARGO_INCREMENTAL", "0"),
    ];
    Some(Toolchain {
        version,
        mounts,
        path: vec![inside.join("bin")],
        env: owned(&env),
        tools: tools.then_some(Tool::Clippy).into_iter().collect(),
        program: sysroot.join("bin/cargo"),
    })
}

async fn node(search: &Search) -> Option<Toolchain> {
    let shim = search.program("node")?;
    let real = PathBuf::from(search.ask(&shim, &["-p", "process.execPath"]).await?);
    let version = search.ask(&real, &["--version"]).await?;
    let root = real.parent()?.parent()?;
    let npm = search.program("npm").is_some();
    let (path, mounts) = match shown(search, root, "node", "lib/node_modules") {
        Some((inside, mounts)) => (inside.join("bin"), mounts),
        // A lone program: nothing beside it is shown.
        None if !in_system(&real) => {
            let target = PathBuf::from("/toolchains/node/bin/node");
            let mount = Mount {
                source: real.clone(),
                target,
                access: Access::ReadOnly,
            };
            (PathBuf::from("/toolchains/node/bin"), vec![mount])
        }
        None => (real.parent()?.to_owned(), Vec::new()),
    };
    let mut tools = BTreeSet::new();
    if npm && root.join("lib/node_modules").exists() {
        tools.insert(Tool::Npm);
    }
    if is_executable(&root.join("bin/pnpm")) {
        tools.insert(Tool::Pnpm);
    }
    let env = [
        ("npm_config_offline", "true"),
        ("npm_config_update_notifier", "false"),
        ("npm_config_fund", "false"),
        ("npm_config_audit", "false"),
        ("npm_config_cache", "/tmp/npm"),
        ("npm_config_logs_max", "0"),
        ("NO_COLOR", "1"),
    ];
    Some(Toolchain {
        version: format!("node {version}"),
        mounts,
        path: vec![path],
        env: owned(&env),
        tools,
        program: real,
    })
}

/// Where the interpreter lies and which modules it has, as JSON.
const PYTHON_FACTS: &str = "import importlib.util as u,json,sys\n\
    has=lambda *m: all(u.find_spec(x) is not None for x in m)\n\
    print(json.dumps({'prefix':sys.base_prefix,'version':sys.version.split()[0],\
    'short':'%d.%d'%sys.version_info[:2],'tools':[t for t,m in (('pip','pip'),\
    ('pytest','pytest'),('ruff','ruff'),('python_build','setuptools')) if has(m)]}))";

#[derive(Deserialize)]
struct PythonFacts {
    prefix: PathBuf,
    version: String,
    short: String,
    tools: BTreeSet<Tool>,
}

async fn python(search: &Search) -> Option<Toolchain> {
    let shim = search.program("python3")?;
    let find = "import sys; print(sys.base_prefix); print('%d.%d' % sys.version_info[:2])";
    let answer = search.ask(&shim, &["-I", "-c", find]).await?;
    let (prefix, short) = answer.split_once('\n')?;
    let real = Path::new(prefix).join(format!("bin/python{short}"));
    // Asked again without shim and virtual environment: inside there will be neither.
    let facts = search.ask(&real, &["-I", "-c", PYTHON_FACTS]).await?;
    let facts: PythonFacts = serde_json::from_str(&facts).ok()?;
    let landmark = format!("lib/python{}/os.py", facts.short);
    let (inside, mounts) = shown(search, &facts.prefix, "python", &landmark)?;
    let env = [
        ("PYTHONDONTWRITEBYTECODE", "1"),
        ("PYTHONUNBUFFERED", "1"),
        ("PYTHONUTF8", "1"),
        ("PYTHONNOUSERSITE", "1"),
        ("PIP_NO_INDEX", "1"),
        ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
    ];
    let mut env = owned(&env);
    let libraries = facts.prefix.join("lib");
    let shared = format!("libpython{}.so", facts.short);
    if !mounts.is_empty() && holds(&libraries, &shared) {
        // The program looks for its library where it was built; without this it would take the
        // system's, which has other packages.
        let inside = inside.join("lib").to_string_lossy().into_owned();
        env.insert(String::from("LD_LIBRARY_PATH"), inside);
    }
    Some(Toolchain {
        version: format!("Python {}", facts.version),
        mounts,
        path: vec![inside.join("bin")],
        env,
        tools: facts.tools,
        program: real,
    })
}

/// Whether a directory has a file whose name begins so.
fn holds(directory: &Path, prefix: &str) -> bool {
    std::fs::read_dir(directory).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
    })
}

async fn go(search: &Search) -> Option<Toolchain> {
    let shim = search.program("go")?;
    let root = PathBuf::from(search.ask(&shim, &["env", "GOROOT"]).await?);
    let (inside, mounts) = shown(search, &root, "go", "bin/go")?;
    let version = search.ask(&root.join("bin/go"), &["version"]).await?;
    let env = [
        ("GOFLAGS", "-buildvcs=false"),
        ("GOPROXY", "off"),
        ("GOSUMDB", "off"),
        ("GOTOOLCHAIN", "local"),
        ("GOCACHE", "/tmp/go-build"),
        ("GOPATH", "/tmp/go"),
        ("GOTELEMETRY", "off"),
    ];
    Some(Toolchain {
        version,
        mounts,
        path: vec![inside.join("bin")],
        env: owned(&env),
        tools: BTreeSet::new(),
        program: root.join("bin/go"),
    })
}

async fn make(search: &Search) -> Option<Toolchain> {
    let program = search.program("make")?;
    let real = std::fs::canonicalize(&program).ok()?;
    if !in_system(&real) {
        return None;
    }
    let answer = search.ask(&real, &["--version"]).await?;
    Some(Toolchain {
        version: answer.lines().next().unwrap_or("make").to_owned(),
        mounts: Vec::new(),
        path: Vec::new(),
        env: BTreeMap::new(),
        tools: BTreeSet::new(),
        program: real,
    })
}

fn owned(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_that_holds_the_home_is_not_shown() {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join("home/ann");
        std::fs::create_dir_all(home.join("bin")).unwrap();
        std::fs::create_dir_all(home.join("tools/rust/bin")).unwrap();
        for program in ["bin/cargo", "tools/rust/bin/cargo"] {
            std::fs::write(home.join(program), "").unwrap();
        }
        let env = [("HOME".to_owned(), home.to_string_lossy().into_owned())];
        let search = Search { env: env.into() };
        assert_eq!(shown(&search, &home, "rust", "bin/cargo"), None);
        let (inside, mounts) =
            shown(&search, &home.join("tools/rust"), "rust", "bin/cargo").unwrap();
        assert_eq!(inside, Path::new("/toolchains/rust"));
        assert_eq!(mounts.len(), 1);
        assert_eq!(
            shown(&search, &home.join("tools"), "rust", "bin/cargo"),
            None
        );
    }

    #[test]
    fn only_absolute_directories_of_the_path_are_searched() {
        let env = [("PATH".to_owned(), ".:/nonexistent:/bin".to_owned())];
        let search = Search { env: env.into() };
        assert_eq!(search.program("sh"), Some(PathBuf::from("/bin/sh")));
        assert_eq!(search.program("no-such-program"), None);
    }
}
