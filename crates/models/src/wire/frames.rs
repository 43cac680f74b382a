//! Amazon's event streams (Smithy, "Amazon event stream specification"): binary messages with
//! headers, a payload and two checksums. A message becomes an [`Event`] named after its type.

use serde_json::json;

use super::sse::{EVENT_MAX, Event};

/// The bytes before a message's headers: two lengths and their checksum.
const PRELUDE: usize = 12;

/// What a message has beside headers and payload: the prelude, and the checksum of it all.
const FRAME: usize = PRELUDE + 4;

/// The most bytes of a message's headers, as the specification says.
const HEADERS_MAX: usize = 128 * 1024;

/// The name of an event by which a server says that it failed.
pub(crate) const ERROR: &str = "error";

/// Why bytes are no messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A message says of itself that it is larger than [`EVENT_MAX`], or smaller than any can be.
    #[error("a message has an impossible length")]
    Length,
    /// A checksum is not that of what came.
    #[error("a message was changed on its way")]
    Checksum,
    /// The headers of a message are not what the specification says.
    #[error("a message has broken headers")]
    Headers,
    /// A payload is not UTF-8.
    #[error("a message is not UTF-8")]
    Encoding,
    /// The stream ended within a message.
    #[error("the last message is not whole")]
    Cut,
}

/// Cuts a stream of bytes into events; pieces may end anywhere.
#[derive(Debug, Default)]
pub struct Frames {
    /// What came and is no whole message yet.
    rest: Vec<u8>,
}

impl Frames {
    /// Takes the next bytes and gives the events that they complete.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<Event>) -> Result<(), FrameError> {
        self.rest.extend_from_slice(bytes);
        let mut rest = self.rest.as_slice();
        while let Some((message, more)) = split(rest)? {
            out.extend(event(message)?);
            rest = more;
        }
        let read = self.rest.len() - rest.len();
        self.rest.drain(..read);
        Ok(())
    }

    /// The stream was closed.
    pub fn close(&mut self) -> Result<(), FrameError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        self.rest.clear();
        Err(FrameError::Cut)
    }
}

/// A whole message, and what follows it.
type Split<'a> = (&'a [u8], &'a [u8]);

/// The first whole message. A length is believed only with its checksum.
fn split(bytes: &[u8]) -> Result<Option<Split<'_>>, FrameError> {
    let Some((prelude, _)) = bytes.split_at_checked(PRELUDE) else {
        return Ok(None);
    };
    let (lengths, sum) = prelude.split_at(8);
    if number(sum) != crc32(lengths) {
        return Err(FrameError::Checksum);
    }
    let (total, headers) = lengths.split_at(4);
    let (total, headers) = (length(total), length(headers));
    if total > EVENT_MAX || headers > HEADERS_MAX || headers + FRAME > total {
        return Err(FrameError::Length);
    }
    let Some((message, rest)) = bytes.split_at_checked(total) else {
        return Ok(None);
    };
    let (body, sum) = message.split_at(total - 4);
    if number(sum) != crc32(body) {
        return Err(FrameError::Checksum);
    }
    Ok(Some((message, rest)))
}

/// What a whole message says; nothing if it names no kind that is known.
fn event(message: &[u8]) -> Result<Option<Event>, FrameError> {
    let end = message.len() - 4;
    let headers = message.get(4..8).map_or(0, length) + PRELUDE;
    let said = message.get(PRELUDE..headers).ok_or(FrameError::Length)?;
    let payload = message.get(headers..end).ok_or(FrameError::Length)?;
    let texts = texts(said)?;
    let text = |name: &str| {
        let found = texts.iter().find(|(found, _)| *found == name);
        found.map(|(_, value)| *value)
    };
    let name = match text(":message-type") {
        Some("event") => text(":event-type"),
        Some("exception") => text(":exception-type"),
        Some("error") => {
            let code = text(":error-code").unwrap_or_default();
            let message = text(":error-message").unwrap_or(code);
            return Ok(Some(Event {
                name: Some(ERROR.to_owned()),
                data: json!({ "message": message }).to_string(),
            }));
        }
        _ => None,
    };
    let data = std::str::from_utf8(payload).map_err(|_| FrameError::Encoding)?;
    Ok(name.map(|name| Event {
        name: Some(name.to_owned()),
        data: data.to_owned(),
    }))
}

/// The headers whose value is a text.
fn texts(mut bytes: &[u8]) -> Result<Vec<(&str, &str)>, FrameError> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (name, value) = header(&mut bytes).ok_or(FrameError::Headers)?;
        found.extend(value.map(|value| (name, value)));
    }
    Ok(found)
}

/// Takes the next header off: its name, and its value if that is a text. Nothing if it is broken.
fn header<'a>(bytes: &mut &'a [u8]) -> Option<(&'a str, Option<&'a str>)> {
    let count = length(take(bytes, 1)?);
    let name = std::str::from_utf8(take(bytes, count)?).ok()?;
    let kind = length(take(bytes, 1)?);
    let count = match kind {
        // True, false, and numbers of 1, 2, 4 and 8 bytes.
        0 | 1 => 0,
        2 => 1,
        3 => 2,
        4 => 4,
        // The last is a time.
        5 | 8 => 8,
        // Bytes and a text say their length.
        6 | 7 => length(take(bytes, 2)?),
        // A UUID.
        9 => 16,
        _ => return None,
    };
    let value = take(bytes, count)?;
    if kind != 7 {
        return Some((name, None));
    }
    Some((name, Some(std::str::from_utf8(value).ok()?)))
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

fn number(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0, |sum, byte| (sum << 8) | u32::from(*byte))
}

fn length(bytes: &[u8]) -> usize {
    usize::try_from(number(bytes)).unwrap_or(usize::MAX)
}

/// CRC-32 as of gzip (RFC 1952).
fn crc32(bytes: &[u8]) -> u32 {
    let step = |sum: u32, byte: &u8| {
        let [low, ..] = sum.to_le_bytes();
        let entry = TABLE.get(usize::from(low ^ byte)).copied();
        entry.unwrap_or_default() ^ (sum >> 8)
    };
    !bytes.iter().fold(u32::MAX, step)
}

/// What eight steps of the division make of each byte.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "it is below 256")]
        let mut sum = index as u32;
        let mut step = 0;
        while step < 8 {
            let low = sum & 1;
            sum >>= 1;
            if low == 1 {
                sum ^= 0xedb8_8320;
            }
            step += 1;
        }
        table[index] = sum;
        index += 1;
    }
    table
};
