//! What is received in a batch, and what comes behind it, on the simulated kernel.

use super::RECEIVE_BYTES_MAX;
use super::parts::batch::{BYTES_MAX, CHUNKS_MAX};
use super::scene_tests::{ECHO, Scene};
use crate::core::end::Leg;
use crate::core::table::Key;
use crate::core::time::Duration;
use crate::net::{Kernel as _, Readiness, Ready};

/// A gateway, and clients that are connected to the server behind it.
struct Gateway {
    scene: Scene,
    /// The two connections of each pair, as numbers of the simulation: that of the client, and that to the server.
    pairs: Vec<[usize; 2]>,
}

impl Gateway {
    fn new(pairs: usize) -> Self {
        Self::with("forward", pairs)
    }

    fn with(half_close: &str, pairs: usize) -> Self {
        let listen = format!("tcp://127.0.0.1:7000?upstream=10.9.9.9:9000&half_close={half_close}");
        let mut scene = Scene::listening(&[&listen]);
        scene.add_upstream("10.9.9.9:9000");
        scene.crowd(ECHO, pairs);
        scene.come_to_rest();
        let number = |key| scene.reactor.table.get(key).unwrap().stream.conn();
        let pairs = scene.reactor.cx.gateway.pairs.iter();
        let pairs = pairs.map(|pair| [Leg::Client, Leg::Upstream].map(|leg| number(pair.leg(leg).unwrap())));
        let pairs = pairs.collect();
        Self { scene, pairs }
    }

    /// Waits until `count` connections are ready, and have these flags. Nothing is done about them.
    fn poll(&mut self, count: usize, flags: Readiness) -> Vec<Ready> {
        let mut ready: Vec<Ready> = Vec::new();
        for _ in 0..1000 {
            if ready.iter().filter(|event| event.readiness.has(flags)).count() == count {
                assert_eq!(ready.len(), count);
                return ready;
            }
            let mut brought = Vec::new();
            self.scene.reactor.cx.kernel.poll(Some(Duration::from_millis(100)), &mut brought).unwrap();
            for event in brought {
                match ready.iter_mut().find(|known| known.token == event.token) {
                    Some(known) => known.readiness = known.readiness | event.readiness,
                    None => ready.push(event),
                }
            }
        }
        panic!("{ready:?}");
    }

    fn spliced(&self) -> u64 {
        let counters = &self.scene.reactor.cx.observer.counters.listeners[ECHO];
        counters.upstream.as_ref().unwrap().spliced_bytes
    }

    /// Bytes received of clients, and sent to servers.
    fn bytes(&self) -> [u64; 2] {
        let counters = &self.scene.reactor.cx.observer.counters.listeners[ECHO];
        [counters.traffic.bytes_in, counters.upstream.as_ref().unwrap().traffic.bytes_out]
    }
}

#[test]
fn all_is_received_before_any_of_it_is_sent() {
    let mut gateway = Gateway::new(3);
    for (pair, text) in gateway.pairs.iter().zip(["one", "two", "three"]) {
        gateway.scene.send(pair[0], text);
    }
    for event in gateway.poll(3, Readiness::READABLE) {
        gateway.scene.reactor.dispatch(event);
    }
    assert_eq!(gateway.bytes(), [11, 0]);
    gateway.scene.reactor.send_batch();
    assert_eq!(gateway.bytes(), [11, 11]);
    gateway.scene.come_to_rest();
    for (pair, text) in gateway.pairs.iter().zip(["one", "two", "three"]) {
        assert_eq!(gateway.scene.recv(pair[1]), text.as_bytes());
    }
    // Nor does a turn leave any of it behind.
    gateway.scene.send(gateway.pairs[0][0], "more");
    gateway.scene.come_to_rest();
    assert_eq!(gateway.scene.recv(gateway.pairs[0][1]), b"more");
}

#[test]
fn whatever_else_is_reported_comes_behind_the_batch() {
    let mut gateway = Gateway::new(2);
    gateway.scene.send(gateway.pairs[0][0], "one");
    let first = gateway.poll(1, Readiness::READABLE);
    gateway.scene.send(gateway.pairs[1][0], "last");
    gateway.scene.finish(gateway.pairs[1][0]);
    let second = gateway.poll(1, Readiness::READ_CLOSED);
    gateway.scene.reactor.dispatch(first[0]);
    assert_eq!(gateway.bytes(), [3, 0]);
    gateway.scene.reactor.dispatch(second[0]);
    assert_eq!(gateway.bytes(), [7, 7]);
    gateway.scene.come_to_rest();
    let received = gateway.pairs.iter().map(|pair| gateway.scene.recv(pair[1]));
    assert_eq!(received.collect::<Vec<_>>(), [&b"one"[..], b"last"]);
    assert!(gateway.scene.is_closed(gateway.pairs[1][1]), "the FIN is behind the last byte");
}

#[test]
fn a_batch_takes_so_many_chunks_and_so_many_bytes() {
    let mut gateway = Gateway::new(CHUNKS_MAX + 1);
    for pair in &gateway.pairs {
        gateway.scene.send(pair[0], "x");
    }
    let ready = gateway.poll(CHUNKS_MAX + 1, Readiness::READABLE);
    let sent = ready.into_iter().map(|event| {
        gateway.scene.reactor.dispatch(event);
        gateway.bytes()[1]
    });
    let mut expected = [0; CHUNKS_MAX + 1];
    expected[CHUNKS_MAX - 1..].fill(CHUNKS_MAX as u64);
    assert_eq!(sent.collect::<Vec<_>>(), expected);
    gateway.scene.reactor.send_batch();

    let before = gateway.bytes();
    gateway.scene.send_bytes(gateway.pairs[0][0], &[b'x'; BYTES_MAX]);
    let ready = gateway.poll(1, Readiness::READABLE);
    gateway.scene.reactor.dispatch(ready[0]);
    assert_eq!(gateway.bytes(), before.map(|bytes| bytes + BYTES_MAX as u64));
}

#[test]
fn each_gets_what_its_partner_has_sent_and_nothing_else() {
    const PAIRS: usize = CHUNKS_MAX + 1;
    let mut gateway = Gateway::new(PAIRS);
    let text = |pair: usize, side: usize, round: usize| {
        let length = 1 + (pair * 97 + side * 31 + round * 811) % 250;
        let byte = u8::try_from((pair * 2 + side + round) % 251).unwrap();
        vec![byte; length]
    };
    for round in 0..5 {
        for (pair, ends) in gateway.pairs.iter().enumerate() {
            ends.iter().enumerate().for_each(|(side, &end)| {
                gateway.scene.send_bytes(end, &text(pair, side, round));
            });
        }
        for event in gateway.poll(2 * PAIRS, Readiness::READABLE) {
            gateway.scene.reactor.dispatch(event);
        }
        gateway.scene.reactor.send_batch();
        gateway.scene.pass(Duration::from_secs(1));
        for (pair, ends) in gateway.pairs.iter().enumerate() {
            for (side, &end) in ends.iter().enumerate() {
                assert!(gateway.scene.recv(end) == text(pair, 1 - side, round), "{pair} {side} {round}");
            }
        }
    }
}

#[test]
fn what_a_broken_side_had_said_comes_and_nothing_is_sent_to_it() {
    // Which side is broken; whether what it has said is looked at first; whether that is delivered.
    for (broken, is_first, is_delivered) in [
        (Leg::Upstream, true, true),
        (Leg::Upstream, false, true),
        (Leg::Client, true, true),
        (Leg::Client, false, false),
    ] {
        let mut gateway = Gateway::new(1);
        let [client, server] = gateway.pairs[0];
        gateway.scene.send(client, "request");
        let of_client = gateway.poll(1, Readiness::READABLE)[0];
        gateway.scene.send(server, "no room");
        let of_server = gateway.poll(1, Readiness::READABLE)[0];
        // Behind what the poller has told already.
        gateway.scene.abort(if broken == Leg::Client { client } else { server });
        gateway.poll(1, Readiness::ERROR);
        let mut ready = [of_client, of_server];
        if is_first != (broken == Leg::Client) {
            ready.reverse();
        }
        for event in ready {
            gateway.scene.reactor.dispatch(event);
        }
        gateway.scene.reactor.send_batch();
        gateway.scene.come_to_rest();
        let (other, said) = if broken == Leg::Client { (server, "request") } else { (client, "no room") };
        let expected = if is_delivered { said } else { "" };
        assert_eq!(gateway.scene.recv(other), expected.as_bytes(), "{broken:?} {is_first}");
    }
}

#[test]
fn what_a_server_says_to_a_client_that_has_left_is_lost_and_what_the_client_said_is_not() {
    let mut gateway = Gateway::with("end", 1);
    let [client, server] = gateway.pairs[0];
    gateway.scene.send(server, "answer");
    gateway.poll(1, Readiness::READABLE);
    gateway.scene.cut(server);
    gateway.scene.send(client, "request");
    gateway.scene.close(client);
    let left = gateway.poll(1, Readiness::READ_CLOSED)[0];
    gateway.scene.reactor.dispatch(left);
    // A close now would be answered by a reset to whatever the server says next, and the request would go with it.
    gateway.scene.pass(Duration::from_millis(100));
    assert_eq!(gateway.scene.reactor.table.len(), 1, "the server has not acknowledged the request");
    gateway.scene.mend(server);
    gateway.scene.pass(Duration::from_secs(1));
    assert_eq!(gateway.scene.recv(server), b"request");
    assert!(gateway.scene.is_closed(server));
    let counters = &gateway.scene.reactor.cx.observer.counters.listeners[ECHO];
    assert_eq!(counters.traffic.bytes_undelivered, b"answer".len() as u64);
}

#[test]
fn an_edge_that_brings_nothing_leaves_the_batch_alone() {
    let mut gateway = Gateway::new(2);
    let [first, second] = [0, 1].map(|pair: usize| gateway.pairs[pair][0]);
    gateway.scene.send(first, "read before");
    let stale = gateway.poll(1, Readiness::READABLE)[0];
    gateway.scene.reactor.read_once_more(Key::from_token(stale.token));
    let [_, before] = gateway.bytes();
    gateway.scene.send(second, "more");
    let ready = gateway.poll(1, Readiness::READABLE)[0];
    gateway.scene.reactor.dispatch(ready);
    gateway.scene.reactor.dispatch(stale);
    assert_eq!(gateway.bytes()[1], before);
    gateway.scene.send(first, "behind");
    gateway.scene.come_to_rest();
    let received = gateway.pairs.iter().map(|pair| gateway.scene.recv(pair[1]));
    assert_eq!(received.collect::<Vec<_>>(), [&b"read beforebehind"[..], b"more"]);
}

#[test]
fn an_end_of_file_in_the_place_of_bytes_is_behind_the_batch() {
    for half_close in ["forward", "end"] {
        let mut gateway = Gateway::with(half_close, 1);
        let [client, server] = gateway.pairs[0];
        gateway.scene.send(client, "last");
        let stale = gateway.poll(1, Readiness::READABLE)[0];
        // They were read for another reason, and then the FIN has come.
        gateway.scene.reactor.read_once_more(Key::from_token(stale.token));
        gateway.scene.finish(client);
        gateway.poll(1, Readiness::READ_CLOSED);
        gateway.scene.send(server, "answer");
        let answer = gateway.poll(1, Readiness::READABLE)[0];
        gateway.scene.reactor.dispatch(answer);
        gateway.scene.reactor.dispatch(stale);
        assert_eq!(gateway.scene.reactor.inspect().mistakes(), [""; 0]);
        gateway.scene.come_to_rest();
        assert_eq!(gateway.scene.recv(client), b"answer", "{half_close}");
        assert_eq!(gateway.scene.recv(server), b"last");
        assert!(gateway.scene.is_closed(server));
    }
}

#[test]
fn a_batch_is_not_paid_for_by_those_behind_it() {
    let mut gateway = Gateway::new(CHUNKS_MAX);
    let (last, others) = gateway.pairs.split_last().unwrap();
    let last = last[0];
    for pair in others {
        gateway.scene.send(pair[0], "x");
    }
    let batch = gateway.poll(CHUNKS_MAX - 1, Readiness::READABLE);
    gateway.scene.send(last, "last");
    gateway.scene.finish(last);
    let behind = gateway.poll(1, Readiness::READ_CLOSED);
    for event in batch.into_iter().chain(behind) {
        gateway.scene.reactor.dispatch(event);
    }
    assert!(gateway.scene.reactor.cx.posted.to_resume().is_empty(), "it has its whole share");
    assert_eq!(gateway.bytes(), [(CHUNKS_MAX - 1 + b"last".len()) as u64; 2]);
}

#[test]
fn a_check_finds_the_read_buffer_empty() {
    let mut gateway = Gateway::new(1);
    gateway.scene.send(gateway.pairs[0][0], "one");
    let ready = gateway.poll(1, Readiness::READABLE);
    gateway.scene.reactor.dispatch(ready[0]);
    let token = gateway.scene.reactor.cx.gateway.checks.next_token();
    gateway.scene.reactor.dispatch(Ready { token, readiness: Readiness::READABLE });
    assert_eq!(gateway.bytes(), [3, 3]);
}

#[test]
fn the_first_receive_counts_against_the_budget() {
    let mut gateway = Gateway::new(1);
    gateway.scene.reactor.cx.settings.turn.read_bytes = RECEIVE_BYTES_MAX;
    gateway.scene.send_bytes(gateway.pairs[0][0], &vec![b'x'; 2 * RECEIVE_BYTES_MAX]);
    let ready = gateway.poll(1, Readiness::READABLE);
    gateway.scene.poll_for(Duration::from_secs(1));
    gateway.scene.reactor.dispatch(ready[0]);
    assert_eq!(gateway.bytes()[0], RECEIVE_BYTES_MAX as u64);
    assert_eq!(gateway.scene.reactor.cx.posted.to_resume().len(), 1);
}

#[test]
fn what_does_not_fit_into_one_receive_is_read_to_its_end() {
    const BYTES: usize = 2 * RECEIVE_BYTES_MAX;
    let mut gateway = Gateway::new(1);
    let [client, server] = gateway.pairs[0];
    gateway.scene.send(client, "first");
    gateway.scene.come_to_rest();
    gateway.scene.send_bytes(client, &vec![b'x'; BYTES]);
    let ready = gateway.poll(1, Readiness::READABLE);
    gateway.scene.poll_for(Duration::from_secs(1));
    gateway.scene.reactor.dispatch(ready[0]);
    assert_eq!(gateway.bytes()[0], (b"first".len() + BYTES) as u64);
    gateway.scene.come_to_rest();
    assert_eq!(gateway.scene.recv(server).len(), b"first".len() + BYTES);
    // It is in bulk now, and not received from.
    let before = gateway.spliced();
    gateway.scene.send_bytes(client, &vec![b'x'; BYTES]);
    gateway.scene.poll_for(Duration::from_secs(1));
    gateway.scene.reactor.dispatch(ready[0]);
    assert_eq!(gateway.spliced() - before, BYTES as u64);
}
