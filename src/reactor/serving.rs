//! Serving a connection whose protocol keeps a session: its input is decoded and carried out, one message at a time,
//! until something else has to come first. The session knows what a message means; `requests` has what it may ask for.
//!
//! Replies are gathered in one buffer of the reactor's and sent in one call. A connection stops being
//! served when its output waits, when its share of work is used up, or until what it has posted is done; what it
//! had already sent is kept and served when that is over.

use super::Reactor;
use super::connection::Pause;
use super::context::{Conn, Context};
use super::parts::effect::Effect;
use super::parts::task::Task;
use super::requests::Requests;
use crate::core::conn::State;
use crate::core::end::{Class, Detector, Reason};
use crate::core::table::Key;
use crate::net::Kernel;
use crate::protocol::session::{Served, Unread};
use crate::protocol::{AnySession, ProtocolError};

/// Replies gathered before they are offered to the socket.
const REPLIES_BYTES: usize = 32 * 1024;

/// Why serving a connection came to a halt.
enum Halt {
    /// All that was received is served, but for a message that is not whole.
    Served,
    /// Output has to move first, or the others have their turn.
    Paused,
    /// What it has posted has to be done first.
    Posted,
    /// So much is posted that what it wants to add has to wait.
    HeldBack,
    /// It may not log in yet.
    NotYet,
    /// The others have their turn, or have to answer, before its message is done.
    Unfinished(Box<Task>),
    /// What follows is not to be understood.
    Broken(ProtocolError),
    /// It wants nothing more, or is gone.
    Over,
}

impl<K: Kernel> Reactor<K> {
    /// Serves what was received before and not used, then `fresh`.
    pub(super) fn serve(&mut self, key: Key, fresh: &[u8]) {
        let Some(conn) = self.table.get_mut(key) else { return };
        let frame_bytes_max = self.cx.listener_of(conn).policy.bounds.frame_bytes_max;
        // Taken out, because a message may reach any connection, this one included.
        let Some(mut session) = conn.take_session() else { return self.cx.forget_input(conn) };
        let (mut held, progress) = conn
            .buffers
            .as_mut()
            .map_or_else(Default::default, |buffers| (std::mem::take(&mut buffers.input), buffers.progress));
        let was_held = !held.is_empty();
        if was_held {
            held.push(fresh);
        }
        let bytes = if was_held { held.as_slice() } else { fresh };
        let mut input = Unread { bytes, progress, frame_bytes_max };
        let mut replies = std::mem::take(&mut self.replies);
        let halt = self.serve_messages(key, &mut session, &mut input, &mut replies);

        let (rest, progress) = (input.bytes.len(), input.progress);
        // No connection leaves the table while it is served.
        if let Some(conn) = self.table.get_mut(key) {
            self.cx.write(key, conn, &replies);
            replies.clear();
            if was_held {
                held.consume(held.len() - rest);
            } else if rest > 0 {
                held = self.cx.take_queue(conn);
                held.push(&fresh[fresh.len() - rest..]);
            }
            self.cx.keep_input(conn, held, progress);
            self.cx.halt(key, conn, &session, halt, &mut replies);
            conn.return_session(session);
        }
        replies.clear();
        self.replies = replies;
    }

    fn serve_messages(
        &mut self,
        key: Key,
        session: &mut AnySession,
        input: &mut Unread<'_>,
        replies: &mut Vec<u8>,
    ) -> Halt {
        let mut scratch = std::mem::take(&mut self.scratch);
        let halt = loop {
            let Some(conn) = self.table.get_mut(key) else { break Halt::Over };
            if replies.len() >= REPLIES_BYTES {
                self.cx.write(key, conn, replies);
                replies.clear();
            }
            if !listens(conn.life.state()) {
                break Halt::Over;
            }
            if conn.is_paused() || self.cx.work.is_over() {
                break Halt::Paused;
            }
            let Some(client) = conn.client_mut() else { break Halt::Over };
            client.encoding = session.encoding();
            let (is_subscribed, standing) = (client.membership.subscriptions() > 0, client.standing);
            let before = *input;
            let posted = self.cx.effects.len();
            let mut requests = Requests::new(self, key, is_subscribed, standing);
            let served = session.serve(input, &mut scratch, &mut requests, replies);
            let task = requests.into_task();
            if matches!(served, Ok(Served::Message)) {
                match self.begin_task(key, session, task, posted, replies) {
                    Some(halt) => break halt,
                    None => continue,
                }
            }
            // Its replies come first, and those who listen get no later message before these.
            if !self.cx.publishing.gathered.is_empty() {
                *input = before;
                match self.end_gathering(key, session, replies) {
                    Some(halt) => break halt,
                    None => continue,
                }
            }
            match served {
                Err(error) => break Halt::Broken(error),
                Ok(Served::Message | Served::Partial) => break Halt::Served,
                Ok(Served::AfterPublishing | Served::NextTurn) => {
                    *input = before;
                    self.postpone(key);
                    break Halt::Paused;
                }
                Ok(Served::WhenThereIsRoom) => {
                    *input = before;
                    self.postpone(key);
                    break Halt::HeldBack;
                }
                Ok(Served::NotYet) => {
                    *input = before;
                    break Halt::NotYet;
                }
            }
        };
        self.scratch = scratch;
        if self.cx.publishing.gathered.is_empty() {
            halt
        } else {
            self.end_gathering(key, session, replies).unwrap_or(halt)
        }
    }

    /// A message is there and has to wait. When it is carried out is our doing: the opening exchange is over.
    fn postpone(&mut self, key: Key) {
        if let Some(conn) = self.table.get_mut(key) {
            self.cx.open(key, conn);
        }
    }

    /// Goes on with what a message has begun, if it has. Gives what the messages behind it have to wait for. `posted`: how
    /// many effects waited before it.
    fn begin_task(
        &mut self,
        key: Key,
        session: &mut AnySession,
        task: Option<Box<Task>>,
        posted: usize,
        replies: &mut Vec<u8>,
    ) -> Option<Halt> {
        if let Some(mut task) = task
            && self.advance_task(key, session, &mut task, replies).is_break()
        {
            return Some(Halt::Unfinished(task));
        }
        self.cx.must_wait_for_effects(posted)
    }

    /// Publishes the messages that were gathered. Gives what those behind them have to wait for.
    fn end_gathering(&mut self, key: Key, session: &mut AnySession, replies: &mut Vec<u8>) -> Option<Halt> {
        let posted = self.cx.effects.len();
        match self.publish_gathered(key, session, replies) {
            Some(publication) => Some(Halt::Unfinished(Box::new(Task::Publish(publication)))),
            None => self.cx.must_wait_for_effects(posted),
        }
    }
}

impl<K: Kernel> Context<K> {
    /// What comes behind a message has to wait for the effects of it. `posted`: how many waited before.
    fn must_wait_for_effects(&self, posted: usize) -> Option<Halt> {
        (self.effects.len() > posted).then_some(Halt::Posted)
    }

    /// Sees to it that a connection goes on when what it came to a halt for is over.
    fn halt(
        &mut self,
        key: Key,
        conn: &mut Conn<K>,
        session: &AnySession,
        halt: Halt,
        replies: &mut Vec<u8>,
    ) {
        match halt {
            Halt::Unfinished(task) => self.keep_task(key, conn, task),
            Halt::Over => self.forget_input(conn),
            // It is not resumed.
            _ if conn.is_closed() => {}
            Halt::Served => {}
            Halt::Paused => {
                self.pause(key, conn, Pause::Turn);
                self.posted.resume(key, conn);
            }
            Halt::Posted => self.await_effects(key, conn),
            Halt::HeldBack => {
                self.pause(key, conn, Pause::Effects);
                self.publishing.publications.hold_back(key);
            }
            Halt::NotYet => self.pause(key, conn, Pause::LogIn),
            Halt::Broken(error) => {
                session.reject(&error, replies);
                self.refuse(key, conn, &error, replies);
            }
        }
    }

    /// Serves a connection no further until what it has posted is done.
    pub(super) fn await_effects(&mut self, key: Key, conn: &mut Conn<K>) {
        self.pause(key, conn, Pause::Effects);
        self.effects.push_back(Effect::Resume { key });
    }

    /// The peer broke the protocol: it is told so, and its connection is closed.
    pub(super) fn refuse(
        &mut self,
        key: Key,
        conn: &mut Conn<K>,
        error: &ProtocolError,
        last_words: &mut Vec<u8>,
    ) {
        self.observer.report.protocol_error(key, &error.text, self.now);
        self.note_foreign(conn, error);
        self.write(key, conn, last_words);
        last_words.clear();
        self.forget_input(conn);
        self.begin_close(key, conn, error.reason, Detector::Protocol, true);
    }
}

/// Whether what a connection says still counts: not after its own goodbye, nor after it broke the protocol, nor if there
/// was no place for it.
fn listens(state: State) -> bool {
    let counts = |reason: Reason| {
        !matches!(reason, Reason::PeerGoodbye | Reason::LocalLimit) && reason.class() != Class::Protocol
    };
    !matches!(state, State::Closed { .. }) && state.cause().is_none_or(|cause| counts(cause.reason))
}
