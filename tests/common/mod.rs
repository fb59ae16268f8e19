//! What the tests on the real kernel share: a server as a child process, its log and metrics read as a user
//! would read them, and the kernel's own view of its sockets.
//!
//! Nothing here sleeps for luck: [`until`] waits for a condition, with a deadline that only a failure reaches.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary includes this file and uses its own part of it"
)]
#![expect(clippy::disallowed_types, reason = "clients of the tests are ordinary blocking ones")]
#![expect(clippy::disallowed_methods, reason = "tests wait on the real clock")]

pub mod file;
pub mod http;
pub mod manners;
pub mod means;
pub mod netns;
pub mod pki;
pub mod tls;

use linger::core::tcp::TcpState;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy machine; only a failing test waits for it.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The real clock.
pub fn now() -> Instant {
    Instant::now()
}

/// Lets time pass in which nothing must happen.
pub fn pass(time: Duration) {
    std::thread::sleep(time);
}

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within [`DEADLINE`]; says `what` was waited for.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < DEADLINE, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// As [`until`], for something that is found.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    until(what, || {
        found = look();
        found.is_some()
    });
    found.expect("until has seen it")
}

/// The header with the token of `tests/common/token`, for servers that ask for it (`admin.token_file`).
pub const BEARER: &str = "Authorization: Bearer a-token-that-only-tests-have\r\n";

/// `linger serve` as a child process. Dropping it kills it.
pub struct Server {
    child: Child,
    log: Arc<Mutex<Vec<Value>>>,
    /// Local and remote addresses of the connections before it was started. Its port may be one that another server had.
    earlier: HashSet<(String, String)>,
}

impl Server {
    /// Starts `linger serve` with `arguments`, and waits until it listens. Its log is JSON at debug level.
    /// Give listeners port 0 and ask [`address`](Self::address) for the one they got.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_as(&[env!("CARGO_BIN_EXE_linger")], arguments)
    }

    /// The same, by way of another program such as `unshare -n`: `program` is what comes before `serve`.
    pub fn start_as(program: &[&str], arguments: &[&str]) -> Self {
        Self::start_with([Stdio::null(), Stdio::null()], program, arguments)
    }

    /// The same, with what the program has as its standard input and output.
    pub fn start_with([input, output]: [Stdio; 2], program: &[&str], arguments: &[&str]) -> Self {
        // Tests run side by side, and their clients together are more than the usual 1,024 descriptors.
        linger::sys::limits::raise_descriptors();
        // The usual port of the admin interface is one for all of them.
        let is_said = arguments.iter().any(|it| it.contains("admin") || *it == "--config");
        let admin: &[&str] = if is_said { &[] } else { &["--admin", "127.0.0.1:0"] };
        let connections = sockets().into_iter().filter(|(.., state)| *state != TcpState::Listen);
        let earlier = connections.map(|(local, remote, _)| (local, remote)).collect();
        let mut child = Command::new(program[0])
            .args(&program[1..])
            .args([
                "serve",
                "--log",
                "debug",
                "--log-format",
                "json",
                "--set",
                "log.endings_per_second=1000000",
            ])
            .args(admin)
            .args(arguments)
            .stdin(input)
            .stdout(output)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
        let sink = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                sink.lock().expect("no reader panics with the lock").push(event);
            }
        });
        let mut server = Self { child, log, earlier };
        let admin = !arguments.windows(2).any(|pair| pair == ["--admin", "off"]);
        let wanted = if admin { "admin" } else { "" };
        until("the server to listen", || {
            assert!(
                server.child.try_wait().expect("the child can be waited for").is_none(),
                "the server did not start: {:?}",
                server.log.lock().expect("no reader panics with the lock")
            );
            // Listeners are told in order, the admin's last.
            server.events("listening").iter().any(|event| wanted.is_empty() || event["listener"] == wanted)
        });
        server
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All log events of that name so far.
    pub fn events(&self, name: &str) -> Vec<Value> {
        let log = self.log.lock().expect("no reader panics with the lock");
        log.iter().filter(|event| event["event"] == name).cloned().collect()
    }

    /// Waits until there are so many log events of that name; there must not be more by then.
    pub fn logs(&self, name: &str, count: usize) {
        until(&format!("{count} lines {name}"), || self.events(name).len() >= count);
        assert_eq!(self.events(name).len(), count, "{name}");
    }

    /// Lines that were not log events: panics, say.
    pub fn stray_lines(&self) -> Vec<String> {
        let log = self.log.lock().expect("no reader panics with the lock");
        log.iter().filter_map(|event| event.as_str().map(str::to_owned)).collect()
    }

    /// The End records so far.
    pub fn ends(&self) -> Vec<Value> {
        self.events("end")
    }

    /// Waits for an End record with that reason, and gives the first: the log has it a little later than the metrics.
    pub fn end_of(&self, reason: &str) -> Value {
        wait_for(reason, || self.ends().into_iter().find(|end| end["reason"] == reason))
    }

    /// Waits for `count` End records of clients (not of the admin interface) and gives them all.
    pub fn wait_ends(&self, count: usize) -> Vec<Value> {
        wait_for(&format!("{count} endings"), || {
            let mut ends = self.ends();
            ends.retain(|end| end["listener"] != "admin");
            (ends.len() >= count).then_some(ends)
        })
    }

    /// The address of a listener.
    pub fn address(&self, listener: &str) -> SocketAddr {
        let listening = self.events("listening");
        let event = listening.iter().find(|event| event["listener"] == listener).expect("such a listener");
        event["address"].as_str().expect("a string").parse().expect("an address")
    }

    /// A client connection.
    pub fn connect(&self, listener: &str) -> Client {
        Client::connect(self.address(listener))
    }

    /// One request to the admin interface: status line and body. Of HTTP/1.0, so that the body has no chunks.
    pub fn admin(&self, method: &str, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.address("admin")).expect("the admin interface answers");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
        write!(stream, "{method} {path} HTTP/1.0\r\nHost: localhost\r\n{BEARER}\r\n")
            .expect("the request goes out");
        // Closing first, so that the server does not wait for that; it answers a half-closed client all the same. If it was
        // quicker, and has cut its end (ENOTCONN), the answer is here.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the answer is text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
        (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
    }

    /// All metrics: name with labels, and value.
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        let (_, page) = self.admin("GET", "/metrics");
        metrics_of(&page)
    }

    /// How many connections have ended for `reason`.
    pub fn ended(&self, reason: &str) -> u64 {
        let class = reason.split('.').next().unwrap_or_default();
        let name = format!("linger_ends_total{{class=\"{class}\",reason=\"{reason}\"}}");
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a counter, far below 2^53"
        )]
        let count = self.metrics()[&name] as u64;
        count
    }

    /// The connections of `listener`, as the admin interface lists them.
    pub fn connections(&self, listener: &str) -> Vec<Value> {
        let (_, body) = self.admin("GET", &format!("/connections?listener={listener}&limit=10000"));
        let mut answer: Value = serde_json::from_str(&body).expect("JSON");
        answer["connections"].take().as_array().cloned().unwrap_or_default()
    }

    /// The kernel's sockets on the server's side of `listener`, counted by state name.
    pub fn socket_states(&self, listener: &str) -> BTreeMap<&'static str, usize> {
        let port = self.address(listener).port();
        let mut states = BTreeMap::new();
        for (local, remote, state) in sockets() {
            let its_port = local.rsplit(':').next().and_then(|hex| u16::from_str_radix(hex, 16).ok());
            if its_port == Some(port) && !self.earlier.contains(&(local, remote)) {
                *states.entry(state.name()).or_default() += 1;
            }
        }
        states
    }

    /// Sockets on the server's side of `listener` in `state`.
    pub fn sockets_in(&self, listener: &str, state: &str) -> usize {
        self.socket_states(listener).get(state).copied().unwrap_or(0)
    }

    /// Descriptors that the process has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).map_or(0, Iterator::count)
    }

    /// Sends a signal by name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// Waits for the process to exit and gives its code; `None` if a signal ended it.
    pub fn wait_exit(&mut self) -> Option<i32> {
        let status =
            wait_for("the server to exit", || self.child.try_wait().expect("the child can be waited for"));
        status.code()
    }
}

/// Metrics by name and labels. What is told of the connections of each listener is added up over those for clients.
pub fn metrics_of(page: &str) -> BTreeMap<String, f64> {
    const BY_LISTENER: [&str; 8] = [
        "linger_ends_total",
        "linger_detections_total",
        "linger_closes_total",
        "linger_connections_accepted_total",
        "linger_connections_shed_total",
        "linger_received_bytes_total",
        "linger_sent_bytes_total",
        "linger_undelivered_bytes_total",
    ];
    let mut metrics = BTreeMap::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let value: f64 = value.parse().expect("a number");
        let by_listener = series.split_once("{listener=\"").filter(|(name, _)| BY_LISTENER.contains(name));
        let Some((name, labels)) = by_listener else {
            metrics.insert(series.to_owned(), value);
            continue;
        };
        let (listener, others) = labels.split_once('"').expect("a label ends");
        let others = others.trim_start_matches(',').trim_end_matches('}');
        let sum = if others.is_empty() { name.to_owned() } else { format!("{name}{{{others}}}") };
        *metrics.entry(sum).or_default() += if listener == "admin" { 0.0 } else { value };
    }
    metrics
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An ordinary blocking client.
pub struct Client {
    pub stream: TcpStream,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the server accepts");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
        stream.set_write_timeout(Some(DEADLINE)).expect("a timeout can be set");
        Self { stream }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the bytes go out");
    }

    /// Reads exactly as many bytes as `expected` has, and compares.
    pub fn expect(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        let mut got = vec![0; expected.len()];
        self.stream.read_exact(&mut got).expect("as many bytes as expected");
        assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(expected));
    }

    /// Reads until what came ends in `expected`.
    pub fn expect_until(&mut self, expected: &str) {
        let mut got = Vec::new();
        while !got.ends_with(expected.as_bytes()) {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).unwrap_or_else(|error| {
                panic!("{error} where {expected:?} was due, after {:?}", String::from_utf8_lossy(&got))
            });
            got.push(byte[0]);
        }
    }

    /// Sends a command line and compares the answer.
    pub fn ask(&mut self, line: &str, expected: &str) {
        self.send(format!("{line}\r\n"));
        self.expect(expected);
    }

    /// Reads to the end of file: what came before it, or the error that came in its place.
    pub fn read_to_end(&mut self) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes).map(|_| bytes)
    }

    /// Closes by RST.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("SO_LINGER {1,0}");
    }

    /// Says FIN, and keeps reading.
    pub fn half_close(&self) {
        self.stream.shutdown(std::net::Shutdown::Write).expect("an open connection");
    }
}

/// The TCP sockets of this network namespace, from `/proc/net/tcp` and `tcp6`: local and remote address as they stand there,
/// and the state.
pub fn sockets() -> Vec<(String, String, TcpState)> {
    let read = std::fs::read_to_string::<&str>;
    // There is no second table where the kernel has no IPv6.
    let tables =
        [read("/proc/net/tcp").expect("the table is readable"), read("/proc/net/tcp6").unwrap_or_default()];
    let rows = tables.iter().flat_map(|table| table.lines().skip(1));
    rows.filter_map(|row| {
        let mut fields = row.split_whitespace().skip(1).map(str::to_owned);
        let (local, remote, state) = (fields.next()?, fields.next()?, fields.next()?);
        Some((local, remote, TcpState::from_number(u8::from_str_radix(&state, 16).ok()?)))
    })
    .collect()
}

/// Bytes that were sent and are not acknowledged yet, in a table such as `/proc/net/tcp`: from local port `port`, or from any.
pub fn in_flight(table: &str, port: Option<u16>) -> u64 {
    let text = std::fs::read_to_string(table).expect("the table of sockets is readable");
    let rows = text.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    // `local` and `tx_queue:rx_queue`, in hexadecimal (proc_net_tcp.txt of the kernel).
    let hex = |field: &str| u64::from_str_radix(field, 16).expect("a number");
    let wanted = |row: &Vec<&str>| {
        let of_port = row[1].rsplit(':').next().map(hex);
        row[3] == "01" && port.is_none_or(|port| of_port == Some(port.into()))
    };
    rows.filter(wanted).map(|row| hex(&row[4][..8])).sum()
}

/// Whether this process runs in a network namespace made for the tests. Tests that need one are ignored by
/// plain `cargo test`; `scripts/ci.sh` runs them by `unshare -n`.
pub fn in_own_namespace() -> bool {
    std::env::var_os("LINGER_TEST_NAMESPACE").is_some()
}
