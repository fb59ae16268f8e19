//! Accepting: within a budget, never spinning, and never silent about why it stalls. What is known of a queue is in
//! [`parts::listener`](super::parts::listener).

use super::Reactor;
use super::connection::{Client, Connection, Pause, Session};
use super::context::Context;
use super::parts::admin::Http;
use super::parts::listener::{ListenerState, RESUMED_FOR, Resumed, StallNews};
use super::parts::places::with_reserve;
use super::parts::server_timers::ServerTimer;
use super::unserved::Newcomer;
use super::work::{self, cost};
use crate::config::settings::Overload;
use crate::core::conn::{Life, State};
use crate::core::end::{Detector, Leg};
use crate::core::table::Key;
use crate::core::time::Instant;
use crate::net::{Accepted, Interest, Kernel, Peer, Resource, SocketError};
use crate::observe::report::Stall;
use crate::protocol::Protocol;
use crate::transport::Layer;

/// Newcomers of a listener that are reset in a turn: about a quarter of a millisecond of work, so that clients that are served
/// notice no more of a crowd that is refused. The next poll does not wait while some are in the queue.
const RESETS_PER_TURN: u32 = 16;

impl<K: Kernel> Reactor<K> {
    pub(super) fn accept_all(&mut self) {
        for index in 0..self.cx.listeners.len() {
            if self.cx.listeners[index].wants_accept() {
                self.accept_some(index);
            }
        }
    }

    /// Accepts until the queue is empty, the budget is spent, or something stands in the way.
    fn accept_some(&mut self, index: usize) {
        let share = self.cx.work.after(work::ACCEPTED);
        let initial = self.cx.listeners[index].initial();
        let (mut taken, mut resets) = (0, 0);
        for _ in 0..self.cx.settings.turn.accepts {
            // While the server drains, waiting newcomers are let in before anything else, or they would be reset.
            let enough = self.cx.work.is_past(share) || resets == RESETS_PER_TURN;
            if enough && !self.cx.lifecycle.is_draining() {
                break;
            }
            let mut full = self.cx.is_full(index);
            if full && self.cx.listeners[index].settings.overload == Overload::Queue {
                // A server that lives at its limit has no news with each client that comes and goes.
                if self.cx.listeners[index].is_queue_empty() {
                    return self.cx.on_queue_empty(index, taken);
                }
                if !self.make_way(index) {
                    let limit = self.cx.limit_of(&self.cx.listeners[index]);
                    return self.cx.stall(index, Stall::Full { limit });
                }
                full = self.cx.is_full(index);
            }
            if let Some(at) = self.cx.rate_limited_until(index) {
                if self.cx.listeners[index].is_queue_empty() {
                    return self.cx.on_queue_empty(index, taken);
                }
                let per_second = self.cx.listeners[index].settings.limits.accept_rate.unwrap_or(0);
                return self.cx.stall_until(index, Stall::Rate { per_second }, at);
            }
            let Some(accepted) = self.cx.listeners[index].try_accept() else { return };
            match accepted {
                Accepted::Stream(stream, peer) => {
                    taken += 1;
                    let newcomer = if full {
                        self.cx.treat_over_limit(index)
                    } else {
                        self.cx.judge_newcomer(index, &peer)
                    };
                    match newcomer {
                        Newcomer::Served => self.admit(index, &initial, stream, peer),
                        Newcomer::Refused => self.turn_away(index, None, stream, peer),
                        Newcomer::Reset(reason) => {
                            resets += 1;
                            self.turn_away(index, Some(reason), stream, peer);
                        }
                    }
                }
                Accepted::WouldBlock => return self.cx.on_queue_empty(index, taken),
                Accepted::Interrupted => {}
                Accepted::Aborted(_) => {
                    taken += 1;
                    self.cx.observer.counters.accept_aborted += 1;
                }
                // accept4(2) wants a descriptor before it looks whether anyone waits.
                Accepted::Exhausted(_) if self.cx.listeners[index].is_queue_empty() => {
                    return self.cx.on_queue_empty(index, taken);
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
    fn admit(&mut self, index: usize, initial: &Initial, stream: K::Stream, peer: Peer) {
        let (key, now) = (self.table.next_key(), self.cx.now);
        let watched = self.cx.kernel.watch(&stream, key.token(), Interest::Read);
        self.cx.note_accepted(index, key, &peer);
        let slot = &mut self.cx.listeners[index];
        slot.connections += 1;
        if initial.is_client {
            self.cx.places.add_client();
        }
        if !initial.expects_header {
            slot.enter(&peer, now);
        }
        let layer = slot.transport.accept();
        let session = if initial.has_session { slot.open_session(now) } else { None };
        self.table.insert(
            key,
            Connection {
                // Another server may be tried as long as the first has got nothing.
                pause: if initial.connects { Pause::Partner } else { Pause::None },
                leg: initial.leg,
                session: session.map(Box::new),
                ..Connection::new(stream, key, Life::new(initial.state, now), peer, index)
            },
        );
        if initial.only_waits && watched.is_ok() && !self.cx.lifecycle.is_draining() {
            return;
        }
        self.begin(index, key, initial, layer, watched);
    }

    /// Does what a new connection needs before it is read.
    fn begin(
        &mut self,
        index: usize,
        key: Key,
        initial: &Initial,
        layer: Option<Box<dyn Layer>>,
        watched: Result<(), SocketError>,
    ) {
        if !initial.is_client {
            self.on_admin_opened(key, index);
        }
        if initial.relays {
            self.cx.places.add_upstream();
        }
        if let Some(upstream) = initial.upstream {
            self.cx.gateway.pairs.open(key, upstream, self.cx.now);
        }
        self.drive(key, |cx, conn| {
            cx.set_layer(conn, layer);
            if initial.expects_header {
                cx.await_header(conn);
            }
            if initial.awaits_hello {
                cx.await_hello(conn);
            }
            if let Err(fault) = watched {
                return cx.fail(key, conn, fault, Detector::Policy);
            }
            if initial.has_deadlines {
                cx.schedule(key, conn);
            }
            cx.drain_late(key, conn);
        });
        if initial.connects {
            self.connect_upstream(key);
            self.settle();
        }
    }
}

/// The initial state of a listener's connections: worked out once for all that wait in its queue.
#[expect(clippy::struct_excessive_bools, reason = "facts about a listener, worked out once")]
struct Initial {
    /// As most are: nothing is done for it before it has sent something.
    only_waits: bool,
    is_client: bool,
    has_session: bool,
    /// A proxy is to say first who it is.
    expects_header: bool,
    state: State,
    has_deadlines: bool,
    /// It has a place for a connection to a server.
    relays: bool,
    /// Its upstream, if that is known when it is accepted. Behind a proxy, and where connections are routed, it is known later.
    upstream: Option<u16>,
    /// The leg of a pair that it is from the start.
    leg: Option<Leg>,
    /// What it says first is read for where it wants to go.
    awaits_hello: bool,
    /// It is connected to its server at once; one with a layer when it has proved that it may be served.
    connects: bool,
}

impl<L> ListenerState<L> {
    fn initial(&self) -> Initial {
        let (protocol, is_plain) = (self.settings.protocol, self.transport.is_plain());
        let proxied = self.settings.accept_proxy.is_some();
        // Without a deadline for the opening exchange, silence is for the heartbeat and the idle timeout to
        // judge, and those only look at Open.
        let waits = proxied || self.opens_with_exchange(!is_plain);
        let (relays, is_routed) = (self.settings.relay.is_some(), self.is_routed());
        let upstream = self.known_upstream().filter(|_| relays && !proxied);
        let has_deadlines = proxied || self.settings.policy.watches_newcomers();
        let is_client = protocol.serves_clients();
        Initial {
            only_waits: is_client && is_plain && !relays && !has_deadlines,
            is_client,
            has_session: protocol.keeps_session(),
            expects_header: proxied,
            state: if waits { State::Handshaking } else { State::Open },
            has_deadlines,
            relays,
            upstream,
            leg: upstream.map(|_| Leg::Client),
            awaits_hello: relays && is_routed && is_plain && !proxied,
            connects: upstream.is_some() && is_plain,
        }
    }

    /// The session of a newcomer.
    fn open_session(&self, now: Instant) -> Option<Session> {
        let protocol = self.settings.protocol;
        if protocol == Protocol::Admin {
            return Some(Session::Http(Http::new(now)));
        }
        let guard = &self.settings.guard;
        protocol.open().map(|session| Session::Client(Client::new(session, guard.initial(), now)))
    }
}

impl<K: Kernel> Context<K> {
    /// A connection was accepted, whatever becomes of it.
    #[expect(
        clippy::inline_always,
        reason = "nearly all are admitted, and there the call costs as much as the rest"
    )]
    #[inline(always)]
    pub(super) fn note_accepted(&mut self, index: usize, key: Key, peer: &Peer) {
        self.work.charge(cost::ACCEPT);
        self.observer.accepted(index, &self.listeners[index].settings, key, peer, self.now);
    }

    /// The admin interface must answer when descriptors have run out: the reserve is for it.
    fn accept_on_reserve(&mut self, index: usize, resource: Resource) -> bool {
        resource == Resource::ProcessFiles
            && !self.listeners[index].settings.protocol.serves_clients()
            && self.kernel.release_reserve()
    }

    /// When the next newcomer to a listener may be accepted, where too many have come lately. Not while the server drains: who
    /// waits is let in, to be told.
    fn rate_limited_until(&self, index: usize) -> Option<Instant> {
        self.listeners[index].rate_limited_until(self.now).filter(|_| !self.lifecycle.is_draining())
    }

    /// Stops accepting until something is freed.
    fn stall(&mut self, index: usize, stall: Stall) {
        self.stall_until(index, stall, self.now + self.settings.server.accept_retry);
    }

    /// Stops accepting until then. Said once, when it begins, however often it goes on for a moment.
    fn stall_until(&mut self, index: usize, stall: Stall, at: Instant) {
        self.timers.arm_no_later(ServerTimer::AcceptRetry, at);
        let slot = &mut self.listeners[index];
        match slot.on_stalled(stall, self.now) {
            StallNews::Old => {}
            StallNews::OneMore => {
                self.observer.counters.accept_stalls += 1;
                self.keep_watching();
            }
            StallNews::First => {
                self.observer.counters.accept_stalls += 1;
                self.observer.accept_stalled(&slot.settings.name, stall, self.now);
                // From here on it is looked at by the clock, as long as it stalls.
                self.watch_queues();
            }
        }
    }

    /// The queue is empty, after `taken` were taken from it. If it was not always, that is over.
    fn on_queue_empty(&mut self, index: usize, taken: u32) {
        // The queue of a unix listener cannot be looked at, so the reserve may have been given up for an empty one.
        self.kernel.retake_reserve();
        if self.listeners[index].on_queue_empty(self.now) {
            self.timers.arm_no_later(ServerTimer::Resumed, self.now + RESUMED_FOR);
        }
        if taken > 0 {
            self.check_overflow(index, taken);
        }
        if self.lifecycle.is_draining() {
            self.listeners[index].end_drain();
        }
    }

    /// Reports listeners that have been accepting again for long enough.
    pub(super) fn report_resumed(&mut self) {
        for slot in &mut self.listeners {
            match slot.resumed(self.now) {
                Resumed::After(stalled, count) => {
                    self.observer.accept_resumed(&slot.settings.name, stalled, count, self.now);
                }
                Resumed::At(at) => self.timers.arm_no_later(ServerTimer::Resumed, at),
                Resumed::No => {}
            }
        }
    }

    /// The first listener that would not serve a new client now, and why.
    pub(super) fn unready(&self) -> Option<(&str, String)> {
        (0..self.listeners.len()).find_map(|index| {
            let slot = &self.listeners[index];
            // A client that asks for this at the admin interface has been let in there.
            if !slot.settings.protocol.serves_clients() {
                return None;
            }
            let full = self.is_full(index).then(|| Stall::Full { limit: self.limit_of(slot) }.to_string());
            let why = full.or_else(|| slot.why_unready())?;
            Some((slot.settings.name.as_str(), why))
        })
    }

    /// Most connections that a listener may hold.
    fn limit_of(&self, slot: &ListenerState<K::Listener>) -> u32 {
        let own = slot.settings.connections_max;
        if slot.settings.protocol.serves_clients() {
            own.unwrap_or(u32::MAX).min(self.places.clients_max())
        } else {
            with_reserve(own).min(self.places.admin_max())
        }
    }

    #[expect(clippy::inline_always, reason = "each newcomer asks, and the call costs as much as the answer")]
    #[inline(always)]
    pub(super) fn is_full(&self, index: usize) -> bool {
        let slot = &self.listeners[index];
        if !slot.settings.protocol.serves_clients() {
            return slot.connections >= self.limit_of(slot);
        }
        let (own, pair) = (slot.settings.connections_max, slot.settings.relay.is_some());
        let full = self.places.is_full(pair) || own.is_some_and(|own| slot.connections >= own);
        // A draining server lets in what waits, only to tell it: nobody else will come.
        full && !self.lifecycle.is_draining()
    }

    /// After a close, or on the timer: what stalled is tried again.
    pub(super) fn retry_accepts(&mut self) {
        for slot in &mut self.listeners {
            slot.retry();
        }
    }
}
