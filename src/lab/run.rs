//! All rows, some of them at once.

use super::case::Case;
use super::method::Method;
use super::row::{Outcome, play};
use super::settings::Settings;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What is to be tried.
#[derive(Clone, Debug)]
pub struct Plan {
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
pub fn run(plan: &Plan, tell: &(dyn Fn(Step) + Sync)) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let outcomes: Mutex<Vec<Option<Outcome>>> = Mutex::new(vec![None; plan.cases.len()]);
    // A child is killed when the thread ends that has started it: a row is set up, played and cleared away by one.
    let work = || {
        while let Some((index, &case)) =
            plan.cases.iter().enumerate().nth(next.fetch_add(1, Ordering::Relaxed))
        {
            tell(Step::Begins(case));
            let decided = || tell(Step::Decided(case));
            let played =
                catch_unwind(AssertUnwindSafe(|| play(case, &plan.methods, &plan.settings, &decided)));
            let outcome = played.unwrap_or_else(|panic| {
                let why = panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "a panic".into());
                Outcome { case, cells: Vec::new(), failure: Some(why) }
            });
            tell(Step::Ends(case, outcome.is_right()));
            outcomes.lock().expect("nobody panics with the lock")[index] = Some(outcome);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..plan.jobs.clamp(1, plan.cases.len().max(1)) {
            scope.spawn(work);
        }
    });
    let outcomes = outcomes.into_inner().expect("nobody panics with the lock");
    outcomes.into_iter().map(|outcome| outcome.expect("every row was played")).collect()
}
