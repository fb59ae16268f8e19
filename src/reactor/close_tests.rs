//! What the record of an ending says, and what is left of the connection, on the simulated kernel.

use super::scene_tests::{ECHO, Scene};
use crate::core::end::{CloseMode, Detector, End, Leg, Reason};
use crate::core::secured::Secured;
use crate::core::time::Duration;
use crate::observe::history::Record;

/// The newest ending that is remembered.
fn last_end(scene: &Scene) -> End {
    scene.reactor.cx.observer.history.records().last().expect("there is one").end()
}

#[test]
fn what_is_known_of_a_connection_beside_the_table_goes_with_it() {
    let proxied =
        "echo://127.0.0.1:7000?accept_proxy=require&accept_proxy_trusted=10.0.0.0/8&handshake_timeout=off";
    let mut scene = Scene::listening(&[proxied]);
    let client = scene.crowd(ECHO, 1)[0];
    scene.send(client, "PROXY TCP4 192.0.2.7 192.0.2.1 1000 9000\r\n");
    scene.come_to_rest();
    assert!(!scene.reactor.cx.annotations.proxied.is_empty());
    scene.close(client);
    scene.come_to_rest();
    assert!(scene.reactor.cx.annotations.proxied.is_empty());
    assert!(last_end(&scene).proxied.is_some());

    let mut scene = Scene::new();
    let client = scene.crowd(ECHO, 1)[0];
    let secured = Secured { server_name: Some("a.example".to_owned()), ..Secured::default() };
    let key = scene.newest();
    scene.reactor.cx.annotations.secured.note(key, secured.clone());
    scene.close(client);
    scene.come_to_rest();
    assert!(scene.reactor.cx.annotations.secured.is_empty());
    assert_eq!(last_end(&scene).secured.as_deref(), Some(&secured));
}

#[test]
fn a_leg_is_remembered_with_its_pair() {
    let mut scene = Scene::listening(&["tcp://127.0.0.1:7000?upstream=10.9.9.9:9000"]);
    scene.add_upstream("10.9.9.9:9000");
    scene.crowd(ECHO, 1);
    let (client, _) = scene.reactor.table.iter().find(|(_, conn)| conn.leg == Some(Leg::Client)).unwrap();
    scene.come_to_rest();
    assert_eq!(scene.reactor.table.len(), 2);
    scene
        .reactor
        .drive(client, |cx, conn| cx.close_now(client, conn, Reason::LocalKicked, Detector::Operator));
    assert_eq!(scene.reactor.table.len(), 0);
    let pairs = scene.reactor.cx.observer.history.records().map(Record::pair);
    assert_eq!(pairs.collect::<Vec<_>>(), [Some(client); 2]);
    assert_eq!(scene.reactor.cx.observer.counters.ends_total(), 1, "that of its server is counted apart");
}

/// How a connection is closed for that, and whether the record has what the kernel said. `cut`: nothing arrives any more, and
/// the kernel tries in vain to send something.
fn close(cut: bool, reason: Reason) -> (CloseMode, bool) {
    let mut scene = Scene::listening(&["echo://127.0.0.1:7000?user_timeout=off"]);
    scene.reactor.keep_ends();
    let client = scene.crowd(ECHO, 1)[0];
    let key = scene.newest();
    if cut {
        scene.cut(client);
        scene.reactor.drive(key, |cx, conn| cx.write(key, conn, b"lost"));
        scene.pass(Duration::from_secs(5));
    }
    scene.reactor.drive(key, |cx, conn| cx.close_now(key, conn, reason, Detector::Policy));
    let ends = scene.reactor.take_ends();
    assert_eq!(ends.len(), 1);
    (ends[0].end.close, ends[0].end.evidence.is_some())
}

#[test]
fn a_record_has_what_the_kernel_said_where_that_is_the_cause_or_decides_how_it_is_closed() {
    assert_eq!(close(false, Reason::LocalKicked), (CloseMode::Linger2, false));
    assert_eq!(close(false, Reason::StuckFrozen), (CloseMode::Linger2, true));
    assert_eq!(close(true, Reason::LocalKicked), (CloseMode::Reset, true));
}
