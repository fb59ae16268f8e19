//! Who is at the other end of a connection.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Where a connection comes from, in 18 bytes without padding: a connection keeps it for its End record,
/// because `getpeername` fails once the peer has reset.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Peer {
    ip: [u8; 16],
    port: [u8; 2],
}

impl Peer {
    /// A client of a unix socket: it has no address. No TCP peer has port 0.
    pub const UNIX: Self = Self { ip: [0; 16], port: [0; 2] };

    /// How many it has.
    pub const BYTES: usize = 18;

    /// The same address as bytes.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(&self.ip);
        bytes[16..].copy_from_slice(&self.port);
        bytes
    }

    /// The one that these bytes are.
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let mut peer = Self::UNIX;
        peer.ip.copy_from_slice(&bytes[..16]);
        peer.port.copy_from_slice(&bytes[16..]);
        peer
    }

    /// A TCP peer. IPv4 is kept in its v6-mapped form and shown as IPv4.
    pub fn new(address: SocketAddr) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        Self { ip: ip.octets(), port: address.port().to_be_bytes() }
    }

    /// The address, unless it is a client of a unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        let ip = Ipv6Addr::from(self.ip).to_canonical();
        (*self != Self::UNIX).then(|| SocketAddr::new(ip, u16::from_be_bytes(self.port)))
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address() {
            Some(address) => write!(f, "{address}"),
            None => f.write_str("unix"),
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
