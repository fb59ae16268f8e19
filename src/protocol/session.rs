//! The contract of a session: what a protocol remembers of one connection, how it serves what that connection has sent,
//! and how it tells what the server has found.
//!
//! The server calls, one message at a time, and does all that has nothing to do with bytes: it reads and writes the
//! socket, keeps what is not whole, shares its time among the connections, and ends them. What a session wants of it
//! beyond that is in [`Server`].

use super::clients::KillForm;
use super::numbers::{InfoNumbers, ServerNumbers};
use super::server::{LastEnd, Refusal, Server};
use super::spec::Encode;
use super::{Naming, ProtocolError};
use crate::hub::Presence;
use std::convert::Infallible;

/// What a protocol remembers of one connection. It should be small: there is one for every connection.
pub trait Session: Sized {
    /// How messages of the hub are encoded for it: that of its [`Spec`](super::Spec).
    type Encoding: Encode;

    /// Memory that all sessions of the protocol share. Nothing in it outlives a message.
    type Scratch: Default;

    /// That of a new connection. None: the protocol keeps none.
    fn open() -> Option<Self>;

    /// How messages of the hub are encoded for it now.
    fn encoding(&self) -> Self::Encoding;

    /// Takes one message off the front of `input`, and carries it out. Where it comes to anything but
    /// [`Served::Message`], the session must not have changed. Of a message that is not whole, what was passed over and its
    /// progress are kept; but it may be shown again as it was before.
    fn serve(
        &mut self,
        input: &mut Unread<'_>,
        scratch: &mut Self::Scratch,
        server: &mut impl Server,
        replies: &mut Vec<u8>,
    ) -> Result<Served, ProtocolError>;

    /// Replies to a message that could not be answered at once. Messages behind it have waited for that.
    fn answered(&mut self, answer: Answer<'_>, replies: &mut Vec<u8>);

    /// Appends the last words to a peer that broke the protocol.
    fn reject(&self, error: &ProtocolError, replies: &mut Vec<u8>);

    /// Whether the peer knows what to do with a goodbye that it did not ask for. `asks_for_pings`: it has asked for
    /// pings.
    fn takes_goodbye(&self, _asks_for_pings: bool) -> bool {
        true
    }
}

/// Received bytes that were not served yet.
#[derive(Clone, Copy, Debug)]
pub struct Unread<'a> {
    /// They begin where the last message has ended.
    pub bytes: &'a [u8],
    /// How far the message at their front has been understood.
    pub progress: Progress,
    /// Most bytes of a message.
    pub frame_bytes_max: usize,
}

/// What a session notes of a message that is not whole, so that it need not begin again when more has come: numbers that
/// mean something to the session alone. All are 0 in front of a message that it has not looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Bytes that need not be looked at again, say.
    pub done: u32,
    /// Parts that are still to come, say.
    pub missing: u16,
}

/// What has become of the message at the front of the input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Served {
    /// It was taken and carried out, or what is left of it will be answered.
    Message,
    /// It is not whole.
    Partial,
    /// What was published before it comes first: see [`Server::may_follow`].
    AfterPublishing,
    /// It takes long, and so has this turn: see [`Server::is_late`].
    NextTurn,
    /// It makes presence events, for which there is no room: see [`Server::is_backlogged`].
    WhenThereIsRoom,
    /// It logs in, and may not try yet: see [`LogIn::NotYet`](super::server::LogIn::NotYet).
    NotYet,
}

/// Who is silent in an [`Answer`] if it is the supervisor. Workers count from 1.
pub const SUPERVISOR: u32 = 0;

/// What was found for a message that could not be answered at once.
#[derive(Debug)]
pub struct Answer<'a> {
    /// The answer that was found.
    pub found: Found<'a>,
    /// Who of a server of several processes did not answer, so that the answer is not whole: workers, or [`SUPERVISOR`].
    pub silent: &'a [u32],
}

impl<'a> From<Found<'a>> for Answer<'a> {
    fn from(found: Found<'a>) -> Self {
        Self { found, silent: &[] }
    }
}

/// What an [`Answer`] is about. The `rows` of a list are sent behind the replies: what belongs in front of them goes to the
/// replies, what belongs behind them to the rows.
#[derive(Debug)]
pub enum Found<'a> {
    /// Messages that were published one after the other.
    Published {
        /// How many messages.
        messages: usize,
        /// Who has got each of them.
        receivers: usize,
    },
    /// Whether a message to an identity was delivered.
    Sent(bool),
    /// What came of giving another connection an identity.
    Named(Naming),
    /// Whether the connection has taken the identity that it wanted.
    Identified(Result<(), Refusal>),
    /// How an identity is; none: offline.
    State(Option<Presence>),
    /// How an identity is, and how the last connection that held it ended.
    LastEnd {
        /// None: offline.
        state: Option<Presence>,
        /// None: it is not known.
        last: Option<LastEnd>,
    },
    /// How many listen to channels.
    Subscribers {
        /// Which channels.
        channels: &'a [Vec<u8>],
        /// How many, in the same order.
        counts: &'a [u64],
    },
    /// How many patterns there are.
    Patterns(u64),
    /// Identities or channels, each encoded by [`Encode::name`].
    Names {
        /// Number of names.
        count: usize,
        /// The names, encoded as the reply has them.
        rows: &'a mut Vec<u8>,
    },
    /// Clients, in a line each.
    Clients {
        /// The lines.
        rows: &'a mut Vec<u8>,
    },
    /// Clients that are being ended.
    Ended {
        /// How that was asked for.
        form: KillForm,
        /// Number of connections that are being ended.
        count: u64,
    },
    /// The numbers of the server.
    Numbers(Numbers<'a>),
}

/// The numbers of the server.
#[derive(Clone, Copy, Debug)]
pub struct Numbers<'a> {
    /// What the session asked for.
    pub asked: &'a [Vec<u8>],
    /// Those that add up.
    pub numbers: &'a InfoNumbers,
    /// Those of the server as a whole.
    pub server: &'a ServerNumbers,
    /// The TCP port by which the client came; 0: it came by another way.
    pub port: u16,
    /// How many workers there are; none: it is one process.
    pub workers: Option<u32>,
}

/// That of a protocol without sessions: there is no value of it.
impl Session for Infallible {
    type Encoding = Self;
    type Scratch = ();

    fn open() -> Option<Self> {
        None
    }

    fn encoding(&self) -> Self {
        *self
    }

    fn serve(
        &mut self,
        _: &mut Unread<'_>,
        (): &mut (),
        _: &mut impl Server,
        _: &mut Vec<u8>,
    ) -> Result<Served, ProtocolError> {
        match *self {}
    }

    fn answered(&mut self, _: Answer<'_>, _: &mut Vec<u8>) {
        match *self {}
    }

    fn reject(&self, _: &ProtocolError, _: &mut Vec<u8>) {
        match *self {}
    }
}
