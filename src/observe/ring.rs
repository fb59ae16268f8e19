//! Records of different lengths in memory of a fixed size, the newest of which are kept.
//!
//! All of the memory is there from the start, so that who adds a record allocates nothing. They lie one behind the other in
//! their order. One that does not fit behind the last begins at the front again, so that none is split, and those that it
//! lies on are dropped: the oldest. Each has the next number, so that a reader knows what it missed.
//!
//! The first bytes of a record are the ring's own; what the others mean is for those who keep records in it.

/// The ring's own bytes at the front of a record: its length, where the one before it is, and its number.
pub const HEADER_BYTES: usize = 16;
const LENGTH: usize = 0;
const BEFORE: usize = 4;
const NUMBER: usize = 8;

/// What is dropped at once when the memory is full, so that most records find room without a look at old ones.
pub const DROPPED_AT_ONCE: usize = 4 * 1024;

/// There is no end of a first lap, because there is none.
const NO_LAP: usize = usize::MAX;

/// The memory, and where in it the records are.
#[derive(Debug)]
pub struct Ring {
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
    /// The number of the first that there was, or will be.
    origin: u64,
    /// Counts the times that the records were moved: a [`Place`] from before is none.
    moves: u32,
}

/// Where a record is. It stays good until the record is dropped, and is noticed then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The number of the record.
    pub number: u64,
    /// Where it begins.
    pub at: u32,
    /// How often the records had been moved.
    pub moves: u32,
}

impl Ring {
    /// One of so many bytes, which are more than the longest record and [`DROPPED_AT_ONCE`]; 0: nothing is kept.
    pub fn new(bytes: usize) -> Self {
        // Zeroed memory comes from the kernel when it is first written: an unused ring takes none.
        let bytes = vec![0; bytes].into_boxed_slice();
        let limit = bytes.len();
        Self {
            bytes,
            head: 0,
            limit,
            tail: 0,
            lap: NO_LAP,
            newest: 0,
            first: 1,
            next: 1,
            origin: 1,
            moves: 0,
        }
    }

    /// One without memory, whose first record will have that number.
    pub fn starting_at(origin: u64) -> Self {
        Self { first: origin, next: origin, origin, ..Self::new(0) }
    }

    /// The number of the first that there was, or will be.
    pub const fn origin(&self) -> u64 {
        self.origin
    }

    /// Whether records are kept.
    #[inline]
    pub const fn is_on(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Its size in bytes.
    pub const fn size(&self) -> usize {
        self.bytes.len()
    }

    /// How many records it has.
    pub const fn kept(&self) -> u64 {
        self.next - self.first
    }

    /// How many it had to drop.
    pub const fn dropped(&self) -> u64 {
        self.first - self.origin
    }

    /// The number of the newest record; 0: there was none.
    pub const fn last_number(&self) -> u64 {
        self.next - 1
    }

    /// Keeps a record of `length` bytes, of which `write` writes all but the first [`HEADER_BYTES`].
    #[inline]
    pub fn add(&mut self, length: usize, write: impl FnOnce(&mut [u8])) {
        if self.head + length > self.limit {
            self.make_room(length);
        }
        let at = self.head;
        let record = &mut self.bytes[at..at + length];
        write(record);
        put32(record, LENGTH, length);
        put32(record, BEFORE, self.newest);
        put64(record, NUMBER, self.next);
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
        self.tail = self.behind(self.tail);
        self.first += 1;
        if self.tail == self.lap {
            (self.tail, self.lap) = (0, NO_LAP);
        }
    }

    /// Where the record ends that begins there.
    fn behind(&self, at: usize) -> usize {
        at + number32(&self.bytes[at..], LENGTH) as usize
    }

    /// Where the newest record is.
    pub fn newest(&self) -> Option<Place> {
        (self.kept() > 0).then(|| self.place(self.next - 1, self.newest))
    }

    /// Where the oldest record is.
    pub fn oldest(&self) -> Option<Place> {
        (self.kept() > 0).then(|| self.place(self.first, self.tail))
    }

    /// The record at a place, if it is still there. A place comes back from the supervisor, so where it points is checked.
    pub fn get(&self, place: Place) -> Option<&[u8]> {
        let is_kept = place.moves == self.moves && (self.first..self.next).contains(&place.number);
        let bytes = self.bytes.get(is_kept.then_some(place.at as usize)?..)?;
        let length = number32(bytes.first_chunk::<HEADER_BYTES>()?, LENGTH) as usize;
        let record = bytes.get(..length)?;
        (length >= HEADER_BYTES && number_of(record) == place.number).then_some(record)
    }

    /// Where the record of a place is now: it moves when the ring gets another size.
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
        let before = number32(self.get(place)?, BEFORE) as usize;
        (place.number > self.first).then(|| self.place(place.number - 1, before))
    }

    /// Where the record after it is. `None`: it is the newest, or dropped.
    pub fn after(&self, place: Place) -> Option<Place> {
        self.get(place)?;
        let behind = self.behind(place.at as usize);
        let after = if behind == self.lap { 0 } else { behind };
        (place.number + 1 < self.next).then(|| self.place(place.number + 1, after))
    }

    fn place(&self, number: u64, at: usize) -> Place {
        let at = u32::try_from(at).expect("no ring is as large as 4 GiB");
        Place { number, at, moves: self.moves }
    }

    /// The places of all records that it has, the newest first.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        std::iter::successors(self.newest(), |place| self.before(*place))
    }

    /// Gives it another size, in which it has the newest of its records. The numbers go on.
    pub fn resize(&mut self, bytes: usize) {
        let mut other = Self::new(bytes);
        if other.size() == self.size() {
            return;
        }
        let mut room = other.size();
        let fits = |record: &&[u8]| {
            let fits = room >= record.len();
            room = room.saturating_sub(record.len());
            fits
        };
        let records = self.places().filter_map(|place| self.get(place));
        let mut kept: Vec<_> = records.take_while(fits).collect();
        kept.reverse();
        other.first = kept.first().map_or(self.next, |record| number_of(record));
        other.next = other.first;
        for record in kept {
            debug_assert_eq!(number_of(record), other.next, "they are copied in their order");
            other.add(record.len(), |copy| copy.copy_from_slice(record));
        }
        (other.origin, other.moves) = (self.origin, self.moves.wrapping_add(1));
        *self = other;
    }

    /// Where the next record begins.
    #[cfg(test)]
    pub(super) const fn head(&self) -> usize {
        self.head
    }
}

/// The number of a record.
pub fn number_of(record: &[u8]) -> u64 {
    number64(record, NUMBER)
}

/// Puts a number that has 32 bits at a place of a record.
#[inline]
fn put32(out: &mut [u8], at: usize, number: usize) {
    #[expect(clippy::cast_possible_truncation, reason = "no ring is as large as 4 GiB")]
    let number = number as u32;
    out[at..at + 4].copy_from_slice(&number.to_le_bytes());
}

/// Puts a number there.
#[inline]
pub fn put64(out: &mut [u8], at: usize, number: u64) {
    out[at..at + 8].copy_from_slice(&number.to_le_bytes());
}

/// The number of 32 bits at a place of a record.
fn number32(record: &[u8], at: usize) -> u32 {
    let number = record.get(at..).and_then(<[u8]>::first_chunk);
    u32::from_le_bytes(*number.expect("a record is as long as it says"))
}

/// The number there.
pub fn number64(record: &[u8], at: usize) -> u64 {
    let number = record.get(at..).and_then(<[u8]>::first_chunk);
    u64::from_le_bytes(*number.expect("a record is as long as it says"))
}
