//! A look at everybody, for who holds most memory, in steps.

use crate::core::table::Key;
use crate::core::time::Instant;

/// How many are ended after one look at everybody, at most.
const ENDED_MAX: usize = 64;

/// The look.
#[derive(Debug)]
pub(in crate::reactor) struct Reclaim {
    /// Since when memory is short.
    pub(in crate::reactor) since: Instant,
    /// The next slot.
    pub(in crate::reactor) at: usize,
    /// Those who hold most so far, and before them those who take nothing.
    pub(in crate::reactor) most: Vec<(bool, usize, Key)>,
}

impl Reclaim {
    /// Keeps those who hold most.
    pub(in crate::reactor) fn note(&mut self, candidate: (bool, usize, Key)) {
        if self.most.len() < ENDED_MAX {
            return self.most.push(candidate);
        }
        let least = self.most.iter_mut().min().expect("it is full");
        if *least < candidate {
            *least = candidate;
        }
    }
}
