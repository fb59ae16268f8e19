//! What a poll says of a source: flags, and no more than hints.

use super::Token;
use std::fmt;
use std::ops::BitOr;

/// One entry of a poll: hints about one source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ready {
    /// Which source.
    pub token: Token,
    /// What it may be ready for.
    pub readiness: Readiness,
}

/// Readiness flags, as epoll reports them (`epoll_ctl(2)`), in a byte. Hints only: the call that follows decides.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Readiness(u8);

impl Readiness {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// Input, or its end, may be there (EPOLLIN).
    pub const READABLE: Self = Self(1);
    /// Output may be taken again (EPOLLOUT).
    pub const WRITABLE: Self = Self(2);
    /// Something is behind the data that a short receive does not show: the peer has finished sending
    /// (EPOLLRDHUP or EPOLLHUP), or urgent data stands in between (EPOLLPRI).
    pub const READ_CLOSED: Self = Self(4);
    /// Neither direction works any more (EPOLLHUP).
    pub const WRITE_CLOSED: Self = Self(8);
    /// An error is pending (EPOLLERR).
    pub const ERROR: Self = Self(16);

    const NAMES: [(Self, &'static str); 5] = [
        (Self::READABLE, "readable"),
        (Self::WRITABLE, "writable"),
        (Self::READ_CLOSED, "read_closed"),
        (Self::WRITE_CLOSED, "write_closed"),
        (Self::ERROR, "error"),
    ];

    /// Whether one of these flags is set.
    pub const fn has(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }

    /// These flags, on a condition.
    #[must_use]
    pub const fn only_if(self, condition: bool) -> Self {
        if condition { self } else { Self::NONE }
    }

    /// The same without these flags.
    #[must_use]
    pub const fn without(self, flags: Self) -> Self {
        Self(self.0 & !flags.0)
    }

    /// Whether the peer has finished sending, or more is at its end.
    pub const fn is_departure(self) -> bool {
        self.has(Self(Self::READ_CLOSED.0 | Self::WRITE_CLOSED.0 | Self::ERROR.0))
    }

    /// Whether it is no more than input.
    #[inline]
    pub fn is_input(self) -> bool {
        self == Self::READABLE
    }
}

impl BitOr for Readiness {
    type Output = Self;

    fn bitor(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }
}

/// The names of the flags.
impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Self::NAMES.iter().filter(|(flag, _)| self.has(*flag)).map(|(_, name)| name);
        f.debug_set().entries(names).finish()
    }
}
