//! Deadlines: until when to sleep, and what to do on waking.
//!
//! A connection has one entry in the wheel, the earliest of its deadlines; which one that is, only
//! [`next_due`] knows. Entries are re-armed lazily: hearing from a peer changes nothing here, the entry
//! expires at its old time and is armed anew.

use super::work;
use super::{Reactor, accept::AcceptState};
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

impl<K: Kernel> Reactor<K> {
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
    pub(super) fn schedule(&mut self, key: Key) {
        let Some((at, _)) = self.next_due(key) else { return };
        if self.wheel.deadline(key.index).is_none_or(|armed| at < armed) {
            self.wheel.arm(key.index, at);
        }
    }

    /// A connection was heard from. Its deadlines have moved away, and its timer need not know; but where they were put off
    /// for a standstill, its next ping is nearer.
    #[inline]
    pub(super) fn reschedule_heard(&mut self, key: Key) {
        if self.now < self.attention.patient_until() {
            self.schedule(key);
        }
    }

    pub(super) fn next_due(&self, key: Key) -> Option<(Instant, Due)> {
        let conn = self.table.get(key)?;
        let policy = &Self::listener_of(&self.listeners, conn).policy;
        let clocks = conn.clocks(self.attention.patient_until());
        next_due(&conn.life, policy, &conn.heartbeat(&policy.liveness.heartbeat), &clocks)
    }

    /// Acts on deadlines that had passed by the time up to which everything has been read; more of them than a turn
    /// can bear are left for the next.
    pub(super) fn expire(&mut self) {
        let horizon = self.attention.horizon();
        let share = self.work.after(work::EXPIRED);
        for _ in 0..EXPIRIES_PER_TURN {
            // Endings make effects for those who watch: when too many wait already, the rest is for later.
            if self.work.is_past(share) || self.is_backlogged() {
                break;
            }
            let Some(index) = self.wheel.expire(horizon) else { break };
            let Some(key) = self.table.key_at(index) else { continue };
            match self.next_due(key) {
                Some((at, due)) if at <= horizon => {
                    self.on_due(key, due);
                    self.schedule(key);
                }
                Some((at, _)) => self.wheel.arm(index, at),
                None => {}
            }
        }
        if self.timers.next() <= self.now {
            self.run_timers();
        }
        if self.report.summary_due() <= self.now {
            self.report.summarize(self.now);
        }
    }

    fn run_timers(&mut self) {
        let now = self.now;
        if ServerTimers::take(&mut self.timers.accept_retry, now) {
            self.retry_accepts();
        }
        if ServerTimers::take(&mut self.timers.queue_watch, now) {
            self.watch_queues();
        }
        if ServerTimers::take(&mut self.timers.resumed, now) {
            self.tell_resumed();
        }
        if ServerTimers::take(&mut self.timers.drain, now) {
            self.drain_some();
        }
        if ServerTimers::take(&mut self.timers.audit, now) {
            self.begin_audit();
        }
        if ServerTimers::take(&mut self.timers.asks, now) {
            self.expire_asks();
        }
    }
}
