//! What the operator decides. Flags beat the environment, the environment the file, the file the
//! default; each value knows where it came from, and an unknown key is an error.

mod models;
mod sourced;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use matrix_changes::retention::Keep;
use matrix_core::{Code, Problem};
use matrix_engine::Scheduling;
use matrix_server::{HostName, Origin as ServedOrigin};
use serde::{Deserialize, Serialize};

use self::models::{ModelConfig, ModelFile};
pub(crate) use self::sourced::{Origin, Sourced};
use self::sourced::{Pick, by_default, from_table, parsed, several};
use crate::args::Global;
use crate::blobs::{self, BlobsAddress, Credentials};
use crate::database::DatabaseAddress;
use crate::environment::Environment;
use crate::models::ModelsFile;
use crate::scheduling::{LimitFile, QueueFile, QueueTables};

/// The most sandboxes at once.
const SANDBOXES_MAX: usize = 1024;

/// The configuration cannot be used.
pub(crate) const BAD_CONFIG: Code = Code::new("CONFIG-0001", 500, 2, "configuration refused");

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
    /// Where the state is kept, if not in the data directory.
    pub(crate) database: Sourced<Option<DatabaseAddress>>,
    /// Where the blobs are kept, if not in the data directory.
    pub(crate) blobs: Sourced<Option<BlobsAddress>>,
    /// The configuration file that was read, if there is one.
    pub(crate) file: Sourced<Option<PathBuf>>,
    /// Where `serve` listens.
    pub(crate) listen: Sourced<SocketAddr>,
    /// Further names that `serve` answers to.
    pub(crate) allowed_hosts: Sourced<Vec<HostName>>,
    /// Further origins whose pages may call `serve`.
    pub(crate) allowed_origins: Sourced<Vec<ServedOrigin>>,
    /// How log lines look.
    pub(crate) log_format: Sourced<LogFormat>,
    /// Which log lines there are.
    pub(crate) log_level: Sourced<String>,
    /// Where releases lie, if not in the data directory.
    pub(crate) targets: Sourced<Option<PathBuf>>,
    /// A directory of OSV records for the dependency audit.
    pub(crate) vulnerabilities: Sourced<Option<PathBuf>>,
    /// What is configured of prices, files and batches.
    #[serde(flatten)]
    pub(crate) model_limits: ModelConfig,
    /// What holds for all models.
    pub(crate) models: Sourced<ModelsFile>,
    /// The collector that spans are sent to; without one, none is.
    pub(crate) traces: Sourced<Option<String>>,
    /// Sandboxes at once.
    pub(crate) sandboxes: Sourced<usize>,
    /// Further hosts that dependencies may be fetched from, as `host` or `host:port`.
    pub(crate) fetch_hosts: Sourced<Vec<String>>,
    /// How long after its end a change's artifacts are kept.
    pub(crate) keep_artifacts: Sourced<Keep>,
    /// How long after its end a run's journal is kept.
    pub(crate) keep_runs: Sourced<Keep>,
    /// How many newest releases are kept however old they are; without a number all are.
    pub(crate) keep_releases: Sourced<Option<u32>>,
    /// What holds for everybody in the queue.
    pub(crate) queue: Sourced<QueueFile>,
    /// The lanes there are.
    pub(crate) lanes: Sourced<BTreeMap<String, LimitFile>>,
    /// The limits of keys.
    pub(crate) keys: Sourced<BTreeMap<String, LimitFile>>,
    /// The limits of tenants.
    pub(crate) tenants: Sourced<BTreeMap<String, LimitFile>>,
    /// What these say together.
    #[serde(skip)]
    pub(crate) scheduling: Scheduling,
    /// What reaches the store of the blobs.
    #[serde(skip)]
    pub(crate) credentials: Credentials,
    /// The flags that decided, for a process of ours that is to decide the same.
    #[serde(skip)]
    pub(crate) flags: Vec<OsString>,
}

/// The file's form.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    data_dir: Option<PathBuf>,
    database: Option<DatabaseAddress>,
    blobs: Option<BlobsAddress>,
    listen: Option<SocketAddr>,
    allowed_hosts: Option<Vec<HostName>>,
    allowed_origins: Option<Vec<ServedOrigin>>,
    log_format: Option<LogFormat>,
    log_level: Option<String>,
    targets: Option<PathBuf>,
    vulnerabilities: Option<PathBuf>,
    model_prices: Option<PathBuf>,
    model_batches: Option<u32>,
    model_file_bytes: Option<u64>,
    models: Option<ModelsFile>,
    traces: Option<String>,
    sandboxes: Option<usize>,
    fetch_hosts: Option<Vec<String>>,
    keep_artifacts: Option<Keep>,
    keep_runs: Option<Keep>,
    keep_releases: Option<u32>,
    queue: Option<QueueFile>,
    lanes: Option<BTreeMap<String, LimitFile>>,
    keys: Option<BTreeMap<String, LimitFile>>,
    tenants: Option<BTreeMap<String, LimitFile>>,
}

impl ConfigFile {
    /// What it says of prices, files and batches of models.
    fn model_limits(&mut self) -> ModelFile {
        ModelFile {
            prices: self.model_prices.take(),
            batches: self.model_batches,
            file_bytes: self.model_file_bytes,
        }
    }
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
        let (read, mut file) = read_file(global, environment)?;
        let model_limits = file.model_limits();
        let from_file = || Origin::File(read.value.clone().unwrap_or_default());
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
        let hosts = several(set("MATRIX_FETCH_HOSTS"));
        let names = several(set("MATRIX_ALLOWED_HOSTS"));
        let names = pick.value(None, names, file.allowed_hosts)?;
        let origins = several(set("MATRIX_ALLOWED_ORIGINS"));
        let origins = pick.value(None, origins, file.allowed_origins)?;
        let listen = pick.value(None, parsed(set("MATRIX_LISTEN")), file.listen)?;
        let sandboxes = pick.value(None, parsed(set("MATRIX_SANDBOXES")), file.sandboxes)?;
        let tables = QueueTables {
            queue: file.queue.clone().unwrap_or_default(),
            lanes: file.lanes.clone().unwrap_or_default(),
            keys: file.keys.clone().unwrap_or_default(),
            tenants: file.tenants.clone().unwrap_or_default(),
        };
        let scheduling = tables
            .scheduling()
            .map_err(|why| refused(format!("{}: {why}", from_file())))?;
        Ok(Self {
            data_dir: data_dir(&pick, global, environment, file.data_dir)?,
            database: database(&pick, global, environment, file.database)?,
            blobs: blobs(&pick, global, environment, file.blobs)?,
            credentials: Credentials::read(environment),
            listen: listen.unwrap_or_else(|| by_default(LISTEN)),
            allowed_hosts: names.unwrap_or_else(|| by_default(Vec::new())),
            allowed_origins: origins.unwrap_or_else(|| by_default(Vec::new())),
            log_format: format.unwrap_or_else(|| by_default(LogFormat::Human)),
            log_level: level.unwrap_or_else(|| by_default("warn".into())),
            targets: absolute(pick.optional(parsed(set("MATRIX_TARGETS")), file.targets)?)?,
            vulnerabilities: absolute(
                pick.optional(parsed(set("MATRIX_VULNERABILITIES")), file.vulnerabilities)?,
            )?,
            model_limits: ModelConfig::load(&pick, environment, model_limits)?,
            models: models(&from_file, file.models)?,
            traces: pick.optional(parsed(set("OTEL_EXPORTER_OTLP_ENDPOINT")), file.traces)?,
            sandboxes: bounded(sandboxes.unwrap_or_else(|| by_default(processors())))?,
            fetch_hosts: pick
                .value(None, hosts, file.fetch_hosts)?
                .unwrap_or_else(|| by_default(Vec::new())),
            keep_artifacts: keep(&pick, set("MATRIX_KEEP_ARTIFACTS"), file.keep_artifacts)?,
            keep_runs: keep(&pick, set("MATRIX_KEEP_RUNS"), file.keep_runs)?,
            keep_releases: pick
                .optional(parsed(set("MATRIX_KEEP_RELEASES")), file.keep_releases)?,
            queue: from_table(&from_file, file.queue),
            lanes: from_table(&from_file, file.lanes),
            keys: from_table(&from_file, file.keys),
            tenants: from_table(&from_file, file.tenants),
            scheduling,
            flags: flags(global),
            file: read.clone(),
        })
    }
}

/// How long something is kept; for ever if nobody says.
fn keep(
    pick: &Pick<'_>,
    variable: Option<(&'static str, &str)>,
    file: Option<Keep>,
) -> Result<Sourced<Keep>, Problem> {
    let found = pick.value(None, parsed(variable), file)?;
    Ok(found.unwrap_or_else(|| by_default(Keep::Forever)))
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
    // It has no password: such a flag is refused.
    add("--database", global.database.clone().map(Into::into));
    add("--blobs", global.blobs.clone().map(Into::into));
    add("--log", global.log.clone().map(Into::into));
    let format = global.log_format.map(|format| match format {
        LogFormat::Human => "human",
        LogFormat::Json => "json",
    });
    add("--log-format", format.map(Into::into));
    flags
}

/// A path as it is from everywhere: a host in the background may stand elsewhere.
fn absolute(found: Sourced<Option<PathBuf>>) -> Result<Sourced<Option<PathBuf>>, Problem> {
    let Sourced { value, origin } = found;
    let value = value.map(std::path::absolute).transpose();
    let value = value.map_err(|error| refused(format!("a path from {origin}: {error}")))?;
    Ok(Sourced { value, origin })
}

/// The number of sandboxes, which must let work be done and not use the machine up.
fn bounded(found: Sourced<usize>) -> Result<Sourced<usize>, Problem> {
    if (1..=SANDBOXES_MAX).contains(&found.value) {
        return Ok(found);
    }
    Err(refused(format!(
        "sandboxes is {} by {}; it is 1 to {SANDBOXES_MAX}",
        found.value, found.origin
    )))
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

/// Where the state is kept. What was written is not quoted: it may have a password in it.
fn database(
    pick: &Pick<'_>,
    global: &Global,
    environment: &Environment,
    file: Option<DatabaseAddress>,
) -> Result<Sourced<Option<DatabaseAddress>>, Problem> {
    let read = |text: &str, name: &str| {
        let parsed = text.parse::<DatabaseAddress>();
        parsed.map_err(|error| refused(format!("{name}: {error}")))
    };
    let flag = global.database.as_deref();
    let flag = flag.map(|text| Ok::<_, Problem>((read(text, "--database")?, "--database")));
    let flag = flag.transpose()?;
    let variable = environment.get("MATRIX_DATABASE");
    let variable = variable.map(|text| Ok((read(text, "MATRIX_DATABASE")?, "MATRIX_DATABASE")));
    let flag = flag.map(|(address, name)| (address, Origin::Flag(name)));
    let found = pick.value(flag, variable, file)?;
    let Some(Sourced { value, origin }) = found else {
        return Ok(by_default(None));
    };
    let value = Some(value.settle(&origin, environment)?);
    Ok(Sourced { value, origin })
}

/// Where the blobs are kept.
fn blobs(
    pick: &Pick<'_>,
    global: &Global,
    environment: &Environment,
    file: Option<BlobsAddress>,
) -> Result<Sourced<Option<BlobsAddress>>, Problem> {
    let flag = global.blobs.as_deref();
    let flag = flag
        .map(|text| blobs::parsed(text, "--blobs"))
        .transpose()?;
    let flag = flag.map(|address| (address, Origin::Flag("--blobs")));
    let variable = environment
        .get("MATRIX_BLOBS")
        .map(|text| blobs::parsed(text, "MATRIX_BLOBS").map(|address| (address, "MATRIX_BLOBS")));
    let found = pick.value(flag, variable, file)?;
    Ok(found.map_or_else(
        || by_default(None),
        |Sourced { value, origin }| Sourced {
            value: Some(value),
            origin,
        },
    ))
}

/// What the file says of models.
fn models(
    file: &dyn Fn() -> Origin,
    table: Option<ModelsFile>,
) -> Result<Sourced<ModelsFile>, Problem> {
    let found = from_table(file, table);
    found.value.check()?;
    Ok(found)
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}

/// The file that is used, with what it says; the usual one may be missing.
fn read_file(
    global: &Global,
    environment: &Environment,
) -> Result<(Sourced<Option<PathBuf>>, ConfigFile), Problem> {
    let usual = environment
        .xdg("XDG_CONFIG_HOME", ".config")
        .map(|directory| directory.join("matrix").join("config.toml"));
    let named = global.config.clone();
    let Some(path) = named.clone().or(usual) else {
        return Ok((by_default(None), ConfigFile::default()));
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => {
            return Ok((by_default(None), ConfigFile::default()));
        }
        Err(error) => return Err(unreadable(&path, &error, named.is_some())),
    };
    let file = toml::from_str(&text).map_err(|error| {
        let (line, column) = place(&text, error.span().map_or(0, |span| span.start));
        let why = one_line(error.message());
        refused(format!("{}:{line}:{column}: {why}", path.display()))
    })?;
    let origin = named.map_or(Origin::Default, |_| Origin::Flag("--config"));
    let value = Some(path);
    Ok((Sourced { value, origin }, file))
}

fn unreadable(path: &Path, error: &std::io::Error, named: bool) -> Problem {
    let problem = refused(format!(
        "the configuration file {} cannot be read: {error}",
        path.display()
    ));
    match error.kind() {
        // Whoever becomes another user often keeps the first one's HOME.
        std::io::ErrorKind::PermissionDenied if !named => problem.help(
            "it is the usual file of HOME or XDG_CONFIG_HOME, which seem to be another user's; \
             set them to your own, or name a file with --config",
        ),
        _ => problem.help("name a file that can be read with --config"),
    }
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
