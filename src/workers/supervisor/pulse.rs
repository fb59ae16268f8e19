//! Whether a worker moves: it is asked for a sign when nothing was heard from it for a while, and its loop answers. One
//! that does not answer stalls: it is stopped, held by a debugger, or busy with something that does not end. Pure.
//!
//! A supervisor that has stalled itself has not listened meanwhile, and condemns nobody for that: the count begins
//! anew ([`restart`](Pulse::restart)).

use crate::core::time::{Duration, Instant};

/// When a worker is asked, after it was last heard from.
pub(super) const ASKED_AFTER: Duration = Duration::from_secs(1);
/// How long it may take to answer: far longer than a turn of it lasts.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// The signs of life of one worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pulse {
    heard: Instant,
    state: State,
}

/// What is known of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// It was heard from.
    Heard,
    /// It was asked, and may still answer.
    Asked { at: Instant },
    /// It has not answered.
    Stalled { since: Instant },
    /// It has not answered for too long, and is being ended.
    Over,
}

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Nothing now.
    Wait,
    /// Ask it for a sign.
    Ask,
    /// It stalls, since then.
    Stalled(Instant),
    /// It has stalled for as long as that is borne with, since then: end it.
    End(Instant),
}

impl Pulse {
    /// Of a worker that was heard from now.
    pub(super) const fn new(now: Instant) -> Self {
        Self { heard: now, state: State::Heard }
    }

    /// It was heard from. Gives since when it had stalled, if that is over now.
    pub(super) const fn on_sign(&mut self, now: Instant) -> Option<Instant> {
        self.heard = now;
        match self.state {
            State::Heard | State::Over => None,
            State::Asked { .. } => {
                self.state = State::Heard;
                None
            }
            State::Stalled { since } => {
                self.state = State::Heard;
                Some(since)
            }
        }
    }

    /// It could not have been heard until now.
    pub(super) const fn restart(&mut self, now: Instant) {
        match &mut self.state {
            State::Asked { at } => *at = now,
            State::Stalled { since } => *since = now,
            State::Heard | State::Over => {}
        }
    }

    /// What is to be done now; `patience`: how long one may stall, if that is bounded.
    pub(super) fn step(&mut self, now: Instant, patience: Option<Duration>) -> Step {
        if now < self.next(patience) {
            return Step::Wait;
        }
        match self.state {
            State::Heard => {
                self.state = State::Asked { at: now };
                Step::Ask
            }
            State::Asked { at } => {
                self.state = State::Stalled { since: at };
                Step::Stalled(at)
            }
            State::Stalled { since } => {
                self.state = State::Over;
                Step::End(since)
            }
            State::Over => Step::Wait,
        }
    }

    /// When something is to be done.
    pub(super) fn next(&self, patience: Option<Duration>) -> Instant {
        match self.state {
            State::Heard => self.heard + ASKED_AFTER,
            State::Asked { at } => at + ANSWER_WITHIN,
            State::Stalled { since } => {
                patience.map_or(Instant::NEVER, |patience| since + patience.max(ANSWER_WITHIN))
            }
            State::Over => Instant::NEVER,
        }
    }

    /// Whether it stalls.
    pub(super) const fn is_stalled(&self) -> bool {
        matches!(self.state, State::Stalled { .. } | State::Over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Option<Duration> = Some(Duration::from_secs(10));

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn one_that_does_not_answer_is_noticed_and_then_ended() {
        let mut pulse = Pulse::new(at(0));
        assert_eq!(pulse.step(at(0), PATIENCE), Step::Wait);
        assert_eq!((pulse.next(PATIENCE), pulse.step(at(1), PATIENCE)), (at(1), Step::Ask));
        assert_eq!(pulse.step(at(2), PATIENCE), Step::Wait, "it is asked once");
        assert_eq!((pulse.next(PATIENCE), pulse.step(at(3), PATIENCE)), (at(3), Step::Stalled(at(1))));
        assert!(pulse.is_stalled());
        assert_eq!((pulse.next(PATIENCE), pulse.step(at(11), PATIENCE)), (at(11), Step::End(at(1))));
        assert_eq!((pulse.next(PATIENCE), pulse.step(at(99), PATIENCE)), (Instant::NEVER, Step::Wait));
    }

    #[test]
    fn one_that_answers_again_is_well_and_told_since_when() {
        let mut pulse = Pulse::new(at(0));
        assert_eq!(pulse.step(at(1), PATIENCE), Step::Ask);
        assert_eq!(pulse.on_sign(at(2)), None);
        assert_eq!(pulse.step(at(3), PATIENCE), Step::Ask);
        assert_eq!(pulse.step(at(5), PATIENCE), Step::Stalled(at(3)));
        assert_eq!(pulse.on_sign(at(6)), Some(at(3)));
        assert!(!pulse.is_stalled());
        assert_eq!(pulse.next(PATIENCE), at(7));
    }

    #[test]
    fn without_a_bound_nobody_is_ended() {
        let mut pulse = Pulse::new(at(0));
        assert_eq!(pulse.step(at(1), None), Step::Ask);
        assert_eq!(pulse.step(at(3), None), Step::Stalled(at(1)));
        assert_eq!((pulse.next(None), pulse.step(at(999), None)), (Instant::NEVER, Step::Wait));
    }

    #[test]
    fn a_supervisor_that_stalled_itself_begins_the_count_anew() {
        let mut pulse = Pulse::new(at(0));
        assert_eq!(pulse.step(at(1), PATIENCE), Step::Ask);
        pulse.restart(at(60));
        assert_eq!(pulse.step(at(60), PATIENCE), Step::Wait);
        assert_eq!(pulse.step(at(62), PATIENCE), Step::Stalled(at(60)));
        pulse.restart(at(120));
        assert_eq!(pulse.step(at(120), PATIENCE), Step::Wait);
        assert_eq!(pulse.step(at(130), PATIENCE), Step::End(at(120)));
    }
}
