//! What a poll says of connections, on the simulated kernel.

use super::scene_tests::{ECHO, Scene};
use super::work::{RESUMED, cost};
use crate::net::Readiness;

#[test]
fn what_a_poll_says_of_a_connection_that_is_gone_is_counted() {
    let mut scene = Scene::new();
    let client = scene.crowd(ECHO, 1)[0];
    let key = scene.newest();
    scene.close(client);
    scene.come_to_rest();
    assert!(scene.reactor.table.get(key).is_none());
    for stale in 1..=2 {
        scene.reactor.on_ready(key, Readiness::READABLE);
        assert_eq!(scene.reactor.cx.observer.counters.stale_events, stale);
    }
}

#[test]
fn a_client_that_leaves_has_time_in_a_long_turn_and_in_no_other() {
    const CLIENTS: usize = 200;
    let mut scene = Scene::new();
    let clients = scene.crowd(ECHO, CLIENTS + 1);
    let (stays, leave) = clients.split_last().unwrap();
    scene.close(leave[0]);
    while scene.reactor.table.len() > CLIENTS {
        assert!(scene.reactor.cx.posted.to_resume().is_empty(), "the turn is short");
        scene.turn();
    }
    leave[1..].iter().for_each(|&client| scene.close(client));
    scene.send(*stays, "hello");
    while scene.reactor.cx.observer.counters.listeners[ECHO].traffic.bytes_in == 0 {
        scene.turn();
    }
    let waiting = scene.reactor.table.len() - 1;
    assert!(waiting > CLIENTS / 4, "{waiting} wait, and who stays is heard");
    scene.turn();
    let ended = waiting + 1 - scene.reactor.table.len();
    assert!((1..=RESUMED / cost::ENDING + 1).contains(&ended), "{ended} in the next turn");
    scene.come_to_rest();
    assert_eq!(scene.reactor.table.len(), 1);
}
