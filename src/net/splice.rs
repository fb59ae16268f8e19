//! Bytes that go from one stream to another within the kernel.

use super::{Received, Sent};

/// What has become of bytes that were to go from one stream to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spliced {
    /// What the first stream gave. That it gave nothing means nothing: only a receive tells an end of file, an urgent byte and a
    /// drained socket apart. A failure is to be believed, as the kernel tells it once.
    pub received: Received,
    /// What the second stream took of it.
    pub sent: Sent,
}

impl Spliced {
    /// Nothing has moved.
    pub const fn nothing(received: Received) -> Self {
        Self { received, sent: Sent::WouldBlock }
    }

    /// How many bytes the first stream gave, and how many of them the second took.
    pub const fn counts(self) -> (usize, usize) {
        let received = if let Received::Bytes(count) = self.received { count } else { 0 };
        let sent = if let Sent::Bytes(count) = self.sent { count } else { 0 };
        (received, sent)
    }
}
