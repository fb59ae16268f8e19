//! Received bytes that could not be used at once: a frame that is not whole, or frames that wait for a
//! pause to end. Kept with the connection, in a pooled box, for no longer than they must.

use super::context::{Conn, Context};
use crate::core::buf::ByteQueue;
use crate::net::Kernel;
use crate::protocol::session::Progress;

impl<K: Kernel> Context<K> {
    /// An empty queue, with memory from the pool if there is some.
    pub(super) fn take_queue(&mut self, conn: &mut Conn<K>) -> ByteQueue {
        std::mem::take(&mut conn.buffers_mut(&mut self.pool).input)
    }

    /// Puts unused input back, or gives its memory up if there is none. `progress`: how far its front has been understood.
    pub(super) fn keep_input(&mut self, conn: &mut Conn<K>, held: ByteQueue, progress: Progress) {
        if conn.buffers.is_none() && held.is_empty() {
            return;
        }
        let buffers = conn.buffers_mut(&mut self.pool);
        (buffers.input, buffers.progress) = (held, progress);
        conn.release_buffers(&mut self.pool);
    }

    /// Drops unused input: nothing that follows is to be understood.
    pub(super) fn forget_input(&mut self, conn: &mut Conn<K>) {
        self.keep_input(conn, ByteQueue::default(), Progress::default());
    }
}
