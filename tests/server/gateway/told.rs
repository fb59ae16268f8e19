//! What happens to one side is told to the other: a FIN as a FIN, a reset as a reset.

use super::{
    Record, assert_same_bytes, counted, forwarded, gateway, narrow, narrow_backend, noise, pair, read_slowly,
    start,
};
use crate::common::{pass, until};
use std::io::{ErrorKind, Write};
use std::time::Duration;

const MIB: usize = 1 << 20;

#[test]
fn the_clients_fin_is_forwarded_behind_its_last_byte_and_the_answer_still_comes() {
    let (server, backend) = start("half_close=forward");
    let (mut client, mut upstream) = pair(&server, &backend);
    client.send("question");
    client.half_close();
    assert_eq!(upstream.read_to_end().unwrap(), b"question");
    // Long after its FIN, and in two pieces.
    pass(Duration::from_millis(100));
    upstream.send("ans");
    client.expect("ans");
    upstream.send("wer");
    drop(upstream);
    assert_eq!(client.read_to_end().unwrap(), b"wer");
    let record = Record::of(&server);
    record.expect(
        ["peer.fin", "zero_read", "peer_first"],
        ["peer.fin", "partner", "forwarded_fin"],
        ["peer.fin", "client"],
    );
    record.moved(8, 6);
    assert_eq!(record.pair["server"], backend.address().to_string());
    assert_eq!(record.pair["listener"], "gateway");
    assert_eq!(record.pair["attempts_failed"], "");
    let first_byte_s = record.pair["first_byte_s"].as_f64().unwrap();
    assert!((0.1..60.0).contains(&first_byte_s), "{record:#?}");
    let connect_s = record.pair["connect_s"].as_f64().unwrap();
    assert!(connect_s > 0.0 && connect_s < first_byte_s, "{record:#?}");
    assert_eq!(forwarded(&server), 1);
}

#[test]
fn the_servers_fin_is_forwarded_behind_its_last_byte_and_the_client_may_go_on() {
    let (server, backend) = start("half_close=forward");
    let (mut client, mut upstream) = pair(&server, &backend);
    upstream.send("banner");
    upstream.half_close();
    assert_eq!(client.read_to_end().unwrap(), b"banner");
    pass(Duration::from_millis(100));
    client.send("one");
    upstream.expect("one");
    client.send("two");
    drop(client);
    assert_eq!(upstream.read_to_end().unwrap(), b"two");
    let record = Record::of(&server);
    record.expect(
        ["upstream.fin", "partner", "forwarded_fin"],
        ["upstream.fin", "zero_read", "peer_first"],
        ["upstream.fin", "upstream"],
    );
    record.moved(6, 6);
    assert_eq!(forwarded(&server), 1);
}

#[test]
fn a_fin_waits_for_megabytes_before_it() {
    for from_client in [true, false] {
        let (server, backend) = start("half_close=forward");
        let (client, upstream) = pair(&server, &backend);
        let (mut sender, mut receiver) = if from_client { (client, upstream) } else { (upstream, client) };
        // More than all kernels on the way hold, so that the gateway has to wait in the middle of it.
        let (bytes, answer) = (noise(24 * MIB, 1), noise(MIB, 2));
        let expected = bytes.clone();
        let sending = std::thread::spawn(move || {
            sender.send(bytes);
            sender.half_close();
            sender
        });
        pass(Duration::from_millis(300));
        let (got, error) = read_slowly(&mut receiver);
        assert_eq!(error, None);
        assert_same_bytes(&got, &expected);
        let mut sender = sending.join().unwrap();
        // The other direction has lived on.
        let reply = answer.clone();
        let replying = std::thread::spawn(move || receiver.send(reply));
        assert_same_bytes(&sender.read_to_end().unwrap(), &answer);
        replying.join().unwrap();
        let record = Record::of(&server);
        if from_client {
            record.moved(24 * MIB, MIB).expect(
                ["peer.fin", "zero_read", "peer_first"],
                ["peer.fin", "partner", "forwarded_fin"],
                ["peer.fin", "client"],
            );
        } else {
            record.moved(MIB, 24 * MIB).expect(
                ["upstream.fin", "partner", "forwarded_fin"],
                ["upstream.fin", "zero_read", "peer_first"],
                ["upstream.fin", "upstream"],
            );
        }
    }
}

#[test]
fn where_a_fin_means_departure_it_ends_the_pair_and_what_was_sent_before_it_arrives() {
    let (server, backend) = start("half_close=end");
    let (mut client, mut upstream) = pair(&server, &backend);
    let bytes = noise(4 * MIB, 1);
    let expected = bytes.clone();
    let sending = std::thread::spawn(move || {
        client.send(bytes);
        client
    });
    pass(Duration::from_millis(200));
    let reading = std::thread::spawn(move || upstream.read_to_end());
    drop(sending.join().unwrap());
    assert_same_bytes(&reading.join().unwrap().unwrap(), &expected);
    let record = Record::of(&server);
    record.moved(4 * MIB, 0).expect(
        ["peer.fin", "zero_read", "peer_first"],
        ["peer.fin", "partner", "linger2"],
        ["peer.fin", "client"],
    );
    assert_eq!(forwarded(&server), 0);
}

#[test]
fn where_a_fin_means_departure_the_servers_last_words_arrive() {
    let (server, backend) = start("half_close=end");
    let (mut client, mut upstream) = pair(&server, &backend);
    client.send("question");
    upstream.expect("question");
    let bytes = noise(4 * MIB, 1);
    let expected = bytes.clone();
    let sending = std::thread::spawn(move || {
        upstream.send(bytes);
        drop(upstream);
    });
    pass(Duration::from_millis(200));
    let (got, error) = read_slowly(&mut client);
    assert_eq!(error, None);
    assert_same_bytes(&got, &expected);
    sending.join().unwrap();
    Record::of(&server).moved(8, 4 * MIB).expect(
        ["upstream.fin", "partner", "linger2"],
        ["upstream.fin", "zero_read", "peer_first"],
        ["upstream.fin", "upstream"],
    );
    assert_eq!(forwarded(&server), 0);
}

#[test]
fn both_sides_may_close_at_once() {
    for half_close in ["forward", "end"] {
        let (server, backend) = start(&format!("half_close={half_close}"));
        let (mut client, mut upstream) = pair(&server, &backend);
        // While the gateway does not run, so that it finds both.
        server.signal("STOP");
        client.send("there");
        upstream.send("back");
        client.half_close();
        upstream.half_close();
        server.signal("CONT");
        let (there, back) = (upstream.read_to_end().unwrap(), client.read_to_end().unwrap());
        drop((client, upstream));
        let record = Record::of(&server);
        // What is on its way to who has left is for nobody; what the one had sent that was seen to leave first arrives.
        if half_close == "forward" || record.pair["by"] == "client" {
            assert_eq!(there, b"there", "{record:#?}");
        }
        if half_close == "forward" || record.pair["by"] == "upstream" {
            assert_eq!(back, b"back", "{record:#?}");
        }
        assert!(
            ["peer.fin", "upstream.fin"].contains(&record.pair["reason"].as_str().unwrap()),
            "{record:#?}"
        );
        assert_eq!(record.client["reason"], record.upstream["reason"], "the first cause is that of both");
    }
}

#[test]
fn the_clients_reset_is_a_reset_at_the_server() {
    for half_close in ["forward", "end"] {
        let (server, backend) = start(&format!("half_close={half_close}"));
        let (mut client, mut upstream) = pair(&server, &backend);
        client.send("hello");
        upstream.expect("hello");
        client.reset();
        let error = upstream.read_to_end().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        Record::of(&server).moved(5, 0).expect(
            ["peer.reset", "recv_error", "reset"],
            ["peer.reset", "partner", "reset"],
            ["peer.reset", "client"],
        );
        assert_eq!(forwarded(&server), 0);
    }
}

/// Whatever waits for the server then is for nobody.
#[test]
fn the_clients_reset_does_not_wait_for_a_server_that_takes_nothing() {
    let (server, backend) = start("");
    let (mut client, mut upstream) = pair(&server, &backend);
    crate::common::means::flood(&mut client, || true);
    client.reset();
    let record = Record::of(&server);
    record.expect(
        ["peer.reset", "readiness", "reset"],
        ["peer.reset", "partner", "reset"],
        ["peer.reset", "client"],
    );
    let [up, _, lost_up, _] = record.bytes();
    assert!(up > 0 && lost_up > 0, "{record:#?}");
    let (_, error) = read_slowly(&mut upstream);
    assert_eq!(error, Some(ErrorKind::ConnectionReset));
}

/// Where a reset of a client is no more than a departure, what it had sent comes first, however slowly the server takes that.
#[test]
fn where_a_reset_is_softened_the_server_has_what_was_sent_before_it_and_a_fin() {
    for half_close in ["forward", "end"] {
        let backend = narrow_backend();
        let server =
            gateway(&backend.address().to_string(), &format!("client_reset=fin&half_close={half_close}"));
        let (mut client, mut upstream) = pair(&server, &backend);
        client.send("hello");
        upstream.expect("hello");
        crate::common::means::flood(&mut client, || true);
        client.reset();
        // Not before the reset is long known.
        pass(Duration::from_millis(200));
        let (got, error) = read_slowly(&mut upstream);
        assert_eq!(error, None, "after {} bytes", got.len());
        drop(upstream);
        let record = Record::of(&server);
        // Its kernel had taken from the client what ours had room for: the rest of it has gone with the reset.
        record.moved(5 + got.len(), 0);
        assert_eq!([&record.pair["reason"], &record.pair["by"]], ["peer.reset", "client"], "{record:#?}");
        assert_eq!([&record.client["close"], &record.upstream["close"]], ["reset", "linger2"], "{record:#?}");
        assert_eq!(forwarded(&server), 0);
    }
}

/// What had come of the server before is the client's, however slowly it takes that; a reset behind it is one.
#[test]
fn what_was_read_before_the_servers_reset_is_delivered_and_then_comes_the_reset() {
    for size in [1000, 8 * MIB] {
        let (server, backend) = start("");
        let mut client = narrow(&server);
        let mut upstream = backend.accept();
        let bytes = noise(size, 1);
        upstream.stream.set_nonblocking(true).unwrap();
        let sent = upstream.stream.write(&bytes).unwrap();
        until("something of it to be read", || counted(&server, "linger_upstream_received_bytes_total") > 0);
        upstream.reset();
        // The client begins to read when the reset is long known.
        pass(Duration::from_millis(200));
        let (got, error) = read_slowly(&mut client);
        assert_eq!(error, Some(ErrorKind::ConnectionReset), "after {} of {sent} bytes", got.len());
        assert_same_bytes(&got, &bytes[..got.len()]);
        assert!(got.len() == size || size > 1000, "{}", got.len());
        let record = Record::of(&server);
        // Which one is the first to tell depends on whether it was being read at that moment.
        let detector = record.upstream["detector"].as_str().unwrap();
        assert!(matches!(detector, "recv_error" | "readiness"), "{record:#?}");
        record.moved(0, got.len()).expect(
            ["upstream.reset", "partner", "reset"],
            ["upstream.reset", detector, "reset"],
            ["upstream.reset", "upstream"],
        );
    }
}

/// RFC 9293 3.10.7.4: a reset behind a FIN is still one. But to who had the FIN it is none.
#[test]
fn a_fin_that_was_forwarded_stays_one_when_a_reset_follows() {
    let (server, backend) = start("half_close=forward");
    let (mut client, mut upstream) = pair(&server, &backend);
    upstream.send("bye");
    upstream.half_close();
    assert_eq!(client.read_to_end().unwrap(), b"bye");
    upstream.reset();
    // What it sends now is for nobody, and is answered so.
    until("the reset to be handed on", || client.stream.write_all(b"more").is_err());
    let record = Record::of(&server);
    assert_eq!([&record.pair["by"], &record.pair["reason"]], ["upstream", "upstream.fin"], "{record:#?}");
    assert_eq!(forwarded(&server), 1);
}
