//! The simulated kernel, with no faults: what it does by itself.

use crate::lab::{Lab, Peer};
use linger::core::tcp::TcpState;
use linger::core::time::Duration;
use linger::net::{Address, CloseHow, Peer as PeerAddress, Received, Sent, SocketError};
use linger::tools::sim::faults::Faults;
use linger::tools::sim::handshake::Upstream;
use linger::tools::sim::kernel::{SimEnv, SimKernel, SimStream};
use linger::tools::sim::peer::ClientPool;
use linger::tools::sim::rng::Rng;
use linger::tools::sim::tcp::{Outbox, Sizes, Sock};
use linger::tools::sim::world::{Side, World};
use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

/// What two kernels on one host are like to each other. The first retransmission is Linux's least.
const SIZES: Sizes =
    Sizes { output_max: 64 * 1024, input_max: 64 * 1024, segment_max: 16 * 1024, rto: 200_000_000 };
/// One way, in nanoseconds.
const LATENCY: u64 = 20_000;
/// Longer than anything takes that was caused, shorter than any timer.
const REST: Duration = Duration::from_millis(20);

pub struct Simulated {
    stage: Rc<RefCell<SimEnv>>,
    kernel: SimKernel,
    /// What listens, of the server's upstreams.
    upstream: Option<usize>,
}

impl Simulated {
    pub fn new() -> Self {
        let world = World::new(Faults::none(), &mut Rng::new(1));
        let stage = Rc::new(RefCell::new(SimEnv::new(world, ClientPool::empty())));
        let kernel = SimKernel::new(Rc::clone(&stage));
        Self { stage, kernel, upstream: None }
    }
}

impl Lab for Simulated {
    type Kernel = SimKernel;
    type Peer = SimPeer;

    fn kernel(&mut self) -> &mut SimKernel {
        &mut self.kernel
    }

    fn another_kernel(&mut self) -> SimKernel {
        SimKernel::new(Rc::clone(&self.stage))
    }

    fn addresses(&self) -> [Address; 2] {
        [7000, 7001].map(|port| {
            let socket = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            Address::Tcp { socket, v6_only: false, interface: None }
        })
    }

    fn connect_to(&mut self, listener: usize, _: &Address) -> SimPeer {
        let world = &mut self.stage.borrow_mut().world;
        // Each client has a host of its own, and so a cable.
        let host = world.add_host(LATENCY);
        SimPeer { stage: Rc::clone(&self.stage), connection: world.connect(host, listener, 0, SIZES) }
    }

    fn listen(&mut self, backlog: u32) -> Address {
        let world = &mut self.stage.borrow_mut().world;
        let socket = SocketAddr::from((Ipv4Addr::LOCALHOST, 9000));
        let address = Address::Tcp { socket, v6_only: false, interface: None };
        let upstream = Upstream { address: address.clone(), host: world.add_host(LATENCY), sizes: SIZES };
        self.upstream = Some(world.add_upstream(upstream, backlog, None));
        address
    }

    fn refuse(&mut self) {
        let upstream = self.upstream.expect("it has listened");
        self.stage.borrow_mut().world.set_listening(upstream, false);
    }

    fn take(&mut self) -> Option<(usize, SimPeer)> {
        let connection = self.stage.borrow_mut().world.take(self.upstream?)?;
        Some((connection, SimPeer { stage: Rc::clone(&self.stage), connection }))
    }

    fn connects_out(&mut self, _: &SimStream, _: &Address) {}

    fn outgoing(&mut self) -> usize {
        *self.stage.borrow().world.connects.last().expect("one was begun")
    }

    fn number_of(&self, stream: &SimStream, _: PeerAddress) -> usize {
        stream.conn()
    }

    fn finish(&mut self, stream: &SimStream) {
        self.stage.borrow_mut().world.shut_down(stream.conn(), Side::Ours);
    }

    fn settle(&mut self) {
        self.pass(REST);
    }

    fn pass(&mut self, time: Duration) {
        let mut stage = self.stage.borrow_mut();
        let until = stage.world.instant() + time;
        stage.advance(until.as_nanos(), |_| false);
    }

    fn states(&mut self, connection: usize) -> [TcpState; 2] {
        let stage = self.stage.borrow();
        let connection = stage.world.conn(connection);
        [Side::Theirs, Side::Ours].map(|side| connection.end(side).map_or(TcpState::Close, Sock::state))
    }

    fn plug(&mut self, connection: usize, plugged: bool) {
        let world = &mut self.stage.borrow_mut().world;
        world.cut(world.conn(connection).host(), !plugged, false);
    }

    /// Its clock goes when it is told to.
    fn lateness(&self) -> Duration {
        Duration::ZERO
    }

    fn interrupt(&mut self) {
        self.stage.borrow_mut().world.interrupt_next();
    }
}

/// A client's end in the simulation: what its program would call.
pub struct SimPeer {
    stage: Rc<RefCell<SimEnv>>,
    connection: usize,
}

impl SimPeer {
    fn act<R>(&self, act: impl FnOnce(&mut Sock, u64, &mut Outbox) -> R) -> R {
        let done = self.stage.borrow_mut().world.act(self.connection, Side::Theirs, act);
        done.expect("nobody has taken the client's end away")
    }
}

impl Peer for SimPeer {
    fn send(&mut self, bytes: &[u8]) -> Sent {
        self.act(|sock, now, out| sock.send(bytes, now, out))
    }

    fn send_oob(&mut self) -> Sent {
        self.act(Sock::send_urgent)
    }

    fn recv(&mut self, buffer: &mut [u8]) -> Received {
        self.act(|sock, _, out| sock.recv(buffer, out))
    }

    fn finish(&mut self) {
        self.stage.borrow_mut().world.shut_down(self.connection, Side::Theirs);
    }

    fn take_error(&mut self) -> Option<SocketError> {
        self.act(|sock, _, _| sock.take_error())
    }

    fn close(self, how: CloseHow) {
        self.act(|sock, now, out| sock.close(how, now, out));
    }
}
