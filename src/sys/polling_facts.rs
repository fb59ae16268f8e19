//! What readiness means and does not mean, seen through [`Os`]: why the reactor takes it for a hint, drains to
//! `WouldBlock`, and does not trust a short read alone.

use super::testing::{self, Client, fill, until};
use super::{Os, Stream};
use crate::core::time::Duration;
use crate::net::{Interest, Kernel as _, Readiness, Ready, Received, Sent, Stream as _, Token};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;

const WATCHED: Token = Token(1);

fn watch(server: &Stream) -> Os {
    let mut os = Os::without_signals().unwrap();
    os.watch(server, WATCHED, Interest::ReadWrite).unwrap();
    os
}

fn poll(os: &mut Os, timeout: Duration) -> Vec<Ready> {
    let mut ready = Vec::new();
    os.poll(Some(timeout), &mut ready).unwrap();
    ready
}

/// Polls until an event is as wanted.
fn expect(os: &mut Os, what: &str, wanted: impl Fn(&Ready) -> bool) {
    until(what, || poll(os, Duration::from_millis(50)).iter().any(&wanted));
}

/// The same socket once more.
fn duplicate(server: &Stream) -> Client {
    server.as_fd().try_clone_to_owned().unwrap().into()
}

#[test]
fn readiness_is_a_hint_and_no_proof() {
    let (mut client, mut server) = testing::pair();
    let mut os = watch(&server);
    client.write_all(b"x").unwrap();
    expect(&mut os, "input", |ready| ready.readiness.has(Readiness::READABLE));
    // Somebody else was faster, as another thread or the kernel itself (a bad checksum) may be.
    assert_eq!(duplicate(&server).read(&mut [0; 8]).unwrap(), 1);
    assert_eq!(server.recv(&mut [0; 8]), Received::WouldBlock);
}

#[test]
fn room_for_output_is_told_only_when_a_third_of_the_buffer_is_free() {
    let (mut client, mut server) = testing::pair();
    fill(&mut server);
    let mut os = watch(&server);
    assert_eq!(poll(&mut os, Duration::ZERO), []);
    // include/net/sock.h: sk_stream_is_writeable, against sk_stream_memory_free which send asks.
    until("room that nothing told of", || {
        client.read_exact(&mut [0; 16_384]).unwrap();
        let told = poll(&mut os, Duration::from_millis(5));
        assert_eq!(told, [], "send would have blocked until now");
        matches!(server.send(b"x"), Sent::Bytes(1))
    });
    client.set_nonblocking(true).unwrap();
    until("the edge, with more room", || {
        let _ = client.read(&mut [0; 16_384]);
        poll(&mut os, Duration::ZERO).iter().any(|ready| ready.readiness.has(Readiness::WRITABLE))
    });
}

#[test]
fn a_receive_stops_at_the_urgent_mark_so_a_short_read_proves_nothing() {
    let (client, mut server) = testing::pair();
    let mut client = Stream::new(client.into());
    assert_eq!(client.send(b"abc"), Sent::Bytes(3));
    assert_eq!(client.send_oob(b'!'), Sent::Bytes(1));
    assert_eq!(client.send(b"def"), Sent::Bytes(3));
    until("all has arrived", || {
        let evidence = client.evidence().unwrap();
        (evidence.unacked, evidence.notsent_bytes) == (0, 0)
    });
    let mut buffer = [0; 64];
    assert_eq!(server.recv(&mut buffer), Received::Bytes(3));
    assert_eq!(&buffer[..3], b"abc");
    assert_eq!(server.recv(&mut buffer), Received::Bytes(3), "and there was more");
    assert_eq!(&buffer[..3], b"def");
}

#[test]
fn our_own_shutdown_of_reading_looks_like_a_fin() {
    let (_client, mut server) = testing::pair();
    let mut os = watch(&server);
    duplicate(&server).shutdown(Shutdown::Read).unwrap();
    expect(&mut os, "the end of reading", |ready| ready.readiness.has(Readiness::READ_CLOSED));
    assert_eq!(server.recv(&mut [0; 8]), Received::Eof, "though the peer has sent none");
}

#[test]
fn a_duplicate_keeps_a_dropped_socket_in_the_poller() {
    let (mut client, server) = testing::pair();
    let mut os = watch(&server);
    let duplicate = duplicate(&server);
    drop(server);
    client.write_all(b"x").unwrap();
    expect(&mut os, "input for a descriptor that is gone", |ready| {
        ready.token == WATCHED && ready.readiness.has(Readiness::READABLE)
    });
    drop(duplicate);
    assert_eq!(poll(&mut os, Duration::ZERO), []);
}
