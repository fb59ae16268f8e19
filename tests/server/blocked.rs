//! Nothing outside holds up the loop: a log or a standard output that nobody reads, a configuration that is no file. And
//! what clients do fills no log.

#![allow(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]
#![allow(clippy::float_cmp, reason = "metrics are whole numbers")]
#![allow(clippy::disallowed_types, reason = "clients of the tests are ordinary blocking ones")]
#![allow(clippy::disallowed_methods, reason = "tests measure on the real clock")]

use crate::common::{Client, DEADLINE, Server, now, pass, until, wait_for};
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// `linger serve` whose log goes to a pipe that is read as far as the test reads it.
struct Raw {
    child: Child,
    log: BufReader<PipeReader>,
    addresses: Vec<SocketAddr>,
}

impl Raw {
    /// Starts it, and reads its log up to where it listens: on one address for clients, and on the admin interface.
    fn start(arguments: &[&str], stdout: impl Into<Stdio>) -> Self {
        let (reader, writer) = std::io::pipe().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_linger"))
            .args(["serve", "--listen", "resp://127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(["--set", "log.endings_per_second=1000000"])
            .args(["--set", "drain.spread=0s", "--set", "drain.timeout=1s"])
            .args(arguments)
            .stdout(stdout)
            .stderr(writer)
            .spawn()
            .unwrap();
        let mut raw = Self { child, log: BufReader::new(reader), addresses: Vec::new() };
        while raw.addresses.len() < 2 {
            let line = raw.line();
            if line.contains(" listening ") {
                let address = line.split(' ').find_map(|field| field.strip_prefix("address=")).unwrap();
                raw.addresses.push(address.parse().unwrap());
            }
        }
        raw
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.log.read_line(&mut line).unwrap(), 0, "the log has ended");
        line
    }

    fn client(&self) -> Client {
        Client::connect(self.addresses[0])
    }

    /// Makes lines, some hundred bytes each.
    fn misbehave(&self, times: usize) {
        for _ in 0..times {
            let mut client = self.client();
            client.send("*x\r\n");
            // The server waits for its end before it closes.
            client.half_close();
            client.read_to_end().unwrap();
        }
    }

    fn admin(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.addresses[1]).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer
    }

    fn metric(&self, name: &str) -> f64 {
        let page = self.admin("/metrics");
        let line = page.lines().find(|line| line.split(' ').next() == Some(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    fn terminate(&self) {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
    }

    fn wait_exit(&mut self) -> Option<i32> {
        wait_for("the server to exit", || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// More than a pipe takes, and less than the queue before it does.
const MORE_THAN_A_PIPE: usize = 1_000;

#[test]
fn a_log_that_nobody_reads_holds_up_nobody() {
    for workers in ["1", "2"] {
        let mut server = Raw::start(&["--workers", workers], Stdio::null());
        server.misbehave(MORE_THAN_A_PIPE);
        server.client().ask("PING", "+PONG\r\n");
        server.admin("/healthz");
        assert_eq!(server.metric("linger_log_lines_dropped_total"), 0.0, "they fit the queue");
        let begun = now();
        server.terminate();
        assert_eq!(server.wait_exit(), Some(0), "{workers} workers");
        // A second and the time of the drain; the rest is for a machine that is busy.
        assert!(begun.elapsed() < Duration::from_secs(10), "{workers} workers: {:?}", begun.elapsed());
    }
}

#[test]
fn lines_that_do_not_fit_are_counted_and_told_once_and_the_rest_arrives() {
    let mut server = Raw::start(&["--log", "debug"], Stdio::null());
    // Three lines each.
    until("lines to be dropped", || {
        server.misbehave(100);
        server.metric("linger_log_lines_dropped_total") > 0.0
    });
    server.misbehave(10);
    let dropped = server.metric("linger_log_lines_dropped_total");
    // Somebody reads again.
    let told = wait_for("the loss to be told", || {
        let line = server.line();
        line.split_once(" log_lines_dropped lines=")
            .map(|(_, rest)| rest.split(' ').next().unwrap().to_owned())
    });
    let told: f64 = told.parse().unwrap();
    assert!(told >= dropped, "{told} of {dropped}: the admin's own connections have lines, too");
    server.misbehave(1);
    server.terminate();
    let mut rest = String::new();
    server.log.read_to_string(&mut rest).unwrap();
    assert_eq!(server.wait_exit(), Some(0));
    assert_eq!(rest.matches(" protocol_error ").count(), 1, "what happened after that: {rest}");
    assert!(!rest.contains("log_lines_dropped"), "it was told once: {rest}");
    assert!(rest.lines().last().unwrap().contains(" stopped "), "nothing is lost at the end: {rest}");
}

#[test]
fn a_log_that_is_closed_does_not_keep_the_processor_busy() {
    let Raw { child, log, addresses } =
        &mut *std::mem::ManuallyDrop::new(Raw::start(&["--log", "debug"], Stdio::null()));
    let (reader, _) = std::io::pipe().unwrap();
    drop(std::mem::replace(log, BufReader::new(reader)));
    for _ in 0..10 {
        Client::connect(addresses[0]).ask("PING", "+PONG\r\n");
    }
    let ticks = |child: &Child| -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        // User and system time, fields 14 and 15 of proc_pid_stat(5), in hundredths of a second.
        let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let before = ticks(child);
    pass(Duration::from_secs(1));
    let spent = ticks(child) - before;
    let _ = child.kill();
    let _ = child.wait();
    assert!(spent < 20, "{spent} hundredths of a second in one second");
}

#[test]
fn a_stalled_worker_holds_up_the_end_no_longer_than_the_drain_may_last() {
    let arguments = ["--workers", "2", "--listen", "resp://127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let drain = ["--set", "drain.spread=0s", "--set", "drain.timeout=1s"];
    let mut server = Server::start(&[&arguments[..], &drain].concat());
    let pid = server.events("worker_started")[0]["pid"].to_string();
    assert!(Command::new("kill").args(["-STOP", &pid]).status().unwrap().success());
    let begun = now();
    server.signal("TERM");
    assert_eq!(server.wait_exit(), Some(1), "not all has gone well");
    // Within a second of it; the rest is for a machine that is busy.
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

/// A pipe that takes no more.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut filler = Command::new("sh")
        .args(["-c", "exec yes"])
        .stdout(writer.try_clone().unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // It sleeps in pipe_write once the pipe is full.
    until("the pipe to be full", || {
        let wchan = std::fs::read_to_string(format!("/proc/{}/stat", filler.id())).unwrap();
        let blocked = wchan.rsplit(')').next().unwrap().trim_start().starts_with('S');
        if !blocked {
            return false;
        }
        pass(Duration::from_millis(20));
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", filler.id())).unwrap();
        stat.rsplit(')').next().unwrap().trim_start().starts_with('S')
    });
    filler.kill().unwrap();
    filler.wait().unwrap();
    (reader, writer)
}

#[test]
fn a_greeting_that_nobody_reads_holds_up_nobody() {
    for workers in ["1", "2"] {
        let (_reader, writer) = full_pipe();
        let mut server = Raw::start(&["--workers", workers], writer);
        server.client().ask("PING", "+PONG\r\n");
        server.admin("/healthz");
        server.terminate();
        assert_eq!(server.wait_exit(), Some(0), "{workers} workers");
    }
}

/// A directory that lives as long as the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("linger-blocked-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn mkfifo(path: &str) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Exit code of a command that ends by itself, and what it says.
fn ended(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linger"));
    let mut child = command
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let begun = now();
    while child.try_wait().unwrap().is_none() && begun.elapsed() < DEADLINE {
        pass(Duration::from_millis(2));
    }
    // Nothing, if it has ended.
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_configuration_that_is_no_regular_file_or_too_long_is_a_mistake() {
    let directory = Directory::new("start");
    let (fifo, long) = (directory.path("fifo"), directory.path("long.toml"));
    mkfifo(&fifo);
    std::fs::write(&long, "# a comment\n".repeat((64 << 20) / 12)).unwrap();
    let kinds = [
        (fifo.as_str(), "it is a pipe (FIFO), not a regular file"),
        (directory.0.to_str().unwrap(), "it is a directory, not a regular file"),
        ("/dev/null", "it is a device, not a regular file"),
        (long.as_str(), "the file has more than 1024 KiB"),
    ];
    for (path, why) in kinds {
        for command in [&["check"][..], &["serve"], &["serve", "--workers", "2"]] {
            let (code, said) = ended(&[command, &["--config", path]].concat());
            assert_eq!(code, Some(2), "{command:?} {path}: {said}");
            assert!(said.contains(why) && said.contains("1 mistake"), "{command:?} {path}: {said}");
        }
    }
}

#[test]
fn what_check_calls_sound_the_workers_take() {
    let directory = Directory::new("sound");
    let file = directory.path("long.toml");
    // As long as a file may be.
    let listener = "[[listener]]\nname = 'resp'\nprotocol = 'resp'\naddress = '127.0.0.1:0'\n";
    let comment = "#".repeat((1 << 20) - listener.len() - 1);
    std::fs::write(&file, format!("{listener}{comment}\n")).unwrap();
    assert_eq!(ended(&["check", "--config", &file]).0, Some(0));
    let server = Server::start(&["--config", &file, "--workers", "2", "--admin", "127.0.0.1:0"]);
    server.connect("resp").ask("PING", "+PONG\r\n");
    server.signal("HUP");
    until("all to have read it again", || server.events("reloaded").len() == 3);
    assert_eq!(server.events("worker_ended").len(), 0);
}

#[test]
fn a_fifo_in_the_place_of_the_configuration_is_refused_while_the_server_runs() {
    for workers in ["1", "2"] {
        let directory = Directory::new(&format!("sighup-{workers}"));
        let file = directory.path("linger.toml");
        let listener = "[[listener]]\nname = 'resp'\nprotocol = 'resp'\naddress = '127.0.0.1:0'\n";
        std::fs::write(&file, listener).unwrap();
        let mut server = Server::start(&["--config", &file, "--workers", workers, "--admin", "127.0.0.1:0"]);
        server.connect("resp").ask("PING", "+PONG\r\n");
        std::fs::remove_file(&file).unwrap();
        mkfifo(&file);
        server.signal("HUP");
        until("the refusal", || server.events("reload_refused").len() == 1);
        let refused = &server.events("reload_refused")[0];
        assert!(refused["mistake"].as_str().unwrap().contains("a pipe (FIFO)"), "{refused}");
        server.connect("resp").ask("PING", "+PONG\r\n");
        assert!(server.admin("GET", "/healthz").0.contains("200"));
        server.signal("TERM");
        assert_eq!(server.wait_exit(), Some(0));
    }
}

#[test]
fn a_server_that_lives_at_its_limit_does_not_fill_its_log() {
    let listen = "resp://127.0.0.1:0?max_connections=2";
    let server = Server::start(&["--listen", listen, "--admin", "127.0.0.1:0"]);
    let address = server.address("resp");
    let stalls = || server.metrics()["linger_accept_stalls_total"];
    let (begun, is_enough) = (now(), AtomicBool::new(false));
    let churn = || {
        while !is_enough.load(Ordering::Relaxed) && begun.elapsed() < DEADLINE {
            Client::connect(address).ask("PING", "+PONG\r\n");
        }
    };
    std::thread::scope(|scope| {
        // One more than there is room for: the queue is empty again each time.
        for _ in 0..3 {
            scope.spawn(churn);
        }
        until("it to live at its limit", || stalls() > 50.0);
        is_enough.store(true, Ordering::Relaxed);
    });
    let resumed = wait_for("the end of it to be told", || server.events("accept_resumed").pop());
    let stalls = stalls();
    let lines = server.events("accept_stalled").len() + server.events("accept_resumed").len();
    assert!(lines <= 20, "{lines} lines of {stalls} stalls");
    let told: f64 = server.events("accept_resumed").iter().filter_map(|event| event["stalls"].as_f64()).sum();
    assert_eq!(told, stalls, "each is in the count of one line: {resumed}");
}

#[test]
fn at_the_default_level_every_ending_but_an_orderly_one_is_a_line() {
    let mut server = Raw::start(&[], Stdio::null());
    let ident = |id: &str| {
        let mut client = server.client();
        client.ask(&format!("IDENT {id}"), "+OK\r\n");
        client
    };
    // Orderly: an end of file, and a goodbye.
    drop(ident("an-end-of-file"));
    ident("a-goodbye").ask("QUIT", "+OK\r\n");
    // And not.
    let mut half_said = ident("half-said");
    half_said.send("*1\r\n$4\r\nPI");
    drop(half_said);
    ident("reason=peer.fin").reset();
    let replaced = ident("came-back");
    let newer = ident("came-back");
    let mut malformed = ident("malformed");
    malformed.send("*x\r\n");
    malformed.half_close();
    malformed.read_to_end().unwrap();
    drop((replaced, newer, malformed));
    let mut seen = Vec::new();
    while seen.len() < 4 {
        let line = server.line();
        if line.contains(" end ") {
            seen.push(line);
        }
    }
    seen.sort_by_key(|line| line.split(" reason=").nth(1).unwrap().to_owned());
    let wanted = ["peer.fin_midframe", "peer.replaced", "peer.reset", "protocol.malformed"];
    for (line, reason) in seen.iter().zip(wanted) {
        assert!(line.contains(&format!(" reason={reason} ")) && line.contains(" INFO "), "{line}");
    }
    assert!(seen[2].contains(" identity=\"reason=peer.fin\" "), "nobody reads a reason in it: {}", seen[2]);
    server.terminate();
    let mut rest = String::new();
    server.log.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains(" end "), "no more than those: {rest}");
}

#[test]
fn at_debug_a_connection_has_a_line_when_it_opens_and_one_when_it_ends() {
    let server = Server::start(&["--listen", "resp://127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    let mut client = server.connect("resp");
    client.ask("PING", "+PONG\r\n");
    let peer = client.stream.local_addr().unwrap().to_string();
    client.ask("QUIT", "+OK\r\n");
    drop(client);
    let end = wait_for("its end", || server.ends().into_iter().find(|end| end["peer"] == peer));
    let opens = server.events("open");
    let open = opens.iter().find(|open| open["peer"] == peer).expect("a line");
    for line in [open, &end] {
        assert_eq!(
            (&line["level"], &line["key"], &line["listener"]),
            (&"DEBUG".into(), &end["key"], &"resp".into())
        );
    }
}

#[test]
fn the_thread_that_writes_the_log_has_no_descriptor_of_the_loop_and_takes_no_signal() {
    /// SIGHUP, SIGINT, SIGUSR1, SIGTERM and SIGCHLD: those that the loop handles.
    const HANDLED: u64 = 1 << 0 | 1 << 1 | 1 << 9 | 1 << 14 | 1 << 16;
    let blocks_handled = |status: String| {
        let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap();
        u64::from_str_radix(blocked, 16).unwrap() & HANDLED == HANDLED
    };
    let server = Server::start(&["--listen", "echo://127.0.0.1:0"]);
    let main = server.pid().to_string();
    // The thread that greets ends soon.
    until("one thread beside the loop, with the standard streams alone", || {
        let threads = std::fs::read_dir(format!("/proc/{main}/task")).unwrap().flatten();
        let beside: Vec<_> = threads.filter(|thread| thread.file_name() != *main).collect();
        beside.len() == 1
            && std::fs::read_dir(beside[0].path().join("fd")).is_ok_and(|open| open.count() == 3)
            && std::fs::read_to_string(beside[0].path().join("status")).is_ok_and(blocks_handled)
    });
}
