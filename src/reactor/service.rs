//! What the service manager is told: that the server serves, reads its configuration again or drains, that its loop turns,
//! and how it is. Workers have none: their supervisor has.

use super::context::Context;
use crate::net::{Kernel, ServiceNews};

impl<K: Kernel> Context<K> {
    /// It serves, and its signs of life begin.
    pub(super) fn notify_serving(&mut self) {
        self.kernel.notify_service(ServiceNews::Ready);
        self.notify_alive();
    }

    /// It reads its configuration again.
    pub(super) fn notify_reloading(&mut self) {
        if !self.lifecycle.is_draining() {
            self.kernel.notify_service(ServiceNews::Reloading);
        }
    }

    /// It has read its configuration, whether it was sound or not.
    pub(super) fn notify_reloaded(&mut self) {
        if !self.lifecycle.is_draining() {
            self.kernel.notify_service(ServiceNews::Ready);
        }
    }

    /// It drains.
    pub(super) fn notify_draining(&mut self) {
        self.kernel.notify_service(ServiceNews::Stopping);
        self.notify_alive();
    }

    /// Its loop turns: a loop that does not is restarted, if the service manager watches for that.
    pub(super) fn notify_alive(&mut self) {
        let Some(interval) = self.kernel.service_interval() else { return };
        let (clients, most) = (self.places.clients(), self.places.clients_max());
        let status = if self.lifecycle.is_draining() {
            format!("draining: {clients} clients are left")
        } else {
            format!("serving {clients} clients of at most {most}")
        };
        self.kernel.notify_service(ServiceNews::Status(&status));
        self.kernel.notify_service(ServiceNews::Alive);
        self.timers.notify_service_at(self.now + interval);
    }
}
