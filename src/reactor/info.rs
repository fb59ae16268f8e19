//! `INFO`: what the server tells about itself, laid out as Redis does, so that the tools made for Redis can read it.
//!
//! A field has its value here, or is 0 where 0 is the truth (nothing is ever evicted), or is left out. The list of
//! what tools read is in `tests/server/info.rs`.

use super::Reactor;
use super::work::cost;
use crate::core::table::Key;
use crate::core::time::Duration;
use crate::net::{Address, Kernel, Usage};
use crate::protocol::resp::Arguments;
use std::fmt::{Display, Write};

/// The Redis whose commands are understood: `CLIENT SETINFO` and `CLIENT NO-TOUCH` came with 7.2. Libraries compare
/// it to choose what to send. Who wants to know the server reads `server_name`, where Valkey tells it as well.
const REDIS_VERSION: &str = "7.2.0";

/// What one `INFO` costs: two system calls that read `/proc`, and a page of text.
const COST: usize = 64 * cost::COMMAND;

/// Sections that were asked for, and their text.
struct Sections<'a> {
    asked: Arguments<'a>,
    everything: bool,
    text: String,
}

impl<'a> Sections<'a> {
    fn new(asked: Arguments<'a>) -> Self {
        let is_all = |name: &[u8]| {
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

impl<K: Kernel> Reactor<K> {
    /// `INFO`: sections of `field:value`.
    pub(super) fn info(&mut self, key: Key, asked: Arguments<'_>, replies: &mut Vec<u8>) {
        self.work.charge(COST);
        let usage = self.kernel.usage().unwrap_or_default();
        let mut sections = Sections::new(asked);
        self.info_server(key, &mut sections);
        self.info_clients(&mut sections);
        // 0 is how Redis says that there is none.
        let bound = if self.memory_max == usize::MAX { 0 } else { self.memory_max };
        info_memory(&usage, bound, &mut sections);
        self.info_stats(&mut sections);
        sections.section("Replication", &[("role", &"master"), ("connected_slaves", &0)]);
        sections.section(
            "CPU",
            &[("used_cpu_sys", &seconds(usage.cpu_system)), ("used_cpu_user", &seconds(usage.cpu_user))],
        );
        sections.section("Cluster", &[("cluster_enabled", &0)]);
        sections.section("Keyspace", &[]);
        self.reply(key, replies, |reply| reply.verbatim(&sections.text));
    }

    fn info_server(&self, key: Key, sections: &mut Sections<'_>) {
        let uptime = self.now.since(self.started).as_secs();
        // The port by which the client came: a server may have several, or only a unix socket.
        let port =
            self.table.get(key).map_or(0, |conn| match self.listeners[usize::from(conn.listener)].address {
                Address::Tcp { socket, .. } => socket.port(),
                Address::Unix(_) => 0,
            });
        sections.section(
            "Server",
            &[
                ("redis_version", &REDIS_VERSION),
                ("server_name", &env!("CARGO_PKG_NAME")),
                ("linger_version", &env!("CARGO_PKG_VERSION")),
                ("redis_mode", &"standalone"),
                ("arch_bits", &usize::BITS),
                ("multiplexing_api", &"epoll"),
                ("process_id", &std::process::id()),
                ("tcp_port", &port),
                ("uptime_in_seconds", &uptime),
                ("uptime_in_days", &(uptime / 86_400)),
            ],
        );
    }

    fn info_clients(&self, sections: &mut Sections<'_>) {
        let gauges = self.hub.gauges();
        sections.section(
            "Clients",
            &[
                ("connected_clients", &self.clients),
                ("maxclients", &self.connections_max),
                // No command waits for another client here.
                ("blocked_clients", &0),
                ("tracking_clients", &0),
                ("pubsub_clients_subscriptions", &gauges.subscriptions),
                ("identities", &gauges.identities),
            ],
        );
    }

    fn info_stats(&self, sections: &mut Sections<'_>) {
        let (gauges, counters) = (self.hub.gauges(), &self.counters);
        sections.section(
            "Stats",
            &[
                ("total_connections_received", &counters.accepted()),
                ("total_connections_ended", &counters.ends_total()),
                ("total_commands_processed", &counters.commands),
                ("total_net_input_bytes", &counters.bytes_in()),
                ("total_net_output_bytes", &counters.bytes_out()),
                ("rejected_connections", &counters.shed()),
                ("expired_keys", &0),
                ("evicted_keys", &0),
                ("keyspace_hits", &0),
                ("keyspace_misses", &0),
                ("pubsub_channels", &gauges.channels),
                ("pubsub_patterns", &gauges.patterns),
                ("endings", &counters.reasons()),
            ],
        );
    }
}

/// `Memory`, and `Persistence`, of which there is none.
fn info_memory(usage: &Usage, bound: usize, sections: &mut Sections<'_>) {
    sections.section(
        "Memory",
        &[
            ("used_memory", &usage.resident_bytes),
            ("used_memory_rss", &usage.resident_bytes),
            ("maxmemory", &bound),
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
fn seconds(time: Duration) -> impl Display {
    format!("{}.{:06}", time.as_secs(), time.subsec_micros())
}
