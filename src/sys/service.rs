//! The service manager that started this process, if one did: what it is told (`sd_notify(3)`), and the listening sockets
//! that it has opened (`sd_listen_fds(3)`). The protocol of systemd, which others speak as well; no library of it is needed.

use super::socket::local_name;
use super::{errno, monotonic_nanos, sockopt, worker};
use crate::core::time::Duration;
use crate::net::{Address, Fatal, ServiceNews};
use std::env;
use std::ffi::OsStr;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};

/// The first descriptor that is handed over (`SD_LISTEN_FDS_START`).
const FIRST: RawFd = 3;

/// How often it is told how the server is, where it does not watch that itself.
const STATUS_INTERVAL: Duration = Duration::from_secs(30);

/// The way to a service manager.
#[derive(Debug)]
pub(super) struct ServiceManager {
    socket: UnixDatagram,
    interval: Duration,
}

impl ServiceManager {
    /// The one that is named in the environment: `NOTIFY_SOCKET`, and `WATCHDOG_USEC` if it wants signs of life.
    pub(super) fn from_environment() -> Option<Self> {
        let address = address_of(&env::var_os("NOTIFY_SOCKET")?)?;
        let socket = UnixDatagram::unbound().ok()?;
        socket.connect_addr(&address).ok()?;
        socket.set_nonblocking(true).ok()?;
        let text = |name| env::var(name).ok();
        let watchdog =
            watchdog(text("WATCHDOG_USEC").as_deref(), text("WATCHDOG_PID").as_deref(), std::process::id());
        Some(Self { socket, interval: watchdog.map_or(STATUS_INTERVAL, |limit| limit / 2) })
    }

    /// How often it is to hear from us.
    pub(super) const fn interval(&self) -> Duration {
        self.interval
    }

    pub(super) fn notify(&self, news: ServiceNews<'_>) {
        let text = match news {
            ServiceNews::Ready => "READY=1".to_owned(),
            // The time by which it tells this reload from the one before (Type=notify-reload).
            ServiceNews::Reloading => {
                format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_nanos() / 1000)
            }
            ServiceNews::Stopping => "STOPPING=1".to_owned(),
            ServiceNews::Alive => "WATCHDOG=1".to_owned(),
            ServiceNews::Status(status) => format!("STATUS={}", status.replace('\n', " ")),
        };
        // A service manager that is gone, or takes nothing, is no reason not to serve.
        let _ = self.socket.send(text.as_bytes());
    }
}

/// `@` stands for the zero byte of an abstract address. Other kinds of sockets, which `NOTIFY_SOCKET` may name, are not
/// those of a service manager of this host.
fn address_of(text: &OsStr) -> Option<SocketAddr> {
    match text.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name).ok(),
        [b'/', ..] => SocketAddr::from_pathname(text).ok(),
        _ => None,
    }
}

/// How long the service manager waits for a sign of life, if this process is the one that is to give it.
fn watchdog(usec: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    let is_ours = pid.is_none_or(|pid| pid.parse() == Ok(own));
    let usec = usec?.parse().ok().filter(|&usec: &u64| usec > 0 && is_ours)?;
    Some(Duration::from_micros(usec))
}

/// A listening socket that a service manager has opened, and goes on to hold.
#[derive(Debug)]
pub(super) struct Handed {
    pub(super) fd: OwnedFd,
    pub(super) address: Address,
}

impl Handed {
    /// Whether it listens on that address.
    pub(super) fn is_on(&self, asked: &Address) -> bool {
        match (&self.address, asked) {
            (Address::Tcp { socket: own, .. }, Address::Tcp { socket, .. }) => {
                (own.ip(), own.port()) == (socket.ip(), socket.port())
            }
            (Address::Unix(own), Address::Unix(path)) => own == path,
            (Address::Tcp { .. }, Address::Unix(_)) | (Address::Unix(_), Address::Tcp { .. }) => false,
        }
    }
}

/// Takes out of `sockets` those for `count` workers that listen on one address, no more than one for each.
///
/// # Errors
/// When there are some, and not one for each: the kernel lets no other user share the port of a socket that the service
/// manager has opened as root (`net/ipv4/inet_connection_sock.c: inet_csk_bind_conflict`).
pub(super) fn take_for(
    sockets: &mut Vec<Handed>,
    address: &Address,
    count: usize,
) -> Result<Vec<Handed>, Fatal> {
    let found: Vec<_> = sockets.extract_if(.., |socket| socket.is_on(address)).take(count).collect();
    if !found.is_empty() && found.len() < count {
        return Err(Fatal {
            what: format!("share {address} among {count} workers"),
            why: format!(
                "the service manager has handed over {} sockets for it; it takes one for each worker (.socket units with \
                 the same ListenStream=, ReusePort=yes and Service=)",
                found.len()
            ),
        });
    }
    Ok(found)
}

/// Takes the listening sockets that this process was handed (`LISTEN_PID`, `LISTEN_FDS`), once: a second time there are none.
///
/// # Errors
/// When one of them is no listening socket.
pub(super) fn take_sockets() -> Result<Vec<Handed>, Fatal> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let number = |name| env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    if number("LISTEN_PID") != Some(std::process::id()) || TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    let count = number("LISTEN_FDS").and_then(|count| RawFd::try_from(count).ok()).unwrap_or(0);
    (FIRST..FIRST.saturating_add(count)).map(take).collect()
}

#[expect(unsafe_code, reason = "a descriptor by its number")]
fn take(fd: RawFd) -> Result<Handed, Fatal> {
    let refused = |why: String| Fatal { what: format!("take descriptor {fd} of the service manager"), why };
    worker::close_on_exec(fd, true).map_err(|errno| refused(errno::text(errno)))?;
    // SAFETY: it is open, as the line above has seen, and nothing else in this process knows of it: LISTEN_FDS says that
    // it was opened for us, before this program began, and it is taken once.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let listens = sockopt::read::<i32>(fd.as_fd(), libc::SOL_SOCKET, libc::SO_ACCEPTCONN);
    if !listens.is_ok_and(|listens| listens != 0) {
        return Err(refused(
            "it is no listening stream socket (ListenStream= and Accept=no in its .socket unit)".to_owned(),
        ));
    }
    let socket = std::os::unix::net::UnixListener::from(fd);
    let failed = |error: std::io::Error| refused(error.to_string());
    socket.set_nonblocking(true).map_err(failed)?;
    let path = socket.local_addr().ok().and_then(|address| address.as_pathname().map(ToOwned::to_owned));
    let fd = OwnedFd::from(socket);
    let address = match local_name(&fd) {
        Some(socket) => Address::Tcp { socket, v6_only: false, interface: None },
        None => Address::Unix(path.unwrap_or_default()),
    };
    Ok(Handed { fd, address })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_an_abstract_address_are_understood() {
        let path = address_of(OsStr::new("/run/systemd/notify")).unwrap();
        assert_eq!(path.as_pathname(), Some("/run/systemd/notify".as_ref()));
        let hidden = address_of(OsStr::new("@linger/notify")).unwrap();
        assert_eq!(hidden.as_abstract_name(), Some(&b"linger/notify"[..]));
        for unknown in ["", "vsock:2:1234", "run/notify"] {
            assert!(address_of(OsStr::new(unknown)).is_none(), "{unknown}");
        }
    }

    #[test]
    fn signs_of_life_are_for_the_process_that_is_watched() {
        let limit = Some(Duration::from_secs(30));
        assert_eq!(watchdog(Some("30000000"), None, 7), limit);
        assert_eq!(watchdog(Some("30000000"), Some("7"), 7), limit);
        assert_eq!(watchdog(Some("30000000"), Some("8"), 7), None);
        for none in [None, Some("0"), Some("soon"), Some("")] {
            assert_eq!(watchdog(none, None, 7), None, "{none:?}");
        }
    }
}
