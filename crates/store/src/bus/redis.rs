//! Redis: events are added to one stream, all of a batch or none, with the fields `id`, `topic`,
//! `key` and `event`. Redis gives entries ids of its own; whoever reads them knows one that came
//! twice by the field `id`. An acknowledged event lasts as long as the server's persistence says.

use std::time::Duration;

use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo, RedisConnectionInfo};

use super::secret::Secret;
use super::{Bus, BusError, Destination, Message};

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(8);

pub(super) struct Redis {
    connection: MultiplexedConnection,
    stream: String,
}

impl Redis {
    pub(super) async fn connect(
        destination: &Destination,
        secret: Option<Secret>,
    ) -> Result<Self, BusError> {
        let mut settings = RedisConnectionInfo::default();
        if let Some(secret) = secret {
            if destination.is_remote() {
                return Err(BusError::new(
                    "this build speaks no TLS to Redis, and credentials do not leave the machine \
                     without it; use a tunnel",
                ));
            }
            settings = settings.set_password(secret.password);
            if let Some(user) = secret.user {
                settings = settings.set_username(user);
            }
        }
        let mut last = BusError::new("no server is named");
        for server in &destination.servers {
            match open(server, settings.clone()).await {
                Ok(connection) => {
                    return Ok(Self {
                        connection,
                        stream: destination.place.clone(),
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

async fn open(
    server: &str,
    settings: RedisConnectionInfo,
) -> Result<MultiplexedConnection, BusError> {
    let (host, port) = server
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host.trim_matches(['[', ']']), port.parse::<u16>().ok()?)))
        .ok_or_else(|| BusError::new("a server without a port"))?;
    let information = (host, port)
        .into_connection_info()
        .map_err(BusError::new)?
        .set_redis_settings(settings);
    let client = Client::open(information).map_err(BusError::new)?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .map_err(BusError::new)
}

#[async_trait]
impl Bus for Redis {
    async fn publish(&mut self, messages: &[Message]) -> Result<(), BusError> {
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        for message in messages {
            pipeline
                .cmd("XADD")
                .arg(&self.stream)
                .arg("*")
                .arg("id")
                .arg(&message.id)
                .arg("topic")
                .arg(&message.topic)
                .arg("key")
                .arg(&message.key)
                .arg("event")
                .arg(message.body.as_slice())
                .ignore();
        }
        let added: Result<(), _> = pipeline.query_async(&mut self.connection).await;
        added.map_err(BusError::new)
    }
}
