//! Connections with a layer between socket and session ([`transport`]): what it holds, what it says of its own, and the two
//! ends of a stream that it knows. A plain connection passes through here for one comparison a receive.

use super::connection::{Buffers, Connection, Flags};
use super::context::{Conn, Context};
use super::parts::preamble::Preamble;
use super::work::cost;
use crate::core::conn::State;
use crate::core::end::{CloseMode, Detector, Leg, Reason};
use crate::core::table::Key;
use crate::net::{Kernel, Sent, Stream};
use crate::protocol::HalfClose;
use crate::transport::{self, Layer, Phase, Received};
use std::borrow::Cow;
use std::ops::ControlFlow;

impl<K: Kernel> Context<K> {
    /// Gives a connection its layer, which says the first word if it is ours.
    #[inline]
    pub(super) fn set_layer(&mut self, conn: &mut Conn<K>, layer: Option<Box<dyn Layer>>) {
        if let Some(layer) = layer {
            self.begin_layer(conn, layer);
        }
    }

    #[inline(never)]
    fn begin_layer(&mut self, conn: &mut Conn<K>, mut layer: Box<dyn Layer>) {
        let buffers = conn.buffers_mut(&mut self.pool);
        layer.begin(&mut buffers.output);
        buffers.output_moved = self.now;
        buffers.layer = Some(layer);
        self.pool.settle(buffers);
    }

    /// Receives what is for the session of a connection.
    #[inline]
    pub(super) fn recv(&mut self, key: Key, conn: &mut Conn<K>, buffer: &mut [u8]) -> Received {
        if conn.buffers.is_some() {
            match conn.preamble() {
                None => {}
                Some(Preamble::Header(_)) => return self.recv_header(key, conn, buffer),
                Some(Preamble::Hello(_)) => return self.recv_hello(key, conn, buffer),
            }
            if conn.layer().is_some() {
                return self.through(key, conn, buffer, None);
            }
        }
        transport::recv(&mut conn.stream, buffer)
    }

    /// The same of what came behind a header, in `range` of all that was received. It is at the beginning of `buffer`.
    pub(super) fn recv_behind_header(
        &mut self,
        key: Key,
        conn: &mut Conn<K>,
        buffer: &mut [u8],
        (begin, end): (usize, usize),
        short: bool,
    ) -> Received {
        let count = end - begin;
        let behind = Received::Bytes { count, wire: count, short };
        let mut received = self.through(key, conn, buffer, Some(behind));
        if let Received::Bytes { wire, .. } = &mut received {
            // Its header counts as well.
            *wire = end;
        }
        received
    }

    /// Takes bytes of the wire through a layer: those that were `received` already, or what the socket brings.
    #[inline(never)]
    fn through(
        &mut self,
        key: Key,
        conn: &mut Conn<K>,
        buffer: &mut [u8],
        received: Option<Received>,
    ) -> Received {
        let Some(buffers) = conn.buffers.as_deref_mut() else { return Received::WouldBlock };
        let Some(layer) = buffers.layer.as_deref_mut() else { return Received::WouldBlock };
        let (waited, before) = (buffers.output.len(), layer.phase());
        let (mut received, broken) = match received {
            Some(received) => transport::pass_through(layer, received, buffer, &mut buffers.output),
            None => transport::recv_through(layer, &mut conn.stream, buffer, &mut buffers.output),
        };
        let (phase, held) = (layer.phase(), layer.held());
        // It may have opened and said its last word in one receive.
        let opened = before == Phase::Opening && phase != before && broken.is_none() && layer.can_send();
        let answered = buffers.output.len() > waited;
        if answered && waited == 0 {
            buffers.output_moved = self.now;
        }
        self.pool.settle(buffers);
        if let Received::Bytes { wire: wire @ 1.., .. } = received {
            self.work.charge(if before == Phase::Opening { cost::HANDSHAKE } else { cost::opened(wire) });
        }
        if opened {
            self.on_layer_open(key, conn);
        }
        // The session may have nothing to say.
        if answered {
            self.flush(key, conn);
        }
        if let Some(error) = broken {
            self.refuse(key, conn, &error, &mut Vec::new());
            if matches!(conn.life.state(), State::Closed { .. }) {
                return Received::WouldBlock;
            }
        }
        let is_last =
            held == 0 && matches!(received, Received::WouldBlock | Received::Bytes { count: 0, .. });
        if is_last && phase == Phase::Ended && !conn.is_ending() {
            // It is told behind the frames that wait, as an end of file is.
            if conn.is_paused() && conn.has_input() {
                return Received::Bytes { count: 0, wire: 0, short: false };
            }
            self.on_last_word(key, conn);
        }
        // One that was refused: what it says is for nobody.
        if let Received::Bytes { count, .. } = &mut received
            && self.is_unrouted(conn)
        {
            *count = 0;
        }
        received
    }

    /// Whether a handshake has to wait, and sees to it that it goes on. It costs as much as hundreds of messages: in a long
    /// turn it waits for those who have theirs behind them. And one by which a client proves its name waits until the
    /// supervisor, who is to be told, keeps up.
    #[inline(never)]
    pub(super) fn defers_handshake(&mut self, key: Key, conn: &mut Conn<K>) -> bool {
        if !conn.is_opening() {
            return false;
        }
        let names = conn.leg != Some(Leg::Upstream)
            && self.listener_of(conn).tls.as_ref().is_some_and(|tls| tls.identity().is_some());
        let waits = if names && let Some(link) = self.worker.link_mut().filter(|link| !link.keeps_up()) {
            // Not posted: the loop would turn for it all the time.
            link.defer(key);
            true
        } else if self.work.is_long() {
            self.posted.resume(key, conn);
            true
        } else {
            false
        };
        let Some(buffers) = conn.buffers.as_deref_mut() else { return waits };
        if waits {
            buffers.deferral.begin(self.now);
        } else {
            buffers.deferral.end(self.now);
        }
        waits
    }

    /// The opening exchange of a layer is over: who the peer has proved to be, it is from now on.
    fn on_layer_open(&mut self, key: Key, conn: &mut Conn<K>) {
        if conn.leg == Some(Leg::Upstream) {
            return self.on_connected(key, conn);
        }
        let is_resumed = conn.layer().is_some_and(Layer::is_resumed);
        self.observer.counters.listeners[usize::from(conn.listener)].handshakes[usize::from(is_resumed)] += 1;
        if !self.route_by_layer(key, conn) {
            return;
        }
        if let Some(name) = conn.layer().and_then(Layer::identity)
            && let Err(error) = self.identify_by_layer(key, conn, &name)
        {
            return self.refuse(key, conn, &error, &mut Vec::new());
        }
        if !self.listener_of(conn).protocol.keeps_session() {
            self.open(key, conn);
        }
        if conn.leg == Some(Leg::Client) {
            self.begin_relaying(key, conn);
        }
    }

    /// The peer's layer has said that nothing follows. It may wait for the same from us before it closes.
    fn on_last_word(&mut self, key: Key, conn: &mut Conn<K>) {
        if let Some(leg) = conn.leg.filter(|_| self.half_close(conn) == HalfClose::Forward) {
            return self.on_leg_last_word(key, leg);
        }
        let reason = if conn.has_input() { Reason::PeerFinMidframe } else { Reason::PeerFin };
        self.begin_close(key, conn, reason, Detector::Protocol, true);
    }

    /// All output of a connection that is ending is sent: its layer says that nothing follows, once nothing does. Breaks if
    /// there is more to send.
    pub(super) fn end_output(&mut self, key: Key, conn: &mut Conn<K>) -> ControlFlow<()> {
        // A goodbye and replies are written after it began to end: it is flushed again behind them.
        if conn.flags.has(Flags::TO_FLUSH) && !matches!(conn.life.state(), State::PeerClosed { .. }) {
            return ControlFlow::Break(());
        }
        if self.say_last_word(conn) {
            self.flush(key, conn);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    /// A socket is about to be closed: its layer has its last chance to say that nothing follows.
    pub(super) fn end_output_now(&mut self, key: Key, conn: &mut Conn<K>, mode: CloseMode) {
        if conn.is_opening()
            && let Some(link) = self.worker.link_mut()
        {
            link.forget_deferred(key);
        }
        let can_follow = mode != CloseMode::Reset && conn.pending_output() == 0;
        if !can_follow || !self.say_last_word(conn) {
            return;
        }
        let Some(buffers) = &mut conn.buffers else { return };
        match conn.stream.send(buffers.output.as_slice()) {
            Sent::Bytes(count) => {
                buffers.output.consume(count);
                self.on_sent(conn, count);
            }
            Sent::WouldBlock | Sent::Interrupted | Sent::Failed(_) => self.work.charge(cost::CALL),
        }
    }

    /// Lets a layer say that nothing follows. Whether it has done so now.
    pub(super) fn say_last_word(&mut self, conn: &mut Conn<K>) -> bool {
        let Some(buffers) = conn.buffers.as_deref_mut() else { return false };
        let Some(layer) = &mut buffers.layer else { return false };
        let before = buffers.output.len();
        layer.finish(&mut buffers.output);
        let said = buffers.output.len() > before;
        if said {
            buffers.output_moved = self.now;
            self.pool.settle(buffers);
        }
        said
    }
}

impl<S> Connection<S> {
    /// What lies between its socket and its session, if something does.
    pub(super) fn layer(&self) -> Option<&dyn Layer> {
        self.buffers.as_deref().and_then(|buffers| buffers.layer.as_deref())
    }

    /// Whether its layer's opening exchange is not over.
    pub(super) fn is_opening(&self) -> bool {
        self.layer().is_some_and(|layer| layer.phase() == Phase::Opening)
    }

    /// Whether its layer takes nothing for the peer: not before its opening exchange is over, nor behind its last word.
    pub(super) fn is_mute(&self) -> bool {
        self.layer().is_some_and(|layer| !layer.can_send())
    }

    /// Whether its stream may have been cut: its layer was open, and did not say that nothing follows.
    pub(super) fn is_truncated(&self) -> bool {
        self.layer().is_some_and(|layer| layer.phase() == Phase::Open)
    }
}

impl Buffers {
    /// Puts bytes of the session behind the output that waits: as bytes of the wire.
    pub(super) fn push_output(&mut self, bytes: Cow<'_, [u8]>) {
        match (&mut self.layer, bytes) {
            (Some(layer), bytes) => layer.send(&bytes, &mut self.output),
            (None, Cow::Borrowed(bytes)) => self.output.push(bytes),
            (None, Cow::Owned(bytes)) => self.output.append(bytes),
        }
    }

    /// Gives up the memory of empty queues, where a layer keeps the rest for good.
    pub(super) fn shrink(&mut self) {
        for queue in [&mut self.input, &mut self.output] {
            if queue.is_empty() {
                queue.reset(0);
            }
        }
    }
}
