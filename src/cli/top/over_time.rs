//! How often something happened, over time: counts by name, in buckets of a fixed length, of which the oldest make way.

use crate::core::time::{Duration, Instant};
use std::collections::{BTreeMap, VecDeque};

/// The length of a bucket.
pub(super) const BUCKET: Duration = Duration::from_secs(5);
/// The most buckets: ten minutes.
const BUCKETS_MAX: usize = 120;
/// Buckets of the last minute.
const MINUTE: usize = 12;

/// Counts by name, the newest bucket last.
#[derive(Clone, Default, Debug)]
pub(super) struct OverTime {
    buckets: VecDeque<BTreeMap<String, u64>>,
    /// Which bucket since the clock's beginning the last one is.
    last: u128,
}

impl OverTime {
    /// It has happened `count` times, until `now`.
    pub(super) fn add(&mut self, name: &str, count: u64, now: Instant) {
        self.advance(now);
        if let Some(bucket) = self.buckets.back_mut().filter(|_| count > 0) {
            *bucket.entry(name.to_owned()).or_default() += count;
        }
    }

    /// Time has passed.
    pub(super) fn advance(&mut self, now: Instant) {
        let place = u128::from(now.as_nanos()) / BUCKET.as_nanos();
        if self.buckets.is_empty() {
            self.last = place;
            self.buckets.push_back(BTreeMap::new());
        }
        let passed = usize::try_from(place.saturating_sub(self.last)).unwrap_or(usize::MAX);
        for _ in 0..passed.min(BUCKETS_MAX) {
            self.buckets.push_back(BTreeMap::new());
        }
        while self.buckets.len() > BUCKETS_MAX {
            self.buckets.pop_front();
        }
        self.last = self.last.max(place);
    }

    /// How often it happened in each of the last `width` buckets, the newest last.
    pub(super) fn of(&self, name: &str, width: usize) -> Vec<u64> {
        let missing = width.saturating_sub(self.buckets.len());
        let known = self.buckets.iter().skip(self.buckets.len().saturating_sub(width));
        let known = known.map(|bucket| bucket.get(name).copied().unwrap_or_default());
        std::iter::repeat_n(0, missing).chain(known).collect()
    }

    /// How often it happened in about the last minute.
    pub(super) fn last_minute(&self, name: &str) -> u64 {
        self.of(name, MINUTE).iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    #[test]
    fn counts_go_into_the_bucket_of_their_time_and_gaps_are_empty() {
        let mut over = OverTime::default();
        over.add("a", 2, at(100));
        over.add("a", 1, at(104));
        over.add("b", 5, at(105));
        over.add("a", 4, at(116));
        assert_eq!(over.of("a", 5), [0, 3, 0, 0, 4]);
        assert_eq!(over.of("b", 3), [5, 0, 0]);
        assert_eq!((over.last_minute("a"), over.last_minute("c")), (7, 0));
        over.advance(at(160));
        assert_eq!(over.last_minute("a"), 4);
    }

    #[test]
    fn it_does_not_grow_and_bears_a_clock_that_jumps() {
        let mut over = OverTime::default();
        over.add("a", 1, at(0));
        over.add("a", 1, at(1_000_000));
        assert_eq!(over.buckets.len(), BUCKETS_MAX);
        over.add("a", 1, at(5));
        assert_eq!(over.of("a", 1), [2]);
    }
}
