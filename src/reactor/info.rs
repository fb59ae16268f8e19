//! `INFO`: what the server tells about itself, laid out as Redis does, so that the tools made for Redis can read it.
//!
//! A field has its value here, or is 0 where 0 is the truth (nothing is ever evicted), or is left out. The list of
//! what tools read is in `tests/server/info.rs`.

use super::context::{Conn, Context};
use super::parts::task::Task;
use super::work::cost;
use crate::core::end::Reason;
use crate::core::time::Duration;
use crate::net::{Address, Kernel};
use crate::protocol::resp::Arguments;
use crate::workers::link::{InfoNumbers, Query, ServerNumbers};
use std::fmt::{Display, Write};

/// The Redis whose commands are understood: `CLIENT SETINFO` and `CLIENT NO-TOUCH` came with 7.2. Libraries compare
/// it to choose what to send. Who wants to know the server reads `server_name`, where Valkey tells it as well.
const REDIS_VERSION: &str = "7.2.0";

/// What one `INFO` costs: two system calls that read `/proc`, and a page of text.
const COST: usize = 64 * cost::COMMAND;

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

/// The workers of a server with several: how many, and those that do not answer.
type Workers<'a> = Option<(u32, &'a [u32])>;

impl<K: Kernel> Context<K> {
    /// `INFO`: sections of `field:value`.
    pub(super) fn info(
        &mut self,
        conn: &Conn<K>,
        asked: Arguments<'_>,
        replies: &mut Vec<u8>,
    ) -> Option<Box<Task>> {
        let asked: Vec<_> = asked.iter().map(<[u8]>::to_vec).collect();
        if self.link.is_some() {
            return self.ask_sections(conn, Query::Info, asked, replies);
        }
        let numbers = self.info_numbers();
        let gauges = self.hub.gauges();
        let server = ServerNumbers {
            pid: std::process::id().into(),
            uptime_s: self.now.since(self.lifecycle.started()).as_secs(),
            channels: gauges.channels as u64,
            patterns: gauges.patterns as u64,
        };
        self.write_info(conn, &asked, &numbers, &server, None, replies);
        None
    }

    /// The numbers of this process.
    pub(super) fn info_numbers(&mut self) -> InfoNumbers {
        self.work.charge(COST);
        let usage = self.kernel.usage().unwrap_or_default();
        let (gauges, counters) = (self.hub.gauges(), &self.counters);
        InfoNumbers {
            clients: self.places.clients().into(),
            clients_max: self.places.clients_max().into(),
            subscriptions: gauges.subscriptions as u64,
            identities: gauges.identities as u64,
            resident_bytes: usage.resident_bytes,
            // 0 is how Redis says that there is none.
            memory_max: if self.pool.max() == usize::MAX { 0 } else { self.pool.max() as u64 },
            cpu_user_us: micros(usage.cpu_user),
            cpu_system_us: micros(usage.cpu_system),
            accepted: counters.accepted(),
            commands: counters.commands,
            bytes_in: counters.bytes_in(),
            bytes_out: counters.bytes_out(),
            shed: counters.shed(),
            ends: Reason::ALL.iter().map(|&reason| counters.ends(reason)).collect(),
        }
    }

    /// Replies with what was asked for.
    pub(super) fn write_info(
        &self,
        conn: &Conn<K>,
        asked: &[Vec<u8>],
        numbers: &InfoNumbers,
        server: &ServerNumbers,
        workers: Workers<'_>,
        replies: &mut Vec<u8>,
    ) {
        // The port by which the client came: a server may have several, or only a unix socket.
        let port = match self.listeners[usize::from(conn.listener)].address {
            Address::Tcp { socket, .. } => socket.port(),
            Address::Unix(_) => 0,
        };
        let mut sections = Sections::new(asked);
        info_server(port, server, workers, &mut sections);
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
        let (system, user) = (seconds(numbers.cpu_system_us), seconds(numbers.cpu_user_us));
        sections.section("CPU", &[("used_cpu_sys", &system), ("used_cpu_user", &user)]);
        sections.section("Cluster", &[("cluster_enabled", &0)]);
        sections.section("Keyspace", &[]);
        conn.reply(replies, |reply| reply.verbatim(&sections.text));
    }
}

fn info_server(port: u16, server: &ServerNumbers, workers: Workers<'_>, sections: &mut Sections<'_>) {
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
    let (count, silent) = workers.unwrap_or_default();
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

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// As Redis writes CPU times: seconds and microseconds.
fn seconds(micros: u64) -> impl Display {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}
