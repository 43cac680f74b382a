//! A provider's answer as it is being written: bytes become events, events become deltas.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use reqwest::Response;

use super::client::cause;
use super::place::Framing;
use super::{DeltaStream, ProviderError, Reason};
use crate::delta::Delta;
use crate::wire::StreamReader;
use crate::wire::frames::Frames;
use crate::wire::sse::{Event, Parser};

/// The most bytes of an answer.
pub(super) const BODY_MAX: usize = 64 * 1024 * 1024;

/// How long an answer may take in all.
pub(super) const ANSWER_MAX: Duration = Duration::from_hours(1);

/// A stream that is being read.
pub(super) struct Listening {
    body: BoxStream<'static, Result<Bytes, reqwest::Error>>,
    framing: Framing,
    parser: Parser,
    frames: Frames,
    line: Vec<u8>,
    reader: Box<dyn StreamReader>,
    silence: Duration,
    /// When it has taken too long, however much it says.
    ends: tokio::time::Instant,
    /// How much came.
    bytes: usize,
    ready: VecDeque<Event>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Over,
}

impl Listening {
    /// Begins to listen to an answer.
    pub(super) fn new(
        response: Response,
        framing: Framing,
        reader: Box<dyn StreamReader>,
        silence: Duration,
    ) -> Self {
        Self {
            body: response.bytes_stream().boxed(),
            framing,
            parser: Parser::default(),
            frames: Frames::default(),
            line: Vec::new(),
            reader,
            silence,
            ends: tokio::time::Instant::now() + ANSWER_MAX,
            bytes: 0,
            ready: VecDeque::new(),
            state: State::Open,
        }
    }

    /// What is new, until the end or an error.
    pub(super) fn deltas(self) -> DeltaStream {
        let deltas = stream::unfold(self, |mut listening| async move {
            let next = listening.next().await?;
            Some((next, listening))
        });
        deltas.boxed()
    }

    /// The next deltas; nothing after the end or an error.
    async fn next(&mut self) -> Option<Result<Vec<Delta>, ProviderError>> {
        if self.state == State::Over {
            return None;
        }
        let mut deltas = Vec::new();
        while deltas.is_empty() {
            if let Err(error) = self.more(&mut deltas).await {
                self.state = State::Over;
                return Some(Err(error));
            }
        }
        if deltas.last() == Some(&Delta::End) {
            self.state = State::Over;
        }
        Some(Ok(deltas))
    }

    async fn more(&mut self, out: &mut Vec<Delta>) -> Result<(), ProviderError> {
        if tokio::time::Instant::now() >= self.ends {
            let text = format!("the provider's answer does not end within {ANSWER_MAX:?}");
            return Err(ProviderError::new(Reason::Slow, text));
        }
        let next = tokio::time::timeout(self.silence, self.body.next()).await;
        let next = next.map_err(|_| {
            ProviderError::new(
                Reason::Slow,
                "the provider fell silent in the middle of its answer",
            )
        })?;
        let mut events = Vec::new();
        match next {
            Some(Ok(bytes)) => {
                self.bytes = self.bytes.saturating_add(bytes.len());
                if self.bytes > BODY_MAX {
                    return Err(broken(format_args!("it has more than {BODY_MAX} bytes")));
                }
                self.cut(&bytes, &mut events)?;
            }
            Some(Err(error)) => {
                let text = format!("the provider's answer broke off: {}", cause(&error));
                return Err(ProviderError::new(Reason::Broken, text));
            }
            None => {
                self.rest(&mut events)?;
                self.read(events, out)?;
                if out.last() != Some(&Delta::End) {
                    self.reader.close(out)?;
                }
                return Ok(());
            }
        }
        self.read(events, out)
    }

    fn read(&mut self, events: Vec<Event>, out: &mut Vec<Delta>) -> Result<(), ProviderError> {
        self.ready.extend(events);
        while let Some(event) = self.ready.pop_front() {
            self.reader.read(&event, out)?;
            if out.last() == Some(&Delta::End) {
                return Ok(());
            }
        }
        Ok(())
    }

    fn cut(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), ProviderError> {
        match self.framing {
            Framing::Events => self.parser.push(bytes, events).map_err(broken),
            Framing::Frames => self.frames.push(bytes, events).map_err(broken),
            Framing::Lines => {
                for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
                    self.line.extend_from_slice(piece);
                    if self.line.len() > crate::wire::sse::EVENT_MAX {
                        return Err(broken("a line is too long"));
                    }
                    if piece.ends_with(b"\n") {
                        self.rest(events)?;
                    }
                }
                Ok(())
            }
        }
    }

    /// What came and has no end of its own.
    fn rest(&mut self, events: &mut Vec<Event>) -> Result<(), ProviderError> {
        match self.framing {
            Framing::Events => return self.parser.close(events).map_err(broken),
            Framing::Frames => return self.frames.close().map_err(broken),
            Framing::Lines => {}
        }
        let line = std::mem::take(&mut self.line);
        let data = String::from_utf8(line).map_err(|_| broken("a line is not UTF-8"))?;
        if !data.trim().is_empty() {
            events.push(Event { name: None, data });
        }
        Ok(())
    }
}

fn broken(why: impl std::fmt::Display) -> ProviderError {
    ProviderError::new(
        Reason::Broken,
        format!("the provider's stream is broken: {why}"),
    )
}
