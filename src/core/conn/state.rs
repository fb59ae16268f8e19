//! The states of a connection in temporal order, and the one table of transitions between them.
//!
//! ```text
//! Connecting ───────┐
//!      │            ▼
//!      │ Handshaking ──▶ Open ◀──▶ Suspect
//!      │      │            │          │
//!      │      └────────────┼──────────┤
//!      │                   ▼          ▼
//!      │               PeerClosed ◀─▶ Closing
//!      │                   │          │
//!      └───────────────────┼──────────┘
//!                          ▼
//!                       Closed
//! ```
//!
//! Three rules hold everywhere: the first cause wins; the peer's FIN is waited for while waiting can still
//! spare us the TIME_WAIT; and an input that makes no sense in a state changes nothing.

use super::ending::{Ending, abort, begin_closing, close_behind_output};
use super::policy::{Closing, LastRung};
use crate::core::end::{CloseMode, Detector, Reason};
use crate::core::time::{Duration, Instant};

/// Where a connection is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// We make the connection, to an upstream server. Nothing can be sent or received yet.
    Connecting {
        /// When to give it up.
        deadline: Instant,
    },
    /// Accepted; the protocol's opening exchange is not complete.
    Handshaking,
    /// In use; the peer was heard from within its heartbeat timeout.
    Open,
    /// Silent beyond the heartbeat timeout, or its heartbeat connection died. The peer has been probed, output is
    /// withheld until the verdict, and whatever arrives before the connection ends revives it.
    Suspect {
        /// When silence becomes a verdict.
        deadline: Instant,
        /// Since when, to be compared with the peer's last ACK.
        since: Instant,
        /// What raised the suspicion.
        detector: Detector,
        /// Output that the kernel held unsent then, in bytes: it shrinks only if the peer reads.
        notsent_bytes: u32,
        /// Whether the second probe was due, and has left if the peer's kernel had not answered the first.
        probed_again: bool,
        /// The verdict, if it was reported: it ends nothing, and no other comes.
        reported: Option<Reason>,
    },
    /// The peer's FIN has been read. It may only be half-closed: we flush its output, then close.
    PeerClosed {
        /// Why the connection ends.
        cause: Cause,
        /// When that was seen.
        since: Instant,
        /// When to give up on a peer that does not take its output, or does not answer the probe.
        deadline: Instant,
        /// How long after `since` its closing began, in milliseconds: as in `Closing`, from where it may have come.
        begun_after_ms: u32,
    },
    /// We want it to end. The goodbye is said or queued; we still read, flush, and wait for the peer's FIN.
    Closing {
        /// Why the connection ends.
        cause: Cause,
        /// When that was seen.
        since: Instant,
        /// When to stop waiting: put off while queued output makes progress.
        deadline: Instant,
        /// How to close as soon as all output is gone; `None`: the peer's FIN is waited for until the deadline.
        last: Option<LastRung>,
        /// How long after `since` its closing began, in milliseconds: `linger_max` counts from then. It is later for a leg that
        /// was half-closed when its partner ended.
        begun_after_ms: u32,
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
    /// The reason that the record of the ending will have.
    pub reason: Reason,
    /// What noticed it.
    pub detector: Detector,
}

/// What can happen to a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input {
    /// The connection that we make is there.
    Connected,
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
    /// The second probe is due, and the peer has not been heard from.
    StillSilent,
    /// Silence became a verdict, which was reported and ends nothing ([`Verdict::Report`](super::policy::Verdict)).
    Reported {
        /// What it was.
        reason: Reason,
    },
    /// The peer's FIN was read.
    PeerFin {
        /// What it means, if nothing else has ended the connection before.
        reason: Reason,
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
        /// The reason that the record of the ending will have.
        reason: Reason,
        /// What decided it.
        detector: Detector,
        /// Whether the peer was told. One that was not has no reason to close first, so it is not waited for.
        notified: bool,
    },
    /// The server ends it, and the peer no longer answers.
    Abort {
        /// The reason that the record of the ending will have.
        reason: Reason,
        /// What decided it.
        detector: Detector,
        /// How to close.
        rung: LastRung,
        /// Whether output waits here that the kernel had no room for.
        output_pending: bool,
    },
    /// The other connection of the pair brings no more bytes, and FIN is forwarded behind those that it has brought.
    PartnerFin {
        /// Why the pair ends.
        cause: Cause,
        /// How long the peer has for its own FIN.
        patience: Duration,
    },
    /// The other connection of the pair is gone, or has nothing to do with this one any more.
    PartnerGone {
        /// Why the pair ends.
        cause: Cause,
        /// How to close once the peer has what the other has brought.
        rung: LastRung,
    },
    /// The pair is half-closed, and bytes still move.
    Moved {
        /// When to look again.
        until: Instant,
    },
    /// The kernel took some of the output that waited.
    Progress,
    /// The kernel has taken all output that waited. `probe`: bytes after end of file were sent, and RST is
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

impl Input {
    /// Whether it may be the doing of the peer, so that it matters whether that is an upstream server.
    pub const fn is_of_peer(&self) -> bool {
        matches!(self, Self::PeerFin { .. } | Self::Failed { .. } | Self::Abort { .. })
    }

    /// The same of a peer that is an upstream server.
    #[must_use]
    pub const fn of_upstream(self) -> Self {
        match self {
            Self::PeerFin { reason } => Self::PeerFin { reason: reason.of_upstream() },
            Self::Failed { reason, detector } => Self::Failed { reason: reason.of_upstream(), detector },
            Self::Abort { reason, detector: Detector::Partner, rung, output_pending } => {
                Self::Abort { reason, detector: Detector::Partner, rung, output_pending }
            }
            Self::Abort { reason, detector, rung, output_pending } => {
                Self::Abort { reason: reason.of_upstream(), detector, rung, output_pending }
            }
            Self::Connected
            | Self::Opened
            | Self::Heard
            | Self::Suspected { .. }
            | Self::StillSilent
            | Self::Reported { .. }
            | Self::Goodbye
            | Self::CloseGracefully { .. }
            | Self::PartnerFin { .. }
            | Self::PartnerGone { .. }
            | Self::Moved { .. }
            | Self::Progress
            | Self::Flushed { .. }
            | Self::Unclear
            | Self::Expired { .. } => self,
        }
    }
}

/// What the reactor has to do about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Nothing, or nothing new.
    None,
    /// Probe the peer; tell that it is suspect.
    Probe,
    /// Probe it once more, unless its kernel has answered.
    ProbeAgain,
    /// Tell that it is back.
    Revive {
        /// Output was withheld, and is to be sent.
        withheld: bool,
    },
    /// Send what was withheld.
    Release,
    /// Flush its output; report [`Input::Flushed`] when nothing is left.
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
    pub const NAMES: [&'static str; 7] =
        ["connecting", "handshaking", "open", "suspect", "peer_closed", "closing", "closed"];

    /// Whether output is withheld. It is sent to one whose verdict was reported: that changes nothing for it.
    pub const fn holds_output(self) -> bool {
        !self.is_reported() && matches!(self, Self::Suspect { .. })
    }

    /// Whether it is suspect, and the verdict was reported.
    pub const fn is_reported(self) -> bool {
        matches!(self, Self::Suspect { reported: Some(_), .. })
    }

    /// Since when it is suspect, if it is, and the verdict that was reported.
    pub const fn suspicion(self) -> Option<(Instant, Option<Reason>)> {
        if let Self::Suspect { since, reported, .. } = self { Some((since, reported)) } else { None }
    }

    /// Whether the connection is being made.
    pub const fn is_connecting(self) -> bool {
        matches!(self, Self::Connecting { .. })
    }

    /// The place in [`NAMES`](Self::NAMES).
    pub const fn index(self) -> usize {
        match self {
            Self::Connecting { .. } => 0,
            Self::Handshaking => 1,
            Self::Open => 2,
            Self::Suspect { .. } => 3,
            Self::PeerClosed { .. } => 4,
            Self::Closing { .. } => 5,
            Self::Closed { .. } => 6,
        }
    }

    /// The recorded cause of its ending, if it is ending.
    pub const fn cause(&self) -> Option<Cause> {
        match self {
            Self::Connecting { .. } | Self::Handshaking | Self::Open | Self::Suspect { .. } => None,
            Self::PeerClosed { cause, .. } | Self::Closing { cause, .. } | Self::Closed { cause, .. } => {
                Some(*cause)
            }
        }
    }

    /// When that cause was seen.
    pub const fn since(&self) -> Option<Instant> {
        match self {
            Self::Connecting { .. } | Self::Handshaking | Self::Open | Self::Suspect { .. } => None,
            Self::PeerClosed { since, .. } | Self::Closing { since, .. } | Self::Closed { since, .. } => {
                Some(*since)
            }
        }
    }

    /// From when the bounds of an ending count.
    pub fn begun(&self) -> Option<Instant> {
        match *self {
            Self::PeerClosed { cause, since, begun_after_ms, .. }
            | Self::Closing { cause, since, begun_after_ms, .. } => {
                Some(Ending { cause, since, begun_after_ms }.begun())
            }
            Self::Connecting { .. }
            | Self::Handshaking
            | Self::Open
            | Self::Suspect { .. }
            | Self::Closed { .. } => None,
        }
    }

    /// The transition table: what follows from `input` in this state, and what to do about it.
    #[must_use]
    pub fn on(self, input: Input, now: Instant, closing: &Closing) -> (Self, Action) {
        match (self, input) {
            (Self::Connecting { .. }, Input::Connected) | (Self::Handshaking, Input::Opened) => {
                (Self::Open, Action::None)
            }
            (Self::Connecting { .. }, _) => self.on_connecting(input, now),
            (Self::Open, Input::Suspected { detector, grace, notsent_bytes }) => {
                let deadline = now + grace;
                (
                    Self::Suspect {
                        deadline,
                        since: now,
                        detector,
                        notsent_bytes,
                        probed_again: false,
                        reported: None,
                    },
                    Action::Probe,
                )
            }
            (
                Self::Suspect {
                    deadline,
                    since,
                    detector,
                    notsent_bytes,
                    probed_again: false,
                    reported: None,
                },
                Input::StillSilent,
            ) => {
                let (probed_again, reported) = (true, None);
                let probed =
                    Self::Suspect { deadline, since, detector, notsent_bytes, probed_again, reported };
                (probed, Action::ProbeAgain)
            }
            (Self::Suspect { .. }, Input::Heard) => {
                (Self::Open, Action::Revive { withheld: self.holds_output() })
            }
            (
                Self::Suspect { deadline, since, detector, notsent_bytes, probed_again, .. },
                Input::Reported { reason },
            ) => {
                let reported = Some(reason);
                let told = Self::Suspect { deadline, since, detector, notsent_bytes, probed_again, reported };
                (told, Action::Release)
            }
            (Self::Handshaking | Self::Open | Self::Suspect { .. }, _) => {
                self.on_any_live(input, now, closing)
            }
            (Self::PeerClosed { cause, since, begun_after_ms, .. }, _) => {
                self.on_peer_closed(Ending { cause, since, begun_after_ms }, input, now, closing)
            }
            (Self::Closing { cause, since, last, begun_after_ms, .. }, _) => {
                self.on_closing(Ending { cause, since, begun_after_ms }, last, input, now, closing)
            }
            (Self::Closed { .. }, _) => (self, Action::None),
        }
    }

    /// Nobody has been told anything yet: what ends it ends it at once. A reset, in case the peer has just taken it.
    const fn on_connecting(self, input: Input, now: Instant) -> (Self, Action) {
        let cause = match input {
            Input::Failed { reason, detector }
            | Input::CloseGracefully { reason, detector, .. }
            | Input::Abort { reason, detector, .. } => Cause { reason, detector },
            Input::PartnerGone { cause, .. } => cause,
            Input::Connected
            | Input::Opened
            | Input::Heard
            | Input::Suspected { .. }
            | Input::StillSilent
            | Input::Reported { .. }
            | Input::PeerFin { .. }
            | Input::Goodbye
            | Input::PartnerFin { .. }
            | Input::Moved { .. }
            | Input::Progress
            | Input::Flushed { .. }
            | Input::Unclear
            | Input::Expired { .. } => return (self, Action::None),
        };
        (Self::Closed { cause, since: now }, Action::Close(CloseMode::Reset))
    }

    /// What Handshaking, Open and Suspect have in common: no cause is recorded yet, so what comes is one.
    fn on_any_live(self, input: Input, now: Instant, closing: &Closing) -> (Self, Action) {
        match input {
            Input::PeerFin { reason } => {
                let cause = Cause { reason, detector: Detector::ZeroRead };
                let deadline = now + closing.linger;
                (Self::PeerClosed { cause, since: now, deadline, begun_after_ms: 0 }, Action::Flush)
            }
            Input::Failed { reason, detector } => {
                let cause = Cause { reason, detector };
                (Self::Closed { cause, since: now }, Action::Close(CloseMode::Reset))
            }
            Input::Goodbye => {
                let cause = Cause { reason: Reason::PeerGoodbye, detector: Detector::Protocol };
                begin_closing(cause, true, now, closing)
            }
            Input::CloseGracefully { reason, detector, notified } => {
                begin_closing(Cause { reason, detector }, notified, now, closing)
            }
            Input::Abort { reason, detector, rung, output_pending } => {
                abort(Cause { reason, detector }, rung, output_pending, now, closing)
            }
            Input::PartnerFin { cause, patience } => {
                let deadline = now + patience;
                (Self::Closing { cause, since: now, deadline, last: None, begun_after_ms: 0 }, Action::Flush)
            }
            Input::PartnerGone { cause, rung } => close_behind_output(cause, now, rung, now, closing),
            Input::Connected
            | Input::Opened
            | Input::Heard
            | Input::Suspected { .. }
            | Input::StillSilent
            | Input::Reported { .. }
            | Input::Moved { .. }
            | Input::Progress
            | Input::Flushed { .. }
            | Input::Unclear
            | Input::Expired { .. } => (self, Action::None),
        }
    }
}
