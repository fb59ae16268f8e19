//! Deadlines of a pair: idle, silent, half-closed. What keeps which of them away, and what does not.

use super::{Backend, Record, forwarded, pair, start};
use crate::common::{Client, Server, now, pass, until};
use std::io::{Read, Write};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Does something every tenth of a second, for a while.
fn for_a_while(time: Duration, mut act: impl FnMut()) {
    let begun = now();
    while begun.elapsed() < time {
        act();
        pass(SECOND / 10);
    }
}

/// Has one leg say something.
fn says(speaker: &mut Client, listener: &mut Client) {
    speaker.send("x");
    listener.expect("x");
}

/// How long after `begun` the only pair ended.
fn ended_after(server: &Server, begun: std::time::Instant) -> Duration {
    until("the end of the pair", || !server.events("pair").is_empty());
    begun.elapsed()
}

#[test]
fn a_pair_is_idle_when_neither_side_says_anything() {
    let (server, backend) = start("idle_timeout=1s");
    let (mut client, mut upstream) = pair(&server, &backend);
    for_a_while(3 * SECOND, || says(&mut upstream, &mut client));
    for_a_while(3 * SECOND, || says(&mut client, &mut upstream));
    assert!(server.events("pair").is_empty(), "one side that speaks is enough");
    let begun = now();
    let took = ended_after(&server, begun);
    assert!(took > SECOND * 8 / 10, "{took:?}");
    Record::of(&server).expect(
        ["local.idle", "timer", "linger2"],
        ["local.idle", "partner", "linger2"],
        ["local.idle", "client"],
    );
    assert_eq!(client.read_to_end().unwrap(), b"");
    assert_eq!(upstream.read_to_end().unwrap(), b"");
}

#[test]
fn an_answering_server_does_not_keep_a_silent_client_alive() {
    let (server, backend) = start("heartbeat.style=client&heartbeat.timeout=1s&heartbeat.grace=500ms");
    let (client, mut upstream) = pair(&server, &backend);
    // Its kernel acknowledges all of it.
    until("the end of the pair", || {
        let _ = upstream.stream.write_all(b"x");
        !server.events("pair").is_empty()
    });
    drop(client);
    let record = Record::of(&server);
    assert_eq!(
        [&record.client["reason"], &record.client["detector"]],
        ["stuck.frozen", "heartbeat"],
        "{record:#?}"
    );
    assert_eq!([&record.upstream["reason"], &record.upstream["detector"]], ["stuck.frozen", "partner"]);
    assert_eq!(record.pair["by"], "client");
}

#[test]
fn a_beating_client_is_alive_however_silent_its_server_is() {
    let (server, backend) = start("heartbeat.style=client&heartbeat.timeout=1s&heartbeat.grace=500ms");
    let (mut client, mut upstream) = pair(&server, &backend);
    for_a_while(5 * SECOND, || says(&mut client, &mut upstream));
    assert!(server.events("pair").is_empty() && server.events("suspect").is_empty());
    assert_eq!(server.connections("gateway").len(), 2);
}

/// A word of the client makes it a live one again, and it has what was held back meanwhile.
#[test]
fn a_suspect_client_that_speaks_is_sent_what_was_held_back() {
    let (server, backend) = start("heartbeat.style=client&heartbeat.timeout=1s&heartbeat.grace=1m");
    let (mut client, mut upstream) = pair(&server, &backend);
    until("suspicion", || server.connections("gateway").iter().any(|conn| conn["state"] == "suspect"));
    let bytes = super::noise(1 << 20, 1);
    let sending = std::thread::spawn({
        let bytes = bytes.clone();
        move || {
            upstream.send(bytes);
            upstream
        }
    });
    pass(SECOND / 5);
    client.send("here");
    let mut got = vec![0; bytes.len()];
    let mut at = 0;
    while at < got.len() {
        let count = client.stream.read(&mut got[at..]).unwrap();
        assert!(count > 0);
        at += count;
        // A client that reads beats as well.
        if at % 16 == 0 {
            client.send("");
        }
    }
    super::assert_same_bytes(&got, &bytes);
    let mut upstream = sending.join().unwrap();
    upstream.expect("here");
}

#[test]
fn a_half_closed_pair_lives_while_bytes_move_and_not_much_longer() {
    for from_client in [true, false] {
        let (server, backend) =
            start("half_close=forward&half_close_timeout=1s&linger=200ms&linger_max=400ms");
        let (client, upstream) = pair(&server, &backend);
        let (mut closed, mut open) = if from_client { (client, upstream) } else { (upstream, client) };
        closed.half_close();
        assert_eq!(open.read_to_end().unwrap(), b"");
        for_a_while(4 * SECOND, || says(&mut open, &mut closed));
        assert!(server.events("pair").is_empty(), "it moves");
        let took = ended_after(&server, now());
        assert!(took > SECOND * 8 / 10, "{took:?}");
        let record = Record::of(&server);
        let (reason, by) = if from_client { ("peer.fin", "client") } else { ("upstream.fin", "upstream") };
        assert_eq!([&record.pair["reason"], &record.pair["by"]], [reason, by], "{record:#?}");
        assert_eq!(forwarded(&server), 1);
        // It is told that nobody listens any more.
        until("the end of the open side", || {
            open.stream.write_all(b"x").is_err() || open.stream.read(&mut [0]).is_ok_and(|count| count == 0)
        });
    }
}

/// What moves is what the slow side takes, too: nothing new may come for a long time meanwhile.
#[test]
fn a_half_closed_pair_lives_while_a_slow_reader_takes_what_waits() {
    let backend = Backend::start();
    let query = "half_close=forward&half_close_timeout=1s&linger=1s&linger_max=1m&send_buffer=64KiB";
    let server = super::gateway(&backend.address().to_string(), query);
    let mut client = super::narrow(&server);
    client.half_close();
    let mut upstream = backend.accept();
    let bytes = super::noise(200_000, 1);
    upstream.send(&bytes);
    drop(upstream);
    let (mut got, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let count = client.stream.read(&mut buffer).unwrap();
        if count == 0 {
            break;
        }
        got.extend(&buffer[..count]);
        // Some five seconds in all.
        pass(Duration::from_millis(100));
    }
    super::assert_same_bytes(&got, &bytes);
    Record::of(&server).moved(0, bytes.len());
}
