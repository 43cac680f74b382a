//! Arguments of a call: where a protocol wants them as an object, and where they come in pieces.

use serde_json::{Map, Value};

/// The arguments as an object. A model errs at times: what it wrote instead goes under a name of its
/// own, so that the conversation goes on and the model sees what it did.
pub(crate) fn object(arguments: &str) -> Value {
    if arguments.trim().is_empty() {
        return Value::Object(Map::new());
    }
    if let Ok(Value::Object(map)) = serde_json::from_str(arguments) {
        return Value::Object(map);
    }
    let mut map = Map::new();
    map.insert("arguments".into(), arguments.into());
    Value::Object(map)
}

/// Leaves out the space between the words of JSON that comes in pieces: an answer that comes as a
/// whole has none, and both must be the same.
#[derive(Debug, Default)]
pub(crate) struct Compact {
    quoted: bool,
    escaped: bool,
}

impl Compact {
    /// The next piece, without that space.
    pub(crate) fn push(&mut self, piece: &str) -> String {
        let mut out = String::with_capacity(piece.len());
        for letter in piece.chars() {
            if !self.quoted && matches!(letter, ' ' | '\t' | '\n' | '\r') {
                continue;
            }
            out.push(letter);
            if self.escaped {
                self.escaped = false;
            } else if self.quoted && letter == '\\' {
                self.escaped = true;
            } else if letter == '"' {
                self.quoted = !self.quoted;
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::object;

    #[test]
    fn what_a_model_wrote_wrongly_is_not_lost() {
        assert_eq!(object(r#"{"city":"Paris"}"#), json!({ "city": "Paris" }));
        assert_eq!(object(" "), json!({}));
        assert_eq!(object("[1]"), json!({ "arguments": "[1]" }));
        assert_eq!(object("{\"a\":"), json!({ "arguments": "{\"a\":" }));
    }
}
