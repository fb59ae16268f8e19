//! Questions about the clients of all workers: the supervisor is asked, and the connection's later messages wait until one
//! answer was made of all that was found. A server of one process only asks itself, for its numbers.
//!
//! A connection that asks needs a place ([`parts::asks`](super::parts::asks)). A list comes in pages, and each is asked for.
//! Where somebody does not answer in time, the reply says who. `queries` has the other side.

use super::Reactor;
use super::connection::Connection;
use super::context::{Conn, Context};
use super::parts::ask::{Ask, Sum};
use super::parts::effect::Effect;
use super::parts::link::WorkerLink;
use super::parts::server_timers::ServerTimer;
use super::parts::task::Task;
use super::work::cost;
use crate::core::end::{Detector, Reason};
use crate::core::table::Key;
use crate::core::time::{Duration, Instant};
use crate::net::{Address, Kernel};
use crate::protocol::AnySession;
use crate::protocol::session::{Answer, Found, Numbers, SUPERVISOR};
use crate::workers::link::{Finding, Query, ToSupervisor};

/// How long the supervisor may take for the next finding. It has a deadline of its own for the workers, which is shorter.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What a connection has asked.
fn ask_of<S>(conn: &mut Connection<S>) -> Option<&mut Ask> {
    match conn.buffers.as_mut()?.task.as_deref_mut()? {
        Task::Ask(ask) => Some(ask),
        Task::Publish(_) | Task::List(_) => None,
    }
}

impl<K: Kernel> Context<K> {
    /// Asks the supervisor for a connection that has not asked yet, once there is a place.
    pub(super) fn send_ask(&mut self, key: Key, conn: &mut Conn<K>) {
        let (Some(link), Some(ask)) = (self.worker.link_mut(), ask_of(conn)) else { return };
        if ask.number.is_some() {
            return;
        }
        let deadline = self.now + ANSWER_WITHIN;
        let Some(number) = link.asks.open(key, ask.line(), deadline) else { return };
        ask.number = Some(number);
        link.send(&ToSupervisor::Query { number, worker: None, query: ask.query.clone() });
        self.timers.arm_no_later(ServerTimer::Asks, deadline);
    }

    /// Adds what was found for a connection that has asked. Returns whether it has all now.
    fn add_finding(
        &mut self,
        conn: &mut Conn<K>,
        number: u64,
        (worker, finding): (u32, Finding),
    ) -> Option<bool> {
        let ask = ask_of(conn).filter(|ask| ask.number == Some(number))?;
        let link = self.worker.link_mut()?;
        if let Some(next) = ask.add(worker, finding) {
            link.asks.put_off(number, self.now + ANSWER_WITHIN);
            let (query, worker) = (ask.query.clone().page(next), (worker > 0).then_some(worker));
            link.send(&ToSupervisor::Query { number, worker, query });
        }
        let is_whole = !ask.is_waiting();
        if let Some(buffers) = &mut conn.buffers {
            self.pool.settle(buffers);
        }
        Some(is_whole)
    }

    /// Replies with what was found.
    pub(super) fn finish_ask(
        &mut self,
        key: Key,
        conn: &mut Conn<K>,
        session: &mut AnySession,
        ask: &mut Ask,
        replies: &mut Vec<u8>,
    ) {
        if !ask.silent.contains(&SUPERVISOR) {
            self.end_asker(key, conn, ask);
        }
        let mut rows = match &mut ask.sum {
            Sum::Names(names) => std::mem::take(&mut names.rows),
            Sum::Clients(lines) => std::mem::take(lines),
            Sum::Sent(_)
            | Sum::Named(_)
            | Sum::State(_)
            | Sum::LastEnd { .. }
            | Sum::Holder { .. }
            | Sum::Counts(_)
            | Sum::Killed(_)
            | Sum::Info { .. } => Vec::new(),
        };
        let found = match (&ask.sum, &ask.query) {
            (Sum::Sent(sent), _) => Found::Sent(*sent),
            (Sum::Named(naming), _) => Found::Named(*naming),
            (Sum::State(state), _) => Found::State(*state),
            (Sum::LastEnd { state, last }, _) => Found::LastEnd { state: *state, last: *last },
            (Sum::Holder { from, claim }, Query::Holder { id }) => {
                Found::Identified(self.identify_unless_held(key, conn, id, from.as_deref(), claim))
            }
            (Sum::Names(names), _) => Found::Names { count: names.places.len(), rows: &mut rows },
            (Sum::Counts(counts), Query::Subscribers { channels }) => Found::Subscribers { channels, counts },
            (Sum::Counts(counts), _) => Found::Patterns(counts.iter().sum()),
            (Sum::Clients(_), _) => Found::Clients { rows: &mut rows },
            (Sum::Killed(count), Query::Kill { filter, .. }) => {
                Found::Ended { form: filter.form, count: *count }
            }
            (Sum::Killed(_) | Sum::Holder { .. }, _) => return,
            (Sum::Info { asked, numbers, server }, _) => Found::Numbers(Numbers {
                asked,
                numbers,
                server,
                port: self.port_of(conn),
                workers: self.worker.link().map(WorkerLink::workers),
            }),
        };
        session.answered(Answer { found, silent: &ask.silent }, replies);
        self.write_list(key, conn, replies, rows);
    }

    /// Ends the connection that asked, if its own `CLIENT KILL` matches it. It gets its reply first, so no other place ends
    /// it.
    fn end_asker(&mut self, key: Key, conn: &mut Conn<K>, ask: &mut Ask) {
        if let (Sum::Killed(count), Query::Kill { filter, .. }) = (&mut ask.sum, &ask.query)
            && !filter.skip_me
            && !conn.is_ending()
            && self.is_victim(filter, key, conn)
        {
            *count += 1;
            let (reason, detector, by) = (Reason::LocalKicked, Detector::Client, self.by(key, conn));
            self.effects.push_back(Effect::Close { key, reason, detector, by: Some(by) });
            self.await_effects(key, conn);
        }
    }

    /// The port by which the client came: a server may have several, or only a unix socket.
    fn port_of(&self, conn: &Conn<K>) -> u16 {
        match self.listeners[usize::from(conn.listener)].address {
            Address::Tcp { socket, .. } => socket.port(),
            Address::Unix(_) => 0,
        }
    }
}

impl<K: Kernel> Reactor<K> {
    /// Something was found for a connection.
    pub(super) fn on_found(&mut self, number: u64, worker: u32, finding: Finding) {
        let Some(key) = self.cx.worker.link().and_then(|link| link.asks.asker(number)) else { return };
        // It may be gone, or may wait for another answer by now.
        let Some(conn) = self.table.get_mut(key) else { return self.end_ask(number) };
        match self.cx.add_finding(conn, number, (worker, finding)) {
            Some(false) => {}
            Some(true) => {
                let listens = conn.client().is_some_and(|client| client.membership.subscriptions() > 0);
                self.cx.go_on_with(key, conn);
                self.end_ask(number);
                if listens {
                    self.answer_listener(key);
                }
            }
            None => self.end_ask(number),
        }
    }

    /// Answers one that also listens: before what the supervisor relays next, which happened later. So no event of an identity
    /// overtakes the answer that says how it was.
    fn answer_listener(&mut self, key: Key) {
        self.cx.work.begin_serving();
        self.cx.work.charge(cost::RESUME);
        self.resume_task(key);
        self.settle();
    }

    /// Answers those whose findings have not come in time: the reply says that the supervisor is silent.
    pub(super) fn expire_asks(&mut self) {
        let Some(link) = self.cx.worker.link() else { return };
        // What it has answered is to be read first. The next poll does not wait.
        if link.is_ready() {
            return self.cx.timers.arm_no_later(ServerTimer::Asks, self.cx.now);
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
        let next = self.cx.worker.link().map_or(Instant::NEVER, |link| link.asks.next());
        self.cx.timers.arm_no_later(ServerTimer::Asks, next);
    }

    /// A place is free: the next connection that waits for one takes it.
    fn end_ask(&mut self, number: u64) {
        let Some(link) = self.cx.worker.link_mut() else { return };
        let Some(of) = link.asks.close(number) else { return };
        while let Some(key) = self.cx.worker.link_mut().and_then(|link| link.asks.next_waiting(of)) {
            if let Some(conn) = self.table.get_mut(key)
                && ask_of(conn).is_some_and(|ask| ask.number.is_none())
            {
                return self.cx.send_ask(key, conn);
            }
        }
    }
}
