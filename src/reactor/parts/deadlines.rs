//! When each connection is to be looked at: the wheel with one entry for each, and up to when silence may be judged.

use crate::core::table::Key;
use crate::core::time::{Duration, Instant};
use crate::core::timer::Wheel;
use crate::core::timer::attention::{Attention, Polled};

/// The wheel, and the attention that its verdicts need.
#[derive(Debug)]
pub(in crate::reactor) struct Deadlines {
    wheel: Wheel,
    attention: Attention,
}

impl Deadlines {
    /// For so many slots of the table.
    pub(in crate::reactor) fn new(now: Instant, slots: usize) -> Self {
        Self { wheel: Wheel::new(now, slots), attention: Attention::new(now) }
    }

    /// A poll has returned. See [`Attention::on_poll`].
    pub(in crate::reactor) fn on_poll(
        &mut self,
        before: Instant,
        now: Instant,
        timeout: Option<Duration>,
        brought: Polled,
        sources: usize,
    ) -> Option<Duration> {
        self.attention.on_poll(before, now, timeout, brought, sources)
    }

    /// Up to when silence may be judged: everything that had come by then was read.
    pub(in crate::reactor) const fn horizon(&self) -> Instant {
        self.attention.horizon()
    }

    /// Before this no silence is judged.
    pub(in crate::reactor) const fn patient_until(&self) -> Instant {
        self.attention.patient_until()
    }

    /// Sees to it that a connection is looked at by then.
    pub(in crate::reactor) fn arm_no_later(&mut self, key: Key, at: Instant) {
        if self.wheel.deadline(key.index).is_none_or(|armed| at < armed) {
            self.wheel.arm(key.index, at);
        }
    }

    /// The same of one whose entry has expired.
    pub(in crate::reactor) fn rearm(&mut self, key: Key, at: Instant) {
        self.wheel.arm(key.index, at);
    }

    /// A connection is gone.
    pub(in crate::reactor) fn forget(&mut self, key: Key) {
        self.wheel.cancel(key.index);
    }

    /// The slot of the next connection that is to be looked at, by the horizon.
    pub(in crate::reactor) fn next_expired(&mut self) -> Option<u32> {
        self.wheel.expire(self.attention.horizon())
    }

    /// When the next is to be looked at.
    pub(in crate::reactor) fn next(&self) -> Option<Instant> {
        self.wheel.next_deadline()
    }

    /// When what is in a slot will be looked at.
    pub(in crate::reactor) fn of_slot(&self, index: u32) -> Option<Instant> {
        self.wheel.deadline(index)
    }
}
