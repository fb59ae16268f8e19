//! Who watches what happens: `GET /events` and `linger tail`, of one process and of several workers.

#![allow(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]

use crate::common::file::TempFile;
use crate::common::{Client, Server, pass, wait_for};
use crate::workers::crowd::{RESP, pids, signal, start};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// A reader of `/events` that waits for what it wants.
struct Watcher {
    stream: BufReader<Client>,
    /// The id of the last message.
    id: String,
}

impl Watcher {
    fn new(server: &Server, query: &str, last: Option<&str>) -> Self {
        let mut client = Client::connect(server.address("admin"));
        client.stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let last = last.map_or(String::new(), |last| format!("Last-Event-ID: {last}\r\n"));
        client.send(format!("GET /events{query} HTTP/1.0\r\n{last}\r\n"));
        let mut watcher = Self { stream: BufReader::new(client), id: String::new() };
        let (name, _) = watcher.next().unwrap();
        assert_eq!(name, "start");
        watcher
    }

    /// The next message; `None`: the answer has ended.
    fn next(&mut self) -> Option<(String, Value)> {
        let mut name = String::new();
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            let line = line.trim_end();
            if let Some(id) = line.strip_prefix("id: ") {
                id.clone_into(&mut self.id);
            } else if let Some(event) = line.strip_prefix("event: ") {
                event.clone_into(&mut name);
            } else if let Some(data) = line.strip_prefix("data: ") {
                return Some((name, serde_json::from_str(data).unwrap()));
            }
        }
    }

    /// Passes over all before an event of that name.
    fn find(&mut self, wanted: &str) -> Value {
        loop {
            let (name, data) = self.next().unwrap_or_else(|| panic!("no {wanted} came"));
            if name == wanted {
                return data;
            }
        }
    }
}

impl Read for Client {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        self.stream.read(out)
    }
}

fn identify(server: &Server, identity: &str) -> Client {
    let mut client = server.connect("resp");
    client.ask(&format!("IDENT {identity}"), "+OK\r\n");
    client
}

/// `linger tail`, whose lines are read as they come.
struct Tail {
    child: Child,
    lines: BufReader<Box<dyn Read>>,
}

impl Tail {
    fn new(server: &Server, arguments: &[&str]) -> Self {
        let admin = server.address("admin").to_string();
        let mut child = Command::new(env!("CARGO_BIN_EXE_linger"))
            .args(["tail", "--admin", &admin])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(Box::new(child.stdout.take().unwrap()) as Box<dyn Read>);
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_life_of_a_client_is_told_as_it_happens() {
    let mut server = Server::start(&["--listen", "resp://127.0.0.1:0?heartbeat=200ms&heartbeat.grace=200ms"]);
    let mut watcher = Watcher::new(&server, "", None);
    let first = identify(&server, "dev1");
    assert_eq!(watcher.find("opened")["listener"], "resp");
    let identified = watcher.find("identified");
    assert_eq!(identified["identity"], "dev1");
    let second = identify(&server, "dev1");
    let replaced = watcher.find("replaced");
    assert_eq!((&replaced["key"], &replaced["identity"]), (&identified["key"], &"dev1".into()));
    assert_eq!(replaced["by_peer"], second.stream.local_addr().unwrap().to_string());
    drop(first);
    assert_eq!(watcher.find("ended")["reason"], "peer.replaced");
    let suspect = watcher.find("suspect");
    assert_eq!((&suspect["identity"], &suspect["detector"]), (&"dev1".into(), &"heartbeat".into()));
    assert_eq!(watcher.find("ended")["reason"], "stuck.frozen");
    drop(second);
    server.signal("HUP");
    assert_eq!(watcher.find("reload")["applied"], true);
    // Over the end of the server nothing is left out.
    let last = identify(&server, "dev2");
    watcher.find("identified");
    server.signal("TERM");
    watcher.find("drain");
    drop(last);
    assert_eq!(watcher.find("ended")["identity"], "dev2");
    assert_eq!(watcher.next(), None, "the answer ends as it should");
    server.wait_exit();
}

#[test]
fn what_happens_at_several_workers_is_told_together_and_a_reader_goes_on_where_it_was() {
    let server = start(2, RESP, &[]);
    let mut watcher = Watcher::new(&server, "?event=identified,worker_ended,worker_started", None);
    let clients: Vec<_> = (0..32).map(|number| identify(&server, &format!("dev{number}"))).collect();
    let mut told: Vec<_> = (0..32).map(|_| watcher.find("identified")).collect();
    told.sort_by_key(|event| event["worker"].as_u64());
    assert_eq!((&told[0]["worker"], &told[31]["worker"]), (&1.into(), &2.into()), "of both workers");
    let cursor = watcher.id.clone();
    drop(watcher);
    drop(clients);
    let all: Vec<_> = (0..8).map(|number| identify(&server, &format!("more{number}"))).collect();
    let mut watcher = Watcher::new(&server, "?event=identified,worker_ended", Some(&cursor));
    let mut names: Vec<_> =
        (0..8).map(|_| watcher.find("identified")["identity"].as_str().unwrap().to_owned()).collect();
    names.sort();
    let expected: Vec<_> = (0..8).map(|number| format!("more{number}")).collect();
    assert_eq!(names, expected, "each once");
    drop(all);
    // A worker that is started anew is followed like the one before.
    signal(pids(&server)[&1], "KILL");
    assert_eq!(watcher.find("worker_ended")["worker"], 1);
    wait_for("both workers to serve", || {
        let _ = identify(&server, "again");
        server.admin("GET", "/readyz").0.contains("200").then_some(())
    });
    let _clients: Vec<_> = (0..32).map(|number| identify(&server, &format!("new{number}"))).collect();
    let mut workers = [false; 3];
    while !(workers[1] && workers[2]) {
        let told = watcher.find("identified");
        if told["identity"].as_str().unwrap().starts_with("new") {
            workers[usize::try_from(told["worker"].as_u64().unwrap()).unwrap()] = true;
        }
    }
}

#[test]
fn a_reload_that_is_refused_says_how_many_mistakes_there_are() {
    let sound = "[admin]\naddress = \"127.0.0.1:0\"\n\n[[listener]]\nname = \"resp\"\nprotocol = \"resp\"\naddress = \
                 \"127.0.0.1:0\"\n";
    let file = TempFile::new(sound);
    let server = Server::start(&["--config", file.path()]);
    let mut watcher = Watcher::new(&server, "?event=reload", None);
    server.reload(&file, &format!("{sound}backlog = 0\nlinger = \"never\"\n"));
    let refused = watcher.find("reload");
    assert_eq!((&refused["applied"], &refused["mistakes"]), (&false.into(), &2.into()));
    server.logs("reload_refused", 2);
}

/// Clients that come and go, one after the other, until `act` has its way.
fn amid_clients<T>(server: &Server, act: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                drop(identify(server, "dev1"));
                pass(Duration::from_millis(20));
            }
        });
        let done = act();
        is_over.store(true, Ordering::Relaxed);
        done
    })
}

#[test]
fn tail_tells_a_line_each() {
    let server = Server::start(&["--listen", RESP]);
    let mut tail = Tail::new(&server, &["dev1", "--event", "identified,ended"]);
    let mut json = Tail::new(&server, &["--json", "--count", "1", "--event", "ended"]);
    // Each begins to watch when it has come so far, in the middle of a life or between two.
    let (lines, event) = amid_clients(&server, || ([tail.line(), tail.line(), tail.line()], json.line()));
    assert!(lines.iter().any(|line| line.contains(" identified ")), "{lines:?}");
    let ended = lines.iter().find(|line| line.contains(" ended ")).unwrap();
    assert!(ended.contains(" dev1  peer.fin by zero_read, peer_first; lived "), "{ended}");
    let event: Value = serde_json::from_str(&event).unwrap();
    assert_eq!((&event["event"], &event["reason"]), (&"ended".into(), &"peer.fin".into()));
    assert_eq!(json.child.wait().unwrap().code(), Some(0), "it had its one event");
}

#[test]
fn tail_ends_when_nobody_reads_it_any_more() {
    let server = Server::start(&["--listen", RESP]);
    let mut tail = Tail::new(&server, &[]);
    let status = amid_clients(&server, || {
        tail.line();
        // What was standard output is closed.
        tail.lines = BufReader::new(Box::new(std::io::empty()));
        wait_for("its end", || tail.child.try_wait().unwrap())
    });
    assert_eq!(status.code(), Some(0));
}

#[test]
fn tail_says_what_is_wrong() {
    let server = Server::start(&["--listen", RESP]);
    let say = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_linger")).arg("tail").args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let admin = server.address("admin").to_string();
    let (code, said) = say(&["--admin", &admin, "--event", "closed"]);
    assert_eq!(code, Some(2));
    assert!(said.starts_with("linger: no event is called \"closed\"; they are opened, "), "{said}");
    let (code, said) = say(&["--admin", "127.0.0.1:1"]);
    assert_eq!(code, Some(1));
    assert!(said.starts_with("linger: the admin interface at 127.0.0.1:1 does not answer: "), "{said}");
}
