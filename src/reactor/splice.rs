//! Bulk: what a leg sends goes to its partner within the kernel, window by window, while nothing but bytes is expected of
//! either side.
//!
//! A leg is in bulk from when a receive has brought much ([`Kernel::BULK_BYTES`]) and its partner has taken all of it, until a
//! window brings little. Splicing only moves bytes. What ends a direction, such as a FIN, a reset or an urgent byte, is told by
//! a receive: one follows behind every window that was not full. What the partner has no room for is copied, and waits as it
//! always does.

use super::connection::{Flags, Reading};
use super::context::{Conn, Context};
use super::work::cost;
use super::{RECEIVE_BYTES_MAX, Reactor};
use crate::core::table::Key;
use crate::net::{Kernel, Received, Sent, SocketError};

impl<K: Kernel> Reactor<K> {
    /// A leg has sent much, and its partner takes it: what follows need not be copied, unless a layer has to decode it.
    pub(super) fn begin_bulk(&mut self, key: Key) {
        if let Some(conn) = self.table.get_mut(key)
            && conn.layer().is_none()
        {
            conn.flags.set(Flags::BULK);
        }
    }

    /// Moves what a leg sends to its partner, as long as windows are full, within the budget.
    #[inline(never)]
    pub(super) fn splice(&mut self, key: Key, budget: &mut usize) {
        while *budget > 0 && !self.cx.work.is_over() && self.splice_window(key, budget) {}
    }

    /// Moves one window. Whether it was full.
    fn splice_window(&mut self, key: Key, budget: &mut usize) -> bool {
        // Not where an urgent byte, a FIN or a reset is known to be behind it.
        let is_plain =
            |conn: &&Conn<K>| conn.reading == Reading::Ready && conn.may_be_read() && conn.takes_more();
        let Some(from) = self.table.get(key).filter(is_plain) else { return false };
        let partner = self.cx.gateway.pairs.of(key).and_then(|pair| pair.leg(from.leg?.other()));
        let to = partner.and_then(|partner| self.table.get(partner));
        let (Some(partner), Some(to)) = (partner, to.filter(|conn| conn.takes_more() && conn.takes_output()))
        else {
            return false;
        };
        let spliced =
            self.cx.kernel.splice(&from.stream, &to.stream, self.read_buffer.room::<RECEIVE_BYTES_MAX>(0));
        let (received, sent) = spliced.counts();
        self.cx.work.charge(match received {
            0 => cost::CALL,
            count => cost::RECEIVE + cost::SEND + cost::spliced(count),
        });
        let Some(conn) = self.table.get_mut(key) else { return false };
        match spliced.received {
            Received::Bytes(_) => self.cx.on_received(key, conn, received, false),
            Received::Failed(fault) if fault != SocketError::Memory => {
                self.cx.on_receive_failed(key, conn, fault);
                return false;
            }
            Received::Eof | Received::WouldBlock | Received::Interrupted | Received::Failed(_) => {
                return false;
            }
        }
        if received < K::BULK_BYTES / 4 {
            conn.flags.clear(Flags::BULK);
        }
        *budget = budget.saturating_sub(received);
        self.cx.gateway.note_moved(key, self.cx.now);
        if let Some(conn) = self.table.get_mut(partner) {
            self.cx.on_spliced(partner, conn, spliced.sent, &self.read_buffer[..received - sent]);
            if conn.pending_output() > 0
                && let Some(conn) = self.table.get_mut(key)
            {
                self.cx.await_partner(key, conn);
            }
        }
        received == RECEIVE_BYTES_MAX
    }
}

impl<K: Kernel> Context<K> {
    /// The kernel was given a window for a connection, and had no room for `rest`.
    fn on_spliced(&mut self, key: Key, conn: &mut Conn<K>, outcome: Sent, rest: &[u8]) {
        if let Sent::Bytes(count) = outcome {
            self.count_sent(conn, count);
            self.observer.counters.listeners[usize::from(conn.listener)].spliced(count);
        } else if !self.on_refused(key, conn, outcome, rest.len()) {
            return;
        }
        if !rest.is_empty() {
            self.keep_rest(key, conn, rest);
        }
    }
}
