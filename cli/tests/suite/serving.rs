//! `matrix serve`, and a client that sends what it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread::JoinHandle;

use rustix::process::Signal;
use serde_json::Value;

use crate::site::{Done, Site, Started, start};

/// `matrix serve` on a port of its own.
pub(crate) struct Serving {
    started: Started,
    said: JoinHandle<Vec<String>>,
    pub(crate) address: String,
}

impl Serving {
    pub(crate) fn start(site: &Site) -> Self {
        Self::by(site.command(&["serve", "--listen", "127.0.0.1:0"]))
    }

    /// The server that a command starts.
    pub(crate) fn by(command: Command) -> Self {
        let mut started = start(command);
        let mut lines = BufReader::new(started.take_stderr()).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("listening on http://").map(str::to_owned));
        // Whoever writes to a pipe that nobody reads gets stuck.
        let said = std::thread::spawn(move || lines.map_while(Result::ok).collect());
        let address = address.unwrap_or_else(|| panic!("the server ended early"));
        Self {
            started,
            said,
            address,
        }
    }

    /// The status and body of a request.
    pub(crate) fn ask(&self, verb: &str, path: &str, token: &str, body: &str) -> (u16, Value) {
        let answer = self.send(verb, path, token, &[], body);
        answer.unwrap_or_else(|| panic!("no answer to {verb} {path}"))
    }

    /// The status and body of a request with more headers, which win over the usual ones; nothing
    /// if the server hung up.
    pub(crate) fn send(
        &self,
        verb: &str,
        path: &str,
        token: &str,
        more: &[(&str, &str)],
        body: &str,
    ) -> Option<(u16, Value)> {
        let (length, authorization) = (body.len().to_string(), format!("Bearer {token}"));
        let mut headers = vec![
            ("Host", &*self.address),
            ("Authorization", &authorization),
            ("Content-Type", "application/json"),
            ("Content-Length", &length),
            ("Connection", "close"),
        ];
        headers.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
        headers.extend(more);
        let lines: Vec<String> = headers
            .into_iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let head = lines.concat();
        let mut stream = TcpStream::connect(&self.address).unwrap();
        // What is too large is answered before it is read to its end; the answer is there all the same.
        drop(write!(stream, "{verb} {path} HTTP/1.1\r\n{head}\r\n{body}"));
        let mut answer = Vec::new();
        // A reset is a hang-up too.
        drop(stream.read_to_end(&mut answer));
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Some((status, serde_json::from_str(body).unwrap_or(Value::Null)))
    }

    pub(crate) fn decide(&self, approval: &str, verb: &str, token: &str) -> (u16, Value) {
        let path = format!("/api/v1/approvals/{approval}/{verb}");
        self.ask("POST", &path, token, "{\"reason\": \"looked at it\"}")
    }

    /// The body of an answer that is no JSON.
    pub(crate) fn text(&self, path: &str, token: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let (host, token) = (&self.address, format!("Bearer {token}"));
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {token}\r\n\
             Connection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        body.to_owned()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        self.started.signal(signal);
    }

    /// Asks it to end and waits until it has.
    pub(crate) fn stopped(self) -> Done {
        self.started.signal(Signal::TERM);
        self.ended()
    }

    /// Ends it in order.
    pub(crate) fn end(self) {
        self.started.signal(Signal::TERM);
        self.started.end().expect(0);
    }

    /// Kills it.
    pub(crate) fn kill(self) {
        self.started.signal(Signal::KILL);
        self.started.end_killed();
    }

    /// Waits for an end that nobody asked for.
    pub(crate) fn ended(self) -> Done {
        let mut done = self.started.end();
        done.err += &self.said.join().unwrap().join("\n");
        done
    }
}
