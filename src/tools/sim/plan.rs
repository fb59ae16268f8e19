//! The settings of a run, drawn by its seed: listeners with their policies, how many clients, how long.

use super::oracle::nanos;
use super::rng::Rng;
use super::sockets::Faults;
use crate::config::settings::{
    AuditSettings, DrainSettings, ListenerSettings, LogFormat, LogSettings, Overload, ServerSettings,
    Settings, TurnSettings,
};
use crate::core::admission::Limits;
use crate::core::conn::State;
use crate::core::conn::policy::{
    Audit, AuditEnd, Bounds, Closing, Heartbeat, HeartbeatStyle, LastRung, Liveness, Policy, Verdict,
};
use crate::core::setting::Values;
use crate::core::time::{Duration, Instant};
use crate::net::{Address, Keepalive};
use crate::protocol::presence::Form;
use crate::protocol::users::Guard;
use crate::protocol::{Access, Protocol};
use std::net::SocketAddr;

/// A run.
pub(super) struct Plan {
    pub(super) settings: Settings,
    pub(super) duration: Duration,
    pub(super) clients: usize,
    pub(super) descriptors: u32,
}

impl Plan {
    pub(super) fn draw(rng: &mut Rng, duration: Option<Duration>) -> Self {
        // Short runs as often as long ones.
        let longest = Duration::from_secs(30) * (1 << rng.within(0..8));
        let drawn = rng.between(longest / 2, longest);
        let listeners = 1 + rng.index(3);
        let listeners = (0..listeners).map(|index| listener(rng, index, drawn)).collect();
        let settings = Settings {
            listeners,
            upstreams: Vec::new(),
            turn: TurnSettings {
                accepts: rng.pick(&[1, 2, 16, 64]),
                read_bytes: rng.pick(&[1024, 16_384, 262_144]),
            },
            server: ServerSettings {
                stall_timeout: None,
                workers: Some(1),
                connections_max: if rng.chance(150_000) { Some(rng.pick(&[1, 3, 8])) } else { None },
                memory_max: None,
                accept_retry: rng.between(Duration::from_millis(100), Duration::from_secs(2)),
                queue_watch: Duration::from_secs(1),
                history_bytes: 128 * 1024,
                events_bytes: 64 * 1024,
                presence: Form::Word,
            },
            audit: AuditSettings { interval: None },
            drain: DrainSettings {
                delay: Duration::ZERO,
                spread: rng.between(Duration::ZERO, Duration::from_secs(5)),
                timeout: Duration::from_secs(20),
            },
            log: LogSettings { filter: "off".into(), format: LogFormat::Text, endings_per_second: 10 },
        };
        Self {
            settings,
            duration: duration.unwrap_or(drawn),
            clients: rng.pick(&[1, 2, 4, 8, 16, 24, 48]),
            descriptors: DESCRIPTORS,
        }
    }
}

/// Client connections that a process has descriptors for.
pub(super) const DESCRIPTORS: u32 = 1024;

impl Plan {
    /// Makes it the plan of a server with several workers: shorter, as much happens at once, and with a listener that
    /// lets its clients in and ends none of them by itself.
    pub(super) fn share(&mut self, rng: &mut Rng, duration: Option<Duration>, workers: u32) {
        let drawn = rng.between(Duration::from_secs(10), Duration::from_secs(120));
        self.duration = duration.unwrap_or(drawn);
        self.clients = self.clients.min(16);
        let server = &mut self.settings.server;
        (server.workers, server.connections_max) = (Some(workers), None);
        server.stall_timeout =
            rng.chance(700_000).then(|| rng.between(Duration::from_secs(3), Duration::from_secs(20)));
        let mut fleet = listener(rng, self.settings.listeners.len(), drawn);
        (fleet.name, fleet.protocol) = ("fleet".into(), Protocol::Resp);
        (fleet.backlog, fleet.connections_max, fleet.send_buffer) = (128, None, None);
        let Policy { liveness, bounds, .. } = &mut fleet.policy;
        (liveness.heartbeat.style, liveness.heartbeat.grace) = (HeartbeatStyle::Off, Duration::from_secs(10));
        (liveness.keepalive, liveness.user_timeout, liveness.probe_oob) = (None, None, None);
        (bounds.handshake_timeout, bounds.idle_timeout) = (None, None);
        (bounds.output_low, bounds.output_high, bounds.output_max) = (16_384, 65_536, 1 << 20);
        self.settings.listeners.push(fleet);
    }

    /// Draws which listeners only report silence, from numbers of their own.
    pub(super) fn draw_verdicts(&mut self, rng: &mut Rng) {
        for listener in &mut self.settings.listeners {
            if rng.chance(150_000) {
                listener.policy.liveness.verdict = Verdict::Report;
            }
        }
    }

    /// Adds the admin interface, which of several workers the supervisor has, and memory for some thousand events.
    pub(super) fn open_admin(&mut self, rng: &mut Rng) {
        let mut admin = listener(rng, self.settings.listeners.len(), self.duration);
        (admin.name, admin.protocol) = ("admin".into(), Protocol::Admin);
        (admin.backlog, admin.connections_max) = (128, None);
        (admin.policy.bounds.handshake_timeout, admin.policy.bounds.idle_timeout) = (None, None);
        self.settings.listeners.push(admin);
        self.settings.server.events_bytes = 1 << 20;
    }

    /// Draws audits, and what they end, from numbers of their own: the rest of a run's plan is as it was without.
    pub(super) fn draw_audits(&mut self, rng: &mut Rng) -> Faults {
        if rng.chance(500_000) {
            let seldom = self.duration / 20;
            self.settings.audit.interval =
                Some(rng.between(Duration::from_millis(500), seldom.max(Duration::from_secs(2))));
        }
        for listener in &mut self.settings.listeners {
            listener.policy.liveness.audit = Audit {
                end: rng.pick(&[AuditEnd::Nothing, AuditEnd::Missing, AuditEnd::All]),
                close_wait: rng
                    .chance(800_000)
                    .then(|| rng.between(Duration::from_millis(100), Duration::from_secs(60))),
            };
        }
        // Where all other means are off, an audit has something to find.
        if self.settings.audit.interval.is_some() && rng.chance(250_000) {
            self.settings.audit.interval =
                Some(rng.between(Duration::from_millis(500), Duration::from_secs(3)));
            let listener = rng.index(self.settings.listeners.len());
            let listener = &mut self.settings.listeners[listener];
            listener.send_buffer = Some(4096);
            let policy = &mut listener.policy;
            let bounds = &mut policy.bounds;
            (bounds.output_low, bounds.output_high, bounds.output_max) = (256, 1024, 1 << 20);
            policy.bounds.slow_time = Duration::from_secs(600);
            policy.bounds.idle_timeout = None;
            let liveness = &mut policy.liveness;
            (liveness.readiness, liveness.tcp_info_interval, liveness.probe_oob) = (false, None, None);
            (liveness.heartbeat.style, liveness.keepalive, liveness.user_timeout) =
                (HeartbeatStyle::Off, None, None);
        }
        let mut rate = |most: u64| {
            let on = rng.chance(500_000);
            let rate = u32::try_from(rng.within(1..most)).unwrap_or(0);
            if on { rate } else { 0 }
        };
        Faults { missed: rate(300_000), twice: rate(300_000), refused: rate(50_000) }
    }
}

/// An interval between messages that keeps every promise made on a listener.
pub(super) fn honest_interval(rng: &mut Rng, policy: &Policy) -> Duration {
    let heartbeat = &policy.liveness.heartbeat;
    let promised = match heartbeat.style {
        HeartbeatStyle::Off | HeartbeatStyle::Server => heartbeat.timeout * 2,
        HeartbeatStyle::Client | HeartbeatStyle::Both => heartbeat.timeout,
    };
    promised / u32::try_from(rng.within(2..5)).unwrap_or(2)
}

pub(super) fn listener(rng: &mut Rng, index: usize, duration: Duration) -> ListenerSettings {
    let protocol = rng.pick(&[Protocol::Echo, Protocol::Resp]);
    let port = 7000 + u16::try_from(index).unwrap_or(0);
    ListenerSettings {
        guard: Guard::Open,
        token: None,
        name: format!("{}{index}", protocol.name()),
        protocol,
        address: Address::Tcp {
            socket: SocketAddr::from(([127, 0, 0, 1], port)),
            v6_only: false,
            interface: None,
        },
        backlog: rng.pick(&[1, 2, 16, 128]),
        connections_max: if rng.chance(150_000) { Some(rng.pick(&[1, 2, 5, 10])) } else { None },
        overload: rng.pick(&[Overload::Queue, Overload::Shed]),
        limits: Limits::default(),
        accept_proxy: None,
        nodelay: true,
        send_buffer: if rng.chance(300_000) { Some(rng.pick(&[4096, 65_536])) } else { None },
        policy: policy(rng, protocol, duration),
        access: Access::default(),
        own: Values::default(),
        tls: None,
        relay: None,
    }
}

fn policy(rng: &mut Rng, protocol: Protocol, duration: Duration) -> Policy {
    let styles = [HeartbeatStyle::Off, HeartbeatStyle::Client, HeartbeatStyle::Server, HeartbeatStyle::Both];
    let keepalive = Keepalive {
        idle: Duration::from_secs(rng.within(1..120)),
        interval: Duration::from_secs(rng.within(1..20)),
        count: rng.pick(&[1, 2, 3, 9]),
    };
    let longest = rng.pick(&[10, 60, 300, 600]);
    // Long runs are for long silences: there is as much to see in a thousand messages as in a million.
    let timeout = rng.between(Duration::from_secs(1), Duration::from_secs(longest)) + duration / 100;
    let keepalive = rng.chance(600_000).then_some(keepalive);
    let user_timeout = match (keepalive, rng.index(3)) {
        (_, 0) => None,
        (Some(k), 1) => {
            let margin = (k.interval / 2).min(Duration::from_secs(1));
            Some((k.idle + k.interval * k.count).saturating_sub(margin))
        }
        _ => Some(rng.between(Duration::from_secs(1), Duration::from_secs(60))),
    };
    let high = rng.pick(&[1024, 8192, 65_536]);
    Policy {
        liveness: Liveness {
            readiness: rng.chance(800_000),
            heartbeat: Heartbeat {
                style: rng.pick(&styles),
                timeout,
                grace: rng.between(Duration::from_millis(100), Duration::from_secs(15)),
                interval: timeout / 2,
                since: Instant::ZERO,
            },
            verdict: Verdict::End,
            keepalive,
            user_timeout,
            tcp_info_interval: rng
                .chance(700_000)
                .then(|| rng.between(Duration::from_secs(1), Duration::from_secs(10))),
            probe_after_eof: rng.chance(250_000),
            probe_oob: rng
                .chance(150_000)
                .then(|| rng.between(Duration::from_secs(1), Duration::from_secs(30))),
            audit: Audit { end: AuditEnd::Nothing, close_wait: None },
        },
        closing: Closing {
            linger: rng.between(Duration::ZERO, Duration::from_secs(6)),
            linger_max: rng.between(Duration::from_secs(6), Duration::from_secs(15)),
            linger2: rng.chance(700_000),
            frozen: rng.pick(&[LastRung::Linger2, LastRung::Reset]),
            unreachable: rng.pick(&[LastRung::Linger2, LastRung::Reset]),
        },
        bounds: Bounds {
            frame_bytes_max: 64 * 1024,
            output_low: high / 4,
            output_high: high,
            output_max: high * rng.pick(&[4, 128]),
            slow_time: rng.between(Duration::from_secs(1), Duration::from_secs(30)),
            handshake_timeout: (protocol == Protocol::Resp && rng.chance(700_000))
                .then(|| rng.between(Duration::from_secs(1), Duration::from_secs(60))),
            idle_timeout: rng
                .chance(150_000)
                .then(|| rng.between(Duration::from_secs(5), Duration::from_secs(300))),
            max_age: None,
        },
    }
}

/// How long it may take at most until a connection in `state` that nobody is at the other end of is gone, in
/// nanoseconds; none: for ever.
pub(super) fn patience(policy: &Policy, state: State) -> Option<u64> {
    /// `tcp_retries2`, without a user timeout: 924 s, and more on slow paths.
    const RETRIES: Duration = Duration::from_secs(1400);
    let heartbeat = &policy.liveness.heartbeat;
    let by_heartbeat = match heartbeat.style {
        HeartbeatStyle::Off | HeartbeatStyle::Server => None,
        HeartbeatStyle::Client | HeartbeatStyle::Both => Some(heartbeat.timeout + heartbeat.grace),
    };
    let by_heartbeat = by_heartbeat.filter(|_| policy.liveness.verdict == Verdict::End);
    let by_keepalive = policy.liveness.keepalive.map(|k| {
        let floor = k.idle + k.interval * (k.count + 2);
        // Keepalive rests while something is in flight.
        floor.max(policy.liveness.user_timeout.map_or(RETRIES, |timeout| timeout + k.interval * 2))
    });
    let by_timer = match state {
        State::Connecting { .. } => None,
        State::Handshaking => policy.bounds.handshake_timeout,
        State::Open | State::Suspect { .. } => {
            [by_heartbeat, policy.bounds.idle_timeout].into_iter().flatten().min()
        }
        State::PeerClosed { .. } | State::Closing { .. } | State::Closed { .. } => {
            Some(policy.closing.linger_max)
        }
    };
    let soonest = [by_timer, by_keepalive].into_iter().flatten().min();
    soonest.map(|soonest| nanos(soonest + policy.closing.linger_max + Duration::from_secs(60)))
}
