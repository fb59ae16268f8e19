//! Replies to commands that can be answered from the protocol alone: no connection, hub or setting is
//! needed to know them.

use super::Version;
use super::acl::{self, AclCommand};
use super::client::{ClientCommand, HELP as CLIENT_HELP};
use super::command::{Command, Listing};
use super::decode::Arguments;
use super::encode::Reply;
use super::verbs::{Group, Verb};

/// Settings of Redis that load generators ask for, and would rather not do without.
const CONFIG: &[(&str, &str)] = &[("save", ""), ("appendonly", "no")];

/// Replies to `command` if that needs no knowledge of the server. `subscribed`: the connection has
/// subscriptions, and in RESP2 `PING` is answered otherwise.
///
/// False: nothing was written; the reply is the caller's business. `BEAT`, which has none, is among those.
#[inline]
pub fn answer(command: &Command<'_>, subscribed: bool, reply: &mut Reply<'_>) -> bool {
    match *command {
        Command::Ping(message) if subscribed && reply.version() == Version::Resp2 => {
            reply.pong_subscribed(message.unwrap_or_default());
        }
        Command::Ping(None) => reply.pong(),
        Command::Ping(Some(message)) | Command::Echo(message) => reply.bulk(message),
        Command::Select | Command::Client(ClientCommand::Accepted) => reply.ok(),
        Command::Client(ClientCommand::Help) => lines(CLIENT_HELP.iter().copied(), reply),
        Command::Acl(AclCommand::Help) => lines(acl::HELP.iter().copied(), reply),
        Command::Acl(AclCommand::Cat(class)) => acl::categories(class, reply),
        Command::Command(listing) => list(listing, reply),
        Command::Help => help(reply),
        Command::ConfigGet(patterns) => config(patterns, reply),
        Command::Quit
        | Command::Reset
        | Command::Hello { .. }
        | Command::Auth(_)
        | Command::Acl(AclCommand::WhoAmI | AclCommand::List | AclCommand::Users | AclCommand::GetUser(_))
        | Command::Client(
            ClientCommand::SetName(_)
            | ClientCommand::GetName
            | ClientCommand::Id
            | ClientCommand::Info
            | ClientCommand::List(_)
            | ClientCommand::Kill(_),
        )
        | Command::Ident { .. }
        | Command::IdentFor { .. }
        | Command::Beat
        | Command::BeatFor { .. }
        | Command::Send { .. }
        | Command::Who(_)
        | Command::State(_)
        | Command::LastEnd(_)
        | Command::Subscribe(_)
        | Command::Unsubscribe(_)
        | Command::Psubscribe(_)
        | Command::Punsubscribe(_)
        | Command::Publish { .. }
        | Command::PubsubChannels(_)
        | Command::PubsubNumsub(_)
        | Command::PubsubNumpat
        | Command::Info(_) => return false,
    }
    true
}

fn lines(lines: impl ExactSizeIterator<Item = &'static str>, reply: &mut Reply<'_>) {
    reply.array(lines.len());
    for line in lines {
        reply.simple(line);
    }
}

fn help(reply: &mut Reply<'_>) {
    reply.array(Verb::ALL.len());
    for verb in Verb::ALL {
        let entry = verb.entry();
        reply.simple(&format!("{} {} - {}", entry.name, entry.usage, entry.summary).replace("  ", " "));
    }
}

fn list(listing: Listing<'_>, reply: &mut Reply<'_>) {
    match listing {
        Listing::Count => reply.count(Verb::ALL.len()),
        Listing::List => {
            reply.array(Verb::ALL.len());
            for verb in Verb::ALL {
                reply.bulk(lower(*verb).as_bytes());
            }
        }
        Listing::Info(names) if names.is_empty() => {
            reply.array(Verb::ALL.len());
            for verb in Verb::ALL {
                info(*verb, reply);
            }
        }
        Listing::Info(names) => {
            reply.array(names.len());
            for name in names.iter() {
                match Verb::find(name) {
                    Some(verb) => info(verb, reply),
                    None => reply.null(),
                }
            }
        }
        Listing::Docs(names) => {
            let known = || names.iter().filter_map(Verb::find);
            if names.is_empty() {
                reply.map(Verb::ALL.len());
                for verb in Verb::ALL {
                    docs(*verb, reply);
                }
            } else {
                reply.map(known().count());
                for verb in known() {
                    docs(verb, reply);
                }
            }
        }
    }
}

/// Name, arity, flags, first key, last key, step, ACL categories, tips, key specifications, subcommands:
/// the ten that Redis 7 gives. No verb has keys.
fn info(verb: Verb, reply: &mut Reply<'_>) {
    let entry = verb.entry();
    reply.array(10);
    reply.bulk(lower(verb).as_bytes());
    reply.integer(entry.arity());
    match entry.group {
        Group::Pubsub => {
            reply.set(1);
            reply.simple("pubsub");
        }
        Group::Connection | Group::Presence | Group::Server => reply.set(0),
    }
    for _ in 0..3 {
        reply.integer(0);
    }
    reply.set(entry.classes.iter().count());
    for class in entry.classes.iter() {
        reply.simple(&format!("@{class}"));
    }
    reply.set(0);
    reply.set(0);
    reply.array(0);
}

fn docs(verb: Verb, reply: &mut Reply<'_>) {
    let entry = verb.entry();
    let fields = [
        ("summary", entry.summary),
        ("since", env!("CARGO_PKG_VERSION")),
        ("group", entry.group.name()),
        ("usage", entry.usage),
    ];
    reply.bulk(lower(verb).as_bytes());
    reply.map(fields.len());
    for (key, value) in fields {
        reply.bulk(key.as_bytes());
        reply.bulk(value.as_bytes());
    }
}

fn config(patterns: Arguments<'_>, reply: &mut Reply<'_>) {
    let asked = |name: &str| {
        patterns.iter().any(|pattern| pattern == b"*" || pattern.eq_ignore_ascii_case(name.as_bytes()))
    };
    let found = || CONFIG.iter().filter(|(name, _)| asked(name));
    reply.map(found().count());
    for (name, value) in found() {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
}

fn lower(verb: Verb) -> String {
    verb.entry().name.to_ascii_lowercase()
}
