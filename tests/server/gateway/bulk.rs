//! Much at a time goes from one side to the other within the kernel: every byte arrives, in order, and an end is the same end.

use super::{Record, assert_same_bytes, counted, narrow, noise, pair, read_slowly, start};
use crate::common::{Client, Server};
use socket2::SockRef;
use std::io::{Read, Write};
use std::thread;

const MIB: usize = 1 << 20;

fn spliced(server: &Server) -> usize {
    counted(server, "linger_upstream_spliced_bytes_total")
}

/// Sends all of it from a thread of its own: it may wait for who reads.
fn sending(from: &Client, bytes: &[u8]) -> thread::JoinHandle<()> {
    let (mut from, bytes) = (Client { stream: from.stream.try_clone().unwrap() }, bytes.to_vec());
    thread::spawn(move || from.send(bytes))
}

fn goes_through(from: &mut Client, to: &mut Client, bytes: &[u8]) {
    let sending = sending(from, bytes);
    let mut got = vec![0; bytes.len()];
    to.stream.read_exact(&mut got).unwrap();
    sending.join().unwrap();
    assert_same_bytes(&got, bytes);
}

#[test]
fn much_is_not_copied_either_way() {
    let (server, backend) = start("");
    let (mut client, mut upstream) = pair(&server, &backend);
    let bytes = noise(32 * MIB, 1);
    goes_through(&mut client, &mut upstream, &bytes);
    let there = spliced(&server);
    goes_through(&mut upstream, &mut client, &bytes);
    let back = spliced(&server) - there;
    assert!(there > 8 * MIB && back > 8 * MIB, "of 32 MiB there {there} B, back {back} B");
    drop(client);
    assert_eq!(upstream.read_to_end().unwrap(), b"");
    drop(upstream);
    Record::of(&server).moved(32 * MIB, 32 * MIB);
}

#[test]
fn little_is_copied_and_costs_no_pipe() {
    let (server, backend) = start("");
    let (mut client, mut upstream) = pair(&server, &backend);
    for _ in 0..50 {
        client.send("there");
        upstream.expect("there");
        upstream.send("back");
        client.expect("back");
    }
    assert_eq!(spliced(&server), 0);
}

/// What a slow reader has no room for comes out of the pipe again, and is sent before anything that follows.
#[test]
fn a_slow_reader_has_all_of_it_in_order() {
    let bytes = noise(4 * MIB, 2);
    let (server, backend) = start("");
    let (mut client, upstream) = (narrow(&server), backend.accept());
    let sender = sending(&upstream, &bytes);
    drop(upstream);
    let (got, error) = read_slowly(&mut client);
    assert_eq!(error, None);
    assert_same_bytes(&got, &bytes);
    sender.join().unwrap();
    assert!(spliced(&server) > 0);
}

#[test]
fn an_urgent_byte_in_the_middle_of_much_stays_in_its_place() {
    let (server, backend) = start("");
    let (mut client, mut upstream) = pair(&server, &backend);
    has_it_in_its_place(&mut client, &mut upstream);
    has_it_in_its_place(&mut upstream, &mut client);
    assert!(spliced(&server) > 0);
}

fn has_it_in_its_place(from: &mut Client, to: &mut Client) {
    let (before, after) = (noise(8 * MIB, 3), noise(8 * MIB, 4));
    let mut sender = Client { stream: from.stream.try_clone().unwrap() };
    let all = [before.as_slice(), b"!", &after].concat();
    let sending = thread::spawn(move || {
        sender.send(before);
        assert_eq!(SockRef::from(&sender.stream).send_out_of_band(b"!").unwrap(), 1);
        sender.send(after);
    });
    let mut got = vec![0; all.len()];
    to.stream.read_exact(&mut got).unwrap();
    sending.join().unwrap();
    assert_same_bytes(&got, &all);
}

/// It is the one call of ours that cannot be told not to raise SIGPIPE (splice(2)): the server lives on, and says who it was.
#[test]
fn a_server_that_resets_in_the_middle_of_much_ends_the_pair_and_nothing_else() {
    const PAIRS: usize = 20;
    let (server, backend) = start("");
    for _ in 0..PAIRS {
        let (mut client, mut upstream) = pair(&server, &backend);
        let sender = thread::spawn(move || while client.stream.write(&vec![7; 65_536]).is_ok() {});
        upstream.stream.read_exact(&mut vec![0; MIB]).unwrap();
        upstream.reset();
        sender.join().unwrap();
    }
    let ends = server.wait_ends(2 * PAIRS);
    let of = |reason: &str| ends.iter().filter(|end| end["reason"] == reason).count();
    assert_eq!(of("upstream.reset"), 2 * PAIRS, "{ends:?}");
    assert!(spliced(&server) > 0);
}
