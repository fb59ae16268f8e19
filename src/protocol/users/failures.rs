//! Who may try to log in now: attempts that fail are counted by where they come from, and slow down those that follow from
//! there. Nobody else waits for that, and the server never does: an attempt is told when it may be made, and its
//! connection is served again then.
//!
//! Each address has a number of failures that cost no time, which come back one by one. It is the leaky bucket as a meter in
//! its form of one number an address (GCRA, ITU-T I.371 annex A): `settled` is when all of its failures are forgiven.
//! An attempt is counted as a failure before its password is looked at, and given back if that was right: so attempts
//! that are made at the same time over many connections are counted like those that follow each other.

use crate::core::time::{Duration, Instant};
use indexmap::IndexMap;
use std::net::{IpAddr, Ipv6Addr};

/// Failures of an address that cost no time.
pub const FREE: u32 = 10;
/// How long it takes until one is forgiven: the time from one attempt to the next beyond those.
pub const FORGIVEN_AFTER: Duration = Duration::from_secs(2);
/// How long an attempt waits at most. One that would have to wait longer is refused.
pub const WAIT_MAX: Duration = Duration::from_secs(10);
/// Addresses that are remembered, of about 40 bytes each. When there are more, the one that is forgiven first makes way.
pub const SOURCES_MAX: usize = 4096;

/// Where attempts come from: an IPv4 address, or the network of an IPv6 address, of which a host has as many as it likes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Source(IpAddr);

impl Source {
    /// That of an address; none: of a unix socket, all of whose clients are one.
    pub fn of(address: Option<IpAddr>) -> Self {
        Self(match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V6(address)) => {
                let network = u128::from(address) >> 64 << 64;
                Ipv6Addr::from(network).into()
            }
            Some(address @ IpAddr::V4(_)) => address,
            None => Ipv6Addr::UNSPECIFIED.into(),
        })
    }
}

/// When an attempt may be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attempt {
    /// Now. It counts as failed until it is taken back.
    Now,
    /// Then, and it counts already.
    At(Instant),
    /// Not at all: too many of its address wait.
    Refused,
}

/// The failures of all addresses.
#[derive(Debug, Default)]
pub struct Failures {
    /// When all failures of an address are forgiven.
    settled: IndexMap<Source, Instant>,
}

impl Failures {
    /// Somebody wants to log in.
    pub fn begin(&mut self, source: Source, now: Instant) -> Attempt {
        let settled = self.settled.get(&source).map_or(now, |&settled| settled.max(now));
        let waits = settled.since(now).saturating_sub(FORGIVEN_AFTER * (FREE - 1));
        if waits > WAIT_MAX {
            return Attempt::Refused;
        }
        self.make_room(source, now);
        self.settled.insert(source, settled + FORGIVEN_AFTER);
        if waits == Duration::ZERO { Attempt::Now } else { Attempt::At(now + waits) }
    }

    /// The attempt that was begun has succeeded.
    pub fn take_back(&mut self, source: Source, now: Instant) {
        let Some(settled) = self.settled.get_mut(&source) else { return };
        *settled = settled.before(FORGIVEN_AFTER);
        if *settled <= now {
            self.settled.swap_remove(&source);
        }
    }

    /// Addresses that are remembered.
    pub fn len(&self) -> usize {
        self.settled.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.settled.is_empty()
    }

    /// Forgets who is forgiven, and else the one that is next: what was tried most often stays.
    fn make_room(&mut self, newcomer: Source, now: Instant) {
        if self.settled.len() < SOURCES_MAX || self.settled.contains_key(&newcomer) {
            return;
        }
        self.settled.retain(|_, settled| *settled > now);
        if self.settled.len() >= SOURCES_MAX
            && let Some((&first, _)) = self.settled.iter().min_by_key(|(_, settled)| **settled)
        {
            self.settled.swap_remove(&first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Instant = Instant::from_millis(1_000_000);

    fn source(last: u8) -> Source {
        Source::of(Some(IpAddr::from([192, 0, 2, last])))
    }

    #[test]
    fn the_first_failures_cost_nothing_the_next_wait_and_then_they_are_refused() {
        let mut failures = Failures::default();
        for _ in 0..FREE {
            assert_eq!(failures.begin(source(1), NOW), Attempt::Now);
        }
        for waits in 1..=5 {
            assert_eq!(failures.begin(source(1), NOW), Attempt::At(NOW + FORGIVEN_AFTER * waits));
        }
        assert_eq!(failures.begin(source(1), NOW), Attempt::Refused);
        assert_eq!(failures.begin(source(2), NOW), Attempt::Now, "nobody else waits");
        let later = NOW + FORGIVEN_AFTER * 15;
        assert_eq!(failures.begin(source(1), later), Attempt::Now, "all is forgiven");
    }

    #[test]
    fn who_logs_in_is_never_held_up_and_nothing_of_it_is_kept() {
        let mut failures = Failures::default();
        for _ in 0..1000 {
            assert_eq!(failures.begin(source(1), NOW), Attempt::Now);
            failures.take_back(source(1), NOW);
        }
        assert!(failures.is_empty());
    }

    #[test]
    fn an_address_of_ipv6_is_its_network_and_one_of_ipv4_is_itself_also_mapped() {
        let of = |text: &str| Source::of(text.parse().ok());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.2"), of("192.0.2.1"));
    }

    #[test]
    fn a_crowd_of_addresses_pushes_out_none_that_has_failed_often() {
        let mut failures = Failures::default();
        while failures.begin(source(1), NOW) != Attempt::Refused {}
        for number in 0..3 * SOURCES_MAX as u128 {
            let _ = failures.begin(Source::of(Some(Ipv6Addr::from(number << 64).into())), NOW);
        }
        assert_eq!(failures.len(), SOURCES_MAX);
        assert_eq!(failures.begin(source(1), NOW), Attempt::Refused);
    }

    proptest! {
        /// However attempts are spread over time and connections, no more passwords are tried than the bucket allows.
        #[test]
        fn passwords_are_tried_at_a_bounded_rate(steps in prop::collection::vec((0_u64..4_000, 1_usize..20), 1..60)) {
            let (mut failures, mut now, mut tried) = (Failures::default(), NOW, Vec::new());
            for (pause, attempts) in steps {
                now = now + Duration::from_millis(pause);
                for _ in 0..attempts {
                    match failures.begin(source(1), now) {
                        Attempt::Now => tried.push(now),
                        Attempt::At(at) => tried.push(at),
                        Attempt::Refused => {}
                    }
                }
            }
            tried.sort();
            for (from, &first) in tried.iter().enumerate() {
                for (to, &last) in tried.iter().enumerate().skip(from) {
                    let allowed = u128::from(FREE) + last.since(first).as_millis() / FORGIVEN_AFTER.as_millis();
                    prop_assert!((to - from) as u128 <= allowed, "{} in {:?}", to - from + 1, last.since(first));
                }
            }
        }
    }
}
