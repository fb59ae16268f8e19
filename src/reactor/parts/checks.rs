//! Checks of upstream servers: those that run, each with a connection of its own beside the table (`check` is its life), and
//! what came of those before.

use super::check::{Checked, Running, Stage};
use crate::core::health::Outcome;
use crate::core::mix;
use crate::core::time::{Duration, Instant};
use crate::net::{CloseHow, Stream, Token};
use crate::protocol::gateway::check::Check;
use indexmap::IndexMap;
use std::sync::Arc;

/// The first check of a server comes within this, or within its interval.
const FIRST_WITHIN: Duration = Duration::from_secs(1);
/// The tokens of checks begin here: listeners are never so many.
const FIRST_TOKEN: u64 = 1 << 31;
/// So many numbers there are for them, and some tokens behind those for other sources.
const NUMBERS: u32 = (1 << 31) - 16;

/// The checks that run.
#[derive(Debug)]
pub(in crate::reactor) struct Checks<S> {
    /// By number: one that has ended takes its number with it, so that what comes late for it is nobody's.
    running: IndexMap<u32, Running<S>>,
    begun: u32,
    /// How many were scheduled, from a number of the process's own on.
    scheduled: u64,
}

/// What is known of the checks of one server.
#[derive(Debug, Default)]
pub(in crate::reactor) struct CheckLog {
    /// When the next is due. None: that is not settled yet, or it is not checked.
    pub(in crate::reactor) due: Option<Instant>,
    /// The number of the one that runs.
    pub(in crate::reactor) runs: Option<u32>,
    /// What came of the last.
    pub(in crate::reactor) last: Option<Last>,
    /// How many had which outcome.
    pub(in crate::reactor) outcomes: [u64; Outcome::ALL.len()],
}

/// What came of a check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::reactor) struct Last {
    pub(in crate::reactor) outcome: Outcome,
    pub(in crate::reactor) at: Instant,
    pub(in crate::reactor) took: Duration,
}

impl CheckLog {
    /// A check had this outcome, after so long.
    pub(in crate::reactor) fn note(&mut self, outcome: Outcome, at: Instant, took: Duration) {
        self.outcomes[outcome as usize] += 1;
        self.last = Some(Last { outcome, at, took });
    }
}

impl<S> Checks<S> {
    /// Those of a process: `seed` is another number than that of others, as far as that can be had.
    pub(in crate::reactor) fn new(seed: u64) -> Self {
        Self { running: IndexMap::new(), begun: 0, scheduled: seed }
    }

    /// The time until the next check of a server: the interval, or up to a quarter more or less by chance.
    pub(in crate::reactor) fn until_next(&mut self, interval: Duration) -> Duration {
        shortest(interval) + self.part_of(spread(interval))
    }

    /// The time until the first.
    pub(in crate::reactor) fn until_first(&mut self, interval: Duration) -> Duration {
        self.part_of(FIRST_WITHIN.min(interval))
    }

    /// A part of a time, by chance.
    fn part_of(&mut self, time: Duration) -> Duration {
        self.scheduled = self.scheduled.wrapping_add(mix::STEP);
        let thousandths = u32::try_from(mix::mix(self.scheduled) % 1000).unwrap_or(0);
        time * thousandths / 1000
    }

    /// How many run.
    pub(in crate::reactor) fn len(&self) -> usize {
        self.running.len()
    }

    /// What the next one is watched under.
    pub(in crate::reactor) fn next_token(&self) -> Token {
        Token(FIRST_TOKEN + u64::from(self.begun))
    }

    /// One was begun. Returns its number.
    pub(in crate::reactor) fn add(&mut self, of: Checked, check: Arc<Check>, stream: S, now: Instant) -> u32 {
        let (stage, deadline) = (Stage::Connecting, now + check.timeout);
        let number = self.begun;
        self.running.insert(number, Running { of, begun: now, deadline, stage, check, stream });
        self.begun = (self.begun + 1) % NUMBERS;
        number
    }

    /// The one with that number.
    pub(in crate::reactor) fn get_mut(&mut self, number: u32) -> Option<&mut Running<S>> {
        self.running.get_mut(&number)
    }

    /// Those that run.
    pub(in crate::reactor) fn iter(&self) -> impl Iterator<Item = &Running<S>> {
        self.running.values()
    }

    /// The number of one whose deadline has passed by then.
    pub(in crate::reactor) fn late(&self, by: Instant) -> Option<u32> {
        self.running.iter().find(|(_, running)| running.deadline <= by).map(|(number, _)| *number)
    }
}

impl<S: Stream> Checks<S> {
    /// Ends one.
    pub(in crate::reactor) fn close(&mut self, number: u32, how: CloseHow) {
        if let Some(running) = self.running.swap_remove(&number) {
            running.stream.close(how);
        }
    }

    /// Ends all, as the server ends.
    pub(in crate::reactor) fn close_all(&mut self) {
        for (_, running) in self.running.drain(..) {
            running.stream.close(CloseHow::Linger2);
        }
    }
}

/// The longest time from one check of a server to the next.
pub(in crate::reactor) fn longest(interval: Duration) -> Duration {
    shortest(interval) + spread(interval)
}

fn shortest(interval: Duration) -> Duration {
    interval * 3 / 4
}

/// How much longer than the shortest it may be.
fn spread(interval: Duration) -> Duration {
    interval / 2
}

/// The number of the check that is watched under that token, if it is one of a check.
pub(in crate::reactor) fn number_of(token: Token) -> Option<u32> {
    let number = token.0.checked_sub(FIRST_TOKEN).and_then(|number| u32::try_from(number).ok());
    number.filter(|number| *number < NUMBERS)
}

#[cfg(test)]
mod tests {
    use super::super::check::tests::{Scripted, begun};
    use super::*;

    #[test]
    fn a_number_is_that_of_one_check_and_no_other_source_has_its_token() {
        let of = |token| number_of(token);
        assert_eq!([of(Token(FIRST_TOKEN)), of(Token(FIRST_TOKEN + 7))], [Some(0), Some(7)]);
        let others = [Token::SIGNAL, Token::ASIDE, Token::SUPERVISOR, Token(255)];
        assert_eq!(others.map(of), [None; 4]);
        let mut checks = Checks::new(0);
        let of = Checked { upstream: 0, server: 0 };
        let check = Arc::clone(&begun(None, Scripted::default()).check);
        let mut numbers = Vec::new();
        for _ in 0..2 {
            let number = number_of(checks.next_token()).unwrap();
            checks.add(of, Arc::clone(&check), Scripted::default(), Instant::ZERO);
            checks.close(number, CloseHow::Plain);
            assert!(checks.get_mut(number).is_none());
            numbers.push(number);
        }
        assert_ne!(numbers[0], numbers[1]);
    }

    #[test]
    fn checks_do_not_fall_together() {
        let second = Duration::from_secs(1);
        let mut checks: Checks<Scripted> = Checks::new(7);
        let times: Vec<_> = (0..1000).map(|_| checks.until_next(second)).collect();
        assert!(times.iter().all(|time| (second * 3 / 4..=second * 5 / 4).contains(time)));
        let early = times.iter().filter(|time| **time < second).count();
        assert!((400..600).contains(&early), "{early}");
        assert!((0..1000).all(|_| checks.until_first(second / 2) <= second / 2));
    }
}
