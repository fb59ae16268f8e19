//! The end of the server for those who watch what happens: all workers have ended, and each watcher is told what is left and
//! that this is all. The supervisor waits a little until they have taken it, for what is still here when it exits is lost.

use super::Supervisor;
use super::admin_server::ClientId;
use super::events::OwnEvents;
use super::worker::Life;
use crate::core::time::Instant;
use crate::net::Supervising;
use crate::workers::link::last_words_until;

/// The wait for those who watched.
pub(super) struct LastWords {
    /// Connections that were told the last of it.
    readers: Vec<ClientId>,
    /// Until when they may take it.
    pub(super) until: Instant,
}

impl<K: Supervising> Supervisor<K> {
    /// Whether all workers have drained and ended, and those who watched know.
    pub fn is_over(&self) -> bool {
        self.last_words.as_ref().is_some_and(|LastWords { readers, until }| {
            *until <= self.now || readers.iter().all(|reader| self.admin.pending_output(*reader) == 0)
        })
    }

    /// Tells those who watch that this is all, once all workers have ended.
    pub(super) fn end_watches(&mut self) {
        let is_over = self.workers.iter().all(|worker| matches!(worker.life, Life::Over));
        if !is_over || self.last_words.is_some() {
            return;
        }
        let unix_time = self.kernel.unix_time();
        let mut own = OwnEvents { events: &mut self.events, unix_time, now: self.now };
        let readers = self.fanout.end_watches(&mut self.admin, &mut own);
        for reader in &readers {
            self.admin.serve(*reader, self.now);
        }
        let until = last_words_until(self.now, self.drained.since(self.now));
        self.last_words = Some(LastWords { readers, until });
    }
}
