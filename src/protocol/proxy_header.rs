//! The header of the PROXY protocol that a gateway sends before the first byte of a client, so that the upstream server
//! sees who that is (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>).

use crate::core::secured::{Certificate, Secured};
use proxy_header::{ProxiedAddress, ProxyHeader, SslInfo, Tlv};
use std::borrow::Cow;
use std::net::SocketAddr;

/// Which one is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// The line of text.
    V1,
    /// The binary one, with the key of the connection as its unique id (`PP2_TYPE_UNIQUE_ID`), and what is known of its TLS.
    V2,
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Whose<'a> {
    /// Where the client has connected from. One of a unix socket has no address: it is `UNKNOWN`, or `LOCAL`.
    pub client: Option<SocketAddr>,
    /// Where to.
    pub local: Option<SocketAddr>,
    /// What the connection is called here.
    pub id: &'a str,
    /// What is known of its TLS.
    pub secured: Option<&'a Secured>,
    /// The certificate that it has shown.
    pub certificate: Option<&'a Certificate>,
}

impl Version {
    /// The header of that connection.
    pub fn header(self, Whose { client, local, id, secured, certificate }: Whose<'_>) -> Vec<u8> {
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
                let tls = secured.into_iter().flat_map(|secured| tls_tlvs(secured, certificate));
                ProxyHeader::with_tlvs(address, [id].into_iter().chain(tls)).encode_v2(&mut out)
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

/// What is told of a client's TLS (section 2.2): what it has asked for, and, where TLS ends here, what was agreed on.
fn tls_tlvs<'a>(secured: &'a Secured, certificate: Option<&'a Certificate>) -> impl Iterator<Item = Tlv<'a>> {
    let authority = secured.server_name.as_deref().map(|name| Tlv::Authority(name.into()));
    // The protocol "being used": of several that are offered nobody knows here which the server takes.
    let alpn = match &secured.alpn.0[..] {
        [one] => Some(Tlv::Alpn((&**one).into())),
        _ => None,
    };
    let ssl = secured.version.map(|version| Tlv::Ssl(ssl_of(version, certificate)));
    authority.into_iter().chain(alpn).chain(ssl)
}

fn ssl_of<'a>(version: &'a str, certificate: Option<&'a Certificate>) -> SslInfo<'a> {
    let shown = certificate.is_some();
    // "Zero if the client presented a certificate and it was successfully verified, and non-zero otherwise."
    let mut ssl = SslInfo::new(true, shown, shown, u32::from(!shown));
    ssl.append_tlv(Tlv::SslVersion(version.into()));
    if let Some(name) = certificate.and_then(|certificate| certificate.common_name.as_deref()) {
        ssl.append_tlv(Tlv::SslCn(name.into()));
    }
    ssl
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
    use crate::core::secured::Alpn;
    use proxy_header::ParseConfig;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn whose(client: Option<SocketAddr>, local: Option<SocketAddr>, id: &str) -> Whose<'_> {
        Whose { client, local, id, ..Whose::default() }
    }

    #[test]
    fn the_line_of_text_names_both_ends() {
        let line = Version::V1.header(whose(
            Some(address("192.0.2.7:1000")),
            Some(address("192.0.2.1:9000")),
            "0-1",
        ));
        assert_eq!(line, b"PROXY TCP4 192.0.2.7 192.0.2.1 1000 9000\r\n");
        let line = Version::V1.header(whose(
            Some(address("[2001:db8::7]:1000")),
            Some(address("[2001:db8::1]:9000")),
            "0-1",
        ));
        assert_eq!(line, b"PROXY TCP6 2001:db8::7 2001:db8::1 1000 9000\r\n");
        assert_eq!(Version::V1.header(whose(None, None, "0-1")), b"PROXY UNKNOWN\r\n");
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
        let line = Version::V1.header(whose(
            Some(address("[::ffff:192.0.2.7]:1000")),
            Some(address("192.0.2.1:9000")),
            "0-1",
        ));
        assert_eq!(line, b"PROXY TCP4 192.0.2.7 192.0.2.1 1000 9000\r\n");
        let line = Version::V1.header(whose(
            Some(address("192.0.2.7:1000")),
            Some(address("[2001:db8::1]:9000")),
            "0-1",
        ));
        assert_eq!(line, b"PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 1000 9000\r\n");
    }

    #[test]
    fn the_binary_one_carries_the_key_as_unique_id() {
        for (client, local) in [
            (Some(address("192.0.2.7:1000")), Some(address("192.0.2.1:9000"))),
            (Some(address("[2001:db8::7]:1000")), Some(address("[2001:db8::1]:9000"))),
            (None, None),
        ] {
            let bytes = Version::V2.header(whose(client, local, "3-17"));
            let (header, length) = ProxyHeader::parse(&bytes, ParseConfig::default()).unwrap();
            assert_eq!(length, bytes.len());
            assert_eq!(header.unique_id(), Some(&b"3-17"[..]));
            let shown = header.proxied_address().map(|it| (it.source, it.destination));
            assert_eq!(shown, client.zip(local));
        }
    }

    #[test]
    fn the_binary_one_tells_what_is_known_of_the_clients_tls() {
        let read = |secured: &Secured, certificate: Option<&Certificate>| {
            let bytes = Version::V2.header(Whose {
                id: "0-1",
                secured: Some(secured),
                certificate,
                ..Whose::default()
            });
            let (header, _) = ProxyHeader::parse(&bytes, ParseConfig::default()).unwrap();
            header.into_owned()
        };
        let passes = |alpn: &[&[u8]]| Secured {
            server_name: Some("a.example".to_owned()),
            alpn: Alpn(alpn.iter().map(|name| name.to_vec()).collect()),
            version: None,
        };
        let header = read(&passes(&[b"mqtt"]), None);
        assert_eq!((header.authority(), header.alpn()), (Some("a.example"), Some(&b"mqtt"[..])));
        assert!(header.ssl().is_none(), "it is not known here");
        assert_eq!(read(&passes(&[b"h2", b"http/1.1"]), None).alpn(), None, "nobody knows which");
        let ends = Secured { version: Some("TLSv1.3"), ..Secured::default() };
        let device = Certificate { common_name: Some("dev1".to_owned()) };
        let header = read(&ends, Some(&device));
        let ssl = header.ssl().unwrap();
        assert_eq!((ssl.version(), ssl.cn(), ssl.verify()), (Some("TLSv1.3"), Some("dev1"), 0));
        assert!(ssl.client_ssl() && ssl.client_cert_conn() && ssl.client_cert_sess());
        let header = read(&ends, None);
        let ssl = header.ssl().unwrap();
        assert_eq!((ssl.cn(), ssl.client_cert_conn(), ssl.verify()), (None, false, 1));
    }
}
