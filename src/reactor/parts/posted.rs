//! Queues of connections that go on in a later step or turn. A flag of the connection says that it is in one, so that it is
//! there once.

use crate::core::table::Key;
use crate::reactor::connection::{Connection, Flags};
use std::collections::VecDeque;

/// The queues.
#[derive(Debug, Default)]
pub(in crate::reactor) struct Posted {
    /// Connections with input or frames left over when their budget ran out, or whose pause is over.
    resume: VecDeque<Key>,
    /// Connections that were given output by others.
    flush: VecDeque<Key>,
}

impl Posted {
    /// Lets a connection go on with what it has left over.
    pub(in crate::reactor) fn resume<S>(&mut self, key: Key, conn: &mut Connection<S>) {
        if conn.flags.set(Flags::TO_RESUME) {
            self.resume.push_back(key);
        }
    }

    /// Lets what a connection was given be sent.
    pub(in crate::reactor) fn flush<S>(&mut self, key: Key, conn: &mut Connection<S>) {
        if conn.flags.set(Flags::TO_FLUSH) {
            self.flush.push_back(key);
        }
    }

    /// The next that goes on; it may be gone.
    pub(in crate::reactor) fn next_to_resume(&mut self) -> Option<Key> {
        self.resume.pop_front()
    }

    /// The next whose output is sent; it may be gone.
    pub(in crate::reactor) fn next_to_flush(&mut self) -> Option<Key> {
        self.flush.pop_front()
    }

    /// Those that go on.
    pub(in crate::reactor) const fn to_resume(&self) -> &VecDeque<Key> {
        &self.resume
    }

    /// How many wait.
    pub(in crate::reactor) fn len(&self) -> usize {
        self.resume.len() + self.flush.len()
    }
}
