//! Pairs of connections: a client, and the upstream server that it is relayed to. A pair has the keys of both its legs;
//! neither leg owns the other.
//!
//! Pairs are kept beside the table, so that a connection without a partner pays nothing for them.

use super::cold_pair::{ColdPair, Times};
use crate::core::conn::Cause;
use crate::core::end::Leg;
use crate::core::table::Key;
use crate::core::time::Instant;
use slab::Slab;

/// The pairs.
#[derive(Debug)]
pub(in crate::reactor) struct Pairs {
    /// The pair of the connection in each slot of the table; [`NONE`] where there is none.
    of_slot: Vec<u32>,
    all: Slab<Pair>,
    /// The cold states of those that have one.
    cold: Slab<ColdPair>,
}

const NONE: u32 = u32::MAX;

/// One pair.
#[derive(Debug)]
pub(in crate::reactor) struct Pair {
    /// The key of the client leg, which names the pair, also when that leg is gone.
    client: Key,
    /// The key of the upstream leg; [`NO_KEY`] before there is one, and when it is gone.
    upstream: Key,
    /// When bytes last went through it, or began to.
    pub(in crate::reactor) moved: Instant,
    rest: Rest,
    /// Which upstream its servers are of.
    to: u16,
    /// Which of them it is connected to, or has tried last; [`NO_SERVER`] before.
    server: u16,
    /// Bytes of the header that the server is sent first.
    header_bytes: u16,
    pub(in crate::reactor) stage: Stage,
    legs: Legs,
}

// Beside its two connections and their slots here, an idle pair has nothing else.
const _: () = assert!(size_of::<Pair>() <= 40);

const NO_SERVER: u16 = u16::MAX;
/// In the place of the key of a leg that is not there.
const NO_KEY: Key = Key { index: 0, generation: 0 };

/// What is only reported. It lies in the pair itself, until that has a cold state.
#[derive(Clone, Copy, Debug)]
enum Rest {
    Plain(Times),
    /// The place of the cold state.
    Cold(u32),
}

// In two times of four bytes each there is a value to spare, which says that it is the other variant.
const _: () = assert!(size_of::<Rest>() == 8);

/// The stages of an upstream connection, in temporal order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::reactor) enum Stage {
    /// It is being connected.
    Connecting,
    /// It is connected, and has the socket options that one message each way needs.
    Fresh,
    /// It has all socket options but those for a long life.
    Used,
    /// It has lived for a while, and the kernel watches it (keepalive, user timeout).
    Lasting,
}

/// The state of one direction: of the bytes that one leg sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::reactor) enum Direction {
    /// The leg is read, and its bytes go to the partner.
    Open,
    /// The leg is not read until the partner is connected and has no pending output.
    Paused,
    /// The leg's end of file was read: the partner's pending output is the last of it.
    Finished,
    /// Our FIN went to the partner after the last byte.
    Forwarded,
}

/// What is known of both legs, in half a byte each: there may be very many pairs.
#[derive(Clone, Copy, Debug)]
struct Legs(u8);

impl Legs {
    /// Both are there, and neither is read.
    const PAUSED: Self = Self((Direction::Paused as u8) << 4 | Direction::Paused as u8);
    /// Of one leg, beside its direction: it is gone.
    const GONE: u8 = 4;
    /// A byte of it has come.
    const SPOKE: u8 = 8;

    const fn direction(self, leg: Leg) -> Direction {
        const ALL: [Direction; 4] =
            [Direction::Open, Direction::Paused, Direction::Finished, Direction::Forwarded];
        ALL[(self.0 >> Self::shift(leg) & 3) as usize]
    }

    const fn set_direction(&mut self, leg: Leg, direction: Direction) {
        self.0 = self.0 & !(3 << Self::shift(leg)) | (direction as u8) << Self::shift(leg);
    }

    const fn has(self, leg: Leg, mark: u8) -> bool {
        self.0 >> Self::shift(leg) & mark != 0
    }

    const fn mark(&mut self, leg: Leg, mark: u8) {
        self.0 |= mark << Self::shift(leg);
    }

    const fn shift(leg: Leg) -> u32 {
        4 * leg as u32
    }
}

impl Pairs {
    /// None, with room for those of so many slots of the table: memory that is never used is never there.
    pub(in crate::reactor) fn with_capacity(slots: usize) -> Self {
        Self {
            of_slot: Vec::with_capacity(slots),
            all: Slab::with_capacity(slots / 2),
            cold: Slab::with_capacity(slots / 2),
        }
    }

    /// A client has come that is to be relayed, to a server of that upstream.
    pub(in crate::reactor) fn open(&mut self, client: Key, to: u16, now: Instant) {
        let index = self.all.insert(Pair {
            client,
            upstream: NO_KEY,
            moved: now,
            rest: Rest::Plain(Times::default()),
            to,
            server: NO_SERVER,
            header_bytes: 0,
            stage: Stage::Connecting,
            legs: Legs::PAUSED,
        });
        self.note(client, index);
    }

    /// The connection to the upstream server is begun.
    pub(in crate::reactor) fn join(&mut self, client: Key, upstream: Key) {
        let index = self.index(client);
        if let Some(pair) = self.all.get_mut(index) {
            pair.upstream = upstream;
            self.note(upstream, index);
        }
    }

    fn note(&mut self, key: Key, index: usize) {
        let slot = key.index as usize;
        if slot >= self.of_slot.len() {
            self.grow(slot);
        }
        self.of_slot[slot] = u32::try_from(index).expect("connections are fewer than 2^32");
    }

    #[cold]
    fn grow(&mut self, slot: usize) {
        self.of_slot.resize(slot + 1, NONE);
    }

    /// Where the pair of a connection is; [`NONE`], where never is one, if it has none.
    fn index(&self, key: Key) -> usize {
        self.of_slot.get(key.index as usize).copied().unwrap_or(NONE) as usize
    }

    /// The pair that a connection is a leg of. Generations need not be compared: the key is that of a connection in the table,
    /// and a leg is removed here before it leaves that, so that a slot never has the pair of one that was there before.
    pub(in crate::reactor) fn of(&self, key: Key) -> Option<&Pair> {
        self.all.get(self.index(key))
    }

    /// The same, to change it.
    pub(in crate::reactor) fn of_mut(&mut self, key: Key) -> Option<&mut Pair> {
        self.all.get_mut(self.index(key))
    }

    /// What only few pairs need, if this one has it.
    pub(in crate::reactor) fn cold(&self, key: Key) -> Option<&ColdPair> {
        self.cold_of(self.of(key)?)
    }

    fn cold_of(&self, pair: &Pair) -> Option<&ColdPair> {
        match pair.rest {
            Rest::Plain(_) => None,
            Rest::Cold(at) => self.cold.get(at as usize),
        }
    }

    /// The same, made if need be.
    pub(in crate::reactor) fn cold_mut(&mut self, key: Key) -> Option<&mut ColdPair> {
        let index = self.index(key);
        let pair = self.all.get_mut(index)?;
        let at = pair.place_of_cold(&mut self.cold);
        self.cold.get_mut(at)
    }

    /// What of its times is known.
    #[inline]
    pub(in crate::reactor) fn times_mut(&mut self, key: Key) -> Option<&mut Times> {
        let index = self.index(key);
        match &mut self.all.get_mut(index)?.rest {
            Rest::Plain(times) => Some(times),
            Rest::Cold(at) => self.cold.get_mut(*at as usize).map(|cold| &mut cold.times),
        }
    }

    /// A leg begins to end. The first cause is that of the pair, which is given.
    pub(in crate::reactor) fn note_cause(&mut self, key: Key, leg: Leg, cause: Cause) -> Option<&mut Pair> {
        let index = self.index(key);
        let pair = self.all.get_mut(index)?;
        let at = pair.place_of_cold(&mut self.cold);
        self.cold.get_mut(at)?.cause.get_or_insert((cause, leg));
        Some(pair)
    }

    /// A leg is gone, and with the last of them the pair.
    #[expect(clippy::inline_always, reason = "left alone, what its caller has found is looked for again")]
    #[inline(always)]
    pub(in crate::reactor) fn remove(&mut self, key: Key, leg: Leg) {
        let index = self.index(key);
        let Some(pair) = self.all.get_mut(index) else { return };
        self.of_slot[key.index as usize] = NONE;
        match leg {
            Leg::Client => pair.legs.mark(Leg::Client, Legs::GONE),
            Leg::Upstream => pair.upstream = NO_KEY,
        }
        if pair.leg(leg.other()).is_none() {
            if let Rest::Cold(at) = pair.rest {
                self.cold.remove(at as usize);
            }
            self.all.remove(index);
        }
    }

    /// All of them.
    pub(in crate::reactor) fn iter(&self) -> impl Iterator<Item = &Pair> {
        self.all.iter().map(|(_, pair)| pair)
    }

    /// Which upstreams and servers pairs refer to, found in one walk over all pairs.
    pub(in crate::reactor) fn named(&self) -> NamedServers {
        let mut named = NamedServers::default();
        for pair in self.iter() {
            let failed = self.cold_of(pair).map_or(&[][..], ColdPair::failed);
            let servers = named.add(pair.to);
            for server in failed.iter().map(|attempt| attempt.server).chain(pair.tried()) {
                mark(servers, server.into());
            }
        }
        named
    }
}

/// Which upstreams, and which servers of them, are known to pairs by their places.
#[derive(Debug, Default)]
pub(in crate::reactor) struct NamedServers(Vec<Option<Vec<bool>>>);

impl NamedServers {
    fn add(&mut self, upstream: u16) -> &mut Vec<bool> {
        let at = usize::from(upstream);
        if at >= self.0.len() {
            self.0.resize(at + 1, None);
        }
        self.0[at].get_or_insert_default()
    }

    /// Whether that upstream is known to one.
    pub(in crate::reactor) fn has(&self, upstream: u16) -> bool {
        self.0.get(usize::from(upstream)).is_some_and(Option::is_some)
    }

    /// Whether that server of it is.
    pub(in crate::reactor) fn has_server(&self, upstream: u16, server: usize) -> bool {
        let servers = self.0.get(usize::from(upstream)).and_then(Option::as_ref);
        servers.is_some_and(|servers| servers.get(server) == Some(&true))
    }
}

fn mark(places: &mut Vec<bool>, at: usize) {
    if at >= places.len() {
        places.resize(at + 1, false);
    }
    places[at] = true;
}

impl Pair {
    /// The key of the client leg, which names the pair, also when that leg is gone.
    pub(in crate::reactor) const fn name(&self) -> Key {
        self.client
    }

    /// The key of a leg, if it is there.
    pub(in crate::reactor) fn leg(&self, leg: Leg) -> Option<Key> {
        match leg {
            Leg::Client => self.has_client().then_some(self.client),
            Leg::Upstream => (self.upstream != NO_KEY).then_some(self.upstream),
        }
    }

    /// Whether it has a cold state.
    pub(in crate::reactor) const fn has_cold(&self) -> bool {
        matches!(self.rest, Rest::Cold(_))
    }

    /// Where that is, made if need be.
    #[inline]
    fn place_of_cold(&mut self, all: &mut Slab<ColdPair>) -> usize {
        match self.rest {
            Rest::Cold(at) => at as usize,
            Rest::Plain(times) => self.make_cold(times, all),
        }
    }

    #[inline(never)]
    fn make_cold(&mut self, times: Times, all: &mut Slab<ColdPair>) -> usize {
        let at = all.insert(ColdPair::new(times));
        self.rest = Rest::Cold(u32::try_from(at).expect("pairs are fewer than 2^32"));
        at
    }

    const fn has_client(&self) -> bool {
        !self.legs.has(Leg::Client, Legs::GONE)
    }

    /// Which upstream its servers are of.
    pub(in crate::reactor) const fn to(&self) -> u16 {
        self.to
    }

    /// The server that it is connected to, or that was tried last.
    pub(in crate::reactor) fn server(&self) -> Option<usize> {
        self.tried().map(usize::from)
    }

    fn tried(&self) -> Option<u16> {
        (self.server != NO_SERVER).then_some(self.server)
    }

    /// A server is tried.
    pub(in crate::reactor) fn set_server(&mut self, server: usize) {
        self.server = u16::try_from(server).expect("places of servers are fewer than 2^16");
    }

    /// Bytes of the header that the server is sent first.
    pub(in crate::reactor) fn header_bytes(&self) -> u64 {
        self.header_bytes.into()
    }

    /// What becomes of what a leg sends.
    pub(in crate::reactor) const fn flow(&self, leg: Leg) -> Direction {
        self.legs.direction(leg)
    }

    /// Sets that.
    pub(in crate::reactor) const fn set_flow(&mut self, leg: Leg, flow: Direction) {
        self.legs.set_direction(leg, flow);
    }

    /// Whether a leg sends nothing more.
    pub(in crate::reactor) fn is_finished(&self, leg: Leg) -> bool {
        self.leg(leg).is_none() || matches!(self.flow(leg), Direction::Finished | Direction::Forwarded)
    }

    /// Whether a leg is not read because it waits for its partner.
    pub(in crate::reactor) fn is_paused(&self, leg: Leg) -> bool {
        self.flow(leg) == Direction::Paused
    }

    /// Whether a byte of its server has come.
    pub(in crate::reactor) const fn has_answered(&self) -> bool {
        self.legs.has(Leg::Upstream, Legs::SPOKE)
    }

    /// One has.
    pub(in crate::reactor) const fn note_answer(&mut self) {
        self.legs.mark(Leg::Upstream, Legs::SPOKE);
    }

    /// The server is sent a header of so many bytes first.
    pub(in crate::reactor) fn note_header(&mut self, bytes: usize) {
        self.header_bytes = u16::try_from(bytes).expect("a header has no more than a page");
    }

    /// Whether the server's pending output is its header only: the client has sent nothing yet.
    pub(in crate::reactor) fn is_header_only(&self, pending: usize) -> bool {
        pending == usize::from(self.header_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::conn::Cause;
    use crate::core::end::{Detector, Reason};
    use crate::core::time::{Duration, Span};
    use crate::reactor::parts::cold_pair::Attempt;

    #[test]
    fn a_pair_knows_nothing_of_those_that_were_there_before() {
        let key = |index, generation| Key { index, generation };
        let mut pairs = Pairs::with_capacity(8);
        let cause = |reason| Cause { reason, detector: Detector::ZeroRead };
        for generation in 1..4 {
            let (client, upstream) = (key(0, generation), key(1, generation));
            assert!(pairs.of(client).is_none() && pairs.of(upstream).is_none());
            pairs.open(client, 0, Instant::ZERO);
            pairs.join(client, upstream);
            let reason = if generation == 1 { Reason::PeerReset } else { Reason::PeerFin };
            pairs.times_mut(client).unwrap().connect = Span::from(Duration::from_millis(1)).into();
            pairs.note_cause(client, Leg::Client, cause(reason));
            let cold = pairs.cold_mut(upstream).unwrap();
            assert_eq!(cold.cause, Some((cause(reason), Leg::Client)));
            assert_eq!((cold.lost, cold.traffic), ([0; 2], [(0, 0); 2]));
            assert_eq!((cold.times.connect.get(), cold.times.first_byte.get()), (1000, 0), "they go along");
            cold.lost[0] = 7;
            cold.traffic[0] = (8, 9);
            pairs.times_mut(client).unwrap().first_byte = Span::from(Duration::ZERO).into();
            assert_eq!(pairs.cold(client).unwrap().times.first_byte.get(), 1, "0 would mean: not known");
            pairs.remove(client, Leg::Client);
            let pair = pairs.of(upstream).expect("a leg is left");
            assert_eq!((pair.leg(Leg::Client), pair.name()), (None, client));
            pairs.remove(upstream, Leg::Upstream);
            assert!(pairs.all.is_empty() && pairs.cold.is_empty());
        }
    }

    #[test]
    fn a_look_at_all_pairs_tells_which_servers_they_know() {
        let key = |index| Key { index, generation: 1 };
        let mut pairs = Pairs::with_capacity(8);
        // Waits for its first server; has one; has tried one in vain and has another; has tried one in vain.
        for (index, upstream) in [(0, 3), (1, 0), (2, 0), (3, 5)] {
            pairs.open(key(index), upstream, Instant::ZERO);
        }
        let fail = |pairs: &mut Pairs, index, server| {
            let (reason, took) = (Reason::UpstreamRefused, Duration::ZERO);
            let pair = pairs.of_mut(key(index)).unwrap();
            pair.set_server(server);
            let attempt = Attempt { server: u16::try_from(server).unwrap(), reason, took };
            pairs.cold_mut(key(index)).unwrap().note_failed(attempt);
        };
        pairs.of_mut(key(1)).unwrap().set_server(1);
        fail(&mut pairs, 2, 4);
        pairs.of_mut(key(2)).unwrap().set_server(0);
        fail(&mut pairs, 3, 2);
        let named = pairs.named();
        let upstreams: Vec<_> = (0..7).filter(|&upstream| named.has(upstream)).collect();
        assert_eq!(upstreams, [0, 3, 5]);
        let all = (0..7).flat_map(|upstream| (0..6).map(move |server| (upstream, server)));
        let servers: Vec<_> = all.filter(|&(upstream, server)| named.has_server(upstream, server)).collect();
        assert_eq!(servers, [(0, 0), (0, 1), (0, 4), (5, 2)]);
    }
}
