//! The end of a run, for people.

use super::{Finished, human, quantiles};
use crate::core::units::bytes;
use crate::tools::load::counted::Counts;
use crate::tools::load::faults::Truth;
use crate::tools::load::verdicts::{Row, Verdicts};
use std::fmt::Write as _;

/// Wrong verdicts shown one by one.
const WRONG_MAX: usize = 20;

/// All of it.
pub fn render(run: &Finished) -> String {
    let mut out = String::new();
    head(run, &mut out);
    connections(run, &mut out);
    requests(run, &mut out);
    latency(run, &mut out);
    server(run, &mut out);
    troubles(run, &mut out);
    if let Some(verdicts) = &run.verdicts {
        table(run, verdicts, &mut out);
    }
    if let Some(counts) = &run.counts {
        counted(counts, &mut out);
    }
    if run.verdicts.is_none() {
        committed(run, &mut out);
    }
    for (fault, (count, why)) in &run.totals.skipped {
        let _ = writeln!(out, "skipped      {fault}: {count} clients could not: {why}");
    }
    for warning in &run.warnings {
        let _ = writeln!(out, "warning: {}", warning.text);
    }
    out
}

fn head(run: &Finished, out: &mut String) {
    let plan = &run.plan;
    let schedule = match plan.rate {
        Some(rate) if rate <= 0.0 => "no requests".to_owned(),
        Some(rate) if plan.closed => format!("at most {rate:.0}/s, closed loop"),
        Some(rate) => format!("{rate:.0}/s, open loop"),
        None => "as fast as it answers, closed loop".to_owned(),
    };
    let procs = if run.procs > 1 { format!(", {} processes", run.procs) } else { String::new() };
    let _ = writeln!(
        out,
        "{}  {} connections, pipeline {}, {schedule}, {:.1} s{procs}",
        run.url, plan.connections, plan.pipeline, run.totals.load_s
    );
}

fn connections(run: &Finished, out: &mut String) {
    let totals = &run.totals;
    let _ = write!(
        out,
        "connections  {} of {} up after {:.2} s; connect p50 {} p99 {} max {}",
        totals.up,
        totals.wanted,
        totals.ramp_s,
        human(totals.connect.quantile(0.5)),
        human(totals.connect.quantile(0.99)),
        human(totals.connect.max())
    );
    if totals.churned > 0 {
        let _ = write!(out, "; {} replaced", totals.churned);
    }
    if totals.resumed > 0 {
        let _ = write!(out, "; {} with a TLS session of an earlier one", totals.resumed);
    }
    if totals.reopened > 0 {
        let _ = write!(
            out,
            "; {} closed by the server behind an answer, as HTTP may, and opened again",
            totals.reopened
        );
    }
    out.push('\n');
}

fn requests(run: &Finished, out: &mut String) {
    let totals = &run.totals;
    let _ =
        write!(out, "requests     {} sent, {} answered, {:.0}/s", totals.sent, totals.answered, run.rate());
    for (count, what) in
        [(totals.overdue, "due and never sent"), (totals.moot, "made moot"), (totals.beats, "heartbeats")]
    {
        if count > 0 {
            let _ = write!(out, ", {count} {what}");
        }
    }
    let _ = writeln!(out, "; {} out, {} in", bytes(totals.bytes_out), bytes(totals.bytes_in));
}

fn latency(run: &Finished, out: &mut String) {
    let latency = &run.totals.request;
    if latency.count() == 0 {
        return;
    }
    out.push_str("latency     ");
    for (name, value) in quantiles(latency) {
        let _ = write!(out, " {name} {}", human(value));
    }
    let _ = writeln!(out, " max {}", human(latency.max()));
    let counted = if run.plan.rate.is_some() && !run.plan.closed {
        "from when each request was due, so a stall counts for all it held up"
    } else {
        "from when each request was sent: a stall counts once for each connection (see --rate)"
    };
    let _ = writeln!(out, "             counted {counted}");
}

fn server(run: &Finished, out: &mut String) {
    let Some(cpu) = run.server_cpu() else { return };
    let _ = write!(out, "server       {:.0}% of a core", cpu * 100.0);
    if let Some(micros) = run.server_us() {
        let _ = write!(out, ", {micros:.2}us of CPU time a request");
    }
    out.push('\n');
}

fn troubles(run: &Finished, out: &mut String) {
    for (trouble, count, words) in run.totals.troubles.iter() {
        let _ = writeln!(out, "error        {count} x {trouble}, first: {words}");
    }
}

fn table(run: &Finished, verdicts: &Verdicts, out: &mut String) {
    let detection = |fault| run.totals.detection.get(fault);
    let _ = writeln!(out, "verdicts     {:<13}{:>8}{:>8}  said by the server", "", "clients", "wrong");
    let mut line = |name: &str, row: &Row, told: String| {
        let said: Vec<_> = row.said.iter().map(|(said, count)| format!("{said} {count}")).collect();
        let _ = writeln!(
            out,
            "             {name:<13}{:>8}{:>8}  {}{told}",
            row.clients,
            row.wrong(),
            said.join(", ")
        );
    };
    for (fault, row) in &verdicts.rows {
        let told = detection(fault).map_or_else(String::new, |latency| {
            format!("  (after p50 {} max {})", human(latency.quantile(0.5)), human(latency.max()))
        });
        let must = match run.plan.truth(Some(*fault)) {
            Truth::Stays => "  (must stay)",
            Truth::Unnoticed => "  (must go unnoticed)",
            Truth::Revives => "  (must be forgiven)",
            Truth::Ends(_) => "",
        };
        line(fault.name(), row, told + must);
    }
    line("healthy", &verdicts.healthy, String::new());
    for wrong in verdicts.wrong.iter().take(WRONG_MAX) {
        let did = wrong.fault.map_or("nothing wrong", crate::tools::load::faults::Fault::name);
        let _ = writeln!(
            out,
            "wrong        {} did {did}: the server said {}, expected {}",
            wrong.identity, wrong.said, wrong.expected
        );
    }
    let more = verdicts.wrong_count().saturating_sub(verdicts.wrong.len().min(WRONG_MAX) as u64);
    if more > 0 {
        let _ = writeln!(out, "wrong        and {more} more (--json lists up to 200 a process)");
    }
}

fn counted(counts: &Counts, out: &mut String) {
    let _ = writeln!(out, "endings      {:>8}{:>8}  as the server counts them", "expected", "counted");
    for row in &counts.rows {
        let mark = if row.expected == row.counted { "" } else { "  wrong" };
        let reasons = row.reasons.join(" or ");
        let _ = writeln!(out, "             {:>8}{:>8}  {reasons}{mark}", row.expected, row.counted);
    }
}

/// Where nobody tells what the server made of them, at least what there was.
fn committed(run: &Finished, out: &mut String) {
    let told: Vec<_> = run.committed().map(|(fault, clients)| format!("{fault} {clients}")).collect();
    if !told.is_empty() {
        let unjudged =
            if run.counts.is_none() { "; nobody was asked what the server made of it" } else { "" };
        let _ = writeln!(out, "faults       {} committed{unjudged}", told.join(", "));
    }
}
