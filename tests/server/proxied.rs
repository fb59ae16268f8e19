//! Connections that come through a proxy, which says whose they are: `accept_proxy`.

#![allow(clippy::disallowed_types, reason = "clients of the tests are ordinary blocking ones")]
#![allow(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]

use crate::common::{Client, DEADLINE, Server, until, wait_for};
use proxy_header::{ProxiedAddress, ProxyHeader, SslInfo, Tlv};
use serde_json::Value;
use std::net::TcpListener;

const LINE: &str = "PROXY TCP4 192.0.2.7 192.0.2.1 1000 9000\r\n";
const REQUIRED: &str = "accept_proxy=require&accept_proxy_trusted=127.0.0.1";

fn start(listener: &str, more: &[&str]) -> Server {
    let listener = format!("{listener}{}{REQUIRED}", if listener.contains('?') { '&' } else { '?' });
    Server::start(&[&["--listen", &listener, "--admin", "127.0.0.1:0"], more].concat())
}

fn v2(address: Option<ProxiedAddress>, tlvs: Vec<Tlv<'_>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    ProxyHeader::with_tlvs(address, tlvs).encode_v2(&mut bytes).unwrap();
    bytes
}

fn last_end(server: &Server, count: usize) -> Value {
    server.wait_ends(count).pop().unwrap()
}

#[test]
fn a_line_that_comes_byte_by_byte_names_the_client() {
    let server = start("echo://127.0.0.1:0", &[]);
    let mut client = server.connect("echo");
    client.stream.set_nodelay(true).unwrap();
    for byte in LINE.as_bytes() {
        client.send([*byte]);
    }
    client.send("hello");
    client.expect("hello");
    let listed = server.connections("echo").pop().unwrap();
    let sender = client.stream.local_addr().unwrap().to_string();
    assert_eq!(listed["peer"], "192.0.2.7:1000");
    assert_eq!(listed["proxy"]["sender"], sender);
    assert_eq!([&listed["proxy"]["origin"], &listed["proxy"]["destination"]], ["client", "192.0.2.1:9000"]);
    drop(client);
    let end = last_end(&server, 1);
    assert_eq!([&end["reason"], &end["peer"], &end["proxy"]], ["peer.fin", "192.0.2.7:1000", &*sender]);
}

#[test]
fn what_version_2_says_is_in_the_lists_and_the_record() {
    let server = start("resp://127.0.0.1:0?protected_mode=false", &["--set", "audit.interval=100ms"]);
    let mut ssl = SslInfo::new(true, true, true, 0);
    ssl.append_tlv(Tlv::SslVersion("TLSv1.3".into()));
    ssl.append_tlv(Tlv::SslCn("device-7".into()));
    let tlvs = vec![
        Tlv::Authority("devices.example".into()),
        Tlv::UniqueId(b"id-1"[..].into()),
        Tlv::Ssl(ssl),
        Tlv::Custom(0xea, b"\x01vpce-1"[..].into()),
    ];
    let address =
        ProxiedAddress::stream("[2001:db8::7]:1000".parse().unwrap(), "[2001:db8::1]:9000".parse().unwrap());
    let mut client = server.connect("resp");
    client.send([v2(Some(address), tlvs), b"CLIENT LIST\r\n".to_vec()].concat());
    client.expect_until("addr=[2001:db8::7]:1000");
    client.expect_until("\r\n");
    let proxy = &server.connections("resp")[0]["proxy"];
    for (field, expected) in [
        ("authority", "devices.example"),
        ("unique_id", "id-1"),
        ("tls", "TLSv1.3"),
        ("common_name", "device-7"),
        ("aws_endpoint", "vpce-1"),
    ] {
        assert_eq!(proxy[field], expected, "{proxy}");
    }
    assert_eq!([&proxy["verified"], &proxy["version"]], [&Value::from(true), &Value::from(2)]);
    // The kernel knows the proxy, and an audit does not take its connection for another's.
    let audits = || server.metrics()["linger_audits_total"];
    let before = audits();
    until("some audits", || audits() > before + 3.0);
    for kind in ["missing", "unknown"] {
        assert!(
            server.metrics()[&format!("linger_audit_anomalies_total{{kind=\"{kind}\"}}")] < 1.0,
            "{kind}"
        );
    }
    drop(client);
    let end = last_end(&server, 1);
    let said = [&end["proxy_authority"], &end["proxy_common_name"], &end["proxy_aws_endpoint"]];
    assert_eq!(said, ["devices.example", "device-7", "vpce-1"]);
}

#[test]
fn what_is_no_header_from_a_trusted_proxy_is_reset() {
    let server = Server::start(&[
        "--listen",
        &format!("echo://127.0.0.1:0?{REQUIRED}&accept_proxy_timeout=200ms"),
        "--listen",
        "echo://127.0.0.1:0?name=untrusted&accept_proxy=require&accept_proxy_trusted=192.0.2.0/24",
        "--admin",
        "127.0.0.1:0",
    ]);
    let rows = [
        ("echo", "hello", "protocol.proxy_missing"),
        ("echo", "PROXY TCP4 192.0.2.7\r\n", "protocol.proxy_malformed"),
        ("echo", "PROXY TCP4 192.0", "protocol.proxy_timeout"),
        ("untrusted", "", "protocol.proxy_untrusted"),
    ];
    for (at, (listener, says, reason)) in rows.into_iter().enumerate() {
        let mut client = server.connect(listener);
        let _ = std::io::Write::write_all(&mut client.stream, says.as_bytes());
        assert!(client.read_to_end().is_err(), "{reason}: it is reset");
        let end = last_end(&server, at + 1);
        assert_eq!([&end["reason"], &end["close"]], [reason, "reset"]);
        assert_eq!(server.ended(reason), 1);
    }
    // A health check of the proxy is its own.
    let mut check = server.connect("echo");
    check.send([v2(None, vec![]), b"a".to_vec()].concat());
    check.expect("a");
    let listed = server.connections("echo").pop().unwrap();
    assert_eq!(listed["peer"], check.stream.local_addr().unwrap().to_string());
    assert_eq!(listed["proxy"]["origin"], "local");
}

#[test]
fn limits_see_the_client() {
    let server = start("echo://127.0.0.1:0?source.max_connections=1&deny=198.51.100.0/24", &[]);
    let come = |line: &str| {
        let mut client = server.connect("echo");
        client.send(format!("{line}a"));
        std::io::Read::read_exact(&mut client.stream, &mut [0]).is_ok().then_some(client)
    };
    let first = come(LINE).expect("it is let in");
    let _other = come("PROXY TCP4 192.0.2.8 192.0.2.1 1000 9000\r\n").expect("it is let in");
    assert!(come(LINE).is_none());
    assert!(come("PROXY TCP4 198.51.100.1 192.0.2.1 1000 9000\r\n").is_none());
    assert_eq!([server.ended("local.source_limit"), server.ended("local.denied")], [1, 1]);
    drop(first);
    until("its place is free", || come(LINE).is_some());
}

#[test]
fn a_server_behind_a_gateway_hears_of_the_client_and_of_all_that_it_has_sent() {
    let backend = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = backend.local_addr().unwrap();
    let server = start(&format!("tcp://127.0.0.1:0?upstream={to}&upstream_header=proxy_v1"), &[]);
    let mut silent = server.connect("tcp");
    let mut client = server.connect("tcp");
    // Nobody is connected to a server before it is known whose it is.
    client.send(format!("{LINE}hello"));
    let (stream, _) = backend.accept().unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut behind = Client { stream };
    behind.expect(format!("{LINE}hello"));
    behind.send("world");
    client.expect("world");
    drop(client);
    assert_eq!(behind.read_to_end().unwrap(), b"");
    drop(behind);
    let pair = wait_for("the line of the pair", || server.events("pair").pop());
    assert_eq!([&pair["bytes_up"], &pair["lost_up"], &pair["bytes_down"]], [5, 0, 5], "{pair}");
    let mut legs = server.ends();
    legs.retain(|end| end["leg"] == "client");
    assert_eq!([&legs[0]["peer"], &legs[0]["reason"]], ["192.0.2.7:1000", "peer.fin"]);
    // One whose server is not there is reset, and has its record.
    drop(backend);
    silent.send(LINE);
    assert!(silent.read_to_end().is_err());
    until("its record", || server.ended("upstream.refused") == 1);
    assert!(server.connections("tcp").is_empty());
}

#[test]
fn the_admin_interface_takes_headers_also_that_of_several_workers() {
    for workers in ["1", "2"] {
        let server = Server::start(&[
            "--listen",
            "echo://127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "--set",
            "admin.accept_proxy=require",
            "--set",
            "admin.accept_proxy_trusted=127.0.0.1",
            "--set",
            "admin.token_file=tests/common/token",
            "--set",
            "admin.deny=198.51.100.0/24",
            "--set",
            &format!("server.workers={workers}"),
        ]);
        let asks = |header: &str| {
            let mut client = server.connect("admin");
            client.send(&header.as_bytes()[..header.len().min(9)]);
            let rest = header.get(9..).unwrap_or_default();
            let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
            let _ = std::io::Write::write_all(&mut client.stream, format!("{rest}{request}").as_bytes());
            std::io::Read::read_exact(&mut client.stream, &mut [0; 12]).is_ok()
        };
        assert!(asks(LINE), "{workers}");
        assert!(!asks(""), "{workers}");
        assert!(!asks("PROXY TCP4 198.51.100.1 192.0.2.1 1000 9000\r\n"), "{workers}");
    }
}
