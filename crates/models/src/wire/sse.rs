//! Server-sent events (WHATWG HTML, "Server-sent events"), as model providers use them.

use super::WireError;

/// The most bytes of one event; a provider that sends more is not listened to.
pub const EVENT_MAX: usize = 8 * 1024 * 1024;

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Its data; lines are joined by a newline.
    pub data: String,
}

impl Event {
    /// Its data as JSON.
    pub(crate) fn json(&self) -> Result<serde_json::Value, WireError> {
        serde_json::from_str(&self.data)
            .map_err(|error| WireError::invalid("", format!("is no JSON: {error}")))
    }
}

/// Why bytes are no events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// They are not UTF-8.
    #[error("an event is not UTF-8")]
    Encoding,
    /// One is larger than [`EVENT_MAX`].
    #[error("an event is larger than {EVENT_MAX} bytes")]
    TooLarge,
}

/// Cuts a stream of bytes into events; pieces may end anywhere.
#[derive(Debug, Default)]
pub struct Parser {
    /// What came and is no whole line yet.
    rest: Vec<u8>,
    /// Whether the last line ended with a carriage return, to which a newline may belong.
    returned: bool,
    begun: bool,
    name: Option<String>,
    data: String,
    any: bool,
}

impl Parser {
    /// Takes the next bytes and gives the events that they complete.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<Event>) -> Result<(), SseError> {
        let mut bytes = bytes;
        while let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let (line, after) = bytes.split_at(end);
            let ending = after.first().copied();
            bytes = after.get(1..).unwrap_or_default();
            if ending == Some(b'\n') && self.returned && line.is_empty() && self.rest.is_empty() {
                self.returned = false;
                continue;
            }
            self.returned = ending == Some(b'\r');
            if self.rest.is_empty() {
                self.line(line, out)?;
            } else {
                self.rest.extend_from_slice(line);
                let whole = std::mem::take(&mut self.rest);
                self.line(&whole, out)?;
            }
        }
        if !bytes.is_empty() {
            self.returned = false;
            self.rest.extend_from_slice(bytes);
        }
        self.check()
    }

    /// The stream was closed; an event that no empty line has ended is given, too, because some
    /// servers leave the last one out.
    pub fn close(&mut self, out: &mut Vec<Event>) -> Result<(), SseError> {
        let rest = std::mem::take(&mut self.rest);
        if !rest.is_empty() {
            self.line(&rest, out)?;
        }
        self.dispatch(out);
        Ok(())
    }

    fn check(&self) -> Result<(), SseError> {
        if self.rest.len() + self.data.len() > EVENT_MAX {
            return Err(SseError::TooLarge);
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8], out: &mut Vec<Event>) -> Result<(), SseError> {
        let line = std::str::from_utf8(line).map_err(|_| SseError::Encoding)?;
        let mark = if self.begun {
            None
        } else {
            line.strip_prefix('\u{feff}')
        };
        let line = mark.unwrap_or(line);
        self.begun = true;
        if line.is_empty() {
            self.dispatch(out);
            return Ok(());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.name = Some(value.to_owned()),
            "data" => {
                if self.any {
                    self.data.push('\n');
                }
                self.any = true;
                self.data.push_str(value);
            }
            // Comments, ids and times to wait are for browsers.
            _ => {}
        }
        self.check()
    }

    fn dispatch(&mut self, out: &mut Vec<Event>) {
        let name = self.name.take();
        let data = std::mem::take(&mut self.data);
        if std::mem::take(&mut self.any) {
            out.push(Event { name, data });
        }
    }
}

/// Writes an event.
pub(crate) fn write(out: &mut Vec<u8>, name: Option<&str>, data: &serde_json::Value) {
    if let Some(name) = name {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
    // A value in memory is always JSON, and JSON has no newlines of its own.
    let _written: Result<(), serde_json::Error> = serde_json::to_writer(&mut *out, data);
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(pieces: &[&[u8]]) -> Vec<Event> {
        let (mut parser, mut out) = (Parser::default(), Vec::new());
        for piece in pieces {
            parser.push(piece, &mut out).unwrap();
        }
        parser.close(&mut out).unwrap();
        out
    }

    fn event(name: Option<&str>, data: &str) -> Event {
        Event {
            name: name.map(str::to_owned),
            data: data.to_owned(),
        }
    }

    #[test]
    fn events_are_read_as_the_standard_says() {
        let text =
            b"\xef\xbb\xbf: hello\nevent: a\ndata: one\ndata:two\n\nid: 7\n\ndata\n\ndata: last";
        assert_eq!(
            parsed(&[text]),
            [
                event(Some("a"), "one\ntwo"),
                event(None, ""),
                event(None, "last")
            ]
        );
    }

    #[test]
    fn an_event_that_never_ends_is_not_kept_for_ever() {
        let mut parser = Parser::default();
        let piece = vec![b'x'; 1024 * 1024];
        let mut out = Vec::new();
        let refused = (0..=9).find_map(|_| parser.push(&piece, &mut out).err());
        assert_eq!(refused, Some(SseError::TooLarge));
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        let mut out = Vec::new();
        let refused = Parser::default().push(b"data: \xff\n", &mut out);
        assert_eq!(refused, Err(SseError::Encoding));
    }

    proptest! {
        #[test]
        fn where_the_pieces_end_does_not_matter(
            lines in proptest::collection::vec("(data: |event: |: )?[a-zä ]{0,6}(\n|\r\n|\r)", 0..20),
            cuts in proptest::collection::vec(0_usize..200, 0..12),
        ) {
            let text = lines.concat();
            let whole = parsed(&[text.as_bytes()]);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            cuts.push(text.len());
            let (mut pieces, mut from) = (Vec::new(), 0);
            for cut in cuts {
                pieces.push(&text.as_bytes()[from..cut]);
                from = cut;
            }
            prop_assert_eq!(parsed(&pieces), whole);
        }
    }
}
