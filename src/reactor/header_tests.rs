//! Headers of proxies on the simulated kernel: read, however they are cut, and then gone.

use super::scene_tests::{ECHO, RESP, Scene};
use crate::core::buf::ByteQueue;
use crate::core::end::{CloseMode, Detector, Reason};
use crate::core::time::Duration;
use crate::net::Peer;
use crate::transport::{Layer, Toy, Transport};
use proxy_header::{ProxiedAddress, ProxyHeader, Tlv};

const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.1 1000 9000\r\n";

fn scene_with(query: &str) -> Scene {
    let listen = ["echo://127.0.0.1:7000", "resp://127.0.0.1:7001"];
    let settings = "accept_proxy=require&accept_proxy_trusted=10.0.0.0/8&handshake_timeout=off";
    let listen = listen.map(|url| format!("{url}?{settings}&{query}"));
    let mut scene = Scene::listening(&listen.each_ref().map(String::as_str));
    scene.reactor.keep_ends();
    scene
}

fn v2() -> Vec<u8> {
    let (source, destination) = ("192.0.2.7:1000".parse().unwrap(), "192.0.2.1:9000".parse().unwrap());
    let header = ProxyHeader::with_tlvs(
        Some(ProxiedAddress::stream(source, destination)),
        [Tlv::Authority("device.example".into())],
    );
    let mut bytes = Vec::new();
    header.encode_v2(&mut bytes).unwrap();
    bytes
}

fn client() -> Peer {
    Peer::new("192.0.2.7:1000".parse().unwrap())
}

#[track_caller]
fn ends(scene: &mut Scene, expected: (Reason, Detector, CloseMode)) {
    let ends = scene.reactor.take_ends();
    let ends: Vec<_> = ends.iter().map(|it| (it.end.reason, it.end.detector, it.end.close)).collect();
    assert_eq!(ends, [expected]);
}

/// Sends that in two pieces, and looks between them.
fn send_in_two(scene: &mut Scene, conn: usize, bytes: &[u8], at: usize) {
    for piece in [&bytes[..at], &bytes[at..]] {
        if !piece.is_empty() {
            scene.send_bytes(conn, piece);
        }
        scene.come_to_rest();
    }
}

#[test]
fn wherever_it_is_cut_the_connection_is_its_clients_then_and_plain() {
    for header in [LINE.to_vec(), v2()] {
        for (listener, say, expected) in
            [(ECHO, &b"hello"[..], &b"hello"[..]), (RESP, b"PING\r\nPING\r\n", b"+PONG\r\n+PONG\r\n")]
        {
            let bytes = [&header, say].concat();
            let mut scene = scene_with("");
            for at in 0..bytes.len() {
                let conn = scene.crowd(listener, 1)[0];
                send_in_two(&mut scene, conn, &bytes, at);
                assert_eq!(scene.recv(conn), expected, "cut at {at}");
                let (key, entry) = scene.reactor.table.iter().next().unwrap();
                assert_eq!(entry.peer, client());
                assert!(entry.buffers.is_none() && entry.life.is_open(), "nothing is left of it");
                assert_eq!(
                    scene.reactor.cx.annotations.proxied.of(key).unwrap().destination.unwrap().port(),
                    9000
                );
                scene.close(conn);
                scene.come_to_rest();
                let end = scene.reactor.take_ends().pop().unwrap();
                assert_eq!((end.peer, end.end.bytes_in), (client(), bytes.len() as u64));
                assert!(end.end.proxied.is_some() && scene.reactor.cx.annotations.proxied.of(key).is_none());
            }
        }
    }
}

#[test]
fn a_layer_begins_behind_it() {
    for header in [LINE.to_vec(), v2()] {
        let mut scene = scene_with("");
        scene.reactor.cx.listeners[ECHO].transport = Transport::Toy;
        let length = header.len() + Toy::client(3).1.as_slice().len();
        for at in 0..length {
            let (mut toy, opening) = Toy::client(3);
            let wire = [&header, opening.as_slice()].concat();
            let conn = scene.crowd(ECHO, 1)[0];
            send_in_two(&mut scene, conn, &wire, at);
            let mut ignored = ByteQueue::default();
            toy.receive(&scene.recv(conn), &mut ignored).unwrap();
            let mut said = ByteQueue::default();
            toy.send(b"hello", &mut said);
            scene.send_bytes(conn, said.as_slice());
            scene.come_to_rest();
            toy.receive(&scene.recv(conn), &mut ignored).unwrap();
            let mut heard = vec![0; toy.held()];
            toy.take(&mut heard);
            assert_eq!(heard, b"hello", "cut at {at}");
            scene.close(conn);
            scene.come_to_rest();
        }
    }
}

#[test]
fn what_is_none_or_does_not_come_resets_the_connection_and_says_why() {
    let mut scene = scene_with("accept_proxy_timeout=3s");
    let conn = scene.crowd(RESP, 1)[0];
    scene.send(conn, "PING\r\n");
    scene.come_to_rest();
    ends(&mut scene, (Reason::ProtocolProxyMissing, Detector::Protocol, CloseMode::Reset));
    let conn = scene.crowd(ECHO, 1)[0];
    scene.send(conn, "PROXY TCP4 192.0.2.7\r\n");
    scene.come_to_rest();
    ends(&mut scene, (Reason::ProtocolProxyMalformed, Detector::Protocol, CloseMode::Reset));
    let conn = scene.crowd(ECHO, 1)[0];
    scene.send_bytes(conn, &LINE[..20]);
    scene.pass(Duration::from_millis(2900));
    assert_eq!(scene.reactor.table.len(), 1);
    scene.pass(Duration::from_millis(200));
    ends(&mut scene, (Reason::ProtocolProxyTimeout, Detector::Timer, CloseMode::Reset));
    // One that closes is no one's fault, unless it has begun.
    for (begin, reason) in [(&b""[..], Reason::PeerFin), (&LINE[..20], Reason::PeerFinMidframe)] {
        let conn = scene.crowd(ECHO, 1)[0];
        if !begin.is_empty() {
            scene.send_bytes(conn, begin);
        }
        scene.finish(conn);
        scene.come_to_rest();
        ends(&mut scene, (reason, Detector::ZeroRead, CloseMode::PeerFirst));
    }
    assert_eq!(scene.reactor.cx.listeners[ECHO].connections, 0);
}

#[test]
fn limits_are_the_clients_and_not_the_proxys() {
    let mut scene = scene_with("source.max_connections=1&deny=198.51.100.0/24");
    let from = |scene: &mut Scene, ip: &str| {
        let conn = scene.crowd(ECHO, 1)[0];
        scene.send(conn, &format!("PROXY TCP4 {ip} 192.0.2.1 1000 9000\r\nhello"));
        scene.come_to_rest();
        (conn, scene.recv(conn) == b"hello")
    };
    let (first, let_in) = from(&mut scene, "192.0.2.7");
    assert!(let_in);
    assert!(from(&mut scene, "192.0.2.8").1);
    assert!(!from(&mut scene, "192.0.2.7").1);
    ends(&mut scene, (Reason::LocalSourceLimit, Detector::Policy, CloseMode::Reset));
    assert!(!from(&mut scene, "198.51.100.1").1);
    ends(&mut scene, (Reason::LocalDenied, Detector::Policy, CloseMode::Reset));
    scene.close(first);
    scene.come_to_rest();
    assert!(from(&mut scene, "192.0.2.7").1, "its place is free again");
}

#[test]
fn each_is_ended_at_a_moment_of_its_own_before_it_is_too_old() {
    let mut scene =
        Scene::listening(&["resp://127.0.0.1:7000?max_age=100s&heartbeat=off&handshake_timeout=off"]);
    scene.reactor.keep_ends();
    let all = scene.crowd(0, 50);
    scene.pass(Duration::from_secs(89));
    assert_eq!(scene.reactor.table.len(), 50);
    scene.pass(Duration::from_secs(5));
    let told = all.iter().filter(|conn| !scene.recv(**conn).is_empty()).count();
    assert!((10..40).contains(&told), "{told} within half of the tenth");
    scene.pass(Duration::from_secs(7));
    for conn in all {
        scene.close(conn);
    }
    scene.come_to_rest();
    let ends = scene.reactor.take_ends();
    assert_eq!(ends.len(), 50);
    assert!(ends.iter().all(|it| it.end.reason == Reason::LocalMaxAge && it.end.detector == Detector::Timer));
}
