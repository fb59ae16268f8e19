//! Serving a connection of the command protocol: what was received into frames, and frames into commands, until something
//! else has to come first.
//!
//! Replies are gathered in one buffer of the reactor's and sent in one call. A connection stops being
//! served when its output waits, when its share of work is used up, or until what it has posted is done; what it
//! had already sent is kept and served when that is over.

use super::Reactor;
use super::connection::{Connection, Pause};
use super::effects::Effect;
use super::tasks::Task;
use crate::core::conn::{Input, State};
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
        let frame_bytes_max = Self::listener_of(&self.listeners, conn).policy.bounds.frame_bytes_max;
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
        self.write(key, &replies);
        replies.clear();

        let rest = input.len();
        if was_held {
            held.consume(held.len() - rest);
        } else if rest > 0 {
            held = self.take_queue(key);
            held.push(&fresh[fresh.len() - rest..]);
        }
        self.keep_input(key, held, decoder);
        match halt {
            Halt::Served => {}
            Halt::Paused => {
                self.pause(key, Pause::Turn);
                self.post_resume(key);
            }
            Halt::Posted => self.await_effects(key),
            Halt::HeldBack => self.await_room_for_effects(key),
            Halt::Unfinished(task) => self.keep_task(key, task),
            Halt::Broken(error) => self.refuse(key, &error, &mut replies),
            Halt::Over => self.forget_input(key),
        }
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
            if replies.len() >= REPLIES_BYTES {
                self.write(key, replies);
                replies.clear();
            }
            match self.table.get(key) {
                Some(conn) if !listens(conn.life.state()) => break Halt::Over,
                Some(conn) if conn.is_paused() || self.work.is_over() => break Halt::Paused,
                Some(_) => {}
                None => break Halt::Over,
            }
            let typed = input.first() != Some(&b'*');
            if typed && !input.is_empty() && self.is_new(key) {
                match first_bytes::look(Foreign::Resp, input) {
                    Look::Expected => {}
                    Look::Unclear => break Halt::Served,
                    Look::Foreign(spoke) => break Halt::Broken(ProtocolError::foreign(spoke)),
                }
            }
            let before = (*input, *decoder);
            let next = decoder.next_frame(input, frame_bytes_max, &mut scratch);
            let joins = matches!(next, Ok(Some(arguments)) if self.joins_gathered(arguments));
            if !joins && !self.gathered.is_empty() {
                (*input, *decoder) = before;
                match self.end_gathering(key, replies) {
                    Some(halt) => break halt,
                    None => continue,
                }
            }
            match next {
                Ok(Some(arguments)) => {
                    if let Some(halt) = self.must_wait(arguments) {
                        (*input, *decoder) = before;
                        // When it is carried out is our doing.
                        self.open(key);
                        break halt;
                    }
                    let posted = self.effects.len();
                    self.execute(key, arguments, typed, replies);
                    if let Some(task) = self.unfinished.take() {
                        break Halt::Unfinished(task);
                    }
                    if self.effects.len() > posted {
                        break Halt::Posted;
                    }
                }
                Ok(None) => break Halt::Served,
                Err(error) => break Halt::Broken(error),
            }
        };
        self.scratch = scratch;
        if self.gathered.is_empty() { halt } else { self.end_gathering(key, replies).unwrap_or(halt) }
    }

    /// What a command has to wait for, if it may not be carried out now.
    fn must_wait(&self, arguments: Arguments<'_>) -> Option<Halt> {
        if arguments.len() > FEW_ARGUMENTS && self.work.is_long() {
            return Some(Halt::Paused);
        }
        (makes_presence(arguments) && self.is_backlogged()).then_some(Halt::HeldBack)
    }

    /// Publishes the messages that were gathered. Gives what the commands behind them have to wait for.
    fn end_gathering(&mut self, key: Key, replies: &mut Vec<u8>) -> Option<Halt> {
        let posted = self.effects.len();
        self.publish_gathered(key, replies);
        if let Some(task) = self.unfinished.take() {
            return Some(Halt::Unfinished(task));
        }
        (self.effects.len() > posted).then_some(Halt::Posted)
    }

    /// Its first command is there: the opening exchange is over.
    pub(super) fn open(&mut self, key: Key) {
        if self.table.get(key).is_some_and(|conn| conn.life.state() == State::Handshaking) {
            self.apply(key, Input::Opened);
        }
    }

    /// Whether nothing that a connection said was understood yet.
    fn is_new(&self, key: Key) -> bool {
        self.table.get(key).and_then(Connection::resp).is_some_and(|resp| resp.messages_in == 0)
    }

    /// Serves a connection no further until what it has posted is done.
    fn await_effects(&mut self, key: Key) {
        self.halt(key);
        self.effects.push_back(Effect::Resume { key });
    }

    /// The same until there is room for what it wants to post.
    fn await_room_for_effects(&mut self, key: Key) {
        self.halt(key);
        self.publications.hold_back(key);
    }

    fn halt(&mut self, key: Key) {
        self.pause(key, Pause::Effects);
    }

    /// The peer broke the protocol: it is told so, and its connection is closed.
    fn refuse(&mut self, key: Key, error: &ProtocolError, replies: &mut Vec<u8>) {
        self.report.protocol_error(key, &error.text, self.now);
        self.note_foreign(key, error);
        self.reply(key, replies, |reply| reply.protocol_error(&error.text));
        self.write(key, replies);
        replies.clear();
        self.forget_input(key);
        self.begin_close(key, error.reason, Detector::Protocol, true);
    }
}

/// Whether a command makes presence events, for which there must be room.
fn makes_presence(arguments: Arguments<'_>) -> bool {
    arguments.get(0).is_some_and(|verb| verb.eq_ignore_ascii_case(b"IDENT"))
}

/// Whether what a connection says still counts: not after its own goodbye, nor after it broke the protocol, nor if there
/// was no place for it.
fn listens(state: State) -> bool {
    state.cause().is_none_or(|cause| {
        !matches!(cause.reason, Reason::PeerGoodbye | Reason::LocalLimit)
            && cause.reason.class() != Class::Protocol
    })
}
