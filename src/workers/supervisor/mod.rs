//! The supervisor of several workers: a loop of its own, which serves no client. It opens every listening socket, one
//! for each worker and address, starts the workers and starts anew what ends, passes on signals, settles which of
//! them holds an identity, and answers the admin interface for all of them.
//!
//! It never waits for a worker. What it tells them is queued (`worker`, over [`worker_link`](crate::workers::link)). One that
//! does not answer in time is named (`admin_fanout`), and one that does not end in time is killed. In reading order: the
//! loop is here; `hear` handles what workers say; `children` starts them and takes in who has ended, `worker` is one of them; `pulse` and `stall` find out whether it moves;
//! `identities` settles which connection holds an identity; `topics` knows the subscribers; `tickets` has the keys by which all resume sessions of TLS; `inquiries` has what clients
//! ask about those of all workers; `admin_fanout` makes one answer out of many, `totals` of metrics, `lists` and `ends` one that is long (a `production`), `events` one that has no end, and `last_words` how it ends;
//! `admin_server` has the connections of the admin interface, `client` is one of them. A worker's side is `reactor/worker_link.rs`.
//!
//! The listening sockets stay open here as long as clients are served: a client that waits in the accept queue of a
//! worker that dies waits for its successor, and is not reset (`tests/server/workers/death.rs:
//! who_waits_in_the_queue_of_a_dead_worker_is_served_by_its_successor`).

mod admin_fanout;
mod admin_server;
mod children;
mod client;
mod ends;
mod events;
mod hear;
mod identities;
mod inquiries;
mod last_words;
mod lists;
mod production;
mod pulse;
mod reload;
mod service;
mod stall;
mod tickets;
mod topics;
mod totals;
mod worker;

use crate::config::settings::{ListenerSettings, Settings};
use crate::core::secret::Secret;
use crate::core::time::{Duration, Instant};
use crate::net::{Address, Fatal, Listener as _, Ready, ServiceNotifier, Signal, Supervising, Token};
use crate::observe::events::{Events, Kind};
use crate::observe::report;
use crate::protocol::presence;
use crate::tls::Tickets;
use crate::workers::link::ToWorker;
use admin_fanout::AdminFanout;
use admin_server::{AdminServer, CLIENTS, ClientId, Served};
use events::OwnEvents;
use hear::Relays;
use identities::Identities;
use inquiries::Inquiries;
use last_words::LastWords;
pub use reload::{Reload, Reread};
use serde_json::json;
use topics::Topics;
use totals::Own;
use worker::{Life, Worker};

/// Tokens of workers are above this, in the order of their places; below it is the admin interface.
const WORKERS: u64 = 1 << 32;
const ADMIN: Token = Token(0);

/// Requests of one connection of the admin interface before the others have their turn, and of all in one turn.
const REQUESTS_AT_ONCE: usize = 16;
const REQUESTS_PER_TURN: usize = 128;
/// How much longer than its drain a worker may take to end: more than it waits for its last words. With what the end of the
/// log may take here and there, that makes less than two seconds.
const DRAIN_GRACE: Duration = Duration::from_millis(1500);
/// How long a worker may take that was told to end at once.
const AT_ONCE: Duration = Duration::from_secs(5);

/// What is supervised.
pub struct Plan {
    /// In force: those of `file` and the flags.
    pub settings: Settings,
    /// The text of the file, with those that it names, packed.
    pub file: Secret<String>,
    /// How many there are to be: two at least.
    pub workers: u32,
}

/// How the life of a server ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Drained {
    /// All went well.
    pub well: bool,
    /// What was left of the time for the drain.
    pub spare: Duration,
}

/// How far a server with workers is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// The first workers are being started.
    Starting,
    /// They have been.
    Serving,
    /// They part from their clients.
    Draining,
}

/// The supervisor.
pub struct Supervisor<K: Supervising> {
    kernel: K,
    started: Instant,
    now: Instant,
    phase: Phase,
    plan: Plan,
    /// The file as it was last read without a mistake.
    file: Secret<String>,
    /// Reads it again.
    reload: Box<dyn Reload>,
    /// When the drain begins that was put off.
    drain_at: Instant,
    /// When the drain is over.
    drained: Instant,
    /// What each address of the clients is, with the port that the kernel chose.
    addresses: Vec<(ListenerSettings, Address)>,
    /// Empty between turns.
    ready: Vec<Ready>,
    workers: Vec<Worker<K>>,
    identities: Identities,
    /// The numbers of what those are told who watch identities.
    presence: presence::Sequence,
    topics: Topics,
    /// To be passed on in the next turn.
    relays: Relays,
    /// What clients ask about those of all workers.
    inquiries: Inquiries,
    /// The places of the workers that are given newcomers, if that is not all of them.
    steered: Vec<usize>,
    tickets: Tickets,
    admin: AdminServer<K>,
    /// Connections of the admin interface that something happened on.
    touched: Vec<ClientId>,
    fanout: AdminFanout,
    /// Whether the configuration was sound when it was last read, and when that was.
    reloaded: (bool, Instant),
    /// What happens to workers, for those who watch.
    events: Events,
    /// The way to the service manager, and when it is told again that the loop turns.
    service: ServiceNotifier,
    service_due: Instant,
    /// All workers have ended, and those who watched are waited for.
    last_words: Option<LastWords>,
    /// A worker did not end well although it was asked to.
    failed: bool,
}

impl<K: Supervising> Supervisor<K> {
    /// Opens all listeners; starts nobody yet.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub fn new(mut kernel: K, plan: Plan, reload: Box<dyn Reload>) -> Result<Self, Fatal> {
        let now = kernel.now();
        let count = plan.workers as usize;
        let mut theirs: Vec<Vec<K::Listener>> = (0..count).map(|_| Vec::new()).collect();
        let mut addresses = Vec::new();
        for settings in plan.settings.listeners.iter().filter(|listener| listener.protocol.serves_clients()) {
            let shares = kernel.open_shared(&settings.listen_spec(), count)?;
            addresses.push((settings.clone(), shares[0].address().clone()));
            theirs.iter_mut().zip(shares).for_each(|(own, share)| own.push(share));
        }
        let mut tickets = Tickets::none();
        tickets::begin(&mut tickets, &plan.settings, now);
        let admin = AdminServer::open(&mut kernel, admin_of(&plan.settings).cloned(), ADMIN, now)?;
        admin.use_ticket_keys(tickets.keys());
        let workers = theirs.into_iter().zip(1..).map(|(own, number)| Worker::new(number, own)).collect();
        let mut supervisor = Self {
            started: now,
            now,
            phase: Phase::Starting,
            file: plan.file.clone(),
            reload,
            drain_at: Instant::NEVER,
            drained: Instant::ZERO,
            addresses,
            ready: Vec::new(),
            workers,
            identities: Identities::default(),
            presence: presence::Sequence::default(),
            topics: Topics::default(),
            relays: Relays::default(),
            inquiries: Inquiries::default(),
            steered: Vec::new(),
            tickets,
            admin,
            touched: Vec::new(),
            fanout: AdminFanout::default(),
            reloaded: (true, now),
            events: Events::new(plan.settings.server.events_bytes, kernel.unix_time()),
            service: ServiceNotifier::default(),
            service_due: Instant::NEVER,
            last_words: None,
            failed: false,
            kernel,
            plan,
        };
        supervisor.warn_of_expiries();
        Ok(supervisor)
    }

    /// The kernel that it runs on.
    pub const fn kernel(&self) -> &K {
        &self.kernel
    }

    /// What it listens on: the clients' addresses, then the admin interface's.
    pub fn addresses(&self) -> impl Iterator<Item = (&ListenerSettings, &Address)> {
        self.addresses.iter().map(|(settings, address)| (settings, address)).chain(self.admin.address())
    }

    /// Supervises until all workers have drained. `serving` is called once, when they serve.
    ///
    /// # Errors
    /// When the loop cannot go on, or not one worker can be started.
    pub fn run(mut self, serving: impl FnOnce(&Self)) -> Result<Drained, Fatal> {
        while self.phase == Phase::Starting {
            self.turn()?;
        }
        if self.phase == Phase::Serving {
            serving(&self);
        }
        while !self.is_over() {
            self.turn()?;
        }
        report::all_drained(self.workers.len(), self.now.since(self.started));
        Ok(Drained { well: !self.failed, spare: self.drained.since(self.now) })
    }

    /// Identities that are held, over all workers.
    pub const fn identities_held(&self) -> usize {
        self.identities.held()
    }

    /// One turn of the loop.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn turn(&mut self) -> Result<(), Fatal> {
        // Before it is said how long to sleep: who cannot be started is tried again some time.
        self.start_workers()?;
        let timeout = self.sleep();
        let due = timeout.map_or(Instant::NEVER, |timeout| self.now + timeout);
        let mut ready = std::mem::take(&mut self.ready);
        self.kernel.poll(timeout, &mut ready)?;
        self.now = self.kernel.now();
        self.make_up_for_lateness(due);
        for event in ready.drain(..) {
            self.note(event);
        }
        self.ready = ready;
        self.take_signals();
        if self.drain_at <= self.now {
            self.drain();
        }
        self.rotate_tickets();
        // Counted before the first worker is read, relayed after the last: a client that was told that it is subscribed
        // before this was published is known as a subscriber by then.
        let (due, asked) = (self.relays.due(), self.inquiries.due());
        self.hear_workers();
        self.carry_out_directives();
        self.relay(due);
        self.answer_clients(asked);
        self.catch_up();
        // Behind what they have said: a worker that was heard from is not stalled.
        self.watch_workers();
        // Before the admin interface is served: nobody waits for the answer of one that has ended.
        self.reap()?;
        self.serve_admin();
        // After all that has something to tell them.
        for worker in &mut self.workers {
            worker.flush(&self.file, self.now);
        }
        if self.phase == Phase::Starting && self.workers.iter().all(is_settled) {
            self.phase = Phase::Serving;
            self.notify_serving();
        }
        if self.service_due <= self.now {
            self.notify_alive();
        }
        self.end_watches();
        Ok(())
    }

    /// How long to sleep if nothing happens; `None`: for ever.
    pub fn sleep(&mut self) -> Option<Duration> {
        let ready = |worker: &mut Worker<K>| {
            worker.has_more || worker.may_catch_up() || worker.process().is_some_and(|process| process.ready)
        };
        let directives = self.identities.has_directives() || !self.relays.is_empty();
        if self.workers.iter_mut().any(ready) || !self.touched.is_empty() || directives {
            return Some(Duration::ZERO);
        }
        let patience = self.plan.settings.server.stall_timeout;
        let workers = self.workers.iter().map(|worker| worker.next(patience)).min().unwrap_or(Instant::NEVER);
        let next = workers.min(self.admin.next()).min(self.fanout.next()).min(self.identities.next());
        let next =
            next.min(self.inquiries.next()).min(self.tickets.next()).min(self.service_due).min(self.drain_at);
        let next = next.min(self.last_words.as_ref().map_or(Instant::NEVER, |last| last.until));
        (next != Instant::NEVER).then(|| next.since(self.now))
    }

    fn note(&mut self, event: Ready) {
        match event.token.0 {
            _ if event.token == Token::SIGNAL => {}
            _ if event.token == Token::ASIDE => self.take_settings(),
            token if token == ADMIN.0 => self.admin.on_edge(),
            token if token >= CLIENTS => {
                self.touched.push(u32::try_from(token - CLIENTS).expect("tokens of clients have 32 bits"));
            }
            token => {
                let place = usize::try_from(token - WORKERS).expect("a place is a small number");
                if let Some(process) = self.workers[place].process() {
                    process.ready = true;
                }
            }
        }
    }

    fn take_signals(&mut self) {
        while let Some(signal) = self.kernel.next_signal() {
            match signal {
                Signal::Terminate => self.on_terminate(),
                Signal::Reload => self.request_settings(),
                Signal::Report => self.report(),
                // Children that have ended are looked for every turn.
                Signal::Child => {}
            }
        }
    }

    /// The operator ends the server: when it has said for `drain.delay` that it is not ready.
    fn on_terminate(&mut self) {
        let delay = self.plan.settings.drain.delay;
        if self.phase != Phase::Serving || self.drain_at != Instant::NEVER || delay.is_zero() {
            return self.drain();
        }
        report::drain_put_off(delay);
        self.drain_at = self.now + delay;
        self.notify_stopping();
    }

    /// Lets all workers part from their clients; the second time, at once.
    fn drain(&mut self) {
        let again = self.phase == Phase::Draining;
        (self.phase, self.drain_at) = (Phase::Draining, Instant::NEVER);
        let drain = self.plan.settings.drain;
        report::workers_drain(self.workers.len(), again);
        if !again {
            let fields = || json!({"connections": null, "spread_s": drain.spread.as_secs_f64()});
            self.events.add_of_server(Kind::Drain, fields, self.now);
        }
        let most = if again { AT_ONCE } else { drain.timeout + DRAIN_GRACE };
        self.drained = if again { self.now } else { self.now + drain.timeout };
        if let Some(last_words) = self.last_words.as_mut().filter(|_| again) {
            last_words.until = self.now;
        }
        for worker in &mut self.workers {
            // Before it empties its queues and closes them: closed here as well, they take nobody any more.
            worker.listeners.clear();
            worker.kill_at(self.now + most);
            if !worker.send(&ToWorker::Terminate) && matches!(worker.life, Life::Resting { .. }) {
                worker.life = Life::Over;
            }
        }
        self.notify_stopping();
    }

    fn report(&mut self) {
        report::workers_state(self.workers.len(), self.identities.held(), self.identities.moved());
        for worker in &mut self.workers {
            worker.send(&ToWorker::Report);
        }
    }

    fn serve_admin(&mut self) {
        let mut left = REQUESTS_PER_TURN;
        for id in std::mem::take(&mut self.touched) {
            if left == 0 {
                self.touched.push(id);
            } else {
                left -= self.serve_client(id, left.min(REQUESTS_AT_ONCE));
            }
        }
        // Read from the host, or copied: not for nothing.
        let is_wanted = self.fanout.wants_usage(self.now);
        let own = Own {
            uptime_seconds: self.now.since(self.started).as_secs_f64(),
            draining: self.phase == Phase::Draining || self.drain_at != Instant::NEVER,
            channels: self.topics.channels(),
            patterns: self.topics.patterns(),
            identities_moved: self.identities.moved(),
            dropped: self.relays.dropped,
            usage: is_wanted.then(|| self.kernel.usage()).flatten(),
            reload: (self.reloaded.0, self.now.since(self.reloaded.1)),
            admin: self.admin.counted(),
            certificates: if is_wanted { self.admin.expiries().1.to_vec() } else { Vec::new() },
        };
        let unix_time = self.fanout.is_watched().then(|| self.kernel.unix_time()).flatten();
        let mut own_events = OwnEvents { events: &mut self.events, unix_time, now: self.now };
        // What each of them takes now makes room for more, and no edge may come for that.
        let served = self.fanout.advance(&mut self.workers, &mut self.admin, &own, &mut own_events, self.now);
        self.touched.extend(served);
        self.admin.expire(self.now);
        // Last: what was closed above has made room, and no edge tells of that.
        self.touched.extend(self.admin.accept(&mut self.kernel, self.now));
    }

    /// Serves a connection of the admin interface until it waits for somebody, or others have their turn. Gives how many
    /// requests it had.
    fn serve_client(&mut self, id: ClientId, most: usize) -> usize {
        for served in 0..most {
            match self.admin.serve(id, self.now) {
                Served::All => return served,
                Served::More => {
                    self.touched.push(id);
                    return served;
                }
                Served::Answered => {}
                Served::Asked(asked) => {
                    if !self.fanout.ask(id, asked, &mut self.workers, &mut self.admin, self.now) {
                        return served + 1;
                    }
                }
            }
        }
        // It may have more, and no edge will come for it: after the others.
        self.touched.push(id);
        most
    }
}

/// The admin interface, if there is one.
fn admin_of(settings: &Settings) -> Option<&ListenerSettings> {
    settings.listeners.iter().find(|listener| !listener.protocol.serves_clients())
}

/// Whether a worker serves, or has at least shown that it does not.
fn is_settled<K: Supervising>(worker: &Worker<K>) -> bool {
    matches!(worker.life, Life::Serving(_)) || worker.ends > 0
}

fn token_of(place: usize) -> Token {
    Token(WORKERS + place as u64)
}
