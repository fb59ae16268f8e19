//! Internet addresses as people write them, those with a scope (RFC 4007 11) among them.

use super::Address;
use std::net::{Ipv6Addr, SocketAddr};

/// Longest name of an interface (`IFNAMSIZ` is 16 with its final zero).
const INTERFACE_BYTES_MAX: usize = 15;

impl Address {
    /// Reads `127.0.0.1:7000`, `[::1]:7000`, `[fe80::1%2]:7000` or `[fe80::1%eth0]:7000`.
    pub fn parse_tcp(text: &str) -> Option<Self> {
        if let Ok(socket) = text.parse() {
            return Some(Self::Tcp { socket, v6_only: false, interface: None });
        }
        let (host, port) = text.strip_prefix('[')?.split_once("]:")?;
        let (ip, name) = host.split_once('%')?;
        let (ip, port): (Ipv6Addr, u16) = (ip.parse().ok()?, port.parse().ok()?);
        // What the kernel allows (net/core/dev.c: dev_valid_name).
        let fits = (1..=INTERFACE_BYTES_MAX).contains(&name.len())
            && !name.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':' | '%'));
        fits.then(|| Self::Tcp {
            socket: SocketAddr::new(ip.into(), port),
            v6_only: false,
            interface: Some(name.into()),
        })
    }

    /// Whether it is link-local and says no interface: the kernel takes it for none.
    pub fn lacks_interface(&self) -> bool {
        match self {
            Self::Tcp { socket: SocketAddr::V6(v6), interface: None, .. } => {
                v6.scope_id() == 0 && v6.ip().is_unicast_link_local()
            }
            Self::Tcp { .. } | Self::Unix(_) => false,
        }
    }
}
