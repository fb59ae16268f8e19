//! Who has failed to log in, and who waits to try again: each connection in its place until its time has come.

use crate::core::table::Key;
use crate::core::time::Instant;
use crate::net::Token;
use crate::protocol::users::failures::{Attempt, Failures, Source};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The failures, and the connections that wait.
#[derive(Debug, Default)]
pub(in crate::reactor) struct LogIns {
    failures: Failures,
    /// By time; each waits once, and may be gone by then.
    waiting: BinaryHeap<Reverse<(Instant, u64)>>,
}

impl LogIns {
    /// A connection wants to log in. One that has to wait is kept.
    pub(in crate::reactor) fn begin(&mut self, key: Key, source: Source, now: Instant) -> Attempt {
        let attempt = self.failures.begin(source, now);
        if let Attempt::At(at) = attempt {
            self.waiting.push(Reverse((at, key.token().0)));
        }
        attempt
    }

    /// The attempt that was begun has succeeded.
    pub(in crate::reactor) fn take_back(&mut self, source: Source, now: Instant) {
        self.failures.take_back(source, now);
    }

    /// When the next may try; [`Instant::NEVER`]: nobody waits.
    pub(in crate::reactor) fn next(&self) -> Instant {
        self.waiting.peek().map_or(Instant::NEVER, |Reverse((at, _))| *at)
    }

    /// The next that may try by now.
    pub(in crate::reactor) fn take_due(&mut self, now: Instant) -> Option<Key> {
        if self.next() > now {
            return None;
        }
        self.waiting.pop().map(|Reverse((_, key))| Key::from_token(Token(key)))
    }
}
