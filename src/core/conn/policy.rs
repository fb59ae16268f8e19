//! What a listener asks of its connections: how their life is watched, how they are closed, and the
//! bounds they live within. Plain values; the configuration fills them, one set a listener.

use crate::core::tcp::Keepalive;
use crate::core::time::{Duration, Instant};

/// Everything a listener asks of a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// How its life is watched.
    pub liveness: Liveness,
    /// How it is closed.
    pub closing: Closing,
    /// What it may use.
    pub bounds: Bounds,
}

impl Policy {
    /// Whether a connection that was just accepted has a deadline at all.
    pub fn watches_newcomers(&self) -> bool {
        self.bounds.handshake_timeout.is_some()
            || self.bounds.idle_timeout.is_some()
            || self.bounds.max_age.is_some()
            || self.liveness.probe_oob.is_some()
            || self.liveness.heartbeat.style != HeartbeatStyle::Off
    }
}

/// The means of detection, each on or off.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Liveness {
    /// Take readiness flags as hints: a reset seen while reading is paused is acted upon, and a short read
    /// without RDHUP counts as drained. Off: every read goes on until EAGAIN.
    pub readiness: bool,
    /// Application heartbeat.
    pub heartbeat: Heartbeat,
    /// What the verdict on silence does.
    pub verdict: Verdict,
    /// TCP keepalive, by the kernel.
    pub keepalive: Option<Keepalive>,
    /// `TCP_USER_TIMEOUT`: how long sent data may stay unacknowledged.
    pub user_timeout: Option<Duration>,
    /// How often `TCP_INFO` is asked while reading is paused.
    pub tcp_info_interval: Option<Duration>,
    /// Probe with a few harmless bytes after the peer's FIN.
    pub probe_after_eof: bool,
    /// How often a quiet connection is sent one out-of-band byte.
    pub probe_oob: Option<Duration>,
    /// What the audit of the kernel's table of sockets ends.
    pub audit: Audit,
}

/// What is done about a suspect connection that was not heard from within its grace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is ended.
    End,
    /// It is told, once a silence: the connection stays suspect until it is heard from, and is sent its output again.
    Report,
}

/// What is done about what an audit finds wrong with a connection ([`audit`](crate::observe::audit)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Audit {
    /// Which findings end it.
    pub end: AuditEnd,
    /// How long a peer may have closed, and nothing moved, until that is a finding; `None`: for ever.
    pub close_wait: Option<Duration>,
}

/// Findings of an audit that end their connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AuditEnd {
    /// None: they are told and counted.
    Nothing,
    /// Those of which the kernel itself says that there is no connection any more.
    Missing,
    /// The same, and those whose peer has closed and takes nothing.
    All,
}

/// The heartbeat contract of a listener. A client may make its own (`IDENT id BEAT seconds`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heartbeat {
    /// Who drives it.
    pub style: HeartbeatStyle,
    /// Silence after which a connection is suspect.
    pub timeout: Duration,
    /// How long a suspect connection has to be heard from again.
    pub grace: Duration,
    /// Silence after which the server pings, for the styles in which it does.
    pub interval: Duration,
    /// Since when it holds: silence from before nobody had promised to break.
    pub since: Instant,
}

/// No verdict comes sooner than this after the last word: the kernel sends no probe on a connection that was quiet
/// for less than a second, and its answer is what tells a program that is stuck from a host that is gone.
const SOONEST_VERDICT: Duration = Duration::from_millis(1500);

impl Heartbeat {
    /// The contract of a client that promises for itself to be heard from within `timeout`. Its grace is in proportion,
    /// half of that as in MQTT (MQTT-3.1.2-22), and never more than the listener's.
    #[must_use]
    pub fn of_client(self, timeout: Duration) -> Self {
        Self { timeout, grace: grace_of_client(timeout, self.grace), interval: timeout / 2, ..self }
    }
}

/// The grace that goes with a client's own `timeout`, where the listener's is `most`.
pub fn grace_of_client(timeout: Duration, most: Duration) -> Duration {
    (timeout / 2).max(SOONEST_VERDICT.saturating_sub(timeout)).min(most)
}

/// Who drives the heartbeat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeartbeatStyle {
    /// Nobody: silence is no evidence.
    Off,
    /// The client beats, the server stays silent.
    Client,
    /// The server pings after silence, the client answers.
    Server,
    /// Either may.
    Both,
}

impl HeartbeatStyle {
    /// Whether the server pings.
    pub const fn server_pings(self) -> bool {
        matches!(self, Self::Server | Self::Both)
    }
}

/// How a connection is let go when we end it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Closing {
    /// How long to wait for the peer's FIN after the goodbye, before closing first.
    pub linger: Duration,
    /// How long all of the closing may take while queued output still makes progress.
    pub linger_max: Duration,
    /// Set `TCP_LINGER2 = -1` on the listener, so that even `kill -9` leaves no `TIME_WAIT`.
    pub linger2: bool,
    /// The rung for a peer whose kernel answers but whose program does not move.
    pub frozen: LastRung,
    /// The rung for a peer that cannot be reached or will not read.
    pub unreachable: LastRung,
}

/// How to close when the peer will not close first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LastRung {
    /// `TCP_LINGER2 = -1`, then `close`: what is queued is still delivered.
    Linger2,
    /// `SO_LINGER {1,0}`, then `close`: everything is given up at once.
    Reset,
}

/// What one connection may use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Largest frame, in bytes.
    pub frame_bytes_max: usize,
    /// Reading resumes when waiting output has fallen to this, in bytes.
    pub output_low: usize,
    /// Reading pauses when waiting output has risen to this, in bytes.
    pub output_high: usize,
    /// Waiting output over this ends the connection, `slow.bytes`.
    pub output_max: usize,
    /// Waiting output without progress for this long ends the connection, `slow.time`.
    pub slow_time: Duration,
    /// How long the opening exchange may take.
    pub handshake_timeout: Option<Duration>,
    /// How long a live connection may be unused.
    pub idle_timeout: Option<Duration>,
    /// How old a connection may become.
    pub max_age: Option<Duration>,
}
