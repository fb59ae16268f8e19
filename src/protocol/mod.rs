//! Wire protocols, pure: bytes into requests, replies into bytes. No fd, no clock, no mio, no hub, no settings; what a
//! request *does* is the reactor's work.
//!
//! A protocol is a folder and a line of the registry at the end of this file. [`Spec`] is its contract: all that other
//! modules ask of one. The configuration, the help, the log and the reactor learn from the registry what there is.
//!
//! | protocol | module | what it is |
//! | --- | --- | --- |
//! | echo | [`echo`] | bytes back; there is nothing to decode |
//! | resp | [`resp`] | our commands in the wire format of Redis |
//! | http | [`admin`] for what is asked, [`http`] for how | the admin interface |
//!
//! [`first_bytes`] tells clients apart that speak another protocol than their listener.
//!
//! [`presence`] is the text that all of them share about endings: the [`End`](crate::core::end::End) record as
//! JSON, and the events on presence channels.
//!
//! Every decoder takes a slice that starts where the last frame ended, yields frames borrowed from it, and
//! leaves in the slice the bytes of a frame that is not whole yet. So a read goes through the one buffer
//! that all connections share; only what is left over has to be kept, and it never exceeds the bound.
//! Chunking changes nothing: any way of cutting the stream gives the same frames and the same error.

pub mod admin;
pub mod echo;
pub mod first_bytes;
pub mod http;
pub mod presence;
mod registry;
pub mod resp;
mod spec;

pub use first_bytes::Opening;
pub use spec::{Encode, FRAMING_BYTES_MAX, Inapplicable, Message, Reached, Spec};

use crate::core::end::{Foreign, Reason};
use std::borrow::Cow;
use std::fmt;

/// The peer broke its protocol: nothing that follows on this connection can be understood. It is told
/// `text` in the manner of the protocol, then its connection is closed for `reason`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProtocolError {
    /// One of the reasons of class `protocol`.
    pub reason: Reason,
    /// What to tell the peer, and the log.
    pub text: Cow<'static, str>,
    /// What it spoke instead.
    pub spoke: Option<Foreign>,
}

impl ProtocolError {
    /// The bytes are not in the grammar.
    pub(crate) fn malformed(text: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: Reason::ProtocolMalformed, text: text.into(), spoke: None }
    }

    /// The bytes may be in the grammar, but are over a bound.
    pub(crate) fn oversized(text: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: Reason::ProtocolOversized, text: text.into(), spoke: None }
    }

    /// The bytes are of another protocol.
    pub(crate) fn foreign(spoke: Foreign) -> Self {
        let text = format!("Protocol error: {} is not spoken here", first_bytes::opening(spoke).title);
        Self { spoke: Some(spoke), ..Self::unsupported(text) }
    }

    /// The bytes belong to something that is not offered.
    pub(crate) fn unsupported(text: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: Reason::ProtocolUnsupported, text: text.into(), spoke: None }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.text)
    }
}

impl std::error::Error for ProtocolError {}

registry::registry! {
    Protocol, Encoding {
        Echo: echo::Echo,
        Resp: resp::Resp,
        Admin: admin::Admin,
    }
}

/// How many protocols serve clients.
const CLIENTS: usize = {
    let (mut at, mut count) = (0, 0);
    while at < Protocol::ALL.len() {
        count += Protocol::ALL[at].serves_clients() as usize;
        at += 1;
    }
    count
};

impl Protocol {
    /// Those that serve clients, in the order of the registry.
    pub const CLIENTS: [Self; CLIENTS] = {
        let mut clients = [Self::Admin; CLIENTS];
        let (mut at, mut count) = (0, 0);
        while at < Self::ALL.len() {
            if Self::ALL[at].serves_clients() {
                clients[count] = Self::ALL[at];
                count += 1;
            }
            at += 1;
        }
        clients
    };

    /// The one of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|protocol| protocol.name() == name)
    }
}

#[cfg(test)]
mod tests;
