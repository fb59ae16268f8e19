//! For a slide: the matrix as a heat map. The picture brings its own background, so that it reads on any page.

use super::{Report, word};
use crate::tools::lab::row::{Cell, Outcome, Verdict};
use std::fmt::Write as _;

const ROW: usize = 26;
const COLUMN: usize = 62;
const NAMES: usize = 190;
const SAID: usize = 250;
const TOP: usize = 84;
const MARGIN: usize = 16;
const LEGEND: usize = 64;

/// Colours of latencies, from at once to late; each is read with black on it. They differ in lightness as well, for
/// those who do not tell green from red.
const HEAT: [(&str, &str); 4] = [
    ("#7fcf9b", "at once (under 100 ms)"),
    ("#bfe3a0", "under a fifth of the wait"),
    ("#f4dd87", "under half"),
    ("#f0a96b", "later"),
];
const UNNOTICED: &str = "#d9dce2";
const REVIVED: &str = "#9cc4ec";
const WRONG: &str = "#d0342c";

/// The matrix.
pub fn svg(report: &Report) -> String {
    let columns = report.plan.methods.len();
    let width = MARGIN * 2 + NAMES + columns * COLUMN + SAID;
    let bottom = TOP + report.outcomes.len() * ROW;
    let height = bottom + LEGEND;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"system-ui, 'DejaVu Sans', sans-serif\" font-size=\"12\" role=\"img\">\n\
         <title>linger: what is detected, by which means, how fast</title>\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"#fbfbfd\" stroke=\"#c9ccd4\"/>\n"
    );
    let heading = format!("linger {}: what is detected, by which means, how fast", env!("CARGO_PKG_VERSION"));
    let heading = report.plan.path.title().map_or(heading.clone(), |title| format!("{heading}, {title}"));
    label(&mut text, (MARGIN, 28), "font-size=\"17\" font-weight=\"600\"", &heading);
    let s = &report.plan.settings;
    let settings = format!(
        "{}, Linux {}; keepalive {} + {} × {}, user timeout {}, heartbeat {} + {}",
        report.date,
        report.kernel,
        super::short(s.keepalive_idle),
        super::short(s.keepalive_interval),
        s.keepalive_count,
        super::short(s.user_timeout),
        super::short(s.heartbeat_timeout),
        super::short(s.heartbeat_grace),
    );
    label(&mut text, (MARGIN, 48), "fill=\"#555a66\"", &settings);
    for (index, method) in report.plan.methods.iter().enumerate() {
        let at = (MARGIN + NAMES + index * COLUMN + COLUMN / 2, TOP - 8);
        label(&mut text, at, "text-anchor=\"middle\" font-weight=\"600\"", method.short());
    }
    label(
        &mut text,
        (MARGIN + NAMES + columns * COLUMN + 10, TOP - 8),
        "font-weight=\"600\"",
        "all together say",
    );
    for (index, outcome) in report.outcomes.iter().enumerate() {
        row(&mut text, report, outcome, TOP + index * ROW);
    }
    legend(&mut text, bottom + 18);
    text.push_str("</svg>\n");
    text
}

fn row(text: &mut String, report: &Report, outcome: &Outcome, y: usize) {
    label(text, (MARGIN, y + 17), "", outcome.case.title());
    for (index, cell) in outcome.cells.iter().enumerate() {
        let x = MARGIN + NAMES + index * COLUMN;
        if cell.verdict == Verdict::NotApplicable {
            continue;
        }
        let edge = if cell.wrong.is_empty() {
            String::new()
        } else {
            format!(" stroke=\"{WRONG}\" stroke-width=\"2.5\"")
        };
        let _ = writeln!(
            text,
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"4\" fill=\"{}\"{edge}><title>{}</title></rect>",
            x + 2,
            y + 2,
            COLUMN - 4,
            ROW - 4,
            colour(report, cell),
            escape(&crate::tools::lab::row::in_words(&cell.verdict)),
        );
        label(text, (x + COLUMN / 2, y + 17), "text-anchor=\"middle\"", &word(cell));
    }
    let lacks = report.plan.path.lacks_case(outcome.case);
    let said = match outcome.cells.last().map(|cell| &cell.verdict) {
        _ if lacks.is_some() => lacks.unwrap_or_default().into(),
        Some(Verdict::Ended { reason, detector, .. }) => format!("{reason} by {detector}"),
        Some(verdict @ (Verdict::Revived | Verdict::Unnoticed(_) | Verdict::NotApplicable)) => {
            crate::tools::lab::row::in_words(verdict)
        }
        None => "not played".into(),
    };
    let at = (MARGIN + NAMES + report.plan.methods.len() * COLUMN + 10, y + 17);
    label(text, at, "fill=\"#333842\"", &said);
}

fn colour(report: &Report, cell: &Cell) -> &'static str {
    match &cell.verdict {
        Verdict::Ended { latency, .. } => {
            let wait = report.plan.settings.horizon();
            let heat = match *latency {
                latency if latency.as_millis() < 100 => 0,
                latency if latency < wait / 5 => 1,
                latency if latency < wait / 2 => 2,
                _ => 3,
            };
            HEAT[heat].0
        }
        Verdict::Revived => REVIVED,
        Verdict::Unnoticed(_) | Verdict::NotApplicable => UNNOTICED,
    }
}

fn legend(text: &mut String, y: usize) {
    let others = [(UNNOTICED, "not noticed"), (REVIVED, "suspected, then revived")];
    let mut x = MARGIN;
    for (colour, name) in HEAT.into_iter().chain(others) {
        let _ = writeln!(
            text,
            "<rect x=\"{x}\" y=\"{y}\" width=\"16\" height=\"16\" rx=\"3\" fill=\"{colour}\"/>"
        );
        label(text, (x + 22, y + 13), "", name);
        x += 40 + name.chars().count() * 7;
    }
    let _ = writeln!(
        text,
        "<rect x=\"{}\" y=\"{}\" width=\"14\" height=\"14\" rx=\"3\" fill=\"none\" stroke=\"{WRONG}\" stroke-width=\"2.5\"/>",
        x + 1,
        y + 1
    );
    label(text, (x + 22, y + 13), "", "not as expected");
    let words = "each column is one means alone; a blank cell is not tried; times are counted from the fault to the End record";
    label(text, (MARGIN, y + 34), "fill=\"#555a66\" font-size=\"11\"", words);
}

fn label(text: &mut String, (x, y): (usize, usize), attributes: &str, words: &str) {
    let fill = if attributes.contains("fill=") { "" } else { " fill=\"#14161a\"" };
    let _ = writeln!(text, "<text x=\"{x}\" y=\"{y}\"{fill} {attributes}>{}</text>", escape(words));
}

fn escape(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
