//! Commands that take more than their share of a turn: what is left of one stays with its connection, whose further
//! commands wait for it, and goes on in later turns.

use super::Reactor;
use super::lists::List;
use super::publish::Publication;
use crate::net::Kernel;
use crate::proto::resp::Reply;
use crate::table::Key;
use std::ops::ControlFlow;

/// What is left of a command.
#[derive(Debug)]
pub(super) enum Task {
    /// `PUBLISH`: those who have not got it.
    Publish(Publication),
    /// A walk over connections, identities or channels.
    List(List),
}

impl Task {
    /// Memory that it holds, in bytes.
    pub(super) fn memory(&self) -> usize {
        match self {
            Self::Publish(publication) => publication.memory(),
            Self::List(list) => list.memory(),
        }
    }
}

impl<K: Kernel> Reactor<K> {
    /// Begins a command that may take longer; what is left of it is in `unfinished` then.
    pub(super) fn begin_task(&mut self, key: Key, mut task: Task, replies: &mut Vec<u8>) {
        if self.advance_task(key, &mut task, replies).is_break() {
            self.unfinished = Some(Box::new(task));
        }
    }

    /// Goes on with what is left of a connection's command, if something is.
    pub(super) fn resume_task(&mut self, key: Key) {
        let Some(conn) = self.table.get_mut(key) else { return };
        let Some(mut task) = conn.io.as_mut().and_then(|io| io.task.take()) else { return };
        let mut replies = std::mem::take(&mut self.replies);
        if self.advance_task(key, &mut task, &mut replies).is_break() {
            self.keep_task(key, task);
        } else if let Some(conn) = self.table.get_mut(key) {
            conn.release_io(&mut self.pool);
        }
        self.write(key, &replies);
        replies.clear();
        self.replies = replies;
    }

    /// Keeps what is left of a command until the others have had their turn.
    pub(super) fn keep_task(&mut self, key: Key, task: Box<Task>) {
        let Some(conn) = self.table.get_mut(key) else { return };
        let io = conn.io_mut(&mut self.pool);
        io.task = Some(task);
        self.pool.settle(io);
        self.pause(key);
        self.post_resume(key);
    }

    fn advance_task(&mut self, key: Key, task: &mut Task, replies: &mut Vec<u8>) -> ControlFlow<()> {
        match task {
            Task::Publish(publication) => {
                self.go_on_publishing(publication)?;
                let receivers = publication.receivers();
                self.reply(key, replies, |reply: &mut Reply<'_>| reply.count(receivers));
            }
            Task::List(list) => {
                self.go_on_listing(key, list)?;
                self.finish_list(key, list, replies);
            }
        }
        ControlFlow::Continue(())
    }
}
