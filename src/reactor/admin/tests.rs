//! What a turn does for the admin interface, on the simulated kernel.

use super::super::scene_tests::{ADMIN, ECHO, Scene};
use super::WORK_PER_TURN;

/// Answers that have ended, of chunks and of none.
fn ended(text: &[u8], end: &[u8]) -> usize {
    text.windows(end.len()).filter(|window| *window == end).count()
}

#[test]
fn a_turn_does_a_bounded_amount_for_all_who_ask_together() {
    let mut scene = Scene::new();
    scene.crowd(ECHO, 512);
    let askers = scene.crowd(ADMIN, 6);
    for &asker in &askers {
        scene.send(asker, &"GET /connections?limit=10000 HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(3));
    }
    let mut taken = vec![Vec::new(); askers.len()];
    let (mut turns, mut all) = (0, 0);
    while taken.iter().any(|text| ended(text, b"\r\n0\r\n\r\n") < 3) {
        let produced = scene.turn();
        // A row and a head may lie above each share.
        assert!(produced <= (WORK_PER_TURN + 16 * 1024) as u64, "{produced} bytes in turn {turns}");
        (turns, all) = (turns + 1, all + produced);
        for (text, &asker) in taken.iter_mut().zip(&askers) {
            text.extend(scene.recv(asker));
        }
        assert!(turns < 10_000, "it comes to its end");
    }
    assert!(all > 1_000_000, "{all} bytes");
    // In turns: no one of them had all of its answers before another had any.
    assert!(taken.iter().all(|text| ended(text, b"\"key\":") >= 3 * 512));
}

#[test]
fn many_requests_in_one_receive_are_served_over_several_turns() {
    let mut scene = Scene::new();
    scene.crowd(ECHO, 64);
    let asker = scene.crowd(ADMIN, 1)[0];
    let request = "HEAD /connections HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let count = 60_000 / request.len();
    scene.send(asker, &request.repeat(count));
    let (mut answers, mut turns, mut most) = (0, 0, 0);
    while answers < count {
        scene.turn();
        let text = scene.recv(asker);
        let got = ended(&text, b"HTTP/1.1 200 OK");
        most = most.max(got);
        (answers, turns) = (answers + got, turns + 1);
        assert!(turns < 10_000, "it comes to its end");
    }
    assert!(most < count / 4, "{most} of {count} in one turn");
}
