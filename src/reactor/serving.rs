//! Serving a connection of the command protocol: what was received into frames, and frames into commands, until something
//! else has to come first.
//!
//! Replies are gathered in one buffer of the reactor's and sent in one call. A connection stops being
//! served when its output waits, when its share of work is used up, or until what it has posted is done; what it
//! had already sent is kept and served when that is over.

use super::Reactor;
use super::connection::Pause;
use super::context::{Conn, Context};
use super::parts::effect::Effect;
use super::parts::task::Task;
use crate::core::conn::State;
use crate::core::end::{Class, Detector, Foreign, Reason};
use crate::core::table::Key;
use crate::net::Kernel;
use crate::protocol::ProtocolError;
use crate::protocol::first_bytes::{self, Look};
use crate::protocol::resp::{Arguments, Decoder};

/// Replies gathered before they are offered to the socket.
const REPLIES_BYTES: usize = 32 * 1024;

/// Arguments of a command that is carried out in a turn that is long already.
const FEW_ARGUMENTS: usize = 64;

/// Why serving a connection came to a halt.
enum Halt {
    /// All that was received is served, but for a frame that is not whole.
    Served,
    /// Output has to move first, or the others have their turn.
    Paused,
    /// What it has posted has to be done first.
    Posted,
    /// So much is posted that what it wants to add has to wait.
    HeldBack,
    /// The others have their turn, or have to answer, before its command is done.
    Unfinished(Box<Task>),
    /// What follows is not to be understood.
    Broken(ProtocolError),
    /// It wants nothing more, or is gone.
    Over,
}

impl<K: Kernel> Reactor<K> {
    /// Serves what was received before and not used, then `fresh`.
    pub(super) fn serve_resp(&mut self, key: Key, fresh: &[u8]) {
        let Some(conn) = self.table.get_mut(key) else { return };
        let frame_bytes_max = self.cx.listener_of(conn).policy.bounds.frame_bytes_max;
        // Taken out while commands run: they may reach any connection, this one included.
        let (mut held, mut decoder) = conn
            .buffers
            .as_mut()
            .map_or_else(Default::default, |buffers| (std::mem::take(&mut buffers.input), buffers.decoder));
        let was_held = !held.is_empty();
        if was_held {
            held.push(fresh);
        }
        let mut input = if was_held { held.as_slice() } else { fresh };
        let mut replies = std::mem::take(&mut self.replies);
        let halt = self.serve_frames(key, &mut input, &mut decoder, frame_bytes_max, &mut replies);

        let rest = input.len();
        // Nobody leaves the table while it is served.
        let Some(conn) = self.table.get_mut(key) else { return };
        self.cx.write(key, conn, &replies);
        replies.clear();
        if was_held {
            held.consume(held.len() - rest);
        } else if rest > 0 {
            held = self.cx.take_queue(conn);
            held.push(&fresh[fresh.len() - rest..]);
        }
        self.cx.keep_input(conn, held, decoder);
        self.cx.halt(key, conn, halt, &mut replies);
        self.replies = replies;
    }

    fn serve_frames(
        &mut self,
        key: Key,
        input: &mut &[u8],
        decoder: &mut Decoder,
        frame_bytes_max: usize,
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
            let typed = input.first() != Some(&b'*');
            if typed && !input.is_empty() && conn.is_new() {
                match first_bytes::look(Foreign::Resp, input) {
                    Look::Expected => {}
                    Look::Unclear => break Halt::Served,
                    Look::Foreign(spoke) => break Halt::Broken(ProtocolError::foreign(spoke)),
                }
            }
            let before = (*input, *decoder);
            let next = decoder.next_frame(input, frame_bytes_max, &mut scratch);
            let joins = matches!(next, Ok(Some(arguments)) if self.cx.joins_gathered(arguments));
            if !joins && !self.cx.gathered.is_empty() {
                (*input, *decoder) = before;
                match self.end_gathering(key, replies) {
                    Some(halt) => break halt,
                    None => continue,
                }
            }
            match next {
                Ok(Some(arguments)) => {
                    if let Some(halt) = self.cx.must_wait(arguments) {
                        (*input, *decoder) = before;
                        // When it is carried out is our doing.
                        self.cx.open(key, conn);
                        break halt;
                    }
                    let posted = self.cx.effects.len();
                    let task = self.execute(key, arguments, typed, replies);
                    if let Some(halt) = self.begin_task(key, task, posted, replies) {
                        break halt;
                    }
                }
                Ok(None) => break Halt::Served,
                Err(error) => break Halt::Broken(error),
            }
        };
        self.scratch = scratch;
        if self.cx.gathered.is_empty() { halt } else { self.end_gathering(key, replies).unwrap_or(halt) }
    }

    /// Goes on with what a command has begun, if it has. Gives what the commands behind it have to wait for. `posted`: how
    /// many effects waited before it.
    fn begin_task(
        &mut self,
        key: Key,
        task: Option<Box<Task>>,
        posted: usize,
        replies: &mut Vec<u8>,
    ) -> Option<Halt> {
        if let Some(mut task) = task
            && self.advance_task(key, &mut task, replies).is_break()
        {
            return Some(Halt::Unfinished(task));
        }
        self.cx.must_wait_for_effects(posted)
    }

    /// Publishes the messages that were gathered. Gives what the commands behind them have to wait for.
    fn end_gathering(&mut self, key: Key, replies: &mut Vec<u8>) -> Option<Halt> {
        let posted = self.cx.effects.len();
        match self.publish_gathered(key, replies) {
            Some(publication) => Some(Halt::Unfinished(Box::new(Task::Publish(publication)))),
            None => self.cx.must_wait_for_effects(posted),
        }
    }
}

impl<K: Kernel> Context<K> {
    /// What a command has to wait for, if it may not be carried out now.
    fn must_wait(&self, arguments: Arguments<'_>) -> Option<Halt> {
        if arguments.len() > FEW_ARGUMENTS && self.work.is_long() {
            return Some(Halt::Paused);
        }
        (makes_presence(arguments) && self.is_backlogged()).then_some(Halt::HeldBack)
    }

    /// What comes behind a command has to wait for the effects of it. `posted`: how many waited before.
    fn must_wait_for_effects(&self, posted: usize) -> Option<Halt> {
        (self.effects.len() > posted).then_some(Halt::Posted)
    }

    /// Sees to it that a connection goes on when what it came to a halt for is over.
    fn halt(&mut self, key: Key, conn: &mut Conn<K>, halt: Halt, replies: &mut Vec<u8>) {
        match halt {
            Halt::Unfinished(task) => self.keep_task(key, conn, task),
            Halt::Over => self.forget_input(conn),
            // Nothing of it goes on.
            _ if conn.is_closed() => {}
            Halt::Served => {}
            Halt::Paused => {
                self.pause(key, conn, Pause::Turn);
                self.posted.resume(key, conn);
            }
            Halt::Posted => self.await_effects(key, conn),
            Halt::HeldBack => {
                self.pause(key, conn, Pause::Effects);
                self.publications.hold_back(key);
            }
            Halt::Broken(error) => self.refuse(key, conn, &error, replies),
        }
    }

    /// Serves a connection no further until what it has posted is done.
    pub(super) fn await_effects(&mut self, key: Key, conn: &mut Conn<K>) {
        self.pause(key, conn, Pause::Effects);
        self.effects.push_back(Effect::Resume { key });
    }

    /// The peer broke the protocol: it is told so, and its connection is closed.
    fn refuse(&mut self, key: Key, conn: &mut Conn<K>, error: &ProtocolError, replies: &mut Vec<u8>) {
        self.report.protocol_error(key, &error.text, self.now);
        self.note_foreign(conn, error);
        conn.reply(replies, |reply| reply.protocol_error(&error.text));
        self.write(key, conn, replies);
        replies.clear();
        self.forget_input(conn);
        self.begin_close(key, conn, error.reason, Detector::Protocol, true);
    }
}

/// Whether a command makes presence events, for which there must be room.
fn makes_presence(arguments: Arguments<'_>) -> bool {
    arguments.get(0).is_some_and(|verb| verb.eq_ignore_ascii_case(b"IDENT"))
}

/// Whether what a connection says still counts: not after its own goodbye, nor after it broke the protocol, nor if there
/// was no place for it.
fn listens(state: State) -> bool {
    let counts = |reason: Reason| {
        !matches!(reason, Reason::PeerGoodbye | Reason::LocalLimit) && reason.class() != Class::Protocol
    };
    !matches!(state, State::Closed { .. }) && state.cause().is_none_or(|cause| counts(cause.reason))
}
