//! Placeholders: what stands in a text in place of a value, and which value that was.
//!
//! They are numbered in the order in which their values come in a conversation. A conversation is sent
//! again with each turn, and grows at its end, so the same value has the same placeholder in every turn.

use std::collections::HashMap;
use std::fmt;

use super::class::Class;

/// Values and what stands for them, of one call. It lives as long as the call does, and is never shown.
#[derive(Default)]
pub(crate) struct Vault {
    placeholders: HashMap<(Class, String), String>,
    /// What is turned back, by its placeholder.
    values: HashMap<String, String>,
    numbers: HashMap<Class, usize>,
    /// How long the longest placeholder is.
    longest: usize,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vault of {}", self.placeholders.len())
    }
}

impl Vault {
    /// What stands for a value; whether it is turned back later.
    pub(crate) fn placeholder(&mut self, class: Class, value: &str, returns: bool) -> &str {
        let key = (class, value.to_owned());
        let numbers = &mut self.numbers;
        let placeholder = self.placeholders.entry(key).or_insert_with(|| {
            let number = numbers.entry(class).or_default();
            *number += 1;
            format!("[{class}_{number}]")
        });
        if returns && !self.values.contains_key(placeholder) {
            self.longest = self.longest.max(placeholder.len());
            self.values.insert(placeholder.clone(), value.to_owned());
        }
        placeholder
    }

    /// Whether there is anything to be turned back.
    pub(crate) fn returns(&self) -> bool {
        !self.values.is_empty()
    }

    /// A text with the values in place of their placeholders; nothing where there are none. Values
    /// inside JSON are written as JSON writes texts.
    pub(crate) fn restored(&self, text: &str, json: bool) -> Option<String> {
        let (mut restored, mut copied, mut from) = (String::new(), 0, 0);
        while let Some(open) = text.get(from..)?.find('[').map(|at| from + at) {
            from = open + 1;
            let rest = text.get(open..)?;
            // Only as far as the longest placeholder reaches.
            let near = rest.bytes().take(self.longest);
            let end = near.enumerate().find(|(_, byte)| *byte == b']');
            let name = end.and_then(|(end, _)| rest.get(..=end));
            if let Some((name, value)) = name.and_then(|name| self.values.get_key_value(name)) {
                restored.push_str(text.get(copied..open)?);
                push(&mut restored, value, json);
                (copied, from) = (open + name.len(), open + name.len());
            }
        }
        if copied == 0 {
            return None;
        }
        restored.push_str(text.get(copied..)?);
        Some(restored)
    }

    /// How much of a text can be given out, because no placeholder that is cut begins in the rest.
    pub(crate) fn whole(&self, text: &str) -> usize {
        let Some(open) = text.rfind('[') else {
            return text.len();
        };
        let rest = text.get(open..).unwrap_or_default();
        let begun = rest.len() < self.longest && !rest.contains(']');
        if begun && self.values.keys().any(|name| name.starts_with(rest)) {
            open
        } else {
            text.len()
        }
    }
}

fn push(text: &mut String, value: &str, json: bool) {
    let written = serde_json::to_string(value).ok().filter(|_| json);
    let inside = written.as_deref().and_then(|all| all.get(1..all.len() - 1));
    text.push_str(inside.unwrap_or(value));
}

/// A value as it was before JSON wrote it inside a text.
pub(crate) fn unescaped(raw: &str) -> Option<String> {
    serde_json::from_str(&format!("\"{raw}\"")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault() -> Vault {
        let mut vault = Vault::default();
        for (value, name) in [("a@b.org", "[email_1]"), ("c@d.org", "[email_2]")] {
            assert_eq!(vault.placeholder(Class::Email, value, true), name);
        }
        assert_eq!(vault.placeholder(Class::Card, "4111", false), "[card_1]");
        assert_eq!(
            vault.placeholder(Class::Credential, "a\"b", true),
            "[credential_1]"
        );
        vault
    }

    #[test]
    fn the_same_value_has_the_same_placeholder_and_comes_back() {
        let mut vault = vault();
        assert_eq!(
            vault.placeholder(Class::Email, "a@b.org", true),
            "[email_1]"
        );
        let restored = |text: &str| vault.restored(text, false);
        assert_eq!(
            restored("to [email_1][email_2], [x] [email_9] [[email_1]").as_deref(),
            Some("to a@b.orgc@d.org, [x] [email_9] [a@b.org")
        );
        // What is only redacted stays so.
        assert_eq!(restored("[card_1] [email_3] ["), None);
        assert_eq!(format!("{vault:?}"), "Vault of 4");
    }

    #[test]
    fn values_inside_json_are_written_as_json_writes_them() {
        let restored = vault().restored(r#"{"p":"[credential_1]"}"#, true);
        assert_eq!(restored.as_deref(), Some(r#"{"p":"a\"b"}"#));
        assert_eq!(unescaped(r#"a\"b"#).as_deref(), Some("a\"b"));
    }

    #[test]
    fn a_placeholder_that_is_cut_is_held_back_and_nothing_else_is() {
        let vault = vault();
        for (text, given) in [
            ("to [ema", 3),
            ("to [", 3),
            ("to [email_1", 3),
            ("to [email_1]", 12),
            ("to [link", 8),
            ("to [card_", 9),
            ("an array[0", 10),
            ("", 0),
        ] {
            assert_eq!(vault.whole(text), given, "{text}");
        }
    }
}
