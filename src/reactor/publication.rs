//! Publications: messages on their way to subscribers, the queue of those that no connection waits for, and their frames.
//! `publish` delivers them.

use crate::core::table::Key;
use crate::hub::Route;
use crate::protocol::presence;
use crate::protocol::session::{Answer, Found};
use crate::protocol::{Encode, Encoding, FRAMING_BYTES_MAX, Message};
use std::collections::VecDeque;

/// Above these bounds on the queue, connections that would add to it have to wait.
pub(super) const BACKLOG_MAX: usize = 10_000;
const BACKLOG_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Messages to one channel, one behind the other, on their way to those who listen: each of them gets all of them at once.
#[derive(Debug, Default)]
pub(super) struct Publication {
    pub(super) channel: Vec<u8>,
    pub(super) payloads: Vec<u8>,
    /// Where each payload ends.
    pub(super) ends: Vec<usize>,
    pub(super) route: Route,
    /// Who has got them.
    pub(super) receivers: usize,
}

impl Publication {
    /// Of one message, to those who listen now.
    pub(super) fn new(channel: &[u8], payload: &[u8], route: Route) -> Self {
        let mut publication = Self::default();
        publication.add(channel, payload, || route);
        publication
    }

    /// Adds a message, to the same channel as those before. `route`: where the first one begins.
    pub(super) fn add(&mut self, channel: &[u8], payload: &[u8], route: impl FnOnce() -> Route) {
        if self.is_empty() {
            self.channel.extend_from_slice(channel);
            self.route = route();
        }
        debug_assert_eq!(self.channel, channel, "they go together");
        self.payloads.extend_from_slice(payload);
        self.ends.push(self.payloads.len());
    }

    /// Makes it as good as new, keeping a little memory for the next message.
    pub(super) fn clear(&mut self) {
        self.channel.clear();
        self.payloads.clear();
        self.payloads.shrink_to(Frames::KEPT);
        self.ends.clear();
        self.receivers = 0;
    }

    /// Whether there is nothing to publish.
    pub(super) const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Whether one more message can go with these, in a frame of `frame_max` bytes at most: one that fits
    /// everybody's output, for nobody is to be ended because messages went together.
    pub(super) fn joins(&self, channel: &[u8], payload: &[u8], name_max: usize, frame_max: usize) -> bool {
        let beside = self.channel.len() + name_max + FRAMING_BYTES_MAX;
        !self.is_empty()
            && self.payloads.len() + payload.len() + beside * (self.ends.len() + 1) <= frame_max
            && channel == self.channel
    }

    /// Memory that it holds, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.channel.len() + self.payloads.len() + size_of_val(self.ends.as_slice())
    }

    /// What those are told who have published it.
    pub(super) fn answer(&self) -> Answer<'static> {
        Found::Published { messages: self.ends.len(), receivers: self.receivers }.into()
    }
}

/// What publishing keeps between messages.
#[derive(Default)]
pub(super) struct Publishing {
    /// Messages that no connection waits for in particular.
    pub(super) publications: Publications,
    /// Messages of the connection that is being driven, of which more may follow. Empty between connections.
    pub(super) gathered: Publication,
    /// The numbers of what those are told who watch identities, where there is no supervisor.
    pub(super) presence: presence::Sequence,
    /// The least `output_high` of all listeners.
    pub(super) least_output_high: usize,
}

/// Publications that no connection waits for: presence, what other workers relay, what a client that is gone had
/// published. One after the other, so that each subscriber hears of an identity in the order of what happened.
#[derive(Debug, Default)]
pub(super) struct Publications {
    pub(super) queue: VecDeque<Publication>,
    bytes: usize,
    /// How many have been put in, and how many are done.
    begun: u64,
    done: u64,
    /// Connections that go on when so many are done, in that order.
    waiting: VecDeque<(u64, Key)>,
    /// Connections that go on when there is room for more.
    pub(super) held_back: VecDeque<Key>,
}

impl Publications {
    pub(super) fn push(&mut self, publication: Publication) {
        self.bytes += publication.memory();
        self.begun += 1;
        self.queue.push_back(publication);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.waiting.is_empty() && self.held_back.is_empty()
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether there are so many that nobody should add to them.
    pub(super) fn is_long(&self) -> bool {
        self.queue.len() >= BACKLOG_MAX || self.bytes >= BACKLOG_BYTES_MAX
    }

    /// The first is done.
    pub(super) fn finish(&mut self, publication: &Publication) {
        self.bytes -= publication.memory();
        self.done += 1;
        if self.queue.is_empty() {
            self.queue.shrink_to(1024);
        }
    }

    /// Lets a connection wait until all that is here now is done.
    pub(super) fn wait(&mut self, key: Key) {
        self.waiting.push_back((self.begun, key));
    }

    /// Lets a connection wait until there is room for more.
    pub(super) fn hold_back(&mut self, key: Key) {
        self.held_back.push_back(key);
    }

    /// The next connection that need not wait any longer.
    pub(super) fn next_ready(&mut self) -> Option<Key> {
        let (begun, key) = *self.waiting.front()?;
        (begun <= self.done).then(|| {
            self.waiting.pop_front();
            key
        })
    }
}

/// Messages in each encoding, made when first wanted: the one frame of all who get it.
#[derive(Debug, Default)]
pub(super) struct Frames([Vec<u8>; Encoding::COUNT]);

impl Frames {
    /// Memory that is kept for the next message.
    const KEPT: usize = 64 * 1024;

    pub(super) fn clear(&mut self) {
        for frame in &mut self.0 {
            frame.clear();
            frame.shrink_to(Self::KEPT);
        }
    }

    pub(super) fn get(
        &mut self,
        encoding: Encoding,
        messages: Messages<'_>,
        pattern: Option<&[u8]>,
    ) -> &[u8] {
        let frame = &mut self.0[encoding.index()];
        if frame.is_empty() {
            let mut begin = 0;
            for &end in messages.ends {
                let payload = &messages.payloads[begin..end];
                encoding.message(&Message { channel: messages.channel, pattern, payload }, frame);
                begin = end;
            }
        }
        frame
    }
}

/// The messages of a publication.
#[derive(Clone, Copy)]
pub(super) struct Messages<'a> {
    pub(super) channel: &'a [u8],
    pub(super) payloads: &'a [u8],
    pub(super) ends: &'a [usize],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_joins_those_before_it_if_all_of_them_fit_every_output() {
        let joins = |publication: &Publication, channel: &[u8], frame_max| {
            publication.joins(channel, b"y", 512, frame_max)
        };
        let mut publication = Publication::default();
        assert!(!joins(&publication, b"feed", usize::MAX), "there is none to join");
        publication.add(b"feed", b"xxx", Route::default);
        // Two payloads, and beside each of them the channel, a pattern and the framing.
        let frame = 3 + 1 + 2 * (4 + 512 + FRAMING_BYTES_MAX);
        assert!(joins(&publication, b"feed", frame));
        assert!(!joins(&publication, b"feed", frame - 1));
        assert!(!joins(&publication, b"other", usize::MAX));
        publication.clear();
        assert!(!joins(&publication, b"feed", usize::MAX));
    }
}
