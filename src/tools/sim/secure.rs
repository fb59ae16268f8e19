//! Runs in which listeners speak TLS (`linger sim --tls`): clients with all the troubles of the others, and some that only
//! TLS has. Some speak an older version, show a certificate or one that nobody knows, and resume sessions by tickets whose
//! keys are rotated meanwhile (`credentials`). They stop within the handshake, send its end, data and their last word in one piece, close with a last word or
//! without one, or say it and wait for ours, and damage a record. Its seeds are not those of [`run`](super::run()).
//!
//! What is spoken is TLS itself, by rustls on both sides, and not the toy layer of the tests: what may lose a byte is how
//! `transport/tls.rs` feeds rustls, when it holds plaintext back and when it knows of an end, and the toy has none of
//! that. rustls draws keys at random, which no seed can give it; but lengths do not depend on them (the certificate is one
//! of Ed25519, whose signatures have one length), and nothing else of the wire is seen here. So a seed is the same run
//! each time.
//!
//! Places in a client's stream are places of its session, as without TLS. `Marks` says where they are on the wire.

use super::backend::Backends;
use super::credentials::{Manner, Secure};
use super::faults::Faults;
use super::oracle::Case;
use super::peer::Program;
use super::plan::Plan;
use super::rng::Rng;
use super::run::{Options, Outcome, live};
use super::script::Ending;
use super::world::{Side, World};
use crate::core::buf::ByteQueue;
use crate::core::end::{CloseMode, Reason};
use crate::core::time::Duration;
use crate::net::Sent;
use crate::protocol::Protocol;
use crate::tls::MaxVersion;
use crate::transport::{self, Layer, Phase};

/// Runs the simulation of `seed`.
pub fn run_tls(seed: u64, options: &Options) -> Outcome {
    let mut rng = Rng::new(seed ^ 0x0074_6c73);
    let mut plan = Plan::draw(&mut rng, options.duration);
    let mut secure = Secure::new();
    for (index, listener) in plan.settings.listeners.iter_mut().enumerate() {
        if index > 0 && rng.chance(200_000) {
            secure.add_plain();
            continue;
        }
        listener.tls = Some(secure.draw_listener(&mut rng));
        let policy = &mut listener.policy;
        policy.bounds.handshake_timeout =
            rng.chance(800_000).then(|| rng.between(Duration::from_secs(1), Duration::from_secs(60)));
        // An urgent byte that strays into a client's stream is no record, and its session is over.
        policy.liveness.probe_oob = None;
    }
    let faults = Faults::draw(&mut rng);
    let mut world = World::new(faults, &mut rng);
    world.trace = options.trace.then(Vec::new);
    world.secure = Some(secure);
    live(seed, plan, world, Backends::default(), &mut rng, options)
}

/// Where places of a session are on the wire: the ends of what was sent.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// Of records, on the wire and in the session.
    records: Vec<(u64, u64)>,
    /// Of the first message of the handshake.
    hello: u64,
    /// Of the last one.
    opened: Option<u64>,
    /// The server is not to take it, for its version or for what it shows.
    refused: bool,
    /// Of the word that nothing follows.
    last_word: Option<u64>,
    /// Of what is no record.
    broken: Option<u64>,
    /// The handshake is all that its protocol opens with.
    opens_alone: bool,
    /// The client has seen the server's last word.
    told: bool,
}

impl Marks {
    /// How far the session has come where so much of the wire was read.
    pub(super) fn session_at(&self, wire: u64) -> u64 {
        if self.refused {
            return 0;
        }
        let whole = self.records.partition_point(|(end, _)| *end <= wire);
        whole.checked_sub(1).map_or(0, |last| self.records[last].1)
    }

    /// Whether who reads so much of the wire knows that the connection is open.
    pub(super) fn is_open_at(&self, wire: u64) -> bool {
        self.opens_alone && self.was_open_at(wire)
    }

    /// Whether its handshake is over by then, and well.
    fn was_open_at(&self, wire: u64) -> bool {
        !self.refused && is_within(self.opened, wire)
    }
}

/// Whether a mark is within so much of the wire.
fn is_within(mark: Option<u64>, wire: u64) -> bool {
    mark.is_some_and(|mark| mark <= wire)
}

/// A client's side of TLS.
#[derive(Debug)]
pub(super) struct Wire {
    layer: Box<dyn Layer>,
    /// What its kernel had no room for.
    output: ByteQueue,
    /// What that took.
    sent: u64,
    /// Bytes of the session that are in records.
    encoded: u64,
    /// Nothing is given to the kernel for now.
    corked: bool,
    manner: Manner,
    habits: Habits,
}

/// How a connection speaks TLS.
#[derive(Clone, Copy, Debug)]
struct Habits {
    /// It says so when nothing follows.
    says_last_word: bool,
    /// It sends a FIN behind that, and does not wait for the other.
    sends_fin: bool,
    /// What goes out with the end of the handshake.
    lump: Lump,
    /// It sends no more than that of the handshake.
    stops_after: Option<u64>,
}

impl Habits {
    fn draw(rng: &mut Rng, ending: Ending) -> Self {
        let stops = ending == Ending::NeverSpeak && rng.chance(600_000);
        Self {
            says_last_word: rng.chance(700_000),
            sends_fin: rng.chance(700_000),
            lump: match rng.index(10) {
                0..7 => Lump::Nothing,
                7 | 8 => Lump::Data,
                _ => Lump::All,
            },
            stops_after: stops.then(|| rng.pick(&[0, 1, 100, 10_000])),
        }
    }
}

/// What goes out in one piece with the end of a handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lump {
    /// Nothing.
    Nothing,
    /// What it has to say first.
    Data,
    /// That, and that nothing follows.
    All,
}

/// Most bytes of the session in one record (RFC 8446, 5.1).
const RECORD_BYTES: usize = 16 * 1024;

impl Program {
    /// Begins to speak TLS on its new connection, where its listener does.
    pub(super) fn open_wire(&mut self, conn: usize, world: &mut World) {
        self.wire = None;
        let Some(secure) = world.secure.as_mut().filter(|secure| secure.speaks(self.script.listener)) else {
            return;
        };
        if self.rng.chance(50_000) {
            secure.rotate_tickets();
            world.note(|| "new keys for tickets".into());
        }
        let Some(secure) = &world.secure else { return };
        let manner = secure.draw_client(self.script.listener, &mut self.rng);
        let wrong_version = secure.refuses_version(self.script.listener, manner);
        let refused = wrong_version || secure.refuses_certificate(self.script.listener, manner);
        let mut wire = Wire {
            layer: transport::connect(secure.client(manner)),
            output: ByteQueue::default(),
            sent: 0,
            encoded: 0,
            corked: false,
            manner,
            habits: Habits::draw(&mut self.rng, self.script.ending),
        };
        wire.layer.begin(&mut wire.output);
        let hello = wire.end();
        self.wire = Some(Box::new(wire));
        let opens_alone = self.script.protocol == Protocol::Echo;
        // One of no version in common says nothing more.
        let opened = wrong_version.then_some(hello);
        let marks = Marks { hello, opened, refused, opens_alone, ..Marks::default() };
        world.conns[conn].oracle.tls = Some(Box::new(marks));
        world.note(|| format!("c{conn} client speaks {manner:?}{}", if refused { ", refused" } else { "" }));
    }

    /// Whether its kernel has all that it has said.
    pub(super) fn is_all_sent(&self) -> bool {
        self.backlog.is_empty() && self.wire.as_ref().is_none_or(|wire| wire.output.is_empty())
    }

    /// Encodes what it has to say, and gives it to its kernel.
    pub(super) fn flush_wire(&mut self, conn: usize, world: &mut World) {
        let Some(wire) = self.wire.as_deref_mut() else { return };
        loop {
            while !self.backlog.is_empty() && wire.output.len() < RECORD_BYTES && wire.layer.can_send() {
                let count = self.backlog.len().min(RECORD_BYTES);
                wire.layer.send(&self.backlog[..count], &mut wire.output);
                self.backlog.drain(..count);
                wire.encoded += count as u64;
                let mark = (wire.end(), wire.encoded);
                marks(conn, world).records.push(mark);
            }
            let stops = wire.habits.stops_after.map(|after| after.saturating_sub(wire.sent));
            let most = stops.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
            let offered = wire.output.len().min(most);
            if offered == 0 || wire.corked {
                return;
            }
            let bytes = &wire.output.as_slice()[..offered];
            match world.act(conn, Side::Theirs, |sock, now, out| sock.send(bytes, now, out)) {
                Some(Sent::Bytes(count)) => {
                    wire.output.consume(count);
                    wire.sent += count as u64;
                }
                Some(Sent::WouldBlock | Sent::Interrupted) => return,
                Some(Sent::Failed(_)) | None => {
                    wire.output.reset(0);
                    return self.backlog.clear();
                }
            }
        }
    }

    /// Takes what has come on the wire. Whether the server has said that nothing follows.
    pub(super) fn receive_wire(&mut self, bytes: &[u8], conn: usize, world: &mut World) -> bool {
        let Some(wire) = self.wire.as_deref_mut() else { return false };
        let before = wire.layer.phase();
        if before == Phase::Ended {
            return true;
        }
        let said = wire.end();
        let outcome = wire.layer.receive(bytes, &mut wire.output);
        let mut plain = vec![0; wire.layer.held()];
        let mut taken = 0;
        while taken < plain.len() {
            taken += wire.layer.take(&mut plain[taken..]);
        }
        let phase = wire.layer.phase();
        let end = wire.end();
        // In TLS 1.2, its last message of the handshake is one of its second answer, and the server's comes behind that.
        let is_last = phase == Phase::Open || wire.manner.newest == MaxVersion::V12 && end > said;
        if before == Phase::Opening && is_last && outcome.is_ok() {
            marks(conn, world).opened = Some(end);
        }
        if before == Phase::Opening && phase != before && outcome.is_ok() {
            let (newest, again) = (wire.manner.newest, wire.layer.is_resumed());
            let again = if again { ", resumed" } else { "" };
            world.note(|| format!("c{conn} client has finished its handshake: {newest:?}{again}"));
            self.on_open(world);
        }
        if marks(conn, world).refused && !plain.is_empty() {
            world.violate(format!("c{conn}: it is served, although it is to be refused"));
        }
        self.check(&plain, conn, world);
        match outcome {
            // It is told of its own mistake.
            Err(_) if marks(conn, world).broken.is_some() || marks(conn, world).refused => {}
            Err(error) => world.violate(format!("c{conn}: what the server says is no TLS: {}", error.text)),
            Ok(()) => marks(conn, world).told |= phase == Phase::Ended,
        }
        self.flush(world);
        phase == Phase::Ended
    }

    /// Its handshake is finished: what it has to say may go out with the end of that.
    fn on_open(&mut self, world: &mut World) {
        let Some(wire) = self.wire.as_deref_mut().filter(|wire| wire.habits.lump != Lump::Nothing) else {
            return;
        };
        if self.mute || self.finished {
            return;
        }
        wire.corked = true;
        let all = wire.habits.lump == Lump::All && self.script.ending != Ending::NeverSpeak;
        if self.script.protocol == Protocol::Resp {
            self.say(b"PING\r\n", b"+PONG\r\n", world);
        } else {
            let size = self.script.draw_size(&mut self.rng);
            self.say_pattern(size, world);
        }
        if all {
            self.finished = true;
            self.say_last_word(world);
        }
        if let Some(wire) = self.wire.as_deref_mut() {
            wire.corked = false;
        }
        self.flush(world);
    }

    /// Says that nothing follows, if it is one that does and nothing waits. Whether a FIN is to follow.
    pub(super) fn say_last_word(&mut self, world: &mut World) -> bool {
        let (Some(conn), Some(wire)) = (self.conn, self.wire.as_deref_mut()) else { return true };
        if !wire.habits.says_last_word || !self.backlog.is_empty() || !wire.layer.can_send() {
            return true;
        }
        wire.layer.finish(&mut wire.output);
        let (end, sends_fin) = (wire.end(), wire.habits.sends_fin);
        marks(conn, world).last_word.get_or_insert(end);
        world.note(|| format!("c{conn} client says its last word"));
        self.flush(world);
        sends_fin
    }

    /// Sends what is no record.
    pub(super) fn break_record(&mut self, world: &mut World) {
        let (Some(conn), Some(wire)) = (self.conn, self.wire.as_deref_mut()) else { return };
        wire.output.push(&[23, 3, 3, 0, 32]);
        wire.output.push(&[0x5a; 32]);
        let end = wire.end();
        marks(conn, world).broken = Some(end);
        (self.mute, self.finished, self.checks) = (true, true, false);
        self.flush(world);
    }

    /// What its kernel never took is not known to anybody.
    pub(super) fn take_wire_back(&mut self, conn: usize, world: &mut World) {
        let Some(wire) = self.wire.take() else { return };
        if !wire.output.is_empty() {
            let known = marks(conn, world).session_at(wire.sent);
            let said = &mut world.conns[conn].oracle.said;
            said.sent = said.sent.min(known);
        }
    }
}

impl Wire {
    /// Where it ends by now.
    fn end(&self) -> u64 {
        self.sent + self.output.len() as u64
    }
}

fn marks(conn: usize, world: &mut World) -> &mut Marks {
    world.conns[conn].oracle.tls.as_deref_mut().expect("it speaks TLS")
}

impl Case<'_> {
    /// Whether the client's way to end its stream makes a reason wrong; `None`: it speaks no TLS, or that is right.
    pub(super) fn last_word_is_wrong(&self, fin: bool) -> Option<String> {
        let wire = self.oracle().read;
        let marks = self.oracle().tls.as_deref()?;
        let was_open = marks.was_open_at(wire);
        if marks.refused && self.end.reason != Reason::ProtocolTls {
            let is_read = is_within(marks.opened, wire);
            return is_read.then(|| "it was to be refused".to_owned());
        }
        let is_said = is_within(marks.last_word, wire);
        let (right, what) = if self.end.reason == Reason::PeerTruncated {
            (fin && was_open && !is_said, "its stream was not cut")
        } else if self.end.reason == Reason::ProtocolTls {
            let is_refused = marks.refused && wire >= marks.hello;
            (is_refused || is_within(marks.broken, wire), "its records were sound")
        } else {
            (is_said || fin && !was_open, "it had not said that nothing follows")
        };
        (!right).then(|| what.to_owned())
    }

    /// Whether something of a session was lost, where both sides have ended it in order.
    pub(super) fn session_is_wrong(&self, orderly: bool) -> Option<String> {
        let (truth, said) = (self.oracle(), &self.oracle().said);
        let marks = truth.tls.as_deref()?;
        let read = marks.session_at(truth.read);
        if orderly && is_within(marks.last_word, truth.read) && read != said.sent {
            return Some(format!(
                "{read} of {} bytes of its session were read before its last word",
                said.sent
            ));
        }
        // It has waited for ours, and is told of all that it has sent.
        let is_echo = self.settings.protocol == Protocol::Echo;
        if orderly && is_echo && marks.told && said.received < said.sent {
            return Some(format!("{} of {} bytes came back before our last word", said.received, said.sent));
        }
        None
    }

    /// The same, of an ending that counts as being in order.
    pub(super) fn ends_in_order(&self) -> bool {
        self.end.reason == Reason::PeerFin
            && matches!(self.end.close, CloseMode::PeerFirst | CloseMode::PeerFirstAfterGoodbye)
    }
}
