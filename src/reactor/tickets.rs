//! The keys of session tickets in one process: its own, which it rotates itself, or those that its supervisor hands out. They
//! outlive a reload, and certificates that it changes; a ticket is bound to its listener's ([`tls`](crate::tls)).

use super::context::Context;
use super::parts::server_timers::ServerTimer;
use crate::core::time::{Duration, Instant};
use crate::net::Kernel;
use crate::tls::{TICKET_SECONDS, TicketKeys};

const ROTATION: Duration = Duration::from_secs(TICKET_SECONDS as u64);

impl<K: Kernel> Context<K> {
    /// Gives all listeners the keys. Where some speak TLS and there are none yet, they are drawn here, unless a supervisor
    /// will say them.
    pub(super) fn hand_out_tickets(&mut self) {
        let speaks_tls = self.listeners.iter().any(|slot| !slot.transport.is_plain());
        if speaks_tls && self.tickets.is_none() && self.link.is_none() {
            self.tickets = Some(TicketKeys::draw());
            self.timers.arm(ServerTimer::Tickets, self.now + ROTATION);
        }
        let Some(keys) = &self.tickets else { return };
        for slot in &self.listeners {
            slot.transport.use_ticket_keys(keys);
        }
    }

    /// Rotates the keys of its own.
    pub(super) fn rotate_tickets(&mut self) {
        if let Some(keys) = &mut self.tickets {
            keys.rotate();
            self.timers.arm(ServerTimer::Tickets, self.now + ROTATION);
        }
        self.hand_out_tickets();
    }

    /// Takes those of a supervisor, which rotates them.
    pub(super) fn take_ticket_keys(&mut self, keys: Option<TicketKeys>) {
        self.timers.arm(ServerTimer::Tickets, Instant::NEVER);
        self.tickets = keys;
        self.hand_out_tickets();
    }
}
