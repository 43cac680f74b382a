//! How long a budget's window is. Windows begin on the hour, the day and the month in UTC.

use jiff::tz::TimeZone;
use jiff::{Unit, Zoned};
use matrix_core::Timestamp;
use serde::{Deserialize, Serialize};

use crate::registry::InvalidSpec;

/// How long a budget's window is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// For ever.
    Total,
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A month.
    Month,
}

impl Period {
    const ALL: [Self; 4] = [Self::Total, Self::Hour, Self::Day, Self::Month];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// When the window of a time began.
    pub fn window(self, now: Timestamp) -> Timestamp {
        let unit = match self {
            Self::Total => return Timestamp::from_micros(0),
            Self::Hour => Unit::Hour,
            Self::Day => Unit::Day,
            Self::Month => Unit::Month,
        };
        let start = jiff::Timestamp::from_microsecond(now.as_micros())
            .ok()
            .and_then(|at| {
                let at = at.to_zoned(TimeZone::UTC);
                if unit == Unit::Month {
                    return at.first_of_month().ok()?.start_of_day().ok();
                }
                begin(&at, unit)
            });
        start.map_or(now, |start| {
            Timestamp::from_micros(start.timestamp().as_microsecond())
        })
    }
}

fn begin(at: &Zoned, unit: Unit) -> Option<Zoned> {
    let down = jiff::ZonedRound::new()
        .smallest(unit)
        .mode(jiff::RoundMode::Trunc);
    at.round(down).ok()
}

impl std::fmt::Display for Period {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Period {
    type Err = InvalidSpec;

    fn from_str(text: &str) -> Result<Self, InvalidSpec> {
        let found = Self::ALL.into_iter().find(|period| period.as_str() == text);
        found.ok_or_else(|| InvalidSpec::new("period", "is none of total, hour, day, month"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_begin_with_the_hour_the_day_and_the_month() {
        let at = |text: &str| {
            let at: jiff::Timestamp = text.parse().unwrap();
            Timestamp::from_micros(at.as_microsecond())
        };
        let now = at("2026-11-22T02:29:28.5Z");
        assert_eq!(Period::Hour.window(now), at("2026-11-22T02:00:00Z"));
        assert_eq!(Period::Day.window(now), at("2026-11-22T00:00:00Z"));
        assert_eq!(Period::Month.window(now), at("2026-11-01T00:00:00Z"));
        assert_eq!(Period::Total.window(now), Timestamp::from_micros(0));
    }
}
