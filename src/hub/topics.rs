//! Topics: which connections listen to a channel or to a pattern of channels, and who gets what is published.
//!
//! A subscription is noted twice: in the topic, as the key of the connection, and in the connection's
//! [`Membership`], as the slot of the topic. A topic goes with its last subscriber, so the slots that a
//! membership notes are always good.
//!
//! Publishing costs one look-up plus one match per distinct pattern, as in Redis.

use super::directory::{Directory, Entry, Slot};
use super::glob;
use super::{Hub, Membership, Name, Refused};
use crate::table::Key;
use indexmap::IndexSet;

/// One delivery of a published message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recipient<'a> {
    /// Who gets it.
    pub key: Key,
    /// The pattern that it matched; none if the channel itself is listened to.
    pub pattern: Option<&'a [u8]>,
}

/// The connections that listen to one topic, in the order in which they came until one leaves.
#[derive(Debug, Default)]
pub(super) enum Subscribers {
    /// None: for the moment between making a topic and adding to it, and between taking from it and removing it.
    #[default]
    Nobody,
    /// A device's own channel has one subscriber, and there may be one such channel per connection.
    One(Key),
    /// More than one, or there once were.
    Many(Box<IndexSet<Key>>),
}

const _: () = assert!(size_of::<Entry<Subscribers>>() <= 40);

impl Subscribers {
    /// Adds `key`. True if it is new.
    fn add(&mut self, key: Key) -> bool {
        match self {
            Self::Nobody => {
                *self = Self::One(key);
                true
            }
            Self::One(only) if *only == key => false,
            Self::One(only) => {
                *self = Self::Many(Box::new(IndexSet::from_iter([*only, key])));
                true
            }
            Self::Many(keys) => keys.insert(key),
        }
    }

    /// Removes `key`. True if it was there.
    fn remove(&mut self, key: Key) -> bool {
        match self {
            Self::Nobody => false,
            Self::One(only) if *only != key => false,
            Self::One(_) => {
                *self = Self::Nobody;
                true
            }
            Self::Many(keys) => keys.swap_remove(&key),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Nobody => 0,
            Self::One(_) => 1,
            Self::Many(keys) => keys.len(),
        }
    }

    fn iter(&self) -> impl Iterator<Item = Key> {
        let (one, many) = match self {
            Self::Nobody => (None, None),
            Self::One(key) => (Some(*key), None),
            Self::Many(keys) => (None, Some(keys.iter().copied())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

/// What one connection listens to: slots in order of subscription.
///
/// Leaving one topic searches the list, which is 4 KiB at the default limit; an index would cost every
/// subscriber more than that costs the few who leave one by one.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    channels: Vec<Slot>,
    patterns: Vec<Slot>,
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
    fn of(&mut self, kind: Kind) -> &mut Vec<Slot> {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
        }
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

    /// Connection `key` listens to `channel` no more.
    pub fn unsubscribe(&mut self, member: &mut Membership, key: Key, channel: &[u8]) -> usize {
        self.remove(Kind::Channel, member, key, channel)
    }

    /// Connection `key` listens to `pattern` no more.
    pub fn punsubscribe(&mut self, member: &mut Membership, key: Key, pattern: &[u8]) -> usize {
        self.remove(Kind::Pattern, member, key, pattern)
    }

    /// Connection `key` listens to no channel any more. `each` gets, in order of subscription, the name of each
    /// channel it listened to and how many channels and patterns were left after it.
    pub fn unsubscribe_all(&mut self, member: &mut Membership, key: Key, each: impl FnMut(&[u8], usize)) {
        self.remove_all(Kind::Channel, member, key, each);
    }

    /// Likewise for patterns.
    pub fn punsubscribe_all(&mut self, member: &mut Membership, key: Key, each: impl FnMut(&[u8], usize)) {
        self.remove_all(Kind::Pattern, member, key, each);
    }

    /// Names everyone who gets what is published on `channel`: its subscribers, then those of each pattern that
    /// matches. Who listens in several ways is named several times, as in Redis. Returns how often `each` was called.
    pub fn publish<'a>(&'a self, channel: &[u8], mut each: impl FnMut(Recipient<'a>)) -> usize {
        let mut deliveries = 0;
        if let Some(subscribers) = self.channels.get(channel) {
            subscribers.iter().for_each(|key| each(Recipient { key, pattern: None }));
            deliveries += subscribers.len();
        }
        for Entry { name, value } in self.patterns.iter().filter(|entry| glob::matches(&entry.name, channel))
        {
            value.iter().for_each(|key| each(Recipient { key, pattern: Some(name) }));
            deliveries += value.len();
        }
        deliveries
    }

    /// The channels that have subscribers and that `pattern` matches, for `PUBSUB CHANNELS`.
    pub fn channels<'a>(&'a self, pattern: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.channels.iter().map(|entry| &*entry.name).filter(|name| glob::matches(pattern, name))
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
        if count >= self.limits.subscriptions_max {
            // At the limit it may still ask for what it has. A topic that nobody has is not made for asking.
            let has = |slot| member.subscriptions.as_mut().is_some_and(|all| all.of(kind).contains(&slot));
            let known = self.topics(kind).find(name).is_some_and(has);
            return if known { Ok(count) } else { Err(Refused::TooManySubscriptions) };
        }
        let topics = self.topics(kind);
        let slot = topics.find_or_insert(name);
        let topic = &mut topics.at_mut(slot).expect("the slot was just found").value;
        let first = topic.len() == 0;
        if !topic.add(key) {
            return Ok(count);
        }
        member.subscriptions.get_or_insert_default().of(kind).push(slot);
        self.subscriptions += 1;
        if first {
            self.note(kind, name, true);
        }
        Ok(count + 1)
    }

    fn remove(&mut self, kind: Kind, member: &mut Membership, key: Key, name: &[u8]) -> usize {
        let found = self.topics(kind).find(name);
        if let (Some(slot), Some(all)) = (found, member.subscriptions.as_mut()) {
            let list = all.of(kind);
            if let Some(at) = list.iter().position(|&other| other == slot) {
                list.remove(at);
                if list.is_empty() && member.subscriptions() == 0 {
                    member.subscriptions = None;
                }
                self.forget(kind, slot, key, |_| {});
            }
        }
        member.subscriptions()
    }

    fn remove_all(
        &mut self,
        kind: Kind,
        member: &mut Membership,
        key: Key,
        mut each: impl FnMut(&[u8], usize),
    ) {
        let Some(all) = member.subscriptions.as_mut() else { return };
        let slots = std::mem::take(all.of(kind));
        let others = member.subscriptions();
        if others == 0 {
            member.subscriptions = None;
        }
        for (gone, &slot) in (1..).zip(&slots) {
            self.forget(kind, slot, key, |name| each(name, others + slots.len() - gone));
        }
    }

    /// Takes `key` out of the topic in `slot`, and the topic away if that was the last. `told` gets its name.
    fn forget(&mut self, kind: Kind, slot: Slot, key: Key, told: impl FnOnce(&[u8])) {
        let topics = self.topics(kind);
        let Entry { name, value } = topics.at_mut(slot).expect("a topic stays while it has subscribers");
        let was_there = value.remove(key);
        debug_assert!(was_there, "a membership lists only topics that list its connection");
        told(name);
        let gone = (value.len() == 0).then(|| topics.remove(slot).name);
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

#[cfg(test)]
mod tests {
    use super::super::{Gauges, Left, Limits, key};
    use super::*;

    const A: Key = key(0);
    const B: Key = key(1);
    const C: Key = key(2);

    fn recipients<'a>(hub: &'a Hub, channel: &str) -> Vec<(Key, Option<&'a [u8]>)> {
        let mut list = Vec::new();
        let count = hub.publish(channel.as_bytes(), |to| list.push((to.key, to.pattern)));
        assert_eq!(count, list.len());
        list
    }

    #[test]
    fn channels_come_before_patterns_and_each_way_of_listening_delivers() {
        let (mut hub, mut a, mut b) = (Hub::default(), Membership::default(), Membership::default());
        assert_eq!(hub.psubscribe(&mut b, B, b"new*"), Ok(1));
        assert_eq!(hub.psubscribe(&mut a, A, b"*"), Ok(1));
        assert_eq!(hub.psubscribe(&mut a, A, b"old*"), Ok(2));
        assert_eq!(hub.subscribe(&mut b, B, b"news"), Ok(2));
        assert_eq!(hub.subscribe(&mut a, A, b"news"), Ok(3));
        assert_eq!(
            recipients(&hub, "news"),
            [(B, None), (A, None), (B, Some(&b"new*"[..])), (A, Some(b"*"))]
        );
        assert_eq!(recipients(&hub, "x"), [(A, Some(&b"*"[..]))]);
    }

    #[test]
    fn topics_are_noted_as_they_come_and_go_and_only_if_asked_for() {
        let (mut hub, mut a, mut b) = (Hub::default(), Membership::default(), Membership::default());
        hub.subscribe(&mut a, A, b"unasked").unwrap();
        assert_eq!(hub.take_changes(), []);
        hub.note_changes();
        hub.subscribe(&mut a, A, b"news").unwrap();
        hub.subscribe(&mut b, B, b"news").unwrap();
        hub.psubscribe(&mut b, B, b"news").unwrap();
        hub.unsubscribe(&mut a, A, b"news");
        let _ = hub.leave(b, B);
        let noted: Vec<_> =
            hub.take_changes().into_iter().map(|change| (change.kind, change.listened)).collect();
        let (channel, pattern) = (Kind::Channel, Kind::Pattern);
        assert_eq!(noted, [(channel, true), (pattern, true), (channel, false), (pattern, false)]);
        assert_eq!(hub.take_changes(), []);
    }

    #[test]
    fn subscribing_twice_is_subscribing_once() {
        let (mut hub, mut a) = (Hub::default(), Membership::default());
        assert_eq!(hub.subscribe(&mut a, A, b"x"), Ok(1));
        assert_eq!(hub.subscribe(&mut a, A, b"x"), Ok(1));
        assert_eq!(hub.psubscribe(&mut a, A, b"x"), Ok(2), "a pattern of the same name is another thing");
        assert_eq!(hub.psubscribe(&mut a, A, b"x"), Ok(2));
        assert_eq!(hub.unsubscribe(&mut a, A, b"x"), 1);
        assert_eq!(hub.unsubscribe(&mut a, A, b"x"), 1);
        assert_eq!(recipients(&hub, "x"), [(A, Some(&b"x"[..]))]);
    }

    #[test]
    fn leaving_everything_tells_the_names_in_order_of_subscription() {
        let (mut hub, mut a) = (Hub::default(), Membership::default());
        for name in ["c", "a", "b"] {
            hub.subscribe(&mut a, A, name.as_bytes()).unwrap();
        }
        hub.psubscribe(&mut a, A, b"*").unwrap();
        let mut told = Vec::new();
        hub.unsubscribe_all(&mut a, A, |name, left| told.push((name.to_vec(), left)));
        assert_eq!(told, [(b"c".to_vec(), 3), (b"a".to_vec(), 2), (b"b".to_vec(), 1)]);
        hub.punsubscribe_all(&mut a, A, |name, left| told.push((name.to_vec(), left)));
        assert_eq!(told[3..], [(b"*".to_vec(), 0)]);
        assert!(a.subscriptions.is_none(), "a connection that listens to nothing keeps nothing");
    }

    #[test]
    fn a_topic_goes_with_its_last_subscriber() {
        let (mut hub, mut members) = (Hub::default(), <[Membership; 3]>::default());
        for (member, key) in members.iter_mut().zip([A, B, C]) {
            hub.subscribe(member, key, b"x").unwrap();
            hub.psubscribe(member, key, b"x*").unwrap();
        }
        assert_eq!(hub.gauges(), Gauges { identities: 0, channels: 1, patterns: 1, subscriptions: 6 });
        let [a, mut b, c] = members;
        assert_eq!(hub.leave(a, A), Left::default());
        assert_eq!((hub.unsubscribe(&mut b, B, b"x"), hub.subscribers(b"x")), (1, 1));
        assert_eq!(hub.leave(c, C), Left::default());
        assert_eq!((hub.channels(b"*").count(), hub.channels.len()), (0, 0));
        assert_eq!(hub.punsubscribe(&mut b, B, b"x*"), 0);
        assert_eq!(hub.gauges(), Gauges::default());
    }

    #[test]
    fn the_number_of_subscriptions_is_bounded() {
        let mut hub = Hub::new(Limits { subscriptions_max: 2, ..Limits::default() });
        let (mut a, mut b) = (Membership::default(), Membership::default());
        assert_eq!(hub.subscribe(&mut b, B, b"z"), Ok(1));
        assert_eq!(hub.subscribe(&mut a, A, b"x"), Ok(1));
        assert_eq!(hub.psubscribe(&mut a, A, b"y"), Ok(2));
        assert_eq!(hub.subscribe(&mut a, A, b"new"), Err(Refused::TooManySubscriptions));
        assert_eq!(hub.subscribe(&mut a, A, b"z"), Err(Refused::TooManySubscriptions));
        assert_eq!(hub.subscribe(&mut a, A, b"x"), Ok(2), "it has that one");
        assert_eq!(hub.channels.len(), 2, "a refusal makes no topic");
        assert_eq!(hub.unsubscribe(&mut a, A, b"x"), 1);
        assert_eq!(hub.subscribe(&mut a, A, b"z"), Ok(2));
    }

    #[test]
    fn pubsub_channels_lists_what_matches() {
        let (mut hub, mut a) = (Hub::default(), Membership::default());
        for name in ["b.1", "a.1", "b.2"] {
            hub.subscribe(&mut a, A, name.as_bytes()).unwrap();
        }
        assert_eq!(hub.channels(b"b.*").collect::<Vec<_>>(), [b"b.1", b"b.2"]);
    }

    #[test]
    fn one_of_many_leaves_without_a_walk() {
        let mut hub = Hub::default();
        let mut members: Vec<Membership> = (0..20_000).map(|_| Membership::default()).collect();
        for (index, member) in (0..).zip(&mut members) {
            hub.subscribe(member, key(index), b"all").unwrap();
        }
        assert_eq!(hub.subscribers(b"all"), 20_000);
        for (index, member) in (0..).zip(members) {
            let _ = hub.leave(member, key(index));
        }
        assert_eq!(hub.gauges(), Gauges::default());
    }
}
