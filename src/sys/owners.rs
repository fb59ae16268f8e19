//! Whose a socket is: the process that holds its descriptor, found in `/proc` (proc(5)).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// A process that holds a socket.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Owner {
    /// Its number, as this process's `/proc` has it.
    pub pid: u32,
    /// Its name (`/proc/PID/comm`): 15 bytes at most, and as the program wants it.
    pub program: String,
}

/// Who holds the sockets that were asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Owners {
    /// By inode: of several who hold one, the oldest process.
    pub by_inode: BTreeMap<u32, Owner>,
    /// Processes whose descriptors may not be seen by this user.
    pub hidden: usize,
}

/// Finds the owners of the sockets with these inodes: one pass over the descriptors of all processes, which
/// ends when all are found.
pub fn find(wanted: &BTreeSet<u32>) -> Owners {
    let mut owners = Owners::default();
    let mut pids: Vec<u32> = entries("/proc").unwrap_or_default();
    pids.sort_unstable();
    for pid in pids {
        if owners.by_inode.len() == wanted.len() {
            break;
        }
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            // One that has just ended has no directory any more.
            owners.hidden += usize::from(fs::exists(format!("/proc/{pid}")).unwrap_or(false));
            continue;
        };
        for descriptor in descriptors.flatten() {
            let target = fs::read_link(descriptor.path()).unwrap_or_default();
            let Some(inode) = target.to_str().and_then(inode_of) else { continue };
            if wanted.contains(&inode) && !owners.by_inode.contains_key(&inode) {
                owners.by_inode.insert(inode, Owner { pid, program: program(pid) });
            }
        }
    }
    owners
}

/// The entries of a directory that are numbers.
fn entries(directory: &str) -> Option<Vec<u32>> {
    let entries = fs::read_dir(directory).ok()?.flatten();
    Some(entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// The inode in `socket:[12345]`.
fn inode_of(link: &str) -> Option<u32> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

fn program(pid: u32) -> String {
    let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name = String::from_utf8_lossy(&name);
    // A program can call itself anything: what would move the cursor is not for a terminal.
    name.trim_end().chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing;
    use std::os::fd::{AsFd, AsRawFd};

    #[test]
    fn a_socket_of_ours_is_ours_and_one_that_nobody_holds_is_nobodys() {
        let (client, _server) = testing::pair();
        let link = fs::read_link(format!("/proc/self/fd/{}", client.as_fd().as_raw_fd())).unwrap();
        let inode = inode_of(link.to_str().unwrap()).unwrap();
        let owners = find(&BTreeSet::from([inode, 0]));
        let owner = &owners.by_inode[&inode];
        assert_eq!(owner.pid, std::process::id());
        assert!(!owner.program.is_empty());
        assert!(!owners.by_inode.contains_key(&0));
    }

    #[test]
    fn only_sockets_have_an_inode_here() {
        assert_eq!(inode_of("socket:[4711]"), Some(4711));
        for other in ["pipe:[4711]", "/dev/null", "socket:[x]", "socket:[", ""] {
            assert_eq!(inode_of(other), None);
        }
    }
}
