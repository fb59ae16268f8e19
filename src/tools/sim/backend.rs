//! Backend programs: the servers that ours connects to. Each listens at an upstream of the world, has troubles of its
//! own, and treats every connection in a manner that the seed draws.
//!
//! What a backend was sent and has said is noted in [`Said`](super::peer::Said), as what a client does.

use super::manner::{Answers, Exit, Leaves, Manner, Manners, Reads};
use super::oracle::nanos;
use super::peer::LOOK;
use super::relay::byte;
use super::rng::Rng;
use super::tcp::Sock;
use super::world::{Event, Side, World};
use crate::core::time::Duration;
use crate::net::{CloseHow, Received, Sent};
use std::collections::BTreeMap;

/// Programs from this number on are backends.
pub(super) const BACKENDS: usize = 2 << 20;
/// Programs from this number on are connections of theirs: each is asked on its own.
pub(super) const SESSIONS: usize = 3 << 20;
/// A connection waits in the accept queue.
pub(super) const ACCEPT: u32 = 1;
const TROUBLE: u32 = 2;
const RECOVER: u32 = 3;
/// What a connection says late is due.
const ANSWER: u32 = 1;
const LEAVE: u32 = 2;
/// A byte more can be read.
const SIP: u32 = 3;

/// What befalls a backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// It listens no more for a while; those that it has stay.
    Refuses,
    /// It dies, and is started again.
    Dies,
    /// It stops: accepts and reads nothing, while its kernel lives on.
    Hangs,
    /// Its cable is pulled.
    Cut,
    /// Its host is switched off, and comes back knowing nothing.
    Reboots,
}

impl Trouble {
    const ALL: [Self; 5] = [Self::Refuses, Self::Dies, Self::Hangs, Self::Cut, Self::Reboots];
}

/// A backend.
#[derive(Debug)]
pub struct Backend {
    /// Where it listens.
    pub upstream: usize,
    /// How it treats its connections.
    pub manners: Manners,
    /// What befalls it, and how long at most after the one before.
    pub troubles: Vec<Trouble>,
    /// Time between two troubles, at most.
    pub apart: Duration,
    trouble: Option<Trouble>,
    rng: Rng,
}

impl Backend {
    fn hangs(&self) -> bool {
        self.trouble == Some(Trouble::Hangs)
    }
}

/// A connection, as its backend has it.
#[derive(Debug)]
struct Session {
    backend: usize,
    manner: Manner,
    /// Bytes that it means to say, and its kernel has not taken.
    unsent: u64,
    /// Bytes that it will say once it is time to.
    late: u64,
    /// It has finished sending.
    finished: bool,
    /// It has read the other's FIN.
    ended: bool,
    /// It has read a byte, and takes its time until the next.
    sips: bool,
}

/// All backends, and their connections.
#[derive(Debug, Default)]
pub struct Backends {
    servers: Vec<Backend>,
    sessions: BTreeMap<usize, Session>,
    /// Nothing befalls anybody any more.
    calm: bool,
}

impl Backends {
    /// Adds one, which has no trouble before `apart` says so.
    pub fn add(&mut self, upstream: usize, manners: Manners, rng: Rng) -> &mut Backend {
        let (troubles, apart) = (Vec::new(), Duration::ZERO);
        self.servers.push(Backend { upstream, manners, troubles, apart, trouble: None, rng });
        self.servers.last_mut().expect("it was added")
    }

    /// The number of the program of the next one that is added.
    pub const fn next_program(&self) -> usize {
        BACKENDS + self.servers.len()
    }

    /// Draws what befalls each, from now on.
    pub fn draw_troubles(&mut self, rng: &mut Rng, duration: Duration, world: &mut World) {
        for (index, backend) in self.servers.iter_mut().enumerate() {
            backend.troubles = Trouble::ALL.into_iter().filter(|_| rng.chance(250_000)).collect();
            backend.apart = rng.between(duration / 20, duration / 2);
            if backend.troubles.is_empty() {
                world.untroubled.push(world.upstreams[backend.upstream].0.host);
            } else {
                let first = world.now() + rng.within(0..nanos(backend.apart).max(1));
                world.schedule(first, Event::Program(BACKENDS + index, TROUBLE));
            }
        }
    }

    /// Whether a program is one of these.
    pub(super) const fn has(program: usize) -> bool {
        program >= BACKENDS
    }

    /// Lets a backend, or a connection of one, do what it is due to.
    pub(super) fn perform(&mut self, program: usize, tag: u32, world: &mut World) {
        if let Some(conn) = program.checked_sub(SESSIONS) {
            return self.perform_session(conn, tag, world);
        }
        let backend = program - BACKENDS;
        match tag {
            ACCEPT => self.accept(backend, world),
            TROUBLE if !self.calm => self.begin_trouble(backend, world),
            RECOVER => self.recover(backend, world),
            _ => {}
        }
    }

    fn accept(&mut self, index: usize, world: &mut World) {
        loop {
            let backend = &mut self.servers[index];
            if backend.hangs() {
                return;
            }
            let Some(conn) = world.take(backend.upstream) else { return };
            let manner = backend.manners.draw(&mut backend.rng);
            world.note(|| format!("c{conn} is accepted by backend {index}: {manner:?}"));
            if let Leaves::AfterTime(life) = manner.leaves {
                later(conn, LEAVE, life, world);
            }
            let unsent = manner.greets;
            let session = Session {
                backend: index,
                manner,
                unsent,
                late: 0,
                finished: false,
                ended: false,
                sips: false,
            };
            self.sessions.insert(conn, session);
            self.look(conn, world);
        }
    }

    fn perform_session(&mut self, conn: usize, tag: u32, world: &mut World) {
        if tag == LOOK {
            world.conns[conn].told = false;
        }
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        if self.servers[session.backend].hangs() {
            return;
        }
        match tag {
            ANSWER => session.unsent += std::mem::take(&mut session.late),
            LEAVE if session.manner.leaves != Leaves::Never => {
                session.manner.reads = Reads::All;
                return self.leave(conn, world);
            }
            SIP => session.sips = false,
            LOOK | LEAVE => {}
            _ => unreachable!("nothing else is scheduled"),
        }
        self.look(conn, world);
    }

    /// Reads, answers, and ends as its manner says.
    fn look(&mut self, conn: usize, world: &mut World) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        if self.servers[session.backend].hangs() {
            return;
        }
        let mut buffer = std::mem::take(&mut world.buffer);
        let goes_on = session.read(conn, &mut buffer, world);
        let goes_on = goes_on && session.flush(conn, &mut buffer, world);
        world.buffer = buffer;
        if !goes_on {
            return self.close(conn, CloseHow::Plain, world);
        }
        if session.unsent > 0 || session.late > 0 {
            return;
        }
        let received = world.conns[conn].oracle.said.received;
        if session.ended {
            self.close(conn, CloseHow::Plain, world);
        } else if matches!(session.manner.leaves, Leaves::AfterBytes(count) if received >= count) {
            self.leave(conn, world);
        }
    }

    /// Goes first.
    fn leave(&mut self, conn: usize, world: &mut World) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        session.manner.leaves = Leaves::Never;
        match session.manner.exit {
            Exit::Close => self.close(conn, CloseHow::Plain, world),
            Exit::Reset => self.close(conn, CloseHow::Reset, world),
            Exit::Finish => {
                world.note(|| format!("c{conn} backend finishes"));
                (session.unsent, session.late, session.finished) = (0, 0, true);
                world.shut_down(conn, Side::Theirs);
                self.look(conn, world);
            }
        }
    }

    fn close(&mut self, conn: usize, how: CloseHow, world: &mut World) {
        self.sessions.remove(&conn);
        world.note(|| format!("c{conn} backend close {how:?}"));
        world.act(conn, Side::Theirs, |sock, now, out| sock.close(how, now, out));
    }

    fn of(&self, backend: usize) -> Vec<usize> {
        let sessions = self.sessions.iter().filter(|(_, session)| session.backend == backend);
        sessions.map(|(&conn, _)| conn).collect()
    }

    fn begin_trouble(&mut self, index: usize, world: &mut World) {
        let backend = &mut self.servers[index];
        let trouble = backend.rng.pick(&backend.troubles);
        let lasts = backend.rng.between(Duration::from_millis(100), backend.apart);
        self.befall(index, trouble, world);
        let at = world.now() + nanos(lasts);
        world.schedule(at, Event::Program(BACKENDS + index, RECOVER));
    }

    /// Something befalls a backend.
    pub(super) fn befall(&mut self, index: usize, trouble: Trouble, world: &mut World) {
        let backend = &mut self.servers[index];
        backend.trouble = Some(trouble);
        world.note(|| format!("backend {index}: {trouble:?}"));
        let host = world.upstreams[backend.upstream].0.host;
        let upstream = backend.upstream;
        match trouble {
            Trouble::Hangs => {}
            Trouble::Refuses => world.set_listening(upstream, false),
            Trouble::Dies => {
                world.set_listening(upstream, false);
                for conn in self.of(index) {
                    self.close(conn, CloseHow::Plain, world);
                }
            }
            Trouble::Cut => {
                let unreachable = backend.rng.chance(400_000);
                world.cut(host, true, unreachable);
            }
            Trouble::Reboots => {
                world.cut(host, true, false);
                world.forget(host);
                world.set_listening(upstream, false);
                self.sessions.retain(|_, session| session.backend != index);
            }
        }
    }

    fn recover(&mut self, index: usize, world: &mut World) {
        let backend = &mut self.servers[index];
        if backend.trouble.take().is_none() {
            return;
        }
        world.note(|| format!("backend {index} is well again"));
        world.cut(world.upstreams[backend.upstream].0.host, false, false);
        world.set_listening(backend.upstream, true);
        let next = backend.rng.between(Duration::ZERO, backend.apart);
        let at = world.now() + nanos(next);
        world.schedule(at, Event::Program(BACKENDS + index, TROUBLE));
        self.accept(index, world);
        for conn in self.of(index) {
            self.look(conn, world);
        }
    }

    /// Troubles are over, and nobody goes first, or holds anything back, any more.
    pub(super) fn calm_down(&mut self, world: &mut World) {
        self.calm = true;
        for backend in 0..self.servers.len() {
            self.servers[backend].manners = Manners::only(Manner::good());
            self.recover(backend, world);
        }
        let conns: Vec<usize> = self.sessions.keys().copied().collect();
        for conn in conns {
            let session = self.sessions.get_mut(&conn).expect("nobody else has closed it");
            session.manner = Manner::good();
            session.unsent += std::mem::take(&mut session.late);
            self.look(conn, world);
        }
    }
}

fn later(conn: usize, tag: u32, after: Duration, world: &mut World) {
    let at = world.now() + nanos(after);
    world.schedule(at, Event::Program(SESSIONS + conn, tag));
}

impl Session {
    /// Reads what its manner lets it. False once the connection has failed.
    fn read(&mut self, conn: usize, buffer: &mut [u8], world: &mut World) -> bool {
        let most = match self.manner.reads {
            Reads::Never => return true,
            Reads::ByteByByte(_) if self.sips => return true,
            Reads::ByteByByte(_) => 1,
            Reads::All => buffer.len(),
        };
        while !self.ended {
            let got = world.act(conn, Side::Theirs, |sock, _, out| sock.recv(&mut buffer[..most], out));
            match got {
                Some(Received::Bytes(count)) => {
                    world.on_relayed(conn, &buffer[..count]);
                    self.take(conn, count as u64, world);
                    if let Reads::ByteByByte(apart) = self.manner.reads {
                        self.sips = true;
                        later(conn, SIP, apart, world);
                        break;
                    }
                }
                Some(Received::Eof) => {
                    if !world.conns[conn].end(Side::Theirs).is_some_and(|sock| sock.fin_seen) {
                        return false;
                    }
                    world.note(|| format!("c{conn} backend reads the end"));
                    self.ended = true;
                    self.unsent += std::mem::take(&mut self.late);
                }
                Some(Received::WouldBlock | Received::Interrupted) => break,
                Some(Received::Failed(fault)) => {
                    world.note(|| format!("c{conn} backend sees {fault:?}"));
                    return false;
                }
                None => return false,
            }
        }
        true
    }

    /// Makes up its mind what to say to so many bytes.
    fn take(&mut self, conn: usize, count: u64, world: &mut World) {
        if self.finished {
            return;
        }
        match self.manner.answers {
            Answers::AtOnce => self.unsent += count,
            Answers::Late(after) => {
                self.late += count;
                later(conn, ANSWER, after, world);
            }
            Answers::AtEnd => self.late += count,
            Answers::Never => {}
        }
    }

    /// Says what it means to, as far as its kernel takes it. False once the connection has failed.
    fn flush(&mut self, conn: usize, buffer: &mut [u8], world: &mut World) -> bool {
        while self.unsent > 0 {
            let from = world.conns[conn].oracle.said.sent;
            let most = buffer.len().min(usize::try_from(self.unsent).unwrap_or(usize::MAX));
            for (at, slot) in (from..).zip(&mut buffer[..most]) {
                *slot = byte(world.conns[conn].salt, at);
            }
            let sent = world.act(conn, Side::Theirs, |sock, now, out| sock.send(&buffer[..most], now, out));
            match sent {
                Some(Sent::Bytes(count)) => {
                    self.unsent -= count as u64;
                    world.conns[conn].oracle.said.sent += count as u64;
                }
                Some(Sent::WouldBlock | Sent::Interrupted) => {
                    // The kernel wakes it once a third of the buffer is free.
                    world.act(conn, Side::Theirs, |sock: &mut Sock, _, _| sock.nospace = true);
                    break;
                }
                Some(Sent::Failed(_)) | None => return false,
            }
        }
        true
    }
}
