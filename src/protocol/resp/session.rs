//! A session of the command protocol: frames into commands, and each command into what the server is asked for.
//! Commands that need no server are answered in `answer`; what the server finds is replied to in `outcome`.

use super::acl::{self, AclCommand};
use super::client::ClientCommand;
use super::command::{CommandError, Credentials, shown};
use super::judge::{self, NOAUTH_HELLO};
use super::{Arguments, Command, Confirmation, Decoder, Identity, Reply, Scratch, Version, answer, outcome};
use crate::core::end::Foreign;
use crate::hub::Kind;
use crate::protocol::first_bytes::{self, Look};
use crate::protocol::server::{Contract, LogIn, Names, Refusal, Server, Use};
use crate::protocol::session::{Answer, Found, Served, Unread};
use crate::protocol::users::{DEFAULT, Standing};
use crate::protocol::{ProtocolError, Session};
use std::task::Poll;

/// Arguments of a command that is carried out in a turn that is long already.
const FEW_ARGUMENTS: usize = 64;

/// What is remembered of a connection, beyond a command that is not whole: the version that it speaks, and how its last
/// command came. It is one byte, for there are very many of them.
#[derive(PartialEq, Eq, Debug, Default)]
pub enum Commands {
    /// None came yet.
    #[default]
    Fresh,
    /// RESP2, by lines.
    Lines2,
    /// RESP3, by lines.
    Lines3,
    /// RESP2, by arrays.
    Arrays2,
    /// RESP3, by arrays.
    Arrays3,
}

/// How a command came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// As a line: from a person or a script.
    Line,
    /// As an array: from a library.
    Array,
}

impl Commands {
    const fn of(version: Version, form: Form) -> Self {
        match (version, form) {
            (Version::Resp2, Form::Line) => Self::Lines2,
            (Version::Resp3, Form::Line) => Self::Lines3,
            (Version::Resp2, Form::Array) => Self::Arrays2,
            (Version::Resp3, Form::Array) => Self::Arrays3,
        }
    }

    #[inline]
    const fn version(&self) -> Version {
        match self {
            Self::Fresh | Self::Lines2 | Self::Arrays2 => Version::Resp2,
            Self::Lines3 | Self::Arrays3 => Version::Resp3,
        }
    }

    /// How the last command came.
    const fn form(&self) -> Form {
        match self {
            Self::Fresh | Self::Lines2 | Self::Lines3 => Form::Line,
            Self::Arrays2 | Self::Arrays3 => Form::Array,
        }
    }

    /// A command has come.
    #[inline]
    const fn note(&mut self, form: Form) {
        *self = Self::of(self.version(), form);
    }

    /// It speaks that version from now on.
    const fn speak(&mut self, version: Version) {
        *self = Self::of(version, self.form());
    }
}

impl Session for Commands {
    type Encoding = Version;
    type Scratch = Scratch;

    fn open() -> Option<Self> {
        Some(Self::default())
    }

    #[inline]
    fn encoding(&self) -> Version {
        self.version()
    }

    #[inline]
    fn serve(
        &mut self,
        input: &mut Unread<'_>,
        scratch: &mut Scratch,
        server: &mut impl Server,
        replies: &mut Vec<u8>,
    ) -> Result<Served, ProtocolError> {
        let form = if input.bytes.first() == Some(&b'*') { Form::Array } else { Form::Line };
        if *self == Self::Fresh && form == Form::Line && !input.bytes.is_empty() {
            match first_bytes::look(Foreign::Resp, input.bytes) {
                Look::Expected => {}
                Look::Unclear => return Ok(Served::Partial),
                Look::Foreign(spoke) => return Err(ProtocolError::foreign(spoke)),
            }
        }
        let mut decoder = Decoder::from(input.progress);
        let next = decoder.next_frame(&mut input.bytes, input.frame_bytes_max, scratch)?;
        input.progress = decoder.into();
        let Some(arguments) = next else { return Ok(Served::Partial) };
        if let Some(postponed) = postponed(arguments, server) {
            return Ok(postponed);
        }
        let Some(command) = self.understand(arguments, server, replies) else {
            self.note(form);
            return Ok(Served::Message);
        };
        if let Command::Auth(auth) | Command::Hello { auth: Some(auth), .. } = command {
            match self.log_in(auth, server, replies) {
                LogIn::Accepted => server.begin(Use::Request),
                LogIn::Wrong => {
                    server.begin(Use::Request);
                    self.note(form);
                    return Ok(Served::Message);
                }
                LogIn::NotYet => return Ok(Served::NotYet),
                LogIn::TooMany => return Err(ProtocolError::unauthenticated(TOO_MANY)),
            }
        }
        self.note(form);
        if let Err(refusal) = self.perform(command, server, replies) {
            outcome::refused(refusal, &mut Reply::new(replies, self.version()));
        }
        Ok(Served::Message)
    }

    fn answered(&mut self, answer: Answer<'_>, replies: &mut Vec<u8>) {
        outcome::answered(answer, &mut Reply::new(replies, self.version()));
    }

    fn reject(&self, error: &ProtocolError, replies: &mut Vec<u8>) {
        Reply::new(replies, self.version()).protocol_error(&error.text);
    }

    /// A library of Redis does not know words of ours that nobody asked for. In RESP2 it
    /// takes our goodbye for the reply to the command that it has in flight, and each later reply for the one
    /// before; without a command in flight, node-redis 4 dies of it. In RESP3 redis-py 5 and 8 fail on a push
    /// that they have no name for. An end of file is what all of them understand.
    fn takes_goodbye(&self, asks_for_pings: bool) -> bool {
        self.form() != Form::Array || asks_for_pings
    }
}

/// The last words to somebody whose attempt to log in was not looked at.
const TOO_MANY: &str = "too many failed attempts to log in from your address; come back later";

/// What a command has to wait for, if it may not be carried out now.
#[inline]
fn postponed(arguments: Arguments<'_>, server: &impl Server) -> Option<Served> {
    if !server.may_follow(|| publication(arguments)) {
        return Some(Served::AfterPublishing);
    }
    let is = |name: &[u8]| arguments.get(0).is_some_and(|verb| verb.eq_ignore_ascii_case(name));
    // With LAST, it looks through all that is known of endings.
    let is_long = arguments.len() > FEW_ARGUMENTS || (arguments.len() == 3 && is(b"STATE"));
    if is_long && server.is_late() {
        return Some(Served::NextTurn);
    }
    ((is(b"IDENT") || is(b"IDENTFOR")) && server.is_backlogged()).then_some(Served::WhenThereIsRoom)
}

/// Channel and payload of a command that publishes.
#[inline]
fn publication(arguments: Arguments<'_>) -> Option<(&[u8], &[u8])> {
    let publishes =
        arguments.len() == 3 && arguments.get(0).is_some_and(|verb| verb.eq_ignore_ascii_case(b"PUBLISH"));
    publishes.then(|| arguments.get(1).zip(arguments.get(2))).flatten()
}

/// Understands a command, if it is allowed.
#[cold]
fn allowed<'a>(arguments: Arguments<'a>, server: &mut impl Server) -> Result<Command<'a>, CommandError> {
    let (standing, guard) = (server.standing(), server.guard());
    let mut judged = judge::by_act(arguments, standing, guard);
    if judged.is_ok() {
        let command = Command::parse(arguments)?;
        judged = judge::by_names(&command, standing, guard);
        if judged.is_ok() {
            return Ok(command);
        }
    }
    server.note_denied();
    Err(judged.err().unwrap_or_else(|| "NOPERM".into()))
}

impl Commands {
    /// Counts a command, and answers it where that takes no server. Gives one that does.
    #[inline]
    fn understand<'a>(
        &self,
        arguments: Arguments<'a>,
        server: &mut impl Server,
        replies: &mut Vec<u8>,
    ) -> Option<Command<'a>> {
        let subscribed = server.is_subscribed();
        let command = if server.standing() == Standing::OPEN {
            Command::parse(arguments)
        } else {
            allowed(arguments, server)
        };
        let command = command.and_then(|command| {
            if subscribed && self.version() == Version::Resp2 {
                command.allowed_while_subscribed()?;
            }
            Ok(command)
        });
        match command {
            Ok(Command::Beat) => server.begin(Use::Beat),
            Ok(Command::Ping(_)) | Err(_) => server.begin(Use::Ping),
            // It may have to be shown again, and the opening exchange is over only if it comes to something.
            Ok(Command::Auth(_) | Command::Hello { auth: Some(_), .. }) => {}
            Ok(_) => server.begin(Use::Request),
        }
        let mut reply = Reply::new(replies, self.version());
        match command {
            Ok(Command::Beat) => None,
            Ok(command) => (!answer(&command, subscribed, &mut reply)).then_some(command),
            Err(refusal) => {
                reply.error(&refusal.0);
                None
            }
        }
    }

    /// Commands that concern the server: its hub, its state, and the connection that they come from.
    fn perform(
        &mut self,
        command: Command<'_>,
        server: &mut impl Server,
        replies: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        match command {
            Command::Quit => {
                self.reply(replies).ok();
                server.goodbye(replies);
            }
            Command::Reset => {
                server.reset();
                self.speak(Version::default());
                self.reply(replies).simple("RESET");
            }
            Command::Hello { version, name, .. } => self.hello(version, name, server, replies),
            Command::Auth(_) => self.reply(replies).ok(),
            Command::Acl(command) => self.acl(command, server, replies),
            Command::Client(command) => return self.client(command, server, replies),
            Command::Ident { identity, beat, server_ping, token } => {
                if server.identify(identity, Contract { beat, server_ping, token })?.is_ready() {
                    self.reply(replies).ok();
                }
            }
            Command::IdentFor { key, identity } => {
                if let Poll::Ready(naming) = server.identify_other(key, identity)? {
                    outcome::named_other(naming, &mut self.reply(replies));
                }
            }
            Command::BeatFor { identity, token } => {
                server.beat_for(identity, token)?;
                self.reply(replies).ok();
            }
            Command::Send { identity, payload } => {
                let confirm = |sent, replies: &mut Vec<u8>| self.reply(replies).count(usize::from(sent));
                server.send(identity, payload, replies, confirm)?;
            }
            Command::State(identity) => return self.state(identity, server, replies),
            Command::LastEnd(identity) => {
                if let Poll::Ready((state, last)) = server.last_end(identity)? {
                    self.answered(Found::LastEnd { state, last }.into(), replies);
                }
            }
            Command::Who(pattern) => return server.list(Names::Identities, pattern.unwrap_or(b"*")),
            Command::PubsubChannels(pattern) => return server.list(Names::Channels, pattern.unwrap_or(b"*")),
            Command::PubsubNumsub(channels) => return self.numsub(channels, server, replies),
            Command::PubsubNumpat => {
                if let Poll::Ready(count) = server.patterns()? {
                    self.answered(Found::Patterns(count).into(), replies);
                }
            }
            Command::Info(sections) => {
                return server.gather_numbers(sections.iter().map(<[u8]>::to_vec).collect());
            }
            Command::Publish { channel, payload } => return server.publish(channel, payload),
            Command::Subscribe(names) => {
                return self.subscribe(Kind::Channel, names, Confirmation::Subscribe, server, replies);
            }
            Command::Psubscribe(names) => {
                return self.subscribe(Kind::Pattern, names, Confirmation::Psubscribe, server, replies);
            }
            Command::Unsubscribe(names) => {
                self.unsubscribe(Kind::Channel, names, Confirmation::Unsubscribe, server, replies);
            }
            Command::Punsubscribe(names) => {
                self.unsubscribe(Kind::Pattern, names, Confirmation::Punsubscribe, server, replies);
            }
            // Answered from the protocol alone, before it comes here.
            Command::Ping(_)
            | Command::Echo(_)
            | Command::Select
            | Command::Beat
            | Command::Command(_)
            | Command::Help
            | Command::ConfigGet(_) => {}
        }
        Ok(())
    }

    const fn reply<'b>(&self, replies: &'b mut Vec<u8>) -> Reply<'b> {
        Reply::new(replies, self.version())
    }

    /// Logs in, and says so if that has failed.
    fn log_in(&self, auth: Credentials<'_>, server: &mut impl Server, replies: &mut Vec<u8>) -> LogIn {
        let users = server.guard().users();
        if auth.user.is_none() && users.user(users.default_user()).has_no_password() {
            self.reply(replies).error(
                "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
                 configuration is correct?",
            );
            return LogIn::Wrong;
        }
        let came_of_it = server.log_in(auth.user.unwrap_or(DEFAULT.as_bytes()), auth.password);
        if came_of_it == LogIn::Wrong {
            self.reply(replies).error("WRONGPASS invalid username-password pair or user is disabled.");
        }
        came_of_it
    }

    /// `ACL`: what there is to know of users.
    fn acl(&self, command: AclCommand<'_>, server: &impl Server, replies: &mut Vec<u8>) {
        let (users, mut reply) = (server.guard().users(), self.reply(replies));
        match command {
            AclCommand::WhoAmI => {
                let user = server.standing().user().unwrap_or(users.default_user());
                reply.bulk(users.name(user).as_bytes());
            }
            AclCommand::List => acl::list(users, &mut reply),
            AclCommand::Users => acl::names(users, &mut reply),
            AclCommand::GetUser(name) => acl::user(users.find(name).map(|user| users.user(user)), &mut reply),
            // Answered from the protocol alone.
            AclCommand::Cat(_) | AclCommand::Help => {}
        }
    }

    fn hello(
        &mut self,
        version: Option<Version>,
        name: Option<&[u8]>,
        server: &mut impl Server,
        replies: &mut Vec<u8>,
    ) {
        if server.standing() == Standing::ANONYMOUS {
            return self.reply(replies).error(NOAUTH_HELLO);
        }
        if let Some(version) = version {
            self.speak(version);
        }
        if let Some(name) = name {
            server.set_name(name);
        }
        self.reply(replies).hello(server.id());
    }

    /// `CLIENT`: what one connection may know of the others, and how it ends them.
    fn client(
        &self,
        command: ClientCommand<'_>,
        server: &mut impl Server,
        replies: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let mut reply = self.reply(replies);
        match command {
            ClientCommand::SetName(name) => {
                server.set_name(name);
                reply.ok();
            }
            ClientCommand::GetName => match server.name() {
                [] => reply.null(),
                name => reply.bulk(name),
            },
            ClientCommand::Id => reply.number(server.id()),
            ClientCommand::Info => {
                let mut line = Vec::new();
                server.describe(&mut line);
                reply.verbatim(&line);
            }
            ClientCommand::List(filter) => return server.list_clients(filter.into()),
            ClientCommand::Kill(filter) => {
                if let Some(user) =
                    filter.user.as_ref().filter(|user| server.guard().users().find(user).is_none())
                {
                    reply.error(&format!("ERR No such user '{}'", shown(user)));
                    return Ok(());
                }
                return server.end_clients(filter);
            }
            // Answered from the protocol alone.
            ClientCommand::Accepted | ClientCommand::Help => {}
        }
        Ok(())
    }

    fn state(
        &mut self,
        identity: Identity<'_>,
        server: &mut impl Server,
        replies: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        if let Poll::Ready(state) = server.state(identity)? {
            self.answered(Found::State(state).into(), replies);
        }
        Ok(())
    }

    fn numsub(
        &self,
        channels: Arguments<'_>,
        server: &mut impl Server,
        replies: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        if let Poll::Ready(counts) = server.subscribers(channels.iter())? {
            outcome::subscribers(channels.iter().zip(counts), &mut self.reply(replies));
        }
        Ok(())
    }

    fn subscribe(
        &self,
        kind: Kind,
        names: Arguments<'_>,
        confirmation: Confirmation,
        server: &mut impl Server,
        replies: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let mut reply = self.reply(replies);
        server.subscribe(kind, names.iter(), |name, subscribed| match subscribed {
            Ok(count) => reply.confirm(confirmation, Some(name), count),
            Err(refused) => outcome::refused(refused.into(), &mut reply),
        })
    }

    fn unsubscribe(
        &self,
        kind: Kind,
        names: Arguments<'_>,
        confirmation: Confirmation,
        server: &mut impl Server,
        replies: &mut Vec<u8>,
    ) {
        let mut reply = self.reply(replies);
        if !names.is_empty() {
            return server.unsubscribe(kind, names.iter(), |name, count| {
                reply.confirm(confirmation, Some(name), count);
            });
        }
        let mut any = false;
        let left = server.unsubscribe_all(kind, |name, count| {
            any = true;
            reply.confirm(confirmation, Some(name), count);
        });
        if !any {
            reply.confirm(confirmation, None, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_publishes_is_known_by_its_verb_and_its_arguments() {
        let of = |command: &str| {
            let (mut input, mut scratch) = (command.as_bytes(), Scratch::default());
            let frame = Decoder::default().next_frame(&mut input, 4096, &mut scratch);
            let arguments = frame.expect("it is sound").expect("it is whole");
            publication(arguments).map(|(channel, payload)| (channel.to_vec(), payload.to_vec()))
        };
        assert_eq!(of("publish feed y\r\n"), Some((b"feed".to_vec(), b"y".to_vec())));
        for other in ["PUBLISH feed\r\n", "PUBLISH feed y z\r\n", "ECHO feed y\r\n"] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
