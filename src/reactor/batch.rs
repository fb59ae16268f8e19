//! Batches: one receive from each of several legs, and only then what they have brought is sent on. The kernel's code for a
//! receive and its code for a send do not fit into the L1 and L2 caches of a processor together: done alternately, each evicts
//! the other.
//!
//! In a batch are receives of legs at rest of which the poller reports nothing but input, and which that receive has emptied.
//! Whatever else is done follows behind the batch. So everything happens in the order in which the poller reports it, but for
//! the receives themselves.

use super::connection::Reading;
use super::parts::batch::Chunk;
use super::{RECEIVE_BYTES_MAX, Reactor};
use crate::core::table::Key;
use crate::net::{Kernel, SocketError};
use crate::transport::{self, Received};

impl<K: Kernel> Reactor<K> {
    /// Receives once from a leg at rest. What that brings is sent on with the batch; anything but bytes takes effect behind it.
    /// Compiled into the turn, it would make the edges of all other connections dearer.
    #[inline(never)]
    pub(super) fn receive_in_batch(&mut self, key: Key) {
        let Some(conn) = self.table.get_mut(key) else { return };
        conn.reading = Reading::Ready;
        let window = self.cx.receive_window();
        let room = &mut self.read_buffer.room::<RECEIVE_BYTES_MAX>(self.batch.end())[..window];
        // No layer: it has no buffers.
        match transport::recv(&mut conn.stream, room) {
            Received::Bytes { count, wire, short } => {
                self.cx.on_bytes(key, conn, wire, short);
                let has_more = conn.reading.pending();
                self.batch.add(key, count);
                if has_more {
                    self.send_batch();
                    let budget = self.cx.settings.turn.read_bytes;
                    self.read_within(key, budget.saturating_sub(count));
                    self.settle();
                } else if !self.batch.has_room() {
                    self.send_batch();
                }
            }
            Received::Failed(fault) if fault != SocketError::Memory => {
                self.send_batch();
                if let Some(conn) = self.table.get_mut(key) {
                    self.cx.on_receive_failed(key, conn, fault);
                }
                self.settle();
            }
            Received::WouldBlock => conn.reading = Reading::Drained,
            // The kernel says it again, behind the batch.
            Received::Eof | Received::Interrupted | Received::Failed(_) => {
                self.send_batch();
                self.read(key);
                self.settle();
            }
        }
    }

    /// Sends on what the batch has, and does what follows from that. What is done next has a share of work of its own.
    #[inline]
    pub(super) fn send_batch(&mut self) {
        if !self.batch.is_empty() {
            self.send_chunks();
            // After all sends: it may remove a connection that another chunk of the batch comes from or goes to.
            self.settle();
            self.cx.work.begin_serving();
        }
    }

    #[inline(never)]
    fn send_chunks(&mut self) {
        let buffer = std::mem::take(&mut self.read_buffer);
        let chunks = self.batch.take();
        for Chunk { from, bytes } in &chunks {
            self.relay(*from, &buffer[bytes.clone()]);
        }
        self.batch.put_back(chunks);
        self.read_buffer = buffer;
    }

    /// Sends on what one receive from a leg has brought, without a batch.
    #[inline(never)]
    pub(super) fn send_alone(&mut self, from: Key, count: usize) {
        debug_assert!(self.batch.is_empty(), "its bytes are at the beginning of the read buffer");
        let buffer = std::mem::take(&mut self.read_buffer);
        self.relay(from, &buffer[..count]);
        self.read_buffer = buffer;
    }
}
