//! Deadlines: until when to sleep, and what to do on waking.
//!
//! A connection has one entry in the wheel, the earliest of its deadlines; which one that is, only
//! [`next_due`] knows. Entries are re-armed lazily: hearing from a peer changes nothing here, the entry
//! expires at its old time and is armed anew.

use super::Reactor;
use super::accept::AcceptState;
use super::context::{Conn, Context};
use super::work;
use crate::config::settings::Settings;
use crate::core::conn::liveness::{Due, next_due};
use crate::core::table::Key;
use crate::core::time::{Duration, Instant};
use crate::net::Kernel;

/// Entries of the wheel that are looked at in one turn: most only re-arm. Those that act are bounded by their work.
const EXPIRIES_PER_TURN: usize = 1024;

/// Deadlines that belong to no connection. Each is far away unless there is need of it, so that an idle
/// server sleeps.
#[derive(Debug)]
pub(super) struct ServerTimers {
    /// When to try again to accept.
    accept_retry: Instant,
    /// When to look at the accept queues.
    queue_watch: Instant,
    /// When to say that accepting goes on.
    resumed: Instant,
    /// When the next connections are drained, or the drain is over.
    pub(super) drain: Instant,
    /// When the next audit begins.
    pub(super) audit: Instant,
    /// When the supervisor has not answered a client in time.
    asks: Instant,
}

impl Default for ServerTimers {
    fn default() -> Self {
        Self {
            accept_retry: Instant::NEVER,
            queue_watch: Instant::NEVER,
            resumed: Instant::NEVER,
            drain: Instant::NEVER,
            audit: Instant::NEVER,
            asks: Instant::NEVER,
        }
    }
}

impl ServerTimers {
    /// Those of a server that starts now.
    pub(super) fn first(now: Instant, settings: &Settings) -> Self {
        let audit = settings.audit.interval.map_or(Instant::NEVER, |interval| now + interval);
        Self { audit, ..Self::default() }
    }

    pub(super) fn retry_accept_at(&mut self, at: Instant) {
        self.accept_retry = self.accept_retry.min(at);
    }

    /// Whether some listener is to be tried again.
    pub(super) fn retries_accepts(&self) -> bool {
        self.accept_retry != Instant::NEVER
    }

    pub(super) fn watch_queue_at(&mut self, at: Instant) {
        self.queue_watch = self.queue_watch.min(at);
    }

    pub(super) fn tell_resumed_at(&mut self, at: Instant) {
        self.resumed = self.resumed.min(at);
    }

    pub(super) fn expire_asks_at(&mut self, at: Instant) {
        self.asks = self.asks.min(at);
    }

    fn next(&self) -> Instant {
        let accepts = self.accept_retry.min(self.queue_watch).min(self.resumed);
        accepts.min(self.drain).min(self.audit).min(self.asks)
    }

    /// Takes a deadline that has passed.
    fn take(deadline: &mut Instant, now: Instant) -> bool {
        let due = *deadline <= now;
        if due {
            *deadline = Instant::NEVER;
        }
        due
    }
}

impl<K: Kernel> Context<K> {
    /// How long the poll may wait: not at all while work is posted, for ever if nothing is due.
    pub(super) fn sleep(&self) -> Option<Duration> {
        let work = self.audits.due
            || self.link.as_ref().is_some_and(|link| link.is_ready())
            || !self.effects.is_empty()
            || !self.publications.is_empty()
            || self.memory_is_short()
            || !self.resume.is_empty()
            || !self.flush.is_empty()
            || self.admin.waiting() > 0
            || self.listeners.iter().any(|slot| slot.accepting == AcceptState::Open);
        if work {
            return Some(Duration::ZERO);
        }
        let server = self.timers.next().min(self.report.summary_due());
        let next = self.wheel.next_deadline().map_or(server, |at| at.min(server));
        (next != Instant::NEVER).then(|| next.since(self.now))
    }

    /// Arms the wheel for a connection's earliest deadline, unless it will look earlier anyway.
    pub(super) fn schedule(&mut self, key: Key, conn: &Conn<K>) {
        let Some((at, _)) = self.next_due(conn) else { return };
        if self.wheel.deadline(key.index).is_none_or(|armed| at < armed) {
            self.wheel.arm(key.index, at);
        }
    }

    pub(super) fn next_due(&self, conn: &Conn<K>) -> Option<(Instant, Due)> {
        let policy = &self.listener_of(conn).policy;
        let clocks = conn.clocks(self.attention.patient_until());
        next_due(&conn.life, policy, &conn.heartbeat(&policy.liveness.heartbeat), &clocks)
    }

    /// Whether a deadline that had passed still has, after one more try to send. The kernel tells of room
    /// only once a third of its buffer is free (`include/net/sock.h: sk_stream_is_writeable`), which takes a
    /// slow reader longer than any deadline; but it takes bytes as soon as there is any.
    /// Another deadline that has passed as well is not this one's verdict.
    pub(super) fn is_due(&self, conn: &Conn<K>, due: Due) -> bool {
        self.next_due(conn).is_some_and(|(at, next)| at <= self.attention.horizon() && next == due)
    }
}

impl<K: Kernel> Reactor<K> {
    /// Acts on deadlines that had passed by the time up to which everything has been read; more of them than a turn
    /// can bear are left for the next.
    pub(super) fn expire(&mut self) {
        let horizon = self.cx.attention.horizon();
        let share = self.cx.work.after(work::EXPIRED);
        for _ in 0..EXPIRIES_PER_TURN {
            // Endings make effects for those who watch: when too many wait already, the rest is for later.
            if self.cx.work.is_past(share) || self.cx.is_backlogged() {
                break;
            }
            let Some(index) = self.cx.wheel.expire(horizon) else { break };
            let Some((key, conn)) = self.table.at(index) else { continue };
            match self.cx.next_due(conn) {
                Some((at, due)) if at <= horizon => {
                    self.on_due(key, due);
                    self.drive(key, |cx, conn| cx.schedule(key, conn));
                }
                Some((at, _)) => self.cx.wheel.arm(index, at),
                None => {}
            }
        }
        if self.cx.timers.next() <= self.cx.now {
            self.run_timers();
        }
        if self.cx.report.summary_due() <= self.cx.now {
            self.cx.report.summarize(self.cx.now);
        }
    }

    fn run_timers(&mut self) {
        let now = self.cx.now;
        if ServerTimers::take(&mut self.cx.timers.accept_retry, now) {
            self.cx.retry_accepts();
        }
        if ServerTimers::take(&mut self.cx.timers.queue_watch, now) {
            self.cx.watch_queues();
        }
        if ServerTimers::take(&mut self.cx.timers.resumed, now) {
            self.cx.tell_resumed();
        }
        if ServerTimers::take(&mut self.cx.timers.drain, now) {
            self.drain_some();
        }
        if ServerTimers::take(&mut self.cx.timers.audit, now) {
            self.begin_audit();
        }
        if ServerTimers::take(&mut self.cx.timers.asks, now) {
            self.expire_asks();
        }
    }
}
