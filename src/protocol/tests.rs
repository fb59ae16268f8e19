//! The registry: what all of its lines must keep to, and one with a protocol that no other module knows.

use super::*;
use std::convert::Infallible;

#[test]
fn names_are_schemes_and_no_two_are_alike() {
    for (at, protocol) in Protocol::ALL.iter().enumerate() {
        let name = protocol.name();
        assert!(name.starts_with(|c: char| c.is_ascii_lowercase()), "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()), "{name}");
        assert!(!protocol.summary().is_empty() && !protocol.summary().ends_with('.'), "{name}");
        assert_eq!(Protocol::from_name(name), Some(*protocol));
        assert!(Protocol::ALL[..at].iter().all(|other| other.name() != name), "{name}");
    }
    assert_eq!(Protocol::from_name("smtp"), None);
    assert_eq!(Protocol::CLIENTS, [Protocol::Echo, Protocol::Resp]);
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

/// Length-prefixed frames: a protocol that stands nowhere but here.
#[derive(Debug)]
struct Toy;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Frames;

impl Spec for Toy {
    const NAME: &'static str = "toy";
    const SUMMARY: &'static str = "takes frames with their length before them";
    const SERVES_CLIENTS: bool = true;
    const KEEPS_SESSION: bool = true;
    const DEFAULTS: &'static [(&'static str, &'static str)] = &[("idle_timeout", "1m")];

    type Encoding = Frames;

    fn goodbye(_: Option<Frames>, reason: Reason, out: &mut Vec<u8>) {
        frame(&[reason.name().as_bytes()], out);
    }

    fn to_try(_: Reached<'_>) -> Vec<String> {
        Vec::new()
    }
}

impl Encode for Frames {
    const COUNT: usize = 1;

    fn index(self) -> usize {
        0
    }

    fn message(self, message: &Message<'_>, out: &mut Vec<u8>) {
        frame(&[message.channel, b" ", message.payload], out);
    }

    fn direct(self, identity: &str, payload: &[u8], out: &mut Vec<u8>) {
        frame(&[identity.as_bytes(), b" ", payload], out);
    }
}

fn frame(parts: &[&[u8]], out: &mut Vec<u8>) {
    let bytes = parts.concat();
    out.push(u8::try_from(bytes.len()).expect("the test is short"));
    out.extend_from_slice(&bytes);
}

/// A registry like the real one, with the toy in it.
#[expect(dead_code, unreachable_pub, reason = "the real one is public")]
mod other {
    use super::super::registry::registry;

    registry! {
        Protocols, Encodings {
            Echo: crate::protocol::echo::Echo,
            Toy: super::Toy,
            Resp: crate::protocol::resp::Resp,
        }
    }
}

/// Nothing but a line makes it a protocol, and moves none of the others.
#[test]
fn a_protocol_is_a_line_of_a_registry() {
    use other::{Encodings, Protocols};
    let names: Vec<_> = Protocols::ALL.iter().map(|protocol| protocol.name()).collect();
    assert_eq!(names, ["echo", "toy", "resp"]);
    assert_eq!(Protocols::Toy.summary(), Toy::SUMMARY);
    assert_eq!(Protocols::Toy.defaults(), [("idle_timeout", "1m")]);
    assert!(Protocols::Toy.serves_clients() && Protocols::Toy.keeps_session());
    assert!(!Protocols::Echo.keeps_session() && !Protocols::Toy.answers_frames());
    let rest = (Protocols::Toy.builtin_address(), Protocols::Toy.inapplicable(), Protocols::Toy.full());
    assert!(matches!(rest, (None, [], None)) && Protocols::Toy.opening().is_none());
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
