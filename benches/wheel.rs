//! The timer wheel measured against other people's timers: tokio-util's `DelayQueue`,
//! `hierarchical_hash_wheel_timer`, and a `BinaryHeap` with lazy deletion. Prints one table.
//!
//! `cargo bench --bench wheel` takes about a minute and a half. `cargo test --bench wheel -- --quick` needs no build of its own
//! and skips the large sizes and most rounds: it shows that all of it runs, and that ours is not far beyond its bars.
//!
//! Each contender plays the same scenario: entries of connections, in random order, with deadlines spread over
//! one timeout, as in a server whose clients came at random. The contenders take turns round by round,
//! so that a noisy moment of the machine hits them all, and what is printed is the median of the rounds. All
//! memory is touched in a round before the first. Each holds what its user would have to hold: the key of
//! `DelayQueue` per connection, the generation of the heap, the time last heard from of ours.

#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use hierarchical_hash_wheel_timer::IdOnlyTimerEntry;
use hierarchical_hash_wheel_timer::wheels::Skip;
use hierarchical_hash_wheel_timer::wheels::cancellable::QuadWheelWithOverflow;
use linger::core::time::{Duration, Instant};
use linger::core::timer::Wheel;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hint::black_box;
use std::process::ExitCode;
use std::task::{Context, Poll, Waker};
use std::time::Instant as Stopwatch;
use tokio::runtime::{Builder, Runtime};
use tokio_util::time::{DelayQueue, delay_queue::Key};

/// A heartbeat timeout, as servers have it.
const TIMEOUT_MS: u64 = 60_000;
/// How often each connection is heard from within a timeout.
const BEATS: usize = 6;
/// Most that an operation of ours may take, in nanoseconds.
const ARM_CANCEL_NS: f64 = 25.0;
const EXPIRE_NS: f64 = 60.0;
/// So many times as much it may take in the quick form, which is not optimised, while the machine does other things.
const QUICK_MARGIN: f64 = 3.0;
/// What is done, in the order of [`play`]'s results.
const OPERATIONS: [&str; 5] = ["arm", "cancel", "arm+cancel", "refresh", "expire"];

/// A timer facility with one entry per index, at a time of its own. Indices in use are below `2 * n`.
trait Timers {
    /// Moves the clock, off the record.
    fn set_now(&mut self, now_ms: u64);
    /// Arms an entry that is not armed.
    fn arm(&mut self, index: u32, deadline_ms: u64);
    /// Disarms an entry that is armed.
    fn cancel(&mut self, index: u32);
    /// The peer was heard from: its entry is now due a timeout from now.
    fn refresh(&mut self, index: u32);
    /// Takes out all that is due, and says how many those were.
    fn expire(&mut self) -> usize;
    /// The same where entries are refreshed: those that were heard from do not count.
    fn expire_silent(&mut self) -> usize {
        self.expire()
    }
    /// Disarms everything, keeping memory.
    fn clear(&mut self);
}

/// Ours: refreshing is a store, and an entry that expires is armed again if the peer was heard from.
struct Linger {
    wheel: Wheel,
    now_ms: u64,
    heard_ms: Vec<u64>,
}

impl Timers for Linger {
    fn set_now(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    fn arm(&mut self, index: u32, deadline_ms: u64) {
        self.wheel.arm(index, Instant::from_millis(deadline_ms));
    }

    fn cancel(&mut self, index: u32) {
        self.wheel.cancel(index);
    }

    fn refresh(&mut self, index: u32) {
        self.heard_ms[index as usize] = self.now_ms;
    }

    fn expire(&mut self) -> usize {
        let mut expired = 0;
        while let Some(index) = self.wheel.expire(Instant::from_millis(self.now_ms)) {
            expired += 1;
            black_box(index);
        }
        expired
    }

    fn expire_silent(&mut self) -> usize {
        let mut expired = 0;
        while let Some(index) = self.wheel.expire(Instant::from_millis(self.now_ms)) {
            let deadline_ms = self.heard_ms[index as usize] + TIMEOUT_MS;
            if deadline_ms > self.now_ms {
                self.wheel.arm(index, Instant::from_millis(deadline_ms));
            } else {
                expired += 1;
            }
        }
        expired
    }

    fn clear(&mut self) {
        for index in 0..self.heard_ms.len() {
            self.wheel.cancel(u32::try_from(index).expect("there are fewer"));
        }
    }
}

/// tokio-util's wheel, on a runtime whose clock is paused until it is moved.
struct Tokio<'a> {
    queue: DelayQueue<u32>,
    keys: Vec<Option<Key>>,
    runtime: &'a Runtime,
    origin: tokio::time::Instant,
    now_ms: u64,
}

impl<'a> Tokio<'a> {
    /// Within the context of `runtime`.
    fn new(runtime: &'a Runtime, entries: usize) -> Self {
        Self {
            queue: DelayQueue::with_capacity(entries),
            keys: vec![None; entries],
            runtime,
            origin: tokio::time::Instant::now(),
            now_ms: 0,
        }
    }

    fn at(&self, ms: u64) -> tokio::time::Instant {
        self.origin + Duration::from_millis(ms)
    }
}

impl Timers for Tokio<'_> {
    fn set_now(&mut self, now_ms: u64) {
        let ahead = Duration::from_millis(now_ms - self.now_ms);
        self.runtime.block_on(tokio::time::advance(ahead));
        self.now_ms = now_ms;
    }

    fn arm(&mut self, index: u32, deadline_ms: u64) {
        let key = self.queue.insert_at(index, self.at(deadline_ms));
        self.keys[index as usize] = Some(key);
    }

    fn cancel(&mut self, index: u32) {
        let key = self.keys[index as usize].take().expect("it is armed");
        black_box(self.queue.remove(&key));
    }

    fn refresh(&mut self, index: u32) {
        let when = self.at(self.now_ms + TIMEOUT_MS);
        self.queue.reset_at(&self.keys[index as usize].expect("it is armed"), when);
    }

    fn expire(&mut self) -> usize {
        let mut context = Context::from_waker(Waker::noop());
        let mut expired = 0;
        while let Poll::Ready(Some(entry)) = self.queue.poll_expired(&mut context) {
            expired += 1;
            self.keys[entry.into_inner() as usize] = None;
        }
        expired
    }

    fn clear(&mut self) {
        self.queue.clear();
        self.keys.fill(None);
    }
}

/// The wheel of the `hierarchical_hash_wheel_timer` crate that can cancel. It has no move: cancel and insert.
struct HashWheel {
    wheel: QuadWheelWithOverflow<IdOnlyTimerEntry<u32>>,
    now_ms: u64,
    ticked_ms: u64,
}

impl Timers for HashWheel {
    fn set_now(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    fn arm(&mut self, index: u32, deadline_ms: u64) {
        let delay = Duration::from_millis(deadline_ms - self.ticked_ms);
        self.wheel.insert(IdOnlyTimerEntry { id: index, delay }).expect("the delay is not zero");
    }

    fn cancel(&mut self, index: u32) {
        self.wheel.cancel(&index).expect("it is armed");
    }

    fn refresh(&mut self, index: u32) {
        self.cancel(index);
        self.arm(index, self.now_ms + TIMEOUT_MS);
    }

    fn expire(&mut self) -> usize {
        let mut expired = 0;
        while self.ticked_ms < self.now_ms {
            let ahead = self.now_ms - self.ticked_ms;
            match self.wheel.can_skip() {
                Skip::Empty => self.ticked_ms = self.now_ms,
                Skip::Millis(ms) if u64::from(ms) < ahead => {
                    self.wheel.skip(ms);
                    self.ticked_ms += u64::from(ms);
                }
                Skip::Millis(_) => {
                    self.wheel.skip(u32::try_from(ahead).expect("less than can be skipped"));
                    self.ticked_ms = self.now_ms;
                }
                Skip::None => {
                    self.ticked_ms += 1;
                    for entry in self.wheel.tick() {
                        expired += 1;
                        black_box(entry.id);
                    }
                }
            }
        }
        expired
    }

    fn clear(&mut self) {
        self.wheel = QuadWheelWithOverflow::new();
        self.ticked_ms = self.now_ms;
    }
}

/// A heap of all deadlines ever armed; those whose generation is gone are skipped when they come up.
struct Heap {
    deadlines: BinaryHeap<Reverse<(u64, u32, u32)>>,
    generations: Vec<u32>,
    now_ms: u64,
}

impl Timers for Heap {
    fn set_now(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    fn arm(&mut self, index: u32, deadline_ms: u64) {
        self.deadlines.push(Reverse((deadline_ms, index, self.generations[index as usize])));
    }

    fn cancel(&mut self, index: u32) {
        self.generations[index as usize] += 1;
    }

    fn refresh(&mut self, index: u32) {
        self.cancel(index);
        self.arm(index, self.now_ms + TIMEOUT_MS);
    }

    fn expire(&mut self) -> usize {
        let mut expired = 0;
        while let Some(Reverse((deadline_ms, index, generation))) = self.deadlines.peek().copied() {
            if deadline_ms > self.now_ms {
                break;
            }
            self.deadlines.pop();
            if self.generations[index as usize] == generation {
                self.generations[index as usize] += 1;
                expired += 1;
            }
        }
        expired
    }

    fn clear(&mut self) {
        self.deadlines.clear();
    }
}

/// Random orders and deadlines, the same for every contender.
struct Scenario {
    /// The armed ones: below `n`.
    residents: Vec<u32>,
    /// In which order they go, or are heard from.
    order: Vec<u32>,
    /// Those that come and go at once: from `n` to `2 * n`.
    visitors: Vec<u32>,
    /// For each, in milliseconds from now.
    delays_ms: Vec<u64>,
    /// So wide a step of the clock that some 16 entries are due in each: the loop of a busy server.
    step_ms: u64,
}

impl Scenario {
    fn new(n: u32) -> Self {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let residents = random.shuffled(0..n);
        let order = random.shuffled(0..n);
        let visitors = random.shuffled(n..2 * n);
        let delays_ms = (0..n).map(|_| 1 + random.below(TIMEOUT_MS)).collect();
        Self { residents, order, visitors, delays_ms, step_ms: (16 * TIMEOUT_MS / u64::from(n)).max(1) }
    }

    fn populate(&self, timers: &mut impl Timers, now_ms: u64) {
        for (&index, &delay_ms) in self.residents.iter().zip(&self.delays_ms) {
            timers.arm(index, now_ms + delay_ms);
        }
    }
}

/// xorshift64*: good enough to spoil every prefetcher, and the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % bound
    }

    fn shuffled(&mut self, range: std::ops::Range<u32>) -> Vec<u32> {
        let mut indices: Vec<u32> = range.collect();
        for i in (1..indices.len()).rev() {
            let j = usize::try_from(self.below(i as u64 + 1)).expect("an index");
            indices.swap(i, j);
        }
        indices
    }
}

/// One round of one contender: nanoseconds per operation, for each of [`OPERATIONS`].
fn play(timers: &mut impl Timers, scenario: &Scenario, now_ms: &mut u64, clock_ns: f64) -> [f64; 5] {
    let n = scenario.residents.len();
    timers.clear();
    timers.set_now(*now_ms);
    timers.expire();

    let arm = time(|| scenario.populate(timers, *now_ms));
    let cancel = time(|| scenario.order.iter().for_each(|&index| timers.cancel(index)));
    timers.clear();

    scenario.populate(timers, *now_ms);
    let arm_cancel = time(|| {
        for &index in &scenario.visitors {
            timers.arm(index, *now_ms + TIMEOUT_MS);
            timers.cancel(index);
        }
    });
    timers.clear();

    // From here on everyone is heard from in every sixth of a timeout, and no entry may get lost.
    scenario.populate(timers, *now_ms);
    scenario.order.iter().for_each(|&index| timers.refresh(index));
    let steps = usize::try_from(TIMEOUT_MS / scenario.step_ms).expect("a count");
    let mut beats = scenario.order.iter().cycle().take(n * BEATS);
    let (mut refresh, mut lost) = (0.0, 0);
    for step in 1..=steps {
        *now_ms += scenario.step_ms;
        timers.set_now(*now_ms);
        let due = n * BEATS * step / steps - n * BEATS * (step - 1) / steps;
        refresh += time(|| {
            beats.by_ref().take(due).for_each(|&index| timers.refresh(index));
            lost += timers.expire_silent();
        }) - clock_ns;
    }
    assert_eq!(lost, 0, "everyone was heard from in time");
    timers.clear();
    timers.set_now(*now_ms);
    timers.expire();

    scenario.populate(timers, *now_ms);
    let (mut expire, mut expired) = (0.0, 0);
    while expired < n {
        *now_ms += scenario.step_ms;
        timers.set_now(*now_ms);
        expire += time(|| expired += timers.expire()) - clock_ns;
    }
    assert_eq!(expired, n, "nothing expires twice");

    #[expect(clippy::cast_precision_loss, reason = "a few million at most")]
    let per_entry = |nanos: f64, times: usize| nanos / (n * times) as f64;
    [
        per_entry(arm, 1),
        per_entry(cancel, 1),
        per_entry(arm_cancel, 1),
        per_entry(refresh, BEATS),
        per_entry(expire, 1),
    ]
}

/// How many nanoseconds it takes.
fn time(work: impl FnOnce()) -> f64 {
    let start = Stopwatch::now();
    work();
    start.elapsed().as_secs_f64() * 1e9
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn best(values: Vec<f64>) -> f64 {
    values.into_iter().fold(f64::INFINITY, f64::min)
}

/// One figure for each operation, from those of all rounds.
fn reduce(rounds: &[[f64; 5]], to_one: fn(Vec<f64>) -> f64) -> [f64; 5] {
    std::array::from_fn(|operation| to_one(rounds.iter().map(|times| times[operation]).collect()))
}

/// Measures all contenders at one size and prints their table. Returns how many times what its bars allow ours has taken.
fn measure(n: u32, rounds: usize, clock_ns: f64) -> f64 {
    let scenario = Scenario::new(n);
    let entries = 2 * n as usize;
    let mut linger =
        Linger { wheel: Wheel::new(Instant::ZERO, entries), now_ms: 0, heard_ms: vec![0; entries] };
    let runtime =
        Builder::new_current_thread().enable_time().start_paused(true).build().expect("a plain runtime");
    let _context = runtime.enter();
    let mut tokio = Tokio::new(&runtime, entries);
    let mut hash_wheel = HashWheel { wheel: QuadWheelWithOverflow::new(), now_ms: 0, ticked_ms: 0 };
    let mut heap = Heap { deadlines: BinaryHeap::new(), generations: vec![0; entries], now_ms: 0 };

    let mut results: [Vec<[f64; 5]>; 4] = Default::default();
    let mut clocks_ms = [0; 4];
    // The first round only touches memory.
    for round in 0..=rounds {
        let times = [
            play(&mut linger, &scenario, &mut clocks_ms[0], clock_ns),
            play(&mut tokio, &scenario, &mut clocks_ms[1], clock_ns),
            play(&mut hash_wheel, &scenario, &mut clocks_ms[2], clock_ns),
            play(&mut heap, &scenario, &mut clocks_ms[3], clock_ns),
        ];
        if round > 0 {
            results.iter_mut().zip(times).for_each(|(result, times)| result.push(times));
        }
    }

    println!(
        "\n{n} entries: ns per operation, median of {rounds} rounds (times ours); ~ doubtful, \
         for the best round took less than three quarters of it"
    );
    print!("{:<30}", "");
    for operation in OPERATIONS {
        print!("{operation:>17}");
    }
    println!();
    let medians = results.each_ref().map(|rounds| reduce(rounds, median));
    let bests = results.each_ref().map(|rounds| reduce(rounds, best));
    let names = ["linger", "tokio-util DelayQueue", "hierarchical_hash_wheel_timer", "BinaryHeap"];
    for (name, (row, best)) in names.iter().zip(medians.iter().zip(&bests)) {
        print!("{name:<30}");
        for (operation, nanos) in row.iter().enumerate() {
            let doubt = if best[operation] < 0.75 * nanos { "~" } else { " " };
            print!("{nanos:>8.1}{doubt}({:>5.1}x)", nanos / medians[0][operation]);
        }
        println!();
    }
    let [_, _, arm_cancel, _, expire] = bests[0];
    println!(
        "linger's best rounds: arm+cancel {arm_cancel:.1} (bar {ARM_CANCEL_NS}), expire {expire:.1} (bar {EXPIRE_NS})"
    );
    (arm_cancel / ARM_CANCEL_NS).max(expire / EXPIRE_NS)
}

fn main() -> ExitCode {
    let quick = std::env::args().any(|argument| argument == "--quick");
    // Reading the clock is a good part of a short step, and nobody's doing.
    let clock_ns = median((0..10_001).map(|_| time(|| ())).collect());
    println!(
        "timeout {TIMEOUT_MS} ms, {BEATS} beats a timeout, random order; clock {clock_ns:.0} ns, taken off"
    );
    let sizes: &[(u32, usize)] = if quick {
        &[(1_000, 5), (10_000, 3)]
    } else {
        &[(1_000, 101), (10_000, 31), (100_000, 11), (1_000_000, 7)]
    };
    let worst = sizes.iter().map(|&(n, rounds)| measure(n, rounds, clock_ns)).fold(0.0, f64::max);
    if quick && worst > QUICK_MARGIN {
        println!("linger has needed {worst:.1} times what its bar allows");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
