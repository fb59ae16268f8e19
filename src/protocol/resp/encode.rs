//! Replies, messages and the server's own words into bytes, appended to whatever output is waiting.
//!
//! RESP3 has types that RESP2 lacks. Where they differ, [`Reply`] writes what the version in force allows,
//! so that who replies need not know: a map becomes a flat array, null a null bulk, a push an array.

use super::Version;
use crate::core::end::Reason;

/// What a full server says before it parts, as Redis does; RESP2 and RESP3 alike.
pub const FULL: &[u8] = b"-ERR max number of clients reached\r\n";

/// A heartbeat of ours, in each version.
pub const fn server_ping(version: Version) -> &'static [u8] {
    match version {
        Version::Resp2 => b"+PING\r\n",
        Version::Resp3 => b">1\r\n$9\r\nheartbeat\r\n",
    }
}

/// What confirms that a subscription was made or given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Confirmation {
    /// `SUBSCRIBE`.
    Subscribe,
    /// `UNSUBSCRIBE`.
    Unsubscribe,
    /// `PSUBSCRIBE`.
    Psubscribe,
    /// `PUNSUBSCRIBE`.
    Punsubscribe,
}

impl Confirmation {
    const fn name(self) -> &'static [u8] {
        match self {
            Self::Subscribe => b"subscribe",
            Self::Unsubscribe => b"unsubscribe",
            Self::Psubscribe => b"psubscribe",
            Self::Punsubscribe => b"punsubscribe",
        }
    }
}

/// Writes to one connection, or, for a message to many, to all that speak `version`.
#[derive(Debug)]
pub struct Reply<'b> {
    out: &'b mut Vec<u8>,
    version: Version,
}

impl<'b> Reply<'b> {
    /// Appends to `out`.
    #[inline]
    pub const fn new(out: &'b mut Vec<u8>, version: Version) -> Self {
        Self { out, version }
    }

    /// What is spoken.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// `+PONG`.
    #[inline]
    pub fn pong(&mut self) {
        self.out.extend_from_slice(b"+PONG\r\n");
    }

    /// The reply to `PING` on a RESP2 connection with subscriptions, where only arrays may come.
    pub fn pong_subscribed(&mut self, message: &[u8]) {
        self.array(2);
        self.bulk(b"pong");
        self.bulk(message);
    }

    /// A simple string. It is made one line.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text);
    }

    /// An error; `text` begins with its code, such as `ERR`. It is made one line.
    pub fn error(&mut self, text: &str) {
        self.line(b'-', text);
    }

    /// The last words to a peer that broke the protocol.
    pub fn protocol_error(&mut self, text: &str) {
        self.out.extend_from_slice(b"-ERR ");
        self.one_line(text);
    }

    /// An integer.
    pub fn integer(&mut self, value: i64) {
        self.out.push(b':');
        if value < 0 {
            self.out.push(b'-');
        }
        self.decimal(value.unsigned_abs());
        self.crlf();
    }

    /// How many; saturates at the largest integer of the protocol.
    pub fn count(&mut self, count: usize) {
        self.integer(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// The same for a number that is one already.
    pub fn number(&mut self, number: u64) {
        self.integer(i64::try_from(number).unwrap_or(i64::MAX));
    }

    /// A string of any bytes.
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.header(b'$', bytes.len());
        self.out.extend_from_slice(bytes);
        self.crlf();
    }

    /// Nothing: `_`, or the null bulk.
    pub fn null(&mut self) {
        self.out.extend_from_slice(match self.version {
            Version::Resp2 => b"$-1\r\n",
            Version::Resp3 => b"_\r\n",
        });
    }

    /// A truth value: `#t` and `#f`, or 1 and 0.
    pub fn boolean(&mut self, value: bool) {
        self.out.extend_from_slice(match (self.version, value) {
            (Version::Resp2, true) => b":1\r\n",
            (Version::Resp2, false) => b":0\r\n",
            (Version::Resp3, true) => b"#t\r\n",
            (Version::Resp3, false) => b"#f\r\n",
        });
    }

    /// A text for people: verbatim, or bulk.
    pub fn verbatim(&mut self, text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        self.verbatim_header(text.len());
        self.out.extend_from_slice(text);
        self.verbatim_end();
    }

    /// What stands before such a text of `length` bytes, for one that is too long to be copied.
    pub fn verbatim_header(&mut self, length: usize) {
        match self.version {
            Version::Resp2 => self.header(b'$', length),
            Version::Resp3 => {
                self.header(b'=', length + b"txt:".len());
                self.out.extend_from_slice(b"txt:");
            }
        }
    }

    /// What stands behind it.
    pub fn verbatim_end(&mut self) {
        self.crlf();
    }

    /// The header of an array: `length` replies follow.
    pub fn array(&mut self, length: usize) {
        self.header(b'*', length);
    }

    /// The header of a map: `length` times key and value follow.
    pub fn map(&mut self, length: usize) {
        match self.version {
            Version::Resp2 => self.header(b'*', 2 * length),
            Version::Resp3 => self.header(b'%', length),
        }
    }

    /// The header of a set: `length` replies follow.
    pub fn set(&mut self, length: usize) {
        self.header(if self.version == Version::Resp3 { b'~' } else { b'*' }, length);
    }

    /// The header of a push: `length` replies follow that nobody asked for.
    pub fn push(&mut self, length: usize) {
        self.header(if self.version == Version::Resp3 { b'>' } else { b'*' }, length);
    }

    /// A message to the subscribers of a channel. Direct messages (`SEND`) come this way too, with the
    /// identity they are for in place of the channel: see [`Reply::direct`].
    pub fn message(&mut self, channel: &[u8], payload: &[u8]) {
        self.push(3);
        self.bulk(b"message");
        self.bulk(channel);
        self.bulk(payload);
    }

    /// A message to those who subscribed by pattern.
    pub fn pattern_message(&mut self, pattern: &[u8], channel: &[u8], payload: &[u8]) {
        self.push(4);
        self.bulk(b"pmessage");
        self.bulk(pattern);
        self.bulk(channel);
        self.bulk(payload);
    }

    /// A direct message: `message`, `$direct:<id>`, payload. The form of a channel message, because that
    /// is what every client library hands on; it needs no subscription.
    pub fn direct(&mut self, identity: &str, payload: &[u8]) {
        const PREFIX: &[u8] = b"$direct:";
        self.push(3);
        self.bulk(b"message");
        self.header(b'$', PREFIX.len() + identity.len());
        self.out.extend_from_slice(PREFIX);
        self.out.extend_from_slice(identity.as_bytes());
        self.crlf();
        self.bulk(payload);
    }

    /// Confirms one subscription made or given up; `count` are left. No `channel`: there was none to give
    /// up.
    pub fn confirm(&mut self, confirmation: Confirmation, channel: Option<&[u8]>, count: usize) {
        self.push(3);
        self.bulk(confirmation.name());
        match channel {
            Some(channel) => self.bulk(channel),
            None => self.null(),
        }
        self.count(count);
    }

    /// A heartbeat of ours, to those who asked for it: a push `heartbeat`, or the line `+PING`.
    pub fn server_ping(&mut self) {
        self.out.extend_from_slice(server_ping(self.version));
    }

    /// Our goodbye: a push `goodbye` with the reason, or an error line with the code `GOODBYE`.
    pub fn goodbye(&mut self, reason: Reason) {
        match self.version {
            Version::Resp2 => {
                self.out.extend_from_slice(b"-GOODBYE ");
                self.one_line(reason.name());
            }
            Version::Resp3 => {
                self.push(2);
                self.bulk(b"goodbye");
                self.bulk(reason.name().as_bytes());
            }
        }
    }

    /// The reply to `HELLO`, in the version that it chose.
    pub fn hello(&mut self, id: u64) {
        self.map(7);
        self.bulk(b"server");
        self.bulk(env!("CARGO_PKG_NAME").as_bytes());
        self.bulk(b"version");
        self.bulk(env!("CARGO_PKG_VERSION").as_bytes());
        self.bulk(b"proto");
        self.integer(match self.version {
            Version::Resp2 => 2,
            Version::Resp3 => 3,
        });
        self.bulk(b"id");
        self.integer(i64::try_from(id).unwrap_or(i64::MAX));
        self.bulk(b"mode");
        self.bulk(b"standalone");
        self.bulk(b"role");
        self.bulk(b"master");
        self.bulk(b"modules");
        self.array(0);
    }

    fn line(&mut self, sigil: u8, text: &str) {
        self.out.push(sigil);
        self.one_line(text);
    }

    /// A line ends at CR or LF: one inside would let a peer's own words pass for another reply.
    fn one_line(&mut self, text: &str) {
        self.out.extend(text.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
        self.crlf();
    }

    fn header(&mut self, sigil: u8, number: usize) {
        self.out.push(sigil);
        self.decimal(number as u64);
        self.crlf();
    }

    fn decimal(&mut self, mut value: u64) {
        let mut digits = [0; 20];
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = b'0' + u8::try_from(value % 10).expect("a digit");
            value /= 10;
            if value == 0 {
                break;
            }
        }
        self.out.extend_from_slice(&digits[start..]);
    }

    fn crlf(&mut self) {
        self.out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the path of a method of Reply names one lifetime, both() needs it for any"
    )]

    use super::*;

    fn both(write: impl Fn(&mut Reply<'_>)) -> [String; 2] {
        [Version::Resp2, Version::Resp3].map(|version| {
            let mut out = Vec::new();
            write(&mut Reply::new(&mut out, version));
            String::from_utf8(out).unwrap()
        })
    }

    #[track_caller]
    fn same(write: impl Fn(&mut Reply<'_>), expected: &str) {
        assert_eq!(both(write), [expected, expected]);
    }

    #[test]
    fn what_both_versions_have_is_written_alike() {
        same(|r| r.ok(), "+OK\r\n");
        same(|r| r.pong(), "+PONG\r\n");
        same(|r| r.simple("a b"), "+a b\r\n");
        same(|r| r.integer(0), ":0\r\n");
        same(|r| r.integer(-120), ":-120\r\n");
        same(|r| r.integer(i64::MIN), ":-9223372036854775808\r\n");
        same(|r| r.bulk(b"a\r\nb"), "$4\r\na\r\nb\r\n");
        same(|r| r.bulk(b""), "$0\r\n\r\n");
        same(|r| r.array(3), "*3\r\n");
        same(|r| r.pong_subscribed(b"x"), "*2\r\n$4\r\npong\r\n$1\r\nx\r\n");
        same(|r| r.protocol_error("Protocol error: x"), "-ERR Protocol error: x\r\n");
    }

    #[test]
    fn what_only_resp3_has_falls_back() {
        assert_eq!(both(|r| r.null()), ["$-1\r\n", "_\r\n"]);
        assert_eq!(both(|r| r.boolean(true)), [":1\r\n", "#t\r\n"]);
        assert_eq!(both(|r| r.boolean(false)), [":0\r\n", "#f\r\n"]);
        assert_eq!(both(|r| r.map(2)), ["*4\r\n", "%2\r\n"]);
        assert_eq!(both(|r| r.set(2)), ["*2\r\n", "~2\r\n"]);
        assert_eq!(both(|r| r.push(2)), ["*2\r\n", ">2\r\n"]);
        assert_eq!(both(|r| r.verbatim("ab")), ["$2\r\nab\r\n", "=6\r\ntxt:ab\r\n"]);
        assert_eq!(both(|r| r.server_ping()), ["+PING\r\n", ">1\r\n$9\r\nheartbeat\r\n"]);
        assert_eq!(
            both(|r| r.goodbye(Reason::LocalDrain)),
            ["-GOODBYE local.drain\r\n", ">2\r\n$7\r\ngoodbye\r\n$11\r\nlocal.drain\r\n"]
        );
    }

    #[test]
    fn messages_are_what_redis_sends() {
        let [two, three] = both(|r| r.message(b"a", b"x"));
        assert_eq!(two, "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n");
        assert_eq!(three, two.replacen('*', ">", 1));
        let [two, _] = both(|r| r.pattern_message(b"a*", b"a", b"x"));
        assert_eq!(two, "*4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$1\r\na\r\n$1\r\nx\r\n");
        let [two, _] = both(|r| r.direct("me", b"x"));
        assert_eq!(two, "*3\r\n$7\r\nmessage\r\n$10\r\n$direct:me\r\n$1\r\nx\r\n");
        let [two, three] = both(|r| r.confirm(Confirmation::Unsubscribe, None, 0));
        assert_eq!(two, "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n");
        assert_eq!(three, ">3\r\n$11\r\nunsubscribe\r\n_\r\n:0\r\n");
        let [two, _] = both(|r| r.confirm(Confirmation::Psubscribe, Some(b"a*"), 2));
        assert_eq!(two, "*3\r\n$10\r\npsubscribe\r\n$2\r\na*\r\n:2\r\n");
    }

    #[test]
    fn the_words_of_a_peer_cannot_forge_a_second_reply() {
        same(|r| r.error("ERR unknown 'a\r\n+OK\r\n'"), "-ERR unknown 'a  +OK  '\r\n");
    }

    #[test]
    fn hello_is_a_map_of_seven() {
        let [two, three] = both(|r| r.hello(7));
        assert!(two.starts_with("*14\r\n$6\r\nserver\r\n$6\r\nlinger\r\n"));
        assert!(three.starts_with("%7\r\n") && three.contains("proto\r\n:3\r\n$2\r\nid\r\n:7\r\n"));
    }
}
