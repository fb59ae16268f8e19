//! The one source of chance in a simulation: xoshiro256++ seeded by splitmix64 (Blackman and Vigna,
//! <https://prng.di.unimi.it/>). A seed gives the same run for ever, on any machine.

use crate::core::mix;
use crate::core::time::Duration;
use std::ops::Range;

/// A stream of chance.
#[derive(Clone, Debug)]
pub struct Rng([u64; 4]);

impl Rng {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        Self(std::array::from_fn(|_| splitmix(&mut state)))
    }

    /// An independent stream for one purpose: what one part draws must not move what another draws.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self::new(self.word())
    }

    /// 64 bits.
    pub fn word(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// A number of `range`, which must not be empty.
    pub fn within(&mut self, range: Range<u64>) -> u64 {
        // Biased by less than one in 2^32 for the ranges used here.
        range.start + self.word() % (range.end - range.start)
    }

    /// An index below `length`, which must not be 0.
    #[expect(clippy::cast_possible_truncation, reason = "below a usize")]
    pub fn index(&mut self, length: usize) -> usize {
        self.within(0..length as u64) as usize
    }

    /// True `parts` times in a million.
    pub fn chance(&mut self, parts: u32) -> bool {
        parts > 0 && self.within(0..1_000_000) < u64::from(parts)
    }

    /// A duration between the two, to the microsecond; `least`, if `most` is less.
    #[expect(clippy::cast_possible_truncation, reason = "simulations last for less than 2^64 microseconds")]
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let least = least.as_micros() as u64;
        Duration::from_micros(self.within(least..(most.as_micros() as u64).max(least) + 1))
    }

    /// One of `choices`.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }

    /// Puts `items` in any order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }
}

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(mix::STEP);
    mix::mix(*state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_the_published_one() {
        // xoshiro256++ from the state 1, 2, 3, 4.
        let mut rng = Rng([1, 2, 3, 4]);
        assert_eq!([rng.word(), rng.word(), rng.word()], [41_943_041, 58_720_359, 3_588_806_011_781_223]);
        let mut state = 1_234_567;
        assert_eq!(splitmix(&mut state), 6_457_827_717_110_365_317);
    }

    #[test]
    fn draws_stay_within_their_bounds() {
        let mut rng = Rng::new(7);
        for _ in 0..1000 {
            assert!((3..9).contains(&rng.within(3..9)));
            assert!(rng.index(5) < 5);
            let short = rng.between(Duration::from_millis(1), Duration::from_millis(2));
            assert!((Duration::from_millis(1)..=Duration::from_millis(2)).contains(&short));
        }
        assert!(!rng.chance(0) && rng.chance(1_000_000));
    }
}
