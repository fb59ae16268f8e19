//! Endings of clients that are connected and take no part: silent, frozen, or not reading.

use crate::close::stage::{Crowd, LADDER, Place, Stage, and, connect, connect_narrow, ends, ladder};
use crate::common::until;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Room in the grace for what the verdict rests on: once a connection has been quiet for a second the kernel
/// probes, and the answer counts. Two probes, not one: one can be lost.
const SOON: &str = "heartbeat.style=client&heartbeat.timeout=500ms&heartbeat.grace=2500ms&keepalive.interval=1s&keepalive.count=9";

/// The time between two clients that are going to be silent. Probes that leave within one tick by the thousand
/// overrun the kernel's own input queue (`net.core.netdev_max_backlog`, 1000), and what is dropped there is
/// not answered: their hosts would pass for lost.
const PACE: Duration = Duration::from_micros(200);

/// A socket buffer of the server's that is full soon.
const NARROW: &str = "send_buffer=4KiB&output_low=1KiB&output_high=2KiB&frame_max=2KiB";

pub fn a_client_is_silent_but_alive(place: Place) {
    for protocol in ["echo", "resp"] {
        let stage = Stage::start(place, &ladder(protocol, SOON), &[]);
        let each = stage.count.div_ceil(3);
        let said = if protocol == "resp" { "BEAT\r\n" } else { "" };
        let mut crowds = LADDER.map(|listener| connect_paced(stage.server.address(listener), each, said));
        // No goodbye: a client that does not beat is not there to be told.
        for crowd in &mut crowds {
            crowd.expect_to_end("");
        }
        stage.assert_ended(&ends(3 * each, "stuck.frozen", "heartbeat", "linger2"));
    }
}

/// The clients are a process that was stopped: its kernel acknowledges, its program does not move.
pub fn a_client_is_frozen(place: Place) {
    let stage = Stage::start(place, &ladder("resp", SOON), &[]);
    let each = stage.count.div_ceil(3);
    let addresses = LADDER.map(|listener| stage.server.address(listener).to_string());
    let mut holder = Holder::start(&addresses.join(","), each);
    holder.signal("STOP");
    stage.assert_ended(&ends(3 * each, "stuck.frozen", "heartbeat", "linger2"));
    // Awake again, it finds its data and a clean end.
    holder.signal("CONT");
    holder.read_all(&format!("{} clean ends after +PONG", 3 * each));
    stage.assert_no_socket_left(true);
}

/// `slow.bytes` by the client's own doing: it sends to echo and does not read what comes back.
pub fn a_client_does_not_read_what_it_asked_for(place: Place) {
    let stage = Stage::start(place, &ladder("echo", &format!("{NARROW}&output_max=4KiB")), &[]);
    let (mut clients, count) = connect_narrow_ladder(&stage);
    let flood = [b'x'; 16 * 1024];
    until("every flood to be cut off", || {
        // A reset is the answer to a flood, whatever of it the kernel had taken.
        clients.retain_mut(|client| match client.write(&flood) {
            Ok(_) => true,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        });
        clients.is_empty()
    });
    stage.assert_ended(&ends(count, "slow.bytes", "policy", "reset"));
}

/// `slow.bytes` by the doing of others: a subscriber that does not read.
pub fn a_subscriber_falls_too_far_behind(place: Place) {
    let stage = Stage::start(place, &ladder("resp", &format!("{NARROW}&output_max=8KiB")), &[]);
    let (mut clients, count) = connect_narrow_ladder(&stage);
    for client in &mut clients {
        client.set_nonblocking(false).unwrap();
        client.write_all(b"SUBSCRIBE news\r\n").unwrap();
        let mut confirmed = [0; b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n".len()];
        client.read_exact(&mut confirmed).unwrap();
    }
    let mut publisher = connect(stage.server.address("waits"));
    let mut reply = BufReader::new(publisher.try_clone().unwrap());
    let message = [b'x'; 1024];
    until("nobody to listen any more", || {
        publisher.write_all(b"*3\r\n$7\r\nPUBLISH\r\n$4\r\nnews\r\n$1024\r\n").unwrap();
        publisher.write_all(&message).unwrap();
        publisher.write_all(b"\r\n").unwrap();
        let mut listeners = String::new();
        reply.read_line(&mut listeners).unwrap();
        listeners == ":0\r\n"
    });
    drop((publisher, reply));
    let publisher = ends(1, "peer.fin", "zero_read", "peer_first");
    stage.assert_ended(&and(ends(count, "slow.bytes", "policy", "reset"), publisher));
}

pub fn a_client_takes_nothing_for_too_long(place: Place) {
    let stage = Stage::start(place, &ladder("echo", &format!("{NARROW}&slow_time=500ms")), &[]);
    let (mut clients, count) = connect_narrow_ladder(&stage);
    // More than both kernels' buffers take on the way back, and less than would block on the way out.
    let data = vec![b'x'; 32 * 1024];
    for client in &mut clients {
        client.set_nonblocking(false).unwrap();
        client.write_all(&data).unwrap();
    }
    stage.assert_ended(&ends(count, "slow.time", "timer", "reset"));
}

/// Clients that come one after the other, say something, and nothing any more.
fn connect_paced(address: SocketAddr, count: usize, said: &str) -> Crowd {
    let begun = Instant::now();
    let come = |index| {
        let due = PACE * u32::try_from(index).expect("some thousands");
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
        let mut stream = connect(address);
        stream.write_all(said.as_bytes()).expect("the bytes go out");
        stream
    };
    Crowd((0..count).map(come).collect())
}

/// Non-blocking clients with small receive buffers, on all listeners of the ladder.
fn connect_narrow_ladder(stage: &Stage) -> (Vec<TcpStream>, usize) {
    let each = stage.count.div_ceil(3);
    let mut clients = Vec::new();
    for listener in LADDER {
        let address = stage.server.address(listener);
        clients.extend((0..each).map(|_| connect_narrow(address)));
    }
    for client in &clients {
        client.set_nonblocking(true).unwrap();
    }
    (clients, 3 * each)
}

/// Another process that holds client connections, so that they can be stopped: this test binary again, as
/// [`holder`].
struct Holder {
    child: Child,
    output: BufReader<ChildStdout>,
}

const HOLD: &str = "LINGER_TEST_HOLD";

impl Holder {
    fn start(addresses: &str, each: usize) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "close::by_silence::holder", "--nocapture"])
            .env(HOLD, format!("{addresses} {each}"))
            // A group of its own, which is orphaned only when this process dies: then the kernel sends
            // SIGHUP to it, as to any orphaned group with a stopped member, and nothing is left of it.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test binary starts");
        let output = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut holder = Self { child, output };
        holder.expect_line("connected");
        holder
    }

    fn signal(&self, name: &str) {
        crate::close::stage::run("kill", &[&format!("-{name}"), &self.child.id().to_string()]);
    }

    fn read_all(&mut self, expected: &str) {
        let input = self.child.stdin.as_mut().expect("stdin is piped");
        input.write_all(b"read\n").expect("the holder is awake");
        self.expect_line(expected);
    }

    /// Skips what the test harness prints.
    fn expect_line(&mut self, expected: &str) {
        let mut lines = self.output.by_ref().lines().map(|line| line.expect("text"));
        assert!(lines.any(|line| line.ends_with(expected)), "the holder did not say: {expected}");
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// No test by itself: the process behind [`Holder`].
#[test]
fn holder() {
    let Ok(task) = std::env::var(HOLD) else { return };
    linger::sys::limits::raise_descriptors();
    let (addresses, each) = task.split_once(' ').unwrap();
    let each: usize = each.parse().unwrap();
    let mut crowd = Crowd(Vec::new());
    for address in addresses.split(',') {
        let address = address.parse().unwrap();
        crowd.0.extend(connect_paced(address, each, "PING\r\n").0);
    }
    println!("\nconnected");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    crowd.expect_to_end("+PONG\r\n");
    println!("\n{} clean ends after +PONG", crowd.len());
}
