//! Reads server-sent events (WHATWG HTML, 9.2) out of the pieces in which they arrive.

use std::collections::VecDeque;

/// The most bytes of one event; an entry's payload is the largest thing that comes.
const EVENT_BYTES_MAX: usize = 64 << 20;

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// Its position, as text.
    pub id: String,
    /// Its name; an entry's kind.
    pub name: String,
    /// Its content; an entry as JSON.
    pub data: String,
}

/// An event larger than is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than {EVENT_BYTES_MAX} bytes")]
pub(crate) struct TooLarge;

/// Pieces of bytes on their way to being events.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    partial: Vec<u8>,
    event: Event,
    any_data: bool,
    ready: VecDeque<Event>,
}

impl Lines {
    /// Takes the next piece.
    pub(crate) fn take(&mut self, piece: &[u8]) -> Result<(), TooLarge> {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            if self.partial.len() + self.event.data.len() + part.len() > EVENT_BYTES_MAX {
                return Err(TooLarge);
            }
            self.partial.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.partial);
                let line = String::from_utf8_lossy(&line);
                self.line(line.trim_end_matches(['\n', '\r']));
            }
        }
        Ok(())
    }

    /// The next whole event.
    pub(crate) fn next(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    fn line(&mut self, line: &str) {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            if std::mem::take(&mut self.any_data) {
                self.ready.push_back(event);
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => value.clone_into(&mut self.event.id),
            "event" => value.clone_into(&mut self.event.name),
            "data" => {
                if std::mem::replace(&mut self.any_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            // Comments (an empty field) keep the connection alive; other fields mean nothing here.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "id: 0\nevent: run_started\ndata: {\"a\":1}\n\n: alive\n\nid: 1\r\n\
                        event: step_completed\r\ndata: one\r\ndata:two\r\n\r\nid: 2\ndata: part";

    fn events(pieces: &[&[u8]]) -> Vec<Event> {
        let mut lines = Lines::default();
        for piece in pieces {
            lines.take(piece).unwrap();
        }
        std::iter::from_fn(|| lines.next()).collect()
    }

    #[test]
    fn events_are_the_same_however_they_are_cut() {
        let whole = events(&[TEXT.as_bytes()]);
        assert_eq!(whole.len(), 2, "{whole:?}");
        assert_eq!((&*whole[0].id, &*whole[0].data), ("0", "{\"a\":1}"));
        assert_eq!(
            (&*whole[1].name, &*whole[1].data),
            ("step_completed", "one\ntwo")
        );
        for cut in 0..TEXT.len() {
            let (one, two) = TEXT.as_bytes().split_at(cut);
            assert_eq!(events(&[one, two]), whole, "cut at {cut}");
        }
    }
}
