//! What the tests of workers share: a server with some, its processes, and clients of which one knows whose they are.

use crate::common::{Client, DEADLINE, Server, pass, until};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) const RESP: &str = "resp://127.0.0.1:0";
pub(crate) const GOODBYE: &str = "-GOODBYE local.drain\r\n";

pub(crate) fn start(workers: u32, listen: &str, settings: &[&str]) -> Server {
    let workers = workers.to_string();
    let mut arguments = vec!["--workers", &workers, "--listen", listen, "--admin", "127.0.0.1:0"];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    Server::start(&arguments)
}

pub(crate) fn served(server: &Server) -> Client {
    let mut client = server.connect("resp");
    client.ask("PING", "+PONG\r\n");
    client
}

/// The process of each worker, by its number: the newest.
pub(crate) fn pids(server: &Server) -> BTreeMap<u64, u64> {
    let started = server.events("worker_started");
    started.iter().map(|event| (event["worker"].as_u64().unwrap(), event["pid"].as_u64().unwrap())).collect()
}

pub(crate) fn signal(pid: u64, name: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap().success());
}

/// Stops a process, so that it does nothing until `CONT`.
pub(crate) fn stop(pid: u64) {
    signal(pid, "STOP");
    until("it to stop", || state(pid) == Some('T'));
}

/// Clients that have asked for something; some may wait in the queue of a worker that does not accept them.
pub(crate) fn asking(server: &Server, count: usize) -> Vec<Client> {
    let mut clients: Vec<_> = (0..count).map(|_| server.connect("resp")).collect();
    for client in &mut clients {
        client.send("PING\r\n");
    }
    clients
}

/// State of a process, as `R`, `S`, `T` or `Z`; `None` if there is no such process.
pub(crate) fn state(pid: u64) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.trim().chars().next()
}

/// The processes that the supervisor has started and not taken in.
pub(crate) fn children(server: &Server) -> Vec<u64> {
    let pid = server.pid();
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    text.split_whitespace().map(|word| word.parse().unwrap()).collect()
}

/// The worker that serves a client, as the admin interface has it.
pub(crate) fn worker_of(server: &Server, client: &Client) -> u64 {
    let peer = client.stream.local_addr().unwrap().to_string();
    let (_, body) = server.admin("GET", &format!("/connections?peer={peer}"));
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["matched"], 1, "{peer}: {answer}");
    answer["connections"][0]["worker"].as_u64().unwrap()
}

/// A client of each worker of two.
pub(crate) fn one_of_each(server: &Server) -> [Client; 2] {
    let mut found: BTreeMap<u64, Client> = BTreeMap::new();
    until("a client of each worker", || {
        let client = served(server);
        found.insert(worker_of(server, &client), client);
        found.len() == 2
    });
    [found.remove(&1).unwrap(), found.remove(&2).unwrap()]
}

pub(crate) fn all_serve(server: &Server, workers: u32) {
    until("all workers to serve", || {
        let metrics = server.metrics();
        (1..=workers).all(|number| metrics[&format!("linger_worker_up{{worker=\"{number}\"}}")] == 1.0)
    });
}

/// A directory that lives as long as the test.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("linger-workers-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Exit code and log of a server that is not to start.
pub(crate) fn linger(arguments: &[&str]) -> (Option<i32>, String) {
    ended(Command::new(env!("CARGO_BIN_EXE_linger")).arg("serve").args(arguments))
}

/// Exit code and log of a program that ends by itself, and is ended otherwise.
pub(crate) fn ended(command: &mut Command) -> (Option<i32>, String) {
    let piped = command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("the program runs");
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() && begun.elapsed() < DEADLINE {
        pass(Duration::from_millis(2));
    }
    // Nothing, if it has ended.
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}
