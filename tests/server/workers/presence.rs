//! A snapshot of presence that no event can overtake: who subscribes in RESP3 and asks for the state on the same connection
//! knows the truth by what comes last.

use super::crowd::{RESP, start};
use crate::common::{Client, Server, until};
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
