//! The slots of the wheel and the entries in them: doubly linked lists whose links lie in one dense `Vec`,
//! parallel to the slab of connections.
//!
//! This file owns the links, the occupancy bitmaps and the earliest deadline of each slot. It must not decide
//! what is due: the current tick belongs to [`Wheel`](super::Wheel), in `mod.rs`, which is the place to begin.
//!
//! The cost of a wheel of a million entries is in its cache misses. So an entry is 12 bytes (of its tick it has the lower
//! half; the rest follows from the current tick), new entries go in front (only the one they displace is touched),
//! the first entry of a list names its slot (so that taking one out needs no arithmetic), and a slot has four
//! lists (so that their walks can wait for memory together).

use std::mem;

/// Bits of a tick that select a slot of one level.
const LEVEL_BITS: u32 = 6;
/// Slots of a level: as many as its occupancy bitmap has bits.
const LEVEL_SLOTS: u32 = 1 << LEVEL_BITS;
/// Enough for every tick of a clock that counts nanoseconds in 64 bits, so that no deadline is too far off.
const LEVELS: u32 = 8;
const _: () = assert!((u64::MAX / super::TICK_NANOS + 1) >> (LEVEL_BITS * LEVELS) == 0);

/// Lists of a slot. A walk along one list waits for each entry to come from memory before it knows the next;
/// four at a time wait together. Measured at 1,000,000 entries, that halves the cost of an expiry.
const LISTS: usize = 4;

/// The end of a list; as `prev`, the mark of an entry that is not armed.
const NIL: u32 = u32::MAX;
/// As `prev`, together with the number of the slot: the mark of the first entry of a list.
const FIRST: u32 = 1 << 31;

/// One slot of one level, by its number: the levels follow each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place(u32);

impl Place {
    /// Where an entry belongs that is due at tick `deadline`, when the current tick is `elapsed`.
    #[expect(clippy::cast_possible_truncation, reason = "a digit of a tick is less than 64")]
    pub(super) const fn of(deadline: u64, elapsed: u64) -> Self {
        // The lowest digit is set in full, for a deadline of this very tick has a place on level 0 too.
        let differing = (deadline ^ elapsed) | (LEVEL_SLOTS as u64 - 1);
        let level = differing.ilog2() / LEVEL_BITS;
        let slot = ((deadline >> (level * LEVEL_BITS)) % LEVEL_SLOTS as u64) as u32;
        Self(level * LEVEL_SLOTS + slot)
    }

    pub(super) const fn level(self) -> u32 {
        self.0 / LEVEL_SLOTS
    }

    /// Its bit in the occupancy bitmap of its level.
    const fn bit(self) -> u64 {
        1 << (self.0 % LEVEL_SLOTS)
    }

    /// The first tick of this slot, which lies in the same round of its level as `elapsed`.
    pub(super) const fn start(self, elapsed: u64) -> u64 {
        let shift = self.level() * LEVEL_BITS;
        let round = elapsed >> shift >> LEVEL_BITS;
        ((round << LEVEL_BITS) | (self.0 as u64 % LEVEL_SLOTS as u64)) << shift
    }
}

/// One entry: in the list of its slot, or not armed.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The lower half of the tick at which it is due.
    due: u32,
    prev: u32,
    next: u32,
}

const _: () = assert!(size_of::<Entry>() == 12, "each connection has one");

impl Entry {
    const DISARMED: Self = Self { due: 0, prev: NIL, next: NIL };

    #[expect(clippy::cast_possible_truncation, reason = "the upper half is told from the current tick")]
    const fn armed(deadline: u64, prev: u32, next: u32) -> Self {
        Self { due: deadline as u32, prev, next }
    }

    /// The tick at which an armed entry is due: the first from `elapsed` on with that lower half.
    #[expect(clippy::cast_possible_truncation, reason = "the distance is between the lower halves")]
    const fn deadline(self, elapsed: u64) -> u64 {
        elapsed + self.due.wrapping_sub(elapsed as u32) as u64
    }
}

/// Which of the lists of its slot an entry is in.
const fn list_of(index: u32) -> usize {
    index as usize % LISTS
}

/// One slot.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// No entry is due before this tick; it is the deadline of one that is or was in here.
    earliest: u64,
    /// The first entry of each list.
    first: [u32; LISTS],
    /// One bit for each list with an entry in it.
    lists: u32,
}

impl Slot {
    const EMPTY: Self = Self { earliest: u64::MAX, first: [NIL; LISTS], lists: 0 };
}

/// All slots, and who is in them.
#[derive(Debug)]
pub(super) struct Lists {
    entries: Vec<Entry>,
    slots: Box<[Slot; (LEVELS * LEVEL_SLOTS) as usize]>,
    /// Per level, the slots with an entry in them.
    occupied: [u64; LEVELS as usize],
    /// The levels with an entry on them.
    levels: u32,
}

impl Lists {
    /// Empty lists, with room for `capacity` entries before they have to move.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self {
            entries: Vec::with_capacity(capacity),
            slots: Box::new([Slot::EMPTY; (LEVELS * LEVEL_SLOTS) as usize]),
            occupied: [0; LEVELS as usize],
            levels: 0,
        }
    }

    /// The tick at which the entry of `index` is due, if it is armed. `elapsed`: the current one.
    pub(super) fn deadline(&self, index: u32, elapsed: u64) -> Option<u64> {
        let entry = self.entries.get(index as usize)?;
        (entry.prev != NIL).then(|| entry.deadline(elapsed))
    }

    /// Whether the entry of `index` is armed.
    pub(super) fn is_armed(&self, index: u32) -> bool {
        self.entries.get(index as usize).is_some_and(|entry| entry.prev != NIL)
    }

    /// The first slot in time with an entry in it. (All of a level is due before all of the levels above, and
    /// none of it lies behind the current tick, so the lowest bits of the bitmaps tell.)
    pub(super) fn first(&self) -> Option<Place> {
        if self.levels == 0 {
            return None;
        }
        let level = self.levels.trailing_zeros();
        let slot = self.occupied[level as usize].trailing_zeros();
        Some(Place(level * LEVEL_SLOTS + slot))
    }

    /// A tick before which no entry of this slot is due: the earliest deadline in it since it was last empty.
    pub(super) fn earliest(&self, place: Place) -> u64 {
        self.slots[place.0 as usize].earliest
    }

    /// Makes room for the entry of `index`.
    pub(super) fn reserve(&mut self, index: u32) {
        if index as usize >= self.entries.len() {
            self.grow(index);
        }
    }

    /// Puts an entry that is not armed in front of a list.
    pub(super) fn link(&mut self, index: u32, place: Place, deadline: u64) {
        let slot = &mut self.slots[place.0 as usize];
        slot.earliest = slot.earliest.min(deadline);
        let next = mem::replace(&mut slot.first[list_of(index)], index);
        if next == NIL {
            slot.lists |= 1 << list_of(index);
            self.occupied[place.level() as usize] |= place.bit();
            self.levels |= 1 << place.level();
        } else {
            self.entries[next as usize].prev = index;
        }
        self.entries[index as usize] = Entry::armed(deadline, FIRST | place.0, next);
    }

    /// Gives an armed entry another deadline that belongs to the slot it is in.
    pub(super) fn renew(&mut self, index: u32, place: Place, deadline: u64) {
        let slot = &mut self.slots[place.0 as usize];
        slot.earliest = slot.earliest.min(deadline);
        let Entry { prev, next, .. } = self.entries[index as usize];
        self.entries[index as usize] = Entry::armed(deadline, prev, next);
    }

    /// Takes an armed entry out of its list.
    pub(super) fn unlink(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        let Entry { prev, next, .. } = *entry;
        entry.prev = NIL;
        if prev < FIRST {
            self.entries[prev as usize].next = next;
            if next != NIL {
                self.entries[next as usize].prev = prev;
            }
        } else {
            self.advance(Place(prev - FIRST), list_of(index), next);
        }
    }

    /// Takes any entry out of a slot that has one.
    pub(super) fn pop(&mut self, place: Place) -> u32 {
        let slot = &self.slots[place.0 as usize];
        debug_assert_ne!(slot.lists, 0, "an occupied slot has a list with an entry in it");
        let list = slot.lists.trailing_zeros() as usize % LISTS;
        let index = slot.first[list];
        let entry = &mut self.entries[index as usize];
        let next = entry.next;
        entry.prev = NIL;
        self.advance(place, list, next);
        index
    }

    /// Moves all entries of a slot to where they belong when the current tick is `elapsed`.
    pub(super) fn cascade(&mut self, place: Place, elapsed: u64) {
        let slot = mem::replace(&mut self.slots[place.0 as usize], Slot::EMPTY);
        self.mark_empty(place);
        let mut cursors = slot.first;
        while cursors != [NIL; LISTS] {
            for cursor in &mut cursors {
                let index = *cursor;
                if index != NIL {
                    let entry = self.entries[index as usize];
                    let deadline = entry.deadline(elapsed);
                    self.link(index, Place::of(deadline, elapsed), deadline);
                    *cursor = entry.next;
                }
            }
        }
    }

    /// Lets a list begin at `next`, the entry after the one it began with.
    fn advance(&mut self, place: Place, list: usize, next: u32) {
        let slot = &mut self.slots[place.0 as usize];
        slot.first[list] = next;
        if next != NIL {
            self.entries[next as usize].prev = FIRST | place.0;
            return;
        }
        slot.lists &= !(1 << list);
        if slot.lists == 0 {
            slot.earliest = u64::MAX;
            self.mark_empty(place);
        }
    }

    fn mark_empty(&mut self, place: Place) {
        let level = place.level();
        let occupied = &mut self.occupied[level as usize];
        *occupied &= !place.bit();
        if *occupied == 0 {
            self.levels &= !(1 << level);
        }
    }

    #[cold]
    fn grow(&mut self, index: u32) {
        assert!(index < FIRST, "descriptors are fewer than 2^31, and so are their indices");
        self.entries.resize(index as usize + 1, Entry::DISARMED);
    }
}
