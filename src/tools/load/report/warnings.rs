//! What the generator warnings about its own figures, each with what to do about it.
//!
//! Pure. A figure that measures the generator instead of the server must not pass for one of the server.

use crate::core::time::Duration;
use crate::tools::load::plan::Plan;
use crate::tools::load::stats::{Totals, Trouble};
use serde::Serialize;

/// Above this share of a core the generator may be what is measured.
const SATURATED: f64 = 0.9;
/// Above this share of the time without a core, the host is what is measured.
const BUSY: f64 = 0.05;
/// A schedule kept to this is kept.
const LAG: Duration = Duration::from_millis(2);
/// Fewer answers than this make a p99 of a handful of samples.
const ANSWERS_MIN: u64 = 1000;
/// Shorter runs are mostly their own beginning.
const SECONDS_MIN: f64 = 2.0;
/// Fewer of the faults than this share of those asked for, and their verdicts are uncertain.
const FEW: f64 = 0.9;
/// A ramp that takes this much longer than asked for was not kept.
const RAMP_SLACK: f64 = 1.1;

/// A warning.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Warning {
    /// Its name, which does not change.
    pub kind: &'static str,
    /// What is uncertain, and what to do about it.
    pub text: String,
}

/// What is known about the host, as far as it bounds the generator.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Host {
    /// Descriptors that a process may have (`RLIMIT_NOFILE`).
    pub descriptors: u64,
    /// Ephemeral ports for each source address.
    pub ports: u32,
}

/// Descriptors that are no client's.
const DESCRIPTORS_OF_OUR_OWN: u64 = 32;

/// Warnings that stand before anything is started.
pub fn before(plan: &Plan, procs: u32, host: Host) -> Vec<Warning> {
    let mut found = Vec::new();
    let each = u64::from(plan.connections.div_ceil(procs.max(1)));
    if each + DESCRIPTORS_OF_OUR_OWN > host.descriptors {
        let enough = u64::from(plan.connections)
            .div_ceil(host.descriptors.saturating_sub(DESCRIPTORS_OF_OUR_OWN).max(1));
        found.push(Warning {
            kind: "descriptors",
            text: format!(
                "{each} connections in a process that may have {} descriptors: not all will come up; raise the hard \
                 limit (ulimit -Hn), or use --procs {enough}",
                host.descriptors
            ),
        });
    }
    let sources =
        plan.sources.len().max(1) as u64 * if plan.sources.is_empty() { 1 } else { u64::from(procs) };
    let ports = u64::from(host.ports) * sources;
    if ports > 0 && u64::from(plan.connections) * 2 > ports {
        found.push(Warning {
            kind: "ephemeral_ports",
            text: format!(
                "{} connections from {ports} ephemeral ports: finding a free one gets slow, and they may run out; give \
                 more source addresses by --source, or widen net.ipv4.ip_local_port_range",
                plan.connections
            ),
        });
    }
    found
}

/// Warnings that a run left.
pub fn after(plan: &Plan, totals: &Totals) -> Vec<Warning> {
    let mut warnings = Warnings::default();
    generator(plan, totals, &mut warnings);
    schedule(plan, totals, &mut warnings);
    clients(plan, totals, &mut warnings);
    faults(plan, totals, &mut warnings);
    warnings.warn(
        totals.interrupted,
        "interrupted",
        "the run was ended early; what is shown is what there was".to_owned(),
    );
    warnings.0
}

#[derive(Default)]
struct Warnings(Vec<Warning>);

impl Warnings {
    fn warn(&mut self, is: bool, kind: &'static str, text: String) {
        if is {
            self.0.push(Warning { kind, text });
        }
    }
}

/// Whether it is the generator that was measured, or too little.
fn generator(plan: &Plan, totals: &Totals, warnings: &mut Warnings) {
    let sends = plan.rate != Some(0.0);
    let cpu = if totals.load_s > 0.0 { totals.cpu_s / totals.load_s } else { 0.0 };
    warnings.warn(
        sends && cpu > SATURATED,
        "saturated",
        format!(
            "the generator used {:.0}% of a core: it may be the bottleneck, not the server; use --procs 2 or more, on \
             cores that the server does not use",
            cpu * 100.0
        ),
    );
    let waited = if totals.load_s > 0.0 { totals.waited_s / totals.load_s } else { 0.0 };
    warnings.warn(
        sends && waited > BUSY,
        "busy_host",
        format!(
            "the generator was ready to run and had no core for {:.0}% of the time: other programs hold them, perhaps \
             the server itself, and that is in the latencies; give both cores of their own (taskset)",
            waited * 100.0
        ),
    );
    warnings.warn(
        sends && !totals.interrupted && totals.load_s > 0.0 && totals.load_s < SECONDS_MIN,
        "short",
        format!(
            "the load lasted {:.1} s, which mostly shows how it begins; use --duration 10s or more",
            totals.load_s
        ),
    );
    warnings.warn(
        sends && totals.answered > 0 && totals.answered < ANSWERS_MIN,
        "few_answers",
        format!(
            "{} answers are too few for a p99; use a longer --duration or a higher rate",
            totals.answered
        ),
    );
}

/// Whether requests went out when they were due.
#[expect(clippy::cast_precision_loss, reason = "shares, for people")]
fn schedule(plan: &Plan, totals: &Totals, warnings: &mut Warnings) {
    let lag = totals.lag.quantile(0.99).unwrap_or_default();
    warnings.warn(
        lag > LAG,
        "behind_schedule",
        format!(
            "requests went out up to {} late (p99) although connections were free, and that is in the latencies: the \
             generator could not keep its schedule; lower --rate, use --procs, or give it a core of its own",
            super::human(Some(lag))
        ),
    );
    let due = totals.sent + totals.overdue;
    warnings.warn(
        totals.overdue > 0 && !totals.interrupted && !totals.nobody_well,
        "overdue",
        format!(
            "{} of {due} requests were due and never sent ({:.1}%): every connection waited for an answer; the true \
             latencies are worse than shown. The server cannot keep {}/s, or -c or --pipeline is too small for it",
            totals.overdue,
            totals.overdue as f64 * 100.0 / due.max(1) as f64,
            plan.rate.unwrap_or(0.0)
        ),
    );
    warnings.warn(
        totals.nobody_well,
        "nobody_well",
        "for a time no client was well: requests that were due then waited for one, and that is in the latencies; leave \
         some clients out of --fault"
            .to_owned(),
    );
}

/// Whether all clients were there in time.
fn clients(plan: &Plan, totals: &Totals, warnings: &mut Warnings) {
    warnings.warn(
        totals.up < totals.wanted && totals.up > 0 && !totals.interrupted,
        "not_all_up",
        format!("{} of {} connections were up when the load began", totals.up, totals.wanted),
    );
    warnings.warn(
        totals.troubles.count(Trouble::NoPort) > 0,
        "ports_ran_out",
        "ephemeral ports ran out; give more source addresses by --source, or widen net.ipv4.ip_local_port_range"
            .to_owned(),
    );
    warnings.warn(
        plan.pipeline > 1 && totals.reopened > 0 && totals.moot > 0,
        "closed_behind_answers",
        format!(
            "the server closed {} connections behind an answer, and what was under way behind it was never answered; \
             use --pipeline 1 for a server without keep-alive",
            totals.reopened
        ),
    );
    let ramp_s = plan.ramp.map_or(f64::INFINITY, |rate| f64::from(plan.connections) / rate);
    warnings.warn(
        totals.ramp_s > ramp_s * RAMP_SLACK + SECONDS_MIN && !totals.interrupted,
        "ramp_behind",
        format!(
            "connecting took {:.0} s instead of {ramp_s:.0}: generator or server could not keep {}/s",
            totals.ramp_s,
            plan.ramp.unwrap_or(0.0)
        ),
    );
}

/// Whether those who were to misbehave did.
#[expect(clippy::cast_precision_loss, reason = "counts of clients are far below 2^53")]
fn faults(plan: &Plan, totals: &Totals, warnings: &mut Warnings) {
    for share in plan.faults.shares() {
        let asked = share.of_all * totals.up as f64;
        let skipped = totals.skipped.get(&share.fault).map_or(0, |&(clients, _)| clients);
        let done = totals.faults.get(&share.fault).copied().unwrap_or(0) + skipped;
        warnings.warn(
            asked > 0.0 && !totals.interrupted && (done == 0 || (done as f64) < asked.round() * FEW),
            "few_faults",
            format!(
                "{} was to be committed by {asked:.1} of {} clients, and was by {done}: its verdicts say little or \
                 nothing",
                share.fault, totals.up
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::load::faults::{Contract, Fault};
    use crate::tools::load::mix::Mix;
    use crate::tools::load::plan::{Judge, Target};

    pub(crate) fn plan() -> Plan {
        Plan {
            target: Target::parse("echo://127.0.0.1:7").unwrap(),
            connections: 1000,
            ramp: None,
            rate: Some(1000.0),
            closed: false,
            spin: false,
            size: 64,
            pipeline: 1,
            duration: Duration::from_secs(10),
            log_in: None,
            identities: false,
            heartbeat: None,
            churn: None,
            tls: None,
            faults: Mix::default(),
            judge: Judge::Nobody,
            contract: Contract {
                heartbeat: Duration::ZERO,
                grace: Duration::ZERO,
                slow_time: Duration::ZERO,
                patience: Duration::from_secs(5),
            },
            sources: Vec::new(),
            prefix: "load-".to_owned(),
            server: None,
        }
    }

    fn kinds(found: &[Warning]) -> Vec<&str> {
        found.iter().map(|warning| warning.kind).collect()
    }

    #[test]
    fn a_host_that_is_too_small_is_told_with_what_would_do() {
        let plan = Plan { connections: 50_000, ..plan() };
        let found = before(&plan, 1, Host { descriptors: 20_000, ports: 28_000 });
        assert_eq!(kinds(&found), ["descriptors", "ephemeral_ports"]);
        assert!(found[0].text.contains("--procs 3"), "{}", found[0].text);
        assert_eq!(before(&plan, 4, Host { descriptors: 20_000, ports: 200_000 }), []);
    }

    #[test]
    fn figures_of_the_generator_do_not_pass_for_those_of_the_server() {
        let fine = || {
            let mut totals =
                Totals { load_s: 10.0, cpu_s: 5.0, sent: 5000, answered: 5000, ..Totals::default() };
            (totals.wanted, totals.up) = (10, 10);
            totals
        };
        assert_eq!(after(&plan(), &fine()), []);
        let ramp = Plan { ramp: Some(100.0), ..plan() };
        assert_eq!(after(&ramp, &Totals { ramp_s: 12.0, ..fine() }), []);
        assert_eq!(kinds(&after(&ramp, &Totals { ramp_s: 14.0, ..fine() })), ["ramp_behind"]);
        let mut late = fine();
        late.lag.record(Duration::from_millis(5));
        for (totals, kind) in [
            (Totals { cpu_s: 9.9, ..fine() }, "saturated"),
            (Totals { waited_s: 1.0, ..fine() }, "busy_host"),
            (late, "behind_schedule"),
            (Totals { overdue: 7, ..fine() }, "overdue"),
            (Totals { load_s: 1.0, cpu_s: 0.1, ..fine() }, "short"),
            (Totals { answered: 9, ..fine() }, "few_answers"),
            (Totals { up: 9, ..fine() }, "not_all_up"),
            (Totals { reopened: 9, moot: 9, ..fine() }, "closed_behind_answers"),
            (Totals { nobody_well: true, ..fine() }, "nobody_well"),
            (Totals { interrupted: true, ..fine() }, "interrupted"),
        ] {
            assert_eq!(kinds(&after(&Plan { pipeline: 2, ..plan() }, &totals)), [kind]);
        }

        let half = Plan { faults: Mix::parse("rst=50%").unwrap(), ..plan() };
        let done = |count| Totals { faults: [(Fault::Rst, count)].into_iter().collect(), ..fine() };
        assert_eq!(after(&half, &done(5)), []);
        assert_eq!(kinds(&after(&half, &done(4))), ["few_faults"]);
    }
}
