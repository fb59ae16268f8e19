//! Numbers that look drawn by chance, and are the same each time.

/// What [`mix`] is given one after the other has this between: the golden ratio of 2^64 (`SplitMix64`).
pub const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A number in which every bit depends on every bit of `number` (`SplitMix64`, Steele, Lea and Flood, 2014).
pub const fn mix(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
