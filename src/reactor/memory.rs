//! The bound on the memory of all waiting bytes together: when it is reached, the connections that hold most are ended.
//!
//! The bound of one connection is for its listener's policy. This one is for the process: many connections within their
//! bounds can still hold more than the host has.

use super::Reactor;
use super::context::Context;
use super::parts::reclaim::Reclaim;
use super::work::cost;
use crate::core::end::{Detector, Reason};
use crate::core::time::Duration;
use crate::net::Kernel;

/// Slots that are looked at in one turn for who holds most.
const LOOKS_PER_TURN: usize = 4096;
/// Output that has not moved for so long is taken by nobody.
const STUCK: Duration = Duration::from_millis(500);
/// When memory has been short for so long, those who hold most are ended even if their output moves.
const PATIENCE: Duration = Duration::from_secs(2);
/// A connection that holds fewer bytes is not ended for want of memory, unless many such connections fill it.
const HELD_LEAST: usize = 64 * 1024;

impl<K: Kernel> Context<K> {
    /// Whether so much is held that whatever can be refused should be.
    pub(super) const fn memory_is_short(&self) -> bool {
        self.pool.is_short()
    }
}

impl<K: Kernel> Reactor<K> {
    /// While memory is short: looks for those who hold most, and ends them.
    pub(super) fn reclaim_memory(&mut self) {
        if !self.cx.memory_is_short() {
            self.reclaim = None;
            return;
        }
        let used = self.table.slots_used();
        let reclaim = self.reclaim.get_or_insert(Reclaim { since: self.cx.now, at: 0, most: Vec::new() });
        let end = used.min(reclaim.at + LOOKS_PER_TURN);
        let half_of_average = self.cx.pool.held() / (2 * self.table.len().max(1));
        for index in reclaim.at..end {
            let index = u32::try_from(index).expect("descriptors are fewer than 2^32");
            let Some((key, conn)) = self.table.at(index) else { continue };
            if let Some(buffers) = &conn.buffers
                && buffers.accounted >= HELD_LEAST.min(half_of_average)
            {
                // A client that reads a long reply holds much, too, and is not to blame.
                let unread = !buffers.output.is_empty() && self.cx.now.since(buffers.output_moved) > STUCK;
                let unfinished = buffers.input.len() > buffers.accounted / 2;
                reclaim.note((unread || unfinished, buffers.accounted, key));
            }
        }
        self.cx.work.charge(cost::LOOK * (end - reclaim.at));
        reclaim.at = end;
        if end == used {
            self.end_largest_holders();
        }
    }

    fn end_largest_holders(&mut self) {
        let Some(reclaim) = &mut self.reclaim else { return };
        reclaim.at = 0;
        let mut most = std::mem::take(&mut reclaim.most);
        if self.cx.now.since(reclaim.since) < PATIENCE {
            // The others may be reading what they hold.
            most.retain(|(stuck, ..)| *stuck);
        }
        most.sort_unstable_by(|a, b| b.cmp(a));
        let before = self.cx.pool.held();
        let mut ended = 0;
        for (_, _, key) in most {
            if self.cx.pool.has_enough() {
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
        self.cx.observer.report.memory_reclaimed(
            ended,
            [before, self.cx.pool.held()],
            self.cx.pool.max(),
            self.cx.now,
        );
    }
}
