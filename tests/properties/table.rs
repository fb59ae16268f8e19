//! The connection table against a map of who lives where: a key reaches the occupant it was made for, or nobody.

use super::Choices;
use linger::core::table::{Key, Occupant, Table};
use std::collections::{BTreeMap, BTreeSet};

struct Tenant(u32);

impl Occupant for Tenant {
    fn generation(&self) -> u32 {
        self.0
    }
}

/// Admits and removes as `bytes` say, also by keys of long ago and keys that never were.
pub(crate) fn holds(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let mut table = Table::with_capacity(usize::from(choices.byte() % 8));
    let mut living: BTreeMap<u32, Key> = BTreeMap::new();
    let mut dead: Vec<Key> = vec![Key { index: 0, generation: 0 }, Key { index: u32::MAX, generation: 1 }];
    let mut seen = BTreeSet::new();
    let mut most = 0;
    while !choices.is_over() {
        match choices.byte() % 8 {
            0..=3 => {
                let key = table.next_key();
                assert_ne!(key.generation, 0, "0 is the listeners'");
                assert!(seen.insert(key), "{key} was somebody else's");
                assert!(!living.contains_key(&key.index), "the slot is taken");
                table.insert(key, Tenant(key.generation));
                living.insert(key.index, key);
                assert_eq!(Key::from_token(key.token()), key);
                assert_eq!(key.to_string().parse(), Ok(key));
            }
            // A key that is given out and not used: the next accept failed.
            4 => assert!(seen.insert(table.next_key())),
            5 => {
                let stale = dead[usize::from(choices.byte()) % dead.len()];
                assert!(table.remove(stale).is_none(), "{stale} is gone");
            }
            _ => {
                let nth = usize::from(choices.byte()) % living.len().max(1);
                if let Some(&key) = living.values().nth(nth) {
                    assert_eq!(table.remove(key).map(|tenant| tenant.0), Some(key.generation));
                    living.remove(&key.index);
                    dead.push(key);
                }
            }
        }
        most = most.max(living.len());
        check(&mut table, &living, &dead);
        assert_eq!(table.slots_used(), most, "freed slots are used first");
    }
}

fn check(table: &mut Table<Tenant>, living: &BTreeMap<u32, Key>, dead: &[Key]) {
    assert_eq!((table.len(), table.is_empty()), (living.len(), living.is_empty()));
    let listed: Vec<Key> = table.iter().map(|(key, _)| key).collect();
    assert_eq!(listed, living.values().copied().collect::<Vec<_>>(), "in the order of slots");
    for &key in living.values() {
        assert_eq!(table.get(key).map(|tenant| tenant.0), Some(key.generation));
        assert_eq!(table.get_mut(key).map(|tenant| tenant.0), Some(key.generation));
        assert_eq!(table.at(key.index).map(|(key, _)| key), Some(key));
    }
    for &key in dead {
        assert!(table.get(key).is_none() && table.get_mut(key).is_none(), "{key} reaches nobody");
        assert_eq!(table.at(key.index).map(|(key, _)| key), living.get(&key.index).copied());
    }
}
