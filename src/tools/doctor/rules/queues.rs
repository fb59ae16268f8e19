//! Queues in which connections and packets wait before the server sees them.

use super::super::{Aim, Host, Judgement};
use crate::core::units::thousands;

pub(super) fn somaxconn(host: &Host, aim: &Aim) -> Option<Judgement> {
    let value = host.number("net.core.somaxconn", 0)?;
    Some(if value < aim.backlog {
        let why = format!(
            "the listeners ask for a queue of {} and silently get this; in a reconnect storm the rest is dropped. \
             A listener takes a new value when it is opened again",
            thousands(aim.backlog)
        );
        Judgement::harm(value.to_string(), format!("sysctl -w net.core.somaxconn={}", aim.backlog), why)
    } else {
        Judgement::ok(value.to_string(), "the listeners get the accept queue that they ask for")
    })
}

pub(super) fn syncookies(host: &Host, _: &Aim) -> Option<Judgement> {
    let value = host.number("net.ipv4.tcp_syncookies", 0)?;
    let set = "sysctl -w net.ipv4.tcp_syncookies=1";
    Some(match value {
        0 => Judgement::harm(
            "0",
            set,
            "once half-open connections fill the queue, each further client is dropped",
        ),
        1 => Judgement::ok("1", "a flood of SYNs costs no memory, and cookies are used only then"),
        _ => Judgement::advice(
            value.to_string(),
            set,
            "cookies at all times are for testing: what they cannot encode of a client's options is lost",
        ),
    })
}

pub(super) fn syn_backlog(host: &Host, aim: &Aim) -> Option<Judgement> {
    let value = host.number("net.ipv4.tcp_max_syn_backlog", 0)?;
    let without_cookies = host.number("net.ipv4.tcp_syncookies", 0) == Some(0);
    Some(if without_cookies && value < aim.backlog {
        let why = "without SYN cookies it bounds the half-open connections of a listener, below the backlog asked for";
        let set = format!("sysctl -w net.ipv4.tcp_max_syn_backlog={}", aim.backlog);
        Judgement::advice(value.to_string(), set, why)
    } else {
        Judgement::ok(
            value.to_string(),
            "with SYN cookies it is the backlog that bounds half-open connections",
        )
    })
}

/// A million loopback connections closed at once overran a queue of 1000; a tenth of that is where to begin.
const NETDEV_CONNECTIONS: u64 = 100_000;
const NETDEV_BACKLOG: u64 = 10_000;

pub(super) fn netdev(host: &Host, aim: &Aim) -> Option<Judgement> {
    let backlog = host.number("net.core.netdev_max_backlog", 0)?;
    let dropped = host.backlog_drops.unwrap_or(0);
    let value = format!("{backlog}, {dropped} packets dropped so far");
    let set =
        format!("sysctl -w net.core.netdev_max_backlog={}", NETDEV_BACKLOG.max(backlog.saturating_mul(2)));
    Some(if dropped > 0 {
        Judgement::advice(value, set, "packets came in faster than they were taken, and were dropped")
    } else if backlog < NETDEV_BACKLOG && aim.connections >= NETDEV_CONNECTIONS {
        let why = "when that many connections close at once, FINs are dropped here and retransmitted";
        Judgement::advice(value, set, why)
    } else {
        Judgement::ok(value, "packets that wait for a processor")
    })
}

pub(super) fn conntrack(host: &Host, aim: &Aim) -> Option<Judgement> {
    let max = host.number("net.netfilter.nf_conntrack_max", 0)?;
    let count = host.number("net.netfilter.nf_conntrack_count", 0).unwrap_or(0);
    let needed = aim.connections.saturating_add(count);
    let value = format!("{max}, {count} in use");
    let set = format!("sysctl -w net.netfilter.nf_conntrack_max={}", needed.saturating_mul(2));
    Some(if max >= needed {
        Judgement::ok(value, "there is an entry for each connection")
    } else if count == 0 {
        let why = "the table is smaller than the aim, though empty: as yet, no rule here tracks connections";
        Judgement::advice(value, set, why)
    } else {
        let why =
            "each tracked connection is an entry; when the table is full, new clients' packets are dropped";
        Judgement::harm(value, set, why)
    })
}

pub(super) fn migrate(host: &Host, _: &Aim) -> Option<Judgement> {
    let value = host.number("net.ipv4.tcp_migrate_req", 0)?;
    let why =
        "it matters to SO_REUSEPORT groups, which linger does not use: it empties its queue before it closes";
    Some(Judgement::ok(value.to_string(), why))
}
