//! The timer wheel against an ordered map of deadlines.

use super::Choices;
use linger::core::time::{Duration, Instant};
use linger::core::timer::{TICK, Wheel};
use std::collections::BTreeMap;

const ORIGIN: Instant = Instant::from_nanos(5_000_000_123);
/// Entries; and how many times one can move down, so the bound on wake-ups for nothing.
const ENTRIES: u32 = 40;
const LEVELS: u32 = 8;
/// As far off as a deadline can be.
const FARTHEST: Duration = Duration::from_millis(u32::MAX as u64);

/// Arms, cancels, sleeps and expires as `bytes` say, under a clock that leaps both ways.
pub(crate) fn holds(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let mut model = Model::new();
    while !choices.is_over() {
        model.step(&mut choices);
        model.check();
    }
    model.drain();
}

/// As long as nothing is cancelled or moved, each answer of `next_deadline` is the earliest deadline itself.
pub(crate) fn next_deadline_is_exact(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let mut model = Model::new();
    for index in 0..ENTRIES {
        model.arm(index, model.now + Duration::from_micros(choices.magnitude()));
    }
    while !choices.is_over() {
        assert_eq!(model.wheel.next_deadline(), model.armed.values().min().copied());
        model.now = model.now + Duration::from_micros(choices.magnitude());
        while let Some(index) = model.wheel.expire(model.now) {
            model.armed.remove(&index);
        }
    }
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

    fn step(&mut self, choices: &mut Choices<'_>) {
        let kind = choices.byte() % 16;
        let mut index = || u32::from(choices.byte()) % ENTRIES;
        match kind {
            0..=5 => {
                let index = index();
                self.arm(index, self.now + Duration::from_micros(choices.magnitude()));
            }
            6 => {
                let index = index();
                self.arm(index, self.earlier(choices.magnitude()));
            }
            7 | 8 => {
                let index = index();
                self.cancel(index);
            }
            9 => self.now = self.now + Duration::from_micros(choices.magnitude()),
            10 => self.now = self.earlier(choices.magnitude()),
            11 | 12 => self.now = self.wheel.next_deadline().unwrap_or(self.now).max(self.now),
            _ => {
                let limit = choices.pick(&[usize::MAX, 1, 2, 7]);
                let (back, micros) = (choices.flag(), choices.magnitude());
                let again =
                    if back { self.earlier(micros) } else { self.now + Duration::from_micros(micros) };
                self.pass(limit, again);
            }
        }
    }

    /// `instant` in whole ticks from the origin, rounded down.
    fn floor(instant: Instant) -> Instant {
        let millis = instant.since(ORIGIN).as_millis();
        ORIGIN + Duration::from_millis(u64::try_from(millis).expect("a clock of 64 bits"))
    }

    fn arm(&mut self, index: u32, deadline: Instant) {
        self.wheel.arm(index, deadline);
        let due = Self::floor(deadline + Duration::from_nanos(999_999)).max(self.soonest);
        let armed = self.wheel.deadline(index).expect("it is armed");
        // What is farther off is due after that time, which begins where the wheel has turned to.
        assert!(armed <= due && armed >= due.min(self.reached + FARTHEST), "{armed:?} instead of {due:?}");
        self.armed.insert(index, armed);
    }

    fn cancel(&mut self, index: u32) {
        self.wheel.cancel(index);
        self.armed.remove(&index);
    }

    /// A pass cut off after `limit` entries. Every third that expires is armed again for `again`, and takes
    /// another with it.
    fn pass(&mut self, limit: usize, again: Instant) {
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
                self.arm(index, again);
                self.cancel((index + 1) % ENTRIES);
            }
        }
    }

    fn earlier(&self, micros: u64) -> Instant {
        Instant::from_nanos(self.now.as_nanos().saturating_sub(micros.saturating_mul(1_000)))
    }

    fn check(&self) {
        for index in 0..=ENTRIES {
            assert_eq!(self.wheel.deadline(index), self.armed.get(&index).copied());
        }
        let earliest = self.armed.values().min().copied();
        let next = self.wheel.next_deadline();
        assert_eq!(next.is_some(), earliest.is_some());
        assert!(next <= earliest, "sleeping until {next:?} would miss {earliest:?}");
    }

    /// Sleeps from one answer of `next_deadline` to the next. It must come to each deadline at the time, and be
    /// woken for nothing no more often than all entries can cascade.
    fn drain(mut self) {
        self.now = self.now.max(self.reached).max(self.soonest);
        self.pass(usize::MAX, self.now + Duration::from_micros(1));
        let mut needless = LEVELS * ENTRIES;
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
