//! Instants and durations of the loop. There is no clock here: time is an argument everywhere, read once
//! a turn by [`net::Kernel::now`](crate::net::Kernel::now).

use std::ops::Add;
pub use std::time::Duration;

/// A point on the loop's own clock: nanoseconds since an origin that only the kernel in use knows.
///
/// Eight bytes, so that a connection can afford several. All arithmetic saturates: a clock that jumps
/// back gives a zero duration, never a panic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Instant(u64);

impl Instant {
    /// The origin of the clock.
    pub const ZERO: Self = Self(0);
    /// Later than anything that will happen (584 years).
    pub const NEVER: Self = Self(u64::MAX);

    /// The instant `nanos` nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The instant `millis` milliseconds after the origin.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the origin, rounded down.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// How long after `earlier` this is; zero if it is not.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The instant that is so much before this one; [`Instant::ZERO`] at the earliest.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// How long something lasted, as records keep it: in nanoseconds, so that it costs a subtraction and eight bytes. A
/// [`Duration`] costs a division and sixteen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Span(u64);

impl Span {
    /// No time.
    pub const ZERO: Self = Self(0);

    /// From `earlier` to `later`; nothing if that is not later.
    pub const fn between(earlier: Instant, later: Instant) -> Self {
        Self(later.0.saturating_sub(earlier.0))
    }

    /// In nanoseconds.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// In seconds.
    #[expect(clippy::cast_precision_loss, reason = "it is exact for 104 days, and then to a microsecond")]
    pub const fn as_secs_f64(self) -> f64 {
        // Of a signed number it is one instruction. None of these is longer than 292 years.
        self.0.cast_signed() as f64 / 1e9
    }

    /// Whole microseconds, as far as they fit.
    pub fn as_micros(self) -> u32 {
        u32::try_from(self.0 / 1000).unwrap_or(u32::MAX)
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        Self::from_nanos(span.0)
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at [`Instant::NEVER`].
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        let early = Instant::from_millis(5);
        let late = early + Duration::from_millis(7);
        assert_eq!(late.since(early), Duration::from_millis(7));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(late + Duration::MAX, Instant::NEVER);
        assert_eq!(late.as_millis(), 12);
        assert_eq!(Span::between(early, late), Duration::from_millis(7).into());
        assert_eq!(Span::between(late, early), Span::default());
        assert_eq!((Span::between(early, late).as_micros(), Span(u64::MAX).as_micros()), (7000, u32::MAX));
    }
}
