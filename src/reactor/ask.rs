//! Commands about the clients of all workers: the supervisor is asked, and the connection's later commands wait until one
//! reply was made of all that was found. A server of one process never comes here.
//!
//! A connection that asks needs a place ([`parts::asks`](super::parts::asks)). A list comes in pages, and each is asked for.
//! Where somebody does not answer in time, the reply says who. `queries` has the other side.

use super::Reactor;
use super::connection::Connection;
use super::context::{Conn, Context};
use super::lists::reply_killed;
use super::parts::ask::{Ask, Found, SUPERVISOR};
use super::parts::effect::Effect;
use super::parts::task::Task;
use crate::core::end::{Detector, Reason};
use crate::core::table::Key;
use crate::core::time::{Duration, Instant};
use crate::hub::Presence;
use crate::net::Kernel;
use crate::workers::link::{Finding, Query, ToSupervisor};

/// How long the supervisor may take for the next finding. It has a deadline of its own for the workers, which is shorter.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The command of a connection that asks.
fn ask_of<S>(conn: &mut Connection<S>) -> Option<&mut Ask> {
    match conn.buffers.as_mut()?.task.as_deref_mut()? {
        Task::Ask(ask) => Some(ask),
        Task::Publish(_) | Task::List(_) => None,
    }
}

impl<K: Kernel> Context<K> {
    /// Begins a command about the clients of all workers.
    pub(super) fn ask_all(&self, conn: &Conn<K>, query: Query, replies: &mut Vec<u8>) -> Option<Box<Task>> {
        self.ask_sections(conn, query, Vec::new(), replies)
    }

    /// The same, with the sections of `INFO` that are wanted.
    pub(super) fn ask_sections(
        &self,
        conn: &Conn<K>,
        query: Query,
        sections: Vec<Vec<u8>>,
        replies: &mut Vec<u8>,
    ) -> Option<Box<Task>> {
        let refused = self.refuses_claims(conn, replies);
        (!refused).then(|| Box::new(Task::Ask(Ask::new(query, sections, self.workers()))))
    }

    /// Asks the supervisor for a connection that has not asked yet, once there is a place.
    pub(super) fn send_ask(&mut self, key: Key, conn: &mut Conn<K>) {
        let (Some(link), Some(ask)) = (&mut self.link, ask_of(conn)) else { return };
        if ask.number.is_some() {
            return;
        }
        let deadline = self.now + ANSWER_WITHIN;
        let Some(number) = link.asks.open(key, ask.line(), deadline) else { return };
        ask.number = Some(number);
        link.tell(&ToSupervisor::Query { number, worker: None, query: ask.query.clone() });
        self.timers.expire_asks_at(deadline);
    }

    /// Adds what was found for a connection that has asked. Returns whether it has all now.
    fn add_finding(
        &mut self,
        conn: &mut Conn<K>,
        number: u64,
        (worker, finding): (u32, Finding),
    ) -> Option<bool> {
        let ask = ask_of(conn).filter(|ask| ask.number == Some(number))?;
        let link = self.link.as_mut()?;
        if let Some(next) = ask.add(worker, finding) {
            link.asks.put_off(number, self.now + ANSWER_WITHIN);
            let (query, worker) = (ask.query.clone().page(next), (worker > 0).then_some(worker));
            link.tell(&ToSupervisor::Query { number, worker, query });
        }
        let is_whole = !ask.is_waiting();
        if let Some(buffers) = &mut conn.buffers {
            self.pool.settle(buffers);
        }
        Some(is_whole)
    }

    /// Replies with what was found.
    pub(super) fn finish_ask(&mut self, key: Key, conn: &mut Conn<K>, ask: &mut Ask, replies: &mut Vec<u8>) {
        let silent = named(&ask.silent);
        let fails = |why: &str| format!("ERR {silent} does not answer{why}");
        let error = |conn: &Conn<K>, replies: &mut Vec<u8>, text: &str| {
            conn.reply(replies, |reply| reply.error(text));
        };
        let complete = ask.silent.is_empty();
        if ask.silent.contains(&SUPERVISOR) {
            return error(conn, replies, &fails("; come back later"));
        }
        match (&mut ask.found, &ask.query) {
            (Found::Sent(_), _) if !complete => {
                error(conn, replies, &fails(", which has that identity: the message may reach it or not"));
            }
            (Found::Sent(sent), _) => conn.reply(replies, |reply| reply.count(usize::from(*sent))),
            (Found::State(state), _) => {
                conn.reply(replies, |reply| reply.simple(Presence::name_of(*state)));
            }
            (Found::Names(names), _) => {
                conn.reply(replies, |reply| reply.array(names.places.len()));
                self.write_list(key, conn, replies, std::mem::take(&mut names.body));
            }
            (Found::Counts(_), _) if !complete => {
                error(conn, replies, &fails(": its subscribers are not known"));
            }
            (Found::Counts(counts), Query::Subscribers { channels }) => conn.reply(replies, |reply| {
                reply.array(channels.len() * 2);
                for (channel, count) in channels.iter().zip(counts) {
                    reply.bulk(channel);
                    reply.number(*count);
                }
            }),
            (Found::Counts(counts), _) => conn.reply(replies, |reply| reply.number(counts.iter().sum())),
            (Found::Clients(_), _) if !complete => {
                error(conn, replies, &fails("; GET /connections lists the clients of the others"));
            }
            (Found::Clients(lines), _) => self.write_lines(key, conn, replies, std::mem::take(lines)),
            (Found::Killed(count), Query::Kill { filter, .. }) => {
                // Nobody else ends the one that asks: it gets its reply first, and goes on when it is being ended.
                if !filter.skip_me && !conn.is_ending() && self.is_victim(filter, key, conn) {
                    *count += 1;
                    let (reason, detector, by) = (Reason::LocalKicked, Detector::Client, self.by(key, conn));
                    self.effects.push_back(Effect::Close { key, reason, detector, by: Some(by) });
                    self.await_effects(key, conn);
                }
                if complete {
                    reply_killed(conn, filter.form, *count, replies);
                } else {
                    let why = format!("; of the others, {count} are being ended");
                    error(conn, replies, &fails(&why));
                }
            }
            (Found::Killed(_), _) => {}
            (Found::Info { sections, numbers, server }, _) => {
                let workers = Some((self.workers(), ask.silent.as_slice()));
                self.write_info(conn, sections, numbers, server, workers, replies);
            }
        }
    }
}

impl<K: Kernel> Reactor<K> {
    /// Something was found for a connection.
    pub(super) fn on_found(&mut self, number: u64, worker: u32, finding: Finding) {
        let Some(key) = self.cx.link.as_ref().and_then(|link| link.asks.asker(number)) else { return };
        // It may be gone, or may wait for another answer by now.
        let Some(conn) = self.table.get_mut(key) else { return self.end_ask(number) };
        match self.cx.add_finding(conn, number, (worker, finding)) {
            Some(false) => {}
            Some(true) => {
                self.cx.go_on_with(key, conn);
                self.end_ask(number);
            }
            None => self.end_ask(number),
        }
    }

    /// Does without what the supervisor has not answered in time.
    pub(super) fn expire_asks(&mut self) {
        let Some(link) = &self.cx.link else { return };
        // What it has answered is to be read first. The next poll does not wait.
        if link.is_ready() {
            return self.cx.timers.expire_asks_at(self.cx.now);
        }
        for (number, key) in link.asks.late(self.cx.now) {
            if let Some(conn) = self.table.get_mut(key)
                && let Some(ask) = ask_of(conn).filter(|ask| ask.number == Some(number))
            {
                ask.silent.push(SUPERVISOR);
                ask.outstanding = 0;
                self.cx.go_on_with(key, conn);
            }
            self.end_ask(number);
        }
        let next = self.cx.link.as_ref().map_or(Instant::NEVER, |link| link.asks.next());
        self.cx.timers.expire_asks_at(next);
    }

    /// A place is free, for the next who waits and is still there.
    fn end_ask(&mut self, number: u64) {
        let Some(link) = &mut self.cx.link else { return };
        let Some(of) = link.asks.close(number) else { return };
        while let Some(key) = self.cx.link.as_mut().and_then(|link| link.asks.next_waiting(of)) {
            if let Some(conn) = self.table.get_mut(key)
                && ask_of(conn).is_some_and(|ask| ask.number.is_none())
            {
                return self.cx.send_ask(key, conn);
            }
        }
    }
}

/// Those who do not answer, for the reply.
fn named(silent: &[u32]) -> String {
    match silent {
        [SUPERVISOR, ..] => "the supervisor".to_owned(),
        [one] => format!("worker {one}"),
        several => {
            let numbers: Vec<_> = several.iter().map(u32::to_string).collect();
            format!("each of the workers {}", numbers.join(", "))
        }
    }
}
