//! The admin interface: requests in, answers out, and the clients do not wait for either.
//!
//! Who has asked waits in one queue: connections with a request or with an answer that is not finished, and questions
//! of the supervisor. Each turn does a bounded amount of work for all of them together, a share for each before the
//! next has its turn. What is over that waits as a cursor ([`Page`]) and goes on next turn; so does an answer that its
//! reader does not take. A connection is not read while it has a request: its socket holds what it asks next.
//!
//! Who watches what happens is told all of it, and then waits in no queue until something happens.
//!
//! `page`, `ends` and `events` produce the long answers, `places` has who makes way when all places are taken.

mod ends;
mod events;
mod page;
mod places;
#[cfg(test)]
mod tests;

use super::Reactor;
use super::connection::Connection;
use super::context::{Conn, Context};
use super::parts::admin::{Asker, Http, Metrics, Page, Produced, Stage};
use crate::core::conn::Input;
use crate::core::end::{By, Detector};
use crate::core::table::{Key, NotAKey};
use crate::net::Kernel;
use crate::observe::answers::{Readiness, upstreams};
use crate::protocol::admin::{Asked, Close, Next, Serves, Session, no_name};
use crate::protocol::session::Progress;
use crate::protocol::{Identity, Naming};
use crate::workers::link::{About, Answer, Content, Question, ToSupervisor};
use page::AUDIT_WORK;
use std::sync::Arc;

/// Work done in one turn for all who ask together, in bytes of answers; what costs anything else is put in bytes that
/// cost as much. It takes less than half a millisecond.
const WORK_PER_TURN: usize = 64 * 1024;
/// Work done for one of them before the next has its turn.
const SHARE: usize = 16 * 1024;
/// To understand a request, and to send what answers it.
const REQUEST_WORK: usize = 512;

impl<K: Kernel> Reactor<K> {
    /// Serves those who have asked, within the bound on the work of a turn.
    pub(super) fn serve_admin(&mut self) {
        let mut left = WORK_PER_TURN;
        while left > 0
            && let Some(asker) = self.cx.admin.next()
        {
            let share = left.min(SHARE);
            let work = match asker {
                Asker::Connection(key) => self.serve_asker(key, share),
                Asker::Supervisor(question) => self.serve_question(*question, share),
                Asker::Metrics(number, metrics) => self.send_metrics(number, metrics, share),
            };
            left = left.saturating_sub(work);
        }
    }

    /// Serves a connection until it has all it asked for, its share of the turn is spent, or it has to take output
    /// first. Gives the work.
    fn serve_asker(&mut self, key: Key, share: usize) -> usize {
        let Some(conn) = self.table.get_mut(key) else { return 0 };
        let (over, paused) = (conn.is_ending(), conn.is_paused());
        let listener = usize::from(conn.listener);
        let Some(http) = conn.http_mut() else { return 0 };
        http.queued = false;
        if over {
            // Its other requests get no answer; its end of file is to be read.
            http.stage = Stage::Idle;
            self.cx.forget_input(conn);
            self.cx.posted.resume(key, conn);
            return 0;
        }
        if paused {
            return 0;
        }
        let mut session = std::mem::take(&mut *http.session);
        let mut stage = std::mem::replace(&mut http.stage, Stage::Idle);
        let mut held = self.cx.take_queue(conn);
        let mut out = std::mem::take(&mut self.replies);
        let mut work = 0;
        while work < share && !session.is_over() {
            stage = match stage {
                Stage::Idle | Stage::Watching(_) => break,
                Stage::Taking(page) => self.go_on(key, page, &mut session, share, &mut work, &mut out),
                Stage::Asking => {
                    let before = out.len();
                    let mut input = held.as_slice();
                    let door = self.cx.listeners[listener].settings.door();
                    let next = session.next(&mut input, door, Serves::One, &mut out);
                    let used = held.len() - input.len();
                    held.consume(used);
                    let stage = self.on_next(key, next, &mut session, &mut out);
                    work += REQUEST_WORK + out.len() - before;
                    stage
                }
            };
        }
        let close = session.close(held.len());
        if close.is_some() {
            // What follows the last request gets no answer; kept, it would grow until the deadline.
            held.consume(held.len());
        }
        self.drive(key, |cx, conn| {
            cx.keep_input(conn, held, Progress::default());
            cx.write(key, conn, &out);
            cx.after_serving(key, conn, session, stage, close);
        });
        out.clear();
        self.replies = out;
        work
    }

    /// Answers a request, or begins to.
    fn on_next(&mut self, key: Key, next: Next, session: &mut Session, out: &mut Vec<u8>) -> Stage {
        if matches!(next, Next::Answered | Next::Asked(_)) {
            self.drive(key, |cx, conn| cx.apply(key, conn, Input::Opened));
        }
        let asked = match next {
            Next::Wait => return Stage::Idle,
            Next::Asked(asked) => asked,
            Next::Answered => return Stage::Asking,
            Next::Rejected(error) => {
                self.drive(key, |cx, conn| cx.note_foreign(conn, &error));
                return Stage::Idle;
            }
        };
        let response = match asked {
            Asked::Metrics => return Stage::Taking(Box::new(Page::metrics())),
            Asked::Connections(query) => return Stage::Taking(Box::new(Page::list(query))),
            Asked::Ends(query) => return Stage::Taking(Box::new(Page::ends(*query))),
            Asked::Events(query) => return Stage::Taking(Box::new(Page::watch(query))),
            Asked::Ready => self.cx.readiness().response(),
            Asked::Audit => self.cx.audit().response(),
            Asked::Upstreams => upstreams(&self.cx.upstream_reports()),
            Asked::Word(spoken) => self.cx.on_word(&spoken).response(&spoken.upstream, &spoken.server),
            Asked::End(name) => match name.parse() {
                Ok(connection) => {
                    let by = self.table.get(key).map(|conn| self.cx.by(key, conn));
                    self.end_connection(connection, by).response()
                }
                Err(NotAKey) => no_name(&name, Serves::One),
            },
            Asked::EndMany(many) => match self.table.get(key).map(|conn| self.cx.by(key, conn)) {
                Some(by) => self.end_many(many, by).response(&[]),
                None => return Stage::Idle,
            },
            Asked::Name(name, id) => match name.parse() {
                Ok(connection) => self.name_connection(connection, &id).response(),
                Err(NotAKey) => no_name(&name, Serves::One),
            },
        };
        session.answer(&response, out);
        Stage::Asking
    }

    /// Produces more of an answer.
    fn go_on(
        &mut self,
        key: Key,
        mut page: Box<Page>,
        session: &mut Session,
        share: usize,
        work: &mut usize,
        out: &mut Vec<u8>,
    ) -> Stage {
        // Its reader is gone; what else was asked is still to be done.
        if self.table.get(key).is_none_or(Connection::is_failing) {
            session.abandon();
            return Stage::Asking;
        }
        let mut piece = String::new();
        let produced = self.produce(&mut page, share - *work, work, &mut piece);
        session.piece(&piece, produced == Produced::All, out);
        match produced {
            Produced::Some => Stage::Taking(page),
            Produced::AllForNow => Stage::Watching(page),
            Produced::All => Stage::Asking,
        }
    }

    /// Answers the supervisor.
    fn serve_question(&mut self, Question { number, about }: Question, share: usize) -> usize {
        let mut work = REQUEST_WORK;
        let content = match about {
            About::Metrics => return self.send_metrics(number, Box::default(), share),
            About::Connections { query, from, rows } => {
                Content::Rows(self.rows(query, from, rows, share, &mut work))
            }
            About::Ends { query, from, rows } => {
                Content::Ends(self.end_rows(query, from, rows, share, &mut work))
            }
            About::Events { query, from } => {
                Content::Events(self.cx.event_rows(&query, from, share, &mut work))
            }
            About::Readiness => Content::Readiness(self.cx.readiness()),
            About::Upstreams => {
                work += AUDIT_WORK;
                Content::Upstreams(self.cx.upstream_reports())
            }
            About::Word(spoken) => Content::Said(self.cx.on_word(&spoken)),
            About::Audit => {
                work += AUDIT_WORK;
                Content::Audit(self.cx.audit())
            }
            About::Name { key, id } => Content::Named(self.name_connection(key, &id)),
            About::End { key, peer } => Content::Ending(self.end_connection(key, Some(supervisor(peer)))),
            About::EndMany { many, peer } => Content::EndingMany(self.end_many(many, supervisor(peer))),
        };
        self.cx.answer_supervisor(number, content);
        work
    }

    fn name_connection(&mut self, key: Key, id: &str) -> Naming {
        let identity = Identity::new(id.as_bytes());
        identity.map_or(Naming::Nowhere, |identity| self.name_client(key, identity))
    }

    /// Tells the supervisor as many metrics as a share of the turn allows.
    fn send_metrics(&mut self, number: u64, mut metrics: Box<Metrics>, share: usize) -> usize {
        let mut work = REQUEST_WORK;
        let mut samples = Vec::new();
        let last = self.numbers_on(&mut metrics, share, &mut work, &mut samples);
        if !last {
            self.cx.admin.push(Asker::Metrics(number, metrics));
        }
        self.cx.answer_supervisor(number, Content::Metrics { samples, last });
        work
    }
}

/// Who ends a connection by way of the supervisor's admin interface.
fn supervisor(peer: String) -> Arc<By> {
    Arc::new(By { key: "supervisor".to_owned(), peer, identity: None })
}

impl<K: Kernel> Context<K> {
    /// Takes what was received, or goes on where output was in the way: both wait for their turn.
    pub(super) fn serve_http(&mut self, key: Key, conn: &mut Conn<K>, fresh: &[u8]) {
        if conn.http().is_none_or(Http::is_watching) {
            // The answer to one that watches has no end: what it asks behind that is never answered.
            return;
        }
        let mut held = self.take_queue(conn);
        held.push(fresh);
        self.keep_input(conn, held, Progress::default());
        let Some(http) = conn.http_mut() else { return };
        if http.is_idle() {
            http.stage = Stage::Asking;
        }
        self.queue_asker(key, conn);
    }

    fn queue_asker(&mut self, key: Key, conn: &mut Conn<K>) {
        if let Some(http) = conn.http_mut()
            && !http.queued
        {
            http.queued = true;
            self.admin.push(Asker::Connection(key));
        }
    }

    /// Keeps the stage of a connection, and posts it if it has more to do.
    fn after_serving(
        &mut self,
        key: Key,
        conn: &mut Conn<K>,
        session: Session,
        stage: Stage,
        close: Option<Close>,
    ) {
        if conn.is_closed() {
            return;
        }
        let (output_pending, paused, unread) =
            (conn.pending_output() > 0, conn.is_paused(), conn.reading.pending());
        let Some(http) = conn.http_mut() else { return };
        *http.session = session;
        match (close, stage) {
            // RFC 9112 9.6: after the last response it is the server that closes, and a client of HTTP/1.0 may read
            // until it does. Only what has not arrived yet is waited for.
            (Some(Close { reason, await_eof }), _) => {
                self.begin_close(key, conn, reason, Detector::Protocol, output_pending || await_eof);
            }
            (None, Stage::Idle) => {
                http.used = self.now;
                if unread && !paused {
                    self.posted.resume(key, conn);
                }
            }
            (None, stage @ Stage::Watching(_)) => {
                http.stage = stage;
                // The answer has no end: what it has asked behind that is never answered.
                self.forget_input(conn);
                // Read from now on: it may leave.
                if unread {
                    self.posted.resume(key, conn);
                }
            }
            (None, stage) => {
                http.stage = stage;
                if !paused {
                    self.queue_asker(key, conn);
                }
            }
        }
    }

    fn answer_supervisor(&mut self, number: u64, content: Content) {
        self.worker.tell_supervisor(&ToSupervisor::Answer(Answer { number, content }));
    }

    fn readiness(&self) -> Readiness {
        if self.lifecycle.is_leaving() {
            return Readiness::Draining;
        }
        self.unready().map_or(Readiness::Ready, |(listener, why)| Readiness::Blocked {
            listener: listener.to_owned(),
            why,
        })
    }
}
