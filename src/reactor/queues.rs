//! The watch over the accept queues: what it tells the operator unasked. A client that waits in one looks
//! connected to itself, and nobody serves it.
//!
//! Looked at when accepting stops short of empty, and by the clock only while something keeps it so.

use super::context::Context;
use super::parts::server_timers::ServerTimer;
use crate::net::Kernel;

impl<K: Kernel> Context<K> {
    /// Looks at the accept queues: a client that waits in one is ESTABLISHED, or believes to be. Armed only
    /// while something keeps us from emptying them.
    pub(super) fn watch_queues(&mut self) {
        let mut overflowed = None;
        for index in 0..self.listeners.len() {
            let slot = &self.listeners[index];
            let Some(queue) = slot.queue() else { continue };
            let full = queue.length > queue.limit;
            let filling = queue.length > queue.limit / 2;
            // The host's counters are read only for news. To read them costs as much as a dozen connections, and every
            // burst of newcomers comes here.
            if !filling && !slot.queue_warned {
                continue;
            }
            let overflowed = *overflowed.get_or_insert_with(|| self.read_overflows());
            let slot = &mut self.listeners[index];
            if filling && !slot.queue_warned {
                self.observer.report.queue_fills(&slot.settings.name, queue, full, overflowed, self.now);
            }
            slot.queue_warned = filling;
        }
        self.keep_watching();
    }

    /// As many connections were taken from a queue as fill it: the loop was held up. The host's counters tell whether
    /// newcomers found the queue full meanwhile. They are read no more often than the queues, because a small queue is
    /// emptied like this in the best of times.
    pub(super) fn check_overflow(&mut self, index: usize, taken: u32) {
        let period = self.settings.server.queue_watch;
        let Some(limit) = self.listeners[index].was_full(taken, self.now, period) else { return };
        let overflowed = self.read_overflows();
        let slot = &mut self.listeners[index];
        if overflowed > 0 && !slot.queue_warned {
            slot.queue_warned = true;
            self.observer.report.queue_was_full(&slot.settings.name, taken, limit, overflowed, self.now);
            self.keep_watching();
        }
    }

    /// Reads the host's counters: how often it found an accept queue full since the last look.
    pub(super) fn read_overflows(&mut self) -> u64 {
        // Without a descriptor to read them with, the counters stay as they were.
        let Some(drops) = self.kernel.host_counters() else { return 0 };
        let before = std::mem::replace(&mut self.observer.counters.host_counters, drops);
        drops.overflows.saturating_sub(before.overflows)
    }

    pub(super) fn keep_watching(&mut self) {
        if self.listeners.iter().any(|slot| slot.is_stalled() || slot.queue_warned) {
            self.timers.arm_no_later(ServerTimer::QueueWatch, self.now + self.settings.server.queue_watch);
        }
    }
}
