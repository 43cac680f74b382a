//! When a schedule is due.
//!
//! Fields and their forms are those of crontab(5), read by the crate `cronexpr`. What daylight saving
//! time does to them is ours to say, as most cron daemons say it (Vixie's, 1994):
//!
//! * Where the hour is a wildcard (`*`, `*/2`), the schedule follows real time: in the hour that is
//!   repeated in autumn it is due twice, in the hour that is left out in spring not at all.
//! * Where hours are named, it follows the clock on the wall: a time that is left out is due when the
//!   clock has moved on, and a time that comes twice is due the first time.

use cronexpr::{Crontab, FallbackTimezoneOption, MakeTimestamp, ParseOptions};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use matrix_core::Timestamp;

/// The most bytes of an expression.
const EXPRESSION_MAX: usize = 200;

/// The most times of day in one gap that are taken for one.
const GAP_MAX: usize = 24 * 60;

/// Why there is no such time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// The expression cannot be read.
    #[error("`{expression}` is no cron expression: {why}")]
    Expression {
        /// The expression.
        expression: String,
        /// What is wrong.
        why: String,
    },
    /// There is no such zone.
    #[error("there is no time zone `{0}`; zones have names like `Europe/Berlin` or `UTC`")]
    Zone(String),
    /// Beyond the calendar.
    #[error("there is no such time in the calendar: {0}")]
    Calendar(String),
}

/// Times that come again.
#[derive(Debug, Clone)]
pub struct Cron {
    times: Crontab,
    zone: TimeZone,
    /// Whether hours are named: `times` is then read as civil time.
    civil: bool,
}

impl Cron {
    /// Times by five fields in a zone.
    pub fn parse(expression: &str, zone: &str) -> Result<Self, CronError> {
        let bad = |why: String| CronError::Expression {
            expression: expression.chars().take(EXPRESSION_MAX).collect(),
            why,
        };
        let fields: Vec<_> = expression.split_ascii_whitespace().collect();
        if fields.len() != 5 || expression.len() > EXPRESSION_MAX {
            let why = "it has five fields: minute, hour, day of month, month, day of week";
            return Err(bad(why.into()));
        }
        let civil = !fields.get(1).is_some_and(|hour| hour.starts_with('*'));
        let named = zone.is_ascii() && !zone.is_empty() && !zone.contains(char::is_whitespace);
        let known = named.then(|| TimeZone::get(zone).ok()).flatten();
        let known = known.ok_or_else(|| CronError::Zone(zone.chars().take(64).collect()))?;
        let mut options = ParseOptions::default();
        options.fallback_timezone_option = FallbackTimezoneOption::UTC;
        let mut text = fields.join(" ");
        if !civil {
            text = format!("{text} {zone}");
        }
        let times = cronexpr::parse_crontab_with(&text, options).map_err(|error| {
            bad(error
                .to_string()
                .lines()
                .next_back()
                .unwrap_or_default()
                .trim()
                .to_owned())
        })?;
        Ok(Self {
            times,
            zone: known,
            civil,
        })
    }

    /// The first time after a moment; nothing if there is none in the next four years.
    pub fn next(&self, after: Timestamp) -> Result<Option<Timestamp>, CronError> {
        let after = jiff::Timestamp::from_microsecond(after.as_micros())
            .map_err(|error| CronError::Calendar(error.to_string()))?;
        let found = if self.civil {
            self.next_civil(after)?
        } else {
            self.times
                .find_next(MakeTimestamp(after))
                .ok()
                .map(|zoned| zoned.timestamp())
        };
        Ok(found.map(|found| Timestamp::from_micros(found.as_microsecond())))
    }

    /// Times after a moment, at most `limit` of them and none after `until`.
    pub fn between(
        &self,
        after: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Timestamp>, CronError> {
        let mut times = Vec::new();
        let mut last = after;
        while times.len() < limit {
            match self.next(last)? {
                Some(next) if next <= until => {
                    times.push(next);
                    last = next;
                }
                _ => break,
            }
        }
        Ok(times)
    }

    fn next_civil(&self, after: jiff::Timestamp) -> Result<Option<jiff::Timestamp>, CronError> {
        let calendar = |error: jiff::Error| CronError::Calendar(error.to_string());
        // Civil time stands in for UTC, where every time of day comes once.
        let mut wall = TimeZone::UTC
            .to_timestamp(self.zone.to_datetime(after))
            .map_err(calendar)?;
        for _ in 0..GAP_MAX {
            let Ok(candidate) = self.times.find_next(MakeTimestamp(wall)) else {
                return Ok(None);
            };
            let due = self.instant(candidate.datetime()).map_err(calendar)?;
            if due > after {
                return Ok(Some(due));
            }
            wall = candidate.timestamp();
        }
        Ok(None)
    }

    /// The moment of a time of day: the first of two, and the end of the gap that has none.
    fn instant(&self, wall: DateTime) -> Result<jiff::Timestamp, jiff::Error> {
        let found = self.zone.to_ambiguous_timestamp(wall);
        let AmbiguousOffset::Gap { before, .. } = found.offset() else {
            return found.earlier();
        };
        let inside = before.to_timestamp(wall)?;
        let mut changes = self
            .zone
            .preceding(inside.checked_add(jiff::SignedDuration::from_nanos(1))?);
        Ok(changes.next().map_or(inside, |change| change.timestamp()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        let moment: jiff::Timestamp = text.parse().unwrap();
        Timestamp::from_micros(moment.as_microsecond())
    }

    /// Times after a moment, as they stand on the wall.
    fn times(cron: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let cron = Cron::parse(cron, zone).unwrap();
        let far = Timestamp::from_micros(at(after).as_micros() + 400 * 86_400_000_000);
        let found = cron.between(at(after), far, count).unwrap();
        let text = |time: &Timestamp| {
            let moment = jiff::Timestamp::from_microsecond(time.as_micros()).unwrap();
            let zoned = moment.to_zoned(TimeZone::get(zone).unwrap());
            zoned.strftime("%m-%d %H:%M %:z").to_string()
        };
        found.iter().map(text).collect()
    }

    #[test]
    fn a_time_that_is_left_out_in_spring_is_due_when_the_clock_has_moved_on_and_once() {
        let found = times("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3);
        assert_eq!(
            found,
            [
                "03-28 02:30 +01:00",
                "03-29 03:00 +02:00",
                "03-30 02:30 +02:00"
            ]
        );
        let many = times(
            "0,15,30 2 * * *",
            "Europe/Berlin",
            "2026-03-28T20:00:00Z",
            2,
        );
        assert_eq!(many, ["03-29 03:00 +02:00", "03-30 02:00 +02:00"]);
    }

    #[test]
    fn a_time_that_comes_twice_in_autumn_is_due_the_first_time() {
        let found = times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2);
        assert_eq!(found, ["10-25 02:30 +02:00", "10-26 02:30 +01:00"]);
        let found = times("10,50 2 * * *", "Europe/Berlin", "2026-10-25T00:20:00Z", 2);
        assert_eq!(found, ["10-25 02:50 +02:00", "10-26 02:10 +01:00"]);
        let again = times("10,50 2 * * *", "Europe/Berlin", "2026-10-25T01:20:00Z", 1);
        assert_eq!(again, ["10-26 02:10 +01:00"], "between the two");
    }

    #[test]
    fn wildcard_hours_follow_real_time() {
        let autumn = times("0 * * * *", "Europe/Berlin", "2026-10-24T23:30:00Z", 4);
        assert_eq!(
            autumn,
            [
                "10-25 02:00 +02:00",
                "10-25 02:00 +01:00",
                "10-25 03:00 +01:00",
                "10-25 04:00 +01:00"
            ]
        );
        let spring = times("0 * * * *", "Europe/Berlin", "2026-03-28T23:30:00Z", 3);
        assert_eq!(
            spring,
            [
                "03-29 01:00 +01:00",
                "03-29 03:00 +02:00",
                "03-29 04:00 +02:00"
            ]
        );
    }

    #[test]
    fn a_zone_that_moves_by_half_an_hour_and_one_that_moves_at_midnight() {
        let found = times(
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-02T20:00:00Z",
            2,
        );
        assert_eq!(found, ["10-04 02:30 +11:00", "10-05 02:15 +11:00"]);
        let found = times("10 0 * * *", "Africa/Cairo", "2026-04-23T12:00:00Z", 2);
        assert_eq!(found, ["04-24 01:00 +03:00", "04-25 00:10 +03:00"]);
    }

    #[test]
    fn days_of_month_and_of_week_names_ranges_and_what_is_never() {
        let found = times("0 9 * * MON-FRI", "UTC", "2026-11-20T10:00:00Z", 2);
        assert_eq!(found, ["11-23 09:00 +00:00", "11-24 09:00 +00:00"]);
        let never = Cron::parse("0 0 30 2 *", "UTC").unwrap();
        assert_eq!(never.next(at("2026-01-01T00:00:00Z")).unwrap(), None);
        let leap = times("0 0 29 2 *", "UTC", "2027-06-01T00:00:00Z", 1);
        assert_eq!(leap, ["02-29 00:00 +00:00"]);
    }

    #[test]
    fn nonsense_is_named() {
        for bad in [
            "",
            "* * * *",
            "* * * * * *",
            "61 * * * *",
            "x 0 * * *",
            "@daily",
            "0 0 * * 9",
        ] {
            let found = Cron::parse(bad, "UTC");
            assert!(
                matches!(found, Err(CronError::Expression { .. })),
                "{bad}: {found:?}"
            );
        }
        for bad in [
            "",
            "Europe/Nowhere",
            "UTC UTC",
            "../etc/passwd",
            "Europe/Berlin\n",
        ] {
            assert!(
                matches!(Cron::parse("* * * * *", bad), Err(CronError::Zone(_))),
                "{bad}"
            );
        }
    }

    proptest! {
        #[test]
        fn the_next_time_is_later_and_nothing_is_between(
            hour in 0..24_u8, minute in 0..60_u8, after in 1_700_000_000_i64..1_900_000_000,
            zone in proptest::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York",
                "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kathmandu"]),
        ) {
            let cron = Cron::parse(&format!("{minute} {hour} * * *"), zone).unwrap();
            let after = Timestamp::from_micros(after * 1_000_000);
            let next = cron.next(after).unwrap().unwrap();
            prop_assert!(next > after);
            prop_assert!(next.since(after).as_secs() <= 25 * 3600 + 1800, "a day was left out");
            let middle = Timestamp::from_micros(i64::midpoint(after.as_micros(), next.as_micros()));
            prop_assert_eq!(cron.next(middle).unwrap(), Some(next));
        }
    }
}
