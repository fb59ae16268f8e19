//! The hub: who is who, who listens to what, and who is told. Identities, take-over, heartbeat channels and
//! presence in `identities`; who may beat for whom in `agreement`; channels, patterns and routing in `topics`.
//!
//! It answers *who*: always in [`Key`]s, never by touching a connection. The reactor posts what follows from
//! an answer (deliveries, endings, presence events), so nothing happens inside another connection's turn.
//! There is no clock, descriptor or buffer here.
//!
//! What the hub must know per connection is in a [`Membership`], which the reactor keeps beside the connection
//! and lends to every call together with the connection's key. A connection that is gone must be taken out
//! with [`Hub::leave`]; then nothing of it is left.
//!
//! Every walk (recipients, `WHO`, `PUBSUB CHANNELS`) is in the order of slots or of subscription, which depend
//! on nothing but the calls made, so that a run can be replayed. Names come from peers and are bounded by
//! [`Limits`]. Read on in `directory`, the one container under all of it.

mod agreement;
mod directory;
pub mod glob;
mod identities;
mod name;
mod topics;

pub use agreement::{Agreement, agreement, may_beat};
pub use identities::{BeatFor, Identified, PRESENCE_PREFIX, Presence, is_reserved, presence_channel};
pub use name::Name;
pub use topics::{Change, Kind, Recipient, Route, Visit};

use crate::core::table::Key;
use directory::{Directory, Slot};
use identities::Identity;
use std::fmt;
use topics::{Subscribers, Subscriptions};

/// What a peer may make the hub remember.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Channels and patterns together, per connection.
    pub subscriptions_max: usize,
    /// Length of an identity, channel or pattern, in bytes. It also bounds the time of a pattern match.
    pub name_bytes_max: usize,
}

/// A connection can make the hub hold half a mebibyte of names at most, and a device that listens to itself, its
/// groups and a few broadcasts is far from either bound.
impl Default for Limits {
    fn default() -> Self {
        Self { subscriptions_max: 1024, name_bytes_max: 512 }
    }
}

/// Why a request was refused. Nothing was changed by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The name is over [`Limits::name_bytes_max`].
    NameTooLong,
    /// The connection has [`Limits::subscriptions_max`] already.
    TooManySubscriptions,
    /// No connection holds that identity or beats for it.
    UnknownIdentity,
    /// The holder has agreed to another heartbeat channel, or to none that names this token.
    NotAgreed,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NameTooLong => "name too long",
            Self::TooManySubscriptions => "too many subscriptions",
            Self::UnknownIdentity => "no such identity",
            Self::NotAgreed => {
                "not agreed: the other connection says IDENT id CHANNEL token, this one BEATFOR id token"
            }
        })
    }
}

/// One connection's part in the hub. By default it has none. Lend it to every call with the connection's key.
///
/// The two slots are claims, not facts: a newer connection may have taken the identity over, left again, and
/// freed the slot for another name. So a claim counts only where the slot says the same of this key.
#[derive(Debug, Default)]
pub struct Membership {
    /// The identity it took.
    identity: Option<Slot>,
    /// The identity it beats for.
    beats_for: Option<Slot>,
    /// What it listens to; none when that is nothing. These are facts: a topic stays while it has subscribers.
    subscriptions: Option<Box<Subscriptions>>,
}

const _: () = assert!(size_of::<Membership>() == 16);

/// What followed from the end of a connection.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[must_use = "others must be told"]
pub struct Left {
    /// The identity it still held, which is offline now. A connection that was replaced leaves none.
    pub identity: Option<Name>,
    /// The data connection it was the heartbeat channel of, for which nothing beats now.
    pub orphaned_holder: Option<Key>,
}

/// How much there is, for the metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Gauges {
    /// Identities that a connection holds.
    pub identities: usize,
    /// Channels with a subscriber.
    pub channels: usize,
    /// Patterns with a subscriber.
    pub patterns: usize,
    /// Pairs of a connection and a channel or pattern it listens to.
    pub subscriptions: usize,
}

/// The hub.
#[derive(Debug, Default)]
pub struct Hub {
    limits: Limits,
    identities: Directory<Identity>,
    /// Identities with a holder; the others only have a heartbeat channel that waits for one.
    held: usize,
    channels: Directory<Subscribers>,
    patterns: Directory<Subscribers>,
    /// Over all channels and patterns.
    subscriptions: usize,
    /// The number of the last subscription that was made.
    last_subscription: u64,
    /// Topics that came and went; none where nobody asks.
    changes: Option<Vec<Change>>,
}

impl Hub {
    /// An empty hub.
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Takes connection `key` out of everything. The last call for any connection.
    pub fn leave(&mut self, mut member: Membership, key: Key) -> Left {
        self.unsubscribe_all(&mut member, |_, _| {});
        self.punsubscribe_all(&mut member, |_, _| {});
        // The identity first: a connection that beats for itself orphans nobody.
        let identity = self.renounce(&mut member, key);
        let orphaned_holder = self.stop_beating(&mut member, key);
        Left { identity, orphaned_holder }
    }

    /// How much there is now.
    pub fn gauges(&self) -> Gauges {
        Gauges {
            identities: self.held,
            channels: self.channels.len(),
            patterns: self.patterns.len(),
            subscriptions: self.subscriptions,
        }
    }

    /// What peers are held to; new limits apply to what is asked from now on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// The longest name that peers may use.
    pub const fn name_bytes_max(&self) -> usize {
        self.limits.name_bytes_max
    }

    /// Whether a peer may use `name` for anything.
    ///
    /// # Errors
    /// [`Refused::NameTooLong`].
    pub const fn check_name(&self, name: &[u8]) -> Result<(), Refused> {
        if name.len() > self.limits.name_bytes_max { Err(Refused::NameTooLong) } else { Ok(()) }
    }
}

/// The key of connection `index` in the tests, in its first life.
#[cfg(test)]
const fn key(index: u32) -> Key {
    Key { index, generation: index + 1 }
}
