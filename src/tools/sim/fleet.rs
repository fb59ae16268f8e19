//! Clients of a server with several workers: devices that hold an identity and are silent, a heartbeat channel beside
//! each, and watchers of everybody's presence. What a watcher receives is compared with what can happen to an identity
//! that has one holder at a time.

use super::oracle::nanos;
use super::rng::Rng;
use super::tcp::{Sizes, Sock};
use super::world::{Event, Side, World};
use crate::core::tcp::TcpState;
use crate::core::time::Duration;
use crate::net::{CloseHow, Received, Sent};
use std::collections::BTreeMap;

/// Programs above this are of the fleet.
pub(super) const FLEET: usize = 1 << 20;
/// The numbers of their identities begin here, in [`Said`](super::peer::Said).
const IDENTITIES: usize = 1 << 20;
const LOOK: u32 = super::peer::LOOK;
const BEAT: u32 = 1;
const END: u32 = 2;
const CONNECT: u32 = 4;
const SESSION: u32 = 8;

/// What a client of the fleet is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// It holds the identity of that device, has agreed to its heartbeat channel, and says nothing more.
    Holder(usize),
    /// It beats for that device.
    Channel(usize),
    /// It listens to presence.
    Watcher,
}

/// The last presence event of an identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Heard {
    Online,
    Suspect,
    /// Another connection has it now, and `online` must follow.
    Replaced,
    Offline,
}

impl Heard {
    /// What follows from a word; an error, if it cannot follow.
    fn next(before: Option<Self>, word: &[u8]) -> Result<Self, ()> {
        match (before, word) {
            (None | Some(Self::Replaced | Self::Offline), b"online")
            | (None | Some(Self::Suspect), b"revived") => Ok(Self::Online),
            (None | Some(Self::Online), b"suspect") => Ok(Self::Suspect),
            (None | Some(Self::Online | Self::Suspect), b"replaced") => Ok(Self::Replaced),
            (None | Some(Self::Online | Self::Suspect), b"offline") => Ok(Self::Offline),
            _ => Err(()),
        }
    }
}

/// What is true of a device, as far as the world has seen it.
#[derive(Debug, Default)]
pub(super) struct Device {
    /// The connection that is to hold its identity.
    pub(super) holder: Option<usize>,
    /// The connection that beats for it, once the server has said so.
    pub(super) channel: Option<usize>,
    /// When the server last read something from that.
    pub(super) beaten: u64,
}

/// A client.
pub(super) struct Unit {
    pub(super) role: Role,
    host: usize,
    pub(super) conn: Option<usize>,
    session: u32,
    rng: Rng,
    output: Vec<u8>,
    input: Vec<u8>,
    /// The server has taken what it asked for.
    pub(super) confirmed: bool,
    /// Since when, at first.
    since: u64,
    /// By identity.
    pub(super) heard: BTreeMap<Vec<u8>, Heard>,
}

/// All of them.
pub(super) struct Fleet {
    pub(super) units: Vec<Unit>,
    listener: usize,
    /// The heartbeat that devices agree to.
    beat: Duration,
    /// The longest session.
    lives: Duration,
    /// Nobody leaves by itself any more.
    pub(super) calm: bool,
    /// No heartbeat channel comes again.
    pub(super) silent: bool,
}

const SIZES: Sizes = Sizes { output_max: 65_536, input_max: 65_536, segment_max: 1460, rto: 200_000_000 };

impl Fleet {
    /// Draws one, whose clients connect soon.
    pub(super) fn draw(rng: &mut Rng, listener: usize, duration: Duration, world: &mut World) -> Self {
        let devices = 1 + rng.index(6);
        let mut roles: Vec<_> = (0..=rng.index(4)).map(|_| Role::Watcher).collect();
        roles.extend((0..devices).flat_map(|device| [Role::Holder(device), Role::Channel(device)]));
        world.devices = (0..devices).map(|_| Device::default()).collect();
        let mut units = Vec::new();
        for role in roles {
            let host = world.add_host(rng.within(20_000..20_000_000));
            world.schedule(
                world.now() + rng.within(0..2_000_000_000),
                Event::Program(FLEET + units.len(), CONNECT),
            );
            units.push(Unit {
                role,
                host,
                conn: None,
                session: 0,
                rng: rng.fork(),
                output: Vec::new(),
                input: Vec::new(),
                confirmed: false,
                since: 0,
                heard: BTreeMap::new(),
            });
        }
        let beat = rng.between(Duration::from_secs(4), Duration::from_secs(20));
        let lives = rng.between(Duration::from_secs(5), duration);
        Self { units, listener, beat, lives, calm: false, silent: false }
    }

    /// Lets a client do what it is due to.
    pub(super) fn perform(&mut self, unit: usize, tag: u32, world: &mut World) {
        let index = unit - FLEET;
        let (kind, session) = (tag % SESSION, tag / SESSION);
        let unit = &mut self.units[index];
        if kind == LOOK {
            if let Some(conn) = unit.conn {
                world.conns[conn].told = false;
                if !unit.read(conn, world) {
                    self.leave(index, CloseHow::Plain, world);
                }
            }
            return;
        }
        if session != unit.session {
            return;
        }
        let rests = self.silent && matches!(unit.role, Role::Channel(_));
        match kind {
            CONNECT if unit.conn.is_none() && !rests => self.connect(index, world),
            BEAT => {
                if let Role::Channel(device) = unit.role {
                    // Not BEAT: an older connection of its own may have been read after this one, and taken its place.
                    unit.say(format!("BEATFOR dev{device} t{device}\r\n").as_bytes(), world);
                }
                unit.later(index, BEAT, self.beat / 4, world);
            }
            END if !self.calm => self.end(index, world),
            _ => {}
        }
    }

    /// Whose connection is gone at the server, and who was not told as the packet that says so was lost, finds out.
    pub(super) fn find_out(&mut self, world: &mut World) {
        for index in 0..self.units.len() {
            let gone = |sock: &Sock| sock.state() == TcpState::Close;
            let is_opening = |sock: &Sock| sock.state() == TcpState::SynSent;
            let is_lost = |conn: usize| {
                let [client, server] = [Side::Theirs, Side::Ours].map(|side| world.conn(conn).end(side));
                server.is_none_or(gone) && !client.is_some_and(is_opening)
            };
            if self.units[index].conn.is_some_and(is_lost) {
                self.leave(index, CloseHow::Plain, world);
            }
        }
    }

    /// The heartbeat channels leave, and do not come back.
    pub(super) fn silence(&mut self, world: &mut World) {
        self.silent = true;
        for index in 0..self.units.len() {
            if matches!(self.units[index].role, Role::Channel(_)) {
                self.leave(index, CloseHow::Plain, world);
            }
        }
    }

    fn connect(&mut self, index: usize, world: &mut World) {
        let unit = &mut self.units[index];
        unit.session += 1;
        let rto = 200_000_000 + 3 * world.hosts[unit.host].latency;
        let conn = world.connect(unit.host, self.listener, FLEET + index, Sizes { rto, ..SIZES });
        unit.conn = Some(conn);
        let beat = self.beat.as_secs_f64();
        match unit.role {
            Role::Watcher => unit.say(b"PSUBSCRIBE $presence:*\r\n", world),
            Role::Holder(device) => {
                unit.say(format!("IDENT dev{device} BEAT {beat} CHANNEL t{device}\r\n").as_bytes(), world);
                world.devices[device].holder = Some(conn);
                let said = &mut world.conns[conn].oracle.said;
                (said.identity, said.ident) = (Some(IDENTITIES + device), Some(said.whole));
                (said.beat, said.device) = (Some(self.beat), Some(device));
            }
            Role::Channel(device) => {
                unit.say(format!("BEATFOR dev{device} t{device}\r\n").as_bytes(), world);
                unit.later(index, BEAT, self.beat / 4, world);
            }
        }
        let unit = &mut self.units[index];
        let lives = unit.rng.between(Duration::from_millis(10), self.lives);
        unit.later(index, END, lives, world);
    }

    /// Its session is over by its own doing.
    fn end(&mut self, index: usize, world: &mut World) {
        let unit = &mut self.units[index];
        match unit.rng.index(4) {
            // Its host is switched off and on: the server still has the old connection when it comes back.
            0 => {
                world.forget(unit.host);
                if let Some(conn) = unit.conn {
                    world.conns[conn].oracle.said.forgot = Some(world.now());
                }
                self.leave(index, CloseHow::Plain, world);
            }
            1 => self.leave(index, CloseHow::Reset, world),
            _ => self.leave(index, CloseHow::Plain, world),
        }
    }

    /// Lets go of the connection, and comes back after a while.
    fn leave(&mut self, index: usize, how: CloseHow, world: &mut World) {
        let unit = &mut self.units[index];
        let Some(conn) = unit.conn.take() else { return };
        match unit.role {
            Role::Holder(device) => world.devices[device].holder = None,
            Role::Channel(device) => world.devices[device].channel = None,
            Role::Watcher => {}
        }
        let said = &mut world.conns[conn].oracle.said;
        said.sent -= unit.output.len() as u64;
        said.torn |= said.whole > said.sent;
        unit.confirmed = false;
        unit.output.clear();
        unit.input.clear();
        unit.heard.clear();
        world.act(conn, Side::Theirs, |sock, now, out| sock.close(how, now, out));
        let pause = unit.rng.between(Duration::from_millis(1), Duration::from_secs(3));
        unit.later(index, CONNECT, pause, world);
    }
}

impl Unit {
    fn later(&self, index: usize, kind: u32, after: Duration, world: &mut World) {
        let at = world.now() + nanos(after);
        world.schedule(at, Event::Program(FLEET + index, self.session * SESSION + kind));
    }

    fn say(&mut self, frame: &[u8], world: &mut World) {
        let Some(conn) = self.conn else { return };
        self.output.extend_from_slice(frame);
        let said = &mut world.conns[conn].oracle.said;
        said.sent += frame.len() as u64;
        said.whole = said.sent;
        said.first.get_or_insert(said.whole);
        self.flush(conn, world);
    }

    fn flush(&mut self, conn: usize, world: &mut World) {
        let is_opening = |sock: &Sock| sock.state() == TcpState::SynSent;
        if self.output.is_empty() || world.conns[conn].end(Side::Theirs).is_none_or(is_opening) {
            return;
        }
        let output = &self.output;
        if let Some(Sent::Bytes(count)) =
            world.act(conn, Side::Theirs, |sock, now, out| sock.send(output, now, out))
        {
            self.output.drain(..count);
        }
    }

    /// Reads what is there; false at its end.
    fn read(&mut self, conn: usize, world: &mut World) -> bool {
        self.flush(conn, world);
        let mut buffer = [0; 4096];
        loop {
            match world.act(conn, Side::Theirs, |sock, _, out| sock.recv(&mut buffer, out)) {
                Some(Received::Bytes(count)) => {
                    self.input.extend_from_slice(&buffer[..count]);
                    while let Some(words) = next_reply(&mut self.input) {
                        self.hear(&words, conn, world);
                    }
                }
                Some(Received::WouldBlock | Received::Interrupted) => return true,
                Some(Received::Eof | Received::Failed(_)) | None => return false,
            }
        }
    }

    fn hear(&mut self, words: &[Vec<u8>], conn: usize, world: &mut World) {
        match words {
            [kind, ..] if kind == b"psubscribe" => (self.confirmed, self.since) = (true, world.now()),
            [kind, _, channel, payload] if kind == b"pmessage" => {
                let id = channel.split(|byte| *byte == b':').nth(1).unwrap_or_default().to_vec();
                let told = payload.split(|byte| *byte == b' ').next().unwrap_or_default();
                let before = self.heard.get(&id).copied();
                world.note(|| format!("c{conn} hears {} of {}", told.escape_ascii(), id.escape_ascii()));
                // What was on its way to a listener before it may still come, and something after that be left out.
                if world.now() < self.since + world.round_trip(conn, self.since) {
                    self.heard.remove(&id);
                    return;
                }
                if let Ok(now) = Heard::next(before, told) {
                    self.heard.insert(id, now);
                } else {
                    let (id, told) = (id.escape_ascii(), told.escape_ascii());
                    world.violate(format!("c{conn} heard {told} of {id} after {before:?}"));
                }
            }
            [reply] if reply == b"+OK" => {
                self.confirmed = true;
                if let Role::Channel(device) = self.role {
                    world.devices[device].channel = Some(conn);
                }
            }
            _ => {}
        }
    }
}

/// Takes the next reply of the server (RESP2): its parts, or a line by itself. None, if it is not whole.
fn next_reply(input: &mut Vec<u8>) -> Option<Vec<Vec<u8>>> {
    let mut at = 0;
    let line = |at: &mut usize| {
        let length = input.get(*at..)?.windows(2).position(|end| end == b"\r\n")?;
        let line = &input[*at..*at + length];
        *at += length + 2;
        Some(line)
    };
    let first = line(&mut at)?;
    let number = |line: &[u8]| str::from_utf8(&line[1..]).ok()?.parse::<usize>().ok();
    let mut parts = Vec::new();
    if first.first() == Some(&b'*') {
        for _ in 0..number(first)? {
            let head = line(&mut at)?;
            if head.first() == Some(&b'$') {
                let length = number(head)?;
                parts.push(input.get(at..at + length)?.to_vec());
                at += length + 2;
            } else {
                parts.push(head.to_vec());
            }
        }
        if at > input.len() {
            return None;
        }
    } else {
        parts.push(first.to_vec());
    }
    input.drain(..at);
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_taken_when_it_is_whole() {
        let whole = b"*3\r\n$2\r\nab\r\n$0\r\n\r\n:1\r\n+OK\r\n";
        for cut in 0..whole.len() {
            let mut input = whole[..cut].to_vec();
            let first = next_reply(&mut input);
            assert_eq!(first.is_some(), cut >= 22, "{cut}");
        }
        let mut input = whole.to_vec();
        let parts: [&[u8]; 3] = [b"ab", b"", b":1"];
        assert_eq!(next_reply(&mut input).expect("it is whole"), parts);
        assert_eq!(next_reply(&mut input).expect("it is whole"), [b"+OK"]);
        assert!(input.is_empty());
    }

    #[test]
    fn an_identity_has_one_holder_at_a_time() {
        let hear =
            |words: &[&[u8]]| words.iter().try_fold(None, |before, word| Heard::next(before, word).map(Some));
        assert_eq!(
            hear(&[b"online", b"suspect", b"revived", b"replaced", b"online"]),
            Ok(Some(Heard::Online))
        );
        assert_eq!(hear(&[b"online", b"offline", b"online"]), Ok(Some(Heard::Online)));
        assert_eq!(hear(&[b"online", b"online"]), Err(()), "two at a time");
        assert_eq!(hear(&[b"online", b"replaced", b"offline"]), Err(()), "nobody came in its place");
        assert_eq!(hear(&[b"offline", b"offline"]), Err(()), "told twice");
    }
}
