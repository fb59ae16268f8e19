//! The header of the PROXY protocol before the first byte of a connection
//! (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>): who the client is, by the word of a proxy that is
//! trusted.
//!
//! It is no layer: once it is read, nothing of it lies between socket and session. [`read`] is given all that has come so
//! far, and what is behind the header is for whatever follows, a layer or a session. Nothing is guessed: what is not such
//! a header, or is none that can be understood, is an error. The parser is that of the crate `proxy-header`; what
//! it lets pass is checked here.

use crate::core::end::Reason;
use crate::core::escape::escape;
use crate::core::proxied::{Origin, Proxied};
use crate::net::Peer;
use crate::protocol::ProtocolError;
use proxy_header::{ParseConfig, Protocol, ProxyHeader, Tlv};
use std::net::SocketAddr;

/// Longest line of version 1, its end included (section 2.1).
const V1_BYTES_MAX: usize = 107;
const V1_BEGIN: &[u8] = b"PROXY ";
/// The signature of version 2, and where the length of the rest stands (section 2.2).
const V2_BEGIN: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED_BYTES: usize = 16;
/// Most bytes behind the fixed part of version 2: no sender has more to say than a page, and the length that the protocol
/// allows would let each newcomer hold 64 KiB.
const V2_BYTES_MAX: usize = 4096;
/// The type of what AWS says, and within that of its endpoint
/// (<https://docs.aws.amazon.com/elasticloadbalancing/latest/network/edit-target-group-attributes.html>).
const AWS: u8 = 0xea;
const AWS_ENDPOINT: u8 = 1;

/// A header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// The client, where the proxy has told its address.
    pub client: Option<Peer>,
    /// What it says; the sender is not known yet.
    pub says: Proxied,
}

/// Reads the header at the beginning of `bytes`, all that has come of a connection. `None`: it is not whole yet.
///
/// # Errors
/// When there is none, or one that cannot be understood.
pub fn read(bytes: &[u8]) -> Result<Option<Header>, ProtocolError> {
    if begins(bytes, V2_BEGIN) {
        read_v2(bytes)
    } else if begins(bytes, V1_BEGIN) {
        read_v1(bytes)
    } else {
        Err(missing())
    }
}

/// Whether `bytes` begin with `signature`, as far as they go.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    let length = bytes.len().min(signature.len());
    bytes[..length] == signature[..length]
}

fn read_v1(bytes: &[u8]) -> Result<Option<Header>, ProtocolError> {
    // Of one that is too long nothing is parsed, nor of what is behind its end.
    let line = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
        return if line.len() < V1_BYTES_MAX { Ok(None) } else { Err(malformed("its line has no end")) };
    };
    let (header, length) = parse(&line[..end + 2])?;
    let address = address(&header)?;
    let origin = if address.is_some() { Origin::Client } else { Origin::Unknown };
    Ok(Some(Header::new(address, origin, 1, length)))
}

fn read_v2(bytes: &[u8]) -> Result<Option<Header>, ProtocolError> {
    let Some(fixed) = bytes.get(..V2_FIXED_BYTES) else { return Ok(None) };
    let (command, family) = (fixed[12], fixed[13]);
    let behind = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if behind > V2_BYTES_MAX {
        return Err(malformed("it is too long"));
    }
    let Some(whole) = bytes.get(..V2_FIXED_BYTES + behind) else { return Ok(None) };
    let (header, length) = parse(whole)?;
    let address = address(&header)?;
    let origin = match (command & 0xf, family >> 4) {
        (0, _) => Origin::Local,
        (_, 3) => Origin::Unix,
        _ if address.is_some() => Origin::Client,
        _ => Origin::Unknown,
    };
    let mut read = Header::new(address, origin, 2, length);
    for tlv in header.tlvs() {
        note(&tlv.map_err(|_| malformed("what it adds has wrong lengths"))?, &mut read.says)?;
    }
    Ok(Some(read))
}

fn parse(whole: &[u8]) -> Result<(ProxyHeader<'_>, usize), ProtocolError> {
    match ProxyHeader::parse(whole, ParseConfig::default()) {
        // The parser would pass over what is behind a first `\r`.
        Ok((header, length)) if length == whole.len() => Ok((header, length)),
        Ok(_) | Err(_) => Err(malformed("it has no addresses that can be read")),
    }
}

/// The address of the client, and what it had connected to.
type Address = Option<(Peer, SocketAddr)>;

fn address(header: &ProxyHeader<'_>) -> Result<Address, ProtocolError> {
    let Some(address) = header.proxied_address() else { return Ok(None) };
    if address.protocol == Protocol::Datagram {
        return Err(malformed("it is about a datagram, on a connection of TCP"));
    }
    if address.source.ip().to_canonical().is_unspecified() {
        return Err(malformed("its client has no address"));
    }
    Ok(Some((Peer::new(address.source), address.destination)))
}

impl Header {
    /// One that adds nothing to the addresses.
    fn new(address: Address, origin: Origin, version: u8, length: usize) -> Self {
        let says = Proxied {
            sender: String::new(),
            version,
            origin,
            header_bytes: length,
            destination: address.map(|(_, destination)| destination),
            authority: None,
            unique_id: None,
            tls: None,
            common_name: None,
            verified: None,
            aws_endpoint: None,
        };
        Self { client: address.map(|(client, _)| client), says }
    }
}

/// Notes what is shown of the rest of a header.
fn note(tlv: &Tlv<'_>, says: &mut Proxied) -> Result<(), ProtocolError> {
    if let Tlv::Authority(name) = tlv {
        says.authority = Some(name.clone().into_owned());
    } else if let Tlv::UniqueId(id) = tlv {
        says.unique_id = Some(escape(id));
    } else if let Tlv::Custom(AWS, value) = tlv {
        if let [AWS_ENDPOINT, endpoint @ ..] = &**value {
            says.aws_endpoint = Some(escape(endpoint));
        }
    } else if let Tlv::Ssl(ssl) = tlv {
        for inner in ssl.tlvs() {
            let inner = inner.map_err(|_| malformed("what it says of TLS has wrong lengths"))?;
            if let Tlv::SslVersion(version) = inner {
                says.tls = Some(version.into_owned());
            } else if let Tlv::SslCn(name) = inner {
                says.common_name = Some(name.into_owned());
            }
        }
        let shown = ssl.client_cert_conn() || ssl.client_cert_sess();
        says.verified = shown.then_some(ssl.verify() == 0);
    }
    Ok(())
}

fn missing() -> ProtocolError {
    let text = "the connection does not begin with a PROXY header".into();
    ProtocolError { reason: Reason::ProtocolProxyMissing, text, spoke: None, alert: None }
}

fn malformed(why: &str) -> ProtocolError {
    let text = format!("the PROXY header cannot be read: {why}").into();
    ProtocolError { reason: Reason::ProtocolProxyMalformed, text, spoke: None, alert: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proxy_header::{ProxiedAddress, SslInfo};

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [V2_BEGIN, &[command, family], &length, rest].concat()
    }

    fn of_addresses(tlvs: Vec<Tlv<'_>>) -> Vec<u8> {
        let (source, destination) = ("192.0.2.7:1000".parse().unwrap(), "192.0.2.1:9000".parse().unwrap());
        let mut out = Vec::new();
        ProxyHeader::with_tlvs(Some(ProxiedAddress::stream(source, destination)), tlvs)
            .encode_v2(&mut out)
            .unwrap();
        out
    }

    fn whole(bytes: &[u8]) -> Header {
        read(bytes).expect("a header").expect("the whole of it")
    }

    fn reason(bytes: &[u8]) -> Reason {
        read(bytes).expect_err("none").reason
    }

    #[test]
    fn a_line_names_the_client_or_says_that_it_is_not_known() {
        let line = b"PROXY TCP4 192.0.2.7 192.0.2.1 1000 9000\r\nPING\r\n";
        let header = whole(line);
        assert_eq!(header.client, Some(Peer::new("192.0.2.7:1000".parse().unwrap())));
        assert_eq!((header.says.version, header.says.origin), (1, Origin::Client));
        assert_eq!(header.says.destination, Some("192.0.2.1:9000".parse().unwrap()));
        assert_eq!(&line[header.says.header_bytes..], b"PING\r\n");
        let header = whole(b"PROXY TCP6 2001:db8::7 2001:db8::1 1 2\r\n");
        assert_eq!(header.client, Some(Peer::new("[2001:db8::7]:1".parse().unwrap())));
        for line in [&b"PROXY UNKNOWN\r\n"[..], b"PROXY UNKNOWN whatever it may be\r\n"] {
            let header = whole(line);
            assert_eq!(
                (header.client, header.says.origin, header.says.header_bytes),
                (None, Origin::Unknown, line.len())
            );
        }
    }

    #[test]
    fn what_version_2_adds_is_kept() {
        let mut ssl = SslInfo::new(true, true, false, 0);
        ssl.append_tlv(Tlv::SslVersion("TLSv1.3".into()));
        ssl.append_tlv(Tlv::SslCn("device-7".into()));
        let tlvs = vec![
            Tlv::Authority("devices.example".into()),
            Tlv::UniqueId(b"a\0b"[..].into()),
            Tlv::Noop(5),
            Tlv::Ssl(ssl),
            Tlv::Custom(AWS, b"\x01vpce-08d2bf15fac5001c9"[..].into()),
        ];
        let says = whole(&of_addresses(tlvs)).says;
        assert_eq!(says.authority.as_deref(), Some("devices.example"));
        assert_eq!(says.unique_id.as_deref(), Some("a\\x00b"));
        assert_eq!((says.tls.as_deref(), says.common_name.as_deref()), (Some("TLSv1.3"), Some("device-7")));
        assert_eq!(
            (says.verified, says.aws_endpoint.as_deref()),
            (Some(true), Some("vpce-08d2bf15fac5001c9"))
        );
    }

    #[test]
    fn a_connection_may_be_the_proxys_own_or_of_a_unix_socket() {
        let header = whole(&v2(0x20, 0x11, &[10, 0, 0, 1, 10, 0, 0, 2, 0, 1, 0, 2]));
        assert_eq!((header.client, header.says.origin), (None, Origin::Local));
        assert_eq!(whole(&v2(0x20, 0, b"")).says.origin, Origin::Local);
        assert_eq!(whole(&v2(0x21, 0, b"")).says.origin, Origin::Unknown);
        let header = whole(&v2(0x21, 0x31, &[0; 216]));
        assert_eq!((header.client, header.says.origin, header.says.header_bytes), (None, Origin::Unix, 232));
    }

    #[test]
    fn what_is_no_header_is_told_from_one_that_cannot_be_read() {
        for bytes in
            [&b"PING\r\n"[..], b"\x16\x03\x01", b"PROXX", b"PROXY\t", b"\r\n\r\nPING", b"\n", b"*1\r\n"]
        {
            assert_eq!(reason(bytes), Reason::ProtocolProxyMissing, "{}", bytes.escape_ascii());
        }
        let too_long = [b"PROXY UNKNOWN ".as_slice(), &[b'a'; 200], b"\r\n"].concat();
        let datagram = v2(0x21, 0x12, &[10, 0, 0, 1, 10, 0, 0, 2, 0, 1, 0, 2]);
        let (mut lengths, mut text) =
            (of_addresses(vec![Tlv::Noop(1)]), of_addresses(vec![Tlv::Authority("ab".into())]));
        *lengths.iter_mut().nth_back(1).unwrap() = 9;
        *text.last_mut().unwrap() = 0xff;
        for bytes in [
            &b"PROXY TCP4 192.0.2.7 192.0.2.1 1000\r\n"[..],
            b"PROXY TCP4 192.0.2.7 192.0.2.1 1000 90000\r\n",
            b"PROXY TCP4 2001:db8::7 192.0.2.1 1000 9000\r\n",
            b"PROXY TCP4 0.0.0.0 192.0.2.1 1000 9000\r\n",
            b"PROXY TCP6 :: ::1 0 0\r\n",
            b"PROXY UDP4 192.0.2.7 192.0.2.1 1000 9000\r\n",
            b"PROXY TCP4 192.0.2.7 192.0.2.1 1000 9000\rPING\r\n",
            b"PROXY \r\n",
            b"PROXY UNKNOWN\rPING\r\n",
            &too_long,
            &v2(0x11, 0x11, &[0; 12]),
            &v2(0x22, 0x11, &[0; 12]),
            &v2(0x21, 0x11, &[1; 11]),
            &v2(0x21, 0x41, &[1; 12]),
            &v2(0x21, 0x31, &[1; 215]),
            &v2(0x20, 0, &[0; 4097])[..V2_FIXED_BYTES],
            &datagram,
            &lengths,
            &text,
        ] {
            assert_eq!(reason(bytes), Reason::ProtocolProxyMalformed, "{}", bytes.escape_ascii());
        }
    }

    /// The beginnings of headers, and what else may come in their place.
    fn beginnings() -> impl Strategy<Value = Vec<u8>> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..300);
        prop_oneof![
            Just(b"PROXY TCP4 192.0.2.7 192.0.2.1 1000 9000\r\n".to_vec()),
            Just(b"PROXY UNKNOWN some words\r\n".to_vec()),
            "PROXY [A-Z0-9:. \r]{0,110}\r\n".prop_map(String::into_bytes),
            (any::<u8>(), any::<u8>(), bytes())
                .prop_map(|(command, family, rest)| v2(command, family, &rest)),
            (0x20_u8..0x22, prop::sample::select(vec![0, 0x11, 0x21, 0x31]), bytes())
                .prop_map(|(command, family, rest)| v2(command, family, &rest)),
            prop::collection::vec(bytes(), 0..3).prop_map(|values| {
                of_addresses(values.into_iter().map(|value| Tlv::UniqueId(value.into())).collect())
            }),
            bytes(),
        ]
    }

    proptest! {
        /// However it is cut: what is read of the whole is read of the first piece that has all of it, and before that nothing.
        #[test]
        fn any_split_gives_the_same(begin in beginnings(), behind in prop::collection::vec(any::<u8>(), 0..20)) {
            let bytes = [begin, behind].concat();
            let all = read(&bytes);
            let first = (0..=bytes.len()).map(|length| read(&bytes[..length])).find(|read| *read != Ok(None));
            prop_assert_eq!(first.unwrap_or(Ok(None)), all);
        }
    }
}
