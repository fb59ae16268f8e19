//! One run: the plan is drawn, the reactor turns on the simulated kernel, each turn is checked, and at the end the
//! faults stop and everything must come to rest.

use super::faults::{Canary, Faults};
use super::kernel::{SimEnv, SimKernel};
use super::oracle::{Case, nanos};
use super::peer::ClientPool;
use super::plan::{Plan, honest_interval, patience};
use super::rng::Rng;
use super::script::{Scale, Script};
use super::tcp::Sock;
use super::world::{Event, Side, World};
use crate::config::settings::Settings;
use crate::core::conn::State;
use crate::core::end::Reason;
use crate::core::table::Key;
use crate::core::tcp::TcpState;
use crate::core::time::{Duration, Instant};
use crate::net::Signal;
use crate::observe::audit::Anomaly;
use crate::reactor::{ConnSnapshot, Ended, Flow, Reactor, Reload, Requested};
use std::cell::RefCell;
use std::rc::Rc;

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Simulated time; drawn by the seed if none.
    pub duration: Option<Duration>,
    /// Write down all that happens.
    pub trace: bool,
    /// Break a rule of the simulated kernel.
    pub canary: Option<Canary>,
}

/// What a run was.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What went wrong.
    pub failure: Option<Failure>,
    /// Turns of the loop.
    pub turns: u64,
    /// Things that happened in the world.
    pub events: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Simulated seconds.
    pub seconds: f64,
    /// Simulated seconds, for each accepted connection.
    pub connection_seconds: f64,
    /// Server ends in `TIME_WAIT` because both FINs crossed.
    pub crossed: u32,
    /// Endings, by reason.
    pub reasons: String,
    /// All that happened, if asked for.
    pub trace: Vec<String>,
}

/// What went wrong, and when.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Simulated nanoseconds.
    pub at: u64,
    /// In words.
    pub what: String,
}

/// Turns in a row within which every connection with input must have been served.
const STARVED_TURNS: u64 = 400;
/// Every so many turns all connections are looked at.
const SURVEY_TURNS: u64 = 64;

/// Runs the simulation of `seed`.
pub fn run(seed: u64, options: &Options) -> Outcome {
    let mut rng = Rng::new(seed);
    let mut plan = Plan::draw(&mut rng, options.duration);
    let table_faults = plan.draw_audits(&mut Rng::new(!seed));
    let faults = Faults::draw(&mut rng);
    let mut world = World::new(faults, &mut rng);
    world.canary = options.canary;
    world.sockets.faults = table_faults;
    world.sockets.walks_out = if plan.settings.audit.interval.is_some() { 500_000 } else { 0 };
    world.trace = options.trace.then(Vec::new);
    let end = world.now() + nanos(plan.duration);
    world.horizon = end;
    world.note(|| format!("seed {seed}: {:?} with {} clients", plan.duration, plan.clients));
    let faults = world.faults.clone();
    world.note(|| format!("{faults:?}"));
    world.note(|| format!("audits {:?} with {table_faults:?}", plan.settings.audit.interval));
    for listener in &plan.settings.listeners {
        world.note(|| format!("{listener:?}"));
    }
    let cast = cast(&mut rng, &plan, &mut world);
    let stage = Rc::new(RefCell::new(SimEnv { world, cast }));
    let kernel = SimKernel::new(Rc::clone(&stage));
    let reload = Box::new(NoFile::default());
    let mut reactor = match Reactor::new(kernel, plan.settings.clone(), plan.descriptors, reload) {
        Ok(reactor) => reactor,
        Err(fatal) => unreachable!("the simulated kernel refuses no listener: {fatal}"),
    };
    reactor.keep_ends();
    let mut run = Run {
        reactor,
        stage,
        settings: plan.settings,
        turns: 0,
        draining: false,
        orphans: Vec::new(),
        outcome: Outcome::default(),
    };
    let failure = run.live(end).err();
    run.report(failure)
}

/// A configuration that cannot be read again, and is not read in vain.
#[derive(Default)]
struct NoFile {
    requested: bool,
}

impl Reload for NoFile {
    fn request(&mut self, _file: Option<String>) -> Requested {
        self.requested = true;
        Requested::Begun
    }

    fn take(&mut self) -> Option<Result<Settings, String>> {
        std::mem::take(&mut self.requested).then(|| Err("no file".into()))
    }
}

/// The clients.
fn cast(rng: &mut Rng, plan: &Plan, world: &mut World) -> ClientPool {
    let scale = Scale::draw(rng, plan.duration);
    let mut cast = ClientPool::empty();
    for _ in 0..plan.clients {
        let listener = rng.index(plan.settings.listeners.len());
        let settings = &plan.settings.listeners[listener];
        let interval = honest_interval(rng, &settings.policy);
        let script = Script::draw(rng, listener, settings.protocol, interval, &scale);
        let latency = if rng.chance(500_000) {
            rng.within(20_000..2_000_000)
        } else {
            rng.within(1_000_000..150_000_000)
        };
        let host = world.add_host(latency);
        let at = world.now() + rng.within(0..nanos(plan.duration / 4));
        let own = rng.fork();
        cast.add(script, host, at, own, world);
    }
    cast
}

struct Run {
    reactor: Reactor<SimKernel>,
    stage: Rc<RefCell<SimEnv>>,
    settings: Settings,
    turns: u64,
    draining: bool,
    /// Connections that the server has closed first, and how long its ends may outlive that.
    orphans: Vec<(usize, u64)>,
    outcome: Outcome,
}

impl Run {
    fn live(&mut self, end: u64) -> Result<(), Failure> {
        while self.now() < end {
            self.turn()?;
        }
        self.go_home()?;
        self.drain()
    }

    fn now(&self) -> u64 {
        self.stage.borrow().world.now()
    }

    fn fail(&self, what: impl Into<String>) -> Failure {
        Failure { at: self.now(), what: what.into() }
    }

    /// Faults stop, and everyone closes: what remains is what nobody can know to be gone.
    fn go_home(&mut self) -> Result<(), Failure> {
        let began = self.now();
        let policies = self.settings.listeners.iter().map(|listener| &listener.policy);
        let longest = policies
            .flat_map(|policy| [patience(policy, State::Handshaking), patience(policy, State::Open)])
            .flatten()
            .max();
        {
            let mut stage = self.stage.borrow_mut();
            let SimEnv { world, cast } = &mut *stage;
            world.note(|| "faults stop, everyone goes home".into());
            let seen = world.faults.batch_max;
            world.faults = Faults { batch_max: seen, ..Faults::none() };
            cast.send_home(world);
        }
        // Whoever is accepted late has its time from then on.
        // A client's own contract may be three times as long as its listener's.
        let span = 4 * longest.unwrap_or(0).max(120_000_000_000);
        loop {
            let last = self.stage.borrow().world.conns.iter().filter_map(|conn| conn.oracle.accepted).max();
            let end = (last.unwrap_or(0) + span).max(began + span);
            self.stage.borrow_mut().world.horizon = end;
            if self.now() >= end || self.reactor.inspect().connections() == 0 {
                break;
            }
            self.turn()?;
        }
        let left: Vec<ConnSnapshot> = self.reactor.inspect().snapshots().collect();
        for snapshot in left {
            let stage = self.stage.borrow();
            let conn = stage.world.conn_of(snapshot.key);
            let connection = stage.world.conn(conn);
            let gone = |sock: &Sock| matches!(sock.state(), TcpState::Close | TcpState::TimeWait);
            let nobody = connection.forgotten || connection.end(Side::Client).is_none_or(gone);
            let knows =
                patience(&self.settings.listeners[snapshot.listener].policy, snapshot.state).is_some();
            if !nobody || knows {
                let ends = [Side::Client, Side::Server].map(|side| connection.end(side).map(Sock::state));
                let what = format!("c{conn} is left over after everyone went home, {ends:?}: {snapshot:?}");
                return Err(self.fail(what));
            }
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<(), Failure> {
        {
            let mut stage = self.stage.borrow_mut();
            let now = stage.world.now();
            stage.world.horizon = u64::MAX;
            stage.world.schedule(now, Event::Signal(Signal::Terminate));
        }
        self.draining = true;
        let latest = self.now() + nanos(self.settings.drain.timeout) + 5_000_000_000;
        while self.turn()? == Flow::Continue {
            if self.now() > latest {
                return Err(self.fail("the drain does not end"));
            }
        }
        let drained = self.reactor.run().map_err(|fatal| self.fail(fatal.to_string()))?;
        self.judge_ends()?;
        let stage = self.stage.borrow();
        let world = &stage.world;
        if drained.accepted != world.accepted {
            return Err(self.fail(format!(
                "{} of {} accepted connections are counted",
                drained.accepted, world.accepted
            )));
        }
        let open = world.conns.iter().position(|conn| conn.oracle.accepted.is_some() && !conn.oracle.ended);
        if let Some(conn) = open {
            return Err(self.fail(format!("c{conn} was accepted and never ended")));
        }
        if world.descriptors > 0 {
            return Err(self.fail(format!("{} descriptors are left", world.descriptors)));
        }
        let inspection = self.reactor.inspect();
        if inspection.connections() + inspection.identities() > 0 {
            return Err(self.fail("connections or identities are left after the drain"));
        }
        Ok(())
    }

    /// One turn, and what must hold after it.
    fn turn(&mut self) -> Result<Flow, Failure> {
        let began = self.stage.borrow().world.instant();
        let flow = self.reactor.turn().map_err(|fatal| self.fail(fatal.to_string()))?;
        self.turns += 1;
        self.judge_silence(began)?;
        self.judge_ends()?;
        self.check_turn()?;
        if self.turns.is_multiple_of(SURVEY_TURNS) {
            self.survey()?;
        }
        Ok(flow)
    }

    /// Nobody is taken for silent while what it sent lies unread, whatever kept the loop. Of the turn that began at
    /// `began`: nothing has arrived since its poll.
    fn judge_silence(&self, began: Instant) -> Result<(), Failure> {
        for snapshot in self.reactor.inspect().snapshots() {
            if matches!(snapshot.state, State::Parting { .. }) {
                let world = &mut self.stage.borrow_mut().world;
                let conn = world.conn_of(snapshot.key);
                world.conns[conn].oracle.parting = true;
            }
            let judged = match snapshot.state {
                State::Suspect { since, .. } => since > began,
                State::Parting { cause, since, .. } => {
                    let silent = matches!(cause.reason, Reason::LocalIdle | Reason::ProtocolHandshakeTimeout);
                    silent && since > began
                }
                State::Handshaking | State::Open | State::PeerClosed { .. } | State::Closed { .. } => false,
            };
            if !judged {
                continue;
            }
            let stage = self.stage.borrow();
            let conn = stage.world.conn_of(snapshot.key);
            let unread = stage.world.conn(conn).end(Side::Server).map_or(0, Sock::unread);
            if unread > 0 {
                return Err(self
                    .fail(format!("c{conn} was taken for silent with {unread} bytes unread: {snapshot:?}")));
            }
        }
        Ok(())
    }

    /// Every account that the server gave is compared with the truth.
    fn judge_ends(&mut self) -> Result<(), Failure> {
        for Ended { key, end, .. } in self.reactor.take_ends() {
            let mut stage = self.stage.borrow_mut();
            let conn = stage.world.conn_of(key);
            stage.world.note(|| format!("c{conn} END {end}"));
            let settings = &self.settings.listeners[stage.world.conn(conn).listener];
            let case = Case {
                world: &stage.world,
                conn,
                settings,
                end: &end,
                draining: self.draining,
                connections_max: self.settings.server.connections_max,
                audits: self.settings.audit.interval,
            };
            let verdict = case.judge();
            self.orphans.extend(case.orphan_time().map(|time| (conn, time)));
            let now = stage.world.now();
            let conn = &mut stage.world.conns[conn];
            conn.oracle.ended = true;
            self.outcome.connection_seconds += end.age.as_secs_f64();
            if let Err(what) = verdict {
                return Err(Failure { at: now, what });
            }
        }
        Ok(())
    }

    fn check_turn(&mut self) -> Result<(), Failure> {
        let inspection = self.reactor.inspect();
        let sleep = inspection.sleep();
        if inspection.posted() > 0 && sleep != Some(Duration::ZERO) {
            return Err(self.fail("work is posted and the next poll would wait"));
        }
        let mut stage = self.stage.borrow_mut();
        if let Some(what) = stage.world.violations.pop() {
            return Err(Failure { at: stage.world.now(), what });
        }
        let (all, crossed) = stage.world.time_waits;
        if all > crossed {
            return Err(Failure { at: stage.world.now(), what: "a TIME_WAIT is left on the server".into() });
        }
        let forgotten = (0..stage.world.listeners.len()).find(|&index| {
            let listener = &stage.world.listeners[index];
            !listener.queue.is_empty() && !listener.watch.queued && inspection.accepts(index)
        });
        if let Some(index) = forgotten {
            let what = format!("connections wait at listener {index} and no edge will tell of them");
            return Err(Failure { at: stage.world.now(), what });
        }
        Ok(())
    }

    /// Looks at everyone: now and then, as it takes long.
    fn survey(&mut self) -> Result<(), Failure> {
        self.survey_orphans()?;
        let inspection = self.reactor.inspect();
        if let Some(what) = inspection.mistakes().pop() {
            return Err(self.fail(what));
        }
        if inspection.found(Anomaly::Unknown) > 0 {
            return Err(self.fail("an audit took one of ours for another program's"));
        }
        let mut stage = self.stage.borrow_mut();
        let world = &mut stage.world;
        let (now, turns) = (world.now(), self.turns);
        let sleeps = inspection.sleep() != Some(Duration::ZERO);
        for snapshot in inspection.snapshots() {
            let conn = world.conn_of(snapshot.key);
            let fail = |what: String| Err(Failure { at: now, what: format!("c{conn} {what}: {snapshot:?}") });
            let bounds = &self.settings.listeners[snapshot.listener].policy.bounds;
            if snapshot.owed > bounds.output_max {
                return fail("is owed more than its bound".into());
            }
            if snapshot.held > bounds.frame_bytes_max + 2 * 64 * 1024 {
                return fail("is held more than its bound".into());
            }
            if let Some((due, armed)) = snapshot.due
                && armed.is_none_or(|armed| armed > due.max(world.instant()) + Duration::from_millis(2))
            {
                return fail("has a deadline that no timer stands for".into());
            }
            let connection = &world.conns[conn];
            let news = connection.end(Side::Server).is_some_and(Sock::has_news);
            let served = snapshot.paused || snapshot.over || !news;
            let queued = connection.watch.is_some_and(|watch| watch.queued);
            if !served && !queued && !snapshot.posted && sleeps {
                return fail("has input that no edge will tell of".into());
            }
            let waiting = &mut world.conns[conn].oracle.waiting_since;
            let read = connection_read(served, waiting, turns);
            if read > STARVED_TURNS {
                return fail(format!("has waited for {read} turns to be read"));
            }
        }
        Ok(())
    }

    /// What the server ends leaves nothing on the server, soon.
    fn survey_orphans(&mut self) -> Result<(), Failure> {
        let stage = self.stage.borrow();
        let world = &stage.world;
        let is_there = |conn: usize| {
            world.conn(conn).end(Side::Server).is_some_and(|sock| sock.state() != TcpState::Close)
        };
        self.orphans.retain(|&(conn, _)| is_there(conn));
        match self.orphans.iter().find(|&&(conn, time)| world.is_overdue(conn, time)) {
            Some((conn, _)) => {
                Err(self.fail(format!("c{conn} was ended long ago, and its socket is still there")))
            }
            None => Ok(()),
        }
    }

    fn report(mut self, failure: Option<Failure>) -> Outcome {
        let mut stage = self.stage.borrow_mut();
        let world = &mut stage.world;
        if let Some(failure) = &failure {
            let what = failure.what.clone();
            world.note(|| format!("FAILED {what}"));
        }
        self.outcome.failure = failure;
        self.outcome.turns = self.turns;
        self.outcome.events = world.events_done;
        self.outcome.accepted = world.accepted;
        self.outcome.seconds =
            Instant::from_nanos(world.now()).since(Instant::from_millis(1000)).as_secs_f64();
        self.outcome.crossed = world.time_waits.1;
        self.outcome.trace = world.trace.take().unwrap_or_default();
        drop(stage);
        self.outcome
    }
}

/// For how many turns a connection has been waiting, as far as surveys can tell.
fn connection_read(served: bool, waiting: &mut Option<u64>, turns: u64) -> u64 {
    if served {
        *waiting = None;
        return 0;
    }
    turns - *waiting.get_or_insert(turns)
}

impl World {
    /// The connection that the server calls `key`.
    fn conn_of(&self, key: Key) -> usize {
        self.named[key.generation as usize]
    }
}
