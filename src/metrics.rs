//! Counters of everything that happens, and their text form for Prometheus.
//!
//! Counting is an addition to an array; nothing is allocated and nothing is looked up by name until the
//! metrics are asked for.

use crate::audit::Anomaly;
use crate::audit::compare::{Counts, Tally};
use crate::conn::State;
use crate::end::{CloseMode, Detector, End, Reason, tcp_state_name};
use crate::net::{HostCounters, Queue};
use std::fmt::{self, Display, Write};

/// What is counted since the start.
#[derive(Clone, Debug)]
pub struct Counters {
    /// Turns of the loop.
    pub turns: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections that had failed in the accept queue.
    pub accept_aborted: u64,
    /// Times that accepting began to stand still.
    pub accept_stalls: u64,
    /// Connections accepted only to be told that the server is full.
    pub shed: u64,
    /// Readiness of connections that were gone.
    pub stale_events: u64,
    /// Connections of the admin interface that made way for others.
    pub admin_made_way: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes the kernel took.
    pub bytes_out: u64,
    /// Bytes that we still held when their connection broke or was given up.
    pub bytes_undelivered: u64,
    /// Commands received.
    pub commands: u64,
    /// Messages posted to subscribers and addressees.
    pub messages: u64,
    /// Times that reading was paused for the sake of output.
    pub pauses: u64,
    /// Heartbeats that we asked for.
    pub pings: u64,
    /// Connections that became suspect.
    pub suspected: u64,
    /// Suspect connections that were heard of again.
    pub revived: u64,
    /// The host's counters, when last looked at.
    pub host_counters: HostCounters,
    /// Audits that came to their end.
    pub audits: u64,
    /// Audits that the kernel did not answer.
    pub audits_failed: u64,
    anomalies: [u64; Anomaly::ALL.len()],
    reasons: [u64; Reason::ALL.len()],
    detectors: [u64; Detector::ALL.len()],
    closes: [u64; CloseMode::ALL.len()],
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            turns: 0,
            accepted: 0,
            accept_aborted: 0,
            accept_stalls: 0,
            shed: 0,
            stale_events: 0,
            admin_made_way: 0,
            bytes_in: 0,
            bytes_out: 0,
            bytes_undelivered: 0,
            commands: 0,
            messages: 0,
            pauses: 0,
            pings: 0,
            suspected: 0,
            revived: 0,
            host_counters: HostCounters::default(),
            audits: 0,
            audits_failed: 0,
            anomalies: [0; Anomaly::ALL.len()],
            reasons: [0; Reason::ALL.len()],
            detectors: [0; Detector::ALL.len()],
            closes: [0; CloseMode::ALL.len()],
        }
    }
}

impl Counters {
    /// Counts an ending.
    pub fn ended(&mut self, end: &End) {
        self.reasons[end.reason as usize] += 1;
        self.detectors[end.detector as usize] += 1;
        self.closes[end.close as usize] += 1;
        self.bytes_undelivered += end.unsent_bytes;
    }

    /// Counts an audit, and what it has found that was not known before.
    pub fn audited(&mut self, fresh: &Counts) {
        self.audits += 1;
        for (sum, count) in self.anomalies.iter_mut().zip(fresh) {
            *sum += u64::from(*count);
        }
    }

    /// Endings for `reason`.
    pub const fn ends(&self, reason: Reason) -> u64 {
        self.reasons[reason as usize]
    }

    /// Endings noticed by `detector`.
    pub const fn detections(&self, detector: Detector) -> u64 {
        self.detectors[detector as usize]
    }

    /// Endings closed in `mode`.
    pub const fn closes(&self, mode: CloseMode) -> u64 {
        self.closes[mode as usize]
    }

    /// All endings.
    pub fn ends_total(&self) -> u64 {
        self.reasons.iter().sum()
    }

    /// The reasons that occurred, as `reason:count,...`.
    pub fn reasons(&self) -> impl Display {
        let mut text = String::new();
        for &reason in Reason::ALL.iter().filter(|&&reason| self.ends(reason) > 0) {
            let comma = if text.is_empty() { "" } else { "," };
            let _ = write!(text, "{comma}{reason}:{}", self.ends(reason));
        }
        text
    }
}

/// What a listener shows.
#[derive(Clone, Debug)]
pub struct ListenerGauges<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its protocol.
    pub protocol: &'static str,
    /// Connections on it.
    pub connections: u32,
    /// Its accept queue.
    pub queue: Option<Queue>,
    /// Whether its queue cannot be emptied.
    pub stalled: bool,
}

/// What the last audit showed.
#[derive(Clone, Debug)]
pub struct AuditGauges<'a> {
    /// How long ago it ended, in seconds.
    pub age_seconds: f64,
    /// How long it took.
    pub seconds: f64,
    /// The longest step of any audit.
    pub step_seconds_max: f64,
    /// The kernel's sockets, by listener.
    pub tallies: &'a [Tally],
}

/// The connections there are, counted when somebody asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Census {
    /// Connections by state, as [`State::NAMES`].
    pub states: [usize; State::NAMES.len()],
    /// Output that waits for peers, in bytes.
    pub owed_bytes: usize,
    /// Connections that are not being read until they have taken output.
    pub paused: usize,
}

/// What is measured when the metrics are asked for.
#[derive(Clone, Debug)]
pub struct Gauges<'a> {
    /// The connections.
    pub census: Census,
    /// Most client connections at once.
    pub connections_max: u32,
    /// Identities known to the hub.
    pub identities: usize,
    /// Channels with a subscriber.
    pub channels: usize,
    /// Patterns with a subscriber.
    pub patterns: usize,
    /// The listeners.
    pub listeners: Vec<ListenerGauges<'a>>,
    /// The last audit, if there was one.
    pub audit: Option<AuditGauges<'a>>,
    /// Age of the server in seconds.
    pub uptime_seconds: f64,
    /// Whether the server is going away.
    pub draining: bool,
    /// Lines of the log that were lost.
    pub log_lines_dropped: u64,
    /// Of a worker among others, what it did not pass on to them.
    pub relays_dropped: Option<u64>,
}

/// TCP states that a connection on a listener's port can be in.
pub const TCP_STATES: [(usize, &str); 8] = {
    let mut states = [(1, ""), (3, ""), (4, ""), (5, ""), (6, ""), (8, ""), (9, ""), (11, "")];
    let mut index = 0;
    while index < states.len() {
        #[expect(clippy::cast_possible_truncation, reason = "the numbers above")]
        let number = states[index].0 as u8;
        states[index].1 = tcp_state_name(number);
        index += 1;
    }
    states
};

/// The Prometheus text format, version 0.0.4.
pub fn prometheus(counters: &Counters, gauges: &Gauges<'_>) -> String {
    let mut page = Page { text: String::with_capacity(16 * 1024) };
    connections(&mut page, counters, gauges);
    endings(&mut page, counters);
    traffic(&mut page, counters, gauges);
    listeners(&mut page, counters, gauges);
    audits(&mut page, counters, gauges);
    page.gauge("linger_uptime_seconds", "Time since the server started.", gauges.uptime_seconds);
    page.gauge(
        "linger_draining",
        "1 while the server drains: it says goodbye and accepts no clients.",
        u8::from(gauges.draining),
    );
    if let Some(dropped) = gauges.relays_dropped {
        page.counter(
            "linger_relays_dropped_total",
            "Presence events not passed on to other workers.",
            dropped,
        );
    }
    page.counter(
        "linger_log_lines_dropped_total",
        "Lines of the log that were lost because nobody took them.",
        gauges.log_lines_dropped,
    );
    page.counter("linger_loop_turns_total", "Turns of the event loop.", counters.turns);
    page.text
}

fn connections(page: &mut Page, counters: &Counters, gauges: &Gauges<'_>) {
    page.head("linger_connections", "gauge", "Connections, by where they are in their life.");
    // Closed connections have left the table.
    for (name, count) in State::NAMES.iter().zip(gauges.census.states).take(5) {
        page.sample("linger_connections", &[("state", name)], count);
    }
    page.gauge(
        "linger_connections_max",
        "Most client connections that may be open at once.",
        gauges.connections_max,
    );
    page.gauge(
        "linger_connections_paused",
        "Connections that are not read until they take their output.",
        gauges.census.paused,
    );
    page.counter("linger_connections_accepted_total", "Connections accepted.", counters.accepted);
    page.counter(
        "linger_connections_shed_total",
        "Connections turned away because the server was full.",
        counters.shed,
    );
    page.counter("linger_suspected_total", "Times that a connection became suspect.", counters.suspected);
    page.counter(
        "linger_revived_total",
        "Times that a suspect connection was heard of again.",
        counters.revived,
    );
    page.counter(
        "linger_stale_events_total",
        "Readiness reported for connections that were already gone; ignored.",
        counters.stale_events,
    );
}

fn endings(page: &mut Page, counters: &Counters) {
    page.head("linger_ends_total", "counter", "Connections ended, by reason.");
    for &reason in Reason::ALL {
        let labels = [("class", reason.class().name()), ("reason", reason.name())];
        page.sample("linger_ends_total", &labels, counters.ends(reason));
    }
    page.head("linger_detections_total", "counter", "Connections ended, by what noticed it.");
    for &detector in Detector::ALL {
        page.sample(
            "linger_detections_total",
            &[("detector", detector.name())],
            counters.detections(detector),
        );
    }
    page.head("linger_closes_total", "counter", "Connections ended, by how the socket was closed.");
    for &mode in CloseMode::ALL {
        page.sample("linger_closes_total", &[("mode", mode.name())], counters.closes(mode));
    }
}

fn traffic(page: &mut Page, counters: &Counters, gauges: &Gauges<'_>) {
    page.counter("linger_received_bytes_total", "Bytes received.", counters.bytes_in);
    page.counter("linger_sent_bytes_total", "Bytes that the kernel took for sending.", counters.bytes_out);
    page.counter(
        "linger_undelivered_bytes_total",
        "Output that the server still held when its connection ended.",
        counters.bytes_undelivered,
    );
    page.gauge("linger_output_waiting_bytes", "Output held until peers take it.", gauges.census.owed_bytes);
    page.counter("linger_reading_pauses_total", "Times that reading was paused for output.", counters.pauses);
    page.counter("linger_commands_total", "Commands received by resp listeners.", counters.commands);
    page.counter(
        "linger_messages_total",
        "Messages posted to subscribers and addressees.",
        counters.messages,
    );
    page.counter(
        "linger_heartbeat_pings_total",
        "Pings sent to clients that had been silent.",
        counters.pings,
    );
    page.gauge("linger_identities", "Identities known.", gauges.identities);
    page.gauge("linger_channels", "Channels with a subscriber.", gauges.channels);
    page.gauge("linger_patterns", "Patterns with a subscriber.", gauges.patterns);
}

fn listeners(page: &mut Page, counters: &Counters, gauges: &Gauges<'_>) {
    let mut each = |name: &str, help: &str, value: &dyn Fn(&ListenerGauges<'_>) -> Option<u32>| {
        page.head(name, "gauge", help);
        for listener in &gauges.listeners {
            if let Some(value) = value(listener) {
                page.sample(name, &[("listener", listener.name), ("protocol", listener.protocol)], value);
            }
        }
    };
    each("linger_listener_connections", "Connections of a listener.", &|l| Some(l.connections));
    each("linger_accept_queue_length", "Connections waiting in the accept queue of a listener.", &|l| {
        l.queue.map(|q| q.length)
    });
    each("linger_accept_queue_limit", "Limit of the accept queue of a listener.", &|l| {
        l.queue.map(|q| q.limit)
    });
    each(
        "linger_accept_stalled",
        "1 while a listener does not accept, being full or out of resources.",
        &|l| Some(u32::from(l.stalled)),
    );
    page.counter(
        "linger_accept_stalls_total",
        "Times that a listener stopped accepting, being full or out of resources.",
        counters.accept_stalls,
    );
    page.counter(
        "linger_accept_aborted_total",
        "Connections that had failed before they were accepted.",
        counters.accept_aborted,
    );
    page.counter(
        "linger_host_listen_overflows_total",
        "The host's TcpExtListenOverflows: accept queues found full, of any program.",
        counters.host_counters.overflows,
    );
    page.counter(
        "linger_host_listen_drops_total",
        "The host's TcpExtListenDrops: connection attempts dropped by listeners, of any program.",
        counters.host_counters.drops,
    );
    // Closing first is never needed, but two FINs may cross on the way: that is how one of these can be ours.
    page.counter(
        "linger_host_time_waits_total",
        "The host's TcpExtTW and TcpExtTWKilled: sockets that went into TIME_WAIT, of any program.",
        counters.host_counters.time_waits,
    );
}

fn audits(page: &mut Page, counters: &Counters, gauges: &Gauges<'_>) {
    type Bytes = fn(&Tally) -> u64;
    page.counter(
        "linger_audits_total",
        "Audits of the kernel's sockets that came to their end.",
        counters.audits,
    );
    page.counter(
        "linger_audits_failed_total",
        "Audits that the kernel did not answer.",
        counters.audits_failed,
    );
    page.head("linger_audit_anomalies_total", "counter", "What audits found wrong, each finding once.");
    for &anomaly in Anomaly::ALL {
        let count = counters.anomalies[anomaly as usize];
        page.sample("linger_audit_anomalies_total", &[("kind", anomaly.name())], count);
    }
    let Some(audit) = &gauges.audit else { return };
    page.gauge("linger_audit_age_seconds", "Time since the last audit.", audit.age_seconds);
    page.gauge("linger_audit_seconds", "How long the last audit took, from begin to end.", audit.seconds);
    page.gauge(
        "linger_audit_slice_seconds_max",
        "Longest time that the loop gave to an audit at once, since the start.",
        audit.step_seconds_max,
    );
    let each = || gauges.listeners.iter().zip(audit.tallies).map(|(listener, tally)| (listener.name, tally));
    page.head(
        "linger_audit_sockets",
        "gauge",
        "The kernel's sockets on a listener's port at the last audit, by TCP state.",
    );
    for (listener, tally) in each() {
        for (state, name) in TCP_STATES {
            let labels = [("listener", listener), ("state", name)];
            page.sample("linger_audit_sockets", &labels, tally.states[state]);
        }
    }
    let sums: [(&str, &str, Bytes); 2] = [
        ("linger_audit_unsent_bytes", "Output in the kernel that peers have not acknowledged.", |tally| {
            tally.unsent_bytes
        }),
        ("linger_audit_unread_bytes", "Input in the kernel that the server has not read.", |tally| {
            tally.unread_bytes
        }),
    ];
    for (name, help, bytes) in sums {
        page.head(name, "gauge", help);
        for (listener, tally) in each() {
            page.sample(name, &[("listener", listener)], bytes(tally));
        }
    }
}

struct Page {
    text: String,
}

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(name);
        for (i, (label, text)) in labels.iter().enumerate() {
            let open = if i == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{open}{label}=\"{}\"", Escaped(text));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{close} {value}");
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "counter", help);
        self.sample(name, &[], value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "gauge", help);
        self.sample(name, &[], value);
    }
}

/// A label value, escaped as the format asks.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}
