//! By whom connections are ended that are not closed yet.
//!
//! Between the take-over of an identity and the effect that ends its older connection, that one may close by itself. What it
//! has lost, and its record, are kept here until then.

use crate::core::end::{By, End};
use crate::core::table::Key;
use crate::hub::Name;
use crate::protocol::presence::Origin;
use indexmap::IndexMap;
use std::sync::Arc;

/// Of each such connection there is one entry, and of no other.
#[derive(Default)]
pub(in crate::reactor) struct Initiators {
    entries: IndexMap<Key, Entry>,
}

/// What is kept of one connection.
#[derive(Default)]
struct Entry {
    by: Option<Arc<By>>,
    /// The identity that a newer connection has taken from it.
    lost: Option<Name>,
    /// Its take-over waits among the effects.
    posted: bool,
    /// Its record, if it has closed before that.
    end: Option<Box<End>>,
    /// Where it came from, in the same case.
    origin: Option<Box<Origin>>,
}

/// What is known of a connection whose identity was taken.
pub(in crate::reactor) struct Taken {
    /// Its record, if it has closed meanwhile, and where it came from.
    pub(in crate::reactor) closed: Option<(Box<End>, Option<Box<Origin>>)>,
    /// By whom it was ended.
    pub(in crate::reactor) by: Option<Arc<By>>,
}

impl Initiators {
    /// Whether there is none.
    pub(in crate::reactor) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A connection has closed: says in its record who brought that about. Gives the identity that it had lost.
    #[inline]
    pub(in crate::reactor) fn on_closed(&mut self, key: Key, end: &mut End) -> Option<Name> {
        if self.is_empty() { None } else { self.complete(key, end) }
    }

    /// The same, where there are some: most connections come and go while there are none.
    #[inline(never)]
    fn complete(&mut self, key: Key, end: &mut End) -> Option<Name> {
        let entry = self.entries.get_mut(&key)?;
        end.by.clone_from(&entry.by);
        if entry.posted {
            entry.end = Some(Box::new(end.clone()));
            return entry.lost.clone();
        }
        self.entries.swap_remove(&key)?.lost
    }

    /// Where a connection came from that has closed, for as long as its record is kept.
    pub(in crate::reactor) fn keep_origin(&mut self, key: Key, origin: Option<Box<Origin>>) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.origin = origin;
        }
    }

    /// A connection is being ended on behalf of another.
    pub(in crate::reactor) fn begin(&mut self, key: Key, by: Arc<By>) {
        self.entries.entry(key).or_default().by = Some(by);
    }

    /// A newer connection has taken an identity from this one, and that waits to be acted upon.
    pub(in crate::reactor) fn post(&mut self, key: Key, id: Name) {
        let entry = self.entries.entry(key).or_default();
        (entry.lost, entry.posted) = (Some(id), true);
    }

    /// It has taken another one since, and goes on.
    pub(in crate::reactor) fn forgive(&mut self, key: Key) {
        let entry = self.entries.entry(key).or_default();
        (entry.lost, entry.posted) = (None, false);
    }

    /// That the identity was taken is acted upon.
    pub(in crate::reactor) fn take_posted(&mut self, key: Key, is_gone: bool) -> Taken {
        let entry = self.entries.entry(key).or_default();
        entry.posted = false;
        let closed = entry.end.take().map(|end| (end, entry.origin.take()));
        let taken = Taken { closed, by: entry.by.clone() };
        if is_gone {
            self.entries.swap_remove(&key);
        }
        taken
    }

    /// For tests: how many are kept here for nothing, with `is_gone` for those that are closed.
    pub(in crate::reactor) fn forgotten(&self, is_gone: impl Fn(Key) -> bool) -> usize {
        self.entries.iter().filter(|(key, entry)| is_gone(**key) && !entry.posted).count()
    }
}
