//! Who uses the admin interface, how far each has got, and the endings that were ordered there.

use super::endings::Order;
use crate::core::table::Key;
use crate::core::time::Instant;
use crate::observe::events::Position;
use crate::observe::metrics::{self, Census};
use crate::observe::ring::Place;
use crate::protocol::admin::{EndsQuery, EventsQuery, ListQuery, Session};
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
    /// Clients that the operator ends at a pace.
    pub(in crate::reactor) endings: Vec<Order>,
    /// The supervisor has been told all that happened, and is to be told when something happens.
    pub(in crate::reactor) supervisor_watches: bool,
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
    /// It watches, and has been told all that happened.
    Watching(Box<Page>),
}

impl Http {
    pub(in crate::reactor) fn new(now: Instant) -> Self {
        Self { session: Box::default(), stage: Stage::Idle, queued: false, used: now }
    }

    /// Whether nothing that it has asked for is outstanding.
    pub(in crate::reactor) const fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Idle)
    }

    /// Whether something is to be done for it now.
    pub(in crate::reactor) const fn is_busy(&self) -> bool {
        matches!(self.stage, Stage::Asking | Stage::Taking(_))
    }

    /// Whether it has been told all that it watches for.
    pub(in crate::reactor) const fn is_watching(&self) -> bool {
        matches!(self.stage, Stage::Watching(_))
    }

    /// It is to be told more, if it watches. Whether it does.
    pub(in crate::reactor) fn wake(&mut self) -> bool {
        let stage = std::mem::replace(&mut self.stage, Stage::Idle);
        let is_woken = matches!(stage, Stage::Watching(_));
        self.stage = if let Stage::Watching(page) = stage { Stage::Taking(page) } else { stage };
        is_woken
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

    /// The connection of the interface at that place among them.
    pub(in crate::reactor) fn open_at(&self, place: usize) -> Option<Key> {
        self.open.get_index(place).copied()
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
    Watch(Watch),
}

/// What came of going on with an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::reactor) enum Produced {
    /// Its share is spent, and there is more.
    Some,
    /// There is no more now, and there may be later.
    AllForNow,
    /// It is finished.
    All,
}

/// What happens, as it happens.
pub(in crate::reactor) struct Watch {
    pub(in crate::reactor) query: EventsQuery,
    /// How far its reader is; `None`: it was told nothing yet.
    pub(in crate::reactor) at: Option<Position>,
    /// Nothing happened for a while, and its reader is to know that the server is there.
    pub(in crate::reactor) is_alive_due: bool,
    /// The server ends: it is told all that happened, and nothing more.
    pub(in crate::reactor) is_last: bool,
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

    pub(in crate::reactor) const fn watch(query: EventsQuery) -> Self {
        Self::Watch(Watch { query, at: None, is_alive_due: false, is_last: false })
    }

    pub(in crate::reactor) fn metrics() -> Self {
        Self::Metrics(Metrics::default())
    }
}
