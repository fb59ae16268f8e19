//! Pairs of connections: a client, and the upstream server that it is relayed to. A pair has the keys of both its legs;
//! neither leg owns the other.
//!
//! Pairs are kept beside the table, so that a connection without a partner pays nothing for them.

use crate::core::conn::Cause;
use crate::core::end::{Leg, Reason};
use crate::core::table::Key;
use crate::core::time::{Duration, Instant};
use slab::Slab;

/// The pairs.
#[derive(Debug)]
pub(in crate::reactor) struct Pairs {
    /// The pair of the connection in each slot of the table; [`NONE`] where there is none.
    of_slot: Vec<u32>,
    all: Slab<Pair>,
    /// For those that end next: each of them needs one, for a moment.
    #[expect(clippy::vec_box, reason = "the boxes go to pairs, which have no room for more than a pointer")]
    spare: Vec<Box<ColdPair>>,
}

/// Spare ones at most: as many as end in a turn that is not crowded.
const SPARE_MAX: usize = 256;

const NONE: u32 = u32::MAX;

/// One pair.
#[derive(Debug)]
pub(in crate::reactor) struct Pair {
    /// The key of the client leg, which names the pair, also when that leg is gone.
    client: Key,
    /// The key of the upstream leg; [`NO_KEY`] before there is one, and when it is gone.
    upstream: Key,
    /// Which upstream its servers are of.
    to: u16,
    /// Which of them it is connected to, or has tried last; [`NO_SERVER`] before.
    server: u16,
    pub(in crate::reactor) stage: Stage,
    flows: Flows,
    /// When bytes last went through it, or began to.
    pub(in crate::reactor) moved: Instant,
    /// How long the connect took, and how long after the client was accepted the server's first byte came, in microseconds;
    /// 0: not yet.
    pub(in crate::reactor) connect_us: u32,
    pub(in crate::reactor) first_byte_us: u32,
    /// Bytes of the header that the server is sent first.
    header_bytes: u16,
    cold: Option<Box<ColdPair>>,
}

// Beside its two connections and their slots here, an idle pair has nothing else.
const _: () = assert!(size_of::<Pair>() <= 48);

const NO_SERVER: u16 = u16::MAX;
/// In the place of the key of a leg that is not there.
const NO_KEY: Key = Key { index: 0, generation: 0 };

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

/// The states of both directions, in half a byte each: there may be very many pairs.
#[derive(Clone, Copy, Debug)]
struct Flows(u8);

impl Flows {
    /// Neither is read.
    const PAUSED: Self = Self((Direction::Paused as u8) << 4 | Direction::Paused as u8);

    const fn of(self, leg: Leg) -> Direction {
        const ALL: [Direction; 4] =
            [Direction::Open, Direction::Paused, Direction::Finished, Direction::Forwarded];
        ALL[(self.0 >> Self::shift(leg) & 3) as usize]
    }

    const fn set(&mut self, leg: Leg, flow: Direction) {
        self.0 = self.0 & !(3 << Self::shift(leg)) | (flow as u8) << Self::shift(leg);
    }

    const fn shift(leg: Leg) -> u32 {
        4 * leg as u32
    }
}

/// State that only few pairs need, and each that ends.
#[derive(Debug, Default)]
pub(in crate::reactor) struct ColdPair {
    /// The client leg is gone.
    client_is_gone: bool,
    /// Legs whose TLS stream ended without `close_notify`.
    truncated: [bool; 2],
    /// Attempts to connect that failed.
    pub(in crate::reactor) failed: Vec<Attempt>,
    /// Output for a server that could not be reached: for the next one.
    pub(in crate::reactor) carried: Vec<u8>,
    /// What the client has sent before the server's layer was open.
    pub(in crate::reactor) early: Vec<u8>,
    /// Why it ends, and which leg caused that. The first cause wins.
    cause: Option<(Cause, Leg)>,
    /// Bytes that each leg has sent and its partner did not get.
    lost: [u64; 2],
    /// Bytes received and sent by each leg that is gone.
    traffic: [(u64, u64); 2],
}

/// An attempt to connect that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::reactor) struct Attempt {
    pub(in crate::reactor) server: u16,
    pub(in crate::reactor) reason: Reason,
    pub(in crate::reactor) took: Duration,
}

impl Pairs {
    /// None, with room for those of so many slots of the table: memory that is never used is never there.
    pub(in crate::reactor) fn with_capacity(slots: usize) -> Self {
        Self { of_slot: Vec::with_capacity(slots), all: Slab::with_capacity(slots / 2), spare: Vec::new() }
    }

    /// A client has come that is to be relayed, to a server of that upstream.
    pub(in crate::reactor) fn open(&mut self, client: Key, to: u16, now: Instant) {
        let index = self.all.insert(Pair {
            client,
            upstream: NO_KEY,
            to,
            server: NO_SERVER,
            stage: Stage::Connecting,
            flows: Flows::PAUSED,
            moved: now,
            connect_us: 0,
            first_byte_us: 0,
            header_bytes: 0,
            cold: None,
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
            self.of_slot.resize(slot + 1, NONE);
        }
        self.of_slot[slot] = u32::try_from(index).expect("connections are fewer than 2^32");
    }

    /// Where the pair of a connection is; [`NONE`], where never is one, if it has none.
    fn index(&self, key: Key) -> usize {
        self.of_slot.get(key.index as usize).copied().unwrap_or(NONE) as usize
    }

    /// The pair that a connection is a leg of.
    pub(in crate::reactor) fn of(&self, key: Key) -> Option<&Pair> {
        self.all.get(self.index(key))
    }

    /// The same, to change it.
    pub(in crate::reactor) fn of_mut(&mut self, key: Key) -> Option<&mut Pair> {
        self.all.get_mut(self.index(key))
    }

    /// A leg begins to end. The first cause is that of the pair, which is given.
    pub(in crate::reactor) fn note_cause(&mut self, key: Key, leg: Leg, cause: Cause) -> Option<&mut Pair> {
        let pair = self.all.get_mut(self.index(key))?;
        let cold = pair.cold.get_or_insert_with(|| self.spare.pop().unwrap_or_default());
        cold.cause.get_or_insert((cause, leg));
        Some(pair)
    }

    /// A pair is gone, and was reported: its cold state is kept for the next pair that ends.
    pub(in crate::reactor) fn recycle(&mut self, pair: Pair) {
        if let Some(mut cold) = pair.cold
            && self.spare.len() < SPARE_MAX
        {
            *cold = ColdPair::default();
            self.spare.push(cold);
        }
    }

    /// A leg is gone. Gives the pair when it was the last.
    pub(in crate::reactor) fn remove(&mut self, key: Key, leg: Leg) -> Option<Pair> {
        let index = self.index(key);
        let pair = self.all.get_mut(index)?;
        self.of_slot[key.index as usize] = NONE;
        match leg {
            Leg::Client => pair.cold().client_is_gone = true,
            Leg::Upstream => pair.upstream = NO_KEY,
        }
        let is_last = !pair.has_client() && pair.upstream == NO_KEY;
        is_last.then(|| self.all.remove(index))
    }

    /// All of them.
    pub(in crate::reactor) fn iter(&self) -> impl Iterator<Item = &Pair> {
        self.all.iter().map(|(_, pair)| pair)
    }

    /// Which upstreams and servers pairs refer to, found in one walk over all pairs.
    pub(in crate::reactor) fn named(&self) -> NamedServers {
        let mut named = NamedServers::default();
        for pair in self.iter() {
            let servers = named.add(pair.to);
            for server in pair.failed().iter().map(|attempt| attempt.server).chain(pair.tried()) {
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

    fn has_client(&self) -> bool {
        self.cold.as_ref().is_none_or(|cold| !cold.client_is_gone)
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
        self.flows.of(leg)
    }

    /// Sets that.
    pub(in crate::reactor) const fn set_flow(&mut self, leg: Leg, flow: Direction) {
        self.flows.set(leg, flow);
    }

    /// Whether a leg sends nothing more.
    pub(in crate::reactor) fn is_finished(&self, leg: Leg) -> bool {
        self.leg(leg).is_none() || matches!(self.flow(leg), Direction::Finished | Direction::Forwarded)
    }

    /// Whether a leg is not read because it waits for its partner.
    pub(in crate::reactor) fn is_paused(&self, leg: Leg) -> bool {
        self.flow(leg) == Direction::Paused
    }

    /// Why it ends, and which leg caused that.
    pub(in crate::reactor) fn cause(&self) -> Option<(Cause, Leg)> {
        self.cold.as_ref().and_then(|cold| cold.cause)
    }

    /// Counts bytes of a leg that its partner does not get.
    pub(in crate::reactor) fn lose(&mut self, leg: Leg, bytes: usize) {
        self.cold().lost[leg as usize] += bytes as u64;
    }

    /// How many those are.
    pub(in crate::reactor) fn lost(&self, leg: Leg) -> u64 {
        self.cold.as_ref().map_or(0, |cold| cold.lost[leg as usize])
    }

    /// A leg that was connected is gone, and had received and sent so many bytes.
    pub(in crate::reactor) fn note_traffic(&mut self, leg: Leg, bytes_in: u64, bytes_out: u64) {
        self.cold().traffic[leg as usize] = (bytes_in, bytes_out);
    }

    /// The stream of a leg has ended without the word that nothing follows.
    pub(in crate::reactor) fn note_truncated(&mut self, leg: Leg) {
        self.cold().truncated[leg as usize] = true;
    }

    /// Whether it has.
    pub(in crate::reactor) fn is_truncated(&self, leg: Leg) -> bool {
        self.cold.as_ref().is_some_and(|cold| cold.truncated[leg as usize])
    }

    /// What a leg that is gone had received and sent.
    pub(in crate::reactor) fn traffic(&self, leg: Leg) -> (u64, u64) {
        self.cold.as_ref().map_or((0, 0), |cold| cold.traffic[leg as usize])
    }

    /// Its cold state, made if need be.
    pub(in crate::reactor) fn cold(&mut self) -> &mut ColdPair {
        self.cold.get_or_insert_default()
    }

    /// What a server would have been sent that could not be reached, if that was something.
    pub(in crate::reactor) fn take_carried(&mut self) -> Option<Vec<u8>> {
        let carried = std::mem::take(&mut self.cold.as_mut()?.carried);
        (!carried.is_empty()).then_some(carried)
    }

    /// What the client has sent while its server, or the layer of it, was not open, if that was something.
    pub(in crate::reactor) fn take_early(&mut self) -> Option<Vec<u8>> {
        let early = std::mem::take(&mut self.cold.as_mut()?.early);
        (!early.is_empty()).then_some(early)
    }

    /// Whether there is such.
    pub(in crate::reactor) fn has_early(&self) -> bool {
        self.cold.as_ref().is_some_and(|cold| !cold.early.is_empty())
    }

    /// The server is sent a header of so many bytes first.
    pub(in crate::reactor) fn note_header(&mut self, bytes: usize) {
        self.header_bytes = u16::try_from(bytes).expect("a header has no more than a page");
    }

    /// Whether the server's pending output is its header only: the client has sent nothing yet.
    pub(in crate::reactor) fn is_header_only(&self, pending: usize) -> bool {
        pending == usize::from(self.header_bytes)
    }

    /// Whether connecting to a server has failed.
    pub(in crate::reactor) fn has_tried(&self, server: usize) -> bool {
        self.failed().iter().any(|attempt| usize::from(attempt.server) == server)
    }

    /// Attempts to connect that came to nothing.
    pub(in crate::reactor) fn failed(&self) -> &[Attempt] {
        self.cold.as_ref().map_or(&[], |cold| &cold.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::end::Detector;

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
            let pair = pairs.note_cause(client, Leg::Client, cause(reason)).unwrap();
            assert_eq!(pair.cause(), Some((cause(reason), Leg::Client)));
            assert_eq!((pair.lost(Leg::Client), pair.traffic(Leg::Client)), (0, (0, 0)));
            pair.lose(Leg::Client, 7);
            pair.note_traffic(Leg::Client, 8, 9);
            assert!(pairs.remove(client, Leg::Client).is_none(), "a leg is left");
            let pair = pairs.remove(upstream, Leg::Upstream).unwrap();
            pairs.recycle(pair);
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
            pair.cold().failed.push(Attempt { server: u16::try_from(server).unwrap(), reason, took });
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
