//! Endings that the client brings about.

use crate::close::stage::{Crowd, LADDER, Listener, Place, Stage, and, assert_same, ends, ladder};
use socket2::SockRef;
use std::time::Duration;

/// With `TCP_LINGER2` inherited and without: a client that closes first must leave nothing either way.
fn both<'a>(protocol: &'a str, more: &str) -> [Listener<'a>; 2] {
    [("inherits", protocol, more.to_owned()), ("bare", protocol, format!("linger2=false&{more}"))]
}

fn connect_both(stage: &Stage) -> ([Crowd; 2], usize) {
    let each = stage.count.div_ceil(2);
    (["inherits", "bare"].map(|listener| stage.connect(listener, each)), 2 * each)
}

pub fn a_client_closes(place: Place) {
    for protocol in ["echo", "resp"] {
        let stage = Stage::start(place, &both(protocol, ""), &[]);
        let (crowds, count) = connect_both(&stage);
        for mut crowd in crowds {
            let (said, answer) =
                if protocol == "echo" { ("hello", "hello") } else { ("PING\r\n", "+PONG\r\n") };
            crowd.send(said);
            crowd.expect(answer);
        }
        stage.assert_ended(&ends(count, "peer.fin", "zero_read", "peer_first"));
    }
}

pub fn a_client_closes_within_a_frame(place: Place) {
    let stage = Stage::start(place, &both("resp", ""), &[]);
    let (crowds, count) = connect_both(&stage);
    for mut crowd in crowds {
        crowd.send("*2\r\n$4\r\nEC");
    }
    stage.assert_ended(&ends(count, "peer.fin_midframe", "zero_read", "peer_first"));
}

pub fn a_client_half_closes_and_reads_on(place: Place) {
    let stage = Stage::start(place, &both("echo", ""), &[]);
    let (mut crowds, count) = connect_both(&stage);
    for crowd in &mut crowds {
        crowd.send("hello");
        for stream in &crowd.0 {
            stream.shutdown(std::net::Shutdown::Write).unwrap();
        }
        crowd.expect_to_end("hello");
    }
    stage.assert_ended(&ends(count, "peer.fin", "zero_read", "peer_first"));
}

pub fn a_client_resets(place: Place) {
    let stage = Stage::start(place, &both("resp", ""), &[]);
    let (crowds, count) = connect_both(&stage);
    for mut crowd in crowds {
        // Answered: so it has been accepted, and is not reset in the accept queue.
        crowd.send("PING\r\n");
        crowd.expect("+PONG\r\n");
        for stream in &crowd.0 {
            SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
    stage.assert_ended(&ends(count, "peer.reset", "recv_error", "reset"));
}

pub fn a_client_says_goodbye_and_closes(place: Place) {
    let stage = Stage::start(place, &both("resp", "linger=1m"), &[]);
    let (crowds, count) = connect_both(&stage);
    for mut crowd in crowds {
        crowd.send("QUIT\r\n");
        crowd.expect("+OK\r\n");
    }
    stage.assert_ended(&ends(count, "peer.goodbye", "protocol", "peer_first_after_goodbye"));
}

pub fn a_client_says_goodbye_and_waits(place: Place) {
    let stage = Stage::start(place, &both("resp", "linger=100ms"), &[]);
    let (mut crowds, count) = connect_both(&stage);
    for crowd in &mut crowds {
        crowd.send("QUIT\r\n");
        crowd.expect_to_end("+OK\r\n");
    }
    stage.assert_ended(&ends(count, "peer.goodbye", "protocol", "linger2"));
}

/// A take-over: the older connection of an identity is told, and ended; the newer one notices nothing.
pub fn a_client_comes_back_on_a_new_connection(place: Place) {
    let stage = Stage::start(place, &ladder("resp", ""), &[]);
    let ([mut waits, mut inherits, mut bare], count) = stage.connect_ladder();
    let ident = |group: &'static str| move |index| format!("IDENT {group}{index}\r\n").into_bytes();
    let mut newer = Vec::new();
    for (group, crowd) in [("waits", &mut waits), ("inherits", &mut inherits), ("bare", &mut bare)] {
        crowd.send_each(ident(group));
        crowd.expect("+OK\r\n");
        let mut back = stage.connect("waits", crowd.len());
        back.send_each(ident(group));
        back.expect("+OK\r\n");
        newer.push(back);
    }
    waits.expect("-GOODBYE peer.replaced\r\n");
    inherits.expect_to_end("-GOODBYE peer.replaced\r\n");
    bare.expect_to_end("-GOODBYE peer.replaced\r\n");
    let third = waits.len();
    drop(waits);
    let replaced = and(
        ends(third, "peer.replaced", "protocol", "peer_first_after_goodbye"),
        ends(2 * third, "peer.replaced", "protocol", "linger2"),
    );
    assert_same(&stage.records(count), &replaced);

    // Nothing of the older ones' endings has touched the newer ones.
    for crowd in &mut newer {
        crowd.send_each(|_| b"PING\r\n".to_vec());
        crowd.expect("+PONG\r\n");
    }
    let mut witness = stage.connect("waits", 1);
    witness.send(format!("STATE inherits0\r\nWHO *{}\r\n", third - 1));
    let three = LADDER.map(|group| format!("{group}{}", third - 1));
    let bulks = three.map(|id| format!("${}\r\n{id}\r\n", id.len())).concat();
    witness.expect(format!("+online\r\n*3\r\n{bulks}"));
    drop((newer, witness));
    stage.assert_ended(&and(replaced, ends(count + 1, "peer.fin", "zero_read", "peer_first")));
}

/// Opt-in: bytes after the client's FIN, which a closed client answers by RST. Then neither side is left
/// in `TIME_WAIT`.
pub fn a_closed_client_is_probed(place: Place) {
    let stage = Stage::start(place, &both("resp", "probe.after_eof=true"), &[]);
    let (crowds, count) = connect_both(&stage);
    for mut crowd in crowds {
        crowd.send("PING\r\n");
        crowd.expect("+PONG\r\n");
    }
    stage.assert_ended(&ends(count, "peer.fin", "eof_probe", "probe_reset"));
}
