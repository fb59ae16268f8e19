//! Driving one connection: its readiness, bytes in, and the life inputs that follow from them. Bytes out are in `output`.
//!
//! Reading goes through one shared buffer, so an idle connection owns none. Every path here ends either in `WouldBlock`, in a pause
//! that output will lift, or in a posted continuation: nothing is left to chance under edge triggering.

use super::connection::{Flags, Pause, Reading, Session};
use super::context::{Conn, Context};
use super::work::cost;
use super::{RECEIVE_BYTES_MAX, Reactor};
use crate::core::conn::Input;
use crate::core::end::{Detector, Leg, Reason};
use crate::core::table::Key;
use crate::core::tcp::TcpState;
use crate::net::{Kernel, Readiness, SocketError, Stream};
use crate::transport::Received;

/// Length of the queue above which clients that leave are served at once: otherwise more could come than go.
const DEPARTURES_MAX: usize = 32 * 1024;
/// Bytes that one receive takes in a turn that is long already.
const READ_BYTES_LEAST: usize = 16 * 1024;

impl<K: Kernel> Reactor<K> {
    /// What the poller said about a connection. Hints only: the calls that follow decide.
    pub(super) fn on_ready(&mut self, key: Key, readiness: Readiness) {
        while let Some(conn) = self.table.get_mut(key) {
            if conn.is_leg_at_rest() && readiness.without(Readiness::WRITABLE).is_input() {
                return self.receive_in_batch(key);
            }
            if self.batch.is_empty() {
                if self.cx.on_ready(key, conn, readiness) {
                    self.read(key);
                }
                return self.settle();
            }
            // Reading uses the read buffer, and may remove a connection that the batch is from or for.
            self.send_batch();
        }
        self.cx.observer.counters.stale_events += 1;
    }

    /// Reads a connection and serves what it has sent, until nothing is left, its budget is spent, or output has to move
    /// first.
    pub(super) fn read(&mut self, key: Key) {
        self.read_within(key, self.cx.settings.turn.read_bytes);
    }

    /// The same within a budget of bytes.
    pub(super) fn read_within(&mut self, key: Key, mut budget: usize) {
        let mut may_splice = true;
        while let Some(conn) = self.table.get_mut(key) {
            if conn.flags.has(Flags::BULK) && may_splice {
                self.splice(key, &mut budget);
                may_splice = false;
                continue;
            }
            let Some(count) = self.cx.read(key, conn, self.read_buffer.room(0), &mut budget) else { break };
            let more = conn.leg.is_none() || conn.reading.pending();
            if conn.leg.is_some() {
                self.send_alone(key, count);
            } else {
                // What was heard counts before it is understood.
                self.relay_beats();
                let buffer = std::mem::take(&mut self.read_buffer);
                self.serve(key, &buffer[..count]);
                self.read_buffer = buffer;
            }
            if !more {
                break;
            }
        }
    }

    /// Reads without an edge, or before its turn: no harm if there is nothing.
    pub(super) fn read_once_more(&mut self, key: Key) {
        let Some(conn) = self.table.get_mut(key).filter(|conn| conn.may_be_read()) else { return };
        match conn.reading {
            Reading::Drained => conn.reading = Reading::Ready,
            Reading::Ready | Reading::UntilEof | Reading::Resetting => {}
            Reading::Failing | Reading::Ended | Reading::Probing => return,
        }
        self.cx.work.begin_serving();
        self.read(key);
        self.settle();
    }
}

impl<K: Kernel> Context<K> {
    /// What the poller said about a connection. Returns whether it is to be read now.
    fn on_ready(&mut self, key: Key, conn: &mut Conn<K>, readiness: Readiness) -> bool {
        // By far the most frequent: all of it had been read, and it has sent more.
        if readiness.is_input() && conn.reading == Reading::Drained && conn.may_be_read() {
            conn.reading = Reading::Ready;
            return true;
        }
        self.on_edge(key, conn, readiness)
    }

    /// The same for all other edges. Compiled into the turn, it would make the most frequent one dearer.
    #[inline(never)]
    fn on_edge(&mut self, key: Key, conn: &mut Conn<K>, readiness: Readiness) -> bool {
        if conn.life.state().is_connecting() && !self.on_connect_ready(key, conn, readiness) {
            return false;
        }
        let hints = self.policy_of(conn).liveness.readiness;
        if conn.leg.is_some() && readiness.is_departure() {
            self.look_for_departure(key, conn);
            if conn.leg == Some(Leg::Upstream) {
                // It may be an urgent byte.
                self.complete_options(key, conn);
            }
        }
        let (readiness, broken) = self.verified(key, conn, readiness, hints);
        // All had been read, so this input is new. It waits for our pause to end, but it counts as a sign of life.
        let spoke = !conn.may_be_read()
            && conn.reading == Reading::Drained
            && readiness.has(Readiness::READABLE)
            && !broken;
        conn.reading = conn.reading.on_edge(readiness, hints);
        if conn.leg.is_some()
            && readiness.has(Readiness::ERROR)
            && matches!(conn.reading, Reading::Ready | Reading::UntilEof)
        {
            conn.reading = Reading::Resetting;
        }
        if readiness.is_departure() && self.may_leave_later(conn) {
            self.posted.resume(key, conn);
            return false;
        }
        if spoke {
            self.mark_paused_alive(key, conn);
        }
        // One that fails is on its way to its error, and is looked at there.
        if conn.reading == Reading::Failing || (broken && self.act_on_broken(key, conn, hints)) {
            return false;
        }
        // A broken socket is flagged writable as well, because sending would not block. That is a hint, as its other flags
        // are.
        if readiness.has(Readiness::WRITABLE) && (hints || !broken) {
            self.flush(key, conn);
        }
        conn.reading.pending() && conn.may_be_read()
    }

    /// The flags of an edge, and whether they say that the socket is broken. Where no read follows, flags alone must not
    /// decide: output would be dropped for a hint.
    fn verified(&self, key: Key, conn: &Conn<K>, readiness: Readiness, hints: bool) -> (Readiness, bool) {
        let broken = readiness.has(Readiness::ERROR)
            || (readiness.has(Readiness::WRITE_CLOSED) && !self.gateway.has_sent_fin(key, conn.leg));
        if broken
            && ((hints && conn.is_paused()) || matches!(conn.reading, Reading::Ended | Reading::Probing))
            && conn.stream.evidence().is_some_and(|evidence| evidence.state != TcpState::Close)
        {
            return (readiness.without(Readiness::ERROR | Readiness::WRITE_CLOSED), false);
        }
        (readiness, broken)
    }

    /// Whether a client that leaves has time: in a long turn those who stay come first.
    fn may_leave_later(&self, conn: &Conn<K>) -> bool {
        self.work.is_long()
            && self.posted.to_resume().len() < DEPARTURES_MAX
            && conn.reading.pending()
            && conn.may_be_read()
            && conn.pending_output() == 0
    }

    /// Takes the error of a socket that is not read to it otherwise. Whether that is all that the edge was about.
    #[cold]
    fn act_on_broken(&mut self, key: Key, conn: &mut Conn<K>, hints: bool) -> bool {
        match conn.reading {
            Reading::Probing => self.take_error(key, conn, Detector::EofProbe),
            Reading::Ended => self.take_error(key, conn, Detector::SendError),
            Reading::Drained | Reading::Ready | Reading::UntilEof | Reading::Resetting | Reading::Failing => {
                if !(hints && conn.is_paused()) {
                    return false;
                }
                self.read_to_the_error(key, conn, Detector::Readiness, None);
            }
        }
        true
    }

    /// Reads, and serves what can be served without the other connections. Returns how many bytes lie in `buffer` that
    /// cannot; to be called again behind those. None: there is nothing left, or something else comes first.
    fn read(
        &mut self,
        key: Key,
        conn: &mut Conn<K>,
        buffer: &mut [u8; RECEIVE_BYTES_MAX],
        budget: &mut usize,
    ) -> Option<usize> {
        let window = self.receive_window();
        while conn.reading.pending() && conn.may_be_read() {
            if *budget == 0 || self.work.is_over() {
                self.posted.resume(key, conn);
                break;
            }
            if conn.buffers.is_some() && self.defers_handshake(key, conn) {
                break;
            }
            match self.recv(key, conn, &mut buffer[..window]) {
                Received::Bytes { count, wire, short } => {
                    *budget = budget.saturating_sub(count.max(wire));
                    self.on_bytes(key, conn, wire, short);
                    if count == 0 {
                        continue;
                    }
                    match conn.session.as_deref() {
                        None | Some(Session::Named(_)) if conn.leg.is_some() => return Some(count),
                        // A protocol without a session (echo) returns the bytes.
                        None | Some(Session::Named(_)) => self.write(key, conn, &buffer[..count]),
                        Some(Session::Http(_)) => self.serve_http(key, conn, &buffer[..count]),
                        Some(Session::Client(_) | Session::Refused) => {
                            self.note_beat(key, conn);
                            return Some(count);
                        }
                    }
                }
                Received::WouldBlock if conn.reading != Reading::Failing => {
                    conn.reading = Reading::Drained;
                }
                Received::Interrupted => {}
                // A broken connection has nothing after its last bytes, whether that shows as end of file or as `WouldBlock`.
                Received::Eof | Received::WouldBlock => self.on_eof(key, conn),
                Received::Failed(SocketError::Memory) => {
                    self.posted.resume(key, conn);
                    break;
                }
                Received::Failed(fault) => self.on_receive_failed(key, conn, fault),
            }
        }
        None
    }

    /// Bytes that one receive takes. In a long turn a little is read of everybody: those who have sent little have all of it
    /// read.
    #[inline]
    pub(super) const fn receive_window(&self) -> usize {
        if self.work.is_long() { READ_BYTES_LEAST } else { RECEIVE_BYTES_MAX }
    }

    /// A receive has brought bytes.
    #[expect(clippy::inline_always, reason = "its two callers are the hot path")]
    #[inline(always)]
    pub(super) fn on_bytes(&mut self, key: Key, conn: &mut Conn<K>, wire: usize, short: bool) {
        self.work.charge(cost::RECEIVE + cost::moved(wire));
        self.on_received(key, conn, wire, short);
    }

    /// A receive has failed, and so has the connection.
    pub(super) fn on_receive_failed(&mut self, key: Key, conn: &mut Conn<K>, fault: SocketError) {
        let broken_by = conn.buffers.as_ref().and_then(|buffers| buffers.broken_by);
        conn.reading = Reading::Ended;
        self.fail(key, conn, fault, broken_by.unwrap_or(Detector::RecvError));
    }

    /// Bytes have come: what follows from that whatever they mean. `short`: fewer than there was room for, and a layer holds
    /// none back.
    #[expect(clippy::inline_always, reason = "of two places one is hot: a call is a seventh of what it does")]
    #[inline(always)]
    pub(super) fn on_received(&mut self, key: Key, conn: &mut Conn<K>, count: usize, short: bool) {
        let listener = usize::from(conn.listener);
        let settings = &self.listeners[listener].settings;
        // A stream socket that filled less than was offered has nothing more (epoll(7)), unless the peer's FIN is
        // behind the data or its flags are not to be believed.
        let drained = short && conn.reading == Reading::Ready && settings.policy.liveness.readiness;
        if drained {
            conn.reading = Reading::Drained;
        } else if conn.leg == Some(Leg::Upstream) {
            // The next receive may begin at an urgent byte.
            self.complete_options(key, conn);
        }
        conn.life.bytes_in += count as u64;
        self.observer.counters.listeners[listener].traffic(conn.leg).bytes_in += count as u64;
        self.mark_alive(key, conn);
    }

    /// End of file: the peer's FIN, or the false end of file that the kernel shows behind an error that it has reported.
    fn on_eof(&mut self, key: Key, conn: &mut Conn<K>) {
        let broken_by = conn.buffers.as_ref().and_then(|buffers| buffers.broken_by);
        // A suspect peer is read although frames of it wait for their output to move. Its FIN is a sign of life,
        // and is read again behind them.
        if broken_by.is_none() && conn.is_paused() && conn.output_held() && conn.has_input() {
            conn.reading = Reading::UntilEof;
            return self.mark_alive(key, conn);
        }
        let is_reset = conn.reading == Reading::Resetting;
        conn.reading = Reading::Ended;
        // The flag was a hint.
        if is_reset
            && broken_by.is_none()
            && let Some(fault) = conn.stream.take_error()
        {
            return self.fail(key, conn, fault, Detector::RecvError);
        }
        let reported = conn.buffers.as_mut().and_then(|buffers| buffers.broken.take());
        if conn.life.state().is_connecting() && reported.is_none() {
            let (reason, detector) = (Reason::UpstreamFin, Detector::Connect);
            return self.apply(key, conn, Input::Failed { reason, detector });
        }
        match (broken_by, reported) {
            (Some(detector), Some(fault)) => self.fail(key, conn, fault, detector),
            (Some(detector), None) => self.take_error(key, conn, detector),
            (None, _) => {
                if conn.is_truncated()
                    && let (Some(leg), Some(cold)) = (conn.leg, self.gateway.pairs.cold_mut(key))
                {
                    cold.truncated[leg as usize] = true;
                }
                let reason = match (conn.is_truncated(), conn.has_input() || conn.is_within_preamble()) {
                    (true, _) => Reason::PeerTruncated,
                    (false, true) => Reason::PeerFinMidframe,
                    (false, false) => Reason::PeerFin,
                };
                self.apply(key, conn, Input::PeerFin { reason });
            }
        }
    }

    /// The connection is broken: no output can be sent any more, but what the peer sent before still counts, and is
    /// read first. `reported` is how a send failed: the only time the kernel says why (the next receive would show a
    /// false end of file).
    #[cold]
    pub(super) fn read_to_the_error(
        &mut self,
        key: Key,
        conn: &mut Conn<K>,
        detector: Detector,
        reported: Option<SocketError>,
    ) {
        if matches!(conn.reading, Reading::Ended | Reading::Probing) {
            return match reported {
                Some(fault) => self.fail(key, conn, fault, detector),
                None => self.take_error(key, conn, detector),
            };
        }
        conn.note_broken(&mut self.pool, detector, reported);
        if let Some(leg) = conn.leg {
            self.on_leg_broken(key, conn, leg);
        }
        self.posted.resume(key, conn);
    }

    /// Stops reading and serving a connection until it is resumed and may go on.
    pub(super) fn pause(&mut self, key: Key, conn: &mut Conn<K>, until: Pause) {
        // `Pause::Turn` does not replace another pause: a suspect peer is read while it waits for what it has posted.
        if until != Pause::Turn || !conn.is_paused() {
            conn.pause = until;
        }
        conn.buffers_mut(&mut self.pool).info_asked = self.now;
        self.observer.counters.pauses += 1;
        self.schedule(key, conn);
    }
}
