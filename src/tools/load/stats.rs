//! What is measured: latencies in HDR histograms, counts of everything else, second by second and in all.
//!
//! Everything here can be added up, for several processes report as one, and travels between them as JSON: a
//! histogram as its filled buckets, so that nothing of it is lost.

use super::faults::Fault;
use crate::core::time::Duration;
use hdrhistogram::Histogram;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// The finest latency that is told from nothing, in nanoseconds.
const FINEST_NS: u64 = 128;
/// The longest: longer ones count as this.
const LONGEST_NS: u64 = 200_000_000_000;

/// Latencies, to three digits.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub struct Latency(Histogram<u64>);

impl Default for Latency {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(FINEST_NS, LONGEST_NS, 3).expect("the bounds are in order"))
    }
}

impl Latency {
    /// One more.
    #[inline]
    pub fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Everything that `other` has.
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency that `quantile` of all are at or below; none of none.
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        (self.count() > 0).then(|| Duration::from_nanos(self.0.value_at_quantile(quantile)))
    }

    /// The longest.
    pub fn max(&self) -> Option<Duration> {
        (self.count() > 0).then(|| Duration::from_nanos(self.0.max()))
    }

    /// The mean.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a latency in nanoseconds")]
    pub fn mean(&self) -> Option<Duration> {
        (self.count() > 0).then(|| Duration::from_nanos(self.0.mean() as u64))
    }
}

impl From<Latency> for Vec<(u64, u64)> {
    fn from(latency: Latency) -> Self {
        latency
            .0
            .iter_recorded()
            .map(|step| (step.value_iterated_to(), step.count_since_last_iteration()))
            .collect()
    }
}

impl From<Vec<(u64, u64)>> for Latency {
    fn from(buckets: Vec<(u64, u64)>) -> Self {
        let mut latency = Self::default();
        for (value, count) in buckets {
            latency.0.saturating_record_n(value, count);
        }
        latency
    }
}

crate::core::named::named! {
    /// What went wrong, by kind.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    Trouble {
        /// Nobody listens there.
        Refused = "refused",
        /// A connection was not made in time.
        ConnectTimeout = "connect_timeout",
        /// A connection could not be made for another reason.
        ConnectFailed = "connect_failed",
        /// No ephemeral port was left.
        NoPort = "no_port",
        /// No descriptor was left.
        NoDescriptor = "no_descriptor",
        /// The server closed a connection that was not done.
        Closed = "closed",
        /// The server, or the network, reset a connection.
        Reset = "reset",
        /// The server answered, and the answer was an error.
        ErrorAnswer = "error_answer",
        /// What came was not the protocol.
        WrongProtocol = "wrong_protocol",
        /// No answer came before the end.
        Unanswered = "unanswered",
        /// The server closed in the middle of an answer.
        Truncated = "truncated",
        /// A client that had only half closed was not sent its answer.
        AnswerLost = "owed_lost",
    }
}

/// Counts of what went wrong, with the first occasion of each kind in words.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Troubles(IndexMap<Trouble, (u64, String)>);

impl Troubles {
    /// `count` more; `words` are asked for the first time only.
    pub fn add(&mut self, trouble: Trouble, count: u64, words: impl FnOnce() -> String) {
        if count > 0 {
            self.0.entry(trouble).or_insert_with(|| (0, words())).0 += count;
        }
    }

    /// Of one kind.
    pub fn count(&self, trouble: Trouble) -> u64 {
        self.0.get(&trouble).map_or(0, |&(count, _)| count)
    }

    /// Of all kinds.
    pub fn total(&self) -> u64 {
        self.0.values().map(|&(count, _)| count).sum()
    }

    /// Kind, count, and the first occasion.
    pub fn iter(&self) -> impl Iterator<Item = (Trouble, u64, &str)> {
        self.0.iter().map(|(&trouble, (count, words))| (trouble, *count, words.as_str()))
    }

    fn merge(&mut self, other: &Self) {
        for (trouble, count, words) in other.iter() {
            self.add(trouble, count, || words.to_owned());
        }
    }
}

/// A second of the run, or what is left of one.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Interval {
    /// When it ended, in seconds from the beginning of the run.
    pub at_s: f64,
    /// How long it was.
    pub seconds: f64,
    /// Connections up at its end.
    pub up: u64,
    /// Requests sent.
    pub sent: u64,
    /// Their answers.
    pub latency: Latency,
    /// What went wrong.
    pub troubles: u64,
    /// Faults committed so far.
    pub faults: u64,
    /// And those that the server has judged.
    pub judged: u64,
}

impl Interval {
    /// The same second in another process.
    pub fn merge(&mut self, other: &Self) {
        self.at_s = self.at_s.max(other.at_s);
        self.seconds = self.seconds.max(other.seconds);
        self.up += other.up;
        self.sent += other.sent;
        self.latency.add(&other.latency);
        self.troubles += other.troubles;
        self.faults += other.faults;
        self.judged += other.judged;
    }
}

/// The whole run of one process, or of all.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Connections that there were to be.
    pub wanted: u64,
    /// Connections that came up, those that replaced others included.
    pub opened: u64,
    /// Connections whose TLS handshake has gone on from an earlier one's.
    pub resumed: u64,
    /// Connections up when the load began.
    pub up: u64,
    /// Most requests under way at once, and what waited beyond them, at the end.
    pub overdue: u64,
    /// Requests sent.
    pub sent: u64,
    /// Requests answered.
    pub answered: u64,
    /// Of these, before the load was over.
    pub in_time: u64,
    /// Requests without an answer because their connection was gone: by a fault, with an error that is told, or behind
    /// the last answer of a server that closes (HTTP).
    pub moot: u64,
    /// Connections replaced as `--churn` asked.
    pub churned: u64,
    /// Connections that the server closed behind an answer, as HTTP may, and that were opened again.
    pub reopened: u64,
    /// Faults committed.
    pub faults: IndexMap<Fault, u64>,
    /// Clients that were well when the run ended, and closed then.
    pub left: u64,
    /// Clients that were well but for what they had not read yet, and reset their connections then.
    pub left_unread: u64,
    /// For a time every client was misbehaving, and none was there for the requests that were due.
    pub nobody_well: bool,
    /// Heartbeats sent.
    pub beats: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// How long the connections took to come up, in seconds.
    pub ramp_s: f64,
    /// How long requests went out, in seconds.
    pub load_s: f64,
    /// CPU time used while they did; not that of waiting without sleep.
    pub cpu_s: f64,
    /// CPU time that the server used meanwhile, if it was asked for.
    pub server_cpu_s: Option<f64>,
    /// How long the generator was meanwhile ready to run, and had no processor.
    pub waited_s: f64,
    /// How late requests went out although a connection was free: our own doing.
    pub lag: Latency,
    /// From connect to connected.
    pub connect: Latency,
    /// From when a request should have gone out (or did, in a closed loop) to its answer.
    pub request: Latency,
    /// From fault to verdict.
    pub detection: IndexMap<Fault, Latency>,
    /// What went wrong.
    pub troubles: Troubles,
    /// It was ended early, by a signal.
    pub interrupted: bool,
    /// It was ended at once, by a second one: verdicts were not waited for.
    pub cut: bool,
    /// Faults that were not what they were to be, because the generator was held up: `skipped` has them, too.
    pub excused: u64,
    /// Faults that could not be committed, and why.
    pub skipped: IndexMap<Fault, (u64, String)>,
}

impl Totals {
    /// Another process of the same run.
    pub fn merge(&mut self, other: &Self) {
        self.wanted += other.wanted;
        self.opened += other.opened;
        self.resumed += other.resumed;
        self.up += other.up;
        self.overdue += other.overdue;
        self.sent += other.sent;
        self.answered += other.answered;
        self.in_time += other.in_time;
        self.moot += other.moot;
        self.churned += other.churned;
        self.reopened += other.reopened;
        self.beats += other.beats;
        self.left += other.left;
        self.left_unread += other.left_unread;
        self.nobody_well |= other.nobody_well;
        for (&fault, &count) in &other.faults {
            *self.faults.entry(fault).or_default() += count;
        }
        self.bytes_out += other.bytes_out;
        self.bytes_in += other.bytes_in;
        self.ramp_s = self.ramp_s.max(other.ramp_s);
        self.load_s = self.load_s.max(other.load_s);
        // A single one that is saturated is what matters, not the sum.
        self.cpu_s = self.cpu_s.max(other.cpu_s);
        self.waited_s = self.waited_s.max(other.waited_s);
        // All have looked at the same server, over the same time.
        self.server_cpu_s = self.server_cpu_s.into_iter().chain(other.server_cpu_s).reduce(f64::max);
        self.lag.add(&other.lag);
        self.connect.add(&other.connect);
        self.request.add(&other.request);
        for (&fault, latency) in &other.detection {
            self.detection.entry(fault).or_default().add(latency);
        }
        self.troubles.merge(&other.troubles);
        self.interrupted |= other.interrupted;
        self.cut |= other.cut;
        self.excused += other.excused;
        for (&fault, (count, why)) in &other.skipped {
            self.skipped.entry(fault).or_insert_with(|| (0, why.clone())).0 += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_travels_without_loss() {
        let mut latency = Latency::default();
        for micros in 1..10_000 {
            latency.record(Duration::from_micros(micros * micros));
        }
        latency.record(Duration::from_secs(10_000));
        let text = serde_json::to_string(&latency).unwrap();
        let back: Latency = serde_json::from_str(&text).unwrap();
        for quantile in [0.0, 0.5, 0.99, 0.999, 1.0] {
            assert_eq!(back.quantile(quantile), latency.quantile(quantile));
        }
        assert_eq!(back.count(), 10_000);
    }

    #[test]
    fn processes_add_up() {
        let one = |millis| {
            let mut totals = Totals { sent: 2, cpu_s: 1.0, ..Totals::default() };
            totals.request.record(Duration::from_millis(millis));
            totals.troubles.add(Trouble::Reset, 1, || format!("after {millis} ms"));
            totals
        };
        let mut all = one(1);
        all.merge(&one(100));
        assert_eq!((all.sent, all.request.count(), all.troubles.total()), (4, 2, 2));
        assert!(all.request.max().unwrap() >= Duration::from_millis(100));
        assert_eq!(all.troubles.iter().next(), Some((Trouble::Reset, 2, "after 1 ms")));
        assert!((all.cpu_s - 1.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_has_no_quantile() {
        let latency = Latency::default();
        assert_eq!((latency.quantile(0.5), latency.max(), latency.mean()), (None, None, None));
    }
}
