//! The last endings, in memory of a fixed size: who asks afterwards why a client left is answered from here.
//!
//! All of the memory is there from the start, so that a connection that closes allocates nothing; what is kept is copied, and
//! nothing is made text before somebody asks. The records lie one behind the other in the order of the endings. One that does
//! not fit behind the last begins at the front again, so that none is split, and those that it lies on are dropped: the
//! oldest. Each ending has the next number, so that a reader knows what it missed.
//!
//! `record` has the bytes of one record.

mod record;
#[cfg(test)]
mod tests;

pub use record::{Record, Whose};

use crate::core::end::End;
use crate::core::time::Instant;
use record::{FIXED_BYTES, Parts, RECORD_BYTES_MAX, link_to, number_of};

/// The least memory that a history can have: the longest record fits.
pub const BYTES_MIN: usize = 64 * 1024;
const _: () = assert!(RECORD_BYTES_MAX + DROPPED_AT_ONCE <= BYTES_MIN);

/// What is dropped at once when the memory is full, so that most endings find room without a look at old ones.
const DROPPED_AT_ONCE: usize = 4 * 1024;

/// There is no end of a first lap, because there is none.
const NO_LAP: usize = usize::MAX;

/// The ring.
#[derive(Debug)]
pub struct History {
    bytes: Box<[u8]>,
    /// Where the next record begins, and up to where it may lie.
    head: usize,
    limit: usize,
    /// Where the oldest record begins.
    tail: usize,
    /// Where the record ends behind which the ring goes on at the front, while the oldest is not there yet.
    lap: usize,
    /// Where the newest record begins.
    newest: usize,
    /// The numbers of the oldest record and of the next one.
    first: u64,
    next: u64,
    /// When it was switched on, if not at the start, and the number that was the next then.
    switched_on: (Instant, u64),
    /// Counts the times that the records were moved: a [`Place`] from before is none.
    moves: u32,
}

/// Where a record is. It stays good until the record is dropped, and is noticed then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The number of the ending.
    pub number: u64,
    /// Where its record begins.
    pub at: u32,
    /// How often the records had been moved.
    pub moves: u32,
}

impl History {
    /// One of about `bytes` bytes; 0: nothing is kept.
    pub fn new(bytes: usize) -> Self {
        // Zeroed memory comes from the kernel when it is first written: an unused history takes none.
        let bytes = vec![0; if bytes == 0 { 0 } else { bytes.max(BYTES_MIN) }].into_boxed_slice();
        let limit = bytes.len();
        let switched_on = (Instant::ZERO, 1);
        Self {
            bytes,
            head: 0,
            limit,
            tail: 0,
            lap: NO_LAP,
            newest: 0,
            first: 1,
            next: 1,
            switched_on,
            moves: 0,
        }
    }

    /// Whether endings are kept.
    #[inline]
    pub const fn is_on(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Its size in bytes.
    pub const fn size(&self) -> usize {
        self.bytes.len()
    }

    /// How many endings it has.
    pub const fn kept(&self) -> u64 {
        self.next - self.first
    }

    /// How many endings it had to drop.
    pub const fn dropped(&self) -> u64 {
        self.first - 1
    }

    /// The number of the newest ending; 0: there was none.
    pub const fn last_number(&self) -> u64 {
        self.next - 1
    }

    /// Keeps an ending.
    #[inline]
    pub fn add(&mut self, whose: &Whose<'_>, end: &End, now: Instant) {
        if !self.is_on() {
            return;
        }
        let parts = Parts { whose, end };
        let length = FIXED_BYTES + parts.length();
        if self.head + length > self.limit {
            self.make_room(length);
        }
        let at = self.head;
        record::write(&mut self.bytes[at..at + length], &parts, self.next, self.newest, now);
        self.newest = at;
        self.head = at + length;
        self.next += 1;
    }

    /// Sees to it that `length` bytes are free at the head.
    #[cold]
    #[inline(never)]
    fn make_room(&mut self, length: usize) {
        if self.head + length > self.bytes.len() {
            while self.kept() > 0 && self.tail >= self.head {
                self.drop_oldest();
            }
            (self.lap, self.head) = (self.head, 0);
        }
        let wanted = (self.head + length.max(DROPPED_AT_ONCE)).min(self.bytes.len());
        while self.kept() > 0 && (self.head..wanted).contains(&self.tail) {
            self.drop_oldest();
        }
        if self.kept() == 0 {
            (self.head, self.tail, self.lap) = (0, 0, NO_LAP);
        }
        let is_before = self.kept() > 0 && self.tail >= self.head;
        self.limit = if is_before { self.tail } else { self.bytes.len() };
    }

    fn drop_oldest(&mut self) {
        self.tail += record::length_of(&self.bytes[self.tail..]);
        self.first += 1;
        if self.tail == self.lap {
            (self.tail, self.lap) = (0, NO_LAP);
        }
    }

    /// Where the newest record is.
    pub fn newest(&self) -> Option<Place> {
        (self.kept() > 0).then(|| self.place(self.next - 1, self.newest))
    }

    /// Since when none is missing, while endings are kept; zero: since the start of the process.
    pub fn complete_since(&self) -> Instant {
        let (at, next) = self.switched_on;
        let oldest = (self.first > next).then(|| self.get(self.place(self.first, self.tail))).flatten();
        oldest.map_or(at, |oldest| oldest.at())
    }

    /// The record at a place, if it is still there. A place comes back from the supervisor, so where it points is checked.
    pub fn get(&self, place: Place) -> Option<Record<'_>> {
        let is_kept = place.moves == self.moves && (self.first..self.next).contains(&place.number);
        let bytes = self.bytes.get(is_kept.then_some(place.at as usize)?..)?;
        Record::first_of(bytes).filter(|record| record.number() == place.number)
    }

    /// Where the record of a place is now: it moves when the history gets another size.
    pub fn moved(&self, place: Place) -> Option<Place> {
        if place.moves == self.moves {
            return Some(place);
        }
        // The way to it costs no more than the copy of the records that moved it.
        let is_kept = place.number >= self.first;
        let mut places = is_kept.then(|| self.places()).into_iter().flatten();
        places.find(|moved| moved.number <= place.number)
    }

    /// Where the record before it is.
    pub fn before(&self, place: Place) -> Option<Place> {
        let before = self.get(place)?.before();
        (place.number > self.first).then(|| self.place(place.number - 1, before))
    }

    fn place(&self, number: u64, at: usize) -> Place {
        let at = u32::try_from(at).expect("no history is as large as 4 GiB");
        Place { number, at, moves: self.moves }
    }

    /// All records that it has, the newest first.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.places().filter_map(|place| self.get(place))
    }

    fn places(&self) -> impl Iterator<Item = Place> {
        std::iter::successors(self.newest(), |place| self.before(*place))
    }

    /// Gives it another size, in which it has the newest of its records. The numbers go on.
    pub fn resize(&mut self, bytes: usize, now: Instant) {
        let mut other = Self::new(bytes);
        if other.size() == self.size() {
            return;
        }
        let mut room = other.size();
        let fits = |record: &Record<'_>| {
            let length = record.bytes().len();
            let fits = room >= length;
            room = room.saturating_sub(length);
            fits
        };
        let mut kept: Vec<_> = self.records().take_while(fits).collect();
        kept.reverse();
        other.first = kept.first().map_or(self.next, Record::number);
        other.next = other.first;
        for record in kept {
            other.copy(record.bytes());
        }
        other.switched_on = if self.is_on() { self.switched_on } else { (now, self.next) };
        other.moves = self.moves.wrapping_add(1);
        *self = other;
    }

    /// Appends a record that another ring had; there is room for it.
    fn copy(&mut self, record: &[u8]) {
        let at = self.head;
        let copied = &mut self.bytes[at..at + record.len()];
        copied.copy_from_slice(record);
        link_to(copied, self.newest);
        debug_assert_eq!(number_of(copied), self.next, "they are copied in their order");
        (self.newest, self.head) = (at, at + record.len());
        self.next += 1;
    }
}
