//! What is asked at the admin interface, and how it is answered for all workers: who is asked, how long is waited, and
//! what is made of the answers. A worker that does not answer in time is named, and holds up nobody.

use super::admin_server::{AdminServer, ClientId};
use super::lists::{List, Progress};
use super::totals::{Own, metrics};
use super::worker::Worker;
use crate::core::table::Key;
use crate::core::time::{Duration, Instant};
use crate::net::Supervising;
use crate::observe::metrics::{Snapshot, Text};
use crate::protocol::admin::{self, Route, Serves, index};
use crate::protocol::http::{Method, Request, Response, Status};
use crate::workers::link::{Answer, Part, Question};
use indexmap::IndexMap;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// How long a worker may take to answer: far less than a scraper waits, and far more than a turn lasts.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Questions at once: each may bring an answer of some megabytes from every worker.
const QUESTIONS_MAX: usize = 16;

/// What is to be made of the answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum About {
    Metrics,
    Readiness,
    Audit,
    /// One worker's answer is the answer.
    One,
}

/// A question that is being answered.
enum Open {
    /// Its workers have not all answered.
    Gathering(Gathering),
    /// Metrics of all that have, as their reader takes them.
    Printing { client: ClientId, text: Text },
    /// Connections, as their reader takes them.
    Listing(Box<List>),
}

/// The answers to a question.
struct Gathering {
    client: ClientId,
    about: About,
    asked: Vec<usize>,
    answers: IndexMap<usize, Gathered>,
    deadline: Instant,
}

/// A worker's answer, as far as it is here.
#[derive(Default)]
pub(super) struct Gathered {
    status: u16,
    body: String,
    pub(super) metrics: Snapshot,
    whole: bool,
}

/// Questions, and those that are being answered.
#[derive(Default)]
pub(super) struct AdminFanout {
    open: IndexMap<u64, Open>,
    last: u64,
}

impl AdminFanout {
    /// Takes a request: asks the workers, or answers at once. True in the second case.
    pub(super) fn ask<K: Supervising>(
        &mut self,
        client: ClientId,
        request: &Request,
        workers: &mut [Worker<K>],
        admin: &mut AdminServer<K>,
        now: Instant,
    ) -> bool {
        let routed = admin::route(request, admin.hosts(), Serves::Several);
        let routed = routed.and_then(|route| {
            if admin.is_reserve(client) && !route.is_vital() { Err(admin::crowded()) } else { Ok(route) }
        });
        let route = match routed.and_then(|route| self.with_room(route)) {
            Ok(route) => route,
            Err(refused) => {
                admin.answer(client, &refused, true);
                return true;
            }
        };
        // Nothing is asked of the workers to learn how long it would be.
        if request.method == Method::Head
            && let Some(head) = head_of(&route)
        {
            admin.piece(client, &head, "", true);
            return true;
        }
        let all = 0..workers.len();
        let (about, places, asked) = match route {
            Route::Index => {
                return answered(admin, client, &Response::text(Status::Ok, index(Serves::Several)));
            }
            Route::Health => return answered(admin, client, &Response::text(Status::Ok, "ok\n")),
            Route::Connections(query) => {
                let limit = query.limit;
                let question = self.question(Route::Connections(query), admin.peer(client));
                let list = List::new(client, question, limit, workers, now + ANSWER_WITHIN);
                self.open.insert(self.last, Open::Listing(Box::new(list)));
                return false;
            }
            Route::End(name) => match connection_named(&name, workers.len()) {
                // Its worker knows it by its key alone.
                Some((place, key)) => (About::One, place..place + 1, Route::End(key.to_string())),
                None => return answered(admin, client, &no_connection(&name)),
            },
            Route::Ready => (About::Readiness, all, route),
            Route::Metrics => (About::Metrics, all, route),
            Route::Audit => (About::Audit, all, route),
        };
        let question = self.question(asked, admin.peer(client));
        let asked: Vec<_> = places.filter(|&place| workers[place].ask(&question)).collect();
        let deadline = if asked.is_empty() { now } else { now + ANSWER_WITHIN };
        let gathering = Gathering { client, about, asked, answers: IndexMap::new(), deadline };
        self.open.insert(self.last, Open::Gathering(gathering));
        false
    }

    /// Refuses what there is no room for. Whether the server is well is answered in any case.
    fn with_room(&self, route: Route) -> Result<Route, Response<'static>> {
        let asks_workers = !matches!(route, Route::Index) && !route.is_vital();
        let busy = self.open.values().filter(|open| open.awaits_workers()).count();
        if asks_workers && busy >= QUESTIONS_MAX {
            let text = "too many questions at once; ask again\n";
            return Err(Response::text(Status::Unavailable, text));
        }
        Ok(route)
    }

    /// The next question.
    const fn question(&mut self, route: Route, peer: String) -> Question {
        self.last += 1;
        Question { number: self.last, route, peer, from: 0, rows: 0 }
    }

    /// A worker answers.
    pub(super) fn on_answer(&mut self, worker: usize, answer: Answer) {
        match self.open.get_mut(&answer.number) {
            Some(Open::Gathering(gathering)) => gathering.on_answer(worker, answer),
            Some(Open::Listing(list)) => list.on_answer(worker, answer),
            // One that comes too late is an answer to nothing.
            Some(Open::Printing { .. }) | None => {}
        }
    }

    /// A worker has ended, and answers no more.
    pub(super) fn on_gone(&mut self, worker: usize) {
        for open in self.open.values_mut() {
            match open {
                Open::Gathering(gathering) => gathering.on_gone(worker),
                Open::Listing(list) => list.on_gone(worker),
                Open::Printing { .. } => {}
            }
        }
    }

    /// When the next runs out of time.
    pub(super) fn next(&self) -> Instant {
        let deadlines = self.open.values().map(|open| match open {
            Open::Gathering(gathering) => gathering.deadline,
            Open::Listing(list) => list.deadline(),
            Open::Printing { .. } => Instant::NEVER,
        });
        deadlines.min().unwrap_or(Instant::NEVER)
    }

    /// Whether metrics are to be told now.
    pub(super) fn wants_usage(&self, now: Instant) -> bool {
        let wants = |open: &Open| match open {
            Open::Gathering(gathering) => gathering.about == About::Metrics && gathering.is_over(now),
            Open::Printing { .. } | Open::Listing(_) => false,
        };
        self.open.values().any(wants)
    }

    /// Goes on with all that are being answered, as far as workers have answered and readers take it. Gives the clients
    /// that have something to take.
    pub(super) fn advance<K: Supervising>(
        &mut self,
        workers: &mut [Worker<K>],
        admin: &mut AdminServer<K>,
        own: Own,
        now: Instant,
    ) -> Vec<ClientId> {
        let mut served = Vec::new();
        for (number, open) in std::mem::take(&mut self.open) {
            let client = open.client();
            let before = admin.pending_output(client);
            if let Some(open) = open.advance(workers, admin, own, now) {
                self.open.insert(number, open);
            }
            if admin.pending_output(client) != before {
                served.push(client);
            }
        }
        served
    }
}

fn answered<K: Supervising>(admin: &mut AdminServer<K>, client: ClientId, response: &Response<'_>) -> bool {
    admin.answer(client, response, false);
    true
}

/// The head of what is produced as it is taken.
fn head_of(route: &Route) -> Option<Response<'static>> {
    match route {
        Route::Metrics => Some(Response::metrics("")),
        Route::Connections(_) => Some(Response::json(Status::Ok, "")),
        Route::Index | Route::Health | Route::Ready | Route::Audit | Route::End(_) => None,
    }
}

/// The place of the worker that has the connection of that name, and its key there.
fn connection_named(name: &str, workers: usize) -> Option<(usize, Key)> {
    let (number, key) = name.split_once('.')?;
    let place = number.parse::<usize>().ok()?.checked_sub(1).filter(|place| *place < workers)?;
    let key: Key = key.parse().ok()?;
    // As it is listed, and in no other way.
    (name == format!("{}.{key}", place + 1)).then_some((place, key))
}

fn no_connection(name: &str) -> Response<'static> {
    let form = "it has the form 2.17-4711, the number of its worker first, as /connections lists it";
    let text = format!("{name:?} names no connection of a worker: {form}\n");
    Response::text(Status::BadRequest, text)
}

impl Open {
    const fn client(&self) -> ClientId {
        match self {
            Self::Gathering(gathering) => gathering.client,
            Self::Printing { client, .. } => *client,
            Self::Listing(list) => list.client,
        }
    }

    /// Whether a worker owes it something.
    const fn awaits_workers(&self) -> bool {
        match self {
            Self::Gathering(_) => true,
            Self::Listing(list) => list.awaits_worker(),
            Self::Printing { .. } => false,
        }
    }

    /// Goes on; `None` once it is finished.
    fn advance<K: Supervising>(
        self,
        workers: &mut [Worker<K>],
        admin: &mut AdminServer<K>,
        own: Own,
        now: Instant,
    ) -> Option<Self> {
        match self {
            Self::Gathering(gathering) if gathering.is_over(now) => {
                let client = gathering.client;
                let printing = match gathering.respond(workers, own) {
                    Ok(response) => {
                        admin.answer(client, &response, false);
                        return None;
                    }
                    Err(metrics) => Self::Printing { client, text: metrics.into_text() },
                };
                printing.advance(workers, admin, own, now)
            }
            Self::Printing { client, mut text } => {
                if !admin.has_room(client)? {
                    return Some(Self::Printing { client, text });
                }
                let mut piece = String::new();
                let done = text.write(&mut piece);
                admin.piece(client, &Response::metrics(""), &piece, done);
                (!done).then_some(Self::Printing { client, text })
            }
            Self::Listing(mut list) => {
                (list.advance(workers, admin, now) != Progress::Over).then_some(Self::Listing(list))
            }
            Self::Gathering(_) => Some(self),
        }
    }
}

impl Gathering {
    fn on_answer(&mut self, worker: usize, answer: Answer) {
        let gathered = self.answers.entry(worker).or_default();
        gathered.status = answer.status;
        gathered.whole = answer.part != Part::More;
        gathered.body.push_str(&answer.body);
        for samples in answer.samples {
            gathered.metrics.tell(samples);
        }
    }

    fn on_gone(&mut self, worker: usize) {
        let whole = self.answers.get(&worker).is_some_and(|answer| answer.whole);
        // What it had counted is in the past of its ledger: told once more, it would count twice.
        if self.about == About::Metrics || !whole {
            self.answers.shift_remove(&worker);
        }
        self.asked.retain(|at| *at != worker || self.answers.contains_key(&worker));
    }

    fn is_over(&self, now: Instant) -> bool {
        let whole = self.answers.values().filter(|answer| answer.whole).count();
        whole >= self.asked.len() || self.deadline <= now
    }

    /// Makes one answer of what was answered, or a page of metrics.
    fn respond<K: Supervising>(
        mut self,
        workers: &mut [Worker<K>],
        own: Own,
    ) -> Result<Response<'static>, Snapshot> {
        self.answers.retain(|_, answer| answer.whole);
        self.answers.sort_keys();
        let missing = |place: &usize| !self.answers.contains_key(place);
        let silent: Vec<_> = match self.about {
            About::One => self.asked.iter().copied().filter(missing).collect(),
            About::Metrics | About::Readiness | About::Audit => (0..workers.len()).filter(missing).collect(),
        };
        for &place in &silent {
            workers[place].unanswered += 1;
        }
        let numbers: Vec<_> = silent.iter().map(|&place| workers[place].number).collect();
        let is_final = |answer: &Gathered| match self.about {
            About::One => true,
            // That one is not ready is no refusal.
            About::Readiness => false,
            // What is refused is refused by all of them alike.
            About::Metrics | About::Audit => answer.status >= 400,
        };
        if let Some(answer) = self.answers.values().find(|answer| is_final(answer)) {
            let status = Status::from_code(answer.status).unwrap_or(Status::Internal);
            return Ok(Response::text(status, answer.body.clone()));
        }
        match self.about {
            About::Metrics => Err(metrics(self.answers, workers, own)),
            About::Audit => {
                let bodies = self.answers.iter();
                let bodies = bodies.map(|(place, answer)| (workers[*place].number, answer.body.as_str()));
                Ok(Response::json(Status::Ok, audits(bodies, &numbers)))
            }
            About::Readiness => Ok(readiness(&self.answers, workers, &numbers, own)),
            About::One => {
                let text = "that worker does not run, or does not answer\n";
                Ok(Response::text(Status::Unavailable, text))
            }
        }
    }
}

/// The audits of all workers, side by side.
fn audits(answers: impl Iterator<Item = (u32, impl AsRef<str>)>, unanswered: &[u32]) -> String {
    let workers: Vec<_> = answers
        .filter_map(|(worker, body)| {
            let mut audit: Value = serde_json::from_str(body.as_ref()).ok()?;
            audit["worker"] = worker.into();
            Some(audit)
        })
        .collect();
    format!("{}\n", json!({ "workers": workers, "unanswered_workers": unanswered }))
}

fn readiness<K: Supervising>(
    answers: &IndexMap<usize, Gathered>,
    workers: &[Worker<K>],
    silent: &[u32],
    own: Own,
) -> Response<'static> {
    let mut text = String::new();
    for (place, answer) in answers.iter().filter(|(_, answer)| answer.status != 200) {
        let _ = write!(text, "worker {}: {}", workers[*place].number, answer.body);
    }
    for number in silent {
        let _ = writeln!(text, "worker {number}: does not answer");
    }
    match (own.draining, text.is_empty()) {
        (true, _) => Response::text(Status::Unavailable, "draining\n"),
        (false, true) => Response::text(Status::Ok, "ready\n"),
        (false, false) => Response::text(Status::Unavailable, text),
    }
}
