//! Environment markers (the dependency specifiers' specification, once PEP 508): whether a
//! requirement counts on this machine.
//!
//! `python_version < "3.9" and sys_platform == "win32"` is decided with what the machine's own
//! interpreter says about itself. A marker that is not understood is neither true nor false.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use matrix_evidence::osv::compare_python;

/// The deepest parentheses, and the most comparisons in one marker.
const MAX_DEPTH: usize = 32;
const MAX_TOKENS: usize = 4_096;

/// What an interpreter says about itself: the markers' variables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Environment(pub(super) BTreeMap<String, String>);

/// Prints every variable as JSON.
pub(super) const ASK: &str = "import json, os, platform, sys; v = sys.version_info; \
    i = sys.implementation.version; print(json.dumps({ \
    'os_name': os.name, 'sys_platform': sys.platform, \
    'platform_machine': platform.machine(), 'platform_system': platform.system(), \
    'platform_release': platform.release(), 'platform_version': platform.version(), \
    'platform_python_implementation': platform.python_implementation(), \
    'python_version': '%d.%d' % v[:2], 'python_full_version': platform.python_version(), \
    'implementation_name': sys.implementation.name, \
    'implementation_version': '%d.%d.%d' % i[:3]}))";

impl Environment {
    /// What [`ASK`] printed.
    pub(super) fn read(answer: &str) -> Option<Self> {
        serde_json::from_str(answer).ok().map(Self)
    }

    /// A variable; empty when the interpreter did not say.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Whether a marker holds, with these extras asked for; nothing when it is not understood.
    pub(super) fn holds(&self, marker: &str, extras: &[String]) -> Option<bool> {
        let tokens = tokens(marker)?;
        let mut reading = Reading {
            tokens: &tokens,
            environment: self,
            extras,
        };
        let value = reading.any(0)?;
        reading.tokens.is_empty().then_some(value)
    }

    /// Whether this interpreter is of the versions that a list like `>=3.8,<4` allows; nothing
    /// when it is not understood.
    pub(super) fn allows(&self, versions: &str) -> Option<bool> {
        within(self.get("python_full_version"), versions)
    }
}

/// Whether a version is one of those that a list like `>=3.8,<4` allows; nothing when the list is
/// not understood.
pub(super) fn within(mine: &str, versions: &str) -> Option<bool> {
    let mut all = true;
    for part in versions.split(',').map(str::trim) {
        if part.is_empty() || part == "*" {
            continue;
        }
        let at = part.find(|c: char| !"<>=!~".contains(c))?;
        let (operator, version) = part.split_at(at);
        all &= compare(
            mine,
            if operator.is_empty() { "==" } else { operator },
            version.trim(),
        )?;
    }
    Some(all)
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Open,
    Close,
    Operator(String),
    Word(String),
    Text(String),
}

fn tokens(marker: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = marker.trim_start();
    while let Some(first) = rest.chars().next() {
        if tokens.len() >= MAX_TOKENS {
            return None;
        }
        let (token, length) = match first {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '\'' | '"' => {
                let end = rest.get(1..)?.find(first)?;
                (Token::Text(rest.get(1..=end)?.to_owned()), end + 2)
            }
            '<' | '>' | '=' | '!' | '~' => {
                let end = rest.find(|c| !"<>=!~".contains(c)).unwrap_or(rest.len());
                (Token::Operator(rest.get(..end)?.to_owned()), end)
            }
            _ => {
                let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
                let end = rest.find(|c| !inner(c)).unwrap_or(rest.len());
                if end == 0 {
                    return None;
                }
                (Token::Word(rest.get(..end)?.to_owned()), end)
            }
        };
        tokens.push(token);
        rest = rest.get(length..)?.trim_start();
    }
    Some(tokens)
}

struct Reading<'a> {
    tokens: &'a [Token],
    environment: &'a Environment,
    extras: &'a [String],
}

/// One side of a comparison.
enum Value {
    Text(String),
    Extra,
}

impl Reading<'_> {
    fn take(&mut self) -> Option<&Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = matches!(self.tokens.first(), Some(Token::Word(found)) if found == word);
        if found {
            self.tokens = &self.tokens[1..];
        }
        found
    }

    fn any(&mut self, depth: usize) -> Option<bool> {
        let mut value = self.all(depth)?;
        while self.take_word("or") {
            value |= self.all(depth)?;
        }
        Some(value)
    }

    fn all(&mut self, depth: usize) -> Option<bool> {
        let mut value = self.one(depth)?;
        while self.take_word("and") {
            value &= self.one(depth)?;
        }
        Some(value)
    }

    fn one(&mut self, depth: usize) -> Option<bool> {
        if depth > MAX_DEPTH {
            return None;
        }
        if self.tokens.first() == Some(&Token::Open) {
            self.take();
            let value = self.any(depth + 1)?;
            return (self.take() == Some(&Token::Close)).then_some(value);
        }
        let left = self.value()?;
        let operator = match self.take()?.clone() {
            Token::Operator(operator) => operator,
            Token::Word(word) if word == "in" => word,
            Token::Word(word) if word == "not" && self.take_word("in") => String::from("not in"),
            _ => return None,
        };
        match (left, self.value()?) {
            (Value::Text(left), Value::Text(right)) => compare(&left, &operator, &right),
            (Value::Extra, Value::Text(name)) | (Value::Text(name), Value::Extra) => {
                let asked = self.extras.iter().any(|extra| same(extra, &name));
                match operator.as_str() {
                    "==" => Some(asked),
                    "!=" => Some(!asked),
                    _ => None,
                }
            }
            (Value::Extra, Value::Extra) => None,
        }
    }

    fn value(&mut self) -> Option<Value> {
        let environment = self.environment;
        match self.take()? {
            Token::Text(text) => Some(Value::Text(text.clone())),
            Token::Word(word) if word == "extra" => Some(Value::Extra),
            Token::Word(word) => environment.0.get(word).cloned().map(Value::Text),
            _ => None,
        }
    }
}

/// Whether two names of extras are one.
fn same(a: &str, b: &str) -> bool {
    let normal = |text: &str| text.to_ascii_lowercase().replace(['_', '.'], "-");
    normal(a) == normal(b)
}

/// Versions are compared as versions where both sides are, everything else as text.
fn compare(left: &str, operator: &str, right: &str) -> Option<bool> {
    match operator {
        "in" => return Some(right.contains(left)),
        "not in" => return Some(!right.contains(left)),
        "===" => return Some(left == right),
        _ => {}
    }
    if let Some(prefix) = right.strip_suffix(".*") {
        let inside = begins_with(left, prefix);
        return match operator {
            "==" => Some(inside),
            "!=" => Some(!inside),
            _ => None,
        };
    }
    let order = compare_python(left, right);
    if operator == "~=" {
        let (prefix, _) = right.rsplit_once('.')?;
        return Some(order? != Ordering::Less && begins_with(left, prefix));
    }
    let order = match (order, operator) {
        (Some(order), _) => order,
        (None, "==" | "!=") => left.cmp(right),
        (None, _) => return None,
    };
    match operator {
        "==" => Some(order == Ordering::Equal),
        "!=" => Some(order != Ordering::Equal),
        "<" => Some(order == Ordering::Less),
        "<=" => Some(order != Ordering::Greater),
        ">" => Some(order == Ordering::Greater),
        ">=" => Some(order != Ordering::Less),
        _ => None,
    }
}

fn begins_with(version: &str, prefix: &str) -> bool {
    version
        .strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `CPython` 3.11.7 on Linux.
    pub(in super::super) fn linux() -> Environment {
        let variables = [
            ("os_name", "posix"),
            ("sys_platform", "linux"),
            ("platform_machine", "x86_64"),
            ("platform_system", "Linux"),
            ("platform_python_implementation", "CPython"),
            ("python_version", "3.11"),
            ("python_full_version", "3.11.7"),
            ("implementation_name", "cpython"),
        ];
        Environment(
            variables
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        )
    }

    #[test]
    fn markers_mean_what_the_specification_says() {
        for (marker, expected) in [
            ("sys_platform == 'win32'", Some(false)),
            ("sys_platform != \"win32\"", Some(true)),
            ("python_version >= '3.9'", Some(true)),
            ("python_version < '3.9'", Some(false)),
            ("python_full_version < '3.11.8'", Some(true)),
            ("'3.8' <= python_version", Some(true)),
            ("python_version ~= '3.8'", Some(true)),
            ("python_version == '3.*'", Some(true)),
            ("python_version == '3.1'", Some(false)),
            ("python_version in '3.10 3.11'", Some(true)),
            ("'linux' not in sys_platform", Some(false)),
            (
                "os_name == 'nt' or python_version > '3' and os_name == 'posix'",
                Some(true),
            ),
            (
                "(os_name == 'nt' or python_version > '3') and os_name == 'nt'",
                Some(false),
            ),
            ("extra == 'Socks_a'", Some(true)),
            ("extra == 'other'", Some(false)),
            ("platform_machine == 'x86_64' and", None),
            ("unheard_of == 'x'", None),
            ("python_version", None),
            ("os_name < 'nt'", None),
            ("", None),
        ] {
            let extras = [String::from("socks-a")];
            assert_eq!(linux().holds(marker, &extras), expected, "{marker}");
        }
    }

    #[test]
    fn interpreters_are_allowed_by_their_version() {
        for (versions, expected) in [
            (">=3.8", Some(true)),
            (">=3.8,<3.11", Some(false)),
            (">=3.8, <4.0, !=3.9.*", Some(true)),
            ("3.11.7", Some(true)),
            ("*", Some(true)),
            (">=three", None),
        ] {
            assert_eq!(linux().allows(versions), expected, "{versions}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,60}", likely in "[()'\"<>=!~a-z_ 0-9.]{0,60}") {
            linux().holds(&text, &[]);
            linux().holds(&likely, &[]);
            linux().allows(&text);
        }
    }
}
