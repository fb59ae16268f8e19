//! A run of several workers: one supervisor and its workers, each in a process of its own, on one simulated kernel.
//!
//! The processes take turns on one clock: the one that has something to do first has the next turn. What a poll finds is
//! looked at first and handed over later, so that a process may stall, or die, in between, and others go on. A
//! process that is killed dies between two of its calls: from there on nothing that it does has an effect, and the
//! kernel closes its sockets.

mod breaking;

use super::arbiter::{disagreement, unsuspected};
use super::checks::Server;
use super::faults::{Faults, WorkerFaults};
use super::fleet::Fleet;
use super::kernel::{SimEnv, SimKernel, SimListener, SimStream};
use super::oracle::nanos;
use super::plan::Plan;
use super::processes::Started;
use super::rng::Rng;
use super::run::{Failure, NoFile, Options, Outcome, clients};
use super::watched::Watcher;
use super::world::World;
use crate::config::settings::Settings;
use crate::core::secret::Secret;
use crate::core::time::Duration;
use crate::net::{Exit, Interest, Kernel as _, Signal, Token};
use crate::reactor::{Flow, Reactor};
use crate::workers::link::{Channel, ToSupervisor, ToWorker};
use crate::workers::supervisor::{self, Supervisor};
use std::cell::RefCell;
use std::rc::Rc;

/// The supervisor's process.
const SUPERVISOR: usize = 0;
/// How long it may take until everything agrees once the faults have stopped, in nanoseconds: longer than a place of a
/// worker stays empty, and than a silent client is waited for.
const REST_MAX: u64 = 1200 * SECOND;
/// How long all workers may take to serve at first.
const START_MAX: u64 = 60 * SECOND;
/// Longer than a heartbeat channel takes to beat again.
const BEAT: u64 = 10 * SECOND;
/// How long a device may take to become suspect whose channel is gone: less than its own heartbeat is.
const SUSPECT_WITHIN: u64 = 2 * SECOND;
/// How often it is looked at whether everything agrees.
const LOOKS_APART: u64 = SECOND / 2;
/// How much longer than its drain a worker may take to end, and all of them together.
const DRAIN_GRACE: u64 = 10 * SECOND;
const SECOND: u64 = 1_000_000_000;

/// Runs the simulation of `seed` with so many workers; with a number that the seed draws, if none is given. Its seeds
/// are not those of [`run`](super::run).
pub fn run_workers(seed: u64, workers: Option<u32>, options: &Options) -> Outcome {
    let mut rng = Rng::new(seed ^ 0x006c_696e_6765_7273);
    let mut plan = Plan::draw(&mut rng, options.duration);
    let drawn = u32::try_from(2 + rng.index(3)).unwrap_or(2);
    let workers = workers.unwrap_or(drawn).max(1);
    plan.share(&mut rng, options.duration, workers);
    let faults = Faults { leap: 0, ..Faults::draw(&mut rng) };
    let mut world = World::new(faults, &mut rng);
    let worker_faults = WorkerFaults::draw(&mut rng, plan.duration);
    world.canary = options.canary;
    world.trace = options.trace.then(Vec::new);
    world
        .note(|| format!("seed {seed}: {workers} workers for {:?}, {} clients", plan.duration, plan.clients));
    let faults = world.faults.clone();
    world.note(|| format!("{faults:?}"));
    world.note(|| format!("{worker_faults:?}"));
    for listener in &plan.settings.listeners {
        world.note(|| format!("{listener:?}"));
    }
    world.worker_faults.link_latency = worker_faults.link_latency;
    let mut cast = clients(&mut rng, &plan, &mut world);
    let listener = plan.settings.listeners.len() - 1;
    cast.fleet = Some(Fleet::draw(&mut rng, listener, plan.duration, &mut world));
    let end = world.now() + nanos(plan.duration);
    let stage = Rc::new(RefCell::new(SimEnv::new(world, cast)));
    let kernel = SimKernel::new(Rc::clone(&stage));
    let settings = plan.settings.clone();
    let watcher = Watcher::draw(seed, &mut plan, &mut stage.borrow_mut().world);
    let supervised = supervisor::Plan { settings: plan.settings, file: Secret::default(), workers };
    let supervisor = match Supervisor::new(kernel, supervised, Box::new(NoFile::default())) {
        Ok(supervisor) => supervisor,
        Err(fatal) => unreachable!("the simulated kernel refuses no listener: {fatal}"),
    };
    let mut cluster = Cluster {
        stage,
        supervisor,
        workers: Vec::new(),
        wanted: workers as usize,
        due: vec![0],
        last: SUPERVISOR,
        faults: worker_faults,
        next_fault: u64::MAX,
        horizon: u64::MAX,
        settings,
        watcher,
        rng,
        draining: false,
        outcome: Outcome::default(),
    };
    let failure = cluster.live(end).err();
    cluster.report(failure)
}

/// All processes of a server.
struct Cluster {
    stage: Rc<RefCell<SimEnv>>,
    supervisor: Supervisor<SimKernel>,
    /// In the order in which they were started: that of their processes, from the first after the supervisor's.
    workers: Vec<Worker>,
    /// How many there are to be.
    wanted: usize,
    /// When each process has its next turn, if nothing happens before.
    due: Vec<u64>,
    /// Who had the last turn.
    last: usize,
    faults: WorkerFaults,
    next_fault: u64,
    /// Nothing happens after this before it is set anew.
    horizon: u64,
    /// Those of a worker.
    settings: Settings,
    /// Half of the runs have one.
    watcher: Option<Watcher>,
    rng: Rng,
    draining: bool,
    outcome: Outcome,
}

/// A worker's process, from its start to its end.
enum Worker {
    /// Its program is being loaded.
    Loading(Started),
    /// It waits for its first message.
    Starting(Box<Start>),
    /// It serves.
    Serving(Box<Server>),
    /// It has ended.
    Ended,
}

/// What a worker has in hand before it serves.
struct Start {
    number: u32,
    of: u32,
    kernel: SimKernel,
    channel: Channel<SimStream, ToWorker, ToSupervisor>,
    listeners: Vec<usize>,
}

impl Cluster {
    fn live(&mut self, end: u64) -> Result<(), Failure> {
        self.horizon = self.now() + START_MAX;
        while self.servers().len() < self.wanted || self.watcher.as_ref().is_some_and(|one| !one.has_begun())
        {
            if self.now() >= self.horizon {
                return Err(self.fail("the workers do not start"));
            }
            self.step()?;
        }
        self.stage.borrow_mut().world.worker_faults = self.faults;
        self.draw_fault();
        self.run_until(end)?;
        self.come_to_rest()?;
        self.lose_channels()?;
        self.drain()
    }

    fn now(&self) -> u64 {
        self.stage.borrow().world.now()
    }

    fn fail(&self, what: impl Into<String>) -> Failure {
        Failure { at: self.now(), what: what.into() }
    }

    /// Those that serve.
    fn servers(&self) -> Vec<&Server> {
        let serving = self.workers.iter().filter_map(|worker| match worker {
            Worker::Serving(server) => Some(&**server),
            Worker::Loading(_) | Worker::Starting(_) | Worker::Ended => None,
        });
        serving.collect()
    }

    fn run_until(&mut self, until: u64) -> Result<(), Failure> {
        self.horizon = until;
        while self.now() < until {
            self.step()?;
        }
        Ok(())
    }

    /// Faults stop, and all but the fleet go home: soon everything agrees.
    fn come_to_rest(&mut self) -> Result<(), Failure> {
        let began = self.now();
        self.next_fault = u64::MAX;
        {
            let mut stage = self.stage.borrow_mut();
            let SimEnv { world, cast, .. } = &mut *stage;
            world.note(|| "faults stop".into());
            world.faults = Faults { batch_max: world.faults.batch_max, ..Faults::none() };
            world.worker_faults.unstartable = 0;
            let now = world.now();
            for process in &mut world.processes {
                process.calls_left = None;
                process.runs_from = process.runs_from.min(now);
            }
            cast.send_home(world);
            cast.fleet.as_mut().expect("there is one").calm = true;
        }
        loop {
            self.run_until(self.now() + LOOKS_APART)?;
            {
                let SimEnv { world, cast, .. } = &mut *self.stage.borrow_mut();
                cast.fleet.as_mut().expect("there is one").find_out(world);
            }
            let servers = self.servers();
            let found = if servers.len() < self.wanted {
                Err(format!("{} of {} workers serve", servers.len(), self.wanted))
            } else {
                let SimEnv { world, cast, .. } = &*self.stage.borrow();
                let fleet = cast.fleet.as_ref().expect("there is one");
                disagreement(&servers, self.supervisor.identities_held(), fleet, world)
            };
            match found {
                Ok(()) => return Ok(()),
                Err(what) if self.now() > began + REST_MAX => {
                    return Err(self.fail(format!("at rest: {what}")));
                }
                Err(_) => {}
            }
        }
    }

    /// All heartbeat channels end: each device is suspect soon.
    fn lose_channels(&mut self) -> Result<(), Failure> {
        self.run_until(self.now() + BEAT)?;
        {
            let SimEnv { world, cast, .. } = &mut *self.stage.borrow_mut();
            world.note(|| "the heartbeat channels end".into());
            cast.fleet.as_mut().expect("there is one").silence(world);
        }
        self.run_until(self.now() + SUSPECT_WITHIN)?;
        match unsuspected(&self.servers(), &self.stage.borrow().world) {
            Some(what) => Err(self.fail(what)),
            None => Ok(()),
        }
    }

    fn drain(&mut self) -> Result<(), Failure> {
        self.stage.borrow_mut().world.raise(SUPERVISOR, Signal::Terminate);
        self.draining = true;
        for worker in &mut self.workers {
            if let Worker::Serving(server) = worker {
                server.draining = true;
            }
        }
        let latest = self.now() + nanos(self.settings.drain.timeout) + DRAIN_GRACE;
        self.horizon = latest + 1;
        while !self.supervisor.is_over() {
            if self.now() > latest {
                return Err(self.fail("the drain does not end"));
            }
            self.step()?;
        }
        self.judge_watcher()?;
        let stage = self.stage.borrow();
        let conns = stage.world.conns.iter();
        let open = |conn: &super::world::Conn| {
            let is_client = conn.listener < self.settings.listeners.len();
            is_client && conn.oracle.accepted.is_some() && !conn.oracle.ended && !conn.oracle.killed
        };
        match conns.map(open).position(|open| open) {
            Some(conn) => Err(self.fail(format!("c{conn} was accepted and never ended"))),
            None => Ok(()),
        }
    }

    /// All has come to who watches that the server has sent to its end.
    fn judge_watcher(&mut self) -> Result<(), Failure> {
        let Some(watcher) = self.watcher.take() else { return Ok(()) };
        let judged = watcher.finish(&mut self.stage.borrow_mut());
        judged.map_err(|what| self.fail(what))
    }

    /// When a process has its next turn.
    fn turn_of(&self, process: usize, world: &World) -> u64 {
        let state = &world.processes[process];
        if state.exit.is_some() {
            return u64::MAX;
        }
        let loading = process.checked_sub(1).is_some_and(|at| matches!(self.workers[at], Worker::Loading(_)));
        let at = if state.dead || loading || state.brought.is_some() || world.is_ready(process) {
            world.now()
        } else {
            self.due[process]
        };
        if state.dead { at } else { at.max(state.runs_from) }
    }

    /// Lets the next thing happen: in the world, or in the process whose turn it is.
    fn step(&mut self) -> Result<(), Failure> {
        let count = self.due.len();
        let next = {
            let SimEnv { world, .. } = &*self.stage.borrow();
            // After everybody else has had a turn.
            let order = (1..=count).map(|after| (self.last + after) % count);
            order
                .min_by_key(|&process| self.turn_of(process, world))
                .map(|next| (self.turn_of(next, world), next))
        };
        let (at, process) = next.expect("the supervisor is one");
        let until = at.min(self.next_fault).min(self.horizon);
        self.stage.borrow_mut().advance(until, World::somebody_is_ready);
        if let Some(watcher) = &mut self.watcher {
            watcher.look(&mut self.stage.borrow_mut().world);
        }
        if self.now() < until {
            return Ok(());
        }
        if self.next_fault == until {
            self.break_something();
            return Ok(());
        }
        if at > until {
            return Ok(());
        }
        self.last = process;
        self.give_turn(process)
    }

    fn give_turn(&mut self, process: usize) -> Result<(), Failure> {
        if self.stage.borrow().world.processes[process].dead {
            self.bury(process, "signal: 9 (SIGKILL)", false);
            return Ok(());
        }
        if process != SUPERVISOR && !matches!(self.workers[process - 1], Worker::Serving(_)) {
            return self.start(process);
        }
        if self.stage.borrow().world.processes[process].brought.is_none() {
            self.look(process);
            return Ok(());
        }
        if process == SUPERVISOR {
            self.supervisor.turn().map_err(|fatal| self.fail(format!("the supervisor gives up: {fatal}")))?;
            let sleep = self.supervisor.sleep();
            self.note_due(process, sleep);
            self.take_started();
            return Ok(());
        }
        let Worker::Serving(server) = &mut self.workers[process - 1] else { return Ok(()) };
        let flow = server.turn()?;
        let sleep = server.reactor.inspect().sleep();
        self.note_due(process, sleep);
        if self.stage.borrow().world.processes[process].dead {
            self.bury(process, "signal: 9 (SIGKILL)", false);
        } else if flow == Flow::Finished {
            let Worker::Serving(server) = &self.workers[process - 1] else { return Ok(()) };
            let inspection = server.reactor.inspect();
            if inspection.connections() + inspection.identities() > 0 {
                return Err(self.fail("connections or identities are left after the drain"));
            }
            self.bury(process, "exit status: 0", true);
        }
        Ok(())
    }

    /// Lets a process see what is ready; it acts on that a little later, or much later.
    fn look(&mut self, process: usize) {
        let world = &mut self.stage.borrow_mut().world;
        let mut ready = Vec::new();
        world.take_ready(process, &mut ready);
        let now = world.now();
        let wakes = now + world.chance.within(1_000..50_000);
        world.processes[process].brought = Some(ready);
        world.processes[process].runs_from = wakes;
        if world.chance.chance(world.faults.stall) {
            let most = world.faults.stall_max;
            let stall = world.chance.between(Duration::ZERO, most);
            world.stall_for(process, stall);
        }
    }

    fn note_due(&mut self, process: usize, sleep: Option<Duration>) {
        // Rounded up to whole milliseconds, as epoll_wait(2) takes it.
        let wait = sleep.map(|sleep| nanos(sleep).div_ceil(1_000_000) * 1_000_000);
        self.due[process] = wait.map_or(u64::MAX, |wait| self.now() + wait);
    }

    /// Gives the processes that were started their program, which takes some time to load.
    fn take_started(&mut self) {
        let world = &mut self.stage.borrow_mut().world;
        for started in std::mem::take(&mut world.started) {
            let loads = world.chance.within(1_000_000..300_000_000);
            world.processes[started.process].runs_from = world.now() + loads;
            self.due.push(u64::MAX);
            self.workers.push(Worker::Loading(started));
        }
    }

    /// Lets a worker come further on its way to serve.
    fn start(&mut self, process: usize) -> Result<(), Failure> {
        let worker = std::mem::replace(&mut self.workers[process - 1], Worker::Ended);
        self.workers[process - 1] = match worker {
            Worker::Loading(Started { process, number, of, listeners, link }) => {
                let indexes = listeners.iter().map(SimListener::index).collect();
                let mut kernel = SimKernel::of_process(Rc::clone(&self.stage), process, listeners);
                let channel = Channel::new(link);
                let watched = kernel.watch(channel.stream(), Token::SUPERVISOR, Interest::ReadWrite);
                debug_assert_eq!(watched, Ok(()), "a link can be watched");
                Worker::Starting(Box::new(Start { number, of, kernel, channel, listeners: indexes }))
            }
            Worker::Starting(mut start) => {
                self.stage.borrow_mut().world.take_ready(process, &mut Vec::new());
                let received = start.channel.receive();
                match start.channel.next_message() {
                    Ok(Some(ToWorker::Start { is_watched, .. })) => {
                        self.due[process] = 0;
                        self.serve(process, *start, is_watched)?
                    }
                    Ok(None) if received.is_ok() => Worker::Starting(start),
                    _ => {
                        drop(start);
                        self.bury(process, "exit status: 1", false);
                        return Ok(());
                    }
                }
            }
            worker @ (Worker::Serving(_) | Worker::Ended) => worker,
        };
        Ok(())
    }

    fn serve(&mut self, process: usize, start: Start, is_watched: bool) -> Result<Worker, Failure> {
        let Start { number, of, kernel, channel, listeners } = start;
        let reload = Box::new(NoFile::default());
        let mut reactor = Reactor::new(kernel, self.settings.clone(), super::plan::DESCRIPTORS, reload)
            .map_err(|fatal| self.fail(fatal.to_string()))?;
        reactor.join(channel, number, of, None);
        if is_watched {
            reactor.keep_events();
        }
        let stage = Rc::clone(&self.stage);
        let mut server = Server::new(reactor, stage, process, listeners, self.settings.clone());
        server.draining = self.draining;
        Ok(Worker::Serving(Box::new(server)))
    }

    /// A process ends: its kernel closes what it had, and tells its parent.
    fn bury(&mut self, process: usize, how: &str, success: bool) {
        self.stage.borrow_mut().world.processes[process].dead = true;
        let worker = std::mem::replace(&mut self.workers[process - 1], Worker::Ended);
        if let Worker::Serving(server) = &worker {
            self.outcome.turns += server.turns;
            self.outcome.connection_seconds += server.connection_seconds;
        }
        drop(worker);
        let world = &mut self.stage.borrow_mut().world;
        world.note(|| format!("p{process} has ended: {how}"));
        world.processes[process].exit = Some(Exit { success, text: how.to_owned() });
        world.raise(SUPERVISOR, Signal::Child);
        // What the dead had read and not passed on is lost.
        for device in 0..world.devices.len() {
            let channel = world.devices[device].channel;
            if channel.is_some_and(|conn| world.conn(conn).oracle.process == process) {
                world.devices[device].channel = None;
            }
        }
    }

    fn report(mut self, failure: Option<Failure>) -> Outcome {
        for server in self.workers.iter().filter_map(|worker| match worker {
            Worker::Serving(server) => Some(server),
            Worker::Loading(_) | Worker::Starting(_) | Worker::Ended => None,
        }) {
            self.outcome.turns += server.turns;
            self.outcome.connection_seconds += server.connection_seconds;
        }
        let mut stage = self.stage.borrow_mut();
        self.outcome.close(&mut stage.world, failure);
        drop(stage);
        self.outcome
    }
}
