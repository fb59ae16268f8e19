//! The buffers of all connections: where they come from and go back to, and how much they hold together.

use crate::config::settings::ServerSettings;
use crate::core::end::Detector;
use crate::core::time::Instant;
use crate::net::SocketError;
use crate::reactor::connection::{Buffers, Connection, Pause, Reading};
use std::ops::ControlFlow;

/// An account of them, and spare ones for the next in need, so that fan-out does not
/// allocate.
#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "the boxes go to connections, which have no room for more than a pointer")]
pub(in crate::reactor) struct Pool {
    spare: Vec<Box<Buffers>>,
    /// Memory in the spare ones, in bytes.
    spare_bytes: usize,
    /// Memory in those of connections, in bytes.
    held: usize,
    /// Delivered bytes that wait for the flush.
    unflushed: usize,
    /// Most memory that connections may hold, all together.
    max: usize,
}

impl Pool {
    const SPARE_MAX: usize = 16_384;
    const SPARE_BYTES_MAX: usize = 8 * 1024 * 1024;

    /// One that lends so much at most, in bytes, before memory is short.
    pub(in crate::reactor) fn new(max: usize) -> Self {
        Self { max, ..Self::default() }
    }

    /// The bound has changed.
    pub(in crate::reactor) const fn set_max(&mut self, max: usize) {
        self.max = max;
    }

    /// Most memory that connections may hold; [`usize::MAX`]: there is no bound.
    pub(in crate::reactor) const fn max(&self) -> usize {
        self.max
    }

    /// Whether so much is held that nothing should be added which can be refused.
    pub(in crate::reactor) const fn is_short(&self) -> bool {
        self.held >= self.max - self.max / 8
    }

    /// Whether enough is free again.
    pub(in crate::reactor) const fn has_enough(&self) -> bool {
        self.held <= self.max - self.max / 4
    }

    fn take(&mut self) -> Box<Buffers> {
        let mut buffers =
            self.spare.pop().inspect(|buffers| self.spare_bytes -= buffers.memory()).unwrap_or_default();
        self.settle(&mut buffers);
        buffers
    }

    fn give(&mut self, mut buffers: Box<Buffers>) {
        self.unflushed -= buffers.unflushed;
        self.held -= buffers.accounted;
        buffers.reset();
        if self.spare.len() < Self::SPARE_MAX && self.spare_bytes + buffers.memory() <= Self::SPARE_BYTES_MAX
        {
            self.spare_bytes += buffers.memory();
            self.spare.push(buffers);
        }
    }

    /// Takes note of what the buffers of a connection hold now.
    pub(in crate::reactor) fn settle(&mut self, buffers: &mut Buffers) {
        let memory = buffers.memory();
        self.held = self.held - buffers.accounted + memory;
        buffers.accounted = memory;
    }

    /// Memory that connections hold, in bytes.
    pub(in crate::reactor) const fn held(&self) -> usize {
        self.held
    }

    /// Delivered bytes that wait for the flush.
    pub(in crate::reactor) const fn unflushed(&self) -> usize {
        self.unflushed
    }

    /// Puts a message into a connection's output. Breaks if there is no room: what it gets from now on would have a gap.
    pub(in crate::reactor) fn deliver<S>(
        &mut self,
        conn: &mut Connection<S>,
        frame: &[u8],
        output_max: usize,
        now: Instant,
    ) -> ControlFlow<()> {
        let broken = conn.reading == Reading::Failing;
        let buffers = conn.buffers_mut(self);
        if broken {
            buffers.lost += frame.len() as u64;
            return ControlFlow::Continue(());
        }
        if buffers.output.len() + frame.len() > output_max + buffers.listed {
            buffers.gapped = true;
            return ControlFlow::Break(());
        }
        if buffers.output.is_empty() {
            buffers.output_moved = now;
        }
        let (before, capacity) = (buffers.output.len(), buffers.output.capacity());
        buffers.push_output(frame.into());
        let fresh = buffers.output.len() - before;
        buffers.unflushed += fresh;
        self.unflushed += fresh;
        if buffers.output.capacity() != capacity {
            self.settle(buffers);
        }
        ControlFlow::Continue(())
    }

    /// The output of a connection is offered to its socket.
    pub(in crate::reactor) fn begin_flush(&mut self, buffers: &mut Buffers) {
        self.unflushed -= std::mem::take(&mut buffers.unflushed);
    }
}

impl<S> Connection<S> {
    /// Its buffers, from the pool if it has none.
    pub(in crate::reactor) fn buffers_mut(&mut self, pool: &mut Pool) -> &mut Buffers {
        self.buffers.get_or_insert_with(|| pool.take())
    }

    /// It is broken, which `detector` was the first to tell: output has no taker any more.
    pub(in crate::reactor) fn note_broken(
        &mut self,
        pool: &mut Pool,
        detector: Detector,
        reported: Option<SocketError>,
    ) {
        self.reading = Reading::Failing;
        let buffers = self.buffers_mut(pool);
        buffers.broken_by.get_or_insert(detector);
        // The first error tells; the next send, of what others had posted meanwhile, is only refused.
        buffers.broken = buffers.broken.or(reported);
        buffers.lost += buffers.output.len() as u64;
        buffers.output.consume(buffers.output.len());
        pool.settle(buffers);
    }

    /// Gives the buffers back to the pool once nothing is in them.
    pub(in crate::reactor) fn release_buffers(&mut self, pool: &mut Pool) {
        match &mut self.buffers {
            Some(buffers) if buffers.is_idle() && !matches!(self.pause, Pause::Effects | Pause::Partner) => {
                self.drop_buffers(pool);
            }
            Some(buffers) => {
                if buffers.layer.is_some() {
                    buffers.shrink();
                }
                pool.settle(buffers);
            }
            None => {}
        }
    }

    /// Gives the buffers back to the pool, whatever is in them.
    pub(in crate::reactor) fn drop_buffers(&mut self, pool: &mut Pool) {
        if let Some(buffers) = self.buffers.take() {
            pool.give(buffers);
        }
    }
}

/// The bound of one of `workers`: its part of that of the server, if there is one.
pub(in crate::reactor) fn memory_bound(
    settings: &ServerSettings,
    available: Option<u64>,
    workers: u32,
) -> usize {
    let whole = settings.memory_max_of(available);
    whole.map_or(usize::MAX, |bytes| usize::try_from(bytes / u64::from(workers.max(1))).unwrap_or(usize::MAX))
}
