//! Pairs whose server is no longer in the configuration, on their way out: some at once, some spread over time.

use crate::core::table::Key;
use crate::core::time::{Duration, Instant};
use crate::protocol::gateway::Removed;

/// Steps in which pairs are spread: more would only wake the loop more often.
const STEPS: usize = 100;
/// Pairs that are cut off in one turn: each costs a few calls.
const CUT_PER_TURN: usize = 256;

/// Those that are still to go, by the keys of their clients. The last of each goes first.
#[derive(Debug)]
pub(in crate::reactor) struct Removals {
    to_cut: Vec<Key>,
    to_drain: Vec<Key>,
    /// How many of the latter go in a step, how long a step takes, and when the next one is.
    stride: usize,
    step: Duration,
    due: Instant,
}

impl Default for Removals {
    fn default() -> Self {
        Self {
            to_cut: Vec::new(),
            to_drain: Vec::new(),
            stride: 1,
            step: Duration::ZERO,
            due: Instant::NEVER,
        }
    }
}

impl Removals {
    /// These are to go, and no others. Those that are drained are spread over `spread`. Returns when to begin.
    pub(in crate::reactor) fn begin(
        &mut self,
        pairs: impl Iterator<Item = (Key, Removed)>,
        spread: Duration,
        now: Instant,
    ) -> Instant {
        (self.to_cut, self.to_drain) = (Vec::new(), Vec::new());
        for (client, removed) in pairs {
            match removed {
                Removed::Keep => {}
                Removed::Drain => self.to_drain.push(client),
                Removed::Cut => self.to_cut.push(client),
            }
        }
        self.stride = self.to_drain.len().div_ceil(STEPS).max(1);
        let steps = self.to_drain.len().div_ceil(self.stride).max(1);
        self.step = spread / u32::try_from(steps).expect("there are no more than STEPS");
        self.due = now;
        self.next()
    }

    /// Those that go now, and when to look again.
    pub(in crate::reactor) fn take(&mut self, now: Instant) -> (Vec<(Key, Removed)>, Instant) {
        let last = |keys: &mut Vec<Key>, count: usize| keys.split_off(keys.len().saturating_sub(count));
        let cut = last(&mut self.to_cut, CUT_PER_TURN);
        let mut drained = Vec::new();
        if self.due <= now {
            drained = last(&mut self.to_drain, self.stride);
            self.due = now + self.step;
        }
        let all = cut.into_iter().map(|key| (key, Removed::Cut));
        (all.chain(drained.into_iter().map(|key| (key, Removed::Drain))).collect(), self.next())
    }

    /// Whether the pair of that client is still to go.
    pub(in crate::reactor) fn holds(&self, client: Key) -> bool {
        self.to_cut.contains(&client) || self.to_drain.contains(&client)
    }

    fn next(&self) -> Instant {
        match (self.to_cut.is_empty(), self.to_drain.is_empty()) {
            (false, _) => Instant::ZERO,
            (true, false) => self.due,
            (true, true) => Instant::NEVER,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(count: u32) -> impl Iterator<Item = Key> {
        (0..count).map(|index| Key { index, generation: 1 })
    }

    #[test]
    fn those_that_are_drained_are_spread_and_those_that_are_cut_go_at_once() {
        let begun = Instant::from_millis(1000);
        let mut removals = Removals::default();
        let pairs = keys(205).map(|key| (key, Removed::Drain));
        let mut due = removals.begin(pairs, Duration::from_secs(10), begun);
        let (mut gone, mut last) = (0, begun);
        while due != Instant::NEVER {
            let (now, next) = removals.take(due);
            assert!(now.len() <= 3 && now.iter().all(|(_, removed)| *removed == Removed::Drain));
            (gone, last, due) = (gone + now.len(), due, next);
        }
        assert_eq!(gone, 205);
        assert!((9500..=10_000).contains(&last.since(begun).as_millis()), "{last:?}");

        let pairs = keys(300).map(|key| (key, Removed::Cut)).chain(keys(9).map(|key| (key, Removed::Keep)));
        assert_eq!(removals.begin(pairs, Duration::from_secs(10), begun), Instant::ZERO);
        assert_eq!(removals.take(begun).0.len(), CUT_PER_TURN);
        let (rest, next) = removals.take(begun);
        assert_eq!((rest.len(), next), (300 - CUT_PER_TURN, Instant::NEVER));
    }

    #[test]
    fn what_begins_anew_forgets_what_was_to_go() {
        let mut removals = Removals::default();
        let now = Instant::from_millis(1);
        removals.begin(keys(9).map(|key| (key, Removed::Drain)), Duration::from_secs(1), now);
        assert_eq!(removals.begin(std::iter::empty(), Duration::from_secs(1), now), Instant::NEVER);
        assert!(removals.take(now).0.is_empty());
    }
}
