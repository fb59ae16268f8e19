//! Ports: a server needs one, each client that connects to it needs one, and so does a gateway for each of its pairs.

use super::super::{Aim, Host, Judgement};
use crate::core::units::thousands;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

fn ephemeral(host: &Host) -> Option<RangeInclusive<u64>> {
    let name = "net.ipv4.ip_local_port_range";
    Some(host.number(name, 0)?..=host.number(name, 1)?)
}

fn count(range: &RangeInclusive<u64>) -> u64 {
    range.end().saturating_add(1).saturating_sub(*range.start())
}

/// How many ports a connection going out may have, for each pair of source and destination.
pub(super) fn usable(host: &Host) -> Option<u64> {
    let range = ephemeral(host)?;
    let list = host.sysctl("net.ipv4.ip_local_reserved_ports").unwrap_or_default();
    let within = |reserved: RangeInclusive<u64>| {
        *reserved.start().max(range.start())..=*reserved.end().min(range.end())
    };
    let reserved = reserved_ports(list).map(|reserved| count(&within(reserved))).fold(0, u64::saturating_add);
    Some(count(&range).saturating_sub(reserved))
}

/// Pairs that all gateways have ports for, if there are any.
fn pairs(aim: &Aim, usable: u64) -> Option<u64> {
    let each = aim.relays.iter().map(|relay| relay.sources.saturating_mul(relay.servers.len() as u64));
    // A server on a unix socket takes no port.
    let all = each.filter(|connects| *connects > 0).reduce(u64::saturating_add)?;
    Some(all.saturating_mul(usable))
}

pub(super) fn range(host: &Host, aim: &Aim) -> Option<Judgement> {
    let range = ephemeral(host)?;
    let ports = count(&range);
    let value = format!("{} {}", range.start(), range.end());
    if let Some(pairs) = pairs(aim, usable(host)?)
        && pairs < aim.connections
    {
        let why = format!(
            "a gateway connects once for each client, and there are ports for {} connections to its servers, less \
             those in TIME_WAIT; each more address in upstream_source has as many again",
            thousands(pairs)
        );
        let set = "sysctl -w net.ipv4.ip_local_port_range=\"10000 65535\"";
        let judged = if aim.shared { Judgement::advice } else { Judgement::harm };
        return Some(judged(value, set, why));
    }
    Some(if ports < aim.connections {
        let why = format!(
            "a load generator here opens {} connections to one address; clients elsewhere and the server do not mind. \
             More sources, or more addresses to connect to, help without limit",
            thousands(ports)
        );
        Judgement::advice(value, "sysctl -w net.ipv4.ip_local_port_range=\"10000 65535\"", why)
    } else {
        let why =
            "ports for connecting out, for each pair of source and destination; a server needs only its own";
        Judgement::ok(value, why)
    })
}

/// `7000,7005-7007`.
fn reserved_ports(list: &str) -> impl Iterator<Item = RangeInclusive<u64>> {
    list.split(',').filter_map(|part| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        Some(from.trim().parse().ok()?..=to.trim().parse().ok()?)
    })
}

/// Ports out of `of` that a connection going out may have.
fn unreserved(range: &RangeInclusive<u64>, list: &str, of: impl Iterator<Item = u16>) -> Vec<u64> {
    let mut ports: Vec<u64> = of.map(u64::from).filter(|port| range.contains(port)).collect();
    ports.retain(|port| !reserved_ports(list).any(|reserved| reserved.contains(port)));
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn commas(ports: &[u64]) -> String {
    ports.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}

pub(super) fn reserved(host: &Host, aim: &Aim) -> Option<Judgement> {
    let name = "net.ipv4.ip_local_reserved_ports";
    let (list, range) = (host.sysctl(name)?, ephemeral(host)?);
    let value = if list.is_empty() { "none" } else { list };
    let servers = aim.relays.iter().flat_map(|relay| &relay.servers);
    let near = servers.filter(|server| server.ip().to_canonical().is_loopback());
    let listeners = unreserved(&range, list, aim.ports.iter().copied());
    let upstreams = unreserved(&range, list, near.map(SocketAddr::port));
    let mut reasons = Vec::new();
    if !listeners.is_empty() {
        reasons.push(format!(
            "a connection going out may hold port {} when the server wants to listen on it: then it does not start",
            commas(&listeners)
        ));
    }
    if !upstreams.is_empty() {
        // RFC 9293 3.5: two SYNs that cross make a connection, also when both are the same.
        reasons.push(format!(
            "while nobody listens on port {} of loopback, a connect to it may come from it, and meets itself: it is no \
             server, and the one that wants to listen there cannot",
            commas(&upstreams)
        ));
    }
    Some(if reasons.is_empty() {
        Judgement::ok(value, "no listener's port can be taken by a connection going out")
    } else {
        let mut all = listeners;
        all.extend(upstreams);
        all.sort_unstable();
        all.dedup();
        let before = if list.is_empty() { String::new() } else { format!("{list},") };
        let set = format!("sysctl -w {name}={before}{}", commas(&all));
        Judgement::harm(value, set, reasons.join("; "))
    })
}
