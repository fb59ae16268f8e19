//! Accepting: within a budget, never spinning, and never silent about why it stalls.
//!
//! Under edge triggering a queue that was not emptied gives no new edge. So an [`AcceptState`] remembers what is
//! known of the queue. [`AcceptState::Open`] is tried every turn until the kernel says that it is empty. A listener that
//! is stalled for want of descriptors is tried again after each close and on a timer.

use super::Reactor;
use super::admin::{Http, with_reserve};
use super::connection::{Connection, Pause, Reading, Resp, Session};
use super::context::Context;
use super::unserved::Newcomer;
use super::work::{self, cost};
use crate::config::settings::{ListenerSettings, Overload};
use crate::core::conn::{Life, State};
use crate::core::end::Detector;
use crate::core::time::{Duration, Instant};
use crate::net::{Accepted, Address, Interest, Kernel, Listener, Peer, Queue, Resource};
use crate::observe::report::Stall;
use crate::protocol::Protocol;

/// How long accepting must have gone on before it is said so: a full server stalls and goes on with each client
/// that leaves, and that is one stall to whoever reads of it.
const RESUMED_FOR: Duration = Duration::from_secs(1);

/// Stalls that follow each other closely, from the first: told as one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stalls {
    since: Instant,
    count: u64,
    /// Since when accepting goes on; [`Instant::NEVER`] while it does not.
    resumed: Instant,
}

/// What is known of an accept queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AcceptState {
    /// Empty when last looked at: the next edge will tell.
    Drained,
    /// Connections may wait in it.
    Open,
    /// Connections may wait in it that we cannot take.
    Stalled(Stall),
    /// The queue was emptied and the listener closed: the server is going away.
    Shut,
}

impl AcceptState {
    /// An edge came. It says nothing new about a listener that is stalled for a reason.
    pub(super) const fn on_edge(&mut self) {
        if matches!(self, Self::Drained) {
            *self = Self::Open;
        }
    }

    /// Something was freed, or some time has passed: worth another try.
    pub(super) const fn retry(&mut self) {
        if self.is_stalled() {
            *self = Self::Open;
        }
    }

    /// A drain begins: the queue must be seen empty before its listener is closed.
    pub(super) const fn empty(&mut self) {
        *self = Self::Open;
    }

    /// Whether connections may be waiting that we do not take.
    pub(super) const fn is_stalled(self) -> bool {
        matches!(self, Self::Stalled(_))
    }
}

/// A listener and what is known of its accept queue.
pub(super) struct ListenerState<L> {
    /// `None` once a drain has emptied and closed it: newcomers are refused then, and can go elsewhere.
    pub(super) listener: Option<L>,
    /// What it is or was bound to.
    pub(super) address: Address,
    pub(super) settings: ListenerSettings,
    /// It has had `TCP_LINGER2 = -1` from the beginning, so that every connection of it inherited that.
    pub(super) linger2_inherited: bool,
    pub(super) accepting: AcceptState,
    /// Since when its queue could not be emptied.
    pub(super) stalled_since: Option<Instant>,
    /// What was said of that, and is not said to be over.
    pub(super) stalls: Option<Stalls>,
    /// A filling queue was warned of and has not emptied since.
    pub(super) queue_warned: bool,
    /// The limit of its queue, as the kernel has it.
    pub(super) queue_limit: Option<u32>,
    /// When a queue that was found full was last compared with the host's counters.
    pub(super) looked: Option<Instant>,
    pub(super) connections: u32,
    /// Other protocols that clients of it spoke and that were said, a bit each.
    pub(super) foreign_told: u8,
}

impl<L: Listener> ListenerState<L> {
    pub(super) fn new(listener: L, settings: ListenerSettings) -> Self {
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
    pub(super) fn queue(&self) -> Option<Queue> {
        self.listener.as_ref().and_then(Listener::queue)
    }
}

/// What fits the output of everybody without a pause.
pub(super) fn least_output_high<L>(listeners: &[ListenerState<L>]) -> usize {
    listeners.iter().map(|slot| slot.settings.policy.bounds.output_high).min().unwrap_or(0)
}

impl<K: Kernel> Reactor<K> {
    pub(super) fn accept_all(&mut self) {
        for index in 0..self.cx.listeners.len() {
            if self.cx.listeners[index].accepting == AcceptState::Open {
                self.accept_some(index);
            }
        }
    }

    /// Accepts until the queue is empty, the budget is spent, or something stands in the way.
    fn accept_some(&mut self, index: usize) {
        let share = self.cx.work.after(work::ACCEPTED);
        for taken in 0..self.cx.settings.turn.accepts {
            // Who waits while the server drains is let in before anything else, or would be reset.
            if self.cx.work.is_past(share) && self.cx.drain.is_none() {
                break;
            }
            let mut full = self.cx.is_full(index);
            if full && self.cx.listeners[index].settings.overload == Overload::Queue {
                // A server that lives at its limit has no news with each client that comes and goes.
                if self.cx.nobody_waits(index) {
                    return self.cx.drained(index, taken);
                }
                if !self.make_way(index) {
                    let limit = self.cx.limit_of(&self.cx.listeners[index]);
                    return self.cx.stall(index, Stall::Full { limit });
                }
                full = self.cx.is_full(index);
            }
            let Some(listener) = &mut self.cx.listeners[index].listener else { return };
            match listener.try_accept() {
                Accepted::Stream(stream, peer) => {
                    let newcomer = if full { self.cx.one_too_many(index) } else { Newcomer::Served };
                    self.admit(index, newcomer, stream, peer);
                }
                Accepted::WouldBlock => return self.cx.drained(index, taken),
                Accepted::Interrupted => {}
                Accepted::Aborted(_) => self.cx.counters.accept_aborted += 1,
                // accept4(2) wants a descriptor before it looks whether anyone waits.
                Accepted::Exhausted(_) if self.cx.nobody_waits(index) => {
                    return self.cx.drained(index, taken);
                }
                Accepted::Exhausted(resource) => {
                    if !self.cx.accept_on_reserve(index, resource) {
                        return self.cx.stall(index, Stall::Exhausted(resource));
                    }
                }
                Accepted::Failed(errno) => return self.cx.stall(index, Stall::Failed(errno)),
            }
        }
        // The budget is spent: the state stays open, so the next poll does not sleep. A queue that is
        // longer than a turn's budget is worth a look.
        self.cx.watch_queues();
    }

    /// Gives an accepted connection its slot, and watches it.
    fn admit(&mut self, index: usize, mut newcomer: Newcomer, stream: K::Stream, peer: Peer) {
        let key = self.table.next_key();
        let watched = self.cx.kernel.watch(&stream, key.token(), Interest::Read);
        if newcomer == Newcomer::Refused && watched.is_err() {
            newcomer = Newcomer::Reset;
        }
        self.cx.count_in(index, newcomer);
        let slot = &self.cx.listeners[index];
        self.cx.counters.listeners[index].accepted += 1;
        self.cx.work.charge(cost::ACCEPT);
        self.cx.report.opened(key, &peer, &slot.settings.name, self.cx.now);
        let protocol = slot.settings.protocol;
        let served = newcomer == Newcomer::Served;
        // Without a deadline for the opening exchange, silence is for the heartbeat and the idle timeout to
        // judge, and those only look at Open.
        let waits =
            served && protocol.keeps_session() && slot.settings.policy.bounds.handshake_timeout.is_some();
        let state = if waits { State::Handshaking } else { State::Open };
        let session = match protocol {
            _ if !served => Some(Session::Refused),
            Protocol::Echo => None,
            Protocol::Resp => Some(Session::Resp(Resp::new(self.cx.now))),
            Protocol::Admin => Some(Session::Http(Http::new(self.cx.now))),
        };
        self.table.insert(
            key,
            Connection {
                stream,
                generation: key.generation,
                life: Life::new(state, self.cx.now),
                peer,
                listener: u8::try_from(index).expect("LISTENERS_MAX is what a byte can tell apart"),
                reading: Reading::Drained,
                interest: Interest::Read,
                pause: Pause::None,
                resume_posted: false,
                flush_posted: false,
                buffers: None,
                session: session.map(Box::new),
            },
        );
        if served && protocol == Protocol::Admin {
            self.on_admin_opened(key, index);
        }
        self.drive(key, |cx, conn| {
            if !served {
                return cx.refuse_newcomer(key, conn, newcomer == Newcomer::Refused);
            }
            if let Err(fault) = watched {
                return cx.fail(key, conn, fault, Detector::Policy);
            }
            if cx.listener_of(conn).policy.watches_newcomers() {
                cx.schedule(key, conn);
            }
            cx.drain_late(key, conn);
        });
    }
}

impl<K: Kernel> Context<K> {
    /// Whether the queue is known to be empty. One that comes after this look brings an edge of its own.
    fn nobody_waits(&self, index: usize) -> bool {
        self.listeners[index].queue().is_some_and(|queue| queue.length == 0)
    }

    /// The admin interface must answer when descriptors have run out: the reserve is for it.
    fn accept_on_reserve(&mut self, index: usize, resource: Resource) -> bool {
        resource == Resource::ProcessFiles
            && !self.listeners[index].settings.protocol.serves_clients()
            && self.kernel.release_reserve()
    }

    /// Stops accepting until something is freed. Said once, when it begins, however often it goes on for a moment.
    fn stall(&mut self, index: usize, stall: Stall) {
        self.timers.retry_accept_at(self.now + self.settings.server.accept_retry);
        let slot = &mut self.listeners[index];
        slot.accepting = AcceptState::Stalled(stall);
        if slot.stalled_since.is_none() {
            slot.stalled_since = Some(self.now);
            self.counters.accept_stalls += 1;
            if let Some(stalls) = &mut slot.stalls {
                stalls.count += 1;
                stalls.resumed = Instant::NEVER;
                return self.watch_on();
            }
            slot.stalls = Some(Stalls { since: self.now, count: 1, resumed: Instant::NEVER });
            self.report.accept_stalled(&slot.settings.name, stall, self.now);
            // From here on it is looked at by the clock, as long as it stalls.
            self.watch_queues();
        }
    }

    /// The queue is empty, after `taken` were taken from it. If it was not always, that is over.
    fn drained(&mut self, index: usize, taken: u32) {
        // Given up for a unix listener, whose queue cannot be looked at, and nobody was in it.
        self.kernel.retake_reserve();
        let slot = &mut self.listeners[index];
        slot.accepting = AcceptState::Drained;
        if slot.stalled_since.take().is_some()
            && let Some(stalls) = &mut slot.stalls
        {
            stalls.resumed = self.now;
            self.timers.tell_resumed_at(self.now + RESUMED_FOR);
        }
        if taken > 0 {
            self.was_it_full(index, taken);
        }
        if self.drain.is_some() {
            self.shut(index);
        }
    }

    /// Says of those listeners that accept again that they do, if they have for long enough.
    pub(super) fn tell_resumed(&mut self) {
        for slot in &mut self.listeners {
            let Some(Stalls { since, count, resumed }) = slot.stalls else { continue };
            if resumed + RESUMED_FOR <= self.now {
                slot.stalls = None;
                self.report.accept_resumed(&slot.settings.name, resumed.since(since), count, self.now);
            } else if resumed != Instant::NEVER {
                self.timers.tell_resumed_at(resumed + RESUMED_FOR);
            }
        }
    }

    /// Closes the listener of clients that a drain has emptied: left open, it would let newcomers believe
    /// that they are connected. That of the admin interface stays, to tell how the drain goes.
    fn shut(&mut self, index: usize) {
        let slot = &mut self.listeners[index];
        if slot.settings.protocol.serves_clients() {
            slot.accepting = AcceptState::Shut;
            slot.listener = None;
        }
    }

    /// The first listener that would not serve a new client now, and why.
    pub(super) fn unready(&self) -> Option<(&str, String)> {
        (0..self.listeners.len()).find_map(|index| {
            let slot = &self.listeners[index];
            // Whoever asks for this at the admin interface has been let in there.
            if !slot.settings.protocol.serves_clients() {
                return None;
            }
            let why = match slot.accepting {
                _ if self.is_full(index) => Stall::Full { limit: self.limit_of(slot) }.to_string(),
                AcceptState::Stalled(stall) => stall.to_string(),
                AcceptState::Drained | AcceptState::Open | AcceptState::Shut => {
                    slot.stalled_since?;
                    "it is about to try again".to_owned()
                }
            };
            Some((slot.settings.name.as_str(), why))
        })
    }

    /// Most connections that a listener may hold.
    fn limit_of(&self, slot: &ListenerState<K::Listener>) -> u32 {
        let own = slot.settings.connections_max;
        if slot.settings.protocol.serves_clients() {
            own.map_or(self.connections_max, |own| own.min(self.connections_max))
        } else {
            with_reserve(own).min(self.admin_max)
        }
    }

    pub(super) fn is_full(&self, index: usize) -> bool {
        let slot = &self.listeners[index];
        // A draining server lets in what waits, only to tell it: nobody else will come.
        if self.drain.is_some() && slot.settings.protocol.serves_clients() {
            return false;
        }
        let crowded = slot.settings.protocol.serves_clients() && self.clients >= self.connections_max;
        crowded || slot.connections >= self.limit_of(slot)
    }

    /// After a close, or on the timer: what stalled is tried again.
    pub(super) fn retry_accepts(&mut self) {
        for slot in &mut self.listeners {
            slot.accepting.retry();
        }
    }
}
