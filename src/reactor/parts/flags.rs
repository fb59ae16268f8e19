//! What a connection is marked with: in which queues of posted work it is, and whether its bytes are bulk.

/// A set of marks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::reactor) struct Flags(u8);

impl Flags {
    /// In the queue of connections with work left over, or whose pause is over.
    pub(in crate::reactor) const TO_RESUME: Self = Self(1);
    /// In the queue of connections with fresh output.
    pub(in crate::reactor) const TO_FLUSH: Self = Self(2);
    /// In the queue of connections that wait to log in. One whose delay is over is still in it, and need not wait again.
    pub(in crate::reactor) const TO_LOG_IN: Self = Self(4);
    /// A leg that sends much: its bytes go to its partner within the kernel.
    pub(in crate::reactor) const BULK: Self = Self(8);

    /// Whether it has that mark.
    pub(in crate::reactor) const fn has(self, mark: Self) -> bool {
        self.0 & mark.0 != 0
    }

    /// Gives it that mark. Whether it had it not.
    pub(in crate::reactor) const fn set(&mut self, mark: Self) -> bool {
        let is_new = !self.has(mark);
        self.0 |= mark.0;
        is_new
    }

    /// Takes that mark from it.
    pub(in crate::reactor) const fn clear(&mut self, mark: Self) {
        self.0 &= !mark.0;
    }
}
