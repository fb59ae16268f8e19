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
    "linger_draining",
    "linger_host_listen_overflows_total",
    "linger_host_listen_drops_total",
    "linger_host_time_waits_total",
    "linger_uptime_seconds",
];

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
            "counter" => Self::Counted,
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
    /// Reads a page that a worker wrote; what is not understood is left out.
    fn read(text: &str) -> Self {
        let mut page = Self::default();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
                help.clone_into(&mut page.family(name).help);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap_or((rest, ""));
                kind.clone_into(&mut page.family(name).kind);
            } else if let Some((series, value)) = line.rsplit_once(' ')
                && let Ok(value) = value.parse()
            {
                page.family(name_of(series)).series.insert(series.to_owned(), value);
            }
        }
        page
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
            *self.family(name_of(series)).series.entry(series.clone()).or_default() += value;
        }
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

    /// As text.
    pub(super) fn text(&self) -> String {
        let mut text = String::with_capacity(16 * 1024);
        // What nobody answered for has no type: it is shown again when somebody does.
        let typed = self.0.iter().filter(|(_, family)| !family.kind.is_empty());
        for (name, Family { help, kind, series }) in typed {
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
            for (series, value) in series {
                // Whole numbers up to 2^53 are shown as such.
                let _ = writeln!(text, "{series} {value}");
            }
        }
        text
    }
}

/// The name of a series, without its labels.
fn name_of(series: &str) -> &str {
    series.split('{').next().unwrap_or(series)
}

/// The metrics of all workers, each with its number, its ledger and, where it answered, its page. Of each its
/// connections are shown besides.
pub(super) fn metrics<'a>(workers: impl Iterator<Item = (u32, &'a mut Ledger, Option<&'a str>)>) -> Page {
    let mut merged = Page::default();
    let mut connections = Vec::new();
    for (number, ledger, page) in workers {
        if let Some(page) = page.map(Page::read) {
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

/// The connections of all workers, at most `limit`: each row with its worker.
pub(super) fn connections(
    limit: usize,
    answers: impl Iterator<Item = (u32, impl AsRef<str>)>,
    unanswered: &[u32],
) -> String {
    let (mut matched, mut rows) = (0, Vec::new());
    for (worker, body) in answers {
        let Ok(mut answer) = serde_json::from_str::<Value>(body.as_ref()) else { continue };
        matched += answer["matched"].as_u64().unwrap_or(0);
        let Value::Array(its) = answer["connections"].take() else { continue };
        for mut row in its {
            if rows.len() == limit {
                break;
            }
            row["worker"] = worker.into();
            rows.push(row);
        }
    }
    let body = json!({
        "matched": matched, "listed": rows.len(), "unanswered_workers": unanswered, "connections": rows,
    });
    format!("{body}\n")
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
        metrics(ledgers.iter_mut().zip(pages).zip(1..).map(|((ledger, page), number)| (number, ledger, page)))
            .text()
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
    fn an_answer_that_was_overtaken_does_not_take_a_counter_back() {
        let mut ledgers = <[Ledger; 2]>::default();
        let later = ONE.replace("a_total{x=\"3\"} 1", "a_total{x=\"3\"} 5");
        merged(&mut ledgers, [Some(&later), None]);
        assert!(merged(&mut ledgers, [Some(ONE), None]).contains("a_total{x=\"3\"} 5\n"));
        ledgers[0].close();
        assert!(merged(&mut ledgers, [Some(ONE), None]).contains("a_total{x=\"3\"} 6\n"));
    }

    #[test]
    fn connections_name_their_worker() {
        let one = r#"{"matched":3,"listed":2,"connections":[{"key":"1.0-1"},{"key":"1.1-2"}]}"#;
        let four = r#"{"matched":3,"listed":2,"connections":[{"key":"4.0-1"},{"key":"4.1-2"}]}"#;
        let merged: Value =
            serde_json::from_str(&connections(3, [(1, one), (4, four)].into_iter(), &[2])).unwrap();
        assert_eq!((&merged["matched"], &merged["listed"]), (&6.into(), &3.into()));
        assert_eq!(merged["connections"][2], json!({ "key": "4.0-1", "worker": 4 }));
        assert_eq!(merged["unanswered_workers"], json!([2]));
    }
}
