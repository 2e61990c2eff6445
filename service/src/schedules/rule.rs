//! When a schedule fires: a cron pattern in a time zone, and what becomes of it where clocks are changed.

use chrono::{DateTime, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Longest cron pattern, in bytes.
const MAX_BYTES: usize = 256;
/// Changes of the clock that are looked past for the next firing: more than any zone has in a century.
const MAX_TRANSITIONS: usize = 400;
/// The last day on which anything fires, in seconds after 1970: 1 January 2200.
const LAST_SECOND: i64 = 7_258_118_400;

/// A cron pattern in a time zone.
///
/// A pattern that names its hour and minute fires once a day that it names: where the clock jumps over that time it
/// fires at the jump, and where the clock is put back it fires at the first of the two. A pattern with `*` or `/` in its
/// hour or minute follows the clock on the wall: nothing fires in an hour that does not exist, and an hour that comes
/// twice fires twice.
#[derive(Debug, Clone)]
pub struct Rule {
    cron: Cron,
    zone: TimeZone,
    is_fixed: bool,
}

/// Why there is no such rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is no cron pattern.
    #[error("`{cron}` is no cron pattern: {why}")]
    Cron {
        /// As it was given.
        cron: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is no day on which it fires.
    #[error("`{0}` never fires")]
    Never(String),
    /// There is no such time zone.
    #[error("there is no time zone `{0}`")]
    Zone(String),
}

impl Error {
    /// What would be right.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Cron { .. } => {
                "write minute, hour, day of month, month and day of week, e.g. `30 6 * * MON-FRI`, or `@hourly`, \
                 `@daily`, `@weekly`, `@monthly`, `@yearly`"
            }
            Self::Never(_) => "look at the day of the month and the month: there may be no such date",
            Self::Zone(_) => "write an IANA name such as `Europe/Berlin`, or `UTC`",
        }
    }

    /// The field that is wrong: `cron` or `zone`.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Cron { .. } | Self::Never(_) => "cron",
            Self::Zone(_) => "zone",
        }
    }
}

impl Rule {
    /// The rule of the pattern `cron` in the zone `zone`, an IANA name.
    pub fn parse(cron: &str, zone: &str) -> Result<Self, Error> {
        let wrong = |why: &str| Error::Cron { cron: shortened(cron), why: why.to_owned() };
        if cron.len() > MAX_BYTES {
            return Err(wrong("it is too long"));
        }
        let n_fields = cron.split_whitespace().count();
        if !cron.trim_start().starts_with('@') && n_fields != 5 {
            return Err(wrong(&format!("it has {n_fields} fields, not 5")));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let parsed = parser.parse(cron).map_err(|error| {
            let why = error.to_string();
            let why = why.split_once(": ").map_or(why.as_str(), |(_, why)| why);
            wrong(lower(why.trim_end_matches('.')).as_str())
        })?;
        // `TimeZone::get` also takes `Local`-like names on some systems; only names of the IANA are the same everywhere.
        let known = TimeZone::get(zone).map_err(|_| Error::Zone(shortened(zone)))?;
        let rule = Self { is_fixed: is_fixed(cron), cron: parsed, zone: known };
        match rule.wall(0, true) {
            Some(_) => Ok(rule),
            None => Err(Error::Never(shortened(cron))),
        }
    }

    /// The first firing after `ms` (unix milliseconds); `None` if there is none before 2200.
    pub fn next_after(&self, ms: i64) -> Option<i64> {
        let now = Timestamp::from_millisecond(ms).ok()?;
        let mut offset = offset(&self.zone, now);
        // The second of the wall clock to look from, and whether that one counts.
        let mut from = ms.div_euclid(1000).checked_add(offset)?;
        let mut inclusive = false;
        if self.is_fixed
            && let Some(again) = self.end_of_second_hour(now, offset)
            && from < again
        {
            (from, inclusive) = (again, true);
        }
        for change in self.zone.following(now).take(MAX_TRANSITIONS) {
            let at = change.timestamp().as_second();
            let (before, after) =
                (at.checked_add(offset)?, at.checked_add(i64::from(change.offset().seconds()))?);
            let wall = self.wall(from, inclusive)?;
            if wall < before {
                return wall.checked_sub(offset)?.checked_mul(1000);
            }
            if self.is_fixed && wall < after {
                // It names a time that the clock jumps over.
                return at.checked_mul(1000);
            }
            offset = i64::from(change.offset().seconds());
            // What a fixed pattern names in the hour that comes again has fired already.
            from = if self.is_fixed { after.max(before) } else { after };
            inclusive = true;
        }
        self.wall(from, inclusive)?.checked_sub(offset)?.checked_mul(1000)
    }

    /// Up to where on the wall clock the time that `now` is in has been before.
    fn end_of_second_hour(&self, now: Timestamp, offset_now: i64) -> Option<i64> {
        // The change itself is the first moment of the second hour.
        let just_after = now.checked_add(jiff::SignedDuration::from_nanos(1)).ok()?;
        let change = self.zone.preceding(just_after).next()?.timestamp();
        let before = offset(&self.zone, change.checked_sub(jiff::SignedDuration::from_nanos(1)).ok()?);
        (before > offset_now).then(|| change.as_second().saturating_add(before))
    }

    /// The next `n` firings after `ms`.
    pub fn upcoming(&self, ms: i64, n: usize) -> Vec<i64> {
        std::iter::successors(self.next_after(ms), |ms| self.next_after(*ms)).take(n).collect()
    }

    /// The next second of a wall clock, as if it were never changed, that the pattern names.
    fn wall(&self, second: i64, inclusive: bool) -> Option<i64> {
        let from = DateTime::<Utc>::from_timestamp(second, 0)?;
        let found = self.cron.find_next_occurrence(&from, inclusive).ok()?.timestamp();
        (found < LAST_SECOND).then_some(found)
    }
}

/// Seconds that the clock of `zone` is ahead of UTC.
fn offset(zone: &TimeZone, at: Timestamp) -> i64 {
    i64::from(zone.to_offset(at).seconds())
}

/// Whether a pattern names its hour and minute.
fn is_fixed(cron: &str) -> bool {
    if cron.trim_start().starts_with('@') {
        return !cron.trim().eq_ignore_ascii_case("@hourly");
    }
    cron.split_whitespace().take(2).all(|field| !field.contains(['*', '/', '?']))
}

fn shortened(text: &str) -> String {
    text.chars().take(MAX_BYTES).collect()
}

fn lower(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn firings(cron: &str, zone: &str, after: &str, n: usize) -> Vec<String> {
        let rule = Rule::parse(cron, zone).unwrap();
        let shown = |ms: i64| Timestamp::from_millisecond(ms).unwrap().to_string();
        rule.upcoming(ms(after), n).into_iter().map(shown).collect()
    }

    #[test]
    fn a_pattern_fires_by_the_clock_of_its_zone() {
        assert_eq!(
            firings("30 6 * * MON-FRI", "Europe/Berlin", "2026-07-03T00:00:00Z", 2),
            ["2026-07-03T04:30:00Z", "2026-07-06T04:30:00Z"]
        );
        assert_eq!(firings("@daily", "UTC", "2026-07-03T00:00:00Z", 1), ["2026-07-04T00:00:00Z"]);
        assert_eq!(firings("0 0 29 2 *", "UTC", "2026-07-03T00:00:00Z", 1), ["2028-02-29T00:00:00Z"]);
        assert_eq!(
            firings("* * * * *", "Asia/Kolkata", "2026-07-03T00:00:59.999Z", 1),
            ["2026-07-03T00:01:00Z"]
        );
    }

    #[test]
    fn a_time_that_the_clock_jumps_over_fires_at_the_jump_once() {
        // In Berlin, 2026-03-29 has no 02:00 to 03:00.
        assert_eq!(
            firings("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3),
            ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
        );
    }

    #[test]
    fn an_interval_skips_the_hour_that_does_not_exist() {
        assert_eq!(
            firings("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 4),
            ["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z", "2026-03-29T02:00:00Z"]
        );
        assert_eq!(
            firings("0 */2 * * *", "Europe/Berlin", "2026-03-28T23:30:00Z", 2),
            ["2026-03-29T02:00:00Z", "2026-03-29T04:00:00Z"],
            "02:00 does not exist, 04:00 is next"
        );
    }

    #[test]
    fn a_time_that_comes_twice_fires_the_first_time_only() {
        // In New York, 2026-11-01 has 01:00 to 02:00 twice.
        assert_eq!(
            firings("30 1 * * *", "America/New_York", "2026-10-31T12:00:00Z", 2),
            ["2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"]
        );
        for second_time in ["2026-11-01T06:00:00Z", "2026-11-01T06:10:00Z"] {
            assert_eq!(firings("30 1 * * *", "America/New_York", second_time, 1), ["2026-11-02T06:30:00Z"]);
        }
    }

    #[test]
    fn an_interval_fires_in_both_of_two_hours_that_are_called_the_same() {
        assert_eq!(
            firings("*/30 * * * *", "America/New_York", "2026-11-01T05:00:00Z", 5),
            [
                "2026-11-01T05:30:00Z",
                "2026-11-01T06:00:00Z",
                "2026-11-01T06:30:00Z",
                "2026-11-01T07:00:00Z",
                "2026-11-01T07:30:00Z"
            ]
        );
    }

    #[test]
    fn firings_only_go_forward_through_years_of_changing_clocks() {
        let zones = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "UTC"];
        for zone in zones {
            for cron in ["*/20 * * * *", "15 2 * * *", "0 */3 * * *", "45 1 * * SUN", "@hourly"] {
                let rule = Rule::parse(cron, zone).unwrap();
                let from = ms("2026-03-20T00:00:00Z");
                let fired = rule.upcoming(from, 2_000);
                assert!(fired.windows(2).all(|pair| pair[0] < pair[1]), "{cron} in {zone}");
                // Whatever the moment one asks from, the next firing is the same.
                for pair in fired.windows(2).step_by(7) {
                    assert_eq!(
                        rule.next_after(pair[0] + (pair[1] - pair[0]) / 2),
                        Some(pair[1]),
                        "{cron} in {zone}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_is_no_rule_says_so_and_what_would_be_right() {
        let refused = |cron: &str, zone: &str| {
            let error = Rule::parse(cron, zone).unwrap_err();
            (error.field(), error.to_string())
        };
        assert_eq!(
            refused("* * *", "UTC"),
            ("cron", "`* * *` is no cron pattern: it has 3 fields, not 5".into())
        );
        assert_eq!(refused("0 0 30 2 *", "UTC"), ("cron", "`0 0 30 2 *` never fires".into()));
        assert_eq!(refused("0 6 * * *", "Mars/Olympus").0, "zone");
        for wrong in ["61 * * * *", "a b c d e", "", "@often", "* * * * * *", "* 25 * * *", "*/0 * * * *"] {
            assert_eq!(refused(wrong, "UTC").0, "cron", "{wrong}");
        }
        assert!(Rule::parse(&"*".repeat(10_000), "UTC").is_err());
    }
}
