//! A provider that counts: it answers as it is asked, and adds up what it says was used.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use serde_json::{Value, json};

/// What was used, as the provider says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Total {
    pub(crate) calls: i64,
    pub(crate) input: i64,
    pub(crate) output: i64,
}

/// What is waited for until it is open.
#[derive(Debug, Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn set(&self, open: bool) {
        *self.open.lock().unwrap() = open;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let open = self.open.lock().unwrap();
        drop(self.opened.wait_while(open, |open| !*open).unwrap());
    }
}

#[derive(Debug, Default)]
struct Shared {
    total: Mutex<Total>,
    /// How often each word was asked.
    words: Mutex<std::collections::BTreeMap<String, usize>>,
    asked: AtomicUsize,
    hung_up: AtomicUsize,
    /// Whether it answers; until then it takes requests and says nothing.
    answers: Gate,
    /// Whether it goes on after the first word of a stream.
    speaks: Gate,
    ill: AtomicBool,
    over: AtomicBool,
}

/// A provider on this machine, until it is dropped.
pub(crate) struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.open();
        // Whoever waits for a caller hears of one.
        drop(TcpStream::connect(self.address));
    }
}

impl Upstream {
    /// It answers.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let known = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if known.over.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&known);
                std::thread::spawn(move || drop(serve(&shared, stream)));
            }
        });
        let upstream = Self { address, shared };
        upstream.open();
        upstream
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// From now on it takes requests and answers none.
    pub(crate) fn hold(&self) {
        self.shared.answers.set(false);
    }

    /// From now on it says one word of a stream, and no more.
    pub(crate) fn stammer(&self) {
        self.shared.speaks.set(false);
    }

    /// It answers, also those whom it let wait.
    pub(crate) fn open(&self) {
        self.shared.answers.set(true);
        self.shared.speaks.set(true);
    }

    /// Whether it fails from now on.
    pub(crate) fn fall_ill(&self, ill: bool) {
        self.shared.ill.store(ill, Ordering::SeqCst);
    }

    /// What it said of what it answered to the end.
    pub(crate) fn total(&self) -> Total {
        *self.shared.total.lock().unwrap()
    }

    /// How many requests came.
    pub(crate) fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// How many askers hung up before the end of their answer.
    pub(crate) fn hung_up(&self) -> usize {
        self.shared.hung_up.load(Ordering::SeqCst)
    }

    /// How often each was answered, by what was asked.
    pub(crate) fn words(&self) -> std::collections::BTreeMap<String, usize> {
        self.shared.words.lock().unwrap().clone()
    }
}

fn serve(shared: &Shared, mut stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut length, mut line) = (0, String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let header = line.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body: Value = serde_json::from_slice(&body)?;
    shared.asked.fetch_add(1, Ordering::SeqCst);
    shared.answers.pass();
    let said = if shared.ill.load(Ordering::SeqCst) {
        let text = r#"{"error":{"message":"I am ill","type":"server_error"}}"#;
        let length = text.len();
        let head = "HTTP/1.1 500 Ill\r\nconnection: close\r\ncontent-type: application/json";
        return write!(stream, "{head}\r\ncontent-length: {length}\r\n\r\n{text}");
    } else {
        answer(shared, &mut stream, &body)
    };
    match said {
        Ok(used) => {
            let mut total = shared.total.lock().unwrap();
            total.calls += 1;
            total.input += used.input;
            total.output += used.output;
            drop(total);
            let words = body["messages"][0]["content"].as_str().unwrap_or_default();
            *shared
                .words
                .lock()
                .unwrap()
                .entry(words.into())
                .or_default() += 1;
        }
        Err(_) => drop(shared.hung_up.fetch_add(1, Ordering::SeqCst)),
    }
    Ok(())
}

/// Says as many words as the question asks for, and that it read ten and one for each of its letters.
fn answer(shared: &Shared, stream: &mut TcpStream, body: &Value) -> std::io::Result<Total> {
    let words = body["messages"][0]["content"].as_str().unwrap_or_default();
    let number = words.rsplit(' ').next().and_then(|last| last.parse().ok());
    let used = Total {
        calls: 1,
        input: 10 + i64::try_from(words.len()).unwrap_or(0),
        output: number.unwrap_or(1),
    };
    let usage = json!({ "prompt_tokens": used.input, "completion_tokens": used.output,
        "total_tokens": used.input + used.output });
    if body["stream"] != true {
        let text = "word ".repeat(usize::try_from(used.output).unwrap_or(0));
        let message = json!({ "role": "assistant", "content": text });
        let text = json!({ "id": "a", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }],
            "usage": usage })
        .to_string();
        let length = text.len();
        let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json";
        write!(stream, "{head}\r\ncontent-length: {length}\r\n\r\n{text}")?;
        return Ok(used);
    }
    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\n\r\n";
    stream.write_all(head.as_bytes())?;
    let chunk = |choices: Value, usage: Value| {
        json!({ "id": "a", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": choices, "usage": usage })
    };
    for _ in 0..used.output {
        let delta = json!([{ "index": 0, "delta": { "role": "assistant", "content": "word " } }]);
        write!(stream, "data: {}\n\n", chunk(delta, Value::Null))?;
        shared.speaks.pass();
    }
    let end = json!([{ "index": 0, "delta": {}, "finish_reason": "stop" }]);
    write!(stream, "data: {}\n\n", chunk(end, Value::Null))?;
    write!(
        stream,
        "data: {}\n\ndata: [DONE]\n\n",
        chunk(json!([]), usage)
    )?;
    Ok(used)
}
