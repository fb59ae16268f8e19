//! Verdicts by number, for clients that have no identity: what the server's metrics say has ended between the
//! beginning of a run and its end, reason by reason, compared with what the clients did.
//!
//! It tells less than presence does: a wrong verdict has no name, and whatever other clients of the server do
//! meanwhile counts, too.

use super::faults::{Fault, Truth};
use super::plan::Plan;
use super::stats::Totals;
use crate::core::end::Reason;
use crate::core::time::Duration;
use crate::net::{Address, Fatal};
use crate::protocol::Token;
use crate::sys::admin_client::ask;
use indexmap::IndexMap;
use serde::Serialize;
use std::net::SocketAddr;

/// The time between two looks at counters that are not yet what they should be.
const LOOK: Duration = Duration::from_millis(50);

/// Endings by reason, from when this was made.
#[derive(Debug)]
pub struct Counter {
    admin: SocketAddr,
    token: Option<Token>,
    before: IndexMap<Reason, u64>,
    /// Looks so far: each is a client, too, and ends `peer.goodbye`, for it says `Connection: close`.
    looks: u64,
}

/// What was counted, reason by reason.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Counts {
    /// One for each reason, or group of reasons of which any will do.
    pub rows: Vec<CountRow>,
    /// Endings that may have any reason.
    pub free: u64,
}

/// One reason, or those of which any will do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct CountRow {
    /// Their names.
    pub reasons: Vec<&'static str>,
    /// Endings that there ought to be.
    pub expected: u64,
    /// Endings that there are.
    pub counted: u64,
}

impl Counts {
    /// How many endings are too many, or missing.
    pub fn wrong(&self) -> u64 {
        let missing: u64 = self.rows.iter().map(|row| row.expected.saturating_sub(row.counted)).sum();
        let surplus: u64 = self.rows.iter().map(|row| row.counted.saturating_sub(row.expected)).sum();
        missing + surplus.saturating_sub(self.free)
    }
}

impl Counter {
    /// Takes note of what has ended before.
    ///
    /// # Errors
    /// When the admin interface does not answer.
    pub fn new(admin: SocketAddr, token: Option<Token>) -> Result<Self, Fatal> {
        let mut counter = Self { admin, token, before: IndexMap::new(), looks: 0 };
        counter.before = counter.look()?;
        Ok(counter)
    }

    /// Looks until the counts are what they ought to be, but no longer than the plan has patience.
    ///
    /// # Errors
    /// When the admin interface does not answer.
    #[expect(clippy::disallowed_methods, reason = "the run is over: nobody waits but the one who asked")]
    pub fn settle(&mut self, totals: &Totals, plan: &Plan) -> Result<Counts, Fatal> {
        let truth = |fault| plan.truth(Some(fault));
        let elapsed = crate::sys::clock();
        loop {
            let now = self.look()?;
            let ended = |reason: &Reason| {
                let looks = if *reason == Reason::PeerGoodbye { self.looks - 1 } else { 0 };
                let before = self.before.get(reason).copied().unwrap_or(0);
                now.get(reason).copied().unwrap_or(0).saturating_sub(before + looks)
            };
            let counts = compare(totals, truth, ended);
            if counts.wrong() == 0 || elapsed() >= plan.contract.patience {
                return Ok(counts);
            }
            std::thread::sleep(LOOK);
        }
    }

    fn look(&mut self) -> Result<IndexMap<Reason, u64>, Fatal> {
        let cannot = |why: String| Fatal { what: format!("ask http://{}/metrics", self.admin), why };
        let address = Address::Tcp { socket: self.admin, v6_only: false, interface: None };
        let token = self.token.as_ref().map(Token::as_str);
        let page = ask(&address, "GET", "/metrics", token).map_err(|error| cannot(error.to_string()))?.body;
        self.looks += 1;
        let ends = parse(&page);
        if ends.is_empty() {
            return Err(cannot("it has no linger_ends_total; is it linger's admin interface?".to_owned()));
        }
        Ok(ends)
    }
}

/// The lines `linger_ends_total{listener="...",class="...",reason="..."} N`, added up by reason.
fn parse(page: &str) -> IndexMap<Reason, u64> {
    let mut ends = IndexMap::new();
    for line in page.lines().filter_map(|line| line.strip_prefix("linger_ends_total{")) {
        let Some((labels, value)) = line.split_once("} ") else { continue };
        let name = labels.split_once("reason=\"").and_then(|(_, rest)| rest.split('"').next());
        let reason = Reason::ALL.iter().copied().find(|reason| Some(reason.name()) == name);
        if let (Some(reason), Ok(count)) = (reason, value.trim().parse::<u64>()) {
            *ends.entry(reason).or_default() += count;
        }
    }
    ends
}

/// What ought to have ended for which reasons, against what has.
fn compare(totals: &Totals, truth: impl Fn(Fault) -> Truth, ended: impl Fn(&Reason) -> u64) -> Counts {
    let mut expected: IndexMap<&'static [Reason], u64> = IndexMap::new();
    expected.insert(&[Reason::PeerFin], totals.left);
    if totals.left_unread > 0 {
        expected.insert(&[Reason::PeerReset], totals.left_unread);
    }
    for (&fault, &count) in &totals.faults {
        if let Truth::Ends(reasons) = truth(fault) {
            *expected.entry(reasons).or_default() += count;
        }
    }
    let mut rows: Vec<CountRow> = Vec::new();
    for (reasons, expected) in &expected {
        let counted = reasons.iter().map(&ended).sum();
        rows.push(CountRow { reasons: names(reasons), expected: *expected, counted });
    }
    let unexpected = Reason::ALL.iter().filter(|reason| !expected.keys().any(|set| set.contains(reason)));
    for reason in unexpected {
        let counted = ended(reason);
        if counted > 0 {
            rows.push(CountRow { reasons: names(&[*reason]), expected: 0, counted });
        }
    }
    Counts { rows, free: totals.excused }
}

fn names(reasons: &[Reason]) -> Vec<&'static str> {
    reasons.iter().map(|reason| reason.name()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::load::faults::{Contract, Manner};

    const PAGE: &str = "# HELP linger_ends_total Endings.\nlinger_ends_total{class=\"peer\",reason=\"peer.fin\"} 12\n\
                        linger_ends_total{class=\"slow\",reason=\"slow.time\"} 2\nlinger_turns_total 7\n";

    fn totals() -> Totals {
        let faults = [(Fault::Fin, 2), (Fault::SlowRead, 3), (Fault::Trickle, 1)].into_iter().collect();
        Totals { faults, left: 10, ..Totals::default() }
    }

    #[test]
    fn endings_are_found_by_reason() {
        let ends = parse(PAGE);
        assert_eq!((ends.len(), ends[&Reason::PeerFin], ends[&Reason::SlowTime]), (2, 12, 2));
        assert!(parse("HTTP/1.1 404 Not Found\r\n\r\n").is_empty());
    }

    #[test]
    fn any_reason_of_a_group_will_do_and_an_unexpected_one_is_wrong() {
        let contract = Contract {
            heartbeat: Duration::ZERO,
            grace: Duration::ZERO,
            slow_time: Duration::ZERO,
            patience: Duration::ZERO,
        };
        let truth = |fault: Fault| fault.truth(Manner::default(), &contract);
        let ends = |reset| {
            let table = [
                (Reason::PeerFin, 12),
                (Reason::SlowTime, 2),
                (Reason::StuckZeroWindow, 1),
                (Reason::PeerReset, reset),
            ];
            move |reason: &Reason| {
                table.iter().find(|(other, _)| other == reason).map_or(0, |&(_, count)| count)
            }
        };
        assert_eq!(compare(&totals(), truth, ends(0)).wrong(), 0);
        let held_up = Totals { excused: 3, ..totals() };
        assert_eq!(compare(&held_up, truth, ends(4)).wrong(), 1);
        let counts = compare(&totals(), truth, ends(4));
        assert_eq!(counts.wrong(), 4);
        assert_eq!(
            counts.rows.last().unwrap(),
            &CountRow { reasons: vec!["peer.reset"], expected: 0, counted: 4 }
        );
    }
}
