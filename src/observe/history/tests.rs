//! The ring beside a plain list of what was put into it.

use super::*;
use crate::core::end::{Alert, By, CloseMode, Detector, Foreign, Leg, Reason, TlsAlert};
use crate::core::proxied::{Origin, Proxied};
use crate::core::secured::{Alpn, Secured};
use crate::core::table::Key;
use crate::core::tcp::{TcpSnapshot, TcpState};
use crate::core::time::Duration;
use crate::net::Peer;
use proptest::prelude::*;
use record::RECORD_BYTES_MAX;
use std::sync::Arc;

fn plain(number: u64) -> End {
    End {
        silence: Duration::from_millis(number).into(),
        age: Duration::from_secs(number).into(),
        bytes_in: number,
        bytes_out: number + 1,
        messages_in: number + 2,
        messages_out: number + 3,
        unsent_bytes: number + 4,
        ..End::new(Reason::PeerFin, Detector::ZeroRead, CloseMode::PeerFirst)
    }
}

/// One that has everything.
fn full() -> End {
    let text = |text: &str| Some(text.to_owned());
    End {
        reason: Reason::StuckZeroWindow,
        detector: Detector::Partner,
        close: CloseMode::ForwardedFin,
        evidence: Some(TcpSnapshot {
            state: TcpState::Closing,
            retransmits: 1,
            probes: 255,
            unacked: 3,
            last_ack_recv_ms: 4,
            last_data_recv_ms: u32::MAX,
            snd_wnd: 6,
            notsent_bytes: 7,
        }),
        by: Some(Arc::new(By { key: "2.7-1".to_owned(), peer: "[::1]:7".to_owned(), identity: text("ü") })),
        user: Some("ops".into()),
        spoke: Some(Foreign::Resp),
        alert: Some(TlsAlert { alert: Alert::Other, is_ours: true }),
        pair: Some((Leg::Upstream, Key { index: 17, generation: u32::MAX })),
        proxied: Some(Arc::new(Proxied {
            sender: "10.0.0.1:1".to_owned(),
            version: 2,
            origin: Origin::Local,
            header_bytes: 0,
            destination: None,
            authority: text("a.example"),
            unique_id: text("b"),
            tls: text("TLSv1.3"),
            common_name: text("d"),
            verified: Some(false),
            aws_endpoint: text("f"),
        })),
        secured: Some(Arc::new(Secured {
            server_name: text("dev.example"),
            alpn: Alpn(vec![b"h2".to_vec(), vec![0, 255]]),
            version: None,
        })),
        ..plain(9)
    }
}

fn peer(number: u64) -> Peer {
    Peer::new(format!("10.0.0.1:{}", 1 + number % 60_000).parse().unwrap())
}

fn add(history: &mut History, number: u64, identity: &[u8], end: &End) {
    let key = Key { index: u32::try_from(number).unwrap(), generation: 7 };
    let whose = Whose { key, peer: &peer(number), listener: 255, identity };
    history.add(&whose, end, Instant::from_millis(number));
}

#[test]
fn a_record_comes_back_as_it_was_published() {
    let mut history = History::new(BYTES_MIN);
    for end in [plain(1), full(), End { by: None, ..full() }, End { proxied: None, secured: None, ..full() }]
    {
        for identity in [b"".as_slice(), b"dev1", &[0xff; 128]] {
            add(&mut history, 5, identity, &end);
            let record = history.records().next().unwrap();
            assert_eq!(record.end(), end);
            assert_eq!((record.identity(), record.listener(), record.peer()), (identity, 255, peer(5)));
            assert_eq!(record.at(), Instant::from_millis(5));
            assert_eq!(record.key(), Key { index: 5, generation: 7 });
            assert_eq!(record.pair(), end.pair.map(|(_, pair)| pair));
        }
    }
    assert_eq!((history.kept(), history.dropped(), history.last_number()), (12, 0, 12));
}

#[test]
fn of_a_long_text_the_beginning_is_kept() {
    let mut history = History::new(BYTES_MIN);
    let by = By { key: "ü".repeat(3_000), peer: String::new(), identity: None };
    let alpn = Alpn(vec![vec![b'x'; 5_000]; 99]);
    let secured = Secured { alpn, ..Secured::default() };
    let end = End { by: Some(Arc::new(by)), secured: Some(Arc::new(secured)), ..plain(1) };
    add(&mut history, 1, &[b'i'; 9_000], &end);
    let record = history.records().next().unwrap();
    assert!(record.bytes().len() <= RECORD_BYTES_MAX, "{}", record.bytes().len());
    assert_eq!(record.end().by.unwrap().key, "ü".repeat(512));
    assert_eq!(record.identity().len(), 1024);
}

#[test]
fn a_place_whose_record_was_dropped_is_none_and_the_numbers_say_what_was_missed() {
    let mut history = History::new(BYTES_MIN);
    add(&mut history, 1, b"", &plain(1));
    let place = history.newest().unwrap();
    assert!(history.get(place).is_some() && history.before(place).is_none());
    let mut number = 1;
    while history.dropped() == 0 {
        number += 1;
        add(&mut history, number, b"dev", &full());
    }
    assert!(history.get(place).is_none() && history.before(place).is_none());
    assert_eq!(history.last_number(), number);
    assert_eq!(history.dropped() + history.kept(), number);
    assert_eq!(history.records().last().unwrap().number(), history.dropped() + 1);
    // Of another ring, or of none.
    let newest = history.newest().unwrap();
    assert!(history.get(Place { moves: 1, ..newest }).is_none());
    assert!(history.get(Place { number: newest.number + 1, ..newest }).is_none());
}

#[test]
fn a_place_that_no_record_has_is_none() {
    let mut history = History::new(BYTES_MIN);
    (1..=8).for_each(|number| add(&mut history, number, b"dev", &full()));
    let places: Vec<_> = history.ring.places().collect();
    assert_eq!(places.len(), 8);
    let end = u32::try_from(history.size()).unwrap();
    let offsets =
        (0..=u32::try_from(history.ring.head()).unwrap()).chain(end - 200..end + 9).chain([u32::MAX]);
    for at in offsets {
        for number in 0..=9 {
            let place = Place { number, at, moves: 0 };
            let found = history.get(place).map(|record| (record.number(), record.end()));
            assert_eq!(found, places.contains(&place).then(|| (number, full())), "{place:?}");
            assert_eq!(history.before(place).is_some(), number > 1 && places.contains(&place), "{place:?}");
        }
    }
}

#[test]
fn without_memory_nothing_is_kept() {
    let mut history = History::new(0);
    add(&mut history, 1, b"dev", &full());
    assert!(!history.is_on() && history.newest().is_none());
    assert_eq!((history.kept(), history.dropped(), history.size()), (0, 0, 0));
}

#[test]
fn another_size_keeps_the_newest_and_the_numbers() {
    let mut history = History::new(4 * BYTES_MIN);
    (1..=1500).for_each(|number| add(&mut history, number, b"dev", &plain(number)));
    let place = history.newest().unwrap();
    history.resize(BYTES_MIN, Instant::ZERO);
    assert!(history.get(place).is_none(), "the records have moved");
    let kept = history.kept();
    assert!(kept > 400 && history.dropped() + kept == 1500, "{kept}");
    add(&mut history, 1501, b"", &plain(1501));
    history.resize(8 * BYTES_MIN, Instant::ZERO);
    let numbers: Vec<_> = history.records().map(|record| (record.number(), record.end())).collect();
    assert_eq!(numbers[0], (1501, plain(1501)));
    assert!(numbers.iter().all(|(number, end)| *end == plain(*number)));
    assert!(numbers.is_sorted_by(|a, b| a.0 == b.0 + 1));
    history.resize(0, Instant::ZERO);
    assert_eq!((history.kept(), history.dropped()), (0, 1501));
    history.resize(BYTES_MIN, Instant::ZERO);
    add(&mut history, 1502, b"", &plain(1502));
    assert_eq!(history.newest().unwrap().number, 1502);
}

#[test]
fn it_is_complete_since_it_was_switched_on_or_since_its_oldest_record() {
    let mut history = History::new(4 * BYTES_MIN);
    (1..=1000).for_each(|number| add(&mut history, number, b"", &plain(number)));
    assert_eq!((history.dropped(), history.complete_since()), (0, Instant::ZERO));
    let now = Instant::from_millis(2_000);
    history.resize(BYTES_MIN, now);
    assert_eq!(history.complete_since(), Instant::from_millis(history.dropped() + 1));
    // What ends while it is off has no number, and is missing all the same.
    history.resize(0, now);
    history.resize(BYTES_MIN, now);
    assert_eq!(history.complete_since(), now);
    add(&mut history, 5000, b"", &plain(1001));
    history.resize(2 * BYTES_MIN, Instant::from_millis(9_000));
    assert_eq!(history.complete_since(), now);
    (5001..=9000).for_each(|number| add(&mut history, number, b"", &plain(number)));
    let oldest = history.records().last().map(Record::at);
    assert_eq!(Some(history.complete_since()), oldest);
    let mut history = History::new(0);
    history.resize(BYTES_MIN, now);
    assert_eq!(history.complete_since(), now);
}

#[test]
fn after_another_size_a_place_is_found_by_its_number() {
    let mut history = History::new(4 * BYTES_MIN);
    (1..=1500).for_each(|number| add(&mut history, number, b"dev", &plain(number)));
    let places: Vec<_> = history.ring.places().collect();
    assert!(places.iter().all(|place| history.moved(*place) == Some(*place)));
    history.resize(BYTES_MIN, Instant::ZERO);
    add(&mut history, 1501, b"dev", &plain(1501));
    for place in places {
        let moved = history.moved(place).and_then(|moved| history.get(moved));
        let is_kept = place.number > history.dropped();
        assert_eq!(moved.map(Record::number), is_kept.then_some(place.number));
    }
    assert!(history.moved(Place { number: 9999, at: 0, moves: 7 }) == history.newest());
    history.resize(0, Instant::ZERO);
    assert_eq!(history.moved(Place { number: 1501, at: 0, moves: 0 }), None);
}

proptest! {
    /// Whatever was put in, what it has are the last of that, whole, and as many as fit.
    #[test]
    fn the_newest_are_there(lengths in prop::collection::vec((0_usize..1024, any::<bool>()), 1..400)) {
        let mut history = History::new(BYTES_MIN);
        for (at, (length, is_full)) in lengths.iter().enumerate() {
            let number = at as u64 + 1;
            let end = if *is_full { full() } else { plain(number) };
            add(&mut history, number, &vec![b'i'; *length], &end);
            prop_assert_eq!(history.last_number(), number);
            let newest = history.records().next().expect("the last is always there");
            prop_assert_eq!(newest.number(), number);
        }
        let mut bytes = 0;
        let mut expected = lengths.len() as u64;
        for record in history.records() {
            prop_assert_eq!(record.number(), expected);
            let (length, is_full) = lengths[usize::try_from(expected).unwrap() - 1];
            prop_assert_eq!(record.identity().len(), length);
            prop_assert_eq!(record.end(), if is_full { full() } else { plain(expected) });
            bytes += record.bytes().len();
            expected -= 1;
        }
        prop_assert_eq!(expected, history.dropped());
        prop_assert!(bytes <= history.size());
        // What is missing is what would not fit: less than the longest record, and what is dropped at once, at either end.
        prop_assert!(expected == 0 || bytes + 2 * (DROPPED_AT_ONCE + 2048) > history.size(), "{} bytes", bytes);
    }
}
