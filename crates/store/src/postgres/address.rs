//! Where the server is, and with which login it is reached.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config, NoTls};

use crate::error::StoreError;
use crate::postgres::drive::{ANSWER_MAX, Driver};

/// The port of a server whose address names none.
const PORT: u16 = 5432;

/// Where the server is. Shown without its password, which nothing gives back.
#[derive(Debug, Clone)]
pub struct Address(Config);

impl Address {
    /// Reads `postgres://login@host/database`, or a list of `key=value`.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        // The parser's own words may quote the text, and a password with it.
        let mut config: Config = text.parse().map_err(|_| {
            StoreError::Unfit(
                "its address is not one; write `postgres://LOGIN@HOST/DATABASE`, or \
                 `host=… user=… dbname=…`"
                    .into(),
            )
        })?;
        if config.get_hosts().is_empty() {
            return Err(StoreError::Unfit("its address names no host".into()));
        }
        if config.get_application_name().is_none() {
            config.application_name("matrix");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_secs(5));
        }
        config.keepalives_idle(Duration::from_secs(10));
        config.tcp_user_timeout(Duration::from_secs(20));
        if config.get_ssl_mode() != SslMode::Disable && config.get_hosts().iter().any(is_remote) {
            return Err(StoreError::Unfit(
                "it is on another machine and this build speaks no TLS; use a Unix socket or a \
                 tunnel, or add `sslmode=disable` where the network itself is trusted"
                    .into(),
            ));
        }
        Ok(Self(config))
    }

    /// Whether it brings a password with it.
    pub fn has_password(&self) -> bool {
        self.0.get_password().is_some()
    }

    /// The same with this password.
    #[must_use]
    pub fn with_password(mut self, password: &str) -> Self {
        self.0.password(password);
        self
    }

    /// The login it names.
    pub fn login(&self) -> Option<&str> {
        self.0.get_user()
    }

    /// Host, port, database and login, as a password file (`.pgpass`) names them.
    pub fn place(&self) -> [String; 4] {
        let host = match self.0.get_hosts().first() {
            Some(Host::Tcp(name)) => name.clone(),
            Some(Host::Unix(_)) | None => "localhost".into(),
        };
        let port = self.0.get_ports().first().copied().unwrap_or(PORT);
        let login = self.0.get_user().unwrap_or_default();
        let database = self.0.get_dbname().unwrap_or(login);
        [
            host,
            port.to_string(),
            database.to_owned(),
            login.to_owned(),
        ]
    }

    /// Connects and starts the connection's task.
    pub(super) fn connect(&self, driver: &Driver) -> Result<Client, StoreError> {
        let late = || StoreError::Unavailable("the database does not answer".into());
        let (client, connection) = driver
            .wait(self.0.connect(NoTls), ANSWER_MAX)
            .ok_or_else(late)?
            .map_err(|error| self.failed(error))?;
        driver.start(async move {
            if let Err(error) = connection.await {
                tracing::warn!(%error, "a connection to the database was lost");
            }
        });
        Ok(client)
    }

    /// Why a connection was not made.
    pub(super) fn failed(&self, error: tokio_postgres::Error) -> StoreError {
        let asked = error.as_db_error().is_none() && error.to_string().contains("configuration");
        if asked && !self.has_password() {
            let login = self.login().unwrap_or_default();
            return StoreError::Unfit(format!(
                "the login `{login}` needs a password; put it into PGPASSWORD or a password file \
                 (~/.pgpass)"
            ));
        }
        error.into()
    }

    /// What it is without its form.
    pub(super) fn config(&self) -> &Config {
        &self.0
    }
}

impl fmt::Display for Address {
    /// For people: host, port, database and login.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [_, port, database, login] = self.place();
        match self.0.get_hosts().first() {
            Some(Host::Unix(path)) => {
                let path = path.display();
                write!(f, "host={path} port={port} user={login} dbname={database}")
            }
            Some(Host::Tcp(host)) => write!(f, "postgres://{login}@{host}:{port}/{database}"),
            None => write!(f, "postgres://{login}@/{database}"),
        }
    }
}

fn is_remote(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            let loopback = name
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback());
            !loopback && name != "localhost"
        }
        Host::Unix(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_on_another_machine_needs_a_word_about_encryption() {
        for good in [
            "postgres://matrix@localhost/matrix",
            "postgres://matrix@127.0.0.1:5433/matrix",
            "host=/run/postgresql user=matrix",
            "postgres://matrix@db.internal/matrix?sslmode=disable",
        ] {
            assert!(Address::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "postgres://matrix@db.internal/matrix",
            "postgres://matrix@db.internal/matrix?sslmode=require",
            "postgres://matrix@db.internal/matrix?sslmode=prefer",
            "user=matrix",
            "nonsense",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_does_not_show_its_password() {
        let address = Address::parse("postgres://matrix:hunter2@localhost/matrix").unwrap();
        assert!(address.has_password());
        let shown = format!("{address:?} {address}");
        assert!(!shown.contains("hunter2"), "{shown}");
        let plain = Address::parse("host=/run/pg user=ada dbname=m").unwrap();
        assert!(!plain.has_password());
        assert_eq!(
            plain.to_string(),
            "host=/run/pg port=5432 user=ada dbname=m"
        );
        assert_eq!(plain.place(), ["localhost", "5432", "m", "ada"]);
        let shown = format!("{:?}", plain.with_password("hunter2"));
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_text_that_is_no_address_is_not_quoted() {
        for text in [
            "host=h password=a hunter2=x",
            "postgres://a:hunter2@h:port/x",
        ] {
            let refused = Address::parse(text).unwrap_err().to_string();
            assert!(!refused.contains("hunter2"), "{refused}");
        }
    }
}
