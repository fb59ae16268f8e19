//! Batches: all that several legs have sent is received before any of it is sent on. What the kernel does for a receive and what
//! it does for a send do not fit into the nearest caches of a processor together: in turns, each drives the other out.
//!
//! In a batch are bytes of legs at rest, of which the poller reports nothing but input. Whatever else it reports is looked at
//! behind the batch: everything happens in the order in which it is reported, but for these receives, which are earlier.

use super::Reactor;
use super::connection::Reading;
use super::parts::batch::Message;
use crate::core::end::Leg;
use crate::core::table::Key;
use crate::net::Kernel;

impl<K: Kernel> Reactor<K> {
    /// Receives what a leg at rest has sent. It is sent on with the rest of the batch.
    pub(super) fn receive_in_batch(&mut self, key: Key) {
        let Some(conn) = self.table.get_mut(key) else { return };
        let Some(leg) = conn.leg else { return };
        conn.reading = Reading::Ready;
        let mut budget = self.cx.settings.turn.read_bytes;
        let received = self.cx.read(key, conn, self.read_buffer.room(self.batch.end()), &mut budget);
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
        let mut messages = self.batch.take();
        for Message { from, leg, is_wanted, bytes } in messages.drain(..) {
            self.relay(from, leg, is_wanted, &buffer[bytes]);
        }
        self.batch.put_back(messages);
        self.read_buffer = buffer;
    }
}
