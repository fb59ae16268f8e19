//! Servers that cannot be reached, or not in time: what their clients get, which servers are tried, and what becomes of a
//! connect that nobody waits for any more.

use super::{
    Backend, Record, assert_same_bytes, attempted, counted, gateway, noise, nowhere, pair, start, whole_of,
};
use crate::common::file::TempFile;
use crate::common::{Client, DEADLINE, Server, pass, sockets, until, wait_for};
use linger::core::tcp::TcpState;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

/// A directory that is gone with the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("linger-gateway-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("s")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The client is reset: there are no words for it.
fn is_reset(client: &mut Client) {
    let error = client.read_to_end().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

/// Nothing was reached: one attempt, its reason that of both legs and of the pair.
fn expect_unreached(server: &Server, reason: &str, by: &str) -> Record {
    let record = Record::of(server);
    record.expect([reason, "connect", "reset"], [reason, by, "reset"], [reason, "upstream"]).moved(0, 0);
    let failed = record.pair["attempts_failed"].as_str().unwrap();
    let expected = format!("{}:{reason}:", record.pair["server"].as_str().unwrap());
    assert!(failed.starts_with(&expected) && failed.ends_with('s'), "{failed}");
    assert_eq!([&record.pair["connect_s"], &record.pair["first_byte_s"]], [0.0, 0.0], "{record:#?}");
    record
}

#[test]
fn what_comes_with_the_header_of_a_proxy_and_finds_no_server_is_counted() {
    let query = "accept_proxy=require&accept_proxy_trusted=127.0.0.1";
    let server = gateway(&nowhere().to_string(), query);
    let mut client = server.connect("gateway");
    client.send("PROXY TCP4 192.0.2.1 192.0.2.2 1000 2000\r\nhello");
    is_reset(&mut client);
    Record::of(&server);
    assert_eq!(counted(&server, "linger_upstream_undelivered_bytes_total"), 5);
}

#[test]
fn a_client_whose_server_refuses_is_reset() {
    let to = nowhere();
    let server = gateway(&to.to_string(), "");
    is_reset(&mut server.connect("gateway"));
    let record = expect_unreached(&server, "upstream.refused", "connect");
    assert_eq!(record.pair["server"], to.to_string());
    let warned = server.events("upstream_state");
    assert_eq!(warned.len(), 1);
    assert_eq!([&warned[0]["server"], &warned[0]["reason"]], [&*to.to_string(), "upstream.refused"]);
}

#[test]
fn a_server_that_does_not_answer_the_connect_is_waited_for_no_longer_than_that() {
    let (backend, _first) = Backend::full();
    let server = gateway(&backend.address().to_string(), "connect_timeout=300ms");
    let begun = crate::common::now();
    is_reset(&mut server.connect("gateway"));
    let took = begun.elapsed();
    assert!((Duration::from_millis(290)..Duration::from_secs(20)).contains(&took), "{took:?}");
    expect_unreached(&server, "upstream.connect_timeout", "timer");
}

#[test]
fn the_next_server_is_tried_and_has_what_the_client_has_sent() {
    let (dead, alive) = (nowhere(), Backend::start());
    let server = gateway(&format!("{dead},{}", alive.address()), "balance=round_robin");
    let (mut client, mut upstream) = pair(&server, &alive);
    client.send("hello");
    upstream.expect("hello");
    drop(client);
    drop(upstream);
    let record = Record::of(&server);
    record.moved(5, 0);
    assert_eq!([&record.pair["reason"], &record.pair["by"]], ["peer.fin", "client"]);
    assert_eq!(record.pair["server"], alive.address().to_string());
    let failed = record.pair["attempts_failed"].as_str().unwrap();
    assert!(failed.starts_with(&format!("{dead}:upstream.refused:")) && !failed.contains(','), "{failed}");
    assert_eq!(server.ended("upstream.refused"), 0, "no client has ended for it");
    // It is tried last for a while: nobody waits for it.
    let (_client, _upstream) = pair(&server, &alive);
    attempted(&server, 3);
}

/// A client that has said all while a server was tried is in nobody's way: the next server has all of it.
#[test]
fn what_a_client_has_sent_before_it_left_goes_to_the_server_that_is_reached() {
    let ((full, _first), alive) = (Backend::full(), Backend::start());
    let to = format!("{},{}", full.address(), alive.address());
    let server = gateway(&to, "balance=round_robin&connect_timeout=500ms&half_close=forward");
    let mut client = server.connect("gateway");
    let bytes = noise(50_000, 1);
    client.send(&bytes);
    client.half_close();
    attempted(&server, 1);
    assert!(alive.is_alone());
    let mut upstream = alive.accept();
    assert_same_bytes(&upstream.read_to_end().unwrap(), &bytes);
    upstream.send("answer");
    drop(upstream);
    assert_eq!(client.read_to_end().unwrap(), b"answer");
    let record = Record::of(&server);
    record.moved(bytes.len(), 6).expect(
        ["peer.fin", "zero_read", "peer_first"],
        ["peer.fin", "partner", "forwarded_fin"],
        ["peer.fin", "client"],
    );
    let failed = record.pair["attempts_failed"].as_str().unwrap();
    assert!(failed.starts_with(&format!("{}:upstream.connect_timeout:0.5", full.address())), "{failed}");
}

#[test]
fn no_more_than_three_servers_are_tried() {
    let servers: Vec<_> = (0..5).map(|_| nowhere().to_string()).collect();
    let server = gateway(&servers.join(","), "");
    is_reset(&mut server.connect("gateway"));
    let record = Record::of(&server);
    record.expect(
        ["upstream.refused", "connect", "reset"],
        ["upstream.refused", "connect", "reset"],
        ["upstream.refused", "upstream"],
    );
    let failed: Vec<_> = record.pair["attempts_failed"].as_str().unwrap().split(',').collect();
    assert_eq!(failed.len(), 3, "{failed:?}");
    attempted(&server, 3);
    // Each is said once, however many clients it cost.
    for _ in 0..5 {
        is_reset(&mut server.connect("gateway"));
    }
    server.logs("upstream_state", 5);
}

/// SYN-SENT on the gateway's side towards a server: connects that are under way.
fn connecting(backend: &Backend) -> usize {
    let to = format!(":{:04X}", backend.address().port());
    let rows = sockets().into_iter();
    rows.filter(|(_, remote, state)| remote.ends_with(&to) && *state == TcpState::SynSent).count()
}

/// A client whose server is being connected, and has no room: its queue has one connection already.
struct Waiting {
    backend: Backend,
    first: Client,
    server: Server,
    client: Client,
}

impl Waiting {
    fn new(query: &str) -> Self {
        let (backend, first) = Backend::full();
        let server = gateway(&backend.address().to_string(), query);
        let client = server.connect("gateway");
        until("the connect", || connecting(&backend) == 1);
        Self { backend, first, server, client }
    }
}

#[test]
fn a_connect_is_abandoned_at_once_when_its_client_leaves() {
    for (half_close, resets, reason) in
        [("end", false, "peer.fin"), ("forward", true, "peer.reset"), ("end", true, "peer.reset")]
    {
        let query = format!("half_close={half_close}&connect_timeout=1m");
        let Waiting { backend, first, server, mut client } = Waiting::new(&query);
        if resets {
            // What it had sent is for nobody.
            client.send("hello");
            client.reset();
        } else {
            drop(client);
        }
        let begun = crate::common::now();
        let record = Record::of(&server);
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        assert_eq!([&record.pair["reason"], &record.pair["by"]], [reason, "client"], "{record:#?}");
        assert_eq!(
            [&record.upstream["reason"], &record.upstream["detector"]],
            [reason, "partner"],
            "{record:#?}"
        );
        assert_eq!(record.pair["attempts_failed"], "", "the server is not to blame: {record:#?}");
        assert!(server.events("upstream_state").is_empty());
        assert_eq!(connecting(&backend), 0, "its SYN is repeated no more");
        // Nobody is in the queue but who was there.
        drop(backend.accept());
        drop(first);
        pass(Duration::from_millis(1500));
        assert!(backend.is_alone());
    }
}

/// It completes while the gateway does not look, and then its client is gone as well.
#[test]
fn a_connect_that_completes_when_its_client_has_left_is_closed() {
    let Waiting { backend, first, server, client } = Waiting::new("half_close=end&connect_timeout=1m");
    server.signal("STOP");
    drop(client);
    // There is room again when its SYN is repeated.
    drop(backend.accept());
    drop(first);
    let mut late = backend.accept();
    until("both ends of it", || connecting(&backend) == 0);
    server.signal("CONT");
    match late.read_to_end() {
        Ok(bytes) => assert_eq!(bytes, b""),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    let record = Record::of(&server);
    assert_eq!([&record.pair["reason"], &record.pair["by"]], ["peer.fin", "client"], "{record:#?}");
    record.moved(0, 0);
    until("nothing to be left", || {
        server.socket_states("gateway").into_keys().all(|state| state == "LISTEN")
    });
}

/// Bytes that were received from clients and their servers.
fn received(server: &Server) -> usize {
    let metrics = server.metrics();
    let of_gateway =
        |name: &&String| name.starts_with("linger_received_bytes_total") && !name.contains("admin");
    metrics.keys().filter(of_gateway).map(|name| whole_of(metrics[name])).sum()
}

/// It waits in its kernel, so that another server may have all of it.
#[test]
fn nothing_is_read_of_a_client_whose_server_is_being_connected() {
    let Waiting { backend, first, server, mut client } = Waiting::new("connect_timeout=1m");
    client.send("hello");
    pass(Duration::from_millis(300));
    assert_eq!(received(&server), 0);
    drop((backend.accept(), first));
    backend.accept().expect("hello");
    assert_eq!(received(&server), 5);
}

/// An edge may say that it has closed, so that it is looked at. The edges of one that only says so must not fill our memory.
#[test]
fn a_client_whose_server_is_being_connected_is_read_for_one_hint_only() {
    let Waiting { backend, first, server, client } = Waiting::new("connect_timeout=1m");
    // An urgent byte is such a hint: a short receive may end at its mark.
    let hint = || SockRef::from(&client.stream).send_out_of_band(b"!").unwrap();
    hint();
    until("the look", || received(&server) == 1);
    for _ in 0..4 {
        hint();
        pass(Duration::from_millis(50));
    }
    assert_eq!(received(&server), 1);
    drop((backend.accept(), first));
    backend.accept().expect("!!!!!");
}

#[test]
fn a_server_with_tls_is_sent_nothing_in_clear_however_its_client_hints_at_its_end() {
    let (backend, first) = Backend::full();
    let file = TempFile::new(&format!(
        "[admin]\naddress = '127.0.0.1:0'\n[[listener]]\nprotocol = 'tcp'\nname = 'gateway'\naddress = '127.0.0.1:0'\nupstream = 'app'\n\
         [upstream.app]\nservers = '{}'\nconnect_timeout = '1m'\ntls = {{ enabled = true, name = 'app', verify = false }}\n",
        backend.address()
    ));
    let server = Server::start(&["--config", file.path()]);
    let mut client = server.connect("gateway");
    until("the connect", || connecting(&backend) == 1);
    client.send("secret");
    SockRef::from(&client.stream).send_out_of_band(b"!").unwrap();
    client.half_close();
    pass(Duration::from_millis(300));
    assert_eq!(received(&server), 0);
    drop((backend.accept(), first));
    let mut record = [0; 6];
    backend.accept().stream.read_exact(&mut record).unwrap();
    assert_eq!(record[0], 22, "a handshake (RFC 8446 5.1)");
}

/// Connected is what its queue says, not what it does.
#[test]
fn a_server_that_accepts_nobody_holds_its_clients_and_their_bytes() {
    let (server, backend) = start("idle_timeout=1s&half_close=end");
    let mut client = server.connect("gateway");
    client.send("hello");
    until("the bytes to be its kernel's", || counted(&server, "linger_upstream_sent_bytes_total") == 5);
    let record = Record::of(&server);
    record.moved(5, 0).expect(
        ["local.idle", "timer", "linger2"],
        ["local.idle", "partner", "linger2"],
        ["local.idle", "client"],
    );
    assert_eq!(record.pair["first_byte_s"], 0.0);
    assert_eq!(client.read_to_end().unwrap(), b"");
    assert_eq!(backend.accept().read_to_end().unwrap(), b"hello", "should it ever look");
}

#[test]
fn a_server_may_be_behind_a_unix_socket() {
    let directory = Directory::new("served");
    let listener = UnixListener::bind(directory.socket()).unwrap();
    let server = gateway(&format!("unix:{}", directory.socket().display()), "half_close=forward");
    let mut client = server.connect("gateway");
    let (mut upstream, _) = listener.accept().unwrap();
    upstream.set_read_timeout(Some(DEADLINE)).unwrap();
    let bytes = noise(3 << 20, 1);
    let sending = std::thread::spawn({
        let bytes = bytes.clone();
        move || {
            client.send(bytes);
            client.half_close();
            client
        }
    });
    let mut got = Vec::new();
    upstream.read_to_end(&mut got).unwrap();
    assert_same_bytes(&got, &bytes);
    let mut client = sending.join().unwrap();
    upstream.write_all(b"answer").unwrap();
    drop(upstream);
    assert_eq!(client.read_to_end().unwrap(), b"answer");
    let record = Record::of(&server);
    record.moved(3 << 20, 6).expect(
        ["peer.fin", "zero_read", "peer_first"],
        ["peer.fin", "partner", "forwarded_fin"],
        ["peer.fin", "client"],
    );
    assert_eq!(record.pair["server"], format!("unix:{}", directory.socket().display()));
}

/// The kernel says so at once: there is no connection, and so no End, but the pair tells of it, and the metrics.
fn expect_refused_at_once(server: &Server, to: &str, reason: &str) {
    is_reset(&mut server.connect("gateway"));
    let end = &server.wait_ends(1)[0];
    assert_eq!(
        [&end["leg"], &end["reason"], &end["detector"], &end["close"]],
        ["client", reason, "connect", "reset"]
    );
    let line = wait_for("the pair's line", || server.events("pair").pop());
    assert_eq!([&line["reason"], &line["by"], &line["server"]], [reason, "upstream", to], "{line}");
    assert!(line["attempts_failed"].as_str().unwrap().starts_with(&format!("{to}:{reason}:")), "{line}");
    assert_eq!(server.ends().iter().filter(|end| end["leg"] == "upstream").count(), 0);
    server.logs("upstream_state", 1);
    assert_eq!(counted(server, "linger_upstream_connects_total"), 1);
    let counted = format!("{{listener=\"gateway\",class=\"upstream\",reason=\"{reason}\"}}");
    let metrics = server.metrics();
    assert_eq!(whole_of(metrics[&format!("linger_upstream_ends_total{counted}")]), 1, "{metrics:#?}");
    assert_eq!(server.ended(reason), 1);
}

#[test]
fn a_server_that_refuses_at_once_is_the_one_that_was_tried_last() {
    let (first, directory) = (nowhere(), Directory::new("last"));
    let last = format!("unix:{}", directory.socket().display());
    let server = gateway(&format!("{first},{last}"), "");
    is_reset(&mut server.connect("gateway"));
    let line = wait_for("the pair's line", || server.events("pair").pop());
    let failed = line["attempts_failed"].as_str().unwrap();
    let places = [first.to_string(), last.clone()].map(|server| failed.find(&server));
    assert!(places[0] == Some(0) && places[1] > Some(0), "{line}");
    assert_eq!(line["server"], last, "{line}");
}

#[test]
fn a_unix_socket_refuses_in_two_ways() {
    let directory = Directory::new("refused");
    let to = format!("unix:{}", directory.socket().display());
    expect_refused_at_once(&gateway(&to, ""), &to, "upstream.refused");

    // A full queue is told at once, and is not "in progress" (unix(7): EAGAIN).
    let directory = Directory::new("full");
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    let address = SockAddr::unix(directory.socket()).unwrap();
    socket.bind(&address).unwrap();
    socket.listen(0).unwrap();
    let first = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    first.connect(&address).unwrap();
    let to = format!("unix:{}", directory.socket().display());
    expect_refused_at_once(&gateway(&to, "connect_timeout=1m"), &to, "upstream.unavailable");
}
