//! Deadlines that belong to no connection.

use crate::config::settings::Settings;
use crate::core::time::Instant;

/// What is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::reactor) enum ServerTimer {
    /// To try again to accept.
    AcceptRetry,
    /// To look at the accept queues.
    QueueWatch,
    /// To say that accepting goes on.
    Resumed,
    /// To drain the next connections, or to end the drain.
    Drain,
    /// To begin an audit.
    Audit,
    /// To do without an answer of the supervisor.
    Asks,
    /// To look names up again.
    Names,
    /// To end the next pairs whose server is gone from the configuration.
    Removals,
    /// To begin or to end a check of an upstream server.
    Checks,
    /// To let somebody log in after failed attempts.
    LogIns,
    /// To rotate the keys of session tickets.
    Tickets,
    /// To notify the service manager.
    Service,
    /// To tell those who watch that the server is there.
    Watchers,
    /// To end the next of many that the operator ends.
    Endings,
}

impl ServerTimer {
    /// All of them, in the order in which a turn looks at them.
    pub(in crate::reactor) const ALL: [Self; 14] = [
        Self::AcceptRetry,
        Self::QueueWatch,
        Self::Resumed,
        Self::Drain,
        Self::Audit,
        Self::Asks,
        Self::Names,
        Self::Removals,
        Self::Checks,
        Self::LogIns,
        Self::Tickets,
        Self::Service,
        Self::Watchers,
        Self::Endings,
    ];
}

/// The deadlines. Each is far away unless there is need of it, so that an idle
/// server sleeps.
#[derive(Debug)]
pub(in crate::reactor) struct ServerTimers {
    /// When to try again to accept.
    accept_retry: Instant,
    /// When to look at the accept queues.
    queue_watch: Instant,
    /// When to say that accepting goes on.
    resumed: Instant,
    /// When the next connections are drained, or the drain is over.
    drain: Instant,
    /// When the next audit begins.
    audit: Instant,
    /// When the supervisor has not answered a client in time.
    asks: Instant,
    /// When names are looked up again.
    names: Instant,
    /// When the next pairs are ended whose server is gone.
    removals: Instant,
    /// When the next check of an upstream server begins, or has taken too long.
    checks: Instant,
    /// When the next may log in who has to wait for that.
    log_ins: Instant,
    /// When the keys of session tickets are rotated.
    tickets: Instant,
    /// When the service manager is notified.
    service: Instant,
    /// When those who watch are told that the server is there.
    watchers: Instant,
    /// When the next of many are ended.
    endings: Instant,
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
            names: Instant::NEVER,
            removals: Instant::NEVER,
            checks: Instant::NEVER,
            log_ins: Instant::NEVER,
            tickets: Instant::NEVER,
            service: Instant::NEVER,
            watchers: Instant::NEVER,
            endings: Instant::NEVER,
        }
    }
}

impl ServerTimers {
    /// Those of a server that starts now, and looks names up again then.
    pub(in crate::reactor) fn first(now: Instant, settings: &Settings, names: Instant) -> Self {
        let audit = settings.audit.interval.map_or(Instant::NEVER, |interval| now + interval);
        Self { audit, names, ..Self::default() }
    }

    pub(in crate::reactor) fn retry_accept_at(&mut self, at: Instant) {
        self.accept_retry = self.accept_retry.min(at);
    }

    /// Whether some listener is to be tried again.
    pub(in crate::reactor) fn retries_accepts(&self) -> bool {
        self.accept_retry != Instant::NEVER
    }

    pub(in crate::reactor) fn watch_queue_at(&mut self, at: Instant) {
        self.queue_watch = self.queue_watch.min(at);
    }

    pub(in crate::reactor) fn report_resumed_at(&mut self, at: Instant) {
        self.resumed = self.resumed.min(at);
    }

    pub(in crate::reactor) fn expire_asks_at(&mut self, at: Instant) {
        self.asks = self.asks.min(at);
    }

    /// When the next connections are drained, or the drain is over.
    pub(in crate::reactor) const fn drain_at(&mut self, at: Instant) {
        self.drain = at;
    }

    /// When names are looked up again.
    pub(in crate::reactor) const fn resolve_at(&mut self, at: Instant) {
        self.names = at;
    }

    /// When the next pairs are ended whose server is gone.
    pub(in crate::reactor) const fn remove_at(&mut self, at: Instant) {
        self.removals = at;
    }

    /// When the next audit begins; [`Instant::NEVER`]: none does.
    pub(in crate::reactor) const fn audit_at(&mut self, at: Instant) {
        self.audit = at;
    }

    /// When the next check begins, or has taken too long; [`Instant::NEVER`]: there are none.
    pub(in crate::reactor) const fn check_at(&mut self, at: Instant) {
        self.checks = at;
    }

    /// When the next may log in who has to wait for that; [`Instant::NEVER`]: nobody has.
    pub(in crate::reactor) const fn log_in_at(&mut self, at: Instant) {
        self.log_ins = at;
    }

    /// When the keys of session tickets are rotated; [`Instant::NEVER`]: not by this process.
    pub(in crate::reactor) const fn rotate_tickets_at(&mut self, at: Instant) {
        self.tickets = at;
    }

    /// When the service manager is notified again.
    pub(in crate::reactor) const fn notify_service_at(&mut self, at: Instant) {
        self.service = at;
    }

    /// When those who watch are told that the server is there.
    pub(in crate::reactor) fn notify_watchers_at(&mut self, at: Instant) {
        self.watchers = self.watchers.min(at);
    }

    /// When the next of many are ended.
    pub(in crate::reactor) fn end_some_at(&mut self, at: Instant) {
        self.endings = self.endings.min(at);
    }

    /// When the next of them is due.
    pub(in crate::reactor) fn next(&self) -> Instant {
        let accepts = self.accept_retry.min(self.queue_watch).min(self.resumed);
        let of_upstreams = self.names.min(self.removals).min(self.checks);
        accepts
            .min(self.drain)
            .min(self.audit)
            .min(self.asks)
            .min(of_upstreams)
            .min(self.log_ins)
            .min(self.tickets)
            .min(self.service)
            .min(self.watchers)
            .min(self.endings)
    }

    /// Whether one is due by `now`; it is over with that.
    pub(in crate::reactor) fn take(&mut self, timer: ServerTimer, now: Instant) -> bool {
        let deadline = match timer {
            ServerTimer::AcceptRetry => &mut self.accept_retry,
            ServerTimer::QueueWatch => &mut self.queue_watch,
            ServerTimer::Resumed => &mut self.resumed,
            ServerTimer::Drain => &mut self.drain,
            ServerTimer::Audit => &mut self.audit,
            ServerTimer::Asks => &mut self.asks,
            ServerTimer::Names => &mut self.names,
            ServerTimer::Removals => &mut self.removals,
            ServerTimer::Checks => &mut self.checks,
            ServerTimer::LogIns => &mut self.log_ins,
            ServerTimer::Tickets => &mut self.tickets,
            ServerTimer::Service => &mut self.service,
            ServerTimer::Watchers => &mut self.watchers,
            ServerTimer::Endings => &mut self.endings,
        };
        let due = *deadline <= now;
        if due {
            *deadline = Instant::NEVER;
        }
        due
    }
}
