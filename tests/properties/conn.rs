//! A connection's life under any sequence of inputs: it closes once, for the cause that came first, does
//! nothing afterwards, and until then always knows when to be looked at again.

use super::Choices;
use linger::core::conn::liveness::{Clocks, Due, next_due};
use linger::core::conn::policy::{
    Audit, AuditEnd, Bounds, Closing, Heartbeat, HeartbeatStyle, LastRung, Liveness, Policy, Verdict,
};
use linger::core::conn::{Action, Cause, Input, Life, State};
use linger::core::end::{CloseMode, Detector, Reason};
use linger::core::time::{Duration, Instant};
use linger::core::timer::attention::Attention;
use linger::net::Polled;

/// Lives through what `bytes` say, waking when it is due as the reactor does, then is told to go.
pub(crate) fn holds(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let mut run = Run::new(policy(&mut choices), &mut choices);
    while !choices.is_over() {
        run.step(&mut choices);
    }
    run.finish();
}

/// 146 years: half of what the clock can count, so that no deadline is cut short by its end.
const LATEST: Instant = Instant::from_nanos(1 << 62);
const RUNGS: &[LastRung] = &[LastRung::Linger2, LastRung::Reset];
const TIMEOUTS: &[Duration] = &[
    Duration::from_millis(10),
    Duration::from_secs(1),
    Duration::from_secs(7),
    Duration::from_secs(60),
    Duration::from_secs(86_400),
];

fn timeout(choices: &mut Choices<'_>) -> Duration {
    choices.pick(TIMEOUTS)
}

fn timeout_or_off(choices: &mut Choices<'_>) -> Option<Duration> {
    choices.flag().then(|| timeout(choices))
}

/// A policy that the configuration can make: linger within `linger_max`, ping before the timeout.
fn policy(choices: &mut Choices<'_>) -> Policy {
    let (one, other) = (timeout(choices), timeout(choices));
    let linger = if choices.flag() { Duration::ZERO } else { one.min(other) };
    let heartbeat_timeout = timeout(choices);
    Policy {
        liveness: Liveness {
            readiness: true,
            heartbeat: Heartbeat {
                style: choices.pick(&[
                    HeartbeatStyle::Off,
                    HeartbeatStyle::Client,
                    HeartbeatStyle::Server,
                    HeartbeatStyle::Both,
                ]),
                timeout: heartbeat_timeout,
                grace: timeout(choices),
                interval: heartbeat_timeout / 2,
                since: Instant::ZERO,
            },
            verdict: Verdict::End,
            keepalive: None,
            user_timeout: None,
            tcp_info_interval: timeout_or_off(choices),
            probe_after_eof: false,
            probe_oob: timeout_or_off(choices),
            audit: Audit { end: AuditEnd::Nothing, close_wait: None },
        },
        closing: Closing {
            linger,
            linger_max: one.max(other),
            linger2: true,
            frozen: choices.pick(RUNGS),
            unreachable: choices.pick(RUNGS),
        },
        bounds: Bounds {
            frame_bytes_max: 1,
            output_low: 1,
            output_high: 1,
            output_max: 1,
            slow_time: timeout(choices),
            handshake_timeout: timeout_or_off(choices),
            idle_timeout: timeout_or_off(choices),
            max_age: timeout_or_off(choices),
        },
    }
}

struct Run {
    life: Life,
    policy: Policy,
    clocks: Clocks,
    attention: Attention,
    now: Instant,
    closes: usize,
}

impl Run {
    fn new(policy: Policy, choices: &mut Choices<'_>) -> Self {
        let now = Instant::from_millis(1_000_000);
        let deadline = now + timeout(choices);
        let state =
            choices.pick(&[State::Connecting { deadline }, State::Handshaking, State::Open, State::Open]);
        let clocks = Clocks {
            used: now,
            pinged: Instant::ZERO,
            oob_sent: Instant::ZERO,
            output_moved: None,
            info_asked: None,
            lasts: None,
            header: matches!(state, State::Handshaking).then(|| now + timeout(choices)),
            ages: policy.bounds.max_age.map(|max| now + max),
            deferred: Duration::ZERO,
            patient_until: Instant::ZERO,
        };
        let attention = Attention::new(now);
        Self { life: Life::new(state, now), policy, clocks, attention, now, closes: 0 }
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        match choices.byte() {
            0xfd => self.change_verdict(),
            byte => self.step_of(byte % 8, choices),
        }
    }

    /// As a reload of the configuration does.
    fn change_verdict(&mut self) {
        let verdict = &mut self.policy.liveness.verdict;
        *verdict = if *verdict == Verdict::End { Verdict::Report } else { Verdict::End };
    }

    fn step_of(&mut self, kind: u8, choices: &mut Choices<'_>) {
        match kind {
            0 => {
                let before = self.now;
                self.now = (self.now + Duration::from_micros(choices.magnitude())).min(LATEST);
                // Asleep, or stalled.
                let timeout = choices.flag().then_some(Duration::ZERO);
                self.attention.on_poll(before, self.now, timeout, Polled::All, 1);
                self.clocks.patient_until = self.attention.patient_until();
            }
            1 => self.wake(choices.flag()),
            2 => {
                if self.life.mark_alive(self.now) {
                    self.apply(Input::Heard);
                    assert!(!matches!(self.life.state(), State::Suspect { .. }), "what is heard revives");
                }
                self.clocks.used = if choices.flag() { self.now } else { self.clocks.used };
            }
            3 => self.clocks.output_moved = choices.flag().then_some(self.now),
            4 => self.clocks.info_asked = choices.flag().then_some(self.now),
            _ => self.apply(input(choices)),
        }
    }

    fn next_due(&self) -> Option<(Instant, Due)> {
        next_due(&self.life, &self.policy, &self.policy.liveness.heartbeat, &self.clocks)
    }

    /// Sleeps until the next deadline and does all that is due then.
    fn wake(&mut self, output_pending: bool) {
        let Some((at, _)) = self.next_due() else { return };
        self.now = self.now.max(at);
        for round in 0.. {
            let Some((at, due)) = self.next_due().filter(|(at, _)| *at <= self.now) else { break };
            // Each of the ten once, but for the state's own: handshake or grace, then closing without linger.
            assert!(round < 12, "{due:?} at {at:?} is due for ever: {:?}", self.life);
            self.on_due(at, due, output_pending);
        }
    }

    /// As `reactor/timers.rs` does.
    fn on_due(&mut self, at: Instant, due: Due, output_pending: bool) {
        let Closing { frozen: rung, .. } = self.policy.closing;
        let leave =
            |reason| Input::CloseGracefully { reason, detector: Detector::Timer, notified: !output_pending };
        let give_up = |reason| Input::Abort { reason, detector: Detector::Timer, rung, output_pending };
        let heartbeat = self.policy.liveness.heartbeat;
        match due {
            Due::Deadline => match self.life.state() {
                State::Handshaking => self.apply(leave(Reason::ProtocolHandshakeTimeout)),
                State::Suspect { since, .. } => {
                    let reported = self.life.state().is_reported();
                    let shortest = heartbeat.grace.min(Duration::from_millis(10));
                    assert!(reported || self.now.since(since) >= shortest, "the grace was not over");
                    if self.policy.liveness.verdict == Verdict::Report {
                        assert!(!reported, "what was reported is not reported again");
                        self.apply(Input::Reported { reason: Reason::StuckFrozen });
                    } else {
                        self.apply(give_up(Reason::StuckFrozen));
                    }
                }
                State::PeerClosed { .. } | State::Closing { .. } => {
                    self.apply(Input::Expired { output_pending });
                    assert!(matches!(self.life.state(), State::Closed { .. }), "a deadline ends it");
                }
                State::Connecting { .. } => self.apply(give_up(Reason::UpstreamConnectTimeout)),
                State::Open | State::Closed { .. } => panic!("no deadline of its own"),
            },
            Due::Ping => {
                assert!(heartbeat.style.server_pings(), "nobody asked for pings");
                self.clocks.pinged = self.now;
            }
            Due::Suspicion => {
                assert_ne!(heartbeat.style, HeartbeatStyle::Off, "silence is no evidence");
                let silent = self.life.heard() + heartbeat.timeout;
                assert!(at >= silent.max(self.clocks.patient_until), "{at:?}");
                if heartbeat.style.server_pings() && self.clocks.pinged > self.life.heard() {
                    assert!(
                        at.since(self.clocks.pinged) >= heartbeat.timeout.saturating_sub(heartbeat.interval)
                    );
                }
                self.apply(Input::Suspected {
                    detector: Detector::Heartbeat,
                    grace: heartbeat.grace,
                    notsent_bytes: 0,
                });
            }
            Due::SecondProbe => {
                assert!(matches!(self.life.state(), State::Suspect { probed_again: false, .. }), "one more");
                self.apply(Input::StillSilent);
            }
            Due::Idle => self.apply(leave(Reason::LocalIdle)),
            Due::OobProbe => self.clocks.oob_sent = self.now,
            Due::Slow => self.apply(give_up(Reason::SlowTime)),
            Due::TcpInfo => self.clocks.info_asked = Some(self.now),
            Due::Lasts => self.clocks.lasts = None,
            Due::Header => {
                assert_eq!(self.life.state(), State::Handshaking);
                self.apply(give_up(Reason::ProtocolProxyTimeout));
            }
            Due::Age => {
                assert!(self.life.state().cause().is_none(), "what ends is not ended again");
                self.apply(leave(Reason::LocalMaxAge));
            }
        }
    }

    fn apply(&mut self, input: Input) {
        let before = self.life.state();
        let action = self.life.on(input, self.now, &self.policy.closing);
        let after = self.life.state();
        assert_step(before, input, after, action);
        if after != State::Handshaking {
            // Its header has come before that, or does not matter any more.
            self.clocks.header = None;
        }
        if let (None, Some(cause)) = (before.cause(), after.cause()) {
            assert_eq!(after.since(), Some(self.now));
            assert!(is_cause_of(input, cause), "{input:?} gave {cause:?}");
        }
        self.assert_deadline(before, input, after);
        if let Action::Close(mode) = action {
            self.closes += 1;
            let end = self.life.end(mode, self.now, None);
            assert_eq!(Some(Cause { reason: end.reason, detector: end.detector }), after.cause());
            assert!(end.silence <= end.age, "{end:?}");
        }
        assert_eq!(self.closes, usize::from(matches!(after, State::Closed { .. })), "one ending, one End");
    }

    /// A deadline of an ending connection is never put off for ever, and brought forward only for a peer that has
    /// said goodbye and has all pending output, and for the next look whether the kernel has delivered it.
    fn assert_deadline(&self, before: State, input: Input, after: State) {
        let (Some(begun), Some(at)) = (after.begun(), deadline(after)) else { return };
        let Closing { linger, linger_max, .. } = self.policy.closing;
        let goodbye = before.cause().is_some_and(has_said_all);
        let at_once = matches!(before, State::Closing { last: Some(_), .. });
        if (goodbye || at_once) && matches!((before, input), (State::Closing { .. }, Input::Flushed { .. })) {
            assert!(Some(at) <= deadline(before), "{input:?} put it off: {before:?} {after:?}");
        } else if before.cause().is_some()
            && !matches!(input, Input::PartnerGone { .. })
            && !(at_once && input == Input::Unclear)
        {
            // Who has a partner no more is not waited for as long.
            assert!(Some(at) >= deadline(before), "{input:?} brought it forward: {before:?} {after:?}");
        }
        // What the other connection of a pair has brought has a time of its own to be taken.
        let of_partner = if matches!(input, Input::PartnerGone { .. }) { self.now + linger } else { begun };
        let latest = (begun + linger_max).max(of_partner).max(deadline(before).unwrap_or(begun));
        assert!(at <= latest, "it would be put off beyond linger_max: {after:?}");
        // Half a second at a time, as long as it is unclear.
        let patience = if input == Input::Unclear { Duration::from_millis(500) } else { linger };
        assert!(at <= (self.now + patience).max(deadline(before).unwrap_or(at)), "{after:?}");
        let wake = self.next_due().map(|(at, _)| at);
        assert!(wake.is_some_and(|wake| wake <= at), "it would sleep past its deadline");
    }

    /// Ends it as an operator does. From here it takes one linger at most, and nothing is left to happen.
    fn finish(mut self) {
        self.apply(Input::CloseGracefully {
            reason: Reason::LocalKicked,
            detector: Detector::Operator,
            notified: true,
        });
        (self.clocks.output_moved, self.clocks.info_asked) = (None, None);
        if !matches!(self.life.state(), State::Closed { .. }) {
            assert!(self.life.state().cause().is_some(), "who is told to leave is leaving");
            self.wake(false);
        }
        assert!(matches!(self.life.state(), State::Closed { .. }), "{:?}", self.life);
        assert_eq!(self.next_due(), None, "nothing is due once it is over");
        assert!(!self.life.mark_alive(self.now));
        for kind in 0..KINDS {
            self.apply(input(&mut Choices::new(&[kind])));
        }
        assert_eq!(self.closes, 1);
    }
}

const KINDS: u8 = 13;

fn input(choices: &mut Choices<'_>) -> Input {
    match choices.byte() % KINDS {
        0 => Input::Opened,
        1 => Input::Heard,
        2 => {
            let detector = choices.pick(&[Detector::Heartbeat, Detector::HeartbeatChannel]);
            Input::Suspected { detector, grace: timeout(choices), notsent_bytes: 0 }
        }
        3 => Input::PeerFin { reason: choices.pick(&[Reason::PeerFin, Reason::PeerFinMidframe]) },
        4 => Input::Failed { reason: choices.pick(Reason::ALL), detector: choices.pick(Detector::ALL) },
        5 => Input::Goodbye,
        6 => Input::CloseGracefully {
            reason: choices.pick(Reason::ALL),
            detector: choices.pick(Detector::ALL),
            notified: choices.flag(),
        },
        7 => Input::Abort {
            reason: choices.pick(Reason::ALL),
            detector: choices.pick(Detector::ALL),
            rung: choices.pick(RUNGS),
            output_pending: choices.flag(),
        },
        8 => Input::Connected,
        9 => Input::PartnerFin { cause: cause(choices), patience: Duration::ZERO },
        10 => Input::PartnerGone { cause: cause(choices), rung: choices.pick(RUNGS) },
        11 => choices.pick(&[
            Input::Progress,
            Input::Flushed { probe: false },
            Input::Flushed { probe: true },
            Input::Unclear,
            Input::StillSilent,
            Input::Reported { reason: Reason::StuckFrozen },
        ]),
        _ => Input::Expired { output_pending: choices.flag() },
    }
}

fn cause(choices: &mut Choices<'_>) -> Cause {
    Cause { reason: choices.pick(Reason::ALL), detector: Detector::Partner }
}

/// What holds between one state and the next, whatever the input was.
fn assert_step(before: State, input: Input, after: State, action: Action) {
    let step = format!("{before:?} {input:?} {after:?} {action:?}");
    let way = (before.index(), after.index());
    let is_partners = matches!(input, Input::PartnerFin { .. } | Input::PartnerGone { .. });
    let is_unanswered = matches!(before, State::Suspect { probed_again: false, reported: None, .. });
    let is_second_probe = is_unanswered && matches!(input, Input::StillSilent);
    let expected = match way {
        // The other connection of its pair may have been all that it waited for.
        (4, 4) | (5, 5) if is_partners => matches!(action, Action::None | Action::Flush),
        (3, 3) if is_second_probe => action == Action::ProbeAgain,
        (3, 3) if matches!(input, Input::Reported { .. }) => action == Action::Release,
        (from, to) if from == to => action == Action::None,
        (0 | 1, 2) => action == Action::None,
        (2, 3) => action == Action::Probe,
        (3, 2) => action == Action::Revive { withheld: before.holds_output() },
        (1..=3, 4 | 5) | (5, 4) | (4, 5) => action == Action::Flush,
        (0..=5, 6) => matches!(action, Action::Close(_)),
        _ => false,
    };
    assert!(expected, "no such way: {step}");
    if let Action::Close(CloseMode::PeerFirst | CloseMode::PeerFirstAfterGoodbye | CloseMode::ProbeReset) =
        action
    {
        assert!(matches!(before, State::PeerClosed { .. }), "the peer's FIN was not read: {step}");
    }
    let (Some(first), Some(now)) = (before.cause(), after.cause()) else { return };
    assert_eq!(before.since(), after.since(), "{step}");
    // A reset can complete a bare FIN, and the answer to the probe is the probe's; nothing else is rewritten.
    let completed = is_bare_fin(first.reason) && now.reason == Reason::PeerResetAfterFin && way == (4, 6);
    let probed = now == Cause { detector: Detector::EofProbe, ..first } && way == (4, 6);
    assert!(now == first || completed || probed, "the first cause wins: {step}");
}

/// Whether it has said, in its protocol or as TLS says it (`close_notify`), that nothing follows.
fn has_said_all(cause: Cause) -> bool {
    let last_word = cause.detector == Detector::Protocol && is_bare_fin(cause.reason);
    last_word || cause.reason == Reason::PeerGoodbye
}

const fn is_bare_fin(reason: Reason) -> bool {
    matches!(reason, Reason::PeerFin | Reason::PeerFinMidframe | Reason::UpstreamFin)
}

/// Whether `input` says what `cause` says.
fn is_cause_of(input: Input, cause: Cause) -> bool {
    match input {
        Input::PeerFin { reason } => cause.reason == reason,
        Input::PartnerFin { cause: told, .. } | Input::PartnerGone { cause: told, .. } => cause == told,
        Input::Goodbye => cause.reason == Reason::PeerGoodbye,
        Input::Failed { reason, detector }
        | Input::CloseGracefully { reason, detector, .. }
        | Input::Abort { reason, detector, .. } => cause == Cause { reason, detector },
        Input::Connected
        | Input::Opened
        | Input::Heard
        | Input::Suspected { .. }
        | Input::StillSilent
        | Input::Reported { .. }
        | Input::Moved { .. }
        | Input::Progress
        | Input::Unclear
        | Input::Flushed { .. }
        | Input::Expired { .. } => false,
    }
}

/// The deadline of an ending connection.
fn deadline(state: State) -> Option<Instant> {
    match state {
        State::PeerClosed { deadline, .. } | State::Closing { deadline, .. } => Some(deadline),
        State::Connecting { .. }
        | State::Handshaking
        | State::Open
        | State::Suspect { .. }
        | State::Closed { .. } => None,
    }
}
