//! The loop: one thread, one poll, every connection. Generic over the kernel ([`Kernel`]), so that a simulated
//! one can drive the same code.
//!
//! [`Reactor::turn`] is the turn. The reactor is a table of connections and a `context`: all else that serving one of
//! them may touch, made of `parts` that keep their fields to themselves. What drives one connection gets that
//! connection and the context, and nothing that it does there removes an entry. What reaches several connections has
//! the reactor. Which parts each file uses is in the table of `tests/model/layers/parts.rs`.
//!
//! | step of the turn | file |
//! | --- | --- |
//! | newcomers | `accept`; `unserved`: those that are turned away |
//! | what a share or a pause has stopped | `tasks`, with `publish` (of a `publication`) and `lists` |
//! | readiness | `io` (bytes in), `output` (bytes out), `layered` (a layer such as TLS between them and the socket), `header` (what a proxy says first) |
//! | what follows for the connection | `life` (its states), `liveness` (what silence leads to), `input` (bytes that wait to be understood) |
//! | protocols | `serving`; what a session asks for: `requests`, `numbers`, `naming` (identities, and messages to who has one), `log_in`; `admin` |
//! | the gateway | `upstream` (connects clients to servers), `relay` (hands on what each leg sends and what happens to it), `batch` (receives of several legs before it sends), `splice` (the same in bulk, within the kernel), `routes`, `health` (checks servers, by connections that are in no table) |
//! | effects on others | `effects`, `initiators` (endings that another connection asked for) |
//! | other processes | `worker_link`, `ask` and `queries` (what a client asks of all workers), `tickets`, `service` (the service manager) |
//! | deadlines | `timers` (when a connection is looked at next, and whose time is up) |
//! | endings | `close`: the one close path |
//! | the operator | `lifecycle`, `endings`, `upstreams`, `queues`, `audit` |
//!
//! `work` bounds what all of that costs, `memory` bounds all buffers together. `connection` is the entry of the table,
//! `inspect` is the view of tests.

mod accept;
#[cfg(test)]
mod accept_tests;
mod admin;
mod ask;
mod audit;
mod batch;
#[cfg(test)]
mod batch_tests;
mod close;
#[cfg(test)]
mod close_tests;
mod connection;
mod context;
#[cfg(test)]
mod deferred_tests;
mod effects;
mod endings;
mod header;
#[cfg(test)]
mod header_tests;
mod health;
mod initiators;
mod input;
mod inspect;
mod io;
#[cfg(test)]
mod io_tests;
mod layered;
#[cfg(test)]
mod layered_tests;
#[cfg(test)]
mod leaving_tests;
mod life;
#[cfg(test)]
mod life_tests;
mod lifecycle;
mod lists;
mod liveness;
mod log_in;
mod memory;
mod naming;
mod numbers;
mod output;
#[cfg(test)]
mod output_tests;
mod parts;
mod publication;
mod publish;
mod queries;
mod queues;
mod relay;
mod requests;
mod routes;
#[cfg(test)]
mod scene_tests;
mod service;
mod serving;
mod splice;
mod tasks;
#[cfg(test)]
mod tests;
mod tickets;
mod timers;
mod unserved;
mod upstream;
mod upstreams;
mod work;
mod worker_link;

use crate::config::settings::{ListenerSettings, Settings};
use crate::core::buf::ReadBuffer;
use crate::core::table::{Key, Table};
use crate::core::time::Span;
use crate::net::{Address, Fatal, Kernel, Ready, Token};
use crate::protocol::Scratch;
use connection::Connection;
use context::Context;
pub use inspect::{ConnSnapshot, DebugView, Ended, NoReload, ServerSnapshot};
use parts::batch::{BYTES_MAX as BATCH_BYTES_MAX, Batch};
use parts::checks::number_of;
pub use parts::lifecycle::{Drained, Reload, Requested};
pub use parts::places::{admin_connections_max, checks_max};
use parts::reclaim::Reclaim;
use publication::Frames;
#[cfg(test)]
pub(crate) use scene_tests::Scene;
use std::rc::Rc;
pub use unserved::refused_max;

/// Bytes that one receive can take: larger ones cost cache, smaller ones cost calls.
const RECEIVE_BYTES_MAX: usize = 64 * 1024;

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
    /// Every connection.
    table: Table<Connection<K::Stream>>,
    /// All else that serving one of them may touch.
    cx: Context<K>,
    ready: Vec<Ready>,
    /// Each list that is being made holds a clone of it: their number is bounded.
    list_permits: Rc<()>,
    read_buffer: ReadBuffer<{ RECEIVE_BYTES_MAX + BATCH_BYTES_MAX }>,
    batch: Batch,
    /// Replies of the connection that is being driven, before they are sent in one call.
    replies: Vec<u8>,
    scratch: Scratch,
    frames: Frames,
    /// A look for those who hold most, while memory is short.
    reclaim: Option<Reclaim>,
}

impl<K: Kernel> Reactor<K> {
    /// Opens the listeners of `settings`. `descriptors_max`: connections that there are descriptors for;
    /// `reload`: reads the configuration again, on SIGHUP.
    ///
    /// # Errors
    /// When a listener cannot be opened.
    pub fn new(
        kernel: K,
        settings: Settings,
        descriptors_max: u32,
        reload: Box<dyn Reload>,
    ) -> Result<Self, Fatal> {
        let mut cx = Context::new(kernel, settings, descriptors_max, reload)?;
        cx.note_servers();
        cx.warn_of_expiries();
        cx.hand_out_tickets();
        Ok(Self {
            table: Table::with_capacity(cx.places.slots()),
            cx,
            ready: Vec::with_capacity(1024),
            list_permits: Rc::new(()),
            read_buffer: ReadBuffer::new(),
            batch: Batch::new(),
            replies: Vec::new(),
            scratch: Scratch::default(),
            frames: Frames::default(),
            reclaim: None,
        })
    }

    /// Runs until a signal ends it.
    ///
    /// # Errors
    /// When the loop cannot go on.
    pub fn run(&mut self) -> Result<Drained, Fatal> {
        self.cx.notify_serving();
        while self.turn()? == Flow::Continue {}
        Ok(self.summary())
    }

    /// One turn of the loop.
    ///
    /// # Errors
    /// When the poller has failed.
    pub fn turn(&mut self) -> Result<Flow, Fatal> {
        let timeout = self.cx.sleep();
        let mut ready = std::mem::take(&mut self.ready);
        let brought = self.cx.kernel.poll(timeout, &mut ready)?;
        let before = std::mem::replace(&mut self.cx.now, self.cx.kernel.now());
        let stalled = self.cx.deadlines.on_poll(before, self.cx.now, timeout, brought, self.sources());
        if let Some(lasted) = stalled {
            self.cx.note_standstill(lasted);
        }
        self.cx.work.begin_turn();

        let small = ready.len() == 1;
        let commands = self.cx.observer.counters.commands;

        self.note_sources(&ready);
        // Before the connections' turn: a slot freed below is not taken again by an accept in the same batch.
        self.accept_all();
        // Before what is ready now: a connection whose budget runs out below waits for the next turn.
        self.resume_some();
        for event in ready.drain(..) {
            self.dispatch(event);
        }
        self.send_batch();
        self.ready = ready;
        // A bounded share of the turn, whatever is asked there.
        self.serve_admin();
        // After I/O, so that effects of what was read now are seen now.
        self.run_effects();
        // After what happened here: the supervisor's messages are newer.
        if self.cx.effects.is_empty() && self.cx.worker.may_receive() {
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
        // After this turn's input: what a connection has sent is read before it is judged.
        if self.cx.audits.is_due() {
            self.advance_audit();
        }
        self.notify_watchers();
        let flow = self.conclude();
        // Last: everything above may have something to tell.
        self.send_to_supervisor()?;
        // A turn of one echo is not timed: reading the clock would cost almost as much as the echo.
        if !small || self.cx.observer.counters.commands != commands {
            self.cx.observer.counters.turn_times.add(Span::between(self.cx.now, self.cx.kernel.now()));
        }
        Ok(flow)
    }

    /// How many sources are watched at most.
    fn sources(&self) -> usize {
        /// Signals, the table of sockets, the supervisor.
        const OTHERS: usize = 3;
        self.table.len() + self.cx.listeners.len() + self.cx.gateway.checks.len() + OTHERS
    }

    /// Listeners are only noted. Signals, new settings and new addresses take effect here, before any connection is served.
    fn note_sources(&mut self, ready: &[Ready]) {
        self.cx.observer.counters.turns += 1;
        for event in ready {
            match source(event.token) {
                Source::Signals => self.take_signals(),
                Source::Aside => {
                    self.cx.audits.note();
                    self.take_settings();
                    self.cx.take_addresses();
                }
                Source::Supervisor => self.cx.worker.note_supervisor(),
                Source::Listener(index) => self.cx.listeners[index].on_edge(),
                Source::Connection(_) | Source::Check(_) => {}
            }
        }
    }

    fn dispatch(&mut self, event: Ready) {
        match source(event.token) {
            Source::Connection(key) => {
                self.cx.work.begin_serving();
                self.on_ready(key, event.readiness);
            }
            Source::Check(number) => {
                // The check receives into the read buffer.
                self.send_batch();
                self.on_check_ready(number, event.readiness);
            }
            Source::Signals | Source::Aside | Source::Supervisor | Source::Listener(_) => {}
        }
    }

    /// The kernel: tests look behind it.
    pub const fn kernel(&mut self) -> &mut K {
        &mut self.cx.kernel
    }

    /// The addresses that it listens on, with the ports that the kernel chose.
    pub fn addresses(&self) -> impl Iterator<Item = (&ListenerSettings, &Address)> {
        self.cx.listeners.iter().map(|slot| (&slot.settings, &slot.address))
    }

    /// Most client connections at once.
    pub const fn connections_max(&self) -> u32 {
        self.cx.places.clients_max()
    }
}

/// What a token stands for.
enum Source {
    Signals,
    Aside,
    Supervisor,
    Listener(usize),
    Check(u32),
    Connection(Key),
}

fn source(token: Token) -> Source {
    let key = Key::from_token(token);
    if key.generation != 0 {
        return Source::Connection(key);
    }
    match token {
        Token::SIGNAL => Source::Signals,
        Token::ASIDE => Source::Aside,
        Token::SUPERVISOR => Source::Supervisor,
        token => match number_of(token) {
            Some(number) => Source::Check(number),
            None => Source::Listener(key.index as usize),
        },
    }
}
