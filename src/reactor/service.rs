//! What the service manager is told of a server alone. Workers have none: their supervisor has.

use super::context::Context;
use super::parts::server_timers::ServerTimer;
use crate::net::{Kernel, ServiceNotifier};

impl<K: Kernel> Context<K> {
    /// It serves, and its signs of life begin.
    pub(super) fn notify_serving(&mut self) {
        self.lifecycle.service.on_serving(&mut self.kernel);
        self.notify_alive();
    }

    /// It drains, or will in a while.
    pub(super) fn notify_stopping(&mut self) {
        self.lifecycle.service.on_stopping(&mut self.kernel);
        self.notify_alive();
    }

    /// Its loop turns.
    pub(super) fn notify_alive(&mut self) {
        let (clients, most) = (self.places.clients(), self.places.clients_max());
        let status = || {
            if self.lifecycle.is_draining() {
                format!("draining: {clients} clients are left")
            } else {
                format!("serving {clients} clients of at most {most}")
            }
        };
        let next = ServiceNotifier::on_alive(&mut self.kernel, self.now, status);
        self.timers.arm(ServerTimer::Service, next);
    }
}
