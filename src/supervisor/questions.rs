//! What is asked at the admin interface, and how it is answered for all workers: who is asked, how long is waited, and
//! what is made of the answers. A worker that does not answer in time is named, and holds up nobody.

use super::desk::ClientId;
use super::merge;
use super::worker::Worker;
use crate::fellows::{Answer, Question};
use crate::proto::http::{Method, Request, Response, Status};
use crate::table::Key;
use crate::time::{Duration, Instant};
use indexmap::IndexMap;
use std::fmt::Write as _;

/// How long a worker may take to answer: far less than a scraper waits, and far more than a turn lasts.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Questions at once: each may bring an answer of some megabytes from every worker.
const QUESTIONS_MAX: usize = 16;
/// Connections listed unless the query asks for another number: as in one process.
const LIST_DEFAULT: usize = 1_000;

const INDEX: &str = "linger admin interface, of a server with several workers\n\n\
    GET  /metrics                  Prometheus text; the sum of all workers\n\
    GET  /healthz                  200 while the supervisor runs\n\
    GET  /readyz                   503 while a worker drains, cannot accept, or does not answer\n\
    GET  /connections              JSON; of all workers; ?listener= &state= &identity= &peer= &limit=\n\
    GET  /audit                    JSON; the last audit of each worker\n\
    POST /connections/{key}/end    ends one connection; the key is from the list\n";

/// What is to be made of the answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum About {
    Metrics,
    Readiness,
    Connections {
        limit: usize,
    },
    Audit,
    /// One worker's answer is the answer.
    One,
}

/// A question that is being answered.
struct Open {
    client: ClientId,
    about: About,
    asked: Vec<usize>,
    answers: Vec<(usize, Answer)>,
    deadline: Instant,
}

/// Questions, and those that are being answered.
#[derive(Default)]
pub(super) struct Questions {
    open: IndexMap<u64, Open>,
    last: u64,
}

/// What the supervisor itself has to tell.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Own {
    pub(super) uptime_seconds: f64,
    pub(super) draining: bool,
    pub(super) channels: usize,
    pub(super) patterns: usize,
    pub(super) identities_moved: u64,
    pub(super) dropped: u64,
}

impl Questions {
    /// Takes a request: asks the workers, or answers at once.
    pub(super) fn ask(
        &mut self,
        client: ClientId,
        request: &Request,
        workers: &mut [Worker],
        now: Instant,
    ) -> Option<Response<'static>> {
        let (about, places, path) = match route(request, workers.len()) {
            Route::Here(response) => return Some(response),
            Route::All(about) => (about, 0..workers.len(), request.path.clone()),
            Route::One { place, key } => (About::One, place..place + 1, format!("/connections/{key}/end")),
        };
        if self.open.len() >= QUESTIONS_MAX {
            let text = "too many questions at once; ask again\n";
            return Some(Response::text(Status::Unavailable, text));
        }
        self.last += 1;
        let question = Question {
            number: self.last,
            act: request.method == Method::Post,
            path,
            query: request.query.clone(),
        };
        let asked: Vec<_> = places.filter(|&place| workers[place].ask(&question)).collect();
        let deadline = if asked.is_empty() { now } else { now + ANSWER_WITHIN };
        self.open.insert(self.last, Open { client, about, asked, answers: Vec::new(), deadline });
        None
    }

    /// A worker answers.
    pub(super) fn on_answer(&mut self, worker: usize, answer: Answer) {
        // One that comes too late is an answer to nothing.
        if let Some(open) = self.open.get_mut(&answer.number) {
            open.answers.push((worker, answer));
        }
    }

    /// A worker has ended, and answers no more.
    pub(super) fn on_gone(&mut self, worker: usize) {
        for open in self.open.values_mut() {
            // What it had counted is in the past of its ledger: told once more, it would count twice.
            if open.about == About::Metrics {
                open.answers.retain(|(at, _)| *at != worker);
            }
            let answered = open.answers.iter().any(|(at, _)| *at == worker);
            open.asked.retain(|at| *at != worker || answered);
        }
    }

    /// When the next runs out of time.
    pub(super) fn next(&self) -> Instant {
        self.open.values().map(|open| open.deadline).min().unwrap_or(Instant::NEVER)
    }

    /// Takes those that can be answered now, by their clients.
    pub(super) fn conclude(
        &mut self,
        workers: &mut [Worker],
        own: Own,
        now: Instant,
    ) -> Vec<(ClientId, Response<'static>)> {
        let is_over = |open: &Open| open.answers.len() >= open.asked.len() || open.deadline <= now;
        let over: Vec<_> = self.open.iter().filter(|(_, open)| is_over(open)).map(|(n, _)| *n).collect();
        over.into_iter()
            .filter_map(|number| self.open.swap_remove(&number))
            .map(|open| (open.client, open.respond(workers, own)))
            .collect()
    }
}

/// Where a request is answered.
enum Route {
    /// Here, at once.
    Here(Response<'static>),
    /// By all workers together.
    All(About),
    /// By the worker at that place, which is to end a connection.
    One { place: usize, key: Key },
}

fn route(request: &Request, workers: usize) -> Route {
    let here = |status, text: &'static str| Route::Here(Response::text(status, text));
    if request.origin.is_some() {
        return here(Status::Forbidden, "requests from web pages are refused\n");
    }
    let reading = matches!(request.method, Method::Get | Method::Head);
    match (reading, request.path.as_str()) {
        (true, "/") => here(Status::Ok, INDEX),
        (true, "/healthz") => here(Status::Ok, "ok\n"),
        (true, "/metrics") => Route::All(About::Metrics),
        (true, "/readyz") => Route::All(About::Readiness),
        (true, "/audit") => Route::All(About::Audit),
        (true, "/connections") => Route::All(About::Connections { limit: limit(request) }),
        (false, path) if path.starts_with("/connections/") => route_end(path, workers),
        (_, "/" | "/metrics" | "/healthz" | "/readyz" | "/connections" | "/audit") => {
            here(Status::MethodNotAllowed, "this path is for reading: use GET\n")
        }
        (true, path) if path.starts_with("/connections/") => {
            here(Status::MethodNotAllowed, "ending a connection is an action: use POST\n")
        }
        (_, path) => Route::Here(no_such(path)),
    }
}

/// Connections to be listed. What is wrong with the number, each of the workers says.
fn limit(request: &Request) -> usize {
    request.query_value("limit").and_then(|text| text.parse().ok()).unwrap_or(LIST_DEFAULT)
}

fn route_end(path: &str, workers: usize) -> Route {
    let Some(name) = path.strip_prefix("/connections/").and_then(|rest| rest.strip_suffix("/end")) else {
        return Route::Here(no_such(path));
    };
    let Some((place, key)) = connection_named(name, workers) else {
        let form = "it has the form 2.17-4711, the number of its worker first, as /connections lists it";
        let text = format!("{name:?} names no connection of a worker: {form}\n");
        return Route::Here(Response::text(Status::BadRequest, text));
    };
    Route::One { place, key }
}

/// The place of the worker that has the connection of that name, and its key there.
fn connection_named(name: &str, workers: usize) -> Option<(usize, Key)> {
    let (number, key) = name.split_once('.')?;
    let place = number.parse::<usize>().ok()?.checked_sub(1).filter(|place| *place < workers)?;
    let key: Key = key.parse().ok()?;
    // As it is listed, and in no other way.
    (name == format!("{}.{key}", place + 1)).then_some((place, key))
}

fn no_such(path: &str) -> Response<'static> {
    Response::text(Status::NotFound, format!("no such path: {path}\n\n{INDEX}"))
}

impl Open {
    /// Makes one answer of what was answered.
    fn respond(mut self, workers: &mut [Worker], own: Own) -> Response<'static> {
        self.answers.sort_by_key(|(worker, _)| *worker);
        let missing = |place: &usize| self.answers.iter().all(|(worker, _)| worker != place);
        let silent: Vec<_> = match self.about {
            About::One => self.asked.iter().copied().filter(missing).collect(),
            About::Metrics | About::Readiness | About::Connections { .. } | About::Audit => {
                (0..workers.len()).filter(missing).collect()
            }
        };
        for &place in &silent {
            workers[place].unanswered += 1;
        }
        let numbers: Vec<_> = silent.iter().map(|&place| workers[place].number).collect();
        let is_final = |answer: &Answer| match self.about {
            About::One => true,
            // That one is not ready is no refusal.
            About::Readiness => false,
            // What is refused is refused by all of them alike.
            About::Metrics | About::Connections { .. } | About::Audit => answer.status >= 400,
        };
        if let Some((_, answer)) = self.answers.iter().find(|(_, answer)| is_final(answer)) {
            let status = Status::from_code(answer.status).unwrap_or(Status::Internal);
            return Response::text(status, answer.body.clone());
        }
        let bodies =
            self.answers.iter().map(|(place, answer)| (workers[*place].number, answer.body.as_str()));
        match self.about {
            About::Metrics => Response::metrics(metrics(&self.answers, workers, own)),
            About::Connections { limit } => {
                Response::json(Status::Ok, merge::connections(limit, bodies, &numbers))
            }
            About::Audit => Response::json(Status::Ok, merge::audits(bodies, &numbers)),
            About::Readiness => readiness(&self.answers, workers, &numbers, own),
            About::One => {
                let text = "that worker does not run, or does not answer\n";
                Response::text(Status::Unavailable, text)
            }
        }
    }
}

fn readiness(answers: &[(usize, Answer)], workers: &[Worker], silent: &[u32], own: Own) -> Response<'static> {
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

fn metrics(answers: &[(usize, Answer)], workers: &mut [Worker], own: Own) -> String {
    #[expect(clippy::cast_precision_loss, reason = "counts, far below 2^53")]
    let number = |count: u64| count as f64;
    let answer_of =
        |place: usize| answers.iter().find(|(at, _)| *at == place).map(|(_, answer)| answer.body.as_str());
    let all = workers.iter_mut().enumerate();
    let mut page =
        merge::metrics(all.map(|(place, worker)| (worker.number, &mut worker.ledger, answer_of(place))));
    page.put("linger_uptime_seconds", "gauge", "Time since the server started.", "", own.uptime_seconds);
    let help = "1 while the server drains: it says goodbye and accepts no clients.";
    page.put("linger_draining", "gauge", help, "", f64::from(u8::from(own.draining)));
    page.put("linger_workers", "gauge", "Workers that there are to be.", "", number(workers.len() as u64));
    // A topic may have subscribers in several workers, each of which counts it.
    let channels = number(own.channels as u64);
    page.put("linger_channels", "gauge", "Channels with a subscriber.", "", channels);
    let patterns = number(own.patterns as u64);
    page.put("linger_patterns", "gauge", "Patterns with a subscriber.", "", patterns);
    let help = "Identities that went from a client of one worker to a client of another.";
    let moved = number(own.identities_moved);
    page.put("linger_identities_moved_total", "counter", help, "", moved);
    let help = "Messages and presence events that did not reach a worker, because somebody did not keep up.";
    let dropped = page.sum("linger_relays_dropped_total") + number(own.dropped);
    page.put("linger_relays_dropped_total", "counter", help, "", dropped);
    for (place, worker) in workers.iter().enumerate() {
        let labels = format!("{{worker=\"{}\"}}", worker.number);
        let up = f64::from(u8::from(answer_of(place).is_some()));
        page.put("linger_worker_up", "gauge", "1 if the worker answered this question in time.", &labels, up);
        let help = "Times that the worker was started anew after it had ended.";
        page.put("linger_worker_restarts_total", "counter", help, &labels, number(worker.restarts));
        let help = "Questions of the admin interface that the worker did not answer in time.";
        page.put("linger_worker_unanswered_total", "counter", help, &labels, number(worker.unanswered));
    }
    page.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_dropped_is_told_in_full_also_when_no_worker_answers() {
        let mut workers = [Worker::new(1, Vec::new()), Worker::new(2, Vec::new())];
        let own = Own {
            uptime_seconds: 1.0,
            draining: false,
            channels: 0,
            patterns: 0,
            identities_moved: 0,
            dropped: 1,
        };
        let body = "# HELP linger_relays_dropped_total D.\n# TYPE linger_relays_dropped_total counter\n\
                    linger_relays_dropped_total 2\n";
        let answer = Answer { number: 1, status: 200, body: body.to_owned() };
        for answers in [vec![(0, answer)], Vec::new()] {
            let page = metrics(&answers, &mut workers, own);
            assert!(page.contains("\nlinger_relays_dropped_total 3\n"), "{} answers: {page}", answers.len());
            assert!(
                page.contains("# HELP linger_relays_dropped_total Messages and"),
                "it is the sum's: {page}"
            );
        }
    }
}
