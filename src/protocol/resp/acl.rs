//! `ACL`: what there is to know of users. They are changed in their file alone: `linger user` does that, and SIGHUP has it
//! read again.

use super::acts::{Act, Class};
use super::command::{CommandError, arity, shown, unknown_subcommand};
use super::decode::Arguments;
use super::encode::Reply;
use crate::protocol::users::{User, Users};

/// A subcommand of `ACL`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AclCommand<'a> {
    /// `WHOAMI`.
    WhoAmI,
    /// `CAT [class]`.
    Cat(Option<Class>),
    /// `LIST`.
    List,
    /// `USERS`.
    Users,
    /// `GETUSER name`.
    GetUser(&'a [u8]),
    /// `HELP`.
    Help,
}

/// Lines of `ACL HELP`.
pub(super) const HELP: &[&str] = &[
    "ACL <subcommand> [<arg> ...]. Subcommands are:",
    "CAT [<class>]",
    "    List the classes of commands, or the commands of one.",
    "GETUSER <name>",
    "    Tell about a user.",
    "LIST",
    "    List the users with their rules.",
    "USERS",
    "    List the names of the users.",
    "WHOAMI",
    "    Return the user of this connection.",
    "HELP",
    "    Print this help.",
    "Users are changed in their file: see 'linger user' and 'linger explain users'.",
];

impl<'a> AclCommand<'a> {
    /// Understands `ACL ...`; `arguments` starts with the verb.
    pub(super) fn parse(arguments: Arguments<'a>) -> Result<Self, CommandError> {
        let name = arguments.get(1).unwrap_or_default();
        let values = arguments.skip(2);
        let is = |subcommand: &str| name.eq_ignore_ascii_case(subcommand.as_bytes());
        let alone = |subcommand: &str, command| arity(subcommand, values.is_empty()).map(|()| command);
        if is("WHOAMI") {
            alone("acl|whoami", Self::WhoAmI)
        } else if is("LIST") {
            alone("acl|list", Self::List)
        } else if is("USERS") {
            alone("acl|users", Self::Users)
        } else if is("HELP") {
            alone("acl|help", Self::Help)
        } else if is("GETUSER") {
            arity("acl|getuser", values.len() == 1)?;
            Ok(Self::GetUser(values.get(0).unwrap_or_default()))
        } else if is("CAT") {
            arity("acl|cat", values.len() <= 1)?;
            values.get(0).map(class).transpose().map(Self::Cat)
        } else if ["SETUSER", "DELUSER", "LOAD", "SAVE"].iter().any(|other| is(other)) {
            Err("ERR users are changed in their file: use 'linger user', then SIGHUP".into())
        } else {
            Err(unknown_subcommand(name, "Try ACL HELP."))
        }
    }
}

fn class(name: &[u8]) -> Result<Class, CommandError> {
    str::from_utf8(name)
        .ok()
        .and_then(Class::find)
        .ok_or_else(|| format!("ERR Unknown category '{}'", shown(name)).into())
}

/// Replies with the classes, or with what is of one.
pub(super) fn categories(class: Option<Class>, reply: &mut Reply<'_>) {
    let Some(class) = class else {
        reply.array(Class::ALL.len());
        return Class::ALL.iter().for_each(|class| reply.bulk(class.name().as_bytes()));
    };
    let acts: Vec<_> = Act::all().filter(|act| act.classes().contain(class)).collect();
    reply.array(acts.len());
    for act in acts {
        reply.bulk(act.name().as_bytes());
    }
}

/// Replies with the users, each as its line in a file.
pub(super) fn list(users: &Users, reply: &mut Reply<'_>) {
    reply.array(users.iter().len());
    for (name, user) in users.iter() {
        reply.bulk(format!("user {name} {user}").as_bytes());
    }
}

/// Replies with their names.
pub(super) fn names(users: &Users, reply: &mut Reply<'_>) {
    reply.array(users.iter().len());
    users.iter().for_each(|(name, _)| reply.bulk(name.as_bytes()));
}

/// Replies with one of them: the fields of Redis, and what it may do with identities.
pub(super) fn user(user: Option<&User>, reply: &mut Reply<'_>) {
    let Some(user) = user else { return reply.null() };
    reply.map(7);
    reply.bulk(b"flags");
    let flags: Vec<_> = user.flags().collect();
    reply.set(flags.len());
    for flag in flags {
        reply.bulk(flag.as_bytes());
    }
    reply.bulk(b"passwords");
    reply.array(user.hashes().len());
    user.hashes().iter().for_each(|hash| reply.bulk(hash.to_string().as_bytes()));
    for (field, text) in [
        ("commands", user.command_rules()),
        ("keys", String::new()),
        ("channels", user.channel_rules()),
        ("identities", user.identity_rules()),
    ] {
        reply.bulk(field.as_bytes());
        reply.bulk(text.as_bytes());
    }
    reply.bulk(b"selectors");
    reply.array(0);
}
