//! What is asked at the admin interface, and how it is answered for all workers: who is asked, how long is waited, and
//! what is made of the answers. A worker that does not answer in time is named, and holds up nobody.

use super::admin_server::{AdminServer, ClientId};
use super::ends::Ends;
use super::events::{OwnEvents, Watch};
use super::lists::List;
use super::production::Progress;
use super::totals::{Own, metrics};
use super::worker::Worker;
use crate::core::health::Word;
use crate::core::table::Key;
use crate::core::time::{Duration, Instant};
use crate::net::Supervising;
use crate::observe::answers::{AuditReport, EndingMany, Readiness, Said, upstreams_of_workers};
use crate::observe::metrics::{Snapshot, Text};
use crate::protocol::admin::{Asked, Serves, Spoken, no_name};
use crate::protocol::http::{Response, Status};
use crate::workers::link::{About, Answer, Content, Question, ToWorker};
use indexmap::IndexMap;

/// How long a worker may take to answer: far less than a scraper waits, and far more than a turn lasts.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Questions at once: each may bring an answer of some megabytes from every worker.
const QUESTIONS_MAX: usize = 16;

/// What is to be made of the answers.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Kind {
    Metrics,
    Readiness,
    Audit,
    /// One worker is asked about one connection, and its answer is the answer.
    One,
    EndMany,
    Upstreams,
    Said(Spoken),
}

/// A question that is being answered.
enum Open {
    /// Its workers have not all answered.
    Gathering(Gathering),
    /// Metrics of all that have, as their reader takes them.
    Printing { client: ClientId, text: Text },
    /// Connections, as their reader takes them.
    Listing(Box<List>),
    /// Endings, as their reader takes them.
    Ends(Box<Ends>),
    /// What happens, as its reader takes it.
    Watching(Box<Watch>),
}

/// The answers to a question.
struct Gathering {
    client: ClientId,
    kind: Kind,
    asked: Vec<usize>,
    /// As far as they are here.
    answers: IndexMap<usize, Content>,
    deadline: Instant,
}

/// Questions, and those that are being answered.
#[derive(Default)]
pub(super) struct AdminFanout {
    open: IndexMap<u64, Open>,
    last: u64,
    /// What the operator has said of upstream servers, by upstream and address: a worker that is started anew is to know.
    words: Words,
    /// The places of workers that end once all who watch were told what happened there, each with the number of its last event.
    leaving: IndexMap<usize, u64>,
}

/// What the operator has said, by upstream and address.
type Words = IndexMap<(String, String), Word>;

impl AdminFanout {
    /// What the operator has said of upstream servers.
    pub(super) fn words(&self) -> impl Iterator<Item = Spoken> {
        let spoken = |((upstream, server), word): (&(String, String), &Word)| Spoken {
            upstream: upstream.clone(),
            server: server.clone(),
            word: *word,
        };
        self.words.iter().map(spoken)
    }

    /// Asks the workers, or answers at once. True in the second case.
    pub(super) fn ask<K: Supervising>(
        &mut self,
        client: ClientId,
        asked: Asked,
        workers: &mut [Worker<K>],
        admin: &mut AdminServer<K>,
        now: Instant,
    ) -> bool {
        if self.is_full_for(&asked) {
            let text = "too many questions at once; ask again\n";
            return answered(admin, client, &Response::text(Status::Unavailable, text));
        }
        let all = 0..workers.len();
        let (kind, about, places) = match asked {
            Asked::Connections(query) => {
                self.last += 1;
                let list = List::new(client, self.last, query, workers, now + ANSWER_WITHIN);
                self.open.insert(self.last, Open::Listing(Box::new(list)));
                return false;
            }
            Asked::Ends(query) => {
                self.last += 1;
                let ends = Ends::new(client, self.last, *query, workers, now + ANSWER_WITHIN);
                self.open.insert(self.last, Open::Ends(Box::new(ends)));
                return false;
            }
            Asked::Events(query) => {
                self.last += 1;
                let watch = Watch::new(client, self.last, query, workers, now);
                self.open.insert(self.last, Open::Watching(Box::new(watch)));
                return false;
            }
            Asked::End(name) => match connection_named(&name, workers.len()) {
                // Its worker knows it by its key alone.
                Some((place, key)) => {
                    let about = About::End { key, peer: admin.peer(client) };
                    (Kind::One, about, place..place + 1)
                }
                None => return answered(admin, client, &no_name(&name, Serves::Several)),
            },
            Asked::EndMany(many) => (Kind::EndMany, About::EndMany { many, peer: admin.peer(client) }, all),
            Asked::Name(name, id) => match connection_named(&name, workers.len()) {
                Some((place, key)) => (Kind::One, About::Name { key, id }, place..place + 1),
                None => return answered(admin, client, &no_name(&name, Serves::Several)),
            },
            Asked::Ready => (Kind::Readiness, About::Readiness, all),
            Asked::Metrics => (Kind::Metrics, About::Metrics, all),
            Asked::Audit => (Kind::Audit, About::Audit, all),
            Asked::Upstreams => (Kind::Upstreams, About::Upstreams, all),
            Asked::Word(spoken) => (Kind::Said(spoken.clone()), About::Word(spoken), all),
        };
        self.last += 1;
        let question = Question { number: self.last, about };
        let asked: Vec<_> = places.filter(|&place| workers[place].ask(&question)).collect();
        let deadline = if asked.is_empty() { now } else { now + ANSWER_WITHIN };
        let gathering = Gathering { client, kind, asked, answers: IndexMap::new(), deadline };
        self.open.insert(self.last, Open::Gathering(gathering));
        false
    }

    /// Whether there is no room for a question. Whether the server is well is answered in any case.
    fn is_full_for(&self, asked: &Asked) -> bool {
        let busy = self.open.values().filter(|open| open.awaits_workers()).count();
        *asked != Asked::Ready && busy >= QUESTIONS_MAX
    }

    /// A worker answers.
    pub(super) fn on_answer(&mut self, worker: usize, Answer { number, content }: Answer) {
        match self.open.get_mut(&number) {
            Some(Open::Gathering(gathering)) => gathering.on_answer(worker, content),
            Some(Open::Listing(list)) => list.on_answer(worker, content),
            Some(Open::Ends(ends)) => ends.on_answer(worker, content),
            Some(Open::Watching(watch)) => watch.on_answer(worker, content),
            // One that comes too late is an answer to nothing.
            Some(Open::Printing { .. }) | None => {}
        }
    }

    /// A worker has ended, and answers no more.
    pub(super) fn on_gone(&mut self, worker: usize) {
        self.leaving.swap_remove(&worker);
        for open in self.open.values_mut() {
            match open {
                Open::Gathering(gathering) => gathering.on_gone(worker),
                Open::Listing(list) => list.on_gone(worker),
                Open::Ends(ends) => ends.on_gone(worker),
                Open::Watching(watch) => watch.on_gone(worker),
                Open::Printing { .. } => {}
            }
        }
    }

    /// A worker's process was started.
    pub(super) fn on_started(&mut self, worker: usize) {
        self.watches().for_each(|watch| watch.on_started(worker));
    }

    /// Something happened at a worker.
    pub(super) fn on_events(&mut self, worker: usize) {
        self.watches().for_each(|watch| watch.on_events(worker));
    }

    /// A worker's clients have gone, and it ends once all who watch were told what happened there up to the event of
    /// that number.
    pub(super) fn on_leaving(&mut self, worker: usize, last: u64) {
        self.watches().for_each(|watch| watch.on_leaving(worker, last));
        self.leaving.insert(worker, last);
    }

    /// Lets those workers go that have nothing left to tell.
    fn let_go<K: Supervising>(&mut self, workers: &mut [Worker<K>]) {
        let mut leaving = std::mem::take(&mut self.leaving);
        leaving.retain(|&place, &mut last| {
            let is_done = self.watches().all(|watch| watch.is_done_with(place));
            if is_done {
                workers[place].send(&ToWorker::Leave { last });
            }
            !is_done
        });
        self.leaving = leaving;
    }

    /// Tells all who watch what is left, and that this is all. Gives them.
    pub(super) fn end_watches<K: Supervising>(
        &mut self,
        admin: &mut AdminServer<K>,
        own: &mut OwnEvents<'_>,
    ) -> Vec<ClientId> {
        let ended = self.open.extract_if(.., |_, open| matches!(open, Open::Watching(_)));
        let told = ended.map(|(_, mut open)| {
            if let Open::Watching(watch) = &mut open {
                watch.end(admin, own);
            }
            open.client()
        });
        told.collect()
    }

    /// Whether somebody watches.
    pub(super) fn is_watched(&self) -> bool {
        self.open.values().any(|open| matches!(open, Open::Watching(_)))
    }

    fn watches(&mut self) -> impl Iterator<Item = &mut Watch> {
        self.open.values_mut().filter_map(|open| match open {
            Open::Watching(watch) => Some(&mut **watch),
            Open::Gathering(_) | Open::Printing { .. } | Open::Listing(_) | Open::Ends(_) => None,
        })
    }

    /// When the next runs out of time.
    pub(super) fn next(&self) -> Instant {
        let deadlines = self.open.values().map(|open| match open {
            Open::Gathering(gathering) => gathering.deadline,
            Open::Listing(list) => list.production.due(),
            Open::Ends(ends) => ends.production.due(),
            Open::Watching(watch) => watch.due(),
            Open::Printing { .. } => Instant::NEVER,
        });
        deadlines.min().unwrap_or(Instant::NEVER)
    }

    /// Whether metrics are to be told now.
    pub(super) fn wants_usage(&self, now: Instant) -> bool {
        let wants = |open: &Open| match open {
            Open::Gathering(gathering) => gathering.kind == Kind::Metrics && gathering.is_over(now),
            Open::Printing { .. } | Open::Listing(_) | Open::Ends(_) | Open::Watching(_) => false,
        };
        self.open.values().any(wants)
    }

    /// Goes on with all that are being answered, as far as workers have answered and readers take it. Gives the clients
    /// that have something to take.
    pub(super) fn advance<K: Supervising>(
        &mut self,
        workers: &mut [Worker<K>],
        admin: &mut AdminServer<K>,
        own: &Own,
        own_events: &mut OwnEvents<'_>,
        now: Instant,
    ) -> Vec<ClientId> {
        let mut served = Vec::new();
        for (number, open) in std::mem::take(&mut self.open) {
            let client = open.client();
            let before = admin.pending_output(client);
            let open = if let Open::Watching(mut watch) = open {
                let is_over = watch.advance(workers, admin, own_events, now);
                (!is_over).then_some(Open::Watching(watch))
            } else {
                open.advance(workers, admin, own, now, &mut self.words)
            };
            // The last of an answer may have no bytes, and only then is its connection closed.
            if open.is_none() || admin.pending_output(client) != before {
                served.push(client);
            }
            self.open.extend(open.map(|open| (number, open)));
        }
        self.let_go(workers);
        served
    }
}

fn answered<K: Supervising>(admin: &mut AdminServer<K>, client: ClientId, response: &Response<'_>) -> bool {
    admin.answer(client, response);
    true
}

/// The place of the worker that has the connection of that name, and its key there.
fn connection_named(name: &str, workers: usize) -> Option<(usize, Key)> {
    let (number, key) = name.split_once('.')?;
    let place = number.parse::<usize>().ok()?.checked_sub(1).filter(|place| *place < workers)?;
    let key: Key = key.parse().ok()?;
    // As it is listed, and in no other way.
    (name == format!("{}.{key}", place + 1)).then_some((place, key))
}

impl Open {
    const fn client(&self) -> ClientId {
        match self {
            Self::Gathering(gathering) => gathering.client,
            Self::Printing { client, .. } => *client,
            Self::Listing(list) => list.production.client,
            Self::Ends(ends) => ends.production.client,
            Self::Watching(watch) => watch.client,
        }
    }

    /// Whether an answer of a worker is awaited.
    const fn awaits_workers(&self) -> bool {
        match self {
            Self::Gathering(_) => true,
            Self::Listing(list) => list.production.awaits_workers(),
            Self::Ends(ends) => ends.production.awaits_workers(),
            Self::Printing { .. } | Self::Watching(_) => false,
        }
    }

    /// Goes on; `None` once it is finished.
    fn advance<K: Supervising>(
        self,
        workers: &mut [Worker<K>],
        admin: &mut AdminServer<K>,
        own: &Own,
        now: Instant,
        words: &mut Words,
    ) -> Option<Self> {
        match self {
            Self::Gathering(gathering) if gathering.is_over(now) => {
                let client = gathering.client;
                let printing = match gathering.respond(workers, own, words) {
                    Ok(response) => {
                        admin.answer(client, &response);
                        return None;
                    }
                    Err(metrics) => Self::Printing { client, text: metrics.into_text() },
                };
                printing.advance(workers, admin, own, now, words)
            }
            Self::Printing { client, mut text } => {
                if !admin.has_room(client)? {
                    return Some(Self::Printing { client, text });
                }
                let mut piece = String::new();
                let done = text.write(&mut piece);
                admin.piece(client, &piece, done);
                (!done).then_some(Self::Printing { client, text })
            }
            Self::Listing(mut list) => {
                (list.advance(workers, admin, now) != Progress::Over).then_some(Self::Listing(list))
            }
            Self::Ends(mut ends) => {
                (ends.advance(workers, admin, now) != Progress::Over).then_some(Self::Ends(ends))
            }
            Self::Gathering(_) | Self::Watching(_) => Some(self),
        }
    }
}

impl Gathering {
    fn on_answer(&mut self, worker: usize, content: Content) {
        match (self.answers.get_mut(&worker), content) {
            (Some(Content::Metrics { samples, last }), Content::Metrics { samples: more, last: is_last }) => {
                samples.extend(more);
                *last = is_last;
            }
            (_, content) => {
                self.answers.insert(worker, content);
            }
        }
    }

    fn on_gone(&mut self, worker: usize) {
        let whole = self.answers.get(&worker).is_some_and(Content::is_last);
        // What it had counted is in the past of its ledger: told once more, it would count twice.
        if self.kind == Kind::Metrics || !whole {
            self.answers.shift_remove(&worker);
        }
        self.asked.retain(|at| *at != worker || self.answers.contains_key(&worker));
    }

    fn is_over(&self, now: Instant) -> bool {
        let whole = self.answers.values().filter(|answer| answer.is_last()).count();
        whole >= self.asked.len() || self.deadline <= now
    }

    /// Makes one answer of what was answered, or a page of metrics.
    fn respond<K: Supervising>(
        mut self,
        workers: &mut [Worker<K>],
        own: &Own,
        words: &mut Words,
    ) -> Result<Response<'static>, Snapshot> {
        self.answers.retain(|_, answer| answer.is_last());
        self.answers.sort_keys();
        let due = match self.kind {
            Kind::One => std::mem::take(&mut self.asked),
            Kind::Metrics
            | Kind::Readiness
            | Kind::Audit
            | Kind::EndMany
            | Kind::Upstreams
            | Kind::Said(_) => (0..workers.len()).collect(),
        };
        let silent: Vec<_> = due.into_iter().filter(|place| !self.answers.contains_key(place)).collect();
        for &place in &silent {
            workers[place].unanswered += 1;
        }
        let silent: Vec<_> = silent.iter().map(|&place| workers[place].number).collect();
        match self.kind {
            Kind::Metrics => {
                let told = self.answers.into_iter().filter_map(|(place, answer)| {
                    let Content::Metrics { samples, .. } = answer else { return None };
                    Some((place, samples.into_iter().collect()))
                });
                Err(metrics(told.collect(), workers, own))
            }
            Kind::Readiness if own.draining => Ok(Readiness::Draining.response()),
            Kind::Readiness => {
                let answers = self.answers.into_iter().filter_map(|(place, answer)| {
                    let Content::Readiness(readiness) = answer else { return None };
                    Some((workers[place].number, readiness))
                });
                Ok(Readiness::of_workers(&answers.collect::<Vec<_>>(), &silent))
            }
            Kind::Audit => {
                let reports = self.answers.into_values().filter_map(|answer| {
                    let Content::Audit(report) = answer else { return None };
                    Some(report)
                });
                Ok(AuditReport::of_workers(&reports.collect::<Vec<_>>(), &silent))
            }
            Kind::EndMany => {
                let answers = self.answers.into_values().filter_map(|answer| {
                    let Content::EndingMany(ending) = answer else { return None };
                    Some(ending)
                });
                Ok(EndingMany::of_workers(answers).map_or_else(
                    || Response::text(Status::Unavailable, "no worker answers\n"),
                    |ending| ending.response(&silent),
                ))
            }
            Kind::One => {
                let unavailable = "that worker does not run, or does not answer\n";
                Ok(match self.answers.values().next() {
                    Some(Content::Ending(ending)) => ending.response(),
                    Some(Content::Named(naming)) => naming.response(),
                    _ => Response::text(Status::Unavailable, unavailable),
                })
            }
            Kind::Upstreams => {
                let reports = self.answers.into_values().filter_map(|answer| {
                    let Content::Upstreams(reports) = answer else { return None };
                    Some(reports)
                });
                Ok(upstreams_of_workers(reports, &silent))
            }
            Kind::Said(spoken) => Ok(said(&spoken, self.answers, workers, words)),
        }
    }
}

/// What comes of the operator's word. Where it holds, those that were not there to hear it, or do not know the server yet, are
/// told as well, now or when they are started.
fn said<K: Supervising>(
    spoken: &Spoken,
    answers: IndexMap<usize, Content>,
    workers: &mut [Worker<K>],
    words: &mut Words,
) -> Response<'static> {
    let did = |answer: &Content| matches!(answer, Content::Said(Said::Done { .. }));
    let heard: Vec<_> = answers.iter().filter(|(_, answer)| did(answer)).map(|(place, _)| *place).collect();
    let said = answers.into_values().filter_map(|answer| {
        let Content::Said(said) = answer else { return None };
        Some(said)
    });
    let Some(said) = Said::of_workers(said) else {
        return Response::text(Status::Unavailable, "no worker answers\n");
    };
    if matches!(said, Said::Done { .. }) {
        for (_, worker) in workers.iter_mut().enumerate().filter(|(place, _)| !heard.contains(place)) {
            worker.send(&ToWorker::Word(spoken.clone()));
        }
        words.insert((spoken.upstream.clone(), spoken.server.clone()), spoken.word);
    }
    said.response(&spoken.upstream, &spoken.server)
}
