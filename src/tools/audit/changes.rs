//! What is news since the last look: findings that are new, have other connections, or are gone.

use super::survey::Finding;
use crate::observe::audit::Anomaly;
use std::collections::{BTreeMap, BTreeSet};

/// What has changed about a finding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// It was not there before.
    New,
    /// It was there, with other connections.
    Changed {
        /// How many it had.
        before: u64,
        /// Those that have come.
        came: u64,
        /// Those that have gone.
        left: u64,
    },
    /// It is not there any more.
    Gone {
        /// How many it had.
        before: u64,
    },
}

/// The findings of the last look, by place `P`: a listener, or a program.
#[derive(Debug)]
pub struct Known<P> {
    findings: BTreeMap<(P, Anomaly), Seen>,
}

#[derive(Debug)]
struct Seen {
    connections: u64,
    cookies: BTreeSet<u64>,
}

/// Of those that come and go by the second, a tenth more or fewer is no news.
const FLOWING: u64 = 10;

impl<P: Ord + Clone> Known<P> {
    /// Nothing is known yet: all will be new.
    pub const fn nothing() -> Self {
        Self { findings: BTreeMap::new() }
    }

    /// What has changed, in the order of the findings; then what is gone.
    pub fn update<'a>(
        &mut self,
        now: impl Iterator<Item = (P, &'a Finding)>,
    ) -> Vec<(P, Anomaly, Change, Option<&'a Finding>)> {
        let mut before = std::mem::take(&mut self.findings);
        let mut changes = Vec::new();
        for (place, finding) in now {
            let at = (place, finding.anomaly);
            let known = before.remove(&at);
            let seen = Seen {
                connections: finding.connections,
                cookies: finding.cases.iter().map(|case| case.row.cookie).collect(),
            };
            let change =
                known.as_ref().map_or(Some(Change::New), |known| known.change(&seen, finding.anomaly));
            if let Some(change) = change {
                changes.push((at.0.clone(), at.1, change, Some(finding)));
            }
            // What is not told is compared with what was told: slow growth is news, too.
            self.findings.insert(at, known.filter(|_| change.is_none()).unwrap_or(seen));
        }
        changes.extend(before.into_iter().map(|((place, anomaly), seen)| {
            (place, anomaly, Change::Gone { before: seen.connections }, None)
        }));
        changes
    }
}

impl Seen {
    fn change(&self, now: &Self, anomaly: Anomaly) -> Option<Change> {
        let before = self.connections;
        let is_flow = matches!(anomaly, Anomaly::TimeWait | Anomaly::SynRecv);
        let is_same = if is_flow {
            now.connections.abs_diff(before) * FLOWING < before
        } else {
            (now.connections, &now.cookies) == (before, &self.cookies)
        };
        let only_in = |one: &Self, other: &Self| one.cookies.difference(&other.cookies).count() as u64;
        (!is_same).then(|| Change::Changed { before, came: only_in(now, self), left: only_in(self, now) })
    }
}
