//! The language of scenarios of a gateway, and what plays them: the whole reactor on one kernel, between a client and a
//! server that do as they are told.
//!
//! A trace has a line a step: what it gave, the TCP states of both connections, and the records of the legs that have
//! ended since the step before.

use crate::lab::{Lab, Peer, drain};
use crate::real::Real;
use crate::simulated::Simulated;
use crate::step::Verb;
use linger::config::{Override, Sources, no_files, resolve_text};
use linger::core::end::Leg;
use linger::core::time::Duration;
use linger::net::{Address, CloseHow, Received, Sent};
use linger::reactor::{Ended, NoReload, Reactor};

/// What happens to a pair. All that follows has happened before the next step, unless the gateway is stopped.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// A side does something.
    Side(Leg, Verb),
    /// The operator ends the pair.
    Kick,
    /// The operator ends the gateway.
    Drain,
    /// The gateway does nothing more.
    Stop,
    /// It goes on.
    Continue,
    /// The server takes the connection that was in its queue, and then that of the pair, which is repeated for some seconds.
    TakeLate,
    /// The server takes the connection that was in its queue. For so many milliseconds nobody else comes.
    NobodyComes(u64),
}

pub const fn client(verb: Verb) -> Step {
    Step::Side(Leg::Client, verb)
}

pub const fn server(verb: Verb) -> Step {
    Step::Side(Leg::Upstream, verb)
}

pub const CLOSE: Verb = Verb::Close(CloseHow::Plain);
pub const RESET: Verb = Verb::Close(CloseHow::Reset);

/// The server, as the gateway finds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Upstream {
    /// It takes the connection of the pair.
    Accepts,
    /// It does not listen.
    Absent,
    /// Its queue is full: the connection of the pair is being made.
    Full,
}

/// A gateway on one kernel, and what is at either side of it.
struct Pair<L: Lab> {
    lab: L,
    reactor: Reactor<L::Kernel>,
    operator: Operator<L::Peer>,
    sides: [Option<L::Peer>; 2],
    /// Both ends of a pair before: its connection was in the queue of the server.
    before: Vec<L::Peer>,
    /// The connections of the pair, as the lab counts them: that of the client, and the one to its server.
    connections: Vec<usize>,
    /// The gateway does nothing.
    is_stopped: bool,
    sent: [usize; 2],
    received: [usize; 2],
}

/// Asks at the admin interface.
struct Operator<P> {
    peer: P,
    answer: Vec<u8>,
}

impl<P: Peer> Operator<P> {
    fn ask(&mut self, request: &str) {
        self.answer.clear();
        let request = format!("{request} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(self.peer.send(request.as_bytes()), Sent::Bytes(request.len()));
    }

    fn has_answer(&mut self) -> bool {
        let mut buffer = [0; 4096];
        if let Received::Bytes(count) = self.peer.recv(&mut buffer) {
            self.answer.extend(&buffer[..count]);
        }
        let text = std::str::from_utf8(&self.answer).expect("it is text");
        let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
        assert!(head.starts_with("HTTP/1.1 2"), "{head}");
        let length = head.to_lowercase().lines().find_map(|line| {
            line.strip_prefix("content-length: ").map(|length| length.parse::<usize>().expect("a number"))
        });
        body.len() >= length.unwrap_or_default()
    }
}

fn listen_url(address: &Address, protocol: &str) -> String {
    let Address::Tcp { socket, .. } = address else { unreachable!("it has a port") };
    format!("{protocol}://{socket}")
}

impl<L: Lab> Pair<L> {
    fn new(mut lab: L, query: &str, upstream: Upstream) -> Self {
        let backlog = if upstream == Upstream::Full { 0 } else { 16 };
        let to = listen_url(&lab.listen(backlog), "").replace("://", "");
        if upstream == Upstream::Absent {
            lab.refuse();
        }
        let [relay, admin] = lab.addresses();
        let admin = listen_url(&admin, "").replace("://", "");
        let settings = [("admin.address", &*admin), ("audit.interval", "off"), ("drain.spread", "0s")];
        let overrides = settings.map(|(key, value)| Override {
            flag: "--set".to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
        });
        let listen = vec![format!("{}?upstream={to}&{query}", listen_url(&relay, "tcp"))];
        let sources = Sources { file: None, listen, overrides: overrides.to_vec() };
        let settings = resolve_text(&sources, None, no_files).expect("a configuration").settings;
        let mut reactor = Reactor::new(lab.another_kernel(), settings, 1_000, Box::new(NoReload))
            .unwrap_or_else(|fatal| panic!("{fatal}"));
        reactor.keep_ends();
        let addresses: Vec<_> = reactor.addresses().map(|(_, address)| address.clone()).collect();
        let [gateway, admin] = &addresses[..] else { panic!("{addresses:?}") };
        let operator = Operator { peer: lab.connect_to(1, admin), answer: Vec::new() };
        let first = lab.connect_to(0, gateway);
        let (sent, received) = Default::default();
        let mut pair = Self {
            lab,
            reactor,
            operator,
            sides: [Some(first), None],
            before: Vec::new(),
            connections: vec![1],
            is_stopped: false,
            sent,
            received,
        };
        pair.come_to_rest();
        match upstream {
            Upstream::Accepts => {
                let (number, server) = pair.lab.take().expect("the gateway has connected");
                pair.sides[1] = Some(server);
                pair.connections.push(number);
            }
            Upstream::Absent => {}
            Upstream::Full => {
                let waiting = pair.lab.outgoing();
                pair.before.extend(pair.sides[0].replace(pair.lab.connect_to(0, gateway)));
                pair.come_to_rest();
                pair.connections = vec![waiting + 1, pair.lab.outgoing()];
            }
        }
        pair
    }

    /// Turns until all is done that follows from what was done at either side.
    fn come_to_rest(&mut self) {
        if self.is_stopped {
            return self.lab.settle();
        }
        for _ in 0..4 {
            self.lab.settle();
            self.ask("GET /healthz");
        }
    }

    /// Whatever is answered comes after all that had come before the question.
    fn ask(&mut self, request: &str) {
        self.operator.ask(request);
        self.lab.settle();
        self.turn_until_answered();
    }

    /// No turn more than that: it would wait for ever.
    fn turn_until_answered(&mut self) {
        loop {
            self.reactor.turn().unwrap_or_else(|fatal| panic!("{fatal}"));
            for _ in 0..20 {
                if self.operator.has_answer() {
                    return;
                }
                self.lab.pass(Duration::from_millis(1));
            }
        }
    }

    fn line(&mut self, step: Step) -> String {
        let given = self.act(step);
        self.come_to_rest();
        let states = self.connections.iter().map(|&connection| {
            let [far, ours] = self.lab.states(connection);
            format!("{}/{}", far.name(), ours.name())
        });
        let states: Vec<_> = states.collect();
        let mut ends: Vec<_> = self.reactor.take_ends().iter().map(shown).collect();
        ends.sort();
        format!("{step:?}: {given} [{}] {}", states.join(", "), ends.join("; "))
    }

    fn act(&mut self, step: Step) -> String {
        match step {
            Step::Side(leg, verb) => return self.act_at(leg as usize, verb),
            Step::Kick => {
                let key = self.reactor.inspect().snapshots().find_map(|conn| conn.pair).map(|(_, key)| key);
                self.ask(&format!("POST /connections/{}/end", key.expect("there is a pair")));
            }
            Step::Drain => self.reactor.terminate(),
            Step::Stop => self.is_stopped = true,
            Step::Continue => self.is_stopped = false,
            Step::TakeLate => {
                self.make_room();
                self.take();
            }
            Step::NobodyComes(millis) => {
                self.make_room();
                self.lab.pass(Duration::from_millis(millis));
                assert!(self.lab.take().is_none(), "it was abandoned");
            }
        }
        String::new()
    }

    fn make_room(&mut self) {
        let (_, waiting) = self.lab.take().expect("it was in the queue");
        self.before.push(waiting);
    }

    fn take(&mut self) {
        const MANY: usize = 400;
        for _ in 0..MANY {
            if let Some((number, server)) = self.lab.take() {
                assert_eq!(number, self.connections[1]);
                self.sides[1] = Some(server);
                return;
            }
            self.lab.pass(Duration::from_millis(25));
            if !self.is_stopped {
                self.come_to_rest();
            }
        }
        panic!("nobody has connected");
    }

    fn act_at(&mut self, at: usize, verb: Verb) -> String {
        match verb {
            Verb::Send(count) => match self.sides[at].as_mut().expect("it is open").send(&vec![7; count]) {
                Sent::Bytes(count) => {
                    self.sent[at] += count;
                    format!("{count} sent")
                }
                other @ (Sent::WouldBlock | Sent::Interrupted | Sent::Failed(_)) => format!("{other:?}"),
            },
            Verb::Drain => self.drain(at),
            Verb::Finish => {
                self.sides[at].as_mut().expect("it is open").finish();
                String::new()
            }
            Verb::Close(how) => {
                self.sides[at].take().expect("it is open").close(how);
                String::new()
            }
            Verb::SendOob | Verb::Fill | Verb::Recv(_) | Verb::Error | Verb::UserTimeout(_) | Verb::Drop => {
                panic!("no step of a pair")
            }
        }
    }

    /// Reads all that comes, while the gateway goes on sending.
    fn drain(&mut self, at: usize) -> String {
        let mut received = self.received[at];
        let told = drain(&mut received, self.sent[1 - at], |rests| {
            if rests {
                self.come_to_rest();
            }
            self.sides[at].as_mut().expect("it is open").recv(&mut [0; 16 * 1024])
        });
        self.received[at] = received;
        told
    }
}

/// What a record says that does not depend on how fast things went.
fn shown(ended: &Ended) -> String {
    let end = &ended.end;
    let leg = end.pair.map_or("no pair", |(leg, _)| leg.name());
    let (reason, detector, close) = (end.reason.name(), end.detector.name(), end.close.name());
    format!("{leg} {reason} {detector} {close}, {} lost", end.unsent_bytes)
}

fn play<L: Lab>(lab: L, query: &str, upstream: Upstream, steps: &[Step]) -> Vec<String> {
    let mut pair = Pair::new(lab, query, upstream);
    steps.iter().map(|&step| pair.line(step)).collect()
}

/// Plays the steps on both kernels. `ends`: what the records say of the legs, so that both cannot be wrong alike.
///
/// # Panics
/// When the traces differ, or the records are others.
pub fn agree(query: &str, upstream: Upstream, steps: &[Step], ends: &str) {
    let simulated = play(Simulated::new(), query, upstream, steps);
    let real = play(Real::new(), query, upstream, steps);
    assert_eq!(simulated, real, "simulated on the left, real on the right");
    println!("{}", real.join("\n"));
    assert!(real.iter().any(|line| line.ends_with(ends)), "no line ends with {ends}:\n{}", real.join("\n"));
}
