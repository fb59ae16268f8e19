//! The hub against the simplest thing that could be right: maps of names and lists of keys, everything found by
//! searching. After each of a sequence of calls both must give the same answers to every question.

use super::Choices;
use linger::core::table::Key;
use linger::hub::{
    BeatFor, Gauges, Hub, Identified, Left, Limits, Membership, Name, Presence, Refused, Visit, glob,
};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

const CONNECTIONS: usize = 6;
const LIMITS: Limits = Limits { subscriptions_max: 5, name_bytes_max: 40 };
/// Of names within the limit and too long for 22 bytes; and of one over the limit.
const LONG: &[u8] = b"a name that does not fit inside its slot";
const TOO_LONG: &[u8] = b"a name that does not fit inside its slot.";
const IDS: &[&[u8]] = &[b"a", b"b", b"c", LONG, TOO_LONG];
const CHANNELS: &[&[u8]] = &[b"news", b"news.1", b"news.2", b"x", b"$presence:a", LONG, TOO_LONG];
const PATTERNS: &[&[u8]] = &[b"*", b"news*", b"news.[^1]", b"?", b"x", LONG, TOO_LONG];

#[derive(Clone, Copy, Debug)]
enum Op {
    Identify(&'static [u8]),
    BeatFor(&'static [u8]),
    SetPresence(Presence),
    Subscribe(&'static [u8]),
    Unsubscribe(&'static [u8]),
    UnsubscribeAll,
    Psubscribe(&'static [u8]),
    Punsubscribe(&'static [u8]),
    PunsubscribeAll,
    Leave,
}

fn op(choices: &mut Choices<'_>) -> Op {
    match choices.byte() % 32 {
        0..=3 => Op::Identify(choices.pick(IDS)),
        4..=7 => Op::BeatFor(choices.pick(IDS)),
        8..=10 => Op::SetPresence(choices.pick(&[Presence::Online, Presence::Suspect])),
        11..=14 => Op::Subscribe(choices.pick(CHANNELS)),
        15..=17 => Op::Unsubscribe(choices.pick(CHANNELS)),
        18 => Op::UnsubscribeAll,
        19..=22 => Op::Psubscribe(choices.pick(PATTERNS)),
        23..=26 => Op::Punsubscribe(choices.pick(PATTERNS)),
        27 => Op::PunsubscribeAll,
        _ => Op::Leave,
    }
}

/// What a call returned, in a form that both sides can produce.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Answer {
    Identified(Result<Identified, Refused>),
    BeatFor(Result<BeatFor, Refused>),
    News(bool),
    Count(Result<usize, Refused>),
    Each(Vec<(Vec<u8>, usize)>),
    Left(Left),
}

/// The hub and the memberships that the reactor would keep.
struct Real {
    hub: Hub,
    members: [Membership; CONNECTIONS],
}

impl Real {
    fn call(&mut self, who: usize, key: Key, op: Op) -> Answer {
        let Self { hub, members } = self;
        let member = &mut members[who];
        let mut told = Vec::new();
        let tell = |name: &[u8], left: usize| told.push((name.to_vec(), left));
        match op {
            Op::Identify(id) => Answer::Identified(hub.identify(member, key, id)),
            Op::BeatFor(id) => Answer::BeatFor(hub.beat_for(member, key, id)),
            Op::SetPresence(presence) => Answer::News(hub.set_presence(member, key, presence)),
            Op::Subscribe(name) => Answer::Count(hub.subscribe(member, key, name)),
            Op::Unsubscribe(name) => Answer::Count(Ok(hub.unsubscribe(member, name))),
            Op::Psubscribe(name) => Answer::Count(hub.psubscribe(member, key, name)),
            Op::Punsubscribe(name) => Answer::Count(Ok(hub.punsubscribe(member, name))),
            Op::UnsubscribeAll => {
                hub.unsubscribe_all(member, tell);
                Answer::Each(told)
            }
            Op::PunsubscribeAll => {
                hub.punsubscribe_all(member, tell);
                Answer::Each(told)
            }
            Op::Leave => Answer::Left(hub.leave(std::mem::take(member), key)),
        }
    }
}

#[derive(Default)]
struct ModelIdentity {
    holder: Option<Key>,
    channel: Option<Key>,
    presence: Presence,
}

/// `subscriptions` holds, per connection, channels (false) and patterns (true) in order of subscription.
#[derive(Default)]
struct Model {
    identities: BTreeMap<&'static [u8], ModelIdentity>,
    subscriptions: BTreeMap<Key, Vec<(bool, &'static [u8])>>,
}

impl Model {
    fn call(&mut self, key: Key, op: Op) -> Answer {
        match op {
            Op::Identify(id) => Answer::Identified(self.identify(key, id)),
            Op::BeatFor(id) => Answer::BeatFor(self.beat_for(key, id)),
            Op::SetPresence(presence) => Answer::News(
                self.identities
                    .values_mut()
                    .filter(|identity| identity.holder == Some(key))
                    .any(|identity| std::mem::replace(&mut identity.presence, presence) != presence),
            ),
            Op::Subscribe(name) => Answer::Count(self.subscribe(key, (false, name))),
            Op::Psubscribe(name) => Answer::Count(self.subscribe(key, (true, name))),
            Op::Unsubscribe(name) => Answer::Count(Ok(self.unsubscribe(key, (false, name)))),
            Op::Punsubscribe(name) => Answer::Count(Ok(self.unsubscribe(key, (true, name)))),
            Op::UnsubscribeAll => Answer::Each(self.unsubscribe_all(key, false)),
            Op::PunsubscribeAll => Answer::Each(self.unsubscribe_all(key, true)),
            Op::Leave => {
                self.subscriptions.remove(&key);
                let identity = self.held_by(key).map(Name::new);
                let beats_for = self.beats_for(key);
                self.identities.values_mut().for_each(|identity| identity.clear(key));
                let orphaned_holder = beats_for.and_then(|id| self.identities[id].holder);
                self.tidy();
                Answer::Left(Left { identity, orphaned_holder })
            }
        }
    }

    fn identify(&mut self, key: Key, id: &'static [u8]) -> Result<Identified, Refused> {
        if id == TOO_LONG {
            return Err(Refused::NameTooLong);
        }
        let had = self.held_by(key);
        let fresh = had != Some(id);
        if let (true, Some(had)) = (fresh, had) {
            self.identities.get_mut(had).expect("just looked up").holder = None;
            self.tidy();
        }
        let identity = self.identities.entry(id).or_default();
        let replaced = identity.holder.replace(key).filter(|_| fresh);
        if fresh {
            identity.presence = Presence::Online;
        }
        let left = had.filter(|_| fresh).map(Name::new);
        Ok(Identified { fresh, replaced, left, channel: identity.channel })
    }

    fn beat_for(&mut self, key: Key, id: &'static [u8]) -> Result<BeatFor, Refused> {
        if !self.identities.contains_key(id) {
            return Err(Refused::UnknownIdentity);
        }
        let had = self.beats_for(key).filter(|&had| had != id);
        let orphaned_holder = had.and_then(|had| self.identities[had].holder);
        if let Some(had) = had {
            self.identities.get_mut(had).expect("just looked up").channel = None;
        }
        let identity = self.identities.get_mut(id).expect("just looked up");
        let replaced_channel = identity.channel.replace(key).filter(|&older| older != key);
        let holder = identity.holder;
        self.tidy();
        Ok(BeatFor { holder, replaced_channel, orphaned_holder })
    }

    fn subscribe(&mut self, key: Key, topic: (bool, &'static [u8])) -> Result<usize, Refused> {
        let list = self.subscriptions.entry(key).or_default();
        if topic.1 == TOO_LONG {
            return Err(Refused::NameTooLong);
        }
        if !list.contains(&topic) {
            if list.len() == LIMITS.subscriptions_max {
                return Err(Refused::TooManySubscriptions);
            }
            list.push(topic);
        }
        Ok(list.len())
    }

    fn unsubscribe(&mut self, key: Key, topic: (bool, &'static [u8])) -> usize {
        let list = self.subscriptions.entry(key).or_default();
        list.retain(|&other| other != topic);
        list.len()
    }

    fn unsubscribe_all(&mut self, key: Key, pattern: bool) -> Vec<(Vec<u8>, usize)> {
        let list = self.subscriptions.entry(key).or_default().clone();
        let gone = list.iter().filter(|topic| topic.0 == pattern);
        gone.map(|&topic| (topic.1.to_vec(), self.unsubscribe(key, topic))).collect()
    }

    fn held_by(&self, key: Key) -> Option<&'static [u8]> {
        self.identities.iter().find(|(_, identity)| identity.holder == Some(key)).map(|(&id, _)| id)
    }

    fn beats_for(&self, key: Key) -> Option<&'static [u8]> {
        self.identities.iter().find(|(_, identity)| identity.channel == Some(key)).map(|(&id, _)| id)
    }

    fn tidy(&mut self) {
        self.identities.retain(|_, identity| identity.holder.is_some() || identity.channel.is_some());
    }

    fn topics(&self, pattern: bool) -> BTreeSet<&'static [u8]> {
        self.subscriptions
            .values()
            .flatten()
            .filter(|topic| topic.0 == pattern)
            .map(|topic| topic.1)
            .collect()
    }

    fn gauges(&self) -> Gauges {
        Gauges {
            identities: self.identities.values().filter(|identity| identity.holder.is_some()).count(),
            channels: self.topics(false).len(),
            patterns: self.topics(true).len(),
            subscriptions: self.subscriptions.values().map(Vec::len).sum(),
        }
    }
}

impl ModelIdentity {
    fn clear(&mut self, key: Key) {
        self.holder = self.holder.filter(|&holder| holder != key);
        self.channel = self.channel.filter(|&channel| channel != key);
    }
}

/// Asks both sides everything there is to ask.
fn compare(real: &Real, model: &Model, keys: &[Key; CONNECTIONS]) {
    let hub = &real.hub;
    assert_eq!(hub.gauges(), model.gauges());
    for (member, &key) in real.members.iter().zip(keys) {
        assert_eq!(hub.identity_of(member, key), model.held_by(key));
        assert_eq!(hub.is_current(member, key), model.held_by(key).is_some());
        let beats_for = model.beats_for(key);
        assert_eq!(hub.holder_of_channel(member, key), beats_for.and_then(|id| model.identities[id].holder));
        assert_eq!(member.subscriptions(), model.subscriptions.get(&key).map_or(0, Vec::len));
    }
    for &id in IDS {
        let held = model.identities.get(id).and_then(|identity| Some((identity.holder?, identity.presence)));
        assert_eq!(hub.holder(id), held.map(|(holder, _)| holder));
        assert_eq!(hub.state(id), held.map(|(_, presence)| presence));
        let listed = found(|visit| hub.who(id, &mut 0, visit));
        assert_eq!(listed.len(), usize::from(held.is_some()));
        assert!(listed.iter().all(|name| *name == id));
    }
    assert_eq!(found(|visit| hub.who(b"*", &mut 0, visit)).len(), hub.gauges().identities);
    let channels = found(|visit| hub.channels(b"*", &mut 0, visit));
    assert_eq!(channels.into_iter().collect::<BTreeSet<_>>(), model.topics(false));
    for &channel in CHANNELS {
        compare_recipients(hub, model, channel);
    }
}

/// What a walk finds.
fn found<'a>(
    walk: impl FnOnce(&mut dyn FnMut(Visit<&'a [u8]>) -> ControlFlow<()>) -> ControlFlow<()>,
) -> Vec<&'a [u8]> {
    let mut found = Vec::new();
    let over = walk(&mut |visit| {
        if let Visit::Found(name) = visit {
            found.push(name);
        }
        ControlFlow::Continue(())
    });
    assert!(over.is_continue());
    found
}

fn compare_recipients(hub: &Hub, model: &Model, channel: &[u8]) {
    // In two parts: the walk stops at the third recipient, and goes on.
    let mut recipients = Vec::new();
    let mut route = hub.route();
    for stop in [true, false] {
        let over = hub.publish(channel, &mut route, |visit| match visit {
            Visit::Found(_) if stop && recipients.len() == 2 => ControlFlow::Break(()),
            Visit::Found(to) => {
                recipients.push((to.pattern, to.key));
                ControlFlow::Continue(())
            }
            Visit::Looked(_) => ControlFlow::Continue(()),
        });
        assert!(stop || over.is_continue());
    }
    let direct = recipients.iter().filter(|(pattern, _)| pattern.is_none()).count();
    assert_eq!(hub.subscribers(channel), direct);

    let mut expected = Vec::new();
    for (&key, topics) in &model.subscriptions {
        for &(is_pattern, name) in topics {
            if is_pattern && glob::matches(name, channel) {
                expected.push((Some(name), key));
            } else if !is_pattern && name == channel {
                expected.push((None, key));
            }
        }
    }
    recipients.sort_unstable();
    expected.sort_unstable();
    assert_eq!(recipients, expected);
}

/// Makes the calls that `bytes` say, each by one of a few connections; then all of them leave, and nothing of
/// them is left.
pub(crate) fn holds(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let mut real = Real { hub: Hub::new(LIMITS), members: Default::default() };
    let mut model = Model::default();
    let mut keys = [0, 1, 2, 3, 4, 5].map(|index| Key { index, generation: index + 1 });
    let mut everyone = (0..CONNECTIONS).map(|who| (who, Op::Leave));
    let mut generation = 100;
    loop {
        let call = if choices.is_over() {
            everyone.next()
        } else {
            Some((usize::from(choices.byte()) % CONNECTIONS, op(&mut choices)))
        };
        let Some((who, op)) = call else { break };
        assert_eq!(real.call(who, keys[who], op), model.call(keys[who], op), "{who} {op:?}");
        if let Op::Leave = op {
            // The next connection in the same slot of the connection table.
            generation += 1;
            keys[who].generation = generation;
        }
        compare(&real, &model, &keys);
    }

    assert_eq!(real.hub.gauges(), Gauges::default());
    // An identity without a holder shows only to a connection that would beat for it.
    for &id in IDS {
        let stranger = &mut Membership::default();
        assert_eq!(real.hub.beat_for(stranger, keys[0], id), Err(Refused::UnknownIdentity), "{id:?} stayed");
    }
}
