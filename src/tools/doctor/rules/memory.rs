//! Memory: what a connection takes of the host's, of its control group's and of the kernel's own bounds.

use super::super::{Aim, Host, Judgement};
use crate::core::units::{bytes, thousands};

/// An idle connection in the kernel, with its inode, file, dentry and epoll item: measured, 1,000,000 held;
/// `src/tools/doctor/tests.rs: a_connection_takes_no_more_than_is_reckoned` has its parts.
pub(in crate::tools::doctor) const SLAB: u64 = 4_800;

/// And in linger: 240 bytes for one with an identity.
const OURS: u64 = 240;

/// The unit of `tcp_mem` and of what a queue takes at least: a page (`SK_MEM_QUANTUM`).
const PAGE: u64 = 4_096;

/// Idle, with nothing queued.
fn idle(aim: &Aim) -> u64 {
    aim.held().saturating_mul(SLAB + OURS)
}

/// Each with something queued in both directions.
fn busy(aim: &Aim) -> u64 {
    idle(aim).saturating_add(aim.held().saturating_mul(2 * PAGE))
}

fn against(available: u64, of: &str, set: &str, aim: &Aim) -> Judgement {
    let (idle, busy, value) = (idle(aim), busy(aim), bytes(available));
    if idle > available {
        let why =
            format!("that many connections take {} before one byte is sent, more than {of}", bytes(idle));
        Judgement::harm(value, set, why)
    } else if busy > available {
        let why = format!(
            "idle, that many connections take {}; with a page queued each way {}, more than {of}",
            bytes(idle),
            bytes(busy)
        );
        Judgement::advice(value, set, why)
    } else {
        let why =
            format!("that many connections take {}, and {} while all are busy", bytes(idle), bytes(busy));
        Judgement::ok(value, why)
    }
}

pub(super) fn host(host: &Host, aim: &Aim) -> Option<Judgement> {
    Some(against(*host.memory.get("MemAvailable")?, "is available", "", aim))
}

pub(super) fn group(host: &Host, aim: &Aim) -> Option<Judgement> {
    let set = format!("MemoryMax={}M  # [Service] of the systemd unit", busy(aim).saturating_mul(2) >> 20);
    Some(against(host.memory_bound?, "the control group may have; its sockets count", &set, aim))
}

pub(super) fn tcp_mem(host: &Host, aim: &Aim) -> Option<Judgement> {
    let [low, pressure, max] = [0, 1, 2].map(|place| host.number("net.ipv4.tcp_mem", place));
    let (low, pressure, max) = (low?, pressure?, max?);
    let used = host.sockets.get("TCP.mem").copied().unwrap_or(0);
    // An idle connection takes none of it; a queue takes whole pages.
    let wanted = aim.connections.saturating_mul(2).saturating_add(used);
    let value = format!("{low} {pressure} {max} pages, {used} in use");
    let set = format!(
        "sysctl -w net.ipv4.tcp_mem=\"{wanted} {} {}\"",
        (wanted / 3).saturating_mul(4),
        wanted.saturating_mul(2)
    );
    Some(if wanted > max {
        let why = format!(
            "with one page queued each way, {} connections need {} pages: over the top, sends fail and orphans are cut",
            thousands(aim.connections),
            thousands(wanted)
        );
        Judgement::harm(value, set, why)
    } else if used > pressure || wanted > pressure {
        let why = format!(
            "with one page queued each way it is {} pages: under pressure, windows shrink for everyone",
            thousands(wanted)
        );
        Judgement::advice(value, set, why)
    } else {
        Judgement::ok(value, "idle connections take none of it, and there is a page each way for all of them")
    })
}

/// Above the kernel's own defaults (131,072 and 16,384) by far, and yet not a mistake of a digit.
const BUFFER_DEFAULT_MAX: u64 = 1 << 20;

fn buffer(host: &Host, name: &str, usual: &str, which: &str) -> Option<Judgement> {
    let (default, max) = (host.number(name, 1)?, host.number(name, 2)?);
    let value = host.sysctl(name)?.to_owned();
    let set = format!("sysctl -w {name}=\"{usual} {max}\"");
    Some(if default > BUFFER_DEFAULT_MAX {
        let why = format!(
            "the middle one is where each {which} starts: {} may pile up for a single client, and buffers grow by \
             themselves where it pays",
            bytes(default)
        );
        Judgement::advice(value, set, why)
    } else {
        Judgement::ok(value, "buffers hold what is queued and no more, and grow by themselves where it pays")
    })
}

pub(super) fn receive_buffer(host: &Host, _: &Aim) -> Option<Judgement> {
    buffer(host, "net.ipv4.tcp_rmem", "4096 131072", "receive buffer")
}

pub(super) fn send_buffer(host: &Host, _: &Aim) -> Option<Judgement> {
    buffer(host, "net.ipv4.tcp_wmem", "4096 16384", "send buffer")
}

pub(super) fn orphans(host: &Host, aim: &Aim) -> Option<Judgement> {
    let max = host.number("net.ipv4.tcp_max_orphans", 0)?;
    let now = host.sockets.get("TCP.orphan").copied().unwrap_or(0);
    let value = format!("{max}, {now} now");
    let set = format!("sysctl -w net.ipv4.tcp_max_orphans={}", aim.connections.saturating_mul(2));
    // net/ipv4/tcp_timer.c: tcp_out_of_resources counts an orphan twice that has much queued.
    Some(if now > max / 2 {
        let why = "sockets that were closed with output unacknowledged are near the bound, above which they are reset";
        Judgement::harm(value, set, why)
    } else if max < aim.connections.saturating_mul(2) {
        let why = "when all are closed at once, each is an orphan until its FIN is acknowledged; above the bound they \
                   are reset, and what was queued is lost";
        Judgement::advice(value, set, why)
    } else {
        Judgement::ok(value, "all connections may be closed at once")
    })
}
