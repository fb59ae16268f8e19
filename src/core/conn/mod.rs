//! One connection's life, pure: no fd, no clock, no bytes. The reactor tells it what happened and when
//! ([`Life::on`]), and it answers what to do; [`liveness`] says which of its deadlines comes next.
//!
//! Read [`state`] first (the states in temporal order and the transition table; `ending` has those that lead to the end), then [`liveness`] (silence,
//! suspicion, verdicts), [`delivery`] (whether anybody takes our last words), then [`policy`] (what a listener
//! can ask for).

pub mod delivery;
mod ending;
pub mod liveness;
pub mod policy;
pub mod state;
#[cfg(test)]
mod tests;

use crate::core::end::{CloseMode, Detector, End, Reason};
use crate::core::tcp::TcpSnapshot;
use crate::core::time::{Instant, Span};
use policy::Closing;
pub use state::{Action, Cause, Input, State};

/// What is remembered of one connection's life. Kept small: a hundred thousand of them lie in a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Life {
    state: State,
    accepted: Instant,
    heard: Instant,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes that the kernel took for sending.
    pub bytes_out: u64,
}

impl Life {
    /// A connection accepted at `now`, or begun to be made.
    pub const fn new(state: State, now: Instant) -> Self {
        Self { state, accepted: now, heard: now, bytes_in: 0, bytes_out: 0 }
    }

    /// Where in its life it is.
    pub const fn state(&self) -> State {
        self.state
    }

    /// Whether it is in use, and its peer is neither suspect nor leaving.
    #[inline]
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// The recorded cause of its ending, if it is ending.
    #[inline]
    pub const fn cause(&self) -> Option<Cause> {
        self.state.cause()
    }

    /// When it was accepted, or began to be made.
    pub const fn accepted(&self) -> Instant {
        self.accepted
    }

    /// When the peer was last heard from. It no longer changes once a cause of ending is recorded, so that the End
    /// tells how long the silence was when it was noticed.
    pub const fn heard(&self) -> Instant {
        self.heard
    }

    /// Notes that the peer was heard from. True: that is more than a time, and [`Input::Heard`] has to be told.
    ///
    /// This is on the path of every receive, so it is a store and a comparison and no more.
    #[must_use = "a suspect connection must be revived"]
    #[inline]
    pub fn mark_alive(&mut self, now: Instant) -> bool {
        match self.state {
            State::Connecting { .. } | State::Handshaking | State::Open => {
                self.heard = now;
                false
            }
            State::Suspect { .. } => {
                self.heard = now;
                true
            }
            State::PeerClosed { .. } | State::Closing { .. } | State::Closed { .. } => false,
        }
    }

    /// Tells what happened; answers what to do. See the table in [`state`].
    pub fn on(&mut self, input: Input, now: Instant, closing: &Closing) -> Action {
        let (next, action) = self.state.on(input, now, closing);
        self.state = next;
        action
    }

    /// The record of its end, which [`Action::Close`] asked for.
    ///
    /// # Panics
    /// If no cause was recorded: the state machine closes nothing without one.
    pub fn end(&self, close: CloseMode, now: Instant, evidence: Option<TcpSnapshot>) -> End {
        let cause = self.state.cause().expect("a connection closes for a recorded cause");
        let since = self.state.since().unwrap_or(now);
        End {
            silence: Span::between(self.heard, since),
            age: Span::between(self.accepted, now),
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            evidence,
            ..End::new(cause.reason, cause.detector, close)
        }
    }
}

/// What ETIMEDOUT meant, from the kernel's evidence: one `TCP_INFO` after death still tells, but for `unacked`,
/// which is 0 once the write queue has been emptied (`tests/kernel/liveness_netns.rs`).
pub fn explain_timeout(evidence: Option<TcpSnapshot>) -> (Reason, Detector) {
    let Some(e) = evidence else { return (Reason::LostKeepalive, Detector::TcpKeepalive) };
    let shut = e.snd_wnd == 0 || e.notsent_bytes > 0;
    match e {
        // Output waited, nothing was on its way, and no probe of the window went unanswered. The window need
        // not be 0: less than a segment is as shut (RFC 9293 3.8.6.2.1).
        TcpSnapshot { retransmits: 0, probes: 0, .. } if shut => {
            (Reason::StuckZeroWindow, Detector::UserTimeout)
        }
        TcpSnapshot { retransmits: 0, unacked: 0, notsent_bytes: 0, .. } => {
            (Reason::LostKeepalive, Detector::TcpKeepalive)
        }
        TcpSnapshot { .. } => (Reason::LostUnacked, Detector::UserTimeout),
    }
}
