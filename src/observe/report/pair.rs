//! What is said of pairs of connections, and of the servers that they are relayed to.

use super::Report;
use super::limits::Kind;
use crate::core::end::{Leg, Reason};
use crate::core::table::Key;
use crate::core::time::{Duration, Instant};
use crate::core::units::seconds;
use crate::net::{Address, HostName};
use log::{Level, info, log_enabled, warn};
use std::fmt::Write;
use std::net::SocketAddr;

impl Report {
    /// Whether anything is said of pairs that have ended.
    pub fn reports_pairs() -> bool {
        log_enabled!(target: "linger::pair", Level::Info)
    }

    /// A pair of connections is gone.
    pub fn pair_ended(&mut self, end: &PairEnd<'_>, now: Instant) {
        let [from_client, to_server] = end.bytes_up;
        let [from_server, to_client] = end.bytes_down;
        let lost = [from_client.saturating_sub(to_server), from_server.saturating_sub(to_client)];
        let orderly = matches!(end.reason, Reason::PeerFin | Reason::UpstreamFin) && lost == [0; 2];
        let level = if orderly { Level::Debug } else { Level::Info };
        if !log_enabled!(target: "linger::pair", level) || !self.limits.admit(Kind::Pair, now) {
            return;
        }
        let server = end.server.map(Address::to_string).unwrap_or_default();
        let mut failed = String::new();
        for (server, reason, took) in &end.failed {
            let comma = if failed.is_empty() { "" } else { "," };
            let _ = write!(failed, "{comma}{server}:{reason}:{}s", seconds(*took));
        }
        let time = |micros: u32| Duration::from_micros(micros.into()).as_secs_f64();
        log::log!(
            target: "linger::pair", level,
            pair:% = end.pair, listener = end.listener, server = server.as_str(), reason = end.reason.name(),
            by = end.by.name(), attempts_failed = failed.as_str(), connect_s = time(end.connect_us),
            first_byte_s = time(end.first_byte_us), bytes_up = to_server, bytes_down = to_client,
            lost_up = lost[0], lost_down = lost[1];
            "pair"
        );
    }
}

/// A name among the servers of an upstream has other addresses than before.
pub fn upstream_addresses(upstream: &str, name: &HostName, addresses: &[SocketAddr]) {
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    info!(upstream, name:% = name, addresses = addresses.join(","); "upstream_addresses");
}

/// A name among the servers of an upstream could not be looked up, for the first time in a row.
pub fn upstream_not_resolved(upstream: &str, name: &HostName, why: &str) {
    let advice = "what it had stays; a name that never had an address has no servers";
    warn!(upstream, name:% = name, why, advice; "upstream_not_resolved");
}

/// An upstream has more addresses than the most servers it can have, and so many are not used.
pub fn upstream_left_out(upstream: &str, servers_max: usize, left_out: usize) {
    let advice = "name the servers that are to be used, or give the host name fewer addresses";
    warn!(upstream, servers_max, left_out, advice; "upstream_servers_left_out");
}

/// A pair of connections that is gone, for its line in the log.
#[derive(Clone, Debug)]
pub struct PairEnd<'a> {
    /// The key of its client leg.
    pub pair: Key,
    /// The listener that accepted the client.
    pub listener: &'a str,
    /// The server that it was relayed to, or that was tried last.
    pub server: Option<&'a Address>,
    /// Servers that could not be reached before: which, why, and how long that took.
    pub failed: Vec<(&'a Address, Reason, Duration)>,
    /// The first cause of its end.
    pub reason: Reason,
    /// Which leg has brought that about.
    pub by: Leg,
    /// How long the connect took, in microseconds; 0: there was no connection.
    pub connect_us: u32,
    /// How long after the client was accepted the server's first byte came, in microseconds; 0: none came.
    pub first_byte_us: u32,
    /// Bytes received from the client, and those that the kernel took for the server.
    pub bytes_up: [u64; 2],
    /// Bytes received from the server, and those that the kernel took for the client.
    pub bytes_down: [u64; 2],
}
