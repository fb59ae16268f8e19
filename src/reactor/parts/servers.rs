//! The servers of one upstream, and which of them gets the next connection. All listeners that relay to the upstream share
//! them. [`upstreams`](super::upstreams) has every upstream.

use super::balance::{fnv1a, height, load};
use super::names::{LookUp, Names};
use super::server::Server;
use crate::config::settings::Upstream;
use crate::core::end::Reason;
use crate::core::health::{Change, Place, Rules, Sign, Word};
use crate::core::time::Instant;
use crate::net::{Address, Answers, Peer};
use crate::protocol::gateway::servers::SERVERS_MAX;
use crate::protocol::gateway::{Balance, Removed, ServerAddress, ServerSpec};
use crate::tls;
use std::net::{IpAddr, SocketAddr};

/// Whether a connection to an address can turn out to be one to itself: the kernel knows.
pub(in crate::reactor) type CouldBeOwnPeer<'a> = &'a dyn Fn(&Address) -> bool;

/// The servers of an upstream, in the order of the configuration.
#[derive(Debug)]
pub(in crate::reactor) struct Servers {
    settings: Upstream,
    /// It is no longer in the configuration.
    retired: bool,
    all: Vec<Server>,
    /// Where the next look begins, so that equals take turns.
    next: usize,
    next_source: usize,
    names: Names,
    /// Addresses that had no place among them, and how many that was when it was last said.
    left_out: usize,
    left_out_said: usize,
}

/// Why no server could be chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::reactor) enum NoServer {
    /// All were tried, or there is none.
    AllTried,
    /// All that were not tried have as many connections as they may.
    Full,
}

impl Servers {
    /// Those of an upstream, at the start of the process or of the upstream: they are no newer than each other.
    pub(in crate::reactor) fn new(
        settings: Upstream,
        answers: &Answers,
        could_be_own_peer: CouldBeOwnPeer<'_>,
        now: Instant,
    ) -> Self {
        let mut servers = Self {
            settings,
            retired: false,
            all: Vec::new(),
            next: 0,
            next_source: 0,
            names: Names::none(),
            left_out: 0,
            left_out_said: 0,
        };
        servers.names.adopt(&servers.settings.is, now);
        servers.names.answered(answers, servers.settings.is.resolve, now);
        servers.refresh(could_be_own_peer, |_| false, None);
        servers
    }

    /// How they are used.
    pub(in crate::reactor) const fn settings(&self) -> &Upstream {
        &self.settings
    }

    /// Takes over a new configuration. `is_named`: a pair knows the server in that place.
    pub(in crate::reactor) fn adopt(
        &mut self,
        settings: &Upstream,
        could_be_own_peer: CouldBeOwnPeer<'_>,
        is_named: impl Fn(usize) -> bool,
        now: Instant,
    ) {
        let mut client = self.settings.tls.take();
        tls::adopt(&mut client, settings.tls.as_ref());
        self.settings = Upstream { tls: client, ..settings.clone() };
        self.retired = false;
        self.names.adopt(&self.settings.is, now);
        self.refresh(could_be_own_peer, is_named, Some(now));
    }

    /// It is no longer in the configuration: none of them gets anything more.
    pub(in crate::reactor) fn retire(&mut self) {
        for server in &mut self.all {
            server.retired = true;
        }
        self.names = Names::none();
        self.retired = true;
    }

    /// Whether it is no longer in the configuration.
    pub(in crate::reactor) const fn is_retired(&self) -> bool {
        self.retired
    }

    /// The host names among them.
    pub(in crate::reactor) const fn names(&self) -> &Names {
        &self.names
    }

    /// The same, to look them up.
    pub(in crate::reactor) const fn names_mut(&mut self) -> &mut Names {
        &mut self.names
    }

    /// Takes over the addresses that names have now; what could not be looked up stays as it was. Returns what is worth a
    /// word.
    pub(in crate::reactor) fn resolved(
        &mut self,
        answers: &Answers,
        could_be_own_peer: CouldBeOwnPeer<'_>,
        is_named: impl Fn(usize) -> bool,
        now: Instant,
    ) -> Vec<LookUp> {
        let told = self.names.answered(answers, self.settings.is.resolve, now);
        if told.iter().any(|told| matches!(told, LookUp::Changed(..))) {
            self.refresh(could_be_own_peer, is_named, Some(now));
        }
        told
    }

    /// How many addresses have no place among them, if there are some and that was not said before.
    pub(in crate::reactor) fn newly_left_out(&mut self) -> Option<usize> {
        let said = std::mem::replace(&mut self.left_out_said, self.left_out);
        (self.left_out != said && self.left_out > 0).then_some(self.left_out)
    }

    /// Where its servers are, each once and no more than can be; and how many more there would be.
    fn wanted(&self) -> (Vec<(Address, &ServerSpec)>, usize) {
        let mut wanted: Vec<(Address, &ServerSpec)> = Vec::new();
        let mut left_out = 0;
        for spec in &self.settings.is.servers {
            let addresses = match &spec.address {
                ServerAddress::Tcp(socket) => vec![tcp(*socket)],
                ServerAddress::Unix(path) => vec![Address::Unix(path.clone())],
                ServerAddress::Name { host, port } => {
                    self.names.addresses(host, *port).iter().copied().map(tcp).collect()
                }
            };
            for address in addresses {
                if wanted.iter().any(|(other, _)| *other == address) {
                    continue;
                }
                if wanted.len() < SERVERS_MAX {
                    wanted.push((address, spec));
                } else {
                    left_out += 1;
                }
            }
        }
        (wanted, left_out)
    }

    /// Brings the servers in line with the settings and the addresses of names. Those that stay keep their connections and
    /// their places; those that are gone keep their connections, for as long as may be. What is new, or there again, is so
    /// from `now` on.
    fn refresh(
        &mut self,
        could_be_own_peer: CouldBeOwnPeer<'_>,
        is_named: impl Fn(usize) -> bool,
        now: Option<Instant>,
    ) {
        let mut all = std::mem::take(&mut self.all);
        let (wanted, left_out) = self.wanted();
        for server in &mut all {
            let spec = wanted.iter().find(|(address, _)| *address == server.address).map(|(_, spec)| spec);
            if let Some(spec) = spec {
                (server.weight, server.connections_max) = (spec.weight, spec.connections_max);
                if server.retired {
                    server.began = now;
                }
            }
            server.retired = spec.is_none();
        }
        for (address, spec) in wanted {
            if all.iter().any(|server| server.address == address) {
                continue;
            }
            let own = could_be_own_peer(&address);
            let fresh = Server::new((address, spec), own, now);
            // Pairs remember their servers by their places.
            let is_free = |(at, server): &(usize, &Server)| server.retired && !is_named(*at);
            match all.iter().enumerate().find(is_free).map(|(at, _)| at) {
                Some(free) => all[free] = fresh,
                // A pair remembers it in two bytes.
                None if all.len() < usize::from(u16::MAX) => all.push(fresh),
                None => {}
            }
        }
        (self.all, self.left_out) = (all, left_out);
    }

    /// All that are in the configuration, or have connections left.
    pub(in crate::reactor) fn iter(&self) -> impl Iterator<Item = &Server> {
        self.all.iter().filter(|server| !server.retired || server.connections > 0)
    }

    /// Whether it is in the configuration, or has connections left.
    pub(in crate::reactor) fn is_shown(&self) -> bool {
        !self.retired || self.iter().next().is_some()
    }

    /// One of them.
    pub(in crate::reactor) fn get(&self, server: usize) -> &Server {
        &self.all[server]
    }

    /// What becomes of the connections of a server; `None`: it is in the configuration, or may be an address of a name that
    /// is new there.
    pub(in crate::reactor) fn removed(&self, server: usize) -> Option<Removed> {
        (self.all[server].retired && !self.names.are_awaited()).then_some(self.settings.is.removed)
    }

    /// The one for the next connection, of `client`, that is none of the `tried`.
    pub(in crate::reactor) fn choose(
        &mut self,
        client: &Peer,
        now: Instant,
        tried: impl Fn(usize) -> bool,
    ) -> Result<usize, NoServer> {
        let (count, rules) = (self.all.len(), self.rules());
        // Those that are gone may be addresses of a name that is new, and has none yet.
        let awaits = self.names.are_awaited();
        // There is nothing to compare it with.
        if let [only] = &mut self.all[..] {
            return match only.place(&rules, awaits, now) {
                Place::First | Place::Last if tried(0) => Err(NoServer::AllTried),
                Place::First | Place::Last if only.is_full() => Err(NoServer::Full),
                Place::First | Place::Last => {
                    only.health.on_chosen(now);
                    Ok(0)
                }
                Place::Out => Err(NoServer::AllTried),
            };
        }
        let place = |server: &Server| server.place(&rules, awaits, now);
        let is_open = |at: usize, server: &Server| place(server) != Place::Out && !tried(at);
        let has_room = |at: usize, server: &Server| is_open(at, server) && !server.is_full();
        // The last one is never taken out: where none is up, all are as good as if they were.
        let first = self.places().any(|(at, server)| has_room(at, server) && place(server) == Place::First);
        let may =
            |at: usize, server: &Server| has_room(at, server) && (!first || place(server) == Place::First);
        let slow_start = self.settings.is.slow_start;
        let share = |at: usize| self.all[at].share(slow_start, now);
        let turns = || (0..count).map(|turn| (self.next + turn) % count).filter(|&at| may(at, &self.all[at]));
        let chosen = match self.settings.is.balance {
            Balance::LeastConnections => turns().min_by_key(|&at| load(self.all[at].connections, share(at))),
            Balance::RoundRobin => self.take_turn(may, now),
            Balance::SourceHash => {
                let client = client.address().map_or(0, |address| fnv1a(address.ip().to_string().as_bytes()));
                let heights = turns().map(|at| (height(client, self.all[at].hash, share(at)), at));
                heights.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, at)| at)
            }
        };
        let Some(chosen) = chosen else {
            let full = self.places().any(|(at, server)| is_open(at, server));
            return Err(if full { NoServer::Full } else { NoServer::AllTried });
        };
        self.next = (chosen + 1) % count;
        // One client tries it; the others wait for the outcome.
        self.all[chosen].health.on_chosen(now);
        Ok(chosen)
    }

    fn places(&self) -> impl Iterator<Item = (usize, &Server)> {
        self.all.iter().enumerate()
    }

    /// The one whose turn it is, of those that may have it: each as often as its share says, and not several times in a row
    /// if that can be (as nginx: `ngx_http_upstream_round_robin.c: ngx_http_upstream_get_peer`).
    fn take_turn(&mut self, may: impl Fn(usize, &Server) -> bool, now: Instant) -> Option<usize> {
        let slow_start = self.settings.is.slow_start;
        let (mut all, mut chosen): (i64, Option<usize>) = (0, None);
        for at in 0..self.all.len() {
            if !may(at, &self.all[at]) {
                continue;
            }
            let share = i64::from(self.all[at].share(slow_start, now));
            self.all[at].turn += share;
            all += share;
            if chosen.is_none_or(|chosen| self.all[chosen].turn < self.all[at].turn) {
                chosen = Some(at);
            }
        }
        self.all[chosen?].turn -= all;
        chosen
    }

    /// The next source address for a connection to `server`: one of its family.
    pub(in crate::reactor) fn next_source(&mut self, server: usize) -> Option<IpAddr> {
        let Address::Tcp { socket, .. } = &self.all[server].address else { return None };
        if self.settings.is.sources.is_empty() {
            return None;
        }
        let of_family = |source: &&IpAddr| source.is_ipv4() == socket.is_ipv4();
        let sources = || self.settings.is.sources.iter().filter(of_family);
        self.next_source = (self.next_source + 1) % sources().count().max(1);
        sources().nth(self.next_source).copied()
    }

    /// A connection to it is begun.
    pub(in crate::reactor) fn add(&mut self, server: usize) {
        self.all[server].connections += 1;
        self.all[server].attempts += 1;
    }

    /// One has ended.
    pub(in crate::reactor) fn remove(&mut self, server: usize) {
        self.all[server].connections -= 1;
    }

    /// A connection came to nothing. `begun`: it was counted.
    pub(in crate::reactor) fn note_failed(&mut self, server: usize, reason: Reason, begun: bool) {
        let server = &mut self.all[server];
        server.attempts += u64::from(!begun);
        match server.failed.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += 1,
            None => server.failed.push((reason, 1)),
        }
    }

    /// Something was seen of it. Whether its state has changed by that.
    pub(in crate::reactor) fn on_sign(&mut self, server: usize, sign: Sign, now: Instant) -> Option<Change> {
        let rules = self.rules();
        // The state of a server that is gone is not kept.
        let change =
            if self.all[server].retired { None } else { self.all[server].health.on_sign(sign, &rules, now) };
        self.begin_again(server, change, now)
    }

    /// The operator says how it is to be.
    pub(in crate::reactor) fn on_word(&mut self, server: usize, word: Word, now: Instant) -> Option<Change> {
        let change = self.all[server].health.on_word(word, now);
        self.begin_again(server, change, now)
    }

    /// One that is up again has its share grow again.
    fn begin_again(&mut self, server: usize, change: Option<Change>, now: Instant) -> Option<Change> {
        if change == Some(Change::Up) {
            self.all[server].began = Some(now);
        }
        change
    }

    /// What it takes to change the state of one of them.
    pub(in crate::reactor) fn rules(&self) -> Rules {
        self.settings.is.check.rules()
    }

    /// How many can get connections, and are up.
    pub(in crate::reactor) fn in_service(&self) -> usize {
        self.all.iter().filter(|server| !server.retired && server.health.is_in_service()).count()
    }

    /// The place of the one with that address, as it is written.
    pub(in crate::reactor) fn place_of(&self, address: &str) -> Option<usize> {
        self.all.iter().position(|server| !server.retired && server.address.to_string() == address)
    }

    /// How many places there are.
    pub(in crate::reactor) const fn len(&self) -> usize {
        self.all.len()
    }

    /// The server in a place, if it is the one that is checked: another may have its place by now, at the same address even.
    pub(in crate::reactor) fn checked_mut(&mut self, server: usize, check: u32) -> Option<&mut Server> {
        self.all.get_mut(server).filter(|server| server.checks.runs == Some(check))
    }

    /// All there are, those that are gone from the configuration among them.
    pub(in crate::reactor) fn all_mut(&mut self) -> impl Iterator<Item = &mut Server> {
        self.all.iter_mut()
    }

    /// How many there are in the configuration.
    pub(in crate::reactor) fn configured(&self) -> usize {
        self.all.iter().filter(|server| !server.retired).count()
    }

    /// One of them, to change what is known of its checks.
    pub(in crate::reactor) fn get_mut(&mut self, server: usize) -> &mut Server {
        &mut self.all[server]
    }
}

const fn tcp(socket: SocketAddr) -> Address {
    Address::Tcp { socket, v6_only: false, interface: None }
}

#[cfg(test)]
#[path = "servers_tests.rs"]
mod tests;
