//! The contract of a protocol: what all other modules may ask of one, and nobody may know by heart.
//!
//! Most of it is constants. What depends on a session is asked with the [`Encode`] value of that session, and with
//! none where there is no session.

use super::access::Access;
use super::first_bytes::Opening;
use super::gateway::Gateway;
use super::session::Session;
use crate::core::end::Reason;
use crate::core::setting::{Key, Values};
use std::convert::Infallible;
use std::fmt::Debug;

/// What a protocol is. Implement it in a folder of its own, and add a line to the registry.
///
/// A protocol whose sessions can subscribe names the type that encodes messages for them. One that names
/// [`Infallible`] has no value to be delivered to by, and one that names a type which cannot encode does not compile:
///
/// ```compile_fail,E0277
/// use linger::protocol::{Reached, Spec};
/// use std::convert::Infallible;
///
/// #[derive(Clone, Copy, PartialEq, Eq, Debug)]
/// struct Packets;
///
/// struct Mute;
///
/// impl Spec for Mute {
///     const NAME: &'static str = "mute";
///     const SUMMARY: &'static str = "takes subscriptions";
///     const SERVES_CLIENTS: bool = true;
///     const KEEPS_SESSION: bool = true;
///     type Encoding = Packets;
///     type Session = Infallible;
///     fn to_try(_: Reached<'_>) -> Vec<String> {
///         Vec::new()
///     }
/// }
/// ```
pub trait Spec {
    /// The name in the configuration, in metrics and in the log, and the scheme of listener URLs.
    const NAME: &'static str;

    /// What a listener does that speaks it: the rest of a sentence that begins with the name.
    const SUMMARY: &'static str;

    /// Whether it serves clients, whose connections count against the limit; else it serves the operator.
    const SERVES_CLIENTS: bool;

    /// Whether a connection has a session and an opening exchange. Without them it is open at once.
    const KEEPS_SESSION: bool;

    /// Whether an answer can be as long as `frame_max`, so that the output needs room for one above `output_high`.
    const ANSWERS_FRAMES: bool = false;

    /// The address that is served when no listener is configured.
    const BUILTIN_ADDRESS: Option<&'static str> = None;

    /// Settings that only its listeners have. Their names are none of those that all listeners have.
    const SETTINGS: &'static [Key] = &[];

    /// Settings whose default differs from the usual one: key and value, as in the configuration file.
    const DEFAULTS: &'static [(&'static str, &'static str)] = &[];

    /// Settings that do not apply.
    const INAPPLICABLE: &'static [Inapplicable] = &[];

    /// Why it is not served to other hosts, unless something is set. None: it is served to everybody.
    const LOCAL_ONLY: Option<LocalOnly> = None;

    /// How its clients begin. None: with any bytes, so that no client of another protocol can be told apart.
    const OPENING: Option<Opening> = None;

    /// Appends what a full listener says to a newcomer. None: it says nothing, and resets the connection.
    const FULL: Option<fn(&mut Vec<u8>)> = None;

    /// How a message is written to one of its clients that has an identity only because the application behind it says so.
    /// None: its clients name themselves, or have no identity.
    const RAW: Option<Raw> = None;

    /// How messages of the hub are encoded for a session. [`Infallible`]: sessions never subscribe.
    type Encoding: Encode;

    /// What it remembers of a connection, and how it serves what was received. [`Infallible`]: it keeps none.
    type Session: Session<Encoding = Self::Encoding>;

    /// Who may use a listener, by the values of [`SETTINGS`](Self::SETTINGS).
    fn access(_own: &Values) -> Access {
        Access::default()
    }

    /// What a listener relays to, by the same values. None: its connections end here.
    fn gateway(_own: &Values) -> Option<Gateway> {
        None
    }

    /// Appends what it says to a peer that the server parts from for `reason`; nothing where it has no place for that.
    fn goodbye(_encoding: Option<Self::Encoding>, _reason: Reason, _out: &mut Vec<u8>) {}

    /// What asks a silent peer for a sign of life. None: the protocol has no such message.
    fn server_ping(_encoding: Option<Self::Encoding>) -> Option<&'static [u8]> {
        None
    }

    /// A few bytes that a peer which has only half-closed can take without harm; one that has closed answers
    /// them by RST.
    fn eof_probe(_encoding: Option<Self::Encoding>) -> &'static [u8] {
        b"\n"
    }

    /// Commands that show a listener at work.
    fn to_try(at: Reached<'_>) -> Vec<String>;
}

/// A setting that does not apply to a protocol, and what the operator is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inapplicable {
    /// The key, or the table that it stands in.
    pub key: &'static str,
    /// The values that do not apply. Empty: none does.
    pub values: &'static [&'static str],
    /// What is wrong.
    pub wrong: &'static str,
    /// What to do.
    pub right: &'static str,
}

impl Inapplicable {
    /// Whether it is about the key `name`.
    pub fn is_about(&self, name: &str) -> bool {
        name.strip_prefix(self.key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

/// A protocol that is served to this host only, unless the operator says who else may come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LocalOnly {
    /// The setting of its own that lets others be told apart, so that they may come: some text.
    pub unless: &'static str,
    /// What is wrong: the rest of a sentence that begins with the address.
    pub wrong: &'static str,
    /// What to do.
    pub right: &'static str,
}

/// Where a client on this host reaches a listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reached<'a> {
    /// A unix socket.
    Unix(&'a str),
    /// A TCP port.
    Tcp {
        /// The IP address, with its interface if it needs one.
        host: &'a str,
        /// The port.
        port: u16,
    },
}

/// A message of a channel, on its way to a subscriber.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message<'a> {
    /// The channel that it was published to.
    pub channel: &'a [u8],
    /// The pattern that the subscriber named, if not the channel.
    pub pattern: Option<&'a [u8]>,
    /// What was published.
    pub payload: &'a [u8],
}

/// Bytes of an encoded message beside channel, pattern and payload, at most.
pub const FRAMING_BYTES_MAX: usize = 64;

/// How a message to one identity is encoded: all that those need which never subscribe.
pub trait EncodeDirect: Copy + Eq + Debug + 'static {
    /// Appends a message to one identity.
    fn direct(self, identity: &str, payload: &[u8], out: &mut Vec<u8>);
}

/// The bytes as they are, for a protocol that is not understood here. There is no message of a channel in it: what sends
/// such bytes knows the client's protocol.
///
/// ```compile_fail,E0277
/// fn subscribes<T: linger::protocol::Encode>() {}
/// subscribes::<linger::protocol::Raw>();
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Raw;

impl EncodeDirect for Raw {
    fn direct(self, _: &str, payload: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(payload);
    }
}

/// How messages of the hub are encoded: a small value. Sessions with the same value share one frame.
pub trait Encode: EncodeDirect {
    /// How many values there are.
    const COUNT: usize;

    /// The number of this value, below [`COUNT`](Self::COUNT).
    fn index(self) -> usize;

    /// Appends a message of a channel: with at most [`FRAMING_BYTES_MAX`] beside channel, pattern and payload.
    fn message(self, message: &Message<'_>, out: &mut Vec<u8>);

    /// Appends a name of a list. Returns where in `out` the name itself stands.
    fn name(self, name: &[u8], out: &mut Vec<u8>) -> usize;

    /// The version of the protocol.
    fn version(self) -> u8;
}

impl EncodeDirect for Infallible {
    fn direct(self, _: &str, _: &[u8], _: &mut Vec<u8>) {
        match self {}
    }
}

/// That of sessions which never subscribe: there is no value of it.
impl Encode for Infallible {
    const COUNT: usize = 0;

    fn index(self) -> usize {
        match self {}
    }

    fn message(self, _: &Message<'_>, _: &mut Vec<u8>) {
        match self {}
    }

    fn name(self, _: &[u8], _: &mut Vec<u8>) -> usize {
        match self {}
    }

    fn version(self) -> u8 {
        match self {}
    }
}
