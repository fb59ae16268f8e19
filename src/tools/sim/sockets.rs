//! The kernel's table of sockets, as `sock_diag` shows it: slice by slice, of what is true when a slice is made. A
//! row may be left out or come twice when others come and go between two slices.

use super::event_queue::Event;
use super::kernel::{SimEnv, SimKernel};
use super::rng::Rng;
use super::tcp::Sock;
use super::world::{Side, World};
use crate::core::tcp::TcpState;
use crate::net::{Address, Families, Fatal, Rows, SocketQuery, SocketRow, SocketTimer};
use std::collections::BTreeSet;

/// How much of this befalls the table. Chances are parts in a million.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// A row is left out.
    pub missed: u32,
    /// A row comes twice.
    pub twice: u32,
    /// The kernel does not answer, or stops to.
    pub refused: u32,
}

/// The table, and the dump of it that is under way.
pub(super) struct Sockets {
    pub(super) faults: Faults,
    /// Where the listeners listen.
    pub(super) addresses: Vec<Address>,
    /// There is something to read: the poller says so once.
    pub(super) ready: bool,
    /// The next connection of the dump under way.
    next: Option<usize>,
    ports: Vec<u16>,
    /// Chance that a client which does not read walks out without beginning to again.
    pub(super) walks_out: u32,
    /// Connections whose row the last dump has left out.
    pub(super) missed: BTreeSet<usize>,
    rng: Rng,
}

impl Sockets {
    pub(super) const fn new(rng: Rng) -> Self {
        Self {
            faults: Faults { missed: 0, twice: 0, refused: 0 },
            addresses: Vec::new(),
            ready: false,
            next: None,
            ports: Vec::new(),
            walks_out: 0,
            missed: BTreeSet::new(),
            rng,
        }
    }
}

impl Sockets {
    /// Whether a client walks out on its output, and how.
    pub(super) fn walks_out(&mut self) -> Option<Exit> {
        let exit = self.rng.pick(&[Exit::Reset, Exit::Finish]);
        self.rng.chance(self.walks_out).then_some(exit)
    }
}

/// How a client leaves that does not read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Exit {
    /// By a reset.
    Reset,
    /// It finishes sending, and goes on not reading for a while.
    Finish,
}

impl SimKernel {
    pub(super) fn start_dump(&self, query: &SocketQuery, families: Families) -> Result<(), Fatal> {
        let world = &mut self.stage.borrow_mut().world;
        world.note(|| format!("server asks for the socket table ({families:?})"));
        let sockets = &mut world.sockets;
        if sockets.rng.chance(sockets.faults.refused) {
            return Err(refusal());
        }
        (sockets.next, sockets.ports) = (Some(0), query.ports.clone());
        sockets.missed.clear();
        world.rows_later();
        Ok(())
    }

    pub(super) fn read_dump(&self, rows: &mut Vec<SocketRow>) -> Result<Rows, Fatal> {
        let SimEnv { world, .. } = &mut *self.stage.borrow_mut();
        let Some(from) = world.sockets.next else { return Ok(Rows::Done) };
        let (refused, later) = (world.sockets.faults.refused, 300_000);
        if world.sockets.rng.chance(refused) {
            world.sockets.next = None;
            return Err(refusal());
        }
        if world.sockets.rng.chance(later) {
            world.rows_later();
            return Ok(Rows::Later);
        }
        let until = (from + 1 + world.sockets.rng.index(40)).min(world.conns.len());
        for conn in from..until {
            world.show(conn, rows);
        }
        let over = until == world.conns.len();
        world.sockets.next = (!over).then_some(until);
        Ok(if over { Rows::Done } else { Rows::More })
    }

    pub(super) fn stop_dump(&self) {
        self.stage.borrow_mut().world.sockets.next = None;
    }
}

fn refusal() -> Fatal {
    Fatal { what: "read the socket table".to_owned(), why: "the simulation says so".to_owned() }
}

impl World {
    /// The rows come after some time.
    fn rows_later(&mut self) {
        let at = self.now + self.sockets.rng.within(1_000..5_000_000);
        self.schedule(at, Event::Sockets);
    }

    /// Shows a connection, if there is anything of it on the server.
    fn show(&mut self, conn: usize, rows: &mut Vec<SocketRow>) {
        let connection = &self.conns[conn];
        let Some(sock) = connection.end(Side::Ours).filter(|_| connection.opener == Side::Theirs) else {
            return;
        };
        let Some(Address::Tcp { socket: local, .. }) = self.sockets.addresses.get(connection.listener) else {
            return;
        };
        if sock.state() == TcpState::Close || !self.sockets.ports.contains(&local.port()) {
            return;
        }
        let number = u32::try_from(conn).unwrap_or(u32::MAX);
        let held = connection.oracle.accepted.is_some() && connection.oracle.closed.is_none();
        let row = SocketRow {
            state: sock.state(),
            local: *local,
            remote: connection.address,
            cookie: u64::from(number) + 1,
            inode: if held { number + 1 } else { 0 },
            uid: 0,
            unread: u32::try_from(sock.unread()).unwrap_or(u32::MAX),
            unacknowledged: u32::try_from(Sock::unacknowledged(sock)).unwrap_or(u32::MAX),
            timer: SocketTimer::None,
            expires_ms: 0,
            retries: 0,
            evidence: None,
            sent_ms: 0,
        };
        let Faults { missed, twice, .. } = self.sockets.faults;
        if self.sockets.rng.chance(missed) {
            self.sockets.missed.insert(conn);
            return;
        }
        rows.push(row);
        if self.sockets.rng.chance(twice) {
            rows.push(row);
        }
    }
}
