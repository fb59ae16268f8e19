//! What a failure of the socket is called, on the simulated kernel.

use super::scene_tests::{ECHO, Scene};
use crate::core::end::{Detector, Reason};
use crate::core::time::{Duration, Instant};
use crate::net::SocketError;

/// When the last urgent byte was sent.
#[derive(Clone, Copy)]
enum Probe {
    Never,
    /// At the moment of the last sign of life, or before it.
    Answered,
    Unanswered,
}

/// How a connection ends whose socket has failed like that, as `detector` found.
fn failed(probe: Probe, fault: SocketError, detector: Detector) -> (Reason, Detector) {
    let mut scene = Scene::new();
    scene.reactor.keep_ends();
    scene.crowd(ECHO, 1);
    let key = scene.newest();
    scene.reactor.drive(key, |cx, conn| {
        let heard = conn.life.heard();
        conn.buffers_mut(&mut cx.pool).oob_sent = match probe {
            Probe::Never => Instant::ZERO,
            Probe::Answered => heard,
            Probe::Unanswered => heard + Duration::from_millis(1),
        };
        cx.fail(key, conn, fault, detector);
    });
    let ends = scene.reactor.take_ends();
    assert_eq!(ends.len(), 1);
    (ends[0].end.reason, ends[0].end.detector)
}

#[test]
fn who_was_asking_has_found_it_then_the_probe_and_then_a_timer_of_the_kernel() {
    let (reset, timeout) = (SocketError::Reset, SocketError::TimedOut);
    for (probe, fault, found, told) in [
        (Probe::Never, reset, Detector::RecvError, Detector::RecvError),
        (Probe::Answered, reset, Detector::RecvError, Detector::RecvError),
        (Probe::Unanswered, reset, Detector::RecvError, Detector::OobProbe),
        (Probe::Never, timeout, Detector::RecvError, Detector::TcpKeepalive),
        (Probe::Answered, timeout, Detector::RecvError, Detector::TcpKeepalive),
        (Probe::Unanswered, timeout, Detector::RecvError, Detector::OobProbe),
        (Probe::Never, timeout, Detector::EofProbe, Detector::EofProbe),
        (Probe::Unanswered, timeout, Detector::TcpInfo, Detector::TcpInfo),
    ] {
        let reason = if fault == reset { Reason::PeerReset } else { Reason::LostKeepalive };
        assert_eq!(failed(probe, fault, found), (reason, told));
    }
}

#[test]
fn a_failure_of_a_connection_that_is_being_made_was_found_by_making_it() {
    let mut scene = Scene::listening(&["tcp://127.0.0.1:7000?upstream=10.9.9.9:9000"]);
    scene.add_upstream("10.9.9.9:9000");
    scene.reactor.keep_ends();
    scene.crowd(ECHO, 1);
    let is_being_made = scene.reactor.table.iter().find(|(_, conn)| conn.life.state().is_connecting());
    let (key, _) = is_being_made.expect("its server has yet to answer");
    scene.reactor.drive(key, |cx, conn| cx.fail(key, conn, SocketError::Reset, Detector::RecvError));
    let ends = scene.reactor.take_ends();
    let end = ends.iter().find(|told| told.key == key).expect("it has ended");
    assert_eq!(end.end.detector, Detector::Connect);
}
