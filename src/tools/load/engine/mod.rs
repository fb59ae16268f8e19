//! The loop of the generator: one thread, one poll, every client; no allocation on the path of a request.
//!
//! The turn stands in `Engine::turn`. `phases` has the phases of a run; `open` makes connections, `traffic` sends
//! requests and takes answers, `faults` commits faults, `watch` hears what the server says of it all.

mod faults;
mod open;
mod phases;
mod traffic;
mod watch;

use super::client::{Client, State};
use super::plan::{Judge, Plan};
use super::proto::Wire;
use super::schedule::Schedule;
use super::stats::{Interval, Totals};
use super::verdicts::{Ledger, Verdicts};
use crate::core::table::{Key, Table};
use crate::core::time::{Duration, Instant};
use crate::core::timer::Wheel;
use crate::net::{CloseHow, Fatal, Kernel as _, Ready, Token};
use crate::sys::{Os, Stream};
pub use phases::Phase;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Bytes that one receive can take.
const BUFFER_BYTES: usize = 64 * 1024;
/// How much before its time a request is waited for without sleeping, if that is asked for: waking up takes up to
/// half as long.
const SPIN: Duration = Duration::from_micros(100);
/// How often the course of the run is told.
const INTERVAL: Duration = Duration::from_secs(1);

/// Who is told along the way; false: nobody listens any more, and the run is over.
pub type Tell<'a> = &'a mut dyn FnMut(News) -> bool;

/// What the engine tells along the way.
#[derive(Debug)]
pub enum News {
    /// All connections are up.
    Ready,
    /// A second has passed.
    Interval(Phase, Box<Interval>),
}

/// What came of a run.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Counts and latencies.
    pub totals: Totals,
    /// What the server said; none if it was not asked.
    pub verdicts: Option<Verdicts>,
}

/// The generator.
pub struct Engine {
    kernel: Os,
    plan: Plan,
    wire: Wire,
    phase: Phase,
    /// Wait for a signal before the load begins.
    wait_for_go: bool,
    /// When this turn's poll returned.
    now: Instant,
    began: Instant,
    /// When the present phase ends at the latest.
    phase_ends: Instant,
    load_began: Instant,
    ready: Vec<Ready>,
    table: Table<Client<Stream>>,
    wheel: Wheel,
    buffer: Box<[u8]>,
    /// For each slot a ring of as many instants as requests may be under way.
    times: Vec<Instant>,
    /// Clients that have room for a request.
    free: VecDeque<Key>,
    /// Clients that were given requests in this turn.
    dispatched: Vec<Key>,
    schedule: Schedule,
    /// No client had room for what was due.
    blocked: bool,
    /// When that last ended: what was due before is late for the server's reasons.
    unblocked: Instant,
    opening: open::Opening,
    churn: Schedule,
    churn_slot: u32,
    /// Clients up.
    up: u64,
    /// Clients that are about to commit their faults.
    quieting: u64,
    /// Requests under way.
    in_flight: u64,
    watcher: Option<Key>,
    ledger: Ledger,
    /// Connections of hosts that are gone: they must neither answer nor end before the run does.
    graveyard: Vec<Stream>,
    flood: Vec<u8>,
    totals: Totals,
    interval: Interval,
    interval_began: Instant,
    cpu_before: Duration,
    waited_before: Duration,
    server_before: Option<Duration>,
    /// Time in which there was nothing to do and we did not sleep.
    spun: Duration,
    /// Since when that is so again.
    idle_since: Option<Instant>,
    /// What the last turn found out that ends the run.
    failed: Option<Fatal>,
}

impl Engine {
    /// For one process's part of a run. `wait_for_go`: the load begins at SIGUSR1.
    pub fn new(mut kernel: Os, plan: Plan, wait_for_go: bool) -> Self {
        let now = kernel.now();
        let slots = plan.connections as usize + 64;
        let wire = Wire::new(&plan.target, plan.size, plan.pipeline);
        Self {
            wire,
            phase: Phase::Watching,
            wait_for_go,
            now,
            began: now,
            phase_ends: Instant::NEVER,
            load_began: Instant::NEVER,
            ready: Vec::with_capacity(1024),
            table: Table::with_capacity(slots),
            wheel: Wheel::new(now, slots),
            buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
            times: vec![Instant::ZERO; slots * plan.pipeline as usize],
            free: VecDeque::with_capacity(slots),
            dispatched: Vec::with_capacity(slots),
            schedule: Schedule::new(now, 0.0, now),
            blocked: false,
            unblocked: now,
            opening: open::Opening::new(&plan, now),
            churn: Schedule::new(now, 0.0, now),
            churn_slot: 0,
            up: 0,
            quieting: 0,
            in_flight: 0,
            watcher: None,
            ledger: Ledger::new(plan.prefix.clone(), plan.faults.clone(), plan.contract),
            graveyard: Vec::new(),
            flood: Vec::new(),
            totals: Totals { wanted: u64::from(plan.connections), ..Totals::default() },
            interval: Interval::default(),
            interval_began: now,
            cpu_before: Duration::ZERO,
            waited_before: Duration::ZERO,
            server_before: None,
            spun: Duration::ZERO,
            idle_since: None,
            failed: None,
            kernel,
            plan,
        }
    }

    /// Runs to the end, telling `on` about the course of it.
    ///
    /// # Errors
    /// When the run makes no sense: no connection can be made, the server does not speak the protocol.
    pub fn run(mut self, on: Tell<'_>) -> Result<Outcome, Fatal> {
        if self.watches() {
            self.open_watcher()?;
        } else {
            self.enter(Phase::Ramping, on);
        }
        while self.phase != Phase::Done {
            self.turn(on)?;
        }
        Ok(self.finish())
    }

    /// Whether the server is asked for verdicts.
    fn watches(&self) -> bool {
        self.plan.identities && self.plan.judge == Judge::Presence
    }

    fn turn(&mut self, on: Tell<'_>) -> Result<(), Fatal> {
        let mut ready = std::mem::take(&mut self.ready);
        let deadline = self.deadline();
        let before = if self.plan.spin { self.kernel.now() } else { self.now };
        self.spun += self.idle_since.map_or(Duration::ZERO, |since| before.since(since));
        self.kernel.poll_until(deadline, &mut ready)?;
        let spins = self.plan.spin && deadline <= before;
        self.idle_since = (spins && ready.is_empty()).then_some(before);
        self.now = self.kernel.now();
        for event in ready.drain(..) {
            if event.token == Token::SIGNAL {
                self.take_signals(on);
            } else {
                self.on_ready(Key::from_token(event.token), event.readiness);
            }
        }
        self.ready = ready;
        // Fresh: what was heard above took its time.
        self.now = self.kernel.now();
        self.expire();
        self.open_some();
        self.dispatch();
        self.step(on);
        if self.now >= self.interval_began + INTERVAL {
            self.report_interval(on);
        }
        self.failed.take().map_or(Ok(()), Err)
    }

    /// When the next request is due, if there is a client for it.
    fn next_send(&self) -> Option<Instant> {
        self.schedule.next().filter(|_| self.phase == Phase::Loading && !self.free.is_empty())
    }

    /// Until when there is nothing to do but to hear.
    fn deadline(&self) -> Instant {
        let mut deadline = self.phase_ends.min(self.interval_began + INTERVAL);
        let mut consider = |at: Option<Instant>| deadline = deadline.min(at.unwrap_or(Instant::NEVER));
        consider(self.wheel.next_deadline());
        consider(self.next_open());
        if self.phase == Phase::Loading {
            let early = if self.plan.spin { SPIN } else { Duration::ZERO };
            consider(self.next_send().map(|at| at.before(early)));
            consider(self.churn.next());
        }
        deadline
    }

    /// The clients that are so.
    fn keys(&self, wanted: impl Fn(&Client<Stream>) -> bool) -> Vec<Key> {
        self.table.iter().filter(|(_, client)| wanted(client)).map(|(key, _)| key).collect()
    }

    /// Ends the run: it makes no sense.
    fn fail(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.failed.get_or_insert(Fatal { what: what.into(), why: why.into() });
    }

    /// Deadlines of single clients.
    fn expire(&mut self) {
        while let Some(index) = self.wheel.expire(self.now) {
            self.idle_since = None;
            if let Some((key, _)) = self.table.at(index) {
                self.on_deadline(key);
            }
        }
    }

    fn on_deadline(&mut self, key: Key) {
        let Some(client) = self.table.get_mut(key) else { return };
        match client.state {
            State::Connecting | State::Greeting => {
                if self.now >= client.since + self.plan.contract.patience {
                    return self.connect_timed_out(key);
                }
            }
            State::Quieting if client.in_flight == 0 => return self.commit(key),
            State::Leaving if self.now >= client.act_at => return self.forget(key, CloseHow::Plain),
            State::Quieting | State::Leaving => {}
            State::Up => {
                if self.now >= client.act_at {
                    return self.approach(key);
                }
                self.beat_if_due(key);
            }
            State::CatchingUp => self.beat_if_due(key),
            State::Misbehaving => return self.misbehave_on(key),
        }
        self.arm(key);
    }

    /// Arms the wheel for the next deadline of a client.
    fn arm(&mut self, key: Key) {
        let Some(client) = self.table.get(key) else { return };
        let at = match client.state {
            State::Connecting | State::Greeting => client.since + self.plan.contract.patience,
            State::Up => client.act_at.min(self.beat_due(client)),
            State::CatchingUp => self.beat_due(client),
            State::Quieting | State::Misbehaving | State::Leaving => client.act_at,
        };
        if at < Instant::NEVER {
            self.wheel.arm(key.index, at);
        }
    }

    /// When a client must be heard at the latest: halfway through what it promised.
    fn beat_due(&self, client: &Client<Stream>) -> Instant {
        self.plan.heartbeat.map_or(Instant::NEVER, |heartbeat| client.spoke + heartbeat / 2)
    }
}
