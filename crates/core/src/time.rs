//! Points in time, as whole microseconds since 1970 (UTC).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Microseconds since 1970-01-01T00:00:00Z; an integer in JSON, RFC 3339 when displayed.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since 1970.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// This time and a duration, stopping at the end of time.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(micros))
    }

    /// The time so long before this one, stopping at the beginning of time.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(micros))
    }

    /// How long after `earlier` this is; zero if it is before (clocks are set back).
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// RFC 3339 in UTC with whole seconds, as the attestation formats want it.
    pub fn to_rfc3339_seconds(self) -> String {
        jiff::Timestamp::from_second(self.0.div_euclid(1_000_000)).map_or_else(
            |_| String::from("0000-00-00T00:00:00Z"),
            |time| time.to_string(),
        )
    }
}

/// It is no time that is understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is neither a date nor a time of RFC 3339, such as 2026-11-21 or 2026-11-21T16:00:00Z"
)]
pub struct InvalidTime(String);

impl FromStr for Timestamp {
    type Err = InvalidTime;

    /// A time of RFC 3339, or a date, which is its first moment in UTC.
    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        let time = text.parse::<jiff::Timestamp>().ok().or_else(|| {
            // A date alone: one with a time of no zone would be somebody's, but whose?
            let date = Some(text).filter(|text| text.len() == "2026-11-21".len())?;
            let date = date.parse::<jiff::civil::Date>().ok()?;
            let begins = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
            Some(begins.timestamp())
        });
        time.map(|time| Self(time.as_microsecond()))
            .ok_or_else(|| InvalidTime(text.chars().take(80).collect()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => write!(f, "{time:.6}"),
            Err(_) => write!(f, "{} µs", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_are_read_and_nothing_else() {
        let noon = Timestamp::from_micros(1_700_000_000_123_456);
        assert_eq!(noon.to_string().parse(), Ok(noon));
        let day: Timestamp = "1970-01-02".parse().unwrap();
        assert_eq!(day.as_micros(), 86_400_000_000);
        let zoned: Timestamp = "1970-01-02T01:00:00+01:00".parse().unwrap();
        assert_eq!(zoned, day);
        for text in ["", "yesterday", "1970-13-01", "12:00", "1970-01-02T00:00"] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }

    #[test]
    fn display_is_rfc3339() {
        let time = Timestamp::from_micros(1_700_000_000_123_456);
        assert_eq!(time.to_string(), "2023-11-14T22:13:20.123456Z");
        assert_eq!(time.to_rfc3339_seconds(), "2023-11-14T22:13:20Z");
    }

    #[test]
    fn a_clock_set_back_gives_no_negative_duration() {
        let (early, late) = (Timestamp::from_micros(5), Timestamp::from_micros(9));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(late.since(early), Duration::from_micros(4));
    }
}
