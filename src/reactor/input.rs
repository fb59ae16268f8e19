//! Received bytes that could not be used at once: a frame that is not whole, or frames that wait for a
//! pause to end. Kept with the connection, in a pooled box, for no longer than they must.

use super::Reactor;
use super::entry::Io;
use crate::buf::ByteQueue;
use crate::net::Kernel;
use crate::proto::resp::Decoder;
use crate::table::Key;

impl<K: Kernel> Reactor<K> {
    /// An empty queue, with memory from the pool if there is some.
    pub(super) fn take_queue(&mut self, key: Key) -> ByteQueue {
        let (table, pool) = (&mut self.table, &mut self.pool);
        table.get_mut(key).map(|conn| std::mem::take(&mut conn.io_mut(pool).input)).unwrap_or_default()
    }

    /// Puts unused input back, or gives its memory up if there is none.
    pub(super) fn keep_input(&mut self, key: Key, held: ByteQueue, decoder: Decoder) {
        let Some(conn) = self.table.get_mut(key) else { return };
        if conn.io.is_none() && held.is_empty() {
            return;
        }
        let io = conn.io_mut(&mut self.pool);
        (io.input, io.decoder) = (held, decoder);
        conn.release_io(&mut self.pool);
    }

    /// Drops unused input: nothing that follows is to be understood.
    pub(super) fn forget_input(&mut self, key: Key) {
        self.keep_input(key, ByteQueue::default(), Decoder::default());
    }
}

/// Spare [`Io`]s for the next connections in need, so that fan-out does not allocate.
#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "the boxes go to connections, which have no room for more than a pointer")]
pub(super) struct Pool(Vec<Box<Io>>);

impl Pool {
    const SPARE_MAX: usize = 256;

    #[expect(clippy::unnecessary_box_returns, reason = "it is the box that is passed on")]
    fn take(&mut self) -> Box<Io> {
        self.0.pop().unwrap_or_default()
    }

    fn give(&mut self, mut io: Box<Io>) {
        if self.0.len() < Self::SPARE_MAX {
            io.reset();
            self.0.push(io);
        }
    }
}

impl<S> super::Connection<S> {
    /// Its buffers, from the pool if it has none.
    pub(super) fn io_mut(&mut self, pool: &mut Pool) -> &mut Io {
        self.io.get_or_insert_with(|| pool.take())
    }

    /// Gives the buffers back to the pool once nothing is in them.
    pub(super) fn release_io(&mut self, pool: &mut Pool) {
        if self.io.as_ref().is_some_and(|io| io.is_idle()) {
            self.drop_io(pool);
        }
    }

    /// Gives the buffers back to the pool, whatever is in them.
    pub(super) fn drop_io(&mut self, pool: &mut Pool) {
        if let Some(io) = self.io.take() {
            pool.give(io);
        }
    }
}
