//! What the service manager is told of a server with workers. Whether a worker moves, the supervisor watches itself
//! (`pulse`); its signs of life are those of its own loop.

use super::worker::Life;
use super::{Phase, Supervisor};
use crate::net::{ServiceNotifier, Supervising};

impl<K: Supervising> Supervisor<K> {
    /// The workers serve, and the signs of life begin.
    pub(super) fn notify_serving(&mut self) {
        self.service.on_serving(&mut self.kernel);
        self.notify_alive();
    }

    /// The workers drain, or will in a while.
    pub(super) fn notify_stopping(&mut self) {
        self.service.on_stopping(&mut self.kernel);
        self.notify_alive();
    }

    /// The loop turns.
    pub(super) fn notify_alive(&mut self) {
        let (workers, phase) = (&self.workers, self.phase);
        let status = || {
            let run = workers.iter().filter(|worker| matches!(worker.life, Life::Serving(_))).count();
            let doing = if phase == Phase::Draining { "draining" } else { "serving" };
            format!("{doing}: {run} of {} workers run", workers.len())
        };
        self.service_due = ServiceNotifier::on_alive(&mut self.kernel, self.now, status);
    }
}
