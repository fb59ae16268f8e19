//! `linger lab`: runs the experiments and prints the matrix.

use super::console;
use crate::core::escape::unescape;
use crate::core::nearest::did_you_mean;
use crate::core::units::parse_some_time;
use crate::tools::lab::case::Case;
use crate::tools::lab::foreign::{Finding, Subject};
use crate::tools::lab::method::Method;
use crate::tools::lab::path::{Path as Way, Transport, Via};
use crate::tools::lab::report::{self, Report};
use crate::tools::lab::run::{self, Plan, Step};
use crate::tools::lab::settings::Settings;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Rows at once, where a row takes seconds: most of one is waiting.
const JOBS_QUICK: usize = 8;

pub(super) const EXAMPLES: &str = "\
Examples:
  linger lab --quick                      every cell, in less than a minute
  linger lab --quick --case freeze --details
  linger lab --method keepalive --method heartbeat
  linger lab --quick --gateway            through a gateway to the server
  linger lab --quick --tls                over TLS
  linger lab --format svg > matrix.svg
  linger lab --quick --format markdown --into src/guide/detection.md
  linger lab --name redis --port 6379 --greet 'PING\\r\\n' --provoke 'LRANGE big 0 -1\\r\\n' \\
      --server 'redis-server --bind {address} --port {port} --protected-mode no'";

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
    #[command(flatten)]
    way: WayArguments,
    /// The shape in which the matrix is told
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    /// Each cell in full: reason, detector, way of closing, and what is left on both sides
    #[arg(long)]
    details: bool,
    /// How many rows at once
    #[arg(long, value_name = "NUMBER")]
    jobs: Option<usize>,
    /// Write markdown into this page, between the lines <!-- lab --> and <!-- /lab -->
    #[arg(long, value_name = "FILE")]
    into: Option<PathBuf>,
    #[command(flatten)]
    foreign: Foreign,
}

/// The way between the clients and the server.
#[derive(Debug, Args)]
struct WayArguments {
    /// Play the rows through a gateway: a listener tcp:// with a server behind it
    ///
    /// It must say of the client what the server says without it. Rows and columns that take a protocol which both sides
    /// know are not tried; each is named with the reason.
    #[arg(long, conflicts_with = "server")]
    gateway: bool,
    /// Play the rows over TLS: the clients speak it, and it ends at the listener
    ///
    /// With --gateway as well, it ends at the gateway.
    #[arg(long, conflicts_with = "server")]
    tls: bool,
}

impl WayArguments {
    const fn way(&self) -> Way {
        Way::new(
            if self.gateway { Via::Gateway } else { Via::Direct },
            if self.tls { Transport::Tls } else { Transport::Plain },
        )
    }
}

/// Another server than ours.
#[derive(Debug, Args)]
#[command(next_help_heading = "Any server, looked at from outside")]
struct Foreign {
    /// Start this server instead, in a shell; {address}, {port} and {case} are filled in
    ///
    /// Each row has a server of its own, in a network of its own. It has noticed when its socket is let go: when the
    /// connection has left the kernel's table, or no program holds it. Linger can be looked at in the same way.
    #[arg(long, value_name = "COMMAND")]
    server: Option<String>,
    /// Where it is told to listen
    #[arg(long, value_name = "PORT", default_value_t = 7000, requires = "server")]
    port: u16,
    /// Its name
    #[arg(long, value_name = "NAME", requires = "server")]
    name: Option<String>,
    /// What a client says first, and what is answered; with \r \n \t \0 \\ \xNN
    #[arg(long, value_name = "BYTES", default_value = "", value_parser = bytes, requires = "server")]
    greet: Bytes,
    /// What a client says every --beat-every as long as it is well: its heartbeat
    #[arg(long, value_name = "BYTES", default_value = "", value_parser = bytes, requires = "server")]
    beat: Bytes,
    /// How often it says that
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = parse_some_time, requires = "server")]
    beat_every: Duration,
    /// What a client says before it closes in an orderly way
    #[arg(long, value_name = "BYTES", default_value = "", value_parser = bytes, requires = "server")]
    goodbye: Bytes,
    /// What makes the server send far more than a small window takes; a client that does not read says it
    #[arg(long, value_name = "BYTES", default_value = "", value_parser = bytes, requires = "server")]
    provoke: Bytes,
    /// What a helper on another connection says first
    #[arg(long, value_name = "BYTES", default_value = "", value_parser = bytes, requires = "server")]
    helper_greet: Bytes,
    /// What the helper says after the fault, to make the server send to the client
    #[arg(long, value_name = "BYTES", default_value = "", value_parser = bytes, requires = "server")]
    helper_provoke: Bytes,
    /// A log that it writes beside its standard output and standard error; {case} is filled in
    #[arg(long, value_name = "FILE", requires = "server")]
    log: Option<String>,
    /// How long to wait for it to notice
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_some_time, requires = "server")]
    patience: Duration,
}

/// Bytes that were written as a word.
#[derive(Clone, Debug)]
struct Bytes(Vec<u8>);

fn bytes(word: &str) -> Result<Bytes, String> {
    unescape(word).map(Bytes)
}

impl Foreign {
    fn subject(&self) -> Option<Subject> {
        let command = self.server.clone()?;
        let program = command.split_whitespace().next().unwrap_or_default();
        let name = program.rsplit('/').next().unwrap_or_default().to_owned();
        Some(Subject {
            name: self.name.clone().unwrap_or(name),
            port: self.port,
            greet: self.greet.0.clone(),
            beat: (!self.beat.0.is_empty()).then(|| (self.beat.0.clone(), self.beat_every)),
            goodbye: self.goodbye.0.clone(),
            provoke: self.provoke.0.clone(),
            helper: [self.helper_greet.0.clone(), self.helper_provoke.0.clone()],
            log: self.log.clone(),
            patience: self.patience,
            command,
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// For programs: everything
    Json,
    /// For a slide
    Svg,
    /// For a page: rounded, so that it stays the same from run to run
    Markdown,
}

fn case(name: &str) -> Result<Case, String> {
    let names = || Case::ALL.iter().map(|case| case.name()).collect::<Vec<_>>().join(", ");
    let meant = || did_you_mean(name, Case::ALL.iter().map(|case| case.name()));
    Case::ALL
        .iter()
        .copied()
        .find(|case| case.name() == name)
        .ok_or_else(|| format!("{}the cases are {}", meant(), names()))
}

fn method(name: &str) -> Result<Method, String> {
    let all = || Method::ALL.iter().copied();
    let names = || all().map(Method::name).collect::<Vec<_>>().join(", ");
    let meant = || did_you_mean(name, all().map(Method::name));
    all()
        .find(|method| [method.name(), method.short()].contains(&name))
        .ok_or_else(|| format!("{}the means are {}", meant(), names()))
}

/// Those that were asked for, in the order of the table; all if none was.
fn chosen<T: Copy + PartialEq>(all: &[T], asked: &[T]) -> Vec<T> {
    all.iter().copied().filter(|one| asked.is_empty() || asked.contains(one)).collect()
}

/// Whether the result can be told as it was asked for. Before anything is tried: it takes minutes.
fn can_be_told(arguments: &Arguments) -> Result<(), String> {
    let foreign = arguments.foreign.server.is_some();
    match &arguments.into {
        _ if foreign && !matches!(arguments.format, Format::Table | Format::Json) => {
            Err("of another server there is a table, and json".into())
        }
        Some(_) if foreign || arguments.format != Format::Markdown => {
            Err("--into writes our own matrix, by --format markdown".into())
        }
        Some(page) => written_into(page, "").map(|_| ()),
        None => Ok(()),
    }
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let ready = can_be_told(arguments);
    if let Err(why) = ready.and_then(|()| crate::tools::lab::enter().map_err(|fatal| fatal.to_string())) {
        console::err(format_args!("linger lab: {why}"));
        return super::usage_mistake();
    }
    let cases = chosen(Case::ALL, &arguments.case);
    match arguments.foreign.subject() {
        Some(subject) => run_foreign(arguments, &cases, &subject),
        None => run_ours(arguments, cases),
    }
}

fn run_ours(arguments: &Arguments, cases: Vec<Case>) -> ExitCode {
    let plan = Plan {
        path: arguments.way.way(),
        methods: chosen(Method::ALL, &arguments.method),
        jobs: arguments.jobs.unwrap_or(if arguments.quick { JOBS_QUICK } else { cases.len() }),
        settings: if arguments.quick { Settings::quick() } else { Settings::realistic() },
        cases,
    };
    let clock = crate::cli::serve::clock();
    let progress = Progress::new(&plan.cases, plan.methods.len());
    let outcomes = run::run(&plan, &|step| progress.notify(step));
    progress.end();
    let report = Report {
        plan,
        outcomes,
        took: clock(),
        kernel: crate::tools::lab::kernel(),
        date: crate::sys::process::today(),
    };
    let text = match arguments.format {
        Format::Table if arguments.details => report::details(&report) + &report::table(&report),
        Format::Table => report::table(&report),
        Format::Json => report::json(&report),
        Format::Svg => report::svg(&report),
        Format::Markdown => report::markdown(&report),
    };
    if arguments.format != Format::Table && !report.is_right() {
        // Elsewhere it would not be seen among the rest.
        for line in report::mistakes(&report) {
            console::err(line);
        }
    }
    let told = match &arguments.into {
        Some(page) => written_into(page, &text).and_then(|new| {
            std::fs::write(page, new).map_err(|error| format!("{}: {error}", page.display()))
        }),
        None => console::out(text.as_bytes()).map_err(|error| format!("writing to standard output: {error}")),
    };
    exit(told, report.is_right())
}

fn run_foreign(arguments: &Arguments, cases: &[Case], subject: &Subject) -> ExitCode {
    let progress = Progress::new(cases, 1);
    let jobs = arguments.jobs.unwrap_or(JOBS_QUICK);
    let rows = run::run_foreign(cases, jobs, subject, &|step| progress.notify(step));
    progress.end();
    let text = match arguments.format {
        Format::Table => report::foreign::table(subject, &rows),
        Format::Json => {
            report::foreign::json(subject, &rows, &crate::tools::lab::kernel(), &crate::sys::process::today())
        }
        Format::Svg | Format::Markdown => unreachable!("can_be_told has refused it"),
    };
    let told = console::out(text.as_bytes()).map_err(|error| format!("writing to standard output: {error}"));
    exit(told, rows.iter().all(|row| !matches!(row.finding, Finding::Failed(_))))
}

/// The page with `text` between its marks.
fn written_into(page: &Path, text: &str) -> Result<String, String> {
    let old = std::fs::read_to_string(page).map_err(|error| format!("{}: {error}", page.display()))?;
    report::between_marks(&old, text)
        .ok_or_else(|| format!("{} has no lines {} and {}", page.display(), report::BEGIN, report::END))
}

fn exit(told: Result<(), String>, right: bool) -> ExitCode {
    match told {
        Ok(()) if right => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(why) => {
            console::err(format_args!("linger lab: {why}"));
            ExitCode::FAILURE
        }
    }
}

/// How far it is: a bar on a terminal, a line a row elsewhere.
struct Progress {
    bar: ProgressBar,
    rows: usize,
    done: AtomicUsize,
    running: Mutex<Vec<Case>>,
}

impl Progress {
    fn new(cases: &[Case], cells: usize) -> Self {
        // On anything but a terminal it draws nothing.
        let bar = ProgressBar::new((cases.len() * cells) as u64);
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len} cells  {elapsed}  {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, rows: cases.len(), done: AtomicUsize::new(0), running: Mutex::new(Vec::new()) }
    }

    fn notify(&self, step: Step) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match step {
            Step::Begins(case) => running.push(case),
            Step::Decided(_) => self.bar.inc(1),
            Step::Ends(case, right) => {
                running.retain(|other| *other != case);
                let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
                if self.bar.is_hidden() {
                    let how = if right { "done" } else { "NOT AS EXPECTED" };
                    console::err(format_args!("{done}/{} {case}: {how}", self.rows));
                }
            }
        }
        self.bar.set_message(running.iter().map(|case| case.name()).collect::<Vec<_>>().join(" "));
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// The hidden command that is a client of an experiment.
pub(super) fn client() -> ExitCode {
    match crate::tools::lab::client::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => {
            console::err(format_args!("linger {}: {fatal}", crate::tools::lab::CLIENT_COMMAND));
            ExitCode::FAILURE
        }
    }
}
