//! What a heartbeat must be to itself, to TCP, and to the timers of the kernel.

use super::super::layer::Resolved;
use super::Findings;
use crate::core::setting::Value;
use crate::core::time::Duration;
use crate::net::Address;

/// Pings at less than this come as fast as TCP retransmits: its time-out is 200 ms at least (`TCP_RTO_MIN`), and 1 s
/// before it has measured anything (RFC 6298 2.1).
const FREQUENT: Duration = Duration::from_secs(1);

/// Where a hint of pings and of the kernel's limits is seen to be true. The row of the lab has those pings and that limit.
const EXPERIMENT: &str = "linger lab --quick --case outage shows it";

const CONTRACT: [&str; 3] = ["heartbeat.style", "heartbeat.timeout", "heartbeat.interval"];
/// What the kernel's timers are compared with it by.
const TIMERS: [&str; 6] = [
    "heartbeat.grace",
    "user_timeout",
    "keepalive.enabled",
    "keepalive.idle",
    "keepalive.interval",
    "keepalive.count",
];

impl Findings {
    pub(super) fn heartbeat(&mut self, of: &Resolved) {
        let is_sound = of.sound(&CONTRACT);
        if is_sound && of.is_word("heartbeat.style", "off") && of.is_word("heartbeat.verdict", "report") {
            self.hint(of, &["heartbeat.verdict", "heartbeat.style"], || {
                let wrong = "no heartbeat is asked for, so there is no verdict".to_owned();
                (
                    wrong,
                    "write heartbeat = \"30s\" as well; only a client with a contract or a heartbeat channel of its own is judged"
                        .to_owned(),
                )
            });
        }
        let Some(contract) = Contract::of(of).filter(|_| is_sound) else { return };
        let Contract { timeout, pings, .. } = contract;
        if let Some(interval) = pings.filter(|interval| *interval >= timeout) {
            self.mistake(of, &["heartbeat.interval", "heartbeat.timeout"], || {
                let (interval, timeout) = (Value::Period(interval), Value::Period(timeout));
                let wrong = format!("{interval} is not below heartbeat.timeout, {timeout}");
                (wrong, "the ping must leave time for its answer".to_owned())
            });
            return;
        }
        // What follows is of the kernel's timers for TCP.
        if !of.sound(&TIMERS) || !matches!(of.address(), Some(Address::Tcp { .. })) {
            return;
        }
        self.frequent(of, &contract);
        self.outrun(of, &contract);
    }

    /// Pings that are about as frequent as retransmissions. What they do is shown by
    /// `tests/kernel/folklore/detecting.rs: frequent_pings_die_of_an_outage_that_a_quiet_connection_survives`, and in the lab.
    fn frequent(&mut self, of: &Resolved, contract: &Contract) {
        let Some(interval) = contract.pings.filter(|interval| *interval < FREQUENT) else { return };
        let bound = of.period("user_timeout").map_or_else(
            || "the kernel's limit of retransmissions".to_owned(),
            |user| format!("user_timeout, {}", Value::Period(user)),
        );
        self.hint(of, &["heartbeat.interval", "heartbeat.timeout"], || {
            let wrong = format!("{} is near TCP's retransmission time-out, 200ms to 1s", Value::Period(interval));
            let right = format!(
                "nearly every outage meets a ping in flight, and ends the connection when it lasts for {bound}, where a \
                 quiet one may live on ({EXPERIMENT}); write \"10s\" or more, for frequent pings find nothing sooner"
            );
            (wrong, right)
        });
    }

    /// A grace that the kernel does not wait for. A default is not meant that way; one that somebody gave is.
    fn outrun(&mut self, of: &Resolved, contract: &Contract) {
        let whole = contract.timeout.saturating_add(contract.grace);
        let Some(verdict) = contract.verdict_of_kernel(of).filter(|verdict| *verdict < whole) else { return };
        if !of.is_given("heartbeat.grace") {
            return;
        }
        let has_own = of.is_given("user_timeout") && of.period("user_timeout").is_some();
        let longer = match (of.keepalive_idle().is_some(), has_own) {
            (true, false) => "raise keepalive.count",
            (true, true) => "raise keepalive.count and user_timeout",
            (false, _) => "raise user_timeout",
        };
        self.hint(of, &["heartbeat.grace"], || {
            let about = Duration::from_secs(verdict.as_secs().max(1));
            let (whole, verdict) = (Value::Period(whole), Value::Period(about));
            let wrong = format!(
                "it is over after {whole} of silence, and the kernel gives up a client that cannot be reached after \
                 about {verdict} ({EXPERIMENT})"
            );
            (wrong, format!("only a program that hangs has all of it; {longer}, or shorten the grace"))
        });
    }
}

/// The heartbeat of a listener on which one is kept.
struct Contract {
    timeout: Duration,
    grace: Duration,
    /// Silence after which the server pings, if it does.
    pings: Option<Duration>,
}

impl Contract {
    fn of(of: &Resolved) -> Option<Self> {
        let pings = match of.word("heartbeat.style")? {
            "server" | "both" => Some(of.period("heartbeat.interval")?),
            "client" => None,
            _ => return None,
        };
        let (timeout, grace) =
            (of.period("heartbeat.timeout")?, of.period("heartbeat.grace").unwrap_or_default());
        Some(Self { timeout, grace, pings })
    }

    /// After how much silence the kernel ends a connection whose peer cannot be reached, if it does by what is set here.
    /// Shown by `tests/kernel/liveness_netns.rs: a_grace_that_is_longer_than_the_kernel_waits_is_never_whole`.
    fn verdict_of_kernel(&self, of: &Resolved) -> Option<Duration> {
        match (self.pings, of.keepalive_idle()) {
            // The ping is in flight from then on: keepalive rests, and the user timeout counts.
            (Some(ping), idle) if idle.is_none_or(|idle| ping <= idle) => {
                Some(ping.saturating_add(of.period("user_timeout")?))
            }
            (ping, idle) => {
                let by_keepalive = self.verdict_of_keepalive(of, idle?)?;
                match ping.filter(|ping| *ping < by_keepalive) {
                    Some(ping) => Some(ping.saturating_add(of.period("user_timeout")?)),
                    None => Some(by_keepalive),
                }
            }
        }
    }

    /// The same of a connection with nothing in flight. Suspicion brings a first probe, too (`sys::Stream::probe_peer`).
    fn verdict_of_keepalive(&self, of: &Resolved, idle: Duration) -> Option<Duration> {
        let interval = of.period("keepalive.interval").filter(|interval| !interval.is_zero())?;
        let first = idle.min(self.timeout.max(Duration::from_secs(1)));
        let probes = match of.period("user_timeout") {
            // The kernel looks each time it is about to send one more.
            Some(user) => user.saturating_sub(first).as_millis().div_ceil(interval.as_millis()).max(1),
            None => of.count("keepalive.count")?.into(),
        };
        Some(first.saturating_add(interval.saturating_mul(u32::try_from(probes).unwrap_or(u32::MAX))))
    }
}
