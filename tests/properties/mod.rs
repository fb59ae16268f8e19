//! What must hold for every input: each module here is one property, a function of bytes that panics where it
//! does not hold. `tests/model/models.rs` feeds them random bytes in every `cargo test`; the fuzz targets in
//! `tests/fuzz` feed them bytes that were bred to reach new code. So a property is written once.
//!
//! Streams and configuration texts are taken as they are; where a property is about a sequence of operations,
//! [`Choices`] makes the bytes into one. Any bytes are some sequence, and removing a few leaves nearly the same
//! one, which is what both shrinking and breeding need.

pub(crate) mod config;
pub(crate) mod conn;
pub(crate) mod hello;
pub(crate) mod http;
pub(crate) mod hub;
pub(crate) mod proxy;
pub(crate) mod resp;
pub(crate) mod table;
pub(crate) mod wheel;

/// Bytes as a source of decisions. When it is over, every further decision is the first of its choices.
#[derive(Debug)]
pub(crate) struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or(0)
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() % 2 == 1
    }

    /// One of `all`, which are 256 at most.
    pub(crate) fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.byte()) % all.len()]
    }

    /// A number of any magnitude up to 2^48, with small ones as likely as large ones.
    pub(crate) fn magnitude(&mut self) -> u64 {
        let shift = self.byte() % 41;
        u64::from(self.byte()) << shift
    }
}

/// The pieces in which a stream arrives: from 1 to about `size_max` bytes each, as `seed` has it.
pub(crate) fn pieces(stream: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    let size_max = [1, 2, 7, 40, 300, usize::MAX][usize::from(seed) % 6];
    // Knuth's multiplier for a linear congruential generator (TAOCP 3.3.4): sizes only have to differ.
    let mut state = u64::from(seed).wrapping_add(1);
    let mut rest = stream;
    std::iter::from_fn(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let size = usize::try_from(state >> 33).map_or(1, |size| 1 + size % size_max);
        if rest.is_empty() {
            return None;
        }
        rest.split_off(..size.min(rest.len()))
    })
}
