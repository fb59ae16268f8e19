//! What ends a pair from here does it in order: each side has what the other had sent it, and then an end of file.

use super::{
    Backend, Record, assert_same_bytes, forwarded, gateway, gateway_with, narrow, narrow_backend, noise,
    pair, read_slowly, start,
};
use crate::common::{Client, Server, pass, until, wait_for};
use std::io::{ErrorKind, Write};
use std::time::Duration;

const MIB: usize = 1 << 20;

fn kick(server: &Server) {
    let key =
        server.connections("gateway").iter().find(|conn| conn["leg"] != "upstream").unwrap()["key"].clone();
    let (status, body) = server.admin("POST", &format!("/connections/{}/end", key.as_str().unwrap()));
    assert!(status.contains("202"), "{status} {body}");
}

/// Sends until the gateway takes no more. Gives how many bytes were sent; reads nothing.
fn fill(sender: &mut Client, bytes: &[u8]) -> usize {
    sender.stream.set_nonblocking(true).unwrap();
    let (mut sent, mut stuck) = (0, 0);
    // The kernel in between is given time to move on.
    while stuck < 20 {
        match sender.stream.write(&bytes[sent..]) {
            Ok(count) => (sent, stuck) = (sent + count, 0),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                stuck += 1;
                pass(Duration::from_millis(10));
            }
        }
        assert!(sent < bytes.len(), "{sent} bytes are taken though nobody reads them");
    }
    sender.stream.set_nonblocking(false).unwrap();
    sent
}

#[test]
fn a_pair_that_the_operator_ends_is_ended_in_order_on_both_sides() {
    for half_close in ["forward", "end"] {
        let (server, backend) = start(&format!("half_close={half_close}"));
        let (mut client, mut upstream) = pair(&server, &backend);
        client.send("there");
        upstream.expect("there");
        upstream.send("back");
        client.expect("back");
        kick(&server);
        assert_eq!(client.read_to_end().unwrap(), b"");
        assert_eq!(upstream.read_to_end().unwrap(), b"");
        let record = Record::of(&server);
        record.moved(5, 4).expect(
            ["local.kicked", "operator", "linger2"],
            ["local.kicked", "partner", "linger2"],
            ["local.kicked", "client"],
        );
        assert_eq!(forwarded(&server), 0);
    }
}

/// All that had been read of the server, while the client takes it in its own time.
#[test]
fn who_is_kicked_reads_to_the_end_what_was_on_its_way() {
    let (server, backend) = start("linger=30s&linger_max=60s");
    let mut client = narrow(&server);
    let mut upstream = backend.accept();
    let bytes = noise(32 * MIB, 1);
    fill(&mut upstream, &bytes);
    kick(&server);
    let (got, error) = read_slowly(&mut client);
    assert_eq!(error, None, "after {} bytes", got.len());
    assert_same_bytes(&got, &bytes[..got.len()]);
    let record = Record::of(&server);
    record.expect(
        ["local.kicked", "operator", "linger2"],
        ["local.kicked", "partner", "linger2"],
        ["local.kicked", "client"],
    );
    assert_eq!(record.bytes()[1], got.len(), "{record:#?}");
}

#[test]
fn a_server_that_reads_slowly_has_all_of_it_before_the_end_of_file_of_a_kick() {
    let backend = narrow_backend();
    let server = gateway(&backend.address().to_string(), "linger=30s&linger_max=60s");
    let (mut client, mut upstream) = pair(&server, &backend);
    let bytes = noise(32 * MIB, 1);
    fill(&mut client, &bytes);
    kick(&server);
    let (got, error) = read_slowly(&mut upstream);
    assert_eq!(error, None, "after {} bytes", got.len());
    assert_same_bytes(&got, &bytes[..got.len()]);
    let record = Record::of(&server);
    assert_eq!(record.bytes()[0], got.len(), "{record:#?}");
    assert_eq!(record.upstream["close"], "linger2");
}

#[test]
fn a_drain_ends_pairs_in_order_on_both_sides_and_not_all_at_once() {
    let backend = Backend::start();
    let mut server =
        gateway_with(&backend.address().to_string(), "", &["drain.spread=1s", "drain.timeout=1m"]);
    let mut pairs: Vec<_> = (0..20).map(|_| pair(&server, &backend)).collect();
    for (client, upstream) in &mut pairs {
        client.send("there");
        upstream.expect("there");
        upstream.send("back");
    }
    server.signal("TERM");
    let begun = crate::common::now();
    for (client, upstream) in &mut pairs {
        assert_eq!(client.read_to_end().unwrap(), b"back");
        assert_eq!(upstream.read_to_end().unwrap(), b"");
    }
    assert!(begun.elapsed() > Duration::from_millis(700), "{:?}", begun.elapsed());
    assert_eq!(server.wait_exit(), Some(0));
    wait_for("the last line", || server.events("stopped").pop());
    let lines = server.events("pair");
    assert_eq!(lines.len(), 20, "{lines:#?}");
    for line in lines {
        assert_eq!([&line["reason"], &line["by"]], ["local.drain", "client"], "{line}");
        assert_eq!([&line["lost_up"], &line["lost_down"]], [0, 0], "{line}");
    }
    for end in server.wait_ends(40) {
        let detector = if end["leg"] == "client" { "policy" } else { "partner" };
        assert_eq!([&end["reason"], &end["detector"], &end["close"]], ["local.drain", detector, "linger2"]);
    }
    let stopped = wait_for("the last line", || server.events("stopped").pop());
    assert_eq!((&stopped["accepted"], &stopped["ended"]), (&20.into(), &20.into()), "{stopped}");
}

/// A drain that waits for a client leaves it the time to take what it is still sent.
#[test]
fn a_drain_delivers_what_was_on_its_way() {
    let backend = Backend::start();
    let query = "linger=30s&linger_max=60s";
    let mut server =
        gateway_with(&backend.address().to_string(), query, &["drain.spread=0s", "drain.timeout=1m"]);
    let mut client = narrow(&server);
    let mut upstream = backend.accept();
    let bytes = noise(32 * MIB, 1);
    fill(&mut upstream, &bytes);
    server.signal("TERM");
    let (got, error) = read_slowly(&mut client);
    assert_eq!(error, None, "after {} bytes", got.len());
    assert_same_bytes(&got, &bytes[..got.len()]);
    assert_eq!(server.wait_exit(), Some(0));
    let line = wait_for("the pair's line", || server.events("pair").pop());
    assert_eq!(line["bytes_down"], got.len(), "{line}");
}

/// `close` with unread input resets, and a reset takes from the peer what it has not read yet.
#[test]
fn a_client_that_goes_on_sending_has_the_last_word_of_its_server() {
    // Its server takes little, so that some of what it sends always waits: it is seen to send on.
    let backend = narrow_backend();
    let server = gateway(&backend.address().to_string(), "half_close=end&linger=10s&linger_max=20s");
    let client = narrow(&server);
    let mut upstream = backend.accept();
    let mut sender = client.stream.try_clone().unwrap();
    // Until it is told that nobody takes it.
    let sending = std::thread::spawn(move || while sender.write_all(&[b'x'; 1000]).is_ok() {});
    let bytes = noise(2 * MIB, 1);
    let words = bytes.clone();
    let answering = std::thread::spawn(move || {
        upstream.expect(vec![b'x'; 10_000]);
        let mut reader = Client { stream: upstream.stream.try_clone().unwrap() };
        // It reads on meanwhile, for a server that closes with unread input resets by itself.
        let reading = std::thread::spawn(move || drop(read_slowly(&mut reader)));
        upstream.send(words);
        upstream.half_close();
        reading.join().unwrap();
    });
    let mut client = client;
    let (got, error) = read_slowly(&mut client);
    // What it sends after the last word is answered by a reset, which takes nothing of that.
    assert!(matches!(error, None | Some(ErrorKind::ConnectionReset)), "{error:?} after {} bytes", got.len());
    assert_same_bytes(&got, &bytes);
    drop(client);
    sending.join().unwrap();
    answering.join().unwrap();
    let record = Record::of(&server);
    assert_eq!([&record.pair["reason"], &record.pair["by"]], ["upstream.fin", "upstream"], "{record:#?}");
    assert_eq!(record.bytes()[1], 2 * MIB, "{record:#?}");
    assert_eq!(record.client["close"], "linger2", "{record:#?}");
}

/// As soon as it has all of it: what it still sends does not put that off until the deadline.
#[test]
fn a_client_that_goes_on_sending_has_its_end_of_file_behind_the_last_word_of_its_server() {
    let (server, backend) = start("half_close=end&linger=40s&linger_max=80s");
    let mut client = narrow(&server);
    let mut upstream = backend.accept();
    let mut sender = client.stream.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        while sender.write_all(b"x").is_ok() {
            pass(Duration::from_millis(1));
        }
    });
    upstream.expect("xxx");
    let bytes = noise(300_000, 1);
    let mut reader = Client { stream: upstream.stream.try_clone().unwrap() };
    let reading = std::thread::spawn(move || drop(read_slowly(&mut reader)));
    upstream.send(&bytes);
    upstream.half_close();
    let begun = crate::common::now();
    let (got, error) = read_slowly(&mut client);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(matches!(error, None | Some(ErrorKind::ConnectionReset)), "{error:?} after {} bytes", got.len());
    assert_same_bytes(&got, &bytes);
    drop(client);
    sending.join().unwrap();
    reading.join().unwrap();
}

/// What it sends to a socket that is closed is answered by a reset, which takes what that had still to send.
#[test]
fn a_client_that_takes_its_time_may_speak_when_its_server_has_left() {
    let (server, backend) = start("half_close=end&linger=40s&linger_max=80s");
    let mut client = narrow(&server);
    let mut upstream = backend.accept();
    let bytes = noise(300_000, 1);
    upstream.send(&bytes);
    drop(upstream);
    until("all of it to be in our kernel", || {
        let rows = server.connections("gateway");
        server.ends().iter().any(|end| end["leg"] == "upstream")
            && rows.iter().all(|row| row["queue_bytes"] == 0)
    });
    // Not before its socket would have been closed.
    pass(Duration::from_millis(200));
    client.send("late");
    pass(Duration::from_millis(200));
    let (got, error) = read_slowly(&mut client);
    assert!(matches!(error, None | Some(ErrorKind::ConnectionReset)), "{error:?} after {} bytes", got.len());
    assert_same_bytes(&got, &bytes);
    drop(client);
    let record = Record::of(&server);
    assert_eq!([&record.pair["reason"], &record.pair["by"]], ["upstream.fin", "upstream"], "{record:#?}");
    assert_eq!(record.bytes(), [0, 300_000, 4, 0], "{record:#?}");
}

/// Its socket does not stay for ever: what it says after `linger` is answered by a reset, and that takes what it has not read.
#[test]
fn a_client_that_takes_nothing_for_too_long_and_then_speaks_loses_the_rest() {
    let (server, backend) = start("half_close=end&linger=200ms&linger_max=400ms");
    let mut client = narrow(&server);
    let mut upstream = backend.accept();
    let bytes = noise(300_000, 1);
    upstream.send(&bytes);
    drop(upstream);
    let record = Record::of(&server);
    record.moved(0, 300_000).expect(
        ["upstream.fin", "partner", "linger2"],
        ["upstream.fin", "zero_read", "peer_first"],
        ["upstream.fin", "upstream"],
    );
    client.send("late");
    pass(Duration::from_millis(200));
    let (got, error) = read_slowly(&mut client);
    assert_eq!(error, Some(ErrorKind::ConnectionReset), "after {} bytes", got.len());
    assert!(got.len() < bytes.len());
    assert_same_bytes(&got, &bytes[..got.len()]);
}

/// One that sends for ever and reads nothing does not stay.
#[test]
fn a_client_that_takes_nothing_any_more_is_let_go_at_a_deadline() {
    let (server, backend) = start("slow_time=2s");
    let mut client = narrow(&server);
    let mut upstream = backend.accept();
    fill(&mut upstream, &noise(32 * MIB, 1));
    client.stream.set_nonblocking(true).unwrap();
    until("its end", || {
        let _ = client.stream.write(&[b'x'; 1000]);
        server.events("pair").len() == 1
    });
    let record = Record::of(&server);
    record.expect(
        ["slow.time", "timer", "reset"],
        ["slow.time", "partner", "reset"],
        ["slow.time", "client"],
    );
    assert!(record.bytes()[3] > 0, "what it did not take is told: {record:#?}");
    assert!(upstream.read_to_end().is_err(), "a reset is handed on");
}
