//! The host of a test: pairs of sockets, the kernel's table of them, sysctls and rules of a namespace.

use crate::common::{in_own_namespace, until};
use linger::core::tcp::TcpState;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Duration;

/// What the kernel waits for with a socket (`/proc/net/tcp`, the `tr` column; `net/ipv4/tcp_ipv4.c`:
/// `get_tcp4_sock`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timer {
    None,
    Retransmission,
    /// Keepalive, or the end of an orphan in `FIN_WAIT2`.
    Keepalive,
    TimeWait,
    WindowProbe,
}

/// A socket in the host's table.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Row {
    pub state: TcpState,
    pub timer: Timer,
    /// Until it expires.
    pub seconds: f64,
}

/// The socket on `local` whose peer is `remote`.
pub fn row(local: SocketAddr, remote: SocketAddr) -> Option<Row> {
    // The table moves while it is read: a socket can be in it twice, of which the later is the newer, and one
    // can be left out.
    let found = (0..2)
        .find_map(|_| table().into_iter().rfind(|(ours, theirs, _)| (*ours, *theirs) == (local, remote)));
    found.map(|(_, _, row)| row)
}

/// How many sockets on `local` are in `state`.
pub fn count(local: SocketAddr, state: TcpState) -> usize {
    table().iter().filter(|(ours, _, row)| *ours == local && row.state == state).count()
}

fn table() -> Vec<(SocketAddr, SocketAddr, Row)> {
    let text = std::fs::read_to_string("/proc/net/tcp").unwrap();
    text.lines().skip(1).map(|line| parse(line).unwrap()).collect()
}

fn parse(line: &str) -> Option<(SocketAddr, SocketAddr, Row)> {
    let fields: Vec<_> = line.split_ascii_whitespace().collect();
    let address = |field: &str| {
        let (host, port) = field.split_once(':')?;
        let host = u32::from_str_radix(host, 16).ok()?.to_ne_bytes();
        Some(SocketAddr::from((host, u16::from_str_radix(port, 16).ok()?)))
    };
    let (timer, ticks) = fields[5].split_once(':')?;
    let timer = match timer {
        "00" => Timer::None,
        "01" => Timer::Retransmission,
        "02" => Timer::Keepalive,
        "03" => Timer::TimeWait,
        "04" => Timer::WindowProbe,
        _ => return None,
    };
    // Ticks of USER_HZ, 100 a second on every architecture this runs on.
    let seconds = f64::from(u32::from_str_radix(ticks, 16).ok()?) / 100.0;
    let state = TcpState::from_number(u8::from_str_radix(fields[3], 16).ok()?);
    Some((address(fields[1])?, address(fields[2])?, Row { state, timer, seconds }))
}

/// A client and the server's end of its connection; then their addresses, the server's first.
pub fn pair() -> (TcpStream, TcpStream, SocketAddr, SocketAddr) {
    pair_of(&listener_alone())
}

/// One on an address where no other test takes a port that has become free.
pub fn listener_alone() -> TcpListener {
    static NETWORK: AtomicU8 = AtomicU8::new(0);
    TcpListener::bind(SocketAddr::from(([127, 77, NETWORK.fetch_add(1, Relaxed), 1], 0))).unwrap()
}

pub fn pair_of(listener: &TcpListener) -> (TcpStream, TcpStream, SocketAddr, SocketAddr) {
    let here = listener.local_addr().unwrap();
    // From the address beside it, for the same reason.
    let SocketAddr::V4(v4) = here else { unreachable!("listeners here have IPv4 addresses") };
    let beside = Ipv4Addr::from_bits(v4.ip().to_bits() + 1);
    let client = connect_from(SocketAddr::from((beside, 0)), here).unwrap();
    let (server, there) = listener.accept().unwrap();
    (client, server, here, there)
}

/// A listener with a queue of its own length.
pub fn listener(backlog: i32) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&address("127.0.0.1:0".parse().unwrap())).unwrap();
    socket.listen(backlog).unwrap();
    socket
}

pub fn address(socket: SocketAddr) -> SockAddr {
    SockAddr::from(socket)
}

pub fn address_of(socket: &Socket) -> SocketAddr {
    socket.local_addr().unwrap().as_socket().unwrap()
}

/// A client that comes from `local`, which may be in `TIME_WAIT`.
pub fn connect_from(local: SocketAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address(local))?;
    socket.connect_timeout(&address(to), Duration::from_secs(10))?;
    Ok(socket.into())
}

/// Sends until the kernel takes no more, and gives back how much that was.
pub fn fill(stream: &TcpStream) -> usize {
    stream.set_nonblocking(true).unwrap();
    let bytes = vec![7; 65_536];
    let (mut total, mut idle) = (0, 0);
    // What the peer's kernel takes makes room again for a while.
    until("the peer's window to be shut", || {
        match std::io::Write::write(&mut &*stream, &bytes) {
            Ok(length) => (total, idle) = (total + length, 0),
            Err(_) => idle += 1,
        }
        idle > 100
    });
    stream.set_nonblocking(false).unwrap();
    total
}

/// Closes by a reset.
pub fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

/// A sysctl of the namespace made for the tests, put back when dropped.
pub struct Sysctl {
    path: String,
    before: String,
}

impl Sysctl {
    pub fn set(name: &str, value: &str) -> Self {
        assert!(in_own_namespace(), "no sysctl of a host is changed: run it by `unshare -n`");
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        let before = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, value).unwrap();
        Self { path, before }
    }
}

impl Drop for Sysctl {
    fn drop(&mut self) {
        let _ = std::fs::write(&self.path, &self.before);
    }
}

/// A counter of `/proc/net/netstat`, such as `TCPTimeWaitOverflow`.
pub fn counter(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/net/netstat").unwrap();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let mut columns = names.split_ascii_whitespace().zip(values.split_ascii_whitespace());
    columns.find(|(column, _)| *column == name).unwrap().1.parse().unwrap()
}

/// A rule for what comes in over loopback, removed when dropped.
pub struct Rule(());

impl Rule {
    /// `rule` in the language of nft(8), such as `tcp dport 80 drop`.
    pub fn input(rule: &str) -> Self {
        assert!(in_own_namespace(), "no rule of a host is changed: run it by `unshare -n`");
        let made = Self(());
        nft("add table ip folklore");
        nft("add chain ip folklore input { type filter hook input priority 0 ; }");
        nft(&format!("add rule ip folklore input {rule}"));
        made
    }

    /// Packets and bytes of IP that a rule with a `counter` has seen.
    #[expect(clippy::unused_self, reason = "the table is there as long as its rule")]
    pub fn counted(&self) -> (u64, u64) {
        let listed = nft("list table ip folklore");
        let mut words = listed.split_ascii_whitespace().skip_while(|word| *word != "packets");
        let mut number = || words.nth(1).unwrap().parse().unwrap();
        (number(), number())
    }
}

impl Drop for Rule {
    fn drop(&mut self) {
        nft("delete table ip folklore");
    }
}

fn nft(command: &str) -> String {
    let output = Command::new("nft").arg(command).output().expect("nft runs");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}
