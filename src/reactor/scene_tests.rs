//! A server on the simulated kernel, and clients that do what a test tells them.

use super::parts::server_timers::ServerTimer;
use super::{NoReload, Reactor};
use crate::config::{Override, Sources, no_files, resolve_text};
use crate::core::table::Key;
use crate::core::time::Duration;
use crate::net::{Address, CloseHow, Interest, Kernel as _, Received, Sent, Token};
use crate::tools::sim::faults::Faults;
use crate::tools::sim::handshake::Upstream;
use crate::tools::sim::kernel::{SimEnv, SimKernel};
use crate::tools::sim::peer::ClientPool;
use crate::tools::sim::rng::Rng;
use crate::tools::sim::stream::SimStream;
use crate::tools::sim::tcp::{Sizes, Sock};
use crate::tools::sim::world::{Side, World};
use crate::workers::link::{CLAIMS_HIGH, Channel, ToSupervisor};
use std::cell::RefCell;
use std::rc::Rc;

const SIZES: Sizes =
    Sizes { output_max: 256 * 1024, input_max: 256 * 1024, segment_max: 16 * 1024, rto: 200_000_000 };
/// The listeners, in the order of the settings.
pub(super) const ECHO: usize = 0;
pub(super) const RESP: usize = 1;
pub(super) const ADMIN: usize = 2;

/// A server, and clients that do what a test tells them.
pub(crate) struct Scene {
    stage: Rc<RefCell<SimEnv>>,
    pub(super) reactor: Reactor<SimKernel>,
}

impl Scene {
    pub(super) fn new() -> Self {
        Self::listening(&["echo://127.0.0.1:7000", "resp://127.0.0.1:7001"])
    }

    /// With listeners at these addresses, and one of the admin interface behind them.
    pub(crate) fn listening(listen: &[&str]) -> Self {
        Self::among_faults(listen, Faults::none())
    }

    /// The same where things go wrong by themselves.
    pub(super) fn among_faults(listen: &[&str], faults: Faults) -> Self {
        let overrides =
            [("admin.address", "127.0.0.1:7070"), ("audit.interval", "off"), ("server.events", "64KiB")];
        let overrides = overrides.map(|(key, value)| Override {
            flag: "--set".to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
        });
        let listen = listen.iter().map(|&url| url.to_owned()).collect();
        let settings =
            resolve_text(&Sources { file: None, listen, overrides: overrides.to_vec() }, None, no_files)
                .unwrap()
                .settings;
        let world = World::new(faults, &mut Rng::new(1));
        let stage = Rc::new(RefCell::new(SimEnv::new(world, ClientPool::empty())));
        let kernel = SimKernel::new(Rc::clone(&stage));
        let reactor = Reactor::new(kernel, settings, 10_000, Box::new(NoReload)).unwrap();
        Self { stage, reactor }
    }

    /// Makes it the first of two workers. The supervisor's end of its link.
    pub(super) fn join(&mut self) -> SimStream {
        let [ours, theirs] = SimStream::linked(&mut self.stage.borrow_mut().world, &self.stage);
        let watched = self.reactor.cx.kernel.watch(&ours, Token::SUPERVISOR, Interest::ReadWrite);
        assert_eq!(watched, Ok(()));
        self.reactor.join(Channel::new(ours), 1, 2, None);
        theirs
    }

    /// The supervisor reads nothing, and is told more than the link takes.
    pub(super) fn let_supervisor_fall_behind(&mut self) {
        let link = self.reactor.cx.worker.link_mut().unwrap();
        let message =
            ToSupervisor::Presence { number: 1, id: b"x".into(), payload: vec![0; CLAIMS_HIGH / 8] };
        while link.keeps_up() {
            link.send(&message);
        }
        link.send(&message);
    }

    pub(super) fn connect(&mut self, listener: usize) -> usize {
        let world = &mut self.stage.borrow_mut().world;
        let host = world.add_host(20_000);
        world.connect(host, listener, 0, SIZES)
    }

    /// Connects so many, and lets the server take them.
    pub(crate) fn crowd(&mut self, listener: usize, count: usize) -> Vec<usize> {
        let all = (0..count).map(|_| self.connect(listener)).collect();
        let before = self.reactor.table.len();
        while self.reactor.table.len() < before + count {
            self.reactor.turn().unwrap();
        }
        all
    }

    /// The key of the newest connection.
    pub(super) fn newest(&self) -> Key {
        let keys = self.reactor.table.iter().map(|(key, _)| key);
        keys.max_by_key(|key| key.generation).expect("there is one")
    }

    pub(crate) fn send(&self, conn: usize, text: &str) {
        self.send_bytes(conn, text.as_bytes());
    }

    pub(super) fn send_bytes(&self, conn: usize, bytes: &[u8]) {
        let world = &mut self.stage.borrow_mut().world;
        let sent = world.act(conn, Side::Theirs, |sock, now, out| sock.send(bytes, now, out));
        assert_eq!(sent, Some(Sent::Bytes(bytes.len())));
    }

    /// An address that takes connections of the server, and never says anything.
    pub(super) fn add_upstream(&self, address: &str) {
        let world = &mut self.stage.borrow_mut().world;
        let socket = address.parse().unwrap();
        let address = Address::Tcp { socket, v6_only: false, interface: None };
        let host = world.add_host(20_000);
        world.add_upstream(Upstream { address, host, sizes: SIZES }, 16, None);
    }

    /// Nothing passes between the server and this client any more.
    pub(super) fn cut(&self, conn: usize) {
        let world = &mut self.stage.borrow_mut().world;
        world.cut(world.conn(conn).host(), true, false);
    }

    /// It does again.
    pub(super) fn mend(&self, conn: usize) {
        let world = &mut self.stage.borrow_mut().world;
        world.cut(world.conn(conn).host(), false, false);
    }

    /// The client sends its FIN.
    pub(super) fn finish(&self, conn: usize) {
        let world = &mut self.stage.borrow_mut().world;
        world.act(conn, Side::Theirs, Sock::finish);
    }

    /// The client closes its socket.
    pub(super) fn close(&self, conn: usize) {
        let world = &mut self.stage.borrow_mut().world;
        world.act(conn, Side::Theirs, |sock, now, out| sock.close(CloseHow::Plain, now, out));
    }

    /// A peer closes its socket with a reset.
    pub(super) fn abort(&self, conn: usize) {
        let world = &mut self.stage.borrow_mut().world;
        world.act(conn, Side::Theirs, |sock, now, out| sock.close(CloseHow::Reset, now, out));
    }

    /// Whether the server's FIN has come, behind all that was received.
    pub(super) fn is_closed(&self, conn: usize) -> bool {
        let world = &mut self.stage.borrow_mut().world;
        let received = world.act(conn, Side::Theirs, |sock, _, out| sock.recv(&mut [0], out));
        received == Some(Received::Eof)
    }

    pub(crate) fn recv(&self, conn: usize) -> Vec<u8> {
        let (mut all, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
        let mut world = self.stage.borrow_mut();
        while let Some(Received::Bytes(count)) =
            world.world.act(conn, Side::Theirs, |sock, _, out| sock.recv(&mut buffer, out))
        {
            all.extend_from_slice(&buffer[..count]);
        }
        all
    }

    /// Bytes of answers that were produced so far.
    fn produced(&self) -> u64 {
        let pending: usize = self.reactor.table.iter().map(|(_, conn)| conn.pending_output()).sum();
        self.reactor.cx.observer.counters.listeners.last().map_or(0, |admin| admin.traffic.bytes_out)
            + pending as u64
    }

    /// Some turns: enough for all to be done and delivered that was said before.
    pub(crate) fn come_to_rest(&mut self) {
        for _ in 0..20 {
            // Something to wake up for, where nothing happens.
            let soon = self.reactor.cx.now + Duration::from_millis(1);
            self.reactor.cx.timers.arm_no_later(ServerTimer::AcceptRetry, soon);
            self.turn();
        }
    }

    /// Turns for so long.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.reactor.cx.now + time;
        while self.reactor.cx.now < end {
            self.reactor.cx.timers.arm_no_later(ServerTimer::AcceptRetry, end);
            self.turn();
        }
    }

    /// Lets time pass without a turn. What becomes ready is forgotten.
    pub(super) fn poll_for(&mut self, time: Duration) {
        let end = self.reactor.cx.kernel.now() + time;
        while self.reactor.cx.kernel.now() < end {
            self.reactor.cx.kernel.poll(Some(time), &mut Vec::new()).unwrap();
        }
    }

    /// One turn; the bytes that it has produced.
    pub(super) fn turn(&mut self) -> u64 {
        let before = self.produced();
        self.reactor.turn().unwrap();
        assert_eq!(self.reactor.inspect().mistakes(), [""; 0]);
        self.produced().saturating_sub(before)
    }
}
