//! One run: the plan is drawn, the reactor turns on the simulated kernel, each turn is checked, and at the end the
//! faults stop and everything must come to rest.

use super::backend::Backends;
use super::checks::Server;
use super::faults::{Canary, Faults};
use super::handshake::ConnectFaults;
use super::kernel::{SimEnv, SimKernel};
use super::oracle::nanos;
use super::pairs::policy_of;
use super::peer::ClientPool;
use super::plan::{Plan, honest_interval, patience};
use super::rng::Rng;
use super::script::{Scale, Script};
use super::tcp::Sock;
use super::world::{Conn, Event, Side, World};
use crate::config::settings::Settings;
use crate::core::conn::State;
use crate::core::conn::policy::Policy;
use crate::core::secret::Secret;
use crate::core::tcp::TcpState;
use crate::core::time::{Duration, Instant};
use crate::net::Signal;
use crate::reactor::{ConnSnapshot, Flow, Reactor, Reload, Requested};
use crate::workers::supervisor;
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
    /// Server ends in `TIME_WAIT` because a FIN had been handed on before the other came.
    pub forwarded: u32,
    /// Bytes that went from one leg of a pair to the other within the kernel.
    pub spliced: u64,
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

/// Runs the simulation of `seed`.
pub fn run(seed: u64, options: &Options) -> Outcome {
    let mut rng = Rng::new(seed);
    let mut plan = Plan::draw(&mut rng, options.duration);
    let table_faults = plan.draw_audits(&mut Rng::new(!seed));
    plan.draw_verdicts(&mut Rng::new(seed.reverse_bits()));
    let faults = Faults::draw(&mut rng);
    let mut world = World::new(faults, &mut rng);
    world.trace = options.trace.then(Vec::new);
    world.sockets.faults = table_faults;
    world.sockets.walks_out = if plan.settings.audit.interval.is_some() { 500_000 } else { 0 };
    live(seed, plan, world, Backends::default(), &mut rng, options)
}

/// Runs what a seed has drawn. Its clients are drawn here.
pub(super) fn live(
    seed: u64,
    plan: Plan,
    mut world: World,
    backends: Backends,
    rng: &mut Rng,
    options: &Options,
) -> Outcome {
    world.canary = options.canary;
    let end = world.now() + nanos(plan.duration);
    world.horizon = end;
    world.note(|| format!("seed {seed}: {:?} with {} clients", plan.duration, plan.clients));
    let faults = world.faults.clone();
    world.note(|| format!("{faults:?}"));
    let table_faults = world.sockets.faults;
    world.note(|| format!("audits {:?} with {table_faults:?}", plan.settings.audit.interval));
    for listener in &plan.settings.listeners {
        world.note(|| format!("{listener:?}"));
    }
    let cast = clients(rng, &plan, &mut world);
    // Those of the upstreams are there already.
    let first = world.listeners.len();
    let stage = Rc::new(RefCell::new(SimEnv { world, cast, backends }));
    let kernel = SimKernel::new(Rc::clone(&stage));
    let reload = Box::new(NoFile::default());
    let reactor = match Reactor::new(kernel, plan.settings.clone(), plan.descriptors, reload) {
        Ok(reactor) => reactor,
        Err(fatal) => unreachable!("the simulated kernel refuses no listener: {fatal}"),
    };
    let listeners = (first..first + plan.settings.listeners.len()).collect();
    let server = Server::new(reactor, stage, 0, listeners, plan.settings);
    let mut run = Run { server, outcome: Outcome::default() };
    let failure = run.live(end).err();
    run.report(failure)
}

/// A configuration that cannot be read again, and is not read in vain.
#[derive(Default)]
pub(super) struct NoFile {
    requested: bool,
}

impl Reload for NoFile {
    fn request(&mut self, _file: Option<Secret<String>>) -> Requested {
        self.requested = true;
        Requested::Begun
    }

    fn take(&mut self) -> Option<Result<Settings, String>> {
        std::mem::take(&mut self.requested).then(|| Err("no file".into()))
    }
}

/// The clients.
pub(super) fn clients(rng: &mut Rng, plan: &Plan, world: &mut World) -> ClientPool {
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
    server: Server,
    outcome: Outcome,
}

impl Run {
    fn live(&mut self, end: u64) -> Result<(), Failure> {
        while self.server.now() < end {
            self.server.turn()?;
        }
        self.go_home()?;
        self.drain()
    }

    /// Faults stop, and everyone closes: what remains is what nobody can know to be gone.
    fn go_home(&mut self) -> Result<(), Failure> {
        let began = self.server.now();
        let listeners = || self.server.settings.listeners.iter();
        let relays = || listeners().filter_map(|listener| listener.relay.as_ref());
        let policies =
            || listeners().map(|listener| &listener.policy).chain(relays().map(|relay| &relay.policy));
        // Output for a peer that is gone may have begun to wait only now.
        let slow = |policy: &Policy| {
            nanos(policy.bounds.slow_time + policy.closing.linger_max + Duration::from_secs(60))
        };
        let slowest = policies().map(slow).max();
        let longest = policies()
            .flat_map(|policy| [patience(policy, State::Handshaking), patience(policy, State::Open)])
            .flatten()
            .max();
        let half_closed = relays().map(|relay| nanos(relay.half_close_timeout)).max();
        {
            let mut stage = self.server.stage.borrow_mut();
            let SimEnv { world, cast, backends } = &mut *stage;
            world.note(|| "faults stop, everyone goes home".into());
            let seen = world.faults.batch_max;
            world.faults = Faults { batch_max: seen, ..Faults::none() };
            world.connect_faults = ConnectFaults::default();
            backends.calm_down(world);
            cast.send_home(world);
        }
        // A client that is accepted late has its time from then on.
        // A client's own contract may be three times as long as its listener's.
        let span = 4 * longest.max(half_closed).unwrap_or(0).max(120_000_000_000);
        let span = span.max(slowest.unwrap_or(0));
        loop {
            let end = self.server.stage.borrow().world.accepted_at.max(began) + span;
            self.server.stage.borrow_mut().world.horizon = end;
            if self.server.now() >= end || self.server.reactor.inspect().connections() == 0 {
                break;
            }
            self.server.turn()?;
        }
        let left: Vec<ConnSnapshot> = self.server.reactor.inspect().snapshots().collect();
        for snapshot in left {
            let stage = self.server.stage.borrow();
            let conn = stage.world.conn_of(0, snapshot.key);
            let connection = stage.world.conn(conn);
            // An upstream leg stays as long as its client does.
            let client = connection.partner.filter(|_| connection.opener == Side::Ours);
            if client.is_some_and(|client| !stage.world.conn(client).oracle.ended) {
                continue;
            }
            let gone = |sock: &Sock| matches!(sock.state(), TcpState::Close | TcpState::TimeWait);
            let nobody = connection.forgotten || connection.end(Side::Theirs).is_none_or(gone);
            let settings = &self.server.settings.listeners[snapshot.listener];
            let knows = patience(policy_of(settings, connection), snapshot.state).is_some();
            if !nobody || knows {
                let ends = [Side::Theirs, Side::Ours].map(|side| connection.end(side).map(Sock::state));
                let what = format!("c{conn} is left over after everyone went home, {ends:?}: {snapshot:?}");
                return Err(self.server.fail(what));
            }
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<(), Failure> {
        {
            let mut stage = self.server.stage.borrow_mut();
            let now = stage.world.now();
            stage.world.horizon = u64::MAX;
            stage.world.schedule(now, Event::Signal(Signal::Terminate));
        }
        self.server.draining = true;
        let latest = self.server.now() + nanos(self.server.settings.drain.timeout) + 5_000_000_000;
        while self.server.turn()? == Flow::Continue {
            if self.server.now() > latest {
                return Err(self.server.fail("the drain does not end"));
            }
        }
        let drained = self.server.reactor.run().map_err(|fatal| self.server.fail(fatal.to_string()))?;
        self.server.judge_ends()?;
        let stage = self.server.stage.borrow();
        let world = &stage.world;
        if drained.accepted != world.accepted {
            return Err(self.server.fail(format!(
                "{} of {} accepted connections are counted",
                drained.accepted, world.accepted
            )));
        }
        let is_open = |conn: &Conn| {
            let made = conn.opener == Side::Ours && !conn.oracle.unwatchable && !conn.is_check();
            (made || conn.oracle.accepted.is_some()) && !conn.oracle.ended
        };
        if let Some(conn) = world.conns.iter().position(is_open) {
            return Err(self.server.fail(format!("c{conn} was accepted or made, and never ended")));
        }
        if world.processes[0].descriptors > 0 {
            return Err(self.server.fail(format!("{} descriptors are left", world.processes[0].descriptors)));
        }
        let inspection = self.server.reactor.inspect();
        if inspection.connections() + inspection.identities() > 0 {
            return Err(self.server.fail("connections or identities are left after the drain"));
        }
        Ok(())
    }

    fn report(mut self, failure: Option<Failure>) -> Outcome {
        self.outcome.turns = self.server.turns;
        self.outcome.connection_seconds = self.server.connection_seconds;
        let mut stage = self.server.stage.borrow_mut();
        self.outcome.close(&mut stage.world, failure);
        drop(stage);
        self.outcome
    }
}

impl Outcome {
    /// Notes what the world has seen of the run.
    pub(super) fn close(&mut self, world: &mut World, failure: Option<Failure>) {
        if let Some(failure) = &failure {
            let what = failure.what.clone();
            world.note(|| format!("FAILED {what}"));
        }
        self.failure = failure;
        self.events = world.events_done;
        self.accepted = world.accepted;
        self.seconds = Instant::from_nanos(world.now()).since(Instant::from_millis(1000)).as_secs_f64();
        self.crossed = world.time_waits.crossed;
        self.forwarded = world.time_waits.forwarded;
        self.spliced = world.spliced;
        self.trace = world.trace.take().unwrap_or_default();
    }
}

impl supervisor::Reload for NoFile {
    fn request(&mut self) -> bool {
        true
    }

    fn take(&mut self) -> Option<supervisor::Reread> {
        None
    }
}
