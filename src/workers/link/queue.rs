//! [`WipedQueue`]: bytes on their way between processes, with secrets among them.

use crate::core::buf::ByteQueue;

/// Memory that it keeps while it is empty, in bytes.
pub(super) const KEPT_BYTES: usize = 64 * 1024;

/// A queue that leaves no secret in memory that it gives back.
#[derive(Default)]
pub(super) struct WipedQueue {
    queue: ByteQueue,
    /// A secret is somewhere in its memory.
    is_secret: bool,
}

impl WipedQueue {
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        self.queue.as_slice()
    }

    /// Appends `bytes`. What has to move for them is wiped where it was: of what was received nobody knows yet whether it is
    /// secret.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.queue.spare() < bytes.len() {
            let mut larger = ByteQueue::with_capacity(self.len() + bytes.len().max(self.len()));
            larger.push(self.as_slice());
            std::mem::replace(&mut self.queue, larger).wipe();
        }
        self.queue.push(bytes);
    }

    /// Some of what is, or was, in it is secret.
    pub(super) const fn note_secret(&mut self) {
        self.is_secret = true;
    }

    /// Drops the `count` oldest bytes.
    pub(super) fn consume(&mut self, count: usize) {
        if count < self.len() {
            return self.queue.consume(count);
        }
        self.wipe();
        self.queue.reset(KEPT_BYTES);
    }

    fn wipe(&mut self) {
        if std::mem::take(&mut self.is_secret) {
            self.queue.wipe();
        }
    }
}

impl Drop for WipedQueue {
    fn drop(&mut self) {
        // Of a message that came in part nobody knows whether it is secret.
        self.queue.wipe();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_queue_and_remembers_a_secret_until_it_is_empty() {
        let (mut queue, mut model) = (WipedQueue::default(), Vec::new());
        for round in 0..200_u8 {
            let bytes = vec![round; usize::from(round) * 7];
            queue.push(&bytes);
            model.extend_from_slice(&bytes);
            if round == 100 {
                queue.note_secret();
            }
            let count = queue.len() / 2;
            queue.consume(count);
            model.drain(..count);
            assert_eq!(queue.as_slice(), model);
            assert_eq!(queue.is_secret, round >= 100, "{round}");
        }
        queue.consume(model.len());
        assert!(queue.is_empty() && !queue.is_secret);
    }
}
