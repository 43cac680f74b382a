//! `matrix.yaml`: what a repository says about its own checks, artifacts and targets.
//!
//! The bytes always come from the *base* revision, so a change cannot weaken the checks it is
//! judged by: what it writes here counts after its release. Unknown keys are errors, because a
//! misspelt `timeout` that is silently ignored is a check that never ends.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use matrix_evidence::Kind;
use serde::{Deserialize, Serialize};
use serde_saphyr::{Location, Spanned};

/// Where the file lies, relative to the repository's root.
pub const FILE_NAME: &str = "matrix.yaml";

/// The largest file that is read, in bytes.
const MAX_BYTES: usize = 256 * 1024;
const MAX_CHECKS: usize = 64;
const MAX_ARTIFACTS: usize = 64;
const MAX_TARGETS: usize = 32;
const MAX_COMMAND: usize = 16 * 1024;
const MAX_NAME: usize = 64;
/// How long a check may take at most.
pub const MAX_TIMEOUT: Duration = Duration::from_hours(2);

/// How long a check may take when nothing is said.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_mins(10);

/// One thing wrong with the file, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{FILE_NAME}:{line}:{column}: {message}")]
pub struct ConfigError {
    /// The line, counted from 1; 0 when the whole file is meant.
    pub line: u64,
    /// The column, counted from 1; 0 when the whole file is meant.
    pub column: u64,
    /// What is wrong and, where it helps, what is right.
    pub message: String,
}

/// The file's contents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectConfig {
    /// Checks given by the repository; they replace the found ones of the same kind.
    pub checks: Vec<CustomCheck>,
    /// Globs, relative to the root, of what the build check's copy publishes.
    pub artifacts: Vec<String>,
    /// Where a change may be deployed, by name.
    pub targets: BTreeMap<String, TargetConfig>,
}

/// A command that the repository declares as a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomCheck {
    /// Unique among the checks.
    pub name: String,
    /// What it gives evidence of.
    pub kind: Kind,
    /// A command line for `/bin/sh`, executed in the repository's root.
    pub run: String,
    /// When it is ended, in milliseconds.
    pub timeout_ms: u64,
}

/// How the repository wants to be deployed to one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetConfig {
    /// The adapter.
    pub kind: TargetKind,
    /// What the target is for; policies and the risk table read it.
    pub environment: Environment,
    /// A command line that starts the process, if there is one.
    pub start: Option<String>,
    /// A command line that asks the process to end; without it a signal does.
    pub stop: Option<String>,
    /// How to find out whether a deployment works.
    pub health: Option<Health>,
    /// The loopback port the process listens on.
    pub port: Option<u16>,
    /// How many releases stay on the target.
    pub keep: u32,
}

/// The adapters a repository can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// Release directories with a symlink that is switched.
    Directory,
}

/// What a target is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Environment {
    /// Nobody but the authors depends on it.
    #[default]
    Development,
    /// A rehearsal.
    Staging,
    /// People depend on it.
    Production,
}

/// How to find out whether a deployment works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// A command line that exits with zero.
    Run(String),
    /// A path that answers with a 2xx status on the target's port.
    Http(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    checks: Vec<Spanned<RawCheck>>,
    #[serde(default)]
    artifacts: Vec<Spanned<String>>,
    #[serde(default)]
    targets: BTreeMap<String, Spanned<RawTarget>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCheck {
    name: Spanned<String>,
    kind: Spanned<Kind>,
    run: Spanned<String>,
    #[serde(default)]
    timeout: Option<Spanned<RawTimeout>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawTimeout {
    Seconds(u64),
    Text(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTarget {
    kind: TargetKind,
    #[serde(default)]
    environment: Environment,
    start: Option<String>,
    stop: Option<String>,
    health: Option<Spanned<RawHealth>>,
    port: Option<u16>,
    #[serde(default = "default_keep")]
    keep: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHealth {
    run: Option<String>,
    http: Option<String>,
}

const fn default_keep() -> u32 {
    5
}

fn at(location: Location, message: impl Into<String>) -> ConfigError {
    ConfigError {
        line: location.line(),
        column: location.column(),
        message: message.into(),
    }
}

fn whole(message: impl Into<String>) -> ConfigError {
    ConfigError {
        line: 0,
        column: 0,
        message: message.into(),
    }
}

impl ProjectConfig {
    /// Reads the file's bytes; the first thing wrong is the error, with its line and column.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        if bytes.len() > MAX_BYTES {
            return Err(whole(format!(
                "the file has {} bytes; at most {MAX_BYTES} are read",
                bytes.len()
            )));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = before.split(|byte| *byte == b'\n').count();
            ConfigError {
                line: line as u64,
                column: 1,
                message: String::from("the file is not UTF-8"),
            }
        })?;
        let blank = text.lines().all(|line| {
            let line = line.trim();
            line.is_empty() || line.starts_with('#')
        });
        if blank {
            return Ok(Self::default());
        }
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! {
                max_depth: 16,
                max_nodes: 8192,
                max_aliases: 0,
            },
        };
        let raw: RawFile = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            let message = first_line(&error.without_snippet().to_string());
            error
                .location()
                .map_or_else(|| whole(message.clone()), |place| at(place, &message))
        })?;
        Self::checked(raw)
    }

    fn checked(raw: RawFile) -> Result<Self, ConfigError> {
        limit("checks", raw.checks.len(), MAX_CHECKS)?;
        limit("artifacts", raw.artifacts.len(), MAX_ARTIFACTS)?;
        limit("targets", raw.targets.len(), MAX_TARGETS)?;
        let mut names = BTreeSet::new();
        let mut checks = Vec::with_capacity(raw.checks.len());
        for check in raw.checks {
            let place = check.value.name.referenced;
            let check = custom_check(check.value)?;
            if !names.insert(check.name.clone()) {
                let message = format!("the name `{}` is given to two checks", check.name);
                return Err(at(place, message));
            }
            checks.push(check);
        }
        let artifacts = raw.artifacts.into_iter().map(artifact_glob);
        let artifacts = artifacts.collect::<Result<_, _>>()?;
        let mut targets = BTreeMap::new();
        for (name, target) in raw.targets {
            named("target", &name, target.referenced)?;
            let place = target.referenced;
            targets.insert(name, target_config(target.value, place)?);
        }
        Ok(Self {
            checks,
            artifacts,
            targets,
        })
    }

    /// The kinds for which the repository gives its own checks.
    pub fn kinds(&self) -> BTreeSet<Kind> {
        self.checks.iter().map(|check| check.kind).collect()
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn limit(what: &str, count: usize, most: usize) -> Result<(), ConfigError> {
    if count > most {
        return Err(whole(format!("{count} {what}; at most {most} are allowed")));
    }
    Ok(())
}

fn named(what: &str, name: &str, place: Location) -> Result<(), ConfigError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let starts = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if name.len() > MAX_NAME || !starts || !name.chars().all(plain) {
        let message = format!(
            "the {what}'s name must be 1 to {MAX_NAME} letters, digits, `-`, `_` or `.` and begin \
             with a letter or digit"
        );
        return Err(at(place, message));
    }
    Ok(())
}

fn command(what: &str, text: &str, place: Location) -> Result<(), ConfigError> {
    if text.trim().is_empty() {
        return Err(at(place, format!("`{what}` is empty")));
    }
    if text.len() > MAX_COMMAND || text.contains('\0') {
        let message = format!("`{what}` must be at most {MAX_COMMAND} bytes without NUL");
        return Err(at(place, message));
    }
    Ok(())
}

fn custom_check(raw: RawCheck) -> Result<CustomCheck, ConfigError> {
    named("check", &raw.name.value, raw.name.referenced)?;
    command("run", &raw.run.value, raw.run.referenced)?;
    if matches!(raw.kind.value, Kind::DependencyAudit | Kind::Sbom) {
        let message = format!(
            "a check of kind `{}` cannot be given here: it is always made from the lock files",
            raw.kind.value
        );
        return Err(at(raw.kind.referenced, message));
    }
    let timeout = match raw.timeout {
        None => DEFAULT_TIMEOUT,
        Some(given) => timeout(&given.value).map_err(|message| at(given.referenced, message))?,
    };
    Ok(CustomCheck {
        name: raw.name.value,
        kind: raw.kind.value,
        run: raw.run.value,
        timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
    })
}

fn timeout(raw: &RawTimeout) -> Result<Duration, String> {
    let wrong = || {
        String::from(
            "`timeout` must be whole seconds or a number with `s`, `m` or `h`, such as 90s",
        )
    };
    let seconds = match raw {
        RawTimeout::Seconds(seconds) => *seconds,
        RawTimeout::Text(text) => {
            let text = text.trim();
            let (digits, factor) = match text.char_indices().next_back() {
                Some((end, 's')) => (&text[..end], 1),
                Some((end, 'm')) => (&text[..end], 60),
                Some((end, 'h')) => (&text[..end], 3600),
                _ => (text, 1),
            };
            let number: u64 = digits.trim().parse().map_err(|_| wrong())?;
            number.saturating_mul(factor)
        }
    };
    let duration = Duration::from_secs(seconds);
    if duration.is_zero() || duration > MAX_TIMEOUT {
        return Err(String::from(
            "`timeout` must be from one second to two hours",
        ));
    }
    Ok(duration)
}

fn artifact_glob(raw: Spanned<String>) -> Result<String, ConfigError> {
    let glob = raw.value;
    let inside = !glob.starts_with('/') && glob.split('/').all(|part| part != "..");
    if glob.is_empty() || glob.len() > 512 || !inside {
        let message = "an artifact must be a relative glob without `..`, such as `dist/*.whl`";
        return Err(at(raw.referenced, message));
    }
    globset::Glob::new(&glob)
        .map_err(|error| at(raw.referenced, format!("not a glob: {}", error.kind())))?;
    Ok(glob)
}

fn target_config(raw: RawTarget, place: Location) -> Result<TargetConfig, ConfigError> {
    for (what, text) in [("start", &raw.start), ("stop", &raw.stop)] {
        if let Some(text) = text {
            command(what, text, place)?;
        }
    }
    let health = match raw.health {
        None => None,
        Some(given) => Some(health(given.value, given.referenced)?),
    };
    if raw.port == Some(0) {
        return Err(at(place, "`port` must be from 1 to 65535"));
    }
    if raw.keep == 0 || raw.keep > 1000 {
        return Err(at(place, "`keep` must be from 1 to 1000 releases"));
    }
    if matches!(health, Some(Health::Http(_))) && raw.port.is_none() {
        return Err(at(place, "`health: {http}` needs the target's `port`"));
    }
    if raw.stop.is_some() && raw.start.is_none() {
        return Err(at(place, "`stop` without `start` has nothing to end"));
    }
    Ok(TargetConfig {
        kind: raw.kind,
        environment: raw.environment,
        start: raw.start,
        stop: raw.stop,
        health,
        port: raw.port,
        keep: raw.keep,
    })
}

fn health(raw: RawHealth, place: Location) -> Result<Health, ConfigError> {
    match (raw.run, raw.http) {
        (Some(run), None) => {
            command("health.run", &run, place)?;
            Ok(Health::Run(run))
        }
        (None, Some(http)) => {
            let plain = |c: char| c.is_ascii_graphic();
            if !http.starts_with('/') || http.len() > 1024 || !http.chars().all(plain) {
                return Err(at(place, "`health.http` must be a path such as `/healthz`"));
            }
            Ok(Health::Http(http))
        }
        _ => Err(at(
            place,
            "`health` must have exactly one of `run` and `http`",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WHOLE: &str = "\
checks:
  - { name: unit, kind: test_results, run: ./test.sh, timeout: 90s }
  - name: style
    kind: lint
    run: ./style.sh
    timeout: 30
artifacts: ['dist/**/*.whl']
targets:
  web:
    kind: directory
    environment: production
    start: ./serve
    health: { http: /healthz }
    port: 8080
    keep: 3
";

    #[test]
    fn the_whole_form_is_read() {
        let config = ProjectConfig::parse(WHOLE.as_bytes()).unwrap();
        assert_eq!(config.checks[0].timeout_ms, 90_000);
        assert_eq!(config.checks[1].timeout_ms, 30_000);
        assert_eq!(config.kinds(), [Kind::Lint, Kind::TestResults].into());
        let web = &config.targets["web"];
        assert_eq!(web.environment, Environment::Production);
        assert_eq!(web.health, Some(Health::Http("/healthz".into())));
        assert_eq!((web.port, web.keep), (Some(8080), 3));
    }

    #[test]
    fn an_empty_file_is_an_empty_configuration() {
        for text in ["", "\n", "# nothing yet\n"] {
            let config = ProjectConfig::parse(text.as_bytes()).unwrap();
            assert_eq!(config, ProjectConfig::default(), "{text:?}");
        }
    }

    #[test]
    fn mistakes_are_refused_with_their_place() {
        for (text, line, word) in [
            ("checks: []\nchekcs: []\n", 2, "chekcs"),
            ("checks:\n  - {name: a, kind: lint}\n", 2, "run"),
            ("checks:\n  - {name: a, kind: style, run: x}\n", 2, "style"),
            ("checks:\n  - {name: a, kind: sbom, run: x}\n", 2, "sbom"),
            (
                "checks:\n  - {name: a, kind: lint, run: x, timeout: 3h}\n",
                2,
                "two hours",
            ),
            (
                "checks:\n  - {name: a, kind: lint, run: x, timeout: soon}\n",
                2,
                "90s",
            ),
            (
                "checks:\n  - {name: a, kind: lint, run: x}\n  - {name: a, kind: lint, run: y}\n",
                3,
                "two",
            ),
            ("artifacts:\n  - ../secret\n", 2, ".."),
            ("artifacts:\n  - /etc/passwd\n", 2, "relative"),
            (
                "targets:\n  t: {kind: directory, health: {http: /}}\n",
                2,
                "port",
            ),
            (
                "targets:\n  t: {kind: directory, health: {run: a, http: /}}\n",
                2,
                "exactly one",
            ),
            ("targets:\n  t: {kind: ftp}\n", 2, "ftp"),
            ("targets:\n  t: {kind: directory, path: /srv}\n", 2, "path"),
        ] {
            let error = ProjectConfig::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error.line, line, "{text}: {error}");
            assert!(error.message.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn a_bomb_of_aliases_and_a_giant_are_refused() {
        let bomb = "a: &a [x, x]\nb: &b [*a, *a]\nchecks: [*b, *b]\n";
        assert!(ProjectConfig::parse(bomb.as_bytes()).is_err());
        assert!(ProjectConfig::parse(&vec![b'#'; MAX_BYTES + 1]).is_err());
        assert_eq!(ProjectConfig::parse(b"a: b\n\xff").unwrap_err().line, 2);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = ProjectConfig::parse(&bytes);
        }
    }
}
