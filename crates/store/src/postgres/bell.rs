//! What one process commits the others hear of.
//!
//! A bell has a connection of its own, so that nobody who writes waits for it. What is to be told
//! gathers for at least [`GATHER`] and goes out as one notification, which names the runs or, when
//! they are too many, says that there are some. A notification that is lost costs time only: every
//! process looks for work by itself, too.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::time::Duration;

use matrix_core::RunId;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls};

use crate::error::StoreError;
use crate::postgres::Address;
use crate::postgres::connect::admit;

/// The shortest time between two notifications of a process.
const GATHER: Duration = Duration::from_millis(10);

/// How long a connection that was lost is not made again.
const AGAIN: Duration = Duration::from_secs(1);

/// How long one attempt to connect or to tell may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most runs that one notification names; it holds less than 8,000 bytes.
const NAMED_MAX: usize = 64;

/// The channel.
const CHANNEL: &str = "matrix_news";

/// Something that was committed and that others may wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// A run became ready or has mail.
    Run(RunId),
    /// Some runs, or all.
    Runs,
    /// The journal has grown.
    Entries,
}

/// News that gather.
#[derive(Debug, Default, PartialEq, Eq)]
struct Gathered {
    runs: BTreeSet<RunId>,
    all: bool,
    entries: bool,
}

impl Gathered {
    fn add(&mut self, news: News) {
        match news {
            News::Run(run) => {
                self.runs.insert(run);
                if self.runs.len() > NAMED_MAX {
                    self.add(News::Runs);
                }
            }
            News::Runs => {
                self.all = true;
                self.runs.clear();
            }
            News::Entries => self.entries = true,
        }
    }

    fn is_empty(&self) -> bool {
        !self.all && !self.entries && self.runs.is_empty()
    }

    /// `j` (the journal has grown), `*` (runs), or ids, between spaces.
    fn text(&self) -> String {
        let mut words = Vec::new();
        if self.entries {
            words.push("j".to_owned());
        }
        if self.all {
            words.push("*".to_owned());
        } else {
            words.extend(self.runs.iter().map(ToString::to_string));
        }
        words.join(" ")
    }
}

/// What a notification says; words of another version are taken for all runs.
fn read(text: &str) -> impl Iterator<Item = News> {
    text.split(' ').map(|word| match word {
        "j" => News::Entries,
        word => word.parse().map_or(News::Runs, News::Run),
    })
}

/// One process's way to tell others, and to hear of them.
#[derive(Debug)]
pub struct Bell {
    address: Address,
    news: mpsc::UnboundedReceiver<News>,
    gathered: Gathered,
}

impl Bell {
    /// A bell that tells what it is sent. Nothing happens until [`Self::keep`] is polled.
    pub fn new(address: Address) -> (Self, mpsc::UnboundedSender<News>) {
        let (sender, news) = mpsc::unbounded_channel();
        let gathered = Gathered::default();
        let bell = Self {
            address,
            news,
            gathered,
        };
        (bell, sender)
    }

    /// Tells and hears until every sender is gone and what they sent was told. A connection that
    /// is lost is made again; whatever others told meanwhile is heard as [`News::Runs`] and
    /// [`News::Entries`].
    pub async fn keep(mut self, heard: impl Fn(News)) {
        loop {
            match self.connected(&heard).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, "other processes cannot be heard"),
            }
            // What cannot be told is found by those who look for it.
            self.gathered = Gathered::default();
            let rest = sleep(AGAIN);
            tokio::pin!(rest);
            loop {
                tokio::select! {
                    () = &mut rest => break,
                    news = self.news.recv() => if news.is_none() { return },
                }
            }
        }
    }

    /// Tells and hears on one connection. Well ended: nobody has anything to tell any more.
    async fn connected(&mut self, heard: &impl Fn(News)) -> Result<(), StoreError> {
        let late = |_| StoreError::Unavailable("the database does not answer".into());
        let connect = self.address.config().connect(NoTls);
        let (client, connection) = tokio::time::timeout(PATIENCE, connect)
            .await
            .map_err(late)?
            .map_err(|error| self.address.failed(error))?;
        let (calls, mut called) = mpsc::unbounded_channel();
        let listening = listen(connection, calls);
        tokio::pin!(listening);
        let own = tokio::select! {
            own = tokio::time::timeout(PATIENCE, begin(&client)) => own.map_err(late)??,
            ended = &mut listening => return ended,
        };
        heard(News::Runs);
        heard(News::Entries);
        let rest = sleep(Duration::ZERO);
        tokio::pin!(rest);
        let mut resting = true;
        loop {
            let mut over = false;
            tokio::select! {
                ended = &mut listening => return ended,
                Some((process, text)) = called.recv() => {
                    if process != own {
                        read(&text).for_each(heard);
                    }
                    continue;
                }
                () = &mut rest, if resting => resting = false,
                news = self.news.recv() => match news {
                    Some(news) => self.gather(news),
                    None => over = true,
                },
            }
            if !self.gathered.is_empty() && (over || !resting) {
                tokio::select! {
                    told = tell(&client, self.gathered.text()) => told?,
                    ended = &mut listening => return ended,
                }
                self.gathered = Gathered::default();
                rest.set(sleep(GATHER));
                resting = true;
            }
            if over {
                return Ok(());
            }
        }
    }

    fn gather(&mut self, news: News) {
        self.gathered.add(news);
        while let Ok(news) = self.news.try_recv() {
            self.gathered.add(news);
        }
    }
}

/// Tells the others.
async fn tell(client: &Client, text: String) -> Result<(), StoreError> {
    let parameters: [&(dyn ToSql + Sync); 2] = [&CHANNEL, &text];
    let told = client.query("SELECT pg_notify($1, $2)", &parameters);
    let late = |_| StoreError::Unavailable("the database does not answer".into());
    tokio::time::timeout(PATIENCE, told).await.map_err(late)??;
    Ok(())
}

/// Begins to hear; gives the connection's own number.
async fn begin(client: &Client) -> Result<i32, StoreError> {
    admit(client).await?;
    client.batch_execute(&format!("LISTEN {CHANNEL}")).await?;
    let row = client.query_one("SELECT pg_backend_pid()", &[]).await?;
    Ok(row.try_get(0)?)
}

/// Moves a connection, and hands on what others tell.
async fn listen<S, T>(
    mut connection: Connection<S, T>,
    calls: mpsc::UnboundedSender<(i32, String)>,
) -> Result<(), StoreError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
        if let AsyncMessage::Notification(call) = message? {
            // Whoever listens holds the other end for as long as this is polled.
            drop(calls.send((call.process_id(), call.payload().to_owned())));
        }
    }
    Err(StoreError::Unavailable("the connection was closed".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(number: u8) -> RunId {
        RunId::from_bytes([number; 16])
    }

    #[test]
    fn what_gathered_is_read_again() {
        let mut gathered = Gathered::default();
        assert!(gathered.is_empty());
        for news in [
            News::Run(run(2)),
            News::Entries,
            News::Run(run(1)),
            News::Run(run(2)),
        ] {
            gathered.add(news);
        }
        let heard: Vec<_> = read(&gathered.text()).collect();
        assert_eq!(heard, [News::Entries, News::Run(run(1)), News::Run(run(2))]);
    }

    #[test]
    fn many_runs_are_not_named() {
        let mut gathered = Gathered::default();
        for number in 0..=255 {
            gathered.add(News::Run(run(number)));
            assert!(gathered.text().len() < 8_000);
        }
        let heard: Vec<_> = read(&gathered.text()).collect();
        assert!(heard.contains(&News::Runs), "{heard:?}");
        assert!(heard.len() <= NAMED_MAX + 1, "{heard:?}");
        assert_eq!(read("from a later version").next(), Some(News::Runs));
    }
}
