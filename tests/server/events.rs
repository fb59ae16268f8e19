//! Who watches what happens: `GET /events` and `linger tail`, of one process and of several workers.

#![allow(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]

use crate::common::file::TempFile;
use crate::common::{Client, DEADLINE, Server, now, pass, until, wait_for};
use crate::workers::crowd::{GOODBYE, RESP, asking, pids, signal, start, stop};
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
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
        Self::on(Client::connect(server.address("admin")), query, last)
    }

    /// One that has little room for what it is told.
    fn narrow(server: &Server, query: &str) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        // Before connecting: the window is negotiated from it.
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&server.address("admin").into()).unwrap();
        Self::on(Client { stream: socket.into() }, query, None)
    }

    fn on(mut client: Client, query: &str, last: Option<&str>) -> Self {
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
        let begun = now();
        loop {
            // A remark comes now and then, whatever does not.
            assert!(begun.elapsed() < DEADLINE, "no event came");
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
    lines: BufReader<Box<dyn Read + Send>>,
}

/// What nobody reads from.
fn nothing() -> BufReader<Box<dyn Read + Send>> {
    BufReader::new(Box::new(std::io::empty()))
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
        let lines = BufReader::new(Box::new(child.stdout.take().unwrap()) as Box<dyn Read + Send>);
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }

    /// Its lines, which are waited for no longer than a test waits.
    fn in_background(&mut self) -> Receiver<String> {
        let (sender, lines) = channel();
        let out = std::mem::replace(&mut self.lines, nothing());
        thread::spawn(move || {
            let lines = out.lines().map_while(Result::ok);
            lines.map_while(|line| sender.send(line).ok()).for_each(drop);
        });
        lines
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
fn what_a_worker_that_is_started_anew_does_first_is_told() {
    let server = start(2, RESP, &[]);
    let mut watcher = Watcher::new(&server, "?event=opened", None);
    let pid = pids(&server)[&1];
    stop(pid);
    // Some wait in its queue, from which its successor takes them before it does anything else.
    let mut waiting = asking(&server, 40);
    until("the other worker's clients", || !server.connections("resp").is_empty());
    signal(pid, "KILL");
    for client in &mut waiting {
        client.expect("+PONG\r\n");
    }
    let mut due: BTreeSet<_> =
        waiting.iter().map(|client| client.stream.local_addr().unwrap().to_string()).collect();
    let mut of_the_first = 0;
    while !due.is_empty() {
        let opened = watcher.find("opened");
        assert!(due.remove(opened["peer"].as_str().unwrap()), "each once: {opened}");
        of_the_first += u32::from(opened["worker"] == 1);
    }
    assert!(of_the_first > 0, "the successor has some of them");
}

/// Ends a server with workers, whose clients leave when they are told to, or do not. Who watches must be told how each of
/// them has ended, before the end of its worker, and that this is all; and so must `linger tail`.
fn drain_watched(settings: &[&str], clients_leave: bool) {
    let mut server = start(2, RESP, settings);
    let mut tail = Tail::new(&server, &["--json", "--event", "ended"]);
    let lines = tail.in_background();
    amid_clients(&server, || lines.recv_timeout(DEADLINE).expect("the tail watches"));
    let mut watcher = Watcher::new(&server, "?event=ended,worker_ended", None);
    let names: BTreeSet<_> = (0..24).map(|number| format!("leaver{number}")).collect();
    let mut clients: Vec<_> = names.iter().map(|name| identify(&server, name)).collect();
    server.signal("TERM");
    for client in &mut clients {
        client.expect(GOODBYE);
    }
    if clients_leave {
        clients.clear();
    }
    let (mut ended, mut running) = (BTreeMap::new(), BTreeSet::from([1, 2]));
    while let Some((name, data)) = watcher.next() {
        let worker = data["worker"].as_u64().unwrap();
        if name == "worker_ended" {
            assert!(running.remove(&worker), "{data}");
        } else if data["identity"] != "dev1" {
            assert_eq!((&data["reason"], running.contains(&worker)), (&"local.drain".into(), true), "{data}");
            let name = data["identity"].as_str().unwrap().to_owned();
            assert_eq!(ended.insert(name, worker), None, "each once: {data}");
        }
    }
    assert!(ended.keys().eq(&names) && running.is_empty(), "{} are missing", 24 - ended.len());
    assert!(ended.values().any(|worker| *worker == 1) && ended.values().any(|worker| *worker == 2));
    assert_eq!(server.wait_exit(), Some(0));
    let mut missing = names;
    while !missing.is_empty() {
        let line = lines.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("tail has not told {missing:?}"));
        let event: Value = serde_json::from_str(&line).unwrap();
        missing.remove(event["identity"].as_str().unwrap());
    }
}

#[test]
fn who_watches_a_drain_of_workers_is_told_how_each_client_has_ended() {
    drain_watched(&["drain.spread=0s"], true);
}

#[test]
fn who_watches_is_told_of_clients_that_stay_until_the_time_for_the_drain_is_over() {
    drain_watched(&["drain.spread=0s", "drain.timeout=1s"], false);
}

/// One who watches and does not read, beside one who does, while clients come and go.
fn one_of_two_does_not_read(workers: u32) {
    /// Several times as many as there is memory for.
    const CLIENTS: usize = 1500;
    // What the kernel keeps for a reader is little: without that, it takes megabytes.
    let server = start(workers, RESP, &["server.events=64KiB", "admin.send_buffer=4KiB"]);
    let mut slow = Watcher::narrow(&server, "");
    let mut quick = Watcher::new(&server, "?event=ended", None);
    let mut told = BTreeSet::new();
    while told.len() < CLIENTS {
        let clients: Vec<_> = (0..10).map(|_| server.connect("resp")).collect();
        let mut due: BTreeSet<_> =
            clients.iter().map(|client| client.stream.local_addr().unwrap().to_string()).collect();
        drop(clients);
        // Nobody is held up, and nothing is left out.
        while !due.is_empty() {
            let ended = quick.find("ended");
            assert!(due.remove(ended["peer"].as_str().unwrap()), "each once: {ended}");
            assert!(told.insert((ended["worker"].as_u64(), ended["number"].as_u64())), "{ended}");
        }
    }
    assert!(server.admin("GET", "/healthz").0.contains("200"));
    let mut before = 0;
    let missed = loop {
        let (name, data) = slow.next().expect("it is told why this is all");
        if name == "dropped" {
            break data["missed"].as_u64().unwrap();
        }
        before += 1;
    };
    assert!(before > 0 && missed > 0, "{before} were told, {missed} missed");
    assert_eq!(slow.next(), None, "the answer ends");
    // It may come back, and goes on behind what is missing.
    let id = slow.id.clone();
    let mut again = Watcher::new(&server, "?event=opened", Some(&id));
    assert!(again.find("opened")["number"].as_u64().is_some());
}

#[test]
fn who_does_not_read_is_dropped_with_a_word_and_costs_others_nothing() {
    one_of_two_does_not_read(1);
}

#[test]
fn who_does_not_read_what_happens_at_several_workers_is_dropped_with_a_word_and_costs_others_nothing() {
    one_of_two_does_not_read(2);
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
        tail.lines = nothing();
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
    assert!(said.ends_with("; is a server running there? --admin names another\n"), "{said}");
}
