//! Lists of the connections of all workers, as their reader takes them. A worker is asked for a page at a time, the
//! next one when the reader has room for it, so that neither a worker nor the supervisor ever holds a whole list. The
//! first page is asked of all at once: one that does not answer is waited for no longer than the others.

use super::admin_server::{AdminServer, ClientId};
use super::worker::Worker;
use crate::core::time::Instant;
use crate::net::Supervising;
use crate::protocol::http::{Response, Status};
use crate::workers::link::{Answer, Part, Question};
use indexmap::{IndexMap, IndexSet};
use std::fmt::Write as _;

/// Less than this is not sent by itself: a short list is told with its length.
const PIECE_BYTES: usize = 16 * 1024;

/// A list that is being produced.
pub(super) struct List {
    pub(super) client: ClientId,
    question: Question,
    /// The worker whose connections come next.
    place: usize,
    /// Workers that are to answer.
    asked: IndexSet<usize>,
    /// Pages that are not listed yet, by worker.
    pages: IndexMap<usize, Answer>,
    /// When a worker has not answered the first question in time, and when the one whose turn it is has not.
    first_deadline: Instant,
    deadline: Instant,
    matched: u64,
    listed: u64,
    limit: u64,
    silent: Vec<u32>,
    progress: Progress,
    /// Written, and not yet enough to be a piece.
    held: String,
}

/// How far a list is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    /// It is finished, or its reader is gone.
    Over,
    /// It goes on when its reader has taken more.
    AwaitsReader,
    /// It goes on when the worker has answered.
    AwaitsWorker,
}

impl List {
    /// Asks all workers for their first page. `question` has no rows yet.
    pub(super) fn new<K: Supervising>(
        client: ClientId,
        mut question: Question,
        limit: usize,
        workers: &mut [Worker<K>],
        deadline: Instant,
    ) -> Self {
        question.rows = u32::try_from(limit).unwrap_or(u32::MAX);
        let asked = workers.iter_mut().enumerate();
        let asked = asked.filter_map(|(place, worker)| worker.ask(&question).then_some(place));
        Self {
            client,
            asked: asked.collect(),
            question,
            place: 0,
            pages: IndexMap::new(),
            first_deadline: deadline,
            deadline,
            matched: 0,
            listed: 0,
            limit: limit as u64,
            silent: Vec::new(),
            progress: Progress::AwaitsWorker,
            held: "{\"connections\":[".to_owned(),
        }
    }

    pub(super) fn on_answer(&mut self, place: usize, answer: Answer) {
        // One that comes too late is an answer to nothing.
        if place >= self.place && self.asked.contains(&place) {
            self.pages.insert(place, answer);
        }
    }

    /// A worker has ended, and its connections with it.
    pub(super) fn on_gone(&mut self, place: usize) {
        self.asked.swap_remove(&place);
        self.pages.swap_remove(&place);
    }

    /// Whether a worker owes it a page.
    pub(super) const fn awaits_worker(&self) -> bool {
        matches!(self.progress, Progress::AwaitsWorker)
    }

    /// Until when its worker may take to answer.
    pub(super) const fn deadline(&self) -> Instant {
        if self.awaits_worker() { self.deadline } else { Instant::NEVER }
    }

    /// Goes on as far as its reader has room, and the pages reach.
    pub(super) fn advance<K: Supervising>(
        &mut self,
        workers: &mut [Worker<K>],
        admin: &mut AdminServer<K>,
        now: Instant,
    ) -> Progress {
        self.progress = self.advance_pages(workers, admin, now);
        self.progress
    }

    fn advance_pages<K: Supervising>(
        &mut self,
        workers: &mut [Worker<K>],
        admin: &mut AdminServer<K>,
        now: Instant,
    ) -> Progress {
        loop {
            match admin.has_room(self.client) {
                None => return Progress::Over,
                Some(false) => return Progress::AwaitsReader,
                Some(true) => {}
            }
            if self.place == workers.len() {
                self.finish(admin);
                return Progress::Over;
            }
            let worker = &mut workers[self.place];
            let next = match self.pages.swap_remove(&self.place).map(|page| (page.part, page)) {
                Some((Part::Rows { matched, listed, next }, page)) => {
                    self.matched += matched;
                    self.add(&page.body, listed, admin);
                    next
                }
                // Read by the same rules, the request was no mistake: whatever that is, it is no page.
                Some((Part::Last | Part::More, _)) => None,
                None if self.asked.contains(&self.place) && now < self.deadline => {
                    return Progress::AwaitsWorker;
                }
                None => {
                    worker.unanswered += 1;
                    self.silent.push(worker.number);
                    None
                }
            };
            if let Some(from) = next {
                self.question.from = from;
                self.question.rows = u32::try_from(self.limit - self.listed).unwrap_or(u32::MAX);
                self.deadline = now + super::admin_fanout::ANSWER_WITHIN;
                if !worker.ask(&self.question) {
                    self.asked.swap_remove(&self.place);
                }
            } else {
                self.place += 1;
                self.deadline = self.first_deadline;
            }
        }
    }

    /// Lists rows, each on a line, as far as there is room for them within the limit.
    fn add<K: Supervising>(&mut self, rows: &str, listed: u64, admin: &mut AdminServer<K>) {
        let wanted = listed.min(self.limit - self.listed);
        for row in rows.lines().take(usize::try_from(wanted).unwrap_or(usize::MAX)) {
            if self.listed > 0 {
                self.held.push(',');
            }
            self.held.push_str(row);
            self.listed += 1;
        }
        if self.held.len() >= PIECE_BYTES {
            admin.piece(self.client, &Response::json(Status::Ok, ""), &self.held, false);
            self.held.clear();
        }
    }

    fn finish<K: Supervising>(&mut self, admin: &mut AdminServer<K>) {
        let (listed, matched) = (self.listed, self.matched);
        let _ = write!(self.held, "],\"listed\":{listed},\"matched\":{matched},\"unanswered_workers\":[");
        for (at, number) in self.silent.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let _ = write!(self.held, "{comma}{number}");
        }
        self.held.push_str("]}\n");
        admin.piece(self.client, &Response::json(Status::Ok, ""), &self.held, true);
    }
}
