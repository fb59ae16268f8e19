//! Time that the server takes from a peer.

use crate::core::time::{Duration, Instant};

/// How long what a peer had sent to open its layer has waited for the server. That time is not the peer's.
#[derive(Clone, Copy, Default, Debug)]
pub(in crate::reactor) struct Deferral {
    before: Duration,
    since: Option<Instant>,
}

impl Deferral {
    /// It waits from now on, if it does not already.
    pub(in crate::reactor) fn begin(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// It is heard.
    pub(in crate::reactor) fn end(&mut self, now: Instant) {
        self.before = self.until(now);
        self.since = None;
    }

    /// All of it so far.
    pub(in crate::reactor) fn until(&self, now: Instant) -> Duration {
        self.before + self.since.map_or(Duration::ZERO, |since| now.since(since))
    }
}
