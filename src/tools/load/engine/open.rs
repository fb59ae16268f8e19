//! Making connections: when the next one may begin, and what becomes of it.

use super::{Engine, Phase};
use crate::core::table::Key;
use crate::core::time::{Duration, Instant};
use crate::net::{
    Address, CloseHow, ConnectError, ConnectSpec, Kernel as _, SocketError, SocketOptions, Stream as _,
};
use crate::tools::load::client::{Client, State};
use crate::tools::load::plan::Plan;
use crate::tools::load::proto::{Expecting, resp};
use crate::tools::load::schedule::Schedule;
use crate::tools::load::secure::Secure;
use crate::tools::load::stats::Trouble;
use std::collections::VecDeque;

/// Clients on their way up at once when no rate is asked for: far below the accept queue of any server.
const WINDOW: u32 = 128;
/// The same on a ramp: what falls behind it goes on more slowly, instead of starving those who are half up.
const RAMP_WINDOW: u32 = 1024;
/// How long after a connection could not be made the next is tried; doubled each time, up to a second.
const RETRY: Duration = Duration::from_millis(10);
/// How long after the server has closed on a client the next is tried.
const REST: Duration = Duration::from_millis(100);
/// Failures in a row that end a run in which nothing has ever come up.
const HOPELESS: u32 = 8;

/// What is still to be opened.
#[derive(Debug)]
pub(super) struct Opening {
    /// Clients that have no number yet.
    fresh: u32,
    /// Clients that come back under the number they had.
    returning: VecDeque<u32>,
    /// Clients on their way up: shaking hands, or greeting.
    connecting: u32,
    ramp: Option<Schedule>,
    failures: u32,
    not_before: Instant,
    /// When a connection last came up.
    progress: Instant,
    next_source: usize,
}

impl Opening {
    pub(super) fn new(plan: &Plan, now: Instant) -> Self {
        Self {
            fresh: plan.connections,
            returning: VecDeque::new(),
            connecting: 0,
            ramp: None,
            failures: 0,
            not_before: now,
            progress: now,
            next_source: 0,
        }
    }

    pub(super) fn begin(&mut self, plan: &Plan, now: Instant) {
        self.ramp = plan.ramp.map(|rate| Schedule::new(now, rate, Instant::NEVER));
        (self.progress, self.not_before) = (now, now);
    }

    pub(super) fn is_over(&self) -> bool {
        self.waiting() == 0 && self.connecting == 0
    }

    /// Nobody is opened any more, but those who must come back.
    pub(super) fn stop(&mut self) {
        self.fresh = 0;
    }

    pub(super) fn again(&mut self) {
        self.fresh += 1;
    }

    /// Nobody is opened for a while.
    pub(super) fn rest(&mut self, now: Instant) {
        self.not_before = self.not_before.max(now + REST);
    }

    pub(super) fn come_back(&mut self, number: u32) {
        self.returning.push_back(number);
    }

    /// Until when a ramp on which nothing comes up any more is borne with.
    pub(super) fn patience_ends(&self, plan: &Plan) -> Instant {
        // A slow ramp is no standstill.
        let gap = plan.ramp.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(1.0 / rate.max(1e-6)));
        self.progress + gap + plan.contract.patience * 2
    }

    fn waiting(&self) -> u32 {
        self.fresh + u32::try_from(self.returning.len()).unwrap_or(u32::MAX)
    }
}

impl Engine {
    /// When the next connection may begin; none: not before something is heard.
    pub(super) fn next_open(&self) -> Option<Instant> {
        let opening = &self.opening;
        if opening.waiting() == 0 || self.phase == Phase::Watching {
            return None;
        }
        let (at, window) = match opening.ramp.filter(|_| self.phase == Phase::Ramping) {
            Some(ramp) => (ramp.next()?, RAMP_WINDOW),
            None => (self.now, WINDOW),
        };
        (opening.connecting < window).then(|| at.max(opening.not_before))
    }

    pub(super) fn open_some(&mut self) {
        while self.next_open().is_some_and(|at| at <= self.now) {
            if let Some(ramp) = &mut self.opening.ramp {
                ramp.take(self.now);
            }
            let number = self.opening.returning.pop_front().unwrap_or_else(|| {
                self.opening.fresh -= 1;
                self.ledger.add()
            });
            if let Err(error) = self.open(number) {
                self.could_not_connect(error, number);
            }
        }
    }

    /// Begins to connect, as client `number`.
    pub(super) fn open(&mut self, number: u32) -> Result<Key, ConnectError> {
        let sources = &self.plan.sources;
        let from = (!sources.is_empty()).then(|| sources[self.opening.next_source % sources.len()]);
        self.opening.next_source += 1;
        self.idle_since = None;
        let key = self.table.next_key();
        let now = self.kernel.now();
        let to = Address::Tcp { socket: self.plan.target.address, v6_only: false, interface: None };
        // Small requests must leave at once.
        let options = SocketOptions { nodelay: true, ..SocketOptions::default() };
        let stream = self.kernel.connect(&ConnectSpec { to: &to, from, options }, key.token())?;
        let mut client = Client::new(stream, key.generation, number, now);
        client.secure = self.plan.tls.as_ref().map(Secure::new);
        self.table.insert(key, client);
        let slots = (key.index as usize + 1) * self.plan.pipeline as usize;
        if slots > self.times.len() {
            self.times.resize(slots, Instant::ZERO);
        }
        self.opening.connecting += 1;
        self.arm(key);
        Ok(key)
    }

    /// Goes on with a TLS handshake, once there is a connection. Whether it is over, or never begins.
    pub(super) fn shake_hands(&mut self, key: Key) -> bool {
        let Some(client) = self.table.get_mut(key).filter(|client| !client.is_plain()) else { return true };
        // What failed before it is told by the socket.
        match client.shake_hands() {
            Ok(is_over) => is_over,
            Err(why) => {
                let number = client.number;
                self.forget(key, CloseHow::Plain);
                self.totals.troubles.add(Trouble::ConnectFailed, 1, || why.clone());
                self.opening.failures += 1;
                if self.totals.opened == 0
                    && self.opening.failures >= HOPELESS.min(self.plan.connections.max(2))
                {
                    self.fail(format!("speak TLS with {}", self.plan.target.address), why);
                } else {
                    self.opening.not_before = self.now + RETRY * (1 << self.opening.failures.min(7));
                    self.opening.come_back(number);
                }
                false
            }
        }
    }

    /// A handshake is over, one way or the other. False: it failed.
    pub(super) fn connected(&mut self, key: Key) -> bool {
        let now = self.kernel.now();
        let Some(client) = self.table.get_mut(key) else { return false };
        if let Some(fault) = client.stream.take_error() {
            let number = client.number;
            self.forget(key, CloseHow::Plain);
            if self.watcher == Some(key) {
                let why = words(ConnectError::from(fault), &self.plan.target.address.to_string());
                self.fail(format!("connect to {}", self.plan.target.address), why);
            } else {
                self.could_not_connect(fault.into(), number);
            }
            return false;
        }
        if self.watcher != Some(key) {
            self.totals.connect.record(now.since(client.since));
        }
        (self.opening.failures, self.opening.progress) = (0, now);
        if self.phase == Phase::Ramping {
            self.phase_ends = self.opening.patience_ends(&self.plan);
        }
        if self.watcher == Some(key) {
            client.state = State::Leaving;
            self.opening.connecting -= 1;
        }
        match self.plan.log_in.clone() {
            Some(line) => self.greet(key, Expecting::LogIn, &line),
            None => self.introduce(key),
        }
        true
    }

    /// A client says something that comes before its requests.
    fn greet(&mut self, key: Key, expecting: Expecting, line: &[u8]) {
        let Some(client) = self.table.get_mut(key) else { return };
        if self.watcher != Some(key) {
            client.state = State::Greeting;
        }
        client.session.expecting = expecting;
        self.say(key, line);
    }

    /// A client may ask: who it is comes first.
    pub(super) fn introduce(&mut self, key: Key) {
        if self.watcher == Some(key) {
            self.subscribe(key);
        } else if self.plan.identities {
            let line = self.introduction(client_number(&self.table, key));
            self.greet(key, Expecting::Greeting, &line);
        } else {
            self.come_up(key);
        }
    }

    /// `IDENT`, with the promise that goes with it.
    fn introduction(&self, number: u32) -> Vec<u8> {
        let identity = self.ledger.identity(number);
        let mut words = vec!["IDENT".to_owned(), identity];
        if let Some(heartbeat) = self.plan.heartbeat {
            words.extend(["BEAT".to_owned(), heartbeat.as_secs_f64().to_string()]);
        }
        resp::command(&words)
    }

    /// A client is ready for requests.
    pub(super) fn come_up(&mut self, key: Key) {
        let Some(client) = self.table.get_mut(key) else { return };
        client.state = State::Up;
        self.totals.resumed += u64::from(client.is_resumed());
        self.up += 1;
        self.opening.connecting -= 1;
        self.totals.opened += 1;
        self.arm(key);
        self.offer(key);
    }

    pub(super) fn connect_timed_out(&mut self, key: Key) {
        let Some(number) = self.table.get(key).map(|client| client.number) else { return };
        if self.watcher == Some(key) {
            let address = self.plan.target.address.to_string();
            let why = words(ConnectError::Socket(SocketError::TimedOut), &address);
            return self.fail(format!("connect to {address}"), why);
        }
        self.forget(key, CloseHow::Reset);
        self.could_not_connect(ConnectError::Socket(SocketError::TimedOut), number);
    }

    /// Counts it, and tries again later; unless nothing ever comes up.
    fn could_not_connect(&mut self, error: ConnectError, number: u32) {
        let address = self.plan.target.address.to_string();
        let trouble = match error {
            ConnectError::Refused => Trouble::Refused,
            ConnectError::NoPort => Trouble::NoPort,
            ConnectError::NoDescriptor => Trouble::NoDescriptor,
            ConnectError::Socket(SocketError::TimedOut) => Trouble::ConnectTimeout,
            ConnectError::NoSocket
            | ConnectError::QueueFull
            | ConnectError::NotOurs
            | ConnectError::Socket(_) => Trouble::ConnectFailed,
        };
        if error == ConnectError::NotOurs {
            return self.fail(format!("connect to {address}"), words(error, &address));
        }
        // What ran out here does not come back by trying: those that were still to come do not.
        let ran_out = matches!(error, ConnectError::NoPort | ConnectError::NoDescriptor);
        let failed = 1 + if ran_out { u64::from(std::mem::take(&mut self.opening.fresh)) } else { 0 };
        self.totals.troubles.add(trouble, failed, || words(error, &address));
        let opening = &mut self.opening;
        opening.failures += 1;
        opening.not_before = self.now + (RETRY * (1 << opening.failures.min(7))).min(Duration::from_secs(1));
        if self.totals.opened == 0 && opening.failures >= HOPELESS.min(self.plan.connections.max(2)) {
            return self.fail(format!("connect to {address}"), words(error, &address));
        }
        if !ran_out {
            opening.come_back(number);
        }
    }

    /// Takes a client out of everything, and closes its connection.
    pub(super) fn forget(&mut self, key: Key, how: CloseHow) {
        let Some(mut client) = self.table.remove(key) else { return };
        if how == CloseHow::Plain {
            client.say_last_word();
        }
        self.wheel.cancel(key.index);
        match client.state {
            State::Connecting | State::Greeting => self.opening.connecting -= 1,
            State::Up => self.up -= 1,
            State::Quieting => self.quieting -= 1,
            State::Misbehaving | State::CatchingUp | State::Leaving => {}
        }
        self.in_flight -= u64::from(client.in_flight);
        self.totals.moot += u64::from(client.in_flight);
        client.stream.close(how);
    }
}

fn client_number<S>(table: &crate::core::table::Table<Client<S>>, key: Key) -> u32
where
    S: crate::net::Stream,
{
    table.get(key).map_or(0, |client| client.number)
}

/// Why a connection could not be made, and what would help.
fn words(error: ConnectError, address: &str) -> String {
    match error {
        ConnectError::Refused => format!("connection refused: nothing listens on {address}"),
        ConnectError::NoSocket => format!("no socket has the path {address}"),
        ConnectError::QueueFull => format!("the accept queue of {address} is full"),
        ConnectError::NotOurs => {
            "one of --source is no address of this host (ip address shows those that are)".to_owned()
        }
        ConnectError::NoPort => {
            "no ephemeral port is left: spread over more source addresses by --source, or widen \
                                 net.ipv4.ip_local_port_range"
                .to_owned()
        }
        ConnectError::NoDescriptor => {
            "no descriptor is left: raise the hard limit (ulimit -Hn), or use --procs".to_owned()
        }
        ConnectError::Socket(SocketError::TimedOut) => {
            format!("no answer from {address}: is it the right host, and does its accept queue move?")
        }
        ConnectError::Socket(SocketError::Unreachable) => format!("there is no way to {address}"),
        ConnectError::Socket(fault) => format!("connecting to {address} failed: {fault:?}"),
    }
}
