//! The admin interface's connections: requests in, responses out, one at a time for each. A client waits for
//! the workers without holding up anybody else; the answer itself comes from `admin_fanout`.
//!
//! When all places are taken, the connection that has been idle for longest makes way, and where none is idle a few
//! places in reserve answer who asks whether the server is well: as in one process (`reactor/admin/places.rs`).

pub(super) use super::client::Served;
use super::client::{Client, LayerNews};
use crate::config::settings::{ListenerSettings, Overload};
use crate::core::admission::Admission;
use crate::core::end::Reason;
use crate::core::proxied::Origin;
use crate::core::time::{Duration, Instant};
use crate::net::{Accepted, Address, CloseHow, Fatal, Interest, Kernel, Listener, Peer, Stream, Token};
use crate::observe::report::Report;
use crate::protocol::admin::{Door, PLACES, RESERVE};
use crate::protocol::http::Response;
use crate::tls::{self, Expiry, TicketKeys};
use crate::transport::Transport;
use indexmap::IndexMap;

/// How long nothing may move on a connection unless the settings say another time. It is never off: nothing else ends a
/// client that does not take its answer.
const IDLE: Duration = Duration::from_secs(60);
/// How long a client that was refused may go on sending what it has begun to send, unless the settings say another time.
const LINGER: Duration = Duration::from_secs(5);
/// How long accepting rests when something ran out.
const RETRY: Duration = Duration::from_secs(1);

/// Lines about connections that were refused, in a second.
const REFUSALS_PER_SECOND: u32 = 10;

/// The name of a connection of the admin interface.
pub(super) type ClientId = u32;

/// The tokens of connections are above this.
pub(super) const CLIENTS: u64 = 2 << 32;

/// What was counted of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Counted {
    pub(super) accepted: u64,
    /// Those that made way for others.
    pub(super) made_way: u64,
    /// Handshakes of TLS that were finished: full ones, and those that resumed a session.
    pub(super) handshakes: [u64; 2],
}

/// The connections.
pub(super) struct AdminServer<K: Kernel> {
    listener: Option<K::Listener>,
    settings: Option<ListenerSettings>,
    /// What is remembered of those who came. None: nothing limits them.
    admission: Option<Box<Admission>>,
    clients: IndexMap<ClientId, Client<K::Stream>>,
    last: ClientId,
    /// Somebody may wait in the accept queue.
    ready: bool,
    /// When to try again to accept.
    retry: Instant,
    counted: Counted,
    report: Report,
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
        now: Instant,
    ) -> Result<Self, Fatal> {
        let listener =
            settings.as_ref().map(|settings| kernel.listen(&settings.listen_spec(), token)).transpose()?;
        let (clients, retry) = (IndexMap::new(), Instant::NEVER);
        let admission = settings.as_ref().and_then(|settings| Admission::new(&settings.limits, now));
        let (last, ready, counted) = (0, true, Counted::default());
        let report = Report::new(REFUSALS_PER_SECOND);
        Ok(Self { listener, settings, admission, clients, last, ready, retry, counted, report })
    }

    /// What it listens on.
    pub(super) fn address(&self) -> Option<(&ListenerSettings, &Address)> {
        self.settings.as_ref().zip(self.listener.as_ref().map(Listener::address))
    }

    pub(super) const fn counted(&self) -> Counted {
        self.counted
    }

    /// Its name, and when its certificates expire.
    pub(super) fn expiries(&self) -> (&str, &[Expiry]) {
        let Some(settings) = &self.settings else { return ("", &[]) };
        (&settings.name, settings.tls.as_ref().map_or(&[], tls::Server::expiries))
    }

    /// Takes what may change while it runs.
    pub(super) fn adopt(&mut self, new: Option<&ListenerSettings>, now: Instant) {
        if let (Some(own), Some(new)) = (&mut self.settings, new) {
            Admission::adopt(&mut self.admission, &own.limits, &new.limits, now);
            own.limits.clone_from(&new.limits);
            own.accept_proxy.clone_from(&new.accept_proxy);
            own.policy.clone_from(&new.policy);
            own.connections_max = new.connections_max;
            // What protects an address that is moved stays with it until a restart.
            if own.address == new.address || own.tls.is_none() {
                tls::adopt(&mut own.tls, new.tls.as_ref());
            }
            own.access.hosts.clone_from(&new.access.hosts);
            // A token that is gone leaves an address as it is: other hosts may be able to reach it.
            if new.token.is_some() || own.address == new.address {
                own.token.clone_from(&new.token);
            }
        }
    }

    /// Lets sessions of TLS be resumed by tickets with these keys from now on.
    pub(super) fn use_ticket_keys(&self, keys: Option<&TicketKeys>) {
        let tls = self.settings.as_ref().and_then(|settings| settings.tls.as_ref());
        if let (Some(tls), Some(keys)) = (tls, keys) {
            tls.use_ticket_keys(keys);
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
        client
            .deadline(opening, idle, policy.map_or(LINGER, |policy| policy.closing.linger))
            .min(self.ages(client))
    }

    /// When a connection is as old as it may become.
    fn ages(&self, client: &Client<K::Stream>) -> Instant {
        let max = self.settings.as_ref().and_then(|settings| settings.policy.bounds.max_age);
        max.map_or(Instant::NEVER, |max| client.ages(max))
    }

    /// Why a newcomer is reset; `None`: it is not.
    fn why_not(&mut self, peer: &Peer, now: Instant) -> Option<Reason> {
        let settings = self.settings.as_ref()?;
        let from = match &settings.accept_proxy {
            Some(proxy) if !proxy.trusts(peer) => return Some(Reason::ProtocolProxyUntrusted),
            Some(_) => None,
            None => peer.address().map(|address| address.ip()),
        };
        self.admission.as_deref_mut()?.admit(&settings.limits, from, now).err()
    }

    /// A connection is let in: counted for its source, unless a header is to say first whose it is.
    fn enter(&mut self, client: Client<K::Stream>, now: Instant) -> Client<K::Stream> {
        let proxy = self.settings.as_ref().and_then(|settings| settings.accept_proxy.as_ref());
        if let Some(proxy) = proxy {
            return client.awaiting_header(now + proxy.timeout);
        }
        if let (Some(admission), Some(address)) = (&mut self.admission, client.peer.address()) {
            admission.enter(address.ip(), client.accepted());
        }
        client
    }

    /// Reads the header of a connection, which says whose it is. Whether it can be served.
    fn open_by_header(&mut self, id: ClientId, now: Instant) -> bool {
        let (Some(client), Some(settings)) = (self.clients.get_mut(&id), &self.settings) else {
            return false;
        };
        let header = match client.read_header() {
            Ok(Some(header)) => header,
            Ok(None) => {
                if client.is_over() {
                    self.close(id, now);
                }
                return false;
            }
            Err(reason) => {
                self.refuse(id, reason, now);
                return false;
            }
        };
        client.peer = header.client.unwrap_or(client.peer);
        let ip = client.peer.address().map(|address| address.ip());
        if let (Some(admission), Some(ip)) = (self.admission.as_deref_mut(), ip) {
            // What is the proxy's own was judged with the proxy.
            let is_own = header.says.origin == Origin::Local;
            if let Some(reason) =
                (!is_own).then(|| admission.judge(&settings.limits, ip, now).err()).flatten()
            {
                self.refuse(id, reason, now);
                return false;
            }
            admission.enter(ip, client.accepted());
        }
        client.take_header(header.says.header_bytes);
        true
    }

    /// Resets a connection that is not let in.
    fn refuse(&mut self, id: ClientId, reason: Reason, now: Instant) {
        if let Some(client) = self.clients.swap_remove(&id) {
            self.report_refused(&client.peer, reason, now);
            client.reset();
        }
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
                if !self.end_longest_idle(None, &mut asked, now) {
                    return asked;
                }
                continue;
            }
            if let Some(at) = rate_limited_until(self.admission.as_deref(), self.settings.as_ref(), now) {
                (self.ready, self.retry) = (false, self.retry.min(at));
                return asked;
            }
            match listener.try_accept() {
                Accepted::Stream(stream, peer) => {
                    if let Some(reason) = self.why_not(&peer, now) {
                        self.report_refused(&peer, reason, now);
                        stream.close(CloseHow::Reset);
                        continue;
                    }
                    self.last = self.last.wrapping_add(1);
                    self.counted.accepted += 1;
                    let token = Token(CLIENTS | u64::from(self.last));
                    // Where the kernel does not watch it, it is closed again.
                    if kernel.watch(&stream, token, Interest::ReadWrite).is_ok() {
                        let tls = self.settings.as_ref().and_then(|settings| settings.tls.as_ref());
                        let layer = Transport::new(tls).accept();
                        let client = self.enter(Client::new(stream, layer, peer, now), now);
                        self.clients.insert(self.last, client);
                        let crowded = self.clients.len() > places;
                        if crowded && !self.end_longest_idle(Some(self.last), &mut asked, now) {
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
    fn end_longest_idle(
        &mut self,
        newcomer: Option<ClientId>,
        asked: &mut Vec<ClientId>,
        now: Instant,
    ) -> bool {
        loop {
            let others =
                self.clients.iter().filter(|(id, client)| Some(**id) != newcomer && client.is_idle());
            let others = others.filter(|(id, _)| !asked.contains(id));
            let Some((&id, _)) = others.min_by_key(|(_, client)| client.moved()) else { return false };
            if self.clients[&id].has_asked() {
                asked.push(id);
            } else {
                self.counted.made_way += 1;
                self.close(id, now);
                return true;
            }
        }
    }

    /// Moves what can be moved on a connection. Gives its next request, if it has one now.
    pub(super) fn serve(&mut self, id: ClientId, now: Instant) -> Served {
        let Some(client) = self.clients.get_mut(&id) else { return Served::All };
        if client.expects_header() && !self.open_by_header(id, now) {
            return Served::All;
        }
        let Some(client) = self.clients.get_mut(&id) else { return Served::All };
        let door = self.settings.as_ref().map_or(Door::OPEN, ListenerSettings::door);
        let served = client.serve(door, now);
        let (peer, news, is_over) = (client.peer, client.take_news(), client.is_over());
        match news {
            Some(LayerNews::Opened { is_resumed }) => self.counted.handshakes[usize::from(is_resumed)] += 1,
            Some(LayerNews::Broken(reason)) => self.report_refused(&peer, reason, now),
            None => {}
        }
        if is_over {
            self.close(id, now);
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
            self.close(id, now);
        }
    }

    fn report_refused(&mut self, peer: &Peer, reason: Reason, now: Instant) {
        let name = self.settings.as_ref().map_or("", |settings| &settings.name);
        self.report.refused(name, peer, reason, now);
    }

    fn close(&mut self, id: ClientId, now: Instant) {
        if let Some(client) = self.clients.swap_remove(&id) {
            if let (Some(admission), Some(address)) = (&mut self.admission, client.peer.address())
                && !client.expects_header()
            {
                admission.leave(address.ip(), client.accepted(), now);
            }
            client.close(now);
        }
    }
}

/// When the next newcomer may be accepted, where too many have come lately and the others are to wait.
fn rate_limited_until(
    admission: Option<&Admission>,
    settings: Option<&ListenerSettings>,
    now: Instant,
) -> Option<Instant> {
    let settings = settings.filter(|settings| settings.overload == Overload::Queue)?;
    admission?.rate_limited_until(&settings.limits, now)
}

#[cfg(test)]
mod tests {
    use super::super::admin_of;
    use super::*;
    use crate::config::{Override, Sources, resolve_text};
    use crate::tls::tests::{house, put, read};
    use crate::tools::sim::faults::Faults;
    use crate::tools::sim::kernel::{SimEnv, SimKernel};
    use crate::tools::sim::peer::ClientPool;
    use crate::tools::sim::rng::Rng;
    use crate::tools::sim::world::World;
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::sync::Arc;

    #[test]
    fn certificates_that_are_read_again_unchanged_stay_in_use() {
        let (authority, _) = house();
        let settings = || {
            let keys = [("admin.address", "127.0.0.1:1"), ("admin.tls.certificate", "server.pem")];
            let overrides = keys.map(|(key, value)| Override {
                flag: "--set".to_owned(),
                key: key.to_owned(),
                value: value.to_owned(),
            });
            let sources = Sources { overrides: overrides.to_vec(), ..Sources::default() };
            admin_of(&resolve_text(&sources, None, read).unwrap().settings).cloned()
        };
        let world = World::new(Faults::none(), &mut Rng::new(1));
        let env = Rc::new(RefCell::new(SimEnv::new(world, ClientPool::empty())));
        let mut kernel = SimKernel::new(env);
        let mut admin = AdminServer::open(&mut kernel, settings(), Token(0), Instant::ZERO).unwrap();
        let in_use = |admin: &AdminServer<SimKernel>| {
            Arc::clone(&admin.settings.as_ref().unwrap().tls.as_ref().unwrap().config)
        };
        let first = in_use(&admin);
        admin.adopt(settings().as_ref(), Instant::ZERO);
        assert!(Arc::ptr_eq(&in_use(&admin), &first));
        put("server.pem", &authority.sign("localhost").both());
        admin.adopt(settings().as_ref(), Instant::ZERO);
        assert!(!Arc::ptr_eq(&in_use(&admin), &first));
    }
}
