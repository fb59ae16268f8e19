//! The end of a run, for programs: one JSON object whose shape is `schema.json`, and stays as long as its
//! `version` does.

use super::{Finished, Point, micros, quantiles, warnings::Warning};
use crate::core::units::{seconds, thousandths};
use crate::tools::load::counted::CountRow;
use crate::tools::load::faults::Fault;
use crate::tools::load::mix::Share;
use crate::tools::load::stats::Latency;
use crate::tools::load::verdicts::Wrong;
use indexmap::IndexMap;
use serde::Serialize;

/// The JSON Schema of the output.
pub const SCHEMA: &str = include_str!("../schema.json");

/// Of the shape. Fields may be added under the same number; none is taken away or changes its meaning.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Run<'a> {
    version: u32,
    generator: &'static str,
    url: &'a str,
    ok: bool,
    interrupted: bool,
    plan: Asked,
    connections: Connections,
    requests: Requests,
    latency_us: Quantiles,
    /// What latencies are counted from: `schedule` or `send`.
    latency_from: &'static str,
    generator_lag_us: Quantiles,
    generator_cpu: f64,
    generator_waited: f64,
    server_cpu: Option<f64>,
    server_us_per_request: Option<f64>,
    errors: Vec<Error<'a>>,
    verdicts: Option<Verdicts<'a>>,
    endings: Option<&'a [CountRow]>,
    committed: Vec<Committed>,
    skipped: Vec<Skipped<'a>>,
    points: &'a [Point],
    warnings: &'a [Warning],
}

#[derive(Serialize)]
struct Asked {
    connections: u32,
    processes: u32,
    rate: Option<f64>,
    pipeline: u32,
    size: usize,
    duration_s: f64,
    heartbeat_s: Option<f64>,
    churn: Option<f64>,
    faults: Vec<AskedFault>,
}

#[derive(Serialize)]
struct AskedFault {
    fault: &'static str,
    share: f64,
    /// Lengths of time in seconds, counts as they are.
    parameters: IndexMap<&'static str, f64>,
}

#[derive(Serialize)]
struct Connections {
    wanted: u64,
    up: u64,
    opened: u64,
    churned: u64,
    reopened: u64,
    resumed: u64,
    ramp_s: f64,
    connect_us: Quantiles,
}

#[derive(Serialize)]
struct Requests {
    sent: u64,
    answered: u64,
    overdue: u64,
    moot: u64,
    heartbeats: u64,
    seconds: f64,
    rate: f64,
    bytes_out: u64,
    bytes_in: u64,
}

#[derive(Serialize)]
struct Error<'a> {
    kind: &'static str,
    count: u64,
    first: &'a str,
}

#[derive(Serialize)]
struct Verdicts<'a> {
    wrong: u64,
    rows: Vec<VerdictRow<'a>>,
    listed: &'a [Wrong],
}

#[derive(Serialize)]
struct VerdictRow<'a> {
    /// What the server ought to have said of each.
    expected: String,
    /// `null`: those who did nothing wrong.
    fault: Option<&'static str>,
    clients: u64,
    wrong: u64,
    said: &'a IndexMap<String, u64>,
    detection_us: Quantiles,
}

#[derive(Serialize)]
struct Committed {
    fault: &'static str,
    clients: u64,
}

#[derive(Serialize)]
struct Skipped<'a> {
    fault: &'static str,
    clients: u64,
    why: &'a str,
}

/// Microseconds; `null` where there is nothing to count.
#[derive(Serialize)]
struct Quantiles {
    count: u64,
    mean: Option<f64>,
    #[serde(flatten)]
    at: IndexMap<&'static str, Option<f64>>,
    max: Option<f64>,
}

impl Quantiles {
    fn of(latency: Option<&Latency>) -> Self {
        let nothing = Latency::default();
        let latency = latency.unwrap_or(&nothing);
        Self {
            count: latency.count(),
            mean: latency.mean().map(micros),
            at: quantiles(latency).map(|(name, value)| (name, value.map(micros))).collect(),
            max: latency.max().map(micros),
        }
    }
}

/// All of it, in one line.
pub fn render(run: &Finished) -> String {
    let (plan, totals) = (&run.plan, &run.totals);
    let run = Run {
        version: VERSION,
        generator: concat!("linger ", env!("CARGO_PKG_VERSION")),
        url: &run.url,
        ok: run.is_fine(),
        interrupted: totals.interrupted,
        plan: Asked {
            connections: plan.connections,
            processes: run.procs,
            rate: plan.rate,
            pipeline: plan.pipeline,
            size: plan.size,
            duration_s: seconds(plan.duration),
            heartbeat_s: plan.heartbeat.map(seconds),
            churn: plan.churn,
            faults: plan.faults.shares().iter().map(asked).collect(),
        },
        connections: Connections {
            wanted: totals.wanted,
            up: totals.up,
            opened: totals.opened,
            churned: totals.churned,
            reopened: totals.reopened,
            resumed: totals.resumed,
            ramp_s: thousandths(totals.ramp_s),
            connect_us: Quantiles::of(Some(&totals.connect)),
        },
        requests: Requests {
            sent: totals.sent,
            answered: totals.answered,
            overdue: totals.overdue,
            moot: totals.moot,
            heartbeats: totals.beats,
            seconds: thousandths(totals.load_s),
            rate: thousandths(run.rate()),
            bytes_out: totals.bytes_out,
            bytes_in: totals.bytes_in,
        },
        latency_us: Quantiles::of(Some(&totals.request)),
        latency_from: if plan.rate.is_some() && !plan.closed { "schedule" } else { "send" },
        generator_lag_us: Quantiles::of(Some(&totals.lag)),
        generator_cpu: thousandths(if totals.load_s > 0.0 { totals.cpu_s / totals.load_s } else { 0.0 }),
        generator_waited: thousandths(run.waited()),
        server_cpu: run.server_cpu().map(thousandths),
        server_us_per_request: run.server_us().map(thousandths),
        errors: totals
            .troubles
            .iter()
            .map(|(trouble, count, first)| Error { kind: trouble.name(), count, first })
            .collect(),
        verdicts: run.verdicts.as_ref().map(|verdicts| Verdicts {
            wrong: verdicts.wrong_count(),
            rows: rows(run, verdicts),
            listed: &verdicts.wrong,
        }),
        endings: run.counts.as_ref().map(|counts| counts.rows.as_slice()),
        committed: run
            .committed()
            .map(|(fault, clients)| Committed { fault: fault.name(), clients })
            .collect(),
        skipped: totals
            .skipped
            .iter()
            .map(|(fault, (clients, why))| Skipped { fault: fault.name(), clients: *clients, why })
            .collect(),
        points: &run.points,
        warnings: &run.warnings,
    };
    serde_json::to_string(&run).expect("numbers and text are JSON")
}

fn asked(share: &Share) -> AskedFault {
    AskedFault {
        fault: share.fault.name(),
        share: thousandths(share.of_all),
        parameters: share.parameters().map(|(parameter, value)| (parameter.name(), value)).collect(),
    }
}

fn rows<'a>(run: &Finished, verdicts: &'a crate::tools::load::verdicts::Verdicts) -> Vec<VerdictRow<'a>> {
    let faulty = verdicts.rows.iter().map(|(fault, row)| (Some(*fault), row));
    faulty
        .chain([(None, &verdicts.healthy)])
        .map(|(fault, row)| VerdictRow {
            fault: fault.map(Fault::name),
            expected: run.plan.truth(fault).to_string(),
            clients: row.clients,
            wrong: row.wrong(),
            said: &row.said,
            detection_us: Quantiles::of(fault.and_then(|fault| run.totals.detection.get(&fault))),
        })
        .collect()
}
