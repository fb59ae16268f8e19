//! Wire protocols, pure: bytes into requests, replies into bytes. No fd, no clock, no mio, no hub; what a
//! request *does* is the reactor's work.
//!
//! | protocol | module | what it is |
//! | --- | --- | --- |
//! | echo | none | bytes back; there is nothing to decode, so its whole contract stands below |
//! | resp | [`resp`] | our commands in the wire format of Redis |
//! | http | [`http`], and [`admin`] for what is asked | the admin interface |
//!
//! [`first_bytes`] knows the beginnings of what is none of these.
//!
//! [`presence`] is the text that all of them share about endings: the [`End`](crate::core::end::End) record as
//! JSON, and the events on presence channels.
//!
//! Every decoder takes a slice that starts where the last frame ended, yields frames borrowed from it, and
//! leaves in the slice the bytes of a frame that is not whole yet. So a read goes through the one buffer
//! that all connections share; only what is left over has to be kept, and it never exceeds the bound.
//! Chunking changes nothing: any way of cutting the stream gives the same frames and the same error.
//!
//! # Echo
//!
//! What arrives is queued for sending in the order it came, byte for byte; a frame is one receive.
//!
//! - **Half-close.** After the client's FIN everything it sent is still sent back; only then is the socket
//!   closed, without a FIN of ours before it. `printf hello | nc -N` gets its hello.
//! - **Backpressure.** When output waits above `output_high`, reading pauses, and with it the client's
//!   window; it resumes below `output_low`. One receive may lie between the two, nothing more: an echo
//!   connection whose client does not read holds a bounded amount and delays nobody else.

pub mod admin;
pub mod first_bytes;
pub mod http;
pub mod presence;
pub mod resp;

use crate::config::settings::Protocol;
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
        let text = format!("Protocol error: {} is not spoken here", spoke.title());
        Self { spoke: Some(spoke), ..Self::unsupported(text) }
    }

    /// The bytes belong to something that is not offered.
    pub(crate) fn unsupported(text: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: Reason::ProtocolUnsupported, text: text.into(), spoke: None }
    }
}

/// Appends what a protocol says to a peer that we part from for `reason`; nothing where it has no words for
/// that. `version`: of a session of the command protocol.
pub fn goodbye(protocol: Protocol, version: resp::Version, reason: Reason, out: &mut Vec<u8>) {
    match (protocol, reason) {
        (Protocol::Resp, Reason::LocalLimit) => out.extend_from_slice(resp::encode::FULL),
        (Protocol::Resp, _) => resp::Reply::new(out, version).goodbye(reason),
        (Protocol::Http, Reason::LocalLimit) => http::Rejected::FULL.write(out),
        // A response belongs to a request, and an echo to its bytes: neither has a place for more.
        (Protocol::Http | Protocol::Echo, _) => {}
    }
}

/// A few bytes that a peer which has only half-closed can take without harm; one that has closed answers
/// them by RST.
pub const fn eof_probe(protocol: Protocol, version: resp::Version) -> &'static [u8] {
    match protocol {
        Protocol::Resp => resp::encode::server_ping(version),
        Protocol::Echo | Protocol::Http => b"\n",
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.text)
    }
}

impl std::error::Error for ProtocolError {}
