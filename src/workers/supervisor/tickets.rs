//! The keys of session tickets: drawn here once for all workers, so that a client resumes its session at any of them, and
//! rotated here. A worker that is started anew gets those that the others have.

use super::Supervisor;
use crate::config::settings::Settings;
use crate::core::time::Instant;
use crate::net::Supervising;
use crate::tls::{TicketKeys, TicketRotation};
use crate::workers::link::{Secret, ToWorker};

/// Draws the first key, if it is the first time that something speaks TLS. Whether it has.
pub(super) fn begin(tickets: &mut TicketRotation, settings: &Settings, now: Instant) -> bool {
    settings.listeners.iter().any(|listener| listener.tls.is_some()) && tickets.begin(now)
}

/// For a worker; empty: there are none.
pub(super) fn packed(tickets: &TicketRotation) -> Secret<Vec<u8>> {
    Secret(tickets.keys().map(TicketKeys::to_bytes).unwrap_or_default())
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
            worker.tell(&ToWorker::Tickets { keys: packed(&self.tickets) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, resolve_text};
    use crate::core::time::Duration;
    use crate::tls::TICKET_SECONDS;
    use crate::tls::tests::{house, read};

    const ROTATION: Duration = Duration::from_secs(TICKET_SECONDS as u64);

    #[test]
    fn keys_are_drawn_once_something_speaks_tls_and_rotated_when_their_time_has_come() {
        house();
        let settings = |url: &str| {
            let sources = Sources { listen: vec![url.to_owned()], ..Sources::default() };
            resolve_text(&sources, None, read).unwrap().settings
        };
        let start = Instant::from_millis(1000);
        let mut tickets = TicketRotation::NONE;
        assert!(!begin(&mut tickets, &settings("echo://127.0.0.1:1"), start));
        assert_eq!((packed(&tickets).0, tickets.next()), (Vec::new(), Instant::NEVER));
        let speaks = settings("echos://127.0.0.1:1?tls.certificate=server.pem");
        assert!(begin(&mut tickets, &speaks, start));
        let first = packed(&tickets).0;
        assert!(!begin(&mut tickets, &speaks, start + ROTATION / 2), "a reload draws none");
        assert!(!tickets.rotate(start + ROTATION / 2));
        assert_eq!((&packed(&tickets).0, tickets.next()), (&first, start + ROTATION));
        assert!(tickets.rotate(start + ROTATION));
        assert!(packed(&tickets).0.ends_with(&first) && packed(&tickets).0.len() > first.len());
        assert_eq!(tickets.next(), start + ROTATION * 2);
    }
}
