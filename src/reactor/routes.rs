//! Where a client is relayed to by what it asks for in TLS. Until that is known it has no server, and is no leg of a pair: it has
//! a place, and `Handshaking` its deadline.
//!
//! Where TLS ends here, its layer knows when the opening exchange is over. Where TLS passes through, the client's first message is
//! read ([`HelloReader`](crate::transport::HelloReader)), and goes to the server as it has come.

use super::connection::Connection;
use super::context::{Conn, Context};
use super::parts::preamble::Preamble;
use super::work::cost;
use crate::config::settings::Relay;
use crate::core::conn::{Input, State};
use crate::core::end::{Alert, Leg, Reason, TlsAlert};
use crate::core::secured::Secured;
use crate::core::table::Key;
use crate::net::Kernel;
use crate::protocol::ProtocolError;
use crate::transport::{self, Begin, HELLO_BYTES_MAX, Layer, Received};
use std::sync::Arc;

impl<K: Kernel> Context<K> {
    /// A connection is to be routed by its first message of TLS, which passes through.
    pub(super) fn await_hello(&mut self, conn: &mut Conn<K>) {
        let buffers = conn.buffers_mut(&mut self.pool);
        buffers.preamble = Some(Box::new(Preamble::Hello(Box::default())));
        self.pool.settle(buffers);
    }

    /// Receives the first message of a connection, or a part of it.
    pub(super) fn recv_hello(&mut self, key: Key, conn: &mut Conn<K>, buffer: &mut [u8]) -> Received {
        // What is behind it stays with the kernel: nobody reads on before there is a server.
        let bound = buffer.len().min(HELLO_BYTES_MAX);
        let received = transport::recv(&mut conn.stream, &mut buffer[..bound]);
        let Received::Bytes { wire, short, .. } = received else { return received };
        self.take_hello(key, conn, &buffer[..wire]);
        // It waits for the server, with all that is behind it.
        Received::Bytes { count: 0, wire, short }
    }

    /// Takes a part of the first message of a connection, and what may be behind it.
    pub(super) fn take_hello(&mut self, key: Key, conn: &mut Conn<K>, bytes: &[u8]) {
        // It was refused, or is being closed meanwhile: nothing has to be understood any more.
        if conn.is_ending() || bytes.is_empty() {
            return;
        }
        let Some(buffers) = conn.buffers.as_deref_mut() else { return };
        let Some(Preamble::Hello(reader)) = buffers.preamble.as_deref_mut() else { return };
        self.work.charge(cost::HELLO);
        match reader.receive(bytes) {
            Begin::Unclear => self.pool.settle(buffers),
            Begin::Hello(secured) => {
                let early = reader.take_bytes();
                buffers.preamble = None;
                self.pool.settle(buffers);
                self.annotations.secured.note(key, secured.clone());
                self.route(key, conn, &secured, early);
            }
            Begin::Broken(error, mut said) => {
                self.pool.settle(buffers);
                self.refuse(key, conn, &error, &mut said);
            }
        }
    }

    /// The opening exchange of a layer is over: its client is routed, if it is still to be. Whether it goes on.
    pub(super) fn route_by_layer(&mut self, key: Key, conn: &mut Conn<K>) -> bool {
        if !self.is_unrouted(conn) {
            return true;
        }
        let secured = conn.layer().and_then(Layer::secured).unwrap_or_default();
        self.route(key, conn, &secured, Vec::new());
        conn.leg.is_some()
    }

    /// Whether a connection is to be relayed, and it is not known yet where to, or nowhere.
    pub(super) fn is_unrouted(&self, conn: &Conn<K>) -> bool {
        conn.leg.is_none() && self.listener_of(conn).relay.is_some()
    }

    /// Chooses the upstream of a client. `early`: what is for its server already.
    fn route(&mut self, key: Key, conn: &mut Conn<K>, secured: &Secured, early: Vec<u8>) {
        let relay = self.listener_of(conn).relay.as_ref();
        let named = relay.and_then(|relay| relay.routes.choose(secured).or(relay.upstream.as_deref()));
        let Some(to) = named.and_then(|name| self.gateway.upstreams.place_of(name)) else {
            let mut said = Vec::new();
            let error = no_route(relay, secured, conn.layer().is_some(), &mut said);
            // What else comes of it is nobody's.
            if conn.layer().is_none() {
                self.await_hello(conn);
            }
            return self.refuse(key, conn, &error, &mut said);
        };
        conn.leg = Some(Leg::Client);
        self.gateway.pairs.open(key, to, self.now);
        if conn.layer().is_some() {
            return;
        }
        if !early.is_empty()
            && let Some(cold) = self.gateway.pairs.cold_mut(key)
        {
            cold.keep_early(early);
        }
        if conn.life.state() == State::Handshaking {
            self.apply(key, conn, Input::Opened);
        }
        self.begin_relaying(key, conn);
    }

    /// What a client has asked for in TLS, and what was agreed on, as far as it is known.
    pub(super) fn secured_of(&self, key: Key, conn: &Conn<K>) -> Option<Arc<Secured>> {
        if conn.leg == Some(Leg::Upstream) {
            return None;
        }
        let noted = || self.annotations.secured.of(key).map(Arc::clone);
        conn.layer().and_then(Layer::secured).map(Arc::new).or_else(noted)
    }
}

/// Why a client is refused that no route is for. Where its TLS would have passed through, `said` is what it is told.
fn no_route(relay: Option<&Relay>, secured: &Secured, has_layer: bool, said: &mut Vec<u8>) -> ProtocolError {
    let by_name = relay.is_some_and(|relay| relay.routes.are_by_name());
    let (alert, code) =
        if by_name { (Alert::UnrecognizedName, 112) } else { (Alert::NoApplicationProtocol, 120) };
    if !has_layer {
        // A fatal alert (RFC 8446, 6; RFC 6066, 3; RFC 7301, 3.2).
        said.extend([21, 3, 3, 0, 2, 2, code]);
    }
    let name = secured.server_name.as_deref().unwrap_or("nothing");
    let alpn = secured.alpn_text();
    let text = format!(
        "the client asks for {name} by SNI and {} by ALPN: no route of this listener is for that, and it has no upstream for others",
        alpn.as_deref().unwrap_or("nothing")
    );
    ProtocolError {
        reason: Reason::ProtocolNoRoute,
        text: text.into(),
        spoke: None,
        alert: (!has_layer).then_some(TlsAlert { alert, is_ours: true }),
    }
}

impl<S> Connection<S> {
    /// What is still to come before it is known where it belongs.
    pub(super) fn preamble(&self) -> Option<&Preamble> {
        self.buffers.as_deref().and_then(|buffers| buffers.preamble.as_deref())
    }
}
