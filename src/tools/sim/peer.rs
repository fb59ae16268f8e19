//! Client programs: each has a host, connects, talks for a while in its manner, ends as its script says, and
//! maybe comes back.
//!
//! A program acts when the world asks it ([`ClientPool::perform`]), and notes down in [`Said`] what it did: the
//! server's account is compared with that.

use super::fleet::{FLEET, Fleet};
use super::relay::byte;
use super::rng::Rng;
use super::script::{Ending, Script};
use super::secure::Wire;
use super::socket::mask;
use super::tcp::Sizes;
use super::world::{Event, Side, World};
use crate::core::tcp::TcpState;
use crate::core::time::Duration;
use crate::net::{CloseHow, Received, Sent};
use crate::protocol::Protocol;

/// The socket has something to tell.
pub(super) const LOOK: u32 = 0;
pub(super) const TALK: u32 = 1;
pub(super) const END: u32 = 2;
pub(super) const RECOVER: u32 = 3;
pub(super) const CONNECT: u32 = 4;
const SIP: u32 = 5;
const SESSION: u32 = 8;

/// What a client did on one connection. Marks are places in its stream: read that far, and it is known.
#[derive(Debug, Default)]
pub struct Said {
    /// Bytes given to its kernel.
    pub(super) sent: u64,
    /// The end of the last whole frame.
    pub(super) whole: u64,
    /// The end of the first frame.
    pub(super) first: Option<u64>,
    /// The end of its goodbye.
    pub(super) goodbye: Option<u64>,
    /// From where on it broke the protocol.
    pub(super) broken: Option<u64>,
    /// It did so by size.
    pub(super) oversized: bool,
    /// The identity it asked for.
    pub(super) identity: Option<usize>,
    /// The end of the frame that did.
    pub(super) ident: Option<u64>,
    /// It is that device, and beats through another connection.
    pub(super) device: Option<usize>,
    /// The heartbeat that it promised in it.
    pub(super) beat: Option<Duration>,
    /// The identity that it began to beat for, without anybody having agreed to that.
    pub(super) beats_for: Option<usize>,
    /// The end of the frame that did.
    pub(super) beat_for: Option<u64>,
    /// When its host forgot the connection.
    pub(super) forgot: Option<u64>,
    /// It gave up within a frame, or between two that it had said at once: who knows.
    pub(super) torn: bool,
    /// Bytes received.
    pub(super) received: u64,
}

/// A client program.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "what a program does and does not do at present, in any combination"
)]
pub(super) struct Program {
    pub(super) script: Script,
    pub(super) host: usize,
    pub(super) conn: Option<usize>,
    pub(super) session: u32,
    /// What its kernel had no room for: bytes, and marks that come with them.
    pub(super) backlog: Vec<u8>,
    pub(super) stopped: bool,
    pub(super) reads: bool,
    pub(super) mute: bool,
    pub(super) finished: bool,
    pub(super) rng: Rng,
    /// What the server must answer, where that is known.
    expected: std::collections::VecDeque<u8>,
    pub(super) checks: bool,
    /// Its side of TLS, if it speaks that.
    pub(super) wire: Option<Box<Wire>>,
}

/// All client programs.
pub struct ClientPool {
    pub(super) programs: Vec<Program>,
    /// Nobody connects any more.
    pub(super) over: bool,
    /// Those of a server with several workers.
    pub(super) fleet: Option<Fleet>,
}

impl ClientPool {
    /// Nobody.
    pub const fn empty() -> Self {
        Self { programs: Vec::new(), over: false, fleet: None }
    }

    /// Adds a program that connects at `at`.
    pub(super) fn add(&mut self, script: Script, host: usize, at: u64, rng: Rng, world: &mut World) {
        let program = self.programs.len();
        self.programs.push(Program {
            script,
            host,
            conn: None,
            session: 0,
            backlog: Vec::new(),
            stopped: false,
            reads: true,
            mute: false,
            finished: false,
            rng,
            expected: std::collections::VecDeque::new(),
            checks: false,
            wire: None,
        });
        world.schedule(at, Event::Program(program, CONNECT));
    }

    /// Lets a program do what it is due to.
    pub fn perform(&mut self, program: usize, tag: u32, world: &mut World) {
        if program >= FLEET {
            let fleet = self.fleet.as_mut().expect("its programs are numbered so");
            return fleet.perform(program, tag, world);
        }
        let Some(actor) = self.programs.get_mut(program) else { return };
        let (kind, session) = (tag % SESSION, tag / SESSION);
        if kind == LOOK {
            // A connection that it does not care about any more has nobody to look.
            if let Some(conn) = actor.conn {
                world.conns[conn].told = false;
            }
            return actor.look(world);
        }
        if session != actor.session {
            return;
        }
        match kind {
            TALK => actor.talk(program, world),
            END => actor.end(program, world),
            RECOVER => actor.recover(program, world),
            CONNECT if !self.over => actor.connect(program, world),
            SIP => {
                actor.look(world);
                actor.sip_again(program, world);
            }
            _ => {}
        }
    }

    /// Everyone who can closes in order; nobody comes again.
    pub(super) fn send_home(&mut self, world: &mut World) {
        self.over = true;
        for program in &mut self.programs {
            program.go_home(world);
        }
    }
}

impl Program {
    pub(super) fn later(&self, program: usize, kind: u32, after: Duration, world: &mut World) {
        let at = world.now() + super::oracle::nanos(after);
        world.schedule(at, Event::Program(program, self.session * SESSION + kind));
    }

    fn connect(&mut self, program: usize, world: &mut World) {
        self.session += 1;
        self.backlog.clear();
        self.expected.clear();
        (self.stopped, self.mute, self.finished) = (false, false, false);
        self.script.redraw(&mut self.rng);
        self.reads = !matches!(self.script.ending, Ending::StopReading) || !self.rng.chance(300_000);
        self.checks = self.script.checks_replies();
        world.cut(self.host, false, false);
        let sizes = Sizes { rto: 200_000_000 + 3 * world.hosts[self.host].latency, ..self.script.sizes };
        let conn = world.connect(self.host, self.script.listener, program, sizes);
        self.conn = Some(conn);
        self.open_wire(conn, world);
        if self.script.protocol == Protocol::Tcp {
            world.conns[conn].salt = conn as u64 + 1;
        }
        let lives = self.script.lives;
        if self.script.ending == Ending::DieInQueue {
            return self.later(program, END, lives.min(Duration::from_millis(400)), world);
        }
        if self.script.ending != Ending::NeverSpeak {
            self.greet(world);
            let after = self.rng.between(Duration::ZERO, self.script.interval);
            self.later(program, TALK, after, world);
        }
        self.later(program, END, lives, world);
        if self.script.sips.is_some() {
            self.sip_again(program, world);
        }
    }

    fn sip_again(&self, program: usize, world: &mut World) {
        if let Some(sips) = self.script.sips
            && self.conn.is_some()
        {
            self.later(program, SIP, sips, world);
        }
    }

    /// What it says first.
    fn greet(&mut self, world: &mut World) {
        if self.script.protocol != Protocol::Resp {
            return;
        }
        if let Some(identity) = self.script.identity {
            let frame = match self.script.beat {
                Some(beat) => format!("IDENT id{identity} BEAT {}\r\n", beat.as_secs_f64()),
                None => format!("IDENT id{identity}\r\n"),
            };
            self.say(frame.as_bytes(), b"+OK\r\n", world);
            if let Some(conn) = self.conn {
                let said = &mut world.conns[conn].oracle.said;
                (said.identity, said.ident, said.beat) = (Some(identity), Some(said.whole), self.script.beat);
            }
        }
        if self.script.identity.is_none() && self.host.is_multiple_of(2) {
            self.beat_for_a_stranger(world);
        }
        for channel in 0..self.script.channels {
            let frame = format!("SUBSCRIBE ch{channel} $presence:id{channel}\r\n");
            self.say(frame.as_bytes(), b"", world);
        }
    }

    /// Speaks for somebody who may be there or not, and has not agreed to it: nothing that it does may harm
    /// them.
    fn beat_for_a_stranger(&mut self, world: &mut World) {
        let identity = (self.host + self.session as usize) % 5;
        // Whether that one is there decides what is answered.
        self.checks = false;
        self.say(format!("BEATFOR id{identity}\r\n").as_bytes(), b"", world);
        if let Some(conn) = self.conn {
            let said = &mut world.conns[conn].oracle.said;
            (said.beats_for, said.beat_for) = (Some(identity), Some(said.whole));
        }
    }

    /// Its ordinary traffic.
    fn talk(&mut self, program: usize, world: &mut World) {
        if self.conn.is_none() || self.finished {
            return;
        }
        if !self.stopped && !self.mute {
            if self.script.protocol == Protocol::Resp {
                self.command(world);
            } else {
                let size = self.script.draw_size(&mut self.rng);
                self.say_pattern(size, world);
            }
        }
        let after = self.script.draw_interval(&mut self.rng);
        self.later(program, TALK, after, world);
    }

    fn command(&mut self, world: &mut World) {
        if self.script.channels > 0 {
            let frame = if self.rng.chance(500_000) { &b"BEAT\r\n"[..] } else { b"*1\r\n$4\r\nPING\r\n" };
            return self.say(frame, b"", world);
        }
        if world.names_clients && self.rng.chance(300_000) {
            return self.speak_for_clients(world);
        }
        match self.rng.index(6) {
            0 | 1 => self.say(b"*1\r\n$4\r\nBEAT\r\n", b"", world),
            2 => self.say(b"PING\r\n", b"+PONG\r\n", world),
            3 if self.script.publishes => {
                let size = self.script.draw_size(&mut self.rng).min(4000);
                let channel = self.rng.index(3);
                let text = "x".repeat(size);
                let frame = format!("*3\r\n$7\r\nPUBLISH\r\n$3\r\nch{channel}\r\n${size}\r\n{text}\r\n");
                self.checks = false;
                self.say(frame.as_bytes(), b"", world);
            }
            _ => {
                let size = self.script.draw_size(&mut self.rng).min(8000);
                let text = "e".repeat(size);
                let frame = format!("*2\r\n$4\r\nECHO\r\n${size}\r\n{text}\r\n");
                let answer = format!("${size}\r\n{text}\r\n");
                self.say(frame.as_bytes(), answer.as_bytes(), world);
            }
        }
    }

    /// Says a whole frame, to which `answer` is the answer.
    pub(super) fn say(&mut self, frame: &[u8], answer: &[u8], world: &mut World) {
        let Some(conn) = self.conn else { return };
        if self.finished {
            return;
        }
        if self.checks {
            self.expected.extend(answer);
        }
        self.push(frame, world);
        let said = &mut world.conns[conn].oracle.said;
        said.whole = said.sent;
        said.first.get_or_insert(said.whole);
    }

    /// Sends bytes that can be told from those before and after them.
    pub(super) fn say_pattern(&mut self, size: usize, world: &mut World) {
        let Some(conn) = self.conn else { return };
        let (from, salt) = (world.conns[conn].oracle.said.sent, world.conns[conn].salt);
        let bytes: Vec<u8> = (from..from + size as u64).map(|at| byte(salt, at)).collect();
        self.say(&bytes, b"", world);
    }

    /// Gives bytes to its kernel, or keeps them until that has room. They count as said: a program that
    /// gives up before its kernel took them takes them back.
    pub(super) fn push(&mut self, bytes: &[u8], world: &mut World) {
        let Some(conn) = self.conn else { return };
        world.conns[conn].oracle.said.sent += bytes.len() as u64;
        self.backlog.extend_from_slice(bytes);
        self.flush(world);
    }

    pub(super) fn flush(&mut self, world: &mut World) {
        let Some(conn) = self.conn else { return };
        if self.is_all_sent()
            || world.conns[conn].end(Side::Theirs).is_none_or(|sock| sock.state() == TcpState::SynSent)
        {
            return;
        }
        if self.wire.is_some() {
            return self.flush_wire(conn, world);
        }
        let backlog = &mut self.backlog;
        let sent = world.act(conn, Side::Theirs, |sock, now, out| sock.send(backlog, now, out));
        match sent {
            Some(Sent::Bytes(count)) => drop(self.backlog.drain(..count)),
            Some(Sent::WouldBlock | Sent::Interrupted) => {}
            Some(Sent::Failed(_)) | None => self.backlog.clear(),
        }
    }

    /// Reads what is there, and reacts to the end.
    pub(super) fn look(&mut self, world: &mut World) {
        let Some(conn) = self.conn else { return };
        if self.stopped {
            return;
        }
        self.flush(world);
        if !self.reads {
            return;
        }
        let mut buffer = std::mem::take(&mut world.buffer);
        self.read(conn, &mut buffer, world);
        world.buffer = buffer;
    }

    fn read(&mut self, conn: usize, buffer: &mut [u8], world: &mut World) {
        let mut budget = self.script.sips.map_or(usize::MAX, |_| 1);
        while budget > 0 {
            budget -= 1;
            let most = if self.script.sips.is_some() { 512 } else { buffer.len() };
            let got = world.act(conn, Side::Theirs, |sock, _, out| sock.recv(&mut buffer[..most], out));
            match got {
                Some(Received::Bytes(count)) if self.wire.is_some() => {
                    if self.receive_wire(&buffer[..count], conn, world) && self.on_end(true, conn, world) {
                        return;
                    }
                }
                Some(Received::Bytes(count)) => self.check(&buffer[..count], conn, world),
                Some(Received::Eof) => {
                    let whole = world.conns[conn].end(Side::Theirs).is_some_and(|sock| sock.fin_seen);
                    if self.on_end(whole, conn, world) {
                        return;
                    }
                    break;
                }
                Some(Received::WouldBlock | Received::Interrupted) => break,
                Some(Received::Failed(_)) | None => {
                    self.on_end(false, conn, world);
                    return;
                }
            }
        }
        let ready = world.conns[conn].ends[Side::Theirs as usize].as_mut().map_or(0, super::tcp::Sock::poll);
        if !self.is_all_sent() && ready & mask::OUT != 0 {
            self.flush(world);
        }
    }

    /// The server has ended the connection, in order or not.
    fn on_end(&mut self, in_order: bool, conn: usize, world: &mut World) -> bool {
        if matches!(self.script.ending, Ending::QuitAndStay) && in_order {
            return false;
        }
        world.note(|| {
            format!("c{conn} client sees the end, {}", if in_order { "in order" } else { "by error" })
        });
        self.close(CloseHow::Plain, world);
        true
    }

    /// What came back is what was sent, or what the protocol answers.
    pub(super) fn check(&mut self, bytes: &[u8], conn: usize, world: &mut World) {
        if self.script.protocol == Protocol::Tcp {
            return world.on_relayed(conn, bytes);
        }
        let said = &mut world.conns[conn].oracle.said;
        let from = said.received;
        said.received += bytes.len() as u64;
        let sent = said.sent;
        if world.conns[conn].end(Side::Theirs).is_some_and(|sock| sock.urgent_strayed) {
            // The hazard of out-of-band probes: this client's stream has a byte more.
            return;
        }
        if self.script.protocol == Protocol::Echo {
            let wrong = bytes.iter().zip(from..).position(|(got, at)| at >= sent || *got != byte(0, at));
            // After everything, a probe may come: a line feed.
            if let Some(at) = wrong.filter(|at| from + (*at as u64) < sent || bytes[*at..] != *b"\n") {
                let at = from + at as u64;
                world.violate(format!("c{conn}: byte {at} of what came back is wrong or was never sent"));
            }
        } else if self.checks {
            self.check_replies(bytes, conn, world);
        }
    }

    fn check_replies(&mut self, bytes: &[u8], conn: usize, world: &mut World) {
        for byte in bytes {
            match self.expected.pop_front() {
                Some(expected) if expected == *byte => {}
                // The server's own goodbye or error comes after all answers, or instead of them.
                _ if *byte == b'-' || *byte == b'>' || *byte == b'+' => return self.checks = false,
                other => {
                    let what =
                        format!("c{conn}: {:?} was answered where {other:?} was due", char::from(*byte));
                    world.violate(what);
                    self.checks = false;
                    return;
                }
            }
        }
    }

    /// Lets go of the connection, whatever is to become of it.
    pub(super) fn close(&mut self, how: CloseHow, world: &mut World) {
        if how == CloseHow::Plain {
            self.say_last_word(world);
        }
        let Some(conn) = self.conn.take() else { return };
        self.take_back(conn, world);
        world.act(conn, Side::Theirs, |sock, now, out| sock.close(how, now, out));
        if !self.over_for_good() {
            let program = world.conns[conn].program;
            let pause = self.rng.between(Duration::from_millis(1), self.script.pause);
            self.later(program, CONNECT, pause, world);
        }
    }

    const fn over_for_good(&self) -> bool {
        self.script.once
    }

    /// What its kernel never took was never said.
    pub(super) fn take_back(&mut self, conn: usize, world: &mut World) {
        let said = &mut world.conns[conn].oracle.said;
        said.sent -= self.backlog.len() as u64;
        self.backlog.clear();
        self.take_wire_back(conn, world);
        let said = &mut world.conns[conn].oracle.said;
        said.torn |= said.whole > said.sent;
    }
}
