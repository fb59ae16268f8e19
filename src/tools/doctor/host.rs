//! What can be read of a host. Reading judges nothing, and never fails: what is not there, or not ours to see,
//! is remembered as that, because absence means something else for each value.

use super::{CHECKS, FOLKLORE};
use crate::sys::limits;
use crate::sys::memory::{group_bound, meminfo};
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A value of the host, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// As the file has it, without white space at its ends.
    Value(String),
    /// There is no such file.
    Absent,
    /// There is one, and it may not be read.
    Denied,
}

/// A line of a `sysctl.conf`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// The file, from the root.
    pub file: String,
    /// The key, with dots.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// The host, as far as it can be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Soft and hard bound on descriptors of this process.
    pub descriptors: (u64, u64),
    /// Sysctls by name, those that the tables ask for.
    pub sysctls: BTreeMap<String, Reading>,
    /// Counters of `/proc/net/netstat`, as `TcpExt.ListenDrops`.
    pub counters: BTreeMap<String, u64>,
    /// Numbers of `/proc/net/sockstat`, as `TCP.orphan`.
    pub sockets: BTreeMap<String, u64>,
    /// `/proc/meminfo`, in bytes.
    pub memory: BTreeMap<String, u64>,
    /// The tightest bound on memory of the control groups that this process is in.
    pub memory_bound: Option<u64>,
    /// Packets dropped because a queue of `netdev_max_backlog` was full, all processors (`softnet_stat`).
    pub backlog_drops: Option<u64>,
    /// What is in `/etc/sysctl.conf` and its relatives, in force or not.
    pub tunings: Vec<Tuning>,
}

/// Sysctls that rules look at besides those that they are named for.
const MORE_SYSCTLS: &[&str] = &[
    "fs.file-nr",
    "net.netfilter.nf_conntrack_count",
    "net.ipv4.tcp_ehash_entries",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_max_tw_buckets",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_tw_recycle",
    "net.ipv4.tcp_tw_reuse_delay",
];

/// Where settings that survive a boot are written (sysctl.d(5)).
const SYSCTL_DIRECTORIES: &[&str] =
    &["etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d"];

/// The sysctls that are read: those that rules and folklore are named for, and the others that they look at.
pub fn sysctl_names() -> impl Iterator<Item = &'static str> {
    let names = CHECKS.iter().map(|check| check.name).chain(FOLKLORE.iter().map(|belief| belief.name));
    names
        .chain(MORE_SYSCTLS.iter().copied())
        .filter(|name| ["fs.", "net."].iter().any(|group| name.starts_with(group)))
}

impl Host {
    /// Reads the host whose file system begins at `root`; the bounds are this process's.
    pub fn read(root: &Path) -> Self {
        let proc = root.join("proc");
        let text = |path: &str| fs::read_to_string(proc.join(path)).unwrap_or_default();
        let bounds = limits::descriptors();
        Self {
            descriptors: (bounds.soft, bounds.hard),
            sysctls: sysctl_names().map(|name| (name.to_owned(), sysctl(&proc, name))).collect(),
            counters: counters(&text("net/netstat")),
            sockets: sockets(&text("net/sockstat")),
            memory: meminfo(&text("meminfo")),
            memory_bound: group_bound(root, &text("self/cgroup")),
            backlog_drops: backlog_drops(&text("net/softnet_stat")),
            tunings: tunings(root),
        }
    }

    /// A sysctl as it stands.
    pub fn sysctl(&self, name: &str) -> Option<&str> {
        debug_assert!(sysctl_names().any(|read| read == name), "{name} is looked at and never read");
        match self.sysctls.get(name)? {
            Reading::Value(value) => Some(value),
            Reading::Absent | Reading::Denied => None,
        }
    }

    /// A sysctl that is a number, or the number at `place` of those that it is.
    pub fn number(&self, name: &str, place: usize) -> Option<u64> {
        self.sysctl(name)?.split_ascii_whitespace().nth(place)?.parse().ok()
    }

    /// What a `sysctl.conf` says of `key`: the line, with its file.
    pub fn tuning(&self, key: &str) -> Option<&Tuning> {
        self.tunings.iter().find(|tuning| tuning.key == key)
    }
}

/// `net.ipv4.tcp_mem` is `sys/net/ipv4/tcp_mem`; none of ours has a dot within a part.
fn sysctl(proc: &Path, name: &str) -> Reading {
    match fs::read_to_string(proc.join("sys").join(name.replace('.', "/"))) {
        Ok(text) => Reading::Value(text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")),
        Err(error) if error.kind() == ErrorKind::NotFound => Reading::Absent,
        Err(_) => Reading::Denied,
    }
}

/// For each group a line of names, then a line of as many numbers.
fn counters(netstat: &str) -> BTreeMap<String, u64> {
    let lines: Vec<_> = netstat.lines().filter_map(|line| line.split_once(": ")).collect();
    let pairs = lines.chunks_exact(2).filter(|pair| pair[0].0 == pair[1].0);
    pairs
        .flat_map(|pair| {
            let (group, names) = pair[0];
            let columns = names.split_ascii_whitespace().zip(pair[1].1.split_ascii_whitespace());
            columns.filter_map(move |(name, value)| Some((format!("{group}.{name}"), value.parse().ok()?)))
        })
        .collect()
}

/// `TCP: inuse 1 orphan 0 tw 0 alloc 1 mem 190`.
fn sockets(sockstat: &str) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for (group, rest) in sockstat.lines().filter_map(|line| line.split_once(": ")) {
        let words: Vec<_> = rest.split_ascii_whitespace().collect();
        for pair in words.chunks_exact(2) {
            if let Ok(value) = pair[1].parse() {
                found.insert(format!("{group}.{}", pair[0]), value);
            }
        }
    }
    found
}

/// A line a processor, hexadecimal; the second column counts what a full queue dropped.
fn backlog_drops(softnet: &str) -> Option<u64> {
    let dropped = softnet
        .lines()
        .map(|line| u64::from_str_radix(line.split_ascii_whitespace().nth(1).unwrap_or_default(), 16).ok());
    dropped.reduce(|sum, more| Some(sum?.saturating_add(more?))).flatten()
}

fn tunings(root: &Path) -> Vec<Tuning> {
    let mut files = vec![PathBuf::from("etc/sysctl.conf")];
    for directory in SYSCTL_DIRECTORIES {
        let entries = fs::read_dir(root.join(directory)).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.map(|entry| Path::new(directory).join(entry.file_name())).collect();
        names.retain(|name| name.extension().is_some_and(|extension| extension == "conf"));
        names.sort();
        files.append(&mut names);
    }
    files
        .iter()
        .flat_map(|file| {
            let text = fs::read_to_string(root.join(file)).unwrap_or_default();
            text.lines().filter_map(|line| tuning(file, line)).collect::<Vec<_>>()
        })
        .collect()
}

/// `key = value`; a `-` before it says that it may fail, `;` and `#` begin a comment, `/` stands for a dot.
fn tuning(file: &Path, line: &str) -> Option<Tuning> {
    let line = line.trim();
    if line.starts_with(['#', ';']) {
        return None;
    }
    let (key, value) = line.trim_start_matches('-').split_once('=')?;
    let file = format!("/{}", file.display());
    Some(Tuning { file, key: key.trim().replace('/', "."), value: value.trim().to_owned() })
}
