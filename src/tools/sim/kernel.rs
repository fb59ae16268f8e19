//! The simulated kernel behind the traits of [`net`](crate::net): what the server calls.
//!
//! Here the faults of single calls are thrown in, and here the canaries sit. What happens underneath is in
//! `world` and `socket`.

use super::epoll::{Source, Watch};
use super::faults::Canary;
use super::peer::ClientPool;
use super::socket::mask;
use super::tcp::Sock;
use super::world::{Side, World};
use crate::core::table::Key;
use crate::core::tcp::{TcpSnapshot, TcpState};
use crate::core::time::{Duration, Instant};
use crate::net::{
    Accepted, Address, CloseHow, ConnectError, ConnectSpec, Families, Fatal, HostCounters, Interest,
    Keepalive, Kernel, ListenSpec, Listener, Peer, Polled, Queue, Ready, Received, Resource, Rows, Sent,
    Signal, SocketError, SocketOptions, SocketQuery, SocketRow, Stream, Token, Usage,
};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

/// The world and the programs in it.
pub struct SimEnv {
    /// Kernels, hosts, network.
    pub world: World,
    /// Client programs.
    pub cast: ClientPool,
}

impl SimEnv {
    /// Lets everything happen that is due by `until`, and stops there or, if `stop` says so, before.
    pub fn advance(&mut self, until: u64, stop: impl Fn(&World) -> bool) {
        while !stop(&self.world) {
            match self.world.next_event() {
                Some(at) if at <= until => self.world.now = self.world.now.max(at),
                Some(_) | None => {
                    if until != u64::MAX {
                        self.world.now = self.world.now.max(until);
                    }
                    return;
                }
            }
            if let Some((program, tag)) = self.world.step() {
                self.cast.perform(program, tag, &mut self.world);
            }
        }
    }
}

/// The poller and the clock.
pub struct SimKernel {
    pub(super) stage: Rc<RefCell<SimEnv>>,
    /// On whose behalf it is called.
    process: usize,
    /// Listening sockets that were opened for this process, in the order in which it will ask for them.
    handed: VecDeque<SimListener>,
    reserve: bool,
}

impl SimKernel {
    /// A kernel on `stage`, as its first process sees it.
    pub const fn new(stage: Rc<RefCell<SimEnv>>) -> Self {
        Self { stage, process: 0, handed: VecDeque::new(), reserve: true }
    }

    /// The same as another process sees it, which was handed these listening sockets.
    pub(super) fn of_process(stage: Rc<RefCell<SimEnv>>, process: usize, handed: Vec<SimListener>) -> Self {
        Self { stage, process, handed: handed.into(), reserve: true }
    }
}

const fn bits(interest: Interest) -> u8 {
    match interest {
        Interest::Read => mask::IN | mask::RDHUP | mask::PRI,
        Interest::ReadWrite => mask::IN | mask::RDHUP | mask::PRI | mask::OUT,
    }
}

impl Kernel for SimKernel {
    type Listener = SimListener;
    type Stream = SimStream;

    fn now(&mut self) -> Instant {
        let mut stage = self.stage.borrow_mut();
        // Asking takes time.
        let passes = stage.world.chance.within(0..2_000);
        stage.world.now += passes;
        stage.world.instant()
    }

    fn poll(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> Result<Polled, Fatal> {
        let mut stage = self.stage.borrow_mut();
        // Among several processes, its time comes when something was found for it.
        if let Some(mut brought) = stage.world.processes[self.process].brought.take() {
            ready.append(&mut brought);
            return Ok(Polled::All);
        }
        Ok(stage.poll(timeout, ready))
    }

    fn listen(&mut self, spec: &ListenSpec, token: Token) -> Result<SimListener, Fatal> {
        let watch = Watch { process: self.process, token: token.0, interest: mask::IN, queued: false };
        let mut listener = if let Some(handed) = self.handed.pop_front() {
            handed
        } else {
            let world = &mut self.stage.borrow_mut().world;
            let index = world.add_listener(spec, None);
            world.group(spec, vec![index]);
            SimListener::new(Rc::clone(&self.stage), index, spec.address.clone())
        };
        listener.watched = true;
        let world = &mut self.stage.borrow_mut().world;
        world.listeners[listener.index].watch = Some(watch);
        // EPOLL_CTL_ADD looks at once.
        if !world.listeners[listener.index].queue.is_empty() {
            world.queue_source(Source::Listener(listener.index));
        }
        Ok(listener)
    }

    fn connect(&mut self, _: &ConnectSpec<'_>, _: Token) -> Result<SimStream, ConnectError> {
        Err(ConnectError::Refused)
    }

    fn could_be_own_peer(&self, _: &Address) -> bool {
        false
    }

    fn watch(&mut self, stream: &SimStream, token: Token, interest: Interest) -> Result<(), SocketError> {
        let mut stage = self.stage.borrow_mut();
        let world = &mut stage.world;
        let process = self.process;
        let watch = Watch { process, token: token.0, interest: bits(interest), queued: false };
        let conn = match stream.what {
            Wire::Conn(conn) => conn,
            Wire::Link(link, end) => {
                world.link_watch(link, end, watch);
                return Ok(());
            }
        };
        world.conns[conn].oracle.token = Some(token.0);
        let generation = Key::from_token(token).generation as usize;
        let named = &mut world.processes[process].named;
        if named.len() <= generation {
            named.resize(generation + 1, usize::MAX);
        }
        named[generation] = conn;
        if world.chance.chance(world.faults.unwatchable) {
            world.conns[conn].oracle.unwatchable = true;
            world.note(|| format!("c{conn} cannot be watched"));
            return Err(SocketError::Memory);
        }
        world.conns[conn].watch = Some(watch);
        world.queue_if_ready(conn);
        Ok(())
    }

    fn rewatch(&mut self, stream: &SimStream, token: Token, interest: Interest) -> Result<(), SocketError> {
        let mut stage = self.stage.borrow_mut();
        let world = &mut stage.world;
        let conn = stream.conn();
        if let Some(watch) = &mut world.conns[conn].watch {
            (watch.token, watch.interest) = (token.0, bits(interest));
        }
        world.queue_if_ready(conn);
        Ok(())
    }

    fn next_signal(&mut self) -> Option<Signal> {
        self.stage.borrow_mut().world.processes[self.process].signals.pop_front()
    }

    fn host_counters(&mut self) -> Option<HostCounters> {
        Some(self.stage.borrow().world.drops)
    }

    fn usage(&mut self) -> Option<Usage> {
        None
    }

    fn memory(&self) -> Option<u64> {
        None
    }

    fn release_reserve(&mut self) -> bool {
        std::mem::replace(&mut self.reserve, false)
    }

    fn retake_reserve(&mut self) {
        let stage = self.stage.borrow();
        self.reserve |= stage.world.processes[self.process].descriptors < stage.world.faults.descriptors_max;
    }

    fn start_sockets(&mut self, query: &SocketQuery, families: Families) -> Result<(), Fatal> {
        self.start_dump(query, families)
    }

    fn read_sockets(&mut self, rows: &mut Vec<SocketRow>) -> Result<Rows, Fatal> {
        self.read_dump(rows)
    }

    fn stop_sockets(&mut self) {
        self.stop_dump();
    }
}

/// A listening socket.
pub struct SimListener {
    stage: Rc<RefCell<SimEnv>>,
    index: usize,
    address: Address,
    /// Its process watches it.
    watched: bool,
}

impl SimListener {
    pub(super) const fn new(stage: Rc<RefCell<SimEnv>>, index: usize, address: Address) -> Self {
        Self { stage, index, address, watched: false }
    }

    pub(super) const fn index(&self) -> usize {
        self.index
    }
}

impl Listener for SimListener {
    type Stream = SimStream;

    fn try_accept(&mut self) -> Accepted<SimStream> {
        let mut stage = self.stage.borrow_mut();
        let world = &mut stage.world;
        let process = world.listeners[self.index].watch.map_or(0, |watch| watch.process);
        if !world.processes[process].calls() {
            return Accepted::WouldBlock;
        }
        if world.chance.chance(world.faults.interrupted) {
            return Accepted::Interrupted;
        }
        let waiting = world.listeners[self.index].queue.len();
        if waiting == 0 {
            return Accepted::WouldBlock;
        }
        if world.canary == Some(Canary::ForgottenQueue) && waiting > 1 && world.chance.chance(500_000) {
            return Accepted::WouldBlock;
        }
        if world.processes[process].descriptors >= world.faults.descriptors_max {
            return Accepted::Exhausted(Resource::ProcessFiles);
        }
        if world.chance.chance(world.faults.exhausted) {
            let resource = world.chance.pick(&[Resource::SystemFiles, Resource::Memory]);
            return Accepted::Exhausted(resource);
        }
        let conn = world.listeners[self.index].queue.pop_front().expect("one waits");
        let now = world.now;
        if world.chance.chance(world.faults.aborted) {
            const ECONNABORTED: i32 = 103;
            world.note(|| format!("c{conn} is aborted in the queue"));
            world.act(conn, Side::Server, |sock, now, out| sock.close(CloseHow::Reset, now, out));
            world.conns[conn].ends[Side::Server as usize] = None;
            return Accepted::Aborted(ECONNABORTED);
        }
        world.processes[process].descriptors += 1;
        world.accepted += 1;
        let by = if process > 0 { format!(" by p{process}") } else { String::new() };
        world.note(|| format!("c{conn} is accepted{by}"));
        let truth = &mut world.conns[conn].oracle;
        (truth.accepted, truth.last_read, truth.process) = (Some(now), now, process);
        let peer = Peer::new(world.conns[conn].address);
        let what = Wire::Conn(conn);
        Accepted::Stream(SimStream { stage: Rc::clone(&self.stage), what, open: true }, peer)
    }

    fn queue(&self) -> Option<Queue> {
        let stage = self.stage.borrow();
        let listener = &stage.world.listeners[self.index];
        let length = u32::try_from(listener.queue.len()).unwrap_or(u32::MAX);
        Some(Queue { length, limit: listener.backlog })
    }

    fn address(&self) -> &Address {
        &self.address
    }

    fn set_options(&mut self, options: &SocketOptions) {
        self.stage.borrow_mut().world.listeners[self.index].options = *options;
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        // It is borrowed only while a panic goes through the world.
        if let Ok(mut stage) = self.stage.try_borrow_mut() {
            stage.world.drop_listener(self.index, self.watched);
        }
    }
}

/// A connected socket of the server.
pub struct SimStream {
    stage: Rc<RefCell<SimEnv>>,
    what: Wire,
    open: bool,
}

/// What a socket of the server is an end of.
#[derive(Clone, Copy)]
enum Wire {
    /// A connection of a client.
    Conn(usize),
    /// A link between processes, and which end.
    Link(usize, usize),
}

impl SimStream {
    /// An end of a link.
    pub(super) const fn of_link(stage: Rc<RefCell<SimEnv>>, link: usize, end: usize) -> Self {
        Self { stage, what: Wire::Link(link, end), open: true }
    }

    /// Which connection it is.
    ///
    /// # Panics
    /// For an end of a link between processes: it has nothing of TCP.
    pub fn conn(&self) -> usize {
        match self.what {
            Wire::Conn(conn) => conn,
            Wire::Link(..) => unreachable!("a link between processes has nothing of TCP"),
        }
    }

    fn let_go(&mut self, how: CloseHow) {
        // It is borrowed only while a panic goes through the world.
        if std::mem::take(&mut self.open)
            && let Ok(mut stage) = self.stage.try_borrow_mut()
        {
            match self.what {
                Wire::Conn(conn) => stage.world.close_stream(conn, how),
                Wire::Link(link, end) => stage.world.link_close(link, end),
            }
        }
    }
}

impl Drop for SimStream {
    /// The descriptor goes: a plain close.
    fn drop(&mut self) {
        self.let_go(CloseHow::Plain);
    }
}

impl Stream for SimStream {
    fn recv(&mut self, buffer: &mut [u8]) -> Received {
        let mut stage = self.stage.borrow_mut();
        let world = &mut stage.world;
        let conn = match self.what {
            Wire::Conn(conn) => conn,
            Wire::Link(link, end) => return world.link_recv(link, end, buffer),
        };
        if !world.processes[world.conns[conn].oracle.process].calls() {
            return Received::WouldBlock;
        }
        if world.chance.chance(world.faults.interrupted) {
            return Received::Interrupted;
        }
        if world.chance.chance(world.faults.memory) {
            return Received::Failed(SocketError::Memory);
        }
        let waiting = world.conns[conn].end(Side::Server).map_or(0, Sock::unread).min(buffer.len());
        let short = waiting > 1 && world.chance.chance(world.faults.short_recv);
        let most = if short { 1 + world.chance.index(waiting - 1) } else { buffer.len() };
        let mut got = world
            .act(conn, Side::Server, |sock, _, out| sock.recv(&mut buffer[..most], out))
            .unwrap_or(Received::Eof);
        if short {
            // It may only take less if the rest came after it looked; and then that is an edge.
            world.queue_source(Source::Conn(conn));
        }
        match (world.canary, &mut got) {
            (Some(Canary::LostByte), Received::Bytes(count)) if *count > 1 && world.chance.chance(10_000) => {
                *count -= 1;
            }
            (Some(Canary::ResetLooksLikeFin), Received::Failed(SocketError::Reset)) => got = Received::Eof,
            _ => {}
        }
        world.note(|| format!("c{conn} server recv {got:?}"));
        world.conns[conn].oracle.on_recv(&got, world.now);
        if matches!(got, Received::Bytes(_))
            && let Some(device) = world.devices.iter_mut().find(|device| device.channel == Some(conn))
        {
            device.beaten = world.now;
        }
        got
    }

    fn send(&mut self, bytes: &[u8]) -> Sent {
        let mut stage = self.stage.borrow_mut();
        let world = &mut stage.world;
        let conn = match self.what {
            Wire::Conn(conn) => conn,
            Wire::Link(link, end) => return world.link_send(link, end, bytes),
        };
        if !world.processes[world.conns[conn].oracle.process].calls() {
            return Sent::WouldBlock;
        }
        if world.chance.chance(world.faults.interrupted) {
            return Sent::Interrupted;
        }
        let short = bytes.len() > 1 && world.chance.chance(world.faults.short_send);
        let most = if short { 1 + world.chance.index(bytes.len() - 1) } else { bytes.len() };
        let sent = world
            .act(conn, Side::Server, |sock, now, out| {
                sock.nospace |= short;
                sock.send(&bytes[..most], now, out)
            })
            .unwrap_or(Sent::Failed(SocketError::BrokenPipe));
        if short {
            let at = world.now + world.chance.within(0..5_000_000);
            world.schedule(at, super::world::Event::Room(conn));
        }
        world.note(|| format!("c{conn} server send {} of {}: {sent:?}", most, bytes.len()));
        world.conns[conn].oracle.on_send(&sent, world.now);
        sent
    }

    fn send_oob(&mut self, _: u8) -> Sent {
        // The urgent byte is not in the stream that a plain reader sees; what matters here is that a
        // segment leaves and is acknowledged, or is not.
        let mut stage = self.stage.borrow_mut();
        let (world, conn) = (&mut stage.world, self.conn());
        let sent = world.act(conn, Side::Server, Sock::send_urgent);
        let sent = sent.unwrap_or(Sent::Failed(SocketError::BrokenPipe));
        if let Sent::Failed(fault) = sent {
            world.conns[conn].oracle.failed.get_or_insert(fault);
        }
        world.note(|| format!("c{conn} server send_oob: {sent:?}"));
        sent
    }

    fn shutdown_send(&mut self) {
        let mut stage = self.stage.borrow_mut();
        let (world, conn) = (&mut stage.world, self.conn());
        world.note(|| format!("c{conn} server shutdown(WR)"));
        world.shut_down(conn, Side::Server);
    }

    fn local_address(&self) -> Option<SocketAddr> {
        None
    }

    fn is_own_peer(&self) -> bool {
        false
    }

    fn take_error(&mut self) -> Option<SocketError> {
        let mut stage = self.stage.borrow_mut();
        let (world, conn) = (&mut stage.world, self.conn());
        let fault = world.act(conn, Side::Server, |sock, _, _| sock.take_error()).flatten();
        if let Some(fault) = fault {
            world.conns[conn].oracle.failed.get_or_insert(fault);
        }
        world.note(|| format!("c{conn} server SO_ERROR {fault:?}"));
        fault
    }

    fn evidence(&self) -> Option<TcpSnapshot> {
        let mut stage = self.stage.borrow_mut();
        let (world, conn) = (&mut stage.world, self.conn());
        let now = world.now;
        let mut evidence = world.conns[conn].end(Side::Server)?.evidence(now);
        if world.canary == Some(Canary::DeafEvidence) {
            evidence.last_ack_recv_ms = evidence.last_ack_recv_ms.saturating_add(3_600_000);
        }
        if world.canary == Some(Canary::ClosedEvidence) && world.sockets.missed.contains(&conn) {
            evidence.state = TcpState::Close;
        }
        world.note(|| format!("c{conn} server TCP_INFO {evidence}"));
        Some(evidence)
    }

    fn probe_peer(&mut self) {
        let mut stage = self.stage.borrow_mut();
        let (world, conn) = (&mut stage.world, self.conn());
        world.note(|| format!("c{conn} server probes its peer"));
        world.act(conn, Side::Server, |sock, now, _| sock.probe_peer(now));
    }

    fn restore_keepalive(&mut self, keepalive: Option<Keepalive>) {
        let mut stage = self.stage.borrow_mut();
        stage.world.conns[self.conn()].oracle.revived = true;
        stage.world.act(self.conn(), Side::Server, |sock, now, _| sock.restore_keepalive(keepalive, now));
    }

    fn set_keepalive(&mut self, keepalive: Keepalive) {
        let mut stage = self.stage.borrow_mut();
        stage.world.act(self.conn(), Side::Server, |sock, now, _| {
            sock.options.keepalive = Some(keepalive);
            sock.restore_keepalive(Some(keepalive), now);
        });
    }

    fn set_user_timeout(&mut self, timeout: Duration) {
        let mut stage = self.stage.borrow_mut();
        stage.world.act(self.conn(), Side::Server, |sock, _, _| sock.set_user_timeout(timeout));
    }

    fn close(mut self, how: CloseHow) {
        self.let_go(how);
    }
}
