//! The last endings, in memory of a fixed size: who asks afterwards why a client left is answered from here.
//!
//! What is kept is copied into a [`Ring`], so that a connection that closes allocates nothing; nothing is made text before
//! somebody asks. Each ending has the next number, so that a reader knows what it missed.
//!
//! `record` has the bytes of one record.

mod record;
#[cfg(test)]
mod tests;

pub(super) use record::Ended;
pub use record::{Record, Whose};

use super::ring::{DROPPED_AT_ONCE, Place, Ring};
use crate::core::end::End;
use crate::core::time::Instant;

/// The least memory that a history can have: the longest record fits.
pub const BYTES_MIN: usize = 64 * 1024;
const _: () = assert!(record::RECORD_BYTES_MAX + DROPPED_AT_ONCE <= BYTES_MIN);

/// The endings.
#[derive(Debug)]
pub struct History {
    ring: Ring,
    /// When it was switched on, if not at the start, and the number that was the next then.
    switched_on: (Instant, u64),
}

impl History {
    /// One of about `bytes` bytes; 0: nothing is kept.
    pub fn new(bytes: usize) -> Self {
        Self { ring: Ring::new(size(bytes)), switched_on: (Instant::ZERO, 1) }
    }

    /// Whether endings are kept.
    #[inline]
    pub const fn is_on(&self) -> bool {
        self.ring.is_on()
    }

    /// Its size in bytes.
    pub const fn size(&self) -> usize {
        self.ring.size()
    }

    /// How many endings it has.
    pub const fn kept(&self) -> u64 {
        self.ring.kept()
    }

    /// How many endings it had to drop.
    pub const fn dropped(&self) -> u64 {
        self.ring.dropped()
    }

    /// The number of the newest ending; 0: there was none.
    pub const fn last_number(&self) -> u64 {
        self.ring.last_number()
    }

    /// Keeps an ending.
    #[inline]
    pub fn add(&mut self, whose: &Whose<'_>, end: &End, now: Instant) {
        if !self.is_on() {
            return;
        }
        let ended = Ended { whose, end };
        self.ring.add(ended.length(), |record| ended.write(record, now));
    }

    /// Where the newest record is.
    pub fn newest(&self) -> Option<Place> {
        self.ring.newest()
    }

    /// Since when none is missing, while endings are kept; zero: since the start of the process.
    pub fn complete_since(&self) -> Instant {
        let (at, next) = self.switched_on;
        let oldest = self.ring.oldest().filter(|oldest| oldest.number > next);
        oldest.and_then(|oldest| self.get(oldest)).map_or(at, Record::at)
    }

    /// The record at a place, if it is still there.
    pub fn get(&self, place: Place) -> Option<Record<'_>> {
        self.ring.get(place).and_then(Record::of)
    }

    /// Where the record of a place is now: it moves when the history gets another size.
    pub fn moved(&self, place: Place) -> Option<Place> {
        self.ring.moved(place)
    }

    /// Where the record before it is.
    pub fn before(&self, place: Place) -> Option<Place> {
        self.ring.before(place)
    }

    /// All records that it has, the newest first.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.ring.places().filter_map(|place| self.get(place))
    }

    /// Gives it another size, in which it has the newest of its records. The numbers go on.
    pub fn resize(&mut self, bytes: usize, now: Instant) {
        let was_on = self.is_on();
        self.ring.resize(size(bytes));
        if !was_on && self.is_on() {
            self.switched_on = (now, self.last_number() + 1);
        }
    }
}

const fn size(bytes: usize) -> usize {
    if bytes == 0 || bytes >= BYTES_MIN { bytes } else { BYTES_MIN }
}
