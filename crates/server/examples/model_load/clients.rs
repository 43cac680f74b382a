//! Those who ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::figures::{Answered, told};
use crate::process::used;
use crate::{Failure, Plan};

type Connection = SendRequest<Full<Bytes>>;

/// The same question over and over, of 50 tokens or so.
const QUESTION: &str = "Say in a few sentences what a journal is, why whoever writes programs that \
    must not forget keeps one, how it is read again after a fall, and when it may be cut off. Write \
    for somebody who has never seen one, and do without lists.";

/// What all connections share.
struct Asking {
    plan: Plan,
    authority: String,
    path: String,
    body: Bytes,
    /// From when on it counts, and until when.
    counted: (Instant, Instant),
    /// When questions are due, if there is a rate.
    due: Option<Mutex<UnboundedReceiver<Instant>>>,
    /// How many events of streams came while it counted.
    events: AtomicUsize,
}

impl Asking {
    fn counts(&self, when: Instant) -> bool {
        when >= self.counted.0 && when <= self.counted.1
    }
}

/// Asks as planned and tells what was measured.
pub(crate) async fn ask(plan: Plan) -> Result<Value, Failure> {
    let place = plan.url.strip_prefix("http://").ok_or("http:// only")?;
    let (authority, path) = place.split_once('/').ok_or("the URL has no path")?;
    let (authority, path) = (authority.to_owned(), format!("/{path}"));
    let mut connections = Vec::new();
    for _ in 0..plan.connections {
        connections.push(connect(&authority).await?);
    }
    let from = Instant::now() + plan.warm;
    let counted = (from, from + plan.counted);
    let due = plan.rate.map(|rate| {
        let (sender, receiver) = unbounded_channel();
        std::thread::spawn(move || pace(rate, counted.1, &sender));
        Mutex::new(receiver)
    });
    let (pid, seconds) = (plan.pid, plan.counted);
    let body = Bytes::from(question(&plan).to_string());
    let asking = Arc::new(Asking {
        plan,
        authority,
        path,
        body,
        counted,
        due,
        events: AtomicUsize::new(0),
    });
    let asked: Vec<_> = connections
        .into_iter()
        .map(|connection| tokio::spawn(one_by_one(asking.clone(), connection)))
        .collect();
    tokio::time::sleep_until(counted.0.into()).await;
    let before = used(pid)?;
    tokio::time::sleep_until(counted.1.into()).await;
    let after = used(pid)?;
    let mut answers = Vec::new();
    for asked in asked {
        answers.extend(asked.await??);
    }
    let events = asking.events.load(Ordering::Relaxed);
    if answers.is_empty() && events == 0 {
        return Err("nothing was answered in time".into());
    }
    let used = (after.0.saturating_sub(before.0), after.1);
    Ok(told(&answers, events, seconds, used))
}

fn question(plan: &Plan) -> Value {
    let messages = json!([{ "role": "user", "content": QUESTION }]);
    match plan.chunks {
        None => json!({ "model": plan.model, "messages": messages, "max_tokens": 200 }),
        Some(chunks) => json!({
            "model": plan.model, "messages": messages, "max_tokens": chunks,
            "stream": true, "stream_options": { "include_usage": true },
        }),
    }
}

async fn connect(authority: &str) -> Result<Connection, Failure> {
    let stream = TcpStream::connect(authority).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // What goes wrong with a connection is heard by whoever asks on it.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

/// Says when each question is due, and waits for nobody.
fn pace(rate: f64, until: Instant, due: &UnboundedSender<Instant>) {
    // A thread sleeps 50 microseconds too long otherwise; where that is refused, all are late alike.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    let (begun, apart) = (Instant::now(), Duration::from_secs_f64(1.0 / rate));
    let mut next = begun;
    let mut count = 0_u32;
    while next < until {
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        if due.send(next).is_err() {
            return;
        }
        count += 1;
        next = begun + apart * count;
    }
}

/// Asks on one connection until it is over; gives what counts.
async fn one_by_one(
    asking: Arc<Asking>,
    mut connection: Connection,
) -> Result<Vec<Answered>, Failure> {
    let mut answers = Vec::new();
    loop {
        let due = match &asking.due {
            None => Some(Instant::now()),
            Some(due) => due.lock().await.recv().await,
        };
        let Some(due) = due.filter(|due| *due < asking.counted.1) else {
            return Ok(answers);
        };
        if connection.ready().await.is_err() {
            connection = connect(&asking.authority).await?;
        }
        let answered = answer(&asking, &mut connection, due).await?;
        // As many answers end within the time as processor time is used for in it. At a rate all
        // that was due counts, or the slowest would be left out.
        let when = match asking.due {
            None => due + answered.whole,
            Some(_) => due,
        };
        if asking.counts(when) {
            answers.push(answered);
        }
    }
}

async fn answer(
    asking: &Asking,
    connection: &mut Connection,
    due: Instant,
) -> Result<Answered, Failure> {
    let mut request = Request::post(asking.path.as_str())
        .header(HOST, &asking.authority)
        .header(CONTENT_TYPE, "application/json")
        .header(AUTHORIZATION, format!("Bearer {}", asking.plan.token));
    for (name, value) in &asking.plan.headers {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(asking.body.clone()))?;
    let answer = connection.send_request(request).await?;
    let status = answer.status();
    let mut body = answer.into_body();
    let (mut first, mut end) = (None, Vec::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        first.get_or_insert_with(|| due.elapsed());
        if asking.plan.chunks.is_some() && asking.counts(Instant::now()) {
            let events = data.windows(6).filter(|text| text == b"data: ").count();
            asking.events.fetch_add(events, Ordering::Relaxed);
        }
        end = data.to_vec();
    }
    let whole = due.elapsed();
    let ended = asking.plan.chunks.is_none() || end.windows(6).any(|text| text == b"[DONE]");
    if status != StatusCode::OK || !ended {
        let text = String::from_utf8_lossy(&end);
        return Err(format!("the answer was {status} and ended with `{text}`").into());
    }
    Ok(Answered {
        first: first.unwrap_or(whole),
        whole,
    })
}
