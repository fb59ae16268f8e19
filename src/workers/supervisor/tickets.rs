//! The keys of session tickets: drawn here once for all workers, so that a client resumes its session at any of them, and
//! rotated here. A worker that is started anew gets those that the others have.

use super::Supervisor;
use crate::config::settings::Settings;
use crate::core::secret::Secret;
use crate::core::time::Instant;
use crate::net::Supervising;
use crate::tls::{TicketKeys, Tickets};
use crate::workers::link::ToWorker;

/// Draws the first key, if it is the first time that something speaks TLS. Whether it has.
pub(super) fn begin(tickets: &mut Tickets, settings: &Settings, now: Instant) -> bool {
    settings.listeners.iter().any(|listener| listener.tls.is_some()) && tickets.begin(now)
}

/// For a worker; empty: there are none.
pub(super) fn packed(tickets: &Tickets) -> Secret<Vec<u8>> {
    tickets.keys().map(TicketKeys::to_bytes).unwrap_or_default()
}

impl<K: Supervising> Supervisor<K> {
    /// Rotates the keys if it is time.
    pub(super) fn rotate_tickets(&mut self) {
        if self.tickets.rotate(self.now) {
            self.hand_out_tickets();
        }
    }

    /// Tells everybody the keys.
    pub(super) fn hand_out_tickets(&mut self) {
        self.admin.use_ticket_keys(self.tickets.keys());
        for worker in &mut self.workers {
            worker.send(&ToWorker::Tickets { keys: packed(&self.tickets) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, resolve_text};
    use crate::tls::tests::{house, read};

    #[test]
    fn keys_are_drawn_once_something_speaks_tls() {
        house();
        let settings = |url: &str| {
            let sources = Sources { listen: vec![url.to_owned()], ..Sources::default() };
            resolve_text(&sources, None, read).unwrap().settings
        };
        let mut tickets = Tickets::none();
        assert!(!begin(&mut tickets, &settings("echo://127.0.0.1:1"), Instant::ZERO));
        assert!(packed(&tickets).is_empty());
        let speaks = settings("echos://127.0.0.1:1?tls.certificate=server.pem");
        assert!(begin(&mut tickets, &speaks, Instant::ZERO));
        assert_eq!(TicketKeys::from_bytes(&packed(&tickets)).as_ref(), tickets.keys());
        assert!(!begin(&mut tickets, &speaks, Instant::ZERO), "a reload draws none");
    }
}
