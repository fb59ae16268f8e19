//! The keys of session tickets in one process: its own, which it rotates itself, or those that its supervisor hands out. They
//! outlive a reload, and certificates that it changes; a ticket is bound to its listener's ([`tls`](crate::tls)).

use super::context::Context;
use super::parts::server_timers::ServerTimer;
use crate::net::Kernel;
use crate::tls::TicketKeys;

impl<K: Kernel> Context<K> {
    /// Gives all listeners the keys. Where some speak TLS and there are none yet, they are drawn here, unless a supervisor
    /// will say them.
    pub(super) fn hand_out_tickets(&mut self) {
        let speaks_tls = self.listeners.iter().any(|slot| !slot.transport.is_plain());
        if speaks_tls && !self.worker.has_others() {
            self.tickets.begin(self.now);
        }
        self.timers.arm(ServerTimer::Tickets, self.tickets.next());
        let Some(keys) = self.tickets.keys() else { return };
        for slot in &self.listeners {
            slot.transport.use_ticket_keys(keys);
        }
    }

    /// Rotates the keys of its own.
    pub(super) fn rotate_tickets(&mut self) {
        self.tickets.rotate(self.now);
        self.hand_out_tickets();
    }

    /// Takes those of a supervisor, which rotates them.
    pub(super) fn take_ticket_keys(&mut self, keys: Option<TicketKeys>) {
        self.tickets.take(keys);
        self.hand_out_tickets();
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene_tests::{ECHO, Scene};
    use crate::config::settings::ListenerSettings;
    use crate::core::time::Duration;
    use crate::tls::tests::{house, put, read, spec};
    use crate::transport::Transport;
    use std::sync::Arc;

    #[test]
    fn the_keys_of_session_tickets_are_rotated_every_six_hours() {
        const ROTATION: u64 = 6 * 3600;
        house();
        let mut scene = Scene::new();
        let keys = |scene: &Scene| scene.reactor.cx.tickets.keys().map(crate::tls::TicketKeys::to_bytes);
        scene.reactor.cx.hand_out_tickets();
        assert_eq!(keys(&scene), None, "nothing speaks TLS");
        let server = crate::tls::Server::load(&spec("server.pem"), &read).unwrap();
        scene.reactor.cx.listeners[ECHO].transport = Transport::Tls(server);
        scene.reactor.cx.hand_out_tickets();
        let first = keys(&scene).expect("something does");
        scene.pass(Duration::from_secs(ROTATION - 1));
        scene.reactor.cx.hand_out_tickets();
        assert_eq!(keys(&scene).as_ref(), Some(&first), "as after a reload");
        scene.pass(Duration::from_secs(2));
        let second = keys(&scene).unwrap();
        assert_eq!(second[second.len() - first.len()..], first[..], "the one before still opens tickets");
        scene.pass(Duration::from_secs(ROTATION));
        let third = keys(&scene).unwrap();
        assert!(third.len() == second.len() && !third.ends_with(&first));
    }

    #[test]
    fn certificates_that_are_read_again_unchanged_stay_in_use() {
        let (authority, _) = house();
        let load = || crate::tls::Server::load(&spec("server.pem"), &read).unwrap();
        let mut scene = Scene::new();
        let now = scene.reactor.cx.now;
        let slot = &mut scene.reactor.cx.listeners[ECHO];
        slot.settings.tls = Some(load());
        slot.transport = Transport::new(slot.settings.tls.as_ref());
        let in_use = |transport: &Transport| match transport {
            Transport::Tls(server) => Arc::clone(&server.config),
            Transport::Plain | Transport::Toy => panic!("it speaks TLS"),
        };
        let first = in_use(&slot.transport);
        let mut again = |is_same: bool| {
            let new = ListenerSettings { tls: Some(load()), ..slot.settings.clone() };
            slot.adopt(&new, now, &mut Vec::new());
            let (transport, settings) = (in_use(&slot.transport), slot.settings.tls.as_ref().unwrap());
            assert!(Arc::ptr_eq(&transport, &settings.config), "there is one");
            assert_eq!(Arc::ptr_eq(&transport, &first), is_same);
        };
        again(true);
        put("server.pem", &authority.sign("localhost").both());
        again(false);
    }
}
