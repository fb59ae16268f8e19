//! The gateway: the pairs, and the servers behind them.

use super::checks::Checks;
use super::pairs::{Direction, Pairs};
use super::removals::Removals;
use super::servers::NoServer;
use super::upstreams::Upstreams;
use crate::core::conn::Cause;
use crate::core::end::{Detector, Leg, Reason};
use crate::core::table::Key;
use crate::core::time::Instant;
use crate::net::{Peer, Stream};
use crate::protocol::gateway::Upstream;

/// Servers that are tried for one client.
const ATTEMPTS_MAX: usize = 3;

/// The state of all pairs and servers. The legs themselves are connections of the table.
pub(in crate::reactor) struct Gateway<S> {
    pub(in crate::reactor) pairs: Pairs,
    /// The servers.
    pub(in crate::reactor) upstreams: Upstreams,
    /// Checks of servers that are under way.
    pub(in crate::reactor) checks: Checks<S>,
    /// Pairs whose server is no longer in the configuration.
    pub(in crate::reactor) removals: Removals,
}

impl<S: Stream> Gateway<S> {
    /// With room for the pairs of so many slots of the table. `seed`: another number than that of other processes, as far as that can be had.
    pub(in crate::reactor) fn new(slots: usize, upstreams: Upstreams, seed: u64) -> Self {
        Self {
            pairs: Pairs::with_capacity(slots),
            upstreams,
            checks: Checks::new(seed),
            removals: Removals::default(),
        }
    }

    /// The server to try next for a client, and its upstream.
    pub(in crate::reactor) fn choose_server(
        &mut self,
        client: Key,
        peer: &Peer,
        now: Instant,
    ) -> Result<(u16, usize), NoServer> {
        let to = self.pairs.of(client).ok_or(NoServer::AllTried)?.to();
        let cold = self.pairs.cold(client);
        if cold.is_some_and(|cold| cold.failed().len() >= ATTEMPTS_MAX) {
            return Err(NoServer::AllTried);
        }
        let has_tried = |server| cold.is_some_and(|cold| cold.has_tried(server));
        let server = self.upstreams[to].choose(peer, now, has_tried)?;
        Ok((to, server))
    }

    /// Why a client is ended that could not be connected: what became of the last attempt.
    pub(in crate::reactor) fn why_not_reached(&self, client: Key) -> Reason {
        let last = self.pairs.cold(client).and_then(|cold| cold.failed().last());
        last.map_or(Reason::UpstreamUnavailable, |attempt| attempt.reason)
    }

    /// What an upstream leg is connected to.
    pub(in crate::reactor) fn upstream_of(&self, key: Key, leg: Option<Leg>) -> Option<&Upstream> {
        let pair = self.pairs.of(key).filter(|_| leg == Some(Leg::Upstream))?;
        Some(&self.upstreams[pair.to()].settings().is)
    }

    /// Whether a leg is paused for the sake of its partner.
    pub(in crate::reactor) fn waits_for_partner(&self, key: Key, leg: Leg) -> bool {
        self.pairs.of(key).is_some_and(|pair| pair.is_paused(leg))
    }

    /// Whether our FIN went to the peer of a leg before its own had come. The kernel calls such a socket closed once both
    /// have (`net/ipv4/tcp_minisocks.c: tcp_time_wait`), with all that the peer has sent still to be read.
    pub(in crate::reactor) fn has_sent_fin(&self, key: Key, leg: Option<Leg>) -> bool {
        let pair = leg.and_then(|leg| Some((self.pairs.of(key)?, leg)));
        pair.is_some_and(|(pair, leg)| pair.flow(leg.other()) == Direction::Forwarded)
    }

    /// Bytes of a leg have reached its peer: a half-closed pair lives as long as some do.
    pub(in crate::reactor) fn note_moved(&mut self, key: Key, now: Instant) {
        if let Some(pair) = self.pairs.of_mut(key) {
            pair.moved = now;
        }
    }

    /// Counts bytes of a leg that its partner does not get.
    pub(in crate::reactor) fn lose(&mut self, key: Key, leg: Leg, bytes: usize) {
        if let Some(cold) = self.pairs.cold_mut(key) {
            cold.lost[leg as usize] += bytes as u64;
        }
    }

    /// Whether bytes of a leg were lost: its peer sends on, with nobody there to take that.
    pub(in crate::reactor) fn has_lost(&self, key: Key, leg: Leg) -> bool {
        self.pairs.cold(key).is_some_and(|cold| cold.lost[leg as usize] > 0)
    }

    /// Why a pair ends, as a leg is to record it that has no cause of its own yet. It may have brought that about all the
    /// same, by a last word whose FIN has not come.
    pub(in crate::reactor) fn cause_of_pair(&self, key: Key, leg: Option<Leg>) -> Cause {
        match self.pairs.cold(key).and_then(|cold| cold.cause) {
            Some((cause, of)) if leg == Some(of) => cause,
            Some((Cause { reason, .. }, _)) => Cause { reason, detector: Detector::Partner },
            None => Cause { reason: Reason::LocalInternal, detector: Detector::Partner },
        }
    }
}
