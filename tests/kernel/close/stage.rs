//! What every kind of ending is played on: a server, crowds of clients, and the three questions asked when
//! all have ended: is every record right, is the kernel's table empty, is nothing leaked.

use crate::common::http::Http;
use crate::common::{DEADLINE, Server, metrics_of, wait_for};
use linger::core::tcp::TcpState;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long the kernel may take for what needs no waiting. Far from the 60 s after which it would forget a
/// `TIME_WAIT` or an orphan by itself: such a one must fail a test, not slow it down.
const PROMPTLY: Duration = Duration::from_secs(15);

/// Endings of a kind, unless the environment wants another number.
const ENDINGS: usize = 500;

/// Descriptors of the test process that are nobody's connection.
const DESCRIPTORS_OF_OUR_OWN: usize = 100;

/// One test at a time: each holds thousands of descriptors, and times things.
static ALONE: Mutex<()> = Mutex::new(());

/// Names and subnets of the veth pairs, of which a few may exist while the kernel takes an older one down.
static NEXT_LINK: AtomicU8 = AtomicU8::new(0);

/// Where the server runs, seen from its clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// In the same network namespace, on loopback. Its sockets are told from the clients' by their port.
    Loopback,
    /// In a namespace of its own, at the other end of a veth pair. There the kernel's counters are the
    /// server's alone, so that a `TIME_WAIT` is counted even if nobody looked while it was there.
    OwnNamespace,
}

/// A kind of End record, and how many of it.
pub type Ends = BTreeMap<(String, String, String), usize>;

/// `count` endings with this reason, detector and way of closing.
pub fn ends(count: usize, reason: &str, detector: &str, close: &str) -> Ends {
    Ends::from([((reason.into(), detector.into(), close.into()), count)])
}

/// All endings of both.
pub fn and(mut ends: Ends, more: Ends) -> Ends {
    for (kind, count) in more {
        *ends.entry(kind).or_default() += count;
    }
    ends
}

/// A listener: name, protocol, and the rest of its URL.
pub type Listener<'a> = (&'a str, &'a str, String);

/// Their names.
pub const LADDER: [&str; 3] = ["waits", "inherits", "bare"];

/// The listeners that show closing in all its forms. `waits`: for clients that close at the goodbye, with
/// a deadline that is never reached. `inherits` and `bare`: for clients that do not, with `TCP_LINGER2`
/// inherited from the listener and without, where it is up to the ladder alone.
pub fn ladder<'a>(protocol: &'a str, more: &str) -> Vec<Listener<'a>> {
    let more = if more.is_empty() { String::new() } else { format!("&{more}") };
    vec![
        ("waits", protocol, format!("linger=1m{more}")),
        ("inherits", protocol, format!("linger=100ms{more}")),
        ("bare", protocol, format!("linger=100ms&linger2=false{more}")),
    ]
}

/// A server, and what it had open when it started.
pub struct Stage {
    pub server: Server,
    /// Endings to play.
    pub count: usize,
    names: Vec<String>,
    ports: Vec<u16>,
    descriptors: usize,
    /// The server's namespace, if it has its own; held open, it outlives the server.
    namespace: Option<File>,
    _alone: MutexGuard<'static, ()>,
}

impl Stage {
    pub fn start(place: Place, listeners: &[Listener<'_>], more: &[&str]) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let link = NEXT_LINK.fetch_add(1, Ordering::Relaxed);
        let host = match place {
            Place::Loopback => Ipv4Addr::LOCALHOST,
            Place::OwnNamespace => Ipv4Addr::new(10, 77, link, 1),
        };
        let urls: Vec<_> = listeners
            .iter()
            .map(|(name, protocol, query)| {
                // A network of the test's own, in which everybody may act on others.
                let open = if *protocol == "resp" { "&protected_mode=false" } else { "" };
                format!("{protocol}://{host}:0?name={name}{open}&{query}")
            })
            .collect();
        let admin = format!("{host}:0");
        // The server hints at a drain that is shorter than the longest linger; no such hint is wanted here.
        let mut arguments = vec![
            "--admin",
            &admin,
            "--set",
            "admin.token_file=tests/common/token",
            "--set",
            "drain.timeout=2h",
        ];
        arguments.extend(urls.iter().flat_map(|url| ["--listen", url]));
        arguments.extend(more);
        let binary = env!("CARGO_BIN_EXE_linger");
        let server = match place {
            Place::Loopback => Server::start_as(&[binary], &arguments),
            Place::OwnNamespace => {
                assert!(
                    crate::common::in_own_namespace(),
                    "this makes network devices: run it in `unshare -n`"
                );
                // The pair is made from within, where the new namespace needs no name. It dies with the server.
                let script = format!(
                    "ip link set lo up && ip link add s{link} type veth peer name c{link} netns $PPID && \
                     ip addr add {host}/24 dev s{link} && ip link set s{link} up && exec {binary} \"$@\""
                );
                let server = Server::start_as(&["unshare", "-n", "bash", "-c", &script, "bash"], &arguments);
                run("ip", &["addr", "add", &format!("10.77.{link}.2/24"), "dev", &format!("c{link}")]);
                run("ip", &["link", "set", &format!("c{link}"), "up"]);
                server
            }
        };
        let mut names: Vec<_> = listeners.iter().map(|(name, ..)| (*name).to_owned()).collect();
        let ports = names.iter().map(|name| server.address(name).port());
        let ports = ports.chain([server.address("admin").port()]).collect();
        names.push("admin".to_owned());
        let descriptors = server.descriptors();
        let namespace = (place == Place::OwnNamespace)
            .then(|| File::open(format!("/proc/{}/ns/net", server.pid())).expect("the server lives"));
        Self { server, count: endings(), names, ports, descriptors, namespace, _alone: alone }
    }

    /// That many clients of a listener.
    pub fn connect(&self, listener: &str, count: usize) -> Crowd {
        let address = self.server.address(listener);
        Crowd((0..count).map(|_| connect(address)).collect())
    }

    /// A third of the clients on each of the [`ladder`]'s listeners, and the whole number.
    pub fn connect_ladder(&self) -> ([Crowd; 3], usize) {
        let each = self.count.div_ceil(3);
        (LADDER.map(|listener| self.connect(listener, each)), 3 * each)
    }

    pub fn admin(&self) -> Admin {
        Admin(Http(BufReader::new(connect(self.server.address("admin")))))
    }

    /// Waits until all clients have ended, and asserts that these are their End records, that the metrics
    /// say the same, and that neither the kernel nor the server has kept anything of them.
    pub fn assert_ended(&self, expected: &Ends) {
        let total = expected.values().sum();
        let metrics = wait_for(&format!("an empty table after {total} endings"), || {
            let metrics = self.admin().metrics();
            let gone = sum(&metrics, "linger_connections{") == 0;
            (gone && sum(&metrics, "linger_ends_total{") >= total).then_some(metrics)
        });
        for name in self.names.iter().filter(|name| *name != "admin") {
            let open = format!("linger_listener_connections{{listener=\"{name}\"");
            assert_eq!(sum(&metrics, &open), 0, "{open}");
        }
        assert_same(&self.records(total), expected);
        self.assert_metrics_agree(&metrics);
        self.assert_no_socket_left(true);
        self.assert_no_descriptor_left();
        assert!(self.server.stray_lines().is_empty(), "{:?}", self.server.stray_lines());
    }

    /// The End records of clients, counted by kind.
    pub fn records(&self, at_least: usize) -> Ends {
        count_ends(&self.server.wait_ends(at_least))
    }

    /// Records are written in the order in which endings are counted: as many of them as the metrics tell of
    /// must give the same sums.
    fn assert_metrics_agree(&self, metrics: &BTreeMap<String, f64>) {
        let counted = sum(metrics, "linger_ends_total{");
        let records = wait_for("the log to catch up", || {
            let mut ends = self.server.ends();
            ends.retain(|end| end["listener"] != "admin");
            (ends.len() >= counted).then(|| ends[..counted].to_vec())
        });
        for (series, label, field) in [
            ("linger_ends_total", "reason", "reason"),
            ("linger_detections_total", "detector", "detector"),
            ("linger_closes_total", "mode", "close"),
        ] {
            let mut logged = BTreeMap::<_, usize>::new();
            for end in &records {
                *logged.entry(end[field].as_str().unwrap().to_owned()).or_default() += 1;
            }
            let label = format!("{label}=\"");
            let told = metrics.iter().filter(|(name, value)| name.starts_with(series) && **value > 0.0);
            let told = told.map(|(name, value)| {
                let (_, rest) = name.split_once(&label).expect("the series has that label");
                (rest.split('"').next().unwrap().to_owned(), whole(*value))
            });
            assert_eq!(told.collect::<BTreeMap<_, _>>(), logged, "{series}");
        }
    }

    /// Asserts that the kernel holds nothing of the server's but its listeners (`listening`), or nothing at
    /// all: never a `TIME_WAIT`, and soon no other state either.
    pub fn assert_no_socket_left(&self, listening: bool) {
        let expected: BTreeMap<_, _> =
            if listening { BTreeMap::from([("LISTEN", self.ports.len())]) } else { BTreeMap::new() };
        let begun = Instant::now();
        loop {
            let states = self.sockets();
            assert_eq!(states.get("TIME_WAIT"), None, "on the server's side: {states:?}");
            if states == expected {
                break;
            }
            assert!(begun.elapsed() < PROMPTLY, "left on the server's side: {states:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        if let Some(count) = self.time_waits() {
            assert_eq!(count, 0, "TIME_WAIT ever entered, by TcpExtTW and TcpExtTWKilled");
        }
    }

    fn assert_no_descriptor_left(&self) {
        wait_for("descriptors as before", || (self.server.descriptors() == self.descriptors).then_some(()));
    }

    /// The sockets of the server's side, by state.
    pub fn sockets(&self) -> BTreeMap<&'static str, usize> {
        let text = self.proc_net("tcp");
        let mut states = BTreeMap::new();
        for line in text.lines().skip(1) {
            let fields: Vec<_> = line.split_whitespace().take(4).collect();
            let port = fields[1].rsplit(':').next().and_then(|hex| u16::from_str_radix(hex, 16).ok());
            if port.is_some_and(|port| self.ports.contains(&port)) {
                let state = u8::from_str_radix(fields[3], 16).expect("a state in hexadecimal");
                *states.entry(TcpState::from_number(state).name()).or_default() += 1;
            }
        }
        states
    }

    /// How often a socket of the server's namespace has entered `TIME_WAIT`
    /// (`net/ipv4/inet_timewait_sock.c: __inet_twsk_schedule`), if it has a namespace of its own.
    pub fn time_waits(&self) -> Option<usize> {
        self.namespace.as_ref()?;
        let text = self.proc_net("netstat");
        let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
        let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
        let fields = names.split_whitespace().zip(values.split_whitespace());
        let wanted = fields.filter(|(name, _)| ["TW", "TWKilled"].contains(name));
        Some(wanted.map(|(_, value)| value.parse::<usize>().expect("a number")).sum())
    }

    /// A file of `/proc/net`, of the server's namespace.
    fn proc_net(&self, file: &str) -> String {
        let path = format!("/proc/self/net/{file}");
        let Some(namespace) = &self.namespace else {
            return std::fs::read_to_string(path).expect("the kernel has it");
        };
        let namespace = format!("--net=/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd());
        let output =
            Command::new("nsenter").args([&namespace, "cat", &path]).output().expect("nsenter starts");
        assert!(output.status.success(), "nsenter {namespace}");
        String::from_utf8(output.stdout).expect("text")
    }
}

/// How many endings of a kind to play, within what the descriptor limit allows: a few tests hold two sockets
/// for each of them, and so does the server.
#[expect(clippy::print_stderr, reason = "the reader of the result must know that it is for fewer")]
fn endings() -> usize {
    let wanted =
        std::env::var("LINGER_TEST_ENDINGS").ok().and_then(|text| text.parse().ok()).unwrap_or(ENDINGS);
    let limit = usize::try_from(linger::sys::limits::raise_descriptors().now).unwrap_or(usize::MAX);
    let allowed = limit.saturating_sub(DESCRIPTORS_OF_OUR_OWN) / 2;
    if wanted > allowed {
        eprintln!("{allowed} endings instead of {wanted}: RLIMIT_NOFILE is {limit}");
    }
    wanted.min(allowed)
}

/// Counts End records by kind.
fn count_ends(records: &[Value]) -> Ends {
    let mut ends = Ends::new();
    for end in records {
        let [reason, detector, close] =
            ["reason", "detector", "close"].map(|field| end[field].as_str().expect("a name").to_owned());
        *ends.entry((reason, detector, close)).or_default() += 1;
    }
    ends
}

/// As `assert_eq!`, in lines that can be read.
pub fn assert_same<T: PartialEq + Debug>(got: &T, expected: &T) {
    assert!(got == expected, "got {got:#?}\nexpected {expected:#?}");
}

fn sum(metrics: &BTreeMap<String, f64>, prefix: &str) -> usize {
    whole(metrics.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, value)| value).sum())
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count, far below 2^53")]
fn whole(value: f64) -> usize {
    value as usize
}

pub fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status();
    assert!(status.is_ok_and(|status| status.success()), "{program} {arguments:?}");
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream =
        TcpStream::connect(address).unwrap_or_else(|error| panic!("connecting to {address}: {error}"));
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
    stream
}

/// A client with a small receive buffer, which is full soon if nobody reads.
pub fn connect_narrow(address: SocketAddr) -> TcpStream {
    use socket2::{Domain, Socket, Type};
    let domain = if matches!(address.ip(), IpAddr::V4(_)) { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::STREAM, None).expect("a socket");
    // Before connecting: the window is negotiated from it.
    socket.set_recv_buffer_size(4096).expect("a size can be set");
    socket.connect(&address.into()).expect("the server accepts");
    socket.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
    socket.into()
}

/// Clients that do the same thing.
pub struct Crowd(pub Vec<TcpStream>);

impl Crowd {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.send_each(|_| bytes.as_ref().to_vec());
    }

    pub fn send_each(&mut self, bytes: impl Fn(usize) -> Vec<u8>) {
        for (index, stream) in self.0.iter_mut().enumerate() {
            stream.write_all(&bytes(index)).expect("the bytes go out");
        }
    }

    pub fn expect(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        let mut got = vec![0; expected.len()];
        for stream in &mut self.0 {
            stream.read_exact(&mut got).expect("as many bytes as expected");
            assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(expected));
        }
    }

    /// What each must be able to read before a clean end of file.
    pub fn expect_to_end(&mut self, expected: impl AsRef<[u8]>) {
        let expected = String::from_utf8_lossy(expected.as_ref());
        for stream in &mut self.0 {
            let mut got = Vec::new();
            let end = stream.read_to_end(&mut got);
            assert!(end.is_ok(), "{end:?} after {:?} in place of end of file", String::from_utf8_lossy(&got));
            assert_eq!(String::from_utf8_lossy(&got), expected);
        }
    }
}

/// A keep-alive connection to the admin interface: a test may have thousands of requests.
pub struct Admin(Http<TcpStream>);

impl Admin {
    pub fn ask(&mut self, method: &str, path: &str) -> (String, String) {
        let answer = self.0.ask(method, path);
        (answer.head.lines().next().unwrap_or_default().to_owned(), answer.body)
    }

    pub fn metrics(&mut self) -> BTreeMap<String, f64> {
        metrics_of(&self.ask("GET", "/metrics").1)
    }

    /// The keys of the connections of a listener.
    pub fn keys(&mut self, listener: &str) -> Vec<String> {
        let (_, body) = self.ask("GET", &format!("/connections?listener={listener}&limit=10000"));
        let list: Value = serde_json::from_str(&body).expect("JSON");
        let list = list["connections"].as_array().expect("a list");
        list.iter().map(|conn| conn["key"].as_str().expect("a key").to_owned()).collect()
    }
}
