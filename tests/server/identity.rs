//! Who has a say in the record of a connection that holds an identity: its heartbeat channel, if it has agreed to one;
//! the newer connection that takes the identity; a client or an operator that ends it. In one process; for several
//! workers see `workers/identity.rs`.

#![allow(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]
#![allow(clippy::float_cmp, reason = "metrics are whole numbers")]

use crate::common::{Client, Server, until};
use serde_json::Value;
use std::io::Read;

/// Nothing is expected of anybody, and what has become suspect ends soon.
const RESP: &str = "resp://127.0.0.1:0?heartbeat.style=off&heartbeat.grace=300ms&linger=200ms";

fn start() -> Server {
    Server::start(&["--listen", RESP, "--admin", "127.0.0.1:0"])
}

/// What is published for a subscriber of all presence, one after the other.
struct Watcher(Client);

impl Watcher {
    fn of(server: &Server) -> Self {
        let mut client = server.connect("resp");
        client.ask("PSUBSCRIBE $presence:*", "*3\r\n$10\r\npsubscribe\r\n$11\r\n$presence:*\r\n:1\r\n");
        Self(client)
    }

    /// The next event of `identity`, and nobody else's.
    fn next(&mut self, identity: &str) -> (String, Value) {
        let channel = format!("$presence:{identity}");
        let head =
            format!("*4\r\n$8\r\npmessage\r\n$11\r\n$presence:*\r\n${}\r\n{channel}\r\n", channel.len());
        self.0.expect(head);
        let length: usize = self.line().strip_prefix('$').unwrap().parse().unwrap();
        let mut payload = vec![0; length + 2];
        self.0.stream.read_exact(&mut payload).unwrap();
        let text = String::from_utf8(payload).unwrap();
        let (word, record) = text.trim_end().split_once(' ').unwrap_or((text.trim_end(), "null"));
        (word.to_owned(), serde_json::from_str(record).unwrap())
    }

    fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.0.stream.read_exact(&mut byte).unwrap();
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }
}

const REFUSED: &str =
    "-ERR not agreed: the other connection says IDENT id CHANNEL token, this one BEATFOR id token\r\n";

#[test]
fn a_stranger_that_beats_for_somebody_and_leaves_proves_nothing_of_them() {
    let server = start();
    let mut dev = server.connect("resp");
    dev.ask("IDENT dev", "+OK\r\n");
    let mut stranger = server.connect("resp");
    stranger.ask("BEATFOR dev", "+OK\r\n");
    drop(stranger);
    server.wait_ends(1);
    assert_eq!(server.metrics()["linger_suspected_total"], 0.0);
    // Nor one that goes over to another, or resets its session.
    let mut other = server.connect("resp");
    other.ask("IDENT other", "+OK\r\n");
    let mut stranger = server.connect("resp");
    stranger.ask("BEATFOR dev", "+OK\r\n");
    stranger.ask("BEATFOR other", "+OK\r\n");
    stranger.ask("RESET", "+RESET\r\n");
    dev.ask("STATE other", "+online\r\n");
    assert_eq!(server.metrics()["linger_suspected_total"], 0.0);
}

#[test]
fn a_holder_is_judged_by_the_channel_that_it_has_agreed_to_and_by_no_other() {
    let server = start();
    let (mut dev, mut channel, mut stranger) =
        (server.connect("resp"), server.connect("resp"), server.connect("resp"));
    dev.ask("IDENT dev CHANNEL s3cret", "+OK\r\n");
    channel.ask("BEATFOR dev s3cret", "+OK\r\n");
    stranger.ask("BEATFOR dev", REFUSED);
    stranger.ask("BEATFOR dev guess", REFUSED);
    drop(stranger);
    server.wait_ends(1);
    dev.ask("STATE dev", "+online\r\n");
    assert_eq!(server.metrics()["linger_suspected_total"], 0.0);
    // While the holder is away, its channel keeps its place.
    drop(dev);
    server.wait_ends(2);
    let mut stranger = server.connect("resp");
    stranger.ask("BEATFOR dev guess", REFUSED);
    let mut dev = server.connect("resp");
    dev.ask("IDENT dev CHANNEL s3cret", "+OK\r\n");
    drop(channel);
    let end = server.end_of("stuck.frozen");
    assert_eq!((&end["detector"], &end["identity"]), (&"heartbeat_channel".into(), &"dev".into()));
    // What was agreed on is over with the next contract.
    let mut dev = server.connect("resp");
    dev.ask("IDENT dev CHANNEL s3cret", "+OK\r\n");
    stranger.ask("BEATFOR dev s3cret", "+OK\r\n");
    dev.ask("IDENT dev", "+OK\r\n");
    let suspected = server.metrics()["linger_suspected_total"];
    drop(stranger);
    server.wait_ends(4);
    assert_eq!(server.metrics()["linger_suspected_total"], suspected);
}

#[test]
fn who_watches_an_identity_is_told_who_was_replaced_and_by_whom_before_the_newer_one_is_online() {
    let server = start();
    let mut watcher = Watcher::of(&server);
    let (mut older, mut newer) = (server.connect("resp"), server.connect("resp"));
    older.ask("IDENT dev", "+OK\r\n");
    assert_eq!(watcher.next("dev").0, "online");
    newer.ask("PING", "+PONG\r\n");
    newer.ask("IDENT dev", "+OK\r\n");
    let (word, record) = watcher.next("dev");
    assert_eq!((word.as_str(), &record["reason"]), ("replaced", &"peer.replaced".into()), "{record}");
    let newer_peer = newer.stream.local_addr().unwrap().to_string();
    assert_eq!(
        (&record["by"]["peer"], &record["by"]["identity"]),
        (&newer_peer.as_str().into(), &"dev".into())
    );
    assert_eq!((&record["close"], &record["messages_in"]), (&Value::Null, &1.into()));
    assert_eq!(watcher.next("dev").0, "online");
    older.expect("-GOODBYE peer.replaced\r\n");
    drop(older);
    // The line about it knows whose it was, too.
    let end = server.end_of("peer.replaced");
    let row = server.connections("resp").into_iter().find(|row| row["peer"] == newer_peer.as_str()).unwrap();
    assert_eq!((&end["identity"], &end["by_key"]), (&"dev".into(), &row["key"]));
    assert_eq!((&end["by_peer"], &end["by_identity"]), (&newer_peer.as_str().into(), &"dev".into()));
    drop(newer);
    let (word, record) = watcher.next("dev");
    assert_eq!((word.as_str(), &record["by"]), ("offline", &Value::Null));
}

#[test]
fn one_that_closes_while_it_is_replaced_is_told_of_by_its_own_record() {
    let server = start();
    let mut watcher = Watcher::of(&server);
    for round in 0..50 {
        let (mut older, mut newer) = (server.connect("resp"), server.connect("resp"));
        older.ask("IDENT dev", "+OK\r\n");
        assert_eq!(watcher.next("dev").0, "online");
        newer.send("IDENT dev\r\n");
        drop(older);
        newer.expect("+OK\r\n");
        let (word, record) = watcher.next("dev");
        let reason = record["reason"].as_str().unwrap();
        // Whichever was first: never both, and the last word is that it is there.
        assert!(matches!(reason, "peer.replaced" | "peer.fin"), "{round}: {record}");
        assert!(
            word == "replaced" || (word == "offline" && reason == "peer.fin"),
            "{round}: {word} {record}"
        );
        assert_eq!(watcher.next("dev").0, "online", "{round}");
        drop(newer);
        assert_eq!(watcher.next("dev").0, "offline", "{round}");
    }
}

#[test]
fn a_client_that_kills_another_stands_in_the_record_and_is_no_operator() {
    let server = start();
    let mut watcher = Watcher::of(&server);
    let (mut victim, mut killer) = (server.connect("resp"), server.connect("resp"));
    victim.ask("IDENT victim", "+OK\r\n");
    killer.ask("IDENT killer", "+OK\r\n");
    assert_eq!((watcher.next("victim").0, watcher.next("killer").0), ("online".into(), "online".into()));
    let peer = killer.stream.local_addr().unwrap().to_string();
    killer.ask(&format!("CLIENT KILL {}", victim.stream.local_addr().unwrap()), "+OK\r\n");
    victim.expect("-GOODBYE local.kicked\r\n");
    drop(victim);
    let (word, record) = watcher.next("victim");
    assert_eq!((word.as_str(), &record["detector"]), ("offline", &"client".into()), "{record}");
    assert_eq!((&record["by"]["peer"], &record["by"]["identity"]), (&peer.as_str().into(), &"killer".into()));
    let end = server.end_of("local.kicked");
    assert_eq!((&end["by_peer"], &end["by_identity"]), (&peer.as_str().into(), &"killer".into()));
    // The operator is one, and named as far as possible.
    let key =
        server.connections("resp").into_iter().find(|row| row["id"] == "killer").unwrap()["key"].clone();
    server.admin("POST", &format!("/connections/{}/end", key.as_str().unwrap()));
    drop(killer);
    let (_, record) = watcher.next("killer");
    assert_eq!((&record["reason"], &record["detector"]), (&"local.kicked".into(), &"operator".into()));
    assert!(record["by"]["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{record}");
    until("both to be counted", || {
        let metrics = server.metrics();
        ["client", "operator"]
            .iter()
            .all(|who| metrics[&format!("linger_detections_total{{detector=\"{who}\"}}")] == 1.0)
    });
}
