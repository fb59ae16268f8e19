//! The matrix, in the shapes in which it is told: for people, for programs, for a page and for a slide.

pub mod foreign;
mod json;
mod markdown;
mod svg;
mod table;

pub use json::json;
pub use markdown::{BEGIN, END, between_marks, markdown};
pub use svg::svg;
pub use table::{details, mistakes, table};

use super::method::Method;
use super::row::{Cell, Outcome, Verdict};
use super::run::Plan;
use crate::core::time::Duration;

/// What there is to tell.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was tried.
    pub plan: Plan,
    /// What came of it.
    pub outcomes: Vec<Outcome>,
    /// How long it took.
    pub took: Duration,
    /// The kernel it ran on.
    pub kernel: String,
    /// The day, by the host's clock.
    pub date: String,
}

impl Report {
    /// Whether all is as expected.
    pub fn is_right(&self) -> bool {
        self.outcomes.iter().all(Outcome::is_right)
    }

    /// The cells that are not as expected.
    pub fn wrong(&self) -> impl Iterator<Item = &Cell> {
        self.outcomes.iter().flat_map(|outcome| &outcome.cells).filter(|cell| !cell.wrong.is_empty())
    }
}

/// A latency as people read it: two digits that mean something.
pub fn short(latency: Duration) -> String {
    let millis = latency.as_millis();
    match millis {
        0 => "<1ms".into(),
        1..1000 => format!("{millis}ms"),
        _ => {
            let tenths = (millis + 50) / 100;
            format!("{}.{}s", tenths / 10, tenths % 10)
        }
    }
}

/// What a column is, and why it is not tried if it is not.
fn title(report: &Report, method: Method) -> String {
    let title = method.title();
    report
        .plan
        .path
        .lacks_method(method)
        .map_or_else(|| title.into(), |why| format!("{title} (not tried: {why})"))
}

/// A cell in one word.
fn word(cell: &Cell) -> String {
    match &cell.verdict {
        Verdict::Ended { latency, .. } => short(*latency),
        Verdict::Revived => "revived".into(),
        Verdict::Unnoticed(_) => "–".into(),
        Verdict::NotApplicable => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_short() {
        let texts = [0, 1, 999, 1000, 1049, 1050, 99_960].map(|millis| short(Duration::from_millis(millis)));
        assert_eq!(texts, ["<1ms", "1ms", "999ms", "1.0s", "1.0s", "1.1s", "100.0s"]);
    }
}
