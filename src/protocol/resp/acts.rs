//! What a command is to the rules of a user: an [`Act`], a verb or one of its subcommands, each of some [`Class`]es.
//! Whether a user may do something, and what is refused on a listener without users that others can reach, is judged by
//! these and by nothing else. The classes of verbs stand in the table of [`verbs`](super::verbs), those of subcommands here.

use super::verbs::Verb;
use crate::core::named::named;

named! {
    /// What kind of act it is, as `+@class` names it.
    Class {
        /// About the connection that it comes from.
        Connection = "connection",
        /// Takes an identity, vouches for one, or sends to one.
        Identity = "identity",
        /// Tells who is there.
        Presence = "presence",
        /// Messages to many.
        Pubsub = "pubsub",
        /// About the server.
        Server = "server",
        /// For operators.
        Admin = "admin",
        /// Harms others, or tells more than a client needs, if it is in the wrong hands.
        Dangerous = "dangerous",
        /// Acts on other connections, or tells of them: refused where anybody may come in.
        Others = "others",
    }
}

impl Class {
    /// The one of that name, in any case.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|class| class.name().eq_ignore_ascii_case(name))
    }
}

/// A set of classes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Classes(u8);

const _: () = assert!(Class::ALL.len() <= u8::BITS as usize);

impl Classes {
    /// These.
    pub const fn of(classes: &[Class]) -> Self {
        let (mut set, mut at) = (0, 0);
        while at < classes.len() {
            set |= 1 << classes[at] as u8;
            at += 1;
        }
        Self(set)
    }

    /// Whether that is one of them.
    pub const fn contain(self, class: Class) -> bool {
        self.0 & 1 << class as u8 != 0
    }

    /// All of them.
    pub fn iter(self) -> impl Iterator<Item = Class> {
        Class::ALL.iter().copied().filter(move |class| self.contain(*class))
    }
}

/// What the table says about one subcommand.
struct Subcommand {
    verb: Verb,
    name: &'static str,
    classes: Classes,
}

const fn sub(verb: Verb, name: &'static str, classes: &[Class]) -> Subcommand {
    Subcommand { verb, name, classes: Classes::of(classes) }
}

const OWN: &[Class] = &[Class::Connection];
const OPERATE: &[Class] = &[Class::Admin, Class::Dangerous];
/// Not of the class of the connection, as they are in Redis: who is allowed that must not end others.
const OPERATE_OTHERS: &[Class] = &[Class::Admin, Class::Dangerous, Class::Others];
const PUBSUB: &[Class] = &[Class::Pubsub];

static SUBCOMMANDS: [Subcommand; 25] = [
    sub(Verb::Client, "setname", OWN),
    sub(Verb::Client, "getname", OWN),
    sub(Verb::Client, "id", OWN),
    sub(Verb::Client, "info", OWN),
    sub(Verb::Client, "list", OPERATE_OTHERS),
    sub(Verb::Client, "kill", OPERATE_OTHERS),
    sub(Verb::Client, "setinfo", OWN),
    sub(Verb::Client, "no-evict", OWN),
    sub(Verb::Client, "no-touch", OWN),
    sub(Verb::Client, "tracking", OWN),
    sub(Verb::Client, "reply", OWN),
    sub(Verb::Client, "help", OWN),
    sub(Verb::Acl, "whoami", OWN),
    sub(Verb::Acl, "cat", OWN),
    sub(Verb::Acl, "help", OWN),
    sub(Verb::Acl, "list", OPERATE),
    sub(Verb::Acl, "users", OPERATE),
    sub(Verb::Acl, "getuser", OPERATE),
    sub(Verb::Pubsub, "channels", PUBSUB),
    sub(Verb::Pubsub, "numsub", PUBSUB),
    sub(Verb::Pubsub, "numpat", PUBSUB),
    sub(Verb::Command, "count", OWN),
    sub(Verb::Command, "list", OWN),
    sub(Verb::Command, "info", OWN),
    sub(Verb::Command, "docs", OWN),
];

/// How many acts there are: each has a bit in the rights of a user.
const COUNT: usize = Verb::ALL.len() + SUBCOMMANDS.len();
const _: () = assert!(COUNT <= u64::BITS as usize);

/// A verb, or one of its subcommands: what a user may do or not. By its number, verbs first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Act(u8);

impl Act {
    /// That of a verb with that argument behind it.
    pub fn of(verb: Verb, argument: Option<&[u8]>) -> Self {
        let is_it = |sub: &Subcommand| {
            sub.verb == verb && argument.is_some_and(|given| given.eq_ignore_ascii_case(sub.name.as_bytes()))
        };
        let at = SUBCOMMANDS.iter().position(is_it).map_or(verb as usize, |at| Verb::ALL.len() + at);
        Self::at(at)
    }

    /// The ones that a rule `+name` means: a subcommand as `client|kill`, or a verb with all its subcommands. None: there is no
    /// such command.
    pub fn named(name: &str) -> Option<impl Iterator<Item = Self>> {
        let (verb, rest) = name.split_once('|').map_or((name, None), |(verb, rest)| (verb, Some(rest)));
        let verb = Verb::find(verb.as_bytes())?;
        let only = rest.map(|rest| Self::of(verb, Some(rest.as_bytes())));
        // What is no subcommand is the verb alone.
        if only.is_some_and(|only| only == Self::at(verb as usize)) {
            return None;
        }
        Some(Self::all().filter(move |act| only.map_or(act.verb() == verb, |only| *act == only)))
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..COUNT).map(Self::at)
    }

    /// Its bit in a set.
    pub const fn bit(self) -> u64 {
        1 << self.0
    }

    /// Its classes.
    pub fn classes(self) -> Classes {
        self.subcommand().map_or_else(|| self.verb().entry().classes, |sub| sub.classes)
    }

    /// In small letters: `ping`, `client|kill`.
    pub fn name(self) -> String {
        let verb = self.verb().entry().name.to_ascii_lowercase();
        self.subcommand().map_or(verb.clone(), |sub| format!("{verb}|{}", sub.name))
    }

    fn at(number: usize) -> Self {
        Self(u8::try_from(number).expect("there are at most 64"))
    }

    fn subcommand(self) -> Option<&'static Subcommand> {
        usize::from(self.0).checked_sub(Verb::ALL.len()).map(|at| &SUBCOMMANDS[at])
    }

    /// The verb that it is, or that it is a subcommand of.
    pub fn verb(self) -> Verb {
        self.subcommand().map_or_else(|| Verb::ALL[usize::from(self.0)], |sub| sub.verb)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_act_is_found_by_its_name_and_has_classes() {
        for act in Act::all() {
            let name = act.name();
            assert!(act.classes().iter().count() > 0, "{name}");
            let (verb, argument) =
                name.split_once('|').map_or((&*name, None), |(verb, sub)| (verb, Some(sub)));
            let verb = Verb::find(verb.as_bytes()).unwrap();
            assert_eq!(Act::of(verb, argument.map(str::as_bytes)), act, "{name}");
            assert!(Act::named(&name).unwrap().any(|named| named == act), "{name}");
        }
        for (at, verb) in Verb::ALL.iter().enumerate() {
            assert_eq!(*verb as usize, at, "acts are numbered as verbs are");
        }
    }

    #[test]
    fn a_verb_means_its_subcommands_and_a_subcommand_only_itself() {
        let named = |name: &str| Act::named(name).map(|acts| acts.map(Act::name).collect::<Vec<_>>());
        assert_eq!(named("PING"), Some(vec!["ping".to_owned()]));
        assert_eq!(named("client|KILL"), Some(vec!["client|kill".to_owned()]));
        assert_eq!(named("pubsub").unwrap(), ["pubsub", "pubsub|channels", "pubsub|numsub", "pubsub|numpat"]);
        for wrong in ["", "get", "client|", "client|fly", "ping|x", "|kill", "client|kill|x"] {
            assert_eq!(named(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_acts_on_others_is_what_the_guide_says() {
        let others: Vec<_> = Act::all().filter(|act| act.classes().contain(Class::Others)).collect();
        let names: Vec<_> = others.iter().map(|act| act.name()).collect();
        assert_eq!(names, ["identfor", "beatfor", "send", "who", "state", "client|list", "client|kill"]);
    }
}
