//! The kernel's timers of one end of a connection: retransmission, window probes, keepalive, waiting.
//!
//! They follow `net/ipv4/tcp_timer.c`: which deaths there are, after how long, and what is left in
//! `TCP_INFO` to tell them apart.

use super::tcp::{Death, Flags, Outbox, Sock, reset, wake};
use crate::core::tcp::TcpState;
use crate::core::time::Duration;
use crate::net::{ProbeLimits, SocketError};

/// Nanoseconds in a second.
pub(super) const SECOND: u64 = 1_000_000_000;
/// `TCP_RTO_MAX`.
const RTO_MAX: u64 = 120 * SECOND;
/// `TCP_TIMEWAIT_LEN`, and `tcp_fin_timeout` by default.
const WAIT: u64 = 60 * SECOND;
/// `tcp_retries2` by default.
const RETRIES: u32 = 15;
/// `tcp_orphan_retries` by default.
pub(super) const RETRIES_ORPHAN: u32 = 8;
/// `tcp_syn_retries` and `tcp_synack_retries`, about.
const RETRIES_SYN: u32 = 5;

/// When things happened, and when the next ones are due. Nanoseconds.
#[derive(Debug)]
pub(super) struct Clockwork {
    /// When anything last came from the peer's kernel (`rcv_tstamp`).
    pub(super) last_ack: u64,
    /// When data last came (`lrcvtime`).
    pub(super) last_data: u64,
    /// Retransmission timeouts in a row.
    pub(super) retransmits: u32,
    /// Unanswered probes in a row.
    pub(super) probes: u32,
    pub(super) fin_acked: bool,
    /// The program's own idle time, while it asks for a probe now.
    pub(super) keep_idle: Option<u64>,
    rto: u64,
    retransmit_at: Option<u64>,
    /// When the oldest byte in flight was sent.
    in_flight_since: u64,
    probe_at: Option<u64>,
    /// Since when the window has been shut.
    shut_since: Option<u64>,
    window_probes: u32,
    keepalive_at: Option<u64>,
    wait_until: Option<u64>,
}

impl Clockwork {
    pub(super) const fn new(now: u64, rto: u64) -> Self {
        Self {
            last_ack: now,
            last_data: now,
            retransmits: 0,
            probes: 0,
            fin_acked: false,
            keep_idle: None,
            rto,
            retransmit_at: None,
            in_flight_since: now,
            probe_at: None,
            shut_since: None,
            window_probes: 0,
            keepalive_at: None,
            wait_until: None,
        }
    }

    pub(super) const fn on_contact(&mut self, now: u64) {
        self.last_ack = now;
        self.probes = 0;
    }

    pub(super) const fn on_progress(&mut self, now: u64) {
        self.retransmits = 0;
        self.in_flight_since = now;
        self.retransmit_at = None;
    }

    /// What is left are the figures that tell how it died.
    pub(super) const fn stop(&mut self) {
        self.retransmit_at = None;
        self.probe_at = None;
        self.keepalive_at = None;
        self.wait_until = None;
    }

    pub(super) const fn start_waiting(&mut self, now: u64) {
        self.wait_until = Some(now + WAIT);
    }

    fn backoff(&self, times: u32) -> u64 {
        (self.rto << times.min(20)).min(RTO_MAX)
    }

    fn next(&self) -> Option<u64> {
        let later = |at: Option<u64>| at.unwrap_or(u64::MAX);
        let next = later(self.retransmit_at)
            .min(later(self.probe_at))
            .min(later(self.keepalive_at))
            .min(later(self.wait_until));
        (next != u64::MAX).then_some(next)
    }
}

impl Sock {
    /// When its next timer is due.
    pub fn next_timer(&self) -> Option<u64> {
        self.clocks.next()
    }

    fn user_timeout(&self) -> Option<u64> {
        self.options.user_timeout.map(|timeout| u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX))
    }

    /// `TCP_USER_TIMEOUT`, from now on: a timer that is armed is not armed anew.
    pub(super) const fn set_user_timeout(&mut self, timeout: Duration) {
        self.options.user_timeout = Some(timeout);
    }

    /// After anything that may have changed what is in flight or waits for the window.
    pub(super) fn arm_output_timers(&mut self, now: u64) {
        if self.in_flight() > 0 {
            self.clocks.probe_at = None;
            self.clocks.shut_since = None;
            if self.clocks.retransmit_at.is_none() {
                self.clocks.in_flight_since = now;
                self.arm_retransmit(now);
            }
        } else if self.output.is_empty() {
            self.clocks.retransmit_at = None;
            self.clocks.probe_at = None;
            self.clocks.shut_since = None;
        } else if self.clocks.probe_at.is_none() {
            self.clocks.retransmit_at = None;
            self.clocks.shut_since.get_or_insert(now);
            self.clocks.window_probes = 0;
            self.arm_probe(now);
        }
    }

    fn arm_retransmit(&mut self, now: u64) {
        let mut at = now + self.clocks.backoff(self.clocks.retransmits);
        if let Some(timeout) = self.user_timeout() {
            // tcp_clamp_rto_to_user_timeout
            at = at.min((self.clocks.in_flight_since + timeout).max(now + 1_000_000));
        }
        self.clocks.retransmit_at = Some(at);
    }

    fn arm_probe(&mut self, now: u64) {
        let mut at = now + self.clocks.backoff(self.clocks.window_probes);
        if let (Some(timeout), Some(since)) = (self.user_timeout(), self.clocks.shut_since) {
            at = at.min((since + timeout).max(now + 1_000_000));
        }
        self.clocks.probe_at = Some(at);
    }

    /// Arms the SYN or SYN-ACK to come again.
    pub(super) fn arm_handshake(&mut self, now: u64) {
        let mut at = now + (SECOND << self.clocks.retransmits.min(6));
        if let Some(timeout) = self.user_timeout()
            && self.state == TcpState::SynSent
            && self.clocks.retransmits > 0
        {
            at = at.min((self.clocks.in_flight_since + timeout).max(now + 1_000_000));
        }
        self.clocks.retransmit_at = Some(at);
    }

    /// Runs the timers that are due. Returns who is to be woken.
    pub fn on_timer(&mut self, now: u64, out: &mut Outbox) -> u8 {
        let due = |at: Option<u64>| at.is_some_and(|at| at <= now);
        if due(self.clocks.wait_until) {
            self.done();
            return 0;
        }
        if matches!(self.state, TcpState::SynSent | TcpState::SynRecv) {
            return if due(self.clocks.retransmit_at) { self.on_handshake_timer(now, out) } else { 0 };
        }
        let mut woken = 0;
        if due(self.clocks.retransmit_at) {
            woken |= self.on_retransmit_timer(now, out);
        }
        if due(self.clocks.probe_at) {
            woken |= self.on_probe_timer(now, out);
        }
        if due(self.clocks.keepalive_at) {
            woken |= self.on_keepalive_timer(now, out);
        }
        woken
    }

    fn on_handshake_timer(&mut self, now: u64, out: &mut Outbox) -> u8 {
        let connects = self.state == TcpState::SynSent;
        // Before the first SYN has come again nothing has timed out (net/ipv4/tcp_timer.c: retransmits_timed_out).
        let timeout = self.user_timeout().filter(|_| connects && self.clocks.retransmits > 0);
        let too_long = timeout.is_some_and(|timeout| now >= self.clocks.in_flight_since + timeout);
        if too_long || self.clocks.retransmits >= RETRIES_SYN {
            if connects {
                let fault = self.soft_error.take().unwrap_or(SocketError::TimedOut);
                return self.die(fault, Death::Refused, now);
            }
            // The half-open request is forgotten; nobody is told.
            self.done();
            return 0;
        }
        self.clocks.retransmits += 1;
        let flags = if self.state == TcpState::SynSent { Flags::Syn } else { Flags::SynAck };
        let segment = self.segment(flags, 0, Vec::new());
        out.push(segment);
        self.arm_handshake(now);
        0
    }

    fn on_retransmit_timer(&mut self, now: u64, out: &mut Outbox) -> u8 {
        let expired = match self.user_timeout() {
            Some(timeout) => now >= self.clocks.in_flight_since + timeout,
            None => self.clocks.retransmits >= if self.orphan { RETRIES_ORPHAN } else { RETRIES },
        };
        if expired {
            let fault = self.soft_error.take().unwrap_or(SocketError::TimedOut);
            // A timer that the user timeout cut short has still counted as a retransmission.
            self.clocks.retransmits = self.clocks.retransmits.max(1);
            return self.die(fault, Death::Unacked, now);
        }
        self.clocks.retransmits += 1;
        self.snd_nxt = self.snd_una;
        let since = self.clocks.in_flight_since;
        self.transmit(now, out);
        self.clocks.in_flight_since = since;
        self.arm_retransmit(now);
        0
    }

    /// `net/ipv4/tcp_timer.c: tcp_probe_timer`.
    fn on_probe_timer(&mut self, now: u64, out: &mut Outbox) -> u8 {
        let since = self.clocks.shut_since.unwrap_or(now);
        let expired = match self.user_timeout() {
            Some(timeout) => now >= since + timeout,
            None => self.clocks.probes >= if self.orphan { RETRIES_ORPHAN } else { RETRIES },
        };
        if expired {
            let death = match self.clocks.probes {
                0 => Death::ZeroWindow,
                1 => Death::ZeroWindowUnclear,
                _ => Death::ZeroWindowSilent,
            };
            let fault = self.soft_error.take().unwrap_or(SocketError::TimedOut);
            return self.die(fault, death, now);
        }
        self.clocks.probes += 1;
        self.clocks.window_probes += 1;
        let segment = self.segment(Flags::Probe, self.snd_una.saturating_sub(1), Vec::new());
        out.push(segment);
        self.arm_probe(now);
        0
    }

    fn keep_idle(&self) -> Option<u64> {
        let configured = self.options.keepalive.map(|keepalive| whole_seconds(keepalive.idle));
        self.clocks.keep_idle.or(configured)
    }

    /// When it gives up a peer that answers no probe.
    pub(super) fn probe_limits(&self) -> ProbeLimits {
        ProbeLimits {
            count: self.options.keepalive.map_or(9, |keepalive| keepalive.count),
            user_timeout: self.user_timeout().map(Duration::from_nanos),
        }
    }

    /// Switches keepalive on, if the options have it (`tcp_set_keepalive`).
    pub(super) fn start_keepalive(&mut self, now: u64) {
        self.clocks.keepalive_at = self.keep_idle().map(|idle| now + idle);
    }

    /// Sets the idle time and looks at once (`tcp_sock_set_keepidle_locked`); none: back to the options.
    pub(super) fn set_keep_idle(&mut self, idle: Option<u64>, now: u64) {
        if self.state == TcpState::Close {
            return;
        }
        self.clocks.keep_idle = idle;
        let quiet = now - self.clocks.last_ack.max(self.clocks.last_data).min(now);
        self.clocks.keepalive_at = self.keep_idle().map(|idle| now + idle.saturating_sub(quiet));
    }

    /// `net/ipv4/tcp_timer.c: tcp_keepalive_timer`.
    fn on_keepalive_timer(&mut self, now: u64, out: &mut Outbox) -> u8 {
        let Some(idle) = self.keep_idle() else {
            self.clocks.keepalive_at = None;
            return 0;
        };
        if self.in_flight() > 0 || !self.output.is_empty() {
            self.clocks.keepalive_at = Some(now + idle);
            return 0;
        }
        let quiet = now - self.clocks.last_ack.max(self.clocks.last_data).min(now);
        if quiet < idle {
            self.clocks.keepalive_at = Some(now + idle - quiet);
            return 0;
        }
        let keepalive = self.options.keepalive;
        let interval = keepalive.map_or(75 * SECOND, |keepalive| whole_seconds(keepalive.interval));
        let expired = match self.user_timeout() {
            Some(timeout) => quiet >= timeout && self.clocks.probes > 0,
            None => self.clocks.probes >= self.probe_limits().count,
        };
        if expired {
            out.push(reset(self.snd_nxt));
            let fault = self.soft_error.take().unwrap_or(SocketError::TimedOut);
            return self.die(fault, Death::Keepalive, now) | wake::ERR;
        }
        self.clocks.probes += 1;
        let segment = self.segment(Flags::Probe, self.snd_una.saturating_sub(1), Vec::new());
        out.push(segment);
        self.clocks.keepalive_at = Some(now + interval);
        0
    }
}

/// As the options take it: whole seconds, rounded up, at least 1.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0)).max(1) * SECOND
}
