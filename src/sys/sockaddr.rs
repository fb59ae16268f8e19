//! Socket addresses in the kernel's layout, to it (bind, connect) and from it (accept, getsockname).

use crate::net::Address;
use libc::{c_int, sockaddr, socklen_t};
use std::mem::{offset_of, size_of};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// An address to hand to the kernel.
pub(super) enum Name {
    V4(libc::sockaddr_in),
    V6(libc::sockaddr_in6),
    Unix(libc::sockaddr_un, socklen_t),
}

impl Name {
    /// `None` for a path that does not fit: it is over 107 bytes, empty, or holds a NUL.
    pub(super) fn new(address: &Address) -> Option<Self> {
        match address {
            Address::Tcp { socket, .. } => Some(Self::internet(*socket)),
            Address::Unix(path) => Self::unix(path),
        }
    }

    pub(super) fn internet(socket: SocketAddr) -> Self {
        match socket {
            SocketAddr::V4(v4) => Self::V4(libc::sockaddr_in {
                sin_family: family(libc::AF_INET),
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            }),
            SocketAddr::V6(v6) => Self::V6(libc::sockaddr_in6 {
                sin6_family: family(libc::AF_INET6),
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            }),
        }
    }

    fn unix(path: &Path) -> Option<Self> {
        let bytes = path.as_os_str().as_bytes();
        let mut name = libc::sockaddr_un { sun_family: family(libc::AF_UNIX), sun_path: [0; 108] };
        // One less than there is room for: the NUL at the end stays. A leading NUL would be an abstract name.
        if bytes.is_empty() || bytes.len() >= name.sun_path.len() || bytes.contains(&0) {
            return None;
        }
        for (to, from) in name.sun_path.iter_mut().zip(bytes) {
            *to = from.cast_signed();
        }
        let length = offset_of!(libc::sockaddr_un, sun_path) + bytes.len() + 1;
        Some(Self::Unix(name, socklen(length)))
    }

    pub(super) const fn family(&self) -> c_int {
        match self {
            Self::V4(_) => libc::AF_INET,
            Self::V6(_) => libc::AF_INET6,
            Self::Unix(..) => libc::AF_UNIX,
        }
    }

    /// What bind(2) and connect(2) take; it is good for as long as `self` is.
    pub(super) const fn raw(&self) -> (*const sockaddr, socklen_t) {
        match self {
            Self::V4(name) => ((&raw const *name).cast(), socklen(size_of::<libc::sockaddr_in>())),
            Self::V6(name) => ((&raw const *name).cast(), socklen(size_of::<libc::sockaddr_in6>())),
            Self::Unix(name, length) => ((&raw const *name).cast(), *length),
        }
    }
}

/// Room for an address that the kernel writes: an IPv4 or IPv6 one whole, of a unix one the family.
///
/// 28 bytes rather than the 128 of `sockaddr_storage`, which every accept would have to clear.
pub(super) struct Answer(libc::sockaddr_in6);

impl Answer {
    pub(super) const LENGTH: socklen_t = socklen(size_of::<libc::sockaddr_in6>());

    pub(super) const fn new() -> Self {
        Self(libc::sockaddr_in6 {
            sin6_family: 0,
            sin6_port: 0,
            sin6_flowinfo: 0,
            sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
            sin6_scope_id: 0,
        })
    }

    /// Where the kernel may write [`LENGTH`](Self::LENGTH) bytes.
    pub(super) const fn raw(&mut self) -> *mut sockaddr {
        (&raw mut self.0).cast()
    }

    /// What it wrote; `None` if that is no internet address.
    pub(super) fn internet(&self) -> Option<SocketAddr> {
        let port = u16::from_be(self.0.sin6_port);
        match c_int::from(self.0.sin6_family) {
            libc::AF_INET => {
                // `struct sockaddr_in` has the same family and port, and its address where this one has
                // the flow information (ip(7), ipv6(7)).
                let ip = Ipv4Addr::from(self.0.sin6_flowinfo.to_ne_bytes());
                Some(SocketAddr::V4(SocketAddrV4::new(ip, port)))
            }
            libc::AF_INET6 => {
                let ip = Ipv6Addr::from(self.0.sin6_addr.s6_addr);
                let (flow, scope) = (self.0.sin6_flowinfo, self.0.sin6_scope_id);
                Some(SocketAddr::V6(SocketAddrV6::new(ip, port, flow, scope)))
            }
            _ => None,
        }
    }
}

const _: () = assert!(
    offset_of!(libc::sockaddr_in, sin_addr) == offset_of!(libc::sockaddr_in6, sin6_flowinfo),
    "Answer::internet reads the one through the other"
);

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "address families are below 50")]
const fn family(family: c_int) -> libc::sa_family_t {
    family as libc::sa_family_t
}

#[expect(clippy::cast_possible_truncation, reason = "addresses are below 128 bytes")]
const fn socklen(length: usize) -> socklen_t {
    length as socklen_t
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_must_leave_room_for_its_nul() {
        let path = |length| Address::Unix("p".repeat(length).into());
        assert!(Name::new(&path(107)).is_some());
        assert!(Name::new(&path(108)).is_none());
        assert!(Name::new(&path(0)).is_none());
        assert!(Name::new(&Address::Unix("a\0b".into())).is_none());
    }
}
