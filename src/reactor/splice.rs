//! Bulk: what a leg sends goes to its partner within the kernel, window by window, while nothing but bytes is expected of
//! either side.
//!
//! A leg is in bulk from when a receive has brought much ([`Kernel::BULK_BYTES`]) and its partner has taken all of it, until a window brings
//! little. Splicing only moves bytes. What ends a direction, such as a FIN, a reset or an urgent byte, is told by a receive:
//! one follows behind every window that was not full. What the partner has no room for is copied, and waits as it always does.

use super::connection::Flags;
use super::context::{Conn, Context};
use super::io::Share;
use super::work::cost;
use super::{READ_BUFFER_BYTES, Reactor};
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

    /// Moves one window from a leg to its partner.
    #[inline(never)]
    pub(super) fn splice(&mut self, key: Key, share: &mut Share) {
        share.may_splice = false;
        let Some(from) = self.table.get(key).filter(|conn| conn.takes_more()) else { return };
        let partner = self.cx.pairs.of(key).and_then(|pair| pair.leg(from.leg?.other()));
        let to = partner.and_then(|partner| self.table.get(partner));
        let (Some(partner), Some(to)) = (partner, to.filter(|conn| conn.takes_more() && conn.takes_output()))
        else {
            return;
        };
        let spliced = self.cx.kernel.splice(&from.stream, &to.stream, self.read_buffer.room());
        let (received, sent) = spliced.counts();
        self.cx.work.charge(cost::RECEIVE + cost::SEND + cost::spliced(received));
        let Some(conn) = self.table.get_mut(key) else { return };
        match spliced.received {
            Received::Bytes(_) => self.cx.on_received(key, conn, received, false),
            Received::Failed(fault) if fault != SocketError::Memory => {
                return self.cx.on_receive_failed(key, conn, fault);
            }
            Received::Eof | Received::WouldBlock | Received::Interrupted | Received::Failed(_) => return,
        }
        if received < K::BULK_BYTES / 4 {
            conn.flags.clear(Flags::BULK);
        }
        share.bytes = share.bytes.saturating_sub(received);
        share.may_splice = received == READ_BUFFER_BYTES;
        self.cx.note_moved(key);
        if let Some(conn) = self.table.get_mut(partner) {
            self.cx.on_spliced(partner, conn, spliced.sent, &self.read_buffer[..received - sent]);
            if conn.pending_output() > 0
                && let Some(conn) = self.table.get_mut(key)
            {
                self.cx.await_partner(key, conn);
            }
        }
    }
}

impl<K: Kernel> Context<K> {
    /// The kernel was given a window for a connection, and had no room for `rest`.
    fn on_spliced(&mut self, key: Key, conn: &mut Conn<K>, outcome: Sent, rest: &[u8]) {
        if let Sent::Bytes(count) = outcome {
            self.on_sent(conn, count);
            self.observer.counters.listeners[usize::from(conn.listener)].spliced(count);
        } else if self.on_offered(key, conn, outcome).is_none() {
            return;
        }
        self.keep_rest(key, conn, rest);
    }
}
