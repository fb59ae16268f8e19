//! What clients do wrong, one line each: how it is asked for, what the server ought to say of it, and how long
//! that may take. This table is the documentation, the parser, and the truth that verdicts are held against.

use crate::end::{Reason, named};
use crate::time::Duration;
use serde::{Deserialize, Serialize};

named! {
    /// A misdeed, or an ordinary leaving, of one client.
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
        /// Asks one more thing and sends its FIN, but goes on reading: it is owed the answer.
        HalfClose = "half_close",
        /// Neither reads nor writes any more; its kernel still acknowledges.
        Freeze = "freeze",
        /// Its host is gone: nothing leaves it any more, not even an acknowledgement.
        Vanish = "vanish",
        /// Asks for much and reads nothing of it.
        SlowRead = "slow_read",
        /// Sends its requests a byte at a time.
        Trickle = "trickle",
        /// Vanishes, and comes back with the same identity while its old connection still looks well.
        Reboot = "reboot",
        /// Sends what is not the protocol.
        Garbage = "garbage",
        /// Is silent for longer than it promised, and back before the grace is over.
        LateBeat = "late_beat",
    }
}

/// What the server ought to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Truth {
    /// The connection ends, for one of these.
    Ends(&'static [Reason]),
    /// The connection stays.
    Stays,
    /// The connection is suspect, then revived, and stays.
    Revives,
}

/// The promises on both sides, from which waiting times follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Contract {
    /// Clients promise to be heard this often.
    pub heartbeat: Duration,
    /// The server waits this much longer before it ends a silent one.
    pub grace: Duration,
    /// The server ends who takes no output for this long.
    pub slow_time: Duration,
    /// What is allowed on top of all that.
    pub patience: Duration,
}

impl Fault {
    /// What the server ought to say of it.
    pub const fn truth(self) -> Truth {
        match self {
            Self::Goodbye => Truth::Ends(&[Reason::PeerGoodbye]),
            Self::Fin | Self::HalfClose => Truth::Ends(&[Reason::PeerFin]),
            Self::FinMidframe => Truth::Ends(&[Reason::PeerFinMidframe]),
            Self::Rst => Truth::Ends(&[Reason::PeerReset]),
            Self::Freeze => Truth::Ends(&[Reason::StuckFrozen]),
            // Which means finds it first is the server's affair.
            Self::Vanish => Truth::Ends(&[
                Reason::LostHeartbeat,
                Reason::LostUnacked,
                Reason::LostKeepalive,
                Reason::LostUnreachable,
            ]),
            Self::SlowRead => Truth::Ends(&[Reason::SlowTime, Reason::SlowBytes, Reason::StuckZeroWindow]),
            Self::Reboot => Truth::Ends(&[Reason::PeerReplaced]),
            Self::Garbage => Truth::Ends(&[Reason::ProtocolMalformed]),
            Self::Trickle => Truth::Stays,
            Self::LateBeat => Truth::Revives,
        }
    }

    /// How long after the misdeed the server may take to say so.
    pub fn due(self, contract: &Contract) -> Duration {
        let Contract { heartbeat, grace, slow_time, patience } = *contract;
        let silence = match self {
            Self::Goodbye
            | Self::Fin
            | Self::FinMidframe
            | Self::Rst
            | Self::HalfClose
            | Self::Trickle
            | Self::Reboot
            | Self::Garbage => Duration::ZERO,
            Self::Freeze | Self::Vanish => heartbeat + grace,
            Self::SlowRead => slow_time + heartbeat + grace,
            Self::LateBeat => self.late(contract),
        };
        silence + patience
    }

    /// When a late beat comes, counted from the last one: halfway into the grace.
    pub fn late(self, contract: &Contract) -> Duration {
        contract.heartbeat + contract.grace / 2
    }

    /// Whether it can be told only where the server expects to hear of its clients.
    pub const fn needs_heartbeat(self) -> bool {
        matches!(self, Self::Freeze | Self::Vanish | Self::LateBeat)
    }

    /// Whether it makes sense only for a client with a name.
    pub const fn needs_identity(self) -> bool {
        matches!(self, Self::Goodbye | Self::Reboot | Self::LateBeat)
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|fault| fault.name() == name)
    }
}

/// How many of the clients commit which fault.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Mix(Vec<(Fault, f64)>);

impl Mix {
    /// Reads `fin=10%,rst=5%`.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut mix = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, share) = part
                .split_once('=')
                .ok_or_else(|| format!("{part:?} has no share of the clients; write {part}=5%"))?;
            let fault = Fault::parse(name).ok_or_else(|| {
                let names: Vec<_> = Fault::ALL.iter().map(|fault| fault.name()).collect();
                format!("{name:?} is not a fault; they are {}", names.join(", "))
            })?;
            let percent: f64 = share.trim_end_matches('%').parse().unwrap_or(f64::NAN);
            if !share.ends_with('%') || !(0.0..=100.0).contains(&percent) {
                return Err(format!("{share:?} is not a share from 0% to 100%; write {name}=5%"));
            }
            if mix.0.iter().any(|&(other, _)| other == fault) {
                return Err(format!("{name} is given twice"));
            }
            mix.0.push((fault, percent / 100.0));
        }
        let sum: f64 = mix.0.iter().map(|(_, share)| share).sum();
        if sum > 1.000_001 {
            return Err(format!("the shares add up to {:.1}%, which is more than everybody", sum * 100.0));
        }
        Ok(mix)
    }

    /// Whether nobody commits anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The faults in it.
    pub fn faults(&self) -> impl Iterator<Item = Fault> {
        self.0.iter().map(|&(fault, _)| fault)
    }

    /// One entry for each of `clients`: its fault or none, spread evenly among them. The same every time.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count")]
    #[expect(clippy::cast_precision_loss, reason = "counts of clients are far below 2^53")]
    pub fn draw(&self, clients: usize) -> Vec<Option<Fault>> {
        let mut in_order = Vec::with_capacity(clients);
        for &(fault, share) in &self.0 {
            let count = (share * clients as f64).round() as usize;
            in_order.extend(std::iter::repeat_n(Some(fault), count));
        }
        in_order.resize(clients, None);
        let stride = (clients * 618 / 1000..clients).find(|stride| gcd(*stride, clients) == 1).unwrap_or(1);
        (0..clients).map(|index| in_order[index * stride % clients]).collect()
    }
}

const fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_is_read_and_drawn_to_the_client() {
        let mix = Mix::parse("fin=10%, rst=5.5%").unwrap();
        let drawn = mix.draw(1000);
        let count = |fault| drawn.iter().filter(|&&drawn| drawn == fault).count();
        assert_eq!((count(Some(Fault::Fin)), count(Some(Fault::Rst)), count(None)), (100, 55, 845));
        let first_half = drawn[..500].iter().filter(|fault| fault.is_some()).count();
        assert!((60..96).contains(&first_half), "spread among them: {first_half} of 155");
        assert_eq!(mix.draw(0), []);
        assert_eq!(Mix::parse("rst=100%").unwrap().draw(1), [Some(Fault::Rst)]);
        assert!(Mix::parse("").unwrap().is_empty());
    }

    #[test]
    fn a_wrong_mix_is_told_with_what_would_be_right() {
        for (text, part) in [
            ("fin", "write fin=5%"),
            ("fnn=5%", "they are goodbye, fin,"),
            ("fin=5", "write fin=5%"),
            ("fin=101%", "from 0% to 100%"),
            ("fin=nan%", "from 0% to 100%"),
            ("fin=60%,rst=60%", "120.0%"),
            ("fin=1%,fin=1%", "twice"),
        ] {
            let said = Mix::parse(text).unwrap_err();
            assert!(said.contains(part), "{text}: {said}");
        }
    }

    #[test]
    fn silence_is_waited_for_as_long_as_the_contract_says() {
        let seconds = Duration::from_secs;
        let contract = Contract {
            heartbeat: seconds(10),
            grace: seconds(4),
            slow_time: seconds(30),
            patience: seconds(5),
        };
        assert_eq!(Fault::Fin.due(&contract), seconds(5));
        assert_eq!(Fault::Freeze.due(&contract), seconds(19));
        assert_eq!(Fault::LateBeat.due(&contract), seconds(17));
        assert_eq!(Fault::SlowRead.due(&contract), seconds(49));
    }
}
