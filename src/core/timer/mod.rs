//! The timer wheel: when each connection is to be looked at next, one deadline a connection.
//!
//! This module owns deadlines rounded to ticks, the order in which they expire, and the answer to "how long
//! may the loop sleep". It knows no clock (time is an argument), no connection (an entry is a slab index) and
//! no reason: what a deadline was for, and whether it still stands, is the owner's to say. It must not allocate
//! for a timer, and not walk the ticks nobody waits for.
//!
//! Hearing from a peer does not come here. The owner stores the time of it, and when the entry expires either
//! ends the connection or arms it again for the rest of the timeout: a store per message, and one pass through
//! the wheel per timeout.
//!
//! Eight levels of 64 slots. A slot of level 0 is one tick wide, a slot of any other level as wide as the whole
//! level below. An entry lies on the level of the highest six-bit digit in which its deadline differs from the
//! current tick, so whatever lies on a level is due before everything on the levels above, and the next
//! deadline is found with two bit scans. When the current tick reaches a slot of an upper level, that slot
//! *cascades*: its entries move to the levels below. An entry cascades at most once a level, and
//! one that is due in a minute twice.
//!
//! Read next: `slots.rs`, the lists; then `tests/properties/wheel.rs`, the wheel compared with a `BTreeMap`.

pub mod attention;
mod slots;
#[cfg(test)]
mod tests;

use crate::core::time::{Duration, Instant};
use slots::{Lists, Place};

/// The length of a tick. As fine as the timeout of `epoll_wait(2)`: a finer one could not be slept for.
pub const TICK: Duration = Duration::from_millis(1);

const TICK_NANOS: u64 = 1_000_000;
const _: () = assert!(TICK.as_nanos() == TICK_NANOS as u128, "TICK and TICK_NANOS are one length");

/// How far off a deadline can be, in ticks: 49 days. An entry keeps the lower half of its tick, so a farther one would be taken
/// for an earlier one.
const FARTHEST: u64 = u32::MAX as u64;

/// A hierarchical timer wheel with one entry per slab index.
///
/// An entry expires at the first [`expire`](Self::expire) at or after its deadline rounded up to a whole tick
/// from the origin: never early, and less than a tick late if the caller keeps time. Entries expire in order
/// of those ticks; within a tick, in no particular order. The exception is a deadline more than 49 days ahead, which expires
/// after 49 days: the owner looks whether its time has come, as it does with any, and arms it again.
#[derive(Debug)]
pub struct Wheel {
    lists: Lists,
    origin: Instant,
    /// The tick up to which the wheel has turned. Every armed deadline is at or after it.
    elapsed: u64,
    /// The soonest tick a deadline may take: the current one, or the next while a pass of
    /// [`expire`](Self::expire) is under way, so that what is armed within a pass cannot prolong it.
    soonest: u64,
}

impl Wheel {
    /// An empty wheel whose first tick begins at `origin`, with room for `capacity` entries before they have
    /// to move.
    pub fn new(origin: Instant, capacity: usize) -> Self {
        Self { lists: Lists::with_capacity(capacity), origin, elapsed: 0, soonest: 0 }
    }

    /// Arms the entry of `index` for `deadline`, or moves it there if it is armed already.
    ///
    /// A deadline in the past counts as the present: it is due at the next pass of [`expire`](Self::expire).
    /// If it is armed during a pass, it is due a tick later.
    pub fn arm(&mut self, index: u32, deadline: Instant) {
        let deadline = self.tick_at_or_after(deadline).max(self.soonest).min(self.elapsed + FARTHEST);
        let place = Place::of(deadline, self.elapsed);
        self.lists.reserve(index);
        match self.lists.deadline(index, self.elapsed) {
            None => self.lists.link(index, place, deadline),
            // Most moves are by less than the width of a slot, and then no link changes.
            Some(old) if Place::of(old, self.elapsed) == place => self.lists.renew(index, place, deadline),
            Some(_) => {
                self.lists.unlink(index);
                self.lists.link(index, place, deadline);
            }
        }
    }

    /// Disarms the entry of `index`; harmless if it is not armed, or never was.
    pub fn cancel(&mut self, index: u32) {
        if self.lists.is_armed(index) {
            self.lists.unlink(index);
        }
    }

    /// When the entry of `index` is due, rounded up to a tick; none if it is not armed.
    pub fn deadline(&self, index: u32) -> Option<Instant> {
        self.lists.deadline(index, self.elapsed).map(|tick| self.instant(tick))
    }

    /// Until when the loop may sleep: the earliest deadline; none if nothing is armed.
    ///
    /// It is exact, but for this: once the earliest entry of a slot above level 0 was cancelled or moved, the
    /// slot goes on answering with that entry's deadline until it cascades. So the answer may be too early,
    /// never too late, and each such slot costs at most one needless wake-up: a pass at the time answered
    /// makes it cascade.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.lists.first().map(|place| self.instant(self.lists.earliest(place)))
    }

    /// Disarms and returns one entry that is due at `now`; none once there is no other.
    ///
    /// A *pass* is a run of calls up to the one that returns none. Between them the caller may arm and cancel
    /// any entry. No pass returns what was armed within it for `now` or before, so it ends, even if every
    /// entry is armed again for the past. A pass that is not finished loses nothing: the next
    /// goes on from there.
    ///
    /// If the clock went back, nothing expires until it has caught up. If it leapt ahead, the cost
    /// is in the entries that are due, not in the ticks between.
    pub fn expire(&mut self, now: Instant) -> Option<u32> {
        let now = self.tick_at_or_before(now);
        self.soonest = self.soonest.max(now + 1);
        while let Some(place) = self.lists.first() {
            let start = place.start(self.elapsed);
            if start > now {
                break;
            }
            // No deadline lies between the two, so every entry is still on its level.
            self.elapsed = start;
            if place.level() == 0 {
                return Some(self.lists.pop(place));
            }
            self.lists.cascade(place, start);
        }
        self.elapsed = self.elapsed.max(now);
        self.soonest = self.elapsed;
        None
    }

    /// Rounds up: an entry must not expire before its deadline.
    fn tick_at_or_after(&self, deadline: Instant) -> u64 {
        deadline.as_nanos().saturating_sub(self.origin.as_nanos()).saturating_add(TICK_NANOS - 1) / TICK_NANOS
    }

    /// Rounds down: a tick has not come before it is there in full.
    fn tick_at_or_before(&self, now: Instant) -> u64 {
        now.as_nanos().saturating_sub(self.origin.as_nanos()) / TICK_NANOS
    }

    fn instant(&self, tick: u64) -> Instant {
        Instant::from_nanos(self.origin.as_nanos().saturating_add(tick.saturating_mul(TICK_NANOS)))
    }
}
