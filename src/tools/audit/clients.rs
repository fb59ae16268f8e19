//! Connections in `CLOSE_WAIT` that belong to no listener: a program has made them, its server has closed them, and it has
//! not: a pool of a crawler, a gateway that forgets its upstream. Each program is a place of its own.

use super::case::Case;
use super::explain;
use super::survey::{Finding, Look, Thresholds, cases_of, listener_of, worth_telling};
use crate::core::time::Duration;
use crate::net::SocketRow;
use crate::observe::audit::Anomaly;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// A program that has not closed what its servers have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Client<O> {
    /// Who.
    pub owner: O,
    /// What: [`Anomaly::CloseWait`].
    pub finding: Finding,
}

/// The connections that are worth telling, the longest first.
pub fn kept(look: &Look, earlier: Option<(&Look, Duration)>, thresholds: &Thresholds) -> Vec<Case> {
    let listening: BTreeSet<SocketAddr> = look.listeners.iter().map(|row| row.local).collect();
    let own = |row: &&SocketRow| listener_of(row.local, |address| listening.contains(address)).is_none();
    let cases = look.connections.iter().filter(own).flat_map(|row| cases_of(row, earlier, thresholds));
    let cases = cases.filter(|(anomaly, _)| *anomaly == Anomaly::CloseWait).map(|(_, case)| case).collect();
    worth_telling(Anomaly::CloseWait, cases, thresholds).unwrap_or_default()
}

/// The same by program, the one with the most first.
pub fn by_owner<O: Ord>(cases: Vec<Case>, owner: impl Fn(&SocketRow) -> O) -> Vec<Client<O>> {
    let mut owners = BTreeMap::<O, Vec<Case>>::new();
    for case in cases {
        owners.entry(owner(&case.row)).or_default().push(case);
    }
    let client = |(owner, cases): (O, Vec<Case>)| {
        let mut finding = Finding {
            anomaly: Anomaly::CloseWait,
            connections: cases.len() as u64,
            cases,
            groups: Vec::new(),
            meaning: String::new(),
            advice: explain::OF_CLIENTS.to_owned(),
        };
        finding.meaning = explain::meaning(&finding, &[]);
        Client { owner, finding }
    };
    let mut clients: Vec<_> = owners.into_iter().map(client).collect();
    clients.sort_by_key(|client| Reverse(client.finding.connections));
    clients
}
