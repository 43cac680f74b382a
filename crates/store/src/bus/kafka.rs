//! Kafka: an event is a record of one topic, under the run as its key, with the headers `id` and
//! `topic`. A key's partition is the one that Kafka's own producer would choose, so a run's events
//! stay in order, also beside records of other producers.
//!
//! Every record is acknowledged by all replicas in sync (`acks=all`). The client numbers no records,
//! so a broker does not recognise one that came twice: whoever reads them does, by the header `id`.

mod connect;
mod partition;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::stream::{self, TryStreamExt};
use rskafka::BackoffConfig;
use rskafka::client::Client;
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{Compression, PartitionClient, UnknownTopicHandling};
use rskafka::record::Record;

use super::secret::Secret;
use super::{Bus, BusError, Destination, Message};

/// The most bytes that are sent to a partition at once, unless a single record has more. A topic
/// takes 1 MiB if it is not told otherwise.
const BATCH_BYTES: usize = 512 * 1024;

/// How many partitions are sent to side by side.
const SIDE_BY_SIDE: usize = 16;

/// The most partitions that stay connected; each has a connection of its own.
const CONNECTED_MAX: usize = 64;

/// Whoever uses the bus tries again; the client by itself only bridges a moment.
fn patience() -> BackoffConfig {
    BackoffConfig {
        init_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(1),
        base: 3.0,
        deadline: Some(Duration::from_secs(2)),
    }
}

pub(super) struct Kafka {
    client: Client,
    topic: String,
    partitions: Vec<i32>,
    connected: BTreeMap<i32, PartitionClient>,
}

impl Kafka {
    pub(super) async fn connect(
        destination: &Destination,
        secret: Option<Secret>,
    ) -> Result<Self, BusError> {
        let client = connect::client(destination, secret).await?;
        let topic = destination.place.clone();
        let topics = client.list_topics().await;
        let topics = topics.map_err(|error| refused(&topic, &error))?;
        let found = topics.into_iter().find(|known| known.name == topic);
        let partitions: Vec<i32> = found
            .map(|known| known.partitions.into_iter().collect())
            .unwrap_or_default();
        if partitions.is_empty() {
            return Err(absent(&topic));
        }
        Ok(Self {
            client,
            topic,
            partitions,
            connected: BTreeMap::new(),
        })
    }

    /// Sends records to one partition, in their order; gives back the connection.
    async fn send(
        &self,
        number: i32,
        connected: Option<PartitionClient>,
        records: Vec<Record>,
    ) -> Result<(i32, PartitionClient), BusError> {
        let partition = match connected {
            Some(partition) => partition,
            None => self
                .client
                .partition_client(&self.topic, number, UnknownTopicHandling::Error)
                .await
                .map_err(|error| refused(&self.topic, &error))?,
        };
        let mut waiting = batches(records);
        waiting.reverse();
        while let Some(mut batch) = waiting.pop() {
            let again = batch.clone();
            let Err(error) = partition.produce(batch, Compression::NoCompression).await else {
                continue;
            };
            batch = again;
            if !is_too_large(&error) {
                return Err(refused(&self.topic, &error));
            }
            if let [record] = batch.as_slice() {
                return Err(BusError::new(format_args!(
                    "the topic `{}` takes no event of {} bytes; raise its `max.message.bytes`",
                    self.topic,
                    record.approximate_size()
                )));
            }
            let rest = batch.split_off(batch.len() / 2);
            waiting.extend([rest, batch]);
        }
        Ok((number, partition))
    }

    fn by_partition(&self, messages: &[Message]) -> Result<BTreeMap<i32, Vec<Record>>, BusError> {
        let mut parts: BTreeMap<i32, Vec<Record>> = BTreeMap::new();
        for message in messages {
            let number = partition::of(message.key.as_bytes(), self.partitions.len());
            let number = self.partitions.get(number).copied();
            let number = number.ok_or_else(|| absent(&self.topic))?;
            parts.entry(number).or_default().push(record(message)?);
        }
        Ok(parts)
    }
}

#[async_trait]
impl Bus for Kafka {
    async fn publish(&mut self, messages: &[Message]) -> Result<(), BusError> {
        let mut connected = std::mem::take(&mut self.connected);
        let parts: Vec<_> = self
            .by_partition(messages)?
            .into_iter()
            .map(|(number, records)| Ok((number, connected.remove(&number), records)))
            .collect();
        let this = &*self;
        let sent: Vec<_> = stream::iter(parts)
            .map_ok(|(number, partition, records)| this.send(number, partition, records))
            .try_buffer_unordered(SIDE_BY_SIDE)
            .try_collect()
            .await?;
        let newest = sent.into_iter().take(CONNECTED_MAX);
        let older = CONNECTED_MAX.saturating_sub(newest.len());
        self.connected = connected.into_iter().take(older).chain(newest).collect();
        Ok(())
    }
}

fn record(message: &Message) -> Result<Record, BusError> {
    let at: DateTime<Utc> = DateTime::from_timestamp_micros(message.at.as_micros())
        .ok_or_else(|| BusError::new("a time that Kafka does not know"))?;
    let header = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
    Ok(Record {
        key: Some(message.key.as_bytes().to_vec()),
        value: Some(message.body.clone()),
        headers: [header("id", &message.id), header("topic", &message.topic)].into(),
        timestamp: at,
    })
}

/// Records in their order, in pieces that a topic takes.
fn batches(records: Vec<Record>) -> Vec<Vec<Record>> {
    let mut batches: Vec<Vec<Record>> = Vec::new();
    let mut bytes = usize::MAX;
    for record in records {
        let size = record.approximate_size();
        bytes = bytes.saturating_add(size);
        match batches.last_mut() {
            Some(batch) if bytes <= BATCH_BYTES => batch.push(record),
            _ => {
                bytes = size;
                batches.push(vec![record]);
            }
        }
    }
    batches
}

fn is_too_large(error: &Error) -> bool {
    let too_large = [
        ProtocolError::MessageTooLarge,
        ProtocolError::RecordListTooLarge,
    ];
    matches!(error, Error::ServerError { protocol_error, .. } if too_large.contains(protocol_error))
}

fn absent(topic: &str) -> BusError {
    BusError::new(format_args!(
        "there is no topic `{topic}`, or it may not be seen; make it (`kafka-topics.sh --create`), \
         or let the user describe it and write to it"
    ))
}

/// What went wrong, without what the client did meanwhile.
fn refused(topic: &str, error: &Error) -> BusError {
    if let Error::ServerError { protocol_error, .. } = error {
        return match protocol_error {
            ProtocolError::UnknownTopicOrPartition => absent(topic),
            ProtocolError::TopicAuthorizationFailed | ProtocolError::ClusterAuthorizationFailed => {
                BusError::new(format_args!(
                    "the topic `{topic}` may not be written to; allow it (`kafka-acls.sh --add \
                     --producer`)"
                ))
            }
            ProtocolError::NotEnoughReplicas | ProtocolError::NotEnoughReplicasAfterAppend => {
                BusError::new(format_args!(
                    "the topic `{topic}` has fewer replicas in sync than it asks for"
                ))
            }
            other => BusError::new(format_args!("the topic `{topic}`: {other}")),
        };
    }
    BusError::new(inmost(error))
}

/// The first of a chain of causes.
fn inmost(error: &Error) -> &dyn std::error::Error {
    let mut inmost: &dyn std::error::Error = error;
    while let Some(source) = inmost.source() {
        inmost = source;
    }
    inmost
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_bytes(count: usize) -> Record {
        Record {
            key: None,
            value: Some(vec![0; count]),
            headers: BTreeMap::new(),
            timestamp: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn batches_keep_the_order_and_hold_what_a_topic_takes() {
        let sizes = [1, BATCH_BYTES - 1, 1, BATCH_BYTES * 3, 5, 5];
        let made = batches(sizes.map(of_bytes).into());
        let made: Vec<Vec<usize>> = made
            .iter()
            .map(|batch| batch.iter().map(Record::approximate_size).collect())
            .collect();
        let expected = [
            vec![1, BATCH_BYTES - 1],
            vec![1],
            vec![BATCH_BYTES * 3],
            vec![5, 5],
        ];
        assert_eq!(made, expected);
        assert!(batches(Vec::new()).is_empty());
    }
}
