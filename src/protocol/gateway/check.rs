//! How the servers of an upstream are checked, as its settings say it: what each is sent, what it is to answer, and how many
//! checks change its state.

use super::settings::DAY;
use crate::core::escape::{escape, unescape};
use crate::core::health::Rules;
use crate::core::setting::{Default, Key, Kind, Step, Value, Values};
use crate::core::time::Duration;
use crate::protocol::proxy_header::Version;

/// Bytes of an answer that are looked at. What has not come by then does not come.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

const MILLISECOND: Step = Step::Millisecond;

/// What can be said of checks, in the table of an upstream as at a listener that has servers of its own.
pub const KEYS: [Key; 8] = [
    Key {
        name: "check.style",
        kind: Kind::Choice(&["off", "connect", "exchange"]),
        default: Default::Same("off"),
        doc: "How servers are checked: \"connect\" finds out whether one can be connected to, \"exchange\" also sends it \
              check.send and looks for check.expect in what it says. A server that is down gets connections only where no \
              other one is left.",
        why: "What a server makes of connections that say nothing only its operator knows. Without checks, what clients \
              see of a server is all that is known of it.",
    },
    Key {
        name: "check.interval",
        kind: Kind::Period { min: Duration::from_millis(100), max: DAY, step: MILLISECOND, words: &[] },
        default: Default::Same("5s"),
        doc: "Time from one check of a server to the next, up to a quarter more or less by chance, so that many do not fall \
              together. Each worker checks for itself.",
        why: "With check.fall, a server that hangs is found out within a quarter of a minute.",
    },
    Key {
        name: "check.timeout",
        kind: Kind::Period { min: Duration::from_millis(10), max: DAY, step: MILLISECOND, words: &[] },
        default: Default::Same("2s"),
        doc: "How long a check may take, from the connect to the last byte that it waits for.",
        why: "A lost SYN is sent again after one second.",
    },
    Key {
        name: "check.rise",
        kind: Kind::Count { min: 1, max: 1_000, words: &[] },
        default: Default::Same("2"),
        doc: "So many checks in a row must pass for a server that is down to be up.",
        why: "One that comes and goes as it starts should not be sent clients at once.",
    },
    Key {
        name: "check.fall",
        kind: Kind::Count { min: 1, max: 1_000, words: &[] },
        default: Default::Same("3"),
        doc: "So many checks in a row must fail for a server that is up to be down; with check.observe = \"first_byte\", \
              also so many connections. One client that could not be connected is enough in any case.",
        why: "A single lost packet is no reason to send all clients elsewhere.",
    },
    Key {
        name: "check.send",
        kind: BYTES,
        default: Default::Same(""),
        doc: "What a server is sent, as bytes with escapes: \\r \\n \\t \\0 \\e \\\\ \\xNN. Empty: it speaks first.",
        why: "It depends on the protocol: 'PING\\r\\n' for Redis, nothing for SSH and SMTP.",
    },
    Key {
        name: "check.expect",
        kind: BYTES,
        default: Default::Same(""),
        doc: "What a server must say, anywhere in its first 64 KiB, in the same form. With check.style = \"exchange\" it must \
              be given.",
        why: "It depends on the protocol: '+PONG' for Redis, 'SSH-2.0' for SSH, '220 ' for SMTP.",
    },
    Key {
        name: "check.observe",
        kind: Kind::Choice(&["connect", "first_byte"]),
        default: Default::Same("connect"),
        doc: "What clients see of a server that counts: whether they can be connected, or also whether it ends their \
              connections before it has answered anything they sent.",
        why: "Most servers end the connection of a client that sends nonsense: with \"first_byte\" clients can take servers \
              down that are well. It is for clients that are known.",
    },
];

/// These keys, and all that can be said of checks behind them.
pub(in crate::protocol) const fn behind<const OWN: usize, const ALL: usize>(own: [Key; OWN]) -> [Key; ALL] {
    assert!(ALL == OWN + KEYS.len());
    let mut all = [own[0]; ALL];
    let mut at = 1;
    while at < ALL {
        all[at] = if at < OWN { own[at] } else { KEYS[at - OWN] };
        at += 1;
    }
    all
}

/// Bytes, as people write them.
const BYTES: Kind = Kind::Text {
    words: &[],
    read: read_bytes,
    expects: "bytes with escapes, as 'PING\\r\\n' or '\\x10\\x00'",
};

/// Whether a key is about checks.
pub fn is_key(name: &str) -> bool {
    KEYS.iter().any(|key| key.name == name)
}

/// How servers are checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// What is done.
    pub style: Style,
    /// Time from one check of a server to the next.
    pub interval: Duration,
    /// How long one may take.
    pub timeout: Duration,
    /// So many must pass in a row for a server that is down.
    pub rise: u32,
    /// So many must fail in a row for one that is up.
    pub fall: u32,
    /// What the server is sent once it is connected. Empty: nothing.
    pub send: Box<[u8]>,
    /// What it must answer, somewhere in what it says. `None`: that it can be connected to is enough.
    pub expect: Option<Pattern>,
    /// Connections that servers end before they have answered count, too.
    pub first_byte: bool,
}

/// What a check is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    /// There are none.
    Off,
    /// The server is connected to.
    Connect,
    /// It is sent something, and its answer is looked at.
    Exchange,
}

impl Check {
    /// What the values say. `header`: what the servers are sent first on every connection.
    pub fn new(own: &Values, header: Option<Version>) -> Self {
        let value = |name: &str| own.value(name);
        let period = |name| value(name).and_then(Value::period).unwrap_or_default();
        let count = |name| value(name).and_then(Value::count).and_then(|count| u32::try_from(count).ok());
        let bytes = |name| value(name).and_then(|value| unescape(value.text()?).ok()).unwrap_or_default();
        let is = |name, word| value(name).and_then(Value::word) == Some(word);
        let first = header.map_or_else(Vec::new, Version::header_of_check);
        let expect = bytes("check.expect");
        Self {
            style: match () {
                () if is("check.style", "connect") => Style::Connect,
                () if is("check.style", "exchange") => Style::Exchange,
                () => Style::Off,
            },
            interval: period("check.interval"),
            timeout: period("check.timeout"),
            rise: count("check.rise").unwrap_or(1),
            fall: count("check.fall").unwrap_or(1),
            send: [first, bytes("check.send")].concat().into(),
            expect: (!expect.is_empty()).then(|| Pattern::new(&expect)),
            first_byte: is("check.observe", "first_byte"),
        }
    }

    /// Whether there are any.
    pub fn is_on(&self) -> bool {
        self.style != Style::Off
    }

    /// What it takes to change the state of a server.
    pub fn rules(&self) -> Rules {
        Rules { rise: self.rise, fall: self.fall, is_checked: self.is_on() }
    }
}

/// As they were given, but on one line.
fn read_bytes(given: &str) -> Result<String, String> {
    let bytes = unescape(given)?;
    if bytes.len() > ANSWER_BYTES_MAX / 2 {
        return Err(format!("{} bytes are more than {}", bytes.len(), ANSWER_BYTES_MAX / 2));
    }
    Ok(given.chars().fold(String::new(), |mut text, c| {
        match c {
            '\r' => text.push_str("\\r"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            c if c.is_ascii_control() => text.push_str(&escape(&[c as u8])),
            c => text.push(c),
        }
        text
    }))
}

/// Bytes that are looked for in a stream of which nothing is kept (Knuth, Morris, Pratt).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    bytes: Box<[u8]>,
    /// Of so many bytes that were found and are not followed by the next one: how many of the last of them are the first of
    /// the pattern again.
    fallback: Box<[usize]>,
}

impl Pattern {
    /// One of at least one byte.
    pub fn new(bytes: &[u8]) -> Self {
        let mut pattern = Self { bytes: bytes.into(), fallback: vec![0; bytes.len()].into() };
        let mut found = 0;
        for (at, byte) in bytes.iter().enumerate().skip(1) {
            found = pattern.next(found, *byte);
            pattern.fallback[at] = found;
        }
        pattern
    }

    /// How many of its bytes are found at the end of a stream that goes on with `bytes`, where `found` were before; all of
    /// them, as soon as they were found anywhere.
    pub fn advance(&self, mut found: usize, bytes: &[u8]) -> usize {
        for byte in bytes {
            if self.is_found(found) {
                break;
            }
            found = self.next(found, *byte);
        }
        found
    }

    /// Whether that is all of it.
    pub fn is_found(&self, found: usize) -> bool {
        found == self.bytes.len()
    }

    fn next(&self, mut found: usize, byte: u8) -> usize {
        while found > 0 && self.bytes[found] != byte {
            found = self.fallback[found - 1];
        }
        found + usize::from(self.bytes[found] == byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_in(pattern: &[u8], pieces: &[&[u8]]) -> bool {
        let pattern = Pattern::new(pattern);
        let found = pieces.iter().fold(0, |found, piece| pattern.advance(found, piece));
        pattern.is_found(found)
    }

    #[test]
    fn bytes_stay_as_they_were_given_but_on_one_line() {
        assert_eq!(read_bytes(r"PING\r\n"), Ok(r"PING\r\n".to_owned()));
        assert_eq!(read_bytes("PING\r\n\u{1}"), Ok(r"PING\r\n\x01".to_owned()));
        assert_eq!(read_bytes(""), Ok(String::new()));
        assert!(read_bytes(r"\q").is_err() && read_bytes(&"a".repeat(40_000)).is_err());
    }

    #[test]
    fn the_header_of_every_connection_stands_before_what_a_check_sends() {
        let values =
            [("check.send", Value::Text(r"PING\r\n".to_owned())), ("check.style", Value::Word("exchange"))];
        let check = Check::new(&values.into_iter().collect(), Some(Version::V1));
        assert_eq!((check.style, &*check.send), (Style::Exchange, &b"PROXY UNKNOWN\r\nPING\r\n"[..]));
        assert!(check.rules().is_checked);
    }

    #[test]
    fn an_answer_is_found_wherever_it_stands_and_however_it_comes() {
        assert!(is_in(b"+PONG", &[b"+PONG\r\n"]));
        assert!(is_in(b"role:master", &[b"# Replication\r\nro", b"le:mas", b"ter\r\n"]));
        assert!(is_in(b"aab", &[b"aaaab"]), "what was found twice counts once");
        assert!(!is_in(b"+PONG", &[b"-LOADING"]) && !is_in(b"a", &[]));
    }

    proptest! {
        #[test]
        fn it_finds_what_a_search_of_the_whole_finds(
            pattern in prop::collection::vec(0_u8..3, 1..6),
            pieces in prop::collection::vec(prop::collection::vec(0_u8..3, 0..20), 0..5),
        ) {
            let whole = pieces.concat();
            let pieces: Vec<_> = pieces.iter().map(Vec::as_slice).collect();
            let expected = whole.windows(pattern.len()).any(|window| window == pattern);
            prop_assert_eq!(is_in(&pattern, &pieces), expected);
        }
    }
}
