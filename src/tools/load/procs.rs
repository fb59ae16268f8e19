//! Several processes that report as one: each plays its part of the clients, and says on its standard output, a
//! JSON line at a time, what it sees. The load begins in all of them at once, when the last is ready.

use super::engine::{Engine, News, Outcome, Phase};
use super::plan::Plan;
use super::stats::Interval;
use crate::core::time::Duration;
use crate::net::{Fatal, Kernel as _, Signal};
use crate::sys::connect::{ChildSignal, signal_child, wake_on_time};
use crate::sys::{Os, limits};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};

/// What makes a process play one part of a run; `INDEX/OF/PREFIX` follows it, and nothing else.
pub const PART: &str = "--as-part";

/// How often the first process looks for a signal while it listens to the others.
const LOOK: Duration = Duration::from_millis(50);

/// What a process says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// All its connections are up.
    Ready,
    /// A second has passed.
    Interval(Phase, Box<Interval>),
    /// It is done.
    Done(Box<Outcome>),
    /// The run makes no sense: what was tried, and why it cannot be.
    Failed(String, String),
}

/// Plays the whole run in this process.
pub(super) fn alone(plan: &Plan, on: &mut dyn FnMut(Phase, &Interval)) -> Result<Outcome, Fatal> {
    let engine = engine(plan.part(0, 1), false)?;
    engine.run(&mut |news| {
        if let News::Interval(phase, interval) = news {
            on(phase, &interval);
        }
        true
    })
}

fn engine(plan: Plan, wait_for_go: bool) -> Result<Engine, Fatal> {
    /// Those that are nobody's connection.
    const OTHERS: u64 = 64;
    limits::raise_descriptors();
    limits::reserve_descriptors(u64::from(plan.connections) + OTHERS);
    wake_on_time();
    Ok(Engine::new(Os::new()?, plan, wait_for_go))
}

/// Plays part `index` of `of` of the run, and says so on standard output.
pub fn work(plan: &Plan, index: u32, of: u32) {
    let outcome = engine(plan.part(index, of), true).and_then(|engine| {
        engine.run(&mut |news| {
            say(&match news {
                News::Ready => Line::Ready,
                News::Interval(phase, interval) => Line::Interval(phase, interval),
            })
        })
    });
    say(&match outcome {
        Ok(outcome) => Line::Done(Box::new(outcome)),
        Err(Fatal { what, why }) => Line::Failed(what, why),
    });
}

/// Whether anybody reads it.
fn say(line: &Line) -> bool {
    let mut text = serde_json::to_string(line).expect("numbers and text are JSON");
    text.push('\n');
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_ok()
}

/// The processes of a run, and what is heard from them.
struct Crew {
    children: Vec<Child>,
    lines: Receiver<(usize, Option<Line>)>,
}

impl Crew {
    /// Starts this program `procs` times with `arguments`, and its part of the run.
    fn start(arguments: &[String], prefix: &str, procs: u32) -> Result<Self, Fatal> {
        let cannot =
            |why: std::io::Error| Fatal { what: format!("start {procs} processes"), why: why.to_string() };
        let program = std::env::current_exe().map_err(cannot)?;
        let (sender, lines) = mpsc::channel();
        let mut crew = Self { children: Vec::new(), lines };
        for index in 0..procs {
            let mut child = Command::new(&program)
                .args(arguments)
                .args([PART, &format!("{index}/{procs}/{prefix}")])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                // Ctrl-C is for the first process to pass on, once.
                .process_group(0)
                .spawn()
                .map_err(cannot)?;
            let output = child.stdout.take().expect("it is piped");
            crew.children.push(child);
            let sender = sender.clone();
            let number = index as usize;
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if sender.send((number, serde_json::from_str(&line).ok())).is_err() {
                        return;
                    }
                }
                let _ = sender.send((number, None));
            });
        }
        Ok(crew)
    }

    fn signal(&self, signal: ChildSignal) {
        for child in &self.children {
            signal_child(child.id(), signal);
        }
    }
}

impl Drop for Crew {
    /// None is left behind, whatever happened.
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What was heard from the crew so far.
struct Heard {
    ready: usize,
    intervals: Vec<VecDeque<(Phase, Interval)>>,
    done: Vec<Option<Outcome>>,
}

/// Plays the run in `procs` processes, and adds up what they say.
pub(super) fn together(
    arguments: &[String],
    prefix: &str,
    procs: u32,
    on: &mut dyn FnMut(Phase, &Interval),
) -> Result<Outcome, Fatal> {
    let mut signals = Os::new()?;
    let crew = Crew::start(arguments, prefix, procs)?;
    let all = crew.children.len();
    let mut heard =
        Heard { ready: 0, intervals: vec![VecDeque::new(); all], done: (0..all).map(|_| None).collect() };
    while heard.done.iter().any(Option::is_none) {
        pass_on_signals(&mut signals, &crew)?;
        match crew.lines.recv_timeout(LOOK) {
            Ok((_, Some(Line::Ready))) => {
                heard.ready += 1;
                if heard.ready == all {
                    crew.signal(ChildSignal::Go);
                }
            }
            Ok((number, Some(Line::Interval(phase, interval)))) => {
                heard.intervals[number].push_back((phase, *interval));
                heard.report_whole_seconds(on);
            }
            Ok((number, Some(Line::Done(outcome)))) => {
                heard.done[number] = Some(*outcome);
                heard.report_whole_seconds(on);
            }
            Ok((_, Some(Line::Failed(what, why)))) => return Err(Fatal { what, why }),
            // Its output ends as it does, after it has said that it is done.
            Ok((number, None)) if heard.done[number].is_some() => {}
            Ok((number, None)) => {
                let why = "it ended without a word; was it killed?".to_owned();
                return Err(Fatal { what: format!("hear of process {number}"), why });
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Ok(heard.sum())
}

fn pass_on_signals(os: &mut Os, crew: &Crew) -> Result<(), Fatal> {
    os.poll(Some(Duration::ZERO), &mut Vec::new())?;
    while let Some(signal) = os.next_signal() {
        if signal == Signal::Terminate {
            crew.signal(ChildSignal::End);
        }
    }
    Ok(())
}

impl Heard {
    /// Tells each second that has come from all that are still at it.
    fn report_whole_seconds(&mut self, on: &mut dyn FnMut(Phase, &Interval)) {
        loop {
            let missing = self
                .intervals
                .iter()
                .zip(&self.done)
                .any(|(seconds, done)| seconds.is_empty() && done.is_none());
            if missing || self.intervals.iter().all(VecDeque::is_empty) {
                return;
            }
            let mut parts = self.intervals.iter_mut().filter_map(VecDeque::pop_front);
            let Some((phase, mut whole)) = parts.next() else { return };
            parts.for_each(|(_, part)| whole.merge(&part));
            on(phase, &whole);
        }
    }

    fn sum(self) -> Outcome {
        let mut outcomes = self.done.into_iter().flatten();
        let mut sum = outcomes.next().unwrap_or_default();
        for outcome in outcomes {
            sum.totals.merge(&outcome.totals);
            sum.verdicts = match (sum.verdicts, outcome.verdicts) {
                (Some(mut all), Some(more)) => {
                    all.merge(more);
                    Some(all)
                }
                (all, more) => all.or(more),
            };
        }
        sum
    }
}
