//! The servers of one upstream: how many connections each has, which could not be reached lately, and which gets the next
//! one. The listeners that relay to it share all of it; [`upstreams`](super::upstreams) has every upstream.

use super::check::Checked;
use super::checks::CheckLog;
use crate::config::settings::Upstream;
use crate::core::end::Reason;
use crate::core::health::{Change, Health, Place, Rules, Sign, Word};
use crate::core::time::Instant;
use crate::net::{Address, Peer};
use crate::observe::metrics::ServerGauges;
use crate::protocol::gateway::{Balance, ServerAddress, ServerSpec};
use std::net::IpAddr;

/// Whether a connection to an address can turn out to be one to itself: the kernel knows.
pub(in crate::reactor) type CouldBeOwnPeer<'a> = &'a dyn Fn(&Address) -> bool;

/// The servers of an upstream, in the order of the configuration.
#[derive(Debug)]
pub(in crate::reactor) struct Servers {
    settings: Upstream,
    all: Vec<Server>,
    /// Where the next look begins, so that equals take turns.
    next: usize,
    next_source: usize,
}

/// One of them.
#[derive(Debug)]
pub(in crate::reactor) struct Server {
    address: Address,
    /// Its address as a number, for [`rank`].
    hash: u64,
    /// What the connections to it show as their peer.
    peer: Peer,
    /// A connection to it can turn out to be one to itself.
    could_be_own_peer: bool,
    /// Connections to it, those that are being made among them.
    connections: u32,
    health: Health,
    pub(in crate::reactor) checks: CheckLog,
    /// Connections that were begun on behalf of clients, and those that came to nothing, by reason.
    attempts: u64,
    failed: Vec<(Reason, u64)>,
    /// It is no longer in the configuration: it keeps what it has, and gets nothing more.
    retired: bool,
}

impl Server {
    fn new(address: Address, could_be_own_peer: bool) -> Self {
        let peer = match &address {
            Address::Tcp { socket, .. } => Peer::new(*socket),
            Address::Unix(_) => Peer::UNIX,
        };
        Self {
            hash: fnv1a(address.to_string().as_bytes()),
            address,
            peer,
            could_be_own_peer,
            connections: 0,
            health: Health::new(Instant::ZERO),
            checks: CheckLog::default(),
            attempts: 0,
            failed: Vec::new(),
            retired: false,
        }
    }

    /// Where it is.
    pub(in crate::reactor) const fn address(&self) -> &Address {
        &self.address
    }

    /// What the connections to it show as their peer.
    pub(in crate::reactor) const fn peer(&self) -> Peer {
        self.peer
    }

    /// Whether a connection to it can turn out to be one to itself.
    pub(in crate::reactor) const fn could_be_own_peer(&self) -> bool {
        self.could_be_own_peer
    }

    /// Connections to it, those that are being made among them.
    pub(in crate::reactor) const fn connections(&self) -> u32 {
        self.connections
    }

    /// Where it stands in the line of those that may get a new connection. The one place that decides it.
    fn place(&self, rules: &Rules, now: Instant) -> Place {
        if self.retired { Place::Out } else { self.health.place(rules, now) }
    }

    /// How it is, as far as was seen, and what the operator says.
    pub(in crate::reactor) const fn health(&self) -> &Health {
        &self.health
    }

    /// Whether it is in the configuration.
    pub(in crate::reactor) const fn is_configured(&self) -> bool {
        !self.retired
    }

    /// Whether it is checked, where servers are.
    pub(in crate::reactor) fn is_to_be_checked(&self) -> bool {
        !self.retired && self.health.word() != Word::Down
    }

    /// Connections that were begun on behalf of clients.
    pub(in crate::reactor) const fn attempts(&self) -> u64 {
        self.attempts
    }

    /// Those that came to nothing, by reason.
    pub(in crate::reactor) fn failed(&self) -> &[(Reason, u64)] {
        &self.failed
    }

    /// What the metrics show of it.
    pub(in crate::reactor) fn gauges(&self) -> ServerGauges {
        ServerGauges {
            address: self.address.to_string(),
            connections: self.connections,
            in_service: !self.retired && self.health.is_in_service(),
            changes: self.health.changes(),
            checks: self.checks.last.map(|_| self.checks.outcomes),
        }
    }

    /// Its address as a number.
    pub(in crate::reactor) const fn hash(&self) -> u64 {
        self.hash
    }
}

impl Servers {
    /// Those of an upstream.
    pub(in crate::reactor) fn new(settings: Upstream, could_be_own_peer: CouldBeOwnPeer<'_>) -> Self {
        let mut servers = Self { settings, all: Vec::new(), next: 0, next_source: 0 };
        servers.refresh(could_be_own_peer, |_| false);
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
    ) {
        self.settings = settings.clone();
        self.refresh(could_be_own_peer, is_named);
    }

    /// It is no longer in the configuration: none of them gets anything more.
    pub(in crate::reactor) fn retire(&mut self) {
        for server in &mut self.all {
            server.retired = true;
        }
    }

    /// Whether it is no longer in the configuration.
    pub(in crate::reactor) fn is_retired(&self) -> bool {
        self.all.iter().all(|server| server.retired)
    }

    /// Brings the servers in line with the settings. Those that stay keep their connections and their places; those that are
    /// gone keep their connections, until they end.
    fn refresh(&mut self, could_be_own_peer: CouldBeOwnPeer<'_>, is_named: impl Fn(usize) -> bool) {
        let wanted: Vec<Address> = self.settings.is.servers.iter().map(address_of).collect();
        for server in &mut self.all {
            server.retired = !wanted.contains(&server.address);
        }
        for address in wanted {
            if self.all.iter().any(|server| server.address == address) {
                continue;
            }
            let own = could_be_own_peer(&address);
            let fresh = Server::new(address, own);
            // Pairs remember their servers by their places.
            let is_free = |(at, server): &(usize, &Server)| server.retired && !is_named(*at);
            match self.all.iter().enumerate().find(is_free).map(|(at, _)| at) {
                Some(free) => self.all[free] = fresh,
                None => self.all.push(fresh),
            }
        }
    }

    /// All that are in the configuration, or have connections left.
    pub(in crate::reactor) fn iter(&self) -> impl Iterator<Item = &Server> {
        self.all.iter().filter(|server| !server.retired || server.connections > 0)
    }

    /// One of them.
    pub(in crate::reactor) fn get(&self, server: usize) -> &Server {
        &self.all[server]
    }

    /// The one for the next connection, of `client`, that is none of the `tried`; `None`: all were.
    pub(in crate::reactor) fn choose(
        &mut self,
        client: &Peer,
        now: Instant,
        tried: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let (count, rules) = (self.all.len(), self.rules());
        let turns = (0..count)
            .map(|turn| (self.next + turn) % count)
            .filter(|&at| self.all[at].place(&rules, now) != Place::Out && !tried(at));
        // The last one is never taken out: where none is up, all are as good as if they were.
        let place = |at: usize| self.all[at].place(&rules, now);
        let chosen = match self.settings.is.balance {
            Balance::LeastConnections => turns.min_by_key(|&at| (place(at), self.all[at].connections)),
            Balance::RoundRobin => turns.min_by_key(|&at| place(at)),
            Balance::SourceHash => {
                let client = client.address().map_or(0, |address| fnv1a(address.ip().to_string().as_bytes()));
                turns.min_by_key(|&at| (place(at), rank(client, self.all[at].hash)))
            }
        }?;
        self.next = (chosen + 1) % count;
        // One client tries it; the others do not all follow before that has told.
        self.all[chosen].health.on_chosen(now);
        Some(chosen)
    }

    /// The next source address for a connection to `server`: one of its family.
    pub(in crate::reactor) fn next_source(&mut self, server: usize) -> Option<IpAddr> {
        let Address::Tcp { socket, .. } = &self.all[server].address else { return None };
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
        self.all[server].health.on_sign(sign, &rules, now)
    }

    /// The operator says how it is to be.
    pub(in crate::reactor) fn on_word(&mut self, server: usize, word: Word, now: Instant) -> Option<Change> {
        self.all[server].health.on_word(word, now)
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

    /// Whether the server that is checked has its place still.
    pub(in crate::reactor) fn is_still(&self, of: &Checked) -> bool {
        self.all.get(of.server).is_some_and(|server| server.hash == of.hash)
    }

    /// Whether a connection to it can turn out to be one to itself.
    pub(in crate::reactor) fn could_be_own_peer(&self, of: &Checked) -> bool {
        self.is_still(of) && self.all[of.server].could_be_own_peer
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

fn address_of(spec: &ServerSpec) -> Address {
    match &spec.address {
        ServerAddress::Tcp(socket) => Address::Tcp { socket: *socket, v6_only: false, interface: None },
        ServerAddress::Unix(path) => Address::Unix(path.clone()),
    }
}

/// How far down a server is in the list of a client: the same each time, and in an order of its own for each client, so
/// that one that is gone leaves its clients to all others (rendezvous hashing). The numbers are mixed as `SplitMix64` does.
const fn rank(client: u64, server: u64) -> u64 {
    let mut mixed = client ^ server.rotate_left(32);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// FNV-1a, 64 bits: the same in every release.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::health::RETRY;
    use crate::core::setting::Value;
    use crate::core::time::Duration;
    use crate::protocol::gateway;

    fn upstream(balance: Balance, servers: &[String]) -> Upstream {
        let texts = [("servers", servers.join(",")), ("connect_timeout", String::new())];
        let values = texts.into_iter().map(|(key, text)| {
            (
                key,
                match key {
                    "servers" => Value::Text(text),
                    _ => Value::Period(Duration::from_secs(5)),
                },
            )
        });
        let is = gateway::settings::upstream(&values.collect()).expect("it has servers");
        Upstream { name: "app".to_owned(), is: gateway::Upstream { balance, ..is } }
    }

    /// Those at these ports.
    fn at(balance: Balance, ports: &[u16]) -> Upstream {
        let servers: Vec<_> = ports.iter().map(|port| format!("10.0.0.1:{port}")).collect();
        upstream(balance, &servers)
    }

    fn servers(balance: Balance, count: u16) -> Servers {
        let ports: Vec<_> = (1..=count).collect();
        Servers::new(at(balance, &ports), &|_| false)
    }

    fn client(host: u8) -> Peer {
        Peer::new(format!("192.0.2.{host}:1000").parse().unwrap())
    }

    fn choose(servers: &mut Servers) -> usize {
        servers.choose(&client(1), Instant::ZERO, |_| false).unwrap()
    }

    #[test]
    fn round_robin_takes_turns() {
        let mut servers = servers(Balance::RoundRobin, 3);
        let turns: Vec<_> = (0..6).map(|_| choose(&mut servers)).collect();
        assert_eq!(turns, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn least_connections_counts_those_that_are_being_made_and_equals_take_turns() {
        let mut servers = servers(Balance::LeastConnections, 3);
        for expected in [0, 1, 2, 0] {
            let chosen = choose(&mut servers);
            assert_eq!(chosen, expected);
            servers.add(chosen);
        }
        servers.remove(1);
        assert_eq!(choose(&mut servers), 1);
    }

    #[test]
    fn a_client_keeps_its_server_and_most_do_when_one_goes() {
        let of = |count: u16, host| {
            servers(Balance::SourceHash, count).choose(&client(host), Instant::ZERO, |_| false).unwrap()
        };
        let before: Vec<_> = (0..=255).map(|host| of(4, host)).collect();
        assert_eq!(before, (0..=255).map(|host| of(4, host)).collect::<Vec<_>>());
        // The fourth is gone: nobody of the others moves.
        assert!(
            (0..=255u8)
                .all(|host| before[usize::from(host)] == 3 || of(3, host) == before[usize::from(host)])
        );
        for server in 0..4 {
            let share = before.iter().filter(|&&chosen| chosen == server).count();
            assert!((40..=90).contains(&share), "{share} of 256 clients have server {server}");
        }
    }

    #[test]
    fn a_new_configuration_keeps_the_counts_of_servers_that_stay() {
        let mut servers = servers(Balance::RoundRobin, 3);
        servers.add(0);
        servers.add(1);
        servers.adopt(&at(Balance::RoundRobin, &[2, 4, 5]), &|_| false, |at| at < 2);
        // The first has a connection left, the third had none.
        let of = |servers: &Servers| {
            servers.iter().map(|it| (it.address.to_string(), it.connections)).collect::<Vec<_>>()
        };
        let shown = |port, count| (format!("10.0.0.1:{port}"), count);
        assert_eq!(
            of(&servers),
            [shown(1, 1), shown(2, 1), shown(4, 0), shown(5, 0)],
            "in the place of the third"
        );
        let turns: Vec<_> = (0..6).map(|_| choose(&mut servers)).collect();
        assert_eq!(turns, [1, 2, 3, 1, 2, 3], "none to the first");
        servers.remove(0);
        assert_eq!(of(&servers), [shown(2, 1), shown(4, 0), shown(5, 0)]);
        servers.adopt(&at(Balance::RoundRobin, &[1]), &|_| false, |_| true);
        assert_eq!(choose(&mut servers), 0, "it is back in its place");
    }

    #[test]
    fn who_was_not_reached_is_tried_last_for_a_while_and_tried_all_the_same() {
        let mut servers = servers(Balance::RoundRobin, 2);
        let now = Instant::from_millis(1000);
        assert_eq!(servers.on_sign(0, Sign::NotReached, now), Some(Change::Down), "news");
        assert_eq!(servers.on_sign(0, Sign::NotReached, now), None, "no news");
        for _ in 0..3 {
            assert_eq!(servers.choose(&client(1), now, |_| false), Some(1));
        }
        assert_eq!(servers.choose(&client(1), now, |at| at == 1), Some(0));
        assert_eq!(servers.choose(&client(1), now, |_| true), None);
        let later = now + RETRY;
        servers.adopt(&at(Balance::LeastConnections, &[1, 2]), &|_| false, |_| true);
        assert_eq!(servers.choose(&client(1), later, |_| false), Some(1));
        assert_eq!(servers.choose(&client(1), later, |_| false), Some(0));
    }
}
