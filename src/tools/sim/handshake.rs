//! How connections come about: a client's to the server, the server's to an upstream; SYN, accept queue, refusal.

use super::backend::SESSIONS;
use super::epoll::{Listening, Source};
use super::event_queue::Event;
use super::facts::Oracle;
use super::tcp::{Death, Sizes, Sock, reset};
use super::world::{Conn, Side, World};
use crate::core::tcp::TcpState;
use crate::net::{Address, ConnectError, ConnectSpec, SocketError, SocketOptions};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// An address that the server can connect to.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// The address of the listener.
    pub address: Address,
    /// The host that it is on.
    pub host: usize,
    /// Buffers of both ends of each connection, and its path.
    pub sizes: Sizes,
}

/// What keeps the server from connecting. Chances are parts in a million.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConnectFaults {
    /// No port is left for the source and destination.
    pub no_port: u32,
    /// A router's answer that there is no way finds the socket in use by its program, and is kept for later.
    pub soft: u32,
    /// A poll says that one that is being made is writable. Linux does not (tests/parity/connecting.rs:
    /// `what_is_watched_while_connecting_says_nothing`), so that runs do not draw it.
    pub early: u32,
}

/// What a client sets: nothing.
const PLAIN: SocketOptions = SocketOptions {
    nodelay: true,
    keepalive: None,
    user_timeout: None,
    linger2: false,
    send_buffer: None,
    oob_inline: false,
};

impl World {
    /// Opens a connection from `host` to `listener`. `program` is asked what to do with it.
    pub fn connect(&mut self, host: usize, listener: usize, program: usize, sizes: Sizes) -> usize {
        let number = u32::try_from(self.conns.len()).expect("connections are few");
        let [_, b, c, d] = (number / 50_000).to_be_bytes();
        let port = u16::try_from(10_000 + number % 50_000).expect("below 60,000");
        let ip = self.sources.map_or([10, b, c, d], |sources| {
            let source = u8::try_from(host % sources).expect("sources are few");
            [10, 9, b, source]
        });
        let address = SocketAddr::from((ip, port));
        let place = Place { host, listener, queue: listener, program, address };
        let conn = self.add_conn(Side::Theirs, PLAIN, sizes, place);
        self.note(|| format!("c{conn} connects (program {program})"));
        self.act(conn, Side::Theirs, Sock::open);
        conn
    }

    /// Adds an upstream. `program` is asked to accept; without one, the test calls [`take`](Self::take).
    pub fn add_upstream(&mut self, upstream: Upstream, backlog: u32, program: Option<usize>) -> usize {
        self.listeners.push(Listening {
            backlog,
            options: PLAIN,
            queue: VecDeque::new(),
            closed: false,
            descriptors: 1,
            watch: None,
            program,
        });
        self.upstreams.push((upstream, self.listeners.len() - 1));
        self.upstreams.len() - 1
    }

    /// An upstream closes its listening socket, or opens a new one.
    pub fn set_listening(&mut self, upstream: usize, listening: bool) {
        let (Upstream { host, .. }, listener) = self.upstreams[upstream];
        self.note(|| format!("host {host} {}", if listening { "listens" } else { "refuses connections" }));
        if listening {
            self.listeners[listener].closed = false;
        } else {
            self.close_listener(listener);
        }
    }

    /// Takes a connection from the accept queue of an upstream.
    pub fn take(&mut self, upstream: usize) -> Option<usize> {
        self.listeners[self.upstreams[upstream].1].queue.pop_front()
    }

    /// The server begins to connect. The socket is that of `process`.
    pub(super) fn connect_out(
        &mut self,
        spec: &ConnectSpec<'_>,
        process: usize,
    ) -> Result<usize, ConnectError> {
        if !self.processes[process].calls()
            || self.processes[process].descriptors >= self.faults.descriptors_max
        {
            return Err(ConnectError::NoDescriptor);
        }
        if self.chance.chance(self.connect_faults.no_port) {
            return Err(ConnectError::NoPort);
        }
        let found = self.upstreams.iter().position(|(upstream, _)| upstream.address == *spec.to);
        let index = found.ok_or(ConnectError::Refused)?;
        let (Upstream { host, ref address, sizes }, queue) = self.upstreams[index];
        let Address::Tcp { socket: address, .. } = *address else { return Err(ConnectError::NoSocket) };
        let program = SESSIONS + self.conns.len();
        let place = Place { host, listener: index, queue, program, address };
        let conn = self.add_conn(Side::Ours, spec.options, sizes, place);
        self.processes[process].descriptors += 1;
        self.conns[conn].oracle.process = process;
        self.conns[conn].salt = conn as u64 + 1;
        self.connects.push(conn);
        self.note(|| format!("c{conn} server connects to {address}"));
        self.act(conn, Side::Ours, Sock::open);
        Ok(conn)
    }

    fn add_conn(&mut self, opener: Side, options: SocketOptions, sizes: Sizes, place: Place) -> usize {
        let mut ends = [None, None];
        ends[opener as usize] = Some(new_end(TcpState::SynSent, sizes, options, self.now));
        let Place { host, listener, queue, program, address } = place;
        self.conns.push(Conn {
            ends,
            opener,
            host,
            listener,
            queue,
            address,
            program,
            forgotten: false,
            arrivals: [0; 2],
            timers: [u64::MAX; 2],
            watch: None,
            told: false,
            sizes,
            salt: 0,
            partner: None,
            oracle: Oracle::default(),
        });
        self.conns.len() - 1
    }

    /// A connection is asked for.
    pub(super) fn on_syn(&mut self, conn: usize) {
        let now = self.now;
        let side = self.conns[conn].opener.other();
        if side == Side::Ours {
            self.conns[conn].queue = self.queue_for(conn);
        }
        let listener = &self.listeners[self.conns[conn].queue];
        if listener.closed {
            return self.send(conn, side, reset(0));
        }
        if self.overflows(conn) {
            return;
        }
        let options = self.listeners[self.conns[conn].queue].options;
        let end = new_end(TcpState::SynRecv, self.conns[conn].sizes, options, now);
        self.conns[conn].ends[side as usize] = Some(end);
        self.act(conn, side, Sock::answer);
    }

    /// Whether the accept queue has no room for a connection, which is dropped then.
    fn overflows(&mut self, conn: usize) -> bool {
        let Conn { queue, opener, .. } = self.conns[conn];
        let listener = &self.listeners[queue];
        let full = listener.queue.len() > listener.backlog as usize;
        if full && opener == Side::Theirs {
            self.drops.overflows += 1;
            self.drops.drops += 1;
        }
        full
    }

    /// The handshake's last ACK: into the queue, if there is room. If not, who connected believes otherwise.
    pub(super) fn establish(&mut self, conn: usize) -> bool {
        let now = self.now;
        let index = self.conns[conn].queue;
        let side = self.conns[conn].opener.other();
        if self.listeners[index].closed {
            self.conns[conn].ends[side as usize] = None;
            self.send(conn, side, reset(0));
            return false;
        }
        if self.overflows(conn) {
            return false;
        }
        self.listeners[index].queue.push_back(conn);
        let sock = self.conns[conn].ends[side as usize].as_mut().expect("it is half-open");
        sock.state = TcpState::Established;
        sock.clocks.on_progress(now);
        sock.clocks.on_contact(now);
        sock.start_keepalive(now);
        self.note(|| format!("c{conn} waits in the accept queue"));
        match self.listeners[index].program {
            None => self.queue_source(Source::Listener(index)),
            Some(program) => {
                let thinks = self.chance.within(20_000..200_000);
                self.schedule(now + thinks, Event::Program(program, super::backend::ACCEPT));
            }
        }
        true
    }

    /// An upstream's kernel has agreed to a connection of the server's (`net/ipv4/tcp_input.c: tcp_finish_connect`).
    pub(super) fn on_agreement(&mut self, conn: usize) {
        let now = self.now;
        if let Some(sock) = &mut self.conns[conn].ends[Side::Ours as usize] {
            sock.soft_error = None;
            sock.clocks.on_progress(now);
            sock.start_keepalive(now);
            self.conns[conn].oracle.connected = Some(now);
        }
    }

    /// A router drops what the server sends, and says so.
    pub(super) fn on_unreachable(&mut self, conn: usize) {
        let Some(sock) = &mut self.conns[conn].ends[Side::Ours as usize] else { return };
        if sock.state() != TcpState::SynSent {
            sock.soft_error = Some(SocketError::Unreachable);
            return;
        }
        let latency = self.hosts[self.conns[conn].host].latency;
        self.schedule(self.now + latency, Event::Unreachable(conn));
    }

    /// The router's answer to a SYN: it ends the attempt, unless the program has hold of the socket just then
    /// (`net/ipv4/tcp_ipv4.c: tcp_v4_err`).
    pub(super) fn on_no_way(&mut self, conn: usize) {
        let soft = self.chance.chance(self.connect_faults.soft);
        let woken = self.act(conn, Side::Ours, |sock, now, _| {
            if sock.state() != TcpState::SynSent {
                return 0;
            }
            if soft {
                sock.soft_error = Some(SocketError::Unreachable);
                return 0;
            }
            sock.die(SocketError::Unreachable, Death::Refused, now)
        });
        self.wake(conn, Side::Ours, woken.unwrap_or_default());
    }
}

/// Where a connection goes to, or comes from.
#[derive(Clone, Copy)]
struct Place {
    host: usize,
    listener: usize,
    queue: usize,
    program: usize,
    address: SocketAddr,
}

/// An end at the beginning of its life.
fn new_end(state: TcpState, sizes: Sizes, options: SocketOptions, now: u64) -> Sock {
    let mut sock = Sock::new(state, sizes, options, now);
    if let Some(bytes) = options.send_buffer {
        // The kernel doubles what is asked for (socket(7), SO_SNDBUF).
        sock.output_max = bytes as usize * 2;
    }
    sock
}
