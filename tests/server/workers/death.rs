//! What the death of a worker does to its clients, to those who wait for it, and to everybody else.

use crate::common::{until, wait_for};
use crate::workers::crowd::{
    RESP, all_serve, asking, children, ended, one_of_each, pids, served, signal, start, state, stop,
    worker_of,
};
use std::path::Path;
use std::process::Command;

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
    stop(pid);
    let mut waiting = asking(&server, 40);
    let of_the_other = wait_for("the other worker's clients", || {
        let its = server.connections("resp").len();
        (its > 0).then_some(its)
    });
    assert!(of_the_other < 40, "nobody waits for the worker that stalls");
    signal(pid, "KILL");
    for client in &mut waiting {
        client.expect("+PONG\r\n");
    }
    assert_eq!(server.connections("resp").len(), 40);
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
fn where_no_worker_can_be_started_the_server_ends() {
    // Started by way of the loader, the program that a process runs is the loader: no worker comes of that.
    let loaders = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];
    let Some(loader) = loaders.into_iter().find(|path| Path::new(path).exists()) else {
        return eprintln!("skipped: no loader");
    };
    let binary = env!("CARGO_BIN_EXE_linger");
    let arguments = [binary, "serve", "--workers", "2", "--listen", RESP, "--admin", "off"];
    let (code, said) = ended(Command::new(loader).args(arguments));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("start 2 workers") && said.contains("all of them failed"), "{said}");
    assert!(!said.contains("listening"), "nothing is served, so nothing is said to be");
}
