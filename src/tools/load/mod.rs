//! The load and fault generator: very many clients on one thread, honest about latency, and able to misbehave
//! like real fleets do.
//!
//! It is a client of any server that speaks echo, RESP or HTTP/1, made of the parts of the server: its poller and
//! clock, its timer wheel, its table of connections. Three things it does that load generators often do not:
//!
//! - **It keeps a schedule.** With a rate, each request has a time at which it should go out, and its latency is
//!   counted from then ([`schedule`]). A server that stalls is charged for all that it held up.
//! - **It misbehaves** ([`faults`]), and holds what the server says of each fault against what really happened
//!   ([`verdicts`]; [`counted`] for clients without an identity).
//! - **It warns of its own errors** ([`report::warnings`]): a figure that measures the generator says so.
//!
//! Read on in [`plan`] (what is asked), [`engine`] (the loop), [`client`] (one of the clients), [`proto`] (what is
//! said on the wire), [`stats`] (what is measured), [`procs`] (several processes), [`report`] (what is shown).

pub mod client;
pub mod counted;
pub mod engine;
pub mod faults;
pub mod mix;
pub mod plan;
pub mod procs;
pub mod proto;
pub mod report;
pub mod schedule;
pub mod secure;
pub mod stats;
pub mod verdicts;

use crate::net::Fatal;
use crate::sys::{host, limits};
use counted::Counter;
use plan::{Judge, Plan};
use report::progress::Progress;
use report::warnings::{self, Host};
use report::{Finished, Point};

/// Plays a run and sums it up. `arguments`: those that start this program again for the same run, if it is to be
/// played by several processes.
///
/// # Errors
/// When the run makes no sense: nobody listens, or the server does not speak the protocol.
pub fn run(plan: Plan, url: String, procs: u32, arguments: &[String]) -> Result<Finished, Fatal> {
    let descriptors = limits::raise_descriptors().now;
    let ports = host::ephemeral_ports().map_or(0, |ports| 1 + u32::from(ports.end() - ports.start()));
    let mut warnings = warnings::before(&plan, procs, Host { descriptors, ports });
    let mut counter = match &plan.judge {
        Judge::Admin(admin, token) => Some(Counter::new(*admin, token.clone())?),
        Judge::Presence | Judge::Nobody => None,
    };
    let mut progress = Progress::new(plan.duration);
    let mut points = Vec::new();
    let mut on = |phase, interval: &stats::Interval| {
        points.push(Point::of(interval));
        progress.on_interval(phase, interval);
    };
    let outcome = if procs > 1 {
        procs::together(arguments, &plan.prefix, procs, &mut on)
    } else {
        procs::alone(&plan, &mut on)
    };
    progress.finish();
    let engine::Outcome { totals, verdicts } = outcome?;
    let counts = match &mut counter {
        Some(counter) if !totals.cut => Some(counter.settle(&totals, &plan)?),
        Some(_) | None => None,
    };
    warnings.extend(warnings::after(&plan, &totals));
    Ok(Finished { plan, url, procs, totals, verdicts, counts, points, warnings })
}
