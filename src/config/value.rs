//! How each kind of value is read, what it may be, and how it is written. The kinds are declared in
//! [`setting`](crate::core::setting); their syntax is all here.
//!
//! A value arrives [`Raw`], from TOML or from the text of a URL or flag; its [`Kind`] makes a [`Value`] of
//! it or says what is wrong. `Display` of a value is TOML again, and reads back as the same value.
//! Next: [`keys`](super::keys), which gives every key its kind.

use crate::core::nearest::nearest;
use crate::core::setting::{Kind, ReadText, Step, Value};
use crate::core::time::Duration;
use crate::core::units;
use crate::net::Address;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A value as it stands in its source.
#[derive(Clone, Copy, Debug)]
pub(super) enum Raw<'a> {
    /// The text of a URL parameter, a flag or a default: no quotes, so its kind decides what it is.
    Bare(&'a str),
    /// A string of TOML.
    Text(&'a str),
    /// An integer of TOML, in its own digits and radix.
    Integer(&'a str, u32),
    /// A boolean of TOML.
    Flag(bool),
    /// An array of strings of TOML, joined by commas.
    List(&'a str),
    /// Anything else of TOML, by what it is: `an array`.
    Other(&'static str),
}

/// Why a raw value cannot be taken, and what could.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ValueError {
    /// What is wrong.
    pub(super) wrong: String,
    /// What would be right.
    pub(super) right: String,
}

impl Kind {
    /// Makes a value of a raw one.
    pub(super) fn read(&self, raw: Raw<'_>) -> Result<Value, ValueError> {
        let outcome = match *self {
            Self::Flag => read_flag(raw),
            Self::Choice(words) => read_choice(raw, words),
            Self::Count { min, max, words } => {
                word(raw, words).map_or_else(|| read_count(raw, min, max).map(Value::Count), Ok)
            }
            Self::Size { min, max, words } => {
                word(raw, words).map_or_else(|| read_size(raw, min, max).map(Value::Size), Ok)
            }
            Self::Period { min, max, step, words } => {
                word(raw, words).map_or_else(|| read_period(raw, min, max, step).map(Value::Period), Ok)
            }
            Self::Text { words, read, .. } => word(raw, words).map_or_else(|| read_text(raw, read), Ok),
            Self::List { words, read, .. } => word(raw, words).map_or_else(|| read_list(raw, read), Ok),
            Self::Mode => read_mode(raw),
            Self::TcpAddress => read_address(raw, false),
            Self::AddressOrOff => word(raw, &["off"]).map_or_else(|| read_address(raw, true), Ok),
        };
        outcome.map_err(|wrong| ValueError { wrong, right: self.expects() })
    }

    /// What would be right, as the rest of a sentence that begins with "write".
    pub(super) fn expects(&self) -> String {
        match *self {
            Self::Flag => "true or false".to_owned(),
            Self::Choice(words) => alternatives(words),
            Self::Count { min, max, words } => or_words(format!("a number from {min} to {max}"), words),
            Self::Size { min, max, words } => {
                or_words(format!("a size from {} to {}", Value::Size(min), Value::Size(max)), words)
            }
            Self::Period { min, max, step, words } => {
                let whole = if step == Step::Second { " in whole seconds" } else { "" };
                let range =
                    format!("a duration{whole} from {} to {}", Value::Period(min), Value::Period(max));
                or_words(range, words)
            }
            Self::Text { expects, .. } | Self::List { expects, .. } => expects.to_owned(),
            Self::Mode => "permissions in octal digits and quotes, from \"0000\" to \"0777\"".to_owned(),
            Self::TcpAddress => {
                "an IP address and a port, as \"127.0.0.1:7000\", \"0.0.0.0:7000\" for all of \
                              IPv4, or \"[::]:7000\" for IPv6 and IPv4"
                    .to_owned()
            }
            Self::AddressOrOff => "an IP address and a port, as \"127.0.0.1:7070\", or \
                                   \"unix:/run/linger.sock\", or \"off\""
                .to_owned(),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Count(count) => write!(f, "{count}"),
            Self::Size(bytes) => match units::size_text(*bytes) {
                (text, true) => write!(f, "\"{text}\""),
                (digits, false) => f.write_str(&digits),
            },
            Self::Period(period) => write!(f, "\"{}\"", units::duration_text(*period)),
            Self::Word(word) => write!(f, "\"{word}\""),
            Self::Mode(mode) => write!(f, "\"{mode:04o}\""),
            Self::Text(text) => write!(f, "{}", toml::Value::from(text.as_str())),
        }
    }
}

impl fmt::Display for Raw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bare(text) | Self::Text(text) => write!(f, "{text:?}"),
            Self::Integer(digits, 10) => f.write_str(digits),
            Self::Integer(digits, radix) => write!(f, "{digits} (base {radix})"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::List(_) => f.write_str("an array"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

/// `"a", "b" or "c"`.
fn alternatives(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

fn or_words(range: String, words: &[&str]) -> String {
    if words.is_empty() { range } else { format!("{range}, or {}", alternatives(words)) }
}

/// The text of something written as text.
fn text(raw: Raw<'_>) -> Option<&str> {
    match raw {
        Raw::Bare(text) | Raw::Text(text) => Some(text),
        Raw::Integer(..) | Raw::Flag(_) | Raw::List(_) | Raw::Other(_) => None,
    }
}

fn word(raw: Raw<'_>, words: &[&'static str]) -> Option<Value> {
    let text = text(raw)?;
    words.iter().find(|word| **word == text).map(|word| Value::Word(word))
}

fn read_flag(raw: Raw<'_>) -> Result<Value, String> {
    match raw {
        Raw::Flag(flag) => Ok(Value::Flag(flag)),
        Raw::Bare("true") => Ok(Value::Flag(true)),
        Raw::Bare("false") => Ok(Value::Flag(false)),
        Raw::Text("true" | "false") => Err(format!("{raw} is a string, because of its quotes")),
        Raw::Bare(_) | Raw::Text(_) | Raw::Integer(..) | Raw::List(_) | Raw::Other(_) => {
            Err(format!("{raw} is neither true nor false"))
        }
    }
}

fn read_choice(raw: Raw<'_>, words: &[&'static str]) -> Result<Value, String> {
    word(raw, words).ok_or_else(|| match text(raw).and_then(|text| nearest(text, words.iter().copied())) {
        Some(near) => format!("{raw} is none of the choices (did you mean \"{near}\"?)"),
        None => format!("{raw} is none of the choices"),
    })
}

/// The integer that was written, if it is one.
fn integer(raw: Raw<'_>) -> Option<i128> {
    match raw {
        Raw::Bare(text) => text.parse().ok(),
        Raw::Integer(digits, radix) => i128::from_str_radix(digits, radix).ok(),
        Raw::Text(_) | Raw::Flag(_) | Raw::List(_) | Raw::Other(_) => None,
    }
}

fn read_count(raw: Raw<'_>, min: u64, max: u64) -> Result<u64, String> {
    if let Raw::Text(text) = raw
        && text.parse::<i128>().is_ok()
    {
        return Err(format!("{raw} is a string, because of its quotes"));
    }
    let number = integer(raw).ok_or_else(|| format!("{raw} is not a number"))?;
    within(number, min, max).ok_or_else(|| format!("{raw} is out of range"))
}

fn within(number: i128, min: u64, max: u64) -> Option<u64> {
    u64::try_from(number).ok().filter(|number| (min..=max).contains(number))
}

fn read_size(raw: Raw<'_>, min: u64, max: u64) -> Result<u64, String> {
    let bytes = match (integer(raw), text(raw)) {
        (Some(bytes), _) => bytes,
        (None, Some(text)) => units::parse_size(text).map_err(|why| format!("{raw} {why}"))?.into(),
        (None, None) => return Err(format!("{raw} is not a size")),
    };
    within(bytes, min, max).ok_or_else(|| format!("{raw} is out of range"))
}

fn read_period(raw: Raw<'_>, min: Duration, max: Duration, step: Step) -> Result<Duration, String> {
    let text = match raw {
        Raw::Integer(..) if integer(raw) == Some(0) => "0",
        // It lacks a unit: that is what is said of its digits.
        Raw::Integer(..) => "1",
        Raw::Bare(text) | Raw::Text(text) => text,
        Raw::Flag(_) | Raw::List(_) | Raw::Other(_) => return Err(format!("{raw} is not a duration")),
    };
    let period = units::parse_duration(text).map_err(|why| format!("{raw} {why}"))?;
    if step == Step::Second && period.subsec_nanos() > 0 {
        return Err(format!("{raw} is not in whole seconds, and the kernel counts in those"));
    }
    if !(min..=max).contains(&period) {
        return Err(format!("{raw} is out of range"));
    }
    Ok(period)
}

fn read_text(raw: Raw<'_>, read: ReadText) -> Result<Value, String> {
    let text = text(raw).ok_or_else(|| format!("{raw} is not a string"))?;
    read(text).map(Value::Text)
}

fn read_list(raw: Raw<'_>, read: ReadText) -> Result<Value, String> {
    match raw {
        Raw::List(joined) => read(joined).map(Value::Text),
        Raw::Bare(_) | Raw::Text(_) | Raw::Integer(..) | Raw::Flag(_) | Raw::Other(_) => read_text(raw, read),
    }
}

/// Permissions: a number of TOML is octal only if it is written so.
fn read_mode(raw: Raw<'_>) -> Result<Value, String> {
    let digits = match raw {
        Raw::Bare(text) | Raw::Text(text) | Raw::Integer(text, 8) => text,
        Raw::Integer(..) | Raw::Flag(_) | Raw::List(_) | Raw::Other(_) => {
            return Err(format!("{raw} is not in octal digits"));
        }
    };
    let octal = !digits.is_empty() && digits.chars().all(|c| c.is_digit(8));
    let mode = u32::from_str_radix(digits, 8).ok().filter(|mode| octal && *mode <= 0o777);
    mode.map(Value::Mode).ok_or_else(|| format!("{raw} are no permissions of a file"))
}

fn read_address(raw: Raw<'_>, unix: bool) -> Result<Value, String> {
    let text = text(raw).ok_or_else(|| format!("{raw} is not a string"))?;
    if let Some(path) = text.strip_prefix("unix:") {
        return match (unix, path) {
            (false, _) => Err(format!("{raw} is a unix socket, which only the admin interface can use")),
            (true, "") => Err(format!("{raw} has no path")),
            (true, path) if path.contains('\0') => {
                Err(format!("{raw} has a zero byte, with which every path ends"))
            }
            // sun_path holds 108 bytes with the final zero (unix(7)).
            (true, path) if path.len() > 107 => Err(format!("{raw} is longer than the 107 bytes of a path")),
            (true, _) => Ok(Value::Text(text.to_owned())),
        };
    }
    let address = Address::parse_tcp(text).ok_or_else(|| format!("{raw} {}", why_no_address(text)))?;
    if address.lacks_interface() {
        return Err(format!(
            "{raw} is link-local and does not say on which interface, as [fe80::1%eth0]:7000 does"
        ));
    }
    Ok(Value::Text(address.to_string()))
}

/// The address that an address's value is the text of; `None` for a word in its place.
pub(super) fn address(value: &Value) -> Option<Address> {
    let text = value.text()?;
    match text.strip_prefix("unix:") {
        Some(path) => Some(Address::Unix(path.into())),
        None => Address::parse_tcp(text),
    }
}

fn why_no_address(text: &str) -> &'static str {
    let host = text.rsplit_once(':').map_or(text, |(host, _)| host);
    if text.parse::<Ipv6Addr>().is_ok() {
        "is an IPv6 address without its brackets"
    } else if text.parse::<Ipv4Addr>().is_ok() || text.ends_with(']') {
        "has no port"
    } else if text.starts_with(':') {
        "has no address before its port"
    } else if host.contains('%') && host.ends_with(']') {
        "has no usable interface behind its %, or no usable port"
    } else if host.parse::<Ipv4Addr>().is_ok() || host.ends_with(']') {
        "has no usable port; ports are 0 to 65535"
    } else if host == "localhost" {
        "is a name, and names are not looked up; it is 127.0.0.1 or [::1]"
    } else {
        "is not an IP address and a port"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Kind = Kind::Period {
        min: Duration::from_millis(10),
        max: Duration::from_secs(86_400),
        step: Step::Millisecond,
        words: &["off"],
    };
    const SIZE: Kind = Kind::Size { min: 1, max: 1 << 30, words: &[] };

    fn wrong(kind: Kind, raw: Raw<'_>) -> String {
        kind.read(raw).unwrap_err().wrong
    }

    #[test]
    fn durations_read_and_write_back() {
        for (text, millis) in
            [("30s", 30_000), ("500ms", 500), ("5m", 300_000), ("2h", 7_200_000), ("1d", 86_400_000)]
        {
            let value = PERIOD.read(Raw::Text(text)).unwrap();
            assert_eq!(value, Value::Period(Duration::from_millis(millis)));
            assert_eq!(value.to_string(), format!("\"{text}\""));
        }
        assert_eq!(PERIOD.read(Raw::Bare("1m30s")).unwrap().to_string(), "\"90s\"");
        assert_eq!(PERIOD.read(Raw::Text("off")), Ok(Value::Word("off")));
    }

    #[test]
    fn a_duration_without_a_unit_or_out_of_range_is_told_apart() {
        assert_eq!(wrong(PERIOD, Raw::Integer("30", 10)), "30 has no unit; known are ms, s, m, h and d");
        assert_eq!(wrong(PERIOD, Raw::Text("30")), "\"30\" has no unit; known are ms, s, m, h and d");
        assert!(wrong(PERIOD, Raw::Text("30sec")).contains("has the unit \"sec\""));
        assert_eq!(wrong(PERIOD, Raw::Text("2d")), "\"2d\" is out of range");
        assert_eq!(wrong(PERIOD, Raw::Text("0s")), "\"0s\" is out of range");
        assert_eq!(wrong(PERIOD, Raw::Integer("0", 10)), "0 is out of range");
        assert_eq!(wrong(PERIOD, Raw::Flag(true)), "true is not a duration");
        assert_eq!(
            wrong(PERIOD, Raw::Text("99999999999999999999h")),
            "\"99999999999999999999h\" is not a duration"
        );
        assert_eq!(PERIOD.expects(), "a duration from \"10ms\" to \"1d\", or \"off\"");
    }

    #[test]
    fn sizes_read_and_write_back() {
        for (raw, bytes, written) in [
            (Raw::Text("64KiB"), 65_536, "\"64KiB\""),
            (Raw::Integer("1000", 10), 1000, "1000"),
            (Raw::Integer("100000", 16), 1 << 20, "\"1MiB\""),
            (Raw::Bare("2048"), 2048, "\"2KiB\""),
            (Raw::Text("7B"), 7, "7"),
        ] {
            let value = SIZE.read(raw).unwrap();
            assert_eq!(value, Value::Size(bytes));
            assert_eq!(value.to_string(), written);
        }
        assert!(wrong(SIZE, Raw::Text("64KB")).contains("KiB (1024 bytes)"));
        assert_eq!(wrong(SIZE, Raw::Integer("-1", 10)), "-1 is out of range");
    }

    #[test]
    fn an_address_says_what_it_lacks() {
        for (text, why) in [
            ("127.0.0.1", "has no port"),
            ("[::1]", "has no port"),
            (":7000", "has no address"),
            ("localhost:7000", "it is 127.0.0.1"),
            ("127.0.0.1:70000", "0 to 65535"),
            ("::1:7000", "without its brackets"),
            ("[fe80::1]:7000", "on which interface"),
            ("[fe80::1%]:7000", "no usable interface"),
            ("[fe80::1%a/b]:7000", "no usable interface"),
            ("[fe80::1%an-interface-so-long]:7000", "no usable interface"),
            ("[fe80::1%eth0]", "has no port"),
            ("unix:/tmp/x", "only the admin interface"),
            ("example", "is not an IP address"),
        ] {
            let said = wrong(Kind::TcpAddress, Raw::Text(text));
            assert!(said.contains(why), "{text}: {said}");
        }
        for text in ["[fe80::1%eth0]:7000", "[fe80::1%7]:7000", "[::1]:7000"] {
            let read = Kind::TcpAddress.read(Raw::Text(text)).map(|value| value.to_string());
            assert_eq!(read, Ok(format!("\"{text}\"")));
        }
        assert!(Kind::AddressOrOff.read(Raw::Bare("unix:/run/linger.sock")).is_ok());
        for (text, why) in [
            ("unix:", "has no path"),
            ("unix:/run/a\0b", "has a zero byte"),
            (&*format!("unix:/{}", "a".repeat(107)), "longer than the 107 bytes"),
        ] {
            let said = wrong(Kind::AddressOrOff, Raw::Text(text));
            assert!(said.contains(why), "{text:?}: {said}");
        }
        assert_eq!(Kind::AddressOrOff.read(Raw::Bare("off")), Ok(Value::Word("off")));
    }

    #[test]
    fn permissions_are_octal_and_read_back() {
        let read = |raw| Kind::Mode.read(raw).map(|value| value.to_string());
        for raw in [Raw::Bare("0660"), Raw::Text("660"), Raw::Integer("660", 8)] {
            assert_eq!(read(raw), Ok("\"0660\"".to_owned()));
        }
        for raw in
            [Raw::Integer("660", 10), Raw::Text("rw"), Raw::Text("0888"), Raw::Text("1777"), Raw::Text("+7")]
        {
            assert!(read(raw).is_err(), "{raw}");
        }
    }

    #[test]
    fn a_quoted_number_or_flag_is_a_type_mistake_in_toml_only() {
        assert!(wrong(Kind::Flag, Raw::Text("true")).contains("because of its quotes"));
        assert_eq!(Kind::Flag.read(Raw::Bare("true")), Ok(Value::Flag(true)));
        let count = Kind::Count { min: 1, max: 9, words: &["auto"] };
        assert!(wrong(count, Raw::Text("5")).contains("because of its quotes"));
        assert_eq!(count.read(Raw::Bare("5")), Ok(Value::Count(5)));
    }
}
