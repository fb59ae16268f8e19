//! Why a connection ended: the closed taxonomy of reasons, detectors and ways of closing, and the one
//! record, [`End`], that every accepted connection produces exactly once.
//!
//! Nothing here decides anything; [`conn`](crate::core::conn) decides, and log, metrics, presence and the admin
//! interface all read the same record.

pub use crate::core::alert::{Alert, TlsAlert};
use crate::core::named::named;
use crate::core::proxied::Proxied;
use crate::core::secured::Secured;
use crate::core::table::Key;
use crate::core::tcp::TcpSnapshot;
use crate::core::time::Span;
use std::fmt;
use std::sync::Arc;

named! {
    /// Whose doing an ending was: the part of a reason before the dot.
    Class {
        /// The peer left by an act of its own.
        Peer = "peer",
        /// The peer's host can no longer be reached.
        Lost = "lost",
        /// The peer's host is there, its program is not moving.
        Stuck = "stuck",
        /// The peer reads too slowly for what it is sent.
        Slow = "slow",
        /// The peer broke the protocol.
        Protocol = "protocol",
        /// We ended it.
        Local = "local",
        /// The server behind a gateway, or the way to it.
        Upstream = "upstream",
    }
}

named! {
    /// Why a connection ended. The first cause wins.
    Reason {
        /// The peer said goodbye in its protocol, then closed.
        PeerGoodbye = "peer.goodbye",
        /// The peer closed (FIN) between frames, without a goodbye.
        PeerFin = "peer.fin",
        /// The peer closed (FIN) in the middle of a frame.
        PeerFinMidframe = "peer.fin_midframe",
        /// The peer closed (FIN) a TLS connection without `close_notify`: what it sent may have been cut.
        PeerTruncated = "peer.truncated",
        /// The peer reset the connection: ECONNRESET.
        PeerReset = "peer.reset",
        /// The peer closed, then reset while output for it was still pending: EPIPE.
        PeerResetAfterFin = "peer.reset_after_fin",
        /// The same identity came back on another connection.
        PeerReplaced = "peer.replaced",
        /// TCP keepalive went unanswered: ETIMEDOUT with nothing in flight.
        LostKeepalive = "lost.keepalive",
        /// Data went unacknowledged: ETIMEDOUT with retransmits.
        LostUnacked = "lost.unacked",
        /// The network says there is no way to the peer: EHOSTUNREACH, ENETUNREACH.
        LostUnreachable = "lost.unreachable",
        /// Heartbeat timeout and grace passed, and the peer's kernel was not heard either.
        LostHeartbeat = "lost.heartbeat",
        /// Heartbeat timeout and grace passed, but the peer's kernel still acknowledges.
        StuckFrozen = "stuck.frozen",
        /// The peer's receive window stayed shut although its kernel still acknowledges.
        StuckZeroWindow = "stuck.zero_window",
        /// Output waiting for the peer went over its bound.
        SlowBytes = "slow.bytes",
        /// Output waiting for the peer made no progress for too long.
        SlowTime = "slow.time",
        /// Bytes that the protocol's grammar does not allow.
        ProtocolMalformed = "protocol.malformed",
        /// A frame over its bound.
        ProtocolOversized = "protocol.oversized",
        /// A well-formed request for something that is not offered, and cannot be answered in the protocol.
        ProtocolUnsupported = "protocol.unsupported",
        /// The opening exchange did not finish in time.
        ProtocolHandshakeTimeout = "protocol.handshake_timeout",
        /// The TLS handshake failed, or a record broke its rules: the alert says which, and whose.
        ProtocolTls = "protocol.tls",
        /// It asked in TLS for a name or a protocol that no route of its listener is for, and nothing is for all others.
        ProtocolNoRoute = "protocol.no_route",
        /// Credentials were refused.
        ProtocolAuth = "protocol.auth",
        /// The first bytes were not the header of the PROXY protocol that the listener requires.
        ProtocolProxyMissing = "protocol.proxy_missing",
        /// The header of the PROXY protocol cannot be understood.
        ProtocolProxyMalformed = "protocol.proxy_malformed",
        /// The listener requires the header of the PROXY protocol, and who connected is not trusted to send one.
        ProtocolProxyUntrusted = "protocol.proxy_untrusted",
        /// The header of the PROXY protocol was not there in time.
        ProtocolProxyTimeout = "protocol.proxy_timeout",
        /// Alive but unused for the idle timeout.
        LocalIdle = "local.idle",
        /// An operator or another client ended it.
        LocalKicked = "local.kicked",
        /// The server is going away, or the one behind a gateway is and was taken out of its configuration.
        LocalDrain = "local.drain",
        /// The server was full.
        LocalLimit = "local.limit",
        /// The listener had let in as many in a second as it may (`accept_rate`).
        LocalAcceptRate = "local.accept_rate",
        /// Its source had as many connections as it may (`source.max_connections`).
        LocalSourceLimit = "local.source_limit",
        /// As many had come from its source in a second as may (`source.accept_rate`).
        LocalSourceRate = "local.source_rate",
        /// It came from a network that may not (`allow`, `deny`).
        LocalDenied = "local.denied",
        /// It had lived as long as it may (`max_age`).
        LocalMaxAge = "local.max_age",
        /// The kernel's socket table and ours disagreed: it had ended, or its peer had closed, and nothing else noticed.
        LocalAudit = "local.audit",
        /// An error of ours or of the system, not of the peer.
        LocalInternal = "local.internal",
        /// The upstream server closed (FIN).
        UpstreamFin = "upstream.fin",
        /// The upstream server closed (FIN) a TLS connection without `close_notify`: what it sent may have been cut.
        UpstreamTruncated = "upstream.truncated",
        /// The upstream server reset the connection.
        UpstreamReset = "upstream.reset",
        /// Nobody listens at the upstream server's address: ECONNREFUSED, or ENOENT of a unix socket.
        UpstreamRefused = "upstream.refused",
        /// The network says there is no way to the upstream server.
        UpstreamUnreachable = "upstream.unreachable",
        /// The upstream server did not answer the connect in time.
        UpstreamConnectTimeout = "upstream.connect_timeout",
        /// The upstream server's host no longer answers: ETIMEDOUT.
        UpstreamLost = "upstream.lost",
        /// The TLS handshake with the upstream server failed, or it broke the rules of TLS.
        UpstreamTls = "upstream.tls",
        /// The upstream server does not read what it is sent.
        UpstreamStuck = "upstream.stuck",
        /// No upstream server could be tried, or its accept queue is full (EAGAIN of a unix socket).
        UpstreamUnavailable = "upstream.unavailable",
        /// No source port was left for a connection to the upstream server: EADDRNOTAVAIL.
        UpstreamNoPorts = "upstream.no_ports",
    }
}

impl Reason {
    /// What it is called when the peer is an upstream server.
    #[must_use]
    pub const fn of_upstream(self) -> Self {
        match self {
            Self::PeerGoodbye | Self::PeerFin | Self::PeerFinMidframe => Self::UpstreamFin,
            Self::PeerTruncated => Self::UpstreamTruncated,
            Self::PeerReset | Self::PeerResetAfterFin => Self::UpstreamReset,
            Self::ProtocolTls => Self::UpstreamTls,
            Self::LostUnreachable => Self::UpstreamUnreachable,
            Self::LostKeepalive | Self::LostUnacked | Self::LostHeartbeat => Self::UpstreamLost,
            Self::StuckFrozen | Self::StuckZeroWindow | Self::SlowBytes | Self::SlowTime => {
                Self::UpstreamStuck
            }
            Self::PeerReplaced
            | Self::ProtocolMalformed
            | Self::ProtocolOversized
            | Self::ProtocolUnsupported
            | Self::ProtocolHandshakeTimeout
            | Self::ProtocolNoRoute
            | Self::ProtocolAuth
            | Self::ProtocolProxyMissing
            | Self::ProtocolProxyMalformed
            | Self::ProtocolProxyUntrusted
            | Self::ProtocolProxyTimeout
            | Self::LocalIdle
            | Self::LocalKicked
            | Self::LocalDrain
            | Self::LocalLimit
            | Self::LocalAcceptRate
            | Self::LocalSourceLimit
            | Self::LocalSourceRate
            | Self::LocalDenied
            | Self::LocalMaxAge
            | Self::LocalAudit
            | Self::LocalInternal
            | Self::UpstreamFin
            | Self::UpstreamTruncated
            | Self::UpstreamReset
            | Self::UpstreamRefused
            | Self::UpstreamUnreachable
            | Self::UpstreamConnectTimeout
            | Self::UpstreamLost
            | Self::UpstreamTls
            | Self::UpstreamStuck
            | Self::UpstreamUnavailable
            | Self::UpstreamNoPorts => self,
        }
    }

    /// Whose doing it was.
    pub const fn class(self) -> Class {
        match self {
            Self::PeerGoodbye
            | Self::PeerFin
            | Self::PeerFinMidframe
            | Self::PeerTruncated
            | Self::PeerReset
            | Self::PeerResetAfterFin
            | Self::PeerReplaced => Class::Peer,
            Self::LostKeepalive | Self::LostUnacked | Self::LostUnreachable | Self::LostHeartbeat => {
                Class::Lost
            }
            Self::StuckFrozen | Self::StuckZeroWindow => Class::Stuck,
            Self::SlowBytes | Self::SlowTime => Class::Slow,
            Self::ProtocolMalformed
            | Self::ProtocolOversized
            | Self::ProtocolUnsupported
            | Self::ProtocolHandshakeTimeout
            | Self::ProtocolTls
            | Self::ProtocolNoRoute
            | Self::ProtocolAuth
            | Self::ProtocolProxyMissing
            | Self::ProtocolProxyMalformed
            | Self::ProtocolProxyUntrusted
            | Self::ProtocolProxyTimeout => Class::Protocol,
            Self::LocalIdle
            | Self::LocalKicked
            | Self::LocalDrain
            | Self::LocalLimit
            | Self::LocalAcceptRate
            | Self::LocalSourceLimit
            | Self::LocalSourceRate
            | Self::LocalDenied
            | Self::LocalMaxAge
            | Self::LocalAudit
            | Self::LocalInternal => Class::Local,
            Self::UpstreamFin
            | Self::UpstreamTruncated
            | Self::UpstreamReset
            | Self::UpstreamRefused
            | Self::UpstreamUnreachable
            | Self::UpstreamConnectTimeout
            | Self::UpstreamLost
            | Self::UpstreamTls
            | Self::UpstreamStuck
            | Self::UpstreamUnavailable
            | Self::UpstreamNoPorts => Class::Upstream,
        }
    }
}

named! {
    /// What noticed the ending.
    Detector {
        /// `recv` returned 0.
        ZeroRead = "zero_read",
        /// `recv` failed.
        RecvError = "recv_error",
        /// `send` failed.
        SendError = "send_error",
        /// A readiness flag (EPOLLERR, EPOLLHUP, EPOLLRDHUP) while reading was paused.
        Readiness = "readiness",
        /// `TCP_INFO` showed, while reading was paused, that the kernel has discarded the connection.
        TcpInfo = "tcp_info",
        /// The kernel's keepalive timer (`SO_KEEPALIVE`).
        TcpKeepalive = "tcp_keepalive",
        /// The kernel's retransmission or `TCP_USER_TIMEOUT` limit.
        UserTimeout = "user_timeout",
        /// Our heartbeat timeout and its grace.
        Heartbeat = "heartbeat",
        /// The end of the dedicated heartbeat connection, and then the grace.
        HeartbeatChannel = "heartbeat_channel",
        /// The answer to bytes sent after end of file.
        EofProbe = "eof_probe",
        /// The answer to an out-of-band byte.
        OobProbe = "oob_probe",
        /// The comparison of the kernel's socket table with ours (`reactor/audit.rs`).
        Audit = "audit",
        /// A deadline of ours: handshake, idle, slow consumer.
        Timer = "timer",
        /// What the peer said: goodbye, a malformed frame, the same identity again.
        Protocol = "protocol",
        /// A bound or a decision of the server: output bound, connection limit, drain.
        Policy = "policy",
        /// Another client: `CLIENT KILL`.
        Client = "client",
        /// A person or a program through the admin interface.
        Operator = "operator",
        /// connect(2), or what the socket said of it.
        Connect = "connect",
        /// The other connection of the pair.
        Partner = "partner",
    }
}

named! {
    /// What a client's first bytes were of, where that is not what its listener speaks.
    Foreign {
        /// TLS: its handshake.
        Tls = "tls",
        /// An HTTP request.
        Http = "http",
        /// CONNECT of MQTT.
        Mqtt = "mqtt",
        /// The header of the PROXY protocol, as text.
        ProxyV1 = "proxy_v1",
        /// The header of the PROXY protocol, binary.
        ProxyV2 = "proxy_v2",
        /// The banner of SSH.
        Ssh = "ssh",
        /// A command of Redis.
        Resp = "resp",
    }
}

named! {
    /// How the socket was let go: the rung of the closing ladder.
    CloseMode {
        /// The peer's FIN had been read: plain `close`, the peer keeps the TIME_WAIT.
        PeerFirst = "peer_first",
        /// The same, after the protocol's goodbye in either direction.
        PeerFirstAfterGoodbye = "peer_first_after_goodbye",
        /// `TCP_LINGER2 = -1`, then `close`: queued output is delivered, no TIME_WAIT stays.
        Linger2 = "linger2",
        /// `SO_LINGER {1,0}`, then `close`: RST. Or the peer's own RST had already ended it.
        Reset = "reset",
        /// The peer answered the probe after its FIN by RST: no TIME_WAIT on either side.
        ProbeReset = "probe_reset",
        /// Our FIN had been forwarded before the peer's was read, so that the other direction could live on: the TIME_WAIT
        /// is ours.
        ForwardedFin = "forwarded_fin",
    }
}

named! {
    /// Which connection of a pair: a client that a gateway serves, and the server that it is served by.
    Leg {
        /// The one that a client made.
        Client = "client",
        /// The one that we made to the upstream server.
        Upstream = "upstream",
    }
}

impl Leg {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Upstream,
            Self::Upstream => Self::Client,
        }
    }
}

/// Who brought an ending about, where it was somebody else's connection: the newer one of the same identity, a client that
/// killed it, the operator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct By {
    /// The key of that connection, with its worker before it if there are several.
    pub key: String,
    /// Where it comes from.
    pub peer: String,
    /// The identity that it holds, if it holds one; no longer than an identity may be.
    pub identity: Option<String>,
}

/// The record of one ending. There is exactly one for each connection, accepted or made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct End {
    /// Why the connection ended.
    pub reason: Reason,
    /// What noticed it.
    pub detector: Detector,
    /// How the socket was closed.
    pub close: CloseMode,
    /// How long the peer had been silent when the cause was recorded.
    pub silence: Span,
    /// From accept to close.
    pub age: Span,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes the kernel took for sending.
    pub bytes_out: u64,
    /// Frames received.
    pub messages_in: u64,
    /// Frames sent.
    pub messages_out: u64,
    /// Output that we still held and could not deliver, in bytes.
    pub unsent_bytes: u64,
    /// The kernel's view, where it was asked.
    pub evidence: Option<TcpSnapshot>,
    /// Who brought it about: of `peer.replaced` and `local.kicked`.
    pub by: Option<Arc<By>>,
    /// What it spoke instead of the protocol of its listener: of `protocol.unsupported`.
    pub spoke: Option<Foreign>,
    /// The alert of `protocol.tls`.
    pub alert: Option<TlsAlert>,
    /// Which connection of a pair it was, and the key of the client's, which names the pair.
    pub pair: Option<(Leg, Key)>,
    /// The user that it had logged in as.
    pub user: Option<Arc<str>>,
    /// What a proxy has said of it.
    pub proxied: Option<Arc<Proxied>>,
    /// What it has asked for in TLS.
    pub secured: Option<Arc<Secured>>,
}

impl End {
    /// One of which no more is known than that.
    pub const fn new(reason: Reason, detector: Detector, close: CloseMode) -> Self {
        Self {
            reason,
            detector,
            close,
            silence: Span::ZERO,
            age: Span::ZERO,
            bytes_in: 0,
            bytes_out: 0,
            messages_in: 0,
            messages_out: 0,
            unsent_bytes: 0,
            evidence: None,
            by: None,
            spoke: None,
            alert: None,
            pair: None,
            user: None,
            proxied: None,
            secured: None,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "reason={} detector={} close={} silence_s={:.3} age_s={:.3} bytes_in={} bytes_out={} messages_in={} \
             messages_out={} unsent_bytes={}",
            self.reason,
            self.detector,
            self.close,
            self.silence.as_secs_f64(),
            self.age.as_secs_f64(),
            self.bytes_in,
            self.bytes_out,
            self.messages_in,
            self.messages_out,
            self.unsent_bytes
        )?;
        self.spoke.map_or(Ok(()), |spoke| write!(f, " spoke={spoke}"))?;
        self.alert.map_or(Ok(()), |alert| write!(f, " alert={alert}"))?;
        self.secured.iter().try_for_each(|secured| secured.fmt(f))?;
        self.user.iter().try_for_each(|user| write!(f, " user={user}"))?;
        self.pair.map_or(Ok(()), |(leg, pair)| write!(f, " leg={leg} pair={pair}"))?;
        self.evidence.map_or(Ok(()), |evidence| write!(f, " {evidence}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_named_after_its_class() {
        for &reason in Reason::ALL {
            let (class, _) = reason.name().split_once('.').unwrap();
            assert_eq!(class, reason.class().name(), "{reason:?}");
        }
    }

    #[test]
    fn the_lists_are_indexed_by_their_own_values() {
        assert!(Reason::ALL.iter().enumerate().all(|(i, &r)| r as usize == i));
        assert!(Detector::ALL.iter().enumerate().all(|(i, &d)| d as usize == i));
        assert!(CloseMode::ALL.iter().enumerate().all(|(i, &c)| c as usize == i));
    }
}
