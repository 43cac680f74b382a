//! The address of a place in a broker.

use std::fmt;
use std::str::FromStr;

/// The most characters of an address.
const LENGTH_MAX: usize = 512;

/// The most characters of a place's name.
const PLACE_MAX: usize = 200;

/// A sort of broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broker {
    /// NATS with `JetStream`; the place is the beginning of subjects.
    Nats,
    /// Redis; the place is a stream's key.
    Redis,
    /// Kafka; the place is a topic.
    Kafka,
}

impl Broker {
    const ALL: [Self; 3] = [Self::Nats, Self::Redis, Self::Kafka];

    /// The beginning of its addresses.
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::Nats => "nats",
            Self::Redis => "redis",
            Self::Kafka => "kafka",
        }
    }

    /// The port of servers that name none.
    pub const fn port(self) -> u16 {
        match self {
            Self::Nats => 4222,
            Self::Redis => 6379,
            Self::Kafka => 9092,
        }
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nats => "NATS",
            Self::Redis => "Redis",
            Self::Kafka => "Kafka",
        })
    }
}

/// `nats://host:port/place`, with more than one `host:port` between commas for a cluster, and
/// `?credentials=NAME` for a secret that is kept elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The sort of broker.
    pub broker: Broker,
    /// Its servers, as `host:port`.
    pub servers: Vec<String>,
    /// Where in it.
    pub place: String,
    /// The name under which credentials are kept.
    pub credentials: Option<String>,
}

impl Destination {
    /// Whether a server may be on another machine.
    pub fn is_remote(&self) -> bool {
        let local = |server: &str| {
            let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
            let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
            host == "localhost" || address.is_ok_and(|address| address.is_loopback())
        };
        !self.servers.iter().all(|server| local(server))
    }
}

/// A text that is no destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDestination {
    /// It has another form.
    #[error(
        "a destination is nats://HOST/SUBJECT, redis://HOST/STREAM or kafka://HOST/TOPIC, with \
         `:PORT` behind a host and `?credentials=NAME` at the end if they are needed"
    )]
    Form,
    /// It holds a user or a password.
    #[error(
        "a destination holds no credentials; put `user:password` or a token into a file of the \
         data directory's `credentials` and name it with `?credentials=NAME`"
    )]
    Secret,
}

impl FromStr for Destination {
    type Err = InvalidDestination;

    fn from_str(text: &str) -> Result<Self, InvalidDestination> {
        let form = || InvalidDestination::Form;
        if text.len() > LENGTH_MAX {
            return Err(form());
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(form)?;
        let known = Broker::ALL
            .into_iter()
            .find(|known| known.scheme() == scheme);
        let broker = known.ok_or_else(form)?;
        if rest.contains('@') {
            return Err(InvalidDestination::Secret);
        }
        let (rest, credentials) = match rest.split_once('?') {
            Some((rest, query)) => {
                let name = query.strip_prefix("credentials=").ok_or_else(form)?;
                (rest, Some(name.to_owned()))
            }
            None => (rest, None),
        };
        if credentials.as_deref().is_some_and(|name| !is_name(name)) {
            return Err(form());
        }
        let (servers, place) = rest.split_once('/').ok_or_else(form)?;
        let servers = servers
            .split(',')
            .map(|server| server_of(server, broker).ok_or_else(form))
            .collect::<Result<Vec<_>, _>>()?;
        if !is_place(place) {
            return Err(form());
        }
        Ok(Self {
            broker,
            servers,
            place: place.to_owned(),
            credentials,
        })
    }
}

/// A file's name without a path and without surprises.
fn is_name(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    (1..=64).contains(&name.len()) && name.chars().all(letter)
}

/// What all three brokers take for a name.
fn is_place(place: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=PLACE_MAX).contains(&place.len())
        && place.chars().all(letter)
        && place.split('.').all(|word| !word.is_empty())
}

fn server_of(text: &str, broker: Broker) -> Option<String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') && !port.contains(']') => {
            (host, port.parse().ok()?)
        }
        _ => (text, broker.port()),
    };
    let letter = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let good = match bare {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(letter),
    };
    good.then(|| format!("{host}:{port}"))
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers = self.servers.join(",");
        write!(f, "{}://{servers}/{}", self.broker.scheme(), self.place)?;
        match &self.credentials {
            Some(name) => write!(f, "?credentials={name}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        let cases = [
            ("nats://localhost/events", "nats://localhost:4222/events"),
            ("redis://[::1]:7000/a_b", "redis://[::1]:7000/a_b"),
            ("redis://[::1]/a", "redis://[::1]:6379/a"),
            (
                "kafka://a.example,b.example:99/x.y?credentials=k-1",
                "kafka://a.example:9092,b.example:99/x.y?credentials=k-1",
            ),
        ];
        for (text, whole) in cases {
            let read: Destination = text.parse().unwrap();
            assert_eq!(read.to_string(), whole);
            assert_eq!(whole.parse(), Ok(read));
        }
    }

    #[test]
    fn what_holds_secrets_or_steers_a_broker_is_refused() {
        let secret = "nats://user:hunter2@localhost/events".parse::<Destination>();
        assert_eq!(secret, Err(InvalidDestination::Secret));
        for bad in [
            "",
            "localhost/events",
            "http://localhost/events",
            "nats://localhost",
            "nats://localhost/",
            "nats:///events",
            "nats://localhost/a..b",
            "nats://localhost/a.>",
            "nats://localhost/a b",
            "redis://local host/a",
            "redis://localhost:port/a",
            "redis://localhost:99999/a",
            "redis://::1/a",
            "redis://localhost/a?password=x",
            "redis://localhost/a?credentials=../token",
        ] {
            let read = bad.parse::<Destination>();
            assert_eq!(read, Err(InvalidDestination::Form), "{bad}");
        }
    }
}
