//! What waits for a supervisor that does not keep up, and what is refused meanwhile, on the simulated kernel.

use super::scene_tests::{ECHO, RESP, Scene};
use crate::core::buf::ByteQueue;
use crate::core::end::{Detector, Reason};
use crate::core::time::Duration;
use crate::net::{Received, Stream as _};
use crate::tls::tests::{client_spec, house, put, read, spec, verified};
use crate::tls::{Client, ClientSpec, Field, Server, ServerSpec};
use crate::tools::sim::stream::SimStream;
use crate::transport::{self, Layer, Phase, Transport};

const TIMEOUT: Duration = Duration::from_secs(2);

/// A worker whose clients prove their names, a client that has said its first word, and the supervisor's end of the link.
struct Deferred {
    scene: Scene,
    conn: usize,
    layer: Box<dyn Layer>,
    supervisor: SimStream,
}

impl Deferred {
    /// The supervisor reads nothing of what it is told when the client comes.
    fn new() -> Self {
        let (authority, _) = house();
        put("dev.pem", &authority.sign("dev1").both());
        let client = ClientSpec { certificate: "dev.pem".to_owned(), ..client_spec() };
        let client = Client::load(&client, &read).unwrap();
        let server = ServerSpec { client: verified("", Some(Field::Cn)), ..spec("server.pem") };
        let server = Server::load(&server, &read).unwrap();
        let timeout = TIMEOUT.as_millis();
        let mut scene =
            Scene::listening(&[&format!("echo://127.0.0.1:7000?handshake_timeout={timeout}ms&linger=1s")]);
        let listener = &mut scene.reactor.cx.listeners[ECHO];
        listener.transport = Transport::Tls(server.clone());
        listener.settings.tls = Some(server);
        scene.reactor.keep_ends();
        let supervisor = scene.join();
        scene.let_supervisor_fall_behind();
        let conn = scene.crowd(ECHO, 1)[0];
        let mut layer = transport::connect(&client);
        let mut hello = ByteQueue::default();
        layer.begin(&mut hello);
        scene.send_bytes(conn, hello.as_slice());
        scene.come_to_rest();
        Self { scene, conn, layer, supervisor }
    }

    fn keeps_up(&self) -> bool {
        self.scene.reactor.cx.worker.link().unwrap().keeps_up()
    }

    /// The supervisor reads all that it is told.
    fn let_supervisor_catch_up(&mut self) {
        let mut buffer = vec![0; 1 << 20];
        while !self.keeps_up() {
            while matches!(self.supervisor.recv(&mut buffer), Received::Bytes(_)) {}
            self.scene.come_to_rest();
        }
    }

    /// The client takes what has come, and answers.
    fn answer(&mut self) {
        let wire = self.scene.recv(self.conn);
        let mut answer = ByteQueue::default();
        self.layer.receive(&wire, &mut answer).unwrap();
        self.scene.send_bytes(self.conn, answer.as_slice());
        self.scene.come_to_rest();
    }

    fn reasons(&mut self) -> Vec<Reason> {
        self.scene.reactor.take_ends().iter().map(|ended| ended.end.reason).collect()
    }
}

#[test]
fn a_handshake_that_waits_for_the_supervisor_does_not_keep_the_loop_turning() {
    let mut it = Deferred::new();
    assert!(!it.keeps_up() && it.scene.recv(it.conn).is_empty(), "it waits");
    assert_ne!(it.scene.reactor.cx.sleep(), Some(Duration::ZERO), "nothing is left to do");
    it.let_supervisor_catch_up();
    it.answer();
    assert_eq!(it.layer.phase(), Phase::Open);
}

#[test]
fn time_that_a_handshake_waits_for_the_supervisor_is_not_the_clients() {
    let mut it = Deferred::new();
    it.scene.pass(TIMEOUT * 10);
    assert_eq!(it.reasons(), []);
    assert!(!it.keeps_up());
    it.let_supervisor_catch_up();
    it.scene.pass(TIMEOUT / 2);
    it.answer();
    assert_eq!((it.layer.phase(), it.reasons()), (Phase::Open, Vec::new()));
}

#[test]
fn a_client_that_is_silent_behind_that_wait_has_no_more_than_its_own_time() {
    let mut it = Deferred::new();
    it.scene.pass(TIMEOUT * 10);
    it.let_supervisor_catch_up();
    it.scene.pass(TIMEOUT + Duration::from_secs(2));
    assert_eq!(it.reasons(), [Reason::ProtocolHandshakeTimeout]);
}

#[test]
fn a_client_that_leaves_during_that_wait_is_not_waited_for() {
    let mut it = Deferred::new();
    let key = it.scene.newest();
    it.scene.reactor.drive(key, |cx, conn| cx.reset(key, conn, Reason::LocalKicked, Detector::Policy));
    it.scene.come_to_rest();
    assert_eq!(it.reasons(), [Reason::LocalKicked]);
    assert!(!it.scene.reactor.cx.worker.link().unwrap().is_deferred(key), "nothing remembers it");
}

#[test]
fn nothing_is_claimed_or_published_while_the_supervisor_is_behind() {
    let mut scene = Scene::new();
    let _supervisor = scene.join();
    scene.let_supervisor_fall_behind();
    let conn = scene.crowd(RESP, 1)[0];
    scene.send(conn, "IDENT dev\r\nPUBLISH news x\r\nPING\r\n");
    scene.come_to_rest();
    let refused = "-ERR the supervisor does not keep up; come back later\r\n";
    let told = String::from_utf8(scene.recv(conn)).unwrap();
    assert_eq!(told, format!("{refused}{refused}+PONG\r\n"));
}
