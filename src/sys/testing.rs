//! What the tests of this module share: a real listener and a client on loopback, and waiting for a
//! condition instead of for a time.

use super::{Listener, Stream, sockopt};
use crate::core::tcp::TcpState;
use crate::core::time::Duration;
use crate::net::{
    Accepted, Address, ListenSpec, Listener as _, Peer, Received, Sent, SocketOptions, Stream as _,
};
use libc::c_int;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, process};

/// A client of the tests.
#[expect(clippy::disallowed_types, reason = "a client may block: it is what the server is tested against")]
pub(super) type Client = std::net::TcpStream;

/// Plain options: everything off.
pub(super) const PLAIN: SocketOptions = SocketOptions {
    nodelay: false,
    keepalive: None,
    user_timeout: None,
    linger2: false,
    send_buffer: None,
    oob_inline: false,
};

pub(super) fn loopback() -> ListenSpec {
    tcp("127.0.0.1:0")
}

pub(super) fn tcp(socket: &str) -> ListenSpec {
    let address = Address::Tcp { socket: socket.parse().unwrap(), v6_only: false, interface: None };
    ListenSpec { address, backlog: 128, options: PLAIN, socket_mode: 0o660 }
}

pub(super) fn unix(path: PathBuf) -> ListenSpec {
    ListenSpec { address: Address::Unix(path), backlog: 128, options: PLAIN, socket_mode: 0o660 }
}

pub(super) fn address_of(listener: &Listener) -> Address {
    listener.address().clone()
}

pub(super) fn socket_of(listener: &Listener) -> SocketAddr {
    match listener.address() {
        Address::Tcp { socket, .. } => *socket,
        Address::Unix(path) => panic!("{} has no port", path.display()),
    }
}

/// A client and the server's end of its connection, with plain options.
pub(super) fn pair() -> (Client, Stream) {
    pair_with(PLAIN)
}

pub(super) fn pair_with(options: SocketOptions) -> (Client, Stream) {
    let mut listener = Listener::open(&ListenSpec { options, ..loopback() }).unwrap();
    let client = Client::connect(socket_of(&listener)).unwrap();
    let (server, _) = accept(&mut listener);
    (client, server)
}

pub(super) fn accept(listener: &mut Listener) -> (Stream, Peer) {
    let mut accepted = None;
    until("a connection to accept", || {
        match listener.try_accept() {
            Accepted::Stream(stream, peer) => accepted = Some((stream, peer)),
            Accepted::WouldBlock | Accepted::Interrupted => {}
            other @ (Accepted::Aborted(_) | Accepted::Exhausted(_) | Accepted::Failed(_)) => {
                panic!("{other:?}")
            }
        }
        accepted.is_some()
    });
    accepted.expect("until returns when there is one")
}

/// Receives, waiting while there is nothing.
pub(super) fn recv(stream: &mut Stream, buffer: &mut [u8]) -> Received {
    let mut received = Received::WouldBlock;
    until("something to receive", || {
        received = stream.recv(buffer);
        !matches!(received, Received::WouldBlock | Received::Interrupted)
    });
    received
}

/// Sends until the kernel takes no more, all that was sent is acknowledged, and the peer's window is shut:
/// nothing moves any more.
pub(super) fn fill(stream: &mut Stream) {
    until("send blocks on a shut window", || {
        // Asked for first: what frees room for output is an acknowledgement, and none is to come after this.
        let evidence = stream.evidence().unwrap();
        let shut = evidence.snd_wnd == 0 && evidence.unacked == 0 && evidence.notsent_bytes > 0;
        stream.send(&[0; 16_384]) == Sent::WouldBlock && shut
    });
}

pub(super) fn option(socket: &impl AsFd, level: c_int, name: c_int) -> c_int {
    sockopt::read(socket.as_fd(), level, name).unwrap()
}

/// States of the sockets on `local` whose peer is `remote`, as the host lists them.
pub(super) fn states(local: SocketAddr, remote: SocketAddr) -> Vec<TcpState> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let port = |field: &str| u16::from_str_radix(field.split_once(':').unwrap().1, 16).unwrap();
    let rows = table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (ours, theirs, state) = (fields.next()?, fields.next()?, fields.next()?);
        let wanted = port(ours) == local.port() && port(theirs) == remote.port();
        wanted.then(|| TcpState::from_number(u8::from_str_radix(state, 16).unwrap()))
    });
    rows.collect()
}

/// Looks again and again until it is so. The deadline is for a broken kernel, not for a slow machine.
#[expect(clippy::disallowed_methods, reason = "tests on the real kernel have to let it work")]
pub(super) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs `body` in a process of its own: this test once more, alone. For what belongs to a process.
pub(super) fn in_child(test: &str, body: impl FnOnce()) {
    let Some(child) = child(test, body) else { return };
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{}\n{output}", child.status);
    assert!(output.contains("1 passed"), "no test is called {test}");
}

/// The same, and says how that process ended; `None` in it.
pub(super) fn child(test: &str, body: impl FnOnce()) -> Option<Output> {
    const MARK: &str = "LINGER_TEST_CHILD";
    if env::var_os(MARK).is_some() {
        body();
        return None;
    }
    let child = Command::new(env::current_exe().unwrap())
        .args([test, "--exact", "--test-threads=1"])
        .env(MARK, "1")
        .output()
        .unwrap();
    Some(child)
}

/// A directory for one test, removed after it.
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("linger-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
