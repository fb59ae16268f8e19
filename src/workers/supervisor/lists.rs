//! Lists of the connections of all workers, as their reader takes them. A worker is asked for a page at a time, the
//! next one when the reader has room for it, so that neither a worker nor the supervisor ever holds a whole list. The
//! first page is asked of all at once: one that does not answer is waited for no longer than the others.

use super::admin_server::{AdminServer, ClientId};
use super::worker::Worker;
use crate::core::time::Instant;
use crate::net::Supervising;
use crate::observe::answers::{LIST_BEGIN, end_list};
use crate::protocol::admin::ListQuery;
use crate::workers::link::{About, Content, Question, Rows};
use indexmap::{IndexMap, IndexSet};

/// Less than this is not sent by itself: a short list is told with its length.
pub(super) const PIECE_BYTES: usize = 16 * 1024;

/// A list that is being produced.
pub(super) struct List {
    pub(super) client: ClientId,
    /// Of its questions.
    number: u64,
    query: ListQuery,
    /// The worker whose connections come next.
    place: usize,
    /// Workers that are to answer.
    asked: IndexSet<usize>,
    /// Pages that are not listed yet, by worker.
    pages: IndexMap<usize, Rows>,
    /// When a worker has not answered the first question in time, and when the one whose turn it is has not.
    first_deadline: Instant,
    deadline: Instant,
    matched: u64,
    listed: usize,
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
    /// Asks all workers for their first page.
    pub(super) fn new<K: Supervising>(
        client: ClientId,
        number: u64,
        query: ListQuery,
        workers: &mut [Worker<K>],
        deadline: Instant,
    ) -> Self {
        let mut list = Self {
            client,
            number,
            query,
            place: 0,
            asked: IndexSet::new(),
            pages: IndexMap::new(),
            first_deadline: deadline,
            deadline,
            matched: 0,
            listed: 0,
            silent: Vec::new(),
            progress: Progress::AwaitsWorker,
            held: LIST_BEGIN.to_owned(),
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
        Question { number: self.number, about: About::Connections { query, from, rows } }
    }

    /// Rows that there is still room for within the limit.
    const fn rows_left(&self) -> usize {
        self.query.limit - self.listed
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

    /// Whether a page of a worker is awaited.
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
            let next = match self.pages.swap_remove(&self.place) {
                Some(page) => {
                    self.matched += page.matched;
                    self.add(&page.text, admin);
                    page.next
                }
                None if self.asked.contains(&self.place) && now < self.deadline => {
                    return Progress::AwaitsWorker;
                }
                None => {
                    workers[self.place].unanswered += 1;
                    self.silent.push(workers[self.place].number);
                    None
                }
            };
            if let Some(from) = next {
                self.deadline = now + super::admin_fanout::ANSWER_WITHIN;
                if !workers[self.place].ask(&self.question(from)) {
                    self.asked.swap_remove(&self.place);
                }
            } else {
                self.place += 1;
                self.deadline = self.first_deadline;
            }
        }
    }

    /// Lists rows, each on a line, as far as there is room for them within the limit.
    fn add<K: Supervising>(&mut self, rows: &str, admin: &mut AdminServer<K>) {
        for row in rows.lines().take(self.rows_left()) {
            if self.listed > 0 {
                self.held.push(',');
            }
            self.held.push_str(row);
            self.listed += 1;
        }
        if self.held.len() >= PIECE_BYTES {
            admin.piece(self.client, &self.held, false);
            self.held.clear();
        }
    }

    fn finish<K: Supervising>(&mut self, admin: &mut AdminServer<K>) {
        end_list(self.listed as u64, self.matched, Some(&self.silent), &mut self.held);
        admin.piece(self.client, &self.held, true);
    }
}
