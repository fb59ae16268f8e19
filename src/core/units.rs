//! Lengths of time, numbers of bytes and rates, as people write them and as they are written for people: one syntax and
//! one set of answers for the configuration and every command.
//!
//! An answer is the rest of a sentence that begins with the text: `"30" has no unit; known are ms, s, m, h and d`.

use crate::core::time::Duration;

/// Milliseconds of each unit, largest first.
const PERIODS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Bytes of each unit, largest first. Only powers of 1024: `KB` means 1000 to some and 1024 to others.
const SIZES: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// The longest that anything here lasts: instants and the kernel's options have room for it.
pub const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// A length of time in whole milliseconds: `500ms`, `1.5s`, `1m30s`, `0`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut total: u64 = 0;
    loop {
        let (number, behind) = split_number(rest);
        let (unit, behind) =
            behind.split_at(behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len()));
        total = total.saturating_add(millis(number, unit)?);
        if behind.is_empty() {
            break;
        }
        rest = behind;
    }
    let duration = Duration::from_millis(total);
    if duration > LONGEST { Err("is longer than 30d".to_owned()) } else { Ok(duration) }
}

/// The same for what must last some time.
///
/// # Errors
/// What is wrong with it.
pub fn parse_some_time(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("lasts no time; write for example 500ms".to_owned()),
        some => Ok(some),
    }
}

/// A number of bytes: `4096`, `7B`, `64KiB`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = digits.parse().map_err(|_| "is not a size".to_owned())?;
    if matches!(unit, "" | "B") {
        return Ok(number);
    }
    let (_, bytes) = SIZES
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(|| format!("has the unit {unit:?}; known are B, KiB (1024 bytes), MiB and GiB"))?;
    Ok(number.saturating_mul(*bytes))
}

/// A number a second: `5000`, `20k` or `1.5M`; a `/s` behind it is allowed.
///
/// # Errors
/// What is wrong with it.
pub fn parse_rate(text: &str) -> Result<f64, String> {
    let number = text.trim_end_matches("/s");
    let (number, unit) = match number.as_bytes().last() {
        Some(b'k' | b'K') => (&number[..number.len() - 1], 1e3),
        Some(b'M') => (&number[..number.len() - 1], 1e6),
        Some(_) | None => (number, 1.0),
    };
    let rate = number.parse::<f64>().ok().map(|number| number * unit);
    rate.filter(|rate| (0.0..=1e9).contains(rate))
        .ok_or_else(|| "is not a number a second; write for example 500, 20k or 1.5M".to_owned())
}

/// A length of time in its largest unit that divides it; what is finer than a millisecond is left out.
pub fn duration_text(duration: Duration) -> String {
    let millis = duration.as_millis();
    match PERIODS.iter().find(|(_, unit)| millis > 0 && millis.is_multiple_of(u128::from(*unit))) {
        Some((name, unit)) => format!("{}{name}", millis / u128::from(*unit)),
        None => "0s".to_owned(),
    }
}

/// A number of bytes in its largest unit that divides it, and whether there is one.
pub fn size_text(bytes: u64) -> (String, bool) {
    match SIZES.iter().find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit)) {
        Some((name, unit)) => (format!("{}{name}", bytes / unit), true),
        None => (bytes.to_string(), false),
    }
}

/// Seconds to a thousandth, as records and JSON have them.
pub fn seconds(duration: Duration) -> f64 {
    thousandths(duration.as_secs_f64())
}

/// A number to a thousandth.
pub fn thousandths(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

/// A time since 1970 as RFC 3339 has it, to a thousandth of a second: `2026-11-27T08:27:16.250Z`.
pub fn utc_text(since_1970: Duration) -> String {
    let (days, seconds) = (since_1970.as_secs() / 86_400, since_1970.as_secs() % 86_400);
    // Years begin in March, so that a leap day is the last: in 400 of them there are 146,097 days, and 719,468 were over.
    let (era, day) = ((days + 719_468) / 146_097, (days + 719_468) % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = era * 400 + year + u64::from(month < 3);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let millis = since_1970.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z")
}

/// `one` or `many`, by the number.
pub const fn plural<'a>(count: u64, one: &'a str, many: &'a str) -> &'a str {
    if count == 1 { one } else { many }
}

/// A number with its thousands apart: `12,345`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes: `1 byte`, `999 bytes`, `1.5 KiB`.
#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} {}", plural(bytes, "byte", "bytes"));
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // What would be rounded to 1024 has the next unit.
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value < 9.95 { format!("{value:.1} {}", UNITS[unit]) } else { format!("{value:.0} {}", UNITS[unit]) }
}

/// A time, with its two largest units, rounded down: a lower bound stays one.
pub fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{}ms", time.as_millis()),
        1..10 => format!("{seconds}.{}s", time.subsec_millis() / 100),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// A length of time in three digits and a unit: `12.3us`.
pub fn three_digits(duration: Duration) -> String {
    let nanos = duration.as_secs_f64() * 1e9;
    let (value, unit) = match nanos {
        n if n < 1e3 => (n, "ns"),
        n if n < 1e6 => (n / 1e3, "us"),
        n if n < 1e9 => (n / 1e6, "ms"),
        n => (n / 1e9, "s"),
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$}{unit}")
}

/// The number that a text begins with, and what follows it.
fn split_number(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len()))
}

/// The milliseconds of `1.5` and `s`.
fn millis(number: &str, unit: &str) -> Result<u64, String> {
    let none = || "is not a duration".to_owned();
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let whole: u64 = whole.parse().map_err(|_| none())?;
    let parts: u64 = fraction.parse().map_err(|_| none())?;
    let (_, unit) = PERIODS.iter().find(|(name, _)| *name == unit).ok_or_else(|| match unit {
        "" => "has no unit; known are ms, s, m, h and d".to_owned(),
        _ => format!("has the unit {unit:?}; known are ms, s, m, h and d"),
    })?;
    let of =
        u32::try_from(fraction.len()).ok().and_then(|digits| 10_u64.checked_pow(digits)).ok_or_else(none)?;
    // No overflow: nothing of 20 digits or more has come here, and a day has 27 bits.
    let parts = u128::from(parts) * u128::from(*unit);
    if !parts.is_multiple_of(u128::from(of)) {
        return Err("is finer than a millisecond".to_owned());
    }
    let parts = u64::try_from(parts / u128::from(of)).expect("a fraction of a unit is less than the unit");
    Ok(whole.saturating_mul(*unit).saturating_add(parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_read_in_every_form() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("500ms", 500),
            ("1.5s", 1_500),
            ("0.25h", 900_000),
            ("1m30s", 90_000),
            ("1h0.5m10ms", 3_630_010),
            ("30d", 2_592_000_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_says_what_it_lacks() {
        for (text, why) in [
            ("30", "has no unit; known are ms, s, m, h and d"),
            ("1m30", "has no unit"),
            ("30sec", "has the unit \"sec\"; known are"),
            ("30 s", "has the unit \" s\""),
            ("s", "is not a duration"),
            ("", "is not a duration"),
            ("-1s", "is not a duration"),
            ("1.s", "is not a duration"),
            (".5s", "is not a duration"),
            ("1.2.3s", "is not a duration"),
            ("00", "has no unit"),
            ("1.0005s", "is finer than a millisecond"),
            ("0.00000000000000000001d", "is not a duration"),
            ("31d", "is longer than 30d"),
            ("18446744073709551615d", "is longer than 30d"),
            ("99999999999999999999h", "is not a duration"),
            ("1s0", "has no unit"),
        ] {
            assert!(
                parse_duration(text).is_err_and(|said| said.starts_with(why)),
                "{text:?}: {:?}",
                parse_duration(text)
            );
        }
        assert!(parse_some_time("0ms").is_err_and(|why| why.contains("no time")));
    }

    #[test]
    fn sizes_and_rates_have_units() {
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(
            (parse_size("7B"), parse_size("64KiB"), parse_size("2GiB")),
            (Ok(7), Ok(65_536), Ok(2 << 30))
        );
        for (text, why) in [("", "is not a size"), ("-1", "is not a size"), ("64KB", "has the unit \"KB\"")] {
            assert!(parse_size(text).is_err_and(|said| said.starts_with(why)), "{text:?}");
        }
        assert_eq!((parse_rate("20k"), parse_rate("1.5M/s")), (Ok(20_000.0), Ok(1_500_000.0)));
        assert!(parse_rate("-1").is_err() && parse_rate("k").is_err() && parse_rate("").is_err());
    }

    #[test]
    fn what_is_written_reads_back() {
        for millis in [0, 1, 999, 1_000, 90_000, 3_600_000, 86_400_000] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse_duration(&duration_text(duration)), Ok(duration));
        }
        for bytes in [0, 1, 1_000, 1_024, 65_536, 3 << 30] {
            assert_eq!(parse_size(&size_text(bytes).0), Ok(bytes));
        }
        let sizes = [0, 1_000, 65_536, 3 << 30].map(size_text);
        let shown = [("0", false), ("1000", false), ("64KiB", true), ("3GiB", true)];
        assert_eq!(sizes, shown.map(|(text, whole)| (text.to_owned(), whole)));
    }

    #[test]
    fn numbers_are_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0, 1, 1023, 1024, 1536, 10_240, 1_048_576, 5 << 30].map(bytes),
            ["0 bytes", "1 byte", "1023 bytes", "1.0 KiB", "1.5 KiB", "10 KiB", "1.0 MiB", "5.0 GiB"]
        );
        assert_eq!((bytes(1_048_575), bytes(1 << 50)), ("1.0 MiB".to_owned(), "1024 TiB".to_owned()));
        let times = [0, 250, 1999, 12_900, 60_000, 3_599_000, 7_260_000, 90_000_000];
        let shown = ["0ms", "250ms", "1.9s", "12s", "1m 00s", "59m 59s", "2h 01m", "1d 01h"];
        assert_eq!(times.map(|ms| span(Duration::from_millis(ms))), shown);
    }

    #[test]
    fn a_time_has_its_date() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_795_768_036_250, "2026-11-27T08:27:16.250Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(utc_text(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn times_are_short_to_read() {
        for (nanos, text) in [
            (0, "0.00ns"),
            (10, "10.0ns"),
            (100, "100ns"),
            (999, "999ns"),
            (1_500, "1.50us"),
            (12_340, "12.3us"),
            (123_400_000, "123ms"),
            (2_000_000_000, "2.00s"),
        ] {
            assert_eq!(three_digits(Duration::from_nanos(nanos)), text);
        }
    }
}
