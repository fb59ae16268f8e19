//! A listener, and what is known of its accept queue.
//!
//! Under edge triggering a queue that was not emptied gives no new edge. So an [`AcceptState`] remembers what is
//! known of the queue. [`AcceptState::Open`] is tried every turn until the kernel says that it is empty. A listener that
//! is stalled for want of descriptors is tried again after each close and on a timer.

use crate::config::settings::{ListenerSettings, Overload};
use crate::core::admission::Admission;
use crate::core::end::Reason;
use crate::core::time::{Duration, Instant};
use crate::net::{Accepted, Address, Listener, Peer, Queue};
use crate::observe::report::Stall;
use crate::protocol::users::Guard;
use crate::tls;
use crate::transport::Transport;

/// How long accepting must have gone on before it is said so: a full server stalls and goes on with each client
/// that leaves, and that is one stall to the operator.
pub(in crate::reactor) const RESUMED_FOR: Duration = Duration::from_secs(1);

/// A listener.
pub(in crate::reactor) struct ListenerState<L> {
    /// `None` once a drain has emptied and closed it: newcomers are refused then, and can go elsewhere.
    listener: Option<L>,
    /// What it is or was bound to.
    pub(in crate::reactor) address: Address,
    pub(in crate::reactor) settings: ListenerSettings,
    pub(in crate::reactor) transport: Transport,
    /// It has had `TCP_LINGER2 = -1` from the beginning, so that every connection of it inherited that.
    pub(in crate::reactor) linger2_inherited: bool,
    accepting: AcceptState,
    /// Since when its queue could not be emptied, and why at first.
    stalled: Option<(Instant, Stall)>,
    /// A stall that was reported, and whose end was not.
    stalls: Option<Stalls>,
    /// A filling queue was warned of and has not emptied since.
    pub(in crate::reactor) queue_warned: bool,
    /// The limit of its queue, as the kernel has it.
    queue_limit: Option<u32>,
    /// When a queue that was found full was last compared with the host's counters.
    looked: Option<Instant>,
    pub(in crate::reactor) connections: u32,
    /// What is remembered of those who came. None: nothing limits them.
    pub(in crate::reactor) admission: Option<Box<Admission>>,
    /// Which upstream its connections are relayed to that no route is for, if they are.
    pub(in crate::reactor) upstream: Option<u16>,
    /// Other protocols that clients of it spoke and that were said, a bit each.
    pub(in crate::reactor) foreign_told: u8,
}

/// What is known of an accept queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum AcceptState {
    /// Empty when last looked at: the next edge will tell.
    Drained,
    /// Connections may wait in it.
    Open,
    /// Connections may wait in it that we cannot take.
    Stalled(Stall),
    /// The queue was emptied and the listener closed: the server is going away.
    Shut,
}

/// Stalls that follow each other closely, from the first: told as one.
#[derive(Clone, Copy, Debug)]
struct Stalls {
    since: Instant,
    count: u64,
    /// Since when accepting goes on; [`Instant::NEVER`] while it does not.
    resumed: Instant,
}

/// How a stall is reported.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::reactor) enum StallNews {
    /// It has lasted already.
    Old,
    /// One more of those that were told as one.
    OneMore,
    /// The first of them.
    First,
}

/// Whether accepting goes on after stalls that were told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::reactor) enum Resumed {
    /// No stall was reported, or it stalls still.
    No,
    /// It does, but not for long enough to say so; ask again then.
    At(Instant),
    /// It does, after so long and so many stalls.
    After(Duration, u64),
}

impl<L: Listener> ListenerState<L> {
    pub(in crate::reactor) fn new(
        listener: L,
        settings: ListenerSettings,
        upstream: Option<u16>,
        now: Instant,
    ) -> Self {
        Self {
            address: listener.address().clone(),
            queue_limit: listener.queue().map(|queue| queue.limit),
            listener: Some(listener),
            admission: Admission::new(&settings.limits, now),
            linger2_inherited: settings.policy.closing.linger2,
            transport: Transport::new(settings.tls.as_ref()),
            settings,
            accepting: AcceptState::Open,
            stalled: None,
            stalls: None,
            queue_warned: false,
            looked: None,
            connections: 0,
            upstream,
            foreign_told: 0,
        }
    }

    /// Its accept queue, where there is one and the kernel tells.
    pub(in crate::reactor) fn queue(&self) -> Option<Queue> {
        self.listener.as_ref().and_then(Listener::queue)
    }

    /// Whether the queue is known to be empty. One that comes after this look brings an edge of its own.
    pub(in crate::reactor) fn is_queue_empty(&self) -> bool {
        self.queue().is_some_and(|queue| queue.length == 0)
    }

    /// A drain begins: the queue must be seen empty before its listener is closed, which resets all that wait. Those
    /// in a queue that a service manager keeps wait for who serves next.
    pub(in crate::reactor) fn begin_drain(&mut self) {
        if self.listener.as_ref().is_some_and(Listener::is_kept_by_service_manager) {
            self.end_drain();
        } else {
            self.accepting = AcceptState::Open;
        }
    }

    /// Takes a connection from its queue; `None`: it is closed.
    pub(in crate::reactor) fn try_accept(&mut self) -> Option<Accepted<L::Stream>> {
        self.listener.as_mut().map(Listener::try_accept)
    }

    /// Whether `taken` connections, taken at once, were more than its queue holds, for the first time in `period`.
    pub(in crate::reactor) fn was_full(&mut self, taken: u32, now: Instant, period: Duration) -> Option<u32> {
        let limit = self.queue_limit.filter(|&limit| taken > limit)?;
        if self.looked.is_some_and(|at| now.since(at) < period) {
            return None;
        }
        self.looked = Some(now);
        Some(limit)
    }

    /// Takes over what a running listener can, and notes what it cannot.
    pub(in crate::reactor) fn adopt(
        &mut self,
        new: &ListenerSettings,
        now: Instant,
        notes: &mut Vec<String>,
    ) {
        let old = &self.settings;
        if (new.protocol, &new.address, new.backlog) != (old.protocol, &old.address, old.backlog) {
            notes.push(format!("listener {}: protocol, address and backlog need a restart", new.name));
        }
        if new.socket_options() != old.socket_options() {
            if let Some(listener) = &mut self.listener {
                listener.set_options(&new.socket_options());
            }
            notes.push(format!(
                "listener {}: socket options hold for connections accepted from now on",
                new.name
            ));
        }
        Admission::adopt(&mut self.admission, &old.limits, &new.limits, now);
        self.linger2_inherited &= new.policy.closing.linger2;
        let before = old.policy.liveness.heartbeat;
        // What other hosts can reach, they can until a restart: what protects it stays.
        let is_same = (new.protocol, &new.address) == (old.protocol, &old.address);
        let mut tls = old.tls.clone();
        if (is_same || old.tls.is_none()) && tls::adopt(&mut tls, new.tls.as_ref()) {
            self.transport = Transport::new(tls.as_ref());
        }
        let has_users = new.protocol == old.protocol && matches!(new.guard, Guard::Users(_));
        let guard = if is_same || has_users { &new.guard } else { &old.guard };
        let token = if is_same || new.token.is_some() { &new.token } else { &old.token };
        self.settings = ListenerSettings {
            guard: guard.clone(),
            token: token.clone(),
            tls,
            protocol: old.protocol,
            relay: if new.protocol == old.protocol { new.relay.clone() } else { old.relay.clone() },
            address: old.address.clone(),
            backlog: old.backlog,
            ..new.clone()
        };
        let heartbeat = &mut self.settings.policy.liveness.heartbeat;
        heartbeat.since = before.since;
        if *heartbeat != before {
            // Who was silent before that has broken nothing.
            heartbeat.since = now;
        }
    }
}

impl<L> ListenerState<L> {
    /// Whether it lets in all clients, as most do.
    pub(in crate::reactor) const fn is_open_to_all(&self) -> bool {
        self.admission.is_none() && self.settings.accept_proxy.is_none()
    }

    /// Why a newcomer is not let in; `None`: it is. `from`: where it comes from, if that is known by now.
    pub(in crate::reactor) fn admit(&mut self, from: Option<&Peer>, now: Instant) -> Option<Reason> {
        let (admission, limits) = (self.admission.as_deref_mut()?, &self.settings.limits);
        let ip = from.and_then(Peer::address).map(|address| address.ip());
        admission.admit(limits, ip, now).err()
    }

    /// Why one that was accepted before is not let in, now that it is known where it comes from; `None`: it is.
    pub(in crate::reactor) fn why_not(&mut self, peer: &Peer, now: Instant) -> Option<Reason> {
        let (admission, limits) = (self.admission.as_deref_mut()?, &self.settings.limits);
        admission.judge(limits, peer.address()?.ip(), now).err()
    }

    /// When the next newcomer may be accepted, where too many have come lately and the others are to wait.
    pub(in crate::reactor) fn rate_limited_until(&self, now: Instant) -> Option<Instant> {
        let waits = self.settings.overload == Overload::Queue;
        self.admission.as_deref().filter(|_| waits)?.rate_limited_until(&self.settings.limits, now)
    }

    /// A connection from there is let in.
    pub(in crate::reactor) fn enter(&mut self, peer: &Peer, accepted: Instant) {
        if let (Some(admission), Some(address)) = (self.admission.as_deref_mut(), peer.address()) {
            admission.enter(address.ip(), accepted);
        }
    }

    /// A connection from there that was let in is gone.
    pub(in crate::reactor) fn leave(&mut self, peer: &Peer, accepted: Instant, now: Instant) {
        if let (Some(admission), Some(address)) = (self.admission.as_deref_mut(), peer.address()) {
            admission.leave(address.ip(), accepted, now);
        }
    }

    /// An edge came. It says nothing new about a listener that is stalled for a reason.
    pub(in crate::reactor) fn on_edge(&mut self) {
        if self.accepting == AcceptState::Drained {
            self.accepting = AcceptState::Open;
        }
    }

    /// Something was freed, or some time has passed: worth another try.
    pub(in crate::reactor) fn retry(&mut self) {
        if self.is_stalled() {
            self.accepting = AcceptState::Open;
        }
    }

    /// Closes the listener of clients that a drain has emptied: left open, it would let newcomers believe
    /// that they are connected. That of the admin interface stays, to tell how the drain goes.
    pub(in crate::reactor) fn end_drain(&mut self) {
        if self.settings.protocol.serves_clients() {
            self.accepting = AcceptState::Shut;
            self.listener = None;
        }
    }

    /// Accepting has stalled.
    pub(in crate::reactor) fn on_stalled(&mut self, stall: Stall, now: Instant) -> StallNews {
        self.accepting = AcceptState::Stalled(stall);
        if self.stalled.is_some() {
            return StallNews::Old;
        }
        self.stalled = Some((now, stall));
        if let Some(stalls) = &mut self.stalls {
            stalls.count += 1;
            stalls.resumed = Instant::NEVER;
            return StallNews::OneMore;
        }
        self.stalls = Some(Stalls { since: now, count: 1, resumed: Instant::NEVER });
        StallNews::First
    }

    /// The queue is empty. Whether stalls that were told are over with that.
    pub(in crate::reactor) fn on_queue_empty(&mut self, now: Instant) -> bool {
        self.accepting = AcceptState::Drained;
        let stalled = self.stalled.take().is_some();
        match &mut self.stalls {
            Some(stalls) if stalled => stalls.resumed = now,
            Some(_) | None => return false,
        }
        true
    }

    /// Whether it can be said that accepting goes on.
    pub(in crate::reactor) fn resumed(&mut self, now: Instant) -> Resumed {
        match self.stalls {
            Some(Stalls { since, count, resumed }) if resumed + RESUMED_FOR <= now => {
                self.stalls = None;
                Resumed::After(resumed.since(since), count)
            }
            Some(Stalls { resumed, .. }) if resumed != Instant::NEVER => Resumed::At(resumed + RESUMED_FOR),
            Some(_) | None => Resumed::No,
        }
    }

    /// Whether connections may wait in its queue that can be taken.
    pub(in crate::reactor) fn wants_accept(&self) -> bool {
        self.accepting == AcceptState::Open
    }

    /// Whether its queue was empty when last looked at.
    pub(in crate::reactor) fn is_drained(&self) -> bool {
        self.accepting == AcceptState::Drained
    }

    /// Whether connections may be waiting that we do not take.
    pub(in crate::reactor) const fn is_stalled(&self) -> bool {
        matches!(self.accepting, AcceptState::Stalled(_))
    }

    /// Whether its queue could not be emptied for a while.
    pub(in crate::reactor) const fn has_stalled(&self) -> bool {
        self.stalled.is_some()
    }

    /// Whether it was closed by a drain.
    pub(in crate::reactor) fn is_shut(&self) -> bool {
        self.accepting == AcceptState::Shut
    }

    /// Why a new client would have to wait now; `None`: it would be served.
    pub(in crate::reactor) fn why_unready(&self) -> Option<String> {
        // It is only made to wait its turn, which comes within a second.
        if matches!(self.stalled, Some((_, Stall::Rate { .. }))) {
            return None;
        }
        match self.accepting {
            AcceptState::Stalled(stall) => Some(stall.to_string()),
            AcceptState::Drained | AcceptState::Open | AcceptState::Shut => {
                self.has_stalled().then(|| "it is about to try again".to_owned())
            }
        }
    }
}

/// What fits the output of everybody without a pause.
pub(in crate::reactor) fn least_output_high<L>(listeners: &[ListenerState<L>]) -> usize {
    listeners.iter().map(|slot| slot.settings.policy.bounds.output_high).min().unwrap_or(0)
}
