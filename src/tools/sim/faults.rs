//! What can go wrong by itself, and how often; and the canaries: single rules of the simulated kernel that
//! are wrong on purpose, to see that the checks notice.

use super::rng::Rng;
use crate::core::time::Duration;

/// Faults of kernel, network and machine. Chances are parts in a million.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// A segment is lost; it comes again after a retransmission timeout.
    pub loss: u32,
    /// Most that a segment is late, in nanoseconds.
    pub jitter: u64,
    /// A call is interrupted by a signal.
    pub interrupted: u32,
    /// A receive takes less than there is, and the rest "arrives" right after.
    pub short_recv: u32,
    /// A send takes less than there is room for, for want of memory that comes back.
    pub short_send: u32,
    /// A receive fails for want of memory.
    pub memory: u32,
    /// A poll brings an event that nobody caused.
    pub spurious: u32,
    /// Those have any flags, an error among them.
    pub wild: bool,
    /// A poll brings an event of a connection that is gone.
    pub stale: u32,
    /// Events come in any order.
    pub shuffle: bool,
    /// Most events in a poll.
    pub batch_max: usize,
    /// A poll is interrupted by a signal.
    pub poll_interrupted: u32,
    /// The loop stalls after a poll.
    pub stall: u32,
    /// For how long at most.
    pub stall_max: Duration,
    /// The clock leaps.
    pub leap: u32,
    /// How far at most.
    pub leap_max: Duration,
    /// An accepted connection had failed in the queue.
    pub aborted: u32,
    /// Accepting fails for want of something other than descriptors.
    pub exhausted: u32,
    /// Descriptors for connections; the rest stay in the queue (EMFILE).
    pub descriptors_max: usize,
    /// A connection cannot be watched.
    pub unwatchable: u32,
}

impl Faults {
    /// None.
    pub fn none() -> Self {
        Self { batch_max: 1024, descriptors_max: usize::MAX, ..Self::default() }
    }

    /// Swarm testing: each fault is either off or at some rate (Groce et al., "Swarm Testing", 2012). A run in which
    /// everything fails a little finds less than many in which some things fail much.
    pub fn draw(rng: &mut Rng) -> Self {
        let mut rate = |most: u64| {
            let on = rng.chance(350_000);
            let rate = u32::try_from(rng.within(1..most + 1)).unwrap_or(u32::MAX);
            if on { rate } else { 0 }
        };
        let (loss, interrupted, short_recv, short_send) =
            (rate(60_000), rate(100_000), rate(200_000), rate(200_000));
        let (memory, spurious, outdated, poll_interrupted) =
            (rate(5_000), rate(50_000), rate(50_000), rate(50_000));
        let (stall, leap, aborted, exhausted, unwatchable) =
            (rate(5_000), rate(50), rate(50_000), rate(50_000), rate(5_000));
        Self {
            loss,
            interrupted,
            short_recv,
            short_send,
            memory,
            spurious,
            stale: outdated,
            poll_interrupted,
            stall,
            leap,
            aborted,
            exhausted,
            unwatchable,
            wild: rng.chance(200_000),
            jitter: if rng.chance(500_000) { rng.within(1..30_000_000) } else { 0 },
            shuffle: rng.chance(500_000),
            batch_max: if rng.chance(250_000) { 1 + rng.index(4) } else { 1024 },
            stall_max: rng.between(Duration::from_millis(1), Duration::from_secs(3)),
            leap_max: rng.between(Duration::from_secs(1), Duration::from_secs(120)),
            descriptors_max: if rng.chance(200_000) { 2 + rng.index(12) } else { usize::MAX },
        }
    }
}

/// Faults of a server with several workers.
#[derive(Clone, Copy, Debug, Default)]
pub struct WorkerFaults {
    /// Workers are killed.
    pub kills: bool,
    /// Workers and their supervisor stall.
    pub stalls: bool,
    /// For how long at most.
    pub stall_max: Duration,
    /// Time between two of these, at most.
    pub apart: Option<Duration>,
    /// A worker cannot be started. The chance, in parts of a million.
    pub unstartable: u32,
    /// Most that bytes between processes are on their way, in nanoseconds.
    pub link_latency: u64,
}

impl WorkerFaults {
    /// Draws them, for a run of that length.
    pub fn draw(rng: &mut Rng, duration: Duration) -> Self {
        Self {
            kills: rng.chance(600_000),
            stalls: rng.chance(600_000),
            stall_max: rng.between(Duration::from_millis(100), Duration::from_secs(30)),
            apart: rng.chance(900_000).then(|| rng.between(duration / 40, duration / 2)),
            unstartable: if rng.chance(300_000) { 200_000 } else { 0 },
            link_latency: rng.pick(&[2_000, 100_000, 5_000_000, 200_000_000]),
        }
    }
}

/// One rule of the simulated kernel that is wrong on purpose. A production rule is never broken: what is
/// proved is that the checks would notice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Canary {
    /// One edge in fifty is never given.
    LostEdge,
    /// `TCP_LINGER2` does nothing: closing first leaves a `TIME_WAIT`.
    Linger2IsPlain,
    /// The kernel's evidence says that the peer's kernel never answers.
    DeafEvidence,
    /// One receive in a hundred loses a byte.
    LostByte,
    /// A poll sleeps half as long again as it was asked to.
    SleepsTooLong,
    /// One close in twenty does nothing.
    LeakedDescriptor,
    /// An accept queue of several looks empty after the first.
    ForgottenQueue,
    /// A reset looks like an orderly end.
    ResetLooksLikeFin,
    /// The kernel's evidence says of a connection that a dump of the socket table has left out that it is closed.
    ClosedEvidence,
    /// A link between processes loses what was sent at once, one time in two hundred.
    LinkLoses,
    /// A link between processes brings what was sent at once behind what was sent after it, one time in twenty.
    LinkReorders,
}

impl Canary {
    /// Those that only several workers can meet.
    pub const OF_WORKERS: [Self; 2] = [Self::LinkLoses, Self::LinkReorders];

    /// All others.
    pub const ALL: [Self; 9] = [
        Self::LostEdge,
        Self::Linger2IsPlain,
        Self::DeafEvidence,
        Self::LostByte,
        Self::SleepsTooLong,
        Self::LeakedDescriptor,
        Self::ForgottenQueue,
        Self::ResetLooksLikeFin,
        Self::ClosedEvidence,
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LostEdge => "lost-edge",
            Self::Linger2IsPlain => "linger2-is-plain",
            Self::DeafEvidence => "deaf-evidence",
            Self::LostByte => "lost-byte",
            Self::SleepsTooLong => "sleeps-too-long",
            Self::LeakedDescriptor => "leaked-descriptor",
            Self::ForgottenQueue => "forgotten-queue",
            Self::ResetLooksLikeFin => "reset-looks-like-fin",
            Self::ClosedEvidence => "closed-evidence",
            Self::LinkLoses => "link-loses",
            Self::LinkReorders => "link-reorders",
        }
    }
}
