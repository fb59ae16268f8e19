//! What a foreign server does: a line a row, or one JSON object.

use super::short;
use crate::tools::lab::expect::Left;
use crate::tools::lab::foreign::{Finding, Row, Subject};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// For people.
pub fn table(subject: &Subject, rows: &[Row]) -> String {
    let mut text = String::new();
    let _ =
        writeln!(text, "{:24} {:>9}  {:12} {:12} its log", subject.name, "let go", "left: server", "client");
    for row in rows {
        let word = match &row.finding {
            Finding::LetGo(latency) => short(*latency),
            Finding::HeldOn(time) => format!("not in {:.0}s", time.as_secs_f64()),
            Finding::NotTried(_) => "not tried".into(),
            Finding::Failed(_) => "FAILED".into(),
        };
        let said = match &row.finding {
            Finding::NotTried(why) => (*why).to_owned(),
            Finding::Failed(why) => why.clone(),
            Finding::LetGo(_) | Finding::HeldOn(_) => row.log.join(" | "),
        };
        let Left { server, client } = row.left;
        let line = format!("{:24} {word:>9}  {server:12} {client:12} {said}", row.case.title());
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// For programs.
pub fn json(subject: &Subject, rows: &[Row], kernel: &str, date: &str) -> String {
    let state = |state: &'static str| if state.is_empty() { Value::Null } else { state.into() };
    let rows = rows.iter().map(|row| {
        let (verdict, time, why) = match &row.finding {
            Finding::LetGo(time) => ("let_go", Some(time.as_secs_f64()), None),
            Finding::HeldOn(time) => ("held_on", Some(time.as_secs_f64()), None),
            Finding::NotTried(why) => ("not_tried", None, Some((*why).to_owned())),
            Finding::Failed(why) => ("failed", None, Some(why.clone())),
        };
        json!({
            "case": row.case.name(), "title": row.case.title(), "what": row.case.sentence(), "verdict": verdict,
            "after_s": time, "why": why, "log": row.log,
            "left": {"server": state(row.left.server), "client": state(row.left.client)},
        })
    });
    let whole = json!({
        "format": 1, "server": subject.name, "kernel": kernel, "date": date,
        "patience_s": subject.patience.as_secs_f64(), "rows": rows.collect::<Vec<_>>(),
    });
    format!("{whole:#}\n")
}
