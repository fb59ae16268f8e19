//! Silence: who is doubted, what it is asked, and what happens when it is heard from again. When each of these is
//! due stands in [`liveness`](crate::conn::liveness); the verdict, in `timers`.

use super::Reactor;
use super::connection::{Connection, Session};
use super::effects::Effect;
use crate::conn::Input;
use crate::end::{Detector, Reason};
use crate::hub::{Agreement, Name, Presence, agreement, may_beat};
use crate::net::{Kernel, Sent, SocketError, Stream};
use crate::proto::presence::Event;
use crate::proto::resp::Reply;
use crate::table::Key;
use crate::tcp::TcpSnapshot;

impl<K: Kernel> Reactor<K> {
    /// Makes a connection suspect, unless it has spoken unread, or is gone; the grace is that of its contract.
    pub(super) fn suspect(&mut self, key: Key, detector: Detector) {
        let Some(conn) = self.table.get(key) else { return };
        // It spoke, and we did not listen: that silence is ours. Whether it takes its output, which the
        // pause waits for, is for `slow_time` to say. But its last word may have been a reset.
        if conn.paused && conn.reading.pending() {
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
        self.apply(key, Input::Doubted { detector, grace, notsent_bytes });
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
            self.effects.push_back(Effect::Doubt { key });
        }
    }

    fn agreement_with(&self, holder: Key, token: &[u8]) -> Agreement {
        self.table.get(holder).map_or(Agreement::Foreign, |conn| agreement(conn.consent(), token))
    }

    /// Something of a connection came that is not being read: it is heard from, and so is whoever it beats for.
    pub(super) fn mark_paused_alive(&mut self, key: Key) {
        self.mark_alive(key);
        if self.table.get(key).is_some_and(|conn| conn.resp().is_some()) {
            self.mark_holder_alive(key);
        }
    }

    /// Something of a connection came: whoever it beats for is heard from, too. When its commands are carried out does not
    /// matter.
    pub(super) fn mark_holder_alive(&mut self, key: Key) {
        let Some(resp) = self.table.get(key).and_then(|conn| conn.resp()) else { return };
        if let Some(holder) = self.hub.vouched_holder(&resp.membership, key) {
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
        let Some(Session::Resp(resp)) = self.table.get_mut(key).and_then(|conn| conn.session.as_deref_mut())
        else {
            return;
        };
        resp.cold.get_or_insert_default().pinged = now;
        let mut bytes = Vec::new();
        Reply::new(&mut bytes, resp.version).server_ping();
        self.counters.pings += 1;
        self.write(key, &bytes);
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

    /// It is about to go: whoever asks for its identity finds nobody, as whoever sends to it reaches nobody.
    pub(super) fn note_ending(&mut self, key: Key) {
        if let Some(resp) = self.table.get(key).and_then(|conn| conn.resp()) {
            self.hub.set_presence(&resp.membership, key, Presence::Ending);
        }
    }

    /// Posts the presence event of a connection's identity, if it has one.
    fn announce(&mut self, key: Key, presence: Presence, event: Event) {
        let Some(resp) = self.table.get(key).and_then(|conn| conn.resp()) else { return };
        if self.hub.set_presence(&resp.membership, key, presence)
            && let Some(id) = self.hub.identity_of(&resp.membership, key)
        {
            self.effects.push_back(Effect::Presence { id: Name::new(id), event });
        }
    }
}
