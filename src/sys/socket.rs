//! Sockets before they are connections: the calls that make them, and the options that they begin with.

use super::sockaddr::{Answer, Name};
use super::{errno, host, sockopt, whole_seconds};
use crate::net::{Address, Fatal, Keepalive, SocketOptions};
use libc::c_int;
use std::borrow::Cow;
use std::net::{SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `SO_BUF_LOCK` (include/uapi/asm-generic/socket.h, Linux 5.14), which `libc` does not name yet.
const SO_BUF_LOCK: c_int = 72;

/// Sets on a listener what accepted connections inherit.
pub(super) fn set_options(
    fd: BorrowedFd<'_>,
    address: &Address,
    options: &SocketOptions,
) -> Result<(), Fatal> {
    let set = |text: &str, level, name, value: c_int| {
        sockopt::set(fd, level, name, value)
            .map_err(|errno| errno::fatal(format!("set {text} to {value} on {address}"), errno))
    };
    match options.send_buffer {
        Some(bytes) => {
            set(
                "SO_SNDBUF",
                libc::SOL_SOCKET,
                libc::SO_SNDBUF,
                c_int::try_from(bytes).unwrap_or(c_int::MAX),
            )?;
        }
        // An SO_SNDBUF set earlier switched autotuning off. Best effort: on a kernel without this option it
        // stays off.
        None => drop(sockopt::set(fd, libc::SOL_SOCKET, SO_BUF_LOCK, 0)),
    }
    match address {
        Address::Unix(_) => return Ok(()),
        Address::Tcp { .. } => {}
    }
    for (text, level, name, value) in of_tcp(options) {
        value.map_or(Ok(()), |value| set(text, level, name, value))?;
    }
    Ok(())
}

/// Sets on a new socket, before it connects, what differs from a new one. Best effort: without an option a connection is
/// less well watched, and still one.
pub(super) fn set_options_of_new(fd: BorrowedFd<'_>, address: &Address, options: &SocketOptions) {
    if let Some(bytes) = options.send_buffer {
        let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX);
        let _ = sockopt::set(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, bytes);
    }
    if let Address::Tcp { .. } = address {
        for (_, level, name, value) in of_tcp(options) {
            if let Some(value) = value.filter(|value| *value != 0) {
                let _ = sockopt::set(fd, level, name, value);
            }
        }
    }
}

/// The options of a TCP socket, each with its name as text; 0 is what a new socket has. None: it has no value.
fn of_tcp(options: &SocketOptions) -> [(&'static str, c_int, c_int, Option<c_int>); 8] {
    const TCP: c_int = libc::IPPROTO_TCP;
    let number = |value: u128| c_int::try_from(value).unwrap_or(c_int::MAX);
    let [idle, interval, count] = options.keepalive.map_or([None; 3], |keepalive| {
        let Keepalive { idle, interval, count } = keepalive;
        [Some(whole_seconds(idle)), Some(whole_seconds(interval)), Some(number(count.into()))]
    });
    let user_timeout_ms = options.user_timeout.map_or(0, |timeout| number(timeout.as_millis()));
    // 0 is the system's tcp_fin_timeout (net/ipv4/tcp.c: do_tcp_setsockopt).
    let linger2 = if options.linger2 { -1 } else { 0 };
    let keeps_alive = c_int::from(options.keepalive.is_some());
    let oob_inline = c_int::from(options.oob_inline);
    [
        ("TCP_KEEPIDLE", TCP, libc::TCP_KEEPIDLE, idle),
        ("TCP_KEEPINTVL", TCP, libc::TCP_KEEPINTVL, interval),
        ("TCP_KEEPCNT", TCP, libc::TCP_KEEPCNT, count),
        ("TCP_NODELAY", TCP, libc::TCP_NODELAY, Some(c_int::from(options.nodelay))),
        ("SO_KEEPALIVE", libc::SOL_SOCKET, libc::SO_KEEPALIVE, Some(keeps_alive)),
        ("TCP_USER_TIMEOUT", TCP, libc::TCP_USER_TIMEOUT, Some(user_timeout_ms)),
        ("TCP_LINGER2", TCP, libc::TCP_LINGER2, Some(linger2)),
        ("SO_OOBINLINE", libc::SOL_SOCKET, libc::SO_OOBINLINE, Some(oob_inline)),
    ]
}

#[expect(unsafe_code, reason = "socket(2)")]
pub(super) fn socket(family: c_int) -> Result<OwnedFd, i32> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: three numbers.
    let fd = unsafe { libc::socket(family, kind, 0) };
    if fd < 0 {
        return Err(errno::last());
    }
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[expect(unsafe_code, reason = "bind(2)")]
pub(super) fn bind(fd: &OwnedFd, name: &Name) -> Result<(), i32> {
    let (raw, length) = name.raw();
    // SAFETY: the descriptor is open, and `name` outlives the call.
    let result = unsafe { libc::bind(fd.as_raw_fd(), raw, length) };
    if result == 0 { Ok(()) } else { Err(errno::last()) }
}

#[expect(unsafe_code, reason = "connect(2)")]
pub(super) fn connect(fd: &OwnedFd, name: &Name) -> Result<(), i32> {
    let (raw, length) = name.raw();
    // By syscall(2): connect(3) is a cancellation point, as recv(3) is (`stream`).
    // SAFETY: the descriptor is open, and `name` outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_connect, fd.as_raw_fd(), raw, length) };
    if result == 0 { Ok(()) } else { Err(errno::last()) }
}

/// The address that it is bound to.
#[expect(unsafe_code, reason = "getsockname(2)")]
pub(super) fn local_name(fd: &OwnedFd) -> Option<SocketAddr> {
    let mut answer = Answer::new();
    let mut length = Answer::LENGTH;
    // SAFETY: the descriptor is open; the kernel writes at most `length` bytes, which `answer` has.
    let result = unsafe { libc::getsockname(fd.as_raw_fd(), answer.raw(), &raw mut length) };
    if result == 0 { answer.internet() } else { None }
}

/// The address that it is connected to.
#[expect(unsafe_code, reason = "getpeername(2)")]
pub(super) fn peer_name(fd: &OwnedFd) -> Option<SocketAddr> {
    let mut answer = Answer::new();
    let mut length = Answer::LENGTH;
    // SAFETY: the descriptor is open; the kernel writes at most `length` bytes, which `answer` has.
    let result = unsafe { libc::getpeername(fd.as_raw_fd(), answer.raw(), &raw mut length) };
    if result == 0 { answer.internet() } else { None }
}

/// The address with the number of the interface that it names.
#[inline]
pub(super) fn with_scope(address: &Address) -> Result<Cow<'_, Address>, Fatal> {
    match address {
        Address::Tcp { socket: SocketAddr::V6(v6), v6_only, interface: Some(name) } => {
            let scope = host::interface(name).ok_or_else(|| Fatal {
                what: format!("listen on {address}"),
                why: format!("no interface of this host is called {name:?}, `ip link` lists those it has"),
            })?;
            let socket = SocketAddrV6::new(*v6.ip(), v6.port(), 0, scope).into();
            Ok(Cow::Owned(Address::Tcp { socket, v6_only: *v6_only, interface: Some(name.clone()) }))
        }
        Address::Tcp { .. } | Address::Unix(_) => Ok(Cow::Borrowed(address)),
    }
}
