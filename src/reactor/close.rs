//! The one close path. A connection whose life is over was noted in the aftermath by what drove it; here it leaves the
//! table.

use super::Reactor;
use super::context::{Conn, Context};
use super::parts::aftermath::Next;
use super::parts::effect::Effect;
use super::parts::server_timers::ServerTimer;
use super::work::cost;
use crate::core::conn::Cause;
use crate::core::conn::delivery::{Delivery, delivery, fin_timeout};
use crate::core::conn::policy::Policy;
use crate::core::end::{Class, CloseMode, End, Leg, Reason};
use crate::core::table::Key;
use crate::core::tcp::TcpSnapshot;
use crate::core::time::Duration;
use crate::hub::Membership;
use crate::net::{CloseHow, Kernel, Stream};
use crate::observe::events::Whose;
use crate::protocol::presence::{self, Event};

impl<K: Kernel> Reactor<K> {
    /// Works off the aftermath of connections that were driven: marks those alive that they beat for, and closes those
    /// whose life is over. No connection is borrowed meanwhile.
    #[inline]
    pub(super) fn settle(&mut self) {
        if !self.cx.aftermath.is_empty() {
            self.settle_some();
        }
    }

    #[inline(never)]
    fn settle_some(&mut self) {
        while self.settle_once() || !self.cx.aftermath.is_empty() {}
    }

    /// Returns whether a leg was told something, so that there may be more.
    fn settle_once(&mut self) -> bool {
        if self.cx.aftermath.has_endings() {
            self.settle_endings();
        }
        // After the closings, so that a partner that is gone is told nothing. News may end the leg that gets it.
        let Some((key, next)) = self.cx.aftermath.take_leg() else { return false };
        match next {
            Next::Partner(news) => {
                if let Some(conn) = self.table.get_mut(key) {
                    self.cx.on_news(key, conn, news);
                }
            }
            Next::Resume => {
                if let Some(conn) = self.table.get_mut(key) {
                    self.cx.posted.resume(key, conn);
                }
            }
            Next::LastLook => self.close_behind_last_look(key),
            Next::Connect => self.connect_upstream(key),
        }
        true
    }

    fn settle_endings(&mut self) {
        self.relay_beats();
        while let Some((key, mode)) = self.cx.aftermath.take_closing() {
            let Some(conn) = self.table.get_mut(key) else { continue };
            let how = self.cx.end(key, conn, mode);
            // Moved out only now, when little of it is needed any more. No other code closes a connection of the table.
            if let Some(conn) = self.table.remove(key) {
                conn.stream.close(how);
            }
            self.cx.on_descriptor_free();
        }
        while let Some((holder, token)) = self.cx.aftermath.take_orphan() {
            self.judge_orphan(holder, &token);
        }
    }

    /// Marks those alive whose heartbeat channels have received something.
    #[inline]
    pub(super) fn relay_beats(&mut self) {
        while let Some((channel, holder)) = self.cx.aftermath.take_beat() {
            self.relay_heartbeat(channel, holder);
        }
    }

    /// Calls `act` on a connection, if it is there, then works off the aftermath.
    pub(super) fn drive(&mut self, key: Key, act: impl FnOnce(&mut Context<K>, &mut Conn<K>)) {
        if let Some(conn) = self.table.get_mut(key) {
            act(&mut self.cx, conn);
            self.settle();
        }
    }
}

impl<K: Kernel> Context<K> {
    /// Records and counts its end. Returns how the socket is closed. Every connection comes through here once.
    fn end(&mut self, key: Key, conn: &mut Conn<K>, mode: CloseMode) -> CloseHow {
        self.deadlines.forget(key);
        self.work.charge(cost::ENDING);
        if conn.layer().is_some() {
            self.end_output_now(key, conn, mode);
        }
        let reason = conn.life.cause().map_or(Reason::LocalInternal, |cause| cause.reason);
        let mode = conn.leg.map_or(mode, |leg| self.on_leg_closing(key, conn, leg, mode));
        let asks = mode == CloseMode::Linger2 && !self.has_answered_lately(conn);
        let (mode, evidence) = if wants_evidence(reason) || asks {
            self.ask_kernel(key, conn, mode, reason)
        } else {
            (mode, None)
        };
        let index = usize::from(conn.listener);
        if conn.leg != Some(Leg::Upstream) {
            self.count_out(index, conn);
        }
        if evidence.is_some() || self.needs_full_record(conn, reason) {
            self.record_end(key, conn, mode, evidence);
        } else {
            // Most connections of a busy server come and go like that, and nobody is told of them at once.
            self.end_quietly(key, conn, mode);
        }
        close_how(mode, self.listeners[index].linger2_inherited)
    }

    /// Counts the ending of a connection that nobody is told of. Its life knows all that there is to be recorded.
    #[inline]
    fn end_quietly(&mut self, key: Key, conn: &Conn<K>, mode: CloseMode) {
        let index = usize::from(conn.listener);
        let end = self.quiet_record(key, conn, mode);
        self.observer.counters.listeners[index].ended(&end);
        if self.observer.keeps_endings() {
            // Made once more for that: a record that is only counted is never written.
            self.keep_ending(key, conn, mode);
        }
        if let Some(leg) = conn.leg {
            let cause = Cause { reason: end.reason, detector: end.detector };
            self.leave_pair(key, leg, index, [end.bytes_in, end.bytes_out], cause, end.age);
        }
    }

    /// The record of an ending that nobody is told of.
    #[inline]
    fn quiet_record(&self, key: Key, conn: &Conn<K>, mode: CloseMode) -> End {
        let pair = conn.leg.and_then(|leg| Some((leg, self.gateway.pairs.of(key)?.name())));
        End { pair, ..conn.life.end(mode, self.now, None) }
    }

    /// Keeps an ending for those who ask later.
    #[inline(never)]
    fn keep_ending(&mut self, key: Key, conn: &Conn<K>, mode: CloseMode) {
        let end = self.quiet_record(key, conn, mode);
        let whose = Whose { key, peer: &conn.peer, listener: conn.listener, identity: &[] };
        self.observer.keep_ending(&whose, &end, self.now);
    }

    /// Whether an ending is logged or published, or leaves something behind.
    fn needs_full_record(&self, conn: &Conn<K>, reason: Reason) -> bool {
        let is_plain = conn.session.is_none() && conn.buffers.is_none();
        !is_plain || !self.annotations.is_empty() || self.observer.report.reports_ending(reason)
    }

    /// Counts an ending, and tells all who are to know of it.
    #[inline(never)]
    fn record_end(&mut self, key: Key, conn: &mut Conn<K>, mode: CloseMode, evidence: Option<TcpSnapshot>) {
        let mut end = conn.record(mode, self.now, evidence);
        end.proxied = self.annotations.proxied.remove(key);
        end.secured = self.secured_of(key, conn).filter(|secured| !secured.asks_for_nothing());
        self.annotations.secured.forget(key);
        end.user = self.logged_in_as(conn).map(Into::into);
        end.pair = conn.leg.and_then(|leg| Some((leg, self.gateway.pairs.of(key)?.name())));
        let index = usize::from(conn.listener);
        let slot = &self.listeners[index];
        if !slot.settings.protocol.serves_clients() {
            self.admin.on_closed(key);
        }
        let replaced = self.annotations.initiators.on_closed(key, &mut end);
        if replaced.is_some() {
            let origin = self.origin(key, conn);
            self.annotations.initiators.keep_origin(key, origin);
        }
        let held = conn.membership().and_then(|membership| self.hub.identity_of(membership, key));
        let identity = held.or(replaced.as_deref());
        if slot.settings.protocol.serves_clients() {
            let identity = identity.unwrap_or_default();
            let whose = Whose { key, peer: &conn.peer, listener: conn.listener, identity };
            self.observer.ended(&whose, &end, self.now);
        } else {
            self.observer.counters.listeners[index].ended(&end);
        }
        self.observer.report.ended(key, &conn.peer, &slot.settings.name, identity, &end, self.now);
        if let Some((membership, token)) = conn.take_membership() {
            self.leave_hub(key, conn, membership, token, Some(&end));
        }
        if let Some(task) = conn.buffers.as_mut().and_then(|buffers| buffers.task.take()) {
            self.adopt_task(*task);
        }
        if let Some(leg) = conn.leg {
            self.count_leg(key, conn, leg, &end);
        }
        conn.drop_buffers(&mut self.pool);
    }

    /// Asks the kernel. Returns how the socket is closed in view of its answer, and the answer if it belongs into the record.
    #[inline(never)]
    fn ask_kernel(
        &self,
        key: Key,
        conn: &mut Conn<K>,
        wanted: CloseMode,
        reason: Reason,
    ) -> (CloseMode, Option<TcpSnapshot>) {
        let policy = self.policy_of(conn);
        let user_timeout = self.user_timeout_of(key, conn);
        let evidence = conn.stream.evidence();
        let mode = last_rung(&mut conn.stream, wanted, evidence.as_ref(), policy, user_timeout);
        (mode, evidence.filter(|_| wants_evidence(reason) || mode != wanted))
    }

    /// Accepting that stalled for want of descriptors may go on.
    fn on_descriptor_free(&mut self) {
        self.kernel.retake_reserve();
        if self.timers.is_armed(ServerTimer::AcceptRetry) {
            self.retry_accepts();
        }
    }

    /// Tells the others of an ending. `token`: what a heartbeat channel had presented.
    pub(super) fn leave_hub(
        &mut self,
        key: Key,
        conn: &Conn<K>,
        membership: Membership,
        token: Box<[u8]>,
        end: Option<&End>,
    ) {
        self.work.charge(cost::UNSUBSCRIBE * membership.subscriptions());
        let origin = self.origin(key, conn);
        let left = self.hub.leave(membership, key);
        if let Some(link) = self.worker.link_mut() {
            left.identity.iter().for_each(|id| link.on_left(key, id, &presence::record(end)));
            link.on_channel_gone(key);
        }
        if let Some(id) = left.identity {
            self.effects.push_back(Effect::Presence { id, event: Event::offline(end), origin });
        }
        self.aftermath.post_orphan(left.orphaned_holder, token);
    }
}

/// The endings whose cause lies in the network, in a peer that stalled, or in what the kernel knew and we did not.
const fn wants_evidence(reason: Reason) -> bool {
    matches!(reason.class(), Class::Lost | Class::Stuck | Class::Slow)
        || matches!(reason, Reason::LocalAudit | Reason::UpstreamLost | Reason::UpstreamStuck)
}

/// How a socket is closed whose peer has not closed, once the kernel was asked. A peer that acknowledges nothing is not
/// waited for; for any other, the FIN has its time.
fn last_rung(
    stream: &mut impl Stream,
    mode: CloseMode,
    evidence: Option<&TcpSnapshot>,
    policy: &Policy,
    user_timeout: Option<Duration>,
) -> CloseMode {
    let (CloseMode::Linger2, Some(evidence)) = (mode, evidence) else { return mode };
    if delivery(evidence) == Delivery::Unanswered {
        return policy.closing.unreachable.into();
    }
    if let Some(timeout) = fin_timeout(evidence, policy.closing.linger, user_timeout) {
        stream.set_user_timeout(timeout);
    }
    mode
}

/// How the socket is closed for that. What it inherited from its listener need not be set again.
const fn close_how(mode: CloseMode, linger2_inherited: bool) -> CloseHow {
    match mode {
        CloseMode::PeerFirst
        | CloseMode::PeerFirstAfterGoodbye
        | CloseMode::ProbeReset
        | CloseMode::ForwardedFin => CloseHow::Plain,
        CloseMode::Linger2 if linger2_inherited => CloseHow::Plain,
        CloseMode::Linger2 => CloseHow::Linger2,
        CloseMode::Reset => CloseHow::Reset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_asked_about_each_ending_that_was_not_the_peers_own() {
        let wanted = |reason: &Reason| match reason.class() {
            Class::Lost | Class::Stuck | Class::Slow => true,
            Class::Peer | Class::Protocol => false,
            Class::Local => *reason == Reason::LocalAudit,
            Class::Upstream => matches!(reason, Reason::UpstreamLost | Reason::UpstreamStuck),
        };
        for reason in Reason::ALL {
            assert_eq!(wants_evidence(*reason), wanted(reason), "{reason}");
        }
    }
}
