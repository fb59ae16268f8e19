//! Endings that the server decides on while the client is alive: told why, it closes or it does not.

use crate::close::stage::{Crowd, LADDER, Place, Stage, and, ends, ladder};

/// Plays the clients' part after `goodbye`: a third closes when told, the others wait for the server to
/// close, and read a clean end of file.
fn part(
    stage: &Stage,
    [mut waits, mut inherits, mut bare]: [Crowd; 3],
    goodbye: &str,
    reason: &str,
    detector: &str,
) {
    waits.expect(goodbye);
    inherits.expect_to_end(goodbye);
    bare.expect_to_end(goodbye);
    let third = waits.len();
    drop(waits);
    // Those that do not close are still there: nothing that the server leaves may depend on them.
    stage.assert_ended(&and(
        ends(third, reason, detector, "peer_first_after_goodbye"),
        ends(2 * third, reason, detector, "linger2"),
    ));
    drop((inherits, bare));
    stage.assert_no_socket_left(true);
}

pub fn a_client_is_malformed(place: Place) {
    let stage = Stage::start(place, &ladder("resp", ""), &[]);
    let (mut crowds, _) = stage.connect_ladder();
    for crowd in &mut crowds {
        crowd.send("*1\r\n$abc\r\n");
    }
    let goodbye = "-ERR Protocol error: invalid bulk length\r\n";
    part(&stage, crowds, goodbye, "protocol.malformed", "protocol");
}

pub fn a_client_is_oversized(place: Place) {
    let stage = Stage::start(place, &ladder("resp", "frame_max=1KiB"), &[]);
    let (mut crowds, _) = stage.connect_ladder();
    for crowd in &mut crowds {
        crowd.send("*1\r\n$2000\r\n");
    }
    let goodbye = "-ERR Protocol error: invalid bulk length\r\n";
    part(&stage, crowds, goodbye, "protocol.oversized", "protocol");
}

pub fn a_client_is_kicked_by_the_operator(place: Place) {
    let stage = Stage::start(place, &ladder("resp", ""), &[]);
    let (mut crowds, count) = stage.connect_ladder();
    for crowd in &mut crowds {
        crowd.send("PING\r\n");
        crowd.expect("+PONG\r\n");
    }
    let mut admin = stage.admin();
    let mut keys = Vec::new();
    for listener in LADDER {
        keys.extend(admin.keys(listener));
    }
    assert_eq!(keys.len(), count);
    for key in keys {
        let (status, body) = admin.ask("POST", &format!("/connections/{key}/end"));
        assert_eq!(status, "HTTP/1.1 202 Accepted", "{body}");
    }
    drop(admin);
    part(&stage, crowds, "-GOODBYE local.kicked\r\n", "local.kicked", "operator");
}

pub fn a_client_is_killed_by_another(place: Place) {
    let stage = Stage::start(place, &ladder("resp", ""), &[]);
    let (mut crowds, count) = stage.connect_ladder();
    for crowd in &mut crowds {
        crowd.send("PING\r\n");
        crowd.expect("+PONG\r\n");
    }
    let mut killer = stage.connect("waits", 1);
    // A subscriber is not of that type, and the killer is spared.
    let mut subscriber = stage.connect("waits", 1);
    subscriber.send("SUBSCRIBE news\r\n");
    subscriber.expect("*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
    killer.send("CLIENT KILL TYPE normal\r\n");
    killer.expect(format!(":{count}\r\n"));
    let goodbye = "-GOODBYE local.kicked\r\n";
    let [mut waits, mut inherits, mut bare] = crowds;
    waits.expect(goodbye);
    inherits.expect_to_end(goodbye);
    bare.expect_to_end(goodbye);
    let third = waits.len();
    subscriber.send("PING\r\n");
    subscriber.expect("*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    drop((waits, killer, subscriber));
    stage.assert_ended(&and(
        ends(2, "peer.fin", "zero_read", "peer_first"),
        and(
            ends(third, "local.kicked", "client", "peer_first_after_goodbye"),
            ends(2 * third, "local.kicked", "client", "linger2"),
        ),
    ));
}

pub fn a_client_is_idle(place: Place) {
    let stage = Stage::start(place, &ladder("resp", "idle_timeout=300ms"), &[]);
    let (mut crowds, _) = stage.connect_ladder();
    for crowd in &mut crowds {
        crowd.send("PING\r\n");
    }
    part(&stage, crowds, "+PONG\r\n-GOODBYE local.idle\r\n", "local.idle", "timer");
}

/// Echo has no word for goodbye, so there is nothing to wait for.
pub fn a_client_is_idle_where_no_goodbye_exists(place: Place) {
    let stage = Stage::start(place, &ladder("echo", "idle_timeout=300ms"), &[]);
    let (mut crowds, count) = stage.connect_ladder();
    for crowd in &mut crowds {
        crowd.expect_to_end("");
    }
    stage.assert_ended(&ends(count, "local.idle", "timer", "linger2"));
}

pub fn a_client_never_speaks(place: Place) {
    let stage = Stage::start(place, &ladder("resp", "handshake_timeout=300ms"), &[]);
    let (crowds, _) = stage.connect_ladder();
    let (reason, goodbye) = ("protocol.handshake_timeout", "-GOODBYE protocol.handshake_timeout\r\n");
    part(&stage, crowds, goodbye, reason, "timer");
}
