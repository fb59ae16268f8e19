//! Batches: all that several legs have sent is received before any of it is sent on. What the kernel does for a receive and what
//! it does for a send do not fit into the nearest caches of a processor together: in turns, each drives the other out.
//!
//! In a batch are bytes of legs at rest, of which the poller reports nothing but input. Whatever else it reports is looked at
//! behind the batch: everything happens in the order in which it is reported, but for these receives, which are earlier.

use super::Reactor;
use super::connection::Reading;
use crate::core::end::Leg;
use crate::core::table::Key;
use crate::net::Kernel;
use std::ops::Range;

/// Messages in a batch at most: the first is to wait for microseconds only.
pub(super) const MESSAGES_MAX: usize = 16;
/// Bytes of a batch behind which it has no room for another message.
pub(super) const BYTES_MAX: usize = 16 * 1024;
/// Each message begins with a cache line.
const ALIGNMENT: usize = 64;

/// What has been received and is to be sent on, in that order. Its bytes are in the read buffer.
pub(super) struct Batch {
    messages: Vec<Message>,
    /// Where the next message begins.
    end: usize,
}

/// What one receive of a leg has brought.
struct Message {
    from: Key,
    leg: Leg,
    /// Whether it goes to the partner: otherwise it is counted as lost.
    is_wanted: bool,
    bytes: Range<usize>,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self { messages: Vec::with_capacity(MESSAGES_MAX), end: 0 }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    fn add(&mut self, from: Key, leg: Leg, is_wanted: bool, count: usize) {
        let end = self.end + count;
        self.messages.push(Message { from, leg, is_wanted, bytes: self.end..end });
        self.end = end.next_multiple_of(ALIGNMENT);
    }

    fn has_room(&self) -> bool {
        self.messages.len() < MESSAGES_MAX && self.end < BYTES_MAX
    }
}

impl<K: Kernel> Reactor<K> {
    /// Receives what a leg at rest has sent. It is sent on with the rest of the batch.
    pub(super) fn receive_in_batch(&mut self, key: Key) {
        let Some(conn) = self.table.get_mut(key) else { return };
        let Some(leg) = conn.leg else { return };
        conn.reading = Reading::Ready;
        let mut budget = self.cx.settings.turn.read_bytes;
        let received = self.cx.read(key, conn, self.read_buffer.room(self.batch.end), &mut budget);
        let Some(count) = received else {
            self.send_batch();
            return self.settle();
        };
        let goes_on = conn.reading.pending();
        self.batch.add(key, leg, true, count);
        if goes_on || !self.batch.has_room() {
            self.send_batch();
        }
        if goes_on {
            self.read(key);
            self.settle();
        }
    }

    /// Sends what has been received in the batch, and does what follows from that.
    #[inline]
    pub(super) fn send_batch(&mut self) {
        if !self.batch.is_empty() {
            self.send_messages();
            // Only now: what one message leads to must not end those that another is from or for.
            self.settle();
        }
    }

    /// Sends on what has been received of a leg, on its own: the batch is empty.
    pub(super) fn send_at_once(&mut self, from: Key, leg: Leg, is_wanted: bool, count: usize) {
        self.batch.add(from, leg, is_wanted, count);
        self.send_messages();
    }

    #[inline(never)]
    fn send_messages(&mut self) {
        let buffer = std::mem::take(&mut self.read_buffer);
        let mut messages = std::mem::take(&mut self.batch.messages);
        for Message { from, leg, is_wanted, bytes } in messages.drain(..) {
            self.relay(from, leg, is_wanted, &buffer[bytes]);
        }
        self.batch = Batch { messages, end: 0 };
        self.read_buffer = buffer;
    }
}
