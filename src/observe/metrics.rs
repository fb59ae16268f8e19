//! Counters of everything that happens, and the metrics that are made of them. `families` describes each metric once,
//! `page` has their values in this process, `series` adds up those of several processes and writes the text for
//! Prometheus, `workers` says what is different there; `histogram` counts times.
//!
//! Counting is an addition to an array; nothing is allocated and nothing is looked up by name until the
//! metrics are asked for. What concerns connections is counted by listener, and sums are over those for clients: who
//! asks at the admin interface is no client.

mod access;
mod families;
mod histogram;
mod page;
mod series;
mod workers;

pub use families::TCP_STATES;
pub use histogram::Histogram;
pub use page::{AuditGauges, CertificateGauges, Gauges, ListenerGauges, Page, ServerGauges, UpstreamGauges};
pub use series::{Ledger, Part, Samples, Series, Snapshot, Text};

use crate::core::conn::State;
use crate::core::conn::liveness::VERDICTS;
use crate::core::end::{Class, CloseMode, Detector, End, Leg, Reason};
use crate::core::time::Span;
use crate::net::HostCounters;
use crate::observe::audit::Anomaly;
use crate::observe::audit::compare::Counts;
use std::fmt::{Display, Write};

/// What is counted since the start.
#[derive(Clone, Debug)]
pub struct Counters {
    /// Turns of the loop.
    pub turns: u64,
    /// How long turns took.
    pub turn_times: Histogram,
    /// Connections that had failed in the accept queue.
    pub accept_aborted: u64,
    /// Times that accepting began to stall.
    pub accept_stalls: u64,
    /// Readiness of connections that were gone.
    pub stale_events: u64,
    /// Connections of the admin interface that made way for others.
    pub admin_made_way: u64,
    /// Commands received.
    pub commands: u64,
    /// Messages posted to subscribers and addressees.
    pub messages: u64,
    /// Times that reading was paused for the sake of output.
    pub pauses: u64,
    /// Heartbeats that we asked for.
    pub pings: u64,
    /// Connections that became suspect.
    pub suspected: u64,
    /// Verdicts that were reported and ended nothing, each in its place.
    pub verdicts_reported: [u64; VERDICTS.len()],
    /// Suspect connections that were heard from again.
    pub revived: u64,
    /// The host's counters, when last looked at.
    pub host_counters: HostCounters,
    /// Audits that came to their end.
    pub audits: u64,
    /// Audits that the kernel did not answer.
    pub audits_failed: u64,
    anomalies: [u64; Anomaly::ALL.len()],
    /// By listener, in their order.
    pub listeners: Vec<ListenerCounters>,
}

/// What is counted of the connections of one listener.
#[derive(Clone, Debug)]
pub struct ListenerCounters {
    /// It is for clients.
    pub clients: bool,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections accepted only to be told that the server is full.
    pub shed: u64,
    /// What came of its guard. None where it asks nothing.
    pub access: Option<Box<AccessCounters>>,
    /// What went through them.
    pub traffic: Traffic,
    /// TLS handshakes that were finished: full ones, and those that resumed a session.
    pub handshakes: [u64; 2],
    /// The connections that were made to upstream servers on their behalf. None where there are no such.
    pub upstream: Option<Box<UpstreamCounters>>,
    reasons: [u64; Reason::ALL.len()],
    detectors: [u64; Detector::ALL.len()],
    closes: [u64; CloseMode::ALL.len()],
    /// How long connections lasted.
    pub lifetimes: Histogram,
    /// How long peers had been silent when it was decided that they are lost or stuck.
    pub silences: Histogram,
}

/// Bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes the kernel took.
    pub bytes_out: u64,
    /// Bytes that we still held when their connection broke or was given up.
    pub bytes_undelivered: u64,
}

/// What came of the guard of a listener: of attempts to log in, and of what clients asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AccessCounters {
    /// What clients asked for and may not do.
    pub denied: u64,
    /// The connection is that user.
    pub accepted: u64,
    /// There is no such user, it is off, or its password is another one.
    pub wrong: u64,
    /// Too many had failed before: not looked at.
    pub refused: u64,
}

/// What is counted of the connections that a listener makes to upstream servers.
#[derive(Clone, Debug)]
pub struct UpstreamCounters {
    /// Connections begun.
    pub attempts: u64,
    /// How long it took to make those that were made.
    pub connect_times: Histogram,
    /// FINs that were forwarded, to either side, before the peer's own had come.
    pub forwarded_fins: u64,
    /// Bytes that went from one leg of a pair to the other within the kernel.
    pub spliced_bytes: u64,
    /// What went through them.
    pub traffic: Traffic,
    reasons: [u64; Reason::ALL.len()],
}

impl Default for UpstreamCounters {
    fn default() -> Self {
        Self {
            attempts: 0,
            connect_times: Histogram::new(&histogram::CONNECTS),
            forwarded_fins: 0,
            spliced_bytes: 0,
            traffic: Traffic::default(),
            reasons: [0; Reason::ALL.len()],
        }
    }
}

impl UpstreamCounters {
    /// Counts an ending.
    pub fn ended(&mut self, end: &End) {
        self.reasons[end.reason as usize] += 1;
        self.traffic.bytes_undelivered += end.unsent_bytes;
    }
}

impl ListenerCounters {
    /// What came of its guard.
    pub fn access(&mut self) -> &mut AccessCounters {
        self.access.get_or_insert_default()
    }

    /// What goes through its connections, or through those that it has made.
    #[inline]
    pub fn traffic(&mut self, leg: Option<Leg>) -> &mut Traffic {
        if leg == Some(Leg::Upstream)
            && let Some(upstream) = &mut self.upstream
        {
            return &mut upstream.traffic;
        }
        &mut self.traffic
    }

    /// A connection to an upstream server is begun.
    pub fn connecting(&mut self) {
        if let Some(upstream) = &mut self.upstream {
            upstream.attempts += 1;
        }
    }

    /// It is there, after so long.
    pub fn connected(&mut self, took: Span) {
        if let Some(upstream) = &mut self.upstream {
            upstream.connect_times.add(took);
        }
    }

    /// It could not even be begun.
    pub fn not_connected(&mut self, reason: Reason) {
        self.connecting();
        if let Some(upstream) = &mut self.upstream {
            upstream.reasons[reason as usize] += 1;
        }
    }

    /// A FIN was forwarded, to either side.
    pub fn forwarded_fin(&mut self) {
        if let Some(upstream) = &mut self.upstream {
            upstream.forwarded_fins += 1;
        }
    }

    /// That many bytes were spliced.
    pub fn spliced(&mut self, bytes: usize) {
        if let Some(upstream) = &mut self.upstream {
            upstream.spliced_bytes += bytes as u64;
        }
    }

    fn new(clients: bool) -> Self {
        Self {
            clients,
            accepted: 0,
            shed: 0,
            access: None,
            traffic: Traffic::default(),
            handshakes: [0; 2],
            upstream: None,
            reasons: [0; Reason::ALL.len()],
            detectors: [0; Detector::ALL.len()],
            closes: [0; CloseMode::ALL.len()],
            lifetimes: Histogram::new(&histogram::LIFETIMES),
            silences: Histogram::new(&histogram::SILENCES),
        }
    }

    /// Counts an ending, of its own connections or of those that it has made.
    #[expect(
        clippy::inline_always,
        reason = "most records are made to be counted: left alone, all of them is written"
    )]
    #[inline(always)]
    pub fn ended(&mut self, end: &End) {
        if let (Some((Leg::Upstream, _)), Some(upstream)) = (end.pair, &mut self.upstream) {
            return upstream.ended(end);
        }
        self.reasons[end.reason as usize] += 1;
        self.detectors[end.detector as usize] += 1;
        self.closes[end.close as usize] += 1;
        self.traffic.bytes_undelivered += end.unsent_bytes;
        self.lifetimes.add(end.age);
        if matches!(end.reason.class(), Class::Lost | Class::Stuck) {
            self.silences.add(end.silence);
        }
    }
}

impl Counters {
    /// Nothing yet. `clients`: of each listener, whether it is for clients.
    pub fn new(clients: impl Iterator<Item = bool>) -> Self {
        Self {
            turns: 0,
            turn_times: Histogram::new(&histogram::TURNS),
            accept_aborted: 0,
            accept_stalls: 0,
            stale_events: 0,
            admin_made_way: 0,
            commands: 0,
            messages: 0,
            pauses: 0,
            pings: 0,
            suspected: 0,
            verdicts_reported: [0; VERDICTS.len()],
            revived: 0,
            host_counters: HostCounters::default(),
            audits: 0,
            audits_failed: 0,
            anomalies: [0; Anomaly::ALL.len()],
            listeners: clients.map(ListenerCounters::new).collect(),
        }
    }

    /// Counts an audit, and what it has found that was not known before.
    pub fn audited(&mut self, fresh: &Counts) {
        self.audits += 1;
        for (sum, count) in self.anomalies.iter_mut().zip(fresh) {
            *sum += u64::from(*count);
        }
    }

    /// Counts a verdict that was reported and ended nothing.
    pub fn verdict_reported(&mut self, reason: Reason) {
        for (count, _) in self.verdicts_reported.iter_mut().zip(VERDICTS).filter(|(_, is)| *is == reason) {
            *count += 1;
        }
    }

    /// The sum over the listeners for clients.
    fn sum(&self, of: impl Fn(&ListenerCounters) -> u64) -> u64 {
        self.listeners.iter().filter(|listener| listener.clients).map(of).sum()
    }

    /// Client connections accepted.
    pub fn accepted(&self) -> u64 {
        self.sum(|listener| listener.accepted)
    }

    /// Clients accepted only to be told that the server is full.
    pub fn shed(&self) -> u64 {
        self.sum(|listener| listener.shed)
    }

    /// Bytes received from clients.
    pub fn bytes_in(&self) -> u64 {
        self.sum(|listener| listener.traffic.bytes_in)
    }

    /// Bytes for clients that the kernel took.
    pub fn bytes_out(&self) -> u64 {
        self.sum(|listener| listener.traffic.bytes_out)
    }

    /// Endings for `reason`.
    pub fn ends(&self, reason: Reason) -> u64 {
        self.sum(|listener| listener.reasons[reason as usize])
    }

    /// All endings.
    pub fn ends_total(&self) -> u64 {
        self.sum(|listener| listener.reasons.iter().sum())
    }

    /// The reasons that occurred, as `reason:count,...`.
    pub fn reasons(&self) -> impl Display {
        let mut text = String::new();
        for &reason in Reason::ALL.iter().filter(|&&reason| self.ends(reason) > 0) {
            let comma = if text.is_empty() { "" } else { "," };
            let _ = write!(text, "{comma}{reason}:{}", self.ends(reason));
        }
        text
    }
}

/// The connections there are, counted when somebody asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Census {
    /// Connections by state, as [`State::NAMES`].
    pub states: [usize; State::NAMES.len()],
    /// Output that waits for peers, in bytes.
    pub pending_bytes: usize,
    /// Connections that are not being read until they have taken output.
    pub paused: usize,
}
