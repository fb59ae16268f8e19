//! Our command protocol, in the wire format of Redis: RESP2, and RESP3 after `HELLO 3`. A person can type
//! it over `nc`; every Redis client library, `redis-cli` and `redis-benchmark` speak it unmodified.
//!
//! Read on in [`decode`] (bytes into arguments), [`command`] (arguments into a [`Command`]), [`verbs`] (the
//! one table of verbs) and [`encode`] (replies into bytes).
//!
//! # A read loop
//!
//! [`Scratch`] is one for all connections; a connection owns its [`Decoder`] (8 bytes) and its
//! [`Version`]. [`answer`] replies to what needs no server; the rest is asked of the server, by [`Commands`].
//!
//! ```
//! use linger::protocol::ProtocolError;
//! use linger::protocol::resp::{Command, Decoder, Reply, Scratch, Version, answer};
//!
//! /// Carries out what is whole in `input`; what is left in it must be kept for the next time.
//! fn drive(
//!     decoder: &mut Decoder,
//!     input: &mut &[u8],
//!     scratch: &mut Scratch,
//!     out: &mut Vec<u8>,
//! ) -> Result<(), ProtocolError> {
//!     let subscribed = false;
//!     while let Some(arguments) = decoder.next_frame(input, 65_536, scratch)? {
//!         let mut reply = Reply::new(out, Version::Resp2);
//!         match Command::parse(arguments) {
//!             Ok(command) if answer(&command, subscribed, &mut reply) => {}
//!             Ok(Command::Beat) => {}
//!             Ok(command) => reply.error(&format!("ERR {:?} is the server's work", command.verb())),
//!             Err(refusal) => reply.error(&refusal.0),
//!         }
//!     }
//!     Ok(())
//! }
//!
//! let mut input: &[u8] = b"*1\r\n$4\r\nPING\r\nECHO 'a b'\r\nBEAT\r\n*2\r\n$4\r\nEC";
//! let mut out = Vec::new();
//! drive(&mut Decoder::default(), &mut input, &mut Scratch::default(), &mut out).unwrap();
//! assert_eq!(out, b"+PONG\r\n$3\r\na b\r\n");
//! assert_eq!(input, b"*2\r\n$4\r\nEC");
//! ```
//!
//! # Grammar
//!
//! RFC 5234. Numbers have no sign `+` and no leading zero.
//!
//! ```text
//! stream    = *( array / line )
//! array     = "*" count CRLF *argument      ; count times; none: nothing happens, as with "*-1"
//! argument  = "$" length CRLF *OCTET CRLF   ; length octets, any
//! line      = [ word *( blanks word ) ] [ blanks ] [ CR ] LF    ; may be empty: nothing happens
//! word      = *plain [ quoted ]             ; not empty; nothing but blanks may follow quotes
//! quoted    = DQUOTE *( escape / other ) DQUOTE / "'" *( "\'" / other ) "'"
//! escape    = "\" ( "n" / "r" / "t" / "b" / "a" / "x" 2HEXDIG / other )
//! ```
//!
//! Bounds: a channel, a pattern and an identity have at most 512 bytes. A frame has at most `frame_bytes_max` bytes
//! (policy of the listener), a line at most 64 KiB as well, and either at most [`decode::ARGUMENTS_MAX`] arguments. An
//! array is refused as soon as what it announces cannot fit; nothing is ever allocated for an announcement. A mistake
//! in the grammar is answered `-ERR Protocol error: ...` and ends the connection, `protocol.malformed` or
//! `protocol.oversized`. A line that begins an HTTP request ends it too, `protocol.unsupported`: browsers can be made
//! to send those.
//!
//! # Verbs
//!
//! In any case. What Redis has is answered as Redis answers it.
//!
//! | verb | reply |
//! | --- | --- |
//! | `PING [message]` | `+PONG` or the message; in RESP2 with subscriptions the array `pong`, message |
//! | `ECHO message` | the message |
//! | `QUIT` | `+OK`; the goodbye of this protocol: the connection ends `peer.goodbye` |
//! | `RESET` | `+RESET`; subscriptions, name, identity and RESP3 are gone |
//! | `HELLO [2\|3 [AUTH user password] [SETNAME name]]` | a map about server and connection |
//! | `AUTH [user] password` | `+OK`, or `-WRONGPASS ...`; without users any password of `default` will do |
//! | `ACL WHOAMI\|CAT\|LIST\|USERS\|GETUSER` | as Redis; see `ACL HELP` |
//! | `SELECT 0` | `+OK` |
//! | `CLIENT SETNAME\|GETNAME\|ID\|INFO\|LIST\|KILL` | as Redis; see `CLIENT HELP` |
//! | `CLIENT SETINFO\|NO-EVICT\|NO-TOUCH`, `TRACKING OFF`, `REPLY ON` | `+OK`, without effect |
//! | `IDENT id [BEAT seconds] [SERVERPING] [CHANNEL token]` | `+OK` |
//! | `IDENTFOR key id` | `+OK`; `-GONE ...` if that connection has ended |
//! | `BEAT` | none |
//! | `BEATFOR id [token]` | `+OK` |
//! | `SEND id message` | `:1` if somebody is there to take it, else `:0` |
//! | `WHO [pattern]` | array of identities |
//! | `STATE id` | `+online`, `+suspect` or `+offline` |
//! | `STATE id LAST` | array of that, the reason of its last ending, and how many seconds ago that was; null: not known |
//! | `SUBSCRIBE`, `UNSUBSCRIBE`, `PSUBSCRIBE`, `PUNSUBSCRIBE` | a confirmation for each channel |
//! | `PUBLISH channel message` | how many receive it; with several workers, how many at this one |
//! | `PUBSUB CHANNELS [pattern]\|NUMSUB [channel ...]\|NUMPAT` | as Redis |
//! | `INFO [section ...]` | text, `field:value` a line |
//! | `COMMAND [COUNT\|LIST\|INFO\|DOCS]`, `HELP` | the table of verbs, for programs and for people |
//! | `CONFIG GET pattern ...` | a map of the little that load generators ask for |
//!
//! Where its listener has users (`users = FILE`), a connection logs in before it does anything else but leave: by `AUTH`, or
//! with `HELLO`. What it may do then, [`users`](crate::protocol::users) says: `-NOAUTH` and `-NOPERM` are as in Redis.
//! Failed attempts of an address slow down the next ones; one for which too many wait ends its connection,
//! `protocol.auth`. Without users, on an address that other hosts can reach, what acts on other connections
//! ([`acts`]) is refused by `-DENIED`.
//!
//! An identity has 1 to 128 bytes of UTF-8 without blanks and control characters. In RESP2 a connection
//! with subscriptions may only say (P)SUBSCRIBE, (P)UNSUBSCRIBE, PING, QUIT, RESET and BEAT.
//!
//! # Heartbeat
//!
//! `IDENT id BEAT seconds` is a contract: the client will be heard at least that often, and is suspect when
//! it is not. Whatever it sends counts; `BEAT` is the cheapest, and the server stays silent. Without `BEAT`
//! the default of the listener holds. With `SERVERPING` the server asks when the client has been silent: in
//! RESP3 by the push `heartbeat`, in RESP2 by the line `+PING`. Any answer will do, and `BEAT` is the one
//! that draws none in turn. Who has not asked for pings is never sent any.
//!
//! `BEATFOR id token` on a second connection keeps the first one alive while it is silent, and when that second
//! connection ends, the first becomes suspect at once: if the first has agreed to that by `IDENT id CHANNEL token`,
//! of 1 to 64 bytes that only the two of them know. No other connection can beat for it then, or take the place of
//! that one. A connection that has named no token is kept alive by any `BEATFOR id`, and the end of the one that sent it
//! says nothing of the first.
//!
//! # What comes unasked
//!
//! Messages of channels and patterns, as Redis sends them; direct messages as `message`, `$direct:<id>`,
//! payload; presence on [`$presence:<id>`](crate::protocol::presence); pings; and when the server ends the
//! connection, its goodbye: in RESP3 the push `goodbye`, reason, in RESP2 the line `-GOODBYE reason`. In
//! RESP2 nothing marks these as unasked: a client that is to be sent direct messages or pings in between
//! its own requests does better with RESP3. Pings and the goodbye are words of ours that no library of Redis
//! knows. So the goodbye goes only to a client whose last command was typed, as a line, or which asked for
//! pings by `SERVERPING`; libraries, which send arrays, get an end of file at once, in RESP2 and RESP3 alike.

pub mod acl;
pub mod acts;
mod answer;
pub mod client;
pub mod command;
pub mod decode;
pub mod encode;
mod info;
mod inline;
mod judge;
mod outcome;
mod session;
mod settings;
pub mod verbs;

pub use super::Identity;
pub use answer::answer;
pub use command::{Command, CommandError};
pub use decode::{Arguments, Decoder, Scratch};
pub use encode::{Confirmation, Reply};
pub use session::Commands;
pub use verbs::Verb;

use super::Access;
use super::first_bytes::{Opening, Signature};
use super::spec::{Encode, EncodeDirect, Message, Reached, Spec};
use crate::core::end::{Foreign, Reason};
use crate::core::setting::{Key, Values};

/// Commands in the wire format of Redis.
#[derive(Debug)]
pub struct Resp;

impl Spec for Resp {
    const NAME: &'static str = "resp";
    const SUMMARY: &'static str = "is the command protocol in Redis's wire format";
    const SERVES_CLIENTS: bool = true;
    const KEEPS_SESSION: bool = true;
    const ANSWERS_FRAMES: bool = true;
    const BUILTIN_ADDRESS: Option<&'static str> = Some("127.0.0.1:7000");
    const SETTINGS: &'static [Key] = &settings::SETTINGS;
    const DEFAULTS: &'static [(&'static str, &'static str)] = &[("handshake_timeout", "60s")];
    const OPENING: Option<Opening> = Some(Opening {
        foreign: Foreign::Resp,
        title: "RESP",
        signatures: &[Signature::By(decode::begins_array)],
        advice: "commands are for a listener with protocol = \"resp\"",
    });
    const FULL: Option<fn(&mut Vec<u8>)> = Some(|out| out.extend_from_slice(encode::FULL));

    type Encoding = Version;
    type Session = Commands;

    fn access(own: &Values) -> Access {
        settings::access(own)
    }

    fn goodbye(version: Option<Version>, reason: Reason, out: &mut Vec<u8>) {
        Reply::new(out, version.unwrap_or_default()).goodbye(reason);
    }

    fn server_ping(version: Option<Version>) -> Option<&'static [u8]> {
        Some(encode::server_ping(version.unwrap_or_default()))
    }

    fn eof_probe(version: Option<Version>) -> &'static [u8] {
        encode::server_ping(version.unwrap_or_default())
    }

    fn to_try(at: Reached<'_>) -> Vec<String> {
        match at {
            Reached::Unix(path) => vec![format!("nc -U {path}")],
            Reached::Tcp { host, port } => vec![
                format!("printf 'PING\\r\\n' | nc -N {host} {port}"),
                format!("redis-cli -h {host} -p {port}"),
            ],
        }
    }
}

/// The version of the protocol that a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Version {
    /// RESP2, which every connection begins with.
    #[default]
    Resp2,
    /// RESP3, after `HELLO 3`.
    Resp3,
}

impl EncodeDirect for Version {
    fn direct(self, identity: &str, payload: &[u8], out: &mut Vec<u8>) {
        Reply::new(out, self).direct(identity, payload);
    }
}

impl Encode for Version {
    const COUNT: usize = 2;

    #[inline]
    fn index(self) -> usize {
        self as usize
    }

    fn message(self, message: &Message<'_>, out: &mut Vec<u8>) {
        let mut reply = Reply::new(out, self);
        match message.pattern {
            None => reply.message(message.channel, message.payload),
            Some(pattern) => reply.pattern_message(pattern, message.channel, message.payload),
        }
    }

    fn name(self, name: &[u8], out: &mut Vec<u8>) -> usize {
        Reply::new(out, self).bulk(name);
        out.len() - b"\r\n".len() - name.len()
    }

    fn version(self) -> u8 {
        match self {
            Self::Resp2 => 2,
            Self::Resp3 => 3,
        }
    }
}
