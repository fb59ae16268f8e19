//! What `linger audit` prints for people: the worst listener first, each finding explained, columns that align.

use super::{Report, lower};
use crate::cli::console::table;
use crate::core::units::{bytes, plural, span, thousands};
use crate::sys::owners::Owner;
use crate::tools::audit::explain;
use crate::tools::audit::survey::{Case, Finding, STATES, Surveyed};
use std::fmt::Write as _;

/// Where sentences are broken.
const WIDTH: usize = 100;

pub(super) fn of(report: &Report<'_>) -> String {
    let mut text = String::new();
    let (sick, healthy): (Vec<_>, Vec<_>) =
        report.listeners.iter().partition(|listener| !listener.findings.is_empty());
    for listener in &sick {
        self::listener(&mut text, report, listener);
    }
    if !healthy.is_empty() {
        let rows = healthy.iter().map(|listener| {
            let name = format!("  {}", listener.address);
            vec![name, whose(report, listener), format!("queue {}", queue(listener)), states(listener)]
        });
        let _ = writeln!(
            text,
            "Nothing found on {}:",
            if sick.is_empty() { "any listener" } else { "the others" }
        );
        text += &table(&rows.collect::<Vec<_>>());
        text.push('\n');
    }
    text + &summary(report, sick.len())
}

fn listener(text: &mut String, report: &Report<'_>, listener: &Surveyed) {
    let rows = [
        ["  accept queue", &queue(listener)],
        ["  connections", &states(listener)],
        [
            "  bytes",
            &format!("{} unread, {} undelivered", bytes(listener.unread), bytes(listener.undelivered)),
        ],
    ];
    let rows = rows.map(|row| row.map(str::to_owned).to_vec());
    let _ = writeln!(text, "{}  {}\n{}", listener.address, whose(report, listener), table(&rows));
    for finding in &listener.findings {
        self::finding(text, report, finding);
    }
}

fn finding(text: &mut String, report: &Report<'_>, finding: &Finding) {
    let count = finding.connections;
    let mut title =
        format!("  {}: {} {}", finding.anomaly, thousands(count), plural(count, "connection", "connections"));
    if !finding.cases.is_empty() {
        let longest = if finding.cases.len() > 1 { "the longest " } else { "" };
        let _ = write!(title, ", {longest}for at least {}", span(finding.at_least()));
    }
    if let (addresses @ 2.., Some((ip, most))) = finding.peers() {
        let _ = write!(title, ", from {} addresses", thousands(addresses as u64));
        if most > 1 {
            let _ = write!(title, " (most from {ip}: {})", thousands(most as u64));
        }
    }
    let _ = write!(
        text,
        "{title}\n{}{}    linger explain {}\n",
        wrapped("    ", &finding.meaning),
        wrapped("    -> ", finding.advice.as_str()),
        explain::page(finding.anomaly),
    );
    let shown: Vec<&Case> = finding.cases.iter().take(report.arguments.examples).collect();
    let rows: Vec<_> = shown.iter().map(|case| example(case, report.owner(&case.row))).collect();
    *text += &table(&rows);
    let more = finding.cases.len() - shown.len();
    if more > 0 {
        let _ =
            writeln!(text, "      and {} more: --examples {}", thousands(more as u64), finding.cases.len());
    }
    text.push('\n');
}

fn example(case: &Case, owner: Option<&Owner>) -> Vec<String> {
    let mut remarks = Vec::new();
    if case.unread() > 0 {
        remarks.push(format!("{} unread", bytes(case.unread())));
    }
    if case.undelivered() > 0 {
        remarks.push(format!("{} undelivered", bytes(case.undelivered())));
    }
    if case.row.retries > 0 {
        let tries = u64::from(case.row.retries);
        remarks.push(format!("{tries} {} unanswered", plural(tries, "try", "tries")));
    }
    if case.is_read() {
        remarks.push("end of file read".to_owned());
    }
    if let Some(left) = case.left() {
        remarks.push(format!("{} left", span(left)));
    }
    vec![
        format!("      {}", case.row.remote),
        format!(">= {}", span(case.at_least)),
        lower(case.row.state),
        owner.map(|owner| format!("{} {}", owner.program, owner.pid)).unwrap_or_default(),
        remarks.join(", "),
    ]
}

/// The programs that listen, or what is known of them.
fn whose(report: &Report<'_>, listener: &Surveyed) -> String {
    let mut names: Vec<String> = listener
        .sockets
        .iter()
        .map(|row| match report.owner(row) {
            Some(owner) => format!("{} (pid {})", owner.program, owner.pid),
            None => format!("of uid {}", row.uid),
        })
        .collect();
    names.sort();
    names.dedup();
    names.join(", ")
}

fn queue(listener: &Surveyed) -> String {
    let (length, limit) = listener.queue();
    format!("{} of {}", thousands(length), thousands(limit))
}

fn states(listener: &Surveyed) -> String {
    let some = STATES.iter().zip(listener.states).filter(|&(_, count)| count > 0);
    let some: Vec<_> =
        some.map(|(state, count)| format!("{} {}", thousands(count as u64), lower(*state))).collect();
    if some.is_empty() { "no connections".to_owned() } else { some.join(", ") }
}

fn summary(report: &Report<'_>, sick: usize) -> String {
    let (findings, all, connections) =
        (report.findings() as u64, report.listeners.len() as u64, report.connections() as u64);
    let mut text = format!(
        "{} {} on {} of {} {}; {} {} looked at",
        thousands(findings),
        plural(findings, "finding", "findings"),
        thousands(sick as u64),
        thousands(all),
        plural(all, "listener", "listeners"),
        thousands(connections),
        plural(connections, "connection", "connections"),
    );
    if let Some(wait) = report.arguments.wait {
        let _ = write!(text, ", twice, {} apart", span(wait));
    }
    let _ = writeln!(text, " in {}", span(report.took));
    let nameless = report.nameless() as u64;
    if nameless > 0 {
        let why = if report.owners.hidden > 0 {
            "this user may not see whose; root may"
        } else {
            "no process here holds them: another container's, or the kernel's own"
        };
        let _ = writeln!(
            text,
            "{} of the listeners {} without a program: {why}",
            thousands(nameless),
            plural(nameless, "is", "are")
        );
    }
    text
}

/// Sentences, broken into lines behind `mark`.
fn wrapped(mark: &str, sentences: &str) -> String {
    let indent = " ".repeat(mark.len());
    let mut text = String::new();
    let mut line = mark.to_owned();
    for word in sentences.split(' ') {
        if line.len() + word.len() > WIDTH && line.len() > mark.len() {
            text += line.trim_end();
            text.push('\n');
            line.clone_from(&indent);
        }
        line += word;
        line.push(' ');
    }
    text + line.trim_end() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_broken_at_words_and_lose_none() {
        let sentences = "word ".repeat(50);
        let text = wrapped("  -> ", sentences.trim());
        assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
        assert!(text.starts_with("  -> word") && text.lines().nth(1).unwrap().starts_with("     word"));
        assert_eq!(text.matches("word").count(), 50);
    }
}
