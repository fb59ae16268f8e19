//! Who a client is, by the word of the application behind the gateway: what follows from that, who is refused, and what
//! reaches the client by its identity. With one worker and with two.

use super::{Backend, Record, assert_same_bytes, narrow, noise, read_slowly, whole};
use crate::common::{Client, Server, until, wait_for};
use serde_json::Value;
use std::io::Read;

/// A gateway that tells its server who a client is, a listener for the application's word, and the server.
fn start(query: &str, arguments: &[&str]) -> (Server, Backend) {
    let backend = Backend::start();
    let upstream = backend.address();
    let gateway =
        format!("tcp://127.0.0.1:0?name=gateway&upstream={upstream}&upstream_header=proxy_v2{query}");
    let fixed = ["--listen", &gateway, "--listen", "resp://127.0.0.1:0", "--listen", "echo://127.0.0.1:0"];
    let fixed = [&fixed[..], &["--admin", "127.0.0.1:0", "--set", "drain.timeout=2h"], arguments].concat();
    (Server::start(&fixed), backend)
}

/// A client, its connection at the server, and its key as that was told.
fn pair(server: &Server, backend: &Backend) -> (Client, Client, String) {
    let client = server.connect("gateway");
    let mut upstream = backend.accept();
    let key = unique_id(&mut upstream);
    (client, upstream, key)
}

/// Reads the header of the PROXY protocol, version 2, and gives the unique id in it.
fn unique_id(upstream: &mut Client) -> String {
    let mut head = [0; 16];
    upstream.stream.read_exact(&mut head).unwrap();
    assert_eq!(head[..12], *b"\r\n\r\n\0\r\nQUIT\n");
    let length = |bytes: &[u8]| usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    let mut rest = vec![0; length(&head[14..])];
    upstream.stream.read_exact(&mut rest).unwrap();
    // The addresses and ports of IPv4 come first.
    let tlv = &rest[12..];
    assert_eq!(tlv[0], 5, "PP2_TYPE_UNIQUE_ID");
    String::from_utf8(tlv[3..3 + length(&tlv[1..])].to_vec()).unwrap()
}

/// The reply to a command that is one line, or a bulk string.
fn reply(client: &mut Client, command: &str) -> String {
    client.send(format!("{command}\r\n"));
    let mut line = || {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            client.stream.read_exact(&mut byte).unwrap();
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap().trim_end().to_owned()
    };
    let first = line();
    if first.starts_with('$') && first != "$0" { line() } else { first }
}

fn send(client: &mut Client, id: &str, bytes: &[u8], expected: &str) {
    let head = format!("*3\r\n$4\r\nSEND\r\n${}\r\n{id}\r\n${}\r\n", id.len(), bytes.len());
    client.send([head.as_bytes(), bytes, b"\r\n"].concat());
    client.expect(expected);
}

/// Those that the admin interface lists by this query.
fn listed(server: &Server, query: &str) -> Vec<Value> {
    let (_, body) = server.admin("GET", &format!("/connections?{query}"));
    let mut answer: Value = serde_json::from_str(&body).unwrap();
    answer["connections"].take().as_array().cloned().unwrap()
}

/// One that listens to all presence.
fn watcher(server: &Server) -> Client {
    let mut client = server.connect("resp");
    client.ask("PSUBSCRIBE $presence:*", "*3\r\n$10\r\npsubscribe\r\n$11\r\n$presence:*\r\n:1\r\n");
    client
}

/// The next that it hears: the word, and the reason in the record where there is one.
fn heard(watcher: &mut Client) -> (String, String) {
    let mut text = Vec::new();
    // Type, pattern, channel and payload, each behind its length.
    for _ in 0..9 {
        text.clear();
        while !text.ends_with(b"\r\n") {
            let mut byte = [0];
            watcher.stream.read_exact(&mut byte).unwrap();
            text.push(byte[0]);
        }
    }
    let text = String::from_utf8(text).unwrap();
    let (word, record) = text.trim_end().split_once(' ').unwrap_or((text.trim_end(), "null"));
    let record: Value = serde_json::from_str(record).unwrap();
    (word.to_owned(), record["reason"].as_str().unwrap_or_default().to_owned())
}

fn of(word: &str, reason: &str) -> (String, String) {
    (word.to_owned(), reason.to_owned())
}

#[test]
fn a_client_that_the_application_has_named_is_a_member_like_any_other() {
    for workers in ["1", "2"] {
        let (server, backend) = start("", &["--workers", workers]);
        let mut watcher = watcher(&server);
        let mut app = server.connect("resp");
        let (mut client, mut upstream, key) = pair(&server, &backend);
        assert_eq!(reply(&mut app, "STATE dev"), "+offline");
        assert_eq!(reply(&mut app, &format!("IDENTFOR {key} dev")), "+OK");
        assert_eq!(heard(&mut watcher), of("online", ""));
        assert_eq!(reply(&mut app, "STATE dev"), "+online");
        app.ask("WHO", "*1\r\n$3\r\ndev\r\n");
        let rows = listed(&server, "identity=dev");
        assert_eq!(
            (rows.len(), &rows[0]["key"], &rows[0]["leg"]),
            (1, &key.as_str().into(), &"client".into())
        );
        let rows = listed(&server, &format!("key={key}"));
        assert_eq!((rows.len(), &rows[0]["id"]), (1, &"dev".into()));
        // What it is sent stands between what its server sends, as it is.
        upstream.send("one ");
        client.expect("one ");
        send(&mut app, "dev", b"\0by name\r\n", ":1\r\n");
        client.expect("\0by name\r\n");
        upstream.send(" two");
        client.expect(" two");
        client.send("three");
        upstream.expect("three");
        // Saying so again changes nothing; another name takes the place of the first.
        assert_eq!(reply(&mut app, &format!("IDENTFOR {key} dev")), "+OK");
        assert_eq!(reply(&mut app, &format!("IDENTFOR {key} dev2")), "+OK");
        assert_eq!([heard(&mut watcher), heard(&mut watcher)], [of("offline", ""), of("online", "")]);
        send(&mut app, "dev", b"nobody", ":0\r\n");
        // The client leaves first.
        drop(client);
        assert_eq!(upstream.read_to_end().unwrap(), b"");
        drop(upstream);
        assert_eq!(heard(&mut watcher), of("offline", "peer.fin"));
        assert_eq!(reply(&mut app, &format!("IDENTFOR {key} dev")), GONE);
        let record = Record::of_last(&server);
        assert_eq!(
            (&record.client["identity"], &record.client["messages_out"], &record.client["bytes_out"]),
            (&"dev2".into(), &1.into(), &18.into()),
            "{record:#?}"
        );
        // The pair's line is about what its server has sent.
        record.moved_of_named(5, 8, 10);
    }
}

const GONE: &str = "-GONE that connection has ended, or is ending";

impl Record {
    /// As [`moved`](Self::moved), where the client was sent so much by its name besides.
    fn moved_of_named(&self, up: usize, down: usize, by_name: usize) {
        self.moved(up, down);
        assert_eq!(whole(&self.client["bytes_out"]), down + by_name, "{self:#?}");
    }
}

#[test]
fn the_older_connection_of_an_identity_ends_in_order_on_both_sides() {
    let (server, backend) = start("", &[]);
    let mut watcher = watcher(&server);
    let mut app = server.connect("resp");
    let (mut older, mut older_upstream, older_key) = pair(&server, &backend);
    let (mut newer, mut newer_upstream, key) = pair(&server, &backend);
    assert_eq!(reply(&mut app, &format!("IDENTFOR {older_key} dev")), "+OK");
    assert_eq!(heard(&mut watcher), of("online", ""));
    older_upstream.send("last words");
    older.expect("last words");
    assert_eq!(reply(&mut app, &format!("IDENTFOR {key} dev")), "+OK");
    assert_eq!(
        [heard(&mut watcher), heard(&mut watcher)],
        [of("replaced", "peer.replaced"), of("online", "")]
    );
    // Neither of its sides sees a reset.
    assert_eq!(older.read_to_end().unwrap(), b"");
    assert_eq!(older_upstream.read_to_end().unwrap(), b"");
    drop((older, older_upstream));
    let record = Record::of_last(&server);
    record.expect(
        ["peer.replaced", "protocol", "linger2"],
        ["peer.replaced", "partner", "linger2"],
        ["peer.replaced", "client"],
    );
    assert_eq!((&record.client["identity"], &record.client["by_key"]), (&"dev".into(), &key.as_str().into()));
    // A client that names itself takes it over, and gives it back, as any other.
    let mut own = server.connect("resp");
    assert_eq!(reply(&mut own, "IDENT dev"), "+OK");
    assert_eq!(newer.read_to_end().unwrap(), b"");
    assert_eq!(newer_upstream.read_to_end().unwrap(), b"");
    let (_newest, _upstream, key) = pair(&server, &backend);
    assert_eq!(reply(&mut app, &format!("IDENTFOR {key} dev")), "+OK");
    own.expect("-GOODBYE peer.replaced\r\n");
}

#[test]
fn who_has_no_client_of_a_gateway_in_mind_is_told_what_is_wrong() {
    let (server, backend) = start("", &[]);
    let mut app = server.connect("resp");
    let (_client, _upstream, key) = pair(&server, &backend);
    let upstream_key =
        listed(&server, "listener=gateway").iter().find(|row| row["leg"] == "upstream").unwrap()["key"]
            .clone();
    let upstream_key = upstream_key.as_str().unwrap();
    let _echo = server.connect("echo");
    let key_of = |listener: &str| {
        let row = wait_for("its row", || server.connections(listener).pop());
        row["key"].as_str().unwrap().to_owned()
    };
    let [echo, own] = ["echo", "resp"].map(key_of);
    let admin_says = |path: &str| {
        let (status, body) = server.admin("POST", path);
        (status.split(' ').nth(1).unwrap().to_owned(), body)
    };
    for (key, says, status) in [
        (
            upstream_key,
            &*format!("ERR that connection is the one to the upstream server; the client's is {key}"),
            "409",
        ),
        (&own, "ERR the client of that connection names itself", "409"),
        (&echo, "ERR that connection is no gateway's client", "409"),
        ("4711-4711", "GONE that connection has ended, or is ending", "404"),
    ] {
        assert_eq!(reply(&mut app, &format!("IDENTFOR {key} dev")), format!("-{says}"));
        let body = format!("{}\n", says.split_once(' ').unwrap().1);
        assert_eq!(admin_says(&format!("/connections/{key}/identity?id=dev")), (status.to_owned(), body));
    }
    let not_here = reply(&mut app, &format!("IDENTFOR 1.{key} dev"));
    assert!(not_here.starts_with("-ERR no connection here has such a key"), "{not_here}");
    assert!(reply(&mut app, "IDENTFOR me dev").starts_with("-ERR 'me' is not a key"));
    let long = "x".repeat(129);
    assert!(reply(&mut app, &format!("IDENTFOR {key} {long}")).starts_with("-ERR invalid identity"));
    assert_eq!(admin_says("/connections/me/identity?id=dev").0, "400");
    for query in ["", "?id=", "?id=a%20b", &format!("?id={long}")] {
        assert_eq!(admin_says(&format!("/connections/{key}/identity{query}")).0, "400", "{query}");
    }
    assert!(server.admin("GET", &format!("/connections/{key}/identity?id=dev")).0.contains("405"));
    app.ask("WHO", "*0\r\n");
    assert_eq!(admin_says(&format!("/connections/{key}/identity?id=dev")).0, "200");
    app.ask("WHO", "*1\r\n$3\r\ndev\r\n");
}

#[test]
fn a_connection_that_was_given_is_asked_about_and_ended_by_its_key() {
    for workers in ["1", "2"] {
        let (server, backend) = start("", &["--workers", workers]);
        let mut app = server.connect("resp");
        let (mut client, mut upstream, key) = pair(&server, &backend);
        let (_other, _other_upstream, _) = pair(&server, &backend);
        client.send("hello");
        upstream.expect("hello");
        app.send(format!("CLIENT LIST KEY {key}\r\n"));
        app.expect("$");
        let row = reply(&mut app, "PING");
        assert!(row.parse::<usize>().is_ok(), "{row}");
        let mut row = String::new();
        while !row.ends_with("+PONG\r\n") {
            let mut byte = [0];
            app.stream.read_exact(&mut byte).unwrap();
            row.push(byte[0].into());
        }
        let peer = client.stream.local_addr().unwrap();
        for part in [format!("addr={peer} "), "identity= ".to_owned(), "tot-net-in=5 ".to_owned()] {
            assert!(row.contains(&part), "{part}: {row}");
        }
        assert_eq!(reply(&mut app, "CLIENT KILL KEY 9.4711-4711"), ":0");
        assert_eq!(reply(&mut app, &format!("CLIENT KILL KEY {key} TYPE PUBSUB")), ":0");
        assert_eq!(reply(&mut app, &format!("CLIENT KILL KEY {key}")), ":1");
        assert_eq!(client.read_to_end().unwrap(), b"");
        assert_eq!(upstream.read_to_end().unwrap(), b"");
        drop((client, upstream));
        let record = Record::of_last(&server);
        record.expect(
            ["local.kicked", "client", "linger2"],
            ["local.kicked", "partner", "linger2"],
            ["local.kicked", "client"],
        );
        assert_eq!(reply(&mut app, &format!("CLIENT KILL KEY {key}")), ":0");
        assert_eq!(reply(&mut app, &format!("CLIENT LIST KEY {key}")), "$0");
    }
}

#[test]
fn what_is_sent_by_name_comes_whole_behind_what_waits_and_the_rest_behind_it() {
    let (server, backend) = start("", &[]);
    let mut app = server.connect("resp");
    let mut client = narrow(&server);
    let mut upstream = backend.accept();
    let key = unique_id(&mut upstream);
    assert_eq!(reply(&mut app, &format!("IDENTFOR {key} dev")), "+OK");
    let bytes = noise(16 << 20, 7);
    let expected = bytes.clone();
    let sending = std::thread::spawn(move || {
        upstream.send(bytes);
        upstream.half_close();
        upstream
    });
    let waits =
        || listed(&server, "identity=dev").first().and_then(|row| row["queue_bytes"].as_u64()) > Some(0);
    until("the client to have as much as it takes", waits);
    // Small, and large enough to be sent at once where nothing waits.
    let marks = [b"sent by name, and short".to_vec(), noise(30_000, 8)];
    for mark in &marks {
        send(&mut app, "dev", mark, ":1\r\n");
    }
    let (mut got, error) = read_slowly(&mut client);
    assert_eq!(error, None);
    drop(client);
    drop(sending.join().unwrap());
    let mut before = 0;
    for mark in &marks {
        let at = got.windows(20).position(|window| *window == mark[..20]).expect("it has come");
        assert!(at > before, "something had waited, and they keep their order");
        let rest = got.split_off(at);
        assert_same_bytes(&rest[..mark.len()], mark);
        got.extend_from_slice(&rest[mark.len()..]);
        before = at - 1;
    }
    assert_same_bytes(&got, &expected);
    Record::of_last(&server).moved_of_named(0, expected.len(), marks.concat().len());
}

#[test]
fn a_client_that_takes_nothing_is_sent_no_more_than_its_bound_by_name() {
    let (server, backend) = start("&output_max=1MiB&output_high=256KiB", &[]);
    let mut app = server.connect("resp");
    let client = narrow(&server);
    let mut upstream = backend.accept();
    let key = unique_id(&mut upstream);
    assert_eq!(reply(&mut app, &format!("IDENTFOR {key} dev")), "+OK");
    let piece = vec![b'x'; 32 << 10];
    let mut sent = 0;
    until("it to be ended", || {
        send_any(&mut app, &piece);
        sent += 1;
        assert!(sent < 2000, "more than the kernel and the bound hold");
        server.ends().iter().any(|end| end["identity"] == "dev")
    });
    let end = server.ends().into_iter().find(|end| end["identity"] == "dev").unwrap();
    assert_eq!((&end["reason"], &end["detector"]), (&"slow.bytes".into(), &"policy".into()));
    assert!(upstream.read_to_end().is_err(), "a reset stays one");
    drop(client);
    assert_eq!(reply(&mut app, "STATE dev"), "+offline");
}

#[test]
fn what_a_client_leaves_of_a_message_by_name_is_no_loss_of_its_server() {
    let (server, backend) = start("&output_max=64MiB", &[]);
    let mut app = server.connect("resp");
    let mut client = narrow(&server);
    let mut upstream = backend.accept();
    let key = unique_id(&mut upstream);
    assert_eq!(reply(&mut app, &format!("IDENTFOR {key} dev")), "+OK");
    upstream.send("of its server");
    client.expect("of its server");
    let piece = noise(32 << 10, 9);
    until("some of it to wait", || {
        send(&mut app, "dev", &piece, ":1\r\n");
        listed(&server, "identity=dev").first().and_then(|row| row["queue_bytes"].as_u64()) > Some(0)
    });
    client.reset();
    let record = Record::of_last(&server);
    assert_eq!(record.bytes(), [0, 13, 0, 0], "{record:#?}");
    assert!(whole(&record.client["bytes_out"]) > 13, "the kernel has taken some of it: {record:#?}");
}

/// Sends to a client that may just be ending.
fn send_any(app: &mut Client, bytes: &[u8]) {
    let head = format!("*3\r\n$4\r\nSEND\r\n$3\r\ndev\r\n${}\r\n", bytes.len());
    app.send([head.as_bytes(), bytes, b"\r\n"].concat());
    let mut answer = [0; 4];
    app.stream.read_exact(&mut answer).unwrap();
    assert!(matches!(&answer, b":1\r\n" | b":0\r\n"), "{}", answer.escape_ascii());
}

#[test]
fn a_silent_client_is_suspect_to_those_who_watch_it_and_lost_by_its_own_silence() {
    let (server, backend) = start("&heartbeat=1s&heartbeat.grace=30s", &[]);
    let mut watcher = watcher(&server);
    let mut app = server.connect("resp");
    let (mut client, mut upstream, key) = pair(&server, &backend);
    assert_eq!(reply(&mut app, &format!("IDENTFOR {key} dev")), "+OK");
    assert_eq!(heard(&mut watcher), of("online", ""));
    assert_eq!(heard(&mut watcher), of("suspect", ""));
    // What it is sent waits until it is heard from again.
    send(&mut app, "dev", b"by name", ":1\r\n");
    client.send("here");
    assert_eq!(heard(&mut watcher), of("revived", ""));
    client.expect("by name");
    upstream.expect("here");
    client.reset();
    assert_eq!(heard(&mut watcher), of("offline", "peer.reset"));
}

#[test]
fn a_client_that_has_sent_its_fin_takes_no_name_and_no_message_any_more() {
    let (server, backend) = start("&half_close=forward", &[]);
    let mut app = server.connect("resp");
    let (mut named, mut upstream, key) = pair(&server, &backend);
    assert_eq!(reply(&mut app, &format!("IDENTFOR {key} dev")), "+OK");
    named.half_close();
    assert_eq!(upstream.read_to_end().unwrap(), b"");
    assert_eq!(reply(&mut app, "STATE dev"), "+offline");
    send(&mut app, "dev", b"late", ":0\r\n");
    assert_eq!(reply(&mut app, &format!("IDENTFOR {key} other")), GONE);
    // The answer that it waits for is not cut off by that; but its identity can still be taken over.
    upstream.send("answer");
    named.expect("answer");
    let (_newer, _newer_upstream, newer_key) = pair(&server, &backend);
    assert_eq!(reply(&mut app, &format!("IDENTFOR {newer_key} dev")), "+OK");
    assert_eq!(named.read_to_end().unwrap(), b"");
    assert_eq!(reply(&mut app, "STATE dev"), "+online");
}

#[test]
fn it_makes_no_difference_which_worker_the_kernel_gave_a_client_to() {
    let (server, backend) = start("", &["--workers", "2"]);
    let mut watcher = watcher(&server);
    let mut app = server.connect("resp");
    let mut pairs = Vec::new();
    let of_worker = |pairs: &[(Client, Client, String)], worker: &str| {
        pairs.iter().filter(|(_, _, key)| key.starts_with(worker)).count()
    };
    until("both workers to have clients", || {
        pairs.push(pair(&server, &backend));
        of_worker(&pairs, "1.") >= 2 && of_worker(&pairs, "2.") >= 2
    });
    for (index, (client, _, key)) in pairs.iter_mut().enumerate() {
        assert_eq!(reply(&mut app, &format!("IDENTFOR {key} dev{index}")), "+OK");
        assert_eq!(reply(&mut app, &format!("STATE dev{index}")), "+online");
        assert_eq!(heard(&mut watcher), of("online", ""));
        send(&mut app, &format!("dev{index}"), b"by name", ":1\r\n");
        client.expect("by name");
    }
    // All of them become one, one after the other.
    let count = pairs.len();
    for index in 0..count {
        let key = &pairs[index].2;
        assert_eq!(reply(&mut app, &format!("IDENTFOR {key} all")), "+OK");
        let mut words = vec![heard(&mut watcher), heard(&mut watcher)];
        let mut expected = vec![of("offline", ""), of("online", "")];
        if index > 0 {
            words.push(heard(&mut watcher));
            expected.push(of("replaced", "peer.replaced"));
            let (client, upstream, _) = &mut pairs[index - 1];
            assert_eq!(client.read_to_end().unwrap(), b"");
            assert_eq!(upstream.read_to_end().unwrap(), b"");
        }
        words.sort();
        expected.sort();
        assert_eq!(words, expected);
        send(&mut app, "all", b"once", ":1\r\n");
        pairs[index].0.expect("once");
    }
    let (_, _, key) = &pairs[count - 1];
    let upstream_key = listed(&server, "listener=gateway")
        .into_iter()
        .find(|row| row["leg"] == "upstream" && row["pair"] == key.as_str())
        .unwrap();
    let upstream_key = upstream_key["key"].as_str().unwrap();
    let refused = format!("-ERR that connection is the one to the upstream server; the client's is {key}");
    assert_eq!(reply(&mut app, &format!("IDENTFOR {upstream_key} dev")), refused);
    for (index, (_, _, key)) in pairs.iter().enumerate().take(count - 1) {
        assert_eq!(reply(&mut app, &format!("IDENTFOR {key} dev{index}")), GONE);
    }
    for nowhere in ["3.0-1", "0.0-1", "0-1"] {
        let refused = reply(&mut app, &format!("IDENTFOR {nowhere} dev"));
        assert!(refused.starts_with("-ERR no connection here has such a key"), "{nowhere}: {refused}");
    }
    // By way of the admin interface.
    let (status, _) = server.admin("POST", &format!("/connections/{key}/identity?id=last"));
    assert!(status.contains("200"), "{status}");
    assert_eq!(reply(&mut app, "STATE last"), "+online");
    assert_eq!(listed(&server, &format!("key={key}"))[0]["id"], "last");
    assert_eq!(reply(&mut app, &format!("CLIENT KILL KEY {key}")), ":1");
    assert_eq!(pairs[count - 1].0.read_to_end().unwrap(), b"");
    assert_eq!(pairs[count - 1].1.read_to_end().unwrap(), b"");
}
