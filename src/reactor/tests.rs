//! What a turn does for all who want something at once, on the simulated kernel.

use super::connection::Pause;
use super::scene_tests::{ECHO, RESP, Scene};
use super::work::{self, cost};
use crate::core::conn::State;
use crate::core::end::{Detector, Reason};
use crate::core::time::Duration;

#[test]
fn a_turn_sends_to_a_bounded_number_of_those_who_have_work_left_over() {
    /// More than a connection is served in a long turn.
    const PINGS: usize = 30;
    let mut scene = Scene::new();
    let clients = scene.crowd(RESP, 1000);
    for &client in &clients {
        scene.send(client, &"PING\r\n".repeat(PINGS));
    }
    let sent = |scene: &Scene| -> Vec<u64> {
        scene.reactor.table.iter().map(|(_, conn)| conn.life.bytes_out).collect()
    };
    // All of them are heard, and most are left with a few.
    while sent(&scene).contains(&0) {
        scene.turn();
    }
    let (mut before, mut turns) = (sent(&scene), 0);
    while before.iter().any(|&bytes| bytes < (PINGS * "+PONG\r\n".len()) as u64) {
        scene.turn();
        let now = sent(&scene);
        let sent_to = before.iter().zip(&now).filter(|(before, now)| before < now).count();
        assert!(sent_to <= work::RESUMED / cost::SEND + 1, "{sent_to} in turn {turns}");
        (before, turns) = (now, turns + 1);
        assert!(turns < 10_000, "it comes to its end");
    }
    assert!(turns > 10, "{turns}");
}

#[test]
fn a_turn_takes_up_a_bounded_number_of_publications_that_nobody_listens_to_any_more() {
    const WAITING: usize = 5000;
    let mut scene = Scene::new();
    for _ in 0..WAITING {
        scene.reactor.cx.publish_later(b"channel", b"payload");
    }
    let mut left = WAITING;
    while left > 0 {
        scene.turn();
        let now = scene.reactor.cx.publishing.publications.len();
        assert!(left - now <= work::PUBLISHED / cost::PUBLICATION + 1, "{} in one turn", left - now);
        assert!(now < left, "it comes to its end");
        left = now;
    }
}

#[test]
fn what_the_host_counts_is_read_where_a_queue_fills_and_not_after_each_burst_of_newcomers() {
    const BACKLOG: usize = 100;
    const NOT_READ: u64 = u64::MAX;
    let mut scene = Scene::listening(&[&format!("echo://127.0.0.1:7000?backlog={BACKLOG}")]);
    let in_a_turn = work::ACCEPTED / cost::ACCEPT;
    scene.reactor.cx.observer.counters.host_counters.overflows = NOT_READ;
    scene.crowd(ECHO, in_a_turn + 1);
    assert_eq!(scene.reactor.cx.observer.counters.host_counters.overflows, NOT_READ);
    scene.crowd(ECHO, in_a_turn + BACKLOG / 2 + 1);
    assert_eq!(scene.reactor.cx.observer.counters.host_counters.overflows, 0);
}

#[test]
fn a_suspect_client_that_waits_for_what_it_has_posted_is_heard_and_not_served() {
    let mut scene = Scene::new();
    let client = scene.crowd(RESP, 1)[0];
    scene.send(client, "PING\r\n");
    while scene.recv(client) != b"+PONG\r\n" {
        scene.turn();
    }
    let key = scene.newest();
    scene.reactor.drive(key, |cx, conn| {
        cx.pause(key, conn, Pause::Effects);
        cx.suspect(key, conn, Detector::Heartbeat);
    });
    scene.send(client, "PING\r\n");
    let state = |scene: &Scene| scene.reactor.table.get(key).unwrap().life.state();
    while state(&scene) != State::Open {
        assert!(matches!(state(&scene), State::Suspect { .. }));
        scene.turn();
    }
    assert_eq!(scene.reactor.table.get(key).unwrap().pause, Pause::Effects, "its command waits");
    scene.reactor.drive(key, |cx, conn| cx.go_on_with(key, conn));
    let mut replies = Vec::new();
    while replies.is_empty() {
        scene.turn();
        replies = scene.recv(client);
    }
    assert_eq!(replies, b"+PONG\r\n");
}

/// The reason for which a client ends that is silent, and that nothing reaches until it has been suspect for `outage`.
fn verdict_after(outage: Duration) -> Reason {
    let mut scene = Scene::listening(&[
        "echo://127.0.0.1:7000?heartbeat.style=client&heartbeat.timeout=2s&heartbeat.grace=8s",
    ]);
    scene.reactor.keep_ends();
    let client = scene.crowd(ECHO, 1)[0];
    scene.cut(client);
    while scene.reactor.cx.observer.counters.suspected == 0 {
        scene.pass(Duration::from_millis(100));
    }
    scene.pass(outage);
    scene.mend(client);
    scene.pass(Duration::from_secs(10));
    let ends = scene.reactor.take_ends();
    assert_eq!(ends.len(), 1);
    ends[0].end.reason
}

#[test]
fn a_suspect_whose_first_probe_was_lost_is_probed_once_more() {
    assert_eq!(verdict_after(Duration::from_secs(3)), Reason::StuckFrozen);
    assert_eq!(verdict_after(Duration::from_secs(5)), Reason::LostHeartbeat, "the second was lost, too");
}
