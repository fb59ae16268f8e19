//! `INFO` as tools made for Redis read it: each finds its fields, and what it finds is true.

#![allow(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]

use crate::common::{Client, Server};

/// The text of `INFO`, and the end of its connection.
fn info(mut client: Client, sections: &str) -> String {
    client.send(format!("INFO {sections}\r\nQUIT\r\n"));
    let reply = client.read_to_end().expect("an end of file after the goodbye");
    let reply = String::from_utf8(reply).expect("INFO is text");
    reply.split_once("\r\n").expect("its length stands before it").1.to_owned()
}

/// As `redis-cli --stat` finds a field: where its name stands first, even as the end of a longer one.
fn first<'a>(text: &'a str, field: &str) -> Option<&'a str> {
    let (_, behind) = text.split_once(field)?;
    behind.get(1..)?.split("\r\n").next()
}

/// As everything else does: a line of its own.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}

/// Fields that must be numbers, by who reads them.
const NUMBERS: &[(&str, &[&str])] = &[
    ("redis-py, node-redis and ioredis, before they are ready", &["loading", "async_loading"]),
    (
        "redis_exporter",
        &[
            "uptime_in_seconds",
            "process_id",
            "tcp_port",
            "connected_clients",
            "blocked_clients",
            "tracking_clients",
            "maxclients",
            "used_memory",
            "used_memory_rss",
            "maxmemory",
            "rdb_changes_since_last_save",
            "rdb_bgsave_in_progress",
            "aof_enabled",
            "aof_rewrite_in_progress",
            "total_connections_received",
            "total_commands_processed",
            "total_net_input_bytes",
            "total_net_output_bytes",
            "rejected_connections",
            "expired_keys",
            "evicted_keys",
            "keyspace_hits",
            "keyspace_misses",
            "pubsub_channels",
            "pubsub_patterns",
            "connected_slaves",
            "used_cpu_sys",
            "used_cpu_user",
            "cluster_enabled",
        ],
    ),
];

#[test]
fn tools_for_redis_find_their_fields() {
    let server = Server::start(&["--listen", "resp://127.0.0.1:0", "--admin", "off"]);
    let client = server.connect("resp");
    let text = info(client, "");
    for (tool, names) in NUMBERS {
        for name in *names {
            let value = field(&text, name).and_then(|value| value.parse::<f64>().ok());
            assert!(value.is_some(), "{tool} wants {name}: {text}");
        }
    }
    // `redis-cli --stat`.
    for name in [
        "used_memory",
        "connected_clients",
        "blocked_clients",
        "total_commands_processed",
        "total_connections_received",
        "bgsave_in_progress",
        "aof_rewrite_in_progress",
        "loading",
    ] {
        let value = first(&text, name).and_then(|value| value.parse::<u64>().ok());
        assert!(value.is_some(), "redis-cli --stat wants {name}: {text}");
    }
    let version: Vec<u32> =
        field(&text, "redis_version").unwrap().split('.').map(|part| part.parse().unwrap()).collect();
    assert_eq!(version.len(), 3, "libraries compare it part by part");
    assert_eq!(field(&text, "role"), Some("master"));
    assert_eq!(field(&text, "maxmemory_policy"), Some("noeviction"));
}

#[test]
fn what_it_tells_is_true() {
    let server = Server::start(&["--listen", "resp://127.0.0.1:0", "--admin", "off"]);
    let mut client = server.connect("resp");
    client.ask("PING", "+PONG\r\n");
    let text = info(client, "");
    let number = |name| field(&text, name).and_then(|value| value.parse::<u64>().ok()).unwrap();
    assert_eq!(number("tcp_port"), u64::from(server.address("resp").port()));
    assert_eq!(number("process_id"), u64::from(server.pid()));
    assert_eq!(number("connected_clients"), 1);
    assert_eq!(number("total_commands_processed"), 2);
    let resident = std::fs::read_to_string(format!("/proc/{}/statm", server.pid())).unwrap();
    let pages: u64 = resident.split(' ').nth(1).unwrap().parse().unwrap();
    let (told, seen) = (number("used_memory"), pages * 4096);
    assert!(told <= seen * 2 && seen <= told * 2, "{told} told, {seen} seen");
}

#[test]
fn a_section_can_be_asked_for_alone() {
    let server = Server::start(&["--listen", "resp://127.0.0.1:0", "--admin", "off"]);
    let client = server.connect("resp");
    let text = info(client, "memory cluster");
    let sections: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).collect();
    assert_eq!(sections, ["# Memory", "# Cluster"]);
}
