//! The metrics as Prometheus reads them (text format 0.0.4), a family after the other. A page is taken at one moment, and
//! written piece by piece: with many listeners it is long.

use super::families::FAMILIES;
use super::{Census, Counters, Histogram, ListenerCounters};
use crate::net::{Queue, Usage};
use crate::observe::audit::compare::Tally;
use std::fmt::{self, Display, Write};

/// What a listener shows.
#[derive(Clone, Debug)]
pub struct ListenerGauges {
    /// Its name.
    pub name: String,
    /// Its protocol.
    pub protocol: &'static str,
    /// Connections on it.
    pub connections: u32,
    /// Its accept queue.
    pub queue: Option<Queue>,
    /// Whether its queue cannot be emptied.
    pub stalled: bool,
    /// The kernel's sockets of it at the last audit.
    pub tally: Option<Tally>,
}

/// What the last audit showed.
#[derive(Clone, Copy, Debug)]
pub struct AuditGauges {
    /// How long ago it ended, in seconds.
    pub age_seconds: f64,
    /// How long it took.
    pub seconds: f64,
    /// The longest step of any audit.
    pub step_seconds_max: f64,
}

/// What is measured when the metrics are asked for.
#[derive(Clone, Debug)]
pub struct Gauges {
    /// The connections.
    pub census: Census,
    /// Most client connections at once.
    pub connections_max: u32,
    /// Memory in bytes that wait, all connections together.
    pub buffered_bytes: usize,
    /// Most such memory.
    pub buffered_bytes_max: usize,
    /// Identities known to the hub.
    pub identities: usize,
    /// Channels with a subscriber.
    pub channels: usize,
    /// Patterns with a subscriber.
    pub patterns: usize,
    /// The listeners.
    pub listeners: Vec<ListenerGauges>,
    /// The last audit, if there was one.
    pub audit: Option<AuditGauges>,
    /// Age of the server in seconds.
    pub uptime_seconds: f64,
    /// Whether the server is going away.
    pub draining: bool,
    /// Lines of the log that were lost.
    pub log_lines_dropped: u64,
    /// Of a worker among others, what it did not pass on to them.
    pub relays_dropped: Option<u64>,
    /// What the process uses.
    pub usage: Option<Usage>,
    /// Whether the configuration was sound when it was last read.
    pub reload_successful: bool,
    /// When that was, since 1970, in seconds.
    pub reload_seconds: Option<f64>,
}

/// Metrics of one moment, and how far they are written.
#[derive(Clone, Debug)]
pub struct Page {
    counters: Counters,
    gauges: Gauges,
    family: usize,
    listener: usize,
    /// Something of the family was written.
    begun: bool,
}

impl Page {
    /// A page of which nothing is written.
    pub const fn new(counters: Counters, gauges: Gauges) -> Self {
        Self { counters, gauges, family: 0, listener: 0, begun: false }
    }

    /// Appends some bytes of it, and then up to the end of what one listener has in a family; true once all is written.
    pub fn write(&mut self, bytes: usize, out: &mut String) -> bool {
        let end = out.len() + bytes;
        while out.len() < end {
            let Some(family) = FAMILIES.get(self.family) else { return true };
            let mut lines = Lines { out, family, begun: self.begun };
            let more = match family.of {
                Of::All(write) => {
                    write(&mut lines, &self.counters, &self.gauges);
                    false
                }
                Of::Each(write) => {
                    let counters = self.counters.listeners.get(self.listener);
                    if let Some((counters, gauges)) = counters.zip(self.gauges.listeners.get(self.listener)) {
                        write(&mut lines, counters, gauges);
                    }
                    self.listener + 1 < self.gauges.listeners.len()
                }
            };
            self.begun = more && lines.begun;
            (self.family, self.listener) =
                if more { (self.family, self.listener + 1) } else { (self.family + 1, 0) };
        }
        self.family == FAMILIES.len()
    }
}

/// Metrics of one name.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) help: &'static str,
    pub(super) of: Of,
}

/// Whose metrics they are.
pub(super) enum Of {
    All(fn(&mut Lines<'_>, &Counters, &Gauges)),
    Each(fn(&mut Lines<'_>, &ListenerCounters, &ListenerGauges)),
}

/// The lines of one family.
pub(super) struct Lines<'a> {
    out: &'a mut String,
    family: &'static Family,
    begun: bool,
}

impl Lines<'_> {
    pub(super) fn add(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.line("", labels, value);
    }

    /// With the name of the listener before the other labels.
    pub(super) fn add_of(&mut self, listener: &ListenerGauges, labels: &[(&str, &str)], value: impl Display) {
        let mut all = vec![("listener", listener.name.as_str())];
        all.extend_from_slice(labels);
        self.add(&all, value);
    }

    fn line(&mut self, part: &str, labels: &[(&str, &str)], value: impl Display) {
        let Family { name, kind, help, .. } = self.family;
        if !self.begun {
            let _ = write!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
            self.begun = true;
        }
        let _ = write!(self.out, "{name}{part}");
        for (i, (label, text)) in labels.iter().enumerate() {
            let open = if i == 0 { '{' } else { ',' };
            let _ = write!(self.out, "{open}{label}=\"{}\"", Escaped(text));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.out, "{close} {value}");
    }

    pub(super) fn histogram(&mut self, labels: &[(&str, &str)], histogram: &Histogram) {
        let mut bucket = |bound: &dyn Display, count: u64| {
            let bound = bound.to_string();
            let mut all = labels.to_vec();
            all.push(("le", &bound));
            self.line("_bucket", &all, count);
        };
        for (bound, count) in histogram.buckets() {
            bucket(&bound, count);
        }
        bucket(&"+Inf", histogram.count());
        self.line("_sum", labels, histogram.sum_seconds());
        self.line("_count", labels, histogram.count());
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
