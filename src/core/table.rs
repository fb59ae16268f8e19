//! The generational connection table: a [`Slab`] whose every entry carries a generation, so that a name of
//! a connection that is gone can never reach the one that took its slot.
//!
//! A [`Key`] is the only name of a connection outside its own slot; it travels to the kernel and back as a
//! [`Token`]. Generations come from one counter for the whole table, so two connections share a key only
//! if 2^32 were accepted in between and the older one's events were still on the way.

use slab::Slab;
use std::fmt;
use std::str::FromStr;

/// The name under which something is watched, handed back with each readiness.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Token(pub u64);

impl Token {
    // All of these are among those of listeners, of which there are never so many, so that it costs connections nothing
    // to be told from them.

    /// Signals.
    pub const SIGNAL: Self = Self(u32::MAX as u64);
    /// What threads beside the loop have brought, such as rows of the kernel's table of sockets.
    pub const ASIDE: Self = Self(u32::MAX as u64 - 1);
    /// The channel to a worker's supervisor.
    pub const SUPERVISOR: Self = Self(u32::MAX as u64 - 2);
}

/// The name of one connection: where it is kept, and which of those kept there it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key {
    /// The slot.
    pub index: u32,
    /// Which occupant of the slot. Never 0.
    pub generation: u32,
}

impl Key {
    /// The name under which the kernel hands back its readiness.
    pub const fn token(self) -> Token {
        Token((self.generation as u64) << 32 | self.index as u64)
    }

    /// The key that `token` was made of; generation 0 belongs to listeners and is no connection's.
    #[expect(clippy::cast_possible_truncation, reason = "the halves are taken apart on purpose")]
    pub const fn from_token(token: Token) -> Self {
        Self { index: token.0 as u32, generation: (token.0 >> 32) as u32 }
    }
}

/// As people and the admin interface write it: `index-generation`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.index, self.generation)
    }
}

/// The text was not `index-generation`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotAKey;

impl FromStr for Key {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        let (index, generation) = text.split_once('-').ok_or(NotAKey)?;
        match (index.parse(), generation.parse()) {
            (Ok(index), Ok(generation)) => Ok(Self { index, generation }),
            _ => Err(NotAKey),
        }
    }
}

/// Something that knows which occupant of its slot it is.
pub trait Occupant {
    /// The generation it was inserted with.
    fn generation(&self) -> u32;
}

/// The table.
#[derive(Debug)]
pub struct Table<T> {
    slots: Slab<T>,
    generation: u32,
    /// One past the highest slot that was ever used.
    slots_used: usize,
}

impl<T: Occupant> Table<T> {
    /// An empty table with room for `capacity` occupants before it has to move.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { slots: Slab::with_capacity(capacity), generation: 0, slots_used: 0 }
    }

    /// The key that the next [`insert`](Self::insert) will use.
    pub fn next_key(&mut self) -> Key {
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        let index = u32::try_from(self.slots.vacant_key()).expect("descriptors are fewer than 2^32");
        Key { index, generation: self.generation }
    }

    /// Puts `occupant` where `key` says, which [`next_key`](Self::next_key) just gave out.
    #[expect(clippy::inline_always, reason = "left alone, the occupant is made, moved and moved once more")]
    #[inline(always)]
    pub fn insert(&mut self, key: Key, occupant: T) {
        debug_assert_eq!(occupant.generation(), key.generation);
        let index = self.slots.insert(occupant);
        debug_assert_eq!(index, key.index as usize);
        self.slots_used = self.slots_used.max(index + 1);
    }

    /// The connection of that name, if it is still there.
    pub fn get(&self, key: Key) -> Option<&T> {
        self.slots.get(key.index as usize).filter(|occupant| occupant.generation() == key.generation)
    }

    /// The connection of that name, if it is still there.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.slots.get_mut(key.index as usize).filter(|occupant| occupant.generation() == key.generation)
    }

    /// Whatever is in slot `index`, and its key.
    pub fn at(&self, index: u32) -> Option<(Key, &T)> {
        let occupant = self.slots.get(index as usize)?;
        Some((Key { index, generation: occupant.generation() }, occupant))
    }

    /// Takes the connection of that name out; its slot may be used again at once.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        Some(self.slots.remove(key.index as usize))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// All of them, in the order of their slots.
    #[expect(clippy::cast_possible_truncation, reason = "next_key has checked every index")]
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.slots.iter().map(|(index, occupant)| {
            (Key { index: index as u32, generation: occupant.generation() }, occupant)
        })
    }

    /// One past the highest slot that was ever used: for walks that are spread over turns.
    pub const fn slots_used(&self) -> usize {
        self.slots_used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Tenant(u32);

    impl Occupant for Tenant {
        fn generation(&self) -> u32 {
            self.0
        }
    }

    fn admit(table: &mut Table<Tenant>) -> Key {
        let key = table.next_key();
        table.insert(key, Tenant(key.generation));
        key
    }

    #[test]
    fn an_old_key_never_reaches_the_next_tenant() {
        let mut table = Table::with_capacity(4);
        let old = admit(&mut table);
        assert!(table.remove(old).is_some());
        let new = admit(&mut table);
        assert_eq!(old.index, new.index, "the slot is used again");
        assert!(table.get(old).is_none());
        assert!(table.remove(old).is_none(), "and a second removal takes nothing");
        assert!(table.get(new).is_some());
        assert_eq!(table.at(new.index).map(|(key, _)| key), Some(new));
    }

    #[test]
    fn what_is_there_is_counted_and_slots_that_were_used_stay_so() {
        let mut table = Table::with_capacity(4);
        assert!(table.is_empty());
        assert_eq!((table.len(), table.slots_used()), (0, 0));
        let keys = [admit(&mut table), admit(&mut table), admit(&mut table)];
        assert!(!table.is_empty());
        assert_eq!((table.len(), table.slots_used()), (3, 3));
        table.remove(keys[2]);
        assert_eq!((table.len(), table.slots_used()), (2, 3));
        assert!(table.iter().map(|(key, _)| key).eq([keys[0], keys[1]]));
    }

    #[test]
    fn generations_wrap_past_zero_which_is_nobodys() {
        let mut table = Table::with_capacity(1);
        table.generation = u32::MAX - 1;
        assert_eq!(admit(&mut table).generation, u32::MAX);
        assert_eq!(admit(&mut table).generation, 1);
    }

    #[test]
    fn a_key_survives_the_way_through_token_and_text() {
        let key = Key { index: 7, generation: u32::MAX };
        assert_eq!(Key::from_token(key.token()), key);
        assert_eq!(key.to_string().parse(), Ok(key));
        for bad in ["", "7", "7-", "-7", "7-x", "7-1-2"] {
            assert_eq!(bad.parse::<Key>(), Err(NotAKey), "{bad}");
        }
    }
}
