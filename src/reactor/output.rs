//! Output of one connection: it is offered to the socket first, and only what the kernel has no room for is kept, within its
//! bound. A pause or an ending that waits for output to be sent goes on here.

use super::connection::{Pause, Reading};
use super::context::{Conn, Context};
use super::parts::aftermath::Next;
use super::work::cost;
use crate::core::conn::Input;
use crate::core::end::{Detector, Reason};
use crate::core::table::Key;
use crate::net::{Interest, Kernel, Sent, SocketError, Stream};
use std::borrow::Cow;

/// Bytes of one connection that are sent before the others have their turn.
const FLUSH_BYTES_MAX: usize = 256 * 1024;

impl<K: Kernel> Context<K> {
    /// Sends `bytes`, or keeps what the kernel has no room for. Their order is kept.
    pub(super) fn write(&mut self, key: Key, conn: &mut Conn<K>, bytes: &[u8]) {
        let mut sent = 0;
        if conn.takes_output() && !bytes.is_empty() {
            let outcome = loop {
                match conn.stream.send(bytes) {
                    Sent::Interrupted => {}
                    outcome @ (Sent::Bytes(_) | Sent::WouldBlock | Sent::Failed(_)) => break outcome,
                }
            };
            if let Sent::Bytes(count) = outcome {
                self.on_sent(conn, count);
                sent = count;
            } else if !self.on_refused(key, conn, outcome, bytes.len()) {
                return;
            }
        } else if conn.layer().is_some() && !conn.output_held() && !bytes.is_empty() {
            return self.write_encoded(key, conn, bytes);
        }
        if sent < bytes.len() {
            self.keep_rest(key, conn, &bytes[sent..]);
        }
    }

    /// The socket took none of the `offered` bytes of output. Whether it lives: else they are counted as undelivered.
    #[cold]
    pub(super) fn on_refused(&mut self, key: Key, conn: &mut Conn<K>, outcome: Sent, offered: usize) -> bool {
        if let Sent::Failed(fault) = outcome
            && fault != SocketError::Memory
        {
            conn.buffers_mut(&mut self.pool).lost += offered as u64;
            self.read_to_the_error(key, conn, Detector::SendError, Some(fault));
            return false;
        }
        self.work.charge(cost::CALL);
        true
    }

    /// Keeps what the kernel had no room for. A short send means a full buffer: asking again would only say EAGAIN.
    #[inline(never)]
    pub(super) fn keep_rest(&mut self, key: Key, conn: &mut Conn<K>, rest: &[u8]) {
        if self.keep(key, conn, rest.into()) {
            self.await_room(key, conn);
        }
    }

    /// The same through a layer: all of it has to be encoded before any is offered, and only what the kernel has no room for
    /// counts towards the bound.
    #[inline(never)]
    fn write_encoded(&mut self, key: Key, conn: &mut Conn<K>, bytes: &[u8]) {
        if !self.keep_within(key, conn, bytes.into(), usize::MAX) {
            return;
        }
        self.flush(key, conn);
        let max = self.listener_of(conn).policy.bounds.output_max;
        let listed = conn.buffers.as_ref().map_or(0, |buffers| buffers.listed);
        if conn.leg.is_none() && !conn.is_closed() && conn.pending_output() > max + listed {
            self.abort(key, conn, Reason::SlowBytes, Detector::Policy);
        }
    }

    #[inline]
    pub(super) fn on_sent(&mut self, conn: &mut Conn<K>, count: usize) {
        self.work.charge(cost::SEND + cost::moved(count));
        self.count_sent(conn, count);
    }

    #[inline]
    pub(super) fn count_sent(&mut self, conn: &mut Conn<K>, count: usize) {
        conn.life.bytes_out += count as u64;
        self.observer.counters.listeners[usize::from(conn.listener)].traffic(conn.leg).bytes_out +=
            count as u64;
    }

    /// Keeps output for later, within the bound; pauses reading above the high watermark. Returns whether it was kept.
    pub(super) fn keep(&mut self, key: Key, conn: &mut Conn<K>, bytes: Cow<'_, [u8]>) -> bool {
        let max = self.listener_of(conn).policy.bounds.output_max;
        self.keep_within(key, conn, bytes, max)
    }

    /// The same within another bound.
    fn keep_within(&mut self, key: Key, conn: &mut Conn<K>, bytes: Cow<'_, [u8]>, max: usize) -> bool {
        if conn.is_closed() {
            return false;
        }
        let bounds = &self.listeners[usize::from(conn.listener)].settings.policy.bounds;
        let traffic = self.observer.counters.listeners[usize::from(conn.listener)].traffic(conn.leg);
        let undelivered = &mut traffic.bytes_undelivered;
        // Output over the bound was dropped: the peer would take what follows for the missing part.
        if conn.is_gapped() || conn.is_mute() {
            *undelivered += bytes.len() as u64;
            return false;
        }
        // What waits for a leg is bounded by what was read of its partner.
        let bounded = conn.leg.is_none();
        let broken = conn.reading == Reading::Failing;
        let buffers = conn.buffers_mut(&mut self.pool);
        if broken {
            buffers.lost += bytes.len() as u64;
            return false;
        }
        let pending = buffers.output.len() + bytes.len();
        if bounded && pending > max.saturating_add(buffers.listed) {
            *undelivered += bytes.len() as u64;
            self.abort(key, conn, Reason::SlowBytes, Detector::Policy);
            return false;
        }
        if buffers.output.is_empty() {
            buffers.output_moved = self.now;
        }
        buffers.push_output(bytes);
        self.pool.settle(buffers);
        if bounded && pending >= bounds.output_high && !conn.is_paused() {
            self.pause(key, conn, Pause::Output);
        }
        true
    }

    /// The kernel had no room: its edge will tell when it has. Once a connection has been slow it stays
    /// watched for both: a second change would cost a call, the flag costs nothing.
    fn await_room(&mut self, key: Key, conn: &mut Conn<K>) {
        self.schedule(key, conn);
        if conn.interest == Interest::Read {
            conn.interest = Interest::ReadWrite;
            if let Err(fault) = self.kernel.rewatch(&conn.stream, key.token(), Interest::ReadWrite) {
                self.fail(key, conn, fault, Detector::Policy);
            }
        }
    }

    /// Sends pending output within a budget, as far as the kernel takes it. Then resumes what waited for that.
    pub(super) fn flush(&mut self, key: Key, conn: &mut Conn<K>) {
        if conn.is_closed() {
            return;
        }
        if conn.buffers.is_some() {
            return self.flush_buffers(key, conn);
        }
        // No output waits, and nothing waits for output.
        if conn.is_ending() {
            self.after_flush(key, conn);
        }
    }

    #[inline(never)]
    fn flush_buffers(&mut self, key: Key, conn: &mut Conn<K>) {
        if let Some(buffers) = &mut conn.buffers {
            self.pool.begin_flush(buffers);
        }
        if conn.output_held() {
            return;
        }
        if conn.leg.is_some() {
            self.complete_options(key, conn);
        }
        let sent = match self.send_pending(conn) {
            Ok(sent) => sent,
            Err(fault) => return self.read_to_the_error(key, conn, Detector::SendError, Some(fault)),
        };
        conn.note_listed();
        let pending = conn.pending_output();
        let watches_use = self.policy_of(conn).bounds.idle_timeout.is_some();
        if sent > 0 {
            conn.mark_used(self.now);
        }
        let remembers = !watches_use || conn.client().is_some() || conn.leg.is_some();
        match &mut conn.buffers {
            // Its `output_moved` is all that tells of this use.
            Some(buffers) if pending == 0 && !remembers => {
                buffers.output.reset(0);
                self.pool.settle(buffers);
            }
            Some(_) | None => conn.release_buffers(&mut self.pool),
        }
        if sent > 0 && pending == 0 && watches_use {
            self.schedule(key, conn);
        }
        if sent > 0 && conn.is_ending() {
            self.apply(key, conn, Input::Progress);
        }
        match conn.leg {
            Some(leg) => {
                if sent > 0 {
                    self.gateway.note_moved(key, self.now);
                }
                self.note_room(key, leg, pending);
            }
            None => self.check_watermarks(key, conn, pending),
        }
        if pending > 0 && sent == FLUSH_BYTES_MAX {
            self.posted.flush(key, conn);
        } else if pending > 0 {
            self.await_room(key, conn);
        } else if conn.is_ending() {
            self.after_flush(key, conn);
        }
    }

    /// Sends pending output until the kernel takes no more, or the others have their turn. Returns how many bytes.
    fn send_pending(&mut self, conn: &mut Conn<K>) -> Result<usize, SocketError> {
        let mut room = FLUSH_BYTES_MAX;
        while let Some(buffers) = &mut conn.buffers
            && !buffers.output.is_empty()
            && room > 0
        {
            let offered = &buffers.output.as_slice()[..buffers.output.len().min(room)];
            match conn.stream.send(offered) {
                Sent::Bytes(count) => {
                    let short = count < offered.len();
                    buffers.output.consume(count);
                    buffers.output_moved = self.now;
                    room -= count;
                    self.on_sent(conn, count);
                    if short {
                        break;
                    }
                }
                Sent::WouldBlock | Sent::Failed(SocketError::Memory) => {
                    self.work.charge(cost::CALL);
                    break;
                }
                Sent::Interrupted => {}
                Sent::Failed(fault) => return Err(fault),
            }
        }
        Ok(FLUSH_BYTES_MAX - room)
    }

    /// Sends all that is pending, as far as the kernel takes it: nobody waits any more.
    pub(super) fn flush_all(&mut self, key: Key, conn: &mut Conn<K>) {
        let mut before = usize::MAX;
        while (1..before).contains(&conn.pending_output()) {
            before = conn.pending_output();
            self.flush(key, conn);
        }
    }

    fn after_flush(&mut self, key: Key, conn: &mut Conn<K>) {
        if let Some(input) = self.flushed(key, conn) {
            self.apply(key, conn, input);
        }
    }

    /// A connection that is ending has no pending output. Returns the input for its life, unless something is left to do
    /// first.
    pub(super) fn flushed(&mut self, key: Key, conn: &mut Conn<K>) -> Option<Input> {
        if conn.leg.is_some_and(|leg| !self.on_leg_drained(key, conn, leg)) {
            return None;
        }
        if conn.layer().is_some() && self.end_output(key, conn).is_break() {
            return None;
        }
        if conn.leg.is_some() && conn.is_being_closed() {
            self.aftermath.post_leg(key, Next::LastLook);
            return None;
        }
        let listener = self.listener_of(conn);
        // Not where output is missing: the peer would take the probe for it.
        let probe = conn.leg.is_none()
            && conn.reading == Reading::Ended
            && listener.policy.liveness.probe_after_eof
            && !conn.is_gapped();
        if probe {
            self.probe_after_eof(key, conn);
            return None;
        }
        Some(Input::Flushed { probe: conn.reading == Reading::Probing })
    }

    /// Asks whether the peer has closed or only half-closed: one that has closed answers by a reset.
    fn probe_after_eof(&mut self, key: Key, conn: &mut Conn<K>) {
        let bytes = self.listener_of(conn).protocol.eof_probe(conn.encoding());
        self.work.charge(cost::SEND);
        conn.reading = Reading::Probing;
        // The last word of a layer is a probe as well, and nothing may follow it.
        if conn.layer().is_none()
            && let Sent::Failed(fault) = conn.stream.send(bytes)
        {
            return self.fail(key, conn, fault, Detector::EofProbe);
        }
        self.apply(key, conn, Input::Flushed { probe: true });
    }

    /// Resumes reading when output has fallen to the low watermark; pauses it when deliveries have filled output to the
    /// high one.
    fn check_watermarks(&mut self, key: Key, conn: &mut Conn<K>, pending: usize) {
        let bounds = &self.listener_of(conn).policy.bounds;
        match conn.pause {
            Pause::Output if pending <= bounds.output_low => self.posted.resume(key, conn),
            Pause::None if pending >= bounds.output_high => self.pause(key, conn, Pause::Output),
            Pause::None | Pause::Turn | Pause::Output | Pause::Effects | Pause::Partner | Pause::LogIn => {}
        }
    }
}
