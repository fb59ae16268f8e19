//! Clients behind a layer on the simulated kernel: whatever a plain client can count on holds for them, too.

use super::connection::Pause;
use super::parts::server_timers::ServerTimer;
use super::scene_tests::{ECHO, RESP, Scene};
use crate::core::buf::ByteQueue;
use crate::core::conn::State;
use crate::core::end::{CloseMode, Detector, Reason};
use crate::core::table::Key;
use crate::core::time::Duration;
use crate::tools::sim::faults::Faults;
use crate::transport::{Layer, Phase, Toy, Transport};

/// A server of which each listener for clients has the layer.
fn scene_among(faults: Faults, query: &str) -> Scene {
    let listen = [format!("echo://127.0.0.1:7000?{query}"), format!("resp://127.0.0.1:7001?{query}")];
    let mut scene = Scene::among_faults(&listen.each_ref().map(String::as_str), faults);
    for listener in [ECHO, RESP] {
        scene.reactor.cx.listeners[listener].transport = Transport::Toy;
    }
    scene.reactor.keep_ends();
    scene
}

fn scene_with(query: &str) -> Scene {
    scene_among(Faults::none(), query)
}

fn scene() -> Scene {
    scene_with("linger=2s")
}

/// A client with its side of the layer.
struct Client {
    conn: usize,
    toy: Toy,
    /// Bytes of the session that it has received.
    received: Vec<u8>,
}

impl Client {
    /// Connects, and says nothing.
    fn silent(scene: &mut Scene, listener: usize) -> (Self, ByteQueue) {
        let (toy, hello) = Toy::client(3);
        (Self { conn: scene.crowd(listener, 1)[0], toy, received: Vec::new() }, hello)
    }

    /// Connects, and opens.
    fn open(scene: &mut Scene, listener: usize) -> Self {
        let (mut client, hello) = Self::silent(scene, listener);
        scene.send_bytes(client.conn, hello.as_slice());
        client.receive(scene);
        assert_eq!(client.toy.phase(), Phase::Open);
        client
    }

    /// What it would send for something.
    fn wire(&mut self, say: impl FnOnce(&mut Toy, &mut ByteQueue)) -> Vec<u8> {
        let mut wire = ByteQueue::default();
        say(&mut self.toy, &mut wire);
        wire.as_slice().to_vec()
    }

    fn say(&mut self, scene: &Scene, text: &str) {
        let wire = self.wire(|toy, wire| toy.send(text.as_bytes(), wire));
        scene.send_bytes(self.conn, &wire);
    }

    /// Lets the server do what it can, and takes what comes.
    fn receive(&mut self, scene: &mut Scene) {
        scene.come_to_rest();
        let wire = scene.recv(self.conn);
        if wire.is_empty() {
            return;
        }
        self.toy.receive(&wire, &mut ByteQueue::default()).expect("the server keeps the rules");
        let mut buffer = vec![0; self.toy.held()];
        self.toy.take(&mut buffer);
        self.received.extend(buffer);
    }

    #[track_caller]
    fn receives(&mut self, scene: &mut Scene, expected: &str) {
        self.receive(scene);
        assert_eq!(String::from_utf8_lossy(&std::mem::take(&mut self.received)), expected);
    }
}

/// The name of the only connection.
fn only_key(scene: &Scene) -> Key {
    scene.reactor.table.iter().next().expect("it is there").0
}

/// The one ending so far.
#[track_caller]
fn end(scene: &mut Scene) -> (Reason, Detector, CloseMode) {
    let ends = scene.reactor.take_ends();
    assert_eq!(ends.len(), 1, "{ends:?}");
    (ends[0].end.reason, ends[0].end.detector, ends[0].end.close)
}

#[test]
fn echo_and_commands_work_through_a_layer_as_without() {
    let mut scene = scene();
    let mut echo = Client::open(&mut scene, ECHO);
    echo.say(&scene, "hello");
    echo.receives(&mut scene, "hello");
    let mut all = [Client::open(&mut scene, RESP), Client::open(&mut scene, RESP)];
    all[0].say(&scene, "SUBSCRIBE news\r\n");
    all[0].receives(&mut scene, "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
    let long = "x".repeat(50_000);
    for payload in ["short", &long] {
        let length = payload.len();
        all[1].say(&scene, &format!("*3\r\n$7\r\nPUBLISH\r\n$4\r\nnews\r\n${length}\r\n{payload}\r\n"));
        all[1].receives(&mut scene, ":1\r\n");
        all[0].receives(
            &mut scene,
            &format!("*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n${length}\r\n{payload}\r\n"),
        );
    }
}

#[test]
fn bytes_come_whole_and_in_order_whatever_the_kernel_does_to_the_wire() {
    let often = 300_000;
    let faults = Faults {
        interrupted: often,
        short_recv: often,
        short_send: often,
        memory: often,
        spurious: often,
        wild: true,
        shuffle: true,
        ..Faults::none()
    };
    let mut scene = scene_among(faults, "output_high=16KiB&output_low=4KiB");
    let mut clients = [(); 4].map(|()| Client::open(&mut scene, ECHO));
    let mut expected = vec![Vec::new(); clients.len()];
    for round in 1..60_u32 {
        for (client, expected) in clients.iter_mut().zip(&mut expected) {
            let bytes: Vec<u8> = (0..=250).cycle().take(round as usize * 150).collect();
            let count = round * 100;
            let wire = client.wire(|toy, wire| {
                toy.send(&bytes, wire);
                Toy::send_run(b'x', count, wire);
            });
            scene.send_bytes(client.conn, &wire);
            expected.extend(bytes);
            expected.extend(vec![b'x'; count as usize]);
            client.receive(&mut scene);
        }
    }
    for (client, expected) in clients.iter_mut().zip(&expected) {
        let wire = client.wire(Toy::finish);
        scene.send_bytes(client.conn, &wire);
        scene.finish(client.conn);
        for _ in 0..100 {
            client.receive(&mut scene);
        }
        assert!(client.received == *expected, "{} of {} bytes", client.received.len(), expected.len());
        assert_eq!(client.toy.phase(), Phase::Ended);
    }
    let ends = scene.reactor.take_ends();
    let reasons: Vec<_> = ends.iter().map(|ended| (ended.end.reason, ended.end.close)).collect();
    assert_eq!(reasons, vec![(Reason::PeerFin, CloseMode::PeerFirst); clients.len()]);
}

#[test]
fn a_client_that_does_not_open_its_layer_in_time_is_let_go() {
    let mut scene = scene_with("handshake_timeout=1s");
    let (mut client, hello) = Client::silent(&mut scene, ECHO);
    scene.send_bytes(client.conn, &hello.as_slice()[..3]);
    scene.pass(Duration::from_millis(900));
    assert_eq!(scene.reactor.take_ends(), []);
    scene.pass(Duration::from_millis(200));
    // It cannot be told anything, so that it is not waited for.
    assert_eq!(end(&mut scene).0, Reason::ProtocolHandshakeTimeout);
    client.receives(&mut scene, "");

    // One that does is not looked at for that any more, whether it says anything or not.
    let mut client = Client::open(&mut scene, ECHO);
    scene.pass(Duration::from_secs(5));
    client.receives(&mut scene, "");
    assert_eq!((client.toy.phase(), scene.reactor.take_ends()), (Phase::Open, vec![]));
}

#[test]
fn bytes_that_a_layer_holds_while_reading_is_paused_are_served_without_a_new_edge() {
    const LONG: u32 = 900_000;
    let mut scene = scene_with("output_high=8KiB&output_low=1KiB");
    let mut client = Client::open(&mut scene, ECHO);
    // One segment, one edge.
    let wire = client.wire(|_, wire| Toy::send_run(b'x', LONG, wire));
    scene.send_bytes(client.conn, &wire);
    scene.come_to_rest();
    let (_, conn) = scene.reactor.table.iter().next().unwrap();
    assert!(
        conn.is_paused() && conn.layer().unwrap().held() > 0,
        "it waits for the client, who has not read"
    );
    while client.received.len() < LONG as usize {
        let before = client.received.len();
        client.receive(&mut scene);
        assert!(client.received.len() > before, "it has stopped at {before}");
    }
    assert_eq!(client.received, vec![b'x'; LONG as usize]);
    let (_, conn) = scene.reactor.table.iter().next().unwrap();
    assert_eq!((conn.layer().unwrap().held(), conn.pending_output()), (0, 0));
    let memory = conn.buffers.as_ref().unwrap().memory();
    assert!(memory < 1024, "an idle connection keeps {memory} bytes");
}

#[test]
fn a_record_that_is_cut_is_a_sign_of_life_and_no_input() {
    let mut scene = scene();
    let mut client = Client::open(&mut scene, RESP);
    let wire = client.wire(|toy, wire| toy.send(b"PING\r\n", wire));
    let (first, rest) = wire.split_at(7);
    scene.send_bytes(client.conn, first);
    client.receives(&mut scene, "");
    let (_, conn) = scene.reactor.table.iter().next().unwrap();
    assert!(!conn.has_input() && conn.life.heard() > conn.life.accepted());
    scene.send_bytes(client.conn, rest);
    client.receives(&mut scene, "+PONG\r\n");
}

#[test]
fn a_fin_behind_the_last_word_is_told_from_one_that_cuts_the_stream() {
    for (says_it, reason) in [(true, Reason::PeerFin), (false, Reason::PeerTruncated)] {
        let mut scene = scene();
        let mut client = Client::open(&mut scene, ECHO);
        let wire = client.wire(|toy, wire| {
            toy.send(b"last", wire);
            if says_it {
                toy.finish(wire);
            }
        });
        scene.send_bytes(client.conn, &wire);
        scene.finish(client.conn);
        client.receives(&mut scene, "last");
        assert_eq!(client.toy.phase(), Phase::Ended, "it is answered in kind");
        assert!(scene.is_closed(client.conn));
        assert_eq!(end(&mut scene), (reason, Detector::ZeroRead, CloseMode::PeerFirst));
    }
}

#[test]
fn a_last_word_without_a_fin_is_answered_and_the_fin_is_waited_for() {
    // With the last bytes, and by itself.
    for text in ["last", ""] {
        let mut scene = scene();
        let mut client = Client::open(&mut scene, ECHO);
        let wire = client.wire(|toy, wire| {
            toy.send(text.as_bytes(), wire);
            toy.finish(wire);
        });
        scene.send_bytes(client.conn, &wire);
        client.receives(&mut scene, text);
        assert_eq!(client.toy.phase(), Phase::Ended);
        assert!(!scene.is_closed(client.conn), "who sends its FIN first has the TIME_WAIT");
        scene.finish(client.conn);
        scene.come_to_rest();
        assert_eq!(end(&mut scene), (Reason::PeerFin, Detector::Protocol, CloseMode::PeerFirst));
    }
    // Not for ever.
    let mut scene = scene();
    let mut client = Client::open(&mut scene, ECHO);
    let wire = client.wire(Toy::finish);
    scene.send_bytes(client.conn, &wire);
    scene.pass(Duration::from_secs(1));
    assert_eq!(end(&mut scene), (Reason::PeerFin, Detector::Protocol, CloseMode::Linger2));
}

#[test]
fn who_is_ended_is_told_behind_its_goodbye_and_has_time_to_close_first() {
    for (listener, goodbye) in [(ECHO, ""), (RESP, "-GOODBYE local.idle\r\n")] {
        let mut scene = scene_with("linger=2s&idle_timeout=3s");
        let mut client = Client::open(&mut scene, listener);
        if listener == RESP {
            client.say(&scene, "PING\r\n");
            client.receives(&mut scene, "+PONG\r\n");
        }
        scene.pass(Duration::from_secs(4));
        client.receives(&mut scene, goodbye);
        assert_eq!(client.toy.phase(), Phase::Ended);
        assert!(!scene.is_closed(client.conn));
        // What it says by now has no answer any more.
        client.say(&scene, "PING\r\n");
        client.receives(&mut scene, "");
        scene.finish(client.conn);
        scene.come_to_rest();
        let (reason, _, mode) = end(&mut scene);
        assert_eq!((reason, mode), (Reason::LocalIdle, CloseMode::PeerFirstAfterGoodbye));
    }
}

#[test]
fn whose_protocol_has_no_goodbye_is_told_by_its_layer_and_waited_for() {
    let mut scene = scene();
    let mut client = Client::open(&mut scene, ECHO);
    let key = only_key(&scene);
    scene.reactor.drive(key, |cx, conn| {
        cx.close_gracefully(key, conn, Reason::LocalKicked, Detector::Operator);
    });
    client.receives(&mut scene, "");
    assert_eq!((client.toy.phase(), scene.is_closed(client.conn)), (Phase::Ended, false));
}

#[test]
fn who_is_not_waited_for_has_the_last_word_before_the_fin() {
    let mut scene = scene();
    let mut client = Client::open(&mut scene, ECHO);
    let key = only_key(&scene);
    scene.reactor.drive(key, |cx, conn| {
        cx.close_now(key, conn, Reason::LocalKicked, Detector::Operator);
    });
    client.receives(&mut scene, "");
    assert_eq!((client.toy.phase(), scene.is_closed(client.conn)), (Phase::Ended, true));
}

#[test]
fn a_last_word_is_told_behind_the_frames_that_wait() {
    let mut scene = scene();
    let mut client = Client::open(&mut scene, RESP);
    client.say(&scene, "PING\r\n");
    client.receives(&mut scene, "+PONG\r\n");
    let key = only_key(&scene);
    scene.reactor.drive(key, |cx, conn| {
        cx.pause(key, conn, Pause::Effects);
        cx.suspect(key, conn, Detector::Heartbeat);
    });
    client.say(&scene, "PING\r\n");
    scene.come_to_rest();
    // Only a suspect peer is read while its frames wait.
    scene.reactor.drive(key, |cx, conn| cx.suspect(key, conn, Detector::Heartbeat));
    let wire = client.wire(Toy::finish);
    scene.send_bytes(client.conn, &wire);
    scene.come_to_rest();
    assert_eq!(scene.reactor.table.get(key).unwrap().life.state(), State::Open);
    scene.reactor.drive(key, |cx, conn| cx.go_on_with(key, conn));
    client.receives(&mut scene, "+PONG\r\n");
    assert_eq!(client.toy.phase(), Phase::Ended);
    scene.finish(client.conn);
    scene.come_to_rest();
    assert_eq!(end(&mut scene), (Reason::PeerFin, Detector::Protocol, CloseMode::PeerFirst));
}

#[test]
fn who_finds_no_place_behind_a_layer_is_reset() {
    let mut scene = scene_with("max_connections=1&overload=shed");
    Client::open(&mut scene, RESP);
    scene.connect(RESP);
    scene.come_to_rest();
    assert_eq!(end(&mut scene), (Reason::LocalLimit, Detector::Policy, CloseMode::Reset));
}

#[test]
fn the_last_word_is_the_probe_after_the_fin() {
    let mut scene = scene_with("probe.after_eof=true&linger=2s");
    let mut client = Client::open(&mut scene, ECHO);
    let wire = client.wire(Toy::finish);
    scene.send_bytes(client.conn, &wire);
    scene.close(client.conn);
    scene.pass(Duration::from_millis(500));
    assert_eq!(end(&mut scene), (Reason::PeerFin, Detector::EofProbe, CloseMode::ProbeReset));

    // Who can still read reads that, and nothing behind it.
    let mut client = Client::open(&mut scene, ECHO);
    let wire = client.wire(Toy::finish);
    scene.send_bytes(client.conn, &wire);
    scene.finish(client.conn);
    scene.come_to_rest();
    assert_eq!(scene.recv(client.conn), *b"e\0\0\0");
}

#[test]
fn the_close_waits_for_bytes_of_the_wire_that_wait() {
    const LONG: u32 = 900_000;
    let mut scene = scene_with("output_max=1MiB&linger=2s");
    let mut client = Client::open(&mut scene, ECHO);
    let wire = client.wire(|toy, wire| {
        Toy::send_run(b'x', LONG, wire);
        toy.finish(wire);
    });
    scene.send_bytes(client.conn, &wire);
    scene.finish(client.conn);
    scene.come_to_rest();
    assert_eq!(scene.reactor.take_ends(), [], "the kernel has no room for so much");
    let mut turns = 0;
    while client.received.len() < LONG as usize && turns < 100 {
        client.receive(&mut scene);
        turns += 1;
    }
    client.receive(&mut scene);
    assert_eq!((client.received.len(), client.toy.phase()), (LONG as usize, Phase::Ended));
    assert_eq!(end(&mut scene), (Reason::PeerFin, Detector::ZeroRead, CloseMode::PeerFirst));
}

#[test]
fn records_against_the_rules_end_the_connection_and_say_so() {
    let mut scene = scene();
    let mut client = Client::open(&mut scene, RESP);
    client.say(&scene, "PING\r\n");
    scene.send(client.conn, "q\0\0\0");
    client.receives(&mut scene, "");
    assert_eq!(client.toy.phase(), Phase::Ended);
    scene.finish(client.conn);
    scene.come_to_rest();
    let (reason, detector, _) = end(&mut scene);
    assert_eq!((reason, detector), (Reason::ProtocolMalformed, Detector::Protocol));
}

#[test]
fn a_flood_of_handshakes_is_spread_over_turns() {
    use crate::tls::tests::{client_spec, house, read, spec};
    house();
    let mut scene = scene_with("linger=2s");
    let server = crate::tls::Server::load(&spec("server.pem"), &read).unwrap();
    scene.reactor.cx.listeners[ECHO].transport = Transport::Tls(server);
    let client = crate::tls::Client::load(&client_spec(), &read).unwrap();
    let crowd = scene.crowd(ECHO, 100);
    for conn in &crowd {
        let mut hello = ByteQueue::default();
        crate::transport::connect(&client).begin(&mut hello);
        scene.send_bytes(*conn, hello.as_slice());
    }
    let answered = |scene: &Scene| crowd.iter().filter(|conn| !scene.recv(**conn).is_empty()).count();
    let (mut all, mut most) = (0, 0);
    for _ in 0..2_000 {
        scene
            .reactor
            .cx
            .timers
            .arm_no_later(ServerTimer::AcceptRetry, scene.reactor.cx.now + Duration::from_millis(1));
        scene.turn();
        let now = answered(&scene);
        (all, most) = (all + now, most.max(now));
    }
    assert_eq!(all, crowd.len(), "each has its answer");
    assert!(most <= 6, "{most} in one turn");
}

#[test]
fn what_is_encoded_is_offered_before_it_counts_as_waiting() {
    let mut scene = scene_with("slow_time=1m");
    let bounds = &mut scene.reactor.cx.listeners[ECHO].settings.policy.bounds;
    (bounds.output_low, bounds.output_high, bounds.output_max) = (16, 32, 64);
    let mut client = Client::open(&mut scene, ECHO);
    let wire = client.wire(|_, wire| Toy::send_run(b'x', 60_000, wire));
    scene.send_bytes(client.conn, &wire);
    client.receives(&mut scene, &"x".repeat(60_000));
    assert_eq!(scene.reactor.take_ends(), [], "the kernel had room for all of it");
    // More than anybody takes: now it does wait.
    let wire = client.wire(|_, wire| Toy::send_run(b'x', 1_000_000, wire));
    scene.send_bytes(client.conn, &wire);
    scene.pass(Duration::from_secs(30));
    assert_eq!(end(&mut scene).0, Reason::SlowBytes);
}
