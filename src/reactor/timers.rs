//! Deadlines: until when to sleep, and what to do on waking.
//!
//! A connection has one entry in the wheel, the earliest of its deadlines; which one that is, only
//! [`next_due`] knows. Entries are re-armed lazily: hearing from a peer changes nothing here, the entry
//! expires at its old time and is armed anew.

use super::Reactor;
use super::connection::Connection;
use super::context::{Conn, Context};
use super::parts::admin::Http;
use super::parts::listener::ListenerState;
use super::parts::server_timers::ServerTimer;
use super::work;
use crate::core::conn::State;
use crate::core::conn::liveness::{Clocks, Due, next_due};
use crate::core::conn::policy::Policy;
use crate::core::mix::mix;
use crate::core::table::Key;
use crate::core::time::{Duration, Instant};
use crate::net::Kernel;

/// Entries of the wheel that are looked at in one turn: most only re-arm. Those that act are bounded by their work.
const EXPIRIES_PER_TURN: usize = 1024;

/// When to look again whether what keeps a connection has come to its end: an answer, or a message that waits for the server.
const LATER: Duration = Duration::from_millis(100);

impl<K: Kernel> Context<K> {
    /// How long the poll may wait: not at all while work is posted, for ever if nothing is due.
    pub(super) fn sleep(&self) -> Option<Duration> {
        let work = self.audits.is_due()
            || self.worker.may_receive()
            || !self.effects.is_empty()
            || !self.publishing.publications.is_empty()
            || self.memory_is_short()
            || self.posted.len() > 0
            || self.admin.waiting() > 0
            || self.listeners.iter().any(ListenerState::wants_accept);
        if work {
            return Some(Duration::ZERO);
        }
        let server = self.timers.next().min(self.observer.report.summary_due());
        let next = self.deadlines.next().map_or(server, |at| at.min(server));
        (next != Instant::NEVER).then(|| next.since(self.now))
    }

    /// Arms the wheel for a connection's earliest deadline, unless it will look earlier anyway.
    pub(super) fn schedule(&mut self, key: Key, conn: &Conn<K>) {
        if let Some((at, _)) = self.next_deadline(key, conn) {
            self.deadlines.arm_no_later(key, at);
        }
    }

    /// The earliest deadline of a connection: its clocks are gathered here, and [`next_due`] decides.
    pub(super) fn next_deadline(&self, key: Key, conn: &Conn<K>) -> Option<(Instant, Due)> {
        let policy = self.policy_of(conn);
        let mut clocks = conn.clocks(self.deadlines.patient_until(), self.now);
        if conn.leg.is_some() {
            self.add_clocks_of_pair(key, conn, &mut clocks);
        }
        clocks.ages = policy.bounds.max_age.map(|max| self.ages(key, conn, max));
        if conn.life.state() == State::Handshaking && conn.is_paused() && conn.has_work() {
            clocks.deferred = self.deferred_by_pause(conn, policy, clocks.deferred);
        }
        next_due(&conn.life, policy, &conn.heartbeat(&policy.liveness.heartbeat), &clocks)
    }

    /// How long the opening exchange of a connection is put off: at least until later, for what it has said waits for the server.
    #[cold]
    fn deferred_by_pause(&self, conn: &Conn<K>, policy: &Policy, deferred: Duration) -> Duration {
        let until = conn.life.accepted() + policy.bounds.handshake_timeout.unwrap_or_default();
        deferred.max((self.now + LATER).since(until))
    }

    /// When a connection reaches its greatest age: spread over the last tenth of `max`, so that not all end at once.
    fn ages(&self, key: Key, conn: &Conn<K>, max: Duration) -> Instant {
        let tenth = u64::try_from(max.as_nanos() / 10).unwrap_or(u64::MAX);
        let chance = mix(u64::from(key.index) << 32 ^ conn.life.accepted().as_nanos());
        let at = conn.life.accepted() + max.saturating_sub(Duration::from_nanos(chance % tenth.max(1)));
        // An answer of the admin interface is finished first.
        let answered = conn.http().is_some_and(Http::is_busy);
        if answered { at.max(self.now + LATER) } else { at }
    }

    /// Whether a deadline that had passed still has, after one more try to send. The kernel tells of room
    /// only once a third of its buffer is free (`include/net/sock.h: sk_stream_is_writeable`), which takes a
    /// slow reader longer than any deadline; but it takes bytes as soon as there is any.
    /// If another deadline has passed as well, it is judged by itself.
    pub(super) fn is_due(&self, key: Key, conn: &Conn<K>, due: Due) -> bool {
        self.next_deadline(key, conn).is_some_and(|(at, next)| at <= self.deadlines.horizon() && next == due)
    }
}

impl<S> Connection<S> {
    /// The times that its deadlines are counted from.
    pub(super) fn clocks(&self, patient_until: Instant, now: Instant) -> Clocks {
        let buffers = self.buffers.as_ref();
        let client = self.client();
        // Who watches has nothing to say.
        let heard = if self.http().is_some_and(Http::is_watching) { now } else { self.life.heard() };
        // Messages that wait for the server are use.
        let waits = self.is_paused() && self.has_work();
        let used = if waits { now } else { client.map_or(heard, |client| client.used) };
        Clocks {
            used: buffers.map_or(used, |buffers| used.max(buffers.output_moved)),
            pinged: client.and_then(|client| client.cold.as_ref()).map_or(Instant::ZERO, |cold| cold.pinged),
            oob_sent: buffers.map_or(Instant::ZERO, |buffers| buffers.oob_sent),
            output_moved: buffers
                .filter(|buffers| !buffers.output.is_empty())
                .map(|buffers| buffers.output_moved),
            // A leg that waits from the start was never paused, and may have buffers for what it is sent by name.
            info_asked: buffers
                .filter(|buffers| self.is_paused() && buffers.info_asked != Instant::ZERO)
                .map(|buffers| buffers.info_asked),
            lasts: None,
            header: self.header_until(),
            ages: None,
            deferred: buffers.map_or(Duration::ZERO, |buffers| buffers.deferral.until(now)),
            patient_until,
        }
    }
}

impl<K: Kernel> Reactor<K> {
    /// Acts on deadlines before the time up to which all input has been read. What is over the work of a turn is left for
    /// the next.
    pub(super) fn expire(&mut self) {
        let horizon = self.cx.deadlines.horizon();
        let share = self.cx.work.after(work::EXPIRED);
        for _ in 0..EXPIRIES_PER_TURN {
            // Endings make effects for those who watch: when too many wait already, the rest is for later.
            if self.cx.work.is_past(share) || self.cx.is_backlogged() {
                break;
            }
            let Some(index) = self.cx.deadlines.next_expired() else { break };
            let Some((key, conn)) = self.table.at(index) else { continue };
            match self.cx.next_deadline(key, conn) {
                Some((at, due)) if at <= horizon => {
                    self.on_due(key, due);
                    self.drive(key, |cx, conn| cx.schedule(key, conn));
                }
                Some((at, _)) => self.cx.deadlines.rearm(key, at),
                None => {}
            }
        }
        if self.cx.timers.next() <= self.cx.now {
            self.run_timers();
        }
        if self.cx.observer.report.summary_due() <= self.cx.now {
            self.cx.observer.report.summarize(self.cx.now);
        }
    }

    fn run_timers(&mut self) {
        for timer in ServerTimer::ALL {
            if !self.cx.timers.take(timer, self.cx.now) {
                continue;
            }
            match timer {
                ServerTimer::AcceptRetry => self.cx.retry_accepts(),
                ServerTimer::QueueWatch => self.cx.watch_queues(),
                ServerTimer::Resumed => self.cx.report_resumed(),
                ServerTimer::Drain => self.drain_some(),
                ServerTimer::Audit => self.begin_audit(),
                ServerTimer::Asks => self.expire_asks(),
                ServerTimer::Names => self.cx.resolve_names(),
                ServerTimer::Removals => self.remove_some(),
                ServerTimer::Checks => self.run_checks(),
                ServerTimer::LogIns => self.let_log_in(),
                ServerTimer::Tickets => self.cx.rotate_tickets(),
                ServerTimer::Service => self.cx.notify_alive(),
                ServerTimer::Watchers => self.notify_watchers_alive(),
                ServerTimer::Endings => self.end_more(),
            }
        }
    }
}
