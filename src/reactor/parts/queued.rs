//! In which queues a connection is, kept with the connection.

/// Queues of posted work, as a set: where a connection is, it is not put again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::reactor) struct Queued(u8);

impl Queued {
    /// That of connections with work left over, or whose pause is over.
    pub(in crate::reactor) const RESUME: Self = Self(1);
    /// That of connections with fresh output.
    pub(in crate::reactor) const FLUSH: Self = Self(2);
    /// That of connections that wait to log in. One whose delay is over is still in it, and need not wait again.
    pub(in crate::reactor) const LOG_IN: Self = Self(4);

    /// Whether it is in that queue.
    pub(in crate::reactor) const fn is_in(self, queue: Self) -> bool {
        self.0 & queue.0 != 0
    }

    /// Puts it into that queue. Whether it was not there.
    pub(in crate::reactor) const fn enter(&mut self, queue: Self) -> bool {
        let is_new = !self.is_in(queue);
        self.0 |= queue.0;
        is_new
    }

    /// Takes it out of that queue.
    pub(in crate::reactor) const fn leave(&mut self, queue: Self) {
        self.0 &= !queue.0;
    }
}
