//! The times of an experiment: what the listeners are set to, and so when each means has to notice.

use crate::core::time::Duration;
use serde::Serialize;

/// What the listeners are set to, and how patient the lab is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Settings {
    /// `keepalive.idle`.
    pub keepalive_idle: Duration,
    /// `keepalive.interval`.
    pub keepalive_interval: Duration,
    /// `keepalive.count`.
    pub keepalive_count: u32,
    /// `user_timeout`.
    pub user_timeout: Duration,
    /// `heartbeat.timeout`.
    pub heartbeat_timeout: Duration,
    /// `heartbeat.grace`.
    pub heartbeat_grace: Duration,
    /// `heartbeat.interval`: silence after which the server pings.
    pub heartbeat_interval: Duration,
    /// How often a client beats that has promised to.
    pub beat: Duration,
    /// `probe.oob`.
    pub oob: Duration,
    /// `tcp_info.interval`.
    pub tcp_info: Duration,
    /// `audit.interval`.
    pub audit: Duration,
    /// `linger`.
    pub linger: Duration,
    /// When the device comes back over another path, after the fault, for the means that waits for that.
    pub comeback: Duration,
    /// How long the cable is out, in the row in which it comes back.
    pub outage: Option<Duration>,
    /// What a busy machine adds to any latency.
    pub slack: Duration,
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl Settings {
    /// Everything as short as the units of the kernel allow: keepalive counts in seconds.
    pub const fn quick() -> Self {
        Self {
            keepalive_idle: ms(1000),
            keepalive_interval: ms(1000),
            // One more than the default, so that on a busy machine, too, a heartbeat comes well before it.
            keepalive_count: 4,
            user_timeout: ms(4000),
            heartbeat_timeout: ms(1000),
            // The kernel's keepalive timer, whose unit is the second, has time for the one probe.
            heartbeat_grace: ms(1500),
            heartbeat_interval: ms(600),
            beat: ms(300),
            oob: ms(1000),
            tcp_info: ms(500),
            audit: ms(500),
            linger: ms(1000),
            comeback: ms(1000),
            outage: None,
            slack: ms(2500),
        }
    }

    /// The defaults of the server, with a heartbeat as a device would promise it.
    pub const fn realistic() -> Self {
        Self {
            keepalive_idle: ms(60_000),
            keepalive_interval: ms(10_000),
            keepalive_count: 3,
            user_timeout: ms(89_000),
            heartbeat_timeout: ms(30_000),
            heartbeat_grace: ms(15_000),
            // Less than the half that is the default, so that an answer can be late and still within the grace.
            heartbeat_interval: ms(10_000),
            beat: ms(10_000),
            oob: ms(30_000),
            tcp_info: ms(10_000),
            audit: ms(60_000),
            linger: ms(5000),
            comeback: ms(10_000),
            outage: None,
            slack: ms(5000),
        }
    }

    /// How long keepalive takes to give up.
    pub fn keepalive(&self) -> Duration {
        self.keepalive_idle + self.keepalive_interval * self.keepalive_count
    }

    /// How long the lab waits to see that nothing notices: half as long again as the slowest means takes, or until an
    /// outage is over and what was sent then has arrived.
    pub fn horizon(&self) -> Duration {
        if let Some(outage) = self.outage {
            return outage + self.slack;
        }
        let heartbeats = self.heartbeat_timeout + self.heartbeat_grace * 2;
        let probes = (self.oob * 2).max(self.audit * 2);
        let slowest = self.keepalive().max(self.user_timeout).max(heartbeats).max(probes);
        slowest + slowest / 2
    }

    /// How long the last sign of life of a client that is well may lie back.
    fn habit(&self) -> Duration {
        self.beat.max(self.heartbeat_interval)
    }

    /// When a late heartbeat comes, counted from when the next was due: beyond the timeout, and within the grace.
    pub fn late(&self) -> Duration {
        self.heartbeat_timeout + self.heartbeat_grace.saturating_sub(self.habit()) / 2
    }

    /// When it comes too late, for a heartbeat channel as well.
    pub fn too_late(&self) -> Duration {
        self.heartbeat_timeout + self.heartbeat_grace * 2 + self.heartbeat_grace / 2
    }
}

/// When a means has to notice, counted from the fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// With the next packet.
    Now,
    /// After the wait for an answer that does not come: `linger`.
    Linger,
    /// When keepalive gives up.
    Keepalive,
    /// With the first keepalive probe, which is answered by a reset.
    FirstProbe,
    /// When the user timeout is over.
    UserTimeout,
    /// Heartbeat timeout and grace after the last beat.
    Heartbeat,
    /// The same, but the kernel may go on sending for a while what the network has not taken.
    HeartbeatAfterRetries,
    /// When suspicion has the peer probed, which is answered by a reset.
    Suspicion,
    /// Heartbeat timeout and grace after the last answer to a ping.
    Ping,
    /// When the next beat is missed.
    MissedBeat,
    /// With the next ping, which is answered by a reset.
    FirstPing,
    /// When the channel has ended by its own heartbeat, and then the grace is over.
    Channel,
    /// The same, but the kernel may go on sending for a while what the network has not taken.
    ChannelAfterRetries,
    /// When the channel's suspicion is answered by a reset, and the data connection's then.
    ChannelSuspicion,
    /// When the grace is over that the death of the channel has begun.
    ChannelGrace,
    /// When an out-of-band byte was not acknowledged until the next is due.
    Oob,
    /// With the first out-of-band byte.
    FirstOob,
    /// When the kernel is asked next.
    TcpInfo,
    /// When the second audit has seen it.
    Audit,
    /// When the device comes back.
    Comeback,
    /// When it comes back, and then `linger` is over.
    ComebackAndLinger,
    /// When it comes back, and what was on its way to it was retransmitted often enough to be sure.
    ComebackAndRetries,
    /// When it comes back, then `linger` is over, and the goodbye was retransmitted often enough to be sure.
    ComebackAndSilence,
}

impl When {
    /// Whether it is a matter of luck when the means looks next.
    pub const fn varies(self) -> bool {
        matches!(
            self,
            Self::Suspicion
                | Self::ChannelSuspicion
                | Self::MissedBeat
                | Self::FirstPing
                | Self::FirstOob
                | Self::TcpInfo
                | Self::Audit
                | Self::HeartbeatAfterRetries
                | Self::ChannelAfterRetries
                | Self::ComebackAndRetries
                | Self::ComebackAndSilence
        )
    }

    /// The earliest and the latest time. The kernel's and the server's timers run since the peer was last heard from,
    /// which may be as long as `quiet` before the fault.
    pub fn bounds(self, settings: &Settings, quiet: Duration) -> (Duration, Duration) {
        let s = settings;
        let heartbeat = s.heartbeat_timeout + s.heartbeat_grace;
        let channel = heartbeat + s.heartbeat_grace;
        let second = Duration::from_secs(1);
        let (earliest, latest) = match self {
            Self::Now => (Duration::ZERO, Duration::ZERO),
            Self::Linger => (s.linger, s.linger),
            Self::Keepalive => (s.keepalive().saturating_sub(quiet), s.keepalive()),
            Self::FirstProbe => (s.keepalive_idle.saturating_sub(quiet), s.keepalive_idle),
            // The kernel looks when it retransmits, at growing intervals, of which it shortens the last.
            Self::UserTimeout => {
                (s.user_timeout.saturating_sub(second / 100), s.user_timeout + s.user_timeout / 4)
            }
            Self::Heartbeat => (heartbeat.saturating_sub(s.beat.max(quiet)), heartbeat),
            Self::HeartbeatAfterRetries => {
                (heartbeat.saturating_sub(s.beat.max(quiet)), heartbeat + s.beat * 3 + second)
            }
            // The probe leaves at most a second after suspicion: that is the unit of its timer. If a beat has just come,
            // its delayed acknowledgement is answered before that.
            Self::Suspicion => (Duration::ZERO, s.heartbeat_timeout + second),
            Self::Ping => (heartbeat.saturating_sub(s.heartbeat_interval.max(quiet)), heartbeat),
            Self::MissedBeat => (Duration::ZERO, s.heartbeat_timeout),
            Self::FirstPing => (Duration::ZERO, s.heartbeat_interval),
            Self::Channel => (channel.saturating_sub(s.beat.max(quiet)), channel),
            Self::ChannelAfterRetries => {
                (channel.saturating_sub(s.beat.max(quiet)), channel + s.beat * 3 + second)
            }
            Self::ChannelSuspicion => (Duration::ZERO, s.heartbeat_timeout + second * 2),
            Self::ChannelGrace => (s.heartbeat_grace, s.heartbeat_grace),
            Self::Oob => (s.oob, s.oob * 2),
            Self::FirstOob => (Duration::ZERO, s.oob),
            Self::TcpInfo => (Duration::ZERO, s.tcp_info),
            Self::Audit => (s.audit, s.audit * 2),
            Self::Comeback => (s.comeback, s.comeback),
            Self::ComebackAndLinger => (s.comeback + s.linger, s.comeback + s.linger),
            Self::ComebackAndRetries => (s.comeback, (s.comeback + second / 2).max(second * 2)),
            Self::ComebackAndSilence => (s.comeback + s.linger, s.comeback + s.linger.max(second * 2)),
        };
        (earliest, latest + s.slack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_the_times_of_its_matrix() {
        let s = Settings::quick();
        let of = Duration::as_secs_f64;
        let times = format!(
            "(keepalive {} + {} × {}, user timeout {}, heartbeat {} + {})",
            of(&s.keepalive_idle),
            s.keepalive_count,
            of(&s.keepalive_interval),
            of(&s.user_timeout),
            of(&s.heartbeat_timeout),
            of(&s.heartbeat_grace)
        );
        let page = include_str!("../../guide/detection.md").split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            page.contains(&times),
            "the guide does not say {times}: was its matrix made with other times?"
        );
    }

    #[test]
    fn nothing_that_notices_is_later_than_the_lab_waits() {
        for settings in [Settings::quick(), Settings::realistic()] {
            for when in
                [When::Keepalive, When::UserTimeout, When::Channel, When::Oob, When::ComebackAndSilence]
            {
                let (earliest, latest) = when.bounds(&settings, Duration::ZERO);
                assert!(earliest <= latest && latest <= settings.horizon() + settings.slack, "{when:?}");
            }
        }
    }

    #[test]
    fn quiet_before_the_deed_brings_the_verdict_forward_and_never_later() {
        let settings = Settings::quick();
        let (late, end) = When::Keepalive.bounds(&settings, Duration::ZERO);
        let (early, same) = When::Keepalive.bounds(&settings, ms(400));
        assert_eq!((late.checked_sub(early), end), (Some(ms(400)), same));
    }

    #[test]
    fn a_late_heartbeat_is_within_the_grace_and_one_too_late_beyond_that_of_a_channel() {
        for settings in [Settings::quick(), Settings::realistic()] {
            let (suspect, lost) =
                (settings.heartbeat_timeout, settings.heartbeat_timeout + settings.heartbeat_grace);
            assert!(suspect < settings.late() && settings.late() + settings.habit() < lost);
            assert!(settings.too_late() > lost + settings.heartbeat_grace);
        }
    }
}
