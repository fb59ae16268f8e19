//! The memory of waiting bytes: who holds how much of it, where it comes from and goes back to, and what is done when all
//! of it together is too much.
//!
//! The bound of one connection is for its listener's policy. This one is for the process: many connections within their
//! bounds can still hold more than the host has.

use super::Reactor;
use super::connection::{Buffers, Connection, Pause, Reading};
use super::context::Context;
use super::work::cost;
use crate::config::settings::ServerSettings;
use crate::core::end::{Detector, Reason};
use crate::core::table::Key;
use crate::core::time::{Duration, Instant};
use crate::net::{Kernel, SocketError};
use std::ops::ControlFlow;

/// Slots that are looked at in one turn for who holds most.
const LOOKS_PER_TURN: usize = 4096;
/// Output that has not moved for so long is taken by nobody.
const STUCK: Duration = Duration::from_millis(500);
/// When memory has been short for so long, and nobody is stuck, those who hold most are ended all the same.
const PATIENCE: Duration = Duration::from_secs(2);
/// Who holds less is not ended for want of memory, in bytes, unless many who hold so little fill it.
const HELD_LEAST: usize = 64 * 1024;
/// How many are ended after one look at everybody, at most.
const ENDED_MAX: usize = 64;

/// The buffers of all connections: an account of them, and spare ones for the next in need, so that fan-out does not
/// allocate.
#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "the boxes go to connections, which have no room for more than a pointer")]
pub(super) struct Pool {
    spare: Vec<Box<Buffers>>,
    /// Memory in the spare ones, in bytes.
    spare_bytes: usize,
    /// Memory in those of connections, in bytes.
    held: usize,
    /// Delivered bytes that wait for the flush.
    unflushed: usize,
}

impl Pool {
    const SPARE_MAX: usize = 16_384;
    const SPARE_BYTES_MAX: usize = 8 * 1024 * 1024;

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
    pub(super) fn settle(&mut self, buffers: &mut Buffers) {
        let memory = buffers.memory();
        self.held = self.held - buffers.accounted + memory;
        buffers.accounted = memory;
    }

    /// Memory that connections hold, in bytes.
    pub(super) const fn held(&self) -> usize {
        self.held
    }

    /// Delivered bytes that wait for the flush.
    pub(super) const fn unflushed(&self) -> usize {
        self.unflushed
    }

    /// Puts a message into a connection's output. Breaks if there is no room: what it gets from now on would have a gap.
    pub(super) fn deliver<S>(
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
        let before = buffers.output.capacity();
        buffers.output.push(frame);
        buffers.unflushed += frame.len();
        self.unflushed += frame.len();
        if buffers.output.capacity() != before {
            self.settle(buffers);
        }
        ControlFlow::Continue(())
    }

    /// The output of a connection is offered to its socket.
    pub(super) fn begin_flush(&mut self, buffers: &mut Buffers) {
        self.unflushed -= std::mem::take(&mut buffers.unflushed);
    }
}

impl<S> Connection<S> {
    /// Its buffers, from the pool if it has none.
    pub(super) fn buffers_mut(&mut self, pool: &mut Pool) -> &mut Buffers {
        self.buffers.get_or_insert_with(|| pool.take())
    }

    /// It is broken, which `detector` was the first to tell: output has no taker any more.
    pub(super) fn note_broken(&mut self, pool: &mut Pool, detector: Detector, reported: Option<SocketError>) {
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
    pub(super) fn release_buffers(&mut self, pool: &mut Pool) {
        match &mut self.buffers {
            Some(buffers) if buffers.is_idle() && self.pause != Pause::Effects => self.drop_buffers(pool),
            Some(buffers) => pool.settle(buffers),
            None => {}
        }
    }

    /// Gives the buffers back to the pool, whatever is in them.
    pub(super) fn drop_buffers(&mut self, pool: &mut Pool) {
        if let Some(buffers) = self.buffers.take() {
            pool.give(buffers);
        }
    }
}

/// A look at everybody, for who holds most, in steps.
#[derive(Debug)]
pub(super) struct Reclaim {
    /// Since when memory is short.
    since: Instant,
    /// The next slot.
    at: usize,
    /// Those who hold most so far, and before them those who take nothing.
    most: Vec<(bool, usize, Key)>,
}

/// The bound of one of `workers`: its part of that of the server, if there is one.
pub(super) fn bound(settings: &ServerSettings, available: Option<u64>, workers: u32) -> usize {
    let whole = settings.memory_max_of(available);
    whole.map_or(usize::MAX, |bytes| usize::try_from(bytes / u64::from(workers.max(1))).unwrap_or(usize::MAX))
}

impl<K: Kernel> Context<K> {
    /// Whether so much is held that nothing should be added which can be refused.
    pub(super) const fn memory_is_short(&self) -> bool {
        self.pool.held >= self.memory_max - self.memory_max / 8
    }

    /// What the refused are told.
    pub(super) const SHORT_OF_MEMORY: &str =
        "OOM the server holds as many waiting bytes as it may (memory_max); come back later";
}

impl<K: Kernel> Reactor<K> {
    /// While memory is short: looks for those who hold most, and ends them.
    pub(super) fn reclaim_memory(&mut self) {
        if !self.cx.memory_is_short() {
            self.cx.reclaim = None;
            return;
        }
        let used = self.table.slots_used();
        let reclaim = self.cx.reclaim.get_or_insert(Reclaim { since: self.cx.now, at: 0, most: Vec::new() });
        let end = used.min(reclaim.at + LOOKS_PER_TURN);
        let half_of_average = self.cx.pool.held / (2 * self.table.len().max(1));
        for index in reclaim.at..end {
            let index = u32::try_from(index).expect("descriptors are fewer than 2^32");
            let Some((key, conn)) = self.table.at(index) else { continue };
            if let Some(buffers) = &conn.buffers
                && buffers.accounted >= HELD_LEAST.min(half_of_average)
            {
                // Who is reading a long reply holds much, too, and is not who is to blame.
                let unread = !buffers.output.is_empty() && self.cx.now.since(buffers.output_moved) > STUCK;
                let unfinished = buffers.input.len() > buffers.accounted / 2;
                reclaim.note((unread || unfinished, buffers.accounted, key));
            }
        }
        self.cx.work.charge(cost::LOOK * (end - reclaim.at));
        reclaim.at = end;
        if end == used {
            self.end_who_hold_most();
        }
    }

    fn end_who_hold_most(&mut self) {
        let Some(reclaim) = &mut self.cx.reclaim else { return };
        reclaim.at = 0;
        let mut most = std::mem::take(&mut reclaim.most);
        if self.cx.now.since(reclaim.since) < PATIENCE {
            // The others may be reading what they hold.
            most.retain(|(stuck, ..)| *stuck);
        }
        most.sort_unstable_by(|a, b| b.cmp(a));
        let enough = self.cx.memory_max - self.cx.memory_max / 4;
        let before = self.cx.pool.held;
        let mut ended = 0;
        for (_, _, key) in most {
            if self.cx.pool.held <= enough {
                break;
            }
            self.drive(key, |cx, conn| {
                let is_input =
                    conn.buffers.as_ref().is_some_and(|buffers| buffers.input.len() > buffers.output.len());
                let reason = if is_input { Reason::LocalLimit } else { Reason::SlowBytes };
                cx.abort(key, conn, reason, Detector::Policy);
                ended += 1;
            });
        }
        if ended == 0 {
            return;
        }
        self.cx.report.memory_reclaimed(ended, [before, self.cx.pool.held], self.cx.memory_max, self.cx.now);
    }
}

impl Reclaim {
    /// Keeps those who hold most.
    fn note(&mut self, candidate: (bool, usize, Key)) {
        if self.most.len() < ENDED_MAX {
            return self.most.push(candidate);
        }
        let least = self.most.iter_mut().min().expect("it is full");
        if *least < candidate {
            *least = candidate;
        }
    }
}
