//! What the operator decides. Flags beat the environment, the environment the file, the file the
//! default; each value knows where it came from, and an unknown key is an error.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use matrix_changes::retention::Keep;
use matrix_core::{Code, Problem};
use serde::{Deserialize, Serialize};

use crate::args::Global;
use crate::environment::Environment;

/// The configuration cannot be used.
pub(crate) const BAD_CONFIG: Code = Code::new("CONFIG-0001", 500, 2, "configuration refused");

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Origin {
    /// A flag of the command line.
    Flag(&'static str),
    /// A variable of the environment.
    Environment(&'static str),
    /// The configuration file.
    File(PathBuf),
    /// Nobody said anything.
    Default,
}

/// A value with its origin.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sourced<T> {
    /// The value.
    pub(crate) value: T,
    /// Where it came from.
    pub(crate) origin: Origin,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// The configuration as it is used.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Config {
    /// Where everything is kept.
    pub(crate) data_dir: Sourced<PathBuf>,
    /// Where `serve` listens.
    pub(crate) listen: Sourced<SocketAddr>,
    /// How log lines look.
    pub(crate) log_format: Sourced<LogFormat>,
    /// Which log lines there are.
    pub(crate) log_level: Sourced<String>,
    /// Where releases lie, if not in the data directory.
    pub(crate) targets: Sourced<Option<PathBuf>>,
    /// A directory of OSV records for the dependency audit.
    pub(crate) vulnerabilities: Sourced<Option<PathBuf>>,
    /// Sandboxes at once.
    pub(crate) sandboxes: Sourced<usize>,
    /// Further hosts that dependencies may be fetched from, as `host` or `host:port`.
    pub(crate) fetch_hosts: Sourced<Vec<String>>,
    /// How long after its end a change's artifacts are kept.
    pub(crate) keep_artifacts: Sourced<Keep>,
    /// How many newest releases are kept however old they are; without a number all are.
    pub(crate) keep_releases: Sourced<Option<u32>>,
    /// The flags that decided, for a process of ours that is to decide the same.
    #[serde(skip)]
    pub(crate) flags: Vec<OsString>,
}

/// The file's form.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    data_dir: Option<PathBuf>,
    listen: Option<SocketAddr>,
    log_format: Option<LogFormat>,
    log_level: Option<String>,
    targets: Option<PathBuf>,
    vulnerabilities: Option<PathBuf>,
    sandboxes: Option<usize>,
    fetch_hosts: Option<Vec<String>>,
    keep_artifacts: Option<Keep>,
    keep_releases: Option<u32>,
}

/// The address that `serve` listens on.
const LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7420);

fn refused(text: impl Into<String>) -> Problem {
    Problem::new(BAD_CONFIG, text).help("see `matrix config show --origin`")
}

impl Config {
    /// Brings flags, environment, file and defaults together.
    pub(crate) fn load(global: &Global, environment: &Environment) -> Result<Self, Problem> {
        let (path, file) = read_file(global, environment)?;
        let from_file = || Origin::File(path.clone());
        let pick = Pick { file: &from_file };
        let set = |name: &'static str| environment.get(name).map(|text| (name, text));
        let flag = |format| (format, Origin::Flag("--log-format"));
        let format = pick.value(
            global.log_format.map(flag),
            set("MATRIX_LOG_FORMAT").map(log_format),
            file.log_format,
        )?;
        let level = pick.value(
            global
                .log
                .clone()
                .map(|level| (level, Origin::Flag("--log"))),
            parsed(set("MATRIX_LOG")),
            file.log_level,
        )?;
        let hosts = set("MATRIX_FETCH_HOSTS").map(|(name, text)| Ok((list(text), name)));
        let listen = pick.value(None, parsed(set("MATRIX_LISTEN")), file.listen)?;
        let kept = parsed(set("MATRIX_KEEP_ARTIFACTS"));
        let keep_artifacts = pick.value(None, kept, file.keep_artifacts)?;
        let sandboxes = pick.value(None, parsed(set("MATRIX_SANDBOXES")), file.sandboxes)?;
        Ok(Self {
            data_dir: data_dir(&pick, global, environment, file.data_dir)?,
            listen: listen.unwrap_or_else(|| by_default(LISTEN)),
            log_format: format.unwrap_or_else(|| by_default(LogFormat::Human)),
            log_level: level.unwrap_or_else(|| by_default("warn".into())),
            targets: pick.optional(parsed(set("MATRIX_TARGETS")), file.targets)?,
            vulnerabilities: pick
                .optional(parsed(set("MATRIX_VULNERABILITIES")), file.vulnerabilities)?,
            sandboxes: sandboxes.unwrap_or_else(|| by_default(processors())),
            fetch_hosts: pick
                .value(None, hosts, file.fetch_hosts)?
                .unwrap_or_else(|| by_default(Vec::new())),
            keep_artifacts: keep_artifacts.unwrap_or_else(|| by_default(Keep::Forever)),
            keep_releases: pick
                .optional(parsed(set("MATRIX_KEEP_RELEASES")), file.keep_releases)?,
            flags: flags(global),
        })
    }
}

/// The configuration file and the log's flags as they were given.
fn flags(global: &Global) -> Vec<OsString> {
    let mut flags = Vec::new();
    let mut add = |name: &str, value: Option<OsString>| {
        flags.extend(
            value
                .map(|value| [name.into(), value])
                .into_iter()
                .flatten(),
        );
    };
    let file = global
        .config
        .as_ref()
        .and_then(|path| std::path::absolute(path).ok());
    add("--config", file.map(Into::into));
    add("--log", global.log.clone().map(Into::into));
    let format = global.log_format.map(|format| match format {
        LogFormat::Human => "human",
        LogFormat::Json => "json",
    });
    add("--log-format", format.map(Into::into));
    flags
}

fn by_default<T>(value: T) -> Sourced<T> {
    Sourced {
        value,
        origin: Origin::Default,
    }
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(|part| part.trim().to_owned()).collect()
}

fn log_format((name, text): (&'static str, &str)) -> Result<(LogFormat, &'static str), Problem> {
    match text {
        "human" => Ok((LogFormat::Human, name)),
        "json" => Ok((LogFormat::Json, name)),
        _ => Err(refused(format!("{name} is `{text}`, not human or json"))),
    }
}

fn data_dir(
    pick: &Pick<'_>,
    global: &Global,
    environment: &Environment,
    file: Option<PathBuf>,
) -> Result<Sourced<PathBuf>, Problem> {
    let flag = global
        .data_dir
        .clone()
        .map(|path| (path, Origin::Flag("--data-dir")));
    let variable = environment
        .get("MATRIX_DATA_DIR")
        .map(|text| ("MATRIX_DATA_DIR", text));
    let usual = || environment.xdg("XDG_DATA_HOME", ".local/share");
    let found = pick
        .value(flag, parsed(variable), file)?
        .or_else(|| usual().map(|directory| by_default(directory.join("matrix"))));
    let Some(Sourced { value, origin }) = found else {
        return Err(refused("there is no home directory to keep data in")
            .help("name a data directory with --data-dir"));
    };
    let value = std::path::absolute(value).map_err(|error| refused(error.to_string()))?;
    Ok(Sourced { value, origin })
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}

type FromEnvironment<T> = Option<Result<(T, &'static str), Problem>>;

fn parsed<T: std::str::FromStr>(found: Option<(&'static str, &str)>) -> FromEnvironment<T>
where
    T::Err: std::fmt::Display,
{
    found.map(|(name, text)| {
        text.parse()
            .map(|value| (value, name))
            .map_err(|error| refused(format!("{name} is `{text}`: {error}")))
    })
}

struct Pick<'a> {
    file: &'a dyn Fn() -> Origin,
}

impl Pick<'_> {
    fn value<T>(
        &self,
        flag: Option<(T, Origin)>,
        environment: FromEnvironment<T>,
        file: Option<T>,
    ) -> Result<Option<Sourced<T>>, Problem> {
        if let Some((value, origin)) = flag {
            return Ok(Some(Sourced { value, origin }));
        }
        if let Some(found) = environment {
            let (value, name) = found?;
            return Ok(Some(Sourced {
                value,
                origin: Origin::Environment(name),
            }));
        }
        Ok(file.map(|value| Sourced {
            value,
            origin: (self.file)(),
        }))
    }

    fn optional<T>(
        &self,
        environment: FromEnvironment<T>,
        file: Option<T>,
    ) -> Result<Sourced<Option<T>>, Problem> {
        let found = self.value(None, environment, file)?;
        Ok(match found {
            Some(Sourced { value, origin }) => Sourced {
                value: Some(value),
                origin,
            },
            None => Sourced {
                value: None,
                origin: Origin::Default,
            },
        })
    }
}

fn read_file(global: &Global, environment: &Environment) -> Result<(PathBuf, ConfigFile), Problem> {
    let usual = environment
        .xdg("XDG_CONFIG_HOME", ".config")
        .map(|directory| directory.join("matrix").join("config.toml"));
    let named = global.config.clone();
    let Some(path) = named.clone().or(usual) else {
        return Ok((PathBuf::new(), ConfigFile::default()));
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => {
            return Ok((path, ConfigFile::default()));
        }
        Err(error) => return Err(refused(format!("{}: {error}", path.display()))),
    };
    let file = toml::from_str(&text).map_err(|error| {
        let (line, column) = place(&text, error.span().map_or(0, |span| span.start));
        let why = one_line(error.message());
        refused(format!("{}:{line}:{column}: {why}", path.display()))
    })?;
    Ok((path, file))
}

/// Line and column, counted from 1, of a byte.
fn place(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    (line, column)
}

fn one_line(text: &str) -> String {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("; ")
}
