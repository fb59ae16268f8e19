//! The wheel held against a `BTreeMap` under random operations and a clock that leaps, and its promises one by
//! one. What it is held to is in the documentation of [`Wheel`].

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const ORIGIN: Instant = Instant::from_nanos(5_000_000_123);
const DAY_MS: u64 = 86_400_000;

/// `millis` after the origin of the wheel.
fn at(millis: u64) -> Instant {
    ORIGIN + Duration::from_millis(millis)
}

/// A wheel with these deadlines, in milliseconds, at indices 0, 1, ...
fn wheel(deadlines_ms: &[u64]) -> Wheel {
    let mut wheel = Wheel::new(ORIGIN, 0);
    for (index, &millis) in (0..).zip(deadlines_ms) {
        wheel.arm(index, at(millis));
    }
    wheel
}

/// All that is due at `now`, in order.
fn pass(wheel: &mut Wheel, now: Instant) -> Vec<u32> {
    std::iter::from_fn(|| wheel.expire(now)).collect()
}

#[test]
fn expires_at_the_deadline_and_not_before() {
    let mut wheel = wheel(&[10]);
    assert!(pass(&mut wheel, at(9) + Duration::from_nanos(999_999)).is_empty());
    assert_eq!(pass(&mut wheel, at(10)), [0]);
    assert_eq!(wheel.deadline(0), None);
    assert!(pass(&mut wheel, at(1_000_000)).is_empty());
}

#[test]
fn a_deadline_within_a_tick_is_due_at_the_end_of_it() {
    let mut wheel = Wheel::new(ORIGIN, 0);
    wheel.arm(0, at(10) + Duration::from_nanos(1));
    assert_eq!(wheel.deadline(0), Some(at(11)));
    assert_eq!(wheel.next_deadline(), Some(at(11)));
    assert_eq!(pass(&mut wheel, at(11)), [0]);
}

#[test]
fn expires_in_order_across_all_levels() {
    let deadlines_ms: Vec<u64> = (0..8).rev().map(|level| 4 * 64_u64.pow(level) + 3).collect();
    let mut wheel = wheel(&deadlines_ms);
    assert_eq!(wheel.next_deadline(), Some(at(7)));
    assert_eq!(pass(&mut wheel, Instant::NEVER), [7, 6, 5, 4, 3, 2, 1, 0]);
}

#[test]
fn each_wake_up_finds_an_entry_due_when_nothing_was_cancelled() {
    let mut deadlines_ms: Vec<u64> = (0..200).map(|i: u64| i * i * i * 7 + 1).collect();
    let mut wheel = wheel(&deadlines_ms);
    deadlines_ms.reverse();
    while let Some(next) = wheel.next_deadline() {
        assert_eq!(next, at(deadlines_ms.pop().expect("as many deadlines as wake-ups")));
        assert_eq!(pass(&mut wheel, next).len(), 1);
    }
    assert!(deadlines_ms.is_empty());
}

#[test]
fn the_next_deadline_is_too_early_at_most_once_after_a_cancel() {
    let mut wheel = wheel(&[70_000, 70_001]);
    wheel.cancel(0);
    assert_eq!(wheel.next_deadline(), Some(at(70_000)));
    assert!(pass(&mut wheel, at(70_000)).is_empty());
    assert_eq!(wheel.next_deadline(), Some(at(70_001)));
}

#[test]
fn cancelling_is_harmless_when_there_is_nothing_to_cancel() {
    let mut wheel = wheel(&[10]);
    wheel.cancel(0);
    wheel.cancel(0);
    wheel.cancel(1_000_000);
    assert_eq!(wheel.next_deadline(), None);
    assert!(pass(&mut wheel, at(20)).is_empty());
}

#[test]
fn arming_again_moves_the_entry_both_ways() {
    let mut wheel = wheel(&[100_000, 100_000]);
    wheel.arm(0, at(50));
    wheel.arm(1, at(5_000_000));
    assert_eq!(wheel.next_deadline(), Some(at(50)));
    assert_eq!(pass(&mut wheel, at(100_000)), [0]);
    assert_eq!(pass(&mut wheel, at(5_000_000)), [1]);
}

#[test]
fn the_past_is_due_at_the_next_pass() {
    let mut wheel = wheel(&[]);
    pass(&mut wheel, at(1_000));
    wheel.arm(0, at(3));
    wheel.arm(1, Instant::ZERO);
    assert_eq!(wheel.next_deadline(), Some(at(1_000)));
    assert_eq!(pass(&mut wheel, at(1_000)).len(), 2);
}

#[test]
fn a_pass_ends_even_if_every_entry_is_armed_for_the_past_again() {
    let mut wheel = wheel(&[1, 2, 500, 9_000]);
    let now = at(10_000);
    for turn in 0..3 {
        let now = now + TICK * turn;
        let mut expired = Vec::new();
        while let Some(index) = wheel.expire(now) {
            expired.push(index);
            assert!(expired.len() <= 4, "an endless pass");
            wheel.arm(index, at(5 * u64::from(index)));
        }
        expired.sort_unstable();
        assert_eq!(expired, [0, 1, 2, 3]);
        assert_eq!(wheel.next_deadline(), Some(now + TICK));
    }
}

#[test]
fn a_pass_that_was_cut_off_goes_on_where_it_was() {
    let mut wheel = wheel(&[1, 2, 3]);
    assert_eq!(wheel.expire(at(100)), Some(0));
    assert_eq!(wheel.next_deadline(), Some(at(2)));
    wheel.arm(0, at(50));
    assert_eq!(wheel.deadline(0), Some(at(101)), "behind those that wait");
    assert_eq!(pass(&mut wheel, at(101)), [1, 2, 0]);
}

#[test]
fn an_entry_cancelled_within_a_pass_does_not_expire_in_it() {
    let mut wheel = wheel(&[7, 7, 7, 7, 7, 7, 8]);
    let first = wheel.expire(at(10)).expect("all are due");
    (0..7).filter(|&index| index != first).for_each(|index| wheel.cancel(index));
    assert_eq!(wheel.expire(at(10)), None);
    assert_eq!(wheel.next_deadline(), None);
}

#[test]
fn nothing_happens_while_the_clock_is_behind() {
    let mut wheel = wheel(&[900, 2_000]);
    assert_eq!(pass(&mut wheel, at(1_000)), [0]);
    wheel.arm(0, at(600));
    assert!(pass(&mut wheel, at(500)).is_empty());
    assert!(pass(&mut wheel, Instant::ZERO).is_empty());
    assert_eq!(pass(&mut wheel, at(1_000)), [0]);
    assert_eq!(pass(&mut wheel, at(2_000)), [1]);
}

#[test]
fn a_leap_of_the_clock_costs_no_more_than_its_entries() {
    // Tick by tick, this would take until tomorrow.
    let mut wheel = wheel(&[1, DAY_MS, 1_000 * DAY_MS]);
    assert_eq!(pass(&mut wheel, at(500_000_000 * 365)), [0, 1, 2]);
    for year in 1..1_000 {
        wheel.arm(0, at((500_000_000 + year) * 365));
        assert_eq!(pass(&mut wheel, at((500_000_000 + year) * 365)), [0]);
    }
}

#[test]
fn never_is_a_deadline_like_others() {
    let mut wheel = wheel(&[5]);
    wheel.arm(1, Instant::NEVER);
    assert_eq!(pass(&mut wheel, at(1_000 * 365 * DAY_MS)), [0]);
    assert_eq!(wheel.next_deadline(), Some(Instant::NEVER));
    wheel.cancel(1);
    assert_eq!(wheel.next_deadline(), None);
}

/// What happens to a wheel. Times are in microseconds, so that rounding is put to the test too.
#[derive(Clone, Debug)]
enum Step {
    Arm {
        index: u32,
        micros: u64,
    },
    ArmInThePast {
        index: u32,
        micros: u64,
    },
    Cancel {
        index: u32,
    },
    Leap {
        micros: u64,
    },
    LeapBack {
        micros: u64,
    },
    SleepToNextDeadline,
    /// A pass cut off after `limit` entries. Every third that expires is armed again at the distance
    /// from now that `again` gives, before now or after it, and takes another with it.
    Pass {
        limit: usize,
        again_micros: i64,
    },
}

fn micros() -> impl Strategy<Value = u64> {
    prop_oneof![0..3_000_u64, 0..100_000_u64, 0..70_000_000_u64, 0..400_000_000_000_000_u64]
}

fn step() -> impl Strategy<Value = Step> {
    let index = || 0..40_u32;
    prop_oneof![
        6 => (index(), micros()).prop_map(|(index, micros)| Step::Arm { index, micros }),
        1 => (index(), micros()).prop_map(|(index, micros)| Step::ArmInThePast { index, micros }),
        2 => index().prop_map(|index| Step::Cancel { index }),
        2 => micros().prop_map(|micros| Step::Leap { micros }),
        1 => micros().prop_map(|micros| Step::LeapBack { micros }),
        3 => Just(Step::SleepToNextDeadline),
        4 => (prop_oneof![Just(usize::MAX), 1..8_usize], -5_000..200_000_i64)
            .prop_map(|(limit, again_micros)| Step::Pass { limit, again_micros }),
    ]
}

/// The wheel and what it should do: the armed deadlines by index, rounded up to a tick from the origin.
struct Model {
    wheel: Wheel,
    armed: BTreeMap<u32, Instant>,
    now: Instant,
    /// How far the wheel has turned: the latest tick that expired, or at which a pass ended.
    reached: Instant,
    /// The soonest that can be armed.
    soonest: Instant,
}

impl Model {
    fn new() -> Self {
        Self {
            wheel: Wheel::new(ORIGIN, 0),
            armed: BTreeMap::new(),
            now: ORIGIN,
            reached: ORIGIN,
            soonest: ORIGIN,
        }
    }

    /// `instant` in whole ticks from the origin, rounded down.
    fn floor(instant: Instant) -> Instant {
        at(u64::try_from(instant.since(ORIGIN).as_millis()).expect("a clock of 64 bits"))
    }

    fn arm(&mut self, index: u32, deadline: Instant) {
        self.wheel.arm(index, deadline);
        let due = Self::floor(deadline + Duration::from_nanos(999_999)).max(self.soonest);
        self.armed.insert(index, due);
    }

    fn cancel(&mut self, index: u32) {
        self.wheel.cancel(index);
        self.armed.remove(&index);
    }

    fn pass(&mut self, limit: usize, again_micros: i64) {
        let now = Self::floor(self.now);
        self.soonest = self.soonest.max(now + TICK);
        let mut latest = Instant::ZERO;
        for count in 0..limit {
            let Some(index) = self.wheel.expire(self.now) else {
                let due = self.armed.values().find(|&&due| due <= now);
                assert!(due.is_none() || now < self.reached, "{due:?} was due at {now:?}");
                self.reached = self.reached.max(now);
                self.soonest = self.reached;
                return;
            };
            let due = self.armed.remove(&index).expect("what expires is armed");
            assert!(due <= now, "{index} expired before its deadline");
            assert!(due >= latest, "{index} expired out of order");
            latest = due;
            self.reached = self.reached.max(due);
            if count % 3 == 0 {
                let micros = again_micros.unsigned_abs();
                let later = self.now + Duration::from_micros(micros);
                self.arm(index, if again_micros < 0 { self.earlier(micros) } else { later });
                self.cancel((index + 1) % 40);
            }
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Arm { index, micros } => self.arm(index, self.now + Duration::from_micros(micros)),
            Step::ArmInThePast { index, micros } => self.arm(index, self.earlier(micros)),
            Step::Cancel { index } => self.cancel(index),
            Step::Leap { micros } => self.now = self.now + Duration::from_micros(micros),
            Step::LeapBack { micros } => self.now = self.earlier(micros),
            Step::SleepToNextDeadline => {
                self.now = self.wheel.next_deadline().unwrap_or(self.now).max(self.now);
            }
            Step::Pass { limit, again_micros } => self.pass(limit, again_micros),
        }
    }

    fn earlier(&self, micros: u64) -> Instant {
        Instant::from_nanos(self.now.as_nanos().saturating_sub(micros * 1_000))
    }

    fn check(&self) {
        for index in 0..41 {
            assert_eq!(self.wheel.deadline(index), self.armed.get(&index).copied());
        }
        let earliest = self.armed.values().min().copied();
        let next = self.wheel.next_deadline();
        assert_eq!(next.is_some(), earliest.is_some());
        assert!(next <= earliest, "sleeping until {next:?} would miss {earliest:?}");
    }

    /// Sleeps from one answer of `next_deadline` to the next. It must come to each deadline at the time,
    /// and be woken for nothing no more often than all entries can cascade.
    fn drain(mut self) {
        self.now = self.now.max(self.reached).max(self.soonest);
        self.pass(usize::MAX, 1);
        let mut needless = 8 * 40;
        while let Some(next) = self.wheel.next_deadline() {
            self.now = next;
            let earliest = self.armed.values().min().copied().expect("something is armed");
            if let Some(index) = self.wheel.expire(next) {
                assert_eq!(self.armed.remove(&index), Some(next));
            } else {
                assert!(next < earliest, "{earliest:?} was due");
                assert!(self.wheel.next_deadline() > Some(next), "it would be woken for the same again");
                needless -= 1;
                assert!(needless > 0, "woken for nothing too often");
            }
        }
        assert_eq!(self.armed, BTreeMap::new());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn behaves_like_an_ordered_map(steps in prop::collection::vec(step(), 0..120)) {
        let mut model = Model::new();
        for step in &steps {
            model.take(step);
            model.check();
        }
        model.drain();
    }

    #[test]
    fn the_next_deadline_is_exact_when_nothing_is_cancelled(
        delays in prop::collection::vec(micros(), 1..60),
        leaps in prop::collection::vec(micros(), 0..20),
    ) {
        let mut model = Model::new();
        for (index, &micros) in (0..).zip(&delays) {
            model.arm(index, model.now + Duration::from_micros(micros));
        }
        for micros in leaps {
            prop_assert_eq!(model.wheel.next_deadline(), model.armed.values().min().copied());
            model.now = model.now + Duration::from_micros(micros);
            while let Some(index) = model.wheel.expire(model.now) {
                model.armed.remove(&index);
            }
        }
    }
}
