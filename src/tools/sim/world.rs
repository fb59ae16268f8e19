//! The world between the ends: time, hosts, the network, the server's accept queues, and its `epoll`.
//!
//! Everything that will happen is an [`Event`] in one queue; [`World::step`] takes the next and lets it
//! happen. What a client program does about it is for `peer` to say; the world only tells that it has to be
//! asked ([`Event::Program`]).

use super::credentials::Secure;
use super::epoll::{Listening, Source, Watch};
pub use super::event_queue::Event;
use super::event_queue::EventQueue;
pub(super) use super::event_queue::in_seconds;
use super::facts::Oracle;
use super::faults::{Canary, Faults, WorkerFaults};
use super::fleet::Device;
use super::handshake::{ConnectFaults, Upstream};
use super::link::Link;
use super::name_server::NameServer;
use super::naming::Naming;
use super::processes::{Group, ProcessState, Started};
use super::rng::Rng;
use super::socket::mask;
use super::sockets::Sockets;
use super::tcp::{Flags, Outbox, Segment, Sizes, Sock, reset, wake};
use crate::core::tcp::TcpState;
use crate::core::time::Instant;
use crate::net::HostCounters;
use std::net::SocketAddr;

/// Which end of a connection. Either may be the one that connected: its connection says which.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// A client's, or a backend's.
    Theirs,
    /// The server's that is simulated.
    Ours,
}

impl Side {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Theirs => Self::Ours,
            Self::Ours => Self::Theirs,
        }
    }
}

/// The host of a client or of a backend, and the path to it.
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
    /// Theirs, ours. An end that is gone answers nothing, its host answers RST.
    pub(super) ends: [Option<Sock>; 2],
    /// Who connected.
    pub(super) opener: Side,
    /// Where their end is.
    pub(super) host: usize,
    /// Which address it was made to: one of the server's, or of the backends'.
    pub(super) listener: usize,
    /// The accept queue that it goes to.
    pub(super) queue: usize,
    pub(super) address: SocketAddr,
    /// Whom their end belongs to.
    pub(super) program: usize,
    /// Something between them has forgotten the flow: nothing passes.
    pub(super) forgotten: bool,
    /// When the last segment arrives at each end: a path keeps their order.
    pub(super) arrivals: [u64; 2],
    /// When each end's timer event is due.
    pub(super) timers: [u64; 2],
    pub(super) watch: Option<Watch>,
    /// The program was told that something is there, and has not looked yet.
    pub(super) told: bool,
    pub(super) sizes: Sizes,
    /// What tells the bytes of its program from those of others; 0 where nothing is relayed.
    pub(super) salt: u64,
    /// The other connection of the pair that it is in.
    pub(super) partner: Option<usize>,
    pub(super) oracle: Oracle,
}

impl Conn {
    /// One end.
    pub fn end(&self, side: Side) -> Option<&Sock> {
        self.ends[side as usize].as_ref()
    }

    /// The host that their end is on.
    pub const fn host(&self) -> usize {
        self.host
    }
}

/// Server ends that came to `TIME_WAIT`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct TimeWaits {
    pub(super) all: u32,
    /// Because both FINs crossed.
    pub(super) crossed: u32,
    /// Because the server had handed on a FIN before the other came.
    pub(super) forwarded: u32,
}

/// Everything outside the server.
pub struct World {
    pub(super) now: u64,
    event_queue: EventQueue,
    /// Hosts of clients and upstreams, and the paths to them.
    pub hosts: Vec<Host>,
    pub(super) conns: Vec<Conn>,
    /// Of the server, and of its upstreams.
    pub(super) listeners: Vec<Listening>,
    /// Where the server can connect to, each with its listening socket.
    pub(super) upstreams: Vec<(Upstream, usize)>,
    pub(super) connect_faults: ConnectFaults,
    /// Who shares the listeners: an entry for each address.
    pub(super) groups: Vec<Group>,
    pub(super) processes: Vec<ProcessState>,
    /// Processes that nobody has given a program yet.
    pub(super) started: Vec<Started>,
    pub(super) links: Vec<Link>,
    pub(super) worker_faults: WorkerFaults,
    /// Devices that beat through another connection.
    pub(super) devices: Vec<Device>,
    /// Addresses that the hosts of clients share; none: it does not matter where they come from.
    pub(super) sources: Option<usize>,
    /// What clients need to speak TLS, where some listeners do.
    pub(super) secure: Option<Secure>,
    /// Some programs speak for the gateway's clients.
    pub(super) names_clients: bool,
    /// What they have said of them.
    pub(super) namings: Vec<Naming>,
    pub(super) drops: HostCounters,
    pub(super) sockets: Sockets,
    /// What names of servers stand for.
    pub names: NameServer,
    pub(super) faults: Faults,
    pub(super) canary: Option<Canary>,
    pub(super) chance: Rng,
    network: Rng,
    pub(super) time_waits: TimeWaits,
    /// Bytes that went from one connection of the server to another within the kernel.
    pub(super) spliced: u64,
    /// Connections that the server has begun to make, and nobody has asked yet whose they are.
    pub connects: Vec<usize>,
    /// How often the server could not even begin to.
    pub(super) not_begun: u32,
    pub(super) trace: Option<Vec<String>>,
    pub(super) events_done: u64,
    /// Polls so far.
    pub(super) turns: u64,
    /// A signal is on its way.
    pub(super) interrupt_next: bool,
    /// No poll sleeps beyond this.
    pub(super) horizon: u64,
    pub(super) accepted: u64,
    /// When the last of them was.
    pub(super) accepted_at: u64,
    /// Hosts of backends that nothing befalls.
    pub(super) untroubled: Vec<usize>,
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
            upstreams: Vec::new(),
            connect_faults: ConnectFaults::default(),
            groups: Vec::new(),
            processes: vec![ProcessState::default()],
            started: Vec::new(),
            links: Vec::new(),
            worker_faults: WorkerFaults::default(),
            devices: Vec::new(),
            sources: None,
            secure: None,
            names_clients: false,
            namings: Vec::new(),
            drops: HostCounters::default(),
            // Of its own, so that runs without audits are the same as if there were none.
            sockets: Sockets::new(Rng::new(0)),
            names: NameServer::default(),
            lossy: faults.loss > 0,
            faults,
            canary: None,
            chance: rng.fork(),
            network: rng.fork(),
            time_waits: TimeWaits::default(),
            spliced: 0,
            connects: Vec::new(),
            not_begun: 0,
            trace: None,
            events_done: 0,
            turns: 0,
            interrupt_next: false,
            horizon: u64::MAX,
            accepted: 0,
            accepted_at: 0,
            untroubled: Vec::new(),
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
            trace.push(format!("{:>14.6} {}", in_seconds(self.now), what()));
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
            Event::Room(conn) => self.wake(conn, Side::Ours, wake::OUT),
            Event::Link(link, end) => self.link_arrive(link, end, self.now),
            Event::Unreachable(conn) => self.on_no_way(conn),
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
            conn.ends[Side::Theirs as usize] = None;
        }
    }

    /// The next poll that is to wait is interrupted by a signal.
    pub const fn interrupt_next(&mut self) {
        self.interrupt_next = true;
    }

    pub(super) fn send(&mut self, conn: usize, from: Side, segment: Segment) {
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
            if host.unreachable && from == Side::Ours {
                self.on_unreachable(conn);
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
            (_, None, Flags::Syn) if side != connection.opener => return self.on_syn(conn),
            (_, Some(TcpState::SynRecv), Flags::Ack | Flags::Fin | Flags::Probe) if !self.establish(conn) => {
                return;
            }
            (Side::Ours, Some(TcpState::SynSent), Flags::SynAck) => self.on_agreement(conn),
            (_, None, Flags::Rst) => return,
            (_, None, _) => return self.send(conn, side, reset(segment.ack)),
            _ => {}
        }
        let before = self.conns[conn].end(side).map(Sock::state);
        let woken = self.act(conn, side, |sock, now, out| sock.on_segment(segment, now, out));
        let after = self.conns[conn].end(side).map(Sock::state);
        let orderly = !self.conns[conn].oracle.killed;
        if side == Side::Ours && after == Some(TcpState::TimeWait) && before != after && orderly {
            let crossed = before == Some(TcpState::Closing);
            self.note(|| format!("c{conn} TIME_WAIT on the server (from {before:?})"));
            self.time_waits.all += 1;
            self.time_waits.crossed += u32::from(crossed);
            self.time_waits.forwarded += u32::from(!crossed && self.conns[conn].oracle.shut);
        }
        self.wake(conn, side, woken.unwrap_or_default());
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
            Side::Theirs => self.notify_client(conn),
            Side::Ours => {
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
    fn notify_client(&mut self, conn: usize) {
        if !std::mem::replace(&mut self.conns[conn].told, true) {
            let program = self.conns[conn].program;
            let thinks = self.network.within(20_000..200_000);
            self.schedule(self.now + thinks, Event::Program(program, super::peer::LOOK));
        }
    }
}
