//! Times, counted by how long they were, in the buckets that are usual for their kind.

use crate::core::time::Span;

/// Most bounds of a histogram.
const BOUNDS_MAX: usize = 14;

/// Turns of the loop, in seconds: from what an idle one takes to what everybody notices.
pub(super) const TURNS: [f64; 13] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];
/// Connects, in seconds: within the host, over the world, and after a lost SYN or two (1 s, then 3 s).
pub(super) const CONNECTS: [f64; 10] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1.0, 3.0, 10.0];
/// Silence, in seconds: heartbeats and keepalive find it after anything from a second to a quarter of an hour.
pub(super) const SILENCES: [f64; 12] =
    [0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3_600.0];
/// Lives, in seconds: from a request and its answer to two weeks.
pub(super) const LIFETIMES: [f64; 14] = [
    0.01,
    0.1,
    1.0,
    10.0,
    60.0,
    300.0,
    900.0,
    3_600.0,
    14_400.0,
    43_200.0,
    86_400.0,
    259_200.0,
    604_800.0,
    1_209_600.0,
];

/// Times, by the smallest bound that they are not above.
#[derive(Clone, Debug)]
pub struct Histogram {
    /// In seconds, rising.
    bounds: &'static [f64],
    /// One for each bound, and one for what is above all of them.
    counts: [u64; BOUNDS_MAX + 1],
    sum_seconds: f64,
}

impl Histogram {
    pub(super) const fn new(bounds: &'static [f64]) -> Self {
        assert!(bounds.len() <= BOUNDS_MAX, "there is a count for each bound");
        Self { bounds, counts: [0; BOUNDS_MAX + 1], sum_seconds: 0.0 }
    }

    /// Counts a time.
    pub fn add(&mut self, time: Span) {
        let seconds = time.as_secs_f64();
        let place = self.bounds.iter().position(|bound| seconds <= *bound).unwrap_or(self.bounds.len());
        // There is one for each place. Not indexed: with a panic in between, a record that is counted had to be written out.
        if let Some(count) = self.counts.get_mut(place) {
            *count += 1;
        }
        self.sum_seconds += seconds;
    }

    /// Times counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum.
    pub(super) const fn sum_seconds(&self) -> f64 {
        self.sum_seconds
    }

    /// Each bound, with how many were not above it.
    pub(super) fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        self.bounds.iter().zip(&self.counts).scan(0, |below, (bound, count)| {
            *below += count;
            Some((*bound, *below))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::time::Duration;

    #[test]
    fn a_time_is_counted_in_every_bucket_that_it_is_not_above() {
        let mut histogram = Histogram::new(&[0.1, 1.0, 10.0]);
        for millis in [100, 101, 5_000, 20_000] {
            histogram.add(Duration::from_millis(millis).into());
        }
        assert_eq!(histogram.buckets().collect::<Vec<_>>(), [(0.1, 1), (1.0, 2), (10.0, 3)]);
        assert_eq!(histogram.count(), 4);
        assert!((histogram.sum_seconds() - 25.201).abs() < 1e-9);
    }

    #[test]
    fn bounds_rise() {
        for bounds in [&TURNS[..], &CONNECTS, &SILENCES, &LIFETIMES] {
            assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]), "{bounds:?}");
        }
    }
}
