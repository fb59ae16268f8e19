//! Liveness: what happens when a deadline of a connection has passed, how a silent peer is asked, what silence means, and
//! what follows when the peer is heard from again. [`conn::liveness`](crate::core::conn::liveness) says when each is due.

use super::Reactor;
use super::connection::Connection;
use super::context::{Conn, Context};
use super::parts::effect::Effect;
use super::work::cost;
use crate::core::conn::delivery::{Delivery, delivery};
use crate::core::conn::liveness::{Due, has_acknowledged_nothing, may_probe_again, verdict};
use crate::core::conn::policy::Verdict;
use crate::core::conn::{Input, State};
use crate::core::end::{Detector, Reason};
use crate::core::table::Key;
use crate::core::time::Span;
use crate::hub::{Agreement, Name, Presence, agreement, may_beat};
use crate::net::{Kernel, Sent, SocketError, Stream};
use crate::observe::events::What;
use crate::observe::report::ReportedVerdict;
use crate::protocol::presence::Event;

impl<K: Kernel> Reactor<K> {
    /// Acts on a deadline of a connection that has passed.
    pub(super) fn on_due(&mut self, key: Key, due: Due) {
        let of_silence = match due {
            Due::Deadline | Due::Header | Due::Suspicion | Due::Idle | Due::OobProbe => true,
            Due::Ping | Due::SecondProbe | Due::Slow | Due::TcpInfo | Due::Lasts | Due::Age => false,
        };
        // What came in since this turn's poll counts, and what a budget has left unread.
        if of_silence {
            self.read_once_more(key);
        }
        self.drive(key, |cx, conn| {
            if !of_silence || cx.is_silent(key, conn, due) {
                cx.on_due(key, conn, due);
            }
        });
    }

    /// Whether connection `key` may become the heartbeat channel of identity `id`, as far as this worker knows.
    pub(super) fn may_beat(&self, key: Key, id: &[u8], token: &[u8]) -> bool {
        let conn = |key: Option<Key>| key.and_then(|key| self.table.get(key));
        let holder = conn(self.cx.hub.holder(id)).map(Connection::consent);
        let present =
            conn(self.cx.hub.channel(id).filter(|channel| *channel != key)).map(Connection::beats_with);
        may_beat(holder, present, token)
    }

    /// A heartbeat channel was heard: so is the holder that has not agreed to another one.
    #[inline(never)]
    pub(super) fn relay_heartbeat(&mut self, channel: Key, holder: Key) {
        let token = self.table.get(channel).map_or(&[][..], Connection::beats_with);
        let consent = self.table.get(holder).map(Connection::consent);
        if consent.is_some_and(|consent| agreement(consent, token) != Agreement::Foreign) {
            self.mark_holder_alive(holder);
        }
    }

    /// The heartbeat channel of a holder is gone: a holder that has agreed to it is suspect.
    pub(super) fn judge_orphan(&mut self, holder: Key, token: &[u8]) {
        let conn = self.table.get(holder);
        if conn.is_some_and(|conn| agreement(conn.consent(), token) == Agreement::Agreed) {
            self.cx.effects.push_back(Effect::Suspect { key: holder });
        }
    }

    /// There was a sign of life of the holder of an identity. Not posted: it does not wait behind what others have posted.
    pub(super) fn mark_holder_alive(&mut self, holder: Key) {
        if let Some(conn) = self.table.get_mut(holder) {
            self.cx.mark_alive(holder, conn);
        }
    }
}

impl<K: Kernel> Context<K> {
    /// Acts on a deadline that has passed, and that no input has moved.
    fn on_due(&mut self, key: Key, conn: &mut Conn<K>, due: Due) {
        match due {
            Due::Deadline => self.on_deadline(key, conn),
            Due::Header => self.on_header_due(key, conn),
            Due::Ping => self.ping(key, conn),
            Due::Suspicion => self.suspect(key, conn, Detector::Heartbeat),
            Due::SecondProbe => self.apply(key, conn, Input::StillSilent),
            Due::Idle => self.close_unused(key, conn),
            Due::OobProbe => self.probe_oob(key, conn),
            Due::Slow => {
                self.flush(key, conn);
                if self.is_due(key, conn, Due::Slow) {
                    self.abort(key, conn, Reason::SlowTime, Detector::Timer);
                }
            }
            Due::TcpInfo => self.ask_tcp_info(key, conn),
            Due::Lasts => self.watch_by_kernel(key, conn),
            Due::Age => self.close_gracefully(key, conn, Reason::LocalMaxAge, Detector::Timer),
        }
    }

    /// Whether a deadline that silence has brought still has passed, after one more look at the socket.
    fn is_silent(&self, key: Key, conn: &Conn<K>, due: Due) -> bool {
        // Input that cannot be read for want of memory is no silence. What is not to be read at all is no matter, but to
        // the use of a connection.
        let is_read = due == Due::Idle || !(conn.is_paused() || conn.is_being_closed());
        self.is_due(key, conn, due) && !(is_read && conn.reading.pending())
    }

    /// Ends an unused connection, unless frames of it wait to be served.
    fn close_unused(&mut self, key: Key, conn: &mut Conn<K>) {
        if let Some(last) = conn.last_of_waiting_frames(self.now) {
            conn.mark_used(last);
        }
        if self.is_due(key, conn, Due::Idle) {
            self.close_gracefully(key, conn, Reason::LocalIdle, Detector::Timer);
        }
    }

    /// The state's own deadline has passed. What is unread would revive a suspect; and a socket that is closed with
    /// unread input resets its peer (`net/ipv4/tcp.c: __tcp_close`), output in flight and all.
    fn on_deadline(&mut self, key: Key, conn: &mut Conn<K>) {
        match conn.life.state() {
            State::Connecting { .. } => {
                self.abort(key, conn, Reason::UpstreamConnectTimeout, Detector::Timer);
            }
            State::Handshaking => {
                self.close_gracefully(key, conn, Reason::ProtocolHandshakeTimeout, Detector::Timer);
            }
            State::Suspect { since, detector, notsent_bytes, .. } => {
                // The clock is read again: the kernel counts from when it is asked, and a turn that judges a thousand
                // peers asks the last one tens of milliseconds after it began.
                let reason = verdict(conn.stream.evidence(), since, notsent_bytes, self.kernel.now());
                match self.policy_of(conn).liveness.verdict {
                    Verdict::End => self.abort(key, conn, reason, detector),
                    Verdict::Report => self.report_verdict(key, conn, reason, detector),
                }
            }
            State::PeerClosed { .. } | State::Closing { .. } => self.close_unless_more_is_due(key, conn),
            State::Open | State::Closed { .. } => {}
        }
    }

    /// Closes a connection that is ending and has had its time, unless bytes still move, or have yet to be delivered.
    pub(super) fn close_unless_more_is_due(&mut self, key: Key, conn: &mut Conn<K>) {
        if conn.pending_output() > 0 {
            self.flush(key, conn);
            if !self.is_due(key, conn, Due::Deadline) {
                return;
            }
        }
        if let Some(until) = conn.leg.and_then(|_| self.extended_leg_deadline(key, conn)) {
            return self.apply(key, conn, Input::Moved { until });
        }
        let output_pending = conn.pending_output() > 0;
        let unclear = !self.has_answered_lately(conn) && self.is_unclear(conn);
        if !output_pending && (unclear || self.must_be_delivered(key, conn)) {
            self.work.charge(cost::CALL);
            return self.apply(key, conn, Input::Unclear);
        }
        self.apply(key, conn, Input::Expired { output_pending });
    }

    /// Whether it cannot be told yet that a peer which has not closed will acknowledge what it was sent. A client that reads
    /// slowly may still speak, when its server has left: to a closed socket, whose reset would take what is unsent. So for
    /// some time its socket stays.
    fn is_unclear(&self, conn: &Conn<K>) -> bool {
        let state = conn.life.state();
        let (State::Closing { .. }, Some(begun)) = (state, state.begun()) else { return false };
        let Some(evidence) = conn.stream.evidence() else { return false };
        match delivery(&evidence) {
            Delivery::Unclear => true,
            Delivery::Held => {
                conn.is_being_closed()
                    && evidence.notsent_bytes > 0
                    && self.now < begun + self.policy_of(conn).closing.linger
            }
            Delivery::Underway | Delivery::Unanswered => false,
        }
    }

    /// Makes a connection suspect, unless it has unread input, or is gone. The grace is that of its contract.
    pub(super) fn suspect(&mut self, key: Key, conn: &mut Conn<K>, detector: Detector) {
        // It has sent something that we have not read: the silence is ours. Whether it takes its output, which the
        // pause waits for, is for `slow_time` to say. But its last word may have been a reset.
        if conn.is_paused() && conn.reading.pending() {
            if conn.stream.evidence().is_some_and(|evidence| evidence.is_closed()) {
                self.read_to_the_error(key, conn, Detector::TcpInfo, None);
            } else {
                self.mark_alive(key, conn);
            }
            return;
        }
        let listener = &self.policy_of(conn).liveness.heartbeat;
        let grace = conn.heartbeat(listener).grace;
        let notsent_bytes = conn.stream.evidence().map_or(0, |evidence| evidence.notsent_bytes);
        self.apply(key, conn, Input::Suspected { detector, grace, notsent_bytes });
    }

    /// Suspicion: the peer is probed, unless a probe is out already, and those who watch it are told.
    pub(super) fn probe_suspect(&mut self, key: Key, conn: &mut Conn<K>) {
        if conn.stream.evidence().is_some_and(|evidence| evidence.probes == 0) {
            conn.stream.probe_peer();
        }
        self.observer.counters.suspected += 1;
        let silence = Span::between(conn.life.heard(), self.now);
        if let State::Suspect { detector, .. } = conn.life.state() {
            self.note_event(key, conn, What::Suspect { detector, silence });
        }
        self.announce(key, conn, Presence::Suspect, Event::Suspect);
    }

    /// The second probe is due: the first, or its answer, may have been lost on the way.
    pub(super) fn probe_again(conn: &mut Conn<K>) {
        let Some(evidence) = conn.stream.evidence() else { return };
        // The socket is asked for its limits: the policy may have changed since it was given them.
        if may_probe_again(&evidence, conn.stream.probe_limits()) {
            conn.stream.probe_peer();
        }
    }

    /// Tells the verdict on a suspect, which ends nothing.
    #[cold]
    fn report_verdict(&mut self, key: Key, conn: &mut Conn<K>, reason: Reason, detector: Detector) {
        let silence = Span::between(conn.life.heard(), self.now);
        self.observer.counters.verdict_reported(reason);
        self.note_event(key, conn, What::Verdict { reason, detector, silence });
        let identity = conn.membership().and_then(|membership| self.hub.identity_of(membership, key));
        let listener = &self.listeners[usize::from(conn.listener)].settings.name;
        let verdict = ReportedVerdict { identity, reason, detector, silence };
        self.observer.report.verdict(key, &conn.peer, listener, &verdict, self.now);
        self.apply(key, conn, Input::Reported { reason });
    }

    /// There was a sign of life of this connection: bytes from its socket, or something else.
    #[inline]
    pub(super) fn mark_alive(&mut self, key: Key, conn: &mut Conn<K>) {
        if conn.life.mark_alive(self.now) {
            self.apply(key, conn, Input::Heard);
        }
        // Its deadlines have moved away, and its timer need not know; but where they were put off for a standstill, its
        // next ping is nearer.
        if self.now < self.deadlines.patient_until() {
            self.schedule(key, conn);
        }
    }

    /// Input has arrived that is not read yet: the connection is alive, and so is the one that it beats for.
    pub(super) fn mark_paused_alive(&mut self, key: Key, conn: &mut Conn<K>) {
        self.mark_alive(key, conn);
        // A leg beats for nobody.
        if conn.leg.is_none() {
            self.note_beat(key, conn);
        }
    }

    /// Input has arrived: the connection that this one beats for is alive, too. It counts now, and not only when the
    /// commands in it are carried out.
    #[inline]
    pub(super) fn note_beat(&mut self, key: Key, conn: &Conn<K>) {
        let Some(client) = conn.client() else { return };
        if let Some(holder) = self.hub.holder_of_channel(&client.membership, key) {
            self.aftermath.post_beat(key, holder);
        } else if let Some(link) = self.worker.link_mut() {
            link.on_beat(key, self.now);
        }
    }

    /// It was heard from again.
    pub(super) fn revive(&mut self, key: Key, conn: &mut Conn<K>, withheld: bool) {
        self.observer.counters.revived += 1;
        self.note_event(key, conn, What::Revived);
        self.announce(key, conn, Presence::Online, Event::Revived);
        if withheld {
            self.release(key, conn);
        }
    }

    /// What was withheld from a suspect goes out.
    pub(super) fn release(&mut self, key: Key, conn: &mut Conn<K>) {
        conn.stream.restore_keepalive(self.policy_of(conn).liveness.keepalive);
        // What was withheld begins to wait for the peer only now.
        if let Some(buffers) = &mut conn.buffers {
            buffers.output_moved = self.now;
        }
        self.posted.flush(key, conn);
    }

    /// Pings a silent peer that asked for it.
    fn ping(&mut self, key: Key, conn: &mut Conn<K>) {
        let protocol = self.listener_of(conn).protocol;
        let Some(ping) = protocol.server_ping(conn.encoding()) else { return };
        if let Some(client) = conn.client_mut() {
            client.cold.get_or_insert_default().pinged = self.now;
        }
        self.observer.counters.pings += 1;
        self.write(key, conn, ping);
    }

    /// Sends the out-of-band byte. A peer that has not acknowledged the previous one is lost.
    fn probe_oob(&mut self, key: Key, conn: &mut Conn<K>) {
        let heard = conn.life.heard();
        let buffers = conn.buffers_mut(&mut self.pool);
        let sent = std::mem::replace(&mut buffers.oob_sent, self.now);
        if sent > heard
            && let Some(evidence) = conn.stream.evidence()
            && has_acknowledged_nothing(&evidence, sent, self.kernel.now())
        {
            return self.abort(key, conn, Reason::LostUnacked, Detector::OobProbe);
        }
        self.work.charge(cost::SEND);
        match conn.stream.send_oob(0) {
            // The next probe will tell.
            Sent::Bytes(_) | Sent::WouldBlock | Sent::Interrupted | Sent::Failed(SocketError::Memory) => {}
            Sent::Failed(fault) => self.read_to_the_error(key, conn, Detector::OobProbe, Some(fault)),
        }
    }

    /// Reading is paused, so an ending would not be seen: asks the kernel.
    fn ask_tcp_info(&mut self, key: Key, conn: &mut Conn<K>) {
        if let Some(buffers) = &mut conn.buffers {
            buffers.info_asked = self.now;
        }
        let closed = conn.stream.evidence().is_some_and(|evidence| evidence.is_closed());
        if closed && !self.gateway.has_sent_fin(key, conn.leg) {
            self.read_to_the_error(key, conn, Detector::TcpInfo, None);
        }
    }

    /// Posts the presence event of a connection's identity, if it has one.
    fn announce(&mut self, key: Key, conn: &Conn<K>, presence: Presence, event: Event) {
        let Some(membership) = conn.membership() else { return };
        if self.hub.set_presence(membership, key, presence)
            && let Some(id) = self.hub.identity_of(membership, key)
        {
            if let Some(link) = self.worker.link_mut() {
                // At once, like a claim: posted, it would be told of a newer holder that has claimed meanwhile.
                link.on_presence(key, id, &event);
            } else {
                let (id, origin) = (Name::new(id), self.origin(key, conn));
                self.effects.push_back(Effect::Presence { id, event, origin });
            }
        }
    }
}
