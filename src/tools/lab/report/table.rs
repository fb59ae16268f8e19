//! For people: a line a case, a column a means, and beneath it what is not as expected.

use super::{Report, title, word};
use crate::tools::lab::row::{Cell, Outcome, Verdict, in_words};
use std::fmt::Write as _;

/// The matrix.
pub fn table(report: &Report) -> String {
    let plan = &report.plan;
    let mut text = String::new();
    let _ = write!(text, "{:24}", "");
    for method in &plan.methods {
        let _ = write!(text, " {:>7}", method.short());
    }
    let _ = writeln!(text, "  all together say");
    for outcome in &report.outcomes {
        let _ = write!(text, "{:24}", outcome.case.title());
        for cell in &outcome.cells {
            let mark = if cell.wrong.is_empty() { "" } else { "!" };
            let _ = write!(text, " {:>7}", format!("{mark}{}", word(cell)));
        }
        let _ = writeln!(text, "  {}", said(report, outcome));
    }
    let _ = writeln!(text, "\n– not noticed   ! not as expected   blank: not tried");
    for &method in &plan.methods {
        let _ = writeln!(text, "{:>8}  {}", method.short(), title(report, method));
    }
    for line in mistakes(report) {
        let _ = writeln!(text, "{line}");
    }
    let cells = report.outcomes.iter().flat_map(|outcome| &outcome.cells);
    let tried = cells.filter(|cell| cell.verdict != Verdict::NotApplicable).count();
    let _ = writeln!(
        text,
        "{tried} cells{}, {} not as expected, {} rows not played; {:.0} s, Linux {}",
        plan.path.title().map(|title| format!(" {title}")).unwrap_or_default(),
        report.wrong().count(),
        report.outcomes.iter().filter(|outcome| outcome.failure.is_some()).count(),
        report.took.as_secs_f64(),
        report.kernel,
    );
    text
}

/// A line for each row that was not played, and each cell that is not as expected.
pub fn mistakes(report: &Report) -> Vec<String> {
    let failures = report.outcomes.iter().filter_map(|outcome| {
        outcome.failure.as_ref().map(|failure| format!("FAILED {}: {failure}", outcome.case))
    });
    let wrong = report.wrong().map(|cell| {
        let record = match &cell.verdict {
            Verdict::Ended { record, .. } => format!("; its record: {record}"),
            Verdict::Revived | Verdict::Unnoticed(_) | Verdict::NotApplicable => String::new(),
        };
        format!("WRONG {} / {}: {}{record}", cell.case, cell.method, cell.wrong.join("; "))
    });
    failures.chain(wrong).collect()
}

/// The reason that the last column of a row gives.
fn said(report: &Report, outcome: &Outcome) -> String {
    if let Some(why) = report.plan.path.lacks_case(outcome.case) {
        return format!("not tried: {why}");
    }
    match outcome.cells.last().map(|cell| &cell.verdict) {
        Some(Verdict::Ended { reason, detector, .. }) => format!("{reason} by {detector}"),
        Some(verdict) => in_words(verdict),
        None => "not played".into(),
    }
}

/// Each cell in full.
pub fn details(report: &Report) -> String {
    let mut text = String::new();
    for outcome in &report.outcomes {
        let _ = writeln!(text, "{} ({})\n  {}", outcome.case.title(), outcome.case, outcome.case.sentence());
        for cell in outcome.cells.iter().filter(|cell| cell.verdict != Verdict::NotApplicable) {
            let _ = writeln!(text, "  {:24} {}", cell.method.name(), detail(cell));
        }
        text.push('\n');
    }
    text
}

fn detail(cell: &Cell) -> String {
    let nothing = |state: &str| if state.is_empty() { "nothing".to_owned() } else { state.to_owned() };
    let mut text = format!(
        "{}; left: {} on the server, {} on the client",
        in_words(&cell.verdict),
        nothing(cell.left.server),
        nothing(cell.left.client)
    );
    if let Some((earliest, latest)) = cell.bounds {
        let _ = write!(text, " (expected after {earliest:.3?} to {latest:.3?})");
    }
    if !cell.wrong.is_empty() {
        let _ = write!(text, "  WRONG: {}", cell.wrong.join("; "));
    }
    text
}
