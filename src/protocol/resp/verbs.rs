//! The one table of verbs. Lookup, arity, `COMMAND`, `COMMAND DOCS`, `HELP` and the list in the answer to
//! an unknown verb all come from it; so does what a user may do, and what is refused where there are none (`acts`).

use super::acts::{Class, Classes};

/// Longest verb, in bytes.
const VERB_BYTES_MAX: usize = 12;

macro_rules! verbs {
    ($($variant:ident $name:literal $min:literal..$max:tt $group:ident [$($class:ident)+] $usage:literal $summary:literal,)+) => {
        /// A verb.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Verb { $(#[doc = $summary] $variant,)+ }

        impl Verb {
            /// Every verb, in the order in which `HELP` shows them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Finds a verb by its name in any case.
            #[inline]
            pub fn find(name: &[u8]) -> Option<Self> {
                let mut upper = [0; VERB_BYTES_MAX];
                let upper = upper.get_mut(..name.len())?;
                for (upper, byte) in upper.iter_mut().zip(name) {
                    *upper = byte.to_ascii_uppercase();
                }
                match &*upper {
                    $($name => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// What the table says about it.
            pub const fn entry(self) -> &'static Entry {
                match self {
                    $(Self::$variant => const {
                        &Entry {
                            name: match str::from_utf8($name) {
                                Ok(name) => name,
                                Err(_) => panic!("a verb is ASCII"),
                            },
                            min: $min,
                            max: verbs!(@max $max),
                            group: Group::$group,
                            classes: Classes::of(&[$(Class::$class),+]),
                            usage: $usage,
                            summary: $summary,
                        }
                    },)+
                }
            }
        }
    };
    (@max any) => { usize::MAX };
    (@max $max:literal) => { $max };
}

// Name, arguments at least..at most (the verb counts as one), group, classes, what follows the verb, what it does.
verbs! {
    Ping b"PING" 1..2 Connection [Connection] "[message]" "Answers PONG, or the message.",
    Echo b"ECHO" 2..2 Connection [Connection] "message" "Answers the message.",
    Quit b"QUIT" 1..any Connection [Connection] "" "Says goodbye: answers OK, then close.",
    Reset b"RESET" 1..1 Connection [Connection] "" "Drops subscriptions, name, identity and RESP3; keeps the connection.",
    Hello b"HELLO" 1..any Connection [Connection] "[2|3 [AUTH user password] [SETNAME name]]" "Chooses the protocol version and tells about the server.",
    Auth b"AUTH" 2..any Connection [Connection] "[user] password" "Logs in as a user, or as user default.",
    Acl b"ACL" 2..any Connection [Connection] "subcommand [argument ...]" "Users: see ACL HELP.",
    Select b"SELECT" 2..2 Connection [Connection] "0" "Accepts database 0, the only one.",
    Client b"CLIENT" 2..any Connection [Connection] "subcommand [argument ...]" "Connections: see CLIENT HELP.",
    Ident b"IDENT" 2..7 Presence [Identity] "id [BEAT seconds] [SERVERPING] [CHANNEL token]" "Takes an identity, and makes a heartbeat contract.",
    IdentFor b"IDENTFOR" 3..3 Presence [Identity Others] "key id" "Gives a gateway's client an identity, on the word of the application behind it.",
    Beat b"BEAT" 1..1 Presence [Connection] "" "A heartbeat; never answered.",
    BeatFor b"BEATFOR" 2..3 Presence [Identity Others] "id [token]" "Makes this connection the heartbeat channel of id.",
    Send b"SEND" 3..3 Presence [Identity Others] "id message" "Sends a message to one identity; answers 1 if it was there, else 0.",
    Who b"WHO" 1..2 Presence [Presence Others] "[pattern]" "Lists the identities that are there.",
    State b"STATE" 2..3 Presence [Presence Others] "id [LAST]" "Tells whether an identity is online, suspect or offline; with LAST also why its last connection ended, and how many seconds ago.",
    Subscribe b"SUBSCRIBE" 2..any Pubsub [Pubsub] "channel [channel ...]" "Receives what is published on channels.",
    Unsubscribe b"UNSUBSCRIBE" 1..any Pubsub [Pubsub] "[channel ...]" "Stops that, for all channels if none is named.",
    Psubscribe b"PSUBSCRIBE" 2..any Pubsub [Pubsub] "pattern [pattern ...]" "Receives what is published on matching channels.",
    Punsubscribe b"PUNSUBSCRIBE" 1..any Pubsub [Pubsub] "[pattern ...]" "Stops that, for all patterns if none is named.",
    Publish b"PUBLISH" 3..3 Pubsub [Pubsub] "channel message" "Publishes a message; answers how many receive it.",
    Pubsub b"PUBSUB" 2..any Pubsub [Pubsub] "CHANNELS [pattern] | NUMSUB [channel ...] | NUMPAT" "Tells who listens to what.",
    Info b"INFO" 1..any Server [Server Dangerous] "[section ...]" "Tells about the server.",
    Command b"COMMAND" 1..any Server [Connection] "[COUNT | LIST | INFO [name ...] | DOCS [name ...]]" "Tells about the verbs, for programs.",
    Help b"HELP" 1..any Server [Connection] "" "Tells about the verbs, for people.",
    Config b"CONFIG" 2..any Server [Server Admin Dangerous] "GET pattern [pattern ...]" "Answers what load generators ask for.",
}

/// What the table says about one verb.
#[derive(PartialEq, Eq, Debug)]
pub struct Entry {
    /// Upper case.
    pub name: &'static str,
    /// Fewest arguments, the verb included.
    pub min: usize,
    /// Most arguments, the verb included.
    pub max: usize,
    /// What it belongs to.
    pub group: Group,
    /// What it is to the rules of a user. Its subcommands have classes of their own.
    pub classes: Classes,
    /// What follows the verb.
    pub usage: &'static str,
    /// What it does, in a sentence.
    pub summary: &'static str,
}

impl Entry {
    /// Arity as `COMMAND` tells it: negative if arguments may follow.
    pub fn arity(&self) -> i64 {
        let min = i64::try_from(self.min).expect("the table is small");
        if self.min == self.max { min } else { -min }
    }
}

/// A group of verbs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    /// This connection.
    Connection,
    /// Who is there.
    Presence,
    /// Messages to many.
    Pubsub,
    /// The server.
    Server,
}

impl Group {
    /// The name in `COMMAND DOCS`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Presence => "presence",
            Self::Pubsub => "pubsub",
            Self::Server => "server",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_is_found_by_its_name_in_any_case() {
        for &verb in Verb::ALL {
            let name = verb.entry().name;
            assert_eq!(Verb::find(name.as_bytes()), Some(verb));
            assert_eq!(Verb::find(name.to_ascii_lowercase().as_bytes()), Some(verb));
            assert_eq!(Verb::find(format!("{name}X").as_bytes()), None);
        }
        assert_eq!(Verb::find(b""), None);
        assert_eq!(Verb::find(&[b'A'; 100]), None);
    }

    #[test]
    fn every_verb_stands_in_the_documentation() {
        let page = include_str!("mod.rs");
        for verb in Verb::ALL {
            assert!(
                page.lines().any(|line| line.contains("| `") && line.contains(verb.entry().name)),
                "{verb:?}"
            );
        }
    }

    #[test]
    fn arity_is_told_as_redis_tells_it() {
        assert_eq!(Verb::Ping.entry().arity(), -1);
        assert_eq!(Verb::Echo.entry().arity(), 2);
        assert_eq!(Verb::Subscribe.entry().arity(), -2);
        assert_eq!(Verb::Publish.entry().arity(), 3);
    }
}
