//! Audits of ourselves: what is kept of the last one, and the one that is under way.

use crate::core::table::Key;
use crate::core::time::{Duration, Instant};
use crate::net::{Families, SocketQuery, SocketRow};
use crate::observe::audit::Anomaly;
use crate::observe::audit::compare::{Comparison, Memory, Outcome};

/// The audits.
#[derive(Debug, Default)]
pub(in crate::reactor) struct Audits {
    /// The next step can be made.
    due: bool,
    running: Option<Box<Running>>,
    /// What it found of ours that policy ends, and that is still to be ended.
    ending: Vec<(Key, Anomaly)>,
    memory: Memory,
    /// The last one that came to its end.
    last: Option<Box<Past>>,
    /// Since when each kind has been there, audit after audit.
    since: [Option<Instant>; Anomaly::ALL.len()],
    /// It was said that the kernel does not tell.
    refused: bool,
    /// Longest step since the start.
    step_max: Duration,
}

/// One that is over.
#[derive(Debug)]
pub(in crate::reactor) struct Past {
    /// When the audit ended.
    pub(in crate::reactor) at: Instant,
    /// How long it took.
    pub(in crate::reactor) took: Duration,
    /// What it found.
    pub(in crate::reactor) outcome: Outcome,
}

/// One that is under way.
#[derive(Debug)]
pub(in crate::reactor) struct Running {
    pub(in crate::reactor) comparison: Comparison,
    pub(in crate::reactor) query: SocketQuery,
    pub(in crate::reactor) families: Families,
    pub(in crate::reactor) slots: usize,
    pub(in crate::reactor) step: Step,
}

/// What is to be done next, in temporal order.
#[derive(Debug)]
pub(in crate::reactor) enum Step {
    /// Connections go into the index, from this slot on.
    Index(usize),
    /// The kernel's rows come in.
    Rows(Vec<SocketRow>),
    /// Connections that no row was seen of are looked for, from this slot on.
    Unseen(usize),
}

/// What to do in a step.
pub(in crate::reactor) enum Todo {
    /// The next step of this one.
    Step(Box<Running>),
    /// To end the next of those that were found wrong.
    End,
    /// There was no need to ask.
    Nothing,
}

impl Audits {
    /// Whether the next step can be made.
    pub(in crate::reactor) const fn is_due(&self) -> bool {
        self.due
    }

    /// Something has come that the next step may wait for.
    pub(in crate::reactor) const fn note(&mut self) {
        self.due = true;
    }

    /// Whether one can begin: none is under way.
    pub(in crate::reactor) fn are_over(&self) -> bool {
        self.running.is_none() && self.ending.is_empty()
    }

    /// What the next step is.
    pub(in crate::reactor) fn next_step(&mut self) -> Todo {
        self.due = false;
        match self.running.take() {
            Some(running) => Todo::Step(running),
            None if self.ending.is_empty() => Todo::Nothing,
            None => Todo::End,
        }
    }

    /// The next step is made next turn.
    pub(in crate::reactor) fn post(&mut self, running: Box<Running>) {
        self.wait(running);
        self.due = true;
    }

    /// The next step is made when the kernel has told more.
    pub(in crate::reactor) fn wait(&mut self, running: Box<Running>) {
        self.running = Some(running);
    }

    /// A step was made.
    pub(in crate::reactor) fn stepped(&mut self, took: Duration) {
        self.step_max = self.step_max.max(took);
    }

    /// What the one before remembered.
    pub(in crate::reactor) fn take_memory(&mut self) -> Memory {
        std::mem::take(&mut self.memory)
    }

    /// One could not go on. Returns whether that is new.
    pub(in crate::reactor) fn abandon(&mut self, memory: Memory) -> bool {
        self.memory = memory;
        !std::mem::replace(&mut self.refused, true)
    }

    /// One is over; some of what it has found is to be ended.
    pub(in crate::reactor) fn conclude(&mut self, past: Past, memory: Memory, ending: Vec<(Key, Anomaly)>) {
        self.memory = memory;
        self.refused = false;
        self.last = Some(Box::new(past));
        self.ending = ending;
    }

    /// The next of those that are to be ended.
    pub(in crate::reactor) fn next_to_end(&mut self) -> Option<(Key, Anomaly)> {
        self.ending.pop()
    }

    /// Since when a kind has been there, audit after audit.
    pub(in crate::reactor) const fn since(&mut self, anomaly: Anomaly) -> &mut Option<Instant> {
        &mut self.since[anomaly as usize]
    }

    /// Gives all up that is not known for certain.
    pub(in crate::reactor) fn stop(&mut self) {
        self.due = false;
        self.running = None;
        self.ending = Vec::new();
    }

    /// The last one that came to its end.
    pub(in crate::reactor) const fn last(&self) -> Option<&Past> {
        match &self.last {
            Some(past) => Some(past),
            None => None,
        }
    }

    /// Longest step since the start.
    pub(in crate::reactor) const fn step_max(&self) -> Duration {
        self.step_max
    }
}
