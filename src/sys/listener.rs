//! A listening socket: how it is opened, with words for an operator when it cannot be, and how
//! connections are taken from it.
//!
//! Own system calls rather than mio's or the standard library's: those fix the backlog at 128, and the
//! options must be on the socket before it listens, so that the first connection inherits them.

use super::service::Handed;
use super::sockaddr::{Answer, Name};
use super::socket::{bind, connect, local_name, set_options, socket, with_scope};
use super::stream::Stream;
use super::{errno, sockopt, tcp_info};
use crate::net::{Accepted, Address, Fatal, ListenSpec, Listener as Contract, Peer, Queue, SocketOptions};
use libc::c_int;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A listening, non-blocking socket, with the file of a unix one.
///
/// Closing it resets what waits in its queue.
#[derive(Debug)]
pub struct Listener {
    // Before the socket: while this still answers, no other process takes the path for stale.
    _file: Option<SocketFile>,
    fd: OwnedFd,
    address: Address,
    /// The service manager that has opened it holds it as well, and the file of a unix one is its.
    kept: bool,
}

impl Listener {
    /// Opens a listener.
    ///
    /// # Errors
    /// What was asked for and what the kernel answered, in a sentence for the operator.
    pub fn open(spec: &ListenSpec) -> Result<Self, Fatal> {
        Self::open_with(spec, false)
    }

    /// Opens `count` listeners on one address of TCP, of which each gets its share of the clients (`SO_REUSEPORT`); also
    /// on port 0, where the kernel chooses once. `kept`: those that a service manager has opened, all of them or none.
    ///
    /// # Errors
    /// As [`open`](Self::open); also where another process of this user shares its port so readily, as a second
    /// server like this one would.
    pub(super) fn open_shared(
        spec: &ListenSpec,
        count: usize,
        kept: Vec<Handed>,
    ) -> Result<Vec<Self>, Fatal> {
        if !kept.is_empty() {
            return kept.into_iter().map(|socket| Self::keep(socket, spec)).collect();
        }
        // A foreign process that listens there is found by binding a socket that does not share. That socket does not
        // listen: a client that comes meanwhile is refused, and not accepted and reset.
        drop(Self::bound(spec, false)?);
        let mut spec = spec.clone();
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            let one = Self::open_with(&spec, true)?;
            spec.address = one.address.clone();
            all.push(one);
        }
        Ok(all)
    }

    /// Takes over a listening socket that another process has opened on `asked`, and keeps the file of.
    pub(super) fn adopt(fd: OwnedFd, asked: &Address, kept: bool) -> Self {
        let address = bound_address(&fd, asked);
        Self { _file: None, fd, address, kept }
    }

    /// Takes a listening socket that a service manager has opened, and listens as `spec` has it.
    pub(super) fn keep(socket: Handed, spec: &ListenSpec) -> Result<Self, Fatal> {
        Self::listening(socket.fd, None, spec, true)
    }

    fn open_with(spec: &ListenSpec, shared: bool) -> Result<Self, Fatal> {
        let (fd, file) = Self::bound(spec, shared)?;
        Self::listening(fd, file, spec, false)
    }

    /// Of one that listens already, the length of the queue is changed.
    fn listening(
        fd: OwnedFd,
        file: Option<SocketFile>,
        spec: &ListenSpec,
        kept: bool,
    ) -> Result<Self, Fatal> {
        set_options(fd.as_fd(), &spec.address, &spec.options)?;
        listen(&fd, spec.backlog).map_err(|errno| refused(errno, &spec.address))?;
        let address = bound_address(&fd, &spec.address);
        Ok(Self { _file: file, fd, address, kept })
    }

    /// A socket that has the address and does not listen yet, and its file.
    fn bound(spec: &ListenSpec, shared: bool) -> Result<(OwnedFd, Option<SocketFile>), Fatal> {
        let what = || format!("listen on {}", spec.address);
        let refused = |errno| refused(errno, &spec.address);
        let address = with_scope(&spec.address)?;
        let Some(name) = Name::new(&address) else {
            return Err(Fatal {
                what: what(),
                why: "the path of a unix socket has 1 to 107 bytes".to_owned(),
            });
        };
        let fd = socket(name.family()).map_err(refused)?;
        let mut file = None;
        match &spec.address {
            Address::Tcp { socket, v6_only, .. } => {
                // A port whose old connections are in TIME_WAIT may be bound again at once.
                let on = |level, name, value| sockopt::set(fd.as_fd(), level, name, value).map_err(refused);
                on(libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
                if shared {
                    on(libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
                }
                if socket.is_ipv6() {
                    on(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, c_int::from(*v6_only))?;
                }
                bind(&fd, &name).map_err(refused)?;
            }
            Address::Unix(path) => {
                clear_stale(path, &name).map_err(|why| Fatal { what: what(), why })?;
                bind(&fd, &name).map_err(refused)?;
                file = SocketFile::new(path);
                // Before it listens: until then nobody can connect, whatever the umask has allowed.
                let mode = fs::Permissions::from_mode(spec.socket_mode);
                fs::set_permissions(path, mode)
                    .map_err(|error| Fatal { what: what(), why: format!("its permissions: {error}") })?;
            }
        }
        Ok((fd, file))
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Contract for Listener {
    type Stream = Stream;

    #[expect(unsafe_code, reason = "accept4(2)")]
    #[expect(
        clippy::inline_always,
        reason = "left alone, where each newcomer comes from is moved twice more"
    )]
    #[inline(always)]
    fn try_accept(&mut self) -> Accepted<Stream> {
        // The address comes with the connection: asked for later, getpeername(2) fails once it was reset.
        let mut answer = Answer::new();
        let mut length = Answer::LENGTH;
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        let fd = self.fd.as_raw_fd();
        // By syscall(2): accept4(3) is a cancellation point, as recv(3) is, and `rustix` has room for any address there is.
        // SAFETY: the descriptor is open while `self` lives; the kernel writes at most `length` bytes, which
        // `answer` has.
        let fd = unsafe { libc::syscall(libc::SYS_accept4, fd, answer.raw(), &raw mut length, flags) };
        let Ok(fd @ 0..) = RawFd::try_from(fd) else { return errno::refused(errno::last()) };
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Accepted::Stream(Stream::new(fd), answer.internet().map_or(Peer::UNIX, Peer::new))
    }

    fn queue(&self) -> Option<Queue> {
        tcp_info::queue(self.as_fd())
    }

    fn address(&self) -> &Address {
        &self.address
    }

    fn is_kept_by_service_manager(&self) -> bool {
        self.kept
    }

    fn set_options(&mut self, options: &SocketOptions) {
        // What was in force before stays where the kernel refuses.
        if let Err(fatal) = set_options(self.fd.as_fd(), &self.address, options) {
            log::warn!(cannot = fatal.what.as_str(), why = fatal.why.as_str(); "socket_options_kept");
        }
    }
}

/// The file of a unix listener, removed with it, unless someone has put another in its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode. The number cannot be given to another file while our socket is bound to it.
    identity: (u64, u64),
}

impl SocketFile {
    /// `None` if the file is gone already.
    fn new(path: &Path) -> Option<Self> {
        Some(Self { path: path.to_owned(), identity: identity(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path) == Some(self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// Removes a socket file that nobody listens on: what a server leaves that was killed. Two servers that
/// start at the same moment could still fall over each other here; one of them then fails to bind.
fn clear_stale(path: &Path, name: &Name) -> Result<(), String> {
    let Ok(file) = fs::symlink_metadata(path) else {
        // Nothing there, or bind(2) will say what is wrong.
        return Ok(());
    };
    // connect(2) to a file that is no socket gives ECONNREFUSED as well.
    if !file.file_type().is_socket() {
        return Err("a file that is not a socket is in the way; only a stale socket is removed".to_owned());
    }
    match socket(libc::AF_UNIX).and_then(|probe| connect(&probe, name)) {
        Err(libc::ECONNREFUSED) => match fs::remove_file(path) {
            Ok(()) => Ok(()),
            Err(error) => Err(format!("a stale socket is in the way and cannot be removed: {error}")),
        },
        Err(libc::ENOENT) => Ok(()),
        // EAGAIN: its queue is full. EPROTOTYPE: it is a datagram socket.
        Ok(()) | Err(libc::EAGAIN | libc::EPROTOTYPE) => {
            Err("another process listens there; `ss -lxp` names it".to_owned())
        }
        Err(errno) => Err(format!(
            "a socket is in the way, and asking whether anyone listens on it gave: {}",
            errno::text(errno)
        )),
    }
}

fn refused(errno: i32, address: &Address) -> Fatal {
    Fatal { what: format!("listen on {address}"), why: why(errno, address) }
}

/// The kernel's answer in words, and what would help.
fn why(errno: i32, address: &Address) -> String {
    let advice = match (errno, address) {
        (libc::EADDRINUSE, Address::Tcp { socket, v6_only, .. }) => {
            let both = if socket.is_ipv6() && socket.ip().is_unspecified() && !v6_only {
                "; [::] takes the IPv4 port as well unless it is v6-only"
            } else {
                ""
            };
            let port = socket.port();
            format!("another socket has that port, `ss -tanp 'sport = :{port}'` shows whose{both}")
        }
        (libc::EACCES, Address::Tcp { .. }) => {
            "ports below net.ipv4.ip_unprivileged_port_start (1024 unless \
                                               changed) need CAP_NET_BIND_SERVICE"
                .to_owned()
        }
        (libc::EADDRNOTAVAIL, _) => {
            "no interface of this host has that address, `ip address` lists those it has".to_owned()
        }
        (libc::EAFNOSUPPORT, Address::Tcp { .. }) => {
            "this host has IPv6 switched off; listen on an IPv4 address".to_owned()
        }
        (libc::EACCES, Address::Unix(_)) => "this user may not write to the directory".to_owned(),
        (libc::ENOENT, Address::Unix(_)) => "the directory does not exist".to_owned(),
        _ => return errno::text(errno),
    };
    format!("{}: {advice}", errno::text(errno))
}

#[expect(unsafe_code, reason = "listen(2)")]
fn listen(fd: &OwnedFd, backlog: u32) -> Result<(), i32> {
    let backlog = c_int::try_from(backlog).unwrap_or(c_int::MAX);
    // SAFETY: the descriptor is open.
    let result = unsafe { libc::listen(fd.as_raw_fd(), backlog) };
    if result == 0 { Ok(()) } else { Err(errno::last()) }
}

/// The address asked for, with the port that the kernel chose.
fn bound_address(fd: &OwnedFd, asked: &Address) -> Address {
    match asked {
        Address::Tcp { socket, v6_only, interface } => Address::Tcp {
            socket: local_name(fd).unwrap_or(*socket),
            v6_only: *v6_only,
            interface: interface.clone(),
        },
        Address::Unix(path) => Address::Unix(path.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::{self, Client, Directory, accept, in_child};
    use std::os::unix::net::UnixStream;

    fn open(address: &str) -> Result<Listener, Fatal> {
        Listener::open(&testing::tcp(address))
    }

    #[test]
    fn a_free_port_is_chosen_and_told() {
        let mut listener = open("127.0.0.1:0").unwrap();
        let client = Client::connect(testing::socket_of(&listener)).unwrap();
        let (_, peer) = accept(&mut listener);
        assert_eq!(peer.address(), Some(client.local_addr().unwrap()));
        assert!(matches!(listener.try_accept(), Accepted::WouldBlock));
    }

    #[test]
    fn the_unspecified_v6_address_takes_v4_as_well_unless_told_not_to() {
        let mut both = open("[::]:0").unwrap();
        let port = testing::socket_of(&both).port();
        let four = Client::connect(("127.0.0.1", port)).unwrap();
        let (_, peer) = accept(&mut both);
        assert_eq!(peer.address(), Some(four.local_addr().unwrap()), "shown as IPv4");
        let six = Client::connect(("::1", port)).unwrap();
        let (_, peer) = accept(&mut both);
        assert_eq!(peer.address(), Some(six.local_addr().unwrap()));

        let address = Address::Tcp { socket: "[::]:0".parse().unwrap(), v6_only: true, interface: None };
        let only = Listener::open(&ListenSpec { address, ..testing::loopback() }).unwrap();
        assert!(Client::connect(("127.0.0.1", testing::socket_of(&only).port())).is_err());
    }

    #[test]
    fn a_port_in_use_is_told_with_the_command_that_shows_by_whom() {
        let first = open("127.0.0.1:0").unwrap();
        let address = first.address().to_string();
        let Fatal { what, why } = open(&address).unwrap_err();
        assert_eq!(what, format!("listen on {address}"));
        assert!(why.starts_with("Address already in use") && why.contains("ss -tanp"), "{why}");
        assert!(!why.contains("v6-only"), "{why}");
        let why = open(&format!("[::]:{}", testing::socket_of(&first).port())).unwrap_err().why;
        assert!(why.contains("v6-only"), "{why}");
    }

    #[test]
    fn an_address_of_another_host_is_told() {
        let why = open("192.0.2.1:0").unwrap_err().why;
        assert!(why.contains("ip address"), "{why}");
    }

    #[test]
    fn each_refusal_says_what_would_help() {
        let tcp = testing::tcp("127.0.0.1:80").address;
        let unix = Address::Unix("/run/linger.sock".into());
        assert!(why(libc::EACCES, &tcp).contains("CAP_NET_BIND_SERVICE"));
        assert!(why(libc::EAFNOSUPPORT, &tcp).contains("IPv4"));
        assert!(why(libc::EACCES, &unix).contains("directory"));
        assert!(why(libc::ENOENT, &unix).contains("directory"));
        assert_eq!(why(libc::EMFILE, &tcp), "Too many open files (os error 24)");
    }

    #[test]
    fn an_option_that_the_kernel_refuses_is_told_by_name() {
        let mut spec = testing::loopback();
        let forever = crate::core::time::Duration::from_secs(40_000);
        spec.options.keepalive = Some(crate::net::Keepalive { idle: forever, interval: forever, count: 3 });
        let fatal = Listener::open(&spec).unwrap_err();
        assert!(fatal.what.contains("TCP_KEEPIDLE to 40000"), "{fatal}");
    }

    #[test]
    fn a_stale_socket_file_is_replaced_and_a_live_one_is_not() {
        let directory = Directory::new();
        let path = directory.path("s");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "the standard library leaves it");
        let mut listener = Listener::open(&testing::unix(path.clone())).unwrap();
        let _client = UnixStream::connect(&path).unwrap();
        let (_, peer) = accept(&mut listener);
        assert_eq!(peer, Peer::UNIX);

        let why = Listener::open(&testing::unix(path.clone())).unwrap_err().why;
        assert!(why.starts_with("another process listens there"), "{why}");
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn the_file_has_the_permissions_that_were_asked_for() {
        let directory = Directory::new();
        for socket_mode in [0o600, 0o660, 0o666] {
            let path = directory.path("s");
            let _listener =
                Listener::open(&ListenSpec { socket_mode, ..testing::unix(path.clone()) }).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, socket_mode);
        }
    }

    #[test]
    fn a_file_that_is_not_ours_stays() {
        let directory = Directory::new();
        let path = directory.path("s");
        fs::write(&path, "precious").unwrap();
        let why = Listener::open(&testing::unix(path.clone())).unwrap_err().why;
        assert!(why.contains("not a socket"), "{why}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");

        fs::remove_file(&path).unwrap();
        let ours = Listener::open(&testing::unix(path.clone())).unwrap();
        fs::remove_file(&path).unwrap();
        let theirs = Listener::open(&testing::unix(path.clone())).unwrap();
        drop(ours);
        assert!(path.exists(), "it belongs to the second listener now");
        drop(theirs);
        assert!(!path.exists());
    }

    #[test]
    fn a_path_is_checked_before_anything_is_made() {
        let fatal = Listener::open(&testing::unix("p".repeat(200).into())).unwrap_err();
        assert!(fatal.why.contains("107"), "{fatal}");
        let fatal = Listener::open(&testing::unix("/nowhere/at/all".into())).unwrap_err();
        assert!(fatal.why.contains("the directory does not exist"), "{fatal}");
    }

    #[test]
    fn nothing_is_leaked_to_children() {
        in_child("sys::listener::tests::nothing_is_leaked_to_children", || {
            let mut listener = open("127.0.0.1:0").unwrap();
            let _client = Client::connect(testing::socket_of(&listener)).unwrap();
            let (stream, _) = accept(&mut listener);
            for fd in [listener.as_fd(), stream.as_fd()] {
                let flags = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap();
                let flags = flags.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
                let flags = c_int::from_str_radix(flags, 8).unwrap();
                let wanted = libc::O_CLOEXEC | libc::O_NONBLOCK;
                assert_eq!(flags & wanted, wanted, "{flags:o}");
            }
        });
    }
}
