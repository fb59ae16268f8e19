//! Which share of the clients commits which fault, and how: `fin=10%,freeze=5%:for=20s`.

use super::faults::{Contract, EDGE, Fault, Manner, Own, Parameter, Silence, Truth};
use super::schedule::share;
use crate::core::time::Duration;
use crate::core::units::{parse_duration, parse_size, parse_some_time};

/// Who misbehaves, and how.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Mix(Vec<Share>);

/// Some of the clients.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Share {
    /// What they do.
    pub fault: Fault,
    /// How many they are: from 0 to 1.
    pub of_all: f64,
    /// How they do it.
    pub manner: Manner,
}

/// What a mix must fit.
#[derive(Clone, Copy, Debug)]
pub struct Limits<'a> {
    /// The promises on both sides; none: nobody judges.
    pub contract: Option<&'a Contract>,
    /// How long the load lasts.
    pub duration: Duration,
    /// Bytes of one request.
    pub request_bytes: usize,
    /// Requests that may be under way on a connection.
    pub pipeline: u32,
}

impl Mix {
    /// Reads `fin=10%,freeze=5%:for=20s:at=10s`.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut mix = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let share = Share::parse(part)?;
            if mix.0.iter().any(|other| other.fault == share.fault) {
                return Err(format!("{} is given twice", share.fault));
            }
            mix.0.push(share);
        }
        let sum: f64 = mix.0.iter().map(|share| share.of_all).sum();
        if sum > 1.000_001 {
            return Err(format!("the shares add up to {:.1}%, which is more than everybody", sum * 100.0));
        }
        Ok(mix)
    }

    /// Whether nobody commits anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Who does what, in the order in which it was asked for.
    pub fn shares(&self) -> &[Share] {
        &self.0
    }

    /// How a fault is committed; as usual, if nothing was said of it.
    pub fn manner(&self, fault: Fault) -> Manner {
        self.0.iter().find(|share| share.fault == fault).map(|share| share.manner).unwrap_or_default()
    }

    /// What the server ought to say of a fault.
    pub fn truth(&self, fault: Fault, contract: &Contract) -> Truth {
        fault.truth(self.manner(fault), contract)
    }

    /// How long after a fault the server may take to say so.
    pub fn due(&self, fault: Fault, contract: &Contract) -> Duration {
        fault.due(self.manner(fault), contract)
    }

    /// What cannot be: one sentence each.
    pub fn mistakes(&self, limits: &Limits<'_>) -> impl Iterator<Item = String> {
        self.0.iter().flat_map(|share| share.mistakes(limits))
    }

    /// What process `index` of `of` does of it: all of them together do it to the client.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count")]
    pub fn part(&self, clients: u32, index: u32, of: u32) -> Self {
        let own = f64::from(share(clients, index, of).max(1));
        let mut before = 0;
        let parts = self.0.iter().map(|part| {
            let count = (part.of_all * f64::from(clients)).round() as u32;
            // One after the other, no matter which of them misbehave.
            let mine = (before..before + count).filter(|place| place % of == index).count();
            before += count;
            Share { of_all: f64::from(u32::try_from(mine).unwrap_or(u32::MAX)) / own, ..*part }
        });
        Self(parts.collect())
    }

    /// One entry for each of `clients`: its fault or none, spread evenly among them. The same every time.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count")]
    #[expect(clippy::cast_precision_loss, reason = "counts of clients are far below 2^53")]
    pub fn draw(&self, clients: usize) -> Vec<Option<Fault>> {
        let mut in_order = Vec::with_capacity(clients);
        for share in &self.0 {
            let count = (share.of_all * clients as f64).round() as usize;
            in_order.extend(std::iter::repeat_n(Some(share.fault), count));
        }
        in_order.resize(clients, None);
        let stride = (clients * 618 / 1000..clients).find(|stride| gcd(*stride, clients) == 1).unwrap_or(1);
        (0..clients).map(|index| in_order[index * stride % clients]).collect()
    }
}

impl Share {
    /// Reads `freeze=5%:for=20s`.
    fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split(':');
        let first = words.next().unwrap_or_default();
        let (name, percent) = first
            .split_once('=')
            .ok_or_else(|| format!("{first:?} has no share of the clients; write {first}=5%"))?;
        let fault = Fault::ALL.iter().copied().find(|fault| fault.name() == name).ok_or_else(|| {
            let names: Vec<_> = Fault::ALL.iter().map(|fault| fault.name()).collect();
            format!("{name:?} is not a fault; they are {}", names.join(", "))
        })?;
        let of_hundred = percent.strip_suffix('%').and_then(|number| number.parse().ok());
        let Some(of_hundred) = of_hundred.filter(|of_hundred| (0.0..=100.0).contains(of_hundred)) else {
            return Err(format!("{percent:?} is not a share from 0% to 100%; write {name}=5%"));
        };
        let mut share = Self { fault, of_all: of_hundred / 100.0, manner: Manner::default() };
        for word in words {
            share.take(word).map_err(|why| format!("{name}: {why}"))?;
        }
        Ok(share)
    }

    /// Reads one parameter, as `for=20s`.
    fn take(&mut self, word: &str) -> Result<(), String> {
        let taken: Vec<_> = [Some(Parameter::At), self.fault.parameter()].into_iter().flatten().collect();
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let Some(&parameter) = taken.iter().find(|parameter| parameter.name() == name) else {
            let names: Vec<_> = taken.iter().map(|parameter| parameter.name()).collect();
            return Err(format!("{name:?} is none of its parameters; it takes {}", names.join(" and ")));
        };
        let wrong = |why: String| format!("{name}: {value:?} {why}");
        let twice = match parameter {
            Parameter::At => self.manner.at.replace(parse_duration(value).map_err(wrong)?).is_some(),
            Parameter::For | Parameter::Every => {
                let time = parse_some_time(value).map_err(wrong)?;
                self.manner.own.replace(Own::Time(time)).is_some()
            }
            Parameter::Bytes => {
                let bytes = parse_size(value).map_err(wrong)?;
                let bytes = u32::try_from(bytes).map_err(|_| wrong("is out of range".to_owned()))?;
                self.manner.own.replace(Own::Count(bytes)).is_some()
            }
            Parameter::Requests => {
                let count = value
                    .parse()
                    .map_err(|_| wrong(format!("is not a whole number; write for example {name}=8")))?;
                self.manner.own.replace(Own::Count(count)).is_some()
            }
        };
        if twice { Err(format!("{name} is given twice")) } else { Ok(()) }
    }

    /// What was said of how: lengths of time in seconds, counts as they are.
    pub fn parameters(&self) -> impl Iterator<Item = (Parameter, f64)> + use<> {
        let Manner { at, own } = self.manner;
        let own = own.map(|own| match own {
            Own::Time(time) => time.as_secs_f64(),
            Own::Count(count) => f64::from(count),
        });
        let at = at.map(|at| (Parameter::At, at.as_secs_f64()));
        [at, self.fault.parameter().zip(own)].into_iter().flatten()
    }

    /// What cannot be, or could not be judged.
    fn mistakes(self, limits: &Limits<'_>) -> Vec<String> {
        let at = self.manner.at.filter(|&at| at >= limits.duration);
        let late = at.map(|at| format!("at={at:?} is after the load, which lasts {:?}", limits.duration));
        let luck = limits.contract.and_then(|contract| self.luck(contract));
        let counted = self.manner.count().and_then(|count| self.out_of_range(count, limits));
        [late, luck, counted]
            .into_iter()
            .flatten()
            .map(|why| format!("--fault {}: {why}", self.fault))
            .collect()
    }

    /// Why nobody could say what the server ought to make of it.
    fn luck(self, contract: &Contract) -> Option<String> {
        let Contract { heartbeat, slow_time, .. } = *contract;
        let end = contract.end();
        match (self.fault, self.fault.silence(self.manner, contract), self.manner.time()) {
            (fault, Silence::For(length), _) if !heartbeat.is_zero() => {
                let near = |edge: Duration| length + EDGE > edge && length < edge + EDGE;
                let early = length < heartbeat + EDGE || length + EDGE > end;
                let close = near(end) || fault != Fault::Reboot && near(heartbeat);
                if fault == Fault::LateBeat && early {
                    Some(format!(
                        "for={length:?} is not late but within --grace: that is more than {heartbeat:?} and less than \
                         {end:?}, by {EDGE:?} at least"
                    ))
                } else {
                    close.then(|| {
                        format!(
                            "for={length:?} is so close to what the server bears that luck decides: it suspects after \
                             {heartbeat:?} and ends after {end:?}; keep {EDGE:?} away from both"
                        )
                    })
                }
            }
            (Fault::SlowRead, _, Some(time)) if time + EDGE > slow_time && time < slow_time + end + EDGE => {
                Some(format!(
                    "for={time:?} is so close to what the server bears that luck decides: less than --slow-time, \
                     {slow_time:?}, is forgiven, and more than {:?} never; keep {EDGE:?} away from both",
                    slow_time + end
                ))
            }
            (Fault::Trickle, _, Some(time)) if !heartbeat.is_zero() && time > heartbeat / 2 => {
                Some(format!("every={time:?} is more seldom than half of --heartbeat, {:?}", heartbeat / 2))
            }
            (_, _, _) => None,
        }
    }

    fn out_of_range(self, count: u32, limits: &Limits<'_>) -> Option<String> {
        let (name, least, most, why) = match self.fault {
            Fault::FinMidframe => {
                let bytes = u32::try_from(limits.request_bytes).unwrap_or(u32::MAX);
                ("bytes", 1, bytes.saturating_sub(1), "not nothing, and not the whole request")
            }
            Fault::HalfClose => ("requests", 1, limits.pipeline.max(1), "as many as --pipeline allows"),
            Fault::Garbage => ("bytes", 4, 1 << 20, "fewer could still become a request"),
            Fault::Goodbye
            | Fault::Fin
            | Fault::Rst
            | Fault::Freeze
            | Fault::Vanish
            | Fault::SlowRead
            | Fault::Trickle
            | Fault::Reboot
            | Fault::LateBeat => return None,
        };
        let fits = (least..=most).contains(&count);
        (!fits).then(|| format!("{name}={count}: it takes {least} to {most} ({why})"))
    }
}

const fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits<'static> = Limits {
        contract: Some(&Contract {
            heartbeat: Duration::from_secs(10),
            grace: Duration::from_secs(4),
            slow_time: Duration::from_secs(30),
            patience: Duration::from_secs(5),
        }),
        duration: Duration::from_secs(60),
        request_bytes: 14,
        pipeline: 4,
    };

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
    fn processes_share_it_to_the_client() {
        for (text, clients, of) in
            [("fin=20%,rst=20%,vanish=60%", 20, 3), ("fin=10%,rst=10%", 9, 4), ("fin=1%", 7, 2)]
        {
            let whole = Mix::parse(text).unwrap();
            let drawn = |mix: &Mix, clients: u32| -> Vec<Fault> {
                let mut drawn: Vec<_> = mix.draw(clients as usize).into_iter().flatten().collect();
                drawn.sort();
                drawn
            };
            let parts =
                (0..of).map(|index| drawn(&whole.part(clients, index, of), share(clients, index, of)));
            let mut together: Vec<_> = parts.flatten().collect();
            together.sort();
            assert_eq!(together, drawn(&whole, clients), "{text} by {clients} clients of {of} processes");
        }
    }

    #[test]
    fn each_fault_takes_its_parameters() {
        let mix = Mix::parse("freeze=5%:for=20s:at=500ms,fin=1%:at=0s,half_close=2%:requests=3").unwrap();
        let manner =
            Manner { at: Some(Duration::from_millis(500)), own: Some(Own::Time(Duration::from_secs(20))) };
        assert_eq!(mix.manner(Fault::Freeze), manner);
        assert_eq!(mix.manner(Fault::Fin).at, Some(Duration::ZERO));
        assert_eq!(mix.manner(Fault::HalfClose).count(), Some(3));
        assert_eq!(mix.manner(Fault::Rst), Manner::default());
        assert_eq!(mix.mistakes(&LIMITS).collect::<Vec<_>>(), [""; 0]);
    }

    #[test]
    fn a_wrong_mix_is_told_with_what_would_be_right() {
        for (text, part) in [
            ("fin", "write fin=5%"),
            ("fnn=5%", "they are goodbye, fin,"),
            ("fin=5", "write fin=5%"),
            ("fin=101%", "from 0% to 100%"),
            ("fin=nan%", "from 0% to 100%"),
            ("fin=5%%", "from 0% to 100%"),
            ("fin=60%,rst=60%", "120.0%"),
            ("fin=1%,fin=1%", "twice"),
            ("fin=1%:for=1s", "it takes at"),
            ("freeze=1%:every=1s", "it takes at and for"),
            ("freeze=1%:for", "is not a duration"),
            ("freeze=1%:for=0s", "lasts no time"),
            ("freeze=1%:for=1s:for=2s", "for is given twice"),
            ("garbage=1%:bytes=many", "is not a size"),
            ("half_close=1%:requests=many", "write for example requests=8"),
        ] {
            let said = Mix::parse(text).unwrap_err();
            assert!(said.contains(part), "{text}: {said}");
        }
    }

    #[test]
    fn what_luck_would_decide_and_what_cannot_be_is_told() {
        for (text, part) in [
            ("fin=1%:at=60s", "after the load, which lasts 60s"),
            ("trickle=1%:every=6s", "half of --heartbeat, 5s"),
            ("late_beat=1%:for=10s", "more than 10s and less than 14s"),
            ("late_beat=1%:for=14s", "more than 10s and less than 14s"),
            ("freeze=1%:for=10.05s", "suspects after 10s"),
            ("vanish=1%:for=13.95s", "ends after 14s"),
            ("reboot=1%:for=14s", "luck decides"),
            ("slow_read=1%:for=31s", "more than 44s never"),
            ("fin_midframe=1%:bytes=14", "takes 1 to 13 (not nothing, and not the whole request)"),
            ("half_close=1%:requests=5", "takes 1 to 4 (as many as --pipeline allows)"),
            ("garbage=1%:bytes=3", "takes 4 to 1048576"),
        ] {
            let told: Vec<_> = Mix::parse(text).unwrap().mistakes(&LIMITS).collect();
            assert!(matches!(&told[..], [one] if one.contains(part)), "{text}: {told:?}");
        }
        let unjudged = Limits { contract: None, ..LIMITS };
        assert_eq!(Mix::parse("slow_read=1%:for=31s").unwrap().mistakes(&unjudged).count(), 0);
        // As usual is not always possible either.
        let no_grace = Contract { grace: Duration::ZERO, ..*LIMITS.contract.unwrap() };
        let told: Vec<_> = Mix::parse("late_beat=1%")
            .unwrap()
            .mistakes(&Limits { contract: Some(&no_grace), ..LIMITS })
            .collect();
        assert!(told[0].contains("within --grace"), "{told:?}");
    }
}
