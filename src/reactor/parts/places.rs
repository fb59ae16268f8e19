//! How many connections there are, and may be.

use crate::config::settings::{ServerSettings, Settings};
use crate::protocol::admin::{PLACES, RESERVE};

/// Connections that the table has address space for from the start: about 120 MB of it.
const SLOTS_RESERVED_MAX: usize = 1 << 20;

/// Places, of the process.
#[derive(Debug)]
pub(in crate::reactor) struct Places {
    /// Client connections that the process has descriptors for.
    descriptors_max: u32,
    /// Descriptors that each client takes at least: two where all are relayed.
    per_client: u32,
    /// Most client connections at once that the settings allow.
    wanted: u32,
    /// Most client connections at once: as many as the settings allow, and as there are descriptors for.
    clients_max: u32,
    /// Connections of the admin interface that descriptors are set aside for.
    admin_max: u32,
    /// Client connections now; those of the admin interface are not counted.
    clients: u32,
    /// Descriptors that pairs have, or will have, for the connection to their upstream server.
    upstreams: u32,
    /// Connections that were let in only to be told that all places are taken.
    refused: u32,
    /// Descriptors that checks of upstream servers may take, beyond those that were set aside for them from the start.
    checks: u32,
    checks_set_aside: u32,
}

impl Places {
    /// `descriptors_max`: connections that there are descriptors for, beside `admin_max` of the admin interface.
    pub(in crate::reactor) fn new(settings: &Settings, descriptors_max: u32, admin_max: u32) -> Self {
        let mut clients = settings.listeners.iter().filter(|listener| listener.protocol.serves_clients());
        let all_relay = clients.all(|listener| listener.relay.is_some());
        let per_client = if all_relay { 2 } else { 1 };
        let mut places = Self {
            descriptors_max,
            per_client,
            wanted: wanted(&settings.server),
            clients_max: 0,
            admin_max,
            clients: 0,
            upstreams: 0,
            refused: 0,
            checks: 0,
            checks_set_aside: checks_max(settings),
        };
        places.limit();
        places
    }

    /// The settings have changed.
    pub(in crate::reactor) fn apply(&mut self, settings: &ServerSettings) {
        self.wanted = wanted(settings);
        self.limit();
    }

    /// So many servers may be checked, each by a connection of its own.
    pub(in crate::reactor) fn set_checks(&mut self, checked: usize) {
        self.checks = u32::try_from(checked).unwrap_or(u32::MAX).saturating_sub(self.checks_set_aside);
        self.limit();
    }

    /// Works out how many clients there may be, in advance: each newcomer is compared with that.
    fn limit(&mut self) {
        self.clients_max =
            self.wanted.min(self.descriptors_max.saturating_sub(self.checks) / self.per_client);
    }

    /// Slots that the table has room for from the start: growing later would copy it inside a turn. Pages that are never
    /// touched cost nothing; bounded, for where `RLIMIT_NOFILE` is as good as unlimited (2^30 in many containers) the
    /// kernel refuses so large a reservation.
    pub(in crate::reactor) fn slots(&self) -> usize {
        (self.descriptors_max as usize + self.admin_max as usize).min(SLOTS_RESERVED_MAX)
    }

    pub(in crate::reactor) const fn clients(&self) -> u32 {
        self.clients
    }

    /// Most client connections at once.
    pub(in crate::reactor) const fn clients_max(&self) -> u32 {
        self.clients_max
    }

    pub(in crate::reactor) const fn admin_max(&self) -> u32 {
        self.admin_max
    }

    /// Those that were let in only to be told that all places are taken.
    pub(in crate::reactor) const fn refused(&self) -> u32 {
        self.refused
    }

    /// Whether all places for clients are taken. `pair`: for one that is to be relayed, which takes two descriptors.
    pub(in crate::reactor) const fn is_full(&self, pair: bool) -> bool {
        let taken = self.clients + self.upstreams + self.checks;
        self.clients >= self.clients_max || taken + pair as u32 >= self.descriptors_max
    }

    /// A pair has begun: the descriptor of its upstream leg is kept for it until both legs are gone.
    pub(in crate::reactor) const fn add_upstream(&mut self) {
        self.upstreams += 1;
    }

    /// Pairs of which a leg is left.
    pub(in crate::reactor) const fn upstreams(&self) -> u32 {
        self.upstreams
    }

    /// A pair is gone.
    pub(in crate::reactor) const fn remove_upstream(&mut self) {
        self.upstreams -= 1;
    }

    /// A client has come.
    pub(in crate::reactor) const fn add_client(&mut self) {
        self.clients += 1;
    }

    /// A client has gone.
    pub(in crate::reactor) const fn remove_client(&mut self) {
        self.clients -= 1;
    }

    /// A connection was let in only to be told that all places are taken.
    pub(in crate::reactor) const fn add_refused(&mut self) {
        self.refused += 1;
    }

    /// Such a connection has gone.
    pub(in crate::reactor) const fn remove_refused(&mut self) {
        self.refused -= 1;
    }
}

/// Admin connections at once, beyond those of the clients: descriptors are set aside for them.
pub fn admin_connections_max(settings: &Settings) -> u32 {
    let admin = settings.listeners.iter().filter(|listener| !listener.protocol.serves_clients());
    admin.map(|listener| with_reserve(listener.connections_max)).sum()
}

fn wanted(settings: &ServerSettings) -> u32 {
    settings.connections_max.unwrap_or(u32::MAX)
}

/// Checks of upstream servers at once, as far as that is known before names are looked up, of which each address is a server:
/// descriptors are set aside for them.
pub fn checks_max(settings: &Settings) -> u32 {
    let checked = settings.upstreams.iter().filter(|upstream| upstream.is.check.is_on());
    checked.map(|upstream| u32::try_from(upstream.is.servers.len()).unwrap_or(u32::MAX)).sum()
}

/// Connections of an admin listener at most, those in reserve included.
pub(in crate::reactor) fn with_reserve(connections_max: Option<u32>) -> u32 {
    connections_max.unwrap_or(PLACES).saturating_add(RESERVE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, no_files, resolve_text};

    #[test]
    fn checks_beyond_those_that_were_foreseen_take_places_of_clients_whatever_the_settings_say_when() {
        let settings = |connections_max: &str| {
            let file = format!(
                "[server]\nmax_connections = {connections_max}\n[[listener]]\nprotocol = 'tcp'\naddress = '127.0.0.1:0'\n\
                 upstream = 'app.example:9'\ncheck.style = 'connect'"
            );
            let sources = Sources { file: None, listen: Vec::new(), overrides: Vec::new() };
            resolve_text(&sources, Some(("test", &file)), no_files).unwrap().settings
        };
        let mut places = Places::new(&settings("'auto'"), 100, 0);
        assert_eq!(places.clients_max(), 50, "each takes two descriptors, and one check was foreseen");
        places.set_checks(21);
        assert_eq!(places.clients_max(), 40);
        places.apply(&settings("45").server);
        assert_eq!(places.clients_max(), 40);
        places.set_checks(1);
        assert_eq!(places.clients_max(), 45);
    }
}
