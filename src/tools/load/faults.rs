//! What clients do wrong: how it is asked for, what the server ought to say of it, and how long that may take.
//! This is the truth that verdicts are compared with; [`mix`](super::mix) says who does what.

use crate::core::conn::policy::grace_of_client;
use crate::core::end::Reason;
use crate::core::named::named;
use crate::core::time::Duration;
use serde::{Deserialize, Serialize};
use std::fmt;

named! {
    /// A fault, or an ordinary leaving, of one client.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    Fault {
        /// Says goodbye in the protocol, then closes.
        Goodbye = "goodbye",
        /// Closes between two requests.
        Fin = "fin",
        /// Closes in the middle of a request.
        FinMidframe = "fin_midframe",
        /// Resets the connection.
        Rst = "rst",
        /// Asks one more thing and sends its FIN, but goes on reading: the answer must come.
        HalfClose = "half_close",
        /// Neither reads nor writes any more; its kernel still acknowledges.
        Freeze = "freeze",
        /// Its host is gone: nothing leaves it any more, not even an acknowledgement.
        Vanish = "vanish",
        /// Asks for much and reads nothing of it.
        SlowRead = "slow_read",
        /// Sends its requests a byte at a time.
        Trickle = "trickle",
        /// Vanishes, and comes back with the same identity; as a rule while its old connection still looks well.
        Reboot = "reboot",
        /// Sends what is not the protocol.
        Garbage = "garbage",
        /// Is silent for longer than it promised, and back before the grace is over.
        LateBeat = "late_beat",
    }
}

named! {
    /// What may be said of how a fault is committed.
    Parameter {
        /// Any fault: when, counted from where the load begins, and by all at once. Else they are spread.
        At = "at",
        /// For how long; then it is back.
        For = "for",
        /// The time between two steps.
        Every = "every",
        /// How much is sent.
        Bytes = "bytes",
        /// How much is asked for.
        Requests = "requests",
    }
}

/// How a fault is committed, where it is not as usual.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Manner {
    /// [`Parameter::At`].
    pub at: Option<Duration>,
    /// The one parameter more that it may have: [`Fault::parameter`].
    pub own: Option<Own>,
}

/// What is said of a fault besides when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Own {
    /// A length of time.
    Time(Duration),
    /// A number of bytes or requests.
    Count(u32),
}

impl Manner {
    /// Its own parameter, where that is a length of time.
    pub const fn time(self) -> Option<Duration> {
        match self.own {
            Some(Own::Time(time)) => Some(time),
            Some(Own::Count(_)) | None => None,
        }
    }

    /// Its own parameter, where that is a count.
    pub const fn count(self) -> Option<u32> {
        match self.own {
            Some(Own::Count(count)) => Some(count),
            Some(Own::Time(_)) | None => None,
        }
    }
}

/// What the server ought to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Truth {
    /// The connection ends, for one of these.
    Ends(&'static [Reason]),
    /// The connection stays.
    Stays,
    /// The connection stays, and is not even suspect.
    Unnoticed,
    /// The connection is suspect, then revived, and stays.
    Revives,
}

impl fmt::Display for Truth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ends(reasons) => {
                let names: Vec<_> = reasons.iter().map(|reason| reason.name()).collect();
                f.write_str(&names.join(" or "))
            }
            Self::Stays => f.write_str("no ending"),
            Self::Unnoticed => f.write_str("no ending, never suspect"),
            Self::Revives => f.write_str("revived"),
        }
    }
}

/// How long a client is silent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Silence {
    /// It is never silent, or has said its last.
    None,
    /// So long, counted from its last word.
    For(Duration),
    /// It does not come back.
    Forever,
}

/// The promises on both sides, from which waiting times follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Contract {
    /// Clients promise to be heard this often; zero: they promise nothing.
    pub heartbeat: Duration,
    /// The server waits this much longer before it ends a silent one.
    pub grace: Duration,
    /// The server ends who takes no output for this long.
    pub slow_time: Duration,
    /// What is allowed on top of all that.
    pub patience: Duration,
}

/// Luck decides whether a server sees what happens this close to one of its deadlines before or after it.
pub const EDGE: Duration = Duration::from_millis(100);

/// Which means finds it first is the server's affair.
const LOST: Truth = Truth::Ends(&[
    Reason::LostHeartbeat,
    Reason::LostUnacked,
    Reason::LostKeepalive,
    Reason::LostUnreachable,
]);
const FROZEN: Truth = Truth::Ends(&[Reason::StuckFrozen]);
const REPLACED: Truth = Truth::Ends(&[Reason::PeerReplaced]);
const SLOW: Truth = Truth::Ends(&[Reason::SlowTime, Reason::SlowBytes, Reason::StuckZeroWindow]);

impl Contract {
    /// The grace that a server with `most` of it gives a client that promises `heartbeat`.
    pub fn grace_for(heartbeat: Duration, most: Duration) -> Duration {
        if heartbeat.is_zero() { most } else { grace_of_client(heartbeat, most) }
    }

    /// When a silent client is ended, counted from its last word.
    pub fn end(&self) -> Duration {
        self.heartbeat + self.grace
    }

    /// What the server ought to say of a silence that was over after `length`; none: it has ended the client by then.
    pub fn forgives(&self, length: Duration) -> Option<Truth> {
        if self.heartbeat.is_zero() {
            Some(Truth::Stays)
        } else if length <= self.heartbeat {
            Some(Truth::Unnoticed)
        } else {
            (length <= self.end()).then_some(Truth::Revives)
        }
    }
}

impl Fault {
    /// What it takes besides [`Parameter::At`].
    pub const fn parameter(self) -> Option<Parameter> {
        match self {
            Self::Goodbye | Self::Fin | Self::Rst => None,
            Self::FinMidframe | Self::Garbage => Some(Parameter::Bytes),
            Self::HalfClose => Some(Parameter::Requests),
            Self::Freeze | Self::Vanish | Self::SlowRead | Self::Reboot | Self::LateBeat => {
                Some(Parameter::For)
            }
            Self::Trickle => Some(Parameter::Every),
        }
    }

    /// How long a client that commits it is silent.
    pub fn silence(self, manner: Manner, contract: &Contract) -> Silence {
        let Contract { heartbeat, grace, .. } = *contract;
        match self {
            Self::Freeze | Self::Vanish => manner.time().map_or(Silence::Forever, Silence::For),
            Self::Reboot => Silence::For(manner.time().unwrap_or_default()),
            // As a rule, halfway into the grace.
            Self::LateBeat => Silence::For(manner.time().unwrap_or(heartbeat + grace / 2)),
            Self::Goodbye
            | Self::Fin
            | Self::FinMidframe
            | Self::Rst
            | Self::HalfClose
            | Self::SlowRead
            | Self::Trickle
            | Self::Garbage => Silence::None,
        }
    }

    /// What the server ought to say of it.
    pub fn truth(self, manner: Manner, contract: &Contract) -> Truth {
        let forgiven = match self.silence(manner, contract) {
            Silence::For(length) => contract.forgives(length),
            Silence::None | Silence::Forever => None,
        };
        match self {
            Self::Goodbye => Truth::Ends(&[Reason::PeerGoodbye]),
            Self::Fin | Self::HalfClose => Truth::Ends(&[Reason::PeerFin]),
            Self::FinMidframe => Truth::Ends(&[Reason::PeerFinMidframe]),
            Self::Rst => Truth::Ends(&[Reason::PeerReset]),
            Self::Garbage => Truth::Ends(&[Reason::ProtocolMalformed]),
            Self::Freeze | Self::LateBeat => forgiven.unwrap_or(FROZEN),
            Self::Vanish => forgiven.unwrap_or(LOST),
            Self::Reboot if forgiven.is_some() => REPLACED,
            Self::Reboot => LOST,
            Self::SlowRead if manner.time().is_some_and(|time| time < contract.slow_time) => Truth::Stays,
            Self::SlowRead => SLOW,
            Self::Trickle => Truth::Stays,
        }
    }

    /// How long after the fault it is known what the server makes of it.
    pub fn due(self, manner: Manner, contract: &Contract) -> Duration {
        let ended = contract.end();
        let silence = match self.silence(manner, contract) {
            Silence::None if self == Self::SlowRead => contract.slow_time + ended,
            Silence::None => Duration::ZERO,
            Silence::For(length) => length.min(ended),
            Silence::Forever => ended,
        };
        match (self.truth(manner, contract), self.parameter()) {
            (Truth::Ends(_) | Truth::Revives, _) => silence + contract.patience,
            // What must not come is waited for only as long as it lasts.
            (Truth::Stays | Truth::Unnoticed, Some(Parameter::For)) => {
                manner.time().unwrap_or_default() + EDGE
            }
            (Truth::Stays | Truth::Unnoticed, _) => Duration::ZERO,
        }
    }

    /// Whether it can be told only where the server expects to hear of its clients.
    pub const fn needs_heartbeat(self) -> bool {
        matches!(self, Self::Freeze | Self::Vanish | Self::LateBeat)
    }

    /// Whether it makes sense only for a client with a name.
    pub const fn needs_identity(self) -> bool {
        matches!(self, Self::Goodbye | Self::Reboot | Self::LateBeat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTRACT: Contract = Contract {
        heartbeat: Duration::from_secs(10),
        grace: Duration::from_secs(4),
        slow_time: Duration::from_secs(30),
        patience: Duration::from_secs(5),
    };

    /// As usual, but for so many seconds.
    fn lasting(seconds: u64) -> Manner {
        Manner { own: Some(Own::Time(Duration::from_secs(seconds))), ..Manner::default() }
    }

    #[test]
    fn silence_is_waited_for_as_long_as_the_contract_says() {
        for (fault, manner, seconds) in [
            (Fault::Fin, Manner::default(), 5),
            (Fault::Freeze, Manner::default(), 19),
            (Fault::Freeze, lasting(12), 17),
            (Fault::Freeze, lasting(60), 19),
            (Fault::Reboot, lasting(3), 8),
            (Fault::LateBeat, Manner::default(), 17),
            (Fault::LateBeat, lasting(11), 16),
            (Fault::SlowRead, Manner::default(), 49),
            (Fault::Trickle, Manner::default(), 0),
        ] {
            let due = fault.due(manner, &CONTRACT);
            assert_eq!(due, Duration::from_secs(seconds), "{fault} {manner:?}");
        }
        // Until it is over, where nothing is to come of it.
        assert_eq!(Fault::SlowRead.due(lasting(20), &CONTRACT), Duration::from_secs(20) + EDGE);
        assert_eq!(Fault::Vanish.due(lasting(9), &CONTRACT), Duration::from_secs(9) + EDGE);
    }

    #[test]
    fn who_is_back_in_time_is_forgiven() {
        for (fault, seconds, truth) in [
            (Fault::Freeze, 9, Truth::Unnoticed),
            (Fault::Freeze, 12, Truth::Revives),
            (Fault::Freeze, 15, FROZEN),
            (Fault::Vanish, 12, Truth::Revives),
            (Fault::Vanish, 15, LOST),
            (Fault::Reboot, 12, REPLACED),
            (Fault::Reboot, 15, LOST),
            (Fault::SlowRead, 29, Truth::Stays),
        ] {
            assert_eq!(fault.truth(lasting(seconds), &CONTRACT), truth, "{fault} for {seconds} s");
        }
        let nothing_promised = Contract { heartbeat: Duration::ZERO, ..CONTRACT };
        assert_eq!(Fault::Freeze.truth(lasting(99), &nothing_promised), Truth::Stays);
    }
}
