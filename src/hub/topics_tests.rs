//! Tests of [`topics`](super).

use super::super::{Gauges, Left, Limits, key};
use super::*;

const A: Key = key(0);
const B: Key = key(1);
const C: Key = key(2);

fn recipients<'a>(hub: &'a Hub, channel: &str) -> Vec<(Key, Option<&'a [u8]>)> {
    let mut list = Vec::new();
    let done = hub.publish(channel.as_bytes(), &mut hub.route(), |visit| {
        if let Visit::Found(to) = visit {
            list.push((to.key, to.pattern));
        }
        ControlFlow::Continue(())
    });
    assert!(done.is_continue());
    list
}

fn listed<'a>(hub: &'a Hub, pattern: &str) -> Vec<&'a [u8]> {
    let mut list = Vec::new();
    let done = hub.channels(pattern.as_bytes(), &mut 0, |visit| {
        if let Visit::Found(name) = visit {
            list.push(name);
        }
        ControlFlow::Continue(())
    });
    assert!(done.is_continue());
    list
}

/// Goes on with a message until `count` more have got it.
fn go_on(hub: &Hub, channel: &str, route: &mut Route, count: usize) -> Vec<(Key, bool)> {
    let mut list = Vec::new();
    let _ = hub.publish(channel.as_bytes(), route, |visit| match visit {
        Visit::Looked(_) => ControlFlow::Continue(()),
        Visit::Found(_) if list.len() == count => ControlFlow::Break(()),
        Visit::Found(to) => {
            list.push((to.key, to.pattern.is_some()));
            ControlFlow::Continue(())
        }
    });
    list
}

#[test]
fn who_comes_or_goes_while_a_message_is_on_its_way_changes_nothing_for_the_others() {
    let mut hub = Hub::default();
    let mut members: Vec<Membership> = (0..6).map(|_| Membership::default()).collect();
    for (index, member) in (0..).zip(&mut members) {
        hub.subscribe(member, key(index), b"x").unwrap();
        hub.psubscribe(member, key(index), b"x*").unwrap();
    }
    let mut route = hub.route();
    assert_eq!(go_on(&hub, "x", &mut route, 2), [(key(0), false), (key(1), false)]);
    // One that was served leaves, and one that was not; a late one comes.
    hub.unsubscribe(&mut members[0], b"x");
    hub.unsubscribe(&mut members[3], b"x");
    hub.subscribe(&mut Membership::default(), key(9), b"x").unwrap();
    let rest = go_on(&hub, "x", &mut route, 5);
    assert_eq!(rest[..3], [2, 4, 5].map(|index| (key(index), false)));
    assert_eq!(rest[3..], [0, 1].map(|index| (key(index), true)));
    hub.punsubscribe(&mut members[1], b"x*");
    hub.psubscribe(&mut Membership::default(), key(9), b"x*").unwrap();
    assert_eq!(go_on(&hub, "x", &mut route, 99), [2, 3, 4, 5].map(|index| (key(index), true)));
    assert_eq!(go_on(&hub, "x", &mut route, 99), []);
}

#[test]
fn a_topic_that_went_and_came_again_is_another_one() {
    let (mut hub, mut a, mut b) = (Hub::default(), Membership::default(), Membership::default());
    hub.subscribe(&mut a, A, b"x").unwrap();
    let mut route = hub.route();
    hub.unsubscribe(&mut a, b"x");
    hub.subscribe(&mut b, B, b"x").unwrap();
    hub.psubscribe(&mut b, B, b"*").unwrap();
    assert_eq!(go_on(&hub, "x", &mut route, 99), []);
}

#[test]
fn channels_come_before_patterns_and_each_way_of_listening_delivers() {
    let (mut hub, mut a, mut b) = (Hub::default(), Membership::default(), Membership::default());
    assert_eq!(hub.psubscribe(&mut b, B, b"new*"), Ok(1));
    assert_eq!(hub.psubscribe(&mut a, A, b"*"), Ok(1));
    assert_eq!(hub.psubscribe(&mut a, A, b"old*"), Ok(2));
    assert_eq!(hub.subscribe(&mut b, B, b"news"), Ok(2));
    assert_eq!(hub.subscribe(&mut a, A, b"news"), Ok(3));
    assert_eq!(recipients(&hub, "news"), [(B, None), (A, None), (B, Some(&b"new*"[..])), (A, Some(b"*"))]);
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
    hub.unsubscribe(&mut a, b"news");
    let _ = hub.leave(b, B);
    let noted: Vec<_> = hub.take_changes().into_iter().map(|change| (change.kind, change.listened)).collect();
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
    assert_eq!(hub.unsubscribe(&mut a, b"x"), 1);
    assert_eq!(hub.unsubscribe(&mut a, b"x"), 1);
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
    hub.unsubscribe_all(&mut a, |name, left| told.push((name.to_vec(), left)));
    assert_eq!(told, [(b"c".to_vec(), 3), (b"a".to_vec(), 2), (b"b".to_vec(), 1)]);
    hub.punsubscribe_all(&mut a, |name, left| told.push((name.to_vec(), left)));
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
    assert_eq!((hub.unsubscribe(&mut b, b"x"), hub.subscribers(b"x")), (1, 1));
    assert_eq!(hub.leave(c, C), Left::default());
    assert_eq!((listed(&hub, "*").len(), hub.channels.len()), (0, 0));
    assert_eq!(hub.punsubscribe(&mut b, b"x*"), 0);
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
    assert_eq!(hub.unsubscribe(&mut a, b"x"), 1);
    assert_eq!(hub.subscribe(&mut a, A, b"z"), Ok(2));
}

#[test]
fn pubsub_channels_lists_what_matches() {
    let (mut hub, mut a) = (Hub::default(), Membership::default());
    for name in ["b.1", "a.1", "b.2"] {
        hub.subscribe(&mut a, A, name.as_bytes()).unwrap();
    }
    assert_eq!(listed(&hub, "b.*"), [b"b.1", b"b.2"]);
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
