//! Who has which role of an identity, over all workers, and what those who watch it are told: the newest claim, by the
//! clock that all workers share. Pure: claims in, directives out.
//!
//! A worker settles among its own connections what concerns only them, and tells of every claim it makes and of the end
//! of each. Here the newest claim wins, and the worker of the one before is told, with the number of that claim. Which one
//! is newest is not always the one that arrives last: a claim of one worker may wait in its channel while the next one,
//! of another worker, is read. A client that has its answer, and connects again, must not lose to its older connection.
//!
//! Each channel keeps its order, and nothing else is needed: a worker that has claimed anew meanwhile does not have that
//! number any more; a release of a claim that was taken over names a number that is not here any more; and what a worker
//! claimed that has ended ends with it. So whatever crosses on the way, there is one holder in the end, and it is the
//! one whose claim was made last, if that is not over.
//!
//! What is announced follows the same order, and nobody is told anything but by an announcement: `online` when a claim
//! takes effect, `offline` when the one in force is over, and in between, where a newer one came first, `replaced`. The
//! record in that is made by the worker of the older connection, so what comes after it waits for it, for a while. Of a
//! claim that arrives behind a newer one nothing is announced. The tests (`identities_tests.rs`) hold all that against every
//! order of deliveries.

use crate::core::time::{Duration, Instant};
use crate::hub::{Agreement, Presence, agreement, may_beat};
use crate::protocol::presence::Origin;
use crate::workers::link::Role;
use indexmap::IndexMap;
use std::collections::VecDeque;
use std::sync::Arc;

/// How long a worker may take to tell the record of a connection that was taken over, before it is done without.
const RECORD_WITHIN: Duration = Duration::from_secs(1);
/// Announcements of one identity that wait for a record, before it is done without.
const WAITING_MAX: usize = 64;

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Directive {
    /// Worker `worker` has lost a role, or was not given it.
    Lost {
        /// Whom to tell.
        worker: usize,
        /// Which role.
        role: Role,
        /// By which claim it had it.
        number: u64,
        /// The identity.
        id: Vec<u8>,
        /// Who has it now.
        to: Arc<Origin>,
    },
    /// A heartbeat for the holder at worker `worker` came elsewhere.
    Heartbeat {
        /// Whom to tell.
        worker: usize,
        /// The identity.
        id: Vec<u8>,
    },
    /// The connection elsewhere that beat for the holder at worker `worker` has ended.
    HeartbeatLost {
        /// Whom to tell.
        worker: usize,
        /// The identity.
        id: Vec<u8>,
    },
    /// Those who watch an identity are to be told.
    Announce {
        /// The identity.
        id: Vec<u8>,
        /// The message.
        payload: Vec<u8>,
        /// Whose connection it is about.
        origin: Arc<Origin>,
    },
}

/// A claim as it arrives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Claim {
    pub(super) worker: usize,
    pub(super) number: u64,
    /// When it was made, by the clock that all workers share.
    pub(super) at: u64,
    pub(super) id: Vec<u8>,
    /// What a holder and its heartbeat channel know each other by; empty: nothing.
    pub(super) token: Vec<u8>,
    /// The connection, in the words of its worker.
    pub(super) by: Arc<Origin>,
}

/// A claim in force.
#[derive(PartialEq, Eq, Debug)]
struct Assigned {
    worker: usize,
    number: u64,
    at: u64,
    token: Box<[u8]>,
    by: Arc<Origin>,
    /// Of a holder: how it was when its worker last told.
    presence: Presence,
}

impl Assigned {
    fn new(Claim { worker, number, at, token, by, .. }: Claim) -> Self {
        Self { worker, number, at, token: token.into(), by, presence: Presence::Online }
    }

    fn is(&self, worker: usize, number: u64) -> bool {
        (self.worker, self.number) == (worker, number)
    }
}

/// The roles of one identity. It is forgotten when both are empty.
#[derive(Debug, Default)]
struct Roles {
    holder: Option<Assigned>,
    channel: Option<Assigned>,
}

impl Roles {
    const fn is_empty(&self) -> bool {
        self.holder.is_none() && self.channel.is_none()
    }

    /// How the holder is, if there is one that is not about to go.
    fn there(&self) -> Option<Presence> {
        self.holder.as_ref().map(|holder| holder.presence).filter(|presence| *presence != Presence::Ending)
    }

    /// What the channel means to the holder, where both are there and of different workers: of its own connections, a
    /// worker knows by itself.
    fn agreement(&self) -> Option<(usize, Agreement)> {
        let (holder, channel) = (self.holder.as_ref()?, self.channel.as_ref()?);
        let meaning = agreement(&holder.token, &channel.token);
        (holder.worker != channel.worker).then_some((holder.worker, meaning))
    }
}

/// What is announced of an identity, in its order, while something of it is not known yet.
#[derive(Debug)]
enum Waiting {
    /// How the connection of that claim was replaced.
    Record { worker: usize, number: u64, origin: Arc<Origin>, deadline: Instant },
    /// This, once what is before it is known.
    Payload(Vec<u8>, Arc<Origin>),
}

/// All identities that a connection of any worker holds, or beats for.
#[derive(Debug, Default)]
pub(super) struct Identities {
    roles: IndexMap<Vec<u8>, Roles>,
    waiting: IndexMap<Vec<u8>, VecDeque<Waiting>>,
    /// When to look at who waits: each has a time of the same length, so they are in order.
    deadlines: VecDeque<(Instant, Vec<u8>)>,
    directives: VecDeque<Directive>,
    /// Identities that are held.
    held: usize,
    /// Roles that went from one worker to another.
    moved: u64,
}

impl Identities {
    /// A worker claims to hold an identity, and does, unless another one has claimed it later.
    pub(super) fn hold(&mut self, claim: Claim, now: Instant) {
        let roles = self.roles.entry(claim.id.clone()).or_default();
        if let Some(newer) = roles.holder.as_ref().filter(|holder| holder.at > claim.at) {
            let to = Arc::clone(&newer.by);
            return self.lose(Role::Holder, claim.id.clone(), &Assigned::new(claim), to);
        }
        let (worker, id, by) = (claim.worker, claim.id.clone(), Arc::clone(&claim.by));
        match roles.holder.replace(Assigned::new(claim)) {
            None => self.held += 1,
            Some(lost) => {
                self.wait(&id, &lost, now + RECORD_WITHIN);
                if lost.worker != worker {
                    self.moved += 1;
                    self.lose(Role::Holder, id.clone(), &lost, Arc::clone(&by));
                }
            }
        }
        self.announce(id, b"online".to_vec(), by);
    }

    /// The worker of a claim is to be told that it has lost a role.
    fn lose(&mut self, role: Role, id: Vec<u8>, lost: &Assigned, to: Arc<Origin>) {
        let Assigned { worker, number, .. } = *lost;
        self.directives.push_back(Directive::Lost { worker, role, number, id, to });
    }

    /// The holder by that claim has agreed to another channel.
    pub(super) fn consent(&mut self, worker: usize, number: u64, id: &[u8], token: Vec<u8>) {
        let holder = self.roles.get_mut(id).and_then(|roles| roles.holder.as_mut());
        if let Some(holder) = holder.filter(|holder| holder.is(worker, number)) {
            holder.token = token.into();
        }
    }

    /// A worker claims to beat for an identity. The connection that does so now gives way, or this one has no effect.
    pub(super) fn claim_channel(&mut self, claim: Claim) {
        let (worker, id, by) = (claim.worker, claim.id.clone(), Arc::clone(&claim.by));
        let roles = self.roles.entry(id.clone()).or_default();
        let token_of = |assigned: &Option<Assigned>| assigned.as_ref().map(|assigned| assigned.token.clone());
        let (holder, present) = (token_of(&roles.holder), token_of(&roles.channel));
        let is_newest = roles.channel.as_ref().is_none_or(|present| present.at <= claim.at);
        let may = is_newest && may_beat(holder.as_deref(), present.as_deref(), &claim.token);
        let mut lost = Some(Assigned::new(claim));
        if may {
            lost = std::mem::replace(&mut roles.channel, lost).filter(|before| before.worker != worker);
        } else if roles.is_empty() {
            self.roles.swap_remove(&id);
        }
        if let Some(lost) = lost {
            self.lose(Role::Channel, id, &lost, by);
        }
    }

    /// A claim to hold an identity is over: `record` says how.
    pub(super) fn release(&mut self, worker: usize, number: u64, id: Vec<u8>, record: &[u8]) {
        let roles = self.roles.get_mut(&id);
        let held =
            roles.and_then(|roles| Some((roles.holder.take_if(|holder| holder.is(worker, number))?, roles)));
        if let Some((holder, roles)) = held {
            self.held -= 1;
            if roles.is_empty() {
                self.roles.swap_remove(&id);
            }
            self.announce(id, [b"offline ", record].concat(), holder.by);
        } else {
            self.on_record(worker, Some(number), &id, record);
        }
    }

    /// A claim to beat for an identity is over.
    pub(super) fn release_channel(&mut self, worker: usize, number: u64, id: Vec<u8>) {
        let Some(roles) = self.roles.get_mut(&id) else { return };
        if !roles.channel.as_ref().is_some_and(|channel| channel.is(worker, number)) {
            return;
        }
        let agreed = roles.agreement();
        roles.channel = None;
        if roles.is_empty() {
            self.roles.swap_remove(&id);
        }
        if let Some((worker, Agreement::Agreed)) = agreed {
            self.directives.push_back(Directive::HeartbeatLost { worker, id });
        }
    }

    /// The heartbeat channel that worker `worker` claimed has beaten.
    pub(super) fn beat(&mut self, worker: usize, number: u64, id: Vec<u8>) {
        let Some(roles) = self.roles.get(&id) else { return };
        if !roles.channel.as_ref().is_some_and(|channel| channel.is(worker, number)) {
            return;
        }
        if let Some((worker, Agreement::Agreed | Agreement::Open)) = roles.agreement() {
            self.directives.push_back(Directive::Heartbeat { worker, id });
        }
    }

    /// Something happened to an identity that worker `worker` holds by that claim. Of one that was taken over, nobody is
    /// told any more.
    pub(super) fn happened(&mut self, worker: usize, number: u64, id: Vec<u8>, payload: Vec<u8>) {
        let holder = self.roles.get_mut(&id).and_then(|roles| roles.holder.as_mut());
        if let Some(holder) = holder.filter(|holder| holder.is(worker, number)) {
            holder.presence = if payload == b"suspect" { Presence::Suspect } else { Presence::Online };
            let origin = Arc::clone(&holder.by);
            self.announce(id, payload, origin);
        }
    }

    /// The connection of an identity that worker `worker` holds by that claim is being ended. Its record is still to come.
    pub(super) fn ending(&mut self, worker: usize, number: u64, id: &[u8]) {
        let holder = self.roles.get_mut(id).and_then(|roles| roles.holder.as_mut());
        if let Some(holder) = holder.filter(|holder| holder.is(worker, number)) {
            holder.presence = Presence::Ending;
        }
    }

    /// The worker whose connection holds an identity.
    pub(super) fn worker_of(&self, id: &[u8]) -> Option<usize> {
        self.roles.get(id)?.holder.as_ref().map(|holder| holder.worker)
    }

    /// Where the connection comes from that holds an identity, and is not about to go.
    pub(super) fn holder_from(&self, id: &[u8]) -> Option<&str> {
        let holder = self.roles.get(id)?.holder.as_ref();
        holder.filter(|holder| holder.presence != Presence::Ending).map(|holder| holder.by.peer.as_str())
    }

    /// How an identity is; none means offline.
    pub(super) fn state(&self, id: &[u8]) -> Option<Presence> {
        self.roles.get(id)?.there()
    }

    /// Every identity that somebody holds, or beats for, as [`below`] walks. `true`: it is there.
    pub(super) fn below(&self, before: Option<u32>) -> impl Iterator<Item = (u32, &[u8], bool)> {
        below(&self.roles, before).map(|(place, id, roles)| (place, id, roles.there().is_some()))
    }

    /// What would be announced of an identity last, if nothing of it waits, and of whose connection.
    pub(super) fn last_word(&self, id: &[u8]) -> Option<(&'static [u8], Option<&Origin>)> {
        if self.waiting.contains_key(id) {
            return None;
        }
        Some(match self.roles.get(id).and_then(|roles| roles.holder.as_ref()) {
            Some(holder) if holder.presence == Presence::Suspect => (b"suspect", Some(&holder.by)),
            Some(holder) => (b"online", Some(&holder.by)),
            None => (b"offline null", None),
        })
    }

    /// Worker `worker` has ended, and all its connections with it.
    pub(super) fn gone(&mut self, worker: usize) {
        let its =
            |assigned: &Option<Assigned>| assigned.as_ref().is_some_and(|assigned| assigned.worker == worker);
        let (mut offline, directives) = (Vec::new(), &mut self.directives);
        self.roles.retain(|id, roles| {
            if let Some(holder) = roles.holder.take_if(|holder| holder.worker == worker) {
                offline.push((id.clone(), holder.by));
            }
            if its(&roles.channel) {
                if let Some((worker, Agreement::Agreed)) = roles.agreement() {
                    directives.push_back(Directive::HeartbeatLost { worker, id: id.clone() });
                }
                roles.channel = None;
            }
            !roles.is_empty()
        });
        self.held -= offline.len();
        for id in self.waiting.keys().cloned().collect::<Vec<_>>() {
            self.on_record(worker, None, &id, b"null");
        }
        for (id, origin) in offline {
            self.announce(id, b"offline null".to_vec(), origin);
        }
    }

    /// Does without the records that have not come in time.
    pub(super) fn expire(&mut self, now: Instant) {
        while self.deadlines.front().is_some_and(|(deadline, _)| *deadline <= now) {
            if let Some((_, id)) = self.deadlines.pop_front() {
                self.do_without(&id, now);
            }
        }
    }

    /// When to call [`expire`](Self::expire).
    pub(super) fn next(&self) -> Instant {
        self.deadlines.front().map_or(Instant::NEVER, |(deadline, _)| *deadline)
    }

    /// Whether something is to be done.
    pub(super) fn has_directives(&self) -> bool {
        !self.directives.is_empty()
    }

    /// What is to be done next.
    pub(super) fn next_directive(&mut self) -> Option<Directive> {
        self.directives.pop_front()
    }

    /// Identities that are held.
    pub(super) const fn held(&self) -> usize {
        self.held
    }

    /// Identities that went from one worker to another so far.
    pub(super) const fn moved(&self) -> u64 {
        self.moved
    }

    fn announce(&mut self, id: Vec<u8>, payload: Vec<u8>, origin: Arc<Origin>) {
        match self.waiting.get_mut(&id) {
            None => self.directives.push_back(Directive::Announce { id, payload, origin }),
            Some(queue) => {
                queue.push_back(Waiting::Payload(payload, origin));
                if queue.len() > WAITING_MAX {
                    self.do_without(&id, Instant::NEVER);
                }
            }
        }
    }

    fn wait(&mut self, id: &[u8], lost: &Assigned, deadline: Instant) {
        let (worker, number, origin) = (lost.worker, lost.number, Arc::clone(&lost.by));
        let record = Waiting::Record { worker, number, origin, deadline };
        self.waiting.entry(id.to_vec()).or_default().push_back(record);
        self.deadlines.push_back((deadline, id.to_vec()));
    }

    /// How the connection of a claim was replaced, or, without a number, all those of a worker.
    fn on_record(&mut self, of: usize, claim: Option<u64>, id: &[u8], record: &[u8]) {
        let Some(queue) = self.waiting.get_mut(id) else { return };
        for waiting in queue.iter_mut() {
            if let Waiting::Record { worker, number, origin, .. } = waiting
                && *worker == of
                && claim.is_none_or(|claim| claim == *number)
            {
                *waiting = Waiting::Payload([b"replaced ", record].concat(), Arc::clone(origin));
            }
        }
        self.settle(id);
    }

    /// Announces what waits for records that were to be here by `now`.
    fn do_without(&mut self, id: &[u8], now: Instant) {
        for waiting in self.waiting.get_mut(id).into_iter().flatten() {
            if let Waiting::Record { origin, deadline, .. } = waiting
                && *deadline <= now
            {
                *waiting = Waiting::Payload(b"replaced null".to_vec(), Arc::clone(origin));
            }
        }
        self.settle(id);
    }

    /// Announces what waits for nothing any more.
    fn settle(&mut self, id: &[u8]) {
        let Some(queue) = self.waiting.get_mut(id) else { return };
        while let Some(Waiting::Payload(payload, origin)) = queue.front_mut() {
            let (id, payload, origin) = (id.to_vec(), std::mem::take(payload), Arc::clone(origin));
            queue.pop_front();
            self.directives.push_back(Directive::Announce { id, payload, origin });
        }
        if queue.is_empty() {
            self.waiting.swap_remove(id);
        }
    }
}

/// What a map has in the places below `before`, from the last to the first.
///
/// A walk in this order may stop and go on. What is removed meanwhile moves others towards the beginning, so that the walk
/// may come by one of them twice, but it comes by each that stays.
pub(super) fn below<T>(
    map: &IndexMap<Vec<u8>, T>,
    before: Option<u32>,
) -> impl Iterator<Item = (u32, &[u8], &T)> {
    let end = before.map_or(map.len(), |before| map.len().min(before as usize));
    let places = (0..u32::try_from(end).unwrap_or(u32::MAX)).rev();
    places.filter_map(|place| {
        map.get_index(place as usize).map(|(name, value)| (place, name.as_slice(), value))
    })
}

#[cfg(test)]
#[path = "identities_tests.rs"]
mod tests;
