//! The header of a proxy before the first byte of a connection ([`transport::proxy`](crate::transport::proxy)): it is waited for,
//! read, and then gone. From then on the connection is its client's, and nothing of it is left here but what was said
//! ([`parts::proxied`](super::parts::proxied)).
//!
//! A connection that waits for its header is `Handshaking`, and has no more than a place: no server is looked for behind a gateway,
//! and its client is judged when it is known.

use super::connection::Connection;
use super::context::{Conn, Context};
use super::parts::listener::ListenerState;
use super::parts::preamble::Preamble;
use super::parts::proxied::PendingHeader;
use crate::config::settings::Relay;
use crate::core::conn::{Input, State};
use crate::core::end::{Detector, Leg, Reason};
use crate::core::proxied::Origin;
use crate::core::table::Key;
use crate::core::time::Instant;
use crate::net::Kernel;
use crate::transport::proxy::{self, Header};
use crate::transport::{self, HELLO_BYTES_MAX, Received};

impl<K: Kernel> Context<K> {
    /// A connection that was just accepted begins with a header, if its listener asks for one.
    pub(super) fn await_header(&mut self, conn: &mut Conn<K>) {
        if let Some(settings) = &self.listener_of(conn).accept_proxy {
            let until = self.now + settings.timeout;
            let buffers = conn.buffers_mut(&mut self.pool);
            buffers.preamble = Some(Box::new(Preamble::Header(PendingHeader::until(until))));
            self.pool.settle(buffers);
        }
    }

    /// Receives the header of a connection, or a part of it. What is behind it is moved to the beginning of `buffer`, for what
    /// follows: bytes of the wire for its layer, or else of its session.
    pub(super) fn recv_header(&mut self, key: Key, conn: &mut Conn<K>, buffer: &mut [u8]) -> Received {
        let most =
            if self.listeners[usize::from(conn.listener)].is_routed() { HELLO_BYTES_MAX } else { usize::MAX };
        let bound = buffer.len().min(most);
        let received = transport::recv(&mut conn.stream, &mut buffer[..bound]);
        let Received::Bytes { wire, short, .. } = received else { return received };
        let nothing = Received::Bytes { count: 0, wire, short };
        // It is being closed meanwhile: nothing has to be understood any more.
        if conn.is_ending() {
            return nothing;
        }
        let preamble = conn.buffers.as_deref_mut().and_then(|buffers| buffers.preamble.as_deref_mut());
        let Some(Preamble::Header(pending)) = preamble else { return nothing };
        let before = pending.bytes.len();
        pending.bytes.extend_from_slice(&buffer[..wire]);
        match proxy::read(&pending.bytes) {
            Ok(None) => {
                if let Some(buffers) = conn.buffers.as_deref_mut() {
                    self.pool.settle(buffers);
                }
                nothing
            }
            Ok(Some(header)) => {
                // Before this receive it was not whole: all that is behind it came now.
                let begin = header.says.header_bytes - before;
                if !self.accept_header(key, conn, header) {
                    return nothing;
                }
                buffer.copy_within(begin..wire, 0);
                if conn.layer().is_some() {
                    return self.recv_behind_header(key, conn, buffer, (begin, wire), short);
                }
                let behind = &buffer[..wire - begin];
                if conn.preamble().is_some() {
                    self.take_hello(key, conn, behind);
                    return nothing;
                }
                if conn.leg.is_some() {
                    if let Some(cold) = self.gateway.pairs.cold_mut(key).filter(|_| !behind.is_empty()) {
                        cold.add_early(behind);
                    }
                    return nothing;
                }
                Received::Bytes { count: wire - begin, wire, short }
            }
            Err(error) => {
                self.observer.report.protocol_error(key, &error.text, self.now);
                self.reset(key, conn, error.reason, Detector::Protocol);
                nothing
            }
        }
    }

    /// Takes a header for what it says. Whether the connection goes on.
    fn accept_header(&mut self, key: Key, conn: &mut Conn<K>, header: Header) -> bool {
        let (sender, index, accepted) = (conn.peer, usize::from(conn.listener), conn.life.accepted());
        let Header { client, mut says } = header;
        says.sender = sender.to_string();
        let origin = says.origin;
        self.annotations.proxied.note(key, sender, says);
        conn.peer = client.unwrap_or(sender);
        let slot = &mut self.listeners[index];
        // A connection of the proxy itself (`LOCAL`) was judged when it was accepted.
        if origin != Origin::Local
            && let Some(reason) = slot.why_not(&conn.peer, self.now)
        {
            self.reset(key, conn, reason, Detector::Policy);
            return false;
        }
        slot.enter(&conn.peer, accepted);
        let (upstream, is_routed) = (slot.known_upstream(), slot.is_routed());
        let opens = slot.opens_with_exchange(conn.layer().is_some());
        if let Some(buffers) = &mut conn.buffers {
            buffers.preamble = None;
        }
        if is_routed && conn.layer().is_none() {
            self.await_hello(conn);
        }
        conn.release_buffers(&mut self.pool);
        if !opens && conn.life.state() == State::Handshaking {
            self.apply(key, conn, Input::Opened);
        }
        if let Some(upstream) = upstream {
            // The pair begins now, as if the client had just been accepted.
            conn.leg = Some(Leg::Client);
            self.gateway.pairs.open(key, upstream, self.now);
            if conn.layer().is_none() {
                self.begin_relaying(key, conn);
            }
        }
        true
    }

    /// The header is not there in time.
    pub(super) fn on_header_due(&mut self, key: Key, conn: &mut Conn<K>) {
        self.reset(key, conn, Reason::ProtocolProxyTimeout, Detector::Timer);
    }
}

impl<L> ListenerState<L> {
    /// Whether it has to be known what a client asks for before it is known where to.
    pub(super) fn is_routed(&self) -> bool {
        self.settings.relay.as_ref().is_some_and(Relay::is_routed)
    }

    /// Which upstream a client is relayed to, where that does not depend on what it asks for.
    pub(super) fn known_upstream(&self) -> Option<u16> {
        self.upstream.filter(|_| !self.is_routed())
    }

    /// Whether a connection has an opening exchange that has a deadline, its header not among it.
    pub(super) fn opens_with_exchange(&self, has_layer: bool) -> bool {
        let exchanges = self.settings.protocol.keeps_session() || has_layer || self.is_routed();
        exchanges && self.settings.policy.bounds.handshake_timeout.is_some()
    }
}

impl<S> Connection<S> {
    /// Whether its header is still to come.
    pub(super) fn expects_header(&self) -> bool {
        matches!(self.preamble(), Some(Preamble::Header(_)))
    }

    /// When that has to be there; `None`: none is to come.
    pub(super) fn header_until(&self) -> Option<Instant> {
        match self.preamble() {
            Some(Preamble::Header(header)) => Some(header.until),
            Some(Preamble::Hello(_)) | None => None,
        }
    }

    /// Whether some of what comes before anything else has come, and not all.
    pub(super) fn is_within_preamble(&self) -> bool {
        self.preamble().is_some_and(Preamble::has_begun)
    }
}
