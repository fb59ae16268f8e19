//! The loop of the generator: one thread, one poll, every client; no allocation on the path of a request.
//!
//! The turn stands in `Engine::turn`, the course of a run in [`Phase`]. `open` makes connections, `traffic`
//! sends requests and takes answers, `misdeeds` commits faults, `watch` hears what the server says of it all.

mod misdeeds;
mod open;
mod traffic;
mod watch;

use super::client::{Client, State};
use super::faults::Fault;
use super::plan::{Judge, Plan};
use super::proto::Wire;
use super::schedule::Schedule;
use super::stats::{Interval, Totals, Trouble};
use super::verdicts::{Ledger, Verdicts};
use crate::net::{CloseHow, Connector, Fatal, Ready, Signal, Stream as _, Token};
use crate::table::{Key, Table};
use crate::time::{Duration, Instant};
use crate::timer::Wheel;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Bytes that one receive can take.
const BUFFER_BYTES: usize = 64 * 1024;
/// How much before its time a request is waited for without sleeping, if that is asked for: waking up takes up to
/// half as long.
const SPIN: Duration = Duration::from_micros(100);
/// How often the course of the run is told.
const INTERVAL: Duration = Duration::from_secs(1);

/// Where in the run the engine is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Phase {
    /// The connection that hears the verdicts is being made. It comes first, so that nothing is missed.
    Watching,
    /// Connections are being made.
    Ramping,
    /// All are up; others of the same run may not be there yet.
    Ready,
    /// Requests go out.
    Loading,
    /// None goes out any more; answers are waited for.
    Draining,
    /// Verdicts are waited for.
    Settling,
    /// The run is over.
    Done,
}

impl Phase {
    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Watching => "subscribing",
            Self::Ramping => "connecting",
            Self::Ready => "ready",
            Self::Loading => "loading",
            Self::Draining => "draining",
            Self::Settling => "waiting for verdicts",
            Self::Done => "done",
        }
    }
}

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
pub struct Engine<K: Connector> {
    kernel: K,
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
    table: Table<Client<K::Stream>>,
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
    /// Requests under way.
    in_flight: u64,
    watcher: Option<Key>,
    ledger: Ledger,
    /// Connections of hosts that are gone: they must neither answer nor end before the run does.
    graveyard: Vec<K::Stream>,
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

impl<K: Connector> Engine<K> {
    /// For one process's part of a run. `wait_for_go`: the load begins at SIGUSR1.
    pub fn new(mut kernel: K, plan: Plan, wait_for_go: bool) -> Self {
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
        if self.spins() {
            let before = self.kernel.now();
            self.spun += self.idle_since.map_or(Duration::ZERO, |since| before.since(since));
            self.kernel.poll_until(before, &mut ready)?;
            self.idle_since = ready.is_empty().then_some(before);
        } else {
            let deadline = self.deadline();
            self.kernel.poll_until(deadline, &mut ready)?;
            self.idle_since = None;
        }
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
            self.tell_interval(on);
        }
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Whether the next request is so near that it is waited for without sleeping.
    fn spins(&self) -> bool {
        let soon = |at: Instant| at < self.now + SPIN;
        self.plan.spin && self.phase == Phase::Loading && self.schedule.next().is_some_and(soon)
    }

    /// Until when there is nothing to do but to hear.
    fn deadline(&self) -> Instant {
        let mut deadline = self.phase_ends.min(self.interval_began + INTERVAL);
        let mut consider = |at: Option<Instant>| deadline = deadline.min(at.unwrap_or(Instant::NEVER));
        consider(self.wheel.next_deadline());
        consider(self.next_open());
        if self.phase == Phase::Loading {
            consider(self.schedule.next().filter(|_| !self.free.is_empty()));
            consider(self.churn.next());
        }
        deadline
    }

    fn take_signals(&mut self, on: Tell<'_>) {
        while let Some(signal) = self.kernel.next_signal() {
            match signal {
                Signal::Report => self.wait_for_go = false,
                Signal::Reload | Signal::Child => {}
                Signal::Terminate if self.totals.interrupted => self.enter(Phase::Done, on),
                Signal::Terminate => {
                    self.totals.interrupted = true;
                    match self.phase {
                        Phase::Loading => self.phase_ends = self.now,
                        Phase::Watching | Phase::Ramping | Phase::Ready => self.enter(Phase::Done, on),
                        Phase::Draining | Phase::Settling | Phase::Done => {}
                    }
                }
            }
        }
    }

    /// Goes on to the next phase, if this one is over.
    fn step(&mut self, on: Tell<'_>) {
        let over = self.now >= self.phase_ends;
        match self.phase {
            Phase::Watching if over => {
                let why = "no answer to PSUBSCRIBE; is this linger's resp listener?";
                self.fail("subscribe to presence", why);
            }
            Phase::Ramping if self.opening.is_over() => self.enter(Phase::Ready, on),
            Phase::Ramping if over => {
                self.opening.stop();
                self.enter(Phase::Ready, on);
            }
            Phase::Ready if !self.wait_for_go => self.enter(Phase::Loading, on),
            Phase::Loading if over => self.enter(Phase::Draining, on),
            Phase::Draining if over || self.in_flight == 0 => self.enter(Phase::Settling, on),
            Phase::Settling => match self.verdicts_until() {
                Some(until) if until > self.now => self.phase_ends = until,
                Some(_) | None => self.enter(Phase::Done, on),
            },
            Phase::Watching
            | Phase::Ramping
            | Phase::Ready
            | Phase::Loading
            | Phase::Draining
            | Phase::Done => {}
        }
    }

    /// Until when the clients have to stay for the sake of verdicts that are not there yet.
    fn verdicts_until(&self) -> Option<Instant> {
        match self.plan.judge {
            Judge::Presence if self.plan.identities => self.ledger.wanted_until(self.plan.contract.patience),
            // Counters are looked at afterwards, with patience.
            Judge::Admin(_) => self.ledger.wanted_until(Duration::ZERO),
            Judge::Presence | Judge::Nobody => None,
        }
    }

    fn enter(&mut self, phase: Phase, on: Tell<'_>) {
        self.phase = phase;
        self.phase_ends = Instant::NEVER;
        match phase {
            Phase::Watching => {}
            Phase::Ramping => {
                self.opening.begin(&self.plan, self.now);
                self.phase_ends = self.opening.patience_ends(&self.plan);
            }
            Phase::Ready => {
                self.totals.ramp_s = self.now.since(self.began).as_secs_f64();
                self.totals.up = self.up;
                self.heeded(on(News::Ready));
            }
            Phase::Loading => self.begin_load(),
            Phase::Draining => {
                self.end_load();
                self.begin_the_rest();
            }
            Phase::Settling => {
                let words = || {
                    let doubt = if self.totals.answered == 0 { "; does it speak the protocol?" } else { "" };
                    format!("{} requests had no answer when the run ended{doubt}", self.in_flight)
                };
                self.totals.troubles.add(Trouble::Unanswered, self.in_flight, words);
            }
            Phase::Done => self.tell_interval(on),
        }
        // Some phases are over as they begin.
        if phase != Phase::Done {
            self.step(on);
        }
    }

    fn begin_load(&mut self) {
        self.load_began = self.now;
        self.cpu_before = self.kernel.cpu_time();
        self.waited_before = self.kernel.waited();
        self.server_before = self.server_cpu();
        let end = self.now + self.plan.duration;
        self.phase_ends = end;
        self.schedule = Schedule::new(self.now, self.plan.rate.unwrap_or(0.0), end);
        self.churn = Schedule::new(self.now, self.plan.churn.unwrap_or(0.0), end);
        self.unblocked = self.now;
        self.assign_faults();
        let clients: Vec<Key> = self.table.iter().map(|(key, _)| key).collect();
        for key in clients {
            self.offer(key);
        }
    }

    fn end_load(&mut self) {
        self.totals.load_s = self.now.since(self.load_began).as_secs_f64();
        let worked = self.kernel.cpu_time().saturating_sub(self.cpu_before).saturating_sub(self.spun);
        self.totals.cpu_s = worked.as_secs_f64();
        self.totals.waited_s = self.kernel.waited().saturating_sub(self.waited_before).as_secs_f64();
        self.totals.in_time = self.totals.answered;
        self.totals.server_cpu_s = self
            .server_cpu()
            .zip(self.server_before)
            .map(|(now, before)| now.saturating_sub(before).as_secs_f64());
        self.totals.overdue = self.schedule.overdue(self.now);
        self.opening.stop();
        self.phase_ends = self.now + self.plan.contract.patience;
    }

    fn server_cpu(&mut self) -> Option<Duration> {
        self.plan.server.and_then(|pid| self.kernel.cpu_time_of(pid))
    }

    fn tell_interval(&mut self, on: Tell<'_>) {
        let (misdeeds, judged) = self.ledger.progress();
        self.totals.request.add(&self.interval.latency);
        let interval = Interval {
            at_s: self.now.since(self.began).as_secs_f64(),
            seconds: self.now.since(self.interval_began).as_secs_f64(),
            up: self.up,
            troubles: self.totals.troubles.total(),
            misdeeds,
            judged,
            ..std::mem::take(&mut self.interval)
        };
        self.interval_began = self.now;
        let phase = self.phase;
        self.heeded(on(News::Interval(phase, Box::new(interval))));
    }

    fn heeded(&mut self, listened: bool) {
        if !listened {
            self.phase = Phase::Done;
        }
    }

    /// Parts from everybody. What the server says from now on is not held against it.
    fn finish(mut self) -> Outcome {
        if self.totals.load_s == 0.0 && self.load_began < self.now {
            self.end_load();
        }
        let verdicts = self.watches().then(|| self.ledger.verdicts());
        let keys: Vec<Key> = self.table.iter().map(|(key, _)| key).collect();
        for key in keys {
            if let Some(client) = self.table.remove(key) {
                let how = self.last_close(&client);
                client.stream.close(how);
            }
        }
        self.graveyard.drain(..).for_each(|stream| stream.close(CloseHow::Reset));
        Outcome { totals: self.totals, verdicts }
    }

    /// How a client parts that is still there when the run ends.
    fn last_close(&mut self, client: &Client<K::Stream>) -> CloseHow {
        let misbehaves = client.state == State::Misbehaving;
        let stays = client.fault.is_some_and(|fault| !self.ends(fault));
        let unread = misbehaves && client.fault == Some(Fault::SlowRead) || client.state == State::CatchingUp;
        if stays && unread {
            // A close with unread input is a reset, whatever was meant.
            self.totals.left_unread += 1;
            return CloseHow::Reset;
        }
        let well = matches!(client.state, State::Greeting | State::Up | State::Quieting);
        if well || stays && misbehaves {
            self.totals.left += 1;
            return CloseHow::Plain;
        }
        // Those who took no part have no say in it either; and nothing of them may linger here.
        CloseHow::Reset
    }

    /// Ends the run: it makes no sense.
    fn fail(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.failed.get_or_insert(Fatal { what: what.into(), why: why.into() });
    }

    /// Deadlines of single clients.
    fn expire(&mut self) {
        while let Some(index) = self.wheel.expire(self.now) {
            if let Some(key) = self.table.key_at(index) {
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
            State::Quieting | State::Misbehaving => client.act_at,
            State::Leaving => Instant::NEVER,
        };
        if at < Instant::NEVER {
            self.wheel.arm(key.index, at);
        }
    }

    /// When a client must be heard at the latest: halfway through what it promised.
    fn beat_due(&self, client: &Client<K::Stream>) -> Instant {
        self.plan.heartbeat.map_or(Instant::NEVER, |heartbeat| client.spoke + heartbeat / 2)
    }
}
