//! Every state against every input, compared with one table; and the deadlines of each state.

use super::liveness::{Clocks, Due, next_due};
use super::policy::{
    Audit, AuditEnd, Bounds, Closing, Heartbeat, HeartbeatStyle, LastRung, Liveness, Policy, Verdict,
};
use super::*;
use crate::core::tcp::TcpSnapshot;
use crate::core::time::Duration;
use crate::core::timer::attention::Attention;
use crate::core::timer::attention::Polled;

const T0: Instant = Instant::from_millis(1_000);
const NOW: Instant = Instant::from_millis(9_000);

const CLOSING: Closing = Closing {
    linger: Duration::from_secs(2),
    linger_max: Duration::from_secs(60),
    linger2: true,
    frozen: LastRung::Linger2,
    unreachable: LastRung::Reset,
};

fn cause(reason: Reason) -> Cause {
    Cause { reason, detector: Detector::Policy }
}

fn handshaking() -> State {
    State::Handshaking
}

fn open() -> State {
    State::Open
}

fn suspect() -> State {
    State::Suspect {
        deadline: NOW,
        since: T0,
        detector: Detector::Heartbeat,
        notsent_bytes: 0,
        probed_again: false,
        reported: None,
    }
}

fn probed_again() -> State {
    suspect().on(Input::StillSilent, NOW, &CLOSING).0
}

fn reported() -> State {
    suspect().on(Input::Reported { reason: Reason::StuckFrozen }, NOW, &CLOSING).0
}

fn peer_closed(reason: Reason) -> State {
    State::PeerClosed { cause: cause(reason), since: T0, deadline: NOW, begun_after_ms: 0 }
}

fn closing(reason: Reason) -> State {
    closing_until(reason, NOW)
}

fn closing_until(reason: Reason, deadline: Instant) -> State {
    State::Closing { cause: cause(reason), since: T0, deadline, last: None, begun_after_ms: 0 }
}

fn behind_output(last: LastRung) -> State {
    State::Closing {
        cause: cause(Reason::UpstreamReset),
        since: T0,
        deadline: NOW,
        last: Some(last),
        begun_after_ms: 0,
    }
}

fn connecting() -> State {
    State::Connecting { deadline: NOW }
}

fn closed() -> State {
    State::Closed { cause: cause(Reason::PeerFin), since: T0 }
}

fn failed(detector: Detector) -> Input {
    Input::Failed { reason: Reason::PeerReset, detector }
}

fn abort(rung: LastRung, output_pending: bool) -> Input {
    Input::Abort { reason: Reason::StuckFrozen, detector: Detector::Heartbeat, rung, output_pending }
}

/// What follows, as the table below writes it: `=` for "as it was", else the state, its reason where it has
/// one, and the action.
fn follows(from: State, input: Input) -> String {
    let (to, action) = from.on(input, NOW, &CLOSING);
    let action = match action {
        Action::None => String::new(),
        Action::Probe => "+probe".into(),
        Action::ProbeAgain => "+probe_again".into(),
        Action::Revive { withheld: true } => "+revive".into(),
        Action::Revive { withheld: false } => "+revive_only".into(),
        Action::Release => "+release".into(),
        Action::Flush => "+flush".into(),
        Action::Close(mode) => format!("+{mode}"),
    };
    if to == from {
        return format!("={action}");
    }
    let reason = to.cause().map(|cause| format!("({})", cause.reason)).unwrap_or_default();
    format!("{}{reason}{action}", to.name())
}

#[test]
fn every_state_answers_every_input_as_the_table_says() {
    let states = [
        ("handshaking", handshaking()),
        ("open", open()),
        ("suspect", suspect()),
        ("reported", reported()),
        ("peer_closed", peer_closed(Reason::PeerFin)),
        ("closing", closing(Reason::LocalIdle)),
        ("closed", closed()),
        ("connecting", connecting()),
        ("behind_output", behind_output(LastRung::Linger2)),
        ("behind_output_reset", behind_output(LastRung::Reset)),
    ];
    let why = Cause { reason: Reason::UpstreamFin, detector: Detector::Partner };
    let notified = |notified| Input::CloseGracefully {
        reason: Reason::LocalKicked,
        detector: Detector::Operator,
        notified,
    };
    let suspected =
        Input::Suspected { detector: Detector::Heartbeat, grace: Duration::from_secs(5), notsent_bytes: 0 };
    let inputs = [
        ("connected", Input::Connected),
        ("opened", Input::Opened),
        ("heard", Input::Heard),
        ("suspected", suspected),
        ("still_silent", Input::StillSilent),
        ("reported", Input::Reported { reason: Reason::StuckFrozen }),
        ("fin", Input::PeerFin { reason: Reason::PeerFin }),
        ("fin_midframe", Input::PeerFin { reason: Reason::PeerFinMidframe }),
        ("failed", failed(Detector::RecvError)),
        ("failed_probe", failed(Detector::EofProbe)),
        ("goodbye", Input::Goodbye),
        ("leave", notified(true)),
        ("leave_untold", notified(false)),
        ("abort_reset", abort(LastRung::Reset, true)),
        ("abort_linger2", abort(LastRung::Linger2, false)),
        ("abort_linger2_pending", abort(LastRung::Linger2, true)),
        ("partner_fin", Input::PartnerFin { cause: why, patience: Duration::from_secs(9) }),
        ("partner_gone", Input::PartnerGone { cause: why, rung: LastRung::Linger2 }),
        ("partner_reset", Input::PartnerGone { cause: why, rung: LastRung::Reset }),
        ("moved", Input::Moved { until: NOW + Duration::from_secs(3) }),
        ("progress", Input::Progress),
        ("flushed", Input::Flushed { probe: false }),
        ("flushed_probe", Input::Flushed { probe: true }),
        ("unclear", Input::Unclear),
        ("expired", Input::Expired { output_pending: false }),
        ("expired_pending", Input::Expired { output_pending: true }),
    ];
    let mut seen = 0;
    for line in TABLE.trim().lines() {
        let cells: Vec<_> = line.split_whitespace().collect();
        let (_, input) = inputs.iter().find(|(name, _)| *name == cells[0]).expect("a known input");
        assert_eq!(cells.len(), states.len() + 1, "{line}");
        for ((name, state), expected) in states.iter().zip(&cells[1..]) {
            assert_eq!(follows(*state, *input), *expected, "{name} on {}", cells[0]);
            seen += 1;
        }
    }
    assert_eq!(seen, states.len() * inputs.len(), "the table leaves nothing out");
}

/// Columns: handshaking, open, suspect, suspect that was reported, `peer_closed` (fin), closing (idle), closed, connecting, closing behind its output
/// (upstream reset) by linger2, and by reset.
const TABLE: &str = "
connected             = = = = = = = open = =
opened                open = = = = = = = = =
heard                 = = open+revive open+revive_only = = = = = =
suspected             = suspect+probe = = = = = = = =
still_silent          = = suspect+probe_again = = = = = = =
reported              = = suspect+release =+release = = = = = =
fin                   peer_closed(peer.fin)+flush peer_closed(peer.fin)+flush peer_closed(peer.fin)+flush peer_closed(peer.fin)+flush = peer_closed(local.idle)+flush = = peer_closed(upstream.reset)+flush =
fin_midframe          peer_closed(peer.fin_midframe)+flush peer_closed(peer.fin_midframe)+flush peer_closed(peer.fin_midframe)+flush peer_closed(peer.fin_midframe)+flush = peer_closed(local.idle)+flush = = peer_closed(upstream.reset)+flush =
failed                closed(peer.reset)+reset closed(peer.reset)+reset closed(peer.reset)+reset closed(peer.reset)+reset closed(peer.reset_after_fin)+reset closed(local.idle)+reset = closed(peer.reset)+reset closed(upstream.reset)+reset closed(upstream.reset)+reset
failed_probe          closed(peer.reset)+reset closed(peer.reset)+reset closed(peer.reset)+reset closed(peer.reset)+reset closed(peer.fin)+probe_reset closed(local.idle)+reset = closed(peer.reset)+reset closed(upstream.reset)+reset closed(upstream.reset)+reset
goodbye               closing(peer.goodbye)+flush closing(peer.goodbye)+flush closing(peer.goodbye)+flush closing(peer.goodbye)+flush = = = = = =
leave                 closing(local.kicked)+flush closing(local.kicked)+flush closing(local.kicked)+flush closing(local.kicked)+flush = = = closed(local.kicked)+reset = =
leave_untold          closing(local.kicked)+flush closing(local.kicked)+flush closing(local.kicked)+flush closing(local.kicked)+flush = = = closed(local.kicked)+reset = =
abort_reset           closed(stuck.frozen)+reset closed(stuck.frozen)+reset closed(stuck.frozen)+reset closed(stuck.frozen)+reset closed(peer.fin)+reset closed(local.idle)+reset = closed(stuck.frozen)+reset closed(upstream.reset)+reset closed(upstream.reset)+reset
abort_linger2         closed(stuck.frozen)+linger2 closed(stuck.frozen)+linger2 closed(stuck.frozen)+linger2 closed(stuck.frozen)+linger2 closed(peer.fin)+linger2 closed(local.idle)+linger2 = closed(stuck.frozen)+reset closed(upstream.reset)+linger2 closed(upstream.reset)+linger2
abort_linger2_pending closing(stuck.frozen)+flush closing(stuck.frozen)+flush closing(stuck.frozen)+flush closing(stuck.frozen)+flush closed(peer.fin)+linger2 closed(local.idle)+linger2 = closed(stuck.frozen)+reset closed(upstream.reset)+linger2 closed(upstream.reset)+linger2
partner_fin           closing(upstream.fin)+flush closing(upstream.fin)+flush closing(upstream.fin)+flush closing(upstream.fin)+flush =+flush = = = = =
partner_gone          closing(upstream.fin)+flush closing(upstream.fin)+flush closing(upstream.fin)+flush closing(upstream.fin)+flush =+flush closing(local.idle)+flush = closed(upstream.fin)+reset = =
partner_reset         closing(upstream.fin)+flush closing(upstream.fin)+flush closing(upstream.fin)+flush closing(upstream.fin)+flush closing(peer.fin)+flush closing(local.idle)+flush = closed(upstream.fin)+reset = =
moved                 = = = = peer_closed(peer.fin) closing(local.idle) = = closing(upstream.reset) closing(upstream.reset)
progress              = = = = peer_closed(peer.fin) closing(local.idle) = = closing(upstream.reset) closing(upstream.reset)
flushed               = = = = closed(peer.fin)+peer_first = = = = =
flushed_probe         = = = = peer_closed(peer.fin) = = = = =
unclear               = = = = = closing(local.idle) = = closing(upstream.reset) closing(upstream.reset)
expired               = = = = closed(peer.fin)+peer_first closed(local.idle)+linger2 = = closed(upstream.reset)+linger2 closed(upstream.reset)+reset
expired_pending       = = = = closed(peer.fin)+reset closed(local.idle)+reset = = closed(upstream.reset)+reset closed(upstream.reset)+reset
";

#[test]
fn a_peer_that_closes_after_a_goodbye_is_told_apart_from_one_that_just_closes() {
    for (reason, mode) in [
        (Reason::PeerFin, "closed(peer.fin)+peer_first"),
        (Reason::PeerFinMidframe, "closed(peer.fin_midframe)+peer_first"),
        (Reason::PeerTruncated, "closed(peer.truncated)+peer_first"),
        (Reason::UpstreamTruncated, "closed(upstream.truncated)+peer_first"),
        (Reason::PeerGoodbye, "closed(peer.goodbye)+peer_first_after_goodbye"),
        (Reason::LocalDrain, "closed(local.drain)+peer_first_after_goodbye"),
    ] {
        assert_eq!(follows(peer_closed(reason), Input::Flushed { probe: false }), mode);
    }
}

#[test]
fn a_reset_does_not_take_the_place_of_a_cause_that_says_more() {
    assert_eq!(
        follows(peer_closed(Reason::PeerGoodbye), failed(Detector::SendError)),
        "closed(peer.goodbye)+reset"
    );
    assert_eq!(
        follows(peer_closed(Reason::PeerTruncated), failed(Detector::SendError)),
        "closed(peer.truncated)+reset"
    );
    assert_eq!(
        follows(peer_closed(Reason::PeerFinMidframe), failed(Detector::SendError)),
        "closed(peer.reset_after_fin)+reset"
    );
}

#[test]
fn what_is_no_reset_does_not_make_one_of_a_fin() {
    for reason in [Reason::StuckZeroWindow, Reason::LostUnacked, Reason::LocalAudit] {
        let input = Input::Failed { reason, detector: Detector::UserTimeout };
        assert_eq!(follows(peer_closed(Reason::PeerFin), input), "closed(peer.fin)+reset");
    }
}

#[test]
fn progress_puts_the_deadline_off_but_not_beyond_the_longest_close() {
    let late = T0 + CLOSING.linger_max;
    let (state, _) = closing(Reason::LocalIdle).on(Input::Progress, NOW, &CLOSING);
    assert_eq!(state, closing_until(Reason::LocalIdle, NOW + CLOSING.linger));
    let (state, _) = closing(Reason::LocalIdle).on(Input::Progress, late, &CLOSING);
    assert_eq!(state, closing_until(Reason::LocalIdle, late));
}

#[test]
fn who_may_yet_acknowledge_is_looked_at_again_but_not_for_ever() {
    let (state, action) = closing(Reason::LocalIdle).on(Input::Unclear, NOW, &CLOSING);
    let half_a_second = Duration::from_millis(500);
    assert_eq!((state, action), (closing_until(Reason::LocalIdle, NOW + half_a_second), Action::None));
    let (_, action) = closing(Reason::LocalIdle).on(Input::Unclear, T0 + CLOSING.linger_max, &CLOSING);
    assert_eq!(action, Action::Close(CloseMode::Linger2));
}

#[test]
fn a_peer_that_was_told_nothing_is_not_waited_for() {
    let leave =
        |notified| Input::CloseGracefully { reason: Reason::LocalIdle, detector: Detector::Timer, notified };
    let deadline = |notified| {
        let (State::Closing { deadline, .. }, Action::Flush) = open().on(leave(notified), NOW, &CLOSING)
        else {
            panic!("leaving begins with closing");
        };
        deadline
    };
    assert_eq!(deadline(true), NOW + CLOSING.linger);
    assert_eq!(deadline(false), NOW);
}

#[test]
fn who_has_said_goodbye_and_has_its_answer_is_not_waited_for_long() {
    let deadline = |reason, now: Instant, from: State| {
        let (state, _) = from.on(Input::Flushed { probe: false }, now, &CLOSING);
        let State::Closing { deadline, cause, .. } = state else { panic!("still closing") };
        assert_eq!(cause.reason, reason);
        (state, deadline)
    };
    let half_a_second = Duration::from_millis(500);
    let (asked, _) = open().on(Input::Goodbye, T0, &CLOSING);
    let (flushed, first) = deadline(Reason::PeerGoodbye, T0, asked);
    assert_eq!(first, T0 + half_a_second);
    let (_, second) = deadline(Reason::PeerGoodbye, T0 + half_a_second / 2, flushed);
    assert_eq!(second, first, "what it sends meanwhile does not put that off");
    let (_, ours) = deadline(Reason::LocalIdle, T0, closing(Reason::LocalIdle));
    assert_eq!(ours, NOW, "who is told by us has the time of `linger`");
}

#[test]
fn the_silence_of_an_end_is_that_of_the_moment_it_was_noticed() {
    let mut life = Life::new(State::Open, T0);
    assert!(!life.mark_alive(T0 + Duration::from_secs(1)));
    life.on(
        Input::CloseGracefully { reason: Reason::LocalIdle, detector: Detector::Timer, notified: true },
        T0 + Duration::from_secs(4),
        &CLOSING,
    );
    assert!(!life.mark_alive(T0 + Duration::from_secs(5)));
    let action = life.on(Input::Expired { output_pending: false }, T0 + Duration::from_secs(6), &CLOSING);
    assert_eq!(action, Action::Close(CloseMode::Linger2));
    let end = life.end(CloseMode::Linger2, T0 + Duration::from_secs(6), None);
    assert_eq!((end.silence, end.age), (Duration::from_secs(3).into(), Duration::from_secs(6).into()));
}

fn policy() -> Policy {
    Policy {
        liveness: Liveness {
            readiness: true,
            heartbeat: HEARTBEAT,
            verdict: Verdict::End,
            keepalive: None,
            user_timeout: None,
            tcp_info_interval: Some(Duration::from_secs(10)),
            probe_after_eof: false,
            probe_oob: Some(Duration::from_secs(20)),
            audit: Audit { end: AuditEnd::Nothing, close_wait: None },
        },
        closing: CLOSING,
        bounds: Bounds {
            frame_bytes_max: 1024,
            output_low: 1,
            output_high: 2,
            output_max: 3,
            slow_time: Duration::from_secs(30),
            handshake_timeout: Some(Duration::from_secs(7)),
            idle_timeout: Some(Duration::from_secs(50)),
            max_age: None,
        },
    }
}

const HEARTBEAT: Heartbeat = Heartbeat {
    style: HeartbeatStyle::Both,
    timeout: Duration::from_secs(12),
    grace: Duration::from_secs(5),
    interval: Duration::from_secs(6),
    since: Instant::ZERO,
};

const CLOCKS: Clocks = Clocks {
    used: T0,
    pinged: Instant::ZERO,
    oob_sent: Instant::ZERO,
    output_moved: None,
    info_asked: None,
    deferred: Duration::ZERO,
    patient_until: Instant::ZERO,
    lasts: None,
    header: None,
    ages: None,
};

fn due(state: State, heartbeat: Heartbeat, clocks: Clocks) -> Option<(u64, Due)> {
    next_due(&Life::new(state, T0), &policy(), &heartbeat, &clocks)
        .map(|(at, due)| (at.since(T0).as_secs(), due))
}

#[test]
fn an_open_connection_is_pinged_then_suspected_then_probed_then_idle() {
    let off = Heartbeat { style: HeartbeatStyle::Off, ..HEARTBEAT };
    let pinged = Clocks { pinged: T0 + Duration::from_secs(6), ..CLOCKS };
    assert_eq!(due(open(), HEARTBEAT, CLOCKS), Some((6, Due::Ping)));
    assert_eq!(due(open(), HEARTBEAT, pinged), Some((12, Due::Suspicion)), "one ping a silence");
    assert_eq!(due(open(), off, CLOCKS), Some((20, Due::OobProbe)));
    let agreed = Heartbeat { since: T0 + Duration::from_secs(3), ..HEARTBEAT };
    assert_eq!(due(open(), agreed, CLOCKS), Some((9, Due::Ping)));
    assert_eq!(due(open(), agreed, pinged), Some((15, Due::Suspicion)));
    let probed = Clocks { oob_sent: T0 + Duration::from_secs(40), ..CLOCKS };
    assert_eq!(due(open(), off, probed), Some((50, Due::Idle)));
    let client = Heartbeat { style: HeartbeatStyle::Client, ..HEARTBEAT };
    assert_eq!(due(open(), client, CLOCKS), Some((12, Due::Suspicion)), "the server stays silent");
}

#[test]
fn a_ping_that_left_late_has_as_long_for_its_answer() {
    let late = Clocks { pinged: T0 + Duration::from_secs(30), ..CLOCKS };
    let heartbeat = Heartbeat { interval: Duration::from_secs(8), ..HEARTBEAT };
    let policy = Policy { liveness: Liveness { probe_oob: None, ..policy().liveness }, ..policy() };
    let due = next_due(&Life::new(open(), T0), &policy, &heartbeat, &late);
    assert_eq!(due, Some((T0 + Duration::from_secs(34), Due::Suspicion)));
}

#[test]
fn a_server_that_stalled_judges_no_silence_for_as_long() {
    // 40 s, to the second 60.
    let mut attention = Attention::new(T0);
    let woke = T0 + Duration::from_secs(60);
    attention.on_poll(T0 + Duration::from_secs(20), woke, Some(Duration::ZERO), Polled::All, 1);
    let clocks = Clocks { patient_until: attention.patient_until(), ..CLOCKS };
    let client = Heartbeat { style: HeartbeatStyle::Client, ..HEARTBEAT };
    let patient = |state, policy: Policy| {
        let due = next_due(&Life::new(state, T0), &policy, &client, &clocks);
        due.map(|(at, due)| (at.since(T0).as_secs(), due))
    };
    let quiet = Policy { liveness: Liveness { probe_oob: None, ..policy().liveness }, ..policy() };
    let heartbeat_off =
        |policy: Policy| Policy { bounds: Bounds { idle_timeout: None, ..policy.bounds }, ..policy };
    assert_eq!(
        patient(open(), heartbeat_off(quiet.clone())),
        Some((100, Due::Suspicion)),
        "12, were it attentive"
    );
    assert_eq!(patient(handshaking(), quiet.clone()), Some((100, Due::Deadline)));
    assert_eq!(patient(suspect(), quiet.clone()), Some((4, Due::SecondProbe)), "which judges nobody");
    assert_eq!(patient(probed_again(), quiet.clone()), Some((100, Due::Deadline)));
    let closing = patient(closing(Reason::LocalIdle), quiet);
    assert_eq!(closing, Some((8, Due::Deadline)), "what was decided before goes on");
}

#[test]
fn waiting_output_and_paused_reading_have_deadlines_of_their_own() {
    let waiting = Clocks { output_moved: Some(T0), ..CLOCKS };
    assert_eq!(due(handshaking(), HEARTBEAT, CLOCKS), Some((7, Due::Deadline)));
    assert_eq!(due(suspect(), HEARTBEAT, waiting), Some((4, Due::SecondProbe)));
    assert_eq!(due(probed_again(), HEARTBEAT, waiting), Some((8, Due::Deadline)));
    assert_eq!(follows(probed_again(), Input::StillSilent), "=", "twice, and no more");
    // Reported, it is sent what waits, and no silence of it is judged again.
    let probed = Clocks { oob_sent: T0 + Duration::from_secs(40), ..waiting };
    let report = Policy { liveness: Liveness { verdict: Verdict::Report, ..policy().liveness }, ..policy() };
    let due_of_reported = |clocks: Clocks| {
        let due = next_due(&Life::new(reported(), T0), &report, &HEARTBEAT, &clocks);
        due.map(|(at, due)| (at.since(T0).as_secs(), due))
    };
    let pinged = Clocks { pinged: T0 + Duration::from_secs(6), ..probed };
    assert_eq!(due_of_reported(pinged), Some((30, Due::Slow)));
    assert_eq!(
        due_of_reported(probed),
        Some((6, Due::Ping)),
        "it may answer, where another connection raised the suspicion"
    );
    assert_eq!(
        due(reported(), HEARTBEAT, CLOCKS),
        Some((0, Due::Deadline)),
        "policy does not report any more"
    );
    let paused = Clocks { info_asked: Some(T0), ..waiting };
    let off = Heartbeat { style: HeartbeatStyle::Off, ..HEARTBEAT };
    assert_eq!(due(open(), off, paused), Some((10, Due::TcpInfo)));
    assert_eq!(due(closing(Reason::LocalIdle), off, waiting), Some((8, Due::Deadline)));
    assert_eq!(due(closed(), off, paused), None);
}

#[test]
fn a_timeout_is_explained_by_what_was_in_flight() {
    let explained = |retransmits, probes, unacked, snd_wnd, notsent_bytes| {
        let evidence =
            TcpSnapshot { retransmits, probes, unacked, snd_wnd, notsent_bytes, ..TcpSnapshot::default() };
        explain_timeout(Some(evidence)).0
    };
    assert_eq!(explained(0, 3, 0, 65_000, 0), Reason::LostKeepalive);
    assert_eq!(explained(0, 3, 0, 0, 0), Reason::LostKeepalive, "a full but idle peer that went away");
    assert_eq!(explained(3, 0, 0, 65_000, 0), Reason::LostUnacked);
    assert_eq!(explained(0, 0, 1, 65_000, 0), Reason::LostUnacked);
    assert_eq!(explained(3, 0, 0, 65_000, 5_000), Reason::LostUnacked);
    assert_eq!(explained(0, 0, 0, 0, 5_000), Reason::StuckZeroWindow);
    assert_eq!(explained(0, 0, 4, 0, 0), Reason::StuckZeroWindow, "a window that shrank");
    assert_eq!(explained(0, 0, 0, 100, 5_000), Reason::StuckZeroWindow, "a window smaller than a segment");
    assert_eq!(
        explained(0, 1, 0, 0, 5_000),
        Reason::LostUnacked,
        "a shut window whose probe is not answered"
    );
    assert_eq!(explain_timeout(None).0, Reason::LostKeepalive);
}
