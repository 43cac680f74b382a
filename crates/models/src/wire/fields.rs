//! Reading JSON objects field by field: what was read is taken out, so what is left is what nobody
//! knew.

use serde_json::{Map, Value};

/// The most characters of a foreign value that an error repeats.
const SHOWN_MAX: usize = 60;

/// Why a body is not what its protocol says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A field is missing or of another shape.
    #[error("`{at}` {why}")]
    Invalid {
        /// Which field: `messages[2].content`.
        at: String,
        /// What is wrong.
        why: String,
    },
    /// It is well-formed, and cannot be said to this provider.
    #[error("{0}")]
    Unsupported(String),
    /// A stream ended in the middle.
    #[error("the stream was cut: {0}")]
    Cut(&'static str),
    /// The provider says in a stream that something went wrong.
    #[error("{kind}: {message}")]
    Told {
        /// What sort, in its words.
        kind: String,
        /// What happened.
        message: String,
    },
}

impl WireError {
    /// What is wrong with what stands where.
    pub fn invalid(at: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Invalid {
            at: at.into(),
            why: why.into(),
        }
    }

    /// Says within what it happened.
    #[must_use]
    pub(crate) fn within(self, place: &str) -> Self {
        match self {
            Self::Invalid { at, why } if at.is_empty() => Self::invalid(place, why),
            Self::Invalid { at, why } if at.starts_with('[') => {
                Self::invalid(format!("{place}{at}"), why)
            }
            Self::Invalid { at, why } => Self::invalid(format!("{place}.{at}"), why),
            other => other,
        }
    }
}

/// An object that is being read.
#[derive(Debug)]
pub(crate) struct Fields(Map<String, Value>);

/// An object's fields; an error for anything else.
pub(crate) fn fields(value: Value) -> Result<Fields, WireError> {
    match value {
        Value::Object(map) => Ok(Fields(map)),
        other => Err(expected("", "an object", &other)),
    }
}

impl Fields {
    /// Anything but null.
    pub(crate) fn any(&mut self, name: &str) -> Option<Value> {
        // Nobody asks for the order of what is left over but those who send it on.
        self.0.shift_remove(name).filter(|value| !value.is_null())
    }

    /// A text.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, WireError> {
        match self.any(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(expected(name, "a text", &other)),
        }
    }

    /// A text that must be there.
    pub(crate) fn need_text(&mut self, name: &str) -> Result<String, WireError> {
        self.text(name)?
            .ok_or_else(|| WireError::invalid(name, "is missing"))
    }

    /// A number.
    pub(crate) fn number(&mut self, name: &str) -> Result<Option<f64>, WireError> {
        let Some(value) = self.any(name) else {
            return Ok(None);
        };
        match value.as_f64() {
            Some(number) => Ok(Some(number)),
            None => Err(expected(name, "a number", &value)),
        }
    }

    /// A whole number that is not negative.
    pub(crate) fn whole(&mut self, name: &str) -> Result<Option<u64>, WireError> {
        let Some(value) = self.any(name) else {
            return Ok(None);
        };
        match whole(&value) {
            Some(number) => Ok(Some(number)),
            None => Err(expected(name, "a whole number", &value)),
        }
    }

    /// A whole number.
    pub(crate) fn signed(&mut self, name: &str) -> Result<Option<i64>, WireError> {
        let Some(value) = self.any(name) else {
            return Ok(None);
        };
        match value.as_i64() {
            Some(number) => Ok(Some(number)),
            None => Err(expected(name, "a whole number", &value)),
        }
    }

    /// True or false.
    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>, WireError> {
        match self.any(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(expected(name, "true or false", &other)),
        }
    }

    /// A list; nothing is an empty one.
    pub(crate) fn list(&mut self, name: &str) -> Result<Vec<Value>, WireError> {
        match self.any(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => Ok(list),
            Some(other) => Err(expected(name, "a list", &other)),
        }
    }

    /// Each item of a list, read.
    pub(crate) fn each<T>(
        &mut self,
        name: &str,
        mut read: impl FnMut(Value) -> Result<T, WireError>,
    ) -> Result<Vec<T>, WireError> {
        let list = self.list(name)?.into_iter().enumerate();
        list.map(|(index, item)| {
            read(item).map_err(|error| error.within(&format!("{name}[{index}]")))
        })
        .collect()
    }

    /// An object.
    pub(crate) fn object(&mut self, name: &str) -> Result<Option<Fields>, WireError> {
        match self.any(name) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Fields(map))),
            Some(other) => Err(expected(name, "an object", &other)),
        }
    }

    /// Reads an object, if there is one.
    pub(crate) fn inside<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(Fields) -> Result<T, WireError>,
    ) -> Result<Option<T>, WireError> {
        let object = self.object(name)?;
        let read = object.map(read).transpose();
        read.map_err(|error| error.within(name))
    }

    /// A list of texts, or one text for it.
    pub(crate) fn texts(&mut self, name: &str) -> Result<Vec<String>, WireError> {
        match self.any(name) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text]),
            Some(Value::Array(list)) => list
                .into_iter()
                .map(|item| match item {
                    Value::String(text) => Ok(text),
                    other => Err(expected(name, "a list of texts", &other)),
                })
                .collect(),
            Some(other) => Err(expected(name, "a text or a list of texts", &other)),
        }
    }

    /// What was not read.
    pub(crate) fn rest(self) -> Map<String, Value> {
        self.0
    }

    /// The whole object again, as it was but for what was read.
    pub(crate) fn into_value(self) -> Value {
        Value::Object(self.0)
    }
}

/// Some servers write whole numbers with a decimal point.
fn whole(value: &Value) -> Option<u64> {
    if let Some(number) = value.as_u64() {
        return Some(number);
    }
    let number = value.as_f64()?;
    let fits = number >= 0.0 && number.fract() == 0.0 && number < 9_007_199_254_740_992.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is whole, positive and below 2^53"
    )]
    fits.then_some(number as u64)
}

fn expected(at: &str, wanted: &str, found: &Value) -> WireError {
    let text: String = found.to_string().chars().take(SHOWN_MAX).collect();
    WireError::invalid(at, format!("must be {wanted}, and is {text}"))
}
