//! The world between the ends: time, hosts, the network, the server's accept queues, and its `epoll`.
//!
//! Everything that will happen is an [`Event`] in one queue; [`World::step`] takes the next and lets it
//! happen. What a client program does about it is for `peer` to say; the world only tells that it has to be
//! asked ([`Event::Program`]).

use super::epoll::{Listening, Source, Watch};
pub use super::event_queue::Event;
use super::event_queue::EventQueue;
pub(super) use super::event_queue::seconds;
use super::faults::{Canary, Faults, WorkerFaults};
use super::fleet::Device;
use super::link::Link;
use super::oracle::Oracle;
use super::processes::{Group, ProcessState, Started};
use super::rng::Rng;
use super::socket::mask;
use super::sockets::Sockets;
use super::tcp::{Flags, Outbox, Segment, Sizes, Sock, reset, wake};
use crate::core::tcp::TcpState;
use crate::core::time::Instant;
use crate::net::{HostCounters, SocketError, SocketOptions};
use std::net::SocketAddr;

/// Which end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The one that connected.
    Client,
    /// Ours.
    Server,
}

impl Side {
    const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// A client's host and the path to it.
#[derive(Clone, Debug)]
pub struct Host {
    /// One way, in nanoseconds.
    pub latency: u64,
    /// It is off, or its cable is.
    pub cut: bool,
    /// A router says so.
    pub unreachable: bool,
    /// Since when it has been reachable without a break.
    pub reachable_since: u64,
}

/// A connection: two ends and what lies between.
#[derive(Debug)]
pub struct Conn {
    /// Client, server. An end that is gone answers nothing, its host answers RST.
    pub(super) ends: [Option<Sock>; 2],
    pub(super) host: usize,
    /// Which address it was made to.
    pub(super) listener: usize,
    /// The accept queue that it goes to.
    pub(super) queue: usize,
    pub(super) address: SocketAddr,
    /// Whom the client end belongs to.
    pub(super) program: usize,
    /// Something between them has forgotten the flow: nothing passes.
    pub(super) forgotten: bool,
    /// When the last segment arrives at each end: a path keeps their order.
    arrivals: [u64; 2],
    /// When each end's timer event is due.
    timers: [u64; 2],
    pub(super) watch: Option<Watch>,
    /// The program was told that something is there, and has not looked yet.
    pub(super) told: bool,
    pub(super) sizes: Sizes,
    pub(super) oracle: Oracle,
}

impl Conn {
    /// One end.
    pub fn end(&self, side: Side) -> Option<&Sock> {
        self.ends[side as usize].as_ref()
    }
}

/// Everything outside the server.
pub struct World {
    pub(super) now: u64,
    event_queue: EventQueue,
    /// Paths and hosts of the clients.
    pub hosts: Vec<Host>,
    pub(super) conns: Vec<Conn>,
    pub(super) listeners: Vec<Listening>,
    /// Who shares the listeners: an entry for each address.
    pub(super) groups: Vec<Group>,
    pub(super) processes: Vec<ProcessState>,
    /// Processes that nobody has given a program yet.
    pub(super) started: Vec<Started>,
    pub(super) links: Vec<Link>,
    pub(super) worker_faults: WorkerFaults,
    /// Devices that beat through another connection.
    pub(super) devices: Vec<Device>,
    pub(super) drops: HostCounters,
    pub(super) sockets: Sockets,
    pub(super) faults: Faults,
    pub(super) canary: Option<Canary>,
    pub(super) chance: Rng,
    network: Rng,
    /// Server ends that came to `TIME_WAIT`, and how many of those because both FINs crossed.
    pub(super) time_waits: (u32, u32),
    pub(super) trace: Option<Vec<String>>,
    pub(super) events_done: u64,
    /// Polls so far.
    pub(super) turns: u64,
    /// A signal is on its way.
    pub(super) interrupt_next: bool,
    /// No poll sleeps beyond this.
    pub(super) horizon: u64,
    pub(super) accepted: u64,
    /// Segments were lost at some time.
    pub(super) lossy: bool,
    /// What a client saw that it must not see.
    pub(super) violations: Vec<String>,
    /// What programs read into.
    pub(super) buffer: Vec<u8>,
    outbox: Outbox,
}

impl World {
    /// An empty world.
    pub fn new(faults: Faults, rng: &mut Rng) -> Self {
        Self {
            // Not zero, so that "never" and "at the beginning" differ.
            now: 1_000_000_000,
            event_queue: EventQueue::default(),
            hosts: Vec::new(),
            conns: Vec::new(),
            listeners: Vec::new(),
            groups: Vec::new(),
            processes: vec![ProcessState::default()],
            started: Vec::new(),
            links: Vec::new(),
            worker_faults: WorkerFaults::default(),
            devices: Vec::new(),
            drops: HostCounters::default(),
            // Of its own, so that runs without audits are the same as if there were none.
            sockets: Sockets::new(Rng::new(0)),
            lossy: faults.loss > 0,
            faults,
            canary: None,
            chance: rng.fork(),
            network: rng.fork(),
            time_waits: (0, 0),
            trace: None,
            events_done: 0,
            turns: 0,
            interrupt_next: false,
            horizon: u64::MAX,
            accepted: 0,
            violations: Vec::new(),
            buffer: vec![0; 16 * 1024],
            outbox: Vec::new(),
        }
    }

    /// Nanoseconds since the beginning.
    pub const fn now(&self) -> u64 {
        self.now
    }

    /// The same, as the loop knows it.
    pub const fn instant(&self) -> Instant {
        Instant::from_nanos(self.now)
    }

    /// A connection.
    pub fn conn(&self, conn: usize) -> &Conn {
        &self.conns[conn]
    }

    /// Writes down what happens, if anybody wants to know.
    pub fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>14.6} {}", seconds(self.now), what()));
        }
    }

    /// A client saw what it must not see.
    pub(super) fn violate(&mut self, what: String) {
        self.note(|| format!("VIOLATION {what}"));
        self.violations.push(what);
    }

    /// Adds a host with a path to it.
    pub fn add_host(&mut self, latency: u64) -> usize {
        self.hosts.push(Host { latency, cut: false, unreachable: false, reachable_since: self.now });
        self.hosts.len() - 1
    }

    /// Lets `event` happen at `at`, or now if that is past.
    pub fn schedule(&mut self, at: u64, event: Event) {
        self.event_queue.push(at.max(self.now), event);
    }

    /// When the next thing happens.
    pub fn next_event(&self) -> Option<u64> {
        self.event_queue.next()
    }

    /// Lets the next thing happen; its time has come. Returns what a program has to be asked about.
    pub fn step(&mut self) -> Option<(usize, u32)> {
        let event = self.event_queue.pop()?;
        self.events_done += 1;
        match event {
            Event::Arrive(conn, side, segment) => self.arrive(conn, side, segment),
            Event::Timer(conn, side, at) => self.on_timer(conn, side, at),
            Event::Sockets => self.sockets.ready = true,
            Event::Room(conn) => self.wake(conn, Side::Server, wake::OUT),
            Event::Link(link, end) => self.link_arrive(link, end, self.now),
            Event::Program(program, tag) => return Some((program, tag)),
            Event::Signal(signal) => {
                self.note(|| format!("signal {signal:?}"));
                self.raise(0, signal);
            }
        }
        None
    }

    /// Lets an end do something, and sends what comes of it.
    pub fn act<R>(
        &mut self,
        conn: usize,
        side: Side,
        act: impl FnOnce(&mut Sock, u64, &mut Outbox) -> R,
    ) -> Option<R> {
        let mut out = std::mem::take(&mut self.outbox);
        let now = self.now;
        let result = self.conns[conn].ends[side as usize].as_mut().map(|sock| act(sock, now, &mut out));
        for segment in out.drain(..) {
            self.send(conn, side, segment);
        }
        self.outbox = out;
        self.arm(conn, side);
        result
    }

    /// Opens a connection from `host` to `listener`. `program` is asked what to do with it.
    pub fn connect(&mut self, host: usize, listener: usize, program: usize, sizes: Sizes) -> usize {
        let conn = self.conns.len();
        let number = u32::try_from(conn).expect("connections are few");
        let [_, b, c, d] = (number / 50_000).to_be_bytes();
        let port = u16::try_from(10_000 + number % 50_000).expect("below 60,000");
        let mut client = Sock::new(TcpState::SynSent, sizes, PLAIN, self.now);
        client.orphan = false;
        self.conns.push(Conn {
            ends: [Some(client), None],
            host,
            listener,
            queue: listener,
            address: SocketAddr::from(([10, b, c, d], port)),
            program,
            forgotten: false,
            arrivals: [0; 2],
            timers: [u64::MAX; 2],
            watch: None,
            told: false,
            sizes,
            oracle: Oracle::default(),
        });
        self.note(|| format!("c{conn} connects (program {program})"));
        self.act(conn, Side::Client, Sock::open);
        conn
    }

    /// A host's cable is pulled or plugged in; `unreachable`: a router tells.
    pub fn cut(&mut self, host: usize, cut: bool, unreachable: bool) {
        let now = self.now;
        self.note(|| format!("host {host} {}", if cut { "is cut off" } else { "is back" }));
        let host = &mut self.hosts[host];
        if host.cut && !cut {
            host.reachable_since = now;
        }
        (host.cut, host.unreachable) = (cut, cut && unreachable);
    }

    /// A host forgets every connection it had.
    pub fn forget(&mut self, host: usize) {
        self.note(|| format!("host {host} forgets its connections"));
        for conn in self.conns.iter_mut().filter(|conn| conn.host == host) {
            conn.ends[Side::Client as usize] = None;
        }
    }

    /// The next poll that is to wait is interrupted by a signal.
    pub const fn interrupt_next(&mut self) {
        self.interrupt_next = true;
    }

    fn send(&mut self, conn: usize, from: Side, segment: Segment) {
        let to = from.other();
        let connection = &mut self.conns[conn];
        let host = &self.hosts[connection.host];
        let cut = host.cut || connection.forgotten;
        let lost = cut || self.network.chance(self.faults.loss);
        if self.trace.is_some() {
            let Segment { seq, ack, window, data, flags } = &segment;
            let fate = if lost { " LOST" } else { "" };
            let line = format!(
                "c{conn} {from:?} sends {flags:?} seq={seq} len={} ack={ack} wnd={window}{fate}",
                data.len()
            );
            self.note(|| line);
        }
        let connection = &mut self.conns[conn];
        let host = &self.hosts[connection.host];
        if lost {
            if host.unreachable
                && from == Side::Server
                && let Some(sock) = &mut connection.ends[from as usize]
            {
                sock.soft_error = Some(SocketError::Unreachable);
            }
            return;
        }
        let jitter = if self.faults.jitter == 0 { 0 } else { self.network.within(0..self.faults.jitter) };
        let at = (self.now + host.latency + jitter).max(connection.arrivals[to as usize]);
        connection.arrivals[to as usize] = at;
        self.schedule(at, Event::Arrive(conn, to, segment));
    }

    fn arrive(&mut self, conn: usize, side: Side, segment: Segment) {
        let connection = &self.conns[conn];
        if self.hosts[connection.host].cut || connection.forgotten {
            return;
        }
        match (side, connection.end(side).map(Sock::state), segment.flags) {
            (Side::Server, None, Flags::Syn) => return self.on_syn(conn),
            (Side::Server, Some(TcpState::SynRecv), Flags::Ack | Flags::Fin | Flags::Probe)
                if !self.establish(conn) =>
            {
                return;
            }
            (_, None, Flags::Rst) => return,
            (_, None, _) => return self.send(conn, side, reset(segment.ack)),
            _ => {}
        }
        let before = self.conns[conn].end(side).map(Sock::state);
        let woken = self.act(conn, side, |sock, now, out| sock.on_segment(segment, now, out));
        let after = self.conns[conn].end(side).map(Sock::state);
        let orderly = !self.conns[conn].oracle.killed;
        if side == Side::Server && after == Some(TcpState::TimeWait) && before != after && orderly {
            let crossed = before == Some(TcpState::Closing);
            self.note(|| format!("c{conn} TIME_WAIT on the server (from {before:?})"));
            self.time_waits.0 += 1;
            self.time_waits.1 += u32::from(crossed);
        }
        self.wake(conn, side, woken.unwrap_or_default());
    }

    fn on_syn(&mut self, conn: usize) {
        let now = self.now;
        let queue = self.queue_for(conn);
        self.conns[conn].queue = queue;
        let listener = &self.listeners[queue];
        if listener.closed {
            return self.send(conn, Side::Server, reset(0));
        }
        if listener.queue.len() > listener.backlog as usize {
            self.drops.overflows += 1;
            self.drops.drops += 1;
            return;
        }
        let mut server = Sock::new(TcpState::SynRecv, self.conns[conn].sizes, listener.options, now);
        if let Some(bytes) = listener.options.send_buffer {
            server.output_max = bytes as usize * 2;
        }
        self.conns[conn].ends[Side::Server as usize] = Some(server);
        self.act(conn, Side::Server, |sock, now, out| {
            let segment = sock.segment(Flags::SynAck, 0, Vec::new());
            out.push(segment);
            sock.arm_handshake(now);
        });
    }

    /// The handshake's last ACK: into the queue, if there is room. If not, the client believes otherwise.
    fn establish(&mut self, conn: usize) -> bool {
        let now = self.now;
        let index = self.conns[conn].queue;
        let listener = &mut self.listeners[index];
        if listener.closed {
            self.conns[conn].ends[Side::Server as usize] = None;
            self.send(conn, Side::Server, reset(0));
            return false;
        }
        if listener.queue.len() > listener.backlog as usize {
            self.drops.overflows += 1;
            self.drops.drops += 1;
            return false;
        }
        listener.queue.push_back(conn);
        let sock = self.conns[conn].ends[Side::Server as usize].as_mut().expect("it is half-open");
        sock.state = TcpState::Established;
        sock.clocks.on_progress(now);
        sock.clocks.on_contact(now);
        sock.start_keepalive(now);
        self.note(|| format!("c{conn} waits in the accept queue"));
        self.queue_source(Source::Listener(index));
        true
    }

    fn on_timer(&mut self, conn: usize, side: Side, at: u64) {
        if self.conns[conn].timers[side as usize] != at {
            return;
        }
        self.conns[conn].timers[side as usize] = u64::MAX;
        let due = self.conns[conn].end(side).and_then(Sock::next_timer).is_some_and(|at| at <= self.now);
        if !due {
            return self.arm(conn, side);
        }
        let woken = self.act(conn, side, Sock::on_timer).unwrap_or_default();
        if woken & wake::ERR != 0 {
            let death = self.conns[conn].end(side).and_then(Sock::death);
            self.note(|| format!("c{conn} {side:?} kernel gives up: {death:?}"));
        }
        self.wake(conn, side, woken);
    }

    /// One timer event an end, moved only forward: one that comes too early looks again.
    fn arm(&mut self, conn: usize, side: Side) {
        let connection = &mut self.conns[conn];
        let armed = connection.timers[side as usize];
        if let Some(at) = connection.ends[side as usize].as_ref().and_then(Sock::next_timer)
            && at < armed
        {
            connection.timers[side as usize] = at;
            self.schedule(at, Event::Timer(conn, side, at));
        }
    }

    /// Tells the program of an end.
    pub(super) fn wake(&mut self, conn: usize, side: Side, woken: u8) {
        if woken == 0 {
            return;
        }
        match side {
            Side::Client => self.tell(conn),
            Side::Server => {
                let interest = self.conns[conn].watch.map_or(0, |watch| watch.interest);
                // A wake-up without a key concerns everyone.
                let concerns = woken & wake::ALL != 0
                    || woken & wake::ERR != 0
                    || woken & wake::IN != 0 && interest & mask::IN != 0
                    || woken & wake::OUT != 0 && interest & mask::OUT != 0;
                if concerns {
                    self.queue_source(Source::Conn(conn));
                }
            }
        }
    }

    /// Tells the client program, which takes its time.
    fn tell(&mut self, conn: usize) {
        if !std::mem::replace(&mut self.conns[conn].told, true) {
            let program = self.conns[conn].program;
            let thinks = self.network.within(20_000..200_000);
            self.schedule(self.now + thinks, Event::Program(program, super::peer::LOOK));
        }
    }
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
