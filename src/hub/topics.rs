//! Topics: which connections listen to a channel or to a pattern of channels, and who gets what is published.
//!
//! A subscription is noted twice: in the topic, as the key of the connection, and in the connection's
//! [`Membership`], as the slot of the topic. A topic goes with its last subscriber, so the slots that a
//! membership notes are always good.
//!
//! Each subscription has a number, later ones higher ones. So a message that takes several turns to reach everybody
//! ([`Route`]) needs to remember only how far it has got: who comes meanwhile has a number that is too high, and who
//! leaves meanwhile is not found any more.
//!
//! Publishing costs one look-up plus one match per distinct pattern, as in Redis.

use super::directory::{Directory, Entry, Slot};
use super::glob;
use super::{Hub, Membership, Name, Refused};
use crate::core::table::Key;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// One delivery of a published message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recipient<'a> {
    /// Who gets it.
    pub key: Key,
    /// The pattern that it matched; none if the channel itself is listened to.
    pub pattern: Option<&'a [u8]>,
}

/// What a walk over topics comes by, one at a time. The caller may break the walk at any of them; it comes by that one
/// again when it goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Visit<T> {
    /// Something was looked at; so many steps of about a nanosecond it took.
    Looked(usize),
    /// This is wanted.
    Found(T),
}

/// How far a message has got on its way to those who listen. See [`Hub::publish`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Route {
    /// The first subscription that is too late for it.
    until: u64,
    /// The slot of the next pattern; none: it is still on its way to those who listen to the channel itself.
    pattern: Option<usize>,
    /// The last subscription to the topic it is at that it has been to.
    last: u64,
}

/// The connections that listen to one topic, by the number of their subscription.
#[derive(Debug, Default)]
pub(super) enum Subscribers {
    /// None: for the moment between making a topic and adding to it, and between taking from it and removing it.
    #[default]
    Nobody,
    /// A device's own channel has one subscriber, and there may be one such channel per connection.
    One(u64, Key),
    /// More than one, or there once were.
    Many(BTreeMap<u64, Key>),
}

const _: () = assert!(size_of::<Entry<Subscribers>>() <= 56);

impl Subscribers {
    /// Adds a subscription; its number is new.
    fn add(&mut self, number: u64, key: Key) {
        match self {
            Self::Nobody => *self = Self::One(number, key),
            Self::One(first, only) => {
                *self = Self::Many(BTreeMap::from([(*first, *only), (number, key)]));
            }
            Self::Many(keys) => drop(keys.insert(number, key)),
        }
    }

    /// Removes a subscription. True if it was there.
    fn remove(&mut self, number: u64) -> bool {
        match self {
            Self::Nobody => false,
            Self::One(only, _) if *only != number => false,
            Self::One(..) => {
                *self = Self::Nobody;
                true
            }
            Self::Many(keys) => keys.remove(&number).is_some(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Nobody => 0,
            Self::One(..) => 1,
            Self::Many(keys) => keys.len(),
        }
    }

    /// Those with numbers above `last` and below `until`, in order.
    fn between(&self, last: u64, until: u64) -> impl Iterator<Item = (u64, Key)> {
        let (one, many) = match self {
            Self::Nobody => (None, None),
            Self::One(number, key) => ((last < *number && *number < until).then_some((*number, *key)), None),
            // A range that ends before it begins is a panic.
            Self::Many(_) if last + 1 >= until => (None, None),
            Self::Many(keys) => {
                (None, Some(keys.range(last + 1..until).map(|(&number, &key)| (number, key))))
            }
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

/// One subscription of a connection.
#[derive(Clone, Copy, Debug)]
struct Subscription {
    topic: Slot,
    number: u64,
}

/// What one connection listens to, in order of subscription.
///
/// Leaving one topic searches the list, which is 16 KiB at the default limit; an index would cost every
/// subscriber more than that costs the few who leave one by one.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    channels: Vec<Subscription>,
    patterns: Vec<Subscription>,
}

/// Channels or patterns: the same bookkeeping on the other half of everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// One channel.
    Channel,
    /// All channels that match.
    Pattern,
}

/// A topic has got its first subscriber, or has lost its last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: Name,
    /// Whether somebody listens to it now.
    pub listened: bool,
}

impl Subscriptions {
    fn of(&mut self, kind: Kind) -> &mut Vec<Subscription> {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
        }
    }

    fn position(&mut self, kind: Kind, topic: Slot) -> Option<usize> {
        self.of(kind).iter().position(|subscription| subscription.topic == topic)
    }
}

impl Membership {
    /// How many channels and patterns the connection listens to.
    pub fn subscriptions(&self) -> usize {
        self.subscriptions.as_ref().map_or(0, |all| all.channels.len() + all.patterns.len())
    }
}

impl Hub {
    /// Connection `key` listens to `channel`. Returns how many channels and patterns it listens to now, as do all
    /// of these; doing it twice is doing it once.
    pub fn subscribe(&mut self, member: &mut Membership, key: Key, channel: &[u8]) -> Result<usize, Refused> {
        self.add(Kind::Channel, member, key, channel)
    }

    /// Connection `key` listens to every channel that `pattern` matches.
    pub fn psubscribe(
        &mut self,
        member: &mut Membership,
        key: Key,
        pattern: &[u8],
    ) -> Result<usize, Refused> {
        self.add(Kind::Pattern, member, key, pattern)
    }

    /// The member listens to `channel` no more.
    pub fn unsubscribe(&mut self, member: &mut Membership, channel: &[u8]) -> usize {
        self.remove(Kind::Channel, member, channel)
    }

    /// The member listens to `pattern` no more.
    pub fn punsubscribe(&mut self, member: &mut Membership, pattern: &[u8]) -> usize {
        self.remove(Kind::Pattern, member, pattern)
    }

    /// The member listens to no channel any more. `each` gets, in order of subscription, the name of each
    /// channel it listened to and how many channels and patterns were left after it.
    pub fn unsubscribe_all(&mut self, member: &mut Membership, each: impl FnMut(&[u8], usize)) {
        self.remove_all(Kind::Channel, member, each);
    }

    /// The member listens to no pattern any more; `each` as for channels.
    pub fn punsubscribe_all(&mut self, member: &mut Membership, each: impl FnMut(&[u8], usize)) {
        self.remove_all(Kind::Pattern, member, each);
    }

    /// The route of a message that is published now: to those who listen now.
    pub const fn route(&self) -> Route {
        Route { until: self.last_subscription + 1, pattern: None, last: 0 }
    }

    /// Names those who get what is published on `channel`: its subscribers, then those of each pattern that matches. Who
    /// listens in several ways is named several times, as in Redis. Goes on where `route` says, and returns whether that
    /// was the end of it.
    pub fn publish<'a>(
        &'a self,
        channel: &[u8],
        route: &mut Route,
        mut visit: impl FnMut(Visit<Recipient<'a>>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if route.pattern.is_none() {
            if let Some(subscribers) = self.channels.get(channel) {
                name_all(subscribers, None, route, &mut visit)?;
            }
            (route.pattern, route.last) = (Some(0), 0);
        }
        for (next, entry) in self.patterns.slots_from(route.pattern.unwrap_or_default()) {
            if let Some(Entry { name, value }) = entry {
                let (matched, steps) = glob::compare(name, channel);
                visit(Visit::Looked(steps))?;
                if matched {
                    name_all(value, Some(name), route, &mut visit)?;
                }
            }
            (route.pattern, route.last) = (Some(next), 0);
        }
        ControlFlow::Continue(())
    }

    /// The channels that have subscribers and that `pattern` matches, for `PUBSUB CHANNELS`. Goes on at slot `at`, and
    /// returns whether that was the end of it.
    pub fn channels<'a>(
        &'a self,
        pattern: &[u8],
        at: &mut usize,
        visit: impl FnMut(Visit<&'a [u8]>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.channels.matched(pattern, at, |_| true, visit)
    }

    /// What the member listens to, in no order that matters.
    pub fn topics_of<'a>(&'a self, member: &'a Membership) -> impl Iterator<Item = (Kind, &'a [u8])> {
        let all = member.subscriptions.as_deref();
        let of = |kind: Kind, subscriptions: &'a [Subscription]| {
            let directory = match kind {
                Kind::Channel => &self.channels,
                Kind::Pattern => &self.patterns,
            };
            subscriptions.iter().filter_map(move |it| Some((kind, &*directory.at(it.topic)?.name)))
        };
        let channels = all.map_or(&[][..], |all| &all.channels);
        let patterns = all.map_or(&[][..], |all| &all.patterns);
        of(Kind::Channel, channels).chain(of(Kind::Pattern, patterns))
    }

    /// How many connections listen to `channel` itself, for `PUBSUB NUMSUB`.
    pub fn subscribers(&self, channel: &[u8]) -> usize {
        self.channels.get(channel).map_or(0, Subscribers::len)
    }

    /// From now on, topics that come and go are noted for [`take_changes`](Self::take_changes).
    pub fn note_changes(&mut self) {
        self.changes.get_or_insert_default();
    }

    /// The topics that have come and gone since it was last asked, in that order.
    pub fn take_changes(&mut self) -> Vec<Change> {
        self.changes.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn note(&mut self, kind: Kind, name: &[u8], listened: bool) {
        if let Some(changes) = &mut self.changes {
            changes.push(Change { kind, name: Name::new(name), listened });
        }
    }

    fn add(&mut self, kind: Kind, member: &mut Membership, key: Key, name: &[u8]) -> Result<usize, Refused> {
        self.check_name(name)?;
        let count = member.subscriptions();
        let known = self.topics(kind).find(name);
        let has = |slot| member.subscriptions.as_mut().is_some_and(|all| all.position(kind, slot).is_some());
        if known.is_some_and(has) {
            return Ok(count);
        }
        // A topic that nobody has is not made for asking.
        if count >= self.limits.subscriptions_max {
            return Err(Refused::TooManySubscriptions);
        }
        self.last_subscription += 1;
        let number = self.last_subscription;
        let topics = self.topics(kind);
        let topic = topics.find_or_insert(name);
        topics.at_mut(topic).expect("the slot was just found").value.add(number, key);
        member.subscriptions.get_or_insert_default().of(kind).push(Subscription { topic, number });
        self.subscriptions += 1;
        if known.is_none() {
            self.note(kind, name, true);
        }
        Ok(count + 1)
    }

    fn remove(&mut self, kind: Kind, member: &mut Membership, name: &[u8]) -> usize {
        let found = self.topics(kind).find(name);
        if let (Some(slot), Some(all)) = (found, member.subscriptions.as_mut())
            && let Some(at) = all.position(kind, slot)
        {
            let subscription = all.of(kind).remove(at);
            if member.subscriptions() == 0 {
                member.subscriptions = None;
            }
            self.forget(kind, subscription, |_| {});
        }
        member.subscriptions()
    }

    fn remove_all(&mut self, kind: Kind, member: &mut Membership, mut each: impl FnMut(&[u8], usize)) {
        let Some(all) = member.subscriptions.as_mut() else { return };
        let gone = std::mem::take(all.of(kind));
        let others = member.subscriptions();
        if others == 0 {
            member.subscriptions = None;
        }
        for (left, &subscription) in (0..gone.len()).rev().zip(&gone) {
            self.forget(kind, subscription, |name| each(name, others + left));
        }
    }

    /// Takes a subscription out of its topic, and the topic away if that was the last. `named` gets its name.
    fn forget(&mut self, kind: Kind, subscription: Subscription, named: impl FnOnce(&[u8])) {
        let topics = self.topics(kind);
        let Entry { name, value } =
            topics.at_mut(subscription.topic).expect("a topic stays while it has subscribers");
        let was_there = value.remove(subscription.number);
        debug_assert!(was_there, "a membership lists only topics that list its connection");
        named(name);
        let gone = (value.len() == 0).then(|| topics.remove(subscription.topic).name);
        self.subscriptions -= 1;
        if let Some(name) = gone {
            self.note(kind, &name, false);
        }
    }

    fn topics(&mut self, kind: Kind) -> &mut Directory<Subscribers> {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
        }
    }
}

/// Names the subscribers of one topic that `route` has not been to.
fn name_all<'a>(
    subscribers: &Subscribers,
    pattern: Option<&'a [u8]>,
    route: &mut Route,
    visit: &mut impl FnMut(Visit<Recipient<'a>>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    for (number, key) in subscribers.between(route.last, route.until) {
        visit(Visit::Found(Recipient { key, pattern }))?;
        route.last = number;
    }
    ControlFlow::Continue(())
}

#[cfg(test)]
#[path = "topics_tests.rs"]
mod tests;
