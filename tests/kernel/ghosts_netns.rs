//! What the server ends leaves nothing on the server, also where the client cannot be reached any more: defaults, a veth
//! pair, and rules that drop. And a client that can be reached gets all pending output, however slowly it reads.
//!
//! `unshare -n bash -c 'ip link set lo up; LINGER_TEST_NAMESPACE=1 cargo test --test kernel ghosts_netns -- --ignored'`

use crate::common::netns::Network;
use crate::common::{Client, Server, now, pass, until};
use socket2::{Domain, Socket, Type};
use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

/// Left alone, an orphan would retransmit for `user_timeout`, 89 s by default. The peer has `linger`, 5 s, to answer our
/// goodbye; a FIN has as long, and the kernel looks when it retransmits.
const SOON: Duration = Duration::from_secs(20);

/// A server with the defaults, in its own network, and a listener that is never cut off.
struct Stage {
    network: Network,
    server: Server,
}

impl Stage {
    fn start(protocol: &str, setting: &str) -> Self {
        let network = Network::new();
        let host = network.host();
        // A network of the test's own, in which everybody may act on others.
        let open = if protocol == "resp" { "&protected_mode=false" } else { "" };
        let server = network.serve(&[
            "--listen",
            &format!("{protocol}://{host}:0?name=cut{open}{setting}"),
            "--listen",
            &format!("resp://{host}:0?name=helper&protected_mode=false"),
            "--admin",
            &format!("{host}:0"),
        ]);
        Self { network, server }
    }

    fn unplug(&self) {
        self.network.unplug(&[self.server.address("cut")]);
    }

    /// The way the connections were closed, once all of `count` are, and nothing of them is left in the kernel either.
    fn gone(&self, count: usize, reason: &str) -> Vec<String> {
        let since = now();
        let ends = || {
            let ends = self.server.ends().into_iter().filter(|end| end["listener"] == "cut");
            ends.collect::<Vec<_>>()
        };
        until("the endings", || ends().len() == count);
        let port = self.server.address("cut").port();
        until("nothing but the listener", || self.network.sockets(port) == 1);
        assert!(since.elapsed() < SOON, "{:?}", since.elapsed());
        let ends = ends();
        assert!(ends.iter().all(|end| end["reason"] == reason), "{ends:?}");
        ends.iter().map(|end| end["close"].as_str().expect("a name").to_owned()).collect()
    }
}

/// A library of Redis that says who it is.
fn library(stage: &Stage, identity: &str) -> Client {
    let mut client = stage.server.connect("cut");
    client.send(format!("*2\r\n$5\r\nIDENT\r\n${}\r\n{identity}\r\n", identity.len()));
    client.expect("+OK\r\n");
    client
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn a_device_that_comes_back_by_another_network_leaves_no_ghost() {
    let stage = Stage::start("resp", "");
    // One is told and does not hear it, the other is not told.
    let mut typed = stage.server.connect("cut");
    typed.ask("IDENT typed", "+OK\r\n");
    let _library = library(&stage, "library");
    stage.unplug();
    let mut helper = stage.server.connect("helper");
    helper.ask("IDENT typed", "+OK\r\n");
    helper.ask("IDENT library", "+OK\r\n");
    let mut closes = stage.gone(2, "peer.replaced");
    closes.sort();
    assert_eq!(closes, ["linger2", "reset"]);
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn output_that_nobody_acknowledges_keeps_no_ghost() {
    let stage = Stage::start("resp", "");
    let _library = library(&stage, "library");
    let mut helper = stage.server.connect("helper");
    stage.unplug();
    // More than fits into the first flight: the kernel holds some of it unsent.
    let payload = "x".repeat(60_000);
    helper.send(format!("*3\r\n$4\r\nSEND\r\n$7\r\nlibrary\r\n$60000\r\n{payload}\r\n"));
    helper.expect(":1\r\n");
    helper.ask("CLIENT KILL TYPE normal", ":1\r\n");
    assert_eq!(stage.gone(1, "local.kicked"), ["reset"]);
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn who_is_idle_and_gone_leaves_no_ghost() {
    let stage = Stage::start("echo", "&idle_timeout=1s");
    let _clients: Vec<_> = (0..20).map(|_| stage.server.connect("cut")).collect();
    stage.unplug();
    assert_eq!(stage.gone(20, "local.idle"), ["linger2"; 20]);
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn a_drain_leaves_no_ghost() {
    let mut stage = Stage::start("resp", "");
    let _typed = stage.server.connect("cut");
    let _library = library(&stage, "library");
    stage.unplug();
    stage.server.signal("TERM");
    assert_eq!(stage.server.wait_exit(), Some(0));
    let (port, since) = (stage.server.address("cut").port(), now());
    until("nothing at all", || stage.network.sockets(port) == 0);
    assert!(since.elapsed() < SOON, "{:?}", since.elapsed());
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn a_subscriber_that_reads_slowly_gets_every_byte_after_it_was_kicked() {
    // The kernel takes all of the output, and the client reads for much longer than a FIN has to be acknowledged.
    let stage = Stage::start("resp", "&linger=200ms&send_buffer=1MiB");
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("before connecting: the window comes of it");
    socket.connect(&stage.server.address("cut").into()).expect("the server accepts");
    let mut slow = Client { stream: socket.into() };
    slow.send("*2\r\n$9\r\nSUBSCRIBE\r\n$4\r\nnews\r\n");
    slow.expect("*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
    let mut helper = stage.server.connect("helper");
    let payload = "x".repeat(50_000);
    for _ in 0..4 {
        helper.send(format!("*3\r\n$7\r\nPUBLISH\r\n$4\r\nnews\r\n$50000\r\n{payload}\r\n"));
        helper.expect(":1\r\n");
    }
    helper.ask("CLIENT KILL TYPE pubsub", ":1\r\n");
    until("the server to have let go", || stage.server.ended("local.kicked") == 1);
    let mut got = Vec::new();
    let mut reader = BufReader::with_capacity(16 * 1024, slow.stream.try_clone().expect("a descriptor"));
    for _ in 0..6 {
        // Longer than the second that a FIN has, with the window shut.
        pass(Duration::from_millis(1500));
        let chunk = reader.fill_buf().expect("more of it").to_vec();
        got.extend_from_slice(&chunk);
        reader.consume(chunk.len());
    }
    reader.read_to_end(&mut got).expect("a clean end of file");
    let each = "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$50000\r\n\r\n".len() + payload.len();
    assert_eq!(got.len(), 4 * each);
    let port = stage.server.address("cut").port();
    until("nothing but the listener", || stage.network.sockets(port) == 1);
}
