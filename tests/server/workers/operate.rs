//! Signals and settings reach all workers, each once; mistakes are told once.

use crate::common::{Client, Server, until, wait_for};
use crate::workers::crowd::{
    Directory, GOODBYE, RESP, all_serve, linger, one_of_each, pids, signal, start, state,
};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;

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
    server.logs("drain_cut_short", 2);
}

#[test]
fn a_stalled_worker_does_not_keep_the_server_from_ending() {
    let mut server = start(2, RESP, &["drain.spread=0s"]);
    let stuck = pids(&server)[&2];
    signal(stuck, "STOP");
    server.signal("TERM");
    until("the drain of the other", || server.events("worker_ended").len() == 1);
    server.signal("TERM");
    assert_eq!(server.wait_exit(), Some(1), "not all has gone well");
    until("its end", || server.events("worker_ended").len() == 2);
    let last = &server.events("worker_ended")[1];
    assert!(last["worker"] == 2 && last["status"].as_str().unwrap().contains("SIGKILL"), "{last}");
    assert_eq!(state(stuck), None);
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
    // The supervisor's and one of each worker.
    server.logs("reloaded", 3);
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
        client.expect("-GOODBYE local.idle\r\n");
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
    client.expect("-GOODBYE local.idle\r\n");
    server.logs("reload_refused", 1);
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
