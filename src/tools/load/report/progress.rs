//! The course of a run, for people: one line that is renewed every second, where standard error is a terminal;
//! nothing at all where it is not.

use super::{Point, human};
use crate::core::time::Duration;
use crate::tools::load::engine::Phase;
use crate::tools::load::stats::Interval;
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::Write as _;

/// The line.
pub struct Progress {
    bar: ProgressBar,
    duration: Duration,
    load_began_s: Option<f64>,
}

impl Progress {
    /// For a load of `duration`. It draws nothing if standard error is no terminal.
    pub fn new(duration: Duration) -> Self {
        let bar = ProgressBar::new(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        let style =
            ProgressStyle::with_template("[{bar:20}] {wide_msg}").expect("the template is well formed");
        bar.set_style(style.progress_chars("=> "));
        Self { bar, duration, load_began_s: None }
    }

    /// A second has passed.
    pub fn on_interval(&mut self, phase: Phase, interval: &Interval) {
        if phase == Phase::Loading {
            let began = *self.load_began_s.get_or_insert(interval.at_s - interval.seconds);
            let done = Duration::try_from_secs_f64(interval.at_s - began).unwrap_or_default();
            self.bar.set_position(u64::try_from(done.min(self.duration).as_millis()).unwrap_or(0));
        }
        let point = Point::of(interval);
        let mut line = format!(
            "{:.0}s {}: {} up, {:.0}/s p50 {} p99 {}",
            interval.at_s,
            phase.name(),
            interval.up,
            point.rate,
            human(interval.latency.quantile(0.5)),
            human(interval.latency.quantile(0.99)),
        );
        if interval.troubles > 0 {
            let _ = write!(line, ", {} errors", interval.troubles);
        }
        if interval.faults > 0 {
            let _ = write!(line, ", {} of {} faults judged", interval.judged, interval.faults);
        }
        self.bar.set_message(line);
        self.bar.tick();
    }

    /// The run is over; the line goes.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}
