//! A session of the command protocol: frames into commands, and each command into what the server is asked for.
//! Commands that need no server are answered in `answer`; what the server finds is replied to in `outcome`.

use super::client::ClientCommand;
use super::{Arguments, Command, Confirmation, Decoder, Identity, Reply, Scratch, Version, answer, outcome};
use crate::core::end::Foreign;
use crate::hub::Kind;
use crate::protocol::first_bytes::{self, Look};
use crate::protocol::server::{Contract, Names, Refusal, Server, Use};
use crate::protocol::session::{Answer, Found, Served, Unread};
use crate::protocol::{ProtocolError, Session};
use std::task::Poll;

/// Arguments of a command that is carried out in a turn that is long already.
const FEW_ARGUMENTS: usize = 64;

/// What is remembered of a connection, beyond a command that is not whole.
#[derive(Debug, Default)]
pub struct Commands {
    version: Version,
    last: Form,
}

/// How a command came.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Form {
    /// None came yet.
    #[default]
    Unknown,
    /// As a line: from a person or a script.
    Line,
    /// As an array: from a library.
    Array,
}

impl Session for Commands {
    type Encoding = Version;
    type Scratch = Scratch;

    fn open() -> Option<Self> {
        Some(Self::default())
    }

    #[inline]
    fn encoding(&self) -> Version {
        self.version
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
        if self.last == Form::Unknown && form == Form::Line && !input.bytes.is_empty() {
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
        self.last = form;
        if let Some(command) = self.understand(arguments, server, replies)
            && let Err(refusal) = self.perform(command, server, replies)
        {
            outcome::refused(refusal, &mut Reply::new(replies, self.version));
        }
        Ok(Served::Message)
    }

    fn answered(&mut self, answer: Answer<'_>, replies: &mut Vec<u8>) {
        outcome::answered(answer, &mut Reply::new(replies, self.version));
    }

    fn reject(&self, error: &ProtocolError, replies: &mut Vec<u8>) {
        Reply::new(replies, self.version).protocol_error(&error.text);
    }

    /// A library of Redis does not know words of ours that nobody asked for. In RESP2 it
    /// takes our goodbye for the reply to the command that it has in flight, and each later reply for the one
    /// before; without a command in flight, node-redis 4 dies of it. In RESP3 redis-py 5 and 8 fail on a push
    /// that they have no name for. An end of file is what all of them understand.
    fn takes_goodbye(&self, asks_for_pings: bool) -> bool {
        self.last != Form::Array || asks_for_pings
    }
}

/// What a command has to wait for, if it may not be carried out now.
#[inline]
fn postponed(arguments: Arguments<'_>, server: &impl Server) -> Option<Served> {
    if !server.may_follow(|| publication(arguments)) {
        return Some(Served::AfterPublishing);
    }
    if arguments.len() > FEW_ARGUMENTS && server.is_late() {
        return Some(Served::NextTurn);
    }
    let names = |verb: &[u8]| verb.eq_ignore_ascii_case(b"IDENT") || verb.eq_ignore_ascii_case(b"IDENTFOR");
    let makes_presence = arguments.get(0).is_some_and(names);
    (makes_presence && server.is_backlogged()).then_some(Served::WhenThereIsRoom)
}

/// Channel and payload of a command that publishes.
#[inline]
fn publication(arguments: Arguments<'_>) -> Option<(&[u8], &[u8])> {
    let publishes =
        arguments.len() == 3 && arguments.get(0).is_some_and(|verb| verb.eq_ignore_ascii_case(b"PUBLISH"));
    publishes.then(|| arguments.get(1).zip(arguments.get(2))).flatten()
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
        let command = Command::parse(arguments).and_then(|command| {
            if subscribed && self.version == Version::Resp2 {
                command.allowed_while_subscribed()?;
            }
            Ok(command)
        });
        server.begin(match command {
            Ok(Command::Beat) => Use::Beat,
            Ok(Command::Ping(_)) | Err(_) => Use::Ping,
            Ok(_) => Use::Request,
        });
        let mut reply = Reply::new(replies, self.version);
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
                self.version = Version::default();
                self.reply(replies).simple("RESET");
            }
            Command::Hello { version, name } => self.hello(version, name, server, replies),
            Command::Client(command) => return self.client(command, server, replies),
            Command::Ident { identity, beat, server_ping, token } => {
                server.identify(identity, Contract { beat, server_ping, token })?;
                self.reply(replies).ok();
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
            | Command::Auth
            | Command::Select
            | Command::Beat
            | Command::Command(_)
            | Command::Help
            | Command::ConfigGet(_) => {}
        }
        Ok(())
    }

    const fn reply<'b>(&self, replies: &'b mut Vec<u8>) -> Reply<'b> {
        Reply::new(replies, self.version)
    }

    fn hello(
        &mut self,
        version: Option<Version>,
        name: Option<&[u8]>,
        server: &mut impl Server,
        replies: &mut Vec<u8>,
    ) {
        if let Some(version) = version {
            self.version = version;
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
            ClientCommand::Kill(filter) => return server.end_clients(filter),
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
