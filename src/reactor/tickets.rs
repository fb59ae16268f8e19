//! The keys of session tickets in one process: its own, which it rotates itself, or those that its supervisor hands out. They
//! outlive a reload, and certificates that it changes; a ticket is bound to its listener's ([`tls`](crate::tls)).

use super::context::Context;
use crate::net::Kernel;
use crate::tls::TicketKeys;

impl<K: Kernel> Context<K> {
    /// Gives all listeners the keys. Where some speak TLS and there are none yet, they are drawn here, unless a supervisor
    /// will say them.
    pub(super) fn hand_out_tickets(&mut self) {
        let speaks_tls = self.listeners.iter().any(|slot| !slot.transport.is_plain());
        if speaks_tls && self.link.is_none() && self.tickets.begin(self.now) {
            self.timers.rotate_tickets_at(self.tickets.next());
        }
        let Some(keys) = self.tickets.keys() else { return };
        for slot in &self.listeners {
            slot.transport.use_ticket_keys(keys);
        }
    }

    /// Rotates the keys of its own.
    pub(super) fn rotate_tickets(&mut self) {
        self.tickets.rotate(self.now);
        self.timers.rotate_tickets_at(self.tickets.next());
        self.hand_out_tickets();
    }

    /// Takes those of a supervisor, which rotates them.
    pub(super) fn take_ticket_keys(&mut self, keys: Option<TicketKeys>) {
        self.tickets.adopt(keys);
        self.timers.rotate_tickets_at(self.tickets.next());
        self.hand_out_tickets();
    }
}
