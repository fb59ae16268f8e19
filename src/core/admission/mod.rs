//! Whether a newcomer is let in: by the networks that may come, by how many there are of its source, and by how many have
//! come lately. Pure: addresses and times are arguments.
//!
//! In reading order: `bucket` counts what comes in a time, `sources` remembers that and the connections of each source
//! within a bound, `networks` are lists of who may come.

mod bucket;
mod networks;
mod sources;

use super::end::Reason;
use super::time::Instant;
use bucket::Bucket;
pub use networks::Networks;
use sources::{Source, Sources};
use std::net::IpAddr;
use std::time::Duration;

/// What a listener asks of newcomers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// Most connections let in per second; after a second without any, as many at once.
    pub accept_rate: Option<u32>,
    /// Most connections of one source at once.
    pub source_connections_max: Option<u32>,
    /// Most connections of one source let in per second; after a second without any, as many at once.
    pub source_accept_rate: Option<u32>,
    /// The networks that may come; `None`: all.
    pub allow: Option<Networks>,
    /// Those that may not, also if they are among the former.
    pub deny: Networks,
}

impl Limits {
    /// Whether there are any.
    fn are_set(&self) -> bool {
        self.accept_rate.is_some()
            || self.are_about_sources()
            || self.allow.is_some()
            || !self.deny.is_empty()
    }

    fn are_about_sources(&self) -> bool {
        self.source_connections_max.is_some() || self.source_accept_rate.is_some()
    }

    /// Whether a client from that address may come at all.
    pub fn permit(&self, ip: IpAddr) -> bool {
        self.allow.as_ref().is_none_or(|allow| allow.contain(ip)) && !self.deny.contain(ip)
    }
}

/// What is remembered of those who came to a listener.
#[derive(Debug)]
pub struct Admission {
    all: Bucket,
    sources: Sources,
    /// Connections accepted before this are not counted: there was no limit on sources then.
    counts_since: Instant,
}

impl Admission {
    /// Nothing yet; `None`: there are no limits, so that there is nothing to remember.
    pub fn new(limits: &Limits, now: Instant) -> Option<Box<Self>> {
        limits.are_set().then(|| {
            let counts_since = if limits.are_about_sources() { now } else { Instant::NEVER };
            Box::new(Self { all: Bucket::FULL, sources: Sources::default(), counts_since })
        })
    }

    /// The limits have changed from `old` to `new`. What is known of sources is kept, where it goes on to matter.
    pub fn adopt(known: &mut Option<Box<Self>>, old: &Limits, new: &Limits, now: Instant) {
        if !new.are_set() {
            *known = None;
            return;
        }
        let Some(known) = known.as_deref_mut().filter(|_| old.are_about_sources() == new.are_about_sources())
        else {
            // A connection that was accepted at this very time was not counted either.
            *known = Self::new(new, now + Duration::from_nanos(1));
            return;
        };
        known.sources.forget_full(now, usize::MAX);
    }

    /// When the next newcomer can be let in, where as many have come as may.
    pub fn rate_limited_until(&self, limits: &Limits, now: Instant) -> Option<Instant> {
        self.all.next(limits.accept_rate?).filter(|at| *at > now)
    }

    /// Judges a newcomer, and counts it if it is let in. `ip`: where it comes from, if it has an address and that is its own.
    ///
    /// # Errors
    /// Why it is not let in.
    pub fn admit(&mut self, limits: &Limits, ip: Option<IpAddr>, now: Instant) -> Result<(), Reason> {
        if ip.is_some_and(|ip| !limits.permit(ip)) {
            return Err(Reason::LocalDenied);
        }
        // Before its source: that is not to pay for one that is not let in.
        if self.rate_limited_until(limits, now).is_some() {
            return Err(Reason::LocalAcceptRate);
        }
        if let Some(ip) = ip {
            self.judge(limits, ip, now)?;
        }
        if let Some(rate) = limits.accept_rate {
            self.all.take(rate, now);
        }
        Ok(())
    }

    /// Judges where a connection comes from that was counted among all when it was accepted.
    ///
    /// # Errors
    /// Why it is not let in.
    pub fn judge(&mut self, limits: &Limits, ip: IpAddr, now: Instant) -> Result<(), Reason> {
        if !limits.permit(ip) {
            return Err(Reason::LocalDenied);
        }
        if limits.are_about_sources() {
            let (most, rate) = (limits.source_connections_max, limits.source_accept_rate);
            return self.sources.judge(Source::of(ip), most, rate, now);
        }
        Ok(())
    }

    /// A connection from there that was accepted then is let in.
    pub fn enter(&mut self, ip: IpAddr, accepted: Instant) {
        if accepted >= self.counts_since {
            self.sources.enter(Source::of(ip));
        }
    }

    /// A connection from there that was accepted then, and let in, is gone.
    pub fn leave(&mut self, ip: IpAddr, accepted: Instant, now: Instant) {
        if accepted >= self.counts_since {
            self.sources.leave(Source::of(ip), now);
        }
    }

    /// Sources that are remembered.
    pub fn sources(&self) -> usize {
        self.sources.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn without_a_limit_nothing_is_remembered() {
        assert!(Admission::new(&Limits::default(), at(0)).is_none());
        let deny = Networks::parse("192.0.2.0/24").unwrap();
        assert!(Admission::new(&Limits { deny, ..Limits::default() }, at(0)).is_some());
    }

    #[test]
    fn who_is_denied_is_so_although_its_network_is_allowed() {
        let limits = Limits {
            allow: Some(Networks::parse("192.0.2.0/24, 2001:db8::/32").unwrap()),
            deny: Networks::parse("192.0.2.7").unwrap(),
            ..Limits::default()
        };
        let mut admission = Admission::new(&limits, at(0)).unwrap();
        let mut judge = |from: &str| admission.judge(&limits, ip(from), at(0));
        assert_eq!(judge("192.0.2.6"), Ok(()));
        assert_eq!(judge("2001:db8::1"), Ok(()));
        assert_eq!(judge("192.0.2.7"), Err(Reason::LocalDenied));
        assert_eq!(judge("198.51.100.1"), Err(Reason::LocalDenied));
    }

    #[test]
    fn all_together_have_a_rate_and_it_is_said_when_the_next_may_come() {
        let limits = Limits { accept_rate: Some(2), ..Limits::default() };
        let mut admission = Admission::new(&limits, at(0)).unwrap();
        let mut take =
            |now| (admission.admit(&limits, None, at(now)), admission.rate_limited_until(&limits, at(now)));
        assert_eq!(take(0), (Ok(()), None));
        assert_eq!(take(0), (Ok(()), Some(at(500))));
        assert_eq!(take(100), (Err(Reason::LocalAcceptRate), Some(at(500))));
        assert_eq!(take(500), (Ok(()), Some(at(1000))));
    }

    #[test]
    fn a_source_does_not_pay_for_what_all_together_may_not() {
        let limits = Limits { accept_rate: Some(1), source_accept_rate: Some(2), ..Limits::default() };
        let mut admission = Admission::new(&limits, at(0)).unwrap();
        let mut admit = |now| admission.admit(&limits, Some(ip("192.0.2.1")), at(now));
        assert_eq!(admit(0), Ok(()));
        assert!((1..10).all(|now| admit(now) == Err(Reason::LocalAcceptRate)));
        assert_eq!(admit(1000), Ok(()));
    }

    #[test]
    fn a_limit_that_comes_later_counts_those_who_come_later() {
        let none = Limits::default();
        let limits = Limits { source_connections_max: Some(1), ..Limits::default() };
        let mut known = Admission::new(&none, at(0));
        Admission::adopt(&mut known, &none, &limits, at(5));
        let admission = known.as_deref_mut().unwrap();
        // One that was accepted before, and leaves after another has come.
        let here = ip("192.0.2.1");
        admission.enter(here, at(6));
        admission.leave(here, at(5), at(7));
        assert_eq!(admission.judge(&limits, here, at(7)), Err(Reason::LocalSourceLimit));
        admission.leave(here, at(6), at(8));
        assert_eq!(admission.judge(&limits, here, at(8)), Ok(()));
        Admission::adopt(&mut known, &limits, &none, at(9));
        assert!(known.is_none());
    }

    #[test]
    fn a_limit_that_changes_keeps_what_was_counted() {
        let limits = |most| Limits { source_connections_max: Some(most), ..Limits::default() };
        let mut known = Admission::new(&limits(1), at(0));
        let here = ip("192.0.2.1");
        known.as_deref_mut().unwrap().enter(here, at(1));
        Admission::adopt(&mut known, &limits(1), &limits(2), at(2));
        let admission = known.as_deref_mut().unwrap();
        assert_eq!(admission.judge(&limits(2), here, at(3)), Ok(()));
        admission.enter(here, at(3));
        assert_eq!(admission.judge(&limits(2), here, at(3)), Err(Reason::LocalSourceLimit));
    }
}
