//! The kernel's timers, and what else decides how long it takes to see that somebody is gone.

use super::super::{Aim, Host, Judgement};

pub(super) fn orphan_retries(host: &Host, _: &Aim) -> Option<Judgement> {
    let value = host.number("net.ipv4.tcp_orphan_retries", 0)?;
    let set = "sysctl -w net.ipv4.tcp_orphan_retries=0";
    Some(match value {
        // 0 stands for 8 (net/ipv4/tcp_timer.c: tcp_orphan_retries).
        0 | 3..=8 => {
            Judgement::ok(value.to_string(), "0 means 8: output left at a close is retried for about 100 s")
        }
        1 | 2 => Judgement::advice(
            value.to_string(),
            set,
            "a goodbye or an answer that is lost that often right after a close is never sent again",
        ),
        _ => Judgement::advice(
            value.to_string(),
            set,
            "a closed socket whose peer is gone holds memory for minutes",
        ),
    })
}

pub(super) fn retries2(host: &Host, _: &Aim) -> Option<Judgement> {
    let value = host.number("net.ipv4.tcp_retries2", 0)?;
    Some(if value < 8 {
        let why = "below the 100 s that RFC 1122 4.2.3.5 asks for, and for every program of the host; linger's \
                   user_timeout does it for a listener";
        Judgement::advice(value.to_string(), "sysctl -w net.ipv4.tcp_retries2=15", why)
    } else {
        let why =
            "15 is about 15 minutes of retransmissions; linger's user_timeout replaces it on a listener";
        Judgement::ok(value.to_string(), why)
    })
}

pub(super) fn keepalive_time(host: &Host, _: &Aim) -> Option<Judgement> {
    let value = host.number("net.ipv4.tcp_keepalive_time", 0)?;
    let forgotten = host.number("net.netfilter.nf_conntrack_tcp_timeout_established", 0);
    Some(if forgotten.is_some_and(|forgotten| forgotten < value) {
        let why = "the connection tracking of this host forgets an idle connection before the first probe";
        Judgement::advice(value.to_string(), "sysctl -w net.ipv4.tcp_keepalive_time=600", why)
    } else {
        let why = "for programs that turn keepalive on and say no more; linger sets its own on each listener";
        Judgement::ok(value.to_string(), why)
    })
}

pub(super) fn keepalive_interval(host: &Host, _: &Aim) -> Option<Judgement> {
    let value = host.number("net.ipv4.tcp_keepalive_intvl", 0)?;
    Some(Judgement::ok(value.to_string(), "linger sets its own on each listener"))
}

pub(super) fn keepalive_probes(host: &Host, _: &Aim) -> Option<Judgement> {
    let value = host.number("net.ipv4.tcp_keepalive_probes", 0)?;
    Some(if value < 3 {
        let why = "so few lost packets end a healthy connection of every program that relies on it";
        Judgement::advice(value.to_string(), "sysctl -w net.ipv4.tcp_keepalive_probes=9", why)
    } else {
        Judgement::ok(value.to_string(), "linger sets its own on each listener")
    })
}

pub(super) fn conntrack(host: &Host, _: &Aim) -> Option<Judgement> {
    let name = "net.netfilter.nf_conntrack_tcp_timeout_established";
    let value = host.number(name, 0)?;
    // What RFC 5382 REQ-5 asks of those who forget connections: 2 hours and 4 minutes.
    Some(if value < 7_440 {
        let why = "an idle connection that the tracking forgets is cut without a word to either side";
        Judgement::advice(value.to_string(), format!("sysctl -w {name}=432000"), why)
    } else {
        Judgement::ok(value.to_string(), "longer than anybody here is silent")
    })
}

pub(super) fn timestamps(host: &Host, _: &Aim) -> Option<Judgement> {
    let value = host.number("net.ipv4.tcp_timestamps", 0)?;
    Some(if value == 0 {
        let why = "without them SYN cookies lose window scaling, and a client's port in TIME_WAIT is harder to reuse";
        Judgement::advice("0", "sysctl -w net.ipv4.tcp_timestamps=1", why)
    } else {
        Judgement::ok(value.to_string(), "SYN cookies keep a client's options")
    })
}

pub(super) fn congestion(host: &Host, _: &Aim) -> Option<Judgement> {
    let value = host.sysctl("net.ipv4.tcp_congestion_control")?;
    let why = "a matter of the network; two servers are compared under the same one";
    Some(Judgement::ok(value, why))
}
