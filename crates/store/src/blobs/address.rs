//! Where a remote store is.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::error::StoreError;

const NAME_MAX: usize = 222;
const PREFIX_MAX: usize = 256;

/// Whose protocol a store speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Amazon's S3, which many others speak, too.
    S3,
    /// Google Cloud Storage.
    Gcs,
}

/// Where a remote store is, as `s3://BUCKET/PREFIX` or `gs://BUCKET/PREFIX`. It has no credentials
/// in it: a text that has some is refused, without being quoted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub(super) protocol: Protocol,
    pub(super) bucket: String,
    pub(super) prefix: String,
    pub(super) endpoint: Option<String>,
    pub(super) region: Option<String>,
    pub(super) allow_http: bool,
}

fn unfit(text: &str) -> StoreError {
    StoreError::Unfit(format!("the address of the blobs {text}"))
}

impl Address {
    /// Whose protocol it speaks.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }
}

impl FromStr for Address {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        if text.contains('@') {
            return Err(unfit(
                "has something like a login in it; credentials come from the environment or from \
                 files",
            ));
        }
        let (protocol, rest) = if let Some(rest) = text.strip_prefix("s3://") {
            (Protocol::S3, rest)
        } else if let Some(rest) = text.strip_prefix("gs://") {
            (Protocol::Gcs, rest)
        } else {
            return Err(unfit(
                "is not one; write `s3://BUCKET/PREFIX` or `gs://BUCKET/PREFIX`",
            ));
        };
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let prefix = prefix.trim_end_matches('/');
        if !is_name(bucket, NAME_MAX) {
            return Err(unfit("names no bucket"));
        }
        let parts_hold = prefix.is_empty() || prefix.split('/').all(|part| is_name(part, NAME_MAX));
        if prefix.len() > PREFIX_MAX || !parts_hold {
            return Err(unfit(
                "has a prefix of other characters than letters, digits, `.`, `_`, `-` and `/`",
            ));
        }
        let mut address = Self {
            protocol,
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            endpoint: None,
            region: None,
            allow_http: false,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            address.set(pair)?;
        }
        address.refuse_open_network()?;
        Ok(address)
    }
}

impl Address {
    fn set(&mut self, pair: &str) -> Result<(), StoreError> {
        match pair.split_once('=') {
            Some(("endpoint", value)) if is_endpoint(value) => {
                self.endpoint = Some(value.trim_end_matches('/').to_owned());
            }
            Some(("endpoint", _)) => {
                return Err(unfit(
                    "has an endpoint that is not one; write `endpoint=https://HOST:PORT`",
                ));
            }
            Some(("region", value)) if is_name(value, 64) => self.region = Some(value.to_owned()),
            Some(("allow_http", "true")) => self.allow_http = true,
            _ => {
                return Err(unfit(
                    "has a setting that is not known; there are `endpoint`, `region` and \
                     `allow_http=true`, and credentials never stand in it",
                ));
            }
        }
        Ok(())
    }

    fn refuse_open_network(&self) -> Result<(), StoreError> {
        let plain = self
            .endpoint
            .as_deref()
            .and_then(|endpoint| endpoint.strip_prefix("http://"));
        if self.allow_http || plain.is_none_or(is_loopback) {
            return Ok(());
        }
        Err(unfit(
            "leads to another machine without encryption; use `https://`, or add \
             `allow_http=true` where the network itself is trusted",
        ))
    }

    /// Whether its endpoint is reached without encryption.
    pub(super) fn is_plain(&self) -> bool {
        let endpoint = self.endpoint.as_deref();
        endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.protocol {
            Protocol::S3 => "s3",
            Protocol::Gcs => "gs",
        };
        write!(f, "{scheme}://{}", self.bucket)?;
        if !self.prefix.is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        let settings = [
            self.endpoint
                .as_ref()
                .map(|value| format!("endpoint={value}")),
            self.region.as_ref().map(|value| format!("region={value}")),
            self.allow_http.then(|| "allow_http=true".to_owned()),
        ];
        for (number, setting) in settings.iter().flatten().enumerate() {
            write!(f, "{}{setting}", if number == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

fn is_name(text: &str, longest: usize) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !text.is_empty()
        && text.len() <= longest
        && text.bytes().all(plain)
        && text.bytes().any(|byte| byte != b'.')
}

fn is_endpoint(text: &str) -> bool {
    let place = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let plain = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']' | b'/')
    };
    place.is_some_and(|place| !place.is_empty() && place.bytes().all(plain))
}

fn is_loopback(place: &str) -> bool {
    let place = place.split('/').next().unwrap_or_default();
    let host = match place.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => place.split(':').next().unwrap_or_default(),
    };
    host == "localhost"
        || host
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_as_it_was_written() {
        for text in [
            "s3://bucket",
            "gs://my.bucket/some/where",
            "s3://bucket/p?endpoint=http://127.0.0.1:9000&region=eu-west-1",
            "s3://bucket?endpoint=http://store.example.org&allow_http=true",
            "s3://bucket?endpoint=http://[::1]:9000",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_or_has_a_secret_is_refused_and_not_quoted() {
        for text in [
            "",
            "hunter2",
            "ftp://hunter2/x",
            "s3://",
            "s3://hunter2/../x",
            "s3://key:hunter2@bucket/x",
            "s3://bucket/x?secret_access_key=hunter2",
            "s3://bucket/x?endpoint=hunter2",
            "s3://bucket/x?endpoint=https://key:hunter2@host",
            "s3://bucket/x?endpoint=http://hunter2.example.org",
            "s3://bucket/hunter2?x",
            "s3://bucket/a//hunter2",
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(matches!(error, StoreError::Unfit(_)), "{text}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
