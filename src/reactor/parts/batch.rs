//! What was received of several legs and is yet to be sent on.

use crate::core::end::Leg;
use crate::core::table::Key;
use std::ops::Range;

/// Messages in a batch at most: the first is to wait for microseconds only.
pub(in crate::reactor) const MESSAGES_MAX: usize = 16;
/// Bytes of a batch behind which it has no room for another message.
pub(in crate::reactor) const BYTES_MAX: usize = 16 * 1024;
/// Each message begins with a cache line.
const ALIGNMENT: usize = 64;

/// Messages, in the order in which they are to be sent on. Their bytes are in the read buffer.
pub(in crate::reactor) struct Batch {
    messages: Vec<Message>,
    /// Where the next message begins.
    end: usize,
}

/// What one receive of a leg has brought.
pub(in crate::reactor) struct Message {
    pub(in crate::reactor) from: Key,
    pub(in crate::reactor) leg: Leg,
    /// Whether it goes to the partner: otherwise it is counted as lost.
    pub(in crate::reactor) is_wanted: bool,
    pub(in crate::reactor) bytes: Range<usize>,
}

impl Batch {
    pub(in crate::reactor) fn new() -> Self {
        Self { messages: Vec::with_capacity(MESSAGES_MAX), end: 0 }
    }

    pub(in crate::reactor) const fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(in crate::reactor) const fn has_room(&self) -> bool {
        self.messages.len() < MESSAGES_MAX && self.end < BYTES_MAX
    }

    /// Where the bytes of the next message are to begin.
    pub(in crate::reactor) const fn end(&self) -> usize {
        self.end
    }

    /// A message was received there.
    pub(in crate::reactor) fn add(&mut self, from: Key, leg: Leg, is_wanted: bool, count: usize) {
        let end = self.end + count;
        self.messages.push(Message { from, leg, is_wanted, bytes: self.end..end });
        self.end = end.next_multiple_of(ALIGNMENT);
    }

    /// All messages, which leaves none. Their memory is put back when they were sent.
    pub(in crate::reactor) fn take(&mut self) -> Vec<Message> {
        self.end = 0;
        std::mem::take(&mut self.messages)
    }

    pub(in crate::reactor) fn put_back(&mut self, messages: Vec<Message>) {
        self.messages = messages;
    }
}
