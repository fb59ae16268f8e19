//! The server's process is stopped, frozen or kept busy while its clients go on. What they sent meanwhile lies in the
//! kernel when the server comes to itself, and every deadline has passed: none of that is a client's silence.
//!
//! Four kinds of clients, each kept alive by another deadline, and a control: once they fall silent, each is found.

#![expect(clippy::disallowed_methods, reason = "tests on the real kernel have to let time pass")]

mod common;

use common::{Client, Server, until};
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

/// Connections of each kind.
const EACH: usize = 800;
/// How often a client speaks. Its deadline is ten times as long, so that a busy machine is no reason to miss one.
const BEAT: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_secs(5);

/// What a client says when it is time, and when it is asked.
struct Chatter {
    client: Client,
    says: &'static [u8],
    /// It says that only after the server has pinged.
    answers: bool,
}

/// Clients that speak until they are told to stop, all on one thread.
struct Crowd {
    stop: Arc<AtomicBool>,
    /// The longest that one of them had to wait for its turn, in milliseconds: our own doing, not the server's.
    slowest: Arc<AtomicU64>,
    thread: JoinHandle<Vec<Chatter>>,
}

impl Crowd {
    fn start(mut chatters: Vec<Chatter>) -> Self {
        let (stop, slowest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, slow) = (Arc::clone(&stop), Arc::clone(&slowest));
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 4096];
            let mut round = Instant::now();
            let mut spoke = round;
            while !stopped.load(Ordering::Relaxed) {
                let speak = spoke.elapsed() >= BEAT;
                if speak {
                    spoke = Instant::now();
                }
                for Chatter { client, says, answers } in &mut chatters {
                    let asked = receive(client, &mut buffer);
                    if if *answers { asked } else { speak } {
                        client.stream.write_all(says).expect("a line fits into the buffer");
                    }
                }
                slow.fetch_max(u64::try_from(round.elapsed().as_millis()).expect("short"), Ordering::Relaxed);
                round = Instant::now();
                sleep(Duration::from_millis(20));
            }
            chatters
        });
        Self { stop, slowest, thread }
    }

    /// They fall silent, and stay connected.
    fn stop(self) -> Vec<Chatter> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("nobody was sent away")
    }
}

/// Takes what has come; whether that was anything.
///
/// # Panics
/// When the server has ended the connection.
fn receive(client: &mut Client, buffer: &mut [u8]) -> bool {
    let mut any = false;
    loop {
        match client.stream.read(buffer) {
            Ok(0) => panic!("the server has ended a client that speaks"),
            Ok(_) => any = true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return any,
            Err(error) => panic!("the server has ended a client that speaks: {error}"),
        }
    }
}

const LISTENERS: [&str; 3] = [
    "echo://127.0.0.1:0?name=used&heartbeat.style=off&idle_timeout=5s",
    "resp://127.0.0.1:0?name=beating&heartbeat.style=client&heartbeat.timeout=5s&heartbeat.grace=2s",
    "resp://127.0.0.1:0?name=pinged&heartbeat.style=off&heartbeat.timeout=5s&heartbeat.grace=2s",
];

fn connect(server: &Server, listener: &str, first: &str, answer: &str) -> Client {
    let mut client = server.connect(listener);
    client.send(first);
    client.expect(answer);
    client.stream.set_nonblocking(true).expect("a socket can be non-blocking");
    client
}

/// Used ones, beating ones, such as are pinged, and pairs of a silent holder and the channel that beats for it.
fn chatters(server: &Server) -> Vec<Chatter> {
    let mut chatters = Vec::new();
    for number in 0..EACH {
        let mut add = |listener, first: &str, answer, says, answers| {
            let client = connect(server, listener, first, answer);
            chatters.push(Chatter { client, says, answers });
        };
        add("used", "x", "x", b"y".as_slice(), false);
        add("beating", "PING\r\n", "+PONG\r\n", b"BEAT\r\n", false);
        add("pinged", &format!("IDENT p{number} BEAT 5 SERVERPING\r\n"), "+OK\r\n", b"BEAT\r\n", true);
        // The holder says nothing any more: what its channel says is what counts.
        add("beating", &format!("IDENT h{number}\r\n"), "+OK\r\n", b"", false);
        add("beating", &format!("BEATFOR h{number}\r\n"), "+OK\r\n", b"BEAT\r\n", false);
    }
    chatters
}

/// Does something to the server in the midst of its clients' lives; nobody must be ended or suspected for it.
fn assert_nobody_is_blamed(stall: impl Fn(&Server)) {
    let listeners = LISTENERS.iter().flat_map(|listener| ["--listen", listener]);
    let server = Server::start(&listeners.chain(["--admin", "127.0.0.1:0"]).collect::<Vec<_>>());
    let crowd = Crowd::start(chatters(&server));
    sleep(TIMEOUT / 2);
    stall(&server);
    // As long again as a deadline and the grace: what the stall was the cause of has come out by then.
    sleep(Duration::from_secs(8));
    let slowest = Duration::from_millis(crowd.slowest.load(Ordering::Relaxed));
    let (ends, metrics) = (server.ends(), server.metrics());
    let clients = |ends: &[serde_json::Value]| ends.iter().filter(|end| end["listener"] != "admin").count();
    assert!(
        slowest < TIMEOUT / 2,
        "this machine is so busy that the clients themselves were late: {slowest:?}"
    );
    let suspected = metrics["linger_suspected_total"];
    assert_eq!((clients(&ends), suspected), (0, 0.0), "endings and suspicions: {:?}", ends.first());

    // The control: silence that is theirs is found.
    let silent = crowd.stop();
    until("everyone that is silent to be ended", || server.ends().len() >= 5 * EACH);
    assert_eq!(server.ended("local.idle"), EACH as u64);
    assert_eq!(server.ended("stuck.frozen"), 4 * EACH as u64);
    assert_eq!(server.stray_lines(), [""; 0]);
    drop(silent);
}

#[test]
fn a_process_that_was_stopped_blames_nobody() {
    assert_nobody_is_blamed(|server| {
        server.signal("STOP");
        sleep(Duration::from_secs(10));
        server.signal("CONT");
    });
}
