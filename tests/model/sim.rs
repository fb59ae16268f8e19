//! The reactor on the simulated kernel: fixed seeds, fresh ones, replay, and canaries that must be found.
//!
//! `LINGER_SIM_SEEDS` runs that many fresh seeds instead of a few; `LINGER_SIM_SEED` says where they begin.

use linger::tools::sim::{Canary, Options, Outcome, run, run_gateway, run_tls, run_workers};
use std::time::{SystemTime, UNIX_EPOCH};

/// Runs `seeds` and stops at the first that fails.
fn all_well(seeds: impl Iterator<Item = u64>) {
    for seed in seeds {
        let outcome = run(seed, &Options::default());
        if let Some(failure) = outcome.failure {
            panic!("seed {seed}: {}\nsee it: linger sim --seed {seed} --trace", failure.what);
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn the_seeds_that_found_bugs_once_find_none() {
    all_well(
        [339, 480, 677, 994, 3941, 12_417, 4042, 5915, 18_141, 31_420, 48_866, 1_795_791_946_043].into_iter(),
    );
}

#[test]
fn the_first_seeds_find_nothing() {
    all_well(0..600);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "fresh seeds are what this is for; the seed is printed")]
fn fresh_seeds_find_nothing() {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    let first = number("LINGER_SIM_SEED").unwrap_or(since_1970.as_secs() * 1_000);
    let count = number("LINGER_SIM_SEEDS").unwrap_or(300);
    println!("seeds {first} to {}", first + count - 1);
    all_well(first..first + count);
}

#[test]
fn audits_end_what_nothing_else_notices() {
    for seed in [115, 121] {
        let outcome = run(seed, &Options { trace: true, ..Options::default() });
        let ended = |line: &&String| line.contains("END reason=local.audit detector=audit");
        assert!(outcome.trace.iter().any(|line| ended(&line)), "seed {seed}");
    }
}

#[test]
fn a_seed_gives_the_same_run_again() {
    for seed in [1, 12, 93] {
        let options = Options { trace: true, ..Options::default() };
        let [one, other]: [Outcome; 2] = [run(seed, &options), run(seed, &options)];
        assert!(one.trace.len() > 100);
        assert_eq!(one.trace, other.trace);
        let untraced = run(seed, &Options::default());
        assert_eq!((untraced.turns, untraced.events), (one.turns, one.events), "looking changes nothing");
    }
}

#[test]
fn every_canary_is_found_within_a_hundred_seeds() {
    for canary in Canary::ALL {
        let options = Options { canary: Some(canary), ..Options::default() };
        let found = (0..100).find(|&seed| run(seed, &options).failure.is_some());
        let seed = found.unwrap_or_else(|| panic!("{} was not found", canary.name()));
        println!("{}: seed {seed}", canary.name());
    }
}

#[test]
fn pairs_of_a_gateway_lose_nothing_and_leave_nothing() {
    for seed in 0..300 {
        if let Some(failure) = run_gateway(seed, &Options::default()).failure {
            panic!("seed {seed}: {}\nsee it: linger sim --gateway --seed {seed} --trace", failure.what);
        }
    }
}

#[test]
fn a_seed_of_a_gateway_gives_the_same_run_again() {
    let options = Options { trace: true, ..Options::default() };
    let [one, other]: [Outcome; 2] = [run_gateway(7, &options), run_gateway(7, &options)];
    assert!(one.trace.len() > 100);
    assert_eq!(one.trace, other.trace);
    let untraced = run_gateway(7, &Options::default());
    assert_eq!((untraced.turns, untraced.events), (one.turns, one.events), "looking changes nothing");
}

#[test]
fn over_tls_nothing_is_lost_and_every_ending_is_called_right() {
    for seed in 0..150 {
        if let Some(failure) = run_tls(seed, &Options::default()).failure {
            panic!("seed {seed}: {}\nsee it: linger sim --tls --seed {seed} --trace", failure.what);
        }
    }
}

#[test]
fn a_seed_of_tls_gives_the_same_run_again() {
    let options = Options { trace: true, ..Options::default() };
    for seed in [3, 42] {
        let [one, other]: [Outcome; 2] = [run_tls(seed, &options), run_tls(seed, &options)];
        assert!(one.trace.len() > 100);
        assert_eq!(one.trace, other.trace);
        let untraced = run_tls(seed, &Options::default());
        assert_eq!((untraced.turns, untraced.events), (one.turns, one.events), "looking changes nothing");
    }
}

#[test]
fn clients_over_tls_end_in_every_way_that_only_it_has() {
    let options = Options { trace: true, ..Options::default() };
    let mut traces = (0..20).map(|seed| run_tls(seed, &options).trace);
    let mut missing = vec![
        "END reason=peer.truncated",
        "END reason=protocol.tls",
        "END reason=peer.fin detector=protocol",
        "handshake: V12",
        "handshake: V12, resumed",
        "handshake: V13, resumed",
        "new keys for tickets",
        "newest: V12, shown: Nothing }, refused",
        "newest: V12, shown: Known }",
        "newest: V13, shown: Unknown }, refused",
        "alert=local:protocol_version",
        "alert=local:certificate_required",
        "alert=local:unknown_ca",
    ];
    while !missing.is_empty() {
        let trace = traces.next().unwrap_or_else(|| panic!("{missing:?} never happened"));
        missing.retain(|what| !trace.iter().any(|line| line.contains(what)));
    }
}

#[test]
fn several_workers_agree_on_who_holds_what() {
    for seed in 0..150 {
        if let Some(failure) = run_workers(seed, None, &Options::default()).failure {
            panic!("seed {seed}: {}\nsee it: linger sim --workers --seed {seed} --trace", failure.what);
        }
    }
}

#[test]
fn who_watches_several_workers_is_told_how_every_connection_has_ended_through_deaths_and_the_drain() {
    let options = Options { trace: true, ..Options::default() };
    let (mut whole, mut not) = (0, 0);
    for seed in 0..60 {
        let Outcome { trace, failure, .. } = run_workers(seed, None, &options);
        assert!(failure.is_none(), "seed {seed}: {failure:?}");
        let has = |what: &str| trace.iter().any(|line| line.contains(what));
        whole += u32::from(has("endings, and was told all"));
        not += u32::from(has("was told that it was not told all"));
    }
    println!("{whole} were told all, {not} that it was not all");
    assert!(whole > 3 * not && whole >= 15, "{whole} were told all, {not} that it was not all");
}

#[test]
fn a_seed_of_several_workers_gives_the_same_run_again() {
    let options = Options { trace: true, ..Options::default() };
    let [one, other]: [Outcome; 2] = [run_workers(7, Some(3), &options), run_workers(7, Some(3), &options)];
    assert!(one.trace.len() > 100);
    assert_eq!(one.trace, other.trace);
    let untraced = run_workers(7, Some(3), &Options::default());
    assert_eq!((untraced.turns, untraced.events), (one.turns, one.events), "looking changes nothing");
}

#[test]
fn every_canary_of_several_workers_is_found_within_a_hundred_seeds() {
    for canary in Canary::OF_WORKERS {
        let options = Options { canary: Some(canary), ..Options::default() };
        let found = (0..100).find(|&seed| run_workers(seed, None, &options).failure.is_some());
        let seed = found.unwrap_or_else(|| panic!("{} was not found", canary.name()));
        println!("{}: seed {seed}", canary.name());
    }
}
