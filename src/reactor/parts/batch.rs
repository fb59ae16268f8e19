//! What was received of several legs and is yet to be sent on.

use crate::core::table::Key;
use std::ops::Range;

/// Chunks in a batch at most: the first is to wait for microseconds only.
pub(in crate::reactor) const CHUNKS_MAX: usize = 16;
/// A batch of so many bytes takes no further chunk.
pub(in crate::reactor) const BYTES_MAX: usize = 16 * 1024;
/// Each chunk begins with a cache line. With a page long ones would be copied faster, but those are soon in bulk.
const ALIGNMENT: usize = 64;

/// Chunks, in the order in which they are to be sent on. Their bytes are in the read buffer.
pub(in crate::reactor) struct Batch {
    chunks: Vec<Chunk>,
    /// Where the next chunk begins.
    end: usize,
}

/// What one receive of a leg has brought.
pub(in crate::reactor) struct Chunk {
    pub(in crate::reactor) from: Key,
    pub(in crate::reactor) bytes: Range<usize>,
}

impl Batch {
    pub(in crate::reactor) fn new() -> Self {
        Self { chunks: Vec::with_capacity(CHUNKS_MAX), end: 0 }
    }

    pub(in crate::reactor) const fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub(in crate::reactor) const fn has_room(&self) -> bool {
        self.chunks.len() < CHUNKS_MAX && self.end < BYTES_MAX
    }

    /// Where the bytes of the next chunk are to begin.
    pub(in crate::reactor) const fn end(&self) -> usize {
        self.end
    }

    /// A chunk was received there.
    pub(in crate::reactor) fn add(&mut self, from: Key, count: usize) {
        let end = self.end + count;
        self.chunks.push(Chunk { from, bytes: self.end..end });
        self.end = end.next_multiple_of(ALIGNMENT);
    }

    /// Takes all chunks out. Their memory is put back when they have been sent.
    pub(in crate::reactor) fn take(&mut self) -> Vec<Chunk> {
        self.end = 0;
        std::mem::take(&mut self.chunks)
    }

    pub(in crate::reactor) fn put_back(&mut self, mut sent: Vec<Chunk>) {
        debug_assert!(self.is_empty(), "no chunk is dropped");
        sent.clear();
        self.chunks = sent;
    }
}
