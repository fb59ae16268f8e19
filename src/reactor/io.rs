//! Driving one connection: bytes in, bytes out, and the life inputs that follow from them.
//!
//! Reading goes through one shared buffer, so an idle connection owns none; writing tries the socket first
//! and keeps only what the kernel had no room for. Every path here ends either in `WouldBlock`, in a pause
//! that output will lift, or in a posted continuation: nothing is left to chance under edge triggering.

use super::connection::{Connection, Pause, Reading};
use super::work::cost;
use super::{READ_BUFFER_BYTES, Reactor};
use crate::core::conn::{Action, Input, explain_timeout};
use crate::core::end::{Detector, Reason};
use crate::core::table::Key;
use crate::core::tcp::TcpState;
use crate::net::{Interest, Kernel, Readiness, Received, Sent, SocketError, Stream};
use crate::protocol::Protocol;
use std::borrow::Cow;

/// Bytes of one connection that are sent before the others have their turn.
const FLUSH_BYTES_MAX: usize = 256 * 1024;
/// Waiting work above which departures no longer wait: they must not be fewer than those who come.
const DEPARTURES_MAX: usize = 32 * 1024;
/// Bytes that one receive takes in a turn that is long already.
const READ_BYTES_LEAST: usize = 16 * 1024;

impl<K: Kernel> Reactor<K> {
    /// What the poller said about a connection. Hints only: the calls that follow decide.
    pub(super) fn on_ready(&mut self, key: Key, readiness: Readiness) {
        let Some(conn) = self.table.get_mut(key) else {
            self.counters.stale_events += 1;
            return;
        };
        // By far the most frequent: all of it had been read, and it has sent more.
        if readiness.is_input() && conn.reading == Reading::Drained && conn.may_be_heard() {
            conn.reading = Reading::Ready;
            return self.read(key);
        }
        self.on_edge(key, readiness);
    }

    fn on_edge(&mut self, key: Key, mut readiness: Readiness) {
        let Some(conn) = self.table.get_mut(key) else { return };
        let hints = Self::listener_of(&self.listeners, conn).policy.liveness.readiness;
        let mut broken = readiness.error || readiness.write_closed;
        // Where no read will follow that tells, the flags would decide alone: output would be dropped for a hint.
        if broken
            && ((hints && conn.is_paused()) || matches!(conn.reading, Reading::Ended | Reading::Probing))
            && conn.stream.evidence().is_some_and(|evidence| evidence.state != TcpState::Close)
        {
            broken = false;
            (readiness.error, readiness.write_closed) = (false, false);
        }
        // All had been read: this has come since. It waits for our pause to end, but it has come.
        let spoke = !conn.may_be_heard() && conn.reading == Reading::Drained && readiness.readable && !broken;
        conn.reading = conn.reading.on_edge(readiness, hints);
        let (reading, paused) = (conn.reading, conn.is_paused());
        // Whoever leaves has time: in a long turn those who stay come first.
        if self.work.is_long()
            && self.resume.len() < DEPARTURES_MAX
            && readiness.is_departure()
            && reading.pending()
            && conn.may_be_heard()
            && conn.pending_output() == 0
        {
            return self.post_resume(key);
        }
        if spoke {
            self.mark_paused_alive(key);
        }
        match reading {
            Reading::Probing if broken => self.take_error(key, Detector::EofProbe),
            Reading::Ended if broken => self.take_error(key, Detector::SendError),
            Reading::Drained | Reading::Ready | Reading::Closing if broken && hints && paused => {
                self.read_to_the_error(key, Detector::Readiness, None);
            }
            // It is on its way there.
            Reading::Failing => {}
            Reading::Drained | Reading::Ready | Reading::Closing | Reading::Ended | Reading::Probing => {
                // A broken socket is flagged writable as well, for sending would not block: no more than a
                // hint, as the other flags of it.
                if readiness.writable && (hints || !broken) {
                    self.flush(key);
                }
                self.read(key);
            }
        }
    }

    /// Reads until nothing is left, the budget is spent, or output has to move first.
    pub(super) fn read(&mut self, key: Key) {
        let mut budget = self.settings.turn.read_bytes;
        // In a long turn a little is read of everybody: those who have sent little have all of it read.
        let window = if self.work.is_long() { READ_BYTES_LEAST } else { READ_BUFFER_BYTES };
        while let Some(conn) = self.table.get_mut(key)
            && conn.reading.pending()
            && conn.may_be_heard()
        {
            if budget == 0 || self.work.is_over() {
                self.post_resume(key);
                break;
            }
            match conn.stream.recv(&mut self.read_buffer[..window]) {
                Received::Bytes(count) => {
                    let listener = usize::from(conn.listener);
                    let settings = &self.listeners[listener].settings;
                    budget = budget.saturating_sub(count);
                    // A stream socket that filled less than was offered has nothing more (epoll(7)), unless
                    // the peer's FIN is behind the data or its flags are not to be believed.
                    let drained = count < window
                        && conn.reading == Reading::Ready
                        && settings.policy.liveness.readiness;
                    if drained {
                        conn.reading = Reading::Drained;
                    }
                    conn.life.bytes_in += count as u64;
                    self.counters.listeners[listener].bytes_in += count as u64;
                    let protocol = settings.protocol;
                    self.work.charge(cost::RECEIVE + cost::moved(count));
                    if conn.life.mark_alive(self.now) {
                        self.apply(key, Input::Heard);
                    }
                    self.serve(key, protocol, count);
                    self.reschedule_heard(key);
                    if drained {
                        break;
                    }
                }
                Received::WouldBlock if conn.reading != Reading::Failing => {
                    conn.reading = Reading::Drained;
                }
                Received::Interrupted => {}
                // Behind the last words of a broken connection there is nothing, however that is said.
                Received::Eof | Received::WouldBlock => self.on_eof(key),
                Received::Failed(SocketError::Memory) => {
                    self.post_resume(key);
                    break;
                }
                Received::Failed(fault) => {
                    let detector = conn
                        .buffers
                        .as_ref()
                        .and_then(|buffers| buffers.broken_by)
                        .unwrap_or(Detector::RecvError);
                    conn.reading = Reading::Ended;
                    self.fail(key, fault, detector);
                }
            }
        }
    }

    /// Reads without an edge, or before its turn: no harm if there is nothing.
    pub(super) fn read_once_more(&mut self, key: Key) {
        let Some(conn) = self.table.get_mut(key).filter(|conn| conn.may_be_heard()) else { return };
        match conn.reading {
            Reading::Drained => conn.reading = Reading::Ready,
            Reading::Ready | Reading::Closing => {}
            Reading::Failing | Reading::Ended | Reading::Probing => return,
        }
        self.work.begin_serving();
        self.read(key);
    }

    /// Hands the `count` bytes that were received to the protocol.
    fn serve(&mut self, key: Key, protocol: Protocol, count: usize) {
        let buffer = std::mem::take(&mut self.read_buffer);
        let bytes = &buffer[..count];
        match protocol {
            Protocol::Echo => self.write(key, bytes),
            Protocol::Resp => {
                self.mark_holder_alive(key);
                self.serve_resp(key, bytes);
            }
            Protocol::Admin => self.serve_http(key, bytes),
        }
        self.read_buffer = buffer;
    }

    /// End of file: the peer's FIN, or what stands in the place of an error that was already told.
    fn on_eof(&mut self, key: Key) {
        let Some(conn) = self.table.get_mut(key) else { return };
        let broken_by = conn.buffers.as_ref().and_then(|buffers| buffers.broken_by);
        // A suspect peer is read although frames of it wait for their output to move. Its FIN is a sign of life,
        // and is read again behind them.
        if broken_by.is_none()
            && conn.is_paused()
            && conn.output_held()
            && conn.buffers.as_ref().is_some_and(|buffers| !buffers.input.is_empty())
        {
            conn.reading = Reading::Closing;
            return self.mark_alive(key);
        }
        conn.reading = Reading::Ended;
        let reported = conn.buffers.as_mut().and_then(|buffers| buffers.broken.take());
        match (broken_by, reported) {
            (Some(detector), Some(fault)) => self.fail(key, fault, detector),
            (Some(detector), None) => self.take_error(key, detector),
            (None, _) => {
                let midframe = conn.buffers.as_ref().is_some_and(|buffers| !buffers.input.is_empty());
                self.apply(key, Input::PeerFin { midframe });
            }
        }
    }

    /// The connection is broken: output has no taker any more, but what the peer sent before still counts, and is
    /// read first. `reported` is how a send failed: the only time the kernel says why (the next receive would show a
    /// false end of file).
    #[cold]
    pub(super) fn read_to_the_error(&mut self, key: Key, detector: Detector, reported: Option<SocketError>) {
        let Some(conn) = self.table.get_mut(key) else { return };
        if matches!(conn.reading, Reading::Ended | Reading::Probing) {
            return match reported {
                Some(fault) => self.fail(key, fault, detector),
                None => self.take_error(key, detector),
            };
        }
        conn.note_broken(&mut self.pool, detector, reported);
        self.post_resume(key);
    }

    /// There is an error, and no read will tell it.
    pub(super) fn take_error(&mut self, key: Key, detector: Detector) {
        let Some(conn) = self.table.get_mut(key) else { return };
        let fault = conn.stream.take_error().unwrap_or(SocketError::BrokenPipe);
        self.fail(key, fault, detector);
    }

    /// The socket failed: what it means, with the kernel's evidence where a name alone does not tell.
    pub(super) fn fail(&mut self, key: Key, fault: SocketError, detector: Detector) {
        let Some(conn) = self.table.get(key) else { return };
        let probing = conn.buffers.as_ref().is_some_and(|buffers| buffers.oob_sent > conn.life.heard());
        let (reason, kernel_timer) = match fault {
            SocketError::Reset => (Reason::PeerReset, None),
            SocketError::BrokenPipe => (Reason::PeerResetAfterFin, None),
            SocketError::TimedOut => {
                let (reason, timer) = explain_timeout(conn.stream.evidence());
                (reason, Some(timer))
            }
            // ICMP alone ends no connection: it is told in the place of ETIMEDOUT when a timer of the kernel
            // gives up (net/ipv4/tcp_timer.c: tcp_write_err; tests/kernel/liveness_netns.rs).
            SocketError::Unreachable => {
                let (_, timer) = explain_timeout(conn.stream.evidence());
                (Reason::LostUnreachable, Some(timer))
            }
            SocketError::Memory => (Reason::LocalInternal, None),
            SocketError::Other(errno) => {
                self.report.unforeseen(key, errno, self.now);
                (Reason::LocalInternal, None)
            }
        };
        let asked = matches!(detector, Detector::EofProbe | Detector::TcpInfo | Detector::OobProbe);
        let detector = match kernel_timer {
            _ if asked => detector,
            _ if probing => Detector::OobProbe,
            Some(timer) => timer,
            None => detector,
        };
        self.apply(key, Input::Failed { reason, detector });
    }

    /// Tells a connection's life what happened, and does what follows.
    pub(super) fn apply(&mut self, key: Key, input: Input) {
        let Some(conn) = self.table.get_mut(key) else { return };
        let parting = Self::listener_of(&self.listeners, conn).policy.parting;
        let before = conn.life.state();
        let action = conn.life.on(input, self.now, &parting);
        let after = conn.life.state();
        match action {
            Action::None => {}
            Action::Probe => self.probe_suspect(key),
            Action::Revive => self.revive(key),
            Action::Flush => self.flush(key),
            Action::Close(mode) => return self.close(key, mode),
        }
        // Who has said goodbye is waited for less long once all is flushed.
        if before.index() != after.index() || matches!(input, Input::Flushed { .. }) {
            self.schedule(key);
        }
        if before.cause().is_none() && after.cause().is_some() {
            self.note_ending(key);
        }
    }

    /// Sends `bytes`, or keeps what the kernel has no room for. Their order is kept.
    pub(super) fn write(&mut self, key: Key, bytes: &[u8]) {
        let Some(conn) = self.table.get_mut(key) else { return };
        let mut sent = 0;
        if conn.takes_output() && !bytes.is_empty() {
            let outcome = loop {
                match conn.stream.send(bytes) {
                    Sent::Interrupted => {}
                    outcome @ (Sent::Bytes(_) | Sent::WouldBlock | Sent::Failed(_)) => break outcome,
                }
            };
            match outcome {
                Sent::Bytes(count) => {
                    self.work.charge(cost::SEND + cost::moved(count));
                    conn.life.bytes_out += count as u64;
                    self.counters.listeners[usize::from(conn.listener)].bytes_out += count as u64;
                    sent = count;
                }
                Sent::WouldBlock | Sent::Interrupted | Sent::Failed(SocketError::Memory) => {
                    self.work.charge(cost::CALL);
                }
                Sent::Failed(fault) => {
                    return self.read_to_the_error(key, Detector::SendError, Some(fault));
                }
            }
        }
        // A short send means a full buffer: asking again would only say EAGAIN.
        if sent < bytes.len() && self.keep(key, bytes[sent..].into()) {
            self.await_room(key);
        }
    }

    /// Keeps output for later, within the bound; pauses reading above the high watermark. Returns whether it waits now: not
    /// if it has no taker any more.
    pub(super) fn keep(&mut self, key: Key, bytes: Cow<'_, [u8]>) -> bool {
        let Some(conn) = self.table.get_mut(key) else { return false };
        let bounds = &self.listeners[usize::from(conn.listener)].settings.policy.bounds;
        let undelivered = &mut self.counters.listeners[usize::from(conn.listener)].bytes_undelivered;
        // Output over its bound was not kept: the peer would take what follows for what is missing.
        if conn.is_gapped() {
            *undelivered += bytes.len() as u64;
            return false;
        }
        let broken = conn.reading == Reading::Failing;
        let buffers = conn.buffers_mut(&mut self.pool);
        if broken {
            buffers.lost += bytes.len() as u64;
            return false;
        }
        let pending = buffers.output.len() + bytes.len();
        if pending > bounds.output_max + buffers.listed {
            *undelivered += bytes.len() as u64;
            self.abort(key, Reason::SlowBytes, Detector::Policy);
            return false;
        }
        if buffers.output.is_empty() {
            buffers.output_moved = self.now;
        }
        match bytes {
            Cow::Borrowed(bytes) => buffers.output.push(bytes),
            Cow::Owned(bytes) => buffers.output.append(bytes),
        }
        self.pool.settle(buffers);
        if pending >= bounds.output_high && !conn.is_paused() {
            self.pause(key, Pause::Output);
        }
        true
    }

    /// The kernel had no room: its edge will tell when it has. Once a connection has been slow it stays
    /// watched for both: a second change would cost a call, the flag costs nothing.
    fn await_room(&mut self, key: Key) {
        self.schedule(key);
        let Some(conn) = self.table.get_mut(key) else { return };
        if conn.interest == Interest::Read {
            conn.interest = Interest::ReadWrite;
            if let Err(fault) = self.kernel.rewatch(&conn.stream, key.token(), Interest::ReadWrite) {
                self.fail(key, fault, Detector::Policy);
            }
        }
    }

    /// Sends pending output, as far as the kernel takes it and others need not wait, and lets follow what waited for that.
    pub(super) fn flush(&mut self, key: Key) {
        let Some(conn) = self.table.get_mut(key) else { return };
        let Some(buffers) = &mut conn.buffers else {
            // No output waits, and nothing waits for output.
            if conn.life.state().cause().is_some() {
                self.flushed(key);
            }
            return;
        };
        self.pool.begin_flush(buffers);
        if conn.output_held() {
            return;
        }
        let mut room = FLUSH_BYTES_MAX;
        while let Some(buffers) = &mut conn.buffers
            && !buffers.output.is_empty()
            && room > 0
        {
            let offered = &buffers.output.as_slice()[..buffers.output.len().min(room)];
            match conn.stream.send(offered) {
                Sent::Bytes(count) => {
                    self.work.charge(cost::SEND + cost::moved(count));
                    conn.life.bytes_out += count as u64;
                    self.counters.listeners[usize::from(conn.listener)].bytes_out += count as u64;
                    let short = count < offered.len();
                    buffers.output.consume(count);
                    buffers.output_moved = self.now;
                    room -= count;
                    if short {
                        break;
                    }
                }
                Sent::WouldBlock | Sent::Failed(SocketError::Memory) => {
                    self.work.charge(cost::CALL);
                    break;
                }
                Sent::Interrupted => {}
                Sent::Failed(fault) => {
                    return self.read_to_the_error(key, Detector::SendError, Some(fault));
                }
            }
        }
        conn.note_listed();
        let (pending, moved) = (conn.pending_output(), room < FLUSH_BYTES_MAX);
        let ending = conn.life.state().cause().is_some();
        let watches_use = Self::listener_of(&self.listeners, conn).policy.bounds.idle_timeout.is_some();
        if moved {
            conn.mark_used(self.now);
        }
        let remembers = !watches_use || conn.resp().is_some();
        match &mut conn.buffers {
            // Its `output_moved` is all that tells of this use.
            Some(buffers) if pending == 0 && !remembers => {
                buffers.output.reset(0);
                self.pool.settle(buffers);
            }
            Some(_) | None => conn.release_buffers(&mut self.pool),
        }
        if moved && pending == 0 && watches_use {
            self.schedule(key);
        }
        if moved && ending {
            self.apply(key, Input::Progress);
        }
        self.mind_watermarks(key, pending);
        if pending > 0 && room == 0 {
            self.post_flush(key);
        } else if pending > 0 {
            self.await_room(key);
        } else if ending {
            self.flushed(key);
        }
    }

    /// Sends all that is pending, as far as the kernel takes it: nobody waits any more.
    pub(super) fn flush_all(&mut self, key: Key) {
        let pending = |reactor: &Self| reactor.table.get(key).map_or(0, Connection::pending_output);
        let mut before = usize::MAX;
        while (1..before).contains(&pending(self)) {
            before = pending(self);
            self.flush(key);
        }
    }

    /// No output waits for a connection that is ending.
    fn flushed(&mut self, key: Key) {
        let Some(conn) = self.table.get_mut(key) else { return };
        let listener = Self::listener_of(&self.listeners, conn);
        // Not where output is missing: the peer would take the probe for it.
        let probe =
            conn.reading == Reading::Ended && listener.policy.liveness.probe_after_eof && !conn.is_gapped();
        if probe {
            self.work.charge(cost::SEND);
            let bytes = listener.protocol.eof_probe(conn.encoding());
            conn.reading = Reading::Probing;
            if let Sent::Failed(fault) = conn.stream.send(bytes) {
                return self.fail(key, fault, Detector::EofProbe);
            }
        }
        let probing = conn.reading == Reading::Probing;
        self.apply(key, Input::Flushed { probe: probing });
    }

    /// Output has fallen to the low watermark: what had to wait for that goes on next turn. Or what others delivered has
    /// risen to the high one.
    fn mind_watermarks(&mut self, key: Key, pending: usize) {
        let Some(conn) = self.table.get_mut(key) else { return };
        let bounds = &Self::listener_of(&self.listeners, conn).policy.bounds;
        match conn.pause {
            Pause::Output if pending <= bounds.output_low => self.post_resume(key),
            Pause::None if pending >= bounds.output_high => self.pause(key, Pause::Output),
            Pause::None | Pause::Turn | Pause::Output | Pause::Effects => {}
        }
    }

    /// Stops reading and serving a connection until [`resume_some`](Self::resume_some) finds that it may go on.
    pub(super) fn pause(&mut self, key: Key, until: Pause) {
        let now = self.now;
        let Some(conn) = self.table.get_mut(key) else { return };
        // Whose turn is over waits for that besides, and only for that if for nothing else: a suspect peer is read while it
        // waits for what it has posted.
        if until != Pause::Turn || !conn.is_paused() {
            conn.pause = until;
        }
        conn.buffers_mut(&mut self.pool).info_asked = now;
        self.counters.pauses += 1;
        self.schedule(key);
    }
}
