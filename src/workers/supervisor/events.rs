//! What happens at all workers, told to who watches as it happens. Each worker is asked for what is behind the last event that
//! was told of it; one that has told all says once when there is more. So nobody asks for nothing, and who reads slowly makes
//! nobody keep anything for it: what it has not taken stays in the ring of the worker, until that drops it.
//!
//! The supervisor's own events are those of a worker with the number 0. Events of different workers are told in the order in
//! which they come here; those of one worker in theirs.

use super::admin_fanout::ANSWER_WITHIN;
use super::admin_server::{AdminServer, ClientId};
use super::worker::Worker;
use crate::core::time::{Duration, Instant};
use crate::core::units::utc_text;
use crate::net::Supervising;
use crate::observe::answers::events;
use crate::observe::events::{Events, Position};
use crate::protocol::admin::{Cursor, EventsQuery};
use crate::workers::link::{About, Content, EventRow, EventRows, Question};
use serde_json::{Map, Value};

/// The number that the supervisor has among the workers.
const OWN: u32 = 0;

/// What the supervisor itself knows of, and what time it is.
pub(super) struct OwnEvents<'a> {
    pub(super) events: &'a mut Events,
    pub(super) unix_time: Option<Duration>,
    pub(super) now: Instant,
}

/// One who watches.
pub(super) struct Watch {
    pub(super) client: ClientId,
    /// Of its questions.
    number: u64,
    query: EventsQuery,
    /// How far it is with the supervisor's own.
    own: Option<Position>,
    parts: Vec<Part>,
    /// Until when the workers may take to answer before it is told the first word; `None`: it was told.
    begins: Option<Instant>,
    /// Of what it asked for, so many are missing; `None`: nobody knows.
    missed: Option<u64>,
    /// When it is told that the server is there.
    alive_at: Instant,
    /// What is to be told of the workers.
    rows: Vec<(usize, EventRow)>,
    /// It was too slow, and so many had to make way.
    dropped: Option<u64>,
}

/// How far it is with one worker.
struct Part {
    worker: u32,
    stage: Stage,
    /// `None`: it has answered nothing yet.
    read: Option<Position>,
    /// The number of the last one that was told, or behind which it begins.
    told: Option<u64>,
    /// The worker ends, and this is the number of its last one.
    last: Option<u64>,
}

/// Where a worker is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// It is to be asked.
    Due,
    /// It was asked.
    Asked,
    /// It says when there is more.
    UpToDate,
    /// It does not run.
    Gone,
}

impl Watch {
    pub(super) fn new<K: Supervising>(
        client: ClientId,
        number: u64,
        query: EventsQuery,
        workers: &[Worker<K>],
        now: Instant,
    ) -> Self {
        let part = |worker: &Worker<K>| {
            let told = query.after.as_ref().and_then(|cursor| cursor.of(Some(worker.number)));
            Part { worker: worker.number, stage: Stage::Due, read: None, told, last: None }
        };
        let parts = workers.iter().map(part).collect();
        Self {
            client,
            number,
            query,
            own: None,
            parts,
            begins: Some(now + ANSWER_WITHIN),
            missed: Some(0),
            alive_at: now + events::ALIVE,
            rows: Vec::new(),
            dropped: None,
        }
    }

    pub(super) fn on_answer(&mut self, place: usize, content: Content) {
        let part = &mut self.parts[place];
        let Content::Events(EventRows { rows, read, missed, is_dropped, more }) = content else { return };
        if part.stage != Stage::Asked {
            return;
        }
        part.stage = if more { Stage::Due } else { Stage::UpToDate };
        if part.read.replace(read).is_none() {
            // Behind what is missing.
            part.told = Some(rows.first().map_or(read.number, |first| first.number - 1));
        }
        // What is missing at first is told with the first word, and is a gap where that was said.
        if is_dropped || (self.begins.is_none() && missed.is_some_and(|missed| missed > 0)) {
            self.dropped = missed;
        } else {
            self.missed = self.missed.zip(missed).map(|(all, missed)| all + missed);
        }
        self.rows.extend(rows.into_iter().map(|row| (place, row)));
    }

    /// A worker has something to tell.
    pub(super) fn on_events(&mut self, place: usize) {
        let part = &mut self.parts[place];
        if part.stage == Stage::UpToDate {
            part.stage = Stage::Due;
        }
    }

    /// A worker's process was started, which keeps events from the first on: it is asked for all that it has.
    pub(super) fn on_started(&mut self, place: usize) {
        let part = &mut self.parts[place];
        *part = Part { worker: part.worker, stage: Stage::Due, read: None, told: Some(0), last: None };
    }

    /// A worker has nothing left to do than to tell what happened, up to the event of that number.
    pub(super) fn on_leaving(&mut self, place: usize, last: u64) {
        self.parts[place].last = Some(last);
        self.on_events(place);
    }

    /// Whether a worker has nothing left to tell.
    pub(super) fn is_done_with(&self, place: usize) -> bool {
        matches!(self.parts[place].stage, Stage::UpToDate | Stage::Gone)
    }

    /// A worker has ended. If it could not wait until its last ones were taken, they are gone with it.
    pub(super) fn on_gone(&mut self, place: usize) {
        let part = &mut self.parts[place];
        part.stage = Stage::Gone;
        let told = part.read.map(|read| read.number).or(part.told);
        let left = part.last.zip(told).map_or(0, |(last, told)| last.saturating_sub(told));
        if left > 0 {
            self.dropped = Some(self.dropped.unwrap_or(0) + left);
        }
    }

    /// When it is to be looked at, whatever happens.
    pub(super) fn due(&self) -> Instant {
        self.begins.unwrap_or(Instant::NEVER).min(self.alive_at)
    }

    /// Goes on, as far as its reader has room. Whether it is over.
    pub(super) fn advance<K: Supervising>(
        &mut self,
        workers: &mut [Worker<K>],
        admin: &mut AdminServer<K>,
        own: &mut OwnEvents<'_>,
        now: Instant,
    ) -> bool {
        match admin.has_room(self.client) {
            None => return true,
            // What it has not taken is not asked for.
            Some(false) => {
                self.alive_at = now + events::ALIVE;
                return false;
            }
            Some(true) => self.ask(workers),
        }
        let mut out = String::new();
        if let Some(until) = self.begins {
            if now < until && self.parts.iter().any(|part| part.stage == Stage::Asked) {
                return false;
            }
            self.begin(own, &mut out);
        }
        let is_over = self.go_on(own, &mut out);
        if is_over {
            admin.piece(self.client, &out, true);
            return true;
        }
        if out.is_empty() && self.alive_at <= now {
            events::alive(&self.id(), &mut out);
        }
        if !out.is_empty() {
            self.alive_at = now + events::ALIVE;
            admin.piece(self.client, &out, false);
        }
        false
    }

    /// Tells what is left, and that this is all.
    pub(super) fn end<K: Supervising>(&mut self, admin: &mut AdminServer<K>, own: &mut OwnEvents<'_>) {
        let mut out = String::new();
        if self.begins.is_some() {
            self.begin(own, &mut out);
        }
        self.go_on(own, &mut out);
        admin.piece(self.client, &out, true);
    }

    /// Tells what is known by now: that a worker has ended comes behind what happened there. Whether it is over, because
    /// something had to make way.
    fn go_on(&mut self, own: &OwnEvents<'_>, out: &mut String) -> bool {
        self.write_events(out);
        self.write_own(own, out);
        if let Some(missed) = self.dropped {
            events::dropped(&self.id(), missed, out);
        }
        self.dropped.is_some()
    }

    /// Asks those who may have something.
    fn ask<K: Supervising>(&mut self, workers: &mut [Worker<K>]) {
        for (part, worker) in self.parts.iter_mut().zip(workers) {
            if part.stage != Stage::Due {
                continue;
            }
            let after = part.told.map(|number| Cursor(vec![(Some(part.worker), number)]));
            let query = EventsQuery { after, ..self.query.clone() };
            let question = Question { number: self.number, about: About::Events { query, from: part.read } };
            // One that is being started answers in its second turn, before it is said that the watch has begun.
            part.stage = match (worker.ask_ahead(&question), worker.pid()) {
                (true, _) => Stage::Asked,
                // It does not take questions now: with the next turn.
                (false, Some(_)) => Stage::Due,
                (false, None) => Stage::Gone,
            };
        }
    }

    /// Tells the first word: where it begins, and what is missing.
    fn begin(&mut self, own: &mut OwnEvents<'_>, out: &mut String) {
        self.begins = None;
        let after = self.query.after.as_ref().and_then(|cursor| cursor.of(Some(OWN)));
        let (at, missed) = own.events.begin(after);
        self.own = Some(at);
        let missed = self.missed.zip(missed).map(|(all, missed)| all + missed);
        events::begin(&self.id(), missed, own.unix_time.map(utc_text).as_deref(), out);
    }

    /// Tells what the supervisor itself knows.
    fn write_own(&mut self, own: &OwnEvents<'_>, out: &mut String) {
        while let Some(at) = self.own
            && let Some((place, _)) = own.events.after(&at)
            && let Some(event) = own.events.get(place)
        {
            let number = event.number();
            self.own = Some(Position { number, place: Some(place) });
            if !self.query.wants_kind(event.kind()) {
                continue;
            }
            let mut fields = Map::new();
            event.add_fields(&mut fields);
            let age = own.now.since(event.at());
            let time = own.unix_time.map(|unix_time| utc_text(unix_time.saturating_sub(age)));
            events::fields(&mut fields, number, event.kind(), time.as_deref(), None);
            events::write(&self.id(), event.kind(), &Value::Object(fields).to_string(), out);
        }
    }

    /// Tells what workers have told.
    fn write_events(&mut self, out: &mut String) {
        for (place, row) in std::mem::take(&mut self.rows) {
            self.parts[place].told = Some(row.number);
            events::write(&self.id(), row.kind, &row.text, out);
        }
        // What was looked at and not told need not be looked at again.
        for part in self.parts.iter_mut().filter(|part| part.stage == Stage::UpToDate) {
            part.told = part.read.map(|read| read.number).or(part.told);
        }
    }

    /// With which id a reader goes on behind what it was told.
    fn id(&self) -> Cursor {
        let own = self.own.iter().map(|at| (Some(OWN), at.number));
        let told = self.parts.iter().filter_map(|part| Some((Some(part.worker), part.told?)));
        Cursor(own.chain(told).collect())
    }
}
