//! Where a layer meets a socket: the toy over a socket that gives what a test has written.

use super::toy::{RUN_MAX, Toy};
use super::*;
use crate::core::tcp::TcpSnapshot;
use crate::core::time::Duration;
use crate::net::{CloseHow, Keepalive, ProbeLimits, Sent};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// A socket that brings these bytes, receive by receive, then nothing, and at last the peer's FIN if there is one.
#[derive(Default)]
struct Script {
    input: VecDeque<Vec<u8>>,
    fin: bool,
}

impl Stream for Script {
    fn recv(&mut self, buffer: &mut [u8]) -> net::Received {
        let Some(mut bytes) = self.input.pop_front() else {
            return if self.fin { net::Received::Eof } else { net::Received::WouldBlock };
        };
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        if count < bytes.len() {
            self.input.push_front(bytes.split_off(count));
        }
        net::Received::Bytes(count)
    }

    fn send(&mut self, bytes: &[u8]) -> Sent {
        Sent::Bytes(bytes.len())
    }

    fn send_oob(&mut self, _: u8) -> Sent {
        Sent::WouldBlock
    }

    fn take_error(&mut self) -> Option<SocketError> {
        None
    }

    fn evidence(&self) -> Option<TcpSnapshot> {
        None
    }

    fn probe_peer(&mut self) {}

    fn probe_limits(&self) -> ProbeLimits {
        ProbeLimits::default()
    }

    fn local_address(&self) -> Option<SocketAddr> {
        None
    }

    fn set_nodelay(&mut self) {}

    fn set_oob_inline(&mut self) {}

    fn set_keepalive(&mut self, _: Keepalive) {}

    fn restore_keepalive(&mut self, _: Option<Keepalive>) {}

    fn set_user_timeout(&mut self, _: Duration) {}

    fn shutdown_send(&mut self) {}

    fn is_own_peer(&self) -> bool {
        false
    }

    fn close(self, _: CloseHow) {}
}

/// A server's layer over a socket, and the layer of its client.
struct Case {
    server: Box<dyn Layer>,
    client: Toy,
    socket: Script,
    answer: ByteQueue,
}

/// After the opening exchange.
fn case() -> Case {
    let (client, hello) = Toy::client(1);
    let server = Transport::Toy.accept().expect("it is a layer");
    let mut case = Case { server, client, socket: Script::default(), answer: ByteQueue::default() };
    case.socket.input.push_back(hello.as_slice().to_vec());
    assert_eq!(case.recv(100), Received::Bytes { count: 0, wire: hello.len(), short: true });
    case.client.receive(case.answer.as_slice(), &mut ByteQueue::default()).unwrap();
    case
}

impl Case {
    /// One receive into so much room.
    fn recv(&mut self, room: usize) -> Received {
        let mut buffer = vec![0; room];
        let (received, broken) =
            recv_through(self.server.as_mut(), &mut self.socket, &mut buffer, &mut self.answer);
        assert_eq!(broken, None);
        received
    }

    fn say(&mut self, say: impl FnOnce(&mut Toy, &mut ByteQueue)) -> Vec<u8> {
        let mut wire = ByteQueue::default();
        say(&mut self.client, &mut wire);
        wire.as_slice().to_vec()
    }
}

#[test]
fn without_a_layer_a_receive_is_that_of_the_socket() {
    assert!(Transport::Plain.accept().is_none());
    let mut socket = Script { input: [vec![1; 5]].into(), fin: true };
    let mut recv = |room: usize| recv(&mut socket, &mut vec![0; room]);
    assert_eq!(recv(3), Received::Bytes { count: 3, wire: 3, short: false });
    assert_eq!(recv(3), Received::Bytes { count: 2, wire: 2, short: true });
    assert_eq!(recv(3), Received::Eof);
}

#[test]
fn what_is_held_comes_before_what_the_socket_has_and_drained_means_both() {
    let mut case = case();
    let run = case.say(|_, wire| Toy::send_run(b'x', 250, wire));
    case.socket.input.push_back(run.clone());
    // The socket is drained with the first of these.
    assert_eq!(case.recv(100), Received::Bytes { count: 100, wire: run.len(), short: false });
    assert_eq!(case.recv(100), Received::Bytes { count: 100, wire: 0, short: false });
    case.socket.input.push_back(run.clone());
    assert_eq!(case.recv(100), Received::Bytes { count: 50, wire: 0, short: false });
    assert_eq!(case.recv(1000), Received::Bytes { count: 250, wire: run.len(), short: true });
    assert_eq!(case.recv(100), Received::WouldBlock);
}

#[test]
fn a_record_that_is_cut_is_nothing_for_the_session_until_it_is_whole() {
    let mut case = case();
    let mut first = case.say(|client, wire| client.send(b"hello", wire));
    let rest = first.split_off(6);
    case.socket.input.push_back(first);
    assert_eq!(case.recv(100), Received::Bytes { count: 0, wire: 6, short: true });
    assert_eq!(case.recv(100), Received::WouldBlock);
    case.socket.input.push_back(rest.clone());
    assert_eq!(case.recv(100), Received::Bytes { count: 5, wire: rest.len(), short: true });
}

#[test]
fn behind_the_last_word_only_the_fin_counts() {
    let mut case = case();
    let last = case.say(|client, wire| {
        client.send(b"bye", wire);
        client.finish(wire);
    });
    case.socket.input.push_back(last.clone());
    // Both came at once, and the bytes come first: the end is not missed, although no edge will tell it.
    assert_eq!(case.recv(100), Received::Bytes { count: 3, wire: last.len(), short: false });
    assert_eq!(case.server.phase(), Phase::Ended);
    assert_eq!(case.recv(100), Received::WouldBlock);
    case.socket.input.push_back(vec![0; 50]);
    assert_eq!(case.recv(100), Received::Bytes { count: 0, wire: 50, short: true });
    case.socket.fin = true;
    assert_eq!(case.recv(100), Received::Eof);
}

#[test]
fn what_a_layer_holds_is_counted_and_given_up() {
    let mut case = case();
    let idle = case.server.memory();
    let run = case.say(|_, wire| Toy::send_run(b'x', 100_000, wire));
    case.socket.input.push_back(run);
    case.recv(100);
    assert!((99_900..=RUN_MAX as usize + idle).contains(&case.server.memory()), "{}", case.server.memory());
    while case.server.held() > 0 {
        case.recv(50_000);
    }
    assert_eq!(case.server.memory(), idle);
}
