//! What clients ask about the clients of all workers (`SEND`, `IDENTFOR`, `STATE`, `WHO`, `PUBSUB`, `CLIENT LIST` and `KILL`,
//! `INFO`): the supervisor answers from what it knows, or asks the workers that a query concerns and passes on what each
//! has found. The worker whose client asks makes one answer of that (`reactor/ask.rs`).
//!
//! Kept here is only who waits for an answer, and until when: a long answer comes in pages, and each page is asked for.
//! Each query gets one finding from everybody that it concerns, also where that is [`Finding::Silent`].

use super::identities::Identities;
use super::topics::Topics;
use super::worker::Worker;
use crate::core::time::{Duration, Instant};
use crate::hub::glob;
use crate::net::Supervising;
use crate::workers::link::{Finding, Query, ServerNumbers, ToWorker};
use indexmap::IndexMap;
use std::collections::VecDeque;

/// How long a worker may take to find something: far longer than a turn lasts.
const FIND_WITHIN: Duration = Duration::from_secs(2);
/// Work on names for all queries in one turn, and for one of them before the others have their turn, in steps of about a
/// nanosecond.
const STEPS_PER_TURN: usize = 1_000_000;
const STEPS_PER_PAGE: usize = 200_000;
/// Steps for a query, for a name that is looked at, and for one that is found.
const QUERY_STEPS: usize = 2_000;
const LOOK_STEPS: usize = 20;
const FOUND_STEPS: usize = 200;

/// What the supervisor knows by itself.
pub(super) struct Known<'a> {
    pub(super) identities: &'a Identities,
    pub(super) topics: &'a Topics,
    pub(super) server: ServerNumbers,
}

/// A query of a worker's client.
struct Inquiry {
    /// The place of that worker.
    asker: usize,
    /// The number that it comes back with.
    number: u64,
    /// The only worker that is asked.
    worker: Option<u32>,
    query: Query,
}

/// A worker was asked.
struct Asked {
    place: usize,
    asker: usize,
    number: u64,
}

/// The queries.
#[derive(Default)]
pub(super) struct Inquiries {
    /// Not looked at yet.
    waiting: VecDeque<Inquiry>,
    /// By the number that each worker answers with.
    asked: IndexMap<u64, Asked>,
    /// Until when, in order: all have the same time. What was answered is still in here.
    deadlines: VecDeque<(Instant, u64)>,
    last: u64,
}

impl Inquiries {
    /// A worker asks for one of its clients.
    pub(super) fn push(&mut self, asker: usize, number: u64, worker: Option<u32>, query: Query) {
        self.waiting.push_back(Inquiry { asker, number, worker, query });
    }

    /// How many may be answered once all workers have been heard: who was told that it holds an identity before one of
    /// these was asked is known to hold it by then.
    pub(super) fn due(&self) -> usize {
        self.waiting.len()
    }

    /// Answers those that were due, or asks for the answers, as far as a turn allows.
    pub(super) fn answer<K: Supervising>(
        &mut self,
        due: usize,
        known: &Known<'_>,
        workers: &mut [Worker<K>],
        now: Instant,
    ) {
        self.expire(workers, now);
        let mut steps = 0;
        for _ in 0..due {
            if steps >= STEPS_PER_TURN {
                return;
            }
            let Some(Inquiry { asker, number, worker, query }) = self.waiting.pop_front() else { return };
            steps += QUERY_STEPS;
            let finding = match &query {
                Query::State { id } => Finding::State(known.identities.state(id)),
                Query::Holder { id } => Finding::Holder(known.identities.holder_from(id).map(str::to_owned)),
                Query::Identities { pattern, from } => {
                    page(pattern, known.identities.below(*from), &mut steps)
                }
                Query::Channels { pattern, from } => {
                    let channels =
                        known.topics.channels_below(*from).map(|(place, name)| (place, name, true));
                    page(pattern, channels, &mut steps)
                }
                Query::Patterns => Finding::Counts(vec![known.topics.patterns() as u64]),
                Query::Send { id, .. } => match known.identities.worker_of(id) {
                    Some(place) => {
                        self.ask(place, asker, number, &query, workers, now);
                        continue;
                    }
                    None => Finding::Sent(false),
                },
                Query::Subscribers { channels } => {
                    steps += LOOK_STEPS * channels.len() * workers.len();
                    for place in 0..workers.len() {
                        if channels.iter().any(|channel| known.topics.listens_at(place, channel)) {
                            self.ask(place, asker, number, &query, workers, now);
                        } else {
                            send_finding(workers, asker, number, place, Finding::Nothing);
                        }
                    }
                    continue;
                }
                Query::Name { .. }
                | Query::Clients { .. }
                | Query::Kill { .. }
                | Query::LastEnd { .. }
                | Query::Info => {
                    let own = if let Query::LastEnd { id } = &query {
                        Some(Finding::State(known.identities.state(id)))
                    } else {
                        (query == Query::Info).then_some(Finding::Server(known.server))
                    };
                    let worker = worker.or(query.worker());
                    for place in 0..workers.len() {
                        if worker.is_none_or(|only| only == workers[place].number) {
                            self.ask(place, asker, number, &query, workers, now);
                        }
                    }
                    match own {
                        Some(own) => own,
                        None => continue,
                    }
                }
            };
            workers[asker].send(&ToWorker::Found { number, worker: 0, finding });
        }
    }

    /// Asks a worker, or answers for it where it cannot.
    fn ask<K: Supervising>(
        &mut self,
        place: usize,
        asker: usize,
        number: u64,
        query: &Query,
        workers: &mut [Worker<K>],
        now: Instant,
    ) {
        self.last += 1;
        if let Some(finding) = workers[place].query(self.last, query) {
            return send_finding(workers, asker, number, place, finding);
        }
        self.asked.insert(self.last, Asked { place, asker, number });
        self.deadlines.push_back((now + FIND_WITHIN, self.last));
    }

    /// A worker has found something.
    pub(super) fn on_found<K: Supervising>(
        &mut self,
        place: usize,
        number: u64,
        finding: Finding,
        workers: &mut [Worker<K>],
    ) {
        // What comes too late was answered already.
        if self.asked.get(&number).is_some_and(|asked| asked.place == place)
            && let Some(Asked { asker, number, .. }) = self.asked.swap_remove(&number)
        {
            send_finding(workers, asker, number, place, finding);
        }
    }

    /// A worker has ended, and its clients with it.
    pub(super) fn gone<K: Supervising>(&mut self, gone: usize, workers: &mut [Worker<K>]) {
        self.waiting.retain(|inquiry| inquiry.asker != gone);
        self.asked.retain(|_, &mut Asked { place, asker, number }| {
            if place == gone {
                send_finding(workers, asker, number, place, Finding::Nothing);
            }
            place != gone && asker != gone
        });
    }

    /// When to go on; [`Instant::NEVER`]: nobody is waited for.
    pub(super) fn next(&self) -> Instant {
        match self.deadlines.front() {
            _ if !self.waiting.is_empty() => Instant::ZERO,
            Some((deadline, _)) if !self.asked.is_empty() => *deadline,
            Some(_) | None => Instant::NEVER,
        }
    }

    /// Answers for workers that have not.
    fn expire<K: Supervising>(&mut self, workers: &mut [Worker<K>], now: Instant) {
        let is_over = |asked: &IndexMap<u64, Asked>, (deadline, number): (Instant, u64)| {
            deadline <= now || !asked.contains_key(&number)
        };
        while let Some(&first) = self.deadlines.front()
            && is_over(&self.asked, first)
        {
            self.deadlines.pop_front();
            if let Some(Asked { place, asker, number }) = self.asked.swap_remove(&first.1) {
                send_finding(workers, asker, number, place, Finding::Silent);
            }
        }
    }
}

fn send_finding<K: Supervising>(
    workers: &mut [Worker<K>],
    asker: usize,
    number: u64,
    place: usize,
    finding: Finding,
) {
    let worker = workers[place].number;
    workers[asker].send(&ToWorker::Found { number, worker, finding });
}

/// A page of the names that match, each with its place and whether it counts.
fn page<'a>(
    pattern: &'a [u8],
    names: impl Iterator<Item = (u32, &'a [u8], bool)>,
    steps: &mut usize,
) -> Finding {
    let (mut found, mut left) = (Vec::new(), STEPS_PER_PAGE);
    for (place, name, counts) in names {
        if left == 0 {
            *steps += STEPS_PER_PAGE;
            // It is the first of the next page.
            return Finding::Names { names: found, next: Some(place + 1) };
        }
        let (matched, compared) = if counts { glob::compare(pattern, name) } else { (false, 0) };
        let mut spent = LOOK_STEPS + compared;
        if matched {
            spent += FOUND_STEPS + name.len();
            found.push(name.to_vec());
        }
        left = left.saturating_sub(spent);
    }
    *steps += STEPS_PER_PAGE - left;
    Finding::Names { names: found, next: None }
}
