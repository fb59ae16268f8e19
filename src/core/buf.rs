//! Bytes on their way: a queue that is consumed from the front and gives its memory back when it is empty.
//!
//! An idle connection owns none. Bounds and watermarks belong to the connection's policy; the queue only
//! counts.

use std::ops::{Deref, DerefMut};
use zeroize::Zeroize;

/// Memory that an empty queue keeps for what comes next, in bytes.
const KEPT: usize = 64 * 1024;

/// A byte queue in one piece of memory, so that all of it can be offered to the kernel in one call.
#[derive(Debug, Default)]
pub struct ByteQueue {
    bytes: Vec<u8>,
    head: usize,
}

impl ByteQueue {
    /// Bytes waiting.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.head
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory that it holds, in bytes.
    pub const fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// What waits, oldest first.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[self.head..]
    }

    /// Appends `bytes`, which become the queue's own memory if nothing waits before them.
    pub fn append(&mut self, bytes: Vec<u8>) {
        if self.is_empty() {
            *self = Self { bytes, head: 0 };
        } else {
            self.push(&bytes);
        }
    }

    /// Appends `bytes`.
    pub fn push(&mut self, bytes: &[u8]) {
        // Moving is worth it once the dead part is the larger one: each byte is then moved at most once
        // for each time its queue doubles.
        if self.head > self.len() && self.bytes.len() + bytes.len() > self.bytes.capacity() {
            self.bytes.drain(..self.head);
            self.head = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Drops the `count` oldest bytes.
    ///
    /// # Panics
    /// If fewer are waiting.
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.len(), "consumed {count} of {} bytes", self.len());
        self.head += count;
        if self.is_empty() {
            self.reset(KEPT);
        }
    }

    /// An empty queue with memory for so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), head: 0 }
    }

    /// How many bytes can be appended before any are moved.
    pub const fn spare(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    /// Empties the queue and wipes all of its memory.
    pub fn wipe(&mut self) {
        self.bytes.zeroize();
        self.head = 0;
    }

    /// Empties the queue and keeps at most `capacity` bytes of memory for the next use.
    pub fn reset(&mut self, capacity: usize) {
        self.bytes.clear();
        self.head = 0;
        self.bytes.shrink_to(capacity);
    }
}

/// Memory that begins with a page.
#[repr(align(4096))]
struct Pages<const LEN: usize>([u8; LEN]);

/// Room for what receives bring, from the beginning of a page on. The kernel's copies from and to addresses that are
/// not aligned take longer: an eighth to a third in bulk. What it was taken out of has no room.
#[derive(Default)]
pub struct ReadBuffer<const LEN: usize>(Option<Box<Pages<LEN>>>);

impl<const LEN: usize> ReadBuffer<LEN> {
    /// Room for so many bytes.
    pub fn new() -> Self {
        Self(Some(Box::new(Pages([0; LEN]))))
    }

    /// Room for one receive from `offset` on. Its length is known where this is compiled.
    ///
    /// # Panics
    /// If fewer than `ROOM` bytes are there, or all of it was taken out.
    pub fn room<const ROOM: usize>(&mut self, offset: usize) -> &mut [u8; ROOM] {
        let pages = self.0.as_deref_mut().expect("the buffer is put back before the next receive");
        pages.0[offset..].first_chunk_mut().expect("the offset leaves room for a receive")
    }
}

impl<const LEN: usize> Deref for ReadBuffer<LEN> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().map_or(&[], |pages| &pages.0)
    }
}

impl<const LEN: usize> DerefMut for ReadBuffer<LEN> {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.0.as_deref_mut().map_or(&mut [], |pages| &mut pages.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        #[test]
        fn behaves_as_a_deque(steps in prop::collection::vec((any::<bool>(), 0usize..5000), 0..200)) {
            let (mut queue, mut model) = (ByteQueue::default(), VecDeque::<u8>::new());
            let mut counter = 0u8;
            for (push, amount) in steps {
                if push {
                    let bytes: Vec<u8> =
                        (0..amount).map(|_| { counter = counter.wrapping_add(1); counter }).collect();
                    model.extend(&bytes);
                    if counter.is_multiple_of(2) { queue.push(&bytes) } else { queue.append(bytes) }
                } else {
                    let amount = amount.min(model.len());
                    queue.consume(amount);
                    model.drain(..amount);
                }
                prop_assert_eq!(queue.len(), model.len());
                prop_assert_eq!(queue.as_slice(), &*model.make_contiguous());
            }
        }
    }

    #[test]
    fn a_read_buffer_begins_with_a_page() {
        for _ in 0..100 {
            let mut buffer = ReadBuffer::<5000>::new();
            assert_eq!((buffer.as_ptr().addr() % 4096, buffer.len()), (0, 5000));
            buffer.room::<5000>(0)[4999] = 1;
            buffer.room::<2000>(64)[1999] = 2;
            let taken = std::mem::take(&mut buffer);
            assert_eq!((buffer.len(), taken[4999], taken[64 + 1999]), (0, 1, 2));
        }
    }

    #[test]
    fn memory_stays_within_a_small_multiple_of_what_waits() {
        let mut queue = ByteQueue::default();
        for _ in 0..10_000 {
            queue.push(&[7; 1000]);
            if queue.len() > 4000 {
                queue.consume(1000);
            }
        }
        assert!(queue.bytes.capacity() <= 32 * 1024, "{}", queue.bytes.capacity());
    }
}
