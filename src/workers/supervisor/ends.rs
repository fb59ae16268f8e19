//! Lists of the last endings of all workers, the newest first, as their reader takes them. Each worker is asked for a page, and
//! for the next one when all of one worker's is listed; which ending was earlier is known by the clock that all workers share. As
//! with lists of connections (`lists`), nobody ever holds a whole list, and who does not answer in time is named.

use super::admin_fanout::ANSWER_WITHIN;
use super::admin_server::{AdminServer, ClientId};
use super::production::{Production, Progress, Stage};
use super::worker::Worker;
use crate::core::time::Instant;
use crate::net::Supervising;
use crate::observe::answers::{ENDS_BEGIN, EndsTail, Kept};
use crate::observe::ring::Place;
use crate::protocol::admin::{Cursor, EndsQuery};
use crate::workers::link::{About, Content, EndRow, EndRows, Question};
use std::collections::VecDeque;

/// Rows that a worker is asked for at once. Among several, most of a page is from one of them only when it alone has endings.
const PAGE_ROWS: u32 = 256;

/// A list that is being produced.
pub(super) struct Ends {
    pub(super) production: Production,
    query: EndsQuery,
    /// What has come of each worker.
    parts: Vec<Part>,
}

/// The endings of one worker.
struct Part {
    worker: u32,
    /// Its page, as far as it is not listed.
    rows: VecDeque<EndRow>,
    stage: Stage<Place>,
    /// The number of the last row of it that is listed.
    listed: Option<u64>,
    /// What it said of all its endings; `None`: it did not answer.
    kept: Option<Kept>,
}

impl Ends {
    /// Asks all workers for their first page.
    pub(super) fn new<K: Supervising>(
        client: ClientId,
        number: u64,
        query: EndsQuery,
        workers: &mut [Worker<K>],
        deadline: Instant,
    ) -> Self {
        let rows = page_rows(&query, 0);
        let about = About::Ends { query: query.clone(), from: None, rows };
        let question = Question { number, about };
        let parts = workers.iter_mut().map(|worker| {
            let stage = Stage::ask(worker, &question);
            Part { worker: worker.number, rows: VecDeque::new(), stage, listed: None, kept: None }
        });
        let parts = parts.collect();
        Self { production: Production::new(client, number, ENDS_BEGIN, deadline), query, parts }
    }

    pub(super) fn on_answer(&mut self, place: usize, content: Content) {
        // One that comes too late is an answer to nothing.
        if let Content::Ends(EndRows { rows, next, kept }) = content
            && self.parts[place].stage == Stage::Asked
        {
            let part = &mut self.parts[place];
            part.rows.extend(rows);
            part.stage = Stage::answered(next);
            part.kept.get_or_insert(kept);
        }
    }

    /// A worker has ended, and what it knew is gone.
    pub(super) fn on_gone(&mut self, place: usize) {
        let part = &mut self.parts[place];
        if part.stage != Stage::Over {
            part.stage = Stage::Silent;
        }
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
            // Who asks for none still asks from where to go on, which each of them tells.
            let is_full =
                self.production.listed == self.query.limit && self.parts.iter().all(Part::has_begun);
            if !is_full {
                self.ask_on(workers, now);
                if self.parts.iter().any(Part::is_awaited) {
                    if now < self.production.deadline {
                        return Progress::AwaitsWorker;
                    }
                    self.give_up(workers);
                }
            }
            if is_full || !self.list_some() {
                self.finish(admin);
                return Progress::Over;
            }
            self.production.send(admin);
        }
    }

    /// Where all of a worker's page is listed, asks it for more: which ending is next is not known before it is here. The
    /// others are asked with it, unless more than a page of theirs waits: who does not answer is waited for together.
    fn ask_on<K: Supervising>(&mut self, workers: &mut [Worker<K>], now: Instant) {
        let is_due = |part: &Part| part.rows.is_empty() && matches!(part.stage, Stage::More(_));
        if !self.parts.iter().any(is_due) {
            return;
        }
        let rows = page_rows(&self.query, self.production.listed);
        for (part, worker) in self.parts.iter_mut().zip(workers) {
            if let Stage::More(from) = part.stage
                && part.rows.len() <= PAGE_ROWS as usize
            {
                let about = About::Ends { query: self.query.clone(), from: Some(from), rows };
                part.stage = Stage::ask(worker, &Question { number: self.production.number, about });
            }
        }
        self.production.deadline = now + ANSWER_WITHIN;
    }

    /// Does without those that have not answered: the deadline is that of the one that was asked last.
    fn give_up<K: Supervising>(&mut self, workers: &mut [Worker<K>]) {
        for (part, worker) in self.parts.iter_mut().zip(workers) {
            if part.stage == Stage::Asked {
                part.stage = Stage::Silent;
                worker.unanswered += 1;
            }
        }
    }

    /// Lists the newest endings, as long as it is known which they are. Whether there was one.
    fn list_some(&mut self) -> bool {
        let before = self.production.listed;
        while self.production.listed < self.query.limit && !self.production.is_piece() {
            let newest = self.parts.iter_mut().filter(|part| !part.rows.is_empty());
            let newest = newest.max_by_key(|part| part.rows.front().map(|row| row.at));
            let Some((row, part)) = newest.and_then(|part| Some((part.rows.pop_front()?, part))) else {
                break;
            };
            let has_more = part.rows.is_empty() && matches!(part.stage, Stage::More(_) | Stage::Asked);
            self.production.add(&row.text);
            part.listed = Some(row.number);
            if has_more {
                break;
            }
        }
        self.production.listed > before
    }

    fn finish<K: Supervising>(&mut self, admin: &mut AdminServer<K>) {
        let kept = self.parts.iter().filter_map(|part| part.kept);
        let kept = kept.reduce(|all, kept| all.and(&kept)).unwrap_or_default();
        let silent: Vec<_> =
            self.parts.iter().filter(|part| part.is_silent()).map(|part| part.worker).collect();
        let tail = EndsTail {
            listed: self.production.listed as u64,
            before: self.before(),
            after: self.after(),
            kept,
            unanswered: Some(&silent),
        };
        self.production.finish(admin, |out| tail.write(out));
    }
}

impl Ends {
    /// With which cursor the list goes on, if there may be more. A worker of which nothing is listed stays where the
    /// question had it; without a number there it begins with its newest.
    fn before(&self) -> Option<Cursor> {
        let asked = |worker| self.query.before.as_ref().and_then(|cursor| cursor.of(Some(worker)));
        let numbers = self.parts.iter().filter_map(|part| {
            let number = part.bound().or_else(|| asked(part.worker))?;
            Some((Some(part.worker), number))
        });
        self.parts.iter().any(Part::has_more).then(|| Cursor(numbers.collect()))
    }

    /// With which cursor to ask for those that come later. Of a worker that is silent, not all before that are listed: the
    /// next question asks for them again. So each worker has its number, and the cursor is never empty.
    fn after(&self) -> Cursor {
        let asked = |worker| self.query.after.as_ref().and_then(|cursor| cursor.of(Some(worker)));
        let numbers = self.parts.iter().map(|part| {
            let last = part.kept.filter(|_| !part.is_silent()).map(|kept| kept.last_number);
            (Some(part.worker), last.or_else(|| asked(part.worker)).unwrap_or(0))
        });
        Cursor(numbers.collect())
    }
}

/// How many rows a page is to have when so many are listed.
fn page_rows(query: &EndsQuery, listed: usize) -> u32 {
    u32::try_from(query.limit - listed).map_or(PAGE_ROWS, |left| left.min(PAGE_ROWS))
}

impl Part {
    /// Whether it has told how it begins, or never will.
    const fn has_begun(&self) -> bool {
        self.kept.is_some() || matches!(self.stage, Stage::Silent)
    }

    /// Whether which ending is next is not known before it answers.
    fn is_awaited(&self) -> bool {
        self.stage == Stage::Asked && self.rows.is_empty()
    }

    fn is_silent(&self) -> bool {
        self.stage == Stage::Silent
    }

    /// Whether it may have endings that are not listed.
    fn has_more(&self) -> bool {
        !self.rows.is_empty() || matches!(self.stage, Stage::More(_) | Stage::Asked)
    }

    /// Its endings with lower numbers are not listed; `None`: nothing of it is.
    fn bound(&self) -> Option<u64> {
        match (self.rows.front(), self.stage) {
            (Some(row), _) => Some(row.number + 1),
            (None, Stage::More(place)) => Some(place.number + 1),
            (None, Stage::Over) => Some(1),
            (None, Stage::Asked | Stage::Silent) => self.listed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::admin::Filter;

    fn cursor(numbers: &[(u32, u64)]) -> Cursor {
        Cursor(numbers.iter().map(|(worker, number)| (Some(*worker), *number)).collect())
    }

    fn ends(query: (Option<Cursor>, Option<Cursor>), parts: Vec<Part>) -> Ends {
        let (before, after) = query;
        let query = EndsQuery {
            limit: 7,
            filter: Filter::default(),
            pairs: Vec::new(),
            last_ns: None,
            before,
            after,
        };
        Ends { production: Production::new(1, 1, "", Instant::NEVER), query, parts }
    }

    fn part(worker: u32, stage: Stage<Place>, listed: Option<u64>, last_number: Option<u64>) -> Part {
        let kept = last_number.map(|last_number| Kept { last_number, ..Kept::default() });
        Part { worker, rows: VecDeque::new(), stage, listed, kept }
    }

    /// A worker of which more is to be listed.
    fn more(worker: u32) -> Part {
        part(worker, Stage::More(Place { number: 40, at: 0, moves: 0 }), Some(41), Some(50))
    }

    #[test]
    fn a_silent_worker_stays_where_the_question_had_it() {
        let silent = || part(2, Stage::Silent, None, None);
        let asked = || Some(cursor(&[(1, 60), (2, 30)]));
        let list = ends((asked(), asked()), vec![more(1), silent()]);
        assert_eq!(list.before(), Some(cursor(&[(1, 41), (2, 30)])));
        assert_eq!(list.after(), cursor(&[(1, 50), (2, 30)]));
        // It was not asked for from anywhere: with its newest, and after none.
        let list = ends((None, None), vec![more(1), silent()]);
        assert_eq!((list.before(), list.after()), (Some(cursor(&[(1, 41)])), cursor(&[(1, 50), (2, 0)])));
    }

    #[test]
    fn what_a_worker_did_not_list_before_it_fell_silent_is_asked_for_again() {
        let fell_silent = part(2, Stage::Silent, Some(25), Some(28));
        let list = ends((None, Some(cursor(&[(2, 20)]))), vec![more(1), fell_silent]);
        assert_eq!(list.before(), Some(cursor(&[(1, 41), (2, 25)])));
        assert_eq!(list.after(), cursor(&[(1, 50), (2, 20)]));
    }

    #[test]
    fn a_list_of_which_no_worker_answers_has_a_cursor_all_the_same() {
        let parts = [1, 2].map(|worker| part(worker, Stage::Silent, None, None));
        let list = ends((None, None), parts.into());
        assert_eq!((list.before(), list.after().to_string()), (None, "1.0,2.0".to_owned()));
    }
}
