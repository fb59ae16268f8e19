//! The server's own end: drained, hurried, killed.

use crate::close::stage::{Place, Stage, and, assert_same, ends, ladder};
use crate::common::wait_for;

const GOODBYE: &str = "-GOODBYE local.drain\r\n";

pub fn the_server_drains(place: Place) {
    let mut stage = Stage::start(place, &ladder("resp", ""), &["--set", "drain.spread=200ms"]);
    let ([mut waits, mut inherits, mut bare], count) = stage.connect_ladder();
    stage.server.signal("TERM");
    waits.expect(GOODBYE);
    let third = waits.len();
    drop(waits);
    inherits.expect_to_end(GOODBYE);
    bare.expect_to_end(GOODBYE);
    assert_eq!(stage.server.wait_exit(), Some(0));
    stage.assert_no_socket_left(false);
    assert_same(
        &stage.records(count),
        &and(
            ends(third, "local.drain", "policy", "peer_first_after_goodbye"),
            ends(2 * third, "local.drain", "policy", "linger2"),
        ),
    );
    assert_stopped(&stage, count, 0);
}

/// A second signal: nobody is waited for, and still everybody is told and nothing stays.
pub fn the_server_drains_and_is_hurried(place: Place) {
    let listeners = [
        ("inherits", "resp", "linger=1m".to_owned()),
        ("bare", "resp", "linger=1m&linger2=false".to_owned()),
    ];
    let mut stage = Stage::start(place, &listeners, &["--set", "drain.spread=1h"]);
    let half = stage.count.div_ceil(2);
    let mut crowds = ["inherits", "bare"].map(|listener| stage.connect(listener, half));
    stage.server.signal("TERM");
    wait_for("the drain to begin", || stage.server.events("draining").pop());
    stage.server.signal("TERM");
    assert_eq!(stage.server.wait_exit(), Some(0));
    for crowd in &mut crowds {
        crowd.expect_to_end(GOODBYE);
    }
    stage.assert_no_socket_left(false);
    assert_same(&stage.records(2 * half), &ends(2 * half, "local.drain", "policy", "linger2"));
    assert_stopped(&stage, 2 * half, 2 * half);
}

/// The last line of a server sums up its life.
fn assert_stopped(stage: &Stage, ended: usize, cut: usize) {
    let stopped = wait_for("the last line", || stage.server.events("stopped").pop());
    assert_eq!((&stopped["accepted"], &stopped["ended"]), (&ended.into(), &ended.into()));
    assert_eq!(stopped["cut_at_the_end"], cut);
    assert_eq!(stopped["reasons"], format!("local.drain:{ended}"));
    assert!(stage.server.stray_lines().is_empty(), "{:?}", stage.server.stray_lines());
}

/// `TCP_LINGER2`, inherited from the listener, holds when there is nobody left to set it.
pub fn the_server_is_killed(place: Place) {
    let stage = kill(place, "linger2=true");
    stage.assert_no_socket_left(false);
}

/// What the option is for: the same without it.
pub fn the_server_is_killed_and_has_no_linger2(place: Place) {
    let stage = kill(place, "linger2=false");
    let waiting = wait_for("every socket to be in TIME_WAIT", || {
        let states = stage.sockets();
        let waiting = states.get("TIME_WAIT").copied().unwrap_or(0);
        (waiting == states.values().sum::<usize>()).then_some(waiting)
    });
    match stage.time_waits() {
        Some(counted) => assert_eq!(counted, stage.count),
        // A late ACK of a client can be answered by RST, which removes an entry before we look.
        None => assert!(waiting * 10 >= stage.count * 9, "{waiting} TIME_WAIT for {} clients", stage.count),
    }
}

/// Kills a server with connected clients. Each reads a clean end of file, and closes.
fn kill(place: Place, option: &str) -> Stage {
    let mut stage = Stage::start(place, &[("resp", "resp", option.to_owned())], &[]);
    let mut crowd = stage.connect("resp", stage.count);
    crowd.send("PING\r\n");
    crowd.expect("+PONG\r\n");
    stage.server.signal("KILL");
    assert_eq!(stage.server.wait_exit(), None, "a signal ended it");
    crowd.expect_to_end("");
    stage
}
