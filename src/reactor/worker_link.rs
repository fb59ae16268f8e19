//! A worker among others: what it tells its supervisor, and what it is told. The others are never seen from here,
//! only what the supervisor makes of them; a server of one process has none of this, and pays a test a turn for it.
//!
//! Each role of an identity that a connection takes is claimed under a number that no other claim of this worker
//! has. What the supervisor says of a role names the number, so that a directive that crossed a newer claim on its
//! way finds nothing. Who wins is for `src/workers/supervisor/identities.rs` to say; and nobody here is told that an
//! identity has come or gone before the supervisor has said so, which alone knows in which order that was.

use super::Reactor;
use super::ask::Asks;
use super::context::{Conn, Context};
use super::parts::effect::Effect;
use super::parts::pool::memory_bound;
use crate::core::end::By;
use crate::core::table::Key;
use crate::core::time::{Duration, Instant};
use crate::hub::{BeatFor, Change, Identified, Kind, Name, Presence};
use crate::net::{Fatal, Kernel, Signal, Stream};
use crate::protocol::presence::Event;
use crate::workers::link::{Broken, CLAIMS_HIGH, Channel, More, Query, Role, ToSupervisor, ToWorker, Topic};
use indexmap::{IndexMap, IndexSet};
use std::collections::VecDeque;

/// Beats for a connection elsewhere are passed on no more often than this: a quarter of the shortest heartbeat that
/// anybody would send through another connection.
const BEATS_APART: Duration = Duration::from_millis(50);

/// Messages of the supervisor that are taken in a turn. What they publish is matched later.
const HEARD_PER_TURN: usize = 4096;

/// Holders of which the supervisor is told in a turn, after it had not kept up.
const CATCH_UP: usize = 1024;

/// How often a worker that does not come to hear its supervisor says by itself that its loop turns.
const ALIVE_APART: Duration = Duration::from_millis(500);

/// The worker's end of the channel.
type OurEnd<S> = Channel<S, ToWorker, ToSupervisor>;

/// What a worker knows of being one.
pub(super) struct WorkerLink<S> {
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
    /// Presence events that were not passed on, because a later one came before the supervisor kept up.
    dropped: u64,
    /// Clients here that ask about those of all workers.
    pub(super) asks: Asks,
    /// What clients of any worker ask about those here, by the number of the query.
    pub(super) queries: VecDeque<(u64, Query)>,
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
    /// Whether the supervisor keeps up with what it is told.
    pub(super) fn keeps_up(&self) -> bool {
        self.channel.pending_output() < CLAIMS_HIGH
    }

    /// Whether what is read of the accept queues, which all workers see, is this one's to judge.
    pub(super) const fn judges_queues(&self) -> bool {
        self.number == 1
    }

    /// From 1.
    pub(super) const fn number(&self) -> u32 {
        self.number
    }

    /// Tells the supervisor something, with what else this turn has to tell.
    pub(super) fn tell(&mut self, message: &ToSupervisor) {
        self.channel.send(message);
    }

    /// The name of a connection among those of all workers.
    pub(super) fn name_of(&self, key: Key) -> String {
        format!("{}.{key}", self.number)
    }

    /// What `CLIENT` calls a connection: unlike a generation, it names one over all workers.
    pub(super) fn id_of(&self, key: Key) -> u64 {
        u64::from(self.number) << 32 | u64::from(key.generation)
    }

    /// The connection of this worker that has that name.
    fn key_of(&self, name: &str) -> Option<Key> {
        let (number, key) = name.split_once('.')?;
        if number.parse() == Ok(self.number) { key.parse().ok() } else { None }
    }

    pub(super) const fn is_ready(&self) -> bool {
        self.ready
    }

    fn claim(&mut self, role: Role, id: &[u8], token: &[u8], (key, peer): (String, String)) -> u64 {
        self.claims += 1;
        let (id, token) = (id.to_vec(), token.to_vec());
        self.channel.send(&ToSupervisor::Claim { role, number: self.claims, id, token, key, peer });
        self.claims
    }

    fn release(&mut self, role: Role, number: u64, id: &[u8], record: &str) {
        let (id, record) = (id.to_vec(), record.as_bytes().to_vec());
        self.channel.send(&ToSupervisor::Release { role, number, id, record });
    }

    /// A connection took an identity here, and agrees to a heartbeat channel that names `token`.
    fn on_identified(&mut self, key: Key, id: &[u8], token: &[u8], peer: String, identified: &Identified) {
        if let Some(left) = &identified.left {
            self.on_left(key, left, "null");
        }
        if identified.fresh {
            let name = (self.name_of(key), peer);
            let claim = self.claim(Role::Holder, id, token, name);
            self.held.insert(key, Held { claim, token: token.into() });
        } else if let Some(held) = self.held.get_mut(&key).filter(|held| *held.token != *token) {
            held.token = token.into();
            let (number, id, token) = (held.claim, id.to_vec(), token.to_vec());
            self.channel.send(&ToSupervisor::Consent { number, id, token });
        }
    }

    /// A connection gave up its identity, lost it to another one, or ended.
    pub(super) fn on_left(&mut self, key: Key, id: &[u8], record: &str) {
        let Some(held) = self.held.swap_remove(&key) else { return };
        self.behind.swap_remove(&key);
        self.release(Role::Holder, held.claim, id, record);
    }

    /// The holder of an identity here is suspect, or was heard from again.
    pub(super) fn on_presence(&mut self, key: Key, id: &[u8], event: &Event) {
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
    pub(super) fn on_ending(&mut self, key: Key, id: &[u8]) {
        if let Some(held) = self.held.get(&key) {
            let (number, id) = (held.claim, id.to_vec());
            self.channel.send(&ToSupervisor::Ending { number, id });
        }
    }

    /// A client here has published something.
    pub(super) fn on_published(&mut self, channel: &[u8], payload: &[u8]) {
        let (channel, payload) = (channel.to_vec(), payload.to_vec());
        self.channel.send(&ToSupervisor::Publish { channel, payload });
    }

    /// Presence events that nobody was told.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// A connection beats for an identity from now on.
    pub(super) fn on_beat_for(&mut self, key: Key, id: &[u8], token: &[u8], beat_for: BeatFor, now: Instant) {
        let is_known = |beating: &Beating| *beating.id == *id && *beating.token == *token;
        if self.beating.get(&key).is_some_and(is_known) {
            return;
        }
        self.on_channel_gone(key);
        if let Some(older) = beat_for.replaced_channel {
            self.beating.swap_remove(&older);
        }
        let claim = self.claim(Role::Channel, id, token, Default::default());
        let beating = Beating { claim, id: Name::new(id), token: token.into(), passed_on: now };
        self.beating.insert(key, beating);
        self.channel.send(&ToSupervisor::Beat { number: claim, id: id.to_vec() });
    }

    /// A connection beats for nobody any more, or has ended.
    pub(super) fn on_channel_gone(&mut self, key: Key) {
        if let Some(Beating { claim, id, .. }) = self.beating.swap_remove(&key) {
            self.release(Role::Channel, claim, &id, "");
        }
    }

    /// A connection said something, and may beat for one that is held elsewhere.
    pub(super) fn on_beat(&mut self, key: Key, now: Instant) {
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

impl<K: Kernel> Reactor<K> {
    /// Makes this server worker `number` of `of`, from 1. The channel's stream is watched as
    /// [`Token::SUPERVISOR`](crate::net::Token::SUPERVISOR) already, and may hold messages that nobody has taken.
    pub fn join(&mut self, channel: OurEnd<K::Stream>, number: u32, of: u32) {
        let (held, beating, behind) = (IndexMap::new(), IndexMap::new(), IndexSet::new());
        let mut link = WorkerLink {
            channel,
            ready: true,
            said_alive: self.cx.now,
            number,
            of,
            claims: 0,
            held,
            beating,
            behind,
            dropped: 0,
            asks: Asks::default(),
            queries: VecDeque::new(),
        };
        link.channel.send(&ToSupervisor::Ready);
        self.cx.link = Some(Box::new(link));
        self.cx.hub.note_changes();
        let bound = memory_bound(&self.cx.settings.server, self.cx.kernel.memory(), of);
        self.cx.pool.set_max(bound);
    }

    /// Takes what the supervisor says, up to where its effects are too many to wait: the rest is for the next turn.
    #[cold]
    #[inline(never)]
    pub(super) fn receive_from_supervisor(&mut self) -> Result<(), Fatal> {
        let mut received = false;
        let mut heard = 0;
        while !self.cx.is_backlogged() && heard < HEARD_PER_TURN {
            if let Some(message) = self.next_told()? {
                heard += 1;
                self.on_told(message);
            } else if received {
                return Ok(());
            } else {
                // Once a turn, which bounds how much there is to be told.
                let Some(link) = &mut self.cx.link else { return Ok(()) };
                link.ready = link.channel.receive().map_err(alone)? == More::Maybe;
                received = true;
            }
        }
        // What is left was received already: no edge will come for it.
        self.cx.note_supervisor();
        Ok(())
    }

    fn next_told(&mut self) -> Result<Option<ToWorker>, Fatal> {
        self.cx.link.as_mut().map_or(Ok(None), |link| link.channel.next_message().map_err(alone))
    }

    /// Sends what this turn has to tell.
    pub(super) fn send_to_supervisor(&mut self) -> Result<(), Fatal> {
        self.cx.tell_topics();
        self.catch_up();
        // What the supervisor asks may lie unread behind the work that there is here.
        if self
            .cx
            .link
            .as_ref()
            .is_some_and(|link| link.ready && self.cx.now.since(link.said_alive) >= ALIVE_APART)
        {
            self.cx.say_alive();
        }
        match &mut self.cx.link {
            Some(link) if link.channel.pending_output() > 0 => link.channel.flush().map_err(alone),
            Some(_) | None => Ok(()),
        }
    }

    /// Tells how those are whose events had to wait for the supervisor: the last word on each, if not every word.
    fn catch_up(&mut self) {
        let Self { table, cx: Context { link: Some(link), hub, .. }, .. } = self else { return };
        for _ in 0..CATCH_UP {
            let Some(key) = link.keeps_up().then(|| link.behind.pop()).flatten() else { return };
            let resp = table.get(key).and_then(|conn| conn.resp());
            let Some(id) = resp.and_then(|resp| hub.identity_of(&resp.membership, key)) else { continue };
            let event = match hub.state(id) {
                Some(Presence::Suspect) => Event::Suspect,
                Some(Presence::Online) => Event::Revived,
                // Its end is what comes next.
                Some(Presence::Ending) | None => continue,
            };
            link.on_presence(key, id, &event);
        }
        // The others are for the next turn.
        link.ready = true;
    }

    fn on_told(&mut self, message: ToWorker) {
        match message {
            // It was taken before there was a reactor; a second one says nothing new.
            ToWorker::Start { .. } => {}
            ToWorker::Reload { file } => self.request_settings(Some(file)),
            ToWorker::Terminate => self.on_signal(Signal::Terminate),
            ToWorker::Report => self.on_signal(Signal::Report),
            ToWorker::Lost { role: Role::Holder, number, id, key, peer } => {
                let identity = Some(String::from_utf8_lossy(&id).into_owned());
                self.cx.lose_holder(number, &id, By { key, peer, identity });
            }
            ToWorker::Lost { role: Role::Channel, number, id, .. } => self.cx.lose_channel(number, &id),
            ToWorker::Heartbeat { id } => {
                if let Some(holder) = self.cx.hub.holder(&id) {
                    self.mark_holder_alive(holder);
                }
            }
            ToWorker::HeartbeatLost { id } => {
                self.cx.effects.extend(self.cx.hub.holder(&id).map(|key| Effect::Suspect { key }));
            }
            ToWorker::Publish { channel, payload } => {
                self.cx.publish_later(&channel, &payload);
            }
            ToWorker::Ask(question) => self.cx.admin.ask(question),
            ToWorker::AskAlive => self.cx.say_alive(),
            ToWorker::Query { number, query } => {
                if let Some(link) = &mut self.cx.link {
                    link.queries.push_back((number, query));
                }
            }
            ToWorker::Found { number, worker, finding } => self.on_found(number, worker, finding),
        }
    }
}

impl<K: Kernel> Context<K> {
    /// The connection that has that name among those of all workers, if it is one of this worker.
    pub(super) fn key_of(&self, name: &str) -> Option<Key> {
        self.link.as_ref().and_then(|link| link.key_of(name))
    }

    /// How many workers there are, with this one.
    pub(super) fn workers(&self) -> u32 {
        self.link.as_ref().map_or(1, |link| link.of)
    }

    /// Tells which topics have listeners here, before a client has the answer that it listens: who then publishes
    /// elsewhere is heard here.
    pub(super) fn tell_topics(&mut self) {
        let Some(link) = &mut self.link else { return };
        for Change { kind, name, listened } in self.hub.take_changes() {
            let topic = match kind {
                Kind::Channel => Topic::Channel(name.to_vec()),
                Kind::Pattern => Topic::Pattern(name.to_vec()),
            };
            let message = if listened { ToSupervisor::Listens(topic) } else { ToSupervisor::Stopped(topic) };
            link.channel.send(&message);
        }
        // If it is gone, the end of this turn finds out.
        let _ = link.channel.flush();
    }

    /// Something may be there to be heard.
    pub(super) fn note_supervisor(&mut self) {
        if let Some(link) = &mut self.link {
            link.ready = true;
        }
    }

    /// A connection has taken an identity, or has said so again.
    pub(super) fn claim_identity(&mut self, key: Key, conn: &Conn<K>, id: &[u8], identified: &Identified) {
        let Some(link) = &mut self.link else { return };
        link.on_identified(key, id, conn.consent(), conn.peer.to_string(), identified);
        if identified.fresh {
            // Before the client has the answer that it holds it: who asks elsewhere then finds it here. If the supervisor is
            // gone, the end of this turn finds out.
            let _ = link.channel.flush();
        }
    }

    fn say_alive(&mut self) {
        if let Some(link) = &mut self.link {
            link.said_alive = self.now;
            link.channel.send(&ToSupervisor::Alive);
        }
    }

    /// A later claim to the identity was made elsewhere.
    fn lose_holder(&mut self, number: u64, id: &[u8], by: By) {
        let Some(link) = &mut self.link else { return };
        let has_it = |key: &Key| link.held.get(key).is_some_and(|held| held.claim == number);
        let Some(key) = self.hub.holder(id).filter(has_it) else { return };
        self.hub.vacate(id);
        self.post_replaced(key, id, by.into());
    }

    /// Another connection elsewhere beats for the identity from now on.
    fn lose_channel(&mut self, number: u64, id: &[u8]) {
        let Some(link) = &mut self.link else { return };
        let beats = |key: &Key| link.beating.get(key).is_some_and(|beating| beating.claim == number);
        let Some(key) = self.hub.channel(id).filter(beats) else { return };
        link.beating.swap_remove(&key);
        self.hub.vacate_channel(id);
    }
}

/// Nobody would start such a worker anew, or tell it to end.
fn alone(_: Broken) -> Fatal {
    Fatal { what: "read from the supervisor".to_owned(), why: "it is gone".to_owned() }
}
