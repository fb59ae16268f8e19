//! For programs: everything, in a shape that stays.

use super::Report;
use crate::core::time::Duration;
use crate::core::units::seconds;
use crate::tools::lab::expect::{Expected, Left};
use crate::tools::lab::row::{Cell, Verdict};
use crate::tools::lab::settings::Settings;
use serde_json::{Value, json};

/// The version of the shape.
const FORMAT: u32 = 1;

/// The matrix as one JSON object.
pub fn json(report: &Report) -> String {
    let plan = &report.plan;
    let rows = report.outcomes.iter().map(|outcome| {
        json!({
            "case": outcome.case.name(), "title": outcome.case.title(), "what": outcome.case.sentence(),
            "failure": outcome.failure, "not_applicable": plan.path.lacks_case(outcome.case),
            "cells": outcome.cells.iter().map(|one| cell(one, &plan.settings)).collect::<Vec<_>>(),
        })
    });
    let methods = plan.methods.iter().map(|method| {
        json!({
            "method": method.name(), "title": method.title(), "not_applicable": plan.path.lacks_method(*method),
        })
    });
    let s = &plan.settings;
    let settings = json!({
        "keepalive_idle_s": seconds(s.keepalive_idle), "keepalive_interval_s": seconds(s.keepalive_interval),
        "keepalive_count": s.keepalive_count, "user_timeout_s": seconds(s.user_timeout),
        "heartbeat_timeout_s": seconds(s.heartbeat_timeout), "heartbeat_grace_s": seconds(s.heartbeat_grace),
        "heartbeat_interval_s": seconds(s.heartbeat_interval), "beat_s": seconds(s.beat),
        "oob_s": seconds(s.oob), "audit_s": seconds(s.audit), "tcp_info_s": seconds(s.tcp_info), "linger_s": seconds(s.linger),
        "comeback_s": seconds(s.comeback), "slack_s": seconds(s.slack),
    });
    let whole = json!({
        "format": FORMAT, "version": env!("CARGO_PKG_VERSION"), "kernel": report.kernel, "date": report.date,
        "took_s": seconds(report.took), "right": report.is_right(), "path": plan.path.via.name(), "transport": plan.path.transport.name(), "settings": settings,
        "methods": methods.collect::<Vec<_>>(), "rows": rows.collect::<Vec<_>>(),
    });
    format!("{whole:#}\n")
}

fn cell(cell: &Cell, settings: &Settings) -> Value {
    let mut value = json!({
        "method": cell.method.name(), "left": left(cell.left), "wrong": cell.wrong,
        "expected": expected(&cell.expected, settings, cell.quiet),
    });
    let verdict = match &cell.verdict {
        Verdict::Ended { reason, detector, close, latency, record } => json!({
            "verdict": "ended", "reason": reason, "detector": detector, "close": close,
            "latency_s": seconds(*latency), "record": record,
        }),
        Verdict::Revived => json!({"verdict": "revived"}),
        Verdict::Unnoticed(time) => json!({"verdict": "unnoticed", "waited_s": seconds(*time)}),
        Verdict::NotApplicable => json!({"verdict": "not_applicable"}),
    };
    if let (Value::Object(whole), Value::Object(part)) = (&mut value, verdict) {
        whole.extend(part);
    }
    value
}

fn expected(expected: &Expected, settings: &Settings, quiet: Duration) -> Value {
    match *expected {
        Expected::Ended { reason, detector, close, when, left: remains } => {
            let (earliest, latest) = when.bounds(settings, quiet);
            json!({
                "verdict": "ended", "reason": reason.name(), "detector": detector.name(), "close": close.name(),
                "left": left(remains), "earliest_s": seconds(earliest), "latest_s": seconds(latest),
            })
        }
        Expected::Revived => json!({"verdict": "revived"}),
        Expected::Unnoticed(remains) => json!({"verdict": "unnoticed", "left": left(remains)}),
        Expected::NotApplicable => json!({"verdict": "not_applicable"}),
        Expected::Either(all) => {
            json!({"either": all.iter().map(|one| self::expected(one, settings, quiet)).collect::<Vec<_>>()})
        }
    }
}

fn left(left: Left) -> Value {
    let state = |state: &'static str| if state.is_empty() { Value::Null } else { state.into() };
    json!({"server": state(left.server), "client": state(left.client)})
}
