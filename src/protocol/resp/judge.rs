//! Whether what a client asks for is allowed: by the rules of its user, and on a listener without users that others can
//! reach, by whether it concerns them. What a command is, [`acts`](super::acts) says; there is no second list.
//!
//! A connection that may do everything never comes here.

use super::acts::{Act, Class};
use super::command::{Command, CommandError};
use super::decode::Arguments;
use super::verbs::Verb;
use crate::hub::{PRESENCE_PREFIX, is_reserved};
use crate::protocol::Identity;
use crate::protocol::users::{Guard, Standing, User};

/// Judges a command by its verb and subcommand. What is no command at all, or has too few arguments, is for others to
/// refuse: as in Redis, that comes first.
///
/// # Errors
/// The reply, in the words of Redis where it has any.
#[cold]
pub(super) fn by_act(
    arguments: Arguments<'_>,
    standing: Standing,
    guard: &Guard,
) -> Result<(), CommandError> {
    let Some(verb) = arguments.get(0).and_then(Verb::find) else { return Ok(()) };
    if arguments.len() < verb.entry().min || arguments.len() > verb.entry().max {
        return Ok(());
    }
    let act = Act::of(verb, arguments.get(1));
    match (standing, standing.user()) {
        // Who may do nothing may log in, and leave.
        _ if matches!(verb, Verb::Auth | Verb::Hello | Verb::Quit | Verb::Reset) => Ok(()),
        (Standing::PROTECTED, _) if act.classes().contain(Class::Others) => Err(protected(&act.name())),
        (Standing::ANONYMOUS, _) => Err(NOAUTH.into()),
        (_, Some(number)) if !guard.users().user(number).may(act) => {
            let name = guard.users().name(number);
            Err(format!("NOPERM User {name} has no permissions to run the '{}' command", act.name()).into())
        }
        _ => Ok(()),
    }
}

/// Judges a command by the channels and identities that it is about.
///
/// # Errors
/// The reply.
#[cold]
pub(super) fn by_names(command: &Command<'_>, standing: Standing, guard: &Guard) -> Result<(), CommandError> {
    if standing == Standing::PROTECTED {
        return by_presence(command);
    }
    let Some(user) = standing.user().map(|number| guard.users().user(number)) else { return Ok(()) };
    match command {
        Command::Subscribe(channels) => all(channels, |channel| user.may_use(channel)),
        Command::Psubscribe(patterns) => all(patterns, |pattern| user.may_listen(pattern)),
        Command::Publish { channel, .. } if !user.may_use(channel) => Err(NO_CHANNEL.into()),
        Command::Ident { identity, .. } => identity_of(user, User::may_claim, "claim", *identity),
        Command::IdentFor { identity, .. } | Command::BeatFor { identity, .. } => {
            identity_of(user, User::may_vouch, "vouch for", *identity)
        }
        Command::Send { identity, .. } => identity_of(user, User::may_send, "send to", *identity),
        Command::Ping(_)
        | Command::Echo(_)
        | Command::Quit
        | Command::Reset
        | Command::Hello { .. }
        | Command::Auth(_)
        | Command::Acl(_)
        | Command::Select
        | Command::Client(_)
        | Command::Beat
        | Command::Who(_)
        | Command::State(_)
        | Command::LastEnd(_)
        | Command::Unsubscribe(_)
        | Command::Punsubscribe(_)
        | Command::Publish { .. }
        | Command::PubsubChannels(_)
        | Command::PubsubNumsub(_)
        | Command::PubsubNumpat
        | Command::Info(_)
        | Command::Command(_)
        | Command::Help
        | Command::ConfigGet(_) => Ok(()),
    }
}

/// Who is there, and whence, is told on channels as well.
fn by_presence(command: &Command<'_>) -> Result<(), CommandError> {
    let tells = if let Command::Subscribe(channels) = command {
        channels.iter().any(is_reserved)
    } else if let Command::Psubscribe(patterns) = command {
        patterns.iter().any(may_match_presence)
    } else {
        false
    };
    if tells { Err(protected("to listen to $presence channels")) } else { Ok(()) }
}

/// Whether a pattern may match the presence of somebody: up to its first special byte, it says the same.
fn may_match_presence(pattern: &[u8]) -> bool {
    let plain = pattern.iter().take_while(|byte| !b"*?[\\".contains(byte)).count();
    let common = plain.min(PRESENCE_PREFIX.len());
    pattern[..common] == PRESENCE_PREFIX[..common]
        && (plain < pattern.len() || plain >= PRESENCE_PREFIX.len())
}

fn all(names: &Arguments<'_>, may: impl Fn(&[u8]) -> bool) -> Result<(), CommandError> {
    if names.iter().all(may) { Ok(()) } else { Err(NO_CHANNEL.into()) }
}

fn identity_of(
    user: &User,
    may: impl Fn(&User, &str) -> bool,
    act: &str,
    identity: Identity<'_>,
) -> Result<(), CommandError> {
    if may(user, identity.as_str()) {
        Ok(())
    } else {
        Err(format!("NOPERM No permissions to {act} the identity '{}'", identity.as_str()).into())
    }
}

fn protected(what: &str) -> CommandError {
    format!(
        "DENIED {what}: other hosts can reach this listener, and it has no users. Give it some (users = FILE, see \
         'linger explain users'), or set protected_mode = false"
    )
    .into()
}

const NOAUTH: &str = "NOAUTH Authentication required.";
/// The reply to `HELLO` of somebody who has not logged in.
pub(super) const NOAUTH_HELLO: &str = "NOAUTH HELLO must be called with the client already authenticated, otherwise the \
     HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version \
     at the same time";
const NO_CHANNEL: &str = "NOPERM No permissions to access a channel";

#[cfg(test)]
mod tests {
    use super::super::{Decoder, Scratch};
    use super::*;
    use crate::hub::glob;
    use crate::protocol::users::Users;
    use proptest::prelude::*;
    use std::sync::Arc;

    /// What is replied to a command that is not allowed.
    fn judged(command: &str, standing: Standing, guard: &Guard) -> Option<String> {
        let line = format!("{command}\r\n");
        let (mut input, mut scratch) = (line.as_bytes(), Scratch::default());
        let arguments = Decoder::default().next_frame(&mut input, 4096, &mut scratch).unwrap().unwrap();
        let judged = by_act(arguments, standing, guard);
        let judged = judged.and_then(|()| by_names(&Command::parse(arguments)?, standing, guard));
        judged.err().map(|error| error.0.into_owned())
    }

    fn as_user(rules: &str, command: &str) -> Option<String> {
        let guard = Guard::Users(Arc::new(Users::read(&format!("user u on nopass {rules}\n")).unwrap()));
        judged(command, Standing::of(guard.users().find(b"u").unwrap()), &guard)
    }

    #[test]
    fn a_user_does_what_its_rules_say_in_the_words_of_redis() {
        let refused = as_user("+@all -client|kill", "client kill id 7").unwrap();
        assert_eq!(refused, "NOPERM User u has no permissions to run the 'client|kill' command");
        assert_eq!(as_user("+@all -client|kill", "CLIENT LIST"), None);
        let no_channel = Some("NOPERM No permissions to access a channel".to_owned());
        assert_eq!(as_user("+@all &news.*", "SUBSCRIBE news.a other"), no_channel);
        assert_eq!(as_user("+@all &news.*", "SUBSCRIBE news.a news.b"), None);
        assert_eq!(as_user("+@all &news.*", "PSUBSCRIBE news.a*"), no_channel);
        assert_eq!(as_user("+@all &news.*", "PSUBSCRIBE news.*"), None);
        assert_eq!(as_user("+@all &news.*", "PUBLISH other x"), no_channel);
        assert_eq!(as_user("+@all &$presence:*", "PSUBSCRIBE $presence:*"), None);
        for (rule, command, act) in [
            ("claim:a*", "IDENT b", "claim"),
            ("vouch:a*", "BEATFOR b", "vouch for"),
            ("vouch:a*", "IDENTFOR 1-1 b", "vouch for"),
            ("send:a*", "SEND b x", "send to"),
        ] {
            let refused = format!("NOPERM No permissions to {act} the identity 'b'");
            assert_eq!(as_user(&format!("+@all {rule}"), command), Some(refused));
            assert_eq!(as_user(&format!("+@all {rule}"), &command.replace('b', "a1")), None, "{command}");
        }
    }

    #[test]
    fn who_has_not_logged_in_may_log_in_and_leave() {
        let guard = Guard::Users(Arc::new(Users::read("").unwrap()));
        let judged = |command: &str| judged(command, Standing::ANONYMOUS, &guard);
        for allowed in ["AUTH a b", "HELLO 3 AUTH a b", "QUIT", "RESET"] {
            assert_eq!(judged(allowed), None, "{allowed}");
        }
        for refused in ["PING", "BEAT", "SUBSCRIBE a", "ACL WHOAMI", "CLIENT ID", "INFO"] {
            assert_eq!(judged(refused).as_deref(), Some(NOAUTH), "{refused}");
        }
        // As in Redis, what is no command is refused as that.
        assert!(judged("NONSENSE").unwrap().starts_with("ERR unknown command"));
    }

    #[test]
    fn where_anybody_may_come_in_what_concerns_others_is_refused_and_says_what_to_do() {
        let judged = |command: &str| judged(command, Standing::PROTECTED, &Guard::Protected);
        for refused in [
            "CLIENT LIST",
            "client kill id 1",
            "WHO",
            "STATE a",
            "BEATFOR a",
            "IDENTFOR 1-1 a",
            "SEND a x",
            "SUBSCRIBE news $presence:a",
            "PSUBSCRIBE *",
            "PSUBSCRIBE $presence:*",
            "PSUBSCRIBE $pre*",
            "PSUBSCRIBE [$]*",
            "PSUBSCRIBE $presence:a",
        ] {
            let told = judged(refused).unwrap_or_else(|| panic!("{refused}"));
            assert!(told.starts_with("DENIED ") && told.contains("users = FILE"), "{told}");
        }
        for allowed in [
            "PING",
            "IDENT a BEAT 5",
            "BEAT",
            "SUBSCRIBE news",
            "PSUBSCRIBE news.*",
            "PUBLISH news x",
            "CLIENT ID",
            "INFO",
            "PSUBSCRIBE $pres",
            "PUBSUB CHANNELS",
            "ACL WHOAMI",
            "HELLO 3",
        ] {
            assert_eq!(judged(allowed), None, "{allowed}");
        }
    }

    proptest! {
        /// No pattern that is allowed on a protected listener matches a presence channel.
        #[test]
        fn a_pattern_that_matches_presence_is_seen(pattern in "[$pr*?\\[\\]\\\\^e]{0,6}(presence:)?[a*?]{0,2}", id in "[a-c]{1,3}") {
            let channel = [PRESENCE_PREFIX, id.as_bytes()].concat();
            if glob::matches(pattern.as_bytes(), &channel) {
                prop_assert!(may_match_presence(pattern.as_bytes()));
            }
        }
    }
}
