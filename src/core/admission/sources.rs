//! What is known of each source: its connections, and how many have come lately.
//!
//! The table is bounded. A source with a connection is remembered as long as that lasts, and those are bounded themselves.
//! One without is remembered until its bucket is full again, for from then on it is like one that never came; and of those
//! there are at most [`IDLE_MAX`]. Beyond that, the one goes first whose bucket is full soonest. So a crowd of sources that
//! come once each pushes out its own kind, and not the one that comes too often.

use super::bucket::Bucket;
use crate::core::end::Reason;
use crate::core::time::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Sources without a connection that are remembered, about 2 MB of them.
const IDLE_MAX: usize = 16 * 1024;
/// Of those, how many are looked at with each newcomer: more than one, so that they become fewer.
const LOOKS: usize = 2;

/// Whom connections are counted for: an address of IPv4, or the 64 bits of IPv6 that a site or a host is given (RFC 7421).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Source(u128);

impl Source {
    pub(super) fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(v4) => Self(u128::from(v4.to_ipv6_mapped())),
            IpAddr::V6(v6) => Self(u128::from(v6) >> 64 << 64),
        }
    }

    /// Its first address.
    #[cfg(test)]
    fn first(self) -> IpAddr {
        IpAddr::V6(std::net::Ipv6Addr::from(self.0)).to_canonical()
    }
}

/// What is known of one.
#[derive(Clone, Copy, Debug)]
struct Known {
    connections: u32,
    bucket: Bucket,
}

impl Known {
    const NOTHING: Self = Self { connections: 0, bucket: Bucket::FULL };
}

/// What is known of all.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// A tree, not a table of hashes: a client can choose its address.
    known: BTreeMap<Source, Known>,
    /// Those without a connection, by when their bucket is full.
    idle: BTreeSet<(Instant, Source)>,
}

impl Sources {
    /// Judges a newcomer, and counts it among those that have come lately if it is let in.
    ///
    /// # Errors
    /// Why it is not.
    pub(super) fn judge(
        &mut self,
        source: Source,
        most: Option<u32>,
        rate: Option<u32>,
        now: Instant,
    ) -> Result<(), Reason> {
        self.forget_full(now, LOOKS);
        let mut known = self.known.get(&source).copied().unwrap_or(Known::NOTHING);
        if most.is_some_and(|most| known.connections >= most) {
            return Err(Reason::LocalSourceLimit);
        }
        let Some(rate) = rate else { return Ok(()) };
        let before = known.bucket.full_at();
        if !known.bucket.take(rate, now) {
            return Err(Reason::LocalSourceRate);
        }
        self.known.insert(source, known);
        if known.connections == 0 {
            self.idle.remove(&(before, source));
            self.rest(source, known);
        }
        Ok(())
    }

    /// A connection from there is let in.
    pub(super) fn enter(&mut self, source: Source) {
        let known = self.known.entry(source).or_insert(Known::NOTHING);
        known.connections += 1;
        if known.connections == 1 {
            self.idle.remove(&(known.bucket.full_at(), source));
        }
    }

    /// A connection from there that was let in is gone.
    pub(super) fn leave(&mut self, source: Source, now: Instant) {
        let Some(known) = self.known.get_mut(&source) else { return };
        known.connections = known.connections.saturating_sub(1);
        let known = *known;
        if known.connections > 0 {
        } else if known.bucket.full_at() <= now {
            self.known.remove(&source);
        } else {
            self.rest(source, known);
        }
    }

    /// A source is known that has no connection.
    fn rest(&mut self, source: Source, known: Known) {
        self.idle.insert((known.bucket.full_at(), source));
        if self.idle.len() > IDLE_MAX
            && let Some((_, soonest)) = self.idle.pop_first()
        {
            self.known.remove(&soonest);
        }
    }

    /// Forgets up to `most` of those of which there is nothing to know any more.
    pub(super) fn forget_full(&mut self, now: Instant, most: usize) {
        for _ in 0..most {
            let Some((_, source)) = self.idle.first().copied().filter(|(full_at, _)| *full_at <= now) else {
                break;
            };
            self.idle.pop_first();
            self.known.remove(&source);
        }
    }

    /// How many are known.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn v4(number: u32) -> Source {
        Source::of(IpAddr::V4(Ipv4Addr::from(number)))
    }

    #[test]
    fn a_source_is_an_address_of_ipv4_or_a_prefix_of_ipv6() {
        let source = |text: &str| Source::of(text.parse().unwrap()).first().to_string();
        assert_eq!(source("192.0.2.1"), "192.0.2.1");
        assert_eq!(source("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(source("2001:db8:0:1:aaaa::1"), "2001:db8:0:1::");
        assert_ne!(source("2001:db8:0:2::1"), source("2001:db8:0:1::1"));
    }

    #[test]
    fn a_crowd_that_comes_once_each_does_not_push_out_the_one_that_comes_too_often() {
        const RATE: Option<u32> = Some(100);
        let mut sources = Sources::default();
        let bad = v4(1);
        for _ in 0..100 {
            assert_eq!(sources.judge(bad, None, RATE, at(0)), Ok(()));
        }
        for number in 10..10 + 3 * u32::try_from(IDLE_MAX).unwrap() {
            assert_eq!(sources.judge(v4(number), None, RATE, at(0)), Ok(()));
            assert!(sources.len() <= IDLE_MAX);
        }
        assert_eq!(sources.judge(bad, None, RATE, at(0)), Err(Reason::LocalSourceRate));
        // Nor one that has a connection.
        let mut sources = Sources::default();
        sources.enter(bad);
        for number in 10..10 + 3 * u32::try_from(IDLE_MAX).unwrap() {
            assert_eq!(sources.judge(v4(number), Some(1), RATE, at(0)), Ok(()));
        }
        assert_eq!(sources.judge(bad, Some(1), RATE, at(0)), Err(Reason::LocalSourceLimit));
    }

    #[test]
    fn who_has_not_come_for_a_second_is_forgotten() {
        let mut sources = Sources::default();
        for number in 0..1000 {
            assert_eq!(sources.judge(v4(number), None, Some(1), at(0)), Ok(()));
        }
        assert_eq!(sources.len(), 1000);
        for _ in 0..1000 {
            let _ = sources.judge(v4(5000), None, Some(1), at(1500));
        }
        assert_eq!(sources.len(), 1);
    }

    proptest! {
        /// Beside a plain count of what was let in, and when.
        #[test]
        fn none_has_more_connections_or_newcomers_than_it_may(
            steps in prop::collection::vec((0_u32..4, 0_u64..400, any::<bool>()), 1..200),
            most in 1_u32..4,
            rate in 1_u32..5,
        ) {
            let (mut sources, mut now) = (Sources::default(), 0);
            let mut here = [0_u32; 4];
            let mut came: [Vec<u64>; 4] = Default::default();
            for (number, wait, comes) in steps {
                now += wait;
                let (source, who) = (v4(number), number as usize);
                if !comes && here[who] > 0 {
                    here[who] -= 1;
                    sources.leave(source, at(now));
                    continue;
                }
                match sources.judge(source, Some(most), Some(rate), at(now)) {
                    Ok(()) => {
                        sources.enter(source);
                        here[who] += 1;
                        came[who].push(now);
                    }
                    Err(Reason::LocalSourceLimit) => prop_assert_eq!(here[who], most),
                    Err(reason) => {
                        prop_assert_eq!(reason, Reason::LocalSourceRate);
                        let lately = came[who].iter().filter(|at| **at + 1000 > now).count();
                        prop_assert!(lately > 0);
                    }
                }
                prop_assert!(here[who] <= most);
                let lately = came[who].iter().filter(|at| **at + 1000 > now).count();
                prop_assert!(lately <= 2 * rate as usize, "{} in a second", lately);
                prop_assert!(sources.known.values().all(|known| known.connections <= most));
            }
            // What it remembers beside connections passes.
            sources.forget_full(at(now + 2000), usize::MAX);
            prop_assert_eq!(sources.len(), here.iter().filter(|count| **count > 0).count());
        }
    }
}
