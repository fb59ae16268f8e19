//! The upstream servers of a listener: how many connections each has, which could not be reached lately, and which gets the
//! next one.

use crate::config::settings::Upstream;
use crate::core::time::{Duration, Instant};
use crate::net::{Address, Peer};
use crate::protocol::Balance;
use std::net::IpAddr;

/// How long a server that could not be reached is tried last.
const AVOIDED_FOR: Duration = Duration::from_secs(10);

/// The servers, in the order of the configuration.
#[derive(Debug, Default)]
pub(in crate::reactor) struct Servers {
    all: Vec<Server>,
    /// Where the next look begins, so that equals take turns.
    next: usize,
    next_source: usize,
}

/// One of them.
#[derive(Debug)]
pub(in crate::reactor) struct Server {
    pub(in crate::reactor) address: Address,
    /// Its address as a number, for [`rank`].
    hash: u64,
    /// What the connections to it show as their peer.
    pub(in crate::reactor) peer: Peer,
    /// A connection to it can turn out to be one to itself.
    pub(in crate::reactor) could_be_own_peer: bool,
    /// Connections to it, those that are being made among them.
    pub(in crate::reactor) connections: u32,
    /// Until when it is tried last.
    avoided_until: Instant,
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
            avoided_until: Instant::ZERO,
            retired: false,
        }
    }
}

impl Servers {
    /// Those of `upstream`; none for a listener that has no such.
    pub(in crate::reactor) fn new(
        upstream: Option<&Upstream>,
        could_be_own_peer: impl Fn(&Address) -> bool,
    ) -> Self {
        let addresses = upstream.map_or(&[][..], |upstream| &upstream.servers);
        let server = |address: &Address| Server::new(address.clone(), could_be_own_peer(address));
        Self { all: addresses.iter().map(server).collect(), ..Self::default() }
    }

    /// Takes over those of a new configuration. Who is in both keeps its connections and its place; who is in the old one
    /// alone keeps its connections, until they end. `is_named`: a pair knows the server in that place.
    pub(in crate::reactor) fn adopt(
        &mut self,
        addresses: &[Address],
        could_be_own_peer: impl Fn(&Address) -> bool,
        is_named: impl Fn(usize) -> bool,
    ) {
        for server in &mut self.all {
            server.retired = !addresses.contains(&server.address);
        }
        for address in addresses {
            if self.all.iter().any(|server| server.address == *address) {
                continue;
            }
            let fresh = Server::new(address.clone(), could_be_own_peer(address));
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
        balance: Balance,
        client: &Peer,
        now: Instant,
        tried: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let count = self.all.len();
        let turns = (0..count)
            .map(|turn| (self.next + turn) % count)
            .filter(|&at| !self.all[at].retired && !tried(at));
        // The last one is never taken out: who was not reached lately may be there again.
        let avoided = |at: usize| self.all[at].avoided_until > now;
        let chosen = match balance {
            Balance::LeastConnections => turns.min_by_key(|&at| (avoided(at), self.all[at].connections)),
            Balance::RoundRobin => turns.min_by_key(|&at| avoided(at)),
            Balance::SourceHash => {
                let client = client.address().map_or(0, |address| fnv1a(address.ip().to_string().as_bytes()));
                turns.min_by_key(|&at| (avoided(at), rank(client, self.all[at].hash)))
            }
        }?;
        self.next = (chosen + 1) % count;
        // One client tries it; the others do not all follow before that has told.
        let until = &mut self.all[chosen].avoided_until;
        if *until != Instant::ZERO {
            *until = now + AVOIDED_FOR;
        }
        Some(chosen)
    }

    /// The next source address for a connection to `server`: one of its family.
    pub(in crate::reactor) fn next_source(&mut self, server: usize, sources: &[IpAddr]) -> Option<IpAddr> {
        let Address::Tcp { socket, .. } = &self.all[server].address else { return None };
        let family = |source: &&IpAddr| source.is_ipv4() == socket.is_ipv4();
        let count = sources.iter().filter(family).count().max(1);
        self.next_source = (self.next_source + 1) % count;
        sources.iter().filter(family).nth(self.next_source).copied()
    }

    /// A connection to it is begun.
    pub(in crate::reactor) fn add(&mut self, server: usize) {
        self.all[server].connections += 1;
    }

    /// One has ended.
    pub(in crate::reactor) fn remove(&mut self, server: usize) {
        self.all[server].connections -= 1;
    }

    /// It answered the connect.
    pub(in crate::reactor) fn reached(&mut self, server: usize) {
        self.all[server].avoided_until = Instant::ZERO;
    }

    /// It could not be reached. Whether that is news.
    pub(in crate::reactor) fn not_reached(&mut self, server: usize, now: Instant) -> bool {
        let until = &mut self.all[server].avoided_until;
        std::mem::replace(until, now + AVOIDED_FOR) == Instant::ZERO
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

    fn servers(count: u16) -> Servers {
        let address = |port| Address::parse_tcp(&format!("10.0.0.1:{port}")).unwrap();
        Servers {
            all: (1..=count).map(|port| Server::new(address(port), false)).collect(),
            ..Servers::default()
        }
    }

    fn client(host: u8) -> Peer {
        Peer::new(format!("192.0.2.{host}:1000").parse().unwrap())
    }

    fn choose(servers: &mut Servers, balance: Balance) -> usize {
        servers.choose(balance, &client(1), Instant::ZERO, |_| false).unwrap()
    }

    #[test]
    fn round_robin_takes_turns() {
        let mut servers = servers(3);
        let turns: Vec<_> = (0..6).map(|_| choose(&mut servers, Balance::RoundRobin)).collect();
        assert_eq!(turns, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn least_connections_counts_those_that_are_being_made_and_equals_take_turns() {
        let mut servers = servers(3);
        for expected in [0, 1, 2, 0] {
            let chosen = choose(&mut servers, Balance::LeastConnections);
            assert_eq!(chosen, expected);
            servers.add(chosen);
        }
        servers.remove(1);
        assert_eq!(choose(&mut servers, Balance::LeastConnections), 1);
    }

    #[test]
    fn a_client_keeps_its_server_and_most_do_when_one_goes() {
        let of = |count: u16, host| {
            servers(count).choose(Balance::SourceHash, &client(host), Instant::ZERO, |_| false).unwrap()
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
        let mut servers = servers(3);
        servers.add(0);
        servers.add(1);
        let address = |port| Address::parse_tcp(&format!("10.0.0.1:{port}")).unwrap();
        servers.adopt(&[address(2), address(4), address(5)], |_| false, |at| at < 2);
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
        let turns: Vec<_> = (0..6).map(|_| choose(&mut servers, Balance::RoundRobin)).collect();
        assert_eq!(turns, [1, 2, 3, 1, 2, 3], "none to the first");
        servers.remove(0);
        assert_eq!(of(&servers), [shown(2, 1), shown(4, 0), shown(5, 0)]);
        servers.adopt(&[address(1)], |_| false, |_| true);
        assert_eq!(choose(&mut servers, Balance::RoundRobin), 0, "it is back in its place");
    }

    #[test]
    fn who_was_not_reached_is_tried_last_for_a_while_and_tried_all_the_same() {
        let mut servers = servers(2);
        let now = Instant::from_millis(1000);
        assert!(servers.not_reached(0, now), "news");
        assert!(!servers.not_reached(0, now), "no news");
        for _ in 0..3 {
            assert_eq!(servers.choose(Balance::RoundRobin, &client(1), now, |_| false), Some(1));
        }
        assert_eq!(servers.choose(Balance::RoundRobin, &client(1), now, |at| at == 1), Some(0));
        assert_eq!(servers.choose(Balance::RoundRobin, &client(1), now, |_| true), None);
        let later = now + AVOIDED_FOR;
        assert_eq!(servers.choose(Balance::LeastConnections, &client(1), later, |_| false), Some(1));
        assert_eq!(servers.choose(Balance::LeastConnections, &client(1), later, |_| false), Some(0));
    }
}
