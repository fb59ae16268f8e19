//! The keys of session tickets: drawn here once for all workers, so that a client resumes its session at any of them, and
//! rotated here. A worker that is started anew gets those that the others have.

use super::Supervisor;
use crate::config::settings::Settings;
use crate::core::time::{Duration, Instant};
use crate::net::Supervising;
use crate::tls::{TICKET_SECONDS, TicketKeys};
use crate::workers::link::{Secret, ToWorker};

/// The keys, where something speaks TLS.
pub(super) struct Tickets {
    keys: Option<TicketKeys>,
    /// When they are rotated.
    rotate: Instant,
}

impl Tickets {
    pub(super) const fn new() -> Self {
        Self { keys: None, rotate: Instant::NEVER }
    }

    /// Draws the first key, if it is the first time that something speaks TLS. Whether it has.
    pub(super) fn begin(&mut self, settings: &Settings, now: Instant) -> bool {
        let begins = self.keys.is_none() && settings.listeners.iter().any(|listener| listener.tls.is_some());
        if begins {
            self.keys = Some(TicketKeys::draw());
            self.rotate = now + ROTATION;
        }
        begins
    }

    /// Rotates them if it is time. Whether it was.
    fn rotate(&mut self, now: Instant) -> bool {
        let Some(keys) = self.keys.as_mut().filter(|_| self.rotate <= now) else { return false };
        keys.rotate();
        self.rotate = now + ROTATION;
        true
    }

    /// When they are rotated next.
    pub(super) const fn next(&self) -> Instant {
        self.rotate
    }

    pub(super) const fn keys(&self) -> Option<&TicketKeys> {
        self.keys.as_ref()
    }

    /// For a worker; empty: there are none.
    pub(super) fn packed(&self) -> Secret<Vec<u8>> {
        Secret(self.keys.as_ref().map(TicketKeys::to_bytes).unwrap_or_default())
    }
}

const ROTATION: Duration = Duration::from_secs(TICKET_SECONDS as u64);

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
            worker.send(&ToWorker::Tickets { keys: self.tickets.packed() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, resolve_text};
    use crate::tls::tests::{house, read};

    #[test]
    fn keys_are_drawn_once_something_speaks_tls_and_rotated_when_their_time_has_come() {
        house();
        let settings = |url: &str| {
            let sources = Sources { listen: vec![url.to_owned()], ..Sources::default() };
            resolve_text(&sources, None, read).unwrap().settings
        };
        let start = Instant::from_millis(1000);
        let mut tickets = Tickets::new();
        assert!(!tickets.begin(&settings("echo://127.0.0.1:1"), start));
        assert_eq!((tickets.packed().0, tickets.next()), (Vec::new(), Instant::NEVER));
        let speaks = settings("echos://127.0.0.1:1?tls.certificate=server.pem");
        assert!(tickets.begin(&speaks, start));
        let first = tickets.packed().0;
        assert!(!tickets.begin(&speaks, start + ROTATION / 2), "a reload draws none");
        assert!(!tickets.rotate(start + ROTATION / 2));
        assert_eq!((&tickets.packed().0, tickets.next()), (&first, start + ROTATION));
        assert!(tickets.rotate(start + ROTATION));
        assert!(tickets.packed().0.ends_with(&first) && tickets.packed().0.len() > first.len());
        assert_eq!(tickets.next(), start + ROTATION * 2);
    }
}
