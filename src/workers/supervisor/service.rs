//! What the service manager is told of a server with workers: that they serve, that the configuration is read again, that
//! they drain; that the supervisor's loop turns. Whether a worker moves, the supervisor watches itself (`pulse`).

use super::{Phase, Supervisor};
use crate::core::time::Instant;
use crate::net::{ServiceNews, Supervising};
use crate::workers::supervisor::worker::Life;

impl<K: Supervising> Supervisor<K> {
    /// The workers serve, and the signs of life begin.
    pub(super) fn notify_serving(&mut self) {
        self.kernel.notify_service(ServiceNews::Ready);
        self.notify_alive();
    }

    /// The configuration is read again.
    pub(super) fn notify_reloading(&mut self) {
        if self.phase == Phase::Serving {
            self.kernel.notify_service(ServiceNews::Reloading);
        }
    }

    /// It was read, whether it was sound or not.
    pub(super) fn notify_reloaded(&mut self) {
        if self.phase == Phase::Serving {
            self.kernel.notify_service(ServiceNews::Ready);
        }
    }

    /// The workers drain.
    pub(super) fn notify_draining(&mut self) {
        self.kernel.notify_service(ServiceNews::Stopping);
        self.notify_alive();
    }

    /// The loop turns, if it is time to say so.
    pub(super) fn notify_if_due(&mut self) {
        if self.service <= self.now {
            self.notify_alive();
        }
    }

    fn notify_alive(&mut self) {
        let interval = self.kernel.service_interval();
        self.service = interval.map_or(Instant::NEVER, |interval| self.now + interval);
        if interval.is_none() {
            return;
        }
        let serving = self.workers.iter().filter(|worker| matches!(worker.life, Life::Serving(_))).count();
        let (doing, all) =
            (if self.phase == Phase::Draining { "draining" } else { "serving" }, self.workers.len());
        self.kernel.notify_service(ServiceNews::Status(&format!("{doing}: {serving} of {all} workers run")));
        self.kernel.notify_service(ServiceNews::Alive);
    }
}
