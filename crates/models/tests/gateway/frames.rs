//! Messages of Amazon's event streams, as the specification says them, and broken ones.

use matrix_models::wire::frames::{FrameError, Frames};
use matrix_models::wire::sse::Event;
use serde_json::Value;

/// CRC-32 as of gzip, one bit after the other.
fn crc32(bytes: &[u8]) -> [u8; 4] {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            let mask = (sum & 1).wrapping_neg();
            sum = (sum >> 1) ^ (0xedb8_8320 & mask);
        }
    }
    (!sum).to_be_bytes()
}

fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap().to_be_bytes()
}

/// A message with these headers and this payload.
fn message(headers: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut all = length(16 + headers.len() + payload.len()).to_vec();
    all.extend(length(headers.len()));
    all.extend(crc32(&all));
    all.extend(headers);
    all.extend(payload);
    all.extend(crc32(&all));
    all
}

fn header(name: &str, value: &str) -> Vec<u8> {
    let mut all = vec![u8::try_from(name.len()).unwrap()];
    all.extend(name.as_bytes());
    all.push(7);
    all.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
    all.extend(value.as_bytes());
    all
}

/// The message that a line of a transcript tells of.
pub(crate) fn frame(line: &str) -> Vec<u8> {
    let line: Value = serde_json::from_str(line).unwrap();
    let mut headers = Vec::new();
    for (name, kind) in [(":event-type", "event"), (":exception-type", "exception")] {
        if let Some(word) = line[name].as_str() {
            headers.extend(header(name, word));
            headers.extend(header(":content-type", "application/json"));
            headers.extend(header(":message-type", kind));
        }
    }
    message(&headers, line["payload"].to_string().as_bytes())
}

fn read(pieces: &[&[u8]]) -> Result<Vec<Event>, FrameError> {
    let (mut frames, mut events) = (Frames::default(), Vec::new());
    for piece in pieces {
        frames.push(piece, &mut events)?;
    }
    frames.close()?;
    Ok(events)
}

fn event(name: &str, data: &str) -> Event {
    Event {
        name: Some(name.to_owned()),
        data: data.to_owned(),
    }
}

#[test]
fn published_messages_are_whole() {
    let bytes = |text: &str| {
        let pairs = text
            .as_bytes()
            .chunks(2)
            .map(|pair| std::str::from_utf8(pair).unwrap());
        let numbers = pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap());
        numbers.collect::<Vec<u8>>()
    };
    // The vectors of aws-c-event-stream: nothing, a payload, a payload and a header.
    for text in [
        "000000100000000005c248eb7d98c8ff",
        "0000001d00000000fd528c5a7b27666f6f273a27626172277dc3653936",
        "0000003d0000002007fd83960c636f6e74656e742d747970650700106170706c69636174696f6e2f6a736f6e7b27\
         666f6f273a27626172277d8d9c08b1",
    ] {
        let text: String = text.split_whitespace().collect();
        // They have no type, so they say nothing.
        assert_eq!(read(&[&bytes(&text)]), Ok(Vec::new()), "{text}");
    }
}

#[test]
fn events_exceptions_and_errors_are_told_apart() {
    let mut all = frame(r#"{":event-type":"messageStart","payload":{"role":"assistant"}}"#);
    all.extend(frame(
        r#"{":exception-type":"validationException","payload":{"message":"No."}}"#,
    ));
    let mut headers = header(":message-type", "error");
    headers.extend(header(":error-code", "InternalError"));
    headers.extend(header(":error-message", "It broke."));
    all.extend(message(&headers, b""));
    let expected = [
        event("messageStart", r#"{"role":"assistant"}"#),
        event("validationException", r#"{"message":"No."}"#),
        event("error", r#"{"message":"It broke."}"#),
    ];
    assert_eq!(read(&[&all]).unwrap(), expected);
    for cut in 0..all.len() {
        let (one, two) = all.split_at(cut);
        assert_eq!(read(&[one, two]).unwrap(), expected, "{cut}");
        let whole = cut == 0 || read(&[one]).is_ok();
        assert_eq!(read(&[one]).err().is_none(), whole);
    }
    let each: Vec<&[u8]> = all.chunks(1).collect();
    assert_eq!(read(&each).unwrap(), expected);
}

#[test]
fn headers_of_every_kind_are_passed_over() {
    let mut headers = Vec::new();
    for (kind, size) in [
        (0, 0),
        (1, 0),
        (2, 1),
        (3, 2),
        (4, 4),
        (5, 8),
        (8, 8),
        (9, 16),
    ] {
        headers.extend([1, b'x', kind]);
        headers.extend(vec![7; size]);
    }
    headers.extend([1, b'x', 6, 0, 3, 1, 2, 3]);
    headers.extend(header(":message-type", "event"));
    headers.extend(header(":event-type", "ping"));
    assert_eq!(
        read(&[&message(&headers, b"{}")]).unwrap(),
        [event("ping", "{}")]
    );
}

#[test]
fn a_change_of_any_byte_is_seen() {
    let whole = frame(r#"{":event-type":"messageStart","payload":{"role":"assistant"}}"#);
    for place in 0..whole.len() {
        let mut changed = whole.clone();
        changed[place] ^= 0x20;
        let refused = read(&[&changed]);
        assert_eq!(refused, Err(FrameError::Checksum), "{place}");
    }
    for cut in 1..whole.len() {
        assert_eq!(read(&[&whole[..cut]]), Err(FrameError::Cut), "{cut}");
    }
}

/// A prelude whose checksum is right.
fn prelude(total: usize, headers: usize) -> Vec<u8> {
    let mut all = length(total).to_vec();
    all.extend(length(headers));
    all.extend(crc32(&all));
    all
}

#[test]
fn impossible_lengths_are_refused_before_anything_is_waited_for() {
    for (total, headers) in [
        (0, 0),
        (15, 0),
        (16, 1),
        (100, 85),
        (9 * 1024 * 1024, 0),
        (1024 * 1024, 200 * 1024),
        (u32::MAX as usize, 0),
    ] {
        let refused = read(&[&prelude(total, headers)]);
        assert_eq!(refused, Err(FrameError::Length), "{total} {headers}");
    }
}

#[test]
fn broken_headers_and_payloads_are_refused() {
    for headers in [
        &[5, b'x'][..],
        &[1, b'x'],
        &[1, b'x', 10],
        &[1, b'x', 4, 0],
        &[1, b'x', 7, 0, 9, b'y'],
        &[1, b'x', 7, 0, 1, 0xff],
        &[1, 0xff, 0],
    ] {
        let refused = read(&[&message(headers, b"{}")]);
        assert_eq!(refused, Err(FrameError::Headers), "{headers:?}");
    }
    let mut headers = header(":message-type", "event");
    headers.extend(header(":event-type", "x"));
    let refused = read(&[&message(&headers, b"\xff")]);
    assert_eq!(refused, Err(FrameError::Encoding));
}
