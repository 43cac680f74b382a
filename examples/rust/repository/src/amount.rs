//! Amounts of money: mills as they are booked, cents as they are shown.

use std::fmt;
use std::iter::Sum;
use std::str::FromStr;

use crate::round;

/// A thousandth of the currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mills(pub i64);

/// A hundredth of the currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Cents(pub i64);

/// A text that is not an amount with at most three decimals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseAmountError(String);

impl Mills {
    /// The nearest whole cent.
    pub fn to_cents(self) -> Cents {
        Cents(round::divide(self.0, 10))
    }
}

impl Sum for Mills {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        Self(amounts.map(|amount| amount.0).sum())
    }
}

impl Sum for Cents {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        Self(amounts.map(|amount| amount.0).sum())
    }
}

impl fmt::Display for Cents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let cents = self.0.unsigned_abs();
        f.pad(&format!("{sign}{}.{:02}", cents / 100, cents % 100))
    }
}

impl FromStr for Mills {
    type Err = ParseAmountError;

    fn from_str(text: &str) -> Result<Self, ParseAmountError> {
        let error = || ParseAmountError(text.to_owned());
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
        let only_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || decimals.len() > 3 || !only_digits(whole) || !only_digits(decimals) {
            return Err(error());
        }
        let mills = format!("{whole}{decimals:0<3}")
            .parse::<i64>()
            .map_err(|_| error())?;
        Ok(Self(if negative { -mills } else { mills }))
    }
}

impl fmt::Display for ParseAmountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is not an amount with at most three decimals",
            self.0
        )
    }
}

impl std::error::Error for ParseAmountError {}

#[cfg(test)]
mod tests {
    use super::{Cents, Mills};

    #[test]
    fn amounts_are_read_to_the_mill() {
        assert_eq!("12.345".parse(), Ok(Mills(12_345)));
        assert_eq!("-0.5".parse(), Ok(Mills(-500)));
        assert_eq!("7".parse(), Ok(Mills(7_000)));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "-",
            ".5",
            "1.2345",
            "1,50",
            "12 ",
            "99999999999999999999",
        ] {
            assert!(text.parse::<Mills>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn cents_are_shown_with_two_decimals() {
        assert_eq!(Cents(1205).to_string(), "12.05");
        assert_eq!(Cents(-7).to_string(), "-0.07");
    }
}
