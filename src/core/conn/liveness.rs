//! Which deadline of a connection comes next, and what silence means when it has passed.
//!
//! One function, [`next_due`], serves both questions the reactor has: until when to sleep, and what to do on
//! waking. Nothing is stored per deadline; each is a time that something last happened plus a policy. So
//! hearing from a peer is a store, and the wheel's entry is looked at again only when it expires.

use super::policy::{Heartbeat, HeartbeatStyle, Policy, Verdict};
use super::{Life, State};
use crate::core::end::Reason;
use crate::core::tcp::{ProbeLimits, TcpSnapshot};
use crate::core::time::{Duration, Instant};

/// What is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// When the state's own deadline comes: handshake, grace, linger.
    Deadline,
    /// When the header of a proxy has to be there.
    Header,
    /// When to ping a silent peer.
    Ping,
    /// When silence makes a peer suspect.
    Suspicion,
    /// When a suspect whose kernel has not answered the probe is probed once more.
    SecondProbe,
    /// When an unused connection is ended.
    Idle,
    /// When to send the out-of-band byte.
    OobProbe,
    /// When output without progress ends the connection.
    Slow,
    /// When to ask `TCP_INFO` about a connection that is not being read.
    TcpInfo,
    /// When a connection that we made has lasted, and is worth being watched by the kernel.
    Lasts,
    /// When a connection is as old as it may become.
    Age,
}

/// When the things happened that deadlines are counted from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clocks {
    /// The last message in either direction that was not a heartbeat.
    pub used: Instant,
    /// The last ping of ours.
    pub pinged: Instant,
    /// The last out-of-band byte of ours.
    pub oob_sent: Instant,
    /// When waiting output last got shorter; `None` if none waits.
    pub output_moved: Option<Instant>,
    /// When `TCP_INFO` was last asked; `None` while the connection is being read.
    pub info_asked: Option<Instant>,
    /// When the kernel is to watch a connection that we made; `None`: it does already, or need not.
    pub lasts: Option<Instant>,
    /// When the header of a proxy has to be there; `None`: it is, or none is expected.
    pub header: Option<Instant>,
    /// When the connection is as old as it may become; `None`: it may become any age.
    pub ages: Option<Instant>,
    /// How long the server has put off hearing what the peer had sent to open the connection.
    pub deferred: Duration,
    /// Before this no silence is judged: the server itself stalled
    /// ([`Attention`](crate::core::timer::attention::Attention)).
    pub patient_until: Instant,
}

/// The earliest deadline of a connection and what is due then; `None`: it may sleep for ever.
///
/// `heartbeat` is the contract in force: the listener's, or the one the client made for itself.
pub fn next_due(
    life: &Life,
    policy: &Policy,
    heartbeat: &Heartbeat,
    clocks: &Clocks,
) -> Option<(Instant, Due)> {
    let patient = |at: Instant| at.max(clocks.patient_until);
    let deadline = match life.state() {
        State::Handshaking => {
            let timeout = policy.bounds.handshake_timeout;
            timeout.map(|timeout| patient(life.accepted() + timeout + clocks.deferred))
        }
        State::Open => None,
        // Its verdict was reported. Where policy has changed since, it comes now.
        State::Suspect { reported: Some(_), .. } => {
            (policy.liveness.verdict == Verdict::End).then_some(clocks.patient_until)
        }
        State::Connecting { deadline } | State::Suspect { deadline, .. } => Some(patient(deadline)),
        State::PeerClosed { deadline, .. } | State::Closing { deadline, .. } => Some(deadline),
        State::Closed { .. } => return None,
    };
    let mut next = deadline.map(|at| (at, Due::Deadline));
    let mut consider = |at: Option<Instant>, due: Due| {
        if let Some(at) = at
            && next.is_none_or(|(earliest, _)| at < earliest)
        {
            next = Some((at, due));
        }
    };
    let ending = life.cause().is_some();
    if !ending {
        consider(clocks.header.map(patient), Due::Header);
        consider(clocks.ages, Due::Age);
    }
    consider(second_probe_due(life.state()), Due::SecondProbe);
    if life.is_open() {
        consider(suspicion_due(life, heartbeat, clocks), Due::Suspicion);
    }
    if life.is_open() || life.state().is_reported() {
        consider(ping_due(life, heartbeat, clocks), Due::Ping);
        // A peer that is to take output is not left alone: whether it does is for `slow_time` to say.
        let idle_timeout = policy.bounds.idle_timeout.filter(|_| clocks.output_moved.is_none());
        consider(idle_timeout.map(|timeout| patient(clocks.used + timeout)), Due::Idle);
        let quiet_since = clocks.oob_sent.max(life.heard());
        consider(clocks.lasts, Due::Lasts);
        consider(policy.liveness.probe_oob.map(|interval| quiet_since + interval), Due::OobProbe);
    }
    // What a peer is not sent, it cannot be slow to take; nor what waits for a connection to be made.
    if !ending && !life.state().holds_output() && !life.state().is_connecting() {
        consider(clocks.output_moved.map(|moved| patient(moved + policy.bounds.slow_time)), Due::Slow);
    }
    // Nothing is known of one that is being made but whether it is.
    if let (Some(asked), Some(interval)) = (clocks.info_asked, policy.liveness.tcp_info_interval)
        && !life.state().is_connecting()
    {
        consider(Some(asked + interval), Due::TcpInfo);
    }
    next
}

/// One ping a silence: after it, only an answer or the timeout.
fn ping_due(life: &Life, heartbeat: &Heartbeat, clocks: &Clocks) -> Option<Instant> {
    (heartbeat.style.server_pings() && !pinged(life, clocks))
        .then(|| silent_since(life, heartbeat) + heartbeat.interval)
}

/// A ping of ours is not answered yet.
fn pinged(life: &Life, clocks: &Clocks) -> bool {
    clocks.pinged > life.heard()
}

fn suspicion_due(life: &Life, heartbeat: &Heartbeat, clocks: &Clocks) -> Option<Instant> {
    let silent = (silent_since(life, heartbeat) + heartbeat.timeout).max(clocks.patient_until);
    match heartbeat.style {
        HeartbeatStyle::Off => None,
        // A ping that left late has as long for its answer as one that left in time.
        HeartbeatStyle::Server | HeartbeatStyle::Both if pinged(life, clocks) => {
            Some(silent.max(clocks.pinged + heartbeat.timeout.saturating_sub(heartbeat.interval)))
        }
        HeartbeatStyle::Client | HeartbeatStyle::Server | HeartbeatStyle::Both => Some(silent),
    }
}

/// Half-way to the verdict: one packet that is lost must not make a peer that lives look gone, and the answer to another
/// needs time. A peer whose kernel spoke less than a second before the suspicion may be probed for the first time only
/// later than that (`sys::Stream::probe_peer`): then nothing is known to be unanswered, and nothing is repeated.
fn second_probe_due(state: State) -> Option<Instant> {
    match state {
        State::Suspect { since, deadline, probed_again: false, reported: None, .. } => {
            let at = since + (deadline.since(since) / 2).max(BETWEEN_PROBES);
            (at < deadline).then_some(at)
        }
        State::Connecting { .. }
        | State::Handshaking
        | State::Open
        | State::Suspect { .. }
        | State::PeerClosed { .. }
        | State::Closing { .. }
        | State::Closed { .. } => None,
    }
}

/// Since when the peer has been silent although it was to be heard from.
fn silent_since(life: &Life, heartbeat: &Heartbeat) -> Instant {
    life.heard().max(heartbeat.since)
}

/// Whether a peer has acknowledged nothing since it was sent an out-of-band byte at `sent`. Output may be on its way for
/// another reason: that alone says nothing. `now`: when the kernel was asked.
pub fn has_acknowledged_nothing(evidence: &TcpSnapshot, sent: Instant, now: Instant) -> bool {
    let quiet_ms = now.since(sent).as_millis();
    evidence.unacked > 0 && u128::from(evidence.last_ack_recv_ms) > quiet_ms + LAST_ACK_COARSE_MS
}

/// Linux answers such packets as a probe once in 500 ms, so that a lost answer is not made good before that
/// (`tcp_invalid_ratelimit`; `net/ipv4/tcp_input.c: tcp_oow_rate_limited`). The first may leave some time later than it was
/// meant to. Within a grace no longer than this nobody is probed twice.
const BETWEEN_PROBES: Duration = Duration::from_millis(600);

/// Whether a second probe may leave: the first is unanswered, and the kernel would send one rather than end the connection.
/// Where two are unanswered, the kernel repeats them by itself.
///
/// Made to probe while a probe is out, the kernel judges at once, by its `limits`; and so it does once more when keepalive is
/// as before ([`restore_keepalive`](crate::net::Stream::restore_keepalive)), which two probes must not be too many for.
pub fn may_probe_again(evidence: &TcpSnapshot, limits: ProbeLimits) -> bool {
    let quiet_ms = evidence.last_ack_recv_ms.min(evidence.last_data_recv_ms);
    let is_kept = match limits.user_timeout {
        Some(timeout) => u128::from(quiet_ms) + SOON_MS < timeout.as_millis(),
        None => limits.count > 2,
    };
    evidence.probes == 1 && is_kept
}

/// Within this the kernel has looked at a connection that it was told to probe, and the peer has answered.
const SOON_MS: u128 = 1000;

/// How coarse `tcpi_last_ack_recv` is: the kernel counts it in jiffies, of 10 ms at the longest (`CONFIG_HZ`).
/// An ACK that answers the probe at once may look that much older than the suspicion.
const LAST_ACK_COARSE_MS: u128 = 10;

/// An ACK younger than this proves that no probe has been out for long enough to be called unanswered: within a
/// second of one the kernel sends none (`sys::Stream::probe_peer`), and an answer may take what the kernel
/// waits for before it sends anything again (`TCP_RTO_MIN`, 200 ms).
const PROBE_MS: u128 = 1200;

/// What [`verdict`] can say.
pub const VERDICTS: [Reason; 3] = [Reason::LostHeartbeat, Reason::StuckZeroWindow, Reason::StuckFrozen];

/// What it means that a suspect peer, probed at `since`, was not heard from by `now`: did its kernel answer?
///
/// A peer's kernel acknowledges our probe whatever its program does, so an ACK younger than the suspicion
/// proves the host alive and the program stuck. A shut window says more, but only if the program has not read
/// since: `notsent_bytes` is what the kernel held back at `since`, and nothing was added, as output is
/// withheld. `None` (a unix socket) has a kernel that is ours.
pub fn verdict(evidence: Option<TcpSnapshot>, since: Instant, notsent_bytes: u32, now: Instant) -> Reason {
    let Some(evidence) = evidence else { return Reason::StuckFrozen };
    let suspect_ms = now.since(since).as_millis();
    let answered = u128::from(evidence.last_ack_recv_ms) <= (suspect_ms + LAST_ACK_COARSE_MS).max(PROBE_MS);
    // Output that waits while none is on its way has no room: less than a segment is as shut as 0.
    let shut = evidence.snd_wnd == 0 || (evidence.notsent_bytes > 0 && evidence.unacked == 0);
    let unread = evidence.notsent_bytes >= notsent_bytes;
    // While output waits for the window the kernel sends no other probes than those of the window, up to 120 s
    // apart (`TCP_RTO_MAX`). None of them is unanswered: the last thing known of the peer's kernel is that it
    // is there.
    let probed = evidence.notsent_bytes > 0 && evidence.unacked == 0 && evidence.probes == 0;
    match (answered || probed, shut && unread) {
        (false, _) => Reason::LostHeartbeat,
        (true, true) => Reason::StuckZeroWindow,
        (true, false) => Reason::StuckFrozen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::end::Detector;

    const T0: Instant = Instant::from_millis(1_000);
    const NOW: Instant = Instant::from_millis(9_000);

    #[test]
    fn a_second_probe_leaves_where_the_kernel_would_only_send_it() {
        let evidence = |probes, last_ack_recv_ms| TcpSnapshot {
            probes,
            last_ack_recv_ms,
            last_data_recv_ms: 60_000,
            ..TcpSnapshot::default()
        };
        let count = |count| ProbeLimits { count, user_timeout: None };
        let timeout = |millis| ProbeLimits { count: 1, user_timeout: Some(Duration::from_millis(millis)) };
        assert!(!may_probe_again(&evidence(0, 9_000), count(9)), "no probe is out");
        assert!(may_probe_again(&evidence(1, 9_000), count(9)));
        assert!(!may_probe_again(&evidence(2, 9_000), count(9)), "the kernel repeats it");
        assert!(may_probe_again(&evidence(1, 9_000), count(3)));
        assert!(!may_probe_again(&evidence(1, 9_000), count(2)), "it would end with keepalive as before");
        assert!(may_probe_again(&evidence(1, 9_000), timeout(10_001)), "the count is of no account");
        assert!(!may_probe_again(&evidence(1, 9_000), timeout(10_000)), "it would end at once");
    }

    #[test]
    fn a_second_probe_is_due_half_way_but_not_before_the_peer_answers_one() {
        let due = |grace_ms| {
            let deadline = T0 + Duration::from_millis(grace_ms);
            let detector = Detector::Heartbeat;
            second_probe_due(State::Suspect {
                deadline,
                since: T0,
                detector,
                notsent_bytes: 0,
                probed_again: false,
                reported: None,
            })
            .map(|at| at.since(T0).as_millis())
        };
        assert_eq!(
            [due(0), due(600), due(601), due(1_000), due(5_000)],
            [None, None, Some(600), Some(600), Some(2_500)]
        );
    }

    #[test]
    fn a_probe_out_of_band_that_was_acknowledged_at_once_is_no_loss() {
        let evidence =
            |last_ack_recv_ms, unacked| TcpSnapshot { unacked, last_ack_recv_ms, ..TcpSnapshot::default() };
        // Sent eight seconds ago, and other output is on its way by now.
        let silent = |last_ack_recv_ms, unacked| {
            has_acknowledged_nothing(&evidence(last_ack_recv_ms, unacked), T0, NOW)
        };
        assert!(!silent(8_000, 1), "acknowledged within the same millisecond");
        assert!(!silent(8_010, 1), "the kernel's clock is coarse");
        assert!(silent(8_011, 1));
        assert!(!silent(60_000, 0), "all is acknowledged");
    }

    #[test]
    fn silence_is_judged_by_what_the_peers_kernel_did_since_the_suspicion() {
        let evidence = |last_ack_recv_ms, snd_wnd| {
            Some(TcpSnapshot { last_ack_recv_ms, snd_wnd, ..TcpSnapshot::default() })
        };
        // Suspect for eight seconds.
        assert_eq!(verdict(evidence(8_011, 100), T0, 0, NOW), Reason::LostHeartbeat);
        assert_eq!(
            verdict(evidence(8_010, 100), T0, 0, NOW),
            Reason::StuckFrozen,
            "the kernel's clock is coarse"
        );
        assert_eq!(verdict(evidence(60_000, 0), T0, 0, NOW), Reason::LostHeartbeat);
        assert_eq!(verdict(evidence(7_999, 100), T0, 0, NOW), Reason::StuckFrozen);
        assert_eq!(verdict(evidence(10, 0), T0, 0, NOW), Reason::StuckZeroWindow);
        let narrow = TcpSnapshot { snd_wnd: 100, notsent_bytes: 5_000, ..TcpSnapshot::default() };
        assert_eq!(verdict(Some(narrow), T0, 0, NOW), Reason::StuckZeroWindow);
        assert_eq!(verdict(Some(narrow), T0, 5_000, NOW), Reason::StuckZeroWindow);
        assert_eq!(verdict(Some(narrow), T0, 5_001, NOW), Reason::StuckFrozen, "silent, but it reads");
        let between_probes = TcpSnapshot { last_ack_recv_ms: 60_000, ..narrow };
        assert_eq!(verdict(Some(between_probes), T0, 0, NOW), Reason::StuckZeroWindow);
        let probed = TcpSnapshot { probes: 1, ..between_probes };
        assert_eq!(
            verdict(Some(probed), T0, 0, NOW),
            Reason::LostHeartbeat,
            "a probe of the window is unanswered"
        );
        let on_its_way = TcpSnapshot { unacked: 1, ..narrow };
        assert_eq!(verdict(Some(on_its_way), T0, 0, NOW), Reason::StuckFrozen);
        let soon = T0 + Duration::from_millis(700);
        assert_eq!(
            verdict(evidence(1_200, 100), T0, 0, soon),
            Reason::StuckFrozen,
            "no probe was out for long"
        );
        assert_eq!(verdict(evidence(1_201, 100), T0, 0, soon), Reason::LostHeartbeat);
        assert_eq!(verdict(None, T0, 0, NOW), Reason::StuckFrozen);
    }
}
