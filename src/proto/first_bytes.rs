//! What the first bytes of a connection are, where they are not what the listener speaks: a client that was pointed at
//! the wrong port, a load balancer that sends a header, a scanner. Named, it can be mended; taken for commands it would
//! say goodbye (the PROXY signature contains `QUIT`), break a rule of grammar, or be waited for.
//!
//! [`look`] is asked until a connection has said something that was understood. It decides by a prefix, so that
//! chunking changes nothing, and within [`LOOK_BYTES_MAX`] bytes.

use crate::config::settings::Protocol;
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
pub fn look(spoken: Protocol, bytes: &[u8]) -> Look {
    // Blank lines are nothing in either protocol; the signature of PROXY begins with two.
    let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let bytes = &bytes[blank..];
    let mut unclear = false;
    for (foreign, signature) in SIGNATURES {
        let own = match spoken {
            Protocol::Resp => *foreign == Foreign::Resp,
            Protocol::Http => *foreign == Foreign::Http,
            // Echo takes anything.
            Protocol::Echo => true,
        };
        if own {
            continue;
        }
        match signature.held_against(bytes) {
            Some(true) => return Look::Foreign(*foreign),
            Some(false) => {}
            None => unclear = true,
        }
    }
    if unclear && !bytes.is_empty() { Look::Unclear } else { Look::Expected }
}

/// What something begins with.
enum Signature {
    /// These bytes.
    Bytes(&'static [u8]),
    /// A handshake record of TLS: type 22, version 3.0 to 3.4 (RFC 8446 5.1).
    Tls,
    /// CONNECT of MQTT: type 1, a length in up to four bytes, then the name with its length (MQTT-3.1.2-1).
    Mqtt(&'static [u8]),
    /// An array of RESP: `*`, a number, CR.
    Array,
}

const SIGNATURES: &[(Foreign, Signature)] = &[
    (Foreign::Tls, Signature::Tls),
    (Foreign::ProxyV2, Signature::Bytes(b"\0\r\nQUIT\n")),
    (Foreign::ProxyV1, Signature::Bytes(b"PROXY TCP")),
    (Foreign::ProxyV1, Signature::Bytes(b"PROXY UNKNOWN")),
    (Foreign::Mqtt, Signature::Mqtt(b"\0\x04MQTT")),
    (Foreign::Mqtt, Signature::Mqtt(b"\0\x06MQIsdp")),
    (Foreign::Ssh, Signature::Bytes(b"SSH-")),
    (Foreign::Http, Signature::Bytes(b"GET /")),
    (Foreign::Http, Signature::Bytes(b"GET http")),
    (Foreign::Http, Signature::Bytes(b"HEAD /")),
    (Foreign::Http, Signature::Bytes(b"POST /")),
    (Foreign::Http, Signature::Bytes(b"PUT /")),
    (Foreign::Http, Signature::Bytes(b"DELETE /")),
    (Foreign::Http, Signature::Bytes(b"PATCH /")),
    (Foreign::Http, Signature::Bytes(b"OPTIONS /")),
    (Foreign::Http, Signature::Bytes(b"OPTIONS * ")),
    // The preface of HTTP/2 (RFC 9113 3.4).
    (Foreign::Http, Signature::Bytes(b"PRI * HTTP/2")),
    (Foreign::Resp, Signature::Array),
];

impl Signature {
    /// Whether `bytes` begin with it; none: they are too few to tell.
    fn held_against(&self, bytes: &[u8]) -> Option<bool> {
        match self {
            Self::Bytes(signature) => begins(bytes, signature),
            Self::Tls => match *bytes {
                [0x16, 3, 0..=4, ..] => Some(true),
                [] | [0x16] | [0x16, 3] => None,
                _ => Some(false),
            },
            Self::Mqtt(name) => match bytes.split_first() {
                None => None,
                Some((0x10, rest)) => match rest.iter().take(4).position(|byte| byte & 0x80 == 0) {
                    Some(last) => begins(&rest[last + 1..], name),
                    None if rest.len() < 4 => None,
                    None => Some(false),
                },
                Some(_) => Some(false),
            },
            Self::Array => match bytes.split_first() {
                None => None,
                Some((b'*', rest)) => {
                    let digits = rest.iter().take(5).take_while(|byte| byte.is_ascii_digit()).count();
                    rest.get(digits).map(|&next| next == b'\r' && digits > 0)
                }
                Some(_) => Some(false),
            },
        }
    }
}

fn begins(bytes: &[u8], signature: &[u8]) -> Option<bool> {
    let shared = bytes.len().min(signature.len());
    if bytes[..shared] != signature[..shared] {
        return Some(false);
    }
    (shared == signature.len()).then_some(true)
}

impl Foreign {
    /// How it is called in a sentence.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Tls => "TLS",
            Self::Http => "HTTP",
            Self::Mqtt => "MQTT",
            Self::ProxyV1 | Self::ProxyV2 => "the PROXY protocol",
            Self::Ssh => "SSH",
            Self::Resp => "RESP",
        }
    }

    /// What to configure.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Tls => "connect without TLS, or let a proxy in front of this listener terminate it",
            Self::Http => "HTTP is spoken by the admin interface only: see [admin]",
            Self::Mqtt => "point MQTT clients at a broker: commands are expected here",
            Self::ProxyV1 | Self::ProxyV2 => {
                "switch the PROXY header off at the load balancer: send-proxy in HAProxy, proxy_protocol in nginx"
            }
            Self::Ssh => "an SSH client or a scanner: look at who connects to this port",
            Self::Resp => "commands are for a listener with protocol = \"resp\"",
        }
    }
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
        let rows: &[(Protocol, &[u8], Foreign)] = &[
            (Protocol::Resp, TLS, Foreign::Tls),
            (Protocol::Http, TLS, Foreign::Tls),
            (Protocol::Resp, MQTT, Foreign::Mqtt),
            (Protocol::Resp, b"\x10\x12\x00\x06MQIsdp\x03", Foreign::Mqtt),
            (Protocol::Resp, PROXY2, Foreign::ProxyV2),
            (Protocol::Http, PROXY2, Foreign::ProxyV2),
            // What a decoder has left of it that has passed over the blank lines.
            (Protocol::Resp, &PROXY2[4..], Foreign::ProxyV2),
            (Protocol::Resp, b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 7000\r\n", Foreign::ProxyV1),
            (Protocol::Resp, b"PROXY UNKNOWN\r\n", Foreign::ProxyV1),
            (Protocol::Resp, b"SSH-2.0-OpenSSH_9.2\r\n", Foreign::Ssh),
            (Protocol::Resp, b"GET / HTTP/1.1\r\n", Foreign::Http),
            (Protocol::Resp, b"OPTIONS * HTTP/1.1\r\n", Foreign::Http),
            (Protocol::Resp, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Foreign::Http),
            (Protocol::Http, b"*1\r\n$7\r\nCOMMAND\r\n", Foreign::Resp),
        ];
        for &(spoken, bytes, foreign) in rows {
            assert_eq!(look(spoken, bytes), Look::Foreign(foreign), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn what_is_spoken_here_is_left_to_its_decoder() {
        let rows: &[(Protocol, &[u8])] = &[
            (Protocol::Resp, b"*1\r\n$4\r\nPING\r\n"),
            (Protocol::Resp, b"PING\r\n"),
            (Protocol::Resp, b"PUBLISH a b\r\n"),
            (Protocol::Resp, b"GETX"),
            (Protocol::Resp, b""),
            (Protocol::Resp, b"\r\n"),
            (Protocol::Http, b"GET / HTTP/1.1\r\n"),
            (Protocol::Http, b"PROPFIND /"),
            (Protocol::Echo, TLS),
            (Protocol::Echo, b"GET / HTTP/1.1\r\n"),
        ];
        for &(spoken, bytes) in rows {
            assert_eq!(look(spoken, bytes), Look::Expected, "{}", bytes.escape_ascii());
        }
        assert_eq!(look(Protocol::Resp, b"P"), Look::Unclear);
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
            let spoken = if resp { Protocol::Resp } else { Protocol::Http };
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
