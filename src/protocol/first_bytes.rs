//! What the first bytes of a connection are, where they are not what the listener speaks: a client that was pointed at
//! the wrong port, a load balancer that sends a header, a scanner. Named, it can be mended; taken for commands it would
//! say goodbye (the PROXY signature contains `QUIT`), break a rule of grammar, or be waited for.
//!
//! [`look`] is asked until a connection has said something that was understood. It decides by a prefix, so that
//! chunking changes nothing, and within [`LOOK_BYTES_MAX`] bytes.

use super::Protocol;
use crate::core::end::Foreign;

/// What a look at the first bytes gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Look {
    /// Nothing that is known from elsewhere: for the protocol's own decoder.
    Expected,
    /// The beginning of something else, or not: with more bytes it will be known.
    Unclear,
    /// Something else.
    Foreign(Foreign),
}

/// Bytes after which there is nothing unclear any more, blank lines before them not counted.
pub const LOOK_BYTES_MAX: usize = 14;

/// Whether `bytes`, the first of a connection whose listener speaks `spoken`, are of another protocol.
pub fn look(spoken: Foreign, bytes: &[u8]) -> Look {
    // Blank lines are nothing in either protocol; the signature of PROXY begins with two.
    let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let bytes = &bytes[blank..];
    let mut unclear = false;
    for opening in openings().filter(|opening| opening.foreign != spoken) {
        for signature in opening.signatures {
            match signature.begins(bytes) {
                Some(true) => return Look::Foreign(opening.foreign),
                Some(false) => {}
                None => unclear = true,
            }
        }
    }
    if unclear && !bytes.is_empty() { Look::Unclear } else { Look::Expected }
}

/// How the clients of a protocol begin.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// What the record of an ending calls it, where another protocol was expected.
    pub foreign: Foreign,
    /// How it is called in a sentence.
    pub title: &'static str,
    /// Any of these are first.
    pub signatures: &'static [Signature],
    /// What to configure, for the operator whose client speaks it to the wrong listener.
    pub advice: &'static str,
}

/// What something begins with.
#[derive(Clone, Copy, Debug)]
pub enum Signature {
    /// These bytes.
    Bytes(&'static [u8]),
    /// Bytes of which this is true. None: they are too few to tell.
    By(fn(&[u8]) -> Option<bool>),
}

impl Signature {
    /// Whether `bytes` begin with it; none: they are too few to tell.
    fn begins(&self, bytes: &[u8]) -> Option<bool> {
        match self {
            Self::Bytes(signature) => begins(bytes, signature),
            Self::By(begins) => begins(bytes),
        }
    }
}

/// What no listener here speaks.
const UNSERVED: &[Opening] = &[
    Opening {
        foreign: Foreign::Tls,
        title: "TLS",
        signatures: &[Signature::By(begins_tls)],
        advice: "connect without TLS, or let a proxy in front of this listener terminate it",
    },
    Opening {
        foreign: Foreign::ProxyV2,
        title: PROXY_TITLE,
        signatures: &[Signature::Bytes(b"\0\r\nQUIT\n")],
        advice: PROXY_ADVICE,
    },
    Opening {
        foreign: Foreign::ProxyV1,
        title: PROXY_TITLE,
        signatures: &[Signature::Bytes(b"PROXY TCP"), Signature::Bytes(b"PROXY UNKNOWN")],
        advice: PROXY_ADVICE,
    },
    Opening {
        foreign: Foreign::Mqtt,
        title: "MQTT",
        signatures: &[Signature::By(begins_mqtt)],
        advice: "point MQTT clients at a broker: commands are expected here",
    },
    Opening {
        foreign: Foreign::Ssh,
        title: "SSH",
        signatures: &[Signature::Bytes(b"SSH-")],
        advice: "an SSH client or a scanner: look at who connects to this port",
    },
];

const PROXY_TITLE: &str = "the PROXY protocol";
const PROXY_ADVICE: &str = "set accept_proxy = \"require\" on this listener, or switch the header off at the load balancer: send-proxy in HAProxy, \
     proxy_protocol in nginx";

/// All that is known of how clients begin: what is spoken here, and what is not.
fn openings() -> impl Iterator<Item = &'static Opening> {
    UNSERVED.iter().chain(Protocol::ALL.iter().filter_map(|protocol| protocol.opening()))
}

/// How the clients of `foreign` begin.
pub(super) fn opening(foreign: Foreign) -> &'static Opening {
    openings().find(|opening| opening.foreign == foreign).expect("a test finds one for each")
}

impl Foreign {
    /// What to configure.
    pub fn advice(self) -> &'static str {
        opening(self).advice
    }
}

/// A handshake record of TLS: type 22, version 3.0 to 3.4 (RFC 8446 5.1).
fn begins_tls(bytes: &[u8]) -> Option<bool> {
    match *bytes {
        [0x16, 3, 0..=4, ..] => Some(true),
        [] | [0x16] | [0x16, 3] => None,
        _ => Some(false),
    }
}

/// CONNECT of MQTT: type 1, a length in up to four bytes, then the name with its length (MQTT-3.1.2-1).
fn begins_mqtt(bytes: &[u8]) -> Option<bool> {
    let (first, rest) = bytes.split_first()?;
    if *first != 0x10 {
        return Some(false);
    }
    match rest.iter().take(4).position(|byte| byte & 0x80 == 0) {
        Some(last) => {
            let name = &rest[last + 1..];
            match (begins(name, b"\0\x04MQTT"), begins(name, b"\0\x06MQIsdp")) {
                (Some(false), other) => other,
                (known, _) => known,
            }
        }
        None if rest.len() < 4 => None,
        None => Some(false),
    }
}

fn begins(bytes: &[u8], signature: &[u8]) -> Option<bool> {
    let shared = bytes.len().min(signature.len());
    if bytes[..shared] != signature[..shared] {
        return Some(false);
    }
    (shared == signature.len()).then_some(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TLS: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    const MQTT: &[u8] = b"\x10\x8e\x02\x00\x04MQTT\x04\x02\x00<\x00\x02id";
    const PROXY2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c";

    #[test]
    fn what_is_not_spoken_here_is_named() {
        let rows: &[(Foreign, &[u8], Foreign)] = &[
            (Foreign::Resp, TLS, Foreign::Tls),
            (Foreign::Http, TLS, Foreign::Tls),
            (Foreign::Resp, MQTT, Foreign::Mqtt),
            (Foreign::Resp, b"\x10\x12\x00\x06MQIsdp\x03", Foreign::Mqtt),
            (Foreign::Resp, PROXY2, Foreign::ProxyV2),
            (Foreign::Http, PROXY2, Foreign::ProxyV2),
            // What a decoder has left of it that has passed over the blank lines.
            (Foreign::Resp, &PROXY2[4..], Foreign::ProxyV2),
            (Foreign::Resp, b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 7000\r\n", Foreign::ProxyV1),
            (Foreign::Resp, b"PROXY UNKNOWN\r\n", Foreign::ProxyV1),
            (Foreign::Resp, b"SSH-2.0-OpenSSH_9.2\r\n", Foreign::Ssh),
            (Foreign::Resp, b"GET / HTTP/1.1\r\n", Foreign::Http),
            (Foreign::Resp, b"OPTIONS * HTTP/1.1\r\n", Foreign::Http),
            (Foreign::Resp, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Foreign::Http),
            (Foreign::Http, b"*1\r\n$7\r\nCOMMAND\r\n", Foreign::Resp),
        ];
        for &(spoken, bytes, foreign) in rows {
            assert_eq!(look(spoken, bytes), Look::Foreign(foreign), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn what_is_spoken_here_is_left_to_its_decoder() {
        let rows: &[(Foreign, &[u8])] = &[
            (Foreign::Resp, b"*1\r\n$4\r\nPING\r\n"),
            (Foreign::Resp, b"PING\r\n"),
            (Foreign::Resp, b"PUBLISH a b\r\n"),
            (Foreign::Resp, b"GETX"),
            (Foreign::Resp, b""),
            (Foreign::Resp, b"\r\n"),
            (Foreign::Http, b"GET / HTTP/1.1\r\n"),
            (Foreign::Http, b"PROPFIND /"),
        ];
        for &(spoken, bytes) in rows {
            assert_eq!(look(spoken, bytes), Look::Expected, "{}", bytes.escape_ascii());
        }
        assert_eq!(look(Foreign::Resp, b"P"), Look::Unclear);
    }

    #[test]
    fn each_has_one_opening() {
        for &foreign in Foreign::ALL {
            assert_eq!(openings().filter(|opening| opening.foreign == foreign).count(), 1, "{foreign}");
        }
    }

    proptest! {
        /// Nothing that comes later changes what was said, and it is said soon.
        #[test]
        fn a_prefix_decides(
            beginning in prop::sample::select(vec![TLS, MQTT, PROXY2, &b"PROXY "[..], b"GET ", b"*12", b"PING\r\n", b""]),
            cut in 0_usize..20,
            more in prop::collection::vec(any::<u8>(), 0..20),
            resp in any::<bool>(),
        ) {
            let spoken = if resp { Foreign::Resp } else { Foreign::Http };
            let mut bytes = beginning[..cut.min(beginning.len())].to_vec();
            bytes.extend_from_slice(&more);
            let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            let mut said = None;
            for end in blank + 1..=bytes.len() {
                let now = look(spoken, &bytes[..end]);
                if let Some(before) = said {
                    prop_assert_eq!(now, before, "at {}", end);
                } else if now != Look::Unclear {
                    said = Some(now);
                } else {
                    prop_assert!(end - blank < LOOK_BYTES_MAX);
                }
            }
        }
    }
}
