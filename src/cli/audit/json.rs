//! What `linger audit --json` prints. Its keys are an interface: they stay, and new ones may come.

use super::{Report, lower};
use crate::sys::owners::Owner;
use crate::tools::audit::explain;
use crate::tools::audit::survey::{Case, Finding, STATES, Surveyed};
use serde_json::{Map, Value, json};
use std::time::Duration;

pub(super) fn of(report: &Report<'_>) -> String {
    let arguments = report.arguments;
    let object = json!({
        "findings_total": report.findings(),
        "connections_total": report.connections(),
        "looks": 1 + u8::from(arguments.wait.is_some()),
        "wait_ms": arguments.wait.map(millis),
        "thresholds": {
            "older_than_ms": millis(arguments.older_than),
            "idle_ms": millis(arguments.idle),
            "time_waits": arguments.time_waits,
            "handshakes": arguments.handshakes,
        },
        "processes_hidden": report.owners.hidden,
        "listeners": report.listeners.iter().map(|one| listener(report, one)).collect::<Vec<_>>(),
    });
    let mut text = serde_json::to_string_pretty(&object).expect("strings and numbers");
    text.push('\n');
    text
}

fn listener(report: &Report<'_>, listener: &Surveyed) -> Value {
    let states: Map<String, Value> =
        STATES.iter().zip(listener.states).map(|(&state, count)| (lower(state), count.into())).collect();
    let sockets: Vec<Value> = listener
        .sockets
        .iter()
        .map(|row| {
            let owner = report.owner(row);
            json!({
                "pid": owner.map(|owner| owner.pid),
                "program": owner.map(|owner| &owner.program),
                "uid": row.uid,
                "queue": { "length": row.unread, "limit": row.unacknowledged },
            })
        })
        .collect();
    json!({
        "address": listener.address.to_string(),
        "port": listener.address.port(),
        "sockets": sockets,
        "connections": listener.connections(),
        "states": states,
        "unread_bytes": listener.unread,
        "undelivered_bytes": listener.undelivered,
        "findings": listener.findings.iter().map(|one| finding(report, one)).collect::<Vec<_>>(),
    })
}

fn finding(report: &Report<'_>, finding: &Finding) -> Value {
    let (addresses, most) = finding.peers();
    let examples = finding.cases.iter().take(report.arguments.examples);
    json!({
        "anomaly": finding.anomaly.name(),
        "connections": finding.connections,
        "at_least_ms": millis(finding.at_least()),
        "meaning": finding.meaning,
        "advice": finding.advice,
        "page": explain::page(finding.anomaly),
        "peer_addresses": addresses,
        "peer_with_most": most.map(|(ip, count)| json!({ "address": ip.to_string(), "connections": count })),
        "examples": examples.map(|case| example(case, report.owner(&case.row))).collect::<Vec<_>>(),
    })
}

fn example(case: &Case, owner: Option<&Owner>) -> Value {
    json!({
        "peer": case.row.remote.to_string(),
        "state": lower(case.row.state),
        "at_least_ms": millis(case.at_least),
        "left_ms": case.left().map(millis),
        "unread_bytes": case.unread(),
        "undelivered_bytes": case.undelivered(),
        "retries": case.row.retries,
        "pid": owner.map(|owner| owner.pid),
        "program": owner.map(|owner| &owner.program),
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
