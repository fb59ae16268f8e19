//! Output that the kernel has no room for, or does not take, on the simulated kernel.

use super::connection::Pause;
use super::scene_tests::{ECHO, Scene};
use crate::core::time::Duration;

#[test]
fn a_client_is_not_read_once_its_pending_output_has_reached_output_high() {
    let mut scene = Scene::listening(&["echo://127.0.0.1:7000?output_low=1KiB&output_high=4KiB"]);
    scene.crowd(ECHO, 1);
    let key = scene.newest();
    let mut pause_behind = |bytes: usize| {
        scene.reactor.drive(key, |cx, conn| cx.keep_rest(key, conn, &vec![0; bytes]));
        scene.reactor.table.get(key).unwrap().pause
    };
    assert_eq!(pause_behind(4095), Pause::None);
    assert_eq!(pause_behind(1), Pause::Output);
}

#[test]
fn output_that_a_broken_socket_does_not_take_is_counted_as_undelivered() {
    let mut scene = Scene::new();
    let client = scene.crowd(ECHO, 1)[0];
    let key = scene.newest();
    scene.abort(client);
    scene.poll_for(Duration::from_secs(1));
    scene.reactor.drive(key, |cx, conn| cx.write(key, conn, b"hello"));
    scene.come_to_rest();
    let traffic = &scene.reactor.cx.observer.counters.listeners[ECHO].traffic;
    assert_eq!((scene.reactor.table.len(), traffic.bytes_undelivered), (0, 5));
}

#[test]
fn a_connection_without_a_session_is_used_when_its_output_moves() {
    /// More than the socket buffers of both sides hold together.
    const BYTES: usize = 600 * 1024;
    let mut scene = Scene::listening(&["echo://127.0.0.1:7000?idle_timeout=10s&output_high=1MiB"]);
    let client = scene.crowd(ECHO, 1)[0];
    for _ in 0..4 {
        scene.send_bytes(client, &vec![0; BYTES / 4]);
        scene.come_to_rest();
    }
    let pending = |scene: &Scene| scene.reactor.table.iter().next().unwrap().1.pending_output();
    assert!(pending(&scene) > 0);
    scene.pass(Duration::from_secs(6));
    let mut received = 0;
    while received < BYTES {
        received += scene.recv(client).len();
        scene.come_to_rest();
    }
    assert_eq!(pending(&scene), 0);
    scene.pass(Duration::from_secs(6));
    assert_eq!(scene.reactor.table.len(), 1, "it was used six seconds ago");
    scene.pass(Duration::from_secs(5));
    assert_eq!(scene.reactor.table.len(), 0);
}
