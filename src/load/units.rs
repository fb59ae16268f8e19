//! Lengths of time and rates, as people write them.

use crate::time::Duration;

/// A length of time, as `500ms`, `1.5s`, `2m` or `1h`.
///
/// # Errors
/// What would be right.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("write a number and a unit, as 500ms, 10s, 2m or 1h".to_owned()),
    };
    digits
        .parse::<f64>()
        .ok()
        .filter(|number| *number >= 0.0)
        .and_then(|number| Duration::try_from_secs_f64(number * unit).ok())
        .filter(|duration| *duration <= Duration::from_secs(30 * 86_400))
        .ok_or_else(|| "write a number and a unit, as 500ms, 10s, 2m or 1h; 30 days at most".to_owned())
}

/// A rate, as `5000`, `20k` or `1.5M`, of whatever a second; a `/s` behind it is allowed.
///
/// # Errors
/// What would be right.
pub fn parse_rate(text: &str) -> Result<f64, String> {
    let number = text.trim_end_matches("/s");
    let (number, unit) = match number.as_bytes().last() {
        Some(b'k' | b'K') => (&number[..number.len() - 1], 1e3),
        Some(b'M') => (&number[..number.len() - 1], 1e6),
        Some(_) | None => (number, 1.0),
    };
    number
        .parse::<f64>()
        .ok()
        .map(|number| number * unit)
        .filter(|rate| (0.0..=1e9).contains(rate))
        .ok_or_else(|| "write a number a second, as 500, 20k or 1.5M".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_units() {
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert!(
            parse_duration("5").is_err() && parse_duration("-1s").is_err() && parse_duration("s").is_err()
        );
        assert_eq!(parse_rate("20k"), Ok(20_000.0));
        assert_eq!(parse_rate("1.5M/s"), Ok(1_500_000.0));
        assert!(parse_rate("-1").is_err() && parse_rate("k").is_err() && parse_rate("").is_err());
    }
}
