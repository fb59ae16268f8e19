//! The server's process is stopped, frozen or kept busy while its clients go on. What they sent meanwhile lies in the
//! kernel when the server comes to itself, and every deadline has passed: none of that is a client's silence.
//!
//! Four kinds of clients, each kept alive by another deadline, and a control: once they fall silent, each is found.

#![expect(clippy::disallowed_methods, reason = "tests on the real kernel have to let time pass")]

use crate::common::{Client, Server, until};
use linger::config::{Sources, load};
use linger::core::conn::State;
use linger::core::end::Class;
use linger::net::{
    Address, Answers, ConnectError, ConnectSpec, Families, Fatal, HostCounters, HostName, Interest, Kernel,
    ListenSpec, Polled, Ready, Rows, Signal, SocketError, SocketQuery, SocketRow, Spliced, Token, Usage,
};
use linger::reactor::{ConnSnapshot, NoReload, Reactor};
use linger::sys::{Listener, Os, Stream};
use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
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
    /// When it has spoken last.
    spoke: Instant,
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
            // Not all at once. When they fall silent, the server probes each as long after its last word, and the queue of a
            // loopback device drops what is more than `net.core.netdev_max_backlog` (1,000 packets; `net/core/dev.c:
            // enqueue_to_backlog`): a kernel that was not asked has not answered.
            let count = u32::try_from(chatters.len()).expect("some thousands");
            for (chatter, number) in chatters.iter_mut().zip(0..) {
                chatter.spoke = round + BEAT * number / count;
            }
            while !stopped.load(Ordering::Relaxed) {
                for Chatter { client, says, answers, spoke } in &mut chatters {
                    let asked = receive(client, &mut buffer);
                    if if *answers { asked } else { spoke.elapsed() >= BEAT } {
                        client.stream.write_all(says).expect("a line fits into the buffer");
                        *spoke = Instant::now();
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

fn connect(to: SocketAddr, first: &str, answer: &str) -> Client {
    let mut client = Client::connect(to);
    client.send(first);
    client.expect(answer);
    client.stream.set_nonblocking(true).expect("a socket can be non-blocking");
    client
}

/// Used ones, beating ones, such as are pinged, and pairs of a silent holder and the channel that beats for it.
fn chatters(each: usize, address: impl Fn(&str) -> SocketAddr) -> Vec<Chatter> {
    let mut chatters = Vec::new();
    for number in 0..each {
        let mut add = |listener, first: &str, answer, says, answers| {
            let client = connect(address(listener), first, answer);
            chatters.push(Chatter { client, says, answers, spoke: Instant::now() });
        };
        add("used", "x", "x", b"y".as_slice(), false);
        add("beating", "PING\r\n", "+PONG\r\n", b"BEAT\r\n", false);
        add("pinged", &format!("IDENT p{number} BEAT 5 SERVERPING\r\n"), "+OK\r\n", b"BEAT\r\n", true);
        // The holder says nothing any more: what its channel says is what counts.
        add("beating", &format!("IDENT h{number} CHANNEL t0ken\r\n"), "+OK\r\n", b"", false);
        add("beating", &format!("BEATFOR h{number} t0ken\r\n"), "+OK\r\n", b"BEAT\r\n", false);
    }
    chatters
}

/// Does something to the server in the midst of its clients' lives; nobody must be ended or suspected for it.
fn assert_nobody_is_blamed(stall: impl Fn(&Server)) {
    let listeners = LISTENERS.iter().flat_map(|listener| ["--listen", listener]);
    let server = Server::start(&listeners.chain(["--admin", "127.0.0.1:0"]).collect::<Vec<_>>());
    let crowd = Crowd::start(chatters(EACH, |listener| server.address(listener)));
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
    until("everyone that is silent to be ended", || clients(&server.ends()) >= 5 * EACH);
    let ends = server.ends();
    let mut reasons = BTreeMap::new();
    for end in ends.iter().filter(|end| end["listener"] != "admin") {
        *reasons.entry(end["reason"].as_str().expect("a reason")).or_insert(0) += 1;
    }
    assert_eq!(reasons, [("local.idle", EACH), ("stuck.frozen", 4 * EACH)].into());
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

/// A control group whose processes can be frozen. Dropping it thaws them, and removes it.
struct Freezer {
    group: PathBuf,
    /// Which file freezes, with what, and thaws, with what.
    switch: (&'static str, &'static str, &'static str),
}

impl Freezer {
    /// Of the first version of control groups, or of the second; none: neither is here, or not for us to use.
    fn of(pid: u32) -> Option<Self> {
        let kinds = [
            ("/sys/fs/cgroup/freezer", ("freezer.state", "FROZEN", "THAWED")),
            ("/sys/fs/cgroup", ("cgroup.freeze", "1", "0")),
        ];
        kinds.into_iter().find_map(|(root, switch)| {
            let group = Path::new(root).join(format!("linger-test-{pid}"));
            fs::create_dir(&group).ok()?;
            let freezer = Self { group, switch };
            let joined = fs::write(freezer.group.join("cgroup.procs"), pid.to_string()).is_ok();
            (joined && freezer.group.join(switch.0).exists()).then_some(freezer)
        })
    }

    fn freeze(&self, frozen: bool) {
        let (file, freeze, thaw) = self.switch;
        let value = if frozen { freeze } else { thaw };
        fs::write(self.group.join(file), value).expect("the group can be frozen and thawed");
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        let _ = fs::write(self.group.join(self.switch.0), self.switch.2);
        // It can be removed once nobody is in it any more.
        let parent = self.group.parent().map(|root| root.join("cgroup.procs"));
        let processes = fs::read_to_string(self.group.join("cgroup.procs")).unwrap_or_default();
        for pid in processes.lines() {
            let _ = parent.as_ref().map(|parent| fs::write(parent, pid));
        }
        let _ = fs::remove_dir(&self.group);
    }
}

#[test]
#[ignore = "needs root and a control group that can be frozen: scripts/ci.sh runs it"]
fn a_process_that_was_frozen_blames_nobody() {
    assert_nobody_is_blamed(|server| {
        let freezer = Freezer::of(server.pid()).expect("a control group that can be frozen");
        freezer.freeze(true);
        sleep(Duration::from_secs(10));
        freezer.freeze(false);
    });
}

/// The real kernel, but that the loop is kept busy: after a poll, so that what it has brought grows old; or before one.
struct Busy {
    os: Os,
    /// For how long the next time, in milliseconds, after a poll and before one.
    after: Arc<AtomicU64>,
    before: Arc<AtomicU64>,
}

fn spin(millis: &AtomicU64) {
    let begun = Instant::now();
    let length = Duration::from_millis(millis.swap(0, Ordering::Relaxed));
    while begun.elapsed() < length {
        std::hint::spin_loop();
    }
}

impl Kernel for Busy {
    type Listener = Listener;
    type Stream = Stream;
    const BULK_BYTES: usize = Os::BULK_BYTES;

    fn now(&mut self) -> linger::core::time::Instant {
        self.os.now()
    }

    fn memory(&self) -> Option<u64> {
        self.os.memory()
    }

    fn shared_clock(&mut self) -> u64 {
        self.os.shared_clock()
    }

    fn poll(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> Result<Polled, Fatal> {
        spin(&self.before);
        let polled = self.os.poll(timeout, ready);
        spin(&self.after);
        polled
    }

    fn connect(&mut self, spec: &ConnectSpec<'_>, token: Token) -> Result<Stream, ConnectError> {
        self.os.connect(spec, token)
    }

    fn could_be_own_peer(&self, to: &Address) -> bool {
        self.os.could_be_own_peer(to)
    }

    fn resolve(&mut self, names: &[HostName]) -> Answers {
        self.os.resolve(names)
    }

    fn start_resolving(&mut self, names: Vec<HostName>) -> Result<(), Fatal> {
        self.os.start_resolving(names)
    }

    fn resolved(&mut self) -> Option<Answers> {
        self.os.resolved()
    }

    fn listen(&mut self, spec: &ListenSpec, token: Token) -> Result<Listener, Fatal> {
        self.os.listen(spec, token)
    }

    fn watch(&mut self, stream: &Stream, token: Token, interest: Interest) -> Result<(), SocketError> {
        self.os.watch(stream, token, interest)
    }

    fn rewatch(&mut self, stream: &Stream, token: Token, interest: Interest) -> Result<(), SocketError> {
        self.os.rewatch(stream, token, interest)
    }

    fn splice(&mut self, from: &Stream, to: &Stream, rest: &mut [u8]) -> Spliced {
        self.os.splice(from, to, rest)
    }

    fn next_signal(&mut self) -> Option<Signal> {
        None
    }

    fn host_counters(&mut self) -> Option<HostCounters> {
        self.os.host_counters()
    }

    fn usage(&mut self) -> Option<Usage> {
        self.os.usage()
    }

    fn release_reserve(&mut self) -> bool {
        false
    }

    fn retake_reserve(&mut self) {}

    fn start_sockets(&mut self, query: &SocketQuery, families: Families) -> Result<(), Fatal> {
        self.os.start_sockets(query, families)
    }

    fn read_sockets(&mut self, rows: &mut Vec<SocketRow>) -> Result<Rows, Fatal> {
        self.os.read_sockets(rows)
    }

    fn stop_sockets(&mut self) {
        self.os.stop_sockets();
    }
}

/// Runs a server on a kernel that keeps it busy, until told to stop; how many it has ended and suspected.
fn serve_busily(
    kernel: Busy,
    stop: &AtomicBool,
    addresses: &mpsc::Sender<Vec<(String, SocketAddr)>>,
) -> (usize, usize) {
    let listeners = LISTENERS.map(|url| url.replace("5s", "2s").replace("grace=2s", "grace=1s"));
    let sources = Sources { listen: listeners.to_vec(), ..Sources::default() };
    let settings = load(&sources, linger::sys::file::read_regular).expect("sound settings");
    let reload = Box::new(NoReload);
    let mut reactor = Reactor::new(kernel, settings, 10_000, reload).expect("it starts");
    let bound = reactor.addresses().map(|(settings, address)| match address {
        Address::Tcp { socket, .. } => (settings.name.clone(), *socket),
        Address::Unix(_) => unreachable!("all of them are TCP"),
    });
    addresses.send(bound.collect()).expect("the test waits for them");
    reactor.keep_ends();
    let (mut ended, mut suspects) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        reactor.turn().expect("the loop goes on");
        ended += reactor.take_ends().iter().filter(|end| end.end.reason.class() != Class::Peer).count();
        let is_suspect = |snapshot: &ConnSnapshot| matches!(snapshot.state, State::Suspect { .. });
        suspects = suspects.max(reactor.inspect().snapshots().filter(is_suspect).count());
    }
    (ended, suspects)
}

#[test]
fn a_loop_that_was_busy_blames_nobody() {
    let (after, before) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let stop = AtomicBool::new(false);
    let (to, addresses) = mpsc::channel();
    std::thread::scope(|scope| {
        let kernel = Busy {
            os: Os::without_signals().expect("an epoll set"),
            after: Arc::clone(&after),
            before: Arc::clone(&before),
        };
        let serving = scope.spawn(|| serve_busily(kernel, &stop, &to));
        let bound = addresses.recv().expect("it listens");
        let address =
            |listener: &str| bound.iter().find(|(name, _)| name == listener).expect("it is there").1;
        let crowd = Crowd::start(chatters(60, address));
        for stalled in [&after, &before, &after] {
            sleep(Duration::from_secs(1));
            stalled.store(3000, Ordering::Relaxed);
            sleep(Duration::from_secs(5));
        }
        let slowest = Duration::from_millis(crowd.slowest.load(Ordering::Relaxed));
        let chatters = crowd.stop();
        stop.store(true, Ordering::Relaxed);
        let blamed = serving.join().expect("no panic");
        drop(chatters);
        assert!(slowest < Duration::from_secs(1), "the clients themselves were late: {slowest:?}");
        assert_eq!(blamed, (0, 0), "endings and suspicions");
    });
}
