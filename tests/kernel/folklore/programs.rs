//! Programs: what is left of them when they end.

use crate::common::until;
use std::process::Command;

/// The state of a process, `Z` for a zombie.
fn state(pid: u32) -> Option<char> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may have anything in it (proc_pid_stat(5)).
    text.rsplit_once(") ")?.1.chars().next()
}

#[test]
fn a_child_that_ended_is_a_zombie_until_its_parent_waits() {
    let mut child = Command::new("true").spawn().unwrap();
    let pid = child.id();
    until("it has ended", || state(pid) == Some('Z'));
    child.kill().expect("there is something to send a signal to");
    assert_eq!(state(pid), Some('Z'), "a signal does not help");
    child.wait().unwrap();
    assert_eq!(state(pid), None);
}
