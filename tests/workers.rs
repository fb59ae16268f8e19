//! Several workers under a supervisor: how clients are spread over them, what the death of one does to the others, who
//! holds an identity, and how signals, settings and questions reach all of them.

#![allow(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]
#![allow(clippy::float_cmp, reason = "metrics are whole numbers")]
#![allow(clippy::disallowed_types, reason = "clients of the tests are ordinary blocking ones")]
#![allow(clippy::disallowed_methods, reason = "tests measure on the real clock")]
#![allow(clippy::print_stderr, reason = "a part that is skipped is said")]

mod common;

use common::{Client, Server, pass, until, wait_for};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const RESP: &str = "resp://127.0.0.1:0";
const GOODBYE: &str = "-GOODBYE local.drain\r\n";

fn start(workers: u32, listen: &str, settings: &[&str]) -> Server {
    let workers = workers.to_string();
    let mut arguments = vec!["--workers", &workers, "--listen", listen, "--admin", "127.0.0.1:0"];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    Server::start(&arguments)
}

fn served(server: &Server) -> Client {
    let mut client = server.connect("resp");
    client.ask("PING", "+PONG\r\n");
    client
}

/// The process of each worker, by its number: the newest.
fn pids(server: &Server) -> BTreeMap<u64, u64> {
    let started = server.events("worker_started");
    started.iter().map(|event| (event["worker"].as_u64().unwrap(), event["pid"].as_u64().unwrap())).collect()
}

fn signal(pid: u64, name: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap().success());
}

/// State of a process, as `R`, `S`, `T` or `Z`; `None` if there is no such process.
fn state(pid: u64) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.trim().chars().next()
}

/// The processes that the supervisor has started and not taken in.
fn children(server: &Server) -> Vec<u64> {
    let pid = server.pid();
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    text.split_whitespace().map(|word| word.parse().unwrap()).collect()
}

/// The worker that serves a client, as the admin interface has it.
fn worker_of(server: &Server, client: &Client) -> u64 {
    let peer = client.stream.local_addr().unwrap().to_string();
    let (_, body) = server.admin("GET", &format!("/connections?peer={peer}"));
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["matched"], 1, "{peer}: {answer}");
    answer["connections"][0]["worker"].as_u64().unwrap()
}

/// A client of each worker of two.
fn one_of_each(server: &Server) -> [Client; 2] {
    let mut found: BTreeMap<u64, Client> = BTreeMap::new();
    until("a client of each worker", || {
        let client = served(server);
        found.insert(worker_of(server, &client), client);
        found.len() == 2
    });
    [found.remove(&1).unwrap(), found.remove(&2).unwrap()]
}

fn all_serve(server: &Server, workers: u32) {
    until("all workers to serve", || {
        let metrics = server.metrics();
        (1..=workers).all(|number| metrics[&format!("linger_worker_up{{worker=\"{number}\"}}")] == 1.0)
    });
}

#[test]
fn clients_are_spread_over_the_workers_and_told_of_together() {
    let server = start(4, RESP, &[]);
    let mut clients: Vec<_> = (0..64).map(|_| served(&server)).collect();
    let rows = server.connections("resp");
    assert_eq!(rows.len(), 64);
    let workers: BTreeSet<_> = rows.iter().map(|row| row["worker"].as_u64().unwrap()).collect();
    assert_eq!(workers, BTreeSet::from([1, 2, 3, 4]), "64 clients, and a worker without one");
    let keys: BTreeSet<_> = rows.iter().map(|row| row["key"].as_str().unwrap().to_owned()).collect();
    assert_eq!(keys.len(), 64, "a key names one connection, over all workers");

    let metrics = server.metrics();
    assert_eq!(metrics["linger_connections{state=\"open\"}"], 64.0);
    let by_worker: Vec<_> =
        (1..=4).map(|number| metrics[&format!("linger_worker_connections{{worker=\"{number}\"}}")]).collect();
    assert_eq!(by_worker.iter().sum::<f64>(), 64.0, "{by_worker:?}");
    assert_eq!(metrics["linger_commands_total"], 64.0);
    assert_eq!(metrics["linger_listener_connections{listener=\"resp\",protocol=\"resp\"}"], 64.0);
    assert_eq!(metrics["linger_workers"], 4.0);

    // A list is cut at its limit, whoever has the rows.
    let (_, body) = server.admin("GET", "/connections?limit=3");
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&answer["matched"], &answer["listed"]), (&64.into(), &3.into()));
    // What is wrong with a request is said as one process says it.
    assert!(server.admin("GET", "/connections?limit=x").0.contains("400"));
    assert!(server.admin("POST", "/connections/17-1/end").0.contains("400"));
    assert!(server.admin("POST", "/connections/5.17-1/end").0.contains("400"));
    assert!(server.admin("GET", "/nowhere").0.contains("404"));

    // A key of the list ends its connection, and no other.
    let peer = clients[10].stream.local_addr().unwrap().to_string();
    let row = rows.iter().find(|row| row["peer"] == *peer).unwrap();
    let (status, _) = server.admin("POST", &format!("/connections/{}/end", row["key"].as_str().unwrap()));
    assert!(status.contains("202"), "{status}");
    clients[10].expect("-GOODBYE local.kicked\r\n");
    drop(clients.remove(10));
    until("it to be gone", || server.connections("resp").len() == 63);
    clients.iter_mut().for_each(|client| client.ask("PING", "+PONG\r\n"));
}

#[test]
fn the_merged_metrics_are_well_formed() {
    let server = start(2, RESP, &["audit.interval=100ms"]);
    let _clients = one_of_each(&server);
    until("an audit", || server.metrics().get("linger_audits_total").is_some_and(|count| *count >= 2.0));
    let (_, page) = server.admin("GET", "/metrics");
    let mut heads = BTreeSet::new();
    let mut series = BTreeSet::new();
    let mut typed = String::new();
    for line in page.lines() {
        if let Some(head) = line.strip_prefix("# ") {
            let mut words = head.split(' ');
            let head = (words.next().unwrap(), words.next().unwrap());
            assert!(heads.insert(head), "{head:?} twice");
            if head.0 == "TYPE" {
                head.1.clone_into(&mut typed);
            }
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            value.parse::<f64>().unwrap();
            assert!(series.insert(name), "{name} twice");
            assert_eq!(name.split('{').next().unwrap(), typed, "a sample stands below its type");
        }
    }
    // The kernel's sockets are told of once each, by the worker that has them.
    let metrics = server.metrics();
    assert_eq!(metrics["linger_audit_anomalies_total{kind=\"unknown\"}"], 0.0);
    let (_, audit) = server.admin("GET", "/audit");
    let audit: Value = serde_json::from_str(&audit).unwrap();
    assert_eq!(audit["workers"].as_array().unwrap().len(), 2, "{audit}");
    // With the judge, where there is one.
    let Ok(mut promtool) = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
    else {
        return eprintln!("without promtool");
    };
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let judged = promtool.wait_with_output().unwrap();
    assert!(judged.status.success(), "{judged:?}");
}

#[test]
fn the_death_of_a_worker_is_the_loss_of_its_clients_alone() {
    let server = start(3, RESP, &[]);
    let clients: Vec<_> = (0..30).map(|_| served(&server)).collect();
    let descriptors = server.descriptors();
    let accepted = server.metrics()["linger_connections_accepted_total"];
    let (its, others): (Vec<_>, Vec<_>) =
        clients.into_iter().partition(|client| worker_of(&server, client) == 2);
    assert!(!its.is_empty() && !others.is_empty());
    let pid = pids(&server)[&2];
    signal(pid, "KILL");
    for mut client in its {
        // Its kernel closes for it: at once, and with nothing said.
        assert!(client.read_to_end().map_or(true, |said| said.is_empty()));
    }
    until("its successor", || pids(&server)[&2] != pid);
    all_serve(&server, 3);
    let ended = server.events("worker_ended");
    assert_eq!(ended.len(), 1);
    assert_eq!((&ended[0]["worker"], &ended[0]["level"]), (&2.into(), &"WARN".into()));
    assert!(ended[0]["status"].as_str().unwrap().contains("SIGKILL"), "{}", ended[0]);
    // No zombie, and no descriptor left of it.
    assert_eq!(state(pid), None);
    assert_eq!(children(&server).len(), 3);
    assert!(children(&server).into_iter().all(|pid| state(pid) != Some('Z')));
    until("the descriptors of its channel to be gone", || server.descriptors() == descriptors);
    // The others have not noticed.
    let alive = others.len();
    for mut client in others {
        client.ask("PING", "+PONG\r\n");
    }
    let metrics = server.metrics();
    assert_eq!(metrics["linger_worker_restarts_total{worker=\"2\"}"], 1.0);
    assert!(alive < 30 && metrics["linger_connections_accepted_total"] >= accepted, "a counter never falls");
    // And it serves as the first one did.
    until("a client of the successor", || worker_of(&server, &served(&server)) == 2);
}

#[test]
fn who_waits_in_the_queue_of_a_dead_worker_is_served_by_its_successor() {
    let server = start(2, RESP, &[]);
    let pid = pids(&server)[&1];
    signal(pid, "STOP");
    until("it to stand still", || state(pid) == Some('T'));
    let mut waiting: Vec<_> = (0..40).map(|_| server.connect("resp")).collect();
    for client in &mut waiting {
        client.send("PING\r\n");
    }
    let of_the_other = wait_for("the other worker's clients", || {
        let its = server.connections("resp").len();
        (its > 0).then_some(its)
    });
    assert!(of_the_other < 40, "nobody waits for the worker that stands still");
    signal(pid, "KILL");
    for client in &mut waiting {
        client.expect("+PONG\r\n");
    }
    assert_eq!(server.connections("resp").len(), 40);
}

#[test]
fn an_identity_moves_from_worker_to_worker_and_is_never_held_twice() {
    let server = start(2, RESP, &[]);
    let mut moves = 0;
    let mut holder: Option<(u64, Client)> = None;
    let mut replaced = 0;
    while moves < 4 {
        let mut newer = server.connect("resp");
        newer.ask("IDENT dev BEAT 60", "+OK\r\n");
        let its = worker_of(&server, &newer);
        if let Some((before, mut older)) = holder.take() {
            moves += usize::from(before != its);
            replaced += 1;
            assert_eq!(older.read_to_end().unwrap(), b"-GOODBYE peer.replaced\r\n");
        }
        newer.ask("PING", "+PONG\r\n");
        until("one to hold it", || {
            let (_, body) = server.admin("GET", "/connections?identity=dev");
            let answer: Value = serde_json::from_str(&body).unwrap();
            answer["matched"] == 1 && answer["connections"][0]["worker"] == its
        });
        holder = Some((its, newer));
    }
    until("each to be counted", || server.ended("peer.replaced") == replaced);
    assert_eq!(server.metrics()["linger_identities_moved_total"], 4.0);
    let elsewhere =
        server.events("identity_replaced").iter().filter(|event| !event["newer_worker"].is_null()).count();
    assert_eq!(elsewhere, 4);
    // A worker that dies gives up what it held: the next one replaces nobody.
    let (worker, mut last) = holder.unwrap();
    signal(pids(&server)[&worker], "KILL");
    let _ = last.read_to_end();
    all_serve(&server, 2);
    let mut next = server.connect("resp");
    next.ask("IDENT dev", "+OK\r\n");
    next.ask("PING", "+PONG\r\n");
    assert_eq!(server.metrics()["linger_identities"], 1.0);
    assert_eq!(server.metrics()["linger_identities_moved_total"], 4.0);
}

#[test]
fn claims_that_race_leave_one_holder() {
    let server = start(3, RESP, &[]);
    let address = server.address("resp");
    let claimers = (0..6).map(|_| {
        std::thread::spawn(move || {
            let mut won = None;
            for _ in 0..20 {
                let mut client = Client::connect(address);
                client.ask("IDENT dev", "+OK\r\n");
                won = Some(client);
            }
            won
        })
    });
    let last: Vec<_> =
        claimers.collect::<Vec<_>>().into_iter().filter_map(|one| one.join().unwrap()).collect();
    until("the others to be replaced", || server.connections("resp").len() == 1);
    let rows = server.connections("resp");
    assert_eq!(rows[0]["id"], "dev", "{rows:?}");
    // The one that is left is well.
    let peer = rows[0]["peer"].as_str().unwrap().to_owned();
    let mut survivors: Vec<_> =
        last.into_iter().filter(|client| client.stream.local_addr().unwrap().to_string() == peer).collect();
    assert_eq!(survivors.len(), 1, "it is among those that nobody closed");
    survivors[0].ask("PING", "+PONG\r\n");
}

#[test]
fn a_heartbeat_channel_reaches_an_identity_of_another_worker() {
    let server = start(2, &format!("{RESP}?heartbeat.grace=1h"), &[]);
    let [mut holder, mut channel] = one_of_each(&server);
    holder.ask("IDENT dev BEAT 1", "+OK\r\n");
    channel.ask("BEATFOR dev", "+OK\r\n");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(2500) {
        channel.send("BEAT\r\n");
        pass(Duration::from_millis(100));
    }
    assert_eq!(server.metrics()["linger_suspected_total"], 0.0, "it was vouched for all the time");
    // Without its beats the holder is suspect, and with them it is not.
    until("suspicion", || server.metrics()["linger_suspected_total"] == 1.0);
    until("its revival", || {
        channel.send("BEAT\r\n");
        server.metrics()["linger_revived_total"] == 1.0
    });
    // A channel that ends makes its holder suspect at once; long before its heartbeat would.
    holder.ask("IDENT dev BEAT 3600", "+OK\r\n");
    channel.ask("PING", "+PONG\r\n");
    drop(channel);
    until("suspicion of the holder", || server.metrics()["linger_suspected_total"] == 2.0);
}

#[test]
fn what_cannot_cross_workers_is_refused_rather_than_lost() {
    let server = start(2, RESP, &[]);
    let [mut holder, mut other] = one_of_each(&server);
    holder.ask("IDENT dev", "+OK\r\n");
    let reads = |client: &mut Client| {
        let mut bytes = [0; 512];
        let length = client.stream.read(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    };
    for command in ["SEND dev hello", "STATE dev"] {
        other.send(format!("{command}\r\n"));
        let said = reads(&mut other);
        assert!(said.starts_with("-ERR no client of this worker, 2 of 2, holds that identity"), "{said}");
    }
    holder.ask("STATE dev", "+online\r\n");
    holder.ask("SEND dev hello", ":1\r\n");
}

#[test]
fn sigterm_drains_all_workers() {
    let mut server = start(2, &format!("{RESP}?linger=1m"), &["drain.spread=0s", "drain.timeout=1m"]);
    let [first, second] = one_of_each(&server);
    let address = server.address("resp");
    server.signal("TERM");
    let mut clients = [first, second];
    for client in &mut clients {
        client.expect(GOODBYE);
    }
    until("the listeners to be closed", || std::net::TcpStream::connect(address).is_err());
    let (status, body) = server.admin("GET", "/readyz");
    assert!(status.contains("503") && body == "draining\n", "{status} {body}");
    assert_eq!(server.metrics()["linger_draining"], 1.0);
    assert_eq!(server.events("workers_stopped").len(), 0, "it waits for its clients");
    drop(clients);
    assert_eq!(server.wait_exit(), Some(0));
    until("both summaries", || server.events("stopped").len() == 2);
    for stopped in server.events("stopped") {
        assert_eq!((&stopped["cut_at_the_end"], &stopped["accepted"]), (&0.into(), &stopped["ended"]));
    }
    until("the last word", || server.events("workers_stopped").len() == 1);
}

#[test]
fn a_second_signal_ends_all_workers_at_once() {
    let mut server = start(2, RESP, &["drain.spread=1h", "drain.timeout=2h"]);
    let clients = one_of_each(&server);
    server.signal("INT");
    until("the drain", || server.events("draining").len() == 2);
    server.signal("TERM");
    assert_eq!(server.wait_exit(), Some(0));
    for mut client in clients {
        assert_eq!(client.read_to_end().unwrap(), GOODBYE.as_bytes());
    }
    assert_eq!(server.events("drain_cut_short").len(), 2);
}

#[test]
fn a_signal_to_the_whole_group_counts_once() {
    // As Ctrl-C in a terminal, or a service manager that means every process of the service.
    let program = ["setsid", "--wait", env!("CARGO_BIN_EXE_linger")];
    let listen = format!("{RESP}?linger=1m");
    let arguments = ["--workers", "2", "--listen", &listen, "--admin", "127.0.0.1:0"];
    let settings = ["--set", "drain.spread=0s", "--set", "drain.timeout=1m"];
    let mut server = Server::start_as(&program, &[arguments.as_slice(), &settings].concat());
    let mut clients = one_of_each(&server);
    let worker = pids(&server)[&1];
    let group = std::fs::read_to_string(format!("/proc/{worker}/stat")).unwrap();
    let group = group.rsplit(')').next().unwrap().split_whitespace().nth(2).unwrap().to_owned();
    for (name, drains) in [("HUP", 0), ("INT", 2)] {
        assert!(
            Command::new("kill")
                .args([&format!("-{name}"), "--", &format!("-{group}")])
                .status()
                .unwrap()
                .success()
        );
        until("the drain, or the reload", || {
            server.events("draining").len() == drains && server.events("reloaded").len() == 3
        });
    }
    for client in &mut clients {
        client.expect(GOODBYE);
        client.ask("PING", "+PONG\r\n");
    }
    assert_eq!(server.events("drain_cut_short").len(), 0);
    drop(clients);
    assert_eq!(server.wait_exit(), Some(0));
    assert_eq!(server.events("reloaded").len(), 3, "the supervisor's and one of each worker");
}

#[test]
fn workers_do_not_outlive_their_supervisor() {
    let mut server = start(2, RESP, &[]);
    let mut clients = one_of_each(&server);
    let workers = pids(&server);
    server.signal("KILL");
    assert_eq!(server.wait_exit(), None);
    until("the workers to be gone", || workers.values().all(|&pid| matches!(state(pid), None | Some('Z'))));
    for client in &mut clients {
        assert!(client.read_to_end().map_or(true, |said| said.is_empty()));
    }
}

#[test]
fn a_worker_that_stands_still_is_named_and_holds_up_nobody() {
    let server = start(2, RESP, &[]);
    let mut clients = one_of_each(&server);
    let before = server.metrics();
    let stuck = pids(&server)[&2];
    signal(stuck, "STOP");
    until("it to stand still", || state(stuck) == Some('T'));
    let begun = Instant::now();
    let metrics = server.metrics();
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(1) && took < Duration::from_secs(10), "{took:?}");
    assert_eq!(metrics["linger_worker_up{worker=\"1\"}"], 1.0);
    assert_eq!(metrics["linger_worker_up{worker=\"2\"}"], 0.0);
    assert_eq!(metrics["linger_worker_unanswered_total{worker=\"2\"}"], 1.0);
    let accepted = "linger_connections_accepted_total";
    assert!(metrics[accepted] >= before[accepted], "a counter never falls");
    assert_eq!(metrics["linger_connections{state=\"open\"}"], 1.0, "what it has now is not known");
    let (_, body) = server.admin("GET", "/connections");
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&answer["unanswered_workers"], &answer["matched"]), (&serde_json::json!([2]), &1.into()));
    let (status, body) = server.admin("GET", "/readyz");
    assert!(status.contains("503") && body == "worker 2: does not answer\n", "{status} {body}");
    assert!(server.admin("GET", "/healthz").0.contains("200"));
    clients[0].ask("PING", "+PONG\r\n");
    signal(stuck, "CONT");
    all_serve(&server, 2);
    clients[1].ask("PING", "+PONG\r\n");
    assert_eq!(server.metrics()["linger_connections{state=\"open\"}"], 2.0);
}

/// A directory that lives as long as the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("linger-workers-{}-{name}", std::process::id()));
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

#[test]
fn a_reload_reaches_all_workers_and_those_to_come() {
    let directory = Directory::new("reload");
    let file = directory.path("linger.toml");
    let text = |workers: u32, timeout: &str| {
        format!(
            "[server]\nworkers = {workers}\n[admin]\naddress = '127.0.0.1:0'\n[[listener]]\nname = 'resp'\nprotocol \
             = 'resp'\naddress = '127.0.0.1:0'\nidle_timeout = '{timeout}'\n"
        )
    };
    std::fs::write(&file, text(2, "1h")).unwrap();
    let server = Server::start(&["--config", &file]);
    let clients = one_of_each(&server);
    let first = pids(&server)[&1];
    // What is wrong is said once, and changes nothing.
    std::fs::write(&file, "[server]\nworkers = 0\n").unwrap();
    server.signal("HUP");
    until("the refusal", || server.events("reload_refused").len() == 1);
    std::fs::write(&file, text(3, "300ms")).unwrap();
    server.signal("HUP");
    until("the reload of all", || server.events("reloaded").len() == 3);
    let notes = server.events("reload_note");
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert_eq!(notes[0]["note"], "the number of workers needs a restart");
    for mut client in clients {
        assert_eq!(client.read_to_end().unwrap(), b"-GOODBYE local.idle\r\n");
    }
    // A successor has what was last sound, even when the file is not any more.
    std::fs::write(&file, "nonsense").unwrap();
    signal(first, "KILL");
    until("its successor", || pids(&server)[&1] != first);
    all_serve(&server, 2);
    let mut client = wait_for("a client of the successor", || {
        let client = server.connect("resp");
        let mut asking = Client { stream: client.stream.try_clone().unwrap() };
        asking.ask("PING", "+PONG\r\n");
        let (_, body) =
            server.admin("GET", &format!("/connections?peer={}", client.stream.local_addr().unwrap()));
        let answer: Value = serde_json::from_str(&body).unwrap();
        (answer["connections"][0]["worker"] == 1).then_some(client)
    });
    assert_eq!(client.read_to_end().unwrap(), b"-GOODBYE local.idle\r\n");
    assert_eq!(server.events("reload_refused").len(), 1);
}

#[test]
fn sigusr1_is_answered_by_all() {
    let server = start(2, RESP, &[]);
    server.signal("USR1");
    until("the states", || server.events("state").len() == 2 && server.events("workers_state").len() == 1);
    let workers: BTreeSet<_> =
        server.events("state").iter().map(|event| event["worker"].as_u64().unwrap()).collect();
    assert_eq!(workers, BTreeSet::from([1, 2]), "each line says whose it is");
}

#[test]
fn the_admin_interface_of_all_workers_may_be_a_unix_socket() {
    let directory = Directory::new("unix");
    let path = directory.path("admin.sock");
    let admin = format!("unix:{path}");
    let mut server = Server::start(&["--workers", "2", "--listen", RESP, "--admin", &admin]);
    let mut stream = UnixStream::connect(&path).unwrap();
    // One connection may ask again and again, and all at once.
    let request = "GET /readyz HTTP/1.1\r\nHost: test\r\n\r\n";
    let last = "GET /connections HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    stream.write_all(format!("{request}{request}{last}").as_bytes()).unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3, "{answers}");
    assert_eq!(answers.matches("ready\n").count(), 2, "{answers}");
    assert!(answers.ends_with("\"matched\":0,\"unanswered_workers\":[]}\n"), "{answers}");
    // What is no request is refused, and the connection with it.
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"nonsense\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    server.signal("TERM");
    assert_eq!(server.wait_exit(), Some(0));
    assert!(!Path::new(&path).exists(), "its file goes with it");
}

fn linger(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_linger"))
        .arg("serve")
        .args(arguments)
        .output()
        .expect("the binary runs");
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_port_is_not_shared_with_another_server() {
    let server = start(2, RESP, &[]);
    let listen = format!("resp://{}", server.address("resp"));
    for workers in ["1", "2"] {
        let (code, said) = linger(&["--workers", workers, "--listen", &listen, "--admin", "off"]);
        assert_eq!(code, Some(1));
        assert!(said.contains("Address already in use"), "{said}");
    }
}

#[test]
fn mistakes_are_told_once_and_nothing_is_started() {
    let (code, said) =
        linger(&["--workers", "4", "--set", "server.queue_watch=x", "--listen", "echo://nowhere"]);
    assert_eq!(code, Some(2));
    assert_eq!(said.matches("is not a duration").count(), 1, "{said}");
    assert!(said.contains("2 mistakes; nothing was started"), "{said}");
    let (code, said) = linger(&["--workers", "0"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("--workers: server.workers"), "{said}");
    // The flag between supervisor and worker is nobody else's.
    let (code, said) = linger(&["--as-worker", "1/2 1 0 0"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("be worker 1"), "{said}");
}

#[test]
fn where_no_worker_can_be_started_the_server_ends() {
    // Started by way of the loader, the program that a process runs is the loader: no worker comes of that.
    let loaders = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];
    let Some(loader) = loaders.into_iter().find(|path| Path::new(path).exists()) else {
        return eprintln!("skipped: no loader");
    };
    let output = Command::new(loader)
        .args([env!("CARGO_BIN_EXE_linger"), "serve", "--workers", "2", "--listen", RESP, "--admin", "off"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("start 2 workers") && said.contains("all of them failed"), "{said}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "", "nothing is served, so nothing is greeted");
}
