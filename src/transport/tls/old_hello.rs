//! What a `ClientHello` asks for that rustls does not take: one of TLS 1.1 or older, or without what TLS 1.2 needs (RFC 5246, 7.4.1.2 and
//! 7.4.1.4.1). Where TLS passes through, its server may speak that.
//!
//! Nothing here is refused: what cannot be read asks for nothing.

use super::hello::ALPN_MAX;
use crate::core::secured::{Alpn, Secured};
use rustls::pki_types::DnsName;

/// The content type of a record, and the types of extensions (RFC 5246, 6.2.1; RFC 6066, 1.1; RFC 7301, 6).
const HANDSHAKE: u8 = 22;
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
/// The one type of a name (RFC 6066, 3).
const HOST_NAME: u8 = 0;

/// What it asks for. `wire`: the records that it comes in, and what may be behind them.
pub(super) fn asked(wire: &[u8]) -> Secured {
    let message = message(wire);
    let mut asks = Secured::default();
    let Some(mut extensions) = extensions(&message) else { return asks };
    while let (Some(kind), Some(mut data)) = (extensions.number(), extensions.vector(2)) {
        match kind {
            SERVER_NAME => asks.server_name = data.vector(2).and_then(server_name),
            ALPN => asks.alpn = Alpn(data.vector(2).map(protocols).unwrap_or_default()),
            _ => {}
        }
    }
    asks
}

/// The message, out of its records.
fn message(mut wire: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    while let [HANDSHAKE, _, _, high, low, rest @ ..] = wire {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (body, next) = rest.split_at(length.min(rest.len()));
        message.extend_from_slice(body);
        wire = next;
    }
    message
}

fn extensions(message: &[u8]) -> Option<Fields<'_>> {
    const VERSION_AND_RANDOM: usize = 2 + 32;
    // Behind its type.
    let mut hello = Fields(message.get(1..)?).vector(3)?;
    hello.bytes(VERSION_AND_RANDOM)?;
    hello.vector(1)?; // The session.
    hello.vector(2)?; // Cipher suites.
    hello.vector(1)?; // Ways to compress.
    hello.vector(2)
}

fn server_name(mut list: Fields<'_>) -> Option<String> {
    if list.bytes(1)? != [HOST_NAME] {
        return None;
    }
    let name = str::from_utf8(list.vector(2)?.0).ok()?;
    // As rustls has it: a name and no address, in lower case.
    DnsName::try_from(name).ok().map(|name| name.to_lowercase_owned().as_ref().to_owned())
}

fn protocols(mut list: Fields<'_>) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| list.vector(1)).map(|name| name.0.to_vec()).take(ALPN_MAX).collect()
}

/// What is left to be read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        self.bytes(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    /// A vector behind its length, which takes so many bytes (RFC 8446, 3.4).
    fn vector(&mut self, length_bytes: usize) -> Option<Self> {
        let length =
            self.bytes(length_bytes)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        self.bytes(length).map(Self)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A message of a client that knows no more than TLS 1.0, in one record.
    pub(in crate::transport::tls) fn old_hello(extensions: &[(u16, &[u8])]) -> Vec<u8> {
        fn behind_length(length_bytes: usize, bytes: &[u8]) -> Vec<u8> {
            [&bytes.len().to_be_bytes()[size_of::<usize>() - length_bytes..], bytes].concat()
        }
        let all: Vec<_> = extensions
            .iter()
            .flat_map(|(kind, data)| [kind.to_be_bytes().to_vec(), behind_length(2, data)].concat())
            .collect();
        // No session; AES128-SHA by RSA; nothing is compressed.
        let fixed = [&[3, 1][..], &[7; 32], &[0], &[0, 2, 0, 0x2f], &[1, 0]].concat();
        let hello = if all.is_empty() { fixed } else { [fixed, behind_length(2, &all)].concat() };
        let message = [vec![1], behind_length(3, &hello)].concat();
        [vec![HANDSHAKE, 3, 1], behind_length(2, &message)].concat()
    }

    /// The data of an extension that asks for that host.
    pub(in crate::transport::tls) fn for_host(name: &str) -> Vec<u8> {
        let length = u8::try_from(name.len()).unwrap();
        [&[0, length + 3, HOST_NAME, 0, length], name.as_bytes()].concat()
    }

    const MQTT_AND_H2: &[u8] = b"\x00\x08\x04mqtt\x02h2";

    #[test]
    fn the_name_and_the_protocols_are_read_whatever_else_is_there() {
        let wire = old_hello(&[(35, b""), (SERVER_NAME, &for_host("Dev1.Example")), (ALPN, MQTT_AND_H2)]);
        let asks = asked(&[&wire[..], b"what is behind it"].concat());
        assert_eq!(asks.server_name.as_deref(), Some("dev1.example"));
        assert_eq!(asks.alpn_text().as_deref(), Some("mqtt,h2"));
    }

    #[test]
    fn what_cannot_be_read_asks_for_nothing() {
        for name in ["192.0.2.1", "no name", "", "*.example"] {
            assert_eq!(asked(&old_hello(&[(SERVER_NAME, &for_host(name))])).server_name, None, "{name:?}");
        }
        assert!(asked(&old_hello(&[])).asks_for_nothing());
        let wire = old_hello(&[(SERVER_NAME, &for_host("a.example")), (ALPN, MQTT_AND_H2)]);
        for end in 0..wire.len() {
            assert!(asked(&wire[..end]).asks_for_nothing(), "{end}");
        }
    }
}
