//! Deadlines: until when to sleep, and what to do on waking.
//!
//! A connection has one entry in the wheel, the earliest of its deadlines; which one that is, only
//! [`next_due`] knows. Entries are re-armed lazily: hearing from a peer changes nothing here, the entry
//! expires at its old time and is armed anew.

use super::connection::Connection;
use super::work;
use super::{Reactor, accept::AcceptState};
use crate::config::settings::Settings;
use crate::conn::delivery::{Delivery, delivery};
use crate::conn::liveness::{Due, next_due, verdict};
use crate::conn::{Input, State};
use crate::end::{Detector, Reason};
use crate::net::{Kernel, Stream};
use crate::table::Key;
use crate::time::{Duration, Instant};

/// Entries of the wheel that are looked at in one turn. Most only re-arm; an ending costs a few calls.
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
}

impl Default for ServerTimers {
    fn default() -> Self {
        Self {
            accept_retry: Instant::NEVER,
            queue_watch: Instant::NEVER,
            resumed: Instant::NEVER,
            drain: Instant::NEVER,
            audit: Instant::NEVER,
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

    fn next(&self) -> Instant {
        self.accept_retry.min(self.queue_watch).min(self.resumed).min(self.drain).min(self.audit)
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

    fn next_due(&self, key: Key) -> Option<(Instant, Due)> {
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
    }

    fn on_due(&mut self, key: Key, due: Due) {
        match due {
            Due::Deadline => self.on_deadline(key),
            Due::Ping => self.ping(key),
            Due::Doubt if self.is_silent(key, due) => self.suspect(key, Detector::Heartbeat),
            Due::Idle if self.is_silent(key, due) => self.leave_unused(key),
            Due::OobProbe if self.is_silent(key, due) => self.probe_oob(key),
            Due::Doubt | Due::Idle | Due::OobProbe => {}
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
            Due::Idle => conn.reading.pending() || (conn.paused && conn.has_work()),
            Due::Deadline | Due::Ping | Due::Doubt | Due::OobProbe | Due::Slow | Due::TcpInfo => {
                conn.reading.pending() && !conn.paused
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
            State::Handshaking if conn.paused && conn.has_work() => {}
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
}
