//! Ports: a server needs one, whoever connects to it needs one each.

use super::super::{Aim, Host, Judgement};
use crate::core::units::thousands;
use std::ops::RangeInclusive;

fn ephemeral(host: &Host) -> Option<RangeInclusive<u64>> {
    let name = "net.ipv4.ip_local_port_range";
    Some(host.number(name, 0)?..=host.number(name, 1)?)
}

pub(super) fn range(host: &Host, aim: &Aim) -> Option<Judgement> {
    let range = ephemeral(host)?;
    let ports = range.end().saturating_add(1).saturating_sub(*range.start());
    let value = format!("{} {}", range.start(), range.end());
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

pub(super) fn reserved(host: &Host, aim: &Aim) -> Option<Judgement> {
    let name = "net.ipv4.ip_local_reserved_ports";
    let (list, range) = (host.sysctl(name)?, ephemeral(host)?);
    let value = if list.is_empty() { "none" } else { list };
    let mut missing: Vec<String> = Vec::new();
    for port in aim.ports.iter().map(|port| u64::from(*port)) {
        if range.contains(&port) && !reserved_ports(list).any(|reserved| reserved.contains(&port)) {
            missing.push(port.to_string());
        }
    }
    Some(if missing.is_empty() {
        Judgement::ok(value, "no listener's port can be taken by a connection going out")
    } else {
        let ports = missing.join(",");
        let all = if list.is_empty() { ports.clone() } else { format!("{list},{ports}") };
        let why = format!(
            "a connection going out may hold port {ports} when the server wants to listen on it: then it does not start"
        );
        Judgement::harm(value, format!("sysctl -w {name}={all}"), why)
    })
}
