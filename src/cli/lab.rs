//! `linger lab`: runs the experiments and prints the matrix.

use super::console;
use crate::lab::case::Case;
use crate::lab::method::Method;
use crate::lab::report::{self, Report};
use crate::lab::run::{Plan, Step, run as run_plan};
use crate::lab::settings::Settings;
use clap::{Args, ValueEnum};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(super) const EXAMPLES: &str = "\
Examples:
  linger lab --quick                      every cell, in less than a minute
  linger lab --quick --case freeze --details
  linger lab --method keepalive --method heartbeat
  linger lab --format json > matrix.json";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Only this row (repeatable)
    #[arg(long, value_name = "NAME", value_parser = case)]
    case: Vec<Case>,
    /// Only this column (repeatable)
    #[arg(long, value_name = "NAME", value_parser = method)]
    method: Vec<Method>,
    /// Timeouts of seconds instead of the server's defaults
    #[arg(long)]
    quick: bool,
    /// The shape in which the matrix is told
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    /// Each cell in full: reason, detector, way of closing, and what is left on both sides
    #[arg(long)]
    details: bool,
    /// How many rows at once
    #[arg(long, value_name = "NUMBER")]
    jobs: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Format {
    Table,
    Json,
}

fn case(name: &str) -> Result<Case, String> {
    let names = || Case::ALL.iter().map(|case| case.name()).collect::<Vec<_>>().join(", ");
    Case::ALL
        .iter()
        .copied()
        .find(|case| case.name() == name)
        .ok_or_else(|| format!("the cases are {}", names()))
}

fn method(name: &str) -> Result<Method, String> {
    let all = || Method::ALL.iter().copied().filter(|method| method.is_there());
    let names = || all().map(Method::name).collect::<Vec<_>>().join(", ");
    all()
        .find(|method| [method.name(), method.short()].contains(&name))
        .ok_or_else(|| format!("the means are {}", names()))
}

/// Those that were asked for, in the order of the table; all if none was.
fn chosen<T: Copy + PartialEq>(all: &[T], asked: &[T]) -> Vec<T> {
    all.iter().copied().filter(|one| asked.is_empty() || asked.contains(one)).collect()
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    if let Err(fatal) = crate::lab::enter() {
        console::err(format_args!("linger lab: {fatal}"));
        return super::usage_mistake();
    }
    let settings = if arguments.quick { Settings::quick() } else { Settings::realistic() };
    let cases = chosen(Case::ALL, &arguments.case);
    let there: Vec<Method> = Method::ALL.iter().copied().filter(|method| method.is_there()).collect();
    let plan = Plan {
        methods: chosen(&there, &arguments.method),
        jobs: arguments.jobs.unwrap_or(if arguments.quick { 8 } else { cases.len() }),
        cases,
        settings,
    };
    let clock = crate::serve::clock();
    let done = AtomicUsize::new(0);
    let rows = plan.cases.len();
    let outcomes = run_plan(&plan, &|step| match step {
        Step::Begins(_) | Step::Decided(_) => {}
        Step::Ends(case, right) => {
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            let right = if right { "as expected" } else { "NOT AS EXPECTED" };
            console::err(format_args!("{done}/{rows} {case}: {right}"));
        }
    });
    let report = Report {
        plan,
        outcomes,
        took: clock(),
        kernel: crate::lab::kernel(),
        date: crate::sys::process::today(),
    };
    let text = match arguments.format {
        Format::Table if arguments.details => report::table(&report) + &report::details(&report),
        Format::Table => report::table(&report),
        Format::Json => report::json(&report),
    };
    match console::out(text.as_bytes()) {
        Ok(()) if report.is_right() => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => super::failure(&error),
    }
}

/// The hidden command that is a client of an experiment.
pub(super) fn client() -> ExitCode {
    match crate::lab::client::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => {
            console::err(format_args!("linger {}: {fatal}", crate::lab::CLIENT_COMMAND));
            ExitCode::FAILURE
        }
    }
}
