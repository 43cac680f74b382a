//! Money as whole numbers, so that sums are exact.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Billionths of a US dollar in one.
const NANOS: i64 = 1_000_000_000;

/// An amount of US dollars, in billionths.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Money(i64);

/// A text that is no amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an amount of US dollars such as `12.50`, to nine places at most")]
pub struct InvalidMoney(String);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// So many billionths of a dollar.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// In billionths of a dollar.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Money {
    /// Dollars with at least two places and no more than there are: `12.50`, `0.000125`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let nanos = self.0.unsigned_abs();
        let (whole, part) = (nanos / NANOS.unsigned_abs(), nanos % NANOS.unsigned_abs());
        let digits = format!("{part:09}");
        let shown = digits.trim_end_matches('0').len().max(2);
        let digits = digits.get(..shown).unwrap_or(&digits);
        write!(f, "{sign}{whole}.{digits}")
    }
}

impl FromStr for Money {
    type Err = InvalidMoney;

    fn from_str(text: &str) -> Result<Self, InvalidMoney> {
        let invalid = || InvalidMoney(text.chars().take(40).collect());
        let amount = text.trim();
        let amount = amount.strip_prefix('$').unwrap_or(amount);
        let (whole, part) = amount.split_once('.').unwrap_or((amount, "0"));
        let digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > 9 {
            return Err(invalid());
        }
        let whole: i64 = whole.parse().map_err(|_| invalid())?;
        let part: i64 = format!("{part:0<9}").parse().map_err(|_| invalid())?;
        let nanos = whole
            .checked_mul(NANOS)
            .and_then(|whole| whole.checked_add(part));
        nanos.map(Self).ok_or_else(invalid)
    }
}

impl TryFrom<String> for Money {
    type Error = InvalidMoney;

    fn try_from(text: String) -> Result<Self, InvalidMoney> {
        text.parse()
    }
}

impl From<Money> for String {
    fn from(money: Money) -> Self {
        money.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_and_written_exactly() {
        for (text, nanos, shown) in [
            ("12.5", 12_500_000_000, "12.50"),
            ("$3", 3_000_000_000, "3.00"),
            ("0.000000001", 1, "0.000000001"),
            ("0", 0, "0.00"),
        ] {
            let money: Money = text.parse().unwrap();
            assert_eq!(money.as_nanos(), nanos, "{text}");
            assert_eq!(money.to_string(), shown, "{text}");
        }
        for bad in [
            "",
            "-1",
            "1.",
            ".5",
            "1e3",
            "1.0000000001",
            "99999999999999",
            "1,5",
            "€1",
        ] {
            assert!(bad.parse::<Money>().is_err(), "{bad}");
        }
    }
}
