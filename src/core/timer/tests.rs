//! The promises of the wheel one by one; what it is held to is in the documentation of [`Wheel`]. Under random
//! operations and a clock that leaps, `tests/properties/wheel.rs` holds it against a `BTreeMap`.

use super::*;

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
fn expires_in_order_across_the_levels() {
    let deadlines_ms: Vec<u64> = (0..6).rev().map(|level| 3 * 64_u64.pow(level) + 3).collect();
    let mut wheel = wheel(&deadlines_ms);
    assert_eq!(wheel.next_deadline(), Some(at(6)));
    assert_eq!(pass(&mut wheel, Instant::NEVER), [5, 4, 3, 2, 1, 0]);
}

#[test]
fn what_is_more_than_49_days_off_expires_after_those() {
    const FARTHEST_MS: u64 = u32::MAX as u64;
    let mut wheel = wheel(&[FARTHEST_MS - 1, FARTHEST_MS, FARTHEST_MS + 1]);
    wheel.arm(3, Instant::NEVER);
    assert_eq!([0, 1, 2, 3].map(|index| wheel.deadline(index)).map(Option::unwrap), {
        [FARTHEST_MS - 1, FARTHEST_MS, FARTHEST_MS, FARTHEST_MS].map(at)
    });
    assert!(pass(&mut wheel, at(FARTHEST_MS - 2)).is_empty());
    assert_eq!(pass(&mut wheel, at(FARTHEST_MS - 1)), [0]);
    let mut due = pass(&mut wheel, at(FARTHEST_MS));
    due.sort_unstable();
    assert_eq!(due, [1, 2, 3]);
}

#[test]
fn ticks_of_which_only_the_upper_halves_differ_are_told_apart() {
    const HALF_MS: u64 = 1 << 32;
    for begun in [HALF_MS - 2, HALF_MS - 1, HALF_MS, 3 * HALF_MS + 7, (1 << 44) - 1] {
        let mut wheel = wheel(&[]);
        assert!(pass(&mut wheel, at(begun)).is_empty());
        let deadlines_ms = [1, 2, 70, HALF_MS - 1].map(|after| begun + after);
        for (index, &millis) in (0..).zip(&deadlines_ms) {
            wheel.arm(index, at(millis));
            assert_eq!(wheel.deadline(index), Some(at(millis)));
        }
        for (index, &millis) in (0..).zip(&deadlines_ms) {
            assert_eq!(wheel.next_deadline(), Some(at(millis)));
            assert!(pass(&mut wheel, at(millis - 1)).is_empty());
            assert_eq!(pass(&mut wheel, at(millis)), [index]);
        }
    }
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
fn never_is_as_far_off_as_a_deadline_can_be() {
    let mut wheel = wheel(&[5]);
    wheel.arm(1, Instant::NEVER);
    assert_eq!(pass(&mut wheel, at(49 * DAY_MS)), [0]);
    assert_eq!(wheel.next_deadline(), Some(at(u32::MAX.into())));
    wheel.cancel(1);
    assert_eq!(wheel.next_deadline(), None);
}
