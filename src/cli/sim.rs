//! `linger sim`: runs simulations, says which seed failed and how to see it again.

use super::console;
use crate::core::units::{duration_text, parse_some_time};
use crate::tools::sim::{self, Canary, Options, Outcome};
use clap::Args;
use std::process::ExitCode;

pub(super) const EXAMPLES: &str = "\
Examples:
  linger sim                       a thousand runs, of seeds 0 to 999
  linger sim --seeds 100000 --seed 5000
  linger sim --seed 42 --trace
  linger sim --workers             a supervisor and its workers: two to four, as the seed says
  linger sim --workers 3 --seed 42 --trace
  linger sim --gateway             listeners that relay to servers, which refuse, hang, reset, die, come back
  linger sim --crowd               listeners that limit who comes, and clients that share a few addresses
  linger sim --tls                 listeners that speak TLS, and clients that do, more or less
  linger sim --canary lost-edge    a kernel with a broken rule: must fail

Runs of several workers, of a gateway, of a crowd and of TLS have seeds of their own: with --workers, --gateway, --crowd or --tls,
a seed is another run than without.";

/// Most lines of a failing run that are shown without being asked for.
const LAST_LINES: usize = 40;

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of the command line")]
pub(super) struct Arguments {
    /// How many runs, each with the next seed; 1000, or 1 where --seed is given
    #[arg(long, value_name = "NUMBER")]
    seeds: Option<u64>,
    /// The first seed; alone, the only one
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Print all that happens
    #[arg(long)]
    trace: bool,
    /// Simulated time of each run, such as 10m; drawn by the seed if not given
    #[arg(long, value_name = "DURATION", value_parser = parse_some_time)]
    duration: Option<std::time::Duration>,
    /// Run several workers and their supervisor, so many or as many as the seed says: workers die and stall, clients
    /// of all of them take over each other's identities
    #[arg(long, value_name = "NUMBER", num_args = 0..=1, default_missing_value = "drawn", value_parser = workers)]
    workers: Option<Workers>,
    /// Run a gateway: clients are relayed to servers that have troubles of their own
    #[arg(long, conflicts_with = "workers")]
    gateway: bool,
    /// Limit who comes: by source, by network, by rate and by age
    #[arg(long, conflicts_with_all = ["workers", "gateway"])]
    crowd: bool,
    /// Speak TLS: handshakes that stop or fail, last words that are said or not, records that were damaged
    #[arg(long, conflicts_with_all = ["workers", "gateway", "crowd"])]
    tls: bool,
    /// Break one rule of the simulated kernel, to see that the checks notice; those of links need --workers
    #[arg(long, value_name = "RULE", value_parser = canary)]
    canary: Option<Canary>,
    /// Go on after a failure, and print one line for each
    #[arg(long)]
    keep_going: bool,
}

/// How many workers a run has.
#[derive(Clone, Copy, Debug)]
enum Workers {
    /// As many as its seed draws.
    Drawn,
    Given(u32),
}

fn workers(text: &str) -> Result<Workers, String> {
    match text.parse() {
        Ok(number @ 2..=64) => Ok(Workers::Given(number)),
        _ if text == "drawn" => Ok(Workers::Drawn),
        _ => Err("two to 64, or no number: then the seed says".to_owned()),
    }
}

fn canary(name: &str) -> Result<Canary, String> {
    let all = || Canary::ALL.into_iter().chain(Canary::OF_WORKERS);
    all()
        .find(|canary| canary.name() == name)
        .ok_or_else(|| format!("the rules are {}", all().map(Canary::name).collect::<Vec<_>>().join(", ")))
}

/// Sums over all runs.
#[derive(Default)]
struct Sums {
    runs: u64,
    failed: u64,
    turns: u64,
    events: u64,
    accepted: u64,
    crossed: u64,
    forwarded: u64,
    spliced: u64,
    hours: f64,
    connection_hours: f64,
}

impl Sums {
    fn add(&mut self, outcome: &Outcome) {
        self.runs += 1;
        self.failed += u64::from(outcome.failure.is_some());
        self.turns += outcome.turns;
        self.events += outcome.events;
        self.accepted += outcome.accepted;
        self.crossed += u64::from(outcome.crossed);
        self.forwarded += u64::from(outcome.forwarded);
        self.spliced += outcome.spliced;
        self.hours += outcome.seconds / 3600.0;
        self.connection_hours += outcome.connection_seconds / 3600.0;
    }
}

impl Arguments {
    fn simulate(&self, seed: u64, options: &Options) -> Outcome {
        match self.workers {
            Some(Workers::Given(workers)) => sim::run_workers(seed, Some(workers), options),
            Some(Workers::Drawn) => sim::run_workers(seed, None, options),
            None if self.gateway => sim::run_gateway(seed, options),
            None if self.crowd => sim::run_crowd(seed, options),
            None if self.tls => sim::run_tls(seed, options),
            None => sim::run(seed, options),
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let options = Options { duration: arguments.duration, trace: arguments.trace, canary: arguments.canary };
    let first = arguments.seed.unwrap_or(0);
    let count = arguments.seeds.unwrap_or(if arguments.seed.is_some() { 1 } else { 1000 });
    let clock = crate::cli::serve::clock();
    let mut sums = Sums::default();
    for seed in (first..).take(usize::try_from(count).unwrap_or(usize::MAX)) {
        let outcome = arguments.simulate(seed, &options);
        sums.add(&outcome);
        if arguments.trace {
            let mut text = outcome.trace.join("\n");
            text.push('\n');
            if let Err(error) = console::out(text.as_bytes()) {
                return super::failure(&error);
            }
        }
        if let Some(failure) = &outcome.failure {
            console::err(format_args!("seed {seed} failed: {}", failure.what));
            if !arguments.keep_going {
                explain(seed, arguments, &options);
                break;
            }
        }
    }
    match summarize(&sums, clock().as_secs_f64()) {
        Ok(()) => {
            if sums.failed == 0 {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => super::failure(&error),
    }
}

/// The same run again, with its last lines.
fn explain(seed: u64, arguments: &Arguments, options: &Options) {
    if !arguments.trace {
        let again = arguments.simulate(seed, &Options { trace: true, ..options.clone() });
        let from = again.trace.len().saturating_sub(LAST_LINES);
        for line in &again.trace[from..] {
            console::err(line);
        }
    }
    let canary = arguments.canary.map(|canary| format!(" --canary {}", canary.name())).unwrap_or_default();
    let duration = arguments
        .duration
        .map(|duration| format!(" --duration {}", duration_text(duration)))
        .unwrap_or_default();
    let workers = match arguments.workers {
        Some(Workers::Given(workers)) => format!(" --workers {workers}"),
        Some(Workers::Drawn) => " --workers".to_owned(),
        None if arguments.gateway => " --gateway".to_owned(),
        None if arguments.crowd => " --crowd".to_owned(),
        None if arguments.tls => " --tls".to_owned(),
        None => String::new(),
    };
    console::err(format_args!("all of it: linger sim --seed {seed} --trace{workers}{duration}{canary}"));
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn summarize(sums: &Sums, seconds: f64) -> std::io::Result<()> {
    let seconds = seconds.max(1e-9);
    let if_any =
        |count: u64, what: &str| if count == 0 { String::new() } else { format!(", {count} {what}") };
    let pairs = if_any(sums.forwarded, "forwarded") + &if_any(sums.spliced, "bytes spliced");
    let text = format!(
        "{} runs, {} failed: {:.1} h simulated, {} connections lived {:.1} h; {} turns, {} events, {} crossed \
         FINs{pairs}\n{seconds:.2} s: {:.0} seeds/s, {:.0} connection hours/s\n",
        sums.runs,
        sums.failed,
        sums.hours,
        sums.accepted,
        sums.connection_hours,
        sums.turns,
        sums.events,
        sums.crossed,
        sums.runs as f64 / seconds,
        sums.connection_hours / seconds,
    );
    console::out(text.as_bytes())
}
