//! Who uses the admin interface, and how far each has got.

use crate::core::table::Key;
use crate::core::time::Instant;
use crate::observe::history::Place;
use crate::observe::metrics::{self, Census};
use crate::protocol::admin::{EndsQuery, ListQuery, Session};
use crate::workers::link::Question;
use indexmap::IndexSet;
use std::collections::VecDeque;

/// Who uses the interface.
#[derive(Default)]
pub(in crate::reactor) struct Admin {
    /// Those who have asked and are not answered yet, each once.
    queue: VecDeque<Asker>,
    /// The connections of the interface.
    open: IndexSet<Key>,
}

/// One who has asked.
pub(in crate::reactor) enum Asker {
    Connection(Key),
    Supervisor(Box<Question>),
    /// The supervisor, which is told metrics: the number of its question, and what is left of them.
    Metrics(u64, Box<Metrics>),
}

/// What the interface remembers of one connection.
pub(in crate::reactor) struct Http {
    /// In a box: clients of other protocols must not pay for its size.
    pub(in crate::reactor) session: Box<Session>,
    pub(in crate::reactor) stage: Stage,
    /// It is in the queue.
    pub(in crate::reactor) queued: bool,
    /// When it was accepted, or had its last answer.
    pub(in crate::reactor) used: Instant,
}

/// Where a connection is, from request to request.
pub(in crate::reactor) enum Stage {
    /// It has not asked for anything that it has not got.
    Idle,
    /// Its input may have a whole request.
    Asking,
    /// It is being answered, as it takes this; the next request waits.
    Taking(Box<Page>),
}

impl Http {
    pub(in crate::reactor) fn new(now: Instant) -> Self {
        Self { session: Box::default(), stage: Stage::Idle, queued: false, used: now }
    }

    /// Whether nothing that it has asked for is outstanding.
    pub(in crate::reactor) const fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Idle)
    }

    pub(in crate::reactor) const fn is_queued(&self) -> bool {
        self.queued
    }
}

impl Admin {
    /// Those who wait for their turn.
    pub(in crate::reactor) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// The next that is served.
    pub(in crate::reactor) fn next(&mut self) -> Option<Asker> {
        self.queue.pop_front()
    }

    /// It is served again when those that wait have been.
    pub(in crate::reactor) fn push(&mut self, asker: Asker) {
        self.queue.push_back(asker);
    }

    /// A connection of the interface was accepted.
    pub(in crate::reactor) fn on_opened(&mut self, key: Key) {
        self.open.insert(key);
    }

    /// A connection of the interface was closed.
    pub(in crate::reactor) fn on_closed(&mut self, key: Key) {
        self.open.swap_remove(&key);
    }

    /// The connections of the interface.
    pub(in crate::reactor) fn open(&self) -> impl Iterator<Item = Key> {
        self.open.iter().copied()
    }

    /// A question of the supervisor.
    pub(in crate::reactor) fn ask(&mut self, question: Question) {
        self.queue.push_back(Asker::Supervisor(Box::new(question)));
    }
}

/// An answer that is being produced.
pub(in crate::reactor) enum Page {
    List(List),
    Ends(Ends),
    Metrics(Metrics),
}

/// A list of connections.
pub(in crate::reactor) struct List {
    pub(in crate::reactor) query: ListQuery,
    /// The next slot of the table.
    pub(in crate::reactor) slot: u32,
    pub(in crate::reactor) matched: u64,
    pub(in crate::reactor) listed: u64,
    /// Rows only, for a supervisor that makes a list of them.
    pub(in crate::reactor) rows_only: bool,
}

/// A list of the last endings.
pub(in crate::reactor) struct Ends {
    pub(in crate::reactor) query: EndsQuery,
    pub(in crate::reactor) stage: EndsStage,
    pub(in crate::reactor) listed: usize,
    /// The number of the newest ending when the list was begun.
    pub(in crate::reactor) newest: u64,
}

/// How far a list of endings is.
#[derive(Clone, Copy)]
pub(in crate::reactor) enum EndsStage {
    /// Nothing is written.
    New,
    /// This is the next to be looked at.
    At(Place),
    /// It is finished.
    Over,
}

/// The metrics.
#[derive(Default)]
pub(in crate::reactor) struct Metrics {
    /// The next slot of the table to be counted.
    pub(in crate::reactor) slot: u32,
    pub(in crate::reactor) census: Census,
    pub(in crate::reactor) page: Option<Box<metrics::Page>>,
}

impl Page {
    pub(in crate::reactor) const fn list(query: ListQuery) -> Self {
        Self::List(List { query, slot: 0, matched: 0, listed: 0, rows_only: false })
    }

    pub(in crate::reactor) const fn ends(query: EndsQuery) -> Self {
        Self::Ends(Ends { query, stage: EndsStage::New, listed: 0, newest: 0 })
    }

    pub(in crate::reactor) fn metrics() -> Self {
        Self::Metrics(Metrics::default())
    }
}
