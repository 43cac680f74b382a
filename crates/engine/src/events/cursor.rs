//! How far somebody has come: a position in each shard.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The most shards of a cursor.
const SHARDS_MAX: usize = 1024;

/// The newest position that was seen in each shard, written `0:17,1:5`. A shard that is not named
/// is at its beginning, which is what a shard is that came into being later.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cursor(BTreeMap<i64, i64>);

impl Cursor {
    /// Before the first event.
    pub fn beginning() -> Self {
        Self::default()
    }

    /// The position in a shard, zero before its first event.
    pub fn position(&self, shard: i64) -> i64 {
        self.0.get(&shard).copied().unwrap_or(0)
    }

    /// Moves to a position of a shard; never back.
    pub fn advance(&mut self, shard: i64, position: i64) {
        if position > 0 {
            let known = self.0.entry(shard).or_default();
            *known = position.max(*known);
        }
    }
}

/// A text that is no cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no cursor: shards with their positions, such as `0:17,1:5`")]
pub struct InvalidCursor(String);

impl std::str::FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let refused = || InvalidCursor(text.chars().take(80).collect());
        let mut cursor = Self::default();
        for (number, part) in text.split(',').enumerate() {
            let (shard, position) = part.split_once(':').ok_or_else(refused)?;
            let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
            if number >= SHARDS_MAX || !digits(shard) || !digits(position) {
                return Err(refused());
            }
            let shard = shard.parse().map_err(|_| refused())?;
            cursor.advance(shard, position.parse().map_err(|_| refused())?);
        }
        Ok(cursor)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("0:0");
        }
        for (number, (shard, position)) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(f, "{comma}{shard}:{position}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for Cursor {
    type Error = InvalidCursor;

    fn try_from(text: String) -> Result<Self, InvalidCursor> {
        text.parse()
    }
}

impl From<Cursor> for String {
    fn from(cursor: Cursor) -> Self {
        cursor.to_string()
    }
}

/// From where events are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum StartAt {
    /// The first event there is.
    #[default]
    Beginning,
    /// What happens from now on.
    Now,
    /// Behind this place.
    After(Cursor),
}

impl std::str::FromStr for StartAt {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        match text {
            "beginning" => Ok(Self::Beginning),
            "now" => Ok(Self::Now),
            text => text.parse().map(Self::After),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_and_value_are_one(positions: BTreeMap<u16, u32>) {
            let mut cursor = Cursor::default();
            for (shard, position) in positions.iter().take(SHARDS_MAX) {
                cursor.advance((*shard).into(), (*position).into());
            }
            prop_assert_eq!(cursor.to_string().parse::<Cursor>(), Ok(cursor));
        }

        #[test]
        fn nonsense_is_refused_without_panic(text in ".*") {
            drop(text.parse::<Cursor>());
        }
    }

    #[test]
    fn a_cursor_never_goes_back() {
        let mut cursor: Cursor = "1:5,0:7".parse().unwrap();
        cursor.advance(0, 3);
        cursor.advance(1, 6);
        assert_eq!(cursor.to_string(), "0:7,1:6");
        assert_eq!((cursor.position(1), cursor.position(9)), (6, 0));
        for bad in [
            "",
            "1",
            "1:",
            ":1",
            "-1:2",
            "1:-2",
            "1:2,",
            "1:99999999999999999999",
        ] {
            assert!(bad.parse::<Cursor>().is_err(), "{bad}");
        }
        assert_eq!("now".parse(), Ok(StartAt::Now));
        assert_eq!("0:0".parse(), Ok(StartAt::After(Cursor::beginning())));
    }
}
