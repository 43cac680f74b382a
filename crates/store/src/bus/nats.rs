//! NATS: events are published to `PLACE.TOPIC` and acknowledged by the `JetStream` stream that takes
//! that subject. The message id stands in the header `Nats-Msg-Id`, by which the server recognises
//! duplicates within the stream's window.

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, Context};
use async_nats::{ConnectOptions, ServerAddr};
use async_trait::async_trait;
use bytes::Bytes;

use super::secret::Secret;
use super::{Bus, BusError, Destination, Message};

pub(super) struct Nats {
    context: Context,
    place: String,
}

impl Nats {
    pub(super) async fn connect(
        destination: &Destination,
        secret: Option<Secret>,
    ) -> Result<Self, BusError> {
        let mut options = ConnectOptions::new().name("matrix");
        if let Some(secret) = secret {
            // A server that asks for encryption gets it; where a secret leaves the machine it has to.
            options = options.require_tls(destination.is_remote());
            options = match secret.user {
                Some(user) => options.user_and_password(user, secret.password),
                None => options.token(secret.password),
            };
        }
        let servers = destination
            .servers
            .iter()
            .map(|server| format!("nats://{server}").parse::<ServerAddr>())
            .collect::<Result<Vec<_>, _>>()
            .map_err(BusError::new)?;
        let client = options.connect(servers).await.map_err(BusError::new)?;
        Ok(Self {
            context: jetstream::new(client),
            place: destination.place.clone(),
        })
    }

    fn failed(&self, error: &async_nats::jetstream::context::PublishError) -> BusError {
        match error.kind() {
            PublishErrorKind::StreamNotFound => BusError::new(format_args!(
                "no stream takes the subject `{}.>`; make one (`nats stream add`)",
                self.place
            )),
            _ => BusError::new(error),
        }
    }
}

#[async_trait]
impl Bus for Nats {
    async fn publish(&mut self, messages: &[Message]) -> Result<(), BusError> {
        let mut answers = Vec::with_capacity(messages.len());
        for message in messages {
            let subject = format!("{}.{}", self.place, message.topic);
            let publish = PublishMessage::build()
                .payload(Bytes::copy_from_slice(&message.body))
                .message_id(&message.id);
            let sent = self.context.send_publish(subject, publish).await;
            answers.push(sent.map_err(|error| self.failed(&error))?);
        }
        for answer in answers {
            answer.await.map_err(|error| self.failed(&error))?;
        }
        Ok(())
    }
}
