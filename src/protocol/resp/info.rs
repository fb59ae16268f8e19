//! `INFO`: what the server tells about itself, laid out as Redis does, so that the tools made for Redis can read it.
//!
//! A field has its value here, or is 0 where 0 is the truth (nothing is ever evicted), or is left out. The list of
//! what tools read is in `tests/server/info.rs`.

use super::encode::Reply;
use crate::core::end::Reason;
use crate::protocol::numbers::{InfoNumbers, ServerNumbers};
use crate::protocol::session::Numbers;
use std::fmt::{Display, Write};

/// The Redis whose commands are understood: `CLIENT SETINFO` and `CLIENT NO-TOUCH` came with 7.2. Libraries compare
/// it to choose what to send. Who wants to know the server reads `server_name`, where Valkey tells it as well.
const REDIS_VERSION: &str = "7.2.0";

/// Sections that were asked for, and their text.
struct Sections<'a> {
    asked: &'a [Vec<u8>],
    everything: bool,
    text: String,
}

impl<'a> Sections<'a> {
    fn new(asked: &'a [Vec<u8>]) -> Self {
        let is_all = |name: &Vec<u8>| {
            [&b"all"[..], b"default", b"everything"].iter().any(|all| name.eq_ignore_ascii_case(all))
        };
        Self { asked, everything: asked.is_empty() || asked.iter().any(is_all), text: String::new() }
    }

    /// Appends a section, if it was asked for.
    fn section(&mut self, name: &str, fields: &[(&str, &dyn Display)]) {
        let named = || self.asked.iter().any(|asked| asked.eq_ignore_ascii_case(name.as_bytes()));
        if !self.everything && !named() {
            return;
        }
        let blank = if self.text.is_empty() { "" } else { "\r\n" };
        let _ = write!(self.text, "{blank}# {name}\r\n");
        for (field, value) in fields {
            let _ = write!(self.text, "{field}:{value}\r\n");
        }
    }
}

/// Replies with the sections that were asked for. `silent`: workers that do not answer.
pub(super) fn reply(all: &Numbers<'_>, silent: &[u32], reply: &mut Reply<'_>) {
    let Numbers { numbers, server, .. } = *all;
    let mut sections = Sections::new(all.asked);
    info_server(all, silent, &mut sections);
    sections.section(
        "Clients",
        &[
            ("connected_clients", &numbers.clients),
            ("maxclients", &numbers.clients_max),
            // No command waits for another client here.
            ("blocked_clients", &0),
            ("tracking_clients", &0),
            ("pubsub_clients_subscriptions", &numbers.subscriptions),
            ("identities", &numbers.identities),
        ],
    );
    info_memory(numbers, &mut sections);
    info_stats(numbers, server, &mut sections);
    sections.section("Replication", &[("role", &"master"), ("connected_slaves", &0)]);
    let (system, user) = (cpu_time(numbers.cpu_system_us), cpu_time(numbers.cpu_user_us));
    sections.section("CPU", &[("used_cpu_sys", &system), ("used_cpu_user", &user)]);
    sections.section("Cluster", &[("cluster_enabled", &0)]);
    sections.section("Keyspace", &[]);
    reply.verbatim(&sections.text);
}

fn info_server(all: &Numbers<'_>, silent: &[u32], sections: &mut Sections<'_>) {
    let Numbers { server, port, workers, .. } = *all;
    let mut fields: Vec<(&str, &dyn Display)> = vec![
        ("redis_version", &REDIS_VERSION),
        ("server_name", &env!("CARGO_PKG_NAME")),
        ("linger_version", &env!("CARGO_PKG_VERSION")),
        ("redis_mode", &"standalone"),
        ("arch_bits", &usize::BITS),
        ("multiplexing_api", &"epoll"),
        ("process_id", &server.pid),
        ("tcp_port", &port),
        ("uptime_in_seconds", &server.uptime_s),
    ];
    let days = server.uptime_s / 86_400;
    fields.push(("uptime_in_days", &days));
    let count = workers.unwrap_or_default();
    let silent: Vec<_> = silent.iter().map(u32::to_string).collect();
    let silent = silent.join(",");
    if workers.is_some() {
        // Of those that do not answer, nothing is in the sums.
        fields.extend([("workers", &count as &dyn Display), ("unanswered_workers", &silent)]);
    }
    sections.section("Server", &fields);
}

fn info_stats(numbers: &InfoNumbers, server: &ServerNumbers, sections: &mut Sections<'_>) {
    let ends = Reason::ALL.iter().zip(&numbers.ends).filter(|(_, count)| **count > 0);
    let endings: Vec<_> = ends.map(|(reason, count)| format!("{reason}:{count}")).collect();
    sections.section(
        "Stats",
        &[
            ("total_connections_received", &numbers.accepted),
            ("total_connections_ended", &numbers.ends.iter().sum::<u64>()),
            ("total_commands_processed", &numbers.commands),
            ("total_net_input_bytes", &numbers.bytes_in),
            ("total_net_output_bytes", &numbers.bytes_out),
            ("rejected_connections", &numbers.shed),
            ("expired_keys", &0),
            ("evicted_keys", &0),
            ("keyspace_hits", &0),
            ("keyspace_misses", &0),
            ("pubsub_channels", &server.channels),
            ("pubsub_patterns", &server.patterns),
            ("endings", &endings.join(",")),
        ],
    );
}

/// `Memory`, and `Persistence`, of which there is none.
fn info_memory(numbers: &InfoNumbers, sections: &mut Sections<'_>) {
    sections.section(
        "Memory",
        &[
            ("used_memory", &numbers.resident_bytes),
            ("used_memory_rss", &numbers.resident_bytes),
            ("maxmemory", &numbers.memory_max),
            ("maxmemory_policy", &"noeviction"),
        ],
    );
    sections.section(
        "Persistence",
        &[
            // `redis-cli --stat` takes the first field that ends in this name: before `async_loading`.
            ("loading", &0),
            ("async_loading", &0),
            ("rdb_changes_since_last_save", &0),
            ("rdb_bgsave_in_progress", &0),
            ("aof_enabled", &0),
            ("aof_rewrite_in_progress", &0),
        ],
    );
}

/// As Redis writes CPU times: seconds and microseconds.
fn cpu_time(micros: u64) -> impl Display {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}
