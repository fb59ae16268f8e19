//! Accepting: what a queue holds, what a client believes, and how many there can be.

use crate::common::{Client, until};
use crate::folklore::host::{Rule, Sysctl, address, address_of, connect_from, count, counter, listener, row};
use linger::core::tcp::TcpState;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// Whether one more gets in before a dropped SYN would be sent again, after a second.
fn gets_in(to: SocketAddr) -> Option<TcpStream> {
    TcpStream::connect_timeout(&to, Duration::from_millis(500)).ok()
}

#[test]
fn a_queue_holds_one_more_than_was_asked_for() {
    let listener = listener(1);
    let to = address_of(&listener);
    let held = [gets_in(to).unwrap(), gets_in(to).unwrap()];
    assert!(gets_in(to).is_none());
    drop(held);
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn a_raised_somaxconn_waits_for_the_next_listen() {
    let low = Sysctl::set("net.core.somaxconn", "1");
    let listener = listener(1000);
    let to = address_of(&listener);
    let _held = [gets_in(to).unwrap(), gets_in(to).unwrap()];
    assert!(gets_in(to).is_none(), "1000 were asked for, 1 was given");
    drop(low);
    assert!(gets_in(to).is_none(), "raised, and nothing has changed");
    listener.listen(1000).unwrap();
    assert!(gets_in(to).is_some(), "listen again");
}

#[test]
fn a_client_is_connected_before_anybody_accepts() {
    let listener = listener(8);
    let to = address_of(&listener);
    let mut client = TcpStream::connect(to).unwrap();
    client.write_all(b"is anybody there?").unwrap();
    assert_eq!(row(client.local_addr().unwrap(), to).unwrap().state, TcpState::Established);
}

/// A listener, the clients in its queue, with room for one more, and two more that are half-way in.
struct Burst {
    listener: Socket,
    to: SocketAddr,
    queued: Vec<Client>,
    late: [Client; 2],
}

impl Burst {
    fn new() -> Self {
        let listener = listener(2);
        let to = address_of(&listener);
        let queued = vec![Client::connect(to), Client::connect(to)];
        until("two are in the queue", || count(to, TcpState::Established) == 2);
        // Whatever is no SYN: the third step of the handshake is late.
        let late = Rule::input(&format!("tcp dport {} tcp flags & syn == 0 drop", to.port()));
        let clients = [Client::connect(to), Client::connect(to)];
        assert_eq!(count(to, TcpState::SynRecv), 2);
        drop(late);
        Self { listener, to, queued, late: clients }
    }

    /// Accepts until there have been so many.
    fn accept(&self, number: usize) -> Vec<(Socket, SockAddr)> {
        self.listener.set_nonblocking(true).unwrap();
        let mut accepted = Vec::new();
        until("all to be accepted", || {
            accepted.extend(self.listener.accept());
            accepted.len() == number
        });
        accepted
    }
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn a_client_is_connected_to_nobody_once_the_queue_overflows() {
    let before = counter("ListenOverflows");
    let burst = Burst::new();
    let server = || (count(burst.to, TcpState::Established), count(burst.to, TcpState::SynRecv));
    until("one is let in, the other is one too many", || {
        counter("ListenOverflows") > before && server() == (3, 1)
    });
    for client in burst.queued.iter().chain(&burst.late) {
        let state = row(client.stream.local_addr().unwrap(), burst.to).unwrap().state;
        assert_eq!(state, TcpState::Established, "to each client it looks the same");
    }
    let _accepted = burst.accept(1);
    until("room lets the other in", || server() == (4, 0));
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn tcp_abort_on_overflow_turns_a_burst_into_errors() {
    for (abort, let_in) in [("0", 4), ("1", 3)] {
        let _sysctl = Sysctl::set("net.ipv4.tcp_abort_on_overflow", abort);
        let before = counter("ListenOverflows");
        let mut burst = Burst::new();
        until("one too many", || counter("ListenOverflows") > before);
        // The server is only a moment late.
        let _accepted = burst.accept(let_in);
        for client in &mut burst.late {
            client.stream.set_nonblocking(true).unwrap();
        }
        let errors = burst.late.map(|mut client| client.stream.read(&mut [0]).unwrap_err().kind());
        let reset = errors.iter().filter(|error| **error == ErrorKind::ConnectionReset).count();
        assert_eq!(reset, 4 - let_in, "{errors:?}");
    }
}

#[test]
fn one_client_port_serves_two_connections_to_one_listener() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let first = TcpStream::connect(to).unwrap();
    let port = first.local_addr().unwrap().port();
    let second = connect_from(SocketAddr::from(([127, 0, 0, 2], port)), to).unwrap();
    assert_eq!(first.local_addr().unwrap().port(), second.local_addr().unwrap().port());
    let peers = [listener.accept().unwrap().1, listener.accept().unwrap().1];
    assert_eq!(peers.map(|peer| peer.port()), [port, port]);
    assert_ne!(peers[0], peers[1]);
    // And to another listener, even from the same address.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let third = connect_from(second.local_addr().unwrap(), other.local_addr().unwrap()).unwrap();
    assert_eq!(third.local_addr().unwrap(), second.local_addr().unwrap());
}

#[test]
fn a_linger_on_the_listener_is_inherited_too() {
    let listener = listener(8);
    listener.set_linger(Some(Duration::ZERO)).unwrap();
    let client = TcpStream::connect(address_of(&listener)).unwrap();
    let (server, _) = listener.accept().unwrap();
    assert_eq!(server.linger().unwrap(), Some(Duration::ZERO));
    // So nothing that a killed server had sent would be safe.
    drop(server);
    assert_eq!((&client).read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

/// 65,535 scaled down: four client ports, and a hundred connections to one port of a server.
#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn more_connections_than_there_are_client_ports() {
    let _sysctl = Sysctl::set("net.ipv4.ip_local_port_range", "20010 20013");
    let to = SocketAddr::from(([127, 0, 0, 1], 7000));
    let server = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    server.bind(&address(to)).unwrap();
    server.listen(200).unwrap();
    let mut clients = Vec::new();
    for host in 1..=25 {
        for _ in 0..4 {
            clients.push(connect_from(SocketAddr::from(([127, 0, 1, host], 0)), to).unwrap());
        }
        let one_more = connect_from(SocketAddr::from(([127, 0, 1, host], 0)), to);
        assert_eq!(one_more.unwrap_err().kind(), ErrorKind::AddrInUse, "one address has four ports");
    }
    assert_eq!(count(to, TcpState::Established), 100);
}
