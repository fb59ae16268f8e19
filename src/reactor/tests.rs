//! What a turn does for all who want something at once, on the simulated kernel.

use super::scene_tests::{RESP, Scene};
use super::work::{self, cost};

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
        scene.reactor.publish_later(b"channel", b"payload");
    }
    let mut left = WAITING;
    while left > 0 {
        scene.turn();
        let now = scene.reactor.publications.len();
        assert!(left - now <= work::PUBLISHED / cost::PUBLICATION + 1, "{} in one turn", left - now);
        assert!(now < left, "it comes to its end");
        left = now;
    }
}
