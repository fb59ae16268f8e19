//! What a worker knows of being one: the channel to its supervisor, the claims that it has made, and who asks.
//!
//! Each role of an identity that a connection takes is claimed under a number that no other claim of this worker has. What
//! the supervisor says of a role names the number, so that a directive that crossed a newer claim on its way finds nothing.

use super::asks::Asks;
use crate::core::table::Key;
use crate::core::time::{Duration, Instant};
use crate::hub::{BeatFor, Identified, Name};
use crate::net::{Fatal, Stream};
use crate::protocol::presence::{Event, Origin};
use crate::workers::link::{Broken, CLAIMS_HIGH, Channel, More, Query, Role, ToSupervisor, ToWorker};
use indexmap::{IndexMap, IndexSet};
use std::collections::VecDeque;

/// Beats for a connection elsewhere are passed on no more often than this: a quarter of the shortest heartbeat that
/// anybody would send through another connection.
const BEATS_APART: Duration = Duration::from_millis(50);

/// How often a worker that does not come to hear its supervisor says by itself that its loop turns.
const ALIVE_APART: Duration = Duration::from_millis(500);

/// The worker's end of the channel.
pub(in crate::reactor) type OurEnd<S> = Channel<S, ToWorker, ToSupervisor>;

/// What a worker knows of being one.
pub(in crate::reactor) struct WorkerLink<S> {
    channel: OurEnd<S>,
    /// Something may be there to be received.
    ready: bool,
    /// When it was last said that the loop turns.
    said_alive: Instant,
    number: u32,
    of: u32,
    /// Claims made so far.
    claims: u64,
    /// The claims that are not over, by connection: to the identity that it holds, or has just lost to another one here.
    held: IndexMap<Key, Held>,
    /// The same for claims to beat for an identity.
    beating: IndexMap<Key, Beating>,
    /// Holders of which the supervisor is to be told how they are, once it keeps up.
    behind: IndexSet<Key>,
    /// Connections that go on with their handshakes once it keeps up.
    deferred: IndexSet<Key>,
    /// Presence events that were not passed on, because a later one came before the supervisor kept up.
    dropped: u64,
    /// Clients here that ask about those of all workers.
    pub(in crate::reactor) asks: Asks,
    /// What clients of any worker ask about those here, by the number of the query.
    pub(in crate::reactor) queries: VecDeque<(u64, Query)>,
}

/// A connection that holds an identity.
struct Held {
    claim: u64,
    /// What its heartbeat channel has to name, as the supervisor was told.
    token: Box<[u8]>,
}

/// A connection that beats for an identity.
struct Beating {
    claim: u64,
    id: Name,
    token: Box<[u8]>,
    /// When a beat of it was last passed on.
    passed_on: Instant,
}

impl<S: Stream> WorkerLink<S> {
    /// Worker `number` of `of`, from 1. The channel may hold messages that nobody has taken.
    pub(in crate::reactor) fn new(channel: OurEnd<S>, number: u32, of: u32, now: Instant) -> Self {
        let mut link = Self {
            channel,
            ready: true,
            said_alive: now,
            number,
            of,
            claims: 0,
            held: IndexMap::new(),
            beating: IndexMap::new(),
            behind: IndexSet::new(),
            deferred: IndexSet::new(),
            dropped: 0,
            asks: Asks::default(),
            queries: VecDeque::new(),
        };
        link.channel.send(&ToSupervisor::Ready);
        link
    }

    /// How many workers there are, with this one.
    pub(in crate::reactor) const fn workers(&self) -> u32 {
        self.of
    }

    /// Something may be there to be received.
    pub(in crate::reactor) const fn note(&mut self) {
        self.ready = true;
    }

    /// The next message that was received.
    pub(in crate::reactor) fn next_message(&mut self) -> Result<Option<ToWorker>, Fatal> {
        self.channel.next_message().map_err(alone)
    }

    /// Receives what has come.
    pub(in crate::reactor) fn receive(&mut self) -> Result<(), Fatal> {
        self.ready = self.channel.receive().map_err(alone)? == More::Maybe;
        Ok(())
    }

    /// Sends what is to be told, as far as there is room. If the supervisor is gone, the end of the turn finds out.
    pub(in crate::reactor) fn flush_now(&mut self) {
        let _ = self.channel.flush();
    }

    /// The same, at the end of a turn.
    pub(in crate::reactor) fn flush(&mut self) -> Result<(), Fatal> {
        if self.channel.pending_output() > 0 { self.channel.flush().map_err(alone) } else { Ok(()) }
    }

    /// Says that the loop turns.
    pub(in crate::reactor) fn say_alive(&mut self, now: Instant) {
        self.said_alive = now;
        self.channel.send(&ToSupervisor::Alive);
    }

    /// Says so unasked, where the question may lie unread behind the work that there is here.
    pub(in crate::reactor) fn say_alive_unasked(&mut self, now: Instant) {
        if self.ready && now.since(self.said_alive) >= ALIVE_APART {
            self.say_alive(now);
        }
    }

    /// A holder of which the supervisor is to be told how it is, if it keeps up.
    pub(in crate::reactor) fn next_behind(&mut self) -> Option<Key> {
        if self.keeps_up() { self.behind.pop() } else { None }
    }

    /// A connection is to go on once the supervisor keeps up.
    pub(in crate::reactor) fn defer(&mut self, key: Key) {
        self.deferred.insert(key);
    }

    /// A connection that waited is gone.
    pub(in crate::reactor) fn forget_deferred(&mut self, key: Key) {
        self.deferred.swap_remove(&key);
    }

    /// Whether a connection waits for the supervisor.
    pub(in crate::reactor) fn is_deferred(&self, key: Key) -> bool {
        self.deferred.contains(&key)
    }

    /// Those that may go on, now that the supervisor keeps up.
    pub(in crate::reactor) fn take_deferred(&mut self) -> IndexSet<Key> {
        if self.keeps_up() { std::mem::take(&mut self.deferred) } else { IndexSet::new() }
    }

    /// Whether a connection holds its identity by that claim.
    pub(in crate::reactor) fn holds_by(&self, key: Key, claim: u64) -> bool {
        self.held.get(&key).is_some_and(|held| held.claim == claim)
    }

    /// Ends that a connection beats for an identity, if it does by that claim; says whether.
    pub(in crate::reactor) fn lose_channel(&mut self, key: Key, claim: u64) -> bool {
        let beats = self.beating.get(&key).is_some_and(|beating| beating.claim == claim);
        beats && self.beating.swap_remove(&key).is_some()
    }

    /// Whether the supervisor keeps up with what it is told.
    pub(in crate::reactor) fn keeps_up(&self) -> bool {
        self.channel.pending_output() < CLAIMS_HIGH
    }

    /// Whether what is read of the accept queues, which all workers see, is this one's to judge.
    pub(in crate::reactor) const fn judges_queues(&self) -> bool {
        self.number == 1
    }

    /// From 1.
    pub(in crate::reactor) const fn number(&self) -> u32 {
        self.number
    }

    /// Sends the supervisor a message, with what else this turn has for it.
    pub(in crate::reactor) fn send(&mut self, message: &ToSupervisor) {
        self.channel.send(message);
    }

    /// The name of a connection among those of all workers.
    pub(in crate::reactor) fn name_of(&self, key: Key) -> String {
        format!("{}.{key}", self.number)
    }

    /// What `CLIENT` calls a connection: unlike a generation, it names one over all workers.
    pub(in crate::reactor) fn id_of(&self, key: Key) -> u64 {
        u64::from(self.number) << 32 | u64::from(key.generation)
    }

    pub(in crate::reactor) const fn is_ready(&self) -> bool {
        self.ready
    }

    /// Claims a role for a connection. `at`: see [`Kernel::shared_clock`].
    ///
    /// [`Kernel::shared_clock`]: crate::net::Kernel::shared_clock
    fn claim(&mut self, role: Role, at: u64, id: &[u8], token: &[u8], origin: Origin) -> u64 {
        self.claims += 1;
        let (number, id, token) = (self.claims, id.to_vec(), token.to_vec());
        let Origin { key, peer, listener } = origin;
        self.channel.send(&ToSupervisor::Claim { role, number, at, id, token, key, peer, listener });
        self.claims
    }

    fn release(&mut self, role: Role, number: u64, id: &[u8], record: &str) {
        let (id, record) = (id.to_vec(), record.as_bytes().to_vec());
        self.channel.send(&ToSupervisor::Release { role, number, id, record });
    }

    /// A connection took an identity here, and agrees to a heartbeat channel that names `token`. `origin`: what it is, by its
    /// name among those of all workers.
    pub(in crate::reactor) fn on_identified(
        &mut self,
        key: Key,
        id: &[u8],
        token: &[u8],
        origin: impl FnOnce(String) -> Origin,
        identified: &Identified,
        at: u64,
    ) {
        if let Some(left) = &identified.left {
            self.on_left(key, left, "null");
        }
        if identified.fresh {
            let origin = origin(self.name_of(key));
            let claim = self.claim(Role::Holder, at, id, token, origin);
            self.held.insert(key, Held { claim, token: token.into() });
        } else if let Some(held) = self.held.get_mut(&key).filter(|held| *held.token != *token) {
            held.token = token.into();
            let (number, id, token) = (held.claim, id.to_vec(), token.to_vec());
            self.channel.send(&ToSupervisor::Consent { number, id, token });
        }
    }

    /// A connection gave up its identity, lost it to another one, or ended.
    pub(in crate::reactor) fn on_left(&mut self, key: Key, id: &[u8], record: &str) {
        let Some(held) = self.held.swap_remove(&key) else { return };
        self.behind.swap_remove(&key);
        self.release(Role::Holder, held.claim, id, record);
    }

    /// The holder of an identity here is suspect, or was heard from again.
    pub(in crate::reactor) fn on_presence(&mut self, key: Key, id: &[u8], event: &Event) {
        let Some(held) = self.held.get(&key) else { return };
        if self.keeps_up() {
            let mut payload = Vec::new();
            event.write(&mut payload);
            self.channel.send(&ToSupervisor::Presence { number: held.claim, id: id.to_vec(), payload });
        } else {
            self.dropped += u64::from(!self.behind.insert(key));
        }
    }

    /// The connection of an identity is being ended.
    pub(in crate::reactor) fn on_ending(&mut self, key: Key, id: &[u8]) {
        if let Some(held) = self.held.get(&key) {
            let (number, id) = (held.claim, id.to_vec());
            self.channel.send(&ToSupervisor::Ending { number, id });
        }
    }

    /// A client here has published something.
    pub(in crate::reactor) fn on_published(&mut self, channel: &[u8], payload: &[u8]) {
        let (channel, payload) = (channel.to_vec(), payload.to_vec());
        self.channel.send(&ToSupervisor::Publish { channel, payload });
    }

    /// Presence events that nobody was told.
    pub(in crate::reactor) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// A connection beats for an identity from now on.
    pub(in crate::reactor) fn on_beat_for(
        &mut self,
        key: Key,
        id: &[u8],
        token: &[u8],
        beat_for: BeatFor,
        (now, at): (Instant, u64),
    ) {
        let is_known = |beating: &Beating| *beating.id == *id && *beating.token == *token;
        if self.beating.get(&key).is_some_and(is_known) {
            return;
        }
        self.on_channel_gone(key);
        if let Some(older) = beat_for.replaced_channel {
            self.beating.swap_remove(&older);
        }
        let claim = self.claim(Role::Channel, at, id, token, Origin::default());
        let beating = Beating { claim, id: Name::new(id), token: token.into(), passed_on: now };
        self.beating.insert(key, beating);
        self.channel.send(&ToSupervisor::Beat { number: claim, id: id.to_vec() });
    }

    /// A connection beats for nobody any more, or has ended.
    pub(in crate::reactor) fn on_channel_gone(&mut self, key: Key) {
        if let Some(Beating { claim, id, .. }) = self.beating.swap_remove(&key) {
            self.release(Role::Channel, claim, &id, "");
        }
    }

    /// A connection said something, and may beat for one that is held elsewhere.
    pub(in crate::reactor) fn on_beat(&mut self, key: Key, now: Instant) {
        if self.beating.is_empty() {
            return;
        }
        let keeps_up = self.keeps_up();
        let Some(beating) = self.beating.get_mut(&key) else { return };
        if keeps_up && now.since(beating.passed_on) >= BEATS_APART {
            beating.passed_on = now;
            self.channel.send(&ToSupervisor::Beat { number: beating.claim, id: beating.id.to_vec() });
        }
    }
}

/// Nobody would start such a worker anew, or tell it to end.
fn alone(_: Broken) -> Fatal {
    Fatal { what: "read from the supervisor".to_owned(), why: "it is gone".to_owned() }
}
