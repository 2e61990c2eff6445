//! Durations: whole numbers with units.

use std::time::Duration;

use crate::diagnostic::{Code, Spanned};
use crate::flow::yaml::Node;

use super::Reader;

const UNITS: &str = "a duration is a number with `ms`, `s`, `m` or `h` after it: `200ms`, `90s`, `1m30s`";

impl Reader<'_> {
    pub(super) fn duration(&mut self, node: &Node) -> Option<Spanned<Duration>> {
        let Some(raw) = node.raw().filter(|_| !node.is_null()) else {
            self.wrong_kind(node, "a duration", Some(UNITS));
            return None;
        };
        if let Some(duration) = read_duration(raw) {
            return Some(Spanned::new(duration, node.span));
        }
        self.report(Code::INVALID_DURATION, node.span, no_duration(raw), Some(UNITS.to_owned()));
        None
    }

    /// A duration that is more than nothing.
    pub(super) fn bound(&mut self, node: &Node, what: &str) -> Option<Spanned<Duration>> {
        let duration = self.duration(node)?;
        if duration.value.is_zero() {
            let message = format!("`{what}` is 0, and nothing can be done in no time");
            self.report(Code::OUT_OF_RANGE, node.span, message, Some("leave it out for no bound".to_owned()));
            return None;
        }
        Some(duration)
    }
}

/// Reads a duration such as `90s`, `200ms` or `1m30s`; `Err` says what would be right.
pub fn duration(text: &str) -> Result<Duration, String> {
    read_duration(text).ok_or_else(|| format!("{}: {UNITS}", no_duration(text)))
}

/// A duration as flows write it: `1m30s`. What is less than a millisecond is left out.
pub fn written(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, millis) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if left >= millis {
            text.push_str(&(left / millis).to_string());
            text.push_str(unit);
            left %= millis;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

fn no_duration(text: &str) -> String {
    let what = if text.trim().parse::<f64>().is_ok() { "has no unit" } else { "is no duration" };
    format!("`{text}` {what}")
}

/// `1m30s` and the like: whole numbers with units, from the longest unit to the shortest.
fn read_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    let mut longest = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, tail) = rest.split_at_checked(digits)?;
        let letters = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_lowercase()).len();
        let (unit, tail) = tail.split_at_checked(letters)?;
        let unit = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        if unit >= longest {
            return None;
        }
        longest = unit;
        let millis = number.parse::<u64>().ok()?.checked_mul(unit)?;
        total = total.checked_add(Duration::from_millis(millis))?;
        rest = tail;
    }
    (longest != u64::MAX).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_duration_says_what_would_be_right() {
        assert_eq!(
            duration("90").unwrap_err(),
            "`90` has no unit: a duration is a number with `ms`, `s`, `m` or `h` after it: `200ms`, `90s`, `1m30s`"
        );
    }

    #[test]
    fn durations_are_whole_numbers_with_units() {
        let seconds = |text| read_duration(text).map(|duration| duration.as_secs_f64());
        assert_eq!(seconds("90s"), Some(90.0));
        assert_eq!(seconds("200ms"), Some(0.2));
        assert_eq!(seconds("1m30s"), Some(90.0));
        assert_eq!(seconds("1h"), Some(3600.0));
        for text in
            ["", "90", "s", "1 s", "-1s", "1.5s", "1d", "30s1m", "1s1s", "99999999999999999999s", "1sπ"]
        {
            assert_eq!(seconds(text), None, "{text:?}");
        }
    }
}
