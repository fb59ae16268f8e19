//! The first process of a container: it ends when asked to, and lets no zombie stay.
//!
//! Each server here is process 1 of a process namespace of its own. That takes root; without it nothing is shown.

#![allow(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]
#![allow(clippy::print_stderr, reason = "a part that is skipped is said")]

use crate::common::{Server, until};
use std::fs;
use std::process::Command;

/// Parent, state and name of a process, by the host's numbers.
fn process(pid: u32) -> Option<(u32, char, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (before, after) = stat.rsplit_once(") ")?;
    let (state, rest) = after.split_once(' ')?;
    let parent = rest.split(' ').next()?.parse().ok()?;
    Some((parent, state.chars().next()?, before.split_once('(')?.1.to_owned()))
}

fn children_of(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|&pid| process(pid).is_some_and(|(of, ..)| of == parent)).collect()
}

/// A server in a process namespace of its own, and its number outside; none where that is not permitted.
fn first_process(arguments: &[&str]) -> Option<(Server, u32)> {
    let possible =
        Command::new("unshare").args(["-pf", "true"]).status().is_ok_and(|status| status.success());
    if !possible {
        eprintln!("skipped: no process namespace can be made here");
        return None;
    }
    let program = ["unshare", "-pf", "--kill-child", env!("CARGO_BIN_EXE_linger")];
    let server = Server::start_as(&program, arguments);
    let children = children_of(server.pid());
    let [first] = children[..] else { panic!("unshare has one child: {children:?}") };
    Some((server, first))
}

/// Leaves an orphan in the namespace of a process: a shell there starts another, and ends. Gives the orphan.
fn orphan(first: u32, seconds: &str) -> u32 {
    let before = children_of(first);
    let script = format!("sleep {seconds} & exit 0");
    let of = first.to_string();
    let left = Command::new("nsenter").args(["-t", &of, "-p", "sh", "-c", &script]).status();
    assert!(left.is_ok_and(|status| status.success()));
    let mut found = None;
    until("the orphan to be a child of the first process", || {
        let fresh = children_of(first).into_iter().find(|pid| !before.contains(pid));
        found = fresh.or(found);
        found.is_some()
    });
    found.unwrap()
}

fn is_reaped(first: u32, arguments: &str) {
    let orphan = orphan(first, arguments);
    until("the orphan to end", || process(orphan).is_none_or(|(_, state, _)| state == 'Z'));
    until("the orphan's zombie to be reaped", || process(orphan).is_none());
}

#[test]
fn orphans_are_reaped_by_a_server_alone() {
    let arguments = ["--listen", "resp://127.0.0.1:0", "--admin", "off"];
    let Some((mut server, first)) = first_process(&arguments) else { return };
    is_reaped(first, "0.3");
    is_reaped(first, "0.3");
    server.connect("resp").ask("PING", "+PONG\r\n");
    // The kernel drops signals to a first process that has no handler for them (kill(2)).
    assert!(Command::new("kill").arg(first.to_string()).status().unwrap().success());
    assert_eq!(server.wait_exit(), Some(0));
}

#[test]
fn orphans_are_reaped_by_a_supervisor_and_workers_are_told_from_them() {
    let arguments = ["--listen", "resp://127.0.0.1:0", "--admin", "off", "--workers", "2"];
    let Some((mut server, first)) = first_process(&arguments) else { return };
    until("both workers to run", || children_of(first).len() == 2);
    let workers = children_of(first);
    is_reaped(first, "0.3");
    assert_eq!(children_of(first), workers);
    // One that dies is a worker that is started anew, and not an orphan whose end nobody misses.
    assert!(Command::new("kill").args(["-9", &workers[0].to_string()]).status().unwrap().success());
    until("the supervisor to miss it", || !server.events("worker_ended").is_empty());
    until("another to take its place", || {
        let now = children_of(first);
        now.len() == 2 && !now.contains(&workers[0])
    });
    is_reaped(first, "0.3");
    assert!(Command::new("kill").arg(first.to_string()).status().unwrap().success());
    assert_eq!(server.wait_exit(), Some(0));
}
