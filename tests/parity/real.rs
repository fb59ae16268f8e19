//! The real kernel: the server's side is `linger::sys`, the clients are ordinary sockets, and the host's table of
//! sockets (`/proc/net/tcp`) tells the states of both ends.

#![expect(clippy::disallowed_methods, reason = "tests on the real kernel have to let it work")]

use crate::lab::{Lab, Peer};
use linger::core::tcp::TcpState;
use linger::net::{Address, CloseHow, Peer as PeerAddress, Received, Sent, SocketError};
use linger::sys::{Os, Stream};
use socket2::{Domain, SockRef, Socket, Type};
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long nothing may have moved for it to be at rest.
const REST: Duration = Duration::from_millis(12);
/// With something in flight: an acknowledgement may be delayed for 40 ms, on a busy machine for longer. What is
/// not acknowledged after this is not going to be.
const REST_IN_FLIGHT: Duration = Duration::from_millis(300);
/// The first timer of a retransmission, the delayed acknowledgement and the like are behind this.
const STEP: Duration = Duration::from_millis(3);

/// What one look at the host's table takes where nobody else wants the processor.
const LOOK: Duration = Duration::from_millis(2);

const RETRANSMISSION: u8 = 1;

pub struct Real {
    kernel: Os,
    /// The client's and the server's address of each connection.
    links: Vec<[SocketAddr; 2]>,
    /// What an upstream listens with.
    upstream: Option<Socket>,
    unplugged: bool,
    begun: Instant,
    /// How much of the time since then was waited for, looks at the table among it.
    waited: Duration,
    /// What each look took longer than it should.
    late_looks: Duration,
}

/// A line of the host's table, as far as it tells whether something moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Row {
    state: TcpState,
    /// Bytes not acknowledged and bytes not read.
    queues: [u64; 2],
    /// 1: retransmission; 2: keepalive or the wait of an orphan; 3: `TIME_WAIT`; 4: window probes.
    timer: u8,
}

impl Row {
    /// Something is in flight. Not a SYN: one that was not answered at once was dropped.
    fn moves(&self) -> bool {
        self.timer == RETRANSMISSION && self.state != TcpState::SynSent
    }
}

impl Real {
    pub fn new() -> Self {
        let kernel = Os::without_signals().unwrap_or_else(|fatal| panic!("{fatal}"));
        let (waited, late_looks) = Default::default();
        Self {
            kernel,
            links: Vec::new(),
            upstream: None,
            unplugged: false,
            begun: Instant::now(),
            waited,
            late_looks,
        }
    }

    /// Both rows of each connection.
    fn rows(&self) -> Vec<[Option<Row>; 2]> {
        let table = fs::read_to_string("/proc/net/tcp").expect("the host's table is readable");
        let mut rows = vec![[None; 2]; self.links.len()];
        for line in table.lines().skip(1) {
            let Some((ports, row)) = parse(line) else { continue };
            for (link, rows) in self.links.iter().zip(&mut rows) {
                let [client, server] = link.map(|address| address.port());
                if ports == [client, server] {
                    rows[0] = Some(row);
                } else if ports == [server, client] {
                    rows[1] = Some(row);
                }
            }
        }
        rows
    }
}

/// Ports, local and remote, and what else is said.
fn parse(line: &str) -> Option<([u16; 2], Row)> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let port = |field: &str| u16::from_str_radix(field.split_once(':')?.1, 16).ok();
    let ports = [port(fields.next()?)?, port(fields.next()?)?];
    let state = TcpState::from_number(u8::from_str_radix(fields.next()?, 16).ok()?);
    let (tx, rx) = fields.next()?.split_once(':')?;
    let queue = |field| u64::from_str_radix(field, 16).ok();
    let (timer, _) = fields.next()?.split_once(':')?;
    Some((ports, Row { state, queues: [queue(tx)?, queue(rx)?], timer: u8::from_str_radix(timer, 16).ok()? }))
}

impl Lab for Real {
    type Kernel = Os;
    type Peer = RealPeer;

    fn kernel(&mut self) -> &mut Os {
        &mut self.kernel
    }

    fn another_kernel(&mut self) -> Os {
        Os::without_signals().unwrap_or_else(|fatal| panic!("{fatal}"))
    }

    fn addresses(&self) -> [Address; 2] {
        [(); 2].map(|()| {
            let socket = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            Address::Tcp { socket, v6_only: false, interface: None }
        })
    }

    fn connect_to(&mut self, _: usize, to: &Address) -> RealPeer {
        let Address::Tcp { socket: server, .. } = *to else { unreachable!("it has a port") };
        let socket = socket();
        let refused = match socket.connect(&server.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Some(fault(&error)),
            Ok(()) | Err(_) => None,
        };
        let client = socket.local_addr().ok().and_then(|address| address.as_socket());
        self.links.push([client.expect("connecting has bound it"), server]);
        RealPeer { socket, refused }
    }

    fn listen(&mut self, backlog: u32) -> Address {
        let socket = socket();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&any.into()).expect("a port is free");
        socket.listen(i32::try_from(backlog).expect("it is short")).expect("it listens");
        let bound = socket.local_addr().ok().and_then(|address| address.as_socket());
        self.upstream = Some(socket);
        Address::Tcp { socket: bound.expect("it is bound"), v6_only: false, interface: None }
    }

    fn refuse(&mut self) {
        self.upstream = None;
    }

    fn take(&mut self) -> Option<(usize, RealPeer)> {
        let (socket, from) = self.upstream.as_ref()?.accept().ok()?;
        socket.set_nonblocking(true).expect("it is non-blocking");
        let from = from.as_socket().expect("it is TCP");
        let number = self.links.iter().position(|[_, server]| *server == from).unwrap_or_else(|| {
            // It was a reactor that has connected.
            let ours = socket.local_addr().ok().and_then(|address| address.as_socket());
            self.links.push([ours.expect("it is bound"), from]);
            self.links.len() - 1
        });
        Some((number, RealPeer { socket, refused: None }))
    }

    fn connects_out(&mut self, stream: &Stream, to: &Address) {
        let Address::Tcp { socket: theirs, .. } = *to else { unreachable!("it has a port") };
        let ours = SockRef::from(stream).local_addr().ok().and_then(|address| address.as_socket());
        self.links.push([theirs, ours.expect("connecting has bound it")]);
    }

    fn outgoing(&mut self) -> usize {
        let upstream = self.upstream.as_ref().and_then(|socket| socket.local_addr().ok()?.as_socket());
        let upstream = upstream.expect("it listens");
        let table = fs::read_to_string("/proc/net/tcp").expect("the host's table is readable");
        let ours = table.lines().skip(1).filter_map(parse).find_map(|([ours, theirs], _)| {
            let known = self.links.iter().any(|link| link[1].port() == ours);
            (theirs == upstream.port() && !known).then_some(ours)
        });
        let ours = SocketAddr::from((Ipv4Addr::LOCALHOST, ours.expect("one was begun")));
        self.links.push([upstream, ours]);
        self.links.len() - 1
    }

    fn number_of(&self, _: &Stream, peer: PeerAddress) -> usize {
        let address = peer.address().expect("it is TCP");
        self.links.iter().position(|[client, _]| *client == address).expect("no other program connects")
    }

    fn finish(&mut self, stream: &Stream) {
        // A connection that is gone has nothing to shut.
        let _ = SockRef::from(stream).shutdown(Shutdown::Write);
    }

    fn settle(&mut self) {
        let mut rows = self.rows();
        let mut since = Instant::now();
        loop {
            let before = Instant::now();
            sleep(STEP);
            let now = self.rows();
            let took = before.elapsed();
            self.waited += took;
            self.late_looks += took.saturating_sub(STEP + LOOK);
            if now != rows {
                (rows, since) = (now, Instant::now());
                continue;
            }
            // With the cable out nothing is going to arrive.
            let moving = !self.unplugged && rows.iter().flatten().flatten().any(Row::moves);
            if since.elapsed() >= if moving { REST_IN_FLIGHT } else { REST } {
                return;
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        sleep(time);
        self.waited += time;
    }

    fn states(&mut self, connection: usize) -> [TcpState; 2] {
        self.rows()[connection].map(|row| row.map_or(TcpState::Close, |row| row.state))
    }

    fn plug(&mut self, connection: usize, plugged: bool) {
        assert!(
            std::env::var_os("LINGER_TEST_NAMESPACE").is_some(),
            "rules belong into a namespace of the test's own: see scripts/ci.sh"
        );
        let [client, server] = self.links[connection].map(|address| address.port());
        let table = format!("parity{client}");
        // On arrival, in both directions: no sender is told.
        let rule = |from, to| format!("nft add rule ip {table} input tcp sport {from} tcp dport {to} drop");
        let script = if plugged {
            format!("nft delete table ip {table}")
        } else {
            format!(
                "nft add table ip {table} &&
                 nft 'add chain ip {table} input {{ type filter hook input priority 0; }}' &&
                 {} && {}",
                rule(client, server),
                rule(server, client)
            )
        };
        let status = Command::new("sh").args(["-c", &script]).status().expect("the shell runs");
        assert!(status.success(), "{script}");
        self.unplugged = !plugged;
    }

    fn lateness(&self) -> Duration {
        self.late_looks + self.begun.elapsed().saturating_sub(self.waited)
    }

    /// A signal for this thread, some time from now.
    fn interrupt(&mut self) {
        let arrived = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal_hook::consts::SIGUSR2, arrived).expect("SIGUSR2 can be handled");
        let thread = fs::read_link("/proc/thread-self").expect("the name of this thread");
        let thread =
            thread.file_name().and_then(|name| name.to_str()).expect("it ends with a number").to_owned();
        std::thread::spawn(move || {
            sleep(Duration::from_millis(200));
            let sent = Command::new("kill").args(["-USR2", &thread]).status();
            assert!(sent.is_ok_and(|status| status.success()), "kill");
        });
    }
}

/// A socket of a client or an upstream. What the latter accepts inherits from it.
fn socket() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_nonblocking(true).expect("it is non-blocking");
    socket.set_tcp_nodelay(true).expect("it sends at once");
    socket.set_recv_buffer_size(32 * 1024).expect("its window is small");
    socket.set_send_buffer_size(32 * 1024).expect("its buffer is small");
    socket
}

/// An ordinary client, or what an upstream has accepted.
pub struct RealPeer {
    socket: Socket,
    /// On loopback the answer is here before `connect` returns, which then takes the error.
    refused: Option<SocketError>,
}

impl Peer for RealPeer {
    fn send(&mut self, bytes: &[u8]) -> Sent {
        // The standard library and socket2 send with MSG_NOSIGNAL.
        match (&self.socket).write(bytes) {
            Ok(count) => Sent::Bytes(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Sent::WouldBlock,
            Err(error) => Sent::Failed(fault(&error)),
        }
    }

    fn send_oob(&mut self) -> Sent {
        match self.socket.send_out_of_band(b"!") {
            Ok(count) => Sent::Bytes(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Sent::WouldBlock,
            Err(error) => Sent::Failed(fault(&error)),
        }
    }

    fn recv(&mut self, buffer: &mut [u8]) -> Received {
        match (&self.socket).read(buffer) {
            Ok(0) => Received::Eof,
            Ok(count) => Received::Bytes(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Received::WouldBlock,
            Err(error) => Received::Failed(fault(&error)),
        }
    }

    fn finish(&mut self) {
        // A connection that is gone has nothing to shut.
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    fn take_error(&mut self) -> Option<SocketError> {
        let taken = self.socket.take_error().expect("it is a socket").as_ref().map(fault);
        self.refused.take().or(taken)
    }

    fn close(self, how: CloseHow) {
        match how {
            CloseHow::Plain => {}
            CloseHow::Reset => self.socket.set_linger(Some(Duration::ZERO)).expect("SO_LINGER {1,0}"),
            CloseHow::Linger2 => panic!("no client knows it"),
        }
    }
}

fn fault(error: &io::Error) -> SocketError {
    match error.raw_os_error() {
        Some(libc::ECONNRESET | libc::ECONNABORTED) => SocketError::Reset,
        Some(libc::EPIPE) => SocketError::BrokenPipe,
        Some(libc::ETIMEDOUT) => SocketError::TimedOut,
        Some(errno) => SocketError::Other(errno),
        None => panic!("{error}"),
    }
}
