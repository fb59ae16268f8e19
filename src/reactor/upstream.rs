//! Connections to upstream servers: which server, how often it is tried, and what becomes of it.

use super::Reactor;
use super::connection::{Connection, Pause};
use super::context::{Conn, Context};
use super::parts::aftermath::Next;
use super::parts::cold_pair::{Attempt, ColdPair};
use super::parts::pairs::{Direction, Pair, Stage};
use super::parts::servers::NoServer;
use super::relay::{LASTS, was_not_reached};
use super::work::cost;
use crate::core::conn::policy::LastRung;
use crate::core::conn::{Cause, Input, Life, State};
use crate::core::end::{Class, Detector, End, Leg, Reason};
use crate::core::health::Sign;
use crate::core::table::Key;
use crate::core::tcp::Keepalive;
use crate::core::time::{Duration, Span};
use crate::net::{ConnectError, ConnectSpec, Interest, Kernel, Readiness, SocketError, Stream};
use crate::observe::events::What;
use crate::observe::report::{PairEnd, Report};
use crate::protocol::gateway::{Removed, Upstream};
use crate::protocol::proxy_header::{Version, Whose};
use crate::transport::{self, Layer};

impl<K: Kernel> Reactor<K> {
    /// Begins to connect a client to the next server, or ends it when there is none to try.
    pub(super) fn connect_upstream(&mut self, client: Key) {
        let upstream = self.table.next_key();
        let Some(conn) = self.table.get_mut(client).filter(|conn| conn.wants_server()) else { return };
        if let Some((server, stream)) = self.cx.connect(client, conn, upstream) {
            let fresh = self.cx.begin_upstream(client, conn, upstream, server, stream);
            self.table.insert(upstream, fresh);
        }
    }
}

impl<K: Kernel> Context<K> {
    /// A client may be served: connecting to a server is posted, and the client is not read before that is done.
    pub(super) fn begin_relaying(&mut self, client: Key, conn: &mut Conn<K>) {
        conn.pause = Pause::Partner;
        self.aftermath.post_leg(client, Next::Connect);
    }

    /// Begins to connect a client to a server. Returns the upstream, the server and the stream; `None`: no server is left to
    /// try, and the client is ended.
    fn connect(
        &mut self,
        client: Key,
        conn: &mut Conn<K>,
        upstream: Key,
    ) -> Option<((u16, usize), K::Stream)> {
        loop {
            let chosen = self.gateway.choose_server(client, &conn.peer, self.now);
            let Ok((to, server)) = chosen else {
                let full = chosen == Err(NoServer::Full);
                let reason =
                    if full { Reason::UpstreamUnavailable } else { self.gateway.why_not_reached(client) };
                let (detector, rung) = (Detector::Connect, LastRung::Reset);
                self.gateway.pairs.note_cause(client, Leg::Upstream, Cause { reason, detector });
                if let Some(cold) = self.gateway.pairs.cold_mut(client) {
                    let lost = [cold.take_carried(), cold.take_early()];
                    let lost: usize = lost.iter().flatten().map(Vec::len).sum();
                    self.observer.counters.listeners[usize::from(conn.listener)]
                        .traffic(Some(Leg::Upstream))
                        .bytes_undelivered += lost as u64;
                }
                self.apply(client, conn, Input::Abort { reason, detector, rung, output_pending: false });
                return None;
            };
            if let Some(pair) = self.gateway.pairs.of_mut(client) {
                pair.set_server(server);
            }
            match self.connect_to(conn, (to, server), upstream) {
                Ok(stream) => return Some(((to, server), stream)),
                Err(error) => {
                    let (index, reason) = (usize::from(conn.listener), reason_of(error));
                    // There is no connection whose record would count this.
                    self.observer.counters.listeners[index].not_connected(reason);
                    self.note_failed(client, server, reason, None);
                }
            }
        }
    }

    fn connect_to(
        &mut self,
        conn: &Conn<K>,
        (to, server): (u16, usize),
        upstream: Key,
    ) -> Result<K::Stream, ConnectError> {
        let relay = self.listeners[usize::from(conn.listener)].settings.relay.as_ref();
        let options = relay.expect("a pair is of a listener that relays").socket_options();
        let servers = &mut self.gateway.upstreams[to];
        let mut left = servers.settings().is.sources.len();
        loop {
            let from = servers.next_source(server);
            let spec = ConnectSpec { to: servers.get(server).address(), from, options };
            self.work.charge(cost::ACCEPT);
            match self.kernel.connect(&spec, upstream.token()) {
                // Another source address may have ports left, or be one of this host.
                Err(ConnectError::NoPort | ConnectError::NotOurs) if left > 1 => left -= 1,
                outcome => return outcome,
            }
        }
    }

    /// Makes the upstream leg of a client's pair, in the state `Connecting`.
    #[inline]
    fn begin_upstream(
        &mut self,
        client: Key,
        conn: &Conn<K>,
        upstream: Key,
        (to, server): (u16, usize),
        stream: K::Stream,
    ) -> Conn<K> {
        let servers = &mut self.gateway.upstreams[to];
        servers.add(server);
        self.gateway.pairs.join(client, upstream);
        let deadline = self.now + servers.settings().is.connect_timeout;
        let header = servers.settings().is.header;
        let life = Life::new(State::Connecting { deadline }, self.now);
        let mut fresh = Connection {
            leg: Some(Leg::Upstream),
            interest: Interest::ReadWrite,
            // It is not read before it is connected, whatever the poller says.
            pause: Pause::Partner,
            ..Connection::new(stream, upstream, life, servers.get(server).peer(), conn.listener.into())
        };
        let layer = servers.settings().tls.as_ref().map(transport::connect);
        let first = self.first_bytes(client, conn, header, layer.is_some());
        if !first.is_empty() {
            let buffers = fresh.buffers_mut(&mut self.pool);
            buffers.output.append(first);
            buffers.output_moved = self.now;
            self.pool.settle(buffers);
        }
        self.set_layer(&mut fresh, layer);
        self.observer.counters.listeners[usize::from(conn.listener)].connecting();
        // Its other deadlines, which count from the connect, are later.
        self.deadlines.arm_no_later(upstream, deadline.min(self.now + LASTS));
        fresh
    }

    /// What a server is sent first: the header, and what the client has sent before there was a server; or the output for a
    /// server that could not be reached. Where TLS is spoken to the server, the client's bytes are encoded once that is open.
    fn first_bytes(
        &mut self,
        client: Key,
        conn: &Conn<K>,
        header: Option<Version>,
        has_layer: bool,
    ) -> Vec<u8> {
        let has_cold = self.gateway.pairs.of(client).is_some_and(Pair::has_cold);
        // As most.
        if !has_cold && header.is_none() {
            return Vec::new();
        }
        if has_cold
            && let Some(carried) = self.gateway.pairs.cold_mut(client).and_then(ColdPair::take_carried)
        {
            return carried;
        }
        let mut first = header.map_or_else(Vec::new, |version| self.header_of(client, conn, version));
        if let Some(pair) = self.gateway.pairs.of_mut(client) {
            pair.note_header(first.len());
        }
        if has_cold
            && !has_layer
            && let Some(early) = self.gateway.pairs.cold_mut(client).and_then(ColdPair::take_early)
        {
            first.extend_from_slice(&early);
        }
        first
    }

    /// The PROXY header for a server, about its client.
    fn header_of(&self, client: Key, conn: &Conn<K>, version: Version) -> Vec<u8> {
        let local = self.annotations.proxied.destination(client).or_else(|| conn.stream.local_address());
        let secured = self.secured_of(client, conn);
        // Only version 2 tells of TLS.
        let certificate = match version {
            Version::V1 => None,
            Version::V2 => conn.layer().and_then(Layer::certificate),
        };
        version.header(Whose {
            client: conn.peer.address(),
            local,
            id: &self.worker.name_of(client),
            secured: secured.as_deref(),
            certificate: certificate.as_ref(),
        })
    }

    /// The poller reports a connection that is being made. Returns whether it is connected.
    pub(super) fn on_connect_ready(&mut self, key: Key, conn: &mut Conn<K>, readiness: Readiness) -> bool {
        if readiness.has(Readiness::ERROR | Readiness::WRITE_CLOSED) {
            if let Some(fault) = conn.stream.take_error() {
                // An alert may have arrived before the reset, and says why.
                if conn.is_opening() && matches!(fault, SocketError::Reset | SocketError::BrokenPipe) {
                    conn.pause = Pause::None;
                    self.read_to_the_error(key, conn, Detector::Connect, Some(fault));
                    return false;
                }
                let reason = reason_of(fault.into());
                self.apply(key, conn, Input::Failed { reason, detector: Detector::Connect });
            }
            return false;
        }
        if !readiness.has(Readiness::WRITABLE) {
            return false;
        }
        let Some(pair) = self.gateway.pairs.of(key) else { return false };
        let to = pair.to();
        let Some(server) = pair.server() else { return false };
        let servers = &self.gateway.upstreams[to];
        if servers.get(server).could_be_own_peer() && conn.stream.is_own_peer() {
            let (reason, detector) = (Reason::UpstreamRefused, Detector::Connect);
            self.apply(key, conn, Input::Failed { reason, detector });
            return false;
        }
        // The server was removed from the configuration meanwhile: the client gets another one.
        if matches!(servers.removed(server), Some(Removed::Drain | Removed::Cut)) {
            let (reason, detector) = (Reason::UpstreamUnavailable, Detector::Connect);
            self.apply(key, conn, Input::Failed { reason, detector });
            return false;
        }
        conn.pause = Pause::None;
        if conn.is_opening() {
            self.flush(key, conn);
            return true;
        }
        self.on_connected(key, conn);
        true
    }

    /// A server has been connected, and its layer is open if it has one.
    pub(super) fn on_connected(&mut self, key: Key, conn: &mut Conn<K>) {
        let took = Span::between(conn.life.accepted(), self.now);
        let Some(pair) = self.gateway.pairs.of_mut(key) else { return };
        let (to, Some(server)) = (pair.to(), pair.server()) else { return };
        pair.stage = Stage::Fresh;
        pair.set_flow(Leg::Upstream, Direction::Open);
        pair.moved = self.now;
        let has_cold = pair.has_cold();
        if let Some(times) = self.gateway.pairs.times_mut(key) {
            times.connect = took.into();
        }
        let early =
            if has_cold { self.gateway.pairs.cold_mut(key).and_then(ColdPair::take_early) } else { None };
        self.observer.counters.listeners[usize::from(conn.listener)].connected(took);
        self.on_sign(to, server, Sign::Reached, "connected");
        self.apply(key, conn, Input::Connected);
        self.note_event(key, conn, What::Opened);
        if let Some(early) = early {
            self.write(key, conn, &early);
        }
        self.note_connected(key, conn);
    }

    /// Sets the socket options that an upstream connection needs from its second message on; many send only one. The first
    /// message leaves at once without `TCP_NODELAY`, because nothing else is on its way (RFC 9293, 3.7.4). An urgent byte
    /// keeps its place if `SO_OOBINLINE` is set before it is read (`net/ipv4/tcp.c: tcp_recvmsg_locked`).
    #[cold]
    pub(super) fn complete_options(&mut self, key: Key, conn: &mut Conn<K>) {
        if let Some(pair) = self.gateway.pairs.of_mut(key)
            && pair.stage == Stage::Fresh
            && conn.leg == Some(Leg::Upstream)
        {
            pair.stage = Stage::Used;
            conn.stream.set_nodelay();
            conn.stream.set_oob_inline();
        }
    }

    /// An upstream connection has lasted: from now on the kernel watches it.
    pub(super) fn watch_by_kernel(&mut self, key: Key, conn: &mut Conn<K>) {
        self.complete_options(key, conn);
        if let Some(pair) = self.gateway.pairs.of_mut(key) {
            pair.stage = Stage::Lasting;
        }
        let (keepalive, user_timeout) = (self.keepalive_of(key, conn), self.user_timeout_of(key, conn));
        if let Some(keepalive) = keepalive {
            conn.stream.set_keepalive(keepalive);
        }
        if let Some(user_timeout) = user_timeout {
            conn.stream.set_user_timeout(user_timeout);
        }
    }

    /// The keepalive of a connection: an upstream leg has that of its upstream.
    fn keepalive_of(&self, key: Key, conn: &Conn<K>) -> Option<Keepalive> {
        self.gateway
            .upstream_of(key, conn.leg)
            .map_or(self.policy_of(conn).liveness.keepalive, |upstream| upstream.keepalive)
    }

    /// The user timeout of a connection: an upstream leg has that of its upstream.
    pub(super) fn user_timeout_of(&self, key: Key, conn: &Conn<K>) -> Option<Duration> {
        self.gateway
            .upstream_of(key, conn.leg)
            .map_or(self.policy_of(conn).liveness.user_timeout, Upstream::user_timeout)
    }

    /// A leg leaves the table with this record.
    #[inline(never)]
    pub(super) fn count_leg(&mut self, key: Key, conn: &Conn<K>, leg: Leg, end: &End) {
        let Some(pair) = self.gateway.pairs.of(key) else { return };
        // What a proxy has sent is not of its client; and behind a layer, what was said is less than what was sent for it.
        let proxys = end.proxied.as_ref().map_or(0, |proxied| proxied.header_bytes as u64);
        let of_layer = conn.layer().and_then(Layer::traffic);
        let (received, sent) =
            of_layer.map_or((end.bytes_in.saturating_sub(proxys), end.bytes_out), |(received, sent)| {
                let header = if leg == Leg::Upstream { pair.header_bytes() } else { 0 };
                (received, sent.saturating_sub(end.unsent_bytes) + header)
            });
        let cause = Cause { reason: end.reason, detector: end.detector };
        let of_pair = sent.saturating_sub(conn.direct_bytes_out());
        self.leave_pair(key, leg, usize::from(conn.listener), [received, of_pair], cause, end.age);
    }

    /// A leg leaves its pair, whose bytes it has received and sent, and with the last leg the pair is over.
    pub(super) fn leave_pair(
        &mut self,
        key: Key,
        leg: Leg,
        index: usize,
        [received, sent]: [u64; 2],
        cause: Cause,
        age: Span,
    ) {
        let Some(pair) = self.gateway.pairs.of(key) else { return };
        let is_last = pair.leg(leg.other()).is_none();
        if leg == Leg::Upstream
            && let Some(server) = pair.server()
        {
            let (to, stage, client) = (pair.to(), pair.stage, pair.leg(Leg::Client));
            // Of what was sent, a handshake asks for nothing.
            let asked = sent > pair.header_bytes();
            let was_mute = asked && !pair.has_answered() && cause.detector != Detector::Partner;
            self.gateway.upstreams[to].remove(server);
            if stage == Stage::Connecting && was_not_reached(cause) {
                self.note_failed(key, server, cause.reason, Some(age.into()));
                if let Some(client) = client {
                    self.aftermath.post_leg(client, Next::Connect);
                }
            } else if stage != Stage::Connecting && was_mute {
                self.note_mute(to, server, cause.reason);
            }
        }
        if Report::reports_pairs()
            && let Some(cold) = self.gateway.pairs.cold_mut(key)
        {
            cold.traffic[leg as usize] = (received, sent);
            if is_last {
                self.report_pair(index, key);
            }
        }
        if is_last {
            self.count_lost(index, key);
            self.places.remove_upstream();
        }
        self.gateway.pairs.remove(key, leg);
    }

    /// Counts what the legs of a pair have sent and their partners did not get.
    fn count_lost(&mut self, index: usize, last: Key) {
        let Some(cold) = self.gateway.pairs.cold(last) else { return };
        for leg in [Leg::Client, Leg::Upstream] {
            let traffic = self.observer.counters.listeners[index].traffic(Some(leg.other()));
            traffic.bytes_undelivered += cold.lost[leg as usize];
        }
    }

    /// A server could not be reached on behalf of a pair.
    fn note_failed(&mut self, leg: Key, server: usize, reason: Reason, took: Option<Duration>) {
        let begun = took.is_some();
        let took = took.unwrap_or_default();
        let Some(to) = self.gateway.pairs.of(leg).map(Pair::to) else { return };
        let number = u16::try_from(server).expect("places of servers are fewer than 2^16");
        if let Some(cold) = self.gateway.pairs.cold_mut(leg) {
            cold.note_failed(Attempt { server: number, reason, took });
        }
        self.gateway.upstreams[to].note_failed(server, reason, begun);
        // It is not the server's doing if we have run out of something.
        if reason.class() == Class::Upstream && reason != Reason::UpstreamNoPorts {
            self.on_sign(to, server, Sign::NotReached, reason.name());
        }
    }

    /// A pair is over, of which this leg is the last.
    #[inline(never)]
    fn report_pair(&mut self, index: usize, last: Key) {
        // Each that is reported has a cold state.
        let (Some(pair), Some(cold)) = (self.gateway.pairs.of(last), self.gateway.pairs.cold(last)) else {
            return;
        };
        let servers = &self.gateway.upstreams[pair.to()];
        let address = |server: usize| servers.get(server).address();
        let [(from_client, to_client), (from_server, to_server)] =
            [Leg::Client, Leg::Upstream].map(|leg| cold.traffic[leg as usize]);
        let failed = cold.failed().iter();
        let ended = PairEnd {
            pair: pair.name(),
            listener: &self.listeners[index].settings.name,
            server: pair.server().map(address),
            failed: failed
                .map(|attempt| (address(attempt.server.into()), attempt.reason, attempt.took))
                .collect(),
            reason: cold.cause.map_or(Reason::LocalInternal, |(cause, _)| cause.reason),
            by: cold.cause.map_or(Leg::Client, |(_, leg)| leg),
            connect_us: cold.times.connect.get(),
            first_byte_us: cold.times.first_byte.get(),
            bytes_up: [from_client, to_server.saturating_sub(pair.header_bytes())],
            bytes_down: [from_server, to_client],
        };
        self.observer.report.pair_ended(&ended, self.now);
    }
}

impl<S> Connection<S> {
    /// Whether a server is still to be looked for: not for one that is being closed, unless it has only sent all that it will.
    fn wants_server(&self) -> bool {
        !self.is_ending() || matches!(self.life.state(), State::PeerClosed { .. })
    }
}

/// What it means that a connection could not be made.
fn reason_of(error: ConnectError) -> Reason {
    match error {
        ConnectError::Refused | ConnectError::NoSocket => Reason::UpstreamRefused,
        ConnectError::QueueFull => Reason::UpstreamUnavailable,
        ConnectError::NoPort => Reason::UpstreamNoPorts,
        ConnectError::NoDescriptor | ConnectError::NotOurs | ConnectError::Socket(SocketError::Memory) => {
            Reason::LocalInternal
        }
        ConnectError::Socket(SocketError::TimedOut) => Reason::UpstreamConnectTimeout,
        ConnectError::Socket(SocketError::Reset | SocketError::BrokenPipe) => Reason::UpstreamReset,
        ConnectError::Socket(SocketError::Unreachable | SocketError::Other(_)) => Reason::UpstreamUnreachable,
    }
}
