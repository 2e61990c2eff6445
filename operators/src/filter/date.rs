//! Reads ISO 8601 dates and times.

/// Seconds since 1970 of an ISO 8601 date or time: `2024`, `2024-05`, `2024-05-31`, `2024-05-31T09:30`, with seconds
/// and a zone (`Z`, `+02:00`) where they are given, else in UTC. A date stands for its first moment.
pub(crate) fn seconds(text: &str) -> Option<i64> {
    let text = text.trim();
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut parts = date.split('-');
    let year = number(parts.next()?, 4)?;
    let month = parts.next().map_or(Some(1), |month| number(month, 2))?;
    let day = parts.next().map_or(Some(1), |day| number(day, 2))?;
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    let is_whole = date.len() == "2024-05-31".len();
    match time {
        None => Some(days(year, month, day) * 86_400),
        Some(time) if is_whole => Some(days(year, month, day) * 86_400 + time_of_day(time)?),
        Some(_) => None,
    }
}

/// Seconds since midnight UTC of `09:30`, `09:30:15.5`, `09:30Z`, `09:30:15+02:00`.
fn time_of_day(text: &str) -> Option<i64> {
    let (clock, zone) = match text.find(['Z', '+', '-']) {
        Some(at) => text.split_at_checked(at)?,
        None => (text, "Z"),
    };
    let offset = match zone.split_at_checked(1)? {
        ("Z", "") => 0,
        ("+", zone) => hours_and_minutes(zone)?,
        ("-", zone) => -hours_and_minutes(zone)?,
        _ => return None,
    };
    let mut parts = clock.splitn(3, ':');
    let (hours, minutes) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let seconds = match parts.next() {
        // Parts of a second make no difference here.
        Some(seconds) => number(seconds.split_once(['.', ',']).map_or(seconds, |(whole, _)| whole), 2)?,
        None => 0,
    };
    let is_valid = hours < 24 && minutes < 60 && seconds <= 60;
    is_valid.then_some(hours * 3600 + minutes * 60 + seconds - offset)
}

/// Seconds of `02:00`, `0200` or `02`.
fn hours_and_minutes(text: &str) -> Option<i64> {
    let (hours, minutes) = match text.split_once(':') {
        Some(parts) => parts,
        None if text.len() == 2 => (text, "00"),
        None => text.split_at_checked(2)?,
    };
    let (hours, minutes) = (number(hours, 2)?, number(minutes, 2)?);
    (hours < 24 && minutes < 60).then_some(hours * 3600 + minutes * 60)
}

/// A number of exactly so many digits.
fn number(text: &str, digits: usize) -> Option<i64> {
    (text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a day of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March have their leap day at the end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_are_seconds() {
        for (text, expected) in [
            ("1970-01-01", 0),
            ("1970", 0),
            ("2000-03-01", 951_868_800),
            ("2024-02-29", 1_709_164_800),
            ("2024-05", 1_714_521_600),
            ("2024-05-31T09:30", 1_717_147_800),
            ("2024-05-31T09:30:15.250Z", 1_717_147_815),
            ("2024-05-31 11:30:15+02:00", 1_717_147_815),
            ("2024-05-31T04:30:15-0500", 1_717_147_815),
            ("1969-12-31T23:59:59Z", -1),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "today",
            "24-05-01",
            "2024-13-01",
            "2023-02-29",
            "2024-5-1",
            "2024-05-01T",
            "2024-05T10:00",
            "2024-05-01T25:00",
            "2024-05-01T10:00+2",
            "2024-05-01T10:00X",
            "01/05/2024",
            "2024-05-01-02",
            "é024",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn every_day_is_one_more_than_the_day_before() {
        let mut expected = days(1899, 12, 31);
        for year in 1900..2101 {
            for month in 1..=12 {
                for day in 1..=days_in(year, month) {
                    expected += 1;
                    assert_eq!(days(year, month, day), expected, "{year}-{month}-{day}");
                }
            }
        }
    }
}
