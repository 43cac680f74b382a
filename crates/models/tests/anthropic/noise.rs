//! Whatever comes, nothing breaks.

use matrix_models::chat::{ChatRequest, Opaque, Part, Protocol};
use matrix_models::delta::deltas;
use matrix_models::wire::sse::Event;
use matrix_models::wire::{ClientWire, ProviderWire};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{ANSWERS, WIRE, answer, assembled, file, read, streamed, value};

/// JSON whose names and words are those of the protocol, in the wrong places.
fn noise() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "type",
        "text",
        "thinking",
        "signature",
        "matrix1.e30",
        "tool_use",
        "tool_result",
        "image",
        "document",
        "source",
        "base64",
        "redacted_thinking",
        "input",
        "content",
        "index",
        "delta",
        "content_block",
        "message",
        "usage",
        "role",
        "user",
        "assistant",
        "system",
        "messages",
        "model",
        "tools",
        "tool_choice",
        "name",
        "id",
        "enabled",
        "output_config",
        "format",
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "error",
        "text_delta",
        "input_json_delta",
        "{\"a\":",
        "partial_json",
        "stop_reason",
        "citations_delta",
        "extra_content",
        "anthropic",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0_u64..3).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((word.clone(), inner), 0..7).prop_map(|fields| {
                let fields = fields
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value));
                Value::Object(fields.collect())
            }),
        ]
    })
}

/// A transcript with one value in it replaced.
fn spoilt(mut whole: Value, at: usize, with: Value) -> Value {
    let (mut places, mut stack) = (Vec::new(), vec![String::new()]);
    while let Some(place) = stack.pop() {
        match whole.pointer(&place) {
            Some(Value::Object(map)) => {
                stack.extend(map.keys().map(|name| format!("{place}/{name}")));
            }
            Some(Value::Array(list)) => {
                stack.extend((0..list.len()).map(|index| format!("{place}/{index}")));
            }
            _ => {}
        }
        places.push(place);
    }
    let place = &places[at % places.len()];
    if let Some(slot) = whole.pointer_mut(place) {
        *slot = with;
    }
    whole
}

fn survive(body: &Value) {
    if let Ok(answer) = WIRE.decode(body.clone()) {
        let _written = ClientWire::answer(&WIRE, &answer, 0);
        let _streamed = streamed(&deltas(&answer));
    }
    if let Ok(asked) = WIRE.asked(body.clone()) {
        let _encoded = WIRE.encode(&asked.request, true);
        let other = ChatRequest {
            protocol: Some(Protocol::Gemini),
            ..asked.request
        };
        let _encoded = WIRE.encode(&other, false);
    }
    let _error = WIRE.error(body);
}

/// Parts of an answer from anywhere.
fn said() -> impl Strategy<Value = Part> {
    let opaque = prop_oneof![
        Just(Opaque::default()),
        "[a-z]{1,8}".prop_map(|text| Opaque::default().with("google", "proof", text.into())),
        "[a-z]{1,8}".prop_map(|text| Opaque::default().with("openai", "proof", text.into())),
    ];
    prop_oneof![
        (".{0,20}", opaque.clone()).prop_map(|(text, opaque)| Part::Text { text, opaque }),
        (".{0,20}", opaque.clone()).prop_map(|(text, opaque)| Part::Reasoning { text, opaque }),
        (".{0,8}", ".{0,8}", any::<i64>(), opaque).prop_map(|(id, text, number, opaque)| {
            Part::ToolCall {
                id,
                name: "look".into(),
                arguments: json!({ "a b": text, "n": [number, null] }).to_string(),
                opaque,
            }
        }),
        any::<i64>().prop_map(|number| Part::Other {
            protocol: Protocol::Anthropic,
            value: json!({ "type": "server_tool_use", "input": { "n": number } }),
        }),
    ]
}

proptest! {
    #[test]
    fn any_answer_is_written_so_that_it_can_be_read(
        parts in prop::collection::vec(said(), 0..6),
    ) {
        let whole = answer(parts);
        prop_assert_eq!(&WIRE.decode(ClientWire::answer(&WIRE, &whole, 0)).unwrap(), &whole);
        let events = crate::events(&streamed(&deltas(&whole)));
        prop_assert_eq!(&assembled(&read(&events).unwrap()), &whole);
    }

    #[test]
    fn nothing_that_comes_breaks_anything(
        noise in noise(),
        events in prop::collection::vec(noise(), 0..6),
        at in any::<usize>(),
        which in 0..ANSWERS.len(),
    ) {
        survive(&noise);
        survive(&spoilt(value("request.json"), at, noise.clone()));
        survive(&spoilt(value(&format!("{}.json", ANSWERS[which])), at, noise.clone()));
        let mut stream = crate::events(file(&format!("{}.sse", ANSWERS[which])).as_bytes());
        let place = at % stream.len();
        let data = serde_json::from_str(&stream[place].data).unwrap();
        stream[place].data = spoilt(data, at / 7, noise).to_string();
        let loose = events.iter().map(|data| Event { name: None, data: data.to_string() });
        let at = at % (stream.len() + 1);
        let mut mixed = stream.clone();
        mixed.splice(at..at, loose);
        for stream in [&stream, &mixed] {
            let (mut reader, mut out) = (WIRE.reader(), Vec::new());
            for event in stream {
                let _read = reader.read(event, &mut out);
            }
            let _closed = reader.close(&mut out);
            let _written = streamed(&out);
        }
    }
}
