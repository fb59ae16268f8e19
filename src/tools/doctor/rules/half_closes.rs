//! Half-closes that a gateway forwards: each leaves a TIME_WAIT here, which keeps a port from connections to the same
//! server.

use super::super::{Aim, Host, Judgement, Relay};
use super::ports;
use crate::core::units::thousands;
use std::net::SocketAddr;

/// How long a TIME_WAIT lasts (include/net/tcp.h: `TCP_TIMEWAIT_LEN`), in milliseconds.
const TIME_WAIT_MS: u64 = 60_000;

/// When its port may be taken again before Linux 6.14, which has `tcp_tw_reuse_delay`, in milliseconds.
const REUSE_MS: u64 = 1_000;

/// What follows for connections to one server of an upstream.
struct Room<'a> {
    relay: &'a Relay,
    server: SocketAddr,
    /// How long a `TIME_WAIT` keeps its port, in milliseconds.
    held: u64,
    /// Ports of all source addresses.
    ports: u64,
    /// `TIME_WAIT`s that keep theirs at a time, by the rate that was measured.
    taken: Option<u64>,
}

impl<'a> Room<'a> {
    fn of(host: &Host, relay: &'a Relay, server: SocketAddr) -> Option<Self> {
        let held = held(host, server)?;
        let ports = ports::usable(host)?.saturating_mul(relay.sources);
        // Those above are dropped at once, and their ports are free.
        let most = host.number("net.ipv4.tcp_max_tw_buckets", 0).filter(|most| *most > 0).unwrap_or(u64::MAX);
        let servers = (relay.servers.len() as u64).max(1);
        let each = relay.half_closes_a_minute.map(|all| all.div_ceil(servers));
        let taken = each.map(|each| (each.saturating_mul(held) / TIME_WAIT_MS).min(most));
        Some(Self { relay, server, held, ports, taken })
    }

    /// Half-closes a second that it can bear.
    fn a_second(&self) -> u64 {
        self.ports.saturating_mul(1_000) / self.held
    }

    /// How much of it is used, in thousandths; what was not measured is compared by how little there is.
    fn tightness(&self) -> (u64, u64) {
        let used = self.taken.unwrap_or(0).saturating_mul(1_000) / self.ports.max(1);
        (used, u64::MAX - self.a_second())
    }

    fn why(&self) -> String {
        let from = match self.relay.sources {
            1 => "one source address".to_owned(),
            more => format!("{more} source addresses"),
        };
        format!(
            "each that is forwarded to upstream {} leaves a TIME_WAIT here, and keeps one of {} ports towards {} from other \
             connections for {}: {} a second from {from}",
            self.relay.upstream,
            thousands(self.ports),
            self.server,
            time_text(self.held),
            thousands(self.a_second()),
        )
    }
}

/// How long a `TIME_WAIT` keeps its port, in milliseconds (`net/ipv4/tcp_ipv4.c: tcp_twsk_unique`).
fn held(host: &Host, server: SocketAddr) -> Option<u64> {
    let reused = match host.number("net.ipv4.tcp_tw_reuse", 0)? {
        0 => false,
        1 => true,
        _ => server.ip().to_canonical().is_loopback(),
    };
    // What is late is told from what is new by timestamps alone.
    let told = host.number("net.ipv4.tcp_timestamps", 0) != Some(0);
    let delay = host.number("net.ipv4.tcp_tw_reuse_delay", 0).unwrap_or(REUSE_MS).clamp(1, TIME_WAIT_MS);
    Some(if reused && told { delay } else { TIME_WAIT_MS })
}

fn time_text(ms: u64) -> String {
    if ms.is_multiple_of(1_000) { format!("{} s", ms / 1_000) } else { format!("{ms} ms") }
}

pub(super) fn concern(aim: &Aim) -> bool {
    forwarding(aim).next().is_some()
}

fn forwarding(aim: &Aim) -> impl Iterator<Item = &Relay> {
    aim.relays.iter().filter(|relay| relay.forwards())
}

pub(super) fn half_closes(host: &Host, aim: &Aim) -> Option<Judgement> {
    let pairs = forwarding(aim).flat_map(|relay| relay.servers.iter().map(move |server| (relay, *server)));
    let rooms: Option<Vec<_>> = pairs.map(|(relay, server)| Room::of(host, relay, server)).collect();
    let room = rooms?.into_iter().max_by_key(Room::tightness)?;
    let Some(taken) = room.taken else {
        let value = format!("not measured, {} a second towards {} at most", room.a_second(), room.server);
        return Some(Judgement::ok(value, room.why()));
    };
    let measured = room.relay.half_closes_a_minute.unwrap_or(0);
    let value = format!("{measured} a minute, {} a second towards {} at most", room.a_second(), room.server);
    Some(if taken >= room.ports {
        let why = format!("{}; then connects fail with EADDRNOTAVAIL (upstream.no_ports)", room.why());
        relieved(host, &room, Judgement::harm(value, "", why))
    } else if taken >= room.ports / 2 {
        let why = format!("{}; more than half of that is used", room.why());
        relieved(host, &room, Judgement::advice(value, "", why))
    } else {
        Judgement::ok(value, room.why())
    })
}

/// What makes room: ports that are free again sooner, or else more source addresses.
fn relieved(host: &Host, room: &Room<'_>, judgement: Judgement) -> Judgement {
    let mut judgement = judgement;
    judgement.why.push_str(". Where clients never half-close, half_close = \"end\" leaves none");
    if room.held <= REUSE_MS {
        let addresses =
            room.taken.unwrap_or(0).saturating_mul(2).div_ceil((room.ports / room.relay.sources).max(1));
        let upstream = &room.relay.upstream;
        return judgement.and(format!(
            "upstream_source = \"...\"  # {addresses} addresses; in [upstream.{upstream}], source"
        ));
    }
    if host.number("net.ipv4.tcp_tw_reuse", 0) == Some(0) || !room.server.ip().to_canonical().is_loopback() {
        judgement = judgement.and("sysctl -w net.ipv4.tcp_tw_reuse=1");
    }
    if host.number("net.ipv4.tcp_timestamps", 0) == Some(0) {
        judgement = judgement.and("sysctl -w net.ipv4.tcp_timestamps=1");
    }
    if host.number("net.ipv4.tcp_tw_reuse_delay", 0).is_some_and(|delay| delay > REUSE_MS) {
        judgement = judgement.and(format!("sysctl -w net.ipv4.tcp_tw_reuse_delay={REUSE_MS}"));
    }
    judgement
}
