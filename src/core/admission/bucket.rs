//! A token bucket in eight bytes: as many may come in a second as the rate says, and after a second of rest as many at once.
//! It is kept as the time when it is full again (the "theoretical arrival time" of the generic cell rate algorithm,
//! ITU-T I.371), so that it needs no timer.

use crate::core::time::{Duration, Instant};

/// What a full bucket holds: the tokens of so much time.
const HOLDS: Duration = Duration::from_secs(1);

/// The bucket. Its rate is an argument, in tokens per second, and may change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Bucket {
    full_at: Instant,
}

impl Bucket {
    /// A full one.
    pub(super) const FULL: Self = Self { full_at: Instant::ZERO };

    /// Takes a token, if there is one.
    pub(super) fn take(&mut self, rate: u32, now: Instant) -> bool {
        let full_at = self.full_at.max(now) + token(rate);
        let taken = full_at.since(now) <= HOLDS;
        if taken {
            self.full_at = full_at;
        }
        taken
    }

    /// When it has a token.
    pub(super) fn next(self, rate: u32) -> Option<Instant> {
        (self.full_at != Instant::ZERO).then(|| (self.full_at + token(rate)).before(HOLDS))
    }

    /// When it is full: until then it is not what a new one would be.
    pub(super) const fn full_at(self) -> Instant {
        self.full_at
    }
}

/// How long a token takes to come.
fn token(rate: u32) -> Duration {
    HOLDS / rate.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gives_its_rate_and_after_a_rest_a_second_of_it_at_once() {
        for rate in [1, 3, 7, 1000, 1_000_000] {
            let mut bucket = Bucket::FULL;
            let mut taken = |from: Instant, to: Instant| {
                // At each step some ask in vain.
                let step = to.since(from) / (4 * rate);
                let times = (0..4 * rate).map(|count| from + step * count);
                times.filter(|now| bucket.take(rate, *now)).count()
            };
            let (second, rate) = (|at: u64| Instant::from_millis(1000 * at), rate as usize);
            let first = taken(second(5), second(6));
            assert!((2 * rate - 1..=2 * rate).contains(&first), "{first} of {rate}");
            let then = taken(second(6), second(7));
            assert!((rate - 1..=rate + 1).contains(&then), "{then} of {rate}");
            let rested = taken(second(60), second(61));
            assert!((2 * rate - 1..=2 * rate).contains(&rested), "{rested} of {rate}");
        }
    }

    #[test]
    fn it_has_a_token_when_it_says_so_and_not_before() {
        let mut bucket = Bucket::FULL;
        let mut now = Instant::from_millis(1);
        assert!((0..5).all(|_| bucket.take(5, now)));
        for _ in 0..20 {
            let next = bucket.next(5).unwrap();
            assert_eq!(next.since(now), Duration::from_millis(200));
            assert!(!bucket.take(5, next.before(Duration::from_nanos(1))));
            assert!(bucket.take(5, next));
            now = next;
        }
    }
}
