//! Runs a scenario on one kernel, simulated or real, and writes its trace.
//!
//! After each step both ends come to rest, so that a trace does not depend on how fast things happen; what
//! remains undetermined is not written down: byte counts of buffers that fill, and fractions of seconds.

use crate::any::Any;
use crate::step::{Scenario, Step, Verb};
use linger::core::tcp::{TcpSnapshot, TcpState};
use linger::core::time::{Duration, Instant};
use linger::net::{
    Accepted, Address, CloseHow, ConnectSpec, Interest, Kernel, ListenSpec, Listener, Peer as PeerAddress,
    Readiness, Ready, Received, Sent, SocketError, SocketOptions, Stream as _, Token,
};
use std::collections::BTreeSet;
use std::fmt;

pub type StreamOf<L> = <<L as Lab>::Kernel as Kernel>::Stream;

/// The client's end of a connection, non-blocking.
pub trait Peer {
    fn send(&mut self, bytes: &[u8]) -> Sent;
    fn send_oob(&mut self) -> Sent;
    fn recv(&mut self, buffer: &mut [u8]) -> Received;
    /// `shutdown(SHUT_WR)`.
    fn finish(&mut self);
    fn take_error(&mut self) -> Option<SocketError>;
    fn close(self, how: CloseHow);
}

/// A kernel with clients, and a view of its sockets from outside.
pub trait Lab {
    type Kernel: Kernel;
    type Peer: Peer;

    fn kernel(&mut self) -> &mut Self::Kernel;
    /// Another kernel of the same host.
    fn another_kernel(&mut self) -> Self::Kernel;
    /// What to listen on: for one listener the first.
    fn addresses(&self) -> [Address; 2];
    /// A client begins to connect.
    fn connect(&mut self, to: &Address) -> Self::Peer {
        self.connect_to(0, to)
    }
    /// The same, to the listener with that number, of those that were opened.
    fn connect_to(&mut self, listener: usize, to: &Address) -> Self::Peer;
    /// An upstream listens. Returns where.
    fn listen(&mut self, backlog: u32) -> Address;
    /// It closes its listener.
    fn refuse(&mut self);
    /// It accepts one. Says which connection that is.
    fn take(&mut self) -> Option<(usize, Self::Peer)>;
    /// The server has begun to connect to it: the next connection.
    fn connects_out(&mut self, stream: &StreamOf<Self>, to: &Address);
    /// The connection that a reactor has begun last, and its upstream has not accepted.
    fn outgoing(&mut self) -> usize;
    /// Which connection was accepted.
    fn number_of(&self, stream: &StreamOf<Self>, peer: PeerAddress) -> usize;
    /// `shutdown(SHUT_WR)` of the server's end, which the server itself never does.
    fn finish(&mut self, stream: &StreamOf<Self>);
    /// Waits until nothing moves any more.
    fn settle(&mut self);
    /// Lets time pass.
    fn pass(&mut self, time: Duration);
    /// TCP states of the client's and the server's end (`CLOSE` if there is no socket).
    fn states(&mut self, connection: usize) -> [TcpState; 2];
    /// Pulls a client's cable, or plugs it in.
    fn plug(&mut self, connection: usize, plugged: bool);
    /// The next poll, which is to wait, is interrupted by a signal.
    fn interrupt(&mut self);
    /// How much later than it asked for it was given the processor, all steps together.
    fn lateness(&self) -> Duration;
}

/// What a step gave.
#[derive(Clone, Debug)]
pub struct Line {
    text: String,
    /// How long it took, where that is the question.
    took: Option<Duration>,
}

impl Line {
    /// The same, within what a busy machine and the variance of a round trip add to a timer.
    pub fn agrees(&self, other: &Self) -> bool {
        const GRAIN: Duration = Duration::from_millis(800);
        let took = match (self.took, other.took) {
            (Some(one), Some(other)) => one.abs_diff(other) < GRAIN,
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        took && self.text == other.text
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        self.took.map_or(Ok(()), |took| write!(f, " after {:.1} s", took.as_secs_f64()))
    }
}

/// What a scenario gave: a line a step.
pub struct Trace {
    pub lines: Vec<Line>,
    /// See [`Lab::lateness`].
    pub lateness: Duration,
}

/// Runs `steps`.
pub fn run<L: Lab>(mut lab: L, scenario: &Scenario, steps: &[Step]) -> Trace {
    let [address, _] = lab.addresses();
    let spec =
        ListenSpec { address, backlog: scenario.backlog, options: scenario.options, socket_mode: 0o660 };
    let listener = lab.kernel().listen(&spec, LISTENER).unwrap_or_else(|fatal| panic!("{fatal}"));
    let address = listener.address().clone();
    let mut run = Run {
        lab,
        address,
        listener: Some(listener),
        options: scenario.options,
        upstream: None,
        connections: Vec::new(),
        moved: Instant::ZERO,
        took: None,
        brought: BTreeSet::new(),
    };
    let lines = steps.iter().map(|&step| run.line(step)).collect();
    Trace { lines, lateness: run.lab.lateness() }
}

const LISTENER: Token = Token(1000);

const NOTHING: &str = "nothing";

/// More connections than this are a crowd, whose states are not told.
const CROWD: usize = 8;

/// Rests at most this often in one step: only a failure goes on for longer.
const RESTS_MAX: usize = 500;

struct Connection<L: Lab> {
    client: Option<L::Peer>,
    server: Option<StreamOf<L>>,
    /// Bytes sent, and bytes received from the other end, by client and server.
    sent: [usize; 2],
    received: [usize; 2],
}

struct Run<L: Lab> {
    lab: L,
    address: Address,
    listener: Option<<L::Kernel as Kernel>::Listener>,
    /// Options of what the server connects.
    options: SocketOptions,
    upstream: Option<Address>,
    connections: Vec<Connection<L>>,
    /// When an end last did what starts a timer of the kernel's.
    moved: Instant,
    took: Option<Duration>,
    /// What [`Step::PollOnce`] has brought so far.
    brought: BTreeSet<u64>,
}

impl<L: Lab> Run<L> {
    fn line(&mut self, step: Step) -> Line {
        let outcome = self.perform(step);
        if let Step::Connect
        | Step::ConnectOut
        | Step::Client(_, Verb::Send(_) | Verb::Fill | Verb::Finish | Verb::Close(_))
        | Step::Server(_, Verb::Send(_) | Verb::Fill | Verb::Finish | Verb::Close(_)) = step
        {
            self.moved = self.lab.kernel().now();
        }
        if matches!(step, Step::Unplug(_) | Step::Plug(_)) {
            // When what was lost comes again is for timers to say, not for this step.
            return Line { text: format!("{step:?}"), took: None };
        }
        self.lab.settle();
        // Looking at each of a crowd takes long, and says little.
        let shown = if self.connections.len() <= CROWD { self.connections.len() } else { 0 };
        let states = (0..shown).map(|connection| {
            let [client, server] = self.lab.states(connection).map(TcpState::name);
            format!("{client}/{server}")
        });
        let states: Vec<_> = states.collect();
        let text = format!("{step:?}: {outcome} [{}]", states.join(", "));
        Line { text, took: self.took.take() }
    }

    fn perform(&mut self, step: Step) -> String {
        match step {
            Step::Connect => {
                let client = Some(self.lab.connect(&self.address));
                self.connections.push(Connection { client, server: None, sent: [0; 2], received: [0; 2] });
                String::new()
            }
            Step::Accept => self.accept(),
            Step::Listen(backlog) => {
                self.upstream = Some(self.lab.listen(backlog));
                String::new()
            }
            Step::ConnectOut => self.connect_out(),
            Step::Take => match self.lab.take() {
                Some((number, peer)) => {
                    self.connections[number].client = Some(peer);
                    format!("connection {number}")
                }
                None => "WouldBlock".into(),
            },
            Step::Refuse => {
                self.lab.refuse();
                String::new()
            }
            Step::Queue => format!("{:?}", self.listener.as_ref().and_then(Listener::queue)),
            Step::Poll => self.poll(Duration::ZERO),
            Step::Client(number, verb) => self.act(number, 0, verb),
            Step::Server(number, verb) => self.act(number, 1, verb),
            Step::Rewatch(number, interest) => {
                let stream = self.connections[number].server.as_ref().expect("it is accepted");
                format!("{:?}", self.lab.kernel().rewatch(stream, token(number), interest))
            }
            Step::Info(number) => {
                let stream = self.connections[number].server.as_ref().expect("it is accepted");
                stream.evidence().as_ref().map_or("none".into(), evidence)
            }
            Step::Crowd(count) => self.crowd(count),
            Step::PollOnce => {
                let mut ready = Vec::new();
                let polled = self.lab.kernel().poll(Some(Duration::ZERO), &mut ready);
                let polled = polled.unwrap_or_else(|fatal| panic!("{fatal}"));
                let fresh = ready.iter().filter(|ready| self.brought.insert(ready.token.0)).count();
                format!("{polled:?}, {} entries, {fresh} for the first time", ready.len())
            }
            Step::Interrupt => {
                self.lab.interrupt();
                let mut ready = Vec::new();
                let polled = self.lab.kernel().poll(Some(Duration::from_secs(60)), &mut ready);
                let polled = polled.unwrap_or_else(|fatal| panic!("{fatal}"));
                format!("{polled:?}, {} entries", ready.len())
            }
            Step::CloseListener => {
                self.listener = None;
                String::new()
            }
            Step::Unplug(number) => {
                self.lab.plug(number, false);
                String::new()
            }
            Step::Plug(number) => {
                self.lab.plug(number, true);
                String::new()
            }
            Step::Pass(millis) => {
                self.lab.pass(Duration::from_millis(millis));
                String::new()
            }
            Step::Wait(most) => {
                let ready = self.poll(Duration::from_secs(most));
                let took = self.lab.kernel().now().since(self.moved);
                self.took = (ready != NOTHING).then_some(took);
                ready
            }
            Step::WaitGone(number, most) => {
                let mut passed = Duration::ZERO;
                while self.lab.states(number)[1] != TcpState::Close && passed < Duration::from_secs(most) {
                    self.lab.pass(Duration::from_millis(50));
                    passed = self.lab.kernel().now().since(self.moved);
                }
                self.took = Some(passed);
                String::new()
            }
        }
    }

    fn accept(&mut self) -> String {
        let listener = self.listener.as_mut().expect("a scenario accepts while it listens");
        match listener.try_accept() {
            Accepted::Stream(stream, peer) => {
                let number = self.lab.number_of(&stream, peer);
                let watched = self.lab.kernel().watch(&stream, token(number), Interest::Read);
                self.connections[number].server = Some(stream);
                format!("connection {number} {watched:?}")
            }
            Accepted::WouldBlock => "WouldBlock".into(),
            Accepted::Interrupted => "Interrupted".into(),
            Accepted::Aborted(errno) => format!("Aborted({errno})"),
            Accepted::Exhausted(resource) => format!("Exhausted({resource:?})"),
            Accepted::Failed(errno) => format!("Failed({errno})"),
        }
    }

    fn connect_out(&mut self) -> String {
        let to = self.upstream.as_ref().expect("an upstream has listened");
        let spec = ConnectSpec { to, from: None, options: self.options };
        match self.lab.kernel().connect(&spec, token(self.connections.len())) {
            Ok(stream) => {
                self.lab.connects_out(&stream, to);
                let server = Some(stream);
                self.connections.push(Connection { client: None, server, sent: [0; 2], received: [0; 2] });
                String::new()
            }
            Err(error) => format!("{error:?}"),
        }
    }

    fn crowd(&mut self, count: usize) -> String {
        let first = self.connections.len();
        for _ in 0..count {
            self.perform(Step::Connect);
        }
        self.lab.settle();
        for _ in 0..count {
            self.accept();
        }
        // The listener's own edges are not what is counted.
        self.lab
            .kernel()
            .poll(Some(Duration::ZERO), &mut Vec::new())
            .unwrap_or_else(|fatal| panic!("{fatal}"));
        for number in first..first + count {
            self.act(number, 0, Verb::Send(1));
        }
        let accepted =
            self.connections[first..].iter().filter(|connection| connection.server.is_some()).count();
        format!("{accepted} accepted")
    }

    /// What is ready within `timeout`, once everything has come to rest.
    fn poll(&mut self, timeout: Duration) -> String {
        let mut ready = Vec::new();
        self.lab.kernel().poll(Some(timeout), &mut ready).unwrap_or_else(|fatal| panic!("{fatal}"));
        // An edge may be one of several: those of one cause belong together.
        self.lab.settle();
        self.lab.kernel().poll(Some(Duration::ZERO), &mut ready).unwrap_or_else(|fatal| panic!("{fatal}"));
        ready.sort_by_key(|ready| ready.token.0);
        let mut shown: Vec<_> = ready.iter().map(entry).collect();
        // The probe of a shut window gives the same edge once more, and comes when its timer says.
        shown.dedup();
        if shown.is_empty() { NOTHING.into() } else { shown.join(", ") }
    }

    fn act(&mut self, number: usize, side: usize, verb: Verb) -> String {
        let connection = &mut self.connections[number];
        match verb {
            Verb::Send(count) => match connection.end(side).send(&vec![7; count]) {
                Sent::Bytes(count) => {
                    connection.sent[side] += count;
                    format!("{count} sent")
                }
                other @ (Sent::WouldBlock | Sent::Interrupted | Sent::Failed(_)) => format!("{other:?}"),
            },
            Verb::SendOob => format!("{:?}", connection.end(side).send_oob()),
            Verb::Recv(most) => match connection.end(side).recv(&mut vec![0; most]) {
                Received::Bytes(count) => {
                    connection.received[side] += count;
                    format!("{count} received")
                }
                other @ (Received::Eof
                | Received::WouldBlock
                | Received::Interrupted
                | Received::Failed(_)) => format!("{other:?}"),
            },
            Verb::Fill => self.fill(number, side),
            Verb::Drain => self.drain(number, side),
            Verb::Error => format!("{:?}", connection.end(side).take_error()),
            Verb::Finish => {
                match (side, &mut connection.client, &connection.server) {
                    (0, Some(client), _) => client.finish(),
                    (_, _, Some(server)) => self.lab.finish(server),
                    _ => panic!("connection {number} is closed"),
                }
                String::new()
            }
            Verb::UserTimeout(seconds) => {
                let server = connection.server.as_mut().expect("it is accepted");
                server.set_user_timeout(Duration::from_secs(seconds));
                String::new()
            }
            Verb::Close(how) => {
                if side == 0 {
                    connection.client.take().expect("it is open").close(how);
                } else {
                    connection.server.take().expect("it is open").close(how);
                }
                String::new()
            }
            Verb::Drop => {
                if side == 0 {
                    connection.client.take().expect("it is open").close(CloseHow::Plain);
                } else {
                    drop(connection.server.take().expect("it is open"));
                }
                String::new()
            }
        }
    }

    fn fill(&mut self, number: usize, side: usize) -> String {
        let mut rested = false;
        for _ in 0..RESTS_MAX {
            let connection = &mut self.connections[number];
            match connection.end(side).send(&[7; 16 * 1024]) {
                Sent::Bytes(count) => {
                    connection.sent[side] += count;
                    rested = false;
                }
                Sent::WouldBlock if rested => return "full".into(),
                Sent::WouldBlock => {
                    self.lab.settle();
                    rested = true;
                }
                other @ (Sent::Interrupted | Sent::Failed(_)) => return format!("{other:?}"),
            }
        }
        "endless".into()
    }

    fn drain(&mut self, number: usize, side: usize) -> String {
        let Connection { sent, mut received, .. } = self.connections[number];
        let told = drain(&mut received[side], sent[1 - side], |rests| {
            if rests {
                self.lab.settle();
            }
            self.connections[number].end(side).recv(&mut [0; 16 * 1024])
        });
        self.connections[number].received = received;
        told
    }
}

/// Receives all there is, waiting while more comes, and says whether that was all that the other end has `sent`. `recv`:
/// receives, and lets all come to rest before if it is told so.
pub fn drain(received: &mut usize, sent: usize, mut recv: impl FnMut(bool) -> Received) -> String {
    let mut rested = false;
    for _ in 0..RESTS_MAX {
        match recv(rested) {
            Received::Bytes(count) => {
                *received += count;
                rested = false;
            }
            Received::WouldBlock if !rested => rested = true,
            last @ (Received::Eof | Received::WouldBlock | Received::Interrupted | Received::Failed(_)) => {
                let share = if *received == sent { "everything" } else { "a part" };
                return format!("{share}, then {last:?}");
            }
        }
    }
    "endless".into()
}

impl<L: Lab> Connection<L> {
    fn end(&mut self, side: usize) -> Any<'_, L> {
        match (side, &mut self.client, &mut self.server) {
            (0, Some(client), _) => Any::Client(client),
            (1, _, Some(server)) => Any::Server(server),
            _ => panic!("that end is closed, or not accepted yet"),
        }
    }
}

/// A token as the table of connections makes it: generations begin with 1.
const fn token(number: usize) -> Token {
    Token(((number as u64 + 1) << 32) | number as u64)
}

fn entry(ready: &Ready) -> String {
    let flags = [
        (Readiness::READABLE, "readable"),
        (Readiness::WRITABLE, "writable"),
        (Readiness::READ_CLOSED, "read_closed"),
        (Readiness::WRITE_CLOSED, "write_closed"),
        (Readiness::ERROR, "error"),
    ];
    let set: Vec<_> =
        flags.iter().filter(|(flag, _)| ready.readiness.has(*flag)).map(|(_, name)| *name).collect();
    let source = if ready.token == LISTENER {
        "listener".into()
    } else {
        format!("connection {}", ready.token.0 & 0xffff_ffff)
    };
    format!("{source} {}", set.join("+"))
}

fn evidence(evidence: &TcpSnapshot) -> String {
    let is = |condition, yes: &'static str, no: &'static str| if condition { yes } else { no };
    format!(
        "{} {} {} {} {}",
        evidence.state.name(),
        is(evidence.retransmits > 0, "retransmitting", "no-retransmits"),
        is(evidence.unacked > 0, "unacked", "all-acked"),
        is(evidence.snd_wnd == 0, "window-shut", "window-open"),
        is(evidence.notsent_bytes > 0, "notsent", "all-sent"),
    )
}
