//! The identity of a client, as all protocols take it, and what comes of giving one to a client that cannot name itself.

use super::clients::GlobalKey;
use super::http::{Response, Status};
use super::server::Refusal;
use std::fmt;

/// Longest identity, in bytes.
pub const IDENTITY_BYTES_MAX: usize = 128;

/// The name of a client that comes back under it: 1 to 128 bytes of UTF-8 without blanks and control
/// characters, so that it can stand in a log line and in the name of a channel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Identity<'a>(&'a str);

impl<'a> Identity<'a> {
    /// Checks `bytes`.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        if bytes.is_empty() || bytes.len() > IDENTITY_BYTES_MAX {
            return None;
        }
        let text = str::from_utf8(bytes).ok()?;
        (!text.contains(|c: char| c.is_whitespace() || c.is_control())).then_some(Self(text))
    }

    /// The identity as text.
    pub const fn as_str(&self) -> &'a str {
        self.0
    }
}

/// What came of giving a connection an identity by the word of the application behind a gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Naming {
    /// It has it.
    Done,
    /// It has ended, or is ending: no harm, connections come and go.
    Gone,
    /// No connection of this server can have such a key.
    Nowhere,
    /// It is the one to the upstream server. That of the client has this key.
    Upstream(GlobalKey),
    /// Its protocol lets a client name itself.
    NamesItself,
    /// No application is behind it.
    NotRelayed,
    /// As where a client names itself.
    Refused(Refusal),
}

impl fmt::Display for Naming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "that connection has the identity",
            Self::Gone => "that connection has ended, or is ending",
            Self::Nowhere => {
                "no connection here has such a key: it is as in the log, and behind the number of its worker and a dot \
                 where there are several"
            }
            Self::Upstream(client) => {
                return write!(f, "that connection is the one to the upstream server; the client's is {client}");
            }
            Self::NamesItself => "the client of that connection names itself",
            Self::NotRelayed => "that connection is no gateway's client",
            Self::Refused(refusal) => return refusal.fmt(f),
        })
    }
}

impl Naming {
    /// The answer of the admin interface.
    pub fn response(self) -> Response<'static> {
        let status = match self {
            Self::Done => Status::Ok,
            Self::Gone => Status::NotFound,
            Self::Nowhere => Status::BadRequest,
            Self::Upstream(_) | Self::NamesItself | Self::NotRelayed => Status::Conflict,
            Self::Refused(_) => Status::Unavailable,
        };
        Response::text(status, format!("{self}\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_can_stand_in_a_log_line() {
        let longest = "x".repeat(IDENTITY_BYTES_MAX);
        for good in ["a", "sensor-7", "gerät/9", &longest] {
            assert_eq!(Identity::new(good.as_bytes()).map(|id| id.0), Some(good));
        }
        let too_long = "x".repeat(IDENTITY_BYTES_MAX + 1);
        for bad in ["", "a b", "a\n", "a\u{a0}b", "\u{7f}", "\u{85}", &too_long] {
            assert_eq!(Identity::new(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(Identity::new(b"\xff"), None);
    }
}
