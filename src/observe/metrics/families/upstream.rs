//! Metrics of the connections to upstream servers.

use super::super::page::{Family, all, servers, upstream};
use crate::core::health::Outcome;

pub(super) const CONNECTS_TOTAL: Family = upstream(
    "linger_upstream_connects_total",
    "counter",
    "Connections to upstream servers that were begun.",
    |lines, counters, gauges| lines.add_of(gauges, &[], counters.attempts),
);

pub(super) const CONNECT_SECONDS: Family = upstream(
    "linger_upstream_connect_seconds",
    "histogram",
    "How long it took to connect to an upstream server, where that succeeded.",
    |lines, counters, gauges| lines.histogram(&[("listener", &gauges.name)], &counters.connect_times),
);

pub(super) const ENDS_TOTAL: Family = upstream(
    "linger_upstream_ends_total",
    "counter",
    "Connections to upstream servers that ended, or could not be made, by reason.",
    |lines, counters, gauges| lines.add_reasons(gauges, &counters.reasons),
);

pub(super) const CONNECTIONS: Family = all(
    "linger_upstream_connections",
    "gauge",
    "Connections to an upstream server, those that are being made among them.",
    |lines, _, gauges| {
        servers(gauges).for_each(|(labels, server)| lines.add(&labels, server.connections));
    },
);

pub(super) const UP: Family = all(
    "linger_upstream_up",
    "gauge",
    "1 while an upstream server is up, as its checks and its clients find it, and the operator has not taken it out.",
    |lines, _, gauges| {
        for (labels, server) in servers(gauges) {
            if let Some(in_service) = server.in_service {
                lines.add(&labels, u8::from(in_service));
            }
        }
    },
);

pub(super) const STATE_CHANGES_TOTAL: Family = all(
    "linger_upstream_state_changes_total",
    "counter",
    "Times that an upstream server came up or went down.",
    |lines, _, gauges| servers(gauges).for_each(|(labels, server)| lines.add(&labels, server.changes)),
);

pub(super) const CHECKS_TOTAL: Family = all(
    "linger_upstream_checks_total",
    "counter",
    "Checks of upstream servers, by what came of them.",
    |lines, _, gauges| {
        for ([upstream, address], server) in servers(gauges) {
            for (outcome, count) in Outcome::ALL.iter().zip(server.checks.iter().flatten()) {
                lines.add(&[upstream, address, ("result", outcome.name())], count);
            }
        }
    },
);

pub(super) const RESOLVE_FAILURES_TOTAL: Family = all(
    "linger_upstream_resolve_failures_total",
    "counter",
    "Host names of upstream servers that could not be looked up again, and kept the addresses that they had.",
    |lines, _, gauges| {
        for upstream in &gauges.upstreams {
            if let Some(failures) = upstream.resolve_failures {
                lines.add(&[("upstream", &upstream.name)], failures);
            }
        }
    },
);

pub(super) const RECEIVED_BYTES_TOTAL: Family = upstream(
    "linger_upstream_received_bytes_total",
    "counter",
    "Bytes received from upstream servers.",
    |lines, counters, gauges| lines.add_of(gauges, &[], counters.traffic.bytes_in),
);

pub(super) const SENT_BYTES_TOTAL: Family = upstream(
    "linger_upstream_sent_bytes_total",
    "counter",
    "Bytes for upstream servers that the kernel took.",
    |lines, counters, gauges| lines.add_of(gauges, &[], counters.traffic.bytes_out),
);

pub(super) const UNDELIVERED_BYTES_TOTAL: Family = upstream(
    "linger_upstream_undelivered_bytes_total",
    "counter",
    "Bytes for upstream servers that none of them was sent.",
    |lines, counters, gauges| lines.add_of(gauges, &[], counters.traffic.bytes_undelivered),
);

pub(super) const SPLICED_BYTES_TOTAL: Family = upstream(
    "linger_upstream_spliced_bytes_total",
    "counter",
    "Bytes that went from a client to its server, or back, within the kernel, without being copied.",
    |lines, counters, gauges| lines.add_of(gauges, &[], counters.spliced_bytes),
);

/// Each of them leaves a TIME_WAIT here once the peer's own FIN has come.
pub(super) const FORWARDED_FINS_TOTAL: Family = upstream(
    "linger_forwarded_fins_total",
    "counter",
    "FINs forwarded to one side of a pair while the other direction lived on.",
    |lines, counters, gauges| lines.add_of(gauges, &[], counters.forwarded_fins),
);
