//! Metrics as values: what one process has of a family, how those of several processes add up, and their text for
//! Prometheus (text format 0.0.4). This is the only place that writes it.
//!
//! Counters and gauges of several processes are added up by series, but for those that describe one and the same thing in
//! each. A counter must never fall, or its reader takes the whole sum for new; so what a worker had counted when it
//! last told is kept when it ends, and stands in for it while it does not answer.

use super::page::Family;
use super::workers::{self, family};
use indexmap::IndexMap;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};

/// Of a page that is written piece by piece, about so much at once.
const PIECE_BYTES: usize = 16 * 1024;

/// Which part of its family a series is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Part {
    /// A counter or a gauge.
    Value,
    /// A bucket of a histogram.
    Bucket,
    /// The sum of a histogram.
    Sum,
    /// The number of values in a histogram.
    Count,
}

impl Part {
    const fn suffix(self) -> &'static str {
        match self {
            Self::Value => "",
            Self::Bucket => "_bucket",
            Self::Sum => "_sum",
            Self::Count => "_count",
        }
    }
}

/// One series of a family.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Series {
    /// What it is.
    pub part: Part,
    /// Its labels, as they are written; empty: it has none.
    pub labels: String,
}

/// What a process has of a family, or what one listener has of it there.
#[derive(Clone, PartialEq, Debug)]
pub struct Samples {
    /// The place of the family in the table.
    pub family: u32,
    /// The values.
    pub values: Vec<(Series, f64)>,
}

impl Samples {
    /// What it costs to write it, in bytes.
    pub(super) fn cost(&self) -> usize {
        self.values.iter().map(|(series, _)| series.labels.len() + size_of::<(Series, f64)>()).sum()
    }
}

/// Labels, as they are written.
pub(super) fn labels(labels: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (label, value) in labels {
        let _ = write!(text, "{}{label}=\"{}\"", if text.is_empty() { '{' } else { ',' }, Escaped(value));
    }
    if !text.is_empty() {
        text.push('}');
    }
    text
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

/// What stands above the samples of a family.
pub(super) fn write_head(family: &Family, help: &str, out: &mut String) {
    let Family { name, kind, .. } = family;
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

/// The line of a sample. Whole numbers up to 2^53 are shown as such.
pub(super) fn write_sample(family: &Family, Series { part, labels }: &Series, value: f64, out: &mut String) {
    let _ = writeln!(out, "{}{}{labels} {value}", family.name, part.suffix());
}

/// Values by family, in the order of the page, and by series.
type Values = BTreeMap<u32, IndexMap<Series, f64>>;

/// What one worker has counted.
#[derive(Debug, Default)]
pub struct Ledger {
    /// By those before it.
    past: Values,
    /// By itself, when it last told.
    last: Values,
}

impl Ledger {
    /// The worker tells of one of its counters.
    fn note(&mut self, family: u32, series: Series, value: f64) {
        // Of two questions at once, the later may have been answered first.
        let last = self.last.entry(family).or_default().entry(series).or_default();
        *last = last.max(value);
    }

    /// The worker has ended: what it counted stays, as far as it was told.
    pub fn close(&mut self) {
        for (family, series) in std::mem::take(&mut self.last) {
            let past = self.past.entry(family).or_default();
            for (series, value) in series {
                *past.entry(series).or_default() += value;
            }
        }
    }
}

/// The metrics of one process, or of several together.
#[derive(Debug, Default)]
pub struct Snapshot(Values);

/// Of what a process tells of its families.
impl FromIterator<Samples> for Snapshot {
    fn from_iter<I: IntoIterator<Item = Samples>>(told: I) -> Self {
        let mut snapshot = Self::default();
        // What is in no table is of no process of this program.
        for Samples { family, values } in told.into_iter().filter(|told| family(told.family).is_some()) {
            snapshot.0.entry(family).or_default().extend(values);
        }
        snapshot
    }
}

impl Snapshot {
    /// The metrics of all workers, each with its number, its ledger and, where it answered, its own. Of each its
    /// connections are shown besides.
    pub fn merge(workers: Vec<(u32, &mut Ledger, Option<Self>)>) -> Self {
        let mut merged = Self::default();
        for (number, ledger, told) in workers {
            if let Some(told) = told {
                let number = number.to_string();
                merged.put(
                    "linger_worker_connections",
                    &[("worker", &number)],
                    told.sum("linger_connections"),
                );
                merged.take(told, ledger);
            }
            merged.add(&ledger.past);
            merged.add(&ledger.last);
        }
        merged
    }

    /// Takes in those of one worker, but for what it has counted: that goes to its ledger.
    fn take(&mut self, told: Self, ledger: &mut Ledger) {
        for (place, told) in told.0 {
            let Some(family) = family(place) else { continue };
            for (series, value) in told {
                if workers::is_largest(family) {
                    let largest = self.0.entry(place).or_default().entry(series).or_default();
                    *largest = largest.max(value);
                } else if matches!(family.kind, "counter" | "histogram") {
                    ledger.note(place, series, value);
                } else {
                    *self.0.entry(place).or_default().entry(series).or_default() += value;
                }
            }
        }
    }

    /// Adds what was counted.
    fn add(&mut self, counted: &Values) {
        for (place, counted) in counted {
            let sums = self.0.entry(*place).or_default();
            for (series, value) in counted {
                *sums.entry(series.clone()).or_default() += value;
            }
        }
    }

    /// Puts a value in the place of what is there.
    pub fn put(&mut self, name: &str, label: &[(&str, &str)], value: f64) {
        let series = Series { part: Part::Value, labels: labels(label) };
        self.0.entry(workers::place_of(name)).or_default().insert(series, value);
    }

    /// The value of a series without labels, or the sum of those with some.
    pub fn sum(&self, name: &str) -> f64 {
        self.0.get(&workers::place_of(name)).map_or(0.0, |series| series.values().sum())
    }

    /// As text, from the first line on.
    pub fn into_text(self) -> Text {
        Text { families: self.0.into_iter(), begun: None }
    }
}

/// A page that is written piece by piece.
pub struct Text {
    families: std::collections::btree_map::IntoIter<u32, IndexMap<Series, f64>>,
    /// What is left of the one that was begun.
    begun: Option<(u32, indexmap::map::IntoIter<Series, f64>)>,
}

impl Text {
    /// Appends a piece; true if it was the last.
    pub fn write(&mut self, out: &mut String) -> bool {
        let end = out.len() + PIECE_BYTES;
        while out.len() < end {
            let sample = self.begun.as_mut().and_then(|(place, rest)| family(*place).zip(rest.next()));
            if let Some((family, (series, value))) = sample {
                write_sample(family, &series, value, out);
            } else if let Some((place, series)) = self.families.next() {
                if let Some(family) = family(place) {
                    write_head(family, workers::help_of(family), out);
                }
                self.begun = Some((place, series.into_iter()));
            } else {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(name: &str, values: &[(&str, f64)]) -> Samples {
        let series = |labels: &str| Series { part: Part::Value, labels: labels.to_owned() };
        let values = values.iter().map(|(labels, value)| (series(labels), *value)).collect();
        Samples { family: workers::place_of(name), values }
    }

    /// `open`: of the anomalies, those of a kind.
    fn told(open: f64) -> Snapshot {
        let told = [
            samples("linger_audit_anomalies_total", &[("{kind=\"1 2\"}", 3.0), ("{kind=\"3\"}", open)]),
            samples("linger_connections", &[("{state=\"open\"}", 4.0)]),
            samples("linger_draining", &[("", 1.0)]),
        ];
        told.into_iter().collect()
    }

    fn merged(ledgers: &mut [Ledger; 2], told: [Option<Snapshot>; 2]) -> String {
        let each = ledgers.iter_mut().zip(told).zip(1..);
        let merged = Snapshot::merge(each.map(|((ledger, told), number)| (number, ledger, told)).collect());
        let (mut all, mut text) = (String::new(), merged.into_text());
        while !text.write(&mut all) {}
        all
    }

    #[test]
    fn samples_add_up_by_series_and_what_is_one_thing_does_not() {
        let mut ledgers = <[Ledger; 2]>::default();
        let text = merged(&mut ledgers, [Some(told(1.0)), Some(told(1.0))]);
        for line in [
            "linger_audit_anomalies_total{kind=\"1 2\"} 6",
            "linger_audit_anomalies_total{kind=\"3\"} 2",
            "linger_connections{state=\"open\"} 8",
            "linger_draining 1",
            "linger_worker_connections{worker=\"2\"} 4",
        ] {
            assert!(text.lines().any(|is| is == line), "{line} in {text}");
        }
        for head in ["# HELP linger_draining 1 while", "# TYPE linger_audit_anomalies_total counter"] {
            assert_eq!(text.lines().filter(|line| line.starts_with(head)).count(), 1, "{head} in {text}");
        }
    }

    #[test]
    fn a_counter_never_falls_and_a_gauge_of_nobody_is_not_shown() {
        let mut ledgers = <[Ledger; 2]>::default();
        merged(&mut ledgers, [Some(told(1.0)), Some(told(1.0))]);
        // The second stalls, then it is another.
        let text = merged(&mut ledgers, [Some(told(1.0)), None]);
        assert!(text.contains("{kind=\"3\"} 2\n") && text.contains("{state=\"open\"} 4\n"), "{text}");
        ledgers[1].close();
        assert!(merged(&mut ledgers, [Some(told(1.0)), None]).contains("{kind=\"3\"} 2\n"));
        assert!(merged(&mut ledgers, [Some(told(1.0)), Some(told(1.0))]).contains("{kind=\"3\"} 3\n"));
        let nobody = merged(&mut ledgers, [None, None]);
        assert!(!nobody.contains("linger_connections"), "{nobody}");
        assert!(nobody.contains("{kind=\"3\"} 3\n"), "{nobody}");
    }

    #[test]
    fn histograms_add_up_by_bucket_and_outlive_their_worker() {
        let told = || {
            let series = |part, labels: &str, value| (Series { part, labels: labels.to_owned() }, value);
            let told = Samples {
                family: workers::place_of("linger_turn_seconds"),
                values: vec![
                    series(Part::Bucket, "{le=\"1\"}", 2.0),
                    series(Part::Bucket, "{le=\"+Inf\"}", 3.0),
                    series(Part::Sum, "", 4.5),
                    series(Part::Count, "", 3.0),
                ],
            };
            Some([told].into_iter().collect())
        };
        let mut ledgers = <[Ledger; 2]>::default();
        merged(&mut ledgers, [told(), told()]);
        ledgers[1].close();
        let text = merged(&mut ledgers, [told(), told()]);
        let expected = "# TYPE linger_turn_seconds histogram\nlinger_turn_seconds_bucket{le=\"1\"} 6\n\
                        linger_turn_seconds_bucket{le=\"+Inf\"} 9\nlinger_turn_seconds_sum 13.5\n\
                        linger_turn_seconds_count 9\n";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn an_answer_that_was_overtaken_does_not_take_a_counter_back() {
        let mut ledgers = <[Ledger; 2]>::default();
        merged(&mut ledgers, [Some(told(5.0)), None]);
        assert!(merged(&mut ledgers, [Some(told(1.0)), None]).contains("{kind=\"3\"} 5\n"));
        ledgers[0].close();
        assert!(merged(&mut ledgers, [Some(told(1.0)), None]).contains("{kind=\"3\"} 6\n"));
    }

    #[test]
    fn what_cannot_stand_in_a_label_is_escaped() {
        assert_eq!(labels(&[]), "");
        assert_eq!(labels(&[("a", "\"\\\n"), ("b", "x")]), "{a=\"\\\"\\\\\\n\",b=\"x\"}");
    }
}
