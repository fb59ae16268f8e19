//! The simulated kernel behind the traits of [`net`](crate::net): what the server calls.
//!
//! Here and in `stream` the faults of single calls are thrown in, and here the canaries sit. What happens underneath is
//! in `world` and `socket`.

use super::backend::Backends;
use super::epoll::{Source, Watch};
use super::faults::Canary;
use super::peer::ClientPool;
use super::socket::mask;
pub use super::stream::SimStream;
use super::stream::Wire;
use super::world::{Side, World};
use crate::core::table::Key;
use crate::core::time::{Duration, Instant};
use crate::net::{
    Accepted, Address, Answers, CloseHow, ConnectError, ConnectSpec, Families, Fatal, HostCounters, HostName,
    Interest, Kernel, ListenSpec, Listener, Peer, Polled, Queue, Ready, Resource, Rows, Signal, SocketError,
    SocketOptions, SocketQuery, SocketRow, Spliced, Token, Usage,
};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// The world and the programs in it.
pub struct SimEnv {
    /// Kernels, hosts, network.
    pub world: World,
    /// Client programs.
    pub cast: ClientPool,
    /// Backend programs.
    pub backends: Backends,
}

impl SimEnv {
    /// A world with clients, and no backends.
    pub fn new(world: World, cast: ClientPool) -> Self {
        Self { world, cast, backends: Backends::default() }
    }

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
                if Backends::has(program) {
                    self.backends.perform(program, tag, &mut self.world);
                } else {
                    self.cast.perform(program, tag, &mut self.world);
                }
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
    /// Little, as its peers send little.
    const BULK_BYTES: usize = 256;

    fn now(&mut self) -> Instant {
        let mut stage = self.stage.borrow_mut();
        // Asking takes time.
        let passes = stage.world.chance.within(0..2_000);
        stage.world.now += passes;
        stage.world.instant()
    }

    fn shared_clock(&mut self) -> u64 {
        let mut stage = self.stage.borrow_mut();
        stage.world.now += 1;
        stage.world.now
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

    fn connect(&mut self, spec: &ConnectSpec<'_>, token: Token) -> Result<SimStream, ConnectError> {
        let begun = self.stage.borrow_mut().world.connect_out(spec, self.process);
        let connected = begun.and_then(|conn| {
            let stream = SimStream::of_conn(Rc::clone(&self.stage), conn);
            self.watch(&stream, token, Interest::ReadWrite).map_err(ConnectError::Socket)?;
            Ok(stream)
        });
        if let Err(error) = &connected {
            let world = &mut self.stage.borrow_mut().world;
            world.not_begun += 1;
            world.note(|| format!("server cannot connect to {}: {error:?}", spec.to));
        }
        connected
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

    fn splice(&mut self, from: &SimStream, to: &SimStream, rest: &mut [u8]) -> Spliced {
        from.splice(to, rest)
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

    fn resolve(&mut self, names: &[HostName]) -> Answers {
        let world = &self.stage.borrow().world;
        world.names.answers(names, world.now())
    }

    fn start_resolving(&mut self, names: Vec<HostName>) -> Result<(), Fatal> {
        self.stage.borrow_mut().world.ask_names(names);
        Ok(())
    }

    fn resolved(&mut self) -> Option<Answers> {
        self.stage.borrow_mut().world.take_answers()
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
            world.act(conn, Side::Ours, |sock, now, out| sock.close(CloseHow::Reset, now, out));
            world.conns[conn].ends[Side::Ours as usize] = None;
            return Accepted::Aborted(ECONNABORTED);
        }
        world.processes[process].descriptors += 1;
        world.accepted += 1;
        world.accepted_at = world.now();
        let by = if process > 0 { format!(" by p{process}") } else { String::new() };
        world.note(|| format!("c{conn} is accepted{by}"));
        let truth = &mut world.conns[conn].oracle;
        (truth.accepted, truth.last_read, truth.process) = (Some(now), now, process);
        let peer = Peer::new(world.conns[conn].address);
        Accepted::Stream(SimStream::of_conn(Rc::clone(&self.stage), conn), peer)
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
