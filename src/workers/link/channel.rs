//! [`Channel`]: messages through a stream, queued on both sides so that nobody waits. Each has its length before it.
//! Private keys and those of session tickets are in some: no memory that had one is given back as it is.

use super::message::Message;
use super::queue::{KEPT_BYTES, WipedQueue};
use crate::net::{Received, Sent, Stream};
use std::marker::PhantomData;
use zeroize::Zeroize;

/// Longest message, in bytes: a list of as many connections as one answer may have, several times over; and two
/// configurations with all the files that they name (`config/files.rs: ALL_BYTES_MAX`).
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Bytes of the length before each message.
const LENGTH_BYTES: usize = 4;
/// Received at once, and in one turn, in bytes.
const READ_BYTES: usize = 64 * 1024;
const READS_PER_TURN: usize = 16;
/// More than what is not secret in a message with secrets takes, in bytes: a tag, and a few lengths.
const BESIDE_SECRETS: usize = 128;

/// One end of a channel: `In` comes, `Out` goes.
pub struct Channel<S, In, Out> {
    stream: S,
    input: WipedQueue,
    output: WipedQueue,
    buffer: Box<[u8]>,
    message: Vec<u8>,
    bulk: Bulk,
    carries: PhantomData<(In, Out)>,
}

/// Of the output, the one message that [`Channel::try_send_bulk`] has queued, and what was queued behind it: sent or not.
#[derive(Clone, Copy, Default)]
struct Bulk {
    bytes: usize,
    behind: usize,
}

impl Bulk {
    /// What of it was not sent yet, where so many bytes wait in all.
    fn left(self, waiting: usize) -> usize {
        self.bytes.min(waiting.saturating_sub(self.behind))
    }
}

/// The other end is gone, or says what makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Broken;

/// Whether a receive has left something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum More {
    /// Nothing: the next edge tells of more.
    Drained,
    /// There may be more, and no edge will come for it.
    Maybe,
}

impl<S: Stream, In: Message, Out: Message> Channel<S, In, Out> {
    /// Over a connected, non-blocking stream, which its owner watches for both directions.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            input: WipedQueue::default(),
            output: WipedQueue::default(),
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
            message: Vec::new(),
            bulk: Bulk::default(),
            carries: PhantomData,
        }
    }

    /// The stream, to be watched.
    pub const fn stream(&self) -> &S {
        &self.stream
    }

    /// Queues a message. It goes out with the next [`flush`](Self::flush).
    pub fn send(&mut self, message: &Out) {
        self.bulk.behind += self.put(message);
    }

    /// Queues a message that may be very long, which is no sign that the other end does not keep up: it is no part of the
    /// [`backlog`](Self::backlog). False while an earlier one has not gone out whole, and then `message` is not made: one at a
    /// time bounds the queue. Nor can other messages come to lie between two of them, where they would be no backlog.
    #[must_use]
    pub fn try_send_bulk(&mut self, message: impl FnOnce() -> Out) -> bool {
        let is_free = self.bulk.left(self.output.len()) == 0;
        if is_free {
            self.bulk = Bulk { bytes: self.put(&message()), behind: 0 };
        }
        is_free
    }

    /// Queues a message; says how many bytes it is.
    fn put(&mut self, message: &Out) -> usize {
        let secret = message.secret_bytes();
        if secret > 0 {
            // Memory that has to grow leaves a copy behind.
            self.message.reserve(secret + BESIDE_SECRETS);
            self.output.note_secret();
        }
        let room = self.message.capacity();
        message.write(&mut self.message);
        debug_assert!(secret == 0 || self.message.capacity() == room, "all of it has room");
        debug_assert!(self.message.len() <= MESSAGE_BYTES_MAX, "answers are bounded, and so are files");
        let length = u32::try_from(self.message.len()).unwrap_or(u32::MAX);
        self.output.push(&length.to_le_bytes());
        self.output.push(&self.message);
        let bytes = LENGTH_BYTES + self.message.len();
        if secret > 0 {
            self.message.zeroize();
        }
        self.message.clear();
        self.message.shrink_to(KEPT_BYTES);
        bytes
    }

    /// Bytes that wait for the other end because it did not take them, as far as that is its fault.
    pub fn backlog(&self) -> usize {
        self.output.len() - self.bulk.left(self.output.len())
    }

    /// Bytes that wait for the other end.
    pub fn pending_output(&self) -> usize {
        self.output.len()
    }

    /// Sends what the other end takes.
    ///
    /// # Errors
    /// When it is gone.
    pub fn flush(&mut self) -> Result<(), Broken> {
        while !self.output.is_empty() {
            match self.stream.send(self.output.as_slice()) {
                Sent::Bytes(length) => self.output.consume(length),
                Sent::WouldBlock => return Ok(()),
                Sent::Interrupted => {}
                Sent::Failed(_) => return Err(Broken),
            }
        }
        self.bulk = Bulk::default();
        Ok(())
    }

    /// Receives what is there, within a bound.
    ///
    /// # Errors
    /// When the other end is gone. What it said before can still be taken.
    pub fn receive(&mut self) -> Result<More, Broken> {
        for _ in 0..READS_PER_TURN {
            match self.stream.recv(&mut self.buffer) {
                Received::Bytes(length) => self.input.push(&self.buffer[..length]),
                Received::WouldBlock => return Ok(More::Drained),
                Received::Interrupted => {}
                Received::Eof | Received::Failed(_) => return Err(Broken),
            }
        }
        Ok(More::Maybe)
    }

    /// The next message that is whole.
    ///
    /// # Errors
    /// When it makes no sense.
    pub fn next_message(&mut self) -> Result<Option<In>, Broken> {
        let waiting = self.input.as_slice();
        let Some((length, rest)) = waiting.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if length > MESSAGE_BYTES_MAX {
            return Err(Broken);
        }
        let Some(bytes) = rest.get(..length) else { return Ok(None) };
        let message = In::read(bytes).map_err(|_| Broken)?;
        if message.secret_bytes() > 0 {
            self.input.note_secret();
            self.buffer.zeroize();
        }
        self.input.consume(LENGTH_BYTES + length);
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::{ToSupervisor, ToWorker};
    use super::*;
    use crate::core::secret::Secret;
    use crate::tools::sim::faults::Faults;
    use crate::tools::sim::kernel::SimEnv;
    use crate::tools::sim::peer::ClientPool;
    use crate::tools::sim::rng::Rng;
    use crate::tools::sim::stream::SimStream;
    use crate::tools::sim::world::World;
    use std::cell::RefCell;
    use std::rc::Rc;

    /// A supervisor's end whose worker reads nothing.
    fn unread() -> Channel<SimStream, ToSupervisor, ToWorker> {
        let world = World::new(Faults::none(), &mut Rng::new(1));
        let env = Rc::new(RefCell::new(SimEnv::new(world, ClientPool::empty())));
        let [ours, _theirs] = SimStream::linked(&mut env.borrow_mut().world, &env);
        Channel::new(ours)
    }

    #[test]
    fn what_is_very_long_is_no_backlog_and_what_waits_behind_it_is() {
        let bulk = Bulk { bytes: 1000, behind: 30 };
        for (waiting, backlog) in [(1100, 100), (1030, 30), (500, 30), (30, 30), (20, 20), (0, 0)] {
            assert_eq!(waiting - bulk.left(waiting), backlog, "{waiting}");
        }
        assert_eq!(Bulk::default().left(70), 0);
    }

    #[test]
    fn one_very_long_message_waits_at_a_time_and_hides_nothing_of_the_others() {
        let mut channel = unread();
        let long = || ToWorker::Reload { file: Secret::new("x".repeat(1 << 20)) };
        let short = ToWorker::Publish { channel: Vec::new(), payload: vec![0; 1000] };
        channel.send(&short);
        let one = channel.backlog();
        assert!(channel.try_send_bulk(long));
        channel.send(&short);
        let all = channel.pending_output();
        for _ in 0..100 {
            assert!(!channel.try_send_bulk(long));
        }
        assert_eq!((channel.pending_output(), channel.backlog()), (all, 2 * one));
        // The worker takes all but the last bytes of it, then all of it: the next is queued behind what came meanwhile.
        channel.output.consume(all - one - 1);
        assert!(!channel.try_send_bulk(long));
        channel.output.consume(1);
        assert!(channel.try_send_bulk(long));
        assert_eq!(channel.backlog(), one, "what lies between two of them is none of theirs");
    }
}
