//! One user: whether it may log in, and what it may do then. Made of rules, word by word from left to right, as in a line
//! of an ACL file of Redis; what is later in the line wins.

use super::password::Hash;
use crate::hub::glob;
use crate::protocol::resp::acts::{Act, Class};
use std::fmt;

/// A user. A new one is off, has no password and may do nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct User {
    is_on: bool,
    /// Any password will do.
    nopass: bool,
    hashes: Vec<Hash>,
    /// The acts that it may do, a bit each.
    acts: u64,
    /// The rules that those come from, behind the last that was about all of them.
    act_rules: Vec<Box<str>>,
    channels: Patterns,
    claims: Patterns,
    vouches: Patterns,
    sends: Patterns,
}

/// Names that are allowed: those that match one of some patterns.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Patterns(Vec<Box<str>>);

/// A rule that is none, or that is not taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuleError {
    /// What is wrong: the rest of a sentence that begins with the rule.
    pub wrong: String,
    /// What would be right.
    pub right: String,
}

fn error(wrong: impl Into<String>, right: impl Into<String>) -> RuleError {
    RuleError { wrong: wrong.into(), right: right.into() }
}

impl User {
    /// One that may do everything without a password: the only one of a listener that has no users.
    pub fn everything() -> Self {
        let mut user = Self { is_on: true, nopass: true, acts: all_acts(), ..Self::default() };
        user.act_rules.push("+@all".into());
        for patterns in [&mut user.channels, &mut user.claims, &mut user.vouches, &mut user.sends] {
            patterns.allow_all();
        }
        user
    }

    /// Applies one rule.
    ///
    /// # Errors
    /// Why it is none. The user may have changed.
    pub fn apply(&mut self, rule: &str) -> Result<(), RuleError> {
        // In any case, as in Redis.
        match rule.to_ascii_lowercase().as_str() {
            "on" => self.is_on = true,
            "off" => self.is_on = false,
            "nopass" => (self.nopass, self.hashes) = (true, Vec::new()),
            "resetpass" => (self.nopass, self.hashes) = (false, Vec::new()),
            "allcommands" | "+@all" => self.set_acts(all_acts(), "+@all"),
            "nocommands" | "-@all" => self.set_acts(0, "-@all"),
            "allchannels" => self.channels.allow_all(),
            "resetchannels" => self.channels = Patterns::default(),
            "allidentities" => {
                for patterns in [&mut self.claims, &mut self.vouches, &mut self.sends] {
                    patterns.allow_all();
                }
            }
            "resetidentities" => {
                (self.claims, self.vouches, self.sends) = Default::default();
            }
            "reset" => *self = Self::default(),
            // There are no keys here, nor anything else that these are about.
            "allkeys" | "resetkeys" | "sanitize-payload" | "skip-sanitize-payload" | "clearselectors" => {}
            _ => return self.apply_with_value(rule),
        }
        Ok(())
    }

    fn apply_with_value(&mut self, rule: &str) -> Result<(), RuleError> {
        for (start, patterns) in [
            ("&", &mut self.channels),
            ("claim:", &mut self.claims),
            ("vouch:", &mut self.vouches),
            ("send:", &mut self.sends),
        ] {
            if let Some(pattern) = rule.strip_prefix(start) {
                return patterns.allow(pattern);
            }
        }
        match rule.split_at_checked(1) {
            Some(("+", rest)) => self.apply_acts(rule, rest, true),
            Some(("-", rest)) => self.apply_acts(rule, rest, false),
            Some(("#", hex)) => {
                let hash = hash(hex)?;
                if !self.hashes.contains(&hash) {
                    self.hashes.push(hash);
                }
                self.nopass = false;
                Ok(())
            }
            Some(("!", hex)) => {
                let hash = hash(hex)?;
                self.hashes.retain(|own| *own != hash);
                Ok(())
            }
            Some((">" | "<", _)) => Err(error(
                "is a password that everybody can read",
                "write #SHA256 of it, or let `linger user passwd FILE NAME` do so",
            )),
            Some(("~" | "%", _)) => Ok(()),
            Some(("(", _)) => {
                Err(error("is a selector, and there are none here", "write its rules without brackets"))
            }
            _ => Err(error(
                "is no rule",
                "the rules are on, off, nopass, #SHA256, +@class, -@class, +command, -command, &channel, claim:identity, \
                 vouch:identity, send:identity and what sets them back; see `linger explain users`",
            )),
        }
    }

    fn set_acts(&mut self, acts: u64, rule: &str) {
        self.acts = acts;
        self.act_rules = vec![rule.into()];
    }

    fn apply_acts(&mut self, rule: &str, name: &str, allow: bool) -> Result<(), RuleError> {
        let bits = |acts: &mut dyn Iterator<Item = Act>| acts.fold(0, |bits, act| bits | act.bit());
        let named = if let Some(class) = name.strip_prefix('@') {
            let class = Class::find(class).ok_or_else(|| {
                let names: Vec<_> = Class::ALL.iter().map(|class| class.name()).collect();
                error("names no class of commands", format!("the classes are all, {}", names.join(", ")))
            })?;
            bits(&mut Act::all().filter(|act| act.classes().contain(class)))
        } else {
            let acts = Act::named(name);
            bits(&mut acts.ok_or_else(|| error("names no command", "HELP and ACL CAT CLASS list them"))?)
        };
        if allow {
            self.acts |= named;
        } else {
            self.acts &= !named;
        }
        let rule = rule.to_ascii_lowercase();
        // The same again, or its opposite, makes what was said before void.
        self.act_rules.retain(|before| before[1..] != rule[1..]);
        if self.act_rules.is_empty() {
            self.act_rules.push("-@all".into());
        }
        self.act_rules.push(rule.into());
        Ok(())
    }

    /// Whether it may log in.
    pub const fn is_on(&self) -> bool {
        self.is_on
    }

    /// Whether any password will do.
    pub const fn has_no_password(&self) -> bool {
        self.nopass
    }

    /// Whether it can log in with a password that hashes to that. It takes as long if it cannot.
    pub(super) fn takes(&self, hash: &Hash) -> bool {
        let mut takes = self.nopass;
        for own in &self.hashes {
            takes |= own.is(hash);
        }
        takes & self.is_on
    }

    /// Whether it may do that.
    pub const fn may(&self, act: Act) -> bool {
        self.acts & act.bit() != 0
    }

    /// Whether it may publish to a channel, and listen to it.
    pub fn may_use(&self, channel: &[u8]) -> bool {
        self.channels.contain(channel)
    }

    /// Whether it may listen to all channels that match a pattern: one that it was given letter by letter, as Redis has
    /// it.
    pub fn may_listen(&self, pattern: &[u8]) -> bool {
        self.channels.allows_pattern(pattern)
    }

    /// Whether it may take an identity.
    pub fn may_claim(&self, identity: &str) -> bool {
        self.claims.contain(identity.as_bytes())
    }

    /// Whether its word counts for an identity: `BEATFOR`, `IDENTFOR`.
    pub fn may_vouch(&self, identity: &str) -> bool {
        self.vouches.contain(identity.as_bytes())
    }

    /// Whether it may send to an identity.
    pub fn may_send(&self, identity: &str) -> bool {
        self.sends.contain(identity.as_bytes())
    }

    /// Whether it may use all channels that the other may.
    pub fn hears_all_of(&self, other: &Self) -> bool {
        other.channels.0.iter().all(|pattern| self.may_listen(pattern.as_bytes()))
    }

    /// `on` or `off`, and `nopass` if that is so.
    pub fn flags(&self) -> impl Iterator<Item = &'static str> {
        let state = if self.is_on { "on" } else { "off" };
        [state].into_iter().chain(self.nopass.then_some("nopass"))
    }

    /// The hashes of its passwords.
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// The rules about what it may do, as one text.
    pub fn command_rules(&self) -> String {
        if self.act_rules.is_empty() { "-@all".to_owned() } else { self.act_rules.join(" ") }
    }

    /// The rules about channels, as one text.
    pub fn channel_rules(&self) -> String {
        self.channels.rules("&")
    }

    /// The rules about identities, as one text.
    pub fn identity_rules(&self) -> String {
        let rules = [self.claims.rules("claim:"), self.vouches.rules("vouch:"), self.sends.rules("send:")];
        rules.iter().filter(|rules| !rules.is_empty()).map(String::as_str).collect::<Vec<_>>().join(" ")
    }
}

/// The rules that make it, in one order whatever that of its line was.
impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, flag) in self.flags().enumerate() {
            write!(f, "{}{flag}", if at > 0 { " " } else { "" })?;
        }
        for hash in &self.hashes {
            write!(f, " #{hash}")?;
        }
        let channels = self.channel_rules();
        write!(f, " {}", if channels.is_empty() { "resetchannels" } else { &channels })?;
        let identities = self.identity_rules();
        if !identities.is_empty() {
            write!(f, " {identities}")?;
        }
        write!(f, " {}", self.command_rules())
    }
}

impl Patterns {
    const ALL: &str = "*";

    fn allow_all(&mut self) {
        self.0 = vec![Self::ALL.into()];
    }

    fn allow(&mut self, pattern: &str) -> Result<(), RuleError> {
        if pattern.is_empty() {
            return Err(error("has no pattern", "write one behind it, as &news.* or claim:sensor-*"));
        }
        if pattern == Self::ALL {
            self.allow_all();
        } else if !self.is_all() && !self.0.iter().any(|own| **own == *pattern) {
            self.0.push(pattern.into());
        }
        Ok(())
    }

    fn is_all(&self) -> bool {
        matches!(self.0.as_slice(), [only] if **only == *Self::ALL)
    }

    fn contain(&self, name: &[u8]) -> bool {
        self.is_all() || self.0.iter().any(|pattern| glob::matches(pattern.as_bytes(), name))
    }

    fn allows_pattern(&self, pattern: &[u8]) -> bool {
        self.is_all() || self.0.iter().any(|own| own.as_bytes() == pattern)
    }

    fn rules(&self, start: &str) -> String {
        self.0.iter().map(|pattern| format!("{start}{pattern}")).collect::<Vec<_>>().join(" ")
    }
}

fn all_acts() -> u64 {
    Act::all().fold(0, |acts, act| acts | act.bit())
}

fn hash(hex: &str) -> Result<Hash, RuleError> {
    Hash::read(hex).ok_or_else(|| {
        error(
            "is no SHA-256",
            "write # and the 64 hexadecimal digits that `printf %s PASSWORD | sha256sum` prints",
        )
    })
}

#[cfg(test)]
#[path = "user_tests.rs"]
mod tests;
