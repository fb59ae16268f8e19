//! What has gone wrong since the host, or its network namespace, has been up.

use super::super::{Aim, Host, Judgement};

fn counted(host: &Host, name: &str, why: &str, fine: &str) -> Option<Judgement> {
    let value = *host.counters.get(name)?;
    Some(if value > 0 { Judgement::advice(value.to_string(), "", why) } else { Judgement::ok("0", fine) })
}

pub(super) fn overflows(host: &Host, _: &Aim) -> Option<Judgement> {
    let why =
        "so often an accept queue was full: those clients waited, or believed to be connected and were not";
    counted(host, "TcpExt.ListenOverflows", why, "no accept queue was ever full")
}

pub(super) fn listen_drops(host: &Host, _: &Aim) -> Option<Judgement> {
    let why = "connection attempts dropped at a listener for any reason, a full accept queue among them";
    counted(host, "TcpExt.ListenDrops", why, "no connection attempt was dropped")
}

pub(super) fn request_drops(host: &Host, _: &Aim) -> Option<Judgement> {
    let why = "half-open connections filled a queue while SYN cookies were off";
    counted(host, "TcpExt.TCPReqQFullDrop", why, "half-open connections never filled a queue")
}

pub(super) fn time_waits(host: &Host, _: &Aim) -> Option<Judgement> {
    let ended = *host.counters.get("TcpExt.TW")?;
    let now = host.sockets.get("TCP.tw").copied().unwrap_or(0);
    let value = format!("{ended} ended so far, {now} now");
    let bound = host.number("net.ipv4.tcp_max_tw_buckets", 0);
    Some(if bound.is_some_and(|bound| bound > 0 && now > bound / 2) {
        let why = "somebody here closes first, and much: find out who by `ss -tan state time-wait`";
        Judgement::advice(value, "", why)
    } else {
        Judgement::ok(
            value,
            "256 bytes each, for 60 s: they belong to the side that closes first, which linger does not",
        )
    })
}

pub(super) fn time_wait_overflow(host: &Host, _: &Aim) -> Option<Judgement> {
    let why =
        "TIME_WAITs beyond tcp_max_tw_buckets: late packets of those connections met nobody who knew them";
    counted(host, "TcpExt.TCPTimeWaitOverflow", why, "every TIME_WAIT found room")
}

pub(super) fn aborted(host: &Host, _: &Aim) -> Option<Judgement> {
    let why = "connections were reset for lack of memory, or because there were too many orphans";
    counted(host, "TcpExt.TCPAbortOnMemory", why, "no connection was reset for lack of memory")
}

pub(super) fn pruned(host: &Host, _: &Aim) -> Option<Judgement> {
    let why = "so often a receive queue was squeezed for lack of memory: readers are too slow, or tcp_mem too small";
    counted(host, "TcpExt.PruneCalled", why, "no receive queue was squeezed for lack of memory")
}
