//! All rows, some of them at once.

use super::case::Case;
use super::expect::Left;
use super::foreign::{self, Finding, Row, Subject};
use super::method::Method;
use super::path::Path;
use super::row::{Outcome, play};
use super::settings::Settings;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What is to be tried.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What lies between client and server.
    pub path: Path,
    /// The rows.
    pub cases: Vec<Case>,
    /// The columns.
    pub methods: Vec<Method>,
    /// The times.
    pub settings: Settings,
    /// How many rows at once.
    pub jobs: usize,
}

/// What a plan's progress is told by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// A row begins.
    Begins(Case),
    /// A cell is decided.
    Decided(Case),
    /// A row has ended, and all in it is as expected, or not.
    Ends(Case, bool),
}

/// Plays all rows. The outcomes are in the order of the plan.
pub fn run(plan: &Plan, notify: &(dyn Fn(Step) + Sync)) -> Vec<Outcome> {
    let one = |case| {
        notify(Step::Begins(case));
        play(case, plan.path, &plan.methods, &plan.settings, &|| notify(Step::Decided(case)))
    };
    let failed = |case, why| Outcome { case, cells: Vec::new(), failure: Some(why) };
    at_once(&plan.cases, plan.jobs, &one, &failed, &|case, outcome| {
        notify(Step::Ends(case, outcome.is_right()));
    })
}

/// Plays all rows against a foreign server, in the order of the cases.
pub fn run_foreign(
    cases: &[Case],
    jobs: usize,
    subject: &Subject,
    notify: &(dyn Fn(Step) + Sync),
) -> Vec<Row> {
    let one = |case| {
        notify(Step::Begins(case));
        foreign::play(case, subject)
    };
    let failed = |case, why| {
        let left = Left { server: "", client: "" };
        Row { case, finding: Finding::Failed(why), left, log: Vec::new() }
    };
    at_once(cases, jobs, &one, &failed, &|case, row| {
        notify(Step::Ends(case, !matches!(row.finding, Finding::Failed(_))));
    })
}

/// Plays the cases, `jobs` of them at once; a panic is one case's failure.
fn at_once<T: Clone + Send>(
    cases: &[Case],
    jobs: usize,
    play: &(dyn Fn(Case) -> T + Sync),
    failed: &(dyn Fn(Case, String) -> T + Sync),
    done: &(dyn Fn(Case, &T) + Sync),
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let outcomes: Mutex<Vec<Option<T>>> = Mutex::new(vec![None; cases.len()]);
    // A child is killed when the thread ends that has started it: a row is set up, played and cleared away by one.
    let work = || {
        while let Some((index, &case)) = cases.iter().enumerate().nth(next.fetch_add(1, Ordering::Relaxed)) {
            let played = catch_unwind(AssertUnwindSafe(|| play(case)));
            let outcome = played.unwrap_or_else(|panic| {
                let words = panic.downcast_ref::<&str>().map(|words| (*words).to_owned());
                let words = words.or_else(|| panic.downcast_ref::<String>().cloned());
                failed(case, words.unwrap_or_else(|| "a panic".into()))
            });
            done(case, &outcome);
            outcomes.lock().expect("nobody panics with the lock")[index] = Some(outcome);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, cases.len().max(1)) {
            scope.spawn(work);
        }
    });
    let outcomes = outcomes.into_inner().expect("nobody panics with the lock");
    outcomes.into_iter().map(|outcome| outcome.expect("every row was played")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_in_order_and_a_panic_is_one_rows_failure() {
        let play = |case: Case| {
            assert!(case != Case::Kill, "as it had to come");
            case.name().to_owned()
        };
        let cases = &Case::ALL[..6];
        let played = at_once(cases, 3, &play, &|case, why| format!("{case}: {why}"), &|_, _| {});
        assert_eq!(
            played,
            ["goodbye", "close", "half-close", "reset", "kill: as it had to come", "kill-unread"]
        );
    }
}
