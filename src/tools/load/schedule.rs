//! The schedule of an open loop: when each request ought to go out, whatever became of those before it.
//!
//! Pure. The engine asks what is due; what is not taken stays due, and keeps the time at which it was.
//! That is what makes a latency honest: a server that stalls for a second is charged for every request
//! that should have gone out in that second, not only for the one that it held.

use crate::core::time::{Duration, Instant};

/// Evenly spaced instants.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Schedule {
    start: Instant,
    /// Nanoseconds between two; 0: nothing is ever due.
    gap: f64,
    taken: u64,
    end: Instant,
}

impl Schedule {
    /// `rate` a second, the first at `start`, none at or after `end`.
    pub fn new(start: Instant, rate: f64, end: Instant) -> Self {
        Self { start, gap: if rate > 0.0 { 1e9 / rate } else { 0.0 }, taken: 0, end }
    }

    /// When the next is due; none: there is no next.
    pub fn next(&self) -> Option<Instant> {
        let at = self.start + Duration::from_nanos(self.offset(self.taken));
        (self.gap > 0.0 && at < self.end).then_some(at)
    }

    /// Takes the next, if it is due at `now`: when it ought to go out.
    #[inline]
    pub fn take(&mut self, now: Instant) -> Option<Instant> {
        let at = self.next().filter(|&at| at <= now)?;
        self.taken += 1;
        Some(at)
    }

    /// How many are due at `now` and were not taken.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of what was due")]
    #[expect(clippy::cast_precision_loss, reason = "2^53 ns are a hundred days")]
    pub fn overdue(&self, now: Instant) -> u64 {
        let until = now.min(self.end).since(self.start).as_nanos() as f64;
        if self.gap == 0.0 || now < self.start {
            return 0;
        }
        ((until / self.gap).ceil() as u64).saturating_sub(self.taken)
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, as it should")]
    #[expect(clippy::cast_precision_loss, reason = "exact below 2^53 requests")]
    fn offset(&self, index: u64) -> u64 {
        (index as f64 * self.gap) as u64
    }
}

/// What share `index` of `of` gets of `total`: they differ by one at most and add up.
pub const fn share(total: u32, index: u32, of: u32) -> u32 {
    let (each, rest) = (total / of, total % of);
    each + if index < rest { 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn each_request_has_its_own_time_however_late_it_is_taken() {
        let mut schedule = Schedule::new(ms(100), 1000.0, ms(110));
        assert_eq!(schedule.next(), Some(ms(100)));
        assert_eq!(schedule.take(ms(99)), None);
        // Nobody asked for 5 ms: a stall. The times are those of the plan, not of the asking.
        let taken: Vec<_> = std::iter::from_fn(|| schedule.take(ms(105))).collect();
        assert_eq!(taken, (100..=105).map(ms).collect::<Vec<_>>());
        assert_eq!(schedule.next(), Some(ms(106)));
    }

    #[test]
    fn what_was_never_taken_is_counted() {
        let mut schedule = Schedule::new(ms(0), 1000.0, ms(10));
        assert_eq!(schedule.overdue(ms(3)), 3, "the fourth is due at that very instant, not overdue");
        schedule.take(ms(5));
        assert_eq!(schedule.overdue(ms(50)), 9, "none is due after the end");
        while schedule.take(ms(50)).is_some() {}
        assert_eq!((schedule.overdue(ms(50)), schedule.next()), (0, None));
    }

    #[test]
    fn no_rate_is_never_due() {
        let mut schedule = Schedule::new(ms(0), 0.0, Instant::NEVER);
        assert_eq!((schedule.next(), schedule.take(ms(9)), schedule.overdue(ms(9))), (None, None, 0));
    }

    #[test]
    fn no_drift_over_a_million() {
        let mut schedule = Schedule::new(ms(0), 3333.0, Instant::NEVER);
        let count = std::iter::from_fn(|| schedule.take(ms(300_000))).count();
        assert_eq!(count, 999_901, "300 s at 3333/s, and the one at 0");
    }

    #[test]
    fn shares_add_up() {
        for (total, of) in [(10, 3), (2, 4), (0, 2), (9, 1)] {
            assert_eq!((0..of).map(|index| share(total, index, of)).sum::<u32>(), total);
        }
    }
}
