//! Silent connections by the address of their peers. Silence is no proof that a peer is gone; but where the same host is
//! heard on another connection, the silent ones beside it are likely what it has left behind.

use super::case::Case;
use super::survey::{Finding, Look, Surveyed, Thresholds, listener_of};
use crate::core::tcp::TcpState;
use crate::core::time::Duration;
use crate::net::SocketRow;
use crate::observe::audit::Anomaly;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// One address that has several connections to a listener, some of them silent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Group {
    /// Whose.
    pub address: IpAddr,
    /// How many it has that are established, and that a program holds.
    pub connections: usize,
    /// Those of the finding.
    pub silent: usize,
    /// For how long all of these have been silent.
    pub at_least: Duration,
    /// How long ago it was heard on another one, if it was lately.
    pub heard: Option<Duration>,
}

impl Group {
    /// Whether the silent ones are likely ghosts: the host is there, and they are not.
    pub const fn are_likely_ghosts(&self) -> bool {
        self.heard.is_some()
    }
}

/// Finds the groups of every finding that is about silence.
pub(super) fn group(listeners: &mut [Surveyed], look: &Look, thresholds: &Thresholds) {
    let at: BTreeMap<SocketAddr, usize> =
        listeners.iter().enumerate().map(|(at, listener)| (listener.address, at)).collect();
    let mut hosts = BTreeMap::<(usize, IpAddr), Vec<&SocketRow>>::new();
    for (at, listener) in listeners.iter().enumerate() {
        let silent = listener.findings.iter().filter(|finding| is_of_silence(finding));
        hosts.extend(
            silent.flat_map(|finding| &finding.cases).map(|case| ((at, peer(&case.row)), Vec::new())),
        );
    }
    if hosts.is_empty() {
        return;
    }
    let open = |row: &&SocketRow| row.state == TcpState::Established && !row.is_orphan();
    for row in look.connections.iter().filter(open) {
        let listener = listener_of(row.local, |address| at.contains_key(address));
        if let Some(rows) = listener.and_then(|address| hosts.get_mut(&(at[&address], peer(row)))) {
            rows.push(row);
        }
    }
    for (at, listener) in listeners.iter_mut().enumerate() {
        for finding in listener.findings.iter_mut().filter(|finding| is_of_silence(finding)) {
            finding.groups = groups(&finding.cases, |address| &hosts[&(at, address)], thresholds);
        }
    }
}

fn groups<'a>(
    cases: &[Case],
    rows_of: impl Fn(IpAddr) -> &'a Vec<&'a SocketRow>,
    thresholds: &Thresholds,
) -> Vec<Group> {
    let mut silent = BTreeMap::<IpAddr, (usize, Duration)>::new();
    for case in cases {
        let (count, at_least) = silent.entry(peer(&case.row)).or_insert((0, Duration::MAX));
        (*count, *at_least) = (*count + 1, case.at_least.min(*at_least));
    }
    let known: BTreeSet<u64> = cases.iter().map(|case| case.row.cookie).collect();
    let group = |(address, (silent, at_least))| {
        let rows = rows_of(address);
        let others = rows.iter().filter(|row| !known.contains(&row.cookie));
        let heard = others.filter_map(|row| quiet(row)).min().filter(|quiet| *quiet < thresholds.idle);
        Group { address, connections: rows.len(), silent, at_least, heard }
    };
    let mut groups: Vec<Group> = silent.into_iter().map(group).collect();
    groups.retain(|group| group.connections > 1);
    groups.sort_by_key(|group| (Reverse((group.are_likely_ghosts(), group.silent)), group.address));
    groups
}

const fn is_of_silence(finding: &Finding) -> bool {
    matches!(finding.anomaly, Anomaly::Unwatched | Anomaly::LateKeepalive)
}

const fn peer(row: &SocketRow) -> IpAddr {
    row.remote.ip()
}

/// For how long nothing has arrived, data or acknowledgement.
fn quiet(row: &SocketRow) -> Option<Duration> {
    let seen = row.evidence?;
    Some(Duration::from_millis(seen.last_ack_recv_ms.min(seen.last_data_recv_ms).into()))
}
