//! The gateway between ordinary clients and ordinary servers on the real kernel: who is told what, what is recorded of it,
//! and what is left of it.
//!
//! The servers behind it are listeners of the test, so that it can do to either side what it likes. By theme: [`told`], [`asked`],
//! [`delivered`], [`reached`], [`health`], [`watched`], [`bytes`], [`bulk`], [`operated`], [`upstreams`], [`left_behind`], [`named`].

#![allow(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]
#![allow(clippy::disallowed_types, reason = "clients and servers of the tests are ordinary blocking ones")]
#![allow(clippy::disallowed_methods, reason = "tests measure on the real clock")]

mod asked;
mod bulk;
mod bytes;
mod delivered;
mod health;
mod left_behind;
mod named;
mod operated;
mod reached;
mod told;
mod upstreams;
mod watched;

use crate::common::file::TempFile;
use crate::common::{Client, DEADLINE, Server, until, wait_for};
use serde_json::Value;
use socket2::{Domain, SockRef, Socket, Type};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

/// Has the configuration read again, with that text, of which nothing needs a restart.
fn reload(server: &Server, file: &TempFile, text: &str) {
    server.reload(file, text);
    assert!(server.events("reload_refused").is_empty(), "{:?}", server.events("reload_refused"));
    assert!(server.events("reload_note").is_empty(), "{:?}", server.events("reload_note"));
}

/// A server behind the gateway.
struct Backend(TcpListener);

impl Backend {
    fn start() -> Self {
        Self::on("127.0.0.1:0".parse().unwrap())
    }

    fn on(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    /// One that lets nobody in: its queue holds one connection, and that is there. To be let go: who is in the queue.
    fn full() -> (Self, Client) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        socket.listen(0).unwrap();
        socket.set_nonblocking(true).unwrap();
        let backend = Self(socket.into());
        let first = Client::connect(backend.address());
        (backend, first)
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    fn accept(&self) -> Client {
        let (stream, _) = wait_for("the gateway to connect", || self.0.accept().ok());
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Client { stream }
    }

    /// Whether nobody has connected.
    fn is_alone(&self) -> bool {
        self.0.accept().is_err()
    }
}

/// An address where nobody listens. It stays bound: given back, its port would soon be that of another test's server, and
/// what is sent there would meet that one.
fn nowhere() -> SocketAddr {
    let socket = Box::leak(Box::new(Socket::new(Domain::IPV4, Type::STREAM, None).unwrap()));
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.local_addr().unwrap().as_socket().unwrap()
}

/// A gateway to `upstream`, as a listener of that name. `query`: more of its settings.
fn gateway(upstream: &str, query: &str) -> Server {
    gateway_with(upstream, query, &[])
}

fn gateway_with(upstream: &str, query: &str, settings: &[&str]) -> Server {
    let and = if query.is_empty() { "" } else { "&" };
    let listen = format!("tcp://127.0.0.1:0?name=gateway&upstream={upstream}{and}{query}");
    let mut arguments = vec!["--listen", &listen, "--admin", "127.0.0.1:0"];
    if !settings.iter().any(|setting| setting.starts_with("drain.timeout")) {
        // No hint at a drain that is shorter than the longest linger.
        arguments.extend(["--set", "drain.timeout=2h"]);
    }
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    Server::start(&arguments)
}

/// A gateway to a server of its own.
fn start(query: &str) -> (Server, Backend) {
    let backend = Backend::start();
    (gateway(&backend.address().to_string(), query), backend)
}

/// Both ends of a pair.
fn pair(server: &Server, backend: &Backend) -> (Client, Client) {
    let client = server.connect("gateway");
    (client, backend.accept())
}

/// A client with little room for what it is sent.
fn narrow(server: &Server) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    // Before connecting: the window is negotiated from it.
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&server.address("gateway").into()).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.set_write_timeout(Some(DEADLINE)).unwrap();
    Client { stream: socket.into() }
}

/// What [`narrow`] is to clients, to the gateway's connections to a server.
fn narrow_backend() -> Backend {
    let backend = Backend::start();
    // Accepted sockets inherit it.
    SockRef::from(&backend.0).set_recv_buffer_size(4096).unwrap();
    backend
}

/// Bytes of which none can be lost, doubled or moved without being noticed.
fn noise(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

/// As `assert_eq!` of bytes, without printing megabytes.
fn assert_same_bytes(got: &[u8], expected: &[u8]) {
    let differs = got.iter().zip(expected).position(|(got, expected)| got != expected);
    assert_eq!((got.len(), differs), (expected.len(), None), "length, and where they differ first");
}

/// Reads a little at a time until nothing more comes: what came, and the error that came in the place of end of file.
fn read_slowly(client: &mut Client) -> (Vec<u8>, Option<std::io::ErrorKind>) {
    use std::io::Read;
    let (mut bytes, mut buffer) = (Vec::new(), [0; 8192]);
    loop {
        match client.stream.read(&mut buffer) {
            Ok(0) => return (bytes, None),
            Ok(count) => bytes.extend(&buffer[..count]),
            Err(error) => return (bytes, Some(error.kind())),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What is recorded of a pair that has ended.
#[derive(Debug)]
struct Record {
    client: Value,
    /// The upstream leg: where several servers were tried, that to the last.
    upstream: Value,
    pair: Value,
}

impl Record {
    /// That of the only pair that there ever was, which had both legs.
    fn of(server: &Server) -> Self {
        let record = Self::of_last(server);
        record.adds_up(server);
        record
    }

    /// That of the pair that has ended last, where there are others, or the bytes of a header besides.
    fn of_last(server: &Server) -> Self {
        let pair = wait_for("the line of the pair", || server.events("pair").pop());
        let leg = |leg: &str| {
            let mut ends = server.ends();
            ends.retain(|end| end["leg"] == leg && end["pair"] == pair["pair"]);
            ends.pop().unwrap_or_else(|| panic!("no End of the {leg} leg of {pair}"))
        };
        let record = Self { client: leg("client"), upstream: leg("upstream"), pair };
        assert_eq!(record.client["key"], record.pair["pair"], "a pair goes by the key of its client leg");
        record
    }

    /// Each leg's reason, detector and way of closing; the pair's reason, and who has brought it about.
    fn expect(&self, client: [&str; 3], upstream: [&str; 3], pair: [&str; 2]) -> &Self {
        let of = |value: &Value, fields: [&str; 3]| {
            fields.map(|field| value[field].as_str().unwrap_or_default().to_owned())
        };
        let got = [&self.client, &self.upstream].map(|end| of(end, ["reason", "detector", "close"]));
        assert_eq!(got, [client, upstream], "client and upstream leg, of {self:#?}");
        assert_eq!([&self.pair["reason"], &self.pair["by"]], pair, "{self:#?}");
        self
    }

    /// The bytes of the pair: what came of the client and what of the server, all of it handed on.
    fn moved(&self, up: usize, down: usize) -> &Self {
        assert_eq!(self.bytes(), [up, down, 0, 0], "bytes up and down, and lost up and down, of {self:#?}");
        self
    }

    fn bytes(&self) -> [usize; 4] {
        ["bytes_up", "bytes_down", "lost_up", "lost_down"].map(|field| whole(&self.pair[field]))
    }

    /// The pair's line says of the bytes what the Ends of its legs say, and the metrics say of both what those say.
    fn adds_up(&self, server: &Server) {
        let [up, down, lost_up, lost_down] = self.bytes();
        let bytes = |end: &Value| [whole(&end["bytes_in"]), whole(&end["bytes_out"])];
        if self.pair["connect_s"] != 0.0 {
            assert_eq!(bytes(&self.client), [up + lost_up, down], "{self:#?}");
            assert_eq!(bytes(&self.upstream), [down + lost_down, up], "{self:#?}");
        }
        let metrics = server.metrics();
        let sum = |name: &str, label: &str| {
            let of = metrics.iter().filter(|(key, _)| key.starts_with(name) && key.contains(label));
            whole_of(of.map(|(_, value)| value).sum())
        };
        let reason = |end: &Value| format!("reason=\"{}\"", end["reason"].as_str().unwrap());
        let tried = server.ends().iter().filter(|end| end["leg"] == "upstream").count();
        let ends = ["linger_ends_total{", "linger_upstream_ends_total{"].map(|name| sum(name, ""));
        assert_eq!(ends, [1, tried], "{metrics:#?}");
        assert_eq!(sum("linger_ends_total{", &reason(&self.client)), 1, "{metrics:#?}");
        assert!(sum("linger_upstream_ends_total{", &reason(&self.upstream)) >= 1, "{metrics:#?}");
        assert_eq!(sum("linger_upstream_connections{", ""), 0, "{metrics:#?}");
        assert_eq!(sum("linger_upstream_connects_total", ""), tried, "{metrics:#?}");
        let traffic = ["linger_upstream_received_bytes_total", "linger_upstream_sent_bytes_total"];
        assert_eq!(traffic.map(|name| sum(name, "")), bytes(&self.upstream), "{metrics:#?}");
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count, far below 2^53")]
const fn whole_of(value: f64) -> usize {
    value as usize
}

fn whole(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap_or_else(|| panic!("{value} is no whole number"))).unwrap()
}

/// What is counted of the connections to servers.
fn counted(server: &Server, name: &str) -> usize {
    whole_of(server.metrics()[&format!("{name}{{listener=\"gateway\"}}")])
}

/// FINs that were forwarded while the other direction lived on.
fn forwarded(server: &Server) -> usize {
    counted(server, "linger_forwarded_fins_total")
}

/// Waits until that many connections to servers were begun.
fn attempted(server: &Server, count: usize) {
    until("the connect", || counted(server, "linger_upstream_connects_total") == count);
}
