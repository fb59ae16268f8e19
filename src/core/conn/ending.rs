//! How a connection ends once a cause is recorded: what happens in `PeerClosed` and in `Closing`, and how they are entered. The
//! states, and the table that leads here, are in [`state`](super::state).

use super::policy::{Closing, LastRung};
use super::state::{Action, Cause, Input, State};
use crate::core::end::{CloseMode, Detector, Reason};
use crate::core::time::{Duration, Instant};

/// How long we wait for the FIN of a client that has said goodbye itself and has all its output; its own end of file
/// then comes from us. Some round trips, and not long for a person who typed `QUIT`.
const AFTER_GOODBYE: Duration = Duration::from_millis(500);

/// How long until we look again whether the kernel's output is acknowledged: about as long as a retransmission.
const UNTIL_CLEAR: Duration = Duration::from_millis(500);

/// The same where a reset, or the answer to a peer that goes on sending, must not overtake what it is still to read.
const UNTIL_DELIVERED: Duration = Duration::from_millis(20);

/// What was recorded when a connection began to end, and does not change any more.
#[derive(Clone, Copy)]
pub(super) struct Ending {
    pub(super) cause: Cause,
    pub(super) since: Instant,
    /// As in [`State::Closing`].
    pub(super) begun_after_ms: u32,
}

impl Ending {
    const fn closed(self, how: CloseMode) -> (State, Action) {
        (State::Closed { cause: self.cause, since: self.since }, Action::Close(how))
    }

    /// From when `linger_max` counts.
    pub(super) fn begun(self) -> Instant {
        self.since + Duration::from_millis(self.begun_after_ms.into())
    }

    const fn peer_closed(self, deadline: Instant) -> State {
        let Self { cause, since, begun_after_ms } = self;
        State::PeerClosed { cause, since, deadline, begun_after_ms }
    }

    /// Progress puts the deadline off, but not for ever: a peer that takes a byte a minute must not stay.
    fn extended(self, now: Instant, closing: &Closing) -> Instant {
        (now + closing.linger).min(self.begun() + closing.linger_max)
    }
}

impl State {
    /// The peer's FIN is here. Only the delivery of its output is still open.
    pub(super) fn on_peer_closed(
        self,
        end: Ending,
        input: Input,
        now: Instant,
        closing: &Closing,
    ) -> (Self, Action) {
        match input {
            // Everything is delivered; or no output waits, and the probe was not answered by RST: the peer is
            // only half-closed.
            Input::Flushed { probe: false } | Input::Expired { output_pending: false } => {
                end.closed(peer_first(end.cause.reason))
            }
            // The answer to the probe has no time of its own beyond `linger_max`: one that is told of the same
            // flush again and again must still come to an end.
            Input::Progress | Input::Flushed { probe: true } => {
                (end.peer_closed(end.extended(now, closing).max(self.deadline_or(now))), Action::None)
            }
            // A reset that answers the probe is what the probe is for; the reactor reports it as such.
            Input::Failed { detector: Detector::EofProbe, .. } => {
                let cause = Cause { detector: Detector::EofProbe, ..end.cause };
                Ending { cause, ..end }.closed(CloseMode::ProbeReset)
            }
            // A bare FIN is no more than half of a cause: the reset says that our output was not wanted. Another
            // failure, such as a window that stays shut, only tells that it did not get there. That a stream of TLS
            // was cut is a whole cause, and not to be lost by what follows it.
            Input::Failed { reason: Reason::PeerReset | Reason::PeerResetAfterFin, detector }
                if is_bare_fin(end.cause.reason) =>
            {
                let cause = Cause { reason: Reason::PeerResetAfterFin, detector };
                Ending { cause, ..end }.closed(CloseMode::Reset)
            }
            Input::Failed { .. } => end.closed(CloseMode::Reset),
            // Output that is still ours at the deadline made no progress: the peer will not read it.
            Input::Expired { output_pending: true } => end.closed(closing.unreachable.into()),
            Input::Abort { rung, .. } => end.closed(rung.into()),
            // The reset is handed on, behind what the peer still waits for.
            Input::PartnerGone { rung: LastRung::Reset, .. } => {
                close_behind_output(end.cause, end.since, LastRung::Reset, now, closing)
            }
            Input::PartnerFin { .. } | Input::PartnerGone { rung: LastRung::Linger2, .. } => {
                (self, Action::Flush)
            }
            Input::Moved { until } => (self.not_before(until), Action::None),
            Input::Connected
            | Input::Opened
            | Input::Heard
            | Input::Suspected { .. }
            | Input::StillSilent
            | Input::Reported { .. }
            | Input::PeerFin { .. }
            | Input::Goodbye
            | Input::Unclear
            | Input::CloseGracefully { .. } => (self, Action::None),
        }
    }

    /// We want to end, and would like the peer to close first; or, with a `last` rung, not to wait for that.
    pub(super) fn on_closing(
        self,
        end: Ending,
        last: Option<LastRung>,
        input: Input,
        now: Instant,
        closing: &Closing,
    ) -> (Self, Action) {
        match input {
            Input::PartnerGone { rung, .. } if last.is_none() => {
                close_behind_output(end.cause, end.since, rung, now, closing)
            }
            Input::Moved { until } => (self.not_before(until), Action::None),
            // Its end of file must not look like the end of what was cut off.
            Input::PeerFin { .. } if last == Some(LastRung::Reset) => (self, Action::None),
            Input::PeerFin { .. } => {
                (end.peer_closed(end.extended(now, closing).max(self.deadline_or(now))), Action::Flush)
            }
            Input::Progress => (self.not_before(end.extended(now, closing)), Action::None),
            // It has said goodbye and has its answer: most close on that, and who waits for our end of file, as
            // others give it at once, need not wait long.
            Input::Flushed { .. } if has_said_all(end.cause) => (self.by(now + AFTER_GOODBYE), Action::None),
            // Closed now, it might be left to retransmit to nobody.
            Input::Unclear if now < end.begun() + closing.linger_max => {
                let latest = end.begun() + closing.linger_max;
                let longer = now.since(end.begun()) / 2;
                let state = match last {
                    // Nothing else is waited for.
                    Some(_) => self.due_at((now + longer.clamp(UNTIL_DELIVERED, UNTIL_CLEAR)).min(latest)),
                    None => self.not_before((now + UNTIL_CLEAR).min(latest)),
                };
                (state, Action::None)
            }
            Input::Expired { output_pending: false } | Input::Unclear => {
                end.closed(last.map_or(CloseMode::Linger2, CloseMode::from))
            }
            Input::Failed { .. } => end.closed(CloseMode::Reset),
            // Output that is still ours at the deadline made no progress: the peer will not read it.
            Input::Expired { output_pending: true } => end.closed(closing.unreachable.into()),
            Input::Abort { rung, .. } => end.closed(rung.into()),
            Input::Connected
            | Input::Opened
            | Input::Heard
            | Input::Suspected { .. }
            | Input::StillSilent
            | Input::Reported { .. }
            | Input::Goodbye
            | Input::CloseGracefully { .. }
            | Input::PartnerFin { .. }
            | Input::PartnerGone { .. }
            | Input::Flushed { .. } => (self, Action::None),
        }
    }
}

impl State {
    /// The deadline of an ending.
    fn deadline_or(self, now: Instant) -> Instant {
        match self {
            Self::PeerClosed { deadline, .. } | Self::Closing { deadline, .. } => deadline,
            Self::Connecting { .. }
            | Self::Handshaking
            | Self::Open
            | Self::Suspect { .. }
            | Self::Closed { .. } => now,
        }
    }

    /// The same, with a deadline no earlier than `earliest`.
    fn not_before(mut self, earliest: Instant) -> Self {
        if let Self::PeerClosed { deadline, .. } | Self::Closing { deadline, .. } = &mut self {
            *deadline = earliest.max(*deadline);
        }
        self
    }

    /// The same, with a deadline no later than `latest`.
    fn by(self, latest: Instant) -> Self {
        self.due_at(latest.min(self.deadline_or(latest)))
    }

    /// The same, with that deadline.
    fn due_at(mut self, at: Instant) -> Self {
        if let Self::Closing { deadline, .. } = &mut self {
            *deadline = at;
        }
        self
    }
}

/// Enters Closing. A peer that was told nothing has no reason to close first: its deadline is now, and
/// moves only while output is under way.
pub(super) fn begin_closing(
    cause: Cause,
    notified: bool,
    now: Instant,
    closing: &Closing,
) -> (State, Action) {
    // Who finds no place has time to read that and close, and no more: its descriptor is set aside for others like it.
    let full = cause.reason == Reason::LocalLimit;
    let patience = if full { closing.linger.min(AFTER_GOODBYE) } else { closing.linger };
    let deadline = if notified { now + patience } else { now };
    (State::Closing { cause, since: now, deadline, last: None, begun_after_ms: 0 }, Action::Flush)
}

/// Enters Closing, to close as soon as the peer has what is left for it.
pub(super) fn close_behind_output(
    cause: Cause,
    since: Instant,
    rung: LastRung,
    now: Instant,
    closing: &Closing,
) -> (State, Action) {
    // A half-closed leg may have lived for hours since: for 49.7 days at most, as far as this is counted.
    let begun_after_ms = u32::try_from(now.since(since).as_millis()).unwrap_or(u32::MAX);
    let deadline = now + closing.linger;
    (State::Closing { cause, since, deadline, last: Some(rung), begun_after_ms }, Action::Flush)
}

/// Closes at once, unless the rung promises delivery of what we still hold.
pub(super) fn abort(
    cause: Cause,
    rung: LastRung,
    output_pending: bool,
    now: Instant,
    closing: &Closing,
) -> (State, Action) {
    match rung {
        LastRung::Linger2 if output_pending => begin_closing(cause, true, now, closing),
        LastRung::Linger2 | LastRung::Reset => {
            (State::Closed { cause, since: now }, Action::Close(rung.into()))
        }
    }
}

/// Whether the peer has said goodbye, or the layer below its protocol that nothing follows.
const fn has_said_all(cause: Cause) -> bool {
    let last_word = matches!(cause.detector, Detector::Protocol) && is_bare_fin(cause.reason);
    last_word || matches!(cause.reason, Reason::PeerGoodbye)
}

/// Whether the peer's FIN is all that is known of why it leaves.
const fn is_bare_fin(reason: Reason) -> bool {
    matches!(reason, Reason::PeerFin | Reason::PeerFinMidframe | Reason::UpstreamFin)
}

const fn is_fin(reason: Reason) -> bool {
    is_bare_fin(reason) || matches!(reason, Reason::PeerTruncated | Reason::UpstreamTruncated)
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

#[cfg(test)]
mod tests {
    use super::*;

    const SINCE: Instant = Instant::from_nanos(1);
    const CAUSE: Cause = Cause { reason: Reason::UpstreamFin, detector: Detector::Partner };
    const CLOSING: Closing = Closing {
        linger: Duration::from_secs(5),
        linger_max: Duration::from_secs(60),
        linger2: true,
        frozen: LastRung::Linger2,
        unreachable: LastRung::Reset,
    };

    #[test]
    fn where_only_the_delivery_is_left_it_is_looked_at_soon_and_then_less_often() {
        let last = Some(LastRung::Linger2);
        let closing =
            |deadline| State::Closing { cause: CAUSE, since: SINCE, deadline, last, begun_after_ms: 0 };
        for (after, wait) in [(1, 20), (100, 50), (5000, 500)] {
            let now = SINCE + Duration::from_millis(after);
            let before = closing(SINCE + CLOSING.linger);
            let next = closing(now + Duration::from_millis(wait));
            assert_eq!(before.on(Input::Unclear, now, &CLOSING), (next, Action::None));
        }
        let (_, action) = closing(SINCE).on(Input::Unclear, SINCE + CLOSING.linger_max, &CLOSING);
        assert_eq!(action, Action::Close(CloseMode::Linger2));
    }

    #[test]
    fn what_is_left_for_a_leg_that_was_half_closed_for_long_has_the_whole_time() {
        let deadline = SINCE + CLOSING.linger;
        let half_closed =
            State::Closing { cause: CAUSE, since: SINCE, deadline, last: None, begun_after_ms: 0 };
        let later = SINCE + CLOSING.linger_max * 3;
        let (soon, late) = (later + CLOSING.linger / 2, later + CLOSING.linger_max);
        for (from, rung) in [
            (State::PeerClosed { cause: CAUSE, since: SINCE, deadline, begun_after_ms: 0 }, LastRung::Reset),
            (half_closed, LastRung::Reset),
            (half_closed, LastRung::Linger2),
        ] {
            let (state, action) = from.on(Input::PartnerGone { cause: CAUSE, rung }, later, &CLOSING);
            assert_eq!(
                (action, state.since()),
                (Action::Flush, Some(SINCE)),
                "the cause is as old as it was"
            );
            assert_eq!(state.begun(), Some(later));
            let (moved, _) = state.on(Input::Progress, soon, &CLOSING);
            assert_eq!(moved.deadline_or(SINCE), soon + CLOSING.linger);
            // Its FIN changes nothing of that, where it counts.
            let (gone, _) = moved.on(Input::PeerFin { reason: Reason::PeerFin }, soon, &CLOSING);
            for state in [moved, gone] {
                let (moved, _) = state.on(Input::Progress, late, &CLOSING);
                assert_eq!(moved.deadline_or(SINCE), late, "but not for ever");
            }
            let (_, action) = state.on(Input::Unclear, soon, &CLOSING);
            assert_eq!(action, Action::None);
            let (_, action) = state.on(Input::Unclear, late, &CLOSING);
            assert_eq!(action, Action::Close(rung.into()));
        }
    }
}
