//! Lists of the connections of all workers, as their reader takes them. A worker is asked for a page at a time, the
//! next one when the reader has room for it, so that neither a worker nor the supervisor ever holds a whole list. The
//! first page is asked of all at once: one that does not answer is waited for no longer than the others.

use super::admin_server::{AdminServer, ClientId};
use super::production::{Production, Progress};
use super::worker::Worker;
use crate::core::time::Instant;
use crate::net::Supervising;
use crate::observe::answers::{LIST_BEGIN, end_list};
use crate::protocol::admin::ListQuery;
use crate::workers::link::{About, Content, Question, Rows};
use indexmap::{IndexMap, IndexSet};

/// A list that is being produced.
pub(super) struct List {
    /// Its deadline is that of the worker whose turn it is.
    pub(super) production: Production,
    query: ListQuery,
    /// The worker whose connections come next.
    place: usize,
    /// Workers that are to answer.
    asked: IndexSet<usize>,
    /// Pages that are not listed yet, by worker.
    pages: IndexMap<usize, Rows>,
    /// When a worker has not answered the first question in time.
    first_deadline: Instant,
    matched: u64,
    silent: Vec<u32>,
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
        let mut list = Self {
            production: Production::new(client, number, LIST_BEGIN, deadline),
            query,
            place: 0,
            asked: IndexSet::new(),
            pages: IndexMap::new(),
            first_deadline: deadline,
            matched: 0,
            silent: Vec::new(),
        };
        let question = list.question(0);
        let asked = workers.iter_mut().enumerate();
        list.asked = asked.filter_map(|(place, worker)| worker.ask(&question).then_some(place)).collect();
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
        // One that comes too late is an answer to nothing.
        if let Content::Rows(rows) = content
            && place >= self.place
            && self.asked.contains(&place)
        {
            self.pages.insert(place, rows);
        }
    }

    /// A worker has ended, and its connections with it.
    pub(super) fn on_gone(&mut self, place: usize) {
        self.asked.swap_remove(&place);
        self.pages.swap_remove(&place);
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
            if self.place == workers.len() {
                self.finish(admin);
                return Progress::Over;
            }
            let next = match self.pages.swap_remove(&self.place) {
                Some(page) => {
                    self.matched += page.matched;
                    self.add(&page.text, admin);
                    page.next
                }
                None if self.asked.contains(&self.place) && now < self.production.deadline => {
                    return Progress::AwaitsWorker;
                }
                None => {
                    workers[self.place].unanswered += 1;
                    self.silent.push(workers[self.place].number);
                    None
                }
            };
            if let Some(from) = next {
                self.production.deadline = now + super::admin_fanout::ANSWER_WITHIN;
                if !workers[self.place].ask(&self.question(from)) {
                    self.asked.swap_remove(&self.place);
                }
            } else {
                self.place += 1;
                self.production.deadline = self.first_deadline;
            }
        }
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
