//! A snapshot of presence that no event can overtake: who subscribes in RESP3 and asks for the state on the same connection
//! knows the truth by what comes last.

use super::crowd::{RESP, start};
use super::identity::next_event;
use crate::common::{Client, Server, until};
use serde_json::Value;
use std::time::Duration;

/// A subscriber that has asked behind its subscription.
struct Watcher {
    client: Client,
    input: Vec<u8>,
    /// The answer, and the events behind it.
    told: Option<String>,
}

impl Watcher {
    fn new(server: &Server) -> Self {
        let mut client = server.connect("resp");
        client.send("HELLO 3\r\nSUBSCRIBE $presence:dev\r\nSTATE dev\r\n");
        client.stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        Self { client, input: Vec::new(), told: None }
    }

    /// Reads what is there, and gives what it knows by then.
    fn state(&mut self) -> Option<&str> {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = std::io::Read::read(&mut self.client.stream, &mut bytes) {
            self.input.extend_from_slice(&bytes[..count]);
        }
        while let Some(end) = self.input.windows(2).position(|two| two == b"\r\n") {
            let line: Vec<_> = self.input.drain(..end + 2).collect();
            self.hear(std::str::from_utf8(&line).unwrap().trim_end());
        }
        self.told.as_deref()
    }

    fn hear(&mut self, line: &str) {
        let event = match line.split(' ').next().unwrap() {
            // The server's name for what it is, in its hello, is none of these.
            answer @ ("+online" | "+suspect" | "+offline") => {
                self.told = Some(answer[1..].to_owned());
                return;
            }
            "revived" | "online" => "online",
            event @ ("suspect" | "offline") => event,
            _ => return,
        };
        // What came before the answer is in it.
        if let Some(told) = &mut self.told {
            event.clone_into(told);
        }
    }
}

#[test]
fn who_asks_behind_its_subscription_is_told_the_truth_last() {
    for workers in [1, 3] {
        let server = start(workers, RESP, &[]);
        let mut device = None;
        for _ in 0..150 {
            // It comes, or it goes, while some subscribe.
            let stays = device.is_none();
            let mut watchers = Vec::new();
            std::thread::scope(|scope| {
                let changes = scope.spawn(|| {
                    device = stays.then(|| {
                        let mut device = server.connect("resp");
                        device.ask("IDENT dev", "+OK\r\n");
                        device
                    });
                });
                watchers.extend((0..4).map(|_| Watcher::new(&server)));
                changes.join().unwrap();
            });
            let truth = if stays { "online" } else { "offline" };
            until("all to know the truth", || {
                watchers.iter_mut().all(|watcher| watcher.state() == Some(truth))
            });
        }
    }
}

#[test]
fn with_records_each_event_says_when_which_and_whose_it_is() {
    for workers in [1, 3] {
        let quick = "resp://127.0.0.1:0?heartbeat.style=off&heartbeat.grace=30s";
        let server = start(workers, quick, &["server.presence=record"]);
        let mut watcher = server.connect("resp");
        watcher.ask("PSUBSCRIBE $presence:*", "*3\r\n$10\r\npsubscribe\r\n$11\r\n$presence:*\r\n:1\r\n");
        let mut numbers = 0..;
        let mut next = |word: &str, device: &Client, identity: &str| {
            let (_, payload) = next_event(&mut watcher);
            let (said, record) = payload.split_once(' ').unwrap();
            let record: Value = serde_json::from_str(record).unwrap();
            let peer = device.stream.local_addr().unwrap().to_string();
            assert_eq!(
                (said, record["number"].as_u64()),
                (word, numbers.next().map(|before: u64| before + 1))
            );
            assert_eq!((&record["peer"], &record["listener"]), (&peer.into(), &"resp".into()), "{payload}");
            assert_eq!(record["identity"], identity);
            assert!(record["time"].as_str().unwrap().ends_with('Z'), "{payload}");
            record
        };
        let (mut older, mut newer) = (server.connect("resp"), server.connect("resp"));
        let mut beats = server.connect("resp");
        older.ask("IDENT dev CHANNEL t", "+OK\r\n");
        let key = next("online", &older, "dev")["key"].clone();
        beats.ask("BEATFOR dev t", "+OK\r\n");
        drop(beats);
        assert_eq!(next("suspect", &older, "dev")["key"], key);
        older.ask("PING", "+PONG\r\n");
        assert_eq!(next("revived", &older, "dev")["key"], key);
        newer.ask("IDENT dev", "+OK\r\n");
        let replaced = next("replaced", &older, "dev");
        let online = next("online", &newer, "dev");
        assert_eq!((&replaced["key"], &replaced["by"]["key"]), (&key, &online["key"]));
        assert_eq!(replaced["reason"], "peer.replaced");
        // The older identity is given up, and there is no record of that.
        newer.ask("IDENT other", "+OK\r\n");
        assert_eq!(next("offline", &newer, "dev")["reason"], Value::Null);
        next("online", &newer, "other");
        let closed = newer.stream.try_clone().unwrap();
        closed.shutdown(std::net::Shutdown::Both).unwrap();
        let offline = next("offline", &newer, "other");
        assert_eq!((&offline["key"], &offline["reason"]), (&online["key"], &"peer.fin".into()));
    }
}
