//! The server's side of a connection to a backend, call by call, without a reactor.

use super::backend::{Backends, Trouble};
use super::faults::Faults;
use super::handshake::{ConnectFaults, Upstream};
use super::kernel::{SimEnv, SimKernel, SimStream};
use super::manner::{Answers, Exit, Leaves, Manner, Manners, Reads};
use super::peer::ClientPool;
use super::relay::byte;
use super::rng::Rng;
use super::tcp::{Sizes, Sock};
use super::world::{Side, TimeWaits, World};
use crate::core::table::Token;
use crate::core::tcp::TcpState;
use crate::core::time::Duration;
use crate::net::{
    Address, CloseHow, ConnectError, ConnectSpec, Kernel as _, Readiness, Ready, Received, Sent, SocketError,
    SocketOptions, Stream as _,
};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

const SIZES: Sizes = Sizes { output_max: 8192, input_max: 8192, segment_max: 1460, rto: 200_000_000 };
const TOKEN: Token = Token(1 << 32);
const LATENCY: u64 = 1_000_000;

/// A kernel with one backend.
struct Setup {
    stage: Rc<RefCell<SimEnv>>,
    kernel: SimKernel,
}

impl Setup {
    fn new(manner: Manner) -> Self {
        Self::with(manner, Faults::none(), 16)
    }

    fn with(manner: Manner, faults: Faults, backlog: u32) -> Self {
        let mut world = World::new(faults, &mut Rng::new(1));
        let upstream = Upstream { address: address(), host: world.add_host(LATENCY), sizes: SIZES };
        let mut backends = Backends::default();
        let upstream = world.add_upstream(upstream, backlog, Some(backends.next_program()));
        backends.add(upstream, Manners::only(manner), Rng::new(2));
        let stage = Rc::new(RefCell::new(SimEnv { world, cast: ClientPool::empty(), backends }));
        Self { kernel: SimKernel::new(Rc::clone(&stage)), stage }
    }

    fn try_connect(&mut self, user_timeout: Option<Duration>) -> Result<SimStream, ConnectError> {
        let options = SocketOptions { user_timeout, ..SocketOptions::default() };
        self.kernel.connect(&ConnectSpec { to: &address(), from: None, options }, TOKEN)
    }

    fn connect(&mut self) -> SimStream {
        self.try_connect(None).expect("it begins to connect")
    }

    /// Connected, and told so.
    fn connected(&mut self) -> SimStream {
        let mut stream = self.connect();
        assert_eq!(self.ready(), [WRITABLE]);
        assert_eq!(stream.take_error(), None);
        stream
    }

    fn pass(&self, time: Duration) {
        let mut stage = self.stage.borrow_mut();
        let until = stage.world.instant() + time;
        stage.advance(until.as_nanos(), |_| false);
    }

    /// What a poll brings within a minute.
    fn ready(&mut self) -> Vec<Readiness> {
        let mut ready: Vec<Ready> = Vec::new();
        self.kernel.poll(Some(Duration::from_secs(60)), &mut ready).expect("it polls");
        assert!(ready.iter().all(|ready| ready.token == TOKEN));
        ready.into_iter().map(|ready| ready.readiness).collect()
    }

    /// Receives to the end, or until nothing comes for a while; how it ended, and how many bytes came before that.
    fn receive(&self, stream: &mut SimStream) -> (usize, Received) {
        let (mut all, mut buffer, mut idle) = (0, [0; 1000], 0);
        let salt = stream.conn() as u64 + 1;
        loop {
            match stream.recv(&mut buffer) {
                Received::Bytes(count) => {
                    let right = (all as u64..).zip(&buffer[..count]).all(|(at, got)| *got == byte(salt, at));
                    assert!(right, "what came is what the backend said");
                    (all, idle) = (all + count, 0);
                }
                Received::Interrupted => {}
                Received::WouldBlock if idle < 20 => {
                    idle += 1;
                    self.pass(Duration::from_millis(500));
                }
                end @ (Received::WouldBlock | Received::Eof | Received::Failed(_)) => return (all, end),
            }
        }
    }

    /// Sends so many bytes, as room comes.
    fn send(&self, stream: &mut SimStream, count: usize) -> usize {
        let (mut all, mut idle) = (0, 0);
        while all < count && idle < 20 {
            match stream.send(&vec![7; count - all]) {
                Sent::Bytes(taken) => (all, idle) = (all + taken, 0),
                Sent::Interrupted => {}
                Sent::WouldBlock => {
                    idle += 1;
                    self.pass(Duration::from_millis(500));
                }
                Sent::Failed(fault) => panic!("{fault:?} after {all} bytes"),
            }
        }
        all
    }

    fn befall(&self, trouble: Trouble) {
        let SimEnv { world, backends, .. } = &mut *self.stage.borrow_mut();
        backends.befall(0, trouble, world);
    }

    fn recover(&self) {
        let SimEnv { world, backends, .. } = &mut *self.stage.borrow_mut();
        backends.calm_down(world);
    }

    fn received(&self, conn: usize) -> u64 {
        self.stage.borrow().world.conn(conn).oracle.said.received
    }

    fn descriptors(&self) -> usize {
        self.stage.borrow().world.processes[0].descriptors
    }
}

fn address() -> Address {
    Address::Tcp { socket: SocketAddr::from(([10, 9, 9, 9], 9000)), v6_only: false, interface: None }
}

const WRITABLE: Readiness = Readiness::WRITABLE;

/// 0x201d of `epoll`.
fn refused() -> Readiness {
    WRITABLE | Readiness::READABLE | Readiness::READ_CLOSED | Readiness::WRITE_CLOSED | Readiness::ERROR
}

const REFUSAL: Option<SocketError> = Some(SocketError::Other(111));

#[test]
fn all_that_is_sent_is_answered_whatever_is_lost_on_the_way() {
    let faults = Faults { loss: 100_000, short_send: 200_000, interrupted: 100_000, ..Faults::none() };
    for backlog in [0, 16] {
        let mut setup = Setup::with(Manner::good(), faults.clone(), backlog);
        let mut stream = setup.connect();
        assert_eq!(setup.send(&mut stream, 5000), 5000);
        assert_eq!((setup.receive(&mut stream).0, setup.received(stream.conn())), (5000, 5000));
        stream.close(CloseHow::Linger2);
        assert_eq!(setup.descriptors(), 0);
    }
}

#[test]
fn an_answer_can_be_late_or_wait_for_our_end() {
    let late = Manner { answers: Answers::Late(Duration::from_secs(3)), ..Manner::good() };
    let mut setup = Setup::new(late);
    let mut stream = setup.connected();
    setup.send(&mut stream, 10);
    setup.pass(Duration::from_secs(2));
    assert_eq!(stream.recv(&mut [0; 10]), Received::WouldBlock);
    assert_eq!(setup.receive(&mut stream).0, 10);

    let mut setup = Setup::new(Manner { answers: Answers::AtEnd, ..Manner::good() });
    let mut stream = setup.connected();
    setup.send(&mut stream, 20_000);
    assert_eq!(setup.receive(&mut stream), (0, Received::WouldBlock));
    stream.shutdown_send();
    assert_eq!(setup.receive(&mut stream), (20_000, Received::Eof));
}

#[test]
fn a_greeting_comes_before_anything_was_said() {
    let mut setup = Setup::new(Manner { greets: 30_000, answers: Answers::Never, ..Manner::good() });
    let mut stream = setup.connected();
    assert_eq!(setup.receive(&mut stream), (30_000, Received::WouldBlock));
}

#[test]
fn each_way_to_go_first_is_seen_behind_the_last_byte() {
    let leaves = Leaves::AfterBytes(10);
    let ways = [
        (Exit::Close, Received::Eof),
        (Exit::Finish, Received::Eof),
        (Exit::Reset, Received::Failed(SocketError::Reset)),
    ];
    for (exit, expected) in ways {
        let mut setup = Setup::new(Manner { leaves, exit, ..Manner::good() });
        let mut stream = setup.connected();
        setup.send(&mut stream, 10);
        let (count, end) = setup.receive(&mut stream);
        assert_eq!(end, expected, "{exit:?}");
        // A reset takes along what is still under way.
        assert!(count == 10 || exit == Exit::Reset, "{exit:?}: {count}");
        if exit == Exit::Finish {
            assert_eq!(setup.send(&mut stream, 10_000), 10_000);
            setup.pass(Duration::from_secs(1));
            assert_eq!(setup.received(stream.conn()), 10_010, "it reads on");
        }
    }
    let mut setup = Setup::new(Manner { leaves: Leaves::AfterBytes(0), exit: Exit::Reset, ..Manner::good() });
    let mut stream = setup.connected();
    assert_eq!(setup.receive(&mut stream), (0, Received::Failed(SocketError::Reset)));
    let leaves = Leaves::AfterTime(Duration::from_secs(2));
    let mut setup = Setup::new(Manner { leaves, answers: Answers::Never, ..Manner::good() });
    let mut stream = setup.connected();
    assert_eq!(setup.receive(&mut stream), (0, Received::Eof));
}

#[test]
fn what_does_not_read_fills_up_and_what_sips_goes_on() {
    let stuck = Manner { reads: Reads::Never, ..Manner::good() };
    let mut setup = Setup::new(stuck);
    let mut stream = setup.connected();
    let taken = setup.send(&mut stream, 100_000);
    assert!((8192..=2 * 8192).contains(&taken), "{taken} fill both kernels");
    assert_eq!(setup.received(stream.conn()), 0);

    let sips = Manner { reads: Reads::ByteByByte(Duration::from_millis(10)), ..Manner::good() };
    let mut setup = Setup::new(sips);
    let mut stream = setup.connected();
    setup.send(&mut stream, 100);
    setup.pass(Duration::from_millis(500));
    assert!((40..60).contains(&setup.received(stream.conn())));
    assert_eq!(setup.receive(&mut stream).0, 100);
}

#[test]
fn a_backend_that_does_not_listen_refuses_until_it_does() {
    let mut setup = Setup::new(Manner::good());
    setup.befall(Trouble::Refuses);
    let mut stream = setup.connect();
    assert_eq!(setup.ready(), [refused()]);
    assert_eq!((stream.take_error(), stream.take_error()), (REFUSAL, None), "it is told once");
    drop(stream);
    setup.recover();
    setup.connected();
    assert_eq!(setup.descriptors(), 0);
}

#[test]
fn a_backend_that_hangs_is_connected_to_and_its_kernel_takes_bytes() {
    let mut setup = Setup::with(Manner::good(), Faults::none(), 0);
    setup.befall(Trouble::Hangs);
    let mut stream = setup.connected();
    assert_eq!(setup.send(&mut stream, 100), 100);
    assert_eq!(setup.receive(&mut stream), (0, Received::WouldBlock));
    // Its queue is full: a SYN is dropped, and comes again.
    let late = setup.try_connect(None).expect("it begins to connect");
    setup.pass(Duration::from_millis(500));
    assert_eq!(late.evidence().map(|evidence| evidence.state), Some(TcpState::SynSent));
    setup.recover();
    setup.pass(Duration::from_secs(2));
    assert_eq!(late.evidence().map(|evidence| evidence.state), Some(TcpState::Established));
    assert_eq!(setup.receive(&mut stream).0, 100);
}

#[test]
fn a_host_that_is_cut_off_answers_nothing() {
    let mut setup = Setup::new(Manner::good());
    setup.stage.borrow_mut().world.cut(0, true, false);
    let timeout = Duration::from_secs(5);
    let mut stream = setup.try_connect(Some(timeout)).expect("it begins to connect");
    setup.pass(Duration::from_millis(4990));
    assert_eq!((stream.take_error(), stream.send(b"x")), (None, Sent::WouldBlock));
    assert_eq!(setup.ready(), [refused()]);
    assert_eq!(stream.take_error(), Some(SocketError::TimedOut));
}

#[test]
fn a_router_that_knows_no_way_ends_the_attempt_or_names_the_cause_in_the_end() {
    for soft in [false, true] {
        let mut setup = Setup::new(Manner::good());
        setup.stage.borrow_mut().world.cut(0, true, true);
        setup.stage.borrow_mut().world.connect_faults.soft = if soft { 1_000_000 } else { 0 };
        let mut stream = setup.try_connect(Some(Duration::from_secs(5))).expect("it begins to connect");
        let begun = setup.stage.borrow().world.now();
        assert_eq!(setup.ready(), [refused()]);
        assert_eq!(stream.take_error(), Some(SocketError::Unreachable));
        let took = setup.stage.borrow().world.now() - begun;
        assert_eq!(took > 4_000_000_000, soft, "after {took} ns");
    }
}

#[test]
fn a_backend_that_dies_or_reboots_takes_its_connections_along() {
    let mut setup = Setup::new(Manner::good());
    let mut stream = setup.connected();
    setup.pass(Duration::from_secs(1));
    setup.befall(Trouble::Dies);
    assert_eq!(setup.receive(&mut stream), (0, Received::Eof));

    let mut setup = Setup::new(Manner { reads: Reads::Never, ..Manner::good() });
    let mut stream = setup.connected();
    setup.send(&mut stream, 10);
    setup.pass(Duration::from_secs(1));
    setup.befall(Trouble::Dies);
    assert_eq!(setup.receive(&mut stream), (0, Received::Failed(SocketError::Reset)), "it had not read all");

    let mut setup = Setup::new(Manner::good());
    let mut stream = setup.connected();
    setup.befall(Trouble::Reboots);
    assert_eq!(setup.receive(&mut stream), (0, Received::WouldBlock), "nothing tells");
    setup.recover();
    setup.send(&mut stream, 10);
    assert_eq!(setup.receive(&mut stream), (0, Received::Failed(SocketError::Reset)));
}

#[test]
fn what_is_wanting_here_is_told_at_once() {
    let mut setup = Setup::new(Manner::good());
    setup.stage.borrow_mut().world.connect_faults =
        ConnectFaults { no_port: 1_000_000, ..ConnectFaults::default() };
    assert_eq!(setup.try_connect(None).err(), Some(ConnectError::NoPort));
    let mut setup = Setup::with(Manner::good(), Faults { descriptors_max: 1, ..Faults::none() }, 16);
    let stream = setup.connect();
    assert_eq!(setup.try_connect(None).err(), Some(ConnectError::NoDescriptor));
    drop(stream);
    setup.connect();
    let mut setup = Setup::with(Manner::good(), Faults { unwatchable: 1_000_000, ..Faults::none() }, 16);
    assert_eq!(setup.try_connect(None).err(), Some(ConnectError::Socket(SocketError::Memory)));
    assert_eq!(setup.descriptors(), 0);
}

#[test]
fn an_attempt_given_up_leaves_nothing() {
    let mut setup = Setup::new(Manner::good());
    let stream = setup.connect();
    let conn = stream.conn();
    stream.close(CloseHow::Plain);
    setup.pass(Duration::from_secs(100));
    let stage = setup.stage.borrow();
    let ends = [Side::Theirs, Side::Ours].map(|side| stage.world.conn(conn).end(side).map(Sock::state));
    assert_eq!(ends, [Some(TcpState::Close); 2]);
    assert_eq!(stage.world.time_waits, TimeWaits::default());
}

#[test]
fn spurious_readiness_says_nothing_of_a_connect_that_goes_on() {
    let mut setup = Setup::new(Manner::good());
    setup.stage.borrow_mut().world.connect_faults.early = 1_000_000;
    setup.stage.borrow_mut().world.cut(0, true, false);
    let mut stream = setup.connect();
    let mut ready = Vec::new();
    setup.kernel.poll(Some(Duration::ZERO), &mut ready).expect("it polls");
    assert_eq!(ready, [Ready { token: TOKEN, readiness: WRITABLE }], "it looks connected");
    assert_eq!((stream.take_error(), stream.send(b"x")), (None, Sent::WouldBlock), "it is not");
}
