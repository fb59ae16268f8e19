//! Gateways that choose the upstream by what a client asks for in TLS: by SNI, by ALPN, where TLS passes through and where it
//! ends.

#![allow(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]
#![allow(clippy::disallowed_types, reason = "clients and servers of the tests are ordinary blocking ones")]

use crate::common::file::TempFile;
use crate::common::tls::{House, TlsClient, hello, offering};
use crate::common::{Client, DEADLINE, Server, until, wait_for};
use proxy_header::{ParseConfig, ProxyHeader};
use rustls::ClientConfig;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;

/// Servers behind a gateway that say nothing by themselves: `web`, `devices`, `other`.
struct Behind([TcpListener; 3]);

const NAMES: [&str; 3] = ["web", "devices", "other"];
const WEB: usize = 0;
const DEVICES: usize = 1;
const OTHER: usize = 2;

impl Behind {
    fn new() -> Self {
        Self(std::array::from_fn(|_| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            listener
        }))
    }

    /// Their tables, in each of which `more` stands.
    fn tables(&self, more: &str) -> String {
        let table = |(name, listener): (&str, &TcpListener)| {
            format!("[upstream.{name}]\nservers = '{}'\n{more}", listener.local_addr().unwrap())
        };
        NAMES.into_iter().zip(&self.0).map(table).collect()
    }

    /// The next connection to one of them, and to none of the others.
    fn accept(&self, which: usize) -> Client {
        let mut all = self.0.iter().enumerate();
        let (at, stream) = wait_for("a connection", || {
            all.clone().find_map(|(at, listener)| Some((at, listener.accept().ok()?.0)))
        });
        assert_eq!(NAMES[at], NAMES[which]);
        assert!(all.all(|(_, listener)| listener.accept().is_err()));
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Client { stream }
    }

    fn nobody_came(&self) -> bool {
        self.0.iter().all(|listener| listener.accept().is_err())
    }
}

const ROUTES: &str =
    "route.server_name = 'A.example=web, *.iot.example=devices'\nroute.alpn = 'mqtt=devices, h2=web'\n";

/// The text of a configuration whose listener `gate` has these settings.
fn text(listener: &str, tables: &str) -> String {
    format!(
        "[admin]\naddress = '127.0.0.1:0'\n[[listener]]\nprotocol = 'tcp'\nname = 'gate'\naddress = '127.0.0.1:0'\nlinger = '200ms'\n\
         linger_max = '1s'\n{listener}{tables}"
    )
}

fn start(listener: &str, tables: &str) -> (Server, TempFile) {
    let file = TempFile::new(&text(listener, tables));
    (Server::start(&["--config", file.path()]), file)
}

/// A client that offers these protocols, if there are some.
fn client(alpn: &[&str]) -> Arc<ClientConfig> {
    offering(&House::new().trust(None), alpn)
}

fn send_slowly(client: &mut Client, bytes: &[u8]) {
    client.stream.set_nodelay(true).unwrap();
    for byte in bytes {
        client.send([*byte]);
    }
}

#[test]
fn tls_passes_through_unchanged_to_the_upstream_of_what_the_client_asks_for() {
    let behind = Behind::new();
    let (gate, _file) = start(&format!("{ROUTES}upstream = 'other'\n"), &behind.tables(""));
    for (name, alpn, expected) in [
        ("a.EXAMPLE", &[][..], WEB),
        ("dev1.iot.example", &["h2"], DEVICES),
        ("b.dev1.iot.example", &[], OTHER),
        ("elsewhere", &["http/1.1", "h2"], WEB),
        ("elsewhere", &["mqtt"], DEVICES),
        ("elsewhere", &["http/1.1"], OTHER),
        ("192.0.2.1", &[], OTHER),
    ] {
        let wire = hello(&client(alpn), name);
        let mut client = gate.connect("gate");
        // One byte at a time, then all and more at once.
        send_slowly(&mut client, &wire[..wire.len() - 1]);
        client.send([&wire[wire.len() - 1..], b"and more"].concat());
        let mut app = behind.accept(expected);
        app.expect([&wire[..], b"and more"].concat());
        app.send("an answer");
        client.expect("an answer");
        let row = gate.connections("gate").into_iter().find(|row| row["leg"] == "client").unwrap();
        let sni = (name != "192.0.2.1").then(|| Value::from(name.to_ascii_lowercase()));
        assert_eq!(row["sni"], sni.clone().unwrap_or_default());
        assert_eq!(row["alpn"], if alpn.is_empty() { Value::Null } else { alpn.join(",").into() });
        // The client leaves first.
        drop(client);
        assert_eq!(app.read_to_end().unwrap(), b"");
        drop(app);
        let end = wait_for("its end", || {
            gate.ends()
                .into_iter()
                .rfind(|end| end["leg"] == "client" && end["sni"] == sni.clone().unwrap_or_default())
        });
        assert_eq!(end["reason"], "peer.fin");
        until("both legs to be gone", || gate.connections("gate").is_empty());
    }
    let pair = wait_for("the pairs", || gate.events("pair").pop());
    assert_eq!((&pair["lost_up"], &pair["lost_down"]), (&0.into(), &0.into()), "{pair}");
}

#[test]
fn a_client_of_an_older_tls_is_routed_by_what_it_asks_for() {
    let behind = Behind::new();
    let (gate, _file) = start(&format!("{ROUTES}upstream = 'other'\n"), &behind.tables(""));
    // TLS 1.0: no signature_algorithms. For a.example, by AES128-SHA.
    let name = b"\x00\x00\x00\x0e\x00\x0c\x00\x00\x09a.example";
    let fixed = [&[3, 1][..], &[7; 32], &[0], &[0, 2, 0, 0x2f], &[1, 0], &[0, 18]].concat();
    let hello = [&fixed[..], name].concat();
    let message = [&[1, 0, 0, u8::try_from(hello.len()).unwrap()], &hello[..]].concat();
    let wire = [&[22, 3, 1, 0, u8::try_from(message.len()).unwrap()], &message[..]].concat();
    let mut client = gate.connect("gate");
    client.send(&wire);
    let mut app = behind.accept(WEB);
    app.expect(&wire);
    app.send("an answer");
    client.expect("an answer");
}

#[test]
fn a_client_that_no_route_is_for_is_told_so_and_the_record_has_what_it_asked_for() {
    let behind = Behind::new();
    let (gate, _file) = start(ROUTES, &behind.tables(""));
    let mut client_of = TlsClient::connect_as(gate.connect("gate"), &client(&["x"]), "elsewhere.example");
    let failed = client_of.shake_hands().unwrap_err().to_string();
    assert!(failed.contains("UnrecognisedName"), "{failed}");
    drop(client_of);
    let end = gate.wait_ends(1).remove(0);
    let said =
        ["reason", "detector", "alert", "sni", "alpn"].map(|field| end[field].as_str().unwrap().to_owned());
    assert_eq!(said, ["protocol.no_route", "protocol", "local:unrecognized_name", "elsewhere.example", "x"]);
    assert_eq!(end["close"], "peer_first_after_goodbye");
    assert_eq!(gate.ended("protocol.no_route"), 1);
    assert!(behind.nobody_came());
    // What it goes on saying is for nobody, and it holds no place for ever.
    let mut stubborn = gate.connect("gate");
    stubborn.send(hello(&client(&[]), "elsewhere.example"));
    stubborn.expect([21, 3, 3, 0, 2, 2, 112]);
    let _ = stubborn.stream.write_all(b"still here");
    assert_eq!(gate.wait_ends(2)[1]["reason"], "protocol.no_route");
    assert_ne!(stubborn.stream.read(&mut [0; 1]).unwrap_or(0), 1, "it is no echo");
    let (by_alpn, _file) = start("route.alpn = 'mqtt=devices'\n", &behind.tables(""));
    let mut other = by_alpn.connect("gate");
    other.send(hello(&client(&["h2"]), "a.example"));
    other.expect([21, 3, 3, 0, 2, 2, 120]);
}

#[test]
fn what_is_no_client_hello_or_not_whole_has_a_reason() {
    let behind = Behind::new();
    let (gate, _file) =
        start(&format!("{ROUTES}upstream = 'other'\nhandshake_timeout = '400ms'\n"), &behind.tables(""));
    let wire = hello(&client(&[]), "a.example");
    let long: Vec<_> = (0..80).map(|number| format!("{number:0>240}")).collect();
    let long = hello(&client(&long.iter().map(String::as_str).collect::<Vec<_>>()), "a.example");
    assert!(long.len() > 17 * 1024);
    let server_hello = [22, 3, 3, 0, 4, 2, 0, 0, 0];
    for (at, (says, closes, expected, spoke)) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], false, "protocol.tls", Value::from("http")),
        (b"*1\r\n$4\r\nPING\r\n", false, "protocol.tls", Value::from("resp")),
        (b"SSH-2.0-x\r\n", false, "protocol.tls", Value::from("ssh")),
        (&[0; 16], false, "protocol.tls", Value::Null),
        (&server_hello, false, "protocol.tls", Value::Null),
        (&long, false, "protocol.oversized", Value::Null),
        (&wire[..40], true, "peer.fin_midframe", Value::Null),
        (b"", true, "peer.fin", Value::Null),
        (&wire[..40], false, "protocol.handshake_timeout", Value::Null),
        (b"", false, "protocol.handshake_timeout", Value::Null),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = gate.connect("gate");
        client.send(says);
        if closes {
            client.half_close();
        }
        if expected == "protocol.oversized" {
            client.expect([21, 3, 3, 0, 2, 2, 47]);
        }
        let end = gate.wait_ends(at + 1).remove(at);
        assert_eq!((&end["reason"], &end["spoke"]), (&expected.into(), &spoke), "{at}: {end}");
        if expected == "protocol.oversized" {
            assert_eq!(end["alert"], "local:illegal_parameter");
        }
    }
    assert!(behind.nobody_came());
}

#[test]
fn the_header_of_a_proxy_comes_first_and_the_server_is_told_who_it_is_and_what_it_asks_for() {
    let behind = Behind::new();
    let listener = format!("{ROUTES}accept_proxy = 'require'\naccept_proxy_trusted = '127.0.0.1'\n");
    let (gate, _file) = start(&listener, &behind.tables("header = 'proxy_v2'\n"));
    let wire = hello(&client(&["mqtt"]), "dev1.iot.example");
    let said = [b"PROXY TCP4 192.0.2.7 192.0.2.1 1000 9000\r\n", &wire[..]].concat();
    for slowly in [true, false] {
        let mut client = gate.connect("gate");
        if slowly {
            send_slowly(&mut client, &said);
        } else {
            client.send(&said);
        }
        let mut app = behind.accept(DEVICES);
        let mut bytes = vec![0; 16];
        app.stream.read_exact(&mut bytes).unwrap();
        let length = usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
        bytes.resize(16 + length, 0);
        app.stream.read_exact(&mut bytes[16..]).unwrap();
        let (header, _) = ProxyHeader::parse(&bytes, ParseConfig::default()).unwrap();
        assert_eq!(header.proxied_address().unwrap().source, "192.0.2.7:1000".parse().unwrap());
        assert_eq!((header.authority(), header.alpn()), (Some("dev1.iot.example"), Some(&b"mqtt"[..])));
        assert!(header.ssl().is_none() && header.unique_id().is_some());
        app.expect(&wire);
        app.send("an answer");
        client.expect("an answer");
    }
    until("their ends", || gate.ends().iter().filter(|end| end["sni"] == "dev1.iot.example").count() == 2);
    assert_eq!(gate.ends()[0]["proxy_version"], "1");
}

#[test]
fn who_leaves_or_cannot_be_connected_behind_the_first_message_has_its_record() {
    let behind = Behind::new();
    let (gate, _file) = start(&format!("{ROUTES}upstream = '127.0.0.1:1'\n"), &behind.tables(""));
    let wire = hello(&client(&[]), "a.example");
    let mut leaver = gate.connect("gate");
    leaver.send([&wire[..], b"last words"].concat());
    leaver.half_close();
    let mut app = behind.accept(WEB);
    assert_eq!(
        app.read_to_end().unwrap(),
        [&wire[..], b"last words"].concat(),
        "all of it, and the FIN behind it"
    );
    app.send("an answer");
    leaver.expect("an answer");
    drop((app, leaver));
    let mut client_of = gate.connect("gate");
    client_of.send(hello(&client(&[]), "elsewhere"));
    assert!(client_of.read_to_end().is_err(), "a reset");
    until("its record", || gate.ended("upstream.refused") == 1);
    let pair = wait_for("its pair", || {
        gate.events("pair").into_iter().find(|pair| pair["reason"] == "upstream.refused")
    });
    assert!(pair["lost_up"].as_u64().unwrap() > 100, "{pair}");
}

#[test]
fn where_tls_ends_here_the_route_is_chosen_behind_the_handshake_and_the_server_is_told_of_it() {
    let house = House::new();
    let behind = Behind::new();
    let both = TempFile::new(&house.authority.sign("a.example").both());
    let listener = format!(
        "{ROUTES}tls = {{ certificate = '{},{}', alpn = 'mqtt,h2', client_certificate = 'optional', client_ca = '{}' }}\n",
        house.server.path(),
        both.path(),
        house.ca.path()
    );
    let (gate, _file) = start(&listener, &behind.tables("header = 'proxy_v2'\n"));
    let device = house.trust(Some(&house.authority.sign("dev1")));
    for (config, name, expected, alpn, common_name) in [
        (offering(&house.trust(None), &["mqtt"]), "a.example", WEB, Some("mqtt"), None),
        (device.clone(), "a.example", WEB, None, Some("dev1")),
        (offering(&device, &["x", "mqtt"]), "localhost", DEVICES, Some("mqtt"), Some("dev1")),
    ] {
        let mut client = TlsClient::connect_as(gate.connect("gate"), &config, name);
        client.shake_hands().unwrap();
        client.send("hello");
        let mut app = behind.accept(expected);
        let mut bytes = vec![0; 16];
        app.stream.read_exact(&mut bytes).unwrap();
        bytes.resize(16 + usize::from(u16::from_be_bytes([bytes[14], bytes[15]])), 0);
        app.stream.read_exact(&mut bytes[16..]).unwrap();
        let (header, _) = ProxyHeader::parse(&bytes, ParseConfig::default()).unwrap();
        assert_eq!((header.authority(), header.alpn()), (Some(name), alpn.map(str::as_bytes)));
        let ssl = header.ssl().unwrap();
        assert_eq!((ssl.version(), ssl.cn()), (Some("TLSv1.3"), common_name));
        assert_eq!(
            (ssl.client_cert_conn(), ssl.verify() == 0),
            (common_name.is_some(), common_name.is_some())
        );
        app.expect("hello");
        let row = gate.connections("gate").into_iter().find(|row| row["leg"] == "client").unwrap();
        assert_eq!((&row["sni"], &row["alpn"]), (&name.into(), &alpn.map(Value::from).unwrap_or_default()));
        drop((client, app));
        until("both legs to be gone", || gate.connections("gate").is_empty());
    }
    // Nothing is for this one: its handshake is over, and it is closed in order. What comes with the last of it is no echo's.
    let mut client = TlsClient::connect_as(gate.connect("gate"), &house.trust(None), "localhost");
    client.0.conn.writer().write_all(b"hello").unwrap();
    client.shake_hands().unwrap();
    client.send("hello");
    client.expect_end();
    drop(client);
    let end = gate.end_of("protocol.no_route");
    assert_eq!((&end["sni"], &end["leg"]), (&"localhost".into(), &Value::Null));
    assert!(behind.nobody_came());
}

#[test]
fn clients_and_servers_of_tls_meet_through_a_gateway_that_has_no_certificate() {
    let house = House::new();
    let app = |name: &str| {
        let file = TempFile::new(&house.authority.sign(name).both());
        let url = format!("echos://127.0.0.1:0?tls.certificate={}", file.path());
        (Server::start(&["--listen", &url, "--admin", "127.0.0.1:0"]), file)
    };
    let (one, two) = (app("one.example"), app("two.example"));
    let table =
        |name: &str, app: &Server| format!("[upstream.{name}]\nservers = '{}'\n", app.address("echo"));
    let tables = table("one", &one.0) + &table("two", &two.0);
    let (gate, _file) = start("route.server_name = ['one.example=one', 'two.example=two']\n", &tables);
    let long = "x".repeat(300_000);
    for name in ["one.example", "two.example"] {
        let mut client = TlsClient::connect_as(gate.connect("gate"), &house.trust(None), name);
        client.shake_hands().expect("the certificate of the server behind");
        client.asks(&long, &long);
        client.say_last_word();
        client.expect_end();
    }
    assert_eq!(
        [one.0.wait_ends(1)[0]["sni"].clone(), two.0.wait_ends(1)[0]["sni"].clone()],
        ["one.example", "two.example"]
    );
}

#[test]
fn routes_are_read_again_and_connections_that_are_there_stay() {
    let behind = Behind::new();
    let listener = |to: &str| format!("route.server_name = 'a.example={to}'\n");
    let (gate, file) = start(&listener("web"), &behind.tables(""));
    let wire = hello(&client(&[]), "a.example");
    let mut before = gate.connect("gate");
    before.send(&wire);
    let mut app = behind.accept(WEB);
    app.expect(&wire);
    // One that has begun is routed as the routes are when all of its message is there.
    let mut between = gate.connect("gate");
    between.send(&wire[..20]);
    until("both clients", || gate.connections("gate").len() >= 3);
    gate.reload(&file, &text(&listener("devices"), &behind.tables("")));
    between.send(&wire[20..]);
    behind.accept(DEVICES).expect(&wire);
    app.send("still here");
    before.expect("still here");
    gate.reload(&file, &text("route.server_name = 'a.example=nowhere'\n", &behind.tables("")));
    until("the refusal", || !gate.events("reload_refused").is_empty());
    let mistake = gate.events("reload_refused")[0]["mistake"].as_str().unwrap().to_owned();
    assert!(mistake.contains("there is no [upstream.nowhere]"), "{mistake}");
    let _ = TcpStream::shutdown(&before.stream, Shutdown::Both);
}
