//! The gateway in a network namespace of its own, where the kernel's counters are its alone and the network can be broken:
//! what its endings leave behind on either leg, and who is told when a host is gone.
//!
//! `unshare -n bash -c 'ip link set lo up; LINGER_TEST_NAMESPACE=1 cargo test --test server left_behind -- --ignored --test-threads=1'`

use super::{Backend, Record};
use crate::common::netns::Network;
use crate::common::{Client, Server, now, pass, until};
use linger::core::tcp::TcpState;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::time::Duration;

/// Pairs that end in each way.
const EACH: usize = 50;

/// A gateway at one end of the wire; clients and server at the other.
struct Wire {
    network: Network,
    server: Server,
    backend: Backend,
}

impl Wire {
    /// There is a second listener, named `idle`, that ends who is idle.
    fn start(query: &str) -> Self {
        let network = Network::new();
        let backend = Backend::on(format!("{}:0", network.own_host()).parse().unwrap());
        let host = network.host();
        let to = backend.address();
        let listen = format!("tcp://{host}:0?name=gateway&upstream={to}&{query}");
        let idle = format!("tcp://{host}:0?name=idle&upstream={to}&idle_timeout=300ms&{query}");
        let admin = format!("{host}:0");
        let server = network.serve(&[
            "--listen",
            &listen,
            "--listen",
            &idle,
            "--admin",
            &admin,
            "--set",
            "drain.timeout=2h",
            "--set",
            "drain.spread=0s",
        ]);
        Self { network, server, backend }
    }

    fn pairs(&self, count: usize) -> (Vec<Client>, Vec<Client>) {
        (0..count).map(|_| self.talking("gateway")).unzip()
    }

    /// A pair that has been used.
    fn talking(&self, listener: &str) -> (Client, Client) {
        let mut client = self.server.connect(listener);
        let mut upstream = self.backend.accept();
        client.send("ping");
        upstream.expect("ping");
        upstream.send("pong");
        client.expect("pong");
        (client, upstream)
    }

    /// Waits until that many pairs have ended.
    fn ended(&self, pairs: usize) {
        until("the pairs to end", || self.server.events("pair").len() == pairs);
    }

    /// How often a socket of the gateway's has entered `TIME_WAIT`
    /// (`net/ipv4/inet_timewait_sock.c: __inet_twsk_schedule`).
    fn time_waits(&self) -> usize {
        let text = self.network.proc_net("netstat");
        let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
        let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
        let fields = names.split_whitespace().zip(values.split_whitespace());
        let wanted = fields.filter(|(name, _)| ["TW", "TWKilled"].contains(name));
        wanted.map(|(_, value)| value.parse::<usize>().unwrap()).sum()
    }

    /// The gateway's sockets by state, without its listeners.
    fn sockets(&self) -> BTreeMap<&'static str, usize> {
        let text = self.network.proc_net("tcp");
        let mut states = BTreeMap::new();
        for line in text.lines().skip(1) {
            let state =
                line.split_whitespace().nth(3).and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap();
            *states.entry(TcpState::from_number(state).name()).or_default() += 1;
        }
        states.remove("LISTEN");
        states
    }

    /// Nothing of either leg is left in the kernel but so many `TIME_WAIT`, and there never were more.
    fn expect_time_waits(&self, count: usize) {
        until("all other sockets to be gone", || {
            let mut left = self.sockets();
            left.remove("TIME_WAIT");
            left.is_empty()
        });
        assert_eq!(self.time_waits(), count, "TIME_WAIT ever entered; now {:?}", self.sockets());
        assert_eq!(self.sockets().get("TIME_WAIT").copied().unwrap_or(0), count);
    }

    fn forwarded(&self) -> usize {
        let metrics = self.server.metrics();
        let of = metrics.iter().filter(|(name, _)| name.starts_with("linger_forwarded_fins_total"));
        of.map(|(_, value)| value).sum::<f64>().to_string().parse().unwrap()
    }

    /// Ends pairs in every way that a side can choose: each way so many.
    fn end_in_every_way(&self) -> usize {
        let (clients, upstreams) = self.pairs(EACH);
        drop(clients);
        upstreams.into_iter().for_each(read_to_the_end);
        let (clients, upstreams) = self.pairs(EACH);
        drop(upstreams);
        clients.into_iter().for_each(read_to_the_end);
        let (clients, upstreams) = self.pairs(EACH);
        clients.into_iter().for_each(Client::reset);
        upstreams.into_iter().for_each(read_to_the_reset);
        let (clients, upstreams) = self.pairs(EACH);
        upstreams.into_iter().for_each(Client::reset);
        clients.into_iter().for_each(read_to_the_reset);
        self.ended(4 * EACH);
        4 * EACH
    }

    /// Ends pairs in every way that is ours.
    fn end_from_here(&self) -> usize {
        let before = self.server.events("pair").len();
        let (clients, upstreams) = self.pairs(EACH);
        let listed = self.server.connections("gateway");
        for conn in listed.iter().filter(|conn| conn["leg"] == "client") {
            self.server.admin("POST", &format!("/connections/{}/end", conn["key"].as_str().unwrap()));
        }
        clients.into_iter().chain(upstreams).for_each(read_to_the_end);
        let (clients, upstreams): (Vec<_>, Vec<_>) = (0..EACH).map(|_| self.talking("idle")).unzip();
        clients.into_iter().chain(upstreams).for_each(read_to_the_end);
        self.ended(before + 2 * EACH);
        2 * EACH
    }
}

fn read_to_the_end(mut side: Client) {
    assert_eq!(side.read_to_end().unwrap(), b"");
}

fn read_to_the_reset(mut side: Client) {
    assert_eq!(side.read_to_end().unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn where_a_fin_means_departure_no_ending_leaves_a_time_wait() {
    let mut wire = Wire::start("half_close=end");
    wire.end_in_every_way();
    wire.end_from_here();
    wire.expect_time_waits(0);
    assert_eq!(wire.forwarded(), 0);
    let (clients, upstreams) = wire.pairs(EACH);
    wire.server.signal("TERM");
    clients.into_iter().chain(upstreams).for_each(read_to_the_end);
    assert_eq!(wire.server.wait_exit(), Some(0));
    wire.expect_time_waits(0);
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn where_fins_are_forwarded_each_of_them_leaves_one_and_nothing_else_does() {
    let mut wire = Wire::start("half_close=forward");
    wire.end_in_every_way();
    assert_eq!(wire.forwarded(), 2 * EACH);
    wire.end_from_here();
    assert_eq!(wire.forwarded(), 2 * EACH);
    wire.expect_time_waits(2 * EACH);
    let (clients, upstreams) = wire.pairs(EACH);
    wire.server.signal("TERM");
    clients.into_iter().chain(upstreams).for_each(read_to_the_end);
    assert_eq!(wire.server.wait_exit(), Some(0));
    wire.expect_time_waits(2 * EACH);
}

/// Nor on the side of the server that is checked: it reads a clean end of file, and is never reset before.
#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn checks_of_servers_leave_no_time_wait() {
    const CHECKS: usize = 15;
    for query in ["check.style=connect", "check.style=exchange&check.expect=220"] {
        let mut wire = Wire::start(&format!("{query}&check.interval=100ms&check.timeout=30s"));
        for _ in 0..CHECKS {
            let mut check = wire.backend.accept();
            // A check that only connects may be over by now, and nobody takes it any more.
            let sent = check.stream.write_all(b"220 ready\r\n");
            assert!(sent.is_ok() || query.ends_with("connect"), "{query}: {sent:?}");
            read_to_the_end(check);
        }
        let metrics = wire.server.metrics();
        let passed = metrics.iter().filter(|(name, _)| name.contains("result=\"passed\""));
        let passed: f64 = passed.map(|(_, count)| count).sum();
        assert!(super::whole_of(passed) >= CHECKS - 2, "{metrics:#?}");
        wire.server.signal("TERM");
        assert_eq!(wire.server.wait_exit(), Some(0));
        wire.expect_time_waits(0);
    }
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn a_gateway_that_is_killed_leaves_nothing_on_either_leg() {
    for half_close in ["end", "forward"] {
        let mut wire = Wire::start(&format!("half_close={half_close}"));
        let (clients, upstreams) = wire.pairs(EACH);
        wire.server.signal("KILL");
        assert_eq!(wire.server.wait_exit(), None);
        clients.into_iter().chain(upstreams).for_each(read_to_the_end);
        wire.expect_time_waits(0);
    }
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn the_loss_of_a_client_is_a_reset_at_its_server_or_a_fin() {
    for (client_reset, close) in [("reset", "reset"), ("fin", "linger2")] {
        let keepalive = "keepalive.idle=1s&keepalive.interval=1s&keepalive.count=2&user_timeout=2500ms";
        let wire = Wire::start(&format!("{keepalive}&client_reset={client_reset}"));
        let (_client, mut upstream) = wire.talking("gateway");
        wire.network.unplug(&[wire.server.address("gateway")]);
        let ended = upstream.read_to_end().map_err(|error| error.kind());
        let is_reset = ended == Err(ErrorKind::ConnectionReset);
        assert!(if close == "reset" { is_reset } else { ended == Ok(Vec::new()) }, "{ended:?}");
        drop(upstream);
        let record = Record::of(&wire.server);
        record.moved(4, 4).expect(
            ["lost.keepalive", "tcp_keepalive", "reset"],
            ["lost.keepalive", "partner", close],
            ["lost.keepalive", "client"],
        );
    }
}

/// The client speaks all the time, and that says nothing of its server.
#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn a_talking_client_does_not_keep_a_dead_server_alive() {
    let wire = Wire::start("upstream_keepalive=1s");
    let (mut client, _upstream) = wire.talking("gateway");
    // It has lasted: from now on the kernel watches it.
    pass(Duration::from_millis(1500));
    wire.network.unplug_towards(&[wire.backend.address()]);
    let (begun, mut told) = (now(), false);
    until("its end", || {
        pass(Duration::from_millis(100));
        told |= client.stream.write_all(b"x").is_err();
        !wire.server.events("pair").is_empty()
    });
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
    let record = Record::of(&wire.server);
    record.expect(
        ["upstream.lost", "partner", "reset"],
        ["upstream.lost", "user_timeout", "reset"],
        ["upstream.lost", "upstream"],
    );
    // A reset is told once, by whichever call comes first.
    assert!(told || client.read_to_end().is_err());
}

/// RFC 9293 3.5: two SYNs that cross make a connection, also when both are the same.
#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn a_connection_to_itself_is_no_server() {
    let network = Network::new();
    // A server's port in the range that connects take theirs from: about every second one meets itself.
    network.there("sysctl -qw net.ipv4.ip_local_port_range='40000 40003'");
    let host = network.host();
    let listen = format!("tcp://{host}:5000?name=gateway&upstream=127.0.0.1:40002");
    let admin = format!("{host}:5001");
    let server = network.serve(&["--listen", &listen, "--admin", &admin]);
    for _ in 0..100 {
        let mut client = server.connect("gateway");
        let told = client.stream.write_all(b"hello").err();
        // Its own words are no answer. A reset is told once, by whichever call comes first.
        let error = client.read_to_end().map_or_else(Some, |bytes| told.filter(|_| bytes.is_empty()));
        assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::ConnectionReset));
    }
    until("all ends", || server.events("pair").len() == 100);
    assert!(server.events("pair").iter().all(|line| line["reason"] == "upstream.refused"));
    // Nobody holds its port.
    network.there("python3 -c 'import socket; socket.create_server((\"127.0.0.1\", 40002))'");
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn a_server_on_another_host_that_is_not_there_is_given_up() {
    let network = Network::new();
    let host = network.host();
    let to = format!("10.77.{}.77:9001", host.split('.').nth(2).unwrap());
    let listen = format!("tcp://{host}:0?name=gateway&upstream={to}&connect_timeout=30s");
    let admin = format!("{host}:0");
    let server = network.serve(&["--listen", &listen, "--admin", &admin]);
    // Nobody answers for its address: the kernel says so after some seconds (arp(7): EHOSTUNREACH).
    let mut client = server.connect("gateway");
    assert_eq!(client.read_to_end().unwrap_err().kind(), ErrorKind::ConnectionReset);
    let record = Record::of(&server);
    record.expect(
        ["upstream.unreachable", "connect", "reset"],
        ["upstream.unreachable", "connect", "reset"],
        ["upstream.unreachable", "upstream"],
    );
}
