//! A host that is fine, and each rule with the one value changed that it is about.

use super::gateway_tests::gateway;
use super::host::{Reading, Tuning};
use super::*;
use std::fs;

pub(super) fn aim() -> Aim {
    Aim {
        connections: 100_000,
        workers: 1,
        descriptors_besides: 100,
        backlog: 4096,
        ports: vec![7000, 7007],
        relays: Vec::new(),
        shared: true,
    }
}

/// Values with which 100,000 connections are at home.
pub(super) const HEALTHY: &[(&str, &str)] = &[
    ("fs.nr_open", "1048576"),
    ("fs.file-max", "9223372036854775807"),
    ("fs.file-nr", "600 0 9223372036854775807"),
    ("fs.epoll.max_user_watches", "5491511"),
    ("net.core.somaxconn", "4096"),
    ("net.core.netdev_max_backlog", "10000"),
    ("net.ipv4.ip_local_port_range", "10000 120000"),
    ("net.ipv4.ip_local_reserved_ports", ""),
    ("net.ipv4.tcp_abort_on_overflow", "0"),
    ("net.ipv4.tcp_congestion_control", "cubic"),
    ("net.ipv4.tcp_ehash_entries", "262144"),
    ("net.ipv4.tcp_fin_timeout", "60"),
    ("net.ipv4.tcp_keepalive_intvl", "75"),
    ("net.ipv4.tcp_keepalive_probes", "9"),
    ("net.ipv4.tcp_keepalive_time", "7200"),
    ("net.ipv4.tcp_max_orphans", "262144"),
    ("net.ipv4.tcp_max_syn_backlog", "2048"),
    ("net.ipv4.tcp_max_tw_buckets", "131072"),
    ("net.ipv4.tcp_mem", "287898 383867 575796"),
    ("net.ipv4.tcp_migrate_req", "0"),
    ("net.ipv4.tcp_orphan_retries", "0"),
    ("net.ipv4.tcp_retries2", "15"),
    ("net.ipv4.tcp_rmem", "4096 131072 33554432"),
    ("net.ipv4.tcp_syncookies", "1"),
    ("net.ipv4.tcp_timestamps", "1"),
    ("net.ipv4.tcp_tw_reuse", "2"),
    ("net.ipv4.tcp_tw_reuse_delay", "1000"),
    ("net.ipv4.tcp_wmem", "4096 16384 4194304"),
    ("net.netfilter.nf_conntrack_count", "10"),
    ("net.netfilter.nf_conntrack_max", "262144"),
    ("net.netfilter.nf_conntrack_tcp_timeout_established", "432000"),
];

pub(super) const COUNTERS: &[&str] = &[
    "ListenOverflows",
    "ListenDrops",
    "TCPReqQFullDrop",
    "TW",
    "TCPTimeWaitOverflow",
    "TCPAbortOnMemory",
    "PruneCalled",
];

pub(super) fn healthy() -> Host {
    let values = |names: &[&str], value| names.iter().map(|name| ((*name).to_owned(), value)).collect();
    Host {
        descriptors: (1024, 524_288),
        sysctls: HEALTHY
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Reading::Value((*value).to_owned())))
            .collect(),
        counters: COUNTERS.iter().map(|name| (format!("TcpExt.{name}"), 0)).collect(),
        sockets: values(&["TCP.orphan", "TCP.tw", "TCP.mem"], 3),
        memory: values(&["MemAvailable", "MemTotal"], 16 << 30),
        memory_bound: None,
        backlog_drops: Some(0),
        tunings: Vec::new(),
    }
}

fn with(name: &str, value: &str) -> Host {
    let mut host = healthy();
    host.sysctls.insert(name.to_owned(), Reading::Value(value.to_owned()));
    host
}

fn finding(host: &Host, name: &str) -> Finding {
    let report = examine(host, &aim());
    report.findings.into_iter().find(|finding| finding.name == name).expect("a rule of that name")
}

fn tale(host: &Host, name: &str) -> Tale {
    let report = examine(host, &aim());
    report.folklore.into_iter().find(|tale| tale.name == name).expect("folklore of that name")
}

/// Only this finding is not `ok`, and its first command is this.
fn assert_only(host: &Host, name: &str, verdict: Verdict, set: &str) -> Finding {
    let report = examine(host, &aim());
    let others: Vec<_> = report
        .findings
        .iter()
        .filter(|finding| finding.name != name && finding.verdict != Verdict::Ok)
        .collect();
    assert!(others.is_empty(), "{others:?}");
    let finding = finding(host, name);
    assert_eq!(
        (finding.verdict, finding.set.first().map_or("", String::as_str)),
        (verdict, set),
        "{finding:?}"
    );
    assert_eq!(report.verdict, verdict);
    finding
}

#[test]
fn a_healthy_host_is_told_so() {
    let report = examine(&healthy(), &aim());
    let rest: Vec<_> = report.findings.iter().filter(|finding| finding.verdict != Verdict::Ok).collect();
    assert!(rest.is_empty(), "{rest:?}");
    assert!(report.folklore.iter().all(|tale| tale.verdict == Verdict::Ok), "{:?}", report.folklore);
    assert_eq!(report.verdict, Verdict::Ok);
}

/// One value other than on the healthy host, and what is made of it.
const SICK: &[(&str, &str, Verdict, &str)] = &[
    ("fs.nr_open", "65536", Verdict::Harm, "sysctl -w fs.nr_open=100100"),
    ("fs.file-max", "100699", Verdict::Harm, "sysctl -w fs.file-max=201400"),
    ("fs.epoll.max_user_watches", "100099", Verdict::Harm, "sysctl -w fs.epoll.max_user_watches=200200"),
    ("net.core.somaxconn", "128", Verdict::Harm, "sysctl -w net.core.somaxconn=4096"),
    ("net.core.netdev_max_backlog", "1000", Verdict::Advice, "sysctl -w net.core.netdev_max_backlog=10000"),
    (
        "net.ipv4.ip_local_port_range",
        "32768 60999",
        Verdict::Advice,
        "sysctl -w net.ipv4.ip_local_port_range=\"10000 65535\"",
    ),
    ("net.ipv4.tcp_keepalive_probes", "2", Verdict::Advice, "sysctl -w net.ipv4.tcp_keepalive_probes=9"),
    ("net.ipv4.tcp_max_orphans", "131072", Verdict::Advice, "sysctl -w net.ipv4.tcp_max_orphans=200000"),
    ("net.ipv4.tcp_max_orphans", "5", Verdict::Harm, "sysctl -w net.ipv4.tcp_max_orphans=200000"),
    (
        "net.ipv4.tcp_mem",
        "90000 120000 180000",
        Verdict::Harm,
        "sysctl -w net.ipv4.tcp_mem=\"200003 266668 400006\"",
    ),
    (
        "net.ipv4.tcp_mem",
        "90000 120000 240000",
        Verdict::Advice,
        "sysctl -w net.ipv4.tcp_mem=\"200003 266668 400006\"",
    ),
    ("net.ipv4.tcp_orphan_retries", "1", Verdict::Advice, "sysctl -w net.ipv4.tcp_orphan_retries=0"),
    ("net.ipv4.tcp_orphan_retries", "9", Verdict::Advice, "sysctl -w net.ipv4.tcp_orphan_retries=0"),
    ("net.ipv4.tcp_retries2", "5", Verdict::Advice, "sysctl -w net.ipv4.tcp_retries2=15"),
    (
        "net.ipv4.tcp_rmem",
        "4096 12582912 16777216",
        Verdict::Advice,
        "sysctl -w net.ipv4.tcp_rmem=\"4096 131072 16777216\"",
    ),
    (
        "net.ipv4.tcp_wmem",
        "4096 12582912 16777216",
        Verdict::Advice,
        "sysctl -w net.ipv4.tcp_wmem=\"4096 16384 16777216\"",
    ),
    ("net.ipv4.tcp_syncookies", "2", Verdict::Advice, "sysctl -w net.ipv4.tcp_syncookies=1"),
    ("net.ipv4.tcp_timestamps", "0", Verdict::Advice, "sysctl -w net.ipv4.tcp_timestamps=1"),
    (
        "net.netfilter.nf_conntrack_max",
        "65536",
        Verdict::Harm,
        "sysctl -w net.netfilter.nf_conntrack_max=200020",
    ),
];

#[test]
fn one_sick_value_is_the_only_finding_and_its_command_cures_it() {
    for &(name, value, verdict, set) in SICK {
        let host = with(name, value);
        assert_only(&host, name, verdict, set);
        let cure = set.rsplit_once('=').expect("sysctl -w name=value").1.trim_matches('"');
        let cured = finding(&with(name, cure), name);
        // No range of ports has 100,000 in it: what helps there is said instead.
        assert!(cured.verdict == Verdict::Ok || name.ends_with("port_range"), "{cured:?}");
    }
}

#[test]
fn workers_share_the_descriptors_and_not_quite_evenly() {
    let share = 25_000 + 25_000 / 16 + 100;
    for (hard, verdict) in [(share, Verdict::Ok), (share - 1, Verdict::Harm)] {
        let host = Host { descriptors: (1024, hard), ..healthy() };
        let report = examine(&host, &Aim { workers: 4, ..aim() });
        let found = report.findings.iter().find(|finding| finding.name == "RLIMIT_NOFILE").unwrap();
        assert_eq!(found.verdict, verdict, "{found:?}");
    }
}

#[test]
fn descriptors_are_counted_with_those_of_our_own() {
    let mut host = healthy();
    host.descriptors = (1024, 100_099);
    let found = assert_only(&host, "RLIMIT_NOFILE", Verdict::Harm, "ulimit -n 100100");
    assert_eq!(found.set[1], "LimitNOFILE=100100  # [Service] of the systemd unit");
    assert_eq!(found.value.as_deref(), Some("soft 1024, hard 100099"));
    host.descriptors = (1024, 100_100);
    assert!(finding(&host, "RLIMIT_NOFILE").why.contains("by itself"));
    host.descriptors = (u64::MAX, u64::MAX);
    assert_eq!(finding(&host, "RLIMIT_NOFILE").value.as_deref(), Some("soft unlimited, hard unlimited"));
}

#[test]
fn few_retries_lose_goodbyes_and_many_keep_orphans() {
    for (value, part) in [("1", "never sent again"), ("2", "never sent again"), ("9", "for minutes")] {
        let name = "net.ipv4.tcp_orphan_retries";
        assert!(finding(&with(name, value), name).why.contains(part), "{value}");
    }
}

#[test]
fn half_open_connections_are_bounded_by_their_own_setting_only_without_cookies() {
    let host = with("net.ipv4.tcp_syncookies", "0");
    assert_eq!(finding(&host, "net.ipv4.tcp_syncookies").verdict, Verdict::Harm);
    let found = finding(&host, "net.ipv4.tcp_max_syn_backlog");
    assert_eq!(
        (found.verdict, &*found.set),
        (Verdict::Advice, &["sysctl -w net.ipv4.tcp_max_syn_backlog=4096".into()][..])
    );
}

#[test]
fn a_listeners_port_among_those_for_going_out_has_to_be_reserved() {
    let name = "net.ipv4.ip_local_reserved_ports";
    let mut host = with("net.ipv4.ip_local_port_range", "1024 120000");
    assert_only(&host, name, Verdict::Harm, &format!("sysctl -w {name}=7000,7007"));
    host.sysctls.insert(name.into(), Reading::Value("80,7005-7010".into()));
    assert_only(&host, name, Verdict::Harm, &format!("sysctl -w {name}=80,7005-7010,7000"));
    host.sysctls.insert(name.into(), Reading::Value("80,7000-7010".into()));
    assert_eq!(finding(&host, name).verdict, Verdict::Ok);
}

#[test]
fn packets_that_were_dropped_are_told_whatever_the_aim() {
    let mut host = healthy();
    host.backlog_drops = Some(7);
    let name = "net.core.netdev_max_backlog";
    assert_only(&host, name, Verdict::Advice, &format!("sysctl -w {name}=20000"));
}

#[test]
fn a_tracking_table_that_is_too_small_hurts_once_it_is_used() {
    let mut host = with("net.netfilter.nf_conntrack_max", "65536");
    host.sysctls.insert("net.netfilter.nf_conntrack_count".into(), Reading::Value("0".into()));
    let found = finding(&host, "net.netfilter.nf_conntrack_max");
    assert_eq!(found.verdict, Verdict::Advice, "{found:?}");
}

#[test]
fn tracking_that_forgets_is_told_with_the_keepalive_that_comes_too_late() {
    let host = with("net.netfilter.nf_conntrack_tcp_timeout_established", "3600");
    let names = ["net.netfilter.nf_conntrack_tcp_timeout_established", "net.ipv4.tcp_keepalive_time"];
    for name in names {
        assert_eq!(finding(&host, name).verdict, Verdict::Advice, "{name}");
    }
}

#[test]
fn memory_is_reckoned_idle_and_busy() {
    for (available, verdict) in
        [(504_000_000 - 1, Verdict::Harm), (504_000_000, Verdict::Advice), (1_323_200_000, Verdict::Ok)]
    {
        let mut host = healthy();
        host.memory.insert("MemAvailable".into(), available);
        assert_only(&host, "MemAvailable", verdict, "");
        let mut host = healthy();
        host.memory_bound = Some(available);
        let set =
            if verdict == Verdict::Ok { "" } else { "MemoryMax=2523M  # [Service] of the systemd unit" };
        assert_only(&host, "memory.max", verdict, set);
    }
}

#[test]
fn every_counter_that_moved_is_told() {
    for name in COUNTERS.iter().filter(|name| **name != "TW") {
        let name = format!("TcpExt.{name}");
        let mut host = healthy();
        host.counters.insert(name.clone(), 5);
        assert_only(&host, &name, Verdict::Advice, "");
    }
    let mut host = healthy();
    host.counters.insert("TcpExt.TW".into(), 5);
    assert_eq!(finding(&host, "TcpExt.TW").verdict, Verdict::Ok);
    host.sockets.insert("TCP.tw".into(), 65_537);
    assert_only(&host, "TcpExt.TW", Verdict::Advice, "");
}

#[test]
fn what_cannot_be_read_is_unknown_and_why_is_said() {
    let host = Host { descriptors: (1024, 524_288), ..Host::default() };
    for found in examine(&host, &aim()).findings {
        let expected = match found.name {
            "RLIMIT_NOFILE" | "memory.max" => Verdict::Ok,
            name if name.contains("conntrack") => Verdict::Ok,
            _ => Verdict::Unknown,
        };
        assert_eq!(found.verdict, expected, "{found:?}");
    }
    for name in ["net.core.netdev_max_backlog", "net.ipv4.tcp_max_orphans", "net.ipv4.tcp_mem"] {
        let why = finding(&host, name).why;
        assert!(why.contains("first network namespace"), "{name}: {why}");
    }
    let mut host = healthy();
    host.sysctls.insert("net.netfilter.nf_conntrack_max".into(), Reading::Denied);
    let denied = finding(&host, "net.netfilter.nf_conntrack_max");
    assert_eq!((denied.verdict, denied.why.contains("root")), (Verdict::Unknown, true), "{denied:?}");
}

#[test]
fn nonsense_in_a_file_is_unknown_too() {
    for check in
        CHECKS.iter().filter(|check| check.name.contains(".tcp_") && !check.name.contains("congestion"))
    {
        assert_eq!(finding(&with(check.name, "?"), check.name).verdict, Verdict::Unknown, "{}", check.name);
    }
}

#[test]
fn folklore_is_flagged_where_the_host_was_tuned_by_it() {
    for (name, value, verdict, set) in [
        ("net.ipv4.tcp_tw_reuse", "1", Verdict::Advice, "sysctl -w net.ipv4.tcp_tw_reuse=2"),
        ("net.ipv4.tcp_fin_timeout", "10", Verdict::Advice, "sysctl -w net.ipv4.tcp_fin_timeout=60"),
        (
            "net.ipv4.tcp_max_tw_buckets",
            "5000",
            Verdict::Advice,
            "sysctl -w net.ipv4.tcp_max_tw_buckets=131072",
        ),
        ("net.ipv4.tcp_abort_on_overflow", "1", Verdict::Harm, "sysctl -w net.ipv4.tcp_abort_on_overflow=0"),
        ("net.ipv4.tcp_tw_recycle", "1", Verdict::Harm, "sysctl -w net.ipv4.tcp_tw_recycle=0"),
    ] {
        let host = with(name, value);
        let found = tale(&host, name);
        assert_eq!((found.verdict, &*found.set), (verdict, &[set.to_owned()][..]), "{found:?}");
        assert_eq!(examine(&host, &aim()).verdict, verdict, "it counts");
    }
    assert_eq!(tale(&with("net.ipv4.tcp_tw_reuse", "0"), "net.ipv4.tcp_tw_reuse").verdict, Verdict::Ok);
    let mut host = with("net.ipv4.tcp_max_tw_buckets", "5000");
    // A table shared with the host's first network namespace is told as a negative number.
    host.sysctls.insert("net.ipv4.tcp_ehash_entries".into(), Reading::Value("-8192".into()));
    assert_eq!(tale(&host, "net.ipv4.tcp_max_tw_buckets").verdict, Verdict::Ok);
}

#[test]
fn folklore_in_a_file_is_flagged_with_the_file() {
    let mut host = healthy();
    let file = "/etc/sysctl.d/99-tuning.conf".to_owned();
    host.tunings.push(Tuning { file, key: "net.ipv4.tcp_tw_recycle".into(), value: "1".into() });
    let found = tale(&host, "net.ipv4.tcp_tw_recycle");
    assert_eq!(found.verdict, Verdict::Advice);
    assert_eq!(found.value.as_deref(), Some("1 in /etc/sysctl.d/99-tuning.conf"));
    assert_eq!(found.set, ["take it out of /etc/sysctl.d/99-tuning.conf"]);
}

#[test]
fn whatever_a_host_says_something_is_made_of_it() {
    let most = u64::MAX;
    let huge = format!("{most} {most} {most}");
    let least = i64::MIN.to_string();
    for text in ["", "x", "0", "0 0 0", "-1", &huge, &format!("0 {most}"), &least] {
        for (number, connections) in [(0, 1), (most, 1_000_000_000)] {
            let mut host = healthy();
            for value in host.sysctls.values_mut() {
                *value = Reading::Value(text.to_owned());
            }
            for map in [&mut host.counters, &mut host.sockets, &mut host.memory] {
                for value in map.values_mut() {
                    *value = number;
                }
            }
            (host.descriptors, host.memory_bound, host.backlog_drops) =
                ((number, number), Some(number), Some(number));
            let report = examine(&host, &Aim { connections, ..gateway(&["127.0.0.1:9001"], Some(number)) });
            assert_eq!(report.findings.len(), CHECKS.len(), "{text}");
        }
    }
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn a_connection_takes_no_more_than_is_reckoned() {
    let slabs = fs::read_to_string("/proc/slabinfo").expect("root may");
    let size_of = |name: &str| -> Option<u64> {
        let mut lines = slabs.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
        lines.find(|line| line[0] == name)?.get(3)?.parse().ok()
    };
    // A cache may be merged with another of its size, and then has no line.
    let parts = ["TCP", "sock_inode_cache", "filp", "dentry", "eventpoll_epi"].map(size_of);
    let sum: u64 = parts.iter().flatten().sum();
    assert!(parts[0].is_some() && (2_000..=rules::memory::SLAB).contains(&sum), "{parts:?}");
    assert!(size_of("tw_sock_TCP").is_none_or(|size| size == 256));
}

#[test]
fn names_are_told_once() {
    let mut names: Vec<_> =
        CHECKS.iter().map(|check| check.name).chain(FOLKLORE.iter().map(|b| b.name)).collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all);
}
