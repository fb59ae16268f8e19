//! What becomes of newcomers, on the simulated kernel.

use super::connection::Session;
use super::scene_tests::{ADMIN, ECHO, RESP, Scene};
use super::unserved::Newcomer;
use crate::config::settings::DrainSettings;
use crate::core::conn::State;
use crate::core::end::Reason;
use crate::core::time::Duration;
use crate::tls::Server;
use crate::tls::tests::{house, read, spec};
use crate::tools::sim::faults::Faults;
use crate::transport::Transport;

const LISTEN: [&str; 2] = ["echo://127.0.0.1:7000", "resp://127.0.0.1:7001"];

/// Connects so many, and lets the server do with them what it does.
fn knock(scene: &mut Scene, count: usize) -> Vec<usize> {
    let all = (0..count).map(|_| scene.connect(ECHO)).collect();
    scene.come_to_rest();
    all
}

/// So many connections has the server, those of the admin interface included.
fn served(scene: &Scene) -> usize {
    scene.reactor.table.len()
}

#[test]
fn newcomers_that_had_failed_in_the_queue_are_counted_one_by_one() {
    let mut scene = Scene::among_faults(&LISTEN, Faults { aborted: 1_000_000, ..Faults::none() });
    knock(&mut scene, 3);
    assert_eq!((scene.reactor.cx.observer.counters.accept_aborted, served(&scene)), (3, 0));
    assert_eq!(scene.reactor.cx.observer.counters.listeners[ECHO].accepted, 0);
}

#[test]
fn each_stall_is_counted_once_however_often_it_is_tried_again() {
    let mut scene = Scene::among_faults(&LISTEN, Faults { descriptors_max: 1, ..Faults::none() });
    let stalls = |scene: &Scene| scene.reactor.cx.observer.counters.accept_stalls;
    let first = knock(&mut scene, 2)[0];
    assert_eq!((served(&scene), stalls(&scene)), (1, 1));
    scene.pass(scene.reactor.cx.settings.server.accept_retry * 3);
    assert_eq!((served(&scene), stalls(&scene)), (1, 1), "it was tried again in vain");
    scene.close(first);
    scene.come_to_rest();
    assert_eq!((served(&scene), stalls(&scene)), (1, 1), "the second has come in its place");
    // So soon that both are told as one.
    knock(&mut scene, 1);
    assert_eq!((served(&scene), stalls(&scene)), (1, 2));
}

#[test]
fn the_next_is_let_in_as_soon_as_a_descriptor_is_free() {
    let mut scene = Scene::among_faults(&LISTEN, Faults { descriptors_max: 1, ..Faults::none() });
    let [first, _] = [(); 2].map(|()| scene.connect(ECHO));
    while scene.reactor.cx.observer.counters.accept_stalls == 0 {
        scene.turn();
    }
    scene.close(first);
    let (begun, retry) = (scene.reactor.cx.now, scene.reactor.cx.settings.server.accept_retry);
    while scene.reactor.cx.observer.counters.listeners[ECHO].accepted < 2 {
        scene.turn();
    }
    assert!(scene.reactor.cx.now.since(begun) < retry / 2);
}

#[test]
fn a_newcomer_begins_with_what_its_listener_asks_for() {
    house();
    let mut scene = Scene::listening(&["echo://127.0.0.1:7000?handshake_timeout=2s", LISTEN[1]]);
    for listener in [ECHO, RESP, ADMIN] {
        scene.crowd(listener, 1);
    }
    let begun = |listener: u8| {
        let mut conns = scene.reactor.table.iter().map(|(_, conn)| conn);
        conns.find(|conn| conn.listener == listener).unwrap()
    };
    let (echo, resp, admin) = (begun(0), begun(1), begun(2));
    assert_eq!(
        (echo.life.state(), echo.session.is_some()),
        (State::Open, false),
        "it has nothing to exchange"
    );
    assert_eq!(resp.life.state(), State::Handshaking);
    assert!(matches!(resp.session.as_deref(), Some(Session::Client(_))));
    assert!(matches!(admin.session.as_deref(), Some(Session::Http(_))));
    let listener = &mut scene.reactor.cx.listeners[ECHO];
    listener.transport = Transport::Tls(Server::load(&spec("server.pem"), &read).unwrap());
    let newest = scene.reactor.table.next_key().generation;
    scene.crowd(ECHO, 1);
    let (_, secured) = scene.reactor.table.iter().find(|(key, _)| key.generation >= newest).unwrap();
    assert_eq!(secured.life.state(), State::Handshaking, "its layer has an exchange of its own");
    assert!(secured.layer().is_some());
}

#[test]
fn who_waits_for_a_rate_is_let_in_at_once_to_be_told_that_the_server_ends() {
    let mut scene = Scene::listening(&["echo://127.0.0.1:7000?accept_rate=1&linger=60s", LISTEN[1]]);
    let accepted = |scene: &Scene| scene.reactor.cx.observer.counters.listeners[ECHO].accepted;
    knock(&mut scene, 3);
    assert_eq!(accepted(&scene), 1, "a second has not passed");
    scene.reactor.begin_drain();
    scene.come_to_rest();
    assert_eq!(accepted(&scene), 3);
}

#[test]
fn who_finds_a_full_listener_that_sheds_is_told_where_its_protocol_has_an_error_for_that() {
    let mut scene = Scene::listening(&[LISTEN[0], "resp://127.0.0.1:7001?max_connections=1&overload=shed"]);
    scene.crowd(RESP, 1);
    assert_eq!(scene.reactor.cx.treat_over_limit(RESP), Newcomer::Refused);
    assert_eq!(scene.reactor.cx.treat_over_limit(ECHO), Newcomer::Reset(Reason::LocalLimit));
    let refused = scene.connect(RESP);
    scene.come_to_rest();
    assert_eq!(scene.recv(refused), b"-ERR max number of clients reached\r\n");
    assert_eq!(scene.reactor.cx.observer.counters.listeners[RESP].shed, 1);
}

#[test]
fn who_is_let_in_behind_the_steps_of_a_drain_is_told_at_once() {
    let mut scene = Scene::new();
    let first = scene.crowd(ECHO, 1)[0];
    scene.close(first);
    scene.come_to_rest();
    let cx = &mut scene.reactor.cx;
    let drain = DrainSettings { spread: Duration::ZERO, ..cx.settings.drain };
    assert!(cx.lifecycle.begin_drain(cx.now, &drain, 1));
    cx.lifecycle.next_to_drain(cx.now, 1).expect("it is the first step");
    assert!(cx.lifecycle.has_drained(0));
    knock(&mut scene, 1);
    assert_eq!((scene.reactor.cx.observer.counters.ends(Reason::LocalDrain), served(&scene)), (1, 0));
}
