//! [`Directory`]: named things in numbered slots. By name through a hash table, by slot directly, and all of
//! them in the order of their slots.
//!
//! The hash table holds only slot numbers, so a name is stored once. Names come from peers, who could
//! otherwise choose colliding ones, so the hasher is keyed at random ([`RandomState`]); nothing ever
//! iterates the hash table, so that a run can be replayed all the same.

use super::glob;
use super::name::Name;
use super::topics::Visit;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Place;
use slab::Slab;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::ops::ControlFlow;

/// Where a directory keeps one thing. It names that thing only as long as the thing is there; afterwards it
/// may name another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Slot(NonZeroU32);

impl Slot {
    fn of(index: usize) -> Self {
        // From 1, so that an optional slot is no larger than a slot.
        let number = u32::try_from(index + 1).ok().and_then(NonZeroU32::new);
        Self(number.expect("memory ends long before 2^32 names"))
    }

    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// A thing and its name.
#[derive(Debug)]
pub(super) struct Entry<T> {
    pub(super) name: Name,
    pub(super) value: T,
}

/// The directory.
#[derive(Debug)]
pub(super) struct Directory<T> {
    entries: Slab<Entry<T>>,
    by_name: HashTable<Slot>,
    hasher: RandomState,
    /// One past the highest slot that was ever used.
    slots_used: usize,
}

impl<T> Default for Directory<T> {
    fn default() -> Self {
        Self { entries: Slab::new(), by_name: HashTable::new(), hasher: RandomState::new(), slots_used: 0 }
    }
}

impl<T> Directory<T> {
    /// Where the thing of that name is.
    pub(super) fn find(&self, name: &[u8]) -> Option<Slot> {
        let is_it = |slot: &Slot| *self.entries[slot.index()].name == *name;
        self.by_name.find(self.hasher.hash_one(name), is_it).copied()
    }

    /// The thing of that name.
    pub(super) fn get(&self, name: &[u8]) -> Option<&T> {
        self.find(name).map(|slot| &self.entries[slot.index()].value)
    }

    /// What is in `slot` now, if anything is.
    pub(super) fn at(&self, slot: Slot) -> Option<&Entry<T>> {
        self.entries.get(slot.index())
    }

    /// What is in `slot` now, if anything is.
    pub(super) fn at_mut(&mut self, slot: Slot) -> Option<&mut Entry<T>> {
        self.entries.get_mut(slot.index())
    }

    /// Where the thing of that name is; a new one is made where there was none.
    pub(super) fn find_or_insert(&mut self, name: &[u8]) -> Slot
    where
        T: Default,
    {
        let Self { entries, by_name, hasher, slots_used } = self;
        let hash = hasher.hash_one(name);
        let is_it = |slot: &Slot| *entries[slot.index()].name == *name;
        let rehash = |slot: &Slot| hasher.hash_one(&*entries[slot.index()].name);
        match by_name.entry(hash, is_it, rehash) {
            Place::Occupied(place) => *place.get(),
            Place::Vacant(place) => {
                let index = entries.insert(Entry { name: Name::new(name), value: T::default() });
                *slots_used = (*slots_used).max(index + 1);
                let slot = Slot::of(index);
                place.insert(slot);
                slot
            }
        }
    }

    /// Takes out what is in `slot`, which something must be; the slot may be used again at once.
    pub(super) fn remove(&mut self, slot: Slot) -> Entry<T> {
        let entry = self.entries.remove(slot.index());
        match self.by_name.find_entry(self.hasher.hash_one(&*entry.name), |&other| other == slot) {
            Ok(place) => drop(place.remove()),
            Err(_) => unreachable!("every entry is in the hash table under its name"),
        }
        entry
    }

    /// How many things there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What is in slot number `from` and in those behind it that were ever used, each with the number of the next: for
    /// walks that stop and go on.
    pub(super) fn slots_from(&self, from: usize) -> impl Iterator<Item = (usize, Option<&Entry<T>>)> {
        (from..self.slots_used).map(|index| (index + 1, self.entries.get(index)))
    }

    /// The names that `pattern` matches, of the things that are wanted. Goes on at slot number `at`, and returns whether
    /// that was the end of it.
    pub(super) fn matched<'a>(
        &'a self,
        pattern: &[u8],
        at: &mut usize,
        wanted: impl Fn(&T) -> bool,
        mut visit: impl FnMut(Visit<&'a [u8]>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        for (next, entry) in self.slots_from(*at) {
            if let Some(Entry { name, value }) = entry
                && wanted(value)
            {
                let (matched, steps) = glob::compare(pattern, name);
                visit(Visit::Looked(steps))?;
                if matched {
                    visit(Visit::Found(name))?;
                }
            } else {
                visit(Visit::Looked(1))?;
            }
            *at = next;
        }
        ControlFlow::Continue(())
    }

    /// All of them, in the order of their slots.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry<T>> {
        self.entries.iter().map(|(_, entry)| entry)
    }

    /// How many slots there is memory for.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.entries.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Directory<()>) -> Vec<&[u8]> {
        directory.iter().map(|entry| &*entry.name).collect()
    }

    #[test]
    fn a_name_has_one_slot_until_it_is_removed() {
        let mut directory = Directory::<u32>::default();
        let slot = directory.find_or_insert(b"a");
        directory.at_mut(slot).unwrap().value = 7;
        assert_eq!(directory.find_or_insert(b"a"), slot);
        assert_eq!((directory.get(b"a"), directory.len()), (Some(&7), 1));

        assert_eq!(directory.remove(slot).value, 7);
        assert_eq!((directory.find(b"a"), directory.len()), (None, 0));
        assert!(directory.at(slot).is_none());
    }

    #[test]
    fn iteration_is_in_the_order_of_slots_and_freed_slots_are_used_first() {
        let mut directory = Directory::default();
        let [_, b, _] = [b"a", b"b", b"c"].map(|name| directory.find_or_insert(name));
        directory.remove(b);
        assert_eq!(names(&directory), [b"a", b"c"]);
        assert_eq!(directory.find_or_insert(b"d"), b);
        assert_eq!(names(&directory), [b"a", b"d", b"c"]);
    }

    #[test]
    fn coming_and_going_does_not_grow_it() {
        let mut directory = Directory::<()>::default();
        for round in 0..10_000_u32 {
            let slot = directory.find_or_insert(&round.to_le_bytes());
            directory.remove(slot);
        }
        assert!(directory.capacity() <= 4, "{}", directory.capacity());
        assert!(directory.by_name.capacity() <= 16, "{}", directory.by_name.capacity());
    }

    #[test]
    fn all_names_are_found_after_growing() {
        let mut directory = Directory::<()>::default();
        let slots: Vec<Slot> = (0..5_000_u32).map(|i| directory.find_or_insert(&i.to_le_bytes())).collect();
        for (i, &slot) in (0_u32..).zip(&slots) {
            assert_eq!(directory.find(&i.to_le_bytes()), Some(slot));
        }
    }
}
