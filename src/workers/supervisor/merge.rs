//! The answers of several workers made one: pure text in, text out.
//!
//! Counters and gauges are added up by series, but for those that describe one and the same thing in every worker.
//! A counter must never fall, or whoever reads it takes the whole sum for new; so what a worker had counted when it
//! last told is kept when it ends, and stands in for it while it does not answer.

use indexmap::IndexMap;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Gauges and counters that show the same thing in every worker, of which the largest is right.
const LARGEST: &[&str] = &[
    "linger_accept_stalled",
    "linger_audit_age_seconds",
    "linger_audit_seconds",
    "linger_audit_slice_seconds_max",
    "linger_build_info",
    "linger_config_last_reload_timestamp_seconds",
    "linger_draining",
    "linger_host_listen_overflows_total",
    "linger_host_listen_drops_total",
    "linger_host_time_waits_total",
    "linger_uptime_seconds",
    "process_start_time_seconds",
];

/// Of a page that is written piece by piece, about so much at once.
const PIECE_BYTES: usize = 16 * 1024;

/// Values, by a name with its labels.
type Series = IndexMap<String, f64>;

/// What one series of several workers becomes.
enum Together {
    /// The largest of those that are told.
    Largest,
    /// The sum of what is in their ledgers.
    Counted,
    /// The sum of those that are told.
    Sum,
}

impl Together {
    fn of(name: &str, kind: &str) -> Self {
        match kind {
            _ if LARGEST.contains(&name) => Self::Largest,
            "counter" | "histogram" => Self::Counted,
            _ => Self::Sum,
        }
    }
}

/// What one worker has counted.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// By those before it.
    past: Series,
    /// By itself, when it last told.
    last: Series,
}

impl Ledger {
    /// The worker tells of one of its counters.
    fn note(&mut self, series: String, value: f64) {
        // Of two questions at once, the later may have been answered first.
        let last = self.last.entry(series).or_default();
        *last = last.max(value);
    }

    /// The worker has ended: what it counted stays, as far as it was told.
    pub(super) fn close(&mut self) {
        for (series, value) in std::mem::take(&mut self.last) {
            *self.past.entry(series).or_default() += value;
        }
    }
}

#[derive(Debug, Default)]
struct Family {
    help: String,
    kind: String,
    series: Series,
}

/// A page of metrics in the text format of Prometheus, in its order.
#[derive(Debug, Default)]
pub(super) struct Page(IndexMap<String, Family>);

impl Page {
    /// Reads what a worker wrote, lines of a page; what is not understood is left out.
    pub(super) fn read(&mut self, text: &str) {
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
                help.clone_into(&mut self.family(name).help);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap_or((rest, ""));
                kind.clone_into(&mut self.family(name).kind);
            } else if let Some((series, value)) = line.rsplit_once(' ')
                && let Ok(value) = value.parse()
            {
                let name = self.name_of(series).to_owned();
                self.family(&name).series.insert(series.to_owned(), value);
            }
        }
    }

    /// Takes in the page of one worker, but for what it has counted: that goes to its ledger.
    fn take(&mut self, page: Self, ledger: &mut Ledger) {
        for (name, Family { help, kind, series }) in page.0 {
            let together = Together::of(&name, &kind);
            let merged = self.family(&name);
            (merged.help, merged.kind) = (help, kind);
            for (series, value) in series {
                match together {
                    Together::Counted => ledger.note(series, value),
                    Together::Largest => {
                        let largest = merged.series.entry(series).or_default();
                        *largest = largest.max(value);
                    }
                    Together::Sum => *merged.series.entry(series).or_default() += value,
                }
            }
        }
    }

    /// Adds what was counted.
    fn add(&mut self, counted: &Series) {
        for (series, value) in counted {
            let name = self.name_of(series).to_owned();
            *self.family(&name).series.entry(series.clone()).or_default() += value;
        }
    }

    /// The name of the family of a series: without its labels, and for the parts of a histogram without what tells them
    /// apart.
    fn name_of<'a>(&self, series: &'a str) -> &'a str {
        let name = series.split('{').next().unwrap_or(series);
        let whole = ["_bucket", "_sum", "_count"].into_iter().find_map(|part| name.strip_suffix(part));
        let of_histogram = |name: &&str| self.0.get(*name).is_some_and(|family| family.kind == "histogram");
        whole.filter(of_histogram).unwrap_or(name)
    }

    fn family(&mut self, name: &str) -> &mut Family {
        self.0.entry(name.to_owned()).or_default()
    }

    /// Puts a sample in the place of what is there, as are help and type.
    pub(super) fn put(&mut self, name: &str, kind: &str, help: &str, labels: &str, value: f64) {
        let family = self.family(name);
        help.clone_into(&mut family.help);
        kind.clone_into(&mut family.kind);
        family.series.insert(format!("{name}{labels}"), value);
    }

    /// The value of a series without labels, or the sum of those with some.
    pub(super) fn sum(&self, name: &str) -> f64 {
        self.0.get(name).map_or(0.0, |family| family.series.values().sum())
    }

    /// As text, from the first line on.
    pub(super) fn into_text(self) -> Text {
        // What nobody answered for has no type: it is shown again when somebody does.
        let typed = self.0.into_iter().filter(|(_, family)| !family.kind.is_empty());
        Text { families: typed.collect::<Vec<_>>().into_iter(), series: Series::default().into_iter() }
    }

    /// All of it as text.
    #[cfg(test)]
    pub(super) fn text(self) -> String {
        let (mut all, mut text) = (String::new(), self.into_text());
        while !text.write(&mut all) {}
        all
    }
}

/// A page that is written piece by piece.
pub(super) struct Text {
    families: std::vec::IntoIter<(String, Family)>,
    /// What is left of the one that was begun.
    series: indexmap::map::IntoIter<String, f64>,
}

impl Text {
    /// Appends a piece; true if it was the last.
    pub(super) fn write(&mut self, out: &mut String) -> bool {
        let begun = out.len();
        while out.len() - begun < PIECE_BYTES {
            if let Some((series, value)) = self.series.next() {
                // Whole numbers up to 2^53 are shown as such.
                let _ = writeln!(out, "{series} {value}");
            } else if let Some((name, Family { help, kind, series })) = self.families.next() {
                let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
                self.series = series.into_iter();
            } else {
                return true;
            }
        }
        false
    }
}

/// The metrics of all workers, each with its number, its ledger and, where it answered, its page. Of each its
/// connections are shown besides.
pub(super) fn metrics(workers: Vec<(u32, &mut Ledger, Option<Page>)>) -> Page {
    let mut merged = Page::default();
    let mut connections = Vec::new();
    for (number, ledger, page) in workers {
        if let Some(page) = page {
            connections.push((number, page.sum("linger_connections")));
            merged.take(page, ledger);
        }
        merged.add(&ledger.past);
        merged.add(&ledger.last);
    }
    for (number, value) in connections {
        let labels = format!("{{worker=\"{number}\"}}");
        let help = "Connections of a worker, those in every state.";
        merged.put("linger_worker_connections", "gauge", help, &labels, value);
    }
    merged
}

/// The audits of all workers, side by side.
pub(super) fn audits(answers: impl Iterator<Item = (u32, impl AsRef<str>)>, unanswered: &[u32]) -> String {
    let workers: Vec<_> = answers
        .filter_map(|(worker, body)| {
            let mut audit: Value = serde_json::from_str(body.as_ref()).ok()?;
            audit["worker"] = worker.into();
            Some(audit)
        })
        .collect();
    format!("{}\n", json!({ "workers": workers, "unanswered_workers": unanswered }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "# HELP a_total A.\n# TYPE a_total counter\na_total{x=\"1 2\"} 3\na_total{x=\"3\"} 1\n\
                       # HELP linger_connections C.\n# TYPE linger_connections gauge\nlinger_connections{state=\"open\"} 4\n\
                       # HELP linger_draining D.\n# TYPE linger_draining gauge\nlinger_draining 1\n";

    fn merged(ledgers: &mut [Ledger; 2], pages: [Option<&str>; 2]) -> String {
        let pages = pages.map(|text| {
            text.map(|text| {
                let mut page = Page::default();
                page.read(text);
                page
            })
        });
        let each = ledgers.iter_mut().zip(pages).zip(1..);
        metrics(each.map(|((ledger, page), number)| (number, ledger, page)).collect()).text()
    }

    #[test]
    fn samples_add_up_by_series_and_what_is_one_thing_does_not() {
        let mut ledgers = <[Ledger; 2]>::default();
        let text = merged(&mut ledgers, [Some(ONE), Some(ONE)]);
        for line in [
            "a_total{x=\"1 2\"} 6",
            "a_total{x=\"3\"} 2",
            "linger_connections{state=\"open\"} 8",
            "linger_draining 1",
            "linger_worker_connections{worker=\"2\"} 4",
        ] {
            assert!(text.lines().any(|is| is == line), "{line} in {text}");
        }
        for head in ["# HELP a_total A.", "# TYPE a_total counter"] {
            assert_eq!(text.lines().filter(|line| *line == head).count(), 1);
        }
    }

    #[test]
    fn a_counter_never_falls_and_a_gauge_of_nobody_is_not_shown() {
        let mut ledgers = <[Ledger; 2]>::default();
        merged(&mut ledgers, [Some(ONE), Some(ONE)]);
        // The second stands still, then it is another.
        let text = merged(&mut ledgers, [Some(ONE), None]);
        assert!(text.contains("a_total{x=\"3\"} 2\n") && text.contains("{state=\"open\"} 4\n"), "{text}");
        ledgers[1].close();
        assert!(merged(&mut ledgers, [Some(ONE), None]).contains("a_total{x=\"3\"} 2\n"));
        assert!(merged(&mut ledgers, [Some(ONE), Some(ONE)]).contains("a_total{x=\"3\"} 3\n"));
        let nobody = merged(&mut ledgers, [None, None]);
        assert!(!nobody.contains("linger_connections"), "{nobody}");
    }

    #[test]
    fn histograms_add_up_by_bucket_and_outlive_their_worker() {
        let page = "# HELP h_seconds H.\n# TYPE h_seconds histogram\nh_seconds_bucket{le=\"1\"} 2\n\
                    h_seconds_bucket{le=\"+Inf\"} 3\nh_seconds_sum 4.5\nh_seconds_count 3\n";
        let mut ledgers = <[Ledger; 2]>::default();
        merged(&mut ledgers, [Some(page), Some(page)]);
        ledgers[1].close();
        let text = merged(&mut ledgers, [Some(page), Some(page)]);
        let expected = "# HELP h_seconds H.\n# TYPE h_seconds histogram\nh_seconds_bucket{le=\"1\"} 6\n\
                        h_seconds_bucket{le=\"+Inf\"} 9\nh_seconds_sum 13.5\nh_seconds_count 9\n";
        assert!(text.starts_with(expected), "{text}");
    }

    #[test]
    fn an_answer_that_was_overtaken_does_not_take_a_counter_back() {
        let mut ledgers = <[Ledger; 2]>::default();
        let later = ONE.replace("a_total{x=\"3\"} 1", "a_total{x=\"3\"} 5");
        merged(&mut ledgers, [Some(&later), None]);
        assert!(merged(&mut ledgers, [Some(ONE), None]).contains("a_total{x=\"3\"} 5\n"));
        ledgers[0].close();
        assert!(merged(&mut ledgers, [Some(ONE), None]).contains("a_total{x=\"3\"} 6\n"));
    }
}
