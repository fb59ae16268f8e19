//! Shares: how much of what comes a server is to get beside the others, and how a client is given one by its address.

use crate::core::mix::mix;
use crate::core::time::{Duration, Instant};

/// A share that is whole, of a server of weight 1.
pub(in crate::reactor) const WHOLE: u32 = 1000;
/// What it has of its share while it begins.
const BEGINS_WITH: u32 = WHOLE / 10;

/// The share of a server. `grows`: it began then, and takes so long to have all of it.
pub(in crate::reactor) fn share(weight: u32, grows: Option<(Instant, Duration)>, now: Instant) -> u32 {
    let Some((since, time)) = grows else { return weight * WHOLE };
    let (age, time) = (now.since(since).as_millis(), time.as_millis().max(1));
    let part = u128::from(WHOLE - BEGINS_WITH) * age / time;
    let part = u32::try_from(part).unwrap_or(WHOLE).saturating_add(BEGINS_WITH).min(WHOLE);
    weight * part
}

/// How much a server has to do for its share once it has one connection more.
pub(in crate::reactor) const fn load(connections: u32, share: u32) -> u64 {
    // Far above the largest share, so that one connection makes a difference; below 2^64 for all that a process can hold.
    const SCALE: u64 = 1_000_000_000;
    (connections as u64 + 1) * SCALE / share as u64
}

/// How high a server is in the list of a client: the same each time, and in an order of its own for each client, so that one
/// that is gone leaves its clients to all others, and one whose share grows takes clients of others and gives away none
/// (weighted rendezvous hashing, by the method of logarithms: Schindelhauer and Schomaker, 2005).
pub(in crate::reactor) fn height(client: u64, server: u64, share: u32) -> f64 {
    /// 2^53: what a floating point number counts exactly.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    let drawn = ((mix(client ^ server.rotate_left(32)) >> 11) as f64 + 0.5) / EXACT;
    f64::from(share) / -drawn.ln()
}

/// FNV-1a, 64 bits: the same in every release.
pub(in crate::reactor) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_grows_from_a_tenth_to_the_whole() {
        let begun = Instant::from_millis(5000);
        let of = |millis: u64| {
            share(2, Some((begun, Duration::from_secs(10))), Instant::from_millis(5000 + millis))
        };
        assert_eq!([0, 5000, 10_000, 99_000].map(of), [200, 1100, 2000, 2000]);
        assert_eq!(share(3, None, begun), 3000);
    }

    #[test]
    fn a_server_of_twice_the_share_bears_twice_the_connections() {
        assert_eq!(load(3, 2000), load(1, 1000));
        assert!(load(10_000_000, 100) > load(9_999_999, 100));
    }
}
