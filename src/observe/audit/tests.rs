//! Comparisons: what a pair of audits makes of rows and connections.

use super::Anomaly;
use super::compare::{Comparison, Found, Member, Memory, Outcome, Place};
use crate::core::table::Key;
use crate::core::tcp::TcpState;
use crate::core::time::{Duration, Instant};
use crate::net::{Peer, SocketRow, SocketTimer};
use std::net::SocketAddr;

const HERE: &str = "10.0.0.1:7000";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn at(seconds: u64) -> Instant {
    Instant::from_millis(seconds * 1000)
}

#[expect(clippy::unnecessary_wraps, reason = "as a comparison takes them")]
fn place(listens: &str) -> Option<Place> {
    Some(Place { address: address(listens), v6_only: false, close_wait: Some(Duration::from_secs(60)) })
}

/// A connection of ours on listener 0 since the first second, in the slot that the generation tells.
fn ours(generation: u32, peer: &str) -> Member {
    Member {
        key: Key { index: generation, generation },
        peer: Peer::new(address(peer)),
        listener: 0,
        accepted: at(1),
        ending: false,
        bytes: 0,
    }
}

fn row(state: TcpState, peer: &str, inode: u32) -> SocketRow {
    SocketRow {
        state,
        local: address(HERE),
        remote: address(peer),
        cookie: u64::from(address(peer).port()),
        inode,
        uid: 0,
        unread: 0,
        unacknowledged: 0,
        timer: SocketTimer::None,
        expires_ms: 0,
        retries: 0,
        evidence: None,
        sent_ms: 0,
    }
}

/// A whole audit. The sockets of `dead` say of themselves that they are closed.
fn audit(
    seconds: u64,
    places: &[Option<Place>],
    members: &[Member],
    rows: &[SocketRow],
    dead: &[u32],
    before: Memory,
) -> (Outcome, Memory) {
    let whose = |slot: u32| members.iter().find(|member| member.key.index == slot).copied();
    let slots = members.iter().map(|member| member.key.index + 1).max().unwrap_or(0);
    let mut comparison = Comparison::new(at(seconds), places.to_vec(), slots as usize, members.len(), before);
    for slot in 0..slots {
        comparison.index(slot, whose);
    }
    for row in rows {
        comparison.row(row, at(seconds), whose);
    }
    for slot in 0..slots {
        if let Some(unseen) = comparison.is_unseen(slot, whose)
            && dead.contains(&unseen.key.index)
        {
            comparison.missing(&unseen);
        }
    }
    comparison.conclude()
}

/// Two audits that see the same, a minute apart; what the second found.
fn twice(members: &[Member], rows: &[SocketRow], dead: &[u32]) -> Outcome {
    let places = [place(HERE)];
    let (first, memory) = audit(60, &places, members, rows, dead, Memory::default());
    assert_eq!(first.examples, [], "one look is no finding");
    audit(120, &places, members, rows, dead, memory).0
}

fn kinds(outcome: &Outcome) -> Vec<Anomaly> {
    outcome.examples.iter().map(|found| found.anomaly).collect()
}

#[test]
fn what_both_know_is_well_and_nothing_is_kept_of_it() {
    let member = ours(1, "10.0.0.9:1001");
    let row = SocketRow { unread: 3, unacknowledged: 5, ..row(TcpState::Established, "10.0.0.9:1001", 77) };
    let (outcome, memory) = audit(60, &[place(HERE)], &[member], &[row], &[], Memory::default());
    assert_eq!(memory, Memory::default());
    assert_eq!((outcome.rows, outcome.examples.len()), (1, 0));
    let tally = outcome.tallies[0];
    assert_eq!((tally.states[1], tally.unread_bytes, tally.unsent_bytes), (1, 3, 5));
}

#[test]
fn in_the_queue_for_two_audits_it_is_late_and_a_ghost_if_its_peer_has_gone() {
    let rows = [row(TcpState::Established, "10.0.0.9:1001", 0), row(TcpState::CloseWait, "10.0.0.9:1002", 0)];
    let outcome = twice(&[], &rows, &[]);
    assert_eq!(kinds(&outcome), [Anomaly::QueuedLong, Anomaly::QueuedGhost]);
    assert_eq!(outcome.fresh, outcome.present);
}

#[test]
fn a_finding_is_fresh_once() {
    let rows = [row(TcpState::Established, "10.0.0.9:1001", 0)];
    let places = [place(HERE)];
    let mut memory = Memory::default();
    let mut fresh = Vec::new();
    for audits in 1..=4 {
        let (outcome, after) = audit(60 * audits, &places, &[], &rows, &[], memory);
        fresh.push((
            outcome.present[Anomaly::QueuedLong as usize],
            outcome.fresh[Anomaly::QueuedLong as usize],
        ));
        memory = after;
    }
    assert_eq!(fresh, [(0, 0), (1, 1), (1, 0), (1, 0)]);
}

#[test]
fn what_another_program_holds_on_our_port_is_unknown() {
    assert_eq!(
        kinds(&twice(&[], &[row(TcpState::Established, "10.0.0.9:1001", 77)], &[])),
        [Anomaly::Unknown]
    );
}

#[test]
fn accepted_while_an_audit_runs_it_is_no_stranger() {
    let places = [place(HERE)];
    let rows = |inode| [row(TcpState::Established, "10.0.0.9:1001", inode)];
    // In the queue at the first; at the second it is taken out after that had begun, before its row was read.
    let (_, memory) = audit(60, &places, &[], &rows(0), &[], Memory::default());
    let new = Member { accepted: at(121), ..ours(1, "10.0.0.9:1001") };
    let (second, memory) = audit(120, &places, &[new], &rows(77), &[], memory);
    let (third, _) = audit(180, &places, &[new], &rows(77), &[], memory);
    assert_eq!((kinds(&second), kinds(&third)), (vec![], vec![]));
}

#[test]
fn accepted_while_an_audit_runs_it_is_not_missing() {
    let new = Member { accepted: at(200), ..ours(1, "10.0.0.9:1001") };
    assert_eq!(kinds(&twice(&[new], &[], &[1])), []);
}

#[test]
fn missing_is_what_no_row_shows_and_its_own_socket_calls_closed_twice() {
    let member = ours(1, "10.0.0.9:1001");
    let outcome = twice(&[member], &[], &[1]);
    assert_eq!(outcome.ours, [(member.key, Anomaly::Missing)]);
    assert_eq!(kinds(&twice(&[member], &[], &[])), [], "a row was missed, no more");
    // The slot has another tenant by the second audit.
    let places = [place(HERE)];
    let (_, memory) = audit(60, &places, &[member], &[], &[1], Memory::default());
    let tenant = Member { key: Key { index: 1, generation: 9 }, ..member };
    assert_eq!(kinds(&audit(120, &places, &[tenant], &[], &[1], memory).0), []);
}

#[test]
fn of_two_with_one_address_the_dead_one_is_missing_and_the_other_is_not() {
    let (dead, alive) = (ours(1, "10.0.0.9:1001"), ours(2, "10.0.0.9:1001"));
    let rows = [row(TcpState::Established, "10.0.0.9:1001", 77)];
    let places = [place(HERE)];
    let (_, memory) = audit(60, &places, &[dead, alive], &rows, &[1], Memory::default());
    let (outcome, _) = audit(120, &places, &[dead, alive], &rows, &[1], memory);
    // Which of them the row is taken for is chance; what is found is not the wrong one.
    assert!(outcome.ours.iter().all(|(key, _)| *key == dead.key), "{outcome:?}");
    assert!(!kinds(&outcome).contains(&Anomaly::Unknown));
}

#[test]
fn a_row_that_comes_twice_counts_once() {
    let member = ours(1, "10.0.0.9:1001");
    let mine = row(TcpState::Established, "10.0.0.9:1001", 77);
    let queued = row(TcpState::Established, "10.0.0.9:1002", 0);
    let outcome = twice(&[member], &[mine, queued, mine, queued], &[]);
    assert_eq!(outcome.tallies[0].states[1], 2);
    assert_eq!(outcome.present[Anomaly::QueuedLong as usize], 1);
}

#[test]
fn close_wait_is_one_once_nothing_has_moved_for_long_enough() {
    let places = [place(HERE)];
    let member = ours(1, "10.0.0.9:1001");
    let row = SocketRow { unacknowledged: 500, ..row(TcpState::CloseWait, "10.0.0.9:1001", 77) };
    let (_, memory) = audit(60, &places, &[member], &[row], &[], Memory::default());
    let (early, memory) = audit(119, &places, &[member], &[row], &[], memory);
    assert_eq!(early.ours, []);
    let (late, memory) = audit(120, &places, &[member], &[row], &[], memory);
    assert_eq!(late.ours, [(member.key, Anomaly::CloseWait)]);
    assert_eq!(late.fresh[Anomaly::CloseWait as usize], 1);
    // A byte was acknowledged: it takes its time, and it may.
    let moved = SocketRow { unacknowledged: 499, ..row };
    let (outcome, memory) = audit(180, &places, &[member], &[moved], &[], memory);
    assert_eq!(outcome.ours, []);
    // A byte was sent.
    let sent = Member { bytes: 1, ..member };
    let (outcome, _) = audit(300, &places, &[sent], &[moved], &[], memory);
    assert_eq!(outcome.ours, []);
}

#[test]
fn close_wait_that_we_know_of_is_none() {
    let member = Member { ending: true, ..ours(1, "10.0.0.9:1001") };
    assert_eq!(twice(&[member], &[row(TcpState::CloseWait, "10.0.0.9:1001", 77)], &[]).ours, []);
}

#[test]
fn what_we_have_closed_is_counted_by_state() {
    let rows = [row(TcpState::FinWait1, "10.0.0.9:1001", 0), row(TcpState::TimeWait, "10.0.0.9:1002", 0)];
    let outcome = twice(&[], &rows, &[]);
    assert_eq!(kinds(&outcome), []);
    assert_eq!((outcome.tallies[0].states[4], outcome.tallies[0].states[6]), (1, 1));
}

#[test]
fn a_row_belongs_to_the_listener_that_fits_best() {
    let only_v6 = Place { v6_only: true, ..place("[::]:7002").unwrap() };
    let places = [
        place("0.0.0.0:7000"),
        place("10.0.0.1:7000"),
        place("[::]:7001"),
        Some(only_v6),
        None,
        place("[::ffff:10.0.0.1]:7004"),
    ];
    let rows = [
        ("10.0.0.1:7000", Some(1)),
        ("10.0.0.2:7000", Some(0)),
        ("[fd00::1]:7000", None),
        ("10.0.0.1:7001", Some(2)),
        ("[fd00::1]:7001", Some(2)),
        ("10.0.0.1:7002", None),
        ("[fd00::1]:7002", Some(3)),
        ("10.0.0.1:7003", None),
        ("10.0.0.1:7004", Some(5)),
    ];
    for (local, expected) in rows {
        let row = SocketRow { local: address(local), ..row(TcpState::TimeWait, "10.0.0.9:1001", 0) };
        let (outcome, _) = audit(60, &places, &[], &[row], &[], Memory::default());
        let found = outcome.tallies.iter().position(|tally| tally.states[6] == 1);
        assert_eq!(found, expected, "{local}");
    }
}

#[test]
fn a_client_of_ipv4_on_an_ipv6_listener_is_found() {
    let member = ours(1, "10.0.0.9:1001");
    let row = SocketRow {
        local: address("[::ffff:10.0.0.1]:7000"),
        remote: address("[::ffff:10.0.0.9]:1001"),
        ..row(TcpState::Established, "10.0.0.9:1001", 77)
    };
    let (outcome, memory) = audit(60, &[place("[::]:7000")], &[member], &[row], &[1], Memory::default());
    assert_eq!((outcome.tallies[0].states[1], memory), (1, Memory::default()));
}

#[test]
fn broken_off_it_leaves_what_the_audit_before_had_left() {
    let rows = [row(TcpState::Established, "10.0.0.9:1001", 0)];
    let places = [place(HERE)];
    let (_, memory) = audit(60, &places, &[], &rows, &[], Memory::default());
    let broken_off = Comparison::new(at(120), places.to_vec(), 0, 0, memory);
    let (outcome, _) = audit(180, &places, &[], &rows, &[], broken_off.abandon());
    let Found { anomaly, audits, .. } = outcome.examples[0];
    assert_eq!((anomaly, audits), (Anomaly::QueuedLong, 2));
}

#[test]
fn strangers_without_number_are_counted_and_not_all_kept() {
    let rows: Vec<_> = (0..6000)
        .map(|number| SocketRow { cookie: number, ..row(TcpState::Established, "10.0.0.9:1001", 77) })
        .collect();
    let outcome = twice(&[], &rows, &[]);
    assert_eq!(outcome.tallies[0].states[1], 6000);
    assert_eq!((outcome.present[Anomaly::Unknown as usize], outcome.examples.len()), (4096, 100));
}
