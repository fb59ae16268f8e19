//! Whether the server's account of an ending agrees with what really happened, as only the simulation knows it.
//!
//! For each reason there are facts without which it is wrong. Where races make several reasons right, the
//! facts of each are enough for it. That something which happened is noticed *at all* is not judged
//! here: the checks of every turn (lost edges, timers) and the quiescence at the end see to that.

use super::facts::Oracle;
use super::peer::Said;
use super::tcp::{Death, Sock};
use super::timers::RETRIES_ORPHAN;
use super::world::{Side, World};
use crate::config::settings::ListenerSettings;
use crate::core::conn::delivery::{Delivery, delivery};
use crate::core::conn::liveness::may_probe_again;
use crate::core::conn::policy::{AuditEnd, HeartbeatStyle, LastRung, Policy, Verdict};
use crate::core::end::{Class, CloseMode, Detector, End, Leg, Reason};
use crate::core::tcp::{TcpSnapshot, TcpState};
use crate::core::time::Duration;
use crate::net::{CloseHow, SocketError};
use crate::protocol::Protocol;
use crate::protocol::gateway::{self, Removed};

/// What an account is compared with.
pub(super) struct Case<'a> {
    /// The world.
    pub world: &'a World,
    /// Which connection.
    pub conn: usize,
    /// Its listener, or that of its pair's client.
    pub settings: &'a ListenerSettings,
    /// Life, closing and bounds of its side of that.
    pub policy: &'a Policy,
    /// The upstream, where it relays.
    pub upstream: Option<&'a gateway::Upstream>,
    /// What the server says.
    pub end: &'a End,
    /// The server was told to go.
    pub draining: bool,
    /// Most connections of the whole server.
    pub connections_max: Option<u32>,
    /// How often the socket table is compared with the server's own.
    pub audits: Option<Duration>,
}

impl Case<'_> {
    /// What is wrong with the server's account, if anything.
    pub(super) fn judge(&self) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("c{}: {what}; the server says: {}", self.conn, self.end));
        let truth = self.oracle();
        let Some((_, how)) = truth.closed else { return wrong("its socket was not closed") };
        if truth.ended {
            return wrong("it had ended before");
        }
        if self.end.bytes_in != truth.read {
            return wrong(&format!("{} bytes were received", truth.read));
        }
        let probe = truth.written.checked_sub(self.end.bytes_out);
        if probe.is_none_or(|probe| probe > 24) {
            return wrong(&format!("{} bytes were sent", truth.written));
        }
        let fits = matches!(
            (self.end.close, how),
            (CloseMode::Linger2, CloseHow::Linger2 | CloseHow::Plain)
                | (CloseMode::Reset, CloseHow::Reset)
                | (
                    CloseMode::PeerFirst
                        | CloseMode::PeerFirstAfterGoodbye
                        | CloseMode::ProbeReset
                        | CloseMode::ForwardedFin,
                    CloseHow::Plain
                )
        );
        if !fits {
            return wrong(&format!("it was closed {how:?}"));
        }
        if matches!(self.end.close, CloseMode::PeerFirst | CloseMode::PeerFirstAfterGoodbye)
            && !self.server().is_some_and(|sock| sock.fin_seen)
        {
            return wrong("the peer had not closed");
        }
        let unanswered = delivery(&self.at_close().3) == Delivery::Unanswered && !self.has_just_connected();
        if unanswered && self.end.close == CloseMode::Linger2 && self.resets_the_unreachable() {
            return wrong("its kernel acknowledged nothing any more");
        }
        match self.reason_is_wrong() {
            Some(what) => wrong(&what),
            None => self.judge_delivery(),
        }
    }

    fn resets_the_unreachable(&self) -> bool {
        self.policy.closing.unreachable == LastRung::Reset
    }

    /// How long the server's end may stay after its close without a word of its peer's kernel; `None`: as long as the
    /// peer has no room for what it holds.
    pub(super) fn orphan_time(&self) -> Option<u64> {
        let (.., evidence) = self.at_close();
        let fits = evidence.notsent_bytes == 0 && evidence.snd_wnd > 0;
        let bounded = fits && self.resets_the_unreachable() && self.end.close == CloseMode::Linger2;
        let linger = nanos(self.policy.closing.linger).max(1_000_000_000);
        let rto = self.world.conn(self.conn).sizes.rto;
        // The kernel is not asked, and has its own bound (tcp_orphan_retries, each twice as long as the one before).
        if self.has_just_connected() {
            return bounded.then_some(linger + (2 << RETRIES_ORPHAN) * rto);
        }
        // The kernel looks when it retransmits, and it may have waited for that already.
        bounded.then_some(linger + 8 * rto)
    }

    /// An upstream server has answered within the last second, when it was connected.
    fn has_just_connected(&self) -> bool {
        let is_upstream = matches!(self.end.pair, Some((Leg::Upstream, _)));
        is_upstream && Duration::from(self.end.age) < Duration::from_secs(1) && self.end.bytes_out <= 10 * 536
    }

    pub(super) fn oracle(&self) -> &Oracle {
        &self.world.conn(self.conn).oracle
    }

    fn said(&self) -> &Said {
        &self.oracle().said
    }

    pub(super) fn server(&self) -> Option<&Sock> {
        self.world.conn(self.conn).end(Side::Ours)
    }

    pub(super) fn death(&self) -> Option<Death> {
        self.server().and_then(Sock::death).map(|(_, death)| death)
    }

    /// The server held output when it gave up, so it closed slowly and went on reading and sending: what the
    /// kernel knew at the close is not what it knew at the verdict.
    pub(super) fn closed_slowly(&self) -> bool {
        self.oracle().closing || self.end.close != CloseMode::Reset || self.death().is_some()
    }

    /// When it was closed.
    pub(super) fn closed_at(&self) -> u64 {
        self.at_close().0
    }

    /// When it was closed, and what the kernel knew then.
    pub(super) fn at_close(&self) -> (u64, TcpState, usize, TcpSnapshot) {
        let at = self.oracle().closed.map_or(self.world.now(), |(at, _)| at);
        let (state, unread, evidence) =
            self.oracle().at_close.unwrap_or((TcpState::Close, 0, TcpSnapshot::default()));
        (at, state, unread, evidence)
    }

    /// The facts without which a reason is wrong.
    fn reason_is_wrong(&self) -> Option<String> {
        let need = |fact: bool, what: &str| if fact { None } else { Some(what.to_owned()) };
        let (truth, said) = (self.oracle(), self.said());
        let goodbye = truth.has_read(said.goodbye);
        let broken = truth.has_read(said.broken);
        let fin = self.server().is_some_and(|sock| sock.fin_seen);
        if self.end.detector == Detector::Partner {
            // Compared with the partner's, once both have ended.
            return need(self.end.pair.is_some(), "it has no partner");
        }
        if self.end.detector == Detector::Connect || self.end.reason.class() == Class::Upstream {
            return self.upstream_is_wrong();
        }
        match self.end.reason {
            Reason::PeerGoodbye => need(goodbye, "it had not said goodbye"),
            Reason::PeerFin | Reason::PeerFinMidframe => {
                let midframe = self.settings.protocol == Protocol::Resp && said.whole != said.sent;
                need(fin && truth.eof || truth.tls.is_some(), "no FIN had come")
                    .or_else(|| self.last_word_is_wrong(fin && truth.eof))
                    .or_else(|| need(!goodbye, "it had said goodbye"))
                    .or_else(|| need(!broken, "it had broken the protocol"))
                    .or_else(|| {
                        let says = self.end.reason == Reason::PeerFinMidframe;
                        need(said.torn || midframe == says, "whether a frame was whole is wrong")
                    })
            }
            Reason::PeerReset => need(self.death() == Some(Death::Reset), "no RST had come"),
            Reason::PeerResetAfterFin => {
                need(self.death() == Some(Death::ResetAfterFin), "no RST had come after a FIN")
            }
            Reason::PeerReplaced => need(self.was_replaced(), "nobody had taken its identity"),
            Reason::LostKeepalive => {
                need(self.death() == Some(Death::Keepalive), "keepalive had not given up")
            }
            Reason::LostUnacked => need(
                matches!(
                    self.death(),
                    Some(Death::Unacked | Death::ZeroWindowUnclear | Death::ZeroWindowSilent)
                ) || self.end.detector == Detector::OobProbe
                    && (self.at_close().3.unacked > 0 || self.closed_slowly()),
                "nothing was unacknowledged for too long",
            ),
            Reason::LostUnreachable => need(
                self.death().is_some() && truth.failed == Some(SocketError::Unreachable)
                    || self.end.detector == Detector::TcpInfo,
                "no router had said so",
            ),
            Reason::LostHeartbeat | Reason::StuckFrozen => self.silence_is_wrong(),
            Reason::StuckZeroWindow => match self.death() {
                // That of a heartbeat came before it died, if it has died since.
                Some(death) if self.end.detector != Detector::Heartbeat => need(
                    matches!(death, Death::ZeroWindow | Death::ZeroWindowUnclear),
                    "it was not the window",
                ),
                Some(_) | None => self.silence_is_wrong(),
            },
            Reason::SlowBytes => need(self.had_output(), "nothing waited for it"),
            Reason::SlowTime => self.slowness_is_wrong(),
            Reason::ProtocolMalformed | Reason::ProtocolUnsupported => {
                need(broken && !said.oversized, "it had kept to the protocol")
            }
            Reason::ProtocolOversized => need(broken && said.oversized, "its frames were small enough"),
            Reason::ProtocolHandshakeTimeout => self.handshake_timeout_is_wrong(),
            Reason::LocalIdle => need(self.was_unused(), "it had time left"),
            Reason::LocalDrain => need(
                self.draining || self.removes_servers(&[Removed::Drain, Removed::Cut]),
                "nobody had asked the server to go",
            ),
            Reason::LocalLimit => need(
                self.settings.connections_max.is_some() || self.connections_max.is_some(),
                "there was room",
            ),
            Reason::LocalAcceptRate
            | Reason::LocalSourceLimit
            | Reason::LocalSourceRate
            | Reason::LocalDenied
            | Reason::LocalMaxAge => self.limit_is_wrong(),
            Reason::LocalInternal => need(truth.unwatchable, "nothing had failed here"),
            Reason::LocalAudit => self.audit_is_wrong(),
            Reason::PeerTruncated | Reason::ProtocolTls if truth.tls.is_some() => {
                self.last_word_is_wrong(fin && truth.eof)
            }
            Reason::LocalKicked
            | Reason::PeerTruncated
            | Reason::ProtocolTls
            | Reason::ProtocolNoRoute
            | Reason::UpstreamTruncated
            | Reason::UpstreamTls
            | Reason::ProtocolAuth
            | Reason::ProtocolProxyMissing
            | Reason::ProtocolProxyMalformed
            | Reason::ProtocolProxyUntrusted
            | Reason::ProtocolProxyTimeout
            | Reason::UpstreamFin
            | Reason::UpstreamReset
            | Reason::UpstreamRefused
            | Reason::UpstreamUnreachable
            | Reason::UpstreamConnectTimeout
            | Reason::UpstreamLost
            | Reason::UpstreamStuck
            | Reason::UpstreamUnavailable
            | Reason::UpstreamNoPorts => need(false, "nothing of that kind had happened"),
        }
    }

    /// Its opening exchange had time left, or had begun.
    fn handshake_timeout_is_wrong(&self) -> Option<String> {
        let need = |fact: bool, what: &str| if fact { None } else { Some(what.to_owned()) };
        let timeout = self.policy.bounds.handshake_timeout;
        need(timeout.is_some_and(|timeout| Duration::from(self.end.age) >= timeout), "it had time left")
            .or_else(|| {
                let deadline = self.oracle().accepted.unwrap_or(0) + timeout.map_or(0, nanos);
                need(self.oracle().spoke.is_none_or(|at| at >= deadline), "it had spoken")
            })
    }

    /// Something waited for it when it was ended for that.
    fn had_output(&self) -> bool {
        let (.., evidence) = self.at_close();
        let full = evidence.unacked > 0 || evidence.notsent_bytes > 0;
        // What clients are sent by name within one turn is offered to them when that is over.
        let by_name = self.end.pair.is_some() && self.end.messages_out > 0;
        full || by_name || self.end.unsent_bytes > 0 || self.closed_slowly()
    }

    fn was_unused(&self) -> bool {
        // What an echo client sends is used at once, and it is sent nothing else.
        let is_echo = self.settings.protocol == Protocol::Echo;
        let unused = Duration::from(if is_echo { self.end.silence } else { self.end.age });
        self.policy.bounds.idle_timeout.is_some_and(|timeout| unused >= timeout)
    }

    /// An audit has ended it: it was dead, or closed by its peer and at rest, and had been for an audit at least.
    fn audit_is_wrong(&self) -> Option<String> {
        let audit = self.policy.liveness.audit;
        let (Some(interval), true) = (self.audits, audit.end != AuditEnd::Nothing) else {
            return Some("nobody had asked for it".into());
        };
        let (at, state, ..) = self.at_close();
        let truth = self.oracle();
        let death = self.server().and_then(Sock::death);
        // One that is being closed may die after the verdict.
        if let Some((died, _)) = death.filter(|_| !truth.closing) {
            let long = died + nanos(interval) <= at;
            return (!long).then(|| "it had died since the audit before".into());
        }
        let (Some(patience), AuditEnd::All) = (audit.close_wait, audit.end) else {
            return Some("it was not dead".into());
        };
        // While it is being closed, it is read to its end after the verdict.
        if !self.server().is_some_and(|sock| sock.fin_seen) || truth.eof && !self.closed_slowly() {
            return Some("its peer had not closed, or that was known".into());
        }
        if self.closed_slowly() {
            return None;
        }
        if state != TcpState::CloseWait {
            return Some(format!("it was in {state:?}"));
        }
        let rested = at.saturating_sub(truth.last_read.max(truth.last_write));
        (rested < nanos(patience).max(nanos(interval)))
            .then(|| format!("it had moved {:.3} s ago", super::world::in_seconds(rested)))
    }

    fn was_replaced(&self) -> bool {
        let said = self.said();
        let newer = |other: &super::world::Conn| {
            let (truth, theirs) = (&other.oracle, &other.oracle.said);
            theirs.identity == said.identity && truth.has_read(theirs.ident)
        };
        let others = || self.world.conns.iter().enumerate().filter(|(index, _)| *index != self.conn);
        self.world.name_was_taken(self.conn)
            || said.identity.is_some()
                && self.oracle().has_read(said.ident)
                && others().any(|(_, other)| newer(other))
    }

    /// Whether somebody else kept it alive for a while: it was heard by more than what it said itself.
    fn was_spoken_for(&self) -> bool {
        let speaks = |other: &super::world::Conn| {
            let said = &other.oracle.said;
            said.beats_for.is_some()
                && said.beats_for == self.said().identity
                && other.oracle.has_read(said.beat_for)
        };
        self.world.conns.iter().any(speaks)
    }

    /// The heartbeat contract in force: timeout and grace, in nanoseconds.
    fn contract(&self) -> Option<(u64, u64)> {
        let said = self.said();
        let listener = &self.policy.liveness.heartbeat;
        if let Some(beat) = said.beat.filter(|_| self.oracle().has_read(said.ident)) {
            // Contracts are kept in milliseconds.
            let timeout = nanos(beat) / 1_000_000 * 1_000_000;
            let least = 1_500_000_000_u64.saturating_sub(timeout);
            return Some((timeout, (timeout / 2).max(least).min(nanos(listener.grace))));
        }
        match listener.style {
            HeartbeatStyle::Client | HeartbeatStyle::Both => {
                Some((nanos(listener.timeout), nanos(listener.grace)))
            }
            HeartbeatStyle::Off | HeartbeatStyle::Server => None,
        }
    }

    /// A verdict after silence: it must have been silent for that long, nothing of its may lie unread, and
    /// whether its kernel answered must be as the verdict says.
    fn silence_is_wrong(&self) -> Option<String> {
        if self.policy.liveness.verdict == Verdict::Report {
            return Some("it was only to be reported".into());
        }
        let device = self.said().device;
        if self.end.detector == Detector::HeartbeatChannel && device.is_none() {
            return Some("it had agreed to no heartbeat channel".into());
        }
        let Some((timeout, grace)) = self.contract() else { return Some("no heartbeat was agreed".into()) };
        if let Some(device) = device {
            // Its own silence says nothing: it beats through another connection.
            return self.device_was_heard(device, timeout, grace);
        }
        let (at, _, unread, evidence) = self.at_close();
        let silence = at.saturating_sub(self.oracle().last_read);
        let slow = self.closed_slowly();
        if silence < timeout + grace && !slow {
            return Some(format!("it was heard from {:.3} s ago", super::world::in_seconds(silence)));
        }
        // Late by no more than a tick, the wake-up, and what kept the loop; which then waits as long again.
        let late = silence.saturating_sub(timeout + grace);
        let excuse = 20_000_000 + 2 * self.world.stalled(self.oracle().process, at, silence);
        let by_silence = self.end.detector == Detector::Heartbeat && self.death().is_none();
        // An edge of one that is paused is a sign of life, also where nobody caused it; a leg is paused while it is connected.
        let misheard = self.end.pair.is_some() && self.world.faults.spurious > 0;
        if by_silence
            && !slow
            && !misheard
            && !self.was_spoken_for()
            && !self.world.conn(self.conn).oracle.revived
            && late > excuse
        {
            return Some(format!("the verdict is {:.3} s late", super::world::in_seconds(late)));
        }
        if u64::try_from(Duration::from(self.end.silence).as_nanos()).unwrap_or(0) < timeout + grace {
            return Some("the silence was too short for a verdict".into());
        }
        if unread > 0 && !slow {
            return Some(format!("{unread} bytes from it lay unread"));
        }
        let answered_ago = u64::from(evidence.last_ack_recv_ms) * 1_000_000;
        let slack = 10_000_000;
        if self.end.reason == Reason::LostHeartbeat {
            if self.kernel_must_have_answered(at, timeout, grace) {
                return Some("its kernel was there to answer the probe".into());
            }
            return (!slow && answered_ago + slack < grace).then(|| "its kernel had answered".into());
        }
        let fresh = (grace + slack + 2_000_000 + 2 * self.world.stalled(self.oracle().process, at, silence))
            .max(FRESH);
        // Between two probes of the window nothing is to be answered.
        let between = evidence.notsent_bytes > 0 && evidence.probes == 0;
        if !slow && answered_ago > fresh && !between {
            return Some("its kernel had not answered".into());
        }
        let open = evidence.snd_wnd > 0 && evidence.notsent_bytes == 0;
        (!slow && self.end.reason == Reason::StuckZeroWindow && open).then(|| "its window was open".into())
    }

    /// Whether a probe sent when it became suspect must have been answered in time.
    fn kernel_must_have_answered(&self, at: u64, timeout: u64, grace: u64) -> bool {
        let conn = self.world.conn(self.conn);
        let host = &self.world.hosts[conn.host];
        let round_trip = 2 * (host.latency + self.world.faults.jitter) + 20_000_000;
        let silence = at.saturating_sub(self.oracle().last_read);
        let suspect_at =
            at.saturating_sub(grace + 2 * self.world.stalled(self.oracle().process, at, silence));
        let alive = !host.cut && !conn.forgotten && conn.end(Side::Theirs).is_some();
        // While probes are unanswered that an outage swallowed, the next may leave only when the listener's interval is over,
        // and they count against a peer that is back; but one alone is repeated.
        let evidence = self.at_close().3;
        let repeated = self.server().is_some_and(|sock| may_probe_again(&evidence, sock.probe_limits()));
        let probed_in_vain = evidence.probes > 0 && !(repeated && grace > 2 * round_trip);
        // The kernel sends no probe on a connection that was quiet for less than a second.
        let probed_after = 1_000_000_000;
        alive
            && !probed_in_vain
            && !self.world.lossy
            && host.reachable_since + timeout < suspect_at
            && conn.oracle.said.forgot.is_none()
            && grace > round_trip + probed_after
            && self.server().is_some_and(|sock| sock.output.is_empty())
    }

    fn slowness_is_wrong(&self) -> Option<String> {
        let slow = nanos(self.policy.bounds.slow_time);
        let (at, ..) = self.at_close();
        if self.closed_slowly() {
            return None;
        }
        if at.saturating_sub(self.oracle().last_write) < slow {
            return Some("it had taken output lately".into());
        }
        let (.., evidence) = self.at_close();
        if evidence.notsent_bytes == 0 && evidence.unacked == 0 {
            return Some("the kernel had room for what was withheld".into());
        }
        None
    }

    /// No byte is lost where both sides end in order.
    fn judge_delivery(&self) -> Result<(), String> {
        let (truth, said) = (self.oracle(), self.said());
        if truth.tls.is_some() {
            let wrong = self.session_is_wrong(self.ends_in_order());
            return wrong.map_or(Ok(()), |what| Err(format!("c{}: {what}", self.conn)));
        }
        let orderly = self.end.reason == Reason::PeerFin && self.end.close == CloseMode::PeerFirst;
        if self.settings.protocol == Protocol::Echo && orderly {
            if truth.read != said.sent {
                return Err(format!(
                    "c{}: {} of {} bytes were read before the FIN",
                    self.conn, truth.read, said.sent
                ));
            }
            if self.end.bytes_out != truth.read {
                return Err(format!(
                    "c{}: {} of {} bytes were sent back to a client that only half-closed",
                    self.conn, self.end.bytes_out, truth.read
                ));
            }
        }
        Ok(())
    }
}

/// An ACK this young proves that no probe has gone unanswered: within a second of one the kernel sends none.
const FRESH: u64 = 1_210_000_000;

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4)
}
