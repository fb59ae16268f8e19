//! What a turn does for the admin interface, on the simulated kernel.

use super::super::{Reactor, Reload, Requested};
use super::WORK_PER_TURN;
use crate::config::settings::Settings;
use crate::config::{Override, Sources, resolve_text};
use crate::net::{Received, Sent};
use crate::sim::faults::Faults;
use crate::sim::kernel::{SimKernel, Stage};
use crate::sim::peer::Cast;
use crate::sim::rng::Rng;
use crate::sim::tcp::Sizes;
use crate::sim::world::{Side, World};
use std::cell::RefCell;
use std::rc::Rc;

const SIZES: Sizes =
    Sizes { output_max: 256 * 1024, input_max: 256 * 1024, segment_max: 16 * 1024, rto: 200_000_000 };
/// The listeners, in the order of the settings.
const ECHO: usize = 0;
const ADMIN: usize = 1;

/// A configuration that nobody reads again.
struct NoFile;

impl Reload for NoFile {
    fn request(&mut self, _: Option<String>) -> Requested {
        Requested::Begun
    }

    fn take(&mut self) -> Option<Result<Settings, String>> {
        None
    }
}

/// A server, and clients that do what a test tells them.
struct Scene {
    stage: Rc<RefCell<Stage>>,
    reactor: Reactor<SimKernel>,
}

impl Scene {
    fn new() -> Self {
        let overrides = [("admin.address", "127.0.0.1:7070"), ("audit.interval", "off")];
        let overrides = overrides.map(|(key, value)| Override {
            flag: "--set".to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
        });
        let listen = vec!["echo://127.0.0.1:7000".to_owned()];
        let settings = resolve_text(&Sources { file: None, listen, overrides: overrides.to_vec() }, None)
            .unwrap()
            .settings;
        let world = World::new(Faults::none(), &mut Rng::new(1));
        let stage = Rc::new(RefCell::new(Stage { world, cast: Cast::empty() }));
        let kernel = SimKernel::new(Rc::clone(&stage));
        let reactor = Reactor::new(kernel, settings, 10_000, Box::new(NoFile)).unwrap();
        Self { stage, reactor }
    }

    fn connect(&mut self, listener: usize) -> usize {
        let world = &mut self.stage.borrow_mut().world;
        let host = world.add_host(20_000);
        world.connect(host, listener, 0, SIZES)
    }

    /// Connects so many, and lets the server take them.
    fn crowd(&mut self, listener: usize, count: usize) -> Vec<usize> {
        let all = (0..count).map(|_| self.connect(listener)).collect();
        let before = self.reactor.table.len();
        while self.reactor.table.len() < before + count {
            self.reactor.turn().unwrap();
        }
        all
    }

    fn send(&self, conn: usize, text: &str) {
        let sent = self
            .stage
            .borrow_mut()
            .world
            .act(conn, Side::Client, |sock, now, out| sock.send(text.as_bytes(), now, out));
        assert_eq!(sent, Some(Sent::Bytes(text.len())));
    }

    fn recv(&self, conn: usize) -> Vec<u8> {
        let (mut all, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
        let mut world = self.stage.borrow_mut();
        while let Some(Received::Bytes(count)) =
            world.world.act(conn, Side::Client, |sock, _, out| sock.recv(&mut buffer, out))
        {
            all.extend_from_slice(&buffer[..count]);
        }
        all
    }

    /// Bytes of answers that were produced so far.
    fn produced(&self) -> u64 {
        let owed: usize = self.reactor.table.iter().map(|(_, conn)| conn.owed()).sum();
        self.reactor.counters.listeners[ADMIN].bytes_out + owed as u64
    }

    /// One turn; the bytes that it has produced.
    fn turn(&mut self) -> u64 {
        let before = self.produced();
        self.reactor.turn().unwrap();
        assert_eq!(self.reactor.inspect().mistakes(), [""; 0]);
        self.produced() - before
    }
}

/// Answers that have ended, of chunks and of none.
fn ended(text: &[u8], end: &[u8]) -> usize {
    text.windows(end.len()).filter(|window| *window == end).count()
}

#[test]
fn a_turn_does_a_bounded_amount_for_all_who_ask_together() {
    let mut scene = Scene::new();
    scene.crowd(ECHO, 512);
    let askers = scene.crowd(ADMIN, 6);
    for &asker in &askers {
        scene.send(asker, &"GET /connections?limit=10000 HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(3));
    }
    let mut taken = vec![Vec::new(); askers.len()];
    let (mut turns, mut all) = (0, 0);
    while taken.iter().any(|text| ended(text, b"\r\n0\r\n\r\n") < 3) {
        let produced = scene.turn();
        // A row and a head may lie above each share.
        assert!(produced <= (WORK_PER_TURN + 16 * 1024) as u64, "{produced} bytes in turn {turns}");
        (turns, all) = (turns + 1, all + produced);
        for (text, &asker) in taken.iter_mut().zip(&askers) {
            text.extend(scene.recv(asker));
        }
        assert!(turns < 10_000, "it comes to its end");
    }
    assert!(all > 1_000_000, "{all} bytes");
    // In turns: no one of them had all of its answers before another had any.
    assert!(taken.iter().all(|text| ended(text, b"\"key\":") >= 3 * 512));
}

#[test]
fn many_requests_in_one_receive_are_served_over_several_turns() {
    let mut scene = Scene::new();
    scene.crowd(ECHO, 64);
    let asker = scene.crowd(ADMIN, 1)[0];
    let request = "HEAD /connections HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let count = 60_000 / request.len();
    scene.send(asker, &request.repeat(count));
    let (mut answers, mut turns, mut most) = (0, 0, 0);
    while answers < count {
        scene.turn();
        let text = scene.recv(asker);
        let got = ended(&text, b"HTTP/1.1 200 OK");
        most = most.max(got);
        (answers, turns) = (answers + got, turns + 1);
        assert!(turns < 10_000, "it comes to its end");
    }
    assert!(most < count / 4, "{most} of {count} in one turn");
}
