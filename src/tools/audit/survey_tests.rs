//! The judgement over somebody's server, on made rows: each anomaly once, and what is close to it and healthy.

use super::*;
use crate::core::tcp::{TcpSnapshot, TcpState};
use crate::tools::audit::changes::{Change, Known};
use crate::tools::audit::clients;

const SERVER: &str = "10.0.0.1:7000";

fn thresholds() -> Thresholds {
    let seconds = Duration::from_secs;
    Thresholds {
        older_than: seconds(10),
        idle: seconds(600),
        late_keepalive: seconds(3600),
        time_waits: 3,
        handshakes: 2,
        fin_timeout: seconds(60),
    }
}

fn listener(address: &str, length: u32, limit: u32) -> SocketRow {
    SocketRow {
        state: TcpState::Listen,
        cookie: 1,
        unread: length,
        unacknowledged: limit,
        ..row(address, TcpState::Listen, 100)
    }
}

/// A connection that a program holds; nothing was ever heard or sent on it since `silent_ms`.
fn row(local: &str, state: TcpState, silent_ms: u32) -> SocketRow {
    let seen = TcpSnapshot {
        state,
        last_ack_recv_ms: silent_ms,
        last_data_recv_ms: silent_ms,
        ..TcpSnapshot::default()
    };
    SocketRow {
        state,
        local: local.parse().unwrap(),
        remote: "10.0.0.7:5000".parse().unwrap(),
        cookie: 7,
        inode: 70,
        uid: 0,
        unread: 0,
        unacknowledged: 0,
        timer: SocketTimer::Keepalive,
        expires_ms: 1000,
        retries: 0,
        evidence: Some(seen),
        sent_ms: silent_ms,
    }
}

fn held(state: TcpState, silent_ms: u32) -> SocketRow {
    row(SERVER, state, silent_ms)
}

fn orphan(state: TcpState, silent_ms: u32) -> SocketRow {
    SocketRow { inode: 0, ..held(state, silent_ms) }
}

/// The same with so many retransmissions.
fn retransmitting(row: SocketRow, retransmits: u8) -> SocketRow {
    let evidence = row.evidence.map(|seen| TcpSnapshot { retransmits, ..seen });
    SocketRow { timer: SocketTimer::Retransmit, retries: retransmits, unacknowledged: 5, evidence, ..row }
}

fn probing(row: SocketRow, retries: u8) -> SocketRow {
    SocketRow { timer: SocketTimer::WindowProbe, unacknowledged: 5, retries, ..row }
}

fn look(rows: impl IntoIterator<Item = SocketRow>) -> Look {
    // Each is another connection, unless the test says which it is.
    let numbered = rows
        .into_iter()
        .zip(100..)
        .map(|(row, cookie)| SocketRow { cookie: if row.cookie == 7 { cookie } else { row.cookie }, ..row });
    Look::new(numbered.chain([listener(SERVER, 0, 128)]).collect())
}

fn surveyed(rows: impl IntoIterator<Item = SocketRow>) -> Surveyed {
    let mut all = survey(&look(rows), None, &thresholds());
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// What is found: how many, and for how many milliseconds the longest.
fn found(rows: impl IntoIterator<Item = SocketRow>) -> Vec<(Anomaly, u64, u128)> {
    let summary = |finding: &Finding| (finding.anomaly, finding.connections, finding.at_least().as_millis());
    surveyed(rows).findings.iter().map(summary).collect()
}

fn nothing_in(rows: impl IntoIterator<Item = SocketRow>) {
    assert_eq!(found(rows), []);
}

fn meaning(rows: impl IntoIterator<Item = SocketRow>) -> String {
    surveyed(rows).findings.remove(0).meaning
}

#[test]
fn a_healthy_server_has_nothing() {
    nothing_in([
        held(TcpState::Established, 5000),
        held(TcpState::Established, 3_000_000),
        held(TcpState::CloseWait, 9999),
        orphan(TcpState::Established, 50),
    ]);
    nothing_in([
        SocketRow { unread: 70_000, ..held(TcpState::Established, 200) },
        retransmitting(held(TcpState::Established, 30_000), 2),
    ]);
    nothing_in([
        probing(held(TcpState::Established, 2000), 0),
        retransmitting(orphan(TcpState::LastAck, 500), 1),
    ]);
}

#[test]
fn what_nobody_accepts_is_queued_and_a_ghost_once_its_client_has_gone() {
    assert_eq!(found([orphan(TcpState::Established, 12_000)]), [(Anomaly::QueuedLong, 1, 12_000)]);
    assert_eq!(found([orphan(TcpState::CloseWait, 12_000)]), [(Anomaly::QueuedGhost, 1, 12_000)]);
}

#[test]
fn a_queue_is_full_with_one_more_than_its_limit() {
    let with = |length| {
        let rows = vec![listener(SERVER, length, 4), orphan(TcpState::Established, 100)];
        survey(&Look::new(rows), None, &thresholds()).remove(0).findings
    };
    assert_eq!(with(4), []);
    let full = with(5);
    assert_eq!((full[0].anomaly, full[0].connections, full[0].cases.len()), (Anomaly::QueueFull, 5, 1));
    let long = vec![listener(SERVER, 5, 4), orphan(TcpState::Established, 20_000)];
    let long = survey(&Look::new(long), None, &thresholds()).remove(0).findings;
    assert_eq!((long[0].cases.len(), long[1].cases.len()), (0, 1), "each is shown once");
    assert!(full[0].meaning.contains("5 connections wait in it, its limit is 4"), "{}", full[0].meaning);
}

#[test]
fn close_wait_tells_a_leak_from_a_program_that_does_not_look() {
    let read = held(TcpState::CloseWait, 60_000);
    let unread = SocketRow { unread: 4, ..held(TcpState::CloseWait, 30_000) };
    assert_eq!(found([read, unread]), [(Anomaly::CloseWait, 2, 60_000)]);
    assert!(meaning([read]).contains("It has read the end of file and kept the descriptor: a leak."));
    assert!(meaning([unread]).contains("It has not read 3 bytes and the end of file"));
    assert!(meaning([read, unread]).contains("On 1 of them it has not read"));
    assert!(meaning([SocketRow { timer: SocketTimer::None, ..read }]).contains("No timer runs there"));
    assert_eq!(surveyed([unread]).unread, 3, "the FIN is no byte");
}

#[test]
fn who_still_has_to_send_after_the_peers_fin_is_right_not_to_close() {
    nothing_in([SocketRow {
        unacknowledged: 9,
        timer: SocketTimer::Retransmit,
        ..held(TcpState::CloseWait, 60_000)
    }]);
    let shut = probing(held(TcpState::CloseWait, 60_000), 0);
    assert_eq!(found([shut]), [(Anomaly::ZeroWindow, 1, 60_000)]);
}

#[test]
fn input_that_stays_unread_is_found_by_the_age_of_the_last_of_it() {
    let unread = SocketRow { unread: 2048, ..held(TcpState::Established, 11_000) };
    assert_eq!(found([unread]), [(Anomaly::Unread, 1, 11_000)]);
    assert!(meaning([unread]).contains("2.0 KiB"));
}

#[test]
fn output_that_is_repeated_is_as_old_as_its_repetitions_allow() {
    // 0.2 s and doubled each time: six times are 12.6 s, however long nothing was said before.
    assert_eq!(
        found([retransmitting(held(TcpState::Established, 3_600_000), 6)]),
        [(Anomaly::Unacknowledged, 1, 12_600)]
    );
    nothing_in([retransmitting(held(TcpState::Established, 3_600_000), 5)]);
    // A round trip that is longer than that makes them slower: what was heard last bounds it, too.
    assert_eq!(
        found([retransmitting(held(TcpState::Established, 11_000), 9)]),
        [(Anomaly::Unacknowledged, 1, 11_000)]
    );
}

#[test]
fn a_shut_window_is_one_as_long_as_the_peers_host_answers_the_probes() {
    assert_eq!(found([probing(held(TcpState::Established, 20_000), 1)]), [(Anomaly::ZeroWindow, 1, 20_000)]);
    assert_eq!(
        found([probing(held(TcpState::Established, 20_000), 3)]),
        [(Anomaly::Unacknowledged, 1, 20_000)]
    );
}

#[test]
fn what_the_program_has_closed_and_nobody_takes_is_an_orphan_with_its_time_left() {
    for state in [TcpState::FinWait1, TcpState::Closing, TcpState::LastAck] {
        assert_eq!(found([retransmitting(orphan(state, 60_000), 7)]), [(Anomaly::Orphan, 1, 25_400)]);
    }
    let finding = surveyed([retransmitting(orphan(TcpState::FinWait1, 60_000), 7)]).findings.remove(0);
    // The wait that runs, and the ninth: 0.2 s * 2^8.
    assert_eq!(finding.cases[0].left(), Some(Duration::from_millis(1000 + 51_200)));
    assert_eq!(finding.cases[0].undelivered(), 4, "the FIN is no byte");
    assert!(finding.meaning.contains("cannot deliver 4 bytes and our FIN: the peer's host does not answer"));
    assert!(meaning([probing(orphan(TcpState::LastAck, 20_000), 0)]).contains("its program does not read"));
    // With a descriptor, it is not over yet.
    assert_eq!(
        found([retransmitting(held(TcpState::LastAck, 60_000), 7)]),
        [(Anomaly::Unacknowledged, 1, 25_400)]
    );
}

#[test]
fn fin_wait2_has_a_limit_only_if_it_was_closed() {
    let closed = SocketRow {
        timer: SocketTimer::TimeWait,
        expires_ms: 45_000,
        evidence: None,
        ..orphan(TcpState::FinWait2, 0)
    };
    assert_eq!(found([closed]), [(Anomaly::FinWait2, 1, 15_000)]);
    assert_eq!(surveyed([closed]).findings[0].cases[0].left(), Some(Duration::from_secs(45)));
    let shut = SocketRow { timer: SocketTimer::None, ..held(TcpState::FinWait2, 30_000) };
    assert_eq!(found([shut]), [(Anomaly::FinWait2, 1, 30_000)]);
    assert_eq!(surveyed([shut]).findings[0].cases[0].left(), None);
    assert!(meaning([shut]).contains("without a limit") && !meaning([closed]).contains("without a limit"));
}

#[test]
fn idle_without_a_timer_is_unwatched_from_the_threshold_on() {
    let unwatched =
        |silent_ms| SocketRow { timer: SocketTimer::None, ..held(TcpState::Established, silent_ms) };
    assert_eq!(found([unwatched(600_000)]), [(Anomaly::Unwatched, 1, 600_000)]);
    nothing_in([unwatched(599_999), held(TcpState::Established, 3_000_000)]);
    // Somebody who only listens acknowledges what he is sent.
    let listening = |mut row: SocketRow| {
        row.evidence.as_mut().unwrap().last_ack_recv_ms = 40;
        row
    };
    nothing_in([listening(unwatched(600_000))]);
}

#[test]
fn time_waits_and_handshakes_count_by_their_number() {
    let time_wait = SocketRow {
        timer: SocketTimer::TimeWait,
        expires_ms: 20_000,
        evidence: None,
        ..orphan(TcpState::TimeWait, 0)
    };
    nothing_in([time_wait; 2]);
    assert_eq!(found([time_wait; 3]), [(Anomaly::TimeWait, 3, 40_000)]);
    let handshake = |retries| SocketRow {
        timer: SocketTimer::Retransmit,
        retries,
        evidence: None,
        ..orphan(TcpState::SynRecv, 0)
    };
    nothing_in([handshake(0), handshake(0), handshake(1)]);
    assert_eq!(found([handshake(1), handshake(3)]), [(Anomaly::SynRecv, 2, 7000)]);
}

#[test]
fn a_second_look_proves_the_time_between_where_there_is_no_way_back() {
    let again = |before: SocketRow, now: SocketRow| {
        let of = |row| look([SocketRow { cookie: 50, ..row }]);
        let listeners = survey(&of(now), Some((&of(before), Duration::from_secs(20))), &thresholds());
        let findings = &listeners[0].findings;
        findings.iter().map(|finding| (finding.anomaly, finding.at_least().as_secs())).collect::<Vec<_>>()
    };
    // Keepalive that is answered made it look young, twice.
    assert_eq!(
        again(held(TcpState::CloseWait, 3000), held(TcpState::CloseWait, 1000)),
        [(Anomaly::CloseWait, 23)]
    );
    assert_eq!(
        again(orphan(TcpState::Established, 3000), orphan(TcpState::Established, 1000)),
        [(Anomaly::QueuedLong, 23)]
    );
    assert_eq!(again(held(TcpState::Established, 3000), held(TcpState::CloseWait, 1000)), []);
    // What has moved was not stuck.
    let (before, now) =
        (probing(orphan(TcpState::FinWait1, 1000), 0), probing(orphan(TcpState::FinWait1, 1000), 0));
    assert_eq!(again(before, now), [(Anomaly::Orphan, 21)]);
    assert_eq!(again(before, SocketRow { unacknowledged: 4, ..now }), []);
    // Read and filled again looks like never read.
    let unread = SocketRow { unread: 9, ..held(TcpState::Established, 300) };
    assert_eq!(again(unread, unread), []);
}

#[test]
fn the_most_specific_listener_has_the_connection() {
    let connection = |local| SocketRow { cookie: 90, ..row(local, TcpState::Established, 0) };
    let count = |listeners: &[&str], local| {
        let rows = listeners.iter().zip(1..).map(|(one, cookie)| SocketRow { cookie, ..listener(one, 0, 9) });
        let all = survey(&Look::new(rows.chain([connection(local)]).collect()), None, &thresholds());
        let holder = all.iter().find(|one| one.connections() > 0);
        holder.map(|one| one.address.to_string())
    };
    let all = ["[::]:70", "0.0.0.0:70", "10.0.0.1:70"];
    assert_eq!(count(&all, "10.0.0.1:70").as_deref(), Some("10.0.0.1:70"));
    assert_eq!(count(&all, "10.0.0.2:70").as_deref(), Some("0.0.0.0:70"));
    assert_eq!(count(&all[..1], "10.0.0.2:70").as_deref(), Some("[::]:70"));
    assert_eq!(count(&all, "[fe80::1]:70").as_deref(), Some("[::]:70"));
    assert_eq!(count(&all[2..], "10.0.0.2:70"), None);
}

#[test]
fn sockets_that_share_an_address_are_one_listener() {
    let one = |cookie, length| SocketRow { cookie, ..listener(SERVER, length, 9) };
    let all = survey(&Look::new(vec![one(1, 3), one(2, 4)]), None, &thresholds());
    assert_eq!((all.len(), all[0].sockets.len(), all[0].queue()), (1, 2, (7, 18)));
}

#[test]
fn a_socket_that_was_read_twice_is_what_it_was_last() {
    let (before, after) = (held(TcpState::FinWait1, 0), held(TcpState::FinWait2, 60_000));
    let look = Look::new(vec![listener(SERVER, 0, 9), before, after]);
    let states = survey(&look, None, &thresholds()).remove(0).states;
    assert_eq!(states.iter().sum::<usize>(), 1);
    assert_eq!(states[STATES.iter().position(|&state| state == TcpState::FinWait2).unwrap()], 1);
}

#[test]
fn the_worst_comes_first_and_the_longest_of_each() {
    let leaks = [
        held(TcpState::CloseWait, 20_000),
        held(TcpState::CloseWait, 90_000),
        held(TcpState::CloseWait, 50_000),
    ];
    let finding = surveyed(leaks).findings.remove(0);
    let ages: Vec<_> = finding.cases.iter().map(|case| case.at_least.as_secs()).collect();
    assert_eq!((ages, finding.peers()), (vec![90, 50, 20], (1, Some(("10.0.0.7".parse().unwrap(), 3)))));
    let shown = found([
        probing(held(TcpState::Established, 20_000), 0),
        leaks[0],
        orphan(TcpState::Established, 20_000),
    ]);
    let shown: Vec<_> = shown.iter().map(|&(anomaly, ..)| anomaly).collect();
    assert_eq!(shown, [Anomaly::QueuedLong, Anomaly::CloseWait, Anomaly::ZeroWindow]);
    // Listeners, too: who has a finding, then who has the most connections.
    let rows = vec![
        SocketRow { cookie: 1, ..listener("10.0.0.1:1", 0, 9) },
        SocketRow { cookie: 2, ..listener("10.0.0.1:2", 0, 9) },
        SocketRow { cookie: 3, ..listener("10.0.0.1:3", 0, 9) },
        SocketRow { cookie: 4, ..row("10.0.0.1:2", TcpState::Established, 0) },
        SocketRow { cookie: 5, ..row("10.0.0.1:3", TcpState::CloseWait, 20_000) },
    ];
    let ports: Vec<_> =
        survey(&Look::new(rows), None, &thresholds()).iter().map(|one| one.address.port()).collect();
    assert_eq!(ports, [3, 2, 1]);
}

/// A connection with keepalive, whose timer expires in so many seconds.
fn asked_in(silent_ms: u32, seconds: u32) -> SocketRow {
    SocketRow { expires_ms: seconds * 1000, ..held(TcpState::Established, silent_ms) }
}

#[test]
fn keepalive_is_late_by_the_silence_before_its_first_probe() {
    let late = asked_in(700_000, 6500);
    assert_eq!(found([late]), [(Anomaly::LateKeepalive, 1, 700_000)]);
    let said = meaning([late, asked_in(600_000, 3000)]);
    assert!(said.contains("keepalive asks no sooner than after 1h 00m of silence"), "{said}");
    nothing_in([
        // An hour in all is where it begins; and who has been heard is well, however late he would be asked.
        asked_in(600_000, 2999),
        asked_in(599_999, 6500),
        // It asks already.
        SocketRow { retries: 1, ..asked_in(7_300_000, 70) },
    ]);
}

/// The same connection of another peer.
fn of(peer: &str, row: SocketRow) -> SocketRow {
    SocketRow { remote: peer.parse().unwrap(), ..row }
}

#[test]
fn silent_connections_of_a_host_that_is_heard_on_another_are_likely_ghosts() {
    let silent = |ms| SocketRow { timer: SocketTimer::None, ..held(TcpState::Established, ms) };
    let (heard, quiet) = (held(TcpState::Established, 4000), held(TcpState::Established, 900_000));
    let finding = surveyed([
        of("10.0.0.1:1", silent(700_000)),
        of("10.0.0.1:2", silent(800_000)),
        of("10.0.0.1:3", heard),
        // One that was heard, but not lately; and one alone, which proves nothing.
        of("10.0.0.2:1", silent(700_000)),
        of("10.0.0.2:2", silent(700_000)),
        of("10.0.0.2:3", silent(700_000)),
        of("10.0.0.2:4", quiet),
        of("10.0.0.3:1", silent(700_000)),
        // What nobody has accepted is no sign of a program.
        of("10.0.0.3:2", orphan(TcpState::Established, 4000)),
    ])
    .findings
    .remove(0);
    assert_eq!((finding.anomaly, finding.connections), (Anomaly::Unwatched, 6));
    let group = |address: &str, connections, silent, heard: Option<u64>| Group {
        address: address.parse().unwrap(),
        connections,
        silent,
        at_least: Duration::from_secs(700),
        heard: heard.map(Duration::from_secs),
    };
    assert_eq!(finding.groups, [group("10.0.0.1", 3, 2, Some(4)), group("10.0.0.2", 4, 3, None)]);
    assert!(finding.meaning.contains("Silence is no proof"), "{}", finding.meaning);
}

#[test]
fn what_programs_have_connected_and_not_closed_is_told_by_program() {
    let here = "10.0.0.1:41000";
    let kept = |inode| SocketRow { inode, ..row(here, TcpState::CloseWait, 20_000) };
    let look = look([
        kept(1),
        kept(2),
        kept(2),
        row(here, TcpState::CloseWait, 9999),
        row(here, TcpState::Established, 20_000),
        held(TcpState::CloseWait, 20_000),
    ]);
    let cases = clients::kept(&look, None, &thresholds());
    let clients = clients::by_owner(cases, |row| row.inode);
    let told: Vec<_> = clients.iter().map(|client| (client.owner, client.finding.connections)).collect();
    assert_eq!(told, [(2, 2), (1, 1)], "the listener's own are told there");
    assert!(clients[0].finding.meaning.contains("a leak"), "{}", clients[0].finding.meaning);
}

#[test]
fn only_what_is_news_is_told() {
    let mut known = Known::nothing();
    let mut news = |rows: Vec<SocketRow>| {
        let surveyed = surveyed(rows);
        let placed = surveyed.findings.iter().map(|finding| ("here", finding));
        let changes = known.update(placed);
        changes.into_iter().map(|(_, anomaly, change, _)| (anomaly, change)).collect::<Vec<_>>()
    };
    let leak = |cookie| SocketRow { cookie, ..held(TcpState::CloseWait, 20_000) };
    assert_eq!(news(vec![leak(1001), leak(1002)]), [(Anomaly::CloseWait, Change::New)]);
    assert_eq!(news(vec![leak(1001), leak(1002)]), []);
    let moved = Change::Changed { before: 2, came: 1, left: 1 };
    assert_eq!(news(vec![leak(1002), leak(1003)]), [(Anomaly::CloseWait, moved)]);
    assert_eq!(news(vec![]), [(Anomaly::CloseWait, Change::Gone { before: 2 })]);
    let time_waits = |count: u64| {
        let one = SocketRow { timer: SocketTimer::TimeWait, evidence: None, ..orphan(TcpState::TimeWait, 0) };
        (0..count).map(|at| SocketRow { cookie: 2000 + at, ..one }).collect::<Vec<_>>()
    };
    assert_eq!(news(time_waits(100)), [(Anomaly::TimeWait, Change::New)]);
    assert_eq!([news(time_waits(105)), news(time_waits(109))], [[], []]);
    let grown = Change::Changed { before: 100, came: 10, left: 0 };
    assert_eq!(news(time_waits(110)), [(Anomaly::TimeWait, grown)], "little by little is news in the end");
}
