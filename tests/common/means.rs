//! One means of detection at a time: a server with two listeners, on which everything that could notice a
//! death is off, but for what is being tested, on the first of them.
//!
//! The same happens to a client of each. What the first listener finds and the second does not, the means
//! has found, and nothing else.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary includes this file and uses its own part of it"
)]
#![expect(clippy::disallowed_methods, reason = "tests wait on the real clock")]

use crate::common::{Client, Server, wait_for};
use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

/// Every means that can be switched, off; and no deadline that could end a connection in their place.
const OFF: &str = "readiness=false&keepalive.enabled=false&user_timeout=off&heartbeat.style=off&\
     tcp_info.interval=off&audit.end=off&probe.after_eof=false&probe.oob=off&slow_time=1d&handshake_timeout=off&idle_timeout=off";

/// A listener with nothing but `means`, parameters of its URL, on.
pub fn listener(protocol: &str, name: &str, host: &str, means: &str) -> String {
    let key = |parameter: &'static str| parameter.split('=').next().unwrap_or(parameter);
    let given: Vec<_> = means.split('&').filter_map(|parameter| parameter.split('=').next()).collect();
    let off: Vec<_> = OFF.split('&').filter(|parameter| !given.contains(&key(parameter))).collect();
    // A network of the test's own, in which everybody may act on others.
    let open = if protocol == "resp" { "&protected_mode=false" } else { "" };
    format!("{protocol}://{host}:0?name={name}{open}&{}&{means}", off.join("&"))
}

/// A server with a listener `with` the means and one `without`.
pub struct Means {
    pub server: Server,
}

impl Means {
    /// `setting` holds for both listeners, `means` for the first.
    pub fn start(protocol: &str, setting: &str, means: &str) -> Self {
        Self::start_by(&[env!("CARGO_BIN_EXE_linger")], "127.0.0.1", protocol, setting, means)
    }

    /// The same, by way of `program` (see [`Server::start_as`]) and on the address `host`. There is a third
    /// listener, resp, named `helper`, for those who watch.
    pub fn start_by(program: &[&str], host: &str, protocol: &str, setting: &str, means: &str) -> Self {
        let both = |means: &str| {
            [setting, means].iter().filter(|s| !s.is_empty()).copied().collect::<Vec<_>>().join("&")
        };
        let with = listener(protocol, "with", host, &both(means));
        let without = listener(protocol, "without", host, setting);
        let helper = listener("resp", "helper", host, "");
        let admin = format!("{host}:0");
        let arguments = [
            "--listen",
            &with,
            "--listen",
            &without,
            "--listen",
            &helper,
            "--admin",
            &admin,
            "--set",
            "admin.token_file=tests/common/token",
            // Audits look on all the time; what they may end is theirs to say, listener by listener.
            "--set",
            "audit.interval=200ms",
        ];
        Self { server: Server::start_as(program, &arguments) }
    }

    /// A client of each: the one that the means watches, and the one that nothing watches.
    pub fn clients(&self) -> (Client, Client) {
        (self.server.connect("with"), self.server.connect("without"))
    }

    /// A client on the side, which is not watched and sees what becomes of the others.
    pub fn helper(&self) -> Client {
        self.server.connect("helper")
    }

    /// Waits for the End of the watched client, whose trouble began at `since`; then as long again, and
    /// longer than any hurry could explain, to see that without the means nothing is found.
    pub fn found(&self, since: Instant, expected: [&str; 3]) -> Value {
        let end = self.end_of("with");
        let latency = since.elapsed();
        #[expect(clippy::print_stdout, reason = "with --nocapture this is the table of means and latencies")]
        {
            println!("{expected:?} after {:.3} s: {end}", latency.as_secs_f64());
        }
        assert_eq!([&end["reason"], &end["detector"], &end["close"]], expected, "{end}");
        std::thread::sleep(latency.max(Duration::from_millis(500)));
        let others: Vec<_> = self.ends_of("without");
        assert!(others.is_empty(), "found without the means: {others:?}");
        end
    }

    /// Waits for the first End on a listener.
    pub fn end_of(&self, listener: &str) -> Value {
        wait_for(&format!("an ending on {listener}"), || self.ends_of(listener).into_iter().next())
    }

    pub fn ends_of(&self, listener: &str) -> Vec<Value> {
        self.server.ends().into_iter().filter(|end| end["listener"] == listener).collect()
    }

    /// A counter without labels.
    pub fn count(&self, name: &str) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a counter, far below 2^53"
        )]
        let count = self.server.metrics()[name] as u64;
        count
    }
}

/// What has arrived so far, without waiting for more.
pub fn arrived(client: &mut Client) -> Vec<u8> {
    let mut bytes = vec![0; 64 * 1024];
    client.stream.set_nonblocking(true).expect("a socket");
    let read = client.stream.read(&mut bytes);
    client.stream.set_nonblocking(false).expect("a socket");
    match read {
        Ok(count) => bytes.truncate(count),
        Err(error) if error.kind() == ErrorKind::WouldBlock => bytes.clear(),
        Err(error) => panic!("{error}"),
    }
    bytes
}

/// Waits until something has arrived that stays unread: closing then sends a reset instead of a FIN
/// (`net/ipv4/tcp.c: __tcp_close`).
pub fn leave_unread(client: &Client) {
    client.stream.peek(&mut [0]).expect("something arrives");
}

/// Sends as long as the server takes anything, and until `full`; reads nothing.
pub fn flood(client: &mut Client, mut full: impl FnMut() -> bool) {
    let bytes = vec![b'x'; 64 * 1024];
    client.stream.set_nonblocking(true).expect("a socket");
    crate::common::until("the flood is stemmed", || {
        let taken = client.stream.write(&bytes).is_ok();
        !taken && full()
    });
    client.stream.set_nonblocking(false).expect("a socket");
}
