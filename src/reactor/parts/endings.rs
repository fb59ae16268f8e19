//! Clients that the operator ends: many, spread over a time.

use crate::core::end::By;
use crate::core::time::{Duration, Instant};
use crate::protocol::admin::ListQuery;
use std::ops::Range;
use std::sync::Arc;

/// Steps in which a time is divided: more would only wake the loop more often.
const STEPS: u32 = 100;
/// Slots that are looked at in one turn.
const SLOTS_PER_TURN: usize = 4096;
/// Orders under way at once: more than anybody gives in earnest.
pub(in crate::reactor) const ORDERS_MAX: usize = 16;

/// An order: those who were there when it was given, and whom it means, are ended by the end of its time.
#[derive(Debug)]
pub(in crate::reactor) struct Order {
    /// Whom it means.
    pub(in crate::reactor) query: ListQuery,
    /// Who has given it.
    pub(in crate::reactor) by: Arc<By>,
    /// When it was given.
    pub(in crate::reactor) begun: Instant,
    over: Duration,
    /// The slots of the table that were in use then, and the next that is to be looked at.
    slots: usize,
    next: usize,
}

impl Order {
    pub(in crate::reactor) const fn new(
        query: ListQuery,
        by: Arc<By>,
        begun: Instant,
        over: Duration,
        slots: usize,
    ) -> Self {
        Self { query, by, begun, over, slots, next: 0 }
    }

    /// The slots whose turn has come, as far as a turn of the loop allows.
    pub(in crate::reactor) fn take(&mut self, now: Instant) -> Range<usize> {
        let first = self.next;
        self.next = self.target(now).min(first + SLOTS_PER_TURN).max(first);
        first..self.next
    }

    /// Up to which slot all are to be looked at by then.
    fn target(&self, now: Instant) -> usize {
        let passed = now.since(self.begun);
        if passed >= self.over {
            return self.slots;
        }
        // Of each step, those are looked at when it begins.
        let steps = passed.as_nanos() * u128::from(STEPS) / self.over.as_nanos() + 1;
        usize::try_from(self.slots as u128 * steps / u128::from(STEPS)).unwrap_or(self.slots)
    }

    /// When to go on; `None`: it is carried out.
    pub(in crate::reactor) fn due(&self, now: Instant) -> Option<Instant> {
        if self.next >= self.slots {
            return None;
        }
        let is_behind = self.next < self.target(now);
        Some(if is_behind { now } else { now + self.over / STEPS })
    }

    /// Leaves the rest of what it took for later: that slot is the next.
    pub(in crate::reactor) const fn give_back(&mut self, slot: usize) {
        self.next = slot;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(over: Duration, slots: usize) -> Order {
        let by = By { key: "1-1".to_owned(), peer: String::new(), identity: None };
        Order::new(ListQuery::default(), Arc::new(by), Instant::from_millis(1000), over, slots)
    }

    #[test]
    fn slots_are_spread_evenly_over_the_time() {
        let mut order = order(Duration::from_secs(60), 1000);
        let (mut now, mut next) = (order.begun, 0);
        loop {
            let taken = order.take(now);
            assert!(taken.start == next && taken.len() <= 20, "{taken:?}");
            next = taken.end;
            let due = usize::try_from(now.since(order.begun).as_millis() / 60).unwrap();
            assert!((due..=due + 20).contains(&next) || next == 1000, "{next} after {now:?}");
            match order.due(now) {
                Some(at) => now = at,
                None => break,
            }
        }
        assert_eq!(next, 1000);
        assert!((59..=60).contains(&now.since(order.begun).as_secs()), "{now:?}");
    }

    #[test]
    fn at_once_is_as_many_as_a_turn_allows() {
        let mut order = order(Duration::ZERO, 10_000);
        let now = order.begun;
        assert_eq!(order.take(now), 0..4096);
        assert_eq!(order.due(now), Some(now));
        order.give_back(4000);
        assert_eq!(order.take(now), 4000..8096);
        assert_eq!((order.take(now), order.due(now)), (8096..10_000, None));
    }
}
