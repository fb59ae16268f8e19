//! The loop: one thread, one poll, every connection. Generic over the kernel ([`Kernel`]), so that a simulated
//! one can drive the same code.
//!
//! [`Reactor::turn`] is the turn. Each step of it has a file: `accept`, `io` (bytes in and out of one connection),
//! `effects` (what one connection does to others), `timers` (deadlines), `close` (the one close path), `initiators` (the
//! cause of an ending that another connection asked for), `liveness` (silence, and what follows from it). Then come the
//! protocols (`serving`, `commands`, `pubsub`, `clients`, `info`, `admin`), the operator's acts (`lifecycle`) and reports
//! (`queues`, `audit`), and the link to the other workers (`worker_link`; `ask` and `queries` for what a client asks of all).
//! `work` bounds what all of that costs. `tasks` keeps what takes longer than a turn, with `publish` (of a `publication`)
//! and `lists`. `connection` is the entry of the table, `input` the bytes that wait to be understood, `memory` the sum of
//! all buffers, `inspect` the view of tests.

mod accept;
mod admin;
mod ask;
mod audit;
mod clients;
mod close;
mod commands;
mod connection;
mod effects;
mod info;
mod initiators;
mod input;
mod inspect;
mod io;
mod lifecycle;
mod lists;
mod liveness;
mod memory;
mod publication;
mod publish;
mod pubsub;
mod queries;
mod queues;
#[cfg(test)]
mod scene_tests;
mod serving;
mod tasks;
#[cfg(test)]
mod tests;
mod timers;
mod unserved;
mod work;
mod worker_link;

use crate::config::settings::{ListenerSettings, Settings};
use crate::core::table::{Key, Table};
use crate::core::time::Instant;
use crate::core::timer::Wheel;
use crate::core::timer::attention::Attention;
use crate::hub::Hub;
use crate::net::{Address, Fatal, Kernel, Listener, Queue, Ready, Token};
use crate::observe::metrics::Counters;
use crate::observe::report::Report;
use crate::protocol::resp::Scratch;
use accept::{AcceptState, Stalls};
use admin::Admin;
pub use admin::admin_connections_max;
use audit::Audits;
use connection::Connection;
use effects::Effect;
use initiators::Initiators;
pub use inspect::{ConnSnapshot, DebugView, Ended};
pub use lifecycle::{Drained, Reload, Requested};
use memory::{Pool, Reclaim};
use publication::{Frames, Publication, Publications};
use std::collections::VecDeque;
use std::rc::Rc;
use tasks::Task;
use timers::ServerTimers;
pub use unserved::refused_max;
use work::Work;
use worker_link::WorkerLink;

/// Bytes that one receive can take: larger ones cost cache, smaller ones cost calls.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// Connections that the table has address space for from the start: about 120 MB of it.
const SLOTS_RESERVED_MAX: usize = 1 << 20;

/// Whether the loop goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// Another turn.
    Continue,
    /// Every connection that had to be closed is closed.
    Finished,
}

/// The server.
pub struct Reactor<K: Kernel> {
    kernel: K,
    /// When the server started.
    started: Instant,
    /// When this turn's poll returned: the only time there is during the turn.
    now: Instant,
    ready: Vec<Ready>,
    table: Table<Connection<K::Stream>>,
    wheel: Wheel,
    /// Up to when silence may be judged.
    attention: Attention,
    listeners: Vec<ListenerState<K::Listener>>,
    hub: Hub,
    /// Who ends connections that are not closed yet.
    initiators: Initiators,
    /// Effects on connections other than the one that is being driven.
    effects: VecDeque<Effect>,
    /// Connections with input or frames left over when their budget ran out.
    resume: VecDeque<Key>,
    /// Connections that were given output by others.
    flush: VecDeque<Key>,
    /// Those who have asked at the admin interface.
    admin: Admin,
    /// Messages that no connection waits for in particular.
    publications: Publications,
    /// Messages of the connection that is being driven, of which more may follow. Empty between connections.
    gathered: Publication,
    /// What is left of the command that was just carried out.
    unfinished: Option<Box<Task>>,
    /// One is held for each list that is being made, and this one.
    list_permits: Rc<()>,
    read_buffer: Box<[u8]>,
    /// Replies of the connection that is being driven, before they are sent in one call.
    replies: Vec<u8>,
    scratch: Scratch,
    frames: Frames,
    work: Work,
    pool: Pool,
    /// Most memory in waiting bytes, all connections together.
    memory_max: usize,
    reclaim: Option<Reclaim>,
    /// The least `output_high` of all listeners.
    least_output_high: usize,
    timers: ServerTimers,
    audits: Audits,
    settings: Settings,
    /// Client connections that the process has descriptors for.
    descriptors_max: u32,
    /// Most client connections at once.
    connections_max: u32,
    /// Connections of the admin interface that descriptors are set aside for.
    admin_max: u32,
    /// Client connections now; those of the admin interface are not counted.
    clients: u32,
    /// Connections that were let in only to be told that all places are taken.
    refused: u32,
    drain: Option<lifecycle::Drain>,
    reload: Box<dyn Reload>,
    reloaded: lifecycle::Reloaded,
    counters: Counters,
    report: Report,
    /// What it is among others; `None`: the only process of its server.
    link: Option<Box<WorkerLink<K::Stream>>>,
}

/// A listener and what is known of its accept queue.
struct ListenerState<L> {
    /// `None` once a drain has emptied and closed it: newcomers are refused then, and can go elsewhere.
    listener: Option<L>,
    /// What it is or was bound to.
    address: Address,
    settings: ListenerSettings,
    /// It has had `TCP_LINGER2 = -1` from the beginning, so that every connection of it inherited that.
    linger2_inherited: bool,
    accepting: AcceptState,
    /// Since when its queue could not be emptied.
    stalled_since: Option<Instant>,
    /// What was said of that, and is not said to be over.
    stalls: Option<Stalls>,
    /// A filling queue was warned of and has not emptied since.
    queue_warned: bool,
    /// The limit of its queue, as the kernel has it.
    queue_limit: Option<u32>,
    /// When a queue that was found full was last compared with the host's counters.
    looked: Option<Instant>,
    connections: u32,
    /// Other protocols that clients of it spoke and that were said, a bit each.
    foreign_told: u8,
}

impl<L: Listener> ListenerState<L> {
    fn new(listener: L, settings: ListenerSettings) -> Self {
        Self {
            address: listener.address().clone(),
            queue_limit: listener.queue().map(|queue| queue.limit),
            listener: Some(listener),
            linger2_inherited: settings.policy.parting.linger2,
            settings,
            accepting: AcceptState::Open,
            stalled_since: None,
            stalls: None,
            queue_warned: false,
            looked: None,
            connections: 0,
            foreign_told: 0,
        }
    }

    /// Its accept queue, where there is one and the kernel tells.
    fn queue(&self) -> Option<Queue> {
        self.listener.as_ref().and_then(Listener::queue)
    }
}

impl<K: Kernel> Reactor<K> {
    /// Opens the listeners of `settings`. `descriptors_max`: connections that there are descriptors for;
    /// `reload`: reads the configuration again, on SIGHUP.
    ///
    /// # Errors
    /// When a listener cannot be opened.
    pub fn new(
        mut kernel: K,
        settings: Settings,
        descriptors_max: u32,
        reload: Box<dyn Reload>,
    ) -> Result<Self, Fatal> {
        let now = kernel.now();
        let listeners = settings
            .listeners
            .iter()
            .enumerate()
            .map(|(index, settings)| {
                let listener = kernel.listen(&settings.listen_spec(), listener_token(index))?;
                Ok(ListenerState::new(listener, settings.clone()))
            })
            .collect::<Result<Vec<_>, Fatal>>()?;
        let for_clients = settings.listeners.iter().map(|listener| listener.protocol.serves_clients());
        let mut counters = Counters::new(for_clients);
        // What the host counted before is not our doing.
        counters.host_counters = kernel.host_counters().unwrap_or_default();
        let connections_max =
            settings.server.connections_max.map_or(descriptors_max, |own| own.min(descriptors_max));
        // Address space for all of them now: growing later would copy the table inside a turn. Pages that
        // are never touched cost nothing.
        let admin_max = admin_connections_max(&settings);
        // Bounded, for where RLIMIT_NOFILE is as good as unlimited (2^30 in many containers) the kernel
        // refuses so large a reservation.
        let slots = (descriptors_max as usize + admin_max as usize).min(SLOTS_RESERVED_MAX);
        Ok(Self {
            started: now,
            now,
            ready: Vec::with_capacity(1024),
            table: Table::with_capacity(slots),
            wheel: Wheel::new(now, slots),
            attention: Attention::new(now),
            least_output_high: least_output_high(&listeners),
            listeners,
            hub: Hub::default(),
            initiators: Initiators::default(),
            effects: VecDeque::new(),
            resume: VecDeque::new(),
            flush: VecDeque::new(),
            admin: Admin::default(),
            publications: Publications::default(),
            gathered: Publication::default(),
            unfinished: None,
            list_permits: Rc::new(()),
            read_buffer: vec![0; READ_BUFFER_BYTES].into_boxed_slice(),
            replies: Vec::new(),
            scratch: Scratch::default(),
            frames: Frames::default(),
            work: Work::default(),
            pool: Pool::default(),
            memory_max: memory::bound(&settings.server, kernel.memory(), 1),
            reclaim: None,
            timers: ServerTimers::first(now, &settings),
            audits: Audits::default(),
            report: Report::new(settings.log.endings_per_second),
            descriptors_max,
            connections_max,
            admin_max,
            clients: 0,
            refused: 0,
            drain: None,
            reload,
            reloaded: lifecycle::Reloaded { at: now, successful: true },
            counters,
            kernel,
            settings,
            link: None,
        })
    }

    /// Runs until a signal ends it.
    ///
    /// # Errors
    /// When the loop cannot go on.
    pub fn run(&mut self) -> Result<Drained, Fatal> {
        while self.turn()? == Flow::Continue {}
        Ok(self.summary())
    }

    /// One turn of the loop.
    ///
    /// # Errors
    /// When the poller has failed.
    pub fn turn(&mut self) -> Result<Flow, Fatal> {
        let timeout = self.sleep();
        let mut ready = std::mem::take(&mut self.ready);
        let brought = self.kernel.poll(timeout, &mut ready)?;
        let before = std::mem::replace(&mut self.now, self.kernel.now());
        self.attention.on_poll(before, self.now, timeout, brought, self.sources());
        self.work.begin_turn();

        let small = ready.len() == 1;
        let commands = self.counters.commands;

        self.note_sources(&ready);
        // Before the connections' turn: a slot freed below is not taken again by an accept in the same batch.
        self.accept_all();
        // Before what is ready now: whose budget runs out below waits for the next turn.
        self.resume_some();
        for event in ready.drain(..) {
            self.dispatch(event);
        }
        self.ready = ready;
        // A bounded share of the turn, whoever asks for whatever there.
        self.serve_admin();
        // After I/O, so that effects of what was read now are seen now.
        self.run_effects();
        // Behind all that happened here before it was heard.
        if self.effects.is_empty() && self.link.as_ref().is_some_and(|link| link.is_ready()) {
            self.receive_from_supervisor()?;
            self.answer_queries();
            self.run_effects();
        }
        self.publish_some();
        // After I/O: a heartbeat received this turn must cancel its own timeout. What a poll has not brought yet
        // is for the next turn, and so is what it may cancel.
        self.expire();
        // What was delivered.
        self.flush_some();
        self.reclaim_memory();
        // Behind what this turn brought: whoever is judged has had its say.
        if self.audits.due {
            self.audit_on();
        }
        // Last: everything above may have something to tell.
        self.send_to_supervisor()?;
        // One echo costs little more than to read the clock for it.
        if !small || self.counters.commands != commands {
            let took = self.kernel.now().since(self.now);
            self.counters.turn_times.add(took);
        }
        Ok(self.flow())
    }

    /// How many sources are watched at most.
    fn sources(&self) -> usize {
        /// Signals, the table of sockets, the supervisor.
        const OTHERS: usize = 3;
        self.table.len() + self.listeners.len() + OTHERS
    }

    /// Listeners and signals: only noted here, handled in their own steps.
    fn note_sources(&mut self, ready: &[Ready]) {
        self.counters.turns += 1;
        for event in ready {
            match source(event.token) {
                Source::Signals => self.take_signals(),
                Source::Aside => {
                    self.audits.due = true;
                    self.take_settings();
                }
                Source::Supervisor => self.note_supervisor(),
                Source::Listener(index) => self.listeners[index].accepting.on_edge(),
                Source::Connection(_) => {}
            }
        }
    }

    fn dispatch(&mut self, event: Ready) {
        if let Source::Connection(key) = source(event.token) {
            self.work.begin_serving();
            self.on_ready(key, event.readiness);
        }
    }

    /// The settings of the listener that accepted `conn`.
    fn listener_of<'a>(
        listeners: &'a [ListenerState<K::Listener>],
        conn: &Connection<K::Stream>,
    ) -> &'a ListenerSettings {
        &listeners[usize::from(conn.listener)].settings
    }

    /// The kernel: tests look behind it.
    pub const fn kernel(&mut self) -> &mut K {
        &mut self.kernel
    }

    /// The addresses that it listens on, with the ports that the kernel chose.
    pub fn addresses(&self) -> impl Iterator<Item = (&ListenerSettings, &Address)> {
        self.listeners.iter().map(|slot| (&slot.settings, &slot.address))
    }

    /// Most client connections at once.
    pub const fn connections_max(&self) -> u32 {
        self.connections_max
    }
}

/// What fits the output of everybody without a pause.
fn least_output_high<L>(listeners: &[ListenerState<L>]) -> usize {
    listeners.iter().map(|slot| slot.settings.policy.bounds.output_high).min().unwrap_or(0)
}

/// What a token stands for.
enum Source {
    Signals,
    Aside,
    Supervisor,
    Listener(usize),
    Connection(Key),
}

/// Listeners use generation 0, which no connection has.
const fn listener_token(index: usize) -> Token {
    Token(index as u64)
}

const fn source(token: Token) -> Source {
    let key = Key::from_token(token);
    if key.generation != 0 {
        return Source::Connection(key);
    }
    match token {
        Token::SIGNAL => Source::Signals,
        Token::ASIDE => Source::Aside,
        Token::SUPERVISOR => Source::Supervisor,
        Token(_) => Source::Listener(key.index as usize),
    }
}
