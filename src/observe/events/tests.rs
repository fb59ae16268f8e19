//! Readers of the ring beside a plain list of what happened.

use super::*;
use crate::core::end::{CloseMode, Reason};
use proptest::prelude::*;
use serde_json::json;

fn whose(number: u32, peer: &Peer) -> Whose<'_> {
    Whose { key: Key { index: number, generation: 1 }, peer, listener: 3, identity: b"dev" }
}

fn open(events: &mut Events, number: u32) {
    events.add(&whose(number, &Peer::UNIX), What::Opened, Instant::from_millis(number.into()));
}

/// Reads on to the end: the slots that it was told of, and how many are missing.
fn read(events: &Events, at: &mut Position) -> (Vec<u32>, u64) {
    let (mut told, mut missed) = (Vec::new(), 0);
    while let Some((place, more)) = events.after(at) {
        missed += more;
        let event = events.get(place).expect("the next one is there");
        assert_eq!(event.number(), at.number + 1 + more);
        told.push(event.whose().expect("it is of a connection").0.index);
        *at = Position { number: event.number(), place: Some(place) };
    }
    (told, missed)
}

#[test]
fn nothing_is_kept_before_somebody_watches() {
    let mut events = Events::new(0, None);
    open(&mut events, 1);
    assert!(!events.is_on() && !events.take_news());
    let (mut at, missed) = events.begin(None);
    assert_eq!((missed, read(&events, &mut at)), (Some(0), (vec![], 0)));
    open(&mut events, 2);
    assert!(events.take_news() && !events.take_news());
    assert_eq!(read(&events, &mut at), (vec![2], 0));
    assert_eq!(read(&events, &mut at), (vec![], 0));
}

#[test]
fn each_event_comes_back_as_it_was() {
    let peer = Peer::new("10.0.0.1:7".parse().unwrap());
    let by = By { key: "2.7-1".to_owned(), peer: "[::1]:7".to_owned(), identity: Some("ü".to_owned()) };
    let end = End::new(Reason::LostHeartbeat, Detector::Heartbeat, CloseMode::Reset);
    let silence = Span::between(Instant::ZERO, Instant::from_millis(1500));
    let mut events = Events::new(0, Some(Duration::from_secs(7)));
    let (mut at, _) = events.begin(None);
    assert_eq!(at.number, 7_000_000, "numbers begin at the time of the start");
    for (what, kind, fields) in [
        (What::Opened, Kind::Opened, json!({})),
        (What::Identified, Kind::Identified, json!({})),
        (
            What::Suspect { detector: Detector::Heartbeat, silence },
            Kind::Suspect,
            json!({"detector": "heartbeat", "silence_s": 1.5}),
        ),
        (
            What::Verdict { reason: Reason::StuckFrozen, detector: Detector::HeartbeatChannel, silence },
            Kind::Verdict,
            json!({"reason": "stuck.frozen", "detector": "heartbeat_channel", "silence_s": 1.5}),
        ),
        (What::Revived, Kind::Revived, json!({})),
        (
            What::Replaced(&by),
            Kind::Replaced,
            json!({"by_key": "2.7-1", "by_peer": "[::1]:7", "by_identity": "ü"}),
        ),
        (What::Ended(&end), Kind::Ended, json!({})),
    ] {
        events.add(&whose(9, &peer), what, Instant::from_millis(5));
        let (place, _) = events.after(&at).unwrap();
        let event = events.get(place).unwrap();
        at = Position { number: event.number(), place: Some(place) };
        assert_eq!(
            (event.kind(), event.at(), event.identity()),
            (kind, Instant::from_millis(5), &b"dev"[..])
        );
        assert_eq!(event.whose(), Some((Key { index: 9, generation: 1 }, peer, 3)));
        assert_eq!(event.ended().map(history::Record::end), (kind == Kind::Ended).then(|| end.clone()));
        let mut told = Map::new();
        event.add_fields(&mut told);
        assert_eq!(Value::Object(told), fields, "{kind}");
    }
    events.add_of_server(Kind::Reload, || json!({"applied": true, "notes": ["a"]}), Instant::ZERO);
    let (place, _) = events.after(&at).unwrap();
    let event = events.get(place).unwrap();
    let mut told = Map::new();
    event.add_fields(&mut told);
    assert_eq!((event.whose(), event.identity()), (None, &[][..]));
    assert_eq!(Value::Object(told), json!({"applied": true, "notes": ["a"]}));
}

#[test]
fn a_reader_that_comes_back_goes_on_where_it_was_or_is_told_what_is_missing() {
    let mut events = Events::new(0, Some(Duration::from_secs(1)));
    events.begin(None);
    (0..3).for_each(|number| open(&mut events, number));
    let first = 1_000_001;
    for (after, expected, missed) in [
        (None, vec![], Some(0)),
        (Some(0), vec![0, 1, 2], Some(0)),
        (Some(first - 1), vec![0, 1, 2], Some(0)),
        (Some(first + 1), vec![2], Some(0)),
        (Some(first + 2), vec![], Some(0)),
        // It had that from a process before this one, or from another host.
        (Some(first - 2), vec![0, 1, 2], None),
        (Some(first + 3), vec![0, 1, 2], None),
    ] {
        let (mut at, told) = events.begin(after);
        assert_eq!((read(&events, &mut at), told), ((expected, 0), missed), "{after:?}");
    }
    let mut last = 2;
    while events.begin(Some(first)).1 == Some(0) {
        last += 1;
        open(&mut events, last);
    }
    let (mut at, missed) = events.begin(Some(first));
    let (told, dropped) = read(&events, &mut at);
    assert_eq!(dropped, 0, "what is missing was said at the beginning");
    assert_eq!(missed.unwrap() + told.len() as u64, u64::from(last), "all but the one that it had");
    assert_eq!(told.last(), Some(&last));
}

#[test]
fn another_size_keeps_the_newest_and_readers_go_on() {
    let mut events = Events::new(4 * BYTES_MIN, None);
    let (mut at, _) = events.begin(None);
    (0..10).for_each(|number| open(&mut events, number));
    assert_eq!(read(&events, &mut at).0.len(), 10);
    (10..12).for_each(|number| open(&mut events, number));
    events.resize(BYTES_MIN);
    assert_eq!(read(&events, &mut at), (vec![10, 11], 0));
}

proptest! {
    /// A reader may read at any time: each event is told once, in its order, or counted as missing.
    #[test]
    fn every_event_is_told_or_counted(bursts in prop::collection::vec((0_u32..2000, any::<bool>()), 1..20)) {
        let mut events = Events::new(0, None);
        let (mut at, _) = events.begin(None);
        let (mut opened, mut seen) = (0, 0);
        for (burst, reads) in bursts {
            for _ in 0..burst {
                open(&mut events, opened);
                opened += 1;
            }
            if reads {
                let (told, missed) = read(&events, &mut at);
                seen += u32::try_from(missed).unwrap();
                for number in told {
                    prop_assert_eq!(number, seen);
                    seen += 1;
                }
                prop_assert_eq!(seen, opened);
            }
        }
    }
}
