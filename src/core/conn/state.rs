//! The states of a connection in temporal order, and the one table of transitions between them.
//!
//! ```text
//! Handshaking ──▶ Open ◀──▶ Suspect
//!      │            │          │
//!      └────────────┼──────────┤
//!                   ▼          ▼
//!               PeerClosed ◀─ Parting
//!                   │          │
//!                   └────┬─────┘
//!                        ▼
//!                     Closed
//! ```
//!
//! Three rules hold everywhere: the first cause wins; the peer's FIN is waited for while waiting can still
//! spare us the TIME_WAIT; and an input that makes no sense in a state changes nothing.

use super::policy::{LastRung, Parting};
use crate::core::end::{CloseMode, Detector, Reason};
use crate::core::time::{Duration, Instant};

/// How long we wait for the FIN of a client that has said goodbye itself and is owed nothing; its own end of file
/// then comes from us. Some round trips, and not long for a person who typed `QUIT`.
const AFTER_GOODBYE: Duration = Duration::from_millis(500);

/// How long until we look again whether the kernel's output is acknowledged: about as long as a retransmission.
const UNTIL_CLEAR: Duration = Duration::from_millis(500);

/// Where a connection is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Accepted; the protocol's opening exchange is not complete.
    Handshaking,
    /// In use; the peer was heard from within its heartbeat timeout.
    Open,
    /// Silent beyond the heartbeat timeout, or its heartbeat connection died. Output is withheld, the peer
    /// has been probed once, and whatever arrives before the deadline revives it.
    Suspect {
        /// When silence becomes a verdict.
        deadline: Instant,
        /// Since when, to be compared with the peer's last ACK.
        since: Instant,
        /// What raised the suspicion.
        detector: Detector,
        /// Output that the kernel held unsent then, in bytes: it shrinks only if the peer reads.
        notsent_bytes: u32,
    },
    /// The peer's FIN has been read. It may only be half-closed: we flush what we owe, then close.
    PeerClosed {
        /// Why the connection ends.
        cause: Cause,
        /// When that was seen.
        since: Instant,
        /// When to give up on a peer that does not take what we owe it, or does not answer the probe.
        deadline: Instant,
    },
    /// We want it to end. The goodbye is said or queued; we still read, flush, and wait for the peer's FIN.
    Parting {
        /// Why the connection ends.
        cause: Cause,
        /// When that was seen.
        since: Instant,
        /// When to stop waiting: put off while queued output makes progress.
        deadline: Instant,
    },
    /// Over: the socket is closed and the End published. Nothing changes any more.
    Closed {
        /// Why it ended.
        cause: Cause,
        /// When that was seen.
        since: Instant,
    },
}

// A hundred thousand of these lie in a table.
const _: () = assert!(size_of::<State>() == 24);

/// The first cause of an ending.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cause {
    /// Why.
    pub reason: Reason,
    /// What noticed it.
    pub detector: Detector,
}

/// What can happen to a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input {
    /// The protocol's opening exchange is complete.
    Opened,
    /// Something arrived from the peer, or from its heartbeat connection.
    Heard,
    /// Silence passed the heartbeat timeout, or the heartbeat connection died.
    Suspected {
        /// Which of the two.
        detector: Detector,
        /// How long the peer has to be heard from again.
        grace: Duration,
        /// Output that the kernel holds unsent, in bytes.
        notsent_bytes: u32,
    },
    /// The peer's FIN was read.
    PeerFin {
        /// In the middle of a frame.
        midframe: bool,
    },
    /// The socket failed.
    Failed {
        /// What it means.
        reason: Reason,
        /// Where it was seen.
        detector: Detector,
    },
    /// The peer said goodbye in the protocol.
    Goodbye,
    /// The server ends it, and can tell the peer.
    CloseGracefully {
        /// Why.
        reason: Reason,
        /// What decided it.
        detector: Detector,
        /// Whether the peer was told. One that was not has no reason to close first, so it is not waited for.
        notified: bool,
    },
    /// The server ends it, and the peer no longer answers.
    Abort {
        /// Why.
        reason: Reason,
        /// What decided it.
        detector: Detector,
        /// How to close.
        rung: LastRung,
        /// Whether output waits here that the kernel had no room for.
        output_pending: bool,
    },
    /// The kernel took some of the output we owed.
    Progress,
    /// The kernel has taken all output we owed. `probe`: bytes after end of file were sent, and RST is
    /// awaited as their answer.
    Flushed {
        /// Whether to wait for the answer to a probe.
        probe: bool,
    },
    /// The kernel holds output of which nobody can tell yet whether it will be acknowledged.
    Unclear,
    /// The state's own deadline has passed.
    Expired {
        /// Whether output waits here that the kernel had no room for.
        output_pending: bool,
    },
}

/// What the reactor has to do about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Nothing, or nothing new.
    None,
    /// Probe the peer once; tell that it is suspect.
    Probe,
    /// Send what was withheld; tell that it is back.
    Revive,
    /// Flush what we owe; report [`Input::Flushed`] when nothing is left.
    Flush,
    /// Close the socket and publish the End.
    Close(CloseMode),
}

impl State {
    /// The name in log lines, metrics and JSON.
    pub const fn name(self) -> &'static str {
        Self::NAMES[self.index()]
    }

    /// All names, in temporal order.
    pub const NAMES: [&'static str; 6] =
        ["handshaking", "open", "suspect", "peer_closed", "parting", "closed"];

    /// The place in [`NAMES`](Self::NAMES).
    pub const fn index(self) -> usize {
        match self {
            Self::Handshaking => 0,
            Self::Open => 1,
            Self::Suspect { .. } => 2,
            Self::PeerClosed { .. } => 3,
            Self::Parting { .. } => 4,
            Self::Closed { .. } => 5,
        }
    }

    /// The recorded cause of its ending, if it is ending.
    pub const fn cause(&self) -> Option<Cause> {
        match self {
            Self::Handshaking | Self::Open | Self::Suspect { .. } => None,
            Self::PeerClosed { cause, .. } | Self::Parting { cause, .. } | Self::Closed { cause, .. } => {
                Some(*cause)
            }
        }
    }

    /// When that cause was seen.
    pub const fn since(&self) -> Option<Instant> {
        match self {
            Self::Handshaking | Self::Open | Self::Suspect { .. } => None,
            Self::PeerClosed { since, .. } | Self::Parting { since, .. } | Self::Closed { since, .. } => {
                Some(*since)
            }
        }
    }

    /// The transition table: what follows from `input` in this state, and what to do about it.
    #[must_use]
    pub fn on(self, input: Input, now: Instant, parting: &Parting) -> (Self, Action) {
        match (self, input) {
            (Self::Handshaking, Input::Opened) => (Self::Open, Action::None),
            (Self::Open, Input::Suspected { detector, grace, notsent_bytes }) => {
                let deadline = now + grace;
                (Self::Suspect { deadline, since: now, detector, notsent_bytes }, Action::Probe)
            }
            (Self::Suspect { .. }, Input::Heard) => (Self::Open, Action::Revive),
            (Self::Handshaking | Self::Open | Self::Suspect { .. }, _) => {
                self.on_any_live(input, now, parting)
            }
            (Self::PeerClosed { cause, since, .. }, _) => {
                self.on_peer_closed(Ending { cause, since }, input, now, parting)
            }
            (Self::Parting { cause, since, .. }, _) => {
                self.on_parting(Ending { cause, since }, input, now, parting)
            }
            (Self::Closed { .. }, _) => (self, Action::None),
        }
    }

    /// What Handshaking, Open and Suspect have in common: no cause is recorded yet, so what comes is one.
    fn on_any_live(self, input: Input, now: Instant, parting: &Parting) -> (Self, Action) {
        match input {
            Input::PeerFin { midframe } => {
                let reason = if midframe { Reason::PeerFinMidframe } else { Reason::PeerFin };
                let cause = Cause { reason, detector: Detector::ZeroRead };
                (Self::PeerClosed { cause, since: now, deadline: now + parting.linger }, Action::Flush)
            }
            Input::Failed { reason, detector } => {
                let cause = Cause { reason, detector };
                (Self::Closed { cause, since: now }, Action::Close(CloseMode::Reset))
            }
            Input::Goodbye => {
                let cause = Cause { reason: Reason::PeerGoodbye, detector: Detector::Protocol };
                begin_parting(cause, true, now, parting)
            }
            Input::CloseGracefully { reason, detector, notified } => {
                begin_parting(Cause { reason, detector }, notified, now, parting)
            }
            Input::Abort { reason, detector, rung, output_pending } => {
                abort(Cause { reason, detector }, rung, output_pending, now, parting)
            }
            Input::Opened
            | Input::Heard
            | Input::Suspected { .. }
            | Input::Progress
            | Input::Flushed { .. }
            | Input::Unclear
            | Input::Expired { .. } => (self, Action::None),
        }
    }
}

/// What was recorded when a connection began to end, and does not change any more.
#[derive(Clone, Copy)]
struct Ending {
    cause: Cause,
    since: Instant,
}

impl Ending {
    const fn closed(self, how: CloseMode) -> (State, Action) {
        (State::Closed { cause: self.cause, since: self.since }, Action::Close(how))
    }

    const fn peer_closed(self, deadline: Instant) -> State {
        State::PeerClosed { cause: self.cause, since: self.since, deadline }
    }

    /// Progress puts the deadline off, but not for ever: a peer that takes a byte a minute must not stay.
    fn extended(self, now: Instant, parting: &Parting) -> Instant {
        (now + parting.linger).min(self.since + parting.linger_max)
    }
}

impl State {
    /// The peer's FIN is here. Only the delivery of what we owe is still open.
    fn on_peer_closed(self, end: Ending, input: Input, now: Instant, parting: &Parting) -> (Self, Action) {
        match input {
            // Everything is delivered; or nothing is owed, and the probe was not answered by RST: the peer is
            // only half-closed.
            Input::Flushed { probe: false } | Input::Expired { output_pending: false } => {
                end.closed(peer_first(end.cause.reason))
            }
            // The answer to the probe has no time of its own beyond `linger_max`: whoever is told of the same
            // flush again and again must still come to an end.
            Input::Progress | Input::Flushed { probe: true } => {
                (end.peer_closed(end.extended(now, parting).max(self.deadline_or(now))), Action::None)
            }
            // A reset that answers the probe is what the probe is for; the reactor reports it as such.
            Input::Failed { detector: Detector::EofProbe, .. } => {
                let cause = Cause { detector: Detector::EofProbe, ..end.cause };
                Ending { cause, ..end }.closed(CloseMode::ProbeReset)
            }
            // A bare FIN is no more than half of a cause: the reset tells that what we owed was not wanted. Another
            // failure, such as a window that stays shut, only tells that it did not get there.
            Input::Failed { reason: Reason::PeerReset | Reason::PeerResetAfterFin, detector }
                if is_fin(end.cause.reason) =>
            {
                let cause = Cause { reason: Reason::PeerResetAfterFin, detector };
                Ending { cause, ..end }.closed(CloseMode::Reset)
            }
            Input::Failed { .. } => end.closed(CloseMode::Reset),
            // Output that is still ours at the deadline made no progress: the peer will not read it.
            Input::Expired { output_pending: true } => end.closed(parting.unreachable.into()),
            Input::Abort { rung, .. } => end.closed(rung.into()),
            Input::Opened
            | Input::Heard
            | Input::Suspected { .. }
            | Input::PeerFin { .. }
            | Input::Goodbye
            | Input::Unclear
            | Input::CloseGracefully { .. } => (self, Action::None),
        }
    }

    /// We want to end, and would like the peer to close first.
    fn on_parting(self, end: Ending, input: Input, now: Instant, parting: &Parting) -> (Self, Action) {
        match input {
            Input::PeerFin { .. } => {
                (end.peer_closed(end.extended(now, parting).max(self.deadline_or(now))), Action::Flush)
            }
            Input::Progress => (self.not_before(end.extended(now, parting)), Action::None),
            // It has said goodbye and has its answer: most close on that, and who waits for our end of file, as
            // others give it at once, need not wait long.
            Input::Flushed { .. } if end.cause.reason == Reason::PeerGoodbye => {
                (self.by(now + AFTER_GOODBYE), Action::None)
            }
            // Closed now, it might be left to retransmit to nobody.
            Input::Unclear if now < end.since + parting.linger_max => {
                let again = (now + UNTIL_CLEAR).min(end.since + parting.linger_max);
                (self.not_before(again), Action::None)
            }
            Input::Expired { output_pending: false } | Input::Unclear => end.closed(CloseMode::Linger2),
            Input::Failed { .. } => end.closed(CloseMode::Reset),
            // Output that is still ours at the deadline made no progress: the peer will not read it.
            Input::Expired { output_pending: true } => end.closed(parting.unreachable.into()),
            Input::Abort { rung, .. } => end.closed(rung.into()),
            Input::Opened
            | Input::Heard
            | Input::Suspected { .. }
            | Input::Goodbye
            | Input::CloseGracefully { .. }
            | Input::Flushed { .. } => (self, Action::None),
        }
    }
}

impl State {
    /// The deadline of an ending.
    fn deadline_or(self, now: Instant) -> Instant {
        match self {
            Self::PeerClosed { deadline, .. } | Self::Parting { deadline, .. } => deadline,
            Self::Handshaking | Self::Open | Self::Suspect { .. } | Self::Closed { .. } => now,
        }
    }

    /// The same, with a deadline no earlier than `earliest`.
    fn not_before(mut self, earliest: Instant) -> Self {
        if let Self::Parting { deadline, .. } = &mut self {
            *deadline = earliest.max(*deadline);
        }
        self
    }

    /// The same, with a deadline no later than `latest`.
    fn by(mut self, latest: Instant) -> Self {
        if let Self::Parting { deadline, .. } = &mut self {
            *deadline = latest.min(*deadline);
        }
        self
    }
}

/// Enters Parting. A peer that was told nothing has no reason to close first: its deadline is now, and
/// moves only while output is under way.
fn begin_parting(cause: Cause, notified: bool, now: Instant, parting: &Parting) -> (State, Action) {
    // Who finds no place has time to read that and close, and no more: its descriptor is set aside for others like it.
    let full = cause.reason == Reason::LocalLimit;
    let patience = if full { parting.linger.min(AFTER_GOODBYE) } else { parting.linger };
    let deadline = if notified { now + patience } else { now };
    (State::Parting { cause, since: now, deadline }, Action::Flush)
}

/// Closes at once, unless the rung promises delivery of what we still hold.
fn abort(
    cause: Cause,
    rung: LastRung,
    output_pending: bool,
    now: Instant,
    parting: &Parting,
) -> (State, Action) {
    match rung {
        LastRung::Linger2 if output_pending => begin_parting(cause, true, now, parting),
        LastRung::Linger2 | LastRung::Reset => {
            (State::Closed { cause, since: now }, Action::Close(rung.into()))
        }
    }
}

const fn is_fin(reason: Reason) -> bool {
    matches!(reason, Reason::PeerFin | Reason::PeerFinMidframe)
}

const fn peer_first(reason: Reason) -> CloseMode {
    if is_fin(reason) { CloseMode::PeerFirst } else { CloseMode::PeerFirstAfterGoodbye }
}

impl From<LastRung> for CloseMode {
    fn from(rung: LastRung) -> Self {
        match rung {
            LastRung::Linger2 => Self::Linger2,
            LastRung::Reset => Self::Reset,
        }
    }
}
