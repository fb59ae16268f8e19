//! Liveness: what happens when a deadline of a connection has passed, how a silent peer is asked, what silence means, and
//! what follows when the peer is heard from again. [`conn::liveness`](crate::core::conn::liveness) says when each is due.

use super::Reactor;
use super::connection::Connection;
use super::effects::Effect;
use super::work::cost;
use crate::core::conn::delivery::{Delivery, delivery};
use crate::core::conn::liveness::{Due, verdict};
use crate::core::conn::{Input, State};
use crate::core::end::{Detector, Reason};
use crate::core::table::Key;
use crate::core::tcp::TcpSnapshot;
use crate::hub::{Agreement, Name, Presence, agreement, may_beat};
use crate::net::{Kernel, Sent, SocketError, Stream};
use crate::protocol::presence::Event;

impl<K: Kernel> Reactor<K> {
    /// Acts on a deadline of a connection that has passed.
    pub(super) fn on_due(&mut self, key: Key, due: Due) {
        match due {
            Due::Deadline => self.on_deadline(key),
            Due::Ping => self.ping(key),
            Due::Suspicion if self.is_silent(key, due) => self.suspect(key, Detector::Heartbeat),
            Due::Idle if self.is_silent(key, due) => self.leave_unused(key),
            Due::OobProbe if self.is_silent(key, due) => self.probe_oob(key),
            Due::Suspicion | Due::Idle | Due::OobProbe => {}
            Due::Slow => {
                self.flush(key);
                if self.is_due(key, Due::Slow) {
                    self.abort(key, Reason::SlowTime, Detector::Timer);
                }
            }
            Due::TcpInfo => self.ask_tcp_info(key),
        }
    }

    /// Whether a deadline that had passed still has, after one more try to send. The kernel tells of room
    /// only once a third of its buffer is free (`include/net/sock.h: sk_stream_is_writeable`), which takes a
    /// slow reader longer than any deadline; but it takes bytes as soon as there is any.
    /// Another deadline that has passed as well is not this one's verdict.
    fn is_due(&self, key: Key, due: Due) -> bool {
        self.next_due(key).is_some_and(|(at, next)| at <= self.attention.horizon() && next == due)
    }

    /// Whether a deadline that silence has brought still has passed after one more look at the socket: what came in
    /// since this turn's poll counts, and what a budget has left unread.
    fn is_silent(&mut self, key: Key, due: Due) -> bool {
        self.read_once_more(key);
        // What still cannot be read, for want of memory, is no silence. Nor is what waits for its turn no use.
        let unread = |conn: &Connection<K::Stream>| match due {
            Due::Idle => conn.reading.pending() || (conn.is_paused() && conn.has_work()),
            Due::Deadline | Due::Ping | Due::Suspicion | Due::OobProbe | Due::Slow | Due::TcpInfo => {
                conn.reading.pending() && !conn.is_paused()
            }
        };
        self.is_due(key, due) && !self.table.get(key).is_some_and(unread)
    }

    /// Whether it cannot be told yet that a peer which has not closed will acknowledge what it was sent.
    fn is_unclear(&self, key: Key) -> bool {
        let parting = |conn: &&Connection<K::Stream>| matches!(conn.life.state(), State::Parting { .. });
        let evidence = self.table.get(key).filter(parting).and_then(|conn| conn.stream.evidence());
        evidence.is_some_and(|evidence| delivery(&evidence) == Delivery::Unclear)
    }

    /// Ends an unused connection, unless frames of it that were not served yet tell otherwise.
    fn leave_unused(&mut self, key: Key) {
        let Some(conn) = self.table.get_mut(key) else { return };
        if let Some(last) = conn.last_of_waiting_frames(self.now) {
            conn.mark_used(last);
        }
        if self.is_due(key, Due::Idle) {
            self.close_gracefully(key, Reason::LocalIdle, Detector::Timer);
        }
    }

    /// The state's own deadline has passed.
    fn on_deadline(&mut self, key: Key) {
        // What is unread revives a suspect. And a socket that is closed with unread input resets its peer
        // (`net/ipv4/tcp.c: __tcp_close`), output in flight and all.
        if !self.is_silent(key, Due::Deadline) {
            return;
        }
        let Some(conn) = self.table.get_mut(key) else { return };
        match conn.life.state() {
            // What it has said waits for its turn.
            State::Handshaking if conn.is_paused() && conn.has_work() => {}
            State::Handshaking => {
                self.close_gracefully(key, Reason::ProtocolHandshakeTimeout, Detector::Timer);
            }
            State::Suspect { since, detector, notsent_bytes, .. } => {
                // The one place that reads the clock again: the kernel counts from when it is asked, and a
                // turn that judges a thousand peers asks the last one tens of milliseconds after it began.
                let reason = verdict(conn.stream.evidence(), since, notsent_bytes, self.kernel.now());
                self.abort(key, reason, detector);
            }
            State::PeerClosed { .. } | State::Parting { .. } => {
                if conn.pending_output() > 0 {
                    self.flush(key);
                    if !self.is_due(key, Due::Deadline) {
                        return;
                    }
                }
                let output_pending = self.table.get(key).is_some_and(|conn| conn.pending_output() > 0);
                if !output_pending && self.is_unclear(key) {
                    return self.apply(key, Input::Unclear);
                }
                self.apply(key, Input::Expired { output_pending });
            }
            State::Open | State::Closed { .. } => {}
        }
    }

    /// Makes a connection suspect, unless it has spoken unread, or is gone; the grace is that of its contract.
    pub(super) fn suspect(&mut self, key: Key, detector: Detector) {
        let Some(conn) = self.table.get(key) else { return };
        // It spoke, and we did not listen: that silence is ours. Whether it takes its output, which the
        // pause waits for, is for `slow_time` to say. But its last word may have been a reset.
        if conn.is_paused() && conn.reading.pending() {
            if conn.stream.evidence().is_some_and(|evidence| evidence.is_closed()) {
                self.read_to_the_error(key, Detector::TcpInfo, None);
            } else {
                self.mark_alive(key);
            }
            return;
        }
        let listener = &Self::listener_of(&self.listeners, conn).policy.liveness.heartbeat;
        let grace = conn.heartbeat(listener).grace;
        let notsent_bytes = conn.stream.evidence().map_or(0, |evidence| evidence.notsent_bytes);
        self.apply(key, Input::Suspected { detector, grace, notsent_bytes });
    }

    /// Suspicion: the peer is probed once, and those who watch it are told.
    pub(super) fn probe_suspect(&mut self, key: Key) {
        let Some(conn) = self.table.get_mut(key) else { return };
        conn.stream.probe_peer();
        self.counters.suspected += 1;
        self.announce(key, Presence::Suspect, Event::Suspect);
    }

    /// There was a sign of life of this connection, if not a byte from its socket.
    pub(super) fn mark_alive(&mut self, key: Key) {
        if self.table.get_mut(key).is_some_and(|conn| conn.life.mark_alive(self.now)) {
            self.apply(key, Input::Heard);
        }
        self.reschedule_heard(key);
    }

    /// Whether connection `key` may become the heartbeat channel of identity `id`, as far as this worker knows.
    pub(super) fn may_beat(&self, key: Key, id: &[u8], token: &[u8]) -> bool {
        let conn = |key: Option<Key>| key.and_then(|key| self.table.get(key));
        let holder = conn(self.hub.holder(id)).map(Connection::consent);
        let present =
            conn(self.hub.channel(id).filter(|channel| *channel != key)).map(Connection::beats_with);
        may_beat(holder, present, token)
    }

    /// A heartbeat channel was heard: so is the holder that has not agreed to another one.
    pub(super) fn relay_heartbeat(&mut self, channel: Key, holder: Key) {
        let token = self.table.get(channel).map_or(&[][..], Connection::beats_with);
        if self.agreement_with(holder, token) != Agreement::Foreign {
            // Not posted: a sign of life does not wait behind what others have posted.
            self.mark_alive(holder);
        }
    }

    /// A heartbeat channel that named `token` beats for its holder no more: one that has agreed to it is suspect.
    pub(super) fn orphan(&mut self, holder: Option<Key>, token: &[u8]) {
        if let Some(key) = holder.filter(|key| self.agreement_with(*key, token) == Agreement::Agreed) {
            self.effects.push_back(Effect::Suspect { key });
        }
    }

    fn agreement_with(&self, holder: Key, token: &[u8]) -> Agreement {
        self.table.get(holder).map_or(Agreement::Foreign, |conn| agreement(conn.consent(), token))
    }

    /// Input has arrived that is not read yet: the connection is alive, and so is the one that it beats for.
    pub(super) fn mark_paused_alive(&mut self, key: Key) {
        self.mark_alive(key);
        if self.table.get(key).is_some_and(|conn| conn.resp().is_some()) {
            self.mark_holder_alive(key);
        }
    }

    /// Input has arrived: the connection that this one beats for is alive, too. It counts now, and not only when the
    /// commands in it are carried out.
    pub(super) fn mark_holder_alive(&mut self, key: Key) {
        let Some(resp) = self.table.get(key).and_then(|conn| conn.resp()) else { return };
        if let Some(holder) = self.hub.holder_of_channel(&resp.membership, key) {
            self.relay_heartbeat(key, holder);
        } else if let Some(link) = &mut self.link {
            link.on_beat(key, self.now);
        }
    }

    /// It was heard from again: what was withheld goes out.
    pub(super) fn revive(&mut self, key: Key) {
        let Some(conn) = self.table.get_mut(key) else { return };
        let keepalive = Self::listener_of(&self.listeners, conn).policy.liveness.keepalive;
        conn.stream.restore_keepalive(keepalive);
        // What was withheld begins to wait for the peer only now.
        if let Some(buffers) = &mut conn.buffers {
            buffers.output_moved = self.now;
        }
        self.counters.revived += 1;
        self.announce(key, Presence::Online, Event::Revived);
        self.post_flush(key);
    }

    /// Pings a silent peer that asked for it.
    pub(super) fn ping(&mut self, key: Key) {
        let now = self.now;
        let Some(conn) = self.table.get_mut(key) else { return };
        let protocol = Self::listener_of(&self.listeners, conn).protocol;
        let Some(ping) = protocol.server_ping(conn.encoding()) else { return };
        if let Some(resp) = conn.resp_mut() {
            resp.cold.get_or_insert_default().pinged = now;
        }
        self.counters.pings += 1;
        self.write(key, ping);
    }

    /// Sends the out-of-band byte; one that was not even acknowledged since the last time is an answer too.
    pub(super) fn probe_oob(&mut self, key: Key) {
        let now = self.now;
        let Some(conn) = self.table.get_mut(key) else { return };
        let heard = conn.life.heard();
        let unanswered = conn.buffers_mut(&mut self.pool).oob_sent > heard;
        // Output may be on its way for another reason: lost is only who acknowledged nothing since.
        let quiet_ms = now.since(conn.buffers_mut(&mut self.pool).oob_sent).as_millis();
        let silent =
            |evidence: TcpSnapshot| evidence.unacked > 0 && u128::from(evidence.last_ack_recv_ms) >= quiet_ms;
        if unanswered && conn.stream.evidence().is_some_and(silent) {
            return self.abort(key, Reason::LostUnacked, Detector::OobProbe);
        }
        conn.buffers_mut(&mut self.pool).oob_sent = now;
        self.work.charge(cost::SEND);
        match conn.stream.send_oob(0) {
            // The next one will tell.
            Sent::Bytes(_) | Sent::WouldBlock | Sent::Interrupted | Sent::Failed(SocketError::Memory) => {}
            Sent::Failed(fault) => self.read_to_the_error(key, Detector::OobProbe, Some(fault)),
        }
    }

    /// Reading is paused, so an ending would not be seen: asks the kernel.
    pub(super) fn ask_tcp_info(&mut self, key: Key) {
        let now = self.now;
        let Some(conn) = self.table.get_mut(key) else { return };
        if let Some(buffers) = &mut conn.buffers {
            buffers.info_asked = now;
        }
        if conn.stream.evidence().is_some_and(|evidence| evidence.is_closed()) {
            self.read_to_the_error(key, Detector::TcpInfo, None);
        }
    }

    /// A connection is ending: from now on its identity counts as offline, because no message reaches it any more.
    pub(super) fn note_ending(&mut self, key: Key) {
        let Some(resp) = self.table.get(key).and_then(|conn| conn.resp()) else { return };
        self.hub.set_presence(&resp.membership, key, Presence::Ending);
        if let Some(link) = &mut self.link
            && let Some(id) = self.hub.identity_of(&resp.membership, key)
        {
            link.on_ending(key, id);
        }
    }

    /// Posts the presence event of a connection's identity, if it has one.
    fn announce(&mut self, key: Key, presence: Presence, event: Event) {
        let Some(resp) = self.table.get(key).and_then(|conn| conn.resp()) else { return };
        if self.hub.set_presence(&resp.membership, key, presence)
            && let Some(id) = self.hub.identity_of(&resp.membership, key)
        {
            match &mut self.link {
                // At once, like a claim: posted, it would be told of a newer holder that has claimed meanwhile.
                Some(link) => link.on_presence(key, id, &event),
                None => self.effects.push_back(Effect::Presence { id: Name::new(id), event }),
            }
        }
    }
}
