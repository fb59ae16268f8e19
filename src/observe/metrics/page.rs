//! The metrics of this process, a family after the other. They are taken at one moment, and told piece by piece: with many
//! listeners they are long. `series` makes text of them, and adds up those of several processes.

use super::families::FAMILIES;
use super::series::{Part, Samples, Series, labels, write_head, write_sample};
use super::{Census, Counters, Histogram, ListenerCounters, UpstreamCounters};
use crate::core::end::Reason;
use crate::core::health::Outcome;
use crate::net::{Queue, Usage};
use crate::observe::audit::compare::Tally;

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
    /// When its certificates expire, if it has any.
    pub certificates: Vec<CertificateGauges>,
}

/// What a certificate shows.
#[derive(Clone, Debug)]
pub struct CertificateGauges {
    /// The file that it is in.
    pub file: String,
    /// When it is no longer valid, in seconds since 1970.
    pub expires: u64,
}

impl ListenerGauges {
    /// The labels that tell it from the others.
    pub(super) const fn labels(&self) -> [(&str, &str); 2] {
        [("listener", self.name.as_str()), ("protocol", self.protocol)]
    }
}

/// What an upstream shows.
#[derive(Clone, Debug)]
pub struct UpstreamGauges {
    /// Its name.
    pub name: String,
    /// Its servers.
    pub servers: Vec<ServerGauges>,
    /// Look-ups of its names that failed, if it has names.
    pub resolve_failures: Option<u64>,
    /// When our certificate towards it expires, if we have one.
    pub certificate: Option<CertificateGauges>,
}

/// What a server of it shows.
#[derive(Clone, Debug)]
pub struct ServerGauges {
    /// Where it is.
    pub address: String,
    /// Connections to it.
    pub connections: u32,
    /// Whether it is up, and the operator has not taken it out. None: it is no longer in the configuration.
    pub in_service: Option<bool>,
    /// How often it came up or went down.
    pub changes: u64,
    /// Checks, by [`Outcome`]. None: it was never checked.
    pub checks: Option<[u64; Outcome::ALL.len()]>,
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
    /// The upstreams that they relay to.
    pub upstreams: Vec<UpstreamGauges>,
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

/// Metrics of one moment, and how far they are told.
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
    /// A page of which nothing is told.
    pub const fn new(counters: Counters, gauges: Gauges) -> Self {
        Self { counters, gauges, family: 0, listener: 0, begun: false }
    }

    /// Appends some bytes of its text, and then up to the end of what one listener has in a family; true once all is
    /// written.
    pub fn write(&mut self, bytes: usize, out: &mut String) -> bool {
        let end = out.len() + bytes;
        while out.len() < end {
            let Some((family, samples, more)) = self.next() else { return true };
            if !self.begun && !samples.values.is_empty() {
                write_head(family, family.help, out);
                self.begun = true;
            }
            for (series, value) in &samples.values {
                write_sample(family, series, *value, out);
            }
            self.begun &= more;
        }
        self.family == FAMILIES.len()
    }

    /// Appends some of its values, those of about so many bytes; true once all are told.
    pub fn take(&mut self, bytes: usize, out: &mut Vec<Samples>) -> bool {
        let mut left = bytes;
        while left > 0 {
            let Some((_, samples, _)) = self.next() else { return true };
            left = left.saturating_sub(samples.cost());
            if !samples.values.is_empty() {
                out.push(samples);
            }
        }
        self.family == FAMILIES.len()
    }

    /// What is next: all that a family has, or what one listener has in it. `true`: another listener may have more.
    fn next(&mut self) -> Option<(&'static Family, Samples, bool)> {
        let family = FAMILIES.get(self.family)?;
        let mut lines = Lines(Vec::new());
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
            Of::Upstream(write) => {
                let counters = self.counters.listeners.get(self.listener);
                let upstream = counters.and_then(|counters| counters.upstream.as_deref());
                if let Some((counters, gauges)) = upstream.zip(self.gauges.listeners.get(self.listener)) {
                    write(&mut lines, counters, gauges);
                }
                self.listener + 1 < self.gauges.listeners.len()
            }
            Of::Supervisor => false,
        };
        let place = u32::try_from(self.family).expect("the table is short");
        (self.family, self.listener) =
            if more { (self.family, self.listener + 1) } else { (self.family + 1, 0) };
        Some((family, Samples { family: place, values: lines.0 }, more))
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
    All(fn(&mut Lines, &Counters, &Gauges)),
    Each(fn(&mut Lines, &ListenerCounters, &ListenerGauges)),
    /// Of those listeners that relay.
    Upstream(fn(&mut Lines, &UpstreamCounters, &ListenerGauges)),
    /// None of this process.
    Supervisor,
}

pub(super) const fn all(
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    write: fn(&mut Lines, &Counters, &Gauges),
) -> Family {
    Family { name, kind, help, of: Of::All(write) }
}

pub(super) const fn each(
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    write: fn(&mut Lines, &ListenerCounters, &ListenerGauges),
) -> Family {
    Family { name, kind, help, of: Of::Each(write) }
}

pub(super) const fn upstream(
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    write: fn(&mut Lines, &UpstreamCounters, &ListenerGauges),
) -> Family {
    Family { name, kind, help, of: Of::Upstream(write) }
}

/// A number that is shown. Those that are counted are far below 2^53.
pub(super) trait Number {
    fn value(self) -> f64;
}

impl<T: Number + Copy> Number for &T {
    fn value(self) -> f64 {
        (*self).value()
    }
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Number for $number {
            #[allow(clippy::cast_precision_loss, clippy::cast_lossless, reason = "one of them, for each type")]
            fn value(self) -> f64 {
                self as f64
            }
        }
    )*};
}
numbers!(u8, u32, i32, u64, usize);

impl Number for f64 {
    fn value(self) -> f64 {
        self
    }
}

/// The samples of one family.
pub(super) struct Lines(Vec<(Series, f64)>);

impl Lines {
    pub(super) fn add(&mut self, of: &[(&str, &str)], value: impl Number) {
        self.push(Part::Value, of, value.value());
    }

    /// With the name of the listener before the other labels.
    pub(super) fn add_of(&mut self, listener: &ListenerGauges, of: &[(&str, &str)], value: impl Number) {
        let mut all = vec![("listener", listener.name.as_str())];
        all.extend_from_slice(of);
        self.add(&all, value);
    }

    /// How many connections ended for each reason.
    pub(super) fn add_reasons(&mut self, of: &ListenerGauges, counts: &[u64; Reason::ALL.len()]) {
        for (reason, count) in Reason::ALL.iter().zip(counts) {
            self.add_of(of, &[("class", reason.class().name()), ("reason", reason.name())], count);
        }
    }

    fn push(&mut self, part: Part, of: &[(&str, &str)], value: f64) {
        self.0.push((Series { part, labels: labels(of) }, value));
    }

    pub(super) fn histogram(&mut self, of: &[(&str, &str)], histogram: &Histogram) {
        let mut bucket = |bound: &str, count: u64| {
            let mut all = of.to_vec();
            all.push(("le", bound));
            self.push(Part::Bucket, &all, count.value());
        };
        for (bound, count) in histogram.buckets() {
            bucket(&bound.to_string(), count);
        }
        bucket("+Inf", histogram.count());
        self.push(Part::Sum, of, histogram.sum_seconds());
        self.push(Part::Count, of, histogram.count().value());
    }
}

/// All upstream servers, each with its labels.
pub(super) fn servers(of: &Gauges) -> impl Iterator<Item = ([(&str, &str); 2], &ServerGauges)> {
    of.upstreams.iter().flat_map(|upstream| {
        let labels = |server| [("upstream", upstream.name.as_str()), ("server", server)];
        upstream.servers.iter().map(move |server| (labels(server.address.as_str()), server))
    })
}
