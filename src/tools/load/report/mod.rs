//! What is shown of a run: to people while it goes on ([`progress`]) and when it is over ([`table`]), to programs
//! ([`json`]), as a picture ([`svg`]), and what the generator warns of in its own figures ([`warnings`]).

pub mod json;
pub mod progress;
pub mod svg;
pub mod table;
pub mod warnings;

use super::counted::Counts;
use super::faults::Fault;
use super::plan::Plan;
use super::stats::{Interval, Latency, Totals};
use super::verdicts::Verdicts;
use crate::core::time::Duration;
use crate::core::units::{thousandths, three_digits};
use serde::Serialize;

/// A second of the run, in the figures that are kept of it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Point {
    /// When it ended, in seconds from the beginning.
    pub at_s: f64,
    /// Connections up.
    pub up: u64,
    /// Answers a second.
    pub rate: f64,
    /// Median latency in microseconds.
    pub p50_us: Option<f64>,
    /// 99th percentile.
    pub p99_us: Option<f64>,
    /// The longest.
    pub max_us: Option<f64>,
    /// What went wrong so far.
    pub troubles: u64,
    /// Faults committed so far.
    pub faults: u64,
    /// Of which so many were judged.
    pub judged: u64,
}

impl Point {
    /// Of an interval.
    #[expect(clippy::cast_precision_loss, reason = "for people and plots")]
    pub fn of(interval: &Interval) -> Self {
        let latency = &interval.latency;
        Self {
            at_s: thousandths(interval.at_s),
            up: interval.up,
            rate: (latency.count() as f64 / interval.seconds.max(1e-9)).round(),
            p50_us: latency.quantile(0.5).map(micros),
            p99_us: latency.quantile(0.99).map(micros),
            max_us: latency.max().map(micros),
            troubles: interval.troubles,
            faults: interval.faults,
            judged: interval.judged,
        }
    }
}

/// A run that is over, of one process or of many.
#[derive(Debug)]
pub struct Finished {
    /// What was to be done, by all processes together.
    pub plan: Plan,
    /// The URL as it was given.
    pub url: String,
    /// Processes.
    pub procs: u32,
    /// What was measured.
    pub totals: Totals,
    /// What the server said; none if it was not asked.
    pub verdicts: Option<Verdicts>,
    /// What the server's counters say; none if they were not asked.
    pub counts: Option<Counts>,
    /// Second by second.
    pub points: Vec<Point>,
    /// What is uncertain.
    pub warnings: Vec<warnings::Warning>,
}

impl Finished {
    /// Whether everything went as it should.
    pub fn is_fine(&self) -> bool {
        let wrong = self.verdicts.as_ref().map_or(0, Verdicts::wrong_count)
            + self.counts.as_ref().map_or(0, Counts::wrong);
        self.totals.troubles.total() == 0 && wrong == 0 && self.totals.skipped.is_empty()
    }

    /// The faults that were asked for, and how many clients committed each.
    pub fn committed(&self) -> impl Iterator<Item = (Fault, u64)> {
        let (plan, totals) = (&self.plan, &self.totals);
        // Who makes way for another parts as one of these faults does, and is none of them.
        let of_churn = if plan.identities { Fault::Goodbye } else { Fault::Fin };
        plan.faults.shares().iter().map(move |share| {
            let all = totals.faults.get(&share.fault).copied().unwrap_or(0);
            let churned = if share.fault == of_churn { totals.churned } else { 0 };
            (share.fault, all.saturating_sub(churned))
        })
    }

    /// Answers a second. Those that came while the run drained do not count: in a closed loop they are as many as
    /// may be under way at once.
    #[expect(clippy::cast_precision_loss, reason = "for people and plots")]
    pub fn rate(&self) -> f64 {
        if self.totals.load_s > 0.0 { self.totals.in_time as f64 / self.totals.load_s } else { 0.0 }
    }

    /// The share of the time for which the generator was ready to run, and others held the cores.
    pub fn waited(&self) -> f64 {
        if self.totals.load_s > 0.0 { self.totals.waited_s / self.totals.load_s } else { 0.0 }
    }

    /// Cores that the server used, if it was asked for.
    pub fn server_cpu(&self) -> Option<f64> {
        self.totals.server_cpu_s.filter(|_| self.totals.load_s > 0.0).map(|cpu| cpu / self.totals.load_s)
    }

    /// CPU time of the server for each answer, in microseconds, if it was asked for.
    #[expect(clippy::cast_precision_loss, reason = "for people and plots")]
    pub fn server_us(&self) -> Option<f64> {
        let seconds = self.totals.server_cpu_s.filter(|_| self.totals.in_time > 0)?;
        Some(1e6 * seconds / self.totals.in_time as f64)
    }
}

/// The quantiles that are told, with their names.
pub const QUANTILES: [(&str, f64); 6] =
    [("p50", 0.5), ("p75", 0.75), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

/// Microseconds, to a tenth.
pub fn micros(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e7).round() / 10.0
}

/// A latency in three digits and a unit, if there is one.
pub fn human(duration: Option<Duration>) -> String {
    duration.map_or_else(|| "-".to_owned(), three_digits)
}

/// The quantiles of a latency, one after the other.
pub fn quantiles(latency: &Latency) -> impl Iterator<Item = (&'static str, Option<Duration>)> {
    QUANTILES.iter().map(|&(name, quantile)| (name, latency.quantile(quantile)))
}
