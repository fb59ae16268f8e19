//! Lists of the connections of all workers, as their reader takes them. A worker is asked for a page at a time, the next one
//! when the reader comes to the one before, so that neither a worker nor the supervisor ever holds a whole list. All are asked
//! at once, also for the next pages: workers that do not answer are waited for together, and not one after the other.

use super::admin_fanout::ANSWER_WITHIN;
use super::admin_server::{AdminServer, ClientId};
use super::production::{Production, Progress, Stage};
use super::worker::Worker;
use crate::core::time::Instant;
use crate::net::Supervising;
use crate::observe::answers::{LIST_BEGIN, end_list};
use crate::protocol::admin::ListQuery;
use crate::workers::link::{About, Content, Question, Rows};
use std::collections::VecDeque;

/// Pages of a worker that wait, at most.
const PAGES_MAX: usize = 2;

/// A list that is being produced.
pub(super) struct List {
    pub(super) production: Production,
    query: ListQuery,
    /// The worker whose connections come next.
    place: usize,
    /// What has come of each worker.
    parts: Vec<Part>,
    matched: u64,
    silent: Vec<u32>,
}

/// The connections of one worker.
struct Part {
    /// What is not listed yet: the page that its reader comes to next, and the one behind that.
    pages: VecDeque<Rows>,
    /// Its next page begins with a slot.
    stage: Stage<u32>,
}

impl List {
    /// Asks all workers for their first page.
    pub(super) fn new<K: Supervising>(
        client: ClientId,
        number: u64,
        query: ListQuery,
        workers: &mut [Worker<K>],
        deadline: Instant,
    ) -> Self {
        let production = Production::new(client, number, LIST_BEGIN, deadline);
        let mut list =
            Self { production, query, place: 0, parts: Vec::new(), matched: 0, silent: Vec::new() };
        let question = list.question(0);
        let parts = workers
            .iter_mut()
            .map(|worker| Part { pages: VecDeque::new(), stage: Stage::ask(worker, &question) });
        list.parts = parts.collect();
        list
    }

    /// For a page from that slot on.
    fn question(&self, from: u32) -> Question {
        let rows = u32::try_from(self.rows_left()).unwrap_or(u32::MAX);
        let query = self.query.clone();
        Question { number: self.production.number, about: About::Connections { query, from, rows } }
    }

    /// Rows that there is still room for within the limit.
    const fn rows_left(&self) -> usize {
        self.query.limit - self.production.listed
    }

    pub(super) fn on_answer(&mut self, place: usize, content: Content) {
        let part = &mut self.parts[place];
        // One that comes too late is an answer to nothing.
        if let Content::Rows(rows) = content
            && part.stage == Stage::Asked
        {
            part.stage = Stage::answered(rows.next);
            part.pages.push_back(rows);
        }
    }

    /// A worker has ended, and its connections with it.
    pub(super) fn on_gone(&mut self, place: usize) {
        self.parts[place] = Part { pages: VecDeque::new(), stage: Stage::Silent };
    }

    /// Goes on as far as its reader has room, and the pages reach.
    pub(super) fn advance<K: Supervising>(
        &mut self,
        workers: &mut [Worker<K>],
        admin: &mut AdminServer<K>,
        now: Instant,
    ) -> Progress {
        let progress = self.advance_pages(workers, admin, now);
        self.production.note(progress)
    }

    fn advance_pages<K: Supervising>(
        &mut self,
        workers: &mut [Worker<K>],
        admin: &mut AdminServer<K>,
        now: Instant,
    ) -> Progress {
        loop {
            if let Some(progress) = self.production.is_held_up(admin) {
                return progress;
            }
            let Some(part) = self.parts.get_mut(self.place) else {
                self.finish(admin);
                return Progress::Over;
            };
            if let Some(page) = part.pages.pop_front() {
                self.matched += page.matched;
                self.add(&page.text, admin);
                continue;
            }
            match part.stage {
                Stage::More(_) => self.ask_on(workers, now),
                Stage::Asked if now < self.production.deadline => return Progress::AwaitsWorker,
                // So long none of the others has answered either that was asked with it.
                Stage::Asked => {
                    let asked = self.parts.iter_mut().filter(|part| part.stage == Stage::Asked);
                    asked.for_each(|part| part.stage = Stage::Silent);
                }
                Stage::Over => self.place += 1,
                Stage::Silent => {
                    workers[self.place].unanswered += 1;
                    self.silent.push(workers[self.place].number);
                    self.place += 1;
                }
            }
        }
    }

    /// Asks all who have one for their next page, unless there is one already behind that which is listed next.
    fn ask_on<K: Supervising>(&mut self, workers: &mut [Worker<K>], now: Instant) {
        for (place, worker) in workers.iter_mut().enumerate().skip(self.place) {
            if let Stage::More(from) = self.parts[place].stage
                && self.parts[place].pages.len() < PAGES_MAX
            {
                self.parts[place].stage = Stage::ask(worker, &self.question(from));
            }
        }
        self.production.deadline = now + ANSWER_WITHIN;
    }

    /// Lists rows, each on a line, as far as there is room for them within the limit.
    fn add<K: Supervising>(&mut self, rows: &str, admin: &mut AdminServer<K>) {
        for row in rows.lines().take(self.rows_left()) {
            self.production.add(row);
        }
        self.production.send(admin);
    }

    fn finish<K: Supervising>(&mut self, admin: &mut AdminServer<K>) {
        let (listed, matched, silent) = (self.production.listed as u64, self.matched, &self.silent);
        self.production.finish(admin, |out| end_list(listed, matched, Some(silent), out));
    }
}
