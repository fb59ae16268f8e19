//! What a loop may conclude from silence: up to when it has looked, and whether it stalled itself.
//!
//! A deadline that has passed proves nothing by itself. What arrived before it may lie unread, because a signal
//! interrupted the poll, the poll brought no more than fits, or the process was stopped between the poll and the turn.
//! So deadlines are compared with the [`horizon`](Attention::horizon), which follows the clock by one poll that
//! brought everything.
//!
//! A loop that stalled was no good partner either: it asked nothing, and what was sent to it may be lost where the
//! whole machine slept. For as long as it stalled it then takes nobody's silence for a fault
//! ([`patient_until`](Attention::patient_until)): nobody's, so that the deadline of a silence still moves in one direction
//! only when its peer is heard from.

use crate::core::time::{Duration, Instant};

/// How much of what was ready a poll has brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Polled {
    /// Everything that was ready when it began, at least.
    All,
    /// So many entries, and there may be more: they were as many as fit, or a signal came first.
    Part(usize),
}

/// A turn that is late by less is late as turns are, on a busy machine or under a quota (`cpu.max`: 100 ms a period).
const STANDSTILL: Duration = Duration::from_millis(250);

/// Longest patience. A sender whose segments were lost for a time sends again before as long has passed once more, for
/// its interval doubles (RFC 6298 5.5); and a ghost must not live for another hour because the machine slept for one.
const PATIENCE_MAX: Duration = Duration::from_secs(60);

/// Until when deadlines may be judged.
#[derive(Debug)]
pub struct Attention {
    horizon: Instant,
    round: Option<Round>,
    patient_until: Instant,
}

/// Polls that have brought a part of what was ready when the first of them began.
#[derive(Debug)]
struct Round {
    begun: Instant,
    /// Sources that may have been ready then and were not brought yet.
    left: usize,
}

impl Attention {
    /// Of a loop that begins at `now`.
    pub const fn new(now: Instant) -> Self {
        Self { horizon: now, round: None, patient_until: Instant::ZERO }
    }

    /// A poll that began after `before` has returned by `now`, and `brought` so much; it was to wait for `timeout` at
    /// most. `sources`: how many are watched. Gives how long the loop was stalled, if it did.
    pub fn on_poll(
        &mut self,
        before: Instant,
        now: Instant,
        timeout: Option<Duration>,
        brought: Polled,
        sources: usize,
    ) -> Option<Duration> {
        match brought {
            Polled::All => {
                self.horizon = before;
                self.round = None;
            }
            Polled::Part(count) => {
                // The kernel hands its ready list out from the front and appends to the end of it
                // (`fs/eventpoll.c: ep_send_events`): all that was ready has come after as many entries as there are
                // sources. So full polls without end do not put judgement off for ever.
                let round = self.round.get_or_insert(Round { begun: before, left: sources });
                round.left = round.left.saturating_sub(count);
                if round.left == 0 {
                    self.horizon = round.begun;
                    self.round = None;
                }
            }
        }
        let stalled = now.since(before).saturating_sub(timeout.unwrap_or(Duration::MAX));
        // One that stalls again and again has its patience once in two times: silence must be judged at last.
        if stalled > STANDSTILL && before >= self.patient_until {
            self.patient_until = now + stalled.min(PATIENCE_MAX);
        }
        (stalled > STANDSTILL).then_some(stalled)
    }

    /// What arrived before this has been brought by a poll: deadlines up to here may be judged.
    pub const fn horizon(&self) -> Instant {
        self.horizon
    }

    /// Before this no silence is judged: the loop stalled, and makes up for it.
    pub const fn patient_until(&self) -> Instant {
        self.patient_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn poll(attention: &mut Attention, from: u64, to: u64, timeout: u64, brought: Polled) {
        attention.on_poll(ms(from), ms(to), Some(Duration::from_millis(timeout)), brought, 2500);
    }

    #[test]
    fn the_horizon_is_one_poll_behind_the_clock() {
        let mut attention = Attention::new(ms(0));
        poll(&mut attention, 0, 1000, 1000, Polled::All);
        assert_eq!(attention.horizon(), ms(0), "the poll may have looked at its beginning only");
        poll(&mut attention, 1000, 1001, 0, Polled::All);
        assert_eq!(attention.horizon(), ms(1000));
    }

    #[test]
    fn an_interrupted_poll_does_not_move_the_horizon() {
        let mut attention = Attention::new(ms(0));
        poll(&mut attention, 0, 10_000, 5000, Polled::Part(0));
        assert_eq!(attention.horizon(), ms(0));
        poll(&mut attention, 10_000, 10_001, 0, Polled::All);
        assert_eq!(attention.horizon(), ms(10_000));
    }

    #[test]
    fn full_polls_move_it_once_every_source_may_have_come() {
        let mut attention = Attention::new(ms(0));
        let full = Polled::Part(1024);
        for (from, horizon) in [(100, 0), (102, 0), (104, 100), (106, 100), (108, 100), (110, 106)] {
            poll(&mut attention, from, from + 2, 0, full);
            assert_eq!(attention.horizon(), ms(horizon), "after the poll of {from}");
        }
        poll(&mut attention, 112, 114, 0, Polled::All);
        assert_eq!(attention.horizon(), ms(112));
    }

    #[test]
    fn a_standstill_is_made_up_for() {
        let mut attention = Attention::new(ms(0));
        poll(&mut attention, 0, 1100, 1000, Polled::All);
        assert_eq!(attention.patient_until, Instant::ZERO, "a little late is no standstill");
        poll(&mut attention, 1100, 13_100, 2000, Polled::Part(0));
        assert_eq!(attention.patient_until, ms(23_100), "it was asleep for 2 s and stalled for 10 s");
        poll(&mut attention, 100_000, 4_000_000, 0, Polled::All);
        assert_eq!(attention.patient_until, ms(4_060_000), "but not for another hour");
    }

    #[test]
    fn a_sleep_without_an_end_is_no_standstill() {
        let mut attention = Attention::new(ms(0));
        attention.on_poll(ms(0), ms(3_600_000), None, Polled::All, 1);
        assert_eq!(attention.patient_until, Instant::ZERO);
    }

    #[test]
    fn a_loop_of_nothing_but_standstills_judges_at_last() {
        let mut attention = Attention::new(ms(0));
        let judges = (0..10).filter(|turn| {
            let begun = turn * 3000;
            poll(&mut attention, begun, begun + 3000, 0, Polled::All);
            ms(begun + 3000) >= attention.patient_until
        });
        assert_eq!(judges.count(), 5);
    }
}
