//! Arguments into a [`Command`]: one variant a verb, its fields parsed and checked, or a [`CommandError`] that is
//! the reply. Nothing is copied; the command borrows from the input.

use super::Version;
use super::acl::AclCommand;
use super::client::ClientCommand;
use super::decode::Arguments;
use super::verbs::Verb;
use crate::core::time::Duration;
use crate::protocol::Identity;
use crate::protocol::clients::GlobalKey;
use std::borrow::Cow;
use std::fmt;

/// Longest token of a heartbeat channel, in bytes: it is kept as long as the connection, and told to other workers.
pub const TOKEN_BYTES_MAX: usize = 64;

/// Shortest heartbeat that may be agreed on: what a timer wheel and a bad network can still tell apart.
pub const BEAT_MIN: Duration = Duration::from_millis(100);

/// Longest heartbeat that may be agreed on: a day.
pub const BEAT_MAX: Duration = Duration::from_secs(86_400);

/// A command that is not carried out: the text of the error reply, its code first. The connection goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommandError(pub Cow<'static, str>);

impl<T: Into<Cow<'static, str>>> From<T> for CommandError {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

/// A command, understood. Lists are [`Arguments`] without the verb.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command<'a> {
    /// `PING [message]`.
    Ping(Option<&'a [u8]>),
    /// `ECHO message`.
    Echo(&'a [u8]),
    /// `QUIT`: the goodbye of this protocol.
    Quit,
    /// `RESET`.
    Reset,
    /// `HELLO [2|3 [...]]`.
    Hello {
        /// The version to speak from this reply on; `None` leaves it.
        version: Option<Version>,
        /// The name to take, as by `CLIENT SETNAME`.
        name: Option<&'a [u8]>,
        /// To log in before.
        auth: Option<Credentials<'a>>,
    },
    /// `AUTH [user] password`.
    Auth(Credentials<'a>),
    /// `ACL ...`.
    Acl(AclCommand<'a>),
    /// `SELECT 0`.
    Select,
    /// `CLIENT ...`.
    Client(ClientCommand<'a>),
    /// `IDENT id [BEAT seconds] [SERVERPING] [CHANNEL token]`.
    Ident {
        /// The identity that the connection takes.
        identity: Identity<'a>,
        /// How long the client may be silent, if it does not take the listener's default.
        beat: Option<Duration>,
        /// Whether it asks to be pinged.
        server_ping: bool,
        /// The heartbeat channel that it agrees to be judged by names this; empty: none does.
        token: &'a [u8],
    },
    /// `IDENTFOR key id`.
    IdentFor {
        /// Which connection.
        key: GlobalKey,
        /// Who it is.
        identity: Identity<'a>,
    },
    /// `BEAT`. There is no reply.
    Beat,
    /// `BEATFOR id [token]`.
    BeatFor {
        /// For whom.
        identity: Identity<'a>,
        /// What its holder has agreed to; empty if none is named.
        token: &'a [u8],
    },
    /// `SEND id message`.
    Send {
        /// To whom.
        identity: Identity<'a>,
        /// The bytes of the message.
        payload: &'a [u8],
    },
    /// `WHO [pattern]`.
    Who(Option<&'a [u8]>),
    /// `STATE id`.
    State(Identity<'a>),
    /// `STATE id LAST`.
    LastEnd(Identity<'a>),
    /// `SUBSCRIBE channel ...`.
    Subscribe(Arguments<'a>),
    /// `UNSUBSCRIBE [channel ...]`; none: all.
    Unsubscribe(Arguments<'a>),
    /// `PSUBSCRIBE pattern ...`.
    Psubscribe(Arguments<'a>),
    /// `PUNSUBSCRIBE [pattern ...]`; none: all.
    Punsubscribe(Arguments<'a>),
    /// `PUBLISH channel message`.
    Publish {
        /// The channel that it is published on.
        channel: &'a [u8],
        /// The bytes of the message.
        payload: &'a [u8],
    },
    /// `PUBSUB CHANNELS [pattern]`.
    PubsubChannels(Option<&'a [u8]>),
    /// `PUBSUB NUMSUB [channel ...]`.
    PubsubNumsub(Arguments<'a>),
    /// `PUBSUB NUMPAT`.
    PubsubNumpat,
    /// `INFO [section ...]`.
    Info(Arguments<'a>),
    /// `COMMAND ...`.
    Command(Listing<'a>),
    /// `HELP`.
    Help,
    /// `CONFIG GET pattern ...`.
    ConfigGet(Arguments<'a>),
}

/// Who somebody says to be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// The name; none: that of the default user.
    pub user: Option<&'a [u8]>,
    /// The password.
    pub password: &'a [u8],
}

/// Without the password.
impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({:?})", self.user.map(String::from_utf8_lossy))
    }
}

/// What `COMMAND` is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listing<'a> {
    /// `COMMAND COUNT`.
    Count,
    /// `COMMAND LIST`.
    List,
    /// `COMMAND` and `COMMAND INFO [name ...]`; none: all.
    Info(Arguments<'a>),
    /// `COMMAND DOCS [name ...]`; none: all.
    Docs(Arguments<'a>),
}

impl<'a> Command<'a> {
    /// Understands a command.
    ///
    /// # Errors
    /// The reply that says what was wrong, in the words of Redis where it has any.
    #[inline]
    pub fn parse(arguments: Arguments<'a>) -> Result<Self, CommandError> {
        let name = arguments.get(0).unwrap_or_default();
        let Some(verb) = Verb::find(name) else { return Err(unknown_verb(name, arguments)) };
        let entry = verb.entry();
        if arguments.len() < entry.min || arguments.len() > entry.max {
            return Err(wrong_number(entry.name));
        }
        // The arity has been checked: what a verb requires is there.
        let argument = |index: usize| arguments.get(index).unwrap_or_default();
        Ok(match verb {
            Verb::Ping => Self::Ping(arguments.get(1)),
            Verb::Echo => Self::Echo(argument(1)),
            Verb::Quit => Self::Quit,
            Verb::Reset => Self::Reset,
            Verb::Hello => hello(arguments)?,
            Verb::Auth => auth(arguments)?,
            Verb::Acl => Self::Acl(AclCommand::parse(arguments)?),
            Verb::Select => select(argument(1))?,
            Verb::Client => Self::Client(ClientCommand::parse(arguments)?),
            Verb::Ident => ident(arguments)?,
            Verb::IdentFor => Self::IdentFor { key: key(argument(1))?, identity: identity(argument(2))? },
            Verb::Beat => Self::Beat,
            Verb::BeatFor => {
                let token = arguments.get(2).map(token).transpose()?.unwrap_or_default();
                Self::BeatFor { identity: identity(argument(1))?, token }
            }
            Verb::Send => Self::Send { identity: identity(argument(1))?, payload: argument(2) },
            Verb::Who => Self::Who(arguments.get(1)),
            Verb::State => state(arguments)?,
            Verb::Subscribe => Self::Subscribe(arguments.skip(1)),
            Verb::Unsubscribe => Self::Unsubscribe(arguments.skip(1)),
            Verb::Psubscribe => Self::Psubscribe(arguments.skip(1)),
            Verb::Punsubscribe => Self::Punsubscribe(arguments.skip(1)),
            Verb::Publish => Self::Publish { channel: argument(1), payload: argument(2) },
            Verb::Pubsub => pubsub(arguments)?,
            Verb::Info => Self::Info(arguments.skip(1)),
            Verb::Command => Self::Command(listing(arguments)?),
            Verb::Help => Self::Help,
            Verb::Config => config(arguments)?,
        })
    }

    /// The verb it came from.
    pub const fn verb(&self) -> Verb {
        match self {
            Self::Ping(_) => Verb::Ping,
            Self::Echo(_) => Verb::Echo,
            Self::Quit => Verb::Quit,
            Self::Reset => Verb::Reset,
            Self::Hello { .. } => Verb::Hello,
            Self::Auth(_) => Verb::Auth,
            Self::Acl(_) => Verb::Acl,
            Self::Select => Verb::Select,
            Self::Client(_) => Verb::Client,
            Self::Ident { .. } => Verb::Ident,
            Self::IdentFor { .. } => Verb::IdentFor,
            Self::Beat => Verb::Beat,
            Self::BeatFor { .. } => Verb::BeatFor,
            Self::Send { .. } => Verb::Send,
            Self::Who(_) => Verb::Who,
            Self::State(_) | Self::LastEnd(_) => Verb::State,
            Self::Subscribe(_) => Verb::Subscribe,
            Self::Unsubscribe(_) => Verb::Unsubscribe,
            Self::Psubscribe(_) => Verb::Psubscribe,
            Self::Punsubscribe(_) => Verb::Punsubscribe,
            Self::Publish { .. } => Verb::Publish,
            Self::PubsubChannels(_) | Self::PubsubNumsub(_) | Self::PubsubNumpat => Verb::Pubsub,
            Self::Info(_) => Verb::Info,
            Self::Command(_) => Verb::Command,
            Self::Help => Verb::Help,
            Self::ConfigGet(_) => Verb::Config,
        }
    }

    /// Refuses what a RESP2 connection with subscriptions may not do: its replies could not be told from
    /// the messages between them. In RESP3, messages are marked, and everything is allowed.
    ///
    /// # Errors
    /// The reply, in the words of Redis.
    pub fn allowed_while_subscribed(&self) -> Result<(), CommandError> {
        match self.verb() {
            Verb::Ping
            | Verb::Quit
            | Verb::Reset
            | Verb::Beat
            | Verb::Subscribe
            | Verb::Unsubscribe
            | Verb::Psubscribe
            | Verb::Punsubscribe => Ok(()),
            verb @ (Verb::Echo
            | Verb::Hello
            | Verb::Auth
            | Verb::Acl
            | Verb::Select
            | Verb::Client
            | Verb::Ident
            | Verb::IdentFor
            | Verb::BeatFor
            | Verb::Send
            | Verb::Who
            | Verb::State
            | Verb::Publish
            | Verb::Pubsub
            | Verb::Info
            | Verb::Command
            | Verb::Help
            | Verb::Config) => Err(format!(
                "ERR Can't execute '{}': only (P)SUBSCRIBE / (P)UNSUBSCRIBE / PING / QUIT / RESET / BEAT are \
                 allowed in this context",
                verb.entry().name.to_ascii_lowercase()
            )
            .into()),
        }
    }
}

fn state(arguments: Arguments<'_>) -> Result<Command<'_>, CommandError> {
    let identity = identity(arguments.get(1).unwrap_or_default())?;
    match arguments.get(2) {
        None => Ok(Command::State(identity)),
        Some(option) if option.eq_ignore_ascii_case(b"LAST") => Ok(Command::LastEnd(identity)),
        Some(_) => Err("ERR syntax error".into()),
    }
}

fn hello(arguments: Arguments<'_>) -> Result<Command<'_>, CommandError> {
    let version = match arguments.get(1) {
        None => None,
        Some(b"2") => Some(Version::Resp2),
        Some(b"3") => Some(Version::Resp3),
        Some(text) if integer(text).is_some() => return Err("NOPROTO unsupported protocol version".into()),
        Some(_) => return Err("ERR Protocol version is not an integer or out of range".into()),
    };
    let (mut name, mut auth) = (None, None);
    let mut options = arguments.skip(2).iter();
    while let Some(option) = options.next() {
        if option.eq_ignore_ascii_case(b"AUTH") && options.len() >= 2 {
            auth = Some(Credentials { user: options.next(), password: options.next().unwrap_or_default() });
        } else if option.eq_ignore_ascii_case(b"SETNAME") && options.len() >= 1 {
            name = Some(client_name(options.next().unwrap_or_default())?);
        } else {
            return Err(format!("ERR Syntax error in HELLO option '{}'", shown(option)).into());
        }
    }
    Ok(Command::Hello { version, name, auth })
}

fn auth(arguments: Arguments<'_>) -> Result<Command<'_>, CommandError> {
    if arguments.len() > 3 {
        return Err("ERR syntax error".into());
    }
    let (user, password) = match arguments.get(2) {
        Some(password) => (arguments.get(1), password),
        None => (None, arguments.get(1).unwrap_or_default()),
    };
    Ok(Command::Auth(Credentials { user, password }))
}

fn select<'a>(text: &[u8]) -> Result<Command<'a>, CommandError> {
    match integer(text) {
        Some(0) => Ok(Command::Select),
        Some(_) => Err("ERR DB index is out of range".into()),
        None => Err("ERR value is not an integer or out of range".into()),
    }
}

fn ident(arguments: Arguments<'_>) -> Result<Command<'_>, CommandError> {
    let identity = identity(arguments.get(1).unwrap_or_default())?;
    let mut beat = None;
    let mut server_ping = false;
    let mut agreed: &[u8] = &[];
    let mut options = arguments.skip(2).iter();
    while let Some(option) = options.next() {
        if option.eq_ignore_ascii_case(b"BEAT") && options.len() >= 1 {
            beat = Some(beat_timeout(options.next().unwrap_or_default())?);
        } else if option.eq_ignore_ascii_case(b"SERVERPING") {
            server_ping = true;
        } else if option.eq_ignore_ascii_case(b"CHANNEL") && options.len() >= 1 {
            agreed = token(options.next().unwrap_or_default())?;
        } else {
            return Err(format!(
                "ERR syntax error in IDENT option '{}': {}",
                shown(option),
                usage(Verb::Ident)
            )
            .into());
        }
    }
    Ok(Command::Ident { identity, beat, server_ping, token: agreed })
}

fn pubsub(arguments: Arguments<'_>) -> Result<Command<'_>, CommandError> {
    let name = arguments.get(1).unwrap_or_default();
    let count = arguments.len();
    if name.eq_ignore_ascii_case(b"CHANNELS") {
        arity("pubsub|channels", count <= 3).map(|()| Command::PubsubChannels(arguments.get(2)))
    } else if name.eq_ignore_ascii_case(b"NUMSUB") {
        Ok(Command::PubsubNumsub(arguments.skip(2)))
    } else if name.eq_ignore_ascii_case(b"NUMPAT") {
        arity("pubsub|numpat", count == 2).map(|()| Command::PubsubNumpat)
    } else {
        Err(unknown_subcommand(name, &usage(Verb::Pubsub)))
    }
}

fn listing(arguments: Arguments<'_>) -> Result<Listing<'_>, CommandError> {
    let count = arguments.len();
    let Some(name) = arguments.get(1) else { return Ok(Listing::Info(arguments.skip(1))) };
    if name.eq_ignore_ascii_case(b"COUNT") {
        arity("command|count", count == 2).map(|()| Listing::Count)
    } else if name.eq_ignore_ascii_case(b"LIST") {
        if count == 2 { Ok(Listing::List) } else { Err("ERR syntax error".into()) }
    } else if name.eq_ignore_ascii_case(b"INFO") {
        Ok(Listing::Info(arguments.skip(2)))
    } else if name.eq_ignore_ascii_case(b"DOCS") {
        Ok(Listing::Docs(arguments.skip(2)))
    } else {
        Err(unknown_subcommand(name, &usage(Verb::Command)))
    }
}

fn config(arguments: Arguments<'_>) -> Result<Command<'_>, CommandError> {
    let name = arguments.get(1).unwrap_or_default();
    if name.eq_ignore_ascii_case(b"GET") {
        arity("config|get", arguments.len() >= 3).map(|()| Command::ConfigGet(arguments.skip(2)))
    } else {
        Err(unknown_subcommand(name, &usage(Verb::Config)))
    }
}

fn identity(bytes: &[u8]) -> Result<Identity<'_>, CommandError> {
    Identity::new(bytes).ok_or_else(|| {
        "ERR invalid identity: 1 to 128 bytes of UTF-8 without blanks and control characters".into()
    })
}

/// The name of a connection, as the log has it.
pub(super) fn key(text: &[u8]) -> Result<GlobalKey, CommandError> {
    str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or_else(|| {
        format!("ERR '{}' is not a key: it is as 17-4711 in the log, or 2.17-4711 of worker 2", shown(text))
            .into()
    })
}

/// Checks what a holder and its heartbeat channel know each other by.
fn token(bytes: &[u8]) -> Result<&[u8], CommandError> {
    if (1..=TOKEN_BYTES_MAX).contains(&bytes.len()) {
        Ok(bytes)
    } else {
        Err(format!("ERR the token of a heartbeat channel has 1 to {TOKEN_BYTES_MAX} bytes").into())
    }
}

/// Longest name of a connection: it is kept as long as the connection, and told in every `CLIENT LIST`.
const CLIENT_NAME_BYTES_MAX: usize = 512;

/// Checks a name for `CLIENT SETNAME`; an empty one takes the name away.
pub(super) fn client_name(name: &[u8]) -> Result<&[u8], CommandError> {
    if name.len() > CLIENT_NAME_BYTES_MAX {
        Err(format!("ERR Client names cannot be longer than {CLIENT_NAME_BYTES_MAX} bytes").into())
    } else if name.iter().all(u8::is_ascii_graphic) {
        Ok(name)
    } else {
        Err("ERR Client names cannot contain spaces, newlines or special characters.".into())
    }
}

/// A whole number as text, within 64 bits.
pub(super) fn integer(text: &[u8]) -> Option<i64> {
    str::from_utf8(text).ok()?.parse().ok()
}

/// A time in seconds, with decimals if need be, in milliseconds at the finest.
fn beat_timeout(text: &[u8]) -> Result<Duration, CommandError> {
    str::from_utf8(text)
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
        .and_then(|text| text.parse::<f64>().ok())
        .and_then(|seconds| Duration::try_from_secs_f64((seconds * 1000.0).round() / 1000.0).ok())
        .filter(|duration| (BEAT_MIN..=BEAT_MAX).contains(duration))
        .ok_or_else(|| "ERR BEAT takes seconds, from 0.1 to 86400".into())
}

/// `subcommand` as Redis writes it, `verb|name`; `ok` says whether its number of arguments is right.
pub(super) fn arity(subcommand: &str, ok: bool) -> Result<(), CommandError> {
    if ok { Ok(()) } else { Err(wrong_number(subcommand)) }
}

#[cold]
fn wrong_number(name: &str) -> CommandError {
    format!("ERR wrong number of arguments for '{}' command", name.to_ascii_lowercase()).into()
}

#[cold]
pub(super) fn unknown_subcommand(name: &[u8], advice: &str) -> CommandError {
    format!("ERR unknown subcommand '{}'. {advice}", shown(name)).into()
}

/// As Redis says it (`server.c: rejectCommandFormat`), and then what would be understood.
#[cold]
fn unknown_verb(name: &[u8], arguments: Arguments<'_>) -> CommandError {
    let mut text = format!("ERR unknown command '{}', with args beginning with: ", shown(name));
    let start = text.len();
    for argument in arguments.skip(1).iter() {
        if text.len() - start >= SHOWN_BYTES_MAX {
            break;
        }
        text.extend(["'", &shown(argument), "' "]);
    }
    text.push_str("; understood are:");
    for verb in Verb::ALL {
        text.push(' ');
        text.push_str(verb.entry().name);
    }
    text.into()
}

/// The verb and what may follow it, as advice.
fn usage(verb: Verb) -> String {
    format!("Usage: {} {}", verb.entry().name, verb.entry().usage)
}

/// Most bytes of the peer's that an error text shows.
const SHOWN_BYTES_MAX: usize = 128;

/// The peer's own bytes as they may stand in an error text.
pub(super) fn shown(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES_MAX)])
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
