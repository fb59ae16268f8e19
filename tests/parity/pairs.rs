//! A gateway between a client and a server: the table "who is told what", played by the whole reactor on both kernels.
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

/// Connections, in the order in which they are made.
const CLIENT: usize = 0;
const SERVER: usize = 2;

/// A side of the pair, and what it does.
type Step = (Leg, Verb);

const fn client(verb: Verb) -> Step {
    (Leg::Client, verb)
}

const fn server(verb: Verb) -> Step {
    (Leg::Upstream, verb)
}

const CLOSE: Verb = Verb::Close(CloseHow::Plain);
const RESET: Verb = Verb::Close(CloseHow::Reset);

/// A gateway on one kernel, and what is at either side of it.
struct Pair<L: Lab> {
    lab: L,
    reactor: Reactor<L::Kernel>,
    /// A client of another listener. Whatever it gets back was sent after all that came before.
    witness: L::Peer,
    sides: [Option<L::Peer>; 2],
    /// Whether there is a server.
    is_there: bool,
    sent: [usize; 2],
    received: [usize; 2],
}

fn listen_url(address: &Address, protocol: &str) -> String {
    let Address::Tcp { socket, .. } = address else { unreachable!("it has a port") };
    format!("{protocol}://{socket}")
}

impl<L: Lab> Pair<L> {
    /// `is_there`: whether the server listens.
    fn new(mut lab: L, query: &str, is_there: bool) -> Self {
        let upstream = listen_url(&lab.listen(16), "").replace("://", "");
        if !is_there {
            lab.refuse();
        }
        let [relay, echo] = lab.addresses();
        let listen = vec![
            format!("{}?upstream={upstream}&{query}", listen_url(&relay, "tcp")),
            listen_url(&echo, "echo"),
        ];
        let overrides = [("admin.address", "off"), ("audit.interval", "off")].map(|(key, value)| Override {
            flag: "--set".to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
        });
        let sources = Sources { file: None, listen, overrides: overrides.to_vec() };
        let settings = resolve_text(&sources, None, no_files).expect("a configuration").settings;
        let mut reactor = Reactor::new(lab.another_kernel(), settings, 1_000, Box::new(NoReload))
            .unwrap_or_else(|fatal| panic!("{fatal}"));
        reactor.keep_ends();
        let addresses: Vec<_> = reactor.addresses().map(|(_, address)| address.clone()).collect();
        let client = lab.connect_to(0, &addresses[0]);
        let witness = lab.connect_to(1, &addresses[1]);
        let (sent, received) = Default::default();
        let mut pair = Self { lab, reactor, witness, sides: [Some(client), None], is_there, sent, received };
        pair.come_to_rest();
        if is_there {
            let (number, server) = pair.lab.take().expect("the gateway has connected");
            assert_eq!(number, SERVER);
            pair.sides[1] = Some(server);
        }
        pair
    }

    /// Turns until all is done that follows from what was done at either side.
    fn come_to_rest(&mut self) {
        for _ in 0..4 {
            self.lab.settle();
            assert_eq!(self.witness.send(b"?"), Sent::Bytes(1));
            self.lab.settle();
            self.turn_until_echoed();
        }
    }

    /// No turn more than that: it would wait for ever.
    fn turn_until_echoed(&mut self) {
        loop {
            self.reactor.turn().unwrap_or_else(|fatal| panic!("{fatal}"));
            for _ in 0..20 {
                if self.witness.recv(&mut [0]) == Received::Bytes(1) {
                    return;
                }
                self.lab.pass(Duration::from_millis(1));
            }
        }
    }

    fn line(&mut self, (leg, verb): Step) -> String {
        let given = self.act(leg, verb);
        self.come_to_rest();
        let connections: &[usize] = if self.is_there { &[CLIENT, SERVER] } else { &[CLIENT] };
        let states = connections.iter().map(|&connection| {
            let [far, ours] = self.lab.states(connection);
            format!("{}/{}", far.name(), ours.name())
        });
        let states: Vec<_> = states.collect();
        let mut ends: Vec<_> = self.reactor.take_ends().iter().map(shown).collect();
        ends.sort();
        format!("{leg:?} {verb:?}: {given} [{}] {}", states.join(", "), ends.join("; "))
    }

    fn act(&mut self, leg: Leg, verb: Verb) -> String {
        let at = leg as usize;
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

fn play<L: Lab>(lab: L, query: &str, is_there: bool, steps: &[Step]) -> Vec<String> {
    let mut pair = Pair::new(lab, query, is_there);
    steps.iter().map(|&step| pair.line(step)).collect()
}

/// Plays the steps on both kernels. `ends`: what the records say of the legs, so that both cannot be wrong alike.
///
/// # Panics
/// When the traces differ, or the records are others.
fn agree(query: &str, is_there: bool, steps: &[Step], ends: &str) {
    let simulated = play(Simulated::new(), query, is_there, steps);
    let real = play(Real::new(), query, is_there, steps);
    assert_eq!(simulated, real, "simulated on the left, real on the right");
    println!("{}", real.join("\n"));
    assert!(real.iter().any(|line| line.ends_with(ends)), "no line ends with {ends}:\n{}", real.join("\n"));
}

macro_rules! pairs {
    ($($name:ident with $query:literal => [$($step:expr),+ $(,)?] ends $ends:literal;)+) => {$(
        #[test]
        fn $name() {
            agree($query, true, &[$($step),+], $ends);
        }
    )+};
}

pairs! {
    the_clients_fin_is_forwarded_and_the_answer_still_comes with "half_close=forward" => [
        client(Verb::Send(1_000)),
        client(Verb::Finish),
        server(Verb::Drain),
        server(Verb::Send(500)),
        server(CLOSE),
        client(Verb::Drain),
    ] ends "client peer.fin zero_read peer_first, 0 lost; upstream peer.fin partner forwarded_fin, 0 lost";
    the_servers_fin_is_forwarded_and_the_client_goes_on with "half_close=forward" => [
        server(Verb::Send(1_000)),
        server(Verb::Finish),
        client(Verb::Drain),
        client(Verb::Send(500)),
        client(CLOSE),
        server(Verb::Drain),
    ] ends "client upstream.fin partner forwarded_fin, 0 lost; upstream upstream.fin zero_read peer_first, 0 lost";
    a_fin_of_the_client_means_departure with "half_close=end" => [
        client(Verb::Send(1_000)),
        client(CLOSE),
        server(Verb::Drain),
    ] ends "client peer.fin zero_read peer_first, 0 lost; upstream peer.fin partner linger2, 0 lost";
    a_fin_of_the_server_means_departure with "half_close=end" => [
        server(Verb::Send(1_000)),
        server(CLOSE),
        client(Verb::Drain),
    ] ends "client upstream.fin partner linger2, 0 lost; upstream upstream.fin zero_read peer_first, 0 lost";
    the_clients_reset_is_a_reset_for_the_server with "half_close=forward" => [
        client(Verb::Send(10)),
        server(Verb::Drain),
        client(RESET),
        server(Verb::Drain),
    ] ends "client peer.reset recv_error reset, 0 lost; upstream peer.reset partner reset, 0 lost";
    the_servers_reset_is_a_reset_for_the_client with "half_close=forward" => [
        server(Verb::Send(10)),
        client(Verb::Drain),
        server(RESET),
        client(Verb::Drain),
    ] ends "client upstream.reset partner reset, 0 lost; upstream upstream.reset recv_error reset, 0 lost";
    a_reset_behind_an_answer_comes_after_it with "half_close=forward" => [
        server(Verb::Send(10_000)),
        server(RESET),
        client(Verb::Drain),
    ] ends "client upstream.reset partner reset, 0 lost; upstream upstream.reset recv_error reset, 0 lost";
    both_may_have_finished_before_either_closes with "half_close=forward" => [
        client(Verb::Finish),
        server(Verb::Finish),
        client(Verb::Drain),
        server(Verb::Drain),
    ] ends "client peer.fin zero_read peer_first, 0 lost; upstream peer.fin partner forwarded_fin, 0 lost";
    a_server_that_closes_with_unread_input_resets_the_client with "half_close=forward" => [
        client(Verb::Send(1_000)),
        server(CLOSE),
        client(Verb::Drain),
    ] ends "client upstream.reset partner reset, 0 lost; upstream upstream.reset recv_error reset, 0 lost";
    a_client_that_closes_with_unread_output_resets_the_server with "half_close=forward" => [
        server(Verb::Send(1_000)),
        client(CLOSE),
        server(Verb::Drain),
    ] ends "client peer.reset recv_error reset, 0 lost; upstream peer.reset partner reset, 0 lost";
}

#[test]
fn a_client_whose_server_is_not_there_is_reset() {
    let steps = [client(Verb::Drain)];
    agree(
        "half_close=forward",
        false,
        &steps,
        "client upstream.refused connect reset, 0 lost; upstream upstream.refused connect reset, 0 lost",
    );
}
