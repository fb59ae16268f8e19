//! Scenarios that nobody thought of: steps drawn by a seed. What they find becomes a scenario with a name.
//!
//! `LINGER_PARITY_SEEDS=1000..2000 cargo test --test parity random` draws others than the fixed ones.

use crate::step::{Scenario, Step, Verb, linger2_inherited};
use crate::{differences, real, simulated};
use linger::net::{CloseHow, Interest};
use linger::tools::sim::rng::Rng;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

const SEEDS: std::ops::Range<u64> = 0..80;
/// They mostly wait.
const THREADS: usize = 8;
const STEPS: usize = 14;

#[test]
fn random_scenarios_agree() {
    let given = std::env::var("LINGER_PARITY_SEEDS").ok();
    let seeds = given.as_deref().map_or(SEEDS, |given| {
        let (from, to) = given.split_once("..").expect("a range: 1000..2000");
        from.parse().expect("a number")..to.parse().expect("a number")
    });
    let next = AtomicU64::new(seeds.start);
    let found = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let (scenario, steps) = draw(seed);
                    if let Err(shown) = differences(&scenario, &steps) {
                        found.lock().expect("nobody panics with it").push(format!("seed {seed}\n{shown}"));
                    }
                }
            });
        }
    });
    let found = found.into_inner().expect("nobody panics with it");
    assert!(found.is_empty(), "the kernels differ:\n{}", found.join("\n"));
}

/// A canary: the net of this file must catch a kernel with one rule changed. Here the rule is the scenario's: the
/// simulated listener has `TCP_LINGER2`, the real one has not.
#[test]
fn a_kernel_with_another_rule_is_found_out() {
    let caught = (0..20).any(|seed| {
        let (_, steps) = draw(seed);
        let simulated = crate::lab::run(simulated::Simulated::new(), &linger2_inherited(), &steps);
        let real = crate::lab::run(real::Real::new(), &Scenario::default(), &steps);
        crate::compare(&simulated.lines, &real.lines).is_err()
    });
    assert!(caught, "no seed of twenty shows whether the listener has TCP_LINGER2");
}

/// What may still be done in a scenario.
struct Open {
    client: bool,
    server: bool,
    accepted: bool,
}

fn draw(seed: u64) -> (Scenario, Vec<Step>) {
    let mut rng = Rng::new(seed);
    let scenario = if rng.chance(300_000) { linger2_inherited() } else { Scenario::default() };
    let mut open = Open { client: true, server: false, accepted: false };
    let mut steps = vec![Step::Connect];
    if rng.chance(800_000) {
        (open.server, open.accepted) = (true, true);
        steps.push(Step::Accept);
    }
    while steps.len() < STEPS && (open.client || open.server) {
        let step = match rng.index(10) {
            0..=2 => Step::Poll,
            3 if open.server => Step::Rewatch(0, rng.pick(&[Interest::Read, Interest::ReadWrite])),
            3 if !open.accepted => {
                (open.server, open.accepted) = (true, true);
                Step::Accept
            }
            4 if open.server => Step::Info(0),
            5..=7 if open.server => Step::Server(0, verb(&mut rng, &mut open.server, true)),
            _ if open.client => Step::Client(0, verb(&mut rng, &mut open.client, false)),
            _ => Step::Poll,
        };
        steps.push(step);
    }
    (scenario, steps)
}

/// Little enough that no buffer fills: how they fill is not the same everywhere.
fn verb(rng: &mut Rng, open: &mut bool, is_server: bool) -> Verb {
    match rng.index(16) {
        0..=4 => Verb::Send(1 + rng.index(200)),
        5 => Verb::SendOob,
        6..=10 => Verb::Recv(rng.pick(&[1, 20, 1000])),
        11 => Verb::Finish,
        12 => Verb::Error,
        kind => {
            *open = false;
            match kind {
                13 => Verb::Close(CloseHow::Reset),
                14 if is_server => Verb::Close(CloseHow::Linger2),
                _ => Verb::Close(CloseHow::Plain),
            }
        }
    }
}
