//! One upstream server: where it is, how much of the work it is given, how it is, and what came of connecting to it.

use super::balance::{fnv1a, share};
use super::checks::CheckLog;
use crate::core::end::Reason;
use crate::core::health::{Health, Place, Rules, Word};
use crate::core::time::{Duration, Instant};
use crate::net::{Address, Peer};
use crate::observe::metrics::ServerGauges;
use crate::protocol::gateway::ServerSpec;

/// One of them.
#[derive(Debug)]
pub(in crate::reactor) struct Server {
    pub(super) address: Address,
    /// Its address as a number, for [`height`].
    pub(super) hash: u64,
    pub(super) weight: u32,
    /// Most connections to it at once.
    pub(super) connections_max: Option<u32>,
    /// What the connections to it show as their peer.
    peer: Peer,
    /// A connection to it can turn out to be one to itself.
    pub(super) could_be_own_peer: bool,
    /// Connections to it, those that are being made among them.
    pub(super) connections: u32,
    pub(super) health: Health,
    pub(in crate::reactor) checks: CheckLog,
    /// Connections that were begun on behalf of clients, and those that came to nothing, by reason.
    pub(super) attempts: u64,
    pub(super) failed: Vec<(Reason, u64)>,
    /// When it began to be used, or to be used again; `None`: it was there from the start of its upstream.
    pub(super) began: Option<Instant>,
    /// What it is ahead of the others, where they take turns.
    pub(super) turn: i64,
    /// It is no longer in the configuration: it keeps what it has, and gets nothing more.
    pub(super) retired: bool,
}

impl Server {
    pub(super) fn new(
        (address, spec): (Address, &ServerSpec),
        could_be_own_peer: bool,
        began: Option<Instant>,
    ) -> Self {
        let peer = match &address {
            Address::Tcp { socket, .. } => Peer::new(*socket),
            Address::Unix(_) => Peer::UNIX,
        };
        Self {
            hash: fnv1a(address.to_string().as_bytes()),
            address,
            peer,
            could_be_own_peer,
            weight: spec.weight,
            connections_max: spec.connections_max,
            connections: 0,
            health: Health::new(began.unwrap_or(Instant::ZERO)),
            checks: CheckLog::default(),
            attempts: 0,
            failed: Vec::new(),
            began,
            turn: 0,
            retired: false,
        }
    }

    /// Where it is.
    pub(in crate::reactor) const fn address(&self) -> &Address {
        &self.address
    }

    /// What the connections to it show as their peer.
    pub(in crate::reactor) const fn peer(&self) -> Peer {
        self.peer
    }

    /// Whether a connection to it can turn out to be one to itself.
    pub(in crate::reactor) const fn could_be_own_peer(&self) -> bool {
        self.could_be_own_peer
    }

    /// Connections to it, those that are being made among them.
    pub(in crate::reactor) const fn connections(&self) -> u32 {
        self.connections
    }

    /// Where it stands in the line of those that may get a new connection. The one place that decides it.
    /// `awaits`: it is not clear yet what is in the configuration.
    pub(super) fn place(&self, rules: &Rules, awaits: bool, now: Instant) -> Place {
        match self.health.place(rules, now) {
            Place::First | Place::Last if self.retired && awaits => Place::Last,
            Place::First | Place::Last if self.retired => Place::Out,
            place @ (Place::First | Place::Last | Place::Out) => place,
        }
    }

    /// How it is, as far as was seen, and what the operator says.
    pub(in crate::reactor) const fn health(&self) -> &Health {
        &self.health
    }

    /// Whether it is in the configuration.
    pub(in crate::reactor) const fn is_configured(&self) -> bool {
        !self.retired
    }

    /// Whether it is checked, where servers are.
    pub(in crate::reactor) fn is_to_be_checked(&self) -> bool {
        !self.retired && self.health.word() != Word::Down
    }

    /// How much of the work it is given, beside the others.
    pub(in crate::reactor) const fn weight(&self) -> u32 {
        self.weight
    }

    /// Connections that were begun on behalf of clients.
    pub(in crate::reactor) const fn attempts(&self) -> u64 {
        self.attempts
    }

    /// Those that came to nothing, by reason.
    pub(in crate::reactor) fn failed(&self) -> &[(Reason, u64)] {
        &self.failed
    }

    /// What the metrics show of it.
    pub(in crate::reactor) fn gauges(&self) -> ServerGauges {
        ServerGauges {
            address: self.address.to_string(),
            connections: self.connections,
            in_service: (!self.retired).then(|| self.health.is_in_service()),
            changes: self.health.changes(),
            checks: self.checks.last.map(|_| self.checks.outcomes),
        }
    }

    /// Whether it has as many connections as it may.
    pub(in crate::reactor) fn is_full(&self) -> bool {
        self.connections_max.is_some_and(|max| self.connections >= max)
    }

    /// Its share of new connections.
    pub(super) fn share(&self, slow_start: Option<Duration>, now: Instant) -> u32 {
        share(self.weight, self.began.zip(slow_start), now)
    }
}
