//! Where the blobs are: files in the data directory, or a store that speaks the protocol of S3 or
//! of Google Cloud Storage.
//!
//! A store and a data directory belong together, for whoever removes what nothing refers to knows
//! only its own references. The store keeps the directory's name (`blobs.id`).

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use matrix_changes::Layout;
use matrix_changes::retention::GRACE;
use matrix_core::{Clock, Code, Entropy, Problem, Timestamp};
use matrix_store::blobs::{Address, RemoteOptions};
use matrix_store::{Blobs, StoreError};
use serde::{Deserialize, Serialize, Serializer};

use crate::config::{BAD_CONFIG, Config};
use crate::database::{ELSEWHERE, drafted, settle};
use crate::environment::Environment;
use crate::place::unusable;

/// The store of the blobs belongs to another data directory.
pub(crate) const FOREIGN: Code =
    Code::new("HOST-0007", 409, 1, "blob store of another data directory");

/// Where the store of the blobs is, as the operator wrote it. It has no credentials in it.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct BlobsAddress(Address);

impl FromStr for BlobsAddress {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        text.parse().map(Self)
    }
}

impl TryFrom<String> for BlobsAddress {
    type Error = StoreError;

    fn try_from(text: String) -> Result<Self, StoreError> {
        text.parse()
    }
}

impl fmt::Display for BlobsAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for BlobsAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What reaches a store of blobs, as variables of the environment. Never shown.
#[derive(Clone, Default)]
pub(crate) struct Credentials(Vec<(String, String)>);

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// Variables that would lead elsewhere than the address says.
const PLACES: [&str; 6] = [
    "AWS_ENDPOINT",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_BUCKET",
    "AWS_BUCKET_NAME",
    "GOOGLE_BASE_URL",
];

/// Variables of which one is enough for S3 to need no file.
const SOURCES: [&str; 4] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
];

impl Credentials {
    /// From the variables that the clouds' own tools read, or else their file.
    pub(crate) fn read(environment: &Environment) -> Self {
        let ours = |name: &str| {
            (name.starts_with("AWS_") || name.starts_with("GOOGLE_")) && !PLACES.contains(&name)
        };
        let variables = environment.all().iter();
        let mut found: Vec<(String, String)> = variables
            .filter(|(name, value)| ours(name) && !value.is_empty())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if SOURCES.iter().all(|name| environment.get(name).is_none()) {
            found.extend(of_file(environment));
        }
        Self(found)
    }
}

/// The profile of the file that Amazon's own tools read.
fn of_file(environment: &Environment) -> Vec<(String, String)> {
    let usual = || {
        let home = environment.get("HOME")?;
        Some(Path::new(home).join(".aws/credentials"))
    };
    let named = environment
        .get("AWS_SHARED_CREDENTIALS_FILE")
        .map(PathBuf::from);
    let text = named.or_else(usual).map(fs::read_to_string);
    let Some(Ok(text)) = text else {
        return Vec::new();
    };
    of_profile(&text, environment.get("AWS_PROFILE").unwrap_or("default"))
}

fn of_profile(text: &str, profile: &str) -> Vec<(String, String)> {
    let mut ours = false;
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            ours = name.trim() == profile;
        } else if let (true, Some((key, value))) = (ours, line.split_once('=')) {
            let name = match key.trim() {
                "aws_access_key_id" => "AWS_ACCESS_KEY_ID",
                "aws_secret_access_key" => "AWS_SECRET_ACCESS_KEY",
                "aws_session_token" => "AWS_SESSION_TOKEN",
                _ => continue,
            };
            found.push((name.to_owned(), value.trim().to_owned()));
        }
    }
    found
}

/// Reads the address from where it was written, which is not quoted: somebody may have put a
/// secret into it.
pub(crate) fn parsed(text: &str, name: &str) -> Result<BlobsAddress, Problem> {
    text.parse().map_err(|error| {
        let why = match error {
            StoreError::Unfit(why) => why,
            other => other.to_string(),
        };
        Problem::new(BAD_CONFIG, format!("{name}: {why}")).help("see `matrix config show --origin`")
    })
}

/// A client of the configured store.
fn client(
    address: &BlobsAddress,
    config: &Config,
    layout: &Layout,
    (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>),
) -> Result<Blobs, Problem> {
    Ok(Blobs::connect(RemoteOptions {
        address: address.0.clone(),
        variables: config.credentials.0.clone(),
        staging: layout.blobs(),
        clock,
        entropy,
    })?)
}

/// Opens the blobs as a host, which writes, and takes away what was left half written. Where others
/// may be writing now that is what is older than anybody takes.
pub(crate) fn for_host(
    config: &Config,
    layout: &Layout,
    means: (Arc<dyn Clock>, Arc<dyn Entropy>),
    others: bool,
) -> Result<Blobs, Problem> {
    let (now, entropy) = (means.0.now(), Arc::clone(&means.1));
    let Some(address) = &config.blobs.value else {
        refuse_elsewhere(layout)?;
        let blobs = Blobs::open(layout.blobs())?;
        let left = if others {
            now.before(GRACE)
        } else {
            Timestamp::from_micros(i64::MAX)
        };
        blobs.clear_incoming(left)?;
        return Ok(blobs);
    };
    refuse_here(layout)?;
    let blobs = client(address, config, layout, means)?;
    claim(&blobs, address, layout, &*entropy)?;
    Ok(blobs)
}

/// Opens the blobs for reading; asks nothing of a store elsewhere yet.
pub(crate) fn for_reading(
    config: &Config,
    layout: &Layout,
    means: (Arc<dyn Clock>, Arc<dyn Entropy>),
) -> Result<Blobs, Problem> {
    let Some(address) = &config.blobs.value else {
        refuse_elsewhere(layout)?;
        return Ok(Blobs::open_read_only(layout.blobs()));
    };
    refuse_here(layout)?;
    client(address, config, layout, means)
}

/// Whether the configured store can be used now, in words; nothing without one. Blocks.
pub(crate) fn state(
    config: &Config,
    layout: &Layout,
    means: (Arc<dyn Clock>, Arc<dyn Entropy>),
) -> Option<Result<(), Problem>> {
    let address = config.blobs.value.as_ref()?;
    let tried = || {
        let blobs = client(address, config, layout, means)?;
        blobs.probe()?;
        match (named(layout)?, blobs.owner()?) {
            (Some(own), recorded) if recorded.as_deref() != Some(&own) => {
                Err(foreign(address, layout, recorded.as_deref()))
            }
            (None, Some(recorded)) => Err(foreign(address, layout, Some(&recorded))),
            _ => Ok(()),
        }
    };
    Some(tried())
}

fn named(layout: &Layout) -> Result<Option<String>, Problem> {
    match fs::read_to_string(layout.blobs_identity()) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(&layout.blobs_identity(), &error)),
    }
}

/// Binds a store and a data directory to each other, or finds them bound.
fn claim(
    blobs: &Blobs,
    address: &BlobsAddress,
    layout: &Layout,
    entropy: &dyn Entropy,
) -> Result<(), Problem> {
    if let Some(own) = named(layout)? {
        let recorded = blobs.owner()?;
        if recorded.as_deref() == Some(&own) {
            return Ok(());
        }
        return Err(foreign(address, layout, recorded.as_deref()));
    }
    let next = layout.blobs_identity().with_extension("next");
    let id = drafted(&next, entropy)?;
    let recorded = blobs.claim(&id)?;
    if recorded != id {
        return Err(foreign(address, layout, Some(&recorded)));
    }
    settle(layout, &next, &layout.blobs_identity())
}

/// Blobs are in a store, and none is configured.
fn refuse_elsewhere(layout: &Layout) -> Result<(), Problem> {
    if !layout.blobs_identity().exists() {
        return Ok(());
    }
    let text = format!(
        "the blobs of {} are in a store, and the configuration names none",
        layout.root().display()
    );
    Err(Problem::new(ELSEWHERE, text)
        .help("name it with --blobs, MATRIX_BLOBS or `blobs` in the configuration"))
}

/// Blobs are here, and a store is configured.
fn refuse_here(layout: &Layout) -> Result<(), Problem> {
    let here = !layout.blobs_identity().exists()
        && !Blobs::open_read_only(layout.blobs()).stored()?.is_empty();
    if !here {
        return Ok(());
    }
    let text = format!(
        "the blobs of {} are in its own directory `blobs`, and the configuration names a store",
        layout.root().display()
    );
    Err(Problem::new(ELSEWHERE, text)
        .help("use another --data-dir with the store, or this one without"))
}

fn foreign(address: &BlobsAddress, layout: &Layout, recorded: Option<&str>) -> Problem {
    let root = layout.root().display();
    let text = match recorded {
        Some(id) => format!("{address} belongs to the data directory {id}, which {root} is not"),
        None => format!("{root} keeps its blobs in another store than {address}, which is empty"),
    };
    Problem::new(FOREIGN, text).help(
        "give each data directory a bucket or a prefix of its own, and name that one with --blobs",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_of_the_credentials_file_is_found() {
        let text = "# ours\n[default]\naws_access_key_id = a\naws_secret_access_key=b=\n\n\
                    [ other ]\naws_access_key_id=c\nregion=eu\naws_session_token = d\n";
        let keys = |profile| {
            let found = of_profile(text, profile).into_iter();
            found.map(|(_, value)| value).collect::<Vec<_>>()
        };
        assert_eq!(keys("default"), ["a", "b="]);
        assert_eq!(keys("other"), ["c", "d"]);
        assert!(keys("none").is_empty());
        let credentials = Credentials(of_profile(text, "default"));
        assert_eq!(format!("{credentials:?}"), "Credentials(…)");
    }
}
