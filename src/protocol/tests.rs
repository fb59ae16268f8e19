//! The registry: what all of its lines must keep to.

use super::*;
use std::convert::Infallible;

#[test]
fn names_are_schemes_and_no_two_are_alike() {
    for (at, protocol) in Protocol::ALL.iter().enumerate() {
        let (name, summary) = (protocol.name(), protocol.declaration().summary);
        assert!(name.starts_with(|c: char| c.is_ascii_lowercase()), "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()), "{name}");
        assert!(!summary.is_empty() && !summary.ends_with('.'), "{name}");
        assert_eq!(Protocol::from_name(name), Some(*protocol));
        assert!(Protocol::ALL[..at].iter().all(|other| other.name() != name), "{name}");
    }
    assert_eq!(Protocol::from_name("smtp"), None);
    assert_eq!(Protocol::REGISTRY.client_names, ["echo", "resp", "tcp", "toy"]);
    assert_eq!(Protocol::REGISTRY.operator().name, "http");
}

#[test]
fn a_newcomer_is_told_in_its_protocol_that_all_places_are_taken() {
    let goodbye = |protocol: Protocol, encoding, reason| {
        let mut out = Vec::new();
        protocol.goodbye(encoding, reason, &mut out);
        String::from_utf8(out).unwrap()
    };
    let resp3 = Some(Encoding::Resp(resp::Version::Resp3));
    let full = "-ERR max number of clients reached\r\n";
    assert_eq!(goodbye(Protocol::Resp, None, Reason::LocalLimit), full);
    assert_eq!(goodbye(Protocol::Resp, resp3, Reason::LocalLimit), full);
    assert_eq!(goodbye(Protocol::Resp, None, Reason::LocalIdle), "-GOODBYE local.idle\r\n");
    assert!(goodbye(Protocol::Resp, resp3, Reason::LocalIdle).starts_with(">2\r\n$7\r\ngoodbye"));
    assert!(goodbye(Protocol::Admin, None, Reason::LocalLimit).starts_with("HTTP/1.1 503 "));
    assert_eq!(goodbye(Protocol::Admin, None, Reason::LocalIdle), "");
    assert_eq!(goodbye(Protocol::Echo, None, Reason::LocalLimit), "");
    assert_eq!(Protocol::Resp.server_ping(resp3), Some(&b">1\r\n$9\r\nheartbeat\r\n"[..]));
    assert_eq!(Protocol::Echo.server_ping(None), None);
}

#[test]
fn every_frame_of_an_encoding_has_a_number_of_its_own() {
    assert_eq!(<Infallible as Encode>::COUNT, 0);
    let versions = [resp::Version::Resp2, resp::Version::Resp3];
    assert_eq!(versions.map(|version| Encoding::Resp(version).index()), [0, 1]);
    assert_eq!(size_of::<Encoding>(), 1, "sessions that never subscribe have no value");
}

#[test]
fn no_frame_is_longer_than_was_counted_on() {
    let (channel, pattern) = ([b'c'; 512], [b'p'; 512]);
    let payload = vec![b'x'; 50_000];
    let message = Message { channel: &channel, pattern: Some(&pattern), payload: &payload };
    let versions = [resp::Version::Resp2, resp::Version::Resp3].map(Encoding::Resp);
    let opened =
        Protocol::ALL.iter().filter_map(|protocol| protocol.open()).map(|session| session.encoding());
    for encoding in opened.chain(versions) {
        let mut frame = Vec::new();
        encoding.message(&message, &mut frame);
        let most = channel.len() + pattern.len() + payload.len() + FRAMING_BYTES_MAX;
        assert!(frame.len() <= most, "{encoding:?}: {}", frame.len());
    }
}

#[test]
fn a_name_in_a_list_stands_where_its_encoding_says() {
    for session in Protocol::ALL.iter().filter_map(|protocol| protocol.open()) {
        let mut rows = b"before".to_vec();
        let at = session.encoding().name(b"name", &mut rows);
        assert_eq!(rows[at..][..4], *b"name");
        assert!(session.encoding().version() > 0);
    }
}
