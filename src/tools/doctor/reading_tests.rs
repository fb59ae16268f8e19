//! What is read of a host: all that the rules look at, from whatever the files say.

use super::host::{Reading, sysctl_names};
use super::tests::{COUNTERS, HEALTHY, aim, healthy};
use super::*;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A directory for one test, removed after it.
struct Root(PathBuf);

impl Root {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("linger-doctor-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.0.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_host_is_read_from_its_root() {
    let root = Root::new("read");
    for (name, value) in HEALTHY {
        root.write(
            &format!("proc/sys/{}", name.replace('.', "/")),
            &format!("{}\n", value.replace(' ', "\t")),
        );
    }
    let zeros = COUNTERS.iter().map(|_| "0").collect::<Vec<_>>().join(" ");
    root.write(
        "proc/net/netstat",
        &format!("TcpExt: {}\nTcpExt: {zeros}\nIpExt: InNoRoutes\nIpExt: 9\n", COUNTERS.join(" ")),
    );
    root.write("proc/net/sockstat", "sockets: used 14\nTCP: inuse 1 orphan 3 tw 3 alloc 1 mem 3\n");
    root.write("proc/net/softnet_stat", "000000ff 00000000 0\n000000ff 0000000a 0\n");
    root.write("proc/meminfo", "MemTotal:       16777216 kB\nMemAvailable:   16777216 kB\n");
    root.write("proc/self/cgroup", "1:name=systemd:/x\n0::/system.slice/linger.service\n");
    root.write("sys/fs/cgroup/system.slice/linger.service/memory.max", "max\n");
    root.write("sys/fs/cgroup/system.slice/memory.max", "9000000000\n");
    root.write(
        "etc/sysctl.conf",
        "# net.ipv4.tcp_tw_recycle = 1\n;a=b\n -net/ipv4/tcp_tw_reuse = 1 \nnonsense\n",
    );
    root.write("etc/sysctl.d/b.conf", "vm.swappiness=1\n");
    root.write("etc/sysctl.d/README", "c.d = 1\n");

    let host = Host::read(&root.0);
    let mut expected = healthy();
    expected.sysctls.insert("net.ipv4.tcp_tw_recycle".into(), Reading::Absent);
    assert_eq!(
        host.sysctls.iter().filter(|(name, value)| expected.sysctls.get(*name) != Some(value)).count(),
        0
    );
    assert_eq!(host.counters.len(), COUNTERS.len() + 1);
    assert_eq!((host.counters["IpExt.InNoRoutes"], host.sockets["TCP.orphan"]), (9, 3));
    assert_eq!((host.memory["MemAvailable"], host.backlog_drops), (16 << 30, Some(10)));
    assert_eq!(host.memory_bound, Some(9_000_000_000));
    let tunings: Vec<_> = host.tunings.iter().map(|t| (&*t.file, &*t.key, &*t.value)).collect();
    assert_eq!(
        tunings,
        [("/etc/sysctl.conf", "net.ipv4.tcp_tw_reuse", "1"), ("/etc/sysctl.d/b.conf", "vm.swappiness", "1")]
    );
}

#[test]
fn a_root_with_nothing_in_it_is_read_as_that() {
    let root = Root::new("empty");
    let host = Host::read(&root.0);
    assert!(host.sysctls.values().all(|reading| *reading == Reading::Absent));
    assert_eq!((host.memory_bound, host.backlog_drops, host.tunings.len()), (None, None, 0));
}

#[test]
fn this_host_is_read() {
    let host = Host::read(Path::new("/"));
    assert!(
        host.number("net.core.somaxconn", 0).is_some() && host.counters.contains_key("TcpExt.ListenDrops")
    );
    assert!(host.memory.contains_key("MemAvailable") && host.descriptors.1 > 0);
}

#[test]
fn a_setting_that_only_another_is_compared_with_is_read_too() {
    let root = Root::new("tw-buckets");
    root.write("proc/sys/net/ipv4/tcp_max_tw_buckets", "5000\n");
    root.write("proc/sys/net/ipv4/tcp_ehash_entries", "262144\n");
    let report = examine(&Host::read(&root.0), &aim());
    let tale = report.folklore.iter().find(|tale| tale.name == "net.ipv4.tcp_max_tw_buckets").unwrap();
    assert_eq!(tale.verdict, Verdict::Advice, "{tale:?}");
    assert_eq!(tale.set, ["sysctl -w net.ipv4.tcp_max_tw_buckets=131072"]);
}

/// Sysctls that the text of the rules names: `"net.ipv4.tcp_mem"`, whatever is done with it.
fn named() -> BTreeSet<String> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tools/doctor");
    let rules = fs::read_dir(sources.join("rules")).unwrap().map(|entry| entry.unwrap().path());
    let mut found = BTreeSet::new();
    for file in rules.chain([sources.join("folklore.rs")]) {
        let text = fs::read_to_string(file).unwrap();
        let quoted = text.split('"').skip(1).step_by(2);
        let is_name = |text: &&str| {
            ["fs.", "net.", "kernel.", "vm."].iter().any(|group| text.starts_with(group))
                && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
        };
        found.extend(quoted.filter(is_name).map(str::to_owned));
    }
    found
}

#[test]
fn all_that_a_rule_looks_at_is_read() {
    let read: BTreeSet<String> = sysctl_names().map(str::to_owned).collect();
    let named = named();
    assert!(named.len() > 30 && named.contains("fs.file-nr"), "{named:?}");
    assert_eq!(named.difference(&read).collect::<Vec<_>>(), Vec::<&String>::new(), "looked at, never read");
    assert_eq!(read.difference(&named).collect::<Vec<_>>(), Vec::<&String>::new(), "read, never looked at");
}

#[test]
fn a_bound_on_memory_is_found_in_either_version_of_control_groups() {
    const NO_LIMIT: &str = "9223372036854771712";
    for (name, membership, files, bound) in [
        ("v2", "0::/a/b", &[("a/b/memory.max", "max"), ("a/memory.max", "500000000")][..], Some(500_000_000)),
        (
            "v1",
            "5:cpu,cpuacct:/a\n4:memory:/a/b\n1:name=systemd:/a",
            &[
                ("memory/a/b/memory.limit_in_bytes", NO_LIMIT),
                ("memory/a/memory.limit_in_bytes", "400000000"),
            ],
            Some(400_000_000),
        ),
        // A container without a namespace of groups: the path is the host's, and its own group is what is mounted.
        (
            "v1-container",
            "4:memory:/docker/x",
            &[("memory/memory.limit_in_bytes", "300000000")],
            Some(300_000_000),
        ),
        (
            "hybrid",
            "4:memory:/a\n0::/b",
            &[("memory/a/memory.limit_in_bytes", "200000000"), ("b/memory.max", "max")],
            Some(200_000_000),
        ),
        ("unbounded", "4:memory:/a", &[("memory/a/memory.limit_in_bytes", NO_LIMIT)], None),
    ] {
        let root = Root::new(&format!("cgroup-{name}"));
        root.write("proc/self/cgroup", membership);
        for (file, text) in files {
            root.write(&format!("sys/fs/cgroup/{file}"), &format!("{text}\n"));
        }
        assert_eq!(Host::read(&root.0).memory_bound, bound, "{name}");
    }
}
