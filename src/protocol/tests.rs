//! The registry: what all of its lines must keep to, and one with a protocol that no other module knows.

use super::toy::{Encodings, Frames, Protocols, Toy};
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
    assert_eq!(Protocol::REGISTRY.client_names, ["echo", "resp"]);
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
    assert_eq!(Encoding::COUNT, 2);
    let versions = [resp::Version::Resp2, resp::Version::Resp3];
    assert_eq!(versions.map(|version| Encoding::Resp(version).index()), [0, 1]);
    assert_eq!(size_of::<Encoding>(), 1, "sessions that never subscribe have no value");
}

/// Nothing but a line makes it a protocol, and moves none of the others.
#[test]
fn a_protocol_is_a_line_of_a_registry() {
    assert_eq!(Protocols::REGISTRY.client_names, ["echo", "toy", "resp"]);
    assert_eq!(Protocols::REGISTRY.operator().name, "http");
    let toy = Protocols::Toy.declaration();
    assert_eq!((toy.name, toy.summary), (Toy::NAME, Toy::SUMMARY));
    assert_eq!(toy.defaults, [("idle_timeout", "1m")]);
    assert_eq!(toy.settings.iter().map(|key| key.name).collect::<Vec<_>>(), ["batch.frames"]);
    assert!(toy.serves_clients && toy.keeps_session && !toy.answers_frames);
    assert!(toy.inapplicable_key("probe.oob").is_some() && toy.inapplicable_key("linger").is_none());
    assert!(toy.builtin_address.is_none() && toy.full.is_none() && toy.opening.is_none());
    let mut out = Vec::new();
    // What is of another protocol is as good as nothing.
    Protocols::Toy.goodbye(Some(Encodings::Resp(resp::Version::Resp3)), Reason::LocalIdle, &mut out);
    assert_eq!(out, b"\x0alocal.idle");
    assert_eq!(Protocols::Toy.server_ping(Some(Encodings::Toy(Frames))), None);
    assert_eq!(Protocols::Toy.eof_probe(None), b"\n");
    assert!(Protocols::Toy.to_try(Reached::Unix("/run/toy")).is_empty());

    assert_eq!(Encodings::COUNT, 3);
    let all = [
        Encodings::Toy(Frames),
        Encodings::Resp(resp::Version::Resp2),
        Encodings::Resp(resp::Version::Resp3),
    ];
    assert_eq!(all.map(Encode::index), [0, 1, 2]);
    out.clear();
    Encodings::Toy(Frames).message(&Message { channel: b"a", pattern: None, payload: b"x" }, &mut out);
    Encodings::Toy(Frames).direct("me", b"y", &mut out);
    assert_eq!(out, b"\x03a x\x04me y");
    assert_eq!(<Infallible as Encode>::COUNT, 0);
}
