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
    /// All of them, in the order of their declaration and in which a turn looks at them.
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
    /// In the order of [`ServerTimer::ALL`]; [`Instant::NEVER`]: not armed.
    due: [Instant; ServerTimer::ALL.len()],
    /// The earliest of them: every turn asks for it, and few change one.
    next: Instant,
}

impl ServerTimers {
    /// Those of a server that starts now, and looks names up again then.
    pub(in crate::reactor) fn first(now: Instant, settings: &Settings, names: Instant) -> Self {
        let mut timers = Self { due: [Instant::NEVER; ServerTimer::ALL.len()], next: Instant::NEVER };
        timers.arm(
            ServerTimer::Audit,
            settings.audit.interval.map_or(Instant::NEVER, |interval| now + interval),
        );
        timers.arm(ServerTimer::Names, names);
        timers
    }

    /// From now on it is due at that time, whatever was said before; [`Instant::NEVER`]: not at all.
    pub(in crate::reactor) fn arm(&mut self, timer: ServerTimer, at: Instant) {
        self.due[timer as usize] = at;
        self.next = self.due.into_iter().min().unwrap_or(Instant::NEVER);
    }

    /// It is due at that time, unless it is earlier.
    pub(in crate::reactor) fn arm_no_later(&mut self, timer: ServerTimer, at: Instant) {
        self.arm(timer, at.min(self.due[timer as usize]));
    }

    pub(in crate::reactor) fn is_armed(&self, timer: ServerTimer) -> bool {
        self.due[timer as usize] != Instant::NEVER
    }

    /// When the next of them is due.
    pub(in crate::reactor) const fn next(&self) -> Instant {
        self.next
    }

    /// Whether one is due by `now`; it is over with that.
    pub(in crate::reactor) fn take(&mut self, timer: ServerTimer, now: Instant) -> bool {
        let is_due = self.due[timer as usize] <= now;
        if is_due {
            self.arm(timer, Instant::NEVER);
        }
        is_due
    }
}
