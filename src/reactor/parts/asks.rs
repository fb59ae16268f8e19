//! Clients of a worker that ask about the clients of all: they have a place in one of two lines, for short answers and for
//! lists, so that neither fills the memory of this worker or of the supervisor; others wait for a place in their order.

use crate::core::table::Key;
use crate::core::time::Instant;
use indexmap::IndexMap;
use std::collections::VecDeque;

/// Places: for short answers, and for lists, each of which is held until it is whole.
const PLACES: [usize; 2] = [1024, 8];

/// Who asks, of one worker.
#[derive(Default)]
pub(in crate::reactor) struct Asks {
    last: u64,
    /// By the number of the query.
    open: IndexMap<u64, Asked>,
    /// Places that are taken, and connections that wait for one, by line.
    taken: [usize; 2],
    waiting: [VecDeque<Key>; 2],
}

/// A connection that has asked.
struct Asked {
    key: Key,
    line: usize,
    deadline: Instant,
}

impl Asks {
    /// Takes a place, and gives the number of the query; or the connection waits for one.
    pub(in crate::reactor) fn open(&mut self, key: Key, line: usize, deadline: Instant) -> Option<u64> {
        if self.taken[line] == PLACES[line] {
            self.waiting[line].push_back(key);
            return None;
        }
        self.taken[line] += 1;
        self.last += 1;
        self.open.insert(self.last, Asked { key, line, deadline });
        Some(self.last)
    }

    /// Who has asked under that number.
    pub(in crate::reactor) fn asker(&self, number: u64) -> Option<Key> {
        self.open.get(&number).map(|asked| asked.key)
    }

    /// The next page is waited for until then.
    pub(in crate::reactor) fn put_off(&mut self, number: u64, deadline: Instant) {
        if let Some(asked) = self.open.get_mut(&number) {
            asked.deadline = deadline;
        }
    }

    /// Those that are out of time, each with the number of its query.
    pub(in crate::reactor) fn late(&self, now: Instant) -> Vec<(u64, Key)> {
        let late = self.open.iter().filter(|(_, asked)| asked.deadline <= now);
        late.map(|(number, asked)| (*number, asked.key)).collect()
    }

    /// Gives a place up. Gives its line.
    pub(in crate::reactor) fn close(&mut self, number: u64) -> Option<usize> {
        let line = self.open.swap_remove(&number)?.line;
        self.taken[line] -= 1;
        Some(line)
    }

    /// The next that waits for a place in a line; it may be gone.
    pub(in crate::reactor) fn next_waiting(&mut self, line: usize) -> Option<Key> {
        self.waiting[line].pop_front()
    }

    /// When the next runs out of time.
    pub(in crate::reactor) fn next(&self) -> Instant {
        self.open.values().map(|asked| asked.deadline).min().unwrap_or(Instant::NEVER)
    }
}
