//! A provider as it may behave: it sends what a test wrote, byte by byte, and remembers what it was
//! asked and who hung up.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::frames;

/// The longest that a test waits for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What is done for one request.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// These bytes are sent.
    Send(Vec<u8>),
    /// These bytes are sent one by one, with a pause after each.
    Drip(Vec<u8>, Duration),
    /// Nothing is done until the test opens the gate.
    Gate(Arc<Semaphore>),
    /// Nothing is done until the asker hangs up.
    Silence,
    /// Nothing is done for a while.
    Pause(Duration),
    /// What is done depends on what was asked.
    Answer(fn(&Value) -> Reply),
}

/// What is answered to one request; then the connection is closed.
pub(crate) type Reply = Vec<Step>;

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    /// The lines of the headers.
    head: String,
    pub(crate) body: Value,
    /// The body as it came.
    pub(crate) text: String,
}

impl Asked {
    /// A header, if it came.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

#[derive(Debug, Default)]
struct Script {
    replies: VecDeque<Reply>,
    always: Option<Reply>,
    asked: Vec<Asked>,
}

/// A provider on this machine.
#[derive(Debug)]
pub(crate) struct Upstream {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    hung_up: watch::Receiver<usize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Upstream {
    /// It listens, and refuses every request until it is told what to say.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(Script::default()));
        let (count, hung_up) = watch::channel(0);
        let shared = (Arc::clone(&script), Arc::new(count));
        let task = tokio::spawn(async move {
            let mut calls = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (script, count) = shared.clone();
                calls.spawn(async move {
                    // An asker that hangs up is part of the play.
                    if serve(stream, &script, &count).await.is_err() {
                        count.send_modify(|count| *count += 1);
                    }
                });
                while calls.try_join_next().is_some() {}
            }
        });
        Self {
            address,
            script,
            hung_up,
            task,
        }
    }

    /// With the same answer for everyone.
    pub(crate) async fn always(reply: Reply) -> Self {
        let upstream = Self::start().await;
        upstream.script.lock().unwrap().always = Some(reply);
        upstream
    }

    /// With these answers, one after the other.
    pub(crate) async fn playing(replies: impl IntoIterator<Item = Reply>) -> Self {
        let upstream = Self::start().await;
        upstream.script.lock().unwrap().replies.extend(replies);
        upstream
    }

    /// What it says next.
    pub(crate) fn then(&self, reply: Reply) {
        self.script.lock().unwrap().replies.push_back(reply);
    }

    /// What it says to everyone from now on.
    pub(crate) fn keep_saying(&self, reply: Reply) {
        self.script.lock().unwrap().always = Some(reply);
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.script.lock().unwrap().asked.clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.script.lock().unwrap().asked.len()
    }

    /// Ready when so many askers have hung up before they had their answer.
    pub(crate) async fn hung_up(&self, count: usize) {
        let mut seen = self.hung_up.clone();
        let waited = tokio::time::timeout(PATIENCE, seen.wait_for(|seen| *seen >= count)).await;
        waited.unwrap().unwrap();
    }
}

async fn serve(
    mut stream: TcpStream,
    script: &Mutex<Script>,
    count: &watch::Sender<usize>,
) -> std::io::Result<()> {
    let Some(asked) = heard(&mut stream).await? else {
        return Ok(());
    };
    let reply = {
        let mut script = script.lock().unwrap();
        script.asked.push(asked.clone());
        let next = script.replies.pop_front();
        next.or_else(|| script.always.clone())
    };
    let reply = reply.unwrap_or_else(|| status(501, "", "{}"));
    let steps = reply.into_iter().flat_map(|step| match step {
        Step::Answer(answer) => answer(&asked.body),
        step => vec![step],
    });
    for step in steps {
        match step {
            Step::Answer(_) => panic!("an answer that is answered by another one"),
            Step::Send(bytes) => stream.write_all(&bytes).await?,
            Step::Drip(bytes, pause) => {
                for byte in bytes {
                    stream.write_all(&[byte]).await?;
                    tokio::time::sleep(pause).await;
                }
            }
            Step::Pause(pause) => tokio::time::sleep(pause).await,
            Step::Gate(gate) => gate.acquire().await.unwrap().forget(),
            Step::Silence => {
                while stream.read(&mut [0; 64]).await? > 0 {}
                count.send_modify(|count| *count += 1);
            }
        }
    }
    stream.shutdown().await
}

/// A request, if one came.
async fn heard(stream: &mut TcpStream) -> std::io::Result<Option<Asked>> {
    let mut bytes = Vec::new();
    loop {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                let length = name.eq_ignore_ascii_case("content-length");
                length.then(|| value.trim().parse().unwrap())
            });
            let (length, begin): (usize, _) = (length.unwrap_or(0), end + 4);
            if bytes.len() >= begin + length {
                let word = |place| head.split(' ').nth(place).unwrap_or_default().to_owned();
                let body = &bytes[begin..];
                return Ok(Some(Asked {
                    method: word(0),
                    path: word(1),
                    body: serde_json::from_slice(body).unwrap_or_default(),
                    text: String::from_utf8_lossy(body).into_owned(),
                    head,
                }));
            }
        }
        let mut more = vec![0; 16 * 1024];
        match stream.read(&mut more).await? {
            0 => return Ok(None),
            count => bytes.extend_from_slice(&more[..count]),
        }
    }
}

/// An answer that has its length. `headers` are whole lines.
pub(crate) fn status(code: u16, headers: &str, body: &str) -> Reply {
    let length = body.len();
    let kind = "content-type: application/json\r\n";
    let kind = if headers.contains("content-type") {
        ""
    } else {
        kind
    };
    let head = format!("HTTP/1.1 {code} As said\r\n{kind}{headers}content-length: {length}\r\n");
    vec![Step::Send(
        format!("{head}connection: close\r\n\r\n{body}").into_bytes(),
    )]
}

/// A good answer as a whole.
pub(crate) fn whole(body: &str) -> Reply {
    status(200, "", body)
}

fn head(kind: &str, framing: &str) -> Step {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{framing}connection: close");
    Step::Send(format!("{head}\r\n\r\n").into_bytes())
}

/// A piece of a body.
pub(crate) fn piece(bytes: &[u8]) -> Step {
    let mut all = format!("{:x}\r\n", bytes.len()).into_bytes();
    all.extend_from_slice(bytes);
    all.extend_from_slice(b"\r\n");
    Step::Send(all)
}

/// The end of a body that came in pieces.
pub(crate) fn end() -> Step {
    Step::Send(b"0\r\n\r\n".to_vec())
}

/// What kind of stream a text is.
pub(crate) fn kind(text: &str) -> &'static str {
    if text.starts_with("{\":") {
        "application/vnd.amazon.eventstream"
    } else if text.starts_with('{') {
        "application/x-ndjson"
    } else {
        "text/event-stream"
    }
}

/// The beginning of a stream in pieces.
pub(crate) fn begin(kind: &str) -> Step {
    head(kind, "transfer-encoding: chunked\r\n")
}

/// The events of a transcript.
pub(crate) fn events(text: &str) -> Vec<&str> {
    let end = if text.starts_with('{') { "\n" } else { "\n\n" };
    text.split_inclusive(end)
        .filter(|event| !event.trim().is_empty())
        .collect()
}

/// An event as its provider sends it: of some a transcript can only tell what the bytes mean.
pub(crate) fn bytes(event: &str) -> Vec<u8> {
    if event.starts_with("{\":") {
        return frames::frame(event);
    }
    event.as_bytes().to_vec()
}

/// An event in a piece of its own.
pub(crate) fn said(event: &str) -> Step {
    piece(&bytes(event))
}

/// A stream of pieces that ends as it should.
pub(crate) fn stream(text: &str) -> Reply {
    let mut reply = cut(&events(text));
    reply.push(end());
    reply
}

/// A stream that breaks off after these events: the connection is closed in the middle of the body.
pub(crate) fn cut(events: &[&str]) -> Reply {
    let mut reply = vec![begin(kind(events.first().unwrap_or(&"")))];
    reply.extend(events.iter().map(|event| said(event)));
    reply
}

/// The same where nothing but the protocol's own words tell that more was to come: the body lasts
/// until the connection is closed.
pub(crate) fn closed(kind: &str, events: &[&str]) -> Reply {
    let bytes = events.iter().flat_map(|event| bytes(event)).collect();
    vec![head(kind, ""), Step::Send(bytes)]
}
