//! What only few pairs of connections need, and each that ends.

use crate::core::conn::Cause;
use crate::core::end::{Leg, Reason};
use crate::core::time::{Duration, Span};
use std::num::NonZeroU32;

/// How long the connect of a pair took, and how long after the client was accepted the server's first byte came.
#[derive(Clone, Copy, Default, Debug)]
pub(in crate::reactor) struct Times {
    pub(in crate::reactor) connect: Micros,
    pub(in crate::reactor) first_byte: Micros,
}

/// A time in microseconds, if it is known.
#[derive(Clone, Copy, Debug)]
pub(in crate::reactor) struct Micros(NonZeroU32);

impl Micros {
    const UNKNOWN: Self = Self(NonZeroU32::MAX);

    /// In microseconds; 0: it is not known.
    pub(in crate::reactor) const fn get(self) -> u32 {
        if self.0.get() == Self::UNKNOWN.0.get() { 0 } else { self.0.get() }
    }
}

impl Default for Micros {
    fn default() -> Self {
        Self::UNKNOWN
    }
}

/// One microsecond at least, and 71 minutes at most.
impl From<Span> for Micros {
    fn from(span: Span) -> Self {
        let micros = span.as_micros().min(Self::UNKNOWN.0.get() - 1);
        Self(NonZeroU32::new(micros).unwrap_or(NonZeroU32::MIN))
    }
}

/// The cold state of a pair.
#[derive(Debug)]
pub(in crate::reactor) struct ColdPair {
    pub(in crate::reactor) times: Times,
    /// Legs whose TLS stream ended without `close_notify`.
    pub(in crate::reactor) truncated: [bool; 2],
    /// What there is of attempts to connect; none: the first has done, with nothing to be kept for it.
    attempts: Option<Box<Attempts>>,
    /// Why it ends, and which leg caused that. The first cause wins.
    pub(in crate::reactor) cause: Option<(Cause, Leg)>,
    /// Bytes that each leg has sent and its partner did not get.
    pub(in crate::reactor) lost: [u64; 2],
    /// Bytes received and sent by each leg that was connected and is gone.
    pub(in crate::reactor) traffic: [(u64, u64); 2],
}

/// Connecting a client to a server that takes more than one attempt, or has something to keep until it is done.
#[derive(Debug, Default)]
struct Attempts {
    failed: Vec<Attempt>,
    /// Output for a server that could not be reached: for the next one.
    carried: Vec<u8>,
    /// What the client has sent before it could go to the server.
    early: Vec<u8>,
}

/// An attempt to connect that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::reactor) struct Attempt {
    pub(in crate::reactor) server: u16,
    pub(in crate::reactor) reason: Reason,
    pub(in crate::reactor) took: Duration,
}

impl ColdPair {
    /// That of a pair to which nothing of all that has happened yet.
    pub(super) const fn new(times: Times) -> Self {
        Self { times, truncated: [false; 2], attempts: None, cause: None, lost: [0; 2], traffic: [(0, 0); 2] }
    }

    /// An attempt to connect has failed.
    pub(in crate::reactor) fn note_failed(&mut self, attempt: Attempt) {
        self.attempts().failed.push(attempt);
    }

    /// Attempts to connect that came to nothing.
    pub(in crate::reactor) fn failed(&self) -> &[Attempt] {
        self.attempts.as_ref().map_or(&[], |attempts| &attempts.failed)
    }

    /// Whether connecting to a server has failed.
    pub(in crate::reactor) fn has_tried(&self, server: usize) -> bool {
        self.failed().iter().any(|attempt| usize::from(attempt.server) == server)
    }

    /// Keeps output for a server that could not be reached: for the next one.
    pub(in crate::reactor) fn carry(&mut self, output: &[u8]) {
        self.attempts().carried = output.into();
    }

    /// That output, if it was any.
    pub(in crate::reactor) fn take_carried(&mut self) -> Option<Vec<u8>> {
        self.take(|attempts| &mut attempts.carried)
    }

    /// Keeps what the client has sent before a server was chosen for it.
    pub(in crate::reactor) fn keep_early(&mut self, bytes: Vec<u8>) {
        self.attempts().early = bytes;
    }

    /// Keeps what it sends behind that, before it can go to the server.
    pub(in crate::reactor) fn add_early(&mut self, bytes: &[u8]) {
        self.attempts().early.extend_from_slice(bytes);
    }

    /// Whether there is such.
    pub(in crate::reactor) fn has_early(&self) -> bool {
        self.attempts.as_ref().is_some_and(|attempts| !attempts.early.is_empty())
    }

    /// All of it, if it was anything.
    pub(in crate::reactor) fn take_early(&mut self) -> Option<Vec<u8>> {
        self.take(|attempts| &mut attempts.early)
    }

    fn attempts(&mut self) -> &mut Attempts {
        self.attempts.get_or_insert_default()
    }

    fn take(&mut self, bytes: impl Fn(&mut Attempts) -> &mut Vec<u8>) -> Option<Vec<u8>> {
        let attempts = self.attempts.as_mut()?;
        let taken = std::mem::take(bytes(attempts));
        // Most have had this alone, and live long.
        if attempts.failed.is_empty() && attempts.carried.is_empty() && attempts.early.is_empty() {
            self.attempts = None;
        }
        (!taken.is_empty()).then_some(taken)
    }
}
