//! The admin interface's connections: requests in, responses out, one at a time for each. Whoever asks waits for the
//! workers without holding up anybody else; the answer itself comes from `admin_fanout`.
//!
//! When all places are taken, the connection that has been idle for longest makes way, and where none is idle a few
//! places in reserve answer who asks whether the server is well: as in one process (`reactor/admin/places.rs`).

use super::client::Client;
pub(super) use super::client::Served;
use crate::config::settings::ListenerSettings;
use crate::core::time::{Duration, Instant};
use crate::net::{Accepted, Address, Fatal, Interest, Kernel, Listener, Token};
use crate::protocol::admin::{Door, PLACES, RESERVE};
use crate::protocol::http::Response;
use indexmap::IndexMap;

/// How long nothing may move on a connection unless the settings say another time. It is never off: nothing else ends a
/// client that does not take its answer.
const IDLE: Duration = Duration::from_secs(60);
/// How long a client that was refused may go on sending what it has begun to send, unless the settings say another time.
const LINGER: Duration = Duration::from_secs(5);
/// How long accepting rests when something ran out.
const RETRY: Duration = Duration::from_secs(1);

/// The name of a connection of the admin interface.
pub(super) type ClientId = u32;

/// The tokens of connections are above this.
pub(super) const CLIENTS: u64 = 2 << 32;

/// The connections.
pub(super) struct AdminServer<K: Kernel> {
    listener: Option<K::Listener>,
    settings: Option<ListenerSettings>,
    clients: IndexMap<ClientId, Client<K::Stream>>,
    last: ClientId,
    /// Somebody may wait in the accept queue.
    ready: bool,
    /// When to try again to accept.
    retry: Instant,
    accepted: u64,
    made_way: u64,
}

impl<K: Kernel> AdminServer<K> {
    /// Opens the admin interface, if there is one.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(super) fn open(
        kernel: &mut K,
        settings: Option<ListenerSettings>,
        token: Token,
    ) -> Result<Self, Fatal> {
        let listener =
            settings.as_ref().map(|settings| kernel.listen(&settings.listen_spec(), token)).transpose()?;
        let (clients, retry) = (IndexMap::new(), Instant::NEVER);
        Ok(Self { listener, settings, clients, last: 0, ready: true, retry, accepted: 0, made_way: 0 })
    }

    /// What it listens on.
    pub(super) fn address(&self) -> Option<(&ListenerSettings, &Address)> {
        self.settings.as_ref().zip(self.listener.as_ref().map(Listener::address))
    }

    /// Connections accepted, and those that made way for others.
    pub(super) const fn counted(&self) -> (u64, u64) {
        (self.accepted, self.made_way)
    }

    /// Takes what may change while it runs.
    pub(super) fn adopt(&mut self, new: Option<&ListenerSettings>) {
        if let (Some(own), Some(new)) = (&mut self.settings, new) {
            own.policy.clone_from(&new.policy);
            own.connections_max = new.connections_max;
            own.access.hosts.clone_from(&new.access.hosts);
            // A token that is gone leaves an address as it is: other hosts may be able to reach it.
            if new.token.is_some() || own.address == new.address {
                own.token.clone_from(&new.token);
            }
        }
    }

    pub(super) fn on_edge(&mut self) {
        self.ready = true;
    }

    /// When it is to be looked at, at the latest.
    pub(super) fn next(&self) -> Instant {
        let earliest = self.clients.values().map(|client| self.deadline(client)).min();
        earliest.unwrap_or(Instant::NEVER).min(self.retry)
    }

    /// When to close a connection on which nothing moves until then.
    fn deadline(&self, client: &Client<K::Stream>) -> Instant {
        let policy = self.settings.as_ref().map(|settings| &settings.policy);
        let idle = policy.and_then(|policy| policy.bounds.idle_timeout).unwrap_or(IDLE);
        let opening = policy.and_then(|policy| policy.bounds.handshake_timeout).unwrap_or(idle);
        client.deadline(opening, idle, policy.map_or(LINGER, |policy| policy.parting.linger))
    }

    /// Accepts whom there is room for. Gives those that have asked something while another was looked for that makes
    /// way: no edge tells of that any more.
    pub(super) fn accept(&mut self, kernel: &mut K, now: Instant) -> Vec<ClientId> {
        let mut asked = Vec::new();
        if self.retry <= now {
            (self.ready, self.retry) = (true, Instant::NEVER);
        }
        let own = self.settings.as_ref().and_then(|settings| settings.connections_max);
        let places = own.unwrap_or(PLACES) as usize;
        while self.ready {
            let Some(listener) = &mut self.listener else { return asked };
            if self.clients.len() >= places + RESERVE as usize {
                // One that comes after this look brings an edge of its own.
                if listener.queue().is_some_and(|queue| queue.length == 0) {
                    self.ready = false;
                    return asked;
                }
                if !self.end_longest_idle(None, &mut asked) {
                    return asked;
                }
                continue;
            }
            match listener.try_accept() {
                Accepted::Stream(stream, peer) => {
                    self.last = self.last.wrapping_add(1);
                    self.accepted += 1;
                    let token = Token(CLIENTS | u64::from(self.last));
                    // Where the kernel does not watch it, it is closed again.
                    if kernel.watch(&stream, token, Interest::ReadWrite).is_ok() {
                        self.clients.insert(self.last, Client::new(stream, peer, now));
                        let crowded = self.clients.len() > places;
                        if crowded && !self.end_longest_idle(Some(self.last), &mut asked) {
                            self.clients[&self.last].session.answer_once();
                        }
                    }
                }
                Accepted::WouldBlock => self.ready = false,
                Accepted::Interrupted | Accepted::Aborted(_) => {}
                Accepted::Exhausted(_) | Accepted::Failed(_) => {
                    (self.ready, self.retry) = (false, now + RETRY);
                }
            }
        }
        asked
    }

    /// Closes the connection that has been idle for longest, but not that of `newcomer`.
    fn end_longest_idle(&mut self, newcomer: Option<ClientId>, asked: &mut Vec<ClientId>) -> bool {
        loop {
            let others =
                self.clients.iter().filter(|(id, client)| Some(**id) != newcomer && client.is_idle());
            let others = others.filter(|(id, _)| !asked.contains(id));
            let Some((&id, _)) = others.min_by_key(|(_, client)| client.moved()) else { return false };
            if self.clients[&id].has_asked() {
                asked.push(id);
            } else {
                self.made_way += 1;
                self.close(id);
                return true;
            }
        }
    }

    /// Moves what can be moved on a connection. Gives its next request, if it has one now.
    pub(super) fn serve(&mut self, id: ClientId, now: Instant) -> Served {
        let Some(client) = self.clients.get_mut(&id) else { return Served::All };
        let door = self.settings.as_ref().map_or(Door::OPEN, ListenerSettings::door);
        let served = client.serve(door, now);
        if client.is_over() {
            self.close(id);
        }
        served
    }

    /// Where a connection comes from.
    pub(super) fn peer(&self, id: ClientId) -> String {
        self.clients.get(&id).map(|client| client.peer.to_string()).unwrap_or_default()
    }

    /// Answers the request of a connection, if it is still there. The caller serves it on.
    pub(super) fn answer(&mut self, id: ClientId, response: &Response<'_>) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.answer(response);
        }
    }

    /// Whether a connection takes more of its answer now; `None` if it is gone.
    pub(super) fn has_room(&self, id: ClientId) -> Option<bool> {
        self.clients.get(&id).map(Client::has_room)
    }

    /// Output that waits for a connection, in bytes.
    pub(super) fn pending_output(&self, id: ClientId) -> usize {
        self.clients.get(&id).map_or(0, Client::pending_output)
    }

    /// A piece of the answer to the request of a connection. The caller serves it on.
    pub(super) fn piece(&mut self, id: ClientId, piece: &str, done: bool) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.piece(piece, done);
        }
    }

    /// Closes those on which nothing has moved for too long.
    pub(super) fn expire(&mut self, now: Instant) {
        let is_late = |client: &Client<K::Stream>| self.deadline(client) <= now;
        let late: Vec<_> =
            self.clients.iter().filter(|(_, client)| is_late(client)).map(|(id, _)| *id).collect();
        for id in late {
            self.close(id);
        }
    }

    fn close(&mut self, id: ClientId) {
        if let Some(client) = self.clients.swap_remove(&id) {
            client.close();
        }
    }
}
