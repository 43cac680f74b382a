//! Where the state is: in the data directory, or in a database that other processes reach, too.
//!
//! A database and a data directory belong together: what the one records, the other's files are.
//! The database keeps the directory's name (`directory.id`), and neither is used without the other.

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use matrix_changes::Layout;
use matrix_core::{Clock, Code, Entropy, Problem};
use matrix_store::postgres::{Address, PostgresOptions};
use matrix_store::tables::directory;
use matrix_store::{Age, Database, OpenMode, StoreError};
use serde::{Deserialize, Serialize, Serializer};

use crate::config::{Config, Origin};
use crate::environment::Environment;
use crate::place::{self, unusable};
use crate::reader::NO_DATA;

/// The state of this data directory is kept elsewhere than the configuration says.
pub(crate) const ELSEWHERE: Code = Code::new("HOST-0005", 409, 1, "state is kept elsewhere");
/// The database belongs to another data directory.
pub(crate) const FOREIGN: Code =
    Code::new("HOST-0006", 409, 1, "database of another data directory");
/// The data directory was last used by a newer program.
pub(crate) const NEWER: Code = Code::new("HOST-0008", 409, 1, "data directory of a newer program");
/// The data directory is hosted by an older program.
pub(crate) const OLDER: Code = Code::new("HOST-0009", 409, 1, "data directory of an older program");
/// A password stands where others can read it.
pub(crate) const EXPOSED: Code = Code::new("CONFIG-0002", 500, 2, "password exposed");

/// Where the database is, as the operator wrote it. Shown without its password.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct DatabaseAddress(Address);

impl DatabaseAddress {
    /// The address.
    pub(crate) fn address(&self) -> &Address {
        &self.0
    }

    /// Refuses a password that stands where others can read it; takes one from its usual places
    /// where the address has none.
    pub(crate) fn settle(
        self,
        origin: &Origin,
        environment: &Environment,
    ) -> Result<Self, Problem> {
        let exposed = |text: String| {
            Problem::new(EXPOSED, text).help(
                "put it into PGPASSWORD or a password file (~/.pgpass), and change it: it may \
                 have been read",
            )
        };
        if !self.0.has_password() {
            let password = password(&self.0, environment);
            return Ok(match password {
                Some(password) => Self(self.0.with_password(&password)),
                None => self,
            });
        }
        match origin {
            Origin::Flag(name) => Err(exposed(format!(
                "{name} has a password in it, and everybody on this machine can read command lines"
            ))),
            Origin::File(path) if is_open(path) => Err(exposed(format!(
                "{} has a password in it, and others may read it",
                path.display()
            ))),
            Origin::File(_) | Origin::Environment(_) | Origin::Default => Ok(self),
        }
    }
}

impl FromStr for DatabaseAddress {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        Address::parse(text).map(Self)
    }
}

impl TryFrom<String> for DatabaseAddress {
    type Error = StoreError;

    fn try_from(text: String) -> Result<Self, StoreError> {
        text.parse()
    }
}

impl fmt::Display for DatabaseAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for DatabaseAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn is_open(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|data| data.permissions().mode() & 0o077 != 0)
}

/// The password from `PGPASSWORD`, or from the password file that PostgreSQL's own programs use.
fn password(address: &Address, environment: &Environment) -> Option<String> {
    if let Some(password) = environment.get("PGPASSWORD") {
        return Some(password.to_owned());
    }
    let usual = || {
        let home = environment.get("HOME")?;
        Some(Path::new(home).join(".pgpass"))
    };
    let path = environment
        .get("PGPASSFILE")
        .map(Into::into)
        .or_else(usual)?;
    if is_open(&path) {
        tracing::warn!(path = %path.display(), "others may read the password file; it is not used");
        return None;
    }
    let text = fs::read_to_string(path).ok()?;
    text.lines()
        .find_map(|line| of_line(line, &address.place()))
}

/// The password of a line `host:port:database:login:password`, if the line is about this place.
fn of_line(line: &str, place: &[String; 4]) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let mut fields = vec![String::new()];
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            // The password is the last field, whatever is in it.
            ':' if fields.len() <= place.len() => fields.push(String::new()),
            '\\' => fields.last_mut()?.extend(letters.next()),
            letter => fields.last_mut()?.push(letter),
        }
    }
    let password = (fields.len() > place.len())
        .then(|| fields.pop())
        .flatten()?;
    let about = fields
        .iter()
        .zip(place)
        .all(|(field, part)| field == "*" || field == part);
    about.then_some(password)
}

/// Opens the database as a host, which writes. It blocks while it connects.
pub(crate) async fn for_host(
    config: &Config,
    layout: &Layout,
    clock: &Arc<dyn Clock>,
    entropy: &dyn Entropy,
) -> Result<Database, Problem> {
    let Some(database) = &config.database.value else {
        refuse_elsewhere(layout)?;
        return open(layout, OpenMode::Host);
    };
    refuse_here(layout)?;
    let options = PostgresOptions {
        address: database.address().clone(),
        clock: Arc::clone(clock),
    };
    let opened = Database::connect(&options)?;
    claim(&opened, layout, entropy).await?;
    Ok(opened)
}

/// Opens the database for reading. Blocks.
pub(crate) fn for_reading(config: &Config, layout: &Layout) -> Result<Database, Problem> {
    let nothing = || {
        let text = format!("there is nothing in {}", layout.root().display());
        Problem::new(NO_DATA, text)
            .help("`matrix change run` makes it, or name another with --data-dir")
    };
    let Some(database) = &config.database.value else {
        refuse_elsewhere(layout)?;
        if !layout.database().is_file() {
            return Err(nothing());
        }
        bring_up(layout)?;
        return open(layout, OpenMode::ReadOnly);
    };
    refuse_here(layout)?;
    let opened = Database::connect_for_reading(database.address())?;
    let recorded = opened.read_now::<_, StoreError, _>(directory::get)?;
    match (named(layout)?, recorded) {
        (None, None) => Err(nothing()),
        (Some(own), Some(recorded)) if own == recorded => Ok(opened),
        (_, recorded) => Err(foreign(layout, recorded.as_deref())),
    }
}

/// Opens the directory's own database.
fn open(layout: &Layout, mode: OpenMode) -> Result<Database, Problem> {
    Database::open(&layout.database(), mode).map_err(|error| match error {
        StoreError::Unfit(_) => newer(layout),
        other => other.into(),
    })
}

/// Brings the tables of an older program to this one's, as a host does, unless there is a host.
/// Nobody else could read them.
fn bring_up(layout: &Layout) -> Result<(), Problem> {
    for _ in 0..LOOKS {
        match Database::age(&layout.database())? {
            Age::Same => return Ok(()),
            Age::Newer => return Err(newer(layout)),
            Age::Older => {}
        }
        if let Some(lock) = place::try_lock(layout)? {
            tracing::info!("the tables are brought to those of this program");
            let opened = open(layout, OpenMode::Host).map(drop);
            drop(lock);
            return opened;
        }
        // A host that has just begun brings them up by itself.
        std::thread::sleep(INTERVAL);
    }
    let text = format!(
        "{} is hosted by an older program, and this one does not read its tables",
        layout.root().display()
    );
    Err(Problem::new(OLDER, text).help(
        "end that program and try again, which brings the tables to this program's; or go on with \
         that one",
    ))
}

fn newer(layout: &Layout) -> Problem {
    let text = format!(
        "{} was last used by a newer program than this one ({})",
        layout.root().display(),
        env!("CARGO_PKG_VERSION")
    );
    Problem::new(NEWER, text)
        .help("use that program, or restore a copy from before it; nothing was read or written")
}

/// State is in a database, and none is configured: a new one here would know nothing of it.
fn refuse_elsewhere(layout: &Layout) -> Result<(), Problem> {
    if !layout.identity().exists() {
        return Ok(());
    }
    let text = format!(
        "{} belongs to a database, and the configuration names none",
        layout.root().display()
    );
    Err(Problem::new(ELSEWHERE, text)
        .help("name it with --database, MATRIX_DATABASE or `database` in the configuration"))
}

/// State is here, and a database is configured.
fn refuse_here(layout: &Layout) -> Result<(), Problem> {
    if !layout.database().exists() {
        return Ok(());
    }
    let text = format!(
        "the state of {} is in its own matrix.db, and the configuration names another database",
        layout.root().display()
    );
    Err(Problem::new(ELSEWHERE, text)
        .help("use another --data-dir with the database, or this one without"))
}

fn foreign(layout: &Layout, recorded: Option<&str>) -> Problem {
    let root = layout.root().display();
    let text = match recorded {
        Some(id) => format!("the database belongs to the data directory {id}, which {root} is not"),
        None => format!("{root} belongs to another database than this one, which is empty"),
    };
    Problem::new(FOREIGN, text).help(
        "every process on a database shares its data directory: name that one with --data-dir, or \
         use a database of its own for this one",
    )
}

/// The directory's own name, if it has one.
pub(crate) fn named(layout: &Layout) -> Result<Option<String>, Problem> {
    match fs::read_to_string(layout.identity()) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(&layout.identity(), &error)),
    }
}

/// Binds a database and a data directory to each other, or finds them bound. The directory's name
/// is its own only after the database has it: a crash in between is made good here.
async fn claim(database: &Database, layout: &Layout, entropy: &dyn Entropy) -> Result<(), Problem> {
    if let Some(own) = named(layout)? {
        let recorded = database.read_now::<_, StoreError, _>(directory::get)?;
        return match recorded {
            Some(recorded) if recorded == own => Ok(()),
            other => Err(foreign(layout, other.as_deref())),
        };
    }
    let next = layout.identity().with_extension("next");
    let id = drafted(&next, entropy)?;
    let asked = id.clone();
    let recorded = database
        .write::<_, StoreError, _>(move |tx| directory::claim(tx, &asked))
        .await?;
    if recorded != id {
        return Err(foreign(layout, Some(&recorded)));
    }
    settle(layout, &next, &layout.identity())
}

/// A new name in a file, or the one that a crash left there.
pub(crate) fn drafted(next: &Path, entropy: &dyn Entropy) -> Result<String, Problem> {
    if let Ok(text) = fs::read_to_string(next)
        && text.len() == ID_LETTERS
    {
        return Ok(text);
    }
    let failed = |error: std::io::Error| unusable(next, &error);
    let mut id = [0_u8; 16];
    entropy.fill(&mut id);
    let id = format!("{:0ID_LETTERS$x}", u128::from_be_bytes(id));
    let mut file = fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(next)
        .map_err(failed)?;
    file.write_all(id.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failed)?;
    Ok(id)
}

/// Makes a drafted name the directory's own, durably.
pub(crate) fn settle(layout: &Layout, next: &Path, name: &Path) -> Result<(), Problem> {
    let failed = |error: std::io::Error| unusable(next, &error);
    fs::rename(next, name).map_err(failed)?;
    let root = fs::File::open(layout.root()).and_then(|root| root.sync_all());
    root.map_err(failed)
}

/// How often a host that has just begun is waited for, and for how long each time.
const LOOKS: u32 = 100;
const INTERVAL: Duration = Duration::from_millis(50);

/// Letters of a data directory's name.
const ID_LETTERS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_file_is_read_as_postgresql_reads_it() {
        let place = ["db", "5432", "matrix", "ada"].map(str::to_owned);
        for (line, password) in [
            ("db:5432:matrix:ada:secret", Some("secret")),
            ("*:*:*:*:a:b", Some("a:b")),
            (r"db:*:matrix:*:a\:b\\c", Some(r"a:b\c")),
            ("db:5432:other:ada:secret", None),
            ("db:5432:matrix:eve:secret", None),
            ("#db:5432:matrix:ada:secret", None),
            ("db:5432:matrix:ada", None),
            ("", None),
        ] {
            assert_eq!(of_line(line, &place).as_deref(), password, "{line}");
        }
    }
}
