//! The contract of the server a session lives in: what a session may ask of it. It speaks of connections, identities and
//! channels, and of no wire format.
//!
//! What can be answered at once comes back as a value. What takes longer than a turn, or must be asked of other workers,
//! comes back by [`Session::answered`](super::Session::answered); the messages behind it wait until then.

use super::clients::{ClientFilter, GlobalKey, KillFilter};
use super::users::{Guard, Standing};
use super::{Identity, Naming};
use crate::core::end::Reason;
use crate::core::time::Duration;
use crate::hub::{Kind, Presence, Refused};
use std::fmt;
use std::task::Poll;

/// What a message was for the connection that it came from. Any message is a sign of life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// Nothing but that, and there is no reply.
    Beat,
    /// There is a reply, and it is no use of the connection.
    Ping,
    /// A request, which is answered.
    Request,
}

/// The heartbeat contract that a client makes together with taking an identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Contract<'a> {
    /// How long it may be silent; none: as long as the listener says.
    pub beat: Option<Duration>,
    /// Whether it asks to be pinged.
    pub server_ping: bool,
    /// The heartbeat channel that it agrees to be judged by names this; empty: none does.
    pub token: &'a [u8],
}

/// How a connection ended, and how long ago.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LastEnd {
    /// The reason in the record of its ending.
    pub reason: Reason,
    /// In milliseconds.
    pub ago_ms: u64,
}

/// How an identity is, none: offline; and how the last connection that held it ended, none: it is not known.
pub type StateAndEnd = (Option<Presence>, Option<LastEnd>);

/// Names that can be listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Names {
    /// Identities that are there.
    Identities,
    /// Channels with a subscriber.
    Channels,
}

/// What came of wanting to log in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogIn {
    /// The connection is that user now.
    Accepted,
    /// There is no such user, it is off, or its password is another one. The connection is who it was.
    Wrong,
    /// Too many attempts from there have failed: it is to be tried again when the message is shown again, as
    /// [`Served::NotYet`](super::session::Served::NotYet).
    NotYet,
    /// So many that this one was not even looked at.
    TooMany,
}

/// Why something was not done. Nothing was changed by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The hub has refused.
    Hub(Refused),
    /// The channel is the server's.
    Reserved,
    /// The connection is being ended: who was replaced must not take the identity back.
    Ending,
    /// The supervisor of a server of several processes does not keep up.
    Behind,
    /// Its certificate says that it is another.
    Proved,
    /// There is no memory for it.
    Memory,
    /// The identity is held from elsewhere, and anybody may come in by this listener.
    HeldElsewhere,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hub(refused) => return refused.fmt(f),
            Self::Reserved => "channels $presence:* are the server's; clients may only subscribe",
            Self::Ending => "this connection is being ended; come back on another",
            Self::Behind => "the supervisor does not keep up; come back later",
            Self::Proved => "this connection has the identity that its certificate says, and no other",
            Self::HeldElsewhere => {
                "this identity is held by a connection from another address. Other hosts can reach this listener, and it has \
                 no users: give it some (users = FILE, see 'linger explain users'), or set protected_mode = false"
            }
            Self::Memory => "the server holds as many waiting bytes as it may (memory_max); come back later",
        })
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        Self::Hub(refused)
    }
}

/// The server, as the session of one connection sees it while it serves a message.
pub trait Server {
    /// Whether a message may be carried out now. Messages that a client publishes in a row to one channel travel together;
    /// `publication` gives channel and payload, if this is one more of those. Anything else has to wait for them, as
    /// [`Served::AfterPublishing`](super::session::Served::AfterPublishing).
    fn may_follow<'p>(&self, publication: impl FnOnce() -> Option<(&'p [u8], &'p [u8])>) -> bool;

    /// Whether the turn is long already, so that what takes long does better to wait.
    fn is_late(&self) -> bool;

    /// Whether so much waits to be done that nothing should be added which makes presence events.
    fn is_backlogged(&self) -> bool;

    /// A message was understood and is about to be carried out: counts it, and charges for it. With the first one the opening
    /// exchange is over.
    fn begin(&mut self, message: Use);

    /// Whether the connection listens to anything.
    fn is_subscribed(&self) -> bool;

    /// The number of the connection.
    fn id(&self) -> u64;

    /// The name that the client gave the connection; empty: none.
    fn name(&self) -> &[u8];

    /// The client names the connection.
    fn set_name(&mut self, name: &[u8]);

    /// Appends one line about the connection.
    fn describe(&mut self, out: &mut Vec<u8>);

    /// The peer has said goodbye: `replies` go out, and it is waited for.
    fn goodbye(&mut self, replies: &mut Vec<u8>);

    /// Makes the connection as good as new: without user, subscriptions, identity, contract and name.
    fn reset(&mut self);

    /// Where the connection is with what its listener asks of it.
    fn standing(&self) -> Standing;

    /// What its listener asks of it.
    fn guard(&self) -> &Guard;

    /// Something that the connection may not do was refused.
    fn note_denied(&mut self);

    /// Logs in.
    fn log_in(&mut self, user: &[u8], password: &[u8]) -> LogIn;

    /// Takes an identity, and makes the contract that goes with it. Or [`Found::Identified`](super::session::Found::Identified).
    fn identify(&mut self, id: Identity<'_>, contract: Contract<'_>) -> Result<Poll<()>, Refusal>;

    /// Gives the connection of that key an identity: a client that cannot name itself, by the word of the application that it
    /// is relayed to. Or [`Found::Named`](super::session::Found::Named).
    fn identify_other(&mut self, key: GlobalKey, id: Identity<'_>) -> Result<Poll<Naming>, Refusal>;

    /// Makes the connection the heartbeat channel of an identity. `token`: what its holder has agreed to; empty: nothing.
    fn beat_for(&mut self, id: Identity<'_>, token: &[u8]) -> Result<(), Refusal>;

    /// Listens to channels or patterns. `each`: what has become of one, and if it was made, how many there are now.
    fn subscribe<'n>(
        &mut self,
        kind: Kind,
        names: impl ExactSizeIterator<Item = &'n [u8]>,
        each: impl FnMut(&'n [u8], Result<usize, Refused>),
    ) -> Result<(), Refusal>;

    /// Gives up channels or patterns. `each`: how many are left.
    fn unsubscribe<'n>(
        &mut self,
        kind: Kind,
        names: impl ExactSizeIterator<Item = &'n [u8]>,
        each: impl FnMut(&'n [u8], usize),
    );

    /// Gives up all of them. Returns how many of both kinds are left.
    fn unsubscribe_all(&mut self, kind: Kind, each: impl FnMut(&[u8], usize)) -> usize;

    /// Publishes a message, together with those that follow it. Its answer is
    /// [`Found::Published`](super::session::Found::Published), for all of them.
    fn publish(&mut self, channel: &[u8], payload: &[u8]) -> Result<(), Refusal>;

    /// Sends a message to the holder of an identity. `confirm` writes the reply: in front of the message, if the connection
    /// sends to itself. If the identity may be held elsewhere, the answer is
    /// [`Found::Sent`](super::session::Found::Sent) instead.
    fn send(
        &mut self,
        to: Identity<'_>,
        payload: &[u8],
        replies: &mut Vec<u8>,
        confirm: impl FnOnce(bool, &mut Vec<u8>),
    ) -> Result<(), Refusal>;

    /// How an identity is; none: offline. Or [`Found::State`](super::session::Found::State).
    fn state(&mut self, id: Identity<'_>) -> Result<Poll<Option<Presence>>, Refusal>;

    /// How an identity is, and how the last connection that held it ended, as far as that is known. Or
    /// [`Found::LastEnd`](super::session::Found::LastEnd).
    fn last_end(&mut self, id: Identity<'_>) -> Result<Poll<StateAndEnd>, Refusal>;

    /// How many listen to each channel. Or [`Found::Subscribers`](super::session::Found::Subscribers).
    fn subscribers(
        &mut self,
        channels: impl ExactSizeIterator<Item: AsRef<[u8]>>,
    ) -> Result<Poll<Vec<u64>>, Refusal>;

    /// How many patterns there are. Or [`Found::Patterns`](super::session::Found::Patterns).
    fn patterns(&mut self) -> Result<Poll<u64>, Refusal>;

    /// Lists names that match. The answer is [`Found::Names`](super::session::Found::Names).
    fn list(&mut self, names: Names, pattern: &[u8]) -> Result<(), Refusal>;

    /// Lists clients. The answer is [`Found::Clients`](super::session::Found::Clients).
    fn list_clients(&mut self, filter: ClientFilter) -> Result<(), Refusal>;

    /// Ends clients. The answer is [`Found::Ended`](super::session::Found::Ended), and it goes out before the connection itself is
    /// ended, if that is among them.
    fn end_clients(&mut self, filter: KillFilter) -> Result<(), Refusal>;

    /// Gathers the numbers of the server. The answer is [`Found::Numbers`](super::session::Found::Numbers). `asked` comes back with
    /// it.
    fn gather_numbers(&mut self, asked: Vec<Vec<u8>>) -> Result<(), Refusal>;
}
