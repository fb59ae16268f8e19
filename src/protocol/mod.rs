//! Wire protocols, pure: bytes into requests, replies into bytes. No fd, no clock, no mio; the configuration is read
//! elsewhere. What a request *does* is the work of the server.
//!
//! A protocol is a folder and a line of the registry at the end of this file. [`Spec`] is its contract: all that other
//! modules ask of one, the settings of its own among it. The configuration, the help, the log and the reactor learn
//! from the registry what there is. [`Session`] is what it remembers of a connection and how it serves what was received,
//! and [`Server`] all that it may ask of the server meanwhile. `toy` is one that only tests speak: the shortest way to see
//! what a protocol needs.
//!
//! | protocol | module | what it is |
//! | --- | --- | --- |
//! | echo | [`echo`] | bytes back; there is nothing to decode |
//! | resp | [`resp`] | our commands in the wire format of Redis |
//! | tcp | [`tcp`] | whatever an upstream server speaks; nothing is decoded |
//! | http | [`admin`] for what is asked, [`http`] for how | the admin interface |
//!
//! [`first_bytes`] tells clients apart that speak another protocol than their listener.
//!
//! [`users`] is who may log in, and what each may do. [`gateway`] is what a listener relays to: upstreams, routes, checks.
//!
//! [`presence`] is the text that all of them share about endings: the [`End`](crate::core::end::End) record as
//! JSON, and the events on presence channels. [`clients`] and [`numbers`] are what is told of clients and of the server.
//!
//! Every decoder takes a slice that starts where the last frame ended, yields frames borrowed from it, and
//! leaves in the slice the bytes of a frame that is not whole yet. So a read goes through the one buffer
//! that all connections share; only what is left over has to be kept, and it never exceeds the bound.
//! Chunking changes nothing: any way of cutting the stream gives the same frames and the same error.

mod access;
pub mod admin;
pub mod clients;
mod declaration;
pub mod echo;
pub mod first_bytes;
pub mod gateway;
pub mod http;
mod identity;
pub mod numbers;
pub mod presence;
pub mod proxy_header;
mod registry;
pub mod resp;
pub mod server;
pub mod session;
mod spec;
pub mod tcp;
pub mod users;

pub use access::{Access, Hosts, TOKEN_FILE_BYTES_MAX, Token};
pub use declaration::{Declaration, Registry};
pub use first_bytes::Opening;
pub use gateway::{Balance, ClientReset, Gateway, HalfClose};
pub use identity::{IDENTITY_BYTES_MAX, Identity, Naming};
pub use server::Server;
pub use session::Session;
pub use spec::{
    Encode, EncodeDirect, FRAMING_BYTES_MAX, Inapplicable, LocalOnly, Message, Raw, Reached, Spec,
};

use crate::core::end::{Foreign, Reason, TlsAlert};
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
    /// The alert, if it is TLS that was broken.
    pub alert: Option<TlsAlert>,
}

impl ProtocolError {
    /// The bytes are not in the grammar.
    pub(crate) fn malformed(text: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: Reason::ProtocolMalformed, text: text.into(), spoke: None, alert: None }
    }

    /// The bytes may be in the grammar, but are over a bound.
    pub(crate) fn oversized(text: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: Reason::ProtocolOversized, text: text.into(), spoke: None, alert: None }
    }

    /// The bytes are of another protocol.
    pub(crate) fn foreign(spoke: Foreign) -> Self {
        let text = format!("Protocol error: {} is not spoken here", first_bytes::opening(spoke).title);
        Self { spoke: Some(spoke), ..Self::unsupported(text) }
    }

    /// The rules of TLS were broken.
    pub(crate) fn tls(text: String, alert: Option<TlsAlert>) -> Self {
        Self { reason: Reason::ProtocolTls, text: text.into(), spoke: None, alert }
    }

    /// Somebody has failed to log in too often.
    pub(crate) fn unauthenticated(text: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: Reason::ProtocolAuth, text: text.into(), spoke: None, alert: None }
    }

    /// The bytes belong to something that is not offered.
    pub(crate) fn unsupported(text: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: Reason::ProtocolUnsupported, text: text.into(), spoke: None, alert: None }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.text)
    }
}

impl std::error::Error for ProtocolError {}

registry::registry! {
    Protocol, Encoding, AnySession, Scratch {
        Echo: echo::Echo,
        Resp: resp::Resp,
        Tcp: tcp::Tcp,
        Admin: admin::Admin,
        #[cfg(test)]
        Toy: toy::Toy,
    }
}

impl Protocol {
    /// [`Spec::NAME`]
    pub const fn name(self) -> &'static str {
        self.declaration().name
    }

    /// [`Spec::SERVES_CLIENTS`]
    pub const fn serves_clients(self) -> bool {
        self.declaration().serves_clients
    }

    /// [`Spec::KEEPS_SESSION`]
    pub const fn keeps_session(self) -> bool {
        self.declaration().keeps_session
    }

    /// [`Spec::OPENING`]
    pub const fn opening(self) -> Option<&'static Opening> {
        self.declaration().opening.as_ref()
    }

    /// [`Spec::FULL`]
    pub const fn full(self) -> Option<fn(&mut Vec<u8>)> {
        self.declaration().full
    }

    /// [`Spec::RAW`]
    pub const fn raw(self) -> Option<Raw> {
        self.declaration().raw
    }

    /// The one of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|protocol| protocol.name() == name)
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod toy;
