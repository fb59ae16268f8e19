//! A worker whose clients have gone, and which waits for its supervisor, on the simulated kernel.

use super::Flow;
use super::scene_tests::{ECHO, Scene};
use crate::core::event::Kind;
use crate::core::time::Duration;
use crate::tools::sim::stream::SimStream;
use crate::workers::link::{Channel, More, ToSupervisor, ToWorker};
use serde_json::json;

/// A worker that waits, its supervisor, and the number of its last event by its own word.
fn leaving() -> (Scene, Channel<SimStream, ToSupervisor, ToWorker>, u64) {
    let mut scene = Scene::new();
    let mut supervisor = Channel::new(scene.join());
    scene.reactor.keep_events();
    scene.crowd(ECHO, 1);
    // There is no time for the drain.
    scene.reactor.cx.settings.drain.timeout = Duration::ZERO;
    scene.reactor.begin_drain();
    scene.come_to_rest();
    let last = last_word(&mut supervisor).expect("it says that it leaves");
    (scene, supervisor, last)
}

fn last_word(supervisor: &mut Channel<SimStream, ToSupervisor, ToWorker>) -> Option<u64> {
    while supervisor.receive() == Ok(More::Maybe) {}
    let mut last = None;
    while let Some(message) = supervisor.next_message().unwrap() {
        if let ToSupervisor::Leaving { last: number } = message {
            last = Some(number);
        }
    }
    last
}

#[test]
fn a_worker_tells_what_happens_behind_its_last_word() {
    let (mut scene, mut supervisor, last) = leaving();
    scene.reactor.cx.note_event_of_server(Kind::Stalled, || json!({}));
    // What it is told of the one before crosses that.
    supervisor.send(&ToWorker::Leave { last });
    supervisor.flush().unwrap();
    scene.come_to_rest();
    let later = last_word(&mut supervisor);
    assert_eq!(later, Some(last + 1));
    assert!(scene.reactor.cx.lifecycle.is_waiting_to_leave());
    assert!(!scene.reactor.cx.lifecycle.has_left(scene.reactor.cx.now), "it waits for the later one");
    supervisor.send(&ToWorker::Leave { last: last + 1 });
    supervisor.flush().unwrap();
    scene.come_to_rest();
    assert_eq!(scene.reactor.conclude(), Flow::Finished);
}
