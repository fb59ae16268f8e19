//! The header of the PROXY protocol that a gateway sends before the first byte of a client, so that the upstream server
//! sees who that is (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>).

use proxy_header::{ProxiedAddress, ProxyHeader, Tlv};
use std::borrow::Cow;
use std::net::SocketAddr;

/// Which one is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// The line of text.
    V1,
    /// The binary one, with the key of the connection as its unique id (`PP2_TYPE_UNIQUE_ID`).
    V2,
}

impl Version {
    /// The header of a client that has connected from `client` to `local`, and is known here as `id`. A client without
    /// an address, of a unix socket, is `UNKNOWN` or `LOCAL`.
    pub fn header(self, client: Option<SocketAddr>, local: Option<SocketAddr>, id: &str) -> Vec<u8> {
        let address = client.zip(local).map(|(client, local)| {
            let (source, destination) = of_one_family(client, local);
            ProxiedAddress::stream(source, destination)
        });
        let mut out = Vec::new();
        // It only fails for lengths that none of this can have.
        let _ = match self {
            Self::V1 => {
                address.map_or_else(ProxyHeader::with_local, ProxyHeader::with_address).encode_v1(&mut out)
            }
            Self::V2 => {
                let id = Tlv::UniqueId(Cow::Borrowed(id.as_bytes()));
                ProxyHeader::with_tlvs(address, [id]).encode_v2(&mut out)
            }
        };
        out
    }

    /// The header of a connection that is no client's.
    pub fn header_of_check(self) -> Vec<u8> {
        let mut out = Vec::new();
        // As above.
        let _ = match self {
            Self::V1 => ProxyHeader::with_local().encode_v1(&mut out),
            Self::V2 => ProxyHeader::with_local().encode_v2(&mut out),
        };
        out
    }
}

/// IPv4 where both are, also behind a socket of IPv6; else IPv6: the header has one family for both.
fn of_one_family(client: SocketAddr, local: SocketAddr) -> (SocketAddr, SocketAddr) {
    let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let mapped = |address: SocketAddr| match canonical(address) {
        SocketAddr::V4(v4) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
        v6 @ SocketAddr::V6(_) => v6,
    };
    match (canonical(client), canonical(local)) {
        (client @ SocketAddr::V4(_), local @ SocketAddr::V4(_)) => (client, local),
        (client, local) => (mapped(client), mapped(local)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proxy_header::ParseConfig;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_line_of_text_names_both_ends() {
        let line =
            Version::V1.header(Some(address("192.0.2.7:1000")), Some(address("192.0.2.1:9000")), "0-1");
        assert_eq!(line, b"PROXY TCP4 192.0.2.7 192.0.2.1 1000 9000\r\n");
        let line = Version::V1.header(
            Some(address("[2001:db8::7]:1000")),
            Some(address("[2001:db8::1]:9000")),
            "0-1",
        );
        assert_eq!(line, b"PROXY TCP6 2001:db8::7 2001:db8::1 1000 9000\r\n");
        assert_eq!(Version::V1.header(None, None, "0-1"), b"PROXY UNKNOWN\r\n");
    }

    #[test]
    fn a_check_is_nobodys_connection() {
        assert_eq!(Version::V1.header_of_check(), b"PROXY UNKNOWN\r\n");
        let bytes = Version::V2.header_of_check();
        let (header, length) = ProxyHeader::parse(&bytes, ParseConfig::default()).unwrap();
        assert_eq!((header.proxied_address(), header.unique_id(), length), (None, None, 16));
    }

    #[test]
    fn both_ends_are_of_one_family() {
        let line = Version::V1.header(
            Some(address("[::ffff:192.0.2.7]:1000")),
            Some(address("192.0.2.1:9000")),
            "0-1",
        );
        assert_eq!(line, b"PROXY TCP4 192.0.2.7 192.0.2.1 1000 9000\r\n");
        let line =
            Version::V1.header(Some(address("192.0.2.7:1000")), Some(address("[2001:db8::1]:9000")), "0-1");
        assert_eq!(line, b"PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 1000 9000\r\n");
    }

    #[test]
    fn the_binary_one_carries_the_key_as_unique_id() {
        for (client, local) in [
            (Some(address("192.0.2.7:1000")), Some(address("192.0.2.1:9000"))),
            (Some(address("[2001:db8::7]:1000")), Some(address("[2001:db8::1]:9000"))),
            (None, None),
        ] {
            let bytes = Version::V2.header(client, local, "3-17");
            let (header, length) = ProxyHeader::parse(&bytes, ParseConfig::default()).unwrap();
            assert_eq!(length, bytes.len());
            assert_eq!(header.unique_id(), Some(&b"3-17"[..]));
            let shown = header.proxied_address().map(|it| (it.source, it.destination));
            assert_eq!(shown, client.zip(local));
        }
    }
}
