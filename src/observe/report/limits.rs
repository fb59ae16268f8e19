//! How many lines there may be in a second of each kind that a client can cause. What is left out is counted, and one
//! line a second says how many of which kind that were.

use crate::core::time::{Duration, Instant};
use log::info;
use std::fmt::Write as _;

const SECOND: Duration = Duration::from_secs(1);
/// Lines of a kind that is not about one connection, in a second. What they tell is a state, which one of them shows.
const STATES_PER_SECOND: u32 = 10;

/// Kinds of lines that a client can cause.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Opened,
    Verdict,
    ProtocolError,
    UnforeseenError,
    IdentityReplaced,
    Ended,
    AcceptStalled,
    AcceptResumed,
    QueueFills,
    AuditAnomaly,
    MemoryReclaimed,
    Pair,
    UpstreamState,
    LogInFailed,
    Refused,
}

impl Kind {
    const ALL: [Self; 15] = [
        Self::Opened,
        Self::Verdict,
        Self::ProtocolError,
        Self::UnforeseenError,
        Self::IdentityReplaced,
        Self::Ended,
        Self::AcceptStalled,
        Self::AcceptResumed,
        Self::QueueFills,
        Self::AuditAnomaly,
        Self::MemoryReclaimed,
        Self::Pair,
        Self::UpstreamState,
        Self::LogInFailed,
        Self::Refused,
    ];

    /// As its lines call it.
    const fn name(self) -> &'static str {
        match self {
            Self::Opened => "open",
            Self::Verdict => "verdict",
            Self::ProtocolError => "protocol_error",
            Self::UnforeseenError => "unforeseen_socket_error",
            Self::IdentityReplaced => "identity_replaced",
            Self::Ended => "end",
            Self::AcceptStalled => "accept_stalled",
            Self::AcceptResumed => "accept_resumed",
            Self::QueueFills => "accept_queue_fills",
            Self::AuditAnomaly => "audit_anomaly",
            Self::MemoryReclaimed => "memory_reclaimed",
            Self::Pair => "pair",
            Self::UpstreamState => "upstream_state",
            Self::LogInFailed => "log_in_failed",
            Self::Refused => "refused",
        }
    }

    /// Most lines in a second, where each kind about a connection has `per_second`.
    const fn most(self, per_second: u32) -> u32 {
        match self {
            Self::Opened
            | Self::Verdict
            | Self::ProtocolError
            | Self::UnforeseenError
            | Self::IdentityReplaced
            | Self::Ended
            | Self::LogInFailed
            | Self::Pair => per_second,
            Self::AcceptStalled
            | Self::AcceptResumed
            | Self::QueueFills
            | Self::AuditAnomaly
            | Self::MemoryReclaimed
            | Self::UpstreamState
            | Self::Refused => STATES_PER_SECOND,
        }
    }
}

/// What was written and left out of a kind in this second.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    written: u32,
    left_out: u64,
}

/// The limits of all kinds, each by itself: a flood of one hides none of another.
#[derive(Debug)]
pub(super) struct Limits {
    per_second: u32,
    second: Instant,
    counts: [Count; Kind::ALL.len()],
    /// When to say what was left out.
    summary_due: Instant,
}

impl Limits {
    pub(super) const fn new(per_second: u32) -> Self {
        let counts = [Count { written: 0, left_out: 0 }; Kind::ALL.len()];
        Self { per_second, second: Instant::ZERO, counts, summary_due: Instant::NEVER }
    }

    pub(super) const fn set_per_second(&mut self, per_second: u32) {
        self.per_second = per_second;
    }

    /// Whether a line may be written. If not, it is counted.
    pub(super) fn admit(&mut self, kind: Kind, now: Instant) -> bool {
        if now.since(self.second) >= SECOND {
            self.summarize(now);
        }
        let most = kind.most(self.per_second);
        let count = &mut self.counts[kind as usize];
        let within = count.written < most;
        if within {
            count.written += 1;
        } else {
            count.left_out += 1;
            self.summary_due = self.second + SECOND;
        }
        within
    }

    /// [`Instant::NEVER`] if nothing was left out.
    pub(super) const fn summary_due(&self) -> Instant {
        self.summary_due
    }

    /// Says what was left out, and starts the next second.
    pub(super) fn summarize(&mut self, now: Instant) {
        if self.summary_due != Instant::NEVER {
            let count: u64 = self.counts.iter().map(|count| count.left_out).sum();
            info!(
                count, events = self.left_out().as_str(),
                advice = "all are in the metrics; log.endings_per_second sets the limit of what is about connections";
                "lines_not_logged"
            );
        }
        self.counts = [Count::default(); Kind::ALL.len()];
        (self.second, self.summary_due) = (now, Instant::NEVER);
    }

    /// By kind, as `end:17,open:4`.
    fn left_out(&self) -> String {
        let mut text = String::new();
        for kind in Kind::ALL {
            let Count { left_out, .. } = self.counts[kind as usize];
            if left_out > 0 {
                let comma = if text.is_empty() { "" } else { "," };
                let _ = write!(text, "{comma}{}:{left_out}", kind.name());
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_a_limit_of_its_own_and_what_is_over_it_is_counted() {
        let mut limits = Limits::new(3);
        let now = Instant::from_millis(5_000);
        let admitted = |limits: &mut Limits, kind, now| (0..20).filter(|_| limits.admit(kind, now)).count();
        assert_eq!(limits.summary_due(), Instant::NEVER);
        assert_eq!(admitted(&mut limits, Kind::Ended, now), 3);
        assert_eq!(admitted(&mut limits, Kind::AcceptStalled, now), 10, "the setting is about connections");
        assert_eq!(admitted(&mut limits, Kind::Opened, now), 3);
        assert_eq!(limits.left_out(), "open:17,end:17,accept_stalled:10");
        assert_eq!(limits.summary_due(), now + SECOND);
        limits.summarize(now + SECOND);
        assert_eq!((limits.left_out().as_str(), limits.summary_due()), ("", Instant::NEVER));
        assert_eq!(admitted(&mut limits, Kind::Ended, now + SECOND), 3);
    }

    #[test]
    fn kinds_stand_in_their_order() {
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index, "{kind:?}");
        }
    }
}
