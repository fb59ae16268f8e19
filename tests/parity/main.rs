//! Parity: one table of scenarios, run on the simulated and on the real kernel through the traits of
//! `linger::net`; the traces must be equal. This is what makes a simulated run worth believing.
//!
//! A trace has a line a step: what the step gave (a call's result, readiness as the poller gives it) and the TCP
//! state of both ends of every connection after it. Where the traces differ, the real kernel is right.
//!
//! Read in this order: [`step`] is the language of scenarios and what a trace says of each step; [`lab`] runs them
//! on anything; [`simulated`] and [`real`] are the two kernels; the rest is the table: [`closing`] (each row of the
//! ladder), [`dying`] (each way a peer can go), [`edges`] (what the poller says and when), [`accepting`], [`connecting`],
//! [`windows`], [`random`], [`pairs`] (a gateway as a whole, run by [`pair`]), and [`silence`], which needs a network to
//! break:
//!
//! ```sh
//! unshare -n bash -c 'ip link set lo up; LINGER_TEST_NAMESPACE=1 cargo test --test parity -- --ignored'
//! ```

#![expect(unreachable_pub, reason = "a test crate has no outside")]
#![expect(
    clippy::print_stdout,
    reason = "a trace is for people: cargo test --test parity NAME -- --nocapture"
)]

mod accepting;
mod any;
mod closing;
mod connecting;
mod dying;
mod edges;
mod lab;
mod pair;
mod pairs;
mod random;
mod real;
mod silence;
mod simulated;
mod step;
mod windows;

use lab::Line;
use linger::core::time::Duration;
use step::{Scenario, Step};

/// Makes a test of each scenario. Steps are written in a list; `with` gives other socket options or a backlog.
macro_rules! scenarios {
    ($($(#[$attribute:meta])* $name:ident $(with $scenario:expr)? => [$($step:expr),+ $(,)?];)+) => {$(
        #[test]
        $(#[$attribute])*
        fn $name() {
            #[allow(unused_mut, unused_assignments, reason = "most scenarios ask for nothing special")]
            let mut scenario = $crate::step::Scenario::default();
            $(scenario = $scenario;)?
            $crate::agree(&scenario, &[$($step),+]);
        }
    )+};
}
use scenarios;

/// Runs the scenario on both kernels.
///
/// # Panics
/// When the traces differ; shows them.
fn agree(scenario: &Scenario, steps: &[Step]) {
    match differences(scenario, steps) {
        Ok(trace) => println!("{trace}"),
        Err(shown) => panic!("the kernels differ:\n{shown}"),
    }
}

/// Later than this in all, and the real kernel's timers may have run on between two steps: the least of them are a
/// retransmission (200 ms) and a SYN sent again (1 s).
const LATENESS_MAX: Duration = Duration::from_millis(150);

/// How often a scenario is run again that the machine was too busy for.
const RUNS_MAX: usize = 20;

/// The trace, or both if they are not the same. A difference counts only from a run that came in time.
fn differences(scenario: &Scenario, steps: &[Step]) -> Result<String, String> {
    let simulated = lab::run(simulated::Simulated::new(), scenario, steps);
    let mut runs = 0;
    loop {
        let real = lab::run(real::Real::new(), scenario, steps);
        runs += 1;
        let compared = compare(&simulated.lines, &real.lines);
        if compared.is_ok() || real.lateness <= LATENESS_MAX || runs == RUNS_MAX {
            return compared;
        }
    }
}

fn compare(simulated: &[Line], real: &[Line]) -> Result<String, String> {
    let mut same = true;
    let lines = simulated.iter().zip(real).map(|(simulated, real)| {
        if simulated.agrees(real) {
            return format!("    {real}");
        }
        same = false;
        format!("real {real}\nsim  {simulated}")
    });
    let shown = lines.collect::<Vec<_>>().join("\n");
    if same { Ok(shown) } else { Err(shown) }
}
