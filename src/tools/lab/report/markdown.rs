//! For a page: the matrix as a table whose text is the same from run to run, and its place between two marks.
//!
//! What is compared run by run must not wander: a latency that a timer makes is rounded to half a second, one that
//! only the machine makes is `now`, and where it is luck when the means looks next, the latest time is told.

use super::{Report, title};
use crate::core::time::Duration;
use crate::tools::lab::expect::Expected;
use crate::tools::lab::row::{Cell, Outcome, Verdict};
use crate::tools::lab::settings::Settings;
use std::fmt::Write as _;

/// The line before which a page has nothing of ours.
pub const BEGIN: &str = "<!-- lab -->";
/// The line after which it has nothing of ours.
pub const END: &str = "<!-- /lab -->";

/// The matrix.
pub fn markdown(report: &Report) -> String {
    let mut text = String::from("| how the client goes |");
    for method in &report.plan.methods {
        let _ = write!(text, " {} |", method.short());
    }
    text.push_str(" all together say |\n| --- |");
    for _ in 0..=report.plan.methods.len() {
        text.push_str(" --- |");
    }
    text.push('\n');
    for outcome in &report.outcomes {
        let _ = write!(text, "| {} |", outcome.case.title());
        for cell in &outcome.cells {
            let _ = write!(text, " {} |", word(cell, &report.plan.settings));
        }
        let _ = writeln!(text, " {} |", said(report, outcome));
    }
    let methods = report.plan.methods.iter();
    let legend: Vec<String> =
        methods.map(|method| format!("**{}** {}", method.short(), title(report, *method))).collect();
    let _ = writeln!(text, "\n{}. A dash is not noticed; blank, not tried.", legend.join("; "));
    text
}

fn word(cell: &Cell, settings: &Settings) -> String {
    let mark = if cell.wrong.is_empty() { "" } else { "**!** " };
    // Of several that are right always the same: else the page would say another thing each time.
    let word = match (&cell.verdict, cell.expected.alternatives().first()) {
        (Verdict::Ended { .. }, Some(Expected::Ended { when, .. })) if when.varies() => {
            let (_, latest) = when.bounds(settings, Duration::ZERO);
            format!("≤ {}", rounded(latest.saturating_sub(settings.slack)))
        }
        (Verdict::Ended { latency, .. }, _) => rounded(*latency),
        (Verdict::Revived, _) => "revived".into(),
        (Verdict::Unnoticed(_), _) => "–".into(),
        (Verdict::NotApplicable, _) => String::new(),
    };
    format!("{mark}{word}")
}

/// To half a second; below a third of one, no timer was waited for.
fn rounded(latency: Duration) -> String {
    let millis = latency.as_millis();
    if millis < 334 {
        return "now".into();
    }
    let halves = (millis + 250) / 500;
    let half = if halves % 2 == 1 { ".5" } else { "" };
    format!("{}{half} s", halves / 2)
}

fn said(report: &Report, outcome: &Outcome) -> String {
    if let Some(why) = report.plan.path.lacks_case(outcome.case) {
        return why.into();
    }
    match outcome.cells.last().map(|cell| &cell.verdict) {
        Some(Verdict::Ended { reason, .. }) => format!("`{reason}`"),
        Some(Verdict::Revived) => "revived".into(),
        Some(Verdict::Unnoticed(_)) => "not noticed".into(),
        Some(Verdict::NotApplicable) | None => String::new(),
    }
}

/// A page with `text` between its marks; nothing if it has none.
pub fn between_marks(page: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{text}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_rounded_so_that_they_stay() {
        let rounded = |millis| rounded(Duration::from_millis(millis));
        assert_eq!([rounded(2), rounded(333), rounded(700), rounded(1024)], ["now", "now", "0.5 s", "1 s"]);
        assert_eq!([rounded(3052), rounded(2507), rounded(3499)], ["3 s", "2.5 s", "3.5 s"]);
    }

    #[test]
    fn a_page_keeps_what_is_outside_of_the_marks() {
        let page = format!("one\n{BEGIN}\nold\n{END}\ntwo\n");
        assert_eq!(between_marks(&page, "new\n").unwrap(), format!("one\n{BEGIN}\nnew\n{END}\ntwo\n"));
        assert_eq!(between_marks("nothing", "new"), None);
    }
}
