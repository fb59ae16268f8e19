//! One audit, as a state machine without a kernel: first our own connections are put into an index
//! ([`index`](Comparison::index)), then the kernel's rows are compared with it ([`row`](Comparison::row)), then
//! what no row was seen of is asked about ([`is_unseen`](Comparison::is_unseen),
//! [`missing`](Comparison::missing)). Each step takes as much as its caller gives it, so that others can be
//! served in between.
//!
//! A dump is no snapshot: rows are missed and come twice, connections are accepted and closed meanwhile. So one
//! audit is a look, and only what two in a row have seen is a finding. What the look of the first was is kept in
//! a [`Memory`], which holds nothing of connections that are well.

use super::Anomaly;
use crate::core::table::Key;
use crate::core::tcp::TcpState;
use crate::core::time::{Duration, Instant};
use crate::net::{Peer, SocketRow};
use hashbrown::HashTable;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Sockets that are not ours, of which an audit remembers one by one what they are: as many as wait in an accept
/// queue of the size that the kernel allows by default. More are counted by state, as all are.
const STRANGERS_MAX: usize = 4096;
/// Findings that are told one by one.
const EXAMPLES_MAX: usize = 100;

/// Where a listener listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Its address.
    pub address: SocketAddr,
    /// `IPV6_V6ONLY`.
    pub v6_only: bool,
    /// For how long a connection of it may stay in `CLOSE_WAIT` while nothing of it moves; `None`: for ever.
    pub close_wait: Option<Duration>,
}

impl Place {
    /// How well a local address fits: 0 not at all, and a listener on just that address before one on all.
    fn fits(&self, local: SocketAddr) -> u8 {
        let (here, there) = (self.address.ip().to_canonical(), local.ip().to_canonical());
        match here {
            _ if self.address.port() != local.port() => 0,
            _ if here == there => 3,
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) if there.is_ipv4() => 2,
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) if there.is_ipv6() => 2,
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) if !self.v6_only => 1,
            IpAddr::V4(_) | IpAddr::V6(_) => 0,
        }
    }
}

/// What is to be known of one of our connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its name.
    pub key: Key,
    /// Where it comes from.
    pub peer: Peer,
    /// Which listener accepted it.
    pub listener: usize,
    /// When the connection was accepted.
    pub accepted: Instant,
    /// A cause for its ending is known.
    pub ending: bool,
    /// Bytes received and sent so far.
    pub bytes: u64,
}

/// The kernel's sockets of one listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// How many, by state.
    pub states: [u32; TcpState::ALL.len()],
    /// Bytes written and not acknowledged by their peers.
    pub unsent_bytes: u64,
    /// Bytes received and not read.
    pub unread_bytes: u64,
}

/// Something that was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// What is wrong.
    pub anomaly: Anomaly,
    /// On which listener.
    pub listener: usize,
    /// With whom.
    pub peer: Peer,
    /// Its name, if it is one of ours.
    pub key: Option<Key>,
    /// How many audits in a row have seen it.
    pub audits: u32,
}

/// What has been found, by kind.
pub type Counts = [u32; Anomaly::ALL.len()];

/// What is kept from one audit to the next.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Memory {
    /// By cookie.
    strangers: BTreeMap<u64, Stranger>,
    missing: BTreeMap<Key, u32>,
    close_wait: BTreeMap<Key, Still>,
}

/// A socket that is not ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stranger {
    /// No program holds it; which it does may well be us, by now.
    queued: bool,
    audits: u32,
}

/// A connection that does not move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Still {
    since: Instant,
    audits: u32,
    told: bool,
    bytes: u64,
    unread: u32,
    unacknowledged: u32,
}

/// One audit.
#[derive(Debug)]
pub struct Comparison {
    /// When it began: what was accepted later is none of its business.
    begun: Instant,
    places: Vec<Option<Place>>,
    /// Slots of our connections, by peer and listener. Nothing ever iterates it, so that a run can be replayed.
    ours: HashTable<u32>,
    hasher: RandomState,
    /// A bit for each slot: its row was seen.
    seen: Vec<u64>,
    before: Memory,
    after: Memory,
    /// Other processes are rightly on our ports; whether this one judges what none of them holds yet.
    other_workers: Option<bool>,
    tallies: Vec<Tally>,
    rows: u64,
    present: Counts,
    fresh: Counts,
    examples: Vec<Found>,
    ours_found: Vec<(Key, Anomaly)>,
}

/// What an audit has found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// The kernel's sockets, by listener.
    pub tallies: Vec<Tally>,
    /// Rows of the kernel's table that were looked at.
    pub rows: u64,
    /// What is wrong now.
    pub present: Counts,
    /// What of that was not found before.
    pub fresh: Counts,
    /// Some of it, one by one.
    pub examples: Vec<Found>,
    /// Those connections of ours that something is wrong with.
    pub ours: Vec<(Key, Anomaly)>,
}

impl Comparison {
    /// Begins an audit of `slots` slots with `connections` in them. `places`: of each listener, unless it has no
    /// TCP sockets; `before`: what the last audit left.
    pub fn new(
        begun: Instant,
        places: Vec<Option<Place>>,
        slots: usize,
        connections: usize,
        before: Memory,
    ) -> Self {
        Self {
            begun,
            tallies: vec![Tally::default(); places.len()],
            places,
            // For all there will be in it: it never grows, and so never moves, in the middle of a turn.
            ours: HashTable::with_capacity(connections),
            hasher: RandomState::new(),
            seen: vec![0; slots.div_ceil(64)],
            before,
            after: Memory::default(),
            other_workers: None,
            rows: 0,
            present: Counts::default(),
            fresh: Counts::default(),
            examples: Vec::new(),
            ours_found: Vec::new(),
        }
    }

    /// Leaves out the sockets of other workers on the same ports: each worker has an audit of its own. All of them see the
    /// sockets that no program holds; the worker with `Some(true)` judges those.
    #[must_use]
    pub const fn among_workers(mut self, other_workers: Option<bool>) -> Self {
        self.other_workers = other_workers;
        self
    }

    /// When it began.
    pub const fn begun(&self) -> Instant {
        self.begun
    }

    /// Puts the connection in `slot` into the index.
    pub fn index(&mut self, slot: u32, whose: impl Fn(u32) -> Option<Member>) {
        let Some(member) = self.old(slot, &whose) else { return };
        if self.ours.len() == self.ours.capacity() {
            return;
        }
        let hasher = &self.hasher;
        let rehash =
            |&slot: &u32| whose(slot).map_or(0, |member| hash(hasher, &member.peer, member.listener));
        self.ours.insert_unique(hash(hasher, &member.peer, member.listener), slot, rehash);
    }

    /// The connection in `slot`, if it is one that the audit can judge.
    fn old(&self, slot: u32, whose: &impl Fn(u32) -> Option<Member>) -> Option<Member> {
        let known = |member: &Member| self.places.get(member.listener).is_some_and(Option::is_some);
        whose(slot).filter(|member| member.accepted <= self.begun && known(member))
    }

    /// Holds a row of the kernel's table, read at `now`, against the index.
    pub fn row(&mut self, row: &SocketRow, now: Instant, whose: impl Fn(u32) -> Option<Member>) {
        let Some(listener) = self.listener_of(row.local) else { return };
        if row.state == TcpState::Listen {
            return;
        }
        self.rows += 1;
        let peer = Peer::new(row.remote);
        if row.inode != 0 {
            match self.find(&peer, listener, &whose) {
                Some((slot, member)) => {
                    // It came before: a row may come twice.
                    if self.see(slot) {
                        return;
                    }
                    if row.state == TcpState::CloseWait && !member.ending {
                        self.close_wait(&member, row, now);
                    }
                }
                // Another worker's or another program's: the two cannot be told apart.
                None if self.other_workers.is_some() => return,
                // Accepted since the audit began, or not by us.
                None if !self.stranger(row, listener, false) => return,
                None => {}
            }
        } else if self.other_workers == Some(false)
            || matches!(row.state, TcpState::Established | TcpState::CloseWait)
                && !self.stranger(row, listener, true)
        {
            return;
        }
        let tally = &mut self.tallies[listener];
        if let Some(count) = tally.states.get_mut(row.state as usize) {
            *count += 1;
        }
        tally.unsent_bytes += u64::from(row.unacknowledged);
        tally.unread_bytes += u64::from(row.unread);
    }

    fn listener_of(&self, local: SocketAddr) -> Option<usize> {
        let fits = |place: &Option<Place>| place.as_ref().map_or(0, |place| place.fits(local));
        let best = self.places.iter().enumerate().max_by_key(|(_, place)| fits(place));
        best.filter(|(_, place)| fits(place) > 0).map(|(index, _)| index)
    }

    /// Our connection with that peer. Of two, one of which must be dead, the one that does not know it yet may be
    /// taken for the other: [`missing`](Self::missing) is only for what its own descriptor says.
    fn find(
        &self,
        peer: &Peer,
        listener: usize,
        whose: &impl Fn(u32) -> Option<Member>,
    ) -> Option<(u32, Member)> {
        let is_it = |&slot: &u32| {
            self.old(slot, whose).is_some_and(|member| member.peer == *peer && member.listener == listener)
        };
        let hash = hash(&self.hasher, peer, listener);
        // One that was seen is no stranger when its row comes again.
        let unseen = self.ours.find(hash, |slot| is_it(slot) && !self.has_seen(*slot));
        let slot = *unseen.or_else(|| self.ours.find(hash, is_it))?;
        self.old(slot, whose).map(|member| (slot, member))
    }

    /// Notes that the row of a slot was seen; true if that was known.
    fn see(&mut self, slot: u32) -> bool {
        let known = self.has_seen(slot);
        if let Some(bits) = self.seen.get_mut(slot as usize / 64) {
            *bits |= 1 << (slot % 64);
        }
        known
    }

    fn has_seen(&self, slot: u32) -> bool {
        self.seen.get(slot as usize / 64).is_some_and(|bits| bits & 1 << (slot % 64) != 0)
    }

    /// A socket on one of our ports that none of our descriptors is for. False: its row came before.
    fn stranger(&mut self, row: &SocketRow, listener: usize, queued: bool) -> bool {
        if self.after.strangers.contains_key(&row.cookie) {
            return false;
        }
        if self.after.strangers.len() == STRANGERS_MAX {
            return true;
        }
        let before = self.before.strangers.get(&row.cookie).filter(|before| before.queued == queued);
        let audits = before.map_or(1, |before| before.audits.saturating_add(1));
        self.after.strangers.insert(row.cookie, Stranger { queued, audits });
        let anomaly = match (queued, row.state) {
            (true, TcpState::CloseWait) => Anomaly::QueuedGhost,
            (true, _) => Anomaly::QueuedLong,
            (false, _) => Anomaly::Unknown,
        };
        if audits >= 2 {
            let peer = Peer::new(row.remote);
            self.found(Found { anomaly, listener, peer, key: None, audits }, audits == 2);
        }
        true
    }

    /// The peer of one of ours has closed, and we do not know it yet. That may be for a good reason: it reads
    /// its output slowly, and what it sent before its FIN waits for that. So only the time counts in which nothing
    /// moved, not a byte in any buffer.
    fn close_wait(&mut self, member: &Member, row: &SocketRow, now: Instant) {
        let SocketRow { unread, unacknowledged, .. } = *row;
        let bytes = member.bytes;
        let before = self.before.close_wait.get(&member.key).filter(|before| {
            (before.bytes, before.unread, before.unacknowledged) == (bytes, unread, unacknowledged)
        });
        let mut still = before.copied().unwrap_or(Still {
            since: now,
            audits: 0,
            told: false,
            bytes,
            unread,
            unacknowledged,
        });
        still.audits = still.audits.saturating_add(1);
        let patience = self.places[member.listener].and_then(|place| place.close_wait);
        let found = still.audits >= 2 && patience.is_some_and(|patience| now.since(still.since) >= patience);
        let fresh = found && !still.told;
        still.told |= found;
        self.after.close_wait.insert(member.key, still);
        if found {
            let Member { key, peer, listener, .. } = *member;
            let audits = still.audits;
            self.found(Found { anomaly: Anomaly::CloseWait, listener, peer, key: Some(key), audits }, fresh);
        }
    }

    /// Whether all rows have been read and none was for the connection in `slot`. Its own descriptor is to be
    /// asked; if that says that there is no connection, it is [`missing`](Self::missing).
    pub fn is_unseen(&self, slot: u32, whose: impl Fn(u32) -> Option<Member>) -> Option<Member> {
        self.old(slot, &whose).filter(|_| !self.has_seen(slot))
    }

    /// The kernel has no such connection any more, by the word of its own descriptor. Whether that is news to us
    /// shows when it is still so the next time: its readiness may be on the way.
    pub fn missing(&mut self, member: &Member) {
        let Member { key, peer, listener, .. } = *member;
        let audits = self.before.missing.get(&key).map_or(1, |audits| audits.saturating_add(1));
        self.after.missing.insert(key, audits);
        if audits >= 2 {
            self.found(
                Found { anomaly: Anomaly::Missing, listener, peer, key: Some(key), audits },
                audits == 2,
            );
        }
    }

    fn found(&mut self, found: Found, fresh: bool) {
        self.present[found.anomaly as usize] += 1;
        self.fresh[found.anomaly as usize] += u32::from(fresh);
        if let Some(key) = found.key {
            self.ours_found.push((key, found.anomaly));
        }
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(found);
        }
    }

    /// Breaks off: what the audit before had left is left to the next.
    pub fn abandon(self) -> Memory {
        self.before
    }

    /// What was found, and what the next audit has to know.
    pub fn conclude(self) -> (Outcome, Memory) {
        let outcome = Outcome {
            tallies: self.tallies,
            rows: self.rows,
            present: self.present,
            fresh: self.fresh,
            examples: self.examples,
            ours: self.ours_found,
        };
        (outcome, self.after)
    }
}

/// Peers choose their addresses, so the hasher is keyed at random.
fn hash(hasher: &RandomState, peer: &Peer, listener: usize) -> u64 {
    hasher.hash_one((peer, listener))
}
