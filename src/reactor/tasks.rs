//! Messages that take more than their share of a turn: what is left of one stays with its connection, whose further
//! messages wait for it, and goes on in later turns. So does reading that a budget or a pause has stopped.

use super::Reactor;
use super::connection::{Flags, Pause, Session};
use super::context::{Conn, Context};
use super::parts::task::Task;
use super::work::{self, cost};
use crate::core::table::Key;
use crate::net::Kernel;
use crate::protocol::AnySession;
use std::ops::ControlFlow;

impl<K: Kernel> Reactor<K> {
    /// Goes on with what a budget or a pause had stopped: frames already received first, then the socket.
    /// Connections that are not reached in this turn are the first in the next.
    pub(super) fn resume_some(&mut self) {
        let share = self.cx.work.after(work::RESUMED);
        for _ in 0..self.cx.posted.to_resume().len() {
            if self.cx.work.is_past(share) {
                return;
            }
            let Some(key) = self.cx.posted.next_to_resume() else { return };
            self.cx.work.begin_serving();
            self.cx.work.charge(cost::RESUME);
            self.resume(key);
            self.settle();
        }
    }

    fn resume(&mut self, key: Key) {
        let Some(conn) = self.table.get_mut(key) else { return };
        conn.flags.clear(Flags::TO_RESUME);
        let bounds = &self.cx.listener_of(conn).policy.bounds;
        let pending = conn.pending_output();
        conn.pause = match conn.pause {
            // Their end will post it.
            Pause::Effects | Pause::LogIn => return,
            Pause::Output if pending > bounds.output_low => Pause::Output,
            Pause::Turn if pending >= bounds.output_high && conn.leg.is_none() => Pause::Output,
            Pause::Partner if conn.leg.is_some_and(|leg| self.cx.gateway.waits_for_partner(key, leg)) => {
                Pause::Partner
            }
            Pause::None | Pause::Turn | Pause::Output | Pause::Partner => Pause::None,
        };
        let has_task = conn.buffers.as_deref().is_some_and(|buffers| buffers.task.is_some());
        if has_task && !conn.is_paused() {
            self.resume_task(key);
        }
        let Some(conn) = self.table.get_mut(key) else { return };
        match conn.session.as_deref() {
            _ if conn.is_paused() => {}
            Some(Session::Client(_) | Session::Refused) if conn.has_work() => self.serve(key, &[]),
            Some(Session::Http(_)) if conn.has_work() => self.cx.serve_http(key, conn, &[]),
            Some(Session::Client(_) | Session::Named(_) | Session::Refused) => {
                conn.release_buffers(&mut self.cx.pool);
            }
            None if conn.leg.is_some() && conn.buffers.is_some() => {
                conn.release_buffers(&mut self.cx.pool);
            }
            // Only their buffers may have the time of their last use.
            Some(Session::Http(_)) | None => {}
        }
        self.read(key);
    }

    /// Goes on with what is left of a connection's message, if something is.
    pub(super) fn resume_task(&mut self, key: Key) {
        let Some(conn) = self.table.get_mut(key) else { return };
        let Some(mut task) = conn.buffers.as_mut().and_then(|buffers| buffers.task.take()) else { return };
        let Some(mut session) = conn.take_session() else { return self.cx.adopt_task(*task) };
        let mut replies = std::mem::take(&mut self.replies);
        let is_over = self.advance_task(key, &mut session, &mut task, &mut replies).is_continue();
        if let Some(conn) = self.table.get_mut(key) {
            conn.return_session(session);
            if is_over {
                conn.release_buffers(&mut self.cx.pool);
            } else {
                self.cx.keep_task(key, conn, task);
            }
            self.cx.write(key, conn, &replies);
        }
        replies.clear();
        self.replies = replies;
    }

    /// Goes on with a message, as far as its share of work goes; its replies follow when it is over.
    pub(super) fn advance_task(
        &mut self,
        key: Key,
        session: &mut AnySession,
        task: &mut Task,
        replies: &mut Vec<u8>,
    ) -> ControlFlow<()> {
        match task {
            Task::Publish(publication) => self.go_on_publishing(publication)?,
            Task::List(list) => self.go_on_listing(list)?,
            Task::Ask(ask) if ask.is_waiting() => return ControlFlow::Break(()),
            Task::Ask(_) => {}
        }
        if let Some(conn) = self.table.get_mut(key) {
            match task {
                Task::Publish(publication) => session.answered(publication.answer(), replies),
                Task::List(list) => self.cx.finish_list(key, conn, session, list, replies),
                Task::Ask(ask) => self.cx.finish_ask(key, conn, session, ask, replies),
            }
        }
        ControlFlow::Continue(())
    }
}

impl<K: Kernel> Context<K> {
    /// Keeps what is left of a message until the others have had their turn, or have answered.
    pub(super) fn keep_task(&mut self, key: Key, conn: &mut Conn<K>, task: Box<Task>) {
        if conn.is_closed() {
            return self.adopt_task(*task);
        }
        let asks = matches!(*task, Task::Ask(_));
        let buffers = conn.buffers_mut(&mut self.pool);
        buffers.task = Some(task);
        self.pool.settle(buffers);
        if asks {
            self.pause(key, conn, Pause::Effects);
            self.send_ask(key, conn);
        } else {
            self.pause(key, conn, Pause::Turn);
            self.posted.resume(key, conn);
        }
    }

    /// What a connection that is gone had published and not everybody has got is published all the same.
    pub(super) fn adopt_task(&mut self, task: Task) {
        if let Task::Publish(publication) = task {
            self.publishing.publications.push(publication);
        }
    }
}
