//! The service manager that starts the server: what it is told, and the listening sockets that it opens and keeps.

#![allow(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]
#![allow(clippy::disallowed_types, reason = "a client and a service manager may block")]

use crate::common::{Client, Server, until};
use crate::workers::crowd::state;
use linger::net::{Address, ListenSpec, Listener as _, SocketOptions, Supervising as _};
use linger::sys::Os;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_linger");

/// A service manager's end of the way of news.
struct Manager {
    name: String,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("linger-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self { name, socket }
    }

    /// Starts a server that is watched, and is to give a sign of life every 100 ms.
    fn start(&self, arguments: &[&str]) -> Server {
        let socket = format!("NOTIFY_SOCKET=@{}", self.name);
        Server::start_as(&["env", &socket, "WATCHDOG_USEC=200000", BINARY], arguments)
    }

    /// The next piece of news that is no sign of life and does not begin with what all status lines have.
    fn next(&self) -> String {
        loop {
            let news = self.any();
            if news != "WATCHDOG=1" && !news.starts_with("STATUS=") {
                return news;
            }
        }
    }

    fn any(&self) -> String {
        let mut buffer = [0; 4096];
        let count = self.socket.recv(&mut buffer).expect("news comes within a minute");
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    }

    fn expect_status(&self, wanted: &str) {
        until(wanted, || self.any() == format!("STATUS={wanted}"));
    }
}

#[test]
fn a_service_manager_is_told_how_the_server_fares() {
    let workers = ["--set", "server.workers=2"];
    for (more, serves, drains) in [
        (&[][..], "serving 1 clients of at most 100", "draining: 1 clients are left"),
        (&workers[..], "serving: 2 of 2 workers run", "draining: 2 of 2 workers run"),
    ] {
        let manager = Manager::new();
        let arguments = ["--listen", "echo://127.0.0.1:0", "--set", "server.max_connections=100"];
        let mut server = manager.start(&[&arguments[..], more].concat());
        assert_eq!(manager.next(), "READY=1");
        let mut client = server.connect("echo");
        client.send("x");
        client.expect("x");
        manager.expect_status(serves);
        // Its loop goes on to say that it turns.
        for _ in 0..3 {
            until("a sign of life", || manager.any() == "WATCHDOG=1");
        }
        server.signal("HUP");
        let reloading = manager.next();
        let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("the time of the reload");
        assert!(time.parse::<u64>().is_ok_and(|usec| usec > 0), "{time}");
        assert_eq!(manager.next(), "READY=1");
        server.signal("TERM");
        assert_eq!(manager.next(), "STOPPING=1");
        manager.expect_status(drains);
        drop(client);
        assert_eq!(server.wait_exit(), Some(0));
    }
}

#[test]
fn a_reload_while_the_drain_is_put_off_is_no_readiness() {
    for workers in ["server.workers=1", "server.workers=2"] {
        let manager = Manager::new();
        let listen = ["--listen", "echo://127.0.0.1:0", "--set", "drain.delay=10m", "--set", workers];
        let mut server = manager.start(&listen);
        assert_eq!(manager.next(), "READY=1");
        server.signal("TERM");
        assert_eq!(manager.next(), "STOPPING=1");
        server.signal("HUP");
        until("the reload", || !server.events("reloaded").is_empty());
        server.signal("TERM");
        assert_eq!(manager.next(), "STOPPING=1");
        assert_eq!(server.wait_exit(), Some(0));
    }
}

#[test]
fn a_stopped_loop_gives_no_sign_of_life() {
    let manager = Manager::new();
    let server = manager.start(&["--listen", "echo://127.0.0.1:0"]);
    until("a sign of life", || manager.any() == "WATCHDOG=1");
    server.signal("STOP");
    // What was on its way; then nothing, for ten times as long as two signs are apart.
    manager.socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut buffer = [0; 4096];
    while manager.socket.recv(&mut buffer).is_ok() {}
    server.signal("CONT");
    manager.socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    until("a sign of life", || manager.any() == "WATCHDOG=1");
}

/// Sockets that listen on one address, as a service manager has opened them.
fn shared(count: usize) -> (std::net::SocketAddr, Vec<OwnedFd>) {
    let address = Address::Tcp { socket: ([127, 0, 0, 1], 0).into(), v6_only: false, interface: None };
    let spec = ListenSpec { address, backlog: 1024, options: SocketOptions::default(), socket_mode: 0o600 };
    let all = Os::without_signals().unwrap().open_shared(&spec, count).unwrap();
    let Address::Tcp { socket, .. } = *all[0].address() else { panic!("it listens on TCP") };
    (socket, all.iter().map(|listener| listener.as_fd().try_clone_to_owned().unwrap()).collect())
}

/// The program that runs the server with descriptors 3 and 4 handed to it: its standard input and output.
fn handing(count: usize) -> [String; 5] {
    let script =
        format!("exec 3<&0 4<&1 </dev/null >/dev/null; LISTEN_PID=$$ LISTEN_FDS={count} exec \"$@\"");
    ["sh".to_owned(), "-c".to_owned(), script, "sh".to_owned(), BINARY.to_owned()]
}

fn start_handed(sockets: &[OwnedFd], arguments: &[&str]) -> Server {
    let given =
        |index: usize| sockets.get(index).map_or_else(Stdio::null, |fd| Stdio::from(fd.try_clone().unwrap()));
    let program = handing(sockets.len());
    let program: Vec<_> = program.iter().map(String::as_str).collect();
    Server::start_with([given(0), given(1)], &program, arguments)
}

#[test]
fn who_connects_during_a_drain_is_served_by_the_next() {
    for workers in [1, 2] {
        let (address, sockets) = shared(workers);
        let (listen, set) = (format!("echo://{address}?backlog=1024"), format!("server.workers={workers}"));
        let arguments = ["--listen", &listen, "--set", &set];
        let mut first = start_handed(&sockets, &arguments);
        let mut stays = Client::connect(address);
        stays.send("stays");
        stays.expect("stays");
        first.signal("TERM");
        until("the drain", || first.events("draining").len() >= workers);
        let mut waiting: Vec<_> = (0..40).map(|_| Client::connect(address)).collect();
        for client in &mut waiting {
            client.send("x");
        }
        drop(stays);
        assert_eq!(first.wait_exit(), Some(0));
        let _second = start_handed(&sockets, &arguments);
        for client in &mut waiting {
            client.expect("x");
        }
    }
}

#[test]
fn who_waits_when_a_drain_begins_is_not_taken_in_by_it() {
    let (address, sockets) = shared(1);
    let listen = format!("echo://{address}?backlog=1024");
    let mut first = start_handed(&sockets, &["--listen", &listen]);
    // It finds the clients and the signal at the same time.
    first.signal("STOP");
    until("it to stop", || state(first.pid().into()) == Some('T'));
    let mut waiting: Vec<_> = (0..40).map(|_| Client::connect(address)).collect();
    first.signal("TERM");
    first.signal("CONT");
    assert_eq!(first.wait_exit(), Some(0));
    until("its last line", || !first.events("stopped").is_empty());
    assert_eq!(first.events("stopped")[0]["accepted"], 0);
    let _second = start_handed(&sockets, &["--listen", &listen]);
    for client in &mut waiting {
        client.send("x");
        client.expect("x");
    }
}

#[test]
fn no_client_is_refused_or_reset_while_servers_follow_each_other() {
    for workers in [1, 2] {
        let (address, sockets) = shared(workers);
        let (listen, set) = (format!("echo://{address}?backlog=1024"), format!("server.workers={workers}"));
        let arguments = ["--listen", &listen, "--set", &set, "--set", "drain.spread=100ms"];
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let clients = scope.spawn(|| {
                let mut served = 0;
                while !over.load(Ordering::Relaxed) {
                    let mut stream = TcpStream::connect(address).expect("nobody is refused");
                    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
                    stream.write_all(b"x").expect("nobody is reset");
                    // A client that was let in just before a drain may be closed before it has asked.
                    served += stream.read(&mut [0]).expect("nobody is reset");
                }
                served
            });
            for _ in 0..4 {
                let mut server = start_handed(&sockets, &arguments);
                let mut client = Client::connect(address);
                client.send("x");
                client.expect("x");
                drop(client);
                server.signal("TERM");
                assert_eq!(server.wait_exit(), Some(0));
            }
            let _last = start_handed(&sockets, &arguments);
            over.store(true, Ordering::Relaxed);
            assert!(clients.join().unwrap() > 0, "clients are served");
        });
    }
}

#[test]
fn a_socket_that_no_listener_asks_for_is_told() {
    // Of two on an address that one process serves, the second is nobody's.
    for (count, asked) in [(1, Some("127.0.0.1:0")), (2, None)] {
        let (address, sockets) = shared(count);
        let asked = asked.map_or_else(|| address.to_string(), ToOwned::to_owned);
        let server = start_handed(&sockets, &["--listen", &format!("echo://{asked}")]);
        until("a warning", || !server.events("socket_unused").is_empty());
        assert_eq!(server.events("socket_unused")[0]["address"], address.to_string());
    }
}

/// What the server says that cannot start with that descriptor.
fn refusal(socket: OwnedFd, arguments: &[&str]) -> String {
    let program = handing(1);
    let output = Command::new(&program[0])
        .args(&program[1..])
        .arg("serve")
        .args(arguments)
        .args(["--admin", "off", "--log", "off"])
        .stdin(Stdio::from(socket))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_descriptor_that_is_no_listening_socket_is_refused_by_its_number() {
    let file = std::fs::File::open("/dev/null").unwrap();
    let said = refusal(file.into(), &["--listen", "echo://127.0.0.1:0"]);
    assert!(said.contains("take descriptor 3 of the service manager"), "{said}");
    assert!(said.contains("no listening stream socket"), "{said}");
}

#[test]
fn a_socket_for_one_process_is_not_shared_among_workers() {
    let alone = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("echo://{}", alone.local_addr().unwrap());
    let said = refusal(alone.into(), &["--listen", &listen, "--set", "server.workers=2"]);
    assert!(said.contains("has handed over 1 sockets for it; it takes one for each worker"), "{said}");
}

#[test]
fn a_drain_that_is_put_off_is_told_to_load_balancers_and_to_nobody_else() {
    for workers in ["1", "2"] {
        let workers = format!("server.workers={workers}");
        let listen = ["--listen", "resp://127.0.0.1:0", "--set", &workers, "--set", "drain.spread=0s"];
        let start =
            |delay: &str| Server::start(&[&listen[..], &["--set", &format!("drain.delay={delay}")]].concat());
        let ready = |server: &Server| server.admin("GET", "/readyz").0.contains(" 200 ");
        let health = |server: &Server, what: &[&str]| {
            let admin = server.address("admin").to_string();
            let output =
                Command::new(BINARY).args(["health", "--admin", &admin]).args(what).output().unwrap();
            let told = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
            (output.status.code(), told)
        };

        // The second signal ends the wait.
        let mut server = start("10m");
        let mut early = server.connect("resp");
        early.ask("PING", "+PONG\r\n");
        until("all to serve", || ready(&server));
        assert_eq!(health(&server, &["--ready"]), (Some(0), ["ready\n".to_owned(), String::new()]));
        server.signal("TERM");
        until("it to be said", || !ready(&server));
        let [text, why] = health(&server, &["--ready"]).1;
        assert!(text.is_empty() && why.starts_with("linger: ") && why.contains("drain"), "{why}");
        assert_eq!(health(&server, &["--ready"]).0, Some(1));
        assert_eq!(health(&server, &[]), (Some(0), ["ok\n".to_owned(), String::new()]));
        early.ask("PING", "+PONG\r\n");
        let mut late = server.connect("resp");
        late.ask("PING", "+PONG\r\n");
        server.signal("TERM");
        for client in [&mut early, &mut late] {
            client.expect("-GOODBYE local.drain\r\n");
        }
        drop((early, late));
        assert_eq!(server.wait_exit(), Some(0));

        // Otherwise it ends by itself.
        let mut server = start("300ms");
        let mut client = server.connect("resp");
        client.ask("PING", "+PONG\r\n");
        server.signal("TERM");
        client.expect("-GOODBYE local.drain\r\n");
        server.logs("drain_put_off", 1);
        drop(client);
        assert_eq!(server.wait_exit(), Some(0));
    }
}
