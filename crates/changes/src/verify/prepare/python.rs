//! Python packages: wheels only, from what a lock file pins ([`locked`]) or a manifest names
//! ([`declared`]), for the machine's own interpreter ([`marker`]); and what building the project
//! itself takes ([`build`]).

pub(super) mod build;
mod declared;
mod locked;
mod manifest;
mod marker;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use matrix_sandbox::egress::Destination;
use matrix_sandbox::spec::Mount;

use super::fetch::{DEPENDENCIES, Fetch, Keep, Need, OURS};
use super::{BuildTools, Preparer, Provision, Ready, source};
use crate::verify::detect::Ecosystem;
use matrix_sandbox::toolchain::Tool;

/// Groups of a manifest that tests and linters are declared in.
const GROUPS: &[&str] = &["dev", "test", "tests", "testing", "lint"];

/// What is to be installed, and what a reader should know about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Wanted {
    /// Lines for pip: plain requirements, with digests where a lock file has them.
    lines: Vec<String>,
    /// What was left out and why.
    notes: Vec<String>,
    /// Whether the lines are all there is, so that pip need not look for more.
    complete: bool,
}

impl Wanted {
    fn left_out(&mut self, what: &str) {
        self.notes.push(format!("left out: {what}"));
    }
}

pub(super) async fn need(preparer: &Preparer, tree: &Path, directory: &str) -> Need {
    let Some(python) = preparer.toolchains.get(Ecosystem::Python) else {
        return Need::Nothing;
    };
    let answer = preparer
        .search
        .ask(&python.program, &["-I", "-c", marker::ASK])
        .await;
    let Some(environment) = answer.and_then(|answer| marker::Environment::read(&answer)) else {
        return Need::Cannot(String::from("python3 did not say what machine it runs on"));
    };
    let wanted = match locked::wanted(&tree.join(directory), &environment) {
        Some(Ok(locked)) => locked,
        Some(Err(reason)) => return Need::Cannot(reason),
        None => declared::wanted(tree, directory),
    };
    if wanted.lines.is_empty() {
        return Need::told(wanted.notes);
    }
    if !python.tools.contains(&Tool::Pip) {
        return Need::Cannot(String::from(
            "there are dependencies but python3 has no pip; install it with the system's package \
             manager",
        ));
    }
    let Some(config) = Config::ask(preparer, &python.program).await else {
        return Need::Cannot(String::from(
            "pip did not say where it gets packages from; see `pip config list`",
        ));
    };
    match install(preparer, directory, &wanted.lines, "site", config) {
        Ok((mut fetch, mut command)) => {
            if wanted.complete {
                command.push(String::from("--no-deps"));
            }
            fetch.command = command;
            fetch.notes = wanted.notes;
            Need::Fetch(Box::new(fetch))
        }
        Err(reason) => Need::Cannot(reason),
    }
}

/// pip, unable to build. `--only-binary` holds for what it finds in an index, but a wheel may name
/// the address of a source archive as what it requires, and of that pip would execute the set-up.
const WHEELS_ONLY: &str = "\
import sys
from pip._internal.cli.main import main
from pip._internal.distributions.sdist import SourceDistribution
from pip._internal.exceptions import InstallationError

def refuse(self, *_, **__):
    raise InstallationError('%s is no wheel, and nothing is built' % self.req)

SourceDistribution.prepare_distribution_metadata  # Another pip would have to be looked at.
SourceDistribution.prepare_distribution_metadata = refuse
sys.exit(main(sys.argv[1:]))
";

/// Whether pip reads a line as one requirement. Whoever made the line has seen to that; pip fetches
/// and executes what the options of a requirements file tell it, so it is looked at once more.
fn is_one_requirement(line: &str) -> bool {
    let word = |word: &str| !word.starts_with('-') || word.starts_with("--hash=sha");
    line.starts_with(|first: char| first.is_ascii_alphanumeric())
        && line.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        && !line.contains(['#', '\\', '$', '/', '@'])
        && line.split(' ').all(word)
}

/// A fetch of these requirements into one directory of ours, and pip's command for it.
///
/// # Errors
/// Which line is none.
fn install(
    preparer: &Preparer,
    directory: &str,
    lines: &[String],
    into: &str,
    config: Config,
) -> Result<(Fetch, Vec<String>), String> {
    if let Some(line) = lines.iter().find(|line| !is_one_requirement(line)) {
        return Err(format!(
            "`{}` is no plain requirement, and nothing else is fetched",
            declared::shown(line)
        ));
    }
    let mut files = BTreeMap::new();
    let list = format!("{into}.txt");
    files.insert(format!("{OURS}/{list}"), lines.join("\n").into_bytes());
    files.insert(format!("{OURS}/pip.conf"), config.text.into_bytes());
    let ours = |name: &str| format!("/work/{OURS}/{name}");
    let mut env: BTreeMap<String, String> = [
        ("PIP_CONFIG_FILE", ours("pip.conf")),
        ("PIP_NO_INDEX", String::from("0")),
        ("PIP_NO_INPUT", String::from("1")),
        ("PIP_CACHE_DIR", ours("cache")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let certificates = source::certificates(&preparer.search, config.certificates.as_deref());
    source::trust(certificates, &mut files, &mut env);
    let (target, list) = (ours(into), ours(&list));
    let command = [
        "python3",
        "-c",
        WHEELS_ONLY,
        "install",
        "--only-binary=:all:",
        "--no-compile",
        "--target",
        &target,
        "-r",
        &list,
    ];
    let command = command.map(str::to_owned).to_vec();
    let fetch = Fetch {
        ecosystem: Ecosystem::Python,
        directory: directory.to_owned(),
        files,
        command: Vec::new(),
        env,
        hosts: source::destinations(config.hosts, &preparer.hosts),
        keep: Keep::Paths(vec![format!("{OURS}/{into}")]),
        finish: |_, _, _| Ok(()),
        show,
        notes: Vec::new(),
        what: DEPENDENCIES,
    };
    Ok((fetch, command))
}

/// What is taken of the user's pip configuration.
struct Config {
    text: String,
    hosts: BTreeSet<Destination>,
    certificates: Option<String>,
}

/// Where pip goes when nothing is configured, as pip itself has it.
const DEFAULTS: &str = "from pip._internal.models.index import PyPI as p; \
    print(p.simple_url); print(p.file_storage_domain)";

impl Config {
    async fn ask(preparer: &Preparer, python: &Path) -> Option<Self> {
        let search = &preparer.search;
        let listed = search.ask(python, &["-m", "pip", "config", "list"]).await?;
        let (mut index, mut extra, mut certificates) = (None, Vec::new(), None);
        for line in listed.lines() {
            let Some((key, value)) = line.split_once('=') else {
                continue;
            };
            let value = value.trim_matches(['\'', '"']);
            // What the environment says stands above what a file says.
            let above = key.starts_with(":env:");
            match key.rsplit('.').next() {
                Some("index-url") if above || index.is_none() => index = Some(value.to_owned()),
                Some("extra-index-url") => {
                    let parts = value.split("\\n").flat_map(str::split_whitespace);
                    extra.extend(parts.map(str::to_owned));
                }
                Some("cert") if above || certificates.is_none() => {
                    certificates = Some(value.to_owned());
                }
                _ => {}
            }
        }
        let mut config = Self {
            text: String::from("[global]\n"),
            hosts: BTreeSet::new(),
            certificates,
        };
        if let Some(index) = index {
            // An index that is no address of the network is not replaced by the public one.
            let (clean, destination) = source::cleaned(&index)?;
            config.hosts.insert(destination);
            let _ = writeln!(config.text, "index-url = {clean}");
        } else {
            let defaults = search.ask(python, &["-I", "-c", DEFAULTS]).await?;
            let mut lines = defaults.lines();
            config.hosts.insert(source::cleaned(lines.next()?)?.1);
            config.hosts.insert(Destination::new(lines.next()?, 443));
        }
        let mut more = Vec::new();
        for (clean, destination) in extra.iter().filter_map(|address| source::cleaned(address)) {
            config.hosts.insert(destination);
            more.push(clean);
        }
        if !more.is_empty() {
            let _ = writeln!(config.text, "extra-index-url = {}", more.join(" "));
        }
        Some(config)
    }
}

/// The mount of one directory of ours. Its source is the packages' own directory, so that a module
/// can be looked for on the host.
fn mount(fetch: &Fetch, kept: &Path, name: &str) -> Mount {
    let mut mount = fetch.mount(kept);
    mount.source = kept.join(OURS).join(name);
    mount.target = fetch.target().join(OURS).join(name);
    mount
}

fn show(fetch: &Fetch, kept: &Path) -> Ready {
    let mount = mount(fetch, kept, "site");
    let site = mount.target.clone();
    Ready {
        mounts: vec![mount],
        path: vec![site.join("bin")],
        env: [(
            String::from("PYTHONPATH"),
            site.to_string_lossy().into_owned(),
        )]
        .into(),
        ..Ready::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_look_lets_only_requirements_through() {
        for line in [
            "a",
            "a-b[c,d] >=1,<2",
            "a==1.0 ; python_version < '3.9' and (os_name == \"posix\")",
            "a==1.0 --hash=sha256:00ff --hash=sha512:00",
        ] {
            assert!(is_one_requirement(line), "{line}");
        }
        for line in [
            "",
            " a",
            "-r x",
            "--no-binary=a",
            "a\n--pre",
            "a\r",
            "a\u{2028}b",
            "a #",
            "a \\",
            "a @ https://host.test/a.whl",
            "./a",
            "a ; os_name == 'posix' --global-option=x",
            "a ; os_name == '${HOME}'",
        ] {
            assert!(!is_one_requirement(line), "{line:?}");
        }
    }
}
